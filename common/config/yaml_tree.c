/* Loading YAML with errors that name the line; see yaml_tree.h. */
#include "common/config/yaml_tree.h"

#include "common/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int yaml_tree_error(struct buf *ret_error, const char *name, unsigned line, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    buf_printf(ret_error, "%s:%u: %s", name, line, text);
    return ERR_CONFIG;
}

int yaml_tree_read_file(const char *path, struct buf *ret, struct buf *ret_error)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        buf_printf(ret_error, "%s: cannot be opened: %s", path, strerror(errno));
        return ERR_CONFIG;
    }
    int err = OK;
    for (;;) {
        if (buf_reserve(ret, 65536) != OK) {
            err = ERR_NOMEM;
            break;
        }
        size_t n = fread(ret->ptr + ret->len, 1, 65536, f);
        ret->len += n;
        if (ret->len > YAML_TREE_BYTES_MAX) {
            buf_printf(ret_error, "%s: larger than %u bytes", path, YAML_TREE_BYTES_MAX);
            err = ERR_CONFIG;
            break;
        }
        if (n == 0)
            break;
    }
    if (err == OK && ferror(f)) {
        buf_printf(ret_error, "%s: cannot be read: %s", path, strerror(errno));
        err = ERR_CONFIG;
    }
    fclose(f);
    return err;
}

yaml_node_t *yaml_tree_node(struct yaml_tree *t, int index)
{
    return yaml_document_get_node(&t->document, index);
}

bool yaml_node_scalar(const yaml_node_t *n, const char **ret)
{
    if (n->type != YAML_SCALAR_NODE)
        return false;
    *ret = (const char *)n->data.scalar.value;
    return strlen(*ret) == n->data.scalar.length;
}

static int parser_error(const yaml_parser_t *p, const char *name, struct buf *ret_error)
{
    if (p->error == YAML_MEMORY_ERROR)
        return ERR_NOMEM;
    unsigned line = (unsigned)(p->problem_mark.line + 1);
    return yaml_tree_error(ret_error, name, line, "not valid YAML: %s",
                           p->problem ? p->problem : "unexpected content");
}

int yaml_tree_check_mapping(struct yaml_tree *t, const yaml_node_t *mapping, struct buf *ret_error)
{
    for (yaml_node_pair_t *p = mapping->data.mapping.pairs.start; p < mapping->data.mapping.pairs.top; p++) {
        const char *key, *other;
        yaml_node_t *k = yaml_tree_node(t, p->key);
        if (!yaml_node_scalar(k, &key))
            return yaml_tree_error(ret_error, t->name, yaml_node_line(k), "a key must be a plain name");
        for (yaml_node_pair_t *q = mapping->data.mapping.pairs.start; q < p; q++)
            if (yaml_node_scalar(yaml_tree_node(t, q->key), &other) && strcmp(key, other) == 0)
                return yaml_tree_error(ret_error, t->name, yaml_node_line(k),
                                       "'%s' is given twice (first on line %u); keep one", key,
                                       yaml_node_line(yaml_tree_node(t, q->key)));
    }
    return OK;
}

int yaml_tree_load(struct yaml_tree *t, const char *name, struct slice text, yaml_node_t **ret_root,
                   struct buf *ret_error)
{
    yaml_parser_t parser;
    *t = (struct yaml_tree){.name = name};
    *ret_root = NULL;
    if (!yaml_parser_initialize(&parser))
        return ERR_NOMEM;
    yaml_parser_set_input_string(&parser, text.len ? text.ptr : (const uint8_t *)"", text.len);
    int err = OK;
    if (!yaml_parser_load(&parser, &t->document)) {
        err = parser_error(&parser, name, ret_error);
    } else {
        t->loaded = true;
        yaml_node_t *root = yaml_document_get_root_node(&t->document);
        if (root && root->type != YAML_MAPPING_NODE)
            err = yaml_tree_error(ret_error, name, yaml_node_line(root),
                                  "expected lines of the form 'name: value'");
        else if (root)
            err = yaml_tree_check_mapping(t, root, ret_error);
        *ret_root = root;
    }
    if (err == OK) { /* nothing may follow: a second document would be ignored silently */
        yaml_document_t more;
        if (!yaml_parser_load(&parser, &more)) {
            err = parser_error(&parser, name, ret_error);
        } else {
            yaml_node_t *root = yaml_document_get_root_node(&more);
            if (root)
                err = yaml_tree_error(ret_error, name, yaml_node_line(root),
                                      "a second document begins here; use one file for one document");
            yaml_document_delete(&more);
        }
    }
    yaml_parser_delete(&parser);
    if (err != OK)
        yaml_tree_fini(t);
    return err;
}

void yaml_tree_fini(struct yaml_tree *t)
{
    if (t->loaded)
        yaml_document_delete(&t->document);
    t->loaded = false;
}
