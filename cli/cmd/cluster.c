/* cairnctl status, nodes, disks, pgs, drain, undrain, safe-to-remove: a running cluster, asked
 * through a gateway. */
#include "cli/args/args.h"
#include "cli/cmd/commands.h"
#include "cli/cmd/question.h"
#include "cli/io/admin_client.h"
#include "common/base/check.h"

#include <inttypes.h>
#include <stdio.h>

static const struct arg_option options[] = {ADMIN_OPTIONS};
static const struct arg_option drain_options[] = {
    ADMIN_OPTIONS,
    {"plan", ARG_FLAG, NULL, 0, 0, "only says which changes would begin"},
};

/* ---- tables ---- */

static void nodes_show(const json_t *o)
{
    size_t i;
    const json_t *n;
    printf("%-20s %-6s %-11s %-9s %8s %6s %11s %11s %9s\n", "NODE", "ZONE", "STATE", "DRAINING",
           "HEARD", "DISKS", "TOTAL", "FREE", "MISSING");
    json_array_foreach(json_object_get(o, "nodes"), i, n)
    {
        char heard[24] = "never";
        if (json_is_integer(json_object_get(n, "heard_ms_ago")))
            snprintf(heard, sizeof(heard), "%.1f s", (double)show_number(n, "heard_ms_ago") / 1000);
        printf("%-20s %-6s %-11s %-9s %8s %6" PRIu64 " %11s %11s %9" PRIu64 "\n",
               show_text(n, "node"), show_text(n, "zone"), show_text(n, "state"),
               show_true(n, "draining") ? "yes" : "no", heard, show_number(n, "disks"),
               show_bytes(show_number(n, "bytes_total")), show_bytes(show_number(n, "bytes_free")),
               show_number(n, "missing"));
    }
}

static void disks_show(const json_t *o)
{
    size_t i;
    const json_t *d;
    printf("%-20s %-8s %-9s %-5s %11s %11s %11s %9s  %s\n", "NODE", "STATE", "WRITABLE", "SLOW",
           "TOTAL", "FREE", "LIVE", "SHARDS", "PATH");
    json_array_foreach(json_object_get(o, "disks"), i, d)
        printf("%-20s %-8s %-9s %-5s %11s %11s %11s %9" PRIu64 "  %s\n", show_text(d, "node"),
               show_text(d, "state"), show_true(d, "writable") ? "yes" : "no",
               show_true(d, "slow") ? "yes" : "no", show_bytes(show_number(d, "bytes_total")),
               show_bytes(show_number(d, "bytes_free")), show_bytes(show_number(d, "live_bytes")),
               show_number(d, "shards"), show_text(d, "path"));
}

static void names_print(const json_t *names)
{
    size_t i;
    const json_t *name;
    json_array_foreach(names, i, name) printf("%s%s", i ? " " : "", json_string_value(name));
}

static void planned_show(const json_t *planned)
{
    size_t i;
    const json_t *c;
    json_array_foreach(planned, i, c)
    {
        printf("group %" PRIu64 ": ", show_number(c, "pg"));
        names_print(json_object_get(c, "members"));
        printf("  ->  ");
        names_print(json_object_get(c, "next_members"));
        printf("  (%s)\n", show_bytes(show_number(c, "bytes")));
    }
}

static void pgs_show(const json_t *o)
{
    size_t i;
    const json_t *g;
    printf("%6s %7s %-10s %-10s %s\n", "GROUP", "EPOCH", "SCHEME", "STATE", "MEMBERS");
    json_array_foreach(json_object_get(o, "pgs"), i, g)
    {
        const json_t *next = json_object_get(g, "next_members");
        printf("%6" PRIu64 " %7" PRIu64 " %-10s %-10s ", show_number(g, "pg"),
               show_number(g, "epoch"), show_text(g, "scheme"), show_text(g, "state"));
        names_print(json_object_get(g, "members"));
        if (json_array_size(next)) {
            printf("  ->  ");
            names_print(next);
        }
        printf("\n");
    }
}

/* ---- the status, on one screen ---- */

static void zones_show(const json_t *o)
{
    size_t i;
    const json_t *z;
    printf("zones    ");
    json_array_foreach(json_object_get(o, "zones"), i, z)
        printf("  %s: %" PRIu64 " of %" PRIu64 " up%s", show_text(z, "zone"), show_number(z, "up"),
               show_number(z, "nodes"), show_true(z, "down") ? " (down)" : "");
    printf("\n");
}

static void status_show(const json_t *o)
{
    const json_t *capacity = json_object_get(o, "capacity"), *pgs = json_object_get(o, "pgs"),
                 *repair = json_object_get(o, "repair"), *r;
    size_t i;
    static const char *const states[] = {"well", "changing", "degraded", "endangered",
                                         "unreadable"};
    printf("health     %s\n", show_text(o, "health"));
    json_array_foreach(json_object_get(o, "reasons"), i, r)
        printf("           %s: %s\n", show_text(r, "severity"), show_text(r, "text"));
    zones_show(o);
    printf("capacity   %s, %s free, %s live, %s to be reclaimed\n",
           show_bytes(show_number(capacity, "bytes_total")),
           show_bytes(show_number(capacity, "bytes_free")),
           show_bytes(show_number(capacity, "live_bytes")),
           show_bytes(show_number(capacity, "dead_bytes")));
    printf("groups     %" PRIu64 ":", show_number(pgs, "count"));
    for (i = 0; i < ARRAY_COUNT(states); i++)
        if (show_number(pgs, states[i]))
            printf(" %" PRIu64 " %s", show_number(pgs, states[i]), states[i]);
    printf("\nrepair     %s to do, %" PRIu64 " shards missing, %" PRIu64
           " blobs endangered, %" PRIu64 " changes planned\n\n",
           show_bytes(show_number(repair, "backlog_bytes")), show_number(repair, "missing"),
           show_number(repair, "endangered"), show_number(o, "planned"));
    nodes_show(o);
}

static int status_verdict(const json_t *o)
{
    return strcmp(show_text(o, "health"), "ok") == 0 ? CLI_GOOD : CLI_BAD;
}

/* ---- drains ---- */

static void drain_show(const json_t *o)
{
    const json_t *planned = json_object_get(o, "planned");
    if (!show_true(o, "plan_only")) {
        printf("%s: %s\n", show_text(o, "node"),
               show_true(o, "draining")
                   ? "draining; `cairnctl safe-to-remove NODE` says when it may go"
                   : "draining no more");
        return;
    }
    printf("%s: %zu changes would begin%s\n", show_text(o, "node"), json_array_size(planned),
           json_array_size(planned) ? " first" : "");
    planned_show(planned);
}

static void safe_show(const json_t *o)
{
    size_t i;
    const json_t *m;
    printf("%s: %s\n", show_text(o, "node"),
           show_true(o, "safe") ? "safe to remove: no group names it, and it gets no new ones"
                                : "not safe to remove");
    json_array_foreach(json_object_get(o, "missing"), i, m) printf("  %s\n", json_string_value(m));
}

static int safe_verdict(const json_t *o)
{
    return show_true(o, "safe") ? CLI_GOOD : CLI_BAD;
}

#define PLAIN options, ARRAY_COUNT(options)

int cmd_status(int argc, char **argv)
{
    static const struct question q = {
        "status",
        "GET",
        "status",
        NULL,
        NODE_NONE,
        PLAIN,
        "The cluster on one screen.  Exit status: 0 healthy, 1 degraded or critical, 2 not "
        "answered.",
        status_show,
        status_verdict};
    return question_run(&q, argc, argv);
}

int cmd_nodes(int argc, char **argv)
{
    static const struct question q = {
        "nodes", "GET", "nodes", NULL, NODE_NONE, PLAIN, "The storage nodes.", nodes_show, NULL};
    return question_run(&q, argc, argv);
}

int cmd_disks(int argc, char **argv)
{
    static const struct question q = {"disks",
                                      "GET",
                                      "disks",
                                      NULL,
                                      NODE_NONE,
                                      PLAIN,
                                      "The disks, as their nodes reported them.",
                                      disks_show,
                                      NULL};
    return question_run(&q, argc, argv);
}

int cmd_pgs(int argc, char **argv)
{
    static const struct question q = {
        "pgs", "GET", "pgs", NULL, NODE_NONE, PLAIN, "The placement groups.", pgs_show, NULL};
    return question_run(&q, argc, argv);
}

int cmd_drain(int argc, char **argv)
{
    static const struct question q = {
        "drain",
        "POST",
        "nodes",
        "drain",
        NODE_ONE,
        drain_options,
        ARRAY_COUNT(drain_options),
        "Gives a storage node's places to others.  Of a node that is lost: gives it up.",
        drain_show,
        NULL};
    return question_run(&q, argc, argv);
}

int cmd_undrain(int argc, char **argv)
{
    static const struct question q = {"undrain",
                                      "POST",
                                      "nodes",
                                      "undrain",
                                      NODE_ONE,
                                      PLAIN,
                                      "Lets a storage node take places again.",
                                      drain_show,
                                      NULL};
    return question_run(&q, argc, argv);
}

int cmd_safe_to_remove(int argc, char **argv)
{
    static const struct question q = {
        "safe-to-remove",
        "GET",
        "nodes",
        "safe-to-remove",
        NODE_ONE,
        PLAIN,
        "May a storage node be switched off for good?  Exit status: 0 yes, 1 no, 2 not answered.",
        safe_show,
        safe_verdict};
    return question_run(&q, argc, argv);
}
