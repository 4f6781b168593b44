/* The registry of metrics and its text form (Prometheus exposition format 0.0.4); see metrics.h. */
#include "common/obs/metrics.h"

#include "common/base/check.h"

#include <ctype.h>
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum metric_type { TYPE_COUNTER, TYPE_GAUGE, TYPE_HISTOGRAM, TYPE_COUNTER_FN, TYPE_GAUGE_FN };

struct metric {
    enum metric_type type;
    char *name, *labels, *help;
    union {
        struct metric_counter counter;
        struct metric_gauge gauge;
        struct metric_histogram histogram;
        struct {
            double (*read)(void *arg);
            void *arg;
        } function;
    } v;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct metric **all;
static size_t all_count, all_cap;

static bool name_ok(const char *name)
{
    if (!isalpha((unsigned char)name[0]) && name[0] != '_')
        return false;
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '_')
            return false;
    return true;
}

static const char *type_text(enum metric_type t)
{
    return t == TYPE_HISTOGRAM ? "histogram"
           : t == TYPE_COUNTER || t == TYPE_COUNTER_FN ? "counter"
                                                       : "gauge";
}

/* Finds or adds; *ret_new says which.  Running out of memory while starting is not survived. */
static struct metric *registered(enum metric_type type, const char *name, const char *labels,
                                 const char *help, bool *ret_new)
{
    CHECK(name_ok(name));
    labels = labels ? labels : "";
    *ret_new = false;
    for (size_t i = 0; i < all_count; i++) {
        if (strcmp(all[i]->name, name) != 0)
            continue;
        CHECK(strcmp(type_text(all[i]->type), type_text(type)) == 0);
        if (strcmp(all[i]->labels, labels) == 0) {
            CHECK(all[i]->type == type);
            return all[i];
        }
    }
    if (all_count == all_cap) {
        all_cap = all_cap ? all_cap * 2 : 64;
        all = realloc(all, all_cap * sizeof(struct metric *));
        CHECK(all != NULL);
    }
    struct metric *m = calloc(1, sizeof(*m));
    CHECK(m != NULL);
    m->type = type;
    m->name = strdup(name);
    m->labels = strdup(labels);
    m->help = strdup(help);
    CHECK(m->name && m->labels && m->help);
    all[all_count++] = m;
    *ret_new = true;
    return m;
}

struct metric_counter *metric_counter_new(const char *name, const char *labels, const char *help)
{
    bool is_new;
    pthread_mutex_lock(&lock);
    struct metric *m = registered(TYPE_COUNTER, name, labels, help, &is_new);
    pthread_mutex_unlock(&lock);
    return &m->v.counter;
}

struct metric_gauge *metric_gauge_new(const char *name, const char *labels, const char *help)
{
    bool is_new;
    pthread_mutex_lock(&lock);
    struct metric *m = registered(TYPE_GAUGE, name, labels, help, &is_new);
    pthread_mutex_unlock(&lock);
    return &m->v.gauge;
}

struct metric_histogram *metric_histogram_new(const char *name, const char *labels, const char *help,
                                              double first, double factor, unsigned count)
{
    CHECK(first > 0 && factor > 1 && count >= 1 && count <= METRIC_BUCKETS_MAX);
    bool is_new;
    pthread_mutex_lock(&lock);
    struct metric *m = registered(TYPE_HISTOGRAM, name, labels, help, &is_new);
    struct metric_histogram *h = &m->v.histogram;
    if (is_new) {
        h->bucket_count = count;
        h->unit = first < 1 ? 1e-9 : 1;
        double bound = first;
        for (unsigned i = 0; i < count; i++, bound *= factor)
            h->bounds[i] = bound;
    }
    pthread_mutex_unlock(&lock);
    return h;
}

struct metric_histogram *metric_latency_new(const char *name, const char *labels, const char *help)
{
    return metric_histogram_new(name, labels, help, 50e-6, 2, 20);
}

void metric_observe(struct metric_histogram *h, double value)
{
    if (!(value > 0)) /* a negative or undefined value would poison the sum */
        value = 0;
    unsigned i = 0;
    while (i < h->bucket_count && value > h->bounds[i])
        i++;
    atomic_fetch_add_explicit(&h->counts[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_units, (uint64_t)(value / h->unit), memory_order_relaxed);
}

void metric_function_new(const char *name, const char *labels, const char *help, bool counter,
                         double (*read)(void *arg), void *arg)
{
    bool is_new;
    pthread_mutex_lock(&lock);
    struct metric *m = registered(counter ? TYPE_COUNTER_FN : TYPE_GAUGE_FN, name, labels, help, &is_new);
    m->v.function.read = read;
    m->v.function.arg = arg;
    pthread_mutex_unlock(&lock);
}

static void metric_free(struct metric *m)
{
    free(m->name);
    free(m->labels);
    free(m->help);
    free(m);
}

static bool is_function(const struct metric *m)
{
    return m->type == TYPE_COUNTER_FN || m->type == TYPE_GAUGE_FN;
}

void metric_function_forget(const void *arg)
{
    pthread_mutex_lock(&lock);
    size_t kept = 0;
    for (size_t i = 0; i < all_count; i++) {
        if (is_function(all[i]) && all[i]->v.function.arg == arg)
            metric_free(all[i]);
        else
            all[kept++] = all[i];
    }
    all_count = kept;
    pthread_mutex_unlock(&lock);
}

void metrics_reset(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < all_count; i++)
        metric_free(all[i]);
    free(all);
    all = NULL;
    all_count = all_cap = 0;
    pthread_mutex_unlock(&lock);
}

/* ---- text ---- */
static int compare(const void *a, const void *b)
{
    const struct metric *x = *(struct metric *const *)a, *y = *(struct metric *const *)b;
    int c = strcmp(x->name, y->name);
    return c ? c : strcmp(x->labels, y->labels);
}

static void line(struct buf *ret, const struct metric *m, const char *suffix, const char *more,
                 const char *value)
{
    buf_printf(ret, "%s%s", m->name, suffix);
    if (m->labels[0] || more[0])
        buf_printf(ret, "{%s%s%s}", m->labels, m->labels[0] && more[0] ? "," : "", more);
    buf_printf(ret, " %s\n", value);
}

static void histogram_text(struct buf *ret, const struct metric *m)
{
    const struct metric_histogram *h = &m->v.histogram;
    uint64_t total = 0;
    char more[48], value[32];
    for (unsigned i = 0; i <= h->bucket_count; i++) {
        total += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        if (i < h->bucket_count)
            snprintf(more, sizeof(more), "le=\"%.9g\"", h->bounds[i]);
        else
            snprintf(more, sizeof(more), "le=\"+Inf\"");
        snprintf(value, sizeof(value), "%llu", (unsigned long long)total);
        line(ret, m, "_bucket", more, value);
    }
    double sum = (double)atomic_load_explicit(&h->sum_units, memory_order_relaxed) * h->unit;
    char sum_text[32];
    snprintf(sum_text, sizeof(sum_text), "%.9g", sum);
    line(ret, m, "_sum", "", sum_text);
    line(ret, m, "_count", "", value); /* the same total as the last bucket, by construction */
}

void metrics_text(struct buf *ret)
{
    pthread_mutex_lock(&lock);
    if (all_count)
        qsort(all, all_count, sizeof(struct metric *), compare);
    for (size_t i = 0; i < all_count; i++) {
        const struct metric *m = all[i];
        char value[32];
        if (i == 0 || strcmp(all[i - 1]->name, m->name) != 0)
            buf_printf(ret, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
                       type_text(m->type));
        switch (m->type) {
        case TYPE_COUNTER:
            snprintf(value, sizeof(value), "%llu",
                     (unsigned long long)metric_counter_value(&m->v.counter));
            line(ret, m, "", "", value);
            break;
        case TYPE_GAUGE:
            snprintf(value, sizeof(value), "%lld",
                     (long long)atomic_load_explicit(&m->v.gauge.value, memory_order_relaxed));
            line(ret, m, "", "", value);
            break;
        case TYPE_HISTOGRAM: histogram_text(ret, m); break;
        case TYPE_COUNTER_FN:
        case TYPE_GAUGE_FN:
            snprintf(value, sizeof(value), "%.15g", m->v.function.read(m->v.function.arg));
            line(ret, m, "", "", value);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

/* ---- this process ---- */
uint64_t metrics_rss_bytes(void)
{
    unsigned long long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    int got = fscanf(f, "%llu %llu", &pages, &resident);
    fclose(f);
    return got == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static double read_rss(void *arg)
{
    (void)arg;
    return (double)metrics_rss_bytes();
}

static double read_cpu(void *arg)
{
    (void)arg;
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0)
        return 0;
    return (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec * 1e-6 + (double)u.ru_stime.tv_sec +
           (double)u.ru_stime.tv_usec * 1e-6;
}

static double read_fds(void *arg)
{
    (void)arg;
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return 0;
    int count = 0;
    for (struct dirent *e; (e = readdir(d));)
        count += e->d_name[0] != '.';
    closedir(d);
    return count - 1; /* without the one that is looking */
}

static double start_seconds;

static double read_start(void *arg)
{
    (void)arg;
    return start_seconds;
}

static double read_uptime(void *arg)
{
    (void)arg;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    double up = (double)t.tv_sec + (double)t.tv_nsec * 1e-9 - start_seconds;
    return up > 0 ? up : 0;
}

void metrics_process_register(const char *program, const char *version)
{
    struct timespec t;
    char labels[160];
    clock_gettime(CLOCK_REALTIME, &t);
    start_seconds = (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
    snprintf(labels, sizeof(labels), "program=\"%s\",version=\"%s\"", program, version);
    metric_set(metric_gauge_new("cairn_build_info", labels, "Always 1; the labels say what runs."), 1);
    metric_function_new("process_resident_memory_bytes", NULL, "Resident memory.", false, read_rss, NULL);
    metric_function_new("process_cpu_seconds_total", NULL, "User and system CPU time.", true, read_cpu,
                        NULL);
    metric_function_new("process_open_fds", NULL, "Open file descriptors.", false, read_fds, NULL);
    metric_function_new("process_start_time_seconds", NULL, "Start, Unix time.", false, read_start, NULL);
    metric_function_new("process_uptime_seconds", NULL, "Time since the start.", false, read_uptime, NULL);
}
