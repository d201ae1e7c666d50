"""Quotas: the nodes under /zookeeper/quota, their counts, and writes refused where enforceQuota is on."""

import frames as f
from world import part_check, part_create, part_delete, part_set, scenario


def limits(count=-1, size=-1, hard_count=None, hard_size=None):
    """The text of a limits node, as zkCli's setquota writes it."""
    text = f"count={count},bytes={size}"
    if hard_count is not None or hard_size is not None:
        text += f"=;byteHardLimit={-1 if hard_size is None else hard_size};"
        text += f"countHardLimit={-1 if hard_count is None else hard_count}"
    return text.encode()


def lay(w, a, path, text, stats=b""):
    """The quota nodes of a path, made the way zkCli makes them."""
    quota = "/zookeeper/quota"
    for part in path.strip("/").split("/"):
        quota += f"/{part}"
        a.create(quota)
    a.create(f"{quota}/zookeeper_limits", text)
    a.create(f"{quota}/zookeeper_stats", stats)
    return quota


def fill(w, a, quota):
    """Writes of every kind, with a look at the counts after each."""
    stats = f"{quota}/zookeeper_stats"

    def look():
        a.get(stats)
    look()
    a.create(w.path("a"), b"12345")
    look()
    a.create(w.path("a/b"), b"1234567890")
    look()
    a.create(w.path("null"), None)
    look()
    a.create(w.path("e"), b"eph", flags=1)
    look()
    a.create(w.path("s-"), b"seq", flags=2)
    look()
    a.create_container(w.path("k"), b"container")
    look()
    a.set(w.path("a"), b"123456789")
    look()
    a.set(w.path("a"), b"1")
    look()
    a.set(w.path("a"), None)
    look()
    a.set(w.root, b"root of the quota")
    look()
    a.multi(part_create(w.path("m1"), b"mm"), part_create(w.path("m2"), b"mmm"), part_set(w.path("m1"), b"mmmm"),
            part_delete(w.path("m2")))
    look()
    a.multi(part_create(w.path("m3"), b"m"), part_check(w.path("none")))
    look()
    a.delete(w.path("a/b"))
    look()
    a.delete(w.path("a"))
    a.delete(w.path("e"))
    a.delete(w.path("null"))
    look()


@scenario()
def stats_are_kept(w):
    """Soft limits: nothing is refused, the stats node counts nodes and bytes."""
    a = w.top()
    quota = lay(w, a, w.root, limits(3, 20), limits(0, 0))
    a.get(f"{quota}/zookeeper_limits")
    a.exists(quota)
    fill(w, a, quota)
    a.exists(f"{quota}/zookeeper_stats")
    a.exists(f"{quota}/zookeeper_limits")


@scenario()
def stats_from_the_start(w):
    """The limits node comes first, then a stats node with whatever in it."""
    for number, text in enumerate((b"", b"count=0,bytes=0", b"count=100,bytes=100", b"garbage", b"count=x,bytes=1",
                                   b"count=1", None, b"count=0,bytes=0=;byteHardLimit=-1;countHardLimit=-1")):
        a = w.connect(f"a{number}")
        if number == 0:
            a.create(w.root)
        folder = w.path(f"f{number}")
        a.create(folder, b"folder")
        a.create(f"{folder}/x", b"12345")
        if number == 0:
            a.create(f"/zookeeper/quota{w.root}")
        quota = f"/zookeeper/quota{folder}"
        a.create(quota)
        a.create(f"{quota}/zookeeper_limits", limits(10, 1000))
        a.get(f"{quota}/zookeeper_limits")
        a.create(f"{quota}/zookeeper_stats", text)
        a.get(f"{quota}/zookeeper_stats")
        a.create(f"{folder}/y", b"1234567890")
        a.get(f"{quota}/zookeeper_stats")
        a.set(f"{folder}/y", b"1")
        a.get(f"{quota}/zookeeper_stats")


@scenario()
def hard_limits_not_enforced(w):
    """Where enforceQuota is off, hard limits refuse nothing either."""
    a = w.top()
    quota = lay(w, a, w.root, limits(-1, -1, 2, 10), limits(0, 0))
    fill(w, a, quota)


@scenario()
def removing_a_quota(w):
    """Without its nodes there is no quota."""
    a = w.top()
    quota = lay(w, a, w.root, limits(1, 1), limits(0, 0))
    a.create(w.path("x"), b"1")
    a.get(f"{quota}/zookeeper_stats")
    a.delete(f"{quota}/zookeeper_limits")
    a.create(w.path("y"), b"1")
    a.get(f"{quota}/zookeeper_stats")
    a.delete(f"{quota}/zookeeper_stats")
    a.create(w.path("z"), b"1")
    a.delete(quota)
    a.create(w.path("zz"), b"1")


@scenario()
def watching_the_stats(w):
    """Whether a change of the stats node wakes a watch on it."""
    a = w.top()
    quota = lay(w, a, w.root, limits(100, 1000), limits(0, 0))
    b = w.connect("b")
    b.get(f"{quota}/zookeeper_stats", True)
    a.create(w.path("x"), b"1")
    b.drain()
    b.get(f"{quota}/zookeeper_stats", True)


@scenario("quota")
def count_hard(w):
    """A hard limit on nodes."""
    a = w.top()
    quota = lay(w, a, w.root, limits(-1, -1, 4, None), limits(0, 0))
    fill(w, a, quota)
    for n in range(6):
        a.create(w.path(f"n{n}"), b"1")
    a.get(f"{quota}/zookeeper_stats")
    a.set(w.root, b"bytes are free")
    a.create(w.path("eph"), flags=1)
    a.create(w.path("seq-"), flags=2)
    a.create_container(w.path("cont"))
    a.create2(w.path("two"))
    a.multi(part_create(w.path("m1")))
    a.multi(part_set(w.root, b"x"), part_create(w.path("m1")), part_create(w.path("m2")))
    a.multi(part_delete(w.path("n0")), part_create(w.path("m3")))
    a.children2(w.root)
    a.get(f"{quota}/zookeeper_stats")
    a.delete(w.path("n1"))
    a.create(w.path("n9"))
    a.create(w.path("n10"))


@scenario("quota")
def bytes_hard(w):
    """A hard limit on bytes."""
    a = w.top()
    quota = lay(w, a, w.root, limits(-1, -1, None, 20), limits(0, 0))
    fill(w, a, quota)
    a.set(w.root, b"")
    a.create(w.path("x"), b"1" * 10)
    a.create(w.path("y"), b"1" * 11)
    a.create(w.path("y"), b"1" * 10)
    a.get(f"{quota}/zookeeper_stats")
    a.create(w.path("nothing"), b"")
    a.create(w.path("null"), None)
    a.create(w.path("one"), b"1")
    a.set(w.path("x"), b"1" * 30)
    a.set(w.path("x"), b"1" * 10)
    a.set(w.path("x"), b"1" * 5)
    a.set(w.path("x"), b"1" * 10)
    a.set(w.path("x"), b"1" * 11)
    a.set(w.path("x"), b"1" * 11, 99)
    a.multi(part_set(w.path("x"), b""), part_set(w.path("y"), b"1" * 18))
    a.multi(part_set(w.path("x"), b"1"), part_set(w.path("y"), b"1" * 30))
    a.get(f"{quota}/zookeeper_stats")


@scenario("quota")
def soft_only(w):
    """Soft limits refuse nothing where enforceQuota is on."""
    a = w.top()
    quota = lay(w, a, w.root, limits(2, 5), limits(0, 0))
    fill(w, a, quota)


@scenario("quota")
def both_hard(w):
    """Hard limits on both, a raised limit, limits written in odd ways."""
    a = w.top()
    quota = lay(w, a, w.root, limits(1, 1, 3, 10), limits(0, 0))
    a.create(w.path("a"), b"12345")
    a.create(w.path("b"), b"12345")
    a.create(w.path("c"), b"")
    a.create(w.path("d"), b"1")
    a.get(f"{quota}/zookeeper_stats")
    a.set(f"{quota}/zookeeper_limits", limits(1, 1, 30, 100))
    a.create(w.path("e"), b"12345")
    for text in (b"", b"garbage", None, b"count=1,bytes=1=;byteHardLimit=x;countHardLimit=1",
                 b"count=1", b"count=2,bytes=-1=;countHardLimit=2", b"byteHardLimit=1"):
        a.set(f"{quota}/zookeeper_limits", text)
        a.get(f"{quota}/zookeeper_limits")
        a.create(w.path("f"), b"12345")
        a.delete(w.path("f"))


@scenario("quota")
def stats_as_limits(w):
    """A limits node without a stats node, and the other way round; deeper paths."""
    a = w.top()
    a.create(f"/zookeeper/quota{w.root}")
    a.create(f"/zookeeper/quota{w.root}/zookeeper_limits", limits(-1, -1, 1, 1))
    a.create(w.path("a"), b"12345")
    a.create(w.path("a/b"), b"12345")
    a.create(f"/zookeeper/quota{w.root}/zookeeper_stats", b"")
    a.get(f"/zookeeper/quota{w.root}/zookeeper_stats")
    a.create(w.path("c"), b"12345")
    a.set(w.path("a"), b"123456")
    a.set(w.path("a"), b"1")
    a.delete(f"/zookeeper/quota{w.root}/zookeeper_limits")
    a.create(w.path("c"), b"12345")
    a.get(f"/zookeeper/quota{w.root}/zookeeper_stats")


@scenario("quota")
def quota_of_a_deeper_node(w):
    """Only the subtree counts."""
    a = w.top()
    a.create(w.path("in"))
    a.create(w.path("in/deep"), b"123")
    a.create(w.path("inside"))
    quota = lay(w, a, w.path("in"), limits(-1, -1, 3, 100), b"")
    a.get(f"{quota}/zookeeper_stats")
    a.create(w.path("inside/x"), b"1")
    a.create(w.path("out"), b"1")
    a.get(f"{quota}/zookeeper_stats")
    a.create(w.path("in/x"), b"1")
    a.create(w.path("in/y"), b"1")
    a.create(w.path("in/x/z"), b"1")
    a.get(f"{quota}/zookeeper_stats")
    a.delete(w.path("in/x"))
    a.get(f"{quota}/zookeeper_stats")
    a.create(w.path("in/e"), b"1", flags=1)
    a.get(f"{quota}/zookeeper_stats")
    b = w.connect("b")
    a.close()
    b.get(f"{quota}/zookeeper_stats")
    b.create(w.path("in/e"), b"1")


@scenario("quota")
def session_end(w):
    """Ephemeral nodes that go with their session are counted down."""
    a = w.top()
    quota = lay(w, a, w.root, limits(-1, -1, 100, 1000), b"")
    b = w.connect("b")
    b.create(w.path("e1"), b"12345", flags=1)
    b.create(w.path("e2"), b"12345", flags=1)
    a.get(f"{quota}/zookeeper_stats")
    b.close()
    a.get(f"{quota}/zookeeper_stats")
