/* What the requests of one loop share: its life, the metrics, the table of operations. */
#include "gateway/op/gateway.h"

#include "common/base/check.h"
#include "gateway/op/operations.h"
#include "gateway/s3/headers.h"

#include <stdio.h>

int gateway_init(struct gateway *gw, const struct gateway_config *config,
                 struct gateway_metrics *metrics, struct env *env, struct meta_client *mc,
                 struct blob_client *bc)
{
    *gw = (struct gateway){.config = config, .metrics = metrics, .env = env, .mc = mc, .bc = bc};
    digest_prepare();
    static const struct master_keys no_masters;
    gw->budget = budget_new(NULL, config->body_bytes_max);
    gw->keyring = keyring_new(env, mc, config->masters ? config->masters : &no_masters);
    if (!gw->budget || !gw->keyring) {
        budget_unref(gw->budget);
        keyring_free(gw->keyring);
        return ERR_NOMEM;
    }
    gw->budget->eager_max = config->body_bytes_eager;
    env_random(env, &gw->request_id_salt, sizeof(gw->request_id_salt));
    env_random(env, gw->signing.salt, sizeof(gw->signing.salt));
    return OK;
}

void gateway_fini(struct gateway *gw)
{
    CHECK(gw->under_way == 0);
    budget_unref(gw->budget);
    gw->budget = NULL;
    keyring_free(gw->keyring);
    gw->keyring = NULL;
    sigv4_cache_fini(&gw->signing);
    crypto_wipe(&gw->token_key, sizeof(gw->token_key));
}

static const struct gateway_class *find_class(const struct gateway_config *c, struct slice name)
{
    for (size_t i = 0; i < c->class_count; i++)
        if (slice_eq(c->classes[i].name, name))
            return &c->classes[i];
    return NULL;
}

bool gateway_class_known(const struct gateway_config *c, struct slice storage_class)
{
    return s3_storage_class_known(storage_class) || find_class(c, storage_class);
}

struct blob_scheme gateway_scheme(const struct gateway_config *c, struct slice storage_class)
{
    const struct gateway_class *class = find_class(c, storage_class);
    if (!class)
        class = find_class(c, SLICE_LIT("STANDARD"));
    return class ? class->scheme : (struct blob_scheme){0};
}

void gateway_metrics_init(struct gateway_metrics *m)
{
    char labels[96];
    for (int op = 0; op < S3_OP_COUNT; op++) {
        const char *name = op == S3_OP_NONE ? "none" : s3_op_name((enum s3_op)op);
        for (int class = 0; class < 6; class ++) {
            if (class == 0)
                snprintf(labels, sizeof(labels), "op=\"%s\",status=\"none\"", name);
            else
                snprintf(labels, sizeof(labels), "op=\"%s\",status=\"%dxx\"", name, class);
            m->requests[op][class] = metric_counter_new("cairn_gateway_requests_total", labels,
                                                        "S3 requests, by operation and status.");
        }
        snprintf(labels, sizeof(labels), "op=\"%s\"", name);
        m->latency[op] = metric_latency_new("cairn_gateway_request_seconds", labels,
                                            "From the end of the request's fields to its end.");
    }
    m->under_way = metric_gauge_new("cairn_gateway_requests_under_way", NULL,
                                    "S3 requests that are being served.");
    m->events_dropped = metric_counter_new(
        "cairn_events_dropped_total", NULL,
        "Changes of which an event found no room in the queue and is lost for its destination.");
    m->keys_throttled = metric_counter_new(
        "cairn_gateway_keys_throttled_total", NULL,
        "Requests told to slow down, because too many came with access keys that nobody has.");
    static const char refusals[] =
        "Requests denied because policies cannot be read, or take too long to evaluate.";
    m->policies_unreadable =
        metric_counter_new("cairn_policy_refusals_total", "reason=\"unreadable\"", refusals);
    m->policies_too_costly =
        metric_counter_new("cairn_policy_refusals_total", "reason=\"too_costly\"", refusals);
    m->bytes_in = metric_counter_new("cairn_gateway_object_bytes_in_total", NULL,
                                     "Object bytes received from clients.");
    m->bytes_out = metric_counter_new("cairn_gateway_object_bytes_out_total", NULL,
                                      "Object bytes sent to clients.");
    m->mismatches = metric_counter_new("cairn_gateway_object_mismatches_total", NULL,
                                       "Whole objects that were not what had been stored.");
}

/* Operations whose object is only looked at when the request has conditions say so in more_needs.
 */
const struct operation operations[S3_OP_COUNT] = {
    [S3_OP_LIST_BUCKETS] = {0, NULL, list_buckets_start},
    [S3_OP_CREATE_BUCKET] = {NEED_BUCKET_MAYBE | AUTHORIZE_LATE, NULL, create_bucket_start},
    [S3_OP_HEAD_BUCKET] = {NEED_BUCKET, NULL, head_bucket_start},
    [S3_OP_DELETE_BUCKET] = {NEED_BUCKET, NULL, delete_bucket_start},
    [S3_OP_GET_BUCKET_LOCATION] = {NEED_BUCKET, NULL, get_bucket_location_start},
    [S3_OP_LIST_OBJECTS] = {NEED_BUCKET, NULL, list_objects_start},
    [S3_OP_LIST_OBJECTS_V2] = {NEED_BUCKET, NULL, list_objects_start},
    [S3_OP_LIST_OBJECT_VERSIONS] = {NEED_BUCKET, NULL, list_versions_start},
    [S3_OP_GET_BUCKET_VERSIONING] = {NEED_BUCKET, NULL, get_bucket_versioning_start},
    [S3_OP_PUT_BUCKET_VERSIONING] = {NEED_BUCKET, NULL, put_bucket_versioning_start},
    [S3_OP_LIST_MULTIPART_UPLOADS] = {NEED_BUCKET, NULL, list_uploads_start},
    [S3_OP_DELETE_OBJECTS] = {NEED_BUCKET, NULL, delete_objects_start},
    [S3_OP_GET_OBJECT] = {NEED_BUCKET | NEED_OBJECT | NEED_BODY, NULL, get_object_start},
    [S3_OP_HEAD_OBJECT] = {NEED_BUCKET | NEED_OBJECT, NULL, get_object_start},
    [S3_OP_POST_OBJECT] = {NEED_BUCKET, NULL, put_object_start},
    [S3_OP_PUT_OBJECT] = {NEED_BUCKET, put_object_needs, put_object_start},
    [S3_OP_COPY_OBJECT] = {NEED_BUCKET, put_object_needs, copy_object_start},
    [S3_OP_RENAME_OBJECT] = {NEED_BUCKET, rename_object_needs, copy_object_start},
    [S3_OP_DELETE_OBJECT] = {NEED_BUCKET, NULL, delete_object_start},
    [S3_OP_GET_OBJECT_ATTRIBUTES] = {NEED_BUCKET | NEED_OBJECT, NULL, get_attributes_start},
    [S3_OP_CREATE_MULTIPART_UPLOAD] = {NEED_BUCKET, NULL, create_upload_start},
    [S3_OP_UPLOAD_PART] = {NEED_BUCKET, NULL, upload_part_start},
    [S3_OP_UPLOAD_PART_COPY] = {NEED_BUCKET, NULL, copy_object_start},
    [S3_OP_LIST_PARTS] = {NEED_BUCKET, NULL, list_parts_start},
    [S3_OP_COMPLETE_MULTIPART_UPLOAD] = {NEED_BUCKET, put_object_needs, complete_upload_start},
    [S3_OP_ABORT_MULTIPART_UPLOAD] = {NEED_BUCKET, NULL, abort_upload_start},
    [S3_OP_GET_BUCKET_TAGGING] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_TAGGING] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_DELETE_BUCKET_TAGGING] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_GET_OBJECT_TAGGING] = {NEED_BUCKET | NEED_OBJECT, NULL, get_object_tags_start},
    [S3_OP_PUT_OBJECT_TAGGING] = {NEED_BUCKET | NEED_OBJECT | AUTHORIZE_LATE, NULL,
                                  put_object_tags_start},
    [S3_OP_DELETE_OBJECT_TAGGING] = {NEED_BUCKET | NEED_OBJECT, NULL, put_object_tags_start},
    [S3_OP_GET_BUCKET_CORS] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_CORS] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_DELETE_BUCKET_CORS] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_PREFLIGHT] = {NEED_BUCKET_MAYBE, NULL, preflight_start},
    [S3_OP_GET_BUCKET_REQUEST_PAYMENT] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_REQUEST_PAYMENT] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_GET_BUCKET_ACCELERATE] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_ACCELERATE] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_GET_BUCKET_ANALYTICS] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_ANALYTICS] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_DELETE_BUCKET_ANALYTICS] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_LIST_BUCKET_ANALYTICS] = {NEED_BUCKET, NULL, list_settings_start},
    [S3_OP_GET_BUCKET_METRICS] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_METRICS] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_DELETE_BUCKET_METRICS] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_LIST_BUCKET_METRICS] = {NEED_BUCKET, NULL, list_settings_start},
    [S3_OP_GET_BUCKET_TIERING] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_TIERING] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_DELETE_BUCKET_TIERING] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_LIST_BUCKET_TIERING] = {NEED_BUCKET, NULL, list_settings_start},
    [S3_OP_GET_BUCKET_POLICY] = {NEED_BUCKET, NULL, get_policy_start},
    [S3_OP_PUT_BUCKET_POLICY] = {NEED_BUCKET, NULL, put_policy_start},
    [S3_OP_DELETE_BUCKET_POLICY] = {NEED_BUCKET, NULL, put_policy_start},
    [S3_OP_GET_BUCKET_POLICY_STATUS] = {NEED_BUCKET, NULL, get_policy_status_start},
    [S3_OP_GET_BUCKET_ACL] = {NEED_BUCKET, NULL, get_acl_start},
    [S3_OP_PUT_BUCKET_ACL] = {NEED_BUCKET, NULL, put_acl_start},
    [S3_OP_GET_OBJECT_ACL] = {NEED_BUCKET | NEED_OBJECT, NULL, get_acl_start},
    [S3_OP_PUT_OBJECT_ACL] = {NEED_BUCKET | NEED_OBJECT, NULL, put_acl_start},
    [S3_OP_GET_BUCKET_OWNERSHIP] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_OWNERSHIP] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_DELETE_BUCKET_OWNERSHIP] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_GET_PUBLIC_ACCESS_BLOCK] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_PUBLIC_ACCESS_BLOCK] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_DELETE_PUBLIC_ACCESS_BLOCK] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_GET_BUCKET_LIFECYCLE] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_LIFECYCLE] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_DELETE_BUCKET_LIFECYCLE] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_GET_BUCKET_ENCRYPTION] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_ENCRYPTION] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_DELETE_BUCKET_ENCRYPTION] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_GET_BUCKET_REPLICATION] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_REPLICATION] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_DELETE_BUCKET_REPLICATION] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_GET_BUCKET_WEBSITE] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_WEBSITE] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_DELETE_BUCKET_WEBSITE] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_GET_OBJECT_LOCK_CONFIGURATION] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_OBJECT_LOCK_CONFIGURATION] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_GET_BUCKET_INVENTORY] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_INVENTORY] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_DELETE_BUCKET_INVENTORY] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_LIST_BUCKET_INVENTORY] = {NEED_BUCKET, NULL, list_settings_start},
    [S3_OP_GET_BUCKET_LOGGING] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_LOGGING] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_GET_BUCKET_NOTIFICATION] = {NEED_BUCKET, NULL, get_setting_start},
    [S3_OP_PUT_BUCKET_NOTIFICATION] = {NEED_BUCKET, NULL, put_setting_start},
    [S3_OP_GET_OBJECT_RETENTION] = {NEED_BUCKET | NEED_OBJECT, NULL, get_object_lock_start},
    [S3_OP_PUT_OBJECT_RETENTION] = {NEED_BUCKET | NEED_OBJECT | AUTHORIZE_LATE, NULL,
                                    put_object_lock_start},
    [S3_OP_GET_OBJECT_LEGAL_HOLD] = {NEED_BUCKET | NEED_OBJECT, NULL, get_object_lock_start},
    [S3_OP_PUT_OBJECT_LEGAL_HOLD] = {NEED_BUCKET | NEED_OBJECT | AUTHORIZE_LATE, NULL,
                                     put_object_lock_start},
    [S3_OP_ADMIN] = {0, NULL, admin_start},
};
