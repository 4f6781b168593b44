/* Names of the planted bugs. */
#include "common/base/mutant.h"

#include <string.h>

#ifdef CAIRN_MUTANTS
enum mutant mutant_active;
#endif

static const char *const names[MUTANT_COUNT] = {
    [MUTANT_NONE] = "none",
#define X(NAME, text, rule) [MUTANT_##NAME] = text,
    MUTANT_TABLE(X)
#undef X
};

enum mutant mutant_by_name(const char *name)
{
    for (int m = 0; m < MUTANT_COUNT; m++)
        if (strcmp(names[m], name) == 0)
            return (enum mutant)m;
    return MUTANT_NONE;
}

const char *mutant_name(enum mutant m)
{
    return m >= 0 && m < MUTANT_COUNT ? names[m] : "?";
}
