/* SPDX-License-Identifier: MIT
 *
 * LeakSanitizer's interface, so that programs which are annotated for it need not be changed: its names are
 * given in override.ld.  Most are second names of functions of this library's, and those that look for what
 * is lost are here.  What it calls in the program is asked for in given.c.
 */
#include "config.h"
#include "leakdetect.h"

#if LD_OVERRIDE

#include "check.h"
#include "platform.h"
#include "whole.h"

/* Declared here, since no code has these names. */
ENTRY_POINT void ld_lsan_do_leak_check(void);
ENTRY_POINT int ld_lsan_do_recoverable_leak_check(void);

static NOINLINE void check_and_end(const struct check_caller *caller)
{
    whole_check_and_end(caller);
}

static NOINLINE int check_and_go_on(const struct check_caller *caller)
{
    return whole_check(caller) ? 1 : 0;
}

#if CHECK_CAN_LOOK

ENTRY_POINT CHECK_FROM_CALLER void ld_lsan_do_leak_check(void)
{
    CHECK_FROM_HERE(check_and_end, "rdi");
}

ENTRY_POINT CHECK_FROM_CALLER int ld_lsan_do_recoverable_leak_check(void)
{
    CHECK_FROM_HERE(check_and_go_on, "rdi");
}

#else

ENTRY_POINT void ld_lsan_do_leak_check(void)
{
    check_and_end(NULL);
}

ENTRY_POINT int ld_lsan_do_recoverable_leak_check(void)
{
    return check_and_go_on(NULL);
}

#endif
#endif
