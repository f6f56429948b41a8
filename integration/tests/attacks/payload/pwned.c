/* What an attacker wants to run: it leaves a mark where the host can see it. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void mark(void)
{
	const char *path = getenv("MARK");
	int fd = open(path ? path : "/marks/unnamed", O_CREAT | O_WRONLY, 0644);

	if (fd >= 0)
		close(fd);
}

#ifdef LIBRARY
__attribute__((constructor)) static void loaded(void) { mark(); }
#else
int main(void) { mark(); return 0; }
#endif
