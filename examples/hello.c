/* SPDX-License-Identifier: MIT */
#include <leakdetect.h>
#include <stdio.h>

static char *greeting(const char *name)
{
    char *text = ld_malloc(32);
    if (text != NULL)
        snprintf(text, 32, "Hello, %s!", name);
    return text;
}

int main(void)
{
    ld_init();
    char *kept = greeting("Ada"), *forgotten = greeting("Grace");
    printf("%s %s\n", kept, forgotten);
    ld_free(kept);
    fflush(stdout);
    return ld_report(1, NULL);
}
