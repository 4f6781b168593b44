/* Entries that no honest leader would write: random bytes, and real commands damaged a little. Each
 * is applied or refused, the same on two replicas, and the partition goes on working. */
#include "proto/registry.h"
#include "world.h"

#include <stdlib.h>

static void sample(struct world *w, struct rng *r, struct buf *ret)
{
    struct cmd c;
    struct id128 id = {{1}};
    Cairn__CompletePart part = CAIRN__COMPLETE_PART__INIT, *parts[1] = {&part};
    static uint64_t items[4] = {1, 2, 3, 4};
    part.number = 1;
    part.etag = (char *)(uintptr_t) "e";
    static struct id128 blobs[2] = {{{0, 1}}, {{0, 2}}};
    switch (rng_below(r, 12)) {
    case 0: cmd_put_inline(w, &c, SLICE_LIT("k"), SLICE_LIT("body")); break;
    case 1: cmd_put_segments(w, &c, SLICE_LIT("k"), 3, 100); break;
    case 2: cmd_delete(w, &c, SLICE_LIT("k")); break;
    case 3: cmd_create_upload(w, &c, SLICE_LIT("k"), &id); break;
    case 4: cmd_put_part(w, &c, SLICE_LIT("k"), &id, 1, 100, 2); break;
    case 5: cmd_complete(w, &c, SLICE_LIT("k"), &id, parts, 1, 100); break;
    case 6: cmd_abort(w, &c, SLICE_LIT("k"), &id); break;
    case 7: cmd_fence(w, &c, BUCKET + 1, 2, true); break;
    case 8: cmd_condemn(w, &c, SLICE_LIT("k"), blobs, 2); break;
    case 9: cmd_move(w, &c, SLICE_LIT("k"), &blobs[1], 1); break;
    case 10: cmd_move_part(w, &c, SLICE_LIT("k"), &id, 1, &blobs[1], 50); break;
    default:
        cmd_init(w, &c);
        cairn__expand_deletion__init(&c.expand);
        c.expand.items = items;
        c.expand.n_items = 4;
        c.msg.op_case = CAIRN__COMMAND__OP_EXPAND_DELETION;
        c.msg.expand_deletion = &c.expand;
    }
    index_entry_pack(&c.msg, c.body, ret);
}

/* Of the account "u": a user, or an access key. */
static void sample_row(struct cmd *c, struct rng *r, uint64_t version, Cairn__ChangeRows *change,
                       Cairn__RowChange *row)
{
    bool user = rng_below(r, 2);
    row->kind = user ? CAIRN__ROW_KIND__ROW_USER : CAIRN__ROW_KIND__ROW_ACCESS_KEY;
    row->scope = (char *)(uintptr_t)(user ? "u" : "");
    row->name = (char *)(uintptr_t) "key";
    row->value = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "\x1a\x01u"};
    row->expected_version = rng_below(r, 2) ? version : 0;
    row->remove = row->expected_version && rng_below(r, 2);
    c->touches[c->msg.n_touches++] = keyhash_account(SLICE_LIT("u"));
    c->msg.op_case = CAIRN__COMMAND__OP_CHANGE_ROWS;
    c->msg.change_rows = change;
}

/* As earlier releases did it, or as this one does. */
static void sample_bootstrap(struct cmd *c, Cairn__NodeRecord *node, bool earlier,
                             Cairn__Bootstrap *ret)
{
    static Cairn__UserRecord user = CAIRN__USER_RECORD__INIT;
    static Cairn__AccessKeyRecord key = CAIRN__ACCESS_KEY_RECORD__INIT;
    static Cairn__AccountRow account = CAIRN__ACCOUNT_ROW__INIT;
    static Cairn__AccessKeyRow account_key = CAIRN__ACCESS_KEY_ROW__INIT;
    static Cairn__NodeRecord *nodes[1];
    nodes[0] = node;
    user.user_id = key.user_id = account.canonical_id = account.name = (char *)(uintptr_t) "u";
    key.access_key_id = key.secret = (char *)(uintptr_t) "key";
    account_key.access_key_id = account_key.secret = key.secret;
    account.account_id = account_key.account_id = (char *)(uintptr_t)OPERATOR_ACCOUNT;
    c->touches[c->msg.n_touches++] = keyhash_account(SLICE_LIT(OPERATOR_ACCOUNT));
    ret->cluster_id = c->msg.write_id;
    ret->nodes = nodes;
    ret->n_nodes = 1;
    ret->root_user = earlier ? &user : NULL;
    ret->root_key = earlier ? &key : NULL;
    ret->account = earlier ? NULL : &account;
    ret->account_key = earlier ? NULL : &account_key;
    c->msg.op_case = CAIRN__COMMAND__OP_BOOTSTRAP;
    c->msg.bootstrap = ret;
}

static void sample_root(struct world *w, struct rng *r, struct buf *ret)
{
    struct cmd c;
    Cairn__NodeRecord node = CAIRN__NODE_RECORD__INIT;
    Cairn__Bootstrap bootstrap = CAIRN__BOOTSTRAP__INIT;
    char name[] = "bucket-a";
    node.node_id = (char *)(uintptr_t) "n1";
    name[7] = (char)('a' + rng_below(r, 3));
    cmd_init(w, &c);
    c.touches[0] = keyhash_bucket(slice_cstr(name));
    c.touches[1] = keyhash_user(SLICE_LIT("u"));
    c.touches[2] = keyhash_access_key(SLICE_LIT("key"));
    c.msg.n_touches = 3;
    c.bucket.name = name;
    c.bucket.owner_id = (char *)(uintptr_t) "u";
    Cairn__PlacementGroup pg = CAIRN__PLACEMENT_GROUP__INIT, *pgs[1] = {&pg};
    Cairn__AddPgs add = CAIRN__ADD_PGS__INIT;
    Cairn__BeginPgChange begin = CAIRN__BEGIN_PG_CHANGE__INIT;
    Cairn__FinishPgChange finish = CAIRN__FINISH_PG_CHANGE__INIT;
    Cairn__PutNode put_node = CAIRN__PUT_NODE__INIT;
    char *members[2] = {(char *)(uintptr_t) "n1", (char *)(uintptr_t) "n2"};
    node.role = INDEX_ROLE_STORAGENODE;
    pg.epoch = pg.data_shards = 1;
    pg.n_members = 1;
    pg.members = members;
    Cairn__ChangeRows change = CAIRN__CHANGE_ROWS__INIT;
    Cairn__RowChange row = CAIRN__ROW_CHANGE__INIT, *rows[1] = {&row};
    change.changes = rows;
    change.n_changes = 1;
    switch (rng_below(r, 10)) {
    case 9: sample_row(&c, r, w->out ? w->out->index : 0, &change, &row); break;
    case 5:
        node.node_id = members[rng_below(r, 2)];
        put_node.node = &node;
        c.msg.op_case = CAIRN__COMMAND__OP_PUT_NODE;
        c.msg.put_node = &put_node;
        break;
    case 6:
        add.pgs = pgs;
        add.n_pgs = 1;
        pg.id = (uint32_t)rng_below(r, 3);
        c.msg.op_case = CAIRN__COMMAND__OP_ADD_PGS;
        c.msg.add_pgs = &add;
        break;
    case 7:
        begin.next_members = members + 1;
        begin.n_next_members = 1;
        begin.epoch = 1 + rng_below(r, 3);
        c.msg.op_case = CAIRN__COMMAND__OP_BEGIN_PG_CHANGE;
        c.msg.begin_pg_change = &begin;
        break;
    case 8:
        finish.epoch = 1 + rng_below(r, 3);
        c.msg.op_case = CAIRN__COMMAND__OP_FINISH_PG_CHANGE;
        c.msg.finish_pg_change = &finish;
        break;
    case 0:
        cairn__create_bucket__init(&c.create_bucket);
        c.create_bucket.bucket = &c.bucket;
        c.msg.op_case = CAIRN__COMMAND__OP_CREATE_BUCKET;
        c.msg.create_bucket = &c.create_bucket;
        break;
    case 1:
        cairn__begin_delete_bucket__init(&c.begin);
        c.begin.name = name;
        c.begin.id = BUCKET >> rng_below(r, 3);
        c.msg.op_case = CAIRN__COMMAND__OP_BEGIN_DELETE_BUCKET;
        c.msg.begin_delete_bucket = &c.begin;
        break;
    case 2:
        cairn__finish_delete_bucket__init(&c.finish);
        c.finish.name = name;
        c.finish.id = BUCKET >> rng_below(r, 3);
        c.finish.settings_version = 2;
        c.msg.op_case = CAIRN__COMMAND__OP_FINISH_DELETE_BUCKET;
        c.msg.finish_delete_bucket = &c.finish;
        break;
    case 3: sample_bootstrap(&c, &node, true, &bootstrap); break;
    default: sample_bootstrap(&c, &node, false, &bootstrap);
    }
    index_entry_pack(&c.msg, c.body, ret);
}

static void mutate(struct rng *r, struct buf *data)
{
    for (uint64_t n = rng_below(r, 4); n; n--) {
        size_t at = rng_below(r, data->len);
        switch (rng_below(r, 5)) {
        case 0: data->ptr[at] ^= (uint8_t)(1u << rng_below(r, 8)); break;
        case 1: data->ptr[at] = (uint8_t)rng_next(r); break;
        case 2: data->len = at + 1; break;
        case 3:
            memmove(data->ptr + at, data->ptr + at + 1, data->len - at - 1);
            data->len--;
            break;
        default: buf_append(data, data->ptr + at, MIN(data->len - at, (size_t)8));
        }
        if (data->len == 0)
            return;
    }
}

static void run(uint32_t partition, uint64_t seed, bool random_bytes)
{
    struct world a, b;
    struct rng r = {seed};
    world_init(&a, partition);
    world_init(&b, partition);
    int refused = 0, rounds = 6000;
    for (int i = 0; i < rounds; i++) {
        struct buf data = {0};
        if (random_bytes) {
            for (uint64_t n = rng_below(&r, 60); n; n--)
                buf_u8(&data, (uint8_t)rng_next(&r));
            if (data.len > 4 && rng_below(&r, 2)) { /* a length that fits */
                memset(data.ptr, 0, 4);
                data.ptr[3] = (uint8_t)(data.len - 4);
            }
        } else {
            buf_reserve(&data, 4096);
            (partition == ROOT_PARTITION ? sample_root : sample)(&a, &r, &data);
            mutate(&r, &data);
        }
        int err = world_apply_data(&a, buf_view(&data));
        assert_int_equal(world_apply_data(&b, buf_view(&data)), err);
        refused += err == ERR_REFUSED;
        a.now_ms = MAX(a.now_ms, index_time_ms(a.index)); /* damage may have moved it ahead */
        (void)index_entry_time_ms(buf_view(&data));
        struct buf touches = {0};
        index_entry_touches(buf_view(&data), &touches);
        buf_fini(&touches);
        buf_fini(&data);
    }
    assert_true(refused > rounds / 20 && (random_bytes || refused < rounds * 9 / 10));
    struct buf da = {0}, db = {0};
    dump(a.store, partition, &da);
    dump(b.store, partition, &db);
    assert_true(slice_eq(buf_view(&da), buf_view(&db)));
    buf_fini(&da);
    buf_fini(&db);
    world_fini(&a);
    world_fini(&b);
}

static void test_random_bytes(void **state)
{
    (void)state;
    run(3, 1, true);
    run(ROOT_PARTITION, 2, true);
}

static void test_mutated_commands(void **state)
{
    (void)state;
    run(3, 3, false);
    run(3, 4, false);
    run(ROOT_PARTITION, 5, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_mutated_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
