// SPDX-License-Identifier: Apache-2.0
// Code that is changed while it is verified, and the victims that run it.
#include "verbs.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

// What the victims of races have in place of code: `EVIL` there creates /tmp/pwned.
static const char good[] = "GOOD-or-evil-0123456789", evil[] = "EVIL";

static long place_of_code(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat stat;
	char *map;

	CHECK(fd);
	CHECK(fstat(fd, &stat));
	CHECK(map = mmap(0, stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0));
	char *at = memmem(map, stat.st_size, good, sizeof(good) - 1);
	long offset = at ? at - map : -1;

	munmap(map, stat.st_size);
	close(fd);
	if (offset < 0)
		exit(92);
	return offset;
}

// Runs the victim, a program or a library, in a child.
static pid_t victim(const char *path, int library)
{
	pid_t pid;

	CHECK(pid = fork());
	if (pid)
		return pid;
	if (library)
		_exit(dlopen(path, RTLD_NOW) ? 0 : 91);
	execl(path, path, (char *)0);
	_exit(90);
}

static void own_tmpfs(const char *path)
{
	enter_own_namespaces();
	copy(path, "/mnt/x");
	CHECK(mount("/mnt/x", path, 0, MS_BIND, 0));
}

static long foreign(void)
{
	return !unlink("/tmp/pwned");
}

// race HOW VICTIM COUNT: how often it ran with what somebody had written to it, how often it
// ran as it came, and how often neither.
static int race(char **argv)
{
	const char *how = argv[0], *path = argv[1];
	long count = atol(argv[2]);
	int library = strstr(path, ".so") != 0, tmpfs = !strcmp(how, "tmpfs");
	// A mapping that is gone when it runs; what it left can't be undone where no open of
	// changed code is let pass.
	int goes = !strcmp(how, "learn") || tmpfs;
	long at = place_of_code(path), evils = 0, goods = 0, stopped = 0;
	long page = at & ~4095L;

	if (tmpfs)
		own_tmpfs(path);
	for (long i = 0; i < count; i++) {
		int status, fd;

		if (!strcmp(how, "lease")) { // a writer that waits for who reads it
			CHECK(utimensat(AT_FDCWD, path, 0, 0));
			pid_t pid = victim(path, library);

			// somewhere within what is done for it
			for (volatile long spin = (i * 7919) % 200000; spin > 0; spin--)
				;
			if ((fd = open(path, O_RDWR | O_CLOEXEC)) >= 0) {
				CHECK(pwrite(fd, evil, 4, at));
				close(fd);
			}
			CHECK(waitpid(pid, &status, 0));
			if ((fd = open(path, O_RDWR | O_CLOEXEC)) >= 0) {
				CHECK(pwrite(fd, good, 4, at));
				close(fd);
			}
		} else { // one whose stores have no date
			fd = open(path, O_RDWR | O_CLOEXEC);
			if (fd < 0 && errno == EPERM) {
				stopped++;
				continue;
			}
			CHECK(fd);
			char *map = mmap(0, 4096, PROT_READ | PROT_WRITE,
					 MAP_SHARED | (tmpfs ? MAP_POPULATE : 0), fd, page);
			CHECK((long)map);
			close(fd);
			memcpy(map + (at - page), good, 4);
			for (int n = 0; n < 2; n++) {
				CHECK(waitpid(victim(path, library), &status, 0));
				usleep(1000); // whoever learns of it now
			}
			memcpy(map + (at - page), evil, 4);
			if (goes && i & 1)
				munmap(map, 4096);
			CHECK(waitpid(victim(path, library), &status, 0));
			if (goes && i & 1) {
				CHECK(fd = open(path, O_RDWR | O_CLOEXEC));
				CHECK(pwrite(fd, good, 4, at));
				close(fd);
			} else {
				memcpy(map + (at - page), good, 4);
				munmap(map, 4096);
			}
		}
		if (foreign())
			evils++;
		else if (status)
			stopped++;
		else
			goods++;
	}
	printf("%ld %ld %ld\n", evils, goods, stopped);
	return 0;
}

// use FILE: a program or a library.
static int use(char **argv)
{
	return status_of(victim(argv[0], strstr(argv[0], ".so") != 0));
}

// changeuse HOW FILE
static int change_and_use(char **argv)
{
	change(argv);
	return use(argv + 1);
}

const struct verb race_verbs[] = {
	{"race", 3, race},
	{"use", 1, use},
	{"changeuse", 2, change_and_use},
	{0},
};
