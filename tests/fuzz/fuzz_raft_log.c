/* Raft log entries (wire and disk), hard states and compaction points from any bytes.  What decodes
 * encodes to the same bytes; a batch of entries ends; with a CRC that holds, too. */
#include "common/base/check.h"
#include "common/base/cursor.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "metanode/io/raft_log_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { GROUP = 3 };

static unsigned parse_entries(struct slice s)
{
    struct raft_log_entry e;
    unsigned count = 0;
    while (s.len) {
        struct slice before = s;
        uint8_t header[RAFT_ENTRY_HEADER_BYTES];
        if (raft_log_entry_parse(&s, NULL, &e) != OK)
            break;
        CHECK(before.len - s.len == sizeof(header) + e.data.bytes.len);
        CHECK(e.index > 0 && e.term > 0 && e.data.bytes.len <= RAFT_ENTRY_DATA_MAX);
        raft_log_entry_header(&e, header);
        CHECK(memcmp(header, before.ptr, sizeof(header)) == 0);
        raft_log_entry_fini(&e);
        count++;
    }
    return count;
}

/* The same bytes with CRCs that hold, as far as the lengths in them lead. */
static void parse_sealed(struct slice s)
{
    uint8_t *copy = malloc(s.len + 1);
    CHECK(copy);
    memcpy(copy, s.ptr, s.len);
    size_t at = 0;
    while (s.len - at >= RAFT_ENTRY_HEADER_BYTES) {
        struct cursor c = cursor_of(SLICE(copy + at + 17, 4));
        uint32_t len = cursor_be32(&c);
        if (len > s.len - at - RAFT_ENTRY_HEADER_BYTES)
            break;
        uint32_t crc = crc32c(0, SLICE(copy + at, 21));
        crc = crc32c(crc, SLICE(copy + at + RAFT_ENTRY_HEADER_BYTES, len));
        for (unsigned i = 0; i < 4; i++)
            copy[at + 21 + i] = (uint8_t)(crc >> (24 - 8 * i));
        at += RAFT_ENTRY_HEADER_BYTES + len;
    }
    parse_entries(SLICE(copy, s.len));
    free(copy);
}

/* A record's CRC covers the group as well. */
static void seal_record(uint8_t *record, size_t len)
{
    static const uint8_t group[4] = {0, 0, 0, GROUP};
    uint32_t crc = crc32c(crc32c(0, SLICE(group, sizeof(group))), SLICE(record, len - 4));
    for (unsigned i = 0; i < 4; i++)
        record[len - 4 + i] = (uint8_t)(crc >> (24 - 8 * i));
}

static void decode_records(struct slice s)
{
    uint64_t term = 0, vote = 0, index = 0;
    struct slice header;
    uint8_t again[RAFT_LOG_HARD_STATE_BYTES];
    if (raft_log_hard_state_decode(GROUP, s, &term, &vote) == OK) {
        raft_log_hard_state_encode(GROUP, term, vote, again);
        CHECK(slice_eq(s, SLICE(again, sizeof(again))));
    }
    if (raft_log_compaction_decode(GROUP, s, &index, &term, &header) == OK) {
        struct buf b = {0};
        raft_log_compaction_encode(GROUP, index, term, header, &b);
        CHECK(slice_eq(s, buf_view(&b)));
        buf_fini(&b);
    }
    if (raft_log_key_index(s, &index)) {
        struct raft_log_key k = raft_log_key(GROUP, RAFT_LOG_ENTRY, index);
        CHECK(memcmp(k.bytes + 4, s.ptr + 4, k.len - 4) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_entries(SLICE(data, size));
    parse_sealed(SLICE(data, size));
    decode_records(SLICE(data, size));
    if (size >= 5) {
        uint8_t *record = malloc(size);
        CHECK(record);
        memcpy(record, data, size);
        seal_record(record, size);
        decode_records(SLICE(record, size));
        free(record);
    }
    return 0;
}
