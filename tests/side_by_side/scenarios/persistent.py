"""addWatch: persistent and persistent recursive watches."""

import frames as f
from world import part_create, part_delete, part_set, scenario


@scenario()
def persistent(w):
    """Stays; data and children of one node; also for a node that is not there yet."""
    a = w.top()
    b = w.connect("b")
    p = w.path("p")
    b.add_watch(p, 0)
    a.create(p)
    a.set(p, b"1")
    a.set(p, b"2")
    a.create(f"{p}/c")
    a.set(f"{p}/c", b"1")
    a.create(f"{p}/c/d")
    a.set_acl(p, f.OPEN)
    b.drain()
    a.delete(f"{p}/c/d")
    a.delete(f"{p}/c")
    a.delete(p)
    b.drain()
    a.create(p)
    b.drain("it outlives the node")


@scenario()
def recursive(w):
    """A whole subtree, without child events."""
    a = w.top()
    b = w.connect("b")
    p = w.path("p")
    b.add_watch(p, 1)
    a.create(p)
    a.create(f"{p}/c")
    a.create(f"{p}/c/d")
    a.create(f"{p}/c/d/e")
    a.set(f"{p}/c/d/e", b"1")
    a.set(p, b"1")
    a.create(w.path("pp"))
    a.create(f"{p}/eph", flags=1)
    b.drain()
    a.delete(f"{p}/c/d/e")
    a.delete(f"{p}/c/d")
    a.delete(f"{p}/c")
    a.delete(f"{p}/eph")
    a.delete(p)
    b.drain()
    a.create(p)
    b.drain()


@scenario()
def recursive_at_root(w):
    """A recursive watch on / sees every change there is."""
    a = w.top()
    b = w.connect("b")
    b.add_watch("/", 1)
    a.create(w.path("x"))
    a.set(w.path("x"), b"1")
    a.set("/", b"1")
    a.set("/", b"")
    a.delete(w.path("x"))
    a.set("/zookeeper/quota", b"1")
    a.set("/zookeeper/quota", b"")
    b.drain()
    b.remove_watches("/", 5)
    b.add_watch("/", 0)
    a.create(w.path("x"))
    a.set("/", b"")
    b.drain()
    b.remove_watches("/", 4)


@scenario()
def modes(w):
    """Modes that do not exist; paths that cannot be."""
    for mode in (-1, 2, 3, 100, -2147483648):
        c = w.connect(f"mode{mode}")
        c.add_watch("/", mode)
        c.exists("/alive")
    a = w.top()
    for number, path in enumerate(("", "relative", f"{w.root}/", w.path("\0"), "//", w.path("none/deeper"))):
        a.add_watch(path, 0)
        a.add_watch(path, 1)
        a.check_watches(path, 4)
    b = w.connect("b")
    b.add_watch(None, 0)
    b.exists("/alive")
    c = w.connect("c")
    c.add_watch(None, 1)
    c.exists("/alive")


@scenario()
def changing_modes(w):
    """A second addWatch on one path replaces the mode; one-shot watches live beside it."""
    a = w.top()
    b = w.connect("b")
    p = w.path("p")
    a.create(p)
    b.add_watch(p, 0)
    b.add_watch(p, 0)
    a.set(p, b"1")
    b.drain("one event")
    b.add_watch(p, 1)
    a.set(p, b"2")
    a.create(f"{p}/c")
    a.set(f"{p}/c", b"1")
    b.drain()
    for kind in (1, 2, 3, 4, 5):
        b.check_watches(p, kind)
    b.add_watch(p, 0)
    for kind in (1, 2, 3, 4, 5):
        b.check_watches(p, kind)
    a.create(f"{p}/c/d")
    a.delete(f"{p}/c/d")
    a.delete(f"{p}/c")
    b.drain()
    b.get(p, True)
    b.children(p, True)
    a.set(p, b"3")
    a.create(f"{p}/e")
    b.drain("both kinds, one event")
    a.set(p, b"4")
    a.delete(f"{p}/e")
    b.drain("the persistent one is left")


@scenario()
def one_shot_first(w):
    """One-shot watches, then a persistent one, then removal of either."""
    a = w.top()
    p = w.path("p")
    a.create(p)
    a.get(p, True)
    a.children(p, True)
    a.add_watch(p, 0)
    for kind in (1, 2, 3, 4, 5):
        a.check_watches(p, kind)
    a.set(p, b"1")
    a.set(p, b"2")
    a.create(f"{p}/c")
    a.get(p, True)
    a.remove_watches(p, 4)
    for kind in (1, 2, 3, 4, 5):
        a.check_watches(p, kind)
    a.set(p, b"3")
    a.set(p, b"4")


@scenario()
def removal(w):
    """removeWatches of each type against persistent and recursive watches."""
    a = w.top()
    for mode in (0, 1):
        for kind in (1, 2, 3, 4, 5):
            p = w.path(f"m{mode}k{kind}")
            a.create(p)
            a.add_watch(p, mode)
            a.remove_watches(p, kind)
            a.set(p, b"1")
            a.create(f"{p}/c")
            a.check_watches(p, 3)
            a.remove_watches(p, 3)
            a.set(p, b"2")


@scenario()
def overlapping(w):
    """Recursive above recursive above persistent above one-shot: one event for each change to a connection."""
    a = w.top()
    b = w.connect("b")
    p = w.path("p")
    a.create(p)
    a.create(f"{p}/q")
    b.add_watch(w.root, 1)
    b.add_watch(p, 1)
    b.add_watch(f"{p}/q", 0)
    b.get(f"{p}/q", True)
    b.children(f"{p}/q", True)
    a.set(f"{p}/q", b"1")
    a.create(f"{p}/q/r")
    a.delete(f"{p}/q/r")
    b.drain()
    b.remove_watches(p, 5)
    a.set(f"{p}/q", b"2")
    b.drain("the one above is left")
    b.remove_watches(w.root, 5)
    b.remove_watches(f"{p}/q", 4)
    a.set(f"{p}/q", b"3")
    b.drain("none is left")


@scenario()
def parent_and_child(w):
    """A persistent watch on a parent, another on its child: the events of creation and deletion."""
    a = w.top()
    b = w.connect("b")
    p = w.path("p")
    a.create(p)
    b.add_watch(p, 0)
    b.add_watch(f"{p}/c", 0)
    a.create(f"{p}/c")
    b.drain()
    a.delete(f"{p}/c")
    b.drain()
    b.add_watch(p, 1)
    a.create(f"{p}/c")
    a.delete(f"{p}/c")
    b.drain()


@scenario()
def acl_when_it_fires(w):
    """No events of nodes that the watcher may not read."""
    a = w.top()
    b = w.connect("b")
    a.auth("digest", b"ann:secret")
    mine = [(f.ALL, "auth", "")]
    p = w.path("p")
    a.create(p)
    b.add_watch(p, 1)
    a.create(f"{p}/open")
    a.create(f"{p}/closed", b"", mine)
    a.set(f"{p}/closed", b"1")
    a.create(f"{p}/closed/under", b"", f.OPEN)
    a.set(f"{p}/closed/under", b"1")
    a.delete(f"{p}/closed/under")
    a.delete(f"{p}/closed")
    a.delete(f"{p}/open")
    b.drain()
    b.add_watch(p, 0)
    a.create(f"{p}/closed", b"", mine)
    a.delete(f"{p}/closed")
    a.set_acl(p, mine)
    a.set(p, b"1")
    a.create(f"{p}/x")
    b.drain()
    b.auth("digest", b"ann:secret")
    a.set(p, b"2")
    a.delete(f"{p}/x")
    b.drain("with the identity")
    c = w.connect("c")
    c.add_watch(p, 0)
    c.add_watch(w.path("closed-at-birth"), 1)
    a.set(p, b"3")
    a.create(w.path("closed-at-birth"), b"", mine)
    c.drain("addWatch asks for nothing; the events do")


@scenario()
def multi_and_pipeline(w):
    """Events of a multi and of a batch."""
    a = w.top()
    a.add_watch(w.root, 1)
    a.multi(part_create(w.path("x")), part_set(w.path("x"), b"1"), part_create(w.path("y")), part_delete(w.path("x")))
    with a.batch():
        a.set(w.path("y"), b"1")
        a.get(w.path("y"))
        a.set(w.path("y"), b"2")
        a.remove_watches(w.root, 5)
        a.set(w.path("y"), b"3")
        a.add_watch(w.root, 0)
        a.create(w.path("z"))
        a.get(w.path("y"))


@scenario()
def session_end(w):
    """Ephemeral nodes of an ending session, seen by a recursive watch."""
    a = w.top()
    a.create(w.path("p"))
    b = w.connect("b")
    b.create(w.path("p/e"), flags=1)
    a.add_watch(w.root, 1)
    b.close()
    a.drain()
    c = w.connect("c", timeout=1000)
    c.create(w.path("p/f"), flags=1)
    a.drain()
    c.vanish()
    a.events(1, "its ephemeral node goes")
    c.session_over = True
