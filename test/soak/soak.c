/* SPDX-License-Identifier: MIT
 *
 * A threaded server under load on loopback, in which lost blocks are looked for every 100 ms, for a long
 * time.
 *
 *     soak SECONDS [judge]
 *
 * The server has a thread for each connection.  A request makes and frees blocks, puts an answer into a
 * cache, and now and then loses a block of LOST_SIZE bytes, so that at each look it is known how many must be
 * found, and that no other may.  The clients are another process, forked before there was a thread, which
 * checks every answer and takes the time of each request.
 *
 * Looks go on for a slice of time, then rest for one, so that what requests take with them and without is
 * measured in the same minutes.  With `judge` the two are compared as well: the 99.9th percentile may double.
 *
 * Prints a line for each thing that has to hold, as TAP has it, and what was measured.
 */
#define _GNU_SOURCE
#include "leakdetect.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS = 8,
    CACHE_SLOTS = 512,
    PARTS = 6, /* blocks that a request makes and frees */
    LOST_SIZE = 1337,
    LOOK_EVERY_MS = 100,
    ANSWER_SECONDS = 10, /* an answer that takes longer has failed */
    LATENCY_BITS = 6,    /* of precision */
    LATENCY_SLOTS = 32 << LATENCY_BITS,
    RSS_SLACK_KIB = 32 * 1024,
};

/* What both processes see. */
static struct shared {
    atomic_bool is_over;     /* clients end */
    atomic_bool looks;       /* this is a slice with looks */
    _Atomic uint64_t failed; /* requests */
    _Atomic uint64_t requests;
    _Atomic uint64_t latency[2][LATENCY_SLOTS]; /* of requests, without looks and with; microseconds */
    _Atomic uint64_t worst[2];
} * shared;

static atomic_size_t lost_so_far; /* blocks that the server has lost */
static uint32_t lose_every;       /* requests of a connection */

static int failures, passes;

static void tell(bool is_good, const char *what)
{
    printf("%s - %s\n", is_good ? "ok" : "not ok", what);
    *(is_good ? &passes : &failures) += 1;
}

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* --- Latencies ------------------------------------------------------------------------------------------ */

/* Values below 2 << LATENCY_BITS have a slot each, others the first LATENCY_BITS + 1 of their bits. */
static unsigned latency_slot(uint64_t us)
{
    unsigned shift = 0;

    while (us >> shift >= UINT64_C(2) << LATENCY_BITS)
        shift++;
    unsigned slot = (shift << LATENCY_BITS) + (unsigned)(us >> shift);
    return slot < LATENCY_SLOTS ? slot : LATENCY_SLOTS - 1;
}

static uint64_t latency_of(unsigned slot)
{
    unsigned shift = slot >> LATENCY_BITS;

    if (shift > 0)
        shift--;
    return (uint64_t)(slot - (shift << LATENCY_BITS)) << shift;
}

static uint64_t percentile(bool with_looks, double part)
{
    uint64_t total = 0, seen = 0;

    for (unsigned i = 0; i < LATENCY_SLOTS; i++)
        total += shared->latency[with_looks][i];
    for (unsigned i = 0; i < LATENCY_SLOTS; i++) {
        seen += shared->latency[with_looks][i];
        if ((double)seen >= part * (double)total)
            return latency_of(i);
    }
    return 0;
}

static void note_latency(bool with_looks, uint64_t us)
{
    atomic_fetch_add_explicit(&shared->latency[with_looks][latency_slot(us)], 1, memory_order_relaxed);
    if (us > shared->worst[with_looks])
        shared->worst[with_looks] = us;
}

/* --- The server ----------------------------------------------------------------------------------------- */

struct entry {
    struct entry *older;
    char *text;
};

struct connection {
    int fd;
    uint32_t random;
    struct entry *cache[CACHE_SLOTS];
};

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Loses a block and leaves no copy of its address where it might pass for a pointer. */
static __attribute__((noinline)) void lose_block(void)
{
    char *volatile block = malloc(LOST_SIZE);

    if (block != NULL) {
        memset(block, 'l', LOST_SIZE);
        atomic_fetch_add(&lost_so_far, 1);
    }
    block = NULL;
}

static __attribute__((noinline)) void overwrite_stack(void)
{
    volatile char room[8192];

    memset((char *)(uintptr_t)room, 0, sizeof(room));
    __asm__ volatile("" : : "r"(room) : "memory");
}

/* A number by which the client knows the answer to be right. */
static uint32_t checksum(uint32_t number)
{
    return (number ^ number >> 7) * UINT32_C(2654435761);
}

/* Keeps the two latest texts of each slot. */
static void remember(struct connection *connection, uint32_t number, const char *text)
{
    struct entry **slot = &connection->cache[number % CACHE_SLOTS], *entry = malloc(sizeof(*entry));

    if (entry == NULL)
        abort();
    entry->text = strdup(text);
    entry->older = *slot;
    *slot = entry;
    if (entry->older != NULL && entry->older->older != NULL) {
        free(entry->older->older->text);
        free(entry->older->older);
        entry->older->older = NULL;
    }
}

static void answer(struct connection *connection, uint32_t number, char *out, size_t size)
{
    char *parts[PARTS];

    for (int i = 0; i < PARTS; i++) {
        size_t length = 16 + next_random(&connection->random) % 400;

        parts[i] = malloc(length);
        if (parts[i] == NULL)
            abort();
        memset(parts[i], 'p', length);
    }
    snprintf(out, size, "%" PRIu32 "\n", checksum(number));
    remember(connection, number, out);
    for (int i = 0; i < PARTS; i++)
        free(parts[i]);
    if (number % lose_every == lose_every - 1) {
        lose_block();
        overwrite_stack();
    }
}

static void *serve(void *ctx)
{
    struct connection *connection = ctx;
    char line[64], out[64];
    size_t length = 0;
    ssize_t got;

    while ((got = recv(connection->fd, line + length, sizeof(line) - 1 - length, 0)) > 0) {
        length += (size_t)got;
        line[length] = 0;
        if (strchr(line, '\n') == NULL)
            continue;
        answer(connection, (uint32_t)strtoul(line, NULL, 10), out, sizeof(out));
        if (send(connection->fd, out, strlen(out), MSG_NOSIGNAL) != (ssize_t)strlen(out))
            break;
        length = 0;
    }
    close(connection->fd);
    for (size_t i = 0; i < CACHE_SLOTS; i++)
        while (connection->cache[i] != NULL) {
            struct entry *entry = connection->cache[i];

            connection->cache[i] = entry->older;
            free(entry->text);
            free(entry);
        }
    free(connection);
    return NULL;
}

/* --- The clients ---------------------------------------------------------------------------------------- */

static bool ask(int fd, uint32_t number)
{
    char line[64];
    size_t length = (size_t)snprintf(line, sizeof(line), "%" PRIu32 "\n", number), got = 0;
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    if (send(fd, line, length, MSG_NOSIGNAL) != (ssize_t)length)
        return false;
    do {
        ssize_t more =
            poll(&wait, 1, ANSWER_SECONDS * 1000) == 1 ? recv(fd, line + got, sizeof(line) - 1 - got, 0) : -1;

        if (more <= 0)
            return false;
        got += (size_t)more;
        line[got] = 0;
    } while (strchr(line, '\n') == NULL);
    return strtoul(line, NULL, 10) == checksum(number);
}

static void *request(void *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = *(in_port_t *)port};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        atomic_fetch_add(&shared->failed, 1);
        return NULL;
    }
    for (uint32_t number = 0; !atomic_load(&shared->is_over); number++) {
        const struct timespec pause = {.tv_nsec = 500000};
        bool with_looks = shared->looks;
        uint64_t before = now_us();

        if (!ask(fd, number)) {
            atomic_fetch_add(&shared->failed, 1);
            break;
        }
        note_latency(with_looks, now_us() - before);
        atomic_fetch_add_explicit(&shared->requests, 1, memory_order_relaxed);
        /* Load, and not overload: a service is not measured with all processors taken. */
        nanosleep(&pause, NULL);
    }
    close(fd);
    return NULL;
}

static _Noreturn void be_clients(in_port_t port)
{
    pthread_t threads[CONNECTIONS];

    for (int i = 0; i < CONNECTIONS; i++)
        if (pthread_create(&threads[i], NULL, request, &port) != 0)
            abort();
    for (int i = 0; i < CONNECTIONS; i++)
        pthread_join(threads[i], NULL);
    _exit(0);
}

/* --- Looking -------------------------------------------------------------------------------------------- */

struct look {
    size_t lost;    /* the blocks that were meant to be */
    size_t strange; /* others */
};

static bool count_lost(const struct ld_leak *leak, void *ctx)
{
    struct look *look = ctx;

    if (leak->size == LOST_SIZE && leak->reach == LD_DEFINITELY_LOST) {
        look->lost++;
    } else {
        if (look->strange++ == 0)
            for (size_t i = 0; i < leak->frame_count && i < 6; i++) {
                char name[256];

                ld_symbol_name(leak->frames[i], name, sizeof(name));
                printf("# %zu bytes, kind %d: %s\n", leak->size, (int)leak->reach, name);
            }
    }
    return true;
}

static long rss_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long pages = 0;

    if (file != NULL) {
        if (fscanf(file, "%*d %ld", &pages) != 1)
            pages = 0;
        fclose(file);
    }
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static int count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;

    while (folder != NULL && readdir(folder) != NULL)
        count++;
    if (folder != NULL)
        closedir(folder);
    return count;
}

/* What the looks have found. */
static struct {
    unsigned count, behind, most_behind, too_many, strange, unknown;
    uint64_t longest_us;
} looks;

static void look_once(void)
{
    struct look look = {0};
    size_t before = atomic_load(&lost_so_far), after;
    uint64_t began = now_us(), took;

    errno = 0;
    ld_lost_leaks(count_lost, &look);
    took = now_us() - began;
    after = atomic_load(&lost_so_far);
    looks.count++;
    looks.unknown += errno != 0;
    looks.strange += look.strange != 0;
    /* A thread may be in the midst of losing one: made, and not counted yet. */
    looks.too_many += look.lost > after + CONNECTIONS;
    if (look.lost < before) {
        looks.behind++;
        if (before - look.lost > looks.most_behind)
            looks.most_behind = (unsigned)(before - look.lost);
    }
    if (took > looks.longest_us)
        looks.longest_us = took;
}

/* --- All of it ------------------------------------------------------------------------------------------ */

static int listen_anywhere(in_port_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, CONNECTIONS) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &size) != 0) {
        perror("soak: a socket on 127.0.0.1");
        exit(1);
    }
    *port = at.sin_port;
    return fd;
}

static void accept_all(int listener, pthread_t *threads)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *connection = calloc(1, sizeof(*connection));
        int on = 1;

        if (connection == NULL)
            abort();
        connection->random = (uint32_t)i + 1;
        connection->fd = accept(listener, NULL, NULL);
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (connection->fd < 0 || pthread_create(&threads[i], NULL, serve, connection) != 0)
            abort();
    }
}

static void look_for(unsigned seconds, uint64_t slice_us)
{
    uint64_t began = now_us(), time;

    while ((time = now_us() - began) < (uint64_t)seconds * 1000000 && shared->failed == 0) {
        const struct timespec pause = {.tv_nsec = LOOK_EVERY_MS * 1000000L};
        bool with_looks = time / slice_us % 2 == 1;

        shared->looks = with_looks;
        if (with_looks)
            look_once();
        nanosleep(&pause, NULL);
    }
}

static void print_latency(bool with_looks)
{
    printf("# %s looks: median %" PRIu64 " us, 99th percentile %" PRIu64 ", 99.9th %" PRIu64 ", most %" PRIu64
           "\n",
           with_looks ? "with" : "without", percentile(with_looks, 0.5), percentile(with_looks, 0.99),
           percentile(with_looks, 0.999), shared->worst[with_looks]);
}

int main(int argc, char **argv)
{
    unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 10;
    bool judge = argc > 2;
    pthread_t threads[CONNECTIONS];
    in_port_t port;
    int listener, descriptors, status;
    long rss;
    pid_t clients;

    if (seconds < 4 || seconds > 86400) {
        fprintf(stderr, "soak: so many seconds as %s cannot be; from 4 to 86400\n", argc > 1 ? argv[1] : "?");
        return 2;
    }
    lose_every = seconds < 100 ? 100 : 5000;
    setvbuf(stdout, NULL, _IOLBF, 0);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        abort();
    listener = listen_anywhere(&port);
    clients = fork();
    if (clients == 0)
        be_clients(port);
    accept_all(listener, threads);

    look_for(seconds / 4, (uint64_t)seconds * 1000000 / 32);
    rss = rss_kib();
    descriptors = count_descriptors();
    look_for(seconds - seconds / 4, seconds >= 100 ? 10000000 : 1000000);
    rss = rss_kib() - rss;
    descriptors = count_descriptors() - descriptors;
    tell(waitpid(-1, &status, WNOHANG) == 0, "no process is left over from a look");

    atomic_store(&shared->is_over, true);
    waitpid(clients, &status, 0);
    for (int i = 0; i < CONNECTIONS; i++)
        pthread_join(threads[i], NULL);

    struct look last = {0};
    ld_lost_leaks(count_lost, &last);

    printf("# %" PRIu64 " requests, %u looks, %zu blocks lost\n", shared->requests, looks.count, lost_so_far);
    print_latency(false);
    print_latency(true);
    printf("# longest look %.1f ms; resident memory %+ld KiB; descriptors %+d\n",
           (double)looks.longest_us / 1000, rss, descriptors);
    printf("# %u looks were behind, by %u blocks at most\n", looks.behind, looks.most_behind);
    tell(shared->failed == 0 && shared->requests > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0,
         "no request failed");
    tell(looks.count > 0 && looks.unknown == 0, "every look had an answer");
    tell(looks.strange == 0 && looks.too_many == 0 && last.strange == 0, "nothing is found lost that is not");
    tell(looks.most_behind <= CONNECTIONS, "what is lost is found, but for what a busy thread may hide");
    tell(last.lost == lost_so_far && last.lost > 0, "in the end all of it is found");
    tell(rss < RSS_SLACK_KIB, "resident memory does not grow");
    tell(descriptors == 0, "no descriptor is left open");
    if (judge)
        tell(percentile(true, 0.999) <= 2 * percentile(false, 0.999),
             "the 99.9th percentile at most doubles");
    printf("%d passed, %d failed\n", passes, failures);
    return failures > 0;
}
