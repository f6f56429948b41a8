// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs inside the guest as root, with securityfs mounted and the policy loaded.
 * ima_container_test [LINES [ROUNDS]]: how long the long list is, how many
 * rounds of stress. With LINES 0 there is only the benchmark.
 * ima_container_test full: what takes a small ima.container_events_max.
 * ima_container_test kexec: ends in the kernel that run.sh has laid ready, where
 * ima_container_test after-kexec goes on.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kit.h"

static int run_named(const char *name)
{
	if (!strcmp(name, "full"))
		test_full();
	else if (!strcmp(name, "kexec"))
		test_kexec();
	else
		test_after_kexec();
	return report();
}

int main(int argc, char **argv)
{
	long lines = argc > 1 ? atol(argv[1]) : 100000;
	bool named = argc > 1 && !isdigit(argv[1][0]);
	int rounds = argc > 2 ? atoi(argv[2]) : 20;

	plan();
	mkdir("/t", 0755);
	if (!named && !lines) {
		bench();
		bench();
		return 0;
	}
	if (access(CONTAINERS "control", F_OK)) {
		puts("Bail out! no containers: boot with ima_container=on");
		return 1;
	}
	if (named)
		return run_named(argv[1]);
	test_create();
	test_lists();
	test_membership();
	test_reader();
	test_violations();
	test_anchor();
	test_life();
	test_overflow();
	test_unreadable();
	test_stress(rounds);
	test_long_list(lines);
	test_anchor();
	test_tpm_is_late();
	test_tpm_stops();
	test_tpm_dies();
	return report();
}
