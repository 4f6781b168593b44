/* Golden traces: every script in tests/golden/raft/ is run, and must say what it said when it was
 * written.  UPDATE=1 rewrites them: read the difference before committing it. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/base/mutant.h"
#include "common/base/slice.h"
#include "script.h"

#define SCRIPTS "tests/golden/raft"
#define SCRIPTS_MAX 64

static int file_read(const char *path, struct buf *ret)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return -1;
    uint8_t chunk[4096];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        buf_append(ret, chunk, n);
    fclose(f);
    return 0;
}

static struct slice next_line(struct slice *text)
{
    if (text->len == 0)
        return SLICE_EMPTY;
    const uint8_t *nl = memchr(text->ptr, '\n', text->len);
    size_t len = nl ? (size_t)(nl - text->ptr) : text->len;
    struct slice line = SLICE(text->ptr, len);
    *text = SLICE(text->ptr + len + (nl != NULL), text->len - len - (nl != NULL));
    return line;
}

/* The first lines that differ, with the command that they belong to. */
static void print_difference(const char *path, struct slice want, struct slice got)
{
    struct slice command = SLICE_EMPTY;
    int number = 0, shown = 0;
    while ((want.len || got.len) && shown < 12) {
        struct slice w = next_line(&want), g = next_line(&got);
        number++;
        if (slice_eq(w, g)) {
            if (w.len && w.ptr[0] == '>')
                command = w;
            continue;
        }
        if (shown++ == 0)
            print_error("%s:%d: after %.*s\n", path, number, (int)command.len,
                        (const char *)command.ptr);
        print_error("  - %.*s\n  + %.*s\n", (int)w.len, (const char *)w.ptr, (int)g.len,
                    (const char *)g.ptr);
    }
}

static bool script_agrees(const char *path)
{
    struct buf want = {0}, got = {0};
    assert_int_equal(file_read(path, &want), 0);
    script_run(buf_view(&want), &got);
    bool same = slice_eq(buf_view(&want), buf_view(&got));
    if (!same && getenv("UPDATE")) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(got.ptr, 1, got.len, f), got.len);
        fclose(f);
        print_message("rewritten: %s\n", path);
        same = true;
    }
    if (!same)
        print_difference(path, buf_view(&want), buf_view(&got));
    buf_u8(&got, 0);
    bool held = strstr((char *)got.ptr, "VIOLATED") == NULL;
    buf_fini(&want);
    buf_fini(&got);
    return same && held;
}

static int is_script(const struct dirent *d)
{
    const char *dot = strrchr(d->d_name, '.');
    return dot && strcmp(dot, ".txt") == 0;
}

static void test_scripts(void **state)
{
    (void)state;
    struct dirent **found;
    int count = scandir(SCRIPTS, &found, is_script, alphasort), failed = 0;
    assert_true(count >= 10); /* run from the top of the tree */
    for (int i = 0; i < count; i++) {
        char path[512];
        snprintf(path, sizeof(path), SCRIPTS "/%s", found[i]->d_name);
        failed += !script_agrees(path);
        free(found[i]);
    }
    free(found);
    print_message("  %d scripts\n", count);
    assert_int_equal(failed, 0);
}

static jmp_buf check_escape;

static void on_check_failed(const char *cond, const char *file, int line)
{
    (void)cond, (void)file, (void)line;
    longjmp(check_escape, 1);
}

static bool story_changes(enum mutant mutant, const char *path)
{
    static struct buf want, got;
    assert_int_equal(file_read(path, &want), 0);
    check_hook = on_check_failed;
    mutant_active = mutant;
    if (setjmp(check_escape) == 0)
        script_run(buf_view(&want), &got);
    mutant_active = MUTANT_NONE;
    check_hook = NULL;
    bool changed = !slice_eq(buf_view(&want), buf_view(&got));
    buf_fini(&want);
    buf_fini(&got);
    return changed;
}

/* Each planted bug changes the story that tells of its rule. */
static void test_planted_bugs(void **state)
{
    (void)state;
    assert_true(story_changes(MUTANT_COUNT_OLD_TERM, SCRIPTS "/figure8.txt"));
    assert_true(story_changes(MUTANT_COMMIT_OWN_LAST, SCRIPTS "/commit_proved.txt"));
    assert_true(story_changes(MUTANT_UNPERSISTED_VOTE, SCRIPTS "/election.txt"));
    assert_true(story_changes(MUTANT_LEASE_FROM_RECEIVE, SCRIPTS "/lease.txt"));
    assert_true(story_changes(MUTANT_REPLY_BEFORE_SYNC, SCRIPTS "/election.txt"));
    assert_true(story_changes(MUTANT_SLEEP_BEHIND, SCRIPTS "/sleep.txt"));
    assert_true(story_changes(MUTANT_SLEEP_ON_LOSS, SCRIPTS "/sleep.txt"));
    assert_true(story_changes(MUTANT_LEASE_ASLEEP, SCRIPTS "/sleep.txt"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_planted_bugs),
    };
    return cmocka_run_group_tests_name("raft_golden", tests, NULL, NULL);
}
