"""Operations a client may not send, unknown ones, and those that are disabled."""

import frames as f
from frames import Op
from world import scenario


@scenario()
def unknown_opcodes(w):
    """Each on a connection of its own, since some close it."""
    for op in (0, 10, 23, 24, 50, 99, 108, 1000, 2147483647, -1, -2, -9, -12, -13, -100, -2147483648):
        c = w.connect(f"op{op}")
        c.call(op, b"", f"opcode {op} with no body")
        c.aftermath()
    for op in (0, 10, -1, 200):
        c = w.connect(f"body{op}")
        c.call(op, f.path_watch("/", False), f"opcode {op} with a body")
        c.aftermath()


@scenario()
def check_alone(w):
    """check outside a multi."""
    a = w.top()
    a.create(w.path("x"))
    # Debian's 3.8.0 logs it and never answers.
    a.send_raw(f.frame(f.request(70, Op.CHECK, f.path_version(w.path("x"), 0))), "a check that would succeed",
               waiting=[(70, Op.CHECK)])
    a.aftermath(1.0)
    for name, path, version in (("b", w.path("x"), 5), ("c", w.path("none"), 0), ("d", None, 0)):
        w.rebase()
        c = w.connect(name)
        c.check(path, version)
        c.aftermath()
    w.rebase()
    e = w.connect("e")
    e.call(Op.CHECK, b"", "check with no body")
    e.aftermath()
    w.rebase()


@scenario()
def delete_container(w):
    """deleteContainer is the server's own operation; what becomes of the nodes that a client names all the same."""
    a = w.top()
    a.create(w.path("plain"))
    for number, (path, child) in enumerate((("empty", None), ("full", "full/x"), ("plain", None), ("none", None),
                                            ("/", None), (None, None))):
        if path in ("empty", "full"):
            a.create_container(w.path(path))
        if child:
            a.create(w.path(child))
        c = w.connect(f"c{number}")
        c.delete_container(path if path in ("/", None) else w.path(path))
        c.aftermath()
        w.rebase()
    for name in ("empty", "full", "plain"):
        a.exists(w.path(name))
    a.create_container(w.path("bare"))
    d = w.connect("d")
    d.call(Op.DELETE_CONTAINER, w.path("bare").encode(), "delete_container with a bare path for a body")
    d.aftermath()
    w.rebase()
    e = w.connect("e")
    e.call(Op.DELETE_CONTAINER, b"", "delete_container with no body")
    e.aftermath()
    w.rebase()
    a.exists(w.path("bare"))


@scenario()
def session_opcodes(w):
    """createSession and closeSession as requests."""
    a = w.top()
    a.create_session_request(b"", "createSession with no body")
    a.aftermath()
    w.rebase()
    b = w.connect("b")
    b.create_session_request(f.i32(5000), "createSession with a timeout")
    b.aftermath()
    w.rebase()
    c = w.connect("c")
    c.call(Op.CLOSE_SESSION, b"trailing bytes", "closeSession with bytes behind it")
    c.expect_closed()
    c.session_over = True
    w.rebase()


@scenario()
def sasl_disabled(w):
    for number, token in enumerate((b"", b"token", bytes(200), None)):
        c = w.connect(f"c{number}")
        c.sasl(token)
        c.aftermath()
    d = w.connect("d")
    d.call(Op.SASL, b"", "sasl with no body")
    d.aftermath()


@scenario()
def reconfig_disabled(w):
    a = w.top()
    a.reconfig(members="server.1=localhost:2888:3888;2181")
    a.exists("/alive")
    a.reconfig(joining="server.2=localhost:2889:3889;2182")
    a.reconfig(leaving="1")
    a.reconfig()
    a.call(Op.RECONFIG, b"", "reconfig with no body")
    a.exists("/alive")
    a.get("/zookeeper/config")


@scenario()
def who_am_i(w):
    a = w.connect("a")
    a.who_am_i()
    a.auth("digest", b"ann:secret")
    a.who_am_i()
    a.auth("digest", b"bob:secret")
    a.who_am_i()
    a.auth("digest", b"ann:secret")
    a.who_am_i()
    a.auth("digest", b"ann:other")
    a.who_am_i()
    a.auth("digest", b"super:secret")
    a.who_am_i()
    a.auth("ip", b"")
    a.who_am_i()
    a.call(Op.WHO_AM_I, b"body", "who_am_i with a body")


@scenario()
def ping(w):
    a = w.top()
    a.ping()
    a.call(Op.PING, b"", "ping with xid 5", xid=5)
    a.exists("/alive")
    b = w.connect("b")
    b.call(Op.PING, b"body", "ping with a body", xid=-2)
    b.call(Op.EXISTS, f.path_watch("/", False), "exists with xid -2", xid=-2)
    b.exists("/alive")


@scenario()
def odd_xids(w):
    """xids are the client's own business."""
    a = w.top()
    for xid in (0, 7, 7, 3, -3, -5, -100, 2147483647 >> 1, -2147483648):
        a.call(Op.EXISTS, f.path_watch("/", False), f"exists with xid {xid}", xid=xid)
    a.call(Op.EXISTS, f.path_watch("/", False), "exists with the xid of auth", xid=-4)
    a.call(Op.EXISTS, f.path_watch("/", False), "exists with the xid of setWatches", xid=-8)
    a.call(Op.AUTH, f.auth_body("digest", b"u:p"), "auth with xid 9", xid=9)
    a.call(Op.SET_WATCHES, f.set_watches_body(0), "setWatches with xid 11", xid=11)
    a.who_am_i()


@scenario()
def truncated_requests(w):
    """Every operation with no body, and with half of one."""
    whole = {
        Op.DELETE: f.path_version(w.root, -1), Op.EXISTS: f.path_watch(w.root, False),
        Op.GET_DATA: f.path_watch(w.root, False), Op.SET_DATA: f.set_data_body(w.root, b"x", -1),
        Op.GET_ACL: f.string(w.root), Op.SET_ACL: f.set_acl_body(w.root, f.OPEN, -1),
        Op.GET_CHILDREN: f.path_watch(w.root, False), Op.GET_CHILDREN2: f.path_watch(w.root, False),
        Op.SYNC: f.string(w.root), Op.CREATE2: f.create_body(w.path("x"), b"", f.OPEN, 0),
        Op.CREATE_CONTAINER: f.create_body(w.path("x"), b"", f.OPEN, 4),
        Op.CREATE_TTL: f.create_ttl_body(w.path("x"), b"", f.OPEN, 5, 1000),
        Op.CHECK_WATCHES: f.path_version(w.root, 3), Op.REMOVE_WATCHES: f.path_version(w.root, 3),
        Op.SET_WATCHES: f.set_watches_body(0), Op.SET_WATCHES2: f.set_watches_body(0, persistent=()),
        Op.GET_EPHEMERALS: f.string("/"), Op.GET_ALL_CHILDREN_NUMBER: f.string("/"),
        Op.ADD_WATCH: f.path_version(w.root, 0), Op.MULTI: f.multi_body([]), Op.MULTI_READ: f.multi_body([]),
        Op.AUTH: f.auth_body("digest", b"u:p"), Op.SASL: f.buffer(b"x"), Op.RECONFIG: bytes(12) + f.i32(0),
    }
    w.top("first")
    for op, body in whole.items():
        for cut in sorted({0, len(body) // 2, len(body) - 1}):
            c = w.connect(f"{op}/{cut}")
            c.call(op, body[:cut], f"opcode {op} cut to {cut}")
            w.rebase()
            c.ping()
            c.close()


@scenario()
def closing_leaves_zxids(w):
    """createSession and closeSession take a zxid each."""
    a = w.top()
    for name in ("b", "c", "d"):
        c = w.connect(name)
        a.exists("/alive")
        c.close()
        a.exists("/alive")
