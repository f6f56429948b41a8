/* SPDX-License-Identifier: GPL-2.0-only */
/* Containers by hand, measurement lists taken apart, and a TAP report. */
#ifndef KIT_H
#define KIT_H

#include <stdbool.h>
#include <sys/types.h>

#include "ima_container.h"
#include "sha256.h"

/* From the command line: what another kernel left in PCR 12. */
#define FOUND_PCR "selftest_found"

#define IMA "/sys/kernel/security/ima/"
#define CONTAINERS IMA "containers/"
/* Files of this owner are measured when read, see policy. */
#define MEASURED_OWNER 1234

/* A container whose first process waits until box_go(), as runc's init does. */
struct box {
	char id[64];
	uint8_t secret[DIGEST];
	unsigned long seq;
	pid_t pid;
	int pidfd;
	int go;
};

/* 0, or the negative errno of a request to the control file. */
int control(unsigned long request, const void *argument);
/* 0, or the negative errno of IMA_CONTAINER_CREATE. */
int box_start(struct box *b, const char *id, int clone_flags,
	      int (*fn)(void *), void *arg);
int box_create(struct box *b, unsigned int limit_mib);
void box_go(struct box *b);
int box_wait(struct box *b);
int box_release(struct box *b);
/* Waits until its directory is gone; false after ten seconds. */
bool box_gone(struct box *b);

struct line {
	uint32_t pcr;
	uint8_t digest[DIGEST];	/* of the template, as listed */
	uint8_t data_digest[DIGEST];	/* of the template, computed */
	bool violation;
	uint8_t file_digest[DIGEST];
	char name[256];
};

struct list {
	struct line *lines;
	unsigned long count;
};

/* Read and take apart the binary lists. */
struct list box_list(const struct box *b);
struct list host_list(void);
void list_free(struct list *l);
/* How many lines name a file of this path. */
unsigned long list_has(const struct list *l, const char *name);
unsigned long list_violations(const struct list *l, const char *name);
/* cPCR of the first n lines. */
void list_cpcr(const struct list *l, unsigned long n, uint8_t out[DIGEST]);

unsigned long box_number(const struct box *b, const char *file);
unsigned long host_number(const char *file);
/* Value of a key in info or status; -1 if it is not there. */
long key_value(const char *path, const char *key);

/* Ends the whole self-test: what it stands on is not there. */
void die(const char *what);
/* A whole file, with a NUL behind it; to be freed. */
char *slurp(const char *path, size_t *len);
int write_file(const char *path, const void *data, size_t len);
/* A program that nobody has run before. */
void make_program(const char *path, unsigned long salt);
void make_measured(const char *path, const char *text);
/* The value of a word of the kernel's command line, or NULL; to be freed. */
char *boot_word(const char *name);
/* How often the kernel's log says it. */
long kernel_said(const char *what);
struct flood {
	const char *dir;
	unsigned long lines;
};

/* For a box, with a struct flood: files that were never there before, one line each. */
int flood(void *arg);
/* Runs a program to its end; false if it could not be run. */
bool run(const char *path);
/* For a box: runs the programs of an array that ends with NULL; 1 if one could not be run. */
int run_args(void *arg);
void read_all(const char *path);
double now(void);
void to_hex(char hex[2 * DIGEST + 1], const uint8_t digest[DIGEST]);
bool from_hex(uint8_t digest[DIGEST], const char *hex);

/* The aggregate, once all that waits is in the TPM, and what a verifier makes of it. */
struct event {
	unsigned int pcr;
	unsigned long batch;
	uint8_t tag[DIGEST], value[DIGEST];
};

struct event *aggregate(unsigned long *count);
bool has_tpm(void);
bool tpm_pcr(int n, uint8_t out[DIGEST]);
/* Is the event the one that says that nothing more is anchored? */
bool is_cap(const struct event *e);
void replay(const struct event *e, unsigned long count, uint8_t pcr[DIGEST]);
bool verifies(const struct box *b, const struct list *l, const struct event *e,
	      unsigned long count, bool closed);
void check_tpm(void);

void plan(void);
void ok(bool good, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int report(void);

/* The tests */
void test_create(void);
void test_lists(void);
void test_membership(void);
void test_reader(void);
void test_violations(void);
void test_anchor(void);
void test_life(void);
void test_overflow(void);
void test_unreadable(void);
void test_long_list(unsigned long lines);
void test_stress(int rounds);
void test_tpm_is_late(void);
void test_tpm_stops(void);
void test_tpm_dies(void);
void test_full(void);
void test_kexec(void);
void test_after_kexec(void);
void bench(void);

#endif
