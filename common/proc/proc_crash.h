#pragma once
/* The last words of a process that crashes.  SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT (abort(),
 * so failed CHECKs too) leave an ERROR line, "proc.crashed", in the log and on standard error,
 * where the frames follow by name; then the signal does what it would have done: the exit status
 * and the core dump are those of a process without this.
 *
 *     2026-01-02T03:04:05.678Z ERROR z1-witness-1 proc.crashed program=cairn-witness version=0.1.0
 *     pid=17 thread=17 signal=SIGSEGV address=0x7ffd5f1c0ff8 frames="+1c3e5 +1c41f 0x7f3a5be1a1ca"
 *
 * A frame "+hex" lies in the program: addr2line -pfie build/rel/bin/cairn-witness 0x1c3e5.  Only
 * what is async-signal-safe is called.  A thread that overflows its stack can say so only on
 * another one: proc_crash_stack() gives it that; a thread without it dies of an overflow in
 * silence. */
#include <stdbool.h>

/* Installs the handlers; gives the calling thread its stack.  Names are copied.  Once a process;
 * again: other names.  The lines go where the log goes at the time of the crash. Returns: OK;
 * ERR_NOMEM. */
int proc_crash_install(const char *program, const char *node_id);
/* For a thread made later, at its start.  The stack stays mapped as long as the process lives.
 * Returns: OK; ERR_NOMEM. */
int proc_crash_stack(void);
