"""Thousands of sessions that do nothing, or only ping."""

import os
import resource
import time

from common import (CLOSED, SESSION_MS, SILENT, WAIT_SECONDS_MAX, Client, Op, Skip, Socket, case, connect_request, frame,
                    new_server, request)
from frames import Reader

SESSIONS = 5000
WINDOW_SECONDS = 10.0
GROWTH_MB_MAX = 100
CPU_MAX = 0.02          # of one core: the aim
# What is asserted: the machine runs other things, which makes everything cost more. Pings are work, not idleness.
CPU_SILENT_MAX, CPU_PINGING_MAX = 0.06, 0.15


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_sessions(server, count):
    """Sockets with a session each."""
    sockets = []
    for start in range(0, count, 250):
        some = [Socket(server.host, server.port, timeout=WAIT_SECONDS_MAX) for _ in range(min(250, count - start))]
        for socket in some:
            socket.send(frame(connect_request(timeout=SESSION_MS, read_only=False)))
        for socket in some:
            answer = socket.receive(WAIT_SECONDS_MAX)
            assert answer not in (CLOSED, SILENT), f"session {len(sockets)}: {answer}"
            reader = Reader(answer)
            reader.i32()
            assert reader.i32() == SESSION_MS
            sockets.append(socket)
    return sockets


@case
def idle_sessions():
    """5,000 connected sessions: less than 100 MB, and next to no CPU, silent or pinging as clients do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < SESSIONS + 500:
        raise Skip(f"only {hard} files may be open, {SESSIONS + 500} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, SESSIONS + 500), hard))
    with new_server({"maxClientCnxns": 0}) as server:
        server.start()
        server.check_healthy()
        before = server.rss()
        begin = time.monotonic()
        sockets = open_sessions(server, SESSIONS)
        opened = time.monotonic() - begin
        assert server.connections() == SESSIONS
        # Silent. The window is short enough for nobody to expire.
        start, cpu = time.monotonic(), cpu_seconds(server.pid)
        time.sleep(WINDOW_SECONDS)  # the window that is measured
        silent = (cpu_seconds(server.pid) - cpu) / (time.monotonic() - start)
        # Pinging, each once in a third of its timeout, evenly: what clients' libraries do.
        ping = frame(request(-2, Op.PING))
        start, cpu, pinged = time.monotonic(), cpu_seconds(server.pid), 0
        while (passed := time.monotonic() - start) < WINDOW_SECONDS:
            due = min(int(passed * SESSIONS / (SESSION_MS / 3000)), SESSIONS)
            while pinged < due:
                assert sockets[pinged].send(ping)
                pinged += 1
            time.sleep(0.005)  # the pace of the pings
        pinging = (cpu_seconds(server.pid) - cpu) / (time.monotonic() - start)
        for socket in sockets[:pinged]:
            assert len(socket.receive(WAIT_SECONDS_MAX)) == 16, "a ping was not answered"
        grown = server.rss() - before
        assert server.connections() == SESSIONS, "some are lost"
        for socket in sockets:
            socket.close(reset=True)
        with Client(server) as client:
            assert client.create("/after", b"") == 0
        server.check_healthy()
        print(f"FIGURE idle: {SESSIONS} sessions (opened in {opened:.1f} s) cost {grown:.0f} MB; CPU of one core: "
              f"{silent:.1%} silent, {pinging:.1%} with {pinged / WINDOW_SECONDS:.0f} pings/s")
        assert grown < GROWTH_MB_MAX, f"{SESSIONS} sessions cost {grown:.0f} MB"
        assert silent < CPU_SILENT_MAX, f"{SESSIONS} silent sessions cost {silent:.1%} of a core, the aim is {CPU_MAX:.0%}"
        assert pinging < CPU_PINGING_MAX, f"{SESSIONS} pinging sessions cost {pinging:.1%} of a core"
