/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
#ifndef _UAPI_LINUX_IMA_CONTAINER_H
#define _UAPI_LINUX_IMA_CONTAINER_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Of an id, in bytes, without the NUL that must follow it */
#define IMA_CONTAINER_ID_MAX	200

/**
 * struct ima_container_create - what makes a process the first of a container
 * @id: A-Z a-z 0-9 . _ -, not beginning with a dot; its directory's name
 * @flags: none yet, must be 0
 * @pidfd: of the process, a descriptor of the caller
 * @limit_mib: memory that its list may take, in MiB; 0 for what
 *	ima.container_list_mib says, which it may not exceed
 * @reserved: must be 0
 * @secret: what makes its events in the aggregate known to who has it, and to
 *	nobody else; 32 random bytes, not all 0
 */
struct ima_container_create {
	char	id[208];
	__u32	flags;
	__s32	pidfd;
	__u32	limit_mib;
	__u32	reserved;
	__u8	secret[32];
};

#define IMA_CONTAINER_CREATE_SIZE_VER0	256

/**
 * struct ima_container_release - what lets go of a container
 * @id: of the container
 */
struct ima_container_release {
	char	id[208];
};

/*
 * Of <securityfs>/ima/containers/control.  The argument of the first may grow:
 * what a kernel does not know has to be zero, as for clone3(2).
 */
#define IMA_CONTAINER_CREATE	_IOW(0xB9, 0x00, struct ima_container_create)
#define IMA_CONTAINER_RELEASE	_IOW(0xB9, 0x01, struct ima_container_release)

#endif /* _UAPI_LINUX_IMA_CONTAINER_H */
