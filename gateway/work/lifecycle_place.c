/* The cursor of a round: what it is, and as bytes. */
#include "gateway/work/lifecycle_internal.h"

#include "common/base/cursor.h"

enum { PLACE_FORMAT = 1 };

void lifecycle_place_write(const struct lifecycle_place *p, struct buf *ret)
{
    buf_clear(ret);
    buf_u8(ret, PLACE_FORMAT);
    buf_u8(ret, (uint8_t)p->phase);
    buf_u8(ret, p->past);
    buf_be64(ret, p->version);
    buf_be64(ret, p->newer_ms);
    buf_be64(ret, p->newer_noncurrent);
    buf_be16(ret, (uint16_t)p->key.len);
    buf_slice(ret, buf_view(&p->key));
    buf_be16(ret, (uint16_t)p->upload_id.len);
    buf_slice(ret, buf_view(&p->upload_id));
}

void lifecycle_place_clear(struct lifecycle_place *p)
{
    p->past = false;
    p->version = p->newer_ms = p->newer_noncurrent = 0;
    buf_clear(&p->key);
    buf_clear(&p->upload_id);
}

bool lifecycle_place_read(struct lifecycle_place *p, struct slice s)
{
    struct cursor c = cursor_of(s);
    p->phase = LIFECYCLE_VERSIONS;
    lifecycle_place_clear(p);
    uint8_t format = cursor_u8(&c), phase = cursor_u8(&c);
    bool past = cursor_u8(&c) != 0;
    uint64_t version = cursor_be64(&c), newer_ms = cursor_be64(&c), newer = cursor_be64(&c);
    struct slice key = cursor_bytes(&c, cursor_be16(&c));
    struct slice upload_id = cursor_bytes(&c, cursor_be16(&c));
    if (c.failed || format != PLACE_FORMAT || phase >= LIFECYCLE_PHASES || cursor_left(&c))
        return false;
    p->phase = (enum lifecycle_phase)phase;
    p->past = past;
    p->version = version;
    p->newer_ms = newer_ms;
    p->newer_noncurrent = newer;
    buf_slice(&p->key, key);
    buf_slice(&p->upload_id, upload_id);
    return true;
}

void lifecycle_place_fini(struct lifecycle_place *p)
{
    buf_fini(&p->key);
    buf_fini(&p->upload_id);
}

bool lifecycle_place_prefix(const struct lifecycle_place *p, const struct slice *prefixes,
                            size_t count, struct slice *ret)
{
    struct slice key = buf_view(&p->key);
    for (size_t i = 0; i < count; i++) {
        bool begins = key.len == 0 && !p->past; /* nothing has been looked at */
        bool within = !p->past && slice_has_prefix(key, prefixes[i]);
        bool behind =
            slice_cmp(prefixes[i], key) > 0 && !(p->past && slice_has_prefix(prefixes[i], key));
        if (begins || within || behind) {
            *ret = prefixes[i];
            return true;
        }
    }
    return false;
}
