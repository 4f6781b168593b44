/* cairn-sim: a whole cluster's real code (Raft, index, witness, gateway, storage node) in one
 * thread on a virtual clock, one run a seed.
 *
 * A run: boot; a phase in which anything within the fault budget breaks; a phase in which all is
 * healed and the cluster must converge and every client succeed; then the histories are checked.
 * Each run is a process of its own, so a failed CHECK or a crash is one seed's failure. */
#include "common/base/check.h"
#include "common/base/mutant.h"
#include "tests/sim/run.h"
#include "tests/sim/scenario.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX 64

struct options {
    uint64_t first, count;
    unsigned jobs;
    struct run_options run;
    unsigned until_found; /* with a mutant: stop at the first finding */
    unsigned limit_s;     /* seconds of processor time a run */
    unsigned time_s;      /* real seconds after which no further run begins; 0: no bound */
    bool repeat;
    const char *mutant, *mutants_file;
};

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
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* Of processor time: a busy machine is no endless loop. */
        struct itimerval limit = {.it_value = {.tv_sec = (time_t)o->limit_s}};
        setitimer(ITIMER_PROF, &limit, NULL);
        struct run_result result;
        run_seed(seed, &o->run, &result);
        ssize_t n = write(fds[1], &result, sizeof(result));
        _exit(n == (ssize_t)sizeof(result) ? 0 : 1);
    }
    close(fds[1]);
    job->fd = fds[0];
}

static void stop_job(struct job *job)
{
    kill(job->pid, SIGKILL);
    waitpid(job->pid, NULL, 0);
    close(job->fd);
    job->pid = 0;
}

static struct run_result end_job(struct job *job)
{
    struct run_result r = {.seed = job->seed, .problems = 1};
    int status = 0;
    ssize_t n = read(job->fd, &r, sizeof(r));
    close(job->fd);
    waitpid(job->pid, &status, 0);
    if (n != (ssize_t)sizeof(r)) {
        r = (struct run_result){.seed = job->seed, .problems = 1};
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF)
            snprintf(r.first_problem, sizeof(r.first_problem), "the run took too long");
        else
            snprintf(r.first_problem, sizeof(r.first_problem),
                     "the process died (signal %d, status %d)",
                     WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                     WIFEXITED(status) ? WEXITSTATUS(status) : 0);
    }
    job->pid = 0;
    return r;
}

struct totals {
    uint64_t runs, failed, events, undecided, faults, ops, virtual_ns, asleep;
    uint64_t first_failed;
    uint64_t blob_runs, blob_ops, blobs, let_go, orphans, buckets;
    uint64_t mend_runs, flips, changes, coded, beyond, beyond_lost;
    bool quiet;
};

static const char *const blobs_names[] = {[RUN_BLOBS_SHARE] = "share",
                                          [RUN_BLOBS_ALWAYS] = "always",
                                          [RUN_BLOBS_NEVER] = "never",
                                          [RUN_BLOBS_MENDS] = "mends"};

static bool blobs_parse(const char *name, enum run_blobs *ret)
{
    for (size_t i = 0; i < ARRAY_COUNT(blobs_names); i++) {
        if (strcmp(name, blobs_names[i]) != 0)
            continue;
        *ret = (enum run_blobs)i;
        return true;
    }
    return false;
}

static const char *blobs_flag(enum run_blobs blobs)
{
    static const char *const flags[] = {[RUN_BLOBS_SHARE] = "",
                                        [RUN_BLOBS_ALWAYS] = " --blobs=always",
                                        [RUN_BLOBS_NEVER] = " --blobs=never",
                                        [RUN_BLOBS_MENDS] = " --blobs=mends"};
    return flags[blobs];
}

static void account(struct totals *t, const struct run_result *r, const struct options *o)
{
    t->runs++;
    t->events += r->events;
    t->faults += r->faults;
    t->ops += r->stats.succeeded + r->stats.reads + r->stats.lists;
    t->undecided += r->stats.undecided + r->blobs.undecided;
    t->blob_runs += r->shards.looks > 0;
    t->blob_ops += r->blobs.puts + r->blobs.reads + r->blobs.lists + r->blobs.deletes +
                   r->blobs.parts + r->blobs.uploads_completed + r->blobs.uploads_aborted;
    t->blobs += r->shards.blobs;
    t->let_go += r->shards.let_go;
    t->orphans += r->shards.orphans;
    t->buckets += r->blobs.buckets_deleted;
    t->mend_runs += r->mends;
    t->flips += r->shards.flips;
    t->changes += r->shards.changes;
    t->coded += r->shards.coded;
    t->beyond += r->blobs.beyond;
    t->beyond_lost += r->blobs.beyond_lost;
    t->virtual_ns += r->virtual_ns;
    t->asleep += r->asleep > 0;
    if (r->problems == 0)
        return;
    if (t->failed++ == 0 || r->seed < t->first_failed)
        t->first_failed = r->seed;
    if (!t->quiet && (t->failed <= 10 || o->mutant == NULL))
        printf("seed %llu: %s\n  repeat: build/sim/bin/cairn-sim --verbose --seed=%llu "
               "--seconds=%u%s%s%s\n",
               (unsigned long long)r->seed, r->first_problem, (unsigned long long)r->seed,
               o->run.seconds, blobs_flag(o->run.blobs), o->mutant ? " --mutant=" : "",
               o->mutant ? o->mutant : "");
    fflush(stdout);
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Waits for whichever run ends first.  Returns: its place. */
static unsigned wait_any(const struct job *jobs, unsigned count)
{
    for (;;) {
        siginfo_t info = {0};
        CHECK(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0);
        for (unsigned i = 0; i < count; i++)
            if (jobs[i].pid && jobs[i].pid == info.si_pid)
                return i;
    }
}

static void run_all(const struct options *o, struct totals *t)
{
    struct job jobs[JOBS_MAX] = {{0}};
    uint64_t next = o->first, end = o->first + o->count;
    double stop = o->time_s ? seconds_now() + o->time_s : 1e18;
    unsigned running = 0;
    for (;;) {
        bool found = o->until_found && t->failed;
        for (unsigned i = 0; i < o->jobs && next < end && !found && seconds_now() < stop; i++) {
            if (jobs[i].pid)
                continue;
            start_job(&jobs[i], next++, o);
            running++;
        }
        for (unsigned i = 0; found && i < o->jobs; i++)
            if (jobs[i].pid)
                stop_job(&jobs[i]);
        if (running == 0 || found)
            return;
        struct run_result r = end_job(&jobs[wait_any(jobs, o->jobs)]);
        running--;
        account(t, &r, o);
    }
}

static bool directed_known(const char *name)
{
    for (unsigned kind = 0; kind < SCENARIO_COUNT; kind++)
        if (strcmp(name, scenario_name(kind)) == 0)
            return true;
    fprintf(stderr, "no directed fault is called '%s'; there are:", name);
    for (unsigned kind = 0; kind < SCENARIO_COUNT; kind++)
        fprintf(stderr, "%s '%s'", kind ? "," : "", scenario_name(kind));
    fputc('\n', stderr);
    return false;
}

/* Each line of the file: the name of a planted bug, within how many seeds it must be found, and, in
 * quotes, the only kind of directed faults to use; without one, as the seeds say.  "blobs" or
 * "mends" without quotes: with storage nodes, which lose no data, or do; else without.  A number
 * behind "mends": the first seed. */
static int run_mutants(struct options *o)
{
    FILE *f = fopen(o->mutants_file, "r");
    char line[256], name[64], directed[64], with[16];
    unsigned bound, passed = 0, failed = 0;
    double began = seconds_now();
    uint64_t first = o->first;
    if (!f) {
        perror(o->mutants_file);
        return 2;
    }
    o->until_found = true;
    o->mutant = name;
    while (fgets(line, sizeof(line), f)) {
        struct totals t = {.quiet = true};
        double start = seconds_now();
        if (sscanf(line, "%63s %u", name, &bound) != 2 || name[0] == '#')
            continue;
        bool only = sscanf(line, "%*s %*u \"%63[^\"]\"", directed) == 1;
        with[0] = 0;
        bool blobs = sscanf(line, "%*s %*u %15[a-z]", with) == 1 && strcmp(with, "blobs") == 0;
        o->run.directed = only ? directed : NULL;
        bool mends = !blobs && strcmp(with, "mends") == 0;
        o->run.blobs = mends ? RUN_BLOBS_MENDS : blobs ? RUN_BLOBS_ALWAYS : RUN_BLOBS_NEVER;
        mutant_active = mutant_by_name(name);
        if (sscanf(line, "%*s %*u mends %" SCNu64, &o->first) != 1)
            o->first = first;
        o->count = bound;
        if (mutant_active != MUTANT_NONE && (!only || directed_known(directed)))
            run_all(o, &t);
        printf("%-24s %s: seed %llu, %llu runs of at most %u, %.1f s\n", name,
               t.failed ? "found" : "NOT FOUND", (unsigned long long)t.first_failed,
               (unsigned long long)t.runs, bound, seconds_now() - start);
        fflush(stdout);
        passed += t.failed > 0;
        failed += t.failed == 0;
    }
    fclose(f);
    printf("planted bugs took %.0f s\n", seconds_now() - began);
    printf("planted bugs: %u passed, %u failed\n", passed, failed);
    return passed > 0 && failed == 0 ? 0 : 1;
}

static void usage(void)
{
    puts(
        "usage: cairn-sim [--seed=N | --first=N --seeds=COUNT] [--jobs=N] [--seconds=N] "
        "[--mutant=NAME]\n"
        "  --time=N      begins no run after so many real seconds\n"
        "  --seed=N      one run                  --seeds=N    so many, from --first (1)\n"
        "  --seconds=N   virtual seconds in which things break (20)\n"
        "  --directed=KIND  directed faults of this kind only (tests/sim/scenario.c), and always\n"
        "  --blobs=share|always|never|mends  storage nodes and blobs: in every third seed (share), "
        "...;\n"
        "                mends: they lose data and repair them (in every twelfth seed)\n"
        "  --mutant=NAME plants a bug             --until-found  stop at the first seed that "
        "fails\n"
        "  --all-mutants=FILE  each bug named in the file must be found within its number of "
        "seeds\n"
        "  --repeat      runs each seed twice and compares the traces\n"
        "  --mutants     lists the planted bugs   --verbose    logs everything\n"
        "exit status: 0 all runs passed, 1 some failed, 2 usage");
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option flags[] = {{"seed", required_argument, NULL, 's'},
                                          {"first", required_argument, NULL, 'f'},
                                          {"seeds", required_argument, NULL, 'n'},
                                          {"jobs", required_argument, NULL, 'j'},
                                          {"seconds", required_argument, NULL, 't'},
                                          {"mutant", required_argument, NULL, 'm'},
                                          {"until-found", no_argument, NULL, 'u'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {"repeat", no_argument, NULL, 'r'},
                                          {"mutants", no_argument, NULL, 'l'},
                                          {"limit", required_argument, NULL, 'x'},
                                          {"time", required_argument, NULL, 'T'},
                                          {"directed", required_argument, NULL, 'd'},
                                          {"all-mutants", required_argument, NULL, 'a'},
                                          {"blobs", required_argument, NULL, 'b'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        switch (c) {
        case 's':
            o->first = strtoull(optarg, NULL, 10);
            o->count = 1;
            break;
        case 'f': o->first = strtoull(optarg, NULL, 10); break;
        case 'n': o->count = strtoull(optarg, NULL, 10); break;
        case 'j': o->jobs = (unsigned)MIN(JOBS_MAX, MAX(1, atoi(optarg))); break;
        case 't': o->run.seconds = (unsigned)atoi(optarg); break;
        case 'x': o->limit_s = (unsigned)atoi(optarg); break;
        case 'T': o->time_s = (unsigned)atoi(optarg); break;
        case 'a': o->mutants_file = optarg; break;
        case 'd':
            if (!directed_known(optarg))
                return false;
            o->run.directed = optarg;
            break;
        case 'b':
            if (!blobs_parse(optarg, &o->run.blobs))
                return false;
            break;
        case 'm': o->mutant = optarg; break;
        case 'u': o->until_found = true; break;
        case 'v': o->run.verbose = true; break;
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
        struct run_result r[2];
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
    printf("determinism: %llu passed, %u failed\n", (unsigned long long)(o->count - differ),
           differ);
    return differ ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct options o = {.first = 1,
                        .count = 100,
                        .jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
                        .run.seconds = 20,
                        .limit_s = 60};
    struct totals t = {0};
    if (!parse(argc, argv, &o)) {
        usage();
        return 2;
    }
    if (o.repeat)
        return run_twice(&o);
    if (o.mutants_file)
        return run_mutants(&o);
    run_all(&o, &t);
    printf("simulation%s%s: %llu seeds, %llu operations, %llu faults, %.0f virtual s, %llu events, "
           "%llu undecided, groups slept in %llu\n",
           o.mutant ? " with " : "", o.mutant ? o.mutant : "", (unsigned long long)t.runs,
           (unsigned long long)t.ops, (unsigned long long)t.faults, (double)t.virtual_ns / 1e9,
           (unsigned long long)t.events, (unsigned long long)t.undecided,
           (unsigned long long)t.asleep);
    if (t.blob_runs)
        printf("of these %llu seeds with blobs: %llu operations, %llu blobs, %llu of them let go, "
               "%llu orphans, %llu buckets deleted\n",
               (unsigned long long)t.blob_runs, (unsigned long long)t.blob_ops,
               (unsigned long long)t.blobs, (unsigned long long)t.let_go,
               (unsigned long long)t.orphans, (unsigned long long)t.buckets);
    if (t.mend_runs)
        printf(
            "in %llu seeds data were lost: %llu blobs were coded, %llu shards damaged, the members "
            "of groups changed %llu times; of %llu reads when too much was lost %llu failed\n",
            (unsigned long long)t.mend_runs, (unsigned long long)t.coded,
            (unsigned long long)t.flips, (unsigned long long)t.changes,
            (unsigned long long)t.beyond, (unsigned long long)t.beyond_lost);
    if (t.failed)
        printf("first failing seed: %llu\n", (unsigned long long)t.first_failed);
    printf("simulation: %llu passed, %llu failed\n", (unsigned long long)(t.runs - t.failed),
           (unsigned long long)t.failed);
    return t.failed ? 1 : 0;
}
