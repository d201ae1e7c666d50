"""Ensembles of real servers for the tests: Debian's Apache ZooKeeper ("apache") and ours ("zoo") in any mixture.

    from ensemble import Ensemble
    with Ensemble(["zoo", "apache", "zoo"], observers={3}) as ensemble:     # ids 1, 2, 3; on loopback
        ensemble.start()                                  # all of them; waits until they serve and one leads
        ensemble.leader()                                 # its id
        ensemble.kill(2); ensemble.start([2])             # SIGKILL; the data stays
        ensemble.pause(1); ensemble.resume(1)             # SIGSTOP, SIGCONT
        ensemble.replace(2, "zoo")                        # the same myid and ports, another kind, an empty data folder
        ensemble.wipe(3)                                  # its data is gone (of a server that does not run)
    with Ensemble([...], network="namespaces") as ensemble:                 # each server in a network namespace of its own
        ensemble.cut({1}, {2, 3})                         # nothing goes from 1 to 2 and 3, and back; clients reach all
        ensemble.cut({1}, {2, 3}, one_way=True)           # only what 1 sends is lost
        ensemble.heal()

Every server gets the same zoo.cfg (its own dataDir and address apart), as an operator would write it. Only processes started
here are ended, by their id; namespaces, bridges and mounts made here carry the id of this process in their names.

A partition drops packets silently, as a broken switch does: the receiver's routing rules make what comes from the sender's
address vanish (`ip rule ... blackhole`). That needs neither iptables nor tc, which a kernel may lack.
"""

import atexit
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

import servers
from servers import Server, four_letters, free_port

SERVE_SECONDS_MAX = 60.0
POLL_SECONDS = 0.02
MODES = ("leader", "follower", "observer", "standalone", "read-only")
# Several virtual machines share a small computer. slf4j-simple: what Apache says goes to standard error.
JVM_FLAGS = ["-Xmx256m", "-Xms32m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
             "-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"]
APACHE_CLASS_PATH = f"{servers.APACHE_CLASS_PATH}:/usr/share/java/slf4j-simple.jar"

# A busy machine may not run a server for a second or two; where a test waits for a timeout it asks for a shorter syncLimit.
CONFIG = {
    "tickTime": 500,
    "initLimit": 40,
    "syncLimit": 12,
    "maxClientCnxns": 0,
    "minSessionTimeout": 1000,
    "maxSessionTimeout": 60_000,
    "preAllocSize": 64,
    "snapCount": 10_000,
}


class NotPermitted(Exception):
    """The machine does not allow network namespaces (or mounts) to be made; the message says why."""


class Trouble(Exception):
    """The ensemble does not do what was waited for; the message has the ends of the logs."""


# --- networks ------------------------------------------------------------------------------------------

class Loopback:
    """All on 127.0.0.1, told apart by their ports."""

    def __init__(self, ids):
        # Held until all are chosen, so that no two are the same.
        taken = set()
        self.ports = {}
        for identity in ids:
            self.ports[identity] = tuple(self._port(taken) for _ in range(3))

    @staticmethod
    def _port(taken):
        while (port := free_port()) in taken:
            pass
        taken.add(port)
        return port

    def host(self, _):
        return "127.0.0.1"

    def wrap(self, _, command):
        return command

    def close(self):
        pass


class Namespaces:
    """Each server in a network namespace of its own, all on one bridge; the tests are on it too."""

    _number = 0

    def __init__(self, ids):
        Namespaces._number += 1
        self.tag = f"{os.getpid()}{chr(96 + Namespaces._number % 26)}"
        self.ids = list(ids)
        self.ports = {identity: (2181, 2888, 3888) for identity in ids}
        self.bridge = f"zb{self.tag}"
        self.made = []
        self.rules = {identity: set() for identity in ids}
        atexit.register(self.close)
        self.subnet = self._free_subnet()
        try:
            self._ip("link", "add", self.bridge, "type", "bridge")
            self.made.append(("link", self.bridge))
            self._ip("addr", "add", f"{self.subnet}.254/24", "dev", self.bridge)
            self._ip("link", "set", self.bridge, "up")
            for identity in ids:
                self._join(identity)
        except NotPermitted:
            self.close()
            raise

    @staticmethod
    def _free_subnet():
        with open("/proc/net/fib_trie") as file:
            used = file.read()
        for third in range(os.getpid() % 256, os.getpid() % 256 + 256):
            subnet = f"10.231.{third % 256}"
            if f"{subnet}." not in used and servers.claim(f"subnet-{subnet}"):
                return subnet
        raise NotPermitted("all of 10.231.0.0/16 is in use")

    @staticmethod
    def _ip(*words):
        try:
            done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20)
        except FileNotFoundError:
            raise NotPermitted("there is no `ip` (Debian: iproute2)") from None
        if done.returncode != 0:
            raise NotPermitted(f"ip {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def name(self, identity):
        return f"zoo-{self.tag}-{identity}"

    def host(self, identity):
        return f"{self.subnet}.{identity}"

    def _join(self, identity):
        name, outer = self.name(identity), f"zv{self.tag}{identity}"
        self._ip("netns", "add", name)
        self.made.append(("netns", name))
        self._ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        self._ip("link", "set", outer, "master", self.bridge, "up")
        self._ip("-n", name, "addr", "add", f"{self.host(identity)}/24", "dev", "eth0")
        self._ip("-n", name, "link", "set", "lo", "up")
        self._ip("-n", name, "link", "set", "eth0", "up")
        # The rule that finds a machine's own addresses comes first of all; put it behind those that cut.
        self._ip("-n", name, "rule", "add", "pref", "1000", "lookup", "local")
        self._ip("-n", name, "rule", "del", "pref", "0", "lookup", "local")

    def wrap(self, identity, command):
        return ["nsenter", f"--net=/run/netns/{self.name(identity)}", *command]

    def drop(self, source, target):
        """What comes to `target` from `source` is lost from now on."""
        if source not in self.rules[target]:
            self.rules[target].add(source)
            self._ip("-n", self.name(target), "rule", "add", "pref", "10", "from", self.host(source), "blackhole")
            self._ip("-n", self.name(target), "route", "flush", "cache")

    def pass_again(self, source, target):
        if source in self.rules[target]:
            self.rules[target].remove(source)
            self._ip("-n", self.name(target), "rule", "del", "pref", "10", "from", self.host(source), "blackhole")
            self._ip("-n", self.name(target), "route", "flush", "cache")

    def close(self):
        atexit.unregister(self.close)
        for kind, name in reversed(self.made):
            words = ["netns", "del", name] if kind == "netns" else ["link", "del", name]
            done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20)
            if done.returncode != 0:
                print(f"could not remove {kind} {name}: {done.stderr.strip()}")
        self.made.clear()


NETWORKS = {"loopback": Loopback, "namespaces": Namespaces}


def namespaces_permitted():
    """None, or why not."""
    try:
        Namespaces([1]).close()
        return None
    except NotPermitted as why:
        return str(why)


# --- members -------------------------------------------------------------------------------------------

class Member(Server):
    """One server of an ensemble."""

    def __init__(self, kind, identity, ensemble, folder, data_folder=None):
        self.identity = identity
        self.ensemble = ensemble
        super().__init__(kind, folder=folder, jvm_flags=ensemble.jvm_flags)
        os.makedirs(folder, exist_ok=True)
        self.name = f"server {identity} ({self.kind})"
        self.host = ensemble.network.host(identity)
        self.port = ensemble.network.ports[identity][0]
        if kind == "apache":
            self.class_path = APACHE_CLASS_PATH
        self.data_folder = data_folder or os.path.join(folder, "data")
        self.paused = False
        self.keys.update({"dataDir": self.data_folder, "clientPort": self.port, "clientPortAddress": self.host})
        self.keys.update(CONFIG)
        self.keys.update(ensemble.config)
        if identity in ensemble.observers:
            self.keys["peerType"] = "observer"
        self.keys = {key: value for key, value in self.keys.items() if value is not None}
        self.extra_lines = ensemble.member_lines(identity)
        self.keeps_config = ensemble.config.get("reconfigEnabled") == "true"

    def command(self):
        return self.ensemble.network.wrap(self.identity, super().command())

    def spawn(self):
        os.makedirs(self.data_folder, exist_ok=True)
        with open(os.path.join(self.data_folder, "myid"), "w") as file:
            file.write(f"{self.identity}\n")
        self.paused = False
        super().spawn()

    def ask(self, word, seconds_max=2.0):
        """The answer to a four-letter word, or "" if none comes."""
        if self.paused or not self.alive():
            return ""
        try:
            return four_letters(self.host, self.port, word.encode(), timeout=seconds_max).decode(errors="replace")
        except OSError:
            return ""

    def mode(self):
        """leader, follower, observer, standalone, read-only; None while it does not serve."""
        found = re.search(r"^Mode: (\S+)", self.ask("srvr"), re.MULTILINE)
        return found.group(1) if found else None

    def figures(self):
        """What `mntr` says: name to text."""
        return dict(line.split("\t", 1) for line in self.ask("mntr").splitlines() if "\t" in line)

    def log(self, start=0):
        with open(self.log_file, "rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace")

    def log_length(self):
        return os.path.getsize(self.log_file) if os.path.exists(self.log_file) else 0

    def kill(self):
        self.paused = False
        super().kill()


class Ensemble:
    """See the top of the file. Ids are 1, 2, ... in the order of `kinds`."""

    stand_in = None             # the kind that plays all parts, to test a test

    @classmethod
    def play_as(cls, kind):
        return cls.stand_in or kind

    def __init__(self, kinds, *, observers=(), config=None, network="loopback", jvm_flags=(), plain_jvm_flags=None,
                 folders=None, label="ensemble", initial=None):
        """`initial`: the members of the first configuration (all); the others join by a reconfiguration."""
        self.observers = set(observers)
        self.initial = initial
        self.config = dict(config or {})
        self.jvm_flags = [*JVM_FLAGS, *jvm_flags] if plain_jvm_flags is None else list(plain_jvm_flags)
        self.ids = list(range(1, len(kinds) + 1))
        self.network = NETWORKS[network](self.ids)
        self.folder = tempfile.mkdtemp(prefix=f"zoo-test-{label}-", dir=os.environ.get("ZOO_TEST_TMP"))
        self.started = time.monotonic()
        self.story = []
        self.generation = dict.fromkeys(self.ids, 1)
        self.retired = []
        self.may_end = set()                        # servers whose end by themselves is no surprise
        self.hidden_owners = {}                     # path to the owner of a TTL znode that lasts, see compare.digest
        self._numbers = itertools.count(1)
        self.data_folders = dict(folders or {})     # id to a data folder elsewhere, as on a small disk
        self.members = {identity: self._member(identity, kind) for identity, kind in zip(self.ids, kinds)}

    def _member(self, identity, kind):
        folder = os.path.join(self.folder, f"{identity}-{kind}-{self.generation[identity]}")
        return Member(kind, identity, self, folder, self.data_folders.get(identity))

    def member_lines(self, own):
        """The first configuration as server `own` has it: one that is to join is an observer in its own, and in no other."""
        lines = []
        for identity in self.initial or self.ids:
            role = "observer" if identity in self.observers else "participant"
            lines.append(f"server.{identity}={self.peer_address(identity)}:{role}")
        if self.initial and own not in self.initial:
            lines.append(f"server.{own}={self.peer_address(own)}:observer")
        return lines

    def peer_address(self, identity):
        _, quorum, election = self.network.ports[identity]
        return f"{self.network.host(identity)}:{quorum}:{election}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __getitem__(self, identity):
        return self.members[identity]

    def close(self, keep=False):
        """Ends all and removes what was made."""
        for member in [*self.members.values(), *self.retired]:
            member.kill()
        self.network.close()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def note(self, what):
        """Writes down what was done, for the report of a failure."""
        self.story.append(f"{time.monotonic() - self.started:7.2f} s  {what}")

    def report(self, bytes_max=6000):
        """What was done, and the ends of all logs."""
        parts = ["what was done:", *self.story]
        for member in self.members.values():
            state = "paused" if member.paused else "runs" if member.alive() else "does not run"
            parts.append(f"--- {member.name}, {state}, {member.log_file}:\n{member.log_tail(bytes_max)}")
        return "\n".join(parts)

    # --- what is the case ------------------------------------------------------------------------------

    @property
    def participants(self):
        return [identity for identity in self.ids if identity not in self.observers]

    def running(self):
        return [identity for identity, member in self.members.items() if member.alive() and not member.paused]

    def modes(self):
        return {identity: self.members[identity].mode() for identity in self.running()}

    def leader(self):
        """The id of the server that leads now, or None. Of two that say so (one of them mistaken), the one that others follow."""
        leading = [identity for identity, mode in self.modes().items() if mode == "leader"]
        if len(leading) < 2:
            return leading[0] if leading else None
        return max(leading, key=lambda identity: int(self.members[identity].figures().get("zk_synced_followers", "0")))

    def addresses(self):
        return {identity: (member.host, member.port) for identity, member in self.members.items()}

    # --- waiting ---------------------------------------------------------------------------------------

    def wait(self, what, condition, seconds_max=SERVE_SECONDS_MAX):
        """What `condition()` gives as soon as it is true."""
        deadline = time.monotonic() + seconds_max
        while True:
            value = condition()
            if value:
                return value
            for identity, member in self.members.items():
                if identity not in self.may_end and member.process is not None and member.process.poll() is not None:
                    raise Trouble(f"{member.name} has ended with {member.process.returncode} by itself\n{self.report()}")
            if time.monotonic() > deadline:
                raise Trouble(f"not within {seconds_max:.0f} s: {what}\n{self.report()}")
            time.sleep(POLL_SECONDS)  # the polling interval of a bounded wait

    def wait_leader(self, but=(), seconds_max=SERVE_SECONDS_MAX):
        """Waits until one leads that is none of `but`; its id."""
        def found():
            leader = self.leader()
            return leader if leader not in but else None
        return self.wait(f"a leader that is none of {list(but)}", found, seconds_max)

    def wait_settled(self, seconds_max=SERVE_SECONDS_MAX):
        """Waits until all that run serve, one leads and all others follow it; the leader's id."""
        def settled():
            modes = self.modes()
            leading = [identity for identity, mode in modes.items() if mode == "leader"]
            if len(leading) != 1 or None in modes.values():
                return None
            due = {identity: "observer" if identity in self.observers else "follower" for identity in modes}
            due[leading[0]] = "leader"
            if modes != due:
                return None
            followers = sum(mode == "follower" for mode in modes.values())
            figures = self.members[leading[0]].figures()
            synced = int(figures.get("zk_synced_followers", "-1").split(".")[0])
            return leading[0] if synced >= followers else None
        leader = self.wait("all serve, one leads, the others follow it", settled, seconds_max)
        self.note(f"settled: {self.members[leader].name} leads")
        return leader

    def allow_end(self, identity):
        """From now on this one may end by itself. Returns a function that tells whether it has."""
        self.may_end.add(identity)
        return lambda: not self.members[identity].alive()

    def forbid_end(self, identity):
        self.may_end.discard(identity)

    def sequence(self):
        """A number that was not given before."""
        return next(self._numbers)

    # --- doing -----------------------------------------------------------------------------------------

    def spawn(self, ids=None):
        for identity in ids or self.ids:
            self.note(f"start {self.members[identity].name}")
            self.members[identity].spawn()

    def start(self, ids=None, seconds_max=SERVE_SECONDS_MAX):
        """Starts these (all) and waits until the whole serves; the leader's id."""
        self.spawn(ids)
        return self.wait_settled(seconds_max)

    def kill(self, *ids):
        for identity in ids:
            self.note(f"kill -9 {self.members[identity].name}")
        # All first, then wait: they are to die at one moment.
        for identity in ids:
            process = self.members[identity].process
            if process is not None and process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
        for identity in ids:
            self.members[identity].kill()

    def stop(self, identity):
        """As an operator does: SIGTERM."""
        self.note(f"stop {self.members[identity].name}")
        return self.members[identity].stop()

    def pause(self, *ids):
        for identity in ids:
            self.note(f"SIGSTOP {self.members[identity].name}")
            os.kill(self.members[identity].pid, signal.SIGSTOP)
            self.members[identity].paused = True

    def resume(self, *ids):
        for identity in ids:
            self.note(f"SIGCONT {self.members[identity].name}")
            os.kill(self.members[identity].pid, signal.SIGCONT)
            self.members[identity].paused = False

    def replace(self, identity, kind):
        """Ends a server in order and puts one of another kind in its place, with no data. It is not started."""
        old = self.members[identity]
        if old.process is not None:
            self.stop(identity)
        self.generation[identity] += 1
        self.data_folders.pop(identity, None)
        self.retired.append(old)
        self.members[identity] = self._member(identity, kind)
        self.note(f"{old.name} becomes {self.members[identity].name}")

    def wipe(self, identity):
        """All its data is gone, as with a new disk."""
        member = self.members[identity]
        assert not member.alive(), f"{member.name} runs"
        self.note(f"wipe {member.name}")
        for name in os.listdir(member.data_folder):
            path = os.path.join(member.data_folder, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

    def cut(self, some, others, one_way=False):
        """Nothing goes from `some` to `others` any more, nor back unless `one_way`."""
        self.note(f"cut {sorted(some)} {'->' if one_way else '|'} {sorted(others)}")
        for source in some:
            for target in others:
                self.network.drop(source, target)
                if not one_way:
                    self.network.drop(target, source)

    def heal(self):
        self.note("heal")
        for target in self.ids:
            for source in list(self.network.rules[target]):
                self.network.pass_again(source, target)


