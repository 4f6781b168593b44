/* Linearizable reads at the leader.
 *
 *   START ──lease valid──────────────→ APPLYING ──applied reached──→ read ──→ lease still valid? reply
 *     └──no lease──→ ASKING ──turn──→ ROUND ──a quorum answered──┘      └──no──→ ASKING, once more
 *
 * The state read is at least what was visible when the lease or the round was checked, and that was
 * after the request came in.  as_of is the applied index of the very state that was read.  Point reads
 * run on the loop; lists run on worker threads over a snapshot, with as_of taken at the snapshot.
 *
 * A question about blobs may ask for what it finds unreferred to be condemned:
 *   read ──some are──→ PROPOSING (the node's own Condemn) ──applied──→ reply as that entry decided
 * The entry looks again, so that the read decides nothing but what is worth an entry: not what is
 * too young by this leader's clock, nor what is older than the cluster: an index that was founded
 * anew, its predecessor lost, knows nothing of it.  And not what lies in a group that the map does
 * not have: groups are never taken away, so that one that a Condemn names is known in the end to every leader to
 * come: what is queued for its members does not wait for ever (deletion.c). */
#include "metanode/op/internal.h"

#include <stdlib.h>

enum read_place { READ_ASKING, READ_ROUND, READ_APPLYING, READ_WORKING, READ_PROPOSING };

struct read_op {
    struct list node;
    struct rpc_request *req;
    struct replica *replica;
    enum read_place place;
    bool by_lease, retried;
    uint64_t ctx;  /* of its round */
    uint64_t need; /* applied index to wait for */
    struct list_work *work;
    uint8_t *referred; /* PROPOSING: what the read found, a byte a blob, as REFERRED_... */
};

struct list_work {
    struct env_work work;
    struct read_op *op;
    struct meta_node *node;
    const ProtobufCMessage *msg;
    uint16_t kind;
    const struct kv_snapshot *snap;
    struct index_view view;
    struct index_reply reply;
    int err;
};

void read_init(struct replica *r)
{
    list_init(&r->read.asking);
    list_init(&r->read.round);
    list_init(&r->read.applying);
    list_init(&r->read.working);
    list_init(&r->read.proposing);
}

static void op_free(struct read_op *op)
{
    list_remove(&op->node);
    CHECK(op->replica->read.count > 0);
    op->replica->read.count--;
    free(op->referred);
    free(op);
}

static void op_end(struct read_op *op, int err, struct index_reply *answer)
{
    struct replica *r = op->replica;
    struct rpc_request *req = op->req;
    op_free(op);
    if (err == ERR_NOT_LEADER || err == ERR_EPOCH || err == ERR_NOT_READY)
        status_reply_route(req, err, r->node, r);
    else if (err != OK)
        rpc_reply(req, err, NULL, NULL, 0);
    else
        rpc_reply(req, OK, &answer->msg.base, &answer->body, answer->body.bytes.len ? 1 : 0);
}

static void op_move(struct read_op *op, enum read_place place)
{
    struct read_state *s = &op->replica->read;
    struct list *to[] = {&s->asking, &s->round, &s->applying, &s->working, &s->proposing};
    op->place = place;
    list_remove(&op->node);
    list_push_back(to[place], &op->node);
}

/* ---- carrying it out ---- */

static int carry_out(const struct index_view *view, uint16_t kind, const ProtobufCMessage *msg,
                     struct index_reply *ret)
{
    if (kind == method_meta_read.kind)
        return index_read(view, (const Cairn__ReadRequest *)msg, ret);
    if (kind == method_meta_list.kind)
        return index_list(view, (const Cairn__ListRequest *)msg, ret);
    if (kind == method_meta_list_uploads.kind)
        return index_list_uploads(view, (const Cairn__ListUploadsRequest *)msg, ret);
    if (kind == method_meta_list_parts.kind)
        return index_list_parts(view, (const Cairn__ListPartsRequest *)msg, ret);
    if (kind == method_meta_read_part_body.kind)
        return index_read_part_body(view, (const Cairn__ReadPartBodyRequest *)msg, ret);
    if (kind == method_meta_blob_refs.kind)
        return index_blob_refs(view, (const Cairn__BlobRefsRequest *)msg, ret);
    if (kind == method_meta_list_segments.kind)
        return index_list_segments(view, (const Cairn__ListSegmentsRequest *)msg, ret);
    if (kind == method_meta_list_events.kind)
        return index_list_events(view, (const Cairn__ListEventsRequest *)msg, ret);
    if (kind == method_meta_rows.kind)
        return index_list_rows(view, (const Cairn__ListRowsRequest *)msg, ret);
    CHECK(kind == method_meta_list_buckets.kind);
    return index_list_buckets(view, (const Cairn__ListBucketsRequest *)msg, ret);
}

static void view_init(struct replica *r, const struct kv_snapshot *snap, struct index_view *view)
{
    index_view_init(view, r->index, snap);
    if (MUTANT(AS_OF_ABOVE_APPLIED))
        view->applied = raft_last_index(r->raft);
}

/* A lease that ended while the state was read proves nothing about it: once more, by a round. */
static bool must_retry(struct read_op *op)
{
    struct replica *r = op->replica;
    if (!op->by_lease || raft_lease_valid(r->raft, env_now_ns(r->node->env)))
        return false;
    op->by_lease = false;
    op->retried = true;
    r->node->stats.reads_retried++;
    op_move(op, READ_ASKING);
    replica_wake(r);
    return true;
}

static void count_kind(struct read_op *op)
{
    struct meta_stats *s = &op->replica->node->stats;
    if (op->by_lease)
        s->reads_lease++;
    else
        s->reads_round++;
}

static void read_now(struct read_op *op)
{
    struct index_reply answer = {0};
    struct index_view view;
    view_init(op->replica, NULL, &view);
    int err = carry_out(&view, op->req->method->kind, op->req->msg, &answer);
    if (!must_retry(op)) {
        count_kind(op);
        op_end(op, err, &answer);
    }
    index_reply_fini(&answer);
}

/* The operator's view: not of the index alone, but a read like any other.  A leader that has been
 * deposed, and does not know, would call a node safe to remove that has been given places since. */
static void status_now(struct read_op *op)
{
    struct replica *r = op->replica;
    struct rpc_request *req = op->req;
    struct arena a = {0};
    Cairn__ClusterStatusResponse answer = CAIRN__CLUSTER_STATUS_RESPONSE__INIT;
    int err = placement_status(r, op->need, &a, &answer);
    if (!must_retry(op)) {
        count_kind(op);
        if (err == OK) {
            answer.leader_hint = (char *)(uintptr_t)status_leader_id(r);
            op_free(op);
            rpc_reply(req, OK, &answer.base, NULL, 0);
        } else {
            op_end(op, err, NULL);
        }
    }
    arena_fini(&a);
}

/* A map as new as the question: who has an older one would look for shards where they were. */
static void map_now(struct read_op *op)
{
    struct rpc_request *req = op->req;
    uint64_t need = op->need;
    const Cairn__ClusterMap *map = status_map_at(op->replica->node, need);
    if (must_retry(op))
        return;
    count_kind(op);
    if (!map) {
        op_end(op, ERR_NOT_READY, NULL);
        return;
    }
    op_free(op);
    status_reply_map(req, map, need);
}

/* ---- condemning ---- */

static const Cairn__BlobRefsRequest *blobs_of(const struct read_op *op)
{
    return (const Cairn__BlobRefsRequest *)op->req->msg;
}

/* BlobRefsResponse.referred. */
enum { REFERRED_NOT, REFERRED, REFERRED_LATER };

static uint8_t referred_of(uint8_t outcome)
{
    return outcome == INDEX_CONDEMNED       ? REFERRED_NOT
           : outcome == INDEX_CONDEMN_YOUNG ? REFERRED_LATER
                                            : REFERRED;
}

static void condemned(struct replica *r, int err, const Cairn__Outcome *outcome, void *arg)
{
    struct read_op *op = arg;
    uint8_t *referred = op->referred; /* outlives op, until the answer is packed */
    size_t count = blobs_of(op)->n_blob_ids, at = 0;
    struct index_reply answer = {0};
    (void)r;
    op->referred = NULL;
    if (err == OK)
        err = outcome->err;
    for (size_t i = 0; i < count && err == OK; i++) {
        if (referred[i] != REFERRED_NOT)
            continue;
        if (at == outcome->condemned.len)
            err = ERR_PROTO; /* an outcome has a byte a blob */
        else
            referred[i] = referred_of(outcome->condemned.data[at++]);
    }
    if (err == OK) {
        cairn__blob_refs_response__init(&answer.msg.blob_refs);
        answer.msg.blob_refs.as_of = outcome->index;
        answer.msg.blob_refs.referred = (ProtobufCBinaryData){count, referred};
    }
    op_end(op, err, &answer);
    free(referred);
}

/* Those that the read found unreferred, as one command.  OK: `condemned` comes. */
static int condemn_propose(struct read_op *op)
{
    const Cairn__BlobRefsRequest *m = blobs_of(op);
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__Condemn condemn = CAIRN__CONDEMN__INIT;
    Cairn__CondemnBlob *blobs = calloc(m->n_blob_ids, sizeof(*blobs));
    condemn.blobs = calloc(m->n_blob_ids, sizeof(*condemn.blobs));
    int err = blobs && condemn.blobs ? OK : ERR_NOMEM;
    for (size_t i = 0; err == OK && i < m->n_blob_ids; i++) {
        if (op->referred[i] != REFERRED_NOT)
            continue;
        Cairn__CondemnBlob *blob = &blobs[condemn.n_blobs];
        cairn__condemn_blob__init(blob);
        blob->pg = m->pgs[i];
        blob->blob_id = m->blob_ids[i];
        blob->time_ms = m->times_ms[i];
        condemn.blobs[condemn.n_blobs++] = blob;
    }
    condemn.bucket_id = m->bucket_id;
    condemn.key = m->key;
    condemn.age_ms = op->replica->node->config.cluster->orphan_age_ms;
    command.op_case = CAIRN__COMMAND__OP_CONDEMN;
    command.condemn = &condemn;
    if (err == OK)
        err = propose_own(op->replica, &command, condemned, op);
    free(condemn.blobs);
    free(blobs);
    return err;
}

static bool group_is_known(struct meta_node *n, uint32_t pg)
{
    const Cairn__ClusterMap *map = status_map(n);
    for (size_t i = 0; map && i < map->n_pgs; i++)
        if (map->pgs[i]->id == pg)
            return true;
    return false;
}

/* Not now: what would be passed over, and what nobody could delete. */
static void condemn_filter(struct read_op *op, uint8_t *referred)
{
    struct meta_node *n = op->replica->node;
    const Cairn__BlobRefsRequest *m = blobs_of(op);
    uint64_t now = env_wall_ms(n->env), age = n->config.cluster->orphan_age_ms;
    for (size_t i = 0; i < m->n_blob_ids; i++)
        if (referred[i] == REFERRED_NOT &&
            ((!MUTANT(CONDEMN_ANY_AGE) &&
              (now < m->times_ms[i] || now - m->times_ms[i] < age)) ||
             !group_is_known(n, m->pgs[i]) ||
             m->times_ms[i] < status_map(n)->created_ms))
            referred[i] = REFERRED_LATER;
}

/* Ends the question, or proposes what it asks for. */
static void answer_blobs(struct read_op *op, int err, struct index_reply *answer)
{
    const ProtobufCBinaryData *found = &answer->msg.blob_refs.referred;
    if (err == OK && blobs_of(op)->condemn && blobs_of(op)->n_times_ms != found->len)
        err = ERR_INVAL;
    if (err == OK && blobs_of(op)->condemn)
        condemn_filter(op, found->data);
    bool all = err != OK || memchr(found->data, REFERRED_NOT, found->len) == NULL;
    if (all || !blobs_of(op)->condemn) {
        op_end(op, err, answer);
        return;
    }
    op->referred = malloc(found->len);
    if (op->referred)
        memcpy(op->referred, found->data, found->len);
    op_move(op, READ_PROPOSING);
    err = op->referred ? condemn_propose(op) : ERR_NOMEM;
    if (err != OK)
        op_end(op, err, NULL);
}

/* ---- on a worker ---- */

static void work_run(struct env_work *work)
{
    struct list_work *w = container_of(work, struct list_work, work);
    w->err = carry_out(&w->view, w->kind, w->msg, &w->reply);
}

static void work_done(struct env_work *work)
{
    struct list_work *w = container_of(work, struct list_work, work);
    struct meta_node *n = w->node;
    struct read_op *op = w->op;
    n->lists_under_way--;
    n->state_kv->ops->snapshot_free(n->state_kv, w->snap);
    op->work = NULL;
    if (n->stopped || n->failed)
        op_end(op, ERR_SHUTDOWN, NULL);
    else if (!replica_runs(op->replica))
        op_end(op, ERR_NOT_LEADER, NULL);
    else if (must_retry(op))
        ; /* it asks again */
    else if (w->kind == method_meta_blob_refs.kind)
        answer_blobs(op, w->err, &w->reply);
    else
        op_end(op, w->err, &w->reply);
    index_reply_fini(&w->reply);
    free(w);
    for (size_t i = 0; i < n->replica_count; i++) /* a place is free: others may wait for it */
        if (!list_empty(&n->replicas[i]->read.applying))
            replica_wake(n->replicas[i]);
}

static void read_on_worker(struct read_op *op)
{
    struct meta_node *n = op->replica->node;
    struct list_work *w = calloc(1, sizeof(*w));
    if (w)
        w->snap = n->state_kv->ops->snapshot_new(n->state_kv);
    if (!w || !w->snap) {
        free(w);
        op_end(op, ERR_NOMEM, NULL);
        return;
    }
    count_kind(op);
    n->stats.lists++;
    w->op = op;
    w->node = n;
    w->msg = op->req->msg;
    w->kind = op->req->method->kind;
    w->work.run = work_run;
    w->work.done = work_done;
    view_init(op->replica, w->snap, &w->view);
    op->work = w;
    op_move(op, READ_WORKING);
    n->lists_under_way++;
    env_work_start(n->env, &w->work);
}

static bool wants_worker(uint16_t kind)
{
    return kind == method_meta_list.kind || kind == method_meta_list_uploads.kind ||
           kind == method_meta_list_parts.kind || kind == method_meta_list_buckets.kind ||
           kind == method_meta_blob_refs.kind || kind == method_meta_list_segments.kind ||
           kind == method_meta_list_events.kind || kind == method_meta_rows.kind;
}

/* ---- waiting ---- */

/* Carries out what has waited long enough.  May free op. */
static void try_read(struct read_op *op)
{
    struct replica *r = op->replica;
    struct meta_node *n = r->node;
    if (r->installing || index_applied(r->index) < op->need)
        return;
    if (op->req->method->kind == method_root_cluster_status.kind)
        status_now(op);
    else if (op->req->method->kind == method_meta_cluster_map.kind)
        map_now(op);
    else if (!wants_worker(op->req->method->kind))
        read_now(op);
    else if (n->lists_under_way < n->config.limits.lists_max)
        read_on_worker(op);
}

static void start(struct read_op *op)
{
    struct replica *r = op->replica;
    if (raft_lease_valid(r->raft, env_now_ns(r->node->env))) {
        op->by_lease = true;
        op->need = visible_serving(&r->visible);
        op_move(op, READ_APPLYING);
        try_read(op);
        return;
    }
    op_move(op, READ_ASKING);
    replica_wake(r);
}

static struct read_op *front(const struct list *l)
{
    return list_empty(l) ? NULL : container_of(l->next, struct read_op, node);
}

/* One round for all that ask in this turn. */
static void ask(struct replica *r)
{
    struct read_op *op;
    if (list_empty(&r->read.asking))
        return;
    struct raft_event ev = {.type = RAFT_EV_READ, .read = {.ctx = ++r->read.ctx}};
    uint64_t ctx = r->read.ctx;
    while ((op = front(&r->read.asking)) != NULL) {
        op->ctx = ctx;
        op_move(op, READ_ROUND);
    }
    int err = replica_step(r, &ev, NULL);
    if (err == OK)
        return;
    list_for_each_safe(it, next, &r->read.round)
    {
        op = container_of(it, struct read_op, node);
        if (op->ctx == ctx)
            op_end(op, err, NULL);
    }
}

void read_round_ended(struct replica *r, const struct raft_read *read)
{
    if (read->ctx == READ_CTX_ROOT) {
        root_round_ended(r, read->status == RAFT_READ_READY);
        return;
    }
    list_for_each_safe(it, next, &r->read.round)
    {
        struct read_op *op = container_of(it, struct read_op, node);
        if (op->ctx != read->ctx)
            continue;
        if (read->status == RAFT_READ_READY) {
            op->need = read->visible;
            op_move(op, READ_APPLYING);
        } else {
            op_end(op, ERR_NOT_LEADER, NULL);
        }
    }
}

void read_turn(struct replica *r)
{
    if (replica_runs(r) && !r->node->failed)
        ask(r);
    list_for_each_safe(it, next, &r->read.applying)
    {
        try_read(container_of(it, struct read_op, node));
    }
}

void read_fail_all(struct replica *r, int err)
{
    struct list *places[] = {&r->read.asking, &r->read.round, &r->read.applying};
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        struct read_op *op;
        while ((op = front(places[i])) != NULL)
            op_end(op, err, NULL);
    }
    /* The workers still look at the requests' messages, so these are answered when they are done; what is
     * proposed is when propose_lost() says so. */
}

/* After a crash: workers that will never report back. */
void read_free(struct replica *r)
{
    struct read_op *op;
    CHECK(list_empty(&r->read.proposing)); /* propose_lost() has ended them */
    while ((op = front(&r->read.working)) != NULL) {
        struct kv *kv = r->node->state_kv;
        kv->ops->snapshot_free(kv, op->work->snap);
        index_reply_fini(&op->work->reply);
        free(op->work);
        list_remove(&op->node);
        free(op);
    }
}

/* ---- service ---- */

static uint32_t partition_of(const struct rpc_request *req)
{
    uint16_t kind = req->method->kind;
    if (kind == method_meta_read.kind)
        return ((const Cairn__ReadRequest *)req->msg)->partition;
    if (kind == method_meta_list.kind)
        return ((const Cairn__ListRequest *)req->msg)->partition;
    if (kind == method_meta_list_uploads.kind)
        return ((const Cairn__ListUploadsRequest *)req->msg)->partition;
    if (kind == method_meta_list_parts.kind)
        return ((const Cairn__ListPartsRequest *)req->msg)->partition;
    if (kind == method_meta_read_part_body.kind)
        return ((const Cairn__ReadPartBodyRequest *)req->msg)->partition;
    if (kind == method_meta_blob_refs.kind)
        return ((const Cairn__BlobRefsRequest *)req->msg)->partition;
    if (kind == method_meta_list_segments.kind)
        return ((const Cairn__ListSegmentsRequest *)req->msg)->partition;
    if (kind == method_meta_list_events.kind)
        return ((const Cairn__ListEventsRequest *)req->msg)->partition;
    return ROOT_PARTITION;
}

void read_serve(void *arg, struct rpc_request *req)
{
    struct meta_node *n = arg;
    struct replica *r = node_replica(n, partition_of(req));
    struct read_op *op = NULL;
    int err = OK;
    if (!r)
        err = ERR_NO_PARTITION;
    else if (n->stopped || n->failed)
        err = ERR_SHUTDOWN;
    else if (!r->leading) /* a quarantined one never does */
        err = ERR_NOT_LEADER;
    else if (visible_serving(&r->visible) == 0)
        err = ERR_NOT_READY;
    else if (r->read.count >= n->config.limits.reads_max)
        err = ERR_OVERLOAD;
    if (err == OK) {
        op = calloc(1, sizeof(*op));
        err = op ? OK : ERR_NOMEM;
    }
    if (err == ERR_NO_PARTITION || err == ERR_NOT_LEADER || err == ERR_NOT_READY) {
        status_reply_route(req, err, n, r);
    } else if (err != OK) {
        rpc_reply(req, err, NULL, NULL, 0);
    } else {
        op->replica = r;
        op->req = req;
        list_init(&op->node);
        r->read.count++;
        r->read.recent = true;
        start(op);
    }
}
