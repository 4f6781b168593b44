#pragma once
/* How much of what was stored is there: counts over segments, by scheme.  Pure. */
#include "common/base/slice.h"

#define REDUNDANCY_SHARDS_MAX 32
#define REDUNDANCY_SCHEMES_MAX 16

enum __attribute__((packed)) shard_found {
    SHARD_FOUND,
    SHARD_NOT_FOUND,
    SHARD_FOUND_DAMAGED,
    SHARD_NOT_ANSWERED, /* its node did not answer: it may be there */
};
const char *shard_found_name(enum shard_found f);

enum __attribute__((packed)) redundancy {
    REDUNDANCY_FULL,
    REDUNDANCY_DEGRADED, /* it can be read, and something of it is not there */
    REDUNDANCY_LOST,     /* fewer shards than it takes are left, whatever the silent nodes have */
    REDUNDANCY_UNKNOWN,  /* too few are known to be there, and some nodes did not answer */
    REDUNDANCY_COUNT,
};
const char *redundancy_name(enum redundancy r);
/* data: shards that it takes; 1 for replicas. */
enum redundancy redundancy_of(const enum shard_found *found, size_t shards, unsigned data);

struct redundancy_scheme {
    unsigned data, parity;
    uint64_t count[REDUNDANCY_COUNT];
};
struct redundancy_counts {
    struct redundancy_scheme scheme[REDUNDANCY_SCHEMES_MAX]; /* the last one takes all the rest */
    size_t scheme_count;
};
/* by: 1, or -1 to take back what was counted. */
void redundancy_count(struct redundancy_counts *c, unsigned data, unsigned parity,
                      enum redundancy r, int by);
