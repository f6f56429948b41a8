// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Does nothing: whether the kernel takes it is the question. The function that the second one is
 * for is called by the kernel's own tests alone. */

#define SEC(name) __attribute__((section(name), used))

SEC("lsm/bprm_check_security")
int lacre_lsm(void *context)
{
	return 0;
}

SEC("fentry/bpf_fentry_test1")
int lacre_trampoline(void *context)
{
	return 0;
}

/* The kernel takes a program of these types only if its licence is one that it lists. */
char _license[] SEC("license") = "GPL";
