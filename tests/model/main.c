/* cairn-model: the disks of a storage node against a reference map, many seeds; planted bugs.
 *
 * Seeds run in as many processes as there are processors, each with a share of them.  One that
 * fails is run again with fewer and fewer operations, each time in a process of its own, and the
 * shortest list that still fails is printed.  After enough seeds each event and each marked place
 * (common/base/probe.h) must have been met as often as coverage.txt says. */
#include "common/base/check.h"
#include "common/base/mutant.h"
#include "common/base/probe.h"
#include "tests/model/model.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX 64
#define OPERATIONS 120
#define WHY_BYTES 256
#define CPU_S_MAX 60        /* of one case, when it runs alone */
#define COVERAGE_SEEDS 2000 /* fewer say nothing about rare events */

/* What a worker shows to its parent, in shared memory. */
struct worker {
    pid_t pid;
    uint64_t seed, done, failed_seed; /* 0: none */
    char why[WHY_BYTES];
    uint64_t seen[MODEL_EVENTS], probes[PROBE_COUNT];
};

struct options {
    uint64_t first, count;
    unsigned jobs, operations;
    bool progress, shrink, one;
    const char *mutants_file, *coverage_file;
};

static double seconds_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- one case in a process of its own ---- */

static char *shared_why;

static void on_check(const char *cond, const char *file, int line)
{
    snprintf(shared_why, WHY_BYTES, "CHECK(%.150s) at %.60s:%d", cond, file, line);
    _exit(3);
}

static bool case_fails(void *trace, const struct model_case *c)
{
    int status = 0;
    fflush(NULL);
    shared_why[0] = 0;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct rlimit limit = {CPU_S_MAX, CPU_S_MAX};
        uint64_t seen[MODEL_EVENTS] = {0};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setrlimit(RLIMIT_CPU, &limit);
        if (trace)
            setvbuf(trace, NULL, _IONBF, 0);
        check_hook = on_check;
        _exit(model_run(c, trace, shared_why, WHY_BYTES, seen) ? 0 : 1);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status))
        snprintf(shared_why, WHY_BYTES, "ended by signal %d", WTERMSIG(status));
    return status != 0;
}

static void failure_show(uint64_t seed, const struct options *o)
{
    struct model_case c;
    model_generate(seed, o->operations, &c);
    if (!case_fails(NULL, &c)) {
        printf("  it does not fail again: not deterministic\n");
        return;
    }
    unsigned runs = o->shrink ? model_shrink(&c, case_fails, NULL) : 0;
    printf("  %u of %u operations fail alone (%u runs):\n", c.count, o->operations, runs);
    fflush(stdout);
    (void)case_fails(stdout, &c);
    printf("  %s\n", shared_why);
    printf("  repeat: build/sim/bin/cairn-model --seed=%llu%s%s\n", (unsigned long long)seed,
           mutant_active ? " --mutant=" : "", mutant_active ? mutant_name(mutant_active) : "");
}

/* ---- many seeds ---- */

static void worker_run(struct worker *w, const struct options *o, unsigned at)
{
    static struct model_case c;
    check_hook = on_check;
    shared_why = w->why;
    memset(probe_hits, 0, sizeof(probe_hits));
    for (uint64_t i = at; i < o->count; i += o->jobs) {
        w->seed = o->first + i;
        model_generate(w->seed, o->operations, &c);
        if (!model_run(&c, NULL, w->why, WHY_BYTES, w->seen)) {
            w->failed_seed = w->seed;
            _exit(1);
        }
        w->done++;
    }
    memcpy(w->probes, probe_hits, sizeof(w->probes));
    _exit(0);
}

static void worker_ended(struct worker *w, int status)
{
    w->pid = 0;
    if (status == 0)
        return;
    w->failed_seed = w->seed;
    if (WIFSIGNALED(status))
        snprintf(w->why, WHY_BYTES, "ended by signal %d", WTERMSIG(status));
}

static void progress_show(const struct worker *workers, const struct options *o, double start)
{
    uint64_t done = 0;
    for (unsigned i = 0; i < o->jobs; i++)
        done += workers[i].done;
    fprintf(stderr, "\r%llu of %llu sequences, %.0f a second ", (unsigned long long)done,
            (unsigned long long)o->count, (double)done / (seconds_now() - start + 0.001));
}

/* Until all have ended, or one has failed.  Returns: the first of the seeds that failed; 0: none.
 */
static uint64_t workers_wait(struct worker *workers, const struct options *o)
{
    unsigned left = o->jobs;
    uint64_t failed = 0;
    double start = seconds_now();
    while (left > 0) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, o->progress ? WNOHANG : 0);
        for (unsigned i = 0; i < o->jobs && pid > 0; i++) {
            struct worker *w = &workers[i];
            if (w->pid != pid)
                continue;
            worker_ended(w, status);
            left--;
            if (w->failed_seed && (!failed || w->failed_seed < failed))
                failed = w->failed_seed;
        }
        for (unsigned i = 0; i < o->jobs && failed; i++)
            if (workers[i].pid && workers[i].seed > failed)
                kill(workers[i].pid, SIGKILL); /* none before the one that failed is left out */
        if (o->progress) {
            progress_show(workers, o, start);
            if (pid == 0)
                usleep(500000);
        }
    }
    if (o->progress)
        fputc('\n', stderr);
    return failed;
}

static struct worker *seeds_run(const struct options *o, uint64_t *ret_failed)
{
    size_t bytes = sizeof(struct worker) * JOBS_MAX;
    static struct worker *workers;
    if (!workers)
        workers = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(workers != MAP_FAILED);
    memset(workers, 0, bytes);
    fflush(NULL);
    for (unsigned i = 0; i < o->jobs; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            worker_run(&workers[i], o, i);
        }
        workers[i].pid = pid;
    }
    *ret_failed = workers_wait(workers, o);
    return workers;
}

static const char *why_of(const struct worker *workers, const struct options *o, uint64_t seed)
{
    for (unsigned i = 0; i < o->jobs; i++)
        if (workers[i].failed_seed == seed)
            return workers[i].why;
    return "?";
}

/* ---- what must have happened ---- */

/* By its name in the tables; NULL: there is none. */
static const uint64_t *count_find(const char *name, const uint64_t *seen, const uint64_t *probes)
{
    static const char *const events[] = {
#define X(NAME, text) #NAME,
        MODEL_EVENT_TABLE(X)
#undef X
    };
    static const char *const places[] = {
#define X(NAME, text) #NAME,
        PROBE_TABLE(X)
#undef X
    };
    for (unsigned i = 0; i < ARRAY_COUNT(events); i++)
        if (strcmp(events[i], name) == 0)
            return &seen[i];
    for (unsigned i = 0; i < ARRAY_COUNT(places); i++)
        if (strcmp(places[i], name) == 0)
            return &probes[i];
    return NULL;
}

/* Lines "NAME least-in-10000-sequences"; every event and place must be named.  Returns: passed. */
static bool coverage_check(const struct options *o, const uint64_t *seen, const uint64_t *probes)
{
    FILE *f = fopen(o->coverage_file, "r");
    char line[256], name[64];
    unsigned long long least;
    unsigned named = 0, rare = 0;
    if (!f) {
        perror(o->coverage_file);
        return false;
    }
    while (fgets(line, sizeof(line), f)) {
        if (line[0] == '#' || sscanf(line, "%63s %llu", name, &least) != 2)
            continue;
        const uint64_t *count = count_find(name, seen, probes);
        named += count != NULL;
        if (!count || *count * 10000 < least * o->count) {
            printf("coverage: %s: %llu, expected %llu in 10000 sequences\n", name,
                   (unsigned long long)(count ? *count : 0), least);
            rare++;
        }
    }
    fclose(f);
    bool all = named == (unsigned)MODEL_EVENTS + (unsigned)PROBE_COUNT;
    if (!all)
        printf("coverage: %s names %u of %u events and places\n", o->coverage_file, named,
               (unsigned)MODEL_EVENTS + (unsigned)PROBE_COUNT);
    printf("coverage: %u passed, %u failed\n", named - MIN(named, rare), rare + !all);
    return rare == 0 && all;
}

static void totals_show(const uint64_t *seen, const uint64_t *probes)
{
    for (unsigned i = 0; i < MODEL_EVENTS; i++)
        printf("%10llu  %s\n", (unsigned long long)seen[i], model_event_name((enum model_event)i));
    for (unsigned i = 0; i < PROBE_COUNT; i++)
        printf("%10llu  %s\n", (unsigned long long)probes[i], probe_text((enum probe)i));
}

static int run_all(const struct options *o)
{
    uint64_t failed, seen[MODEL_EVENTS] = {0}, probes[PROBE_COUNT] = {0}, done = 0;
    double start = seconds_now();
    const struct worker *workers = seeds_run(o, &failed);
    for (unsigned i = 0; i < o->jobs; i++) {
        done += workers[i].done;
        for (unsigned e = 0; e < MODEL_EVENTS; e++)
            seen[e] += workers[i].seen[e];
        for (unsigned p = 0; p < PROBE_COUNT; p++)
            probes[p] += workers[i].probes[p];
    }
    if (failed) {
        printf("seed %llu: %s\n", (unsigned long long)failed, why_of(workers, o, failed));
        failure_show(failed, o);
        printf("model: %llu passed, 1 failed\n", (unsigned long long)done);
        return 1;
    }
    totals_show(seen, probes);
    printf("%llu sequences of %u operations, %.1f s\n", (unsigned long long)done, o->operations,
           seconds_now() - start);
    bool covered = o->count < COVERAGE_SEEDS || !o->coverage_file || mutant_active ||
                   coverage_check(o, seen, probes);
    printf("model: %llu passed, 0 failed\n", (unsigned long long)done);
    return covered ? 0 : 1;
}

/* Lines "name within-so-many-sequences". */
static int run_mutants(struct options *o)
{
    FILE *f = fopen(o->mutants_file, "r");
    char line[256], name[64];
    unsigned bound, passed = 0, missed = 0;
    if (!f) {
        perror(o->mutants_file);
        return 2;
    }
    while (fgets(line, sizeof(line), f)) {
        uint64_t failed = 0;
        double start = seconds_now();
        if (line[0] == '#' || sscanf(line, "%63s %u", name, &bound) != 2)
            continue;
        mutant_active = mutant_by_name(name);
        o->count = bound;
        const char *why = "";
        if (mutant_active != MUTANT_NONE) {
            const struct worker *workers = seeds_run(o, &failed);
            why = why_of(workers, o, failed);
        }
        printf("%-24s %s: sequence %llu of at most %u, %.1f s: %s\n", name,
               failed ? "found" : "NOT FOUND", (unsigned long long)failed, bound,
               seconds_now() - start, failed ? why : "");
        fflush(stdout);
        passed += failed != 0;
        missed += failed == 0;
    }
    fclose(f);
    printf("planted bugs: %u passed, %u failed\n", passed, missed);
    return passed > 0 && missed == 0 ? 0 : 1;
}

/* ---- the command line ---- */

static void usage(void)
{
    puts("usage: cairn-model [--seeds=COUNT | --seeds=A..B | --seed=N] [--jobs=N] "
         "[--operations=N]\n"
         "  --progress    says how far it is      --no-shrink  prints the failing list as it is\n"
         "  --coverage=FILE  what must have happened, after at least 2000 sequences\n"
         "  --mutant=NAME plants a bug            --all-mutants=FILE  each must be found\n"
         "exit status: 0 all passed, 1 some failed, 2 usage");
}

static bool seeds_parse(const char *text, struct options *o)
{
    char *end;
    uint64_t first = strtoull(text, &end, 10);
    if (strncmp(end, "..", 2) == 0) {
        uint64_t last = strtoull(end + 2, &end, 10);
        o->first = first;
        o->count = last - first + 1;
        return *end == 0 && last >= first;
    }
    o->count = first;
    return *end == 0 && first > 0;
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option flags[] = {
        {"seeds", required_argument, NULL, 's'},       {"seed", required_argument, NULL, 'o'},
        {"jobs", required_argument, NULL, 'j'},        {"operations", required_argument, NULL, 'n'},
        {"progress", no_argument, NULL, 'p'},          {"no-shrink", no_argument, NULL, 'k'},
        {"coverage", required_argument, NULL, 'c'},    {"mutant", required_argument, NULL, 'm'},
        {"all-mutants", required_argument, NULL, 'a'}, {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        switch (c) {
        case 's':
            if (!seeds_parse(optarg, o))
                return false;
            break;
        case 'o':
            o->first = strtoull(optarg, NULL, 10);
            o->count = 1;
            break;
        case 'j': o->jobs = (unsigned)MIN(JOBS_MAX, MAX(1, atoi(optarg))); break;
        case 'n': o->operations = (unsigned)MIN(MODEL_OPS_MAX, MAX(1, atoi(optarg))); break;
        case 'p': o->progress = true; break;
        case 'k': o->shrink = false; break;
        case 'c': o->coverage_file = optarg; break;
        case 'a': o->mutants_file = optarg; break;
        case 'm':
            mutant_active = mutant_by_name(optarg);
            if (mutant_active == MUTANT_NONE)
                return false;
            break;
        default: return false;
        }
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    struct options o = {.first = 1,
                        .count = 10000,
                        .jobs = (unsigned)MIN(JOBS_MAX, MAX(1, sysconf(_SC_NPROCESSORS_ONLN))),
                        .operations = OPERATIONS,
                        .shrink = true};
    if (!parse(argc, argv, &o)) {
        usage();
        return 2;
    }
    shared_why = mmap(NULL, WHY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared_why != MAP_FAILED);
    return o.mutants_file ? run_mutants(&o) : run_all(&o);
}
