/* latency SECONDS: executes a program of the image again and again, now and then one that is
 * foreign, and prints the 99th percentile of what the first took, in microseconds, and how
 * often the second was tried. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX 4000000

static int compare(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return x < y ? -1 : x > y;
}

static int run(const char *program)
{
	char *const arguments[] = { (char *)program, "true", NULL };
	char *const environment[] = { NULL };
	int status = 0;
	pid_t child = vfork();

	if (child == 0) {
		execve(program, arguments, environment);
		_exit(126);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
	unsigned *took = malloc(MAX * sizeof(*took));
	unsigned long count = 0, foreign = 0;
	struct timespec from, to;
	time_t end;

	if (argc < 2 || !took)
		return 2;
	end = time(NULL) + atol(argv[1]);
	while (time(NULL) < end && count < MAX) {
		clock_gettime(CLOCK_MONOTONIC, &from);
		if (run("/bin/busybox") != 0)
			return 1;
		clock_gettime(CLOCK_MONOTONIC, &to);
		took[count++] = (to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
		if (count % 50 == 0 && run("/tmp/busybox") != 126)
			return 1;
		foreign += count % 50 == 0;
	}
	qsort(took, count, sizeof(*took), compare);
	printf("%u %lu\n", took[count * 99 / 100], foreign);
	return 0;
}
