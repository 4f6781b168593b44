/* Deleting what no record names. */
#include "common/base/check.h"
#include "gateway/blob/internal.h"
#include "proto/methods.h"

#include <stdlib.h>

struct discard {
    struct blob_client *bc;
    struct rpc_call rpc;
};

static void discard_cb(struct rpc_call *rpc)
{
    struct discard *d = container_of(rpc, struct discard, rpc);
    d->bc->outstanding--;
    rpc_call_fini(rpc);
    free(d);
}

void discard_at(struct blob_client *bc, struct blob_node *n, struct id128 blob_id)
{
    ProtobufCBinaryData id = {ID_BYTES, blob_id.bytes};
    Cairn__DeleteShardsRequest request = CAIRN__DELETE_SHARDS_REQUEST__INIT;
    struct discard *d = bc->stopped ? NULL : calloc(1, sizeof(*d));
    if (!d)
        return; /* an orphan, which the storage node will ask about one day */
    request.n_blob_ids = 1;
    request.blob_ids = &id;
    d->bc = bc;
    d->rpc = (struct rpc_call){
        .method = &method_store_delete,
        .request = &request.base,
        .timeout_ns = 5 * NS_PER_SEC,
        .cb = discard_cb,
    };
    if (rpc_call_start(n->peer, &d->rpc) == OK)
        bc->outstanding++;
    else
        free(d);
}

void blob_discard(struct blob_client *bc, uint32_t pg_id, struct id128 blob_id)
{
    const struct blob_pg *pg = bc->stopped ? NULL : pgs_find(bc, pg_id);
    struct blob_node *told[PG_LISTS * PG_MEMBERS_MAX];
    unsigned count = 0;
    bc->stats.discards++;
    hint_forget(bc, blob_id);
    puts_forget(bc, blob_id);
    for (unsigned list = 0; pg && list < pg->lists; list++) {
        for (unsigned i = 0; i < pg->shard_count; i++) {
            struct blob_node *n = pg->member[list][i];
            unsigned k = 0;
            while (k < count && told[k] != n)
                k++;
            if (!n || k < count)
                continue;
            told[count++] = n;
            discard_at(bc, n, blob_id);
        }
    }
}
