/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The identity of a file: the real inode beneath overlayfs. */
#ifndef LACRE_FILES_H
#define LACRE_FILES_H

#include "read.h"
#include "lacre.h"

#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define SB_KERNMOUNT (1 << 22)
#define VM_EXEC 0x4
#define VM_SHARED 0x8

/* What was seen of a file. */
struct look {
	struct file_key key;
	u64 file;
	u64 size;
	u32 writers;
	u32 flags;
	u32 found;
	u32 special; /* the kernel's own mapping, or one that can't be executed */
	u32 anonymous;
	u32 shared; /* a mapping that may be written to, and is others' too */
};

/* What a file is called by who uses it: of a mapping on an overlay, the overlay's. */
struct shown {
	struct dentry *dentry;
	struct vfsmount *mount;
};

static __always_inline bool is_same(struct file_key *one, struct file_key *other)
{
	return one->ino == other->ino && one->dev == other->dev &&
	       one->ctime_sec == other->ctime_sec && one->ctime_nsec == other->ctime_nsec;
}

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

static __always_inline struct shown shown_of(struct file *file)
{
	struct shown shown = {
		.dentry = BPF_CORE_READ(file, f_path.dentry),
		.mount = BPF_CORE_READ(file, f_path.mnt),
	};

	if (bpf_core_field_exists(struct backing_file, user_path)) {
		struct backing_file *backing = (void *)file;
		struct dentry *user = BPF_CORE_READ(backing, user_path.dentry);

		/* What is not a backing file has no dentry of an overlay behind it. */
		if (!is_overlay(BPF_CORE_READ(file, f_inode, i_sb)) &&
		    BPF_CORE_READ(user, d_sb, s_magic) == OVERLAYFS_SUPER_MAGIC) {
			shown.dentry = user;
			shown.mount = BPF_CORE_READ(backing, user_path.mnt);
		}
	}
	return shown;
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
	if (!BPF_CORE_READ(inode, i_nlink))
		look->flags |= TOLD_UNLINKED;
	/* memfds, /dev/zero, SysV, huge pages: files of mounts that the kernel keeps to itself */
	if (!(BPF_CORE_READ(sb, s_flags) & SB_KERNMOUNT))
		return;
	look->flags |= TOLD_NAMELESS;
	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(dentry, d_name.name));
	if (*(u32 *)name == 0x666d656d && name[4] == 'd' && name[5] == ':') /* "memf" */
		look->flags |= TOLD_MEMFD;
}

/* Whether it lies on the container's own root, and is as it came with the image. No change
 * is dated earlier than it is made, and one goes to the container's own layer. */
static __always_inline bool is_images(struct slot *s, struct look *look)
{
	struct file *file = (void *)look->file;
	struct dentry *dentry;

	if (!s->root || look->writers)
		return 0;
	dentry = shown_of(file).dentry;
	if (BPF_CORE_READ(dentry, d_sb, s_dev) != s->root)
		return 0;
	return look->key.ctime_sec < s->birth_sec ||
	       (look->key.ctime_sec == s->birth_sec && look->key.ctime_nsec < s->birth_nsec);
}

#endif
