"""What a scenario sees: one server to talk to, and a trace in which every answer is written down with
times, session ids, passwords and zxids normalised, so that the traces of two servers can be compared.

Normalisation:
  zxids       relative to the server's last zxid at the start of the scenario ("+3"), so the zxids that
              failing writes, createSession and closeSession consume must match too; older ones are "before"
  times       0, or "now" if within an hour of this machine's clock, else the number
  session ids "session(NAME)" of the connection that opened it
  passwords   "derived" if it is ZooKeeper's for this session id, "zero", else the bytes
  children, ephemerals, whoAmI: sorted (the real server gives them in the order of a hash set)

A connection that speaks after another one first sends a `sync` of its own, whose answer is not
recorded: an operator may spread connections over threads, and a read right behind another
client's write is a matter of timing then. Events that arrive before that answer stand at the
beginning of the step, so the steps of two traces always line up.
"""

import os
import sys
import time
from contextlib import contextmanager

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import frames as f  # noqa: E402
from frames import CLOSED, SILENT, Op  # noqa: E402
from servers import four_letters  # noqa: E402

ANSWER_SECONDS = 6.0         # how long an answer may take before it counts as "silent"
ANSWER_SECONDS_BROKEN = 0.5  # the same on a connection that has let us wait before
BARRIER_XID = 0x70000000

OP_NAMES = {value: name.lower() for name, value in vars(Op).items() if isinstance(value, int)}

SCENARIOS = []


def scenario(config="base"):
    """Registers a function of one argument, the World, to run against a server with that configuration."""
    def register(function):
        name = f"{function.__module__.rsplit('.', 1)[-1]}.{function.__name__}"
        SCENARIOS.append((config, name, function))
        return function
    return register


class World:
    def __init__(self, server, name):
        self.server = server
        self.name = name
        self.root = "/" + name.replace(".", "-").replace("_", "-")
        self.trace = []
        self.connections = []
        self.kazoos = []
        self.sessions = {}
        self.speaker = None
        self.barriers = 0
        self.base = self.last_zxid()
        self.zxids_compared = True

    # --- the trace ---

    def record(self, who, what, recorded):
        self.trace.append({"step": f"{len(self.trace) + 1:03d} {who}: {what}", "frames": recorded})

    def zxid(self, value):
        if value <= 0:
            return value
        if not self.zxids_compared:
            return "not compared"
        return f"+{value - self.base}" if value >= self.base else "before"

    def plain(self, kind, value):
        """A field's value as it goes into the trace."""
        if kind == "zxid":
            return self.zxid(value)
        if kind == "time":
            return "now" if abs(value / 1000 - time.time()) < 3600 else value
        if kind == "session":
            return self.sessions.get(value, value if value == 0 else f"unknown 0x{value & (1 << 64) - 1:x}")
        if isinstance(value, (bytes, bytearray)):
            return repr(bytes(value))
        return value

    def fields(self, fields):
        return {name: self.plain(kind, value) for name, kind, value in fields}

    def last_zxid(self):
        """The zxid of the server's last transaction, from `srvr`; asked again if the server had no room for
        one more connection at that moment."""
        deadline = time.monotonic() + 5.0
        while True:
            answer = four_letters(self.server.host, self.server.port, b"srvr").decode()
            for line in answer.splitlines():
                if line.startswith("Zxid: 0x"):
                    return int(line[8:], 16)
            if time.monotonic() > deadline:
                raise RuntimeError(f"srvr shows no zxid: {answer!r}")
            time.sleep(0.05)

    # --- connections ---

    def socket(self, who):
        """A TCP connection that has said nothing yet."""
        return Connection(self, who)

    def connect(self, who, *, like=None, **options):
        """A connection with a session: a new one, or (`like`) that of another connection."""
        connection = Connection(self, who)
        connection.handshake(like=like, **options)
        return connection

    def top(self, who="a", **options):
        """A connection with a new session, and the scenario's own folder made through it."""
        connection = self.connect(who, **options)
        connection.create(self.root)
        return connection

    def path(self, name):
        return f"{self.root}/{name}"

    def four(self, word, shape=None):
        """Records the answer to a four-letter word: its lines, or what `shape` makes of the text (lines, a
        group of fields, or several)."""
        try:
            answer = four_letters(self.server.host, self.server.port, word)
        except OSError as error:
            self.record("4lw", word.decode("latin-1"), [{"kind": "4lw", "error": type(error).__name__}])
            return ""
        text = answer.decode("utf-8", "backslashreplace")
        parts = shape(text) if shape else text.split("\n")
        if isinstance(parts, dict):
            parts = [parts]
        if not all(isinstance(part, dict) for part in parts):
            parts = [{f"line {i}": line for i, line in enumerate(parts)}]
        self.record("4lw", word.decode("latin-1"), [{"kind": "4lw", **part} for part in parts])
        return text

    def rebase(self):
        """Zxids are relative to this moment from now on. Behind requests that are no proper requests, so that
        the zxids which a server spends on those do not shift everything after them."""
        self.base = self.last_zxid()

    def check(self, what, value):
        """Records a value that a scenario has worked out itself."""
        self.record("check", what, [{"kind": "value", "value": value}])

    def poll(self, what, condition, seconds_max=10.0):
        """Waits, bounded, until `condition()` is true, and records whether it became so."""
        deadline = time.monotonic() + seconds_max
        while not (reached := bool(condition())) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.check(what, reached)

    def finish(self):
        """Closes every session still open, then records the zxids that the scenario has consumed."""
        for client in self.kazoos:
            client.stop()
            client.close()
        for connection in self.connections:
            connection.tidy()
        self.record("end", "zxids consumed", [{"kind": "value", "value": self.zxid(self.last_zxid())}])


class Connection:
    """One client connection. Each operation is a step of the trace: the answer, behind the events that came
    before it. Inside `with connection.batch(...)`, the operations are sent in one piece."""

    def __init__(self, world, who):
        self.world = world
        self.who = who
        self.sock = f.Socket(world.server.host, world.server.port)
        self.established = False
        self.session = 0
        self.password = bytes(16)
        self.session_over = False
        self.waiting = []  # (xid, op) in the order sent
        self.next_xid = 1
        self.gone = False
        self.slow = False
        self.queue = None
        world.connections.append(self)

    def label(self, text):
        return text.replace(self.world.root, "~")

    # --- handshake ---

    def handshake(self, *, like=None, label=None, trailing=b"", **options):
        if like is not None:
            options = {"session": like.session, "password": like.password, **options}
        shown = ", ".join(f"{key}={self._shown(key, value)}" for key, value in options.items())
        payload = f.connect_request(**options) + trailing
        self.sock.send(f.frame(payload))
        answer = self._receive()
        self.world.record(self.who, label or f"connect({shown})", [self._connect_frame(answer)])
        self.world.speaker = self
        return self

    def _shown(self, key, value):
        if key == "session":
            return self.world.sessions.get(value, "other" if value else 0)
        if key == "last_zxid":
            return self.world.zxid(value)
        if key == "password":
            return "its own" if value == f.session_password(self.session) else "given"
        return value

    def _connect_frame(self, payload):
        if payload in (CLOSED, SILENT):
            return {"kind": payload}
        try:
            fields = f.decode_connect(payload)
        except (f.Short, Exception) as error:  # not a ConnectResponse: that is a finding, not a fault
            return {"kind": "undecodable connect", "error": type(error).__name__, "bytes": repr(payload)}
        values = {name: value for name, _, value in fields}
        session = values["sessionId"]
        if session != 0:
            self.world.sessions.setdefault(session, f"session({self.who})")
            self.session, self.password, self.established = session, values["passwd"], True
        recorded = {"kind": "connect", "len": len(payload)}
        for name, kind, value in fields:
            if kind == "password":
                value = ("null" if value is None else "zero" if value == bytes(16) else
                         "derived" if value == f.session_password(session) else repr(value))
                recorded[name] = value
            else:
                recorded[name] = self.world.plain(kind, value)
        return recorded

    # --- reading ---

    def _receive(self, seconds=None):
        seconds = seconds if seconds is not None else (ANSWER_SECONDS_BROKEN if self.slow else ANSWER_SECONDS)
        payload = self.sock.receive(seconds)
        if payload is CLOSED:
            self.gone = True
        return payload

    def _decode(self, payload):
        """One received frame as a dict, and the xid if it was an answer."""
        if len(payload) < 16:
            return {"kind": "undecodable", "bytes": repr(payload)}, None
        (xid, zxid, err), reader = f.decode_header(payload)
        header = {"xid": "barrier" if xid >= BARRIER_XID else xid, "zxid": self.world.zxid(zxid),
                  "err": f.ERRORS.get(err, err), "len": len(payload)}
        if xid == -1:
            try:
                return {"kind": "event", **header, **self.world.fields(f.decode_event(reader))}, None
            except f.Short:
                return {"kind": "undecodable event", **header, "bytes": repr(payload)}, None
        position = next((i for i, (waiting, _) in enumerate(self.waiting) if waiting == xid), None)
        if position is None:
            return {"kind": "answer to nothing", **header, "bytes": repr(payload[16:])}, xid
        _, op = self.waiting.pop(position)
        return {"kind": "answer", "op": OP_NAMES.get(op, op), **header,
                **self.world.fields(f.decode_body(op, reader))}, xid

    def _collect(self, answers, seconds=None):
        """Frames until `answers` answers have come, or the end."""
        collected = []
        while answers > 0:
            payload = self._receive(seconds)
            if payload in (CLOSED, SILENT):
                collected.append({"kind": payload})
                self.slow |= payload is SILENT
                self.waiting.clear()
                break
            recorded, xid = self._decode(payload)
            collected.append(recorded)
            answers -= xid is not None
        return collected

    def _turn(self):
        """Waits until this connection sees what others have written (see the top of this file); the events
        that came meanwhile."""
        world = self.world
        if world.speaker is self or self.gone or not self.established or self.waiting:
            world.speaker = self
            return []
        world.speaker = self
        world.barriers += 1
        xid = BARRIER_XID + world.barriers
        self.waiting.append((xid, Op.SYNC))
        self.sock.send(f.frame(f.request(xid, Op.SYNC, f.string("/"))))
        return [r for r in self._collect(1) if r.get("xid") != "barrier" and r["kind"] not in (CLOSED, SILENT)]

    # --- sending ---

    def call(self, op, body=b"", what=None, xid=None, answers=1):
        """One request and its answer."""
        if xid is None:
            xid, self.next_xid = self.next_xid, self.next_xid + 1
        what = self.label(what or OP_NAMES.get(op, str(op)))
        if self.queue is not None:
            self.queue.append((xid, op, body, what, answers))
            return []
        before = self._turn()
        if answers:
            self.waiting.append((xid, op))
        self.sock.send(f.frame(f.request(xid, op, body)))
        collected = before + self._collect(answers)
        self.world.record(self.who, what, collected)
        return collected

    @contextmanager
    def batch(self, what="batch", then_closed=False):
        """The operations inside are sent with one write; one step holds all the answers, in their order."""
        before = self._turn()
        self.queue = []
        yield
        queue, self.queue = self.queue, None
        data = b""
        for xid, op, body, _, answers in queue:
            if answers:
                self.waiting.append((xid, op))
            data += f.frame(f.request(xid, op, body))
        self.sock.send(data)
        collected = before + self._collect(sum(entry[4] for entry in queue))
        if then_closed and not self.gone:
            collected += self._until_closed(1.5)
        self.world.record(self.who, f"{what} [{'; '.join(entry[3] for entry in queue)}]", collected)

    def send_raw(self, data, what, waiting=()):
        """Bytes as they are, with the (xid, op) whose answers are expected later."""
        before = self._turn()
        self.waiting += waiting
        sent = self.sock.send(data)
        self.world.record(self.who, self.label(f"send {what}"), before + ([] if sent else [{"kind": "not sent"}]))

    def create_session_request(self, body, what):
        """createSession as a request, which the real server answers with another ConnectResponse."""
        before = self._turn()
        xid, self.next_xid = self.next_xid, self.next_xid + 1
        self.sock.send(f.frame(f.request(xid, Op.CREATE_SESSION, body)))
        payload = self._receive()
        header_alone = len(payload) == 16
        frame = self._decode(payload)[0] if header_alone else self._connect_frame(payload)
        self.world.record(self.who, what, before + [frame])

    def answers(self, count, what="answers"):
        self.world.record(self.who, what, self._collect(count))

    def read_connect(self, what="the connect response"):
        self.world.record(self.who, what, [self._connect_frame(self._receive())])
        self.world.speaker = self

    def drain(self, what="pending events"):
        """Records the events that are due: those that come before the answer to a sync."""
        self.world.speaker = None
        collected = self._turn()
        self.world.record(self.who, what, collected + ([{"kind": CLOSED}] if self.gone else []))

    def events(self, count, what="events", ordered=True, seconds=10.0):
        """Waits for `count` events that come by themselves."""
        collected = []
        deadline = time.monotonic() + seconds
        while len(collected) < count:
            payload = self._receive(max(0.0, deadline - time.monotonic()))
            if payload in (CLOSED, SILENT):
                collected.append({"kind": payload})
                break
            collected.append(self._decode(payload)[0])
        if not ordered:
            collected.sort(key=lambda r: (r.get("path") or "", str(r.get("type"))))
        self.world.record(self.who, what, collected)

    def _until_closed(self, seconds):
        collected = []
        deadline = time.monotonic() + seconds
        while True:
            payload = self._receive(max(0.0, deadline - time.monotonic()))
            if payload in (CLOSED, SILENT):
                return collected + [{"kind": payload}]
            collected.append(self._decode(payload)[0])

    def expect_closed(self, what="closed by the server", seconds=4.0, leave_out=None):
        """Records what comes until the server closes the connection, or that it does not. Answers with the
        error `leave_out` may come or not."""
        collected = [frame for frame in self._until_closed(seconds) if leave_out is None or frame.get("err") != leave_out]
        self.world.record(self.who, what, collected)

    def aftermath(self, seconds=0.3):
        """Records whether the server closes the connection now, by itself."""
        self.world.record(self.who, "and then", self._until_closed(seconds))

    def expect_silent(self, what="nothing comes", seconds=0.3):
        self.world.record(self.who, what, self._until_closed(seconds))

    def vanish(self, reset=False):
        """Closes the socket and leaves the session to the server."""
        self.sock.close(reset=reset)
        self.gone = True
        self.world.record(self.who, "vanishes", [])

    def tidy(self):
        """Ends the session, unrecorded, whatever state the connection is in."""
        if self.session == 0 or self.session_over:
            self.sock.close()
            return
        if not self.gone and self._say_close(self.sock):
            return
        self.gone = True
        self.sock.close()
        if any(other.session == self.session and not other.gone for other in self.world.connections):
            return  # that one's business
        try:
            sock = f.Socket(self.world.server.host, self.world.server.port)
        except OSError:
            return
        sock.send(f.frame(f.connect_request(session=self.session, password=self.password)))
        if sock.receive(2.0) not in (CLOSED, SILENT):
            self._say_close(sock)
        sock.close()

    def _say_close(self, sock):
        """closeSession through this socket; whether it was answered."""
        sock.send(f.frame(f.request(2_000_000, Op.CLOSE_SESSION)))
        answered = False
        deadline = time.monotonic() + 1.5
        while (payload := sock.receive(max(0.0, deadline - time.monotonic()))) not in (CLOSED, SILENT):
            answered |= payload[:4] == f.i32(2_000_000)
        sock.close()
        if answered:
            for other in self.world.connections:
                if other.session == self.session:
                    other.session_over = True
        return answered

    # --- the operations ---

    def create(self, path, data=b"", acl=f.OPEN, flags=0, op=Op.CREATE):
        return self.call(op, f.create_body(path, data, acl, flags),
                         f"{OP_NAMES[op]} {shown(path)} {shown(data)} {shown_acl(acl)}flags={flags}")

    def create2(self, path, data=b"", acl=f.OPEN, flags=0):
        return self.create(path, data, acl, flags, Op.CREATE2)

    def create_container(self, path, data=b"", acl=f.OPEN, flags=4):
        return self.create(path, data, acl, flags, Op.CREATE_CONTAINER)

    def create_ttl(self, path, ttl, data=b"", acl=f.OPEN, flags=5):
        return self.call(Op.CREATE_TTL, f.create_ttl_body(path, data, acl, flags, ttl),
                         f"create_ttl {shown(path)} ttl={ttl} flags={flags}")

    def delete(self, path, version=-1):
        return self.call(Op.DELETE, f.path_version(path, version), f"delete {shown(path)} v={version}")

    def exists(self, path, watch=False):
        return self.call(Op.EXISTS, f.path_watch(path, watch), f"exists {shown(path)}{' watch' * bool(watch)}")

    def get(self, path, watch=False):
        return self.call(Op.GET_DATA, f.path_watch(path, watch), f"get {shown(path)}{' watch' * bool(watch)}")

    def set(self, path, data=b"", version=-1):
        return self.call(Op.SET_DATA, f.set_data_body(path, data, version),
                         f"set {shown(path)} {shown(data)} v={version}")

    def get_acl(self, path):
        return self.call(Op.GET_ACL, f.string(path), f"get_acl {shown(path)}")

    def set_acl(self, path, acl, version=-1):
        return self.call(Op.SET_ACL, f.set_acl_body(path, acl, version),
                         f"set_acl {shown(path)} {shown_acl(acl) or 'open '}v={version}")

    def children(self, path, watch=False):
        return self.call(Op.GET_CHILDREN, f.path_watch(path, watch),
                         f"children {shown(path)}{' watch' * bool(watch)}")

    def children2(self, path, watch=False):
        return self.call(Op.GET_CHILDREN2, f.path_watch(path, watch),
                         f"children2 {shown(path)}{' watch' * bool(watch)}")

    def sync(self, path="/"):
        return self.call(Op.SYNC, f.string(path), f"sync {shown(path)}")

    def ping(self):
        return self.call(Op.PING, b"", "ping", xid=-2)

    def check(self, path, version=-1):
        return self.call(Op.CHECK, f.path_version(path, version), f"check {shown(path)} v={version}")

    def multi(self, *parts, what=None, op=Op.MULTI):
        """`parts` are the results of the functions part_* of this module."""
        body = f.multi_body([(part_op, part) for part_op, part, _ in parts])
        return self.call(op, body, what or f"{OP_NAMES[op]} [{'; '.join(part[2] for part in parts)}]")

    def multi_read(self, *parts, what=None):
        return self.multi(*parts, what=what, op=Op.MULTI_READ)

    def auth(self, scheme, credentials, kind=0):
        return self.call(Op.AUTH, f.auth_body(scheme, credentials, kind),
                         f"auth {shown(scheme)} {shown(credentials)}", xid=-4)

    def set_watches(self, zxid, data=(), exist=(), child=()):
        return self.call(Op.SET_WATCHES, f.set_watches_body(zxid, data, exist, child),
                         f"set_watches {self.world.zxid(zxid)} data={list(data)} exist={list(exist)} "
                         f"child={list(child)}", xid=-8)

    def set_watches2(self, zxid, data=(), exist=(), child=(), persistent=(), recursive=()):
        return self.call(Op.SET_WATCHES2, f.set_watches_body(zxid, data, exist, child, persistent, recursive),
                         f"set_watches2 {self.world.zxid(zxid)} data={list(data)} exist={list(exist)} "
                         f"child={list(child)} persistent={list(persistent)} recursive={list(recursive)}", xid=-8)

    def add_watch(self, path, mode):
        return self.call(Op.ADD_WATCH, f.path_version(path, mode), f"add_watch {shown(path)} mode={mode}")

    def check_watches(self, path, kind):
        return self.call(Op.CHECK_WATCHES, f.path_version(path, kind), f"check_watches {shown(path)} type={kind}")

    def remove_watches(self, path, kind):
        return self.call(Op.REMOVE_WATCHES, f.path_version(path, kind), f"remove_watches {shown(path)} type={kind}")

    def who_am_i(self):
        return self.call(Op.WHO_AM_I, b"", "who_am_i")

    def ephemerals(self, prefix):
        return self.call(Op.GET_EPHEMERALS, f.string(prefix), f"ephemerals {shown(prefix)}")

    def all_children(self, path):
        return self.call(Op.GET_ALL_CHILDREN_NUMBER, f.string(path), f"all_children {shown(path)}")

    def sasl(self, token):
        return self.call(Op.SASL, f.buffer(token), f"sasl {shown(token)}")

    def reconfig(self, joining=None, leaving=None, members=None, version=-1):
        return self.call(Op.RECONFIG, f.string(joining) + f.string(leaving) + f.string(members) + f.i64(version),
                         f"reconfig join={joining} leave={leaving} members={members}")

    def delete_container(self, path):
        return self.call(Op.DELETE_CONTAINER, f.string(path), f"delete_container {shown(path)}")

    def close(self):
        """closeSession, its answer, and the end of the connection."""
        before = self._turn()
        xid, self.next_xid = self.next_xid, self.next_xid + 1
        self.waiting.append((xid, Op.CLOSE_SESSION))
        self.sock.send(f.frame(f.request(xid, Op.CLOSE_SESSION)))
        collected = before + self._collect(1)
        if not self.gone:
            collected += self._until_closed(1.5)
        self.session_over = True
        self.world.record(self.who, "close", collected)


# --- the parts of a multi: (op, body, text) ---

def part_create(path, data=b"", acl=f.OPEN, flags=0, op=Op.CREATE):
    return op, f.create_body(path, data, acl, flags), f"{OP_NAMES[op]} {name_of(path)} flags={flags}"


def part_create_ttl(path, ttl, data=b"", acl=f.OPEN, flags=5):
    return Op.CREATE_TTL, f.create_ttl_body(path, data, acl, flags, ttl), f"create_ttl {name_of(path)} ttl={ttl}"


def part_delete(path, version=-1):
    return Op.DELETE, f.path_version(path, version), f"delete {name_of(path)} v={version}"


def part_set(path, data=b"", version=-1):
    return Op.SET_DATA, f.set_data_body(path, data, version), f"set {name_of(path)} v={version}"


def part_check(path, version=-1):
    return Op.CHECK, f.path_version(path, version), f"check {name_of(path)} v={version}"


def part_get(path):
    return Op.GET_DATA, f.path_watch(path, False), f"get {name_of(path)}"


def part_children(path):
    return Op.GET_CHILDREN, f.path_watch(path, False), f"children {name_of(path)}"


def part_of(op, body, text):
    return op, body, text


def name_of(path):
    return shown(path.rsplit("/", 1)[-1] if isinstance(path, str) and "/" in path[1:] else path)


def shown(value):
    """A short text for a path or data, the same on every server."""
    if value is None:
        return "null"
    text = repr(value) if isinstance(value, bytes) else value.encode("unicode_escape").decode()
    return text if len(text) <= 80 else f"{text[:60]}...({len(value)})"


def shown_acl(acl):
    if acl is f.OPEN:
        return ""
    if acl is None:
        return "acl=null "
    return "acl=" + ",".join(f"{p}:{s}:{i}" for p, s, i in acl) + " "
