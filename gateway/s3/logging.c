/* Access logs of buckets.
 * Ref: S3 User Guide, "Amazon S3 server access log format"; "Enabling Amazon S3 server access
 * logging" for the names of log objects. */
#include "gateway/s3/logging.h"

#include "common/base/check.h"
#include "gateway/s3/time.h"

#include <stdio.h>

#define PREFIX_BYTES_MAX 512
#define TEXT_BYTES_MAX 2048 /* of one text in a record, before it is escaped */

/* ---- configurations ---- */

static const char *const date_sources[] = {"EventTime", "DeliveryTime", NULL};
static const struct s3_schema none[] = {{0}};
static const struct s3_schema partitioned_children[] = {
    {.name = "PartitionDateSource", .type = S3_NODE_CHOICE, .max = 1, .choices = date_sources},
    {0}};
static const struct s3_schema format_children[] = {
    {.name = "SimplePrefix", .type = S3_NODE_GROUP, .max = 1, .children = none},
    {.name = "PartitionedPrefix",
     .type = S3_NODE_GROUP,
     .max = 1,
     .children = partitioned_children},
    {0}};
static const struct s3_schema enabled_children[] = {
    {.name = "TargetBucket", .type = S3_NODE_TEXT, .min = 1, .max = 1},
    {.name = "TargetPrefix", .type = S3_NODE_TEXT, .min = 1, .max = 1},
    {.name = "TargetGrants", .type = S3_NODE_REFUSED},
    {.name = "TargetObjectKeyFormat",
     .type = S3_NODE_GROUP,
     .max = 1,
     .children = format_children,
     .one_kind = true},
    {0}};
static const struct s3_schema children[] = {
    {.name = "LoggingEnabled", .type = S3_NODE_GROUP, .max = 1, .children = enabled_children}, {0}};
const struct s3_schema s3_logging_schema = {
    .name = "BucketLoggingStatus", .type = S3_NODE_GROUP, .children = children};

enum s3_code s3_logging_of_node(struct arena *arena, const struct s3_node *root,
                                struct s3_logging *ret, struct s3_fault *fault)
{
    const struct s3_node *n = s3_node_child(root, "LoggingEnabled");
    const struct s3_node *format = n ? s3_node_child(n, "TargetObjectKeyFormat") : NULL;
    const struct s3_node *by = format ? s3_node_child(format, "PartitionedPrefix") : NULL;
    const struct s3_node *source = by ? s3_node_child(by, "PartitionDateSource") : NULL;
    *ret = (struct s3_logging){0};
    if (!n)
        return s3_fault_set(fault, S3_MALFORMED_XML, NULL);
    struct slice bucket = s3_node_child(n, "TargetBucket")->text;
    struct slice prefix = s3_node_child(n, "TargetPrefix")->text;
    if (!s3_bucket_name_valid(bucket))
        return s3_fault_set(fault, S3_INVALID_TARGET_BUCKET_FOR_LOGGING, NULL);
    if (prefix.len > PREFIX_BYTES_MAX || !utf8_valid(prefix))
        return s3_fault_argument(fault, "The target prefix is invalid.", "TargetPrefix", prefix);
    if (by)
        ret->format = source && slice_eq(source->text, SLICE_LIT("DeliveryTime"))
                          ? S3_LOGGING_BY_DELIVERY
                          : S3_LOGGING_BY_EVENT;
    ret->bucket = arena_copy(arena, bucket);
    ret->prefix = prefix.len ? arena_copy(arena, prefix) : SLICE_LIT("");
    return ret->bucket.ptr && ret->prefix.ptr ? S3_OK
                                              : s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
}

/* ---- names ---- */

void s3_logging_key(struct buf *b, const struct s3_logging *l, struct slice account,
                    struct slice region, struct slice bucket, uint64_t event_ms, uint64_t now_ms,
                    const char *unique)
{
    char text[ISO8601_MS_CHARS + 1]; /* 2026-11-30T15:00:00.000Z */
    bool by_event = l->format == S3_LOGGING_BY_EVENT;
    iso8601_format(by_event ? event_ms : now_ms, text);
    text[10] = text[13] = text[16] = '-';
    text[19] = 0;
    buf_slice(b, l->prefix);
    if (l->format != S3_LOGGING_SIMPLE) {
        buf_slice(b, account);
        buf_u8(b, '/');
        buf_slice(b, region);
        buf_u8(b, '/');
        buf_slice(b, bucket);
        buf_printf(b, "/%.4s/%.2s/%.2s/", text, text + 5, text + 8);
    }
    if (by_event) /* as S3: of the time of day nothing is said */
        memcpy(text + 11, "00-00-00", 8);
    buf_printf(b, "%s-%s", text, unique);
}

/* ---- records ---- */

/* Those that are not called by the method and what it is asked of. */
static const char *const operations[S3_OP_COUNT] = {
    [S3_OP_POST_OBJECT] = "POST.OBJECT",     [S3_OP_COPY_OBJECT] = "COPY.OBJECT",
    [S3_OP_UPLOAD_PART] = "PUT.PART",        [S3_OP_UPLOAD_PART_COPY] = "COPY.PART",
    [S3_OP_PREFLIGHT] = "OPTIONS.PREFLIGHT",
};

static void operation(struct buf *b, const struct s3_log_record *r)
{
    buf_cstr(b, r->website ? " WEBSITE." : " REST.");
    if (operations[r->op]) {
        buf_cstr(b, operations[r->op]);
        return;
    }
    for (size_t i = 0; i < r->method.len && i < 16; i++) {
        uint8_t c = r->method.ptr[i];
        if (c >= 'A' && c <= 'Z')
            buf_u8(b, c);
    }
    buf_printf(b, ".%s", r->resource ? r->resource : r->key.len ? "OBJECT" : "BUCKET");
}

static void escaped(struct buf *b, struct slice s, bool quoted)
{
    for (size_t i = 0; i < s.len && i < TEXT_BYTES_MAX; i++) {
        uint8_t c = s.ptr[i];
        if (c < 0x20 || c > 0x7E || c == '"' || (c == ' ' && !quoted))
            buf_printf(b, "%%%02X", c);
        else
            buf_u8(b, c);
    }
}

static void field(struct buf *b, struct slice s)
{
    buf_u8(b, ' ');
    escaped(b, s.len ? s : SLICE_LIT("-"), false);
}

static void field_quoted(struct buf *b, struct slice s)
{
    buf_cstr(b, " \"");
    escaped(b, s.len ? s : SLICE_LIT("-"), true);
    buf_u8(b, '"');
}

static void field_u64(struct buf *b, bool is_known, uint64_t value)
{
    if (is_known)
        buf_printf(b, " %llu", (unsigned long long)value);
    else
        buf_cstr(b, " -");
}

static void field_time(struct buf *b, uint64_t ms)
{
    char t[HTTP_DATE_CHARS + 1]; /* Mon, 30 Nov 2026 15:00:00 GMT */
    http_date_format(ms, t);
    buf_printf(b, " [%.2s/%.3s/%.4s:%.8s +0000]", t + 5, t + 8, t + 12, t + 17);
}

/* As S3: encoded twice, as most of its operations do. */
static void field_key(struct buf *b, struct slice key)
{
    struct buf once = {0};
    if (key.len == 0) {
        buf_cstr(b, " -");
        return;
    }
    s3_percent_encode(&once, key, true);
    buf_u8(b, ' ');
    s3_percent_encode(b, buf_view(&once), true);
    b->failed |= once.failed;
    buf_fini(&once);
}

static int hex_value(uint8_t c)
{
    return c >= '0' && c <= '9'                             ? c - '0'
           : ascii_lower(c) >= 'a' && ascii_lower(c) <= 'f' ? ascii_lower(c) - 'a' + 10
                                                            : -1;
}

/* Is this parameter one that lets its holder in, or a key that was refused?  Its name may be
 * written with %XX. */
static bool is_secret(struct slice param)
{
    static const char *const names[] = {"x-amz-signature", "x-amz-security-token", "signature",
                                        "x-amz-server-side-encryption-customer-key",
                                        "x-amz-copy-source-server-side-encryption-customer-key"};
    uint8_t name[64];
    size_t n = 0;
    for (size_t i = 0; i < param.len && param.ptr[i] != '='; i++) {
        uint8_t c = param.ptr[i];
        if (c == '%' && param.len - i > 2 && hex_value(param.ptr[i + 1]) >= 0 &&
            hex_value(param.ptr[i + 2]) >= 0) {
            c = (uint8_t)(hex_value(param.ptr[i + 1]) << 4 | hex_value(param.ptr[i + 2]));
            i += 2;
        }
        if (n == sizeof(name))
            return false;
        name[n++] = c;
    }
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (slice_eq_nocase(SLICE(name, n), slice_cstr(names[i])))
            return true;
    return false;
}

/* The target, its secrets blotted out. */
static void target(struct buf *b, struct slice s)
{
    const uint8_t *mark = s.len ? memchr(s.ptr, '?', s.len) : NULL;
    size_t at = mark ? (size_t)(mark - s.ptr) + 1 : s.len;
    escaped(b, SLICE(s.ptr, at), false);
    for (size_t room = TEXT_BYTES_MAX; at < s.len && room;) {
        const uint8_t *amp = memchr(s.ptr + at, '&', s.len - at);
        size_t end = amp ? (size_t)(amp - s.ptr) : s.len;
        struct slice param = SLICE(s.ptr + at, end - at);
        bool secret = is_secret(param);
        const uint8_t *eq = memchr(param.ptr, '=', param.len);
        struct slice shown = SLICE(param.ptr, MIN(param.len, room));
        if (secret && eq)
            shown.len = MIN(room, (size_t)(eq - param.ptr) + 1);
        escaped(b, shown, false);
        if (secret)
            buf_cstr(b, "XXXX");
        if (amp)
            buf_u8(b, '&');
        room -= shown.len;
        at = end + 1;
    }
}

void s3_log_record_write(struct buf *b, const struct s3_log_record *r)
{
    escaped(b, r->bucket_owner, false);
    field(b, r->bucket);
    field_time(b, r->time_ms);
    field(b, r->peer);
    field(b, r->requester);
    field(b, r->request_id);
    operation(b, r);
    field_key(b, r->key);
    buf_cstr(b, " \"");
    escaped(b, r->method, false);
    buf_u8(b, ' ');
    target(b, r->target);
    buf_cstr(b, " HTTP/1.1\"");
    field_u64(b, r->status != 0, (uint64_t)r->status);
    field(b, r->error ? slice_cstr(r->error) : SLICE_EMPTY);
    field_u64(b, r->bytes_sent != 0, r->bytes_sent);
    field_u64(b, r->has_size, r->size);
    field_u64(b, true, r->total_ms);
    field_u64(b, r->has_turnaround, r->turnaround_ms);
    field_quoted(b, r->referer);
    field_quoted(b, r->user_agent);
    field(b, r->version_id);
    buf_cstr(b, " -"); /* host id: there is none */
    field(b, !r->is_signed ? SLICE_EMPTY : r->version_2 ? SLICE_LIT("SigV2") : SLICE_LIT("SigV4"));
    buf_cstr(b, " -"); /* the cipher suite is not known here */
    field(b, !r->is_signed  ? SLICE_EMPTY
             : r->form      ? SLICE_LIT("POST")
             : r->presigned ? SLICE_LIT("QueryString")
                            : SLICE_LIT("AuthHeader"));
    field(b, r->host);
    field(b, r->tls_version ? slice_cstr(r->tls_version) : SLICE_EMPTY);
    buf_cstr(b, " - -\n"); /* access point; whether an ACL was needed */
}
