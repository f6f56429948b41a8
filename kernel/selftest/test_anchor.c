// SPDX-License-Identifier: GPL-2.0-only
/* The aggregate, and what a verifier finds wrong in a list. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

static void check_tampering(const struct box *b, struct list *l,
			    const struct event *e, unsigned long count)
{
	struct line saved = l->lines[1];
	struct list shorter = *l;
	struct box other = *b;

	shorter.count--;
	ok(!verifies(b, &shorter, e, count, true), "a list cut short is seen");
	l->lines[1].digest[5] ^= 1;
	ok(!verifies(b, l, e, count, true), "a changed line is seen");
	l->lines[1] = l->lines[0];
	l->lines[0] = saved;
	ok(!verifies(b, l, e, count, true), "swapped lines are seen");
	l->lines[0] = l->lines[1];
	l->lines[1] = saved;
	other.seq--;
	ok(!verifies(&other, l, e, count, true), "another incarnation is seen");
	other = *b;
	other.secret[0] ^= 1;
	ok(!verifies(&other, l, e, count, true), "another secret sees nothing");
}

void test_anchor(void)
{
	static char *programs[] = { "/t/anchor-1", "/t/anchor-2", "/t/anchor-3", NULL };
	static const uint8_t zero[DIGEST];
	struct box a, b;
	struct list l;
	unsigned long i, count;
	struct event *e;
	int fd, in_order = 1;

	for (i = 0; i < 3; i++)
		make_program(programs[i], 400 + i);
	box_start(&a, "anchor-a", CLONE_NEWPID | CLONE_NEWNS, run_args, programs);
	box_start(&b, "anchor-b", CLONE_NEWPID | CLONE_NEWNS, run_args, programs);
	box_go(&a);
	box_go(&b);
	ok(!box_wait(&a) && !box_wait(&b), "two containers run");

	l = box_list(&a);
	fd = open(CONTAINERS "anchor-a/binary_runtime_measurements_sha256", O_RDONLY);
	e = aggregate(&count);
	ok(!memcmp(e[0].tag, zero, DIGEST) && e[0].batch == 0 && e[0].pcr == 12,
	   "the aggregate begins with what was in the PCR");
	for (i = 1; i < count; i++)
		in_order &= e[i].batch == e[i - 1].batch ||
			    e[i].batch == e[i - 1].batch + 1;
	ok(in_order, "batches are counted");
	ok(l.count == 3 && verifies(&a, &l, e, count, false), "a's part verifies");
	free(e);

	box_release(&a);
	ok(box_gone(&a), "a is closed");
	e = aggregate(&count);
	ok(verifies(&a, &l, e, count, true), "a's part verifies, its end too");
	check_tampering(&a, &l, e, count);
	free(e);
	list_free(&l);
	close(fd);

	l = box_list(&b);
	e = aggregate(&count);
	ok(verifies(&b, &l, e, count, false), "b's part verifies");
	free(e);
	list_free(&l);
	box_release(&b);
	box_gone(&b);
	check_tpm();
}
