/* Clients of the simulated cluster.
 *
 *   THINKING → an operation under way → recorded → THINKING ...
 *
 * A client lives in its gateway's process: when that crashes, what was under way has no known
 * outcome, and a new life of the client begins with the gateway's. */
#include "tests/sim/workload.h"

#include "common/base/check.h"
#include "gateway/meta/rows.h"

#include <stdio.h>
#include <stdlib.h>

#define OP_TIMEOUT_NS (4 * NS_PER_SEC) /* or less, as the seed says */
#define WRITER_THINKS 6                /* times as long as a reader */
#define LULL_EVERY_NS (5 * NS_PER_SEC)
#define BUCKET "simulated"

static const char *const object_keys[SIM_OBJECTS] = {"a", "b/1", "b/2", "m", "n", "z"};
static const char *const access_keys[SIM_KEYS] = {"KEY-A", "KEY-B"};

enum action {
    ACT_READ,
    ACT_READ_KEY,
    ACT_WRITE,
    ACT_WRITE_KEY,
    ACT_LIST,
    ACT_CREATE_BUCKET,
    ACT_CREATE_ACCOUNTS
};

/* Each access key is of an account of its own.  What a register holds is, of KEY-A, the secret in
 * the key's row, of KEY-B the unique id in the row of the user whose key it is: the key's own row
 * never changes then.  Either is gone when the row is. */
static const struct register_row {
    const char *account, *user, *scope, *name;
    Cairn__RowKind kind;
} key_rows[SIM_KEYS] = {
    {"111111111111", "", "", "KEY-A", CAIRN__ROW_KIND__ROW_ACCESS_KEY},
    {"222222222222", "u", "222222222222", "u", CAIRN__ROW_KIND__ROW_USER},
};

struct attempt { /* one operation; abandoned, not freed, when its gateway crashes */
    struct sim_client *client;
    enum action action;
    uint32_t reg;
    size_t op; /* of a write: in the register's history */
    uint64_t start, value;
    bool with_body, with_key;
    uint32_t key_reg;
    struct meta_read read;
    struct meta_propose propose;
    struct meta_list list;
    Cairn__PutObject put;
    Cairn__DeleteObject del;
    Cairn__ObjectRecord record;
    Cairn__Condition condition;
    Cairn__CreateBucket create;
    Cairn__BucketRecord bucket;
    struct meta_rows look; /* at the row that a write is about */
    Cairn__ChangeRows rows;
    Cairn__RowChange change[SIM_KEYS + 1], *changes[SIM_KEYS + 1];
    uint8_t packed[SIM_KEYS + 1][96];
    char etag[20], match[20], *matches[1];
};

struct sim_client {
    struct sim_workload *load;
    struct sim_node *gateway;
    uint32_t id;
    uint64_t boot;
    struct attempt *current;
    struct env_timer think;
    uint64_t progress;
    uint64_t seen[SIM_REGISTERS]; /* last value seen or written, for if-match */
    unsigned left;                /* of the final round of reads */
    bool skewed;                  /* reads each object four times as often as the next */
    unsigned favourite;           /* the one that a skewed reader reads most */
};

struct sim_workload {
    struct sim_cluster *cluster;
    struct sim_client clients[SIM_CLIENTS_MAX];
    unsigned client_count;
    uint64_t think_max_ns;
    uint64_t bucket_id, settings_version;
    bool have_bucket, have_accounts, stopped;
    bool roles; /* every other client of a gateway only reads, the rest only write, seldom: what
                   lies in the caches lives long there, and a leader that is lost leaves as many
                   writes under way as there are writers */
    uint64_t next_value, timeout_ns;
    uint64_t lull_ns; /* of each LULL_EVERY_NS nobody asks anything so long: groups fall asleep */
    struct history histories[SIM_REGISTERS];
    struct sim_workload_stats stats;
};

static void problem(struct sim_workload *w, const char *text)
{
    w->cluster->problem(w->cluster->problem_arg, text);
}

static uint64_t value_of(const char *text)
{
    return text && *text ? strtoull(text, NULL, 16) : 0;
}

static void text_of(uint64_t value, char ret[20])
{
    snprintf(ret, 20, "%016llx", (unsigned long long)value);
}

static uint64_t now(const struct sim_workload *w)
{
    return world_now(w->cluster->world);
}

static void record_read(struct sim_workload *w, struct sim_client *c, uint32_t reg, uint64_t value,
                        uint64_t start)
{
    struct history_op op = {
        .kind = HISTORY_READ, .client = c->id, .value = value, .start = start, .end = now(w)};
    history_add(&w->histories[reg], op);
    c->seen[reg] = value;
    world_trace_add(w->cluster->world, value);
}

static void think(struct sim_client *c);

static void finish(struct attempt *a, bool progressed)
{
    struct sim_client *c = a->client;
    CHECK(c->current == a);
    c->current = NULL;
    c->progress += progressed;
    free(a);
    think(c);
}

/* ---- reads ---- */

/* Was the key surely absent from before `write` began until `end`? */
static bool key_was_gone(const struct history *h, uint64_t write_start, uint64_t end)
{
    for (size_t d = 0; d < h->count; d++) {
        const struct history_op *del = &h->ops[d];
        if (del->kind != HISTORY_DELETE || del->end > write_start)
            continue;
        bool revived = false;
        for (size_t p = 0; p < h->count && !revived; p++)
            revived = h->ops[p].kind == HISTORY_PUT && h->ops[p].end > del->start &&
                      h->ops[p].start < end;
        if (!revived)
            return true;
    }
    return false;
}

/* DESIGN section 2: a revoked key can never read what was written after it was revoked. */
static void check_authorization(struct sim_workload *w, const struct attempt *a, uint64_t value)
{
    const struct history *objects = &w->histories[a->reg];
    for (size_t i = 0; value != 0 && i < objects->count; i++) {
        const struct history_op *op = &objects->ops[i];
        if (op->kind == HISTORY_READ || op->kind == HISTORY_DELETE || op->value != value)
            continue;
        if (key_was_gone(&w->histories[a->key_reg], op->start, now(w)))
            problem(w, "a revoked access key read what was written after its revocation");
    }
}

static void check_body(struct sim_workload *w, const struct cache_entry *e, uint64_t value)
{
    char text[20];
    text_of(value, text);
    if (e->has_body && !slice_eq(e->body.bytes, slice_cstr(text)))
        problem(w, "an object's body is not that of its record");
}

/* What a principal says of its register; it must be whole. */
static uint64_t key_value(struct sim_workload *w, uint32_t reg, const Cairn__Record *rec)
{
    const struct register_row *row = &key_rows[reg - SIM_OBJECTS];
    const Cairn__PrincipalRecord *p = rec->principal;
    if (!rec->present)
        return 0;
    if (strcmp(p->account_id, row->account) != 0 || strcmp(p->name, row->user[0] ? "u" : "n") != 0)
        problem(w, "a principal is not of its account, or not of its user");
    return value_of(row->user[0] ? p->unique_id : p->secret);
}

static void read_done(struct meta_read *r)
{
    struct attempt *a = container_of(r, struct attempt, read);
    struct sim_workload *w = a->client->load;
    bool ok = r->err == OK;
    if (ok) {
        w->stats.reads++;
        bool key_there = false;
        if (r->principal_entry) {
            const Cairn__Record *rec = r->principal_entry->record;
            key_there = rec->present;
            record_read(w, a->client, a->key_reg, key_value(w, a->key_reg, rec), a->start);
        }
        if (r->object_entry) {
            const Cairn__Record *rec = r->object_entry->record;
            uint64_t value = rec->present ? value_of(rec->object->etag) : 0;
            record_read(w, a->client, a->reg, value, a->start);
            if (rec->present)
                check_body(w, r->object_entry, value);
            if (key_there)
                check_authorization(w, a, value);
        }
    } else {
        w->stats.failed++;
    }
    meta_read_fini(r);
    finish(a, ok);
}

static void start_read(struct attempt *a)
{
    struct sim_client *c = a->client;
    struct meta_read *r = &a->read;
    if (a->action == ACT_READ) {
        r->bucket = slice_cstr(BUCKET);
        r->key = slice_cstr(object_keys[a->reg]);
        r->want_object = true;
        r->want_body = a->with_body;
    }
    if (a->action == ACT_READ_KEY || a->with_key)
        r->principal = slice_cstr(access_keys[a->key_reg - SIM_OBJECTS]);
    r->deadline_ns = env_now_ns(host_env(c->gateway->host)) + c->load->timeout_ns;
    r->cb = read_done;
    meta_read_start(c->gateway->client, r);
}

/* ---- lists ---- */

static void list_done(struct meta_list *l)
{
    struct attempt *a = container_of(l, struct attempt, list);
    struct sim_workload *w = a->client->load;
    bool ok = l->err == OK;
    if (ok) {
        size_t at = 0;
        w->stats.lists++;
        for (uint32_t reg = 0; reg < SIM_OBJECTS; reg++) {
            const char *key = object_keys[reg];
            uint64_t value = 0;
            if (at < l->entry_count && l->entries[at]->key.len == strlen(key) &&
                memcmp(l->entries[at]->key.data, key, strlen(key)) == 0)
                value = value_of(l->entries[at++]->etag);
            record_read(w, a->client, reg, value, a->start);
        }
        if (at != l->entry_count || l->more)
            problem(w, "a list has an entry that does not belong or stands in the wrong place");
    } else {
        w->stats.failed++;
    }
    meta_list_fini(l);
    finish(a, ok);
}

static void start_list(struct attempt *a)
{
    struct sim_client *c = a->client;
    a->list.bucket_id = c->load->bucket_id;
    a->list.keys_max = 1000;
    a->list.deadline_ns = env_now_ns(host_env(c->gateway->host)) + c->load->timeout_ns;
    a->list.cb = list_done;
    meta_list_start(c->gateway->client, &a->list);
}

/* ---- writes ---- */

/* Puts the outcome of a write into its history.  Returns: it succeeded. */
static bool settle(struct sim_workload *w, struct attempt *a, int err)
{
    struct history_op *op = &w->histories[a->reg].ops[a->op];
    world_trace_add(w->cluster->world, (uint64_t)(int64_t)err);
    if (err == OK) {
        op->end = now(w);
        a->client->seen[a->reg] = a->value;
        w->stats.succeeded++;
        return true;
    }
    if (err_class(err) == ERR_CLASS_UNKNOWN_OUTCOME) {
        w->stats.unknown++;
        return false;
    }
    if (err == ERR_PRECONDITION && op->kind != HISTORY_PUT && op->kind != HISTORY_DELETE) {
        op->end = now(w);
        op->refused = true;
        w->stats.refused++;
        return true;
    }
    /* It was said not to have happened: a read that returns it finds no write to explain it. */
    *op = (struct history_op){.kind = HISTORY_PUT_IF_MATCH,
                              .client = op->client,
                              .refused = true,
                              .expect = UINT64_MAX,
                              .start = op->start,
                              .end = now(w)};
    w->stats.failed++;
    return false;
}

static void propose_done(struct meta_propose *p)
{
    struct attempt *a = container_of(p, struct attempt, propose);
    struct sim_workload *w = a->client->load;
    bool ok;
    if (a->action == ACT_CREATE_BUCKET) {
        ok = (p->err == OK || p->err == ERR_EXISTS) && p->outcome && p->outcome->bucket_id != 0;
        if (ok) {
            w->have_bucket = true;
            w->bucket_id = p->outcome->bucket_id;
            w->settings_version = p->outcome->settings_version;
        }
    } else if (a->action == ACT_CREATE_ACCOUNTS) {
        ok = p->err == OK || (p->err == ERR_PRECONDITION && p->outcome); /* another client's */
        w->have_accounts |= ok;
    } else {
        ok = settle(w, a, p->err);
    }
    meta_propose_fini(p);
    finish(a, ok);
}

static void begin_write(struct attempt *a, enum history_kind kind, uint64_t expect)
{
    struct sim_workload *w = a->client->load;
    struct history_op op = {.kind = kind,
                            .client = a->client->id,
                            .value = a->value,
                            .expect = expect,
                            .start = now(w),
                            .end = HISTORY_PENDING};
    a->op = history_add(&w->histories[a->reg], op);
}

static void fill_object_write(struct attempt *a)
{
    struct sim_client *c = a->client;
    struct sim_workload *w = c->load;
    struct slice key = slice_cstr(object_keys[a->reg]);
    ProtobufCBinaryData key_data = {key.len, (uint8_t *)(uintptr_t)key.ptr};
    uint64_t dice = world_below(w->cluster->world, 10);
    a->propose.bucket_id = w->bucket_id;
    a->propose.key = key;
    a->propose.command.settings_version = w->settings_version;
    if (dice < 3) {
        begin_write(a, HISTORY_DELETE, 0);
        cairn__delete_object__init(&a->del);
        a->del.bucket_id = w->bucket_id;
        a->del.key = key_data;
        a->value = 0;
        a->propose.command.op_case = CAIRN__COMMAND__OP_DELETE_OBJECT;
        a->propose.command.delete_object = &a->del;
        return;
    }
    a->value = ++w->next_value;
    text_of(a->value, a->etag);
    cairn__put_object__init(&a->put);
    cairn__object_record__init(&a->record);
    cairn__condition__init(&a->condition);
    a->put.bucket_id = w->bucket_id;
    a->put.key = key_data;
    a->put.record = &a->record;
    a->record.etag = a->etag;
    a->record.size = strlen(a->etag);
    a->record.kind = CAIRN__DATA_KIND__DATA_INLINE;
    a->record.content_type = "x";
    a->record.owner_id = "o";
    if (dice < 5) {
        a->condition.if_absent = true;
        a->put.condition = &a->condition;
        begin_write(a, HISTORY_PUT_IF_ABSENT, 0);
    } else if (dice < 7 && c->seen[a->reg] != 0) {
        text_of(c->seen[a->reg], a->match);
        a->matches[0] = a->match;
        a->condition.n_if_match = 1;
        a->condition.if_match = a->matches;
        a->put.condition = &a->condition;
        begin_write(a, HISTORY_PUT_IF_MATCH, c->seen[a->reg]);
    } else {
        begin_write(a, HISTORY_PUT, 0);
    }
    struct rcbuf *body = rcbuf_copy(slice_cstr(a->etag));
    CHECK(body);
    a->propose.body = (struct payload){body, SLICE(body->data, body->len)};
    a->propose.command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    a->propose.command.put_object = &a->put;
}

/* ---- rows of the registry ---- */

static void add_change(struct attempt *a, Cairn__RowKind kind, const char *scope, const char *name,
                       uint64_t version, const ProtobufCMessage *value)
{
    size_t i = a->rows.n_changes++;
    Cairn__RowChange *c = a->changes[i] = &a->change[i];
    CHECK(i < ARRAY_COUNT(a->change));
    cairn__row_change__init(c);
    c->kind = kind;
    c->scope = (char *)(uintptr_t)scope;
    c->name = (char *)(uintptr_t)name;
    c->expected_version = version;
    if (!value)
        return;
    CHECK(protobuf_c_message_get_packed_size(value) <= sizeof(a->packed[i]));
    c->value = (ProtobufCBinaryData){protobuf_c_message_pack(value, a->packed[i]), a->packed[i]};
}

static void add_key(struct attempt *a, uint32_t key, uint64_t version, char *secret)
{
    Cairn__AccessKeyRow row = CAIRN__ACCESS_KEY_ROW__INIT;
    row.access_key_id = (char *)(uintptr_t)access_keys[key];
    row.account_id = (char *)(uintptr_t)key_rows[key].account;
    row.user = (char *)(uintptr_t)key_rows[key].user;
    row.secret = secret;
    row.enabled = true;
    add_change(a, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", access_keys[key], version, &row.base);
}

static void rows_command(struct attempt *a)
{
    cairn__change_rows__init(&a->rows);
    a->rows.changes = a->changes;
    a->propose.root = true;
    a->propose.command.op_case = CAIRN__COMMAND__OP_CHANGE_ROWS;
    a->propose.command.change_rows = &a->rows;
}

static void fill_accounts(struct attempt *a)
{
    Cairn__AccountRow account = CAIRN__ACCOUNT_ROW__INIT;
    account.canonical_id = account.name = "n";
    rows_command(a);
    for (size_t i = 0; i < SIM_KEYS; i++)
        add_change(a, CAIRN__ROW_KIND__ROW_ACCOUNT, "", key_rows[i].account, 0, &account.base);
    add_key(a, 1, 0, "s");
}

static void start_proposal(struct attempt *a);

/* A write of a key is by the version of the row that it found: it is refused if another one came
 * first, and has not happened then. */
static void looked(struct meta_rows *look)
{
    struct attempt *a = container_of(look, struct attempt, look);
    struct sim_workload *w = a->client->load;
    const struct register_row *row = &key_rows[a->reg - SIM_OBJECTS];
    uint64_t version = look->row_count ? look->rows[0]->version : 0;
    int err = look->err;
    meta_rows_fini(look);
    if (err != OK) {
        w->stats.failed++;
        finish(a, false);
        return;
    }
    cairn__command__init(&a->propose.command);
    rows_command(a);
    a->value = version && world_below(w->cluster->world, 2) == 0 ? 0 : ++w->next_value;
    begin_write(a, a->value ? HISTORY_PUT : HISTORY_DELETE, 0);
    text_of(a->value, a->etag);
    if (row->kind == CAIRN__ROW_KIND__ROW_ACCESS_KEY) {
        add_key(a, a->reg - SIM_OBJECTS, version, a->etag);
    } else {
        Cairn__UserRow user = CAIRN__USER_ROW__INIT;
        user.name = "u";
        user.unique_id = a->etag;
        add_change(a, row->kind, row->scope, row->name, version, &user.base);
    }
    a->change[0].remove = a->value == 0;
    start_proposal(a);
}

static void start_key_write(struct attempt *a)
{
    struct sim_client *c = a->client;
    const struct register_row *row = &key_rows[a->reg - SIM_OBJECTS];
    a->look.kind = row->kind;
    a->look.scope = row->scope;
    a->look.name = row->name;
    a->look.deadline_ns = env_now_ns(host_env(c->gateway->host)) + c->load->timeout_ns;
    a->look.cb = looked;
    meta_rows_start(c->gateway->client, &a->look);
}

static void start_propose(struct attempt *a)
{
    cairn__command__init(&a->propose.command);
    if (a->action == ACT_CREATE_BUCKET) {
        cairn__create_bucket__init(&a->create);
        cairn__bucket_record__init(&a->bucket);
        a->bucket.name = BUCKET;
        a->bucket.owner_id = "o";
        a->bucket.region = "us-east-1";
        a->create.bucket = &a->bucket;
        a->propose.root = true;
        a->propose.command.op_case = CAIRN__COMMAND__OP_CREATE_BUCKET;
        a->propose.command.create_bucket = &a->create;
    } else if (a->action == ACT_CREATE_ACCOUNTS) {
        fill_accounts(a);
    } else {
        fill_object_write(a);
    }
    start_proposal(a);
}

static void start_proposal(struct attempt *a)
{
    struct sim_client *c = a->client;
    a->propose.deadline_ns = env_now_ns(host_env(c->gateway->host)) + c->load->timeout_ns;
    a->propose.cb = propose_done;
    struct rcbuf *body = a->propose.body.owner;
    meta_propose_start(c->gateway->client, &a->propose);
    rcbuf_unref(body); /* the start took a reference of its own */
}

/* ---- the loop of a client ---- */

static bool is_writer(const struct sim_client *c)
{
    return c->id / c->load->cluster->zones % 2 == 1;
}

static void choose(struct sim_workload *w, const struct sim_client *c, struct attempt *a)
{
    struct world *world = w->cluster->world;
    uint64_t dice = world_below(world, 100);
    if (w->roles)
        dice = is_writer(c) ? 48 + dice % 42 : dice % 48;
    a->reg = (uint32_t)world_below(world, SIM_OBJECTS);
    a->key_reg = SIM_OBJECTS + (uint32_t)world_below(world, SIM_KEYS);
    a->with_body = world_below(world, 2);
    a->with_key = world_below(world, 2);
    uint64_t coin = world_random(world);
    if (!w->have_bucket) {
        a->action = ACT_CREATE_BUCKET;
    } else if (!w->have_accounts) {
        a->action = ACT_CREATE_ACCOUNTS;
    } else if (dice < 40) {
        a->action = ACT_READ;
        /* What is read rarely lies in the cache while everything around it changes. */
        for (uint32_t i = 0; c->skewed && i < SIM_OBJECTS; i++) {
            a->reg = (c->favourite + i) % SIM_OBJECTS;
            if ((coin >> (2 * i)) & 3)
                break;
        }
    } else if (dice < 48) {
        a->action = ACT_READ_KEY;
    } else if (dice < 82) {
        a->action = ACT_WRITE;
    } else if (dice < 90) {
        a->action = ACT_WRITE_KEY;
        a->reg = a->key_reg;
    } else {
        a->action = ACT_LIST;
    }
}

static void begin(struct sim_client *c)
{
    struct sim_workload *w = c->load;
    bool last_round = c->left > 0;
    if (w->stopped && !last_round)
        return;
    struct attempt *a = calloc(1, sizeof(*a));
    CHECK(a);
    a->client = c;
    a->start = now(w);
    if (last_round) {
        uint32_t reg = --c->left;
        a->action = reg < SIM_OBJECTS ? ACT_READ : ACT_READ_KEY;
        a->reg = reg;
        a->key_reg = reg < SIM_OBJECTS ? SIM_OBJECTS : reg;
    } else {
        choose(w, c, a);
    }
    c->current = a;
    w->stats.started++;
    switch (a->action) {
    case ACT_READ:
    case ACT_READ_KEY: start_read(a); break;
    case ACT_LIST: start_list(a); break;
    case ACT_WRITE_KEY: start_key_write(a); break;
    default: start_propose(a); break;
    }
}

static void thought(struct env_timer *t)
{
    begin(container_of(t, struct sim_client, think));
}

static void think(struct sim_client *c)
{
    struct sim_workload *w = c->load;
    if (w->stopped && c->left == 0)
        return;
    uint64_t max_ns = w->roles && is_writer(c) ? WRITER_THINKS * w->think_max_ns : w->think_max_ns;
    uint64_t ns = 1 + world_below(w->cluster->world, max_ns);
    if (!w->stopped && w->lull_ns > 0 && now(w) % LULL_EVERY_NS < w->lull_ns)
        ns += w->lull_ns - now(w) % LULL_EVERY_NS;
    env_timer_start(&c->think, ns);
}

static void gateway_booted(void *arg, struct sim_node *gateway)
{
    struct sim_workload *w = arg;
    for (unsigned i = 0; i < w->client_count; i++) {
        struct sim_client *c = &w->clients[i];
        if (c->gateway != gateway)
            continue;
        c->current = NULL; /* the history holds what had no outcome */
        memset(c->seen, 0, sizeof(c->seen));
        env_timer_init(host_env(gateway->host), &c->think, thought);
        think(c);
    }
}

struct sim_workload *sim_workload_new(struct sim_cluster *c, bool roles, uint64_t think_max_ns)
{
    struct sim_workload *w = calloc(1, sizeof(*w));
    size_t clients = (roles ? 4 : 2) * c->zones;
    CHECK(w && clients <= SIM_CLIENTS_MAX);
    w->cluster = c;
    w->think_max_ns = think_max_ns;
    w->timeout_ns = world_below(c->world, 2) ? OP_TIMEOUT_NS
                                             : 200 * NS_PER_MS + world_below(c->world, NS_PER_SEC);
    w->roles = roles;
    bool skewed = world_below(c->world, 3) != 0;
    w->lull_ns = c->lulls ? world_below(c->world, LULL_EVERY_NS * 3 / 4) : 0;
    for (unsigned i = 0; i < clients; i++) {
        struct sim_node *gateway = &c->gateways[i % c->zones];
        unsigned favourite = skewed && i >= c->zones ? w->clients[i - c->zones].favourite
                                                     : (unsigned)world_below(c->world, SIM_OBJECTS);
        w->clients[w->client_count++] = (struct sim_client){
            .load = w, .gateway = gateway, .id = i, .skewed = skewed, .favourite = favourite};
    }
    for (size_t z = 0; z < c->zones; z++)
        sim_on_boot(&c->gateways[z], gateway_booted, w);
    return w;
}

bool sim_workload_ready(const struct sim_workload *w)
{
    return w->have_bucket && w->have_accounts;
}

void sim_workload_stop(struct sim_workload *w)
{
    w->stopped = true;
}

bool sim_workload_idle(const struct sim_workload *w)
{
    for (unsigned i = 0; i < w->client_count; i++)
        if (w->clients[i].current || w->clients[i].left > 0)
            return false;
    return true;
}

uint64_t sim_workload_progress(struct sim_workload *w)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < w->client_count; i++) {
        least = MIN(least, w->clients[i].progress);
        w->clients[i].progress = 0;
    }
    return least;
}

void sim_workload_read_all(struct sim_workload *w)
{
    CHECK(w->stopped);
    for (unsigned i = 0; i < w->cluster->zones; i++) {
        w->clients[i].left = SIM_REGISTERS;
        think(&w->clients[i]);
    }
}

void sim_workload_check(struct sim_workload *w)
{
    for (uint32_t reg = 0; reg < SIM_REGISTERS; reg++) {
        size_t stuck = 0;
        char text[160];
        switch (history_check(&w->histories[reg], 0, 3000000, &stuck)) {
        case HISTORY_OK: break;
        case HISTORY_UNDECIDED: w->stats.undecided++; break;
        case HISTORY_VIOLATION:
            snprintf(text, sizeof(text), "register %u is not linearizable; stuck at operation %zu",
                     reg, stuck);
            problem(w, text);
            break;
        }
    }
}

const struct sim_workload_stats *sim_workload_stats(const struct sim_workload *w)
{
    return &w->stats;
}

void sim_workload_print(const struct sim_workload *w, uint32_t reg,
                        void (*line)(void *arg, const char *), void *arg)
{
    char name[40];
    snprintf(name, sizeof(name), "register %u", reg);
    history_print(&w->histories[reg], name, line, arg);
}
