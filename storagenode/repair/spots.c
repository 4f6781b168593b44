/* Single blobs that somebody has found to lack something: scrub, a read; or says that they may: a
 * gateway that could not write all shards.  They are mended beside the passes over groups.  See
 * agent.h. */
#include "storagenode/repair/agent.h"

#include "common/base/check.h"
#include "storagenode/repair/agent_impl.h"

#define TRIES_MAX 8         /* then it is left to the passes over its group */
#define HINTS_AT_A_TIME 64u /* damage waits no longer than for these */
/* Hints that are tried again come so much earlier, to be with others: a member that hangs is waited
 * for once a pass. */
#define TOGETHER_NS NS_PER_SEC

/* It waits already. */
static bool is_waiting(const struct repair_agent *a, uint32_t pg, const struct id128 *blob_id)
{
    for (size_t i = 0; i < a->spot_count; i++)
        if (a->spots[i].pg == pg && id128_eq(a->spots[i].blob_id, *blob_id) && !a->spots[i].taken)
            return true;
    return false;
}

void repair_agent_spot(struct repair_agent *a, uint32_t pg, const struct id128 *blob_id,
                       unsigned source)
{
    if (a->stopped || is_waiting(a, pg, blob_id))
        return;
    a->stats.spots++;
    if (a->spot_count - a->hint_count == REPAIR_SPOTS_MAX) {
        a->stats.spots_dropped++;
        for (size_t i = 0; i < a->group_count; i++)
            if (a->groups[i]->pg == pg)
                a->groups[i]->turn[PASS_CATCH_UP].due_ns = env_now_ns(a->env);
        return;
    }
    a->spots[a->spot_count++] = (struct repair_spot){
        .pg = pg, .blob_id = *blob_id, .due_ns = env_now_ns(a->env), .source = (uint8_t)source};
    if (!a->spot_pass)
        env_timer_start(&a->spot_timer, 0);
}

/* The group's repairer looks into it when all that was left out is old enough. */
static void hint_drop(struct repair_agent *a, uint32_t pg, uint64_t due_ns)
{
    struct repair_group *g = agent_group(a, pg);
    a->stats.hints_dropped++;
    if (g && g->repairs)
        g->turn[PASS_REPAIR].due_ns = MIN(g->turn[PASS_REPAIR].due_ns, due_ns);
}

int repair_agent_hint(struct repair_agent *a, uint32_t pg, const struct id128 *blob_ids,
                      size_t count)
{
    const Cairn__PlacementGroup *group;
    uint64_t due_ns = env_now_ns(a->env) + a->config.repair_age_ms * NS_PER_MS;
    if (a->stopped)
        return ERR_SHUTDOWN;
    if (!map_client_map(a->map))
        return ERR_NOT_READY;
    group = map_client_pg(a->map, pg);
    if (!group || !agent_is_member(a, group))
        return ERR_NOT_FOUND;
    for (size_t i = 0; i < count; i++) {
        if (is_waiting(a, pg, &blob_ids[i]))
            continue;
        a->stats.hints++;
        if (a->hint_count == REPAIR_HINTS_MAX) {
            hint_drop(a, pg, due_ns);
            continue;
        }
        a->hint_count++;
        a->spots[a->spot_count++] = (struct repair_spot){.pg = pg,
                                                         .blob_id = blob_ids[i],
                                                         .due_ns = due_ns,
                                                         .source = REPAIR_SOURCE_NONE,
                                                         .hint = true};
    }
    if (!a->spot_pass && !a->spot_timer.active)
        env_timer_start(&a->spot_timer, 0);
    return OK;
}

uint64_t repair_agent_spots_mended(const struct repair_agent *a, unsigned source)
{
    return source < REPAIR_SOURCES_MAX ? a->spots_mended[source] : 0;
}

uint64_t spots_due_ns(const struct repair_agent *a)
{
    uint64_t due = NEVER;
    for (size_t i = 0; i < a->spot_count; i++)
        due = MIN(due, a->spots[i].due_ns);
    return due;
}

static size_t take(struct repair_agent *a, uint64_t now_ns, bool hints, struct plan_item *ret,
                   size_t max, uint32_t *ret_pg)
{
    size_t count = 0;
    for (size_t i = 0; i < a->spot_count && count < max; i++) {
        struct repair_spot *s = &a->spots[i];
        uint64_t early_ns = hints && s->tries > 0 ? TOGETHER_NS : 0;
        if (s->hint != hints || s->due_ns > now_ns + early_ns || (count > 0 && s->pg != *ret_pg))
            continue;
        s->taken = true;
        *ret_pg = s->pg;
        ret[count++] =
            (struct plan_item){.blob_id = s->blob_id, .verdict = PLAN_MEND, .lack = UINT32_MAX};
    }
    return count;
}

size_t spots_take(struct repair_agent *a, uint64_t now_ns, struct plan_item *ret, size_t max,
                  uint32_t *ret_pg, bool *ret_hints)
{
    size_t count = take(a, now_ns, false, ret, max, ret_pg);
    *ret_hints = count == 0;
    return count > 0 ? count : take(a, now_ns, true, ret, MIN(max, HINTS_AT_A_TIME), ret_pg);
}

/* It is over, one way or another. */
static void spot_remove(struct repair_agent *a, struct repair_spot *s)
{
    a->hint_count -= s->hint;
    *s = a->spots[--a->spot_count];
}

/* Is it over?  Of a hint also what is whole may come to lack something: of a member that hangs
 * nothing is known; and what nothing refers to may belong to an upload under way. */
static bool spot_is_over(struct repair_agent *a, const struct repair_spot *s, const struct mend *m,
                         bool silent)
{
    bool whole = (m->outcome == MEND_MENDED && !m->unwanted) || m->outcome == MEND_NOTHING;
    if (m->outcome == MEND_DELETED)
        return true;
    if (m->outcome == MEND_BEYOND && s->hint && !silent && !m->item.have && !m->item.damaged)
        return true; /* nobody has anything of it */
    if (m->outcome == MEND_UNREFERRED)
        return !s->hint || !m->new_only;
    if (!whole || (s->hint && silent))
        return false;
    if (s->hint)
        a->stats.hints_mended += m->outcome == MEND_MENDED;
    else
        a->stats.spots_mended++;
    if (s->source < REPAIR_SOURCES_MAX)
        a->spots_mended[s->source]++;
    return true;
}

void spots_outcome(struct repair_agent *a, const struct mend *m, bool silent)
{
    struct repair_spot *s = NULL;
    for (size_t i = 0; !s && i < a->spot_count; i++)
        if (a->spots[i].taken && a->spots[i].pg == m->pg &&
            id128_eq(a->spots[i].blob_id, m->item.blob_id))
            s = &a->spots[i];
    if (!s)
        return;
    bool over = spot_is_over(a, s, m, silent);
    s->taken = false;
    s->due_ns = env_now_ns(a->env) + agent_backoff_ns(a, s->tries);
    if (over || s->tries++ == TRIES_MAX)
        spot_remove(a, s);
}

void spots_release(struct repair_agent *a)
{
    for (size_t i = 0; i < a->spot_count;) {
        struct repair_spot *s = &a->spots[i];
        bool over = s->taken && s->tries++ == TRIES_MAX;
        if (s->taken)
            s->due_ns = env_now_ns(a->env) + agent_backoff_ns(a, s->tries);
        s->taken = false;
        if (over)
            spot_remove(a, s);
        else
            i++;
    }
}
