/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* exec-trace: what the tasks of a container execute, and the end of it where the
 * container's map does not know it. The map decides; user space fills the map. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "lacre.h"
#include "mappings.h"
#include "scripts.h"
#include "tasks.h"
#include "verdict.h"

char LICENSE[] SEC("license") = "GPL";

#define X86_PF_INSTR 0x10
#define EBUSY 16

static __always_inline u64 entry_of(struct task_struct *task)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	struct pt_regs___arm64 *arm = (void *)regs;

	if (bpf_core_field_exists(regs->ip))
		return BPF_CORE_READ(regs, ip);
	if (bpf_core_field_exists(arm->pc))
		return BPF_CORE_READ(arm, pc);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(lacre_exec, struct task_struct *unused, int old_pid, struct linux_binprm *binprm)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tag *tag = tag_of(task);
	struct look look = {}, loader = {};
	struct slot *s;
	void *allowed;
	u64 slot, entry;
	s64 verdict;

	slot = tag ? tag->slot : 0;
	s = slot ? bpf_map_lookup_elem(&slots, &slot) : 0;
	if (!s) {
		/* Untagged, or tagged for a container that is gone. */
		struct tag fresh = {
			.slot = slot_by_namespace(task),
			.flags = TAG_EXECED,
			.exec = bpf_ktime_get_boot_ns(),
		};

		slot = fresh.slot;
		s = slot ? bpf_map_lookup_elem(&slots, &slot) : 0;
		if (!s)
			return 0;
		if (tag)
			*tag = fresh;
		else
			give_tag(task, &fresh);
	} else {
		tag->flags = TAG_EXECED;
		__builtin_memset(&tag->told, 0, sizeof(tag->told));
		tag->exec = bpf_ktime_get_boot_ns();
	}
	__sync_fetch_and_add(&s->execs, 1);
	allowed = bpf_map_lookup_elem(&verdicts, &slot);
	if (!allowed)
		return 0;

	look_at(binprm->file, &look);
	verdict = verdict_of(allowed, s, &look);
	if (verdict < 0) {
		look_closer((void *)look.file, &look);
		if (!miss(task, slot, s, allowed, &look, EVENT_EXEC, 0))
			return 0;
		verdict = 0;
	}

	/* The first instruction is the ELF interpreter's, where there is one. */
	entry = entry_of(task);
	if (!bpf_find_vma(task, entry, on_vma, &loader, 0) && loader.file &&
	    (loader.key.ino != look.key.ino || loader.key.dev != look.key.dev)) {
		if (verdict_of(allowed, s, &loader) < 0) {
			look_closer((void *)loader.file, &loader);
			if (!miss(task, slot, s, allowed, &loader, EVENT_LOADER, entry))
				return 0;
		}
	}

	bool shebang = binprm->interp != binprm->filename;
	if (((verdict & VERDICT_INTERPRETER) && binprm->argc > 1) || shebang) {
		struct event *e = begin(task, EVENT_ARGUMENTS);

		if (!e)
			return 0;
		e->key = look.key;
		e->argc = binprm->argc;
		if (is_elsewhere(s, task))
			e->flags |= TOLD_ELSEWHERE;
		tell_argv(task, e);
		if (!shebang && e->argv_len && !may_have_script(e, verdict))
			return 0;
		tell_names(task, e, BPF_CORE_READ(task, fs, pwd.dentry),
			   BPF_CORE_READ(task, fs, pwd.mnt));
		if (shebang) {
			u32 at = e->argv_len + e->names_len;
			long n;

			asm volatile("%0 &= %1" : "+r"(at) : "i"(DATA_MASK));
			n = bpf_probe_read_kernel_str(&e->data[at], FILENAME_MAX,
						      binprm->filename);
			e->flags |= TOLD_SHEBANG;
			if (n > 0)
				e->filename_len = n;
		}
		tell(slot, s, e);
	}
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(lacre_fork, struct task_struct *parent, struct task_struct *child)
{
	struct tag *tag = tag_of(bpf_get_current_task_btf());
	struct tag copy;

	if (!tag)
		return 0;
	copy = *tag;
	give_tag(child, &copy);
	end_condemned(&copy, child);
	return 0;
}

/* x86 only: no other architecture has the tracepoint. */
SEC("tp_btf/page_fault_user")
int BPF_PROG(lacre_fetch, unsigned long address, struct pt_regs *regs, unsigned long code)
{
	struct task_struct *task;
	struct look look = {};
	struct tag *tag;
	struct slot *s;
	struct event *e;
	void *allowed;
	struct vm_area_struct *vma = 0;
	long found, failed = 0;
	u64 slot;

	if (!(code & X86_PF_INSTR))
		return 0;
	task = bpf_get_current_task_btf();
	tag = tag_of(task);
	if (!tag || !(tag->flags & TAG_EXECED))
		return 0;
	slot = tag->slot;
	s = bpf_map_lookup_elem(&slots, &slot);
	if (!s || !(s->flags & SLOT_FAULTS))
		return 0;
	found = vma_at(task, address, &vma);
	if (found > 0) {
		look_at_mapping(vma, &look);
	} else {
		/* Behind the last of a leaf, or in a tree that changes: look again, locked. */
		failed = bpf_find_vma(task, address, on_vma, &look, 0);
	}
	if (failed == -EBUSY) {
		e = begin(task, EVENT_UNCHECKED);
		if (e) {
			e->address = address;
			tell(slot, s, e);
		}
		return 0;
	}
	if (failed || !look.found || look.special)
		return 0;
	if (look.file) {
		allowed = bpf_map_lookup_elem(&verdicts, &slot);
		if (!allowed || verdict_of(allowed, s, &look) >= 0)
			return 0;
		look_closer((void *)look.file, &look);
		/* What has no name and is written to elsewhere is an engine's memory, too. */
		if (!(look.flags & TOLD_NAMELESS) && !(look.flags & TOLD_UNLINKED && look.shared)) {
			if (is_images(s, &look))
				look.flags |= TOLD_IMAGES;
			if (is_same(&tag->told, &look.key) &&
			    (look.flags & TOLD_IMAGES || !(s->flags & SLOT_ENFORCE)))
				return 0;
			tag->told = look.key;
			miss(task, slot, s, allowed, &look, EVENT_FETCH, address);
			return 0;
		}
	}
	memory(task, tag, slot, s, &look, address);
	return 0;
}
