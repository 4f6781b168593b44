/* Commands into the log, outcomes out of it.
 *
 *   queued ──turn──→ in the log, waiting ──applied──→ answered
 *      │ refused by the core        │ leadership lost (also within the very step that puts it
 *      │                            │ there): ERR_DROPPED, the outcome is unknown
 *      ↓                            ↓
 *   answered: nothing happened    answered
 *
 * All that arrived in one turn of the loop goes into the log in one step: one write, one message to
 * each follower, one to each witness.  Under way are at most limits.proposals_max and
 * proposal_bytes_max; beyond it ERR_OVERLOAD. */
#include "metanode/op/internal.h"

#include <stdlib.h>

void propose_init(struct replica *r)
{
    list_init(&r->propose.queued);
    list_init(&r->propose.waiting);
}

uint64_t propose_time_ms(const struct replica *r)
{
    uint64_t t = env_wall_ms(r->node->env);
    t = MAX(t, r->control.time_ms);
    t = MAX(t, r->propose.time_ms);
    return MAX(t, index_time_ms(r->index));
}

/* ---- ends ---- */

static void reply(struct rpc_request *req, int err, const Cairn__Outcome *outcome)
{
    Cairn__ProposeResponse answer = CAIRN__PROPOSE_RESPONSE__INIT;
    answer.outcome = (Cairn__Outcome *)(uintptr_t)outcome;
    rpc_reply(req, err, err == OK ? &answer.base : NULL, NULL, 0);
}

static void end(struct replica *r, struct proposal *p, int err, const Cairn__Outcome *outcome)
{
    list_remove(&p->node);
    CHECK(r->propose.count > 0 && r->propose.bytes >= p->bytes);
    r->propose.count--;
    r->propose.bytes -= p->bytes;
    if (p->req && (err == ERR_NOT_LEADER || err == ERR_NOT_READY))
        status_reply_route(p->req, err, r->node, r);
    else if (p->req)
        reply(p->req, err, outcome);
    if (p->done)
        p->done(r, err, outcome, p->arg);
    payload_unref(&p->entry.data);
    free(p);
}

static struct proposal *front(const struct list *l)
{
    return list_empty(l) ? NULL : container_of(l->next, struct proposal, node);
}

void propose_lost(struct replica *r, int queued_err)
{
    struct proposal *p;
    while ((p = front(&r->propose.waiting)) != NULL) {
        r->node->stats.proposals_dropped++;
        end(r, p, ERR_DROPPED, NULL);
    }
    /* Those in the core's hands may be in the log and on their way to others. */
    for (; r->propose.stepping > 0; r->propose.stepping--) {
        r->node->stats.proposals_dropped++;
        end(r, front(&r->propose.queued), ERR_DROPPED, NULL);
    }
    while ((p = front(&r->propose.queued)) != NULL)
        end(r, p, queued_err, NULL);
    r->propose.time_ms = 0;
}

bool propose_is_waiting(const struct replica *r, uint64_t index)
{
    const struct proposal *p = front(&r->propose.waiting);
    CHECK(!p || p->entry.index >= index);
    return p && p->entry.index == index;
}

void propose_applied(struct replica *r, uint64_t index, uint64_t term, const Cairn__Outcome *outcome)
{
    struct proposal *p = front(&r->propose.waiting);
    CHECK(p && p->entry.index == index && p->entry.term == term);
    end(r, p, outcome ? OK : ERR_DROPPED, outcome);
}

/* ---- into the queue ---- */

/* Sets the command's time, checks it, and queues its entry.  Takes req on OK only. */
static int enqueue(struct replica *r, const Cairn__Command *given, struct slice body,
                   struct proposal *p)
{
    const struct meta_limits *l = &r->node->config.limits;
    Cairn__Command command = *given;
    struct buf packed = {0};
    /* Also what an earlier leader left behind counts: it cannot be made visible while a witness is
     * missing. */
    if (r->propose.count >= l->proposals_max || r->propose.bytes >= l->proposal_bytes_max ||
        r->tail_bytes >= l->proposal_bytes_max ||
        raft_last_index(r->raft) - index_applied(r->index) >= TAIL_ENTRIES_MAX)
        return ERR_OVERLOAD;
    command.time_ms = propose_time_ms(r);
    int err = index_command_check(r->index, &command, body.len);
    if (err != OK)
        return err;
    index_entry_pack(&command, body, &packed);
    struct rcbuf *data = packed.failed ? NULL : rcbuf_copy(buf_view(&packed));
    buf_fini(&packed);
    if (!data)
        return ERR_NOMEM;
    p->entry.kind = RAFT_ENTRY_NORMAL;
    p->entry.data = (struct payload){data, SLICE(data->data, data->len)};
    p->bytes = data->len;
    r->propose.time_ms = command.time_ms;
    r->propose.count++;
    r->propose.bytes += p->bytes;
    list_push_back(&r->propose.queued, &p->node);
    r->node->stats.proposals++;
    replica_wake(r);
    return OK;
}

int propose_own(struct replica *r, Cairn__Command *command,
                void (*done)(struct replica *r, int err, const Cairn__Outcome *outcome, void *arg),
                void *arg)
{
    struct proposal *p;
    if (!replica_runs(r) || !r->leading)
        return ERR_NOT_LEADER;
    p = calloc(1, sizeof(*p));
    if (!p)
        return ERR_NOMEM;
    list_init(&p->node);
    p->done = done;
    p->arg = arg;
    command->epoch = index_epoch(r->index);
    command->issued_ms = propose_time_ms(r);
    int err = enqueue(r, command, SLICE_EMPTY, p);
    if (err != OK)
        free(p);
    return err;
}

/* What only the metanodes themselves propose. */
static bool is_internal(const Cairn__Command *c)
{
    switch (c->op_case) {
    case CAIRN__COMMAND__OP_BOOTSTRAP:
    case CAIRN__COMMAND__OP_DELETION_DONE:
    case CAIRN__COMMAND__OP_EXPAND_DELETION:
    case CAIRN__COMMAND__OP_PRUNE_OUTCOMES:
    case CAIRN__COMMAND__OP_CONDEMN:
    case CAIRN__COMMAND__OP_PUT_NODE:
    case CAIRN__COMMAND__OP_ADD_PGS:
    case CAIRN__COMMAND__OP_BEGIN_PG_CHANGE:
    case CAIRN__COMMAND__OP_FINISH_PG_CHANGE: return true;
    default: return false;
    }
}

/* A proposal older than the outcome window is refused, unless its outcome is still known. */
static bool answer_from_outcomes(struct replica *r, struct rpc_request *req, const Cairn__Command *c)
{
    Cairn__Outcome *outcome = NULL;
    struct slice id = SLICE(c->write_id.data, c->write_id.len);
    if (index_outcome_find(r->index, id, &outcome) != OK)
        return false;
    reply(req, OK, outcome);
    cairn__outcome__free_unpacked(outcome, NULL);
    return true;
}

void propose_serve(void *arg, struct rpc_request *req)
{
    struct meta_node *n = arg;
    const Cairn__ProposeRequest *m = (const Cairn__ProposeRequest *)req->msg;
    struct replica *r = node_replica(n, m->partition);
    struct proposal *p = NULL;
    int err = OK;
    if (!r)
        err = ERR_NO_PARTITION;
    else if (n->stopped || n->failed)
        err = ERR_SHUTDOWN;
    else if (!r->leading) /* a quarantined one never does */
        err = ERR_NOT_LEADER;
    else if (!m->command || m->command->write_id.len != ID_BYTES)
        err = ERR_INVAL;
    else if (is_internal(m->command))
        err = ERR_AUTH;
    if (err == OK) {
        p = calloc(1, sizeof(*p));
        err = p ? OK : ERR_NOMEM;
    }
    if (err == OK) {
        list_init(&p->node);
        p->req = req;
        err = enqueue(r, m->command, req->payload.bytes, p);
    }
    if (err == OK)
        return;
    free(p);
    n->stats.proposals_refused++;
    if (err == ERR_TOO_OLD && answer_from_outcomes(r, req, m->command))
        return;
    if (err == ERR_NOT_LEADER || err == ERR_EPOCH || err == ERR_NO_PARTITION)
        status_reply_route(req, err, n, r);
    else
        reply(req, err, NULL);
}

/* ---- into the log ---- */

static uint32_t gather(struct replica *r)
{
    struct raft_log_entry *own = r->node->own;
    uint32_t count = 0;
    uint64_t bytes = 0;
    list_for_each(it, &r->propose.queued)
    {
        struct proposal *p = container_of(it, struct proposal, node);
        if (count == PROPOSE_ENTRIES_MAX || (count > 0 && bytes + p->bytes > PROPOSE_BYTES_MAX))
            break;
        bytes += p->bytes;
        own[count++] = p->entry;
    }
    return count;
}

static int step(struct replica *r, struct raft_log_entry *entries, uint32_t count)
{
    struct raft_entry_meta metas[PROPOSE_ENTRIES_MAX];
    struct raft_event ev = {.type = RAFT_EV_PROPOSE, .propose = {metas, count}};
    CHECK(count > 0 && count <= PROPOSE_ENTRIES_MAX);
    for (uint32_t i = 0; i < count; i++)
        metas[i] = (struct raft_entry_meta){0, entries[i].kind,
                                            (uint32_t)entries[i].data.bytes.len};
    return replica_step(r, &ev, entries);
}

void propose_turn(struct replica *r)
{
    struct raft_log_entry *own = r->node->own;
    while (r->leading && replica_runs(r) && !r->node->failed && !list_empty(&r->propose.queued)) {
        uint32_t count = gather(r);
        r->propose.stepping = count;
        int err = step(r, own, count);
        r->propose.stepping = 0;
        for (uint32_t i = 0; i < count; i++) {
            struct proposal *p = front(&r->propose.queued);
            if (!p)
                return; /* leadership went with this very step */
            if (err != OK) {
                r->node->stats.proposals_refused++;
                end(r, p, err, NULL);
                continue;
            }
            p->entry.index = own[i].index;
            p->entry.term = own[i].term;
            payload_unref(&p->entry.data); /* the log has it now */
            list_remove(&p->node);
            list_push_back(&r->propose.waiting, &p->node);
        }
    }
}

int propose_control(struct replica *r, struct control_entry *e, uint64_t *ret_index)
{
    struct raft_log_entry entry = {.kind = RAFT_ENTRY_CONTROL};
    struct buf packed = {0};
    if (!replica_runs(r) || !r->leading)
        return ERR_NOT_LEADER;
    e->time_ms = propose_time_ms(r);
    control_entry_pack(e, &packed);
    struct rcbuf *data = packed.failed ? NULL : rcbuf_copy(buf_view(&packed));
    buf_fini(&packed);
    if (!data)
        return ERR_NOMEM;
    entry.data = (struct payload){data, SLICE(data->data, data->len)};
    int err = step(r, &entry, 1);
    rcbuf_unref(data);
    if (err == OK && ret_index)
        *ret_index = entry.index;
    return err;
}
