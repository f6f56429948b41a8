// SPDX-License-Identifier: GPL-2.0-only
/* Ends, overflows, long lists, and many at once. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kit.h"

static int pause_until_killed(void *arg)
{
	pause();
	return 0;
}

static int nothing(void *arg)
{
	return 0;
}

void test_life(void)
{
	struct box a, b;
	unsigned long seq;
	int i;

	box_start(&a, "life", CLONE_NEWPID | CLONE_NEWNS, pause_until_killed, NULL);
	box_go(&a);
	ok(!box_release(&a), "released while it runs");
	usleep(50000);
	ok(!access(CONTAINERS "life", F_OK), "it stays while it has members");
	ok(!box_release(&a), "releasing twice is no error");
	kill(a.pid, SIGKILL);
	box_wait(&a);
	ok(box_gone(&a), "it goes with its last member");

	seq = a.seq;
	box_start(&b, "life", CLONE_NEWPID | CLONE_NEWNS, nothing, NULL);
	ok(b.seq > seq, "its id can be used again, its number is not");
	box_go(&b);
	box_wait(&b);
	usleep(50000);
	ok(!access(CONTAINERS "life", F_OK), "empty, it stays until released");
	ok(key_value(CONTAINERS "life/info", "tasks") == 0, "it has no member");
	box_release(&b);
	ok(box_gone(&b), "then it is gone");

	for (i = 0; i < 200; i++) {
		box_start(&a, "again", CLONE_NEWPID | CLONE_NEWNS, nothing, NULL);
		box_go(&a);
		box_wait(&a);
		box_release(&a);
		if (!box_gone(&a))
			break;
	}
	ok(i == 200, "two hundred come and go: %d", i);
}

int flood(void *arg)
{
	struct flood *f = arg;
	char path[128], text[32];
	unsigned long i;
	int fd;

	for (i = 0; i < f->lines; i++) {
		sprintf(path, "%s/%lu", f->dir, i);
		sprintf(text, "%lu", i);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		if (fd < 0 || write(fd, text, strlen(text)) < 0 ||
		    fchown(fd, MEASURED_OWNER, 0))
			return 1;
		close(fd);
		fd = open(path, O_RDONLY);
		close(fd);
		unlink(path);
	}
	return 0;
}

void test_overflow(void)
{
	struct flood f = { "/t", 6000 };
	struct box b;
	struct list l;
	unsigned long before;

	before = host_number("runtime_measurements_count");
	/* The first create fails, so that the second one can name a limit. */
	if (box_start(&b, ".refused", CLONE_NEWPID | CLONE_NEWNS, flood, &f) >= 0)
		return;
	strcpy(b.id, "overflow");
	ok(!box_create(&b, 1), "a list of one MiB");
	box_go(&b);
	ok(!box_wait(&b), "the flood runs");
	l = box_list(&b);
	ok(l.count > 500 && l.count < 6000, "its list is bounded: %lu lines", l.count);
	ok(!strcmp(l.lines[l.count - 1].name, "ima_container_overflow") &&
	   l.lines[l.count - 1].violation, "its last line says so");
	ok(list_violations(&l, "ima_container_overflow") == 1, "once");
	ok((unsigned long)key_value(CONTAINERS "overflow/info", "lost") ==
	   6000 - (l.count - 1), "and what was lost is counted: %ld",
	   key_value(CONTAINERS "overflow/info", "lost"));
	ok(key_value(CONTAINERS "overflow/info", "bytes") < (1 << 20) + 4096,
	   "memory is within the limit");
	ok(host_number("runtime_measurements_count") == before,
	   "nothing of it went to the host");
	list_free(&l);
	box_release(&b);
	ok(box_gone(&b), "gone");
}

static int open_and_run(void *arg)
{
	int i;

	for (i = 0; i < 2; i++)
		close(open(arg, O_RDONLY));
	return !run("/t/after");
}

void test_unreadable(void)
{
	/* To be written to only: reading it is EIO, once its mode lets it be opened. */
	const char *pattern = "/sys/bus/*/drivers/*/unbind";
	struct stat before;
	struct list l;
	struct box b;
	glob_t g;
	char *path;

	if (glob(pattern, 0, NULL, &g) || stat(g.gl_pathv[0], &before)) {
		ok(false, "there is a file that can't be read");
		return;
	}
	path = g.gl_pathv[0];
	make_program("/t/after", 5000);
	if (chmod(path, 0400) || chown(path, MEASURED_OWNER, 0))
		perror(path);
	box_start(&b, "unreadable", CLONE_NEWPID | CLONE_NEWNS, open_and_run, path);
	box_go(&b);
	ok(!box_wait(&b), "who opens a file that can't be read goes on");
	l = box_list(&b);
	ok(l.count == 2 && l.lines[0].violation &&
	   !strcmp(l.lines[0].name, "ima_container_overflow"),
	   "its list says that it lacks a line, once: %lu lines", l.count);
	ok(list_has(&l, "/t/after") == 1, "and goes on");
	ok(key_value(CONTAINERS "unreadable/info", "lost") == 2,
	   "what it lacks is counted: %ld",
	   key_value(CONTAINERS "unreadable/info", "lost"));
	list_free(&l);
	box_release(&b);
	ok(box_gone(&b), "gone");
	if (chown(path, before.st_uid, before.st_gid) || chmod(path, before.st_mode & 07777))
		perror(path);
	globfree(&g);
}

void test_long_list(unsigned long lines)
{
	struct flood f = { "/t", lines };
	double start, first = 0, last = 0, t;
	unsigned long seen = 0, quarter = lines / 4, n;
	char buf[65536];
	struct box b;
	ssize_t got, i;
	int fd, made;

	box_start(&b, "long", CLONE_NEWPID | CLONE_NEWNS, flood, &f);
	start = now();
	box_go(&b);
	made = box_wait(&b);
	ok(!made, "%lu lines are made in %.1f s", lines, now() - start);
	n = box_number(&b, "runtime_measurements_count");
	ok(n == lines, "they are in the list: %lu", n);
	fd = open(CONTAINERS "long/ascii_runtime_measurements_sha256", O_RDONLY);
	t = start = now();
	while ((got = read(fd, buf, sizeof(buf))) > 0) {
		unsigned long before = seen;

		for (i = 0; i < got; i++)
			seen += buf[i] == '\n';
		if (before < quarter && seen >= quarter)
			first = now() - t;
		if (before < lines - quarter && seen >= lines - quarter)
			t = now();
	}
	last = now() - t;
	close(fd);
	ok(seen == lines, "all are read in %.2f s", now() - start);
	ok(last < 2 * first + 0.2, "the last quarter costs as the first: %.3f s, %.3f s",
	   last, first);
	box_release(&b);
	ok(box_gone(&b), "gone");
}

/* Everything at once: forks, execs, violations, readers, and the end. */
static int churn(void *arg)
{
	char path[64];
	int i, fd;

	for (i = 0; i < 8; i++) {
		sprintf(path, "/t/churn-%d", i);
		run(path);
		fd = open("/t/shared/file", i % 3 ? O_RDONLY : O_WRONLY);
		close(fd);
		if (!fork())
			_exit(!run(path));
	}
	while (wait(NULL) > 0)
		;
	return 0;
}

static void follow_all(int rounds)
{
	char path[128], buf[4096];
	int i, fd;

	for (i = 0; i < rounds * 4; i++) {
		sprintf(path, CONTAINERS "stress-%d/binary_runtime_measurements", i % 4);
		fd = open(path, O_RDONLY);
		while (fd >= 0 && read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
	}
	_exit(0);
}

void test_stress(int rounds)
{
	struct box b[4];
	char id[16], path[64];
	int i, r, bad = 0;
	pid_t pid;

	for (i = 0; i < 8; i++) {
		sprintf(path, "/t/churn-%d", i);
		make_program(path, 500 + i);
	}
	fflush(stdout);
	pid = fork();
	if (!pid)
		follow_all(rounds);
	for (r = 0; r < rounds; r++) {
		for (i = 0; i < 4; i++) {
			sprintf(id, "stress-%d", i);
			bad += !!box_start(&b[i], id, i % 2 ? CLONE_NEWNS :
					   CLONE_NEWNS | CLONE_NEWPID, churn, NULL);
		}
		make_program("/t/churn-3", 1000 + r);
		for (i = 0; i < 4; i++)
			box_go(&b[i]);
		for (i = 0; i < 4; i++)
			bad += !!box_release(&b[i]);
		for (i = 0; i < 4; i++) {
			bad += !!box_wait(&b[i]);
			bad += !box_gone(&b[i]);
		}
	}
	waitpid(pid, NULL, 0);
	ok(!bad, "%d rounds of four containers at once: %d bad", rounds, bad);
	ok(key_value(CONTAINERS "status", "containers") <= 12, "none is left: %ld",
	   key_value(CONTAINERS "status", "containers"));
}
