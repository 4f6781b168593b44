/* See events.h. */
#include "gateway/op/events.h"

#include "common/base/check.h"
#include "common/obs/log.h"
#include "gateway/out/targets.h"
#include "proto/versions.h"

#include <stdlib.h>

#define DROPPED_LOG_NS (60 * NS_PER_SEC)

_Static_assert((int)S3_EVENT_CREATED_PUT == (int)CAIRN__EVENT_NAME__EVENT_CREATED_PUT &&
                   (int)S3_EVENT_REMOVED_MARKER == (int)CAIRN__EVENT_NAME__EVENT_REMOVED_MARKER &&
                   (int)S3_EVENT_ACL_PUT == (int)CAIRN__EVENT_NAME__EVENT_ACL_PUT &&
                   (int)S3_EVENT_EXPIRED_MARKER == (int)CAIRN__EVENT_NAME__EVENT_EXPIRED_MARKER,
               "gateway/s3/notification.h");

/* What one command orders. */
struct order {
    struct arena *arena;
    const struct gateway_config *config;
    struct slice account; /* the bucket's */
    struct s3_notification notification;
    struct s3_replication replication;
    bool notifies, replicates;
    Cairn__EventContext *context;
    size_t sink_cap;
    bool failed;
};

static struct slice setting_of(const Cairn__BucketRecord *bucket, unsigned kind)
{
    for (size_t i = 0; i < bucket->n_settings; i++)
        if (bucket->settings[i]->kind == kind)
            return SLICE(bucket->settings[i]->document.data, bucket->settings[i]->document.len);
    return SLICE_EMPTY;
}

bool events_notification(struct arena *arena, struct slice document, struct s3_notification *ret)
{
    struct s3_node *root;
    struct s3_fault fault = {0};
    *ret = (struct s3_notification){0};
    return document.len == 0 ||
           (s3_document_read(arena, &s3_notification_schema, document, &root, &fault) == S3_OK &&
            s3_notification_of_node(arena, root, ret, &fault) == S3_OK);
}

static bool replication_read(struct arena *arena, struct slice document, struct s3_replication *ret)
{
    struct s3_node *root;
    struct s3_fault fault = {0};
    return s3_document_read(arena, &s3_replication_schema, document, &root, &fault) == S3_OK &&
           s3_replication_of_node(arena, root, ret, &fault) == S3_OK;
}

/* ---- sinks ---- */

static char *text_of(struct order *o, struct slice s)
{
    struct slice copy = arena_copy(o->arena, s);
    o->failed |= !copy.ptr;
    return (char *)(uintptr_t)copy.ptr;
}

/* The sink's position in the context, which names each once. */
static uint32_t sink_position(struct order *o, Cairn__SinkKind kind, struct slice target,
                              struct slice id, struct slice storage_class)
{
    Cairn__EventContext *e = o->context;
    for (size_t i = 0; i < e->n_sinks; i++)
        if (e->sinks[i]->kind == kind && slice_eq(slice_cstr(e->sinks[i]->target), target) &&
            slice_eq(slice_cstr(e->sinks[i]->id), id))
            return (uint32_t)i;
    Cairn__EventSink *sink = arena_alloc(o->arena, sizeof(*sink));
    if (e->n_sinks == o->sink_cap) {
        size_t cap = o->sink_cap ? 2 * o->sink_cap : 4;
        Cairn__EventSink **sinks = arena_alloc(o->arena, cap * sizeof(*sinks));
        o->failed |= !sinks;
        if (sinks && e->n_sinks)
            memcpy(sinks, e->sinks, e->n_sinks * sizeof(*sinks));
        if (sinks)
            e->sinks = sinks;
        o->sink_cap = sinks ? cap : o->sink_cap;
    }
    o->failed |= !sink;
    if (o->failed)
        return 0;
    cairn__event_sink__init(sink);
    sink->kind = kind;
    sink->target = text_of(o, target);
    sink->id = text_of(o, id);
    sink->storage_class = text_of(o, storage_class);
    if (o->failed)
        return 0;
    e->sinks[e->n_sinks] = sink;
    return (uint32_t)e->n_sinks++;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The operator has taken it away from the bucket's account since it was configured.  (One that no
 * gateway knows may come back: its events wait.) */
static bool is_closed(const struct order *o, const struct targets *targets, struct slice name)
{
    const struct target *t = targets_find(targets, name);
    return t && !target_serves(t, o->account);
}

/* Returns: it is to be replicated. */
static bool order_add(struct order *o, uint32_t position, enum s3_event event, struct slice key,
                      const struct s3_tags *tags)
{
    uint32_t sinks[1 + S3_REPLICATION_SINKS_MAX];
    size_t count = 0, replicas = 0;
    const struct s3_replication_rule *rules[S3_REPLICATION_SINKS_MAX];
    bool marker = event == S3_EVENT_REMOVED_MARKER || event == S3_EVENT_EXPIRED_MARKER;
    bool created = event >= S3_EVENT_CREATED_PUT && event <= S3_EVENT_CREATED_COMPLETE;
    const struct s3_notification_rule *rule =
        o->notifies ? s3_notification_match(&o->notification, event, key) : NULL;
    if (rule && !is_closed(o, o->config->webhooks, rule->webhook))
        sinks[count++] =
            sink_position(o, CAIRN__SINK_KIND__SINK_WEBHOOK, rule->webhook, rule->id, SLICE_EMPTY);
    if (o->replicates && (created || marker))
        replicas = s3_replication_match(&o->replication, key, tags, marker, rules);
    for (size_t i = 0; i < replicas; i++)
        if (is_closed(o, o->config->remotes, rules[i]->target))
            rules[i--] = rules[--replicas];
    for (size_t i = 0; i < replicas; i++)
        sinks[count++] = sink_position(o, CAIRN__SINK_KIND__SINK_REPLICATION, rules[i]->place,
                                       rules[i]->id, rules[i]->storage_class);
    if (count == 0 || o->failed)
        return false;
    Cairn__EventOrder *order = arena_alloc(o->arena, sizeof(*order));
    uint32_t *positions = arena_alloc(o->arena, sizeof(sinks));
    o->failed |= !order || !positions;
    if (o->failed)
        return false;
    qsort(sinks, count, sizeof(sinks[0]), compare_u32);
    memcpy(positions, sinks, sizeof(sinks));
    cairn__event_order__init(order);
    order->position = position;
    order->name = (Cairn__EventName)event;
    order->sinks = positions;
    order->n_sinks = count;
    o->context->orders[o->context->n_orders++] = order;
    return replicas > 0;
}

/* ---- commands ---- */

static void order_made(struct order *o, enum s3_event event, struct slice key,
                       Cairn__ObjectRecord *record)
{
    struct s3_tags tags = {0};
    tags.tags = arena_alloc(o->arena, (record->n_tags + 1) * sizeof(*tags.tags));
    o->failed |= !tags.tags;
    for (size_t i = 0; tags.tags && i < record->n_tags; i++)
        tags.tags[tags.count++] =
            (struct s3_tag){slice_cstr(record->tags[i]->name), slice_cstr(record->tags[i]->value)};
    if (order_add(o, 0, event, key, &tags))
        record->replication = CAIRN__REPLICATION_STATUS__REPLICATION_PENDING;
}

static void order_deletion(struct order *o, enum s3_event event, const Cairn__Command *command,
                           uint32_t position, struct slice key, uint64_t version)
{
    bool marker =
        version == VERSION_NONE && command->versioning != CAIRN__VERSIONING__VERSIONING_OFF;
    bool expired = event == S3_EVENT_EXPIRED_DELETE;
    order_add(o, position,
              expired  ? (marker ? S3_EVENT_EXPIRED_MARKER : S3_EVENT_EXPIRED_DELETE)
              : marker ? S3_EVENT_REMOVED_MARKER
                       : S3_EVENT_REMOVED_DELETE,
              key, NULL);
}

#define KEY(op) SLICE((op)->key.data, (op)->key.len)

static void order_command(struct order *o, enum s3_event event, Cairn__Command *c)
{
    switch (c->op_case) {
    case CAIRN__COMMAND__OP_PUT_OBJECT:
        order_made(o, event, KEY(c->put_object), c->put_object->record);
        break;
    case CAIRN__COMMAND__OP_COMPLETE_UPLOAD:
        order_made(o, event, KEY(c->complete_upload), c->complete_upload->record);
        break;
    case CAIRN__COMMAND__OP_PUT_OBJECT_TAGS:
        order_add(o, 0, event, KEY(c->put_object_tags), NULL);
        break;
    case CAIRN__COMMAND__OP_PUT_OBJECT_ACL:
        order_add(o, 0, event, KEY(c->put_object_acl), NULL);
        break;
    case CAIRN__COMMAND__OP_RENAME_OBJECT: /* never replicated: there are no versions */
        order_add(o, 0, event, KEY(c->rename_object), NULL);
        order_deletion(o, event, c, 1,
                       SLICE(c->rename_object->source.data, c->rename_object->source.len),
                       VERSION_NONE);
        break;
    case CAIRN__COMMAND__OP_APPEND_OBJECT: /* nor this */
        order_add(o, 0, event, KEY(c->append_object), NULL);
        break;
    case CAIRN__COMMAND__OP_DELETE_OBJECT:
        order_deletion(o, event, c, 0, KEY(c->delete_object), c->delete_object->version);
        break;
    case CAIRN__COMMAND__OP_DELETE_OBJECTS:
        for (size_t i = 0; i < c->delete_objects->n_keys && !o->failed; i++)
            order_deletion(o, event, c, (uint32_t)i,
                           SLICE(c->delete_objects->keys[i].data, c->delete_objects->keys[i].len),
                           c->delete_objects->n_versions ? c->delete_objects->versions[i]
                                                         : VERSION_NONE);
        break;
    default: break;
    }
}

static void record_reset(Cairn__Command *c)
{
    Cairn__ObjectRecord *record =
        c->op_case == CAIRN__COMMAND__OP_PUT_OBJECT        ? c->put_object->record
        : c->op_case == CAIRN__COMMAND__OP_COMPLETE_UPLOAD ? c->complete_upload->record
                                                           : NULL;
    if (record && record->replication != CAIRN__REPLICATION_STATUS__REPLICATION_REPLICA)
        record->replication = CAIRN__REPLICATION_STATUS__REPLICATION_NONE;
}

static bool is_replica(const Cairn__Command *c)
{
    return (c->op_case == CAIRN__COMMAND__OP_PUT_OBJECT &&
            c->put_object->record->replication == CAIRN__REPLICATION_STATUS__REPLICATION_REPLICA) ||
           (c->op_case == CAIRN__COMMAND__OP_COMPLETE_UPLOAD &&
            c->complete_upload->record->replication ==
                CAIRN__REPLICATION_STATUS__REPLICATION_REPLICA);
}

static int context_init(struct order *o, struct gateway *gw, const Cairn__BucketRecord *bucket,
                        const struct event_origin *origin, size_t keys)
{
    Cairn__EventContext *e = arena_alloc(o->arena, sizeof(*e));
    Cairn__EventOrder **orders = arena_alloc(o->arena, keys * sizeof(*orders));
    if (!e || !orders)
        return ERR_NOMEM;
    cairn__event_context__init(e);
    o->context = e;
    e->orders = orders;
    e->rows_max = gw->config->event_queue_max;
    e->bucket = text_of(o, slice_cstr(bucket->name)); /* the record may be let go before */
    e->bucket_owner = text_of(o, slice_cstr(bucket->owner_id));
    e->requester = text_of(o, origin->requester);
    e->source_ip = text_of(o, origin->source_ip);
    e->request_id = text_of(o, origin->request_id);
    return o->failed ? ERR_NOMEM : OK;
}

int events_order(struct gateway *gw, struct arena *arena, const Cairn__BucketRecord *bucket,
                 const struct event_origin *origin, enum s3_event event, Cairn__Command *command)
{
    struct order o = {
        .arena = arena, .config = gw->config, .account = slice_cstr(bucket->owner_account)};
    struct slice notification = setting_of(bucket, CAIRN__SETTING_KIND__SETTING_NOTIFICATION);
    struct slice replication = setting_of(bucket, CAIRN__SETTING_KIND__SETTING_REPLICATION);
    command->events = NULL;
    record_reset(command);
    o.notifies = notification.len > 0;
    o.replicates = replication.len > 0 && !origin->replica && !is_replica(command) &&
                   bucket->versioning == CAIRN__VERSIONING__VERSIONING_ENABLED;
    if (!o.notifies && !o.replicates)
        return OK;
    if ((o.notifies && !events_notification(arena, notification, &o.notification)) ||
        (o.replicates && !replication_read(arena, replication, &o.replication)))
        return ERR_NOMEM; /* or of a newer gateway: not to be passed over silently */
    size_t keys = command->op_case == CAIRN__COMMAND__OP_DELETE_OBJECTS
                      ? command->delete_objects->n_keys
                      : 2; /* a rename's */
    int err = context_init(&o, gw, bucket, origin, keys);
    if (err != OK)
        return err;
    order_command(&o, event, command);
    if (o.failed)
        return ERR_NOMEM;
    if (o.context->n_orders)
        command->events = o.context;
    return OK;
}

void events_account(struct gateway *gw, struct slice bucket, const Cairn__Outcome *outcome)
{
    if (!outcome || !(outcome->events & CAIRN__EVENT_FATE__EVENT_FATE_DROPPED))
        return;
    metric_inc(gw->metrics->events_dropped);
    uint64_t now = env_now_ns(gw->env);
    if (gw->events_dropped_ns && now - gw->events_dropped_ns < DROPPED_LOG_NS)
        return;
    gw->events_dropped_ns = now;
    log_error("events.dropped", 0, L_BYTES("bucket", bucket),
              L_STR("why", "event_queue_max events wait for a destination: further ones are lost"));
}

const char *replication_status_text(Cairn__ReplicationStatus status)
{
    switch (status) {
    case CAIRN__REPLICATION_STATUS__REPLICATION_PENDING: return "PENDING";
    case CAIRN__REPLICATION_STATUS__REPLICATION_COMPLETED: return "COMPLETED";
    case CAIRN__REPLICATION_STATUS__REPLICATION_FAILED: return "FAILED";
    case CAIRN__REPLICATION_STATUS__REPLICATION_REPLICA: return "REPLICA";
    default: return NULL;
    }
}

/* ---- configurations ---- */

/* The operator's destination of that name, if it is one for this bucket; else it is as if it were
 * not there: with its token or key gateways write where the bucket's owner may not. */
static const struct target *target_for(const struct targets *targets, struct slice name,
                                       const Cairn__BucketRecord *bucket)
{
    const struct target *t = targets_find(targets, name);
    return t && target_serves(t, slice_cstr(bucket->owner_account)) ? t : NULL;
}

static enum s3_code notification_check(struct gateway *gw, struct arena *arena,
                                       const Cairn__BucketRecord *bucket, struct slice document,
                                       struct s3_fault *fault)
{
    struct s3_notification n;
    if (!events_notification(arena, document, &n))
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (size_t i = 0; i < n.count; i++)
        if (!target_for(gw->config->webhooks, n.rules[i].webhook, bucket))
            return s3_notification_unreachable(fault, n.rules[i].arn);
    return S3_OK;
}

static enum s3_code replication_check(struct gateway *gw, struct arena *arena,
                                      const Cairn__BucketRecord *bucket, struct slice document,
                                      struct s3_fault *fault)
{
    struct s3_replication r;
    if (!replication_read(arena, document, &r))
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    if (bucket->versioning != CAIRN__VERSIONING__VERSIONING_ENABLED)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Versioning must be 'Enabled' on the bucket to apply a replication "
                            "configuration");
    for (size_t i = 0; i < r.count; i++)
        if (!target_for(gw->config->remotes, r.rules[i].target, bucket))
            return s3_fault_set(fault, S3_INVALID_REQUEST, "Destination bucket must exist.");
    return S3_OK;
}

enum s3_code events_setting_check(struct gateway *gw, struct arena *arena,
                                  const Cairn__BucketRecord *bucket, unsigned kind,
                                  struct slice document, struct s3_fault *fault)
{
    if (kind == CAIRN__SETTING_KIND__SETTING_NOTIFICATION)
        return notification_check(gw, arena, bucket, document, fault);
    if (kind == CAIRN__SETTING_KIND__SETTING_REPLICATION)
        return replication_check(gw, arena, bucket, document, fault);
    return S3_OK;
}
