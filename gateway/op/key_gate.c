/* A bucket of tokens, as the time at which it is full again: it lacks one token for each COST_NS
 * from now to then. */
#include "gateway/op/key_gate.h"

#include "gateway/op/gateway.h"

#define COST_NS (NS_PER_SEC / KEY_GATE_PER_SECOND)

bool key_gate_take(struct gateway *gw)
{
    struct key_gate *g = &gw->key_gate;
    uint64_t now = env_now_ns(gw->env), full = MAX(g->full_ns, now);
    if (full - now > (KEY_GATE_BURST - 1) * COST_NS) {
        metric_inc(gw->metrics->keys_throttled);
        return false;
    }
    g->full_ns = full + COST_NS;
    return true;
}

bool key_gate_enter(struct gateway *gw, struct slice name, bool *ret_taken)
{
    const struct cache_key key = {CAIRN__RECORD_KIND__RECORD_PRINCIPAL, 0, name};
    *ret_taken = false;
    if (name.len == 0 || cache_find(meta_client_cache(gw->mc), &key))
        return true;
    return *ret_taken = key_gate_take(gw);
}

void key_gate_done(struct gateway *gw, bool taken, bool give_back)
{
    if (taken && give_back)
        gw->key_gate.full_ns -= COST_NS;
}
