/* store.check, store.inventory, store.distrust: what repair and the operator's tools ask. */
#include "storagenode/io/service_impl.h"

#include "common/base/check.h"
#include "proto/methods.h"
#include "proto/storage.pb-c.h"

#include <assert.h>
#include <stdlib.h>

/* A deep check reads so much, then answers with what it knows. */
#define CHECK_BYTES_MAX (64ull << 20)

static_assert((int)DISKS_SHARD_MISSING == (int)CAIRN__SHARD_STATE__SHARD_MISSING &&
                  (int)DISKS_SHARD_PRESENT == (int)CAIRN__SHARD_STATE__SHARD_PRESENT &&
                  (int)DISKS_SHARD_DAMAGED == (int)CAIRN__SHARD_STATE__SHARD_DAMAGED &&
                  (int)DISKS_SHARD_DELETED == (int)CAIRN__SHARD_STATE__SHARD_DELETED &&
                  (int)DISKS_SHARD_UNREADABLE == (int)CAIRN__SHARD_STATE__SHARD_UNREADABLE,
              "states of shards travel as they are");
static_assert(sizeof(enum disks_shard) == sizeof(Cairn__ShardState), "in arrays of the same type");

/* ---- check ---- */

struct check_call {
    struct service *service;
    struct rpc_request *req;
    struct disks_check check;
    struct id128 ids[DISKS_CHECK_MAX];
    enum disks_shard states[DISKS_CHECK_MAX];
};

static void check_answer(struct check_call *c, int err)
{
    Cairn__CheckShardsResponse response = CAIRN__CHECK_SHARDS_RESPONSE__INIT;
    response.n_states = c->check.done;
    response.states = (Cairn__ShardState *)(void *)c->states;
    c->service->under_way--;
    rpc_reply(c->req, err, err ? NULL : &response.base, NULL, 0);
    free(c);
}

static void on_check(struct disks_check *check)
{
    check_answer(container_of(check, struct check_call, check), check->err);
}

static int check_decode(const Cairn__CheckShardsRequest *m, struct check_call *c)
{
    if (m->n_blob_ids > DISKS_CHECK_MAX)
        return ERR_TOO_LARGE;
    if (m->n_shard_indexes != m->n_blob_ids)
        return ERR_INVAL;
    for (size_t i = 0; i < m->n_blob_ids; i++)
        if (!id128_from_slice(bytes_of(&m->blob_ids[i]), &c->ids[i]))
            return ERR_INVAL;
    c->check = (struct disks_check){.blob_ids = c->ids,
                                    .shard_indexes = m->shard_indexes,
                                    .count = m->n_blob_ids,
                                    .deep = m->deep,
                                    .bytes_max = CHECK_BYTES_MAX,
                                    .states = c->states,
                                    .cb = on_check};
    return OK;
}

static void serve_check(void *arg, struct rpc_request *req)
{
    struct service *s = arg;
    struct check_call *c = calloc(1, sizeof(*c));
    if (!c) {
        rpc_reply(req, ERR_NOMEM, NULL, NULL, 0);
        return;
    }
    c->service = s;
    c->req = req;
    s->under_way++;
    int err = check_decode((const Cairn__CheckShardsRequest *)(const void *)req->msg, c);
    if (!err)
        err = disks_check_start(s->disks, &c->check);
    if (err)
        check_answer(c, err);
}

/* ---- inventory ---- */

struct inventory_call {
    struct service *service;
    struct rpc_request *req;
    uint64_t closed_epoch; /* as of the start: what was written below it is in the inventory */
    struct disks_inventory inv;
};

struct inventory_entries {
    Cairn__InventoryEntry *entries;
    Cairn__InventoryEntry **pointers;
};

static int entries_fill(const struct disks_inventory *inv, struct inventory_entries *ret)
{
    ret->entries = calloc(inv->count + 1, sizeof(*ret->entries));
    ret->pointers = calloc(inv->count + 1, sizeof(*ret->pointers));
    if (!ret->entries || !ret->pointers)
        return ERR_NOMEM;
    for (size_t i = 0; i < inv->count; i++) {
        Cairn__InventoryEntry *e = &ret->entries[i];
        cairn__inventory_entry__init(e);
        e->blob_id = (ProtobufCBinaryData){ID_BYTES, inv->entries[i].blob_id.bytes};
        e->shard_index = inv->entries[i].shard_index;
        e->time_ms = inv->entries[i].record.time_ms;
        e->damaged = inv->entries[i].record.damaged;
        ret->pointers[i] = e;
    }
    return OK;
}

static void inventory_answer(struct inventory_call *c, int err)
{
    Cairn__InventoryResponse response = CAIRN__INVENTORY_RESPONSE__INIT;
    struct inventory_entries entries = {0};
    if (!err)
        err = entries_fill(&c->inv, &entries);
    if (!err && c->inv.digests) {
        response.digests = c->inv.hashes;
        response.n_digests = DISKS_DIGESTS;
        response.present = (ProtobufCBinaryData){sizeof(c->inv.present), c->inv.present};
    }
    response.entries = entries.pointers;
    response.n_entries = c->inv.count;
    response.more = c->inv.more;
    response.closed_epoch = c->closed_epoch;
    c->service->under_way--;
    rpc_reply(c->req, err, err ? NULL : &response.base, NULL, 0);
    free(entries.entries);
    free(entries.pointers);
    disks_inventory_fini(&c->inv);
    free(c);
}

static void on_inventory(struct disks_inventory *inv)
{
    inventory_answer(container_of(inv, struct inventory_call, inv), inv->err);
}

static int inventory_decode(const Cairn__InventoryRequest *m, struct disks_inventory *ret)
{
    if (m->first_byte > UINT8_MAX || m->entries_max > DISKS_INVENTORY_MAX)
        return ERR_INVAL;
    *ret = (struct disks_inventory){.pg = m->pg,
                                    .digests = m->digests,
                                    .first_byte = (uint8_t)m->first_byte,
                                    .has_after = m->after.len > 0,
                                    .entries_max = m->entries_max,
                                    .older_than_ms = m->older_than_ms,
                                    .cb = on_inventory};
    if (ret->has_after && (!id128_from_slice(bytes_of(&m->after), &ret->after) ||
                           ret->after.bytes[0] != ret->first_byte))
        return ERR_INVAL;
    return OK;
}

static void serve_inventory(void *arg, struct rpc_request *req)
{
    struct service *s = arg;
    struct inventory_call *c = calloc(1, sizeof(*c));
    if (!c) {
        rpc_reply(req, ERR_NOMEM, NULL, NULL, 0);
        return;
    }
    c->service = s;
    c->req = req;
    s->under_way++;
    int err = inventory_decode((const Cairn__InventoryRequest *)(const void *)req->msg, &c->inv);
    c->closed_epoch = disks_epoch_closed(s->disks, c->inv.pg);
    if (!err)
        err = disks_inventory_start(s->disks, &c->inv);
    if (err)
        inventory_answer(c, err);
}

/* ---- distrust ---- */

static void serve_distrust(void *arg, struct rpc_request *req)
{
    struct service *s = arg;
    const Cairn__DistrustShardRequest *m = (const Cairn__DistrustShardRequest *)(const void *)req->msg;
    Cairn__DistrustShardResponse response = CAIRN__DISTRUST_SHARD_RESPONSE__INIT;
    struct id128 blob_id;
    int err = ERR_INVAL;
    if (m->shard_index <= SHARD_INDEX_MAX && m->n_block_crcs <= shard_blocks(SHARD_BYTES_MAX) &&
        id128_from_slice(bytes_of(&m->blob_id), &blob_id))
        err = disks_distrust(s->disks, blob_id, (uint16_t)m->shard_index, m->block_crcs,
                             (uint32_t)m->n_block_crcs);
    rpc_reply(req, err, err ? NULL : &response.base, NULL, 0);
}

int inspect_serve(struct service *s, struct rpc *rpc)
{
    int err = rpc_serve(rpc, &method_store_check, serve_check, s);
    if (!err)
        err = rpc_serve(rpc, &method_store_distrust, serve_distrust, s);
    return err ? err : rpc_serve(rpc, &method_store_inventory, serve_inventory, s);
}
