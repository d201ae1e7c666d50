"""What latency costs here without a server: answers from templates, by the responder of `benches/generator`.

A fixed rate's percentiles are made of what the server does and of what the machine does to any process: cores that the
host takes away, threads that wait for one. The same load against a server that does nothing shows the second part.
"""

import subprocess

import sides  # noqa: F401  (which leads to tests/lib)
from bench_binary import bench_binary


class Responder:
    """Answers while the block runs, at `hosts`."""

    def __enter__(self):
        self.process = subprocess.Popen(
            [bench_binary("generator", "ZOO_RESPONDER"), "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        address = self.process.stdout.readline().strip()
        if not address:
            self.process.wait()
            raise RuntimeError(f"the responder ended with {self.process.returncode}")
        self.hosts = [address]
        return self

    def __exit__(self, *_):
        self.process.communicate()
