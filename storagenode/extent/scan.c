/* Reading an extent's tail after a crash. */
#include "storagenode/extent/scan.h"

#include "common/base/check.h"
#include "common/base/mutant.h"

#include <stdlib.h>

void scan_init(struct scan *s, const struct extent_header *header, uint64_t from)
{
    CHECK(from >= EXTENT_HEADER_BYTES && from % FRAME_ALIGN == 0 && from <= header->bytes);
    memset(s, 0, sizeof(*s));
    s->header = *header;
    s->pos = s->end = from;
}

void scan_fini(struct scan *s)
{
    free(s->bad);
    s->bad = NULL;
    s->bad_count = s->bad_cap = s->bad_open = 0;
}

static void bad_add(struct scan *s, const struct scan_bad *bad)
{
    if (s->bad_count == s->bad_cap) {
        size_t cap = MAX(8, s->bad_cap * 2);
        struct scan_bad *grown = realloc(s->bad, cap * sizeof(*grown));
        if (!grown) {
            s->nomem = true;
            return;
        }
        s->bad = grown;
        s->bad_cap = cap;
    }
    s->bad[s->bad_count++] = *bad;
}

/* What a whole head at hand proves about what was bad before it. */
static void bad_prove(struct scan *s, uint64_t batch_start)
{
    while (s->bad_open < s->bad_count && s->bad[s->bad_open].offset < batch_start)
        s->bad[s->bad_open++].damaged = true;
}

static enum scan_event need(struct scan *s, uint64_t bytes)
{
    s->need_offset = s->pos;
    s->need_bytes = bytes;
    return SCAN_NEED;
}

enum scan_event scan_step(struct scan *s, uint64_t window_offset, struct slice window)
{
    while (!s->nomem && s->header.bytes - s->pos >= FRAME_HEAD_BYTES) {
        if (s->pos < window_offset || s->pos - window_offset > window.len ||
            window.len - (s->pos - window_offset) < FRAME_HEAD_BYTES)
            return need(s, FRAME_HEAD_BYTES);
        const uint8_t *at = window.ptr + (s->pos - window_offset);
        uint64_t left = window.len - (s->pos - window_offset);
        if (frame_head_decode(SLICE(at, FRAME_HEAD_BYTES), &s->frame) != OK ||
            !frame_head_fits(&s->frame, &s->header, s->pos)) {
            if (!s->in_hole)
                bad_add(s, &(struct scan_bad){.offset = s->pos});
            s->in_hole = true;
            s->pos += FRAME_ALIGN;
            continue;
        }
        const struct frame_head *h = &s->frame;
        uint64_t bytes = frame_bytes(h->data_bytes);
        if (left < bytes)
            return need(s, bytes);
        s->in_hole = false;
        bad_prove(s, h->batch_start);
        s->last_seq = MAX(s->last_seq, h->seq);
        s->pos += bytes;
        s->end = s->pos;
        s->data = SLICE(at + FRAME_HEAD_BYTES, h->data_bytes);
        if (frame_data_verify(h, s->data) != OK && !MUTANT(STORE_TORN_ACCEPTED)) {
            bad_add(s, &(struct scan_bad){
                           .offset = h->offset, .known = true, .kind = h->kind,
                           .blob_id = h->info.blob_id, .shard_index = h->info.shard_index,
                           .seq = h->seq, .bytes = h->data_bytes,
                           .time_ms = h->info.time_ms, .pg = h->info.pg,
                           .crcs_digest = shard_crcs_digest(h->block_crcs, h->block_count)});
            continue;
        }
        s->frames++;
        return SCAN_FRAME;
    }
    return SCAN_END;
}

void scan_skip(struct scan *s, uint64_t to)
{
    CHECK(to >= s->pos && to % FRAME_ALIGN == 0 && to <= s->header.bytes);
    if (to > s->pos && !s->in_hole)
        bad_add(s, &(struct scan_bad){.offset = s->pos});
    s->in_hole |= to > s->pos;
    s->pos = to;
}

void scan_judge(struct scan *s, bool later)
{
    for (size_t i = s->bad_open; later && i < s->bad_count; i++)
        s->bad[i].damaged = s->bad[i].known;
}
