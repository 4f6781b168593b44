/* The operator's questions: routes, the cluster's status, drains.
 *
 *   route ─► root.cluster_status at the root's leader ─► store.status at every storage node ─►
 * answer ─► root.drain_node ─► answer ─► admin_verify.c
 * A scrub is started in the place of store.status: the nodes are those of the root's map. */
#include "gateway/operator/admin.h"

#include "common/base/check.h"
#include "gateway/admin/health.h"
#include "gateway/blob/ask.h"
#include "gateway/operator/admin_users.h"
#include "gateway/op/operations.h"
#include "proto/methods.h"

#define PING_NS (1000 * NS_PER_MS) /* a storage node that takes longer does not answer */

struct admin_op {
    struct request *req;
    json_t *(*answer)(struct admin_op *a);
    char *node; /* of the path */
    struct meta_call call;
    Cairn__ClusterStatusRequest status_request;
    Cairn__DrainNodeRequest drain_request;
    Cairn__StoreStatusRequest ping_request;
    Cairn__StartScrubRequest scrub_request;
    bool starts_scrub;
    struct blob_ask ask;
    const Cairn__ClusterStatusResponse *status; /* of the call */
    bool *answers;
    struct cluster_view view;
};

/* ---- the end ---- */

static void admin_rechecked(struct request *req, enum s3_code code)
{
    struct buf *document = req->operation;
    if (code == S3_OK)
        reply_json(req, document);
    else
        reply_error(req, code);
    buf_fini(document);
    request_end(req);
}

static int dump_cb(const char *bytes, size_t count, void *arg)
{
    buf_append(arg, bytes, count);
    return ((struct buf *)arg)->failed ? -1 : 0;
}

void admin_reply(struct request *req, json_t *answer)
{
    struct buf *document = request_alloc(req, sizeof(*document));
    int bad = !document || !answer || json_dump_callback(answer, dump_cb, document, JSON_COMPACT);
    json_decref(answer);
    if (bad) {
        if (document)
            buf_fini(document);
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    buf_u8(document, '\n');
    req->operation = document;
    request_recheck(req, admin_rechecked);
}

void admin_fail(struct request *req, int err)
{
    if (err == ERR_NOT_FOUND)
        reply_error(req,
                    s3_fault_set(&req->fault, S3_NO_SUCH_KEY, "There is no such storage node."));
    else if (err_class(err) == ERR_CLASS_RETRY || err_class(err) == ERR_CLASS_UNKNOWN_OUTCOME)
        reply_error(req, s3_fault_set(&req->fault, S3_SERVICE_UNAVAILABLE,
                                      "The leaders that know did not answer in time. Try again."));
    else
        reply_err(req, err);
    request_end(req);
}

/* ---- answers ---- */

static json_t *status_answer(struct admin_op *a)
{
    return admin_status_json(&a->view);
}

static json_t *nodes_answer(struct admin_op *a)
{
    return admin_nodes_json(&a->view);
}

static json_t *disks_answer(struct admin_op *a)
{
    return admin_disks_json(&a->view);
}

static json_t *pgs_answer(struct admin_op *a)
{
    return admin_pgs_json(&a->view);
}

static json_t *repair_answer(struct admin_op *a)
{
    return admin_repair_json(&a->view, &a->ask);
}

static json_t *scrub_answer(struct admin_op *a)
{
    return admin_scrub_json(&a->view, &a->ask, request_now_ms(a->req));
}

static json_t *scrub_start_answer(struct admin_op *a)
{
    return admin_scrub_started_json(&a->view, &a->ask, a->scrub_request.deep, a->node);
}

static json_t *safe_answer(struct admin_op *a)
{
    struct removable r;
    removable_check(a->status, a->node, &r);
    json_t *reasons = json_array();
    if (!r.draining)
        json_append(&reasons, json_string("it is not draining: new groups may come to it"));
    if (r.member_of)
        json_append(&reasons, json_sprintf("it is a member of %llu placement group(s)",
                                           (unsigned long long)r.member_of));
    if (r.next_member_of)
        json_append(&reasons, json_sprintf("%llu change(s) under way bring shards to it",
                                           (unsigned long long)r.next_member_of));
    if (r.planned_for)
        json_append(&reasons, json_sprintf("%llu planned change(s) name it",
                                           (unsigned long long)r.planned_for));
    return json_pack("{s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:o}", "node", a->node, "safe", r.safe,
                     "draining", r.draining, "member_of", (json_int_t)r.member_of, "next_member_of",
                     (json_int_t)r.next_member_of, "planned", (json_int_t)r.planned_for,
                     "map_version", (json_int_t)a->status->map_version, "missing", reasons);
}

/* ---- the status ---- */

static void status_end(struct admin_op *a)
{
    struct request *req = a->req;
    struct view_node *nodes = request_alloc(req, (a->status->n_nodes + 1) * sizeof(*nodes));
    json_t *answer = NULL;
    if (nodes) {
        view_init(&a->view, a->status, a->answers, nodes);
        answer = a->answer(a);
    }
    blob_ask_fini(&a->ask);
    meta_call_fini(&a->call);
    admin_reply(req, answer);
}

static void pinged_cb(struct blob_ask *ask)
{
    struct admin_op *a = container_of(ask, struct admin_op, ask);
    for (size_t i = 0; i < ask->count; i++)
        a->answers[i] = ask->questions[i].err == OK;
    status_end(a);
}

/* A scrub may be started on one node alone. */
static bool is_asked(const struct admin_op *a, const char *node_id)
{
    return !a->starts_scrub || !a->node || strcmp(a->node, node_id) == 0;
}

/* Every storage node is asked itself: the root's leader learns of a death after a while only. */
static bool ping_start(struct admin_op *a)
{
    struct gateway *gw = a->req->gw;
    size_t count = a->status->n_nodes;
    struct blob_question *q = request_alloc(a->req, (count + 1) * sizeof(*q));
    if (!q)
        return false;
    cairn__store_status_request__init(&a->ping_request);
    cairn__start_scrub_request__init(&a->scrub_request);
    a->scrub_request.deep = slice_eq(s3_request_value(&a->req->s3, "deep"), SLICE_LIT("1"));
    for (size_t i = 0; i < count; i++) {
        const Cairn__NodeRecord *r = a->status->nodes[i]->record;
        q[i].method = a->starts_scrub ? &method_store_start_scrub : &method_store_status;
        q[i].request = a->starts_scrub ? &a->scrub_request.base : &a->ping_request.base;
        if (view_is_storage(a->status->nodes[i]) && is_asked(a, r->node_id))
            q[i].peer = rpc_peer_get(meta_client_rpc(gw->mc), r->addr, r->node_id);
    }
    a->ask =
        (struct blob_ask){.questions = q, .count = count, .timeout_ns = PING_NS, .cb = pinged_cb};
    blob_ask_start(gw->bc, &a->ask);
    return true;
}

static void status_cb(struct meta_call *call)
{
    struct admin_op *a = container_of(call, struct admin_op, call);
    struct request *req = a->req;
    int err = call->err;
    if (err == OK) {
        a->status = (const Cairn__ClusterStatusResponse *)(const void *)call->response;
        a->answers = request_alloc(req, a->status->n_nodes + 1);
        struct removable r;
        if (a->node)
            removable_check(a->status, a->node, &r);
        if (a->node && !r.known)
            err = ERR_NOT_FOUND;
        else if (!a->answers || !ping_start(a))
            err = ERR_NOMEM;
    }
    if (err != OK) {
        meta_call_fini(call);
        admin_fail(req, err);
    }
}

static void root_call_start(struct admin_op *a, const struct rpc_method *method,
                            ProtobufCMessage *request, void (*cb)(struct meta_call *))
{
    a->call = (struct meta_call){
        .method = method,
        .root = true,
        .request = request,
        .deadline_ns = request_deadline(a->req),
        .cb = cb,
    };
    meta_call_start(a->req->gw->mc, &a->call);
}

static void status_start(struct admin_op *a)
{
    cairn__cluster_status_request__init(&a->status_request);
    root_call_start(a, &method_root_cluster_status, &a->status_request.base, status_cb);
}

static void scrub_start(struct admin_op *a)
{
    a->starts_scrub = true;
    status_start(a);
}

/* ---- drains ---- */

static void drain_cb(struct meta_call *call)
{
    struct admin_op *a = container_of(call, struct admin_op, call);
    struct request *req = a->req;
    int err = call->err;
    json_t *answer = NULL;
    if (err == OK) {
        const Cairn__DrainNodeResponse *m =
            (const Cairn__DrainNodeResponse *)(const void *)call->response;
        answer = json_pack("{s:s, s:b, s:b, s:o}", "node", a->node, "draining",
                           !a->drain_request.undrain, "plan_only", a->drain_request.plan_only,
                           "planned", admin_planned_json(m->planned, m->n_planned));
    }
    meta_call_fini(call);
    if (err == OK)
        admin_reply(req, answer);
    else
        admin_fail(req, err);
}

static void drain_do(struct admin_op *a, bool undrain)
{
    cairn__drain_node_request__init(&a->drain_request);
    a->drain_request.node_id = a->node;
    a->drain_request.undrain = undrain;
    a->drain_request.plan_only = slice_eq(s3_request_value(&a->req->s3, "plan"), SLICE_LIT("1"));
    root_call_start(a, &method_root_drain_node, &a->drain_request.base, drain_cb);
}

static void drain_start(struct admin_op *a)
{
    drain_do(a, false);
}

static void undrain_start(struct admin_op *a)
{
    drain_do(a, true);
}

/* ---- which question ---- */

static void verify_start(struct admin_op *a)
{
    admin_verify_start(a->req);
}

static void kms_list(struct admin_op *a)
{
    admin_kms_list_start(a->req);
}

static void kms_rewrap(struct admin_op *a)
{
    admin_kms_rewrap_start(a->req);
}

static void kms_change(struct admin_op *a)
{
    const char *path = (const char *)a->req->s3.key.ptr;
    const char *slash = memrchr(path, '/', a->req->s3.key.len);
    size_t len = a->req->s3.key.len - (size_t)(slash + 1 - path);
    char *action = request_cstr(a->req, SLICE(slash + 1, len));
    if (action)
        admin_kms_change_start(a->req, a->node, action);
    else
        request_fail(a->req, S3_INTERNAL_ERROR);
}

static void quota_list(struct admin_op *a)
{
    admin_quota_list_start(a->req);
}

static void quota_show(struct admin_op *a)
{
    admin_quota_show_start(a->req, a->node);
}

static void quota_set(struct admin_op *a)
{
    admin_quota_change_start(a->req, a->node, false);
}

static void quota_delete(struct admin_op *a)
{
    admin_quota_change_start(a->req, a->node, true);
}

static const struct {
    const char *method, *path, *action; /* with an action: path/NODE/action */
    void (*start)(struct admin_op *a);
    json_t *(*answer)(struct admin_op *a);
} routes[] = {
    {"GET", "status", NULL, status_start, status_answer},
    {"GET", "nodes", NULL, status_start, nodes_answer},
    {"GET", "disks", NULL, status_start, disks_answer},
    {"GET", "pgs", NULL, status_start, pgs_answer},
    {"GET", "repair", NULL, status_start, repair_answer},
    {"GET", "scrub", NULL, status_start, scrub_answer},
    {"POST", "scrub", NULL, scrub_start, scrub_start_answer},
    {"POST", "nodes", "scrub", scrub_start, scrub_start_answer},
    {"GET", "verify", NULL, verify_start, NULL},
    {"GET", "nodes", "safe-to-remove", status_start, safe_answer},
    {"POST", "nodes", "drain", drain_start, NULL},
    {"POST", "nodes", "undrain", undrain_start, NULL},
    {"GET", "kms", NULL, kms_list, NULL},
    {"POST", "kms/rewrap", NULL, kms_rewrap, NULL},
    {"POST", "kms", "create", kms_change, NULL},
    {"POST", "kms", "rotate", kms_change, NULL},
    {"POST", "kms", "enable", kms_change, NULL},
    {"POST", "kms", "disable", kms_change, NULL},
    {"GET", "quota", NULL, quota_list, NULL},
    {"GET", "quota", "show", quota_show, NULL},
    {"POST", "quota", "set", quota_set, NULL},
    {"POST", "quota", "delete", quota_delete, NULL},
};

/* Does the path have this form?  Then the node's id is in *ret_node. */
static bool path_is(struct slice path, const char *head, const char *action, struct slice *ret_node)
{
    struct slice h = slice_cstr(head);
    if (!action)
        return slice_eq(path, h);
    struct slice tail = slice_cstr(action);
    if (!slice_has_prefix(path, h) || path.len < h.len + tail.len + 3 || path.ptr[h.len] != '/' ||
        path.ptr[path.len - tail.len - 1] != '/' ||
        !slice_eq(SLICE(path.ptr + path.len - tail.len, tail.len), tail))
        return false;
    *ret_node = SLICE(path.ptr + h.len + 1, path.len - h.len - tail.len - 2);
    return !memchr(ret_node->ptr, '/', ret_node->len) && !memchr(ret_node->ptr, 0, ret_node->len);
}

void admin_start(struct request *req)
{
    struct slice node = SLICE_EMPTY;
    enum s3_code code = S3_NO_SUCH_KEY;
    if (!req->principal->is_operator) {
        request_fail(
            req, s3_fault_set(&req->fault, S3_ACCESS_DENIED, "Only the root user may ask this."));
        return;
    }
    if (admin_users_start(req))
        return;
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
        if (!path_is(req->s3.key, routes[i].path, routes[i].action, &node))
            continue;
        code = S3_METHOD_NOT_ALLOWED;
        if (!slice_eq(req->s3.method, slice_cstr(routes[i].method)))
            continue;
        struct admin_op *a = request_alloc(req, sizeof(*a));
        if (!a || (node.len && !(a->node = request_cstr(req, node)))) {
            request_fail(req, S3_INTERNAL_ERROR);
            return;
        }
        a->req = req;
        a->answer = routes[i].answer;
        routes[i].start(a);
        return;
    }
    request_fail(req, s3_fault_set(&req->fault, code,
                                   code == S3_NO_SUCH_KEY ? "There is no such question." : NULL));
}
