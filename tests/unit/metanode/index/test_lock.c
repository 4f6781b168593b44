/* Object lock: every way in which a version disappears or is replaced, under every lock; who may
 * change a lock; what keeps it; the bucket's side at the root. */
#include "common/base/mutant.h"
#include "metanode/index/keys.h"
#include "world.h"

#include <string.h>

#define ENABLED CAIRN__VERSIONING__VERSIONING_ENABLED
#define SUSPENDED CAIRN__VERSIONING__VERSIONING_SUSPENDED
#define OFF CAIRN__VERSIONING__VERSIONING_OFF
#define NONE CAIRN__LOCK_MODE__LOCK_NONE
#define GOVERNANCE CAIRN__LOCK_MODE__LOCK_GOVERNANCE
#define COMPLIANCE CAIRN__LOCK_MODE__LOCK_COMPLIANCE
#define NEVER CAIRN__LEGAL_HOLD__HOLD_NEVER
#define HOLD CAIRN__LEGAL_HOLD__HOLD_ON
#define RELEASED CAIRN__LEGAL_HOLD__HOLD_OFF
#define KEY SLICE_LIT("k")
#define LATER (START_MS + 3600 * 1000)

static int run_as(struct world *w, struct cmd *c, Cairn__Versioning versioning)
{
    c->msg.versioning = versioning;
    c->msg.settings_version = versioning == OFF ? 1 : 2;
    return world_run(w, c);
}

static uint64_t put_as(struct world *w, Cairn__Versioning versioning)
{
    struct cmd c;
    cmd_put_segments(w, &c, KEY, 2, 100);
    assert_int_equal(run_as(w, &c, versioning), OK);
    return index_applied(w->index);
}

static int lock_with(struct world *w, Cairn__PutObjectLock *op)
{
    struct cmd c;
    cmd_init(w, &c);
    op->bucket_id = BUCKET;
    op->key = bin(KEY);
    c.msg.op_case = CAIRN__COMMAND__OP_PUT_OBJECT_LOCK;
    c.msg.put_object_lock = op;
    c.touches[c.msg.n_touches++] = keyhash_object(BUCKET, KEY);
    return run_as(w, &c, ENABLED);
}

static int retain(struct world *w, uint64_t version, Cairn__LockMode mode, uint64_t until,
                  bool bypass)
{
    Cairn__PutObjectLock op = CAIRN__PUT_OBJECT_LOCK__INIT;
    op.version = version;
    op.sets_retention = true;
    op.lock_mode = mode;
    op.retain_until_ms = until;
    op.bypass_governance = bypass;
    return lock_with(w, &op);
}

static int hold(struct world *w, uint64_t version, Cairn__LegalHold hold)
{
    Cairn__PutObjectLock op = CAIRN__PUT_OBJECT_LOCK__INIT;
    op.version = version;
    op.legal_hold = hold;
    return lock_with(w, &op);
}

static void check_lock(struct world *w, uint64_t version, Cairn__LockMode mode, uint64_t until,
                       Cairn__LegalHold legal_hold)
{
    Cairn__ObjectRecord *r = get_version(w, KEY, version, NULL);
    assert_non_null(r);
    assert_int_equal(r->lock_mode, mode);
    assert_true(r->retain_until_ms == until);
    assert_int_equal(r->legal_hold, legal_hold);
    cairn__object_record__free_unpacked(r, NULL);
}

/* ---- ways to go ---- */

static int delete_version(struct world *w, uint64_t version, bool bypass)
{
    struct cmd c;
    cmd_delete(w, &c, KEY);
    c.del.version = version;
    c.del.bypass_governance = bypass;
    return run_as(w, &c, ENABLED);
}

/* What the entry says of the last of the versions. */
static int delete_many(struct world *w, uint64_t *versions, size_t n, bool bypass,
                       Cairn__Versioning versioning)
{
    struct cmd c;
    ProtobufCBinaryData keys[4] = {bin(KEY), bin(KEY), bin(KEY), bin(KEY)};
    Cairn__DeleteObjects op = CAIRN__DELETE_OBJECTS__INIT;
    cmd_init(w, &c);
    op.bucket_id = BUCKET;
    op.keys = keys;
    op.versions = versions;
    op.n_keys = op.n_versions = n;
    op.bypass_governance = bypass;
    c.msg.op_case = CAIRN__COMMAND__OP_DELETE_OBJECTS;
    c.msg.delete_objects = &op;
    c.touches[c.msg.n_touches++] = keyhash_object(BUCKET, KEY);
    assert_int_equal(run_as(w, &c, versioning), OK);
    for (size_t i = 0; i + 1 < n && w->out->n_key_errs; i++)
        assert_int_equal(w->out->key_errs[i], OK);
    return w->out->n_key_errs ? w->out->key_errs[n - 1] : OK;
}

static int complete_as(struct world *w, Cairn__Versioning versioning)
{
    struct cmd c;
    struct id128 id = fresh_id(w);
    char etag[33];
    cmd_create_upload(w, &c, KEY, &id);
    assert_int_equal(run_as(w, &c, versioning), OK);
    cmd_put_part(w, &c, KEY, &id, 1, 10, 1);
    assert_int_equal(run_as(w, &c, versioning), OK);
    memcpy(etag, c.etag, sizeof(etag));
    Cairn__CompletePart part = CAIRN__COMPLETE_PART__INIT, *parts[] = {&part};
    part.number = 1;
    part.etag = etag;
    cmd_complete(w, &c, KEY, &id, parts, 1, 10);
    return run_as(w, &c, versioning);
}

enum way {
    NAMED,           /* DeleteObject of the current version */
    NAMED_OLDER,     /* ... of an older one */
    NAMED_NULL,      /* ... of the null version */
    MANY,            /* DeleteObjects */
    MANY_OLDER,      /* ... after it has deleted the current one */
    MANY_UNNAMED,    /* ... whose delete marker is the null version */
    PUT_OVER_NULL,   /* in a suspended bucket, where the null version is the current one */
    PUT_BESIDE_NULL, /* ... an older one */
    COMPLETE_OVER_NULL,
    MARKER_OVER_NULL, /* DeleteObject in a suspended bucket */
    MARKER_BESIDE_NULL,
    WAYS
};

static bool can_bypass(enum way way)
{
    return way <= MANY_UNNAMED || way == MARKER_OVER_NULL || way == MARKER_BESIDE_NULL;
}

/* The key with the version that is to go, and how it is named. */
static uint64_t prepare(struct world *w, enum way way)
{
    bool null = way == NAMED_NULL || way >= MANY_UNNAMED;
    uint64_t version = put_as(w, null ? SUSPENDED : ENABLED);
    if (way == NAMED_OLDER || way == MANY_OLDER || way == PUT_BESIDE_NULL ||
        way == MARKER_BESIDE_NULL)
        put_as(w, ENABLED);
    return null ? VERSION_NULL : version;
}

static int go(struct world *w, enum way way, uint64_t version, bool bypass)
{
    struct cmd c;
    switch (way) {
    case NAMED:
    case NAMED_OLDER:
    case NAMED_NULL: return delete_version(w, version, bypass);
    case MANY: return delete_many(w, &version, 1, bypass, ENABLED);
    case MANY_OLDER: {
        Cairn__ObjectRecord *r = get(w, KEY, NULL);
        uint64_t versions[2] = {r->version, version};
        bool again = r->version == version; /* tried before: it is the current one now */
        cairn__object_record__free_unpacked(r, NULL);
        return delete_many(w, versions + again, again ? 1 : 2, bypass, ENABLED);
    }
    case MANY_UNNAMED:
        version = VERSION_NONE;
        return delete_many(w, &version, 1, bypass, SUSPENDED);
    case COMPLETE_OVER_NULL: return complete_as(w, SUSPENDED);
    case PUT_OVER_NULL:
    case PUT_BESIDE_NULL: cmd_put_inline(w, &c, KEY, SLICE_LIT("new")); break;
    default: cmd_delete(w, &c, KEY); c.del.bypass_governance = bypass;
    }
    return run_as(w, &c, SUSPENDED);
}

/* The very record that was locked is still there. */
static bool is_there(struct world *w, uint64_t version, uint64_t made)
{
    Cairn__ObjectRecord *r = get_version(w, KEY, version, NULL);
    bool there = r && r->version == made && r->n_segments == 2;
    if (r)
        cairn__object_record__free_unpacked(r, NULL);
    return there;
}

static const struct lock {
    Cairn__LockMode mode;
    uint64_t until;
    Cairn__LegalHold hold;
    bool forbids, forbids_bypass;
    bool ends; /* at its date */
} locks[] = {
    {NONE, 0, NEVER, false, false, true},
    {NONE, 0, RELEASED, false, false, true},
    {NONE, 0, HOLD, true, true, false},
    {GOVERNANCE, LATER, NEVER, true, false, true},
    {GOVERNANCE, LATER, RELEASED, true, false, true},
    {GOVERNANCE, LATER, HOLD, true, true, false},
    {GOVERNANCE, START_MS, NEVER, false, false, true},
    {COMPLIANCE, LATER, NEVER, true, true, true},
    {COMPLIANCE, LATER, HOLD, true, true, false},
    {COMPLIANCE, START_MS, NEVER, false, false, true},
    {COMPLIANCE, START_MS, HOLD, true, true, false},
};

static void try_way(enum way way, const struct lock *l, bool bypass)
{
    struct world w;
    struct buf blobs = {0};
    bool forbids = bypass ? l->forbids_bypass : l->forbids;
    world_init(&w, 3);
    w.now_ms = START_MS;
    uint64_t version = prepare(&w, way);
    Cairn__ObjectRecord *r = get_version(&w, KEY, version, NULL);
    uint64_t made = r->version;
    cairn__object_record__free_unpacked(r, NULL);
    if (l->mode)
        assert_int_equal(retain(&w, version, l->mode, l->until, false), OK);
    if (l->hold)
        assert_int_equal(hold(&w, version, l->hold), OK);
    world_reopen(&w);
    w.now_ms = LATER - 1;
    assert_int_equal(go(&w, way, version, bypass), forbids ? ERR_LOCKED : OK);
    assert_int_equal(is_there(&w, version, made), forbids);
    if (forbids) {
        check_lock(&w, version, l->mode, l->until, l->hold);
        drain_deletions(&w, &blobs);
        assert_int_equal(blobs.len, way == MANY_OLDER ? 2 * ID_BYTES : 0);
        w.now_ms = LATER;
        assert_int_equal(go(&w, way, version, bypass), l->ends ? OK : ERR_LOCKED);
        assert_int_equal(is_there(&w, version, made), !l->ends);
        if (!l->ends) {
            assert_int_equal(hold(&w, version, RELEASED), OK);
            assert_int_equal(go(&w, way, version, bypass), OK);
        }
        assert_false(is_there(&w, version, made));
    }
    buf_fini(&blobs);
    world_fini(&w);
}

static void no_way_leads_past_a_lock(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++)
        for (size_t i = 0; i < ARRAY_COUNT(locks); i++) {
            try_way((enum way)way, &locks[i], false);
            if (can_bypass((enum way)way))
                try_way((enum way)way, &locks[i], true);
        }
}

/* What covers a version does not take it away; a bucket that keeps nothing has no locks. */
static void what_is_covered_stays(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    world_init(&w, 3);
    uint64_t version = put_as(&w, ENABLED);
    assert_int_equal(retain(&w, VERSION_NONE, COMPLIANCE, LATER, false), OK);
    assert_int_equal(delete_version(&w, VERSION_NONE, false), OK);
    put_as(&w, ENABLED);
    put_as(&w, SUSPENDED);
    check_lock(&w, version, COMPLIANCE, LATER, NEVER);
    cmd_put_inline(&w, &c, KEY, SLICE_LIT("x"));
    assert_int_equal(run_as(&w, &c, OFF), ERR_SETTINGS);
    cmd_delete(&w, &c, KEY);
    assert_int_equal(run_as(&w, &c, OFF), ERR_SETTINGS);
    assert_true(is_there(&w, version, version));
    /* Its fence finds the bucket not empty, and what is sealed is not locked or let go. */
    cmd_fence(&w, &c, BUCKET, 3, true);
    assert_int_equal(world_run(&w, &c), OK);
    assert_false(w.out->empty);
    assert_int_equal(hold(&w, version, HOLD), ERR_SETTINGS);
    world_fini(&w);
}

/* ---- who may change a lock ---- */

static void compliance_only_grows(void **state)
{
    (void)state;
    static const struct {
        Cairn__LockMode mode;
        int64_t until; /* from what it was */
        int of_none, of_governance, of_bypassed, of_compliance;
    } changes[] = {
        {NONE, 0, OK, ERR_LOCKED, OK, ERR_LOCKED},
        {GOVERNANCE, -1, OK, ERR_LOCKED, OK, ERR_LOCKED},
        {GOVERNANCE, 0, OK, OK, OK, ERR_LOCKED},
        {GOVERNANCE, 1, OK, OK, OK, ERR_LOCKED},
        {COMPLIANCE, -1, OK, ERR_LOCKED, OK, ERR_LOCKED},
        {COMPLIANCE, 0, OK, ERR_LOCKED, OK, OK},
        {COMPLIANCE, 1, OK, ERR_LOCKED, OK, OK},
    };
    for (size_t i = 0; i < ARRAY_COUNT(changes); i++)
        for (int from = NONE; from <= COMPLIANCE; from++)
            for (int bypass = 0; bypass < 2; bypass++)
                for (int over = 0; over < 2; over++) {
                    struct world w;
                    int want = from == COMPLIANCE ? changes[i].of_compliance
                               : from == GOVERNANCE
                                   ? bypass ? changes[i].of_bypassed : changes[i].of_governance
                                   : changes[i].of_none;
                    uint64_t until = changes[i].mode ? LATER + (uint64_t)changes[i].until : 0;
                    world_init(&w, 3);
                    uint64_t version = put_as(&w, ENABLED);
                    put_as(&w, ENABLED);
                    if (from)
                        assert_int_equal(retain(&w, version, (Cairn__LockMode)from, LATER, false),
                                         OK);
                    w.now_ms = over ? LATER : LATER - 1;
                    want = over ? OK : want;
                    assert_int_equal(retain(&w, version, changes[i].mode, until, bypass), want);
                    if (want == OK)
                        check_lock(&w, version, changes[i].mode, until, NEVER);
                    else
                        check_lock(&w, version, (Cairn__LockMode)from, LATER, NEVER);
                    world_fini(&w);
                }
}

static void locks_are_of_versions(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3);
    assert_int_equal(hold(&w, VERSION_NONE, HOLD), ERR_NOT_FOUND);
    uint64_t version = put_as(&w, ENABLED);
    assert_int_equal(hold(&w, version + 1, HOLD), ERR_NOT_FOUND);
    assert_int_equal(hold(&w, VERSION_NULL, HOLD), ERR_NOT_FOUND);
    assert_int_equal(hold(&w, VERSION_NONE, HOLD), OK);
    /* One says nothing of the other. */
    assert_int_equal(retain(&w, version, GOVERNANCE, LATER, false), OK);
    check_lock(&w, version, GOVERNANCE, LATER, HOLD);
    assert_int_equal(hold(&w, version, RELEASED), OK);
    check_lock(&w, version, GOVERNANCE, LATER, RELEASED);
    assert_int_equal(retain(&w, version, NONE, 0, true), OK);
    check_lock(&w, version, NONE, 0, RELEASED);
    /* A delete marker has none. */
    assert_int_equal(delete_version(&w, VERSION_NONE, false), OK);
    assert_int_equal(hold(&w, VERSION_NONE, HOLD), ERR_NOT_FOUND);
    assert_int_equal(hold(&w, index_applied(w.index) - 1, HOLD), ERR_NOT_FOUND);
    world_fini(&w);
}

/* ---- how a version gets its lock, and keeps it ---- */

static void a_default_counts_from_the_entry(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    world_init(&w, 3);
    w.now_ms = START_MS;
    cmd_put_inline(&w, &c, KEY, SLICE_LIT("x"));
    c.record.lock_mode = COMPLIANCE;
    c.put.retain_ms = 1000;
    c.msg.issued_ms = START_MS - 500;
    assert_int_equal(run_as(&w, &c, ENABLED), OK);
    uint64_t version = w.out->version;
    check_lock(&w, version, COMPLIANCE, START_MS + 1000, NEVER);
    w.now_ms += 100; /* sent again: as it was */
    c.msg.time_ms = w.now_ms;
    assert_int_equal(run_as(&w, &c, ENABLED), OK);
    check_lock(&w, version, COMPLIANCE, START_MS + 1000, NEVER);
    w.now_ms = START_MS + 999;
    assert_int_equal(delete_version(&w, version, true), ERR_LOCKED);
    w.now_ms = START_MS + 1000;
    assert_int_equal(delete_version(&w, version, false), OK);
    world_fini(&w);
}

static void complete(struct world *w, struct id128 *id, const char *etag, Cairn__LockMode mode,
                     uint64_t until, uint64_t retain_ms, Cairn__LegalHold legal_hold)
{
    struct cmd c;
    Cairn__CompletePart part = CAIRN__COMPLETE_PART__INIT, *parts[] = {&part};
    part.number = 1;
    part.etag = (char *)(uintptr_t)etag;
    cmd_complete(w, &c, KEY, id, parts, 1, 10);
    c.record.lock_mode = mode;
    c.record.retain_until_ms = until;
    c.record.legal_hold = legal_hold;
    c.complete.retain_ms = retain_ms;
    assert_int_equal(run_as(w, &c, ENABLED), OK);
}

/* The upload's own lock counts, whatever who completes it says; else the default does. */
static void an_uploads_lock_is_its_objects(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        bool retains = i & 1, holds = i & 2;
        struct world w;
        struct cmd c;
        char etag[33];
        world_init(&w, 3);
        struct id128 id = fresh_id(&w);
        cmd_create_upload(&w, &c, KEY, &id);
        c.record.lock_mode = retains ? COMPLIANCE : NONE;
        c.record.retain_until_ms = retains ? LATER : 0;
        c.record.legal_hold = holds ? HOLD : NEVER;
        assert_int_equal(run_as(&w, &c, ENABLED), OK);
        cmd_put_part(&w, &c, KEY, &id, 1, 10, 0);
        assert_int_equal(run_as(&w, &c, ENABLED), OK);
        memcpy(etag, c.etag, sizeof(etag));
        w.now_ms += 5000;
        complete(&w, &id, etag, GOVERNANCE, START_MS, 1000, RELEASED);
        check_lock(&w, w.out->version, retains ? COMPLIANCE : GOVERNANCE,
                   retains ? LATER : w.now_ms + 1000, holds ? HOLD : RELEASED);
        world_fini(&w);
    }
}

static void a_lock_stays_with_its_version(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    struct id128 from;
    Cairn__PutObjectTags tags = CAIRN__PUT_OBJECT_TAGS__INIT;
    world_init(&w, 3);
    cmd_put_segments(&w, &c, KEY, 2, 100);
    from = c.blob_ids[0];
    c.record.lock_mode = COMPLIANCE;
    c.record.retain_until_ms = LATER;
    c.record.legal_hold = HOLD;
    assert_int_equal(run_as(&w, &c, ENABLED), OK);
    uint64_t version = w.out->version;
    for (int i = 0; i < 3; i++) {
        if (i == 1) /* pushed aside */
            put_as(&w, ENABLED);
        if (i == 2) { /* and back */
            Cairn__ObjectRecord *r = get(&w, KEY, NULL);
            assert_int_equal(delete_version(&w, r->version, false), OK);
            cairn__object_record__free_unpacked(r, NULL);
        }
        check_lock(&w, version, COMPLIANCE, LATER, HOLD);
        cmd_move(&w, &c, KEY, &from, 50);
        c.move.version = version;
        assert_int_equal(run_as(&w, &c, ENABLED), OK);
        from = c.blob_ids[0];
        check_lock(&w, version, COMPLIANCE, LATER, HOLD);
        cmd_init(&w, &c);
        tags.bucket_id = BUCKET;
        tags.key = bin(KEY);
        tags.version = version;
        c.msg.op_case = CAIRN__COMMAND__OP_PUT_OBJECT_TAGS;
        c.msg.put_object_tags = &tags;
        c.touches[c.msg.n_touches++] = keyhash_object(BUCKET, KEY);
        assert_int_equal(run_as(&w, &c, ENABLED), OK);
        check_lock(&w, version, COMPLIANCE, LATER, HOLD);
    }
    world_fini(&w);
}

static void limits(void **state)
{
    (void)state;
    static const struct {
        Cairn__Versioning versioning;
        Cairn__LockMode mode;
        uint64_t until, retain_ms;
        Cairn__LegalHold hold;
        int want;
    } cases[] = {
        {ENABLED, NONE, 0, 0, NEVER, OK},
        {ENABLED, GOVERNANCE, INDEX_RETAIN_UNTIL_MS_MAX, 0, HOLD, OK},
        {ENABLED, COMPLIANCE, 0, INDEX_RETAIN_MS_MAX, RELEASED, OK},
        {ENABLED, COMPLIANCE, 0, 0, NEVER, ERR_REFUSED},
        {ENABLED, NONE, LATER, 0, NEVER, ERR_REFUSED},
        {ENABLED, NONE, 0, 1, NEVER, ERR_REFUSED},
        {ENABLED, (Cairn__LockMode)3, LATER, 0, NEVER, ERR_REFUSED},
        {ENABLED, COMPLIANCE, INDEX_RETAIN_UNTIL_MS_MAX + 1, 0, NEVER, ERR_REFUSED},
        {ENABLED, COMPLIANCE, 0, INDEX_RETAIN_MS_MAX + 1, NEVER, ERR_REFUSED},
        {ENABLED, NONE, 0, 0, (Cairn__LegalHold)3, ERR_REFUSED},
        {SUSPENDED, COMPLIANCE, LATER, 0, NEVER, ERR_REFUSED},
        {OFF, COMPLIANCE, LATER, 0, NEVER, ERR_REFUSED},
        {OFF, NONE, 0, 0, HOLD, ERR_REFUSED},
        {OFF, NONE, 0, 0, NEVER, OK},
    };
    struct world w;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct cmd c;
        world_init(&w, 3);
        cmd_put_inline(&w, &c, KEY, SLICE_LIT("x"));
        c.record.lock_mode = cases[i].mode;
        c.record.retain_until_ms = cases[i].until;
        c.record.legal_hold = cases[i].hold;
        c.put.retain_ms = cases[i].retain_ms;
        assert_int_equal(run_as(&w, &c, cases[i].versioning), cases[i].want);
        world_fini(&w);
    }
    world_init(&w, 3);
    uint64_t version = put_as(&w, ENABLED);
    assert_int_equal(retain(&w, version, COMPLIANCE, 0, true), ERR_REFUSED);
    assert_int_equal(retain(&w, version, NONE, LATER, true), ERR_REFUSED);
    assert_int_equal(hold(&w, version, (Cairn__LegalHold)3), ERR_REFUSED);
    world_fini(&w);
}

/* ---- buckets ---- */

static char *const name = (char *)(uintptr_t) "bucket";

static int root_run(struct world *root, struct cmd *c)
{
    c->touches[c->msg.n_touches++] = keyhash_bucket(slice_cstr(name));
    return world_run(root, c);
}

static uint64_t create(struct world *root, bool lock)
{
    struct cmd c;
    cmd_create_bucket(root, &c, name);
    c.bucket.object_lock = lock;
    assert_int_equal(world_run(root, &c), OK);
    return root->out->bucket_id;
}

static int set_versioning(struct world *root, uint64_t id, Cairn__Versioning versioning)
{
    struct cmd c;
    Cairn__BeginSetting op = CAIRN__BEGIN_SETTING__INIT;
    cmd_init(root, &c);
    op.name = name;
    op.id = id;
    op.versioning = versioning;
    c.msg.op_case = CAIRN__COMMAND__OP_BEGIN_SETTING;
    c.msg.begin_setting = &op;
    return root_run(root, &c);
}

static int set_lock(struct world *root, uint64_t id, const char *document)
{
    struct cmd c;
    Cairn__PutBucketSetting op = CAIRN__PUT_BUCKET_SETTING__INIT;
    Cairn__BucketSetting setting = CAIRN__BUCKET_SETTING__INIT;
    cmd_init(root, &c);
    op.name = name;
    op.id = id;
    op.setting = &setting;
    setting.kind = CAIRN__SETTING_KIND__SETTING_OBJECT_LOCK;
    setting.document = bin(slice_cstr(document));
    c.msg.op_case = CAIRN__COMMAND__OP_PUT_BUCKET_SETTING;
    c.msg.put_bucket_setting = &op;
    return root_run(root, &c);
}

static void check_bucket(struct world *root, Cairn__Versioning versioning, bool lock, size_t count)
{
    Cairn__BucketRecord *b = read_bucket(root, name);
    assert_int_equal(b->versioning, versioning);
    assert_int_equal(b->object_lock, lock);
    assert_int_equal(b->n_settings, count);
    cairn__bucket_record__free_unpacked(b, NULL);
}

static void a_locked_bucket_keeps_versions(void **state)
{
    (void)state;
    struct world root;
    world_init(&root, ROOT_PARTITION);
    uint64_t id = create(&root, true);
    check_bucket(&root, ENABLED, true, 0);
    assert_int_equal(set_versioning(&root, id, SUSPENDED), ERR_REFUSED);
    assert_int_equal(set_versioning(&root, id, ENABLED), OK);
    assert_int_equal(set_lock(&root, id, "days"), OK);
    assert_int_equal(set_lock(&root, id, ""), OK); /* no default; the lock stays */
    check_bucket(&root, ENABLED, true, 0);
    assert_int_equal(set_versioning(&root, id, SUSPENDED), ERR_REFUSED);
    world_fini(&root);

    world_init(&root, ROOT_PARTITION);
    id = create(&root, false);
    assert_int_equal(set_lock(&root, id, "x"), ERR_REFUSED);
    assert_int_equal(set_versioning(&root, id, ENABLED), OK);
    assert_int_equal(set_versioning(&root, id, SUSPENDED), OK);
    assert_int_equal(set_lock(&root, id, "x"), ERR_REFUSED);
    check_bucket(&root, SUSPENDED, false, 0);
    assert_int_equal(set_versioning(&root, id, ENABLED), OK);
    assert_int_equal(set_lock(&root, id, "x"), OK);
    check_bucket(&root, ENABLED, true, 1);
    assert_int_equal(set_versioning(&root, id, SUSPENDED), ERR_REFUSED);
    check_bucket(&root, ENABLED, true, 1);
    world_fini(&root);
}

static void a_planted_bug_shows(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3);
    uint64_t version = put_as(&w, ENABLED);
    assert_int_equal(retain(&w, version, COMPLIANCE, LATER, false), OK);
    mutant_active = MUTANT_LOCK_IGNORED;
    int err = delete_version(&w, version, false);
    mutant_active = MUTANT_NONE;
    assert_int_equal(err, OK);
    assert_false(is_there(&w, version, version));
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_way_leads_past_a_lock),
        cmocka_unit_test(what_is_covered_stays),
        cmocka_unit_test(compliance_only_grows),
        cmocka_unit_test(locks_are_of_versions),
        cmocka_unit_test(a_default_counts_from_the_entry),
        cmocka_unit_test(an_uploads_lock_is_its_objects),
        cmocka_unit_test(a_lock_stays_with_its_version),
        cmocka_unit_test(limits),
        cmocka_unit_test(a_locked_bucket_keeps_versions),
        cmocka_unit_test(a_planted_bug_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
