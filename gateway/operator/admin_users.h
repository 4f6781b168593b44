#pragma once
/* The operator's commands about accounts, users, their keys and policies (docs/operations.md): the
 * same rows as IAM's actions, in any account. */
#include "gateway/op/request.h"

/* Is it about them?  Then the request is answered and ended, now or later. */
bool admin_users_start(struct request *req);
