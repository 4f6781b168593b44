#pragma once
/* Hashes and checksums that the formats and the witness rely on.  Not for adversarial tables:
 * a colliding key costs an extra read, never a wrong one. */
#include "common/base/slice.h"

/* CRC32C (Castagnoli), init and xorout as in RFC 3720 (iSCSI).  crc32c(0, s) starts; pass the last
 * result to continue.  Hardware instruction where the CPU has one, chosen once at run time. */
uint32_t crc32c(uint32_t crc, struct slice s);

/* CRC of A‖B from crc(A), crc(B) and len(B). */
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b);
/* The same for many Bs of one length, of which the costly part is done once. */
struct crc32c_shift {
    uint32_t column[32];
};
void crc32c_shift_init(struct crc32c_shift *s, uint64_t len_b);
uint32_t crc32c_shift_combine(const struct crc32c_shift *s, uint32_t crc_a, uint32_t crc_b);

/* 64-bit hash of bytes, with a seed; stable across versions and machines: it is on the wire. */
uint64_t hash64(uint64_t seed, struct slice s);
