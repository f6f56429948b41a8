// SPDX-License-Identifier: Apache-2.0
// What the tests of the sources run: a stand-in for `runc init` and `runc exec` on the
// host's side, and what is tried in the container.
#include "verbs.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

int status_of(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0));
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void copy(const char *from, const char *to)
{
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	CHECK(out);
	copy_to(from, out);
	close(out);
}

void run(char **argv)
{
	execv(argv[0], argv);
	fprintf(stderr, "exec %s: %s\n", argv[0], strerror(errno));
	exit(98);
}

void run_line(char *line)
{
	static char *words[1024];
	int n = 0;

	for (char *word = strtok(line, " \n"); word && n < 1023; word = strtok(0, " \n"))
		words[n++] = word;
	words[n] = 0;
	run(words);
}

static void write_own(const char *path, const char *text)
{
	int fd;

	CHECK(fd = open(path, O_WRONLY | O_CLOEXEC));
	CHECK(write(fd, text, strlen(text)));
	close(fd);
}

void enter_own_namespaces(void)
{
	CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS));
	write_own("/proc/self/uid_map", "0 0 1");
	write_own("/proc/self/setgroups", "deny");
	write_own("/proc/self/gid_map", "0 0 1");
	CHECK(mount("tmpfs", "/mnt", "tmpfs", 0, 0));
}

int main(int argc, char **argv)
{
	const struct verb *const all[] = {runtime_verbs, change_verbs, race_verbs,
					  program_verbs, code_verbs,   cost_verbs};

	if (argc < 2)
		return 0;
	// What a later program reads must not wait in this one's buffer.
	setvbuf(stdin, 0, _IONBF, 0);
	for (unsigned sort = 0; sort < sizeof(all) / sizeof(*all); sort++)
		for (const struct verb *verb = all[sort]; verb->name; verb++)
			if (!strcmp(argv[1], verb->name) && argc >= 2 + verb->arguments)
				return verb->act(argv + 2);
	return 94;
}
