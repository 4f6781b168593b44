/* Copies become shards: the whole way, what fails on it, and readers who meet it. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/obs/log.h"
#include "gateway/blob/internal.h"
#include "gateway/work/reencode.h"
#include "proto/keyhash.h"
#include "proto/methods.h"
#include "tests/unit/common/alloc_fail.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>
#include <stdlib.h>

#define BODY_BYTES 700000 /* three segments, all of them for the code */
#define SEGMENTS 3u
#define HEALED_NS (4 * NS_PER_SEC) /* a node that failed is suspect for 3 s */

static struct stand s;
static struct reencode *re;
static struct reencode_metrics metrics;
static uint8_t bytes[BODY_BYTES];

static void run(int status, const char *method, const char *target, struct slice body)
{
    struct exchange x;
    int got = exchange_run(&s, &x, method, target, body);
    if (got != status)
        fail_msg("%s %s: %d instead of %d", method, target, got, status);
    exchange_fini(&x);
}

static void assert_get(const char *target)
{
    struct exchange x;
    assert_int_equal(exchange_run(&s, &x, "GET", target, SLICE_EMPTY), 200);
    assert_true(slice_eq(buf_view(&x.out), SLICE(bytes, sizeof(bytes))));
    exchange_fini(&x);
}

static uint64_t interim(void)
{
    return index_interim_count(s.index[1]) + index_interim_count(s.index[2]);
}

static uint64_t waiting(void)
{
    return (uint64_t)atomic_load(&metrics.waiting->value);
}

static unsigned live(bool coded)
{
    unsigned count = 0;
    for (unsigned i = 0; i < s.node[0].blob_count; i++)
        count += !s.node[0].blobs[i].deleted && s.node[0].blobs[i].coded == coded;
    return count;
}

static void on_log(void *arg, enum log_level level, const char *event, const char *line)
{
    (void)arg;
    (void)event;
    if (level == LOG_LEVEL_ERROR)
        fail_msg("%s", line);
}

static void put_copies(const char *target)
{
    s.node[1].put_err = ERR_IO;
    run(200, "PUT", target, SLICE(bytes, sizeof(bytes)));
    s.node[1].put_err = OK;
    fake_run(&s.f, HEALED_NS);
}

static void begin(unsigned parallel, uint64_t bytes_per_s)
{
    struct reencode_config config = {
        .interval_ms = 1000, .parallel = parallel, .bytes_per_s = bytes_per_s};
    assert_int_equal(reencode_new(&s.gw, &config, &metrics, &re), OK);
}

static void end(void)
{
    if (!re)
        return;
    reencode_stop(re);
    reencode_stop(re);
    fake_run(&s.f, 60 * NS_PER_SEC);
    assert_true(reencode_idle(re));
    reencode_free(re);
    re = NULL;
}

static int setup(void **state)
{
    (void)state;
    stand_init_coded(&s);
    reencode_metrics_init(&metrics);
    log_hook_set(on_log, NULL);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 1000);
    run(200, "PUT", "/bucket", SLICE_EMPTY);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    end();
    stand_fini(&s);
    log_hook_set(NULL, NULL);
    return 0;
}

/* What a client may see of an object: the answer's head. */
static struct buf look(const char *target)
{
    struct exchange x;
    struct buf head;
    assert_int_equal(exchange_run(&s, &x, "HEAD", target, SLICE_EMPTY), 200);
    head = x.head;
    x.head = (struct buf){0};
    exchange_fini(&x);
    return head;
}

/* The lines of both, but those that tell requests apart. */
static bool same_but_for_the_request(const struct buf *a, const struct buf *b)
{
    static const char *const names[] = {"ETag: ", "Last-Modified: "};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        const char *x = memmem(a->ptr, a->len, names[i], strlen(names[i]));
        const char *y = memmem(b->ptr, b->len, names[i], strlen(names[i]));
        size_t n = x ? (size_t)((const char *)memchr(x, '\n', a->len) - x) : 0;
        if (!x || !y || memcmp(x, y, n) != 0)
            return false;
    }
    return true;
}

static void copies_become_shards(void **state)
{
    (void)state;
    char id[33];
    put_copies("/bucket/key");
    s.node[1].put_err = ERR_IO;
    exchange_upload(&s, SLICE(bytes, sizeof(bytes)), 300000,
                    id); /* 262144 + 37856, twice; 100000 */
    s.node[1].put_err = OK;
    fake_run(&s.f, HEALED_NS);
    /* What is small was never meant for a code. */
    assert_int_equal(interim(), SEGMENTS + 3);
    struct buf before = look("/bucket/key"), mp = look("/bucket/mp");
    uint64_t wrote = blob_client_stats(s.bc)->coded_writes;
    unsigned first = s.node[0].blob_count;
    begin(2, 0);
    fake_run(&s.f, 3 * NS_PER_SEC);
    assert_int_equal(interim(), 0);
    assert_int_equal(blob_client_stats(s.bc)->coded_writes - wrote, SEGMENTS + 3);
    assert_int_equal(metric_counter_value(metrics.moved), SEGMENTS + 3);
    assert_int_equal(metric_counter_value(metrics.bytes), BODY_BYTES + 2 * 262144 + 100000);
    assert_int_equal(metric_counter_value(metrics.failed), 0);
    assert_int_equal(index_deletion_count(s.index[1]) + index_deletion_count(s.index[2]),
                     SEGMENTS + 3);
    struct buf after = look("/bucket/key"), mp_after = look("/bucket/mp");
    assert_true(same_but_for_the_request(&before, &after));
    assert_true(same_but_for_the_request(&mp, &mp_after));
    assert_get("/bucket/key");
    assert_get("/bucket/mp");
    /* Without an index the shards tell of the body what the copies told. */
    for (unsigned i = first; i < s.node[0].blob_count; i++) {
        const struct stand_blob *b = &s.node[0].blobs[i];
        bool found = false;
        for (unsigned k = 0; k < first; k++)
            found |= id128_eq(b->write_id, s.node[0].blobs[k].write_id) &&
                     b->segment_number == s.node[0].blobs[k].segment_number &&
                     b->body_bytes == s.node[0].blobs[k].body_bytes && b->coded;
        assert_true(found);
    }
    buf_fini(&before);
    buf_fini(&after);
    buf_fini(&mp);
    buf_fini(&mp_after);
}

/* Nothing is done, and only the number asked, while no group can take shards. */
/* An object was overwritten while it waited: its copies are an older version's, which wait on. */
static void older_versions_become_shards(void **state)
{
    (void)state;
    struct exchange x;
    char target[96];
    run(200, "PUT", "/bucket?versioning",
        SLICE_LIT("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"));
    put_copies("/bucket/key");
    assert_int_equal(exchange_run(&s, &x, "HEAD", "/bucket/key", SLICE_EMPTY), 200);
    buf_u8(&x.head, 0);
    snprintf(target, sizeof(target), "/bucket/key?versionId=%.26s",
             strstr((const char *)x.head.ptr, "x-amz-version-id: ") + 18);
    exchange_fini(&x);
    put_copies("/bucket/key");
    run(200, "PUT", "/bucket/key", SLICE_LIT("newer"));
    assert_int_equal(interim(), 2 * SEGMENTS);
    unsigned shards = live(true);
    begin(2, 0);
    fake_run(&s.f, 3 * NS_PER_SEC);
    assert_int_equal(interim(), 0);
    assert_int_equal(metric_counter_value(metrics.moved), 2 * SEGMENTS);
    assert_int_equal(live(true), shards + 2 * SEGMENTS);
    assert_get(target);
}

static void it_waits_for_a_group(void **state)
{
    (void)state;
    put_copies("/bucket/key");
    unsigned calls = s.metanode->calls;
    s.node[2].peer->down = true;
    begin(1, 0);
    fake_run(&s.f, 5 * NS_PER_SEC);
    assert_int_equal(interim(), SEGMENTS);
    assert_int_equal(waiting(), SEGMENTS);
    assert_int_equal(metric_counter_value(metrics.failed), 0);
    assert_true(s.metanode->calls > calls);
    s.node[2].peer->down = false;
    fake_run(&s.f, 5 * NS_PER_SEC);
    assert_int_equal(interim(), 0);
    fake_run(&s.f, 2 * NS_PER_SEC);
    assert_int_equal(waiting(), 0);
}

/* One after the other, no faster than told. */
static void it_keeps_its_pace(void **state)
{
    (void)state;
    put_copies("/bucket/key");
    begin(4, 262144 / 4); /* four seconds a segment */
    fake_run(&s.f, 2 * NS_PER_SEC);
    assert_int_equal(interim(), SEGMENTS - 1);
    fake_run(&s.f, 4 * NS_PER_SEC);
    assert_int_equal(interim(), SEGMENTS - 2);
    fake_run(&s.f, 4 * NS_PER_SEC);
    assert_int_equal(interim(), 0);
}

/* Clients' bodies go first. */
static void it_waits_for_memory(void **state)
{
    (void)state;
    put_copies("/bucket/key");
    uint64_t taken = s.gw.budget->max - s.gw.budget->used - 100000;
    assert_true(budget_take(s.gw.budget, taken));
    begin(2, 0);
    fake_run(&s.f, 5 * NS_PER_SEC);
    assert_int_equal(interim(), SEGMENTS);
    budget_give(s.gw.budget, taken);
    fake_run(&s.f, 5 * NS_PER_SEC);
    assert_int_equal(interim(), 0);
}

/* ---- several codes ---- */

#define CLASS_INTERIM (1u << 8 | 2) /* as if a class had asked for the code 1+2 */

/* A group of 1+2, which a class names: it needs two of the three nodes, and 2+1 all of them. */
static void add_class_group(void)
{
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__AddPgs add = CAIRN__ADD_PGS__INIT;
    Cairn__PlacementGroup pg = CAIRN__PLACEMENT_GROUP__INIT, *pgs = &pg;
    char *members[STAND_NODES];
    for (int i = 0; i < STAND_NODES; i++)
        members[i] = s.node[i].id;
    pg.id = 3;
    pg.epoch = 1;
    pg.scheme = CAIRN__SCHEME__SCHEME_RS;
    pg.data_shards = 1;
    pg.parity_shards = 2;
    pg.n_members = STAND_NODES;
    pg.members = members;
    add.n_pgs = 1;
    add.pgs = &pgs;
    command.op_case = CAIRN__COMMAND__OP_ADD_PGS;
    command.add_pgs = &add;
    s.bc->config.classes[0] = (struct blob_scheme){1, 2};
    s.bc->config.class_count = 1;
    assert_int_equal(stand_command(&s, 0, &command), OK);
    meta_client_refresh(s.mc);
    fake_run(&s.f, NS_PER_SEC);
    assert_true(blob_code_bytes(s.bc, (struct blob_scheme){1, 2}, 1000) > 0);
}

static bool class_interim(struct stand *st, struct fake_call *call)
{
    (void)st;
    const Cairn__ProposeRequest *q = (const Cairn__ProposeRequest *)(void *)call->request;
    if (q->command->op_case == CAIRN__COMMAND__OP_PUT_OBJECT)
        for (size_t i = 0; i < q->command->put_object->record->n_segments; i++)
            q->command->put_object->record->segments[i]->interim = CLASS_INTERIM;
    return false;
}

/* What waits for a code that nobody can take is not read in vain, again and again, is no failure,
 * and does not keep what waits for another from its turn, however much of it comes first. */
static void each_waits_for_its_own_code(void **state)
{
    (void)state;
    enum { FIRST = 13 }; /* more than a page */
    char target[32];
    add_class_group();
    for (int i = 0; i < FIRST; i++) {
        snprintf(target, sizeof(target), "/bucket/a%02d", i);
        put_copies(target);
    }
    s.on_propose = class_interim;
    put_copies("/bucket/b");
    s.on_propose = NULL;
    assert_int_equal(interim(), (FIRST + 1) * SEGMENTS);
    s.hands_out_once = true;
    s.node[2].peer->down = true;
    uint64_t reads = blob_client_stats(s.bc)->reads;
    begin(2, 0);
    fake_run(&s.f, 10 * NS_PER_SEC);
    assert_int_equal(metric_counter_value(metrics.moved), SEGMENTS);
    assert_int_equal(interim(), FIRST * SEGMENTS);
    assert_int_equal(waiting(), FIRST * SEGMENTS);
    assert_int_equal(metric_counter_value(metrics.failed), 0);
    assert_int_equal(blob_client_stats(s.bc)->reads - reads, SEGMENTS);
    assert_get("/bucket/b");
    s.hands_out_once = false;
    s.node[2].peer->down = false;
    fake_run(&s.f, 10 * NS_PER_SEC);
    assert_int_equal(interim(), 0);
    assert_int_equal(metric_counter_value(metrics.failed), 0);
    assert_get("/bucket/a00");
}

/* ---- failures ---- */

static bool refuse_interim(struct stand *stand_, struct fake_call *call)
{
    (void)stand_;
    if (call->method != &method_meta_interim)
        return false;
    fake_reply(call, ERR_SHUTDOWN, NULL, (struct payload){0});
    return true;
}

/* The bytes of every copy of a segment are others, and their blocks' CRCs agree. */
static void falsify(bool undo)
{
    (void)undo;
    for (int n = 0; n < STAND_NODES; n++)
        for (unsigned i = 0; i < s.node[n].blob_count; i++) {
            struct stand_blob *b = &s.node[n].blobs[i];
            b->data->data[5] ^= 1;
            b->crc[0] = crc32c(0, SLICE(b->data->data, MIN(b->data->len, BLOB_BLOCK_BYTES)));
        }
}

static void flip(bool undo)
{
    (void)undo;
    for (int n = 0; n < STAND_NODES; n++)
        for (unsigned i = 0; i < s.node[n].blob_count; i++)
            s.node[n].blobs[i].data->data[5] ^= 1;
}

static void fail_gets(bool undo)
{
    for (int n = 0; n < STAND_NODES; n++)
        s.node[n].get_err = undo ? OK : ERR_IO;
}

static void fail_puts(bool undo)
{
    s.node[0].put_err = undo ? OK : ERR_IO;
}

static void fail_infos(bool undo)
{
    for (int n = 0; n < STAND_NODES; n++)
        s.node[n].no_info = !undo;
}

static void fail_questions(bool undo)
{
    s.on_view = undo ? NULL : refuse_interim;
}

static bool refuse_move(struct stand *stand_, struct fake_call *call)
{
    (void)stand_;
    fake_reply(call, ERR_REFUSED, NULL, (struct payload){0});
    return true;
}

static void fail_proposals(bool undo)
{
    s.on_propose = undo ? NULL : refuse_move;
}

/* Whatever fails, nothing is lost, nothing is left behind, and later it is done. */
static void whatever_fails(void **state)
{
    (void)state;
    void (*const faults[])(bool) = {fail_questions, fail_gets, flip,          falsify,
                                    fail_infos,     fail_puts, fail_proposals};
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++) {
        put_copies("/bucket/key");
        uint64_t moved = metric_counter_value(metrics.moved);
        uint64_t failed = metric_counter_value(metrics.failed);
        uint64_t writes = blob_client_stats(s.bc)->writes;
        unsigned copies = live(false), coded = live(true);
        faults[i](false);
        begin(2, 0);
        fake_run(&s.f, 30 * NS_PER_SEC);
        assert_int_equal(interim(), SEGMENTS);
        assert_int_equal(metric_counter_value(metrics.moved), moved);
        assert_int_equal(live(false), copies);
        /* What could not be read as it is in the record is not written. */
        assert_true(i >= 5 || blob_client_stats(s.bc)->writes == writes);
        assert_true(i == 0 || metric_counter_value(metrics.failed) >= failed + SEGMENTS);
        faults[i](true);
        fake_run(&s.f, 60 * NS_PER_SEC);
        assert_int_equal(interim(), 0);
        assert_int_equal(metric_counter_value(metrics.moved), moved + SEGMENTS);
        assert_int_equal(live(true), coded + SEGMENTS); /* what failed attempts wrote is gone */
        assert_get("/bucket/key");
        end();
    }
}

static unsigned overtaken_by;

/* Somebody replaces the object before the first move is applied. */
static bool replace_first(struct stand *st, struct fake_call *call)
{
    const Cairn__ProposeRequest *q = (const Cairn__ProposeRequest *)(void *)call->request;
    if (q->command->op_case != CAIRN__COMMAND__OP_MOVE_SEGMENT || overtaken_by++)
        return false;
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__DeleteObject del = CAIRN__DELETE_OBJECT__INIT;
    uint64_t touch = q->command->touches[0];
    del.bucket_id = q->command->move_segment->bucket_id;
    del.key = q->command->move_segment->key;
    command.op_case = CAIRN__COMMAND__OP_DELETE_OBJECT;
    command.delete_object = &del;
    command.settings_version = 1;
    command.touches = &touch;
    command.n_touches = 1;
    assert_int_equal(stand_command(st, q->partition, &command), OK);
    return false;
}

static void who_is_overtaken_leaves_nothing(void **state)
{
    (void)state;
    put_copies("/bucket/key");
    overtaken_by = 0;
    s.on_propose = replace_first;
    begin(1, 0);
    fake_run(&s.f, 20 * NS_PER_SEC);
    s.on_propose = NULL;
    assert_int_equal(metric_counter_value(metrics.overtaken), SEGMENTS);
    assert_int_equal(metric_counter_value(metrics.moved), 0);
    assert_int_equal(metric_counter_value(metrics.failed), 0);
    assert_int_equal(live(true), 0);
    run(404, "GET", "/bucket/key", SLICE_EMPTY);
}

static bool lose_answers(struct stand *st, struct fake_call *call)
{
    stand_apply(st, call, true);
    return true;
}

/* It happened, and nobody says so: the shards stay. */
static void an_unknown_outcome_discards_nothing(void **state)
{
    (void)state;
    put_copies("/bucket/key");
    s.on_propose = lose_answers;
    begin(3, 0);
    fake_run(&s.f, 40 * NS_PER_SEC);
    s.on_propose = NULL;
    assert_int_equal(interim(), 0);
    assert_int_equal(metric_counter_value(metrics.moved), 0);
    assert_int_equal(metric_counter_value(metrics.failed), SEGMENTS);
    assert_int_equal(live(true), SEGMENTS);
    assert_get("/bucket/key");
}

/* Told to stop at any time, it comes to its end, and what was begun is whole. */
static void a_stop_at_any_time(void **state)
{
    (void)state;
    for (unsigned ms = 0; ms < 60; ms += 3) {
        put_copies("/bucket/key");
        s.metanode->latency_ns = s.node[0].peer->latency_ns = 5 * NS_PER_MS;
        begin(2, 0);
        uint64_t failed = metric_counter_value(metrics.failed);
        fake_run(&s.f, (1000 + 5 * ms) * NS_PER_MS);
        end();
        s.metanode->latency_ns = s.node[0].peer->latency_ns = 0;
        assert_true(metric_counter_value(metrics.failed) - failed <= 2);
        assert_get("/bucket/key");
        assert_int_equal(s.gw.under_way, 0);
        assert_int_equal(s.gw.budget->used, 0);
        run(204, "DELETE", "/bucket/key", SLICE_EMPTY);
    }
}

static void every_allocation(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t n = 0; failed; n++) {
        put_copies("/bucket/key");
        alloc_fail_at(n);
        struct reencode_config config = {.interval_ms = 1000, .parallel = 1};
        int err = reencode_new(&s.gw, &config, &metrics, &re);
        if (err == OK)
            fake_run(&s.f, 1500 * NS_PER_MS);
        failed = alloc_fail_end();
        if (err != OK)
            begin(1, 0);
        fake_run(&s.f, 10 * NS_PER_SEC);
        end();
        assert_int_equal(interim(), 0);
        assert_get("/bucket/key");
        assert_int_equal(s.gw.budget->used, 0);
        run(204, "DELETE", "/bucket/key", SLICE_EMPTY);
        for (int i = 0; i < STAND_NODES; i++) { /* the metanodes' queues do not run here */
            for (unsigned k = 0; k < s.node[i].blob_count; k++)
                rcbuf_unref(s.node[i].blobs[k].data);
            s.node[i].blob_count = 0;
            memset(s.node[i].blobs, 0, sizeof(s.node[i].blobs));
        }
        assert_true(n < 400);
    }
}

/* ---- readers ---- */

static unsigned moves, gets;

/* When some pieces have been read all blobs are moved, and nothing is left of the old ones. */
static void move_first(struct stand *st, struct fake_call *call)
{
    (void)call;
    if (gets++ < 4)
        return;
    st->on_get = NULL;
    for (int p = 1; p < STAND_PARTITIONS; p++) {
        struct index_view view;
        struct index_reply reply = {0};
        Cairn__ListSegmentsRequest list = CAIRN__LIST_SEGMENTS_REQUEST__INIT;
        index_view_init(&view, st->index[p], NULL);
        list.epoch = 1;
        list.bucket_id = UINT64_C(1) << 63;
        if (index_list_segments(&view, &list, &reply) != OK)
            continue;
        size_t len = cairn__list_segments_response__get_packed_size(&reply.msg.segments);
        uint8_t *packed = malloc(len);
        cairn__list_segments_response__pack(&reply.msg.segments, packed);
        Cairn__ListSegmentsResponse *m = cairn__list_segments_response__unpack(NULL, len, packed);
        for (size_t e = 0; e < m->n_entries; e++)
            for (size_t i = 0; i < m->entries[e]->n_segments; i++) {
                Cairn__Segment to = *m->entries[e]->segments[i];
                uint8_t from[ID_BYTES];
                memcpy(from, to.blob_id.data, ID_BYTES);
                to.blob_id.data[15] ^= 0xff;
                for (int n = 0; n < STAND_NODES; n++)
                    for (unsigned k = 0; k < st->node[n].blob_count; k++)
                        if (memcmp(st->node[n].blobs[k].id, from, ID_BYTES) == 0)
                            st->node[n].blobs[k].id[15] ^= 0xff;
                Cairn__Command command = CAIRN__COMMAND__INIT;
                Cairn__MoveSegment move = CAIRN__MOVE_SEGMENT__INIT;
                uint64_t touch = keyhash_object(
                    list.bucket_id, SLICE(m->entries[e]->key.data, m->entries[e]->key.len));
                move.bucket_id = list.bucket_id;
                move.key = m->entries[e]->key;
                if (m->entries[e]->part_number) {
                    move.upload_id = m->entries[e]->upload_id;
                    move.part_number = m->entries[e]->part_number;
                }
                move.from_blob_id = (ProtobufCBinaryData){ID_BYTES, from};
                move.to = &to;
                command.op_case = CAIRN__COMMAND__OP_MOVE_SEGMENT;
                command.move_segment = &move;
                command.touches = &touch;
                command.n_touches = 1;
                assert_int_equal(stand_command(st, (unsigned)p, &command), OK);
                moves++;
            }
        cairn__list_segments_response__free_unpacked(m, NULL);
        free(packed);
        index_reply_fini(&reply);
    }
}

static void a_reader_finds_what_was_moved(void **state)
{
    (void)state;
    char id[33];
    for (int coded = 0; coded < 2; coded++) {
        s.node[1].put_err = coded ? OK : ERR_IO;
        run(200, "PUT", "/bucket/key", SLICE(bytes, sizeof(bytes)));
        exchange_upload(&s, SLICE(bytes, sizeof(bytes)), 300000, id);
        s.node[1].put_err = OK;
        fake_run(&s.f, HEALED_NS);
        s.config.segment_bytes = 256 << 10;
        for (int i = 0; i < 2; i++) {
            /* One small piece at a time, so that some are read before and some after. */
            uint64_t taken = s.gw.budget->max - s.gw.budget->used - (200 << 10);
            assert_true(budget_take(s.gw.budget, taken));
            moves = gets = 0;
            s.on_get = move_first;
            assert_get(i ? "/bucket/mp" : "/bucket/key");
            assert_true(moves > 6 && !s.on_get);
            budget_give(s.gw.budget, taken);
        }
    }
}

/* Replaced is not moved: then it is an error, or begun anew, never a mixture. */
static void a_reader_of_what_is_gone_is_told(void **state)
{
    (void)state;
    struct exchange x;
    put_copies("/bucket/key");
    for (int n = 0; n < STAND_NODES; n++)
        for (unsigned k = 0; k < s.node[n].blob_count; k++)
            s.node[n].blobs[k].deleted = true;
    assert_int_equal(exchange_run(&s, &x, "GET", "/bucket/key", SLICE_EMPTY), 500);
    exchange_fini(&x);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(copies_become_shards),
        TEST(older_versions_become_shards),
        TEST(it_waits_for_a_group),
        TEST(each_waits_for_its_own_code),
        TEST(it_keeps_its_pace),
        TEST(it_waits_for_memory),
        TEST(whatever_fails),
        TEST(who_is_overtaken_leaves_nothing),
        TEST(an_unknown_outcome_discards_nothing),
        TEST(a_stop_at_any_time),
        TEST(every_allocation),
        TEST(a_reader_finds_what_was_moved),
        TEST(a_reader_of_what_is_gone_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
