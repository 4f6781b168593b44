/* When a set of durable shards counts. */
#include "common/base/check.h"
#include "common/base/mutant.h"
#include "gateway/blob/quorum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* zones: a digit a shard, its holder's zone; '?': the map does not have its holder.
 * durable: '#' for each shard that is. */
static const struct {
    const char *zones, *durable;
    unsigned data;
    bool degraded, counts;
    const char *why;
} table[] = {
    /* 5 + 4, three of each zone: 8 of 9 */
    {"012012012", "#########", 5, false, true, "all"},
    {"012012012", "########.", 5, false, true, "8 of 9"},
    {"012012012", ".########", 5, false, true, "8 of 9, whichever"},
    {"012012012", "#######..", 5, false, false, "7: take a whole zone of 3, 4 are left"},
    {"012012012", "##.##.##.", 5, false, false, "k + 1, all of two zones"},
    {"012012012", "#####....", 5, false, false, "k"},
    {"012012012", "##.##.##.", 5, true, true, "k + 1 while a zone is down"},
    {"012012012", "##.##.#..", 5, true, false, "k while a zone is down"},
    {"012012012", ".........", 5, true, false, "nothing"},
    /* 3 + 3, two of each zone: 5 of 6 */
    {"012012", "######", 3, false, true, "all"},
    {"012012", "#####.", 3, false, true, "5 of 6"},
    {"012012", "##.##.", 3, false, false, "two zones: take one, 2 are left"},
    {"012012", "####..", 3, false, false, "4 of 6"},
    {"012012", "##.##.", 3, true, true, "k + 1 while a zone is down"},
    {"012012", "##.#..", 3, true, false, "k while a zone is down"},
    /* replicas: two zones of three */
    {"012", "###", 1, false, true, "all"},
    {"012", "##.", 1, false, true, "two zones"},
    {"012", ".##", 1, false, true, "two zones"},
    {"012", "#..", 1, false, false, "one copy"},
    {"001", "##.", 1, false, false, "two copies in one zone"},
    {"001", "#.#", 1, false, true, "two copies in two zones"},
    {"012", "##.", 1, true, true, "both remaining"},
    {"012", ".#.", 1, true, false, "one of the remaining"},
    /* one zone has none to lose, but still a node */
    {"000", "##.", 1, false, true, "two copies"},
    {"000", "#..", 1, false, false, "one copy"},
    {"0000000", "######.", 5, false, true, "k + 1"},
    {"0000000", "#####..", 5, false, false, "k"},
    {"0", "#", 1, false, true, "a group of one"},
    /* unknown holders lie in no zone and never count */
    {"00?", "##.", 1, false, false, "one zone, as far as is known: two are needed"},
    {"01?", "##.", 1, false, true, "two zones"},
    {"0??", "###", 1, false, false, "one known copy"},
    {"0??", "###", 1, true, false, "one known copy while a zone is down"},
    /* zones that a code cannot survive */
    {"000111", "######", 4, false, false, "4 + 2 in two zones"},
    {"000111", "######", 3, false, true, "3 + 3 in two zones"},
    {"000111", "#####.", 3, false, false, "3 + 3 in two zones: all are needed"},
};

static struct quorum quorum_of(const char *zones, unsigned data, bool degraded)
{
    struct quorum q = {.data = data, .shards = (unsigned)strlen(zones), .degraded = degraded};
    for (unsigned i = 0; i < q.shards; i++) {
        q.known |= zones[i] != '?' ? 1u << i : 0;
        q.zone[i] = zones[i] != '?' ? (unsigned)(zones[i] - '0') : 0;
    }
    return q;
}

static bool counts(size_t row)
{
    struct quorum q = quorum_of(table[row].zones, table[row].data, table[row].degraded);
    uint32_t durable = 0;
    for (unsigned i = 0; i < q.shards; i++)
        durable |= table[row].durable[i] == '#' ? 1u << i : 0;
    return quorum_reached(&q, durable);
}

static void by_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        if (counts(i) != table[i].counts)
            print_error("row %d: %s %s: %s\n", (int)i, table[i].zones, table[i].durable,
                        table[i].why);
        assert_int_equal(counts(i), table[i].counts);
    }
}

/* Against the words of the rule, for every set of shards. */
static void as_stated(void **state)
{
    (void)state;
    static const struct {
        const char *zones;
        unsigned data;
    } groups[] = {{"012012012", 5}, {"012012", 3}, {"012", 1}, {"00112", 2}, {"0123", 2}};
    for (size_t g = 0; g < ARRAY_COUNT(groups); g++) {
        struct quorum q = quorum_of(groups[g].zones, groups[g].data, false);
        for (uint32_t durable = 0; durable < 1u << q.shards; durable++) {
            bool survives = true;
            for (unsigned zone = 0; zone < 5; zone++) {
                unsigned left = 0;
                for (unsigned i = 0; i < q.shards; i++)
                    left += (durable & 1u << i) && q.zone[i] != zone;
                survives &= left >= q.data;
            }
            assert_int_equal(quorum_reached(&q, durable), survives);
        }
    }
}

/* The tables find who forgets the zones, of codes or of replicas. */
static void planted_bugs_are_found(void **state)
{
    (void)state;
    static const enum mutant planted[] = {MUTANT_CODED_WITHOUT_ZONE, MUTANT_BLOB_ONE_COPY};
    for (size_t m = 0; m < ARRAY_COUNT(planted); m++) {
        unsigned wrong = 0;
        mutant_active = planted[m];
        for (size_t i = 0; i < ARRAY_COUNT(table); i++)
            wrong += counts(i) != table[i].counts;
        mutant_active = MUTANT_NONE;
        assert_true(wrong > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_the_table),
        cmocka_unit_test(as_stated),
        cmocka_unit_test(planted_bugs_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
