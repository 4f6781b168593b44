#pragma once
/* The inside of the disks of a node: shared by the files disks*.c, by nobody else.
 *
 *   disks.c          life; puts, gets, deletes
 *   disks_known.c    notes: which disks there were, which epochs are closed
 *   disks_scan.c     checks and inventories
 *   disks_pace.c     which disks are slow
 *   disks_deep.c     notes of deep scrub; distrusted shards */
#include "storagenode/op/disks.h"

#define PUT_BUCKETS 256u

struct slot {
    struct disks *disks;
    struct store *store; /* NULL: could not be opened */
    char path[DISK_PATH_BYTES_MAX + 1];
    int err;       /* why it is not up */
    bool opened;   /* its recovery has ended, */
    bool readable; /* and well: its index can be asked even when it fails later */
    bool refused;  /* it was given up */
    bool closed;
    struct store_inventory_at leaving; /* how far disks.leaving has been dropped */
    struct pace {
        double put_ns; /* moving average */
        unsigned samples;
        uint64_t slow_until_ns;
    } pace;
};

struct known {
    struct id128 id;
    struct node_record record;
    bool present;
};

struct closed {
    uint32_t pg;
    uint64_t epoch;   /* refused below */
    uint64_t settled; /* and durably so, with nothing under way */
    uint64_t seen;    /* the newest that a put has named, in this life of the node */
    uint64_t left;    /* the node is no member as of this epoch: its shards go; 0: not so */
};

enum disks_life {
    DISKS_NEW,
    DISKS_OPENING, /* recovering */
    DISKS_NAMING,  /* each disk's own id becomes durable, before another disk is told of it */
    DISKS_NOTING,  /* the notes are written again, to be durable on all; refused disks close */
    DISKS_UP,
    DISKS_CLOSING,
    DISKS_CLOSED
};

struct disks {
    struct env *env;
    struct slot slots[DISKS_MAX];
    size_t count;
    enum disks_life life;
    struct id128 *lost;
    size_t lost_count;
    struct known *known;
    size_t known_count;
    struct closed *closed; /* by pg */
    size_t closed_count, closed_cap;
    bool settling; /* some epoch is not settled yet */
    uint32_t leaving; /* the group that is being dropped, if slots say so */
    struct list puts[PUT_BUCKETS];
    struct list deletes, checks, inventories; /* under way */
    struct env_timer kick;
    void (*open_cb)(void *arg, int err);
    void *open_arg;
    void (*close_cb)(void *arg, int err);
    void *close_arg;
    void (*on_failed)(void *arg, size_t disk, int err);
    void (*on_damage)(void *arg, size_t disk, const struct store_damage *damage);
    void *arg;
};

static inline bool slot_up(const struct slot *s)
{
    return s->store && !s->refused && s->opened && !s->err;
}

/* Not up, and nobody has said that it never will be. */
static inline bool slot_out(const struct slot *s)
{
    return !s->refused && !slot_up(s);
}

/* ---- disks.c ---- */
void disks_wake(struct disks *d);
int disks_refuse(const struct disks *d); /* OK; ERR_NOT_READY; ERR_SHUTDOWN */

/* ---- disks_known.c ---- */
/* Reads the notes of all disks that are up; finds the refused among them.  OK; ERR_NOMEM. */
int known_load(struct disks *d);
/* Writes each disk's own note, or all notes, to all disks that are up.  OK; ERR_NOMEM. */
int known_write(struct disks *d, bool all);
int known_give_up(struct disks *d, struct id128 id); /* in memory only.  OK; ERR_NOMEM */
bool known_durable(const struct disks *d);
bool known_missing(const struct disks *d); /* some disk is missed and not given up */
uint64_t closed_epoch(const struct disks *d, uint32_t pg); /* refused below; 0: none */
void closed_settle(struct disks *d);
/* A put of the group may begin.  OK; ERR_EPOCH. */
int closed_admit(struct disks *d, const struct disks_put *p);

/* ---- disks_pace.c ---- */
void pace_learn(struct disks *d, struct slot *slot, uint64_t took_ns); /* a put */
bool pace_is_slow(const struct disks *d, const struct slot *slot);

/* ---- disks_scan.c ---- */
void scans_abandon(struct disks *d);
