/* The error table's look-ups. */
#include "common/base/err.h"

const char *err_name(int err)
{
    switch (err) {
    case OK: return "OK";
#define X(num, name, class, text)                                                                  \
    case name: return #name;
        ERR_TABLE(X)
#undef X
    default: return "ERR_?";
    }
}

const char *err_text(int err)
{
    switch (err) {
    case OK: return "success";
#define X(num, name, class, text)                                                                  \
    case name: return text;
        ERR_TABLE(X)
#undef X
    default: return "unknown error";
    }
}

enum err_class err_class(int err)
{
    switch (err) {
    case OK: return ERR_CLASS_OK;
#define X(num, name, class, text)                                                                  \
    case name: return ERR_CLASS_##class;
        ERR_TABLE(X)
#undef X
    default: return ERR_CLASS_UNKNOWN_OUTCOME;
    }
}
