/* Which disks are slow: by the time that puts take, queueing and sync included.
 *
 * A disk is slow when its average is several times that of the node's other disks, or, since a disk
 * may be alone or all may be failing, when it is longer than a disk in order ever takes.  It is
 * avoided for a while, in which it hardly shows itself; then it begins anew. */
#include "storagenode/op/disks_impl.h"

#include "common/base/check.h"

#include <stdlib.h>

/* Averages forget within some tens of puts, and count from SAMPLES_MIN puts on. */
#define PACE_WEIGHT (1.0 / 16)
#define SAMPLES_MIN 16u
/* So many times the median, and this much longer at least: one hiccup makes no slow disk. */
#define SLOW_FACTOR 5.0
#define SLOW_LEAST_NS (20.0 * NS_PER_MS)
#define SLOW_ALONE_NS (1.0 * NS_PER_SEC) /* whatever the others do */
#define SLOW_FOR_NS (30 * NS_PER_SEC)

static int double_cmp(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The lower median of the disks that are up and known well enough; 0: there is none to compare
 * with. */
static double usual_ns(const struct disks *d)
{
    double all[DISKS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < d->count; i++)
        if (slot_up(&d->slots[i]) && d->slots[i].pace.samples >= SAMPLES_MIN)
            all[count++] = d->slots[i].pace.put_ns;
    if (count < 2)
        return 0;
    qsort(all, count, sizeof(all[0]), double_cmp);
    return all[(count - 1) / 2];
}

void pace_learn(struct disks *d, struct slot *slot, uint64_t took_ns)
{
    struct pace *p = &slot->pace;
    CHECK(slot >= d->slots && slot < d->slots + d->count);
    double weight = p->samples < SAMPLES_MIN ? 1.0 / (p->samples + 1) : PACE_WEIGHT;
    p->put_ns += ((double)took_ns - p->put_ns) * weight;
    p->samples = MIN(p->samples + 1, SAMPLES_MIN);
    if (p->samples < SAMPLES_MIN || p->put_ns < SLOW_LEAST_NS)
        return;
    double usual = usual_ns(d);
    bool slower =
        usual > 0 && p->put_ns >= usual * SLOW_FACTOR && p->put_ns >= usual + SLOW_LEAST_NS;
    if (slower || p->put_ns >= SLOW_ALONE_NS)
        *p = (struct pace){.slow_until_ns = env_now_ns(d->env) + SLOW_FOR_NS};
}

bool pace_is_slow(const struct disks *d, const struct slot *slot)
{
    return env_now_ns(d->env) < slot->pace.slow_until_ns;
}
