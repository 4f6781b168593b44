/* Making a failing case small: delta debugging (Zeller, Hildebrandt: "Simplifying and Isolating
 * Failure-Inducing Input", 2002), without the complement step that finds nothing more here. */
#include "tests/model/model.h"

#include "common/base/check.h"

#include <string.h>

#define RUNS_MAX 2000u

static void without(const struct model_case *c, unsigned from, unsigned count,
                    struct model_case *ret)
{
    ret->seed = c->seed;
    ret->count = c->count - count;
    memcpy(ret->ops, c->ops, from * sizeof(c->ops[0]));
    memcpy(ret->ops + from, c->ops + from + count, (c->count - from - count) * sizeof(c->ops[0]));
}

unsigned model_shrink(struct model_case *c, bool (*fails)(void *arg, const struct model_case *),
                      void *arg)
{
    struct model_case smaller;
    unsigned runs = 0, step = MAX(1u, c->count / 2);
    while (step > 0 && runs < RUNS_MAX) {
        bool some = false;
        for (unsigned end = c->count; end > 0 && runs < RUNS_MAX;) {
            unsigned n = MIN(step, end);
            end -= n; /* from the end: what follows the failure goes first */
            without(c, end, n, &smaller);
            runs++;
            if (!fails(arg, &smaller))
                continue;
            *c = smaller;
            some = true;
        }
        if (!some || step > 1)
            step /= 2;
    }
    return runs;
}
