/* See model.h. */
#include "model.h"

#include <stdlib.h>

/* ---- the model itself ---- */

struct model_object *find_version(struct model *m, int key, uint64_t named)
{
    for (size_t i = 0; i <= m->older_count[key]; i++) {
        struct model_object *o = i ? &m->older[key][i - 1] : &m->objects[key];
        if (is_there(o) &&
            (named == VERSION_NULL ? !o->versioned : o->versioned && o->version == named))
            return o;
    }
    return NULL;
}

static void add_parts(struct model_part *parts, struct id128 *id, struct record_ref *ret, size_t *n)
{
    for (uint32_t number = 1; number <= PART_NUMBERS; number++)
        if (parts[number].present)
            ret[(*n)++] = (struct record_ref){&parts[number].blobs, id, NULL, number,
                                              parts[number].blobs.n ? 0 : parts[number].size};
}

static int compare_records(const void *x, const void *y)
{
    const struct record_ref *a = x, *b = y;
    if (a->object && b->object)
        return (a->object->version < b->object->version) -
               (a->object->version > b->object->version);
    if (!a->upload_id || !b->upload_id)
        return (a->upload_id != NULL) - (b->upload_id != NULL);
    int c = memcmp(a->upload_id->bytes, b->upload_id->bytes, ID_BYTES);
    return c ? c : (a->number > b->number) - (a->number < b->number);
}

size_t records_of(struct model *m, int key, struct record_ref *ret)
{
    size_t n = 0;
    for (size_t i = 0; i <= m->older_count[key]; i++) {
        struct model_object *o = i ? &m->older[key][i - 1] : &m->objects[key];
        if (o->present)
            ret[n++] = (struct record_ref){&o->blobs, NULL, o, 0,
                                           o->blobs.n || o->has_manifest ? 0 : o->size};
        if (o->present && o->has_manifest)
            add_parts(o->parts, &o->manifest_id, ret, &n);
    }
    for (int i = 0; i < UPLOADS; i++)
        if (m->uploads[i].live && m->uploads[i].key == key)
            add_parts(m->uploads[i].parts, &m->uploads[i].id, ret, &n);
    qsort(ret, n, sizeof(*ret), compare_records);
    return n;
}

/* ---- what refers to data ---- */

static void check_segments_entry(struct model *m, int key, const struct record_ref *r,
                                 const Cairn__SegmentsEntry *e)
{
    assert_true(slice_eq(SLICE(e->key.data, e->key.len), m->keys[key]));
    assert_int_equal(e->part_number, r->number);
    assert_true(e->inline_bytes == r->inline_bytes && e->n_segments == r->blobs->n);
    const struct id128 *id = r->upload_id;
    assert_true(!r->object || e->version == r->object->version);
    if (!id && r->object->has_manifest)
        id = &r->object->manifest_id;
    assert_true(id ? slice_eq(SLICE(e->upload_id.data, e->upload_id.len), id128_slice(id))
                   : e->upload_id.len == 0);
    for (size_t i = 0; i < r->blobs->n; i++) {
        assert_memory_equal(e->segments[i]->blob_id.data, r->blobs->ids[i].bytes, ID_BYTES);
        assert_true(e->segments[i]->bytes == r->blobs->bytes[i]);
    }
}

/* The listing of everything, in pages of any size, is what the model has. */
void check_segments(struct model *m)
{
    struct index_view view;
    struct record_ref records[RECORDS_MAX];
    Cairn__ListSegmentsRequest req = CAIRN__LIST_SEGMENTS_REQUEST__INIT;
    uint8_t resume[2 + ID_BYTES + OBJECT_KEY_BYTES_MAX];
    int key = -1;
    size_t at = 0, count = 0;
    index_view_init(&view, m->w.index, NULL);
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    for (bool more = true; more;) {
        struct index_reply reply = {0};
        uint32_t sizes = (uint32_t)rng_below(&m->r, 5 * 4);
        req.rows_max = 1 + sizes % 5;
        req.segments_max = sizes / 5;
        assert_int_equal(index_list_segments(&view, &req, &reply), OK);
        Cairn__ListSegmentsResponse *msg =
            (Cairn__ListSegmentsResponse *)(void *)over_the_wire(&reply.msg.base);
        assert_true(msg->n_entries <= req.rows_max);
        size_t segments = 0;
        for (size_t i = 0; i < msg->n_entries; i++) {
            assert_true(!req.segments_max || segments < req.segments_max);
            segments += msg->entries[i]->n_segments;
            while (at == count) {
                assert_true(++key < KEYS);
                at = 0;
                count = records_of(m, key, records);
            }
            check_segments_entry(m, key, &records[at++], msg->entries[i]);
            m->refs_listed++;
        }
        more = msg->more;
        if (more) {
            memcpy(resume, msg->resume_after.data, msg->resume_after.len);
            req.start_after = (ProtobufCBinaryData){msg->resume_after.len, resume};
        }
        cairn__list_segments_response__free_unpacked(msg, NULL);
        index_reply_fini(&reply);
    }
    for (; at == count && ++key < KEYS; at = 0)
        count = records_of(m, key, records);
    assert_int_equal(at, count);
}

/* The walk finds each, in order, and nothing else. */
void check_interim(struct model *m)
{
    struct record_ref records[RECORDS_MAX];
    struct buf want = {0}, ids = {0};
    for (int key = 0; key < KEYS; key++) {
        size_t count = records_of(m, key, records), objects = 0;
        while (objects < count && records[objects].object)
            objects++;
        /* By rows: the current version, older ones by version, ascending, parts. */
        for (size_t i = objects && records[0].object == &m->objects[key], j = objects; i + 1 < j;) {
            struct record_ref swap = records[i];
            records[i++] = records[--j];
            records[j] = swap;
        }
        for (size_t i = 0; i < count; i++)
            for (size_t k = 0; k < records[i].blobs->n; k++)
                if (records[i].blobs->interim[k])
                    buf_append(&want, records[i].blobs->ids[k].bytes, ID_BYTES);
    }
    interim_ids(&m->w, &m->r, &ids);
    assert_true(slice_eq(buf_view(&ids), buf_view(&want)));
    assert_true(index_interim_count(m->w.index) >= want.len / ID_BYTES);
    m->interim_found += want.len / ID_BYTES;
    buf_fini(&ids);
    buf_fini(&want);
}

/* ---- comparing ---- */

static void check_record(const struct model_object *o, const Cairn__ObjectRecord *r,
                         struct slice body)
{
    assert_true((r->delete_marker != 0) == o->marker && (r->versioned != 0) == o->versioned);
    assert_true(r->size == o->size && r->version == o->version && r->mtime_ms == o->mtime_ms);
    assert_string_equal(r->etag, o->etag);
    assert_string_equal(r->owner_id, "owner");
    assert_true(r->lock_mode == o->lock.mode && r->retain_until_ms == o->lock.until_ms &&
                r->legal_hold == o->lock.hold);
    if (o->has_body)
        assert_true(slice_eq(body, slice_cstr(o->body)));
}

void check_objects(struct model *m)
{
    for (int i = 0; i < KEYS; i++) {
        struct buf body = {0};
        const struct model_object *o = &m->objects[i], *null = find_version(m, i, VERSION_NULL);
        Cairn__ObjectRecord *r = get(&m->w, m->keys[i], &body);
        assert_int_equal(r != NULL, is_there(o));
        if (r) {
            check_record(o, r, buf_view(&body));
            assert_true(r->null_at == (null && null != o ? null->version : 0));
            cairn__object_record__free_unpacked(r, NULL);
        }
        for (size_t j = 0; j < m->older_count[i] + 2; j++) {
            const struct model_object *v = j < m->older_count[i] ? &m->older[i][j] : null;
            uint64_t named = v && v->versioned ? v->version : VERSION_NULL;
            if (j > m->older_count[i]) {
                named = m->w.next_id << 20;
                v = NULL;
            }
            buf_clear(&body);
            r = get_version(&m->w, m->keys[i], named, &body);
            assert_int_equal(r != NULL, v != NULL);
            if (r) {
                check_record(v, r, buf_view(&body));
                cairn__object_record__free_unpacked(r, NULL);
            }
        }
        buf_fini(&body);
    }
}

/* The next thing a listing gives after `from`, by brute force: the key's index, and in *ret what is
 * given (a common prefix or the key).  KEYS: nothing. */
static int model_next(struct model *m, int from, struct slice prefix, struct slice delimiter,
                      struct slice *ret, bool *ret_is_prefix)
{
    for (int i = from; i < KEYS; i++) {
        if (!m->objects[i].present || !slice_has_prefix(m->keys[i], prefix))
            continue;
        *ret = m->keys[i];
        *ret_is_prefix = false;
        for (size_t at = prefix.len; delimiter.len && at + delimiter.len <= m->keys[i].len; at++)
            if (memcmp(m->keys[i].ptr + at, delimiter.ptr, delimiter.len) == 0) {
                ret->len = at + delimiter.len;
                *ret_is_prefix = true;
                break;
            }
        return i;
    }
    return KEYS;
}

static void check_entry(struct model *m, int key, const Cairn__ListEntry *e)
{
    const struct model_object *o = &m->objects[key];
    assert_string_equal(e->etag, o->etag);
    assert_true(e->size == o->size && e->version == o->version && e->mtime_ms == o->mtime_ms);
    assert_string_equal(e->owner_id, "owner");
}

void check_list(struct model *m)
{
    static const char *const delimiters[] = {"", "/", "/", "a", "a/", "\xff", "//"};
    struct index_view view;
    const struct kv_snapshot *snap = m->w.store->ops->snapshot_new(m->w.store);
    index_view_init(&view, m->w.index, snap);
    view.kv = m->w.store;
    struct slice prefix = m->keys[rng_below(&m->r, KEYS)], after = m->keys[rng_below(&m->r, KEYS)];
    struct slice delimiter = slice_cstr(delimiters[rng_below(&m->r, ARRAY_COUNT(delimiters))]);
    prefix.len = rng_below(&m->r, MIN(prefix.len, (size_t)3) + 1);
    after.len = rng_below(&m->r, 2) ? 0 : rng_below(&m->r, after.len + 1);
    int from = 0;
    while (after.len && from < KEYS && slice_cmp(m->keys[from], after) <= 0)
        from++;
    Cairn__ListRequest req = CAIRN__LIST_REQUEST__INIT;
    uint8_t resume[OBJECT_KEY_BYTES_MAX], skip[OBJECT_KEY_BYTES_MAX];
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    req.prefix = (ProtobufCBinaryData){prefix.len, (uint8_t *)(uintptr_t)prefix.ptr};
    req.delimiter = (ProtobufCBinaryData){delimiter.len, (uint8_t *)(uintptr_t)delimiter.ptr};
    req.start_after = (ProtobufCBinaryData){after.len, (uint8_t *)(uintptr_t)after.ptr};
    req.keys_max = 1 + (uint32_t)rng_below(&m->r, 6);
    for (bool more = true; more;) {
        struct index_reply reply = {0};
        assert_int_equal(index_list(&view, &req, &reply), OK);
        Cairn__ListResponse *msg = (Cairn__ListResponse *)(void *)over_the_wire(&reply.msg.base);
        assert_true(msg->n_entries <= req.keys_max && msg->as_of == index_applied(m->w.index));
        for (size_t i = 0; i < msg->n_entries; i++) {
            const Cairn__ListEntry *e = msg->entries[i];
            struct slice want, given = SLICE(e->key.data, e->key.len);
            bool is_prefix;
            int at = model_next(m, from, prefix, delimiter, &want, &is_prefix);
            assert_true(at < KEYS && slice_eq(given, want) && (e->is_prefix != 0) == is_prefix);
            if (!is_prefix)
                check_entry(m, at, e);
            for (from = at + 1; is_prefix && from < KEYS && slice_has_prefix(m->keys[from], want);)
                from++;
            m->listed++;
        }
        more = msg->more;
        if (more) {
            const Cairn__ListEntry *last = msg->entries[msg->n_entries - 1];
            memcpy(resume, msg->resume_after.data, msg->resume_after.len);
            req.start_after = (ProtobufCBinaryData){msg->resume_after.len, resume};
            memcpy(skip, last->key.data, last->key.len);
            req.skip_prefix = (ProtobufCBinaryData){last->is_prefix ? last->key.len : 0, skip};
        }
        cairn__list_response__free_unpacked(msg, NULL);
        index_reply_fini(&reply);
    }
    struct slice ignored;
    bool is_prefix;
    assert_int_equal(model_next(m, from, prefix, delimiter, &ignored, &is_prefix), KEYS);
    m->w.store->ops->snapshot_free(m->w.store, snap);
}

/* What a listing of versions has behind place (key, version number in the model's order), by brute
 * force; false: nothing. */
static bool model_next_version(struct model *m, int *key, size_t *at, struct slice prefix)
{
    for (; *key < KEYS; ++*key, *at = 0) {
        if (*at == 0 && !is_there(&m->objects[*key]))
            continue;
        if (slice_has_prefix(m->keys[*key], prefix) && *at <= m->older_count[*key])
            return true;
    }
    return false;
}

static void check_version_entry(struct model *m, int key, size_t at, const Cairn__ListEntry *e)
{
    const struct model_object *o = at ? &m->older[key][at - 1] : &m->objects[key];
    assert_true(slice_eq(SLICE(e->key.data, e->key.len), m->keys[key]) && !e->is_prefix);
    assert_true((e->is_latest != 0) == (at == 0) && (e->delete_marker != 0) == o->marker);
    assert_true(e->version == o->version && (e->versioned != 0) == o->versioned);
    assert_string_equal(e->etag, o->etag);
    assert_true(e->size == o->size && e->mtime_ms == o->mtime_ms);
    assert_string_equal(e->owner_id, "owner");
}

/* Everything from a random place on, in pages of any size; the place is named as clients do. */
void check_versions(struct model *m)
{
    struct index_view view;
    Cairn__ListRequest req = CAIRN__LIST_REQUEST__INIT;
    uint8_t resume[OBJECT_KEY_BYTES_MAX], skip[OBJECT_KEY_BYTES_MAX];
    struct slice prefix = m->keys[rng_below(&m->r, KEYS)];
    bool delimited = rng_below(&m->r, 2);
    int key = 0;
    size_t at = 0;
    prefix.len = rng_below(&m->r, 2) ? 0 : rng_below(&m->r, MIN(prefix.len, (size_t)2) + 1);
    index_view_init(&view, m->w.index, NULL);
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    req.versions = true;
    req.prefix = (ProtobufCBinaryData){prefix.len, (uint8_t *)(uintptr_t)prefix.ptr};
    if (delimited)
        req.delimiter = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "/"};
    if (rng_below(&m->r, 2)) {
        key = (int)rng_below(&m->r, KEYS);
        at = rng_below(&m->r, m->older_count[key] + 1);
        const struct model_object *o = at ? &m->older[key][at - 1] : &m->objects[key];
        req.start_after =
            (ProtobufCBinaryData){m->keys[key].len, (uint8_t *)(uintptr_t)m->keys[key].ptr};
        req.after_version = o->versioned ? o->version : VERSION_NULL;
        if (is_there(o))
            at++;
        if (rng_below(&m->r, 3) == 0) {
            req.after_version = VERSION_NONE;
            key++;
            at = 0;
        }
    }
    req.keys_max = 1 + (uint32_t)rng_below(&m->r, 6);
    for (bool more = true; more;) {
        struct index_reply reply = {0};
        assert_int_equal(index_list(&view, &req, &reply), OK);
        Cairn__ListResponse *msg = (Cairn__ListResponse *)(void *)over_the_wire(&reply.msg.base);
        assert_true(msg->n_entries <= req.keys_max);
        for (size_t i = 0; i < msg->n_entries; i++) {
            const Cairn__ListEntry *e = msg->entries[i];
            struct slice given = SLICE(e->key.data, e->key.len);
            assert_true(model_next_version(m, &key, &at, prefix));
            struct slice common = m->keys[key];
            const uint8_t *slash =
                delimited && common.len > prefix.len
                    ? memchr(common.ptr + prefix.len, '/', common.len - prefix.len)
                    : NULL;
            assert_int_equal(e->is_prefix != 0, slash != NULL);
            if (slash) {
                common.len = (size_t)(slash - common.ptr) + 1;
                assert_true(slice_eq(given, common));
                while (key < KEYS && slice_has_prefix(m->keys[key], common))
                    key++;
                at = 0;
            } else {
                check_version_entry(m, key, at++, e);
            }
            m->versions_listed++;
        }
        more = msg->more;
        if (more) {
            const Cairn__ListEntry *last = msg->entries[msg->n_entries - 1];
            memcpy(resume, msg->resume_after.data, msg->resume_after.len);
            req.start_after = (ProtobufCBinaryData){msg->resume_after.len, resume};
            req.after_version = msg->resume_version;
            memcpy(skip, last->key.data, last->key.len);
            req.skip_prefix = (ProtobufCBinaryData){last->is_prefix ? last->key.len : 0, skip};
        }
        cairn__list_response__free_unpacked(msg, NULL);
        index_reply_fini(&reply);
    }
    assert_false(model_next_version(m, &key, &at, prefix));
}

/* All uploads under way, page by page, in order; with a delimiter only that nothing is skipped. */
void check_uploads(struct model *m)
{
    struct index_view view;
    index_view_init(&view, m->w.index, NULL);
    Cairn__ListUploadsRequest req = CAIRN__LIST_UPLOADS_REQUEST__INIT;
    uint8_t marker[OBJECT_KEY_BYTES_MAX], id_marker[ID_BYTES];
    bool seen[UPLOADS] = {0};
    bool delimited = rng_below(&m->r, 2);
    struct buf last = {0};
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    req.uploads_max = 1 + (uint32_t)rng_below(&m->r, 4);
    if (delimited)
        req.delimiter = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "/"};
    for (bool more = true; more;) {
        struct index_reply reply = {0};
        assert_int_equal(index_list_uploads(&view, &req, &reply), OK);
        Cairn__ListUploadsResponse *msg =
            (Cairn__ListUploadsResponse *)(void *)over_the_wire(&reply.msg.base);
        for (size_t i = 0; i < msg->n_entries; i++) {
            const Cairn__UploadEntry *e = msg->entries[i];
            struct slice key = SLICE(e->key.data, e->key.len);
            assert_true(slice_cmp(buf_view(&last), key) <= 0);
            buf_clear(&last);
            buf_slice(&last, key);
            for (int j = 0; j < UPLOADS; j++) {
                struct slice k = m->keys[m->uploads[j].key];
                bool match = e->is_prefix ? slice_has_prefix(k, key)
                                          : e->upload->upload_id.len == ID_BYTES &&
                                                memcmp(e->upload->upload_id.data,
                                                       m->uploads[j].id.bytes, ID_BYTES) == 0;
                if (m->uploads[j].live && match) {
                    assert_false(seen[j]);
                    assert_true(e->is_prefix || slice_eq(k, key));
                    seen[j] = true;
                }
            }
        }
        more = msg->more;
        if (more) {
            memcpy(marker, msg->next_key_marker.data, msg->next_key_marker.len);
            req.key_marker = (ProtobufCBinaryData){msg->next_key_marker.len, marker};
            if (msg->next_upload_id_marker.len)
                memcpy(id_marker, msg->next_upload_id_marker.data, ID_BYTES);
            req.upload_id_marker = (ProtobufCBinaryData){msg->next_upload_id_marker.len, id_marker};
        }
        cairn__list_uploads_response__free_unpacked(msg, NULL);
        index_reply_fini(&reply);
    }
    buf_fini(&last);
    for (int j = 0; j < UPLOADS; j++)
        assert_int_equal(seen[j], m->uploads[j].live);
}
