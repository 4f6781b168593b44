/* CRC32C by ISA-L, 64-bit hashing by xxHash (XXH3, whose output is fixed since version 0.8). */
#include "common/base/hash.h"

#include <isa-l/crc.h>
#include <limits.h>
#include <string.h>
#include <xxhash.h>

uint32_t crc32c(uint32_t crc, struct slice s)
{
    /* crc32_iscsi() neither inverts its seed nor its result. */
    uint32_t state = ~crc;
    while (s.len > 0) {
        int n = s.len > INT_MAX / 2 ? INT_MAX / 2 : (int)s.len;
        state = crc32_iscsi((unsigned char *)(uintptr_t)s.ptr, n, state);
        s.ptr += n;
        s.len -= (size_t)n;
    }
    return ~state;
}

/* Multiplication of a vector by a 32x32 matrix over GF(2), as in zlib's crc32_combine(). */
static uint32_t gf2_times(const uint32_t mat[32], uint32_t vec)
{
    uint32_t sum = 0;
    for (unsigned i = 0; vec; vec >>= 1, i++)
        if (vec & 1)
            sum ^= mat[i];
    return sum;
}

static void gf2_square(uint32_t square[32], const uint32_t mat[32])
{
    for (unsigned i = 0; i < 32; i++)
        square[i] = gf2_times(mat, mat[i]);
}

/* The matrix that advances a CRC over `len` zero bytes: squares of the one for a bit, multiplied.
 */
void crc32c_shift_init(struct crc32c_shift *s, uint64_t len)
{
    uint32_t power[32], square[32];
    power[0] = 0x82f63b78u; /* the reflected Castagnoli polynomial: one zero bit */
    for (unsigned i = 1; i < 32; i++)
        power[i] = 1u << (i - 1);
    for (unsigned i = 0; i < 3; i++) { /* two, four, eight zero bits */
        gf2_square(square, power);
        memcpy(power, square, sizeof(power));
    }
    for (unsigned i = 0; i < 32; i++)
        s->column[i] = 1u << i;
    for (; len > 0; len >>= 1) {
        for (unsigned i = 0; len & 1 && i < 32; i++)
            s->column[i] = gf2_times(power, s->column[i]);
        gf2_square(square, power);
        memcpy(power, square, sizeof(power));
    }
}

uint32_t crc32c_shift_combine(const struct crc32c_shift *s, uint32_t crc_a, uint32_t crc_b)
{
    return gf2_times(s->column, crc_a) ^ crc_b;
}

uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b)
{
    struct crc32c_shift shift;
    crc32c_shift_init(&shift, len_b);
    return crc32c_shift_combine(&shift, crc_a, crc_b);
}

uint64_t hash64(uint64_t seed, struct slice s)
{
    return XXH3_64bits_withSeed(s.ptr, s.len, seed);
}
