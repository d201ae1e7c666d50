"""The handshake, timeouts, reconnection, moved and expired sessions, the end of sessions."""

import frames as f
from frames import Op
from world import scenario


@scenario()
def handshake(w):
    """With and without the read-only byte, odd protocol versions, timeouts at both limits."""
    for read_only in (None, False, True, 2, 255):
        c = w.connect(f"ro{read_only}", read_only=read_only)
        c.exists("/alive")
        c.close()
    for protocol in (1, -1, 2147483647, -2147483648):
        w.connect(f"protocol{protocol}", protocol=protocol).close()
    for timeout in (0, 1, 999, 1000, 1001, 5000, 39999, 40000, 40001, 2147483647, -1, -2147483648):
        w.connect(f"timeout{timeout}", timeout=timeout).close()


@scenario("defaults")
def default_timeouts(w):
    """Without keys of their own the limits are 2 and 20 ticks."""
    for timeout in (0, 3999, 4000, 4001, 10000, 39999, 40000, 40001, 2147483647):
        w.connect(f"timeout{timeout}", timeout=timeout).close()


@scenario()
def handshake_extras(w):
    """Passwords of odd lengths, bytes behind the record, a short record."""
    for name, password in (("null", None), ("empty", b""), ("short", b"abc"), ("long", bytes(40))):
        w.connect(f"password-{name}", password=password).exists("/alive")
    for name, trailing in (("one", b"\0"), ("many", b"\0\0\0\0\0"), ("ten", b"\1" * 10)):
        c = w.socket(f"trailing-{name}")
        c.handshake(read_only=False, trailing=trailing, label=f"connect with {name} bytes behind it")
        c.exists("/alive")
    whole = f.connect_request(read_only=False)
    for cut in (0, 1, 4, 12, 16, 24, 27, 28, 30, 43):
        c = w.socket(f"cut{cut}")
        c.send_raw(f.frame(whole[:cut]), f"a connect request cut to {cut} bytes")
        c.read_connect()
        c.expect_closed(seconds=0.5)
    c = w.socket("negative")
    c.send_raw(f.frame(whole[:24] + f.i32(-2) + bytes(16)), "a connect request with password length -2")
    c.read_connect()
    c.expect_closed(seconds=0.5)
    c = w.socket("huge")
    c.send_raw(f.frame(whole[:24] + f.i32(0x7FFFFFFF) + bytes(16)), "a connect request with a huge password")
    c.read_connect()
    c.expect_closed(seconds=0.5)


@scenario()
def ahead_of_the_server(w):
    """A client that has seen a later zxid is sent away; one that has seen an earlier one is not."""
    a = w.top()
    now = w.last_zxid()
    w.connect("same", last_zxid=now).exists("/alive")
    w.connect("behind", last_zxid=now - 1).exists("/alive")
    w.connect("negative", last_zxid=-1).exists("/alive")
    for extra in (10, 1 << 32, (1 << 62)):
        c = w.connect(f"ahead{extra}", last_zxid=w.last_zxid() + extra)
        c.expect_closed(seconds=1.0)
    c = w.connect("again", like=a, last_zxid=w.last_zxid() + 100)
    c.expect_closed(seconds=1.0)
    a.exists(w.root)


@scenario()
def wrong_password(w):
    """The connection is refused and closed; the session lives on where it was."""
    a = w.top()
    a.create(w.path("e"), flags=1)
    b = w.connect("b", session=a.session, password=b"x" * 16)
    b.expect_closed(seconds=2.0)
    a.exists(w.path("e"))
    c = w.connect("c", session=a.session, password=b"")
    c.expect_closed(seconds=2.0)
    d = w.connect("d", session=a.session, password=bytes(16), read_only=False)
    d.expect_closed(seconds=2.0)
    n = w.connect("n", session=a.session, password=None)
    n.expect_closed(seconds=2.0)
    e = w.connect("e", like=a)
    e.exists(w.path("e"))


@scenario()
def unknown_session(w):
    """A session that the server does not know, with a password that would be right for it."""
    for name, session in (("one", 1), ("high", 0x7F00000000000001), ("minus", -1), ("least", -(1 << 63))):
        c = w.connect(name, session=session, password=f.session_password(session))
        c.expect_closed(seconds=2.0)
    c = w.connect("again", session=12345, password=bytes(16), read_only=True)
    c.expect_closed(seconds=2.0)


@scenario()
def reconnect(w):
    """The same session through a new connection, after the old one has gone; the timeout is negotiated again."""
    a = w.top()
    a.create(w.path("e"), b"1", flags=1)
    a.vanish()
    b = w.connect("b", like=a, timeout=10000)
    b.get(w.path("e"))
    b.ephemerals("/")
    b.create(w.path("f"), flags=1)
    b.vanish(reset=True)
    c = w.connect("c", like=b, timeout=1, read_only=True)
    c.ephemerals("/")
    d = w.connect("d", like=c, timeout=100000)
    d.ephemerals("/")
    d.exists("/alive")
    d.close()
    e = w.connect("e", like=d)
    e.expect_closed(seconds=2.0)
    g = w.connect("g")
    g.children2(w.root)


@scenario()
def session_moved(w):
    """A session taken over by a new connection while the old one is open: the old one is closed."""
    a = w.top()
    a.create(w.path("e"), flags=1)
    a.get(w.root, True)
    b = w.connect("b", like=a)
    a.exists("/alive")
    b.exists(w.path("e"))
    b.set(w.root, b"new")
    b.drain("the watch was the old connection's")
    c = w.connect("c", like=b)
    d = w.connect("d", like=c)
    d.exists(w.path("e"))
    b.expect_closed(seconds=2.0)
    c.expect_closed(seconds=2.0)
    d.close()
    g = w.connect("g")
    g.exists(w.path("e"))


@scenario()
def authentication_is_the_connections(w):
    """addauth belongs to the connection, not to the session."""
    a = w.top()
    a.auth("digest", b"ann:secret")
    a.create(w.path("closed"), b"1", [(f.ALL, "auth", "")])
    a.get(w.path("closed"))
    b = w.connect("b", like=a)
    b.who_am_i()
    b.get(w.path("closed"))
    b.auth("digest", b"ann:secret")
    b.get(w.path("closed"))


@scenario()
def expiry(w):
    """A session that is silent for its timeout ends; its ephemeral nodes go, and watchers hear of it."""
    a = w.top()
    b = w.connect("b", timeout=1500)
    b.create(w.path("e1"), flags=1)
    b.create(w.path("e2"), b"x", flags=1)
    b.create(w.path("plain"))
    a.exists(w.path("e1"), True)
    a.get(w.path("e2"), True)
    a.children(w.root, True)
    b.vanish()
    a.events(3, "the ephemeral nodes go", ordered=False)
    a.children2(w.root)
    a.exists(w.path("e1"))
    c = w.connect("c", like=b)
    c.expect_closed(seconds=2.0)
    b.session_over = True


@scenario()
def expiry_of_a_live_connection(w):
    """A connection that is open but silent: the server closes it when its session ends."""
    a = w.top()
    b = w.connect("b", timeout=1500)
    b.create(w.path("e"), flags=1)
    a.exists(w.path("e"), True)
    a.events(1, "the ephemeral node goes")
    b.expect_closed(seconds=5.0)
    b.session_over = True
    a.exists(w.path("e"))
    c = w.connect("c", like=b)
    c.expect_closed(seconds=2.0)


@scenario()
def pings_keep_it_alive(w):
    """Pings well within the timeout: alive well beyond it."""
    import time
    a = w.top(timeout=2000)
    a.create(w.path("e"), flags=1)
    for _ in range(8):
        time.sleep(0.4)  # the passing of time is the subject here
        a.ping()
    a.exists(w.path("e"))


@scenario()
def close(w):
    """closeSession: ephemeral nodes go in its own transaction, other sessions' watches fire."""
    a = w.top()
    b = w.connect("b")
    b.create(w.path("e"), flags=1)
    a.exists(w.path("e"), True)
    a.children(w.root, True)
    b.close()
    a.drain()
    a.exists(w.path("e"))
    a.children2(w.root)
    c = w.connect("c", like=b)
    c.expect_closed(seconds=2.0)
    d = w.connect("d")
    d.create(w.path("e"), flags=1)
    d.get(w.path("e"), True)
    d.close()


@scenario()
def many_ephemerals(w):
    """All of a session's ephemeral nodes share the zxid of its closeSession."""
    a = w.top()
    a.create(w.path("p"))
    b = w.connect("b")
    for n in range(20):
        b.create(w.path(f"p/e{n:02}"), flags=1)
    b.ephemerals("/")
    a.children2(w.path("p"))
    b.close()
    a.children2(w.path("p"))
    a.create(w.path("p/s-"), flags=2)


@scenario()
def ephemeral_owner(w):
    """Two sessions' ephemeral nodes tell their owners apart."""
    a = w.top()
    b = w.connect("b")
    a.create(w.path("ea"), flags=1)
    b.create(w.path("eb"), flags=1)
    a.exists(w.path("eb"))
    b.exists(w.path("ea"))
    a.close()
    b.exists(w.path("ea"))
    b.exists(w.path("eb"))


@scenario("limits")
def without_a_session(w):
    """A connection that never asks for a session is dropped after nio.sessionlessCnxnTimeout."""
    a = w.socket("a")
    a.expect_closed("never said anything", seconds=6.0)
    b = w.socket("b")
    b.send_raw(f.i32(44)[:2], "half a length")
    b.expect_closed("half a length, then nothing", seconds=6.0)
    c = w.socket("c")
    c.send_raw(f.frame(f.connect_request())[:20], "half a connect request")
    c.expect_closed("half a connect request, then nothing", seconds=6.0)


@scenario("crowd")
def too_many_connections(w):
    """maxClientCnxns of one address: the connection too many is closed at once; a place that frees is given again."""
    open_ones = [w.connect(f"c{n}") for n in range(3)]
    w.connect("c3").exists("/alive")
    for n in range(3):
        d = w.socket(f"d{n}")
        d.expect_closed("one too many", seconds=2.0)
    for c in open_ones:
        c.exists("/alive")
    open_ones[0].close()

    def admitted():
        probe = f.Socket(w.server.host, w.server.port)
        probe.send(f.frame(f.connect_request()))
        answer = probe.receive(1.0)
        if answer in (f.CLOSED, f.SILENT):
            probe.close()
            return False
        session = f.decode_connect(answer)[2][2]
        probe.send(f.frame(f.request(1, Op.CLOSE_SESSION)))
        while probe.receive(1.0) not in (f.CLOSED, f.SILENT):
            pass
        probe.close()
        return session != 0
    w.poll("a place is given again", admitted)
