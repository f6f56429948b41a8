// SPDX-License-Identifier: GPL-2.0-only
/* What is in a container's list, and what isn't. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

static int entrypoint(void *arg)
{
	char *argv[] = { arg, NULL };

	execv(arg, argv);
	return 1;
}

static bool list_is_sound(const struct list *l)
{
	unsigned long i;

	for (i = 0; i < l->count; i++)
		if (!l->lines[i].violation &&
		    memcmp(l->lines[i].digest, l->lines[i].data_digest, DIGEST))
			return false;
	return true;
}

static void check_cpcr(struct box *b, struct list *l)
{
	char path[256], text[128] = "", want[128], *p = want;
	uint8_t cpcr[DIGEST];
	int i, fd;

	list_cpcr(l, l->count, cpcr);
	p += sprintf(p, "%lu sha256:", l->count);
	for (i = 0; i < DIGEST; i++)
		p += sprintf(p, "%02x", cpcr[i]);
	strcpy(p, "\n");
	sprintf(path, CONTAINERS "%s/cpcr", b->id);
	fd = open(path, O_RDONLY);
	ok(read(fd, text, sizeof(text) - 1) > 0 && !strcmp(text, want),
	   "%s: the list replays to cpcr", b->id);
	close(fd);
}

/* The kernel's own replay is worth nothing if the digest is of another file. */
static bool file_digest_is(const struct list *l, const char *name)
{
	uint8_t buf[65536], digest[DIGEST];
	unsigned long i;
	ssize_t n;
	int fd = open(name, O_RDONLY);

	n = read(fd, buf, sizeof(buf));
	close(fd);
	sha256(buf, n, digest);
	for (i = 0; i < l->count; i++)
		if (!strcmp(l->lines[i].name, name) &&
		    !memcmp(l->lines[i].file_digest, digest, DIGEST))
			return true;
	return false;
}

void test_lists(void)
{
	static char *twice[] = { "/t/one", "/t/two", "/t/one", NULL };
	static char *again[] = { "/t/one", NULL };
	struct box a, b;
	struct list la, lb, host;
	unsigned long before;

	make_program("/t/entry", 1);
	make_program("/t/one", 2);
	make_program("/t/two", 3);

	before = host_number("runtime_measurements_count");
	box_start(&a, "list-entry", CLONE_NEWPID | CLONE_NEWNS, entrypoint,
		  "/t/entry");
	box_go(&a);
	ok(!box_wait(&a), "the entrypoint runs");
	la = box_list(&a);
	ok(la.count == 1 && list_has(&la, "/t/entry") && la.lines[0].pcr == 12,
	   "the first line is the entrypoint");
	ok(file_digest_is(&la, "/t/entry"), "its digest is the file's");
	list_free(&la);

	box_start(&a, "list-a", CLONE_NEWPID | CLONE_NEWNS, run_args, twice);
	box_start(&b, "list-b", CLONE_NEWPID | CLONE_NEWNS, run_args, again);
	box_go(&a);
	ok(!box_wait(&a), "programs run in a");
	box_go(&b);
	ok(!box_wait(&b), "programs run in b");

	la = box_list(&a);
	lb = box_list(&b);
	ok(la.count == 2 && list_has(&la, "/t/one") == 1 &&
	   list_has(&la, "/t/two") == 1, "a has each once: %lu", la.count);
	ok(lb.count == 1 && list_has(&lb, "/t/one") == 1,
	   "b has the file that a had, too");
	ok(list_is_sound(&la) && list_is_sound(&lb),
	   "template digests are of the template data");
	ok(box_number(&a, "runtime_measurements_count") == 2 &&
	   box_number(&a, "violations") == 0, "count and violations agree");
	check_cpcr(&a, &la);
	check_cpcr(&b, &lb);
	host = host_list();
	ok(host_number("runtime_measurements_count") == before &&
	   !list_has(&host, "/t/one"), "nothing of it is in the host's list");
	list_free(&la);
	list_free(&lb);
	list_free(&host);

	ok(run("/t/one"), "the host runs it, too");
	host = host_list();
	ok(list_has(&host, "/t/one") == 1, "and has it in its own list");
	list_free(&host);
	box_release(&a);
	ok(box_gone(&a), "a is gone");

	make_program("/t/one", 4);
	box_start(&a, "list-c", CLONE_NEWPID | CLONE_NEWNS, run_args, again);
	box_go(&a);
	box_wait(&a);
	make_program("/t/one", 5);
	run("/t/one");
	la = box_list(&a);
	ok(list_has(&la, "/t/one") == 1 && !file_digest_is(&la, "/t/one"),
	   "what the host does later is not in it");
	list_free(&la);
	box_release(&a);
	box_release(&b);
}
