/* Extents made ready ahead of need: new files, and the next life of those that reclamation emptied.
 *
 *   RESTING     looks for work: emptied extents that nobody reads any more, then new ones
 *   OPENING     a new file
 *   ALLOCATING  takes its space, so that later writes change no metadata
 *   HEADING     writes and syncs the header: generation and salt of the life that begins
 *
 * A full file system is no failure: there are as many extents as there are, until it has room. */
#include "storagenode/op/store_impl.h"

#include "common/base/check.h"
#include "common/base/mutant.h"
#include "common/base/probe.h"

enum { RESTING, OPENING, ALLOCATING, HEADING, PREPARE_STATES };
static const char *const state_names[] = {"RESTING", "OPENING", "ALLOCATING", "HEADING"};
static const uint32_t transitions[] = {
    [RESTING] = 1u << OPENING | 1u << ALLOCATING | 1u << HEADING,
    [OPENING] = 1u << ALLOCATING | 1u << RESTING,
    [ALLOCATING] = 1u << HEADING | 1u << RESTING,
    [HEADING] = 1u << RESTING,
};

#define RETRY_NS (5 * NS_PER_SEC)

static void on_done(struct disk_req *req)
{
    struct store *s = container_of(req, struct store, prepare.req);
    s->prepare.pending = false;
    op_wake(&s->prepare.op);
}

static void start(struct store *s, enum disk_kind kind)
{
    struct prepare *p = &s->prepare;
    p->req.kind = kind;
    p->req.cb = on_done;
    p->req.file = p->file;
    p->pending = true;
    disk_start(s->disk, &p->req);
}

static enum op_next open_new(struct store *s)
{
    struct prepare *p = &s->prepare;
    char name[EXTENT_NAME_BYTES + 1];
    extent_name(p->header.id, name);
    p->req = (struct disk_req){.flags = DISK_CREATE};
    memcpy(p->req.name, name, sizeof(name));
    start(s, DISK_OPEN);
    return op_move(&p->op, OPENING);
}

static enum op_next allocate(struct store *s)
{
    s->prepare.req = (struct disk_req){.offset = s->prepare.header.bytes};
    start(s, DISK_ALLOCATE);
    return op_move(&s->prepare.op, ALLOCATING);
}

static enum op_next head(struct store *s)
{
    struct prepare *p = &s->prepare;
    extent_header_encode(&p->header, p->block);
    p->slice = SLICE(p->block, sizeof(p->block));
    p->req = (struct disk_req){.flags = DISK_SYNCED, .slices = &p->slice, .slice_count = 1};
    start(s, DISK_WRITE);
    return op_move(&p->op, HEADING);
}

static struct extent *emptied_find(struct store *s)
{
    for (uint32_t i = 0; s->alloc.coming > 0 && i < s->alloc.slots; i++) {
        struct extent *x = s->alloc.extents[i];
        if (x && x->state == EXTENT_FREEING &&
            (x->readers == 0 || MUTANT(STORE_READERS_IGNORED)))
            return x;
        if (x && x->state == EXTENT_FREEING)
            PROBE(PREPARE_READERS);
    }
    return NULL;
}

static void header_begin(struct store *s)
{
    struct extent_header *h = &s->prepare.header;
    *h = (struct extent_header){.bytes = s->alloc.extent_bytes, .disk_id = s->disk_id};
    env_random(s->env, &h->salt, sizeof(h->salt));
}

static enum op_next rest(struct store *s)
{
    struct prepare *p = &s->prepare;
    struct extent *x = NULL;
    if (!store_writes(s))
        return OP_WAIT;
    p->extent = x = emptied_find(s);
    if (x) {
        header_begin(s);
        p->header.id = x->header.id;
        /* A header that cannot be read may have been the next generation's, half written. */
        p->header.generation = x->header.generation + 1 + x->header_bad;
        p->file = x->file;
        return x->header_bad ? allocate(s) : head(s);
    }
    bool needed = s->state == STORE_UP || !list_empty(&s->queue);
    if (!needed || s->alloc.free_count + s->alloc.coming >= s->config.extents_ready ||
        !alloc_may_make(&s->alloc) || env_now_ns(s->env) < p->retry_ns)
        return OP_WAIT;
    header_begin(s);
    p->header.id = alloc_next_id(&s->alloc);
    if (p->header.id == 0)
        return OP_WAIT;
    p->header.generation = 1;
    return open_new(s);
}

static enum op_next give_up(struct store *s, int err)
{
    struct prepare *p = &s->prepare;
    if (!p->extent && p->file)
        disk_file_close(s->disk, p->file);
    if (err == ERR_NOSPACE && !p->extent) {
        PROBE(PREPARE_NO_ROOM);
        s->alloc.extents_max = s->alloc.count; /* until the next look at the file system */
        p->retry_ns = env_now_ns(s->env) + RETRY_NS;
    } else {
        store_fail(s, err);
    }
    p->file = NULL;
    store_wake(s);
    return op_move(&p->op, RESTING);
}

static enum op_next ready(struct store *s)
{
    struct prepare *p = &s->prepare;
    if (p->extent) {
        PROBE(PREPARE_REBORN);
        extent_reborn(&s->alloc, p->extent, &p->header);
    } else {
        int err = alloc_add(&s->alloc, &p->header, &p->extent);
        if (err)
            return give_up(s, err);
        p->extent->file = p->file;
    }
    p->extent->unverified_ms = env_wall_ms(s->env);
    struct kv_batch *kv = kv_batch_new();
    if (kv) { /* without it recovery believes the header */
        index_extent(s, kv, p->extent);
        scrub_record_put(kv, p->extent);
        (void)index_write(s, &kv);
    }
    p->file = NULL;
    store_wake(s);
    return op_move(&p->op, RESTING);
}

static enum op_next prepare_step(struct op *op)
{
    struct store *s = container_of(op, struct store, prepare.op);
    struct prepare *p = &s->prepare;
    if (p->pending)
        return OP_WAIT;
    switch (op->state) {
    case RESTING:
        p->file = NULL;
        return rest(s);
    case OPENING:
        if (p->req.err)
            return give_up(s, p->req.err);
        p->file = p->req.file;
        return allocate(s);
    case ALLOCATING:
        if (p->req.err)
            return give_up(s, p->req.err);
        return head(s);
    case HEADING:
        if (p->req.err)
            return give_up(s, p->req.err);
        return ready(s);
    }
    CHECK(0);
    return OP_WAIT;
}

static void never_done(struct op *op)
{
    (void)op;
    CHECK(0);
}

static const struct op_type prepare_type = {"prepare", state_names, transitions, PREPARE_STATES,
                                            prepare_step, NULL, never_done};

void prepare_init(struct store *s) { op_init(&s->prepare.op, &prepare_type, RESTING, 0, 0); }

bool prepare_idle(const struct store *s)
{
    return s->prepare.op.state == RESTING &&
           (s->alloc.coming == 0 || s->state == STORE_FAILED || s->state == STORE_CLOSED);
}
