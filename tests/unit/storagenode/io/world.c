/* The network in memory that the RPC layer's tests use. */
#include "tests/unit/common/rpc/fake_world.c"
