"""A session of one client over frames.py: quick, with every number of the answers in sight.

    from client import Client, Gone, Refused
    client = Client(host, port, timeout_ms=10_000)             # a new session; Refused if the server does not know a given one
    zxid, err, body = client.ask(Op.SET_DATA, set_data_body("/a", b"x", -1))
    client.push(Op.SYNC, string("/a")); client.push(Op.GET_DATA, path_watch("/a", False)); client.take(); client.take()
    again = Client(host, port, **client.ticket())              # the same session on another server

Whatever the network does to it is Gone: after that it is not known whether the requests on their way have taken effect.
"""

import struct
from collections import deque

from frames import (CLOSED, OPEN, SILENT, Op, Socket, connect_request, create_body, frame, path_version, path_watch, request,
                    set_data_body, string)

OK, CONNECTION_LOSS, NO_NODE, BAD_VERSION, NODE_EXISTS = 0, -4, -101, -103, -110
SESSION_EXPIRED, SESSION_MOVED = -112, -118
ANSWER_SECONDS_MAX = 20.0
STAT = struct.Struct(">qqqqiiiqiiq")
STAT_NAMES = ("czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "ephemeralOwner", "dataLength",
              "numChildren", "pzxid")


class Gone(Exception):
    """The connection is over, or nothing came in time."""


class Refused(Exception):
    """The server says that the session is no more."""


class Disorder(Exception):
    """An answer to another request than the one whose turn it is."""


class Client:
    def __init__(self, host, port, *, timeout_ms=10_000, session=0, password=bytes(16), last_zxid=0, next_xid=1,
                 connect_seconds=ANSWER_SECONDS_MAX, answer_seconds=ANSWER_SECONDS_MAX):
        self.answer_seconds = answer_seconds
        self.asked_ms = timeout_ms
        # A session's numbers go on where they were, as with the Java client: a follower of Apache's takes a commit with the
        # session and number of a request that waits for that request's own, whichever connection it came from.
        self.next_xid = next_xid
        self.events = 0
        self.waiting = deque()              # the numbers of the requests that are not answered yet
        self.last_zxid = last_zxid          # the newest zxid this session has seen
        try:
            self.socket = Socket(host, port, timeout=connect_seconds)
        except OSError as error:
            raise Gone(repr(error)) from None
        self.socket.send(frame(connect_request(last_zxid=last_zxid, timeout=timeout_ms, session=session, password=password,
                                               read_only=False)))
        answer = self.socket.receive(connect_seconds)
        if answer in (CLOSED, SILENT) or len(answer) < 36:
            self.socket.close()
            raise Gone(f"no session: {answer}")
        _, self.timeout_ms, self.session = struct.unpack_from(">iiq", answer)
        self.password = answer[20:36]
        if self.timeout_ms <= 0:
            self.socket.close()
            raise Refused(f"session 0x{session & (1 << 64) - 1:x} is refused")

    def ticket(self):
        """What the same session needs to go on elsewhere."""
        return {"session": self.session, "password": self.password, "last_zxid": self.last_zxid, "timeout_ms": self.asked_ms,
                "next_xid": self.next_xid}

    def push(self, op, body=b""):
        self.waiting.append(self.next_xid)
        self.next_xid += 1
        if not self.socket.send(frame(request(self.next_xid - 1, op, body))):
            raise Gone("the server has closed the connection")

    def take(self):
        """The next answer: (zxid, err, body)."""
        while True:
            payload = self.socket.receive(self.answer_seconds)
            if payload in (CLOSED, SILENT):
                raise Gone(payload)
            xid, zxid, err = struct.unpack_from(">iqi", payload)
            if xid == -1:
                self.events += 1
                continue
            if xid == -2:
                continue
            if not self.waiting or xid != self.waiting[0]:
                raise Disorder(f"session {self.session:#x}: an answer to {xid}, these wait: {list(self.waiting)[:5]}")
            self.waiting.popleft()
            if zxid > self.last_zxid:
                self.last_zxid = zxid
            return zxid, err, payload[16:]

    def ask(self, op, body=b""):
        self.push(op, body)
        return self.take()

    def ask_all(self, op, bodies, window=200):
        """The answers to all of them, in their order; so many are on their way at once."""
        answers = []
        for start in range(0, len(bodies), window):
            part = bodies[start:start + window]
            first = self.next_xid
            self.next_xid += len(part)
            self.waiting.extend(range(first, self.next_xid))
            if not self.socket.send(b"".join(frame(request(first + at, op, body)) for at, body in enumerate(part))):
                raise Gone("the server has closed the connection")
            answers += [self.take() for _ in part]
        return answers

    def ping(self):
        self.socket.send(frame(request(-2, Op.PING)))

    # The everyday requests. The error is returned, not raised: the tests look at it.

    def create(self, path, data=b"", flags=0, acls=None):
        """(error, the path created)."""
        _, err, body = self.ask(Op.CREATE, create_body(path, data, acls or OPEN, flags))
        return err, body[4:].decode() if err == OK else None

    def set(self, path, data, version=-1):
        """(error, stat)."""
        _, err, body = self.ask(Op.SET_DATA, set_data_body(path, data, version))
        return err, read_stat(body) if err == OK else None

    def get(self, path):
        """(error, data, stat)."""
        _, err, body = self.ask(Op.GET_DATA, path_watch(path, False))
        return (err, *read_data(body)) if err == OK else (err, None, None)

    def delete(self, path, version=-1):
        return self.ask(Op.DELETE, path_version(path, version))[1]

    def exists(self, path):
        """The stat, or None."""
        _, err, body = self.ask(Op.EXISTS, path_watch(path, False))
        return read_stat(body) if err == OK else None

    def children(self, path):
        _, err, body = self.ask(Op.GET_CHILDREN, path_watch(path, False))
        if err != OK:
            raise Gone(f"the children of {path}: error {err}")
        return read_strings(body)[0]

    def sync(self, path="/"):
        return self.ask(Op.SYNC, string(path))[1]

    def end(self):
        """Closes the session in order; True if the server has confirmed it."""
        try:
            self.ask(Op.CLOSE_SESSION)
            return True
        except Gone:
            return False
        finally:
            self.socket.close()

    def drop(self):
        """Closes the connection; the session lives on until it expires."""
        self.socket.close()


def read_stat(body, at=0):
    return dict(zip(STAT_NAMES, STAT.unpack_from(body, at)))


def read_data(body):
    """(data, stat) of a getData."""
    length = struct.unpack_from(">i", body)[0]
    return None if length < 0 else body[4:4 + length], read_stat(body, 4 + max(length, 0))


def read_strings(body, at=0):
    """(the strings of a vector, where it ends)."""
    count = struct.unpack_from(">i", body, at)[0]
    at += 4
    words = []
    for _ in range(count):
        length = struct.unpack_from(">i", body, at)[0]
        words.append(body[at + 4:at + 4 + length].decode())
        at += 4 + length
    return words, at
