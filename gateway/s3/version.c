/* 16 bytes in the digits of base32hex (RFC 4648, section 7; without padding): be64(version ^ check)
 * ‖ be64(check). */
#include "gateway/s3/version.h"

#include "common/base/check.h"
#include "common/base/hash.h"

#define CHECK_SEED UINT64_C(0x6361697265763176) /* part of the format */

enum { ID_BYTES_RAW = 16, DIGIT_BITS = 5 };
_Static_assert((S3_VERSION_ID_CHARS - 1) * DIGIT_BITS < ID_BYTES_RAW * 8 &&
                   S3_VERSION_ID_CHARS * DIGIT_BITS >= ID_BYTES_RAW * 8,
               "16 bytes need 26 digits");

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUV";

static void put_be64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get_be64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static uint64_t check_of(uint64_t version)
{
    uint8_t raw[8];
    put_be64(raw, version);
    return hash64(CHECK_SEED, SLICE(raw, sizeof(raw)));
}

void s3_version_id_text(uint64_t version, char ret[S3_VERSION_ID_CHARS + 1])
{
    CHECK(version != S3_VERSION_NONE && version != S3_VERSION_NULL);
    uint8_t raw[ID_BYTES_RAW + 1] = {0}; /* the last digit has bits of neither */
    uint64_t check = check_of(version);
    put_be64(raw, version ^ check);
    put_be64(raw + 8, check);
    for (size_t i = 0; i < S3_VERSION_ID_CHARS; i++) {
        size_t bit = i * DIGIT_BITS;
        unsigned pair = (unsigned)raw[bit / 8] << 8 | raw[bit / 8 + 1];
        ret[i] = digits[pair >> (16 - DIGIT_BITS - bit % 8) & 31];
    }
    ret[S3_VERSION_ID_CHARS] = '\0';
}

bool s3_version_id_parse(struct slice text, uint64_t *ret)
{
    uint8_t raw[ID_BYTES_RAW + 1] = {0};
    if (slice_eq(text, SLICE_LIT("null"))) {
        *ret = S3_VERSION_NULL;
        return true;
    }
    if (text.len != S3_VERSION_ID_CHARS)
        return false;
    for (size_t i = 0; i < S3_VERSION_ID_CHARS; i++) {
        const char *at = text.ptr[i] ? strchr(digits, text.ptr[i]) : NULL;
        if (!at)
            return false;
        size_t bit = i * DIGIT_BITS;
        unsigned pair = (unsigned)(at - digits) << (16 - DIGIT_BITS - bit % 8);
        raw[bit / 8] |= (uint8_t)(pair >> 8);
        raw[bit / 8 + 1] |= (uint8_t)pair;
    }
    uint64_t check = get_be64(raw + 8), version = get_be64(raw) ^ check;
    if (raw[ID_BYTES_RAW] != 0 || check != check_of(version) || version == S3_VERSION_NONE ||
        version == S3_VERSION_NULL)
        return false;
    *ret = version;
    return true;
}
