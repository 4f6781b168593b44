#pragma once
/* How encrypted bodies lie in the store (docs/formats/index.md): gateways seal and open them, the index only
 * needs to know how many bytes there are.
 *
 * The plaintext is cut into chunks; each is sealed to one block of a blob, a tag behind it, so that a range
 * of it still lies in a few whole blocks. */
#include <stdint.h>

#define SEALED_BLOCK_BYTES 65536u
#define SEALED_TAG_BYTES 16u
#define SEALED_CHUNK_BYTES (SEALED_BLOCK_BYTES - SEALED_TAG_BYTES)

/* Number of chunks of a body of so many bytes of plaintext. */
static inline uint64_t sealed_chunks(uint64_t plain)
{
    return plain / SEALED_CHUNK_BYTES + (plain % SEALED_CHUNK_BYTES != 0);
}
/* What it takes in the store. */
static inline uint64_t sealed_bytes(uint64_t plain)
{
    return plain + sealed_chunks(plain) * SEALED_TAG_BYTES;
}

/* In ShardOwner.body_bytes: the body is encrypted, so that what is found on the disks without the index is not
 * taken for data. */
#define SEALED_BODY_FLAG (1ull << 63)
