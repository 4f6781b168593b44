#pragma once
/* Where shards lie: the decisions of the root's leader about placement groups, as functions of what
 * it knows.  No clock, no I/O, no randomness but the seed that it is given: the same view gives the
 * same answer on every node.  Who carries it out: metanode/op/placement.c.
 *
 *   make.c    members for new groups: copysets from permutations, spread over zones, by capacity
 *   plan.c    which groups need other members, and which: drained, lost, added nodes
 *   states.c  who is up, down, lost; which zones are down
 *
 * Ref: docs/decisions/0014-placement.md; Cidon et al., Copysets, USENIX ATC 2013, section 3. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLACE_NODES_MAX 1024
#define PLACE_GROUPS_MAX 65536
#define PLACE_SHARDS_MAX 16 /* of a blob */
#define PLACE_SCHEMES_MAX 16 /* of a cluster */
#define PLACE_NONE UINT16_MAX
#define PLACE_REPLICAS 3 /* of scheme rep-3 */

enum place_state { PLACE_UP, PLACE_DOWN, PLACE_LOST };

struct place_node {
    unsigned zone; /* below the view's zone_count */
    enum place_state state;
    bool draining;
    uint64_t bytes_total; /* 0: not known, counts as an average node */
    uint64_t bytes_used;
};

struct place_scheme {
    uint8_t data, parity; /* rep-3: 1 and 2 */
};

static inline unsigned place_shards(struct place_scheme s)
{
    return (unsigned)s.data + s.parity;
}

/* Nodes by their number in the view; PLACE_NONE: one that is in no view, or of a group that grows the
 * members that it does not have yet.  `count` members, at least one: fewer than the scheme's shards
 * only for replicas on too few nodes, until there are more. */
struct place_group {
    struct place_scheme scheme;
    uint8_t count;
    bool changing;       /* next counts */
    uint64_t endangered; /* blobs that one more loss could destroy, as its repairer says */
    uint16_t members[PLACE_SHARDS_MAX], next[PLACE_SHARDS_MAX];
};

struct place_view {
    const struct place_node *nodes;
    size_t node_count;
    unsigned zone_count;
    const struct place_group *groups;
    size_t group_count;
};

/* ---- schemes ---- */

/* What the topology can keep through the loss of a zone, rep-3 last: three or more nodes in each of
 * three zones: 5+4; two: 3+3; else rep-3 alone.  Returns their number, at most 2. */
size_t place_default_schemes(const struct place_view *v, struct place_scheme *ret);
/* Most shards of a blob that may lie in one zone: over all nodes of the view, also those that are
 * away, so that the loss of a zone crowds nothing into the others.  0: fewer nodes than shards. */
unsigned place_zone_cap(const struct place_view *v, unsigned shards);
/* How many groups of a scheme a cluster of this size is to have when its operator names no number.
 */
unsigned place_groups_wanted(size_t nodes, struct place_scheme scheme);

/* ---- make.c ---- */

struct place_ask {
    struct place_scheme scheme;
    unsigned count;         /* groups */
    unsigned scatter_width; /* other nodes that share a copyset with a node, at least, where there
                               are so many */
    uint64_t seed;
};

struct place_made {
    unsigned shards; /* members a group; fewer than the scheme's only with rep-3 on too few nodes */
    unsigned permutations, copysets;
    unsigned width_min, width_max; /* scatter width reached: of the nodes that hold anything */
    uint16_t *members;             /* count * shards: member i of group g is [g * shards + i] */
};

/* Members for `count` new groups, of nodes that are not lost and not draining.  Groups of the view
 * with this scheme count as load that is there already, and new ones lie on their copysets where
 * that is even.  Returns: OK; ERR_NOSPACE (fewer nodes than shards, or too few in their zones while
 * others are lost; replicas do with fewer than three nodes if there are no more); ERR_INVAL;
 * ERR_NOMEM. Owns: the caller, until place_made_fini(). */
int place_make(const struct place_view *v, const struct place_ask *ask, struct place_made *ret);
void place_made_fini(struct place_made *m);

/* ---- plan.c ---- */

enum place_reason { PLACE_LOSS, PLACE_DRAIN, PLACE_GROW, PLACE_SPREAD, PLACE_BALANCE };

struct place_change {
    size_t group;                    /* number in the view */
    uint16_t next[PLACE_SHARDS_MAX]; /* PLACE_NONE: the member that is in no view stays */
    unsigned count;                  /* of them; more than the group's where it grows */
    unsigned moves;                  /* places that change hands */
    enum place_reason reason;        /* the gravest */
    int margin; /* shards that may still be lost: negative, data cannot be read now */
    uint64_t endangered, bytes; /* bytes: an estimate, of what its sources hold a place */
};

struct place_plan {
    struct place_change *changes; /* most endangered first, one a group */
    size_t count;
    size_t stuck; /* groups with a lost or draining member for whom there is no place */
    bool cut;     /* there is more to do than changes_max */
};

/* What is to be changed, for groups that are not changing.  Lost and draining members are replaced
 * where the zones allow it; replicas that have fewer members than their scheme wants get more; then, if every node is up, crowded zones are thinned out and load is
 * evened, with moves that each make it more even by the capacity of the nodes. Returns: OK;
 * ERR_NOMEM.  Owns: the caller, until place_plan_fini(). */
int place_plan(const struct place_view *v, size_t changes_max, struct place_plan *ret);
void place_plan_fini(struct place_plan *p);

/* ---- states.c ---- */

/* What a node is, that has not been heard for silent_ms: since it was (heard), or since one began
 * to listen. */
enum place_state place_state_of(enum place_state now, bool heard, uint64_t silent_ms,
                                uint64_t down_ms, uint64_t lost_ms);
/* It has nodes, and none is up. */
bool place_zone_is_down(const struct place_view *v, unsigned zone);

/* ---- shared by the files of this folder ---- */

/* Weights in proportion to capacity, 1 to 1024. */
void place_weights(const struct place_view *v, uint32_t *ret);
/* May get new places. */
static inline bool place_may_hold(const struct place_node *n)
{
    return n->state != PLACE_LOST && !n->draining;
}
