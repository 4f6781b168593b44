/* The method table's definitions. */
#include "proto/methods.h"

#include "proto/meta.pb-c.h"
#include "proto/raft.pb-c.h"
#include "proto/storage.pb-c.h"
#include "proto/witness.pb-c.h"

#define X(num, id, name_, req, resp, roles_)                                                       \
    const struct rpc_method id = {num, name_, &cairn__##req##__descriptor,                         \
                                  &cairn__##resp##__descriptor, roles_};
METHOD_TABLE(X)
#undef X
#define X(num, id, name_, msg, roles_)                                                             \
    const struct rpc_method id = {num, name_, &cairn__##msg##__descriptor, NULL, roles_};
CAST_TABLE(X)
#undef X
