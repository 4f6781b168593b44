/* Entries of the index's log from any bytes: a sequence of be16(length) ‖ entry data, applied to an
 * object partition and to the root, each on two replicas.  Nothing may crash, both replicas must
 * hold the same bytes, and a refused entry must leave nothing but a moved header. */
#include "common/base/check.h"
#include "common/base/cursor.h"
#include "common/base/err.h"
#include "common/env/kv_mem.h"
#include "metanode/index/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ENTRIES_MAX = 64 };

/* The state store only keeps an env for its flush timer, and nothing here flushes. */
static void timer_ignored(struct env *e, struct env_timer *t, uint64_t delay_ns)
{
    (void)e;
    (void)t;
    (void)delay_ns;
}
static void timer_stopped(struct env *e, struct env_timer *t)
{
    (void)e;
    (void)t;
}
static const struct env_ops no_ops = {.timer_start = timer_ignored, .timer_stop = timer_stopped};
static struct env no_env = {&no_ops};

struct replica {
    struct kv *kv;
    struct index *index;
};

static void replica_init(struct replica *r, uint32_t partition)
{
    struct kv_mem_config config = {.mode = KV_STATE};
    r->kv = kv_mem_new(&no_env, &config);
    CHECK(r->kv && index_create(r->kv, partition, 7, SLICE_EMPTY, SLICE_EMPTY, NULL, 0, 0) == OK);
    CHECK(index_open(r->kv, partition, &r->index) == OK);
}

static void replica_fini(struct replica *r)
{
    index_close(r->index);
    kv_mem_free(r->kv);
}

static void replica_dump(const struct replica *r, uint32_t partition, struct buf *ret)
{
    uint8_t lower[INDEX_RANGE_BYTES], upper[INDEX_RANGE_BYTES];
    index_range(partition, lower, upper);
    for (int family = 0; family < KV_FAMILY_COUNT; family++) {
        struct kv_iter *it =
            r->kv->ops->iter_new(r->kv, NULL, (enum kv_family)family, SLICE(lower, sizeof(lower)),
                                 SLICE(upper, sizeof(upper)));
        CHECK(it);
        for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it); it->ops->next(it)) {
            buf_slice(ret, it->ops->key(it));
            buf_slice(ret, it->ops->value(it));
        }
        it->ops->free(it);
    }
}

static void run(uint32_t partition, struct slice input)
{
    struct replica a, b;
    struct buf da = {0}, db = {0}, touches = {0};
    replica_init(&a, partition);
    replica_init(&b, partition);
    struct cursor c = cursor_of(input);
    for (uint64_t i = 1; i <= ENTRIES_MAX && cursor_left(&c); i++) {
        uint16_t bytes = cursor_be16(&c);
        struct slice entry = cursor_bytes(&c, MIN(bytes, cursor_left(&c)));
        Cairn__Outcome *out = NULL;
        CHECK(index_apply(a.index, i, 1, entry, &out) == OK);
        CHECK(index_apply(b.index, i, 1, entry, NULL) == OK);
        CHECK(out->index <= i);
        cairn__outcome__free_unpacked(out, NULL);
        (void)index_entry_time_ms(entry);
        buf_clear(&touches);
        index_entry_touches(entry, &touches);
    }
    replica_dump(&a, partition, &da);
    replica_dump(&b, partition, &db);
    CHECK(slice_eq(buf_view(&da), buf_view(&db)));
    buf_fini(&da);
    buf_fini(&db);
    buf_fini(&touches);
    replica_fini(&a);
    replica_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    run(1, SLICE(data, size));
    run(ROOT_PARTITION, SLICE(data, size));
    return 0;
}
