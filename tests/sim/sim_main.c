/* cairn-sim: a whole cluster's real Raft, index, witness and gateway-cache code in one thread on a
 * virtual clock, one run a seed.
 *
 * A run: boot; a phase in which anything within the fault budget breaks; a phase in which all is
 * healed and the cluster must converge and every client succeed; then the histories are checked.
 * Each run is a process of its own, so a failed CHECK or a crash is one seed's failure. */
#include "common/base/check.h"
#include "common/base/mutant.h"
#include "common/obs/log.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/workload.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct options {
    uint64_t first, count;
    unsigned jobs, seconds;  /* virtual seconds of the broken phase */
    unsigned until_found;    /* with a mutant: stop at the first finding */
    unsigned limit_s;        /* real seconds a run */
    bool verbose, repeat;
    const char *mutant;
};

struct run {
    uint64_t seed;
    struct sim_cluster cluster;
    struct sim_workload *load;
    struct nemesis *nemesis;
    unsigned problems;
    bool verbose;
};

struct result { /* what a run's process tells its parent */
    uint64_t seed, trace, events, virtual_ns, faults;
    unsigned problems;
    struct sim_workload_stats stats;
    char first_problem[240];
};

static struct result result;

static void problem(void *arg, const char *text)
{
    struct run *r = arg;
    if (r->problems++ == 0)
        snprintf(result.first_problem, sizeof(result.first_problem), "%s (at %.3f s)", text,
                 (double)world_now(r->cluster.world) / 1e9);
    if (r->verbose || r->problems == 1)
        fprintf(stderr, "seed %llu: %s (at %.3f s)\n", (unsigned long long)r->seed, text,
                (double)world_now(r->cluster.world) / 1e9);
}

static void log_line(void *arg, enum log_level level, const char *event, const char *line)
{
    struct run *r = arg;
    if (level == LOG_LEVEL_ERROR) {
        char text[220];
        snprintf(text, sizeof(text), "ERROR logged: %s: %.150s", event, line);
        problem(r, text);
    }
    if (r->verbose)
        fprintf(stderr, "%11.6f %s\n", (double)world_now(r->cluster.world) / 1e9, line);
}

/* Runs to world time `until`, checking the invariants of every moment on the way. */
static void run_until(struct run *r, uint64_t until, bool (*stop)(struct run *))
{
    struct world *w = r->cluster.world;
    while (world_now(w) < until && r->problems == 0) {
        result.events += world_run_until(w, world_now(w) + 2 * NS_PER_MS);
        sim_check(&r->cluster);
        if (stop && stop(r))
            return;
    }
}

static bool bucket_exists(struct run *r)
{
    return sim_workload_ready(r->load);
}

static bool clients_idle(struct run *r)
{
    return sim_workload_idle(r->load);
}

static bool converged(struct run *r)
{
    struct buf why = {0};
    bool ok = sim_converged(&r->cluster, &why);
    buf_fini(&why);
    return ok;
}

static void boot(struct run *r)
{
    struct sim_cluster *c = &r->cluster;
    for (size_t z = 0; z < c->zones; z++)
        sim_boot(&c->metas[z]);
    for (size_t z = 0; z < c->zones; z++)
        sim_boot(&c->witnesses[z]);
    for (size_t z = 0; z < c->zones; z++)
        sim_boot(&c->gateways[z]);
    run_until(r, world_now(c->world) + 30 * NS_PER_SEC, bucket_exists);
    if (r->problems == 0 && !sim_workload_ready(r->load))
        problem(r, "no bucket could be made within 30 s of a calm start");
}

/* DESIGN: whatever was broken, once it is healed the cluster serves, converges and answers all. */
static void recover(struct run *r)
{
    struct world *w = r->cluster.world;
    nemesis_heal(r->nemesis);
    run_until(r, world_now(w) + 15 * NS_PER_SEC, NULL);
    sim_workload_progress(r->load);
    run_until(r, world_now(w) + 5 * NS_PER_SEC, NULL);
    if (r->problems == 0 && sim_workload_progress(r->load) == 0)
        problem(r, "15 s after healing a client's operations still fail");
    sim_workload_stop(r->load);
    run_until(r, world_now(w) + 10 * NS_PER_SEC, clients_idle);
    run_until(r, world_now(w) + 20 * NS_PER_SEC, converged);
    struct buf why = {0};
    if (r->problems == 0 && !sim_converged(&r->cluster, &why)) {
        buf_u8(&why, 0);
        problem(r, (const char *)why.ptr);
    }
    buf_fini(&why);
    if (r->problems > 0)
        return;
    sim_workload_read_all(r->load);
    run_until(r, world_now(w) + 30 * NS_PER_SEC, clients_idle);
    if (r->problems == 0 && !sim_workload_idle(r->load))
        problem(r, "the final reads do not end");
}

static void print_line(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

static void run_seed(uint64_t seed, const struct options *o)
{
    struct run *r = calloc(1, sizeof(*r));
    CHECK(r);
    struct world *w = world_new(seed);
    static const char *const splits[] = {NULL, "\"80000000000000006d\"",
                                         "\"8000000000000000622f32\", \"80000000000000006e\""};
    r->seed = seed;
    r->verbose = o->verbose;
    r->cluster = (struct sim_cluster){
        .world = w, .problem = problem, .problem_arg = r,
        .drift_ppm = world_below(w, 2) ? 1000 : 20000,
        .lease_reads = world_below(w, 4) != 0,
        .log_bytes_max = world_below(w, 2) ? 16 << 10 : 1 << 20,
    };
    log_hook_set(log_line, r);
    log_level_min = o->verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR;
    sim_cluster_init(&r->cluster, w, splits[world_below(w, 3)]);
    r->load = sim_workload_new(&r->cluster, 2, (5 + world_below(w, 60)) * NS_PER_MS);
    r->nemesis = nemesis_new(&r->cluster);
    boot(r);
    nemesis_start(r->nemesis);
    run_until(r, world_now(w) + o->seconds * NS_PER_SEC, NULL);
    if (r->problems == 0)
        recover(r);
    sim_workload_check(r->load);
    if (r->problems > 0 && o->verbose)
        for (uint32_t reg = 0; reg < SIM_REGISTERS; reg++)
            sim_workload_print(r->load, reg, print_line, NULL);
    result.seed = seed;
    result.trace = world_trace(w);
    result.virtual_ns = world_now(w);
    result.faults = nemesis_faults(r->nemesis);
    result.problems = r->problems;
    result.stats = *sim_workload_stats(r->load);
}

/* ---- many seeds, each in a process of its own ---- */

struct job {
    pid_t pid;
    int fd;
    uint64_t seed;
};

static void start_job(struct job *job, uint64_t seed, const struct options *o)
{
    int fds[2];
    CHECK(pipe(fds) == 0);
    fflush(NULL);
    job->seed = seed;
    job->pid = fork();
    CHECK(job->pid >= 0);
    if (job->pid == 0) {
        close(fds[0]);
        alarm(o->limit_s);
        run_seed(seed, o);
        ssize_t n = write(fds[1], &result, sizeof(result));
        _exit(n == (ssize_t)sizeof(result) ? 0 : 1);
    }
    close(fds[1]);
    job->fd = fds[0];
}

static struct result end_job(struct job *job)
{
    struct result r = {.seed = job->seed, .problems = 1};
    int status = 0;
    ssize_t n = read(job->fd, &r, sizeof(r));
    close(job->fd);
    waitpid(job->pid, &status, 0);
    if (n != (ssize_t)sizeof(r)) {
        r = (struct result){.seed = job->seed, .problems = 1};
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
            snprintf(r.first_problem, sizeof(r.first_problem), "the run took too long");
        else
            snprintf(r.first_problem, sizeof(r.first_problem), "the process died (signal %d, status %d)",
                     WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                     WIFEXITED(status) ? WEXITSTATUS(status) : 0);
    }
    job->pid = 0;
    return r;
}

struct totals {
    uint64_t runs, failed, events, undecided, faults, ops, virtual_ns;
    uint64_t first_failed;
};

static void account(struct totals *t, const struct result *r, const struct options *o)
{
    t->runs++;
    t->events += r->events;
    t->faults += r->faults;
    t->ops += r->stats.succeeded + r->stats.reads + r->stats.lists;
    t->undecided += r->stats.undecided;
    t->virtual_ns += r->virtual_ns;
    if (r->problems == 0)
        return;
    if (t->failed++ == 0 || r->seed < t->first_failed)
        t->first_failed = r->seed;
    if (t->failed <= 10 || o->mutant == NULL)
        printf("seed %llu: %s\n  repeat: build/sim/bin/cairn-sim --verbose --seed=%llu --seconds=%u%s%s\n",
               (unsigned long long)r->seed, r->first_problem, (unsigned long long)r->seed, o->seconds,
               o->mutant ? " --mutant=" : "", o->mutant ? o->mutant : "");
    fflush(stdout);
}

static void run_all(const struct options *o, struct totals *t)
{
    struct job jobs[64] = {{0}};
    uint64_t next = o->first, end = o->first + o->count;
    unsigned running = 0;
    while (next < end || running > 0) {
        while (running < o->jobs && next < end && !(o->until_found && t->failed)) {
            unsigned i = 0;
            while (jobs[i].pid)
                i++;
            start_job(&jobs[i], next++, o);
            running++;
        }
        if (running == 0)
            break;
        /* Whichever pipe has something first: the results are small, so a read never blocks long. */
        pid_t pid = 0;
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0)
            pid = info.si_pid;
        for (unsigned i = 0; i < o->jobs; i++) {
            if (jobs[i].pid != pid || !pid)
                continue;
            struct result r = end_job(&jobs[i]);
            running--;
            account(t, &r, o);
        }
    }
}

static void usage(void)
{
    puts("usage: cairn-sim [--seed=N | --first=N --seeds=COUNT] [--jobs=N] [--seconds=N] [--mutant=NAME]\n"
         "  --seed=N      one run                  --seeds=N    so many, from --first (1)\n"
         "  --seconds=N   virtual seconds in which things break (20)\n"
         "  --mutant=NAME plants a bug             --until-found  stop at the first seed that fails\n"
         "  --repeat      runs each seed twice and compares the traces\n"
         "  --mutants     lists the planted bugs   --verbose    logs everything\n"
         "exit status: 0 all runs passed, 1 some failed, 2 usage");
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option flags[] = {
        {"seed", required_argument, NULL, 's'},   {"first", required_argument, NULL, 'f'},
        {"seeds", required_argument, NULL, 'n'},  {"jobs", required_argument, NULL, 'j'},
        {"seconds", required_argument, NULL, 't'}, {"mutant", required_argument, NULL, 'm'},
        {"until-found", no_argument, NULL, 'u'},  {"verbose", no_argument, NULL, 'v'},
        {"repeat", no_argument, NULL, 'r'},       {"mutants", no_argument, NULL, 'l'},
        {"limit", required_argument, NULL, 'x'},  {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        switch (c) {
        case 's': o->first = strtoull(optarg, NULL, 10); o->count = 1; break;
        case 'f': o->first = strtoull(optarg, NULL, 10); break;
        case 'n': o->count = strtoull(optarg, NULL, 10); break;
        case 'j': o->jobs = (unsigned)MIN(64, MAX(1, atoi(optarg))); break;
        case 't': o->seconds = (unsigned)atoi(optarg); break;
        case 'x': o->limit_s = (unsigned)atoi(optarg); break;
        case 'm': o->mutant = optarg; break;
        case 'u': o->until_found = true; break;
        case 'v': o->verbose = true; break;
        case 'r': o->repeat = true; break;
        case 'l':
            for (int m = 1; m < MUTANT_COUNT; m++)
                puts(mutant_name((enum mutant)m));
            exit(0);
        case 'h': usage(); exit(0);
        default: return false;
        }
    }
    if (o->mutant) {
        mutant_active = mutant_by_name(o->mutant);
        if (mutant_active == MUTANT_NONE) {
            fprintf(stderr, "unknown mutant '%s'; --mutants lists them\n", o->mutant);
            return false;
        }
    }
    return optind == argc;
}

/* The same seed twice: the traces are equal, or the run depends on something outside the seed. */
static int run_twice(const struct options *o)
{
    unsigned differ = 0;
    for (uint64_t seed = o->first; seed < o->first + o->count; seed++) {
        struct result r[2];
        for (int i = 0; i < 2; i++) {
            struct job job;
            start_job(&job, seed, o);
            r[i] = end_job(&job);
        }
        if (r[0].trace != r[1].trace || r[0].events != r[1].events || r[0].events == 0) {
            printf("seed %llu: two runs differ\n", (unsigned long long)seed);
            differ++;
        }
    }
    printf("determinism: %llu passed, %u failed\n", (unsigned long long)(o->count - differ), differ);
    return differ ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct options o = {.first = 1, .count = 100, .jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
                        .seconds = 20, .limit_s = 120};
    struct totals t = {0};
    if (!parse(argc, argv, &o)) {
        usage();
        return 2;
    }
    if (o.repeat)
        return run_twice(&o);
    run_all(&o, &t);
    printf("simulation%s%s: %llu seeds, %llu operations, %llu faults, %.0f virtual s, %llu events, %llu "
           "undecided\n", o.mutant ? " with " : "", o.mutant ? o.mutant : "", (unsigned long long)t.runs,
           (unsigned long long)t.ops, (unsigned long long)t.faults, (double)t.virtual_ns / 1e9,
           (unsigned long long)t.events, (unsigned long long)t.undecided);
    if (t.failed)
        printf("first failing seed: %llu\n", (unsigned long long)t.first_failed);
    printf("simulation: %llu passed, %llu failed\n", (unsigned long long)(t.runs - t.failed),
           (unsigned long long)t.failed);
    return t.failed ? 1 : 0;
}
