/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Files that lacre keeps still: who knows their content holds a read lease on each, for which
 * every writer waits. A change of owner, mode, time, links or flags gives a file another date,
 * and breaks no lease: where the lease is whole, its content is what it was. */
#ifndef LACRE_LEASES_H
#define LACRE_LEASES_H

#include "files.h"
#include "maps.h"

#define CAP_SYS_ADMIN 21

/* As many leases of one file are looked at. The kernel has the oldest first. */
#define LEASES_LOOKED_AT 4

/* Whether a lease is the guard's: taken by its process, on what was opened by someone who
 * administers the node. After its death another process may have its number, and no more. */
static __always_inline bool is_guards(struct slot *s, struct list_head *node)
{
	struct file_lock___old *old;
	struct file_lock_core *lock;
	const struct cred *cred;
	struct file *file;
	u32 capable = 0, pid;
	u8 type;

	if (bpf_core_type_exists(struct file_lock_core)) {
		lock = (void *)node - bpf_core_field_offset(struct file_lock_core, flc_list);
		type = BPF_CORE_READ(lock, flc_type);
		pid = BPF_CORE_READ(lock, flc_pid);
		file = BPF_CORE_READ(lock, flc_file);
	} else {
		old = (void *)node - bpf_core_field_offset(struct file_lock___old, fl_list);
		type = BPF_CORE_READ(old, fl_type);
		pid = BPF_CORE_READ(old, fl_pid);
		file = BPF_CORE_READ(old, fl_file);
	}
	if (type != F_RDLCK || pid != s->guard)
		return 0;
	cred = BPF_CORE_READ(file, f_cred);
	/* its lower half, on the machines that are known */
	bpf_core_read(&capable, sizeof(capable), &cred->cap_effective);
	return capable & (1U << CAP_SYS_ADMIN) && !BPF_CORE_READ(cred, user_ns, level);
}

/* The verdict on a file of the container's root while the guard keeps it still, or -1. */
static __always_inline s64 verdict_while_leased(void *allowed, struct slot *s, struct look *look)
{
	struct file_key key = { .dev = s->root, .ctime_nsec = LEASED_NSEC };
	struct list_head *head, *node;
	struct dentry *dentry;
	struct inode *inode;
	u32 *verdict;

	if (!s->root || !s->guard || !look->file)
		return -1;
	dentry = shown_of((void *)look->file).dentry;
	inode = BPF_CORE_READ(dentry, d_inode);
	if (BPF_CORE_READ(inode, i_sb, s_dev) != s->root)
		return -1;
	key.ino = BPF_CORE_READ(inode, i_ino);
	verdict = bpf_map_lookup_elem(allowed, &key);
	if (!verdict)
		return -1;
	head = (void *)BPF_CORE_READ(inode, i_flctx);
	if (!head)
		return -1;
	head = (void *)head + bpf_core_field_offset(struct file_lock_context, flc_lease);
	node = BPF_CORE_READ(head, next);
#pragma unroll
	for (int i = 0; i < LEASES_LOOKED_AT; i++) {
		if (!node || node == head)
			break;
		if (is_guards(s, node))
			return *verdict;
		node = BPF_CORE_READ(node, next);
	}
	return -1;
}

#endif
