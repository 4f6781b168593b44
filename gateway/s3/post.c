/* Forms as requests. */
#include "gateway/s3/post.h"

#include "common/base/check.h"
#include "gateway/s3/tags.h"
#include "gateway/s3/xml.h"

#define FILENAME "${filename}"

/* ---- the key ---- */

static enum s3_code missing(struct s3_fault *fault, const char *name)
{
    return s3_fault_argument(fault,
                             "Bucket POST must contain a field named 'key'.  If it is specified, "
                             "please check the order of the fields.",
                             name, SLICE_EMPTY);
}

/* Replaces each ${filename}; not further than it takes to be too long for a key. */
static struct slice expand(struct arena *arena, struct slice text, struct slice filename)
{
    struct slice variable = SLICE_LIT(FILENAME);
    struct buf b = {0};
    for (size_t at = 0; at < text.len && b.len <= S3_KEY_BYTES_MAX;) {
        struct slice rest = SLICE(text.ptr + at, text.len - at);
        bool here = slice_has_prefix(rest, variable);
        buf_slice(&b, here ? filename : SLICE(rest.ptr, 1));
        at += here ? variable.len : 1;
    }
    struct slice ret = b.failed ? SLICE_EMPTY : arena_copy(arena, buf_view(&b));
    buf_fini(&b);
    return ret;
}

static enum s3_code take_key(struct s3_request *r, struct http_fields form, struct slice filename,
                             struct s3_fault *fault)
{
    const struct http_field *f = http_fields_find(form, "key");
    if (!f)
        return missing(fault, "key");
    struct slice key = expand(r->arena, f->value, filename);
    if (!key.ptr)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    if (key.len == 0)
        return s3_fault_argument(fault, "User key must have a length greater than 0.", "key", key);
    if (!utf8_valid(key))
        return s3_fault_set(fault, S3_INVALID_URI, NULL);
    if (key.len > S3_KEY_BYTES_MAX) {
        s3_fault_set(fault, S3_KEY_TOO_LONG, NULL);
        s3_fault_extra(fault, "MaxSizeAllowed", SLICE_LIT("1024"));
        return S3_KEY_TOO_LONG;
    }
    r->key = key;
    return S3_OK;
}

/* ---- fields ---- */

static bool is_one_of(struct slice name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq_nocase(name, slice_cstr(names[i])))
            return true;
    return false;
}

static bool begins_with_one_of(struct slice name, const char *const *prefixes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_has_prefix_nocase(name, slice_cstr(prefixes[i])))
            return true;
    return false;
}

/* Says something of the object, by the name that the header field has, too. */
static bool of_object(struct slice name)
{
    static const char *const names[] = {
        "cache-control",
        "content-type",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-md5",
        "expires",
        "x-amz-storage-class",
        "x-amz-website-redirect-location",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-request-payer",
        "x-amz-expected-bucket-owner",
    };
    static const char *const prefixes[] = {"x-amz-meta-", "x-amz-grant-", "x-amz-checksum-",
                                           "x-amz-object-lock-", "x-amz-server-side-encryption"};
    return is_one_of(name, names, ARRAY_COUNT(names)) ||
           begins_with_one_of(name, prefixes, ARRAY_COUNT(prefixes));
}

/* Looked at elsewhere: who signed, and what to answer. */
static bool of_form(struct slice name)
{
    static const char *const names[] = {"x-amz-algorithm", "x-amz-credential", "x-amz-date",
                                        "x-amz-security-token", "x-amz-signature"};
    return is_one_of(name, names, ARRAY_COUNT(names));
}

/* Would change what is stored, or whether, if it were known: to ignore it is not right. */
static bool is_meant(struct slice name)
{
    static const char *const prefixes[] = {"x-amz-", "if-"};
    return begins_with_one_of(name, prefixes, ARRAY_COUNT(prefixes));
}

/* Of the POST itself: tells who asks, not what is stored. */
static bool of_sender(struct slice name)
{
    static const char *const prefixes[] = {"x-amz-", "content-", "if-"};
    static const char *const names[] = {"authorization", "cache-control", "expires", "range"};
    return !begins_with_one_of(name, prefixes, ARRAY_COUNT(prefixes)) &&
           !is_one_of(name, names, ARRAY_COUNT(names));
}

static enum s3_code not_implemented(struct s3_fault *fault, struct slice name)
{
    s3_fault_set(fault, S3_NOT_IMPLEMENTED,
                 "A header you provided implies functionality that is not implemented");
    s3_fault_extra(fault, "Header", name);
    return S3_NOT_IMPLEMENTED;
}

/* The document as the value of x-amz-tagging. */
static enum s3_code tagging_value(struct arena *arena, struct slice document, struct slice *ret,
                                  struct s3_fault *fault)
{
    struct s3_tags tags;
    struct buf b = {0};
    enum s3_code code = s3_tags_read(arena, document, true, &tags, fault);
    if (code != S3_OK)
        return code;
    for (size_t i = 0; i < tags.count; i++) {
        if (i)
            buf_u8(&b, '&');
        s3_percent_encode(&b, tags.tags[i].key, false);
        buf_u8(&b, '=');
        s3_percent_encode(&b, tags.tags[i].value, false);
    }
    *ret = b.failed ? SLICE_EMPTY : arena_copy(arena, buf_view(&b));
    buf_fini(&b);
    return ret->ptr ? S3_OK : s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
}

static enum s3_code take_field(struct s3_request *r, const struct http_field *f,
                               struct http_field *ret, bool *ret_taken, struct s3_fault *fault)
{
    *ret = (struct http_field){f->name, slice_trim(f->value)};
    *ret_taken = true;
    if (slice_eq_nocase(f->name, SLICE_LIT("acl"))) {
        ret->name = SLICE_LIT("x-amz-acl");
    } else if (slice_eq_nocase(f->name, SLICE_LIT("tagging"))) {
        ret->name = SLICE_LIT("x-amz-tagging");
        return tagging_value(r->arena, f->value, &ret->value, fault);
    } else if (!of_object(f->name)) {
        *ret_taken = false;
        return !of_form(f->name) && is_meant(f->name) ? not_implemented(fault, f->name) : S3_OK;
    }
    return http_name_valid(ret->name) && http_value_valid(ret->value)
               ? S3_OK
               : s3_fault_argument(fault, "Header value cannot be represented.", "x-amz-meta",
                                   f->name);
}

enum s3_code s3_post_apply(struct s3_request *r, struct http_fields form, struct slice filename,
                           struct s3_fault *fault)
{
    struct http_fields sent = r->fields;
    struct http_field *all = arena_alloc(r->arena, (sent.count + form.count + 1) * sizeof(*all));
    size_t count = 0;
    bool taken;
    if (!all)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    enum s3_code code = take_key(r, form, filename, fault);
    for (size_t i = 0; code == S3_OK && i < sent.count; i++) {
        if (of_sender(sent.ptr[i].name))
            all[count++] = sent.ptr[i];
        else if (of_object(sent.ptr[i].name) &&
                 slice_has_prefix_nocase(sent.ptr[i].name, SLICE_LIT("x-amz-")))
            code = not_implemented(fault, sent.ptr[i].name); /* it belongs into the form */
    }
    for (size_t i = 0; code == S3_OK && i < form.count; i++) {
        code = take_field(r, &form.ptr[i], &all[count], &taken, fault);
        count += taken;
    }
    if (code == S3_OK) {
        r->fields = (struct http_fields){all, count};
        r->hoisted = 0;
    }
    return code;
}

/* ---- the answer ---- */

static struct slice redirect_of(struct http_fields form)
{
    struct slice url = http_fields_get(form, "success_action_redirect");
    if (!url.ptr)
        url = http_fields_get(form, "redirect");
    bool ok = slice_has_prefix_nocase(url, SLICE_LIT("http://")) ||
              slice_has_prefix_nocase(url, SLICE_LIT("https://"));
    return ok && http_value_valid(url) ? url : SLICE_EMPTY;
}

enum s3_post_answer s3_post_answer(struct http_fields form)
{
    struct slice status = http_fields_get(form, "success_action_status");
    if (redirect_of(form).ptr)
        return S3_POST_REDIRECT;
    return slice_eq(status, SLICE_LIT("200"))   ? S3_POST_200
           : slice_eq(status, SLICE_LIT("201")) ? S3_POST_201
                                                : S3_POST_204;
}

void s3_post_location(struct buf *b, const struct s3_request *r, bool tls)
{
    buf_cstr(b, tls ? "https://" : "http://");
    buf_slice(b, http_fields_get(r->fields, "host"));
    buf_u8(b, '/');
    if (!r->virtual_host) {
        buf_slice(b, r->bucket);
        buf_u8(b, '/');
    }
    s3_percent_encode(b, r->key, true);
}

void s3_post_redirect(struct buf *b, const struct s3_request *r, struct http_fields form,
                      struct slice etag)
{
    struct slice url = redirect_of(form);
    buf_slice(b, url);
    buf_u8(b, url.len && memchr(url.ptr, '?', url.len) ? '&' : '?');
    buf_cstr(b, "bucket=");
    s3_percent_encode(b, r->bucket, false);
    buf_cstr(b, "&key=");
    s3_percent_encode(b, r->key, false);
    buf_cstr(b, "&etag=%22");
    buf_slice(b, etag);
    buf_cstr(b, "%22");
}

void s3_post_document(struct buf *b, const struct s3_request *r, struct slice location,
                      struct slice etag)
{
    struct buf quoted = {0};
    buf_printf(&quoted, "\"%.*s\"", (int)etag.len, (const char *)etag.ptr);
    xml_declaration(b);
    xml_open(b, "PostResponse");
    xml_slice(b, "Location", location);
    xml_slice(b, "Bucket", r->bucket);
    xml_slice(b, "Key", r->key);
    xml_slice(b, "ETag", buf_view(&quoted));
    xml_close(b, "PostResponse");
    b->failed |= quoted.failed;
    buf_fini(&quoted);
}
