#pragma once
/* Requests for the tests of the S3 layer, from literals. */
#include "gateway/s3/request.h"

#include "common/base/check.h"

#define FIELDS_MAX 32

struct made {
    struct arena arena;
    struct http_field field[FIELDS_MAX];
    size_t count;
    struct s3_request request;
    struct s3_fault fault;
    enum s3_code code;
};

/* fields: "Name: value" strings up to NULL. */
static inline void make(struct made *m, const char *method, const char *target,
                        const char *const *fields)
{
    static const struct slice domains[] = {SLICE_LIT("s3.amazonaws.com"),
                                           SLICE_LIT("us-east-1.s3.amazonaws.com")};
    static const struct s3_addressing addressing = {.base_domains = domains,
                                                    .base_domain_count = 2};
    arena_fini(&m->arena);
    m->count = 0;
    for (; *fields; fields++) {
        const char *colon = strchr(*fields, ':');
        CHECK(colon && m->count < FIELDS_MAX);
        const char *value = colon + 1;
        while (*value == ' ')
            value++;
        m->field[m->count++] =
            (struct http_field){SLICE(*fields, (size_t)(colon - *fields)), slice_cstr(value)};
    }
    m->code = s3_request_parse(&m->arena, &addressing, slice_cstr(method), slice_cstr(target),
                               (struct http_fields){m->field, m->count}, &m->request, &m->fault);
}

#define MAKE(m, method, target, ...)                                                               \
    make((m), (method), (target), (const char *const[]){__VA_ARGS__, NULL})

#define assert_slice(s, text)                                                                      \
    do {                                                                                           \
        struct slice got_ = (s);                                                                   \
        if (!slice_eq(got_, slice_cstr(text)))                                                     \
            fail_msg("\"%.*s\" is not \"%s\"", (int)got_.len, (const char *)got_.ptr, text);       \
    } while (0)

#define assert_code(got, want)                                                                     \
    do {                                                                                           \
        enum s3_code got_ = (got), want_ = (want);                                                 \
        if (got_ != want_)                                                                         \
            fail_msg("%s is not %s", s3_code_name(got_), s3_code_name(want_));                     \
    } while (0)
