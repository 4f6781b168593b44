/* The conformance suite, as for the in-memory store. */
#include "tests/unit/common/env/kv_suite.c"
