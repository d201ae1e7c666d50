"""Runs `zoo-server bench`, and reads its result.

    from load import Load
    load = Load(binary, folder)                            # the folder gets a JSON file for each run
    result = load.run("get", ["127.0.0.1:2181"], name="reads apache 1", connections=32, outstanding=32)
    result["per_second"], result["latency_us"]["p99"], result["timeline"]

Options are those of the command, with `_` for `-`; True is a switch. A run with errors or wrong answers is `Failed`,
unless `tolerant=True`, for work in which errors are part of what is measured.
"""

import json
import os
import re
import subprocess

ROOT = "/bench"
PATIENCE_SECONDS = 600


class Failed(Exception):
    """The load could not do what was asked; the message has its words."""


class Running:
    """A load that goes on in the background."""

    def __init__(self, process, file, name):
        self.process, self.file, self.name = process, file, name

    def result(self, tolerant=False):
        """Waits for its end."""
        try:
            out, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.stop()
            raise Failed(f"{self.name}: not done within {PATIENCE_SECONDS} s") from None
        result = None
        if os.path.exists(self.file):
            with open(self.file) as file:
                result = json.load(file)
        if result is None or (self.process.returncode != 0 and not tolerant):
            told = f", errors {result['errors']}, wrong answers {result['wrong']}" if result else ""
            raise Failed(f"{self.name}: exit code {self.process.returncode}{told}\n{out[-3000:]}")
        return result

    def stop(self):
        self.process.kill()
        self.process.communicate()


class Load:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.files = []  # of the runs that came to an end, for the report
        os.makedirs(folder, exist_ok=True)

    def start(self, work, hosts, *, name, **options):
        """Begins a run; `Running.result` waits for it."""
        file = os.path.join(self.folder, re.sub(r"[^A-Za-z0-9.]+", "-", name) + ".json")
        if os.path.exists(file):
            os.remove(file)
        command = [
            self.binary,
            "bench",
            work,
            "--hosts",
            ",".join(hosts),
            "--name",
            name,
            "--quiet",
            "--root",
            ROOT,
            "--json",
            file,
        ]
        for key, value in options.items():
            word = "--" + key.replace("_", "-")
            if value is True:
                command.append(word)
            elif value is not None and value is not False:
                command += [word, str(value)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return Running(process, file, name)

    def run(self, work, hosts, *, name, tolerant=False, report=True, **options):
        running = self.start(work, hosts, name=name, **options)
        try:
            result = running.result(tolerant)
        except BaseException:
            if running.process.poll() is None:
                running.stop()
            raise
        if report:
            self.files.append(running.file)
        return result

    def prepare(self, hosts, *, keys, data=100):
        """Makes the znodes, and leaves them there for runs with `reuse`."""
        # The servers answer to many creates at once; how many does not matter here.
        command = [
            self.binary,
            "bench",
            "get",
            "--hosts",
            ",".join(hosts),
            "--root",
            ROOT,
            "--keys",
            str(keys),
            "--data",
            str(data),
            "--connections",
            "8",
            "--outstanding",
            "128",
            "--prepare-only",
            "--keep",
            "--quiet",
        ]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
        if done.returncode != 0:
            raise Failed(f"making {keys} znodes: exit code {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}")

    def report(self, target, files=None):
        """One HTML page over the runs."""
        files = [file for file in (files or self.files) if os.path.exists(file)]
        if not files:
            return None
        done = subprocess.run(
            [self.binary, "bench", "report", *files, "-o", target], capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode != 0:
            raise Failed(f"the report: {done.stdout[-1500:]}{done.stderr[-1500:]}")
        return target
