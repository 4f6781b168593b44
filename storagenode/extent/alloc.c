/* The table of a disk's extents. */
#include "storagenode/extent/alloc.h"

#include "common/base/check.h"
#include "common/base/mutant.h"

#include <stdlib.h>

void alloc_init(struct alloc *a, uint64_t extent_bytes, uint32_t extents_max, uint32_t reserve)
{
    CHECK(extent_bytes % FRAME_ALIGN == 0 && extent_bytes > EXTENT_HEADER_BYTES + FRAME_HEAD_BYTES);
    *a = (struct alloc){
        .extent_bytes = extent_bytes, .extents_max = extents_max, .reserve = reserve};
}

void alloc_fini(struct alloc *a)
{
    for (uint32_t i = 0; i < a->slots; i++)
        free(a->extents[i]);
    free(a->extents);
    *a = (struct alloc){0};
}

int alloc_add(struct alloc *a, const struct extent_header *header, struct extent **ret)
{
    uint32_t id = header->id;
    CHECK(id != 0);
    if (id > EXTENTS_MAX)
        return ERR_LIMIT;
    if (alloc_find(a, id))
        return ERR_EXISTS;
    if (id > a->cap) {
        uint32_t cap = MAX(id, MAX(16u, a->cap * 2));
        struct extent **grown = realloc(a->extents, cap * sizeof(*grown));
        if (!grown)
            return ERR_NOMEM;
        memset(grown + a->cap, 0, (cap - a->cap) * sizeof(*grown));
        a->extents = grown;
        a->cap = cap;
    }
    struct extent *x = calloc(1, sizeof(*x));
    if (!x)
        return ERR_NOMEM;
    x->header = *header;
    x->state = EXTENT_FREE;
    x->end = EXTENT_HEADER_BYTES;
    a->extents[id - 1] = x;
    a->slots = MAX(a->slots, id);
    a->count++;
    a->free_count++;
    *ret = x;
    return OK;
}

struct extent *alloc_find(const struct alloc *a, uint32_t id)
{
    return id != 0 && id <= a->slots ? a->extents[id - 1] : NULL;
}

uint32_t alloc_next_id(const struct alloc *a)
{
    uint32_t used = MAX(a->slots, a->id_floor);
    return used < EXTENTS_MAX ? used + 1 : 0;
}

static bool holds_frames(enum extent_state state)
{
    return state != EXTENT_FREE && state != EXTENT_FREEING && state != EXTENT_BROKEN;
}

static void state_set(struct alloc *a, struct extent *x, enum extent_state state)
{
    uint64_t used = x->end - EXTENT_HEADER_BYTES;
    if (holds_frames(x->state))
        a->used_bytes -= used;
    if (holds_frames(state))
        a->used_bytes += used;
    a->free_count -= x->state == EXTENT_FREE;
    a->free_count += state == EXTENT_FREE;
    a->coming -= x->state == EXTENT_FREEING;
    a->coming += state == EXTENT_FREEING;
    if (a->active == x)
        a->active = NULL;
    if (state == EXTENT_ACTIVE) {
        CHECK(!a->active);
        a->active = x;
    }
    x->state = state;
}

void extent_move(struct alloc *a, struct extent *x, enum extent_state state)
{
    static const unsigned moves[EXTENT_STATE_COUNT] = {
        [EXTENT_FREE] = 1u << EXTENT_ACTIVE,
        [EXTENT_ACTIVE] = 1u << EXTENT_SEALED,
        [EXTENT_SEALED] = 1u << EXTENT_RECLAIMING,
        [EXTENT_RECLAIMING] = 1u << EXTENT_EMPTIED | 1u << EXTENT_SEALED,
        [EXTENT_EMPTIED] = 1u << EXTENT_FREEING,
    };
    CHECK(moves[x->state] & 1u << state);
    CHECK(state != EXTENT_EMPTIED || x->live_frames == 0);
    state_set(a, x, state);
}

void extent_restore(struct alloc *a, struct extent *x, enum extent_state state, uint64_t end)
{
    CHECK(end >= EXTENT_HEADER_BYTES && end <= x->header.bytes);
    CHECK(state != EXTENT_FREE || end == EXTENT_HEADER_BYTES);
    state_set(a, x, EXTENT_BROKEN);
    x->end = end;
    state_set(a, x, state);
}

void extent_reborn(struct alloc *a, struct extent *x, const struct extent_header *header)
{
    CHECK(x->state == EXTENT_FREEING && x->live_frames == 0 && x->readers == 0);
    CHECK(header->id == x->header.id && header->generation > x->header.generation);
    x->header = *header;
    x->end = EXTENT_HEADER_BYTES;
    x->last_seq = x->needs_mark = 0;
    x->scrub_pass = 0;
    x->header_bad = false;
    state_set(a, x, EXTENT_FREE);
}

void extent_append(struct alloc *a, struct extent *x, uint64_t bytes)
{
    CHECK(x == a->active && bytes % FRAME_ALIGN == 0 && bytes <= x->header.bytes - x->end);
    x->end += bytes;
    a->used_bytes += bytes;
}

void extent_account(struct alloc *a, struct extent *x, int64_t bytes, int frames)
{
    CHECK(bytes >= 0 || x->live_bytes >= (uint64_t)-bytes);
    CHECK(frames >= 0 || x->live_frames >= (uint32_t)-frames);
    x->live_bytes += (uint64_t)bytes;
    x->live_frames += (uint32_t)frames;
    a->live_bytes += (uint64_t)bytes;
    a->live_frames += (uint64_t)frames;
}

bool alloc_may_make(const struct alloc *a) { return a->count < a->extents_max; }

uint32_t alloc_free(const struct alloc *a)
{
    uint32_t could = a->count < a->extents_max ? a->extents_max - a->count : 0;
    return a->free_count + a->coming + could;
}

enum alloc_room alloc_room(const struct alloc *a, enum alloc_for purpose, uint64_t bytes)
{
    uint32_t free_extents = alloc_free(a), least = purpose == ALLOC_PUT ? a->reserve : 0;
    if (MUTANT(STORE_RESERVE_TAKEN))
        least = 0;
    /* Once marks or reclamation have begun an extent of the reserve, puts keep out of it too. */
    if (a->active && bytes <= a->active->header.bytes - a->active->end && free_extents >= least)
        return ALLOC_FITS;
    if (bytes > a->extent_bytes - EXTENT_HEADER_BYTES || free_extents <= least)
        return ALLOC_NONE;
    return a->free_count > 0 ? ALLOC_NEXT : ALLOC_WAITS;
}

struct extent *alloc_advance(struct alloc *a)
{
    struct extent *next = NULL;
    for (uint32_t i = 0; i < a->slots && !next; i++)
        if (a->extents[i] && a->extents[i]->state == EXTENT_FREE)
            next = a->extents[i];
    CHECK(next);
    if (a->active)
        extent_move(a, a->active, EXTENT_SEALED);
    extent_move(a, next, EXTENT_ACTIVE);
    return next;
}

uint64_t alloc_put_bytes_left(const struct alloc *a)
{
    uint32_t free_extents = alloc_free(a);
    if (free_extents < a->reserve)
        return 0;
    uint64_t whole = (uint64_t)(free_extents - a->reserve) * (a->extent_bytes - EXTENT_HEADER_BYTES);
    return whole + (a->active ? a->active->header.bytes - a->active->end : 0);
}

enum alloc_pressure alloc_pressure(const struct alloc *a)
{
    uint32_t free_extents = alloc_free(a);
    if (free_extents <= a->reserve)
        return ALLOC_FULL;
    return free_extents <= 2 * a->reserve ? ALLOC_TIGHT : ALLOC_RELAXED;
}

static bool worth_it(const struct alloc *a, const struct extent *x, bool forced)
{
    uint64_t space = x->header.bytes - EXTENT_HEADER_BYTES;
    uint64_t dead = x->end - EXTENT_HEADER_BYTES - x->live_bytes;
    if (x->live_bytes == 0)
        return true;
    if (forced)
        return dead > 0;
    switch (alloc_pressure(a)) {
    case ALLOC_RELAXED: return x->live_bytes <= space / 2;
    case ALLOC_TIGHT: return x->live_bytes <= space / 2 || dead >= space / 4;
    case ALLOC_FULL: return x->live_bytes <= space / 2 || dead >= space / 32;
    }
    return false;
}

struct extent *alloc_victim(const struct alloc *a, bool forced)
{
    struct extent *best = NULL;
    for (uint32_t i = 0; i < a->slots; i++) {
        struct extent *x = a->extents[i];
        if (x && x->state == EXTENT_SEALED && worth_it(a, x, forced) &&
            (!best || x->live_bytes < best->live_bytes))
            best = x;
    }
    if (!best || best->live_bytes == 0)
        return best;
    /* Without a whole free extent the copies may not fit, whatever the bytes add up to. */
    uint64_t room = a->active ? a->active->header.bytes - a->active->end : 0;
    return alloc_free(a) > 0 || room >= best->live_bytes ? best : NULL;
}

void alloc_check(const struct alloc *a)
{
    uint32_t count = 0, free_count = 0, freeing = 0;
    uint64_t live = 0, used = 0, frames = 0;
    for (uint32_t i = 0; i < a->slots; i++) {
        const struct extent *x = a->extents[i];
        if (!x)
            continue;
        CHECK(x->header.id == i + 1 && x->end <= x->header.bytes);
        CHECK(x->live_bytes <= x->end - EXTENT_HEADER_BYTES || x->state == EXTENT_BROKEN);
        CHECK((x->live_bytes == 0) == (x->live_frames == 0));
        CHECK(x->state != EXTENT_FREE || (x->end == EXTENT_HEADER_BYTES && x->live_frames == 0));
        CHECK((x->state == EXTENT_ACTIVE) == (x == a->active));
        count++;
        free_count += x->state == EXTENT_FREE;
        freeing += x->state == EXTENT_FREEING;
        live += x->live_bytes;
        frames += x->live_frames;
        used += holds_frames(x->state) ? x->end - EXTENT_HEADER_BYTES : 0;
    }
    CHECK(count == a->count && free_count == a->free_count && freeing == a->coming);
    CHECK(live == a->live_bytes && used == a->used_bytes && frames == a->live_frames);
}
