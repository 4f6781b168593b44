/* Reading the records that a request needs, as of a moment after it began (meta_client.h).
 *
 *                    ┌───────────────► CHECKING ───┐   ask a witness about what is cached
 *      DECIDING ─────┼───────────────► AT_ROOT ────┼──► DECIDING
 *         │          └───────────────► AT_OBJECT ──┘   read at the leader what is not fresh
 *         └────────► FINISHED
 *
 * DECIDING looks at three masks over {object, bucket, principal, owner}: `entry` (something is
 * known), `asked` (a witness was asked about it), `ok` (it was current at a moment that counts).
 * What counts is the rule of DESIGN section 2: bucket and principal at or after the moment of the
 * object.  Hence:
 *  - a frame asks about objects before all else, so fresh bits of one frame count together;
 *  - whenever the object becomes ok, what was known of the others before is not ok any more;
 *  - a bucket that turns out to have another id makes the object, read under the old one, unknown.
 *
 * The owner is wanted as soon as the bucket says who it is, unless the principal is of the same
 * account and so tells the same.  Once it is cached, its question goes along with the others'. */
#include "common/base/check.h"
#include "gateway/meta/internal.h"
#include "proto/methods.h"
#include "proto/registry.h"
#include "proto/sealed.h"
#include "proto/versions.h"

#include <stdio.h>

#define READ_OBJECT_BIT META_BIT(META_OBJECT)
#define READ_BUCKET_BIT META_BIT(META_BUCKET)
#define READ_PRINCIPAL_BIT META_BIT(META_PRINCIPAL)
#define READ_OWNER_BIT META_BIT(META_OWNER)
#define READ_AUTH_BITS (READ_BUCKET_BIT | READ_PRINCIPAL_BIT | READ_OWNER_BIT)
/* Rounds after which a read gives up: more means that the bucket is made and deleted all the time.
 */
#define READ_ROUNDS_MAX 24

static_assert(ARRAY_COUNT(((struct meta_read *)0)->entry) == META_RECORDS, "one each");
static_assert(ARRAY_COUNT(((struct meta_read *)0)->slot) == META_RECORDS, "one each");

enum { READ_DECIDING, READ_CHECKING, READ_AT_ROOT, READ_AT_OBJECT, READ_FINISHED, READ_STATES };

static const char *const read_state_names[READ_STATES] = {"DECIDING", "CHECKING", "AT_ROOT",
                                                          "AT_OBJECT", "FINISHED"};
static const uint32_t read_transitions[READ_STATES] = {
    [READ_DECIDING] =
        1u << READ_CHECKING | 1u << READ_AT_ROOT | 1u << READ_AT_OBJECT | 1u << READ_FINISHED,
    [READ_CHECKING] = 1u << READ_DECIDING,
    [READ_AT_ROOT] = 1u << READ_DECIDING | 1u << READ_FINISHED,
    [READ_AT_OBJECT] = 1u << READ_DECIDING | 1u << READ_FINISHED,
};

static bool is_present(const struct cache_entry *e)
{
    return e && e->record->present;
}

static uint8_t wanted(const struct meta_read *r)
{
    return (uint8_t)((r->principal.len ? READ_PRINCIPAL_BIT : 0) |
                     (r->bucket.len ? READ_BUCKET_BIT : 0) |
                     (r->want_object ? READ_OBJECT_BIT : 0) | (r->owner[0] ? READ_OWNER_BIT : 0));
}

static void read_check(const struct op *op)
{
    const struct meta_read *r = container_of(op, struct meta_read, op);
    for (unsigned i = META_OBJECT; i < META_RECORDS; i++)
        CHECK(!(r->ok & META_BIT(i)) || r->entry[i]);
    if (r->entry[META_OBJECT] && is_present(r->entry[META_BUCKET]))
        CHECK(r->entry[META_OBJECT]->key.bucket_id == r->entry[META_BUCKET]->record->bucket->id);
}

static void set_entry(struct meta_read *r, enum meta_record which, struct cache_entry *e)
{
    cache_entry_unref(r->entry[which]);
    r->entry[which] = e;
}

static void forget(struct meta_read *r, uint8_t bits)
{
    r->ok = (uint8_t)(r->ok & ~bits);
    r->asked = (uint8_t)(r->asked & ~bits);
}

/* An object read under another bucket id is another object. */
static void drop_foreign_object(struct meta_read *r)
{
    const struct cache_entry *b = r->entry[META_BUCKET], *o = r->entry[META_OBJECT];
    if (o && (!is_present(b) || o->key.bucket_id != b->record->bucket->id)) {
        set_entry(r, META_OBJECT, NULL);
        payload_unref(&r->body);
        forget(r, READ_OBJECT_BIT);
    }
}

/* Whose bucket is it, by what is known of it now?  One from before there were accounts is the
 * operator's. */
static void owner_set(struct meta_read *r)
{
    const struct cache_entry *b = r->entry[META_BUCKET], *p = r->entry[META_PRINCIPAL];
    char owner[sizeof(r->owner)] = "";
    if (r->want_owner && is_present(b)) {
        const char *account = b->record->bucket->owner_account;
        if (!account[0])
            account = OPERATOR_ACCOUNT;
        bool own = is_present(p) && strcmp(p->record->principal->account_id, account) == 0;
        int n = own ? 0 : snprintf(owner, sizeof(owner), "arn:aws:iam::%s:root", account);
        if (n < 0 || (size_t)n >= sizeof(owner)) /* no account has such a number */
            owner[0] = 0;
    }
    if (strcmp(owner, r->owner) == 0)
        return;
    set_entry(r, META_OWNER, NULL);
    forget(r, READ_OWNER_BIT);
    memcpy(r->owner, owner, sizeof(owner));
}

static struct cache_key record_key(const struct meta_read *r, enum meta_record which)
{
    switch (which) {
    case META_OBJECT:
        return (struct cache_key){CAIRN__RECORD_KIND__RECORD_OBJECT,
                                  r->entry[META_BUCKET]->record->bucket->id, r->key};
    case META_BUCKET: return (struct cache_key){CAIRN__RECORD_KIND__RECORD_BUCKET, 0, r->bucket};
    case META_OWNER:
        return (struct cache_key){CAIRN__RECORD_KIND__RECORD_PRINCIPAL, 0, slice_cstr(r->owner)};
    default: return (struct cache_key){CAIRN__RECORD_KIND__RECORD_PRINCIPAL, 0, r->principal};
    }
}

static void look_up(struct meta_read *r, enum meta_record which)
{
    struct cache_key key = record_key(r, which);
    if (!r->entry[which])
        r->entry[which] = cache_entry_ref(cache_find(r->mc->cache, &key));
}

/* A cached record is of use unless the inline body that is wanted has been dropped.  The body is
 * taken now: it belongs to the entry that will be asked about. */
static bool object_is_usable(struct meta_read *r)
{
    struct cache_entry *e = r->entry[META_OBJECT];
    if (!e)
        return false;
    if (!r->want_body || !e->record->present ||
        e->record->object->kind != CAIRN__DATA_KIND__DATA_INLINE)
        return true;
    if (!e->has_body)
        return false;
    payload_unref(&r->body);
    r->body = payload_ref(e->body);
    return true;
}

/* ---- at the leader ---- */

static void read_call_cb(struct meta_call *call)
{
    struct meta_read *r = container_of(call, struct meta_read, call);
    op_wake(&r->op);
}

static enum op_next read_at_leader(struct meta_read *r, uint8_t bits)
{
    size_t count = 0;
    r->in_call = bits;
    r->leader_reads++;
    r->mc->stats.leader_reads++;
    cairn__read_request__init(&r->request);
    for (unsigned i = META_OBJECT; i < META_RECORDS; i++) {
        if (!(bits & META_BIT(i)))
            continue;
        struct cache_key key = record_key(r, (enum meta_record)i);
        Cairn__RecordKey *k = r->record_key_ptr[count] = &r->record_key[count];
        cairn__record_key__init(k);
        k->kind = key.kind;
        k->bucket_id = key.bucket_id;
        k->key = (ProtobufCBinaryData){key.key.len, (uint8_t *)(uintptr_t)key.key.ptr};
        k->want_body = i == META_OBJECT && r->want_body;
        k->version = i == META_OBJECT ? r->version : VERSION_NONE;
        count++;
    }
    CHECK(count >= 1 && count <= ARRAY_COUNT(r->record_key));
    r->request.n_keys = count;
    r->request.keys = r->record_key_ptr;
    bool root = !(bits & READ_OBJECT_BIT);
    r->call = (struct meta_call){
        .method = &method_meta_read,
        .root = root,
        .bucket_id = root ? 0 : r->entry[META_BUCKET]->record->bucket->id,
        .key = r->key,
        .request = &r->request.base,
        .deadline_ns = r->deadline_ns,
        .cb = read_call_cb,
    };
    /* Moved before the start, whose callback never comes inside it. */
    op_move(&r->op, root ? READ_AT_ROOT : READ_AT_OBJECT);
    meta_call_start(r->mc, &r->call);
    return OP_WAIT;
}

/* A record from a metanode must be what was asked for: its message is there, and of the right kind.
 */
static bool record_fits(const Cairn__Record *rec, enum meta_record which)
{
    if (!rec)
        return false;
    if (!rec->present)
        return true;
    return which == META_OBJECT   ? rec->object != NULL
           : which == META_BUCKET ? rec->bucket != NULL
                                  : rec->principal != NULL;
}

/* A slice of a large receive buffer would keep all of it in the cache. */
static int own_body(struct payload *body)
{
    if (!body->owner || body->owner->cap <= 2 * body->bytes.len + 1024)
        return OK;
    struct rcbuf *copy = rcbuf_copy(body->bytes);
    if (!copy)
        return ERR_NOMEM;
    payload_unref(body);
    *body = (struct payload){copy, SLICE(copy->data, copy->len)};
    return OK;
}

/* What the inline body takes. */
static uint64_t body_bytes(const Cairn__ObjectRecord *o)
{
    return o->encryption ? sealed_bytes(o->size) : o->size;
}

static int take_record(struct meta_read *r, enum meta_record which, Cairn__Record **rec,
                       uint64_t as_of)
{
    struct cache_key key = record_key(r, which);
    struct payload body = {0};
    bool has_body = false;
    struct cache_entry *e = NULL;
    if (!record_fits(*rec, which))
        return ERR_PROTO;
    if (which == META_OBJECT) {
        payload_unref(&r->body);
        has_body = r->want_body && (*rec)->present &&
                   (*rec)->object->kind == CAIRN__DATA_KIND__DATA_INLINE;
        if (has_body && r->call.response_payload.bytes.len != body_bytes((*rec)->object))
            return ERR_PROTO;
        if (has_body && own_body(&r->call.response_payload) != OK)
            return ERR_NOMEM;
        if (has_body)
            body = r->call.response_payload;
    }
    bool current = which != META_OBJECT || r->version == VERSION_NONE;
    int err =
        current ? cache_fill(r->mc->cache, &key, r->call.partition, as_of, rec, body, has_body, &e)
                : cache_entry_alone(r->mc->cache, &key, r->call.partition, as_of, rec, body,
                                    has_body, &e);
    if (err)
        return err;
    set_entry(r, which, e);
    if (has_body)
        r->body = payload_ref(body);
    return OK;
}

static int take_call(struct meta_read *r)
{
    Cairn__ReadResponse *response = (Cairn__ReadResponse *)(void *)r->call.response;
    size_t i = 0;
    if (r->call.err)
        return r->call.err;
    if (response->n_records != r->request.n_keys)
        return ERR_PROTO;
    for (unsigned which = META_OBJECT; which < META_RECORDS; which++) {
        if (!(r->in_call & META_BIT(which)))
            continue;
        int err = take_record(r, (enum meta_record)which, &response->records[i++], response->as_of);
        if (err)
            return err;
    }
    return OK;
}

/* ---- the decision ---- */

static enum op_next read_check_or_fetch(struct meta_read *r, uint8_t need)
{
    uint8_t ask = (uint8_t)(need & ~r->asked);
    for (unsigned i = META_OBJECT; i < META_RECORDS; i++)
        if (!r->entry[i])
            ask = (uint8_t)(ask & ~META_BIT(i));
    if (ask && check_possible(r->mc)) {
        r->in_check = ask;
        if (check_join(r->mc, r)) {
            r->checks++;
            op_move(&r->op, READ_CHECKING);
            return OP_WAIT;
        }
    }
    return read_at_leader(r, need & READ_OBJECT_BIT ? (uint8_t)READ_OBJECT_BIT : need);
}

static enum op_next read_finish(struct meta_read *r, int err)
{
    r->err = err;
    return op_move(&r->op, READ_FINISHED);
}

static enum op_next read_decide(struct meta_read *r)
{
    uint8_t want, need;
    if (r->checks + r->leader_reads > READ_ROUNDS_MAX)
        return read_finish(r, ERR_CONFLICT);
    if (r->principal.len)
        look_up(r, META_PRINCIPAL);
    if (r->bucket.len)
        look_up(r, META_BUCKET);
    owner_set(r);
    if (r->owner[0])
        look_up(r, META_OWNER);
    want = wanted(r);
    /* Without a principal nothing else may be looked at, nor need be. */
    if (r->entry[META_PRINCIPAL] && !is_present(r->entry[META_PRINCIPAL]))
        return r->ok & READ_PRINCIPAL_BIT ? read_finish(r, OK)
                                          : read_check_or_fetch(r, READ_PRINCIPAL_BIT);
    drop_foreign_object(r);
    if ((want & READ_OBJECT_BIT) && !(r->ok & READ_OBJECT_BIT)) {
        need = (uint8_t)(want & READ_AUTH_BITS);
        if (!r->entry[META_BUCKET]) /* its id is needed to find the object */
            return read_at_leader(r, r->entry[META_PRINCIPAL] ? (uint8_t)READ_BUCKET_BIT : need);
        if (is_present(r->entry[META_BUCKET])) {
            if (r->version == VERSION_NONE)
                look_up(r, META_OBJECT);
            if (object_is_usable(r) && !(r->asked & READ_OBJECT_BIT)) {
                forget(r, READ_AUTH_BITS);
                return read_check_or_fetch(r, want);
            }
            return read_at_leader(r, READ_OBJECT_BIT);
        }
    }
    need = (uint8_t)(want & READ_AUTH_BITS & ~r->ok);
    return need ? read_check_or_fetch(r, need) : read_finish(r, OK);
}

void check_answered(struct meta_read *r, uint8_t fresh)
{
    r->asked |= r->in_check;
    r->ok |= fresh;
    r->in_check = 0;
    op_wake(&r->op);
}

static enum op_next read_step(struct op *op)
{
    struct meta_read *r = container_of(op, struct meta_read, op);
    int err;
    switch (op->state) {
    case READ_DECIDING: return read_decide(r);
    case READ_CHECKING: /* check_answered() has set the masks */
        return r->in_check ? OP_WAIT : op_move(op, READ_DECIDING);
    case READ_AT_ROOT:
        if (!list_empty(&r->call.node))
            return OP_WAIT;
        err = take_call(r);
        meta_call_fini(&r->call);
        drop_foreign_object(r);
        if (err)
            return read_finish(r, err);
        r->ok |= r->in_call;
        return op_move(op, READ_DECIDING);
    case READ_AT_OBJECT:
        if (!list_empty(&r->call.node))
            return OP_WAIT;
        err = take_call(r);
        meta_call_fini(&r->call);
        if (err)
            return read_finish(r, err);
        /* From now on only what is learnt of bucket and principal after this moment counts. */
        forget(r, READ_AUTH_BITS);
        r->ok |= READ_OBJECT_BIT;
        return op_move(op, READ_DECIDING);
    default: CHECK(op->state == READ_FINISHED); return OP_DONE;
    }
}

static void read_done(struct op *op)
{
    struct meta_read *r = container_of(op, struct meta_read, op);
    struct meta_stats *stats = &r->mc->stats;
    /* What was looked up but never found to be current is nobody's answer. */
    for (unsigned i = META_OBJECT; i < META_RECORDS; i++)
        if (!(r->ok & META_BIT(i)))
            set_entry(r, (enum meta_record)i, NULL);
    if (!r->entry[META_OBJECT])
        payload_unref(&r->body);
    r->principal_entry = r->entry[META_PRINCIPAL];
    r->bucket_entry = r->entry[META_BUCKET];
    r->object_entry = r->entry[META_OBJECT];
    r->owner_entry = r->entry[META_OWNER];
    if (r->leader_reads == 0)
        stats->read_fresh++;
    else if (r->checks)
        stats->read_stale++;
    else
        stats->read_miss++;
    r->mc->outstanding--;
    r->cb(r);
}

static const struct op_type read_type = {
    .name = "meta_read",
    .state_names = read_state_names,
    .transitions = read_transitions,
    .state_count = READ_STATES,
    .step = read_step,
    .check = read_check,
    .done = read_done,
};

void meta_read_start(struct meta_client *mc, struct meta_read *r)
{
    CHECK(r->principal.len || r->bucket.len);
    CHECK(!r->want_object || r->bucket.len);
    r->mc = mc;
    mc->stats.reads++;
    mc->outstanding++;
    list_init(&r->check_node);
    list_init(&r->call.node);
    op_init(&r->op, &read_type, READ_DECIDING, ++mc->op_ids, 0);
    op_wake(&r->op);
}

void meta_read_fini(struct meta_read *r)
{
    for (unsigned i = META_OBJECT; i < META_RECORDS; i++)
        set_entry(r, (enum meta_record)i, NULL);
    r->principal_entry = r->bucket_entry = r->object_entry = r->owner_entry = NULL;
    payload_unref(&r->body);
}
