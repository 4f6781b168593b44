/* Frame headers and HELLOs from any bytes.  What decodes must encode to the same bytes, stay within
 * the limits, and agree on a version only inside both ranges. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/rpc/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_header(const uint8_t *data, size_t size)
{
    struct frame_header h;
    uint8_t again[FRAME_HEADER_BYTES];
    if (frame_decode_header(SLICE(data, size), &h) != OK)
        return;
    CHECK(size >= FRAME_HEADER_BYTES);
    CHECK(h.msg_bytes <= FRAME_MSG_BYTES_MAX && h.payload_bytes <= FRAME_PAYLOAD_BYTES_MAX);
    frame_encode_header(&h, again);
    CHECK(memcmp(again, data, FRAME_HEADER_BYTES) == 0);
    if (size - FRAME_HEADER_BYTES >= (size_t)h.msg_bytes + h.payload_bytes)
        (void)frame_check_body(&h, SLICE(data + FRAME_HEADER_BYTES, h.msg_bytes),
                               SLICE(data + FRAME_HEADER_BYTES + h.msg_bytes, h.payload_bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_header h = {0};
    struct frame_hello own = {2, 5}, hello;
    uint8_t version, bytes[FRAME_HEADER_BYTES];
    check_header(data, size);
    /* The same with a checksum that holds, so that the fields behind it are reached as well. */
    if (size >= FRAME_HEADER_BYTES) {
        h.version = data[4];
        h.flags = data[5];
        memcpy(&h.kind, data + 6, sizeof(h.kind));
        memcpy(&h.request_id, data + 8, sizeof(h.request_id));
        memcpy(&h.timeout_ms, data + 16, sizeof(h.timeout_ms));
        h.status = (int32_t)h.timeout_ms;
        memcpy(&h.msg_bytes, data + 20, sizeof(h.msg_bytes));
        memcpy(&h.payload_bytes, data + 24, sizeof(h.payload_bytes));
        memcpy(&h.msg_crc, data + 28, sizeof(h.msg_crc));
        memcpy(&h.payload_crc, data + 32, sizeof(h.payload_crc));
        frame_encode_header(&h, bytes);
        check_header(bytes, sizeof(bytes));
    }
    if (frame_decode_hello(SLICE(data, size), &hello) == OK &&
        frame_common_version(own, hello, &version) == OK)
        CHECK(version >= 2 && version <= 5 && version >= hello.version_min &&
              version <= hello.version_max);
    return 0;
}
