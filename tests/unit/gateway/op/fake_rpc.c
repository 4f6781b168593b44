/* The same virtual world as the metadata client's tests. */
#include "tests/unit/gateway/meta/fake_rpc.c"
