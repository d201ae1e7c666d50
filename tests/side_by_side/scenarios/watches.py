"""One-shot watches: which events, in which order, to whom; setWatches; removal."""

import frames as f
from frames import Op
from world import scenario


@scenario()
def data(w):
    """Data watches fire once, for a change or the end."""
    a = w.top()
    b = w.connect("b")
    a.create(w.path("x"), b"0")
    b.get(w.path("x"), True)
    a.set(w.path("x"), b"1")
    b.drain()
    a.set(w.path("x"), b"2")
    b.drain("it fired before")
    b.get(w.path("x"), True)
    b.exists(w.path("x"), True)
    a.set(w.path("x"), b"2")
    b.drain("two of them on one node are one")
    b.get(w.path("x"), True)
    a.delete(w.path("x"))
    b.drain()
    b.get(w.path("x"), True)
    a.create(w.path("x"))
    b.drain("getData on a missing node leaves no watch")
    b.get(w.path("x"), True)
    a.create(w.path("x/child"))
    a.set_acl(w.path("x"), f.OPEN)
    a.set(w.path("x/child"), b"1")
    b.drain("children and ACLs are no data")
    a.set(w.path("x"), b"0", 7)
    b.drain("a refused write wakes nobody")
    a.set(w.path("x"), b"0", 0)
    b.drain()


@scenario()
def exist(w):
    """Exist watches fire on creation, change and deletion."""
    a = w.top()
    b = w.connect("b")
    b.exists(w.path("x"), True)
    a.create(w.path("x"))
    b.drain()
    b.exists(w.path("x"), True)
    a.set(w.path("x"), b"1")
    b.drain()
    b.exists(w.path("x"), True)
    a.delete(w.path("x"))
    b.drain()
    b.exists(w.path("none/deeper"), True)
    a.create(w.path("none"))
    b.drain("not its own")
    a.create(w.path("none/deeper"))
    b.drain()
    b.exists("relative", True)
    b.exists("", True)
    b.exists(w.path("s-0000000002"), True)
    a.create(w.path("s-"), flags=2)
    b.drain()


@scenario()
def child(w):
    """Child watches fire on a child's creation or deletion, and on the node's own end."""
    a = w.top()
    b = w.connect("b")
    p = w.path("p")
    a.create(p)
    b.children(p, True)
    a.create(f"{p}/c")
    b.drain()
    b.children2(p, True)
    a.set(f"{p}/c", b"1")
    a.set(p, b"1")
    b.drain("data is no child")
    a.create(f"{p}/c/d")
    b.drain("a grandchild is no child")
    a.delete(f"{p}/c/d")
    a.delete(f"{p}/c")
    b.drain()
    b.children(p, True)
    a.delete(p)
    b.drain()
    b.children(p, True)
    a.create(p)
    b.drain("getChildren on a missing node leaves no watch")


@scenario()
def deletion_order(w):
    """All kinds on one node and its parent: the order of the events of a deletion, a creation, a change."""
    a = w.top()
    b = w.connect("b")
    p = w.path("p")
    a.create(p)
    a.create(f"{p}/c")
    b.get(f"{p}/c", True)
    b.children(f"{p}/c", True)
    b.exists(f"{p}/c", True)
    b.children(p, True)
    b.get(p, True)
    b.children(w.root, True)
    a.delete(f"{p}/c")
    b.drain()
    b.exists(f"{p}/c", True)
    b.children(p, True)
    a.create(f"{p}/c")
    b.drain()
    a.delete(f"{p}/c")
    a.delete(p)
    b.drain()


@scenario()
def own_writes(w):
    """Watches of the connection that writes: its event comes before its answer."""
    a = w.top()
    p = w.path("p")
    a.create(p)
    a.get(p, True)
    a.set(p, b"1")
    a.get(p, True)
    a.children(p, True)
    a.exists(f"{p}/c", True)
    a.children(w.root, True)
    a.create(f"{p}/c")
    a.get(f"{p}/c", True)
    a.children(p, True)
    a.delete(f"{p}/c")
    a.delete(p)
    a.exists(w.path("e"), True)
    a.create(w.path("e"), flags=1)


@scenario()
def pipelined(w):
    """Reads with watches and writes in one batch: events stand between the answers where they belong."""
    a = w.top()
    p = w.path("p")
    a.create(p, b"0")
    with a.batch():
        a.get(p, True)
        a.set(p, b"1")
        a.get(p, True)
        a.get(p)
        a.set(p, b"2")
        a.set(p, b"3")
        a.get(p)
    with a.batch():
        a.children(p, True)
        a.create(f"{p}/c")
        a.exists(f"{p}/c", True)
        a.children(p, True)
        a.delete(f"{p}/c")
        a.exists(f"{p}/c", True)
        a.create(f"{p}/c")
        a.sync("/")
    with a.batch():
        for n in range(20):
            a.get(p, True)
            a.set(p, b"%d" % n)
    with a.batch():
        a.exists(w.path("s-0000000001"), True)
        a.create(w.path("s-"), flags=2)
        a.get(p, True)
        a.delete(w.path("none"))
        a.set(p, b"x", 3)
        a.set(p, b"x")


@scenario()
def several_watchers(w):
    """Each connection gets its own event."""
    a = w.top()
    a.create(w.path("x"))
    others = [w.connect(f"w{n}") for n in range(4)]
    for c in others:
        c.get(w.path("x"), True)
    others[1].children(w.root, True)
    a.set(w.path("x"), b"1")
    for c in others:
        c.drain()
    for c in others:
        c.exists(w.path("x"), True)
    others[0].close()
    others[3].vanish()
    a.delete(w.path("x"))
    others[1].drain()
    others[2].drain()


@scenario()
def not_for_the_next_connection(w):
    """Watches end with their connection, not with the session."""
    a = w.top()
    b = w.connect("b")
    b.get(w.root, True)
    b.vanish()
    c = w.connect("c", like=b)
    a.set(w.root, b"1")
    c.drain()
    c.check_watches(w.root, 2)


@scenario()
def ephemerals_of_a_closed_session(w):
    """The events of closeSession."""
    a = w.top()
    b = w.connect("b")
    b.create(w.path("e"), flags=1)
    a.get(w.path("e"), True)
    a.children(w.root, True)
    b.close()
    a.drain()
    c = w.connect("c")
    c.create(w.path("e"), flags=1)
    c.get(w.path("e"), True)
    c.children(w.root, True)
    c.close()


@scenario()
def containers_and_types(w):
    """Every way to create fires the same events."""
    a = w.top()
    b = w.connect("b")
    for name, flags, op in (("plain", 0, Op.CREATE2), ("container", 4, Op.CREATE_CONTAINER), ("ephemeral", 1, Op.CREATE),
                            ("c4", 4, Op.CREATE2)):
        b.exists(w.path(name), True)
        b.children2(w.root, True)
        a.create(w.path(name), b"", f.OPEN, flags, op)
        b.drain()


@scenario()
def acl_when_it_fires(w):
    """What was readable when the watch was left, and is not when it fires."""
    a = w.top()
    b = w.connect("b")
    a.auth("digest", b"ann:secret")
    p = w.path("p")
    a.create(p)
    b.get(p, True)
    b.children(p, True)
    a.set_acl(p, [(f.ALL, "auth", "")])
    a.set(p, b"1")
    a.create(f"{p}/c")
    b.drain()
    a.set_acl(p, f.OPEN)
    b.get(p, True)
    a.set(p, b"2")
    b.drain()
    b.exists(f"{p}/secret", True)
    a.create(f"{p}/secret", b"", [(f.ALL, "auth", "")])
    b.drain()
    b.exists(f"{p}/secret2", True)
    a.create(f"{p}/secret2", b"", [(f.ALL, "auth", "")])
    a.delete(f"{p}/secret2")
    b.drain()
    b.get(p, True)
    a.set_acl(p, [(f.ALL, "auth", "")])
    a.delete(f"{p}/secret")
    a.delete(f"{p}/c")
    a.delete(p)
    b.drain()


@scenario()
def set_watches(w):
    """Watches left again after a reconnection: what was missed is caught up."""
    a = w.top()
    for name in ("same", "changed", "deleted", "kids", "kids-deleted", "kids-same", "exist-same"):
        a.create(w.path(name))
    seen = w.last_zxid()
    a.set(w.path("changed"), b"1")
    a.delete(w.path("deleted"))
    a.create(w.path("kids/c"))
    a.delete(w.path("kids-deleted"))
    a.create(w.path("created"))
    names = dict(
        data=[w.path(n) for n in ("same", "changed", "deleted", "never")],
        exist=[w.path(n) for n in ("created", "exist-same", "none")],
        child=[w.path(n) for n in ("kids", "kids-deleted", "kids-same")])
    b = w.connect("b")
    b.set_watches(seen, **names)
    a.set(w.path("same"), b"1")
    a.create(w.path("none"))
    a.create(w.path("kids-same/c"))
    a.set(w.path("changed"), b"2")
    a.set(w.path("created"), b"2")
    a.create(w.path("kids/d"))
    b.drain("those that were armed, and only those")
    c = w.connect("c")
    c.set_watches(w.last_zxid(), **names)
    a.set(w.path("changed"), b"3")
    a.set(w.path("exist-same"), b"3")
    a.delete(w.path("kids/c"))
    c.drain()
    d = w.connect("d")
    d.set_watches(0, **names)
    e = w.connect("e")
    e.set_watches(w.last_zxid() + 1000, **names)
    g = w.connect("g")
    g.set_watches(-1, **names)


@scenario()
def set_watches_shapes(w):
    """Empty lists, null lists, odd paths, and setWatches2 with its two more lists."""
    a = w.top()
    zxid = w.last_zxid()
    a.set_watches(zxid)
    a.set_watches(zxid, data=["/", "", "relative", w.path("\0")], child=["/"], exist=["/none/x"])
    b = w.connect("b")
    b.set_watches2(zxid)
    b.set_watches2(zxid, data=[w.root], child=[w.root], exist=[w.path("n")], persistent=[w.root],
                   recursive=[w.root])
    a.set(w.root, b"1")
    a.create(w.path("n"))
    a.create(w.path("n/m"))
    b.drain()
    for number, body in enumerate((f.i64(zxid) + f.i32(-1) * 3, f.i64(zxid) + f.i32(0) + f.i32(-1) + f.i32(0),
                                   f.i64(zxid) + f.i32(1) + f.i32(-1) + f.i32(0) * 2)):
        c = w.connect(f"null{number}")
        c.call(Op.SET_WATCHES, body, f"setWatches with nulls, {number}", xid=-8)
        c.exists("/alive")
    d = w.connect("d")
    d.call(Op.SET_WATCHES2, f.i64(zxid) + f.i32(0) * 3 + f.i32(-1) * 2, "setWatches2 with null lists", xid=-8)
    d.exists("/alive")


@scenario()
def set_watches2_catches_up(w):
    """Persistent watches are armed again without catching up."""
    a = w.top()
    for name in ("p", "r", "x"):
        a.create(w.path(name))
    seen = w.last_zxid()
    for name in ("p", "r", "x"):
        a.set(w.path(name), b"1")
        a.create(w.path(f"{name}/c"))
    b = w.connect("b")
    b.set_watches2(seen, data=[w.path("x")], child=[w.path("x")], persistent=[w.path("p"), w.path("none")],
                   recursive=[w.path("r")])
    for name in ("p", "r", "x"):
        a.set(w.path(name), b"2")
        a.set(w.path(f"{name}/c"), b"2")
        a.delete(w.path(f"{name}/c"))
    a.create(w.path("none"))
    b.drain()


@scenario()
def check_and_remove(w):
    """checkWatches and removeWatches, all types."""
    a = w.top()
    a.create(w.path("x"))
    p = w.path("x")
    for kind in (1, 2, 3, 4, 5, 0, 6, -1, 100):
        a.check_watches(p, kind)
        a.remove_watches(p, kind)
    a.get(p, True)
    for kind in (1, 2, 3, 4, 5):
        a.check_watches(p, kind)
    a.remove_watches(p, 1)
    a.remove_watches(p, 2)
    a.remove_watches(p, 2)
    a.set(p, b"1")
    a.children(p, True)
    a.check_watches(p, 1)
    a.check_watches(p, 2)
    a.check_watches(p, 3)
    a.remove_watches(p, 2)
    a.remove_watches(p, 1)
    a.create(f"{p}/c")
    a.get(p, True)
    a.children(p, True)
    a.remove_watches(p, 3)
    a.set(p, b"2")
    a.create(f"{p}/d")
    a.exists(w.path("none"), True)
    a.check_watches(w.path("none"), 2)
    a.check_watches(w.path("none"), 3)
    a.remove_watches(w.path("none"), 3)
    a.create(w.path("none"))
    a.get(p, True)
    b = w.connect("b")
    b.check_watches(p, 2)
    b.remove_watches(p, 3)
    a.check_watches(p, 2)
    for path in ("", None, "/", "relative", w.path("never")):
        a.check_watches(path, 3)
        a.remove_watches(path, 3)
