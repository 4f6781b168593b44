/* Decoding of a blob; see decode.h. */
#include "cli/salvage/decode.h"

#include "cli/salvage/catalog_impl.h"
#include "common/base/check.h"
#include "common/base/hash.h"

#include <stdio.h>
#include <stdlib.h>

#define KEY_CHARS_MAX 160u

/* What was read: data shards lie in place, parity ones behind them. */
struct pieces {
    uint8_t *at[EC_SHARDS_MAX]; /* by index; NULL: not read */
    uint32_t have;
    unsigned count;
};

static int pieces_read(const struct salvage_blob *b, salvage_read read, void *arg, struct pieces *p)
{
    for (size_t i = 0; i < b->shard_count && p->count < b->data; i++) {
        const struct salvage_shard *s = &b->shard[i];
        unsigned index = b->data == 1 ? 0 : s->info.shard_index;
        if (!salvage_shard_serves(b, s) || p->have & 1u << index)
            continue;
        uint8_t *to = malloc(s->info.bytes);
        if (!to)
            return ERR_NOMEM;
        if (read(arg, s, to) != OK) {
            free(to);
            continue;
        }
        p->at[index] = to;
        p->have |= 1u << index;
        p->count++;
    }
    return p->count < b->data ? ERR_NO_QUORUM : OK;
}

/* The data shards that were not read, from those that were. */
static int pieces_rebuild(const struct salvage_blob *b, struct pieces *p)
{
    uint32_t want = ((1u << b->data) - 1) & ~p->have;
    const uint8_t *from[EC_DATA_MAX];
    uint8_t *to[EC_SHARDS_MAX];
    if (want == 0)
        return OK;
    struct ec *ec = malloc(sizeof(*ec));
    struct ec_plan *plan = malloc(sizeof(*plan));
    int err = ec && plan ? ec_init(ec, b->data, b->parity) : ERR_NOMEM;
    if (!err)
        err = ec_plan_init(plan, ec, p->have, want);
    for (unsigned i = 0; !err && i < plan->data; i++)
        from[i] = p->at[plan->from[i]];
    for (unsigned i = 0; !err && i < plan->wanted; i++) {
        to[i] = p->at[plan->want[i]] = malloc(b->info->bytes);
        if (!to[i])
            err = ERR_NOMEM;
    }
    if (!err)
        ec_rebuild(plan, b->info->bytes, from, to);
    free(ec);
    free(plan);
    return err;
}

int salvage_decode(const struct salvage_blob *b, salvage_read read, void *arg, struct buf *ret)
{
    struct pieces p = {0};
    size_t begin = ret->len;
    if (!b->decodable)
        return ERR_NO_QUORUM;
    int err = pieces_read(b, read, arg, &p);
    if (!err && b->data > 1)
        err = pieces_rebuild(b, &p);
    for (unsigned i = 0; !err && i < b->data; i++) {
        uint64_t used = b->data == 1 ? b->bytes : ec_shard_used(b->data, b->bytes, i);
        buf_append(ret, p.at[i], used);
    }
    for (unsigned i = 0; i < EC_SHARDS_MAX; i++)
        free(p.at[i]);
    if (!err && ret->failed)
        err = ERR_NOMEM;
    if (!err && b->crc_known &&
        crc32c(0, SLICE(ret->ptr + begin, ret->len - begin)) != b->info->blob_crc32c)
        err = ERR_CHECKSUM;
    if (err)
        ret->len = begin;
    return err;
}

static bool is_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

void salvage_name(const struct salvage_version *v, char ret[SALVAGE_NAME_BYTES])
{
    char id[ID_HEX_CHARS + 1];
    size_t at = 0, i = 0;
    for (; i < v->key.len && at + 3 <= KEY_CHARS_MAX; i++) {
        if (is_plain(v->key.ptr[i]))
            ret[at++] = (char)v->key.ptr[i];
        else
            at += (size_t)snprintf(ret + at, SALVAGE_NAME_BYTES - at, "%%%02x", v->key.ptr[i]);
    }
    if (i < v->key.len)
        at += (size_t)snprintf(ret + at, SALVAGE_NAME_BYTES - at, "~%016llx",
                               (unsigned long long)hash64(0, v->key));
    id128_hex(id128_is_zero(v->upload_id) ? v->write_id : v->upload_id, id);
    snprintf(ret + at, SALVAGE_NAME_BYTES - at, "@%013llu-%s", (unsigned long long)v->time_ms, id);
}
