/* The end of a process whose invariant broke. */
#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Thread_local void (*check_hook)(const char *cond, const char *file, int line);
_Thread_local struct check_failure check_last;

_Noreturn void check_failed(const char *cond, const char *file, int line)
{
    if (check_hook)
        check_hook(cond, file, line);
    check_last = (struct check_failure){.cond = cond, .file = file, .line = line};
    fprintf(stderr, "CHECK failed: %s at %s:%d\n", cond, file, line);
    abort();
}
