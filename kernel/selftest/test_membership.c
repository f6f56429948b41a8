// SPDX-License-Identifier: GPL-2.0-only
/* A process can't shed its container, and who comes from outside belongs to it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kit.h"

#define OUTSIDE_NS 9	/* descriptors of the host's namespaces, inherited */
#define OUTSIDE_PID 8

static bool run_after(int (*move)(void), const char *path)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(move() ? 1 : !run(path));
	return waitpid(pid, &status, 0) == pid && !status;
}

static int to_mnt(void)
{
	return unshare(CLONE_NEWNS);
}

static int to_user(void)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID);
}

static int to_all(void)
{
	return unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS |
		       CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP);
}

static int to_host_mnt(void)
{
	return setns(OUTSIDE_NS, CLONE_NEWNS);
}

static int to_session(void)
{
	return setsid() < 0;
}

static int to_orphan(void)
{
	pid_t pid = fork();
	int status;

	if (pid) {
		waitpid(pid, &status, 0);
		_exit(0);
	}
	if (fork())
		_exit(0);
	return 0;
}

static int to_cgroup(void)
{
	mkdir("/sys/fs/cgroup/elsewhere", 0755);
	return write_file("/sys/fs/cgroup/elsewhere/cgroup.procs", "0", 1);
}

static void *thread_run(void *arg)
{
	return run(arg) ? NULL : arg;
}

static const struct {
	const char *name;
	int (*move)(void);
} moves[] = {
	{ "unshare-mnt", to_mnt }, { "unshare-user", to_user },
	{ "unshare-all", to_all }, { "setns-host-mnt", to_host_mnt },
	{ "setsid", to_session }, { "double-fork", to_orphan },
	{ "cgroup", to_cgroup },
};

#define MOVES (sizeof(moves) / sizeof(*moves))

static int escape(void *arg)
{
	pthread_t thread;
	void *failed = NULL;
	char path[64];
	unsigned int i;
	pid_t pid;
	int rc = 0;

	for (i = 0; i < MOVES; i++) {
		sprintf(path, "/t/%s", moves[i].name);
		if (!run_after(moves[i].move, path))
			rc |= 1 << i;
	}
	if (pthread_create(&thread, NULL, thread_run, "/t/thread") ||
	    pthread_join(thread, &failed) || failed)
		rc |= 1 << i;
	pid = vfork();
	if (!pid) {
		execl("/t/vfork", "/t/vfork", NULL);
		_exit(1);
	}
	waitpid(pid, NULL, 0);
	pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	if (!pid) {
		execl("/t/clone-parent", "/t/clone-parent", NULL);
		_exit(1);
	}
	return rc;
}

static void test_escapes(void)
{
	struct list l, host;
	char path[64];
	struct box b;
	unsigned int i, salt = 100;
	int rc;

	for (i = 0; i < MOVES; i++) {
		sprintf(path, "/t/%s", moves[i].name);
		make_program(path, salt++);
	}
	make_program("/t/thread", salt++);
	make_program("/t/vfork", salt++);
	make_program("/t/clone-parent", salt++);

	/* mount namespace only: so no pid namespace helps to find them */
	dup2(open("/proc/self/ns/mnt", O_RDONLY), OUTSIDE_NS);
	box_start(&b, "escape", CLONE_NEWNS, escape, NULL);
	box_go(&b);
	rc = box_wait(&b);
	close(OUTSIDE_NS);
	ok(!rc, "the moves work: %#x", rc);
	for (i = 0; i < 100 && key_value(CONTAINERS "escape/info", "tasks"); i++)
		usleep(20000);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	l = box_list(&b);
	host = host_list();
	for (i = 0; i < MOVES; i++) {
		sprintf(path, "/t/%s", moves[i].name);
		ok(list_has(&l, path) && !list_has(&host, path),
		   "%s does not escape", moves[i].name);
	}
	ok(list_has(&l, "/t/thread") && list_has(&l, "/t/vfork") &&
	   list_has(&l, "/t/clone-parent"), "thread, vfork, CLONE_PARENT");
	list_free(&l);
	list_free(&host);
	box_release(&b);
	ok(box_gone(&b), "and the container ends");
}

static int wait_for_word(void *arg)
{
	char c;

	return read(OUTSIDE_PID, &c, 1) == 1 ? 0 : 1;
}

static bool enter(struct box *b, const char *ns, int type, const char *path)
{
	char link[64];
	int fd, status;
	pid_t pid;

	sprintf(link, "/proc/%d/ns/%s", b->pid, ns);
	fd = open(link, O_RDONLY | O_CLOEXEC);
	pid = fork();
	if (!pid)
		_exit(setns(fd, type) || !run(path));
	close(fd);
	return waitpid(pid, &status, 0) == pid && !status;
}

static void test_enter(void)
{
	struct list l, host;
	struct box b;
	int word[2];

	make_program("/t/enter-mnt", 200);
	make_program("/t/enter-pid", 201);
	make_program("/t/outside", 202);
	if (pipe(word))
		return;
	dup2(word[0], OUTSIDE_PID);
	close(word[0]);
	box_start(&b, "enter", CLONE_NEWPID | CLONE_NEWNS, wait_for_word, NULL);
	box_go(&b);
	ok(enter(&b, "mnt", CLONE_NEWNS, "/t/enter-mnt"), "enter by mount namespace");
	ok(enter(&b, "pid", CLONE_NEWPID, "/t/enter-pid"), "enter by pid namespace");
	ok(run("/t/outside"), "the host goes on");
	l = box_list(&b);
	host = host_list();
	ok(list_has(&l, "/t/enter-mnt") && !list_has(&host, "/t/enter-mnt"),
	   "who enters the mount namespace is in the list");
	ok(list_has(&l, "/t/enter-pid") && !list_has(&host, "/t/enter-pid"),
	   "who enters the pid namespace is in the list");
	ok(!list_has(&l, "/t/outside") && list_has(&host, "/t/outside"),
	   "who stays outside is not");
	list_free(&l);
	list_free(&host);
	if (write(word[1], "w", 1) != 1)
		return;
	close(word[1]);
	close(OUTSIDE_PID);
	ok(!box_wait(&b), "the first process ends");
	box_release(&b);
	ok(box_gone(&b), "the container is gone");
}

/* A privileged container: all capabilities, securityfs in its sight. */
static int meddle(void *arg)
{
	struct ima_container_create mine = { .id = "mine", .pidfd = 7, .secret = { 7 } };
	struct ima_container_release own = { .id = "meddle" };
	int rc = 0;

	dup2(syscall(SYS_pidfd_open, getpid(), 0), 7);
	unshare(CLONE_NEWNS);
	if (control(IMA_CONTAINER_CREATE, &mine) != -EPERM)
		rc |= 1;
	if (control(IMA_CONTAINER_RELEASE, &own) != -EPERM)
		rc |= 2;
	if (open(CONTAINERS "aggregate", O_RDONLY) >= 0 ||
	    open(CONTAINERS "status", O_RDONLY) >= 0)
		rc |= 4;
	if (open(CONTAINERS "other/ascii_runtime_measurements", O_RDONLY) >= 0)
		rc |= 8;
	if (open(CONTAINERS "meddle/ascii_runtime_measurements", O_RDONLY) < 0)
		rc |= 16;
	return rc;
}

static int nothing(void *arg)
{
	return 0;
}

static void test_meddling(void)
{
	struct box b, other;
	int rc;

	box_start(&other, "other", CLONE_NEWNS, nothing, NULL);
	box_start(&b, "meddle", CLONE_NEWNS, meddle, NULL);
	box_go(&b);
	rc = box_wait(&b);
	ok(!rc, "a member creates, releases and reads nothing of others: %#x", rc);
	box_release(&b);
	box_go(&other);
	box_wait(&other);
	box_release(&other);
}

void test_membership(void)
{
	test_escapes();
	test_enter();
	test_meddling();
}
