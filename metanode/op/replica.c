/* One Raft group on this node: its restart from disk, its steps and what they ask for, its apply loop.
 *
 * Order within a step's effects: roles first (a deposed leader's streams end before its log is
 * truncated), then the write (so that messages find their entries), messages, commit, reads.
 *
 * What is applied: at most visible_apply_limit(), and not beyond what is synced here while a control
 * entry is among the unsynced, or while the disk may hold entries that were removed.  After a crash the
 * state can then be ahead of the log only by entries that say nothing about witnesses, and the attach
 * set as of the log's end is the right one; and it never contradicts the log but for a snapshot. */
#include "metanode/op/internal.h"

#include <stdlib.h>

#define APPLY_BYTES_MAX (4u << 20) /* of one turn */

uint64_t replica_applied(const struct replica *r)
{
    return r->index ? index_applied(r->index) : 0;
}

void replica_wake(struct replica *r)
{
    struct meta_node *n = r->node;
    replica_set_put(&n->dirty, r->slot, true);
    if (n->turn_armed || n->stopped || n->failed)
        return;
    n->turn_armed = true;
    env_timer_start(&n->turn_timer, 0);
}

void replica_quarantine(struct replica *r, int err, const char *reason)
{
    if (r->state == REPLICA_QUARANTINED)
        return;
    /* A human must act: the replica stays silent until its data is looked at. */
    log_error("replica.quarantined", 0, L_UINT("partition", r->partition), L_STR("reason", reason),
              L_ERR(err));
    r->state = REPLICA_QUARANTINED;
    r->quarantine_reason = reason;
    sleep_noted(r);
    if (r->leading)
        sleep_new_life(r->node);
    r->leading = false;
    propose_lost(r, ERR_NOT_LEADER); /* another replica will */
    read_fail_all(r, ERR_NOT_LEADER);
    stream_stop(r);
    deletion_stop(r);
    if (r->partition == ROOT_PARTITION)
        root_deposed(r);
}

/* ---- the log ---- */

static uint64_t entry_time(const struct raft_log_entry *e)
{
    return e->kind == RAFT_ENTRY_NORMAL ? index_entry_time_ms(e->data.bytes) : 0;
}

static int append_control(struct replica *r, const struct raft_log_entry *e)
{
    r->tail_bytes += e->data.bytes.len;
    return control_append(&r->control, &r->visible, e->index, e->kind == RAFT_ENTRY_CONTROL,
                          e->data.bytes, entry_time(e));
}

/* After a truncation: what is known of the entries behind the applied index, from those that are left. */
static int tail_rescan(struct replica *r)
{
    struct meta_node *n = r->node;
    uint64_t next = index_applied(r->index) + 1;
    r->tail_bytes = 0;
    r->control.time_ms = index_time_ms(r->index);
    while (next <= r->visible.last) {
        uint32_t count = (uint32_t)MIN(r->visible.last - next + 1, (uint64_t)BATCH_ENTRIES_MAX), got;
        int err = raft_log_read(r->log, next, count, APPLY_BYTES_MAX, n->scratch, &got);
        if (err != OK)
            return err;
        for (uint32_t i = 0; i < got; i++) {
            r->tail_bytes += n->scratch[i].data.bytes.len;
            r->control.time_ms = MAX(r->control.time_ms, entry_time(&n->scratch[i]));
            raft_log_entry_fini(&n->scratch[i]);
        }
        next += got;
    }
    return OK;
}

static void written(struct raft_log_write *w)
{
    struct replica_write *rw = container_of(w, struct replica_write, w);
    struct replica *r = rw->replica;
    struct raft_event ev = {.type = RAFT_EV_SYNCED,
                            .synced = {w->seq, w->last_index, w->last_term}};
    int err = w->err;
    bool first = rw->first;
    list_remove(&rw->node);
    free(rw);
    if (err != OK) {
        node_fail(r->node, err, "log write");
        return;
    }
    if (first) {
        CHECK(r->resets > 0);
        r->resets--;
    } else if (replica_runs(r)) {
        replica_step(r, &ev, NULL);
    }
    replica_wake(r);
}

static void reset_written(struct raft_log_write *w)
{
    struct replica_write *rw = container_of(w, struct replica_write, w);
    rw->replica->resets--;
    written(w);
}

static int write_start(struct replica *r, const struct raft_write *write,
                       const struct raft_log_entry *entries, struct slice header, bool first)
{
    struct replica_write *rw = calloc(1, sizeof(*rw));
    if (!rw)
        return ERR_NOMEM;
    rw->replica = r;
    rw->first = first;
    rw->w.cb = write->reset_index != 0 && !first ? reset_written : written;
    int err = raft_log_write_start(r->log, write, entries, header, &rw->w);
    if (err != OK) {
        free(rw);
        return err;
    }
    if (write->reset_index != 0)
        r->resets++;
    list_push_back(&r->writes, &rw->node);
    return OK;
}

/* A leader's new entries get their place and checksum here. */
static void seal_own(const struct raft_write *w, struct raft_log_entry *entries)
{
    for (uint32_t i = 0; i < w->entry_count; i++) {
        entries[i].index = w->first_index + i;
        entries[i].term = w->term_of_entries;
        raft_log_entry_seal(&entries[i]);
    }
}

static int effect_write(struct replica *r, const struct raft_event *ev, struct raft_log_entry *entries)
{
    struct meta_node *n = r->node;
    const struct raft_write *w = &n->fx.write;
    struct raft_log_entry noop = {.kind = RAFT_ENTRY_NOOP};
    struct slice header = SLICE_EMPTY;
    if (!w->present)
        return OK;
    if (w->noop)
        entries = &noop;
    else if (w->entry_count > 0 && ev->type == RAFT_EV_MESSAGE)
        entries += w->entry_offset;
    if (w->noop || ev->type == RAFT_EV_PROPOSE)
        seal_own(w, entries);
    if (w->reset_index != 0)
        header = snapshot_receive_header(r);
    int err = write_start(r, w, entries, header, false);
    if (err == OK && w->reset_index != 0)
        err = replica_restart_from_header(r, header, w->reset_index);
    if (err == OK && w->reset_index != 0)
        r->tail_bytes = 0;
    if (err == OK && w->truncate_from != 0) {
        control_truncate(&r->control, &r->visible, w->truncate_from);
        err = tail_rescan(r);
    }
    for (uint32_t i = 0; i < w->entry_count && err == OK; i++)
        err = append_control(r, &entries[i]);
    return err;
}

/* ---- roles ---- */

static void deposed(struct replica *r)
{
    log_info("raft.deposed", 0, L_UINT("partition", r->partition), L_UINT("term", r->lead_term));
    r->node->stats.leaderships_lost++;
    r->leading = false;
    stream_stop(r);
    visible_step_down(&r->visible);
    propose_lost(r, ERR_NOT_LEADER);
    deletion_stop(r);
    if (r->partition == ROOT_PARTITION)
        root_deposed(r);
}

static void elected(struct replica *r)
{
    r->leading = true;
    r->lead_term = raft_term(r->raft);
    r->led_since_ns = env_now_ns(r->node->env);
    r->node->stats.elections_won++;
    log_info("raft.elected", 0, L_UINT("partition", r->partition), L_UINT("term", r->lead_term),
             L_UINT("noop", raft_term_start(r->raft)));
    visible_became_leader(&r->visible, r->lead_term, raft_term_start(r->raft));
    if (r->partition == ROOT_PARTITION)
        root_elected(r);
    witness_set_apply(r);
}

static void effect_role(struct replica *r)
{
    bool leads = raft_role(r->raft) == RAFT_LEADER;
    if (r->leading && (!leads || raft_term(r->raft) != r->lead_term))
        deposed(r);
    if (leads && !r->leading)
        elected(r);
}

/* ---- steps ---- */

static void effect_snapshots(struct replica *r)
{
    struct meta_node *n = r->node;
    uint64_t peers[RAFT_MEMBERS_MAX];
    uint32_t count = n->fx.snapshot_peer_count;
    memcpy(peers, n->fx.snapshot_peers, count * sizeof(peers[0]));
    for (uint32_t i = 0; i < count; i++)
        snapshot_send(r, peers[i]);
}

static void effect_commit(struct replica *r)
{
    bool changed = control_commit(&r->control, &r->visible, raft_commit(r->raft));
    r->attach_due = r->attach_due || r->leading;
    if (r->partition != ROOT_PARTITION)
        return;
    if (changed)
        witness_set_from_registry(r->node, &r->control.registry);
    root_committed(r, changed);
}

static void effects(struct replica *r, const struct raft_event *ev, struct raft_log_entry *entries)
{
    struct meta_node *n = r->node;
    struct raft_effects *fx = &n->fx;
    if (fx->role_changed)
        effect_role(r);
    int err = effect_write(r, ev, entries);
    if (err != OK) {
        /* The core has moved on and the log has not: nothing sound can follow. */
        node_fail(n, err, "log write refused");
        return;
    }
    for (uint32_t i = 0; i < fx->message_count; i++)
        transport_send(r, &fx->messages[i]);
    if (fx->commit_changed)
        effect_commit(r);
    if (fx->visible_changed && !r->leading)
        visible_learn(&r->visible, raft_visible(r->raft));
    for (uint32_t i = 0; i < fx->read_count; i++)
        read_round_ended(r, &fx->reads[i]);
    effect_snapshots(r);
}

int replica_step(struct replica *r, struct raft_event *ev, struct raft_log_entry *entries)
{
    struct meta_node *n = r->node;
    CHECK(replica_runs(r) && !n->stepping);
    if (n->failed)
        return ERR_IO;
    ev->now_ns = env_now_ns(n->env);
    ev->random = node_random(n);
    ev->heard_ns = sleep_heard_ns(r);
    n->stepping = true;
    int err = raft_step(r->raft, ev, &n->fx);
    effects(r, ev, entries);
    while (n->fx.more && !n->failed) {
        struct raft_event tick = {.type = RAFT_EV_TICK, .now_ns = ev->now_ns,
                                  .random = node_random(n)};
        (void)raft_step(r->raft, &tick, &n->fx);
        effects(r, &tick, NULL);
    }
    n->stepping = false;
    if (err == ERR_CORRUPT)
        replica_quarantine(r, err, "a leader's log contradicts what is committed here");
    sleep_noted(r);
    replica_wake(r);
    node_deadline_changed(n, r);
    return err;
}

/* ---- apply ---- */

static uint64_t apply_limit(const struct replica *r)
{
    /* A leader deposed before it told the core what had become visible lets the next one tell it. */
    uint64_t limit = MIN(visible_apply_limit(&r->visible), raft_visible(r->raft));
    uint64_t synced = raft_synced_index(r->raft);
    if (r->control.last_index > synced || raft_is_truncating(r->raft))
        limit = MIN(limit, synced);
    return limit;
}

static int apply_entry(struct replica *r, const struct raft_log_entry *e)
{
    Cairn__Outcome *outcome = NULL;
    bool waited = propose_is_waiting(r, e->index);
    int err;
    if (e->kind == RAFT_ENTRY_NORMAL)
        err = index_apply(r->index, e->index, e->term, e->data.bytes, waited ? &outcome : NULL);
    else
        err = index_advance(r->index, e->index, e->term);
    if (err != OK)
        return err;
    raft_set_applied(r->raft, e->index);
    r->tail_bytes -= MIN(r->tail_bytes, e->data.bytes.len);
    r->node->stats.entries_applied++;
    r->node->stats.bytes_applied += e->data.bytes.len;
    if (waited)
        propose_applied(r, e->index, e->term, outcome);
    if (outcome)
        cairn__outcome__free_unpacked(outcome, NULL);
    return OK;
}

/* Returns: false when nothing more can be done now. */
static bool apply_some(struct replica *r)
{
    struct meta_node *n = r->node;
    uint64_t applied = index_applied(r->index), limit = apply_limit(r);
    uint32_t count = n->config.limits.apply_entries_max, got = 0;
    if (r->installing || r->resets > 0 || applied >= limit)
        return false;
    count = (uint32_t)MIN(limit - applied, (uint64_t)MIN(count, (uint32_t)BATCH_ENTRIES_MAX));
    int err = raft_log_read(r->log, applied + 1, count, APPLY_BYTES_MAX, n->scratch, &got);
    if (err != OK && err != ERR_NOMEM) {
        replica_quarantine(r, err, "an entry to be applied cannot be read");
        return false;
    }
    for (uint32_t i = 0; i < got; i++) {
        if (err == OK)
            err = apply_entry(r, &n->scratch[i]);
        raft_log_entry_fini(&n->scratch[i]);
    }
    if (err == OK)
        return true;
    if (err != ERR_NOMEM)
        node_fail(n, err, "apply");
    return false;
}

static void make_visible(struct replica *r)
{
    uint64_t serving = visible_serving(&r->visible);
    if (!r->leading || serving <= raft_visible(r->raft))
        return;
    int err = raft_set_visible(r->raft, serving);
    CHECK(err == OK);
}

void replica_turn(struct replica *r)
{
    if (!replica_runs(r))
        return;
    if (r->rouse)
        sleep_rouse(r);
    propose_turn(r);
    if (!replica_runs(r) || r->node->failed)
        return;
    make_visible(r);
    if (apply_some(r) && index_applied(r->index) < apply_limit(r))
        replica_wake(r);
    if (r->node->failed)
        return;
    if (r->partition == ROOT_PARTITION)
        root_turn(r);
    witness_set_turn(r);
    read_turn(r);
    stream_turn(r, false);
}

/* ---- start ---- */

/* The log as it is read at the start: what the core and the control state need of each entry. */
struct found_log {
    struct found_entry {
        uint64_t term, time_ms;
        uint32_t bytes;
        enum raft_entry_kind kind;
        uint32_t data_at; /* control entries: in `data` */
    } *entries;
    size_t count, cap;
    struct buf data;
};

static int found_one(void *arg, const struct raft_log_entry *e)
{
    struct found_log *f = arg;
    if (f->count == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 256;
        void *grown = realloc(f->entries, cap * sizeof(*f->entries));
        if (!grown)
            return ERR_NOMEM;
        f->entries = grown;
        f->cap = cap;
    }
    f->entries[f->count++] = (struct found_entry){
        .term = e->term,
        .time_ms = entry_time(e),
        .bytes = (uint32_t)e->data.bytes.len,
        .kind = e->kind,
        .data_at = (uint32_t)f->data.len,
    };
    if (e->kind == RAFT_ENTRY_CONTROL)
        buf_slice(&f->data, e->data.bytes);
    return f->data.failed ? ERR_NOMEM : OK;
}

static int open_index(struct replica *r, const struct raft_log_state *log)
{
    const Cairn__PartitionDescriptor *d = r->desc;
    static const struct index_settings settings; /* the index's defaults; fixed at creation */
    int err = index_open(r->node->state_kv, r->partition, &r->index);
    if (err != ERR_NOT_FOUND)
        return err;
    /* Never flushed: the log holds everything from the first entry on, or this replica has lost its
     * state. */
    if (log->compact_index != 0)
        return ERR_CORRUPT;
    err = index_create(r->node->state_kv, r->partition, d->epoch, SLICE(d->start.data, d->start.len),
                       SLICE(d->end.data, d->end.len), &settings, 0, 0);
    return err == OK ? index_open(r->node->state_kv, r->partition, &r->index) : err;
}

static int options(struct replica *r, struct raft_options *o)
{
    const struct meta_config *c = &r->node->config;
    *o = (struct raft_options){
        .id = r->node->raft_id,
        .election_timeout_ns = ms_to_ns(c->timeouts.election),
        .heartbeat_interval_ns = ms_to_ns(c->timeouts.heartbeat),
        .lease_ns = ms_to_ns(c->timeouts.raft_lease),
        .drift_ppm = c->timeouts.drift_ppm,
        .lease_enabled = c->lease_reads,
        /* The root renews the witnesses' leases: it is never idle. */
        .sleep_after_ns = r->partition == ROOT_PARTITION ? 0 : ms_to_ns(c->timeouts.sleep_after),
        .append_entries_max = c->limits.append_entries_max,
        /* Clients are held back before (propose.c): control entries must always find room, or a
         * witness that holds everything up could not be declared dead. */
        .uncommitted_bytes_max = c->limits.proposal_bytes_max + TAIL_HEADROOM_BYTES,
        .unapplied_bytes_max = c->limits.proposal_bytes_max + TAIL_HEADROOM_BYTES,
        .uncommitted_entries_max = TAIL_ENTRIES_MAX + TAIL_HEADROOM_ENTRIES,
    };
    for (size_t i = 0; i < r->desc->n_replicas; i++) {
        if (i == RAFT_MEMBERS_MAX)
            return ERR_CONFIG;
        o->config.voters[o->config.voter_count++] = topology_raft_id(r->desc->replicas[i]->node_id);
    }
    return OK;
}

/* Entries of the log go to the core and to the control state, up to the log's end. */
static int replay(struct replica *r, const struct raft_log_state *log, const struct found_log *f)
{
    for (size_t i = 0; i < f->count; i++) {
        const struct found_entry *e = &f->entries[i];
        bool is_control = e->kind == RAFT_ENTRY_CONTROL;
        struct slice data = is_control ? SLICE(f->data.ptr + e->data_at, e->bytes) : SLICE_EMPTY;
        int err = raft_restore(r->raft, e->term, e->bytes);
        if (err == OK)
            err = control_append(&r->control, &r->visible, log->compact_index + 1 + i, is_control,
                                 data, e->time_ms);
        if (err != OK)
            return err;
    }
    return OK;
}

static int start_core(struct replica *r, const struct raft_log_state *log, const struct found_log *f)
{
    uint64_t applied = index_applied(r->index);
    struct raft_options o;
    struct raft_durable d = {
        .term = log->term,
        .vote = log->vote,
        .compact_index = log->compact_index,
        .compact_term = log->compact_term,
        .applied = applied,
    };
    int err = options(r, &o);
    if (err == OK)
        err = control_restore(&r->control, &r->visible, raft_log_header(r->log), log->compact_index,
                              applied);
    if (err == OK)
        err = raft_new(&o, &d, &r->raft);
    if (err == OK)
        err = replay(r, log, f);
    if (err == OK)
        err = raft_start(r->raft, env_now_ns(r->node->env), node_random(r->node));
    if (err != OK)
        return err;
    (void)control_commit(&r->control, &r->visible, raft_commit(r->raft));
    return OK;
}

/* The log holds another entry at the applied index than the one that was applied: a snapshot was
 * installed, and the log, with a tail that nobody committed, not yet reset. */
static bool contradicts_state(const struct replica *r, const struct raft_log_state *log,
                              const struct found_log *f)
{
    uint64_t applied = index_applied(r->index), term = index_applied_term(r->index);
    if (applied == log->compact_index)
        return term != log->compact_term;
    return applied <= log->last_index && f->entries[applied - log->compact_index - 1].term != term;
}

/* The state is ahead of the log: it was flushed before the log's end was synced here, or a snapshot was
 * installed and the log not yet reset.  Everything up to the applied index is committed. */
static int reset_behind(struct replica *r, struct raft_log_state *log, const struct found_log *f)
{
    struct meta_node *n = r->node;
    uint64_t applied = index_applied(r->index), term = index_applied_term(r->index);
    struct buf key = {0}, header = {0};
    struct raft_write w = {.present = true, .has_hard_state = true, .vote = log->vote,
                           .reset_index = applied, .reset_term = term, .last_index = applied,
                           .last_term = term};
    w.term = MAX(log->term, term);
    if (w.term != log->term)
        w.vote = 0;
    snapshot_pending_key(r->partition, &key);
    int err = n->log_kv->ops->get(n->log_kv, NULL, KV_INDEX, buf_view(&key), &header);
    Cairn__ControlHeader *h =
        err == OK ? cairn__control_header__unpack(NULL, header.len, header.ptr) : NULL;
    if (!h || h->index != applied) {
        /* No snapshot's: as of the log's end, because no control entry lies between. */
        struct raft_options o;
        buf_clear(&header);
        err = applied > log->last_index ? options(r, &o) : ERR_CORRUPT;
        if (err == OK)
            err = control_restore(&r->control, &r->visible, raft_log_header(r->log),
                                  log->compact_index, log->compact_index);
        for (size_t i = 0; i < f->count && err == OK; i++) {
            const struct found_entry *e = &f->entries[i];
            bool is_control = e->kind == RAFT_ENTRY_CONTROL;
            err = control_append(&r->control, &r->visible, log->compact_index + 1 + i, is_control,
                                 is_control ? SLICE(f->data.ptr + e->data_at, e->bytes)
                                            : SLICE_EMPTY,
                                 e->time_ms);
        }
        if (err == OK) {
            static const struct id128 none = {{0}};
            while (r->visible.last < applied && err == OK)
                err = visible_append(&r->visible, r->visible.last + 1, VISIBLE_ENTRY_OTHER, none);
            (void)control_commit(&r->control, &r->visible, applied);
            control_header(&r->control, &r->visible, applied, term, r->desc->epoch,
                           o.config.voters, o.config.voter_count, &header);
            err = header.failed ? ERR_NOMEM : err;
        }
    }
    if (h)
        cairn__control_header__free_unpacked(h, NULL);
    if (err == OK)
        err = write_start(r, &w, NULL, buf_view(&header), true);
    buf_fini(&header);
    buf_fini(&key);
    if (err == OK) {
        raft_log_state(r->log, log);
        CHECK(log->compact_index == applied);
    }
    return err;
}

static int start(struct replica *r, struct found_log *f)
{
    struct raft_log_state log;
    int err = raft_log_open(r->node->logs, r->partition, found_one, f, &r->log);
    if (err != OK)
        return err;
    raft_log_state(r->log, &log);
    err = open_index(r, &log);
    if (err == OK && index_applied(r->index) < log.compact_index)
        err = ERR_CORRUPT;
    if (err == OK &&
        (index_applied(r->index) > log.last_index || contradicts_state(r, &log, f))) {
        err = reset_behind(r, &log, f);
        f->count = 0;
    }
    if (err == OK)
        err = start_core(r, &log, f);
    if (err == OK) {
        r->flushed = index_applied(r->index);
        err = tail_rescan(r);
    }
    return err;
}

int replica_new(struct meta_node *n, const Cairn__PartitionDescriptor *desc, struct replica **ret)
{
    struct replica *r = calloc(1, sizeof(*r));
    struct found_log found = {0};
    if (!r)
        return ERR_NOMEM;
    r->node = n;
    r->slot = n->replica_count;
    r->partition = desc->id;
    r->desc = desc;
    list_init(&r->writes);
    control_init(&r->control, desc->id == ROOT_PARTITION);
    visible_init(&r->visible);
    propose_init(r);
    read_init(r);
    stream_init(r);
    root_init(r);
    int err = start(r, &found);
    free(found.entries);
    buf_fini(&found.data);
    if (err == ERR_CORRUPT || err == ERR_VERSION || err == ERR_LIMIT) {
        replica_quarantine(r, err, "damage found at the start");
        err = OK;
    }
    if (err != OK) {
        replica_free(r);
        return err;
    }
    *ret = r;
    return OK;
}

int replica_restart_from_header(struct replica *r, struct slice header, uint64_t index)
{
    int err = control_restore(&r->control, &r->visible, header, index, index);
    if (err != OK)
        return err;
    if (r->partition == ROOT_PARTITION)
        witness_set_from_registry(r->node, &r->control.registry);
    witness_set_apply(r);
    return OK;
}

/* ---- end ---- */

void replica_stop(struct replica *r)
{
    propose_lost(r, ERR_SHUTDOWN);
    read_fail_all(r, ERR_SHUTDOWN);
    stream_stop(r);
    deletion_stop(r);
    snapshot_send_stop(r);
    snapshot_receive_stop(r);
    root_stop(r);
}

void replica_free(struct replica *r)
{
    if (!r)
        return;
    read_free(r);
    stream_free(r);
    root_free(r);
    snapshot_send_free(r);
    snapshot_receive_free(r);
    deletion_free(r);
    index_close(r->index);
    if (r->log)
        raft_log_close(r->log);
    while (!list_empty(&r->writes)) /* after a crash: writes that never ended */
        free(container_of(list_pop_front(&r->writes), struct replica_write, node));
    raft_free(r->raft);
    control_fini(&r->control);
    free(r);
}
