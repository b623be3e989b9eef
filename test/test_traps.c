/* SPDX-License-Identifier: MIT
 *
 * Traps that are about the process as a whole: what a report needs from a hostile end, what must not be used,
 * what must not be touched.  Each runs in a child, which is spoilt for anything else.
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { TEXT_MAX = 65536 };
static char text[TEXT_MAX];

static SITE void *forget_a_block(void)
{
    char *block = ld_malloc(1337);

    RETURN_FROM_SITE(block);
}

static SITE void *forget_another_block(void)
{
    char *block = ld_malloc(1338);

    RETURN_FROM_SITE(block);
}

/* Runs end(fd of a pipe) in a child, and collects what comes through the pipe into text. */
static void run_child(void (*end)(int fd))
{
    int fds[2], status = 0;
    size_t length = 0;
    ssize_t got;
    pid_t child;

    fflush(NULL);
    assert_int_equal(pipe(fds), 0);
    child = fork();
    if (child == 0) {
        alarm(60);
        close(fds[0]);
        end(fds[1]);
        _exit(0);
    }
    close(fds[1]);
    while ((got = read(fds[0], text + length, TEXT_MAX - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* The report is whole if it has the block that was forgotten. */
static void assert_report(void)
{
    assert_non_null(strstr(text, "leakdetect report"));
    assert_non_null(strstr(text, "1,337 bytes"));
    assert_non_null(strstr(text, "site 1"));
}

/* --- A hostile end ------------------------------------------------------------------------------------ */

static void report_without_stdio(int fd)
{
    forget_a_block();
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    _exit(ld_report(fd, NULL));
}

static void trap_25_report_with_stderr_closed(void **state)
{
    (void)state;
    run_child(report_without_stdio);
    assert_report();
}

static void report_without_descriptors(int fd)
{
    struct rlimit none = {(rlim_t)fd + 1, (rlim_t)fd + 1};

    forget_a_block();
    for (int other = 0; other < fd; other++)
        dup2(fd, other);
    if (setrlimit(RLIMIT_NOFILE, &none) != 0 || open("/dev/null", O_RDONLY) != -1)
        _exit(1);
    _exit(ld_report(fd, NULL));
}

static void trap_25_report_with_no_descriptors_left(void **state)
{
    (void)state;
    run_child(report_without_descriptors);
    assert_report();
}

static void report_without_memory(int fd)
{
    struct rlimit none = {0, 0};

    forget_a_block();
    if (setrlimit(RLIMIT_AS, &none) != 0)
        _exit(1);
    _exit(ld_report(fd, NULL));
}

static void trap_25_report_with_no_memory_left(void **state)
{
    (void)state;
    /* A sanitizer maps memory at any moment. */
    if (HAS_SANITIZER)
        skip();
    run_child(report_without_memory);
    assert_report();
}

static void report_in_empty_root(int fd)
{
    forget_a_block();
    /* Without the right to do so it is still a report. */
    if (chroot("/proc/self/fdinfo") == 0 && chdir("/") != 0)
        _exit(1);
    _exit(ld_report(fd, NULL));
}

static void trap_25_report_after_chroot(void **state)
{
    (void)state;
    run_child(report_in_empty_root);
    assert_report();
    assert_non_null(strstr(text, "/test_traps\n")); /* as the program was started, for want of /proc */
}

static void report_to_nowhere(int fd)
{
    signal(SIGPIPE, SIG_IGN);
    forget_a_block();
    close(fd);
    REQUIRE(ld_report(fd, NULL) == EBADF);
    REQUIRE(ld_report(-1, NULL) == EBADF);
    REQUIRE(count_of_size(1337, NULL) == 1);
}

static void trap_25_report_to_a_closed_descriptor_is_an_error(void **state)
{
    (void)state;
    run_child(report_to_nowhere);
}

/* --- Descriptors -------------------------------------------------------------------------------------- */

/* The pipe that libunwind has: nobody else has one from here on (platform_first_descriptor). */
static int find_pipe(void)
{
    struct stat status;
    int fd = 256;

    while (fd < 1024 && !(fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode)))
        fd++;
    return fd;
}

static void ask_where_the_pipe_was(int fd)
{
    static struct snapshot before, after;
    void *block = forget_a_block();
    int first = find_pipe();

    REQUIRE(find_block(block, &before));
    REQUIRE(first < 1024);
    REQUIRE(dup2(fd, STDOUT_FILENO) == STDOUT_FILENO);
    for (int other = STDERR_FILENO + 1; other < 1024; other++)
        close(other);
    /* The two numbers are the lowest that are free. */
    while (open("/dev/null", O_RDONLY | O_CLOEXEC) < first - 1)
        continue;
    block = forget_another_block();
    REQUIRE(find_block(block, &after));
    REQUIRE(after.frame_count == before.frame_count);
    dprintf(STDOUT_FILENO, "%zu frames", after.frame_count);
}

static void a_closed_pipe_is_made_again_where_its_numbers_are_the_lowest(void **state)
{
    (void)state;
    run_child(ask_where_the_pipe_was);
    assert_non_null(strstr(text, " frames"));
}

/* --- What is not used --------------------------------------------------------------------------------- */

/* Kills the process if it calls ptrace, or traces a child, which is how others stop the world. */
static void forbid_ptrace(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void report_without_ptrace(int fd)
{
    REQUIRE(prctl(PR_SET_DUMPABLE, 0) == 0);
    forbid_ptrace();
    forget_a_block();
    REQUIRE(count_of_size(1337, NULL) == 1);
    _exit(ld_report(fd, NULL));
}

/* A program that shuts itself in after ld_init, and allows nothing but what it uses itself. */
static void forbid_membarrier(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void fork_without_membarrier(int fd)
{
    int status = 0;
    pid_t child;

    forget_a_block();
    forbid_membarrier();
    child = fork();
    REQUIRE(child >= 0);
    forget_a_block();
    REQUIRE(count_of_size(1337, NULL) == 2);
    if (child == 0)
        _exit(0);
    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    _exit(ld_report(fd, NULL));
}

static void trap_17_membarrier_may_be_taken_away(void **state)
{
    (void)state;
    run_child(fork_without_membarrier);
    assert_non_null(strstr(text, "site 1"));
}

static void trap_17_nothing_depends_on_ptrace(void **state)
{
    (void)state;
    run_child(report_without_ptrace);
    assert_report();
}

/* --- What is not touched ------------------------------------------------------------------------------ */

static void trap_22_signal_dispositions_are_left_alone(void **state)
{
    (void)state;
    struct sigaction before[NSIG];

    for (int number = 1; number < NSIG; number++)
        sigaction(number, NULL, &before[number]);
    ld_init();
    ld_free(forget_a_block());
    ld_now_leaks(NULL, NULL);
    for (int number = 1; number < NSIG; number++) {
        struct sigaction now;

        if (sigaction(number, NULL, &now) != 0)
            continue;
        assert_true(now.sa_handler == before[number].sa_handler);
        assert_int_equal(now.sa_flags, before[number].sa_flags);
    }
}

/* Output that waits in stdio's buffers comes out as if there had been no report. */
static void print_and_report(int fd)
{
    FILE *out = fdopen(fd, "w");

    forget_a_block();
    fprintf(out, "begun, ");
    REQUIRE(ld_report(open("/dev/null", O_WRONLY), NULL) == 0);
    fprintf(out, "ended\n");
    exit(0);
}

static void trap_23_a_report_costs_the_program_no_output(void **state)
{
    (void)state;
    run_child(print_and_report);
    assert_string_equal(text, "begun, ended\n");
}

/* --- Memory ------------------------------------------------------------------------------------------- */

static size_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long total, resident;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &total, &resident), 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* Blocks that are neighbours are neighbours in the table: a record costs its slot, not a page. */
static void trap_16_small_blocks_cost_no_page_each(void **state)
{
    (void)state;
    enum { BLOCKS = 100000, SIZE = 48, RECORD_MAX = 64 };
    static void *blocks[BLOCKS];
    size_t before, after;

    if (HAS_SANITIZER)
        skip();
    memset(blocks, 1, sizeof(blocks));
    before = resident_bytes();
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = ld_malloc(SIZE);
    after = resident_bytes();
    for (size_t i = 0; i < BLOCKS; i++)
        ld_free(blocks[i]);
    assert_true(after - before <= BLOCKS * (size_t)(2 * SIZE + RECORD_MAX));
}

/* --- The unwinder ------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
/* Calls ld_malloc(1337) with a frame pointer that points nowhere, as code without frame pointers may. */
__asm__(".pushsection .text\n"
        ".type malloc_with_wild_rbp, @function\n"
        "malloc_with_wild_rbp:\n"
        ".cfi_startproc\n"
        "push %rbp\n"
        ".cfi_adjust_cfa_offset 8\n"
        ".cfi_rel_offset %rbp, 0\n"
        "movabs $0x1337133713371337, %rbp\n"
        "mov $1337, %edi\n"
        "call ld_malloc\n"
        "pop %rbp\n"
        ".cfi_adjust_cfa_offset -8\n"
        ".cfi_restore %rbp\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size malloc_with_wild_rbp, . - malloc_with_wild_rbp\n"
        ".popsection\n");

void *malloc_with_wild_rbp(void);

static void trap_10_a_wild_frame_pointer_is_not_followed(void **state)
{
    (void)state;
    struct snapshot plain, wild;
    void *block = forget_a_block();

    assert_true(find_block(block, &plain));
    ld_free(block);
    for (int i = 0; i < 3; i++) {
        block = malloc_with_wild_rbp();
        assert_true(find_block(block, &wild));
        assert_int_equal(wild.frame_count, plain.frame_count);
        for (size_t k = 2; k < wild.frame_count; k++)
            assert_ptr_equal(wild.frames[k], plain.frames[k]);
        ld_free(block);
    }
}
#else
static void trap_10_a_wild_frame_pointer_is_not_followed(void **state)
{
    (void)state;
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* Before ld_init. */
        cmocka_unit_test(trap_22_signal_dispositions_are_left_alone),
        cmocka_unit_test(trap_10_a_wild_frame_pointer_is_not_followed),
        cmocka_unit_test(trap_16_small_blocks_cost_no_page_each),
        cmocka_unit_test(trap_17_nothing_depends_on_ptrace),
        cmocka_unit_test(trap_17_membarrier_may_be_taken_away),
        cmocka_unit_test(trap_23_a_report_costs_the_program_no_output),
        cmocka_unit_test(trap_25_report_with_stderr_closed),
        cmocka_unit_test(trap_25_report_with_no_descriptors_left),
        cmocka_unit_test(trap_25_report_with_no_memory_left),
        cmocka_unit_test(trap_25_report_after_chroot),
        cmocka_unit_test(trap_25_report_to_a_closed_descriptor_is_an_error),
        cmocka_unit_test(a_closed_pipe_is_made_again_where_its_numbers_are_the_lowest),
    };

    test_deadline(120);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
