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

// rewritten FILE PROTECTION: its page becomes this process's own code.
static int run_rewritten(char **argv)
{
	int fd, fresh = !strcmp(argv[1], "rwx");
	unsigned char *page;

	CHECK(fd = open(argv[0], O_RDONLY | O_CLOEXEC));
	page = mmap(0, 4096, PROT_READ | PROT_WRITE | (fresh ? PROT_EXEC : 0), MAP_PRIVATE, fd, 0);
	CHECK(page);
	page[0] = 0xc3; // ret; on arm64 this is not reached
	if (!fresh)
		CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC));
#if defined(__x86_64__)
	((void (*)(void))page)();
#endif
	pause();
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
	{"rewritten", 2, run_rewritten},
	{"preload", 2, preload},
	{0},
};
