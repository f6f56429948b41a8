/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What is mapped at an address of a task. */
#ifndef LACRE_MAPPINGS_H
#define LACRE_MAPPINGS_H

#include "files.h"

/* lib/maple_tree.c: bits 3 to 6 of a node's address are its type. */
enum {
	MAPLE_LEAF_64 = 1,
	MAPLE_RANGE_64 = 2,
	MAPLE_ARANGE_64 = 3,
	MAPLE_SLOTS = 16,
	MAPLE_DEPTH = 6,
};

struct descent {
	unsigned long address;
	void *entry;
	u32 leaf;
};

static long on_level(u32 level, void *context)
{
	struct descent *descent = context;
	unsigned long root = (unsigned long)descent->entry, address = descent->address;
	void *node = (void *)(root & ~0xffUL);
	u32 type = (root >> 3) & 0xf, slots, i;
	unsigned long pivots[MAPLE_SLOTS - 1] = {};
	struct maple_range_64 *range = node;
	struct maple_arange_64 *arange = node;
	void *slot = 0;

	descent->entry = 0;
	if (type == MAPLE_ARANGE_64) {
		slots = 10;
		bpf_core_read(pivots, sizeof(arange->pivot), &arange->pivot);
	} else if (type == MAPLE_RANGE_64 || type == MAPLE_LEAF_64) {
		slots = 16;
		bpf_core_read(pivots, sizeof(range->pivot), &range->pivot);
	} else {
		return 1;
	}
	for (i = 0; i < MAPLE_SLOTS - 1; i++)
		/* a pivot of 0 behind the first ends the node: the slot goes to its end */
		if (i + 1 >= slots || pivots[i] >= address || (i && !pivots[i]))
			break;
	if (type == MAPLE_ARANGE_64)
		bpf_core_read(&slot, sizeof(slot), &arange->slot[i]);
	else
		bpf_core_read(&slot, sizeof(slot), &range->slot[i]);
	descent->entry = slot;
	if (type == MAPLE_LEAF_64) {
		descent->leaf = 1;
		return 1;
	}
	return !slot;
}

/* The mapping at an address without its lock, by RCU: where page faults are told,
 * interrupts are off, and bpf_find_vma would give the lock back through an interrupt of
 * its own, which costs 12 us in a virtual machine. 0 for none, -1 for a kernel without
 * maple trees (before 6.1). */
static __always_inline long vma_at(struct task_struct *task, unsigned long address,
				   struct vm_area_struct **vma)
{
	struct mm_struct *mm = task->mm;
	struct descent descent = { .address = address };
	unsigned long start, end;

	if (!bpf_core_field_exists(mm->mm_mt))
		return -1;
	/* as a number: its low bits say what it is */
	descent.entry = BPF_CORE_READ(mm, mm_mt.ma_root);
	/* a root that is no node holds one mapping at most, and that from 0 on */
	if (((unsigned long)descent.entry & 3) != 2)
		return 0;
	bpf_loop(MAPLE_DEPTH, on_level, &descent, 0);
	*vma = descent.entry;
	if (!descent.leaf || !*vma)
		return 0;
	start = LOAD(struct vm_area_struct, *vma, vm_start);
	end = LOAD(struct vm_area_struct, *vma, vm_end);
	return start <= address && address < end;
}

static __always_inline void look_at_mapping(struct vm_area_struct *vma, struct look *look)
{
	struct file *file = LOAD(struct vm_area_struct, vma, vm_file);
	unsigned long flags = LOAD(struct vm_area_struct, vma, vm_flags);

	look->found = 1;
	look->shared = (flags & VM_SHARED) != 0;
	/* without operations it is the process's own memory, /dev/zero's too */
	look->anonymous = !LOAD(struct vm_area_struct, vma, vm_ops);
	/* vdso, uprobes: mappings of the kernel's own have operations */
	look->special = !(flags & VM_EXEC) || (!file && !look->anonymous);
	if (file && !look->anonymous && !look->special)
		look_at(file, look);
}

static long on_vma(struct task_struct *task, struct vm_area_struct *vma, void *context)
{
	look_at_mapping(vma, context);
	return 0;
}

#endif
