/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether a file may run, and what follows where it may not. */
#ifndef LACRE_VERDICT_H
#define LACRE_VERDICT_H

#include "tell.h"

#define SIGKILL 9

static __always_inline void strike(struct slot *s, struct event *e)
{
	if (!(s->flags & SLOT_ENFORCE))
		return;
	if (!bpf_send_signal(SIGKILL)) {
		e->flags |= TOLD_KILLED;
		__sync_fetch_and_add(&s->kills, 1);
	}
}

static __always_inline void miss(struct task_struct *task, u64 slot, struct slot *s,
				 struct look *look, u32 kind, u64 address)
{
	struct file *file = (void *)look->file;
	struct event *e = begin(task, kind);

	if (!e)
		return;
	look_closer(file, look);
	e->key = look->key;
	e->size = look->size;
	e->address = address;
	e->flags = look->flags;
	if (kind != EVENT_FETCH || !(s->flags & SLOT_SPARE_MEMORY) ||
	    !(look->flags & (TOLD_MEMFD | TOLD_SHMEM)))
		strike(s, e);
	tell_file(task, e, file);
	tell(slot, s, e);
}

/* The verdict's flags, or -1 for a file that the map does not allow. */
static __always_inline s64 verdict_of(void *allowed, struct look *look)
{
	u32 *verdict = bpf_map_lookup_elem(allowed, &look->key);

	if (!verdict)
		return -1;
	if (look->writers) {
		look->flags |= TOLD_WRITTEN;
		return -1;
	}
	return *verdict;
}

#endif
