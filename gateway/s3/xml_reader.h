#pragma once
/* Inside the XML readers: one document through expat, element by element.  Not for operations. */
#include "gateway/s3/xml.h"

struct xml_reader;

struct xml_document {
    const char *root;
    /* An element at depth 2 (below the root) or deeper begins; false: not known here. */
    bool (*start)(struct xml_reader *r, unsigned depth, struct slice name);
    /* It ends; text (borrowed) is what stood in it. */
    bool (*end)(struct xml_reader *r, unsigned depth, struct slice name, struct slice text);
};

struct xml_reader {
    struct XML_ParserStruct *parser;
    const struct xml_document *document;
    struct arena *arena;
    struct s3_fault *fault;
    enum s3_code code;
    void *result;
    uint64_t now_ms;
    size_t cap;
    unsigned depth;
    struct buf text;
    unsigned seen; /* bits of the elements of the current item */
};

/* Returns: S3_OK; MALFORMED_XML; whatever a handler failed with; INTERNAL_ERROR (memory). */
enum s3_code xml_reader_run(struct xml_reader *r, struct slice body, size_t bytes_max);
/* From within a handler: ends the document with this code.  Always false. */
bool xml_reader_fail(struct xml_reader *r, enum s3_code code, const char *message);
struct slice xml_trim(struct slice s);
/* Into the arena.  An empty text has a pointer too: it was given.  false: no memory (failed). */
bool xml_keep(struct xml_reader *r, struct slice text, struct slice *ret);
