/* The contract of common/env/disk.h, held by the disk in memory and by a real directory; and what a
 * crash may do to the disk in memory. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/env/disk_mem.h"
#include "common/env_uv/disk_uv.h"
#include "common/env_uv/env_uv.h"
#include "tests/unit/common/env/fake_env.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

struct world {
    struct fake_env fake;
    uv_loop_t loop;
    struct env_uv uv;
    struct disk *disk;
    char dir[64];
    bool real;
};

static bool flag;

static void step(struct world *w)
{
    if (w->real)
        uv_run(&w->loop, UV_RUN_ONCE);
    else
        assert_true(fake_env_step(&w->fake));
}

static void on_done(struct disk_req *r)
{
    r->cb = NULL;
}

static int run(struct world *w, struct disk_req *r)
{
    r->cb = on_done;
    disk_start(w->disk, r);
    assert_non_null(r->cb); /* never inside the start */
    while (r->cb)
        step(w);
    return r->err;
}

static void mem_init(struct world *w, uint32_t sector)
{
    *w = (struct world){0};
    fake_env_init(&w->fake);
    w->disk = disk_mem_new(&w->fake.env,
                           &(struct disk_mem_config){.seed = 3, .bytes_total = 1 << 20,
                                                     .delay_ns_max = NS_PER_MS,
                                                     .sector_bytes = sector});
    assert_non_null(w->disk);
}

static void uv_init(struct world *w)
{
    *w = (struct world){.real = true};
    strcpy(w->dir, "/tmp/cairn-disk-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    uv_loop_init(&w->loop);
    assert_int_equal(env_uv_init(&w->uv, &w->loop), OK);
    assert_int_equal(disk_uv_open(&w->uv.env, w->dir, 2, &w->disk), OK);
}

static void on_flag(void *arg)
{
    (void)arg;
    flag = true;
}

static void world_fini(struct world *w)
{
    flag = false;
    disk_close(w->disk, on_flag, NULL);
    while (!flag)
        step(w);
    if (!w->real) {
        disk_mem_free(w->disk);
        return;
    }
    env_uv_fini(&w->uv);
    uv_loop_close(&w->loop);
    DIR *dir = opendir(w->dir);
    for (struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    rmdir(w->dir);
}

static struct disk_file *open_file(struct world *w, const char *name, unsigned flags, int want)
{
    struct disk_req r = {.kind = DISK_OPEN, .flags = flags};
    strcpy(r.name, name);
    assert_int_equal(run(w, &r), want);
    return r.file;
}

static int write_at(struct world *w, struct disk_file *f, uint64_t offset, const char *text,
                    unsigned flags)
{
    struct slice parts[3] = {SLICE(text, 1), SLICE(text + 1, 0), SLICE(text + 1, strlen(text) - 1)};
    struct disk_req r = {.kind = DISK_WRITE, .flags = flags, .file = f, .offset = offset,
                         .slices = parts, .slice_count = 3};
    return run(w, &r);
}

static int read_at(struct world *w, struct disk_file *f, uint64_t offset, char *ret, size_t len,
                   size_t *ret_len)
{
    struct disk_req r = {.kind = DISK_READ, .file = f, .offset = offset, .buffer = ret, .bytes = len};
    int err = run(w, &r);
    *ret_len = r.bytes;
    return err;
}

static int sync_file(struct world *w, struct disk_file *f, unsigned flags)
{
    struct disk_req r = {.kind = DISK_SYNC, .file = f, .flags = flags};
    return run(w, &r);
}

static void contract(struct world *w)
{
    char buffer[64] = "";
    size_t len;
    open_file(w, "missing", 0, ERR_NOT_FOUND);
    struct disk_file *f = open_file(w, "one", DISK_CREATE, OK);
    struct disk_req alloc = {.kind = DISK_ALLOCATE, .file = f, .offset = 8192};
    assert_int_equal(run(w, &alloc), OK);
    assert_int_equal(write_at(w, f, 4090, "across a page", DISK_SYNCED), OK);
    assert_int_equal(write_at(w, f, 4094, "SS", 0), OK);
    assert_int_equal(sync_file(w, f, DISK_DROP_CACHE), OK);
    assert_int_equal(read_at(w, f, 4090, buffer, 13, &len), OK);
    assert_memory_equal(buffer, "acroSS a page", 13);
    assert_int_equal(read_at(w, f, 8190, buffer, 10, &len), ERR_END);
    assert_int_equal(len, 2);
    assert_int_equal(read_at(w, f, 100000, buffer, 10, &len), ERR_END);
    assert_int_equal(len, 0);
    struct disk_req seek = {.kind = DISK_SEEK, .file = f, .offset = 4091};
    assert_int_equal(run(w, &seek), OK);
    assert_int_equal(seek.offset, 4091);
    alloc.offset = 1 << 18;
    assert_int_equal(run(w, &alloc), OK);
    seek.offset = 1 << 17;
    int err = run(w, &seek);
    assert_true(err == ERR_END || (err == OK && seek.offset == 1 << 17)); /* never past data */
    disk_file_close(w->disk, f);
    disk_file_close(w->disk, open_file(w, "two", DISK_CREATE, OK));
    struct disk_req list = {.kind = DISK_LIST};
    assert_int_equal(run(w, &list), OK);
    unsigned seen = 0;
    for (size_t i = 0; i < list.name_count; i++)
        seen |= (strcmp(list.names[i], "one") == 0 ? 1u : 0) | (strcmp(list.names[i], "two") == 0 ? 2u : 0);
    assert_int_equal(seen, 3);
    disk_list_free(&list);
    struct disk_req gone = {.kind = DISK_UNLINK, .name = "two"};
    assert_int_equal(run(w, &gone), OK);
    assert_int_equal(run(w, &gone), ERR_NOT_FOUND);
    struct disk_req space = {.kind = DISK_SPACE};
    assert_int_equal(run(w, &space), OK);
    assert_true(space.bytes_total >= space.bytes_free && space.bytes_total > 0);
}

/* Changes are carried out in order of their start, whatever ends when. */
static void order(struct world *w)
{
    enum { WRITES = 300 };
    static struct disk_req reqs[WRITES];
    static char texts[WRITES][8];
    static struct slice slices[WRITES];
    char buffer[8] = "";
    size_t len;
    struct disk_file *f = open_file(w, "order", DISK_CREATE, OK);
    for (unsigned i = 0; i < WRITES; i++) {
        snprintf(texts[i], sizeof(texts[i]), "%06u", i);
        slices[i] = SLICE(texts[i], 6);
        reqs[i] = (struct disk_req){.kind = DISK_WRITE, .cb = on_done, .file = f,
                                    .slices = &slices[i], .slice_count = 1};
        disk_start(w->disk, &reqs[i]);
    }
    for (unsigned i = 0; i < WRITES; i++)
        while (reqs[i].cb)
            step(w);
    assert_int_equal(read_at(w, f, 0, buffer, 6, &len), OK);
    assert_string_equal(buffer, "000299");
    disk_file_close(w->disk, f);
}

/* Large writes, from memory that lies anyhow, over what a read has brought into a cache. */
/* Past the page cache or not, aligned or not: what was written, synced or not; and the file's end. */
static void uncached(struct world *w, struct disk_file *f, const uint8_t *from, uint64_t offset,
                     size_t area)
{
    uint8_t *back = aligned_alloc(4096, area + 8192);
    for (unsigned shift = 0; shift < 2; shift++) {
        struct disk_req r = {.kind = DISK_READ, .flags = DISK_UNCACHED, .file = f,
                             .offset = 4096, .buffer = back + shift, .bytes = area};
        assert_int_equal(run(w, &r), OK);
        assert_memory_equal(back + shift + (offset - 4096), from, area - (offset - 4096));
    }
    free(back);
}

static void large(struct world *w)
{
    enum { AREA = 3 << 20, SLICES = 600 };
    static struct slice slices[SLICES];
    uint8_t *from = aligned_alloc(4096, AREA), *back = malloc(AREA);
    uint64_t x = 1;
    size_t len;
    struct disk_file *f = open_file(w, "large", DISK_CREATE, OK);
    struct disk_req alloc = {.kind = DISK_ALLOCATE, .file = f, .offset = AREA + 8192};
    assert_int_equal(run(w, &alloc), OK);
    for (unsigned round = 0; round < 12; round++) {
        struct disk_req r = {.kind = DISK_WRITE, .flags = round % 2 ? DISK_SYNCED : 0, .file = f,
                             .slices = slices, .offset = round % 3 ? 4096 : 4096 + round};
        size_t at = 0;
        for (size_t i = 0; i < AREA; i++)
            from[i] = (uint8_t)((x = x * 6364136223846793005u + round) >> 56);
        while (at < AREA && r.slice_count < SLICES - 1) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            size_t n = (x >> 40) % 3 ? (x >> 33) % 20000 : ((x >> 33) % 40) * 4096;
            n = round < 4 && n > 200 ? n % 200 : MIN(n, AREA - at);
            slices[r.slice_count++] = SLICE(from + at, n);
            at += n;
        }
        slices[r.slice_count++] = SLICE(from + at, AREA - at);
        read_at(w, f, r.offset, (char *)back, AREA, &len);
        assert_int_equal(run(w, &r), OK);
        assert_int_equal(read_at(w, f, r.offset, (char *)back, AREA, &len), OK);
        assert_memory_equal(back, from, AREA);
        uncached(w, f, from, r.offset, AREA);
    }
    disk_file_close(w->disk, f);
    free(from);
    free(back);
}

static void memory_keeps_the_contract(void **state)
{
    (void)state;
    struct world w;
    mem_init(&w, 512);
    contract(&w);
    order(&w);
    world_fini(&w);
}

static void a_directory_keeps_the_contract(void **state)
{
    (void)state;
    struct world w;
    struct disk *second;
    uv_init(&w);
    contract(&w);
    order(&w);
    large(&w);
    assert_int_equal(disk_uv_open(&w.uv.env, w.dir, 1, &second), ERR_CONFLICT);
    assert_int_equal(disk_uv_open(&w.uv.env, "/nowhere/at/all", 1, &second), ERR_IO);
    world_fini(&w);
}

/* ---- crashes of the disk in memory ---- */

static void a_crash_takes_only_what_was_not_synced(void **state)
{
    (void)state;
    unsigned kept = 0, lost = 0, torn = 0;
    for (uint32_t sector = 1; sector <= 512; sector += 511) {
        struct world w;
        mem_init(&w, sector);
        for (unsigned round = 0; round < 200; round++) {
            static char old[4096], new[4096], now[4096];
            struct slice s = SLICE(old, sizeof(old));
            struct disk_file *f = open_file(&w, "file", DISK_CREATE, OK);
            memset(old, 'o', sizeof(old));
            memset(new, 'n', sizeof(new));
            struct disk_req r = {.kind = DISK_WRITE, .flags = DISK_SYNCED, .file = f, .slices = &s,
                                 .slice_count = 1};
            assert_int_equal(run(&w, &r), OK);
            s = SLICE(new, sizeof(new));
            r.flags = 0;
            assert_int_equal(run(&w, &r), OK);
            disk_mem_crash(w.disk, false); /* the process alone: nothing is lost */
            assert_true(disk_mem_peek(w.disk, "file", 0, now, sizeof(now)));
            assert_memory_equal(now, new, sizeof(now));
            disk_mem_crash(w.disk, true);
            assert_true(disk_mem_peek(w.disk, "file", 0, now, sizeof(now)));
            for (size_t at = 0; at < sizeof(now); at++) { /* torn: within a sector */
                assert_true(now[at] == 'o' || now[at] == 'n');
                if (at % 512 != 0 && now[at] != now[at - 1])
                    torn++;
                kept += now[at] == 'n';
                lost += now[at] == 'o';
            }
        }
        assert_true(kept && lost);
        assert_true(sector == 1 ? torn > 0 : torn == 0);
        torn = 0;
        disk_mem_free(w.disk);
    }
}

/* After a failed sync, a later one that succeeds has not written those sectors. */
static void a_failed_sync_is_not_made_good(void **state)
{
    (void)state;
    struct world w;
    char now[5] = "";
    mem_init(&w, 512);
    struct disk_file *f = open_file(&w, "file", DISK_CREATE, OK);
    assert_int_equal(write_at(&w, f, 0, "good", DISK_SYNCED), OK);
    disk_mem_fail(w.disk, DISK_WRITE, 2, ERR_IO, false);
    assert_int_equal(write_at(&w, f, 0, "next", 0), OK);
    assert_int_equal(write_at(&w, f, 600, "more", DISK_SYNCED), ERR_IO);
    assert_int_equal(sync_file(&w, f, 0), OK);
    disk_mem_peek(w.disk, "file", 0, now, 4);
    assert_string_equal(now, "next"); /* in memory */
    assert_int_equal(sync_file(&w, f, DISK_DROP_CACHE), OK);
    disk_mem_peek(w.disk, "file", 0, now, 4);
    assert_string_equal(now, "good"); /* on the disk */
    disk_file_close(w.disk, f);
    world_fini(&w);
}

static void space_is_bounded(void **state)
{
    (void)state;
    struct world w;
    mem_init(&w, 512);
    struct disk_file *f = open_file(&w, "file", DISK_CREATE, OK);
    struct disk_req alloc = {.kind = DISK_ALLOCATE, .file = f, .offset = (1 << 20) + 1};
    assert_int_equal(run(&w, &alloc), ERR_NOSPACE);
    alloc.offset = 1 << 20;
    assert_int_equal(run(&w, &alloc), OK);
    assert_int_equal(write_at(&w, f, (1 << 20) - 2, "over", 0), ERR_NOSPACE);
    disk_file_close(w.disk, f);
    world_fini(&w);
}

/* ---- what is synced: in place of the C library's ---- */

static ino_t synced[64];
static unsigned synced_count;

int fsync(int fd)
{
    struct stat st;
    if (fstat(fd, &st) == 0)
        synced[synced_count++ % ARRAY_COUNT(synced)] = st.st_ino;
    return (int)syscall(SYS_fsync, fd);
}

static bool was_synced(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (unsigned i = 0; i < MIN(synced_count, (unsigned)ARRAY_COUNT(synced)); i++)
        if (synced[i] == st.st_ino)
            return true;
    return false;
}

/* Extents that outlive a power cut are of no use in a directory that does not. */
static void the_directory_is_durable(void **state)
{
    (void)state;
    struct world w;
    char dir[80];
    uv_init(&w);
    snprintf(dir, sizeof(dir), "%s/extents", w.dir);
    for (int made_before = 0; made_before < 2; made_before++) {
        struct disk *disk;
        synced_count = 0;
        assert_int_equal(disk_uv_open(&w.uv.env, dir, 1, &disk), OK);
        assert_true(was_synced(w.dir));
        flag = false;
        disk_close(disk, on_flag, NULL);
        while (!flag)
            step(&w);
    }
    strcat(dir, "/LOCK");
    unlink(dir);
    *strrchr(dir, '/') = 0;
    rmdir(dir);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_directory_is_durable),
        cmocka_unit_test(memory_keeps_the_contract),
        cmocka_unit_test(a_directory_keeps_the_contract),
        cmocka_unit_test(a_crash_takes_only_what_was_not_synced),
        cmocka_unit_test(a_failed_sync_is_not_made_good),
        cmocka_unit_test(space_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
