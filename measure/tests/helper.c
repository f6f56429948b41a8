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
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
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
	int fd;

	CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS));
	CHECK(fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC));
	CHECK(write(fd, "0 0 1", 5));
	close(fd);
	CHECK(fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC));
	CHECK(write(fd, "deny", 4));
	close(fd);
	CHECK(fd = open("/proc/self/gid_map", O_WRONLY | O_CLOEXEC));
	CHECK(write(fd, "0 0 1", 5));
	close(fd);
	CHECK(mount("tmpfs", "/mnt", "tmpfs", 0, 0));
	copy(path, "/mnt/x");
	CHECK(mount("/mnt/x", path, 0, MS_BIND, 0));
}

static long foreign(void)
{
	return !unlink("/tmp/pwned");
}

// Another state of the same content.
static void change(const char *how, const char *path)
{
	const char *away = "/tmp/away", *other = "/tmp/other";
	int fd, flags = 0;

#define HOW(word) (!strcmp(how, word))
	if (HOW("chown") || HOW("twice"))
		CHECK(chown(path, 7, 7));
	if (HOW("chmod") || HOW("twice"))
		CHECK(chmod(path, 0755));
	if (HOW("touch"))
		CHECK(utimensat(AT_FDCWD, path, 0, 0));
	if (HOW("rename")) {
		CHECK(rename(path, away));
		CHECK(rename(away, path));
	}
	if (HOW("xattr"))
		CHECK(setxattr(path, "user.x", "y", 1, 0));
	// Of the inode, by or to another of its names.
	if (HOW("link")) {
		unlink(other);
		CHECK(link(path, other));
	}
	if (HOW("unlink"))
		CHECK(unlink(other));
	if (HOW("replace")) {
		CHECK(fd = open(away, O_WRONLY | O_CREAT, 0644));
		CHECK(rename(away, other));
	}
	if (HOW("move")) {
		CHECK(rename(other, away));
		CHECK(rename(away, other));
	}
	if (HOW("chmod-other"))
		CHECK(chmod(other, 0755));
	if (HOW("touch-other"))
		CHECK(utimensat(AT_FDCWD, other, 0, 0));
	if (HOW("xattr-other"))
		CHECK(setxattr(other, "user.y", "y", 1, 0));
	if (HOW("fchown")) {
		CHECK(fd = open(path, O_RDONLY));
		CHECK(fchown(fd, 8, 8));
	}
	if (HOW("flags")) {
		CHECK(fd = open(path, O_RDONLY));
		CHECK(ioctl(fd, FS_IOC_GETFLAGS, &flags));
		flags ^= FS_NODUMP_FL;
		CHECK(ioctl(fd, FS_IOC_SETFLAGS, &flags));
	}
#undef HOW
}

// race HOW VICTIM COUNT: how often it ran with what somebody had written to it, how often it
// ran as it came, and how often neither.
static int race(const char *how, const char *path, long count)
{
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

static void own_namespaces(void)
{
	int fd;

	CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS));
	CHECK(fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC));
	CHECK(write(fd, "0 0 1", 5));
	CHECK(fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC));
	CHECK(write(fd, "deny", 4));
	CHECK(fd = open("/proc/self/gid_map", O_WRONLY | O_CLOEXEC));
	CHECK(write(fd, "0 0 1", 5));
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
	if (IS("bind", 3)) { // PID FROM TO: as a runtime mounts a volume, or injects a file
		char path[64];

		CHECK(fd = syscall(SYS_open_tree, AT_FDCWD, argv[3], 1 /* OPEN_TREE_CLONE */));
		snprintf(path, sizeof(path), "/proc/%s/ns/mnt", argv[2]);
		CHECK(pid = open(path, O_RDONLY | O_CLOEXEC));
		CHECK(setns(pid, CLONE_NEWNS));
		CHECK(syscall(SYS_move_mount, fd, "", AT_FDCWD, argv[4],
			      4 /* MOVE_MOUNT_F_EMPTY_PATH */));
		return 0;
	}
	if (IS("use", 1)) // a program or a library
		return status_of(victim(argv[2], strstr(argv[2], ".so") != 0));
	if (IS("changeuse", 2)) { // HOW PATH
		change(argv[2], argv[3]);
		return status_of(victim(argv[3], strstr(argv[3], ".so") != 0));
	}
	if (IS("change", 2)) {
		change(argv[2], argv[3]);
		return 0;
	}
	if (IS("race", 3))
		return race(argv[2], argv[3], atol(argv[4]));
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
	if (IS("lease", 2)) { // PATH ARG…: with a read lease of one's own
		CHECK(fd = open(argv[2], O_RDONLY | O_CLOEXEC));
		CHECK(fcntl(fd, F_SETLEASE, F_RDLCK));
		CHECK(pid = fork());
		if (!pid)
			run(argv + 3);
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
		own_namespaces();
		CHECK(mount("tmpfs", "/mnt", "tmpfs", 0, 0));
		copy(argv[2], "/mnt/x");
		argv[2] = "/mnt/x";
		run(argv + 2);
	}
	if (IS("rebound", 3)) { // FROM TO ARG…: another name for the same files
		own_namespaces();
		CHECK(mount(argv[2], argv[3], 0, MS_BIND, 0));
		run(argv + 4);
	}
	if (IS("jail", 2)) { // ROOT PROGRAM ARG…
		CHECK(chroot(argv[2]));
		run(argv + 3);
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
		if (argc > 3) // STAY: to be asked
			pause();
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
	if (IS("rewritten", 2)) { // FILE PROTECTION: its page becomes this process's own code
		int fresh = !strcmp(argv[3], "rwx");
		unsigned char *page;

		CHECK(fd = open(argv[2], O_RDONLY | O_CLOEXEC));
		page = mmap(0, 4096, PROT_READ | PROT_WRITE | (fresh ? PROT_EXEC : 0), MAP_PRIVATE,
			    fd, 0);
		CHECK(page);
		page[0] = 0xc3; // ret; on arm64 this is not reached
		if (!fresh)
			CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC));
#if defined(__x86_64__)
		((void (*)(void))page)();
#endif
		pause();
	}
	if (IS("preload", 2)) { // LIBRARY PROGRAM ARG…
		CHECK(setenv("LD_PRELOAD", argv[2], 1));
		run(argv + 3);
	}
	if (IS("as", 2)) { // ARGV0 PROGRAM ARG…
		char *program = argv[3];

		argv[3] = argv[2];
		execv(program, argv + 3);
		exit(98);
	}
	if (IS("with", 2)) { // NAME=VALUE PROGRAM ARG…
		CHECK(putenv(argv[2]));
		run(argv + 3);
	}
	if (IS("long", 1)) { // PROGRAM SCRIPT, and 300 options before it
		char *words[303] = {argv[2]};

		for (int n = 1; n < 301; n++)
			words[n] = "-e";
		words[301] = argv[3];
		run(words);
	}
	if (IS("deep", 1)) { // PROGRAM ARG…, in a directory of more than 4096 bytes of names
		char name[201];

		memset(name, 'd', 200);
		name[200] = 0;
		CHECK(chdir("/tmp"));
		for (int n = 0; n < 25; n++) {
			if (mkdir(name, 0755) && errno != EEXIST)
				exit(99);
			CHECK(chdir(name));
		}
		run(argv + 2);
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
