/* What the marked places are. */
#include "common/base/probe.h"

#ifdef CAIRN_MUTANTS
uint64_t probe_hits[PROBE_COUNT];
#endif

const char *probe_text(enum probe p)
{
    static const char *const texts[PROBE_COUNT] = {
#define X(NAME, text) [PROBE_##NAME] = text,
        PROBE_TABLE(X)
#undef X
    };
    return p >= 0 && p < PROBE_COUNT ? texts[p] : "?";
}
