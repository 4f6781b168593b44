/* cairnctl repair status, scrub start, scrub status: what the storage nodes say of both. */
#include "cli/cmd/commands.h"
#include "cli/cmd/question.h"
#include "cli/io/admin_client.h"
#include "common/base/check.h"

#include <inttypes.h>
#include <stdio.h>

static const struct arg_option options[] = {ADMIN_OPTIONS};
static const struct arg_option start_options[] = {
    ADMIN_OPTIONS,
    {"deep", ARG_FLAG, NULL, 0, 0,
     "not each shard by itself, but whether the shards of each blob agree; of the groups that the "
     "node "
     "repairs"},
};

static bool all_answer(const json_t *o)
{
    size_t i;
    const json_t *n;
    json_array_foreach(json_object_get(o, "nodes"), i,
                       n) if (!show_true(n, "answers")) return false;
    return true;
}

/* ---- repair ---- */

static void repair_show(const json_t *o)
{
    size_t i;
    const json_t *n;
    printf("to do      %s, %" PRIu64 " shards, %" PRIu64 " blobs endangered, %" PRIu64
           " beyond repair now; %" PRIu64 " changes planned\n",
           show_bytes(show_number(o, "backlog_bytes")), show_number(o, "missing"),
           show_number(o, "endangered"), show_number(o, "beyond"), show_number(o, "planned"));
    printf("rate       %s/s, done in %s\n", show_bytes(show_number(o, "bytes_per_sec")),
           show_seconds(o, "eta_s"));
    printf("done       %s, %" PRIu64 " shards\n\n", show_bytes(show_number(o, "repaired_bytes")),
           show_number(o, "repaired_shards"));
    printf("%-20s %11s %9s %11s %11s %9s %9s %7s\n", "NODE", "TO DO", "MISSING", "PER SECOND",
           "DONE", "SHARDS", "PASSES", "FAILED");
    json_array_foreach(json_object_get(o, "nodes"), i, n)
    {
        if (!show_true(n, "answers")) {
            printf("%-20s does not answer\n", show_text(n, "node"));
            continue;
        }
        printf("%-20s %11s %9" PRIu64 " %11s %11s %9" PRIu64 " %9" PRIu64 " %7" PRIu64 "\n",
               show_text(n, "node"), show_bytes(show_number(n, "backlog_bytes")),
               show_number(n, "missing"), show_bytes(show_number(n, "bytes_per_sec")),
               show_bytes(show_number(n, "repaired_bytes")), show_number(n, "repaired_shards"),
               show_number(n, "passes"), show_number(n, "passes_failed"));
    }
    json_array_foreach(json_object_get(o, "groups"), i, n)
        printf("group %" PRIu64 ": %" PRIu64 " shards missing, %" PRIu64 " blobs endangered (%s)\n",
               show_number(n, "pg"), show_number(n, "missing"), show_number(n, "endangered"),
               show_text(n, "node"));
}

static int repair_verdict(const json_t *o)
{
    bool good =
        all_answer(o) &&
        show_number(o, "missing") + show_number(o, "endangered") + show_number(o, "beyond") == 0;
    return good ? CLI_GOOD : CLI_BAD;
}

/* ---- scrub ---- */

static void started_show(const json_t *o)
{
    size_t i;
    const json_t *n;
    json_array_foreach(json_object_get(o, "nodes"), i, n)
        printf("%s: %s%s\n", show_text(n, "node"),
               show_true(n, "started") ? "a round has begun" : "not started: ",
               show_true(n, "started") ? "" : show_text(n, "error"));
    printf("`cairnctl scrub status` tells how far it is\n");
}

static int started_verdict(const json_t *o)
{
    return show_number(o, "failed") == 0 && show_number(o, "started") > 0 ? CLI_GOOD : CLI_BAD;
}

/* Of a round that was asked for, how much is done; else "-". */
static const char *progress(bool asked, uint64_t left, uint64_t total)
{
    static char text[8];
    if (!asked)
        return "-";
    snprintf(text, sizeof(text), "%.0f%%",
             total ? 100.0 * (1 - (double)MIN(left, total) / (double)total) : 100.0);
    return text;
}

static void disks_show(const json_t *node)
{
    size_t i;
    const json_t *d;
    json_array_foreach(json_object_get(node, "disks"), i, d) printf(
        "%-20s %11s %7s %8" PRIu64 " %11s %7" PRIu64 " %7" PRIu64 "  %s\n", show_text(node, "node"),
        show_seconds(d, "oldest_age_s"),
        progress(show_true(d, "asked"), show_number(d, "left_bytes"), show_number(d, "live_bytes")),
        show_number(d, "passes"), show_bytes(show_number(d, "bytes")), show_number(d, "found"),
        show_number(d, "mended"), show_text(d, "path"));
}

static void deep_show(const json_t *o)
{
    size_t i;
    const json_t *n;
    printf("\n%-20s %11s %7s %8s %9s %7s %7s %8s %9s\n", "DEEP", "OLDEST", "ROUND", "ENDED",
           "BLOBS", "FOUND", "MENDED", "UNPROVEN", "UNCHECKED");
    json_array_foreach(json_object_get(o, "nodes"), i, n)
    {
        const json_t *d = json_object_get(n, "deep");
        if (!json_is_object(d))
            continue;
        printf("%-20s %11s %7s %8" PRIu64 " %9" PRIu64 " %7" PRIu64 " %7" PRIu64 " %8" PRIu64
               " %9" PRIu64 "\n",
               show_text(n, "node"), show_seconds(d, "oldest_age_s"),
               progress(show_true(d, "asked"), show_number(d, "left"), show_number(d, "total")),
               show_number(d, "rounds"), show_number(d, "blobs"), show_number(d, "found"),
               show_number(d, "mended"), show_number(d, "unproven"), show_number(d, "unchecked"));
    }
}

static void scrub_show(const json_t *o)
{
    size_t i;
    const json_t *n;
    printf("%-20s %11s %7s %8s %11s %7s %7s  %s\n", "NODE", "OLDEST", "ROUND", "ENDED", "READ",
           "FOUND", "MENDED", "DISK");
    json_array_foreach(json_object_get(o, "nodes"), i, n)
    {
        if (show_true(n, "answers"))
            disks_show(n);
        else
            printf("%-20s does not answer\n", show_text(n, "node"));
    }
    deep_show(o);
}

static int scrub_verdict(const json_t *o)
{
    return all_answer(o) && show_number(o, "unproven") == 0 ? CLI_GOOD : CLI_BAD;
}

/* ---- the commands ---- */

#define WORDS_MAX 2

/* One of two words follows the command. */
static int dispatch(const char *command, const struct question *q, size_t count, int argc,
                    char **argv)
{
    for (size_t i = 0; argc > 0 && i < count; i++)
        if (strcmp(argv[0], strrchr(q[i].name, ' ') + 1) == 0)
            return question_run(&q[i], argc - 1, argv + 1);
    struct word words[WORDS_MAX];
    CHECK(count <= WORDS_MAX);
    for (size_t i = 0; i < count; i++)
        words[i] = (struct word){q[i].name, question_operands(&q[i]), q[i].help};
    return words_usage(command, words, count, argc > 0 && strcmp(argv[0], "--help") == 0);
}

int cmd_repair(int argc, char **argv)
{
    static const struct question q[] = {{
        "repair status",
        "GET",
        "repair",
        NULL,
        NODE_NONE,
        options,
        ARRAY_COUNT(options),
        "What is left to repair, by node and group, and how fast it goes.  Exit status: 0 nothing "
        "is "
        "missing, 1 something is, or a node does not answer, 2 not answered.",
        repair_show,
        repair_verdict,
    }};
    return dispatch("repair", q, ARRAY_COUNT(q), argc, argv);
}

int cmd_scrub(int argc, char **argv)
{
    static const struct question q[] = {
        {
            "scrub start",
            "POST",
            "nodes",
            "scrub",
            NODE_MAYBE,
            start_options,
            ARRAY_COUNT(start_options),
            "Begins a round of the scrub now, on every storage node or on one.  Exit status: 0 all "
            "that were "
            "asked have begun, 1 some have not, 2 not answered.",
            started_show,
            started_verdict,
        },
        {
            "scrub status",
            "GET",
            "scrub",
            NULL,
            NODE_NONE,
            options,
            ARRAY_COUNT(options),
            "How old the oldest unverified byte of each disk is, how far a round that was asked "
            "for is, what "
            "was found and mended.  Exit status: 0 good, 1 a node does not answer, or shards of a "
            "blob disagree "
            "and none can be proven, 2 not answered.",
            scrub_show,
            scrub_verdict,
        },
    };
    return dispatch("scrub", q, ARRAY_COUNT(q), argc, argv);
}
