#pragma once
/* AES-128-GCM for TLS from Intel's IPsec library, where the processor has vector AES: OpenSSL 3.0
 * has no code for these instructions, and is three times slower without them.
 *
 * It is an OpenSSL provider inside the program, so that TLS itself stays OpenSSL's: keys, nonces,
 * records.  What is looked up without asking for it is not affected. */

/* Registers it, once a process.  Returns: the properties to fetch ciphers with, which prefer it;
 * NULL: this processor is better served by OpenSSL's own code.  Thread-safe.  Static. */
const char *net_tls_gcm_properties(void);
