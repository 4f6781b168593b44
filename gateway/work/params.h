#pragma once
/* The parameters of cairn-gateway, for config_load(). */
#include "common/config/config.h"

#define GATEWAY_LOOPS_MAX 16

extern const struct config_param gateway_params[];
extern const size_t gateway_param_count;

/* Values that are each within their bounds, and do not fit together.
 * Returns: OK; ERR_CONFIG, with *ret_why in words. */
int gateway_params_check(const struct config *c, struct buf *ret_why);
