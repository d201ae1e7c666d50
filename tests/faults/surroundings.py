"""Where it runs: users, limits, file systems, containers, folders and ports that are taken, configurations that are wrong."""

import os
import shutil
import socket

from common import Client, case, mounted, new_server, say_no_panic, temporary_folder, wait_for
from servers import ROOT

NOBODY = 65534
KIB, MIB = 1 << 10, 1 << 20


def limit_of(server, name):
    """(soft, hard) of a limit, as /proc shows it."""
    with open(f"/proc/{server.pid}/limits") as file:
        line = next(line for line in file if line.startswith(name))
    soft, hard = line[len(name):].split()[:2]
    return int(soft), int(hard)


def serves_and_keeps(server):
    """One write that is there again after a kill."""
    with Client(server) as client:
        assert client.create("/kept", b"yes") == 0
    server.kill()
    server.start()
    with Client(server) as client:
        assert client.get("/kept") == b"yes"
    server.check_healthy()


@case
def ordinary_user():
    """As nobody, with 8 MiB of locked memory and 1,024 files: serves, and raises the files to the hard limit."""
    launch = ["--limit", "MEMLOCK", str(8 * MIB), str(8 * MIB), "--limit", "NOFILE", "1024", "4096"]
    with temporary_folder() as folder:
        os.chmod(folder, 0o755)
        # The build may lie where this user cannot look.
        binary = shutil.copy(os.environ.get("ZOO_SERVER", f"{ROOT}/target/release/zoo-server"), f"{folder}/zoo-server")
        os.chmod(binary, 0o755)
        inner = f"{folder}/server"
        os.makedirs(f"{inner}/data")
        if os.geteuid() == 0:
            launch += ["--user", str(NOBODY)]
            for path in (inner, f"{inner}/data"):
                os.chown(path, NOBODY, NOBODY)
        with new_server(launch=launch, binary=binary, folder=inner) as server:
            server.start()
            assert limit_of(server, "Max open files") == (4096, 4096), limit_of(server, "Max open files")
            assert limit_of(server, "Max locked memory") == (8 * MIB, 8 * MIB)
            if os.geteuid() == 0:
                assert os.stat(f"/proc/{server.pid}").st_uid == NOBODY
            serves_and_keeps(server)
            assert "WARN" not in server.log() and "ERROR" not in server.log(), server.log_tail()


@case
def too_little_locked_memory():
    """As nobody with 16 KiB of locked memory: serves all the same, or says which limit to raise."""
    if os.geteuid() != 0:
        launch = ["--limit", "MEMLOCK", str(16 * KIB), str(16 * KIB)]
    else:
        launch = ["--limit", "MEMLOCK", str(16 * KIB), str(16 * KIB), "--user", str(NOBODY)]
    with temporary_folder() as folder:
        os.chmod(folder, 0o755)
        binary = shutil.copy(os.environ.get("ZOO_SERVER", f"{ROOT}/target/release/zoo-server"), f"{folder}/zoo-server")
        os.chmod(binary, 0o755)
        inner = f"{folder}/server"
        os.makedirs(f"{inner}/data")
        if os.geteuid() == 0:
            for path in (inner, f"{inner}/data"):
                os.chown(path, NOBODY, NOBODY)
        with new_server(launch=launch, binary=binary, folder=inner) as server:
            code, said = server.fails_to_start()
            assert code > 0 and "ulimit -l" in said, (code, said)
            say_no_panic(said)


@case
def file_system_without_o_direct():
    """On ramfs, which refuses O_DIRECT, it says so, works, and keeps what it promised over a kill."""
    with mounted("ramfs") as disk, new_server({"dataDir": f"{disk}/data"}) as server:
        server.start()
        said = server.log()
        assert "refuses O_DIRECT" in said and "page cache" in said, said
        serves_and_keeps(server)


@case
def tmpfs():
    """On tmpfs it works, with or without O_DIRECT (kernels differ)."""
    with mounted("tmpfs") as disk, new_server({"dataDir": f"{disk}/data"}) as server:
        server.start()
        serves_and_keeps(server)


@case
def io_uring_forbidden():
    """Where io_uring is forbidden, as in many containers, it says what to allow and ends."""
    for error in ("EPERM", "ENOSYS"):
        with new_server(launch=["--refuse", "io_uring_setup", error]) as server:
            code, said = server.fails_to_start()
            assert code > 0, f"{error}: {code}"
            assert "io_uring" in said and "seccomp" in said and "io_uring_setup" in said, said
            say_no_panic(said)
            # Nothing was begun: the same folder serves where it is allowed.
            server.launch = []
            server.start()
            server.check_healthy()


@case
def two_servers_one_folder():
    """A second server on a data folder is refused, and names the first; the first is not disturbed."""
    with new_server() as first:
        first.start()
        with new_server({"dataDir": first.data_folder}) as second:
            code, said = second.fails_to_start()
            assert code > 0 and "in use by" in said and f"process {first.pid}" in said, (code, said)
            say_no_panic(said)
            first.check_healthy()
            # The lock goes with its process, however that ends.
            first.kill()
            second.start()
            second.check_healthy()


@case
def port_in_use():
    """A port that is taken: the error names it, whoever has it."""
    with new_server() as first:
        first.start()
        with new_server({"clientPort": first.port}) as second:
            code, said = second.fails_to_start()
            assert code > 0 and f":{first.port}" in said and "already in use" in said and "clientPort" in said, said
            say_no_panic(said)
        first.check_healthy()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with new_server({"clientPort": other.getsockname()[1]}) as server:
            code, said = server.fails_to_start()
            assert code > 0 and "already in use" in said, said


@case
def data_folder_that_cannot_be_used():
    """Not writable, a file in its place, a read-only file system: a clear error with its path, and no panic."""
    with temporary_folder() as folder:
        in_the_way = f"{folder}/file"
        with open(in_the_way, "w") as file:
            file.write("no folder\n")
        places = [in_the_way, f"{in_the_way}/data", "/proc/zoo-data"]
        for place in places:
            with new_server({"dataDir": place}) as server:
                code, said = server.fails_to_start()
                assert code == 3 and place in said and "what to do" in said, (code, said)
                say_no_panic(said)
    if os.geteuid() == 0:
        with temporary_folder() as folder:
            os.chmod(folder, 0o755)
            binary = shutil.copy(os.environ.get("ZOO_SERVER", f"{ROOT}/target/release/zoo-server"), f"{folder}/zoo-server")
            os.chmod(binary, 0o755)
            os.makedirs(f"{folder}/data/zoo-1")  # root's: nobody may look, and not write
            with new_server({"dataDir": f"{folder}/data"}, launch=["--user", str(NOBODY)], binary=binary) as server:
                os.chmod(server.folder, 0o755)
                code, said = server.fails_to_start()
                assert code == 3 and f"{folder}/data" in said and "ermission denied" in said, (code, said)
                say_no_panic(said)


@case
def log_folder_that_is_not_mounted():
    """An empty folder in the place of dataLogDir, with and without a snapshot: refused, and nothing is lost when it is back."""
    with temporary_folder() as folder:
        log, away = f"{folder}/log", f"{folder}/away"
        os.mkdir(log)
        with new_server({"dataLogDir": log, "snapCount": 100}) as server:
            server.start()
            for writes in (1, 300):
                with Client(server) as client:
                    for number in range(writes):
                        assert client.create(f"/{writes}-{number}", b"yes") == 0
                ours = f"{server.data_folder}/zoo-1"

                def has_snapshot(ours=ours):
                    return any(name.startswith("snapshot.") and "." not in name[9:] for name in os.listdir(ours))

                if writes == 1:
                    assert not has_snapshot()
                else:
                    wait_for("a snapshot", has_snapshot)
                server.kill()
                os.rename(log, away)
                os.mkdir(log)
                for _ in range(2):
                    code, said = server.fails_to_start()
                    assert code == 3 and f"{log}/zoo-1" in said and "holds no log" in said and "mounted" in said, (code, said)
                    say_no_panic(said)
                shutil.rmtree(log)
                os.rename(away, log)
                server.start()
                with Client(server) as client:
                    assert client.get(f"/{writes}-{writes - 1}") == b"yes"
            server.check_healthy()


@case
def wrong_configurations():
    """Each mistake in zoo.cfg is said with its key and its line, and ends with code 2 before anything is made."""
    mistakes = [({"tickTime": "soon"}, "tickTime"), ({"clientPort": "70000"}, "clientPort"), ({"clientPort": "x"}, "clientPort"),
                ({"dataDir": None}, "dataDir"), ({"maxClientCnxns": "many"}, "maxClientCnxns"),
                ({"minSessionTimeout": 9000, "maxSessionTimeout": 8000}, "essionTimeout"),
                ({"clientPortAddress": "no.such.host.invalid"}, "no.such.host.invalid"),
                ({"server.1": "127.0.0.1:2888:3888", "server.2": "127.0.0.1:2889:3889",
                  "initLimit": 10, "syncLimit": 5}, "nsemble")]
    for keys, word in mistakes:
        with new_server(keys) as server:
            code, said = server.fails_to_start()
            assert code == 2 and word in said, (keys, code, said)
            assert "where:" in said and "what to do:" in said, said
            say_no_panic(said)
            assert not os.path.exists(f"{server.data_folder}/zoo-1"), f"{keys}: a folder was made"
    with new_server() as server:
        server.spawn()
        server.kill()
        os.remove(server.config_file)
        server.command = lambda: [os.environ.get("ZOO_SERVER", f"{ROOT}/target/release/zoo-server"), "run", "/no/such/zoo.cfg"]
        code, said = server.fails_to_start()
        assert code == 2 and "/no/such/zoo.cfg" in said, (code, said)
