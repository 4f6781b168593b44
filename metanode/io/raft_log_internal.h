#pragma once
/* The inside of the log store, shared by its files:
 *   raft_log.c         opening, writes of one log, compaction, reads
 *   raft_logstore.c    the batch shared by all logs, and the bound on the cache
 *   raft_log_format.c  keys and records (docs/formats/raft-log.md) */
#include "metanode/io/raft_log.h"

/* ---- format ---- */

enum raft_log_record { RAFT_LOG_HARD_STATE = 1, RAFT_LOG_COMPACTION = 2, RAFT_LOG_ENTRY = 3 };

#define RAFT_LOG_KEY_BYTES 13 /* be32 group, kind, be64 index (entries) */
#define RAFT_LOG_SINGLE_KEY_BYTES 5
#define RAFT_LOG_VERSION 1
#define RAFT_LOG_HARD_STATE_BYTES 21 /* version, be64 term, be64 vote, be32 crc */

struct raft_log_key {
    uint8_t bytes[RAFT_LOG_KEY_BYTES];
    size_t len;
};

struct raft_log_key raft_log_key(uint32_t group, enum raft_log_record kind, uint64_t index);
struct slice raft_log_key_view(const struct raft_log_key *k);
/* False: not an entry's key. */
bool raft_log_key_index(struct slice key, uint64_t *ret);

void raft_log_hard_state_encode(uint32_t group, uint64_t term, uint64_t vote,
                                uint8_t ret[RAFT_LOG_HARD_STATE_BYTES]);
int raft_log_hard_state_decode(uint32_t group, struct slice s, uint64_t *term, uint64_t *vote);
void raft_log_compaction_encode(uint32_t group, uint64_t index, uint64_t term, struct slice header,
                                struct buf *ret);
/* *header points into s. */
int raft_log_compaction_decode(uint32_t group, struct slice s, uint64_t *index, uint64_t *term,
                               struct slice *header);

/* ---- one log ---- */

struct raft_log {
    struct raft_logstore *store;
    struct list node; /* of the store's logs; the last appended to is the last */
    uint32_t group;
    uint64_t term, vote;
    uint64_t compact_index, compact_term, last_index;
    uint64_t entry_bytes_at_open;
    struct buf header;

    /* Entries [cache_first, last_index] are in memory; those above written_index must be, because
     * the kv does not show them yet.  A ring. */
    struct raft_log_entry *cache;
    uint32_t cache_cap;
    uint64_t cache_first;
    uint64_t written_index;
    uint64_t truncate_seq; /* completions of earlier writes say nothing about later indexes */
};

/* ---- the store ---- */

struct raft_logstore {
    struct kv *kv;
    struct env *env;
    struct raft_logstore_options o;
    struct kv_batch *batch; /* gathering; NULL: empty */
    struct list gathering;  /* of raft_log_write */
    struct list under_way;
    struct list failing; /* told from the timer, never inside a start */
    struct kv_write_req req;
    bool busy; /* req is under way */
    struct env_timer timer;
    int err; /* of the first failure; nothing is accepted after it */
    struct list logs;
    struct raft_logstore_stats stats;
};

struct kv_batch *raft_logstore_batch(struct raft_logstore *s); /* NULL: out of memory */
void raft_logstore_wake(struct raft_logstore *s);              /* something gathers: submit soon */
void raft_logstore_fail(struct raft_logstore *s, int err);
void raft_logstore_trim(struct raft_logstore *s);

void raft_log_written(struct raft_log *l, const struct raft_log_write *w);
/* Drops the oldest cached entry; false: it must stay, or there is none. */
bool raft_log_cache_evict(struct raft_log *l);
size_t raft_log_entry_cost(const struct raft_log_entry *e);
