/* See http_rate.h. */
#include "gateway/http/http_rate.h"

void http_rate_start(struct http_rate *r)
{
    *r = (struct http_rate){0};
}

void http_rate_wait(struct http_rate *r, bool waiting, uint64_t now_ms)
{
    if (r->waiting && now_ms > r->since_ms)
        r->waited_ms += now_ms - r->since_ms;
    r->since_ms = now_ms;
    r->waiting = waiting;
}

bool http_rate_too_slow(struct http_rate *r, unsigned grace_ms, unsigned window_ms,
                        uint64_t bytes_per_s, uint64_t now_ms)
{
    http_rate_wait(r, r->waiting, now_ms);
    if (bytes_per_s == 0 || r->waited_ms < (r->grace_over ? window_ms : grace_ms))
        return false;
    bool slow = r->grace_over && r->bytes * 1000 / r->waited_ms < bytes_per_s;
    r->grace_over = true;
    r->waited_ms = r->bytes = 0;
    return slow;
}
