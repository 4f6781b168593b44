/* cairn-check-history: reads histories of registers and says whether each is linearizable.
 *
 * Standard input, one operation a line: REGISTER CLIENT KIND VALUE EXPECT START END
 *   KIND  read, put, absent, absent-refused, match, match-refused, delete
 *   VALUE, EXPECT  decimal, 0: absent;  START, END  nanoseconds; END "?": outcome unknown
 * Exit status: 0 all are, 1 some are not (named), 2 malformed input, 3 undecided. */
#include "tests/sim/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REGISTERS_MAX 4096

static struct history registers[REGISTERS_MAX];

static int parse(char *line, struct history_op *op, unsigned *reg)
{
    static const struct { const char *name; enum history_kind kind; bool refused; } kinds[] = {
        {"read", HISTORY_READ, false}, {"put", HISTORY_PUT, false}, {"delete", HISTORY_DELETE, false},
        {"absent", HISTORY_PUT_IF_ABSENT, false}, {"absent-refused", HISTORY_PUT_IF_ABSENT, true},
        {"match", HISTORY_PUT_IF_MATCH, false}, {"match-refused", HISTORY_PUT_IF_MATCH, true},
    };
    char kind[32], end[32];
    unsigned long long value, expect, start;
    if (sscanf(line, "%u %u %31s %llu %llu %llu %31s", reg, &op->client, kind, &value, &expect, &start,
               end) != 7 || *reg >= REGISTERS_MAX)
        return -1;
    op->value = value;
    op->expect = expect;
    op->start = start;
    op->end = strcmp(end, "?") == 0 ? HISTORY_PENDING : strtoull(end, NULL, 10);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kind, kinds[i].name) == 0) {
            op->kind = kinds[i].kind;
            op->refused = kinds[i].refused;
            return 0;
        }
    }
    return -1;
}

static void print_line(void *arg, const char *line)
{
    (void)arg;
    puts(line);
}

int main(void)
{
    char line[512];
    unsigned long number = 0, bad = 0, undecided = 0, checked = 0, ops = 0;
    while (fgets(line, sizeof(line), stdin)) {
        struct history_op op = {0};
        unsigned reg;
        number++;
        if (parse(line, &op, &reg) != 0) {
            fprintf(stderr, "line %lu is malformed: %s", number, line);
            return 2;
        }
        history_add(&registers[reg], op);
    }
    for (unsigned reg = 0; reg < REGISTERS_MAX; reg++) {
        size_t stuck = 0;
        char name[32];
        struct history *h = &registers[reg];
        if (h->count == 0)
            continue;
        checked++;
        ops += h->count;
        snprintf(name, sizeof(name), "register %u", reg);
        switch (history_check(h, 0, 50000000, &stuck)) {
        case HISTORY_OK: break;
        case HISTORY_UNDECIDED:
            printf("%s: undecided after the bound of steps\n", name);
            undecided++;
            break;
        case HISTORY_VIOLATION:
            printf("%s is not linearizable; no order places operation #%zu:\n", name, stuck);
            history_print(h, name, print_line, NULL);
            bad++;
            break;
        }
        history_fini(h);
    }
    printf("%lu registers, %lu operations: %lu not linearizable, %lu undecided\n", checked, ops, bad,
           undecided);
    return bad ? 1 : undecided ? 3 : 0;
}
