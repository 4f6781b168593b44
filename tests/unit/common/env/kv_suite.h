#pragma once
/* What every store must do, whatever is under it: run against kv_mem and against RocksDB. */
#include "common/env/kv.h"

struct kv_suite {
    struct kv *kv;
    enum kv_mode mode;
    void (*pump)(struct kv_suite *s); /* lets the loop run until what is under way has completed */
    void *arg;
    const char *dir;                  /* where exported files go */
};

void kv_suite_model(struct kv_suite *s, uint64_t seed, unsigned steps);
void kv_suite_iterators(struct kv_suite *s);
void kv_suite_snapshots(struct kv_suite *s);
void kv_suite_batches(struct kv_suite *s);
void kv_suite_replace(struct kv_suite *s);

/* Writes the batch by the store's own way and waits. */
int kv_suite_commit(struct kv_suite *s, struct kv_batch *batch);
int kv_suite_flush(struct kv_suite *s);
int kv_suite_put(struct kv_suite *s, enum kv_family family, const char *key, const char *value);
/* NULL when absent; else until the next call. */
const char *kv_suite_get(struct kv_suite *s, enum kv_family family, const char *key);
/* "k=v k=v ...": the range as an iterator shows it; until the next call. */
const char *kv_suite_dump(struct kv_suite *s, const struct kv_snapshot *snap, enum kv_family family,
                          const char *lower, const char *upper);
