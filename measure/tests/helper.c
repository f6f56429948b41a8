// SPDX-License-Identifier: Apache-2.0
// What the tests of the sources run: a stand-in for `runc init` and `runc exec` on the
// host's side, and the attacks on the container's.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(expression)                                                        \
	do {                                                                     \
		if ((long)(expression) == -1) {                                  \
			fprintf(stderr, "%s: %s\n", #expression, strerror(errno)); \
			exit(99);                                                \
		}                                                                \
	} while (0)

extern char **environ;

static int status_of(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0));
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void copy_to(const char *from, int out)
{
	char buffer[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	CHECK(in);
	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		CHECK(write(out, buffer, n));
	close(in);
}

static void copy(const char *from, const char *to)
{
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	CHECK(out);
	copy_to(from, out);
	close(out);
}

static void run(char **argv)
{
	execv(argv[0], argv);
	fprintf(stderr, "exec %s: %s\n", argv[0], strerror(errno));
	exit(98);
}

// init LOWER UPPER WORK MERGED: makes the container's namespaces and root, tells its pid,
// and runs the line that comes on standard input.
static int init(char **argv)
{
	int told[2];
	pid_t pid;

	CHECK(pipe(told));
	CHECK(unshare(CLONE_NEWNS | CLONE_NEWPID));
	CHECK(pid = fork());
	if (pid) {
		char ready;

		close(told[1]);
		if (read(told[0], &ready, 1) != 1)
			return status_of(pid);
		dprintf(1, "%d\n", pid);
		return status_of(pid);
	}
	char options[4096], line[4096], *words[64];
	int n = 0;

	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", argv[0], argv[1],
		 argv[2]);
	CHECK(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
	CHECK(mount("overlay", argv[3], "overlay", 0, options));
	CHECK(chdir(argv[3]));
	CHECK(syscall(SYS_pivot_root, ".", "."));
	CHECK(umount2(".", MNT_DETACH));
	CHECK(mount("proc", "/proc", "proc", 0, 0));
	CHECK(mount("tmpfs", "/dev/shm", "tmpfs", 0, 0));
	CHECK(chdir("/"));
	CHECK(write(told[1], "x", 1));
	close(told[0]);
	close(told[1]);
	if (!fgets(line, sizeof(line), stdin))
		return 97;
	for (char *word = strtok(line, " \n"); word && n < 63; word = strtok(0, " \n"))
		words[n++] = word;
	words[n] = 0;
	run(words);
	return 98;
}

// enter PID PROGRAM…: as `runc exec` does.
static int enter(char **argv)
{
	char path[64];
	int mounts, pids;
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/%s/ns/mnt", argv[0]);
	CHECK(mounts = open(path, O_RDONLY | O_CLOEXEC));
	snprintf(path, sizeof(path), "/proc/%s/ns/pid", argv[0]);
	CHECK(pids = open(path, O_RDONLY | O_CLOEXEC));
	CHECK(setns(mounts, CLONE_NEWNS));
	CHECK(setns(pids, CLONE_NEWPID));
	CHECK(pid = fork());
	if (!pid)
		run(argv + 1);
	return status_of(pid);
}

// Processor time, so that what else the machine does counts little.
static long used(void)
{
	struct rusage own, children;

	CHECK(getrusage(RUSAGE_SELF, &own));
	CHECK(getrusage(RUSAGE_CHILDREN, &children));
#define NS(time) ((time).tv_sec * 1000000000L + (time).tv_usec * 1000L)
	return NS(own.ru_utime) + NS(own.ru_stime) + NS(children.ru_utime) + NS(children.ru_stime);
}

static void call(void *library)
{
	void (*hello)(void) = library ? dlsym(library, "hello") : 0;

	if (!hello) {
		fprintf(stderr, "%s\n", dlerror());
		exit(96);
	}
	hello();
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	pid_t pid;
	int fd;

	// What a later program reads must not wait in this one's buffer.
	setvbuf(stdin, 0, _IONBF, 0);
#define IS(word, arguments) (!strcmp(how, word) && argc >= 2 + (arguments))
	if (IS("init", 4))
		return init(argv + 2);
	if (IS("enter", 2))
		return enter(argv + 2);
	if (IS("enter-when-told", 2)) {
		char c;

		while (read(0, &c, 1) > 0)
			;
		return enter(argv + 2);
	}
	if (IS("mark", 1)) {
		CHECK(fd = open(argv[2], O_WRONLY | O_CREAT, 0644));
		return 0;
	}
	if (IS("copy", 2)) {
		copy(argv[2], argv[3]);
		return 0;
	}
	if (IS("copyrun", 2)) { // FROM TO ARG…
		copy(argv[2], argv[3]);
		CHECK(pid = fork());
		if (!pid)
			run(argv + 3);
		return status_of(pid);
	}
	if (IS("fork", 1)) {
		CHECK(pid = fork());
		if (!pid)
			run(argv + 2);
		return status_of(pid);
	}
	if (IS("append", 1)) {
		CHECK(fd = open(argv[2], O_WRONLY | O_APPEND));
		CHECK(write(fd, "x", 1));
		return 0;
	}
	if (IS("memfd", 1)) {
		CHECK(fd = memfd_create("evil", MFD_CLOEXEC));
		copy_to(argv[2], fd);
		CHECK(fexecve(fd, argv + 2, environ));
	}
	if (IS("unlinked", 2)) { // FROM TEMPORARY ARG…
		copy(argv[2], argv[3]);
		CHECK(fd = open(argv[3], O_RDONLY | O_CLOEXEC));
		CHECK(unlink(argv[3]));
		CHECK(fexecve(fd, argv + 3, environ));
	}
	if (IS("nested", 1)) { // FROM ARG…: a file system that nobody outside knows
		CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS));
		CHECK(fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC));
		CHECK(write(fd, "0 0 1", 5));
		CHECK(fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC));
		CHECK(write(fd, "deny", 4));
		CHECK(fd = open("/proc/self/gid_map", O_WRONLY | O_CLOEXEC));
		CHECK(write(fd, "0 0 1", 5));
		CHECK(mount("tmpfs", "/mnt", "tmpfs", 0, 0));
		copy(argv[2], "/mnt/x");
		argv[2] = "/mnt/x";
		run(argv + 2);
	}
	if (IS("orphan", 1)) { // the middle goes, and with it every parent within
		CHECK(pid = fork());
		if (pid)
			return status_of(pid);
		CHECK(setsid());
		CHECK(pid = fork());
		if (!pid)
			run(argv + 2);
		return 0;
	}
	if (IS("dlopen", 1)) {
		call(dlopen(argv[2], RTLD_NOW));
		return 0;
	}
	if (IS("memfdlib", 1)) {
		char path[64];

		CHECK(fd = memfd_create("evil", 0));
		copy_to(argv[2], fd);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		call(dlopen(path, RTLD_NOW));
		return 0;
	}
	if (IS("anonymous", 0)) {
		unsigned char *page = mmap(0, 4096, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(page);
		page[0] = 0xc3; // ret; on arm64 this is not reached
		CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC));
#if defined(__x86_64__)
		((void (*)(void))page)();
#endif
		return 0;
	}
	if (IS("preload", 2)) { // LIBRARY PROGRAM ARG…
		CHECK(setenv("LD_PRELOAD", argv[2], 1));
		run(argv + 3);
	}
	if (IS("pause", 0)) {
		for (;;)
			pause();
	}
	if (IS("each", 0)) { // runs each line of standard input, telling each's status
		char line[4096], *words[64];

		while (fgets(line, sizeof(line), stdin)) {
			int n = 0;

			for (char *w = strtok(line, " \n"); w && n < 63; w = strtok(0, " \n"))
				words[n++] = w;
			words[n] = 0;
			CHECK(pid = fork());
			if (!pid) {
				close(0);
				run(words);
			}
			dprintf(1, "%d\n", status_of(pid));
		}
		return 0;
	}
	if (IS("loop", 2)) { // COUNT PROGRAM…: nanoseconds per fork, exec and wait
		long count = atol(argv[2]);

		for (long i = 0; i < count; i++) {
			CHECK(pid = fork());
			if (!pid)
				run(argv + 3);
			if (status_of(pid))
				return 95;
		}
		printf("%ld\n", used() / count);
		return 0;
	}
	if (IS("fault", 1)) { // COUNT: nanoseconds per page fault
		long count = atol(argv[2]);

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
	return argc > 1 ? 94 : 0;
}
