"""delete, exists, getData, setData, getChildren, getChildren2, sync, getEphemerals, getAllChildrenNumber."""

import frames as f
from frames import Op
from world import scenario


@scenario("fresh")
def a_new_tree(w):
    """The tree as it is born: the system nodes, their stats and ACLs."""
    a = w.connect("a")
    for path in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
        a.exists(path)
        a.get(path)
        a.get_acl(path)
        a.children(path)
        a.children2(path)
        a.all_children(path)
    a.all_children("")
    a.set("/", b"root data")
    a.get("/")
    a.set("/", b"", 1)
    a.get("/")
    a.create("/first", b"1")
    a.exists("/")
    a.get_acl("/")
    a.set_acl("/", [(f.ALL, "world", "anyone")])
    a.get_acl("/")
    a.delete("/first")
    a.exists("/")
    a.children2("/")


@scenario()
def delete(w):
    """Versions, children, the root, the system nodes."""
    a = w.top()
    a.create(w.path("x"))
    a.delete(w.path("x"), 1)
    a.delete(w.path("x"), -2)
    a.delete(w.path("x"), 0)
    a.delete(w.path("x"), 0)
    a.delete(w.path("x"))
    a.create(w.path("x"))
    a.set(w.path("x"), b"1")
    a.delete(w.path("x"), 0)
    a.delete(w.path("x"), 2)
    a.delete(w.path("x"), 1)
    a.create(w.path("p"))
    a.create(w.path("p/c"))
    a.delete(w.path("p"))
    a.delete(w.path("p"), 7)
    a.delete(w.path("p/c"))
    a.exists(w.path("p"))
    a.delete(w.path("p"))
    for path in ("/", "", None, "//", "relative", f"{w.root}/", f"{w.root}//x", w.path("\0"), w.path("."),
                 "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/zookeeper/none", "/none/x", w.path("a/b")):
        a.delete(path)
    a.exists(w.root)
    a.call(Op.DELETE, f.string(w.path("x")), "delete without a version")
    w.rebase()


@scenario()
def delete_touches_parent(w):
    """Delete moves the parent's pzxid and the shown cversion."""
    a = w.top()
    for name in ("a", "b", "c"):
        a.create(w.path(name))
    a.exists(w.root)
    a.delete(w.path("b"))
    a.exists(w.root)
    a.delete(w.path("none"))
    a.exists(w.root)
    a.delete(w.path("a"))
    a.delete(w.path("c"))
    a.children2(w.root)


@scenario()
def exists_and_get(w):
    a = w.top()
    a.create(w.path("x"), b"data")
    for path in (w.path("x"), w.path("none"), w.path("none/deeper"), w.root, "", None, "relative", f"{w.root}/",
                 w.path("\0"), w.path("x") + "\0", "//"):
        a.exists(path)
        a.get(path)
        a.get_acl(path)
        a.children(path)
        a.children2(path)
        a.sync(path)
        if path != "":  # that is the root: `a_new_tree` counts there
            a.all_children(path)


@scenario()
def set_data(w):
    """Versions, null data, stats."""
    a = w.top()
    p = w.path("x")
    a.create(p, b"0")
    a.set(p, b"1", 0)
    a.set(p, b"2", 0)
    a.set(p, b"2", 1)
    a.set(p, b"3", -1)
    a.set(p, b"4", -2)
    a.set(p, b"4", 100)
    a.set(p, None, 3)
    a.get(p)
    a.set(p, b"", 4)
    a.get(p)
    a.set(p, b"longer data than before", 5)
    a.exists(p)
    a.set(w.path("none"), b"x")
    a.set(w.path("none"), b"x", 3)
    for path in ("", None, "relative", f"{w.root}/", w.path("\0"), "//", w.path("."), "/zookeeper/none"):
        a.set(path, b"x")
    a.exists(w.root)
    a.set(w.root, b"root")
    a.exists(w.root)
    a.set("/zookeeper", b"z")
    a.set("/zookeeper", b"")
    a.set("/zookeeper/config", b"z")
    a.call(Op.SET_DATA, f.string(p) + f.buffer(b"x"), "set without a version")
    w.rebase()
    a.set(p, b"still works")


@scenario()
def children(w):
    """Lists of children with their stats."""
    a = w.top()
    a.children(w.root)
    a.children2(w.root)
    for name in ("b", "a", "c"):
        a.create(w.path(name))
    a.create(w.path("a/x"))
    a.create(w.path("e"), flags=1)
    a.children(w.root)
    a.children2(w.root)
    a.children2(w.path("a"))
    a.children2(w.path("e"))
    a.delete(w.path("b"))
    a.children2(w.root)
    a.set(w.root, b"d")
    a.children2(w.root)
    a.children(w.path("none"))
    a.children2(w.path("none"))
    for _ in range(3):
        a.children2(w.root)
    a.call(Op.GET_CHILDREN, f.string(w.root), "children without the watch byte")
    a.call(Op.GET_CHILDREN2, f.string(w.root), "children2 without the watch byte")
    a.call(Op.GET_DATA, f.string(w.root), "get without the watch byte")
    a.call(Op.EXISTS, f.string(w.root), "exists without the watch byte")
    a.call(Op.EXISTS, f.path_watch(w.root, 2), "exists with 2 for the watch byte")
    a.call(Op.EXISTS, f.path_watch(w.root, False) + b"more", "exists with bytes behind it")


@scenario()
def all_children_number(w):
    """A count of every descendant."""
    a = w.top()
    a.all_children(w.root)
    for name in ("a", "a/b", "a/b/c", "ab", "d"):
        a.create(w.path(name))
    a.create(w.path("a/e"), flags=1)
    a.all_children(w.root)
    a.all_children(w.path("a"))
    a.all_children(w.path("a/b/c"))
    a.all_children(w.path("none"))
    a.all_children(None)
    a.create(w.path("closed"), acl=[(f.WRITE | f.CREATE | f.DELETE, "world", "anyone")])
    a.all_children(w.path("closed"))
    a.all_children("/zookeeper")


@scenario()
def ephemerals(w):
    """getEphemerals lists this session's own."""
    a = w.top()
    b = w.connect("b")
    a.ephemerals("/")
    a.create(w.path("e1"), flags=1)
    a.create(w.path("e2"), flags=1)
    a.create(w.path("other"), flags=1)
    a.create(w.path("e-"), flags=3)
    a.create(w.path("plain"))
    b.create(w.path("b"), flags=1)
    a.ephemerals("/")
    a.ephemerals("")
    a.ephemerals(None)
    a.ephemerals("  ")
    a.ephemerals(" / ")
    a.ephemerals(w.root)
    a.ephemerals(w.path("e"))
    a.ephemerals(w.path("none"))
    a.ephemerals("relative")
    b.ephemerals("/")
    a.delete(w.path("e1"))
    b.delete(w.path("e2"))
    a.ephemerals("/")
    a.call(Op.GET_EPHEMERALS, b"", "getEphemerals without a path")


@scenario()
def ephemeral_nodes(w):
    """Owned by a session, written and deleted by any, gone with their session."""
    a = w.top()
    b = w.connect("b")
    a.create(w.path("e"), b"1", flags=1)
    b.get(w.path("e"))
    b.set(w.path("e"), b"2")
    b.create(w.path("e/child"))
    a.set_acl(w.path("e"), [(f.ALL, "world", "anyone")])
    b.exists(w.path("e"))
    b.create(w.path("e"), flags=1)
    b.delete(w.path("e"))
    b.create(w.path("e"), flags=1)
    a.exists(w.path("e"))
    a.close()
    b.exists(w.path("e"))
    b.children2(w.root)
    b.create(w.path("f"), flags=1)
    c = w.connect("c")
    b.close()
    c.exists(w.path("e"))
    c.children2(w.root)


@scenario()
def sync(w):
    a = w.top()
    a.sync("/")
    a.sync(w.root)
    a.sync(w.path("none"))
    a.sync("")
    a.sync(None)
    a.sync("relative/path")
    a.sync(w.path("\0"))
    a.call(Op.SYNC, b"", "sync without a path")
    a.exists(w.root)


@scenario()
def reads_take_no_zxid(w):
    """The header's zxid is that of the last transaction."""
    a = w.top()
    b = w.connect("b")
    a.ping()
    a.exists(w.root)
    a.get(w.path("none"))
    a.sync("/")
    b.create(w.path("x"))
    a.exists(w.path("x"))
    a.ping()
    b.create(w.path("x"))
    a.ping()
    a.get(w.path("x"))
    a.who_am_i()
    a.get_acl(w.path("x"))
    b.delete(w.path("x"), 5)
    a.children(w.root)
