// SPDX-License-Identifier: GPL-2.0-only
/* What of one kernel's containers the next one finds. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kit.h"

/* See run.sh. */
#define KERNEL "/next/kernel"
#define INITRD "/next/initrd.gz"

/* This kernel's command line, but for the test, and with what is in the PCR. */
static int load_next(void *arg)
{
	char text[2048] = "", found[2 * DIGEST + 1], *line, *word;
	int kernel = open(KERNEL, O_RDONLY), initrd = open(INITRD, O_RDONLY);
	int fd = open("/proc/cmdline", O_RDONLY);
	uint8_t pcr[DIGEST];
	char now_line[1024];
	ssize_t n = read(fd, now_line, sizeof(now_line) - 1);

	if (kernel < 0 || initrd < 0 || n <= 0 || !tpm_pcr(12, pcr))
		return 1;
	now_line[n] = 0;
	line = now_line;
	while ((word = strsep(&line, " \n")))
		if (*word && strncmp(word, "selftest_args=", 14))
			strcat(strcat(text, word), " ");
	to_hex(found, pcr);
	strcat(strcat(text, "selftest_args=after-kexec " FOUND_PCR "="), found);
	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(text) + 1, text, 0))
		return errno;
	return 0;
}

/* Returns only if something is wrong. */
void test_kexec(void)
{
	struct list host, own;
	unsigned long count;
	struct event *e;
	struct box b;
	int rc;

	test_anchor();
	rc = box_start(&b, "kexec", CLONE_NEWPID | CLONE_NEWNS, load_next, NULL);
	ok(!rc, "a container: %d", rc);
	/* Its creation is in the PCR before the container reads it. */
	e = aggregate(&count);
	free(e);
	box_go(&b);
	rc = box_wait(&b);
	ok(!rc, "which loads the next kernel: %d", rc);
	host = host_list();
	own = box_list(&b);
	ok(list_has(&host, KERNEL) == 1 && !list_has(&own, KERNEL),
	   "which is in the host's list");
	list_free(&host);
	list_free(&own);
	if (report())
		exit(1);
	puts("# the next kernel");
	fflush(stdout);
	sync();
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		LINUX_REBOOT_CMD_KEXEC, NULL);
	ok(false, "kexec: %s", strerror(errno));
}

void test_after_kexec(void)
{
	char *word = boot_word(FOUND_PCR);
	uint8_t found[DIGEST];
	unsigned long count;
	struct event *e;

	ok(word && from_hex(found, word), "the kernel before has left a PCR");
	free(word);
	e = aggregate(&count);
	ok(count == 1 && !memcmp(e->value, found, DIGEST),
	   "which is what the aggregate begins with");
	free(e);
	ok(key_value(CONTAINERS "status", "containers") == 0 &&
	   access(CONTAINERS "kexec", F_OK), "no container was carried over");
	test_anchor();
}
