/* SPDX-License-Identifier: MIT
 *
 * What tests of modules and of their symbols share: tests that run in a child of their own, because what was
 * looked up once is remembered; and shared libraries that are built, loaded and unloaded while the test runs.
 *
 * The compiler is the flavour's, its flags are those that the test says.
 */
#ifndef LIBRARIES_H
#define LIBRARIES_H

#include "test_support.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>

#define FIXTURES "test/fixtures_symbolize/"

enum {
    PATH_ROOM = 4096,
    CHILD_SECONDS = 100,
};

/* --- Children and files ------------------------------------------------------------------------------- */

static char folder[] = "/tmp/leakdetect.XXXXXX";

static inline void in_child(void (*body)(void))
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS};
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        /* cmocka's handlers would go on with the next test in here. */
        for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++)
            signal(crashes[i], SIG_DFL);
        test_deadline(CHILD_SECONDS);
        body();
        fflush(NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Defines the test `name`, whose body runs in a child, where REQUIRE and not assert_* ends it. */
#define TEST(name)                 \
    static void name##_body(void); \
    static void name(void **state) \
    {                              \
        (void)state;               \
        in_child(name##_body);     \
    }                              \
    static void name##_body(void)

__attribute__((format(printf, 1, 2))) static inline void shell(const char *format, ...)
{
    char command[4 * PATH_ROOM];
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(command, sizeof(command), format, arguments);
    va_end(arguments);
    REQUIRE(length > 0 && (size_t)length < sizeof(command));
    if (system(command) != 0) {
        dprintf(STDERR_FILENO, "failed: %s\n", command);
        abort();
    }
}

static inline const char *variable(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value != NULL && value[0] != 0 ? value : otherwise;
}

/* The path of a file in the folder of this run; the text lasts until the 8th call after this one. */
static inline const char *path_of(const char *name)
{
    static _Thread_local char paths[8][PATH_ROOM];
    static _Thread_local unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, PATH_ROOM, "%s/%s", folder, name);
    return path;
}

/* For cmocka_run_group_tests. */
static inline int make_folder(void **state)
{
    (void)state;
    ld_init();
    return mkdtemp(folder) == NULL;
}

static inline int remove_folder(void **state)
{
    (void)state;
    shell("rm -rf %s", folder);
    return 0;
}

/* Builds library.c with these flags into a file of this name. */
static inline void build_library(const char *name, const char *flags)
{
    shell("%s -fPIC -shared -Wl,--build-id %s -o %s %slibrary.c", variable("CC", "cc"), flags, path_of(name),
          FIXTURES);
}

static inline void *open_library(const char *name)
{
    void *library = dlopen(path_of(name), RTLD_NOW);

    if (library == NULL)
        dprintf(STDERR_FILENO, "%s\n", dlerror());
    REQUIRE(library != NULL);
    return library;
}

static inline void close_library(void *library, const char *name)
{
    REQUIRE(dlclose(library) == 0);
    REQUIRE(dlopen(path_of(name), RTLD_NOW | RTLD_NOLOAD) == NULL);
}

struct site {
    const void *frame;
    unsigned line;
};

/* What the library's function returns: data pointers do not convert to function pointers, but copy. */
static inline struct site site_of(void *library, const char *function)
{
    void *symbol = dlsym(library, function);
    struct site (*call)(void);

    REQUIRE(symbol != NULL);
    memcpy(&call, &symbol, sizeof(call));
    return call();
}

static inline bool ends_with(const char *text, const char *end)
{
    return text != NULL && strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

#endif
