/*  HEADER → DATA → DATA_CR → DATA_LF → HEADER ...
 *  HEADER (size 0) → TRAILER → DONE         any → FAILED
 *
 * Lines (chunk headers, trailing fields) are short and copied; data are passed through.  Without a
 * trailer the line after the last chunk is the empty one that ends TRAILER at once. */
#include "gateway/s3/chunked.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/crypto/codec.h"

enum { HEADER, DATA, DATA_CR, DATA_LF, TRAILER, DONE, FAILED };

#define SIGNATURE_EXTENSION "chunk-signature="
#define TRAILER_SIGNATURE "x-amz-trailer-signature"

static bool is_signed(const struct aws_chunked *c)
{
    return c->config.mode != S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER;
}

static bool has_trailer(const struct aws_chunked *c)
{
    return c->config.mode != S3_PAYLOAD_STREAMING_SIGNED;
}

static enum s3_code failed(struct aws_chunked *c, struct s3_fault *fault, enum s3_code code,
                           const char *message)
{
    c->state = FAILED;
    c->error = code;
    return s3_fault_set(fault, code, message);
}

int aws_chunked_init(struct aws_chunked *c, const struct aws_chunked_config *config)
{
    CHECK(s3_payload_is_chunked(config->mode));
    *c = (struct aws_chunked){.config = *config, .state = HEADER};
    if (!is_signed(c))
        return OK;
    CHECK(config->auth && !config->auth->anonymous);
    memcpy(c->previous, config->auth->signature, SHA256_BYTES);
    return digest_init(&c->hash, DIGEST_SHA256);
}

void aws_chunked_fini(struct aws_chunked *c)
{
    digest_fini(&c->hash);
    crypto_wipe(c->config.signing_key, sizeof(c->config.signing_key));
}

/* ---- signatures ---- */

/* Holds the chain's next signature against the one claimed: what is signed names the one before, so
 * chunks can be neither reordered nor left out. */
static enum s3_code check_signature(struct aws_chunked *c, const char *kind, bool with_empty_hash,
                                    const uint8_t hash[SHA256_BYTES],
                                    const uint8_t claimed[SHA256_BYTES], struct s3_fault *fault)
{
    static const char empty_hash[] =
        "\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    char hex[HEX_CHARS(SHA256_BYTES)];
    uint8_t mac[SHA256_BYTES];
    struct buf b = {0};
    buf_cstr(&b, kind);
    buf_u8(&b, '\n');
    buf_slice(&b, c->config.auth->timestamp);
    buf_u8(&b, '\n');
    buf_slice(&b, c->config.auth->scope);
    buf_u8(&b, '\n');
    hex_encode(SLICE(c->previous, SHA256_BYTES), hex);
    buf_append(&b, hex, sizeof(hex));
    if (with_empty_hash)
        buf_cstr(&b, empty_hash);
    buf_u8(&b, '\n');
    hex_encode(SLICE(hash, SHA256_BYTES), hex);
    buf_append(&b, hex, sizeof(hex));
    bool no_memory = b.failed;
    hmac_sha256(SLICE(c->config.signing_key, SHA256_BYTES), buf_view(&b), mac);
    buf_fini(&b);
    if (no_memory)
        return failed(c, fault, S3_INTERNAL_ERROR, NULL);
    if (!crypto_equal(mac, claimed, SHA256_BYTES))
        return failed(c, fault, S3_SIGNATURE_DOES_NOT_MATCH, NULL);
    memcpy(c->previous, mac, SHA256_BYTES);
    return S3_OK;
}

static enum s3_code end_chunk(struct aws_chunked *c, struct s3_fault *fault)
{
    uint8_t hash[SHA256_BYTES];
    if (!is_signed(c))
        return S3_OK;
    digest_final(&c->hash, hash);
    enum s3_code code =
        check_signature(c, "AWS4-HMAC-SHA256-PAYLOAD", true, hash, c->claimed, fault);
    if (code == S3_OK && digest_init(&c->hash, DIGEST_SHA256) != OK)
        code = failed(c, fault, S3_INTERNAL_ERROR, NULL);
    return code;
}

/* ---- chunk headers ---- */

static bool parse_size(struct slice text, uint64_t *ret)
{
    uint64_t v = 0;
    if (text.len == 0 || text.len > 16)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t d = ascii_lower(text.ptr[i]);
        if (d >= '0' && d <= '9')
            v = v << 4 | (uint64_t)(d - '0');
        else if (d >= 'a' && d <= 'f')
            v = v << 4 | (uint64_t)(d - 'a' + 10);
        else
            return false;
    }
    *ret = v;
    return true;
}

static enum s3_code check_size(struct aws_chunked *c, uint64_t size, struct s3_fault *fault)
{
    if (size > AWS_CHUNK_BYTES_MAX)
        return failed(c, fault, S3_INVALID_REQUEST, "A chunk of the body is too large.");
    if (size > 0 && c->short_chunk_seen)
        return failed(c, fault, S3_INVALID_CHUNK_SIZE, NULL);
    if (size > 0 && size < AWS_CHUNK_BYTES_MIN)
        c->short_chunk_seen = true;
    if (size > c->config.decoded_length - c->decoded)
        return failed(c, fault, S3_INCOMPLETE_BODY,
                      "The body has more bytes than x-amz-decoded-content-length says.");
    if (size == 0 && c->decoded != c->config.decoded_length)
        return failed(c, fault, S3_INCOMPLETE_BODY,
                      "The body has fewer bytes than x-amz-decoded-content-length says.");
    return S3_OK;
}

static enum s3_code take_header(struct aws_chunked *c, struct slice line, struct s3_fault *fault)
{
    const uint8_t *semicolon = line.len ? memchr(line.ptr, ';', line.len) : NULL;
    struct slice size_text = SLICE(line.ptr, semicolon ? (size_t)(semicolon - line.ptr) : line.len);
    struct slice extension =
        semicolon ? SLICE(semicolon + 1, line.len - size_text.len - 1) : SLICE_EMPTY;
    uint64_t size = 0;
    if (!parse_size(size_text, &size))
        return failed(c, fault, S3_INVALID_REQUEST, "A chunk of the body has no valid size.");
    if (is_signed(c)) {
        struct slice prefix = SLICE_LIT(SIGNATURE_EXTENSION);
        if (!slice_has_prefix(extension, prefix) ||
            !hex_decode(SLICE(extension.ptr + prefix.len, extension.len - prefix.len), c->claimed,
                        SHA256_BYTES))
            return failed(c, fault, S3_INVALID_REQUEST,
                          "A chunk of the body has no valid chunk-signature.");
    }
    enum s3_code code = check_size(c, size, fault);
    if (code != S3_OK)
        return code;
    c->chunk_left = size;
    c->state = DATA;
    if (size == 0) {
        code = end_chunk(c, fault);
        if (code == S3_OK)
            c->state = TRAILER;
    }
    return code;
}

/* ---- trailing fields ---- */

static bool announced(const struct aws_chunked *c, struct slice name)
{
    struct slice list = c->config.trailer_names;
    for (size_t at = 0; at < list.len;) {
        const uint8_t *comma = memchr(list.ptr + at, ',', list.len - at);
        size_t len = comma ? (size_t)(comma - (list.ptr + at)) : list.len - at;
        struct slice item = SLICE(list.ptr + at, len);
        while (item.len && (item.ptr[0] == ' ' || item.ptr[0] == '\t')) {
            item.ptr++;
            item.len--;
        }
        while (item.len && (item.ptr[item.len - 1] == ' ' || item.ptr[item.len - 1] == '\t'))
            item.len--;
        if (slice_eq_nocase(item, name))
            return true;
        at += len + 1;
    }
    return false;
}

/* Signed is "name:value\n" of each field, in the order they came. */
static enum s3_code take_trailer_signature(struct aws_chunked *c, struct slice value,
                                           struct s3_fault *fault)
{
    uint8_t hash[SHA256_BYTES], claimed[SHA256_BYTES];
    if (!hex_decode(value, claimed, SHA256_BYTES))
        return failed(c, fault, S3_MALFORMED_TRAILER, NULL);
    for (size_t i = 0; i < c->field_count; i++) {
        for (size_t k = 0; k < c->fields[i].name.len; k++) {
            uint8_t lower = ascii_lower(c->fields[i].name.ptr[k]);
            digest_update(&c->hash, SLICE(&lower, 1));
        }
        digest_update(&c->hash, SLICE_LIT(":"));
        digest_update(&c->hash, c->fields[i].value);
        digest_update(&c->hash, SLICE_LIT("\n"));
    }
    digest_final(&c->hash, hash);
    c->trailer_signed = true;
    return check_signature(c, "AWS4-HMAC-SHA256-TRAILER", false, hash, claimed, fault);
}

/* The empty line: is everything here that had to come? */
static enum s3_code end_trailer(struct aws_chunked *c, struct s3_fault *fault)
{
    if (c->config.mode == S3_PAYLOAD_STREAMING_SIGNED_TRAILER && !c->trailer_signed)
        return failed(c, fault, S3_MALFORMED_TRAILER, NULL);
    c->state = DONE;
    return S3_OK;
}

static enum s3_code take_trailer(struct aws_chunked *c, struct slice line, struct s3_fault *fault)
{
    if (line.len == 0)
        return end_trailer(c, fault);
    const uint8_t *colon = memchr(line.ptr, ':', line.len);
    if (!has_trailer(c) || !colon || colon == line.ptr || c->trailer_signed)
        return failed(c, fault, S3_MALFORMED_TRAILER, NULL);
    struct slice name = SLICE(line.ptr, (size_t)(colon - line.ptr));
    struct slice value = SLICE(colon + 1, line.len - name.len - 1);
    while (value.len && (value.ptr[0] == ' ' || value.ptr[0] == '\t')) {
        value.ptr++;
        value.len--;
    }
    while (value.len && (value.ptr[value.len - 1] == ' ' || value.ptr[value.len - 1] == '\t'))
        value.len--;
    if (slice_eq_nocase(name, SLICE_LIT(TRAILER_SIGNATURE)))
        return c->config.mode == S3_PAYLOAD_STREAMING_SIGNED_TRAILER
                   ? take_trailer_signature(c, value, fault)
                   : failed(c, fault, S3_MALFORMED_TRAILER, NULL);
    if (!announced(c, name) || c->field_count == AWS_TRAILER_FIELDS_MAX ||
        name.len + value.len > AWS_TRAILER_BYTES_MAX - c->trailer_len)
        return failed(c, fault, S3_MALFORMED_TRAILER, NULL);
    struct http_field *f = &c->fields[c->field_count++];
    char *at = c->trailer + c->trailer_len;
    memcpy(at, name.ptr, name.len);
    if (value.len)
        memcpy(at + name.len, value.ptr, value.len);
    f->name = SLICE(at, name.len);
    f->value = SLICE(at + name.len, value.len);
    c->trailer_len += name.len + value.len;
    return S3_OK;
}

/* ---- the input ---- */

/* Collects a line; at its end hands it on, without CR LF. */
static enum s3_code push_line(struct aws_chunked *c, struct slice in, size_t *ret_used,
                              struct s3_fault *fault)
{
    const uint8_t *newline = memchr(in.ptr, '\n', in.len);
    size_t n = newline ? (size_t)(newline - in.ptr) + 1 : in.len;
    *ret_used = n;
    if (n > sizeof(c->line) - c->line_len) {
        bool header = c->state == HEADER;
        return failed(c, fault, header ? S3_INVALID_REQUEST : S3_MALFORMED_TRAILER,
                      header ? "The header of a chunk of the body is too long." : NULL);
    }
    memcpy(c->line + c->line_len, in.ptr, n);
    c->line_len += n;
    if (!newline)
        return S3_OK;
    struct slice line = SLICE(c->line, c->line_len);
    c->line_len = 0;
    if (line.len < 2 || line.ptr[line.len - 2] != '\r')
        return failed(c, fault, c->state == HEADER ? S3_INVALID_REQUEST : S3_MALFORMED_TRAILER,
                      NULL);
    line.len -= 2;
    return c->state == HEADER ? take_header(c, line, fault) : take_trailer(c, line, fault);
}

static enum s3_code push_data(struct aws_chunked *c, struct slice in, size_t *ret_used,
                              struct slice *ret_data, struct s3_fault *fault)
{
    size_t n = c->chunk_left < in.len ? (size_t)c->chunk_left : in.len;
    *ret_used = n;
    *ret_data = SLICE(in.ptr, n);
    if (is_signed(c))
        digest_update(&c->hash, *ret_data);
    c->chunk_left -= n;
    c->decoded += n;
    if (c->chunk_left > 0)
        return S3_OK;
    c->state = DATA_CR;
    enum s3_code code = end_chunk(c, fault);
    if (code != S3_OK)
        *ret_data = SLICE_EMPTY;
    return code;
}

enum s3_code aws_chunked_push(struct aws_chunked *c, struct slice in, size_t *ret_used,
                              struct slice *ret_data, struct s3_fault *fault)
{
    *ret_used = 0;
    *ret_data = SLICE_EMPTY;
    if (in.len == 0)
        return c->state == FAILED ? s3_fault_set(fault, c->error, NULL) : S3_OK;
    switch (c->state) {
    case HEADER:
    case TRAILER: return push_line(c, in, ret_used, fault);
    case DATA: return push_data(c, in, ret_used, ret_data, fault);
    case DATA_CR:
    case DATA_LF:
        *ret_used = 1;
        if (in.ptr[0] != (c->state == DATA_CR ? '\r' : '\n'))
            return failed(c, fault, S3_INVALID_REQUEST, "A chunk of the body has no end.");
        c->state = c->state == DATA_CR ? DATA_LF : HEADER;
        return S3_OK;
    case DONE:
        return failed(c, fault, S3_INVALID_REQUEST, "The body goes on behind its last chunk.");
    default: return s3_fault_set(fault, c->error, NULL);
    }
}

enum s3_code aws_chunked_finish(struct aws_chunked *c, struct s3_fault *fault)
{
    if (c->state == FAILED)
        return s3_fault_set(fault, c->error, NULL);
    if (c->state != DONE)
        return failed(c, fault, S3_INCOMPLETE_BODY, NULL);
    return S3_OK;
}

struct http_fields aws_chunked_trailers(const struct aws_chunked *c)
{
    return (struct http_fields){.ptr = c->fields, .count = c->field_count};
}

enum s3_code aws_chunked_decoded_length(const struct s3_request *r, uint64_t *ret,
                                        struct s3_fault *fault)
{
    const struct http_field *f = http_fields_find(r->fields, "x-amz-decoded-content-length");
    if (!f)
        return s3_fault_set(fault, S3_MISSING_CONTENT_LENGTH, NULL);
    if (http_fields_count(r->fields, "x-amz-decoded-content-length") > 1 ||
        !parse_u64(f->value, ret) || *ret > S3_OBJECT_BYTES_MAX)
        return s3_fault_argument(fault, NULL, "x-amz-decoded-content-length", f->value);
    return S3_OK;
}
