#pragma once
/* When may an entry be seen?  One partition's answer, at one replica.
 *
 * Pure: no time, no I/O, no allocation.  The whole state is one flat struct: copying the struct copies
 * the state, which is how the explorer in tests/ drives it together with witness/core.
 *
 * The rules (DESIGN section 4, spec/WitnessVisibility.tla):
 *   - Attach and Detach are control entries: they count from the moment they are appended, and are
 *     rolled back when the log's tail is truncated.  A snapshot's header carries them.
 *   - A stream is opened to an incarnation only once its Attach, and the leader's own no-op, are
 *     committed.
 *   - needed = (attached up to the own no-op  ∪  streams opened in this term) − dead.
 *   - visible = min(commit, acked of every needed one); nothing is visible to a leader's clients
 *     before that reaches the own no-op.
 *   - A follower applies up to min(the leader's visible as it learnt, own commit).
 *
 * The caller feeds events in the order in which they happen to the replica's log and asks for
 * messages slot by slot (visible_next_message): what it is given counts as sent.  Each message ends
 * with exactly one of open_reply, append_reply or stream_failed, in any order, or never. */
#include "common/base/id.h"

/* Incarnations in the log that are not detached for good.  A leader attaches no more than
 * VISIBLE_ATTACH_MAX at a time; the table has room for as many again, for those whose Detach is
 * appended but not known to be committed. */
#define VISIBLE_ATTACH_MAX 32
#define VISIBLE_SLOTS_MAX 64
#define VISIBLE_WINDOW_MAX 8 /* append messages under way on one stream */

/* A stream resumes at most so far behind the commit index: a witness that knows less raises its floor.
 * Writes wait for a new witness, so what it has to catch up with first must be little. */
#define VISIBLE_BACKLOG_MAX 4096

enum visible_kind { VISIBLE_ENTRY_OTHER, VISIBLE_ENTRY_ATTACH, VISIBLE_ENTRY_DETACH };

/*  CLOSED --next_message--> OPENING --open_reply--> OPEN
 *  OPENING, OPEN --stream_failed, compacted past it--> CLOSED (opened again by next_message) */
enum visible_stream_state { VISIBLE_CLOSED, VISIBLE_OPENING, VISIBLE_OPEN };

struct visible_slot {
    struct id128 incarnation;
    uint64_t attached_index; /* of its first Attach in the log */
    uint64_t detached_index; /* of its Detach; 0: none */
    bool dead;               /* the root said so; for ever */
    /* This leader's, in its term: */
    bool opened;             /* a stream was opened to it: it may be answering because of us */
    bool rewind;             /* something under way was lost: go back to `acked` once all is in */
    enum visible_stream_state state;
    uint64_t stream;         /* number of the newest stream */
    uint64_t sent;           /* last index handed out on it */
    uint64_t acked;          /* highest index acknowledged in this term; 0: none */
    uint64_t recv;           /* last index acknowledged on this stream */
    uint64_t commit_sent;
    unsigned under_way;      /* append messages that have not ended */
};

struct visible {
    bool leading;
    uint64_t term;       /* of the leader that we are, if leading */
    uint64_t noop;       /* index of its first own entry */
    uint64_t last;       /* last index of the log */
    uint64_t compacted;  /* entries up to this are gone from the log */
    uint64_t commit;
    uint64_t visible;    /* known to be visible; never falls */
    uint64_t elected_at; /* `visible` when we were elected */
    uint64_t streams;    /* opened in this term */
    unsigned slot_count;
    struct visible_slot slots[VISIBLE_SLOTS_MAX];
};

enum visible_message_kind { VISIBLE_OPEN_STREAM, VISIBLE_APPEND };

struct visible_message {
    enum visible_message_kind kind;
    struct id128 incarnation;
    uint64_t term, stream, commit;
    uint64_t target, log_first; /* open: ready at target; nothing up to log_first will be sent */
    uint64_t prev, last;        /* append: entries (prev, last]; none if equal */
};

/* ---- life ---- */

/* An empty log. */
void visible_init(struct visible *v);

/* The log begins anew behind `index` (start from disk, or an installed snapshot): this first,
 * then one visible_restore_attached() for each incarnation in the header, then appends from index + 1.  `visible`
 * is the applied index of the state at hand. */
void visible_restore(struct visible *v, uint64_t index, uint64_t visible);

/* Returns: OK; ERR_LIMIT (more than the table holds; the replica must not go on). */
int visible_restore_attached(struct visible *v, struct id128 incarnation);

/* ---- the log ---- */

/* Entry `index` (= last + 1) was appended to the log in memory.  incarnation: for attach and detach.
 * Returns: OK; ERR_LIMIT (the table is full: a leader broke VISIBLE_ATTACH_MAX; nothing changed). */
int visible_append(struct visible *v, uint64_t index, enum visible_kind kind,
                   struct id128 incarnation);

/* Entries from `index` on were removed from the tail.  Never one that is committed. */
void visible_truncate(struct visible *v, uint64_t index);

/* The commit index rose to `index` (a smaller one is ignored; at most last). */
void visible_commit(struct visible *v, uint64_t index);

/* Entries up to `index` (<= commit) are gone from the log's front.  Streams that still need them are
 * closed, to be opened again behind the gap. */
void visible_compacted(struct visible *v, uint64_t index);

/* ---- roles ---- */

/* We lead `term`; `noop` is the index of our first entry, appended already or to be appended next. */
void visible_became_leader(struct visible *v, uint64_t term, uint64_t noop);
void visible_step_down(struct visible *v);

/* A follower learns from its leader that entries up to `index` are visible. */
void visible_learn(struct visible *v, uint64_t index);

/* ---- witnesses ---- */

/* The root declared it dead: it answers nobody any more, for ever. */
void visible_dead(struct visible *v, struct id128 incarnation);

/* What to send next to the incarnation of slot number `slot` (< slot_count): *ret, which then counts
 * as sent.  entries_max bounds the entries of one append; with_commit asks for an append without
 * entries when only the commit index is news.  Returns: false when there is nothing to send. */
bool visible_next_message(struct visible *v, unsigned slot, uint64_t entries_max, bool with_commit,
                          struct visible_message *ret);

/* Ends of messages; `last` is the append's own last index, `recv` what the witness says it has: less
 * means that something before it was lost, and the stream goes back.  What does not belong to the current term and stream is ignored, except that an
 * acknowledgement of this term counts from an older stream as well: it was this incarnation's.
 * Returns: OK; ERR_PROTO (an index that we never had or sent: the reply is ignored). */
int visible_open_reply(struct visible *v, uint64_t term, struct id128 incarnation, uint64_t stream,
                       uint64_t resume_after);
int visible_append_reply(struct visible *v, uint64_t term, struct id128 incarnation,
                         uint64_t stream, uint64_t last, uint64_t recv);
/* An append got no answer: the stream goes on behind what is acknowledged once the rest is in. */
void visible_append_lost(struct visible *v, uint64_t term, struct id128 incarnation,
                         uint64_t stream);
/* The open got no answer, or the witness no longer knows the stream: open it again. */
void visible_stream_failed(struct visible *v, uint64_t term, struct id128 incarnation,
                           uint64_t stream);

/* ---- questions ---- */

/* Up to where a leader may answer and read: 0 while it may serve nothing (always, when not leading). */
uint64_t visible_serving(const struct visible *v);

/* Up to where this replica, in any role, may apply. */
uint64_t visible_apply_limit(const struct visible *v);

/* It is in the log (attached and not detached). */
bool visible_is_attached(const struct visible *v, struct id128 incarnation);

/* A leader may append Attach(incarnation) now: own no-op committed, not attached, not at the limit. */
bool visible_may_attach(const struct visible *v, struct id128 incarnation);

/* A leader may append Detach for the slot: dead, attached, own no-op committed. */
bool visible_may_detach(const struct visible *v, unsigned slot);

/* This slot's incarnation must acknowledge before anything becomes visible. */
bool visible_is_needed(const struct visible *v, unsigned slot);

/* This slot holds `visible` below `commit`. */
bool visible_is_blocked_by(const struct visible *v, unsigned slot);

unsigned visible_needed_count(const struct visible *v);

/* Slot number, or -1. */
int visible_find(const struct visible *v, struct id128 incarnation);

/* Calls back for each incarnation that the header of a snapshot at `index` (<= commit) must carry. */
void visible_header(const struct visible *v, uint64_t index,
                    void (*each)(void *arg, struct id128 incarnation), void *arg);

/* Invariants, by CHECK. */
void visible_check(const struct visible *v);
