#pragma once
/* Texts of values to numbers and back.  Internal to common/config. */
#include "common/config/config.h"

/* Checks the text and its range.  OK and *ret (strings and addresses: 0); ERR_CONFIG with what is wrong
 * and what would be right in *ret_error, without the place. */
int config_value_parse(const struct config_param *p, const char *text, int64_t *ret,
                       struct buf *ret_error);
/* A number in the type's own units: "16KiB", "250ms". */
void config_value_format(enum config_type type, int64_t v, char *ret, size_t size);
