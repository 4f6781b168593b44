/* Frame headers: encoding, decoding, checks.  Layout: docs/formats/frame.md. */
#include "common/rpc/frame.h"

#include "common/base/check.h"
#include "common/base/cursor.h"
#include "common/base/err.h"
#include "common/base/hash.h"

#include <assert.h>

/* Offsets of the header's fields; big-endian. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_FLAGS = 5,
    AT_KIND = 6,
    AT_REQUEST_ID = 8,
    AT_TIMEOUT_OR_STATUS = 16,
    AT_MSG_BYTES = 20,
    AT_PAYLOAD_BYTES = 24,
    AT_MSG_CRC = 28,
    AT_PAYLOAD_CRC = 32,
    AT_HEADER_CRC = 36,
    AT_END = 40,
};
static_assert(AT_END == FRAME_HEADER_BYTES, "the header's size is part of the format");
static_assert(AT_REQUEST_ID % 8 == 0 && AT_HEADER_CRC + 4 == AT_END, "the header's layout");
static_assert(FRAME_HELLO == 0x10 && FRAME_PAYLOAD_CRC == 0x20, "flag bits are part of the format");
static_assert(FRAME_KIND_MASK ==
                  (FRAME_REQUEST | FRAME_RESPONSE | FRAME_CAST | FRAME_CANCEL | FRAME_HELLO),
              "one bit a kind");

static void put_be32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

void frame_encode_header(const struct frame_header *h, uint8_t ret[FRAME_HEADER_BYTES])
{
    put_be32(ret + AT_MAGIC, FRAME_MAGIC);
    ret[AT_VERSION] = h->version;
    ret[AT_FLAGS] = h->flags;
    ret[AT_KIND] = (uint8_t)(h->kind >> 8);
    ret[AT_KIND + 1] = (uint8_t)h->kind;
    put_be32(ret + AT_REQUEST_ID, (uint32_t)(h->request_id >> 32));
    put_be32(ret + AT_REQUEST_ID + 4, (uint32_t)h->request_id);
    put_be32(ret + AT_TIMEOUT_OR_STATUS,
             h->flags & FRAME_RESPONSE ? (uint32_t)h->status : h->timeout_ms);
    put_be32(ret + AT_MSG_BYTES, h->msg_bytes);
    put_be32(ret + AT_PAYLOAD_BYTES, h->payload_bytes);
    put_be32(ret + AT_MSG_CRC, h->msg_crc);
    put_be32(ret + AT_PAYLOAD_CRC, h->payload_crc);
    put_be32(ret + AT_HEADER_CRC, crc32c(0, SLICE(ret, AT_HEADER_CRC)));
}

/* What the kinds of frames allow, as far as the header shows it. */
static int check_fields(const struct frame_header *h)
{
    if (h->msg_bytes > FRAME_MSG_BYTES_MAX || h->payload_bytes > FRAME_PAYLOAD_BYTES_MAX)
        return ERR_TOO_LARGE;
    if (!(h->flags & FRAME_PAYLOAD_CRC) && h->payload_crc != 0)
        return ERR_PROTO;
    switch (h->flags & ~FRAME_PAYLOAD_CRC) {
    case FRAME_REQUEST: return h->request_id != 0 && h->timeout_ms != 0 ? OK : ERR_PROTO;
    case FRAME_RESPONSE: return h->request_id != 0 && h->status <= 0 ? OK : ERR_PROTO;
    case FRAME_CAST: return OK;
    case FRAME_CANCEL:
        return h->request_id != 0 && h->msg_bytes == 0 && h->payload_bytes == 0 ? OK : ERR_PROTO;
    case FRAME_HELLO:
        return h->msg_bytes <= FRAME_HELLO_BYTES_MAX && h->payload_bytes == 0 ? OK : ERR_PROTO;
    default: return ERR_PROTO;
    }
}

int frame_decode_header(struct slice bytes, struct frame_header *ret)
{
    struct cursor c = cursor_of(bytes);
    struct frame_header h = {0};
    uint32_t magic = cursor_be32(&c);
    h.version = cursor_u8(&c);
    h.flags = cursor_u8(&c);
    h.kind = cursor_be16(&c);
    h.request_id = cursor_be64(&c);
    uint32_t timeout_or_status = cursor_be32(&c);
    h.msg_bytes = cursor_be32(&c);
    h.payload_bytes = cursor_be32(&c);
    h.msg_crc = cursor_be32(&c);
    h.payload_crc = cursor_be32(&c);
    uint32_t crc = cursor_be32(&c);
    if (c.failed || magic != FRAME_MAGIC)
        return ERR_PROTO;
    if (crc != crc32c(0, SLICE(bytes.ptr, AT_HEADER_CRC)))
        return ERR_CHECKSUM;
    if (h.flags & FRAME_RESPONSE)
        h.status = (int32_t)timeout_or_status;
    else
        h.timeout_ms = timeout_or_status;
    int err = check_fields(&h);
    if (err != OK)
        return err;
    *ret = h;
    return OK;
}

int frame_check_body(const struct frame_header *h, struct slice msg, struct slice payload)
{
    CHECK(msg.len == h->msg_bytes && payload.len == h->payload_bytes);
    if (crc32c(0, msg) != h->msg_crc)
        return ERR_CHECKSUM;
    if ((h->flags & FRAME_PAYLOAD_CRC) && crc32c(0, payload) != h->payload_crc)
        return ERR_CHECKSUM;
    return OK;
}

void frame_encode_hello(const struct frame_hello *h, uint8_t ret[FRAME_HELLO_BYTES])
{
    ret[0] = (uint8_t)(h->version_min >> 8);
    ret[1] = (uint8_t)h->version_min;
    ret[2] = (uint8_t)(h->version_max >> 8);
    ret[3] = (uint8_t)h->version_max;
}

int frame_decode_hello(struct slice bytes, struct frame_hello *ret)
{
    struct cursor c = cursor_of(bytes);
    struct frame_hello h = {.version_min = cursor_be16(&c)};
    h.version_max = cursor_be16(&c);
    if (c.failed || h.version_min == 0 || h.version_min > h.version_max)
        return ERR_PROTO;
    *ret = h;
    return OK;
}

int frame_common_version(struct frame_hello a, struct frame_hello b, uint8_t *ret)
{
    uint16_t low = MAX(a.version_min, b.version_min);
    uint16_t high = MIN(a.version_max, b.version_max);
    if (low > high || high > UINT8_MAX)
        return ERR_VERSION;
    *ret = (uint8_t)high;
    return OK;
}
