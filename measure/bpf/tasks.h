/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which container a task belongs to. */
#ifndef LACRE_TASKS_H
#define LACRE_TASKS_H

#include <bpf/bpf_core_read.h>
#include "maps.h"

u64 strayed = 0;

static __always_inline struct stray stray_of(struct task_struct *task)
{
	struct stray key = { .start = task->start_boottime, .pid = task->pid };

	return key;
}

static __always_inline struct tag *tag_of(struct task_struct *task)
{
	struct tag *tag = bpf_task_storage_get(&tags, task, 0, 0);

	if (!tag && strayed) {
		struct stray key = stray_of(task);

		tag = bpf_map_lookup_elem(&strays, &key);
	}
	return tag;
}

static __always_inline void lose(u64 slot)
{
	struct slot *s = bpf_map_lookup_elem(&slots, &slot);

	if (s)
		__sync_fetch_and_add(&s->lost, 1);
}

static __always_inline struct tag *give_tag(struct task_struct *task, struct tag *value)
{
	struct tag *tag =
		bpf_task_storage_get(&tags, task, value, BPF_LOCAL_STORAGE_GET_F_CREATE);
	struct stray key;

	if (tag)
		return tag;
	key = stray_of(task);
	__sync_fetch_and_add(&strayed, 1);
	if (bpf_map_update_elem(&strays, &key, value, 0)) {
		lose(value->slot);
		return 0;
	}
	return bpf_map_lookup_elem(&strays, &key);
}

#define SIGKILL 9

enum pid_type {
	PIDTYPE_PID,
	PIDTYPE_TGID,
};

/* Since 6.13. */
extern int bpf_send_signal_task(struct task_struct *task, int sig, enum pid_type type,
				u64 value) __ksym __weak;

/* Ends both sides of a fork of what must end. Before 6.13 only the first, and user space looks
 * for the other. */
static __always_inline void end_condemned(struct tag *tag, struct task_struct *child)
{
	struct exec_id id = { .slot = tag->slot, .exec = tag->exec };

	u32 *ended = bpf_map_lookup_elem(&condemned, &id);

	if (!ended)
		return;
	if (!bpf_send_signal(SIGKILL))
		__sync_fetch_and_add(ended, 1);
	if (bpf_ksym_exists(bpf_send_signal_task))
		bpf_send_signal_task(child, SIGKILL, PIDTYPE_TGID, 0);
}

static __always_inline u64 id_of(struct mnt_namespace *ns)
{
	struct mnt_namespace___seq *seq = (void *)ns;
	struct ns_common___id *common = (void *)&ns->ns;

	if (bpf_core_field_exists(seq->seq))
		return BPF_CORE_READ(seq, seq);
	if (bpf_core_field_exists(common->ns_id))
		return BPF_CORE_READ(common, ns_id);
	return 0;
}

/* The slot of the container whose mount namespace the task is in; 0 for none. */
static __always_inline u64 slot_by_namespace(struct task_struct *task)
{
	struct mnt_namespace *ns = task->nsproxy->mnt_ns;
	u32 inum = ns->ns.inum;
	struct container *c = bpf_map_lookup_elem(&containers, &inum);
	u64 id;

	if (!c)
		return 0;
	id = id_of(ns);
	/* Before 6.11 user space could not ask for it. Who is seen first is the container's own:
	 * its init holds the namespace when it is put in. */
	if (!c->ns_id)
		c->ns_id = id;
	return c->ns_id == id ? c->slot : 0;
}

/* Whether a path may lead the task elsewhere than its container. */
static __always_inline bool is_elsewhere(struct slot *s, struct task_struct *task)
{
	struct dentry *root = BPF_CORE_READ(task, fs, root.dentry);
	struct super_block *sb = BPF_CORE_READ(root, d_sb);

	if (s->inum && task->nsproxy->mnt_ns->ns.inum != s->inum)
		return 1;
	/* Of a root that is no overlay nothing is known here. */
	return s->root && (BPF_CORE_READ(sb, s_dev) != s->root || BPF_CORE_READ(sb, s_root) != root);
}

#endif
