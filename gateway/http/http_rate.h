#pragma once
/* How fast a client sends or takes, counted only while nothing but the client is waited for: the
 * time in which a handler pauses a body, or has nothing to send, is not the client's.  After a
 * grace period of waiting, each window of waiting must have seen enough bytes.  Pure. */
#include <stdbool.h>
#include <stdint.h>

struct http_rate {
    bool waiting, grace_over;
    uint64_t since_ms;  /* of the present waiting, as far as it is not in waited_ms */
    uint64_t waited_ms; /* in this window, or in the grace period */
    uint64_t bytes;     /* that came or went in it; whoever moves them adds them */
};

/* A new body or response: the grace period begins. */
void http_rate_start(struct http_rate *r);
/* From now on the client is waited for, or is not. */
void http_rate_wait(struct http_rate *r, bool waiting, uint64_t now_ms);
/* At the end of a window: was it too slow?  bytes_per_s 0: never. */
bool http_rate_too_slow(struct http_rate *r, unsigned grace_ms, unsigned window_ms,
                        uint64_t bytes_per_s, uint64_t now_ms);
