// SPDX-License-Identifier: GPL-2.0-only
/* A reader that keeps its file open. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

#define LINES 40

static int run_many(void *arg)
{
	char path[64];
	int i;

	for (i = 0; i < LINES; i++) {
		sprintf(path, "/t/many-%d", i);
		if (!run(path))
			return 1;
		usleep(2000);
	}
	return 0;
}

void test_reader(void)
{
	struct pollfd p = { .events = POLLIN };
	char buf[4096], text[65536] = "", *line, *rest = text;
	int i, wakes = 0, seen = 0, in_order = 1;
	size_t len = 0;
	struct box b;
	ssize_t n;

	for (i = 0; i < LINES; i++) {
		sprintf(buf, "/t/many-%d", i);
		make_program(buf, 300 + i);
	}
	box_start(&b, "reader", CLONE_NEWPID | CLONE_NEWNS, run_many, NULL);
	p.fd = open(CONTAINERS "reader/ascii_runtime_measurements_sha256",
		    O_RDONLY);
	ok(poll(&p, 1, 0) == 0, "nothing to read yet");
	box_go(&b);
	while (seen < LINES && poll(&p, 1, 10000) == 1) {
		wakes++;
		while ((n = read(p.fd, buf, sizeof(buf))) > 0) {
			memcpy(text + len, buf, n);
			len += n;
			for (i = 0; i < n; i++)
				seen += buf[i] == '\n';
		}
	}
	ok(!box_wait(&b), "the programs ran");
	ok(seen == LINES, "each line is read: %d, in %d wakes", seen, wakes);
	ok(wakes > LINES / 4, "a reader is woken line by line: %d", wakes);
	for (i = 0; (line = strsep(&rest, "\n")) && *line; i++) {
		sprintf(buf, "/t/many-%d", i);
		line = strrchr(line, ' ') + 1;
		in_order &= !strcmp(line, buf);
	}
	ok(i == LINES && in_order, "once, and in order");

	ok(poll(&p, 1, 0) == 0, "no hang-up while it is not released");
	box_release(&b);
	ok(poll(&p, 1, 10000) == 1, "a wake-up once it is closed");
	ok(p.revents == POLLHUP,
	   "of a hang-up: %#x", p.revents);
	ok(box_gone(&b), "its directory is gone");
	ok(lseek(p.fd, 0, SEEK_SET) == 0 && read(p.fd, buf, sizeof(buf)) > 0,
	   "who has it open can read it still");
	close(p.fd);
}
