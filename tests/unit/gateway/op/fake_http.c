/* The HTTP server of the stand: requests are structs, bodies come by a timer, answers are kept. */
#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/s3/sigv4.h"
#include "tests/unit/common/alloc_fail.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>
#include <stdlib.h>

static struct exchange *exchange_of(struct http_request *req)
{
    return container_of(req, struct exchange, http);
}

/* ---- what the operations call ---- */

void http_body_read_start(struct http_request *req, http_body_cb cb, void *arg)
{
    struct exchange *x = exchange_of(req);
    CHECK(!x->body_cb);
    x->body_cb = cb;
    x->body_arg = arg;
    env_timer_start(&x->timer, 0);
}

void http_body_pause(struct http_request *req)
{
    exchange_of(req)->paused = true;
    env_timer_stop(&exchange_of(req)->timer);
}

void http_body_resume(struct http_request *req)
{
    exchange_of(req)->paused = false;
    env_timer_start(&exchange_of(req)->timer, 0);
}

static void deliver(struct env_timer *timer)
{
    struct exchange *x = container_of(timer, struct exchange, timer);
    bool breaks = x->break_at && x->sent >= x->break_at;
    if (x->done || x->broke || (x->paused && !breaks)) /* a loss is told to whoever pauses, too */
        return;
    if (breaks) {
        x->broke = true;
        x->body_cb(&x->http, x->body_arg, (struct payload){0},
                   x->break_err ? x->break_err : ERR_CONN_LOST);
        return;
    }
    if (x->hold_at && x->sent >= x->hold_at)
        return;
    size_t n = MIN(x->chunk, (x->hold_at ? x->hold_at : x->body.len) - x->sent);
    alloc_fail_hold();
    struct rcbuf *b = rcbuf_copy(SLICE(x->body.ptr + x->sent, n));
    alloc_fail_go_on();
    x->sent += n;
    x->body_cb(&x->http, x->body_arg, (struct payload){n ? b : NULL, SLICE(b->data, n)}, OK);
    rcbuf_unref(b);
    if (n && !x->done && (!x->paused || (x->break_at && x->sent >= x->break_at)))
        env_timer_start(timer, 0);
}

void http_response_begin(struct http_request *req, int status)
{
    struct exchange *x = exchange_of(req);
    CHECK(x->status == 0 && !x->done);
    x->status = status;
}

int http_response_field(struct http_request *req, struct slice name, struct slice value)
{
    struct exchange *x = exchange_of(req);
    alloc_fail_hold();
    buf_slice(&x->head, name);
    buf_cstr(&x->head, ": ");
    buf_slice(&x->head, value);
    buf_u8(&x->head, '\n');
    alloc_fail_go_on();
    return OK;
}

int http_response_field_cstr(struct http_request *req, const char *name, const char *value)
{
    return http_response_field(req, slice_cstr(name), slice_cstr(value));
}

int http_response_field_u64(struct http_request *req, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return http_response_field_cstr(req, name, text);
}

void http_response_body(struct http_request *req, int64_t length)
{
    exchange_of(req)->length = length;
}

int http_response_write(struct http_request *req, struct payload p)
{
    struct exchange *x = exchange_of(req);
    CHECK(!x->done);
    alloc_fail_hold();
    buf_slice(&x->out, p.bytes);
    alloc_fail_go_on();
    CHECK(x->length < 0 || (int64_t)x->out.len <= x->length);
    return OK;
}

void http_response_on_drain(struct http_request *req, void (*cb)(struct http_request *, void *arg),
                            void *arg)
{
    (void)req;
    (void)cb;
    (void)arg;
}

/* The end: everything of the request is gone, as with the real server. */
static void end(struct exchange *x, bool aborted)
{
    CHECK(!x->done);
    x->done = true;
    x->aborted = aborted;
    env_timer_stop(&x->timer);
    arena_fini(&x->arena);
}

void http_response_finish(struct http_request *req)
{
    struct exchange *x = exchange_of(req);
    CHECK(x->status);
    end(x,
        x->http.method != HTTP_METHOD_HEAD && x->length >= 0 && x->length != (int64_t)x->out.len);
}

void http_response_abort(struct http_request *req)
{
    end(exchange_of(req), true);
}

void http_response_simple(struct http_request *req, int status, const char *content_type,
                          struct slice body)
{
    (void)content_type;
    (void)body;
    exchange_of(req)->status = status;
    end(exchange_of(req), false);
}

/* ---- clients ---- */

static void add_field(struct exchange *x, const char *name, struct slice value)
{
    CHECK(x->field_count < EXCHANGE_FIELDS_MAX);
    struct buf *b = &x->text[x->field_count];
    buf_cstr(b, name);
    size_t n = b->len;
    buf_slice(b, value);
    x->fields[x->field_count++] =
        (struct http_field){SLICE(b->ptr, n), SLICE(b->ptr + n, b->len - n)};
    x->http.fields = (struct http_fields){x->fields, x->field_count};
}

static int name_order(const void *pa, const void *pb)
{
    return strcmp(*(char *const *)pa, *(char *const *)pb);
}

/* Host, and every x-amz- field: lower case, in order. */
static void signed_names(const struct exchange *x, struct buf *ret)
{
    char text[EXCHANGE_FIELDS_MAX][64], *names[EXCHANGE_FIELDS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < x->field_count; i++) {
        struct slice name = x->fields[i].name;
        if (!slice_eq_nocase(name, SLICE_LIT("host")) &&
            !slice_has_prefix_nocase(name, SLICE_LIT("x-amz-")))
            continue;
        for (size_t k = 0; k < name.len; k++)
            text[count][k] = (char)ascii_lower(name.ptr[k]);
        text[count][name.len] = 0;
        names[count] = text[count];
        count++;
    }
    qsort(names, count, sizeof(names[0]), name_order);
    for (size_t i = 0; i < count; i++)
        buf_printf(ret, "%s%s", i ? ";" : "", names[i]);
}

static void sign(struct exchange *x)
{
    struct s3_request r;
    struct s3_fault fault = {0};
    struct sigv4_auth auth;
    struct arena arena = {0};
    struct s3_addressing addressing = {0};
    struct buf canonical = {0}, to_sign = {0}, authorization = {0}, names = {0};
    uint8_t key[SHA256_BYTES], mac[SHA256_BYTES], hash[SHA256_BYTES];
    char date[AMZ_DATE_CHARS + 1], hex[2 * SHA256_BYTES];
    amz_date_format(env_wall_ms(&x->s->f.env), date);
    sha256(x->body, hash);
    hex_encode(SLICE(hash, sizeof(hash)), hex);
    add_field(x, "Host", SLICE_LIT("test"));
    if (!x->s->signs_as[0]) /* anonymous */
        return;
    add_field(x, "x-amz-date", slice_cstr(date));
    add_field(x, "x-amz-content-sha256", SLICE(hex, sizeof(hex)));
    signed_names(x, &names);
    buf_printf(&authorization,
               "AWS4-HMAC-SHA256 Credential=%s/%.8s/us-east-1/%s/aws4_request, "
               "SignedHeaders=%.*s, Signature=%064d",
               x->s->signs_as, date, x->s->signs_for, (int)names.len, (const char *)names.ptr, 0);
    buf_fini(&names);
    add_field(x, "Authorization", buf_view(&authorization));
    assert_int_equal(s3_request_parse(&arena, &addressing, x->http.method_name, x->http.target,
                                      x->http.fields, &r, &fault),
                     S3_OK);
    assert_int_equal(sigv4_parse(&r, &auth, &fault), S3_OK);
    sigv4_canonical_request(&canonical, &r, &auth);
    sigv4_string_to_sign(&to_sign, &auth, buf_view(&canonical));
    sigv4_signing_key(slice_cstr(x->s->signs_with), SLICE(date, 8), SLICE_LIT("us-east-1"),
                      slice_cstr(x->s->signs_for), key);
    hmac_sha256(SLICE(key, sizeof(key)), buf_view(&to_sign), mac);
    struct buf *b = &x->text[x->field_count - 1];
    hex_encode(SLICE(mac, sizeof(mac)), (char *)b->ptr + b->len - 2 * SHA256_BYTES);
    buf_fini(&canonical);
    buf_fini(&to_sign);
    buf_fini(&authorization);
    arena_fini(&arena);
}

static void exchange_begin(struct stand *s, struct exchange *x, const char *method,
                           const char *target, struct slice body, va_list more)
{
    static const struct {
        const char *name;
        enum http_verb method;
    } methods[] = {{"GET", HTTP_METHOD_GET},
                   {"HEAD", HTTP_METHOD_HEAD},
                   {"PUT", HTTP_METHOD_PUT},
                   {"POST", HTTP_METHOD_POST},
                   {"DELETE", HTTP_METHOD_DELETE}};
    memset(x, 0, sizeof(*x));
    x->s = s;
    x->body = body;
    x->chunk = 100000;
    snprintf(x->target, sizeof(x->target), "%s", target);
    for (size_t i = 0; i < ARRAY_COUNT(methods); i++)
        if (strcmp(method, methods[i].name) == 0)
            x->http.method = methods[i].method;
    x->http.method_name = slice_cstr(method);
    x->http.target = slice_cstr(x->target);
    x->http.content_length = (int64_t)body.len;
    x->http.arena = &x->arena;
    x->http.peer = "test";
    x->http.started_ns = uv_hrtime();
    env_timer_init(&s->f.env, &x->timer, deliver);
    for (const char *field; (field = va_arg(more, const char *)) != NULL;) {
        const char *colon = strchr(field, ':');
        char name[64];
        snprintf(name, sizeof(name), "%.*s", (int)(colon - field), field);
        add_field(x, name, slice_cstr(colon + 2));
    }
    sign(x);
}

void exchange_start(struct stand *s, struct exchange *x, const char *method, const char *target,
                    struct slice body, ...)
{
    va_list more;
    va_start(more, body);
    alloc_fail_hold();
    exchange_begin(s, x, method, target, body, more);
    alloc_fail_go_on();
    va_end(more);
    gateway_http_handler.on_request(&s->gw, &x->http);
}

void exchange_wait(struct exchange *x)
{
    fake_run_until(&x->s->f, &x->done, 120 * NS_PER_SEC);
    assert_true(x->done);
}

void exchange_fini(struct exchange *x)
{
    assert_true(x->done);
    for (size_t i = 0; i < x->field_count; i++)
        buf_fini(&x->text[i]);
    buf_fini(&x->head);
    buf_fini(&x->out);
}

int exchange_run(struct stand *s, struct exchange *x, const char *method, const char *target,
                 struct slice body)
{
    exchange_start(s, x, method, target, body, NULL);
    exchange_wait(x);
    return x->aborted ? -1 : x->status;
}

bool exchange_says(const struct exchange *x, const char *text)
{
    size_t len = strlen(text);
    return (x->head.len && memmem(x->head.ptr, x->head.len, text, len)) ||
           (x->out.len && memmem(x->out.ptr, x->out.len, text, len));
}

void exchange_upload(struct stand *s, struct slice body, size_t part_bytes, char ret_id[33])
{
    struct exchange x;
    char target[128];
    struct buf xml = {0};
    assert_int_equal(exchange_run(s, &x, "POST", "/bucket/mp?uploads", SLICE_EMPTY), 200);
    buf_u8(&x.out, 0);
    const char *id = strstr((const char *)x.out.ptr, "<UploadId>");
    assert_non_null(id);
    snprintf(ret_id, 33, "%s", id + 10);
    exchange_fini(&x);
    buf_cstr(&xml, "<CompleteMultipartUpload>");
    int number = 1;
    for (size_t at = 0; at < body.len; at += part_bytes, number++) {
        struct slice part = SLICE(body.ptr + at, MIN(part_bytes, body.len - at));
        snprintf(target, sizeof(target), "/bucket/mp?partNumber=%d&uploadId=%s", number, ret_id);
        assert_int_equal(exchange_run(s, &x, "PUT", target, part), 200);
        buf_u8(&x.head, 0);
        const char *etag = strstr((const char *)x.head.ptr, "ETag: ");
        buf_printf(&xml, "<Part><PartNumber>%d</PartNumber><ETag>%.34s</ETag></Part>", number,
                   etag + 6);
        exchange_fini(&x);
    }
    buf_cstr(&xml, "</CompleteMultipartUpload>");
    snprintf(target, sizeof(target), "/bucket/mp?uploadId=%s", ret_id);
    for (int again = 0; again < 2; again++) { /* asked twice, answered twice */
        assert_int_equal(exchange_run(s, &x, "POST", target, buf_view(&xml)), 200);
        assert_true(exchange_says(&x, "CompleteMultipartUploadResult"));
        exchange_fini(&x);
    }
    buf_fini(&xml);
}
