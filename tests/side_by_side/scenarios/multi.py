"""multi and multiRead: success, failure at each place, what later parts see of earlier ones, bad parts."""

import frames as f
from frames import Op
from world import (part_check, part_children, part_create, part_create_ttl, part_delete, part_get, part_of, part_set,
                   scenario)


@scenario()
def success(w):
    """All kinds of parts, one zxid."""
    a = w.top()
    a.create(w.path("x"), b"0")
    a.multi(part_create(w.path("a"), b"1"))
    a.multi(part_create(w.path("b"), b"1"), part_create(w.path("b/c"), b"2"), part_set(w.path("x"), b"3"),
            part_check(w.path("x"), 1), part_delete(w.path("a")))
    a.multi(part_create(w.path("c2"), op=Op.CREATE2), part_create(w.path("k"), flags=4, op=Op.CREATE_CONTAINER),
            part_create(w.path("k1"), flags=4), part_create(w.path("e"), flags=1), part_create(w.path("s-"), flags=2),
            part_create(w.path("es-"), flags=3), part_create(w.path("s2-"), flags=2, op=Op.CREATE2),
            part_create(w.path("nul"), None))
    a.children2(w.root)
    a.get(w.path("x"))
    a.get(w.path("b/c"))
    a.exists(w.path("b"))
    a.get(w.path("e"))
    a.exists(w.root)


@scenario()
def empty(w):
    """No parts at all, and a multi that stops short."""
    a = w.top()
    a.multi()
    a.exists(w.root)
    a.multi_read()
    for what, body in (
            ("nothing, not even an end", f.multi_body([], end=False)),
            ("no end", f.multi_body([(Op.CREATE, f.create_body(w.path("x"), b"", f.OPEN, 0))], end=False)),
            ("bytes behind it", f.multi_body([]) + b"trailing"),
            ("only a done create header", f.multi_header(Op.CREATE, True, 0)),
            ("a part cut short", f.multi_header(Op.CREATE, False, -1) + f.i32(3))):
        a.call(Op.MULTI, body, f"multi with {what}")
        a.exists(w.root)
        a.exists(w.path("x"))
        w.rebase()


@scenario()
def failures(w):
    """One failing part at each place: the results before it, its own, and those behind it."""
    a = w.top()
    a.create(w.path("x"), b"0")
    a.create(w.path("x/y"), b"0")
    bad = [part_create(w.path("x")), part_create(w.path("none/z")), part_delete(w.path("none")),
           part_delete(w.path("x")), part_delete(w.path("x/y"), 5), part_set(w.path("none")),
           part_set(w.path("x"), b"", 9), part_check(w.path("none")), part_check(w.path("x"), 9),
           part_create(w.path("bad/")), part_delete("/"), part_create(w.path("acl"), b"", []),
           part_set("", b""), part_check(w.path("x"), -2)]
    good = [part_create(w.path("g1")), part_set(w.path("x"), b"changed"), part_create(w.path("g-"), flags=2)]
    for part in bad:
        a.multi(part)
    for place in range(4):
        parts = [*good[:place], bad[0], *good[place:]]
        a.multi(*parts)
        a.children2(w.root)
        a.get(w.path("x"))
    for part in bad:
        a.multi(good[0], part, good[1])
    a.multi(good[0], bad[0], bad[2])
    a.multi(bad[8], bad[7])
    a.children2(w.root)
    a.exists(w.path("x"))
    a.create(w.path("after-"), flags=2)


@scenario()
def failures_of_form(w):
    """Parts with nulls and with flags that do not exist."""
    a = w.top()
    a.create(w.path("x"), b"0")
    good = part_create(w.path("g1"))
    for part in (part_create(None), part_check(None), part_set(None), part_delete(None),
                 part_create(w.path("flags"), flags=9), part_create(w.path("acl2"), b"", None)):
        for parts in ((part,), (good, part), (good, part, good)):
            a.multi(*parts)
            w.rebase()
            a.exists(w.path("g1"))
    a.children2(w.root)


@scenario()
def parts_see_each_other(w):
    """Each part works on what the parts before it have made."""
    a = w.top()
    p = w.path("p")
    a.multi(part_create(p), part_create(f"{p}/c"), part_delete(f"{p}/c"), part_delete(p))
    a.exists(p)
    a.multi(part_create(p), part_delete(p), part_create(p, b"second"))
    a.get(p)
    a.multi(part_set(p, b"1", 0), part_set(p, b"2", 1), part_check(p, 2), part_set(p, b"3", 2))
    a.get(p)
    a.multi(part_create(f"{p}/n"), part_set(f"{p}/n", b"new", 0), part_check(f"{p}/n", 1))
    a.get(f"{p}/n")
    a.multi(part_create(f"{p}/s-", flags=2), part_create(f"{p}/s-", flags=2), part_delete(f"{p}/n"),
            part_create(f"{p}/s-", flags=2))
    a.children2(p)
    a.multi(part_create(p))
    a.multi(part_create(f"{p}/e", flags=1), part_create(f"{p}/e/child"))
    a.exists(f"{p}/e")
    a.multi(part_create(f"{p}/q"), part_delete(p))
    a.exists(f"{p}/q")
    a.multi(part_delete(f"{p}/s-0000000001"), part_delete(f"{p}/s-0000000001"))
    a.children2(p)
    a.multi(part_create(f"{p}/k", b"", [(f.READ, "world", "anyone")]), part_create(f"{p}/k/x"))
    a.multi(part_create(f"{p}/k", b"", [(f.READ, "world", "anyone")]), part_set(f"{p}/k", b"x"))
    a.multi(part_create(f"{p}/z", b"a"), part_create(f"{p}/z/1"), part_create(f"{p}/z/2"), part_delete(f"{p}/z/1"))
    a.children2(f"{p}/z")
    a.exists(p)


@scenario()
def ephemerals(w):
    """Ephemeral nodes made and deleted in multis belong to the session."""
    a = w.top()
    b = w.connect("b")
    b.multi(part_create(w.path("e1"), flags=1), part_create(w.path("e2"), flags=1), part_create(w.path("e-"), flags=3),
            part_delete(w.path("e1")))
    b.ephemerals("/")
    a.exists(w.path("e2"))
    b.multi(part_create(w.path("e3"), flags=1), part_check(w.path("none")))
    b.ephemerals("/")
    b.close()
    a.children2(w.root)
    a.exists(w.path("e2"))


@scenario()
def watches(w):
    """The events of a multi: one for each change, all with its zxid."""
    a = w.top()
    b = w.connect("b")
    a.create(w.path("x"), b"0")
    a.create(w.path("d"))
    b.get(w.path("x"), True)
    b.exists(w.path("n"), True)
    b.children(w.root, True)
    b.get(w.path("d"), True)
    a.multi(part_set(w.path("x"), b"1"), part_create(w.path("n")), part_set(w.path("x"), b"2"),
            part_delete(w.path("d")), part_delete(w.path("n")))
    b.drain()
    b.get(w.path("x"), True)
    b.exists(w.path("n"), True)
    a.multi(part_set(w.path("x"), b"3"), part_create(w.path("n")), part_check(w.path("none")))
    b.drain("a failed multi wakes nobody")
    a.get(w.path("x"), True)
    a.multi(part_create(w.path("n2")), part_set(w.path("x"), b"4"))


@scenario()
def acl(w):
    """Authority is asked of each part."""
    a = w.top()
    a.create(w.path("ro"), b"", [(f.READ, "world", "anyone")])
    a.create(w.path("nothing"), b"", [(0, "world", "anyone")])
    a.multi(part_create(w.path("ok")), part_set(w.path("ro"), b"x"))
    a.multi(part_create(w.path("ok")), part_create(w.path("ro/x")))
    a.multi(part_check(w.path("ro"), 0))
    a.multi(part_check(w.path("nothing"), 0))
    a.multi(part_check(w.path("nothing"), 5))
    a.multi(part_create(w.path("auth"), b"", [(f.ALL, "auth", "")]))
    a.multi(part_create(w.path("bad"), b"", [(f.ALL, "nonesuch", "")]), part_create(w.path("ok")))
    a.auth("digest", b"ann:secret")
    a.multi(part_create(w.path("auth"), b"", [(f.ALL, "auth", "")]))
    a.get_acl(w.path("auth"))
    a.children2(w.root)


@scenario()
def bad_parts(w):
    """Parts that a multi cannot hold."""
    kinds = {
        "exists": (Op.EXISTS, f.path_watch("/", False)), "sync": (Op.SYNC, f.string("/")),
        "setACL": (Op.SET_ACL, f.set_acl_body("/", f.OPEN, -1)), "ping": (Op.PING, b""),
        "multi": (Op.MULTI, f.multi_body([])), "unknown": (77, b""), "notification": (0, b""),
        "closeSession": (Op.CLOSE_SESSION, b""), "getData": (Op.GET_DATA, f.path_watch("/", False)),
        "getChildren": (Op.GET_CHILDREN, f.path_watch("/", False)),
        "deleteContainer": (Op.DELETE_CONTAINER, f.string("/none")), "error": (Op.ERROR, f.i32(0)),
        "reconfig": (Op.RECONFIG, bytes(16)), "addWatch": (Op.ADD_WATCH, f.path_version("/", 0)),
        "createSession": (Op.CREATE_SESSION, f.i32(1)),
    }
    w.top("first")
    for name, (op, body) in kinds.items():
        c = w.connect(name)
        c.multi(part_of(op, body, name))
        c.exists("/alive")
        d = w.connect(f"{name} behind")
        d.multi(part_create(w.path(name)), part_of(op, body, name))
        d.exists(w.path(name))


@scenario()
def ttl_parts(w):
    """TTL nodes inside a multi, where extended types are off."""
    a = w.top()
    a.multi(part_create_ttl(w.path("t"), 1000))
    a.exists("/alive")
    b = w.connect("b")
    b.multi(part_create(w.path("x")), part_create(w.path("t"), flags=5))
    b.exists(w.path("x"))


@scenario()
def multi_read(w):
    """Reads of one moment; an error in one leaves the others."""
    a = w.top()
    a.create(w.path("x"), b"1")
    a.create(w.path("x/y"), None)
    a.create(w.path("closed"), b"", [(0, "world", "anyone")])
    a.multi_read(part_get(w.path("x")))
    a.multi_read(part_get(w.path("x")), part_children(w.path("x")), part_get(w.path("x/y")), part_children(w.root))
    a.multi_read(part_get(w.path("none")), part_get(w.path("x")), part_children(w.path("none")),
                 part_get(w.path("closed")), part_children(w.path("closed")), part_children("/zookeeper"))
    a.multi_read(part_get(w.path("none")))
    a.multi_read(part_get("relative"), part_get(w.path("x")))
    a.multi_read(part_get(None), part_get(w.path("x")))
    a.exists("/alive")
    kinds = {"exists": (Op.EXISTS, f.path_watch("/", False)), "create": (Op.CREATE, f.create_body("/x", b"", f.OPEN, 0)),
             "check": (Op.CHECK, f.path_version("/", 0)), "unknown": (77, b""), "delete": part_delete(w.path("x"))[:2],
             "getChildren2": (Op.GET_CHILDREN2, f.path_watch("/", False)),
             "set": part_set(w.path("x"))[:2]}
    for name, (op, body) in kinds.items():
        c = w.connect(name)
        c.multi_read(part_of(op, body, name))
        c.exists(w.path("x"))
        d = w.connect(f"{name} behind")
        d.multi_read(part_get(w.path("x")), part_of(op, body, name))
        d.exists("/alive")
    b = w.connect("b")
    b.multi_read(part_of(Op.GET_DATA, f.path_watch(w.path("x"), True), "get x with a watch"),
                 part_of(Op.GET_CHILDREN, f.path_watch(w.path("x"), True), "children of x with a watch"))
    a.set(w.path("x"), b"2")
    a.create(w.path("x/z"))
    b.drain("watches left by multiRead")


@scenario()
def large(w):
    """Hundreds of parts."""
    a = w.top()
    a.multi(*(part_create(w.path(f"n{n:03}"), b"x" * 10) for n in range(300)), what="multi of 300 creates")
    a.children2(w.root)
    a.multi(*(part_set(w.path(f"n{n:03}"), b"y") for n in range(300)), part_check(w.path("none")),
            what="multi of 300 sets and a failing check")
    a.multi(*(part_delete(w.path(f"n{n:03}")) for n in range(300)), what="multi of 300 deletes")
    a.exists(w.root)
    a.create(w.path("s-"), flags=2)
