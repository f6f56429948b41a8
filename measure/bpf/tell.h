/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Events, and the paths in them. */
#ifndef LACRE_TELL_H
#define LACRE_TELL_H

#include "files.h"
#include "maps.h"
#include "tasks.h"

struct walk {
	struct dentry *dentry, *root;
	struct vfsmount *mount, *root_mount;
	struct mount *top; /* there where the walk went that far */
	u32 from, at; /* where its names begin, and the next one goes */
	u32 done;
};

static long on_name(u32 index, void *context)
{
	struct walk *walk = context;
	struct dentry *dentry = walk->dentry;
	struct vfsmount *vfsmount = walk->mount;
	struct event *e;
	u32 zero = 0, at = walk->at;
	long n;

	if (dentry == walk->root && vfsmount == walk->root_mount) {
		walk->done = 1;
		return 1;
	}
	if (dentry == BPF_CORE_READ(vfsmount, mnt_root)) {
		struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
		struct mount *parent = BPF_CORE_READ(mount, mnt_parent);

		if (parent == mount) {
			walk->top = mount;
			walk->done = 1;
			return 1;
		}
		walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		walk->mount = (void *)parent + bpf_core_field_offset(struct mount, mnt);
		return 0;
	}
	if (dentry == BPF_CORE_READ(dentry, d_parent)) {
		walk->done = 1;
		return 1;
	}
	e = bpf_map_lookup_elem(&scratch, &zero);
	if (!e || at - walk->from >= NAMES_MAX || at >= ARGV_MAX + NAMES_MAX)
		return 1;
	n = bpf_probe_read_kernel_str(&e->data[at], NAME_MAX,
				      BPF_CORE_READ(dentry, d_name.name));
	if (n <= 0)
		return 1;
	walk->at = at + n;
	walk->dentry = BPF_CORE_READ(dentry, d_parent);
	return 0;
}

/* Names from `path` up to the task's root. After the arguments. */
static __always_inline void tell_names(struct task_struct *task, struct event *e,
				       struct dentry *dentry, struct vfsmount *mount)
{
	struct walk walk = {
		.dentry = dentry,
		.mount = mount,
		.root = BPF_CORE_READ(task, fs, root.dentry),
		.root_mount = BPF_CORE_READ(task, fs, root.mnt),
		.from = e->argv_len,
		.at = e->argv_len,
	};

	/* PATH_MAX holds 2048 names; 128 are more than anybody uses */
	bpf_loop(128, on_name, &walk, 0);
	e->names_len = walk.at - walk.from;
	if (!walk.done)
		e->flags |= TOLD_CUT;
}

static __always_inline void tell_file(struct task_struct *task, struct event *e,
				      struct file *file)
{
	struct shown shown = shown_of(file);

	tell_names(task, e, shown.dentry, shown.mount);
}

static __always_inline struct event *begin(struct task_struct *task, u32 kind)
{
	u32 zero = 0;
	struct event *e = bpf_map_lookup_elem(&scratch, &zero);
	struct tag *tag = tag_of(task);

	if (!e)
		return 0;
	__builtin_memset(e, 0, __builtin_offsetof(struct event, data));
	e->kind = kind;
	e->pid = task->tgid;
	e->uid = task->cred->uid.val;
	e->start = task->group_leader->start_boottime;
	e->exec = tag ? tag->exec : 0;
	return e;
}

static __always_inline void tell(u64 slot, struct slot *s, struct event *e)
{
	void *ring = bpf_map_lookup_elem(&rings, &slot);
	u32 used = e->argv_len + e->names_len + e->filename_len;

	if (!ring)
		return;
	if (!(s->flags & SLOT_ENFORCE) && !(e->flags & TOLD_KILLED))
		e->flags |= TOLD_WATCHED;
	__sync_fetch_and_add(&s->events, 1);
	/* In the register that is handed on: the verifier of 6.12 loses the bound of another. */
	asm volatile("%0 &= %1" : "+r"(used) : "i"(DATA_MASK));
	if (bpf_ringbuf_output(ring, e, __builtin_offsetof(struct event, data) + used, 0))
		__sync_fetch_and_add(&s->lost, 1);
}

#endif
