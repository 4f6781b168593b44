/* multipart/form-data.
 *
 *   PREAMBLE ─► DELIMITED ─► HEAD ─► VALUE ─┐      the values of fields are kept
 *                 ▲  │  ▲      ├───► FILE ──┤      the file's data are yielded
 *                 │  ▼  │      └───► SKIP ──┤      what follows the file is dropped
 *                 │ DONE└───────────────────┘
 *
 * A boundary has no CR, so of a delimiter (CRLF "--" boundary) only the first byte is one: where a
 * match breaks off, what was matched is data, and the next match can begin at the byte that broke
 * it at the earliest. */
#include "gateway/s3/form.h"

#include "common/base/check.h"

#define MALFORMED "The body of your POST request is not well-formed multipart/form-data."

static enum s3_code form_fail(struct s3_form *f, enum s3_code code, const char *message,
                              struct s3_fault *fault)
{
    f->state = S3_FORM_FAILED;
    f->error = code;
    return s3_fault_set(fault, code, message);
}

static enum s3_code malformed(struct s3_form *f, struct s3_fault *fault)
{
    return form_fail(f, S3_MALFORMED_POST_REQUEST, MALFORMED, fault);
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* ---- parameters of header fields ---- */

/* The value of `; name=value` or `; name="value"` behind the first ';'.  In quotes a backslash
 * stands for itself unless it escapes a quote: browsers write paths of Windows so, and %22 for a
 * quote.  Returns: 1 (found); 0 (not there); -1 (not well-formed). */
static int find_parameter(struct slice s, const char *name, struct slice *ret)
{
    const uint8_t *at = s.len ? memchr(s.ptr, ';', s.len) : NULL, *end = s.ptr + s.len;
    int found = 0;
    while (at && at < end) {
        const uint8_t *from = ++at;
        while (at < end && *at != '=' && *at != ';')
            at++;
        struct slice key = slice_trim(SLICE(from, (size_t)(at - from)));
        if (at == end || *at == ';') {
            if (key.len)
                return -1;
            continue;
        }
        for (at++; at < end && is_blank(*at);)
            at++;
        bool quoted = at < end && *at == '"';
        from = at += quoted;
        while (at < end && (quoted ? *at != '"' : *at != ';'))
            at += quoted && *at == '\\' && at + 1 < end && at[1] == '"' ? 2 : 1;
        if (quoted && at == end)
            return -1;
        struct slice value = SLICE(from, (size_t)(at - from));
        for (at += quoted; at < end && is_blank(*at);)
            at++;
        if (at < end && *at != ';')
            return -1;
        if (!slice_eq_nocase(key, slice_cstr(name)))
            continue;
        if (found)
            return -1;
        *ret = quoted ? value : slice_trim(value);
        found = 1;
    }
    return found;
}

/* RFC 2046: bchars, and no blank at the end. */
static bool boundary_valid(struct slice s)
{
    bool ok = s.len >= 1 && s.len <= S3_FORM_BOUNDARY_BYTES_MAX && s.ptr[s.len - 1] != ' ';
    for (size_t i = 0; ok && i < s.len; i++) {
        uint8_t c = s.ptr[i];
        ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
             (c != 0 && strchr("'()+_,-./:=? ", c));
    }
    return ok;
}

enum s3_code s3_form_init(struct s3_form *f, struct arena *arena, struct slice content_type,
                          struct s3_fault *fault)
{
    struct slice boundary, type = content_type;
    const uint8_t *semicolon = type.len ? memchr(type.ptr, ';', type.len) : NULL;
    f->arena = arena;
    if (semicolon)
        type.len = (size_t)(semicolon - type.ptr);
    if (!slice_eq_nocase(slice_trim(type), SLICE_LIT("multipart/form-data"))) {
        form_fail(f, S3_PRECONDITION_FAILED, NULL, fault);
        s3_fault_extra(fault, "Condition",
                       SLICE_LIT("Bucket POST must be of the enclosure-type multipart/form-data"));
        return S3_PRECONDITION_FAILED;
    }
    if (find_parameter(content_type, "boundary", &boundary) != 1 || !boundary_valid(boundary))
        return malformed(f, fault);
    memcpy(f->delimiter, "\r\n--", 4);
    memcpy(f->delimiter + 4, boundary.ptr, boundary.len);
    f->delimiter_len = 4 + boundary.len;
    f->matched = 2; /* the first delimiter may begin the body */
    return S3_OK;
}

void s3_form_fini(struct s3_form *f)
{
    buf_fini(&f->value);
    buf_fini(&f->head);
}

/* ---- parts ---- */

static struct slice base_name(struct slice path)
{
    size_t at = path.len;
    while (at && path.ptr[at - 1] != '/' && path.ptr[at - 1] != '\\')
        at--;
    return SLICE(path.ptr + at, path.len - at);
}

/* The value of Content-Disposition in a part's head.  false: not there once, or a line is no field:
 * it could be a delimiter that this reader went over and another one sees. */
static bool head_disposition(struct slice head, struct slice *ret)
{
    unsigned found = 0;
    while (head.len) {
        const uint8_t *end = memmem(head.ptr, head.len, "\r\n", 2);
        CHECK(end);
        struct slice line = SLICE(head.ptr, (size_t)(end - head.ptr));
        head = SLICE(end + 2, head.len - line.len - 2);
        if (line.len == 0 && head.len == 0)
            break;
        const uint8_t *colon = line.len ? memchr(line.ptr, ':', line.len) : NULL;
        if (!colon)
            return false;
        if (!slice_eq_nocase(SLICE(line.ptr, (size_t)(colon - line.ptr)),
                             SLICE_LIT("content-disposition")))
            continue;
        *ret = slice_trim(SLICE(colon + 1, line.len - (size_t)(colon + 1 - line.ptr)));
        found++;
    }
    return found == 1;
}

static enum s3_code begin_file(struct s3_form *f, struct slice disposition, struct s3_fault *fault)
{
    struct slice filename = SLICE_EMPTY;
    if (f->has_file)
        return form_fail(f, S3_INCORRECT_NUMBER_OF_FILES, NULL, fault);
    if (find_parameter(disposition, "filename", &filename) < 0)
        return malformed(f, fault);
    f->filename = arena_copy(f->arena, base_name(filename));
    if (!f->filename.ptr)
        return form_fail(f, S3_INTERNAL_ERROR, NULL, fault);
    f->has_file = true;
    f->state = S3_FORM_FILE;
    return S3_OK;
}

/* A part's head is here: what is it? */
static enum s3_code begin_part(struct s3_form *f, struct s3_fault *fault)
{
    struct slice disposition, name;
    if (!head_disposition(buf_view(&f->head), &disposition) ||
        !slice_has_prefix_nocase(disposition, SLICE_LIT("form-data")) ||
        find_parameter(disposition, "name", &name) != 1 || name.len == 0)
        return malformed(f, fault);
    if (slice_eq_nocase(name, SLICE_LIT("file")))
        return begin_file(f, disposition, fault);
    if (f->has_file) {
        f->state = S3_FORM_SKIP;
        return S3_OK;
    }
    if (f->field_count == S3_FORM_FIELDS_MAX)
        return form_fail(f, S3_MAX_POST_PRE_DATA_LENGTH, NULL, fault);
    f->name = arena_copy(f->arena, name);
    if (!f->name.ptr)
        return form_fail(f, S3_INTERNAL_ERROR, NULL, fault);
    f->state = S3_FORM_VALUE;
    return S3_OK;
}

/* Which of two a policy allowed and which is used must not be a matter of the reader. */
static enum s3_code end_value(struct s3_form *f, struct s3_fault *fault)
{
    for (size_t i = 0; i < f->field_count; i++)
        if (slice_eq_nocase(f->fields[i].name, f->name)) {
            form_fail(f, S3_INVALID_ARGUMENT, "A form field was sent more than once.", fault);
            s3_fault_extra(fault, "ArgumentName", f->name);
            return S3_INVALID_ARGUMENT;
        }
    struct slice value = arena_copy(f->arena, buf_view(&f->value));
    if (f->value.failed || !value.ptr)
        return form_fail(f, S3_INTERNAL_ERROR, NULL, fault);
    f->fields[f->field_count++] = (struct http_field){f->name, value};
    buf_clear(&f->value);
    return S3_OK;
}

/* Behind a delimiter: CRLF and another part, or "--" and the end; blanks may stand between. */
static enum s3_code take_delimited(struct s3_form *f, uint8_t c, struct s3_fault *fault)
{
    if (f->end_len == 0 && is_blank(c))
        return S3_OK;
    f->end[f->end_len++] = c;
    if (f->end_len == 1)
        return c == '\r' || c == '-' ? S3_OK : malformed(f, fault);
    if (f->end[0] == '-' && c == '-') {
        f->state = S3_FORM_DONE;
        return S3_OK;
    }
    if (f->end[0] != '\r' || c != '\n')
        return malformed(f, fault);
    buf_clear(&f->head);
    f->state = S3_FORM_HEAD;
    return S3_OK;
}

static enum s3_code take_head(struct s3_form *f, uint8_t c, struct s3_fault *fault)
{
    buf_u8(&f->head, c);
    if (f->head.failed)
        return form_fail(f, S3_INTERNAL_ERROR, NULL, fault);
    if (f->head.len > S3_FORM_PART_HEAD_BYTES_MAX)
        return malformed(f, fault);
    bool end =
        c == '\n' && f->head.len >= 4 && memcmp(f->head.ptr + f->head.len - 4, "\r\n\r\n", 4) == 0;
    return end ? begin_part(f, fault) : S3_OK;
}

/* ---- data up to a delimiter ---- */

/* How much of `in` is data for certain; *ret_matched: of the delimiter, at the end of it. */
static size_t data_before(const struct s3_form *f, struct slice in, size_t *ret_matched)
{
    size_t at = 0;
    while (at < in.len) {
        const uint8_t *cr = memchr(in.ptr + at, '\r', in.len - at);
        if (!cr)
            break;
        at = (size_t)(cr - in.ptr);
        size_t n = MIN(in.len - at, f->delimiter_len);
        if (memcmp(cr, f->delimiter, n) == 0) {
            *ret_matched = n;
            return at;
        }
        at++;
    }
    *ret_matched = 0;
    return in.len;
}

/* Takes from `in`; *ret_data: of it, or of what had been matched before and is no delimiter. */
static size_t take_data(struct s3_form *f, struct slice in, struct slice *ret_data)
{
    *ret_data = SLICE_EMPTY;
    if (f->matched == 0) {
        size_t n = data_before(f, in, &f->matched);
        *ret_data = SLICE(in.ptr, n);
        return n + f->matched;
    }
    size_t n = MIN(in.len, f->delimiter_len - f->matched), same = 0;
    while (same < n && in.ptr[same] == f->delimiter[f->matched + same])
        same++;
    f->matched += same;
    if (same == n)
        return n;
    /* No delimiter: what looked like one is data, and the byte that differs is looked at anew. */
    *ret_data = SLICE(f->delimiter, f->matched);
    f->matched = 0;
    return same;
}

static enum s3_code end_of_data(struct s3_form *f, struct s3_fault *fault)
{
    enum s3_code code = f->state == S3_FORM_VALUE ? end_value(f, fault) : S3_OK;
    f->matched = 0;
    f->end_len = 0;
    if (code == S3_OK)
        f->state = S3_FORM_DELIMITED;
    return code;
}

/* One step: some bytes of `in`. */
static enum s3_code form_step(struct s3_form *f, struct slice in, size_t *ret_used,
                              struct slice *ret_data, struct s3_fault *fault)
{
    struct slice data;
    *ret_used = 1;
    switch (f->state) {
    case S3_FORM_DELIMITED: return take_delimited(f, in.ptr[0], fault);
    case S3_FORM_HEAD: return take_head(f, in.ptr[0], fault);
    case S3_FORM_DONE: *ret_used = in.len; return S3_OK;
    case S3_FORM_FAILED: return s3_fault_set(fault, f->error, NULL);
    default: break;
    }
    *ret_used = take_data(f, in, &data);
    if (f->state == S3_FORM_VALUE) {
        buf_slice(&f->value, data);
        if (f->value.failed)
            return form_fail(f, S3_INTERNAL_ERROR, NULL, fault);
    }
    if (f->state == S3_FORM_FILE)
        *ret_data = data;
    return f->matched == f->delimiter_len ? end_of_data(f, fault) : S3_OK;
}

enum s3_code s3_form_push(struct s3_form *f, struct slice in, size_t *ret_used,
                          struct slice *ret_data, struct s3_fault *fault)
{
    bool had_file = f->has_file;
    *ret_used = 0;
    *ret_data = SLICE_EMPTY;
    while (*ret_used < in.len && ret_data->len == 0 && f->has_file == had_file) {
        size_t used;
        if (!f->has_file && f->before > S3_FORM_BYTES_MAX)
            return form_fail(f, S3_MAX_POST_PRE_DATA_LENGTH, NULL, fault);
        struct slice rest = SLICE(in.ptr + *ret_used, in.len - *ret_used);
        if (!f->has_file) /* so that no more than that is looked at or kept */
            rest.len = MIN(rest.len, S3_FORM_BYTES_MAX + 1 - f->before);
        enum s3_code code = form_step(f, rest, &used, ret_data, fault);
        *ret_used += used;
        if (!had_file)
            f->before += used;
        if (code != S3_OK)
            return code;
    }
    return S3_OK;
}

enum s3_code s3_form_finish(struct s3_form *f, struct s3_fault *fault)
{
    if (f->state == S3_FORM_FAILED)
        return s3_fault_set(fault, f->error, NULL);
    if (f->state != S3_FORM_DONE)
        return malformed(f, fault);
    return f->has_file ? S3_OK : form_fail(f, S3_INCORRECT_NUMBER_OF_FILES, NULL, fault);
}
