// SPDX-License-Identifier: Apache-2.0
// What things cost, in nanoseconds of processor time.
#include "verbs.h"

#include <sys/mman.h>
#include <sys/resource.h>

// Processor time, so that what else the machine does counts little.
static long used(void)
{
	struct rusage own, children;

	CHECK(getrusage(RUSAGE_SELF, &own));
	CHECK(getrusage(RUSAGE_CHILDREN, &children));
#define NS(time) ((time).tv_sec * 1000000000L + (time).tv_usec * 1000L)
	return NS(own.ru_utime) + NS(own.ru_stime) + NS(children.ru_utime) + NS(children.ru_stime);
}

// loop COUNT PROGRAM…: per fork, exec and wait.
static int cost_of_exec(char **argv)
{
	long count = atol(argv[0]);
	pid_t pid;

	for (long i = 0; i < count; i++) {
		CHECK(pid = fork());
		if (!pid)
			run(argv + 1);
		if (status_of(pid))
			return 95;
	}
	printf("%ld\n", used() / count);
	return 0;
}

// fault COUNT: per page fault.
static int cost_of_fault(char **argv)
{
	long count = atol(argv[0]);

	for (long i = 0; i < count; i += 4096) {
		volatile char *pages = mmap(0, 4096 * 4096, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		madvise((void *)pages, 4096 * 4096, MADV_NOHUGEPAGE);
		for (long page = 0; page < 4096; page++)
			pages[page * 4096] = 1;
		munmap((void *)pages, 4096 * 4096);
	}
	printf("%ld\n", used() / count);
	return 0;
}

const struct verb cost_verbs[] = {
	{"loop", 2, cost_of_exec},
	{"fault", 1, cost_of_fault},
	{0},
};
