/* Settings of buckets and tags, from any bytes: the first byte says which.  What is accepted is in
 * its bounds, and what is stored of it reads back as itself. */
#include "common/base/check.h"
#include "gateway/s3/acl.h"
#include "gateway/s3/cors.h"
#include "gateway/s3/lifecycle.h"
#include "gateway/s3/lock.h"
#include "gateway/s3/logging.h"
#include "gateway/s3/settings.h"
#include "gateway/s3/tags.h"
#include "gateway/s3/website.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void setting(struct s3_request *r, enum s3_op op, struct slice body)
{
    struct s3_fault f = {0};
    struct buf stored = {0}, again = {0};
    r->op = op;
    const struct s3_setting *s = s3_setting_of_op(op);
    CHECK(s && s->put == op);
    if (s3_setting_read(s, r, body, &stored, &f) == S3_OK) {
        CHECK(stored.len <= 8 * S3_CONFIG_BODY_BYTES_MAX); /* "'" becomes "&apos;" */
        /* Escaped it may be longer than what a client may send. */
        if (stored.len &&
            stored.len <= S3_DOCUMENT_BYTES_MAX) { /* none: it takes the setting away */
            CHECK(s3_setting_read(s, r, buf_view(&stored), &again, &f) == S3_OK);
            CHECK(slice_eq(buf_view(&stored), buf_view(&again)));
        }
    } else {
        CHECK(f.code != S3_OK && stored.len == 0);
    }
    buf_fini(&stored);
    buf_fini(&again);
}

static void tags(struct s3_request *r, struct slice text)
{
    struct s3_tags t;
    struct s3_fault f = {0};
    struct http_field field = {SLICE_LIT("x-amz-tagging"), text};
    r->fields = (struct http_fields){&field, 1};
    if (s3_tags_of_request(r, &t, &f) == S3_OK)
        for (size_t i = 0; i < t.count; i++)
            CHECK(t.tags[i].key.len >= 1 && t.tags[i].key.len <= 4 * S3_TAG_KEY_CHARS_MAX &&
                  t.tags[i].value.len <= 4 * S3_TAG_VALUE_CHARS_MAX && t.count <= 10);
    r->fields = (struct http_fields){0};
    if (s3_tags_read(r->arena, text, true, &t, &f) == S3_OK)
        CHECK(t.count <= S3_OBJECT_TAGS_MAX);
}

/* "rules" 0 "origin" 0 "headers": what one rule allows, "*" in place of the origin does too. */
static void cors(struct s3_request *r, struct slice text)
{
    struct slice part[3] = {text, SLICE_EMPTY, SLICE_EMPTY};
    struct s3_node *root;
    struct s3_cors rules;
    struct s3_cors_match m;
    struct s3_fault f = {0};
    for (int i = 0; i < 2; i++) {
        const uint8_t *zero = part[i].len ? memchr(part[i].ptr, 0, part[i].len) : NULL;
        if (!zero)
            break;
        part[i + 1] = SLICE(zero + 1, part[i].len - (size_t)(zero - part[i].ptr) - 1);
        part[i].len = (size_t)(zero - part[i].ptr);
    }
    if (s3_document_read(r->arena, &s3_cors_schema, part[0], &root, &f) != S3_OK ||
        s3_cors_of_node(r->arena, root, &rules, &f) != S3_OK)
        return;
    CHECK(rules.count >= 1 && rules.count <= S3_CORS_RULES_MAX);
    if (s3_cors_find(&rules, part[1], SLICE_LIT("GET"), part[2], &m))
        CHECK(s3_cors_find(&rules, part[1], SLICE_LIT("GET"), SLICE_EMPTY, &m));
}

/* An ACL, as document and as the value of a field. */
static void acl(struct s3_request *r, struct slice text)
{
    struct s3_acl list, again;
    struct s3_acl_wanted wanted;
    struct slice owner, owner_again;
    struct s3_fault f = {0};
    struct buf written = {0};
    struct http_field field = {SLICE_LIT("x-amz-grant-read"), text};
    r->fields = (struct http_fields){&field, 1};
    if (s3_acl_wanted_parse(r, &wanted, &f) == S3_OK)
        CHECK(wanted.grants.count <= S3_ACL_GRANTS_MAX);
    r->fields = (struct http_fields){0};
    if (s3_acl_read(r->arena, text, &owner, &list, &f) == S3_OK) {
        bool email = false;
        CHECK(list.count <= S3_ACL_GRANTS_MAX);
        for (size_t i = 0; i < list.count; i++)
            email |= list.grants[i].grantee == S3_GRANTEE_EMAIL;
        s3_acl_write(&written, owner, &list);
        if (!email && written.len <= S3_CONFIG_BODY_BYTES_MAX) {
            CHECK(s3_acl_read(r->arena, buf_view(&written), &owner_again, &again, &f) == S3_OK);
            CHECK(again.count == list.count);
        }
    }
    buf_fini(&written);
}

/* A configuration, a retention or a hold; a period that is taken is found again in what is stored.
 */
static void lock(struct s3_request *r, struct slice text)
{
    struct s3_fault f = {0};
    struct s3_lock l;
    struct buf stored = {0};
    enum s3_lock_mode mode;
    uint64_t retain_ms;
    setting(r, S3_OP_PUT_OBJECT_LOCK_CONFIGURATION, text);
    if (s3_setting_read(s3_setting_of_op(r->op), r, text, &stored, &f) == S3_OK) {
        CHECK(s3_lock_default(r->arena, buf_view(&stored), &mode, &retain_ms, &f) == S3_OK);
        CHECK((mode != S3_LOCK_NONE) == (retain_ms != 0) &&
              retain_ms <= 36525 * UINT64_C(86400000));
    }
    buf_fini(&stored);
    if (s3_lock_read_retention(r->arena, text, 1000, &l, &f) == S3_OK)
        CHECK(l.mode ? l.until_ms > 1000 : l.until_ms == 0);
    if (s3_lock_read_hold(r->arena, text, &l, &f) == S3_OK)
        CHECK(l.hold == S3_HOLD_ON || l.hold == S3_HOLD_OFF);
}

/* What rules say of an object that exists forever is said of every later moment too. */
static void lifecycle(struct s3_request *r, struct slice text)
{
    struct s3_node *root;
    struct s3_lifecycle rules;
    struct s3_fault f = {0};
    struct slice *prefixes;
    size_t count;
    if (s3_document_read(r->arena, &s3_lifecycle_schema, text, &root, &f) != S3_OK ||
        s3_lifecycle_of_node(r->arena, root, &rules, &f) != S3_OK)
        return;
    CHECK(rules.count >= 1 && rules.count <= S3_LIFECYCLE_RULES_MAX);
    CHECK(s3_lifecycle_prefixes(r->arena, &rules, &prefixes, &count) && count <= rules.count);
    for (int kind = 0; kind < 8; kind++) {
        struct s3_lifecycle_object o = {.key = text.len ? SLICE(text.ptr + text.len / 2, 1)
                                                        : SLICE_EMPTY,
                                        .size = text.len,
                                        .mtime_ms = 1000 * S3_DAY_MS + 5,
                                        .noncurrent_ms = 1001 * S3_DAY_MS,
                                        .newer_noncurrent = 50,
                                        .is_latest = kind & 1,
                                        .delete_marker = kind & 2,
                                        .alone = kind & 4};
        struct s3_lifecycle_verdict v;
        uint64_t now = 1000 * S3_DAY_MS, at;
        bool done = false;
        for (int i = 0; i < 40; i++, now += now / 3) {
            bool does = s3_lifecycle_judge(&rules, &o, now, S3_DAY_MS, &v) != S3_LIFECYCLE_KEEP;
            CHECK(does || !done);
            done |= does;
        }
        if (s3_lifecycle_expiry(&rules, &o, S3_DAY_MS, &at)) {
            struct buf field = {0};
            s3_lifecycle_expiration_text(&field, &rules.rules[0], at);
            buf_fini(&field);
        }
    }
}

/* What is taken sends every key to a place that can stand in a header field. */
static void website(struct s3_request *r, struct slice text)
{
    static const unsigned statuses[] = {0, 403, 404};
    struct http_field host = {SLICE_LIT("host"), SLICE_LIT("h:80")};
    struct s3_node *root;
    struct s3_website w;
    struct s3_fault f = {0};
    setting(r, S3_OP_PUT_BUCKET_WEBSITE, text);
    if (s3_document_read(r->arena, &s3_website_schema, text, &root, &f) != S3_OK ||
        s3_website_of_node(r->arena, root, &w, &f) != S3_OK)
        return;
    CHECK((w.all_host.len == 0) != (w.index_suffix.len == 0) && w.count <= S3_ROUTING_RULES_MAX);
    r->fields = (struct http_fields){&host, 1};
    r->key = text.len > 40 ? SLICE(text.ptr + text.len - 40, 40) : text;
    for (size_t i = 0; i < 3 + (w.all_host.len > 0); i++) {
        struct buf b = {0};
        const struct s3_routing_rule *rule =
            i < 3 ? s3_website_rule(&w, r->key, statuses[i]) : NULL;
        if (rule)
            s3_website_rule_location(&b, rule, r, false);
        else if (i == 3)
            s3_website_all_location(&b, &w, r, true);
        for (size_t k = 0; k < b.len; k++)
            CHECK(b.ptr[k] > ' ' && b.ptr[k] < 0x7f);
        buf_fini(&b);
    }
}

/* Whatever a client sends, its record is one line, of texts in pairs of quotes, and no signature.
 */
static void log_record(struct slice text)
{
    struct s3_log_record rec = {.op = S3_OP_GET_OBJECT,
                                .method = SLICE(text.ptr, MIN(text.len, 8)),
                                .target = text,
                                .key = text,
                                .referer = text,
                                .user_agent = text,
                                .host = text,
                                .version_id = text};
    struct buf b = {0};
    size_t quotes = 0, spaces = 0;
    s3_log_record_write(&b, &rec);
    CHECK(!b.failed && memchr(b.ptr, '\n', b.len) == b.ptr + b.len - 1);
    for (size_t i = 0; i + 1 < b.len; i++) {
        CHECK(b.ptr[i] >= ' ' && b.ptr[i] < 0x7f);
        quotes += b.ptr[i] == '"';
        spaces += b.ptr[i] == ' ' && quotes % 2 == 0;
    }
    CHECK(quotes == 6 && spaces == 26); /* and one within the brackets of the time */
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum s3_op ops[] = {
        S3_OP_PUT_BUCKET_TAGGING,    S3_OP_PUT_BUCKET_CORS,      S3_OP_PUT_BUCKET_REQUEST_PAYMENT,
        S3_OP_PUT_BUCKET_ACCELERATE, S3_OP_PUT_BUCKET_ANALYTICS, S3_OP_PUT_BUCKET_METRICS,
        S3_OP_PUT_BUCKET_TIERING,
    };
    static const enum s3_op more[] = {S3_OP_PUT_PUBLIC_ACCESS_BLOCK, S3_OP_PUT_BUCKET_OWNERSHIP};
    static struct s3_param id = {.name = SLICE_LIT("id"), .value = SLICE_LIT("a")};
    struct arena arena;
    if (size == 0)
        return 0;
    arena_init(&arena, 8 << 20);
    struct s3_request r = {
        .arena = &arena, .bucket = SLICE_LIT("bucket"), .params = &id, .param_count = 1};
    struct slice rest = SLICE(data + 1, size - 1);
    unsigned what = data[0] % 21;
    if (what < ARRAY_COUNT(ops))
        setting(&r, ops[what], rest);
    else if (what == 7)
        tags(&r, rest);
    else if (what == 11)
        lock(&r, rest);
    else if (what == 8)
        cors(&r, rest);
    else if (what == 15)
        setting(&r, S3_OP_PUT_BUCKET_NOTIFICATION, rest);
    else if (what == 17)
        website(&r, rest);
    else if (what == 18)
        setting(&r, S3_OP_PUT_BUCKET_INVENTORY, rest);
    else if (what == 19)
        setting(&r, S3_OP_PUT_BUCKET_LOGGING, rest);
    else if (what == 20)
        log_record(rest);
    else if (what == 16)
        setting(&r, S3_OP_PUT_BUCKET_REPLICATION, rest);
    else if (what == 9)
        setting(&r, S3_OP_PUT_BUCKET_LIFECYCLE, rest);
    else if (what == 10)
        lifecycle(&r, rest);
    else if (what == 12)
        acl(&r, rest);
    else
        setting(&r, more[what - 13], rest);
    arena_fini(&arena);
    return 0;
}
