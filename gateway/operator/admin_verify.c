/* GET verify: one bounded page of the index, and whether what it refers to is there.
 *
 *   the map as of now ─► which bucket? ─► meta.list_segments ─► rounds of questions ─┬─► answer
 *                                              ▲                       some are bad │      ▲
 *                                              └─ a segment was moved ─ again: ◄────┘      │
 *                                                          meta.list_segments ─────────────┘
 *
 * Where to go on is a text: "BUCKET/key/position" in hex, or "BUCKET/-" behind a bucket.
 *
 * What is found bad counts only if the index, read again afterwards, still refers to it: an object
 * that was deleted meanwhile is no loss.  The bucket may have grown and its range may have been
 * split by then, so it is read until all keys of what is bad are behind: nothing is taken for
 * deleted because it was not come to.  Where a record is still there and names another blob, what
 * it names has not been asked about: the page is done once more. */
#include "common/base/check.h"
#include "common/base/id.h"
#include "gateway/operator/admin.h"
#include "gateway/operator/verify_ask.h"
#include "proto/methods.h"

#include <stdlib.h>

#define ROWS_DEFAULT 200
#define BAD_MAX 100 /* named in one answer */
#define AGAIN_PAGES_MAX 16
#define ROUNDS_PER_PAGE 10 /* of questions, and those of one more row */
#define TURNS_MAX 4

struct verify_bad {
    const Cairn__SegmentsEntry *entry;
    size_t segment;
    bool referred;  /* still, by whatever record */
    bool has_entry; /* its record is still there */
    bool gone;
    struct verify_item item;
};

struct verify_op {
    struct request *req;
    struct slice only; /* bucket asked for; empty: all */
    uint64_t rows_max;
    struct slice bucket; /* under way */
    struct slice behind; /* no bucket is under way: the next one after this name */
    struct slice at, after;
    uint64_t bucket_id;
    struct meta_map_read map_read;
    struct meta_call call;
    Cairn__ListBucketsRequest buckets_request;
    Cairn__ListSegmentsRequest segments_request;
    Cairn__ListSegmentsResponse *page;
    struct buf range_end;
    size_t entry, segment; /* asked about next */
    struct {
        size_t entry, segment;
    } of[VERIFY_ITEMS_MAX]; /* the items of this round */
    struct verify_ask ask;
    struct redundancy_counts counts;
    uint64_t segments, interim, bytes, objects, parts, inline_count;
    struct verify_bad *bad; /* in the order of the page, which bounds them */
    size_t bad_count, bad_cap;
    struct {
        struct slice at, after;
        struct slice behind; /* keys below it have been read again */
        bool ends;           /* and so have all others */
        unsigned pages;
    } again;
    unsigned turns; /* that the page has taken */
};

static void page_start(struct verify_op *v);
static void again_page_start(struct verify_op *v);
static void buckets_start(struct verify_op *v);
static void round_start(struct verify_op *v);

static void page_free(struct verify_op *v)
{
    if (v->page)
        cairn__list_segments_response__free_unpacked(v->page, NULL);
    v->page = NULL;
    buf_fini(&v->range_end);
}

static void verify_free(struct verify_op *v)
{
    page_free(v);
    free(v->bad);
}

static void verify_fail(struct verify_op *v, int err)
{
    struct request *req = v->req;
    verify_free(v);
    if (err == ERR_NOT_FOUND)
        request_fail(req, S3_NO_SUCH_BUCKET);
    else
        admin_fail(req, err);
}

/* ---- the answer ---- */

static json_t *key_json(ProtobufCBinaryData key)
{
    return json_stringn((const char *)key.data, key.len);
}

static json_t *hex_json(ProtobufCBinaryData id)
{
    struct id128 value = {0};
    char hex[ID_HEX_CHARS + 1];
    if (!id128_from_slice(bytes_of(id), &value))
        return json_string("");
    id128_hex(value, hex);
    return json_string(hex);
}

static json_t *bad_json(const struct verify_op *v, const struct verify_bad *b)
{
    const Cairn__Segment *s = b->entry->segments[b->segment];
    const struct verify_group *group = b->item.group;
    json_t *absent = json_array();
    size_t found = 0;
    for (unsigned i = 0; i < group->shards; i++) {
        found += b->item.found[i] == SHARD_FOUND;
        if (b->item.found[i] != SHARD_FOUND)
            json_append(&absent,
                        json_pack("{s:i, s:s, s:s}", "shard", (int)i, "node", group->node[i],
                                  "state", shard_found_name(b->item.found[i])));
    }
    return json_pack("{s:s%, s:o, s:o, s:I, s:I, s:o, s:I, s:s, s:I, s:I, s:I, s:o}", "bucket",
                     v->bucket.ptr, v->bucket.len, "key", key_json(b->entry->key), "upload_id",
                     hex_json(b->entry->upload_id), "part", (json_int_t)b->entry->part_number,
                     "segment", (json_int_t)b->segment, "blob", hex_json(s->blob_id), "pg",
                     (json_int_t)s->pg, "state", redundancy_name(b->item.is), "shards_found",
                     (json_int_t)found, "shards_needed", (json_int_t)group->data, "shards",
                     (json_int_t)group->shards, "absent", absent);
}

static json_t *schemes_json(const struct redundancy_counts *c)
{
    json_t *all = json_array();
    for (size_t i = 0; i < c->scheme_count; i++) {
        const struct redundancy_scheme *s = &c->scheme[i];
        json_t *o = json_pack("{s:b, s:I, s:I}", "replicated", s->data == 1, "data_shards",
                              (json_int_t)s->data, "parity_shards", (json_int_t)s->parity);
        for (int r = 0; r < REDUNDANCY_COUNT; r++)
            json_set(&o, redundancy_name((enum redundancy)r),
                     json_integer((json_int_t)s->count[r]));
        json_append(&all, o);
    }
    return all;
}

static void hex_append(struct buf *b, struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        buf_printf(b, "%02x", s.ptr[i]);
}

/* Where to go on: null at the end.  OK; ERR_PROTO: nobody can say; ERR_NOMEM. */
static int next_json(const struct verify_op *v, json_t **ret)
{
    struct buf b = {0};
    struct slice key = v->at;
    bool ends = !v->bucket.len;
    if (!ends && !v->page->more) {
        int err = meta_range_next(buf_view(&v->range_end), v->bucket_id, &key);
        if (err == OK && slice_cmp(key, v->at) <= 0)
            err = ERR_PROTO; /* a range that ends where it was entered */
        if (err && err != ERR_END)
            return err;
        ends = err == ERR_END;
    }
    if (ends && (v->only.len || !v->bucket.len)) {
        *ret = json_null();
        return OK;
    }
    buf_slice(&b, v->bucket);
    buf_u8(&b, '/');
    if (ends) {
        buf_u8(&b, '-');
    } else {
        hex_append(&b, key);
        buf_u8(&b, '/');
        if (v->page->more)
            hex_append(&b, bytes_of(v->page->resume_after));
    }
    *ret = b.failed ? NULL : json_stringn((const char *)b.ptr, b.len);
    buf_fini(&b);
    return *ret ? OK : ERR_NOMEM;
}

static void answer(struct verify_op *v)
{
    struct request *req = v->req;
    json_t *bad, *next;
    size_t left_out = 0;
    int err = next_json(v, &next);
    if (err) {
        verify_fail(v, err);
        return;
    }
    bad = json_array();
    for (size_t i = 0; i < v->bad_count; i++) {
        if (v->bad[i].gone)
            continue;
        if (bad && json_array_size(bad) < BAD_MAX)
            json_append(&bad, bad_json(v, &v->bad[i]));
        else
            left_out++;
    }
    json_t *o = json_pack("{s:s%, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:o}", "bucket",
                          v->bucket.len ? (const char *)v->bucket.ptr : "", v->bucket.len,
                          "objects", (json_int_t)v->objects, "parts", (json_int_t)v->parts,
                          "inline", (json_int_t)v->inline_count, "segments",
                          (json_int_t)v->segments, "bytes", (json_int_t)v->bytes, "interim",
                          (json_int_t)v->interim, "schemes", schemes_json(&v->counts), "bad", bad,
                          "bad_left_out", (json_int_t)left_out, "next", next);
    verify_free(v);
    admin_reply(req, o);
}

/* ---- is what was found bad still referred to? ---- */

static int slice_ptr_cmp(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

/* The blobs of a page, sorted; NULL: no memory. */
static struct slice *blobs_of(const Cairn__ListSegmentsResponse *page, size_t *ret_count)
{
    size_t count = 0;
    for (size_t i = 0; i < page->n_entries; i++)
        count += page->entries[i]->n_segments;
    struct slice *all = calloc(count + 1, sizeof(*all));
    *ret_count = 0;
    for (size_t i = 0; all && i < page->n_entries; i++)
        for (size_t k = 0; k < page->entries[i]->n_segments; k++)
            all[(*ret_count)++] = bytes_of(page->entries[i]->segments[k]->blob_id);
    if (all)
        qsort(all, *ret_count, sizeof(*all), slice_ptr_cmp);
    return all;
}

static void count_item(struct verify_op *v, const struct verify_item *item, int by)
{
    v->segments += (uint64_t)(int64_t)by;
    v->interim += item->segment->interim ? (uint64_t)(int64_t)by : 0;
    v->bytes += (uint64_t)((int64_t)by * (int64_t)item->segment->bytes);
    redundancy_count(&v->counts, item->group->data, item->group->parity, item->is, by);
}

static bool entry_is(const Cairn__SegmentsEntry *a, const Cairn__SegmentsEntry *b)
{
    return a->version == b->version && a->part_number == b->part_number &&
           slice_eq(bytes_of(a->upload_id), bytes_of(b->upload_id)) &&
           slice_eq(bytes_of(a->key), bytes_of(b->key));
}

/* What this page says of those that are bad.  Both are in the order of their keys. */
static int again_take(struct verify_op *v, const Cairn__ListSegmentsResponse *m)
{
    size_t count, first = 0;
    struct slice *all = blobs_of(m, &count);
    if (!all)
        return ERR_NOMEM;
    for (size_t i = 0; i < v->bad_count; i++) {
        struct verify_bad *b = &v->bad[i];
        struct slice id = bytes_of(b->item.segment->blob_id), key = bytes_of(b->entry->key);
        b->referred |= bsearch(&id, all, count, sizeof(*all), slice_ptr_cmp) != NULL;
        while (first < m->n_entries && slice_cmp(bytes_of(m->entries[first]->key), key) < 0)
            first++;
        for (size_t k = first; !b->referred && !b->has_entry && k < m->n_entries &&
                               slice_eq(bytes_of(m->entries[k]->key), key);
             k++)
            b->has_entry = entry_is(m->entries[k], b->entry);
    }
    free(all);
    return OK;
}

/* Where this page ends, and the next one begins.  OK; ERR_PROTO; ERR_NOMEM. */
static int again_move(struct verify_op *v, const Cairn__ListSegmentsResponse *m, struct slice end)
{
    struct slice key;
    int err = OK;
    if (m->more) {
        v->again.after = arena_copy(v->req->arena, bytes_of(m->resume_after));
        key = m->n_entries ? bytes_of(m->entries[m->n_entries - 1]->key) : v->again.behind;
    } else {
        err = meta_range_next(end, v->bucket_id, &key);
        v->again.ends = err == ERR_END;
        if (err == OK && slice_cmp(key, v->again.at) <= 0)
            err = ERR_PROTO;
        if (err)
            return err == ERR_END ? OK : err;
        v->again.at = arena_copy(v->req->arena, key);
        v->again.after = SLICE_EMPTY;
        err = v->again.at.ptr ? OK : ERR_NOMEM;
    }
    if (slice_cmp(key, v->again.behind) > 0)
        v->again.behind = arena_copy(v->req->arena, key);
    bool failed = (m->more && !v->again.after.ptr) || (key.len && !v->again.behind.ptr);
    return failed ? ERR_NOMEM : err;
}

/* It has been come to, and nothing refers to it. */
static bool is_gone(const struct verify_op *v, const struct verify_bad *b)
{
    return !b->referred &&
           (v->again.ends || slice_cmp(bytes_of(b->entry->key), v->again.behind) < 0);
}

/* All that is bad has been looked for. */
static void again_end(struct verify_op *v)
{
    bool moved = false;
    for (size_t i = 0; i < v->bad_count; i++)
        moved |= is_gone(v, &v->bad[i]) && v->bad[i].has_entry;
    if (moved && v->turns < TURNS_MAX) {
        page_start(v);
        return;
    }
    for (size_t i = 0; i < v->bad_count; i++) {
        struct verify_bad *b = &v->bad[i];
        if (!is_gone(v, b))
            continue;
        count_item(v, &b->item, -1);
        b->gone = !b->has_entry;
        b->item.is = REDUNDANCY_UNKNOWN; /* what it is now: it moves whenever it is looked at */
        if (!b->gone)
            count_item(v, &b->item, 1);
    }
    answer(v);
}

static void again_cb(struct meta_call *call)
{
    struct verify_op *v = container_of(call, struct verify_op, call);
    int err = call->err;
    bool waits = false;
    if (err == OK) {
        const Cairn__ListSegmentsResponse *m =
            (const Cairn__ListSegmentsResponse *)(const void *)call->response;
        err = again_take(v, m);
        if (err == OK)
            err = again_move(v, m, buf_view(&call->range_end));
    }
    meta_call_fini(call);
    for (size_t i = 0; i < v->bad_count; i++)
        waits |= !v->bad[i].referred && !is_gone(v, &v->bad[i]);
    if (err != OK)
        verify_fail(v, err);
    else if (waits && v->again.pages < AGAIN_PAGES_MAX)
        again_page_start(v);
    else
        again_end(v);
}

static void again_start(struct verify_op *v)
{
    memset(&v->again, 0, sizeof(v->again));
    v->again.at =
        bytes_of(v->bad[0].entry->key); /* nothing in the ranges before it is looked for */
    v->again.after = v->after;
    again_page_start(v);
}

/* ---- the shards ---- */

static int take_bad(struct verify_op *v, size_t i)
{
    if (v->bad_count == v->bad_cap) {
        size_t cap = v->bad_cap ? 2 * v->bad_cap : BAD_MAX;
        struct verify_bad *p = realloc(v->bad, cap * sizeof(*p));
        if (!p)
            return ERR_NOMEM;
        v->bad = p;
        v->bad_cap = cap;
    }
    v->bad[v->bad_count++] = (struct verify_bad){
        .entry = v->page->entries[v->of[i].entry],
        .segment = v->of[i].segment,
        .item = v->ask.items[i],
    };
    return OK;
}

static void round_cb(struct verify_ask *ask)
{
    struct verify_op *v = container_of(ask, struct verify_op, ask);
    int err = ask->err;
    for (size_t i = 0; !err && i < ask->count; i++) {
        count_item(v, &ask->items[i], 1);
        if (ask->items[i].is != REDUNDANCY_FULL)
            err = take_bad(v, i);
    }
    if (err)
        verify_fail(v, err);
    else if (v->req->gone)
        verify_fail(v, ERR_CANCELED);
    else
        round_start(v);
}

static void round_start(struct verify_op *v)
{
    size_t max = verify_ask_max(&v->ask);
    v->ask.count = 0;
    while (v->entry < v->page->n_entries && v->ask.count < max) {
        const Cairn__SegmentsEntry *e = v->page->entries[v->entry];
        if (v->segment == e->n_segments) {
            v->entry++;
            v->segment = 0;
            continue;
        }
        size_t i = v->ask.count++;
        v->of[i].entry = v->entry;
        v->of[i].segment = v->segment;
        v->ask.items[i] = (struct verify_item){.segment = e->segments[v->segment++]};
    }
    if (v->ask.count) {
        verify_ask_start(v->req->gw->bc, v->req->gw->mc, &v->ask);
        return;
    }
    if (v->bad_count)
        again_start(v);
    else
        answer(v);
}

/* ---- the index ---- */

static void segments_cb(struct meta_call *call)
{
    struct verify_op *v = container_of(call, struct verify_op, call);
    int err = call->err;
    if (err == OK) {
        v->page = (Cairn__ListSegmentsResponse *)(void *)call->response;
        call->response = NULL;
        buf_slice(&v->range_end, buf_view(&call->range_end));
        if (v->range_end.failed)
            err = ERR_NOMEM;
    }
    meta_call_fini(call);
    if (err != OK) {
        verify_fail(v, err);
        return;
    }
    for (size_t i = 0; i < v->page->n_entries; i++) {
        const Cairn__SegmentsEntry *e = v->page->entries[i];
        v->objects += e->part_number == 0;
        v->parts += e->part_number != 0;
        v->inline_count += e->inline_bytes != 0;
    }
    round_start(v);
}

/* segments_max 0: no bound. */
static void segments_start(struct verify_op *v, struct slice at, struct slice after,
                           size_t segments_max, void (*cb)(struct meta_call *))
{
    Cairn__ListSegmentsRequest *r = &v->segments_request;
    cairn__list_segments_request__init(r);
    r->bucket_id = v->bucket_id;
    r->start_after = binary_of(after);
    r->rows_max = (uint32_t)v->rows_max;
    r->segments_max = (uint32_t)segments_max;
    v->call = (struct meta_call){
        .method = &method_meta_list_segments,
        .bucket_id = v->bucket_id,
        .key = at,
        .request = &r->base,
        .deadline_ns = request_deadline(v->req),
        .want_range = true,
        .cb = cb,
    };
    meta_call_start(v->req->gw->mc, &v->call);
}

static void again_page_start(struct verify_op *v)
{
    v->again.pages++;
    segments_start(v, v->again.at, v->again.after, 0, again_cb);
}

/* From the beginning, whatever was found. */
static void page_start(struct verify_op *v)
{
    page_free(v);
    v->turns++;
    v->entry = v->segment = v->bad_count = 0;
    v->objects = v->parts = v->inline_count = v->segments = v->bytes = v->interim = 0;
    v->counts = (struct redundancy_counts){0};
    segments_start(v, v->at, v->after, ROUNDS_PER_PAGE * verify_ask_max(&v->ask), segments_cb);
}

/* ---- which bucket ---- */

static void buckets_cb(struct meta_call *call)
{
    struct verify_op *v = container_of(call, struct verify_op, call);
    struct slice wanted = v->bucket;
    int err = call->err;
    if (err == OK) {
        const Cairn__ListBucketsResponse *m =
            (const Cairn__ListBucketsResponse *)(const void *)call->response;
        const Cairn__BucketRecord *b = m->n_buckets ? m->buckets[0] : NULL;
        if (b && wanted.len && !slice_eq(slice_cstr(b->name), wanted))
            b = NULL;
        v->bucket = b ? arena_copy(v->req->arena, slice_cstr(b->name)) : SLICE_EMPTY;
        v->bucket_id = b ? b->id : 0;
        if (b && !v->bucket.ptr)
            err = ERR_NOMEM;
        if (!b && v->only.len)
            err = ERR_NOT_FOUND;
    }
    meta_call_fini(call);
    if (err != OK) {
        verify_fail(v, err);
    } else if (v->bucket.len) {
        page_start(v);
    } else if (wanted.len) { /* it is gone: on behind it */
        v->behind = wanted;
        v->at = v->after = SLICE_EMPTY;
        buckets_start(v);
    } else {
        answer(v); /* there is no further bucket */
    }
}

static void buckets_start(struct verify_op *v)
{
    Cairn__ListBucketsRequest *r = &v->buckets_request;
    cairn__list_buckets_request__init(r);
    r->prefix = request_cstr(v->req, v->bucket);
    r->start_after = request_cstr(v->req, v->bucket.len ? SLICE_EMPTY : v->behind);
    r->buckets_max = 1;
    if (!r->prefix || !r->start_after) {
        verify_fail(v, ERR_NOMEM);
        return;
    }
    v->call = (struct meta_call){
        .method = &method_meta_list_buckets,
        .root = true,
        .request = &r->base,
        .deadline_ns = request_deadline(v->req),
        .cb = buckets_cb,
    };
    meta_call_start(v->req->gw->mc, &v->call);
}

static void map_read_cb(struct meta_map_read *read)
{
    struct verify_op *v = container_of(read, struct verify_op, map_read);
    if (read->err != OK)
        verify_fail(v, read->err);
    else
        buckets_start(v);
}

/* ---- parameters ---- */

static bool hex_parse(struct arena *arena, struct slice hex, struct slice *ret)
{
    uint8_t *p = arena_alloc(arena, hex.len / 2 + 1);
    if (!p || hex.len % 2)
        return false;
    for (size_t i = 0; i < hex.len; i++) {
        uint8_t c = hex.ptr[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return false;
        p[i / 2] = (uint8_t)(i % 2 ? p[i / 2] << 4 | digit : digit);
    }
    *ret = SLICE(p, hex.len / 2);
    return true;
}

/* Splits at the first '/'. */
static bool split(struct slice *rest, struct slice *ret)
{
    const uint8_t *slash = rest->len ? memchr(rest->ptr, '/', rest->len) : NULL;
    if (!slash)
        return false;
    *ret = SLICE(rest->ptr, (size_t)(slash - rest->ptr));
    *rest = SLICE(slash + 1, rest->len - ret->len - 1);
    return true;
}

static bool cursor_parse(struct verify_op *v, struct slice cursor)
{
    struct slice name, key;
    if (!split(&cursor, &name) || !s3_bucket_name_valid(name))
        return false;
    if (slice_eq(cursor, SLICE_LIT("-"))) {
        v->behind = name;
        return v->only.len == 0;
    }
    v->bucket = name;
    return split(&cursor, &key) && hex_parse(v->req->arena, key, &v->at) &&
           hex_parse(v->req->arena, cursor, &v->after) && v->at.len <= S3_KEY_BYTES_MAX &&
           (!v->only.len || slice_eq(v->only, name));
}

void admin_verify_start(struct request *req)
{
    struct verify_op *v = request_alloc(req, sizeof(*v));
    struct slice after = s3_request_value(&req->s3, "after");
    if (!v) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    v->req = req;
    v->only = v->bucket = s3_request_value(&req->s3, "bucket");
    enum s3_code code =
        s3_request_number(&req->s3, "max", 1, 1000, ROWS_DEFAULT, &v->rows_max, &req->fault);
    if (code == S3_OK && v->only.len && !s3_bucket_name_valid(v->only))
        code = s3_fault_set(&req->fault, S3_INVALID_BUCKET_NAME, NULL);
    if (code == S3_OK && after.len && !cursor_parse(v, after))
        code = s3_fault_argument(&req->fault, "It is no place to go on from.", "after", after);
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    v->ask.deep = slice_eq(s3_request_value(&req->s3, "deep"), SLICE_LIT("1"));
    v->ask.arena = req->arena;
    v->ask.timeout_ns = req->gw->config->timeout_ms * NS_PER_MS;
    v->ask.since_ns = env_now_ns(meta_client_env(req->gw->mc));
    v->ask.cb = round_cb;
    v->map_read = (struct meta_map_read){.deadline_ns = request_deadline(req), .cb = map_read_cb};
    meta_map_read_start(req->gw->mc, &v->map_read);
}
