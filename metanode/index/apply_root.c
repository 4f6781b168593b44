/* The root's commands: the cluster's record, nodes and placement groups, the first account, buckets.
 *
 * Deleting a bucket.  The gateway commits BeginDeleteBucket here (ACTIVE v -> DELETING v+1), then
 * FenceBucket(sealed, v+1) in every partition that overlaps the bucket, each of which says whether
 * it is empty, then FinishDeleteBucket(v+1) if all were, else AbortDeleteBucket(v+1) (-> ACTIVE
 * v+2).
 *
 * Why it is safe, whoever crashes, repeats or overtakes:
 *  (a) Proposals carry a settings version that someone read here.  A version above v+1 can be read
 *      only after an Abort at v+1 has been applied.
 *  (b) So until that Abort, a partition that applied the fence (v+1, sealed) refuses every proposal
 *      for the bucket: those of less than v+1 as outdated, those of v+1 as sealed.  What it found
 *      empty stays empty.  Aborts and completes of uploads are proposals like any other.
 *  (c) Finish(v+1) is applied only while the record is DELETING at v+1: no Abort at v+1 has been
 *      applied, and none will be, for it needs that same state.  With (b), every partition that was
 *      found empty after its fence is empty now, and for ever: nothing lifts the seal, and the id
 * is never used again.  A deletion therefore never loses an object.
 *  - Two deleters get the same version from Begin.  If one aborts, the other's Finish finds another
 *    version and is refused (ERR_CONFLICT), whatever its fences said; if one finishes, the other's
 *    Begin, Finish or Abort finds no record (ERR_NO_BUCKET).
 *  - Abort, then Begin again: DELETING at v+3.  A delayed Finish or Abort of v+1 is refused.  The
 *    fences of v+1 do not count for v+3: they must be committed again, and are newer.
 *  - A fence (v+1, sealed) that arrives after the Abort seals nothing that matters: writers who
 * read the record now assume v+2, which passes; older ones learn ERR_SETTINGS or ERR_SEALED and
 * read again.  One that arrives after a fence of v+3 is refused by the partition.
 *  - Delete, then the same name created again: another id; what names the old id finds no record,
 *    and old fences lie under the old id.  Fence rows of dead buckets stay (22 bytes each a
 *    partition): they are what refuses a writer that still holds the dead bucket's record.
 *  - A deleter crashes: the bucket stays DELETING and sealed, which loses nothing, until anyone
 *    deletes it again (Begin gives the same version) or aborts (state_since_ms says since when). */
#include "metanode/index/state.h"

#include "common/base/check.h"

#include <inttypes.h>
#include <stdio.h>

int root_get(struct apply *a, enum index_table table, struct slice id,
             const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret)
{
    struct key key;
    *ret = NULL;
    key_table(&key, a->index->partition, table, id);
    int err = apply_get_message(a, &key, type, ret);
    return err == ERR_NOT_FOUND ? OK : err;
}

int root_put(struct apply *a, enum index_table table, struct slice id,
             const ProtobufCMessage *message)
{
    struct key key;
    key_table(&key, a->index->partition, table, id);
    return apply_put_message(a, &key, message);
}

int root_put_be32(struct apply *a, enum index_table table, uint32_t id,
                  const ProtobufCMessage *message)
{
    struct key key;
    key_start(&key, a->index->partition, table);
    key_be32(&key, id);
    return apply_put_message(a, &key, message);
}

/* ---- cluster ---- */

static int put_nodes(struct apply *a, Cairn__NodeRecord *const *nodes, size_t n_nodes,
                     Cairn__PlacementGroup *const *pgs, size_t n_pgs)
{
    int err = OK;
    for (size_t i = 0; !err && i < n_nodes; i++)
        err = root_put(a, TABLE_NODE, string_of(nodes[i]->node_id), &nodes[i]->base);
    for (size_t i = 0; !err && i < n_pgs; i++)
        err = root_put_be32(a, TABLE_PG, pgs[i]->id, &pgs[i]->base);
    return err;
}

/* As earlier releases founded clusters: registry.h. */
static int found_user(struct apply *a, Cairn__UserRecord *user, Cairn__AccessKeyRecord *key)
{
    user->created_ms = key->created_ms = a->h.time_ms;
    int err = root_put(a, TABLE_USER, string_of(user->user_id), &user->base);
    return err ? err : root_put(a, TABLE_ACCESS_KEY, string_of(key->access_key_id), &key->base);
}

static int apply_bootstrap(struct apply *a, const Cairn__Bootstrap *op)
{
    ProtobufCMessage *existing;
    int err =
        root_get(a, TABLE_CLUSTER, SLICE_EMPTY, &cairn__cluster_record__descriptor, &existing);
    if (err || existing)
        return err ? err : apply_decide(a, ERR_EXISTS);
    Cairn__ClusterRecord cluster = CAIRN__CLUSTER_RECORD__INIT;
    cluster.cluster_id = op->cluster_id;
    cluster.created_ms = a->h.time_ms;
    err = root_put(a, TABLE_CLUSTER, SLICE_EMPTY, &cluster.base);
    if (!err)
        err = put_nodes(a, op->nodes, op->n_nodes, op->pgs, op->n_pgs);
    for (size_t i = 0; !err && i < op->n_partitions; i++)
        err = root_put_be32(a, TABLE_PARTITION, op->partitions[i]->id, &op->partitions[i]->base);
    if (err)
        return err;
    return op->account ? found_account(a, op->account, op->account_key)
                       : found_user(a, op->root_user, op->root_key);
}

/* ---- buckets ---- */

/* Counting up from the top bit: ids spread evenly over any even division into ranges, from the
 * first one on.  Zero is never given. */
static uint64_t bit_reverse(uint64_t v)
{
    uint64_t r = 0;
    for (int i = 0; i < 64; i++)
        r |= (v >> i & 1) << (63 - i);
    return r;
}

static int apply_create_bucket(struct apply *a, const Cairn__CreateBucket *op)
{
    ProtobufCMessage *message;
    struct slice name = string_of(op->bucket->name);
    int err = root_get(a, TABLE_BUCKET, name, &cairn__bucket_record__descriptor, &message);
    if (err)
        return err;
    const Cairn__BucketRecord *old = (const Cairn__BucketRecord *)(void *)message;
    if (old) {
        a->out.existed = true;
        a->out.bucket_id = old->id;
        a->out.settings_version = old->settings_version;
        return apply_decide(a, old->state == CAIRN__BUCKET_STATE__BUCKET_ACTIVE ? ERR_EXISTS
                                                                                : ERR_CONFLICT);
    }
    a->h.bucket_counter++;
    CHECK(a->h.bucket_counter != 0);
    op->bucket->id = bit_reverse(a->h.bucket_counter);
    op->bucket->created_ms = a->h.time_ms;
    op->bucket->state_since_ms = a->h.time_ms;
    op->bucket->settings_version = 1;
    op->bucket->versioning = op->bucket->object_lock ? CAIRN__VERSIONING__VERSIONING_ENABLED
                                                     : CAIRN__VERSIONING__VERSIONING_OFF;
    op->bucket->fencing = 0;
    op->bucket->fencing_since_ms = 0;
    op->bucket->state = CAIRN__BUCKET_STATE__BUCKET_ACTIVE;
    for (size_t i = 0; i < op->bucket->n_settings; i++)
        op->bucket->settings[i]->changed_ms = a->h.time_ms;
    a->out.bucket_id = op->bucket->id;
    a->out.settings_version = op->bucket->settings_version;
    return root_put(a, TABLE_BUCKET, name, &op->bucket->base);
}

int bucket_get(struct apply *a, const char *name, uint64_t id, Cairn__BucketRecord **ret)
{
    ProtobufCMessage *message;
    *ret = NULL;
    int err =
        root_get(a, TABLE_BUCKET, string_of(name), &cairn__bucket_record__descriptor, &message);
    if (err)
        return err;
    Cairn__BucketRecord *bucket = (Cairn__BucketRecord *)(void *)message;
    if (!bucket || bucket->id != id)
        return apply_decide(a, ERR_NO_BUCKET);
    a->out.bucket_id = bucket->id;
    a->out.settings_version = bucket->settings_version;
    *ret = bucket;
    return OK;
}

static int bucket_set_state(struct apply *a, Cairn__BucketRecord *bucket, Cairn__BucketState state)
{
    bucket->state = state;
    bucket->state_since_ms = a->h.time_ms;
    bucket->settings_version++;
    a->out.settings_version = bucket->settings_version;
    return root_put(a, TABLE_BUCKET, string_of(bucket->name), &bucket->base);
}

static int apply_begin_delete(struct apply *a, const Cairn__BeginDeleteBucket *op)
{
    Cairn__BucketRecord *bucket;
    int err = bucket_get(a, op->name, op->id, &bucket);
    if (err || !bucket)
        return err;
    if (bucket->state == CAIRN__BUCKET_STATE__BUCKET_DELETING) {
        a->out.existed = true; /* another deleter began; both may go on */
        return OK;
    }
    return bucket_set_state(a, bucket, CAIRN__BUCKET_STATE__BUCKET_DELETING);
}

/* What nobody would ever look at again: gateways look for jobs by the settings of buckets.  One that
 * still works at the bucket finds its row gone, and so does no more. */
static int jobs_delete(struct apply *a, uint64_t bucket_id)
{
    struct kv *kv = a->index->kv;
    struct key lower, upper, row;
    char scope[17];
    snprintf(scope, sizeof(scope), "%016" PRIx64, bucket_id);
    key_registry_scope(&lower, a->index->partition, CAIRN__ROW_KIND__ROW_JOB, slice_cstr(scope));
    upper = lower;
    key_successor(&upper);
    struct kv_iter *it = kv->ops->iter_new(kv, NULL, KV_INDEX, key_view(&lower), key_view(&upper));
    if (!it)
        return ERR_NOMEM;
    it->ops->seek(it, SLICE_EMPTY);
    for (unsigned i = 0; it->ops->valid(it) && i < INDEX_JOB_ROWS_MAX; it->ops->next(it), i++) {
        struct slice at = it->ops->key(it);
        if (at.len > sizeof(row.bytes)) {
            it->ops->free(it);
            return ERR_CORRUPT;
        }
        row.len = 0;
        key_bytes(&row, at);
        apply_delete(a, &row);
    }
    int err = it->ops->error(it);
    it->ops->free(it);
    return err;
}

static int apply_finish_delete(struct apply *a, const Cairn__FinishDeleteBucket *op)
{
    Cairn__BucketRecord *bucket;
    int err = bucket_get(a, op->name, op->id, &bucket);
    if (err || !bucket)
        return err;
    if (bucket->state != CAIRN__BUCKET_STATE__BUCKET_DELETING ||
        bucket->settings_version != op->settings_version)
        return apply_decide(a, ERR_CONFLICT);
    struct key key;
    key_table(&key, a->index->partition, TABLE_BUCKET, string_of(op->name));
    apply_delete(a, &key);
    return op->with_jobs ? jobs_delete(a, bucket->id) : OK;
}

static int apply_abort_delete(struct apply *a, const Cairn__AbortDeleteBucket *op)
{
    Cairn__BucketRecord *bucket;
    int err = bucket_get(a, op->name, op->id, &bucket);
    if (err || !bucket)
        return err;
    if (bucket->state != CAIRN__BUCKET_STATE__BUCKET_DELETING ||
        bucket->settings_version != op->settings_version)
        return apply_decide(a, ERR_CONFLICT);
    return bucket_set_state(a, bucket, CAIRN__BUCKET_STATE__BUCKET_ACTIVE);
}

int apply_root(struct apply *a)
{
    const Cairn__Command *cmd = a->cmd;
    switch (cmd->op_case) {
    case CAIRN__COMMAND__OP_BOOTSTRAP: return apply_bootstrap(a, cmd->bootstrap);
    case CAIRN__COMMAND__OP_CREATE_BUCKET: return apply_create_bucket(a, cmd->create_bucket);
    case CAIRN__COMMAND__OP_BEGIN_DELETE_BUCKET:
        return apply_begin_delete(a, cmd->begin_delete_bucket);
    case CAIRN__COMMAND__OP_FINISH_DELETE_BUCKET:
        return apply_finish_delete(a, cmd->finish_delete_bucket);
    case CAIRN__COMMAND__OP_ABORT_DELETE_BUCKET:
        return apply_abort_delete(a, cmd->abort_delete_bucket);
    case CAIRN__COMMAND__OP_PUT_BUCKET_SETTING:
        return apply_put_bucket_setting(a, cmd->put_bucket_setting);
    case CAIRN__COMMAND__OP_BEGIN_SETTING: return apply_begin_setting(a, cmd->begin_setting);
    case CAIRN__COMMAND__OP_FINISH_SETTING: return apply_finish_setting(a, cmd->finish_setting);
    case CAIRN__COMMAND__OP_CHANGE_ROWS: return apply_change_rows(a, cmd->change_rows);
    case CAIRN__COMMAND__OP_UPDATE_NODES:
        return put_nodes(a, cmd->update_nodes->nodes, cmd->update_nodes->n_nodes,
                         cmd->update_nodes->pgs, cmd->update_nodes->n_pgs);
    case CAIRN__COMMAND__OP_PUT_NODE: return apply_put_node(a, cmd->put_node);
    case CAIRN__COMMAND__OP_ADD_PGS: return apply_add_pgs(a, cmd->add_pgs);
    case CAIRN__COMMAND__OP_BEGIN_PG_CHANGE: return apply_begin_change(a, cmd->begin_pg_change);
    case CAIRN__COMMAND__OP_FINISH_PG_CHANGE: return apply_finish_change(a, cmd->finish_pg_change);
    default: return apply_decide(a, ERR_REFUSED); /* command_validate() let nothing else through */
    }
}
