/* Raft messages between metanodes.
 *
 * Everything that one turn of the loop has for a peer, of all groups, travels in one cast: heartbeats
 * of many groups cost one frame.  Each says which life of the process it is of (sleep.c).  Casts may be lost: Raft survives it.  A peer is told apart by its
 * certificate, and may speak only for itself. */
#include "metanode/op/internal.h"

struct meta_peer *transport_peer(struct meta_node *n, uint64_t raft_id)
{
    for (size_t i = 0; i < n->peer_count; i++)
        if (n->peers[i].raft_id == raft_id)
            return &n->peers[i];
    return NULL;
}

/* ---- out ---- */

static void pack_message(const struct out_message *o, Cairn__RaftMessage *m)
{
    cairn__raft_message__init(m);
    m->group = o->group;
    m->epoch = o->epoch;
    m->from = o->m.from;
    m->to = o->m.to;
    m->type = (Cairn__RaftMessageType)o->m.type;
    m->term = o->m.term;
    m->index = o->m.index;
    m->log_term = o->m.log_term;
    m->commit = o->m.commit;
    m->visible = o->m.visible;
    m->round = o->m.round;
    m->reject = o->m.reject;
    m->hint = o->m.hint;
    m->entry_count = o->m.entry_count;
    m->entry_bytes = (uint32_t)o->m.entry_bytes;
    m->campaign_transfer = o->m.campaign_transfer;
    m->sleep = o->m.sleep;
}

static void send_batch(struct meta_peer *p)
{
    struct meta_node *n = p->node;
    Cairn__RaftMessage messages[OUTBOX_MESSAGES_MAX], *ptrs[OUTBOX_MESSAGES_MAX];
    Cairn__RaftBatch batch = CAIRN__RAFT_BATCH__INIT;
    for (unsigned i = 0; i < p->out_count; i++) {
        pack_message(&p->out[i], &messages[i]);
        ptrs[i] = &messages[i];
    }
    batch.n_messages = p->out_count;
    batch.messages = ptrs;
    batch.life = n->life;
    batch.store = (ProtobufCBinaryData){ID_BYTES, n->store.bytes};
    if (!id128_is_zero(p->store))
        batch.known_store = (ProtobufCBinaryData){ID_BYTES, p->store.bytes};
    /* Nobody hears of this store before its id is durable: what is lost is repeated. */
    if (n->topology_writing ||
        rpc_cast(p->rpc, &method_raft_batch, &batch.base, p->payload, p->payload_count) != OK)
        p->refused = true;
    n->stats.batches_sent++;
    n->stats.messages_sent += p->out_count;
    for (unsigned i = 0; i < p->payload_count; i++)
        payload_unref(&p->payload[i]);
    p->out_count = p->payload_count = 0;
    p->payload_bytes = 0;
    p->sent_ns = env_now_ns(n->env);
}

static void flush_peer(struct meta_peer *p)
{
    if (p->out_count > 0)
        send_batch(p);
}

void transport_beat(struct meta_peer *p)
{
    send_batch(p);
}

void transport_flush(struct meta_node *n)
{
    for (size_t i = 0; i < n->peer_count; i++)
        flush_peer(&n->peers[i]);
}

/* The entries of an append as they travel.  NULL: gone from the log, or out of memory. */
static struct rcbuf *fetch_entries(struct replica *r, const struct raft_message *m)
{
    struct raft_log_entry *e = r->node->scratch;
    struct rcbuf *packed = NULL;
    uint32_t count = 0;
    size_t bytes = 0;
    if (m->entry_count > BATCH_ENTRIES_MAX)
        return NULL;
    int err = raft_log_read(r->log, m->index + 1, m->entry_count, SIZE_MAX, e, &count);
    if (err != OK)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        bytes += RAFT_ENTRY_HEADER_BYTES + e[i].data.bytes.len;
    if (count == m->entry_count)
        packed = rcbuf_new(bytes);
    for (uint32_t i = 0; i < count; i++) {
        if (packed) {
            raft_log_entry_header(&e[i], packed->data + packed->len);
            packed->len += RAFT_ENTRY_HEADER_BYTES;
            if (e[i].data.bytes.len)
                memcpy(packed->data + packed->len, e[i].data.bytes.ptr, e[i].data.bytes.len);
            packed->len += e[i].data.bytes.len;
        }
        raft_log_entry_fini(&e[i]);
    }
    return packed;
}

void transport_send(struct replica *r, const struct raft_message *m)
{
    struct meta_peer *p = transport_peer(r->node, m->to);
    if (!p)
        return;
    /* Before the entries are queued: they go with the message that they belong to. */
    if (p->out_count == OUTBOX_MESSAGES_MAX)
        flush_peer(p);
    if (m->type == RAFT_APPEND && m->entry_count > 0) {
        struct rcbuf *packed = fetch_entries(r, m);
        if (!packed)
            return;
        if (p->payload_count == FRAME_PAYLOAD_SLICES_MAX ||
            p->payload_bytes + packed->len > OUTBOX_BYTES_MAX)
            flush_peer(p);
        p->payload[p->payload_count++] =
            (struct payload){packed, SLICE(packed->data, packed->len)};
        p->payload_bytes += packed->len;
    }
    p->out[p->out_count++] = (struct out_message){r->partition, r->desc->epoch, *m};
    replica_wake(r); /* the end of the turn sends it */
}

/* A refused cast means that what was under way is lost; said once a tick, so that a peer that is down
 * does not keep the loop busy. */
void transport_tick(struct meta_node *n)
{
    for (size_t i = 0; i < n->peer_count; i++) {
        struct meta_peer *p = &n->peers[i];
        if (!p->refused)
            continue;
        p->refused = false;
        replica_set_for_each(k, &n->awake)
        {
            struct replica *r = n->replicas[k];
            struct raft_event ev = {.type = RAFT_EV_UNREACHABLE, .peer = p->raft_id};
            struct raft_peer_status status;
            if (r->leading && raft_peer(r->raft, p->raft_id, &status))
                replica_step(r, &ev, NULL);
        }
    }
}

/* ---- in ---- */

static void unpack_message(const Cairn__RaftMessage *m, struct raft_message *ret)
{
    *ret = (struct raft_message){
        .type = (enum raft_message_type)m->type,
        .from = m->from,
        .to = m->to,
        .term = m->term,
        .index = m->index,
        .log_term = m->log_term,
        .commit = m->commit,
        .visible = m->visible,
        .round = m->round,
        .reject = m->reject,
        .hint = m->hint,
        .entry_count = m->type == CAIRN__RAFT_MESSAGE_TYPE__RAFT_APPEND ? m->entry_count : 0,
        .entry_bytes = 0,
        .campaign_transfer = m->campaign_transfer,
        .sleep = m->sleep,
    };
}

/* Reads the entries of one append off the payload.  Returns: OK; ERR_PROTO; ERR_CHECKSUM. */
static int parse_entries(const struct raft_message *m, struct slice *payload, struct rcbuf *owner,
                         struct raft_log_entry *ret, struct raft_entry_meta *metas,
                         uint32_t *ret_count)
{
    *ret_count = 0;
    if (m->entry_count > BATCH_ENTRIES_MAX)
        return ERR_PROTO;
    for (uint32_t i = 0; i < m->entry_count; i++) {
        int err = raft_log_entry_parse(payload, owner, &ret[i]);
        if (err != OK)
            return err;
        (*ret_count)++;
        if (ret[i].index != m->index + 1 + i)
            return ERR_PROTO;
        metas[i] = (struct raft_entry_meta){ret[i].term, ret[i].kind,
                                            (uint32_t)ret[i].data.bytes.len};
    }
    return OK;
}

/* A leader whose entries are ahead of our clock by more than the bound is not listened to at all for a
 * while: were it only its entries, its heartbeats would keep it leader and the partition stuck. */
static bool is_of_the_future(struct replica *r, const struct raft_message *m,
                             const struct raft_log_entry *entries)
{
    struct meta_node *n = r->node;
    uint64_t now = env_now_ns(n->env);
    bool from_leader = m->type == RAFT_APPEND || m->type == RAFT_HEARTBEAT;
    if (!from_leader)
        return false;
    if (m->from == r->refused_from && m->term == r->refused_term && now < r->refused_until_ns)
        return true;
    uint64_t limit = env_wall_ms(n->env) + n->config.timeouts.clock_ahead;
    for (uint32_t i = 0; i < m->entry_count; i++) {
        uint64_t t = 0;
        struct control_entry control;
        if (entries[i].kind == RAFT_ENTRY_NORMAL) {
            t = index_entry_time_ms(entries[i].data.bytes);
        } else if (entries[i].kind == RAFT_ENTRY_CONTROL) {
            control_entry_parse(entries[i].data.bytes, &control);
            t = control.time_ms;
        }
        if (t <= limit)
            continue;
        log_warn("raft.entry_of_the_future", 0, L_UINT("partition", r->partition),
                 L_UINT("index", entries[i].index), L_UINT("ahead_ms", t - limit));
        r->refused_from = m->from;
        r->refused_term = m->term;
        r->refused_until_ns = now + 3 * ms_to_ns(n->config.timeouts.election);
        return true;
    }
    return false;
}

static void deliver(struct meta_node *n, const Cairn__RaftMessage *wire, struct raft_message *m,
                    struct raft_log_entry *entries, uint64_t sender)
{
    struct replica *r = node_replica(n, wire->group);
    if (!r || !replica_runs(r) || wire->epoch != r->desc->epoch || m->from != sender ||
        m->to != n->raft_id || (unsigned)wire->type > RAFT_TIMEOUT_NOW || n->failed) {
        n->stats.messages_refused++;
        return;
    }
    if (is_of_the_future(r, m, entries)) {
        struct raft_event lost = {.type = RAFT_EV_NODE_LOST, .peer = m->from};
        n->stats.messages_refused++;
        if (raft_is_asleep(r->raft)) /* to us it is as good as dead */
            (void)replica_step(r, &lost, NULL);
        return;
    }
    struct raft_event ev = {.type = RAFT_EV_MESSAGE, .message = *m};
    if (replica_step(r, &ev, entries) == ERR_PROTO)
        n->stats.messages_refused++;
}

void transport_batch(void *arg, struct rpc_request *req)
{
    struct meta_node *n = arg;
    const Cairn__RaftBatch *batch = (const Cairn__RaftBatch *)req->msg;
    struct slice payload = req->payload.bytes;
    struct raft_log_entry *entries = n->received;
    struct raft_entry_meta *metas = n->received_metas;
    uint64_t sender = topology_raft_id(req->peer.node_id);
    n->stats.batches_received++;
    if (n->stopped || n->failed || !store_id_admits(n, req->peer.node_id, batch)) {
        n->stats.messages_refused += batch->n_messages;
        return;
    }
    sleep_heard(transport_peer(n, sender), batch->life);
    for (size_t i = 0; i < batch->n_messages && !n->stopped; i++) {
        struct raft_message m;
        uint32_t count;
        unpack_message(batch->messages[i], &m);
        int err = parse_entries(&m, &payload, req->payload.owner, entries, metas, &count);
        m.entries = metas;
        for (uint32_t k = 0; k < count; k++)
            m.entry_bytes += metas[k].bytes;
        if (err == OK) {
            n->stats.messages_received++;
            deliver(n, batch->messages[i], &m, entries, sender);
        }
        for (uint32_t k = 0; k < count; k++)
            raft_log_entry_fini(&entries[k]);
        if (err != OK) {
            log_warn("raft.batch_malformed", 0, L_STR("peer", req->peer.node_id), L_ERR(err));
            break;
        }
    }
}
