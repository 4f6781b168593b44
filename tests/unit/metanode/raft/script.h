#pragma once
/* Scripts for the golden traces: readable scenarios with what the cluster says to each line.
 *
 *   # a comment                          stays as it is
 *   > command [words] [name=value]       run; what it says is written below it
 * Commands (script.c): cluster, node, up, timeout, time, tick, settle, deliver, drop, sync,
 * propose, read, lease, transfer, crash, cut, heal, visible, flush, compact, state, peer, logs,
 * lost. */
#include "common/base/slice.h"

/* Runs the script: every comment and command of `text`, with the output that it has now.
 * Whether an invariant was violated shows in the output. */
void script_run(struct slice text, struct buf *ret);
