// SPDX-License-Identifier: GPL-2.0-only
/* What create and release take, and what they refuse. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kit.h"

#define SECRET "secret=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static int nothing(void *arg)
{
	return 0;
}

static int create(const char *fmt, int pidfd)
{
	char text[8192];

	snprintf(text, sizeof(text), fmt, pidfd);
	return write_file(CONTAINERS "create", text, strlen(text));
}

static void refused_grammar(int pidfd)
{
	static const char * const texts[] = {
		"", "\n", "id=x\n", "id=x pidfd=%d\n", "pidfd=%d " SECRET,
		"id=x " SECRET, "id= pidfd=%d " SECRET,
		"id=.x pidfd=%d " SECRET, "id=a/b pidfd=%d " SECRET,
		"id=.. pidfd=%d " SECRET, "id=x pidfd=abc%d " SECRET,
		"id=x pidfd=%d secret=00", "id=x pidfd=%d " SECRET "00",
		"id=x pidfd=%d secret=zz0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"id=x id=y pidfd=%d " SECRET, "id=x pidfd=%d " SECRET " limit=0",
		"id=x pidfd=%d " SECRET " limit=99999999",
		"id=x pidfd=%d " SECRET " more=1", "id=x\t pidfd=%d " SECRET,
	};
	char text[512], name[302];
	unsigned int i;
	int rc;

	for (i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		rc = create(texts[i], pidfd);
		if (!strlen(texts[i]))
			continue;	/* a write of nothing does nothing */
		ok(rc == -EINVAL, "create refuses \"%.*s\": %d",
		   (int)strcspn(texts[i], "\n"), texts[i], rc);
	}
	memset(name, 'x', 201);
	name[201] = 0;
	sprintf(text, "id=%s pidfd=%%d " SECRET, name);
	ok(create(text, pidfd) == -EINVAL, "create refuses an id of 201");
}

static int as_nobody(void *arg)
{
	if (setgid(65534) || setuid(65534))
		return 1;
	return open(CONTAINERS "create", O_WRONLY) < 0 &&
	       open(CONTAINERS "aggregate", O_RDONLY) < 0 ? 0 : 2;
}

/* Root of a user namespace of its own, with the file open by the first root. */
static int as_other_root(int fd)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (unshare(CLONE_NEWUSER))
			_exit(1);
		_exit(write(fd, "id=x", 4) < 0 && errno == EPERM ? 0 : 2);
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

	refused_grammar(a.pidfd);
	b = a;
	ok(box_create(&b, "") == -EBUSY, "the same process twice");
	strcpy(b.id, "create-b");
	ok(box_create(&b, "") == -EBUSY, "the same process by another id");
	ok(create("id=x pidfd=9999%d " SECRET, 9) == -EBADF, "no such descriptor");
	fd = open("/dev/null", O_RDONLY);
	ok(create("id=x pidfd=%d " SECRET, fd) == -EBADF, "not a pidfd");
	close(fd);

	rc = box_start(&b, "create-a", CLONE_NEWPID | CLONE_NEWNS, nothing, NULL);
	ok(rc == -EEXIST, "another process by the same id: %d", rc);
	strcpy(b.id, "create-limit");
	rc = box_create(&b, " limit=1");
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
	ok(create("id=x pidfd=%d " SECRET, fd) == -ESRCH, "a dead process");
	close(fd);

	pid = fork();
	if (!pid)
		_exit(as_nobody(NULL));
	waitpid(pid, &status, 0);
	ok(!status, "nobody opens neither create nor aggregate: %d", status >> 8);
	fd = open(CONTAINERS "create", O_WRONLY);
	rc = as_other_root(fd);
	ok(!rc, "root of another user namespace can't create: %d", rc);
	close(fd);

	ok(write_file(CONTAINERS "release", "no-such", 7) == -ENOENT,
	   "release of what isn't there");
	box_go(&a);
	ok(!box_wait(&a), "the process goes on when told");
	ok(!box_release(&a) && box_gone(&a), "released and gone");
}
