/* The clients of the blob workload: what they choose, what they saw, and whether it fits. */
#include "tests/sim/blobs_impl.h"

#include "common/base/check.h"
#include "gateway/meta/meta_client.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const bucket_names[BLOB_BUCKETS] = {"blobs-kept", "blobs-deleted"};
static const char *const key_names[BLOB_KEYS] = {"a", "b/1", "m", "z"};

uint64_t blobs_now(const struct task *t)
{
    return world_now(t->user->load->cluster->world);
}

uint64_t blobs_below(const struct task *t, uint64_t n)
{
    return world_below(t->user->load->cluster->world, n);
}

void blobs_problem(const struct task *t, const char *text)
{
    struct sim_cluster *c = t->user->load->cluster;
    c->problem(c->problem_arg, text);
}

struct slice blobs_key(unsigned key)
{
    return slice_cstr(key_names[key]);
}

/* ---- values ---- */

uint64_t value_new(struct sim_blobs *w, uint64_t size)
{
    if (w->value_count == w->value_cap) {
        w->value_cap = w->value_cap ? 2 * w->value_cap : 256;
        w->values = realloc(w->values, w->value_cap * sizeof(*w->values));
        CHECK(w->values);
    }
    uint64_t value = w->value_count + 1;
    w->values[w->value_count++] =
        (struct value){.size = size, .count = 1, .pieces = {{value, size}}};
    return value;
}

struct value *value_of(const struct sim_blobs *w, uint64_t value)
{
    return value >= 1 && value <= w->value_count ? &w->values[value - 1] : NULL;
}

uint64_t size_draw(struct task *t)
{
    const struct sim_cluster *c = t->user->load->cluster;
    uint64_t inline_max = t->req.gw->config->inline_bytes_max;
    if (blobs_below(t, 5) == 0)
        return 1 + blobs_below(t, inline_max);
    uint64_t most =
        c->segment_bytes < BLOB_BLOCK_BYTES ? 4 * c->segment_bytes : c->segment_bytes + 3;
    return inline_max + 1 + blobs_below(t, most);
}

void value_text(uint64_t value, char ret[20])
{
    snprintf(ret, 20, "%016llx", (unsigned long long)value);
}

uint64_t value_parse(const char *text)
{
    return text && *text ? strtoull(text, NULL, 16) : 0;
}

static uint64_t word_of(uint64_t seed, uint64_t at)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15ull + at / 8;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

void value_bytes(uint64_t seed, uint64_t size, struct buf *ret)
{
    CHECK(buf_reserve(ret, size + 8) == OK);
    for (uint64_t at = 0; at < size; at += 8) {
        uint64_t word = word_of(seed, at);
        memcpy(ret->ptr + ret->len + at, &word, sizeof(word));
    }
    ret->len += size;
}

bool value_matches(const struct value *v, uint64_t at, struct slice bytes)
{
    uint64_t begin = 0, word = 0;
    for (unsigned i = 0; i < v->count && bytes.len; begin += v->pieces[i++].size) {
        const struct piece *p = &v->pieces[i];
        bool first = true;
        for (; at - begin < p->size && bytes.len; at++, bytes.ptr++, bytes.len--) {
            uint64_t offset = at - begin;
            if (first || offset % 8 == 0)
                word = word_of(p->seed, offset);
            first = false;
            if (*bytes.ptr != (uint8_t)(word >> 8 * (offset % 8)))
                return false;
        }
    }
    return bytes.len == 0;
}

/* ---- histories ---- */

static struct history *history_of(const struct task *t, unsigned key)
{
    return &t->bucket->keys[key];
}

void history_begin(struct task *t, enum history_kind kind)
{
    struct history_op op = {.kind = kind,
                            .client = t->user->id,
                            .value = t->value,
                            .start = blobs_now(t),
                            .end = HISTORY_PENDING};
    t->op = history_add(history_of(t, t->key), op);
}

enum history_kind history_kind_of(const struct task *t)
{
    return history_of(t, t->key)->ops[t->op].kind;
}

bool history_settle(struct task *t, int err)
{
    struct sim_blobs *w = t->user->load;
    struct history_op *op = &history_of(t, t->key)->ops[t->op];
    world_trace_add(w->cluster->world, (uint64_t)(int64_t)err);
    if (outcome_unknown(err)) {
        w->stats.unknown++;
        return false;
    }
    op->end = blobs_now(t);
    if (err == OK) {
        if (t->bucket->gone_ns && op->start > t->bucket->gone_ns)
            blobs_problem(t, "a write was acknowledged in a bucket that is gone");
        return true;
    }
    if (err == ERR_PRECONDITION && op->kind == HISTORY_PUT_IF_ABSENT) {
        op->refused = true;
        w->stats.refused++;
        return true;
    }
    /* It was said not to have happened: a read that returns it finds no write to explain it. */
    op->kind = HISTORY_PUT_IF_MATCH;
    op->refused = true;
    op->expect = UINT64_MAX;
    w->stats.failed++;
    return false;
}

void history_read(struct task *t, unsigned key, uint64_t value)
{
    struct history_op op = {.kind = HISTORY_READ,
                            .client = t->user->id,
                            .value = value,
                            .start = t->step_ns,
                            .end = blobs_now(t)};
    history_add(history_of(t, key), op);
    world_trace_add(t->user->load->cluster->world, value);
}

/* ---- lives of buckets ---- */

static struct bucket *bucket_of(struct sim_blobs *w, uint64_t id, unsigned name)
{
    for (size_t i = w->bucket_count; i-- > 0;)
        if (w->buckets[i]->id == id)
            return w->buckets[i];
    struct bucket *b = calloc(1, sizeof(*b));
    CHECK(b && w->bucket_count < BUCKET_LIVES_MAX);
    *b = (struct bucket){.id = id, .name = name};
    return w->buckets[w->bucket_count++] = b;
}

/* It was deleted at some time after since_ns: then nothing was in it. */
static void bucket_gone(struct task *t, struct bucket *b, uint64_t since_ns)
{
    if (b->name == 0)
        blobs_problem(t, "a bucket that nobody deletes is gone");
    if (b->gone_ns)
        return;
    b->gone_ns = blobs_now(t);
    t->user->load->stats.buckets_deleted++;
    for (unsigned key = 0; key < BLOB_KEYS; key++) {
        struct history_op op = {
            .kind = HISTORY_READ, .client = t->user->id, .start = since_ns, .end = b->gone_ns};
        history_add(&b->keys[key], op);
    }
}

static void bucket_seen(struct task *t, const Cairn__BucketRecord *record)
{
    struct blob_user *u = t->user;
    struct sim_blobs *w = u->load;
    uint64_t id = record ? record->id : 0, before = u->seen_id[t->name];
    t->req.bucket = record;
    t->bucket = record ? bucket_of(w, id, t->name) : NULL;
    if (before && before != id)
        bucket_gone(t, bucket_of(w, before, t->name), u->seen_ns[t->name]);
    if (t->bucket && t->bucket->gone_ns && t->step_ns > t->bucket->gone_ns)
        blobs_problem(t, "a bucket that was gone is back");
    u->seen_id[t->name] = id;
    u->seen_ns[t->name] = t->step_ns;
}

/* ---- steps that all tasks have ---- */

static void looked(struct meta_read *r)
{
    struct task *t = container_of(r, struct task, look);
    t->err = r->err;
    t->bucket = NULL;
    t->req.bucket = NULL;
    t->req.object = NULL;
    if (r->err == OK) {
        const Cairn__Record *b = r->bucket_entry->record;
        const Cairn__Record *o = r->object_entry ? r->object_entry->record : NULL;
        bucket_seen(t, b->present ? b->bucket : NULL);
        t->req.object = o && o->present ? o->object : NULL;
    }
    t->then(t);
}

void task_look_fini(struct task *t)
{
    if (t->looked)
        meta_read_fini(&t->look);
    t->looked = false;
}

void task_look(struct task *t, bool want_object, void (*then)(struct task *t))
{
    task_look_fini(t);
    t->looked = true;
    t->then = then;
    t->step_ns = blobs_now(t);
    t->look = (struct meta_read){.bucket = t->req.s3.bucket,
                                 .key = t->req.s3.key,
                                 .want_object = want_object,
                                 .want_body = want_object,
                                 .deadline_ns = request_deadline(&t->req),
                                 .cb = looked};
    meta_read_start(t->req.gw->mc, &t->look);
}

static void waited(struct env_timer *timer)
{
    struct task *t = container_of(timer, struct task, timer);
    t->then(t);
}

void task_wait(struct task *t, uint64_t ns, void (*then)(struct task *t))
{
    t->then = then;
    env_timer_init(t->req.gw->env, &t->timer, waited);
    env_timer_start(&t->timer, ns);
}

Cairn__Command *task_command(struct task *t)
{
    memset(&t->commit, 0, sizeof(t->commit));
    cairn__command__init(&t->commit.propose.command);
    return &t->commit.propose.command;
}

static void proposed(struct commit *c)
{
    struct task *t = container_of(c, struct task, commit);
    t->err = c->err;
    if (c->err == OK && t->after.known)
        commit_cache_object(c, t->after.key, t->after.present ? &t->record : NULL, t->after.body);
    t->after.known = false;
    commit_fini(c);
    t->then(t);
}

void task_propose_object(struct task *t, struct slice key, bool present, struct payload body,
                         void (*then)(struct task *t))
{
    t->after.known = true;
    t->after.present = present;
    t->after.key = key;
    t->after.body = body;
    t->commit.propose.body = body;
    task_propose(t, key, then);
}

void task_propose(struct task *t, struct slice key, void (*then)(struct task *t))
{
    t->then = then;
    commit_start(&t->commit, &t->req, key, proposed);
}

/* ---- the loop of a client ---- */

static void think(struct blob_user *u);

void task_end(struct task *t, bool progressed)
{
    struct blob_user *u = t->user;
    CHECK(u->current == t && !t->ingesting && !t->extracting);
    if (t->last_round && u->load->beyond) {
        u->load->stats.beyond++;
        u->load->stats.beyond_lost += !progressed;
    } else if (t->last_round && !progressed) {
        char text[160];
        snprintf(text, sizeof(text), "after healing %s/%s cannot be read: %s",
                 bucket_names[t->name], key_names[t->key], err_name(t->err));
        blobs_problem(t, text);
    }
    u->current = NULL;
    u->progress += progressed;
    u->load->stats.failed += !progressed;
    task_look_fini(t);
    buf_fini(&t->data);
    arena_fini(&t->arena);
    free(t);
    think(u);
}

static void (*choose(struct task *t))(struct task *)
{
    static const struct {
        unsigned share;
        void (*fn)(struct task *t);
    } actions[] = {
        {30, act_put}, {25, act_get},  {12, act_delete},       {14, act_upload},
        {9, act_list}, {3, act_sweep}, {7, act_delete_bucket},
    };
    uint64_t dice = blobs_below(t, 100);
    t->key = (unsigned)blobs_below(t, BLOB_KEYS);
    t->name = blobs_below(t, 4) == 0;
    for (size_t i = 0;; i++) {
        CHECK(i < ARRAY_COUNT(actions));
        if (dice < actions[i].share)
            return actions[i].fn;
        dice -= actions[i].share;
    }
}

static void begin(struct env_timer *timer)
{
    struct blob_user *u = container_of(timer, struct blob_user, think);
    struct sim_blobs *w = u->load;
    if (w->stopped && u->left == 0)
        return;
    struct task *t = calloc(1, sizeof(*t));
    CHECK(t);
    t->user = u;
    t->start_ns = world_now(w->cluster->world);
    t->req.gw = u->gateway->gateway;
    t->req.authorized = true; /* nobody asks: there is no client */
    t->req.arena = &t->arena;
    void (*action)(struct task *) = act_get;
    if (u->left) {
        t->last_round = true;
        u->left--;
        t->name = u->left / BLOB_KEYS;
        t->key = u->left % BLOB_KEYS;
    } else {
        action = choose(t);
    }
    if (action == act_delete_bucket)
        t->name = BLOB_BUCKETS - 1;
    t->req.s3.bucket = slice_cstr(bucket_names[t->name]);
    t->req.s3.key = blobs_key(t->key);
    u->current = t;
    action(t);
}

static void think(struct blob_user *u)
{
    struct sim_blobs *w = u->load;
    if (w->stopped && u->left == 0)
        return;
    env_timer_start(&u->think, 1 + world_below(w->cluster->world, w->think_max_ns));
}

static void gateway_booted(void *arg, struct sim_node *gateway)
{
    struct sim_blobs *w = arg;
    for (unsigned i = 0; i < w->user_count; i++) {
        struct blob_user *u = &w->users[i];
        if (u->gateway != gateway)
            continue;
        u->current = NULL; /* abandoned: its writes have no known outcome */
        env_timer_init(host_env(gateway->host), &u->think, begin);
        think(u);
    }
}

struct sim_blobs *sim_blobs_new(struct sim_cluster *c, struct sim_shards *shards,
                                unsigned clients_per_gateway, uint64_t think_max_ns)
{
    struct sim_blobs *w = calloc(1, sizeof(*w));
    CHECK(w && clients_per_gateway * c->zones <= BLOB_CLIENTS_MAX);
    w->cluster = c;
    w->shards = shards;
    w->think_max_ns = think_max_ns;
    for (unsigned i = 0; i < clients_per_gateway * c->zones; i++)
        w->users[w->user_count++] =
            (struct blob_user){.load = w, .gateway = &c->gateways[i % c->zones], .id = i};
    for (size_t z = 0; z < c->zones; z++)
        sim_on_boot(&c->gateways[z], gateway_booted, w);
    return w;
}

void sim_blobs_stop(struct sim_blobs *w)
{
    w->stopped = true;
}

bool sim_blobs_idle(const struct sim_blobs *w)
{
    for (unsigned i = 0; i < w->user_count; i++)
        if (w->users[i].current || w->users[i].left > 0)
            return false;
    return true;
}

uint64_t sim_blobs_progress(struct sim_blobs *w)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < w->user_count; i++) {
        least = MIN(least, w->users[i].progress);
        w->users[i].progress = 0;
    }
    return least;
}

void sim_blobs_read_all(struct sim_blobs *w)
{
    CHECK(w->stopped);
    for (unsigned i = 0; i < w->cluster->zones; i++) {
        w->users[i].left = BLOB_BUCKETS * BLOB_KEYS;
        think(&w->users[i]);
    }
}

void sim_blobs_read_beyond(struct sim_blobs *w)
{
    w->beyond = true;
    sim_blobs_read_all(w);
}

void sim_blobs_check(struct sim_blobs *w)
{
    for (size_t i = 0; i < w->bucket_count * BLOB_KEYS; i++) {
        const struct bucket *b = w->buckets[i / BLOB_KEYS];
        size_t stuck = 0;
        char text[160];
        switch (history_check(&b->keys[i % BLOB_KEYS], 0, 1000000, &stuck)) {
        case HISTORY_OK: break;
        case HISTORY_UNDECIDED: w->stats.undecided++; break;
        case HISTORY_VIOLATION:
            snprintf(text, sizeof(text), "%s %llx, %s is not linearizable; stuck at operation %zu",
                     bucket_names[b->name], (unsigned long long)b->id, key_names[i % BLOB_KEYS],
                     stuck);
            w->cluster->problem(w->cluster->problem_arg, text);
            return; /* each search that fails is a long one */
        }
    }
}

const struct sim_blobs_stats *sim_blobs_stats(const struct sim_blobs *w)
{
    return &w->stats;
}

void sim_blobs_print(const struct sim_blobs *w, void (*line)(void *arg, const char *), void *arg)
{
    for (size_t i = 0; i < w->bucket_count * BLOB_KEYS; i++) {
        const struct bucket *b = w->buckets[i / BLOB_KEYS];
        char name[80];
        snprintf(name, sizeof(name), "%s %llx %s", bucket_names[b->name], (unsigned long long)b->id,
                 key_names[i % BLOB_KEYS]);
        history_print(&b->keys[i % BLOB_KEYS], name, line, arg);
    }
}
