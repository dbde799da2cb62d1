/*
 * Preloaded into the agent and its children. It logs all changes of the files of one folder, so that medium.ts can
 * compute any state in which a power cut could have left the folder. It cuts the power itself at the n-th change
 * (log.c, files.c). It also makes system calls fail as on a worn disk or a network without DNS, and replaces the
 * kernel's facts about the boot (files.c, surroundings.c).
 *
 *   TORTURE_MEDIUM  the folder whose changes are logged
 *   TORTURE_LOG     the log: struct record, its name, its data, for each change
 *   TORTURE_STATE   struct state, shared by all processes of a life
 *   TORTURE_PROC    the folder with cmdline and boot_id, read in place of the kernel's
 *
 * A change is made first and logged after that, both under one lock, so that the log has the order of the changes.
 * The change at which the power is cut is logged but not made, since any part of it may have reached the disk.
 * Whoever is killed in between leaves a change without its record, or half a record, which the next one overwrites;
 * the next one also notes that this has happened (DIED).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* All but the lock is life-faults.ts's to write. */
struct state {
	uint64_t changes; /* so far */
	uint64_t cut_at;  /* the change at which the power is cut; 0 for never */
	uint64_t is_cut;
	int64_t room;           /* bytes that still fit beside the disk image; -1 for no end */
	uint64_t is_read_only;  /* all but the disk image */
	uint64_t disk_error_at; /* the write of the disk image that fails; 0 for none */
	uint64_t disk_fails_on; /* and so does each one after it */
	uint64_t disk_writes;   /* so far */
	uint64_t dns_failures;  /* look-ups that still have to fail */
	uint64_t cut_at_write;  /* the write of the disk image at which the power is cut; 0 for never */
	uint64_t kill_at_write; /* the write of the disk image at which the agent is killed; 0 for never */
	uint64_t slow_ms;       /* how long a write of the disk image takes a killed agent's child */
	int64_t ahead_s;        /* how far the wall clock is ahead */
	uint64_t agent;         /* its pid; 0 before it has started */
	uint64_t log_bytes;     /* up to the end of the last whole record */
	uint64_t is_changing;   /* a change has begun and is not over */
	uint64_t killed_agent;  /* its pid */
	uint64_t has_lock;
	pthread_mutex_t lock;
};

struct record {
	uint8_t kind;
	uint8_t by_child;
	uint16_t process; /* the low bits of its id */
	uint32_t name_bytes;
	uint64_t inode;
	uint64_t offset;
	uint64_t data_bytes;
};

enum { CREATE = 'C', WRITE = 'W', RESIZE = 'T', SYNC = 'S', RENAME = 'R', UNLINK = 'U', MKDIR = 'D', RMDIR = 'X', DIED = 'K' };

/* Null in a process without a medium. */
extern struct state *state __attribute__((visibility("hidden")));
/* Whether this process is not the agent. */
extern int is_child __attribute__((visibility("hidden")));
/* The agent when this process started. */
extern uint64_t parent_agent __attribute__((visibility("hidden")));

/*
 * The C library's own functions. All are looked up before main(): libuv calls write() in its signal handler,
 * where dlsym() can wait for ever for a lock that its own thread was about to take.
 */
#define FUNCTIONS(F)                                                                                            \
	F(open64) F(write) F(writev) F(pwrite64) F(pwritev64) F(fsync) F(fdatasync) F(ftruncate64) F(mkdir)     \
	F(rmdir) F(unlink) F(rename) F(statfs64) F(getaddrinfo) F(clock_gettime) F(gettimeofday) F(time)
#define DECLARE(name) extern __typeof__(&name) real_##name __attribute__((visibility("hidden")));
FUNCTIONS(DECLARE)
void *real(const char *name) __attribute__((visibility("hidden")));
/* Other libraries start before this one. */
#define REAL(name) (real_##name ? real_##name : (__typeof__(&name))real(#name))

int is_on_medium(const char *path) __attribute__((visibility("hidden")));
/* A path within the medium, relative to it. */
const char *name_of(const char *path) __attribute__((visibility("hidden")));

/* A change begins: takes the lock. Returns whether the power is cut at this one. */
int begin(void) __attribute__((visibility("hidden")));
/* Logs it. */
void note(uint8_t kind, uint64_t inode, uint64_t offset, const char *name, const void *data, size_t data_bytes)
	__attribute__((visibility("hidden")));
/* And it is over. */
void end(int is_cut) __attribute__((visibility("hidden")));
