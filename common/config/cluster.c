/* Loading and checking the cluster file; see cluster.h. */
#include "common/config/cluster.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/spread.h"
#include "common/config/config_value.h"
#include "common/config/yaml_tree.h"

#include <stdio.h>
#include <stdlib.h>

#define PARTITIONS_DEFAULT 4
#define SCATTER_WIDTH_DEFAULT 16
#define ORPHAN_AGE_DEFAULT_MS (UINT64_C(24) * 3600 * 1000)
#define CLOCK_DIFFERENCE_DEFAULT_MS 60000
#define DURATION_MS_MAX (INT64_C(366) * 24 * 3600 * 1000)

static const struct {
    enum net_role role;
    const char *name;
} roles[] = {{NET_ROLE_GATEWAY, "gateway"},
             {NET_ROLE_METANODE, "metanode"},
             {NET_ROLE_STORAGENODE, "storagenode"},
             {NET_ROLE_WITNESS, "witness"}};

const char *net_role_name(enum net_role role)
{
    for (size_t i = 0; i < ARRAY_COUNT(roles); i++)
        if (roles[i].role == role)
            return roles[i].name;
    return "?";
}

bool net_role_by_name(struct slice name, enum net_role *ret)
{
    for (size_t i = 0; i < ARRAY_COUNT(roles); i++) {
        if (slice_eq(name, slice_cstr(roles[i].name))) {
            *ret = roles[i].role;
            return true;
        }
    }
    return false;
}

/* What the loader hands down. */
struct loader {
    struct yaml_tree tree;
    yaml_node_t *schemes, *classes; /* NULL: not in the file */
    struct cluster_config *c;
    struct buf *error;
};

/* Shorthand: an error on the line of a node. */
#define LINE_ERROR(l, node, ...)                                                                   \
    yaml_tree_error((l)->error, (l)->tree.name, yaml_node_line(node), __VA_ARGS__)

static int copy_text(const char *text, char **ret)
{
    char *copy = strdup(text);
    if (!copy)
        return ERR_NOMEM;
    free(*ret);
    *ret = copy;
    return OK;
}

/* Names go into certificates, metrics' labels and file names. */
static bool name_ok(const char *s)
{
    size_t len = strlen(s);
    if (len == 0 || len >= NET_NODE_ID_MAX || s[0] == '-' || s[0] == '.')
        return false;
    for (; *s; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9');
        if (!plain && !strchr("-_.", *s))
            return false;
    }
    return true;
}

static int load_count(struct loader *l, yaml_node_t *n, const char *key, unsigned max, unsigned *ret)
{
    const char *text;
    unsigned long v = 0;
    char *end = NULL;
    if (yaml_node_scalar(n, &text) && text[0] >= '0' && text[0] <= '9')
        v = strtoul(text, &end, 10);
    if (!end || *end || v < 1 || v > max)
        return LINE_ERROR(l, n, "%s: expected a number from 1 to %u", key, max);
    *ret = (unsigned)v;
    return OK;
}

static int load_duration(struct loader *l, yaml_node_t *n, const char *key, uint64_t *ret)
{
    const struct config_param param = {.name = key, .type = CONFIG_DURATION,
                                       .min = 1, .max = DURATION_MS_MAX};
    const char *text;
    int64_t v = 0;
    struct buf ignored = {0};
    bool good = yaml_node_scalar(n, &text) && config_value_parse(&param, text, &v, &ignored) == OK;
    buf_fini(&ignored);
    if (!good)
        return LINE_ERROR(l, n, "%s: expected a duration such as 1m or 24h, up to a year", key);
    *ret = (uint64_t)v;
    return OK;
}

/* ---- nodes ---- */
static int load_node_field(struct loader *l, struct cluster_node *node, const char *key, yaml_node_t *v)
{
    const char *text;
    if (!yaml_node_scalar(v, &text))
        return LINE_ERROR(l, v, "%s: expected one value", key);
    if (strcmp(key, "role") == 0) {
        if (!net_role_by_name(slice_cstr(text), &node->role))
            return LINE_ERROR(l, v, "role: '%.64s' is unknown; use gateway, metanode, storagenode or witness",
                              text);
        return OK;
    }
    if (strcmp(key, "id") == 0 || strcmp(key, "zone") == 0) {
        if (!name_ok(text))
            return LINE_ERROR(l, v, "%s: '%.64s' is not a name; use up to %d letters, digits, '-', '_', '.'",
                              key, text, NET_NODE_ID_MAX - 1);
        return copy_text(text, key[0] == 'i' ? &node->id : &node->zone);
    }
    bool admin = strcmp(key, "admin") == 0;
    if (!admin && strcmp(key, "addr") != 0)
        return LINE_ERROR(l, v, "'%.64s' is not a field of a node; use id, zone, role, addr, admin", key);
    if (!config_address_ok(text, false))
        return LINE_ERROR(l, v, "%s: '%.64s' is not an address such as 127.0.0.1:7001", key, text);
    return copy_text(text, admin ? &node->admin : &node->addr);
}

static int check_node(struct loader *l, const struct cluster_node *node, yaml_node_t *at)
{
    const char *missing = !node->id                                        ? "id"
                          : !node->zone                                    ? "zone"
                          : !node->role                                    ? "role"
                          : !node->addr && node->role != NET_ROLE_GATEWAY ? "addr"
                                                                           : NULL;
    if (missing)
        return LINE_ERROR(l, at, "this node has no %s", missing);
    for (const struct cluster_node *other = l->c->nodes; other < node; other++) {
        if (strcmp(other->id, node->id) == 0)
            return LINE_ERROR(l, at, "id '%s' is used on line %u already; ids must be unique", node->id,
                              other->line);
        const char *pairs[][2] = {{node->addr, other->addr},
                                  {node->addr, other->admin},
                                  {node->admin, other->addr},
                                  {node->admin, other->admin}};
        for (size_t i = 0; i < ARRAY_COUNT(pairs); i++)
            if (pairs[i][0] && pairs[i][1] && pairs[i][0][0] && strcmp(pairs[i][0], pairs[i][1]) == 0)
                return LINE_ERROR(l, at, "address %s is used by '%s' (line %u) already", pairs[i][0],
                                  other->id, other->line);
    }
    return OK;
}

static int load_node(struct loader *l, yaml_node_t *n)
{
    if (n->type != YAML_MAPPING_NODE)
        return LINE_ERROR(l, n, "nodes: expected {id: ..., zone: ..., role: ..., addr: ..., admin: ...}");
    int err = yaml_tree_check_mapping(&l->tree, n, l->error);
    if (err != OK)
        return err;
    struct cluster_node *node = &l->c->nodes[l->c->node_count++];
    node->line = yaml_node_line(n);
    yaml_node_pair_t *p = n->data.mapping.pairs.start;
    for (; err == OK && p < n->data.mapping.pairs.top; p++) {
        const char *key = "";
        yaml_node_scalar(yaml_tree_node(&l->tree, p->key), &key);
        err = load_node_field(l, node, key, yaml_tree_node(&l->tree, p->value));
    }
    if (err == OK)
        err = check_node(l, node, n);
    if (err == OK && !node->admin)
        err = copy_text("", &node->admin);
    if (err == OK && !node->addr)
        err = copy_text("", &node->addr);
    return err;
}

static int load_nodes(struct loader *l, yaml_node_t *n)
{
    if (n->type != YAML_SEQUENCE_NODE)
        return LINE_ERROR(l, n, "nodes: expected a list, one '- {id: ...}' a node");
    size_t count = (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
    if (count > CLUSTER_NODES_MAX)
        return LINE_ERROR(l, n, "nodes: %zu are more than the %d allowed", count, CLUSTER_NODES_MAX);
    l->c->nodes = calloc(count ? count : 1, sizeof(struct cluster_node));
    if (!l->c->nodes)
        return ERR_NOMEM;
    int err = OK;
    yaml_node_item_t *item = n->data.sequence.items.start;
    for (; err == OK && item < n->data.sequence.items.top; item++)
        err = load_node(l, yaml_tree_node(&l->tree, *item));
    return err;
}

/* ---- partitions ---- */
static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static int load_split_point(struct loader *l, yaml_node_t *n)
{
    const char *text;
    bool scalar = yaml_node_scalar(n, &text);
    size_t len = scalar ? strlen(text) : 0;
    if (len < 16 || len % 2 || len / 2 > CLUSTER_SPLIT_POINT_BYTES_MAX)
        return LINE_ERROR(l, n, "split_points: expected hex of 8 to %d bytes (bucket id, then key)",
                          CLUSTER_SPLIT_POINT_BYTES_MAX);
    struct buf *point = &l->c->split_points[l->c->split_point_count++];
    for (size_t i = 0; i < len; i += 2) {
        int hi = hex_digit(text[i]), lo = hex_digit(text[i + 1]);
        if (hi < 0 || lo < 0)
            return LINE_ERROR(l, n, "split_points: '%.32s' is not hexadecimal", text);
        buf_u8(point, (uint8_t)(hi << 4 | lo));
    }
    if (point->failed)
        return ERR_NOMEM;
    size_t at = l->c->split_point_count - 1;
    if (at > 0 && slice_cmp(buf_view(point - 1), buf_view(point)) >= 0)
        return LINE_ERROR(l, n, "split_points: must ascend, without doubles");
    return OK;
}

static int load_split_points(struct loader *l, yaml_node_t *n)
{
    if (n->type != YAML_SEQUENCE_NODE)
        return LINE_ERROR(l, n, "split_points: expected a list such as [8000000000000000]");
    size_t count = (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
    if (count >= CLUSTER_PARTITIONS_MAX)
        return LINE_ERROR(l, n, "split_points: at most %d", CLUSTER_PARTITIONS_MAX - 1);
    if (count == 0)
        return OK;
    l->c->split_points = calloc(count, sizeof(struct buf));
    if (!l->c->split_points)
        return ERR_NOMEM;
    int err = OK;
    yaml_node_item_t *item = n->data.sequence.items.start;
    for (; err == OK && item < n->data.sequence.items.top; item++)
        err = load_split_point(l, yaml_tree_node(&l->tree, *item));
    return err;
}

/* partitions - 1 bounds that cut the 64-bit space of bucket ids evenly. */
static int split_evenly(struct cluster_config *c)
{
    if (c->partitions < 2)
        return OK;
    c->split_points = calloc(c->partitions - 1, sizeof(struct buf));
    if (!c->split_points)
        return ERR_NOMEM;
    for (unsigned i = 1; i < c->partitions; i++) {
        struct buf *point = &c->split_points[c->split_point_count++];
        buf_be64(point, (uint64_t)(((unsigned __int128)i << 64) / c->partitions));
        if (point->failed)
            return ERR_NOMEM;
    }
    return OK;
}

/* ---- schemes ---- */
static int load_shape(struct loader *l, yaml_node_t *n, const char *key, struct cluster_scheme *ret)
{
    struct cluster_scheme s = {1, 2};
    const char *text;
    char rest;
    if (!yaml_node_scalar(n, &text))
        return LINE_ERROR(l, n, "%s: expected one value, such as 5+4 or rep-3", key);
    bool coded = strcmp(text, "rep-3") != 0;
    bool plain = strspn(text, "0123456789+") == strlen(text) && strlen(text) <= 5;
    if (coded && (!plain || sscanf(text, "%u+%u%c", &s.data, &s.parity, &rest) != 2))
        return LINE_ERROR(l, n, "%s: '%.32s' is unknown; use data+parity, such as 5+4, or rep-3", key, text);
    if (coded && (s.data < 2 || s.parity < 1 || s.parity > CLUSTER_PARITY_MAX ||
                  s.data + s.parity > CLUSTER_SHARDS_MAX))
        return LINE_ERROR(l, n, "%s: %.32s: expected 2 or more data and 1 to %d parity shards, at most %d in all",
                          key, text, CLUSTER_PARITY_MAX, CLUSTER_SHARDS_MAX);
    *ret = s;
    return OK;
}

static int load_scheme(struct loader *l, yaml_node_t *n)
{
    struct cluster_scheme s;
    const char *text = "";
    int err = load_shape(l, n, "schemes", &s);
    if (err != OK)
        return err;
    yaml_node_scalar(n, &text);
    for (size_t i = 0; i < l->c->scheme_count; i++)
        if (l->c->schemes[i].data == s.data && l->c->schemes[i].parity == s.parity)
            return LINE_ERROR(l, n, "schemes: %.32s is there twice", text);
    l->c->schemes[l->c->scheme_count++] = s;
    return OK;
}

static int load_schemes(struct loader *l, yaml_node_t *n)
{
    size_t count = n->type == YAML_SEQUENCE_NODE
                       ? (size_t)(n->data.sequence.items.top - n->data.sequence.items.start)
                       : 0;
    int err = OK;
    if (count < 1 || count > CLUSTER_SCHEMES_MAX)
        return LINE_ERROR(l, n, "schemes: expected a list of 1 to %d, such as [5+4, rep-3]", CLUSTER_SCHEMES_MAX);
    l->schemes = n;
    l->c->scheme_count = 0;
    yaml_node_item_t *item = n->data.sequence.items.start;
    for (; err == OK && item < n->data.sequence.items.top; item++)
        err = load_scheme(l, yaml_tree_node(&l->tree, *item));
    return err;
}

/* Of a class that clients do not read from without a restore, a mere name would be a trap. */
static bool is_archive_class(const char *name)
{
    return strcmp(name, "GLACIER") == 0 || strcmp(name, "DEEP_ARCHIVE") == 0;
}

static int load_class(struct loader *l, yaml_node_t *key, yaml_node_t *value)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    const char *name = "";
    yaml_node_scalar(key, &name);
    size_t len = strlen(name);
    if (len == 0 || len > CLUSTER_CLASS_CHARS_MAX || name[strspn(name, plain)] || name[0] < 'A')
        return LINE_ERROR(l, key, "storage_classes: '%.40s' is no name of a class; use up to %d of A-Z, 0-9 and _, "
                          "a letter first", name, CLUSTER_CLASS_CHARS_MAX);
    if (is_archive_class(name))
        return LINE_ERROR(l, key, "storage_classes: from %s clients do not read before a restore; use another name",
                          name);
    struct cluster_class *class = &l->c->classes[l->c->class_count++];
    memcpy(class->name, name, len + 1);
    return load_shape(l, value, "storage_classes", &class->scheme);
}

static int load_classes(struct loader *l, yaml_node_t *n)
{
    if (n->type != YAML_MAPPING_NODE)
        return LINE_ERROR(l, n, "storage_classes: expected a mapping such as {ECONOMY: 4+2}");
    int err = yaml_tree_check_mapping(&l->tree, n, l->error);
    if (err != OK)
        return err;
    yaml_node_pair_t *p = n->data.mapping.pairs.start;
    if (n->data.mapping.pairs.top - p > CLUSTER_CLASSES_MAX)
        return LINE_ERROR(l, n, "storage_classes: at most %d", CLUSTER_CLASSES_MAX);
    l->classes = n;
    for (; err == OK && p < n->data.mapping.pairs.top; p++)
        err = load_class(l, yaml_tree_node(&l->tree, p->key), yaml_tree_node(&l->tree, p->value));
    return err;
}

/* Storage nodes of this file, by the first of their zone. */
struct stores {
    unsigned in_zone[CLUSTER_NODES_MAX], total;
    size_t zones;
};

/* A coded scheme must survive the loss of any zone: no zone may have to take more than parity shards. */
static int check_scheme(struct loader *l, const struct stores *stores, yaml_node_t *at, const char *key,
                        struct cluster_scheme s)
{
    unsigned shards = s.data + s.parity, most = spread_cap(stores->in_zone, l->c->node_count, shards);
    if (s.data == 1)
        return OK; /* replicas: as many as there are nodes for */
    if (most == 0)
        return LINE_ERROR(l, at, "%s: %u+%u needs %u storage nodes; this file has %u", key, s.data, s.parity,
                          shards, stores->total);
    if (most > s.parity)
        return LINE_ERROR(l, at,
                          "%s: %u+%u on these %zu zones puts %u shards into one, and with %u parity shards at "
                          "most %u may be lost with it; add storage nodes or zones, or leave it out",
                          key, s.data, s.parity, stores->zones, most, s.parity, s.parity);
    return OK;
}

static int check_schemes(struct loader *l)
{
    const struct cluster_config *c = l->c;
    struct stores stores = {0};
    int err = OK;
    for (size_t i = 0; i < c->node_count; i++) {
        size_t first = 0;
        if (c->nodes[i].role != NET_ROLE_STORAGENODE)
            continue;
        while (c->nodes[first].role != NET_ROLE_STORAGENODE ||
               strcmp(c->nodes[first].zone, c->nodes[i].zone) != 0)
            first++;
        stores.zones += stores.in_zone[first]++ == 0;
        stores.total++;
    }
    for (size_t i = 0; err == OK && i < c->scheme_count; i++)
        err = check_scheme(l, &stores, l->schemes, "schemes", c->schemes[i]);
    for (size_t i = 0; err == OK && i < c->class_count; i++) {
        char key[CLUSTER_CLASS_CHARS_MAX + 32];
        snprintf(key, sizeof(key), "storage_classes: %s", c->classes[i].name);
        err = check_scheme(l, &stores, l->classes, key, c->classes[i].scheme);
    }
    return err;
}

/* ---- the whole ---- */
static int load_cluster_id(struct loader *l, yaml_node_t *n)
{
    const char *text;
    if (!yaml_node_scalar(n, &text) || !id128_from_hex(slice_cstr(text), &l->c->cluster_id) ||
        id128_is_zero(l->c->cluster_id))
        return LINE_ERROR(l, n, "cluster_id: expected 32 hex digits, not all 0 (in quotes)");
    return OK;
}

static int load_region(struct loader *l, yaml_node_t *n)
{
    const char *text;
    if (!yaml_node_scalar(n, &text) || !name_ok(text))
        return LINE_ERROR(l, n, "region: expected a name such as us-east-1");
    return copy_text(text, &l->c->region);
}

static int load_field(struct loader *l, yaml_node_t *key_node, yaml_node_t *v)
{
    const char *key = "";
    yaml_node_scalar(key_node, &key);
    if (strcmp(key, "cluster_id") == 0)
        return load_cluster_id(l, v);
    if (strcmp(key, "region") == 0)
        return load_region(l, v);
    if (strcmp(key, "nodes") == 0)
        return load_nodes(l, v);
    if (strcmp(key, "partitions") == 0)
        return load_count(l, v, key, CLUSTER_PARTITIONS_MAX, &l->c->partitions);
    if (strcmp(key, "split_points") == 0)
        return load_split_points(l, v);
    if (strcmp(key, "pgs") == 0)
        return load_count(l, v, key, CLUSTER_PGS_MAX, &l->c->pgs);
    if (strcmp(key, "schemes") == 0)
        return load_schemes(l, v);
    if (strcmp(key, "storage_classes") == 0)
        return load_classes(l, v);
    if (strcmp(key, "scatter_width") == 0)
        return load_count(l, v, key, CLUSTER_NODES_MAX, &l->c->scatter_width);
    if (strcmp(key, "orphan_age") == 0)
        return load_duration(l, v, key, &l->c->orphan_age_ms);
    if (strcmp(key, "clock_difference_max") == 0)
        return load_duration(l, v, key, &l->c->clock_difference_ms);
    return LINE_ERROR(l, key_node,
                      "'%.64s' is unknown here; use cluster_id, region, nodes, partitions, split_points, "
                      "pgs, schemes, storage_classes, scatter_width, orphan_age, clock_difference_max",
                      key);
}

/* Zones that hold a metanode: what the index can lose one of. */
static void count_zones(struct cluster_config *c)
{
    for (size_t i = 0; i < c->node_count; i++) {
        bool seen = c->nodes[i].role != NET_ROLE_METANODE;
        for (size_t j = 0; j < i && !seen; j++)
            seen = c->nodes[j].role == NET_ROLE_METANODE && strcmp(c->nodes[j].zone, c->nodes[i].zone) == 0;
        c->zone_count += !seen;
    }
    if (c->zone_count < 3)
        buf_printf(&c->warnings, "metanodes in %u zone%s: the loss of a zone is survived from three on\n",
                   c->zone_count, c->zone_count == 1 ? "" : "s");
}

static int finish(struct loader *l)
{
    struct cluster_config *c = l->c;
    const char *missing = id128_is_zero(c->cluster_id) ? "cluster_id" : !c->nodes ? "nodes" : NULL;
    if (missing)
        return yaml_tree_error(l->error, l->tree.name, 1, "%s is missing", missing);
    if (cluster_node_count(c, NET_ROLE_METANODE) == 0)
        return yaml_tree_error(l->error, l->tree.name, 1, "nodes: none has the role metanode");
    if (c->split_point_count > 0) {
        if (c->partitions && c->partitions != c->split_point_count + 1)
            return yaml_tree_error(l->error, l->tree.name, 1,
                                   "partitions: %u does not go with %zu split_points; leave one of them out",
                                   c->partitions, c->split_point_count);
        c->partitions = (unsigned)c->split_point_count + 1;
    }
    int err = OK;
    if (c->partitions == 0)
        c->partitions = PARTITIONS_DEFAULT;
    if (c->scatter_width == 0)
        c->scatter_width = SCATTER_WIDTH_DEFAULT;
    if (c->orphan_age_ms == 0)
        c->orphan_age_ms = ORPHAN_AGE_DEFAULT_MS;
    if (c->clock_difference_ms == 0)
        c->clock_difference_ms = CLOCK_DIFFERENCE_DEFAULT_MS;
    if (c->orphan_age_ms / 2 < c->clock_difference_ms)
        return yaml_tree_error(l->error, l->tree.name, 1,
                               "orphan_age: must be at least twice clock_difference_max");
    if (c->split_point_count == 0)
        err = split_evenly(c);
    if (err == OK && !c->region)
        err = copy_text("us-east-1", &c->region);
    count_zones(c);
    return err == OK ? check_schemes(l) : err;
}

int cluster_config_parse(const char *name, struct slice text, struct cluster_config *ret,
                         struct buf *ret_error)
{
    struct cluster_config c = {0};
    struct loader l = {.c = &c, .error = ret_error};
    yaml_node_t *root = NULL;
    int err = yaml_tree_load(&l.tree, name, text, &root, ret_error);
    if (err == OK && root) {
        yaml_node_pair_t *p = root->data.mapping.pairs.start;
        for (; err == OK && p < root->data.mapping.pairs.top; p++)
            err = load_field(&l, yaml_tree_node(&l.tree, p->key), yaml_tree_node(&l.tree, p->value));
    }
    if (err == OK)
        err = finish(&l);
    yaml_tree_fini(&l.tree);
    if (err != OK)
        cluster_config_fini(&c);
    *ret = c;
    return err;
}

int cluster_config_load(const char *path, struct cluster_config *ret, struct buf *ret_error)
{
    struct buf text = {0};
    *ret = (struct cluster_config){0};
    int err = yaml_tree_read_file(path, &text, ret_error);
    if (err == OK)
        err = cluster_config_parse(path, buf_view(&text), ret, ret_error);
    buf_fini(&text);
    return err;
}

void cluster_config_fini(struct cluster_config *c)
{
    for (size_t i = 0; i < c->node_count; i++) {
        free(c->nodes[i].id);
        free(c->nodes[i].zone);
        free(c->nodes[i].addr);
        free(c->nodes[i].admin);
    }
    free(c->nodes);
    for (size_t i = 0; i < c->split_point_count; i++)
        buf_fini(&c->split_points[i]);
    free(c->split_points);
    free(c->region);
    buf_fini(&c->warnings);
    *c = (struct cluster_config){0};
}

const struct cluster_node *cluster_node_by_id(const struct cluster_config *c, const char *id)
{
    for (size_t i = 0; i < c->node_count; i++)
        if (strcmp(c->nodes[i].id, id) == 0)
            return &c->nodes[i];
    return NULL;
}

const struct cluster_node *cluster_node_next(const struct cluster_config *c, enum net_role role,
                                             size_t *pos)
{
    while (*pos < c->node_count) {
        const struct cluster_node *n = &c->nodes[(*pos)++];
        if (n->role == role)
            return n;
    }
    return NULL;
}

size_t cluster_node_count(const struct cluster_config *c, enum net_role role)
{
    size_t count = 0;
    for (size_t i = 0; i < c->node_count; i++)
        count += c->nodes[i].role == role;
    return count;
}
