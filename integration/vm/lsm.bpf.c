// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Counts what is executed: that it loads, attaches and is called is all that it shows. */

#define SEC(name) __attribute__((section(name), used))

unsigned long executed;

SEC("lsm/bprm_check_security")
int count(void *context)
{
	__sync_fetch_and_add(&executed, 1);
	return 0;
}

/* The kernel takes a program of this type only if its licence is one that it lists. */
char _license[] SEC("license") = "GPL";
