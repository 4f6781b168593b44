#pragma once
/* How many access keys that nobody has one loop asks the root about.
 *
 * Whoever can reach a gateway can make up access key ids, and each that is not in the cache costs a
 * read at the root's leader and a place in the cache, before anything can be verified.  So such
 * reads are let through by a bucket of tokens: one is taken for each, and given back if there is
 * such a key.  Who has a key waits for nobody while its record is in the cache, fresh or not; who
 * has one that is not there yet may hear SlowDown while others make up many.  A new key works at
 * once: nothing is remembered here.  Of one loop. */
#include "common/base/slice.h"

struct gateway;

#define KEY_GATE_BURST 256     /* reads under way, or made up at once */
#define KEY_GATE_PER_SECOND 64 /* of those that are made up */

struct key_gate {
    uint64_t full_ns; /* when it is full again */
};

/* The principal's name (an access key id; it is borrowed).  *ret_taken: key_gate_done() must
 * follow. Returns: may it be read? */
bool key_gate_enter(struct gateway *gw, struct slice name, bool *ret_taken);
/* The same for what is no principal's: the key that seals sessions, which is not known yet. */
bool key_gate_take(struct gateway *gw);
/* taken: as key_gate_enter() said; give_back: it was there, or could not be read. */
void key_gate_done(struct gateway *gw, bool taken, bool give_back);
