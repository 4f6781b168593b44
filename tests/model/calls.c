/* Puts, gets and deletes of the model: each knows what its outcome may be, and what that teaches.
 */
#include "tests/model/model_impl.h"

#include "common/base/hash.h"

#include <stdlib.h>

#define LATE_MS (18 * 60 * 1000) /* how long a put may wait before it is looked at */

enum call_kind { PUT, GET, DELETE };

struct call {
    struct list node;
    struct model *m;
    enum call_kind kind;
    struct blob *blob;
    uint64_t changes_before;
    bool expect_present, expect_absent, expect_condemned, expect_epoch, expect_old, other_bytes;
    bool damaged_before, failed_before;
    uint8_t *data;
    uint32_t *crcs;
    struct disks_put put;
    struct store_get get;
    struct disks_delete del;
    uint64_t began_ms;
    struct id128 ids[3];
    struct blob *more[3];
};

static void hex(struct id128 id, char ret[ID_HEX_CHARS + 1])
{
    id128_hex(id, ret);
}

/* ---- blobs and their bytes ---- */

void blob_new(struct model *m, struct blob *b)
{
    blob_free(b);
    *b = (struct blob){.is = ABSENT};
    for (unsigned i = 0; i < ID_BYTES; i++)
        b->id.bytes[i] = (uint8_t)model_random(m);
    uint64_t kind = m->world.small ? 4 + model_below(m, 6) : model_below(m, 10);
    b->bytes = 1 + (uint32_t)(kind < 2   ? model_below(m, 300)
                              : kind < 8 ? model_below(m, 30000)
                              : kind < 9 ? model_below(m, 90000)
                                         : model_below(m, SHARD_MAX));
    if (model_below(m, 8) == 0)
        b->bytes = (b->bytes + FRAME_ALIGN - 1) / FRAME_ALIGN * FRAME_ALIGN;
    b->time_ms = env_wall_ms(&m->fake.env);
}

void blob_free(struct blob *b)
{
    free(b->content);
    b->content = NULL;
}

/* The bytes follow from the id; one pattern in three is all the same byte, so that torn writes over
 * older frames of the same content are met, too. */
void blob_fill(const struct blob *b, uint8_t *to, bool other)
{
    uint64_t x;
    memcpy(&x, b->id.bytes, sizeof(x));
    if (b->id.bytes[9] % 3 == 0)
        memset(to, 'a' + other, b->bytes);
    else
        for (uint32_t i = 0; i < b->bytes; i += 8) {
            x = x * 6364136223846793005ull + 1442695040888963407ull + other;
            memcpy(to + i, &x, MIN(8, b->bytes - i));
        }
    to[b->bytes - 1] = (uint8_t)(b->id.bytes[8] + other);
}

const uint8_t *blob_content(struct blob *b)
{
    if (!b->content) {
        b->content = malloc(b->bytes);
        blob_fill(b, b->content, false);
    }
    return b->content;
}

static void crcs_of(const struct blob *b, const uint8_t *data, uint32_t *ret)
{
    for (uint32_t i = 0; i < shard_blocks(b->bytes); i++) {
        size_t at = (size_t)i * SHARD_BLOCK_BYTES;
        ret[i] = crc32c(0, SLICE(data + at, MIN(b->bytes - at, SHARD_BLOCK_BYTES)));
    }
}

void blob_crcs(struct blob *b, uint32_t *ret)
{
    crcs_of(b, blob_content(b), ret);
}

uint32_t blob_digest(struct blob *b)
{
    uint32_t crcs[SHARD_MAX / SHARD_BLOCK_BYTES + 2];
    blob_crcs(b, crcs);
    return shard_crcs_digest(crcs, shard_blocks(b->bytes));
}

/* ---- calls ---- */

static struct call *call_new(struct model *m, enum call_kind kind, struct blob *b)
{
    struct call *c = calloc(1, sizeof(*c));
    c->m = m;
    c->kind = kind;
    c->blob = b;
    c->began_ms = env_wall_ms(&m->fake.env);
    c->failed_before = world_failure(m) != OK;
    list_push_back(&m->calls, &c->node);
    m->under_way++;
    return c;
}

static void call_free(struct call *c)
{
    c->m->under_way--;
    list_remove(&c->node);
    free(c->data);
    free(c->crcs);
    free(c);
}

/* ---- puts ---- */

static void put_count(struct call *c, int err)
{
    struct model *m = c->m;
    m->seen[SEEN_FULL] += err == ERR_NOSPACE;
    m->seen[SEEN_CONDEMNED] += err == ERR_CONDEMNED;
    m->seen[SEEN_TOO_OLD] += err == ERR_TOO_OLD;
    m->seen[SEEN_EXISTS] += err == ERR_EXISTS;
    m->seen[SEEN_EPOCH_REFUSED] += err == ERR_EPOCH;
    m->seen[SEEN_HEALED] += err == OK && c->damaged_before;
    m->seen[SEEN_PUT_BESIDE_FAILED] += err == OK && c->failed_before;
}

/* On some disk that is in the node.  One that was put in after the delete has none. */
bool tombstone_in_reach(struct model *m, const struct blob *b)
{
    for (unsigned i = 0; i < m->bays; i++)
        if (store_of(m, i) && b->delete_units & 1u << m->bay[i])
            return true;
    return false;
}

static void put_judge(struct call *c, int err)
{
    struct model *m = c->m;
    struct blob *b = c->blob;
    char name[ID_HEX_CHARS + 1];
    hex(b->id, name);
    if (err == OK && c->expect_condemned)
        FAIL(m, "blob %s: a late put brought it back", name);
    if (err == OK && c->expect_old)
        FAIL(m, "blob %s: a put that is too old was taken", name);
    if (err == OK && c->expect_epoch)
        FAIL(m, "blob %s: a put below a closed epoch was taken", name);
    if (err == ERR_EPOCH && c->put.put.info.pg_epoch >= m->ever_asked[pg_slot(b->id)])
        FAIL(m, "blob %s: refused for its epoch, which is open", name);
    if (err == ERR_CONDEMNED && !b->marked)
        FAIL(m, "blob %s: refused as deleted, but nobody deleted it", name);
    if (c->other_bytes) {
        if (err == OK && !(b->deletes || b->marked))
            FAIL(m, "blob %s: other bytes under the same id were accepted", name);
        return;
    }
    if (err == OK && b->is == DELETED && !c->put.put.any_age && tombstone_in_reach(m, b))
        FAIL(m, "blob %s: put accepted after its delete was acknowledged", name);
    if (err == ERR_EXISTS && !b->tainted)
        FAIL(m, "blob %s: the same bytes were refused as others", name);
}

/* Of a put whose outcome is not known. */
static bool may_bring(const struct call *c)
{
    return c->blob->is == ABSENT ||
           (c->blob->is == DELETED && !c->expect_condemned && !c->expect_old && !c->expect_epoch);
}

static void put_settle(struct call *c, int err)
{
    struct model *m = c->m;
    struct blob *b = c->blob;
    b->puts--;
    TRACE(m, "    put blob %td: %s\n", b - m->blobs, err_name(err));
    put_count(c, err);
    put_judge(c, err);
    if (c->other_bytes)
        return;
    if (err == OK && b->deletes == 0 && b->is != UNKNOWN)
        b->is = PRESENT;
    else if (err == OK || (err == ERR_IO && may_bring(c)))
        b->is = UNKNOWN;
    if (err == OK && b->deletes == 0)
        b->marked_ms = 0;
    if (err == OK) {
        b->stored_ms = env_wall_ms(&m->fake.env);
        b->reread_at = model_reread(m);
    }
}

static void on_put(struct disks_put *put)
{
    struct call *c = container_of(put, struct call, put);
    put_settle(c, put->err);
    call_free(c);
}

static bool is_damaged(struct model *m, const struct blob *b)
{
    enum disks_shard state;
    return disks_look(m->disks, b->id, shard_of(b->id), &state) == OK &&
           state == DISKS_SHARD_DAMAGED;
}

static void put_expect(struct call *c)
{
    struct model *m = c->m;
    struct blob *b = c->blob;
    const struct store_put *p = &c->put.put;
    unsigned pg = pg_slot(b->id);
    c->damaged_before = is_damaged(m, b);
    c->expect_epoch = !c->put.any_epoch && p->info.pg_epoch < MAX(m->asked[pg], m->reported[pg]);
    c->expect_old = !p->any_age && c->began_ms > b->time_ms &&
                    c->began_ms - b->time_ms > m->config.put_age_ms_max;
    /* A tombstone is certain to be there for so long; then the age of the put says no. */
    c->expect_condemned =
        b->is == DELETED && tombstone_in_reach(m, b) &&
        (!p->any_age || c->began_ms + LATE_MS < b->delete_ms + m->config.tombstone_retention_ms);
}

void put_start(struct model *m, struct blob *b, bool other, bool repair)
{
    struct call *c = call_new(m, PUT, b);
    unsigned pg = pg_slot(b->id);
    c->data = malloc(b->bytes);
    c->crcs = malloc(shard_blocks(b->bytes) * sizeof(uint32_t));
    if (other)
        blob_fill(b, c->data, true);
    else
        memcpy(c->data, blob_content(b), b->bytes);
    crcs_of(b, c->data, c->crcs);
    c->other_bytes = other;
    c->put.any_epoch = repair;
    c->put.put.any_age = repair;
    c->put.put.info =
        (struct shard_info){.blob_id = b->id,
                            .shard_index = shard_of(b->id),
                            .pg = pg_of(b->id),
                            .pg_epoch = m->epoch[pg] - (model_below(m, 6) == 0),
                            .time_ms = b->time_ms,
                            .bytes = b->bytes,
                            .owner = {.bucket_id = 9, .key = SLICE_LIT("a/key"), .write_id = b->id},
                            .block_crcs = c->crcs};
    c->put.put.payload = (struct payload){NULL, SLICE(c->data, b->bytes)};
    c->put.cb = on_put;
    put_expect(c);
    b->puts++;
    b->changes++;
    SEEN(m, PUTS);
    TRACE(m, "    put blob %td (%02x%02x), %u bytes%s%s\n", b - m->blobs, b->id.bytes[0],
          b->id.bytes[1], b->bytes, other ? ", others" : "", repair ? ", repair" : "");
    int err = disks_put_start(m->disks, &c->put);
    if (err) {
        put_settle(c, err == ERR_IO ? ERR_NOT_READY : err);
        call_free(c);
    }
}

bool puts_below(struct model *m, unsigned pg, uint64_t epoch)
{
    list_for_each(it, &m->calls)
    {
        const struct call *c = container_of(it, struct call, node);
        if (c->kind == PUT && pg_slot(c->blob->id) == pg && !c->put.any_epoch &&
            c->put.put.info.pg_epoch < epoch)
            return true;
    }
    return false;
}

/* ---- gets ---- */

static void get_judge_bytes(struct call *c)
{
    struct model *m = c->m;
    struct blob *b = c->blob;
    struct slice p = c->get.payload.bytes;
    char name[ID_HEX_CHARS + 1];
    hex(b->id, name);
    if (c->get.shard_bytes != b->bytes || c->get.first_byte + p.len > b->bytes ||
        memcmp(blob_content(b) + c->get.first_byte, p.ptr, p.len) != 0)
        FAIL(m, "blob %s: wrong bytes", name);
    if (c->get.first_byte > c->get.offset || c->get.first_byte % SHARD_BLOCK_BYTES)
        FAIL(m, "blob %s: wrong range", name);
    for (uint32_t i = 0; i < c->get.block_count; i++) {
        size_t at = (size_t)i * SHARD_BLOCK_BYTES;
        if (crc32c(0, SLICE(p.ptr + at, MIN(p.len - at, SHARD_BLOCK_BYTES))) !=
            c->get.block_crcs[i])
            FAIL(m, "blob %s: wrong CRC", name);
    }
}

static void get_settle(struct call *c, int err)
{
    struct model *m = c->m;
    struct blob *b = c->blob;
    bool quiet = b->changes == c->changes_before;
    bool excused = b->tainted || m->read_faults || err == ERR_OVERLOAD || err == ERR_SHUTDOWN;
    char name[ID_HEX_CHARS + 1];
    hex(b->id, name);
    if (err == OK)
        get_judge_bytes(c);
    m->seen[SEEN_GET_FROM_FAILED] += err == OK && c->failed_before;
    m->seen[SEEN_READ_FAILED] += err == ERR_IO && m->read_faults;
    if (err == OK && c->expect_absent && quiet)
        FAIL(m, "blob %s: it came back", name);
    if (err == OK || !quiet || excused)
        return;
    if (c->expect_present)
        FAIL(m, "blob %s: acknowledged, but %s", name, err_name(err));
    if (c->expect_absent && err != ERR_NOT_FOUND && !(err == ERR_IO && units_out(m)))
        FAIL(m, "blob %s: gone, but %s instead of not found", name, err_name(err));
    if (b->is == PRESENT && err == ERR_NOT_FOUND && units_out(m))
        FAIL(m, "blob %s: not found, it is said, and a disk is missing", name);
    m->seen[SEEN_AWAY] += err == ERR_IO && units_out(m);
}

static void on_get(struct store_get *get)
{
    struct call *c = container_of(get, struct call, get);
    get_settle(c, get->err);
    payload_unref(&get->payload);
    call_free(c);
}

/* On a disk that is in the node, as far as was seen when the last life ended. */
static bool within_reach(struct model *m, const struct blob *b)
{
    if (!units_out(m))
        return true;
    for (unsigned i = 0; i < m->bays; i++)
        if (store_of(m, i) && b->units & 1u << m->bay[i])
            return true;
    return false;
}

static struct call *get_new(struct model *m, struct blob *b)
{
    struct call *c = call_new(m, GET, b);
    c->changes_before = b->changes;
    c->get.blob_id = b->id;
    c->get.shard_index = shard_of(b->id);
    c->get.cb = on_get;
    return c;
}

void get_start(struct model *m, struct blob *b, bool ranged)
{
    struct call *c = get_new(m, b);
    c->expect_present = b->is == PRESENT && !b->deletes && within_reach(m, b);
    c->expect_absent = (b->is == ABSENT || b->is == DELETED) && !b->puts;
    if (ranged) {
        c->get.offset = model_below(m, b->bytes);
        c->get.bytes = 1 + model_below(m, b->bytes);
    }
    SEEN(m, GETS);
    int err = disks_get_start(m->disks, &c->get);
    if (err) {
        get_settle(c, err);
        call_free(c);
    }
}

static int look(struct model *m, struct blob *b)
{
    struct call *c = get_new(m, b);
    int err = disks_get_start(m->disks, &c->get);
    if (err) {
        call_free(c);
        return err;
    }
    while (m->under_way > 0 && !m->failed)
        fake_env_step(&m->fake);
    return OK;
}

void unknown_settle(struct model *m)
{
    for (unsigned i = 0; i < BLOBS && !m->failed; i++) {
        struct blob *b = &m->blobs[i];
        if (b->is != UNKNOWN)
            continue;
        int err = look(m, b);
        if (err == ERR_IO && units_out(m))
            continue; /* nobody can say yet */
        if (err != ERR_NOT_FOUND)
            b->is = PRESENT;
        else if (b->tainted || b->marked)
            blob_new(m, b); /* deleted, or never put, and not deleted either */
        else
            b->is = ABSENT;
    }
}

/* ---- deletes ---- */

static void delete_settle(struct call *c, int err)
{
    struct model *m = c->m;
    if (err == OK && units_out(m))
        FAIL(m, "a delete was acknowledged while a disk is missing that may hold the blob");
    for (uint32_t i = 0; i < c->del.count; i++) {
        struct blob *b = c->more[i];
        b->deletes--;
        TRACE(m, "    delete blob %td (%02x%02x): %s\n", b - m->blobs, b->id.bytes[0],
              b->id.bytes[1], err_name(err));
        if (err == OK && b->is != DELETED) /* a tombstone that is there is not renewed */
            b->delete_ms = b->marked_ms ? MIN(b->marked_ms, c->began_ms) : c->began_ms;
        if (err == OK) {
            b->is = DELETED;
            b->delete_units = units_serving_bits(m);
        } else if (err != ERR_REFUSED && b->is == PRESENT) {
            b->is = UNKNOWN; /* some disk may have taken it */
        }
    }
    m->seen[SEEN_FULL] += err == ERR_NOSPACE;
    m->seen[SEEN_NOT_READY] += err == ERR_NOT_READY;
}

static void on_delete(struct disks_delete *del)
{
    struct call *c = container_of(del, struct call, del);
    delete_settle(c, del->err);
    call_free(c);
}

static bool all_full(struct model *m)
{
    struct disks_counts counts;
    disks_count(m->disks, &counts);
    return counts.up > 0 && counts.writable == 0;
}

void delete_start(struct model *m, struct blob *b)
{
    struct call *c = call_new(m, DELETE, b);
    unsigned count = 1 + (unsigned)model_below(m, 3);
    for (unsigned i = 0; i < count; i++) {
        c->more[i] = i == 0 ? b : &m->blobs[model_below(m, BLOBS)];
        c->ids[i] = c->more[i]->id;
        c->more[i]->deletes++;
        c->more[i]->changes++;
        c->more[i]->marked = true;
        if (!c->more[i]->marked_ms)
            c->more[i]->marked_ms = c->began_ms;
        TRACE(m, "    delete blob %td\n", c->more[i] - m->blobs);
    }
    c->del.blob_ids = c->ids;
    c->del.count = count;
    c->del.cb = on_delete;
    SEEN(m, DELETES);
    m->seen[SEEN_DELETED_FULL] += all_full(m);
    int err = disks_delete_start(m->disks, &c->del);
    if (err) {
        delete_settle(c, ERR_REFUSED); /* by all: nothing happened */
        call_free(c);
    }
}

void calls_forget(struct model *m)
{
    while (!list_empty(&m->calls)) {
        struct call *c = container_of(m->calls.next, struct call, node);
        if (c->kind == PUT) {
            c->blob->puts--;
            c->blob->unheard = true;
            if (may_bring(c) && !c->other_bytes)
                c->blob->is = UNKNOWN;
        }
        for (uint32_t i = 0; c->kind == DELETE && i < c->del.count; i++) {
            c->more[i]->deletes--;
            if (c->more[i]->is != DELETED)
                c->more[i]->is = UNKNOWN;
        }
        call_free(c);
    }
}
