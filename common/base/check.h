#pragma once
/* CHECK() is always on: it guards what must hold inside this process.  Never use it on bytes that
 * came from network, disk or user: those are errors, not assertions. */

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            check_failed(#cond, __FILE__, __LINE__);                                               \
    } while (0)

/* Prints the violated condition to standard error and aborts; a test may install a hook that does
 * not return (longjmp) instead. */
_Noreturn void check_failed(const char *cond, const char *file, int line);

/* Of this thread, for whoever reports the abort; cond is NULL as long as every CHECK has held. */
struct check_failure {
    const char *cond, *file;
    int line;
};
extern _Thread_local struct check_failure check_last;

extern _Thread_local void (*check_hook)(const char *cond, const char *file, int line);

#define container_of(ptr, type, member)                                                            \
    ((type *)(void *)((char *)(1 ? (ptr) : &((type *)0)->member) - offsetof(type, member)))

#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))
/* <sys/param.h>, which uv.h includes, has its own. */
#undef MIN
#undef MAX
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
