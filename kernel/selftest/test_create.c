// SPDX-License-Identifier: GPL-2.0-only
/* What create and release take, and what they refuse. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kit.h"

static int nothing(void *arg)
{
	return 0;
}

static struct ima_container_create good(int pidfd)
{
	struct ima_container_create args = { .id = "x", .pidfd = pidfd };

	memset(args.secret, 7, sizeof(args.secret));
	return args;
}

static int create(struct ima_container_create args)
{
	return control(IMA_CONTAINER_CREATE, &args);
}

static void refused_arguments(int pidfd)
{
	static const char * const ids[] = {
		"", ".x", "..", "a/b", "a b", "\n", "x\n", "x\t", "\xc3\xa4",
	};
	struct ima_container_create args;
	struct {
		struct ima_container_create known;
		uint64_t more;
	} later = { .more = 1 };
	unsigned int i;
	int rc;

	for (i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
		args = good(pidfd);
		strcpy(args.id, ids[i]);
		rc = create(args);
		ok(rc == -EINVAL, "create refuses id %u: %d", i, rc);
	}
	args = good(pidfd);
	memset(args.id, 'x', sizeof(args.id));
	ok(create(args) == -EINVAL, "create refuses an id without an end");
	args.id[201] = 0;
	ok(create(args) == -EINVAL, "create refuses an id of 201");
	args = good(pidfd);
	args.flags = 1;
	ok(create(args) == -EINVAL, "create refuses flags");
	args = good(pidfd);
	args.reserved = 1;
	ok(create(args) == -EINVAL, "create refuses what is reserved");
	args = good(pidfd);
	args.limit_mib = 99999999;
	ok(create(args) == -EINVAL, "create refuses a limit above all limits");
	args = good(pidfd);
	memset(args.secret, 0, sizeof(args.secret));
	ok(create(args) == -EINVAL, "create refuses no secret");
	args = good(pidfd);
	rc = control(_IOW(0xB9, 0, int), &args);
	ok(rc == -EINVAL, "create refuses an argument of four bytes: %d", rc);
	later.known = good(pidfd);
	rc = control(_IOW(0xB9, 0, later), &later);
	ok(rc == -E2BIG, "create refuses what it does not know: %d", rc);
	ok(control(IMA_CONTAINER_CREATE, NULL) == -EFAULT, "create refuses no argument");
	ok(control(_IO(0xB9, 77), NULL) == -ENOTTY, "there is no other request");
}

static int as_nobody(void *arg)
{
	if (setgid(65534) || setuid(65534))
		return 1;
	return open(CONTAINERS "control", O_RDWR) < 0 &&
	       open(CONTAINERS "aggregate", O_RDONLY) < 0 ? 0 : 2;
}

/* Root of a user namespace of its own, with the file open by the first root. */
static int as_other_root(int fd, int pidfd)
{
	struct ima_container_create args = good(pidfd);
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (unshare(CLONE_NEWUSER))
			_exit(1);
		_exit(ioctl(fd, IMA_CONTAINER_CREATE, &args) && errno == EPERM ? 0 : 2);
	}
	return waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : 3;
}

void test_create(void)
{
	struct box a, b;
	int fd, rc, status;
	pid_t pid;

	rc = box_start(&a, "create-a", CLONE_NEWPID | CLONE_NEWNS, nothing, NULL);
	ok(!rc, "create: %d", rc);
	ok(box_number(&a, "runtime_measurements_count") == 0, "its list is empty");
	ok(!access(CONTAINERS "create-a/ascii_runtime_measurements", R_OK),
	   "its list is there");

	refused_arguments(a.pidfd);
	b = a;
	ok(box_create(&b, 0) == -EBUSY, "the same process twice");
	strcpy(b.id, "create-b");
	ok(box_create(&b, 0) == -EBUSY, "the same process by another id");
	ok(create(good(99999)) == -EBADF, "no such descriptor");
	fd = open("/dev/null", O_RDONLY);
	ok(create(good(fd)) == -EBADF, "not a pidfd");
	close(fd);

	rc = box_start(&b, "create-a", CLONE_NEWPID | CLONE_NEWNS, nothing, NULL);
	ok(rc == -EEXIST, "another process by the same id: %d", rc);
	strcpy(b.id, "create-limit");
	rc = box_create(&b, 1);
	ok(!rc, "the refused process can still become one: %d", rc);
	ok(key_value(CONTAINERS "create-limit/info", "limit") == 1 << 20,
	   "its limit is what was asked for");
	box_wait(&b);
	box_release(&b);

	rc = box_start(&b, "create-c", 0, nothing, NULL);
	ok(rc == -EINVAL, "a process with no namespace of its own: %d", rc);
	box_wait(&b);

	pid = fork();
	if (!pid)
		_exit(0);
	fd = syscall(SYS_pidfd_open, pid, 0);
	waitpid(pid, &status, 0);
	ok(create(good(fd)) == -ESRCH, "a dead process");
	close(fd);

	pid = fork();
	if (!pid)
		_exit(as_nobody(NULL));
	waitpid(pid, &status, 0);
	ok(!status, "nobody opens neither control nor aggregate: %d", status >> 8);
	fd = open(CONTAINERS "control", O_RDWR);
	rc = as_other_root(fd, a.pidfd);
	ok(!rc, "root of another user namespace can't create: %d", rc);
	close(fd);

	strcpy(b.id, "no-such");
	ok(box_release(&b) == -ENOENT, "release of what isn't there");
	box_go(&a);
	ok(!box_wait(&a), "the process goes on when told");
	ok(!box_release(&a) && box_gone(&a), "released and gone");
}
