#pragma once
/* Random numbers from a seed, the same on every machine: xoshiro256** (D. Blackman, S. Vigna,
 * "Scrambled linear pseudorandom number generators", 2021), seeded by splitmix64.  Pure. */
#include <math.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

static inline void rng_init(struct rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        r->s[i] = z ^ z >> 31;
    }
}

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t *s = r->s, x = s[1] * 5, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3] << 45 | s[3] >> 19;
    return (x << 7 | x >> 57) * 9;
}

/* In (0, 1]: its logarithm is finite. */
static inline double rng_unit(struct rng *r)
{
    return (double)((rng_next(r) >> 11) + 1) * 0x1p-53;
}

/* 0 .. n - 1.  n is far below 2^53, so that the bias does not matter. */
static inline unsigned rng_below(struct rng *r, unsigned n)
{
    return (unsigned)((double)(rng_next(r) >> 11) * 0x1p-53 * n);
}

static inline double rng_exponential(struct rng *r, double rate)
{
    return -log(rng_unit(r)) / rate;
}
