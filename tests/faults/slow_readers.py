"""Clients that ask for much and take little: what they may hold of the server's memory is bounded, nobody else notices."""

import socket
import threading

from common import Bystander, Client, Op, case, frame, new_server, path_watch, request, set_data_body, wait_for
from frames import i32, string

BIG = 1_000_000             # near the default jute.maxbuffer
CONFIG = {"tickTime": 500, "maxSessionTimeout": 40_000}
SMALL_BUFFER = 64 << 10     # the kernel holds little for a client with it
# What one client that does not read may cost: the requests and answers that are kept for it (a few MiB), what the allocator
# does not give back, and the shard's share of everything else.
GROWTH_MB_MAX = 64
EVENTS_MB_MAX = 256         # `OUT_MAX_BYTES`: where a client that does not take its events is closed


class Pusher:
    """Sends all it is given, on a thread of its own, as far as the server takes it."""

    def __init__(self, client, data):
        self.client, self.taken, self.length = client, 0, len(data)
        client.socket.sock.settimeout(None)
        self.thread = threading.Thread(target=self.work, args=(data,), daemon=True)
        self.thread.start()

    def work(self, data):
        view = memoryview(data)
        try:
            while self.taken < self.length:
                self.taken += self.client.socket.sock.send(view[self.taken:self.taken + 65536])
        except OSError:
            pass  # closed, by the server or by `end`

    def stalled(self):
        """Whether the server takes nothing more at present."""
        before = self.taken
        self.thread.join(0.5)
        return self.taken == before and self.thread.is_alive()

    def end(self):
        try:
            self.client.socket.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.client.socket.close(reset=True)
        self.thread.join(10)


def is_gone(server, client):
    """Whether the session of `client` has ended."""
    again = Client(server, session=client.session, password=client.password)
    again.socket.close()
    return again.refused


def growth(server, before):
    """Most memory it has had since, in MB."""
    return server.status("VmHWM") - before


@case
def slow_reader():
    """10,000 reads of 1 MB that nobody takes: not read from, little memory, closed when the session's time is over."""
    with new_server(CONFIG) as server:
        server.start()
        bystander = Bystander(server)
        with Client(server) as other:
            assert other.create("/big", bytes(BIG)) == 0
        before = server.status("VmHWM")
        client = Client(server, timeout=4000, receive_buffer=SMALL_BUFFER)
        one = frame(request(1, Op.GET_DATA, path_watch("/big", False))) + frame(request(-2, Op.PING))
        pusher = Pusher(client, one * 200_000)
        wait_for("it is not read from any more", pusher.stalled)
        bystander.progress(20)
        grown = growth(server, before)
        assert grown < GROWTH_MB_MAX, f"a client that does not read costs {grown:.0f} MB"
        # The pings behind its requests are not heard, so its session ends, and its connection with it.
        wait_for("its connection is closed", lambda: not pusher.thread.is_alive())
        wait_for("its session is over", lambda: is_gone(server, client))
        pusher.end()
        wait_for("only the bystander is left", lambda: server.connections() == 1)
        bystander.done()
        server.check_healthy()
        print(f"FIGURE slow reader: asked for 200,000 x 1 MB and read nothing: {pusher.taken >> 10} KiB of requests taken, "
              f"{grown:.0f} MB at most, closed at the end of its session")


@case
def slow_reader_behind_a_write():
    """The same with a write before the reads, so that they wait and become answerable all at once."""
    with new_server(CONFIG) as server:
        server.start()
        bystander = Bystander(server)
        with Client(server) as other:
            assert other.create("/big", bytes(BIG)) == 0
        before = server.status("VmHWM")
        client = Client(server, timeout=40_000, receive_buffer=SMALL_BUFFER)
        read = frame(request(1, Op.GET_DATA, path_watch("/big", False)))
        write = frame(request(1, Op.SET_DATA, set_data_body("/bystander-no", b"", -1)))
        pusher = Pusher(client, (write + read * 2000) * 200)
        wait_for("it is not read from any more", lambda: pusher.stalled() or not pusher.thread.is_alive())
        bystander.progress(20)
        grown = growth(server, before)
        assert pusher.thread.is_alive(), f"it was closed while its session lives; it cost {grown:.0f} MB"
        # Taking the answers at last makes everything go on, in order.
        for number in range(3000):
            _, err, reader = client.take()
            expected = -101 if number % 2001 == 0 else 0
            assert err == expected, f"answer {number} is {err}"
            if err == 0:
                assert len(reader.buffer()) == BIG
        pusher.end()
        bystander.done()
        server.check_healthy()
        # 64 reads of 1 MB may wait (`WAITING_READS_MAX`); their answers' buffer doubles as it grows.
        assert grown < 4 * GROWTH_MB_MAX, f"a client that does not read costs {grown:.0f} MB"
        print(f"FIGURE slow reader, 2,000 x 1 MB reads behind a write: {grown:.0f} MB at most")


@case
def many_big_writes():
    """Big writes pipelined faster than the disk takes them, and large requests that wait behind them."""
    with new_server(CONFIG | {"snapCount": 1_000_000}) as server:
        server.start()
        bystander = Bystander(server)
        with Client(server) as other:
            assert other.create("/big", bytes(BIG)) == 0
        before = server.status("VmHWM")
        client = Client(server)
        # A read with a long path waits behind the write with all its bytes.
        write = frame(request(1, Op.SET_DATA, set_data_body("/big", b"x" * BIG, -1)))
        read = frame(request(1, Op.EXISTS, path_watch("/" + "y" * BIG, False)))
        count = 400
        pusher = Pusher(client, (write + read) * (count // 2))
        for number in range(count):
            _, err, _ = client.take()
            assert err == (0 if number % 2 == 0 else -101), f"answer {number} is {err}"
        pusher.end()
        grown = growth(server, before)
        bystander.done()
        server.check_healthy()
        assert grown < 3 * GROWTH_MB_MAX, f"{count} MB of pipelined requests cost {grown:.0f} MB"
        print(f"FIGURE {count} MB of pipelined writes and waiting reads: {grown:.0f} MB at most")


@case
def watcher_that_does_not_read():
    """Events that nobody takes: kept up to a bound; closed when the session's time is over, pings or not; the writer goes on."""
    with new_server(CONFIG) as server:
        server.start()
        long_path = "/" + "w" * 200_000
        writer = Client(server)
        assert writer.create(long_path, b"") == 0
        watcher = Client(server, timeout=4000, receive_buffer=SMALL_BUFFER)
        assert watcher.ask(Op.ADD_WATCH, string("/") + i32(1))[1] == 0
        before = server.status("VmHWM")
        pings = Pusher(watcher, frame(request(-2, Op.PING)) * 2_000_000)
        told = 0

        def closed():
            nonlocal told
            for _ in range(20):
                assert writer.set(long_path, b"%d" % told) == 0
                told += 1
            return not pings.thread.is_alive() or pings.taken == pings.length

        wait_for("the watcher is closed", closed, every=0.2)
        assert pings.taken < pings.length, "it was never stopped"
        wait_for("its session is over", lambda: is_gone(server, watcher))
        pings.end()
        wait_for("only the writer is left", lambda: server.connections() == 1)
        grown = growth(server, before)
        assert grown < 2 * EVENTS_MB_MAX + GROWTH_MB_MAX, f"events that nobody takes cost {grown:.0f} MB"
        assert writer.ping() == 0 and writer.get(long_path) is not None
        server.check_healthy()
        print(f"FIGURE watcher that does not read: {told} events of 200 KB ({told * 0.2:.0f} MB), {grown:.0f} MB at most, then closed")
