"""Start and stop servers for the tests: Debian's Apache ZooKeeper ("apache") or ours ("zoo").

    from servers import Server
    with Server("zoo", {"tickTime": 500}) as server:      # a free port, data under a temporary folder
        ... server.host, server.port ...
        server.kill()                                     # SIGKILL, by pid; the data stays
        server.start()                                    # again, on the same port and data
                                                          # leaving the block stops it and removes the data

Both kinds are started from the same zoo.cfg. Keys that Apache reads only as Java system properties
(jute.maxbuffer, znode.container.checkIntervalMs) are given to it with -D and to ours as zoo.cfg keys.

Environment:
    ZOO_SERVER        the binary of "zoo" (default: target/release/zoo-server of this clone)
    ZOO_APACHE_CP     the class path of "apache" (default: Debian's zookeeper.jar), to compare another release
    ZOO_TEST_SHARDS   how many shards "zoo" has, where a test does not say (default: what the server does by itself)
    ZOO_TEST_TMP      where the data folders go (default: the system's temporary folder)
"""

import atexit
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
APACHE_CLASS_PATH = "/usr/share/java/zookeeper.jar"
APACHE_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
# A small heap and no second compiler: several servers share a small machine, and starts count.
JVM_FLAGS = ["-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
# Keys that Apache knows only as Java system properties, under exactly these names.
PROPERTY_ONLY = ("jute.maxbuffer", "znode.container.checkIntervalMs", "znode.container.maxPerMinute",
                 "znode.container.maxNeverUsedIntervalMs")
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 10.0

# Beyond so many the oldest claims are given up: their servers are long gone.
CLAIMS_MAX = 256

_running = []
_claims = []
# Children are made by one thread that lives as long as this process: the kernel's "end with your parent"
# means the thread that forked, and a test's own threads come and go.
_spawner = ThreadPoolExecutor(1, thread_name_prefix="spawner")


def claim(name):
    """Whether `name` is this process's alone, among all tests of this machine, until it ends: a server that is down for a moment
    must find its port free again. (A socket of the abstract name space: nothing is left behind.)"""
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0zoo-test-{name}")
    except OSError:
        holder.close()
        return False
    _claims.append(holder)
    if len(_claims) > CLAIMS_MAX:
        _claims.pop(0).close()
    return True


def free_port():
    """A port of the loopback interface that nobody listens on now, above 20000, outside the ephemeral range, claimed."""
    for _ in range(1000):
        port = random.randint(20001, 32000)
        if not claim(f"port-{port}"):
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port found")


def four_letters(host, port, word, timeout=5.0):
    """What the server answers to a four-letter word, until it closes the connection."""
    with socket.create_connection((host, port), timeout=timeout) as sock:
        answer = b""
        try:
            sock.sendall(word)
            while chunk := sock.recv(65536):
                answer += chunk
        except (ConnectionResetError, BrokenPipeError):
            pass  # it ended the connection without waiting for us to end ours
        return answer


class Server:
    """One server of one kind ("apache@CLASSPATH" for another release), with its own port and folder. `config` overrides or adds zoo.cfg keys
    (a value of None drops a default)."""

    def __init__(self, kind, config=None, *, folder=None, jvm_flags=None, name=None, extra_lines=()):
        kind, _, self.class_path = kind.partition("@")
        assert kind in ("apache", "zoo"), kind
        self.kind = kind
        self.name = name or kind
        self.host = "127.0.0.1"
        self.port = free_port()
        self._owns_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix=f"zoo-test-{kind}-", dir=os.environ.get("ZOO_TEST_TMP"))
        self.data_folder = os.path.join(self.folder, "data")
        self.config_file = os.path.join(self.folder, "zoo.cfg")
        self.log_file = os.path.join(self.folder, "log.txt")
        self.jvm_flags = list(jvm_flags if jvm_flags is not None else JVM_FLAGS)
        self.process = None
        keys = {
            "tickTime": 2000,
            "dataDir": self.data_folder,
            "clientPort": self.port,
            "clientPortAddress": self.host,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
        }
        if kind == "zoo" and "ZOO_TEST_SHARDS" in os.environ:
            keys["zoo.shards"] = os.environ["ZOO_TEST_SHARDS"]
        keys.update(config or {})
        self.keys = {key: value for key, value in keys.items() if value is not None}
        self.extra_lines = list(extra_lines)
        self.keeps_config = False       # once written, zoo.cfg is the server's own: reconfigurations change it

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def command(self):
        if self.kind == "apache":
            properties = [f"-D{key}={self.keys[key]}" for key in PROPERTY_ONLY if key in self.keys]
            class_path = self.class_path or os.environ.get("ZOO_APACHE_CP", APACHE_CLASS_PATH)
            return ["java", *self.jvm_flags, *properties, "-cp", class_path, APACHE_MAIN, self.config_file]
        binary = os.environ.get("ZOO_SERVER", os.path.join(ROOT, "target", "release", "zoo-server"))
        return [binary, "run", self.config_file]

    def spawn(self):
        """Starts the process and does not wait for it to serve."""
        assert self.process is None, f"{self.name} runs already"
        os.makedirs(self.data_folder, exist_ok=True)
        written = {k: v for k, v in self.keys.items() if self.kind != "apache" or k not in PROPERTY_ONLY}
        if not self.keeps_config or not os.path.exists(self.config_file):
            with open(self.config_file, "w") as file:
                file.writelines(f"{key}={value}\n" for key, value in written.items())
                file.writelines(f"{line}\n" for line in self.extra_lines)
        with open(self.log_file, "ab") as log:
            self.process = _spawner.submit(
                subprocess.Popen, self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, start_new_session=True, preexec_fn=die_with_parent).result()
        _running.append(self)

    def start(self):
        """Starts the server and waits until it serves; returns the seconds that took."""
        begin = time.monotonic()
        self.spawn()
        self.wait_serving(START_SECONDS_MAX)
        return time.monotonic() - begin

    def wait_serving(self, seconds_max=START_SECONDS_MAX):
        deadline = time.monotonic() + seconds_max
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode} at its start:\n{self.log_tail()}")
            if self.serves():
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not serve within {seconds_max} s:\n{self.log_tail()}")
            time.sleep(0.02)  # the polling interval of a bounded wait

    def serves(self):
        """Whether `srvr` (whitelisted by default) is answered as by a server that has loaded its data."""
        try:
            answer = four_letters(self.host, self.port, b"srvr", timeout=2.0)
        except OSError:
            return False
        return bool(answer) and b"not currently serving" not in answer

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """As by kill -9: nothing is flushed. The data stays, `start` may follow."""
        self._end(signal.SIGKILL)

    def stop(self):
        """SIGTERM, then a bounded wait, then SIGKILL. Returns (exit code, seconds taken)."""
        return self._end(signal.SIGTERM)

    def _end(self, sign):
        process, self.process = self.process, None
        if process is None:
            return None, 0.0
        begin = time.monotonic()
        if process.poll() is None:
            os.kill(process.pid, sign)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait(STOP_SECONDS_MAX)
        if self in _running:
            _running.remove(self)
        return process.returncode, time.monotonic() - begin

    def close(self):
        """Ends the process and removes the folder if it was ours."""
        self.kill()
        if self._owns_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self, bytes_max=4000):
        try:
            with open(self.log_file, "rb") as file:
                return file.read()[-bytes_max:].decode(errors="replace")
        except OSError:
            return "(no log)"


def die_with_parent():
    """For `preexec_fn`: the child ends with the thread that made it."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _close_all():
    for server in list(_running):
        server.close()


atexit.register(_close_all)
