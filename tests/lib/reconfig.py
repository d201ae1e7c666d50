"""Reconfigurations of an ensemble of real servers: asked for as any client does, and what all its members must say behind them.

    reconfig(ensemble, joining={4: "participant"}, leaving=[2])       # asks; waits until all that run say the same
    members(ensemble)                                                 # id to role, as all say

The first configuration names no client ports, as they stand in each zoo.cfg; one who joins, or changes his role, is named with his.
"""

import os
import re
import socket

from client import OK, Client, Gone, Refused
from frames import Op, Reader, path_watch, string
from servers import free_port

RECONFIG = 16
NEW_CONFIG_NO_QUORUM, RECONFIG_IN_PROGRESS = -13, -14
LINE = re.compile(r"^server\.(\d+)=\S+?:(participant|observer)\b", re.MULTILINE)

# `reconfig` needs a super user, or nobody who asks: what is tested here is not who may.
CONFIG = {"reconfigEnabled": "true", "skipACL": "yes"}


class Unexpected(Exception):
    """A reconfiguration has not come about, or not everywhere."""


def line(ensemble, identity, role):
    host, port = ensemble.addresses()[identity]
    return f"server.{identity}={ensemble.peer_address(identity)}:{role};{host}:{port}"


def body(joining, leaving, everyone, version):
    return string(joining) + string(leaving) + string(everyone) + version.to_bytes(8, "big", signed=True)


def ask(ensemble, through, joining=None, leaving=None, everyone=None, version=-1):
    """One request; (error, the configuration's text)."""
    host, port = ensemble.addresses()[through]
    client = Client(host, port, timeout_ms=20_000, answer_seconds=20.0)
    try:
        _, err, answer = client.ask(RECONFIG, body(joining, leaving, everyone, version))
        return err, Reader(answer).buffer().decode() if err == OK else None
    finally:
        client.drop()


def shown(ensemble, identity):
    """The configuration that a member shows, or None."""
    host, port = ensemble.addresses()[identity]
    try:
        client = Client(host, port, connect_seconds=3.0, answer_seconds=5.0)
    except (Gone, Refused):
        return None
    try:
        _, err, answer = client.ask(Op.GET_DATA, path_watch("/zookeeper/config", False))
        return Reader(answer).buffer().decode() if err == OK else None
    except Gone:
        return None
    finally:
        client.drop()


def members(ensemble):
    """What all that run say: id to role; None while they differ."""
    texts = {shown(ensemble, identity) for identity in ensemble.running()}
    if len(texts) != 1 or None in texts:
        return None
    return {int(identity): role for identity, role in LINE.findall(texts.pop())}


def reconfig(ensemble, joining=None, leaving=(), through=None, ports=None):
    """Asks until it is done: another one may be under way, or a joiner not yet in step. Waits until all show it. `ports`: where
    clients find some of those that join from then on."""
    due = dict(ensemble.wait("all show one configuration", lambda: members(ensemble)))
    for identity, port in (ports or {}).items():
        ensemble[identity].port = port
    due.update(joining or {})
    for identity in leaving:
        due.pop(identity, None)
    lines = ",".join(line(ensemble, identity, role) for identity, role in (joining or {}).items()) or None
    gone = ",".join(map(str, leaving)) or None
    ensemble.note(f"reconfig: joining {lines}, leaving {gone}")

    def done():
        try:
            err, _ = ask(ensemble, through or ensemble.wait_leader(), lines, gone)
        except (Gone, Refused):
            # It is not known what came of it: they say.
            return members(ensemble) == due
        if err not in (OK, NEW_CONFIG_NO_QUORUM, RECONFIG_IN_PROGRESS):
            raise Unexpected(f"reconfig joining {lines}, leaving {gone}: error {err}\n{ensemble.report()}")
        return err == OK
    ensemble.wait(f"a reconfiguration to {due} is acknowledged", done)
    for identity in ensemble.ids:
        (ensemble.observers.add if due.get(identity) == "observer" else ensemble.observers.discard)(identity)
    ensemble.wait(f"all show {due}", lambda: members(ensemble) == due)
    return due


def is_open(host, port):
    try:
        socket.create_connection((host, port), timeout=5.0).close()
        return True
    except OSError:
        return False


def growing_and_shrinking(ensemble, load):
    """The scenario that every mixture goes through; the ensemble begins with 1, 2, 3, and 4 waits."""
    wait = ensemble.wait
    ensemble.spawn([4])
    wait("server 4 follows", lambda: ensemble[4].mode() in ("follower", "observer"))
    reconfig(ensemble, {4: "participant"})
    ensemble.wait_settled()
    load.progress()
    # Three of four decide now: without one follower 4's vote is needed.
    leader = ensemble.leader()
    silent = next(identity for identity in (1, 2, 3) if identity != leader)
    ensemble.kill(silent)
    load.progress()
    ensemble.start([silent])
    load.progress()

    # Clients find 4 at another port, and no more at the one before; those that it has stay.
    host, port = ensemble.addresses()[4]
    client = Client(host, port, timeout_ms=20_000)
    reconfig(ensemble, {4: "participant"}, ports={4: free_port()})
    if client.create("/moved")[0] != OK:
        raise Unexpected("a client of the port before is not served any more")
    client.end()
    wait("the port before is closed", lambda: not is_open(host, port))
    load.progress()

    # The leader is taken out: another one leads, and it follows without a vote.
    leader = ensemble.leader()
    reconfig(ensemble, leaving=[leader])
    successor = ensemble.wait_leader(but=[leader, None])
    ensemble.note(f"{successor} leads instead of {leader}")
    ensemble.wait_settled()
    load.progress()
    # And is not missed.
    ensemble.kill(leader)
    load.progress()

    # A voter becomes an observer, through one that is not the leader; then the leader does.
    rest = [identity for identity in ensemble.ids if identity != leader]
    voter = next(identity for identity in rest if identity != ensemble.leader())
    through = next(identity for identity in rest if identity not in (ensemble.leader(), voter))
    reconfig(ensemble, {voter: "observer"}, through=through)
    ensemble.wait_settled()
    load.progress()
    reconfig(ensemble, {voter: "participant"})
    ensemble.wait_settled()
    demoted = ensemble.leader()
    reconfig(ensemble, {demoted: "observer"})
    ensemble.wait_settled()
    load.progress()
    reconfig(ensemble, {demoted: "participant"})
    ensemble.wait_settled()
    load.progress()

    # All of them end at once, and begin with what their files say.
    due = members(ensemble)
    ensemble.kill(*rest)
    ensemble.start(rest)
    load.progress()
    if members(ensemble) != due:
        raise Unexpected(f"after a restart of all: {members(ensemble)} instead of {due}\n{ensemble.report()}")

    # The one that was taken out comes back with the configuration that it once began with, learns better, and joins again. (By
    # the one that it knew last it is no member, and would not start.)
    os.remove(ensemble[leader].config_file)
    ensemble.spawn([leader])
    wait("who was removed follows", lambda: ensemble[leader].mode() in ("follower", "observer"))
    reconfig(ensemble, {leader: "participant"})
    ensemble.wait_settled()
    load.progress()
    return f"{len(due)} members and one back"


# What is refused, and how: (joining, leaving, everyone, version), the error. `{4}` stands for a fourth server's ports on a host of
# its own, `{1}` for the first server's line. As Apache answers; the order of its checks is in the choice of the error.
REFUSED = [
    (("some thing", None, None, -1), -8),
    (("server.4=h:1:2:participant", None, None, -1), -8),       # no client port
    (("server.4=h:1;3", None, None, -1), -8),
    (("server.4=h:1:1;3", None, None, -1), -8),
    (("server.4=h:1:2:voter;3", None, None, -1), -8),
    (("server.4=h:1:x;3", None, None, -1), -8),
    (("server.4=h:1:2=3;3", None, None, -1), -8),
    (("server.x=h:1:2;3", None, None, -1), -5),
    ((None, "x", None, -1), -5),
    ((None, "2,3", None, -1), -8),                              # one voter
    ((None, None, "", -1), -8),
    ((None, None, "server.1=h:1:2", -1), -8),
    ((None, None, "server.1=h:1:2:observer", -1), -5),
    ((None, None, "server.1=h:1:2\nserver.2=h:3:4\ntickTime=5", -1), -8),
    ((None, None, "server.x=h:1:2", -1), -5),
    ((None, "x", None, 7), -103),                               # the version is looked at first
    (("some thing", None, None, 0), -103),
    # A quorum of the new configuration has to be there.
    (("server.7=10.9.9.7:1:2;3,server.8=10.9.9.8:1:2;3,server.9=10.9.9.9:1:2;3", None, None, -1), -13),
    ((None, None, "server.7=10.9.9.7:1:2;3,server.8=10.9.9.8:1:2;3", -1), -13),
    # Two servers at one address.
    (("server.7=10.9.9.7:1:2:observer;3,server.8=10.9.9.7:1:4:observer;5", None, None, -1), -8),
]


def refusals(ensemble, load):
    """Everything that is refused, asked of the leader and of a follower."""
    before = ensemble.wait("all show one configuration", lambda: members(ensemble))
    leader = ensemble.leader()
    follower = next(identity for identity in ensemble.ids if identity != leader)
    wrong = []
    for through in (leader, follower):
        for (joining, leaving, everyone, version), due in REFUSED:
            err, _ = ask(ensemble, through, joining, leaving, everyone, version)
            if err != due:
                wrong.append(f"through {'the leader' if through == leader else 'a follower'}: {joining!r}, {leaving!r}, "
                             f"{everyone!r}, {version}: {err}, it should be {due}")
    if wrong:
        raise Unexpected("\n".join(wrong))
    if members(ensemble) != before:
        raise Unexpected(f"what was refused has changed {before} into {members(ensemble)}")
    # Two that are good: the answer is the configuration, its version the transaction's; a phantom observer harms nobody.
    for through in (leader, follower):
        err, text = ask(ensemble, through, joining="server.9=0.0.0.0:1:2:observer;0.0.0.0:3")
        if err != OK or "server.9=0.0.0.0:1:2:observer;0.0.0.0:3\n" not in text:
            raise Unexpected(f"a phantom observer: {err}, {text}")
        version = int(text.rpartition("version=")[2], 16)
        if ask(ensemble, through, leaving="9", version=version + 1)[0] != -103:
            raise Unexpected("another version was taken for the present one")
        err, text = ask(ensemble, through, leaving=" 9 ,, 77", version=version)
        if err != OK or "server.9" in text or int(text.rpartition("version=")[2], 16) <= version:
            raise Unexpected(f"it leaves: {err}, {text}")
    ensemble.wait(f"all show {before}", lambda: members(ensemble) == before)
    load.progress()
    return f"{len(REFUSED)} refusals"
