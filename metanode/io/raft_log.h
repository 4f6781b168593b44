#pragma once
/* The persistent Raft logs of a metanode: all groups in one `struct kv` (the log store of DESIGN
 * section 3), each with hard state, compaction point and entries (docs/formats/raft-log.md).
 *
 * Writes of all groups made in one turn of the loop become one synced batch (one fsync); while it
 * is under way the next one gathers.  A write that fails stops everything: the node must exit,
 * because what the disk holds is no longer known.  Everything runs on the loop of the env. */
#include "common/base/list.h"
#include "common/env/env.h"
#include "common/env/kv.h"
#include "metanode/raft/raft.h"

#define RAFT_ENTRY_HEADER_BYTES 25 /* on disk and on the wire: index, term, kind, length, crc */
#define RAFT_ENTRY_DATA_MAX (32u << 20) /* longer ones are malformed */

/* One entry.  `data` is shared; whoever holds the struct holds a reference. */
struct raft_log_entry {
    uint64_t index, term;
    enum raft_entry_kind kind;
    uint32_t crc; /* CRC32C of the header's fields before it, then the data */
    struct payload data;
};

/* Sets crc from the other fields. */
void raft_log_entry_seal(struct raft_log_entry *e);
void raft_log_entry_fini(struct raft_log_entry *e); /* drops the data's reference */
void raft_log_entry_header(const struct raft_log_entry *e, uint8_t ret[RAFT_ENTRY_HEADER_BYTES]);
/* Reads one entry (wire or disk) off the front of `bytes`, checks it, and advances.  The data
 * points into `bytes`; `owner` (NULL: borrowed) is referenced.
 * OK; ERR_PROTO (short, unknown kind, too long); ERR_CHECKSUM. */
int raft_log_entry_parse(struct slice *bytes, struct rcbuf *owner, struct raft_log_entry *ret);

struct raft_logstore;
struct raft_log;

struct raft_logstore_options {
    size_t cache_bytes_max; /* recent entries of all groups kept in memory [64 MiB]; entries whose
                               write is under way come on top, bounded by the core's options */
    void (*failed)(void *ctx, int err); /* once, at the first failure, before the writes' callbacks;
                                           may be called inside a start */
    void *ctx;
};

/* Borrows kv and env.  OK; ERR_NOMEM. */
int raft_logstore_new(struct kv *kv, struct env *env, const struct raft_logstore_options *o,
                      struct raft_logstore **ret);
/* All logs are closed; nothing is under way in the kv (raft_logstore_idle), or it has forgotten it
 * (a simulated crash). */
void raft_logstore_free(struct raft_logstore *s);
bool raft_logstore_idle(const struct raft_logstore *s);
/* Submits what has gathered now instead of on the next turn. */
void raft_logstore_submit(struct raft_logstore *s);

struct raft_log_state {
    uint64_t term, vote;
    uint64_t compact_index, compact_term;
    uint64_t last_index;
    uint64_t entry_bytes; /* data of the stored entries */
};

/* Opens a group's log, creating an empty one if nothing is stored.  Every entry is read and
 * checked, in order; `entry` (may be NULL) sees each, for raft_restore() and the control entries of
 * the tail.
 * Returns: OK; ERR_NOMEM; ERR_IO; ERR_CORRUPT: a damaged record, a hole, a missing hard state; the
 * replica is to be quarantined, never truncated; ERR_VERSION (written by a newer one); `entry`'s
 * error.
 * Owns: the caller owns *ret until raft_log_close().  Blocks: reads the whole log. */
int raft_log_open(struct raft_logstore *s, uint32_t group,
                  int (*entry)(void *ctx, const struct raft_log_entry *e), void *ctx,
                  struct raft_log **ret);
/* Writes of this log that are under way get no callback any more; they may still reach the disk. */
void raft_log_close(struct raft_log *l);
void raft_log_state(const struct raft_log *l, struct raft_log_state *ret);
/* The snapshot header blob stored with the compaction point (configuration, witness set, entry
 * time); empty when there is none.  Until the next compaction or reset. */
struct slice raft_log_header(const struct raft_log *l);

/* One write, embedded by its user; exactly one cb later if accepted. */
struct raft_log_write {
    void (*cb)(struct raft_log_write *);
    int err;
    uint64_t seq, last_index, last_term; /* copied from the raft_write, for RAFT_EV_SYNCED */
    struct raft_log *log;                /* for the implementation */
    struct list node;
};

/* Carries out the core's write.  `entries`: write->entry_count sealed entries with consecutive
 * indexes from write->first_index; referenced, not taken; their data has an owner, not much larger
 * than the data, since the cache keeps it.  `header`: for a reset, the header blob to store.
 * The new state can be read back at once; the callback says that it is durable.  A reset before
 * raft_new() (applied index above the log's end) has seq 0.
 * OK; ERR_INVAL (does not fit the log; nothing happened); ERR_NOMEM, ERR_IO: no callback, and the
 * store has failed, since the core has moved on already. */
int raft_log_write_start(struct raft_log *l, const struct raft_write *write,
                         const struct raft_log_entry *entries, struct slice header,
                         struct raft_log_write *w);

/* Drops entries up to index, which stays as the compaction point, with the header as of it.  All of
 * them must be synced.  It becomes durable with the next batch; a crash before that leaves the old
 * log, which is as good.  OK; ERR_NOMEM; ERR_INVAL; ERR_IO (the store has failed). */
int raft_log_compact(struct raft_log *l, uint64_t index, uint64_t term, struct slice header);

/* Reads up to count entries from `first` on, at most bytes_max of data but at least one; ret[] gets
 * references, finished by the caller.  Unsynced ones are included.
 * OK (*ret_count > 0); ERR_NOT_FOUND (first is compacted or above the last); ERR_CORRUPT; ERR_IO;
 * ERR_NOMEM. */
int raft_log_read(struct raft_log *l, uint64_t first, uint32_t count, size_t bytes_max,
                  struct raft_log_entry *ret, uint32_t *ret_count);

/* Counters for metrics. */
struct raft_logstore_stats {
    uint64_t batches, writes, bytes_written, cache_bytes, reads_cached, reads_stored;
};
void raft_logstore_stats(const struct raft_logstore *s, struct raft_logstore_stats *ret);
