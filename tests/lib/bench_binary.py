"""Builds one of `benches/`, and says where it lies: cargo gives a bench's binary a name of its own choice."""

import json
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def bench_binary(bench, variable=None):
    """The path of the binary of `bench`; that which the environment's `variable` names, if it does."""
    if told := os.environ.get(variable or ""):
        return told
    command = ["cargo", "build", "--release", "--bench", bench, "--message-format", "json", "-q"]
    lines = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
    built = [json.loads(line) for line in lines]
    return next(one["executable"] for one in built if one.get("executable") and one["target"]["name"] == bench)
