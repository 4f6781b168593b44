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
    const char *down; /* zones that are declared down */
    bool counts;
    const char *why;
} table[] = {
    /* 5 + 4, three of each zone: 8 of 9 */
    {"012012012", "#########", 5, "", true, "all"},
    {"012012012", "########.", 5, "", true, "8 of 9"},
    {"012012012", ".########", 5, "", true, "8 of 9, whichever"},
    {"012012012", "#######..", 5, "", false, "7: take a whole zone of 3, 4 are left"},
    {"012012012", "##.##.##.", 5, "", false, "k + 1, all of two zones"},
    {"012012012", "#####....", 5, "", false, "k"},
    {"012012012", "##.##.##.", 5, "2", true, "k + 1 while a zone is down"},
    {"012012012", "##.##.#..", 5, "2", false, "k while a zone is down"},
    {"012012012", ".........", 5, "2", false, "nothing"},
    {"012012012", "###.##.##", 5, "0", true, "7, one of the zone that is down: k + 1 besides"},
    {"012012012", "####.####", 5, "0", true, "8 of 9 survive any zone, whatever is declared"},
    {"012012012", "###.#..##", 5, "0", false, "k + 1, but not without the zone that is down"},
    {"012012012", "#########", 5, "0", true, "all, the zone that is down among them"},
    {"012012012", "##.##.##.", 5, "21", false, "two zones down: 3 are left besides"},
    {"012012012", "########.", 5, "012", true, "all declared down, all but one answer"},
    {"012012012", "#######..", 5, "012", false, "all declared down: nothing is relaxed"},
    /* 3 + 3, two of each zone: 5 of 6 */
    {"012012", "######", 3, "", true, "all"},
    {"012012", "#####.", 3, "", true, "5 of 6"},
    {"012012", "##.##.", 3, "", false, "two zones: take one, 2 are left"},
    {"012012", "####..", 3, "", false, "4 of 6"},
    {"012012", "##.##.", 3, "2", true, "k + 1 while a zone is down"},
    {"012012", "##.#..", 3, "2", false, "k while a zone is down"},
    /* replicas: two zones of three */
    {"012", "###", 1, "", true, "all"},
    {"012", "##.", 1, "", true, "two zones"},
    {"012", ".##", 1, "", true, "two zones"},
    {"012", "#..", 1, "", false, "one copy"},
    {"001", "##.", 1, "", false, "two copies in one zone"},
    {"001", "#.#", 1, "", true, "two copies in two zones"},
    {"012", "##.", 1, "2", true, "both remaining"},
    {"012", ".#.", 1, "2", false, "one of the remaining"},
    {"012", "#.#", 1, "2", true, "two zones, whatever is declared"},
    /* one zone has none to lose, but still a node */
    {"000", "##.", 1, "", true, "two copies"},
    {"000", "#..", 1, "", false, "one copy"},
    {"0000000", "######.", 5, "", true, "k + 1"},
    {"0000000", "#####..", 5, "", false, "k"},
    {"0", "#", 1, "", true, "a group of one"},
    /* unknown holders lie in no zone and never count */
    {"00?", "##.", 1, "", false, "one zone, as far as is known: two are needed"},
    {"01?", "##.", 1, "", true, "two zones"},
    {"0??", "###", 1, "", false, "one known copy"},
    {"0??", "###", 1, "2", false, "one known copy while a zone is down"},
    /* zones that a code cannot survive */
    {"000111", "######", 4, "", false, "4 + 2 in two zones"},
    {"000111", "######", 3, "", true, "3 + 3 in two zones"},
    {"000111", "#####.", 3, "", false, "3 + 3 in two zones: all are needed"},
};

static struct quorum quorum_of(const char *zones, unsigned data, const char *down)
{
    struct quorum q = {.data = data, .shards = (unsigned)strlen(zones)};
    for (unsigned i = 0; i < q.shards; i++) {
        q.known |= zones[i] != '?' ? 1u << i : 0;
        q.zone[i] = zones[i] != '?' ? (unsigned)(zones[i] - '0') : 0;
        q.down |= strchr(down, zones[i]) ? 1u << i : 0;
    }
    return q;
}

static bool counts(size_t row)
{
    struct quorum q = quorum_of(table[row].zones, table[row].data, table[row].down);
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
        struct quorum q = quorum_of(groups[g].zones, groups[g].data, "");
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

/* What is at a lost node is as if it had never been stored. */
static void lost_is_not_durable(void **state)
{
    (void)state;
    for (size_t row = 0; row < ARRAY_COUNT(table); row++) {
        struct quorum q = quorum_of(table[row].zones, table[row].data, table[row].down);
        for (unsigned i = 0; i < q.shards; i++) {
            uint32_t all = (1u << q.shards) - 1, rest = all & ~(1u << i);
            q.lost = 0;
            bool without = quorum_reached(&q, rest);
            q.lost = 1u << i;
            assert_int_equal(quorum_reached(&q, all), without);
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
        cmocka_unit_test(lost_is_not_durable),
        cmocka_unit_test(planted_bugs_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
