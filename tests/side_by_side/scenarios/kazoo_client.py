"""The same through kazoo, as an application uses it: results, stats, exceptions, watches, recipes."""

import threading

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.protocol.states import WatchedEvent, ZnodeStat
from kazoo.recipe.watchers import ChildrenWatch, DataWatch
from kazoo.security import ACL, make_acl, make_digest_acl

from world import scenario

KINDS = {"czxid": "zxid", "mzxid": "zxid", "pzxid": "zxid", "ctime": "time", "mtime": "time", "aversion": "plain",
         "version": "plain", "cversion": "plain", "ephemeralOwner": "session", "dataLength": "plain",
         "numChildren": "plain"}


class Kazoo:
    """A kazoo client whose every call is a step of the trace."""

    def __init__(self, w, who, **options):
        self.w = w
        self.who = who
        self.client = KazooClient(hosts=f"{w.server.host}:{w.server.port}", timeout=10.0, **options)
        w.kazoos.append(self.client)
        self.states = []
        self.client.add_listener(lambda state: self.states.append(str(state)))
        self.client.start(timeout=10)
        w.sessions[self.client.client_id[0]] = f"session({who})"
        w.record(who, "start", [{"kind": "kazoo", "state": str(self.client.state)}])

    def plain(self, value):
        if isinstance(value, ZnodeStat):
            return {name: self.w.plain(KINDS[name], getattr(value, name)) for name in value._fields}
        if isinstance(value, WatchedEvent):
            return [value.type, str(value.state), value.path]
        if isinstance(value, ACL):
            return [value.perms, value.id.scheme, value.id.id]
        if isinstance(value, KazooException):
            return f"raised {type(value).__name__}{value.args!r}"
        if isinstance(value, (list, tuple)):
            plain = [self.plain(v) for v in value]
            return sorted(plain) if plain and all(isinstance(v, str) for v in plain) else plain
        if isinstance(value, bytes):
            return repr(value)
        return value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__

    def __call__(self, method, *arguments, **options):
        shown = ", ".join([repr(a) for a in arguments if not callable(a)] +
                          [f"{k}={v!r}" for k, v in options.items() if not callable(v)])
        try:
            result = getattr(self.client, method)(*arguments, **options)
            frame = {"kind": "kazoo", "result": self.plain(result)}
        except Exception as error:  # the kind of exception is what is compared
            result = None
            frame = {"kind": "kazoo", "raised": type(error).__name__, "arguments": self.plain(list(error.args))}
        self.w.record(self.who, f"{method}({shown})".replace(self.w.root, "~"), [frame])
        return result

    def commit(self, *operations):
        """A transaction of (method, arguments...)."""
        transaction = self.client.transaction()
        for method, *arguments in operations:
            getattr(transaction, method)(*arguments)
        results = transaction.commit()
        self.w.record(self.who, f"transaction {[o[0] for o in operations]}",
                      [{"kind": "kazoo", "results": [self.plain(r) for r in results]}])


class Heard:
    """Watch callbacks, waited for without sleeping."""

    def __init__(self, kazoo):
        self.kazoo = kazoo
        self.events = []
        self.condition = threading.Condition()

    def __call__(self, *arguments):
        with self.condition:
            self.events.append(self.kazoo.plain(list(arguments)))
            self.condition.notify_all()

    def wait(self, count, what="heard"):
        with self.condition:
            self.condition.wait_for(lambda: len(self.events) >= count, timeout=8)
            heard = list(self.events)
        self.kazoo.w.record(self.kazoo.who, what, [{"kind": "heard", "events": heard}])


@scenario()
def basics(w):
    k = Kazoo(w, "k")
    k("create", w.root, b"root")
    k("create", w.path("a"), b"1", include_data=True)
    k("create", w.path("a"), b"1")
    k("create", w.path("x/y/z"), b"deep", makepath=True)
    k("create", w.path("none/y"), b"")
    k("create", w.path("s-"), b"", sequence=True)
    k("create", w.path("s-"), b"", sequence=True, ephemeral=True)
    k("create", w.path("e"), b"", ephemeral=True)
    k("create", w.path("e/child"), b"")
    k("ensure_path", w.path("p/q/r"))
    k("exists", w.path("a"))
    k("exists", w.path("none"))
    k("get", w.path("a"))
    k("get", w.path("none"))
    k("set", w.path("a"), b"2")
    k("set", w.path("a"), b"3", version=0)
    k("set", w.path("a"), b"3", version=1)
    k("get_children", w.root)
    k("get_children", w.root, include_data=True)
    k("get_children", w.path("none"))
    k("delete", w.path("a"), version=0)
    k("delete", w.path("a"), version=2)
    k("delete", w.path("x"))
    k("delete", w.path("x"), recursive=True)
    k("delete", w.path("none"))
    k("sync", w.root)
    k("get_children", w.root)


@scenario()
def acls(w):
    k = Kazoo(w, "k")
    k("ensure_path", w.root)
    k("add_auth", "digest", "ann:secret")
    mine = make_digest_acl("ann", "secret", all=True)
    k("create", w.path("mine"), b"1", acl=[mine])
    k("get_acls", w.path("mine"))
    other = Kazoo(w, "other")
    other("get", w.path("mine"))
    other("set", w.path("mine"), b"")
    other("get_acls", w.path("mine"))
    other("exists", w.path("mine"))
    k("set_acls", w.path("mine"), [make_acl("world", "anyone", read=True)], version=0)
    other("get", w.path("mine"))
    other("set", w.path("mine"), b"")
    k("set_acls", w.path("mine"), [mine], version=5)
    k("create", w.path("bad"), b"", acl=[make_acl("nonesuch", "x", all=True)])
    third = Kazoo(w, "third", auth_data=[("digest", "ann:secret")], default_acl=[mine])
    third("create", w.path("thirds"), b"")
    third("get_acls", w.path("thirds"))
    other("get", w.path("thirds"))


@scenario()
def transactions(w):
    k = Kazoo(w, "k")
    k("ensure_path", w.root)
    a, b, c = w.path("a"), w.path("b"), w.path("c")
    k.commit(("create", a, b"1"), ("create", b, b"2"))
    k.commit(("check", a, 0), ("set_data", a, b"2", 0), ("delete", b, 0), ("create", c, b""))
    k.commit(("check", a, 0), ("create", b, b""))
    k.commit(("create", b, b""), ("create", b, b""), ("delete", a))
    k.commit(("create", w.path("s-"), b"", None, False, True), ("create", w.path("e"), b"", None, True))
    k.commit()
    k("get_children", w.root)
    k("get", a)


@scenario()
def watches(w):
    k = Kazoo(w, "k")
    other = Kazoo(w, "other")
    k("ensure_path", w.root)
    heard = Heard(k)
    other("sync", w.root)
    k("exists", w.path("x"), watch=heard)
    other("create", w.path("x"), b"1")
    heard.wait(1)
    k("get", w.path("x"), watch=heard)
    other("set", w.path("x"), b"2")
    heard.wait(2)
    k("get_children", w.root, watch=heard)
    other("create", w.path("y"), b"")
    heard.wait(3)
    k("get", w.path("x"), watch=heard)
    other("delete", w.path("x"))
    heard.wait(4)


@scenario()
def watch_recipes(w):
    k = Kazoo(w, "k")
    other = Kazoo(w, "other")
    k("ensure_path", w.root)
    data, children = Heard(k), Heard(k)
    other("sync", w.root)
    DataWatch(k.client, w.path("d"), func=lambda value, stat, event=None: data(value, stat, event))
    ChildrenWatch(k.client, w.root, func=lambda names: children(names))
    data.wait(1)
    children.wait(1)
    other("create", w.path("d"), b"1")
    data.wait(2)
    children.wait(2)
    other("set", w.path("d"), b"2")
    data.wait(3)
    other("delete", w.path("d"))
    data.wait(4)
    children.wait(3)


@scenario()
def locks(w):
    """The lock recipe: sequence, ephemeral, watches on a predecessor."""
    k, other = Kazoo(w, "k"), Kazoo(w, "other")
    lock, rival = k.client.Lock(w.path("lock"), "one"), other.client.Lock(w.path("lock"), "two")
    w.check("acquired", lock.acquire(timeout=5))
    w.check("contenders", lock.contenders())
    w.check("the rival does not wait", rival.acquire(blocking=False))
    taken = threading.Event()

    def take():
        rival.acquire(timeout=10)
        taken.set()
    thread = threading.Thread(target=take)
    thread.start()
    w.poll("the rival queues", lambda: len(k.client.get_children(w.path("lock"))) == 2)
    lock.release()
    w.check("the rival gets it", taken.wait(5))
    thread.join()
    rival.release()
    k("get_children", w.path("lock"))


@scenario()
def recipes(w):
    """Counter, queue, election, party, semaphore."""
    k, other = Kazoo(w, "k"), Kazoo(w, "other")
    counter = k.client.Counter(w.path("counter"))
    counter += 2
    counter -= 1
    w.check("counter", counter.value)
    w.check("counter elsewhere", other.client.Counter(w.path("counter")).value)
    queue = k.client.Queue(w.path("queue"))
    queue.put(b"one")
    queue.put(b"two")
    queue.put(b"first", priority=50)
    other.client.sync(w.root)
    other_queue = other.client.Queue(w.path("queue"))
    w.check("queue", [repr(other_queue.get()) for _ in range(3)])
    party = k.client.Party(w.path("party"), "me")
    party.join()
    w.check("party", len(party))
    party.leave()
    led = []
    k.client.Election(w.path("election"), "me").run(lambda: led.append(True))
    w.check("election", led)
    semaphore = k.client.Semaphore(w.path("semaphore"), max_leases=2)
    w.check("semaphore", semaphore.acquire())
    semaphore.release()


@scenario()
def session_end(w):
    """stop and restart: ephemeral nodes go, the client finds its way back."""
    k, other = Kazoo(w, "k"), Kazoo(w, "other")
    other("ensure_path", w.root)
    k("create", w.path("e"), b"", ephemeral=True)
    heard = Heard(other)
    other("sync", w.root)
    other("exists", w.path("e"), watch=heard)
    k.client.stop()
    heard.wait(1)
    other("exists", w.path("e"))
    k.client.start(timeout=10)
    w.sessions[k.client.client_id[0]] = "session(k again)"
    k("exists", w.path("e"))
    w.check("states", k.states)
    try:
        k.client.get(w.path("e"))
        w.check("gone", False)
    except NoNodeError:
        w.check("gone", True)


@scenario()
def command(w):
    k = Kazoo(w, "k")
    k("command", b"ruok")
    k("command", b"isro")
    w.check("the version has three numbers", len(k.client.server_version()))
