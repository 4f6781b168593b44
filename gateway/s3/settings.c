/* The table of settings. */
#include "gateway/s3/settings.h"

#include "common/base/check.h"
#include "gateway/s3/cors.h"
#include "gateway/s3/encryption.h"
#include "gateway/s3/inventory.h"
#include "gateway/s3/lifecycle.h"
#include "gateway/s3/lock.h"
#include "gateway/s3/logging.h"
#include "gateway/s3/notification.h"
#include "gateway/s3/replication.h"
#include "gateway/s3/tags.h"
#include "gateway/s3/website.h"

/* proto/common.proto; the operations assert that these agree. */
enum {
    KIND_TAGGING = 1,
    KIND_CORS = 2,
    KIND_REQUEST_PAYMENT = 3,
    KIND_ACCELERATE = 4,
    KIND_ANALYTICS = 5,
    KIND_METRICS = 6,
    KIND_INTELLIGENT_TIERING = 7,
    KIND_ENCRYPTION = 13,
    KIND_NOTIFICATION = 15,
    KIND_LOGGING = 16,
    KIND_REPLICATION = 17,
    KIND_INVENTORY = 18,
    KIND_LIFECYCLE = 14,
    KIND_OBJECT_LOCK = 12,
    KIND_PUBLIC_ACCESS_BLOCK = 9,
    KIND_OWNERSHIP = 10,
    KIND_WEBSITE = 19,
};

/* ---- schemas ---- */

static const char *const payers[] = {"Requester", "BucketOwner", NULL};
static const struct s3_schema payment_children[] = {
    {.name = "Payer", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = payers}, {0}};
static const struct s3_schema payment_schema = {
    .name = "RequestPaymentConfiguration", .type = S3_NODE_GROUP, .children = payment_children};

static const char *const accelerate_states[] = {"Enabled", "Suspended", NULL};
static const struct s3_schema accelerate_children[] = {
    {.name = "Status", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = accelerate_states},
    {0}};
static const struct s3_schema accelerate_schema = {
    .name = "AccelerateConfiguration", .type = S3_NODE_GROUP, .children = accelerate_children};

static const struct s3_schema and_children[] = {
    {.name = "Prefix", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Tag", .type = S3_NODE_GROUP, .children = s3_tag_children},
    {0}};
static const struct s3_schema filter_children[] = {
    {.name = "Prefix", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Tag", .type = S3_NODE_GROUP, .max = 1, .children = s3_tag_children},
    {.name = "And", .type = S3_NODE_GROUP, .max = 1, .children = and_children},
    {0}};
static const struct s3_schema metrics_and_children[] = {
    {.name = "Prefix", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Tag", .type = S3_NODE_GROUP, .children = s3_tag_children},
    {.name = "AccessPointArn", .type = S3_NODE_REFUSED},
    {0}};
static const struct s3_schema metrics_filter_children[] = {
    {.name = "Prefix", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Tag", .type = S3_NODE_GROUP, .max = 1, .children = s3_tag_children},
    {.name = "AccessPointArn", .type = S3_NODE_REFUSED},
    {.name = "And", .type = S3_NODE_GROUP, .max = 1, .children = metrics_and_children},
    {0}};
#define ID_NODE                                                                                    \
    {                                                                                              \
        .name = "Id", .type = S3_NODE_TEXT, .min = 1, .max = 1                                     \
    }
#define FILTER_NODE(c)                                                                             \
    {                                                                                              \
        .name = "Filter", .type = S3_NODE_GROUP, .max = 1, .children = (c), .one_kind = true       \
    }

static const struct s3_schema metrics_children[] = {
    ID_NODE, FILTER_NODE(metrics_filter_children), {0}};
static const struct s3_schema metrics_schema = {
    .name = "MetricsConfiguration", .type = S3_NODE_GROUP, .children = metrics_children};

/* An export would have to write files into a bucket. */
static const struct s3_schema analysis_children[] = {
    {.name = "DataExport", .type = S3_NODE_REFUSED}, {0}};
static const struct s3_schema analytics_children[] = {ID_NODE,
                                                      FILTER_NODE(filter_children),
                                                      {.name = "StorageClassAnalysis",
                                                       .type = S3_NODE_GROUP,
                                                       .min = 1,
                                                       .max = 1,
                                                       .children = analysis_children},
                                                      {0}};
static const struct s3_schema analytics_schema = {
    .name = "AnalyticsConfiguration", .type = S3_NODE_GROUP, .children = analytics_children};

static const char *const tiering_states[] = {"Enabled", "Disabled", NULL};
static const char *const tiers[] = {"ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS", NULL};
static const struct s3_schema tier_children[] = {
    {.name = "Days", .type = S3_NODE_NUMBER, .min = 1, .max = 1},
    {.name = "AccessTier", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = tiers},
    {0}};
static const struct s3_schema tiering_children[] = {
    ID_NODE,
    FILTER_NODE(filter_children),
    {.name = "Status", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = tiering_states},
    {.name = "Tiering", .type = S3_NODE_GROUP, .min = 1, .max = 2, .children = tier_children},
    {0}};
static const struct s3_schema tiering_schema = {
    .name = "IntelligentTieringConfiguration", .type = S3_NODE_GROUP, .children = tiering_children};

static const char *const ownerships[] = {"BucketOwnerEnforced", "BucketOwnerPreferred",
                                         "ObjectWriter", NULL};
static const struct s3_schema ownership_rule_children[] = {
    {.name = "ObjectOwnership", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = ownerships},
    {0}};
static const struct s3_schema ownership_children[] = {{.name = "Rule",
                                                       .type = S3_NODE_GROUP,
                                                       .min = 1,
                                                       .max = 1,
                                                       .children = ownership_rule_children},
                                                      {0}};
static const struct s3_schema ownership_schema = {
    .name = "OwnershipControls", .type = S3_NODE_GROUP, .children = ownership_children};

static const char *const bools[] = {"true", "false", "TRUE", "FALSE", NULL};
static const struct s3_schema block_children[] = {
    {.name = "BlockPublicAcls", .type = S3_NODE_CHOICE, .max = 1, .choices = bools},
    {.name = "IgnorePublicAcls", .type = S3_NODE_CHOICE, .max = 1, .choices = bools},
    {.name = "BlockPublicPolicy", .type = S3_NODE_CHOICE, .max = 1, .choices = bools},
    {.name = "RestrictPublicBuckets", .type = S3_NODE_CHOICE, .max = 1, .choices = bools},
    {0}};
static const struct s3_schema block_schema = {
    .name = "PublicAccessBlockConfiguration", .type = S3_NODE_GROUP, .children = block_children};

/* All four, given or not. */
static void block_write(struct buf *b, const struct s3_node *root)
{
    xml_open_ns(b, block_schema.name);
    for (const struct s3_schema *s = block_children; s->name; s++) {
        const struct s3_node *n = s3_node_child(root, s->name);
        xml_bool(b, s->name, n && ascii_lower(n->text.ptr[0]) == 't');
    }
    xml_close(b, block_schema.name);
}

/* ---- what schemas cannot say ---- */

static enum s3_code check_tagging(const struct s3_request *r, const struct s3_node *root,
                                  struct s3_fault *fault)
{
    struct s3_tags tags;
    return s3_tags_of_node(r->arena, root, false, &tags, fault);
}

static enum s3_code check_cors(const struct s3_request *r, const struct s3_node *root,
                               struct s3_fault *fault)
{
    struct s3_cors cors;
    return s3_cors_of_node(r->arena, root, &cors, fault);
}

static enum s3_code check_lifecycle(const struct s3_request *r, const struct s3_node *root,
                                    struct s3_fault *fault)
{
    struct s3_lifecycle lifecycle;
    return s3_lifecycle_of_node(r->arena, root, &lifecycle, fault);
}

static enum s3_code check_website(const struct s3_request *r, const struct s3_node *root,
                                  struct s3_fault *fault)
{
    struct s3_website website;
    return s3_website_of_node(r->arena, root, &website, fault);
}

/* Of transitions, which there are none of: it changes nothing. */
static const char *const transition_minimums[] = {"all_storage_classes_128K",
                                                  "varies_by_storage_class", NULL};

static enum s3_code check_lock(const struct s3_request *r, const struct s3_node *root,
                               struct s3_fault *fault)
{
    (void)r;
    return s3_lock_check(root, fault);
}

static enum s3_code check_accelerate(const struct s3_request *r, const struct s3_node *root,
                                     struct s3_fault *fault)
{
    (void)root;
    if (!memchr(r->bucket.ptr, '.', r->bucket.len))
        return S3_OK;
    return s3_fault_set(fault, S3_INVALID_REQUEST,
                        "S3 Transfer Acceleration is not supported for buckets with periods (.) in "
                        "their names");
}

static enum s3_code check_id(const struct s3_request *r, const struct s3_node *root,
                             struct s3_fault *fault)
{
    struct slice id;
    enum s3_code code = s3_setting_id(r, &id, fault);
    if (code == S3_OK && !slice_eq(id, s3_node_child(root, "Id")->text))
        code = s3_fault_argument(fault, "The configuration's Id is not that of the request.", "id",
                                 id);
    return code;
}

static enum s3_code check_notification(const struct s3_request *r, const struct s3_node *root,
                                       struct s3_fault *fault)
{
    struct s3_notification n;
    return s3_notification_of_node(r->arena, root, &n, fault);
}

static enum s3_code check_replication(const struct s3_request *r, const struct s3_node *root,
                                      struct s3_fault *fault)
{
    struct s3_replication n;
    return s3_replication_of_node(r->arena, root, &n, fault);
}

static enum s3_code check_inventory(const struct s3_request *r, const struct s3_node *root,
                                    struct s3_fault *fault)
{
    struct s3_inventory inventory;
    enum s3_code code = check_id(r, root, fault);
    return code == S3_OK ? s3_inventory_of_node(root, &inventory, fault) : code;
}

static enum s3_code check_logging(const struct s3_request *r, const struct s3_node *root,
                                  struct s3_fault *fault)
{
    struct s3_logging logging;
    return root->first ? s3_logging_of_node(r->arena, root, &logging, fault) : S3_OK;
}

/* ---- the table ---- */

#define DOC(name) "<" name " xmlns=\"" S3_XMLNS "\"/>"

static const struct s3_setting settings[] = {
    {.kind = KIND_TAGGING,
     .get = S3_OP_GET_BUCKET_TAGGING,
     .put = S3_OP_PUT_BUCKET_TAGGING,
     .del = S3_OP_DELETE_BUCKET_TAGGING,
     .schema = &s3_tagging_schema,
     .none = S3_NO_SUCH_TAG_SET,
     .put_status = 204,
     .check = check_tagging},
    {.kind = KIND_CORS,
     .get = S3_OP_GET_BUCKET_CORS,
     .put = S3_OP_PUT_BUCKET_CORS,
     .del = S3_OP_DELETE_BUCKET_CORS,
     .schema = &s3_cors_schema,
     .none = S3_NO_SUCH_CORS,
     .put_status = 200,
     .check = check_cors},
    {.kind = KIND_LIFECYCLE,
     .get = S3_OP_GET_BUCKET_LIFECYCLE,
     .put = S3_OP_PUT_BUCKET_LIFECYCLE,
     .del = S3_OP_DELETE_BUCKET_LIFECYCLE,
     .schema = &s3_lifecycle_schema,
     .none = S3_NO_SUCH_LIFECYCLE,
     .put_status = 200,
     .complete = s3_lifecycle_complete,
     .note_field = "x-amz-transition-default-minimum-object-size",
     .note_values = transition_minimums,
     .check = check_lifecycle},
    {.kind = KIND_REQUEST_PAYMENT,
     .get = S3_OP_GET_BUCKET_REQUEST_PAYMENT,
     .put = S3_OP_PUT_BUCKET_REQUEST_PAYMENT,
     .schema = &payment_schema,
     .unset = "<RequestPaymentConfiguration xmlns=\"" S3_XMLNS
              "\"><Payer>BucketOwner</Payer></RequestPaymentConfiguration>",
     .put_status = 200},
    {.kind = KIND_ACCELERATE,
     .get = S3_OP_GET_BUCKET_ACCELERATE,
     .put = S3_OP_PUT_BUCKET_ACCELERATE,
     .schema = &accelerate_schema,
     .unset = DOC("AccelerateConfiguration"),
     .put_status = 200,
     .check = check_accelerate},
    {.kind = KIND_ANALYTICS,
     .get = S3_OP_GET_BUCKET_ANALYTICS,
     .put = S3_OP_PUT_BUCKET_ANALYTICS,
     .del = S3_OP_DELETE_BUCKET_ANALYTICS,
     .list = S3_OP_LIST_BUCKET_ANALYTICS,
     .schema = &analytics_schema,
     .none = S3_NO_SUCH_CONFIGURATION,
     .list_root = "ListBucketAnalyticsConfigurationResult",
     .put_status = 200,
     .check = check_id},
    {.kind = KIND_METRICS,
     .get = S3_OP_GET_BUCKET_METRICS,
     .put = S3_OP_PUT_BUCKET_METRICS,
     .del = S3_OP_DELETE_BUCKET_METRICS,
     .list = S3_OP_LIST_BUCKET_METRICS,
     .schema = &metrics_schema,
     .none = S3_NO_SUCH_CONFIGURATION,
     .list_root = "ListMetricsConfigurationsResult",
     .put_status = 200,
     .check = check_id},
    {.kind = KIND_OBJECT_LOCK,
     .get = S3_OP_GET_OBJECT_LOCK_CONFIGURATION,
     .put = S3_OP_PUT_OBJECT_LOCK_CONFIGURATION,
     .schema = &s3_lock_schema,
     .none = S3_NO_SUCH_OBJECT_LOCK,
     .unset = "<ObjectLockConfiguration xmlns=\"" S3_XMLNS
              "\"><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>",
     .put_status = 200,
     .check = check_lock},
    {.kind = KIND_INTELLIGENT_TIERING,
     .get = S3_OP_GET_BUCKET_TIERING,
     .put = S3_OP_PUT_BUCKET_TIERING,
     .del = S3_OP_DELETE_BUCKET_TIERING,
     .list = S3_OP_LIST_BUCKET_TIERING,
     .schema = &tiering_schema,
     .none = S3_NO_SUCH_CONFIGURATION,
     .list_root = "ListBucketIntelligentTieringConfigurationsOutput",
     .put_status = 200,
     .check = check_id},
    {.kind = KIND_ENCRYPTION,
     .get = S3_OP_GET_BUCKET_ENCRYPTION,
     .put = S3_OP_PUT_BUCKET_ENCRYPTION,
     .del = S3_OP_DELETE_BUCKET_ENCRYPTION,
     .schema = &s3_sse_schema,
     .none = S3_NO_SUCH_ENCRYPTION,
     .put_status = 200,
     .check = s3_sse_check},
    {.kind = KIND_NOTIFICATION,
     .get = S3_OP_GET_BUCKET_NOTIFICATION,
     .put = S3_OP_PUT_BUCKET_NOTIFICATION,
     .schema = &s3_notification_schema,
     .unset = DOC("NotificationConfiguration"),
     .put_status = 200,
     .complete = s3_notification_name,
     .empty_unsets = true,
     .check = check_notification},
    {.kind = KIND_REPLICATION,
     .get = S3_OP_GET_BUCKET_REPLICATION,
     .put = S3_OP_PUT_BUCKET_REPLICATION,
     .del = S3_OP_DELETE_BUCKET_REPLICATION,
     .schema = &s3_replication_schema,
     .none = S3_NO_SUCH_REPLICATION,
     .put_status = 200,
     .complete = s3_replication_name,
     .check = check_replication},
    {.kind = KIND_LOGGING,
     .get = S3_OP_GET_BUCKET_LOGGING,
     .put = S3_OP_PUT_BUCKET_LOGGING,
     .schema = &s3_logging_schema,
     .unset = DOC("BucketLoggingStatus"),
     .put_status = 200,
     .empty_unsets = true,
     .check = check_logging},
    {.kind = KIND_INVENTORY,
     .get = S3_OP_GET_BUCKET_INVENTORY,
     .put = S3_OP_PUT_BUCKET_INVENTORY,
     .del = S3_OP_DELETE_BUCKET_INVENTORY,
     .list = S3_OP_LIST_BUCKET_INVENTORY,
     .schema = &s3_inventory_schema,
     .none = S3_NO_SUCH_CONFIGURATION,
     .list_root = "ListInventoryConfigurationsResult",
     .put_status = 200,
     .check = check_inventory},
    {.kind = KIND_PUBLIC_ACCESS_BLOCK,
     .get = S3_OP_GET_PUBLIC_ACCESS_BLOCK,
     .put = S3_OP_PUT_PUBLIC_ACCESS_BLOCK,
     .del = S3_OP_DELETE_PUBLIC_ACCESS_BLOCK,
     .schema = &block_schema,
     .none = S3_NO_SUCH_PUBLIC_ACCESS_BLOCK,
     .unset = "<PublicAccessBlockConfiguration xmlns=\"" S3_XMLNS
              "\"><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls>"
              "<BlockPublicPolicy>true</BlockPublicPolicy>"
              "<RestrictPublicBuckets>true</RestrictPublicBuckets>"
              "</PublicAccessBlockConfiguration>",
     .erased = DOC("PublicAccessBlockConfiguration"),
     .put_status = 200,
     .write = block_write},
    {.kind = KIND_WEBSITE,
     .get = S3_OP_GET_BUCKET_WEBSITE,
     .put = S3_OP_PUT_BUCKET_WEBSITE,
     .del = S3_OP_DELETE_BUCKET_WEBSITE,
     .schema = &s3_website_schema,
     .none = S3_NO_SUCH_WEBSITE,
     .put_status = 200,
     .check = check_website},
    {.kind = KIND_OWNERSHIP,
     .get = S3_OP_GET_BUCKET_OWNERSHIP,
     .put = S3_OP_PUT_BUCKET_OWNERSHIP,
     .del = S3_OP_DELETE_BUCKET_OWNERSHIP,
     .schema = &ownership_schema,
     .none = S3_NO_SUCH_OWNERSHIP,
     .unset = "<OwnershipControls xmlns=\"" S3_XMLNS
              "\"><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>"
              "</OwnershipControls>",
     .erased = DOC("OwnershipControls"),
     .put_status = 200},
};

const struct s3_setting *s3_setting_of_op(enum s3_op op)
{
    for (size_t i = 0; op != S3_OP_NONE && i < ARRAY_COUNT(settings); i++)
        if (op == settings[i].get || op == settings[i].put || op == settings[i].del ||
            op == settings[i].list)
            return &settings[i];
    return NULL;
}

enum s3_code s3_setting_read(const struct s3_setting *s, const struct s3_request *r,
                             struct slice body, struct buf *ret, struct s3_fault *fault)
{
    struct s3_node *root;
    if (body.len == 0)
        return s3_fault_set(fault, S3_MISSING_REQUEST_BODY, NULL);
    enum s3_code code = s3_document_read(r->arena, s->schema, body, &root, fault);
    if (code == S3_OK && s->complete)
        code = s->complete(r->arena, root, fault);
    if (code == S3_OK && s->check)
        code = s->check(r, root, fault);
    if (code != S3_OK || (s->empty_unsets && !root->first))
        return code;
    if (s->write)
        s->write(ret, root);
    else
        s3_document_write(ret, root);
    return ret->failed ? s3_fault_set(fault, S3_INTERNAL_ERROR, NULL) : S3_OK;
}

enum s3_code s3_setting_note(const struct s3_setting *s, const struct s3_request *r,
                             const char **ret, struct s3_fault *fault)
{
    *ret = "";
    struct slice value = s->note_field ? http_fields_get(r->fields, s->note_field) : SLICE_EMPTY;
    if (!value.ptr)
        return S3_OK;
    for (const char *const *v = s->note_values; *v; v++) {
        *ret = *v;
        if (slice_eq(value, slice_cstr(*v)))
            return S3_OK;
    }
    return s3_fault_argument(fault, NULL, s->note_field, value);
}

enum s3_code s3_setting_id(const struct s3_request *r, struct slice *ret, struct s3_fault *fault)
{
    struct slice id = s3_request_value(r, "id");
    bool ok = id.len >= 1 && id.len <= S3_SETTING_ID_CHARS_MAX;
    for (size_t i = 0; ok && i < id.len; i++) {
        uint8_t c = id.ptr[i];
        ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
             (c != 0 && strchr("-_.", c));
    }
    *ret = id;
    return ok ? S3_OK
              : s3_fault_argument(fault, "The specified configuration id is invalid.", "id", id);
}
