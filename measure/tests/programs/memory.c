// SPDX-License-Identifier: Apache-2.0
// What engines do that compile as they run, and what programs do that have no file.
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "copy.h"

#define SIZE 4096
#define HUGE (2UL << 20)
#define RW (PROT_READ | PROT_WRITE)
#define RX (PROT_READ | PROT_EXEC)

extern char **environ;

static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; // return 42

static int call(void *at)
{
	return ((int (*)(void))at)() == 42 ? 0 : 90;
}

static void *map(int prot, int flags, int fd)
{
	void *at = mmap(0, SIZE, prot, flags, fd, 0);

	CHECK((long)at);
	return at;
}

// Written through one mapping, run through another.
static int twice(int fd)
{
	CHECK(ftruncate(fd, SIZE));
	memcpy(map(RW, MAP_SHARED, fd), code, sizeof(code));
	return call(map(RX, MAP_SHARED, fd));
}

static int in_child(void *at)
{
	int status;
	pid_t pid = fork();

	CHECK(pid);
	if (!pid)
		_exit(call(at));
	CHECK(waitpid(pid, &status, 0));
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// Executes a copy that only a descriptor for reading leads to.
static void execute(int out, char **argv)
{
	char path[64];
	int in;

	copy_to("/proc/self/exe", out);
	CHECK(fchmod(out, 0755));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", out);
	CHECK(in = open(path, O_RDONLY));
	close(out);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", in);
	execve(path, argv, environ);
	fprintf(stderr, "exec: %s\n", strerror(errno));
	exit(98);
}

static sigjmp_buf back;

static void on_signal(int signal)
{
	siglongjmp(back, signal);
}

// A jump to where nothing may be executed is no code that ran.
static int jump(void *at)
{
	signal(SIGSEGV, on_signal);
	if (!sigsetjmp(back, 1)) {
		call(at);
		return 91;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	void *at;
	int fd;

#define IS(word) (!strcmp(how, word))
	if (IS("mark") && argc > 2) {
		CHECK(fd = open(argv[2], O_WRONLY | O_CREAT, 0600));
		return 0;
	}
	if (IS("private")) {
		memcpy(at = map(RW, MAP_PRIVATE | MAP_ANONYMOUS, -1), code, sizeof(code));
		CHECK(mprotect(at, SIZE, RX));
		return call(at);
	}
	if (IS("moved")) {
		memcpy(at = map(RW | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1), code, sizeof(code));
		CHECK((long)(at = mremap(at, SIZE, 2 * SIZE, MREMAP_MAYMOVE)));
		return call(at);
	}
	if (IS("collapsed")) {
		char *all = mmap(0, 2 * HUGE, RW | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK((long)all);
		at = (void *)(((unsigned long)all + HUGE - 1) & -HUGE);
		memcpy(at, code, sizeof(code));
		if (call(at))
			return 92;
		for (int n = 0; n < 20; n++) {
			madvise(at, HUGE, 25); // MADV_COLLAPSE, Linux 6.1
			madvise(at, SIZE, MADV_PAGEOUT);
			if (call(at))
				return 92;
		}
		return 0;
	}
	if (IS("zero")) {
		CHECK(fd = open("/dev/zero", O_RDWR));
		memcpy(at = map(RW | PROT_EXEC, MAP_PRIVATE, fd), code, sizeof(code));
		return call(at);
	}
	if (IS("memfd")) {
		CHECK(fd = memfd_create("jit", MFD_CLOEXEC));
		return twice(fd);
	}
	if (IS("forked")) {
		memcpy(at = map(RW | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS, -1), code, sizeof(code));
		return in_child(at);
	}
	if (IS("sysv")) {
		CHECK(fd = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0700));
		CHECK((long)(at = shmat(fd, 0, 0)));
		memcpy(at, code, sizeof(code));
		CHECK((long)(at = shmat(fd, 0, SHM_RDONLY | SHM_EXEC)));
		CHECK(shmctl(fd, IPC_RMID, 0));
		return call(at);
	}
	if (IS("posix")) { // as opcache does
		CHECK(fd = open("/dev/shm/jit", O_RDWR | O_CREAT | O_EXCL, 0600));
		CHECK(unlink("/dev/shm/jit"));
		return twice(fd);
	}
	if (IS("named")) {
		CHECK(fd = open("/dev/shm/jit", O_RDWR | O_CREAT, 0600));
		return twice(fd);
	}
	if (IS("tmpfile")) { // as libffi does
		CHECK(fd = open("/tmp", O_RDWR | O_TMPFILE, 0700));
		return twice(fd);
	}
	if (IS("unlinked")) {
		CHECK(fd = open("/tmp/ffi", O_RDWR | O_CREAT | O_EXCL, 0700));
		CHECK(unlink("/tmp/ffi"));
		return twice(fd);
	}
	if (IS("stack")) {
		unsigned char local[SIZE * 2];

		at = (void *)(((unsigned long)local + SIZE - 1) & -SIZE);
		memcpy(at, code, sizeof(code));
		CHECK(mprotect(at, SIZE, RW | PROT_EXEC));
		return call(at);
	}
	if (IS("nx"))
		return jump(map(RW, MAP_PRIVATE | MAP_ANONYMOUS, -1));
	if (IS("nxfile")) { // data of somebody's
		CHECK(fd = open("/tmp/data", O_RDWR | O_CREAT, 0600));
		CHECK(write(fd, code, sizeof(code)));
		return jump(map(PROT_READ, MAP_PRIVATE, fd));
	}
	if (IS("data")) { // an image's core file
		CHECK(fd = open(argv[2], O_RDONLY));
		return call(map(RX, MAP_PRIVATE, fd));
	}
	if (IS("ownwritten")) { // the same, written to before: no image's any more
		CHECK(fd = open(argv[2], O_RDWR));
		CHECK(pwrite(fd, code, sizeof(code), 0));
		close(fd);
		CHECK(fd = open(argv[2], O_RDONLY));
		return call(map(RX, MAP_PRIVATE, fd));
	}
	if (IS("exec-memfd")) {
		CHECK(fd = memfd_create("evil", MFD_CLOEXEC));
		copy_to("/proc/self/exe", fd);
		CHECK(fexecve(fd, argv + 1, environ));
	}
	if (IS("exec-mapped")) { // shared memory, by the link that leads to it
		char path[64];

		at = mmap(0, 64 << 20, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		CHECK((long)at);
		CHECK(fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
		CHECK(read(fd, at, 64 << 20));
		snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (long)at,
			 (long)at + (64 << 20));
		execve(path, argv + 1, environ);
		return 97;
	}
	if (IS("exec-tmpfile")) {
		CHECK(fd = open("/tmp", O_RDWR | O_TMPFILE, 0700));
		execute(fd, argv + 1);
	}
	if (IS("exec-shm")) {
		CHECK(fd = open("/dev/shm/x", O_RDWR | O_CREAT, 0700));
		execute(fd, argv + 1);
	}
	if (IS("exec-unlinked")) {
		CHECK(fd = open("/tmp/x", O_RDWR | O_CREAT | O_EXCL, 0700));
		CHECK(unlink("/tmp/x"));
		execute(fd, argv + 1);
	}
	if (IS("again")) { // PATH: after its own name went
		if (argc > 2) {
			if (argc > 3)
				CHECK(chmod(argv[2], 0711)); // it is copied up
			CHECK(unlink(argv[2]));
			execl("/proc/self/exe", argv[0], "again", (char *)0);
			return 96;
		}
		CHECK(fd = open("/tmp/again", O_WRONLY | O_CREAT, 0600));
		return 0;
	}
	return argc > 1 ? 94 : 0;
}
