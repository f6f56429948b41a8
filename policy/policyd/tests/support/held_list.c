/* A kernel that refuses a list while another program has it: EBUSY as long as that file is there. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int opens(const char *, int, ...);

static int refuses(const char *path)
{
	const char *list = getenv("LACRE_TEST_LIST"), *held = getenv("LACRE_TEST_HELD");
	int told;

	if (!list || !held || strcmp(path, list) || access(held, F_OK))
		return 0;
	told = ((opens *)dlsym(RTLD_NEXT, "open"))(held, O_WRONLY | O_APPEND);
	if (told >= 0) {
		if (write(told, "!", 1) != 1)
			abort();
		close(told);
	}
	return 1;
}

static int opened(const char *name, const char *path, int flags, mode_t mode)
{
	if (refuses(path)) {
		errno = EBUSY;
		return -1;
	}
	return ((opens *)dlsym(RTLD_NEXT, name))(path, flags, mode);
}

#define OPENS(name)                                               \
	int name(const char *path, int flags, ...)                    \
	{                                                             \
		va_list rest;                                             \
		mode_t mode;                                              \
                                                              \
		va_start(rest, flags);                                    \
		mode = va_arg(rest, mode_t);                              \
		va_end(rest);                                             \
		return opened(#name, path, flags, mode);                  \
	}

OPENS(open)
OPENS(open64)
