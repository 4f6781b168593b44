/* Requests to the admin port from any bytes: refused with a status, or parts that lie in the text. */
#include "common/base/check.h"
#include "common/proc/proc_admin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool within(struct slice part, struct slice text)
{
    return part.len == 0 || (part.ptr >= text.ptr && part.ptr + part.len <= text.ptr + text.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct admin_request req;
    struct slice text = SLICE(data, MIN(size, (size_t)ADMIN_REQUEST_BYTES_MAX));
    unsigned status = admin_parse(text, &req);
    CHECK(status == 200 || (status >= 400 && status < 600));
    if (status == 200) {
        CHECK(within(req.path, text) && within(req.query, text));
        CHECK(req.path.len > 0 && req.path.ptr[0] == '/');
    }
    return 0;
}
