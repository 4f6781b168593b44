/* Runs a fuzz target without a fuzzer: every file of its corpus, and of each some thousand mutations
 * that depend on nothing but the file's bytes, so that a failure repeats.
 *
 *   fuzz_x [--mutations=N] PATH...     files, or folders of files
 *
 * Prints "fuzz_x: N passed, 0 failed" with N inputs from the corpus.  An input that ends the process
 * is left in build/fuzz-found/ first. */
#include "common/base/check.h"
#include "common/base/hash.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

enum { FILES_MAX = 4096, INPUT_BYTES_MAX = 1 << 20 };

static struct input {
    char path[512];
    uint8_t *bytes;
    size_t len;
} inputs[FILES_MAX];
static size_t input_count;

static const char *program;
static const uint8_t *running; /* what the target is given now */
static size_t running_len;

static void save_running(void)
{
    char path[256];
    if (!running)
        return;
    mkdir("build", 0777);
    mkdir("build/fuzz-found", 0777);
    snprintf(path, sizeof(path), "build/fuzz-found/%s-%016llx", program,
             (unsigned long long)hash64(0, SLICE(running, running_len)));
    FILE *f = fopen(path, "wb");
    if (!f)
        return;
    fwrite(running, 1, running_len, f);
    fclose(f);
    running = NULL;
    fprintf(stderr, "%s: the input is in %s (%zu bytes)\n", program, path, running_len);
}

static void on_signal(int number)
{
    save_running();
    signal(number, SIG_DFL);
    raise(number);
}

static void run(const uint8_t *bytes, size_t len)
{
    /* A copy of the exact size, so that the sanitizer sees a read one byte too far. */
    uint8_t *copy = malloc(len ? len : 1);
    CHECK(copy);
    if (len)
        memcpy(copy, bytes, len);
    running = copy;
    running_len = len;
    alarm(20); /* a loop without end is a finding, too */
    (void)LLVMFuzzerTestOneInput(copy, len);
    alarm(0);
    running = NULL;
    free(copy);
}

/* ---- mutations ---- */

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static size_t below(uint64_t *state, size_t n)
{
    return n ? (size_t)(next(state) % n) : 0;
}

static size_t insert(uint8_t *b, size_t len, size_t cap, size_t at, const uint8_t *from, size_t n)
{
    n = MIN(n, cap - len);
    memmove(b + at + n, b + at, len - at);
    memcpy(b + at, from, n);
    return len + n;
}

static size_t mutate_once(uint64_t *rng, uint8_t *b, size_t len, size_t cap)
{
    static const uint8_t special[] = {0, 1, 0x7f, 0x80, 0xff, '\r', '\n', ' ', ':', '%', '<', '&', '"'};
    uint8_t piece[64];
    size_t at = below(rng, len), n = 1 + below(rng, 16);
    switch (below(rng, 9)) {
    case 0:
        if (len)
            b[at] ^= (uint8_t)(1u << below(rng, 8));
        return len;
    case 1:
        if (len)
            b[at] = special[below(rng, sizeof(special))];
        return len;
    case 2:
        if (len)
            b[at] = (uint8_t)(b[at] + below(rng, 9) - 4);
        return len;
    case 3: /* cut out */
        n = MIN(n, len - MIN(at, len));
        memmove(b + at, b + at + n, len - at - n);
        return len - n;
    case 4: /* say again */
        n = MIN(MIN(n, len - MIN(at, len)), sizeof(piece));
        memcpy(piece, b + at, n);
        return insert(b, len, cap, below(rng, len + 1), piece, n);
    case 5: /* noise */
        for (size_t i = 0; i < n; i++)
            piece[i] = (uint8_t)next(rng);
        return insert(b, len, cap, below(rng, len + 1), piece, n);
    case 6: return len ? at : 0; /* cut off */
    case 7: { /* the other half of another input */
        const struct input *other = &inputs[below(rng, input_count)];
        size_t from = below(rng, other->len);
        size_t take = MIN(other->len - MIN(from, other->len), cap - MIN(at, cap));
        if (take)
            memcpy(b + at, other->bytes + from, take);
        return MAX(len, at + take);
    }
    default: /* a length or a number */
        for (size_t i = 0; i < MIN(n, 4) && at + i < len; i++)
            b[at + i] = below(rng, 2) ? 0xff : 0;
        return len;
    }
}

static void run_mutations(const struct input *in, unsigned count)
{
    size_t cap = in->len * 2 + 256;
    uint8_t *b = malloc(cap);
    CHECK(b);
    uint64_t rng = hash64(7, SLICE(in->bytes, in->len)) | 1;
    for (unsigned i = 0; i < count; i++) {
        size_t len = in->len;
        memcpy(b, in->bytes, len);
        for (size_t k = 0, times = 1 + below(&rng, 5); k < times; k++)
            len = mutate_once(&rng, b, len, cap);
        CHECK(len <= cap);
        run(b, len);
    }
    free(b);
}

/* ---- the corpus ---- */

static void read_file(const char *path)
{
    CHECK(input_count < FILES_MAX);
    struct input *in = &inputs[input_count];
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "%s: cannot read %s\n", program, path);
        exit(2);
    }
    in->bytes = malloc(INPUT_BYTES_MAX);
    CHECK(in->bytes);
    in->len = fread(in->bytes, 1, INPUT_BYTES_MAX, f);
    fclose(f);
    snprintf(in->path, sizeof(in->path), "%s", path);
    input_count++;
}

static int not_hidden(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static void read_path(const char *path)
{
    struct dirent **entries;
    struct stat st;
    char file[512];
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        read_file(path);
        return;
    }
    int n = scandir(path, &entries, not_hidden, alphasort);
    for (int i = 0; i < n; i++) {
        snprintf(file, sizeof(file), "%.255s/%.250s", path, entries[i]->d_name);
        read_file(file);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

int main(int argc, char **argv)
{
    unsigned mutations = 0;
    const char *slash = strrchr(argv[0], '/');
    program = slash ? slash + 1 : argv[0];
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(save_running);
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--mutations=", 12) == 0)
            mutations = (unsigned)strtoul(argv[i] + 12, NULL, 10);
        else
            read_path(argv[i]);
    }
    for (size_t i = 0; i < input_count; i++) {
        run(inputs[i].bytes, inputs[i].len);
        run_mutations(&inputs[i], mutations);
    }
    printf("%s: %zu inputs of the corpus, %zu mutations: %zu passed, %u failed\n", program, input_count,
           input_count * mutations, input_count, input_count ? 0 : 1);
    for (size_t i = 0; i < input_count; i++)
        free(inputs[i].bytes);
    return input_count ? 0 : 1;
}
