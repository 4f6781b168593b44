/* See alloc_fail.h.  The program's own definitions of the allocator's functions come before those
 * of every shared library; they hand on to the sanitizer's, or to libc's where there is none. */
#include "tests/unit/common/alloc_fail.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif
extern void *REAL(malloc)(size_t bytes);
extern void *REAL(calloc)(size_t count, size_t bytes);
extern void *REAL(realloc)(void *p, size_t bytes);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
extern void *__interceptor_aligned_alloc(size_t align, size_t bytes);
#else
extern void *__libc_memalign(size_t align, size_t bytes);
#define __interceptor_aligned_alloc __libc_memalign
#endif

static _Thread_local bool armed, failed, all;
static _Thread_local unsigned held;
static _Thread_local uint64_t left;

void alloc_fail_at(uint64_t n)
{
    armed = true;
    failed = all = false;
    left = n;
}

void alloc_fail_from(uint64_t n)
{
    alloc_fail_at(n);
    all = true;
}

bool alloc_fail_end(void)
{
    armed = false;
    return failed;
}

void alloc_fail_hold(void)
{
    held++;
}

void alloc_fail_go_on(void)
{
    held--;
}

/* ALLOC_FAIL_TRACE=1 in the environment: the stack of every allocation that fails. */
static void say_where(void)
{
#ifdef __SANITIZE_ADDRESS__
    if (getenv("ALLOC_FAIL_TRACE")) {
        held++;
        fprintf(stderr, "this allocation fails:\n");
        __sanitizer_print_stack_trace();
        held--;
    }
#endif
}

static bool fails(void)
{
    if (!armed || held || (failed && !all))
        return false;
    if (left > 0) {
        left--;
        return false;
    }
    failed = true;
    say_where();
    errno = ENOMEM;
    return true;
}

void *malloc(size_t bytes)
{
    return fails() ? NULL : REAL(malloc)(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : REAL(calloc)(count, bytes);
}

void *realloc(void *p, size_t bytes)
{
    return fails() ? NULL : REAL(realloc)(p, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    return fails() ? NULL : __interceptor_aligned_alloc(align, bytes);
}

char *strdup(const char *s)
{
    size_t bytes = strlen(s) + 1;
    char *copy = malloc(bytes);
    return copy ? memcpy(copy, s, bytes) : NULL;
}
