// SPDX-License-Identifier: GPL-2.0-only
/* A TPM that does not answer, one that is gone, and an aggregate that is full. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

#define STATUS CONTAINERS "status"
/* Seconds for what a busy machine may be late with. */
#define LONG 60

/* Who runs the guest reads this, see run.sh. */
static void ask(const char *what)
{
	printf("# host, %s the TPM\n", what);
	fflush(stdout);
}

static int run_one(void *arg)
{
	return !run(arg);
}

/* A program that is new to all, in a container that is gone afterwards. */
static bool run_in_box(unsigned long salt, unsigned long *lines)
{
	struct box b;
	bool good;

	make_program("/t/fault", salt);
	if (box_start(&b, "fault", CLONE_NEWPID | CLONE_NEWNS, run_one, "/t/fault"))
		return false;
	box_go(&b);
	good = !box_wait(&b);
	*lines = box_number(&b, "runtime_measurements_count");
	return !box_release(&b) && box_gone(&b) && good;
}

static bool waiting(void)
{
	return key_value(STATUS, "anchored") < key_value(STATUS, "events");
}

static bool deferred(void)
{
	char *mode = boot_word("ima_container");
	bool on = mode && mode[0] == 'o';

	free(mode);
	return on;
}

/* A driver gives a TPM 0.75 s for an extend, cancels, and the TPM does it all the same. */
void test_tpm_is_late(void)
{
	static const char late[] = "Operation Timed out";
	unsigned long salt = 2000, lines = 0, count;
	long before = kernel_said(late), errors = key_value(STATUS, "errors");
	uint8_t tpm[DIGEST], pcr[DIGEST];
	double end = now() + LONG;
	struct event *e;

	if (!has_tpm())
		return;
	ask("hold");
	do
		run_in_box(salt++, &lines);
	while (kernel_said(late) == before && now() < end);
	e = aggregate(&count);
	ok(kernel_said(late) > before, "a TPM answers too late");
	replay(e, count, pcr);
	tpm_pcr(12, tpm);
	ok(!memcmp(pcr, tpm, DIGEST) && key_value(STATUS, "errors") == errors,
	   "and the PCR is the replay");
	free(e);
}

void test_tpm_stops(void)
{
	unsigned long salt = 3000, lines = 0, count;
	uint8_t tpm[DIGEST], pcr[DIGEST];
	double end = now() + LONG;
	struct event *e;
	bool good = true;

	if (!has_tpm() || !deferred())
		return;
	ask("stop");
	do {
		good &= run_in_box(salt++, &lines);
		usleep(20000);
	} while (!waiting() && now() < end);
	/* The next one runs while an extend is under way that does not end. */
	good &= run_in_box(salt++, &lines);
	ok(good && lines == 1, "with a TPM that does not answer, programs run");
	ask("wake");
	e = aggregate(&count);
	ok(!waiting(), "when it answers, nothing waits any more");
	replay(e, count, pcr);
	tpm_pcr(12, tpm);
	ok(!memcmp(pcr, tpm, DIGEST) || key_value(STATUS, "errors") > 0,
	   "the PCR is the replay, or errors says that it is not: %ld",
	   key_value(STATUS, "errors"));
	free(e);
}

void test_tpm_dies(void)
{
	long errors = key_value(STATUS, "errors");
	unsigned long salt = 4000, lines = 0;
	double end = now() + LONG;
	uint8_t pcr[DIGEST];
	bool good = true;

	if (!has_tpm())
		return;
	ask("kill");
	do
		good &= run_in_box(salt++, &lines);
	while (key_value(STATUS, "errors") <= errors && now() < end);
	ok(good && lines == 1, "with a TPM that is gone, programs run and are listed");
	ok(key_value(STATUS, "errors") > errors, "an extend that fails is counted: %ld",
	   key_value(STATUS, "errors"));
	ok(kernel_said("PCR 12 can't be extended"), "and the kernel's log says it");
	ok(!tpm_pcr(12, pcr), "no PCR can be read that one might trust");
}

void test_full(void)
{
	long max = key_value(STATUS, "events_max");
	struct flood f = { "/t", max };
	uint8_t before[DIGEST], after[DIGEST];
	unsigned long i, count, caps = 0, lines;
	struct box a, b;
	struct event *e;
	struct list l;
	int rc;

	make_program("/t/late", 5000);
	box_start(&a, "full-a", CLONE_NEWPID | CLONE_NEWNS, flood, &f);
	box_start(&b, "full-b", CLONE_NEWPID | CLONE_NEWNS, run_one, "/t/late");
	box_go(&a);
	ok(!box_wait(&a), "a container has more to list than the aggregate takes");
	e = aggregate(&count);
	for (i = 0; i < count; i++)
		caps += is_cap(&e[i]);
	ok((long)count == max, "the aggregate ends at its limit: %lu", count);
	ok(caps == 1 && is_cap(&e[count - 1]), "its last event says that it does");
	ok(e[count - 1].batch == e[count - 2].batch + 1, "in a batch of its own");
	ok(kernel_said("aggregate is full"), "the kernel's log says it, too");
	l = box_list(&a);
	ok((long)l.count == max, "the list goes on: %lu", l.count);
	ok(!verifies(&a, &l, e, count, false), "but does not verify");
	list_free(&l);
	free(e);
	check_tpm();

	tpm_pcr(12, before);
	box_go(&b);
	ok(!box_wait(&b), "another container's program runs");
	lines = box_number(&b, "runtime_measurements_count");
	ok(lines == 1, "and is listed: %lu", lines);
	ok(!box_release(&a) && box_gone(&a), "a container goes");
	ok(!box_release(&b) && box_gone(&b), "and the other one");
	free(aggregate(&count));
	tpm_pcr(12, after);
	ok((long)count == max && !memcmp(before, after, DIGEST),
	   "the PCR is extended no more");
	rc = box_start(&a, "full-c", CLONE_NEWPID | CLONE_NEWNS, run_one, "/t/late");
	ok(rc == -ENOSPC, "no container can be made: %d", rc);
	box_wait(&a);
}
