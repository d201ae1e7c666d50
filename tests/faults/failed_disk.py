"""A write or a sync fails: the server says so and ends; what it acknowledged is there at the next start."""

import os
import signal

from common import OPEN, Client, Gone, Op, case, create_body, new_server, say_no_panic, wait_for

WINDOW = 32          # requests on their way at one time
REQUESTS_MAX = 20_000
# Which operation of the disk fails. The first few belong to the start and the first segment, later ones to the load: its
# appends, zeros written ahead, markers, snapshots.
FAULTS = ("write:1", "sync:1", "sync:2", "write:3", "sync:5", "write:20", "sync:40", "write:150", "sync:120", "full:60",
          "panic:80")


def load(server):
    """Creates znodes, pipelined, until the server is gone: (acknowledged, refused)."""
    acknowledged, refused = [], []
    try:
        client = Client(server)
    except (Gone, OSError):
        return acknowledged, refused
    sent = taken = 0
    try:
        while taken < REQUESTS_MAX:
            while sent - taken < WINDOW:
                if not client.push(Op.CREATE, create_body(f"/n{sent}", b"%d" % sent * 100, OPEN, 0)):
                    break
                sent += 1
            _, err, _ = client.take()
            (acknowledged if err == 0 else refused).append(taken)
            taken += 1
    except Gone:
        pass
    client.socket.close()
    return acknowledged, refused


def fails_and_recovers(fault):
    """(acknowledged, found again, what the server said)."""
    config = {"preAllocSize": 16 << 10, "snapCount": 400}
    with new_server(config, environment={"ZOO_FAULT": fault}) as server:
        server.spawn()
        wait_for("serves or ends", lambda: not server.alive() or server.serves())
        acknowledged, refused = load(server) if server.alive() else ([], [])
        code = server.wait_ended()
        said = server.log()
        # A panic aborts.
        assert code > 0 or (code == -signal.SIGABRT and fault.startswith("panic")), f"{fault}: ended with {code}:\n{said}"
        # Every fault says so itself, but for "no space left", which has no words of a test's.
        reason = "no space left" if fault.startswith("full") else "injected by a test"
        assert reason in said and "zoo-server: " in said, f"{fault}: no clear message:\n{said}"
        if fault.startswith("panic"):
            assert "please report it" in said, said
        else:
            say_no_panic(said)
        assert not refused, f"{fault}: {len(refused)} requests were refused by a server that ends"
        server.environment = {}
        os.remove(server.log_file)
        server.start()
        with Client(server) as client:
            for number in acknowledged:
                value = client.get(f"/n{number}")
                assert value == b"%d" % number * 100, f"{fault}: /n{number} was acknowledged; now: {value}"
            # What was on its way may be there, as far as some point and no further.
            found = len(acknowledged)
            while client.exists(f"/n{found}"):
                found += 1
            assert found <= len(acknowledged) + WINDOW, f"{fault}: {found} are there, {len(acknowledged)} acknowledged"
            for number in range(found, found + WINDOW):
                assert not client.exists(f"/n{number}"), f"{fault}: /n{number} is there, /n{found} is not"
        server.check_healthy()
        return len(acknowledged), found


@case
def failed_writes_and_syncs():
    """An injected EIO ends the server with a message and a code; the next start has everything acknowledged."""
    results = []
    for fault in FAULTS:
        acknowledged, found = fails_and_recovers(fault)
        results.append((fault, acknowledged, found))
    assert any(acknowledged > 100 for _, acknowledged, _ in results), f"no fault came in the middle of the load: {results}"
    listed = ", ".join(f"{fault} {acknowledged}/{found}" for fault, acknowledged, found in results)
    print(f"FIGURE failed disk: message, exit code and recovery for {len(results)} faults (acknowledged/found: {listed})")


@case
def failed_disk_fails_again():
    """A disk that still fails at the next start is said to at once; a third start without the fault serves."""
    with new_server({"preAllocSize": 16 << 10}, environment={"ZOO_FAULT": "sync:30"}) as server:
        server.start()
        acknowledged, _ = load(server)
        assert server.wait_ended() > 0
        server.environment = {"ZOO_FAULT": "sync:1"}
        code, said = server.fails_to_start()
        assert code > 0 and "injected by a test" in said, said
        say_no_panic(said)
        server.environment = {}
        server.start()
        with Client(server) as client:
            assert acknowledged and all(client.get(f"/n{n}") == b"%d" % n * 100 for n in acknowledged)


@case
def fault_variable_is_checked():
    """A ZOO_FAULT that means nothing is refused, not ignored."""
    with new_server(environment={"ZOO_FAULT": "write"}) as server:
        code, said = server.fails_to_start()
        assert code == 2 and "ZOO_FAULT" in said, (code, said)
