// SPDX-License-Identifier: GPL-2.0-only
/* What a verifier does with the aggregate and the TPM. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"

struct event *aggregate(unsigned long *count)
{
	FILE *f = fopen(CONTAINERS "aggregate", "r");
	struct event *events = NULL;
	char tag[65], value[65];
	unsigned long n = 0;

	fsync(fileno(f));
	for (;;) {
		struct event e;

		if (fscanf(f, "%u %lu %64s %64s\n", &e.pcr, &e.batch, tag, value) != 4)
			break;
		from_hex(e.tag, tag);
		from_hex(e.value, value);
		if (n % 1024 == 0)
			events = realloc(events, (n + 1024) * sizeof(*events));
		events[n++] = e;
	}
	fclose(f);
	*count = n;
	return events;
}

bool has_tpm(void)
{
	return !access("/dev/tpm0", F_OK);
}

bool tpm_pcr(int n, uint8_t out[DIGEST])
{
	char path[64], hex[65];
	FILE *f;

	sprintf(path, "/sys/class/tpm/tpm0/pcr-sha256/%d", n);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (fscanf(f, "%64s", hex) != 1)
		hex[0] = 0;
	fclose(f);
	return from_hex(out, hex);
}

bool is_cap(const struct event *e)
{
	uint8_t ones[DIGEST];

	memset(ones, 0xff, DIGEST);
	return !memcmp(e->tag, ones, DIGEST) && !memcmp(e->value, ones, DIGEST);
}

void replay(const struct event *e, unsigned long count, uint8_t pcr[DIGEST])
{
	unsigned long i = 0;

	memcpy(pcr, e[0].value, DIGEST);
	while (i < count) {
		unsigned long batch = e[i].batch;
		uint8_t digest[DIGEST];
		struct sha256 s;

		sha256_init(&s);
		for (; i < count && e[i].batch == batch; i++) {
			sha256_add(&s, e[i].tag, DIGEST);
			sha256_add(&s, e[i].value, DIGEST);
		}
		sha256_end(&s, digest);
		if (is_cap(&e[i - 1]))
			memset(digest, 0xff, DIGEST);
		extend(pcr, digest);
	}
}

static void box_key(const struct box *b, uint8_t key[DIGEST])
{
	uint8_t data[256];
	size_t len = sizeof("ima-container");
	int i;

	memcpy(data, "ima-container", len);
	for (i = 0; i < 8; i++)
		data[len++] = (uint64_t)b->seq >> 8 * i;
	memcpy(data + len, b->id, strlen(b->id));
	hmac_sha256(b->secret, data, len + strlen(b->id), key);
}

static size_t labelled(uint8_t *data, const char *label, uint64_t n)
{
	size_t len = strlen(label);
	int i;

	memcpy(data, label, len);
	for (i = 0; i < 8; i++)
		data[len++] = n >> 8 * i;
	return len;
}

static long find_tag(const struct event *e, unsigned long count,
		     const uint8_t key[DIGEST], uint64_t n)
{
	uint8_t data[64], tag[DIGEST];
	unsigned long i;

	hmac_sha256(key, data, labelled(data, "tag", n), tag);
	for (i = 0; i < count; i++)
		if (!memcmp(e[i].tag, tag, DIGEST))
			return i;
	return -1;
}

static bool value_is(const struct event *e, const uint8_t key[DIGEST],
		     uint64_t n, uint8_t kind, const uint8_t cpcr[DIGEST])
{
	uint8_t data[64], value[DIGEST];
	size_t len = labelled(data, "value", n);

	data[len++] = kind;
	memcpy(data + len, cpcr, DIGEST);
	hmac_sha256(key, data, len + DIGEST, value);
	return !memcmp(e->value, value, DIGEST);
}

/* What a verifier does who knows one container's secret. */
bool verifies(const struct box *b, const struct list *l, const struct event *e,
	      unsigned long count, bool closed)
{
	uint8_t key[DIGEST], cpcr[DIGEST];
	unsigned long n, kind;
	long at, last = -1;

	box_key(b, key);
	for (n = 0; n <= l->count + closed; n++) {
		kind = n == 0 ? 1 : n <= l->count ? 2 : 3;
		list_cpcr(l, n < l->count ? n : l->count, cpcr);
		at = find_tag(e, count, key, n);
		if (at <= last || !value_is(&e[at], key, n, kind, cpcr))
			return false;
		last = at;
	}
	return find_tag(e, count, key, n) < 0;
}

void check_tpm(void)
{
	uint8_t tpm[DIGEST], pcr[DIGEST];
	unsigned long count;
	struct event *e;
	struct list host;
	long errors;

	if (!has_tpm()) {
		puts("# no TPM: its PCRs are not compared");
		return;
	}
	ok(tpm_pcr(12, tpm), "the TPM has a SHA-256 bank");
	e = aggregate(&count);
	replay(e, count, pcr);
	tpm_pcr(12, tpm);
	ok(!memcmp(pcr, tpm, DIGEST), "%lu events replay to PCR 12", count);
	free(e);
	host = host_list();
	list_cpcr(&host, host.count, pcr);
	tpm_pcr(10, tpm);
	ok(!memcmp(pcr, tpm, DIGEST), "the host's %lu lines replay to PCR 10",
	   host.count);
	list_free(&host);
	errors = key_value(CONTAINERS "status", "errors");
	ok(!errors, "no extend failed: %ld", errors);
}
