/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The fields of kernel structures that lacre reads, and no more. Offsets come from the
 * running kernel's BTF at load (CO-RE); a `___` suffix names another kernel's layout. */
#ifndef LACRE_KERNEL_H
#define LACRE_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;

/* uapi/linux/bpf.h */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_HASH_OF_MAPS = 13,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1,
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1,
};

/* uapi/asm-generic/fcntl.h */
#define F_RDLCK 0

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next;
};

struct file_lock_context {
	struct list_head flc_lease;
};

struct super_block {
	struct dentry *s_root;
	u32 s_dev;
	unsigned long s_flags;
	unsigned long s_magic;
};

typedef struct {
	int counter;
} atomic_t;

struct inode {
	unsigned int i_nlink;
	unsigned long i_ino;
	s64 i_size;
	atomic_t i_writecount;
	struct super_block *i_sb;
	struct file_lock_context *i_flctx;
	s64 i_ctime_sec;
	u32 i_ctime_nsec;
};

struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};

/* 6.6 to 6.10 */
struct inode___two {
	struct timespec64 __i_ctime;
};

/* up to 6.5 */
struct inode___one {
	struct timespec64 i_ctime;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mnt_namespace;

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct cred;

struct file {
	struct path f_path;
	struct inode *f_inode;
	const struct cred *f_cred;
	void *private_data;
};

/* What locks and leases begin with, 6.9 on. */
struct file_lock_core {
	struct list_head flc_list;
	unsigned char flc_type;
	int flc_pid;
	struct file *flc_file;
};

/* The same up to 6.8. */
struct file_lock___old {
	struct list_head fl_list;
	unsigned char fl_type;
	unsigned int fl_pid;
	struct file *fl_file;
};

/* overlayfs keeps this in private_data from 6.13 on; before, the real file itself. */
struct ovl_file {
	struct file *realfile;
};

/* 6.5 on: a mapping's file when a file system stands on another. */
struct backing_file {
	struct file file;
	struct path user_path;
};

struct fs_struct {
	struct path root, pwd;
};

struct ns_common {
	u32 inum;
};

struct ns_common___id {
	u64 ns_id;
};

struct mnt_namespace {
	struct ns_common ns;
};

/* The never reused number: `seq` up to 6.17, `ns.ns_id` from 6.18. */
struct mnt_namespace___seq {
	u64 seq;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

struct maple_tree {
	void *ma_root;
};

struct maple_range_64 {
	unsigned long pivot[15];
	void *slot[16];
};

struct maple_arange_64 {
	unsigned long pivot[9];
	void *slot[10];
};

struct mm_struct {
	unsigned long arg_start, arg_end;
	struct file *exe_file;
	struct maple_tree mm_mt;
};

typedef struct {
	unsigned int val;
} kuid_t;

/* Two halves of 32 bits up to 6.2. */
typedef struct {
	u64 val;
} kernel_cap_t;

struct user_namespace {
	int level;
};

struct cred {
	kuid_t uid;
	kernel_cap_t cap_effective;
	struct user_namespace *user_ns;
};

struct task_struct {
	int pid, tgid;
	u64 start_boottime;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	struct nsproxy *nsproxy;
	struct fs_struct *fs;
	const struct cred *cred;
};

struct linux_binprm {
	struct file *file;
	int argc;
	const char *filename, *interp;
};

struct vm_area_struct {
	unsigned long vm_start, vm_end, vm_flags;
	struct file *vm_file;
	const void *vm_ops;
};

struct pt_regs {
	unsigned long ip;
};

struct pt_regs___arm64 {
	u64 pc;
};

#pragma clang attribute pop

#endif
