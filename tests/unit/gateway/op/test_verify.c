/* Pages of a verification while the world around them changes: objects that are deleted, segments
 * that are moved, ranges that are split, nodes that are silent.  What is told as lost is lost, and
 * what is told as full was asked about. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "proto/keyhash.h"
#include "proto/methods.h"
#include "tests/unit/gateway/op/stand.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE "/_cairn/admin/v1/verify?bucket=bucket&max=1000"
#define BUCKET_ID (UINT64_C(1) << 63)
#define NAMED_MAX 100 /* bad ones in an answer */
#define AGAIN_MAX 16  /* pages that are read again */

static struct stand s;
static unsigned objects, lists, hooks;

/* ---- the world ---- */

/* "a000", "a001", ... all in the first partition, of one segment each. */
static void fill(unsigned count)
{
    static uint8_t body[5000];
    struct exchange x;
    stand_init(&s);
    assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket", SLICE_EMPTY), 200);
    exchange_fini(&x);
    for (objects = 0; objects < count; objects++) {
        char target[32];
        snprintf(target, sizeof(target), "/bucket/a%03u", objects);
        assert_int_equal(exchange_run(&s, &x, "PUT", target, SLICE(body, sizeof(body))), 200);
        exchange_fini(&x);
    }
    fake_run(&s.f, NS_PER_SEC); /* the third copies, too */
    lists = hooks = 0;
}

static void all_shards_are_gone(void)
{
    for (int n = 0; n < STAND_NODES; n++)
        for (unsigned k = 0; k < s.node[n].blob_count; k++)
            s.node[n].blobs[k].deleted = true;
}

static void delete_object(unsigned i)
{
    char key[16];
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__DeleteObject del = CAIRN__DELETE_OBJECT__INIT;
    snprintf(key, sizeof(key), "a%03u", i);
    uint64_t touch = keyhash_object(BUCKET_ID, slice_cstr(key));
    del.bucket_id = BUCKET_ID;
    del.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)key};
    command.op_case = CAIRN__COMMAND__OP_DELETE_OBJECT;
    command.delete_object = &del;
    command.settings_version = 1;
    command.touches = &touch;
    command.n_touches = 1;
    assert_int_equal(stand_command(&s, 1, &command), OK);
}

/* The first object's only segment gets another blob.  Nobody has the old one any more, and the new
 * one only if `copies`. */
static void move_segment(bool copies)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__ListSegmentsRequest list = CAIRN__LIST_SEGMENTS_REQUEST__INIT;
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__MoveSegment move = CAIRN__MOVE_SEGMENT__INIT;
    uint8_t from[ID_BYTES];
    index_view_init(&view, s.index[1], NULL);
    list.epoch = 1;
    list.bucket_id = BUCKET_ID;
    list.rows_max = 1;
    assert_int_equal(index_list_segments(&view, &list, &reply), OK);
    size_t len = cairn__list_segments_response__get_packed_size(&reply.msg.segments);
    uint8_t *packed = malloc(len);
    cairn__list_segments_response__pack(&reply.msg.segments, packed);
    Cairn__ListSegmentsResponse *m = cairn__list_segments_response__unpack(NULL, len, packed);
    Cairn__Segment to = *m->entries[0]->segments[0];
    memcpy(from, to.blob_id.data, ID_BYTES);
    to.blob_id.data[15]++;
    for (int n = 0; n < STAND_NODES; n++)
        for (unsigned k = 0; k < s.node[n].blob_count; k++)
            if (memcmp(s.node[n].blobs[k].id, from, ID_BYTES) == 0) {
                s.node[n].blobs[k].id[15]++;
                s.node[n].blobs[k].deleted = !copies;
            }
    uint64_t touch = keyhash_object(BUCKET_ID, SLICE_LIT("a000"));
    move.bucket_id = BUCKET_ID;
    move.key = m->entries[0]->key;
    move.from_blob_id = (ProtobufCBinaryData){ID_BYTES, from};
    move.to = &to;
    command.op_case = CAIRN__COMMAND__OP_MOVE_SEGMENT;
    command.move_segment = &move;
    command.touches = &touch;
    command.n_touches = 1;
    assert_int_equal(stand_command(&s, 1, &command), OK);
    cairn__list_segments_response__free_unpacked(m, NULL);
    free(packed);
    index_reply_fini(&reply);
}

/* ---- a page ---- */

struct said {
    long long segments, full, degraded, lost, unknown, left_out;
    size_t bad, not_answered;
    uint64_t took_ns;
    char next[160]; /* "": none */
};

static long long number(const json_t *o, const char *name)
{
    return json_integer_value(json_object_get(o, name));
}

static struct said ask(const char *target)
{
    struct said r = {0};
    struct exchange x;
    const json_t *o;
    size_t i, k;
    uint64_t began = s.f.now_ns;
    assert_int_equal(exchange_run(&s, &x, "GET", target, SLICE_EMPTY), 200);
    r.took_ns = s.f.now_ns - began;
    json_t *page = json_loadb((const char *)x.out.ptr, x.out.len, 0, NULL);
    exchange_fini(&x);
    assert_non_null(page);
    r.segments = number(page, "segments");
    r.left_out = number(page, "bad_left_out");
    r.bad = json_array_size(json_object_get(page, "bad"));
    const char *next = json_string_value(json_object_get(page, "next"));
    snprintf(r.next, sizeof(r.next), "%s", next ? next : "");
    json_array_foreach(json_object_get(page, "schemes"), i, o)
    {
        r.full += number(o, "full");
        r.degraded += number(o, "degraded");
        r.lost += number(o, "lost");
        r.unknown += number(o, "unknown");
    }
    json_array_foreach(json_object_get(page, "bad"), i, o)
    {
        const json_t *absent = json_object_get(o, "absent"), *a;
        json_array_foreach(absent, k, a)
        {
            const char *state = json_string_value(json_object_get(a, "state"));
            r.not_answered += strcmp(state, "not answered") == 0;
        }
    }
    json_decref(page);
    assert_int_equal(r.full + r.degraded + r.lost + r.unknown, r.segments);
    return r;
}

/* ---- objects that are deleted ---- */

static unsigned keep_every;

static void deleted_meanwhile(struct stand_node *n)
{
    (void)n;
    for (unsigned i = 0; hooks == 0 && i < objects; i++)
        if (i % keep_every)
            delete_object(i);
    hooks++;
}

/* However many there are. */
static void what_was_deleted_is_no_loss(void **state)
{
    (void)state;
    fill(230);
    assert_int_equal(ask(PAGE).full, 230);
    all_shards_are_gone();
    struct said said = ask(PAGE);
    assert_true(said.lost == 230 && said.bad == NAMED_MAX && said.left_out == 230 - NAMED_MAX);
    keep_every = 10;
    s.on_check = deleted_meanwhile;
    said = ask(PAGE);
    assert_true(said.lost == 23 && said.segments == 23);
    assert_true(said.bad == 23 && said.left_out == 0);
    stand_fini(&s);
}

static uint32_t rows_then;

/* When the index is read again, so many rows of this page are in front of it as fill the next. */
static bool it_has_grown(struct stand *st, struct fake_call *call)
{
    (void)st;
    if (call->method == &method_meta_list_segments && lists++)
        ((Cairn__ListSegmentsRequest *)(void *)call->request)->rows_max = rows_then;
    return false;
}

static void what_has_moved_to_later_pages_is_looked_for_there(void **state)
{
    (void)state;
    fill(40);
    all_shards_are_gone();
    s.on_view = it_has_grown;
    s.on_check = deleted_meanwhile;
    keep_every = 4;
    rows_then = 3; /* four pages with all that is left */
    struct said said = ask(PAGE);
    assert_true(said.lost == 10 && said.bad == 10 && said.segments == 10);
    assert_int_equal(lists, 1 + 4);
    stand_fini(&s);
    /* But not without end: what was not come to is told as it was found. */
    fill(40);
    all_shards_are_gone();
    s.on_view = it_has_grown;
    s.on_check = deleted_meanwhile;
    keep_every = 2;
    rows_then = 1;
    said = ask(PAGE);
    assert_int_equal(lists, 1 + AGAIN_MAX);
    assert_true(said.lost == 20 + 5); /* "a030" was the last one; "a031", ... are left */
    stand_fini(&s);
}

/* ---- ranges that are split ---- */

/* The second range begins at "a005", by the map. */
static bool map_after_the_split(struct stand *st, struct fake_call *call)
{
    static uint8_t at[] = "\x80\0\0\0\0\0\0\0a005";
    const ProtobufCBinaryData bound = {sizeof(at) - 1, at};
    Cairn__ClusterMapResponse r = CAIRN__CLUSTER_MAP_RESPONSE__INIT;
    struct index_view view;
    if (hooks == 0)
        return false;
    index_view_init(&view, st->index[0], NULL);
    assert_int_equal(index_cluster_map(&view, &r.map), OK);
    ProtobufCBinaryData *end = &r.map->partitions[1]->end, *start = &r.map->partitions[2]->start;
    ProtobufCBinaryData end_was = *end, start_was = *start;
    assert_true(r.map->partitions[1]->id == 1 && r.map->partitions[2]->id == 2);
    *end = *start = bound;
    r.as_of = ++r.map->version;
    fake_reply(call, OK, &r.base, (struct payload){0});
    *end = end_was;
    *start = start_was;
    cairn__cluster_map__free_unpacked(r.map, NULL);
    return true;
}

/* Of the first partition's rows the upper ones are at the second. */
static bool rows_after_the_split(struct stand *st, struct fake_call *call)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__ListSegmentsRequest *q = (Cairn__ListSegmentsRequest *)(void *)call->request;
    if (call->method != &method_meta_list_segments || lists++ == 0)
        return false;
    if (q->partition == 1) {
        q->rows_max = 5;
        assert_int_equal(q->start_after.len, 0);
    }
    index_view_init(&view, st->index[1], NULL);
    assert_int_equal(index_list_segments(&view, q, &reply), OK);
    if (q->partition == 1) { /* "a000" to "a004", and there it ends */
        reply.msg.segments.more = false;
        reply.msg.segments.resume_after = (ProtobufCBinaryData){0, NULL};
    }
    fake_reply(call, OK, &reply.msg.base, (struct payload){0});
    index_reply_fini(&reply);
    return true;
}

static void count_hook(struct stand_node *n)
{
    (void)n;
    hooks++;
}

static void behind_a_split_nothing_is_taken_for_deleted(void **state)
{
    (void)state;
    fill(10);
    all_shards_are_gone();
    s.on_check = count_hook;
    s.on_map = map_after_the_split;
    s.on_view = rows_after_the_split;
    struct said said = ask(PAGE);
    assert_true(said.lost == 10 && said.bad == 10 && said.segments == 10);
    assert_int_equal(lists, 1 + 2);
    s.on_map = NULL;
    s.on_view = NULL;
    stand_fini(&s);
}

/* ---- segments that are moved ---- */

static unsigned moves_left;
static bool copies;

static void move_once(struct stand_node *n)
{
    if (n != &s.node[0] || moves_left == 0)
        return;
    moves_left--;
    move_segment(copies);
}

static void what_a_segment_was_moved_to_is_asked_about(void **state)
{
    (void)state;
    for (unsigned moves = 1; moves <= 3; moves++) {
        fill(20);
        s.on_check = move_once;
        moves_left = moves;
        copies = true;
        struct said said = ask(PAGE);
        assert_true(said.full == 20 && said.segments == 20 && said.bad == 0 && moves_left == 0);
        moves_left = moves;
        copies = false;
        said = ask(PAGE);
        assert_true(said.lost == 1 && said.full == 19 && said.bad == 1 && moves_left == 0);
        stand_fini(&s);
    }
    fill(20);
    s.on_check = move_once;
    moves_left = 50; /* whenever it is looked at: nobody knows */
    copies = true;
    struct said said = ask(PAGE);
    assert_true(said.unknown == 1 && said.full == 19 && said.bad == 1 && said.lost == 0);
    assert_int_equal(moves_left, 50 - 4);
    stand_fini(&s);
}

/* ---- nodes that are silent ---- */

/* They take questions, and answer none.  Of what they should have nothing is known, of all else
 * everything; and a page with many rounds of questions does not wait for each of them so long. */
static void silent_nodes_are_waited_for_once(void **state)
{
    (void)state;
    static const unsigned rounds = 10; /* 16 segments in each */
    fill(150);
    uint64_t timeout_ns = s.config.timeout_ms * NS_PER_MS,
             at_most_ns = timeout_ns + 10 * NS_PER_SEC;
    for (int silent = 1; silent <= STAND_NODES; silent++) {
        s.node[STAND_NODES - silent].peer->silent = true;
        struct said said = ask(PAGE "&deep=1");
        bool none = silent == STAND_NODES;
        assert_int_equal(said.segments, 150);
        assert_int_equal(none ? said.unknown : said.degraded, 150);
        assert_true(said.full == 0 && said.lost == 0);
        assert_int_equal(said.not_answered, NAMED_MAX * (size_t)silent);
        assert_in_range(said.took_ns, timeout_ns + (rounds - 1) * NS_PER_SEC, at_most_ns);
    }
    for (int i = 0; i < STAND_NODES; i++)
        s.node[i].peer->silent = false;
    struct said said = ask(PAGE "&deep=1");
    assert_true(said.full == 150 && said.bad == 0 && said.took_ns < NS_PER_SEC);
    /* What is lost, whatever the silent one has, is still told so: here nothing is. */
    s.node[0].peer->silent = true;
    for (int n = 1; n < STAND_NODES; n++)
        s.node[n].blobs[0].deleted = true;
    said = ask(PAGE);
    assert_true(said.unknown == 1 && said.degraded == 149 && said.lost == 0);
    stand_fini(&s);
}

/* However many segments the rows have that a page may have: it ends in time. */
static void a_page_has_so_many_rounds(void **state)
{
    (void)state;
    char target[256] = PAGE "&deep=1";
    struct said sum = {0}, said;
    unsigned pages = 0;
    fill(230);
    do {
        said = ask(target);
        sum.segments += said.segments;
        sum.full += said.full;
        assert_in_range(said.segments, 0, 160);
        snprintf(target, sizeof(target), PAGE "&deep=1&after=%s", said.next);
    } while (said.next[0] && ++pages < 10);
    assert_int_equal(pages, 2); /* 160 and 70, and the second range's */
    assert_true(sum.segments == 230 && sum.full == 230);
    said = ask(PAGE);
    assert_int_equal(said.segments, 230);
    stand_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_deleted_is_no_loss),
        cmocka_unit_test(what_has_moved_to_later_pages_is_looked_for_there),
        cmocka_unit_test(behind_a_split_nothing_is_taken_for_deleted),
        cmocka_unit_test(what_a_segment_was_moved_to_is_asked_about),
        cmocka_unit_test(silent_nodes_are_waited_for_once),
        cmocka_unit_test(a_page_has_so_many_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
