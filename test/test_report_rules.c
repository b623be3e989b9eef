/* SPDX-License-Identifier: MIT
 *
 * What reports leave out: wrappers, by the patterns of `skip`, and blocks, by suppressions that are given or
 * built in.
 *
 * build: flags -ULD_MAX_FRAMES -DLD_MAX_FRAMES=64
 * build: with report.c report_text.c report_json.c report_folded.c
 * build: with suppress.c kept.c skip.c names.c sites.c pattern.c scratch.c text.c
 */
#include "report_world.h"

#include "kept.h"

static const char app[] = "/usr/bin/app", libc[] = "/lib/x86_64-linux-gnu/libc.so.6",
                  loader[] = "/lib64/ld-linux-x86-64.so.2", cxx[] = "/usr/lib/libstdc++.so.6.0.30",
                  library[] = "/usr/lib/libfoo.so.1";

/* A function of the program. */
static const void *f(const char *function)
{
    return frame_of(function, "app.c", app);
}

/* The functions of the first site that is listed, innermost first, as "a b c". */
static const char *first_stack(const struct ld_report_options *options)
{
    static char stack[1024];
    const char *at = strstr(report(options), "\nsite 1:");
    stack[0] = 0;
    assert_non_null(at);
    at = strchr(at + 1, '\n') + 1;
    for (; strncmp(at, "    #", 5) == 0; at = strchr(at, '\n') + 1) {
        const char *name = strstr(at + 7, "  ") + 2;
        name += strspn(name, " ");
        const char *end = strstr(name, " (app.c:");
        strncat(stack, stack[0] == 0 ? "" : " ", 2);
        strncat(stack, name, end == NULL ? strcspn(name, "\n") : (size_t)(end - name));
    }
    return stack;
}

/* --- Wrappers ------------------------------------------------------------------------------------------- */

static void trap_12_wrappers_are_not_the_site(void **state)
{
    (void)state;
    const void *parse = f("parse"), *start = f("main");
    add_stack(7, STACK(f("operator new(unsigned long)"), f("std::allocator<int>::allocate(unsigned long)"),
                       parse, start));
    assert_string_equal(first_stack(NULL), "parse main");
}

static void only_the_inner_end_is_skipped(void **state)
{
    (void)state;
    add_stack(7, STACK(f("xmalloc"), f("parse"), f("xrealloc"), f("main")));
    assert_string_equal(first_stack(NULL), "parse xrealloc main");
}

static void stack_of_wrappers_only_stays_whole(void **state)
{
    (void)state;
    add_stack(7, STACK(f("xmalloc"), f("xstrdup")));
    assert_string_equal(first_stack(NULL), "xmalloc xstrdup");
}

static void given_patterns_come_on_top_of_the_list(void **state)
{
    (void)state;
    add_stack(7, STACK(f("xmalloc"), f("my_wrapper"), f("their, own"), f("main")));
    assert_string_equal(first_stack(NULL), "my_wrapper their, own main");
    struct ld_report_options options = {.skip = " ^my_*er$ , their*own"};
    assert_string_equal(first_stack(&options), "main");
    options.no_default_skip = true;
    assert_string_equal(first_stack(&options), "xmalloc my_wrapper their, own main");
    options.skip = "xmalloc\nmy_";
    assert_string_equal(first_stack(&options), "their, own main");
}

static void sites_that_become_equal_are_one(void **state)
{
    (void)state;
    const void *parse = f("parse"), *start = f("main");
    add_stack(10, STACK(f("xmalloc"), parse, start));
    add_stack(20, STACK(f("xcalloc"), parse, start));
    add_stack(30, STACK(f("xmalloc"), f("xstrdup"), parse, start));
    add_stack(5, STACK(parse, start));
    add_stack(1, STACK(f("xmalloc"), start));
    const char *text = report(NULL);
    assert_contains(text, "  live:       5 blocks, 66 bytes, at 2 call sites\n");
    assert_contains(text, "\nsite 1: 4 blocks, 65 bytes\n");
    assert_contains(text, "\nsite 2: 1 block, 1 byte\n");
}

static void kinds_stay_apart_when_sites_become_equal(void **state)
{
    (void)state;
    const void *start = f("main");
    add_stack(10, STACK(f("xmalloc"), start))->reach = LD_DEFINITELY_LOST;
    add_stack(20, STACK(f("xcalloc"), start))->reach = LD_REACHABLE;
    const char *text = report_lost(NULL);
    assert_contains(text, "\nsite 1: definitely lost: 1 block, 10 bytes\n");
    assert_contains(text, "\nsite 2: still reachable: 1 block, 20 bytes\n");
}

static void nothing_is_skipped_where_inner_frames_are_unknown(void **state)
{
    (void)state;
    add_stack(10, STACK(f("xmalloc"), f("main")))->flags = LD_LEAK_STACK_CUT;
    assert_string_equal(first_stack(NULL), ""); /* its first line is the remark */
    assert_contains(report(NULL), "  xmalloc (app.c:1)\n");
}

/* "parse" with these functions inlined. */
#define PARSE_WITH(...) frame_with("parse", "app.c", app, (const char *const[]){__VA_ARGS__, NULL})

static void inlined_wrappers_are_not_the_site(void **state)
{
    (void)state;
    add_stack(7, STACK(f("malloc_or_die"), PARSE_WITH("xmalloc", "copy_word"), f("main")));
    const char *text = report(NULL);
    assert_contains(text, "copy_word (inline.h:2)\n        inlined into    parse (app.c:");
    assert_null(strstr(text, "xmalloc"));
    const struct ld_report_options options = {.no_default_skip = true};
    assert_contains(report(&options), "xmalloc (inline.h:1)\n        inlined into    copy_word (inline.h:2)\n"
                                      "        inlined into    parse (app.c:");
}

static void inlined_wrappers_further_out_stay(void **state)
{
    (void)state;
    add_stack(7, STACK(f("copy"), PARSE_WITH("xmalloc"), f("main")));
    assert_contains(report(NULL), "xmalloc (inline.h:1)\n        inlined into    parse (app.c:");
}

static void frame_of_which_all_is_a_wrapper_is_skipped(void **state)
{
    (void)state;
    const void *all = frame_with("xstrdup", "app.c", app, (const char *const[]){"xmemdup", "xmalloc", NULL});
    add_stack(7, STACK(all, f("parse"), f("main")));
    assert_string_equal(first_stack(NULL), "parse main");
}

static void inlined_wrappers_stay_where_nothing_else_is(void **state)
{
    (void)state;
    add_stack(7, STACK(frame_with("xstrdup", "app.c", app, (const char *const[]){"xmalloc", NULL})));
    assert_contains(report(NULL), "xmalloc (inline.h:1)\n        inlined into    xstrdup (app.c:");
}

static void rules_see_inlined_functions_and_their_files(void **state)
{
    (void)state;
    add_stack(7, STACK(f("copy"), PARSE_WITH("make_word", "read_word"), f("main")));
    struct ld_report_options options = {.suppressions = "leak:^read_word$"};
    assert_contains(report(&options), "    1 block, 7 bytes: leak:^read_word$\n");
    options.suppressions = "leak:inline.h";
    assert_contains(report(&options), "    1 block, 7 bytes: leak:inline.h\n");
    options.suppressions = "leak:^write_word$";
    assert_contains(report(&options), "at 1 call site\n");
}

static void well_known_wrappers_are_known(void **state)
{
    (void)state;
    static const char *const known[] = {
        "operator new(unsigned long)",
        "operator new[](unsigned long, std::nothrow_t const&)",
        "_Znwm",
        "std::__new_allocator<char>::allocate(unsigned long, void const*)",
        "__gnu_cxx::new_allocator<int>::allocate(unsigned long, void const*)",
        "std::allocator_traits<std::allocator<int> >::allocate(std::allocator<int>&, unsigned long)",
        "std::_Vector_base<int, std::allocator<int> >::_M_allocate(unsigned long)",
        "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >::_M_create(unsigned "
        "long&, "
        "unsigned long)",
        "std::__detail::_MakeUniq<int>::__single_object std::make_unique<int, int>(int&&)",
        "alloc::raw_vec::RawVecInner<A>::finish_grow",
        "<alloc::alloc::Global as core::alloc::Allocator>::allocate",
        "<alloc::boxed::Box<a::Tree<alloc::vec::Vec<u8>>>>::new",
        "alloc::slice::<impl [T]>::to_vec_in",
        "<u8 as <[_]>::to_vec_in::ConvertVec>::to_vec::<alloc::alloc::Global>",
        "strdup",
        "__strdup",
        "__GI___strdup",
        "xmalloc",
        "xstrndup",
        "safe_malloc",
        "g_malloc0_n",
        "g_strdup",
        "CRYPTO_zalloc",
        "PyMem_RawMalloc",
        "zmalloc_usable",
    };
    static const char *const others[] = {
        "main",
        "malloc_stats_of_mine",
        "my_xmalloc_user",
        "parse_strdup",
        "strdupdate",
        "std::vector<int, std::allocator<int> >::push_back(int&&)",
        "foo(std::allocator<int> const&)",
        "alloc::vec::Vec<T,A>::push",
        "<alloc::boxed::Box<F,A> as core::ops::function::FnOnce<Args>>::call_once",
        "user::operator new_thing()",
        "g_string_new",
        "getline",
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        world_init(state);
        add_stack(7, STACK(f(known[i]), f("main")));
        assert_string_equal(first_stack(NULL), "main");
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        world_init(state);
        add_stack(7, STACK(f(others[i]), f("main")));
        assert_memory_equal(first_stack(NULL), others[i], strlen(others[i]));
    }
}

/* --- Suppressions --------------------------------------------------------------------------------------- */

/* Whether a block with this stack is left out by this text. */
static bool is_suppressed(const char *text, const void *const *stack)
{
    const struct ld_report_options options = {.suppressions = text};
    world.block_count = 0;
    add_stack(1337, stack);
    return strstr(report(&options), "  live:       0 blocks") != NULL;
}

static void rules_see_function_file_and_module_of_any_frame(void **state)
{
    (void)state;
    const void *const *stack = STACK(f("inner"), frame_of("middle", "src/middle.c", library), f("outer"));
    assert_true(is_suppressed("leak:inner", stack));
    assert_true(is_suppressed("leak:outer", stack));
    assert_true(is_suppressed("leak:^src/mid*.c$", stack));
    assert_true(is_suppressed("leak:libfoo.so", stack));
    assert_false(is_suppressed("leak:libfoo.so$", stack));
    assert_false(is_suppressed("leak:elsewhere", stack));
    assert_false(is_suppressed(NULL, stack));
}

static void rules_see_wrappers_too(void **state)
{
    (void)state;
    assert_true(is_suppressed("leak:xmalloc", STACK(f("xmalloc"), f("main"))));
}

static void file_has_comments_blanks_and_any_line_ends(void **state)
{
    (void)state;
    const void *const *stack = STACK(f("inner"), f("main"));
    assert_true(is_suppressed("# leak:comment\r\n\r\n   \n\t leak: inner \t\r\n", stack));
    assert_true(is_suppressed("leak:other\nleak:inner", stack));
    assert_false(is_suppressed("#leak:inner", stack));
    assert_false(is_suppressed("", stack));
}

static void lines_that_are_no_rule_are_said(void **state)
{
    (void)state;
    add_stack(7, STACK(f("main")));
    struct ld_report_options options = {.suppressions = "# all good\nleak:other\n"};
    assert_null(strstr(report(&options), "not understood"));
    options.suppressions = "leak:other\nrace:main\nleak:\nmain";
    assert_contains(report(&options), "\nnot understood of the suppressions: 3 lines, the first is line 2\n");
    assert_contains(report(&options), "\nsite 1: 1 block, 7 bytes\n");
}

static void hits_are_counted_for_each_rule(void **state)
{
    (void)state;
    const void *start = f("main");
    add_stack(100, STACK(f("one"), start));
    add_stack(50, STACK(f("one"), start));
    add_stack(7, STACK(f("two"), f("one_more"), start));
    add_stack(3, STACK(f("reported"), start));
    add_stack(4096, STACK(frame_of("_IO_file_doallocate", NULL, libc), start));
    const struct ld_report_options options = {.suppressions = "leak:^one$\nleak:unused\nleak:two\n"};
    assert_golden("report_suppressed", report(&options));
}

static void first_frame_from_inside_decides_which_rule_is_counted(void **state)
{
    (void)state;
    add_stack(7, STACK(f("inner"), f("outer")));
    const struct ld_report_options options = {.suppressions = "leak:outer\nleak:inner\n"};
    assert_contains(report(&options), "    1 block, 7 bytes: leak:inner\n");
}

static void without_memory_for_rules_none_is_used_and_that_is_said(void **state)
{
    (void)state;
    static char text[100000] = "leak:main\n";
    for (size_t i = strlen(text); i < sizeof(text) - 16; i = strlen(text))
        strcpy(text + i, "leak:n\n");
    add_stack(7, STACK(f("main")));
    const struct ld_report_options options = {.suppressions = text};
    world.good_maps = 0;
    assert_int_equal(ld_report(42, &options), ENOMEM);
    assert_contains(world.output, "\nno suppression was used: no memory for them\n");
    assert_contains(world.output, "\nsite 1: 1 block, 7 bytes\n");
    world.good_maps = SIZE_MAX;
    assert_contains(report(&options), "    1 block, 7 bytes: leak:main\n");
}

static void names_that_could_not_be_read_are_said(void **state)
{
    (void)state;
    add_stack(7, STACK(f("main")));
    assert_null(strstr(report(NULL), "names are missing"));
    world.is_partial = true;
    assert_contains(report(NULL), "\nsome names are missing, and were missing to patterns: ");
}

static void each_frame_is_looked_up_once(void **state)
{
    (void)state;
    const void *start = f("main"), *parse = f("parse");
    for (size_t i = 0; i < 100; i++)
        add_stack(i, STACK(i % 2 == 0 ? f("even") : f("odd"), parse, start));
    const struct ld_report_options options = {.suppressions = "leak:nothing"};
    report(&options);
    assert_int_equal(world.symbolized, 102);
}

/* --- Built-in suppressions ------------------------------------------------------------------------------ */

static const char *kept(const void *const *stack)
{
    world.block_count = 0;
    add_stack(1337, stack);
    const char *rule = strstr(report(NULL), "\n    1 block, 1,337 bytes: ");
    static char name[64];
    name[0] = 0;
    if (rule != NULL)
        sscanf(rule, " 1 block, 1,337 bytes: %63s (built in)", name);
    return name;
}

static const void *in(const char *module, const char *function)
{
    return frame_of(function, NULL, module);
}

static void what_runtime_libraries_keep_is_left_out_by_name(void **state)
{
    (void)state;
    const void *start = f("main");
    assert_string_equal(kept(STACK(in(libc, "_IO_file_doallocate"), in(libc, "puts"), start)),
                        "stdio-buffers");
    assert_string_equal(kept(STACK(in(cxx, NULL), in(loader, "call_init"), in(loader, "_dl_init"))),
                        "runtime-initialisers");
    assert_string_equal(kept(STACK(in(cxx, NULL), in(cxx, NULL), in(loader, NULL))), "runtime-initialisers");
    assert_string_equal(kept(STACK(in(cxx, "_GLOBAL__sub_I_eh_alloc.cc"), in(loader, NULL))),
                        "exception-pool");
    assert_string_equal(
        kept(STACK(in(loader, "_dl_new_object"), in(loader, NULL), in(libc, "dlopen"), start)),
        "dynamic-loader");
    assert_string_equal(kept(STACK(in(loader, NULL), start)), "dynamic-loader");
    assert_string_equal(kept(STACK(in(loader, "_dl_allocate_tls"), in(libc, "pthread_create"), start)),
                        "thread-local-storage");
    assert_string_equal(kept(STACK(in(libc, "setenv"), start)), "environment");
    assert_string_equal(kept(STACK(in(libc, NULL), in(libc, NULL), in(libc, "setlocale"), start)), "locale");
    assert_string_equal(kept(STACK(in(libc, "__GI___strdup"), in(libc, "__GI_setlocale"), start)), "locale");
    assert_string_equal(kept(STACK(in(libc, NULL), in(libc, "tzset"), start)), "time-zone");
    assert_string_equal(kept(STACK(in(libc, "strdup"), in(libc, NULL), in(libc, "localtime_r"), start)),
                        "time-zone");
    assert_string_equal(kept(STACK(in(libc, NULL), in(libc, "__newlocale"), start)), "locale");
    assert_string_equal(kept(STACK(in(libc, NULL), in(libc, "mbstowcs"), start)), "character-conversion");
    assert_string_equal(kept(STACK(in(libc, NULL), in(libc, "__gconv_open"), in(libc, "iconv_open"), start)),
                        "character-conversion");
    assert_string_equal(kept(STACK(in(libc, "__cxa_atexit"), start)), "exit-handlers");
    assert_string_equal(kept(STACK(in(libc, "getpwnam"), start)), "name-service");
}

static const void *next_to_setenv(intptr_t distance)
{
    return (const void *)((uintptr_t)setenv + (uintptr_t)distance);
}

static void nameless_neighbour_is_known_in_a_stripped_library(void **state)
{
    (void)state;
    uint32_t within, environment = kept_match(NULL, "setenv", libc, &within);
    assert_true(environment != 0);
    assert_int_equal(kept_match(next_to_setenv(-100), NULL, libc, &within), environment);
    assert_int_equal(kept_match(next_to_setenv(100), NULL, libc, &within), 0);
    assert_int_equal(kept_match(next_to_setenv(-10000), NULL, libc, &within), 0);
    assert_int_equal(kept_match(next_to_setenv(10000), NULL, libc, &within), 0);
    assert_int_equal(kept_match(next_to_setenv(-100), "getline", libc, &within), 0);
    assert_int_equal(kept_match(next_to_setenv(-100), NULL, library, &within), 0);
}

static void what_the_program_allocates_is_reported_however_it_was_called(void **state)
{
    (void)state;
    const void *start = f("main");
    assert_string_equal(kept(STACK(f("constructor"), in(loader, "call_init"), in(loader, "_dl_init"))), "");
    assert_string_equal(kept(STACK(f("constructor"), in(loader, NULL), in(libc, "dlopen"), start)), "");
    assert_string_equal(kept(STACK(in(library, "plugin_init"), in(loader, "_dl_new_object"), start)), "");
    assert_string_equal(
        kept(STACK(in(cxx, "operator new(unsigned long)"), f("constructor"), in(loader, NULL))), "");
    assert_string_equal(kept(STACK(in(libc, "strdup"), start)), "");
    assert_string_equal(kept(STACK(in(libc, "fopen"), start)), "");
    assert_string_equal(kept(STACK(in(libc, "__newlocale"), start)), "");
    assert_string_equal(kept(STACK(in(libc, "__gconv_open"), in(libc, "iconv_open"), start)), "");
    assert_string_equal(kept(STACK(in(libc, "__res_context_send"), in(libc, "res_nquery"), start)), "");
    assert_string_equal(kept(STACK(in(libc, NULL), in(libc, "getline"), start)), "");
    assert_string_equal(kept(STACK(f("setlocale"), start)), "");
    assert_string_equal(kept(STACK(in(library, "_IO_file_doallocate"), start)), "");
    assert_string_equal(kept(STACK(frame_of("tzset", NULL, NULL), start)), "");
    assert_string_equal(kept(STACK(frame_of(NULL, NULL, NULL), in(loader, NULL))), "");
}

static void static_programs_have_the_libraries_inside(void **state)
{
    (void)state;
    const void *const *stack = STACK(in(app, "_IO_file_doallocate"), in(app, "puts"), f("main"));
    assert_string_equal(kept(stack), "");
    world.is_static = true;
    assert_string_equal(kept(stack), "stdio-buffers");
    assert_string_equal(kept(STACK(in(app, "_dl_new_object"), f("main"))), "dynamic-loader");
    assert_string_equal(kept(STACK(f("parse"), f("main"))), "");
    assert_string_equal(kept(STACK(f("setlocale"), f("main"))), "");
    assert_string_equal(kept(STACK(f("callback"), in(app, "setlocale"), f("main"))), "");
    assert_string_equal(kept(STACK(frame_of(NULL, NULL, app), f("main"))), "");
}

static void rules_of_one_name_are_counted_together(void **state)
{
    (void)state;
    const void *start = f("main");
    add_stack(7, STACK(in(libc, "setlocale"), start));
    add_stack(8, STACK(in(libc, NULL), in(libc, "newlocale"), start));
    const char *text = report(NULL);
    assert_contains(text, "  suppressed: 2 blocks, 15 bytes by 1 rule\n");
    assert_contains(text, "    2 blocks, 15 bytes: locale (built in)\n");
}

static void built_in_ones_can_be_switched_off(void **state)
{
    (void)state;
    add_stack(4096, STACK(in(libc, "_IO_file_doallocate"), f("main")));
    const struct ld_report_options options = {.no_default_suppressions = true};
    assert_contains(report(NULL), "  live:       0 blocks");
    assert_contains(report(&options), "  live:       1 block, 4,096 bytes");
}

static void nobody_knows_what_a_cut_stack_was_for(void **state)
{
    (void)state;
    add_stack(7, STACK(in(loader, NULL), f("main")))->flags = LD_LEAK_STACK_CUT;
    assert_contains(report(NULL), "  live:       1 block, 7 bytes");
}

static void given_rules_come_before_built_in_ones(void **state)
{
    (void)state;
    add_stack(7, STACK(in(libc, "setenv"), f("configure"), f("main")));
    const struct ld_report_options options = {.suppressions = "leak:configure"};
    assert_contains(report(&options), "    1 block, 7 bytes: leak:configure\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(trap_12_wrappers_are_not_the_site, world_init),
        cmocka_unit_test_setup(only_the_inner_end_is_skipped, world_init),
        cmocka_unit_test_setup(stack_of_wrappers_only_stays_whole, world_init),
        cmocka_unit_test_setup(given_patterns_come_on_top_of_the_list, world_init),
        cmocka_unit_test_setup(sites_that_become_equal_are_one, world_init),
        cmocka_unit_test_setup(kinds_stay_apart_when_sites_become_equal, world_init),
        cmocka_unit_test_setup(nothing_is_skipped_where_inner_frames_are_unknown, world_init),
        cmocka_unit_test_setup(inlined_wrappers_are_not_the_site, world_init),
        cmocka_unit_test_setup(inlined_wrappers_further_out_stay, world_init),
        cmocka_unit_test_setup(frame_of_which_all_is_a_wrapper_is_skipped, world_init),
        cmocka_unit_test_setup(inlined_wrappers_stay_where_nothing_else_is, world_init),
        cmocka_unit_test_setup(rules_see_inlined_functions_and_their_files, world_init),
        cmocka_unit_test_setup(well_known_wrappers_are_known, world_init),
        cmocka_unit_test_setup(rules_see_function_file_and_module_of_any_frame, world_init),
        cmocka_unit_test_setup(rules_see_wrappers_too, world_init),
        cmocka_unit_test_setup(file_has_comments_blanks_and_any_line_ends, world_init),
        cmocka_unit_test_setup(lines_that_are_no_rule_are_said, world_init),
        cmocka_unit_test_setup(hits_are_counted_for_each_rule, world_init),
        cmocka_unit_test_setup(first_frame_from_inside_decides_which_rule_is_counted, world_init),
        cmocka_unit_test_setup(without_memory_for_rules_none_is_used_and_that_is_said, world_init),
        cmocka_unit_test_setup(names_that_could_not_be_read_are_said, world_init),
        cmocka_unit_test_setup(each_frame_is_looked_up_once, world_init),
        cmocka_unit_test_setup(what_runtime_libraries_keep_is_left_out_by_name, world_init),
        cmocka_unit_test_setup(nameless_neighbour_is_known_in_a_stripped_library, world_init),
        cmocka_unit_test_setup(what_the_program_allocates_is_reported_however_it_was_called, world_init),
        cmocka_unit_test_setup(static_programs_have_the_libraries_inside, world_init),
        cmocka_unit_test_setup(rules_of_one_name_are_counted_together, world_init),
        cmocka_unit_test_setup(built_in_ones_can_be_switched_off, world_init),
        cmocka_unit_test_setup(nobody_knows_what_a_cut_stack_was_for, world_init),
        cmocka_unit_test_setup(given_rules_come_before_built_in_ones, world_init),
    };
    return cmocka_run_group_tests_name("what reports leave out", tests, NULL, NULL);
}
