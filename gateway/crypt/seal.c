/* Chunks of bodies, sealed and opened. */
#include "gateway/crypt/seal.h"

#include "common/base/check.h"
#include "common/crypto/digest.h"

_Static_assert(SEALED_TAG_BYTES == AEAD_TAG_BYTES, "the tag is GCM's");

static void put_be64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

void seal_body_key(const uint8_t data_key[CRYPT_KEY_BYTES], const uint8_t salt[CRYPT_SALT_BYTES],
                   uint8_t ret[CRYPT_KEY_BYTES])
{
    hkdf_sha256(SLICE(data_key, CRYPT_KEY_BYTES), SLICE(salt, CRYPT_SALT_BYTES),
                SLICE_LIT("cairn body 1"), ret);
}

static void chunk_begin(struct aead *a, uint64_t number, uint64_t total)
{
    uint8_t nonce[AEAD_NONCE_BYTES] = {0}, aad[8];
    put_be64(nonce + 4, number);
    put_be64(aad, total);
    aead_begin(a, nonce, SLICE(aad, sizeof(aad)));
}

/* Plaintext of that chunk. */
static uint64_t chunk_bytes(uint64_t total, uint64_t number)
{
    return MIN(SEALED_CHUNK_BYTES, total - number * SEALED_CHUNK_BYTES);
}

int sealer_init(struct sealer *s, const uint8_t body_key[CRYPT_KEY_BYTES], uint64_t total)
{
    s->total = total;
    s->at = 0;
    return aead_init(&s->aead, body_key, true);
}

size_t sealer_push(struct sealer *s, struct slice plain, uint8_t *out, size_t room,
                   size_t *ret_wrote)
{
    size_t taken = 0, wrote = 0;
    CHECK(plain.len <= s->total - s->at);
    while (taken < plain.len && wrote < room) {
        uint64_t number = s->at / SEALED_CHUNK_BYTES, in_chunk = s->at % SEALED_CHUNK_BYTES;
        uint64_t left = chunk_bytes(s->total, number) - in_chunk;
        size_t n = (size_t)MIN(left, plain.len - taken);
        CHECK(room - wrote >= left + SEALED_TAG_BYTES);
        if (in_chunk == 0)
            chunk_begin(&s->aead, number, s->total);
        aead_update(&s->aead, SLICE(plain.ptr + taken, n), out + wrote);
        taken += n;
        wrote += n;
        s->at += n;
        if (n < left)
            break;
        aead_seal_end(&s->aead, out + wrote);
        wrote += SEALED_TAG_BYTES;
    }
    *ret_wrote = wrote;
    return taken;
}

void sealer_fini(struct sealer *s)
{
    aead_fini(&s->aead);
}

int opener_init(struct opener *o, const uint8_t body_key[CRYPT_KEY_BYTES], uint64_t total)
{
    o->total = total;
    return aead_init(&o->aead, body_key, false);
}

int opener_open(struct opener *o, uint64_t first, struct slice stored, uint8_t *out,
                size_t *ret_bytes)
{
    size_t done = 0;
    uint64_t count = sealed_chunks(o->total);
    for (uint64_t number = first; stored.len; number++) {
        if (number >= count)
            goto damaged;
        size_t n = (size_t)chunk_bytes(o->total, number);
        if (stored.len < n + SEALED_TAG_BYTES)
            goto damaged;
        chunk_begin(&o->aead, number, o->total);
        aead_update(&o->aead, SLICE(stored.ptr, n), out + done);
        done += n;
        if (!aead_open_end(&o->aead, stored.ptr + n))
            goto damaged;
        stored.ptr += n + SEALED_TAG_BYTES;
        stored.len -= n + SEALED_TAG_BYTES;
    }
    *ret_bytes = done;
    return OK;
damaged:
    crypto_wipe(out, done);
    return ERR_CORRUPT;
}

void opener_fini(struct opener *o)
{
    aead_fini(&o->aead);
}
