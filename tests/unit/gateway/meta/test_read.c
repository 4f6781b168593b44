/* Reads through the cache: what is asked, whom, in which order, and that the answer is right. */
#include "common/base/check.h"
#include "common/base/mutant.h"
#include "tests/unit/gateway/meta/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

static void assert_read(struct cluster *c, const char *key, const char *text)
{
    struct reading r;
    reading_run(c, &r, "AK", "b", key);
    assert_int_equal(r.read.err, OK);
    if (text)
        assert_string_equal(reading_text(&r), text);
    else
        assert_null(reading_text(&r));
    meta_read_fini(&r.read);
}

static void second_read_costs_one_question(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    put_object(&c, 7, "a", "one");
    assert_read(&c, "a", "one");
    unsigned reads = c.reads, checks = c.checks;
    assert_read(&c, "a", "one");
    assert_int_equal(c.reads, reads);
    assert_int_equal(c.checks, checks + 1);
    assert_int_equal(c.metanode[0]->calls + c.metanode[1]->calls + c.metanode[2]->calls,
                     reads + 1 + (unsigned)meta_client_stats(c.mc)->route_retries);
    cluster_fini(&c);
}

static void what_changed_is_read_again(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    assert_read(&c, "a", NULL);
    assert_read(&c, "a", NULL); /* absence is cached like presence */
    unsigned reads = c.reads;
    assert_read(&c, "a", NULL);
    assert_int_equal(c.reads, reads);
    put_object(&c, 7, "a", "one");
    assert_read(&c, "a", "one");
    put_object(&c, 7, "a", "two");
    assert_read(&c, "a", "two");
    delete_object(&c, 7, "a");
    assert_read(&c, "a", NULL);
    /* Other records of the partition change: as_of has been raised, so nothing is read again. */
    for (int i = 0; i < 5; i++)
        put_object(&c, 7, "other", "x");
    reads = c.reads;
    assert_read(&c, "a", NULL);
    assert_int_equal(c.reads, reads);
    cluster_fini(&c);
}

/* The moment between the answer of the witness and the read at the leader. */
static void revoke_and_write(struct cluster *c, const Cairn__ReadRequest *r)
{
    if (r->partition == 0)
        return;
    put_key(c, "AK", false);
    put_object(c, 7, "a", "secret");
    c->before_read = NULL;
}

/* DESIGN section 2: a revoked key can never read what was written after it was revoked. */
static void revoked_key_reads_nothing_new(void **state)
{
    (void)state;
    struct cluster c;
    struct reading r;
    cluster_init(&c, NULL, 1 << 20);
    put_object(&c, 7, "a", "one");
    assert_read(&c, "a", "one");
    put_object(&c, 7, "a", "two"); /* the object is stale, bucket and key are fresh */
    c.before_read = revoke_and_write;
    reading_run(&c, &r, "AK", "b", "a");
    assert_int_equal(r.read.err, OK);
    assert_string_equal(reading_text(&r), "secret");
    assert_false(r.read.principal_entry->record->principal->enabled);
    meta_read_fini(&r.read);
    cluster_fini(&c);
}

/* The same with nothing cached: what was known of the key before the object was read does not
 * count. */
static void revoked_key_reads_nothing_new_when_cold(void **state)
{
    (void)state;
    for (int off = 0; off < 2; off++) {
        struct cluster c;
        struct reading r;
        struct meta_config config = {.witness_check_off = off == 1};
        cluster_init(&c, &config, 1 << 20);
        put_object(&c, 7, "a", "one");
        c.before_read = revoke_and_write;
        reading_run(&c, &r, "AK", "b", "a");
        assert_string_equal(reading_text(&r), "secret");
        assert_false(r.read.principal_entry->record->principal->enabled);
        meta_read_fini(&r.read);
        cluster_fini(&c);
    }
}

static void recreate_bucket(struct cluster *c, const Cairn__ReadRequest *r)
{
    if (r->partition == 0)
        return;
    put_bucket(c, "b", 9);
    put_object(c, 9, "a", "new bucket");
    c->before_read = NULL;
}

static void bucket_made_anew_is_another_bucket(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    put_object(&c, 7, "a", "one");
    assert_read(&c, "a", "one");
    put_object(&c, 7, "a", "two");
    c.before_read = recreate_bucket;
    assert_read(&c, "a", "new bucket");
    put_bucket(&c, "b", 0);
    struct reading r;
    reading_run(&c, &r, "AK", "b", "a");
    assert_int_equal(r.read.err, OK);
    assert_false(r.read.bucket_entry->record->present);
    assert_null(r.read.object_entry);
    meta_read_fini(&r.read);
    put_bucket(&c, "b", 11);
    assert_read(&c, "a", NULL);
    cluster_fini(&c);
}

static void unknown_key_ends_the_read(void **state)
{
    (void)state;
    struct cluster c;
    struct reading r;
    cluster_init(&c, NULL, 1 << 20);
    put_object(&c, 7, "a", "one");
    assert_read(&c, "a", "one");
    unsigned reads = c.reads;
    reading_run(&c, &r, "NOBODY", "b", "a");
    assert_false(r.read.principal_entry->record->present);
    assert_int_equal(c.reads, reads + 1);
    meta_read_fini(&r.read);
    reads = c.reads;
    reading_run(&c, &r, "NOBODY", "b", "a");
    assert_false(r.read.principal_entry->record->present);
    assert_int_equal(c.reads, reads);
    meta_read_fini(&r.read);
    cluster_fini(&c);
}

/* Another read of the same gateway learns that the key is absent, while the witness is asked. */
static void learn_absent_key(struct cluster *c)
{
    struct cache_key key = {CAIRN__RECORD_KIND__RECORD_PRINCIPAL, 0, slice_cstr("NOBODY")};
    Cairn__Record *record = calloc(1, sizeof(*record));
    struct cache_entry *e;
    assert_non_null(record);
    cairn__record__init(record);
    c->before_check = NULL;
    assert_int_equal(cache_fill(c->cache, &key, 0, c->partition[0].index, &record,
                                (struct payload){0}, false, &e),
                     OK);
    cache_entry_unref(e);
}

/* An absent key ends the read before the object is known to be current: what the cache held of it
 * is old, and is not given. */
static void absent_key_gives_nothing_old(void **state)
{
    (void)state;
    struct cluster c;
    struct reading r;
    cluster_init(&c, NULL, 1 << 20);
    put_object(&c, 7, "a", "one");
    assert_read(&c, "a", "one");
    put_object(&c, 7, "a", "two");
    c.before_check = learn_absent_key;
    reading_run(&c, &r, "NOBODY", "b", "a");
    assert_int_equal(r.read.err, OK);
    assert_false(r.read.principal_entry->record->present);
    assert_null(r.read.object_entry);
    assert_int_equal(r.read.body.bytes.len, 0);
    meta_read_fini(&r.read);
    cluster_fini(&c);
}

/* What the read finds of "AK", and how many reads at leaders it takes. */
static void assert_principal(struct cluster *c, const char *account, bool present, bool enabled,
                             unsigned reads)
{
    struct reading r;
    unsigned before = c->reads;
    reading_run(c, &r, "AK", "b", NULL);
    assert_int_equal(r.read.err, OK);
    const Cairn__Record *rec = r.read.principal_entry->record;
    assert_int_equal(rec->present, present);
    assert_int_equal(c->reads - before, reads);
    if (present)
        assert_int_equal(rec->principal->enabled, enabled);
    assert_string_equal(rec->principal ? rec->principal->account_id : "", account);
    meta_read_fini(&r.read);
}

/* One question vouches for all that a principal is made of: that about its account, wherever its key
 * has been in between. */
static void principal_is_as_fresh_as_its_account(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    assert_principal(&c, "1", true, true, 1);
    assert_principal(&c, "1", true, true, 0);
    change_account(&c, "2", false, false); /* not its own */
    put_key(&c, "ANOTHER", true);          /* in its own: all of them are read again */
    assert_principal(&c, "1", true, true, 1);
    change_account(&c, "1", true, false);
    assert_principal(&c, "1", true, false, 1);
    assert_principal(&c, "1", true, false, 0);
    /* Its user goes, and comes back: the key stays as it is. */
    change_account(&c, "1", false, false);
    assert_principal(&c, "1", false, false, 1);
    assert_principal(&c, "1", false, false, 0);
    change_account(&c, "1", true, true);
    assert_principal(&c, "1", true, true, 1);
    /* It is given to another account, whose changes count from then on. */
    put_principal(&c, "AK", "2", true, true);
    assert_principal(&c, "2", true, true, 1);
    change_account(&c, "1", true, true);
    assert_principal(&c, "2", true, true, 0);
    change_account(&c, "2", true, false);
    assert_principal(&c, "2", true, false, 1);
    /* Deleted: its id counts.  Made anew, elsewhere. */
    put_principal(&c, "AK", "", false, false);
    assert_principal(&c, "", false, false, 1);
    change_account(&c, "2", true, true);
    assert_principal(&c, "", false, false, 0);
    put_principal(&c, "AK", "3", true, true);
    assert_principal(&c, "3", true, true, 1);
    cluster_fini(&c);
}

/* ---- the bucket's owner ---- */

static void owner_cb(struct meta_read *read)
{
    container_of(read, struct reading, read)->done = true;
}

/* Reads what a write of "AK" ("": of nobody) needs, and says how many reads at leaders it took. */
static unsigned read_owner(struct cluster *c, struct reading *r, const char *who)
{
    unsigned before = c->reads;
    *r = (struct reading){.read = {
                              .principal = slice_cstr(who),
                              .bucket = SLICE_LIT("b"),
                              .want_owner = true,
                              .deadline_ns = c->f.now_ns + 5 * NS_PER_SEC,
                              .cb = owner_cb,
                          }};
    meta_read_start(c->mc, &r->read);
    fake_run_until(&c->f, &r->done, 20 * NS_PER_SEC);
    assert_true(r->done);
    assert_int_equal(r->read.err, OK);
    return c->reads - before;
}

/* account NULL: none is given; the principal of another account says nothing of this one. */
static void assert_owner(struct cluster *c, const char *who, const char *account, bool enabled,
                         unsigned reads)
{
    struct reading r;
    assert_int_equal(read_owner(c, &r, who), reads);
    assert_int_equal(r.read.owner_entry != NULL, account != NULL);
    if (account) {
        const Cairn__Record *rec = r.read.owner_entry->record;
        assert_string_equal(rec->principal->account_id, account);
        assert_int_equal(rec->present && rec->principal->enabled, enabled);
    }
    meta_read_fini(&r.read);
}

static void owner_costs_no_round(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    put_bucket_of(&c, "b", 7, "2");
    put_principal(&c, "arn:aws:iam::2:root", "2", true, true);
    assert_owner(&c, "AK", "2", true, 2); /* who it is the bucket says first */
    unsigned checks = c.checks, questions = c.questions;
    assert_owner(&c, "AK", "2", true, 0);
    assert_owner(&c, "", "2", true, 0); /* nobody's write */
    assert_int_equal(c.checks, checks + 2);
    assert_int_equal(c.questions, questions + 3 + 2);
    /* The owner's own: the principal says it. */
    put_principal(&c, "AK", "2", true, true);
    assert_owner(&c, "AK", NULL, false, 1);
    questions = c.questions;
    assert_owner(&c, "AK", NULL, false, 0);
    assert_int_equal(c.questions, questions + 2);
    cluster_fini(&c);
}

static void owner_is_as_fresh_as_the_principal(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    put_bucket_of(&c, "b", 7, "2");
    put_principal(&c, "arn:aws:iam::2:root", "2", true, true);
    assert_owner(&c, "AK", "2", true, 2);
    change_account(&c, "1", true, true); /* the principal's */
    assert_owner(&c, "AK", "2", true, 1);
    change_account(&c, "2", true, false);
    assert_owner(&c, "AK", "2", false, 1);
    change_account(&c, "2", false, false); /* gone */
    assert_owner(&c, "AK", "2", false, 1);
    assert_owner(&c, "AK", "2", false, 0);
    change_account(&c, "2", true, true);
    assert_owner(&c, "AK", "2", true, 1);
    /* Without a witness all of it is read at the root's leader. */
    for (int i = 0; i < WITNESSES; i++)
        c.witness[i]->down = true;
    change_account(&c, "2", true, false);
    assert_owner(&c, "AK", "2", false, 1);
    cluster_fini(&c);
}

static void hand_over(struct cluster *c, const Cairn__ReadRequest *r)
{
    (void)r;
    c->before_read = NULL;
    put_bucket_of(c, "b", 9, "3");
}

static void owner_is_that_of_the_bucket_as_it_is(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    put_bucket_of(&c, "b", 7, "2");
    put_principal(&c, "arn:aws:iam::2:root", "2", true, true);
    put_principal(&c, "arn:aws:iam::3:root", "3", true, true);
    assert_owner(&c, "AK", "2", true, 2);
    put_bucket_of(&c, "b", 8, "2");
    c.before_read = hand_over; /* and then it is another account's */
    assert_owner(&c, "AK", "3", true, 2);
    assert_owner(&c, "AK", "3", true, 0);
    put_bucket_of(&c, "b", 10, "1"); /* the principal's own */
    assert_owner(&c, "AK", NULL, false, 1);
    /* From before there were accounts: the operator's. */
    put_principal(&c, "arn:aws:iam::000000000001:root", "000000000001", true, true);
    put_bucket_of(&c, "b", 11, "");
    assert_owner(&c, "AK", "000000000001", true, 2);
    put_bucket(&c, "b", 0);
    assert_owner(&c, "AK", NULL, false, 1);
    cluster_fini(&c);
}

static void one_turn_is_one_frame(void **state)
{
    (void)state;
    struct cluster c;
    struct reading r[10];
    static const char *const keys[] = {"a", "b", "c", "x", "y"};
    cluster_init(&c, NULL, 1 << 20);
    for (int i = 0; i < 5; i++) {
        put_object(&c, 7, keys[i], keys[i]);
        assert_read(&c, keys[i], keys[i]);
    }
    unsigned checks = c.checks, questions = c.questions, reads = c.reads;
    for (int i = 0; i < 10; i++)
        reading_start(&c, &r[i], "AK", "b", keys[i % 5]);
    fake_run(&c.f, 50 * NS_PER_MS);
    for (int i = 0; i < 10; i++) {
        assert_true(r[i].done);
        assert_string_equal(reading_text(&r[i]), keys[i % 5]);
        meta_read_fini(&r[i].read);
    }
    assert_int_equal(c.checks, checks + 1);
    assert_int_equal(c.questions, questions + 7); /* five objects, one bucket, one key */
    assert_int_equal(c.reads, reads);
    cluster_fini(&c);
}

static void own_witness_first_then_another(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    put_object(&c, 7, "a", "one");
    assert_read(&c, "a", "one");
    unsigned own = c.witness[1]->calls;
    assert_read(&c, "a", "one");
    assert_int_equal(c.witness[1]->calls, own + 1);
    assert_int_equal(c.witness[0]->calls + c.witness[2]->calls, 0);
    /* Silent: hedged, then suspected. */
    unsigned reads = c.reads;
    c.witness[1]->silent = true;
    uint64_t before = c.f.now_ns;
    assert_read(&c, "a", "one");
    assert_true(c.f.now_ns - before < 100 * NS_PER_MS);
    assert_int_equal(c.reads, reads);
    before = c.f.now_ns;
    assert_read(&c, "a", "one");
    assert_true(c.f.now_ns - before < 10 * NS_PER_MS); /* it is not waited for again */
    assert_int_equal(c.reads, reads);
    /* Down. */
    c.witness[1]->down = true;
    assert_read(&c, "a", "one");
    assert_int_equal(c.reads, reads);
    cluster_fini(&c);
}

static void without_a_witness_leaders_are_read(void **state)
{
    (void)state;
    for (int silent = 0; silent < 2; silent++) {
        struct cluster c;
        cluster_init(&c, NULL, 1 << 20);
        put_object(&c, 7, "a", "one");
        assert_read(&c, "a", "one");
        for (int i = 0; i < WITNESSES; i++) {
            c.witness[i]->down = !silent;
            c.witness[i]->silent = silent;
        }
        put_object(&c, 7, "a", "two");
        assert_read(&c, "a", "two");
        put_key(&c, "AK", false);
        struct reading r;
        reading_run(&c, &r, "AK", "b", "a");
        assert_int_equal(r.read.err, OK);
        assert_false(r.read.principal_entry->record->principal->enabled);
        meta_read_fini(&r.read);
        cluster_fini(&c);
    }
}

static void follows_the_leader(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    put_object(&c, 7, "a", "one");
    assert_read(&c, "a", "one");
    c.partition[1].leader = 2;
    put_object(&c, 7, "a", "two");
    assert_read(&c, "a", "two");
    /* The leader hangs; another is elected a second later. */
    c.metanode[2]->silent = true;
    put_object(&c, 7, "a", "three");
    struct reading r;
    reading_start(&c, &r, "AK", "b", "a");
    fake_run(&c.f, NS_PER_SEC);
    c.partition[1].leader = c.partition[2].leader = 0;
    fake_run_until(&c.f, &r.done, 3 * NS_PER_SEC);
    assert_true(r.done);
    assert_string_equal(reading_text(&r), "three");
    meta_read_fini(&r.read);
    c.metanode[2]->silent = false;
    cluster_fini(&c);
}

/* Followers go on naming a leader that has stopped answering, until they elect another: whoever
 * waited for it once is not sent back to it at once. */
static void hung_leader_is_not_believed_in(void **state)
{
    (void)state;
    struct cluster c;
    struct reading r;
    cluster_init(&c, NULL, 1 << 20);
    put_object(&c, 7, "a", "one");
    assert_read(&c, "a", "one");
    put_object(&c, 7, "a", "two");
    c.metanode[1]->silent = true;
    uint64_t before = c.f.now_ns;
    reading_start(&c, &r, "AK", "b", "a");
    fake_run(&c.f, 1300 * NS_PER_MS);
    assert_false(r.done);
    c.partition[1].leader = 2;
    fake_run_until(&c.f, &r.done, 5 * NS_PER_SEC);
    assert_true(r.done);
    assert_true(c.f.now_ns - before < 1900 * NS_PER_MS);
    assert_string_equal(reading_text(&r), "two");
    meta_read_fini(&r.read);
    cluster_fini(&c);
}

static void new_epoch_is_learnt(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    put_object(&c, 7, "a", "one");
    c.epoch = 2;
    assert_read(&c, "a", "one");
    cluster_fini(&c);
}

/* Nobody leads: an error at the deadline, of the class that says nothing happened. */
struct map_reading {
    struct meta_map_read read;
    bool done;
};

static void map_read_cb(struct meta_map_read *read)
{
    container_of(read, struct map_reading, read)->done = true;
}

/* Returns: how it ended. */
static int read_map(struct cluster *c, uint64_t within_ms)
{
    struct map_reading r = {.read.cb = map_read_cb};
    r.read.deadline_ns = c->f.now_ns + within_ms * NS_PER_MS;
    meta_map_read_start(c->mc, &r.read);
    assert_false(r.done);
    fake_run_until(&c->f, &r.done, 2 * within_ms * NS_PER_MS);
    assert_true(r.done);
    return r.read.err;
}

/* Without waiting for the next refresh, and whoever happens to be asked first. */
static void a_map_is_read_at_the_roots_leader(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    for (int leader = 0; leader < METANODES; leader++) {
        c.partition[0].leader = leader;
        c.epoch += 10;
        uint64_t began = c.f.now_ns;
        assert_int_equal(read_map(&c, 1000), OK);
        assert_in_range(c.f.now_ns - began, 0, 4 * NS_PER_MS); /* who does not lead knows who does */
        assert_int_equal(meta_client_map(c.mc)->version, c.epoch);
        uint64_t loads = meta_client_stats(c.mc)->map_loads;
        assert_int_equal(read_map(&c, 1000), OK); /* nothing new: that is an answer, too */
        assert_int_equal(meta_client_stats(c.mc)->map_loads, loads);
    }
    assert_true(c.current_maps > METANODES * 2); /* it was sent on */
    cluster_fini(&c);
}

static void a_map_that_may_be_old_is_no_answer(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    assert_int_equal(read_map(&c, 1000), OK);
    c.as_of = c.epoch + 1; /* it claims to be newer than it is */
    assert_int_equal(read_map(&c, 1000), ERR_PROTO);
    c.as_of = 0;
    c.no_current = true; /* of the version of before */
    assert_int_equal(read_map(&c, 1000), ERR_UNIMPLEMENTED);
    c.no_current = false;
    c.partition[0].leader = -1;
    uint64_t began = c.f.now_ns;
    assert_int_equal(err_class(read_map(&c, 1000)), ERR_CLASS_RETRY);
    assert_in_range(c.f.now_ns - began, 1000 * NS_PER_MS, 1500 * NS_PER_MS);
    for (int i = 0; i < METANODES; i++)
        c.metanode[i]->silent = true;
    assert_int_equal(read_map(&c, 500), ERR_TIMEOUT);
    cluster_fini(&c);
}

static void no_leader_is_an_error(void **state)
{
    (void)state;
    struct cluster c;
    struct reading r;
    cluster_init(&c, NULL, 1 << 20);
    c.partition[1].leader = -1;
    reading_run(&c, &r, "AK", "b", "a");
    assert_int_equal(r.read.err, ERR_NOT_LEADER);
    meta_read_fini(&r.read);
    cluster_fini(&c);
}

static void stop_ends_everything(void **state)
{
    (void)state;
    struct cluster c;
    struct reading r[3];
    cluster_init(&c, NULL, 1 << 20);
    put_object(&c, 7, "a", "one");
    reading_start(&c, &r[0], "AK", "b", "a"); /* at the root */
    fake_run(&c.f, NS_PER_MS);
    reading_start(&c, &r[1], "AK", "b", "a");
    meta_client_stop(c.mc);
    reading_start(&c, &r[2], "AK", "b", "a");
    fake_run(&c.f, 10 * NS_PER_MS);
    for (int i = 0; i < 3; i++) {
        assert_true(r[i].done);
        assert_int_not_equal(r[i].read.err, OK);
        meta_read_fini(&r[i].read);
    }
    cluster_fini(&c);
}

/* A cache too small for anything still serves right reads. */
static void tiny_cache(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 600);
    put_object(&c, 7, "a", "one");
    for (int i = 0; i < 3; i++)
        assert_read(&c, "a", "one");
    put_object(&c, 7, "a", "two");
    assert_read(&c, "a", "two");
    cluster_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_read_costs_one_question),
        cmocka_unit_test(what_changed_is_read_again),
        cmocka_unit_test(revoked_key_reads_nothing_new),
        cmocka_unit_test(revoked_key_reads_nothing_new_when_cold),
        cmocka_unit_test(bucket_made_anew_is_another_bucket),
        cmocka_unit_test(unknown_key_ends_the_read),
        cmocka_unit_test(absent_key_gives_nothing_old),
        cmocka_unit_test(principal_is_as_fresh_as_its_account),
        cmocka_unit_test(owner_costs_no_round),
        cmocka_unit_test(owner_is_as_fresh_as_the_principal),
        cmocka_unit_test(owner_is_that_of_the_bucket_as_it_is),
        cmocka_unit_test(one_turn_is_one_frame),
        cmocka_unit_test(own_witness_first_then_another),
        cmocka_unit_test(without_a_witness_leaders_are_read),
        cmocka_unit_test(follows_the_leader),
        cmocka_unit_test(hung_leader_is_not_believed_in),
        cmocka_unit_test(new_epoch_is_learnt),
        cmocka_unit_test(a_map_is_read_at_the_roots_leader),
        cmocka_unit_test(a_map_that_may_be_old_is_no_answer),
        cmocka_unit_test(no_leader_is_an_error),
        cmocka_unit_test(stop_ends_everything),
        cmocka_unit_test(tiny_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
