/* What the requests of one loop share: its life, the metrics, the table of operations. */
#include "gateway/op/gateway.h"

#include "common/base/check.h"
#include "gateway/op/operations.h"

#include <stdio.h>

int gateway_init(struct gateway *gw, const struct gateway_config *config,
                 struct gateway_metrics *metrics, struct env *env, struct meta_client *mc,
                 struct blob_client *bc)
{
    *gw = (struct gateway){.config = config, .metrics = metrics, .env = env, .mc = mc, .bc = bc};
    digest_prepare();
    gw->budget = budget_new(NULL, config->body_bytes_max);
    if (!gw->budget)
        return ERR_NOMEM;
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
    sigv4_cache_fini(&gw->signing);
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
    [S3_OP_CREATE_BUCKET] = {NEED_BUCKET_MAYBE, NULL, create_bucket_start},
    [S3_OP_HEAD_BUCKET] = {NEED_BUCKET, NULL, head_bucket_start},
    [S3_OP_DELETE_BUCKET] = {NEED_BUCKET, NULL, delete_bucket_start},
    [S3_OP_GET_BUCKET_LOCATION] = {NEED_BUCKET, NULL, get_bucket_location_start},
    [S3_OP_LIST_OBJECTS] = {NEED_BUCKET, NULL, list_objects_start},
    [S3_OP_LIST_OBJECTS_V2] = {NEED_BUCKET, NULL, list_objects_start},
    [S3_OP_LIST_MULTIPART_UPLOADS] = {NEED_BUCKET, NULL, list_uploads_start},
    [S3_OP_DELETE_OBJECTS] = {NEED_BUCKET, NULL, delete_objects_start},
    [S3_OP_GET_OBJECT] = {NEED_BUCKET | NEED_OBJECT | NEED_BODY, NULL, get_object_start},
    [S3_OP_HEAD_OBJECT] = {NEED_BUCKET | NEED_OBJECT, NULL, get_object_start},
    [S3_OP_PUT_OBJECT] = {NEED_BUCKET, put_object_needs, put_object_start},
    [S3_OP_COPY_OBJECT] = {NEED_BUCKET, put_object_needs, copy_object_start},
    [S3_OP_DELETE_OBJECT] = {NEED_BUCKET, NULL, delete_object_start},
    [S3_OP_GET_OBJECT_ATTRIBUTES] = {NEED_BUCKET | NEED_OBJECT, NULL, get_attributes_start},
    [S3_OP_CREATE_MULTIPART_UPLOAD] = {NEED_BUCKET, NULL, create_upload_start},
    [S3_OP_UPLOAD_PART] = {NEED_BUCKET, NULL, upload_part_start},
    [S3_OP_UPLOAD_PART_COPY] = {NEED_BUCKET, NULL, copy_object_start},
    [S3_OP_LIST_PARTS] = {NEED_BUCKET, NULL, list_parts_start},
    [S3_OP_COMPLETE_MULTIPART_UPLOAD] = {NEED_BUCKET, put_object_needs, complete_upload_start},
    [S3_OP_ABORT_MULTIPART_UPLOAD] = {NEED_BUCKET, NULL, abort_upload_start},
    [S3_OP_ADMIN] = {0, NULL, admin_start},
};
