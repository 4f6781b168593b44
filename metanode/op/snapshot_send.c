/* Streaming a snapshot to a replica whose log is too far behind.
 *
 *   WAITING → EXPORTING → READING ⇄ SENDING ──last chunk answered──→ done: RAFT_EV_SNAPSHOT_SENT
 *                            ↑ └── PAUSING (rate, or a failed call) ──┘
 *
 * The rows as of one applied index are exported under a kv snapshot into files, with their checksums;
 * these are read and sent chunk by chunk, each answered with what is wanted next, so that a stream goes
 * on where it was after a lost message.  Files and worker calls block; they run on workers. */
#include "metanode/op/internal.h"

#include "common/base/hash.h"

#include <stdio.h>
#include <stdlib.h>

#define SNAPSHOTS_MAX 2  /* of a node at once; others wait */
#define FAILURES_MAX 40  /* in a row, with RETRY_MS between: then the core decides anew */
#define RETRY_MS 250
#define CHUNK_TIMEOUT_MS 10000 /* the last one is answered when all is installed: asked again */

enum sender_state { SENDER_WAITING, SENDER_EXPORTING, SENDER_READING, SENDER_SENDING, SENDER_PAUSING };

struct snapshot_sender {
    struct replica *replica;
    struct meta_peer *peer;
    unsigned place; /* in replica->senders */
    enum sender_state state;
    bool running;   /* counted in node->snapshots_under_way */
    bool stopped;   /* freed by the callback that is still to come */
    struct env_timer timer;
    struct env_work work;
    struct rpc_call call;

    struct id128 id;
    uint64_t lead_term, index, index_term;
    struct buf header;
    const struct kv_snapshot *snap;
    char paths[SNAPSHOT_FILES][512];
    uint64_t bytes[SNAPSHOT_FILES];
    uint32_t crcs[SNAPSHOT_FILES];
    int work_err;

    unsigned file;
    uint64_t offset;
    struct buf chunk;
    unsigned failures;
};

void snapshot_path(struct meta_node *n, uint32_t partition, const char *what, unsigned family,
                   char *ret, size_t size)
{
    snprintf(ret, size, "%s/%s-%u-%u", n->config.snapshot_dir, what, partition, family);
}

/* ---- end ---- */

static void remove_files(struct snapshot_sender *s)
{
    struct meta_files *f = s->replica->node->files;
    for (unsigned i = 0; i < SNAPSHOT_FILES; i++)
        if (s->paths[i][0])
            (void)f->ops->remove(f, s->paths[i]);
}

static void sender_free(struct snapshot_sender *s)
{
    struct meta_node *n = s->replica->node;
    env_timer_stop(&s->timer);
    if (s->snap)
        n->state_kv->ops->snapshot_free(n->state_kv, s->snap);
    if (s->running)
        n->snapshots_under_way--;
    if (s->replica->senders[s->place] == s)
        s->replica->senders[s->place] = NULL;
    buf_fini(&s->header);
    buf_fini(&s->chunk);
    free(s);
}

static void finish(struct snapshot_sender *s, int err)
{
    struct replica *r = s->replica;
    struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_SENT,
                            .snapshot = {.peer = s->peer->raft_id, .ok = err == OK,
                                         .index = s->index}};
    log_info("snapshot.sent", 0, L_UINT("partition", r->partition), L_STR("to", s->peer->node_id),
             L_UINT("index", s->index), L_ERR(err));
    r->node->stats.snapshots_sent += err == OK;
    remove_files(s);
    sender_free(s);
    if (replica_runs(r) && !r->node->failed && !r->node->stopped)
        replica_step(r, &ev, NULL);
}

/* The leader that wanted this is one no more. */
static bool is_stale(const struct snapshot_sender *s)
{
    const struct replica *r = s->replica;
    return s->stopped || !replica_runs(r) || !r->leading || r->lead_term != s->lead_term ||
           r->node->failed;
}

static void go_on(struct snapshot_sender *s);

static void pause_for(struct snapshot_sender *s, uint64_t delay_ns)
{
    s->state = SENDER_PAUSING;
    env_timer_start(&s->timer, delay_ns);
}

/* ---- chunks ---- */

static void failed(struct snapshot_sender *s, int err)
{
    if (++s->failures > FAILURES_MAX)
        finish(s, err);
    else
        pause_for(s, RETRY_MS * NS_PER_MS);
}

static void answered(struct rpc_call *call)
{
    struct snapshot_sender *s = container_of(call, struct snapshot_sender, call);
    const Cairn__SnapshotChunkResponse *a = (const Cairn__SnapshotChunkResponse *)call->response;
    int err = call->err;
    bool installed = err == OK && a->installed;
    if (err == OK && !installed) {
        s->failures = 0;
        s->file = a->file;
        s->offset = a->offset;
    }
    rpc_call_fini(call);
    if (is_stale(s))
        finish(s, ERR_CANCELED);
    else if (installed)
        finish(s, OK);
    else if (err == ERR_CONFLICT || err == ERR_QUARANTINED)
        finish(s, err); /* it follows another leader, or nobody */
    else if (err == ERR_LIMIT)
        pause_for(s, RETRY_MS * NS_PER_MS); /* it is still at work on what it has */
    else if (err != OK)
        failed(s, err);
    else if (s->file >= SNAPSHOT_FILES || s->offset > s->bytes[s->file])
        finish(s, ERR_PROTO);
    else
        go_on(s);
}

static void send_chunk(struct snapshot_sender *s)
{
    struct replica *r = s->replica;
    struct meta_node *n = r->node;
    Cairn__SnapshotChunkRequest req = CAIRN__SNAPSHOT_CHUNK_REQUEST__INIT;
    bool file_end = s->offset + s->chunk.len == s->bytes[s->file];
    struct rcbuf *data = rcbuf_copy(buf_view(&s->chunk));
    if (!data) {
        failed(s, ERR_NOMEM);
        return;
    }
    req.group = r->partition;
    req.epoch = r->desc->epoch;
    req.term = s->lead_term;
    req.from = n->raft_id;
    req.snapshot_id = (ProtobufCBinaryData){ID_BYTES, s->id.bytes};
    req.last_index = s->index;
    req.last_term = s->index_term;
    if (s->file == 0 && s->offset == 0)
        req.header = (ProtobufCBinaryData){s->header.len, s->header.ptr};
    req.file = s->file;
    req.offset = s->offset;
    req.file_end = file_end;
    req.file_crc32c = s->crcs[s->file];
    req.end = file_end && s->file + 1 == SNAPSHOT_FILES;
    s->call = (struct rpc_call){
        .method = &method_raft_snapshot_chunk,
        .request = &req.base,
        .payload = {{data, SLICE(data->data, data->len)}},
        .payload_count = data->len ? 1 : 0,
        .timeout_ns = CHUNK_TIMEOUT_MS * NS_PER_MS,
        .cb = answered,
    };
    s->state = SENDER_SENDING;
    n->stats.snapshot_bytes_sent += data->len;
    int err = rpc_call_start(s->peer->rpc, &s->call);
    rcbuf_unref(data);
    if (err != OK)
        failed(s, err);
}

static void read_run(struct env_work *work)
{
    struct snapshot_sender *s = container_of(work, struct snapshot_sender, work);
    struct meta_node *n = s->replica->node;
    uint64_t left = s->bytes[s->file] - s->offset;
    size_t want = (size_t)MIN(left, (uint64_t)n->config.limits.snapshot_chunk_bytes);
    buf_clear(&s->chunk);
    s->work_err = OK;
    if (want > 0)
        s->work_err = n->files->ops->read(n->files, s->paths[s->file], s->offset, want, &s->chunk);
    if (s->work_err == OK && s->chunk.len != want)
        s->work_err = ERR_IO;
}

static void read_done(struct env_work *work)
{
    struct snapshot_sender *s = container_of(work, struct snapshot_sender, work);
    if (is_stale(s))
        finish(s, ERR_CANCELED);
    else if (s->work_err != OK)
        finish(s, s->work_err);
    else
        send_chunk(s);
}

/* The next chunk, no earlier than the rate allows. */
static void go_on(struct snapshot_sender *s)
{
    struct meta_node *n = s->replica->node;
    const struct meta_limits *l = &n->config.limits;
    uint64_t now = env_now_ns(n->env);
    if (now < n->snapshot_paced_ns) {
        pause_for(s, n->snapshot_paced_ns - now);
        return;
    }
    n->snapshot_paced_ns = now + NS_PER_SEC * l->snapshot_chunk_bytes / l->snapshot_bytes_per_s;
    s->state = SENDER_READING;
    s->work.run = read_run;
    s->work.done = read_done;
    env_work_start(n->env, &s->work);
}

/* ---- export ---- */

static int file_crc(struct meta_files *f, const char *path, uint64_t bytes, uint32_t *ret)
{
    struct buf piece = {0};
    uint32_t crc = 0;
    int err = OK;
    for (uint64_t at = 0; at < bytes && err == OK; at += piece.len) {
        buf_clear(&piece);
        err = f->ops->read(f, path, at, (size_t)MIN(bytes - at, (uint64_t)1 << 20), &piece);
        if (err == OK && piece.len == 0)
            err = ERR_IO;
        crc = crc32c(crc, buf_view(&piece));
    }
    buf_fini(&piece);
    *ret = crc;
    return err;
}

static void export_run(struct env_work *work)
{
    struct snapshot_sender *s = container_of(work, struct snapshot_sender, work);
    struct meta_node *n = s->replica->node;
    uint8_t lower[INDEX_RANGE_BYTES], upper[INDEX_RANGE_BYTES];
    index_range(s->replica->partition, lower, upper);
    s->work_err = OK;
    for (unsigned f = 0; f < SNAPSHOT_FILES && s->work_err == OK; f++) {
        s->work_err = n->state_kv->ops->export_range(n->state_kv, s->snap, (enum kv_family)f,
                                                     SLICE(lower, sizeof(lower)),
                                                     SLICE(upper, sizeof(upper)), s->paths[f],
                                                     &s->bytes[f]);
        if (s->work_err == OK)
            s->work_err = file_crc(n->files, s->paths[f], s->bytes[f], &s->crcs[f]);
    }
}

static void export_done(struct env_work *work)
{
    struct snapshot_sender *s = container_of(work, struct snapshot_sender, work);
    struct meta_node *n = s->replica->node;
    n->state_kv->ops->snapshot_free(n->state_kv, s->snap);
    s->snap = NULL;
    if (is_stale(s))
        finish(s, ERR_CANCELED);
    else if (s->work_err != OK)
        finish(s, s->work_err);
    else
        go_on(s);
}

static void export_start(struct snapshot_sender *s)
{
    struct replica *r = s->replica;
    struct meta_node *n = r->node;
    const struct raft_config *config = raft_config(r->raft);
    char what[32];
    s->index = index_applied(r->index);
    s->index_term = index_applied_term(r->index);
    control_header(&r->control, &r->visible, s->index, s->index_term, r->desc->epoch,
                   config->voters, config->voter_count, &s->header);
    s->snap = n->state_kv->ops->snapshot_new(n->state_kv);
    if (!s->snap || s->header.failed) {
        finish(s, ERR_NOMEM);
        return;
    }
    snprintf(what, sizeof(what), "out%u", s->place);
    for (unsigned f = 0; f < SNAPSHOT_FILES; f++)
        snapshot_path(n, r->partition, what, f, s->paths[f], sizeof(s->paths[f]));
    env_random(n->env, s->id.bytes, sizeof(s->id.bytes));
    s->running = true;
    n->snapshots_under_way++;
    s->state = SENDER_EXPORTING;
    s->work.run = export_run;
    s->work.done = export_done;
    env_work_start(n->env, &s->work);
}

/* ---- start ---- */

static void timer_fired(struct env_timer *timer)
{
    struct snapshot_sender *s = container_of(timer, struct snapshot_sender, timer);
    struct meta_node *n = s->replica->node;
    /* A replica that was quarantined meanwhile may have no index. */
    bool may_run = n->snapshots_under_way < SNAPSHOTS_MAX && !s->replica->installing &&
                   replica_applied(s->replica) > 0;
    if (is_stale(s))
        finish(s, ERR_CANCELED);
    else if (s->state == SENDER_PAUSING)
        go_on(s);
    else if (may_run)
        export_start(s);
    else
        env_timer_start(&s->timer, RETRY_MS * NS_PER_MS);
}

/* Never steps the core inside the call: it is called from within a step. */
void snapshot_send(struct replica *r, uint64_t peer)
{
    unsigned place = 0;
    for (unsigned i = 0; i < META_REPLICAS_MAX; i++)
        if (r->senders[i] && r->senders[i]->peer->raft_id == peer)
            return;
    while (place < META_REPLICAS_MAX && r->senders[place])
        place++;
    struct meta_peer *p = transport_peer(r->node, peer);
    struct snapshot_sender *s = p && place < META_REPLICAS_MAX ? calloc(1, sizeof(*s)) : NULL;
    if (!s)
        return; /* the core asks again with the next leader */
    s->replica = r;
    s->peer = p;
    s->place = place;
    s->lead_term = raft_term(r->raft);
    r->senders[place] = s;
    log_info("snapshot.send", 0, L_UINT("partition", r->partition), L_STR("to", p->node_id));
    env_timer_init(r->node->env, &s->timer, timer_fired);
    env_timer_start(&s->timer, 0);
}

void snapshot_send_stop(struct replica *r)
{
    for (unsigned i = 0; i < META_REPLICAS_MAX; i++) {
        struct snapshot_sender *s = r->senders[i];
        if (!s)
            continue;
        s->stopped = true;
        if (s->state == SENDER_SENDING)
            rpc_call_cancel(&s->call); /* its end finishes */
        else if (s->state == SENDER_WAITING || s->state == SENDER_PAUSING)
            sender_free(s);
    }
}

void snapshot_send_free(struct replica *r)
{
    for (unsigned i = 0; i < META_REPLICAS_MAX; i++)
        if (r->senders[i])
            sender_free(r->senders[i]);
}
