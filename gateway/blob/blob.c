/* The blob client's life. */
#include "gateway/blob/blob.h"

#include "common/base/check.h"
#include "gateway/blob/internal.h"

#include <stdlib.h>

int blob_client_new(struct env *env, struct rpc *rpc, struct meta_client *mc,
                    const struct blob_config *config, struct blob_client **ret)
{
    struct blob_client *bc = calloc(1, sizeof(*bc));
    if (!bc)
        return ERR_NOMEM;
    bc->env = env;
    bc->rpc = rpc;
    bc->mc = mc;
    bc->config = *config;
    struct blob_config *c = &bc->config;
    c->write_attempt_ms = c->write_attempt_ms ? c->write_attempt_ms : 5000;
    c->straggler_ms = c->straggler_ms ? c->straggler_ms : 3000;
    c->read_attempt_ms = c->read_attempt_ms ? c->read_attempt_ms : 3000;
    c->hedge_min_ms = c->hedge_min_ms ? c->hedge_min_ms : 5;
    c->hedge_max_ms = c->hedge_max_ms ? c->hedge_max_ms : 1000;
    if (!c->replicate_bytes_max)
        c->replicate_bytes_max = REPLICATE_BYTES_MAX;
    c->zone = config->zone ? strdup(config->zone) : NULL;
    if (config->zone && !c->zone) {
        free(bc);
        return ERR_NOMEM;
    }
    bc->hedge_ns = 50 * NS_PER_MS;
    list_init(&bc->puts);
    list_init(&bc->gets);
    list_init(&bc->coded_gets);
    list_init(&bc->asks);
    if (hints_init(bc) != OK) {
        blob_client_free(bc);
        return ERR_NOMEM;
    }
    *ret = bc;
    return OK;
}

void blob_client_stop(struct blob_client *bc)
{
    if (bc->stopped)
        return;
    bc->stopped = true;
    puts_stop(bc);
    gets_stop(bc);
    coded_gets_stop(bc);
    asks_stop(bc);
    hints_stop(bc);
}

bool blob_client_idle(const struct blob_client *bc)
{
    return bc->outstanding == 0;
}

void blob_client_free(struct blob_client *bc)
{
    if (!bc)
        return;
    CHECK(bc->outstanding == 0 && list_empty(&bc->puts) && list_empty(&bc->gets) &&
          list_empty(&bc->asks) && list_empty(&bc->coded_gets));
    for (size_t i = 0; i < bc->code_count; i++)
        free(bc->codes[i]);
    free(bc->codes);
    for (size_t i = 0; i < bc->node_count; i++)
        free(bc->nodes[i]);
    free(bc->nodes);
    free(bc->zones);
    free(bc->pgs);
    hints_fini(bc);
    free((char *)(uintptr_t)bc->config.zone);
    free(bc);
}

const struct blob_stats *blob_client_stats(const struct blob_client *bc)
{
    return &bc->stats;
}
