// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs inside the guest as root, with securityfs mounted and the policy loaded.
 * ima_container_test [LINES [ROUNDS]]: how long the long list is, how many
 * rounds of stress. With LINES 0 there is only the benchmark.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kit.h"

int main(int argc, char **argv)
{
	long lines = argc > 1 ? atol(argv[1]) : 100000;
	int rounds = argc > 2 ? atoi(argv[2]) : 20;

	plan();
	mkdir("/t", 0755);
	if (!lines) {
		bench();
		bench();
		return 0;
	}
	if (access(CONTAINERS "create", F_OK)) {
		puts("Bail out! no containers: boot with ima_container=on");
		return 1;
	}
	test_create();
	test_lists();
	test_membership();
	test_reader();
	test_violations();
	test_anchor();
	test_life();
	test_overflow();
	test_stress(rounds);
	test_long_list(lines);
	test_anchor();
	return report();
}
