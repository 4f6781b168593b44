/* Values of condition keys. */
#include "gateway/op/context.h"

#include "common/base/check.h"
#include "gateway/op/principal.h"

#include <stdio.h>

#define DAY_MS (24 * 3600 * 1000ull)

static bool has(struct policy_values *ret, struct slice value)
{
    *ret = (struct policy_values){.count = 1, .one = value};
    return value.ptr != NULL;
}

static bool has_number(struct context *c, struct policy_values *ret, uint64_t n)
{
    int len = snprintf(c->text, sizeof(c->text), "%llu", (unsigned long long)n);
    return has(ret, SLICE(c->text, (size_t)len));
}

static bool has_time(struct context *c, struct policy_values *ret, uint64_t ms)
{
    char text[ISO8601_MS_CHARS + 1];
    iso8601_format(ms, text);
    memcpy(c->text, text, sizeof(text));
    return has(ret, SLICE(c->text, ISO8601_MS_CHARS));
}

static bool has_bool(struct policy_values *ret, bool value)
{
    return has(ret, value ? SLICE_LIT("true") : SLICE_LIT("false"));
}

static struct slice field(const struct context *c, const char *name)
{
    return http_fields_get(c->req->s3.fields, name);
}

/* ---- aws: ---- */

/* IPv4 that came in through an IPv6 socket is IPv4. */
struct slice context_source_ip(const struct request *req)
{
    struct slice peer = slice_cstr(req->http->peer), mapped = SLICE_LIT("::ffff:");
    if (slice_has_prefix(peer, mapped) && memchr(peer.ptr, '.', peer.len))
        peer = SLICE(peer.ptr + mapped.len, peer.len - mapped.len);
    return peer;
}

static bool source_ip(struct context *c, struct policy_values *ret)
{
    struct slice peer = context_source_ip(c->req);
    return peer.len && has(ret, peer);
}
static bool secure_transport(struct context *c, struct policy_values *ret)
{
    return has_bool(ret, c->req->http->tls);
}
static bool current_time(struct context *c, struct policy_values *ret)
{
    return has_time(c, ret, request_now_ms(c->req));
}
static bool epoch_time(struct context *c, struct policy_values *ret)
{
    return has_number(c, ret, request_now_ms(c->req) / 1000);
}
static bool user_agent(struct context *c, struct policy_values *ret)
{
    return has(ret, field(c, "user-agent"));
}
static bool referer(struct context *c, struct policy_values *ret)
{
    return has(ret, field(c, "referer"));
}
static bool requested_region(struct context *c, struct policy_values *ret)
{
    return has(ret, c->req->gw->config->region);
}
static bool never(struct context *c, struct policy_values *ret)
{
    (void)c;
    return has_bool(ret, false);
}
/* No session is made with a second factor; to a long-term key the question does not apply. */
static bool multi_factor(struct context *c, struct policy_values *ret)
{
    return c->session && has_bool(ret, false);
}
static bool token_issue_time(struct context *c, struct policy_values *ret)
{
    return c->session && has_time(c, ret, c->session->issued_ms);
}

/* ---- s3: of every request ---- */

static bool auth_type(struct context *c, struct policy_values *ret)
{
    const struct sigv4_auth *a = &c->req->auth;
    return !a->anonymous && has(ret, a->policy.ptr  ? SLICE_LIT("POST")
                                     : a->presigned ? SLICE_LIT("REST-QUERY-STRING")
                                                    : SLICE_LIT("REST-HEADER"));
}
static bool signature_age(struct context *c, struct policy_values *ret)
{
    uint64_t now = request_now_ms(c->req), then = c->req->auth.time_ms;
    if (c->req->auth.version_2) /* it says until when, not since when */
        return false;
    return !c->req->auth.anonymous && has_number(c, ret, now > then ? now - then : 0);
}
static bool signature_version(struct context *c, struct policy_values *ret)
{
    const struct sigv4_auth *a = &c->req->auth;
    return !a->anonymous &&
           has(ret, a->version_2 ? SLICE_LIT("AWS") : SLICE_LIT("AWS4-HMAC-SHA256"));
}
/* Of signed requests what is signed of the body, wherever it was said; of presigned requests and
 * forms that is nothing unless they say more. */
static bool content_sha256(struct context *c, struct policy_values *ret)
{
    const struct sigv4_auth *a = &c->req->auth;
    return has(ret, a->anonymous ? field(c, "x-amz-content-sha256") : a->payload_text);
}
static bool tls_version(struct context *c, struct policy_values *ret)
{
    switch (c->req->http->tls_version) {
    case 0x303: return has(ret, SLICE_LIT("1.2"));
    case 0x304: return has(ret, SLICE_LIT("1.3"));
    default: return false;
    }
}

/* ---- s3: of some ---- */

static bool list_prefix(struct context *c, struct policy_values *ret)
{
    const struct s3_param *p = s3_request_param(&c->req->s3, "prefix");
    return p && has(ret, p->value.ptr ? p->value : SLICE_LIT(""));
}
static bool list_delimiter(struct context *c, struct policy_values *ret)
{
    const struct s3_param *p = s3_request_param(&c->req->s3, "delimiter");
    return p && has(ret, p->value.ptr ? p->value : SLICE_LIT(""));
}
static bool list_max_keys(struct context *c, struct policy_values *ret)
{
    return has(ret, s3_request_value(&c->req->s3, "max-keys"));
}
static bool version_id(struct context *c, struct policy_values *ret)
{
    return has(ret, c->version_id);
}
static bool if_match(struct context *c, struct policy_values *ret)
{
    return has(ret, c->if_match);
}
static bool location_constraint(struct context *c, struct policy_values *ret)
{
    return c->said && c->said->location.len && has(ret, c->said->location);
}
static bool copy_source(struct context *c, struct policy_values *ret)
{
    return has(ret, c->copy_source);
}
/* Does it make an object, or only a part of one to come? */
static bool creation(struct context *c, struct policy_values *ret)
{
    switch (c->req->s3.op) {
    case S3_OP_CREATE_MULTIPART_UPLOAD:
    case S3_OP_UPLOAD_PART:
    case S3_OP_UPLOAD_PART_COPY: return has_bool(ret, false);
    default: return has_bool(ret, true);
    }
}

static struct slice said_or_field(const struct context *c, struct slice said, const char *name)
{
    return said.ptr ? said : field(c, name);
}
static struct slice lock_until_text(const struct context *c)
{
    return said_or_field(c, c->said ? c->said->lock_until : SLICE_EMPTY,
                         "x-amz-object-lock-retain-until-date");
}
static bool lock_mode(struct context *c, struct policy_values *ret)
{
    return has(ret, said_or_field(c, c->said ? c->said->lock_mode : SLICE_EMPTY,
                                  "x-amz-object-lock-mode"));
}
static bool lock_until(struct context *c, struct policy_values *ret)
{
    return has(ret, lock_until_text(c));
}
static bool lock_days(struct context *c, struct policy_values *ret)
{
    uint64_t until, now = request_now_ms(c->req);
    if (!iso8601_parse(lock_until_text(c), &until))
        return false;
    return has_number(c, ret, until > now ? (until - now + DAY_MS - 1) / DAY_MS : 0);
}
static bool legal_hold(struct context *c, struct policy_values *ret)
{
    return has(ret, said_or_field(c, c->said ? c->said->legal_hold : SLICE_EMPTY,
                                  "x-amz-object-lock-legal-hold"));
}
static bool tag_keys(struct context *c, struct policy_values *ret)
{
    *ret = (struct policy_values){.items = c->tag_keys, .count = c->tags.count};
    return c->tags.count > 0;
}

static const struct {
    const char *key;
    bool (*value)(struct context *c, struct policy_values *ret);
} keys[] = {
    {"aws:SourceIp", source_ip},
    {"aws:SecureTransport", secure_transport},
    {"aws:CurrentTime", current_time},
    {"aws:EpochTime", epoch_time},
    {"aws:UserAgent", user_agent},
    {"aws:Referer", referer},
    {"aws:RequestedRegion", requested_region},
    {"aws:ViaAWSService", never},
    {"aws:PrincipalIsAWSService", never},
    {"aws:MultiFactorAuthPresent", multi_factor},
    {"aws:TokenIssueTime", token_issue_time},
    {"s3:authType", auth_type},
    {"s3:signatureAge", signature_age},
    {"s3:signatureversion", signature_version},
    {"s3:x-amz-content-sha256", content_sha256},
    {"s3:TlsVersion", tls_version},
    {"s3:prefix", list_prefix},
    {"s3:delimiter", list_delimiter},
    {"s3:max-keys", list_max_keys},
    {"s3:versionid", version_id},
    {"s3:if-match", if_match},
    {"s3:locationconstraint", location_constraint},
    {"s3:x-amz-copy-source", copy_source},
    {"s3:ObjectCreationOperation", creation},
    {"s3:object-lock-mode", lock_mode},
    {"s3:object-lock-retain-until-date", lock_until},
    {"s3:object-lock-remaining-retention-days", lock_days},
    {"s3:object-lock-legal-hold", legal_hold},
    {"s3:RequestObjectTagKeys", tag_keys},
};

/* Keys that are the name of a field: its value as sent. */
static const struct {
    const char *key, *field;
} fields[] = {
    {"s3:if-none-match", "if-none-match"},
    {"s3:x-amz-acl", "x-amz-acl"},
    {"s3:x-amz-grant-full-control", "x-amz-grant-full-control"},
    {"s3:x-amz-grant-read", "x-amz-grant-read"},
    {"s3:x-amz-grant-read-acp", "x-amz-grant-read-acp"},
    {"s3:x-amz-grant-write", "x-amz-grant-write"},
    {"s3:x-amz-grant-write-acp", "x-amz-grant-write-acp"},
    {"s3:x-amz-metadata-directive", "x-amz-metadata-directive"},
    {"s3:x-amz-object-ownership", "x-amz-object-ownership"},
    {"s3:x-amz-server-side-encryption", "x-amz-server-side-encryption"},
    {"s3:x-amz-server-side-encryption-aws-kms-key-id",
     "x-amz-server-side-encryption-aws-kms-key-id"},
    {"s3:x-amz-server-side-encryption-customer-algorithm",
     "x-amz-server-side-encryption-customer-algorithm"},
    {"s3:x-amz-storage-class", "x-amz-storage-class"},
    {"s3:x-amz-website-redirect-location", "x-amz-website-redirect-location"},
};

/* ---- keys with a tag's key in them ---- */

static bool tag_of(Cairn__Pair *const *pairs, size_t count, struct slice name,
                   struct policy_values *ret)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq(slice_cstr(pairs[i]->name), name))
            return has(ret, slice_cstr(pairs[i]->value));
    return false;
}

/* Of identities, whose tags' keys differ in more than case: in whatever case the policy has it. */
static bool identity_tag_of(const Cairn__PrincipalRecord *p, struct slice name,
                            struct policy_values *ret)
{
    for (size_t i = 0; p && i < p->n_tags; i++)
        if (policy_eq_ignore_case(slice_cstr(p->tags[i]->name), name))
            return has(ret, slice_cstr(p->tags[i]->value));
    return false;
}

/* What follows the prefix; empty: it is another key. */
static struct slice behind(struct slice key, const char *prefix)
{
    size_t n = strlen(prefix);
    if (key.len <= n || !policy_eq_ignore_case(SLICE(key.ptr, n), slice_cstr(prefix)))
        return SLICE_EMPTY;
    return SLICE(key.ptr + n, key.len - n);
}

static bool tag_values(struct context *c, struct slice key, struct policy_values *ret)
{
    struct slice name = behind(key, "s3:ExistingObjectTag/");
    if (name.len)
        return c->object && tag_of(c->object->tags, c->object->n_tags, name, ret);
    name = behind(key, "aws:PrincipalTag/");
    if (name.len)
        return identity_tag_of(c->principal, name, ret);
    name = behind(key, "s3:RequestObjectTag/");
    for (size_t i = 0; name.len && i < c->tags.count; i++)
        if (slice_eq(c->tags.tags[i].key, name))
            return has(ret, c->tags.tags[i].value.ptr ? c->tags.tags[i].value : SLICE_LIT(""));
    return false;
}

bool context_values(void *arg, struct slice key, struct policy_values *ret)
{
    struct context *c = arg;
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++)
        if (policy_eq_ignore_case(key, slice_cstr(keys[i].key)))
            return keys[i].value(c, ret);
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++)
        if (policy_eq_ignore_case(key, slice_cstr(fields[i].key)))
            return has(ret, field(c, fields[i].field));
    return tag_values(c, key, ret);
}

/* ---- set up ---- */

static void read_tags(struct context *c, struct request *req)
{
    struct s3_fault ignored;
    /* Tags that cannot be read are refused by the operation itself. */
    if (c->said && c->said->tags)
        c->tags = *c->said->tags;
    else if (s3_tags_of_request(&req->s3, &c->tags, &ignored) != S3_OK)
        c->tags = (struct s3_tags){0};
    c->tags.count = MIN(c->tags.count, (size_t)S3_OBJECT_TAGS_MAX);
    for (size_t i = 0; i < c->tags.count; i++)
        c->tag_keys[i] = c->tags.tags[i].key;
}

/* As a policy would write it: decoded, without the slash in front. */
static void read_copy_source(struct context *c, struct request *req)
{
    struct s3_copy_source source;
    struct s3_fault ignored;
    if (!http_fields_find(req->s3.fields, "x-amz-copy-source") ||
        s3_copy_source_parse(&req->s3, &source, &ignored) != S3_OK)
        return;
    /* Bucket and key lie behind one another in the text that they were cut from. */
    c->copy_source = SLICE(source.bucket.ptr, source.bucket.len + 1 + source.key.len);
}

bool context_init(struct context *c, struct request *req, const struct request_said *said)
{
    const struct s3_param *version = s3_request_param(&req->s3, "versionId");
    *c = (struct context){.req = req, .said = said};
    if (version)
        c->version_id = version->value;
    c->if_match = http_fields_get(req->s3.fields, "if-match");
    if (req->s3.op == S3_OP_DELETE_OBJECTS) /* which asks for each key, and neither means anything */
        return true;
    read_tags(c, req);
    read_copy_source(c, req);
    return !req->arena->failed;
}
