/* Proposals.  One write id is chosen for the operation and carried by every attempt; the
 * partition's outcome table turns all of them into one.  So any failure but a decision of the state
 * machine is retried until the deadline, and what is still not known then is reported as
 * UNKNOWN_OUTCOME. */
#include "common/base/check.h"
#include "gateway/meta/internal.h"
#include "proto/keyhash.h"
#include "proto/methods.h"

#include <stdlib.h>

static void propose_cb(struct meta_call *call);

static struct slice bytes_of(ProtobufCBinaryData b)
{
    return SLICE(b.data, b.len);
}

/* Every cacheable record that the command may change: what the witnesses are told. */
static size_t command_touches(const Cairn__Command *c, uint64_t *ret)
{
    switch (c->op_case) {
    case CAIRN__COMMAND__OP_PUT_OBJECT:
        ret[0] = keyhash_object(c->put_object->bucket_id, bytes_of(c->put_object->key));
        return 1;
    case CAIRN__COMMAND__OP_PUT_OBJECT_ACL:
        ret[0] = keyhash_object(c->put_object_acl->bucket_id, bytes_of(c->put_object_acl->key));
        return 1;
    case CAIRN__COMMAND__OP_PUT_OBJECT_TAGS:
        ret[0] = keyhash_object(c->put_object_tags->bucket_id, bytes_of(c->put_object_tags->key));
        return 1;
    case CAIRN__COMMAND__OP_PUT_OBJECT_LOCK:
        ret[0] = keyhash_object(c->put_object_lock->bucket_id, bytes_of(c->put_object_lock->key));
        return 1;
    case CAIRN__COMMAND__OP_APPEND_OBJECT:
        ret[0] = keyhash_object(c->append_object->bucket_id, bytes_of(c->append_object->key));
        return 1;
    case CAIRN__COMMAND__OP_RENAME_OBJECT:
        ret[0] = keyhash_object(c->rename_object->bucket_id, bytes_of(c->rename_object->key));
        ret[1] = keyhash_object(c->rename_object->bucket_id, bytes_of(c->rename_object->source));
        return 2;
    case CAIRN__COMMAND__OP_DELETE_OBJECT:
        ret[0] = keyhash_object(c->delete_object->bucket_id, bytes_of(c->delete_object->key));
        return 1;
    case CAIRN__COMMAND__OP_DELETE_OBJECTS:
        for (size_t i = 0; i < c->delete_objects->n_keys; i++)
            ret[i] =
                keyhash_object(c->delete_objects->bucket_id, bytes_of(c->delete_objects->keys[i]));
        return c->delete_objects->n_keys;
    case CAIRN__COMMAND__OP_COMPLETE_UPLOAD:
        ret[0] = keyhash_object(c->complete_upload->bucket_id, bytes_of(c->complete_upload->key));
        return 1;
    case CAIRN__COMMAND__OP_MOVE_SEGMENT:
        ret[0] = keyhash_object(c->move_segment->bucket_id, bytes_of(c->move_segment->key));
        return 1;
    case CAIRN__COMMAND__OP_ACK_EVENTS:
        if (c->ack_events->kind != CAIRN__SINK_KIND__SINK_REPLICATION)
            return 0;
        for (size_t i = 0; i < c->ack_events->n_events; i++)
            ret[i] =
                keyhash_object(c->ack_events->bucket_id, bytes_of(c->ack_events->events[i]->key));
        return c->ack_events->n_events;
    case CAIRN__COMMAND__OP_CREATE_BUCKET:
        ret[0] = keyhash_bucket(slice_cstr(c->create_bucket->bucket->name));
        return 1;
    case CAIRN__COMMAND__OP_BEGIN_DELETE_BUCKET:
        ret[0] = keyhash_bucket(slice_cstr(c->begin_delete_bucket->name));
        return 1;
    case CAIRN__COMMAND__OP_FINISH_DELETE_BUCKET:
        ret[0] = keyhash_bucket(slice_cstr(c->finish_delete_bucket->name));
        return 1;
    case CAIRN__COMMAND__OP_ABORT_DELETE_BUCKET:
        ret[0] = keyhash_bucket(slice_cstr(c->abort_delete_bucket->name));
        return 1;
    case CAIRN__COMMAND__OP_PUT_BUCKET_SETTING:
        ret[0] = keyhash_bucket(slice_cstr(c->put_bucket_setting->name));
        return 1;
    case CAIRN__COMMAND__OP_BEGIN_SETTING:
        ret[0] = keyhash_bucket(slice_cstr(c->begin_setting->name));
        return 1;
    case CAIRN__COMMAND__OP_FINISH_SETTING:
        ret[0] = keyhash_bucket(slice_cstr(c->finish_setting->name));
        return 1;
    case CAIRN__COMMAND__OP_CHANGE_ROWS: return rows_touches(c->change_rows, ret);
    default: /* uploads, parts, fences and the deletion queue are never cached */ return 0;
    }
}

static size_t touches_max(const Cairn__Command *c)
{
    switch (c->op_case) {
    case CAIRN__COMMAND__OP_DELETE_OBJECTS: return MAX(c->delete_objects->n_keys, 1);
    case CAIRN__COMMAND__OP_ACK_EVENTS: return MAX(c->ack_events->n_events, 1);
    case CAIRN__COMMAND__OP_RENAME_OBJECT: return 2;
    case CAIRN__COMMAND__OP_CHANGE_ROWS: return MAX(ROW_TOUCHES_MAX * c->change_rows->n_changes, 1);
    default: return 1;
    }
}

static void propose_attempt(struct meta_propose *p)
{
    struct meta_client *mc = p->mc;
    p->call = (struct meta_call){
        .method = &method_meta_propose,
        .root = p->root,
        .bucket_id = p->bucket_id,
        .key = p->key,
        .request = &p->request.base,
        .payload = p->body,
        .is_write = true,
        .attempt_ms = mc->config.propose_attempt_ms,
        .deadline_ns = p->deadline_ns,
        .cb = propose_cb,
    };
    meta_call_start(mc, &p->call);
}

static void choose_write_id(struct meta_propose *p)
{
    env_random(p->mc->env, p->write_id.bytes, ID_BYTES);
    p->command.write_id = (ProtobufCBinaryData){ID_BYTES, p->write_id.bytes};
    p->command.issued_ms = env_wall_ms(p->mc->env);
    if (p->issue_until_ms)
        p->command.issued_ms = MIN(p->command.issued_ms, p->issue_until_ms);
}

/* Does this answer also say what has become of an earlier attempt that nobody answered?  What the
 * state machine decided of the operation it remembers under the write id, so it holds for all
 * attempts; an epoch or settings version that is too old for one attempt is so for the others.  The
 * refusals below are not remembered: that one attempt found the outcome table full, a clock off,
 * its time or age wrong, says nothing about another that may be in the log before or behind it
 * (metanode/index/apply.c). */
static bool settles_earlier(int err)
{
    switch (err) {
    case ERR_TOO_OLD:
    case ERR_TIME:
    case ERR_OVERLOAD:
    case ERR_REFUSED:
    case ERR_NOMEM:
    case ERR_PROTO: return false;
    default: return true;
    }
}

static void propose_cb(struct meta_call *call)
{
    struct meta_propose *p = container_of(call, struct meta_propose, call);
    struct meta_client *mc = p->mc;
    bool unsettled = call->maybe_applied;
    p->partition = call->partition;
    p->err = call->err;
    mc->stats.propose_retries += call->attempts > 1;
    if (call->err == OK) {
        Cairn__ProposeResponse *r = (Cairn__ProposeResponse *)(void *)call->response;
        p->outcome = r->outcome;
        r->outcome = NULL;
        /* An answer without an outcome decides nothing: it may have happened. */
        p->err = p->outcome ? p->outcome->err : ERR_TIMEOUT;
        if (unsettled && !settles_earlier(p->err))
            p->err = ERR_TIMEOUT;
    }
    meta_call_fini(call);
    /* Routed wrongly at apply: nothing happened, and this write id now stands for a refusal. */
    if ((p->err == ERR_EPOCH || p->err == ERR_NO_PARTITION) && p->outcome && !unsettled &&
        !mc->stopped && env_now_ns(mc->env) < p->deadline_ns && p->reroutes < 16) {
        p->reroutes++;
        cairn__outcome__free_unpacked(p->outcome, NULL);
        p->outcome = NULL;
        choose_write_id(p);
        meta_client_refresh(mc);
        propose_attempt(p);
        return;
    }
    if (p->err == ERR_REFUSED && !p->touches)
        p->err = ERR_NOMEM; /* the command's fault it was not */
    p->cb(p);
}

void meta_propose_start(struct meta_client *mc, struct meta_propose *p)
{
    p->mc = mc;
    mc->stats.proposals++;
    cairn__propose_request__init(&p->request);
    p->request.command = &p->command;
    choose_write_id(p);
    p->touches = malloc(touches_max(&p->command) * sizeof(*p->touches));
    /* Without touches the state machine refuses the command: the one way to fail that is sure and
     * still comes by the callback. */
    p->command.n_touches = p->touches ? command_touches(&p->command, p->touches) : 0;
    p->command.touches = p->touches;
    propose_attempt(p);
}

void meta_propose_fini(struct meta_propose *p)
{
    free(p->touches);
    p->touches = NULL;
    if (p->outcome)
        cairn__outcome__free_unpacked(p->outcome, NULL);
    p->outcome = NULL;
}
