/* Deletions while members change, and nodes that are lost, given up, or come back. */
#include "tests/unit/metanode/op/town.h"

static int propose(struct town *t, Cairn__Command *command)
{
    Cairn__ProposeRequest req = CAIRN__PROPOSE_REQUEST__INIT;
    struct id128 id = {{2, (uint8_t)++t->fx.writes}};
    struct rpc_call call = {0};
    uint64_t touch = keyhash_object(1, SLICE_LIT("key"));
    command->write_id = (ProtobufCBinaryData){ID_BYTES, id.bytes};
    command->issued_ms = env_wall_ms(host_env(t->fx.client_host));
    command->epoch = 1;
    command->n_touches = 1;
    command->touches = &touch;
    req.partition = 1;
    req.command = command;
    int err = fx_call(&t->fx, (unsigned)fx_leader(&t->fx, 1), &method_meta_propose, &req.base, 2000,
                      &call);
    if (err == OK)
        err = ((const Cairn__ProposeResponse *)call.response)->outcome->err;
    rpc_call_fini(&call);
    return err;
}

/* An object of one segment in that group, stored and deleted. */
static void put_and_delete(struct town *t, uint32_t pg)
{
    static uint8_t blob[16] = {42}, key[] = "key";
    Cairn__Command command = CAIRN__COMMAND__INIT, again = CAIRN__COMMAND__INIT;
    Cairn__PutObject put = CAIRN__PUT_OBJECT__INIT;
    Cairn__DeleteObject delete = CAIRN__DELETE_OBJECT__INIT;
    Cairn__ObjectRecord r = CAIRN__OBJECT_RECORD__INIT;
    Cairn__Condition c = CAIRN__CONDITION__INIT;
    Cairn__Segment segment = CAIRN__SEGMENT__INIT, *segments = &segment;
    blob[1]++;
    segment.pg = pg;
    segment.blob_id = (ProtobufCBinaryData){16, blob};
    segment.bytes = r.size = 100000;
    r.etag = (char *)(uintptr_t) "d41d8cd98f00b204e9800998ecf8427e";
    r.owner_id = (char *)(uintptr_t) "owner";
    r.kind = CAIRN__DATA_KIND__DATA_SEGMENTS;
    r.n_segments = 1;
    r.segments = &segments;
    put.bucket_id = delete.bucket_id = 1;
    put.key = delete.key = (ProtobufCBinaryData){3, key};
    put.record = &r;
    put.condition = delete.condition = &c;
    command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    command.put_object = &put;
    again.op_case = CAIRN__COMMAND__OP_DELETE_OBJECT;
    again.delete_object = &delete;
    assert_int_equal(propose(t, &command), OK);
    assert_int_equal(propose(t, &again), OK);
}

static uint64_t queued(struct town *t)
{
    struct meta_partition_info info;
    fx_info(&t->fx, (unsigned)fx_leader(&t->fx, 1), 1, &info);
    return info.deletions;
}

static void cut_off(struct town *t, struct store *s)
{
    s->silent = true;
    fx_close_rpc(&t->fx, s->rpc);
    s->rpc = NULL;
    host_crash(s->host, true);
}

static void deletion_reaches_old_and_new_members(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 12, 12);
    for (unsigned i = 0; i < 12; i++)
        t->stores[i].fills_not = true;
    assert_int_equal(drain(t, "s3", false, false), 0);
    live(t, 3000);
    const Cairn__PlacementGroup *pg = NULL;
    for (size_t g = 0; g < t->map->n_pgs && !pg; g++)
        if (t->map->pgs[g]->n_next_members > 0)
            pg = t->map->pgs[g];
    assert_non_null(pg);
    put_and_delete(t, pg->id);
    fx_run_ms(&t->fx, 4000);
    assert_int_equal(queued(t), 0);
    for (unsigned i = 0; i < 12; i++) {
        bool member = false;
        for (size_t k = 0; k < pg->n_members; k++)
            member |= strcmp(pg->members[k], t->stores[i].id) == 0 ||
                      strcmp(pg->next_members[k], t->stores[i].id) == 0;
        assert_int_equal(t->stores[i].deletes > 0, member);
    }
    town_fini(t);
}

/* Members are asked by the map of the round's begin; one that comes while they answer is asked,
 * too, before the item goes. */
static void deletion_reaches_who_becomes_a_member_meanwhile(void **state)
{
    (void)state;
    Cairn__DeleteShardsResponse answer = CAIRN__DELETE_SHARDS_RESPONSE__INIT;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 16, 12);
    const Cairn__PlacementGroup *pg = NULL;
    for (size_t g = 0; g < t->map->n_pgs && !pg; g++)
        for (size_t k = 0; k < t->map->pgs[g]->n_members && !pg; k++)
            if (strcmp(t->map->pgs[g]->members[k], "s3") == 0)
                pg = t->map->pgs[g];
    uint32_t id = pg->id;
    for (unsigned i = 0; i < 12; i++)
        t->stores[i].holds = t->stores[i].fills_not = true;
    put_and_delete(t, id);
    fx_run_ms(&t->fx, 2000);
    assert_int_equal(drain(t, "s3", false, false), 0);
    live(t, 3000);
    for (size_t g = 0; g < t->map->n_pgs; g++)
        if (t->map->pgs[g]->id == id)
            pg = t->map->pgs[g];
    assert_true(pg->n_next_members > 0);
    for (unsigned i = 0; i < 12; i++) {
        struct store *s = &t->stores[i];
        s->holds = false;
        if (s->held)
            rpc_reply(s->held, OK, &answer.base, NULL, 0);
        s->held = NULL;
    }
    fx_run_ms(&t->fx, 4000);
    assert_int_equal(queued(t), 0);
    for (size_t k = 0; k < pg->n_next_members; k++)
        for (unsigned i = 0; i < 12; i++)
            if (strcmp(pg->next_members[k], t->stores[i].id) == 0)
                assert_true(t->stores[i].deletes > 0);
    town_fini(t);
}

/* A node that is away holds an item up; one that its operator gave up does not. */
static void deletion_does_not_wait_for_the_lost(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 13, 3);
    uint32_t pg = t->map->pgs[0]->id;
    cut_off(t, &t->stores[0]);
    live(t, LOST_MS + 3000);
    assert_int_equal(record(t, "s0")->state, CAIRN__NODE_STATE__NODE_LOST);
    put_and_delete(t, pg);
    live(t, 15000);
    assert_int_equal(queued(t), 1);
    assert_int_equal(record(t, "s0")->disks[0]->state, CAIRN__DISK_STATE__DISK_UP);
    assert_int_equal(drain(t, "s0", false, false), 0); /* it does not come back */
    live(t, 5000);
    assert_int_equal(record(t, "s0")->disks[0]->state, CAIRN__DISK_STATE__DISK_LOST);
    assert_int_equal(queued(t), 0);
    town_fini(t);
}

/* What was deleted without it is still on its disks: it is not heard before they are empty ones,
 * so that writers do not count it and deletions do not take its word. */
static void who_was_given_up_comes_back_empty(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 14, 3);
    struct store *s = &t->stores[0];
    s->silent = true;
    live(t, LOST_MS + 3000);
    assert_int_equal(drain(t, "s0", false, false), 0);
    live(t, 3000);
    assert_int_equal(record(t, "s0")->disks[0]->state, CAIRN__DISK_STATE__DISK_LOST);
    assert_int_equal(drain(t, "s0", true, false), 0); /* taken back; the disks are gone for ever */
    s->silent = false;
    live(t, 5000);
    assert_int_equal(record(t, "s0")->state, CAIRN__NODE_STATE__NODE_LOST);
    assert_int_equal(send_report(t, s, (unsigned)fx_leader(&t->fx, 0), "s0"), ERR_REFUSED);
    /* Nor by a new leader. */
    fx_crash_meta(&t->fx, (unsigned)fx_leader(&t->fx, 0));
    live(t, DOWN_MS + 5000);
    assert_int_equal(record(t, "s0")->state, CAIRN__NODE_STATE__NODE_LOST);
    s->disk = 77;
    live(t, 5000);
    assert_int_equal(record(t, "s0")->state, CAIRN__NODE_STATE__NODE_UP);
    assert_int_equal(record(t, "s0")->n_disks, 2);
    town_fini(t);
}

/* That it was being drained when it went says nothing of whether it comes back. */
static void who_is_lost_while_it_drains_is_not_given_up(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 18, 3);
    assert_int_equal(drain(t, "s0", false, false), 0);
    live(t, 3000);
    cut_off(t, &t->stores[0]);
    live(t, LOST_MS + 5000);
    assert_int_equal(record(t, "s0")->state, CAIRN__NODE_STATE__NODE_LOST);
    assert_true(record(t, "s0")->draining);
    assert_int_equal(record(t, "s0")->disks[0]->state, CAIRN__DISK_STATE__DISK_UP);
    assert_int_equal(drain(t, "s0", false, false), 0); /* now it is said */
    live(t, 3000);
    assert_int_equal(record(t, "s0")->disks[0]->state, CAIRN__DISK_STATE__DISK_LOST);
    town_fini(t);
}

/* It has just reported, and the log still calls it lost: its disks are as good as ever. */
static void who_is_just_back_is_drained_and_not_given_up(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_init(t, 19, 3);
    struct store *s = &t->stores[0];
    s->silent = true;
    live(t, LOST_MS + 3000);
    assert_int_equal(record(t, "s0")->state, CAIRN__NODE_STATE__NODE_LOST);
    assert_int_equal(send_report(t, s, (unsigned)fx_leader(&t->fx, 0), "s0"), OK);
    assert_int_equal(drain(t, "s0", false, false), 0);
    s->silent = false;
    live(t, 3000);
    assert_int_equal(record(t, "s0")->disks[0]->state, CAIRN__DISK_STATE__DISK_UP);
    assert_int_equal(record(t, "s0")->state, CAIRN__NODE_STATE__NODE_UP);
    assert_true(record(t, "s0")->draining);
    town_fini(t);
}

/* Nor does it for one that was given up before it ever reported. */
static void deletion_does_not_wait_for_who_never_came(void **state)
{
    (void)state;
    struct town *t = malloc(sizeof(*t));
    town_new(t, 17, 3, 300000);
    cut_off(t, &t->stores[0]);
    town_boot(t);
    live(t, LOST_MS + 3000);
    put_and_delete(t, t->map->pgs[0]->id);
    live(t, 15000);
    assert_int_equal(queued(t), 1);
    assert_int_equal(drain(t, "s0", false, false), 0);
    live(t, 5000);
    assert_int_equal(queued(t), 0);
    town_fini(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deletion_reaches_old_and_new_members),
        cmocka_unit_test(deletion_reaches_who_becomes_a_member_meanwhile),
        cmocka_unit_test(deletion_does_not_wait_for_the_lost),
        cmocka_unit_test(who_was_given_up_comes_back_empty),
        cmocka_unit_test(who_is_lost_while_it_drains_is_not_given_up),
        cmocka_unit_test(who_is_just_back_is_drained_and_not_given_up),
        cmocka_unit_test(deletion_does_not_wait_for_who_never_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
