/* Objects whose blocks are all sound, and which yet are not what was stored: never given out as
 * whole. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/obs/log.h"
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

static unsigned errors;

static void on_log(void *arg, enum log_level level, const char *event, const char *line)
{
    (void)arg;
    (void)line;
    if (level == LOG_LEVEL_ERROR) {
        assert_string_equal(event, "gateway.object_damaged");
        errors++;
    }
}

static bool damaging;

/* The index keeps another checksum than the data have. */
static bool damage(struct stand *s, struct fake_call *call)
{
    Cairn__ProposeRequest *q = (Cairn__ProposeRequest *)(void *)call->request;
    Cairn__ObjectRecord *r = NULL;
    (void)s;
    if (q->command->op_case == CAIRN__COMMAND__OP_PUT_OBJECT)
        r = q->command->put_object->record;
    else if (q->command->op_case == CAIRN__COMMAND__OP_COMPLETE_UPLOAD)
        r = q->command->complete_upload->record;
    if (r && damaging) {
        assert_true(r->has_crc64nvme);
        r->crc64nvme ^= 1;
    }
    return false;
}

static void assert_mismatches(unsigned n)
{
    struct buf b = {0};
    char line[64];
    snprintf(line, sizeof(line), "\ncairn_gateway_object_mismatches_total %u\n", n);
    metrics_text(&b);
    buf_u8(&b, 0);
    assert_non_null(strstr((const char *)b.ptr, line));
    assert_int_equal(errors, n);
    buf_fini(&b);
}

/* The gateway knows what it has just written; from now on it must ask the index. */
static void forget(struct stand *s)
{
    memset(&s->slots[1], 0xff, sizeof(s->slots[1]));
    memset(&s->slots[2], 0xff, sizeof(s->slots[2]));
}

/* Nothing, or less than all of it, and the client sees which. */
static void assert_not_whole(struct stand *s, const char *target, size_t bytes, bool answered)
{
    struct exchange x;
    int status = exchange_run(s, &x, "GET", target, SLICE_EMPTY);
    assert_int_equal(status, answered ? 500 : -1);
    if (!answered)
        assert_true(x.status == 200 && x.aborted && x.out.len < bytes);
    exchange_fini(&x);
}

static void damaged_object_is_never_whole(void **state)
{
    (void)state;
    /* Inline; one piece; several pieces; more than is read ahead. */
    static const size_t sizes[] = {1, 4096, 5000, 262144, 262145, 3000000};
    uint8_t *bytes = malloc(3000000);
    for (size_t i = 0; i < 3000000; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 1000);
    struct stand s;
    struct exchange x;
    stand_init(&s);
    errors = 0;
    log_hook_set(on_log, NULL);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    s.on_propose = damage;
    unsigned n = 0;
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        damaging = true;
        run(&s, 200, "PUT", "/bucket/key", SLICE(bytes, sizes[i]));
        forget(&s);
        assert_not_whole(&s, "/bucket/key", sizes[i], sizes[i] <= 262144);
        assert_mismatches(++n);
        /* A range says nothing about the whole, and does not pay for it. */
        exchange_start(&s, &x, "GET", "/bucket/key", SLICE_EMPTY, "Range: bytes=0-", NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, 206);
        assert_int_equal(x.out.len, sizes[i]);
        exchange_fini(&x);
        run(&s, 200, "HEAD", "/bucket/key", SLICE_EMPTY);
        /* A copy would be as damaged, under a checksum that fits. */
        exchange_start(&s, &x, "PUT", "/bucket/copy", SLICE_EMPTY, "x-amz-copy-source: bucket/key",
                       NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, 500);
        exchange_fini(&x);
        assert_mismatches(++n);
        damaging = false;
        run(&s, 200, "PUT", "/bucket/key", SLICE(bytes, sizes[i]));
        run(&s, 200, "GET", "/bucket/key", SLICE_EMPTY);
        assert_mismatches(n);
    }
    log_hook_set(NULL, NULL);
    free(bytes);
    stand_fini(&s);
}

static void damaged_multipart_object_is_never_whole(void **state)
{
    (void)state;
    static const size_t part_bytes[] = {2000, 300000}; /* inline parts; parts in segments */
    enum { BYTES = 900000 };
    uint8_t *bytes = calloc(1, BYTES);
    char id[33];
    struct stand s;
    stand_init(&s);
    errors = 0;
    log_hook_set(on_log, NULL);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    s.on_propose = damage;
    unsigned n = 0;
    for (size_t i = 0; i < ARRAY_COUNT(part_bytes); i++) {
        struct slice body = SLICE(bytes, i == 0 ? 20000 : BYTES);
        damaging = true;
        exchange_upload(&s, body, part_bytes[i], id);
        forget(&s);
        assert_not_whole(&s, "/bucket/mp", body.len, false);
        assert_mismatches(++n);
        run(&s, 206, "GET", "/bucket/mp?partNumber=2", SLICE_EMPTY);
        damaging = false;
        exchange_upload(&s, body, part_bytes[i], id);
        run(&s, 200, "GET", "/bucket/mp", SLICE_EMPTY);
        assert_mismatches(n);
    }
    log_hook_set(NULL, NULL);
    free(bytes);
    stand_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_object_is_never_whole),
        cmocka_unit_test(damaged_multipart_object_is_never_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
