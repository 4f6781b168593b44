/* http-parser behind a small interface.  It is paused when the fields are complete, so that it
 * never sees a body; then it starts anew. */
#include "gateway/http/http_parse.h"

#include "common/base/check.h"

#include <assert.h>
#include <http_parser.h>
#include <stdlib.h>

static_assert(sizeof(struct http_parser) <= sizeof(((struct http_parse *)0)->impl),
              "room for http-parser");

static struct http_parser *parser_of(struct http_parse *p)
{
    return (struct http_parser *)(void *)p->impl;
}

static int fail(struct http_parse *p, enum http_parse_status status)
{
    p->error = status;
    return -1;
}

/* Appends to a span that ends where the text ends. */
static int extend(struct http_parse *p, struct http_span *span, const char *at, size_t len)
{
    buf_append(&p->text, at, len);
    if (p->text.failed)
        return fail(p, HTTP_PARSE_NO_MEMORY);
    span->len += (uint32_t)len;
    return 0;
}

static int on_url(struct http_parser *parser, const char *at, size_t len)
{
    struct http_parse *p = parser->data;
    return extend(p, &p->target, at, len);
}

static int add_span(struct http_parse *p)
{
    if (p->span_count == p->span_cap) {
        size_t cap = p->span_cap ? p->span_cap * 2 : 32;
        struct http_span *bigger = realloc(p->spans, cap * sizeof(*bigger));
        if (!bigger)
            return fail(p, HTTP_PARSE_NO_MEMORY);
        p->spans = bigger;
        p->span_cap = cap;
    }
    p->spans[p->span_count++] = (struct http_span){.at = (uint32_t)p->text.len};
    return 0;
}

static int on_field(struct http_parser *parser, const char *at, size_t len)
{
    struct http_parse *p = parser->data;
    if (p->span_count % 2 == 0) {
        if (p->span_count / 2 >= p->fields_max)
            return fail(p, HTTP_PARSE_TOO_LARGE);
        if (add_span(p) != 0)
            return -1;
    }
    p->in_value = false;
    return extend(p, &p->spans[p->span_count - 1], at, len);
}

static int on_value(struct http_parser *parser, const char *at, size_t len)
{
    struct http_parse *p = parser->data;
    if (!p->in_value) {
        if (add_span(p) != 0)
            return -1;
    } else if (!p->value_open || at != p->data) {
        return fail(p, HTTP_PARSE_BAD); /* a folded line: the value goes on behind a line end */
    }
    p->in_value = true;
    p->value_open = at + len == p->data_end;
    return extend(p, &p->spans[p->span_count - 1], at, len);
}

static int on_complete(struct http_parser *parser)
{
    struct http_parse *p = parser->data;
    p->done = true;
    http_parser_pause(parser, 1);
    return 0;
}

static const struct http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_complete,
};

void http_parse_init(struct http_parse *p, size_t bytes_max, size_t fields_max)
{
    *p = (struct http_parse){.bytes_max = bytes_max, .fields_max = fields_max};
    http_parse_reset(p);
}

void http_parse_reset(struct http_parse *p)
{
    http_parser_init(parser_of(p), HTTP_REQUEST);
    parser_of(p)->data = p;
    buf_clear(&p->text);
    p->target = (struct http_span){0};
    p->span_count = 0;
    p->bytes = 0;
    p->in_value = p->value_open = p->done = false;
    p->error = HTTP_PARSE_MORE;
}

void http_parse_fini(struct http_parse *p)
{
    buf_fini(&p->text);
    free(p->spans);
    p->spans = NULL;
    p->span_count = p->span_cap = 0;
}

void http_parse_release(struct http_parse *p)
{
    http_parse_fini(p);
    http_parse_reset(p);
}

bool http_parse_begun(const struct http_parse *p)
{
    return p->bytes > 0;
}

static enum http_parse_status status_of(enum http_errno error)
{
    switch (error) {
    case HPE_INVALID_METHOD: return HTTP_PARSE_BAD_METHOD;
    case HPE_INVALID_VERSION: return HTTP_PARSE_BAD_VERSION;
    case HPE_HEADER_OVERFLOW: return HTTP_PARSE_TOO_LARGE;
    default: return HTTP_PARSE_BAD;
    }
}

enum http_parse_status http_parse_step(struct http_parse *p, struct slice in, size_t *ret_used)
{
    size_t room = p->bytes_max - p->bytes, n = MIN(in.len, room);
    CHECK(!p->done);
    *ret_used = 0;
    if (in.len > 0 && room == 0)
        return HTTP_PARSE_TOO_LARGE;
    p->data = (const char *)in.ptr;
    p->data_end = p->data + n;
    size_t used = http_parser_execute(parser_of(p), &settings, p->data, n);
    if (p->done) {
        *ret_used = used + 1; /* it is paused on the last line feed */
        p->bytes += *ret_used;
        CHECK(*ret_used <= n);
        return HTTP_PARSE_DONE;
    }
    if (p->error != HTTP_PARSE_MORE)
        return p->error;
    if (HTTP_PARSER_ERRNO(parser_of(p)) != HPE_OK)
        return status_of(HTTP_PARSER_ERRNO(parser_of(p)));
    *ret_used = n;
    p->bytes += n;
    return n < in.len ? HTTP_PARSE_TOO_LARGE : HTTP_PARSE_MORE;
}

/* ---- what the fields say ---- */

static struct slice trimmed(const struct http_parse *p, struct http_span span)
{
    return slice_trim(SLICE(p->text.ptr + span.at, span.len));
}

/* Debian builds http-parser in its lenient form, which lets spaces into names and tabs into
 * targets: so both are checked, names by http_name_valid(). */
static bool target_valid(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] == 0x7f)
            return false;
    return s.len > 0;
}

static bool has_token(struct slice list, const char *token)
{
    struct slice want = slice_cstr(token);
    for (size_t at = 0; at < list.len;) {
        const uint8_t *comma = memchr(list.ptr + at, ',', list.len - at);
        size_t len = comma ? (size_t)(comma - (list.ptr + at)) : list.len - at;
        size_t from = at, to = at + len;
        while (from < to && (list.ptr[from] == ' ' || list.ptr[from] == '\t'))
            from++;
        while (to > from && (list.ptr[to - 1] == ' ' || list.ptr[to - 1] == '\t'))
            to--;
        if (slice_eq_nocase(SLICE(list.ptr + from, to - from), want))
            return true;
        at += len + 1;
    }
    return false;
}

/* Digits only: no sign, no list of equal numbers. */
static bool parse_length(struct slice s, int64_t *ret)
{
    int64_t v = 0;
    if (s.len == 0 || s.len > 18)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        v = v * 10 + (s.ptr[i] - '0');
    }
    *ret = v;
    return true;
}

struct framing {
    unsigned hosts, lengths, encodings;
    bool close, keep_alive;
};

static enum http_parse_status note_field(const struct http_field *f, struct framing *fr,
                                         struct http_head *h)
{
    switch (f->name.len) {
    case 4: fr->hosts += slice_eq_nocase(f->name, SLICE_LIT("host")); break;
    case 6:
        if (!slice_eq_nocase(f->name, SLICE_LIT("expect")))
            break;
        if (!slice_eq_nocase(f->value, SLICE_LIT("100-continue")))
            return HTTP_PARSE_BAD_EXPECT;
        h->expect_continue = true;
        break;
    case 10:
        if (!slice_eq_nocase(f->name, SLICE_LIT("connection")))
            break;
        fr->close |= has_token(f->value, "close");
        fr->keep_alive |= has_token(f->value, "keep-alive");
        break;
    case 14:
        if (!slice_eq_nocase(f->name, SLICE_LIT("content-length")))
            break;
        if (fr->lengths++ || !parse_length(f->value, &h->content_length))
            return HTTP_PARSE_BAD;
        break;
    case 17:
        if (!slice_eq_nocase(f->name, SLICE_LIT("transfer-encoding")))
            break;
        if (fr->encodings++ || !slice_eq_nocase(f->value, SLICE_LIT("chunked")))
            return HTTP_PARSE_BAD_ENCODING;
        break;
    default: break;
    }
    return HTTP_PARSE_DONE;
}

static enum http_verb method_of(unsigned method)
{
    switch (method) {
    case HTTP_GET: return HTTP_METHOD_GET;
    case HTTP_HEAD: return HTTP_METHOD_HEAD;
    case HTTP_PUT: return HTTP_METHOD_PUT;
    case HTTP_POST: return HTTP_METHOD_POST;
    case HTTP_DELETE: return HTTP_METHOD_DELETE;
    case HTTP_OPTIONS: return HTTP_METHOD_OPTIONS;
    default: return HTTP_METHOD_OTHER;
    }
}

enum http_parse_status http_parse_head(struct http_parse *p, struct arena *arena,
                                       struct http_head *ret)
{
    const struct http_parser *parser = parser_of(p);
    struct framing fr = {0};
    size_t count = p->span_count / 2;
    CHECK(p->done && p->span_count % 2 == 0);
    *ret = (struct http_head){.method = method_of(parser->method),
                              .method_name = http_method_str((enum http_method)parser->method),
                              .minor = parser->http_minor};
    if (parser->http_major != 1 || parser->http_minor > 1)
        return HTTP_PARSE_BAD_VERSION;
    if (parser->method == HTTP_CONNECT)
        return HTTP_PARSE_BAD_METHOD;
    struct http_field *fields = arena_alloc(arena, count * sizeof(*fields) + 1);
    if (!fields)
        return HTTP_PARSE_NO_MEMORY;
    ret->target = SLICE(p->text.ptr + p->target.at, p->target.len);
    ret->fields = (struct http_fields){fields, count};
    if (!target_valid(ret->target))
        return HTTP_PARSE_BAD;
    for (size_t i = 0; i < count; i++) {
        fields[i].name = SLICE(p->text.ptr + p->spans[2 * i].at, p->spans[2 * i].len);
        fields[i].value = trimmed(p, p->spans[2 * i + 1]);
        if (!http_name_valid(fields[i].name) || !http_value_valid(fields[i].value))
            return HTTP_PARSE_BAD;
        enum http_parse_status status = note_field(&fields[i], &fr, ret);
        if (status != HTTP_PARSE_DONE)
            return status;
    }
    /* Two ways to say where the body ends are a way to smuggle a request (RFC 9112, 6.1). */
    if ((fr.encodings && fr.lengths) || (fr.encodings && ret->minor == 0) || fr.hosts > 1 ||
        (fr.hosts == 0 && ret->minor == 1))
        return HTTP_PARSE_BAD;
    if (fr.encodings)
        ret->content_length = HTTP_BODY_CHUNKED;
    ret->keep_alive = ret->minor == 1 ? !fr.close : fr.keep_alive && !fr.close;
    ret->expect_continue = ret->expect_continue && ret->minor == 1 && ret->content_length != 0;
    return HTTP_PARSE_DONE;
}
