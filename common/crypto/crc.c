/* CRC-32 by ISA-L; CRC-64/NVME here, since ISA-L 2.30 lacks its polynomial.
 *
 * A reflected CRC sees the message as a polynomial over GF(2) whose first bit has the highest
 * power. Folding: the first 16 bytes of a block times x^D are congruent, mod P, to something 16
 * bytes long that can be added to the 16 bytes that lie D bits further on.  Eight lanes of 16 bytes
 * fold 128 bytes a step (sixteen 256, where the processor multiplies in wide registers), then the
 * lanes fold into one, and the CRC of the last 16 bytes is the CRC of all. */
#include "common/crypto/crc.h"

#include "common/base/check.h"

#include <isa-l/crc.h>
#include <limits.h>
#include <pthread.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define CRC64NVME_POLY 0x9a6c9329ac4bc9b5ull /* reflected */
#define CRC32_POLY 0xedb88320u               /* reflected */

uint32_t crc32_gzip(uint32_t crc, struct slice s)
{
    while (s.len > 0) {
        size_t n = s.len > INT_MAX / 2 ? INT_MAX / 2 : s.len;
        crc = crc32_gzip_refl(crc, s.ptr, n);
        s.ptr += n;
        s.len -= n;
    }
    return crc;
}

/* a·b mod P of reflected polynomials: bit 63 is x^0. */
static uint64_t multiply(uint64_t a, uint64_t b)
{
    uint64_t product = 0;
    for (uint64_t bit = 1ull << 63; bit && a; bit >>= 1) {
        if (a & bit) {
            product ^= b;
            a ^= bit;
        }
        b = b & 1 ? b >> 1 ^ CRC64NVME_POLY : b >> 1;
    }
    return product;
}

static uint32_t multiply32(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = 1u << 31; bit && a; bit >>= 1) {
        if (a & bit) {
            product ^= b;
            a ^= bit;
        }
        b = b & 1 ? b >> 1 ^ CRC32_POLY : b >> 1;
    }
    return product;
}

/* x^n mod P */
static uint64_t power(uint64_t n)
{
    uint64_t result = 1ull << 63, square = 1ull << 62;
    for (; n; n >>= 1) {
        if (n & 1)
            result = multiply(result, square);
        square = multiply(square, square);
    }
    return result;
}

uint64_t crc64nvme_combine(uint64_t crc_a, uint64_t crc_b, uint64_t len_b)
{
    /* x^(8·len_b), without the overflow of 8·len_b: the square of the square of the square. */
    uint64_t shift = power(len_b);
    for (int i = 0; i < 3; i++)
        shift = multiply(shift, shift);
    return multiply(shift, crc_a) ^ crc_b;
}

uint32_t crc32_gzip_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b)
{
    uint32_t result = 1u << 31, square = 1u << 23; /* x^8 */
    for (; len_b; len_b >>= 1) {
        if (len_b & 1)
            result = multiply32(result, square);
        square = multiply32(square, square);
    }
    return multiply32(result, crc_a) ^ crc_b;
}

static uint64_t table[8][256];
/* For the low and the high half of a lane. */
static uint64_t fold_2048[2], fold_1024[2], fold_128[2];
static bool has_clmul, has_wide_clmul;
static pthread_once_t prepared = PTHREAD_ONCE_INIT;

static void prepare(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ CRC64NVME_POLY : crc >> 1;
        table[0][i] = crc;
    }
    for (unsigned i = 0; i < 256; i++)
        for (unsigned t = 1; t < 8; t++)
            table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 0xff];
    /* A carry-less product of reflected operands comes out one power too high: hence the -1. */
    fold_2048[0] = power(2048 + 64 - 1);
    fold_2048[1] = power(2048 - 1);
    fold_1024[0] = power(1024 + 64 - 1);
    fold_1024[1] = power(1024 - 1);
    fold_128[0] = power(128 + 64 - 1);
    fold_128[1] = power(128 - 1);
#if defined(__x86_64__)
    has_clmul = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
    has_wide_clmul =
        has_clmul && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
#endif
}

/* On the register itself: neither inverted before nor after. */
static uint64_t update_table(uint64_t state, const uint8_t *p, size_t len)
{
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        v = __builtin_bswap64(v);
#endif
        v ^= state;
        state = table[7][v & 0xff] ^ table[6][v >> 8 & 0xff] ^ table[5][v >> 16 & 0xff] ^
                table[4][v >> 24 & 0xff] ^ table[3][v >> 32 & 0xff] ^ table[2][v >> 40 & 0xff] ^
                table[1][v >> 48 & 0xff] ^ table[0][v >> 56];
    }
    for (; len; p++, len--)
        state = state >> 8 ^ table[0][(state ^ *p) & 0xff];
    return state;
}

#if defined(__x86_64__)
__attribute__((target("pclmul,sse4.1"))) static inline __m128i fold(__m128i lane, __m128i k,
                                                                    __m128i next)
{
    __m128i low = _mm_clmulepi64_si128(lane, k, 0x00);
    __m128i high = _mm_clmulepi64_si128(lane, k, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

/* len >= 512.  The same with sixteen lanes in four registers; takes whole blocks of 256 bytes. */
__attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.1"))) static uint64_t
update_wide_clmul(uint64_t state, const uint8_t *p, size_t len, size_t *ret_used)
{
    const uint8_t *start = p;
    __m512i lane[4];
    __m512i k =
        _mm512_broadcast_i32x4(_mm_set_epi64x((long long)fold_2048[1], (long long)fold_2048[0]));
    for (int i = 0; i < 4; i++)
        lane[i] = _mm512_loadu_si512(p + 64 * i);
    lane[0] =
        _mm512_xor_si512(lane[0], _mm512_zextsi128_si512(_mm_set_epi64x(0, (long long)state)));
    for (p += 256, len -= 256; len >= 256; p += 256, len -= 256) {
        for (int i = 0; i < 4; i++) {
            __m512i low = _mm512_clmulepi64_epi128(lane[i], k, 0x00);
            __m512i high = _mm512_clmulepi64_epi128(lane[i], k, 0x11);
            lane[i] = _mm512_xor_si512(_mm512_xor_si512(low, high), _mm512_loadu_si512(p + 64 * i));
        }
    }
    __m128i narrow[16], k_narrow = _mm_set_epi64x((long long)fold_128[1], (long long)fold_128[0]);
    for (int i = 0; i < 4; i++)
        _mm512_storeu_si512(narrow + 4 * i, lane[i]);
    __m128i sum = narrow[0];
    for (int i = 1; i < 16; i++)
        sum = fold(sum, k_narrow, narrow[i]);
    uint8_t rest[16];
    _mm_storeu_si128((__m128i *)(void *)rest, sum);
    *ret_used = (size_t)(p - start);
    return update_table(0, rest, sizeof(rest));
}

/* len >= 256.  Takes whole blocks of 128 bytes, then whole 16; *ret_used says how many bytes. */
__attribute__((target("pclmul,sse4.1"))) static uint64_t
update_clmul(uint64_t state, const uint8_t *p, size_t len, size_t *ret_used)
{
    const uint8_t *start = p;
    __m128i lane[8];
    __m128i k = _mm_set_epi64x((long long)fold_1024[1], (long long)fold_1024[0]);
    for (int i = 0; i < 8; i++)
        lane[i] = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
    lane[0] = _mm_xor_si128(lane[0], _mm_set_epi64x(0, (long long)state));
    for (p += 128, len -= 128; len >= 128; p += 128, len -= 128)
        for (int i = 0; i < 8; i++)
            lane[i] =
                fold(lane[i], k, _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)));
    k = _mm_set_epi64x((long long)fold_128[1], (long long)fold_128[0]);
    __m128i sum = lane[0];
    for (int i = 1; i < 8; i++)
        sum = fold(sum, k, lane[i]);
    for (; len >= 16; p += 16, len -= 16)
        sum = fold(sum, k, _mm_loadu_si128((const __m128i *)(const void *)p));
    uint8_t rest[16];
    _mm_storeu_si128((__m128i *)(void *)rest, sum);
    *ret_used = (size_t)(p - start);
    return update_table(0, rest, sizeof(rest));
}
#endif

uint64_t crc64nvme_table(uint64_t crc, struct slice s)
{
    pthread_once(&prepared, prepare);
    return ~update_table(~crc, s.ptr, s.len);
}

uint64_t crc64nvme(uint64_t crc, struct slice s)
{
    pthread_once(&prepared, prepare);
    uint64_t state = ~crc;
#if defined(__x86_64__)
    size_t used = 0;
    if (has_wide_clmul && s.len >= 512) {
        state = update_wide_clmul(state, s.ptr, s.len, &used);
        s.ptr += used;
        s.len -= used;
    }
    if (has_clmul && s.len >= 256) {
        state = update_clmul(state, s.ptr, s.len, &used);
        s.ptr += used;
        s.len -= used;
    }
#endif
    return ~update_table(state, s.ptr, s.len);
}
