/* How fast the gateway makes and rebuilds shards, next to the coding library alone on the same
 * bytes in the same run: CPU time of one thread, best of several rounds taken in turns.
 *
 *   make   code_make(): encode, sum every parity block, decode what the blob's id drops, sum that
 *   mend   code_rebuild(): a missing data shard, a window at a time, as a read does
 *
 *   build/rel/bin/cairn-bench-ec [ROUNDS] */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "gateway/blob/code.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SEGMENT_BYTES (4u << 20)
#define SEGMENTS 8u /* more than the near caches hold, as of several bodies in turn */
#define WINDOW_BYTES (256u << 10)

struct run {
    struct ec ec;
    struct blob_segment segment[SEGMENTS];
    struct id128 id[SEGMENTS];
    uint8_t *scratch; /* shards' worth: where the library alone puts its results */
    size_t shard_bytes;
};

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void run_init(struct run *r, struct budget *budget, unsigned data, unsigned parity)
{
    *r = (struct run){0};
    CHECK(ec_init(&r->ec, data, parity) == OK);
    r->shard_bytes = (size_t)ec_shard_bytes(data, SEGMENT_BYTES);
    r->scratch = malloc((data + parity) * r->shard_bytes * 2);
    CHECK(r->scratch);
    memset(r->scratch, 1, (data + parity) * r->shard_bytes * 2);
    for (unsigned k = 0; k < SEGMENTS; k++) {
        CHECK(blob_segment_init(&r->segment[k], budget, SEGMENT_BYTES,
                                code_buffer_bytes(&r->ec, SEGMENT_BYTES)) == OK);
        r->segment[k].parity = budget_buffer(budget, r->segment[k].parity_bytes);
        CHECK(r->segment[k].parity);
        uint32_t word = 2654435761u * (k + 1);
        for (size_t i = 0; i < SEGMENT_BYTES; i += sizeof(word)) {
            word = word * 1664525u + 1013904223u;
            blob_segment_append(&r->segment[k], SLICE(&word, sizeof(word)));
        }
        r->id[k] = (struct id128){{(uint8_t)(k * 37 + 1)}};
    }
}

static void run_fini(struct run *r)
{
    for (unsigned k = 0; k < SEGMENTS; k++)
        blob_segment_fini(&r->segment[k]);
    free(r->scratch);
}

static void make_ours(struct run *r)
{
    for (unsigned k = 0; k < SEGMENTS; k++)
        CHECK(code_make(&r->ec, &r->segment[k], r->id[k]) == OK);
}

/* Data shards of a segment as the library takes them, the last ones padded once beforehand. */
static void data_of(const struct run *r, unsigned k, const uint8_t **shard)
{
    const uint8_t *data = r->segment[k].buf->data;
    for (unsigned i = 0; i < r->ec.data; i++)
        shard[i] = (i + 1) * r->shard_bytes <= SEGMENT_BYTES
                       ? data + i * r->shard_bytes
                       : r->scratch + (r->ec.data + r->ec.parity + i) * r->shard_bytes;
}

/* The same encoding and decoding, whole shards in one call each; with sums: those of what came out,
 * and of what was kept, too. */
static void make_bare(struct run *r, bool sums)
{
    unsigned n = r->ec.data + r->ec.parity;
    for (unsigned k = 0; k < SEGMENTS; k++) {
        const uint8_t *shard[EC_SHARDS_MAX], *from[EC_DATA_MAX];
        uint8_t *parity[EC_PARITY_MAX], *to[EC_SHARDS_MAX];
        uint32_t want = code_dropped(&r->ec, r->id[k]);
        struct ec_plan plan;
        data_of(r, k, shard);
        for (unsigned i = 0; i < r->ec.parity; i++)
            shard[r->ec.data + i] = parity[i] = r->scratch + i * r->shard_bytes;
        ec_encode(&r->ec, r->shard_bytes, shard, parity);
        for (unsigned i = 0; i < r->ec.parity && sums; i++)
            (void)crc32c(0, SLICE(parity[i], r->shard_bytes));
        for (unsigned i = 0; i < r->ec.data && sums; i++)
            if (!(want & 1u << i))
                (void)crc32c(0, SLICE(shard[i], r->shard_bytes));
        CHECK(ec_plan_init(&plan, &r->ec, ((1u << n) - 1) & ~want, want) == OK);
        for (unsigned i = 0; i < plan.data; i++)
            from[i] = shard[plan.from[i]];
        for (unsigned i = 0; i < plan.wanted; i++)
            to[i] = r->scratch + (r->ec.parity + i) * r->shard_bytes;
        ec_rebuild(&plan, r->shard_bytes, from, to);
        for (unsigned i = 0; i < plan.wanted && sums; i++)
            (void)crc32c(0, SLICE(to[i], r->shard_bytes));
    }
}

/* Data shard 0 from the lowest others. */
static void mend(struct run *r, size_t window)
{
    for (unsigned k = 0; k < SEGMENTS; k++) {
        const uint8_t *shard[EC_SHARDS_MAX] = {NULL}, *range[EC_SHARDS_MAX] = {NULL};
        data_of(r, k, shard);
        for (unsigned i = 0; i < r->ec.parity; i++)
            shard[r->ec.data + i] = r->segment[k].parity->data + i * r->shard_bytes;
        for (size_t at = 0; at < r->shard_bytes; at += window) {
            size_t len = MIN(window, r->shard_bytes - at);
            for (unsigned i = 1; i <= r->ec.data; i++)
                range[i] = shard[i] + at;
            CHECK(code_rebuild(&r->ec, 0, range, len, r->scratch + at) == OK);
        }
    }
}

enum { MAKE_OURS, MAKE_BARE, MAKE_SUMMED, MEND_OURS, MEND_BARE, KINDS };

static double once(struct run *r, int kind)
{
    double from = cpu_s();
    switch (kind) {
    case MAKE_OURS: make_ours(r); break;
    case MAKE_BARE: make_bare(r, false); break;
    case MAKE_SUMMED: make_bare(r, true); break;
    case MEND_OURS: mend(r, WINDOW_BYTES); break;
    default: mend(r, r->shard_bytes); break;
    }
    return cpu_s() - from;
}

int main(int argc, char **argv)
{
    static const unsigned shapes[][2] = {{5, 4}, {3, 3}};
    int rounds = argc > 1 ? atoi(argv[1]) : 40;
    struct budget *budget = budget_new(NULL, 1u << 30);
    CHECK(budget && rounds > 0);
    for (size_t s = 0; s < ARRAY_COUNT(shapes); s++) {
        struct run r;
        double best[KINDS];
        run_init(&r, budget, shapes[s][0], shapes[s][1]);
        for (int kind = 0; kind < KINDS; kind++)
            best[kind] = once(&r, kind);
        for (int i = 0; i < rounds; i++)
            for (int kind = 0; kind < KINDS; kind++)
                best[kind] = MIN(best[kind], once(&r, kind));
        double made = (double)SEGMENTS * SEGMENT_BYTES / 1e9;
        double mended = (double)SEGMENTS * (double)r.shard_bytes / 1e9;
        printf(
            "%u+%u make: %.2f GB/s of data; coding alone %.2f, ratio %.2f; coding and sums %.2f, "
            "ratio %.2f\n",
            r.ec.data, r.ec.parity, made / best[MAKE_OURS], made / best[MAKE_BARE],
            best[MAKE_BARE] / best[MAKE_OURS], made / best[MAKE_SUMMED],
            best[MAKE_SUMMED] / best[MAKE_OURS]);
        printf("%u+%u mend: %.2f GB/s rebuilt; coding alone %.2f, ratio %.2f\n", r.ec.data,
               r.ec.parity, mended / best[MEND_OURS], mended / best[MEND_BARE],
               best[MEND_BARE] / best[MEND_OURS]);
        run_fini(&r);
    }
    budget_unref(budget);
    return 0;
}
