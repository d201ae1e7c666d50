"""What a request costs before a server does anything: a bare echo over TCP between two processes that sleep in between.

A client that waits for one answer at a time pays for two wake-ups of threads, on a virtual machine mostly of cores that are
halted. A lone write cannot take less than this and the device's write and sync.
"""

import os
import signal
import socket
import statistics
import time

REQUEST_LEN, ANSWER_LEN = 141, 88  # a setData of 100 bytes, and its answer


def _answer(listener):
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answer = bytes(ANSWER_LEN)
    while connection.recv(4096):
        connection.send(answer)


def round_trip_us(seconds):
    """Median, in microseconds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = os.fork()
        if child == 0:
            try:
                _answer(listener)
            finally:
                os._exit(0)
        request, taken = bytes(REQUEST_LEN), []
        try:
            with socket.create_connection(listener.getsockname(), timeout=10) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    begun = time.perf_counter_ns()
                    connection.send(request)
                    connection.recv(4096)
                    taken.append((time.perf_counter_ns() - begun) / 1000)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        return statistics.median(taken)
