# SPDX-License-Identifier: MIT
#
# Extension modules that are loaded while it runs, C that calls Python back, threads, recursion and exceptions.
# Run with PYTHONMALLOC=malloc.  Argument: rounds.
import ctypes
import decimal
import hashlib
import json
import lzma
import multiprocessing
import re
import sqlite3
import subprocess
import sys
import threading
import zlib

COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))


def sort_by_c(count):
    """qsort, which calls code that libffi made at run time, which calls this."""
    numbers = (ctypes.c_int * count)(*[(i * 7919) % 1009 for i in range(count)])
    libc = ctypes.CDLL(None)
    libc.qsort(numbers, count, ctypes.sizeof(ctypes.c_int), COMPARE(lambda a, b: len([a[0]] * 3) and a[0] - b[0]))
    return list(numbers)


def recurse(depth):
    text = "x" * depth
    try:
        return len(text) if depth == 0 else recurse(depth - 1) + len(json.dumps({"depth": [depth, text]}))
    finally:
        str(depth) + text


def fail(depth):
    if depth == 0:
        raise ValueError(["deep", depth])
    fail(depth - 1)


def query(rows):
    database = sqlite3.connect(":memory:")
    database.create_function("half", 1, lambda value: "%08d" % (value // 2))
    database.execute("CREATE TABLE t(a INTEGER, b TEXT)")
    database.executemany("INSERT INTO t VALUES(?, ?)", ((i, str(i)) for i in range(rows)))
    return database.execute("SELECT sum(half(a)), max(b), group_concat(b, '-') FROM t GROUP BY a % 10").fetchall()


def work(number):
    results = [sort_by_c(60), recurse(40), query(100)]
    try:
        fail(50)
    except ValueError as failure:
        results.append(repr(failure))
    data = json.dumps(results).encode()
    results.append(len(lzma.decompress(lzma.compress(data[:2000]))) + len(zlib.decompress(zlib.compress(data))))
    results.append(hashlib.sha256(data).hexdigest())
    results.append(str(decimal.Decimal(number).sqrt()))
    results.append(len(re.findall(rb"(\d+)[^\d]+?(\d)", data)))
    return json.dumps(results)


def child(number):
    return len(work(number))


def main(rounds):
    for number in range(rounds):
        results = [None] * 4

        def run(index):
            results[index] = work(index)

        threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [work(index) for index in range(4)]
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        print(sum(pool.map(child, range(4))))
    print(subprocess.run(["/bin/echo", "from a child"], capture_output=True, check=True).stdout.decode())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
