// SPDX-License-Identifier: GPL-2.0-only
/* Binary measurement lists, read and taken apart. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

static uint32_t take32(const char **p)
{
	uint32_t v;

	memcpy(&v, *p, 4);
	*p += 4;
	return v;
}

static struct list list_read(const char *path, int digest_size)
{
	struct list l = { 0 };
	size_t len, size = 0;
	char *buf = slurp(path, &len);
	const char *p = buf, *end = buf + len;

	while (p < end) {
		static const uint8_t zero[DIGEST];
		struct line *line;
		uint32_t n;
		const char *data;

		if (l.count == size)
			l.lines = realloc(l.lines, (size = size * 2 + 64) *
						   sizeof(*l.lines));
		line = &l.lines[l.count++];
		line->pcr = take32(&p);
		memset(line->digest, 0, DIGEST);
		memcpy(line->digest, p, digest_size);
		p += digest_size;
		n = take32(&p);
		if (n != 6 || memcmp(p, "ima-ng", 6))
			die("not an ima-ng line");
		p += n;
		n = take32(&p);
		sha256(p, n, line->data_digest);
		line->violation = !memcmp(line->digest, zero, DIGEST);
		data = p;
		p += n;
		n = take32(&data);
		if (n != 8 + DIGEST || memcmp(data, "sha256:", 8))
			die("not a sha256 line");
		memcpy(line->file_digest, data + 8, DIGEST);
		data += n;
		n = take32(&data);
		snprintf(line->name, sizeof(line->name), "%.*s", (int)n, data);
	}
	if (p != end)
		die("a list ends in the middle of a line");
	free(buf);
	return l;
}

struct list box_list(const struct box *b)
{
	char path[256];

	sprintf(path, CONTAINERS "%s/binary_runtime_measurements_sha256",
		b->id);
	return list_read(path, DIGEST);
}

struct list host_list(void)
{
	/* Without a TPM IMA's own list is there with SHA-1 digests only. */
	if (access(IMA "binary_runtime_measurements_sha256", F_OK))
		return list_read(IMA "binary_runtime_measurements", 20);
	return list_read(IMA "binary_runtime_measurements_sha256", DIGEST);
}

void list_free(struct list *l)
{
	free(l->lines);
}

unsigned long list_has(const struct list *l, const char *name)
{
	unsigned long i, n = 0;

	for (i = 0; i < l->count; i++)
		n += !l->lines[i].violation && !strcmp(l->lines[i].name, name);
	return n;
}

unsigned long list_violations(const struct list *l, const char *name)
{
	unsigned long i, n = 0;

	for (i = 0; i < l->count; i++)
		n += l->lines[i].violation && !strcmp(l->lines[i].name, name);
	return n;
}

void list_cpcr(const struct list *l, unsigned long n, uint8_t out[DIGEST])
{
	uint8_t ones[DIGEST];
	unsigned long i;

	memset(ones, 0xff, DIGEST);
	memset(out, 0, DIGEST);
	for (i = 0; i < n; i++)
		extend(out, l->lines[i].violation ? ones : l->lines[i].digest);
}
