/* Reading and writing documents by schema. */
#include "gateway/s3/document.h"

#include "common/base/check.h"
#include "gateway/s3/request.h"
#include "gateway/s3/xml_reader.h"

/* The way from the root to the element that is open: of as many as the reader lets be open. */
struct tree {
    struct s3_node *root, *open;
};

static const struct s3_schema *schema_child(const struct s3_schema *s, struct slice name)
{
    for (const struct s3_schema *c = s->children; c && c->name; c++)
        if (slice_eq(name, slice_cstr(c->name)))
            return c;
    return NULL;
}

static bool refuse(struct xml_reader *r, struct slice name)
{
    struct slice copy;
    if (!xml_keep(r, name, &copy))
        return false;
    xml_reader_fail(r, S3_NOT_IMPLEMENTED,
                    "An element of the document implies functionality that is not implemented");
    s3_fault_extra(r->fault, "Element", copy);
    return false;
}

static bool node_start(struct xml_reader *r, unsigned depth, struct slice name)
{
    struct tree *t = r->result;
    (void)depth;
    if (t->open->schema->type != S3_NODE_GROUP)
        return false;
    const struct s3_schema *schema = schema_child(t->open->schema, name);
    if (!schema)
        return false;
    if (schema->type == S3_NODE_REFUSED)
        return refuse(r, name);
    struct s3_node *node = arena_zalloc(r->arena, sizeof(*node));
    if (!node)
        return xml_reader_fail(r, S3_INTERNAL_ERROR, NULL);
    *node = (struct s3_node){.schema = schema, .parent = t->open};
    if (t->open->last)
        t->open->last->next = node;
    else
        t->open->first = node;
    t->open->last = node;
    t->open = node;
    return true;
}

/* As many of each kind as the schema wants. */
static bool group_complete(const struct s3_node *group)
{
    unsigned kinds = 0;
    for (const struct s3_schema *c = group->schema->children; c && c->name; c++) {
        size_t n = s3_node_count(group, c->name);
        if (n < c->min || (c->max && n > c->max))
            return false;
        kinds += n > 0;
    }
    return !group->schema->one_kind || kinds <= 1;
}

static bool choice_known(const struct s3_schema *s, struct slice text)
{
    for (const char *const *c = s->choices; *c; c++)
        if (slice_eq(text, slice_cstr(*c)))
            return true;
    return false;
}

static bool node_end(struct xml_reader *r, unsigned depth, struct slice name, struct slice text)
{
    struct tree *t = r->result;
    struct s3_node *node = t->open;
    (void)depth;
    (void)name;
    t->open = node->parent;
    switch (node->schema->type) {
    case S3_NODE_GROUP: return xml_trim(text).len == 0 && group_complete(node);
    case S3_NODE_TEXT: return utf8_valid(text) && xml_keep(r, text, &node->text);
    case S3_NODE_CHOICE:
        return choice_known(node->schema, xml_trim(text)) &&
               xml_keep(r, xml_trim(text), &node->text);
    case S3_NODE_NUMBER:
        return parse_u64(xml_trim(text), &node->number) && node->number <= INT32_MAX;
    case S3_NODE_SIZE: return parse_u64(xml_trim(text), &node->number) && node->number <= INT64_MAX;
    default: return false;
    }
}

enum s3_code s3_document_read(struct arena *arena, const struct s3_schema *schema,
                              struct slice body, struct s3_node **ret, struct s3_fault *fault)
{
    const struct xml_document document = {schema->name, node_start, node_end};
    struct tree tree;
    struct xml_reader r = {.document = &document, .arena = arena, .fault = fault, .result = &tree};
    tree.root = tree.open = arena_zalloc(arena, sizeof(struct s3_node));
    if (!tree.root)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    tree.root->schema = schema;
    enum s3_code code = xml_reader_run(&r, body, S3_DOCUMENT_BYTES_MAX);
    if (code == S3_OK && !group_complete(tree.root))
        code = s3_fault_set(fault, S3_MALFORMED_XML, NULL);
    if (code == S3_OK)
        *ret = tree.root;
    return code;
}

/* ---- writing ---- */

/* No deeper than the reader lets a document be. */
static void write_node(struct buf *b, const struct s3_node *node)
{
    if (node->schema->type == S3_NODE_NUMBER || node->schema->type == S3_NODE_SIZE) {
        xml_u64(b, node->schema->name, node->number);
        return;
    }
    xml_open(b, node->schema->name);
    s3_document_write_inside(b, node);
    xml_close(b, node->schema->name);
}

void s3_document_write_inside(struct buf *b, const struct s3_node *node)
{
    if (node->schema->type != S3_NODE_GROUP)
        xml_escape(b, node->text);
    for (const struct s3_node *c = node->first; c; c = c->next)
        write_node(b, c);
}

void s3_document_write(struct buf *b, const struct s3_node *root)
{
    CHECK(root->schema->type == S3_NODE_GROUP);
    xml_open_ns(b, root->schema->name);
    s3_document_write_inside(b, root);
    xml_close(b, root->schema->name);
}

/* ---- looking ---- */

const struct s3_node *s3_node_child(const struct s3_node *node, const char *name)
{
    for (const struct s3_node *c = node->first; c; c = c->next)
        if (strcmp(c->schema->name, name) == 0)
            return c;
    return NULL;
}

const struct s3_node *s3_node_again(const struct s3_node *node)
{
    for (const struct s3_node *c = node->next; c; c = c->next)
        if (c->schema == node->schema)
            return c;
    return NULL;
}

size_t s3_node_count(const struct s3_node *node, const char *name)
{
    size_t n = 0;
    for (const struct s3_node *c = s3_node_child(node, name); c; c = s3_node_again(c))
        n++;
    return n;
}
