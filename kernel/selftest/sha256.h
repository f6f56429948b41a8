/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHA256_H
#define SHA256_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST 32

struct sha256 {
	uint32_t h[8];
	uint64_t len;
	uint8_t block[64];
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t len);
void sha256_end(struct sha256 *s, uint8_t out[DIGEST]);
void sha256(const void *data, size_t len, uint8_t out[DIGEST]);
void hmac_sha256(const uint8_t key[DIGEST], const void *data, size_t len,
		 uint8_t out[DIGEST]);
/* pcr := SHA-256(pcr || digest) */
void extend(uint8_t pcr[DIGEST], const uint8_t digest[DIGEST]);

#endif
