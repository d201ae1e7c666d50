"""TTL and container nodes, with extendedTypesEnabled (configuration "extended") and without."""

import frames as f
from frames import Op
from world import part_create, part_create_ttl, scenario


@scenario()
def ttl_disabled(w):
    """Without extended types createTTL is not implemented."""
    a = w.top()
    a.create_ttl(w.path("t"), 1000)
    a.exists("/alive")
    b = w.connect("b")
    b.create_ttl(w.path("t-"), 1000, flags=6)
    b.exists("/alive")
    c = w.connect("c")
    c.create_ttl(w.path("t"), -1)
    c.exists("/alive")
    d = w.connect("d")
    d.create_ttl(w.path("t"), 1000, flags=0)
    d.exists(w.path("t"))


@scenario("extended")
def ttl_values(w):
    """Which TTLs are taken; what a stat shows of them."""
    a = w.top()
    for number, ttl in enumerate((1, 1000, 60_000, 0xFFFFFFFFFF, 0xFFFFFFFFFF + 1, 1 << 40, 0, -1, -1000, 1 << 62,
                                  -(1 << 63))):
        a.create_ttl(w.path(f"t{number}"), ttl if ttl < 0 or ttl > 100_000 else ttl + 3_600_000)
        a.get(w.path(f"t{number}"))
    a.create_ttl(w.path("s-"), 3_600_000, b"seq", flags=6)
    a.create_ttl(w.path("s-"), 3_600_000, b"seq", flags=6)
    for flags in (0, 1, 2, 3, 4, 7, -1):
        a.create_ttl(w.path(f"flags{flags}"), 3_600_000, flags=flags)
        a.exists(w.path(f"flags{flags}"))
    a.create(w.path("plain5"), flags=5)
    a.create2(w.path("plain6"), flags=6)
    a.create_container(w.path("cont5"), flags=5)
    a.create_ttl(w.path("t1"), 3_600_000)
    a.create_ttl(w.path("none/t"), 3_600_000)
    a.create_ttl(w.path("t1/child"), 3_600_000)
    a.create(w.path("t1/eph"), flags=1)
    a.delete(w.path("t1"))
    a.set(w.path("t1"), b"1")
    a.exists(w.path("t1"))
    a.call(Op.CREATE_TTL, f.create_body(w.path("short"), b"", f.OPEN, 5), "createTTL without a TTL")
    w.rebase()
    a.children2(w.root)
    a.ephemerals("/")


@scenario("extended")
def ttl_in_multi(w):
    a = w.top()
    a.multi(part_create_ttl(w.path("t"), 3_600_000), part_create_ttl(w.path("s-"), 3_600_000, flags=6))
    a.exists(w.path("t"))
    a.multi(part_create(w.path("ok")), part_create_ttl(w.path("t"), -5))
    a.multi(part_create_ttl(w.path("zero"), 0))
    a.multi(part_create(w.path("flag5"), flags=5))
    a.children2(w.root)


@scenario("extended")
def ttl_expires(w):
    """A TTL node goes when it has no children and its time has passed; watchers hear of it."""
    a = w.top()
    a.create_ttl(w.path("t"), 1500)
    a.create_ttl(w.path("kept"), 1500)
    a.create(w.path("kept/child"))
    a.exists(w.path("t"), True)
    a.events(1, "the TTL node goes")
    a.exists(w.path("t"))
    a.get(w.path("kept"), True)
    a.children2(w.root)
    a.delete(w.path("kept/child"))
    a.events(1, "the other goes without its child")
    a.children2(w.root)


@scenario("extended")
def container_goes(w):
    """A container that has had children goes when the last has gone; one that never had any stays."""
    a = w.top()
    a.create_container(w.path("c"))
    a.create_container(w.path("never"))
    a.create(w.path("c/x"))
    a.create(w.path("c/y"), flags=1)
    a.exists(w.path("c"), True)
    a.delete(w.path("c/x"))
    a.delete(w.path("c/y"))
    a.events(1, "the container goes")
    a.exists(w.path("c"))
    a.exists(w.path("never"))
    a.children2(w.root)
    a.create(w.path("s-"), flags=2)
    a.delete(w.path("never"))


@scenario("extended")
def container_of_ephemerals(w):
    """The last child goes with its session."""
    a = w.top()
    a.create_container(w.path("c"))
    b = w.connect("b")
    b.create(w.path("c/e"), flags=1)
    a.exists(w.path("c"), True)
    b.close()
    a.events(1, "the container goes")
    a.children2(w.root)
