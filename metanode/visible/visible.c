/* Visibility of one partition's entries at one replica.  See visible.h for the rules; the comments
 * here name the action of spec/WitnessVisibility.tla that a function implements. */
#include "metanode/visible/visible.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/mutant.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void slot_remove(struct visible *v, unsigned i)
{
    CHECK(i < v->slot_count);
    v->slot_count--;
    memmove(&v->slots[i], &v->slots[i + 1], (v->slot_count - i) * sizeof(v->slots[0]));
    memset(&v->slots[v->slot_count], 0, sizeof(v->slots[0]));
}

static void stream_close(struct visible_slot *s)
{
    s->state = VISIBLE_CLOSED;
    s->under_way = 0;
    s->rewind = false;
}

int visible_find(const struct visible *v, struct id128 incarnation)
{
    for (unsigned i = 0; i < v->slot_count; i++)
        if (id128_eq(v->slots[i].incarnation, incarnation))
            return (int)i;
    return -1;
}

/* Needed(t): every incarnation that some earlier leader may have opened a stream to, or that this
 * one has, except the dead. */
static bool slot_is_needed(const struct visible *v, const struct visible_slot *s)
{
    if (!v->leading || s->dead)
        return false;
    if (s->opened)
        return true;
    if (MUTANT(SERVE_BEFORE_ACK))
        return false;
    if (MUTANT(ATTACH_FROM_APPLIED))
        return s->attached_index <= v->elected_at;
    return s->attached_index <= v->noop;
}

/* MakeVisible(t). */
static void advance(struct visible *v)
{
    if (!v->leading)
        return;
    uint64_t upto = v->commit;
    if (!MUTANT(VISIBLE_WITHOUT_ACK))
        for (unsigned i = 0; i < v->slot_count; i++)
            if (slot_is_needed(v, &v->slots[i]))
                upto = min_u64(upto, v->slots[i].acked);
    if (upto >= v->noop && upto > v->visible)
        v->visible = upto;
}

void visible_init(struct visible *v)
{
    memset(v, 0, sizeof(*v));
}

void visible_restore(struct visible *v, uint64_t index, uint64_t visible)
{
    CHECK(visible >= index);
    /* What was known of the dead stays known: it is for ever. */
    memset(v, 0, sizeof(*v));
    v->last = v->compacted = v->commit = index;
    v->visible = visible;
}

int visible_restore_attached(struct visible *v, struct id128 incarnation)
{
    CHECK(v->last == v->compacted);
    if (visible_find(v, incarnation) >= 0)
        return OK;
    if (v->slot_count == VISIBLE_SLOTS_MAX)
        return ERR_LIMIT;
    v->slots[v->slot_count++] = (struct visible_slot){
        .incarnation = incarnation,
        .attached_index = v->compacted,
    };
    return OK;
}

static int append_attach(struct visible *v, uint64_t index, struct id128 incarnation)
{
    if (visible_find(v, incarnation) >= 0)
        return OK; /* the first Attach counts; a Detach before it is for ever */
    if (v->slot_count == VISIBLE_SLOTS_MAX)
        return ERR_LIMIT;
    v->slots[v->slot_count++] = (struct visible_slot){
        .incarnation = incarnation,
        .attached_index = index,
    };
    return OK;
}

int visible_append(struct visible *v, uint64_t index, enum visible_kind kind,
                   struct id128 incarnation)
{
    CHECK(index == v->last + 1);
    if (kind == VISIBLE_ENTRY_ATTACH) {
        int err = append_attach(v, index, incarnation);
        if (err != OK)
            return err;
    }
    v->last = index;
    if (kind == VISIBLE_ENTRY_DETACH) {
        int i = visible_find(v, incarnation);
        if (i >= 0 && v->slots[i].detached_index == 0) {
            /* Whoever wrote it knew from the root that the incarnation is dead. */
            v->slots[i].detached_index = index;
            visible_dead(v, incarnation);
        }
    }
    return OK;
}

void visible_truncate(struct visible *v, uint64_t index)
{
    CHECK(index > v->commit);
    if (index > v->last)
        return;
    v->last = index - 1;
    for (unsigned i = v->slot_count; i-- > 0;) {
        struct visible_slot *s = &v->slots[i];
        if (s->attached_index >= index)
            slot_remove(v, i);
        else if (s->detached_index >= index)
            s->detached_index = 0;
    }
}

void visible_commit(struct visible *v, uint64_t index)
{
    CHECK(index <= v->last);
    if (index <= v->commit)
        return;
    v->commit = index;
    for (unsigned i = v->slot_count; i-- > 0;) {
        const struct visible_slot *s = &v->slots[i];
        if (s->detached_index != 0 && s->detached_index <= v->commit)
            slot_remove(v, i);
    }
    advance(v);
}

void visible_compacted(struct visible *v, uint64_t index)
{
    CHECK(index <= v->commit);
    if (index <= v->compacted)
        return;
    v->compacted = index;
    for (unsigned i = 0; i < v->slot_count; i++) {
        struct visible_slot *s = &v->slots[i];
        uint64_t resend_from = s->rewind ? s->recv : s->sent;
        if (s->state == VISIBLE_OPEN && resend_from < index)
            stream_close(s);
    }
}

static void streams_reset(struct visible *v)
{
    v->streams = 0;
    for (unsigned i = 0; i < v->slot_count; i++) {
        struct visible_slot *s = &v->slots[i];
        stream_close(s);
        s->opened = false;
        s->stream = s->sent = s->acked = s->recv = s->commit_sent = 0;
    }
}

void visible_became_leader(struct visible *v, uint64_t term, uint64_t noop)
{
    CHECK(noop > v->commit && noop <= v->last + 1);
    CHECK(!v->leading || term > v->term);
    v->leading = true;
    v->term = term;
    v->noop = noop;
    /* What an earlier leader called visible is committed, so it lies before our own entry. */
    v->visible = min_u64(v->visible, noop - 1);
    v->elected_at = min_u64(v->visible, v->commit);
    streams_reset(v);
}

void visible_step_down(struct visible *v)
{
    v->leading = false;
    streams_reset(v);
}

void visible_learn(struct visible *v, uint64_t index)
{
    if (!v->leading && index > v->visible)
        v->visible = index;
}

void visible_dead(struct visible *v, struct id128 incarnation)
{
    int i = visible_find(v, incarnation);
    if (i < 0 || v->slots[i].dead)
        return;
    v->slots[i].dead = true;
    stream_close(&v->slots[i]);
    advance(v);
}

/* SendHello(t, i). */
static bool open_stream(struct visible *v, struct visible_slot *s, struct visible_message *ret)
{
    if (!MUTANT(ATTACH_UNCOMMITTED) && (v->commit < v->noop || s->attached_index > v->commit))
        return false;
    uint64_t backlog = v->commit > VISIBLE_BACKLOG_MAX ? v->commit - VISIBLE_BACKLOG_MAX : 0;
    s->state = VISIBLE_OPENING;
    s->opened = true;
    s->stream = ++v->streams;
    s->under_way = 0;
    s->rewind = false;
    *ret = (struct visible_message){
        .kind = VISIBLE_OPEN_STREAM,
        .incarnation = s->incarnation,
        .term = v->term,
        .stream = s->stream,
        .commit = v->commit,
        .target = v->last,
        .log_first = backlog > v->compacted ? backlog : v->compacted,
    };
    return true;
}

bool visible_next_message(struct visible *v, unsigned slot, uint64_t entries_max, bool with_commit,
                          struct visible_message *ret)
{
    CHECK(slot < v->slot_count && entries_max > 0);
    struct visible_slot *s = &v->slots[slot];
    if (!v->leading || s->dead || s->state == VISIBLE_OPENING)
        return false;
    if (s->state == VISIBLE_CLOSED)
        return open_stream(v, s, ret);
    if (s->rewind || s->under_way == VISIBLE_WINDOW_MAX)
        return false;
    uint64_t count = min_u64(v->last - s->sent, entries_max);
    bool commit_is_news = min_u64(v->commit, s->sent) > s->commit_sent;
    if (count == 0 && !(with_commit && commit_is_news))
        return false;
    *ret = (struct visible_message){
        .kind = VISIBLE_APPEND,
        .incarnation = s->incarnation,
        .term = v->term,
        .stream = s->stream,
        .commit = v->commit,
        .prev = s->sent,
        .last = s->sent + count,
    };
    s->sent += count;
    s->commit_sent = v->commit;
    s->under_way++;
    return true;
}

/* The slot that a reply is for, if it is of this leader's term: NULL otherwise. */
static struct visible_slot *reply_slot(struct visible *v, uint64_t term, struct id128 incarnation)
{
    int i = visible_find(v, incarnation);
    if (!v->leading || term != v->term || i < 0 || v->slots[i].dead)
        return NULL;
    return &v->slots[i];
}

/* RecvAck(t, i). */
static void acknowledge(struct visible *v, struct visible_slot *s, uint64_t index)
{
    if (index > s->acked) {
        s->acked = index;
        advance(v);
    }
}

int visible_open_reply(struct visible *v, uint64_t term, struct id128 incarnation, uint64_t stream,
                       uint64_t resume_after)
{
    struct visible_slot *s = reply_slot(v, term, incarnation);
    if (!s || s->stream != stream || s->state != VISIBLE_OPENING)
        return OK;
    if (resume_after > v->last) {
        /* More than our log has: nothing that we could have told it. */
        stream_close(s);
        return ERR_PROTO;
    }
    if (resume_after < v->compacted) {
        /* The log was compacted meanwhile: the witness must raise its floor further. */
        stream_close(s);
        return OK;
    }
    s->state = VISIBLE_OPEN;
    s->sent = s->recv = resume_after;
    s->commit_sent = 0;
    acknowledge(v, s, resume_after);
    return OK;
}

/* One append of the current stream has ended. */
static void append_ended(struct visible *v, struct visible_slot *s)
{
    CHECK(s->under_way > 0);
    s->under_way--;
    if (!s->rewind || s->under_way > 0)
        return;
    s->rewind = false;
    s->sent = s->recv;
    s->commit_sent = 0;
    if (s->sent < v->compacted)
        stream_close(s);
}

int visible_append_reply(struct visible *v, uint64_t term, struct id128 incarnation,
                         uint64_t stream, uint64_t last, uint64_t recv)
{
    struct visible_slot *s = reply_slot(v, term, incarnation);
    if (!s)
        return OK;
    if (recv > v->last || (s->stream == stream && recv > s->sent)) {
        visible_append_lost(v, term, incarnation, stream);
        return ERR_PROTO;
    }
    acknowledge(v, s, recv);
    if (s->stream != stream || s->state != VISIBLE_OPEN || s->under_way == 0)
        return OK;
    if (recv > s->recv)
        s->recv = recv;
    if (recv < last)
        s->rewind = true;
    append_ended(v, s);
    return OK;
}

void visible_append_lost(struct visible *v, uint64_t term, struct id128 incarnation,
                         uint64_t stream)
{
    struct visible_slot *s = reply_slot(v, term, incarnation);
    if (!s || s->stream != stream || s->state != VISIBLE_OPEN || s->under_way == 0)
        return;
    s->rewind = true;
    append_ended(v, s);
}

void visible_stream_failed(struct visible *v, uint64_t term, struct id128 incarnation,
                           uint64_t stream)
{
    struct visible_slot *s = reply_slot(v, term, incarnation);
    if (s && s->stream == stream)
        stream_close(s);
}

uint64_t visible_serving(const struct visible *v)
{
    return v->leading && v->visible >= v->noop ? v->visible : 0;
}

uint64_t visible_apply_limit(const struct visible *v)
{
    return min_u64(v->visible, v->commit);
}

bool visible_is_attached(const struct visible *v, struct id128 incarnation)
{
    int i = visible_find(v, incarnation);
    return i >= 0 && v->slots[i].detached_index == 0;
}

bool visible_may_attach(const struct visible *v, struct id128 incarnation)
{
    unsigned attached = 0;
    if (!v->leading || v->commit < v->noop || visible_find(v, incarnation) >= 0)
        return false;
    for (unsigned i = 0; i < v->slot_count; i++)
        attached += v->slots[i].detached_index == 0;
    return attached < VISIBLE_ATTACH_MAX && v->slot_count < VISIBLE_SLOTS_MAX;
}

bool visible_may_detach(const struct visible *v, unsigned slot)
{
    CHECK(slot < v->slot_count);
    const struct visible_slot *s = &v->slots[slot];
    return v->leading && v->commit >= v->noop && s->dead && s->detached_index == 0;
}

bool visible_is_needed(const struct visible *v, unsigned slot)
{
    CHECK(slot < v->slot_count);
    return slot_is_needed(v, &v->slots[slot]);
}

bool visible_is_blocked_by(const struct visible *v, unsigned slot)
{
    return visible_is_needed(v, slot) && v->slots[slot].acked < v->commit;
}

unsigned visible_needed_count(const struct visible *v)
{
    unsigned count = 0;
    for (unsigned i = 0; i < v->slot_count; i++)
        count += slot_is_needed(v, &v->slots[i]);
    return count;
}

void visible_header(const struct visible *v, uint64_t index,
                    void (*each)(void *arg, struct id128 incarnation), void *arg)
{
    CHECK(index >= v->compacted && index <= v->commit);
    for (unsigned i = 0; i < v->slot_count; i++) {
        const struct visible_slot *s = &v->slots[i];
        /* One that is detached behind `index` is in it: the Detach follows in the log. */
        if (s->attached_index <= index)
            each(arg, s->incarnation);
    }
}

void visible_check(const struct visible *v)
{
    CHECK(v->compacted <= v->commit && v->commit <= v->last);
    CHECK(v->slot_count <= VISIBLE_SLOTS_MAX);
    if (v->leading) {
        CHECK(v->visible <= v->commit || v->visible < v->noop);
        CHECK(visible_serving(v) <= v->commit);
    }
    for (unsigned i = 0; i < v->slot_count; i++) {
        const struct visible_slot *s = &v->slots[i];
        CHECK(s->attached_index <= v->last && s->detached_index <= v->last);
        CHECK(s->detached_index == 0 || s->dead);
        CHECK(s->under_way <= VISIBLE_WINDOW_MAX);
        CHECK(s->acked <= v->last);
        CHECK(v->leading || (!s->opened && s->state == VISIBLE_CLOSED));
        if (s->state == VISIBLE_OPEN)
            CHECK(s->recv <= s->sent && s->sent <= v->last);
        for (unsigned j = 0; j < i; j++)
            CHECK(!id128_eq(s->incarnation, v->slots[j].incarnation));
    }
}
