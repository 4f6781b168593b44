/* Receiving a snapshot, and installing it.
 *
 *   RECEIVING ──last chunk──→ NOTING ──header durable──→ INSTALLING ──rows replaced──→ the core is told
 *
 * Chunks go to temporary files, each file's checksum is compared, and the answer says what is wanted
 * next.  Installing replaces the partition's rows atomically and durably (kv replace_range), then the
 * core resets the log to the snapshot's index.  A crash in between leaves the new rows and the old log;
 * the header that the log's reset needs was noted in the log store before, under a key of its own. */
#include "metanode/op/internal.h"

#include "common/base/hash.h"

#include <stdlib.h>

enum receiver_state { RECEIVER_RECEIVING, RECEIVER_WRITING, RECEIVER_NOTING, RECEIVER_INSTALLING };

struct snapshot_receiver {
    struct replica *replica;
    enum receiver_state state;
    struct rpc_request *req; /* being answered; NULL between chunks */
    struct env_work work;
    struct kv_write_req note;
    int work_err;

    struct id128 id;
    uint64_t from, term, index, index_term;
    struct buf header;
    bool telling; /* the core is being told: the header is what its log write stores */
    unsigned file;
    uint64_t offset;
    uint32_t crc;
    uint64_t bytes[SNAPSHOT_FILES];
    char paths[SNAPSHOT_FILES][512];
};

void snapshot_pending_key(uint32_t partition, struct buf *ret)
{
    buf_slice(ret, SLICE_LIT("\xff" "snapshot"));
    buf_be32(ret, partition);
}

struct slice snapshot_receive_header(struct replica *r)
{
    struct snapshot_receiver *s = r->receiver;
    return s && s->telling ? buf_view(&s->header) : SLICE_EMPTY;
}

static void answer(struct snapshot_receiver *s, int err, bool installed)
{
    Cairn__SnapshotChunkResponse m = CAIRN__SNAPSHOT_CHUNK_RESPONSE__INIT;
    struct rpc_request *req = s->req;
    s->req = NULL;
    m.file = s->file;
    m.offset = s->offset;
    m.installed = installed;
    m.term = s->replica->raft ? raft_term(s->replica->raft) : 0;
    if (req)
        rpc_reply(req, err, &m.base, NULL, 0);
}

static void receiver_free(struct snapshot_receiver *s)
{
    struct meta_files *f = s->replica->node->files;
    for (unsigned i = 0; i < SNAPSHOT_FILES; i++)
        if (s->paths[i][0])
            (void)f->ops->remove(f, s->paths[i]);
    s->replica->receiver = NULL;
    buf_fini(&s->header);
    free(s);
}

/* ---- installing ---- */

/* The rows are the snapshot's; the log and the core follow.  */
static int tell_core(struct snapshot_receiver *s)
{
    struct replica *r = s->replica;
    struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_INSTALLED,
                            .snapshot = {.peer = s->from, .term = s->term, .index = s->index,
                                         .log_term = s->index_term, .ok = true}};
    index_close(r->index);
    r->index = NULL;
    int err = index_open(r->node->state_kv, r->partition, &r->index);
    if (err == OK &&
        (index_applied(r->index) != s->index || index_applied_term(r->index) != s->index_term))
        err = ERR_CORRUPT;
    if (err != OK)
        return err;
    r->flushed = s->index;
    s->telling = true;
    err = replica_step(r, &ev, NULL);
    s->telling = false;
    return err == ERR_EXISTS ? OK : err;
}

static void install_run(struct env_work *work)
{
    struct snapshot_receiver *s = container_of(work, struct snapshot_receiver, work);
    struct kv *kv = s->replica->node->state_kv;
    const char *paths[KV_FAMILY_COUNT];
    uint8_t lower[INDEX_RANGE_BYTES], upper[INDEX_RANGE_BYTES];
    index_range(s->replica->partition, lower, upper);
    for (unsigned f = 0; f < SNAPSHOT_FILES; f++)
        paths[f] = s->bytes[f] ? s->paths[f] : NULL;
    s->work_err = kv->ops->replace_range(kv, SLICE(lower, sizeof(lower)),
                                         SLICE(upper, sizeof(upper)), paths, NULL);
}

static void install_done(struct env_work *work)
{
    struct snapshot_receiver *s = container_of(work, struct snapshot_receiver, work);
    struct replica *r = s->replica;
    struct meta_node *n = r->node;
    int err = s->work_err;
    r->installing = false;
    if (n->stopped || n->failed || !replica_runs(r)) {
        answer(s, ERR_SHUTDOWN, false);
    } else if (err == ERR_CORRUPT || err == ERR_NOMEM) {
        /* The files, not the store: nothing was replaced. */
        log_warn("snapshot.refused", 0, L_UINT("partition", r->partition), L_ERR(err));
        answer(s, err, false);
    } else if (err != OK) {
        answer(s, err, false);
        node_fail(n, err, "snapshot install");
    } else if ((err = tell_core(s)) != OK) {
        answer(s, err, false);
        replica_quarantine(r, err, "an installed snapshot is not what it said");
    } else {
        n->stats.snapshots_installed++;
        log_info("snapshot.installed", 0, L_UINT("partition", r->partition),
                 L_UINT("index", s->index));
        answer(s, OK, true);
    }
    receiver_free(s);
    replica_wake(r);
}

static void noted(struct kv_write_req *req)
{
    struct snapshot_receiver *s = container_of(req, struct snapshot_receiver, note);
    struct replica *r = s->replica;
    if (req->err != OK) {
        answer(s, req->err, false);
        receiver_free(s);
        node_fail(r->node, ERR_IO, "log write");
        return;
    }
    if (r->node->stopped || r->node->failed || !replica_runs(r)) {
        answer(s, ERR_SHUTDOWN, false);
        receiver_free(s);
        return;
    }
    if (index_applied(r->index) >= s->index) {
        /* The log caught up meanwhile. */
        answer(s, OK, true);
        receiver_free(s);
        return;
    }
    r->installing = true;
    s->state = RECEIVER_INSTALLING;
    s->work.run = install_run;
    s->work.done = install_done;
    env_work_start(r->node->env, &s->work);
}

static int note_header(struct snapshot_receiver *s)
{
    struct meta_node *n = s->replica->node;
    struct kv_batch *batch = kv_batch_new();
    struct buf key = {0};
    if (!batch)
        return ERR_NOMEM;
    snapshot_pending_key(s->replica->partition, &key);
    kv_batch_put(batch, KV_INDEX, buf_view(&key), buf_view(&s->header));
    int err = key.failed ? ERR_NOMEM : kv_batch_error(batch);
    buf_fini(&key);
    s->note = (struct kv_write_req){.cb = noted, .batch = batch};
    list_init(&s->note.node);
    s->state = RECEIVER_NOTING;
    if (err == OK)
        err = n->log_kv->ops->write_start(n->log_kv, &s->note);
    if (err != OK)
        kv_batch_free(s->note.batch);
    return err;
}

/* ---- chunks ---- */

static void write_run(struct env_work *work)
{
    struct snapshot_receiver *s = container_of(work, struct snapshot_receiver, work);
    struct meta_files *f = s->replica->node->files;
    struct slice bytes = s->req->payload.bytes;
    s->work_err = OK;
    if (bytes.len > 0)
        s->work_err = f->ops->write(f, s->paths[s->file], s->offset, bytes);
    if (s->work_err == OK)
        s->crc = crc32c(s->crc, bytes);
}

static void start_over(struct snapshot_receiver *s)
{
    s->file = 0;
    s->offset = 0;
    s->crc = 0;
    memset(s->bytes, 0, sizeof(s->bytes));
}

static void write_done(struct env_work *work)
{
    struct snapshot_receiver *s = container_of(work, struct snapshot_receiver, work);
    struct replica *r = s->replica;
    const Cairn__SnapshotChunkRequest *m = (const Cairn__SnapshotChunkRequest *)s->req->msg;
    s->state = RECEIVER_RECEIVING;
    if (r->node->stopped || r->node->failed || !replica_runs(r) || s->work_err != OK) {
        answer(s, s->work_err != OK ? s->work_err : ERR_SHUTDOWN, false);
        receiver_free(s);
        return;
    }
    s->offset += s->req->payload.bytes.len;
    s->bytes[s->file] = s->offset;
    if (m->file_end && s->crc != m->file_crc32c) {
        start_over(s);
        answer(s, ERR_CHECKSUM, false);
        return;
    }
    if (m->file_end) {
        s->file++;
        s->offset = 0;
        s->crc = 0;
    }
    if (s->file < SNAPSHOT_FILES) {
        answer(s, OK, false);
    } else {
        int err = note_header(s);
        if (err != OK) {
            answer(s, err, false);
            receiver_free(s);
        }
    }
}

/* The receiver for this stream: the one at work, or a new one.  NULL: out of memory, or it does not
 * begin at the beginning. */
static struct snapshot_receiver *receiver_for(struct replica *r, struct rpc_request *req,
                                              const Cairn__SnapshotChunkRequest *m, struct id128 id)
{
    struct snapshot_receiver *s = r->receiver;
    if (s && id128_eq(s->id, id))
        return s;
    if (s)
        receiver_free(s);
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->replica = r;
    s->id = id;
    s->from = topology_raft_id(req->peer.node_id);
    s->term = m->term;
    s->index = m->last_index;
    s->index_term = m->last_term;
    for (unsigned f = 0; f < SNAPSHOT_FILES; f++)
        snapshot_path(r->node, r->partition, "in", f, s->paths[f], sizeof(s->paths[f]));
    r->receiver = s;
    return s;
}

static int keep_header(struct snapshot_receiver *s, const Cairn__SnapshotChunkRequest *m)
{
    Cairn__ControlHeader *h =
        cairn__control_header__unpack(NULL, m->header.len, m->header.data);
    bool fits = h && h->index == s->index && h->term == s->index_term &&
                h->epoch == s->replica->desc->epoch;
    if (h)
        cairn__control_header__free_unpacked(h, NULL);
    if (!fits)
        return ERR_PROTO;
    buf_clear(&s->header);
    buf_slice(&s->header, SLICE(m->header.data, m->header.len));
    return s->header.failed ? ERR_NOMEM : OK;
}

static void receive(struct replica *r, struct rpc_request *req, struct id128 id)
{
    const Cairn__SnapshotChunkRequest *m = (const Cairn__SnapshotChunkRequest *)req->msg;
    struct snapshot_receiver *s = receiver_for(r, req, m, id);
    int err = OK;
    if (!s) {
        rpc_reply(req, ERR_NOMEM, NULL, NULL, 0);
        return;
    }
    s->req = req;
    if (m->file != s->file || m->offset != s->offset) {
        answer(s, OK, false); /* a repeated or lost chunk: this is what is wanted */
        return;
    }
    if (s->file == 0 && s->offset == 0)
        err = keep_header(s, m);
    if (err == OK && s->header.len == 0)
        err = ERR_PROTO;
    if (err != OK) {
        answer(s, err, false);
        receiver_free(s);
        return;
    }
    s->state = RECEIVER_WRITING;
    s->work.run = write_run;
    s->work.done = write_done;
    env_work_start(r->node->env, &s->work);
}

void snapshot_receive(void *arg, struct rpc_request *req)
{
    struct meta_node *n = arg;
    const Cairn__SnapshotChunkRequest *m = (const Cairn__SnapshotChunkRequest *)req->msg;
    Cairn__SnapshotChunkResponse had = CAIRN__SNAPSHOT_CHUNK_RESPONSE__INIT;
    struct replica *r = node_replica(n, m->group);
    struct id128 id = {{0}};
    uint64_t sender = topology_raft_id(req->peer.node_id);
    int err = OK;
    if (!r || n->stopped || n->failed)
        err = ERR_NO_PARTITION;
    else if (!replica_runs(r))
        err = ERR_QUARANTINED;
    else if (m->epoch != r->desc->epoch || m->from != sender || m->file >= SNAPSHOT_FILES ||
             m->last_index == 0 || m->last_term == 0 || m->last_term > m->term ||
             !id128_from_slice(SLICE(m->snapshot_id.data, m->snapshot_id.len), &id))
        err = ERR_PROTO;
    else if (r->receiver && r->receiver->state != RECEIVER_RECEIVING)
        err = ERR_LIMIT; /* one chunk at a time; a retry while we install */
    if (err == OK) {
        struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_OFFERED,
                                .snapshot = {.peer = sender, .term = m->term,
                                             .index = m->last_index, .log_term = m->last_term}};
        err = replica_step(r, &ev, NULL);
    }
    if (err == ERR_EXISTS) {
        if (r->receiver)
            receiver_free(r->receiver);
        had.installed = true;
        rpc_reply(req, OK, &had.base, NULL, 0);
    } else if (err != OK) {
        rpc_reply(req, err, NULL, NULL, 0);
    } else {
        receive(r, req, id);
    }
}

/* ---- end ---- */

void snapshot_receive_stop(struct replica *r)
{
    struct snapshot_receiver *s = r->receiver;
    if (s && s->state == RECEIVER_RECEIVING)
        receiver_free(s);
    /* Else a callback is still to come, and finds the node stopped. */
}

void snapshot_receive_free(struct replica *r)
{
    if (r->receiver)
        receiver_free(r->receiver);
}
