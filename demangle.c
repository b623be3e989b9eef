/* SPDX-License-Identifier: MIT
 *
 * Demangling: see demangle.h.
 */
#define _GNU_SOURCE 1
#include "demangle.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "thread.h"

bool demangle_is_mangled(const char *name)
{
    return name != NULL && strncmp(name, "_Z", 2) == 0;
}

/* The C++ run-time library's, if the program has one. */
extern char *__cxa_demangle(const char *mangled, char *buffer, size_t *size, int *status)
    __attribute__((weak));

static void copy_cut(char *out, size_t size, const char *text)
{
    size_t length = strnlen(text, size - 1);

    memcpy(out, text, length);
    out[length] = 0;
}

void demangle_symbol(struct ld_symbol *out)
{
    sigset_t all, saved;
    char *demangled;
    int status;

    /* The demangler takes stack in proportion to the name, and recurses. */
    if (__cxa_demangle == NULL || !demangle_is_mangled(out->function) ||
        strnlen(out->function, LD_SYMBOL_TEXT) == LD_SYMBOL_TEXT)
        return;
    /* It allocates.  What it does not free, this does, so that is neither to be recorded nor to be counted as
     * missing; signals wait, as what their handlers allocate is. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &saved);
    thread_disable();
    demangled = __cxa_demangle(out->function, NULL, NULL, &status);
    if (demangled != NULL) {
        copy_cut(out->text, sizeof(out->text), demangled);
        out->function = out->text;
        free(demangled);
    }
    thread_enable();
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
}
