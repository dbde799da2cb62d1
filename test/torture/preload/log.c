#include "preload.h"
#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>

struct state *state;
static int log_fd = -1;
int is_child;
uint64_t parent_agent;
static char medium[4096];
static size_t medium_length;

void *real(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);
	if (!found)
		abort();
	return found;
}

#define DEFINE(name) __typeof__(&name) real_##name;
FUNCTIONS(DEFINE)

__attribute__((constructor)) static void start(void)
{
#define LOOK_UP(name) real_##name = (__typeof__(&name))real(#name);
	FUNCTIONS(LOOK_UP)
	const char *folder = getenv("TORTURE_MEDIUM"), *log = getenv("TORTURE_LOG"), *shared = getenv("TORTURE_STATE");
	if (!folder || !log || !shared)
		return;
	snprintf(medium, sizeof(medium), "%s/", folder);
	int fd = REAL(open64)(shared, O_RDWR | O_CLOEXEC);
	log_fd = REAL(open64)(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || log_fd < 0)
		abort();
	state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (state == MAP_FAILED)
		abort();
	close(fd);
	if (state->agent == 0) /* the agent starts before it can have children */
		state->agent = (uint64_t)getpid();
	if (!state->has_lock) { /* an earlier agent's fwup may hold it */
		pthread_mutexattr_t attributes;
		pthread_mutexattr_init(&attributes);
		pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
		pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
		pthread_mutex_init(&state->lock, &attributes);
		state->has_lock = 1;
	}
	parent_agent = state->agent;
	is_child = state->agent != (uint64_t)getpid();
	medium_length = strlen(medium);
}

int is_on_medium(const char *path)
{
	return medium_length > 0 && strncmp(path, medium, medium_length) == 0;
}

const char *name_of(const char *path)
{
	return strlen(path) < medium_length ? "" : path + medium_length;
}

void note(uint8_t kind, uint64_t inode, uint64_t offset, const char *name, const void *data, size_t data_bytes)
{
	size_t name_bytes = strlen(name);
	struct record record = {.kind = kind, .by_child = (uint8_t)is_child,
				.process = (uint16_t)getpid(), .name_bytes = (uint32_t)name_bytes,
				.inode = inode, .offset = offset, .data_bytes = data_bytes};
	struct iovec parts[] = {{&record, sizeof(record)}, {(void *)name, name_bytes}, {(void *)data, data_bytes}};
	ssize_t wanted = (ssize_t)(sizeof(record) + name_bytes + data_bytes);
	if (REAL(pwritev64)(log_fd, parts, 3, (off64_t)state->log_bytes) != wanted) {
		static const char text[] = "torture: the log can't be written\n";
		(void)!REAL(write)(2, text, sizeof(text) - 1);
		abort();
	}
	state->log_bytes += (uint64_t)wanted;
}

int begin(void)
{
	if (pthread_mutex_lock(&state->lock) == EOWNERDEAD)
		pthread_mutex_consistent(&state->lock);
	if (state->is_cut)
		raise(SIGKILL);
	if (state->is_changing)
		note(DIED, 0, 0, "", "", 0);
	state->is_changing = 1;
	state->changes++;
	return state->cut_at != 0 && state->changes == state->cut_at;
}

/* Ends the agent first, before another process can have waited for it; the others end at their next change. */
static void cut(void)
{
	state->is_cut = 1;
	kill((pid_t)state->agent, SIGKILL);
	raise(SIGKILL);
}

void end(int is_cut)
{
	if (is_cut)
		cut();
	state->is_changing = 0;
	pthread_mutex_unlock(&state->lock);
}
