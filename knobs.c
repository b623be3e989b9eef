/* SPDX-License-Identifier: MIT
 *
 * glibc's knobs and gauges of its own malloc, for programs that are linked with -lleakdetect_malloc and use
 * them.  In a static program the C library's would bring its malloc along, to which the weak names of this
 * one (override.ld) would give way.  An object of its own in the archive, so that only those who ask for
 * these get them.
 */
#include "config.h"
#include "leakdetect.h"

#if LD_OVERRIDE

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>

#define KNOB __attribute__((visibility("default")))

KNOB int mallopt(int parameter, int value)
{
    (void)parameter;
    (void)value;
    return 1;
}

/* Nothing could be given back. */
KNOB int malloc_trim(size_t pad)
{
    (void)pad;
    return 0;
}

static size_t live_bytes(void)
{
    struct ld_stats stats;

    ld_get_stats(&stats);
    return stats.live_bytes;
}

KNOB struct mallinfo2 mallinfo2(void)
{
    return (struct mallinfo2){.uordblks = live_bytes()};
}

KNOB struct mallinfo mallinfo(void)
{
    return (struct mallinfo){.uordblks = (int)live_bytes()};
}

/* No cancellation point. */
KNOB void malloc_stats(void)
{
    int cancel_state;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    fprintf(stderr, "in use bytes     = %10zu\n", live_bytes());
    pthread_setcancelstate(cancel_state, NULL);
}

KNOB int malloc_info(int options, FILE *stream)
{
    if (options != 0)
        return EINVAL;
    fprintf(stream, "<malloc version=\"1\">\n<system type=\"current\" size=\"%zu\"/>\n</malloc>\n",
            live_bytes());
    return 0;
}

#endif
