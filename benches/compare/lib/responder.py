"""What latency costs here without a server: answers from templates, by the responder of `benches/generator`.

A fixed rate's percentiles are made of what the server does and of what the machine does to any process: cores that the
host takes away, threads that wait for one. The same load against a server that does nothing shows the second part.
"""

import json
import os
import subprocess

from sides import ROOT


def binary():
    """Builds it if need be."""
    if told := os.environ.get("ZOO_RESPONDER"):
        return told
    command = ["cargo", "build", "--release", "--bench", "generator", "--message-format", "json", "-q"]
    lines = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
    built = [json.loads(line) for line in lines]
    return next(one["executable"] for one in built if one.get("executable") and one["target"]["name"] == "generator")


class Responder:
    """Answers while the block runs, at `hosts`."""

    def __enter__(self):
        self.process = subprocess.Popen(
            [binary(), "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        address = self.process.stdout.readline().strip()
        if not address:
            self.process.wait()
            raise RuntimeError(f"the responder ended with {self.process.returncode}")
        self.hosts = [address]
        return self

    def __exit__(self, *_):
        self.process.communicate()
