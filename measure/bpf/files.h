/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The identity of a file: the real inode beneath overlayfs. */
#ifndef LACRE_FILES_H
#define LACRE_FILES_H

#include "read.h"
#include "lacre.h"

#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define TMPFS_MAGIC 0x01021994

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

static __always_inline bool is_overlay(struct super_block *sb)
{
	return LOAD(struct super_block, sb, s_magic) == OVERLAYFS_SUPER_MAGIC;
}

static __always_inline struct file *beneath(struct file *file)
{
	void *private = LOAD(struct file, file, private_data);

	if (bpf_core_type_exists(struct ovl_file))
		return BPF_CORE_READ((struct ovl_file *)private, realfile);
	return private;
}

/* Two overlays deep; a third stays an overlay inode, which no map holds. */
static __always_inline struct inode *real_inode(struct file *file, struct super_block **sb)
{
	struct inode *inode = LOAD(struct file, file, f_inode);

	*sb = LOAD(struct inode, inode, i_sb);
#pragma unroll
	for (int depth = 0; depth < 2; depth++) {
		if (!is_overlay(*sb))
			break;
		file = beneath(file);
		if (!file)
			return 0;
		inode = LOAD(struct file, file, f_inode);
		*sb = LOAD(struct inode, inode, i_sb);
	}
	return inode;
}

static __always_inline void ctime_of(struct inode *inode, struct file_key *key)
{
	struct inode___two *two = (void *)inode;

	if (bpf_core_field_exists(inode->i_ctime_sec)) {
		key->ctime_sec = LOAD(struct inode, inode, i_ctime_sec);
		/* the top bit is multigrain's "was queried" (6.13) */
		key->ctime_nsec = LOAD(struct inode, inode, i_ctime_nsec) & 0x7fffffff;
	} else if (bpf_core_field_exists(two->__i_ctime)) {
		key->ctime_sec = LOAD(struct inode___two, inode, __i_ctime.tv_sec);
		key->ctime_nsec = LOAD(struct inode___two, inode, __i_ctime.tv_nsec);
	} else {
		key->ctime_sec = LOAD(struct inode___one, inode, i_ctime.tv_sec);
		key->ctime_nsec = LOAD(struct inode___one, inode, i_ctime.tv_nsec);
	}
}

static __always_inline void look_at(struct file *file, struct look *look)
{
	struct super_block *sb;
	struct inode *inode = real_inode(file, &sb);

	look->file = (u64)file;
	look->found = 1;
	if (!inode)
		return;
	look->key.ino = LOAD(struct inode, inode, i_ino);
	look->key.dev = LOAD(struct super_block, sb, s_dev);
	ctime_of(inode, &look->key);
	look->writers = LOAD(struct inode, inode, i_writecount.counter) > 0;
}

/* Only for what is told: the rest of what can be said of the file. */
static __always_inline void look_closer(struct file *file, struct look *look)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct super_block *sb;
	struct inode *inode = real_inode(file, &sb);
	char name[8] = {};

	if (!inode)
		return;
	look->size = BPF_CORE_READ(inode, i_size);
	if (BPF_CORE_READ(inode, i_nlink))
		return;
	look->flags |= TOLD_UNLINKED;
	if (BPF_CORE_READ(sb, s_magic) != TMPFS_MAGIC)
		return;
	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(dentry, d_name.name));
	if (*(u32 *)name == 0x666d656d && name[4] == 'd' && name[5] == ':') /* "memf" */
		look->flags |= TOLD_MEMFD;
	/* the kernel's own mount has no parent directory above its nameless file */
	else if (BPF_CORE_READ(dentry, d_parent) == dentry)
		look->flags |= TOLD_SHMEM;
}

#endif
