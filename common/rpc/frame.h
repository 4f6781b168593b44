#pragma once
/* The 40 bytes in front of every frame between nodes: docs/formats/frame.md.  Pure.
 *
 * The layout is the same for every protocol version, HELLO included, so that two nodes which have
 * no version in common can still tell each other so. */
#include "common/base/slice.h"
#include "common/env/net.h"

#define FRAME_MAGIC 0x43524e31u /* "CRN1" */

/* On the wire only, beside the kinds of net.h: payload_crc is there and counts.  Set for payloads
 * up to FRAME_PAYLOAD_CRC_BYTES_MAX; larger ones carry block checksums of their own, which are
 * verified where they are used, and are protected in transit by TLS. */
#define FRAME_PAYLOAD_CRC 0x20u
#define FRAME_KIND_MASK 0x1fu
#define FRAME_PAYLOAD_CRC_BYTES_MAX (64u << 10)
#define FRAME_HELLO_BYTES_MAX 256u

struct frame_header {
    uint8_t version;
    uint8_t flags; /* one of FRAME_REQUEST ... FRAME_HELLO, perhaps with FRAME_PAYLOAD_CRC */
    uint16_t kind;
    uint64_t request_id;
    uint32_t timeout_ms; /* requests and casts; shares its place with status */
    int32_t status;      /* responses */
    uint32_t msg_bytes;
    uint32_t payload_bytes;
    uint32_t msg_crc;
    uint32_t payload_crc; /* 0 without FRAME_PAYLOAD_CRC */
};

void frame_encode_header(const struct frame_header *h, uint8_t ret[FRAME_HEADER_BYTES]);
/* Checks everything that can be checked without the body, limits included.
 * Returns: OK; ERR_PROTO (magic, flags, fields that do not go together); ERR_CHECKSUM;
 * ERR_TOO_LARGE.  On error *ret is untouched. */
int frame_decode_header(struct slice bytes, struct frame_header *ret);
/* The body against its checksums: OK or ERR_CHECKSUM. */
int frame_check_body(const struct frame_header *h, struct slice msg, struct slice payload);

/* HELLO's message: the versions that a node speaks; bytes behind them are for later and ignored. */
struct frame_hello {
    uint16_t version_min, version_max;
};
#define FRAME_HELLO_BYTES 4
void frame_encode_hello(const struct frame_hello *h, uint8_t ret[FRAME_HELLO_BYTES]);
/* OK; ERR_PROTO. */
int frame_decode_hello(struct slice bytes, struct frame_hello *ret);
/* The version to speak: OK; ERR_VERSION when there is none in common. */
int frame_common_version(struct frame_hello a, struct frame_hello b, uint8_t *ret);
