"""What is done to measure the rows. A stage starts servers, lays load on them, and puts figures into `Samples`.

Each stage runs once a round for each kind, Apache's and ours in turn; only the server that is measured runs.
"""

import os
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass

import device
import echo
from responder import Responder
from rows import SWEEP
from sides import NAMES, ROOT, One, Three

KEYS = 1000
MANY = 1_000_000
DATA = 100
# The fixed rate, for both: one write in five.
RATE, WRITE_PERCENT = 20_000, 20
RATE_LEAST = 1_000
# While snapshots are looked at. One is begun as soon as the last is done: this many writes come in less than a second.
SNAPSHOT_RATE, SNAPSHOT_SNAP_COUNT = 10_000, 1_000
NEVER = 100_000_000


@dataclass
class Times:
    """Seconds."""

    warm_up: float  # enough for the Java virtual machine to compile what is hot
    measure: float
    short: float  # one point of a sweep
    rate: float  # long enough that snapshots and collections fall into it
    device: float

    @classmethod
    def full(cls):
        return cls(warm_up=4, measure=6, short=2, rate=30, device=2)

    @classmethod
    def quick(cls):
        return cls(warm_up=1.5, measure=2, short=0.7, rate=5, device=1)


def seconds(value):
    return f"{round(value * 1000)}ms"


class Stages:
    def __init__(self, load, samples, times, wanted, say):
        self.load, self.samples, self.times, self.say = load, samples, times, say
        self.wanted = wanted  # names of rows
        self.rate = RATE

    # --- one server, few znodes ------------------------------------------------------------------------

    def one(self, kind, number):
        with One(kind) as server:
            self.load.prepare(server.hosts, keys=KEYS, data=DATA)
            for row, work in (("reads", "get"), ("writes", "set")):
                if row in self.wanted:
                    self._throughput(row, work, server, kind, number)
            if "lone" in self.wanted:
                self._lone(server, kind, number)
            if "sweep" in self.wanted:
                self._sweep(server, kind, number)

    def _run(self, work, server, label, **options):
        return self.load.run(
            work,
            server.hosts,
            name=label,
            data=DATA,
            reuse=True,
            keep=True,
            **{
                "keys": KEYS,
                "connections": 32,
                "outstanding": 32,
                "warm_up": seconds(self.times.warm_up),
                "duration": seconds(self.times.measure),
                "seed": 1,
                **options,
            },
        )

    def _throughput(self, row, work, server, kind, number):
        result = self._run(work, server, f"{row} {kind} {number}")
        self.samples.add(row, kind, result["per_second"])
        self.say(
            f"{row:14} {kind:7} {result['per_second']:>11,.0f} /s  p50 {result['latency_us']['p50']:.0f} us  "
            f"p99 {result['latency_us']['p99']:.0f} us"
        )

    def _lone(self, server, kind, number):
        """In slices, the device beside ours, so that both see the same neighbours."""
        medians, devices = [], []
        for part in (1, 2, 3):
            result = self._run(
                "set",
                server,
                f"lone {kind} {number}.{part}",
                connections=1,
                outstanding=1,
                warm_up=seconds(self.times.warm_up if part == 1 else 0.2),
                duration=seconds(self.times.short),
            )
            medians.append(result["latency_us"]["p50"])
            if kind == "zoo":
                told = device.write_and_sync_us(server.folder, self.times.device)
                devices.append(min(told.values()))
                self.samples.add("echo", "device", echo.round_trip_us(self.times.device))
                for way, median in told.items():
                    self.samples.add(f"device {way}", "device", median)
        self.samples.add("lone", kind, statistics.median(medians))
        beside = ""
        if devices:
            self.samples.add("lone", "device", statistics.median(devices))
            beside = f"  the device's write and sync {statistics.median(devices):.0f} us"
        self.say(f"{'lone':14} {kind:7} {statistics.median(medians):>8.0f} us{beside}")

    def _sweep(self, server, kind, number):
        told = []
        for work in ("get", "set"):
            for clients in SWEEP:
                # The Java machine has been warm since the rows before, or is warmed here.
                warm_up = self.times.warm_up if clients == SWEEP[0] and not {"reads", "writes"} & self.wanted else 0.3
                result = self._run(
                    work,
                    server,
                    f"sweep {work} {clients} {kind} {number}",
                    report=False,
                    connections=clients,
                    outstanding=1,
                    warm_up=seconds(warm_up),
                    duration=seconds(self.times.short),
                )
                self.samples.add(f"sweep {work} {clients}", kind, result["per_second"])
                told.append(f"{result['per_second']:,.0f}")
            self.say(f"{'sweep ' + work:14} {kind:7} {'  '.join(told)} /s")
            told = []

    # --- three servers ---------------------------------------------------------------------------------

    def three(self, kind, number):
        with Three(kind) as ensemble:
            self.load.prepare(ensemble.hosts, keys=KEYS, data=DATA)
            self._throughput("writes-three", "set", ensemble, kind, number)

    # --- a million znodes ------------------------------------------------------------------------------

    def million(self, kind, number):
        with One(kind) as server:
            self.load.prepare(server.hosts, keys=MANY, data=DATA)
            server.make_probe()
            if "memory" in self.wanted:
                self.samples.add("memory", kind, server.resident_bytes())
                self.say(f"{'memory':14} {kind:7} {server.resident_bytes() / 2**20:>8,.0f} MiB")
            if {"rate-p99", "rate-p999"} & self.wanted:
                self._fixed_rate(server, kind, number)
            if "restart" in self.wanted:
                server.kill()
                took = server.seconds_to_first_read()
                self.samples.add("restart", kind, took)
                self.say(f"{'restart':14} {kind:7} {took:>8.2f} s")
            if "snapshot" in self.wanted:
                self._snapshots(server, kind, number)

    def _mix(self, server, label, rate, duration):
        return self._run(
            "mix",
            server,
            label,
            keys=MANY,
            outstanding=64,
            rate=rate,
            write_percent=WRITE_PERCENT,
            duration=seconds(duration),
        )

    def _fixed_rate(self, server, kind, number):
        while True:
            result = self._mix(server, f"rate {kind} {number}", self.rate, self.times.rate)
            if result["per_second"] >= 0.97 * self.rate or self.rate <= RATE_LEAST:
                break
            # One of them cannot: both are measured at what both can.
            self.say(
                f"{'rate':14} {kind:7} does {result['per_second']:,.0f} of {self.rate:,} /s: half of that is asked of both"
            )
            self.rate //= 2
            for row in ("rate-p99", "rate-p999"):
                self.samples.of.pop(row, None)
        latency = result["latency_us"]
        self.samples.add("rate-p99", kind, latency["p99"])
        self.samples.add("rate-p999", kind, latency["p999"])
        self.say(
            f"{'rate':14} {kind:7} {result['per_second']:>8,.0f} /s  p50 {latency['p50']:,.0f} us  p99 {latency['p99']:,.0f} us  "
            f"p99.9 {latency['p999']:,.0f} us  max {latency['max']:,.0f} us"
        )
        if kind == "zoo":
            self._least(server, number)

    def _least(self, server, number):
        """What the same load sees of a server that does nothing, and fio of the device."""
        with Responder() as nothing:
            result = self._mix(nothing, f"rate nothing {number}", self.rate, self.times.rate / 3)
        least = result["latency_us"]
        self.samples.add("rate-p99", "nothing", least["p99"])
        self.samples.add("rate-p999", "nothing", least["p999"])
        p99, p995 = device.tail_us(server.folder, self.times.device)
        self.samples.add("device p99", "device", p99)
        self.samples.add("device p99.5", "device", p995)
        self.say(
            f"{'rate':14} nothing {result['per_second']:>8,.0f} /s  p50 {least['p50']:,.0f} us  p99 {least['p99']:,.0f} us  "
            f"p99.9 {least['p999']:,.0f} us  max {least['max']:,.0f} us; the device's write p99 {p99:,.0f} us, p99.5 {p995:,.0f} us"
        )

    def _snapshots(self, server, kind, number):
        """The same load twice: once nothing asks for a snapshot, once one follows the other."""
        for which, snap_count in (("without", NEVER), ("with", SNAPSHOT_SNAP_COUNT)):
            server.stop()
            server.reconfigure({"snapCount": snap_count})
            server.start()
            with server.watch_snapshots() as watch:
                result = self._mix(server, f"snapshot {which} {kind} {number}", SNAPSHOT_RATE, self.times.rate / 2)
            p99 = result["latency_us"]["p99"]
            self.samples.add(f"snapshot {which}", kind, p99)
            self.samples.add("snapshot share" if which == "with" else "snapshot share without", kind, watch.share)
            self.say(
                f"{'snapshot':14} {kind:7} {which:7} p99 {p99:,.0f} us  max {result['latency_us']['max']:,.0f} us  "
                f"({watch.count} snapshots, {100 * watch.share:.0f} % of the time)"
            )

    # --- a leader dies ---------------------------------------------------------------------------------

    def failover(self, kind, number):
        """With the tool that the ensemble's tests have: one ensemble of each kind, killed in turn. Both kinds are measured at once."""
        if kind != "apache":
            return
        rounds = 5 if self.times.rate >= 20 else 2
        command = [sys.executable, os.path.join(ROOT, "tests", "ensemble", "failover"), "--rounds", str(rounds)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        found = re.findall(r"^round +\d+ (\w+) +leader \d+ killed.* +(\d+) ms$", done.stdout, re.MULTILINE)
        if done.returncode != 0 or not found:
            raise RuntimeError(f"{' '.join(command)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        for side, millis in found:
            self.samples.add("failover", side, int(millis) / 1000)
        for side in NAMES:
            times = [int(millis) for of, millis in found if of == side]
            self.say(
                f"{'failover':14} {side:7} {statistics.median(times):>8,.0f} ms, at most {max(times):,} ms, {len(times)} times"
            )


STAGES = ("one", "three", "million", "failover")
