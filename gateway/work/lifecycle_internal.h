#pragma once
/* One round over one bucket: its steps (lifecycle.c), what of a page is to be deleted and under
 * which conditions (lifecycle_batch.c), and its place (lifecycle_place.c). */
#include "gateway/op/expiration.h"
#include "gateway/work/lifecycle.h"

/* ---- lifecycle_place.c ---- */

enum lifecycle_phase { LIFECYCLE_VERSIONS, LIFECYCLE_UPLOADS, LIFECYCLE_PHASES };

/* Where the round goes on: behind this version, or this upload; and of a key that it is within,
 * what has been met of it. */
struct lifecycle_place {
    enum lifecycle_phase phase;
    struct buf key;
    bool past;        /* behind everything that begins with `key` */
    uint64_t version; /* behind which it goes on; 0: behind all of the key */
    uint64_t newer_ms, newer_noncurrent;
    struct buf upload_id;
};
void lifecycle_place_write(const struct lifecycle_place *p, struct buf *ret);
/* false: not one of ours; then *p is the beginning. */
bool lifecycle_place_read(struct lifecycle_place *p, struct slice s);
void lifecycle_place_clear(struct lifecycle_place *p);
void lifecycle_place_fini(struct lifecycle_place *p);
/* The prefix to be listed next; false: the place is behind them all. */
bool lifecycle_place_prefix(const struct lifecycle_place *p, const struct slice *prefixes,
                            size_t count, struct slice *ret);

/* ---- lifecycle_batch.c ---- */

#define LIFECYCLE_PAGE 500
#define LIFECYCLE_BATCH_BYTES_MAX (256u << 10)

struct lifecycle_batch {
    struct arena arena;
    Cairn__DeleteObjects command;
    uint8_t actions[LIFECYCLE_PAGE]; /* enum s3_lifecycle_action, one a key */
    size_t bytes;
    size_t looked; /* entries that it goes through */
    uint32_t partition;
    bool has_versions;
};
/* Goes on through the entries from *at, moving `place` along, until as much is to be deleted of one
 * partition as fits, or they are at their end.  Keys are borrowed from the entries.
 * Returns: OK; ERR_NOMEM; ERR_NOT_READY (no map). */
int lifecycle_batch_fill(struct lifecycle_batch *b, struct meta_client *mc,
                         const struct s3_lifecycle *rules, uint64_t bucket_id, uint64_t now_ms,
                         uint64_t day_ms, const Cairn__ListEntry *const *entries, size_t count,
                         size_t *at, struct lifecycle_place *place);
