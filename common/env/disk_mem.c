/* A disk in memory with the semantics of a crash. */
#include "common/env/disk_mem.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <stdlib.h>

#define SECTOR 512u

/* What a sector held when it was last synced. */
struct undo {
    struct undo *next; /* on the free list */
    bool lost;         /* a sync that should have written the sector failed: only memory has it */
    uint8_t old[SECTOR];
};

struct disk_file {
    struct list node;
    char name[DISK_NAME_BYTES_MAX + 1];
    unsigned opens;
    uint8_t *data; /* what reads see */
    uint64_t bytes;
    struct undo **dirty; /* per sector; NULL: as on the disk */
    uint32_t *dirty_list; /* sectors with an undo, so that a sync costs what was written */
    size_t dirty_count;
};

struct disk_mem {
    struct disk disk;
    struct env *env;
    struct env_timer timer;
    struct disk_mem_config config;
    uint64_t rng, bytes_used;
    struct list files;
    struct list changes; /* requests in order of due time, which is the order of start */
    struct list reads;
    struct undo *free_undo;
    struct disk_mem_stats stats;
    struct {
        enum disk_kind kind;
        uint32_t nth;
        int err;
        bool sticky;
    } fail;
    void (*closed)(void *arg);
    void *closed_arg;
};

static const struct disk_ops disk_mem_ops;

static uint64_t rnd(struct disk_mem *d)
{
    uint64_t z = (d->rng += 0x9e3779b97f4a7c15ull); /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static struct disk_mem *of(struct disk *d)
{
    CHECK(d->ops == &disk_mem_ops);
    return container_of(d, struct disk_mem, disk);
}

/* ---- files ---- */

static struct disk_file *file_find(struct disk_mem *d, const char *name)
{
    list_for_each(it, &d->files) {
        struct disk_file *f = container_of(it, struct disk_file, node);
        if (strcmp(f->name, name) == 0)
            return f;
    }
    return NULL;
}

static void undo_drop(struct disk_mem *d, struct disk_file *f, uint64_t sector)
{
    struct undo *u = f->dirty[sector];
    f->dirty[sector] = NULL;
    u->next = d->free_undo;
    d->free_undo = u;
}

static void file_free(struct disk_mem *d, struct disk_file *f)
{
    for (size_t i = 0; i < f->dirty_count; i++)
        undo_drop(d, f, f->dirty_list[i]);
    list_remove(&f->node);
    d->bytes_used -= f->bytes;
    d->stats.files--;
    free(f->data);
    free(f->dirty);
    free(f->dirty_list);
    free(f);
}

static int file_resize(struct disk_mem *d, struct disk_file *f, uint64_t bytes)
{
    uint64_t sectors = (bytes + SECTOR - 1) / SECTOR, had = (f->bytes + SECTOR - 1) / SECTOR;
    if (bytes <= f->bytes)
        return OK;
    if (bytes - f->bytes > d->config.bytes_total - MIN(d->bytes_used, d->config.bytes_total))
        return ERR_NOSPACE;
    uint8_t *data = realloc(f->data, sectors * SECTOR);
    CHECK(data);
    memset(data + had * SECTOR, 0, (sectors - had) * SECTOR);
    f->data = data;
    f->dirty = realloc(f->dirty, sectors * sizeof(*f->dirty));
    f->dirty_list = realloc(f->dirty_list, sectors * sizeof(*f->dirty_list));
    CHECK(f->dirty && f->dirty_list);
    memset(f->dirty + had, 0, (sectors - had) * sizeof(*f->dirty));
    d->bytes_used += bytes - f->bytes;
    f->bytes = bytes;
    return OK;
}

static void sector_touch(struct disk_mem *d, struct disk_file *f, uint64_t sector)
{
    struct undo *u = d->free_undo;
    if (f->dirty[sector])
        return;
    if (u)
        d->free_undo = u->next;
    else
        u = malloc(sizeof(*u));
    CHECK(u);
    u->lost = false;
    memcpy(u->old, f->data + sector * SECTOR, SECTOR);
    f->dirty[sector] = u;
    f->dirty_list[f->dirty_count++] = (uint32_t)sector;
}

static void bytes_write(struct disk_mem *d, struct disk_file *f, uint64_t offset, struct slice s,
                        bool partly)
{
    while (s.len > 0) {
        uint64_t sector = offset / SECTOR;
        size_t n = MIN(s.len, (size_t)(SECTOR - offset % SECTOR));
        if (!partly || rnd(d) % (d->config.cut_off_misses ? d->config.cut_off_misses : 2)) {
            sector_touch(d, f, sector);
            memcpy(f->data + offset, s.ptr, n);
        }
        offset += n;
        s.ptr += n;
        s.len -= n;
    }
}

static int slices_write(struct disk_mem *d, const struct disk_req *r, bool partly)
{
    uint64_t bytes = 0, offset = r->offset;
    CHECK(r->slice_count <= DISK_SLICES_MAX);
    for (unsigned i = 0; i < r->slice_count; i++)
        bytes += r->slices[i].len;
    int err = file_resize(d, r->file, offset + bytes);
    if (err)
        return err;
    for (unsigned i = 0; i < r->slice_count; i++) {
        bytes_write(d, r->file, offset, r->slices[i], partly);
        offset += r->slices[i].len;
    }
    d->stats.writes++;
    d->stats.bytes_written += bytes;
    return OK;
}

static void sector_rollback(struct disk_mem *d, struct disk_file *f, uint32_t sector, bool torn)
{
    size_t from = torn ? rnd(d) % SECTOR : 0;
    memcpy(f->data + (uint64_t)sector * SECTOR + from, f->dirty[sector]->old + from, SECTOR - from);
}

static void file_sync(struct disk_mem *d, struct disk_file *f, bool drop_cache)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->dirty_count; i++) {
        uint32_t sector = f->dirty_list[i];
        if (f->dirty[sector]->lost && !drop_cache) {
            f->dirty_list[kept++] = sector;
            continue;
        }
        if (f->dirty[sector]->lost)
            sector_rollback(d, f, sector, false);
        undo_drop(d, f, sector);
    }
    f->dirty_count = kept;
    d->stats.syncs++;
}

/* ---- requests ---- */

static int open_run(struct disk_mem *d, struct disk_req *r)
{
    struct disk_file *f = file_find(d, r->name);
    if (!f) {
        if (!(r->flags & DISK_CREATE))
            return ERR_NOT_FOUND;
        f = calloc(1, sizeof(*f));
        CHECK(f);
        memcpy(f->name, r->name, sizeof(f->name));
        list_push_back(&d->files, &f->node);
        d->stats.files++;
    }
    f->opens++;
    r->file = f;
    return OK;
}

static int read_run(struct disk_mem *d, struct disk_req *r)
{
    uint64_t left = r->offset < r->file->bytes ? r->file->bytes - r->offset : 0;
    size_t asked = r->bytes;
    r->bytes = MIN(asked, left);
    if (r->bytes)
        memcpy(r->buffer, r->file->data + r->offset, r->bytes);
    d->stats.reads++;
    return r->bytes < asked ? ERR_END : OK;
}

/* By pages, as file systems do. */
static int seek_run(struct disk_req *r)
{
    static const uint8_t zeros[4096];
    const struct disk_file *f = r->file;
    uint64_t at = r->offset;
    while (at < f->bytes) {
        uint64_t next = MIN(f->bytes, at / sizeof(zeros) * sizeof(zeros) + sizeof(zeros));
        if (memcmp(f->data + at, zeros, next - at) != 0) {
            r->offset = at;
            return OK;
        }
        at = next;
    }
    return ERR_END;
}

static int list_run(struct disk_mem *d, struct disk_req *r)
{
    r->name_count = 0;
    r->names = calloc(d->stats.files + 1, sizeof(*r->names));
    CHECK(r->names);
    list_for_each(it, &d->files) {
        r->names[r->name_count] = strdup(container_of(it, struct disk_file, node)->name);
        CHECK(r->names[r->name_count++]);
    }
    return OK;
}

static int unlink_run(struct disk_mem *d, struct disk_req *r)
{
    struct disk_file *f = file_find(d, r->name);
    if (!f)
        return ERR_NOT_FOUND;
    CHECK(f->opens == 0);
    file_free(d, f);
    return OK;
}

static int request_run(struct disk_mem *d, struct disk_req *r)
{
    int err = OK;
    switch (r->kind) {
    case DISK_OPEN: return open_run(d, r);
    case DISK_WRITE:
        err = slices_write(d, r, false);
        if (!err && r->flags & DISK_SYNCED)
            file_sync(d, r->file, false);
        return err;
    case DISK_READ: return read_run(d, r);
    case DISK_SYNC: file_sync(d, r->file, r->flags & DISK_DROP_CACHE); return OK;
    case DISK_ALLOCATE: return file_resize(d, r->file, r->offset);
    case DISK_UNLINK: return unlink_run(d, r);
    case DISK_LIST: return list_run(d, r);
    case DISK_SEEK: return seek_run(r);
    case DISK_SPACE:
        r->bytes_total = d->config.bytes_total;
        r->bytes_free = d->config.bytes_total - MIN(d->bytes_used, d->config.bytes_total);
        return OK;
    case DISK_KIND_COUNT: break;
    }
    CHECK(0);
    return ERR_INVAL;
}

/* A failed sync is the last that is ever heard of those sectors, as on Linux. */
static void request_fail(struct disk_mem *d, struct disk_req *r)
{
    if (r->kind == DISK_WRITE)
        (void)slices_write(d, r, true);
    if (r->kind == DISK_SYNC || (r->kind == DISK_WRITE && r->flags & DISK_SYNCED))
        for (size_t i = 0; i < r->file->dirty_count; i++)
            r->file->dirty[r->file->dirty_list[i]]->lost = true;
}

static bool fails_now(struct disk_mem *d, const struct disk_req *r)
{
    if (d->fail.nth == 0 || (d->fail.kind != DISK_KIND_COUNT && d->fail.kind != r->kind))
        return false;
    if (d->fail.nth > 1) {
        d->fail.nth--;
        return false;
    }
    if (!d->fail.sticky)
        d->fail.nth = 0;
    return true;
}

static void request_end(struct disk_mem *d, struct disk_req *r)
{
    list_remove(&r->node);
    d->stats.requests_under_way--;
    if (fails_now(d, r)) {
        request_fail(d, r);
        r->err = d->fail.err;
    } else {
        r->err = request_run(d, r);
    }
    r->cb(r);
}

static struct disk_req *first_due(struct disk_mem *d)
{
    struct disk_req *first = NULL;
    if (!list_empty(&d->changes))
        first = container_of(d->changes.next, struct disk_req, node);
    list_for_each(it, &d->reads) {
        struct disk_req *r = container_of(it, struct disk_req, node);
        if (!first || r->due_ns < first->due_ns)
            first = r;
    }
    return first;
}

static void timer_arm(struct disk_mem *d)
{
    struct disk_req *first = first_due(d);
    uint64_t now = env_now_ns(d->env);
    if (first)
        env_timer_start(&d->timer, first->due_ns > now ? first->due_ns - now : 0);
}

static void on_timer(struct env_timer *t)
{
    struct disk_mem *d = container_of(t, struct disk_mem, timer);
    if (d->closed) {
        void (*closed)(void *) = d->closed;
        d->closed = NULL;
        closed(d->closed_arg);
        return;
    }
    /* One request a turn: what its callback starts is then ordered among the others by its time. */
    struct disk_req *r = first_due(d);
    if (r && r->due_ns <= env_now_ns(d->env))
        request_end(d, r);
    timer_arm(d);
}

static void mem_start(struct disk *disk, struct disk_req *r)
{
    struct disk_mem *d = of(disk);
    bool change = disk_kind_changes(r->kind);
    CHECK(r->cb && (r->kind != DISK_WRITE || r->slice_count <= DISK_SLICES_MAX));
    r->disk = disk;
    r->due_ns = env_now_ns(d->env);
    if (d->config.delay_ns_max)
        r->due_ns += rnd(d) % (d->config.delay_ns_max + 1);
    if (change && !list_empty(&d->changes))
        r->due_ns = MAX(r->due_ns, container_of(d->changes.prev, struct disk_req, node)->due_ns);
    list_push_back(change ? &d->changes : &d->reads, &r->node);
    d->stats.requests_under_way++;
    timer_arm(d);
}

static void mem_file_close(struct disk *disk, struct disk_file *f)
{
    (void)disk;
    CHECK(f->opens > 0);
    f->opens--;
}

/* The owner frees the disk itself: it is what survives. */
static void mem_close(struct disk *disk, void (*done)(void *arg), void *arg)
{
    struct disk_mem *d = of(disk);
    CHECK(list_empty(&d->changes) && list_empty(&d->reads));
    d->closed = done;
    d->closed_arg = arg;
    env_timer_start(&d->timer, 0);
}

static const struct disk_ops disk_mem_ops = {mem_start, mem_file_close, mem_close};

/* ---- for tests ---- */

struct disk *disk_mem_new(struct env *env, const struct disk_mem_config *config)
{
    struct disk_mem *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    d->disk.ops = &disk_mem_ops;
    d->config = *config;
    d->rng = config->seed;
    list_init(&d->files);
    list_init(&d->changes);
    list_init(&d->reads);
    disk_mem_attach(&d->disk, env);
    return &d->disk;
}

void disk_mem_attach(struct disk *disk, struct env *env)
{
    struct disk_mem *d = of(disk);
    d->env = env;
    env_timer_init(env, &d->timer, on_timer);
}

void disk_mem_free(struct disk *disk)
{
    if (!disk)
        return;
    struct disk_mem *d = of(disk);
    env_timer_stop(&d->timer);
    while (!list_empty(&d->files))
        file_free(d, container_of(d->files.next, struct disk_file, node));
    while (d->free_undo) {
        struct undo *u = d->free_undo;
        d->free_undo = u->next;
        free(u);
    }
    free(d);
}

/* The writer was somewhere within the queue: so many requests are done, one half, the rest not. */
static void changes_cut_off(struct disk_mem *d)
{
    uint64_t count = 0;
    list_for_each(it, &d->changes)
        count++;
    uint64_t done = rnd(d) % (count + 1);
    while (!list_empty(&d->changes)) {
        struct disk_req *r = container_of(list_pop_front(&d->changes), struct disk_req, node);
        if (done > 0) {
            done--;
            (void)request_run(d, r);
        } else {
            if (r->kind == DISK_WRITE)
                (void)slices_write(d, r, true);
            while (!list_empty(&d->changes))
                list_pop_front(&d->changes);
        }
    }
}

static void file_crash(struct disk_mem *d, struct disk_file *f, uint64_t mode)
{
    for (size_t i = 0; i < f->dirty_count; i++) {
        uint32_t sector = f->dirty_list[i];
        bool torn = d->config.sector_bytes == 1 && rnd(d) % 4 == 0;
        if (f->dirty[sector]->lost || mode == 0 || (mode == 1 && rnd(d) % 2) ||
            (mode == 2 && rnd(d) % 16 == 0))
            sector_rollback(d, f, sector, torn && !f->dirty[sector]->lost);
        undo_drop(d, f, sector);
    }
    f->dirty_count = 0;
}

void disk_mem_crash(struct disk *disk, bool lose)
{
    struct disk_mem *d = of(disk);
    uint64_t mode = rnd(d) % 4; /* all is lost, half, little, nothing */
    env_timer_stop(&d->timer);
    changes_cut_off(d);
    while (!list_empty(&d->reads))
        list_pop_front(&d->reads);
    d->stats.requests_under_way = 0;
    d->closed = NULL;
    list_for_each(it, &d->files) {
        struct disk_file *f = container_of(it, struct disk_file, node);
        f->opens = 0;
        if (lose)
            file_crash(d, f, mode);
    }
}

void disk_mem_fail(struct disk *disk, enum disk_kind kind, uint32_t nth, int err, bool sticky)
{
    struct disk_mem *d = of(disk);
    d->fail.kind = kind;
    d->fail.nth = nth;
    d->fail.err = err;
    d->fail.sticky = sticky;
}

void disk_mem_fail_clear(struct disk *disk) { of(disk)->fail.nth = 0; }

bool disk_mem_flip(struct disk *disk, const char *name, uint64_t offset, unsigned bit)
{
    struct disk_mem *d = of(disk);
    struct disk_file *f = file_find(d, name);
    if (!f || offset >= f->bytes)
        return false;
    f->data[offset] ^= (uint8_t)(1u << bit % 8);
    if (f->dirty[offset / SECTOR])
        f->dirty[offset / SECTOR]->old[offset % SECTOR] ^= (uint8_t)(1u << bit % 8);
    return true;
}

void disk_mem_set_bytes_total(struct disk *disk, uint64_t bytes_total)
{
    of(disk)->config.bytes_total = bytes_total;
}

bool disk_mem_peek(struct disk *disk, const char *name, uint64_t offset, void *ret, size_t len)
{
    struct disk_file *f = file_find(of(disk), name);
    if (!f || offset > f->bytes || len > f->bytes - offset)
        return false;
    memcpy(ret, f->data + offset, len);
    return true;
}

void disk_mem_stats_get(const struct disk *disk, struct disk_mem_stats *ret)
{
    *ret = ((const struct disk_mem *)(const void *)disk)->stats;
}
