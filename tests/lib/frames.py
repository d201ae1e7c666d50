"""A small client of the ZooKeeper protocol that can say anything: any bytes, any opcode, pipelined
frames, half frames. It knows the records, not the rules; the tests that use it know the rules.

    from frames import Socket, Connect, Op, frame, request
    sock = Socket(host, port)
    sock.send(frame(connect_request(timeout=10000)))
    reply = sock.receive(5.0)              # the bytes of one frame, or CLOSED, or SILENT
    sock.send(frame(request(1, Op.EXISTS, path_watch("/", False))))

Everything is big endian. A string or buffer of None is sent as length -1.
Decoders return plain lists of (field name, kind, value), in the order of the wire; `kind` tells a
comparison how to look at the value: "zxid", "time", "session", "plain".
"""

import socket
import struct
import time

CLOSED = "closed"   # the peer closed the connection (FIN or RST)
SILENT = "silent"   # nothing came within the time given


class Op:
    NOTIFICATION = 0
    CREATE = 1
    DELETE = 2
    EXISTS = 3
    GET_DATA = 4
    SET_DATA = 5
    GET_ACL = 6
    SET_ACL = 7
    GET_CHILDREN = 8
    SYNC = 9
    PING = 11
    GET_CHILDREN2 = 12
    CHECK = 13
    MULTI = 14
    CREATE2 = 15
    RECONFIG = 16
    CHECK_WATCHES = 17
    REMOVE_WATCHES = 18
    CREATE_CONTAINER = 19
    DELETE_CONTAINER = 20
    CREATE_TTL = 21
    MULTI_READ = 22
    AUTH = 100
    SET_WATCHES = 101
    SASL = 102
    GET_EPHEMERALS = 103
    GET_ALL_CHILDREN_NUMBER = 104
    SET_WATCHES2 = 105
    ADD_WATCH = 106
    WHO_AM_I = 107
    CREATE_SESSION = -10
    CLOSE_SESSION = -11
    ERROR = -1


READ, WRITE, CREATE, DELETE, ADMIN, ALL = 1, 2, 4, 8, 16, 31
OPEN = [(ALL, "world", "anyone")]

ERRORS = {
    0: "OK", -1: "SYSTEMERROR", -2: "RUNTIMEINCONSISTENCY", -3: "DATAINCONSISTENCY", -4: "CONNECTIONLOSS",
    -5: "MARSHALLINGERROR", -6: "UNIMPLEMENTED", -7: "OPERATIONTIMEOUT", -8: "BADARGUMENTS",
    -12: "UNKNOWNSESSION", -13: "NEWCONFIGNOQUORUM", -14: "RECONFIGINPROGRESS", -100: "APIERROR",
    -101: "NONODE", -102: "NOAUTH", -103: "BADVERSION", -108: "NOCHILDRENFOREPHEMERALS",
    -110: "NODEEXISTS", -111: "NOTEMPTY", -112: "SESSIONEXPIRED", -113: "INVALIDCALLBACK",
    -114: "INVALIDACL", -115: "AUTHFAILED", -118: "SESSIONMOVED", -119: "NOTREADONLY",
    -120: "EPHEMERALONLOCALSESSION", -121: "NOWATCHER", -122: "REQUESTTIMEOUT",
    -123: "RECONFIGDISABLED", -124: "SESSIONCLOSEDREQUIRESASLAUTH", -125: "QUOTAEXCEEDED",
    -127: "THROTTLEDOP",
}
EVENTS = {-1: "None", 1: "NodeCreated", 2: "NodeDeleted", 3: "NodeDataChanged", 4: "NodeChildrenChanged",
          5: "DataWatchRemoved", 6: "ChildWatchRemoved", 7: "PersistentWatchRemoved"}


# --- writing -------------------------------------------------------------------------------------------

def i32(value):
    return struct.pack(">i", value)


def i64(value):
    return struct.pack(">q", value)


def boolean(value):
    """A bool, or any byte given as an int above 1."""
    return struct.pack(">B", int(value))


def buffer(value):
    return i32(-1) if value is None else i32(len(value)) + bytes(value)


def string(value):
    """A str, or bytes that need not be UTF-8, or None."""
    return buffer(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value)


def vector(values, write):
    return i32(-1) if values is None else i32(len(values)) + b"".join(map(write, values))


def acl(entry):
    perms, scheme, identity = entry
    return i32(perms) + string(scheme) + string(identity)


def frame(payload):
    return i32(len(payload)) + payload


def request(xid, op, body=b""):
    return i32(xid) + i32(op) + body


def connect_request(*, protocol=0, last_zxid=0, timeout=30000, session=0, password=bytes(16), read_only=None):
    """`read_only` None leaves the byte out, as very old clients do."""
    tail = b"" if read_only is None else boolean(read_only)
    return i32(protocol) + i64(last_zxid) + i32(timeout) + i64(session) + buffer(password) + tail


def create_body(path, data, acls, flags):
    return string(path) + buffer(data) + vector(acls, acl) + i32(flags)


def create_ttl_body(path, data, acls, flags, ttl):
    return create_body(path, data, acls, flags) + i64(ttl)


def path_watch(path, watch):
    return string(path) + boolean(watch)


def path_version(path, version):
    return string(path) + i32(version)


def set_data_body(path, data, version):
    return string(path) + buffer(data) + i32(version)


def set_acl_body(path, acls, version):
    return string(path) + vector(acls, acl) + i32(version)


def multi_header(op, done, err):
    return i32(op) + boolean(done) + i32(err)


def multi_body(parts, end=True):
    """`parts` are (op, body); `end` False leaves out the closing header."""
    body = b"".join(multi_header(op, False, -1) + part for op, part in parts)
    return body + (multi_header(-1, True, -1) if end else b"")


def set_watches_body(zxid, data=(), exist=(), child=(), persistent=None, recursive=None):
    body = i64(zxid) + vector(data, string) + vector(exist, string) + vector(child, string)
    if persistent is not None or recursive is not None:
        body += vector(persistent or (), string) + vector(recursive or (), string)
    return body


def auth_body(scheme, credentials, kind=0):
    return i32(kind) + string(scheme) + buffer(credentials)


# --- reading -------------------------------------------------------------------------------------------

class Short(Exception):
    """The bytes end before the record does."""


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, count):
        if count < 0 or self.at + count > len(self.data):
            raise Short()
        self.at += count
        return self.data[self.at - count:self.at]

    def rest(self):
        return self.take(len(self.data) - self.at)

    def i32(self):
        return struct.unpack(">i", self.take(4))[0]

    def i64(self):
        return struct.unpack(">q", self.take(8))[0]

    def byte(self):
        return self.take(1)[0]

    def buffer(self):
        length = self.i32()
        return None if length == -1 else self.take(length)

    def string(self):
        value = self.buffer()
        return None if value is None else value.decode("utf-8", "backslashreplace")


def _stat(reader, prefix=""):
    fields = (("czxid", "zxid", 8), ("mzxid", "zxid", 8), ("ctime", "time", 8), ("mtime", "time", 8),
              ("version", "plain", 4), ("cversion", "plain", 4), ("aversion", "plain", 4),
              ("ephemeralOwner", "session", 8), ("dataLength", "plain", 4), ("numChildren", "plain", 4),
              ("pzxid", "zxid", 8))
    return [(f"{prefix}stat.{name}", kind, reader.i64() if size == 8 else reader.i32())
            for name, kind, size in fields]


def _strings(reader, name, ordered=False):
    count = reader.i32()
    if count == -1:
        return [(name, "plain", None)]
    values = [reader.string() for _ in range(count)]
    return [(name, "plain", values if ordered else sorted(values))]


def _acls(reader):
    count = reader.i32()
    if count == -1:
        return [("acl", "plain", None)]
    return [("acl", "plain", [[reader.i32(), reader.string(), reader.string()] for _ in range(count)])]


def _multi(reader):
    """The results of a multi, each field under its index."""
    fields = []
    index = 0
    while True:
        kind, done, err = reader.i32(), reader.byte(), reader.i32()
        if done:
            fields.append(("end", "plain", [kind, done, err]))
            return fields
        name = f"{index}."
        fields.append((f"{name}header", "plain", [kind, done, ERRORS.get(err, err)]))
        if kind == Op.ERROR:
            code = reader.i32()
            fields.append((f"{name}err", "plain", ERRORS.get(code, code)))
        elif kind == Op.CREATE:
            fields.append((f"{name}path", "plain", reader.string()))
        elif kind in (Op.CREATE2, Op.CREATE_CONTAINER, Op.CREATE_TTL):
            fields.append((f"{name}path", "plain", reader.string()))
            fields += _stat(reader, name)
        elif kind == Op.SET_DATA:
            fields += _stat(reader, name)
        elif kind == Op.GET_DATA:
            fields.append((f"{name}data", "plain", reader.buffer()))
            fields += _stat(reader, name)
        elif kind == Op.GET_CHILDREN:
            fields += [(f"{name}{n}", k, v) for n, k, v in _strings(reader, "children")]
        index += 1


def _path_stat(reader):
    return [("path", "plain", reader.string())] + _stat(reader)


def _who(reader):
    count = reader.i32()
    return [("clientInfo", "plain", None if count == -1 else
             sorted([reader.string(), reader.string()] for _ in range(count)))]


BODIES = {
    Op.CREATE: lambda r: [("path", "plain", r.string())],
    Op.CREATE2: _path_stat,
    Op.CREATE_CONTAINER: _path_stat,
    Op.CREATE_TTL: _path_stat,
    Op.EXISTS: _stat,
    Op.GET_DATA: lambda r: [("data", "plain", r.buffer())] + _stat(r),
    Op.SET_DATA: _stat,
    Op.GET_ACL: lambda r: _acls(r) + _stat(r),
    Op.SET_ACL: _stat,
    Op.GET_CHILDREN: lambda r: _strings(r, "children"),
    Op.SYNC: lambda r: [("path", "plain", r.string())],
    Op.GET_CHILDREN2: lambda r: _strings(r, "children") + _stat(r),
    Op.MULTI: _multi,
    Op.MULTI_READ: _multi,
    Op.SASL: lambda r: [("token", "plain", r.buffer())],
    Op.GET_EPHEMERALS: lambda r: _strings(r, "ephemerals"),
    Op.GET_ALL_CHILDREN_NUMBER: lambda r: [("totalNumber", "plain", r.i32())],
    Op.ADD_WATCH: lambda r: [("err", "plain", r.i32())],
    Op.WHO_AM_I: _who,
}


def decode_header(payload):
    """(xid, zxid, err) of a reply or an event, and the reader of what follows."""
    reader = Reader(payload)
    return (reader.i32(), reader.i64(), reader.i32()), reader


def decode_body(op, reader):
    """The fields of the reply to `op`; bytes that do not fit its record end up in a field "extra"."""
    start = reader.at
    fields = []
    if op in BODIES and reader.at < len(reader.data):
        try:
            fields = BODIES[op](reader)
        except (Short, struct.error):
            reader.at = start
            fields = [("undecodable", "plain", True)]
    extra = reader.rest()
    if extra:
        fields.append(("extra", "plain", extra))
    return fields


def decode_event(reader):
    kind = reader.i32()
    fields = [("type", "plain", EVENTS.get(kind, kind)), ("state", "plain", reader.i32()),
              ("path", "plain", reader.string())]
    extra = reader.rest()
    return fields + ([("extra", "plain", extra)] if extra else [])


def decode_connect(payload):
    """The fields of a ConnectResponse; `readOnly` only if its byte is there."""
    reader = Reader(payload)
    fields = [("protocolVersion", "plain", reader.i32()), ("timeOut", "plain", reader.i32()),
              ("sessionId", "session", reader.i64()), ("passwd", "password", reader.buffer())]
    rest = reader.rest()
    return fields + ([("readOnly", "plain", rest)] if rest else [])


def session_password(session):
    """The password ZooKeeper gives to a session: 16 bytes of java.util.Random, seeded with the id."""
    seed = ((session ^ 0xB3415C00) ^ 0x5DEECE66D) & ((1 << 48) - 1)
    out = b""
    while len(out) < 16:
        seed = (seed * 0x5DEECE66D + 0xB) & ((1 << 48) - 1)
        out += struct.pack("<I", seed >> 16)  # nextBytes takes each int from its low byte up
    return out


# --- the socket ----------------------------------------------------------------------------------------

class Socket:
    """A TCP connection that is read frame by frame."""

    def __init__(self, host, port, timeout=5.0):
        # Grows in place: a frame of many chunks would be copied at each of them.
        self.pending = bytearray()
        self.ended = False
        try:
            self.sock = socket.create_connection((host, port), timeout=timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (ConnectionResetError, BrokenPipeError):
            # Accepted and closed before `connect` returned: some kernels tell of it here.
            self.sock = socket.socket()
            self.ended = True

    def send(self, data):
        """Sends all of it; False if the peer has gone."""
        if self.ended:
            return False
        try:
            self.sock.settimeout(10.0)
            self.sock.sendall(data)
            return True
        except OSError:
            return False

    def receive(self, timeout):
        """The payload of the next frame, or CLOSED, or SILENT after `timeout` seconds. After the peer's
        end, what it had sent is still given first."""
        deadline = time.monotonic() + timeout
        while True:
            if len(self.pending) >= 4:
                (length,) = struct.unpack_from(">i", self.pending)
                if length < 0 or length > 1 << 28:
                    return CLOSED
                if len(self.pending) >= 4 + length:
                    payload = bytes(memoryview(self.pending)[4:4 + length])
                    del self.pending[:4 + length]
                    return payload
            if self.ended:
                return CLOSED
            left = deadline - time.monotonic()
            if left <= 0:
                return SILENT
            self.sock.settimeout(left)
            try:
                chunk = self.sock.recv(1 << 16)
            except TimeoutError:
                return SILENT
            except OSError:
                chunk = b""
            if not chunk:
                self.ended = True
            self.pending += chunk

    def close(self, *, reset=False):
        """Closes; with `reset` by RST, as when a machine vanishes and its address is reused."""
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def shutdown_write(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
