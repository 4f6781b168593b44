#pragma once
/* The parts of the model: what it knows (model.c), and what it compares (model_check.c). */
#include "tests/unit/storagenode/op/model.h"

#include "storagenode/op/disks.h"
#include "tests/unit/common/env/fake_env.h"

#include <stdio.h>

#define BLOBS 40
#define RETIRED 64
#define EXTENT_BYTES (48u * FRAME_ALIGN) /* 192 KiB: three blocks of a shard fit barely */
#define SHARD_MAX (2 * SHARD_BLOCK_BYTES + 20000)
#define MODEL_DISKS_MAX 3
#define FIRST_PG 7

enum presence { ABSENT, PRESENT, UNKNOWN, DELETED };

struct blob {
    struct id128 id;
    uint32_t bytes;
    enum presence is;
    bool tainted;           /* a bit of it was flipped: an error is right, too */
    unsigned puts, deletes; /* under way */
    uint64_t changes;       /* starts of puts and deletes so far */
    uint64_t time_ms;
    bool marked;        /* a delete was started: a put may be refused */
    uint64_t stored_ms; /* when it was put; 0: that was not heard */
    uint64_t reread_at; /* what had been read again or copied until then */
};

struct model {
    struct fake_env fake;
    unsigned disk_count;
    struct disk *disk[MODEL_DISKS_MAX];
    struct kv *kv[MODEL_DISKS_MAX];
    struct disks *disks;
    struct store_config config;
    uint64_t rng, seed;
    struct blob blobs[BLOBS];
    struct id128 retired[RETIRED]; /* deleted for ever */
    uint64_t retired_ms[RETIRED];
    unsigned retired_count;
    uint64_t reread; /* bytes scrubbed or copied in earlier lives */
    struct list calls;
    unsigned under_way;
    bool opened, closed, faults, flips, small, read_faults;
    int open_err;
    bool failed;
    char *why;
    size_t why_len;
    struct model_totals *totals;
};

#define FAIL(m, ...)                                                                               \
    do {                                                                                           \
        if (!(m)->failed)                                                                          \
            snprintf((m)->why, (m)->why_len, __VA_ARGS__);                                         \
        (m)->failed = true;                                                                        \
    } while (0)

static inline struct store *store_of(struct model *m, unsigned i)
{
    return disks_store(m->disks, i);
}
static inline uint32_t pg_of(struct id128 id)
{
    return FIRST_PG + id.bytes[1] % 2;
}

/* OK: none has failed. */
static inline int failure_of(struct model *m)
{
    struct store_stats st;
    for (unsigned i = 0; i < m->disk_count; i++) {
        store_stats_get(store_of(m, i), &st);
        if (st.state == STORE_FAILED)
            return st.failure;
    }
    return OK;
}

/* ---- model.c ---- */
/* Until nothing is under way. */
void model_run_idle(struct model *m);
/* What is put under the blob's id; `other`: other bytes of the same length. */
void model_blob_fill(const struct blob *b, uint8_t *to, bool other);

/* ---- model_check.c: what does not hold is a FAIL ---- */
/* Bytes scrubbed or copied so far, of all disks: what was read on another one is no less an excuse.
 */
uint64_t model_reread(struct model *m);
/* What the stores say of themselves. */
void model_stats_check(struct model *m);
/* The stores' own sums; the inventories against the reference. */
void model_all_check(struct model *m);
/* A whole pass, undisturbed, leaves nothing that is bad on a disk and good in its index. */
void model_scrub_all(struct model *m);
