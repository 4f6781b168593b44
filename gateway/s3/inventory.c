/* Configurations and files of inventories.
 * Ref: S3 User Guide, "Amazon S3 Inventory list" and "Locating your inventory list". */
#include "gateway/s3/inventory.h"

#include "gateway/s3/json_text.h"
#include "gateway/s3/time.h"

#include <stdio.h>

#define ARN_HEAD "arn:aws:s3:::"

static const char *const field_names[] = {
#define X(NAME, name) name,
    S3_INVENTORY_FIELDS(X)
#undef X
};

/* ---- configurations ---- */

/* S3's own, those that are not offered behind the others. */
static const char *const field_choices[] = {
#define X(NAME, name) name,
    S3_INVENTORY_FIELDS(X)
#undef X
        "IntelligentTieringAccessTier",
    "IntelligentTieringReferenceDate",
    "ObjectAccessControlList",
    "ObjectLockEventHoldStatus",
    "ObjectLockEventHoldDuration",
    "LifecycleExpirationDate",
    NULL};
static const char *const booleans[] = {"true", "false", NULL};
static const char *const formats[] = {"CSV", "ORC", "Parquet", NULL};
static const char *const versions[] = {"All", "Current", NULL};
static const char *const frequencies[] = {"Daily", "Weekly", NULL};

static const struct s3_schema none[] = {{0}};
static const struct s3_schema kms_children[] = {
    {.name = "KeyId", .type = S3_NODE_TEXT, .min = 1, .max = 1}, {0}};
static const struct s3_schema encryption_children[] = {
    {.name = "SSE-S3", .type = S3_NODE_GROUP, .max = 1, .children = none},
    {.name = "SSE-KMS", .type = S3_NODE_GROUP, .max = 1, .children = kms_children},
    {0}};
static const struct s3_schema bucket_children[] = {
    {.name = "AccountId", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Bucket", .type = S3_NODE_TEXT, .min = 1, .max = 1},
    {.name = "Format", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = formats},
    {.name = "Prefix", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Encryption",
     .type = S3_NODE_GROUP,
     .max = 1,
     .children = encryption_children,
     .one_kind = true},
    {0}};
static const struct s3_schema destination_children[] = {{.name = "S3BucketDestination",
                                                         .type = S3_NODE_GROUP,
                                                         .min = 1,
                                                         .max = 1,
                                                         .children = bucket_children},
                                                        {0}};
static const struct s3_schema filter_children[] = {
    {.name = "Prefix", .type = S3_NODE_TEXT, .min = 1, .max = 1}, {0}};
static const struct s3_schema field_children[] = {
    {.name = "Field", .type = S3_NODE_CHOICE, .max = 64, .choices = field_choices}, {0}};
static const struct s3_schema schedule_children[] = {
    {.name = "Frequency", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = frequencies}, {0}};
static const struct s3_schema children[] = {
    {.name = "Id", .type = S3_NODE_TEXT, .min = 1, .max = 1},
    {.name = "IsEnabled", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = booleans},
    {.name = "Filter", .type = S3_NODE_GROUP, .max = 1, .children = filter_children},
    {.name = "Destination",
     .type = S3_NODE_GROUP,
     .min = 1,
     .max = 1,
     .children = destination_children},
    {.name = "Schedule", .type = S3_NODE_GROUP, .min = 1, .max = 1, .children = schedule_children},
    {.name = "IncludedObjectVersions",
     .type = S3_NODE_CHOICE,
     .min = 1,
     .max = 1,
     .choices = versions},
    {.name = "OptionalFields", .type = S3_NODE_GROUP, .max = 1, .children = field_children},
    {0}};
const struct s3_schema s3_inventory_schema = {
    .name = "InventoryConfiguration", .type = S3_NODE_GROUP, .children = children};

static struct slice text_of(const struct s3_node *parent, const char *name)
{
    const struct s3_node *n = parent ? s3_node_child(parent, name) : NULL;
    return n ? n->text : SLICE_EMPTY;
}

static bool says(const struct s3_node *parent, const char *name, const char *value)
{
    return slice_eq(text_of(parent, name), slice_cstr(value));
}

static enum s3_code read_fields(const struct s3_node *list, struct s3_inventory *ret,
                                struct s3_fault *fault)
{
    const struct s3_node *n = list ? s3_node_child(list, "Field") : NULL;
    for (; n; n = s3_node_again(n)) {
        unsigned i = 0;
        while (i < S3_INVENTORY_FIELD_COUNT && !slice_eq(n->text, slice_cstr(field_names[i])))
            i++;
        if (i == S3_INVENTORY_FIELD_COUNT) {
            s3_fault_set(fault, S3_NOT_IMPLEMENTED, "A column of this kind is not implemented.");
            s3_fault_extra(fault, "Field", n->text);
            return S3_NOT_IMPLEMENTED;
        }
        if (ret->fields & 1u << i)
            return s3_fault_set(fault, S3_MALFORMED_XML, NULL);
        ret->fields |= 1u << i;
    }
    return S3_OK;
}

static enum s3_code read_bucket(const struct s3_node *n, struct s3_inventory *ret,
                                struct s3_fault *fault)
{
    struct slice arn = text_of(n, "Bucket"), head = SLICE_LIT(ARN_HEAD);
    const struct s3_node *encryption = s3_node_child(n, "Encryption");
    if (!says(n, "Format", "CSV"))
        return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "Inventories are made as CSV only.");
    if (!slice_has_prefix(arn, head) ||
        !s3_bucket_name_valid(SLICE(arn.ptr + head.len, arn.len - head.len)))
        return s3_fault_set(fault, S3_INVALID_S3_DESTINATION_BUCKET, "Invalid bucket ARN.");
    ret->bucket = SLICE(arn.ptr + head.len, arn.len - head.len);
    ret->account = text_of(n, "AccountId");
    ret->dest_prefix = text_of(n, "Prefix");
    if (ret->dest_prefix.len > 512 || !utf8_valid(ret->dest_prefix))
        return s3_fault_argument(fault, "The destination prefix is invalid.", "Prefix",
                                 ret->dest_prefix);
    if (encryption && encryption->first) {
        bool kms = slice_eq(slice_cstr(encryption->first->schema->name), SLICE_LIT("SSE-KMS"));
        ret->encryption = kms ? "aws:kms" : "AES256";
        ret->kms_key = kms ? text_of(encryption->first, "KeyId") : SLICE_EMPTY;
    }
    return S3_OK;
}

enum s3_code s3_inventory_of_node(const struct s3_node *root, struct s3_inventory *ret,
                                  struct s3_fault *fault)
{
    *ret = (struct s3_inventory){
        .id = text_of(root, "Id"),
        .prefix = text_of(s3_node_child(root, "Filter"), "Prefix"),
        .enabled = says(root, "IsEnabled", "true"),
        .weekly = says(s3_node_child(root, "Schedule"), "Frequency", "Weekly"),
        .all_versions = says(root, "IncludedObjectVersions", "All"),
    };
    if (ret->prefix.len > S3_KEY_BYTES_MAX)
        return s3_fault_argument(fault, "The filter's prefix is too long.", "Prefix", ret->prefix);
    enum s3_code code = read_bucket(
        s3_node_child(s3_node_child(root, "Destination"), "S3BucketDestination"), ret, fault);
    return code == S3_OK ? read_fields(s3_node_child(root, "OptionalFields"), ret, fault) : code;
}

/* ---- rows ---- */

static void column(struct buf *b, const char *value)
{
    buf_cstr(b, ",\"");
    for (const char *p = value ? value : ""; *p; p++) {
        if (*p == '"')
            buf_u8(b, '"');
        buf_u8(b, (uint8_t)*p);
    }
    buf_u8(b, '"');
}

static void column_bool(struct buf *b, bool value)
{
    column(b, value ? "true" : "false");
}

static void column_u64(struct buf *b, uint64_t value)
{
    buf_printf(b, ",\"%llu\"", (unsigned long long)value);
}

static void column_time(struct buf *b, uint64_t ms)
{
    char text[ISO8601_MS_CHARS + 1] = "";
    if (ms)
        iso8601_format(ms, text);
    column(b, text);
}

/* Of a delete marker there is only when it was made, and by whom. */
static void column_of(struct buf *b, enum s3_inventory_field field,
                      const struct s3_inventory_entry *e)
{
    bool marker = e->delete_marker;
    switch (field) {
    case S3_INVENTORY_LAST_MODIFIED: column_time(b, e->mtime_ms); return;
    case S3_INVENTORY_OWNER: column(b, e->owner); return;
    case S3_INVENTORY_REPLICATION: column(b, e->replication); return;
    default: break;
    }
    if (marker) {
        column(b, NULL);
        return;
    }
    switch (field) {
    case S3_INVENTORY_SIZE: column_u64(b, e->size); break;
    case S3_INVENTORY_ETAG: column(b, e->etag); break;
    case S3_INVENTORY_STORAGE_CLASS: column(b, e->storage_class); break;
    case S3_INVENTORY_MULTIPART: column_bool(b, e->etag && strchr(e->etag, '-')); break;
    case S3_INVENTORY_ENCRYPTION: column(b, e->encryption ? e->encryption : "NOT-SSE"); break;
    case S3_INVENTORY_RETAIN_UNTIL: column_time(b, e->lock_mode ? e->retain_until_ms : 0); break;
    case S3_INVENTORY_LOCK_MODE: column(b, e->lock_mode); break;
    case S3_INVENTORY_LEGAL_HOLD: column(b, e->legal_hold); break;
    case S3_INVENTORY_BUCKET_KEY:
        column(b, !e->is_kms ? NULL : e->bucket_key ? "ENABLED" : "DISABLED");
        break;
    case S3_INVENTORY_CHECKSUM: column(b, e->checksum); break;
    default: break;
    }
}

void s3_inventory_row(struct buf *b, const struct s3_inventory *i, struct slice bucket,
                      const struct s3_inventory_entry *e)
{
    buf_u8(b, '"');
    buf_slice(b, bucket);
    buf_cstr(b, "\",\"");
    s3_percent_encode(b, e->key, true);
    buf_u8(b, '"');
    if (i->all_versions) {
        column(b, e->version_id);
        column_bool(b, e->is_latest);
        column_bool(b, e->delete_marker);
    }
    for (unsigned f = 0; f < S3_INVENTORY_FIELD_COUNT; f++)
        if (i->fields & 1u << f)
            column_of(b, (enum s3_inventory_field)f, e);
    buf_u8(b, '\n');
}

/* ---- places and manifests ---- */

void s3_inventory_place(struct buf *b, const struct s3_inventory *i, struct slice bucket)
{
    buf_slice(b, i->dest_prefix);
    if (i->dest_prefix.len)
        buf_u8(b, '/');
    buf_slice(b, bucket);
    buf_u8(b, '/');
    buf_slice(b, i->id);
    buf_u8(b, '/');
}

void s3_inventory_manifest_place(struct buf *b, const struct s3_inventory *i, struct slice bucket,
                                 uint64_t began_ms)
{
    char text[ISO8601_MS_CHARS + 1];
    iso8601_format(began_ms, text);
    text[13] = '-'; /* 2026-11-30T15-00 */
    text[16] = 0;
    s3_inventory_place(b, i, bucket);
    buf_printf(b, "%sZ/", text);
}

void s3_inventory_manifest_begin(struct buf *b, const struct s3_inventory *i, struct slice bucket,
                                 uint64_t began_ms)
{
    buf_cstr(b, "{\"sourceBucket\":");
    json_text(b, bucket);
    buf_cstr(b, ",\"destinationBucket\":\"" ARN_HEAD);
    buf_slice(b, i->bucket);
    buf_printf(
        b,
        "\",\"version\":\"2016-11-30\",\"creationTimestamp\":\"%llu\",\"fileFormat\":\"CSV\","
        "\"fileSchema\":\"Bucket, Key",
        (unsigned long long)began_ms);
    if (i->all_versions)
        buf_cstr(b, ", VersionId, IsLatest, IsDeleteMarker");
    for (unsigned f = 0; f < S3_INVENTORY_FIELD_COUNT; f++)
        if (i->fields & 1u << f)
            buf_printf(b, ", %s", field_names[f]);
    buf_cstr(b, "\",\"files\":[");
}

void s3_inventory_manifest_file(struct buf *b, bool is_first, const struct s3_inventory_file *f)
{
    buf_cstr(b, is_first ? "{\"key\":" : ",{\"key\":");
    json_text(b, f->key);
    buf_printf(b, ",\"size\":%llu,\"MD5checksum\":\"%s\"}", (unsigned long long)f->bytes, f->md5);
}

void s3_inventory_manifest_end(struct buf *b)
{
    buf_cstr(b, "]}");
}
