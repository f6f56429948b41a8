/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* exec-trace: what the tasks of a container execute, and the end of it where the
 * container's map does not know it. The map decides; user space fills the map. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "lacre.h"

char LICENSE[] SEC("license") = "GPL";

#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define TMPFS_MAGIC 0x01021994
#define X86_PF_INSTR 0x10
#define SIGKILL 9
#define EBUSY 16

/* By the inum of its mount namespace. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct container);
} containers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct slot);
} slots SEC(".maps");

struct verdict_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct file_key);
	__type(value, u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__array(values, struct verdict_map);
} verdicts SEC(".maps");

struct ring_map {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__array(values, struct ring_map);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tag);
} tags SEC(".maps");

/* Tasks that could not be given storage: creating it fails where the task that held the
 * CPU's lock was preempted. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct stray);
	__type(value, struct tag);
} strays SEC(".maps");

/* An event is too big for the stack. Tracepoints run with preemption off. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct event);
} scratch SEC(".maps");

/* By the SHA-256 of the container's id; for user space only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct container_name);
	__type(value, struct container_entry);
} names SEC(".maps");

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

	if (!c || (c->ns_id && c->ns_id != id_of(ns)))
		return 0;
	return c->slot;
}

static __always_inline bool is_overlay(struct file *file)
{
	return BPF_CORE_READ(file, f_inode, i_sb, s_magic) == OVERLAYFS_SUPER_MAGIC;
}

static __always_inline struct file *beneath(struct file *file)
{
	void *private = BPF_CORE_READ(file, private_data);

	if (bpf_core_type_exists(struct ovl_file))
		return BPF_CORE_READ((struct ovl_file *)private, realfile);
	return private;
}

/* Two overlays deep; a third stays an overlay inode, which no map holds. */
static __always_inline struct inode *real_inode(struct file *file)
{
	if (is_overlay(file))
		file = beneath(file);
	if (file && is_overlay(file))
		file = beneath(file);
	return file ? BPF_CORE_READ(file, f_inode) : 0;
}

/* What was seen of a file. */
struct look {
	struct file_key key;
	u64 file;
	u64 size;
	u32 writers;
	u32 flags;
	u32 found;
	u32 special;
};

static __always_inline void ctime_of(struct inode *inode, struct file_key *key)
{
	struct inode___two *two = (void *)inode;
	struct inode___one *one = (void *)inode;

	if (bpf_core_field_exists(inode->i_ctime_sec)) {
		key->ctime_sec = BPF_CORE_READ(inode, i_ctime_sec);
		/* the top bit is multigrain's "was queried" (6.13) */
		key->ctime_nsec = BPF_CORE_READ(inode, i_ctime_nsec) & 0x7fffffff;
	} else if (bpf_core_field_exists(two->__i_ctime)) {
		key->ctime_sec = BPF_CORE_READ(two, __i_ctime.tv_sec);
		key->ctime_nsec = BPF_CORE_READ(two, __i_ctime.tv_nsec);
	} else {
		key->ctime_sec = BPF_CORE_READ(one, i_ctime.tv_sec);
		key->ctime_nsec = BPF_CORE_READ(one, i_ctime.tv_nsec);
	}
}

static __always_inline void look_at(struct file *file, struct look *look)
{
	struct inode *inode = real_inode(file);
	int writers;

	look->file = (u64)file;
	look->found = 1;
	if (!inode)
		return;
	look->key.ino = BPF_CORE_READ(inode, i_ino);
	look->key.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	ctime_of(inode, &look->key);
	writers = BPF_CORE_READ(inode, i_writecount.counter);
	look->writers = writers > 0;
}

/* Only for what is told: the rest of what can be said of the file. */
static __always_inline void look_closer(struct file *file, struct look *look)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct inode *inode = real_inode(file);
	char name[8] = {};

	if (!inode)
		return;
	look->size = BPF_CORE_READ(inode, i_size);
	if (BPF_CORE_READ(inode, i_nlink))
		return;
	look->flags |= TOLD_UNLINKED;
	if (BPF_CORE_READ(inode, i_sb, s_magic) != TMPFS_MAGIC)
		return;
	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(dentry, d_name.name));
	if (*(u32 *)name == 0x666d656d && name[4] == 'd' && name[5] == ':') /* "memf" */
		look->flags |= TOLD_MEMFD;
	/* the kernel's own mount has no parent directory above its nameless file */
	else if (BPF_CORE_READ(dentry, d_parent) == dentry)
		look->flags |= TOLD_SHMEM;
}

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
	descent.entry = BPF_CORE_READ(mm, mm_mt.ma_root);
	/* a root that is no node holds one mapping at most, and that from 0 on */
	if (((unsigned long)descent.entry & 3) != 2)
		return 0;
	bpf_loop(MAPLE_DEPTH, on_level, &descent, 0);
	*vma = descent.entry;
	if (!descent.leaf || !*vma)
		return 0;
	start = BPF_CORE_READ(*vma, vm_start);
	end = BPF_CORE_READ(*vma, vm_end);
	return start <= address && address < end;
}

static long on_vma(struct task_struct *task, struct vm_area_struct *vma, void *context)
{
	struct look *look = context;
	struct file *file = vma->vm_file;

	if (!file) {
		/* vdso, uprobes: mappings of the kernel's own have operations */
		look->special = vma->vm_ops != 0;
		look->found = 1;
		return 0;
	}
	look_at(file, look);
	return 0;
}

struct walk {
	struct dentry *dentry, *root;
	struct vfsmount *mount, *root_mount;
	u32 at;
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
	if (!e || at >= NAMES_MAX)
		return 1;
	n = bpf_probe_read_kernel_str(&e->data[NAMES_AT + at], NAME_MAX,
				      BPF_CORE_READ(dentry, d_name.name));
	if (n <= 0)
		return 1;
	walk->at = at + n;
	walk->dentry = BPF_CORE_READ(dentry, d_parent);
	return 0;
}

/* Names from `path` up to the task's root. */
static __always_inline void tell_names(struct task_struct *task, struct event *e,
				       struct dentry *dentry, struct vfsmount *mount)
{
	struct walk walk = {
		.dentry = dentry,
		.mount = mount,
		.root = BPF_CORE_READ(task, fs, root.dentry),
		.root_mount = BPF_CORE_READ(task, fs, root.mnt),
	};

	/* PATH_MAX holds 2048 names; 128 are more than anybody uses */
	bpf_loop(128, on_name, &walk, 0);
	e->names_len = walk.at;
	if (!walk.done)
		e->flags |= TOLD_CUT;
}

static __always_inline void tell_file(struct task_struct *task, struct event *e,
				      struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct vfsmount *mount = BPF_CORE_READ(file, f_path.mnt);

	if (bpf_core_field_exists(struct backing_file, user_path)) {
		struct backing_file *backing = (void *)file;
		struct dentry *user = BPF_CORE_READ(backing, user_path.dentry);

		/* What is not a backing file has no dentry of an overlay behind it. */
		if (!is_overlay(file) &&
		    BPF_CORE_READ(user, d_sb, s_magic) == OVERLAYFS_SUPER_MAGIC) {
			dentry = user;
			mount = BPF_CORE_READ(backing, user_path.mnt);
		}
	}
	tell_names(task, e, dentry, mount);
}

static __always_inline struct event *begin(struct task_struct *task, u32 kind)
{
	u32 zero = 0;
	struct event *e = bpf_map_lookup_elem(&scratch, &zero);

	if (!e)
		return 0;
	__builtin_memset(e, 0, __builtin_offsetof(struct event, data));
	e->kind = kind;
	e->pid = task->tgid;
	e->uid = task->cred->uid.val;
	e->start = task->group_leader->start_boottime;
	return e;
}

static __always_inline void tell(u64 slot, struct slot *s, struct event *e)
{
	void *ring = bpf_map_lookup_elem(&rings, &slot);
	u64 size = __builtin_offsetof(struct event, data);

	if (!ring)
		return;
	if (e->filename_len)
		size += FILENAME_AT + FILENAME_MAX;
	else if (e->names_len)
		size += FILENAME_AT;
	else if (e->argv_len)
		size += ARGV_MAX;
	__sync_fetch_and_add(&s->events, 1);
	if (bpf_ringbuf_output(ring, e, size, 0))
		__sync_fetch_and_add(&s->lost, 1);
}

static __always_inline void strike(struct slot *s, struct event *e)
{
	if (!(s->flags & SLOT_ENFORCE))
		return;
	if (!bpf_send_signal(SIGKILL)) {
		e->flags |= TOLD_KILLED;
		__sync_fetch_and_add(&s->kills, 1);
	}
}

static __always_inline void tell_argv(struct task_struct *task, struct event *e)
{
	u64 start = task->mm->arg_start;
	u64 length = task->mm->arg_end - start;

	if (length > ARGV_MAX)
		length = ARGV_MAX;
	if (!bpf_probe_read_user(e->data, length, (void *)start))
		e->argv_len = length;
}

struct scan {
	u32 base;
	u32 done;
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
		scan->done = 1;
		return 1;
	}
	if (byte == '/')
		scan->base = index + 1;
	return 0;
}

/* Whether argv[0] names an applet that reads scripts; long names are for user space. */
static __always_inline bool interprets(struct event *e)
{
	struct scan scan = {};
	u64 word;
	u32 base;

	bpf_loop(128, on_byte, &scan, 0);
	if (!scan.done)
		return 1;
	base = scan.base & 127;
	if (e->data[base] == '-')
		base++;
	bpf_probe_read_kernel(&word, sizeof(word), &e->data[base]);
#define IS(bytes, value) ((word & ((1ULL << ((bytes) * 8)) - 1)) == (value))
	return IS(3, 0x6873) ||			/* sh */
	       IS(4, 0x687361) ||		/* ash */
	       IS(5, 0x68737568) ||		/* hush */
	       IS(4, 0x6b7761) ||		/* awk */
	       word == 0x00786f6279737562ULL || /* busybox */
	       IS(7, 0x786f62796f74);		/* toybox */
#undef IS
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
		struct tag fresh = { .slot = slot_by_namespace(task), .flags = TAG_EXECED };

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
		tag->told_ino = 0;
	}
	__sync_fetch_and_add(&s->execs, 1);
	allowed = bpf_map_lookup_elem(&verdicts, &slot);
	if (!allowed)
		return 0;

	look_at(binprm->file, &look);
	verdict = verdict_of(allowed, &look);
	if (verdict < 0) {
		miss(task, slot, s, &look, EVENT_EXEC, 0);
		return 0;
	}

	/* The first instruction is the ELF interpreter's, where there is one. */
	entry = entry_of(task);
	if (!bpf_find_vma(task, entry, on_vma, &loader, 0) && loader.file &&
	    (loader.key.ino != look.key.ino || loader.key.dev != look.key.dev)) {
		if (verdict_of(allowed, &loader) < 0) {
			miss(task, slot, s, &loader, EVENT_LOADER, entry);
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
		tell_argv(task, e);
		if (!shebang && e->argv_len && (verdict & VERDICT_MULTICALL) && !interprets(e))
			return 0;
		if (shebang) {
			long n = bpf_probe_read_kernel_str(&e->data[FILENAME_AT], FILENAME_MAX,
							   binprm->filename);

			e->flags |= TOLD_SHEBANG;
			if (n > 0)
				e->filename_len = n;
		}
		tell_names(task, e, BPF_CORE_READ(task, fs, pwd.dentry),
			   BPF_CORE_READ(task, fs, pwd.mnt));
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
		struct file *file = BPF_CORE_READ(vma, vm_file);

		if (file) {
			look_at(file, &look);
		} else {
			look.found = 1;
			look.special = BPF_CORE_READ(vma, vm_ops) != 0;
		}
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
	if (!look.file) {
		if (tag->flags & TAG_TOLD_ANONYMOUS)
			return 0;
		tag->flags |= TAG_TOLD_ANONYMOUS;
		e = begin(task, EVENT_ANONYMOUS);
		if (e) {
			e->address = address;
			if (!(s->flags & SLOT_SPARE_MEMORY))
				strike(s, e);
			tell(slot, s, e);
		}
		return 0;
	}
	allowed = bpf_map_lookup_elem(&verdicts, &slot);
	if (!allowed || verdict_of(allowed, &look) >= 0)
		return 0;
	if (!(s->flags & SLOT_ENFORCE) && tag->told_ino == look.key.ino)
		return 0;
	tag->told_ino = look.key.ino;
	miss(task, slot, s, &look, EVENT_FETCH, address);
	return 0;
}
