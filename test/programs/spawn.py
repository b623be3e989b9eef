# SPDX-License-Identifier: MIT
#
# Processes by each method that multiprocessing has, with queues, pipes and shared memory.
import concurrent.futures
import multiprocessing


def square(number):
    return number * number


def serve(queue, pipe):
    for number in iter(queue.get, None):
        pipe.send({"number": number, "text": str(number) * 100})
    pipe.close()


def main():
    for method in ("spawn", "forkserver", "fork"):
        context = multiprocessing.get_context(method)
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            print(method, sum(pool.map(square, range(200), chunksize=10)))
        queue, (ours, theirs) = context.Queue(), context.Pipe()
        child = context.Process(target=serve, args=(queue, theirs))
        child.start()
        for number in range(20):
            queue.put(number)
        queue.put(None)
        print([len(ours.recv()["text"]) for _ in range(20)])
        child.join()
        print(child.exitcode)


if __name__ == "__main__":
    main()
