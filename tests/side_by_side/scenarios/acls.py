"""ACLs: schemes, every permission for every operation, addauth, super, masking, what is refused."""

import base64
import hashlib

import frames as f
from frames import ADMIN, ALL, CREATE, DELETE, READ, WRITE, Op
from world import part_check, part_children, part_create, part_delete, part_get, part_set, scenario


def digest(credentials):
    """user:password as the digest scheme stores it."""
    user = credentials.split(":")[0]
    return f"{user}:{base64.b64encode(hashlib.sha1(credentials.encode()).digest()).decode()}"


ANN = digest("ann:secret")
BOB = digest("bob:secret")


@scenario()
def invalid_lists(w):
    """Lists that a server refuses, in create and in setACL."""
    a = w.top()
    lists = {
        "null": None, "empty": [], "no scheme": [(ALL, "", "x")], "null scheme": [(ALL, None, "x")],
        "null id": [(ALL, "world", None)], "both null": [(ALL, None, None)],
        "world of someone": [(ALL, "world", "someone")], "world of nobody": [(ALL, "world", "")],
        "unknown scheme": [(ALL, "nonesuch", "x")], "auth without identity": [(ALL, "auth", "")],
        "auth with an id": [(ALL, "auth", "ann:x")], "digest without colon": [(ALL, "digest", "ann")],
        "digest with two colons": [(ALL, "digest", "a:b:c")], "digest empty": [(ALL, "digest", "")],
        "digest colon": [(ALL, "digest", ":")], "digest fine": [(ALL, "digest", ANN)],
        "digest no hash": [(ALL, "digest", "ann:anything")], "digest null": [(ALL, "digest", None)],
        "ip fine": [(ALL, "ip", "127.0.0.1")], "ip net": [(ALL, "ip", "127.0.0.0/8")], "ip bad": [(ALL, "ip", "no")],
        "ip too short": [(ALL, "ip", "127.0.0")], "ip bad net": [(ALL, "ip", "127.0.0.0/33")],
        "ip negative net": [(ALL, "ip", "127.0.0.0/-1")], "ip big part": [(ALL, "ip", "127.0.0.256")],
        "ip empty": [(ALL, "ip", "")], "ip slash": [(ALL, "ip", "127.0.0.1/")], "ip6": [(ALL, "ip", "::1")],
        "ip zero net": [(ALL, "ip", "127.0.0.0/0")], "ip letters net": [(ALL, "ip", "127.0.0.0/x")],
        "x509": [(ALL, "x509", "CN=x")], "sasl": [(ALL, "sasl", "ann")], "super": [(ALL, "super", "x")],
        "no perms": [(0, "world", "anyone")], "odd perms": [(64, "world", "anyone")],
        "negative perms": [(-1, "world", "anyone")], "upper case": [(ALL, "WORLD", "anyone")],
        "good and bad": [(ALL, "world", "anyone"), (ALL, "nonesuch", "x")],
        "bad and good": [(ALL, "nonesuch", "x"), (ALL, "world", "anyone")],
        "twice the same": [(ALL, "world", "anyone"), (ALL, "world", "anyone")],
        "same id, other perms": [(READ, "world", "anyone"), (WRITE, "world", "anyone")],
    }
    for number, (name, acl) in enumerate(lists.items()):
        a.create(w.path(f"n{number}"), b"", acl)
        a.get_acl(w.path(f"n{number}"))
    for number, (name, acl) in enumerate(lists.items()):
        a.create(w.path(f"s{number}"))
        a.set_acl(w.path(f"s{number}"), acl)
        a.get_acl(w.path(f"s{number}"))
    a.children2(w.root)


@scenario()
def acl_versions(w):
    """setACL's version is the aversion; the stats it leaves."""
    a = w.top()
    p = w.path("x")
    a.create(p)
    a.get_acl(p)
    a.set_acl(p, [(ALL, "world", "anyone")], 1)
    a.set_acl(p, [(ALL, "world", "anyone")], 0)
    a.set_acl(p, [(ALL, "world", "anyone")], 0)
    a.set_acl(p, [(ALL & ~WRITE, "world", "anyone")], -1)
    a.set_acl(p, [(ALL, "world", "anyone")], -2)
    a.get_acl(p)
    a.exists(p)
    a.set(p, b"refused")
    a.set_acl(p, [(ALL, "world", "anyone")], 2)
    a.set(p, b"1")
    a.exists(p)
    a.set_acl(w.path("none"), f.OPEN)
    a.set_acl(w.path("none"), f.OPEN, 3)
    for path in ("", None, "relative", f"{w.root}/", w.path("\0"), "//"):
        a.set_acl(path, f.OPEN)
        a.get_acl(path)
    a.set_acl("/zookeeper/quota", f.OPEN)
    a.exists("/zookeeper/quota")
    a.exists(w.root)
    a.call(Op.SET_ACL, f.string(p), "setACL with a path only")
    w.rebase()


def try_everything(c, p):
    """Each operation on a node, as somebody who may or may not."""
    c.get(p)
    c.exists(p)
    c.children(p)
    c.children2(p)
    c.get_acl(p)
    c.all_children(p)
    c.set(p, b"by somebody")
    c.create(f"{p}/child", b"", f.OPEN)
    c.create2(f"{p}/child2", b"", f.OPEN)
    c.create(f"{p}/seq-", b"", f.OPEN, 2)
    c.create_container(f"{p}/container")
    c.create(f"{p}/eph", b"", f.OPEN, 1)
    c.delete(f"{p}/child")
    c.delete(f"{p}/child2")
    c.multi(part_check(p, -1))
    c.multi(part_set(p, b"by multi"))
    c.multi(part_create(f"{p}/m"), part_delete(f"{p}/m"))
    c.multi_read(part_get(p), part_children(p))
    c.sync(p)
    c.set_acl(p, f.OPEN)
    c.delete(p)
    c.exists(p)


@scenario()
def each_permission_alone(w):
    """world:anyone with one permission, and with all but one."""
    a = w.top()
    for perms in (0, READ, WRITE, CREATE, DELETE, ADMIN, ALL & ~READ, ALL & ~WRITE, ALL & ~CREATE, ALL & ~DELETE,
                  ALL & ~ADMIN, ALL):
        p = w.path(f"perms{perms}")
        a.create(p, b"data", [(perms, "world", "anyone")])
        try_everything(a, p)


@scenario()
def delete_needs_the_parents_permission(w):
    """DELETE and CREATE are asked of the parent, not of the node."""
    a = w.top()
    a.create(w.path("p"), b"", [(ALL & ~DELETE, "world", "anyone")])
    a.create(w.path("p/x"), b"", f.OPEN)
    a.delete(w.path("p/x"))
    a.delete(w.path("p/none"))
    a.create(w.path("q"), b"", [(DELETE | READ, "world", "anyone")])
    a.create(w.path("q/x"))
    a.create(w.path("r"))
    a.create(w.path("r/x"), b"", [(READ, "world", "anyone")])
    a.delete(w.path("r/x"))
    a.create(w.path("s"), b"", [(CREATE, "world", "anyone")])
    a.create(w.path("s/x"), b"", [(READ, "world", "anyone")])
    a.create(w.path("s/x"), b"", [(READ, "world", "anyone")])
    a.create(w.path("s/x/y"))
    a.delete(w.path("s"))


@scenario()
def digest_identities(w):
    """auth expands to the caller's identities; who may, and who must not see the hashes."""
    a = w.top()
    b = w.connect("b")
    a.auth("digest", b"ann:secret")
    a.create(w.path("auth"), b"1", [(ALL, "auth", "")])
    a.get_acl(w.path("auth"))
    b.get_acl(w.path("auth"))
    b.get(w.path("auth"))
    b.exists(w.path("auth"))
    b.auth("digest", b"ann:secret")
    b.get(w.path("auth"))
    try_everything(b, w.path("auth"))
    a.auth("digest", b"bob:secret")
    a.create(w.path("two"), b"2", [(ALL, "auth", "")])
    a.get_acl(w.path("two"))
    a.create(w.path("mixed"), b"2", [(READ, "auth", ""), (ALL, "digest", ANN), (ADMIN, "world", "anyone")])
    a.get_acl(w.path("mixed"))
    c = w.connect("c")
    c.auth("digest", b"ann:wrong")
    c.get(w.path("two"))
    c.who_am_i()
    c.auth("digest", b"bob:secret")
    c.get(w.path("two"))
    c.set_acl(w.path("two"), [(ALL, "auth", "")])
    c.get_acl(w.path("two"))
    d = w.connect("d")
    try_everything(d, w.path("two"))


@scenario()
def masking(w):
    """Digest hashes are shown to those with ADMIN only; READ shows them masked; neither shows nothing."""
    a = w.top()
    for perms in (READ, ADMIN, READ | ADMIN, WRITE, 0):
        p = w.path(f"p{perms}")
        a.create(p, b"", [(perms, "world", "anyone"), (ALL, "digest", ANN), (READ, "digest", BOB),
                          (READ, "ip", "10.0.0.1")])
        a.get_acl(p)
    a.create(w.path("odd"), b"", [(READ, "world", "anyone"), (ALL, "digest", "ann:a"), (ALL, "digest", ":h")])
    a.get_acl(w.path("odd"))
    a.auth("digest", b"ann:secret")
    for perms in (READ, ADMIN, WRITE, 0):
        a.get_acl(w.path(f"p{perms}"))


@scenario()
def ip_scheme(w):
    """Addresses and networks."""
    a = w.top()
    for number, (who, perms) in enumerate((("127.0.0.1", ALL), ("127.0.0.2", ALL), ("127.0.0.0/8", ALL),
                                           ("127.0.0.0/31", ALL), ("127.0.0.2/31", ALL), ("126.0.0.0/7", ALL),
                                           ("10.0.0.0/8", ALL), ("0.0.0.0/0", ALL), ("127.255.255.255/9", ALL),
                                           ("127.0.0.1/32", ALL), ("127.0.0.1", READ))):
        p = w.path(f"ip{number}")
        a.create(p, who.encode(), [(perms, "ip", who)])
        a.get(p)
        a.set(p, b"")
    a.create(w.path("auth"), b"", [(ALL, "auth", "")])
    a.who_am_i()


@scenario()
def super_user(w):
    """super may do everything."""
    a = w.top()
    a.create(w.path("closed"), b"1", [(0, "world", "anyone")])
    a.create(w.path("anns"), b"1", [(ALL, "digest", ANN)])
    s = w.connect("s")
    s.auth("digest", b"super:wrong")
    s.get(w.path("closed"))
    s.auth("digest", b"super:secret")
    s.get(w.path("closed"))
    s.get_acl(w.path("anns"))
    s.create(w.path("auth"), b"", [(ALL, "auth", "")])
    s.get_acl(w.path("auth"))
    s.set("/zookeeper/config", b"x")
    s.set("/zookeeper/config", b"")
    s.get("/zookeeper/config")
    s.reconfig(members="server.1=localhost:2888:3888;2181")
    try_everything(s, w.path("closed"))
    try_everything(s, w.path("anns"))


@scenario()
def bad_auth(w):
    """Unknown schemes and bad credentials: an answer, then the end of the connection."""
    tries = [("nonesuch", b"x"), ("", b""), (None, b"x"), ("world", b"anyone"), ("auth", b""), ("digest", b"nocolon"),
             ("digest", b""), ("digest", None), ("digest", b":"), ("digest", b"ann:"), ("digest", b":secret"),
             ("digest", b"a:b:c"), ("digest", b"\xff\xfe:x"), ("DIGEST", b"a:b"), ("x509", b"x"), ("sasl", b"x"),
             ("super", b"super:secret"), ("ip", b"1.2.3.4"), ("ip", b""), ("ip", None), ("key", b"1")]
    for number, (scheme, credentials) in enumerate(tries):
        c = w.connect(f"c{number}")
        c.auth(scheme, credentials)
        c.aftermath()
        c.who_am_i()
    c = w.connect("type")
    c.call(Op.AUTH, f.auth_body("digest", b"a:b", kind=7), "auth with type 7", xid=-4)
    c.who_am_i()


@scenario()
def auth_then_use(w):
    """A failed addauth leaves the session to be resumed, with its ephemeral nodes."""
    a = w.top()
    a.create(w.path("e"), flags=1)
    a.auth("nonesuch", b"")
    a.expect_closed(seconds=2.0)
    b = w.connect("b", like=a)
    b.exists(w.path("e"))
    b.get(w.path("e"), True)


@scenario()
def acl_of_missing(w):
    """Which error comes first: no node, no authority, bad version, exists."""
    a = w.top()
    a.create(w.path("closed"), b"", [(0, "world", "anyone")])
    p = w.path("closed")
    a.create(f"{p}/x")
    a.create(f"{p}/x/y")
    a.create(f"{p}/x", b"", [(ALL, "nonesuch", "x")])
    a.create(f"{p}/x", b"", [], 9)
    a.create(w.root, b"", [])
    a.create(w.path("none/x"), b"", [])
    a.create(f"{w.root}/bad/", b"", [])
    a.delete(f"{p}/x")
    a.delete(p, 5)
    a.set(p, b"", 5)
    a.set_acl(p, [], 5)
    a.set_acl(p, f.OPEN, 5)
    a.set_acl(w.path("none"), [], 5)
    a.get(f"{p}/x")
    a.children(f"{p}/x")
    a.get(p, True)
    a.exists(p, True)
    a.children(p, True)
    a.check_watches(p, 3)
