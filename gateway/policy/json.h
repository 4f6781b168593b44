#pragma once
/* JSON as values in an arena, for policy documents.  Unlike jansson it keeps numbers as they were
 * written (conditions compare them as text, too), tells "no memory" from "not JSON", and reads
 * nothing from the system.  Pure.
 *
 * Strict RFC 8259: UTF-8, no NUL in strings (nothing that is compared can have one), no member
 * twice in an object (which one counts must not be a matter of the reader). */
#include "common/base/arena.h"

enum policy_json_type {
    POLICY_JSON_NULL,
    POLICY_JSON_BOOL,
    POLICY_JSON_NUMBER,
    POLICY_JSON_STRING,
    POLICY_JSON_ARRAY,
    POLICY_JSON_OBJECT,
};

struct policy_json {
    enum policy_json_type type;
    struct slice name;                /* of a member of an object */
    struct slice text;                /* of a string, decoded; of a number or bool, as written */
    struct policy_json *first, *next; /* items or members, in the document's order */
    size_t count;
};

/* Read a document.  Slices point into `text` or the arena.  depth_max: how deep arrays and objects
 * may lie in one another.  Takes at most some 60 bytes of the arena for each byte of the text.
 * Returns: OK; ERR_INVAL (not JSON, or deeper); ERR_NOMEM (of the arena, too). */
int policy_json_parse(struct arena *arena, struct slice text, unsigned depth_max,
                      const struct policy_json **ret);
