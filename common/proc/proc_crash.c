/* The crash handler; see proc_crash.h.
 *
 * on_crash: only the first thread reports → a line to standard error → frames → the line to the log
 * → frames by name to standard error → default action.  The unwinder reads a stack that may be
 * broken; if it crashes in turn the kernel ends the process, since all of these signals are
 * blocked, and the first line has been written. */
#include "common/proc/proc_crash.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/obs/log.h"
#include "common/proc/proc.h"

#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STACK_BYTES (128 << 10) /* the unwinder needs a few KiB; a build with sanitizers more */
#define FRAMES_MAX 64
#define NAME_BYTES_MAX 128
#define LINE_BYTES_MAX 3072
#define OTHERS_WAIT_S 5

static const struct {
    int number;
    const char *name;
} signals[] = {{SIGSEGV, "SIGSEGV"},
               {SIGBUS, "SIGBUS"},
               {SIGFPE, "SIGFPE"},
               {SIGILL, "SIGILL"},
               {SIGABRT, "SIGABRT"}};

static char program_name[NAME_BYTES_MAX], node_name[NAME_BYTES_MAX];
static atomic_int reporting; /* id of the thread that does; 0: none */

/* Of the program itself, wherever it was loaded (ld.so's manual). */
extern const char __executable_start[], etext[];

/* ---- a line, without what a signal handler must not call ---- */
struct text {
    char bytes[LINE_BYTES_MAX];
    size_t len;
    bool json;
};

static void add(struct text *t, const char *s)
{
    for (; *s && t->len < sizeof(t->bytes); s++)
        t->bytes[t->len++] = *s;
}

static void add_escaped(struct text *t, const char *s)
{
    for (; *s; s++) {
        char c[] = {*s >= 0x20 && *s < 0x7f ? *s : '?', 0};
        if (*s == '"' || *s == '\\')
            add(t, "\\");
        add(t, c);
    }
}

static void add_number(struct text *t, uint64_t n, unsigned base, unsigned width)
{
    char digits[24];
    unsigned i = sizeof(digits);
    digits[--i] = 0;
    do
        digits[--i] = "0123456789abcdef"[n % base];
    while ((n /= base) != 0 || sizeof(digits) - 1 - i < width);
    add(t, digits + i);
}

static void add_key(struct text *t, const char *key)
{
    add(t, t->json ? ",\"" : " ");
    add(t, key);
    add(t, t->json ? "\":" : "=");
}

static void add_string(struct text *t, const char *key, const char *value)
{
    bool quote = t->json || strpbrk(value, " \"\\=") != NULL;
    add_key(t, key);
    add(t, quote ? "\"" : "");
    add_escaped(t, value);
    add(t, quote ? "\"" : "");
}

static void add_int(struct text *t, const char *key, uint64_t value)
{
    add_key(t, key);
    add_number(t, value, 10, 0);
}

/* UTC as the log writes it; gmtime_r takes a lock.  Days to a date: Hinnant, "chrono-compatible
 * low-level date algorithms", civil_from_days, for days after 1970. */
static void add_time(struct text *t)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t s = (uint64_t)now.tv_sec, z = s / 86400 + 719468;
    uint64_t era = z / 146097, doe = z % 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    uint64_t month = mp < 10 ? mp + 3 : mp - 9;
    const struct {
        uint64_t value;
        unsigned width;
        const char *then;
    } parts[] = {
        {yoe + era * 400 + (month <= 2), 4, "-"},
        {month, 2, "-"},
        {doy - (153 * mp + 2) / 5 + 1, 2, "T"},
        {s % 86400 / 3600, 2, ":"},
        {s % 3600 / 60, 2, ":"},
        {s % 60, 2, "."},
        {(uint64_t)now.tv_nsec / 1000000, 3, "Z"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        add_number(t, parts[i].value, 10, parts[i].width);
        add(t, parts[i].then);
    }
}

static void add_frames(struct text *t, void *const *frames, int count)
{
    add_key(t, "frames");
    add(t, "\"");
    for (int i = 0; i < count; i++) {
        uintptr_t at = (uintptr_t)frames[i], base = (uintptr_t)__executable_start;
        bool own = at >= base && at < (uintptr_t)etext;
        add(t, i ? " " : "");
        add(t, own ? "+" : "0x");
        add_number(t, own ? at - base : at, 16, 0);
    }
    add(t, "\"");
}

static void add_head(struct text *t)
{
    add(t, t->json ? "{\"time\":\"" : "");
    add_time(t);
    add(t, t->json ? "\",\"level\":\"error\",\"node\":\"" : " ERROR ");
    add_escaped(t, node_name);
    add(t, t->json ? "\",\"event\":\"proc.crashed\"" : " proc.crashed");
}

static const char *signal_name(int number)
{
    for (size_t i = 0; i < ARRAY_COUNT(signals); i++)
        if (signals[i].number == number)
            return signals[i].name;
    return "?";
}

static void compose(struct text *t, bool json, int thread, const siginfo_t *info,
                    void *const *frames, int count)
{
    bool fault = info->si_code > 0 && info->si_signo != SIGABRT; /* else somebody sent it */
    t->len = 0;
    t->json = json;
    add_head(t);
    add_string(t, "program", program_name);
    add_string(t, "version", CAIRN_VERSION);
    add_int(t, "pid", (uint64_t)getpid());
    add_int(t, "thread", (uint64_t)thread);
    add_string(t, "signal", signal_name(info->si_signo));
    if (fault) {
        add_key(t, "address");
        add(t, json ? "\"0x" : "0x");
        add_number(t, (uintptr_t)info->si_addr, 16, 0);
        add(t, json ? "\"" : "");
    } else {
        add_int(t, "sender_pid", (uint64_t)info->si_pid);
    }
    if (check_last.cond) {
        add_string(t, "check", check_last.cond);
        add_string(t, "file", check_last.file);
        add_int(t, "line", (uint64_t)check_last.line);
    }
    if (count > 0)
        add_frames(t, frames, count);
    add(t, json ? "}" : "");
    t->len = MIN(t->len, sizeof(t->bytes) - 1);
    add(t, "\n");
}

/* ---- the handler ---- */
static void write_all(int fd, const struct text *t)
{
    for (size_t done = 0; done < t->len;) {
        ssize_t n = write(fd, t->bytes + done, t->len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        done += (size_t)n;
    }
}

static void report(int thread, const siginfo_t *info)
{
    static struct text text; /* only one thread comes here */
    static void *frames[FRAMES_MAX];
    enum log_format format;
    int fd = log_sink(&format);
    compose(&text, fd == STDERR_FILENO && format == LOG_FORMAT_JSON, thread, info, frames, 0);
    write_all(STDERR_FILENO, &text);
    int count = backtrace(frames, FRAMES_MAX);
    if (fd != STDERR_FILENO) {
        compose(&text, format == LOG_FORMAT_JSON, thread, info, frames, count);
        write_all(fd, &text);
    }
    backtrace_symbols_fd(frames, count, STDERR_FILENO);
}

static void on_crash(int number, siginfo_t *info, void *context)
{
    (void)context;
    int thread = (int)syscall(SYS_gettid), nobody = 0;
    if (atomic_compare_exchange_strong(&reporting, &nobody, thread)) {
        report(thread, info);
    } else if (nobody != thread) {
        /* The other one ends the process when it has reported. */
        struct timespec wait = {.tv_sec = OTHERS_WAIT_S};
        while (nanosleep(&wait, &wait) != 0 && errno == EINTR)
            ;
    }
    signal(number, SIG_DFL);
    /* A fault comes again when its instruction does, and so the core dump is of the fault itself.
     */
    if (info->si_code <= 0 || number == SIGABRT)
        raise(number);
}

/* ---- set-up ---- */
int proc_crash_stack(void)
{
    void *memory =
        mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return ERR_NOMEM;
    const stack_t stack = {.ss_sp = memory, .ss_size = STACK_BYTES};
    return sigaltstack(&stack, NULL) == 0 ? OK : ERR_NOMEM;
}

static void copy_name(char *to, const char *from)
{
    size_t len = MIN(strlen(from), (size_t)NAME_BYTES_MAX - 1);
    memcpy(to, from, len);
    to[len] = 0;
}

int proc_crash_install(const char *program, const char *node_id)
{
    copy_name(program_name, program);
    copy_name(node_name, node_id);
    void *frames[2];
    (void)backtrace(frames, ARRAY_COUNT(frames)); /* loads the unwinder, which allocates, now */
    int err = proc_crash_stack();
    if (err != OK)
        return err;
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_COUNT(signals); i++)
        sigaddset(&action.sa_mask, signals[i].number);
    for (size_t i = 0; i < ARRAY_COUNT(signals); i++)
        CHECK(sigaction(signals[i].number, &action, NULL) == 0);
    return OK;
}
