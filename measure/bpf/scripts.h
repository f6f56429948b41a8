/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The arguments of interpreters. */
#ifndef LACRE_SCRIPTS_H
#define LACRE_SCRIPTS_H

#include "maps.h"

static __always_inline void tell_argv(struct task_struct *task, struct event *e)
{
	u64 start = task->mm->arg_start;
	u64 length = task->mm->arg_end - start;

	/* Who runs for a moment has ended before anybody else could read them. */
	if (length > ARGV_MAX) {
		u64 whole = length;

		if (whole > WHOLE_MAX)
			whole = WHOLE_MAX;
		if (!bpf_probe_read_user(e->whole, whole, (void *)start))
			e->whole_len = whole;
		length = ARGV_MAX;
	}
	if (!bpf_probe_read_user(e->data, length, (void *)start))
		e->argv_len = length;
}

struct scan {
	u32 base; /* where the last part of argv[0] begins */
	u32 end;  /* behind its NUL */
};

static long on_byte(u32 index, void *context)
{
	struct scan *scan = context;
	u32 zero = 0;
	struct event *e = bpf_map_lookup_elem(&scratch, &zero);
	u8 byte;

	if (!e || index >= ARGV_MAX)
		return 1;
	byte = e->data[index];
	if (!byte) {
		scan->end = index + 1;
		return 1;
	}
	if (byte == '/')
		scan->base = index + 1;
	return 0;
}

/* Whether there may be a script among the arguments. What can't be told here is for user
 * space: the script of `-c code` is not, as a shell run for one line is most of them. */
static __always_inline bool may_have_script(struct event *e, u32 verdict)
{
	bool code_after_c = !(verdict & VERDICT_SCRIPT_AFTER_C);
	struct scan scan = {};
	u32 option = 0;

	bpf_loop(128, on_byte, &scan, 0);
	if (!scan.end)
		return 1;
	if (verdict & VERDICT_MULTICALL) {
		u32 base = scan.base & 127;
		u64 word;

		if (e->data[base] == '-')
			base++;
		bpf_probe_read_kernel(&word, sizeof(word), &e->data[base]);
#define IS(bytes, value) ((word & ((1ULL << ((bytes) * 8)) - 1)) == (value))
		code_after_c = IS(3, 0x6873) ||	  /* sh */
			       IS(4, 0x687361) || /* ash */
			       IS(5, 0x68737568); /* hush */
		if (!code_after_c && !IS(4, 0x6b7761) &&     /* awk */
		    !IS(4, 0x646573) &&			     /* sed */
		    word != 0x00786f6279737562ULL &&	     /* busybox */
		    !IS(7, 0x786f62796f74))		     /* toybox */
			return 0;
#undef IS
	}
	bpf_probe_read_kernel(&option, sizeof(option), &e->data[scan.end & 255]);
	return !code_after_c || (option & 0xffffff) != 0x632d; /* -c */
}

#endif
