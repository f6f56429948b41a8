// SPDX-License-Identifier: Apache-2.0
// Code that a running program takes in: libraries, and memory.
#include "verbs.h"

#include <dlfcn.h>
#include <sys/mman.h>

static void call(void *library)
{
	void (*hello)(void) = library ? dlsym(library, "hello") : 0;

	if (!hello) {
		fprintf(stderr, "%s\n", dlerror());
		exit(96);
	}
	hello();
}

static int load(char **argv)
{
	call(dlopen(argv[0], RTLD_NOW));
	return 0;
}

// memfdlib FROM [STAY]
static int load_from_memory(char **argv)
{
	char path[64];
	int fd;

	CHECK(fd = memfd_create("evil", 0));
	copy_to(argv[0], fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	call(dlopen(path, RTLD_NOW));
	if (argv[1]) // to be asked
		pause();
	return 0;
}

static int run_anonymous(char **argv)
{
	unsigned char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				   -1, 0);

	(void)argv;
	CHECK(page);
	page[0] = 0xc3; // ret; on arm64 this is not reached
	CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC));
#if defined(__x86_64__)
	((void (*)(void))page)();
#endif
	return 0;
}

// preload LIBRARY PROGRAM ARG…
static int preload(char **argv)
{
	CHECK(setenv("LD_PRELOAD", argv[0], 1));
	run(argv + 1);
	return 98;
}

const struct verb code_verbs[] = {
	{"dlopen", 1, load},
	{"memfdlib", 1, load_from_memory},
	{"anonymous", 0, run_anonymous},
	{"preload", 2, preload},
	{0},
};
