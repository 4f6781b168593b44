/* DeleteObjects: up to 1,000 keys in one request, one proposal for each partition that holds some
 * of them, all at once.  Each key has an answer of its own; a partition that fails fails its keys
 * only. */
#include "common/base/check.h"
#include "gateway/op/authorize.h"
#include "gateway/op/body.h"
#include "gateway/op/commit.h"
#include "gateway/op/object_lock.h"
#include "gateway/op/operations.h"

enum { ASKED_AT_ONCE = 16, STEPS_AT_ONCE = 1 << 20 };

struct deletes_group {
    struct deletes_op *op;
    uint32_t partition;
    Cairn__DeleteObjects command;
    size_t *which; /* positions in the request of the command's keys */
    bool has_versions, has_conditions;
    struct commit commit;
};

struct deletes_op {
    struct request *req;
    struct body_text text;
    struct s3_delete wanted;
    enum s3_code *code; /* by position */
    bool *bypass;       /* likewise: retention in governance mode does not hold it */
    size_t asked;       /* how many have been asked about */
    struct env_timer later;
    struct slice *marker_id; /* of the delete marker that was made or deleted; empty: none */
    struct deletes_group *group;
    size_t group_count, under_way;
};

static void deletes_reply(struct deletes_op *d)
{
    struct request *req = d->req;
    struct buf b = {0};
    s3_result_delete_begin(&b);
    for (size_t i = 0; i < d->wanted.count; i++) {
        const struct s3_delete_object *o = &d->wanted.objects[i];
        if (d->code[i] != S3_OK)
            s3_result_delete_error(&b, o->key, o->version_id, d->code[i],
                                   slice_cstr(s3_code_message(d->code[i])));
        else if (!d->wanted.quiet)
            s3_result_delete_entry(&b, o->key, o->version_id, d->marker_id[i]);
    }
    s3_result_delete_end(&b);
    reply_xml(req, 200, &b);
    body_text_fini(&d->text);
    request_end(req);
}

/* The text of the version id of a delete marker that was made. */
static struct slice marker_made(struct deletes_op *d, const struct commit *c)
{
    char *text = request_alloc(d->req, S3_VERSION_ID_CHARS + 1);
    if (!text || c->outcome->version == VERSION_NONE)
        return SLICE_LIT("null");
    s3_version_id_text(c->outcome->version, text);
    return slice_cstr(text);
}

static void group_key_done(struct deletes_group *g, size_t i)
{
    struct deletes_op *d = g->op;
    const Cairn__Outcome *o = g->commit.outcome;
    struct slice key = bytes_of(g->command.keys[i]);
    unsigned marks = o->key_marks.len == g->command.n_keys ? o->key_marks.data[i] : 0;
    if (marks & DELETE_MARKER_MADE)
        d->marker_id[g->which[i]] = marker_made(d, &g->commit);
    else if (marks & DELETE_MARKER_DELETED)
        d->marker_id[g->which[i]] = d->wanted.objects[g->which[i]].version_id;
    if (g->has_versions)
        return; /* of the same key, too: what is current now only the index knows */
    if (marks & DELETE_MARKER_MADE)
        commit_cache_marker(&g->commit, key, g->command.owner_id);
    else
        commit_cache_object(&g->commit, key, NULL, (struct payload){0});
}

static void group_cb(struct commit *c)
{
    struct deletes_group *g = container_of(c, struct deletes_group, commit);
    struct deletes_op *d = g->op;
    const Cairn__Outcome *o = c->outcome;
    size_t count = g->command.n_keys;
    bool each = c->err == OK && o->n_key_errs == count;
    for (size_t i = 0; i < count; i++) {
        int err = each ? o->key_errs[i] : c->err;
        d->code[g->which[i]] = err == OK ? S3_OK : s3_code_of_err(err);
        if (err == OK)
            group_key_done(g, i);
    }
    commit_fini(c);
    if (--d->under_way == 0)
        deletes_reply(d);
}

static bool condition_of(struct request *req, const struct s3_delete_object *o,
                         Cairn__Condition **ret)
{
    Cairn__Condition *c = *ret = request_alloc(req, sizeof(*c));
    if (!c)
        return false;
    cairn__condition__init(c);
    if (o->has_etag) {
        c->if_match = request_alloc(req, sizeof(char *));
        char *etag = request_cstr(req, o->etag);
        if (!c->if_match || !etag)
            return false;
        if (slice_eq(o->etag, SLICE_LIT("*"))) {
            c->if_present = true;
        } else {
            c->if_match[0] = etag;
            c->n_if_match = 1;
        }
    }
    c->has_if_size = o->has_size;
    c->if_size = o->size;
    c->has_if_mtime = o->has_mtime;
    c->if_mtime_ms = o->mtime_ms;
    return true;
}

/* bypass: a matter of the key, so those of one key stay together. */
static struct deletes_group *group_of(struct deletes_op *d, uint32_t partition, bool bypass)
{
    size_t max = d->wanted.count;
    for (size_t i = 0; i < d->group_count; i++)
        if (d->group[i].partition == partition &&
            (d->group[i].command.bypass_governance != 0) == bypass)
            return &d->group[i];
    struct deletes_group *g = &d->group[d->group_count++];
    *g = (struct deletes_group){.op = d, .partition = partition};
    cairn__delete_objects__init(&g->command);
    g->command.bucket_id = d->req->bucket->id;
    g->command.bypass_governance = bypass;
    g->command.owner_id = d->req->bucket->owner_id;
    g->command.keys = request_alloc(d->req, max * sizeof(*g->command.keys));
    g->command.versions = request_alloc(d->req, max * sizeof(*g->command.versions));
    g->command.conditions = request_alloc(d->req, max * sizeof(*g->command.conditions));
    g->which = request_alloc(d->req, max * sizeof(*g->which));
    return g->command.keys && g->command.versions && g->command.conditions && g->which ? g : NULL;
}

static bool group_add(struct deletes_op *d, struct deletes_group *g, size_t i, uint64_t version)
{
    const struct s3_delete_object *o = &d->wanted.objects[i];
    size_t at = g->command.n_keys++;
    g->command.keys[at] = binary_of(o->key);
    g->which[at] = i;
    g->command.versions[at] = version;
    g->has_versions |= version != VERSION_NONE; /* then all have one, and most of them none */
    g->has_conditions |= o->has_etag || o->has_size || o->has_mtime;
    return condition_of(d->req, o, &g->command.conditions[at]);
}

/* What policies say of one key. */
static enum s3_code deletes_ask(struct deletes_op *d, size_t i)
{
    const struct s3_delete_object *o = &d->wanted.objects[i];
    uint64_t version;
    if (o->key.len > S3_KEY_BYTES_MAX)
        return S3_KEY_TOO_LONG;
    if (o->has_version_id && !s3_version_id_parse(o->version_id, &version))
        return S3_NO_SUCH_VERSION;
    enum s3_code code = authorize_delete(d->req, o);
    d->bypass[i] = code == S3_OK && authorize_bypass(d->req, o->key);
    return code;
}

/* Which keys go where; keys that need no proposal have their answer. */
static enum s3_code deletes_plan(struct deletes_op *d)
{
    struct request *req = d->req;
    size_t partitions = meta_partition_count(req->gw->mc);
    d->group = request_alloc(req, MIN(2 * partitions, d->wanted.count) * sizeof(*d->group));
    if (!d->group)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    for (size_t i = 0; i < d->wanted.count; i++) {
        const struct s3_delete_object *o = &d->wanted.objects[i];
        uint32_t partition;
        uint64_t version = VERSION_NONE;
        if (d->code[i] != S3_OK)
            continue;
        if (meta_partition_of(req->gw->mc, req->bucket->id, o->key, &partition) != OK) {
            d->code[i] = S3_SERVICE_UNAVAILABLE;
            continue;
        }
        if (o->has_version_id)
            (void)s3_version_id_parse(o->version_id, &version); /* it could be read before */
        struct deletes_group *g = group_of(d, partition, d->bypass[i]);
        if (!g || !group_add(d, g, i, version))
            return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    }
    return S3_OK;
}

static void deletes_fail(struct deletes_op *d, enum s3_code code)
{
    struct request *req = d->req;
    body_text_fini(&d->text);
    request_fail(req, code);
}

static void deletes_propose(struct deletes_op *d)
{
    struct request *req = d->req;
    enum s3_code code = deletes_plan(d);
    if (code != S3_OK) {
        deletes_fail(d, code);
        return;
    }
    d->under_way = d->group_count;
    if (d->group_count == 0) {
        deletes_reply(d);
        return;
    }
    for (size_t i = 0; i < d->group_count; i++) {
        struct deletes_group *g = &d->group[i];
        g->command.n_conditions = g->has_conditions ? g->command.n_keys : 0;
        g->command.n_versions = g->has_versions ? g->command.n_keys : 0;
        cairn__command__init(&g->commit.propose.command);
        g->commit.among_others = true;
        g->commit.propose.command.op_case = CAIRN__COMMAND__OP_DELETE_OBJECTS;
        g->commit.propose.command.delete_objects = &g->command;
        commit_start(&g->commit, req, bytes_of(g->command.keys[0]), group_cb);
    }
}

/* What policies say of a key stands as of when it was asked; that there is still who asked does not. */
static void deletes_rechecked(struct request *req, enum s3_code code)
{
    struct deletes_op *d = req->operation;
    if (code == S3_OK)
        deletes_propose(d);
    else
        deletes_fail(d, code);
}

/* Long policies may take milliseconds a key: in between others have their turn. */
static void deletes_go_on(struct deletes_op *d)
{
    uint64_t enough = d->req->policy_steps + STEPS_AT_ONCE;
    size_t end =
        d->req->unrestricted ? d->wanted.count : MIN(d->asked + ASKED_AT_ONCE, d->wanted.count);
    for (; d->asked < end && d->req->policy_steps < enough; d->asked++)
        d->code[d->asked] = deletes_ask(d, d->asked);
    if (d->asked < d->wanted.count)
        env_timer_start(&d->later, 0);
    else if (request_rights_are_old(d->req))
        request_recheck(d->req, deletes_rechecked);
    else
        deletes_propose(d);
}

static void deletes_later(struct env_timer *timer)
{
    deletes_go_on(container_of(timer, struct deletes_op, later));
}

static void deletes_text_done(struct body_text *t)
{
    struct deletes_op *d = container_of(t, struct deletes_op, text);
    struct request *req = d->req;
    enum s3_code code = t->body.code;
    if (code == S3_OK)
        code = s3_xml_delete(req->arena, buf_view(&t->text), request_now_ms(req), &d->wanted,
                             &req->fault);
    if (code == S3_OK) {
        d->code = request_alloc(req, d->wanted.count * sizeof(*d->code));
        d->bypass = request_alloc(req, d->wanted.count * sizeof(*d->bypass));
        d->marker_id = request_alloc(req, d->wanted.count * sizeof(*d->marker_id));
        if (!d->code || !d->bypass || !d->marker_id)
            code = s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    }
    if (code == S3_OK)
        deletes_go_on(d);
    else
        deletes_fail(d, code);
}

void delete_objects_start(struct request *req)
{
    struct deletes_op *d = request_alloc(req, sizeof(*d));
    if (!d) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    d->req = req;
    req->operation = d;
    d->text.done = deletes_text_done;
    env_timer_init(req->gw->env, &d->later, deletes_later);
    enum s3_code code = body_text_start(&d->text, req, S3_DELETE_BODY_BYTES_MAX);
    if (code != S3_OK)
        deletes_fail(d, code);
}
