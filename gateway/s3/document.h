#pragma once
/* Documents by schema: what clients send is read against a table of elements into a tree, and the
 * tree is written again in one normal form, so that what is stored and given out is ours, whatever
 * the client's looked like.  An element that the schema does not have is refused, never dropped: to
 * ignore one could drop a condition of a rule.  Pure; trees live in the arena given. */
#include "gateway/s3/xml.h"

/* More than a bucket's settings may take together: what could be stored can be read, though its
 * normal form is longer than what the client sent. */
#define S3_DOCUMENT_BYTES_MAX (512u << 10)

enum s3_node_type {
    S3_NODE_GROUP,   /* elements inside, in any order */
    S3_NODE_TEXT,    /* as it is */
    S3_NODE_CHOICE,  /* one of `choices`, white space around it dropped */
    S3_NODE_NUMBER,  /* 0 to 2^31 - 1, likewise */
    S3_NODE_SIZE,    /* 0 to 2^63 - 1, likewise */
    S3_NODE_REFUSED, /* known to S3, not offered here: NotImplemented */
};

struct s3_schema {
    const char *name; /* NULL ends an array of children */
    enum s3_node_type type;
    unsigned min, max;                /* occurrences in the parent; max 0: no limit */
    const struct s3_schema *children; /* GROUP */
    const char *const *choices;       /* CHOICE, ends with NULL */
    bool one_kind;                    /* GROUP: at most one kind of child may be given */
};

struct s3_node {
    const struct s3_schema *schema;
    struct slice text;
    uint64_t number;
    struct s3_node *parent, *first, *last, *next;
};

/* Returns: S3_OK; MALFORMED_XML; NOT_IMPLEMENTED (an element of type REFUSED, named in the fault);
 * INTERNAL_ERROR (memory). */
enum s3_code s3_document_read(struct arena *arena, const struct s3_schema *schema,
                              struct slice body, struct s3_node **ret, struct s3_fault *fault);
/* The tree with S3's namespace and without an XML declaration; reads back as the same tree. */
void s3_document_write(struct buf *b, const struct s3_node *root);
/* Only what lies in the node. */
void s3_document_write_inside(struct buf *b, const struct s3_node *node);

/* The first child of that name, or the next one of the same name; NULL: none. */
const struct s3_node *s3_node_child(const struct s3_node *node, const char *name);
const struct s3_node *s3_node_again(const struct s3_node *node);
size_t s3_node_count(const struct s3_node *node, const char *name);
