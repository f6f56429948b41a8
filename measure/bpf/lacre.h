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
	u64 ns_id; /* 0: not known yet */
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
	SLOT_SPARE_MEMORY = 1 << 2,   /* memory that is executed is told, not killed */
	SLOT_SPARE_PROGRAMS = 1 << 3, /* the same of programs in memory */
	SLOT_ANY_NAME = 1 << 4,       /* rules by path let all run: where it is named says nothing */
};

struct slot {
	u32 flags;
	u32 root; /* the device of the overlay that is its root; 0: none is */
	u64 execs;
	u64 events;
	u64 kills;
	u64 lost;
	/* When its own layer was made: what is older came with the image. */
	s64 birth_sec;
	u32 birth_nsec;
	u32 rules; /* which set of rules by path holds; 0: none */
	u32 inum;  /* its mount namespace; 0: it has none of its own */
	u32 host;  /* the node's */
	/* By which paths are hashed. Nobody in the container knows them. */
	u64 seed;
	u64 multiplier;
	u32 guard; /* the process that keeps files still; 0: none does */
	u32 pad;
};

/* What a container's map holds beside files, by keys that no file has: an automaton over the
 * names from a file up to the root, each ended by a zero byte; by the hash of the path, files
 * of the image whose path it is not right for; which process a file that was let pass was told
 * of; and files of the container's root that are kept still, by their inode there. */
#define RULE_NSEC 0xffffffffU
#define RULE_STEP 0   /* `dev`; `ino` is the state and the byte, the value the next state */
#define RULE_LISTED 1 /* `ino` is the hash, the value whether it may run */
#define RULE_STATE(state) ((u64)(state) << 9)
#define RULE_OTHER 256 /* instead of a byte: any that has no step of its own */
#define RULE_END 257   /* instead of a byte: a path that ends there may run */
#define TOLD_OF 0x80000000U /* in ctime_nsec */
#define LEASED_NSEC 0xfffffffeU

enum tag_flag {
	TAG_EXECED = 1 << 0, /* what it runs came from the container */
	TAG_TOLD_PRIVATE = 1 << 1,
	TAG_TOLD_SHARED = 1 << 2,
};

struct tag {
	u64 slot;
	u32 flags;
	u32 pad;
	struct file_key told; /* the file that was told of last */
	u64 exec; /* when it executed what it runs, ns since boot: which exec it is, too */
};

/* What one exec brought, in whoever it was handed on to. */
struct exec_id {
	u64 slot;
	u64 exec; /* as in `struct tag` */
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
	EVENT_MEMORY,      /* instructions from memory; of the program that has it */
	EVENT_UNCHECKED,   /* instructions at an address nobody could look up */
};

enum event_flag {
	TOLD_KILLED = 1 << 0,
	TOLD_UNLINKED = 1 << 1,
	TOLD_MEMFD = 1 << 2,     /* of what is nameless */
	TOLD_WRITTEN = 1 << 3,   /* open for writing, or mapped so */
	TOLD_SHEBANG = 1 << 4,
	TOLD_CUT = 1 << 5,       /* the names do not reach the root */
	TOLD_NAMELESS = 1 << 6,  /* no file system that is mounted anywhere has it */
	TOLD_WATCHED = 1 << 7,   /* nothing was to be killed then */
	TOLD_SHARED = 1 << 8,    /* memory of several mappings */
	TOLD_IMAGES = 1 << 9,    /* it came with the image, code or not, and lives */
	TOLD_ELSEWHERE = 1 << 10, /* its root or its mounts are not its container's */
	TOLD_ARGV_CUT = 1 << 11,  /* more arguments follow */
	TOLD_LEFT_OUT = 1 << 12,  /* from BARE_MAX on, bare arguments behind bare ones are */
};

/* Of arguments. A name that is longer is read from /proc, and text of a program is nobody's need. */
#define ARG_MAX 512
#define ARGV_MAX 4096
#define BARE_MAX 2048
#define NAMES_MAX 1024
#define NAME_MAX 256
#define FILENAME_MAX 512
/* For the verifier: above ARGV_MAX, NAMES_MAX and NAME_MAX together. */
#define DATA_MASK 8191

struct event {
	u32 kind;
	u32 flags;
	u32 pid; /* of the process, as the first pid namespace counts */
	u32 uid;
	u64 start; /* of the process, ns since boot */
	u64 address;
	u64 size; /* of the file */
	struct file_key key;
	u32 argv_len;     /* arguments, as far as they are told, each NUL-ended */
	u32 names_len;    /* NUL-ended names, from the file (or the working directory) up */
	u32 filename_len; /* a script's, as execve had it */
	u32 argc;
	u64 exec; /* as in `struct tag` */
	u8 data[DATA_MASK + 1 + FILENAME_MAX]; /* one behind the other */
};

#endif
