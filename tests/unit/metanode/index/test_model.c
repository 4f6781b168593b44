/* The index against a simple model of what S3 promises, over random commands with retries among
 * them, first without versions, then with versioning enabled and suspended in turn; lists with odd
 * bytes, prefixes, delimiters and page sizes; a second replica that crashes and replays and must
 * end with the same bytes; and every blob let go exactly once, orphans that were condemned among
 * them. What the records refer to is listed and asked for, and compared. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>

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
    c->msg.versioning = m->mode;
    c->msg.settings_version = m->settings;
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

/* ---- locks ---- */

static bool is_locked(const struct model *m, const struct model_object *o, bool bypass)
{
    bool over = o->lock.until_ms <= m->w.now_ms;
    if (o->lock.hold == CAIRN__LEGAL_HOLD__HOLD_ON)
        return true;
    return !over && (o->lock.mode == CAIRN__LOCK_MODE__LOCK_COMPLIANCE ||
                     (o->lock.mode == CAIRN__LOCK_MODE__LOCK_GOVERNANCE && !bypass));
}

/* What becomes the current version without an id would take a place that is locked. */
static bool null_locked(struct model *m, int key, bool bypass)
{
    const struct model_object *o = find_version(m, key, VERSION_NULL);
    bool replaces = m->mode != CAIRN__VERSIONING__VERSIONING_ENABLED;
    bool ret = replaces && o && is_locked(m, o, bypass);
    m->refused_locked += ret;
    return ret;
}

/* Often none; where versions are not kept there may be none. */
static struct model_lock random_lock(struct model *m)
{
    struct model_lock lock = {0};
    if (m->mode != CAIRN__VERSIONING__VERSIONING_ENABLED)
        return lock;
    if (rng_below(&m->r, 2)) {
        lock.mode = (Cairn__LockMode)(1 + rng_below(&m->r, 2));
        lock.until_ms = m->w.now_ms - 2000 + rng_below(&m->r, 600 * 1000);
    }
    if (rng_below(&m->r, 12) == 0)
        lock.hold = (Cairn__LegalHold)(1 + rng_below(&m->r, 2));
    m->locks += lock.mode || lock.hold;
    return lock;
}

static void lock_record(Cairn__ObjectRecord *r, const struct model_lock *lock)
{
    r->lock_mode = lock->mode;
    r->retain_until_ms = lock->until_ms;
    r->legal_hold = lock->hold;
}

/* ---- versions ---- */

static bool remove_version(struct model *m, int key, uint64_t named, bool *ret_marker)
{
    struct model_object *o = find_version(m, key, named), *older = m->older[key];
    *ret_marker = o && o->marker;
    if (!o)
        return false;
    m->versions_gone++;
    if (o == &m->objects[key]) {
        *o = m->older_count[key] ? older[0] : (struct model_object){0};
        m->promoted += m->older_count[key] > 0;
        if (m->older_count[key] == 0)
            return true;
        o = &older[0];
    }
    memmove(o, o + 1, (size_t)((char *)&older[m->older_count[key]] - (char *)(o + 1)));
    m->older_count[key]--;
    return true;
}

/* Something else is about to be the current version. */
static void displace(struct model *m, int key)
{
    bool ignored;
    struct model_object *o = &m->objects[key], *older = m->older[key];
    if (m->mode != CAIRN__VERSIONING__VERSIONING_ENABLED && m->mode)
        remove_version(m, key, VERSION_NULL, &ignored);
    if (m->mode && is_there(o)) {
        assert_true(m->older_count[key] < OLDER);
        memmove(older + 1, older, m->older_count[key] * sizeof(*older));
        older[0] = *o;
        m->older_count[key]++;
    }
    *o = (struct model_object){.versioned = m->mode == CAIRN__VERSIONING__VERSIONING_ENABLED};
}

static bool key_full(const struct model *m, int key)
{
    return m->mode && m->older_count[key] == OLDER;
}

static void set_marker(struct model *m, int key)
{
    displace(m, key);
    m->objects[key].marker = true;
    m->objects[key].version = index_applied(m->w.index);
    m->objects[key].mtime_ms = m->w.now_ms;
    m->markers++;
}

/* Some name for a version: mostly of one that is there. */
static uint64_t random_version(struct model *m, int key)
{
    size_t i = rng_below(&m->r, m->older_count[key] + 3);
    if (i == 0)
        return VERSION_NULL;
    if (i == 1)
        return m->objects[key].version + 1;
    const struct model_object *o = i == 2 ? &m->objects[key] : &m->older[key][i - 3];
    return o->versioned ? o->version : VERSION_NULL;
}

/* ---- commands ---- */

static void set_object(struct model *m, int key, const struct cmd *c, const char *body)
{
    struct model_object *o = &m->objects[key];
    displace(m, key);
    o->present = true;
    o->size = c->record.size;
    o->version = index_applied(m->w.index);
    o->mtime_ms = m->w.now_ms;
    assert_true(m->w.out->version == (o->versioned ? o->version : 0));
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
        b->interim[i] = c->segments[i].interim;
    }
}

static void flag_segments(struct model *m, struct cmd *c, size_t segments)
{
    for (size_t i = 0; i < segments; i++)
        c->segments[i].interim = rng_below(&m->r, 3) == 0;
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
    if (key_full(m, key))
        return;
    if (segments) {
        cmd_put_segments(&m->w, &c, m->keys[key], segments, 2 + rng_below(&m->r, 15));
    } else {
        if (rng_below(&m->r, 4))
            snprintf(body, sizeof(body), "body-%llu", (unsigned long long)m->w.next_id);
        cmd_put_inline(&m->w, &c, m->keys[key], slice_cstr(body));
    }
    flag_segments(m, &c, segments);
    struct model_lock lock = random_lock(m);
    lock_record(&c.record, &lock);
    if (lock.mode && rng_below(&m->r, 2)) {
        c.put.retain_ms = 1 + rng_below(&m->r, 300 * 1000);
        lock.until_ms = m->w.now_ms + c.put.retain_ms;
    }
    bool holds = random_condition(m, &m->objects[key], &condition, etags);
    bool locked = holds && null_locked(m, key, false);
    c.put.condition = &condition;
    bool existed = m->objects[key].present;
    if (name_condemned(m, &c, segments)) {
        assert_int_equal(run(m, &c), ERR_CONDEMNED);
        return;
    }
    assert_int_equal(run(m, &c), locked ? ERR_LOCKED : holds ? OK : ERR_PRECONDITION);
    assert_int_equal(m->w.out->existed, existed);
    m->refused_conditions += !holds;
    if (holds && !locked) {
        note_blobs(m, &c, segments);
        set_object(m, key, &c, segments ? NULL : body);
        m->objects[key].lock = lock;
        set_blobs(&m->objects[key].blobs, &c, segments);
    }
}

/* What a deletion does to the model, how it must end, and which marks it must have. */
static int model_delete(struct model *m, int key, uint64_t version, bool bypass, uint8_t *ret_marks)
{
    bool marker = false;
    const struct model_object *o = find_version(m, key, version ? version : VERSION_NULL);
    bool named = version != VERSION_NONE || !m->mode;
    *ret_marks = 0;
    bool again =
        !named && m->objects[key].marker && m->objects[key].version == index_applied(m->w.index);
    if (named ? o && is_locked(m, o, bypass) : !again && null_locked(m, key, bypass)) {
        m->refused_locked += named;
        *ret_marks = o->marker ? DELETE_MARKER_DELETED : 0;
        return ERR_LOCKED;
    }
    m->bypassed += bypass && named && o && is_locked(m, o, false);
    if (!named) {
        if (!m->objects[key].marker || m->objects[key].version != index_applied(m->w.index))
            set_marker(m, key);
        *ret_marks = DELETE_MARKER_MADE;
        return OK;
    }
    remove_version(m, key, version ? version : VERSION_NULL, &marker);
    *ret_marks = marker ? DELETE_MARKER_DELETED : 0;
    return OK;
}

static void step_delete(struct model *m)
{
    struct cmd c;
    Cairn__Condition condition;
    char *etags[2];
    int key = (int)rng_below(&m->r, KEYS);
    if (key_full(m, key))
        return;
    cmd_delete(&m->w, &c, m->keys[key]);
    c.del.owner_id = (char *)(uintptr_t) "owner";
    bool holds = random_condition(m, &m->objects[key], &condition, etags);
    c.del.condition = &condition;
    c.del.bypass_governance = rng_below(&m->r, 2) != 0;
    bool existed = m->objects[key].present;
    uint8_t marks;
    int err = run(m, &c);
    assert_int_equal(m->w.out->existed, existed);
    if (!holds) {
        assert_int_equal(err, ERR_PRECONDITION);
        return;
    }
    assert_int_equal(err, model_delete(m, key, VERSION_NONE, c.del.bypass_governance, &marks));
    if (err)
        return;
    assert_int_equal(m->w.out->marks, marks);
    assert_true(m->w.out->version == (m->objects[key].versioned ? m->objects[key].version : 0));
}

static void step_delete_version(struct model *m)
{
    struct cmd c;
    int key = (int)rng_below(&m->r, KEYS);
    cmd_delete(&m->w, &c, m->keys[key]);
    c.del.version = random_version(m, key);
    c.del.bypass_governance = rng_below(&m->r, 2) != 0;
    bool existed = find_version(m, key, c.del.version) != NULL;
    uint8_t marks;
    int err = run(m, &c);
    assert_int_equal(m->w.out->existed, existed);
    assert_int_equal(err, model_delete(m, key, c.del.version, c.del.bypass_governance, &marks));
    assert_int_equal(m->w.out->marks, marks);
}

/* Retention and hold of some version. */
static void step_lock(struct model *m)
{
    struct cmd c;
    Cairn__PutObjectLock op = CAIRN__PUT_OBJECT_LOCK__INIT;
    int key = (int)rng_below(&m->r, KEYS);
    if (m->mode != CAIRN__VERSIONING__VERSIONING_ENABLED)
        return;
    struct model_lock lock = random_lock(m);
    cmd_init(&m->w, &c);
    op.bucket_id = BUCKET;
    op.key = (ProtobufCBinaryData){m->keys[key].len, (uint8_t *)(uintptr_t)m->keys[key].ptr};
    op.version = rng_below(&m->r, 4) ? random_version(m, key) : VERSION_NONE;
    op.sets_retention = lock.mode || rng_below(&m->r, 4) == 0;
    op.lock_mode = lock.mode;
    op.retain_until_ms = lock.until_ms;
    op.legal_hold = (Cairn__LegalHold)(rng_below(&m->r, 4) ? 2 : rng_below(&m->r, 3));
    op.bypass_governance = rng_below(&m->r, 2) != 0;
    c.touches[c.msg.n_touches++] = keyhash_object(BUCKET, m->keys[key]);
    c.msg.op_case = CAIRN__COMMAND__OP_PUT_OBJECT_LOCK;
    c.msg.put_object_lock = &op;
    struct model_object *o = op.version ? find_version(m, key, op.version) : &m->objects[key];
    int want = o && o->present ? OK : ERR_NOT_FOUND;
    if (!want && op.sets_retention && o->lock.until_ms > m->w.now_ms) {
        bool longer = o->lock.mode == op.lock_mode && op.retain_until_ms >= o->lock.until_ms;
        bool may = o->lock.mode == CAIRN__LOCK_MODE__LOCK_GOVERNANCE && op.bypass_governance;
        want = longer || may ? OK : ERR_LOCKED;
    }
    m->refused_locks += want == ERR_LOCKED;
    assert_int_equal(run(m, &c), want);
    if (want)
        return;
    if (op.sets_retention) {
        o->lock.mode = op.lock_mode;
        o->lock.until_ms = op.retain_until_ms;
    }
    if (op.legal_hold)
        o->lock.hold = op.legal_hold;
}

/* Of few keys, so that the same one is often named with and without versions. */
static void step_delete_many(struct model *m)
{
    enum { MANY = 8 };
    struct cmd c;
    ProtobufCBinaryData keys[MANY];
    uint64_t touches[MANY], versions[MANY];
    int which[MANY], from = (int)rng_below(&m->r, KEYS - 3);
    Cairn__Condition conditions[MANY], *condition_ptrs[MANY];
    Cairn__DeleteObjects op = CAIRN__DELETE_OBJECTS__INIT;
    cmd_init(&m->w, &c);
    op.bucket_id = BUCKET;
    op.owner_id = (char *)(uintptr_t) "owner";
    op.keys = keys;
    op.n_keys = 1 + rng_below(&m->r, MANY);
    op.versions = versions;
    op.n_versions = m->mode || rng_below(&m->r, 2) ? op.n_keys : 0;
    op.conditions = condition_ptrs;
    op.n_conditions = rng_below(&m->r, 2) ? op.n_keys : 0;
    op.bypass_governance = rng_below(&m->r, 2) != 0;
    for (size_t i = 0; i < op.n_keys; i++) {
        int key = which[i] = from + (int)rng_below(&m->r, 3);
        if (key_full(m, key))
            return;
        keys[i] = (ProtobufCBinaryData){m->keys[key].len, (uint8_t *)(uintptr_t)m->keys[key].ptr};
        touches[i] = keyhash_object(BUCKET, m->keys[key]);
        versions[i] = op.n_versions && rng_below(&m->r, 2) ? random_version(m, key) : VERSION_NONE;
        cairn__condition__init(condition_ptrs[i] = &conditions[i]);
        conditions[i].if_present = rng_below(&m->r, 4) == 0;
    }
    c.msg.touches = touches;
    c.msg.n_touches = op.n_keys;
    c.msg.op_case = CAIRN__COMMAND__OP_DELETE_OBJECTS;
    c.msg.delete_objects = &op;
    assert_int_equal(run(m, &c), OK);
    const Cairn__Outcome *out = m->w.out;
    for (size_t i = 0; i < op.n_keys; i++) {
        bool refused = op.n_conditions && conditions[i].if_present && !m->objects[which[i]].present;
        uint8_t marks = 0;
        int want = refused ? ERR_PRECONDITION
                           : model_delete(m, which[i], versions[i], op.bypass_governance, &marks);
        assert_int_equal(out->n_key_errs ? out->key_errs[i] : OK, want);
        assert_int_equal(out->key_marks.len ? out->key_marks.data[i] : 0, marks);
    }
}

/* The setting changes: with its fence, or before it gets here.  From then on nobody may assume that
 * nothing keeps versions. */
static void step_setting(struct model *m)
{
    struct cmd c;
    m->settings++;
    m->mode = rng_below(&m->r, 3) ? CAIRN__VERSIONING__VERSIONING_ENABLED
                                  : CAIRN__VERSIONING__VERSIONING_SUSPENDED;
    if (rng_below(&m->r, 2)) {
        cmd_fence(&m->w, &c, BUCKET, m->settings, false);
        c.fence.versioning = m->mode;
        assert_int_equal(run(m, &c), OK);
    } else {
        cmd_delete(&m->w, &c, m->keys[0]);
        c.del.version = UINT64_MAX - 1; /* which nobody has */
        assert_int_equal(run(m, &c), OK);
    }
    for (uint64_t settings = m->settings - 1; settings <= m->settings + 1; settings++) {
        cmd_put_inline(&m->w, &c, m->keys[rng_below(&m->r, KEYS)], SLICE_LIT("lost"));
        c.msg.settings_version = settings;
        assert_int_equal(world_run(&m->w, &c), ERR_SETTINGS);
    }
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
    u->lock = random_lock(m);
    lock_record(&c.record, &u->lock);
    assert_int_equal(run(m, &c), OK);
}

static void step_put_part(struct model *m)
{
    struct cmd c;
    struct model_upload *u = &m->uploads[rng_below(&m->r, UPLOADS)];
    uint32_t number = 1 + (uint32_t)rng_below(&m->r, PART_NUMBERS);
    size_t segments = rng_below(&m->r, 3);
    cmd_put_part(&m->w, &c, m->keys[u->key], &u->id, number, 4 + rng_below(&m->r, 8), segments);
    flag_segments(m, &c, segments);
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
    if (n == 0 || key_full(m, u->key))
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
    else if (!want && null_locked(m, u->key, false))
        want = ERR_LOCKED;
    int err = run(m, &c);
    if (!u->live && err == OK) /* completed before, and still the object: S3 says yes again */
        return;
    assert_int_equal(err, want);
    if (want)
        return;
    set_object(m, u->key, &c, NULL);
    struct model_object *o = &m->objects[u->key];
    o->lock = u->lock;
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
    expect_refs(&m->w, m->keys[key], &c, referred);
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
    bool older = r->object && r->object != &m->objects[key];
    if (older || (r->object && rng_below(&m->r, 2)))
        c.move.version = r->object->version;
    flag_segments(m, &c, 1);
    if (name_condemned(m, &c, 1)) {
        assert_int_equal(run(m, &c), ERR_CONDEMNED);
        return;
    }
    assert_int_equal(run(m, &c), named ? OK : ERR_NOT_FOUND);
    if (!named)
        return;
    note_blobs(m, &c, 1);
    r->blobs->ids[at] = c.blob_ids[0];
    r->blobs->interim[at] = c.segments[0].interim;
    m->moved++;
    m->moved_older += older;
    m->moved_parts += r->upload_id != NULL;
}

/* ---- the run ---- */

static void model_step(struct model *m)
{
    m->w.now_ms += rng_below(&m->r, 3) * 400;
    switch (rng_below(&m->r, m->step < STEPS_UNVERSIONED ? 19 : 30)) {
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
    case 18:
        check_list(m);
        check_uploads(m);
        break;
    case 19: check_versions(m); break;
    case 20:
        if (m->mode == CAIRN__VERSIONING__VERSIONING_OFF || rng_below(&m->r, 8) == 0)
            step_setting(m);
        break;
    case 21:
    case 22:
    case 23: step_lock(m); break;
    default: step_delete_version(m);
    }
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, ID_BYTES);
}

/* Nothing is locked any more: holds are lifted, dates are over. */
static void release_all(struct model *m)
{
    m->mode = CAIRN__VERSIONING__VERSIONING_ENABLED;
    m->settings++;
    for (int i = 0; i < KEYS; i++)
        for (size_t j = 0; j <= m->older_count[i]; j++) {
            struct model_object *o = j ? &m->older[i][j - 1] : &m->objects[i];
            struct cmd c;
            Cairn__PutObjectLock op = CAIRN__PUT_OBJECT_LOCK__INIT;
            if (o->lock.hold != CAIRN__LEGAL_HOLD__HOLD_ON)
                continue;
            cmd_init(&m->w, &c);
            op.bucket_id = BUCKET;
            op.key = (ProtobufCBinaryData){m->keys[i].len, (uint8_t *)(uintptr_t)m->keys[i].ptr};
            op.version = o->versioned ? o->version : VERSION_NULL;
            op.legal_hold = o->lock.hold = CAIRN__LEGAL_HOLD__HOLD_OFF;
            c.touches[c.msg.n_touches++] = keyhash_object(BUCKET, m->keys[i]);
            c.msg.op_case = CAIRN__COMMAND__OP_PUT_OBJECT_LOCK;
            c.msg.put_object_lock = &op;
            assert_int_equal(run(m, &c), OK);
        }
    m->w.now_ms += 700 * 1000;
}

/* Everything is deleted in the end: every blob that was ever stored is let go, each once. */
static void check_blobs(struct model *m, struct buf *gone)
{
    struct cmd c;
    uint8_t marks;
    release_all(m);
    for (int i = 0; i < KEYS; i++)
        while (is_there(&m->objects[i])) {
            const struct model_object *o =
                m->older_count[i] && rng_below(&m->r, 2) ? &m->older[i][0] : &m->objects[i];
            cmd_delete(&m->w, &c, m->keys[i]);
            c.del.version = o->versioned ? o->version : VERSION_NULL;
            assert_int_equal(run(m, &c), OK);
            assert_int_equal(model_delete(m, i, c.del.version, false, &marks), OK);
        }
    for (int i = 0; i < UPLOADS; i++)
        if (m->uploads[i].live) {
            cmd_abort(&m->w, &c, m->keys[m->uploads[i].key], &m->uploads[i].id);
            assert_int_equal(run(m, &c), OK);
        }
    drain_deletions(&m->w, gone);
    assert_true(gone->len == m->blobs.len && gone->len > 100 * ID_BYTES);
    qsort(gone->ptr, gone->len / ID_BYTES, ID_BYTES, compare_ids);
    qsort(m->blobs.ptr, m->blobs.len / ID_BYTES, ID_BYTES, compare_ids);
    assert_true(slice_eq(buf_view(gone), buf_view(&m->blobs)));
    assert_int_equal(index_interim_count(m->w.index), 0);
    static const uint8_t tables[] = {TABLE_OBJECT, TABLE_UPLOAD,   TABLE_MANIFEST, TABLE_PART,
                                     TABLE_DEAD,   TABLE_DELETION, TABLE_INTERIM};
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
    static struct model m; /* large */
    struct buf gone = {0};
    /* A window short enough that outcomes expire on the way, long enough for the retries kept. */
    struct index_settings settings = {.window_ms = 100 * 1000, .skew_ms = 1000};
    memset(&m, 0, sizeof(m));
    m.r.state = seed;
    m.settings = 1;
    world_init_range(&m.w, 3, SLICE_EMPTY, SLICE_EMPTY, &settings);
    m.w.keep_log = true;
    make_keys(&m);
    for (int i = 0; i < STEPS; i++) {
        m.step = i;
        model_step(&m);
        if (i % 50 == 0) {
            check_objects(&m);
            check_segments(&m);
            check_interim(&m);
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
                m.refs_listed > 500 && m.interim_found > 200);
    assert_true(m.markers > 50 && m.promoted > 50 && m.versions_listed > 200 &&
                m.versions_gone > 100 && m.moved_older > 5);
    assert_true(m.locks > 100 && m.refused_locked > 20 && m.bypassed > 2 && m.refused_locks > 1);
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
