#!/usr/bin/env python3
"""Makes the files beside it: runs Debian's Apache ZooKeeper, sends it every kind of write, and keeps what came of it.

    txns      its transaction log, without the preallocated zeros at the end
    state     one JSON line for each znode: path, data, stat and list as its clients see them
    words     its answers to the four letter words "hash" and, in part, "mntr"

Needs Java, Debian's package zookeeper, and kazoo. The random choices are seeded, but times and session ids differ each time.
"""

import glob, json, os, random, signal, socket, struct, subprocess, sys, tempfile, time
from collections import namedtuple

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.serialization import write_buffer, write_string, int_struct
from kazoo.security import make_acl, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, make_digest_acl

HERE = os.path.dirname(os.path.abspath(__file__))


class RawCreate(namedtuple("RawCreate", "type path data flags ttl")):
    """createContainer (19) and createTTL (21), which kazoo does not have."""

    def serialize(self):
        body = bytearray(write_string(self.path) + write_buffer(self.data) + int_struct.pack(1))
        body += int_struct.pack(31) + write_string("world") + write_string("anyone") + int_struct.pack(self.flags)
        return body + struct.pack("!q", self.ttl) if self.type == 21 else body

    @classmethod
    def deserialize(cls, data, offset):
        return None


def raw(client, request):
    result = client.handler.async_result()
    client._call(request, result)
    return result.get(10)


def word(port, name):
    with socket.create_connection(("127.0.0.1", port)) as conn:
        conn.sendall(name.encode())
        return b"".join(iter(lambda: conn.recv(65536), b"")).decode()


def client(port):
    kazoo = KazooClient(f"127.0.0.1:{port}", timeout=30)
    kazoo.start(60)
    return kazoo


def attempt(call, *args, **kwargs):
    try:
        return call(*args, **kwargs)
    except KazooException:
        return None


def scripted(port):
    zk, other = client(port), client(port)
    zk.set("/", b"root data")
    zk.set("/", None)
    zk.set("/", b"r")
    zk.set_acls("/", OPEN_ACL_UNSAFE)
    zk.create("/a", b"one")
    zk.create("/a/\u00fcmlaut \u20ac", b"two", include_data=True)
    zk.create("/a/null", b"")
    zk.set("/a/null", None)
    zk.set("/a", b"x" * 1000)
    for n in range(3):
        zk.create("/a/seq-", b"", sequence=True)
        zk.create("/a/es-", b"", sequence=True, ephemeral=True)
    zk.delete("/a/seq-0000000002")
    for bad in [lambda: zk.create("/a"), lambda: zk.create("/no/parent"), lambda: zk.delete("/a"), lambda: zk.delete("/no"),
                lambda: zk.set("/a", b"", version=77), lambda: zk.set("/no", b""), lambda: zk.set_acls("/no", OPEN_ACL_UNSAFE)]:
        attempt(bad)
    zk.create("/acl", b"", acl=[make_digest_acl("user", "secret", all=True), make_acl("ip", "127.0.0.1", read=True)])
    zk.create("/acl2", b"", acl=READ_ACL_UNSAFE)
    zk.set_acls("/a", [make_acl("world", "anyone", all=True), make_acl("ip", "10.0.0.0/8", write=True)])
    attempt(zk.set, "/acl", b"denied")
    raw(zk, RawCreate(19, "/container", b"c", 4, 0))
    raw(zk, RawCreate(21, "/ttl", b"t", 5, 3600_000))
    raw(zk, RawCreate(21, "/ttl-seq-", b"t", 6, 0xffffffffff))
    zk.create("/container/child", b"")
    zk.delete("/container/child")
    # Quotas, as zkCli's setquota makes them.
    zk.create("/zookeeper/quota/a", b"")
    zk.create("/zookeeper/quota/a/zookeeper_limits", b"count=1000,bytes=100000=;countHardLimit=2000")
    zk.create("/zookeeper/quota/a/zookeeper_stats", b"count=1,bytes=1")
    zk.create("/a/q", b"12345")
    zk.set("/a/q", b"123456789")
    zk.delete("/a/q")
    # Multis, well and failed.
    multi = zk.transaction()
    multi.check("/a", 1)
    multi.create("/m", b"")
    multi.create("/m/e", b"e", ephemeral=True)
    multi.set_data("/m", b"set")
    multi.create("/m/s-", b"", sequence=True)
    multi.delete("/m/s-0000000001")
    multi.commit()
    multi = zk.transaction()
    multi.create("/m/no", b"")
    multi.check("/m", 99)
    multi.delete("/m/e")
    multi.commit()
    for path in ["/o1", "/a/o2", "/m/o3"]:
        other.create(path, b"ephemeral", ephemeral=True)
    other.delete("/o1")
    other.stop()
    other.close()
    return zk


def randomly(port, zk, rounds):
    rand = random.Random(20261122)
    extra = client(port)
    extra.add_auth("digest", "extra:secret")
    zk.add_auth("digest", "user:secret")
    paths = ["/r"]
    zk.create("/r")
    for n in range(rounds):
        who, path, data = rand.choice([zk, extra]), rand.choice(paths), os.urandom(rand.choice([0, 1, 7, 33]))
        what = rand.random()
        if what < 0.45:
            child = f"{path}/{rand.randrange(40)}"
            if attempt(who.create, child, data, ephemeral=rand.random() < 0.3, sequence=rand.random() < 0.2,
                       acl=rand.choice([None, READ_ACL_UNSAFE + OPEN_ACL_UNSAFE, [make_acl("auth", "", all=True)]])):
                paths.append(child)
        elif what < 0.65:
            attempt(who.delete, path, recursive=False)
        elif what < 0.85:
            attempt(who.set, path, data)
        elif what < 0.9:
            attempt(who.set_acls, path, [make_acl("world", "anyone", all=True), make_acl("ip", f"10.0.0.{n % 5}", read=True)])
        else:
            multi = who.transaction()
            multi.create(f"{path}/m{rand.randrange(9)}", data, ephemeral=rand.random() < 0.3)
            multi.set_data(path, data)
            if rand.random() < 0.5:
                multi.delete(rand.choice(paths))
            multi.commit()
    extra.stop()
    extra.close()


def state(zk, path, lines):
    data, stat = zk.get(path)
    acls, _ = zk.get_acls(path)
    lines.append(json.dumps({
        "path": path, "data": None if data is None else data.hex(), "stat": list(stat),
        "acl": [[acl.perms, acl.id.scheme, acl.id.id] for acl in acls]}, ensure_ascii=False))
    for child in sorted(zk.get_children(path)):
        state(zk, path.rstrip("/") + "/" + child, lines)


def main():
    port = random.SystemRandom().randrange(21000, 31000)
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/zoo.cfg", "w") as cfg:
            cfg.write(f"dataDir={folder}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\ntickTime=2000\n"
                      "4lw.commands.whitelist=*\nadmin.enableServer=false\n")
        server = subprocess.Popen(
            ["java", "-cp", "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar", "-Dzookeeper.extendedTypesEnabled=true",
             "-Dzookeeper.preAllocSize=64", "-Dzookeeper.DigestAuthenticationProvider.superDigest=super:" + SUPER,
             "org.apache.zookeeper.server.quorum.QuorumPeerMain", f"{folder}/zoo.cfg"],
            stdout=open(f"{folder}/out", "w"), stderr=subprocess.STDOUT)
        try:
            zk = scripted(port)
            randomly(port, zk, int(sys.argv[1]) if len(sys.argv) > 1 else 500)
            zk.add_auth("digest", "super:super")
            lines = []
            state(zk, "/", lines)
            counts = ["zk_znode_count", "zk_ephemerals_count", "zk_approximate_data_size", "zk_digest_mismatches_count"]
            words = word(port, "hash") + "".join(
                line + "\n" for line in word(port, "mntr").splitlines() if line.split("\t")[0] in counts)
            # Not closed, so that its ephemerals are in the state and in the log alike.
            server.send_signal(signal.SIGKILL)
            server.wait()
            zk.stop()
        finally:
            server.kill()
            server.wait()
        logs = sorted(glob.glob(f"{folder}/data/version-2/log.*"), key=lambda path: int(path.rsplit(".")[-1], 16))
        assert len(logs) == 1, logs
        with open(logs[0], "rb") as log, open(f"{HERE}/txns", "wb") as out:
            out.write(log.read().rstrip(b"\0"))
        open(f"{HERE}/state", "w").write("\n".join(lines) + "\n")
        open(f"{HERE}/words", "w").write(words)


# The digest of "super:super".
SUPER = "gG7s8t3oDEtIqF6DM9LlI/R+9Ss="

if __name__ == "__main__":
    main()
