/* Keys and records of the Raft log store: docs/formats/raft-log.md. */
#include <assert.h>

#include "common/base/check.h"
#include "common/base/cursor.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "metanode/io/raft_log_internal.h"

#define ENTRY_CRC_OFFSET 21
static_assert(ENTRY_CRC_OFFSET + 4 == RAFT_ENTRY_HEADER_BYTES, "index, term, kind, length, crc");

static void put_be32(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void put_be64(uint8_t *at, uint64_t v)
{
    put_be32(at, (uint32_t)(v >> 32));
    put_be32(at + 4, (uint32_t)v);
}

/* ---- keys ---- */

struct raft_log_key raft_log_key(uint32_t group, enum raft_log_record kind, uint64_t index)
{
    struct raft_log_key k;
    put_be32(k.bytes, group);
    k.bytes[4] = (uint8_t)kind;
    put_be64(k.bytes + 5, index);
    k.len = kind == RAFT_LOG_ENTRY ? RAFT_LOG_KEY_BYTES : RAFT_LOG_SINGLE_KEY_BYTES;
    return k;
}

struct slice raft_log_key_view(const struct raft_log_key *k)
{
    return SLICE(k->bytes, k->len);
}

bool raft_log_key_index(struct slice key, uint64_t *ret)
{
    if (key.len != RAFT_LOG_KEY_BYTES || key.ptr[4] != RAFT_LOG_ENTRY)
        return false;
    struct cursor c = cursor_of(SLICE(key.ptr + 5, 8));
    *ret = cursor_be64(&c);
    return true;
}

/* ---- entries ---- */

static void header_without_crc(const struct raft_log_entry *e, uint8_t ret[ENTRY_CRC_OFFSET])
{
    put_be64(ret, e->index);
    put_be64(ret + 8, e->term);
    ret[16] = (uint8_t)e->kind;
    put_be32(ret + 17, (uint32_t)e->data.bytes.len);
}

static uint32_t entry_crc(const struct raft_log_entry *e)
{
    uint8_t header[ENTRY_CRC_OFFSET];
    header_without_crc(e, header);
    return crc32c(crc32c(0, SLICE(header, sizeof(header))), e->data.bytes);
}

void raft_log_entry_seal(struct raft_log_entry *e)
{
    CHECK(e->data.bytes.len <= RAFT_ENTRY_DATA_MAX);
    e->crc = entry_crc(e);
}

void raft_log_entry_header(const struct raft_log_entry *e, uint8_t ret[RAFT_ENTRY_HEADER_BYTES])
{
    header_without_crc(e, ret);
    put_be32(ret + ENTRY_CRC_OFFSET, e->crc);
}

void raft_log_entry_fini(struct raft_log_entry *e)
{
    payload_unref(&e->data);
}

int raft_log_entry_parse(struct slice *bytes, struct rcbuf *owner, struct raft_log_entry *ret)
{
    struct cursor c = cursor_of(*bytes);
    struct raft_log_entry e = {.index = cursor_be64(&c), .term = cursor_be64(&c)};
    uint8_t kind = cursor_u8(&c);
    uint32_t len = cursor_be32(&c);
    e.crc = cursor_be32(&c);
    if (c.failed || len > RAFT_ENTRY_DATA_MAX || kind > RAFT_ENTRY_CONFIG || e.index == 0 ||
        e.term == 0)
        return ERR_PROTO;
    e.kind = (enum raft_entry_kind)kind;
    e.data.bytes = cursor_bytes(&c, len);
    if (c.failed)
        return ERR_PROTO;
    if (entry_crc(&e) != e.crc)
        return ERR_CHECKSUM;
    size_t used = RAFT_ENTRY_HEADER_BYTES + len;
    *bytes = SLICE(bytes->ptr + used, bytes->len - used);
    e.data.owner = rcbuf_ref(owner);
    *ret = e;
    return OK;
}

/* ---- hard state and compaction point: the CRC covers the group too, since the key names it ----
 */

static uint32_t record_crc(uint32_t group, struct slice s)
{
    uint8_t g[4];
    put_be32(g, group);
    return crc32c(crc32c(0, SLICE(g, sizeof(g))), s);
}

void raft_log_hard_state_encode(uint32_t group, uint64_t term, uint64_t vote,
                                uint8_t ret[RAFT_LOG_HARD_STATE_BYTES])
{
    ret[0] = RAFT_LOG_VERSION;
    put_be64(ret + 1, term);
    put_be64(ret + 9, vote);
    put_be32(ret + 17, record_crc(group, SLICE(ret, 17)));
}

/* Splits off and checks the CRC at the end of a record, and its version. */
static int record_open(uint32_t group, struct slice s, struct cursor *ret)
{
    if (s.len < 5)
        return ERR_CORRUPT;
    struct slice body = SLICE(s.ptr, s.len - 4);
    struct cursor crc = cursor_of(SLICE(s.ptr + body.len, 4));
    if (cursor_be32(&crc) != record_crc(group, body))
        return ERR_CORRUPT;
    *ret = cursor_of(body);
    return cursor_u8(ret) == RAFT_LOG_VERSION ? OK : ERR_VERSION;
}

int raft_log_hard_state_decode(uint32_t group, struct slice s, uint64_t *term, uint64_t *vote)
{
    struct cursor c;
    int err = record_open(group, s, &c);
    if (err)
        return err;
    uint64_t t = cursor_be64(&c), v = cursor_be64(&c);
    if (c.failed || cursor_left(&c))
        return ERR_CORRUPT;
    *term = t;
    *vote = v;
    return OK;
}

void raft_log_compaction_encode(uint32_t group, uint64_t index, uint64_t term, struct slice header,
                                struct buf *ret)
{
    buf_u8(ret, RAFT_LOG_VERSION);
    buf_be64(ret, index);
    buf_be64(ret, term);
    buf_be32(ret, (uint32_t)header.len);
    buf_slice(ret, header);
    if (!ret->failed)
        buf_be32(ret, record_crc(group, buf_view(ret)));
}

int raft_log_compaction_decode(uint32_t group, struct slice s, uint64_t *index, uint64_t *term,
                               struct slice *header)
{
    struct cursor c;
    int err = record_open(group, s, &c);
    if (err)
        return err;
    uint64_t i = cursor_be64(&c), t = cursor_be64(&c);
    uint32_t len = cursor_be32(&c);
    struct slice h = cursor_bytes(&c, len);
    if (c.failed || cursor_left(&c) || (i == 0) != (t == 0))
        return ERR_CORRUPT;
    *index = i;
    *term = t;
    *header = h;
    return OK;
}
