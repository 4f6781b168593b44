/* The cursor and the state of an inventory, as bytes. */
#include "gateway/work/inventory_place.h"

#include "common/base/cursor.h"

#include <stdio.h>

enum { PLACE_FORMAT = 1 };

static void place_clear(struct inventory_place *p, uint64_t config_hash)
{
    p->config_hash = config_hash;
    p->walked = false;
    p->version = 0;
    p->file_count = 0;
    buf_clear(&p->key);
}

void inventory_place_write(const struct inventory_place *p, struct buf *ret)
{
    buf_clear(ret);
    buf_u8(ret, PLACE_FORMAT);
    buf_be64(ret, p->config_hash);
    buf_u8(ret, p->walked);
    buf_be64(ret, p->version);
    buf_be16(ret, (uint16_t)p->key.len);
    buf_slice(ret, buf_view(&p->key));
    buf_be16(ret, (uint16_t)p->file_count);
    for (size_t i = 0; i < p->file_count; i++) {
        buf_slice(ret, id128_slice(&p->files[i].name));
        buf_be64(ret, p->files[i].bytes);
        buf_append(ret, p->files[i].md5, MD5_BYTES);
    }
}

static bool file_read(struct cursor *c, struct inventory_file *ret)
{
    struct slice name = cursor_bytes(c, ID_BYTES);
    ret->bytes = cursor_be64(c);
    struct slice md5 = cursor_bytes(c, MD5_BYTES);
    if (c->failed || !id128_from_slice(name, &ret->name))
        return false;
    memcpy(ret->md5, md5.ptr, MD5_BYTES);
    return true;
}

bool inventory_place_read(struct inventory_place *p, struct slice s, uint64_t config_hash)
{
    struct cursor c = cursor_of(s);
    place_clear(p, config_hash);
    uint8_t format = cursor_u8(&c);
    uint64_t hash = cursor_be64(&c);
    bool walked = cursor_u8(&c) != 0;
    uint64_t version = cursor_be64(&c);
    struct slice key = cursor_bytes(&c, cursor_be16(&c));
    size_t count = cursor_be16(&c);
    bool ok =
        !c.failed && format == PLACE_FORMAT && hash == config_hash && count <= INVENTORY_FILES_MAX;
    for (size_t i = 0; ok && i < count; i++)
        ok = file_read(&c, &p->files[i]);
    if (!ok || cursor_left(&c))
        return false;
    p->walked = walked;
    p->version = version;
    p->file_count = count;
    buf_slice(&p->key, key);
    return true;
}

void inventory_place_fini(struct inventory_place *p)
{
    buf_fini(&p->key);
}

void inventory_made_write(uint64_t config_hash, uint64_t began_ms, struct buf *ret)
{
    buf_clear(ret);
    buf_u8(ret, PLACE_FORMAT);
    buf_be64(ret, config_hash);
    buf_be64(ret, began_ms);
}

/* Rounds are begun once a day, now a little sooner, now a little later. */
bool inventory_is_due(struct slice state, uint64_t config_hash, bool weekly, uint64_t day_ms,
                      uint64_t now_ms)
{
    struct cursor c = cursor_of(state);
    uint8_t format = cursor_u8(&c);
    uint64_t hash = cursor_be64(&c), began_ms = cursor_be64(&c);
    if (c.failed || format != PLACE_FORMAT || hash != config_hash)
        return true;
    if (began_ms > now_ms + day_ms) /* by a clock that was wrong */
        return true;
    return now_ms >= began_ms + (weekly ? 7 : 1) * day_ms - day_ms / 2;
}

void inventory_file_name(const struct id128 *id, char ret[INVENTORY_NAME_CHARS + 1])
{
    char hex[ID_HEX_CHARS + 1];
    id128_hex(*id, hex);
    snprintf(ret, INVENTORY_NAME_CHARS + 1, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
             hex + 16, hex + 20);
}
