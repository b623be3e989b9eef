/* SPDX-License-Identifier: MIT
 *
 * A program that could be mistaken for the C library by built-in suppressions, in one way for each word. What
 * it leaves is its own, in blocks of 1337 bytes if it has allocated them itself.
 */
#include <iconv.h>
#include <netinet/in.h>
#include <pthread.h>
#include <resolv.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define SITE __attribute__((noinline))

static void *volatile sink;

static SITE void leave(void)
{
    sink = malloc(1337);
    sink = NULL;
}

/* Names that begin like those of what keeps things. */
#define ALIKE(name)          \
    SITE void name(void)     \
    {                        \
        leave();             \
        sink = malloc(1337); \
        sink = NULL;         \
    }

ALIKE(res_run)
ALIKE(nss_open)
ALIKE(localtime_copy)
ALIKE(ctime_new)
ALIKE(strftime_dup)
ALIKE(gconv_new)
ALIKE(getpwnam_cached)
ALIKE(gethostby_number)
ALIKE(getservby_whom)
ALIKE(mbstowcs_dup)
ALIKE(tls_get_addr_of)
ALIKE(dl_open_plugin)

static void names(void)
{
    res_run();
    nss_open();
    localtime_copy();
    ctime_new();
    strftime_dup();
    gconv_new();
    getpwnam_cached();
    gethostby_number();
    getservby_whom();
    mbstowcs_dup();
    tls_get_addr_of();
    dl_open_plugin();
}

/* Instead of the C library's. */
char *getpass(const char *prompt)
{
    (void)prompt;
    leave();
    sink = malloc(1337);
    sink = NULL;
    return NULL;
}

/* What a coroutine returns to has no name, and may be anywhere near. */
static ucontext_t outside, inside;
static _Alignas(16) char stack[65536];

static void run_inside(void)
{
    leave();
    swapcontext(&inside, &outside);
}

static void coroutine(void)
{
    getcontext(&inside);
    inside.uc_stack.ss_sp = stack;
    inside.uc_stack.ss_size = sizeof(stack);
    inside.uc_link = &outside;
    makecontext(&inside, run_inside, 0);
    swapcontext(&outside, &inside);
}

static int compare(const void *left, const void *right)
{
    leave();
    return *(const int *)left - *(const int *)right;
}

static void at_exit(void)
{
    leave();
}

/* Functions of the C library beside setenv. */
static void callbacks(void)
{
    int numbers[2] = {2, 1};
    qsort(numbers, 2, sizeof(numbers[0]), compare);
    bsearch(numbers, numbers, 1, sizeof(numbers[0]), compare);
    atexit(at_exit);
    setenv("LEAKDETECT_TEST_VARIABLE", "value", 1);
}

static void converter(const char *what)
{
    iconv_t opened = iconv_open("UTF-16", "ISO-8859-1");
    if (opened == (iconv_t)-1)
        abort();
    if (strcmp(what, "close") == 0)
        iconv_close(opened);
}

static void resolver(const char *what)
{
    struct __res_state state = {0};
    unsigned char answer[512];
    if (res_ninit(&state) != 0)
        abort();
    state.nscount = 1;
    state.nsaddr_list[0] = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    state.retry = state.retrans = 1;
    res_nquery(&state, "leakdetect.invalid", 1, 1, answer, sizeof(answer));
    if (strcmp(what, "close") == 0)
        res_nclose(&state);
}

/* The last of more keys than a thread has room for in itself. */
static void keys(void)
{
    pthread_key_t key;
    for (int i = 0; i < 64; i++)
        if (pthread_key_create(&key, NULL) != 0)
            abort();
    pthread_setspecific(key, malloc(1337));
}

int main(int count, char **words)
{
    const char *word = count > 1 ? words[1] : "", *what = count > 2 ? words[2] : "";
    if (strcmp(word, "names") == 0)
        names();
    else if (strcmp(word, "replaced") == 0)
        getpass("");
    else if (strcmp(word, "coroutine") == 0)
        coroutine();
    else if (strcmp(word, "callbacks") == 0)
        callbacks();
    else if (strcmp(word, "converter") == 0)
        converter(what);
    else if (strcmp(word, "resolver") == 0)
        resolver(what);
    else if (strcmp(word, "keys") == 0)
        keys();
    return 0;
}
