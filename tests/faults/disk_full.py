"""The disk is full: writes are refused, reads go on, sessions come and go, nothing acknowledged is lost."""

import contextlib
import os

from common import (NODE_EXISTS, SESSION_MS, SYSTEM_ERROR, Client, Gone, case, mounted, new_server, wait_for)

VALUE_LEN = 64 << 10
# The smallest segment that the server takes: it fills soon.
SMALL_SEGMENTS = {"preAllocSize": 16 << 10, "tickTime": 200, "maxSessionTimeout": SESSION_MS}


def fill(folder):
    """Takes all the room there is, to the last block."""
    with open(os.path.join(folder, "ballast"), "ab") as file:
        for step in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, step)
    free = os.statvfs(folder)
    assert free.f_bavail == 0, f"{free.f_bavail} blocks are still free"


def give_room(folder):
    os.remove(os.path.join(folder, "ballast"))


class Promises:
    """What the server has acknowledged."""

    def __init__(self):
        self.values = {}
        self.number = 0

    def write(self, client, size=VALUE_LEN):
        """One create; its error."""
        self.number += 1
        path, value = f"/n{self.number}", b"%d-" % self.number + os.urandom(size)
        err = client.create(path, value)
        if err == 0:
            self.values[path] = value
        else:
            self.values[path] = None
        return err

    def write_until_refused(self, client, size=VALUE_LEN, count_max=5000):
        for _ in range(count_max):
            if (err := self.write(client, size)) != 0:
                assert err == SYSTEM_ERROR, f"on a full disk a write was answered with {err}"
                return
        raise AssertionError(f"{count_max} writes of {size} bytes found room on a full disk")

    def check(self, server):
        """All of it is there, and nothing that was refused."""
        with Client(server) as client:
            for path, value in self.values.items():
                if value is None:
                    assert not client.exists(path), f"{path} was refused, and is there"
                else:
                    found = client.get(path)
                    assert found == value, f"{path} was acknowledged; now: {found if isinstance(found, int) else 'other data'}"


def writes_resume(promises, client):
    wait_for("writes are taken again when there is room", lambda: promises.write(client, 100) == 0)


@case
def disk_full_while_writing():
    """Writes are refused with SYSTEMERROR, reads and new sessions go on, writes resume; kill -9 loses nothing."""
    promises = Promises()
    with mounted("ext4") as disk, new_server(SMALL_SEGMENTS | {"dataDir": f"{disk}/data"}) as server:
        server.start()
        writer = Client(server)
        for _ in range(20):
            assert promises.write(writer) == 0
        fill(disk)
        promises.write_until_refused(writer)
        # What is left of the log takes smaller ones still.
        promises.write_until_refused(writer, 10)
        refused_after = len(promises.values)
        # Still refused, still the same connection, and everything else goes on.
        for _ in range(5):
            assert promises.write(writer, 10) == SYSTEM_ERROR
        assert writer.set("/n1", b"other") == SYSTEM_ERROR
        assert writer.delete("/n1") == SYSTEM_ERROR
        assert writer.get("/n1") == promises.values["/n1"]
        assert writer.ping() == 0
        for _ in range(50):
            with Client(server) as other:
                assert not other.refused
                assert other.get("/n2") == promises.values["/n2"]
        promises.check(server)
        assert "the disk is full" in server.log(), server.log_tail()
        give_room(disk)
        writes_resume(promises, writer)
        for _ in range(20):
            assert promises.write(writer) == 0
        assert "there is room" in server.log(), server.log_tail()
        promises.check(server)
        server.kill()
        server.start()
        promises.check(server)
        assert Client(server, session=writer.session, password=writer.password).refused is False, "the session is lost"
        server.check_healthy()
        acknowledged = sum(value is not None for value in promises.values.values())
        print(f"FIGURE disk full: refused with SYSTEMERROR after {refused_after} writes, resumed, {acknowledged} "
              f"acknowledged writes of up to 64 KiB all there, also after kill -9")


@case
def disk_full_restart():
    """Killed and started again on a full disk, it serves all it promised; ended in order too; then there is room."""
    promises = Promises()
    with mounted("ext4") as disk, new_server(SMALL_SEGMENTS | {"dataDir": f"{disk}/data"}) as server:
        server.start()
        writer = Client(server)
        for _ in range(20):
            assert promises.write(writer) == 0
        fill(disk)
        promises.write_until_refused(writer)
        server.kill()
        fill(disk)
        server.start()
        promises.check(server)
        again = Client(server, session=writer.session, password=writer.password)
        assert not again.refused, "the session is lost"
        promises.write_until_refused(again)
        code, _ = server.stop()
        assert code == 0, f"ended with {code} on a full disk:\n{server.log_tail()}"
        fill(disk)
        server.start()
        promises.check(server)
        give_room(disk)
        again = Client(server, session=writer.session, password=writer.password)
        assert not again.refused, "the session is lost"
        writes_resume(promises, again)
        server.kill()
        server.start()
        promises.check(server)
        server.check_healthy()


@case
def disk_full_empty_folder():
    """A first start with no room for a log: a clear word, or a server that refuses writes; and none of it sticks."""
    with mounted("ext4", 32) as disk, new_server(SMALL_SEGMENTS | {"dataDir": f"{disk}/data"}) as server:
        fill(disk)
        ballast = os.path.join(disk, "ballast")
        os.truncate(ballast, os.path.getsize(ballast) - (2 << 20))
        server.spawn()
        served = wait_for("serves or ends", lambda: not server.alive() or server.serves())
        assert served
        if server.alive():
            with contextlib.suppress(Gone):
                with Client(server) as client:
                    assert client.create("/a", b"") == SYSTEM_ERROR
        else:
            code = server.wait_ended()
            assert code != 0 and "no space left" in server.log(), server.log_tail()
        server.check_no_panic()
        give_room(disk)
        if not server.alive():
            server.kill()
            server.start()
        client = wait_for("a session", lambda: session_or_none(server))
        wait_for("a write", lambda: client.create("/a", b"") in (0, NODE_EXISTS))
        server.kill()
        server.start()
        with Client(server) as client:
            assert client.get("/a") == b""
        server.check_healthy()


def session_or_none(server):
    try:
        return Client(server)
    except Gone:
        return None


@case
def disk_full_at_snapshot():
    """A snapshot finds no room: it is given up and leaves nothing behind, the log goes on, the next one succeeds."""
    promises = Promises()
    config = SMALL_SEGMENTS | {"snapCount": 200}
    with mounted("ext4") as disk, new_server(config | {"dataDir": f"{disk}/data"}) as server:
        server.start()
        writer = Client(server)
        # A tree too big for what will be left, made without reaching a snapshot.
        for _ in range(60):
            assert promises.write(writer, 256 << 10) == 0
        fill(disk)
        take = os.path.join(disk, "ballast")
        # Room for a part of a snapshot, not for another segment.
        os.truncate(take, os.path.getsize(take) - (3 << 20))

        def given_up():
            for _ in range(20):
                assert promises.write(writer, 100) == 0, "the log has room of its own"
            return "snapshot given up" in server.log()

        wait_for("a snapshot is given up", given_up)
        folder = os.path.join(disk, "data", "zoo-1")
        wait_for("nothing of it is left", lambda: not [n for n in os.listdir(folder) if "tmp" in n or "temp" in n])
        snapshots = [name for name in os.listdir(folder) if name.startswith("snapshot")]
        assert promises.write(writer, 100) == 0
        promises.check(server)
        server.kill()
        server.start()
        promises.check(server)
        give_room(disk)
        writer = Client(server)

        def snapshot_written():
            for _ in range(20):
                assert promises.write(writer, 100) == 0
            return [n for n in os.listdir(folder) if n.startswith("snapshot") and n not in snapshots and "tmp" not in n]

        wait_for("a snapshot is written when there is room", snapshot_written)
        server.kill()
        server.start()
        promises.check(server)
        server.check_healthy()
