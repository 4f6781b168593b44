#pragma once
/* libyaml's document with the messages that an operator needs: "file:line: what; what instead".
 * Internal to common/config. */
#include "common/base/slice.h"

#include <yaml.h>

#define YAML_TREE_BYTES_MAX (4u << 20)

struct yaml_tree {
    const char *name; /* of the file, for messages */
    yaml_document_t document;
    bool loaded;
};

/* Reads a file of at most YAML_TREE_BYTES_MAX.  OK; ERR_CONFIG with *ret_error; ERR_NOMEM. */
int yaml_tree_read_file(const char *path, struct buf *ret, struct buf *ret_error);
/* One document whose root is a mapping without double keys (an empty one counts as empty mapping:
 * *ret_root NULL).  OK; ERR_CONFIG; ERR_NOMEM. */
int yaml_tree_load(struct yaml_tree *t, const char *name, struct slice text, yaml_node_t **ret_root,
                   struct buf *ret_error);
void yaml_tree_fini(struct yaml_tree *t);

static inline unsigned yaml_node_line(const yaml_node_t *n) { return (unsigned)n->start_mark.line + 1; }
yaml_node_t *yaml_tree_node(struct yaml_tree *t, int index);
/* false when n is no scalar or holds a zero byte. */
bool yaml_node_scalar(const yaml_node_t *n, const char **ret);
/* Adds "name:line: " and the text; always ERR_CONFIG. */
int yaml_tree_error(struct buf *ret_error, const char *name, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* ERR_CONFIG when the mapping names a key twice or has one that is no scalar. */
int yaml_tree_check_mapping(struct yaml_tree *t, const yaml_node_t *mapping, struct buf *ret_error);
