"""Whether all members of an ensemble hold the same: every znode with its data, ACLs and all fields of its stat, at one zxid, and
the digest that each server keeps of its tree.

    from compare import same_everywhere
    tree = same_everywhere(ensemble)      # path to (value, stat); Different if members differ, or do not come to rest
"""

import struct
import time
import zlib
from contextlib import ExitStack

from client import NO_NODE, OK, STAT, Client, Gone, Refused, read_data, read_strings
from frames import Op, path_version, path_watch, string
from servers import four_letters

REST_SECONDS_MAX = 40.0
HASH_EVERY = 128            # the zxids at which a server keeps its digest
SESSION_MS = 30_000
# Each server writes the ensemble's configuration into its own tree at its start, with its own clock, outside the log.
LOCAL = {"/zookeeper/config": ("mtime", "version")}


def ttl_owner(ttl_ms):
    """What the server keeps as the owner of a TTL znode (EphemeralType.TTL)."""
    return ttl_ms | -1 << 56


class Different(Exception):
    """Members of one ensemble hold different data."""


class Moving(Exception):
    """The tree changed while it was read."""


def read_tree(client, top="/"):
    """Path to (value, stat) of all znodes."""
    tree, level = {}, [top]
    while level:
        parents = []
        for path, (_, err, body) in zip(level, client.ask_all(Op.GET_DATA, [path_watch(path, False) for path in level])):
            if err == NO_NODE:
                raise Moving(f"{path} has gone")
            if err != OK:
                raise Different(f"reading {path}: error {err}")
            tree[path] = read_data(body)
            if tree[path][1]["numChildren"]:
                parents.append(path)
        level = []
        lists = client.ask_all(Op.GET_CHILDREN, [path_watch(path, False) for path in parents])
        for path, (_, err, body) in zip(parents, lists):
            names = read_strings(body)[0] if err == OK else None
            if names is None or len(names) != tree[path][1]["numChildren"]:
                raise Moving(f"the children of {path} have changed")
            level += [f"{path}/{name}" if path != "/" else f"/{name}" for name in names]
    return tree


def read_acls(client, paths):
    """Path to the bytes of its access control list."""
    acls = {}
    for path, (_, err, body) in zip(paths, client.ask_all(Op.GET_ACL, [string(path) for path in paths])):
        if err != OK:
            raise Moving(f"the ACL of {path}: error {err}")
        acls[path] = body[:-STAT.size]
    return acls


def digest(tree, hidden_owners):
    """AdHash of all znodes, as ZooKeeper's DigestCalculator defines it: what is below /zookeeper does not count. The digest
    counts the owner of a container or TTL znode, which no client is shown: `hidden_owners` has it by path."""
    total = 0
    for path, (value, stat) in tree.items():
        if path.startswith("/zookeeper/"):
            continue
        creates = (stat["cversion"] + stat["numChildren"]) // 2
        crc = zlib.crc32(b"" if path == "/" else path.encode())
        crc = zlib.crc32(value or b"", crc)
        crc = zlib.crc32(struct.pack(">qqqqqiiiq", stat["czxid"], stat["mzxid"], stat["pzxid"], stat["ctime"], stat["mtime"],
                                     stat["version"], creates, stat["aversion"], hidden_owners.get(path, stat["ephemeralOwner"])), crc)
        total += crc
    return total & (1 << 64) - 1


def difference(first, other):
    """None, or what differs between two (tree, acls)."""
    for path in sorted(set(first[0]) | set(other[0])):
        if path not in first[0] or path not in other[0]:
            return f"{path} is only in {'the first' if path in first[0] else 'the other'}"
        (value, stat), (value2, stat2) = first[0][path], other[0][path]
        if value != value2:
            return f"{path} holds {value!r} and {value2!r}"
        for name in stat:
            if stat[name] != stat2[name] and name not in LOCAL.get(path, ()):
                return f"{path}: {name} is {stat[name]} and {stat2[name]}"
        if first[1][path] != other[1][path]:
            return f"{path}: its ACL is {first[1][path]!r} and {other[1][path]!r}"
    return None


def connect(member, seconds_max=REST_SECONDS_MAX, timeout_ms=SESSION_MS):
    """A new session on this very member; a server that has just joined may need a moment."""
    deadline = time.monotonic() + seconds_max
    while True:
        try:
            return Client(member.host, member.port, timeout_ms=timeout_ms, connect_seconds=5.0)
        except (Gone, Refused) as error:
            if time.monotonic() > deadline:
                raise Different(f"{member.name} takes no session: {error}\n{member.log_tail()}") from None
            time.sleep(0.05)  # the polling interval of a bounded wait


def same_everywhere(ensemble):
    """Compares all members that run; waits until they rest. Returns the tree."""
    deadline = time.monotonic() + REST_SECONDS_MAX
    members = [ensemble[identity] for identity in ensemble.running()]
    with ExitStack() as stack:
        clients = []
        for member in members:
            clients.append(connect(member))
            stack.callback(clients[-1].end)
        while True:
            try:
                tree = _compare(members, clients)
                _compare_digests(members, clients, digest(tree, ensemble.hidden_owners))
                return tree
            except Moving as moving:
                for client in clients:
                    client.ping()
                if time.monotonic() > deadline:
                    raise Different(f"no rest within {REST_SECONDS_MAX:.0f} s: {moving}") from None
                time.sleep(0.1)  # the polling interval of a bounded wait
            except Gone as gone:
                raise Different(f"a member hung up while it was read: {gone}") from None


def _newest(clients):
    """The one zxid at which all are."""
    for client in clients:
        client.sync()
    zxids = {client.ask(Op.EXISTS, path_watch("/", False))[0] for client in clients}
    if len(zxids) != 1:
        raise Moving(f"members are at zxids {[hex(zxid) for zxid in sorted(zxids)]}")
    return zxids.pop()


def _compare(members, clients):
    zxid = _newest(clients)
    states = []
    for client in clients:
        tree = read_tree(client)
        states.append((tree, read_acls(client, list(tree))))
    if _newest(clients) != zxid:
        raise Moving("something was written meanwhile")
    for member, state in zip(members[1:], states[1:]):
        differs = difference(states[0], state)
        if differs:
            raise Different(f"{members[0].name} (the first) and {member.name} (the other) differ at zxid {zxid:#x}: {differs}")
    return states[0][0]


def _compare_digests(members, clients, due):
    """Uses up zxids with requests that fail until all servers keep their digest, and compares."""
    zxid = _newest(clients)
    while zxid % HASH_EVERY:
        zxid = clients[0].ask_all(Op.DELETE, [path_version("/no-such-znode", -1)] * (HASH_EVERY - zxid % HASH_EVERY))[-1][0]
    if _newest(clients) != zxid:
        raise Moving("something was written meanwhile")
    for member in members:
        lines = four_letters(member.host, member.port, b"hash").decode().split("\n")
        kept = dict(line.split(": ") for line in lines if ": " in line)
        found = kept.get(f"{zxid:x}")
        if found is None:
            raise Different(f"{member.name}: `hash` has nothing for zxid {zxid:x}: {lines[-5:]}")
        if int(found) & (1 << 64) - 1 != due:
            raise Different(f"{member.name}: its digest at zxid {zxid:x} is {int(found) & (1 << 64) - 1:x}, that of the znodes "
                            f"is {due:x}")
