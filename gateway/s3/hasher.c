/* Several checksums in one pass over the data, and those of a multipart object from its parts. */
#include "gateway/s3/checksum.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/crypto/codec.h"
#include "common/crypto/crc.h"

#include <stdio.h>

/* So much of the data at a time that every algorithm finds it in the first-level cache. */
#define STRIDE_BYTES 16384

static void put_be32(uint32_t v, uint8_t *ret)
{
    for (int i = 0; i < 4; i++)
        ret[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void put_be64(uint64_t v, uint8_t *ret)
{
    for (int i = 0; i < 8; i++)
        ret[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void s3_checksum_of_crc64(uint64_t crc, struct s3_checksum *ret)
{
    *ret = (struct s3_checksum){.algorithm = S3_CHECKSUM_CRC64NVME, .len = 8};
    put_be64(crc, ret->bytes);
}

static void checksum_of_crc32(enum s3_checksum_algorithm a, uint32_t crc, struct s3_checksum *ret)
{
    *ret = (struct s3_checksum){.algorithm = a, .len = 4};
    put_be32(crc, ret->bytes);
}

int s3_hasher_init(struct s3_hasher *h, enum s3_checksum_algorithm algorithm, bool with_md5,
                   bool with_sha256)
{
    *h = (struct s3_hasher){.with_md5 = with_md5, .algorithm = algorithm};
    h->with_sha256 = with_sha256 || algorithm == S3_CHECKSUM_SHA256;
    int err = OK;
    if (h->with_md5)
        err = digest_init(&h->md5, DIGEST_MD5);
    if (err == OK && h->with_sha256)
        err = digest_init(&h->sha256, DIGEST_SHA256);
    if (err == OK && algorithm == S3_CHECKSUM_SHA1)
        err = digest_init(&h->sha1, DIGEST_SHA1);
    if (err != OK)
        s3_hasher_fini(h);
    return err;
}

void s3_hasher_update(struct s3_hasher *h, struct slice s)
{
    h->bytes += s.len;
    while (s.len > 0) {
        struct slice piece = SLICE(s.ptr, MIN(s.len, (size_t)STRIDE_BYTES));
        h->crc64nvme = crc64nvme(h->crc64nvme, piece);
        if (h->with_md5)
            digest_update(&h->md5, piece);
        if (h->with_sha256)
            digest_update(&h->sha256, piece);
        if (h->algorithm == S3_CHECKSUM_SHA1)
            digest_update(&h->sha1, piece);
        if (h->algorithm == S3_CHECKSUM_CRC32)
            h->crc32 = crc32_gzip(h->crc32, piece);
        if (h->algorithm == S3_CHECKSUM_CRC32C)
            h->crc32c = crc32c(h->crc32c, piece);
        s.ptr += piece.len;
        s.len -= piece.len;
    }
}

void s3_hasher_final(struct s3_hasher *h, struct s3_hashes *ret)
{
    *ret = (struct s3_hashes){.bytes = h->bytes, .crc64nvme = h->crc64nvme};
    if (h->with_md5) {
        digest_final(&h->md5, ret->md5);
        ret->has_md5 = true;
    }
    if (h->with_sha256) {
        digest_final(&h->sha256, ret->sha256);
        ret->has_sha256 = true;
    }
    struct s3_checksum *c = &ret->checksum;
    switch (h->algorithm) {
    case S3_CHECKSUM_CRC32: checksum_of_crc32(h->algorithm, h->crc32, c); break;
    case S3_CHECKSUM_CRC32C: checksum_of_crc32(h->algorithm, h->crc32c, c); break;
    case S3_CHECKSUM_SHA1:
        *c = (struct s3_checksum){.algorithm = h->algorithm, .len = SHA1_BYTES};
        digest_final(&h->sha1, c->bytes);
        break;
    case S3_CHECKSUM_SHA256:
        *c = (struct s3_checksum){.algorithm = h->algorithm, .len = SHA256_BYTES};
        memcpy(c->bytes, ret->sha256, SHA256_BYTES);
        break;
    default: s3_checksum_of_crc64(h->crc64nvme, c);
    }
    s3_hasher_fini(h);
}

void s3_hasher_fini(struct s3_hasher *h)
{
    digest_fini(&h->md5);
    digest_fini(&h->sha256);
    digest_fini(&h->sha1);
}

enum s3_code s3_hashes_verify(const struct s3_hashes *h, const struct s3_checksum_claim *claim,
                              const uint8_t *payload_sha256, struct s3_fault *fault)
{
    if (payload_sha256 && !h->has_sha256)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    if (payload_sha256 && memcmp(payload_sha256, h->sha256, SHA256_BYTES) != 0)
        return s3_fault_set(fault, S3_X_AMZ_CONTENT_SHA256_MISMATCH, NULL);
    if (claim->has_md5 && (!h->has_md5 || memcmp(claim->md5, h->md5, MD5_BYTES) != 0))
        return s3_fault_set(fault, S3_BAD_DIGEST,
                            "The Content-MD5 you specified did not match what we received.");
    if (claim->has_value && (claim->value.algorithm != h->checksum.algorithm ||
                             memcmp(claim->value.bytes, h->checksum.bytes, h->checksum.len) != 0)) {
        static const char *const messages[S3_CHECKSUM_COUNT] = {
            [S3_CHECKSUM_CRC32] = "The CRC32 you specified did not match the calculated checksum.",
            [S3_CHECKSUM_CRC32C] =
                "The CRC32C you specified did not match the calculated checksum.",
            [S3_CHECKSUM_CRC64NVME] =
                "The CRC64NVME you specified did not match the calculated checksum.",
            [S3_CHECKSUM_SHA1] = "The SHA1 you specified did not match the calculated checksum.",
            [S3_CHECKSUM_SHA256] =
                "The SHA256 you specified did not match the calculated checksum.",
        };
        return s3_fault_set(fault, S3_BAD_DIGEST, messages[claim->value.algorithm]);
    }
    return S3_OK;
}

/* ---- multipart ---- */

static bool is_composite(const struct s3_combiner *c)
{
    return c->type == S3_CHECKSUM_COMPOSITE;
}

int s3_combiner_init(struct s3_combiner *c, enum s3_checksum_algorithm algorithm,
                     enum s3_checksum_type type)
{
    *c = (struct s3_combiner){.algorithm = algorithm, .type = type, .crc64_known = true};
    int err = digest_init(&c->md5, DIGEST_MD5);
    if (err == OK && is_composite(c) && algorithm == S3_CHECKSUM_SHA1)
        err = digest_init(&c->hash, DIGEST_SHA1);
    if (err == OK && is_composite(c) && algorithm == S3_CHECKSUM_SHA256)
        err = digest_init(&c->hash, DIGEST_SHA256);
    if (err != OK)
        s3_combiner_fini(c);
    return err;
}

/* Composite: the checksum of the parts' checksums, in their binary form. */
static void add_composite(struct s3_combiner *c, struct slice part)
{
    switch (c->algorithm) {
    case S3_CHECKSUM_CRC32: c->crc32 = crc32_gzip(c->crc32, part); break;
    case S3_CHECKSUM_CRC32C: c->crc32 = crc32c(c->crc32, part); break;
    case S3_CHECKSUM_SHA1:
    case S3_CHECKSUM_SHA256: digest_update(&c->hash, part); break;
    default: c->failed = true;
    }
}

/* Full object: what the checksum of the whole would have been. */
static void add_full(struct s3_combiner *c, const struct s3_checksum *part, uint64_t bytes)
{
    uint32_t crc = get_be32(part->bytes);
    switch (c->algorithm) {
    case S3_CHECKSUM_CRC32: c->crc32 = crc32_gzip_combine(c->crc32, crc, bytes); break;
    case S3_CHECKSUM_CRC32C: c->crc32 = crc32c_combine(c->crc32, crc, bytes); break;
    default: c->failed = true;
    }
}

void s3_combiner_add(struct s3_combiner *c, uint64_t part_bytes, const uint8_t md5[MD5_BYTES],
                     const struct s3_checksum *checksum, const uint64_t *crc64)
{
    c->parts++;
    c->bytes += part_bytes;
    digest_update(&c->md5, SLICE(md5, MD5_BYTES));
    if (crc64)
        c->crc64nvme = crc64nvme_combine(c->crc64nvme, *crc64, part_bytes);
    else
        c->crc64_known = false;
    if (c->algorithm == S3_CHECKSUM_NONE || c->algorithm == S3_CHECKSUM_CRC64NVME)
        return;
    if (!checksum || checksum->algorithm != c->algorithm ||
        checksum->len != s3_checksum_bytes(c->algorithm))
        c->failed = true;
    else if (is_composite(c))
        add_composite(c, SLICE(checksum->bytes, checksum->len));
    else
        add_full(c, checksum, part_bytes);
}

void s3_combiner_final(struct s3_combiner *c, char etag[S3_ETAG_TEXT_MAX], struct s3_checksum *ret,
                       uint64_t *ret_crc64, bool *ret_crc64_known)
{
    uint8_t md5[MD5_BYTES];
    digest_final(&c->md5, md5);
    hex_encode(SLICE(md5, MD5_BYTES), etag);
    snprintf(etag + HEX_CHARS(MD5_BYTES), S3_ETAG_TEXT_MAX - HEX_CHARS(MD5_BYTES), "-%u", c->parts);
    *ret_crc64 = c->crc64nvme;
    *ret_crc64_known = c->crc64_known;
    *ret = (struct s3_checksum){0};
    bool hashed = c->algorithm == S3_CHECKSUM_SHA1 || c->algorithm == S3_CHECKSUM_SHA256;
    if (c->algorithm == S3_CHECKSUM_NONE || c->algorithm == S3_CHECKSUM_CRC64NVME) {
        if (c->crc64_known)
            s3_checksum_of_crc64(c->crc64nvme, ret);
    } else if (!c->failed && hashed && is_composite(c)) {
        *ret = (struct s3_checksum){.algorithm = c->algorithm,
                                    .len = (uint8_t)s3_checksum_bytes(c->algorithm)};
        digest_final(&c->hash, ret->bytes);
    } else if (!c->failed && !hashed) {
        checksum_of_crc32(c->algorithm, c->crc32, ret);
    }
    if (ret->algorithm != S3_CHECKSUM_NONE && ret->algorithm == c->algorithm)
        ret->type = c->type;
    s3_combiner_fini(c);
}

void s3_combiner_fini(struct s3_combiner *c)
{
    digest_fini(&c->md5);
    digest_fini(&c->hash);
}
