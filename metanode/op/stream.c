/* The leader's streams to its witnesses (DESIGN 4.2, 4.5).
 *
 * metanode/visible says what to send; here it is fetched from the log and sent, in parallel with
 * replication, batched by turn, with a window.  Entries go out as the hashes that they touch.  A
 * failure closes the stream, which is opened again after a pause; a witness that holds writes back for
 * longer than timeouts.witness_report is reported to the root.
 *
 * A stall of this process is no evidence against a witness: stream_tick() is told of it and shifts
 * the time since when the witness blocks. */
#include "metanode/op/internal.h"

#include <stdlib.h>

#define STREAM_ENTRIES_MAX 256
#define STREAM_BYTES_MAX (1u << 20) /* of entries read from the log for one message */
#define STREAM_HASHES_MAX 16384u
#define RETRY_MS_MIN 50
#define RETRY_MS_MAX 500

void stream_init(struct replica *r)
{
    list_init(&r->stream.calls);
}

/* The stream of an incarnation; slots of those that are gone are reused.  There are as many streams as
 * slots in visible's table, so one is always found. */
static struct stream *stream_of(struct replica *r, struct id128 incarnation)
{
    struct stream *gone = NULL;
    for (size_t i = 0; i < VISIBLE_SLOTS_MAX; i++) {
        struct stream *s = &r->stream.streams[i];
        if (id128_eq(s->incarnation, incarnation))
            return s;
        if (!gone && (id128_is_zero(s->incarnation) ||
                      visible_find(&r->visible, s->incarnation) < 0))
            gone = s;
    }
    CHECK(gone);
    *gone = (struct stream){.incarnation = incarnation};
    return gone;
}

static struct rpc_peer *witness_peer(struct replica *r, struct id128 incarnation)
{
    struct witness_ref *ref = control_ref(&r->control, incarnation);
    return ref ? rpc_peer_get(r->node->rpc, ref->addr, ref->name) : NULL;
}

static void pause_stream(struct replica *r, struct stream *s)
{
    uint64_t ms = (uint64_t)RETRY_MS_MIN << MIN(s->failures, 4u);
    s->failures++;
    s->retry_ns = env_now_ns(r->node->env) + MIN(ms, (uint64_t)RETRY_MS_MAX) * NS_PER_MS;
    r->node->stats.stream_failures++;
}

/* ---- answers ---- */

static void failed(struct replica *r, const struct visible_message *m, int err)
{
    struct stream *s = stream_of(r, m->incarnation);
    log_debug("stream.failed", 0, L_UINT("partition", r->partition), L_ERR(err));
    pause_stream(r, s);
    visible_stream_failed(&r->visible, m->term, m->incarnation, m->stream);
}

static bool is_ours(const struct replica *r, const struct visible_message *m)
{
    return replica_runs(r) && r->leading && r->lead_term == m->term &&
           visible_find(&r->visible, m->incarnation) >= 0;
}

/* The witness follows a newer leader: it is well, and we shall soon learn of that leader. */
static bool is_superseded(const struct stream_call *c)
{
    const ProtobufCMessage *a = c->call.response;
    if (!a || c->call.err == OK)
        return false;
    return (c->m.kind == VISIBLE_OPEN_STREAM
                ? ((const Cairn__StreamOpenResponse *)(const void *)a)->term
                : ((const Cairn__StreamAppendResponse *)(const void *)a)->term) > c->m.term;
}

static void answered(struct rpc_call *call)
{
    struct stream_call *c = container_of(call, struct stream_call, call);
    struct replica *r = c->replica;
    const struct visible_message *m = &c->m;
    int err = call->err;
    if (is_ours(r, m)) {
        if (is_superseded(c))
            stream_of(r, m->incarnation)->blocked_ns = 0;
        if (err == OK && m->kind == VISIBLE_OPEN_STREAM) {
            const Cairn__StreamOpenResponse *a = (const Cairn__StreamOpenResponse *)call->response;
            err = visible_open_reply(&r->visible, m->term, m->incarnation, m->stream,
                                     a->resume_after);
        } else if (err == OK) {
            const Cairn__StreamAppendResponse *a =
                (const Cairn__StreamAppendResponse *)call->response;
            err = visible_append_reply(&r->visible, m->term, m->incarnation, m->stream, m->last,
                                       a->recv);
            r->node->stats.stream_acks++;
        }
        if (err != OK)
            failed(r, m, err);
        else
            stream_of(r, m->incarnation)->failures = 0;
        replica_wake(r);
    }
    list_remove(&c->node);
    rpc_call_fini(&c->call);
    free(c);
}

static int call_start(struct replica *r, const struct visible_message *m,
                      const struct rpc_method *method, const ProtobufCMessage *request)
{
    struct rpc_peer *peer = witness_peer(r, m->incarnation);
    struct stream_call *c = peer ? calloc(1, sizeof(*c)) : NULL;
    if (!c)
        return peer ? ERR_NOMEM : ERR_UNREACHABLE;
    c->replica = r;
    c->m = *m;
    c->call.method = method;
    c->call.request = request;
    c->call.timeout_ns = ms_to_ns(r->node->config.timeouts.witness_call);
    c->call.cb = answered;
    int err = rpc_call_start(peer, &c->call);
    if (err != OK) {
        free(c);
        return err;
    }
    list_push_back(&r->stream.calls, &c->node);
    return OK;
}

/* ---- messages ---- */

static int send_open(struct replica *r, struct visible_message *m)
{
    Cairn__StreamOpenRequest req = CAIRN__STREAM_OPEN_REQUEST__INIT;
    req.partition = r->partition;
    req.term = m->term;
    req.incarnation = (ProtobufCBinaryData){ID_BYTES, m->incarnation.bytes};
    req.target = m->target;
    req.log_first = m->log_first;
    req.commit = m->commit;
    req.stream = m->stream;
    r->node->stats.stream_opens++;
    return call_start(r, m, &method_witness_open, &req.base);
}

/* What an append carries of the entries behind `prev`. */
struct stream_batch {
    uint32_t entry_count;
    uint32_t counts[STREAM_ENTRIES_MAX];
    struct buf hashes; /* uint64_t */
    struct buf floors; /* uint64_t, pairs */
};

static void add_entry(struct stream_batch *b, const struct raft_log_entry *e)
{
    size_t before = b->hashes.len;
    struct control_entry control;
    if (e->kind == RAFT_ENTRY_NORMAL) {
        index_entry_touches(e->data.bytes, &b->hashes);
    } else if (e->kind == RAFT_ENTRY_CONTROL) {
        control_entry_parse(e->data.bytes, &control);
        if (control.kind == CONTROL_RAISE_FLOOR) {
            uint64_t pair[2] = {e->index, control.floor};
            buf_append(&b->floors, pair, sizeof(pair));
        }
    }
    b->counts[b->entry_count++] = (uint32_t)((b->hashes.len - before) / sizeof(uint64_t));
}

/* Reads what the next append to an open stream can carry: bounded in entries, bytes and hashes.
 * Returns: OK (entry_count may be 0: nothing new); what raft_log_read says; ERR_NOMEM. */
static int gather(struct replica *r, const struct visible_slot *slot, struct stream_batch *b)
{
    struct raft_log_entry *e = r->node->scratch;
    uint32_t got = 0, want = (uint32_t)MIN(r->visible.last - slot->sent,
                                           (uint64_t)STREAM_ENTRIES_MAX);
    if (slot->state != VISIBLE_OPEN || slot->rewind || slot->under_way == VISIBLE_WINDOW_MAX ||
        slot->dead || want == 0)
        return OK;
    int err = raft_log_read(r->log, slot->sent + 1, want, STREAM_BYTES_MAX, e, &got);
    for (uint32_t i = 0; i < got; i++) {
        if (b->entry_count == i && (i == 0 || b->hashes.len < STREAM_HASHES_MAX * sizeof(uint64_t)))
            add_entry(b, &e[i]);
        raft_log_entry_fini(&e[i]);
    }
    return err == OK && (b->hashes.failed || b->floors.failed) ? ERR_NOMEM : err;
}

static int send_append(struct replica *r, struct visible_message *m, struct stream_batch *b)
{
    Cairn__StreamAppendRequest req = CAIRN__STREAM_APPEND_REQUEST__INIT;
    req.partition = r->partition;
    req.term = m->term;
    req.incarnation = (ProtobufCBinaryData){ID_BYTES, m->incarnation.bytes};
    req.stream = m->stream;
    req.prev = m->prev;
    req.n_hash_counts = b->entry_count;
    req.hash_counts = b->counts;
    req.n_hashes = b->hashes.len / sizeof(uint64_t);
    req.hashes = (uint64_t *)(void *)b->hashes.ptr;
    req.n_floors = b->floors.len / sizeof(uint64_t);
    req.floors = (uint64_t *)(void *)b->floors.ptr;
    req.commit = m->commit;
    r->node->stats.stream_appends++;
    return call_start(r, m, &method_witness_append, &req.base);
}

/* Opening a stream makes writes wait for the witness; one that cannot be reached just now, and that
 * nobody waits for yet, is left alone until it can. */
static bool is_worth_opening(struct replica *r, unsigned slot)
{
    const struct visible_slot *s = &r->visible.slots[slot];
    if (s->state != VISIBLE_CLOSED || visible_is_needed(&r->visible, slot))
        return true;
    struct rpc_peer *peer = witness_peer(r, s->incarnation);
    return peer && rpc_peer_is_up(peer);
}

/* One message to the slot's incarnation, if there is one.  Returns: false when there is not. */
static bool send_next(struct replica *r, unsigned slot, bool with_commit)
{
    struct stream_batch b = {0};
    struct visible_message m;
    int err = gather(r, &r->visible.slots[slot], &b);
    bool sent = false;
    if (err == ERR_NOT_FOUND) {
        /* Compacted: visible_compacted() has closed the stream or is about to. */
        visible_stream_failed(&r->visible, r->lead_term, r->visible.slots[slot].incarnation,
                              r->visible.slots[slot].stream);
    } else if (err == OK &&
               visible_next_message(&r->visible, slot, b.entry_count ? b.entry_count : 1,
                                    with_commit, &m)) {
        sent = true;
        CHECK(m.kind == VISIBLE_OPEN_STREAM || m.last - m.prev == b.entry_count);
        err = m.kind == VISIBLE_OPEN_STREAM ? send_open(r, &m) : send_append(r, &m, &b);
        if (err != OK)
            failed(r, &m, err);
    }
    buf_fini(&b.hashes);
    buf_fini(&b.floors);
    return sent && err == OK;
}

void stream_turn(struct replica *r, bool with_commit)
{
    uint64_t now = env_now_ns(r->node->env);
    if (!r->leading || r->node->stopped)
        return;
    for (unsigned slot = 0; slot < r->visible.slot_count; slot++) {
        struct stream *s = stream_of(r, r->visible.slots[slot].incarnation);
        if (now < s->retry_ns || !is_worth_opening(r, slot))
            continue;
        for (unsigned i = 0; i < VISIBLE_WINDOW_MAX && send_next(r, slot, with_commit); i++) {
        }
    }
}

/* ---- who holds writes back ---- */

static void report_answered(struct rpc_call *call)
{
    struct stream_call *c = container_of(call, struct stream_call, call);
    list_remove(&c->node);
    rpc_call_fini(&c->call);
    free(c);
}

static void report(struct replica *r, struct stream *s, unsigned attempt)
{
    struct meta_node *n = r->node;
    Cairn__ReportWitnessRequest req = CAIRN__REPORT_WITNESS_REQUEST__INIT;
    struct meta_peer *peer = root_peer(n, attempt);
    req.incarnation = (ProtobufCBinaryData){ID_BYTES, s->incarnation.bytes};
    req.partition = r->partition;
    n->stats.witness_reports++;
    log_info("witness.report", 0, L_UINT("partition", r->partition),
             L_BYTES("witness", id128_slice(&s->incarnation)));
    if (!peer) {
        root_report(n, s->incarnation);
        return;
    }
    struct stream_call *c = calloc(1, sizeof(*c));
    if (!c)
        return;
    c->replica = r;
    c->call = (struct rpc_call){.method = &method_root_report_witness, .request = &req.base,
                                .timeout_ns = ms_to_ns(n->config.timeouts.witness_call),
                                .cb = report_answered};
    if (rpc_call_start(peer->rpc, &c->call) == OK)
        list_push_back(&r->stream.calls, &c->node);
    else
        free(c);
}

void stream_tick(struct replica *r, uint64_t stalled_ns)
{
    const struct meta_timeouts *t = &r->node->config.timeouts;
    uint64_t now = env_now_ns(r->node->env);
    if (!r->leading)
        return;
    for (unsigned slot = 0; slot < r->visible.slot_count; slot++) {
        struct stream *s = stream_of(r, r->visible.slots[slot].incarnation);
        uint64_t acked = r->visible.slots[slot].acked;
        if (!visible_is_blocked_by(&r->visible, slot) || acked != s->acked) {
            s->acked = acked;
            s->blocked_ns = 0;
            continue;
        }
        s->blocked_ns = s->blocked_ns ? s->blocked_ns + stalled_ns : now;
        if (now < s->blocked_ns + ms_to_ns(t->witness_report) ||
            now < s->reported_ns + ms_to_ns(t->witness_report))
            continue;
        s->reported_ns = now;
        report(r, s, s->reports++);
    }
    stream_turn(r, true);
}

/* ---- end ---- */

void stream_stop(struct replica *r)
{
    list_for_each(it, &r->stream.calls)
    {
        rpc_call_cancel(&container_of(it, struct stream_call, node)->call);
    }
    memset(r->stream.streams, 0, sizeof(r->stream.streams));
}

/* After a crash: calls that will never end. */
void stream_free(struct replica *r)
{
    while (!list_empty(&r->stream.calls))
        free(container_of(list_pop_front(&r->stream.calls), struct stream_call, node));
}
