/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which paths the policy lets run. */
#ifndef LACRE_RULES_H
#define LACRE_RULES_H

#include "tell.h"

struct follow {
	u64 slot;
	u64 hash;
	u64 multiplier;
	u32 rules;
	u32 state;
	u32 end;
};

static __always_inline u32 *rule(struct follow *follow, u32 dev, u64 ino)
{
	struct file_key key = {
		.ino = ino,
		.dev = dev,
		.ctime_nsec = RULE_NSEC,
		.ctime_sec = follow->rules,
	};
	void *allowed = bpf_map_lookup_elem(&verdicts, &follow->slot);

	return allowed ? bpf_map_lookup_elem(allowed, &key) : 0;
}

static long on_step(u32 index, void *context)
{
	struct follow *follow = context;
	u32 zero = 0, *next;
	struct event *e = bpf_map_lookup_elem(&scratch, &zero);
	u8 byte;

	if (!e || index >= follow->end || index >= NAMES_MAX + NAME_MAX)
		return 1;
	byte = e->data[index];
	follow->hash = (follow->hash ^ byte) * follow->multiplier;
	if (!follow->state)
		return 0;
	next = rule(follow, RULE_STEP, RULE_STATE(follow->state) | byte);
	if (!next)
		next = rule(follow, RULE_STEP, RULE_STATE(follow->state) | RULE_OTHER);
	follow->state = next ? *next : 0;
	return 0;
}

/* By the file's name in the container, whatever root or namespace the task made itself: its
 * mount is one of the container's own, or of the node's, to which nothing of the container
 * leads but what the node opened. */
static __always_inline bool is_let_pass(u64 slot, struct slot *s, struct file *file)
{
	struct shown shown = shown_of(file);
	struct walk walk = { .dentry = shown.dentry, .mount = shown.mount };
	struct follow follow = {
		.slot = slot,
		.hash = s->seed,
		.multiplier = s->multiplier,
		.rules = s->rules,
		.state = 1,
	};
	struct mount *top;
	u32 inum, *found;

	bpf_loop(128, on_name, &walk, 0);
	if (!(s->flags & SLOT_ANY_NAME)) {
		top = walk.top;
		if (!walk.done || !top)
			return 0;
		inum = BPF_CORE_READ(top, mnt_ns, ns.inum);
		if (!inum || (inum != s->inum && inum != s->host))
			return 0;
	}
	follow.end = walk.at;
	bpf_loop(NAMES_MAX + NAME_MAX, on_step, &follow, 0);
	found = rule(&follow, RULE_LISTED, follow.hash);
	if (found)
		return *found != 0;
	return follow.state && rule(&follow, RULE_STEP, RULE_STATE(follow.state) | RULE_END);
}

#endif
