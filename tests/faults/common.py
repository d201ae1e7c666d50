"""What the cases share: the list of cases, bounded waits, sessions, servers started under other circumstances."""

import contextlib
import functools
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import servers  # noqa: E402
from frames import (CLOSED, OPEN, SILENT, Op, Reader, Socket, connect_request, create_body, frame, path_version,  # noqa: E402
                    path_watch, request, set_data_body)
from servers import Server  # noqa: E402

SYSTEM_ERROR, NO_NODE, NODE_EXISTS = -1, -101, -110
WAIT_SECONDS_MAX = 40.0     # the machine may be busy; what never comes fails the case all the same
SESSION_MS = 40_000
LAUNCHER = os.path.join(HERE, "launch.py")

CASES = []


class Skip(Exception):
    """The machine does not allow the case."""


def case(function):
    """Lists a function without arguments as a case; its first line of text says what it shows."""
    CASES.append((function.__name__, function))
    return function


def wait_for(what, condition, seconds_max=WAIT_SECONDS_MAX, every=0.02):
    """Waits until `condition()` is true and returns what it gave."""
    deadline = time.monotonic() + seconds_max
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds_max} s: {what}"
        time.sleep(every)  # the polling interval of a bounded wait


class Gone(Exception):
    """The server closed the connection, or answered nothing in time."""


class Client:
    """A session: requests one at a time, or pushed and taken later."""

    def __init__(self, server, timeout=SESSION_MS, session=0, password=bytes(16), receive_buffer=None):
        self.socket = Socket(server.host, server.port, timeout=WAIT_SECONDS_MAX)
        if receive_buffer:
            import socket
            self.socket.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.xid = 0
        self.events = []
        self.socket.send(frame(connect_request(timeout=timeout, session=session, password=password, read_only=False)))
        answer = self.socket.receive(WAIT_SECONDS_MAX)
        if answer in (CLOSED, SILENT):
            self.socket.close()
            raise Gone(f"no session: {answer}")
        _, self.timeout, self.session = struct.unpack_from(">iiq", answer)
        self.password = answer[20:36]
        self.refused = self.timeout <= 0

    def encode(self, op, body):
        self.xid += 1
        return frame(request(self.xid, op, body))

    def push(self, op, body=b""):
        """Sends without waiting; False if the server has gone."""
        return self.socket.send(self.encode(op, body))

    def take(self, seconds_max=WAIT_SECONDS_MAX):
        """The next answer: (zxid, err, reader). Events are put aside."""
        while True:
            payload = self.socket.receive(seconds_max)
            if payload in (CLOSED, SILENT):
                raise Gone(payload)
            reader = Reader(payload)
            xid, zxid, err = reader.i32(), reader.i64(), reader.i32()
            if xid == -1:
                self.events.append(payload)
                continue
            return zxid, err, reader

    def ask(self, op, body=b""):
        if not self.push(op, body):
            raise Gone(CLOSED)
        return self.take()

    def create(self, path, data=b"", flags=0):
        """The error."""
        return self.ask(Op.CREATE, create_body(path, data, OPEN, flags))[1]

    def set(self, path, data):
        return self.ask(Op.SET_DATA, set_data_body(path, data, -1))[1]

    def delete(self, path):
        return self.ask(Op.DELETE, path_version(path, -1))[1]

    def get(self, path):
        """The data, or the error as a number."""
        _, err, reader = self.ask(Op.GET_DATA, path_watch(path, False))
        return reader.buffer() if err == 0 else err

    def exists(self, path):
        return self.ask(Op.EXISTS, path_watch(path, False))[1] == 0

    def ping(self):
        self.socket.send(frame(request(-2, Op.PING)))
        return self.take()[1]

    def end(self):
        """Closes the session in order."""
        with contextlib.suppress(Gone):
            self.ask(Op.CLOSE_SESSION)
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


class Bystander:
    """Another client that writes and reads all the time. `done()` fails the case if anything went wrong for it."""

    def __init__(self, server, path="/bystander"):
        self.client = Client(server)
        self.path = path
        assert self.client.create(path, b"0") in (0, NODE_EXISTS)
        self.rounds, self.slowest, self.problem = 0, 0.0, None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        try:
            while not self.stop.is_set():
                begin = time.monotonic()
                value = str(self.rounds + 1).encode()
                if (err := self.client.set(self.path, value)) != 0:
                    raise Gone(f"a write was answered with {err}")
                if (seen := self.client.get(self.path)) != value:
                    raise Gone(f"{seen} was read behind the write of {value}")
                self.slowest = max(self.slowest, time.monotonic() - begin)
                self.rounds += 1
                self.stop.wait(0.01)  # leaves some of a small machine to the others
        except (Gone, OSError) as problem:
            self.problem = repr(problem)

    def progress(self, rounds=3):
        """Waits until it has got on."""
        goal = self.rounds + rounds
        wait_for("the bystander gets on", lambda: self.problem or self.rounds >= goal)
        assert self.problem is None, f"the bystander was disturbed: {self.problem}"

    def done(self):
        self.progress()
        self.stop.set()
        self.thread.join(WAIT_SECONDS_MAX)
        assert self.problem is None, f"the bystander was disturbed: {self.problem}"
        self.client.end()


class ServerUnder(Server):
    """Our server, started through `launch.py` with these arguments and with more environment."""

    def __init__(self, config=None, *, launch=(), environment=None, binary=None, **more):
        super().__init__("zoo", config, **more)
        self.launch, self.environment, self.binary = list(launch), dict(environment or {}), binary

    def command(self):
        command = super().command()
        if self.binary:
            command[0] = self.binary
        if self.launch:
            command = [sys.executable, LAUNCHER, *self.launch, "--", *command]
        if self.environment:
            command = ["env", *(f"{key}={value}" for key, value in self.environment.items()), *command]
        return command

    def log(self):
        return self.log_tail(1 << 24)

    def fails_to_start(self):
        """Starts it where it must not serve: its exit code and what it said."""
        before = os.path.getsize(self.log_file) if os.path.exists(self.log_file) else 0
        self.spawn()
        code = self.wait_ended()
        with open(self.log_file, "rb") as file:
            file.seek(before)
            return code, file.read().decode(errors="replace")

    def wait_ended(self, seconds_max=WAIT_SECONDS_MAX):
        """Waits until the process has ended by itself; its exit code."""
        process = self.process
        try:
            code = process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs after {seconds_max} s:\n{self.log_tail()}") from None
        self.kill()
        return code

    def check_healthy(self):
        """It lives, it answers, and nothing in it has panicked."""
        assert self.alive(), f"the server has ended with {self.process.returncode}:\n{self.log_tail()}"
        with Client(self) as client:
            path = f"/healthy-{client.session:x}"
            assert client.create(path, b"yes") == 0 and client.get(path) == b"yes" and client.delete(path) == 0
        self.check_no_panic()

    def check_no_panic(self):
        assert "panicked" not in self.log(), f"a panic in the log:\n{self.log_tail()}"

    def status(self, key):
        """A number of /proc/PID/status, as VmRSS, in MB."""
        with open(f"/proc/{self.pid}/status") as file:
            line = next(line for line in file if line.startswith(f"{key}:"))
        return int(line.split()[1]) / 1024

    def rss(self):
        return self.status("VmRSS")

    def connections(self):
        """How many connections it has, this one not counted."""
        answer = servers.four_letters(self.host, self.port, b"mntr").decode()
        line = next(line for line in answer.splitlines() if line.startswith("zk_num_alive_connections"))
        return int(line.split()[1]) - 1


def say_no_panic(text):
    assert "panicked" not in text, text


@contextlib.contextmanager
def temporary_folder():
    folder = tempfile.mkdtemp(prefix="zoo-test-faults-", dir=os.environ.get("ZOO_TEST_TMP"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def mounted(kind, megabytes=160):
    """A folder on a file system of its own: "ext4" on a loop device, "tmpfs" or "ramfs"."""
    if os.geteuid() != 0:
        raise Skip(f"to mount a {kind} needs root")
    with temporary_folder() as folder:
        point = os.path.join(folder, "mount")
        os.mkdir(point)
        if kind == "ext4":
            image = os.path.join(folder, "image")
            with open(image, "wb") as file:
                file.truncate(megabytes << 20)
            # No blocks kept back for root: full is full for everybody.
            commands = [["mkfs.ext4", "-q", "-F", "-m", "0", image], ["mount", "-o", "loop", image, point]]
        else:
            options = ["-o", f"size={megabytes}m"] if kind == "tmpfs" else []
            commands = [["mount", "-t", kind, *options, "none", point]]
        for command in commands:
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            except OSError as error:
                raise Skip(f"{command[0]}: {error}") from error
            if done.returncode != 0:
                raise Skip(f"{' '.join(command)}: {done.stderr.strip()}")
        try:
            yield point
        finally:
            unmount(point)


def unmount(point):
    """Now, or, if something still holds it, as soon as that is gone."""
    for arguments in ([], [], ["-l"]):
        if subprocess.run(["umount", *arguments, point], capture_output=True, timeout=60).returncode == 0:
            return
        time.sleep(0.2)  # the kernel may still be busy with the files of a process that has just ended


def on(server_class=ServerUnder):
    """A server class whose end is sure: `with on()(...) as server`, without starting it."""
    @functools.wraps(server_class)
    @contextlib.contextmanager
    def make(*arguments, **more):
        server = server_class(*arguments, **more)
        try:
            yield server
        except Exception:
            print(f"--- the log of the server at {server.address}\n{server.log_tail(8000)}\n---")
            raise
        finally:
            server.close()
    return make


new_server = on()
