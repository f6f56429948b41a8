// SPDX-License-Identifier: Apache-2.0
// What changes a file's state, and what a file holds.
#include "verbs.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

// change HOW FILE: its metadata and names, and nothing that it holds.
int change(char **argv)
{
	int fd, flags = 0;
	const char *path = argv[1], *away = "/tmp/away", *other = "/tmp/other";

#define HOW(word) (!strcmp(argv[0], word))
	if (HOW("chown") || HOW("twice"))
		CHECK(chown(path, 7, 7));
	if (HOW("chmod") || HOW("twice"))
		CHECK(chmod(path, 0755));
	if (HOW("touch"))
		CHECK(utimensat(AT_FDCWD, path, 0, 0));
	if (HOW("rename")) {
		CHECK(rename(path, away));
		CHECK(rename(away, path));
	}
	if (HOW("xattr"))
		CHECK(setxattr(path, "user.x", "y", 1, 0));
	// Of the inode, by or to another of its names.
	if (HOW("link")) {
		unlink(other);
		CHECK(link(path, other));
	}
	if (HOW("unlink"))
		CHECK(unlink(other));
	if (HOW("replace")) {
		CHECK(fd = open(away, O_WRONLY | O_CREAT, 0644));
		CHECK(rename(away, other));
	}
	if (HOW("move")) {
		CHECK(rename(other, away));
		CHECK(rename(away, other));
	}
	if (HOW("chmod-other"))
		CHECK(chmod(other, 0755));
	if (HOW("touch-other"))
		CHECK(utimensat(AT_FDCWD, other, 0, 0));
	if (HOW("xattr-other"))
		CHECK(setxattr(other, "user.y", "y", 1, 0));
	if (HOW("fchown")) {
		CHECK(fd = open(path, O_RDONLY));
		CHECK(fchown(fd, 8, 8));
	}
	if (HOW("flags")) {
		CHECK(fd = open(path, O_RDONLY));
		CHECK(ioctl(fd, FS_IOC_GETFLAGS, &flags));
		flags ^= FS_NODUMP_FL;
		CHECK(ioctl(fd, FS_IOC_SETFLAGS, &flags));
	}
	return 0;
}

// mark FILE: it is there afterwards.
static int mark(char **argv)
{
	CHECK(open(argv[0], O_WRONLY | O_CREAT, 0644));
	return 0;
}

static int copy_file(char **argv)
{
	copy(argv[0], argv[1]);
	return 0;
}

static int append(char **argv)
{
	int fd;

	CHECK(fd = open(argv[0], O_WRONLY | O_APPEND));
	CHECK(write(fd, "x", 1));
	return 0;
}

const struct verb change_verbs[] = {
	{"change", 2, change},
	{"mark", 1, mark},
	{"copy", 2, copy_file},
	{"append", 1, append},
	{0},
};
