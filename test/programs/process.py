# SPDX-License-Identifier: MIT
#
# What a program can see of its own process, and what it does to it.
import ctypes
import os
import resource
import signal
import sys
import threading

# Ours are out of the way.
print(sorted(int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) < 128))
print([signal.getsignal(number) for number in range(1, 32)])
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(threading.active_count(), len(os.listdir("/proc/self/task")))
print(resource.getrlimit(resource.RLIMIT_NOFILE), os.getcwd(), sys.argv)

# A child that has none of the parent's descriptors, and one that runs in the parent's memory.
child = os.fork()
if child == 0:
    os.closerange(0, 256)
    os._exit(len([bytes(1000) for _ in range(1000)]) % 251)
print(os.waitpid(child, 0)[1])
child = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], os.environ)
print(os.waitpid(child, 0)[1])

# Signals at once, and blocks that come and go meanwhile.
count = 0


def handle(number, frame):
    global count
    count += 1
    _ = [str(number)] * 100


signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
while count < 200:
    _ = {str(i): bytes(i) for i in range(100)}
signal.setitimer(signal.ITIMER_REAL, 0)

libc = ctypes.CDLL(None, use_errno=True)
libc.malloc.restype = libc.realloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.malloc.argtypes = [ctypes.c_size_t]
print(libc.malloc(1 << 63), ctypes.get_errno(), libc.malloc((1 << 64) - 1), ctypes.get_errno())
block = libc.realloc(libc.malloc(0), 100)
print(bool(block), libc.realloc(block, 1 << 63))
libc.free(block)
libc.free(None)

# Out of memory is an exception, and no more.
resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)
try:
    bytearray(1 << 62)
except MemoryError as failure:
    print(repr(failure))
os.execv("/bin/echo", ["echo", "replaced"])
