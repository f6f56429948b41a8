// SPDX-License-Identifier: Apache-2.0
// What a runtime does on the host's side: makes a container, enters it, mounts into it.
#include "verbs.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

// init LOWER UPPER WORK MERGED: makes the container's namespaces and root, tells its pid,
// and runs the line that comes on standard input.
static int init(char **argv)
{
	int told[2];
	pid_t pid;

	CHECK(pipe(told));
	CHECK(unshare(CLONE_NEWNS | CLONE_NEWPID));
	CHECK(pid = fork());
	if (pid) {
		char ready;

		close(told[1]);
		if (read(told[0], &ready, 1) != 1)
			return status_of(pid);
		dprintf(1, "%d\n", pid);
		return status_of(pid);
	}
	char options[4096], line[4096];

	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", argv[0], argv[1],
		 argv[2]);
	CHECK(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
	CHECK(mount("overlay", argv[3], "overlay", 0, options));
	CHECK(chdir(argv[3]));
	CHECK(syscall(SYS_pivot_root, ".", "."));
	CHECK(umount2(".", MNT_DETACH));
	CHECK(mount("proc", "/proc", "proc", 0, 0));
	CHECK(mount("tmpfs", "/dev/shm", "tmpfs", 0, 0));
	CHECK(chdir("/"));
	CHECK(write(told[1], "x", 1));
	close(told[0]);
	close(told[1]);
	if (!fgets(line, sizeof(line), stdin))
		return 97;
	run_line(line);
	return 98;
}

// enter PID PROGRAM…: as `runc exec` does.
static int enter(char **argv)
{
	char path[64];
	int mounts, pids;
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/%s/ns/mnt", argv[0]);
	CHECK(mounts = open(path, O_RDONLY | O_CLOEXEC));
	snprintf(path, sizeof(path), "/proc/%s/ns/pid", argv[0]);
	CHECK(pids = open(path, O_RDONLY | O_CLOEXEC));
	CHECK(setns(mounts, CLONE_NEWNS));
	CHECK(setns(pids, CLONE_NEWPID));
	CHECK(pid = fork());
	if (!pid)
		run(argv + 1);
	return status_of(pid);
}

// enter-when-told PID PROGRAM…: once standard input ends.
static int enter_when_told(char **argv)
{
	char c;

	while (read(0, &c, 1) > 0)
		;
	return enter(argv);
}

// bind PID FROM TO: as a runtime mounts a volume, or injects a file.
static int bind_into(char **argv)
{
	char path[64];
	int tree, mounts;

	CHECK(tree = syscall(SYS_open_tree, AT_FDCWD, argv[1], 1 /* OPEN_TREE_CLONE */));
	snprintf(path, sizeof(path), "/proc/%s/ns/mnt", argv[0]);
	CHECK(mounts = open(path, O_RDONLY | O_CLOEXEC));
	CHECK(setns(mounts, CLONE_NEWNS));
	CHECK(syscall(SYS_move_mount, tree, "", AT_FDCWD, argv[2],
		      4 /* MOVE_MOUNT_F_EMPTY_PATH */));
	return 0;
}

const struct verb runtime_verbs[] = {
	{"init", 4, init},
	{"enter", 2, enter},
	{"enter-when-told", 2, enter_when_told},
	{"bind", 3, bind_into},
	{0},
};
