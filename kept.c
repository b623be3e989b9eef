/* SPDX-License-Identifier: MIT
 *
 * The built-in suppressions, see kept.h.  Names are those of glibc 2.31 to 2.40, libstdc++ and libgcc;
 * distributions strip the names of static functions, so where only those are at work a rule also takes a
 * function without a name, in a library that does nothing else.
 */
#define _POSIX_C_SOURCE 200809L
#include "kept.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pattern.h"
#include "platform.h"

/* Which library a module is. */
enum {
    LIBC = 1,    /* the C library and its parts */
    LOADER = 2,  /* the dynamic loader */
    CXX = 4,     /* the C++ run time, and gcc's */
    PROGRAM = 8, /* a static program, which has all of these inside */
    OTHER = 16,
    ANYWHERE = LIBC | LOADER | CXX | PROGRAM | OTHER,
};

struct rule {
    const char *name;
    const char *functions;   /* patterns, separated by commas */
    unsigned at;             /* where such a function is */
    unsigned within;         /* where everything is that it has called */
    bool takes_nameless;     /* a function without a name will do */
    void (*neighbour)(void); /* one without a name next to this one will do; NULL: there is none */
};

/* How far from the beginning of a function its neighbours are, in bytes. */
enum { NEIGHBOURHOOD = 1024 };

static const struct rule rules[] = {
    /* The buffer of each stream that was read or written; stdin, stdout and stderr have theirs until the end.
     * A stream that was never closed shows by its FILE. */
    {"stdio-buffers", "^_IO_file_doallocate$,^_IO_wfile_doallocate$,^_IO_doallocbuf$,^_IO_wdoallocbuf$",
     LIBC | PROGRAM, LIBC | PROGRAM, false, NULL},

    /* libstdc++ reserves some 70 KiB at start, from which exceptions are thrown when memory is out. */
    {"exception-pool", "^_GLOBAL__sub_I_eh_alloc.cc$", ANYWHERE, ANYWHERE, false, NULL},

    /* Thread-local variables and the vector through which they are found: for each thread, as long as it
     * lives or its stack is cached. */
    {"thread-local-storage",
     "^_dl_allocate_tls*,^allocate_dtv*,^_dl_resize_dtv*,^_dl_update_slotinfo*,^__tls_get_addr*,"
     "^tls_get_addr_*,^update_get_addr*,^__libc_setup_tls*,^_dl_tls_*",
     LIBC | LOADER | PROGRAM, LIBC | LOADER | PROGRAM, false, NULL},

    /* What the loader knows of each library (link_map, its names, search paths, scopes), until dlclose, and
     * the texts of dlerror.  Constructors that it calls are not its own. */
    {"dynamic-loader",
     "^_dl_*,^dl_*,^add_to_global*,^open_path*,^fillin_rpath*,^decompose_rpath*,^expand_dynamic_*,"
     "^cache_rpath*,^add_name_to_*,^resize_scopes*,^add_dependency*,^init_tls*,^strdup*",
     LOADER, LOADER, true, NULL},
    {"dynamic-loader", "^_dl_*,^dl_open_*", PROGRAM, PROGRAM, false, NULL},
    /* The pool for exceptions and the like, by initialisers of libstdc++ and libgcc that have no name: what
     * is known is that the loader has called into them.  Comes after dynamic-loader, which takes what the
     * loader allocates itself. */
    {"runtime-initialisers", "^call_init*,^_dl_init*,^_dl_start_user*", LOADER, CXX, true, NULL},

    /* The texts of dlerror. */
    {"dlerror", "^dlerror$,^__dlerror$,^_dlerror_run$,^__libc_dl*", LIBC | PROGRAM, LIBC | LOADER | PROGRAM,
     false, NULL},

    /* Values of pthread_setspecific beyond the first 32 keys of a thread, until it ends. */
    {"thread-keys", "^pthread_setspecific$,^__*pthread_setspecific$", LIBC | PROGRAM, LIBC | PROGRAM, false,
     NULL},

    /* A copy of environ, and each variable that setenv has made: a pointer from getenv may be in use for
     * ever, so none is ever freed.  All that setenv does is to jump to a static function. */
    {"environment", "^setenv$,^__setenv$,^putenv$,^__add_to_environ$,^unsetenv$", LIBC | PROGRAM,
     LIBC | PROGRAM, false, (void (*)(void))setenv},

    /* The names and data of the locales that setlocale has made current. */
    {"locale", "^setlocale$,^_nl_*,^new_composite_name$", LIBC | PROGRAM, LIBC | PROGRAM, false, NULL},

    /* Catalogues of messages, and what was found in them. */
    {"translations",
     "^bindtextdomain$,^__bindtextdomain$,^bind_textdomain_codeset$,^textdomain$,^__textdomain$,^gettext$,"
     "^dgettext$,^__dcgettext$,^dcgettext$,^ngettext$,^dngettext$,^dcngettext$,^__dcigettext$",
     LIBC | PROGRAM, LIBC | PROGRAM, false, NULL},

    /* Tables and modules for converting characters. */
    {"character-conversion", "^__gconv_*,^gconv_*,^__wcsmbs_*", LIBC | PROGRAM, LIBC | LOADER | PROGRAM,
     false, NULL},

    /* The rules of the time zone, read by whichever function asks first: localtime, by a jump. */
    {"time-zone",
     "^tzset$,^__tzset*,^tzset_internal*,^__tz_*,^__tzfile_*,^__tzstring*,^localtime*,^__localtime*,^ctime*,"
     "^mktime$,^__mktime*,^timelocal$,^strftime*,^__strftime*,^wcsftime*",
     LIBC | PROGRAM, LIBC | PROGRAM, false, (void (*)(void))tzset},

    /* Lists of functions to be called at exit, at the end of a thread, and around fork. */
    {"exit-handlers",
     "^atexit$,^on_exit$,^__cxa_atexit$,^__internal_atexit$,^__new_exitfn$,^at_quick_exit$,^__cxa_at_quick_"
     "exit$,"
     "^__cxa_thread_atexit_impl$,^__register_atfork$,^pthread_atfork$",
     LIBC | PROGRAM, LIBC | PROGRAM, false, NULL},

    /* Services by which users, groups and hosts are looked up, and the buffers of functions that return their
     * answer in one. */
    {"name-service",
     "^__nss_*,^_nss_*,^nss_*,^getpwnam*,^getpwuid*,^getpwent*,^getgrnam*,^getgrgid*,^getgrent*,^getspnam*,"
     "^gethostby*,^gethostent*,^getservby*,^getservent*,^getprotoby*,^getprotoent*,^getnetby*,^getnetent*",
     LIBC | PROGRAM, LIBC | LOADER | PROGRAM, false, NULL},
    {"resolver", "^__res_*,^res_*,^__resolv_*", LIBC | PROGRAM, LIBC | PROGRAM, false, NULL},
    {"result-buffers",
     "^getmntent$,^ttyname$,^getpass$,^getutent$,^getutid$,^getutline$,^fgetpwent$,^fgetgrent$",
     LIBC | PROGRAM, LIBC | PROGRAM, false, NULL},
};

enum { RULE_COUNT = sizeof(rules) / sizeof(rules[0]) };

_Static_assert(RULE_COUNT <= KEPT_RULES_MAX, "there is a bit for each rule");

size_t kept_count(void)
{
    return RULE_COUNT;
}

const char *kept_name(size_t index)
{
    return rules[index].name;
}

static bool is_any_of(const char *name, const char *patterns)
{
    struct pattern pattern;
    while (pattern_next(&patterns, ",", &pattern))
        if (pattern_matches(pattern, name))
            return true;
    return false;
}

static unsigned library_of(const char *module)
{
    if (module == NULL)
        return OTHER;
    const char *slash = strrchr(module, '/');
    const char *file = slash == NULL ? module : slash + 1;
    if (is_any_of(file, "^libc.so*,^libc-2.*,^libpthread.so*,^libpthread-2.*,^libdl.so*,^libdl-2.*,^"
                        "libresolv*,^libnss_*"))
        return LIBC;
    if (is_any_of(file, "^ld-linux*,^ld-2.*,^ld.so*,^ld64.so*,^ld-musl*"))
        return LOADER;
    if (is_any_of(file, "^libstdc++.so*,^libgcc_s.so*,^libc++.so*,^libc++abi.so*"))
        return CXX;
    return platform_has_loader() ? OTHER : PROGRAM;
}

static bool is_next_to(const void *frame, void (*neighbour)(void))
{
    return neighbour != NULL &&
           (uintptr_t)frame - (uintptr_t)neighbour + NEIGHBOURHOOD < 2 * (uintptr_t)NEIGHBOURHOOD;
}

static bool takes(const struct rule *rule, const void *frame, const char *function)
{
    if (function != NULL)
        return is_any_of(function, rule->functions);
    return rule->takes_nameless || is_next_to(frame, rule->neighbour);
}

uint32_t kept_match(const void *frame, const char *function, const char *module, uint32_t *within)
{
    unsigned library = library_of(module);
    uint32_t at = 0;
    *within = 0;
    for (size_t i = 0; i < RULE_COUNT; i++) {
        const struct rule *rule = &rules[i];
        if ((rule->within & library) != 0)
            *within |= UINT32_C(1) << i;
        if ((rule->at & library) != 0 && takes(rule, frame, function))
            at |= UINT32_C(1) << i;
    }
    return at;
}
