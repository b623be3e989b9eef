/* SPDX-License-Identifier: MIT
 *
 * A program that runs for long, and tells on Ctrl-C what it has not freed, without stopping.
 *
 *     ctrl_c [SECONDS]
 *
 * Four threads work, and forget a block now and then.  Each SIGINT (Ctrl-C) makes a fifth one write every
 * live block to leaks.txt.  The program ends after so many seconds, or on SIGTERM.
 *
 * No signal handler is involved: a report allocates nothing but takes its time and opens files, which a
 * handler must not.  All threads block the signals, and one waits for them with sigwait, where anything may
 * be done.
 */
#define _POSIX_C_SOURCE 200809L

#include <leakdetect.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REPORT_FILE  "leaks.txt"
#define WORKERS      4
#define JOB_BLOCKS   16
#define MOST_SECONDS 86400

static size_t own_bytes;     /* what ld_init returned */
static atomic_bool stopping; /* tells the workers to return */

/* --- Work ---------------------------------------------------------------------------------------------- */

static void *new_message(size_t job, size_t number)
{
    return ld_malloc(16 + (job * 7 + number * 13) % 200);
}

/* One in a hundred jobs returns early, and forgets what it holds. */
static void do_job(size_t job)
{
    void *messages[JOB_BLOCKS];
    for (size_t i = 0; i < JOB_BLOCKS; i++)
        messages[i] = new_message(job, i);
    if (job % 100 == 99)
        return;
    for (size_t i = 0; i < JOB_BLOCKS; i++)
        ld_free(messages[i]);
}

static void *work(void *unused)
{
    (void)unused;
    const struct timespec pause = {.tv_nsec = 1000000};
    for (size_t job = 0; !atomic_load(&stopping); job++) {
        do_job(job);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

/* --- Report -------------------------------------------------------------------------------------------- */

struct listing {
    FILE *file;
    size_t blocks, bytes;
};

/* The ld_leak_fn of the walk: a line for the block, and one for each frame. */
static bool list_block(const struct ld_leak *leak, void *ctx)
{
    struct listing *listing = ctx;
    listing->blocks++;
    listing->bytes += leak->size;
    fprintf(listing->file, "%p: %zu bytes\n", leak->address, leak->size);
    for (size_t i = 0; i < leak->frame_count; i++) {
        char name[512];
        ld_symbol_name(leak->frames[i], name, sizeof(name));
        fprintf(listing->file, "    %p %s\n", leak->frames[i], name);
    }
    return true;
}

/* 0 or an errno value. */
static int write_listing(const char *path)
{
    struct listing listing = {.file = fopen(path, "w")};
    if (listing.file == NULL)
        return errno;
    ld_now_leaks(list_block, &listing);
    fprintf(listing.file, "total: %zu blocks, %zu bytes; leakdetect uses %zu bytes for itself\n",
            listing.blocks, listing.bytes, own_bytes);
    bool failed = ferror(listing.file);
    if (fclose(listing.file) != 0)
        return errno;
    return failed ? EIO : 0;
}

/* Serves SIGINT until one of the other signals comes. */
static void *serve_signals(void *ctx)
{
    const sigset_t *signals = ctx;
    int signal;
    while (sigwait(signals, &signal) == 0 && signal == SIGINT) {
        int error = write_listing(REPORT_FILE);
        if (error == 0)
            fprintf(stderr, "ctrl_c: wrote " REPORT_FILE "\n");
        else
            fprintf(stderr, "ctrl_c: " REPORT_FILE ": %s\n", strerror(error));
    }
    atomic_store(&stopping, true);
    return NULL;
}

/* --- Start and end ------------------------------------------------------------------------------------- */

/* The number of seconds, or 0 if the text is not one from 1 to MOST_SECONDS. */
static unsigned parse_seconds(const char *text)
{
    char *end;
    errno = 0;
    long seconds = strtol(text, &end, 10);
    bool is_good = errno == 0 && end != text && *end == 0 && seconds >= 1 && seconds <= MOST_SECONDS;
    return is_good ? (unsigned)seconds : 0;
}

static pthread_t start_thread(void *(*run)(void *), void *ctx)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run, ctx);
    if (error != 0) {
        fprintf(stderr, "ctrl_c: no thread: %s\n", strerror(error));
        exit(EXIT_FAILURE);
    }
    return thread;
}

int main(int argc, char **argv)
{
    unsigned seconds = argc == 2 ? parse_seconds(argv[1]) : 0;
    if (argc > 2 || (argc == 2 && seconds == 0)) {
        fprintf(stderr,
                "usage: ctrl_c [SECONDS]\nSECONDS is 1 to %d; without it, SIGTERM ends the program.\n",
                MOST_SECONDS);
        return 2;
    }
    own_bytes = ld_init();

    /* Blocked before the first thread starts, because threads inherit the mask. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    pthread_t server = start_thread(serve_signals, &signals);
    pthread_t workers[WORKERS];
    for (size_t i = 0; i < WORKERS; i++)
        workers[i] = start_thread(work, NULL);
    fprintf(stderr, "ctrl_c: process %ld; Ctrl-C writes " REPORT_FILE "\n", (long)getpid());

    alarm(seconds); /* 0: never */
    pthread_join(server, NULL);
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    return EXIT_SUCCESS;
}
