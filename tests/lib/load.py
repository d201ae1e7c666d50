"""Concurrent clients of an ensemble that write down what they did and saw, for the judges of history.py.

    load = Load(ensemble, seed=7)
    load.start()
    load.progress()                       # waits until every kind of thing has been acknowledged again
    ... kill, pause, cut ...
    verdict = load.finish()               # stops; compares all members; verdict.complaints, verdict.figures

Each worker is a thread with one session. When its connection breaks it goes on with the same session on another member, as
every client library does, and does not repeat what was on its way. What it does: writes and compare-and-sets of common
registers; reads, some behind a sync and some behind a write of its own; creates (with and without sequence numbers), deletes;
two znodes in one multi; bursts of writes and reads on a znode of its own; now and then it closes its session or abandons it. An
ephemeral znode belongs to every session.

A read behind a write of the same session is linearisable: when that write is applied on the session's server, all that was
acknowledged before it is too. A read behind a sync is so only while no deposed leader answers, as ZooKeeper's documentation says:
`sure_sync` tells whether the faults of the test rule that out. And never on Apache's leader: there a sync of its own client does
not wait for what is committed and not yet applied, while a follower may already have answered the writer.
"""

import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import compare
import history
from client import (BAD_VERSION, NODE_EXISTS, OK, SESSION_EXPIRED, Client, Gone, Refused, read_data, read_stat)
from frames import OPEN, Op, create_body, multi_body, path_version, path_watch, set_data_body, string
from history import DONE, REFUSED, UNKNOWN, Add, Ephemeral, Operation, Pair

TOP = "/load"
ADDS, NUMBERED, EPHEMERALS, PAIRS, OWN = (f"{TOP}/{name}" for name in ("adds", "numbered", "ephemerals", "pairs", "own"))
ANSWER_SECONDS = 3.0          # then a client tries another member
CONNECT_SECONDS = 1.5
PROGRESS_SECONDS_MAX = 60.0
JOIN_SECONDS_MAX = 30.0
BURST = 6
ABANDONED_MS = 2000


@dataclass
class Verdict:
    complaints: list
    figures: Counter
    lost_sessions: list = field(default_factory=list)


class Load:
    def __init__(self, ensemble, *, workers=6, keys=5, seed=0, session_ms=6000, sure_sync=True, leave=0.003, pace=0.002,
                 witness=False):
        self.ensemble = ensemble
        self.session_ms = session_ms
        self.sure_sync = sure_sync
        self.leave = leave                # chance of a session's end, by operation
        self.pace = pace
        self.stop = threading.Event()
        self.held = threading.Event()
        self.keys = [f"{TOP}/r{number}" for number in range(keys)]
        self.initial = {}
        self.problems = []                # what no judge sees: answers that make no sense
        self.lost_sessions = []
        self.ended_at = {}                # dead session to when it was left
        self.figures = Counter()
        self.workers = [Worker(self, number, random.Random(f"{seed}/{number}")) for number in range(workers)]
        self.witness = Witness(ensemble) if witness else None

    def start(self):
        client = compare.connect(self.ensemble[self.ensemble.running()[0]])
        paths = [TOP, ADDS, NUMBERED, EPHEMERALS, PAIRS, OWN]
        for worker in self.workers:
            paths += [worker.own, *worker.pair.paths]
        for path, (_, err, _) in zip([*paths, *self.keys], client.ask_all(Op.CREATE, [
                create_body(path, b"0" if path.startswith(PAIRS + "/") else b"", OPEN, 0) for path in [*paths, *self.keys]])):
            if err not in (OK, NODE_EXISTS):
                raise compare.Different(f"creating {path}: error {err}")
        for key in [*self.keys, *(worker.own for worker in self.workers)]:
            self.initial[key] = (0, b"")
        client.end()
        if self.witness:
            self.witness.start()
        for worker in self.workers:
            worker.thread.start()
        self.progress()

    def progress(self, each=5):
        """Waits until every worker has `each` more answers to writes: the ensemble serves all its clients."""
        goals = {worker: worker.writes + each for worker in self.workers}
        self.ensemble.wait("every client gets on", lambda: all(worker.writes >= goal for worker, goal in goals.items()),
                           PROGRESS_SECONDS_MAX)

    def hold(self):
        """No worker asks anything from now on; their sessions stay."""
        self.held.set()
        self.ensemble.wait("the workers rest", lambda: all(worker.rests for worker in self.workers))

    def go_on(self):
        self.held.clear()
        self.progress()

    def acknowledged(self):
        return sum(worker.writes for worker in self.workers)

    def run_for(self, seconds):
        """Lets the load go on for a while."""
        time.sleep(seconds)

    def finish(self):
        """Stops the workers, waits until the dead sessions have expired, and judges."""
        self.stop.set()
        for worker in self.workers:
            worker.thread.join(JOIN_SECONDS_MAX)
            if worker.thread.is_alive():
                raise compare.Different(f"worker {worker.number} does not end\n{self.ensemble.report()}")
        judged = threading.Event()
        for worker in self.workers:
            worker.stay()
        pings = threading.Thread(target=self._ping, args=(judged,), daemon=True, name="pings")
        pings.start()
        complaints = self.problems
        tree = None
        try:
            self._wait_for_expiry()
            self._last_reads()
            tree = compare.same_everywhere(self.ensemble)
            for worker in self.workers:
                worker.stay()
        except compare.Different as different:
            complaints.append(str(different))
        finally:
            judged.set()
            pings.join()
        operations = [operation for worker in self.workers for operation in worker.operations]
        complaints += history.register_complaints(operations, self.initial)
        complaints += history.order_complaints(operations)
        if tree is not None:
            adds = [add for worker in self.workers for add in worker.adds]
            ephemerals = [ephemeral for worker in self.workers for ephemeral in worker.ephemerals]
            complaints += history.add_complaints(adds, tree, (ADDS, NUMBERED))
            complaints += history.ephemeral_complaints(ephemerals, tree, EPHEMERALS)
            complaints += history.pair_complaints([worker.pair for worker in self.workers], tree)
        if complaints:
            self._write_down(operations)
        if self.witness:
            complaints += self.witness.finish()
        for worker in self.workers:
            worker.client.end()
            self.figures.update(f"{operation.kind} {operation.outcome}" for operation in worker.operations)
            self.figures.update(f"{'numbered' if add.sequential else 'create'} {add.outcome}" for add in worker.adds)
        self.figures["acknowledged writes"] = self.acknowledged()
        return Verdict(complaints, self.figures, self.lost_sessions)

    def _write_down(self, operations):
        """The whole history, for whoever looks for the reason."""
        with open(os.path.join(self.ensemble.folder, "history.txt"), "w") as file:
            file.writelines(f"{operation}\n" for operation in sorted(operations, key=lambda operation: operation.invoked))

    def _ping(self, judged):
        while not judged.wait(0.3):
            for worker in self.workers:
                if worker.client is not None:
                    worker.client.ping()

    def _wait_for_expiry(self):
        """No ephemeral of a dead session is left: a new leader gives every session its whole time again, so twice that."""
        client = compare.connect(self.ensemble[self.ensemble.running()[0]])
        living = {worker.client.session for worker in self.workers}
        dead = {e.path: e for worker in self.workers for e in worker.ephemerals if e.session not in living}
        for ephemeral in dead.values():
            ephemeral.session_lives = False
        deadline = time.monotonic() + 2 * self.session_ms / 1000 + 10
        while True:
            client.sync(EPHEMERALS)
            left = [name for name in client.children(EPHEMERALS) if f"{EPHEMERALS}/{name}" in dead]
            if not left or time.monotonic() > deadline:
                break   # the judge says the rest
            client.ping()
            time.sleep(0.1)  # the polling interval of a bounded wait
        client.end()

    def _last_reads(self):
        """Each register is read once more by everyone: a write that is lost after its last reader is lost all the same."""
        for worker in self.workers:
            for key in self.initial:
                worker.sure_read(key)


class Worker:
    def __init__(self, load, number, chance):
        self.load, self.number, self.chance = load, number, chance
        self.own = f"{OWN}/{number}"
        self.pair = Pair((f"{PAIRS}/{number}-a", f"{PAIRS}/{number}-b"))
        self.operations, self.adds, self.ephemerals = [], [], []
        self.client, self.member, self.ticket = None, None, None
        self.versions = {}            # key to the newest version seen, for compare-and-set
        self.values = 0
        self.writes = 0
        self.sessions = 0
        self.rests = False
        self.thread = threading.Thread(target=self._run, daemon=True, name=f"worker {number}")

    def _run(self):
        while not self.load.stop.is_set():
            self.rests = self.load.held.is_set()
            if self.rests:
                self.load.stop.wait(0.005)
                continue
            try:
                if self.client is None and not self.connect():
                    self.load.stop.wait(0.01)
                    continue
                self.one()
            except Gone:
                self.load.figures["connections broken"] += 1
                self.disconnect()
            except Exception as error:  # a mistake of the test itself must not pass as silence
                self.load.problems.append(f"worker {self.number}: {error!r}")
                raise
            self.load.stop.wait(self.load.pace)

    # --- sessions --------------------------------------------------------------------------------------

    def disconnect(self):
        if self.client is not None:
            self.ticket = self.client.ticket()
            self.client.drop()
            self.client = None

    def connect(self):
        """On some member: goes on with the session, or opens a new one if it is lost. Whether it succeeded."""
        addresses = self.load.ensemble.addresses()
        choices = list(addresses)
        # First each on another member, then wherever chance leads.
        self.member = choices[self.number % len(choices)] if not self.sessions and self.client is None and self.member is None \
            else self.chance.choice(choices)
        host, port = addresses[self.member]
        try:
            self.client = Client(host, port, connect_seconds=CONNECT_SECONDS, answer_seconds=ANSWER_SECONDS,
                                 **(self.ticket or {"timeout_ms": self.load.session_ms}))
        except Refused:
            session = self.ticket["session"]
            self.load.lost_sessions.append((self.number, session, self.member))
            self.load.ensemble.note(f"worker {self.number}: session 0x{session & (1 << 64) - 1:x} is refused by {self.member}")
            self.ticket = None
            return False
        except Gone:
            return False
        if self.ticket is None or self.ticket["session"] != self.client.session:
            if self.ticket is not None:
                self.load.problems.append(f"worker {self.number} asked for session {self.ticket['session']:#x} and got "
                                          f"{self.client.session:#x}")
            self.ticket = self.client.ticket()
            self.sessions += 1
            self._make_ephemeral()
        return True

    def _make_ephemeral(self):
        path = f"{EPHEMERALS}/{self.number}-{self.sessions}"
        ephemeral = Ephemeral(self.client.session, path)
        self.ephemerals.append(ephemeral)
        err, _ = self.client.create(path, b"", 1)
        if err == OK:
            ephemeral.outcome = DONE
        else:
            self._odd(f"creating {path}", err)

    def _leave(self):
        """The session ends: in order, or by silence. Before it falls silent it asks for a short timeout, and so moves."""
        if self.chance.random() < 0.5:
            self.client.end()
            self.load.figures["sessions closed"] += 1
            self.client, self.ticket = None, None
        else:
            self.disconnect()
            self.ticket["timeout_ms"] = ABANDONED_MS
            if self.connect():
                self.client.drop()
                self.load.figures["sessions abandoned"] += 1
                self.client, self.ticket = None, None

    def stay(self):
        """After the end of the load: is its session still there? It is connected from here on."""
        deadline = time.monotonic() + PROGRESS_SECONDS_MAX
        while True:
            try:
                if self.client is not None or self.connect():
                    self.client.sync()
                    return
            except Gone:
                self.disconnect()
            if time.monotonic() > deadline:
                raise compare.Different(f"worker {self.number} finds no server\n{self.load.ensemble.report()}")
            time.sleep(0.02)  # the polling interval of a bounded wait

    def _odd(self, what, err):
        """An error that tells nothing of what has happened: the client goes elsewhere."""
        self.load.figures[f"errors {err}"] += 1
        if err == SESSION_EXPIRED:
            self.load.ensemble.note(f"worker {self.number}: {what}: the session has expired")
        raise Gone(f"{what}: error {err}")

    # --- what it does ----------------------------------------------------------------------------------

    def one(self):
        chance = self.chance
        draw = chance.random()
        key = chance.choice(self.load.keys)
        if draw < 0.25:
            self.write(key)
        elif draw < 0.40:
            self.write(key, self.versions.get(key, 0))
        elif draw < 0.50:
            self.read(key)
        elif draw < 0.62:
            self.synced_read(key)
        elif draw < 0.72:
            self.sure_read(key)
        elif draw < 0.82:
            self.add(chance.random() < 0.5)
        elif draw < 0.86:
            self.remove()
        elif draw < 0.93:
            self.write_pair()
        elif draw < 1 - self.load.leave:
            self.burst()
        else:
            self._leave()

    def value(self):
        self.values += 1
        return b"%d-%d" % (self.number, self.values)

    def _begin(self, kind, key, value=None, expected=None):
        operation = Operation(self.number, self.client.session, kind, key, time.monotonic(), value, expected, member=self.member)
        self.operations.append(operation)
        return operation

    def _end(self, operation, answer):
        """Takes over an answer."""
        zxid, err, body = answer
        operation.completed = time.monotonic()
        if err == OK:
            if operation.kind in ("write", "cas"):
                stat = read_stat(body)
                self.writes += 1
            else:
                operation.value, stat = read_data(body)
            operation.version, operation.mzxid = stat["version"], stat["mzxid"]
            operation.zxid, operation.outcome = zxid, DONE
            self.versions[operation.key] = operation.version
        elif err == BAD_VERSION and operation.kind == "cas":
            operation.zxid, operation.outcome = zxid, REFUSED
            self.versions.pop(operation.key, None)
        else:
            operation.completed = history.NEVER
            self._odd(f"{operation.kind} of {operation.key}", err)

    def write(self, key, expected=None):
        kind = "write" if expected is None else "cas"
        operation = self._begin(kind, key, self.value(), expected)
        self._end(operation, self.client.ask(Op.SET_DATA, set_data_body(key, operation.value, -1 if expected is None else expected)))

    def read(self, key):
        self._end(self._begin("read", key), self.client.ask(Op.GET_DATA, path_watch(key, False)))

    def synced_read(self, key):
        sure = self.load.sure_sync and self.load.ensemble[self.member].kind == "zoo"
        operation = self._begin("sure read" if sure else "read", key)
        self.client.push(Op.SYNC, string(key))
        self.client.push(Op.GET_DATA, path_watch(key, False))
        _, err, _ = self.client.take()
        answer = self.client.take()
        if err != OK:
            self._odd("sync", err)
        self._end(operation, answer)

    def sure_read(self, key):
        write = self._begin("write", self.own, self.value())
        operation = self._begin("sure read", key)
        self.client.push(Op.SET_DATA, set_data_body(self.own, write.value, -1))
        self.client.push(Op.GET_DATA, path_watch(key, False))
        self._end(write, self.client.take())
        self._end(operation, self.client.take())

    def burst(self):
        """Writes and reads on its own znode, all on their way at once: they must be answered in their order."""
        pushed = []
        for _ in range(BURST):
            write = self._begin("write", self.own, self.value())
            self.client.push(Op.SET_DATA, set_data_body(self.own, write.value, -1))
            pushed += [write, self._begin("read", self.own)]
            self.client.push(Op.GET_DATA, path_watch(self.own, False))
        for operation in pushed:
            self._end(operation, self.client.take())

    def add(self, sequential):
        value = self.value()
        path = f"{NUMBERED}/n-" if sequential else f"{ADDS}/{value.decode()}"
        add = Add(self.number, path, value, sequential)
        self.adds.append(add)
        err, created = self.client.create(path, value, 2 if sequential else 0)
        if err != OK:
            self._odd(f"creating {path}", err)
        add.outcome, add.created = DONE, created
        self.writes += 1

    def remove(self):
        mine = [add for add in self.adds[-20:] if add.outcome == DONE and add.removal is None]
        if not mine:
            return
        add = self.chance.choice(mine)
        add.removal = UNKNOWN
        _, err, _ = self.client.ask(Op.DELETE, path_version(add.created, -1))
        if err != OK:
            if err == -101:
                self.load.problems.append(f"worker {self.number}: {add.created} was acknowledged, and is not there to delete")
            self._odd(f"deleting {add.created}", err)
        add.removal = DONE
        self.writes += 1

    def write_pair(self):
        pair = self.pair
        pair.tried += 1
        value = b"%d" % pair.tried
        _, err, _ = self.client.ask(Op.MULTI, multi_body([(Op.SET_DATA, set_data_body(path, value, -1)) for path in pair.paths]))
        if err != OK:
            self._odd("a multi", err)
        pair.acknowledged = pair.tried
        self.writes += 1


class Witness:
    """kazoo, as an application would use it: its session must outlive all that is done."""

    PATH = "/load-witness"

    def __init__(self, ensemble):
        try:
            from kazoo.client import KazooClient
        except ImportError as error:
            raise RuntimeError(
                "kazoo is missing: tests/lib/setup installs it; run this with target/test-env/bin/python") from error
        self.ensemble = ensemble
        self.states, self.complaints = [], []
        hosts = ",".join(f"{host}:{port}" for host, port in ensemble.addresses().values())
        self.kazoo = KazooClient(hosts=hosts, timeout=12.0, connection_retry={"max_tries": -1, "delay": 0.05, "max_delay": 0.5},
                                 command_retry={"max_tries": -1, "delay": 0.05, "max_delay": 0.5})
        self.kazoo.add_listener(self._changed)

    def _changed(self, state):
        self.states.append(state)
        self.ensemble.note(f"kazoo: {state}")
        if state == "LOST" and not getattr(self, "ending", False):
            self.complaints.append("kazoo has lost its session")

    def start(self):
        self.kazoo.start(timeout=30)
        self.kazoo.create(self.PATH, b"", ephemeral=True)
        self.session = self.kazoo.client_id[0]

    def finish(self):
        stat = self.kazoo.retry(self.kazoo.exists, self.PATH)
        if stat is None or stat.ephemeralOwner != self.session:
            self.complaints.append(f"kazoo's ephemeral znode of session {self.session:#x} is gone: {stat}")
        self.ending = True
        self.kazoo.stop()
        self.kazoo.close()
        return self.complaints
