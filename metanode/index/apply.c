/* One entry through the state machine.
 *
 *  1. Decode.  Bytes that are no valid command are refused: the applied index moves, nothing else.
 *  2. Time.  An entry older than one before it is refused.
 *  3. Outcome table.  A write id that is there gets its first outcome again.
 *  4. Window, room in the table, epoch, range: refusals that are not recorded.
 *  5. Fence of the bucket: not recorded either.
 *  6. The operation itself, if it names no condemned blob.  Whatever it decides, success or not, is
 *     recorded.
 *  7. Effects, outcome, expired outcomes and header become one batch.
 *
 * What is recorded, and why: a client that was told of a definite result must find the same one
 * however often the proposal is repeated, also when what it depended on has changed since (6).  The
 * refusals of 4 say "nothing happened, send it again with what you have learnt", under the same
 * write id, so they must not stick; those of the command's own content (1) come out the same each
 * time; ERR_TOO_OLD stays because time does not run back; and a copy that was refused for its epoch
 * or settings version is refused for ever, because both only grow.  (A proposer with several copies
 * of one proposal under way knows that nothing happened only when all of them have answered.) */
#include "metanode/index/state.h"

#include "common/base/check.h"
#include "common/base/cursor.h"
#include "metanode/index/wire.h"

int apply_get(struct apply *a, const struct key *key, struct slice *ret)
{
    return kv_get_scratch(a->index->kv, NULL, key, &a->index->scratch, ret);
}

int apply_unpack(struct apply *a, const ProtobufCMessageDescriptor *type, struct slice value,
                 ProtobufCMessage **ret)
{
    static const uint8_t none;
    *ret = protobuf_c_message_unpack(type, &a->arena->allocator, value.len,
                                     value.len ? value.ptr : &none);
    if (*ret)
        return OK;
    return a->arena->failed ? ERR_NOMEM : ERR_CORRUPT;
}

int apply_get_message(struct apply *a, const struct key *key,
                      const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret)
{
    struct slice value;
    int err = apply_get(a, key, &value);
    return err ? err : apply_unpack(a, type, value, ret);
}

int apply_put_message(struct apply *a, const struct key *key, const ProtobufCMessage *message)
{
    struct buf *scratch = &a->index->scratch;
    buf_clear(scratch);
    size_t bytes = protobuf_c_message_get_packed_size(message);
    if (buf_reserve(scratch, bytes + 1) != OK)
        return ERR_NOMEM;
    scratch->len = protobuf_c_message_pack(message, scratch->ptr);
    CHECK(scratch->len == bytes);
    apply_put(a, key, buf_view(scratch));
    return OK;
}

/* Splits an entry's data; false: malformed. */
static bool entry_split(struct slice data, struct slice *ret_command, struct slice *ret_body)
{
    struct cursor c = cursor_of(data);
    uint32_t bytes = cursor_be32(&c);
    *ret_command = cursor_bytes(&c, bytes);
    *ret_body = cursor_bytes(&c, cursor_left(&c));
    return !c.failed && bytes <= INDEX_COMMAND_BYTES_MAX && ret_body->len <= INDEX_BODY_BYTES_MAX;
}

static int apply_decode(struct apply *a, struct slice data)
{
    struct slice packed;
    a->cmd = NULL;
    if (!entry_split(data, &packed, &a->body))
        return OK;
    ProtobufCMessage *message;
    int err = apply_unpack(a, &cairn__command__descriptor, packed, &message);
    if (err == ERR_CORRUPT)
        return OK; /* bytes from outside, not a damaged store */
    if (!err)
        a->cmd = (const Cairn__Command *)(void *)message;
    return err;
}

static int apply_operation(struct apply *a)
{
    const Cairn__Command *cmd = a->cmd;
    switch (cmd->op_case) {
    case CAIRN__COMMAND__OP_PUT_OBJECT: return apply_put_object(a, cmd->put_object);
    case CAIRN__COMMAND__OP_PUT_OBJECT_ACL: return apply_put_object_acl(a, cmd->put_object_acl);
    case CAIRN__COMMAND__OP_PUT_OBJECT_TAGS: return apply_put_object_tags(a, cmd->put_object_tags);
    case CAIRN__COMMAND__OP_PUT_OBJECT_LOCK: return apply_put_object_lock(a, cmd->put_object_lock);
    case CAIRN__COMMAND__OP_RENAME_OBJECT: return apply_rename_object(a, cmd->rename_object);
    case CAIRN__COMMAND__OP_APPEND_OBJECT: return apply_append_object(a, cmd->append_object);
    case CAIRN__COMMAND__OP_DELETE_OBJECT: return apply_delete_object(a, cmd->delete_object);
    case CAIRN__COMMAND__OP_DELETE_OBJECTS: return apply_delete_objects(a, cmd->delete_objects);
    case CAIRN__COMMAND__OP_CREATE_UPLOAD: return apply_create_upload(a, cmd->create_upload);
    case CAIRN__COMMAND__OP_PUT_PART: return apply_put_part(a, cmd->put_part);
    case CAIRN__COMMAND__OP_COMPLETE_UPLOAD: return apply_complete_upload(a, cmd->complete_upload);
    case CAIRN__COMMAND__OP_ABORT_UPLOAD: return apply_abort_upload(a, cmd->abort_upload);
    case CAIRN__COMMAND__OP_FENCE_BUCKET: return apply_fence_bucket(a, cmd->fence_bucket);
    case CAIRN__COMMAND__OP_DELETION_DONE: return apply_deletion_done(a, cmd->deletion_done);
    case CAIRN__COMMAND__OP_EXPAND_DELETION: return apply_expand_deletion(a, cmd->expand_deletion);
    case CAIRN__COMMAND__OP_CONDEMN: return apply_condemn(a, cmd->condemn);
    case CAIRN__COMMAND__OP_MOVE_SEGMENT: return apply_move_segment(a, cmd->move_segment);
    case CAIRN__COMMAND__OP_ACK_EVENTS: return apply_ack_events(a, cmd->ack_events);
    case CAIRN__COMMAND__OP_PRUNE_OUTCOMES: return OK; /* done for every entry, more for this */
    default: return apply_root(a);
    }
}

/* Steps 2 to 6.  Leaves the decision in a->out, or in a->replay. */
static int apply_command(struct apply *a)
{
    const struct index *index = a->index;
    const Cairn__Command *cmd = a->cmd;
    int err = cmd ? command_validate(cmd, a->body.len, index->partition == ROOT_PARTITION, a->arena)
                  : ERR_REFUSED;
    if (err == ERR_NOMEM)
        return err;
    if (err || cmd->time_ms < a->h.time_ms)
        return apply_decide(a, ERR_REFUSED);

    a->h.time_ms = cmd->time_ms;
    err = outcome_lookup(a);
    if (err || a->replay.len)
        return err;
    int decision = command_window_check(cmd, &index->settings);
    if (!decision && cmd->write_id.len && outcome_full(&a->h, &index->settings, cmd->time_ms))
        decision = ERR_OVERLOAD;
    if (!decision)
        decision = command_route_check(index, cmd);
    if (decision)
        return apply_decide(a, decision);
    uint64_t bucket_id;
    if (command_bucket(cmd, &bucket_id)) {
        err = apply_fence_check(a, bucket_id);
        if (err || a->out.err)
            return err;
    }
    a->record = cmd->write_id.len != 0;
    err = condemned_check(a);
    if (!err && !a->out.err)
        err = apply_operation(a);
    return err || a->out.err ? err : event_finish(a);
}

/* A refusal leaves no trace of what the operation had begun. */
static int apply_discard(struct apply *a)
{
    kv_batch_free(a->batch);
    a->batch = kv_batch_new();
    uint64_t time_ms = a->h.time_ms, applied = a->h.applied, term = a->h.term;
    a->h = a->index->h;
    a->h.time_ms = time_ms;
    a->h.applied = applied;
    a->h.term = term;
    a->condemned = a->index->condemned;
    a->interim = a->index->interim;
    a->out.events = 0;
    return a->batch ? OK : ERR_NOMEM;
}

static void apply_put_header(struct apply *a)
{
    struct key key;
    uint8_t packed[HEADER_BYTES];
    key_table(&key, a->index->partition, TABLE_HEADER, SLICE_EMPTY);
    header_pack(&a->h, packed);
    apply_put(a, &key, SLICE(packed, sizeof(packed)));
}

/* Step 7. */
static int apply_commit(struct apply *a)
{
    apply_put_header(a);
    interim_put(a);
    int err = kv_batch_error(a->batch);
    if (!err)
        err = a->index->kv->ops->write(a->index->kv, &a->batch);
    if (!err) {
        a->index->h = a->h;
        a->index->condemned = a->condemned;
        a->index->interim = a->interim;
    }
    return err;
}

/* The outcome as it is stored and returned: packed once, so that a retry reads the same bytes. */
static int apply_finish(struct apply *a, struct buf *packed)
{
    a->out.index = a->entry_index;
    a->out.time_ms = a->h.time_ms;
    if (a->replay.len) {
        buf_slice(packed, a->replay);
    } else if (buf_reserve(packed, cairn__outcome__get_packed_size(&a->out) + 1) == OK) {
        packed->len = cairn__outcome__pack(&a->out, packed->ptr);
    }
    if (packed->failed)
        return ERR_NOMEM;
    int err = a->record ? outcome_record(a, buf_view(packed)) : OK;
    if (!err && a->cmd)
        err = outcome_prune(a, a->cmd->op_case == CAIRN__COMMAND__OP_PRUNE_OUTCOMES &&
                                   a->out.err == OK);
    if (!err && a->cmd)
        err = condemned_prune(a);
    return err;
}

static int outcome_unpack(struct slice packed, Cairn__Outcome **ret)
{
    struct heap_alloc heap;
    heap_alloc_init(&heap);
    Cairn__Outcome *out = cairn__outcome__unpack(&heap.allocator, packed.len, packed.ptr);
    if (!out)
        return heap.failed ? ERR_NOMEM : ERR_CORRUPT;
    *ret = out;
    return OK;
}

int index_apply(struct index *index, uint64_t entry_index, uint64_t entry_term, struct slice data,
                Cairn__Outcome **ret)
{
    CHECK(entry_index > index->h.applied);
    struct apply a = {.index = index,
                      .arena = &index->arena,
                      .entry_index = entry_index,
                      .h = index->h,
                      .condemned = index->condemned,
                      .interim = index->interim,
                      .out = CAIRN__OUTCOME__INIT};
    struct buf packed = {0};
    Cairn__Outcome *outcome = NULL;
    a.h.applied = entry_index;
    a.h.term = entry_term;
    index_arena_reset(a.arena);
    a.batch = kv_batch_new();
    int err = a.batch ? apply_decode(&a, data) : ERR_NOMEM;
    if (!err)
        err = apply_command(&a);
    if (!err && a.out.err != OK)
        err = apply_discard(&a);
    if (!err)
        err = apply_finish(&a, &packed);
    if (!err && ret) /* before the write: once it is written, nothing may fail */
        err = outcome_unpack(buf_view(&packed), &outcome);
    if (!err)
        err = apply_commit(&a);
    if (!err && ret)
        *ret = outcome;
    else if (outcome)
        cairn__outcome__free_unpacked(outcome, NULL);
    if (a.batch)
        kv_batch_free(a.batch);
    buf_fini(&packed);
    return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

int index_advance(struct index *index, uint64_t entry_index, uint64_t entry_term)
{
    CHECK(entry_index > index->h.applied);
    struct apply a = {
        .index = index, .h = index->h, .condemned = index->condemned, .interim = index->interim};
    a.h.applied = entry_index;
    a.h.term = entry_term;
    a.batch = kv_batch_new();
    int err = a.batch ? apply_commit(&a) : ERR_NOMEM;
    if (a.batch)
        kv_batch_free(a.batch);
    return err;
}

int index_outcome_find(const struct index *index, struct slice write_id, Cairn__Outcome **ret)
{
    struct buf value = {0};
    struct slice packed;
    struct key key;
    if (write_id.len != ID_BYTES)
        return ERR_NOT_FOUND;
    key_table(&key, index->partition, TABLE_OUTCOME, write_id);
    int err = kv_get_scratch(index->kv, NULL, &key, &value, &packed);
    if (!err)
        err = outcome_unpack(packed, ret);
    buf_fini(&value);
    return err;
}

/* ---- an entry's data, from outside ---- */

enum { COMMAND_FIELD_TIME = 3, COMMAND_FIELD_TOUCHES = 6 };

uint64_t index_entry_time_ms(struct slice data)
{
    struct slice packed, body;
    if (!entry_split(data, &packed, &body))
        return 0;
    struct cursor c = cursor_of(packed);
    struct wire_field f;
    uint64_t time_ms = 0;
    while (wire_next(&c, &f))
        if (f.number == COMMAND_FIELD_TIME && f.type == WIRE_VARINT)
            time_ms = f.value; /* the last one counts, as in protobuf */
    return c.failed ? 0 : time_ms;
}

void index_entry_touches(struct slice data, struct buf *ret)
{
    struct slice packed, body;
    if (!entry_split(data, &packed, &body))
        return;
    struct cursor c = cursor_of(packed);
    struct wire_field f;
    while (wire_next(&c, &f)) {
        if (f.number != COMMAND_FIELD_TOUCHES)
            continue;
        if (f.type == WIRE_FIXED64)
            buf_append(ret, &f.value, sizeof(f.value));
        if (f.type != WIRE_BYTES)
            continue;
        struct cursor list = cursor_of(f.bytes);
        while (cursor_left(&list) >= 8) {
            uint64_t hash = wire_le(&list, 8);
            buf_append(ret, &hash, sizeof(hash));
        }
    }
}

void index_entry_pack(const Cairn__Command *command, struct slice body, struct buf *ret)
{
    size_t bytes = cairn__command__get_packed_size(command);
    if (bytes > UINT32_MAX || buf_reserve(ret, 4 + bytes + body.len) != OK)
        return;
    buf_be32(ret, (uint32_t)bytes);
    ret->len += cairn__command__pack(command, ret->ptr + ret->len);
    buf_slice(ret, body);
}
