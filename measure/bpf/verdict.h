/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whether a file may run, and what follows where it may not. */
#ifndef LACRE_VERDICT_H
#define LACRE_VERDICT_H

#include "rules.h"
#include "leases.h"
#include "tasks.h"

static __always_inline void strike(struct slot *s, struct event *e)
{
	if (!(s->flags & SLOT_ENFORCE))
		return;
	if (!bpf_send_signal(SIGKILL)) {
		e->flags |= TOLD_KILLED;
		__sync_fetch_and_add(&s->kills, 1);
	}
}

/* A rule of the policy lets it pass, and whoever follows it is told once a process. */
static __always_inline bool passes_by_rule(struct task_struct *task, u64 slot, struct slot *s,
					   void *allowed, struct look *look, bool *is_told)
{
	struct file_key key = look->key;
	u32 tgid = task->tgid, *told;

	if (!s->rules || !(s->flags & SLOT_ENFORCE) ||
	    !is_let_pass(slot, s, (void *)look->file))
		return 0;
	key.ctime_nsec |= TOLD_OF;
	told = bpf_map_lookup_elem(allowed, &key);
	*is_told = told && *told == tgid;
	/* without room it is told each time */
	if (!*is_told)
		bpf_map_update_elem(allowed, &key, &tgid, 0);
	return 1;
}

/* Whether it lives: the image's own, or let pass by the policy. */
static __always_inline bool miss(struct task_struct *task, u64 slot, struct slot *s, void *allowed,
				 struct look *look, u32 kind, u64 address)
{
	struct file *file = (void *)look->file;
	bool is_told = 0, lives;
	struct event *e;

	if (look->flags & TOLD_NAMELESS)
		lives = (s->flags & SLOT_SPARE_PROGRAMS) != 0;
	else
		lives = look->flags & TOLD_IMAGES ||
			passes_by_rule(task, slot, s, allowed, look, &is_told);
	if (is_told && kind == EVENT_FETCH)
		return lives;
	e = begin(task, kind);
	if (!e)
		return lives;
	e->key = look->key;
	e->size = look->size;
	e->address = address;
	e->flags = look->flags;
	if (!lives)
		strike(s, e);
	tell_file(task, e, file);
	tell(slot, s, e);
	return lives;
}

/* Memory that is executed: told once a process, of the program that has it. */
static __always_inline void memory(struct task_struct *task, struct tag *tag, u64 slot,
				   struct slot *s, struct look *look, u64 address)
{
	u32 told = look->anonymous ? TAG_TOLD_PRIVATE : TAG_TOLD_SHARED;
	struct file *program = BPF_CORE_READ(task, mm, exe_file);
	struct look its = {};
	struct event *e;

	if (tag->flags & told && (s->flags & SLOT_SPARE_MEMORY || !(s->flags & SLOT_ENFORCE)))
		return;
	tag->flags |= told;
	e = begin(task, EVENT_MEMORY);
	if (!e)
		return;
	e->address = address;
	e->flags = look->flags & TOLD_MEMFD;
	if (!look->anonymous)
		e->flags |= TOLD_SHARED;
	if (!(s->flags & SLOT_SPARE_MEMORY))
		strike(s, e);
	if (program) {
		look_at(program, &its);
		e->key = its.key;
		tell_file(task, e, program);
	}
	tell(slot, s, e);
}

/* The verdict's flags, or -1 for a file that the map does not allow, or that is written to. */
static __always_inline s64 verdict_of(void *allowed, struct slot *s, struct look *look)
{
	u32 *verdict;

	/* First: what is remembered of a file says nothing while somebody can write to it, and
	 * what is unknown must not come to be remembered then. */
	if (look->writers) {
		look->flags |= TOLD_WRITTEN;
		return -1;
	}
	verdict = bpf_map_lookup_elem(allowed, &look->key);
	if (!verdict)
		return verdict_while_leased(allowed, s, look);
	return *verdict;
}

#endif
