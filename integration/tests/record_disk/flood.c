/* flood SECONDS: executes, and is refused, as fast as one process can, and prints how often. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char *const arguments[] = { "/tmp/busybox", "touch", "/out/ran", NULL };
	char *const environment[] = { NULL };
	unsigned long count = 0;
	time_t end;

	if (argc < 2)
		return 2;
	end = time(NULL) + atol(argv[1]);
	while (time(NULL) < end) {
		execve(arguments[0], arguments, environment);
		count++;
	}
	printf("%lu\n", count);
	return 0;
}
