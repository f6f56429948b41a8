/* Stands before libc's clock: CLOCK_REALTIME is off by the seconds that the file $LACRE_TEST_CLOCK
 * says, as though somebody had set it. All other clocks are the kernel's. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at)
{
	char text[32] = "";
	const char *file = getenv("LACRE_TEST_CLOCK");
	int done = (int)syscall(SYS_clock_gettime, clock, at);

	if (done == 0 && clock == CLOCK_REALTIME && file) {
		int opened = open(file, O_RDONLY | O_CLOEXEC);

		if (opened >= 0) {
			if (read(opened, text, sizeof(text) - 1) > 0)
				at->tv_sec += atol(text);
			close(opened);
		}
	}
	return done;
}
