/* The parameters of a process from all their sources; see config.h. */
#include "common/config/config.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/config/config_value.h"
#include "common/config/yaml_tree.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_CHARS_MAX 64

const struct config_param config_common_params[] = {
    {.name = "node_id", .type = CONFIG_STRING, .flags = CONFIG_REQUIRED,
     .help = "Name of this node, unique in the cluster; as in its certificate."},
    {.name = "zone", .type = CONFIG_STRING, .help = "Zone that this node fails with."},
    {.name = "listen", .type = CONFIG_ADDRESS, .value = "127.0.0.1:0",
     .help = "Address for the cluster's RPC."},
    {.name = "admin_listen", .type = CONFIG_ADDRESS,
     .help = "Address of /metrics, /healthz, /readyz; none: no admin server."},
    {.name = "data_dir", .type = CONFIG_STRING, .help = "Directory for this node's data."},
    {.name = "cluster_file", .type = CONFIG_STRING, .help = "The file that all nodes share."},
    {.name = "tls_ca", .type = CONFIG_STRING, .help = "PEM file of the cluster's CA."},
    {.name = "tls_cert", .type = CONFIG_STRING, .help = "PEM file of this node's certificate."},
    {.name = "tls_key", .type = CONFIG_STRING, .help = "PEM file of its private key."},
    {.name = "log_level", .type = CONFIG_STRING, .value = "info", .help = "debug, info, warn or error."},
    {.name = "log_file", .type = CONFIG_STRING, .value = "-", .help = "Log file; - is standard error."},
    {.name = "log_format", .type = CONFIG_STRING, .value = "text", .help = "text or json."},
};
const size_t config_common_count = ARRAY_COUNT(config_common_params);

struct value {
    const struct config_param *param;
    char *text;   /* NULL: not set */
    char *source;
    int64_t number;
};

struct config {
    const char *program;
    struct value *values;
    size_t count;
};

struct config *config_new(const char *program, const struct config_param *const tables[],
                          const size_t counts[], size_t table_count)
{
    size_t total = 0, at = 0;
    for (size_t t = 0; t < table_count; t++)
        total += counts[t];
    struct config *c = calloc(1, sizeof(*c));
    struct value *values = calloc(total ? total : 1, sizeof(*values));
    if (!c || !values) {
        free(c);
        free(values);
        return NULL;
    }
    for (size_t t = 0; t < table_count; t++)
        for (size_t i = 0; i < counts[t]; i++)
            values[at++].param = &tables[t][i];
    *c = (struct config){.program = program, .values = values, .count = total};
    for (size_t i = 0; i < total; i++)
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(values[i].param->name, values[j].param->name) != 0);
    return c;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->count; i++) {
        /* A secret must not linger in freed memory. */
        if (c->values[i].text && (c->values[i].param->flags & CONFIG_SECRET))
            explicit_bzero(c->values[i].text, strlen(c->values[i].text));
        free(c->values[i].text);
        free(c->values[i].source);
    }
    free(c->values);
    free(c);
}

static struct value *find(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->values[i].param->name, name) == 0)
            return &c->values[i];
    return NULL;
}

/* ---- unknown names: the nearest known one ---- */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[NAME_CHARS_MAX + 1];
    size_t n = strlen(b);
    if (strlen(a) > NAME_CHARS_MAX || n > NAME_CHARS_MAX)
        return NAME_CHARS_MAX;
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= n; j++) {
            unsigned up = row[j];
            unsigned best = MIN(MIN(up, row[j - 1]) + 1, diagonal + (a[i - 1] != b[j - 1]));
            row[j] = best;
            diagonal = up;
        }
    }
    return row[n];
}

static void say_unknown(const struct config *c, const char *name, struct buf *ret_error)
{
    const char *nearest = NULL;
    unsigned best = 4; /* farther than three changes is no typing error */
    for (size_t i = 0; i < c->count; i++) {
        unsigned d = distance(name, c->values[i].param->name);
        if (d < best) {
            best = d;
            nearest = c->values[i].param->name;
        }
    }
    buf_printf(ret_error, "'%.100s' is not a parameter of %s", name, c->program);
    if (nearest)
        buf_printf(ret_error, "; did you mean '%s'?", nearest);
    else
        buf_cstr(ret_error, "; --help lists them");
}

/* ---- setting ---- */
static int set(struct value *v, const char *text, const char *source, struct buf *ret_error)
{
    int64_t number = 0;
    struct buf what = {0};
    int err = config_value_parse(v->param, text, &number, &what);
    if (err != OK) {
        buf_printf(ret_error, "%s: %.*s", source, (int)what.len, (const char *)what.ptr);
        buf_fini(&what);
        return err;
    }
    char *copy = strdup(text), *from = strdup(source);
    if (!copy || !from) {
        free(copy);
        free(from);
        return ERR_NOMEM;
    }
    free(v->text);
    free(v->source);
    v->text = copy;
    v->source = from;
    v->number = number;
    return OK;
}

static int load_defaults(struct config *c, struct buf *ret_error)
{
    for (size_t i = 0; i < c->count; i++) {
        const char *text = c->values[i].param->value;
        if (text && text[0]) {
            int err = set(&c->values[i], text, "default", ret_error);
            CHECK(err != ERR_CONFIG); /* a wrong default is a bug in the table */
            if (err != OK)
                return err;
        }
    }
    return OK;
}

static int load_pair(struct config *c, struct yaml_tree *t, const yaml_node_pair_t *pair,
                     struct buf *ret_error)
{
    const char *key, *text;
    yaml_node_t *k = yaml_tree_node(t, pair->key), *v = yaml_tree_node(t, pair->value);
    if (!yaml_node_scalar(k, &key)) /* checked when it was loaded */
        return ERR_CONFIG;
    char source[512];
    snprintf(source, sizeof(source), "%s:%u", t->name, yaml_node_line(k));
    struct value *value = find(c, key);
    if (!value) {
        buf_printf(ret_error, "%s: ", source);
        say_unknown(c, key, ret_error);
        return ERR_CONFIG;
    }
    if (!yaml_node_scalar(v, &text))
        return yaml_tree_error(ret_error, t->name, yaml_node_line(v),
                               "%s: expected one value, not a list or a mapping", key);
    return set(value, text, source, ret_error);
}

static int load_file(struct config *c, const char *path, struct buf *ret_error)
{
    struct buf text = {0};
    struct yaml_tree tree = {.name = path};
    yaml_node_t *root = NULL;
    int err = yaml_tree_read_file(path, &text, ret_error);
    if (err == OK)
        err = yaml_tree_load(&tree, path, buf_view(&text), &root, ret_error);
    if (err == OK && root) {
        yaml_node_pair_t *p = root->data.mapping.pairs.start;
        for (; err == OK && p < root->data.mapping.pairs.top; p++)
            err = load_pair(c, &tree, p, ret_error);
    }
    yaml_tree_fini(&tree);
    if (text.ptr)
        explicit_bzero(text.ptr, text.len); /* it may hold secrets */
    buf_fini(&text);
    return err;
}

static void environment_name(const char *name, char ret[NAME_CHARS_MAX + 8])
{
    snprintf(ret, NAME_CHARS_MAX + 8, "CAIRN_%s", name);
    for (char *p = ret; *p; p++)
        *p = (char)toupper((unsigned char)*p);
}

static const char *environment_get(char *const envp[], const char *name)
{
    size_t len = strlen(name);
    for (; envp && *envp; envp++)
        if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
            return *envp + len + 1;
    return NULL;
}

/* Unknown CAIRN_ variables are left alone: processes of several kinds share an environment. */
static int load_environment(struct config *c, char *const envp[], struct buf *ret_error)
{
    for (size_t i = 0; i < c->count; i++) {
        char name[NAME_CHARS_MAX + 8];
        environment_name(c->values[i].param->name, name);
        const char *text = environment_get(envp, name);
        int err = text ? set(&c->values[i], text, name, ret_error) : OK;
        if (err != OK)
            return err;
    }
    return OK;
}

/* ---- flags ---- */
struct flag {
    char name[NAME_CHARS_MAX + 1]; /* with underscores */
    const char *value;             /* after '=', or NULL */
};

static int parse_flag(const char *arg, struct flag *ret, struct buf *ret_error)
{
    size_t len = strncmp(arg, "--", 2) == 0 ? strcspn(arg + 2, "=") : 0;
    if (len == 0 || len > NAME_CHARS_MAX) {
        buf_printf(ret_error, "'%.100s': expected --name=value; --help lists the names", arg);
        return ERR_CONFIG;
    }
    for (size_t i = 0; i < len; i++)
        ret->name[i] = arg[2 + i] == '-' ? '_' : arg[2 + i];
    ret->name[len] = 0;
    ret->value = arg[2 + len] == '=' ? arg + 3 + len : NULL;
    return OK;
}

static bool action_by_name(const char *name, enum config_action *ret)
{
    static const struct {
        const char *name;
        enum config_action action;
    } actions[] = {{"help", CONFIG_SHOW_HELP},
                   {"version", CONFIG_SHOW_VERSION},
                   {"check_config", CONFIG_CHECK_ONLY},
                   {"print_config", CONFIG_PRINT}};
    for (size_t i = 0; i < ARRAY_COUNT(actions); i++) {
        if (strcmp(actions[i].name, name) == 0) {
            *ret = actions[i].action;
            return true;
        }
    }
    return false;
}

/* The flag's value: behind '=', or the next argument; a bare flag of type bool means true. */
static int flag_value(struct flag *f, const struct value *v, int argc, char *const argv[], int *i,
                      struct buf *ret_error)
{
    if (f->value)
        return OK;
    if (v && v->param->type == CONFIG_BOOL) {
        f->value = "true";
        return OK;
    }
    if (*i + 1 >= argc) {
        buf_printf(ret_error, "--%s: a value is missing; write --%s=value", f->name, f->name);
        return ERR_CONFIG;
    }
    f->value = argv[++*i];
    return OK;
}

/* Two passes over the same arguments: what to do and the file's name first, the values last. */
static int load_flags(struct config *c, int argc, char *const argv[], bool values,
                      enum config_action *ret_action, const char **ret_file, struct buf *ret_error)
{
    for (int i = 1; i < argc; i++) {
        struct flag f;
        if (strcmp(argv[i], "-h") == 0) {
            *ret_action = CONFIG_SHOW_HELP;
            continue;
        }
        int err = parse_flag(argv[i], &f, ret_error);
        if (err != OK)
            return err;
        if (!f.value && action_by_name(f.name, ret_action))
            continue;
        bool is_file = strcmp(f.name, "config") == 0;
        struct value *v = is_file ? NULL : find(c, f.name);
        if (!is_file && !v) {
            buf_printf(ret_error, "--%s: ", f.name);
            say_unknown(c, f.name, ret_error);
            return ERR_CONFIG;
        }
        err = flag_value(&f, v, argc, argv, &i, ret_error);
        if (err == OK && is_file)
            *ret_file = f.value;
        char source[NAME_CHARS_MAX + 3];
        snprintf(source, sizeof(source), "--%s", f.name);
        if (err == OK && v && values)
            err = set(v, f.value, source, ret_error);
        if (err != OK)
            return err;
    }
    return OK;
}

static int check_required(const struct config *c, struct buf *ret_error)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct value *v = &c->values[i];
        if (!(v->param->flags & CONFIG_REQUIRED) || (v->text && v->text[0]))
            continue;
        char name[NAME_CHARS_MAX + 8];
        environment_name(v->param->name, name);
        buf_printf(ret_error, "%s is not set; give --%s=..., %s or a line in the --config file",
                   v->param->name, v->param->name, name);
        return ERR_CONFIG;
    }
    return OK;
}

int config_load(struct config *c, int argc, char *const argv[], char *const envp[],
                enum config_action *ret_action, struct buf *ret_error)
{
    enum config_action action = CONFIG_RUN;
    const char *file = environment_get(envp, "CAIRN_CONFIG");
    int err = load_defaults(c, ret_error);
    if (err == OK)
        err = load_flags(c, argc, argv, false, &action, &file, ret_error);
    if (err == OK && action != CONFIG_SHOW_HELP && action != CONFIG_SHOW_VERSION) {
        if (file && file[0])
            err = load_file(c, file, ret_error);
        if (err == OK)
            err = load_environment(c, envp, ret_error);
        if (err == OK)
            err = load_flags(c, argc, argv, true, &action, &file, ret_error);
        if (err == OK)
            err = check_required(c, ret_error);
    }
    if (err == OK)
        *ret_action = action;
    return err;
}

/* ---- reading ---- */
static const struct value *must_find(const struct config *c, const char *name, enum config_type type)
{
    const struct value *v = find(c, name);
    CHECK(v != NULL && v->param->type == type);
    return v;
}

const char *config_string(const struct config *c, const char *name)
{
    const struct value *v = must_find(c, name, CONFIG_STRING);
    return v->text ? v->text : "";
}

const char *config_address(const struct config *c, const char *name)
{
    const struct value *v = must_find(c, name, CONFIG_ADDRESS);
    return v->text ? v->text : "";
}

int64_t config_int(const struct config *c, const char *name)
{
    return must_find(c, name, CONFIG_INT)->number;
}

uint64_t config_bytes(const struct config *c, const char *name)
{
    return (uint64_t)must_find(c, name, CONFIG_BYTES)->number;
}

uint64_t config_duration_ms(const struct config *c, const char *name)
{
    return (uint64_t)must_find(c, name, CONFIG_DURATION)->number;
}

bool config_bool(const struct config *c, const char *name)
{
    return must_find(c, name, CONFIG_BOOL)->number != 0;
}

const char *config_source(const struct config *c, const char *name)
{
    const struct value *v = find(c, name);
    CHECK(v != NULL);
    return v->source ? v->source : "default";
}

/* ---- showing ---- */
static const char *type_name(enum config_type t)
{
    static const char *const names[] = {"text", "number", "size", "duration", "bool", "address"};
    return names[t];
}

void config_help(const struct config *c, struct buf *ret)
{
    buf_printf(ret, "Usage: %s [--config FILE] [--NAME=VALUE ...]\n\n"
                    "Values come from: defaults, the YAML file, the environment (CAIRN_<NAME>), flags;\n"
                    "the later wins.  --check-config, --print-config, --version and --help end at once.\n\n",
               c->program);
    for (size_t i = 0; i < c->count; i++) {
        const struct config_param *p = c->values[i].param;
        buf_printf(ret, "  --%s=%s%s%s\n      %s\n", p->name, type_name(p->type), p->unit ? ", in " : "",
                   p->unit ? p->unit : "", p->help);
        bool has_default = p->value && p->value[0];
        bool bounded = (p->min || p->max) && p->type != CONFIG_STRING && p->type != CONFIG_BOOL;
        if (!has_default && !bounded && !(p->flags & CONFIG_REQUIRED))
            continue;
        buf_cstr(ret, "      ");
        if (p->flags & CONFIG_REQUIRED)
            buf_cstr(ret, "Required.  ");
        if (has_default)
            buf_printf(ret, "Default: %s.  ", p->value);
        if (bounded) {
            char lo[32], hi[32];
            config_value_format(p->type, p->min, lo, sizeof(lo));
            config_value_format(p->type, p->max, hi, sizeof(hi));
            buf_printf(ret, "From %s to %s.", lo, hi);
        }
        while (ret->len && ret->ptr[ret->len - 1] == ' ')
            ret->len--;
        buf_cstr(ret, "\n");
    }
}

/* A YAML scalar in double quotes. */
static void quote(struct buf *ret, const char *text)
{
    buf_cstr(ret, "\"");
    for (; *text; text++) {
        uint8_t ch = (uint8_t)*text;
        if (ch == '"' || ch == '\\')
            buf_printf(ret, "\\%c", ch);
        else if (ch < 0x20 || ch == 0x7f)
            buf_printf(ret, "\\x%02x", ch);
        else
            buf_u8(ret, ch);
    }
    buf_cstr(ret, "\"");
}

void config_print(const struct config *c, struct buf *ret)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct value *v = &c->values[i];
        buf_printf(ret, "%s: ", v->param->name);
        if (v->text && v->text[0] && (v->param->flags & CONFIG_SECRET))
            buf_cstr(ret, "\"***\"");
        else
            quote(ret, v->text ? v->text : "");
        buf_printf(ret, "  # %s\n", v->source ? v->source : "not set");
    }
}
