/* Signed requests to remote S3 endpoints. */
#include "gateway/out/s3_remote.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/crypto/codec.h"
#include "gateway/s3/sigv4.h"
#include "gateway/s3/time.h"

#include <stdlib.h>

static int field_cmp(const void *a, const void *b)
{
    const struct http_field *x = a, *y = b;
    return slice_cmp(x->name, y->name);
}

/* Built text into the arena, with its NUL; empties b. */
static struct slice keep(struct arena *arena, struct buf *b)
{
    struct slice s = b->failed ? SLICE_EMPTY : arena_copy(arena, buf_view(b));
    buf_fini(b);
    return s;
}

static struct slice host_of(const struct target *t)
{
    const char *at = strstr(t->url, "://");
    return slice_cstr(at ? at + 3 : t->url);
}

/* All fields that are signed, by name. */
static struct http_field *fields_gather(struct arena *arena, const struct target *target,
                                        const struct s3_remote *r, struct slice date)
{
    struct http_field *all = arena_alloc(arena, (r->field_count + 3) * sizeof(*all));
    if (!all)
        return NULL;
    if (r->field_count)
        memcpy(all, r->fields, r->field_count * sizeof(*all));
    size_t n = r->field_count;
    all[n++] = (struct http_field){SLICE_LIT("host"), host_of(target)};
    all[n++] =
        (struct http_field){SLICE_LIT("x-amz-content-sha256"), SLICE_LIT("UNSIGNED-PAYLOAD")};
    all[n++] = (struct http_field){SLICE_LIT("x-amz-date"), date};
    qsort(all, n, sizeof(*all), field_cmp);
    return all;
}

/* Authorization, in the arena; empty: no memory. */
static struct slice authorization(struct arena *arena, const struct target *target,
                                  const struct s3_request *request, struct slice date)
{
    struct sigv4_auth auth = {.timestamp = date,
                              .payload_text = SLICE_LIT("UNSIGNED-PAYLOAD"),
                              .region = slice_cstr(target->region)};
    struct buf names = {0}, scope = {0}, canonical = {0}, to_sign = {0}, ret = {0};
    uint8_t key[SHA256_BYTES], mac[SHA256_BYTES];
    char hex[HEX_CHARS(SHA256_BYTES)];
    for (size_t i = 0; i < request->fields.count; i++) {
        if (i)
            buf_u8(&names, ';');
        buf_slice(&names, request->fields.ptr[i].name);
    }
    auth.signed_headers = keep(arena, &names);
    buf_append(&scope, date.ptr, 8);
    buf_printf(&scope, "/%s/s3/aws4_request", target->region);
    auth.scope = keep(arena, &scope);
    sigv4_canonical_request(&canonical, request, &auth);
    sigv4_string_to_sign(&to_sign, &auth, buf_view(&canonical));
    sigv4_signing_key(slice_cstr(target->secret), SLICE(date.ptr, 8), auth.region, SLICE_LIT("s3"),
                      key);
    hmac_sha256(SLICE(key, sizeof(key)), buf_view(&to_sign), mac);
    crypto_wipe(key, sizeof(key));
    hex_encode(SLICE(mac, sizeof(mac)), hex);
    buf_printf(&ret, "Authorization: AWS4-HMAC-SHA256 Credential=%s/", target->access_key);
    buf_slice(&ret, auth.scope);
    buf_cstr(&ret, ", SignedHeaders=");
    buf_slice(&ret, auth.signed_headers);
    buf_cstr(&ret, ", Signature=");
    buf_append(&ret, hex, sizeof(hex));
    ret.failed |= canonical.failed || to_sign.failed || !auth.signed_headers.ptr || !auth.scope.ptr;
    buf_fini(&canonical);
    buf_fini(&to_sign);
    return keep(arena, &ret);
}

static struct slice url_of(struct arena *arena, const struct target *target,
                           const struct s3_remote *r, struct slice path)
{
    struct buf url = {0};
    buf_cstr(&url, target->url);
    s3_percent_encode(&url, path, true);
    for (size_t i = 0; i < r->param_count; i++) {
        buf_u8(&url, i ? '&' : '?');
        s3_percent_encode(&url, r->params[i].name, false);
        buf_u8(&url, '=');
        s3_percent_encode(&url, r->params[i].value, false);
    }
    return keep(arena, &url);
}

static bool is_blank(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] != ' ' && s.ptr[i] != '\t')
            return false;
    return true;
}

/* "name: value" for libcurl, which makes Host of the URL itself; "name;" is its way to say a field
 * without a value, for "name:" would be none. */
static const char **lines_of(struct arena *arena, const struct http_field *fields, size_t count,
                             struct slice last, size_t *ret_count)
{
    const char **lines = arena_alloc(arena, (count + 2) * sizeof(*lines));
    size_t n = 0;
    for (size_t i = 0; lines && i < count; i++) {
        struct buf b = {0};
        if (slice_eq(fields[i].name, SLICE_LIT("host")))
            continue;
        buf_slice(&b, fields[i].name);
        bool blank = is_blank(fields[i].value);
        buf_cstr(&b, blank ? ";" : ": ");
        buf_slice(&b, blank ? SLICE_EMPTY : fields[i].value);
        lines[n] = (const char *)keep(arena, &b).ptr;
        if (!lines[n++])
            return NULL;
    }
    if (lines)
        lines[n++] = (const char *)last.ptr;
    *ret_count = n;
    return lines;
}

int s3_remote_start(struct http_client *c, const struct target *target, struct arena *arena,
                    struct s3_remote *r)
{
    char date[AMZ_DATE_CHARS + 1];
    struct buf path = {0};
    amz_date_format(r->now_ms, date);
    buf_u8(&path, '/');
    buf_slice(&path, r->bucket);
    buf_u8(&path, '/');
    buf_slice(&path, r->key);
    struct s3_request request = {.method = slice_cstr(r->method),
                                 .path = keep(arena, &path),
                                 .params = r->params,
                                 .param_count = r->param_count,
                                 .arena = arena};
    struct http_field *fields = fields_gather(arena, target, r, slice_cstr(date));
    if (!fields || !request.path.ptr)
        return ERR_NOMEM;
    request.fields = (struct http_fields){fields, r->field_count + 3};
    struct slice signature = authorization(arena, target, &request, slice_cstr(date));
    struct slice url = url_of(arena, target, r, request.path);
    size_t count = 0;
    const char **lines = lines_of(arena, fields, r->field_count + 3, signature, &count);
    if (!signature.ptr || !url.ptr || !lines)
        return ERR_NOMEM;
    r->call.method = r->method;
    r->call.url = (const char *)url.ptr;
    r->call.fields = lines;
    r->call.field_count = count;
    r->call.ca_file = target->ca;
    r->call.timeout_ms = r->timeout_ms;
    r->call.total_ms = r->total_ms;
    http_call_start(c, &r->call);
    return OK;
}

struct slice s3_remote_element(struct slice document, const char *name)
{
    size_t len = strlen(name);
    for (size_t at = 0; at + len + 2 <= document.len; at++) {
        const uint8_t *p = document.ptr + at;
        if (p[0] != '<' || memcmp(p + 1, name, len) != 0 || p[len + 1] != '>')
            continue;
        size_t from = at + len + 2, to = from;
        while (to < document.len && document.ptr[to] != '<')
            to++;
        return to < document.len ? SLICE(document.ptr + from, to - from) : SLICE_EMPTY;
    }
    return SLICE_EMPTY;
}
