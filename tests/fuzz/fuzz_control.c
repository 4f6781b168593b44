/* Control headers and control entries from any bytes: be16(length) ‖ header, then be16(length) ‖ entry.
 * A header that restores is written again as one that restores to the same; entries never break the
 * table of attached witnesses, whether they are committed or cut off again. */
#include "common/base/check.h"
#include "common/base/cursor.h"
#include "common/base/err.h"
#include "metanode/op/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INDEX = 5, ENTRIES_MAX = 256 };

static struct slice part(struct cursor *c)
{
    uint16_t bytes = cursor_be16(c);
    return cursor_bytes(c, MIN(bytes, cursor_left(c)));
}

/* The header's own index is set to the one that is asked for, so that what is behind it is reached. */
static void with_index(struct slice header, struct buf *ret)
{
    Cairn__ControlHeader *h = cairn__control_header__unpack(NULL, header.len, header.ptr);
    if (!h)
        return;
    h->index = INDEX;
    size_t len = cairn__control_header__get_packed_size(h);
    if (buf_reserve(ret, len) == OK)
        ret->len += cairn__control_header__pack(h, ret->ptr + ret->len);
    cairn__control_header__free_unpacked(h, NULL);
}

static void headers_agree(struct control *c, const struct visible *v, uint64_t index)
{
    struct control other;
    struct visible visible;
    struct buf one = {0}, two = {0};
    uint64_t voters[] = {1, 2, 3};
    control_init(&other, c->root);
    visible_init(&visible);
    control_header(c, v, index, 1, 1, voters, ARRAY_COUNT(voters), &one);
    CHECK(control_restore(&other, &visible, buf_view(&one), index, index) == OK);
    control_header(&other, &visible, index, 1, 1, voters, ARRAY_COUNT(voters), &two);
    CHECK(slice_eq(buf_view(&one), buf_view(&two)));
    control_fini(&other);
    buf_fini(&one);
    buf_fini(&two);
}

static void run(bool root, struct slice input)
{
    static struct control c;
    static struct visible v;
    struct buf header = {0};
    struct cursor in = cursor_of(input);
    control_init(&c, root);
    visible_init(&v);
    struct slice first = part(&in);
    (void)control_restore(&c, &v, first, INDEX, INDEX);
    with_index(first, &header);
    bool right = control_restore(&c, &v, buf_view(&header), INDEX, INDEX) == OK;
    uint64_t index = INDEX, committed = INDEX;
    while (right && cursor_left(&in) && index < INDEX + ENTRIES_MAX) {
        struct slice entry = part(&in);
        uint8_t then = entry.len ? entry.ptr[entry.len - 1] : 0;
        if (control_append(&c, &v, index + 1, true, entry, 1) != OK)
            break;
        index++;
        visible_check(&v);
        if (then % 4 == 0) {
            control_commit(&c, &v, index);
            committed = index;
        } else if (then % 4 == 1 && index > committed) {
            control_truncate(&c, &v, index);
            index--;
        }
        visible_check(&v);
    }
    if (right)
        headers_agree(&c, &v, committed);
    control_fini(&c);
    buf_fini(&header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    run(false, SLICE(data, size));
    run(true, SLICE(data, size));
    return 0;
}
