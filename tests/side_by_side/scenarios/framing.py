"""Bytes that are no proper frames, frames that are no proper requests, and requests in unusual company."""

import frames as f
from frames import Op
from world import scenario


def exists(xid, path="/alive"):
    return f.frame(f.request(xid, Op.EXISTS, f.path_watch(path, False)))


@scenario()
def garbage_first(w):
    """What a server does with a first frame that is no connect request."""
    starts = {
        "zeros": bytes(4), "length 1": f.frame(b"x"), "length 10": f.frame(b"0123456789"),
        "length 43 of zeros": f.frame(bytes(43)), "length 44 of ones": f.frame(b"\xff" * 44),
        "length -1": f.i32(-1), "length -2147483648": f.i32(-2147483648), "length 2147483647": f.i32(2147483647),
        "length over jute.maxbuffer": f.i32(0xFFFFF + 1), "a far too large length": f.i32(0x01000000),
        "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(40),
        "a request": exists(1), "a ping": f.frame(f.request(-2, Op.PING)),
    }
    for name, data in starts.items():
        c = w.socket(name)
        c.send_raw(data, name)
        c.read_connect("what comes first")
        c.expect_closed(seconds=0.5)


@scenario()
def garbage_later(w):
    """The same on a connection with a session."""
    starts = {
        "length 0": f.i32(0), "length 1": f.frame(b"x"), "length 4": f.frame(b"xxxx"), "length 7": f.frame(bytes(7)),
        "length 8 of zeros": f.frame(bytes(8)), "length -1": f.i32(-1), "length -2147483648": f.i32(-2147483648),
        "length 2147483647": f.i32(2147483647), "length over jute.maxbuffer": f.i32(0xFFFFF + 1),
        "ones": b"\xff" * 64, "a four-letter word": b"ruok",
    }
    for name, data in starts.items():
        c = w.connect(name)
        c.send_raw(data, name)
        c.expect_closed("after it", seconds=0.5)
        c.exists("/alive")


@scenario()
def the_largest_frame(w):
    """jute.maxbuffer is 0xfffff: the last size that passes and the first that does not."""
    a = w.top()
    room = 0xFFFFF - len(f.request(0, Op.CREATE, f.create_body(w.path("x"), b"", f.OPEN, 0)))
    a.create(w.path("x"), b"d" * room)
    a.exists(w.path("x"))
    a.create(w.path("y"), b"d" * (room + 1))
    a.expect_closed(seconds=2.0)
    b = w.connect("b")
    b.exists(w.path("x"))
    b.exists(w.path("y"))
    b.get(w.path("x"))
    b.set(w.path("x"), b"")


@scenario("limits")
def a_small_maxbuffer(w):
    """jute.maxbuffer=4096: requests over it close the connection and harm nobody else."""
    a = w.top()
    b = w.connect("b")
    room = 4096 - len(f.request(0, Op.CREATE, f.create_body(w.path("x"), b"", f.OPEN, 0)))
    a.create(w.path("x"), b"d" * room)
    a.get(w.path("x"))
    a.create(w.path("y"), b"d" * (room + 1))
    a.expect_closed(seconds=2.0)
    b.exists(w.path("x"))
    b.exists(w.path("y"))
    c = w.connect("c", like=a)
    c.exists(w.path("y"))
    c.set(w.path("x"), b"d" * 5000)
    c.expect_closed(seconds=2.0)
    b.get(w.path("x"))
    # Answers may be larger than that.
    for n in range(3):
        b.create(w.path(f"part{n}"), b"d" * 2000)
    b.multi_read(*(((Op.GET_DATA, f.path_watch(w.path(f"part{n}"), False), f"get part{n}")) for n in range(3)))
    for n in range(40):
        b.create(w.path("n" * 100 + f"{n}"))
    b.children(w.root)
    # A string or buffer that claims more than the frame holds, within and beyond the limit.
    d = w.connect("d")
    d.call(Op.EXISTS, f.i32(4000) + b"/", "exists with a length of 4000")
    d.call(Op.EXISTS, f.i32(4097) + b"/", "exists with a length of 4097")
    d.call(Op.EXISTS, f.i32(10_000_000) + b"/", "exists with a length of ten million")
    d.exists("/alive")


@scenario()
def half_frames(w):
    """Frames that come in pieces are whole frames; frames that end are not."""
    a = w.top()
    whole = exists(50)
    a.send_raw(whole[:2], "half a length")
    a.send_raw(whole[2:6], "the rest of it, and a little")
    a.send_raw(whole[6:], "the rest", waiting=[(50, Op.EXISTS)])
    a.answers(1)
    a.send_raw(exists(51) + exists(52)[:5], "one and a half", waiting=[(51, Op.EXISTS)])
    a.answers(1)
    a.send_raw(exists(52)[5:], "the other half", waiting=[(52, Op.EXISTS)])
    a.answers(1)
    for index in range(len(whole)):
        a.sock.send(whole[index:index + 1])
    a.send_raw(b"", "a frame byte by byte", waiting=[(50, Op.EXISTS)])
    a.answers(1)
    b = w.connect("b")
    b.send_raw(f.frame(f.request(1, Op.CREATE, f.create_body(w.path("x"), b"", f.OPEN, 0)))[:-1], "all but a byte")
    b.sock.shutdown_write()
    b.expect_closed(seconds=2.0)
    a.exists(w.path("x"))
    c = w.connect("c", like=b)
    c.exists(w.path("x"))


@scenario()
def requests_behind_the_connect(w):
    """Requests sent together with the connect request, without waiting for its answer."""
    a = w.socket("a")
    a.send_raw(f.frame(f.connect_request()) + exists(1) + exists(2, "/none"), "connect and two reads",
               waiting=[(1, Op.EXISTS), (2, Op.EXISTS)])
    a.read_connect()
    a.answers(2)
    b = w.socket("b")
    b.send_raw(f.frame(f.connect_request()) +
               f.frame(f.request(1, Op.CREATE, f.create_body(w.root, b"", f.OPEN, 1))) +
               f.frame(f.request(2, Op.GET_DATA, f.path_watch(w.root, False))), "connect, create, get",
               waiting=[(1, Op.CREATE), (2, Op.GET_DATA)])
    b.read_connect()
    b.answers(2)
    c = w.connect("c", like=b)
    c.send_raw(f.frame(f.connect_request()), "a second connect request")
    c.expect_closed(seconds=0.5)


@scenario()
def pipelined(w):
    """Answers come in the order of the requests, and a read sees the writes before it."""
    a = w.top()
    with a.batch():
        a.create(w.path("x"), b"0")
        a.get(w.path("x"))
        a.set(w.path("x"), b"1")
        a.get(w.path("x"))
        a.exists(w.path("none"))
        a.set(w.path("x"), b"2", 7)
        a.get(w.path("x"))
        a.delete(w.path("x"))
        a.get(w.path("x"))
        a.create(w.path("s-"), flags=2)
        a.create(w.path("s-"), flags=2)
        a.children2(w.root)
        a.sync("/")
        a.multi((Op.CREATE, f.create_body(w.path("m"), b"", f.OPEN, 0), "create m"),
                (Op.DELETE, f.path_version(w.path("m"), -1), "delete m"))
        a.exists(w.path("m"))
        a.who_am_i()
        a.get_acl(w.root)
        a.set_acl(w.root, f.OPEN)
        a.all_children(w.root)
        a.ephemerals("/")
    with a.batch("many"):
        for n in range(100):
            a.create(w.path(f"n{n}"), flags=0)
            a.exists(w.path(f"n{n}"))
    with a.batch("many failing"):
        for n in range(20):
            a.create(w.path(f"n{n}"))
            a.create(w.path(f"none/{n}"))
            a.get(w.path(f"n{n}"))


@scenario()
def pings_in_between(w):
    """A ping's answer keeps its place among the others."""
    a = w.top()
    with a.batch():
        a.ping()
        a.exists(w.root)
        a.ping()
        a.create(w.path("x"))
        a.ping()
        a.get(w.path("x"))
        a.ping()


@scenario()
def behind_close_session(w):
    """Requests pipelined behind closeSession: without effect. (Whether they are still told SESSIONEXPIRED is a
    race between two threads of the real server, so that answer is left out.)"""
    a = w.top()
    b = w.connect("b")
    b.create(w.path("e"), flags=1)
    b.session_over = True
    b.send_raw(f.frame(f.request(5, Op.CLOSE_SESSION)) + exists(6) + exists(7), "closeSession and two reads",
               waiting=[(5, Op.CLOSE_SESSION), (6, Op.EXISTS), (7, Op.EXISTS)])
    b.expect_closed(seconds=2.0, leave_out="SESSIONEXPIRED")
    a.exists(w.path("e"))


@scenario()
def writes_behind_close_session(w):
    """A write behind closeSession has no effect. (Whether it still takes a zxid is the same race.)"""
    w.zxids_compared = False
    a = w.top()
    c = w.connect("c")
    c.session_over = True
    c.send_raw(f.frame(f.request(1, Op.CREATE, f.create_body(w.path("before"), b"", f.OPEN, 0))) +
               f.frame(f.request(2, Op.CLOSE_SESSION)) +
               f.frame(f.request(3, Op.CREATE, f.create_body(w.path("after"), b"", f.OPEN, 0))),
               "create, closeSession, create",
               waiting=[(1, Op.CREATE), (2, Op.CLOSE_SESSION), (3, Op.CREATE)])
    c.expect_closed(seconds=2.0, leave_out="SESSIONEXPIRED")
    a.children(w.root)
    a.exists(w.path("after"))


@scenario()
def four_letters_with_more(w):
    """A four-letter word is the first four bytes of a connection, whatever follows."""
    for data in (b"ruok\n", b"ruok\r\n", b"isro\n"):
        c = w.socket(repr(data))
        c.sock.send(data)
        received = b""
        while True:
            try:
                chunk = c.sock.sock.recv(1000)
            except OSError:
                chunk = b""
            if not chunk:
                break
            received += chunk
        w.record("4lw", repr(data), [{"kind": "4lw", "answer": repr(received)}])
    c = w.socket("pieces")
    c.sock.send(b"ru")
    c.expect_silent("half a word")
    c.sock.send(b"ok")
    received = b""
    try:
        while chunk := c.sock.sock.recv(1000):
            received += chunk
    except OSError:
        pass
    w.record("4lw", "ru + ok", [{"kind": "4lw", "answer": repr(received)}])
