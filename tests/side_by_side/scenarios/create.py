"""create, create2, createContainer, createTTL: modes, names, parents, sequence numbers."""

import frames as f
from frames import Op
from world import scenario


@scenario()
def modes(w):
    """All the flags, and the stats that come of them."""
    a = w.top()
    a.create(w.path("plain"), b"data")
    a.get(w.path("plain"))
    a.create(w.path("ephemeral"), b"e", flags=1)
    a.get(w.path("ephemeral"))
    a.create(w.path("seq-"), b"s", flags=2)
    a.create(w.path("seq-"), b"s", flags=2)
    a.create(w.path("eseq-"), b"es", flags=3)
    a.create(w.path("eseq-"), b"es", flags=3)
    a.create(w.path("container"), b"c", flags=4)
    a.get(w.path("container"))
    a.create(w.path("ttl"), b"t", flags=5)
    a.create(w.path("ttlseq"), b"t", flags=6)
    for flags in (7, 8, 100, -1, -100, 2147483647, -2147483648):
        a.create(w.path(f"flags{flags}"), b"", flags=flags)
    a.children2(w.root)
    a.create2(w.path("plain2"), b"data")
    a.create2(w.path("ephemeral2"), b"", flags=1)
    a.create2(w.path("seq2-"), b"", flags=2)
    a.create2(w.path("eseq2-"), b"", flags=3)
    a.create2(w.path("container2"), b"", flags=4)
    a.create2(w.path("ttl2"), b"", flags=5)
    a.create2(w.path("bad2"), b"", flags=9)
    a.children2(w.root)
    a.exists(w.root)


@scenario()
def containers(w):
    """createContainer, with its own flags and with others."""
    a = w.top()
    a.create_container(w.path("c"), b"x")
    a.get(w.path("c"))
    a.create_container(w.path("c"))
    for flags in (0, 1, 2, 3, 5, 6, 7, -1):
        a.create_container(w.path(f"c{flags}"), flags=flags)
        a.exists(w.path(f"c{flags}"))
    a.create(w.path("c/child"))
    a.create(w.path("c/ephemeral"), flags=1)
    a.children2(w.path("c"))
    a.delete(w.path("c"))
    a.delete(w.path("c/child"))
    a.delete(w.path("c/ephemeral"))
    a.exists(w.path("c"))
    a.delete(w.path("c"))
    a.create_container(w.path("missing/c"))
    a.create_container(None)
    a.create_container(w.path("nulldata"), None)
    a.children2(w.root)


@scenario()
def data_shapes(w):
    """null, empty and large data."""
    a = w.top()
    a.create(w.path("null"), None)
    a.get(w.path("null"))
    a.exists(w.path("null"))
    a.create(w.path("empty"), b"")
    a.get(w.path("empty"))
    a.create(w.path("zeros"), bytes(10))
    a.get(w.path("zeros"))
    a.create(w.path("big"), b"x" * 100_000)
    a.get(w.path("big"))
    a.set(w.path("big"), None)
    a.get(w.path("big"))
    a.set(w.path("big"), b"")
    a.get(w.path("big"))
    a.create(w.path("all-bytes"), bytes(range(256)))
    a.get(w.path("all-bytes"))


@scenario()
def paths(w):
    """Names that are refused, and odd ones that are not."""
    a = w.top()
    r = w.root
    bad = [None, "", "/", "relative", "no/slash", f"{r}/", f"{r}/x/", f"{r}//x", "//", "//x", f"{r}/.", f"{r}/..",
           f"{r}/./x", f"{r}/../x", f"{r}/x/.", f"{r}/x/..", "/.", "/..", f"{r}/nul\0", f"{r}/\0", "\0", f"{r}/\0/x",
           f"{r}/a\x01b", f"{r}/a\x1fb", f"{r}/a\x7fb", f"{r}/a\x9fb", f"{r}/a\ud7ff", f"{r}/a\ud800",
           f"{r}/a\udbff", f"{r}/a\udfff", f"{r}/a\ue000", f"{r}/a\uf8ff", f"{r}/a\uf900", f"{r}/a\uffef",
           f"{r}/a\ufff0", f"{r}/a\uffff", f"{r}/a\ufffd"]
    for path in bad:
        a.create(path)
    good = [f"{r}/x", f"{r}/...", f"{r}/.x", f"{r}/x.", f"{r}/..x", f"{r}/x..y", f"{r}/ ", f"{r}/ x ", f"{r}/\u00e9",
            f"{r}/\u4e2d\u6587", f"{r}/\U0001f600", f"{r}/a\u00a0b", f"{r}/-", f"{r}/%20", f"{r}/\\", f"{r}/\"'",
            f"{r}/" + "n" * 3000, f"{r}/\u0085", f"{r}/a b", f"{r}/zookeeper"]
    for path in good:
        a.create(path)
    a.children(r)
    for path in bad:
        a.exists(path)
    for path in bad[:16]:
        a.get(path)
    for path in bad[:16]:
        a.children(path)


@scenario()
def broken_utf8(w):
    """Paths that are no UTF-8: how the bytes come back."""
    a = w.top()
    r = w.root.encode()
    for tail in (b"/\xff", b"/\xc3", b"/\xc3(", b"/\xe2\x82", b"/\xf0\x9f\x98", b"/\xed\xa0\x80", b"/\xc0\x80", b"/\x80",
                 b"/ok\xfeok", b"/\xf8\x88\x80\x80\x80", b"/\xf4\x90\x80\x80", b"/\xe0\x80\xaf"):
        a.create(r + tail, b"1")
        a.exists(r + tail)
    a.children(w.root)


@scenario()
def parents(w):
    """Missing and ephemeral parents, existing nodes."""
    a = w.top()
    a.create(w.path("missing/x"))
    a.create(w.path("x"))
    a.create(w.path("x"))
    a.create2(w.path("x"))
    a.create(w.path("x"), flags=1)
    a.create(w.path("e"), flags=1)
    a.create(w.path("e/child"))
    a.create(w.path("e/child"), flags=2)
    a.create2(w.path("e/child"))
    a.create_container(w.path("e/child"))
    a.create(w.path("e/child/grandchild"))
    a.create("/missing-at-root/x")
    a.create("/", b"x")
    a.create(w.root)
    a.create(w.path("x/y"))
    a.create(w.path("x/y/z"))
    a.exists(w.path("x/y"))
    a.exists(w.path("x"))


@scenario()
def sequences(w):
    """Sequence numbers come from the parent's stored cversion."""
    a = w.top()
    p = w.path("q")
    a.create(p)
    a.create(f"{p}/n-", flags=2)
    a.create(f"{p}/n-", flags=2)
    a.create(f"{p}/plain")
    a.create(f"{p}/n-", flags=2)
    a.delete(f"{p}/plain")
    a.create(f"{p}/n-", flags=2)
    a.create(f"{p}/m", flags=3)
    a.create(f"{p}/", flags=2)
    a.create(f"{p}/", flags=0)
    a.create(f"{p}//", flags=2)
    a.create(f"{p}/sub/", flags=2)
    a.create(f"{p}/.", flags=2)
    a.create(f"{p}/..", flags=2)
    a.create(f"{p}/\0", flags=2)
    a.create("", flags=2)
    a.create("/", flags=3)
    a.create2("/", flags=3)
    a.create(f"{p}/n-0000000001", flags=0)
    a.children2(p)
    # A name taken by hand where the sequence comes next.
    a.create(f"{p}/t-0000000009")
    a.create(f"{p}/t-0000000010")
    a.create(f"{p}/t-", flags=2)
    a.create(f"{p}/t-", flags=2)
    a.create(f"{p}/t-", flags=2)
    a.create(f"{p}/t-", flags=2)
    a.children2(p)
    a.create2(f"{p}/two-", b"d", flags=2)
    a.get(p)


@scenario()
def sequence_after_deletes(w):
    """Deleting children changes neither the sequence nor the stored cversion; the shown cversion does change."""
    a = w.top()
    p = w.path("q")
    a.create(p)
    for _ in range(3):
        a.create(f"{p}/n-", flags=2)
    a.exists(p)
    a.delete(f"{p}/n-0000000000")
    a.exists(p)
    a.delete(f"{p}/n-0000000001")
    a.exists(p)
    a.create(f"{p}/n-", flags=2)
    a.exists(p)
    a.delete(p)
    a.delete(f"{p}/n-0000000002")
    a.delete(f"{p}/n-0000000003")
    a.exists(p)
    a.delete(p)
    a.create(p)
    a.create(f"{p}/n-", flags=2)


@scenario()
def failing_creates_in_a_row(w):
    """Each refused write takes a zxid of its own, and leaves no trace in its parent."""
    a = w.top()
    for _ in range(3):
        a.create(w.root)
    a.exists(w.root)
    a.create(w.path("a"))
    a.create(w.path("a"))
    a.create(w.path("b"))
    a.create(w.path("none/b"))
    a.create(w.path("n-"), flags=2)
    a.create(w.path("none/n-"), flags=2)
    a.create(w.path("n-"), flags=2)
    a.exists(w.root)
    a.exists(w.path("b"))


@scenario()
def truncated_records(w):
    """create requests that end too early, and ones with bytes behind them."""
    a = w.top()
    whole = f.create_body(w.path("t"), b"d", f.OPEN, 0)
    for cut in (0, 2, 4, 10, len(whole) - 26, len(whole) - 20, len(whole) - 10, len(whole) - 4, len(whole) - 1):
        a.call(Op.CREATE, whole[:cut], f"create cut to {cut - len(whole)}")
        w.rebase()
    a.call(Op.CREATE, whole + b"trailing", "create with bytes behind it")
    a.exists(w.path("t"))
    for what, body in (
            ("a short ACL vector", f.string(w.path("u")) + f.buffer(b"") + f.i32(5) + f.i32(0)),
            ("ACL count -2", f.string(w.path("u")) + f.buffer(b"") + f.i32(-2) + f.i32(0)),
            ("data length -2", f.string(w.path("u")) + f.i32(-2) + f.i32(0) + f.i32(0)),
            ("path length -2", f.i32(-2) + f.buffer(b"") + f.vector(f.OPEN, f.acl) + f.i32(0)),
            ("a huge path length", f.i32(0x7FFFFFFF))):
        a.call(Op.CREATE, body, f"create with {what}")
        w.rebase()
    a.exists(w.path("u"))


@scenario()
def zookeeper_folder(w):
    """The system's own nodes accept children like any other."""
    a = w.top()
    a.children("/zookeeper")
    a.get("/zookeeper")
    a.exists("/zookeeper/config")
    a.create("/zookeeper/extra")
    a.create("/zookeeper/extra/deep", flags=1)
    a.delete("/zookeeper/extra/deep")
    a.delete("/zookeeper/extra")
    a.create("/zookeeper/config/x")
    a.create("/zookeeper/quota/x")
    a.delete("/zookeeper/quota/x")
