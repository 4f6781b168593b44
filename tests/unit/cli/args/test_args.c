/* Options: units, bounds, what is refused, and the help that comes from the same table. */
#include "cli/args/args.h"
#include "common/base/check.h"
#include "common/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct arg_option options[] = {
    {"wait", ARG_DURATION, "6h", 0.01, 100000, "how long"},
    {"part", ARG_RATIO, NULL, 0, 1, "how much of it"},
    {"size", ARG_BYTES, "4MiB", 1, 1e15, "how large"},
    {"count", ARG_COUNT, "3", 1, 9, "how many"},
    {"name", ARG_TEXT, NULL, 0, 0, "who"},
    {"fast", ARG_FLAG, NULL, 0, 0, "or slow"},
};

static struct args a;
static struct buf error;
static const char *positional[ARGS_POSITIONAL_MAX];

static int parse(int argc, const char **argv)
{
    buf_clear(&error);
    return args_parse(&a, options, ARRAY_COUNT(options), argc, (char **)(uintptr_t)argv, positional,
                      &error);
}
#define PARSE(...)                                                                                 \
    parse((int)ARRAY_COUNT(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__})

static void values_carry_units(void **state)
{
    (void)state;
    assert_int_equal(PARSE("--wait=6.5d", "--part", "0.405%", "x", "--size=2TB", "--fast", "--json",
                           "--", "--name"),
                     OK);
    assert_true(arg_number(&a, "wait") == 156 && arg_number(&a, "size") == 2e12);
    assert_true(arg_number(&a, "part") > 0.00404999 && arg_number(&a, "part") < 0.00405001);
    assert_true(arg_number(&a, "count") == 3 && !arg_given(&a, "count") && arg_given(&a, "wait"));
    assert_true(arg_flag(&a, "fast") && a.json && !a.help && !arg_text(&a, "name"));
    assert_int_equal(a.positional_count, 2);
    assert_string_equal(a.positional[1], "--name");
    assert_int_equal(PARSE("--help"), OK);
    assert_true(a.help && !arg_flag(&a, "fast") && arg_number(&a, "size") == 4194304);
}

static void nonsense_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *word, *says;
    } cases[] = {{"--wait=6x", "must be a duration"},  {"--wait=", "must be a duration"},
                 {"--wait=nan", "must be a duration"}, {"--wait=-1", "must be between"},
                 {"--part=101%", "must be between"},   {"--count=2.5", "must be a whole number"},
                 {"--count=10", "between 1 and 9"},    {"--fast=1", "takes no value"},
                 {"--name", "needs a value"},          {"--nam=x", "no such option"},
                 {"--size=4Mb", "must be a size"},     {"--json=1", "no such option"}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_int_equal(PARSE(cases[i].word), ERR_INVAL);
        buf_u8(&error, 0);
        assert_non_null(strstr((const char *)error.ptr, cases[i].says));
    }
    assert_int_equal(PARSE("--count=2", "--count=3"), ERR_INVAL);
}

static void help_has_every_option(void **state)
{
    (void)state;
    struct buf text = {0};
    args_help(options, ARRAY_COUNT(options), &text);
    buf_u8(&text, 0);
    for (size_t i = 0; i < ARRAY_COUNT(options); i++)
        assert_non_null(strstr((const char *)text.ptr, options[i].help));
    assert_non_null(strstr((const char *)text.ptr, "how many [1 .. 9] (3)"));
    assert_non_null(strstr((const char *)text.ptr, "--count=number "));
    assert_non_null(strstr((const char *)text.ptr, "how long [0.01 .. 100000 hours] (6h)"));
    assert_non_null(strstr((const char *)text.ptr, "--json"));
    buf_fini(&text);
    buf_fini(&error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_carry_units),
        cmocka_unit_test(nonsense_is_named),
        cmocka_unit_test(help_has_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
