#pragma once
/* Are the webhooks there that a new configuration of notifications names?  Each is sent S3's test
 * event, one after the other, and must take it. */
#include "gateway/op/events.h"
#include "gateway/op/request.h"
#include "gateway/out/webhook.h"

struct event_probe {
    /* Set by the caller, zeroed otherwise. */
    struct request *req;
    void (*cb)(struct event_probe *p, enum s3_code code); /* once; maybe within the start */
    /* private */
    struct s3_notification notification;
    size_t next;
    bool calling;
    struct webhook_post post;
};
/* document: as it will be stored; empty: there is nothing to ask. */
void event_probe_start(struct event_probe *p, struct slice document);
