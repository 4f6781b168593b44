/* Objects on coded groups, through the whole of a gateway loop. */
#include "common/base/check.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>
#include <stdlib.h>

static void run(struct stand *s, int status, const char *method, const char *target,
                struct slice body)
{
    struct exchange x;
    assert_int_equal(exchange_run(s, &x, method, target, body), status);
    exchange_fini(&x);
}

static void assert_get(struct stand *s, const char *target, struct slice body)
{
    struct exchange x;
    assert_int_equal(exchange_run(s, &x, "GET", target, SLICE_EMPTY), 200);
    assert_int_equal(x.out.len, body.len);
    assert_memory_equal(x.out.ptr, body.ptr, body.len);
    exchange_fini(&x);
}

static void assert_range(struct stand *s, const char *target, struct slice body, size_t from,
                         size_t to)
{
    struct exchange x;
    char range[64];
    snprintf(range, sizeof(range), "Range: bytes=%zu-%zu", from, to - 1);
    exchange_start(s, &x, "GET", target, SLICE_EMPTY, range, NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 206);
    assert_int_equal(x.out.len, to - from);
    assert_memory_equal(x.out.ptr, body.ptr + from, to - from);
    exchange_fini(&x);
}

static struct slice make_body(size_t n)
{
    uint8_t *p = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 + i / 1000);
    return SLICE(p, n);
}

static void free_body(struct slice s)
{
    free((void *)(uintptr_t)s.ptr);
}

/* Whole, in ranges and copied, with all nodes and without any one of them. */
static void comes_back_without_any_node(void **state)
{
    (void)state;
    static const size_t sizes[] = {65536, 65537, 262144, 262145, 3000000};
    struct stand s;
    stand_init_coded(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct slice body = make_body(sizes[i]);
        uint64_t coded = blob_client_stats(s.bc)->coded_writes;
        run(&s, 200, "PUT", "/bucket/key", body);
        /* The last segment may be small enough for copies. */
        size_t rest = sizes[i] % s.config.segment_bytes;
        assert_int_equal(blob_client_stats(s.bc)->coded_writes - coded,
                         sizes[i] / s.config.segment_bytes + (rest > 65536));
        for (int down = -1; down < STAND_NODES; down++) {
            if (down >= 0)
                s.node[down].peer->down = true;
            assert_get(&s, "/bucket/key", body);
            assert_range(&s, "/bucket/key", body, sizes[i] / 3, sizes[i] / 2 + 1);
            assert_range(&s, "/bucket/key", body, sizes[i] - 1, sizes[i]);
            if (down >= 0)
                s.node[down].peer->down = false;
        }
        struct exchange x;
        exchange_start(&s, &x, "PUT", "/bucket/copy", SLICE_EMPTY, "x-amz-copy-source: bucket/key",
                       NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, 200);
        exchange_fini(&x);
        assert_get(&s, "/bucket/copy", body);
        free_body(body);
    }
    assert_true(blob_client_stats(s.bc)->read_decodes > 0);
    stand_fini(&s);
}

/* With two of three nodes gone there is nothing to answer with: an error, never other bytes. */
static void too_few_is_said(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(200000);
    stand_init_coded(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket/key", body);
    s.node[0].peer->down = s.node[2].peer->down = true;
    assert_int_equal(exchange_run(&s, &x, "GET", "/bucket/key", SLICE_EMPTY), 503);
    exchange_fini(&x);
    s.node[2].peer->down = false;
    assert_get(&s, "/bucket/key", body);
    free_body(body);
    stand_fini(&s);
}

/* 2 + 1 needs all three; without one there are copies. */
static void copies_while_a_node_is_away(void **state)
{
    (void)state;
    struct stand s;
    struct slice body = make_body(700000);
    stand_init_coded(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    s.node[1].put_hangs = true;
    run(&s, 200, "PUT", "/bucket/key", body);
    assert_int_equal(blob_client_stats(s.bc)->coded_writes, 0);
    s.node[1].peer->down = true;
    assert_get(&s, "/bucket/key", body);
    free_body(body);
    stand_fini(&s);
}

static void failed_upload_leaves_nothing(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct slice body = make_body(1500000);
    stand_init_coded(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    exchange_start(&s, &x, "PUT", "/bucket/key", body, NULL);
    x.break_at = 1000000;
    exchange_wait(&x);
    assert_int_equal(x.status, 400);
    exchange_fini(&x);
    fake_run(&s.f, 10 * NS_PER_SEC);
    assert_true(s.node[0].blob_count > 0 && blob_client_stats(s.bc)->coded_writes > 0);
    assert_int_equal(stand_live_blobs(&s), 0);
    assert_int_equal(s.gw.budget->used, 0);
    free_body(body);
    stand_fini(&s);
}

/* Writes it so, and says how many of its three segments were coded, which the copy of such an
 * object in that other class is, too. */
static void write_in_class(struct stand *s, const char *class, unsigned coded)
{
    struct exchange x;
    struct slice body = make_body(700000);
    char field[64], says[80];
    uint64_t before = blob_client_stats(s->bc)->coded_writes;
    snprintf(field, sizeof(field), "x-amz-storage-class: %s", class);
    snprintf(says, sizeof(says), "<StorageClass>%s</StorageClass>", class);
    exchange_start(s, &x, "PUT", "/bucket/key", body, field, NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 200);
    exchange_fini(&x);
    assert_int_equal(blob_client_stats(s->bc)->coded_writes - before, coded);
    assert_get(s, "/bucket/key", body);
    assert_int_equal(exchange_run(s, &x, "HEAD", "/bucket/key", SLICE_EMPTY), 200);
    assert_int_equal(exchange_says(&x, field), strcmp(class, "STANDARD") != 0); /* as S3 does */
    exchange_fini(&x);
    assert_int_equal(exchange_run(s, &x, "GET", "/bucket?list-type=2", SLICE_EMPTY), 200);
    assert_true(exchange_says(&x, says));
    exchange_fini(&x);
    free_body(body);
}

static void the_class_chooses_the_scheme(void **state)
{
    (void)state;
    static const struct gateway_class classes[] = {{{(const uint8_t *)"STANDARD", sizeof("STANDARD") - 1}, {1, 2}},
                                                   {{(const uint8_t *)"ECONOMY", sizeof("ECONOMY") - 1}, {2, 1}},
                                                   {{(const uint8_t *)"WIDE", sizeof("WIDE") - 1}, {9, 3}}};
    struct stand s;
    struct exchange x;
    struct slice body = make_body(700000);
    stand_init_coded(&s);
    s.config.classes = classes;
    s.config.class_count = ARRAY_COUNT(classes);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    write_in_class(&s, "ECONOMY", 3);
    write_in_class(&s, "STANDARD", 0);
    write_in_class(&s, "STANDARD_IA", 0); /* not the operator's: as STANDARD */
    write_in_class(&s, "WIDE", 0);        /* of which there is no group yet: copies */
    /* A copy onto itself may change the class, and is written anew. */
    uint64_t before = blob_client_stats(s.bc)->coded_writes;
    exchange_start(&s, &x, "PUT", "/bucket/key", SLICE_EMPTY, "x-amz-copy-source: bucket/key",
                   "x-amz-storage-class: ECONOMY", NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 200);
    exchange_fini(&x);
    assert_int_equal(blob_client_stats(s.bc)->coded_writes - before, 3);
    assert_get(&s, "/bucket/key", body);
    for (int copy = 0; copy < 2; copy++) {
        static const char *const unknown[] = {"GLACIER", "economy", "X"};
        for (size_t i = 0; i < ARRAY_COUNT(unknown); i++) {
            char field[64];
            snprintf(field, sizeof(field), "x-amz-storage-class: %s", unknown[i]);
            exchange_start(&s, &x, "PUT", "/bucket/key", copy ? SLICE_EMPTY : body, field,
                           copy ? "x-amz-copy-source: bucket/key" : NULL, NULL);
            exchange_wait(&x);
            assert_int_equal(x.status, 400);
            assert_true(exchange_says(&x, "InvalidStorageClass"));
            exchange_fini(&x);
        }
    }
    free_body(body);
    stand_fini(&s);
}

/* Parts are written as the class of their upload says. */
static void parts_have_the_uploads_class(void **state)
{
    (void)state;
    static const struct gateway_class classes[] = {{{(const uint8_t *)"STANDARD", sizeof("STANDARD") - 1}, {1, 2}},
                                                   {{(const uint8_t *)"ECONOMY", sizeof("ECONOMY") - 1}, {2, 1}}};
    for (int economy = 0; economy < 2; economy++) {
        struct stand s;
        struct exchange x;
        struct slice body = make_body(300000);
        char target[128], id[33] = "";
        stand_init_coded(&s);
        s.config.classes = classes;
        s.config.class_count = ARRAY_COUNT(classes);
        run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
        run(&s, 200, "PUT", "/bucket/source", body);
        exchange_start(&s, &x, "POST", "/bucket/mp?uploads", SLICE_EMPTY,
                       economy ? "x-amz-storage-class: ECONOMY" : NULL, NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, 200);
        const char *at = memmem(x.out.ptr, x.out.len, "<UploadId>", 10);
        assert_non_null(at);
        memcpy(id, at + 10, 32);
        exchange_fini(&x);
        assert_int_equal(blob_client_stats(s.bc)->coded_writes, 0);
        snprintf(target, sizeof(target), "/bucket/mp?partNumber=1&uploadId=%s", id);
        run(&s, 200, "PUT", target, body);
        assert_int_equal(blob_client_stats(s.bc)->coded_writes, economy ? 1 : 0);
        snprintf(target, sizeof(target), "/bucket/mp?partNumber=2&uploadId=%s", id);
        exchange_start(&s, &x, "PUT", target, SLICE_EMPTY, "x-amz-copy-source: bucket/source",
                       NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, 200);
        exchange_fini(&x);
        assert_int_equal(blob_client_stats(s.bc)->coded_writes, economy ? 2 : 0);
        free_body(body);
        stand_fini(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_without_any_node),
        cmocka_unit_test(too_few_is_said),
        cmocka_unit_test(copies_while_a_node_is_away),
        cmocka_unit_test(failed_upload_leaves_nothing),
        cmocka_unit_test(the_class_chooses_the_scheme),
        cmocka_unit_test(parts_have_the_uploads_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
