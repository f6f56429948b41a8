// SPDX-License-Identifier: Apache-2.0
// Ways in which a program comes to be run.
#include "verbs.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

static int in_child(char **argv)
{
	pid_t pid;

	CHECK(pid = fork());
	if (!pid)
		run(argv);
	return status_of(pid);
}

// copyrun FROM TO ARG…
static int copy_and_run(char **argv)
{
	copy(argv[0], argv[1]);
	return in_child(argv + 1);
}

// memfd FROM ARG…
static int from_memory(char **argv)
{
	int fd;

	CHECK(fd = memfd_create("evil", MFD_CLOEXEC));
	copy_to(argv[0], fd);
	CHECK(fexecve(fd, argv, environ));
	return 94;
}

// unlinked FROM TEMPORARY ARG…
static int without_name(char **argv)
{
	int fd;

	copy(argv[0], argv[1]);
	CHECK(fd = open(argv[1], O_RDONLY | O_CLOEXEC));
	CHECK(unlink(argv[1]));
	CHECK(fexecve(fd, argv + 1, environ));
	return 94;
}

// nested FROM ARG…: on a file system that nobody outside knows.
static int in_own_namespaces(char **argv)
{
	enter_own_namespaces();
	copy(argv[0], "/mnt/x");
	argv[0] = "/mnt/x";
	run(argv);
	return 98;
}

// rebound FROM TO PROGRAM ARG…: another name for the same files.
static int with_another_name(char **argv)
{
	enter_own_namespaces();
	CHECK(mount(argv[0], argv[1], 0, MS_BIND, 0));
	run(argv + 2);
	return 98;
}

// jail ROOT PROGRAM ARG…
static int in_own_root(char **argv)
{
	CHECK(chroot(argv[0]));
	run(argv + 1);
	return 98;
}

// orphan PROGRAM ARG…: the middle goes, and with it every parent within.
static int orphan(char **argv)
{
	pid_t pid;

	CHECK(pid = fork());
	if (pid)
		return status_of(pid);
	CHECK(setsid());
	CHECK(pid = fork());
	if (!pid)
		run(argv);
	return 0;
}

// as ARGV0 PROGRAM ARG…
static int under_other_name(char **argv)
{
	char *program = argv[1];

	argv[1] = argv[0];
	execv(program, argv + 1);
	return 98;
}

// with NAME=VALUE PROGRAM ARG…
static int with_variable(char **argv)
{
	CHECK(putenv(argv[0]));
	run(argv + 1);
	return 98;
}

// long PROGRAM SCRIPT, and 300 options before it.
static int with_many_options(char **argv)
{
	char *words[303] = {argv[0]};

	for (int n = 1; n < 301; n++)
		words[n] = "-e";
	words[301] = argv[1];
	run(words);
	return 98;
}

// deep PROGRAM ARG…, in a directory of more than 4096 bytes of names.
static int in_deep_directory(char **argv)
{
	char name[201];

	memset(name, 'd', 200);
	name[200] = 0;
	CHECK(chdir("/tmp"));
	for (int n = 0; n < 25; n++) {
		if (mkdir(name, 0755) && errno != EEXIST)
			exit(99);
		CHECK(chdir(name));
	}
	run(argv);
	return 98;
}

// each: runs each line of standard input, telling each's status.
static int each_line(char **argv)
{
	static char line[1 << 16];
	pid_t pid;

	(void)argv;
	while (fgets(line, sizeof(line), stdin)) {
		CHECK(pid = fork());
		if (!pid) {
			close(0);
			run_line(line);
		}
		dprintf(1, "%d\n", status_of(pid));
	}
	return 0;
}

static int pause_for_ever(char **argv)
{
	(void)argv;
	for (;;)
		pause();
}

// lease FILE PROGRAM ARGUMENT...: with a read lease of its own on the file.
static int with_lease(char **argv)
{
	int fd;

	CHECK(fd = open(argv[0], O_RDONLY | O_CLOEXEC));
	CHECK(fcntl(fd, F_SETLEASE, F_RDLCK));
	return in_child(argv + 1);
}

const struct verb program_verbs[] = {
	{"lease", 2, with_lease},
	{"fork", 1, in_child},
	{"copyrun", 2, copy_and_run},
	{"memfd", 1, from_memory},
	{"unlinked", 2, without_name},
	{"nested", 1, in_own_namespaces},
	{"rebound", 3, with_another_name},
	{"jail", 2, in_own_root},
	{"orphan", 1, orphan},
	{"as", 2, under_other_name},
	{"with", 2, with_variable},
	{"long", 2, with_many_options},
	{"deep", 1, in_deep_directory},
	{"each", 0, each_line},
	{"pause", 0, pause_for_ever},
	{0},
};
