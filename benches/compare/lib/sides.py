"""The servers that are compared, started as an operator would: `apache` (Debian's package) and `zoo` (ours).

    from sides import One, Three
    with One("apache", folder) as server:                  # runs, and answers
        server.hosts                                       # ["127.0.0.1:23456"]
        server.resident_bytes()
        server.kill(); server.start(); server.first_read()

Both kinds get the same zoo.cfg: defaults, except for ports and folders, that four-letter words are allowed and that
connections from one address are not counted. So every write is synced to the disk before it is acknowledged
(`forceSync` is left at yes), and a snapshot comes after snapCount = 100,000 writes at the latest.
"""

import os
import shutil
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
os.environ.setdefault("ZOO_TEST_TMP", os.path.join(ROOT, "target", "compare", "data"))
os.makedirs(os.environ["ZOO_TEST_TMP"], exist_ok=True)
from client import OK, Client, Gone, Refused  # noqa: E402
from ensemble import Ensemble  # noqa: E402
from servers import Server  # noqa: E402

# As an operator of a server with a million znodes would set them. The collector and compilers are the virtual machine's
# own choice.
HEAP = ["-Xms1g", "-Xmx4g"]
QUIET = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
START_SECONDS_MAX = 180.0
PROBE = "/compare-probe"
NAMES = {"apache": "Apache ZooKeeper", "zoo": "zoo_server"}
KINDS = ("apache", "zoo")


def server_binary():
    return os.environ.get("ZOO_SERVER", os.path.join(ROOT, "target", "release", "zoo-server"))


def resident_bytes(pid):
    """Physical memory of a process, and the most that it ever was."""
    with open(f"/proc/{pid}/status") as file:
        told = dict(line.split(":", 1) for line in file if ":" in line)
    return int(told["VmRSS"].split()[0]) << 10, int(told["VmHWM"].split()[0]) << 10


class One:
    """A server alone."""

    def __init__(self, kind, config=None, heap=HEAP):
        self.kind = kind
        self.folder = tempfile.mkdtemp(prefix=f"one-{kind}-", dir=os.environ["ZOO_TEST_TMP"])
        self.heap = heap
        self.server = self._server(config)

    def _server(self, config):
        return Server(self.kind, {"maxClientCnxns": 0, **(config or {})}, folder=self.folder, jvm_flags=[*self.heap, *QUIET])

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        self.server.spawn()
        self.server.wait_serving(START_SECONDS_MAX)

    def reconfigure(self, config):
        """Other keys from the next start on."""
        assert not self.server.alive(), "it runs"
        self.server = self._server(config)

    def kill(self):
        self.server.kill()

    def stop(self):
        self.server.stop()

    def close(self):
        self.server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def hosts(self):
        return [self.server.address]

    @property
    def pids(self):
        return [self.server.pid]

    def resident_bytes(self):
        return resident_bytes(self.server.pid)[0]

    def make_probe(self):
        """The znode that `first_read` reads."""
        client = Client(self.server.host, self.server.port)
        err, _ = client.create(PROBE, b"x" * 100)
        client.end()
        assert err == OK, f"create {PROBE}: {err}"

    def seconds_to_first_read(self):
        """Starts it, and knocks until a client with a new session has read a znode; how long that took from the start of the process."""
        begin = time.monotonic()
        self.server.spawn()
        while True:
            try:
                client = Client(self.server.host, self.server.port, connect_seconds=5.0, answer_seconds=60.0)
                err, data, _ = client.get(PROBE)
                took = time.monotonic() - begin
                assert err == OK and len(data) == 100, f"get {PROBE}: {err}, {data}"
                client.end()
                return took
            except (Gone, Refused):
                pass
            if not self.server.alive():
                raise RuntimeError(f"{self.kind} ended at its start:\n{self.server.log_tail()}")
            if time.monotonic() - begin > START_SECONDS_MAX:
                raise RuntimeError(
                    f"{self.kind} did not answer a read within {START_SECONDS_MAX:.0f} s:\n{self.server.log_tail()}"
                )
            time.sleep(0.002)  # the polling interval of a bounded wait

    def watch_snapshots(self):
        return SnapshotWatch(self.kind, self.server.data_folder)


class SnapshotWatch:
    """Looks at a server's files, and tells for how much of the time a snapshot was being written.

    with server.watch_snapshots() as watch: ...
    watch.share, watch.count
    """

    LOOK_SECONDS = 0.02
    # Apache writes under the final name, in pieces: a snapshot is under way as long as the newest grew this recently.
    STILL_SECONDS = 0.25

    def __init__(self, kind, data_folder):
        self.kind = kind
        self.folder = os.path.join(data_folder, "version-2" if kind == "apache" else "zoo-1")
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.looks = self.busy = 0
        self.begun = set()

    def __enter__(self):
        self.before = {name for name in os.listdir(self.folder) if name.startswith("snapshot.")}
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    @property
    def share(self):
        """The part of the time in which one was being written."""
        return self.busy / max(1, self.looks)

    @property
    def count(self):
        """How many were begun in the time."""
        return len(self.begun)

    def _look(self):
        grown_at, size = 0.0, None
        while not self.over.wait(self.LOOK_SECONDS):
            names = {name for name in os.listdir(self.folder) if name.startswith("snapshot.")}
            self.looks += 1
            if self.kind == "zoo":
                temporary = {name for name in names if name.endswith(".tmp")}
                self.busy += bool(temporary)
                self.begun |= {name.removesuffix(".tmp") for name in names - self.before}
                continue
            new = names - self.before
            self.begun |= new
            if not new:
                continue
            newest = max(new, key=lambda name: int(name.split(".")[1], 16))
            try:
                now = (newest, os.path.getsize(os.path.join(self.folder, newest)))
            except FileNotFoundError:
                continue
            if now != size:
                grown_at, size = time.monotonic(), now
            self.busy += time.monotonic() - grown_at < self.STILL_SECONDS


class Three:
    """An ensemble of three of one kind, on one machine."""

    CONFIG = {
        "tickTime": 2000,
        "initLimit": 10,
        "syncLimit": 5,
        "preAllocSize": None,
        "snapCount": None,
        "minSessionTimeout": None,
        "maxSessionTimeout": None,
    }

    def __init__(self, kind, members=3, heap=HEAP):
        self.kind = kind
        self.ensemble = Ensemble([kind] * members, config=self.CONFIG, label="compare", plain_jvm_flags=[*heap, *QUIET])

    def __enter__(self):
        try:
            self.ensemble.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.ensemble.close()

    @property
    def hosts(self):
        return [f"{host}:{port}" for host, port in self.ensemble.addresses().values()]

    @property
    def pids(self):
        return [member.pid for member in self.ensemble.members.values()]
