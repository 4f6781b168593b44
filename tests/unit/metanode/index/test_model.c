/* The index against a simple model of what S3 promises, over random commands with retries among
 * them; lists with odd bytes, prefixes, delimiters and page sizes; a second replica that crashes
 * and replays and must end with the same bytes; and every blob let go exactly once, orphans that
 * were condemned among them.  What the records refer to is listed and asked for, and compared. */
#include "metanode/index/keys.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 40, UPLOADS = 12, PART_NUMBERS = 5, RETRIES = 8, BLOBS = 2, CONDEMNED = 6 };

struct model_blobs {
    size_t n;
    struct id128 ids[BLOBS];
    uint64_t bytes[BLOBS];
};

struct model_part {
    bool present;
    char etag[33];
    uint64_t size;
    struct model_blobs blobs;
};

struct model_upload {
    bool live;
    int key;
    struct id128 id;
    struct model_part parts[PART_NUMBERS + 1];
};

struct model_object {
    bool present;
    char etag[33];
    uint64_t size, version, mtime_ms;
    char body[24];
    bool has_body;
    struct model_blobs blobs;
    bool has_manifest;
    struct id128 manifest_id;
    struct model_part parts[PART_NUMBERS + 1]; /* of the manifest */
};

struct retry {
    struct buf data;
    int err;
    uint64_t index;
};

struct model {
    struct world w;
    struct rng r;
    uint8_t key_bytes[KEYS][12];
    struct slice keys[KEYS]; /* ascending */
    struct model_object objects[KEYS];
    struct model_upload uploads[UPLOADS];
    struct retry retries[RETRIES];
    struct buf blobs; /* all that were ever in an accepted command, or condemned */
    struct {
        struct id128 id;
        uint64_t until_ms; /* remembered at least so long */
    } condemned[CONDEMNED];
    /* Counts of what was met, so that a test that meets nothing fails. */
    size_t retried, completed, refused_conditions, listed;
    size_t refused_condemned, kept, moved, moved_parts, refs_listed;
};

static int compare_keys(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static void make_keys(struct model *m)
{
    static const uint8_t alphabet[] = {0, 1, '/', '/', 'a', 'b', 0xFE, 0xFF};
    for (int i = 0; i < KEYS;) {
        size_t n = 1 + rng_below(&m->r, 8);
        for (size_t j = 0; j < n; j++)
            m->key_bytes[i][j] = alphabet[rng_below(&m->r, sizeof(alphabet))];
        m->keys[i] = SLICE(m->key_bytes[i], n);
        bool twice = false;
        for (int j = 0; j < i; j++)
            twice |= slice_eq(m->keys[i], m->keys[j]);
        i += !twice;
    }
    qsort(m->keys, KEYS, sizeof(m->keys[0]), compare_keys);
}

static void note_blobs(struct model *m, const struct cmd *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_append(&m->blobs, c->blob_ids[i].bytes, ID_BYTES);
}

/* Runs a command and sometimes keeps it, to be sent again later. */
static int run(struct model *m, struct cmd *c)
{
    struct buf data = {0};
    index_entry_pack(&c->msg, c->body, &data);
    int err = world_apply_data(&m->w, buf_view(&data));
    struct retry *slot = &m->retries[rng_below(&m->r, RETRIES)];
    if (rng_below(&m->r, 3) == 0) {
        buf_fini(&slot->data);
        *slot = (struct retry){data, err, m->w.out->index};
    } else {
        buf_fini(&data);
    }
    return err;
}

/* ---- conditions ---- */

/* A random condition, and whether it holds. */
static bool random_condition(struct model *m, const struct model_object *o, Cairn__Condition *ret,
                             char **etags)
{
    cairn__condition__init(ret);
    etags[0] = (char *)(uintptr_t) "no-such-etag";
    etags[1] = (char *)(uintptr_t)o->etag;
    switch (rng_below(&m->r, 7)) {
    case 0: ret->if_absent = true; return !o->present;
    case 1: ret->if_present = true; return o->present;
    case 2:
        ret->if_match = etags;
        ret->n_if_match = 1 + rng_below(&m->r, 2);
        return o->present && ret->n_if_match == 2;
    case 3:
        ret->if_none_match = etags;
        ret->n_if_none_match = 1 + rng_below(&m->r, 2);
        return !o->present || ret->n_if_none_match == 1;
    case 4:
        ret->has_if_size = true;
        ret->if_size = rng_below(&m->r, 20);
        return o->present && o->size == ret->if_size;
    case 5:
        ret->if_version = o->version + rng_below(&m->r, 2);
        return ret->if_version == 0 || (o->present && ret->if_version == o->version);
    default: return true;
    }
}

/* ---- commands ---- */

static void set_object(struct model *m, int key, const struct cmd *c, const char *body)
{
    struct model_object *o = &m->objects[key];
    *o = (struct model_object){.present = true,
                               .size = c->record.size,
                               .version = index_applied(m->w.index),
                               .mtime_ms = m->w.now_ms};
    memcpy(o->etag, c->etag, sizeof(o->etag));
    o->has_body = body != NULL;
    if (body)
        snprintf(o->body, sizeof(o->body), "%s", body);
}

static void set_blobs(struct model_blobs *b, const struct cmd *c, size_t n)
{
    *b = (struct model_blobs){.n = n};
    for (size_t i = 0; i < n; i++) {
        b->ids[i] = c->blob_ids[i];
        b->bytes[i] = c->segments[i].bytes;
    }
}

/* Now and then the command names a blob that was condemned; true: it does. */
static bool name_condemned(struct model *m, struct cmd *c, size_t segments)
{
    size_t i = rng_below(&m->r, CONDEMNED);
    if (!segments || m->condemned[i].until_ms < m->w.now_ms || rng_below(&m->r, 4))
        return false;
    c->blob_ids[segments - 1] = m->condemned[i].id;
    m->refused_condemned++;
    return true;
}

static void step_put(struct model *m)
{
    struct cmd c;
    Cairn__Condition condition;
    char *etags[2], body[24] = "";
    int key = (int)rng_below(&m->r, KEYS);
    size_t segments = rng_below(&m->r, 3);
    if (segments) {
        cmd_put_segments(&m->w, &c, m->keys[key], segments, 2 + rng_below(&m->r, 15));
    } else {
        if (rng_below(&m->r, 4))
            snprintf(body, sizeof(body), "body-%llu", (unsigned long long)m->w.next_id);
        cmd_put_inline(&m->w, &c, m->keys[key], slice_cstr(body));
    }
    bool holds = random_condition(m, &m->objects[key], &condition, etags);
    c.put.condition = &condition;
    bool existed = m->objects[key].present;
    if (name_condemned(m, &c, segments)) {
        assert_int_equal(run(m, &c), ERR_CONDEMNED);
        return;
    }
    assert_int_equal(run(m, &c), holds ? OK : ERR_PRECONDITION);
    assert_int_equal(m->w.out->existed, existed);
    m->refused_conditions += !holds;
    if (holds) {
        note_blobs(m, &c, segments);
        set_object(m, key, &c, segments ? NULL : body);
        set_blobs(&m->objects[key].blobs, &c, segments);
    }
}

static void step_delete(struct model *m)
{
    struct cmd c;
    Cairn__Condition condition;
    char *etags[2];
    int key = (int)rng_below(&m->r, KEYS);
    cmd_delete(&m->w, &c, m->keys[key]);
    bool holds = random_condition(m, &m->objects[key], &condition, etags);
    c.del.condition = &condition;
    bool existed = m->objects[key].present;
    assert_int_equal(run(m, &c), holds ? OK : ERR_PRECONDITION);
    assert_int_equal(m->w.out->existed, existed);
    if (holds)
        m->objects[key] = (struct model_object){0};
}

static void step_delete_many(struct model *m)
{
    struct cmd c;
    ProtobufCBinaryData keys[6];
    uint64_t touches[6];
    Cairn__DeleteObjects op = CAIRN__DELETE_OBJECTS__INIT;
    cmd_init(&m->w, &c);
    op.bucket_id = BUCKET;
    op.keys = keys;
    op.n_keys = 1 + rng_below(&m->r, 6);
    for (size_t i = 0; i < op.n_keys; i++) {
        int key = (int)rng_below(&m->r, KEYS);
        keys[i] = (ProtobufCBinaryData){m->keys[key].len, (uint8_t *)(uintptr_t)m->keys[key].ptr};
        touches[i] = keyhash_object(BUCKET, m->keys[key]);
        m->objects[key] = (struct model_object){0};
    }
    c.msg.touches = touches;
    c.msg.n_touches = op.n_keys;
    c.msg.op_case = CAIRN__COMMAND__OP_DELETE_OBJECTS;
    c.msg.delete_objects = &op;
    assert_int_equal(run(m, &c), OK);
    assert_true(m->w.out->n_key_errs == 0);
}

static void step_create_upload(struct model *m)
{
    struct cmd c;
    struct model_upload *u = &m->uploads[rng_below(&m->r, UPLOADS)];
    if (u->live)
        return;
    *u = (struct model_upload){
        .live = true, .key = (int)rng_below(&m->r, KEYS), .id = fresh_id(&m->w)};
    cmd_create_upload(&m->w, &c, m->keys[u->key], &u->id);
    assert_int_equal(run(m, &c), OK);
}

static void step_put_part(struct model *m)
{
    struct cmd c;
    struct model_upload *u = &m->uploads[rng_below(&m->r, UPLOADS)];
    uint32_t number = 1 + (uint32_t)rng_below(&m->r, PART_NUMBERS);
    size_t segments = rng_below(&m->r, 3);
    cmd_put_part(&m->w, &c, m->keys[u->key], &u->id, number, 4 + rng_below(&m->r, 8), segments);
    if (name_condemned(m, &c, segments)) {
        assert_int_equal(run(m, &c), ERR_CONDEMNED);
        return;
    }
    assert_int_equal(run(m, &c), u->live ? OK : ERR_NO_UPLOAD);
    if (!u->live)
        return;
    note_blobs(m, &c, segments);
    u->parts[number] = (struct model_part){.present = true, .size = c.part_record.size};
    memcpy(u->parts[number].etag, c.etag, sizeof(c.etag));
    set_blobs(&u->parts[number].blobs, &c, segments);
}

/* What S3 would say to these parts: in order, all there, none but the last too small. */
static int judge_parts(const struct model_upload *u, Cairn__CompletePart **parts, size_t n,
                       uint64_t min, uint64_t *ret_size)
{
    int invalid = OK;
    *ret_size = 0;
    for (size_t i = 1; i < n; i++)
        if (parts[i]->number <= parts[i - 1]->number)
            return ERR_PART_ORDER;
    for (size_t i = 0; i < n && !invalid; i++) {
        const struct model_part *p = &u->parts[parts[i]->number];
        if (!p->present || strcmp(p->etag, parts[i]->etag) != 0)
            invalid = ERR_INVALID_PART;
        else if (i + 1 < n && p->size < min)
            invalid = ERR_PART_SMALL;
        *ret_size += p->size;
    }
    return invalid;
}

static void step_complete(struct model *m)
{
    struct cmd c;
    Cairn__CompletePart parts[PART_NUMBERS], *ptrs[PART_NUMBERS];
    Cairn__Condition condition;
    char *etags[2];
    struct model_upload *u = &m->uploads[rng_below(&m->r, UPLOADS)];
    size_t n = 0;
    for (uint32_t number = 1; number <= PART_NUMBERS; number++) {
        if (!(u->parts[number].present ? rng_below(&m->r, 4) : rng_below(&m->r, 40) == 0))
            continue;
        cairn__complete_part__init(&parts[n]);
        parts[n].number = number;
        parts[n].etag = rng_below(&m->r, 30) ? u->parts[number].etag : (char *)(uintptr_t) "wrong";
        if (!parts[n].etag[0])
            parts[n].etag = (char *)(uintptr_t) "none";
        ptrs[n] = &parts[n];
        n++;
    }
    if (n == 0)
        return;
    if (n > 1 && rng_below(&m->r, 20) == 0) {
        Cairn__CompletePart *swap = ptrs[0];
        ptrs[0] = ptrs[1];
        ptrs[1] = swap;
    }
    uint64_t size = 0, min = rng_below(&m->r, 6);
    int want = u->live ? judge_parts(u, ptrs, n, min, &size) : ERR_NO_UPLOAD;
    cmd_complete(&m->w, &c, m->keys[u->key], &u->id, ptrs, n, size);
    c.complete.part_bytes_min = min;
    bool holds = random_condition(m, &m->objects[u->key], &condition, etags);
    c.complete.condition = &condition;
    if (!want && !holds)
        want = ERR_PRECONDITION;
    int err = run(m, &c);
    if (!u->live && err == OK) /* completed before, and still the object: S3 says yes again */
        return;
    assert_int_equal(err, want);
    if (want)
        return;
    set_object(m, u->key, &c, NULL);
    struct model_object *o = &m->objects[u->key];
    o->has_manifest = true;
    o->manifest_id = u->id;
    for (size_t i = 0; i < n; i++)
        o->parts[ptrs[i]->number] = u->parts[ptrs[i]->number];
    u->live = false;
    m->completed++;
}

static void step_abort(struct model *m)
{
    struct cmd c;
    struct model_upload *u = &m->uploads[rng_below(&m->r, UPLOADS)];
    cmd_abort(&m->w, &c, m->keys[u->key], &u->id);
    assert_int_equal(run(m, &c), u->live ? OK : ERR_NO_UPLOAD);
    *u = (struct model_upload){.key = u->key, .id = u->id};
}

static void step_retry(struct model *m)
{
    struct retry *slot = &m->retries[rng_below(&m->r, RETRIES)];
    if (!slot->data.len)
        return;
    uint64_t time_ms = index_entry_time_ms(buf_view(&slot->data));
    if (m->w.now_ms - time_ms > 100 * 1000)
        return; /* out of the window: test_apply.c */
    /* As sent again by the gateway: a new entry time. */
    Cairn__Command *msg;
    size_t bytes = (size_t)slot->data.ptr[2] << 8 | slot->data.ptr[3];
    msg = cairn__command__unpack(NULL, bytes, slot->data.ptr + 4);
    assert_true(msg && msg->time_ms == time_ms);
    msg->time_ms = m->w.now_ms;
    struct slice body = SLICE(slot->data.ptr + 4 + bytes, slot->data.len - 4 - bytes);
    assert_int_equal(world_apply(&m->w, msg, body), slot->err);
    assert_true(m->w.out->index == slot->index);
    cairn__command__free_unpacked(msg, NULL);
    m->retried++;
}

/* ---- blobs ---- */

/* A record that the model has under a key, by number; false: there is none of that number. */
struct record_ref {
    struct model_blobs *blobs;
    struct id128 *upload_id; /* NULL: the object itself */
    uint32_t number;
    uint64_t inline_bytes;
};

static void add_parts(struct model_part *parts, struct id128 *id, struct record_ref *ret, size_t *n)
{
    for (uint32_t number = 1; number <= PART_NUMBERS; number++)
        if (parts[number].present)
            ret[(*n)++] = (struct record_ref){&parts[number].blobs, id, number,
                                              parts[number].blobs.n ? 0 : parts[number].size};
}

static int compare_records(const void *x, const void *y)
{
    const struct record_ref *a = x, *b = y;
    if (!a->upload_id || !b->upload_id)
        return (a->upload_id != NULL) - (b->upload_id != NULL);
    int c = memcmp(a->upload_id->bytes, b->upload_id->bytes, ID_BYTES);
    return c ? c : (a->number > b->number) - (a->number < b->number);
}

enum { RECORDS_MAX = 1 + (UPLOADS + 1) * PART_NUMBERS };

/* What refers to data under a key, in the order of a listing. */
static size_t records_of(struct model *m, int key, struct record_ref *ret)
{
    size_t n = 0;
    struct model_object *o = &m->objects[key];
    if (o->present)
        ret[n++] =
            (struct record_ref){&o->blobs, NULL, 0, o->blobs.n || o->has_manifest ? 0 : o->size};
    if (o->present && o->has_manifest)
        add_parts(o->parts, &o->manifest_id, ret, &n);
    for (int i = 0; i < UPLOADS; i++)
        if (m->uploads[i].live && m->uploads[i].key == key)
            add_parts(m->uploads[i].parts, &m->uploads[i].id, ret, &n);
    qsort(ret, n, sizeof(*ret), compare_records);
    return n;
}

/* A key that has some, if it is soon found. */
static int busy_key(struct model *m, struct record_ref *scratch)
{
    int key = 0;
    for (int tries = 0; tries < 4; tries++) {
        key = (int)rng_below(&m->r, KEYS);
        if (records_of(m, key, scratch) > 0)
            break;
    }
    return key;
}

static void expect_refs(struct model *m, int key, struct cmd *asked, const bool *want)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__BlobRefsRequest req = CAIRN__BLOB_REFS_REQUEST__INIT;
    ProtobufCBinaryData ids[16];
    uint32_t pgs[16] = {0};
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    req.key = (ProtobufCBinaryData){m->keys[key].len, (uint8_t *)(uintptr_t)m->keys[key].ptr};
    req.n_blob_ids = req.n_pgs = asked->condemn.n_blobs;
    req.pgs = pgs;
    req.blob_ids = ids;
    for (size_t i = 0; i < req.n_blob_ids; i++)
        ids[i] = asked->condemn_blobs[i].blob_id;
    index_view_init(&view, m->w.index, NULL);
    assert_int_equal(index_blob_refs(&view, &req, &reply), OK);
    for (size_t i = 0; i < req.n_blob_ids; i++)
        assert_int_equal(reply.msg.blob_refs.referred.data[i], want[i]);
    index_reply_fini(&reply);
}

/* Some that are referred to, an orphan, and one that was condemned before. */
static void step_condemn(struct model *m)
{
    struct cmd c;
    struct record_ref records[RECORDS_MAX];
    struct id128 ids[16];
    bool referred[16] = {0};
    int key = busy_key(m, records);
    size_t n = 0, count = records_of(m, key, records), slot = rng_below(&m->r, CONDEMNED);
    for (size_t i = 0; i < count && n < 8; i++)
        for (size_t j = 0; j < records[i].blobs->n && n < 8; j++)
            if (rng_below(&m->r, 3)) {
                referred[n] = true;
                ids[n++] = records[i].blobs->ids[j];
            }
    m->kept += n;
    bool again = m->condemned[slot].until_ms >= m->w.now_ms;
    ids[n++] = again ? m->condemned[slot].id : fresh_id(&m->w);
    cmd_condemn(&m->w, &c, m->keys[key], ids, n);
    expect_refs(m, key, &c, referred);
    assert_int_equal(world_run(&m->w, &c), OK);
    assert_int_equal(m->w.out->condemned.len, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(m->w.out->condemned.data[i], !referred[i]);
    if (again)
        return;
    buf_append(&m->blobs, ids[n - 1].bytes, ID_BYTES);
    m->condemned[slot].id = ids[n - 1];
    m->condemned[slot].until_ms = m->w.now_ms + 100 * 1000 + 1000;
}

static void step_move(struct model *m)
{
    struct cmd c;
    struct record_ref records[RECORDS_MAX];
    int key = busy_key(m, records);
    size_t count = records_of(m, key, records);
    struct record_ref *r = &records[rng_below(&m->r, count)];
    if (count == 0 || r->blobs->n == 0)
        return;
    size_t at = rng_below(&m->r, r->blobs->n);
    struct id128 from = rng_below(&m->r, 5) ? r->blobs->ids[at] : fresh_id(&m->w);
    bool named = id128_eq(from, r->blobs->ids[at]);
    if (r->upload_id)
        cmd_move_part(&m->w, &c, m->keys[key], r->upload_id, r->number, &from, r->blobs->bytes[at]);
    else
        cmd_move(&m->w, &c, m->keys[key], &from, r->blobs->bytes[at]);
    if (name_condemned(m, &c, 1)) {
        assert_int_equal(run(m, &c), ERR_CONDEMNED);
        return;
    }
    assert_int_equal(run(m, &c), named ? OK : ERR_NOT_FOUND);
    if (!named)
        return;
    note_blobs(m, &c, 1);
    r->blobs->ids[at] = c.blob_ids[0];
    m->moved++;
    m->moved_parts += r->upload_id != NULL;
}

static void check_segments_entry(struct model *m, int key, const struct record_ref *r,
                                 const Cairn__SegmentsEntry *e)
{
    assert_true(slice_eq(SLICE(e->key.data, e->key.len), m->keys[key]));
    assert_int_equal(e->part_number, r->number);
    assert_true(e->inline_bytes == r->inline_bytes && e->n_segments == r->blobs->n);
    const struct id128 *id = r->upload_id;
    if (!id && m->objects[key].has_manifest)
        id = &m->objects[key].manifest_id;
    assert_true(id ? slice_eq(SLICE(e->upload_id.data, e->upload_id.len), id128_slice(id))
                   : e->upload_id.len == 0);
    for (size_t i = 0; i < r->blobs->n; i++) {
        assert_memory_equal(e->segments[i]->blob_id.data, r->blobs->ids[i].bytes, ID_BYTES);
        assert_true(e->segments[i]->bytes == r->blobs->bytes[i]);
    }
}

/* The listing of everything, in pages of any size, is what the model has. */
static void check_segments(struct model *m)
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
        req.rows_max = 1 + (uint32_t)rng_below(&m->r, 5);
        assert_int_equal(index_list_segments(&view, &req, &reply), OK);
        Cairn__ListSegmentsResponse *msg =
            (Cairn__ListSegmentsResponse *)(void *)over_the_wire(&reply.msg.base);
        assert_true(msg->n_entries <= req.rows_max);
        for (size_t i = 0; i < msg->n_entries; i++) {
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

/* ---- comparing ---- */

static void check_objects(struct model *m)
{
    for (int i = 0; i < KEYS; i++) {
        struct buf body = {0};
        const struct model_object *o = &m->objects[i];
        Cairn__ObjectRecord *r = get(&m->w, m->keys[i], &body);
        assert_int_equal(r != NULL, o->present);
        if (r) {
            assert_string_equal(r->etag, o->etag);
            assert_true(r->size == o->size && r->version == o->version &&
                        r->mtime_ms == o->mtime_ms);
            if (o->has_body)
                assert_true(slice_eq(buf_view(&body), slice_cstr(o->body)));
            cairn__object_record__free_unpacked(r, NULL);
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

static void check_list(struct model *m)
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

/* All uploads under way, page by page, in order; with a delimiter only that nothing is skipped. */
static void check_uploads(struct model *m)
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

/* ---- the run ---- */

static void model_step(struct model *m)
{
    m->w.now_ms += rng_below(&m->r, 3) * 400;
    switch (rng_below(&m->r, 19)) {
    case 0:
    case 1:
    case 2:
    case 3: step_put(m); break;
    case 4:
    case 5: step_delete(m); break;
    case 6: step_delete_many(m); break;
    case 7: step_create_upload(m); break;
    case 8:
    case 9:
    case 10: step_put_part(m); break;
    case 11:
    case 12: step_complete(m); break;
    case 13: step_abort(m); break;
    case 14: step_retry(m); break;
    case 15: step_condemn(m); break;
    case 16:
    case 17: step_move(m); break;
    default: check_list(m); check_uploads(m);
    }
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, ID_BYTES);
}

/* Everything is deleted in the end: every blob that was ever stored is let go, each once. */
static void check_blobs(struct model *m, struct buf *gone)
{
    struct cmd c;
    for (int i = 0; i < KEYS; i++)
        if (m->objects[i].present) {
            cmd_delete(&m->w, &c, m->keys[i]);
            assert_int_equal(world_run(&m->w, &c), OK);
        }
    for (int i = 0; i < UPLOADS; i++)
        if (m->uploads[i].live) {
            cmd_abort(&m->w, &c, m->keys[m->uploads[i].key], &m->uploads[i].id);
            assert_int_equal(world_run(&m->w, &c), OK);
        }
    drain_deletions(&m->w, gone);
    assert_true(gone->len == m->blobs.len && gone->len > 100 * ID_BYTES);
    qsort(gone->ptr, gone->len / ID_BYTES, ID_BYTES, compare_ids);
    qsort(m->blobs.ptr, m->blobs.len / ID_BYTES, ID_BYTES, compare_ids);
    assert_true(slice_eq(buf_view(gone), buf_view(&m->blobs)));
    static const uint8_t tables[] = {TABLE_OBJECT, TABLE_UPLOAD, TABLE_MANIFEST,
                                     TABLE_PART,   TABLE_DEAD,   TABLE_DELETION};
    for (size_t i = 0; i < ARRAY_COUNT(tables); i++) {
        size_t rows;
        count_rows(&m->w, tables[i], KV_INDEX, &rows);
        assert_int_equal(rows, 0);
    }
    size_t bodies;
    count_rows(&m->w, TABLE_OBJECT_BODY, KV_BODY, &bodies);
    assert_int_equal(bodies, 0);
    count_rows(&m->w, TABLE_PART_BODY, KV_BODY, &bodies);
    assert_int_equal(bodies, 0);
}

/* Another replica of the same log: it crashes now and then, goes back to what it had flushed, and
 * applies again from there. */
static void replay_elsewhere(struct model *m, const struct index_settings *settings)
{
    struct world b;
    struct buf da = {0}, db = {0};
    size_t crashes = 0;
    world_init_range(&b, m->w.partition, SLICE_EMPTY, SLICE_EMPTY, settings);
    world_flush(&b);
    for (size_t i = 0; i < m->w.log_count;) {
        const struct entry *e = &m->w.log[i];
        assert_true(index_applied(b.index) + 1 == e->index);
        assert_int_equal(index_apply(b.index, e->index, 1, buf_view(&e->data), NULL), OK);
        i++;
        if (rng_below(&m->r, 20) == 0)
            world_flush(&b);
        if (rng_below(&m->r, 50) == 0) {
            world_crash(&b);
            i = (size_t)index_applied(b.index);
            crashes++;
        }
    }
    assert_true(crashes > 5);
    dump(m->w.store, m->w.partition, &da);
    dump(b.store, m->w.partition, &db);
    assert_true(slice_eq(buf_view(&da), buf_view(&db)));
    buf_fini(&da);
    buf_fini(&db);
    world_fini(&b);
}

static void run_model(uint64_t seed)
{
    struct model m;
    struct buf gone = {0};
    /* A window short enough that outcomes expire on the way, long enough for the retries kept. */
    struct index_settings settings = {.window_ms = 100 * 1000, .skew_ms = 1000};
    memset(&m, 0, sizeof(m));
    m.r.state = seed;
    world_init_range(&m.w, 3, SLICE_EMPTY, SLICE_EMPTY, &settings);
    m.w.keep_log = true;
    make_keys(&m);
    for (int i = 0; i < 4500; i++) {
        model_step(&m);
        if (i % 50 == 0) {
            check_objects(&m);
            check_segments(&m);
        }
        if (i % 301 == 0)
            world_reopen(&m.w);
        if (i % 500 == 499)
            drain_deletions(&m.w, &gone);
    }
    check_objects(&m);
    check_blobs(&m, &gone);
    assert_true(m.retried > 50 && m.completed > 20 && m.refused_conditions > 100 && m.listed > 500);
    assert_true(m.refused_condemned > 50 && m.kept > 50 && m.moved > 50 && m.moved_parts > 10 &&
                m.refs_listed > 500);
    replay_elsewhere(&m, &settings);
    for (int i = 0; i < RETRIES; i++)
        buf_fini(&m.retries[i].data);
    buf_fini(&m.blobs);
    buf_fini(&gone);
    world_fini(&m.w);
}

static void test_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++)
        run_model(seed * 7919);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
