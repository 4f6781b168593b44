/* cairnctl user, key, policy, account: identities, told to a gateway.  docs/operations.md.
 *
 * Secrets of the command line are seen by everybody who lists processes: they are also read from
 * standard input ("--secret-key -") and from CAIRN_SECRET_KEY. */
#include "cli/args/args.h"
#include "cli/cmd/commands.h"
#include "cli/cmd/question.h"
#include "cli/io/admin_client.h"
#include "common/base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ACCOUNT_OPTION                                                                             \
    {                                                                                              \
        "account", ARG_TEXT, NULL, 0, 0,                                                           \
            "12 digits, or its name; else the account that the cluster was founded with"           \
    }
#define KEY_OPTIONS                                                                                \
    {"access-key", ARG_TEXT, NULL, 0, 0, "its id; else one is made"},                              \
    {                                                                                              \
        "secret-key", ARG_TEXT, NULL, 0, 0,                                                        \
            "of the access key; -: the first line of standard input; else CAIRN_SECRET_KEY"        \
    }

static const struct arg_option plain_options[] = {ADMIN_OPTIONS, ACCOUNT_OPTION};
static const struct arg_option no_account_options[] = {ADMIN_OPTIONS};
static const struct arg_option key_options[] = {ADMIN_OPTIONS, ACCOUNT_OPTION, KEY_OPTIONS};
static const struct arg_option describe_options[] = {
    ADMIN_OPTIONS,
    {"display-name", ARG_TEXT, NULL, 0, 0, "as S3 shows the owner of what the account has"},
    {"email", ARG_TEXT, NULL, 0, 0, "of the account; no other may have it"},
};
static const struct arg_option create_options[] = {
    ADMIN_OPTIONS,
    {"account", ARG_TEXT, NULL, 0, 0,
     "12 digits, or a name: made if there is none yet; else the account that the cluster was "
     "founded with"},
    {"display-name", ARG_TEXT, NULL, 0, 0,
     "of an account that is made, as S3 shows the owner of what it has; else of the user"},
    {"email", ARG_TEXT, NULL, 0, 0, "likewise; no other account may have it"},
    KEY_OPTIONS,
    {"no-policy", ARG_FLAG, NULL, 0, 0, "may nothing; else AmazonS3FullAccess is attached"},
};

struct identity_command {
    const char *name, *positional; /* as usage shows it */
    const char *method, *path;     /* NULL action: path; else path/USER/action */
    const char *action;
    const struct arg_option *options;
    size_t option_count;
    const char *second; /* what the second positional is called in the body */
    const char *help;
    void (*show)(const json_t *answer);
};

/* ---- answers ---- */

static void list_show(const json_t *array)
{
    size_t i;
    const json_t *x;
    json_array_foreach(array, i, x) printf("%s%s", i ? ", " : "", json_string_value(x));
    if (json_array_size(array) == 0)
        printf("-");
    printf("\n");
}

static void user_show(const json_t *o)
{
    static const struct {
        const char *label, *name;
    } rows[] = {
        {"user", "user_name"},
        {"user id", "user_id"},
        {"arn", "arn"},
        {"account", "account_id"},
        {"account name", "account_name"},
        {"canonical id", "canonical_id"},
        {"display name", "display_name"},
        {"email", "email"},
        {"access key", "access_key"},
        {"secret key", "secret_key"},
        {"boundary", "boundary"},
    };
    const json_t *keys = json_object_get(o, "keys"), *k;
    size_t i;
    for (i = 0; i < ARRAY_COUNT(rows); i++) {
        const char *text = json_string_value(json_object_get(o, rows[i].name));
        if (text && *text)
            printf("%-13s %s\n", rows[i].label, text);
    }
    printf("%-13s ", "policies");
    list_show(json_object_get(o, "policies"));
    if (json_array_size(json_object_get(o, "inline_policies"))) {
        printf("%-13s ", "inline");
        list_show(json_object_get(o, "inline_policies"));
    }
    if (json_array_size(json_object_get(o, "groups"))) {
        printf("%-13s ", "groups");
        list_show(json_object_get(o, "groups"));
    }
    json_array_foreach(keys, i, k) printf("%-13s %s%s\n", "key", show_text(k, "access_key"),
                                          show_true(k, "enabled") ? "" : " (inactive)");
}

static void created_show(const json_t *o)
{
    user_show(o);
    printf("\nThe secret key is not shown again.\n");
    if (json_array_size(json_object_get(o, "policies")))
        printf(
            "The user may do everything in the account's buckets: AmazonS3FullAccess is attached "
            "(--no-policy: nothing).\n");
}

static void users_show(const json_t *o)
{
    size_t i;
    const json_t *u;
    printf("%-24s %-22s %-13s %4s %8s  %s\n", "USER", "ID", "ACCOUNT", "KEYS", "POLICIES", "ARN");
    json_array_foreach(json_object_get(o, "users"), i, u) printf(
        "%-24s %-22s %-13s %4zu %8zu  %s\n", show_text(u, "user_name"), show_text(u, "user_id"),
        show_text(u, "account_id"), json_array_size(json_object_get(u, "access_keys")),
        json_array_size(json_object_get(u, "policies")), show_text(u, "arn"));
}

static void deleted_show(const json_t *o)
{
    printf("%s is deleted, with its keys; no gateway lets it in any more\n",
           show_text(o, "user_name"));
}

static void key_show(const json_t *o)
{
    printf("access key    %s\nsecret key    %s\n\nThe secret key is not shown again.\n",
           show_text(o, "access_key"), show_text(o, "secret_key"));
}

static void keys_show(const json_t *o)
{
    size_t i;
    const json_t *k;
    json_array_foreach(json_object_get(o, "keys"), i, k) printf(
        "%-24s %s\n", show_text(k, "access_key"), show_true(k, "enabled") ? "active" : "inactive");
}

static void key_deleted_show(const json_t *o)
{
    printf("%s is deleted; no gateway takes it any more\n", show_text(o, "access_key"));
}

static void policies_show(const json_t *o)
{
    printf("%s: ", show_text(o, "user_name"));
    list_show(json_object_get(o, "policies"));
}

static void account_show(const json_t *o)
{
    printf("account       %s\nname          %s\ncanonical id  %s\ndisplay name  %s\nemail         "
           "%s\n",
           show_text(o, "account_id"), show_text(o, "name"), show_text(o, "canonical_id"),
           show_text(o, "display_name"), show_text(o, "email"));
}

/* With what its buckets may hold, and do. */
static void one_account_show(const json_t *o)
{
    static const struct {
        const char *what, *max, *used;
        bool bytes;
    } rows[] = {{"bytes", "bytes_max", "bytes", true},
                {"objects", "objects_max", "versions", false}};
    const json_t *quota = json_object_get(o, "quota"), *usage = json_object_get(quota, "usage");
    account_show(o);
    for (size_t i = 0; json_is_object(quota) && i < ARRAY_COUNT(rows); i++) {
        bool bound = json_is_integer(json_object_get(quota, rows[i].max));
        printf("%-13s ", rows[i].what);
        if (!json_is_object(usage))
            printf("not counted yet");
        else if (rows[i].bytes)
            printf("%s", show_bytes(show_number(usage, rows[i].used)));
        else
            printf("%" PRIu64, show_number(usage, rows[i].used));
        if (bound && rows[i].bytes)
            printf(" of %s\n", show_bytes(show_number(quota, rows[i].max)));
        else if (bound)
            printf(" of %" PRIu64 "\n", show_number(quota, rows[i].max));
        else
            printf("\n");
    }
    if (json_is_object(usage))
        printf("%-13s %" PRIu64 "\n", "buckets", show_number(usage, "buckets"));
    if (!json_is_object(quota))
        printf("%-13s none: what it has is not counted\n", "quota");
}

static void accounts_show(const json_t *o)
{
    size_t i;
    const json_t *a;
    printf("%-13s %-24s %-24s %s\n", "ACCOUNT", "NAME", "DISPLAY NAME", "CANONICAL ID");
    json_array_foreach(json_object_get(o, "accounts"), i, a)
        printf("%-13s %-24s %-24s %s\n", show_text(a, "account_id"), show_text(a, "name"),
               show_text(a, "display_name"), show_text(a, "canonical_id"));
}

/* ---- what is asked ---- */

static const struct arg_option *option_of(const struct identity_command *c, const char *name)
{
    for (size_t i = 0; i < c->option_count; i++)
        if (strcmp(c->options[i].name, name) == 0)
            return &c->options[i];
    return NULL;
}

/* In a buffer of its own; NULL: there is none. */
static const char *secret_key(const struct args *a, char *text, size_t size)
{
    const char *given = arg_text(a, "secret-key");
    if (!given)
        return getenv("CAIRN_SECRET_KEY");
    if (strcmp(given, "-") != 0)
        return given;
    if (!fgets(text, (int)size, stdin))
        return NULL;
    text[strcspn(text, "\r\n")] = 0;
    return text;
}

/* false: a secret is missing. */
static bool body_make(const struct identity_command *c, const struct args *a, json_t *body)
{
    static const struct {
        const char *option, *name;
    } texts[] = {{"account", "account"},
                 {"display-name", "display_name"},
                 {"email", "email"},
                 {"access-key", "access_key"}};
    char line[256];
    bool good = true;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        if (option_of(c, texts[i].option) && arg_text(a, texts[i].option))
            json_object_set_new(body, texts[i].name, json_string(arg_text(a, texts[i].option)));
    if (option_of(c, "no-policy") && arg_flag(a, "no-policy"))
        json_object_set_new(body, "no_policy", json_true());
    if (!c->action && c->positional)
        json_object_set_new(body, "name", json_string(a->positional[0]));
    if (c->second)
        json_object_set_new(body, c->second, json_string(a->positional[1]));
    if (option_of(c, "secret-key") && (arg_text(a, "access-key") || arg_text(a, "secret-key"))) {
        const char *secret = secret_key(a, line, sizeof(line));
        good = secret && *secret;
        if (good)
            json_object_set_new(body, "secret_key", json_string(secret));
        explicit_bzero(line, sizeof(line));
    }
    return good;
}

static void path_make(const struct identity_command *c, const struct args *a, struct buf *path)
{
    buf_cstr(path, c->path);
    if (c->action) {
        buf_u8(path, '/');
        admin_client_escape(path, a->positional[0]);
        buf_printf(path, "/%s", c->action);
    }
    if (c->method[0] == 'G' && option_of(c, "account") && arg_text(a, "account")) {
        buf_cstr(path, "?account=");
        admin_client_escape(path, arg_text(a, "account"));
    }
    buf_u8(path, 0);
}

static int ask(const struct identity_command *c, const struct args *a)
{
    struct buf path = {0};
    json_t *body = c->method[0] == 'P' ? json_object() : NULL;
    if (body && !body_make(c, a, body)) {
        fprintf(stderr,
                "cairnctl %s: the secret key is not known: --secret-key -, or CAIRN_SECRET_KEY\n",
                c->name);
        json_decref(body);
        return CLI_USAGE;
    }
    path_make(c, a, &path);
    int status = admin_client_show(a, c->name, c->method, &path, body, c->show, NULL);
    buf_fini(&path);
    json_decref(body);
    return status;
}

static int usage(const struct identity_command *c)
{
    struct buf help = {0};
    args_help(c->options, c->option_count, &help);
    printf("usage: cairnctl %s%s%s [OPTION...]\n\n%s  Exit status: 0 done, 2 refused or not "
           "answered.\n\n%.*s",
           c->name, c->positional ? " " : "", c->positional ? c->positional : "", c->help,
           (int)help.len, (const char *)help.ptr);
    buf_fini(&help);
    return CLI_GOOD;
}

static int run(const struct identity_command *c, int argc, char **argv)
{
    const char *positional[ARGS_POSITIONAL_MAX];
    struct args a;
    struct buf error = {0};
    size_t want = c->second ? 2 : c->positional ? 1 : 0;
    int err = args_parse(&a, c->options, c->option_count, argc, argv, positional, &error);
    if (!err && a.help)
        return usage(c);
    if (!err && a.positional_count != want)
        buf_printf(&error, "takes %s", want ? c->positional : "options only");
    if (error.len) {
        fprintf(stderr, "cairnctl %s: %.*s\nsee cairnctl %s --help\n", c->name, (int)error.len,
                (const char *)error.ptr, c->name);
        buf_fini(&error);
        return CLI_USAGE;
    }
    return ask(c, &a);
}

#define WORDS_MAX 4

/* One of some words follows the command. */
static int dispatch(const char *command, const struct identity_command *c, size_t count, int argc,
                    char **argv)
{
    for (size_t i = 0; argc > 0 && i < count; i++)
        if (strcmp(argv[0], strrchr(c[i].name, ' ') + 1) == 0)
            return run(&c[i], argc - 1, argv + 1);
    struct word words[WORDS_MAX];
    CHECK(count <= WORDS_MAX);
    for (size_t i = 0; i < count; i++)
        words[i] = (struct word){c[i].name, c[i].positional ? c[i].positional : "", c[i].help};
    return words_usage(command, words, count, argc > 0 && strcmp(argv[0], "--help") == 0);
}

/* ---- the commands ---- */

#define OPTIONS(table) table, ARRAY_COUNT(table)

int cmd_user(int argc, char **argv)
{
    static const struct identity_command c[] = {
        {"user create", "NAME", "POST", "users", NULL, OPTIONS(create_options), NULL,
         "Makes a user with an access key.  Without --no-policy it may do everything in its "
         "account's buckets (AmazonS3FullAccess is attached).",
         created_show},
        {"user list", NULL, "GET", "users", NULL, OPTIONS(plain_options), NULL,
         "The users of an account.", users_show},
        {"user show", "NAME", "GET", "users", "show", OPTIONS(plain_options), NULL,
         "A user, with the ids of its keys.", user_show},
        {"user delete", "NAME", "POST", "users", "delete", OPTIONS(plain_options), NULL,
         "Deletes a user, its keys, memberships and inline policies.", deleted_show},
    };
    return dispatch("user", c, ARRAY_COUNT(c), argc, argv);
}

int cmd_key(int argc, char **argv)
{
    static const struct identity_command c[] = {
        {"key create", "USER", "POST", "users", "create-key", OPTIONS(key_options), NULL,
         "Gives a user another access key; two are the most.", key_show},
        {"key list", "USER", "GET", "users", "keys", OPTIONS(plain_options), NULL,
         "The ids of a user's access keys.", keys_show},
        {"key delete", "USER ACCESS-KEY", "POST", "users", "delete-key", OPTIONS(plain_options),
         "access_key", "Deletes an access key.", key_deleted_show},
    };
    return dispatch("key", c, ARRAY_COUNT(c), argc, argv);
}

int cmd_policy(int argc, char **argv)
{
    static const struct identity_command c[] = {
        {"policy attach", "USER ARN", "POST", "users", "attach", OPTIONS(plain_options), "policy",
         "Attaches a managed policy, as arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess, to a user.",
         policies_show},
        {"policy detach", "USER ARN", "POST", "users", "detach", OPTIONS(plain_options), "policy",
         "Detaches a managed policy from a user.", policies_show},
    };
    return dispatch("policy", c, ARRAY_COUNT(c), argc, argv);
}

int cmd_account(int argc, char **argv)
{
    static const struct identity_command c[] = {
        {"account create", "NAME", "POST", "accounts", NULL, OPTIONS(describe_options), NULL,
         "Makes an account: what its users make belongs to it, and to nobody else.", account_show},
        {"account list", NULL, "GET", "accounts", NULL, OPTIONS(no_account_options), NULL,
         "All accounts.", accounts_show},
        {"account show", "ACCOUNT", "GET", "accounts", "show", OPTIONS(no_account_options), NULL,
         "An account by its 12 digits or its name, its quota, and what was last counted for it.",
         one_account_show},
    };
    return dispatch("account", c, ARRAY_COUNT(c), argc, argv);
}
