"""The device's own latency: fio writes 4 KiB and makes it durable, one at a time, where the servers have their data.

Both ways that a log can do it are measured, into blocks that were written before: a write and an fdatasync, and a write
through (DSYNC). The quicker of the two is the limit.
"""

import json
import os
import subprocess
from contextlib import contextmanager

WAYS = {"write + fdatasync": ["--fdatasync=1"], "DSYNC": ["--sync=dsync"]}
FILE_LEN = "64m"


def _run(file, seconds, words):
    command = [
        "fio",
        "--name=device",
        f"--filename={file}",
        f"--size={FILE_LEN}",
        "--rw=write",
        "--bs=4k",
        "--direct=1",
        "--ioengine=psync",
        "--overwrite=1",
        "--time_based",
        f"--runtime={seconds}",
        "--output-format=json",
        "--percentile_list=50:99:99.5",
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-1000:]}")
    return json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]


@contextmanager
def _scratch(folder):
    """A file that is gone behind the block."""
    file = os.path.join(folder, "fio.dat")
    try:
        yield file
    finally:
        if os.path.exists(file):
            os.remove(file)


def write_and_sync_us(folder, seconds):
    """Median of one durable write of 4 KiB, in microseconds, by the way it was done."""
    with _scratch(folder) as file:
        medians = {}
        for way, words in WAYS.items():
            job = _run(file, seconds, words)
            nanos = job["write"]["clat_ns"]["percentile"]["50.000000"]
            if "--fdatasync=1" in words:
                nanos += job["sync"]["lat_ns"]["percentile"]["50.000000"]
            medians[way] = nanos / 1000
        return medians


def tail_us(folder, seconds):
    """What one durable write of 4 KiB (DSYNC) in a hundred, and in two hundred, takes at least, in microseconds."""
    with _scratch(folder) as file:
        told = _run(file, seconds, WAYS["DSYNC"])["write"]["clat_ns"]["percentile"]
        return told["99.000000"] / 1000, told["99.500000"] / 1000
