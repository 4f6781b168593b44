#pragma once
/* What is to be mended in a placement group, and in what order: decided from the inventories of its
 * live members and the time, by nothing else.
 *
 * A *place* is one shard at one node.  While members change, the old holder of a shard and the new
 * one are two places; a node that holds the same shard before and after the change is one.  A place
 * is live when its node's inventory was taken just now; of the others nothing is known.
 *
 * What comes out is a hint to act upon: whoever mends looks once more (a blob may have been deleted
 * since), and asks the owner's partition where `ask` says so.
 *
 * Pure; no allocation; from any thread. */
#include "common/base/err.h"
#include "common/base/id.h"

#define PLAN_SHARDS_MAX 32u
#define PLAN_PLACES_MAX 32u

struct plan_place {
    uint16_t node; /* the caller's number of it */
    uint8_t shard;
    bool now;  /* by members, */
    bool next; /* by next_members */
    bool live;
};

struct plan_group {
    unsigned data;   /* shards that it takes to have the blob; replicas: 1 */
    unsigned shards; /* of one blob: data + parity, at most PLAN_SHARDS_MAX */
    unsigned place_count;
    struct plan_place place[PLAN_PLACES_MAX];
};

/* A node that may have to repair. */
struct plan_member {
    bool up, draining;
};

/* The one that repairs: the first that is up and not draining; if all that are up are being
 * drained, the first of them; -1: nobody. */
int plan_repairer(const struct plan_member *members, size_t count);

/* One line of an inventory. */
struct plan_entry {
    struct id128 blob_id;
    uint64_t time_ms;
    uint8_t shard;
    bool damaged; /* known to be unreadable */
    bool deleted; /* a tombstone is remembered */
};

/* A page of a live node's inventory, sorted by (blob id, shard). */
struct plan_page {
    uint16_t node;
    const struct plan_entry *entries;
    size_t count;
    bool more; /* the node has others behind the last of these, which is the last of its blob */
};

enum plan_verdict {
    PLAN_WHOLE,   /* nothing to do */
    PLAN_YOUNG,   /* its write may be under way: look later */
    PLAN_MEND,    /* rebuild what is lacking */
    PLAN_BEYOND,  /* too few shards are in reach */
    PLAN_DELETED, /* a live member remembers its deletion: never copied */
};

struct plan_item {
    struct id128 blob_id;
    uint64_t time_ms;
    enum plan_verdict verdict;
    uint32_t have;    /* shards that are whole at some live place */
    uint32_t lack;    /* places, live ones, that have no whole shard */
    uint32_t damaged; /* of these: it is there, but damaged */
    int margin; /* losses that it bears yet: shards held less data; below 0: cannot be read now */
    bool ask;   /* a live member of now lacks it: it may have been deleted there */
};

struct plan_rules {
    uint64_t now_ms;
    uint64_t repair_age_ms; /* younger blobs are left alone */
    bool fill;              /* whatever its age: the epoch was closed, and this is its inventory */
};

/* Merges the pages of all live nodes (one each), from where they begin.  *ret_done: how many
 * entries of each page have been judged; the next page of a node begins behind these.  Blobs of the
 * verdict PLAN_WHOLE are not among the items. Returns: the number of items, at most `max` > 0;
 * sorted by plan_sort(). */
size_t plan_merge(const struct plan_group *g, const struct plan_page *pages, size_t page_count,
                  const struct plan_rules *rules, struct plan_item *ret, size_t max,
                  size_t *ret_done);

/* Judges one blob by what live places say of it: masks of places.
 * item: blob_id, time_ms are set; the rest is filled in. */
void plan_judge(const struct plan_group *g, const struct plan_rules *rules, uint32_t whole,
                uint32_t damaged, bool deleted, struct plan_item *item);

/* Most endangered first: what bears the fewest losses; of equals the oldest, then by id. */
void plan_sort(struct plan_item *items, size_t count);

/* Of the places `lacking`, of a blob that cannot be rebuilt: those to which the old members have
 * nothing to give, so that nothing is lost when these are let go.  The shard is whole at no place
 * (`had`), and no member that may have it is out of reach (`away`: places of which nobody knows); or
 * even with all those there would be too few shards.  Whoever waits for them may wait for ever. */
uint32_t plan_hopeless(const struct plan_group *g, uint32_t had, uint32_t away, uint32_t lacking);

/* The shards that lie at these places. */
uint32_t plan_shards_of(const struct plan_group *g, uint32_t places);

/* One more loss could destroy it. */
static inline bool plan_is_endangered(const struct plan_item *item)
{
    return item->margin <= 0;
}
