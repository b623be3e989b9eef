/* SPDX-License-Identifier: MIT
 *
 * Somebody else's library on our allocator: SQLite takes its memory from ld_malloc, by its own means
 * (SQLITE_CONFIG_MALLOC), and need not be compiled anew.
 *
 *     cc sqlite.c -lsqlite3 -lleakdetect
 *
 * The program forgets to finalize a statement.  sqlite3_close_v2 keeps the whole connection alive for the
 * statement's sake and reports no error, so nobody would notice.  The report shows each block that this
 * costs, with its stack: from ld_malloc through libsqlite3 to the line of this file that asked for it.
 */
#include <leakdetect.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- SQLite's memory methods: its sizes are ints, and never below 1 ------------------------------------- */

static void *method_malloc(int size)
{
    return ld_malloc((size_t)size);
}

static void *method_realloc(void *block, int size)
{
    return ld_realloc(block, (size_t)size);
}

static void method_free(void *block)
{
    ld_free(block);
}

static int method_size(void *block)
{
    return (int)ld_usable_size(block);
}

static int method_round_up(int size)
{
    return (size + 7) & ~7;
}

static int method_init(void *unused)
{
    (void)unused;
    return SQLITE_OK;
}

static void method_shutdown(void *unused)
{
    (void)unused;
}

static const sqlite3_mem_methods leakdetect_methods = {
    .xMalloc = method_malloc,
    .xFree = method_free,
    .xRealloc = method_realloc,
    .xSize = method_size,
    .xRoundup = method_round_up,
    .xInit = method_init,
    .xShutdown = method_shutdown,
};

/* --- The program ---------------------------------------------------------------------------------------- */

static void check(sqlite3 *database, int result)
{
    if (result == SQLITE_OK)
        return;
    fprintf(stderr, "sqlite: %s\n", database != NULL ? sqlite3_errmsg(database) : sqlite3_errstr(result));
    exit(EXIT_FAILURE);
}

static void fill(sqlite3 *database)
{
    check(database,
          sqlite3_exec(database,
                       "CREATE TABLE city(name TEXT, people INTEGER);"
                       "INSERT INTO city VALUES('Lisbon', 545923), ('Porto', 231800), ('Braga', 193349);",
                       NULL, NULL, NULL));
}

/* Finalizes its statement, as it should. */
static int count_cities(sqlite3 *database)
{
    sqlite3_stmt *statement;
    check(database, sqlite3_prepare_v2(database, "SELECT count(*) FROM city", -1, &statement, NULL));
    int count = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : 0;
    sqlite3_finalize(statement);
    return count;
}

/* Forgets to finalize its statement. */
static void print_first_city(sqlite3 *database)
{
    sqlite3_stmt *statement;
    const char *query = "SELECT name, people FROM city";
    check(database, sqlite3_prepare_v2(database, query, -1, &statement, NULL));
    if (sqlite3_step(statement) == SQLITE_ROW)
        printf("%s, %d people\n", (const char *)sqlite3_column_text(statement, 0),
               sqlite3_column_int(statement, 1));
}

int main(void)
{
    ld_init();
    check(NULL, sqlite3_config(SQLITE_CONFIG_MALLOC, &leakdetect_methods));

    sqlite3 *database;
    check(NULL, sqlite3_open(":memory:", &database));
    fill(database);
    printf("%d cities\n", count_cities(database));

    uint32_t mark = ld_mark();
    print_first_city(database);
    sqlite3_close_v2(database);

    printf("\nWhat is left of all that was allocated since the last query began:\n\n");
    fflush(stdout);
    const struct ld_report_options options = {.since = mark};
    int error = ld_report(STDOUT_FILENO, &options);
    if (error != 0)
        fprintf(stderr, "sqlite: no report: %s\n", strerror(error));
    return error == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
