/*
 * Calls by which changes would get past the log: a program that makes one on the medium ends with its name. What a
 * program changes without the C library's functions (stdio inside the library, its own system calls) is found when the
 * log is compared with the disk.
 */
#include "preload.h"
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

static void refuse(const char *call)
{
	char text[128];
	int length = snprintf(text, sizeof(text), "torture: %s on the medium is not logged\n", call);
	(void)!REAL(write)(2, text, (size_t)length);
	abort();
}

static int is_open_on_medium(int fd)
{
	char link[64], path[4096];
	if (!state || fd < 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, sizeof(path) - 2);
	if (length <= 0)
		return 0;
	path[length] = '/'; /* the medium's own folder counts */
	path[length + 1] = 0;
	return is_on_medium(path);
}

/* A path relative to an open folder counts if the folder is on the medium. */
static int is_at_medium(int folder, const char *path)
{
	return path[0] == '/' ? is_on_medium(path) : folder != AT_FDCWD && is_open_on_medium(folder);
}

#define REFUSE_IF(condition, call) \
	if (state && (condition))  \
	refuse(call)

int openat(int folder, const char *path, int flags, ...)
{
	va_list arguments;
	va_start(arguments, flags);
	mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	REFUSE_IF((flags & (O_CREAT | O_TRUNC)) && is_at_medium(folder, path), "openat");
	return (int)syscall(SYS_openat, folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...)
{
	va_list arguments;
	va_start(arguments, flags);
	mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return openat(folder, path, flags | O_LARGEFILE, mode);
}

int creat(const char *path, mode_t mode)
{
	return open64(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode)
{
	return open64(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
	REFUSE_IF(is_at_medium(from_folder, from) || is_at_medium(to_folder, to), "renameat");
	return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
	REFUSE_IF(is_at_medium(from_folder, from) || is_at_medium(to_folder, to), "renameat2");
	return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

int unlinkat(int folder, const char *path, int flags)
{
	REFUSE_IF(is_at_medium(folder, path), "unlinkat");
	return (int)syscall(SYS_unlinkat, folder, path, flags);
}

int mkdirat(int folder, const char *path, mode_t mode)
{
	REFUSE_IF(is_at_medium(folder, path), "mkdirat");
	return (int)syscall(SYS_mkdirat, folder, path, mode);
}

int link(const char *from, const char *to)
{
	REFUSE_IF(is_on_medium(to), "link");
	return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int symlink(const char *target, const char *path)
{
	REFUSE_IF(is_on_medium(path), "symlink");
	return (int)syscall(SYS_symlinkat, target, AT_FDCWD, path);
}

int truncate(const char *path, off_t length)
{
	REFUSE_IF(is_on_medium(path), "truncate");
	return (int)syscall(SYS_truncate, path, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	REFUSE_IF(is_open_on_medium(fd), "fallocate");
	return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length, unsigned flags)
{
	REFUSE_IF(is_open_on_medium(to), "copy_file_range");
	return syscall(SYS_copy_file_range, from, from_at, to, to_at, length, flags);
}

ssize_t sendfile(int to, int from, off_t *at, size_t length)
{
	REFUSE_IF(is_open_on_medium(to), "sendfile");
	return syscall(SYS_sendfile, to, from, at, length);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t length)
{
	REFUSE_IF(is_open_on_medium(to), "sendfile");
	return syscall(SYS_sendfile, to, from, at, length);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	REFUSE_IF((flags & MAP_TYPE) != MAP_PRIVATE && (protection & PROT_WRITE) && is_open_on_medium(fd), "mmap");
	return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset)
{
	return mmap(address, length, protection, flags, fd, offset);
}
