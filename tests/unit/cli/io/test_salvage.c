/* Extents made in a directory, read back without an index: versions, deletion marks, damage, codes
 * that lack shards, what cannot be whole, and heads that lie. */
#include "cli/io/extents.h"
#include "cli/salvage/decode.h"
#include "common/base/check.h"
#include "common/base/hash.h"
#include "tests/unit/common/alloc_fail.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define DISKS 9u
#define EXTENT_BYTES (4u << 20)

/* One extent a disk, in DIR/d<n>/extents. */
struct stand {
    char dir[64];
    struct {
        char path[80];
        int fd;
        struct extent_header header;
        uint64_t end, seq;
    } disk[DISKS];
    struct extents open[DISKS];
    struct salvage_catalog c;
};

static struct id128 id_of(unsigned n)
{
    struct id128 id = {{1}};
    id.bytes[14] = (uint8_t)(n >> 8);
    id.bytes[15] = (uint8_t)n;
    return id;
}

static void extent_begin(struct stand *s, unsigned d, uint64_t generation)
{
    uint8_t block[EXTENT_HEADER_BYTES];
    s->disk[d].header = (struct extent_header){.id = 1,
                                               .generation = generation,
                                               .salt = 77 + generation,
                                               .bytes = EXTENT_BYTES,
                                               .disk_id = id_of(900 + d)};
    s->disk[d].end = EXTENT_HEADER_BYTES;
    extent_header_encode(&s->disk[d].header, block);
    assert_int_equal(pwrite(s->disk[d].fd, block, sizeof(block), 0), sizeof(block));
}

static void stand_init(struct stand *s)
{
    memset(s, 0, sizeof(*s));
    strcpy(s->dir, "/tmp/cairn-salvage-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    for (unsigned d = 0; d < DISKS; d++) {
        char path[128];
        snprintf(s->disk[d].path, sizeof(s->disk[d].path), "%s/d%u", s->dir, d);
        assert_int_equal(mkdir(s->disk[d].path, 0700), 0);
        snprintf(path, sizeof(path), "%s/extents", s->disk[d].path);
        assert_int_equal(mkdir(path, 0700), 0);
        snprintf(path, sizeof(path), "%s/extents/x00000001.extent", s->disk[d].path);
        s->disk[d].fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
        assert_true(s->disk[d].fd >= 0);
        assert_int_equal(ftruncate(s->disk[d].fd, EXTENT_BYTES), 0);
        extent_begin(s, d, 1);
    }
}

static void forget(struct stand *s)
{
    for (unsigned d = 0; d < DISKS; d++)
        if (s->open[d].path)
            extents_close(&s->open[d]);
    memset(s->open, 0, sizeof(s->open));
    salvage_fini(&s->c);
}

static void stand_fini(struct stand *s)
{
    char command[128];
    forget(s);
    for (unsigned d = 0; d < DISKS; d++)
        close(s->disk[d].fd);
    snprintf(command, sizeof(command), "rm -r -- '%s'", s->dir);
    assert_int_equal(system(command), 0);
}

static void frame_write(struct stand *s, unsigned d, struct frame_head *h, struct slice data)
{
    static uint32_t crcs[SHARD_BLOCKS_MAX];
    uint8_t block[FRAME_HEAD_BYTES];
    for (uint32_t i = 0; i < shard_blocks(data.len); i++) {
        size_t at = (size_t)i * SHARD_BLOCK_BYTES;
        h->block_crcs[i] = crcs[i] =
            crc32c(0, SLICE(data.ptr + at, MIN(data.len - at, SHARD_BLOCK_BYTES)));
    }
    h->info.block_crcs = crcs;
    h->extent_id = 1;
    h->generation = s->disk[d].header.generation;
    h->salt = s->disk[d].header.salt;
    h->offset = h->batch_start = s->disk[d].end;
    h->seq = ++s->disk[d].seq;
    h->data_bytes = h->info.bytes = data.len;
    frame_head_encode(h, block);
    assert_int_equal(pwrite(s->disk[d].fd, block, sizeof(block), (off_t)h->offset), sizeof(block));
    assert_int_equal(pwrite(s->disk[d].fd, data.ptr, data.len, (off_t)(h->offset + sizeof(block))),
                     data.len);
    s->disk[d].end += frame_bytes(data.len);
}

/* One shard: what the test varies is in `info`. */
static void shard_put(struct stand *s, unsigned d, const struct shard_info *info, struct slice data)
{
    static struct frame_head h;
    h = (struct frame_head){.kind = FRAME_SHARD, .info = *info};
    frame_write(s, d, &h, data);
}

static void mark_put(struct stand *s, unsigned d, struct id128 id)
{
    static struct frame_head h;
    h = (struct frame_head){.kind = FRAME_MARKS, .time_ms = 5};
    frame_write(s, d, &h, id128_slice(&id));
}

/* A segment of a plain object as a gateway writes it: three copies on disks 0 to 2. */
static struct shard_info segment_of(const char *key, unsigned write, unsigned segment,
                                    unsigned blob, uint64_t body_bytes, struct slice data)
{
    return (struct shard_info){.blob_id = id_of(blob),
                               .pg = 3,
                               .pg_epoch = 1,
                               .time_ms = 1000 + write,
                               .owner = {.bucket_id = 8,
                                         .key = slice_cstr(key),
                                         .write_id = id_of(write),
                                         .segment_number = segment,
                                         .body_bytes = body_bytes},
                               .data_shards = 1,
                               .parity_shards = 2,
                               .blob_bytes = data.len,
                               .blob_crc32c = crc32c(0, data)};
}

static void copies_put(struct stand *s, const struct shard_info *info, struct slice data)
{
    for (unsigned d = 0; d < 3; d++) {
        struct shard_info own = *info;
        own.shard_index = (uint16_t)d;
        shard_put(s, d, &own, data);
    }
}

/* Reads the disks of the mask. */
static void scan(struct stand *s, unsigned mask, bool with_deleted)
{
    struct buf error = {0};
    forget(s);
    for (unsigned d = 0; d < DISKS; d++) {
        if (!(mask & 1u << d))
            continue;
        assert_int_equal(extents_open(&s->open[d], s->disk[d].path, &error), OK);
        assert_int_equal(extents_scan(&s->open[d], d, &s->c, NULL), OK);
    }
    assert_int_equal(salvage_finish(&s->c, with_deleted), OK);
}

static int shard_read(void *arg, const struct salvage_shard *shard, uint8_t *to)
{
    struct stand *s = arg;
    return extents_read(&s->open[shard->disk], shard, to);
}

/* The version's chosen bytes are these. */
static void holds(struct stand *s, const struct salvage_version *v, struct slice want)
{
    struct buf got = {0};
    for (size_t i = 0; i < v->body_count; i++)
        for (size_t k = 0; v->body[i].chosen && k < v->body[i].segment_count; k++)
            assert_int_equal(salvage_decode(v->body[i].segment[k], shard_read, s, &got), OK);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.ptr, want.ptr, want.len);
    buf_fini(&got);
}

static uint8_t bytes[400000];

static void bytes_fill(void)
{
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 31 + i / 251);
}

/* ---- whole ---- */

static void versions_come_back_newest_first(void **state)
{
    (void)state;
    static struct stand s;
    stand_init(&s);
    static const size_t lens[] = {100000, 100000, 7};
    for (unsigned write = 1; write <= 2; write++)
        for (unsigned i = 3; i-- > 0;) { /* in no order */
            struct slice data = SLICE(bytes + write + i * 100000, lens[i]);
            struct shard_info info = segment_of("a/b", write, i, write * 10 + i, 200007, data);
            copies_put(&s, &info, data);
        }
    struct slice other = SLICE(bytes, 50);
    struct shard_info info = segment_of("a", 9, 0, 90, 50, other);
    copies_put(&s, &info, other);
    scan(&s, 7, false);
    assert_int_equal(s.c.version_count, 3);
    const struct salvage_version *v = s.c.version;
    assert_true(slice_eq(v[0].key, SLICE_LIT("a")) && v[0].newest);
    assert_true(slice_eq(v[1].key, SLICE_LIT("a/b")) && v[1].newest && !v[2].newest);
    assert_true(id128_eq(v[1].write_id, id_of(2)) && v[1].complete == SALVAGE_YES);
    assert_int_equal(v[1].bytes, 200007);
    assert_int_equal(v[1].body[0].segment[0]->found, 3);
    holds(&s, &v[1], SLICE(bytes + 2, 200007));
    holds(&s, &v[2], SLICE(bytes + 1, 200007));
    scan(&s, 1 << 2, false); /* one copy is enough */
    holds(&s, &s.c.version[1], SLICE(bytes + 2, 200007));
    stand_fini(&s);
}

/* Appends: segments behind those of another body, each of which says how large the object is then.
 */
static void what_was_appended_is_joined(void **state)
{
    (void)state;
    static struct stand s;
    static const struct {
        unsigned write, segment, blob, at, len, whole;
    } put[] = {
        {1, 0, 10, 90, 1000, 2000},   {1, 1, 11, 1090, 1000, 2000}, /* overwritten */
        {2, 0, 20, 0, 1000, 2000},    {2, 1, 21, 1000, 1000, 2000},
        {3, 2, 30, 2000, 10, 2010},   {4, 3, 40, 2010, 5000, 8010},
        {4, 4, 41, 7010, 1000, 8010}, {5, 5, 50, 8010, 1, 8012}, /* of another length before it */
        {6, 7, 60, 9000, 1, 9001},                               /* nothing ends there */
    };
    stand_init(&s);
    for (size_t i = 0; i < sizeof(put) / sizeof(put[0]); i++) {
        struct slice data = SLICE(bytes + put[i].at, put[i].len);
        struct shard_info info =
            segment_of("a", put[i].write, put[i].segment, put[i].blob, put[i].whole, data);
        copies_put(&s, &info, data);
    }
    scan(&s, 7, false);
    assert_int_equal(s.c.version_count, 6);
    const struct salvage_version *v = s.c.version;
    assert_true(v[0].complete == SALVAGE_NO && v[1].complete == SALVAGE_NO);
    assert_true(id128_eq(v[2].write_id, id_of(4)) && v[2].complete == SALVAGE_YES);
    assert_true(v[2].body[0].joined);
    assert_int_equal(v[2].bytes, 8010);
    holds(&s, &v[2], SLICE(bytes, 8010));
    assert_true(id128_eq(v[3].write_id, id_of(3)) && v[3].complete == SALVAGE_NO);
    holds(&s, &v[4], SLICE(bytes, 2000));
    holds(&s, &v[5], SLICE(bytes + 90, 2000));
    mark_put(&s, 1, id_of(30)); /* a link is missing: no tail without its beginning */
    scan(&s, 7, false);
    for (size_t i = 0; i < s.c.version_count; i++)
        assert_true((s.c.version[i].complete == SALVAGE_YES) ==
                    (s.c.version[i].body[0].segment[0]->info->owner.segment_number == 0));
    holds(&s, &s.c.version[s.c.version_count - 2], SLICE(bytes, 2000));
    stand_fini(&s);
}

static void coded_put(struct stand *s, struct slice data)
{
    static uint8_t shard[DISKS][EC_BLOCK_BYTES * 2];
    const uint8_t *from[5];
    uint8_t *to[4];
    struct ec ec;
    size_t each = ec_shard_bytes(5, data.len);
    assert_int_equal(ec_init(&ec, 5, 4), OK);
    assert_true(each <= sizeof(shard[0]));
    memset(shard, 0, sizeof(shard));
    for (unsigned i = 0; i < 5; i++) {
        memcpy(shard[i], data.ptr + each * i, ec_shard_used(5, data.len, i));
        from[i] = shard[i];
    }
    for (unsigned i = 0; i < 4; i++)
        to[i] = shard[5 + i];
    ec_encode(&ec, each, from, to);
    for (unsigned d = 0; d < DISKS; d++) {
        struct shard_info info = segment_of("coded", 1, 0, 5, data.len, data);
        info.scheme = SHARD_SCHEME_RS;
        info.shard_index = (uint16_t)d;
        info.data_shards = 5;
        info.parity_shards = 4;
        shard_put(s, d, &info, SLICE(shard[d], each));
    }
}

static void any_five_of_nine_decode(void **state)
{
    (void)state;
    static struct stand s;
    stand_init(&s);
    struct slice data = SLICE(bytes, 300001);
    coded_put(&s, data);
    for (unsigned mask = 1; mask < 1u << DISKS; mask++) {
        int count = __builtin_popcount(mask);
        if (count < 4 || count > 5)
            continue;
        scan(&s, mask, false);
        assert_int_equal(s.c.version_count, 1);
        assert_int_equal(s.c.version[0].body[0].segment[0]->found, count);
        assert_int_equal(s.c.version[0].complete, count < 5 ? SALVAGE_NO : SALVAGE_YES);
        if (count == 5)
            holds(&s, &s.c.version[0], data);
    }
    stand_fini(&s);
}

static struct shard_info part_of(unsigned part, unsigned write, unsigned blob, struct slice data)
{
    struct shard_info info = segment_of("up", write, 0, blob, data.len, data);
    info.owner.upload_id = id_of(700);
    info.owner.part_number = part;
    return info;
}

static void uploads_take_the_newest_whole_part(void **state)
{
    (void)state;
    static struct stand s;
    stand_init(&s);
    struct shard_info info = part_of(2, 3, 30, SLICE(bytes + 100, 1000));
    copies_put(&s, &info, SLICE(bytes + 100, 1000));
    info = part_of(1, 1, 10, SLICE(bytes + 5, 100)); /* sent twice */
    copies_put(&s, &info, SLICE(bytes + 5, 100));
    info = part_of(1, 2, 20, SLICE(bytes, 100));
    copies_put(&s, &info, SLICE(bytes, 100));
    info =
        part_of(1, 4, 40, SLICE(bytes + 9, 100)); /* and once more, of which the rest is missing */
    info.owner.body_bytes = 5000;
    copies_put(&s, &info, SLICE(bytes + 9, 100));
    scan(&s, 7, false);
    assert_int_equal(s.c.version_count, 1);
    assert_int_equal(s.c.version[0].body_count, 4);
    assert_int_equal(s.c.version[0].complete, SALVAGE_UNKNOWN);
    assert_int_equal(s.c.version[0].body[0].complete, SALVAGE_YES);
    holds(&s, &s.c.version[0], SLICE(bytes, 1100));
    stand_fini(&s);
}

/* ---- deleted ---- */

static void marks_remove_blobs(void **state)
{
    (void)state;
    static struct stand s;
    stand_init(&s);
    struct slice data = SLICE(bytes, 5000);
    struct shard_info gone = segment_of("gone", 1, 0, 1, 5000, data),
                      kept = segment_of("kept", 1, 0, 2, 5000, data);
    copies_put(&s, &gone, data);
    mark_put(&s, 1, id_of(1)); /* the other nodes were away when it was deleted */
    mark_put(&s, 0, id_of(2)); /* older than the shard on the same disk: remembered for nothing */
    copies_put(&s, &kept, data);
    scan(&s, 7, false);
    assert_int_equal(s.c.version_count, 1);
    assert_true(slice_eq(s.c.version[0].key, SLICE_LIT("kept")));
    assert_int_equal(s.c.version[0].body[0].segment[0]->marks, 1);
    assert_int_equal(s.c.version[0].body[0].segment[0]->found, 3);
    assert_int_equal(s.c.deleted_count, 1);
    scan(&s, 2, true);
    assert_int_equal(s.c.version_count, 2);
    holds(&s, &s.c.version[0], data);
    stand_fini(&s);
}

/* ---- damaged ---- */

static void flip(struct stand *s, unsigned d, uint64_t at)
{
    uint8_t b;
    assert_int_equal(pread(s->disk[d].fd, &b, 1, (off_t)at), 1);
    b ^= 1;
    assert_int_equal(pwrite(s->disk[d].fd, &b, 1, (off_t)at), 1);
}

static void damaged_copies_are_told_and_passed_over(void **state)
{
    (void)state;
    static struct stand s;
    stand_init(&s);
    struct slice data = SLICE(bytes, 70000);
    struct shard_info info = segment_of("k", 1, 0, 1, 70000, data);
    copies_put(&s, &info, data);
    flip(&s, 0, EXTENT_HEADER_BYTES + FRAME_HEAD_BYTES + 69999);
    flip(&s, 1, EXTENT_HEADER_BYTES + 2000); /* the head */
    scan(&s, 7, false);
    const struct salvage_blob *b = s.c.version[0].body[0].segment[0];
    assert_true(b->found == 1 && b->damaged == 1);
    holds(&s, &s.c.version[0], data);
    flip(&s, 2, EXTENT_HEADER_BYTES + FRAME_HEAD_BYTES); /* between the scan and the read */
    struct buf got = {0};
    assert_int_equal(salvage_decode(b, shard_read, &s, &got), ERR_NO_QUORUM);
    assert_int_equal(got.len, 0);
    buf_fini(&got);
    scan(&s, 7, false);
    assert_int_equal(s.c.version_count, 1); /* still listed: that it was there is worth knowing */
    assert_int_equal(s.c.version[0].complete, SALVAGE_NO);
    assert_int_equal(s.c.version[0].body[0].segment[0]->damaged, 2);
    stand_fini(&s);
}

static void a_lost_header_hides_nothing(void **state)
{
    (void)state;
    static struct stand s;
    stand_init(&s);
    struct slice data = SLICE(bytes, 5000);
    struct shard_info old = segment_of("old", 1, 0, 1, 5000, data),
                      new = segment_of("new", 2, 0, 2, 5000, data);
    shard_put(&s, 0, &old, data);
    shard_put(&s, 0, &old, data);
    extent_begin(&s, 0,
                 2); /* its next life: what lies behind the first frame is of the life before */
    shard_put(&s, 0, &new, data);
    for (unsigned lost = 0; lost < 2; lost++) {
        scan(&s, 1, false);
        assert_int_equal(s.open[0].headers_bad, lost);
        assert_int_equal(s.c.version_count, 1);
        assert_true(slice_eq(s.c.version[0].key, SLICE_LIT("new")));
        holds(&s, &s.c.version[0], data);
        flip(&s, 0, 20);
        flip(&s, 0, 2048 + 20);
    }
    stand_fini(&s);
}

/* ---- not whole, or not known to be ---- */

static enum salvage_complete complete_of(struct stand *s)
{
    scan(s, 7, false);
    assert_int_equal(s->c.version_count, 1);
    return s->c.version[0].complete;
}

static void what_is_missing_is_told(void **state)
{
    (void)state;
    static struct stand s;
    struct slice data = SLICE(bytes, 5000), rest = SLICE(bytes + 5000, 5000);
    static const struct {
        uint64_t body_bytes;
        unsigned write, first, second; /* segment numbers */
        enum salvage_complete complete;
    } cases[] = {
        {10000, 1, 0, 1, SALVAGE_YES},
        {15000, 1, 0, 1, SALVAGE_NO}, /* the end is missing */
        {10000, 1, 0, 2, SALVAGE_NO}, /* the middle */
        {10000, 1, 1, 2, SALVAGE_NO}, /* the beginning */
        {0, 1, 0, 1, SALVAGE_UNKNOWN},
        {0, 0, 0, 1, SALVAGE_UNKNOWN}, /* as gateways wrote before they named their writes */
        {0, 0, 0, 0, SALVAGE_NO},      /* two of them: which goes with which? */
        {5000, 1, 0, 0, SALVAGE_YES},  /* of one write: an attempt that failed, and the next */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        stand_init(&s);
        struct shard_info a =
            segment_of("k", cases[i].write, cases[i].first, 1, cases[i].body_bytes, data);
        struct shard_info b =
            segment_of("k", cases[i].write, cases[i].second, 2, cases[i].body_bytes, rest);
        if (cases[i].write == 0)
            a.owner.write_id = b.owner.write_id = (struct id128){{0}};
        copies_put(&s, &a, data);
        copies_put(&s, &b, rest);
        assert_int_equal(complete_of(&s), cases[i].complete);
        stand_fini(&s);
    }
}

static void a_running_node_is_left_alone(void **state)
{
    (void)state;
    static struct stand s;
    static const char *const places[] = {"", "/extents"};
    struct buf error = {0};
    stand_init(&s);
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s%s/LOCK", s.disk[0].path, places[i]);
        int fd = open(path, O_RDWR | O_CREAT, 0600);
        assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
        assert_int_equal(extents_open(&s.open[0], s.disk[0].path, &error), ERR_CONFLICT);
        extents_close(&s.open[0]);
        close(fd);
        assert_int_equal(extents_open(&s.open[0], s.disk[0].path, &error), OK);
        extents_close(&s.open[0]);
    }
    assert_int_equal(extents_open(&s.open[0], "/nonexistent", &error), ERR_NOT_FOUND);
    buf_fini(&error);
    stand_fini(&s);
}

/* ---- hostile ---- */

static void names_stay_in_their_directory(void **state)
{
    (void)state;
    static uint8_t long_key[1024];
    char name[SALVAGE_NAME_BYTES], other[SALVAGE_NAME_BYTES];
    struct salvage_version v = {
        .key = SLICE_LIT("../../etc/a b"), .time_ms = 5, .write_id = id_of(1)};
    salvage_name(&v, name);
    assert_string_equal(name,
                        "..%2f..%2fetc%2fa%20b@0000000000005-01000000000000000000000000000001");
    memset(long_key, '/', sizeof(long_key));
    v.key = SLICE(long_key, sizeof(long_key));
    salvage_name(&v, name);
    assert_true(strlen(name) < SALVAGE_NAME_BYTES - 20 && !strchr(name, '/'));
    long_key[1023] = 'x';
    salvage_name(&v, other);
    assert_string_not_equal(name, other);
}

static int read_nothing(void *arg, const struct salvage_shard *s, uint8_t *to)
{
    (void)arg;
    memset(to, 7, s->info.bytes);
    return OK;
}

/* Heads whose checksums are right and whose fields are not: no crash, and nothing comes out that
 * does not match its checksum. */
static void heads_that_lie(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 65536, 65537, 327680, 1u << 20, UINT64_MAX, 24u << 20};
    static const uint8_t codes[] = {0, 1, 2, 5, 8, 20, 21, 28, 255};
    static struct frame_head h;
    srand(1);
    for (unsigned round = 0; round < 300; round++) {
        struct salvage_catalog c = {0};
        for (unsigned i = 0; i < 40; i++) {
            h = (struct frame_head){
                .kind = FRAME_SHARD, .extent_id = 1, .seq = (uint64_t)(rand() % 9)};
            h.info =
                (struct shard_info){.blob_id = id_of((unsigned)rand() % 3),
                                    .shard_index = (uint16_t)(rand() % 12),
                                    .scheme = (uint16_t)(rand() % 2),
                                    .bytes = 65536u << rand() % 3,
                                    .time_ms = (uint64_t)rand(),
                                    .data_shards = codes[(size_t)rand() % ARRAY_COUNT(codes)],
                                    .parity_shards = codes[(size_t)rand() % ARRAY_COUNT(codes)],
                                    .blob_bytes = sizes[(size_t)rand() % ARRAY_COUNT(sizes)]};
            h.info.owner.key = rand() % 2 ? SLICE_LIT("x") : SLICE_EMPTY;
            h.info.owner.write_id = id_of((unsigned)rand() % 2);
            h.info.owner.segment_number = (uint32_t)rand() % 2;
            assert_int_equal(salvage_add_shard(&c, (uint32_t)rand() % 3, &h, rand() % 8 == 0), OK);
        }
        struct id128 id = id_of((unsigned)rand() % 6);
        assert_int_equal(salvage_add_marks(&c, 1, 3, id128_slice(&id)), OK);
        assert_int_equal(salvage_finish(&c, rand() % 2), OK);
        for (size_t i = 0; i < c.blob_count; i++) {
            struct buf got = {0};
            int err = salvage_decode(&c.blob[i], read_nothing, NULL, &got);
            assert_true(err == ERR_NO_QUORUM || err == ERR_CHECKSUM ||
                        (err == OK && !c.blob[i].crc_known));
            buf_fini(&got);
        }
        salvage_fini(&c);
    }
}

/* Each allocation of a whole run failing once: an error, never a version that is not there. */
static void failing_allocations(void **state)
{
    (void)state;
    static struct stand s;
    struct slice data = SLICE(bytes, 300001);
    stand_init(&s);
    coded_put(&s, data);
    mark_put(&s, 8, id_of(77));
    for (uint64_t n = 0;; n++) {
        struct buf error = {0}, got = {0};
        int err = OK;
        forget(&s);
        alloc_fail_at(n);
        for (unsigned d = 3; !err && d < 8; d++) { /* so that data shards must be rebuilt */
            err = extents_open(&s.open[d], s.disk[d].path, &error);
            if (!err)
                err = extents_scan(&s.open[d], d, &s.c, NULL);
        }
        if (!err)
            err = salvage_finish(&s.c, false);
        if (!err) {
            assert_int_equal(s.c.version_count, 1);
            err = salvage_decode(&s.c.blob[0], shard_read, &s, &got);
        }
        bool failed = alloc_fail_end();
        assert_true(failed ? err == ERR_NOMEM || err == ERR_IO : err == OK);
        if (!err)
            assert_true(got.len == data.len && memcmp(got.ptr, data.ptr, got.len) == 0);
        buf_fini(&error);
        buf_fini(&got);
        if (!failed)
            break;
        assert_true(n < 1000);
    }
    stand_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_come_back_newest_first),
        cmocka_unit_test(what_was_appended_is_joined),
        cmocka_unit_test(any_five_of_nine_decode),
        cmocka_unit_test(uploads_take_the_newest_whole_part),
        cmocka_unit_test(marks_remove_blobs),
        cmocka_unit_test(damaged_copies_are_told_and_passed_over),
        cmocka_unit_test(a_lost_header_hides_nothing),
        cmocka_unit_test(what_is_missing_is_told),
        cmocka_unit_test(a_running_node_is_left_alone),
        cmocka_unit_test(names_stay_in_their_directory),
        cmocka_unit_test(heads_that_lie),
        cmocka_unit_test(failing_allocations),
    };
    bytes_fill();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
