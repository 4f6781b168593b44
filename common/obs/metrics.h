#pragma once
/* Counters, gauges and histograms of this process, shown as Prometheus text on the admin port.
 *
 * Registered once, at start, with their labels fixed; from then on an increment is one relaxed atomic
 * add, from any thread.  Registering the same name and labels again gives the same object, so each of
 * several loops may ask for it.  Names and labels are literals or live for ever after the call
 * (they are copied); a bad name, or one name with two types, is a bug: CHECK. */
#include "common/base/slice.h"

#include <stdatomic.h>

struct metric_counter {
    _Atomic uint64_t value;
};
struct metric_gauge {
    _Atomic int64_t value;
};

#define METRIC_BUCKETS_MAX 40
struct metric_histogram {
    unsigned bucket_count;                 /* finite bounds; one more counts the rest */
    double bounds[METRIC_BUCKETS_MAX];     /* upper, inclusive, ascending */
    _Atomic uint64_t counts[METRIC_BUCKETS_MAX + 1];
    _Atomic uint64_t sum_units;            /* the sum in units of `unit`, so that it can be atomic */
    double unit;
};

/* labels: NULL or `method="meta.read",zone="z1"`, already escaped. */
struct metric_counter *metric_counter_new(const char *name, const char *labels, const char *help);
struct metric_gauge *metric_gauge_new(const char *name, const char *labels, const char *help);
/* Bounds first, first*factor, ... (count of them). */
struct metric_histogram *metric_histogram_new(const char *name, const char *labels, const char *help,
                                              double first, double factor, unsigned count);
/* Seconds, 50 us to about 26 s. */
struct metric_histogram *metric_latency_new(const char *name, const char *labels, const char *help);
/* A value asked for at each scrape, on the admin server's loop.  counter: it never decreases. */
void metric_function_new(const char *name, const char *labels, const char *help, bool counter,
                         double (*read)(void *arg), void *arg);
/* Forgets every metric_function_new with this arg: before arg's memory goes. */
void metric_function_forget(const void *arg);

static inline void metric_add(struct metric_counter *c, uint64_t n)
{
    atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}
static inline void metric_inc(struct metric_counter *c) { metric_add(c, 1); }
static inline uint64_t metric_counter_value(const struct metric_counter *c)
{
    return atomic_load_explicit(&c->value, memory_order_relaxed);
}
static inline void metric_set(struct metric_gauge *g, int64_t v)
{
    atomic_store_explicit(&g->value, v, memory_order_relaxed);
}
static inline void metric_gauge_add(struct metric_gauge *g, int64_t n)
{
    atomic_fetch_add_explicit(&g->value, n, memory_order_relaxed);
}
void metric_observe(struct metric_histogram *h, double value);
static inline void metric_observe_ns(struct metric_histogram *h, uint64_t ns)
{
    metric_observe(h, (double)ns * 1e-9);
}

/* Appends all metrics, sorted by name and labels.  Process metrics (memory, CPU, open files, start
 * time, build) come with metrics_process_register(). */
void metrics_text(struct buf *ret);
void metrics_process_register(const char *program, const char *version);
/* Resident bytes of this process; 0 when it cannot be told. */
uint64_t metrics_rss_bytes(void);
/* Forgets everything: for tests.  Objects given out are freed. */
void metrics_reset(void);
