// SPDX-License-Identifier: Apache-2.0
// What `t VERB ARGUMENT...` does, a file for each sort of verbs.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include "../copy.h"

extern char **environ;

struct verb {
	const char *name;
	int arguments; // at least
	int (*act)(char **arguments);
};

// Each ends in one without a name.
extern const struct verb runtime_verbs[], change_verbs[], race_verbs[], program_verbs[],
	code_verbs[], cost_verbs[];

// HOW FILE: its metadata and names, and nothing that it holds.
int change(char **argv);
// 128 + the signal that ended it, or its own status.
int status_of(pid_t pid);
void copy(const char *from, const char *to);
// Becomes that program.
void run(char **argv);
// Runs the words of a line, up to 63 of them.
void run_line(char *line);
// Root in a user and a mount namespace of its own, with a tmpfs at /mnt.
void enter_own_namespaces(void);
