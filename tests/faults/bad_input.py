"""Clients that send anything, come in floods, or vanish: only their own connections suffer."""

import contextlib
import os
import random
import struct

from common import (CLOSED, OPEN, SESSION_MS, SILENT, Bystander, Client, Gone, Op, Socket, case, connect_request, create_body,
                    frame, new_server, path_version, path_watch, request, set_data_body, wait_for)
from frames import (ERRORS, acl, auth_body, create_ttl_body, i32, i64, multi_body, set_acl_body, set_watches_body,
                    string, vector)

MAX = 100_000            # jute.maxbuffer of these servers
SEED = int(os.environ.get("ZOO_FAULTS_SEED", "1"))
FUZZ_FRAMES = int(os.environ.get("ZOO_FAULTS_FRAMES", "30000"))
CONFIG = {"jute.maxbuffer": MAX, "tickTime": 500, "maxClientCnxns": 0, "zoo.shards": 2}


def ends_or_answers(socket, seconds_max=20.0):
    """Whether it was answered; False if the connection was closed. Neither is a failure of the case."""
    payload = socket.receive(seconds_max)
    assert payload is not SILENT, "neither an answer nor an end"
    return payload is not CLOSED


FIRST_BYTES = {
    "length -1": i32(-1),
    "the smallest length": i32(-(1 << 31)),
    "the largest length": i32((1 << 31) - 1),
    "one byte too long": i32(MAX + 1) + bytes(64),
    "an empty frame": i32(0),
    "a frame of one byte": frame(b"\0"),
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(160),
    "a word that is none": b"zzzz\n",
    "half a handshake, then requests": frame(connect_request()[:20]) + frame(request(1, Op.PING)),
    "a password of absurd length": frame(i32(0) + i64(0) + i32(1000) + i64(0) + i32(1 << 30)),
    "a password of negative length": frame(i32(0) + i64(0) + i32(1000) + i64(0) + i32(-77)),
    "a session nobody has": frame(connect_request(session=0x7777, password=bytes(16))),
    "a session and no password": frame(connect_request(session=0x7777, password=None)),
    "a client from the future": frame(connect_request(last_zxid=(1 << 62))),
}


@case
def bad_first_bytes():
    """What is no handshake ends its connection; half of one is dropped when its time is over."""
    with new_server(CONFIG | {"zookeeper.nio.sessionlessCnxnTimeout": 1000}) as server:
        server.start()
        bystander = Bystander(server)
        for name, data in FIRST_BYTES.items():
            socket = Socket(server.host, server.port)
            socket.send(data)
            answered = ends_or_answers(socket)
            while answered:  # a refusal is said, then the connection ends
                answered = ends_or_answers(socket)
            socket.close()
            assert server.alive(), f"{name} ended the server"
        # Halves, with and without an end of their own, and silence.
        whole = frame(connect_request())
        waiting = [Socket(server.host, server.port) for _ in range(60)]
        for number, socket in enumerate(waiting):
            socket.send(whole[:number % len(whole)])
        for socket in waiting[::3]:
            socket.close(reset=True)
        for socket in waiting[1::3]:
            socket.shutdown_write()
        wait_for("only the bystander is left", lambda: server.connections() == 1)
        for socket in waiting:
            socket.close()
        for timeout in (-1, 0, -(1 << 31), (1 << 31) - 1):
            with Client(server, timeout=timeout) as client:
                assert 1000 <= client.timeout <= 10_000, f"{timeout} became {client.timeout}"
        bystander.done()
        server.check_healthy()


BAD_PATHS = ["", "a", "/a/", "//", "/a//b", "/a/./b", "/a/../b", "/..", "/a\0b", "/a\x01", "/a\x7f", "/\ud800", "/a\uf8ff"]
BAD_STRINGS = [i32(-5), i32(1 << 30), i32(7) + b"/abc", i32((1 << 31) - 1) + b"/a", b"\0\0"]
UNKNOWN_OPS = [10, 23, 99, 108, 999, (1 << 31) - 1, -(1 << 31), -2, -10, -1, Op.DELETE_CONTAINER, Op.CHECK, Op.NOTIFICATION]


def bodies():
    """A valid body for each operation."""
    create = create_body("/f", b"data", OPEN, 0)
    return {
        Op.CREATE: create, Op.CREATE2: create, Op.CREATE_CONTAINER: create_body("/fc", b"", OPEN, 4),
        Op.CREATE_TTL: create_ttl_body("/ft", b"", OPEN, 5, 1000), Op.DELETE: path_version("/f", -1),
        Op.EXISTS: path_watch("/f", True), Op.GET_DATA: path_watch("/f", True), Op.SET_DATA: set_data_body("/f", b"x", -1),
        Op.GET_ACL: string("/f"), Op.SET_ACL: set_acl_body("/f", OPEN, -1), Op.GET_CHILDREN: path_watch("/", True),
        Op.GET_CHILDREN2: path_watch("/", True), Op.SYNC: string("/f"), Op.CHECK_WATCHES: string("/f") + i32(3),
        Op.REMOVE_WATCHES: string("/f") + i32(3), Op.ADD_WATCH: string("/f") + i32(1), Op.GET_EPHEMERALS: string("/"),
        Op.GET_ALL_CHILDREN_NUMBER: string("/"), Op.WHO_AM_I: b"", Op.AUTH: auth_body("digest", b"u:p"),
        Op.SET_WATCHES: set_watches_body(0, ["/f"], ["/g"], ["/"]),
        Op.SET_WATCHES2: set_watches_body(0, ["/f"], ["/g"], ["/"], ["/p"], ["/r"]),
        Op.MULTI: multi_body([(Op.CREATE, create), (Op.SET_DATA, set_data_body("/f", b"y", -1)),
                              (Op.DELETE, path_version("/f", -1)), (Op.CHECK, path_version("/f", 0))]),
        Op.MULTI_READ: multi_body([(Op.GET_DATA, path_watch("/f", False)), (Op.GET_CHILDREN, path_watch("/", False))]),
        Op.RECONFIG: string("a") + string(None) + string(None) + i64(-1), Op.SASL: i32(2) + b"ab",
    }


class Talker:
    """A client that says anything, and comes back when it was thrown out."""

    def __init__(self, server):
        self.server, self.client, self.ends = server, None, 0

    def say(self, op, body):
        """The error of the answer, or None if the connection was closed instead."""
        if self.client is None:
            self.client = Client(self.server)
        try:
            return self.client.ask(op, body)[1]
        except Gone as gone:
            assert str(gone) != SILENT, f"operation {op} with {body[:80]!r} got neither an answer nor an end"
            self.client.socket.close()
            self.client = None
            self.ends += 1
            return None


@case
def bad_requests():
    """Unknown operations, broken records, wrong paths, wrong lengths: an error or the end of that connection."""
    with new_server(CONFIG) as server:
        server.start()
        bystander = Bystander(server)
        talker = Talker(server)
        for op in UNKNOWN_OPS:
            err = talker.say(op, string("/f") + bytes(8))
            assert err != 0, f"operation {op} succeeded"
        for path in BAD_PATHS:
            data = path.encode("utf-8", "surrogatepass")
            err = talker.say(Op.CREATE, create_body(data, b"", OPEN, 0))
            assert err != 0, f"a znode was made at {path!r}"
            talker.say(Op.EXISTS, path_watch(data, False))
        for bad in (b"/\xff\xfe", b"/\xc3", b"/\xed\xa0\x80", b"/\xf8\x88\x80\x80\x80"):
            for op, body in ((Op.CREATE, create_body(bad, b"", OPEN, 0)), (Op.GET_DATA, path_watch(bad, True))):
                talker.say(op, body)
        for bad in BAD_STRINGS:
            for op in bodies():
                talker.say(op, bad)
        for count in (-2, 1 << 30, (1 << 31) - 1):
            talker.say(Op.CREATE, string("/v") + i32(0) + i32(count) + acl(OPEN[0]))
            talker.say(Op.SET_WATCHES, i64(0) + i32(count))
        talker.say(Op.CREATE, create_body("/null", b"", None, 0))
        talker.say(Op.CREATE, string("/null") + i32(-1) + vector([], acl) + i32(1 << 20))
        for op, body in bodies().items():
            for cut in range(len(body)):
                talker.say(op, body[:cut])
        deep = "/d" * 20_000
        talker.say(Op.CREATE, create_body(deep, b"", OPEN, 0))
        talker.say(Op.GET_CHILDREN, path_watch(deep, True))
        many = [(Op.CREATE, create_body(f"/many{n}", b"", OPEN, 0)) for n in range(1500)]
        assert talker.say(Op.MULTI, multi_body(many)) == 0
        talker.say(Op.MULTI, multi_body(many, end=False))
        talker.say(Op.MULTI, bytes(MAX - 100))
        bystander.done()
        server.check_healthy()
        assert talker.ends > 0


@case
def requests_behind_the_last():
    """What comes behind a closeSession or an unknown operation in one go, reads and writes, harms nobody."""
    with new_server(CONFIG) as server:
        server.start()
        bystander = Bystander(server)
        read = (Op.EXISTS, path_watch("/", True))
        write = (Op.SET_DATA, set_data_body("/bystander-no", b"", -1))
        lasts = [(Op.CLOSE_SESSION, b""), (999, b""), (Op.AUTH, auth_body("nobody", b"x")), (Op.CREATE_SESSION, b"")]
        for last in lasts:
            for before in ([], [write], [read], [write, read], [read, write]):
                for behind in ([read], [write], [read, write], [write, read, write], [last, read, write], [read, last, write]):
                    client = Client(server)
                    client.socket.send(b"".join(client.encode(op, body) for op, body in before + [last] + behind))
                    while ends_or_answers(client.socket):
                        pass
                    client.socket.close()
                    assert server.alive(), f"{before}, {last}, {behind} ended the server"
        bystander.done()
        server.check_healthy()


@case
def oversized_requests():
    """A request beyond jute.maxbuffer ends its connection only; the session lives on, and so do the others."""
    with new_server(CONFIG) as server:
        server.start()
        bystander = Bystander(server)
        client = Client(server)
        assert client.create("/fits", bytes(MAX - 200)) == 0
        client.push(Op.CREATE, create_body("/too-long", bytes(MAX + 1), OPEN, 0))
        try:
            client.take()
            raise AssertionError("a request beyond jute.maxbuffer was answered")
        except Gone as gone:
            assert str(gone) == CLOSED
        client.socket.close()
        again = Client(server, session=client.session, password=client.password)
        assert not again.refused, "the session is gone with its connection"
        assert not again.exists("/too-long") and again.exists("/fits")
        for length in (MAX + 1, 1 << 30, (1 << 31) - 1, -1, -MAX, -(1 << 31)):
            assert again.socket.send(i32(length) + bytes(32))
            assert not ends_or_answers(again.socket), f"a frame of length {length} was answered"
            again.socket.close()
            again = Client(server, session=client.session, password=client.password)
            assert not again.refused
        before = server.rss()
        waiting = []
        for _ in range(100):
            socket = Client(server).socket
            socket.send(i32(MAX) + bytes(1000))  # announces much, sends little
            waiting.append(socket)
        bystander.progress()
        grown = server.rss() - before
        assert grown < 8, f"100 announced frames of {MAX} bytes cost {grown:.0f} MB"
        for socket in waiting:
            socket.close(reset=True)
        bystander.done()
        server.check_healthy()


@case
def mutated_requests():
    """Thousands of valid requests with bytes changed, cut, doubled or added, from a seed."""
    chance = random.Random(SEED)
    valid = list(bodies().items())
    with new_server(CONFIG) as server:
        server.start()
        bystander = Bystander(server)
        client, answers, ends = None, 0, 0
        sent = 0
        while sent < FUZZ_FRAMES:
            if client is None:
                client = Client(server)
            batch = []
            for _ in range(20):
                op, body = chance.choice(valid)
                payload = bytearray(i32(sent + 1) + i32(op) + body)
                for _ in range(chance.choice((1, 1, 2, 5))):
                    # The operation itself stays mostly as it is, so that the record is looked at.
                    at = chance.randrange(min(8, len(payload)) if chance.random() < 0.95 else 0, len(payload) + 1)
                    kind = chance.randrange(5)
                    if kind == 0 and at < len(payload):
                        payload[at] ^= 1 << chance.randrange(8)
                    elif kind == 1 and at < len(payload):
                        payload[at] = chance.choice((0, 0x7F, 0x80, 0xFF))
                    elif kind == 2:
                        del payload[at:]
                    elif kind == 3:
                        payload[at:at] = payload[at:at + chance.randrange(1, 20)]
                    else:
                        payload[at:at + 4] = struct.pack(">i", chance.choice((-1, -2, 0, 1 << 16, 1 << 30, (1 << 31) - 1)))
                batch.append(frame(bytes(payload)))
                sent += 1
            # A last request with an answer of its own tells that all before it were dealt with.
            batch.append(frame(request(999_999_999, Op.EXISTS, path_watch("/", False))))
            client.socket.send(b"".join(batch))
            answered = set()
            while True:
                payload = client.socket.receive(20.0)
                if payload is SILENT:
                    lost = [part.hex() for part in batch if part[4:8] not in answered]
                    raise AssertionError(f"neither an answer nor an end; not answered: {lost}")
                if payload is CLOSED:
                    client.socket.close()
                    client, ends = None, ends + 1
                    break
                answers += 1
                answered.add(payload[:4])
                if struct.unpack_from(">i", payload)[0] == 999_999_999:
                    break
        if client:
            client.end()
        bystander.done()
        server.check_healthy()
        server.kill()
        server.start()  # whatever was taken can be read back
        server.check_healthy()
        print(f"FIGURE bad input: {sent} mutated requests (seed {SEED}): {answers} answers, {ends} connections closed, no panic, "
              f"the bystander's slowest round {bystander.slowest * 1000:.0f} ms")


def sessions_of_flood(server, count):
    """Tries to open this many sessions at once: those that were let in."""
    sockets = [Socket(server.host, server.port) for _ in range(count)]
    for socket in sockets:
        socket.send(frame(connect_request(timeout=SESSION_MS)))
    inside = []
    for socket in sockets:
        if socket.receive(20.0) in (CLOSED, SILENT):
            socket.close()
        else:
            inside.append(socket)
    return inside


@case
def floods_of_connections():
    """Beyond maxClientCnxns and maxCnxns connections are closed at once; who is inside is not disturbed."""
    for key in ("maxClientCnxns", "maxCnxns"):
        with new_server({"maxClientCnxns": 0} | {key: 20}) as server:
            server.start()
            bystander = Bystander(server)
            for _ in range(3):
                inside = sessions_of_flood(server, 300)
                assert 17 <= len(inside) <= 19, f"{key}=20: {len(inside)} came in beside one that was there"
                bystander.progress()
                for socket in inside:
                    socket.close(reset=True)
                wait_for("their places are free again", lambda: server.connections() <= 1)
            bystander.done()
            server.check_healthy()


@case
def no_files_left():
    """When the server may open no more files, those inside go on, and others get in when some have left."""
    with new_server({"maxClientCnxns": 0}, launch=["--limit", "NOFILE", "128", "128"]) as server:
        server.start()
        bystander = Bystander(server)
        sockets = [Socket(server.host, server.port) for _ in range(300)]
        for socket in sockets:
            socket.send(frame(connect_request(timeout=SESSION_MS)))
        wait_for("no file is left", lambda: "could not be accepted" in server.log())
        bystander.progress(20)
        for socket in sockets:
            socket.close(reset=True)
        wait_for("places are free again", lambda: len(os.listdir(f"/proc/{server.pid}/fd")) < 64)
        bystander.done()
        server.check_healthy()
        lines = server.log().count("could not be accepted")
        assert lines < 2000, f"{lines} lines in the log about one thing"


def sockets(server):
    """How many sockets the server has open. (Of files it may have more when the log has gone on.)"""
    folder, count = f"/proc/{server.pid}/fd", 0
    for number in os.listdir(folder):
        with contextlib.suppress(OSError):
            count += os.readlink(os.path.join(folder, number)).startswith("socket:")
    return count


@case
def vanishing_clients():
    """Clients that go without a word, in the middle of requests and frames: their ephemerals go with their sessions."""
    chance = random.Random(SEED)
    with new_server(CONFIG) as server:
        server.start()
        bystander = Bystander(server)
        before = sockets(server)
        with Client(server) as client:
            assert client.create("/e") == 0
        sessions = 0
        for number in range(300):
            client = Client(server, timeout=1000)
            sessions += 1
            client.push(Op.CREATE, create_body(f"/e/{number}", b"", OPEN, 1))
            if number % 3 == 0:
                client.take()
            for _ in range(chance.randrange(20)):
                client.push(Op.SET_DATA, set_data_body(f"/e/{number}", bytes(1000), -1))
                client.push(Op.GET_DATA, path_watch(f"/e/{number}", True))
            whole = client.encode(Op.SET_DATA, set_data_body("/e", bytes(500), -1))
            client.socket.send(whole[:chance.randrange(len(whole))])
            client.socket.close(reset=True)
        wait_for("their connections are gone", lambda: server.connections() == 1)
        wait_for("their sockets are closed", lambda: sockets(server) <= before)
        with Client(server) as client:
            def children():
                _, err, reader = client.ask(Op.GET_CHILDREN, path_watch("/e", False))
                assert err == 0, ERRORS.get(err, err)
                return reader.i32()
            wait_for("their ephemerals are gone", lambda: children() == 0)
        bystander.done()
        server.check_healthy()
