/* DeleteObjects: up to 1,000 keys in one request, one proposal for each partition that holds some
 * of them, all at once.  Each key has an answer of its own; a partition that fails fails its keys
 * only. */
#include "common/base/check.h"
#include "gateway/op/body.h"
#include "gateway/op/commit.h"
#include "gateway/op/operations.h"

struct deletes_group {
    struct deletes_op *op;
    uint32_t partition;
    Cairn__DeleteObjects command;
    size_t *which; /* positions in the request of the command's keys */
    struct commit commit;
};

struct deletes_op {
    struct request *req;
    struct body_text text;
    struct s3_delete wanted;
    enum s3_code *code; /* by position */
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
            s3_result_delete_entry(&b, o->key, o->version_id);
    }
    s3_result_delete_end(&b);
    reply_xml(req, 200, &b);
    body_text_fini(&d->text);
    request_end(req);
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
            commit_cache_object(c, bytes_of(g->command.keys[i]), NULL, (struct payload){0});
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

static struct deletes_group *group_of(struct deletes_op *d, uint32_t partition)
{
    size_t max = d->wanted.count;
    for (size_t i = 0; i < d->group_count; i++)
        if (d->group[i].partition == partition)
            return &d->group[i];
    struct deletes_group *g = &d->group[d->group_count++];
    *g = (struct deletes_group){.op = d, .partition = partition};
    cairn__delete_objects__init(&g->command);
    g->command.bucket_id = d->req->bucket->id;
    g->command.keys = request_alloc(d->req, max * sizeof(*g->command.keys));
    g->command.conditions = request_alloc(d->req, max * sizeof(*g->command.conditions));
    g->which = request_alloc(d->req, max * sizeof(*g->which));
    return g->command.keys && g->command.conditions && g->which ? g : NULL;
}

static bool group_add(struct deletes_op *d, struct deletes_group *g, size_t i)
{
    const struct s3_delete_object *o = &d->wanted.objects[i];
    size_t at = g->command.n_keys++;
    g->command.keys[at] = binary_of(o->key);
    g->which[at] = i;
    if (o->has_etag || o->has_size || o->has_mtime)
        g->command.n_conditions = 1; /* then all have one, most of them empty */
    return condition_of(d->req, o, &g->command.conditions[at]);
}

/* Which keys go where; keys that need no proposal are answered here. */
static enum s3_code deletes_plan(struct deletes_op *d)
{
    struct request *req = d->req;
    size_t partitions = meta_partition_count(req->gw->mc);
    d->code = request_alloc(req, d->wanted.count * sizeof(*d->code));
    d->group = request_alloc(req, MIN(partitions, d->wanted.count) * sizeof(*d->group));
    if (!d->code || !d->group)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    for (size_t i = 0; i < d->wanted.count; i++) {
        const struct s3_delete_object *o = &d->wanted.objects[i];
        uint32_t partition;
        if (o->key.len > S3_KEY_BYTES_MAX) {
            d->code[i] = S3_KEY_TOO_LONG;
        } else if (o->has_version_id && !slice_eq(o->version_id, SLICE_LIT("null"))) {
            d->code[i] = S3_NO_SUCH_VERSION;
        } else if (meta_partition_of(req->gw->mc, req->bucket->id, o->key, &partition) != OK) {
            d->code[i] = S3_SERVICE_UNAVAILABLE;
        } else {
            struct deletes_group *g = group_of(d, partition);
            if (!g || !group_add(d, g, i))
                return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
        }
    }
    return S3_OK;
}

static void deletes_text_done(struct body_text *t)
{
    struct deletes_op *d = container_of(t, struct deletes_op, text);
    struct request *req = d->req;
    enum s3_code code = t->body.code;
    if (code == S3_OK)
        code = s3_xml_delete(req->arena, buf_view(&t->text), request_now_ms(req), &d->wanted,
                             &req->fault);
    if (code == S3_OK)
        code = deletes_plan(d);
    if (code != S3_OK) {
        body_text_fini(&d->text);
        request_fail(req, code);
        return;
    }
    d->under_way = d->group_count;
    if (d->group_count == 0) {
        deletes_reply(d);
        return;
    }
    for (size_t i = 0; i < d->group_count; i++) {
        struct deletes_group *g = &d->group[i];
        if (g->command.n_conditions)
            g->command.n_conditions = g->command.n_keys;
        cairn__command__init(&g->commit.propose.command);
        g->commit.propose.command.op_case = CAIRN__COMMAND__OP_DELETE_OBJECTS;
        g->commit.propose.command.delete_objects = &g->command;
        commit_start(&g->commit, req, bytes_of(g->command.keys[0]), group_cb);
    }
}

void delete_objects_start(struct request *req)
{
    struct deletes_op *d = request_alloc(req, sizeof(*d));
    if (!d) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    d->req = req;
    d->text.done = deletes_text_done;
    enum s3_code code = body_text_start(&d->text, req, S3_DELETE_BODY_BYTES_MAX);
    if (code != S3_OK) {
        body_text_fini(&d->text);
        request_fail(req, code);
    }
}
