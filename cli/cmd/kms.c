/* cairnctl kms: the keys that server-side encryption wraps data keys with, and the master keys that
 * wrap those.  No key material is ever shown, or leaves the gateway. */
#include "cli/cmd/commands.h"
#include "cli/cmd/question.h"
#include "cli/io/admin_client.h"
#include "common/base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static const struct arg_option options[] = {ADMIN_OPTIONS};
static const struct arg_option create_options[] = {
    {"account", ARG_TEXT, NULL, 0, 0,
     "whose key it is: 12 digits; only its users may use it, and the gateway for its buckets"},
    ADMIN_OPTIONS};

/* ---- what is shown ---- */

static const char *show_day(const json_t *o, const char *name)
{
    static char text[32];
    time_t s = (time_t)(show_number(o, name) / 1000);
    struct tm tm;
    if (!gmtime_r(&s, &tm) || !strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &tm))
        return "-";
    return text;
}

static void show_masters(const json_t *o)
{
    size_t i;
    const json_t *m;
    printf("%-24s %-8s %-8s %s\n", "MASTER KEY", "IN USE", "HERE", "");
    json_array_foreach(json_object_get(o, "master_keys"), i, m)
    {
        const char *note = "";
        if (show_true(m, "used") && !show_true(m, "here"))
            note = "needed, and not configured at this gateway";
        else if (show_true(m, "used") && !show_true(m, "same"))
            note = "another key under this id than the one that is needed";
        else if (show_true(m, "current"))
            note = "wraps what is new";
        else if (!show_true(m, "used"))
            note = "wraps nothing: may be removed, or is yet to be used by `cairnctl kms rewrap`";
        printf("%-24s %-8s %-8s %s\n", show_text(m, "id"), show_true(m, "used") ? "yes" : "no",
               show_true(m, "here") ? "yes" : "no", note);
    }
}

static void show_list(const json_t *o)
{
    size_t i, n;
    const json_t *k, *id;
    printf("%-32s %-12s %-9s %8s %-17s %-17s %s\n", "KEY", "ACCOUNT", "STATE", "VERSIONS", "MADE",
           "NEWEST VERSION", "MASTER KEY");
    json_array_foreach(json_object_get(o, "keys"), i, k)
    {
        printf("%-32s %-12s %-9s %8" PRIu64 " ", show_text(k, "name"), show_text(k, "account"),
               show_true(k, "enabled") ? "enabled" : "disabled", show_number(k, "versions"));
        printf("%-17s ", show_day(k, "created_ms"));
        printf("%-17s", show_day(k, "newest_ms"));
        json_array_foreach(json_object_get(k, "master_keys"), n, id)
            printf(" %s", json_string_value(id));
        printf("%s\n", show_true(k, "readable") ? "" : "  cannot be unwrapped here");
    }
    printf("\n");
    show_masters(o);
}

static void show_change(const json_t *o)
{
    printf("%s: %s\n", show_text(o, "name"),
           show_true(o, "changed") ? "done" : "it was so already");
}

static void show_rewrap(const json_t *o)
{
    printf("%" PRIu64 " of %" PRIu64 " keys were wrapped anew; all are under master key %s, and no "
           "other is needed\n",
           show_number(o, "rewrapped"), show_number(o, "keys"), show_text(o, "master_key"));
}

/* Is every key readable here, and every master key that is needed the right one? */
static int check_verdict(const json_t *o)
{
    size_t i;
    const json_t *k;
    bool good = true;
    json_array_foreach(json_object_get(o, "keys"), i, k) good &= show_true(k, "readable");
    json_array_foreach(json_object_get(o, "master_keys"), i, k) good &=
        !show_true(k, "used") || show_true(k, "same");
    return good ? CLI_GOOD : CLI_BAD;
}

/* ---- the commands ---- */

#define OPTIONS options, ARRAY_COUNT(options)
static const struct question questions[] = {
    {"kms list", "GET", "kms", NULL, NODE_NONE, OPTIONS,
     "The keys of encryption, and the master keys that they are wrapped with.", show_list, NULL},
    {"kms create", "POST", "kms", "create", KEY_ONE, create_options, ARRAY_COUNT(create_options),
     "Makes a key that requests and buckets can name (SSE-KMS): everybody's, or an account's.",
     show_change, NULL},
    {"kms rotate", "POST", "kms", "rotate", KEY_ONE, OPTIONS,
     "Gives a key a new version, with which new data keys are wrapped; older versions stay for "
     "what they have wrapped.  `sse-s3` is the key of SSE-S3.",
     show_change, NULL},
    {"kms enable", "POST", "kms", "enable", KEY_ONE, OPTIONS, "Lets a key be used again.",
     show_change, NULL},
    {"kms disable", "POST", "kms", "disable", KEY_ONE, OPTIONS,
     "From the next request on nothing is encrypted or decrypted with a key.", show_change, NULL},
    {"kms rewrap", "POST", "kms/rewrap", NULL, NODE_NONE, OPTIONS,
     "Wraps all keys anew under the asked gateway's newest master key, the first of its list; no "
     "data are touched.  Broken off, it may simply be run again.  Afterwards the other master keys "
     "may be "
     "removed from the gateways' lists: see `kms check`.",
     show_rewrap, NULL},
    {"kms check", "GET", "kms", NULL, NODE_NONE, OPTIONS,
     "Whether the asked gateway has all master keys that are needed.  Exit status: 0 it has, 1 it "
     "has not, 2 not answered.",
     show_list, check_verdict},
};

int cmd_kms(int argc, char **argv)
{
    for (size_t i = 0; argc > 0 && i < ARRAY_COUNT(questions); i++)
        if (strcmp(argv[0], strrchr(questions[i].name, ' ') + 1) == 0)
            return question_run(&questions[i], argc - 1, argv + 1);
    struct word words[ARRAY_COUNT(questions)];
    for (size_t i = 0; i < ARRAY_COUNT(questions); i++)
        words[i] =
            (struct word){questions[i].name, question_operands(&questions[i]), questions[i].help};
    return words_usage("kms", words, ARRAY_COUNT(words),
                       argc > 0 && strcmp(argv[0], "--help") == 0);
}
