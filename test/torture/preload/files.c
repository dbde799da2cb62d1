/* Calls that change files. */
#include "preload.h"
#include <signal.h>
#include <stdarg.h>

/* Whether an open file is on the medium, and which one it is. A deleted file still is. */
static int file_on_medium(int fd, struct stat *file, char *path, size_t size)
{
	if (!state)
		return 0;
	char link[64];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, size - 2);
	if (length <= 0)
		return 0;
	path[length] = '/'; /* the medium's own folder counts */
	path[length + 1] = 0;
	if (!is_on_medium(path) || fstat(fd, file) != 0)
		return 0;
	path[length] = 0;
	return 1;
}

static uint64_t inode_of(const char *path)
{
	struct stat file;
	return stat(path, &file) == 0 ? file.st_ino : 0;
}

static int is_disk(const char *path)
{
	return strcmp(name_of(path), "disk.img") == 0;
}

/* Whether a change of names or sizes must fail; sets errno. */
static int is_refused(const char *path)
{
	if (!state->is_read_only || is_disk(path))
		return 0;
	errno = EROFS;
	return 1;
}

/* How many bytes of a write may be made. If they are fewer than all, errno has the reason. */
static size_t granted(const char *path, size_t length)
{
	if (is_disk(path)) {
		uint64_t write = ++state->disk_writes, bad = state->disk_error_at;
		errno = EIO;
		return bad != 0 && (write == bad || (write > bad && state->disk_fails_on)) ? 0 : length;
	}
	errno = state->is_read_only ? EROFS : ENOSPC;
	if (state->is_read_only)
		return 0;
	if (state->room >= 0 && (size_t)state->room < length)
		length = (size_t)state->room;
	if (state->room >= 0)
		state->room -= (int64_t)length;
	return length;
}

static int open_logged(const char *path, int flags, mode_t mode)
{
	const char *proc = getenv("TORTURE_PROC");
	char instead[4096];
	if (proc && strcmp(path, "/proc/cmdline") == 0) {
		snprintf(instead, sizeof(instead), "%s/cmdline", proc);
		path = instead;
	} else if (proc && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0) {
		snprintf(instead, sizeof(instead), "%s/boot_id", proc);
		path = instead;
	} else if (proc && strcmp(path, "/proc/device-tree/model") == 0) {
		/* Without it the agent takes the board for a computer, and starts a dozen programs to find its name. */
		snprintf(instead, sizeof(instead), "%s/model", proc);
		path = instead;
	}
	if (!is_on_medium(path) || (flags & (O_CREAT | O_TRUNC)) == 0)
		return REAL(open64)(path, flags, mode);
	if (is_refused(path))
		return -1;
	struct stat before;
	int existed = stat(path, &before) == 0;
	if (existed && ((flags & O_TRUNC) == 0 || before.st_size == 0))
		return REAL(open64)(path, flags, mode);
	int is_cut = begin();
	int fd = REAL(open64)(path, flags, mode);
	if (fd >= 0) {
		if (existed)
			note(RESIZE, before.st_ino, 0, "", "", 0);
		else
			note(CREATE, inode_of(path), 0, name_of(path), "", 0);
	}
	end(is_cut);
	return fd;
}

int open64(const char *path, int flags, ...)
{
	va_list arguments;
	va_start(arguments, flags);
	mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return open_logged(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list arguments;
	va_start(arguments, flags);
	mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return open_logged(path, flags, mode);
}

/* @param offset -1 for the file's current position */
static ssize_t write_logged(int fd, const struct iovec *parts, int count, off64_t offset)
{
	struct stat file;
	char path[4096];
	if (!file_on_medium(fd, &file, path, sizeof(path)) || !S_ISREG(file.st_mode))
		return offset < 0 ? REAL(writev)(fd, parts, count) : REAL(pwritev64)(fd, parts, count, offset);
	size_t length = 0;
	for (int i = 0; i < count; i++)
		length += parts[i].iov_len;
	char *data = malloc(length ? length : 1), *at = data;
	for (int i = 0; i < count; at += parts[i++].iov_len)
		memcpy(at, parts[i].iov_base, parts[i].iov_len);

	int is_cut = begin();
	off64_t start = offset;
	if (fcntl(fd, F_GETFL) & O_APPEND)
		start = file.st_size;
	else if (offset < 0)
		start = lseek64(fd, 0, SEEK_CUR);
	size_t room = granted(path, length);
	is_cut |= is_disk(path) && state->disk_writes == state->cut_at_write;
	ssize_t written = room == 0 && length > 0 ? -1 : (ssize_t)room;
	if (!is_cut && written >= 0)
		written = offset < 0 ? REAL(write)(fd, data, room) : REAL(pwrite64)(fd, data, room, offset);
	int error = errno;
	if (written > 0)
		note(WRITE, file.st_ino, (uint64_t)start, "", data, (size_t)written);
	if (is_disk(path) && state->disk_writes == state->kill_at_write && state->kill_at_write != 0) {
		state->killed_agent = state->agent;
		kill((pid_t)state->agent, SIGKILL);
	}
	end(is_cut);
	if (is_disk(path) && is_child && state->killed_agent == parent_agent)
		usleep((useconds_t)state->slow_ms * 1000);
	free(data);
	errno = error;
	return written;
}

ssize_t write(int fd, const void *data, size_t length)
{
	struct stat file;
	char path[4096];
	if (!file_on_medium(fd, &file, path, sizeof(path)))
		return REAL(write)(fd, data, length);
	struct iovec part = {(void *)data, length};
	return write_logged(fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	return write_logged(fd, parts, count, -1);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
	struct iovec part = {(void *)data, length};
	return write_logged(fd, &part, 1, offset);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
	return pwrite64(fd, data, length, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
	return write_logged(fd, parts, count, offset);
}

static int sync_logged(int fd, int (*sync)(int))
{
	struct stat file;
	char path[4096];
	if (!file_on_medium(fd, &file, path, sizeof(path)))
		return sync(fd);
	int is_cut = begin();
	if (!is_cut) /* else as if never asked for; this machine itself is never asked */
		note(SYNC, file.st_ino, S_ISDIR(file.st_mode), "", "", 0);
	end(is_cut);
	return 0;
}

int fsync(int fd)
{
	return sync_logged(fd, REAL(fsync));
}

int fdatasync(int fd)
{
	return sync_logged(fd, REAL(fdatasync));
}

int ftruncate64(int fd, off64_t length)
{
	struct stat file;
	char path[4096];
	if (!file_on_medium(fd, &file, path, sizeof(path)))
		return REAL(ftruncate64)(fd, length);
	int is_cut = begin();
	int result = is_cut ? 0 : REAL(ftruncate64)(fd, length);
	int error = errno;
	if (result == 0)
		note(RESIZE, file.st_ino, (uint64_t)length, "", "", 0);
	end(is_cut);
	errno = error;
	return result;
}

int ftruncate(int fd, off_t length)
{
	return ftruncate64(fd, length);
}

static int entry_logged(uint8_t kind, const char *path, mode_t mode)
{
	if (is_refused(path))
		return -1;
	int is_cut = begin();
	uint64_t inode = inode_of(path);
	int result = 0;
	if (!is_cut)
		result = kind == MKDIR ? REAL(mkdir)(path, mode) : kind == RMDIR ? REAL(rmdir)(path) : REAL(unlink)(path);
	int error = errno;
	if (result == 0)
		note(kind, inode, 0, name_of(path), "", 0);
	end(is_cut);
	errno = error;
	return result;
}

int mkdir(const char *path, mode_t mode)
{
	struct stat file;
	if (!is_on_medium(path) || stat(path, &file) == 0)
		return REAL(mkdir)(path, mode);
	return entry_logged(MKDIR, path, mode);
}

int rmdir(const char *path)
{
	return is_on_medium(path) ? entry_logged(RMDIR, path, 0) : REAL(rmdir)(path);
}

int unlink(const char *path)
{
	struct stat file;
	if (!is_on_medium(path) || lstat(path, &file) != 0)
		return REAL(unlink)(path);
	return entry_logged(UNLINK, path, 0);
}

int rename(const char *from, const char *to)
{
	if (!is_on_medium(from) || !is_on_medium(to))
		return REAL(rename)(from, to);
	if (is_refused(from))
		return -1;
	int is_cut = begin();
	char names[8192];
	snprintf(names, sizeof(names), "%s\n%s", name_of(from), name_of(to));
	uint64_t inode = inode_of(from);
	int result = is_cut ? 0 : REAL(rename)(from, to);
	int error = errno;
	if (result == 0)
		note(RENAME, inode, 0, names, "", 0);
	end(is_cut);
	errno = error;
	return result;
}

