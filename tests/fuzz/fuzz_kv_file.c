/* Files of exported ranges (snapshots) from any bytes.  Input: a byte that says how the file is cut
 * into reads, then the file.  Records come in order and within bounds, memory stays at one block, and
 * a file that reads to its end is written again as one that reads the same. */
#include "common/base/check.h"
#include "common/base/cursor.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/env/kv_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct source {
    struct slice rest;
    size_t step;
};

static int read_some(void *arg, void *to, size_t len, size_t *ret_len)
{
    struct source *s = arg;
    size_t n = MIN(MIN(len, s->step), s->rest.len);
    if (n)
        memcpy(to, s->rest.ptr, n);
    s->rest = SLICE(s->rest.ptr + n, s->rest.len - n);
    *ret_len = n;
    return OK;
}

/* Returns what the reader said last; `again` gets the records in a file of their own. */
static int read_all(struct slice file, size_t step, struct buf *again, uint64_t *ret_hash)
{
    struct source source = {file, step};
    struct kv_file_reader r = {.read = read_some, .arg = &source};
    struct kv_file_writer w = {0};
    struct slice key, value;
    uint64_t hash = 1;
    int err;
    kv_file_begin(&w, again);
    while ((err = kv_file_next(&r, &key, &value)) == OK) {
        CHECK(key.len + value.len <= file.len);
        hash = hash64(hash64(hash, key), value);
        CHECK(kv_file_add(&w, key, value) == OK);
    }
    CHECK(err == ERR_END || err == ERR_CORRUPT || err == ERR_VERSION);
    CHECK(kv_file_end(&w) == OK);
    kv_file_reader_fini(&r);
    *ret_hash = hash;
    return err;
}

static void check_file(struct slice file, size_t step)
{
    struct buf again = {0}, third = {0};
    uint64_t one = 0, two = 0;
    if (read_all(file, step, &again, &one) == ERR_END) {
        CHECK(read_all(buf_view(&again), 4096, &third, &two) == ERR_END);
        CHECK(one == two && slice_eq(buf_view(&again), buf_view(&third)));
    }
    buf_fini(&again);
    buf_fini(&third);
}

static uint32_t be32_at(const uint8_t *at)
{
    struct cursor c = cursor_of(SLICE(at, 4));
    return cursor_be32(&c);
}

static void put_crc(uint8_t *at, struct slice over)
{
    uint32_t crc = crc32c(0, over);
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(crc >> (24 - 8 * i));
}

/* CRCs that hold, as far as the lengths lead. */
static void seal(uint8_t *file, size_t size)
{
    size_t at = 6;
    while (at <= size && size - at >= 8) {
        uint32_t len = be32_at(file + at);
        if (len == 0) {
            if (size - at >= 16)
                put_crc(file + at + 12, SLICE(file + at, 12));
            return;
        }
        if (len > size - at - 8)
            return;
        put_crc(file + at + 4, SLICE(file + at + 8, len));
        at += 8 + len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t steps[] = {1, 3, 8, 4096};
    if (size < 1)
        return 0;
    size_t step = steps[data[0] % ARRAY_COUNT(steps)];
    check_file(SLICE(data + 1, size - 1), step);
    uint8_t *copy = malloc(size);
    CHECK(copy);
    memcpy(copy, data + 1, size - 1);
    seal(copy, size - 1);
    check_file(SLICE(copy, size - 1), step);
    free(copy);
    return 0;
}
