/* Versions through the whole of a gateway loop: the change of the setting meets writes under way,
 * and dies half way; long GETs of a version that is no longer the current one. */
#include "common/base/check.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>
#include <stdlib.h>

#define ENABLE                                                                                     \
    SLICE_LIT("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
#define SUSPEND                                                                                    \
    SLICE_LIT("<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>")

static void run(struct stand *s, int status, const char *method, const char *target,
                struct slice body)
{
    struct exchange x;
    int got = exchange_run(s, &x, method, target, body);
    if (got != status)
        fail_msg("%s %s: %d instead of %d", method, target, got, status);
    exchange_fini(&x);
}

/* A field of the answer's head; "": there is none. */
static void head_field(const struct exchange *x, const char *name, char ret[64])
{
    struct buf head = {0};
    buf_slice(&head, buf_view(&x->head));
    buf_u8(&head, 0);
    const char *at = strstr((const char *)head.ptr, name);
    ret[0] = '\0';
    if (at)
        sscanf(at + strlen(name), ": %63[^\r\n]", ret);
    buf_fini(&head);
}

/* A request whose answer has this x-amz-version-id. */
static void run_version(struct stand *s, int status, const char *method, const char *target,
                        struct slice body, char ret_id[64])
{
    struct exchange x;
    assert_int_equal(exchange_run(s, &x, method, target, body), status);
    head_field(&x, "x-amz-version-id", ret_id);
    exchange_fini(&x);
}

__attribute__((format(printf, 3, 4))) static void assert_get(struct stand *s, struct slice body,
                                                             const char *format, ...)
{
    struct exchange x;
    char target[128];
    va_list args;
    va_start(args, format);
    vsnprintf(target, sizeof(target), format, args);
    va_end(args);
    int status = exchange_run(s, &x, "GET", target, SLICE_EMPTY);
    if (status != 200 || !slice_eq(buf_view(&x.out), body))
        fail_msg("GET %s: %d, %zu bytes", target, status, x.out.len);
    exchange_fini(&x);
}

static const Cairn__Command *command_of(struct fake_call *call)
{
    return ((const Cairn__ProposeRequest *)(void *)call->request)->command;
}

/* ---- writes under way ---- */

static bool enable_first(struct stand *s, struct fake_call *call)
{
    if (command_of(call)->op_case != CAIRN__COMMAND__OP_PUT_OBJECT)
        return false;
    s->on_propose = NULL;
    run(s, 200, "PUT", "/bucket?versioning", ENABLE);
    return false;
}

static void a_write_under_way_makes_a_version(void **state)
{
    (void)state;
    struct stand s;
    char id[64];
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run_version(&s, 200, "PUT", "/bucket/key", SLICE_LIT("before"), id);
    assert_string_equal(id, "");
    s.on_propose = enable_first;
    run_version(&s, 200, "PUT", "/bucket/key", SLICE_LIT("under way"), id);
    assert_int_equal(strlen(id), 26);
    assert_get(&s, SLICE_LIT("under way"), "/bucket/key");
    assert_get(&s, SLICE_LIT("under way"), "/bucket/key?versionId=%s", id);
    assert_get(&s, SLICE_LIT("before"), "/bucket/key?versionId=null");
    stand_fini(&s);
}

/* ---- a change that dies ---- */

static unsigned finished;
static Cairn__Command__OpCase dies_at;

static bool die(struct stand *s, struct fake_call *call)
{
    (void)s;
    return command_of(call)->op_case == dies_at;
}

static bool watch(struct stand *s, struct fake_call *call)
{
    (void)s;
    finished += command_of(call)->op_case == CAIRN__COMMAND__OP_FINISH_SETTING;
    return false;
}

static void a_dead_change_is_taken_over(void **state)
{
    (void)state;
    static const Cairn__Command__OpCase at[] = {CAIRN__COMMAND__OP_FENCE_BUCKET,
                                                CAIRN__COMMAND__OP_FINISH_SETTING};
    for (size_t i = 0; i < ARRAY_COUNT(at); i++) {
        struct stand s;
        struct exchange x;
        char id[64];
        stand_init(&s);
        finished = 0;
        dies_at = at[i];
        run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
        s.on_propose = die;
        assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket?versioning", ENABLE) / 100, 5);
        exchange_fini(&x);
        s.on_propose = watch;
        /* It blocks nobody, and who reads the bucket assumes the new value. */
        run_version(&s, 200, "PUT", "/bucket/key", SLICE_LIT("x"), id);
        assert_int_equal(strlen(id), 26);
        assert_int_equal(finished, 0);
        fake_run(&s.f, 11 * NS_PER_SEC);
        run(&s, 200, "HEAD", "/bucket", SLICE_EMPTY); /* meets it, and finishes it */
        fake_run(&s.f, NS_PER_SEC);
        assert_int_equal(finished, 1);
        fake_run(&s.f, 11 * NS_PER_SEC);
        run(&s, 200, "HEAD", "/bucket", SLICE_EMPTY);
        fake_run(&s.f, NS_PER_SEC);
        assert_int_equal(finished, 1);
        stand_fini(&s);
    }
}

/* ---- what the cache says ---- */

static void the_cache_knows_markers(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    char marker[64], first[64], got[64];
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket?versioning", ENABLE);
    run_version(&s, 200, "PUT", "/bucket/key", SLICE_LIT("one"), first);
    run_version(&s, 204, "DELETE", "/bucket/key", SLICE_EMPTY, marker);
    uint64_t reads = meta_client_stats(s.mc)->leader_reads;
    assert_int_equal(exchange_run(&s, &x, "GET", "/bucket/key", SLICE_EMPTY), 404);
    head_field(&x, "x-amz-version-id", got);
    assert_string_equal(got, marker);
    head_field(&x, "x-amz-delete-marker", got);
    assert_string_equal(got, "true");
    exchange_fini(&x);
    assert_true(meta_client_stats(s.mc)->leader_reads == reads); /* what was written is cached */
    char target[128];
    snprintf(target, sizeof(target), "/bucket/key?versionId=%s", marker);
    run(&s, 405, "GET", target, SLICE_EMPTY);
    run(&s, 405, "HEAD", target, SLICE_EMPTY);
    run(&s, 204, "DELETE", target, SLICE_EMPTY);
    run(&s, 404, "GET", target, SLICE_EMPTY);
    assert_get(&s, SLICE_LIT("one"), "/bucket/key");
    /* A read by version leaves the cached current record as it is. */
    run(&s, 200, "PUT", "/bucket/key", SLICE_LIT("two"));
    assert_get(&s, SLICE_LIT("one"), "/bucket/key?versionId=%s", first);
    assert_get(&s, SLICE_LIT("two"), "/bucket/key");
    /* Suspended: the marker is the null version; deleting that brings the older one back. */
    run(&s, 200, "PUT", "/bucket?versioning", SUSPEND);
    run_version(&s, 204, "DELETE", "/bucket/key", SLICE_EMPTY, got);
    assert_string_equal(got, "null");
    run(&s, 404, "GET", "/bucket/key", SLICE_EMPTY);
    run(&s, 204, "DELETE", "/bucket/key?versionId=null", SLICE_EMPTY);
    assert_get(&s, SLICE_LIT("two"), "/bucket/key");
    stand_fini(&s);
}

/* ---- lists ---- */

/* The text of an element, or "". */
static void element(const char *document, const char *name, char ret[128])
{
    char open[64];
    snprintf(open, sizeof(open), "<%s>", name);
    const char *at = strstr(document, open);
    ret[0] = '\0';
    if (at)
        sscanf(at + strlen(open), "%127[^<]", ret);
}

static size_t count_of(const char *document, const char *text)
{
    size_t count = 0;
    for (const char *at = document; (at = strstr(at, text)); at++)
        count++;
    return count;
}

/* "/bucket/a" and "/bucket/zkey" lie in different partitions. */
static void lists_cross_partitions(void **state)
{
    (void)state;
    struct stand s;
    char target[400], key[128], version[128], id[64];
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket/a", SLICE_LIT("null"));
    run(&s, 200, "PUT", "/bucket?versioning", ENABLE);
    for (int i = 0; i < 3; i++) {
        run(&s, 200, "PUT", "/bucket/a", SLICE_LIT("x"));
        run(&s, 200, "PUT", "/bucket/zkey", SLICE_LIT("x"));
    }
    run_version(&s, 204, "DELETE", "/bucket/zkey", SLICE_EMPTY, id);
    for (int page = 1; page <= 9; page++) {
        size_t found = 0, latest = 0, pages = 0, markers = 0;
        bool more = true;
        for (key[0] = version[0] = '\0'; more; pages++) {
            struct exchange x;
            snprintf(target, sizeof(target), "/bucket?versions&max-keys=%d&key-marker=%s%s%s", page,
                     key, version[0] ? "&version-id-marker=" : "", version);
            assert_int_equal(exchange_run(&s, &x, "GET", target, SLICE_EMPTY), 200);
            buf_u8(&x.out, 0);
            const char *document = (const char *)x.out.ptr;
            size_t entries = count_of(document, "<IsLatest>");
            found += entries;
            latest += count_of(document, "<IsLatest>true");
            markers += count_of(document, "<DeleteMarker>");
            more = strstr(document, "<IsTruncated>true") != NULL;
            assert_true(!more || entries == (size_t)page);
            element(document, "NextKeyMarker", key);
            element(document, "NextVersionIdMarker", version);
            exchange_fini(&x);
        }
        assert_true(found == 8 && latest == 2 && markers == 1);
        assert_int_equal(pages, (8 + page - 1) / page);
    }
    stand_fini(&s);
}

/* ---- data ---- */

static bool overwrite(struct stand *s, struct fake_call *call)
{
    (void)call;
    s->on_view = NULL;
    run(s, 200, "PUT", "/bucket/key", SLICE_LIT("newer"));
    return false;
}

/* An object of segments is overwritten while it is read: its data are those of an older version
 * now. */
static void blobs_go_with_their_version(void **state)
{
    (void)state;
    enum { BYTES = 3000000 };
    struct stand s;
    char id[64], target[128];
    uint8_t *bytes = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 1000);
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket?versioning", ENABLE);
    run_version(&s, 200, "PUT", "/bucket/key", SLICE(bytes, BYTES), id);
    memset(s.slots, 0xff, sizeof(s.slots)); /* so that the record is read at its leader */
    s.on_view = overwrite;
    snprintf(target, sizeof(target), "/bucket/key?versionId=%s", id);
    assert_get(&s, SLICE(bytes, BYTES), "%s", target);
    assert_get(&s, SLICE_LIT("newer"), "/bucket/key");
    assert_get(&s, SLICE(bytes, BYTES), "%s", target);
    run(&s, 204, "DELETE", target, SLICE_EMPTY);
    run(&s, 404, "GET", target, SLICE_EMPTY);
    assert_get(&s, SLICE_LIT("newer"), "/bucket/key");
    stand_fini(&s);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_under_way_makes_a_version),
        cmocka_unit_test(a_dead_change_is_taken_over),
        cmocka_unit_test(the_cache_knows_markers),
        cmocka_unit_test(lists_cross_partitions),
        cmocka_unit_test(blobs_go_with_their_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
