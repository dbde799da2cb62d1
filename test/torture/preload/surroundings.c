/* Calls that read the agent's surroundings except its files: time, free space, names of hosts. */
#include "preload.h"

static time_t ahead_s(void)
{
	return state ? (time_t)state->ahead_s : 0;
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
		time->tv_sec += ahead_s();
	return result;
}

/* Only the board's clock is set, never this machine's. */
int clock_settime(clockid_t clock, const struct timespec *time)
{
	struct timespec now;
	if (!state || clock != CLOCK_REALTIME) {
		errno = EPERM;
		return -1;
	}
	REAL(clock_gettime)(CLOCK_REALTIME, &now);
	state->ahead_s = time->tv_sec - now.tv_sec;
	return 0;
}

int settimeofday(const struct timeval *time, const struct timezone *zone)
{
	struct timespec wanted = {.tv_sec = time ? time->tv_sec : 0};
	(void)zone;
	return time ? clock_settime(CLOCK_REALTIME, &wanted) : 0;
}

time_t time(time_t *stored)
{
	time_t now = REAL(time)(NULL) + ahead_s();
	if (stored)
		*stored = now;
	return now;
}

int gettimeofday(struct timeval *time, void *zone)
{
	int result = REAL(gettimeofday)(time, zone);
	if (result == 0)
		time->tv_sec += ahead_s();
	return result;
}
