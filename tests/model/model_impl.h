#pragma once
/* The parts of the model.
 *
 *   alphabet.c   which operations there are, how often, and what each does
 *   calls.c      puts, gets, deletes, and what their outcomes teach
 *   world.c      lives of the node: beginning, crash, close; the end of a case
 *   units.c      disks that come and go, indexes that are lost
 *   checks.c     what must hold of all stores at once
 *   shrink.c     a failing case made small
 *   main.c       many seeds; planted bugs; what must have happened */
#include "tests/model/model.h"

#include "storagenode/op/disks.h"
#include "tests/unit/common/env/fake_env.h"

#define BLOBS 40
#define RETIRED 64
#define EXTENT_BYTES (48u * FRAME_ALIGN) /* 192 KiB: three blocks of a shard fit barely */
#define SHARD_MAX (2 * SHARD_BLOCK_BYTES + 20000)
#define BAYS_MAX 3
#define UNITS_MAX 6
#define FIRST_PG 7
#define PGS 2
#define STEPS_MAX 200000

enum presence { ABSENT, PRESENT, UNKNOWN, DELETED };

struct blob {
    struct id128 id;
    uint32_t bytes;
    uint8_t *content; /* NULL: not needed yet */
    enum presence is;
    bool tainted; /* a bit of it was flipped, or a read of it failed: an error is right, too */
    unsigned puts, deletes; /* under way */
    uint64_t changes;       /* starts of puts and deletes so far */
    uint64_t time_ms;
    bool marked;           /* a delete was started: a put may be refused */
    bool confirmed;        /* somebody said that a record refers to it */
    bool unheard;          /* a put was under way when the last life ended */
    uint32_t units;        /* where it was seen: a bit a unit */
    uint64_t stored_ms;    /* when it was put; 0: that was not heard */
    uint64_t reread_at;    /* what had been read again or copied until then */
    uint64_t marked_ms;    /* when the first delete since the last put began; 0: there was none */
    uint32_t delete_units; /* that have marked it */
    uint64_t delete_ms;    /* when the delete that was acknowledged began */
};

/* A disk with its index, in the node or beside it. */
struct unit {
    struct disk *disk;
    struct kv *kv;
    struct id128 id;      /* zero: it never served */
    bool lost;            /* given up */
    bool rewound;         /* its index was lost: what was reclaimed since may come back */
    uint32_t doomed;      /* the extent that is to be lost; 0: none */
    bool header_only;     /* not its file, only its header */
    uint32_t knows;       /* the units that it has heard to be given up */
    uint64_t closed[PGS]; /* epochs that it has heard to be closed */
    uint64_t bytes_total; /* of its file system */
};

/* What happens in the world of a seed. */
struct model_world {
    bool faults, flips, small, swaps, losses, torn_anywhere;
    unsigned bays;
};

struct model {
    struct fake_env fake;
    unsigned bays;
    int bay[BAYS_MAX];       /* the unit in it; -1: none */
    size_t member[BAYS_MAX]; /* of this life */
    struct unit units[UNITS_MAX];
    unsigned unit_count;
    struct disks *disks;
    struct store_config config;
    struct disk_mem_config *disk_config;
    uint64_t kv_flush_ns;
    uint64_t rng, seed;
    struct blob blobs[BLOBS];
    struct id128 retired[RETIRED]; /* deleted for ever */
    unsigned retired_count;
    uint64_t reread;     /* bytes scrubbed or copied in earlier lives */
    uint64_t epoch[PGS]; /* that gateways use */
    uint64_t asked[PGS]; /* to be closed in this life */
    uint64_t ever_asked[PGS];
    uint64_t reported[PGS]; /* as closed */
    uint64_t deep_ms[PGS];  /* the last note of deep scrub, in whole seconds; 0: none */
    struct list calls;
    unsigned under_way;
    bool opened, closed;
    struct model_world world;
    bool read_faults; /* in this life */
    bool damaged;     /* corruptions are right: a bit was flipped, or an index lost */
    bool strays;      /* shards may be there that nobody remembers */
    int open_err;
    bool failed;
    char *why;
    size_t why_len;
    FILE *trace;
    uint64_t *seen;
};

#define FAIL(m, ...)                                                                               \
    do {                                                                                           \
        if (!(m)->failed)                                                                          \
            snprintf((m)->why, (m)->why_len, __VA_ARGS__);                                         \
        (m)->failed = true;                                                                        \
    } while (0)
#define TRACE(m, ...)                                                                              \
    do {                                                                                           \
        if ((m)->trace)                                                                            \
            fprintf((m)->trace, __VA_ARGS__);                                                      \
    } while (0)
#define SEEN(m, NAME) ((void)(m)->seen[SEEN_##NAME]++)

static inline struct unit *unit_in(struct model *m, unsigned bay)
{
    return m->bay[bay] < 0 ? NULL : &m->units[m->bay[bay]];
}
/* NULL: no unit in the bay, or one that was given up. */
static inline struct store *store_of(struct model *m, unsigned bay)
{
    struct unit *u = unit_in(m, bay);
    return u && !u->lost ? disks_store(m->disks, m->member[bay]) : NULL;
}
static inline unsigned pg_slot(struct id128 id)
{
    return id.bytes[1] % PGS;
}
static inline uint32_t pg_of(struct id128 id)
{
    return FIRST_PG + pg_slot(id);
}
static inline uint16_t shard_of(struct id128 id)
{
    return id.bytes[0] % 3;
}

/* ---- alphabet.c ---- */
uint64_t model_random(struct model *m);
uint64_t model_below(struct model *m, uint64_t n);
void model_operate(struct model *m, enum model_op_kind kind);

/* ---- calls.c ---- */
void blob_new(struct model *m, struct blob *b);
void blob_free(struct blob *b);
const uint8_t *blob_content(struct blob *b);
/* What is put under the blob's id; `other`: other bytes of the same length. */
void blob_fill(const struct blob *b, uint8_t *to, bool other);
void blob_crcs(struct blob *b, uint32_t *ret); /* of its blocks */
uint32_t blob_digest(struct blob *b); /* of its blocks' CRCs */
void put_start(struct model *m, struct blob *b, bool other, bool repair);
void get_start(struct model *m, struct blob *b, bool ranged);
void delete_start(struct model *m, struct blob *b);
/* All calls have gone with the life they were made in. */
void calls_forget(struct model *m);
bool tombstone_in_reach(struct model *m, const struct blob *b);
/* After a recovery everything that can be known is known again, and stays as it is. */
void unknown_settle(struct model *m);
/* No put of the group below the epoch that could have been refused is under way. */
bool puts_below(struct model *m, unsigned pg, uint64_t epoch);

/* ---- world.c ---- */
struct model_world model_world_of(uint64_t seed);
void world_steps(struct model *m, uint64_t n);
/* Until *flag; a FAIL if that takes too long. */
void world_until(struct model *m, const bool *flag);
void world_idle(struct model *m);
/* OK: no disk of this life has failed; else why. */
int world_failure(struct model *m);
/* The node crashes and comes up again; `change` (may be NULL) is done to its disks in between. */
void world_crash(struct model *m, void (*change)(struct model *m));
void world_reboot(struct model *m);

/* ---- units.c ---- */
void unit_add(struct model *m, unsigned bay);
void units_free(struct model *m);
/* Some unit is missed: neither in the node nor given up. */
bool units_out(struct model *m);
unsigned units_serving(struct model *m);
uint32_t units_serving_bits(struct model *m);
/* Where the blobs are, before a life ends; and, once open, what units have heard. */
void units_look(struct model *m);
void units_opened(struct model *m);
/* For the next life: what is given up and not known to those that are in; the epochs that must be
 * known.  Returns: how many ids. */
size_t units_lost(struct model *m, struct id128 ret[UNITS_MAX]);
void units_change(struct model *m, enum model_op_kind kind);

/* ---- checks.c: what does not hold is a FAIL ---- */
/* Bytes scrubbed or copied so far, of all disks: what was read on another one is no less an excuse.
 */
uint64_t model_reread(struct model *m);
void check_stats(struct model *m);   /* what the stores say of themselves */
void check_all(struct model *m);     /* the stores' own sums; the indexes against the reference */
void check_expired(struct model *m); /* waited for longer than tombstones are kept */
void check_retired(struct model *m); /* nothing that was deleted is there */
void check_scrub(struct model *m);   /* a whole pass leaves nothing bad that its index calls good */
void check_digests(struct model *m);
void check_page(struct model *m);
void check_shards(struct model *m);
void check_epochs(struct model *m);
