/* Proposals under a bucket's settings. */
#include "gateway/op/commit.h"

#include "common/base/check.h"
#include "gateway/op/quota.h"

#include <stdlib.h>

#define TRIES_MAX 12
#define WAIT_FIRST_NS (8 * NS_PER_MS) /* doubles up to 64 times: about three seconds in all */

/* Rare, and large: not in every commit. */
struct commit_again {
    struct commit *commit;
    struct meta_read read;
};

static void propose_cb(struct meta_propose *p);
static void commit_allowed(struct commit *c);

static void commit_end(struct commit *c, int err)
{
    c->err = err;
    c->outcome = c->propose.outcome;
    events_account(c->req->gw, c->req->s3.bucket, c->outcome);
    quota_committed(c->req, &c->propose.command, err);
    c->cb(c);
}

/* The data have waited for so long that they may be taken for orphans. */
static bool too_late(const struct commit *c)
{
    uint64_t until = c->propose.issue_until_ms;
    return until && env_wall_ms(c->req->gw->env) > until;
}

static void commit_propose(struct commit *c)
{
    struct meta_propose *p = &c->propose;
    if (too_late(c) ||
        c->order_err) { /* nothing has been proposed, or it was refused for certain */
        env_timer_start(&c->timer, 0);
        return;
    }
    c->has_proposed = true;
    p->command.settings_version = c->settings_version;
    p->command.versioning = c->versioning;
    p->bucket_id = c->bucket_id;
    p->deadline_ns = c->deadline_ns;
    p->cb = propose_cb;
    meta_propose_start(c->req->gw->mc, p);
}

/* Always both of one record (metanode/index/apply_fencing.c). */
static void commit_assume(struct commit *c, const Cairn__BucketRecord *bucket)
{
    c->settings_version = bucket->settings_version;
    c->versioning = bucket->versioning;
    c->propose.command.versioning = bucket->versioning;
    const struct request *req = c->req;
    struct event_origin origin = {
        .requester = req->principal ? slice_cstr(req->principal->unique_id) : SLICE_EMPTY,
        .source_ip = slice_cstr(req->http && req->http->peer ? req->http->peer : ""),
        .request_id = slice_cstr(req->id),
        .replica = http_fields_find(req->s3.fields, REPLICA_FIELD) != NULL,
    };
    c->order_err =
        events_order(req->gw, req->arena, bucket, &origin, c->event, &c->propose.command);
}

static void bucket_cb(struct meta_read *read)
{
    struct commit *c = container_of(read, struct commit_again, read)->commit;
    int err = read->err;
    const Cairn__Record *record = err ? NULL : read->bucket_entry->record;
    if (record && (!record->present || record->bucket->id != c->bucket_id))
        err = ERR_NO_BUCKET;
    if (err == OK)
        commit_assume(c, record->bucket);
    meta_read_fini(read);
    if (err != OK)
        commit_end(c, err);
    else
        commit_allowed(c);
}

static void timer_cb(struct env_timer *timer)
{
    struct commit *c = container_of(timer, struct commit, timer);
    if (too_late(c) || c->order_err) {
        commit_end(c, c->order_err ? c->order_err : ERR_TOO_OLD);
        return;
    }
    if (!c->again)
        c->again = arena_alloc(c->req->arena, sizeof(*c->again));
    if (!c->again) { /* nothing has happened: the proposal was refused */
        commit_end(c, ERR_NOMEM);
        return;
    }
    c->again->commit = c;
    c->again->read = (struct meta_read){
        .bucket = c->req->s3.bucket,
        .deadline_ns = c->deadline_ns,
        .cb = bucket_cb,
    };
    meta_read_start(c->req->gw->mc, &c->again->read);
}

static void propose_cb(struct meta_propose *p)
{
    struct commit *c = container_of(p, struct commit, propose);
    bool refused = p->outcome && (p->err == ERR_SETTINGS || p->err == ERR_SEALED);
    if (!refused || ++c->tries >= TRIES_MAX || env_now_ns(c->req->gw->env) >= c->deadline_ns) {
        commit_end(c, p->err);
        return;
    }
    /* meta_propose_fini() leaves command and body as the caller set them. */
    meta_propose_fini(p);
    env_timer_start(&c->timer, c->tries == 1 ? 0 : WAIT_FIRST_NS << MIN(c->tries, 6));
}

static void rechecked(struct request *req, enum s3_code code)
{
    struct commit *c = req->commit;
    if (code != S3_OK)
        commit_end(c, ERR_AUTH);
    else
        commit_propose(c);
}

/* Before each attempt: may it still?  Of those that commit at once none can ask for all. */
static void commit_allowed(struct commit *c)
{
    struct request *req = c->req;
    if (c->among_others || !request_rights_are_old(req)) {
        commit_propose(c);
        return;
    }
    req->commit = c;
    request_recheck(req, rechecked);
}

void commit_start(struct commit *c, struct request *req, struct slice key,
                  void (*cb)(struct commit *))
{
    CHECK(req->authorized);
    c->req = req;
    c->cb = cb;
    c->propose.key = key;
    c->bucket_id = req->bucket->id;
    commit_assume(c, req->bucket);
    c->deadline_ns = request_deadline(req);
    env_timer_init(req->gw->env, &c->timer, timer_cb);
    commit_allowed(c);
}

void commit_fini(struct commit *c)
{
    if (c->has_proposed)
        meta_propose_fini(&c->propose);
    c->has_proposed = false;
    c->outcome = NULL;
}

enum s3_code commit_code(struct request *req, int err)
{
    switch (err) {
    case ERR_AUTH: return req->fault.code; /* as it was set */
    case ERR_NO_BUCKET:
        s3_fault_set(&req->fault, S3_NO_SUCH_BUCKET, NULL);
        s3_fault_extra(&req->fault, "BucketName", req->s3.bucket);
        return S3_NO_SUCH_BUCKET;
    case ERR_SEALED:
    case ERR_SETTINGS: return s3_fault_set(&req->fault, S3_OPERATION_ABORTED, NULL);
    case ERR_REFUSED:
        return s3_fault_set(&req->fault, S3_INVALID_REQUEST,
                            "The request exceeds a limit of the index");
    default: return s3_fault_set(&req->fault, s3_code_of_err(err), NULL);
    }
}

/* A copy of what now lies in the index: as apply completed it. */
static Cairn__Record *record_written(const Cairn__ObjectRecord *object,
                                     const Cairn__Outcome *outcome)
{
    Cairn__Record record = CAIRN__RECORD__INIT;
    uint8_t small[1024];
    Cairn__ObjectRecord copy;
    if (object) {
        copy = *object;
        copy.version = outcome->index;
        copy.mtime_ms = outcome->time_ms;
        copy.versioned = outcome->version != VERSION_NONE;
        record.present = true;
        record.object = &copy;
    }
    size_t bytes = cairn__record__get_packed_size(&record);
    uint8_t *packed = bytes <= sizeof(small) ? small : malloc(bytes);
    if (!packed)
        return NULL;
    cairn__record__pack(&record, packed);
    Cairn__Record *ret = cairn__record__unpack(NULL, bytes, packed);
    if (packed != small)
        free(packed);
    return ret;
}

void commit_cache_object(struct commit *c, struct slice key, const Cairn__ObjectRecord *object,
                         struct payload body)
{
    struct cache_key k = {CAIRN__RECORD_KIND__RECORD_OBJECT, c->bucket_id, key};
    bool has_body = object && object->kind == CAIRN__DATA_KIND__DATA_INLINE;
    struct cache_entry *e = NULL;
    if (c->outcome->events & CAIRN__EVENT_FATE__EVENT_FATE_NOT_REPLICATED)
        return; /* the index has set a status that is not known here */
    Cairn__Record *record = record_written(object, c->outcome);
    if (record && cache_fill(meta_client_cache(c->req->gw->mc), &k, c->propose.partition,
                             c->outcome->index, &record, body, has_body, &e) == OK)
        cache_entry_unref(e);
}

void commit_cache_marker(struct commit *c, struct slice key, const char *owner_id)
{
    Cairn__ObjectRecord marker = CAIRN__OBJECT_RECORD__INIT;
    marker.delete_marker = true;
    marker.owner_id = (char *)(uintptr_t)owner_id;
    commit_cache_object(c, key, &marker, (struct payload){0});
}

void reply_version_made(const struct commit *c)
{
    if (c->versioning != CAIRN__VERSIONING__VERSIONING_OFF)
        reply_version_id(c->req, "x-amz-version-id", c->outcome->version);
}
