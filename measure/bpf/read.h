/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Reading the kernel's structures. */
#ifndef LACRE_READ_H
#define LACRE_READ_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

extern void *bpf_rdonly_cast(const void *object, u32 type) __ksym __weak;

/* A field behind a pointer of no type: one load where the kernel knows the cast (6.2), some
 * ten times as fast as the call that BPF_CORE_READ is. A bad address reads as 0 by both. Not
 * for types of modules, which the cast does not find. */
#define LOAD(type, pointer, field)                                                        \
	({                                                                                \
		typeof(((type *)0)->field) value_;                                        \
		if (bpf_ksym_exists(bpf_rdonly_cast))                                     \
			value_ = ((type *)bpf_rdonly_cast(pointer,                        \
							  bpf_core_type_id_kernel(type))) \
					 ->field;                                         \
		else                                                                      \
			value_ = BPF_CORE_READ((type *)(pointer), field);                 \
		value_;                                                                   \
	})

#endif
