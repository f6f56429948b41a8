/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the programs and user space share; src/exec_trace/abi.rs is its other half. */
#ifndef LACRE_H
#define LACRE_H

/* One state of one file: the real inode beneath overlayfs. */
struct file_key {
	u64 ino;
	u32 dev;
	u32 ctime_nsec;
	s64 ctime_sec;
};

enum verdict_flag {
	VERDICT_INTERPRETER = 1 << 0, /* tell its arguments */
	VERDICT_MULTICALL = 1 << 1,   /* one of many names: only when argv[0] is an interpreter's */
	VERDICT_SCRIPT_AFTER_C = 1 << 2, /* a first argument `-c` does not carry the code */
};

struct container {
	u64 slot;
	u64 ns_id; /* 0: this kernel does not tell */
};

struct container_name {
	u8 sha256[32];
};

struct container_entry {
	u64 slot;
	u64 ns_id;
	u32 inum; /* 0: it has no mount namespace of its own, or is not armed yet */
	u32 owner; /* the process that put it in, and when that began, clock ticks since boot */
	u64 owner_start;
};

enum slot_flag {
	SLOT_ENFORCE = 1 << 0,
	SLOT_FAULTS = 1 << 1,
	SLOT_SPARE_MEMORY = 1 << 2, /* mapped memfds and anonymous memory are told, not killed */
};

struct slot {
	u32 flags;
	u32 pad;
	u64 execs;
	u64 events;
	u64 kills;
	u64 lost;
};

enum tag_flag {
	TAG_EXECED = 1 << 0, /* what it runs came from the container */
	TAG_TOLD_ANONYMOUS = 1 << 1,
};

struct tag {
	u64 slot;
	u32 flags;
	u32 pad;
	u64 told_ino;
};

struct stray {
	u64 start;
	u32 pid;
	u32 pad;
};

enum event_kind {
	EVENT_EXEC = 1,    /* a program that is not in the map */
	EVENT_LOADER,      /* its ELF interpreter is not */
	EVENT_ARGUMENTS,   /* a known interpreter, with arguments */
	EVENT_FETCH,       /* instructions from a file that is not */
	EVENT_ANONYMOUS,   /* instructions from memory without a file */
	EVENT_UNCHECKED,   /* instructions at an address nobody could look up */
};

enum event_flag {
	TOLD_KILLED = 1 << 0,
	TOLD_UNLINKED = 1 << 1,
	TOLD_MEMFD = 1 << 2,
	TOLD_WRITTEN = 1 << 3,   /* known, but open for writing */
	TOLD_SHEBANG = 1 << 4,
	TOLD_CUT = 1 << 5,       /* the names do not reach the root */
	TOLD_SHMEM = 1 << 6,     /* /dev/zero, SysV: shared memory without a name */
};

#define ARGV_MAX 512
#define NAMES_AT ARGV_MAX
#define NAMES_MAX 1024
#define NAME_MAX 256
#define FILENAME_AT (NAMES_AT + NAMES_MAX + NAME_MAX)
#define FILENAME_MAX 512

struct event {
	u32 kind;
	u32 flags;
	u32 pid; /* of the process, as the first pid namespace counts */
	u32 uid;
	u64 start; /* of the process, ns since boot */
	u64 address;
	u64 size; /* of the file */
	struct file_key key;
	u32 argv_len;
	u32 names_len;    /* NUL-ended names, from the file (or the working directory) up */
	u32 filename_len; /* a script's, as execve had it */
	u32 argc;
	u8 data[FILENAME_AT + FILENAME_MAX];
};

#endif
