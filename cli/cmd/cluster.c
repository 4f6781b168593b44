/* cairnctl status, nodes, disks, pgs, drain, undrain, safe-to-remove: a running cluster, asked
 * through a gateway. */
#include "cli/args/args.h"
#include "cli/cmd/commands.h"
#include "cli/io/admin_client.h"
#include "common/base/check.h"
#include "common/base/err.h"

#include <inttypes.h>
#include <stdio.h>

static const struct arg_option options[] = {ADMIN_OPTIONS};
static const struct arg_option drain_options[] = {
    ADMIN_OPTIONS,
    {"plan", ARG_FLAG, NULL, 0, 0, "only says which changes would begin"},
};

/* A subcommand: what it asks, and how the answer is shown. */
struct question {
    const char *name, *method, *path;
    bool wants_node; /* path/NODE/name */
    const struct arg_option *options;
    size_t option_count;
    const char *help;
    void (*show)(const json_t *answer);
    int (*verdict)(const json_t *answer); /* NULL: CLI_GOOD */
};

/* ---- values ---- */

static const char *text(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "-";
}

static uint64_t number(const json_t *o, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(o, name));
}

static bool is_true(const json_t *o, const char *name)
{
    return json_is_true(json_object_get(o, name));
}

/* In a unit that leaves few digits; of several calls in one expression each has its own buffer. */
static const char *bytes(uint64_t n)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    static char texts[4][24];
    static unsigned next;
    char *t = texts[next++ % ARRAY_COUNT(texts)];
    double v = (double)n;
    size_t u = 0;
    for (; v >= 1024 && u + 1 < ARRAY_COUNT(units); u++)
        v /= 1024;
    snprintf(t, sizeof(texts[0]), u ? "%.1f %s" : "%.0f %s", v, units[u]);
    return t;
}

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
            snprintf(heard, sizeof(heard), "%.1f s", (double)number(n, "heard_ms_ago") / 1000);
        printf("%-20s %-6s %-11s %-9s %8s %6" PRIu64 " %11s %11s %9" PRIu64 "\n", text(n, "node"),
               text(n, "zone"), text(n, "state"), is_true(n, "draining") ? "yes" : "no", heard,
               number(n, "disks"), bytes(number(n, "bytes_total")), bytes(number(n, "bytes_free")),
               number(n, "missing"));
    }
}

static void disks_show(const json_t *o)
{
    size_t i;
    const json_t *d;
    printf("%-20s %-8s %-9s %-5s %11s %11s %11s %9s  %s\n", "NODE", "STATE", "WRITABLE", "SLOW",
           "TOTAL", "FREE", "LIVE", "SHARDS", "PATH");
    json_array_foreach(json_object_get(o, "disks"), i, d) printf(
        "%-20s %-8s %-9s %-5s %11s %11s %11s %9" PRIu64 "  %s\n", text(d, "node"), text(d, "state"),
        is_true(d, "writable") ? "yes" : "no", is_true(d, "slow") ? "yes" : "no",
        bytes(number(d, "bytes_total")), bytes(number(d, "bytes_free")),
        bytes(number(d, "live_bytes")), number(d, "shards"), text(d, "path"));
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
        printf("group %" PRIu64 ": ", number(c, "pg"));
        names_print(json_object_get(c, "members"));
        printf("  ->  ");
        names_print(json_object_get(c, "next_members"));
        printf("  (%s)\n", bytes(number(c, "bytes")));
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
        printf("%6" PRIu64 " %7" PRIu64 " %-10s %-10s ", number(g, "pg"), number(g, "epoch"),
               text(g, "scheme"), text(g, "state"));
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
        printf("  %s: %" PRIu64 " of %" PRIu64 " up%s", text(z, "zone"), number(z, "up"),
               number(z, "nodes"), is_true(z, "down") ? " (down)" : "");
    printf("\n");
}

static void status_show(const json_t *o)
{
    const json_t *capacity = json_object_get(o, "capacity"), *pgs = json_object_get(o, "pgs"),
                 *repair = json_object_get(o, "repair"), *r;
    size_t i;
    static const char *const states[] = {"well", "changing", "degraded", "endangered",
                                         "unreadable"};
    printf("health     %s\n", text(o, "health"));
    json_array_foreach(json_object_get(o, "reasons"), i, r)
        printf("           %s: %s\n", text(r, "severity"), text(r, "text"));
    zones_show(o);
    printf("capacity   %s, %s free, %s live, %s to be reclaimed\n",
           bytes(number(capacity, "bytes_total")), bytes(number(capacity, "bytes_free")),
           bytes(number(capacity, "live_bytes")), bytes(number(capacity, "dead_bytes")));
    printf("groups     %" PRIu64 ":", number(pgs, "count"));
    for (i = 0; i < ARRAY_COUNT(states); i++)
        if (number(pgs, states[i]))
            printf(" %" PRIu64 " %s", number(pgs, states[i]), states[i]);
    printf("\nrepair     %s to do, %" PRIu64 " shards missing, %" PRIu64
           " blobs endangered, %" PRIu64 " changes planned\n\n",
           bytes(number(repair, "backlog_bytes")), number(repair, "missing"),
           number(repair, "endangered"), number(o, "planned"));
    nodes_show(o);
}

static int status_verdict(const json_t *o)
{
    return strcmp(text(o, "health"), "ok") == 0 ? CLI_GOOD : CLI_BAD;
}

/* ---- drains ---- */

static void drain_show(const json_t *o)
{
    const json_t *planned = json_object_get(o, "planned");
    if (!is_true(o, "plan_only")) {
        printf("%s: %s\n", text(o, "node"),
               is_true(o, "draining")
                   ? "draining; `cairnctl safe-to-remove NODE` says when it may go"
                   : "draining no more");
        return;
    }
    printf("%s: %zu changes would begin%s\n", text(o, "node"), json_array_size(planned),
           json_array_size(planned) ? " first" : "");
    planned_show(planned);
}

static void safe_show(const json_t *o)
{
    size_t i;
    const json_t *m;
    printf("%s: %s\n", text(o, "node"),
           is_true(o, "safe") ? "safe to remove: no group names it, and it gets no new ones"
                              : "not safe to remove");
    json_array_foreach(json_object_get(o, "missing"), i, m) printf("  %s\n", json_string_value(m));
}

static int safe_verdict(const json_t *o)
{
    return is_true(o, "safe") ? CLI_GOOD : CLI_BAD;
}

/* ---- asking ---- */

static bool is_node_id(const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    return s[0] != '.' && s[0] && s[strspn(s, plain)] == 0;
}

static int usage(const struct question *q)
{
    struct buf help = {0};
    args_help(q->options, q->option_count, &help);
    printf("usage: cairnctl %s%s [OPTION...]\n\n%s\n\n%.*s", q->name, q->wants_node ? " NODE" : "",
           q->help, (int)help.len, (const char *)help.ptr);
    buf_fini(&help);
    return CLI_GOOD;
}

static int answer(const struct question *q, const struct args *a, const struct buf *path)
{
    json_t *o = NULL;
    struct admin_client *c = admin_client_new(a, q->name);
    int status = c ? admin_client_ask(c, q->method, (const char *)path->ptr, &o) : CLI_USAGE;
    admin_client_free(c);
    if (status != CLI_GOOD)
        return status;
    if (a->json) {
        json_dumpf(o, stdout, JSON_INDENT(1));
        printf("\n");
    } else {
        q->show(o);
    }
    status = q->verdict ? q->verdict(o) : CLI_GOOD;
    json_decref(o);
    return status;
}

static int run(const struct question *q, int argc, char **argv)
{
    const char *positional[ARGS_POSITIONAL_MAX];
    struct args a;
    struct buf error = {0}, path = {0};
    int err = args_parse(&a, q->options, q->option_count, argc, argv, positional, &error);
    if (!err && a.help)
        return usage(q);
    if (!err && a.positional_count != (q->wants_node ? 1u : 0u))
        buf_cstr(&error, q->wants_node ? "needs the id of one storage node; see cairnctl nodes"
                                       : "takes options only");
    else if (!err && !a.help && q->wants_node && !is_node_id(a.positional[0]))
        buf_printf(&error, "'%.64s' is no node's id; see cairnctl nodes", a.positional[0]);
    if (error.len) {
        fprintf(stderr, "cairnctl %s: %.*s\nsee cairnctl %s --help\n", q->name, (int)error.len,
                (const char *)error.ptr, q->name);
        buf_fini(&error);
        return CLI_USAGE;
    }
    buf_cstr(&path, q->path);
    if (q->wants_node) {
        buf_u8(&path, '/');
        admin_client_escape(&path, a.positional[0]);
        buf_printf(&path, "/%s", q->name);
    }
    if (q->options == drain_options && arg_flag(&a, "plan"))
        buf_cstr(&path, "?plan=1");
    buf_u8(&path, 0);
    int status = path.failed ? CLI_USAGE : answer(q, &a, &path);
    buf_fini(&path);
    return status;
}

#define PLAIN options, ARRAY_COUNT(options)

int cmd_status(int argc, char **argv)
{
    static const struct question q = {
        "status",
        "GET",
        "status",
        false,
        PLAIN,
        "The cluster on one screen.  Exit status: 0 healthy, 1 degraded or critical, 2 not "
        "answered.",
        status_show,
        status_verdict};
    return run(&q, argc, argv);
}

int cmd_nodes(int argc, char **argv)
{
    static const struct question q = {
        "nodes", "GET", "nodes", false, PLAIN, "The storage nodes.", nodes_show, NULL};
    return run(&q, argc, argv);
}

int cmd_disks(int argc, char **argv)
{
    static const struct question q = {"disks",    "GET", "disks",
                                      false,      PLAIN, "The disks, as their nodes reported them.",
                                      disks_show, NULL};
    return run(&q, argc, argv);
}

int cmd_pgs(int argc, char **argv)
{
    static const struct question q = {"pgs",    "GET", "pgs", false, PLAIN, "The placement groups.",
                                      pgs_show, NULL};
    return run(&q, argc, argv);
}

int cmd_drain(int argc, char **argv)
{
    static const struct question q = {
        "drain",
        "POST",
        "nodes",
        true,
        drain_options,
        ARRAY_COUNT(drain_options),
        "Gives a storage node's places to others.  Of a node that is lost: gives it up.",
        drain_show,
        NULL};
    return run(&q, argc, argv);
}

int cmd_undrain(int argc, char **argv)
{
    static const struct question q = {"undrain",  "POST", "nodes",
                                      true,       PLAIN,  "Lets a storage node take places again.",
                                      drain_show, NULL};
    return run(&q, argc, argv);
}

int cmd_safe_to_remove(int argc, char **argv)
{
    static const struct question q = {
        "safe-to-remove",
        "GET",
        "nodes",
        true,
        PLAIN,
        "May a storage node be switched off for good?  Exit status: 0 yes, 1 no, 2 not answered.",
        safe_show,
        safe_verdict};
    return run(&q, argc, argv);
}
