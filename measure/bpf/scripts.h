/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The arguments of interpreters. */
#ifndef LACRE_SCRIPTS_H
#define LACRE_SCRIPTS_H

#include "maps.h"

struct arguments {
	u64 from, end;
	u32 at;
	bool rest;   /* of an argument of which enough is told */
	bool option; /* the one before was one */
	bool left_out;
};

static long on_part(u32 index, void *context)
{
	struct arguments *walk = context;
	u32 zero = 0, at = walk->at;
	struct event *e = bpf_map_lookup_elem(&scratch, &zero);
	bool rest = walk->rest, option;
	long n;

	if (!e || walk->from >= walk->end || at > ARGV_MAX - ARG_MAX)
		return 1;
	n = bpf_probe_read_user_str(&e->data[at], ARG_MAX, (void *)walk->from);
	if (n <= 0)
		return 1;
	/* Its NUL is put there where it is longer, too. */
	walk->rest = n == ARG_MAX;
	walk->from += n == ARG_MAX ? ARG_MAX - 1 : n;
	if (rest)
		return 0;
	option = e->data[at] == '-';
	if (at >= BARE_MAX && !option && !walk->option)
		walk->left_out = 1;
	else
		walk->at = at + n;
	walk->option = option;
	return 0;
}

/* Who runs for a moment has ended before anybody else could read them: as much as most often
 * decides. Of a program's text the beginning, of many files that it works on the first. */
static __always_inline void tell_argv(struct task_struct *task, struct event *e)
{
	struct arguments walk = { .from = task->mm->arg_start, .end = task->mm->arg_end };

	bpf_loop(16384, on_part, &walk, 0);
	e->argv_len = walk.at;
	if (walk.from < walk.end)
		e->flags |= TOLD_ARGV_CUT;
	if (walk.left_out)
		e->flags |= TOLD_LEFT_OUT;
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

	if (!e || index >= ARG_MAX)
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
		code_after_c = IS(3, 0x6873) ||	    /* sh */
			       IS(4, 0x687361) ||   /* ash */
			       IS(5, 0x68736162) || /* bash */
			       IS(5, 0x68737568);   /* hush */
		/* busybox and toybox are what begins so. */
		if (!code_after_c && !IS(4, 0x6b7761) && /* awk */
		    !IS(4, 0x646573) &&			 /* sed */
		    !IS(7, 0x786f6279737562ULL) &&	 /* busybox… */
		    !IS(6, 0x786f62796f74ULL))		 /* toybox… */
			return 0;
#undef IS
	}
	bpf_probe_read_kernel(&option, sizeof(option), &e->data[scan.end & 255]);
	return !code_after_c || (option & 0xffffff) != 0x632d; /* -c */
}

#endif
