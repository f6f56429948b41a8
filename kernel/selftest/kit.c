// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kit.h"

static int tests, failures;

void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

int write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	ssize_t n;
	int err;

	if (fd < 0)
		return -errno;
	n = write(fd, data, len);
	err = errno;
	close(fd);
	return n == (ssize_t)len ? 0 : -err;
}

char *slurp(const char *path, size_t *len)
{
	size_t size = 1 << 16, used = 0;
	char *buf = malloc(size);
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(path);
	while ((n = read(fd, buf + used, size - used - 1)) > 0) {
		used += n;
		if (size - used < 2)
			buf = realloc(buf, size *= 2);
	}
	close(fd);
	buf[used] = 0;
	if (len)
		*len = used;
	return buf;
}

/* Containers */

int control(unsigned long request, const void *argument)
{
	int fd = open(CONTAINERS "control", O_RDWR | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = ioctl(fd, request, argument) ? -errno : 0;
	close(fd);
	return rc;
}

int box_create(struct box *b, unsigned int limit_mib)
{
	struct ima_container_create args = { .pidfd = b->pidfd, .limit_mib = limit_mib };
	char path[256];
	int rc;

	snprintf(args.id, sizeof(args.id), "%s", b->id);
	memcpy(args.secret, b->secret, DIGEST);
	rc = control(IMA_CONTAINER_CREATE, &args);
	if (!rc) {
		sprintf(path, CONTAINERS "%s/info", b->id);
		b->seq = key_value(path, "seq");
	}
	return rc;
}

int box_start(struct box *b, const char *id, int clone_flags,
	      int (*fn)(void *), void *arg)
{
	int pipe_fds[2], i;
	char c;

	snprintf(b->id, sizeof(b->id), "%s", id);
	for (i = 0; i < DIGEST; i++)
		b->secret[i] = rand();
	if (pipe2(pipe_fds, O_CLOEXEC))
		die("pipe");
	fflush(stdout);
	b->pid = syscall(SYS_clone, clone_flags | SIGCHLD, 0, 0, 0, 0);
	if (b->pid < 0)
		die("clone");
	if (!b->pid) {
		close(pipe_fds[1]);
		_exit(read(pipe_fds[0], &c, 1) == 1 ? fn(arg) : 99);
	}
	close(pipe_fds[0]);
	b->go = pipe_fds[1];
	b->pidfd = syscall(SYS_pidfd_open, b->pid, 0);
	return box_create(b, 0);
}

void box_go(struct box *b)
{
	if (write(b->go, "g", 1) != 1)
		die("box_go");
	close(b->go);
	b->go = -1;
}

int box_wait(struct box *b)
{
	int status;

	if (b->go >= 0)
		close(b->go);
	if (waitpid(b->pid, &status, 0) < 0)
		die("waitpid");
	close(b->pidfd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int box_release(struct box *b)
{
	struct ima_container_release args = {};

	snprintf(args.id, sizeof(args.id), "%s", b->id);
	return control(IMA_CONTAINER_RELEASE, &args);
}

bool box_gone(struct box *b)
{
	char path[256];
	double end = now() + 10;

	sprintf(path, CONTAINERS "%s", b->id);
	while (!access(path, F_OK)) {
		if (now() > end)
			return false;
		usleep(1000);
	}
	return true;
}

/* Numbers that the kernel shows */

unsigned long box_number(const struct box *b, const char *file)
{
	char path[256], *text;
	unsigned long n;

	sprintf(path, CONTAINERS "%s/%s", b->id, file);
	text = slurp(path, NULL);
	n = strtoul(text, NULL, 10);
	free(text);
	return n;
}

unsigned long host_number(const char *file)
{
	char path[256], *text;
	unsigned long n;

	sprintf(path, IMA "%s", file);
	text = slurp(path, NULL);
	n = strtoul(text, NULL, 10);
	free(text);
	return n;
}

long key_value(const char *path, const char *key)
{
	char *text = slurp(path, NULL), *line, *rest = text;
	size_t len = strlen(key);
	long value = -1;

	while ((line = strsep(&rest, "\n")))
		if (!strncmp(line, key, len) && line[len] == ' ')
			value = atol(line + len + 1);
	free(text);
	return value;
}

/* Files */

void make_program(const char *path, unsigned long salt)
{
	size_t len;
	char *tiny = slurp("/tiny", &len);

	memcpy(tiny + len - sizeof(salt), &salt, sizeof(salt));
	unlink(path);
	if (write_file(path, tiny, len))
		die(path);
	free(tiny);
}

void make_measured(const char *path, const char *text)
{
	unlink(path);
	if (write_file(path, text, strlen(text)) ||
	    chown(path, MEASURED_OWNER, 0))
		die(path);
}

bool run(const char *path)
{
	char *argv[] = { (char *)path, NULL };
	pid_t pid = fork();
	int status;

	if (!pid) {
		execv(path, argv);
		_exit(127);
	}
	return waitpid(pid, &status, 0) == pid && status == 0;
}

int run_args(void *arg)
{
	char **path;

	for (path = arg; *path; path++)
		if (!run(*path))
			return 1;
	return 0;
}

void read_all(const char *path)
{
	free(slurp(path, NULL));
}

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

char *boot_word(const char *name)
{
	char *text = slurp("/proc/cmdline", NULL), *word, *rest = text;
	size_t len = strlen(name);
	char *value = NULL;

	while (!value && (word = strsep(&rest, " \n")))
		if (!strncmp(word, name, len) && word[len] == '=')
			value = strdup(word + len + 1);
	free(text);
	return value;
}

long kernel_said(const char *what)
{
	static char text[1 << 20];
	int n = klogctl(3, text, sizeof(text) - 1);
	const char *at = text;
	long times = 0;

	text[n < 0 ? 0 : n] = 0;
	while ((at = strstr(at, what))) {
		times++;
		at++;
	}
	return times;
}

void to_hex(char hex[2 * DIGEST + 1], const uint8_t digest[DIGEST])
{
	int i;

	for (i = 0; i < DIGEST; i++)
		sprintf(hex + 2 * i, "%02x", digest[i]);
}

bool from_hex(uint8_t digest[DIGEST], const char *hex)
{
	unsigned int byte;
	int i;

	for (i = 0; i < DIGEST; i++, hex += 2) {
		if (sscanf(hex, "%2x", &byte) != 1)
			return false;
		digest[i] = byte;
	}
	return true;
}

/* TAP */

void plan(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("TAP version 13");
}

void ok(bool good, const char *fmt, ...)
{
	va_list args;

	printf("%sok %d - ", good ? "" : "not ", ++tests);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	failures += !good;
}

int report(void)
{
	printf("1..%d\n# %d passed, %d failed\n", tests, tests - failures,
	       failures);
	return failures != 0;
}
