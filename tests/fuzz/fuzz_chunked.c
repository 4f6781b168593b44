/* aws-chunked bodies from any bytes.  Input: a byte for mode and split, be16 decoded length, the
 * body. The outcome must not depend on the split, nor ever be more data than was announced. */
#include "common/base/check.h"
#include "common/base/cursor.h"
#include "common/base/err.h"
#include "gateway/s3/checksum.h"
#include "gateway/s3/chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum s3_code code;
    uint64_t bytes, sum;
    size_t fields;
};

static void decode(struct outcome *o, enum s3_payload_mode mode, uint64_t length, struct slice body,
                   size_t step)
{
    static const struct sigv4_auth auth = {.timestamp = {(const uint8_t *)"20130524T000000Z", 16},
                                           .scope = {(const uint8_t *)"s", 1}};
    struct aws_chunked c;
    struct s3_fault f = {0};
    struct aws_chunked_config config = {.mode = mode, .decoded_length = length, .auth = &auth};
    config.trailer_names = SLICE_LIT("x-amz-checksum-crc32, x-amz-checksum-sha256");
    CHECK(aws_chunked_init(&c, &config) == OK);
    o->code = S3_OK;
    while (body.len && o->code == S3_OK) {
        size_t used = 0;
        struct slice out;
        struct slice in = SLICE(body.ptr, MIN(step, body.len));
        o->code = aws_chunked_push(&c, in, &used, &out, &f);
        CHECK(used <= in.len && (used > 0 || o->code != S3_OK));
        CHECK(out.len == 0 || (out.ptr >= in.ptr && out.ptr + out.len <= in.ptr + in.len));
        for (size_t i = 0; i < out.len; i++)
            o->sum = o->sum * 31 + out.ptr[i] + 1;
        o->bytes += out.len;
        body = SLICE(body.ptr + used, body.len - used);
    }
    enum s3_code end = aws_chunked_finish(&c, &f);
    CHECK(o->code == S3_OK || end == o->code);
    CHECK(o->bytes <= length && (end != S3_OK || o->bytes == length));
    o->code = end;
    struct http_fields fields = aws_chunked_trailers(&c);
    o->fields = fields.count;
    struct s3_checksum_claim claim = {.algorithm = S3_CHECKSUM_CRC32, .in_trailer = true};
    if (end == S3_OK)
        (void)s3_checksum_claim_trailer(&claim, fields, &f);
    aws_chunked_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_of(SLICE(data, size));
    uint8_t choice = cursor_u8(&c);
    uint64_t length = cursor_be16(&c);
    if (c.failed)
        return 0;
    static const size_t steps[] = {1, 2, 3, 5, 8, 64, 1000, 5000};
    enum s3_payload_mode mode = (enum s3_payload_mode)(S3_PAYLOAD_STREAMING_SIGNED + choice % 3);
    struct slice body = SLICE(c.ptr, cursor_left(&c));
    struct outcome whole = {0}, parts = {0};
    decode(&whole, mode, length, body, body.len ? body.len : 1);
    decode(&parts, mode, length, body, steps[choice >> 5]);
    CHECK(whole.code == parts.code && whole.fields == parts.fields);
    CHECK(whole.code != S3_OK || (whole.bytes == parts.bytes && whole.sum == parts.sum));
    return 0;
}
