// SPDX-License-Identifier: GPL-2.0-only
/* Violations reach each container that measured the file, under its own name. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kit.h"

static int hold[2], held[2];

/* Reads its own name of the shared file, and keeps it open until told. */
static int reader(void *arg)
{
	char c;
	int fd = open(arg, O_RDONLY);

	if (fd < 0 || write(held[1], "h", 1) != 1)
		return 1;
	return read(hold[0], &c, 1) == 1 ? 0 : 1;
}

static int bind_reader(void *arg)
{
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (mount("/t/shared", "/t/b", NULL, MS_BIND, NULL))
		return 2;
	return reader("/t/b/file");
}

static int idle(void *arg)
{
	return 0;
}

static int writer(void *arg)
{
	int fd = open("/t/shared/file", O_WRONLY);

	return fd < 0 || close(fd);
}

static void test_tomtou(void)
{
	struct list l;
	struct box a, b, c, w;
	char ch;

	box_start(&a, "tomtou-a", CLONE_NEWNS, reader, "/t/shared/file");
	box_start(&b, "tomtou-b", CLONE_NEWNS, bind_reader, NULL);
	box_start(&c, "tomtou-c", CLONE_NEWNS, idle, NULL);
	box_go(&a);
	ok(read(held[0], &ch, 1) == 1, "a reads");
	box_go(&b);
	ok(read(held[0], &ch, 1) == 1, "b reads");

	box_start(&w, "tomtou-w", CLONE_NEWNS, writer, NULL);
	box_go(&w);
	ok(!box_wait(&w), "a third container writes");

	l = box_list(&a);
	ok(list_has(&l, "/t/shared/file") == 1 &&
	   list_violations(&l, "/t/shared/file") == 1,
	   "a is told, once: %lu lines", l.count);
	ok(box_number(&a, "violations") == 1, "and counts it");
	list_free(&l);
	l = box_list(&b);
	ok(list_violations(&l, "/t/b/file") == 1 &&
	   !list_violations(&l, "/t/shared/file"),
	   "b is told, under its own name for the file");
	list_free(&l);
	ok(!box_number(&c, "violations") && !box_number(&w, "violations"),
	   "who didn't read it is not told");

	/* None of them has read it since: a flood of writers is no flood here. */
	close(open("/t/shared/file", O_WRONLY));
	close(open("/t/shared/file", O_WRONLY));
	ok(box_number(&a, "violations") == 1, "not told again");

	if (write(hold[1], "xx", 2) != 2)
		return;
	ok(!box_wait(&a) && !box_wait(&b), "the readers end");
	box_go(&c);
	box_wait(&c);
	box_release(&a);
	box_release(&b);
	box_release(&c);
	box_release(&w);
	ok(box_gone(&a) && box_gone(&b) && box_gone(&c) && box_gone(&w), "all gone");
}

static int read_it(void *arg)
{
	read_all("/t/shared/file");
	read_all("/t/shared/file");
	return 0;
}

static void test_open_writers(void)
{
	unsigned long before = host_number("violations");
	struct box a, b;
	int fd = open("/t/shared/file", O_WRONLY);

	box_start(&a, "writers-a", CLONE_NEWNS, read_it, NULL);
	box_start(&b, "writers-b", CLONE_NEWNS, read_it, NULL);
	box_go(&a);
	box_wait(&a);
	box_go(&b);
	box_wait(&b);
	ok(box_number(&a, "violations") == 1 && box_number(&b, "violations") == 1,
	   "each that reads a file with writers is told, once: %lu %lu",
	   box_number(&a, "violations"), box_number(&b, "violations"));
	ok(host_number("violations") == before, "the host is not: %lu",
	   host_number("violations") - before);
	read_all("/t/shared/file");
	ok(host_number("violations") == before + 1, "until it reads it, too");
	close(fd);
	box_release(&a);
	box_release(&b);
}

void test_violations(void)
{
	mkdir("/t/shared", 0755);
	mkdir("/t/b", 0755);
	make_measured("/t/shared/file", "content");
	if (pipe(hold) || pipe(held))
		return;
	test_tomtou();
	test_open_writers();
}
