/* cairnctl quota: what buckets and accounts may hold, told to a gateway.  docs/operations.md. */
#include "cli/cmd/commands.h"
#include "cli/cmd/question.h"
#include "cli/io/admin_client.h"
#include "common/base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define WHOSE_OPTIONS                                                                              \
    {"bucket", ARG_TEXT, NULL, 0, 0, "whose quota it is"},                                         \
    {                                                                                              \
        "account", ARG_TEXT, NULL, 0, 0,                                                           \
            "the same of an account, of all that its buckets hold: 12 digits, or its name"         \
    }

static const struct arg_option list_options[] = {ADMIN_OPTIONS};
static const struct arg_option whose_options[] = {ADMIN_OPTIONS, WHOSE_OPTIONS};
/* Numbers of options are doubles: whole up to 2^53. */
static const struct arg_option set_options[] = {
    ADMIN_OPTIONS,
    WHOSE_OPTIONS,
    {"max-bytes", ARG_BYTES, NULL, 1, 9e15, "of all versions together; left out: no bound"},
    {"max-objects", ARG_COUNT, NULL, 1, 9e15,
     "versions of objects, without delete markers; left out: no bound"},
};

struct quota_command {
    const char *name, *method;
    const char *of_bucket, *of_account; /* NULL: of all buckets and accounts */
    const struct arg_option *options;
    size_t option_count;
    const char *help;
    void (*show)(const json_t *answer);
};

/* ---- answers ---- */

static bool known(const json_t *o, const char *name)
{
    return json_is_integer(json_object_get(o, name));
}

static const char *bytes_text(const json_t *o, const char *name)
{
    return known(o, name) ? show_bytes(show_number(o, name)) : "-";
}

static void number_print(const json_t *o, const char *name)
{
    if (known(o, name))
        printf(" %12" PRIu64, show_number(o, name));
    else
        printf(" %12s", "-");
}

static const char *when_text(const json_t *o)
{
    static char text[32];
    time_t s = (time_t)(show_number(o, "measured_ms") / 1000);
    struct tm tm;
    if (!known(o, "measured_ms") || !gmtime_r(&s, &tm) ||
        !strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm))
        return "not yet";
    return text;
}

static void head_print(const char *of)
{
    printf("%-32s %12s %12s %12s %12s  %s\n", of, "MAX BYTES", "USED", "MAX OBJECTS", "USED",
           "COUNTED (UTC)");
}

static const char *whose(const json_t *o)
{
    return show_text(o, json_object_get(o, "account") ? "account" : "bucket");
}

static void row_print(const json_t *o)
{
    const json_t *usage = json_object_get(o, "usage");
    char text[33];
    const char *name = json_string_value(json_object_get(o, "account_name"));
    snprintf(text, sizeof(text), "%s%s%s", whose(o), name ? " " : "", name ? name : "");
    printf("%-32s %12s", name ? text : whose(o), bytes_text(o, "bytes_max"));
    printf(" %12s", bytes_text(usage, "bytes"));
    number_print(o, "objects_max");
    number_print(usage, "versions");
    printf("  %s\n", when_text(usage));
}

static void one_show(const json_t *o)
{
    head_print(json_object_get(o, "account") ? "ACCOUNT" : "BUCKET");
    row_print(o);
}

static void list_show(const json_t *o)
{
    const json_t *accounts = json_object_get(o, "accounts"), *one;
    size_t i;
    head_print("BUCKET");
    json_array_foreach(json_object_get(o, "quotas"), i, one) row_print(one);
    if (json_array_size(accounts) == 0)
        return;
    printf("\n");
    head_print("ACCOUNT");
    json_array_foreach(accounts, i, one) row_print(one);
}

static void set_show(const json_t *o)
{
    printf("%s: the quota holds from the next request on; what is there is counted soon\n",
           whose(o));
}

static void deleted_show(const json_t *o)
{
    printf("%s: %s\n", whose(o),
           show_true(o, "changed") ? "has no quota any more" : "had no quota");
}

/* ---- what is asked ---- */

static const struct {
    const char *option, *name;
} bounds[] = {{"max-bytes", "max_bytes"}, {"max-objects", "max_objects"}};

/* Of an account the bounds are said in the body. */
static json_t *body_make(const struct quota_command *c, const struct args *a)
{
    json_t *body = json_object();
    for (size_t i = 0; c->options == set_options && i < ARRAY_COUNT(bounds); i++)
        if (arg_given(a, bounds[i].option))
            json_object_set_new(body, bounds[i].name,
                                json_integer((json_int_t)arg_number(a, bounds[i].option)));
    return body;
}

static void path_make(const struct quota_command *c, const struct args *a, struct buf *path)
{
    const char *account = c->of_account ? arg_text(a, "account") : NULL;
    char separator = '?';
    buf_cstr(path, account ? "accounts" : "quota");
    if (c->of_bucket) {
        buf_u8(path, '/');
        admin_client_escape(path, account ? account : arg_text(a, "bucket"));
        buf_printf(path, "/%s", account ? c->of_account : c->of_bucket);
    }
    for (size_t i = 0; !account && c->options == set_options && i < ARRAY_COUNT(bounds); i++) {
        if (!arg_given(a, bounds[i].option))
            continue;
        buf_printf(path, "%c%s=%.0f", separator, bounds[i].name, arg_number(a, bounds[i].option));
        separator = '&';
    }
    buf_u8(path, 0);
}

static int ask(const struct quota_command *c, const struct args *a)
{
    struct buf path = {0};
    bool tells = c->of_account && arg_text(a, "account") && c->method[0] == 'P';
    json_t *body = tells ? body_make(c, a) : NULL;
    path_make(c, a, &path);
    int status = admin_client_show(a, c->name, c->method, &path, body, c->show, NULL);
    buf_fini(&path);
    json_decref(body);
    return status;
}

#define WHOSE " --bucket B|--account A"

static int usage(const struct quota_command *c)
{
    struct buf help = {0};
    args_help(c->options, c->option_count, &help);
    printf("usage: cairnctl %s%s [OPTION...]\n\n%s  Exit status: 0 done, 2 refused or not "
           "answered.\n\n%.*s",
           c->name, c->of_bucket ? WHOSE : "", c->help, (int)help.len, (const char *)help.ptr);
    buf_fini(&help);
    return CLI_GOOD;
}

static void check(const struct quota_command *c, const struct args *a, struct buf *error)
{
    const char *bucket = c->of_bucket ? arg_text(a, "bucket") : NULL;
    const char *account = c->of_account ? arg_text(a, "account") : NULL;
    const char *one = bucket ? bucket : account;
    if (a->positional_count)
        buf_cstr(error, "takes options only");
    else if (c->of_bucket && (!one || !*one || strchr(one, '/') || (bucket && account)))
        buf_cstr(error, "needs --bucket, the name of one bucket, or --account, of one account");
    else if (c->options == set_options && !arg_given(a, "max-bytes") &&
             !arg_given(a, "max-objects"))
        buf_cstr(error, "needs --max-bytes, --max-objects, or both");
}

static int run(const struct quota_command *c, int argc, char **argv)
{
    const char *positional[ARGS_POSITIONAL_MAX];
    struct args a;
    struct buf error = {0};
    int err = args_parse(&a, c->options, c->option_count, argc, argv, positional, &error);
    if (!err && a.help)
        return usage(c);
    if (!err)
        check(c, &a, &error);
    if (error.len) {
        fprintf(stderr, "cairnctl %s: %.*s\nsee cairnctl %s --help\n", c->name, (int)error.len,
                (const char *)error.ptr, c->name);
        buf_fini(&error);
        return CLI_USAGE;
    }
    return ask(c, &a);
}

#define OPTIONS(table) table, ARRAY_COUNT(table)
static const struct quota_command commands[] = {
    {"quota set", "POST", "set", "set-quota", OPTIONS(set_options),
     "Bounds what a bucket may hold, or all buckets of an account together; the bounds that there "
     "were are replaced.",
     set_show},
    {"quota show", "GET", "show", "quota", OPTIONS(whose_options),
     "A bucket's or an account's quota, and what was last counted for it.", one_show},
    {"quota list", "GET", NULL, NULL, OPTIONS(list_options),
     "All buckets and accounts that have a quota.", list_show},
    {"quota delete", "POST", "delete", "delete-quota", OPTIONS(whose_options),
     "Takes a bucket's or an account's quota away; nothing that is stored is touched.",
     deleted_show},
};

int cmd_quota(int argc, char **argv)
{
    for (size_t i = 0; argc > 0 && i < ARRAY_COUNT(commands); i++)
        if (strcmp(argv[0], strrchr(commands[i].name, ' ') + 1) == 0)
            return run(&commands[i], argc - 1, argv + 1);
    struct word words[ARRAY_COUNT(commands)];
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        words[i] = (struct word){commands[i].name, commands[i].of_bucket ? &WHOSE[1] : "",
                                 commands[i].help};
    return words_usage("quota", words, ARRAY_COUNT(words),
                       argc > 0 && strcmp(argv[0], "--help") == 0);
}
