/* Calls that read the agent's surroundings except its files: time, free space, names of hosts. */
#include "preload.h"

static time_t ahead_s;

__attribute__((constructor)) static void set_clock(void)
{
	const char *ahead = getenv("TORTURE_AHEAD_S");
	ahead_s = ahead ? atol(ahead) : 0;
}

/* A full medium reports that it has no free space. */
int statfs64(const char *path, struct statfs64 *found)
{
	int result = REAL(statfs64)(path, found);
	char folder[4098];
	snprintf(folder, sizeof(folder), "%s/", path);
	if (result == 0 && is_on_medium(folder) && state->room >= 0)
		found->f_bfree = found->f_bavail = (fsblkcnt_t)(state->room / found->f_bsize);
	return result;
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	if (state && state->dns_failures > 0) {
		state->dns_failures--;
		return EAI_AGAIN;
	}
	return REAL(getaddrinfo)(host, service, hints, found);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	int result = REAL(clock_gettime)(clock, time);
	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		time->tv_sec += ahead_s;
	return result;
}

int gettimeofday(struct timeval *time, void *zone)
{
	int result = REAL(gettimeofday)(time, zone);
	if (result == 0)
		time->tv_sec += ahead_s;
	return result;
}
