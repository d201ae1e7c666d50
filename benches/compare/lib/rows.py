"""The rows of the table: what is measured, what is wanted of it, and how the figures are judged.

A row is measured by a *stage* (see stages.py), which puts its figures into `Samples` under the names used here.
"""

from dataclasses import dataclass
from typing import Callable

from figures import Samples, with_unit

SWEEP = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass
class Verdict:
    """One line of the table."""

    what: str
    theirs: str
    ours: str
    ratio: str
    wanted: str
    met: bool
    spread: str = ""
    note: str = ""


@dataclass
class Row:
    """`judge` makes the lines from the figures; it is called only when they are there."""

    name: str
    stage: str
    what: str
    judge: Callable[["Row", Samples], list]

    def verdicts(self, samples):
        return self.judge(self, samples)


def _between(samples, name, unit, side):
    low, high = samples.spread(name, side)
    return f"{with_unit(low, unit)} to {with_unit(high, unit)}"


def _spread(samples, name, unit):
    low, high = samples.ratio_spread(name)
    return f"ratio {low:.2f} to {high:.2f}; Apache {_between(samples, name, unit, 'apache')}; ours {_between(samples, name, unit, 'zoo')}"


def _against_apache(unit, shown, wanted, is_met):
    """Ours divided by Apache's: how that is shown, what is wanted of it in words, and whether it is met."""

    def judge(row, samples):
        if not samples.has(row.name, "apache", "zoo"):
            return []
        theirs, ours = (with_unit(samples.median(row.name, side), unit) for side in ("apache", "zoo"))
        ratio = samples.ratio(row.name)
        spread = _spread(samples, row.name, unit)
        return [Verdict(row.what, theirs, ours, shown.format(ratio), wanted, is_met(ratio), spread)]

    return judge


def at_least(times, unit="/s"):
    return _against_apache(unit, "{:.1f} ×", f"at least {times} ×", lambda ratio: ratio >= times)


def at_most(part, words, unit):
    return _against_apache(unit, "{:.3f}", words, lambda ratio: ratio <= part)


def fixed_rate(part, words):
    """As `at_most`; and how much of ours a server that does nothing would take, too."""
    judge_ratio = at_most(part, words, "us")

    def judge(row, samples):
        found = judge_ratio(row, samples)
        if found and samples.has(row.name, "nothing"):
            nothing, ours = samples.median(row.name, "nothing"), samples.median(row.name, "zoo")
            p99, p995 = (samples.median(f"device {which}", "device") for which in ("p99", "p99.5"))
            found[0].note = (
                f"under the same load a server that answers from templates takes {with_unit(nothing, 'us')} ({nothing / ours:.2f} of "
                f"ours); of fio's durable writes of 4 KiB, one at a time, one in 100 takes {with_unit(p99, 'us')}, one in 200 "
                f"{with_unit(p995, 'us')} (writes are a fifth of the load)"
            )
        return found

    return judge


def lone(row, samples):
    """One write at a time: against the device, and against Apache."""
    if not samples.has("lone", "apache", "zoo", "device"):
        return []
    theirs, ours, device = (samples.median("lone", side) for side in ("apache", "zoo", "device"))
    low, high = samples.ratio_spread("lone", over="device")
    least = device + samples.median("echo", "device")
    return [
        Verdict(
            row.what,
            with_unit(theirs, "us"),
            with_unit(ours, "us"),
            f"{ours / device:.2f} × the device's",
            f"at most 1.5 × the device's {with_unit(device, 'us')}",
            ours <= 1.5 * device,
            f"ratio {low:.2f} to {high:.2f}; device {_between(samples, 'lone', 'us', 'device')}; Apache "
            f"{_between(samples, 'lone', 'us', 'apache')}; ours {_between(samples, 'lone', 'us', 'zoo')}",
            f"ours is {ours / theirs:.2f} of Apache's; the device and a bare TCP echo (two wake-ups of sleeping threads) together take "
            f"{with_unit(least, 'us')}, of which ours is {ours / least:.2f} ×",
        )
    ]


def sweep(row, samples):
    """The point at which ours is least ahead."""
    points = [
        (work, clients)
        for work in ("get", "set")
        for clients in SWEEP
        if samples.has(f"sweep {work} {clients}", "apache", "zoo")
    ]
    if not points:
        return []
    worst = min(points, key=lambda point: samples.ratio(f"sweep {point[0]} {point[1]}"))
    name = f"sweep {worst[0]} {worst[1]}"
    ratio = samples.ratio(name)
    return [
        Verdict(
            f"{row.what}; the least: {worst[0]}, {worst[1]} client{'s' * (worst[1] > 1)}",
            with_unit(samples.median(name, "apache"), "/s"),
            with_unit(samples.median(name, "zoo"), "/s"),
            f"{ratio:.2f} ×",
            "at least 1 × at every point",
            ratio >= 1,
            _spread(samples, name, "/s"),
        )
    ]


def snapshot(row, samples):
    """Ours with a snapshot under way against ours without."""
    if not samples.has("snapshot with", "zoo") or not samples.has("snapshot without", "zoo"):
        return []

    def told(side):
        if not samples.has("snapshot with", side):
            return "", 0.0
        without, while_written = (samples.median(f"snapshot {which}", side) for which in ("without", "with"))
        return f"{with_unit(without, 'us')} → {with_unit(while_written, 'us')}", while_written / without

    ours, ratio = told("zoo")
    theirs, their_ratio = told("apache")
    pairs = [one / other for one, other in zip(samples.of["snapshot with"]["zoo"], samples.of["snapshot without"]["zoo"])]
    note = f"a snapshot was being written for {100 * samples.median('snapshot share', 'zoo'):.0f} % of the time"
    if their_ratio:
        note += f" (Apache: {100 * samples.median('snapshot share', 'apache'):.0f} %, {their_ratio:.2f} × its own without)"
    return [
        Verdict(
            row.what,
            theirs,
            ours,
            f"{ratio:.2f} × without",
            "at most 1.2 × without",
            ratio <= 1.2,
            f"ratio {min(pairs):.2f} to {max(pairs):.2f}",
            note,
        )
    ]


ROWS = [
    Row("reads", "one", "pipelined reads, one server, 32 × 32", at_least(8)),
    Row("writes", "one", "pipelined durable writes, one server, 32 × 32", at_least(5)),
    Row("writes-three", "three", "pipelined durable writes, three servers, 32 × 32", at_least(5)),
    Row("lone", "one", "one client, one durable write at a time, median", lone),
    Row("sweep", "one", "one outstanding, 1 to 256 clients", sweep),
    Row("rate-p99", "million", "p99 at a fixed rate both sustain, 1M znodes", fixed_rate(1 / 5, "at most a fifth")),
    Row("rate-p999", "million", "p99.9 at that rate", fixed_rate(1 / 10, "at most a tenth")),
    Row("memory", "million", "resident memory at 1M znodes of 100 B", at_most(1 / 5, "at most a fifth", "bytes")),
    Row(
        "restart",
        "million",
        "killed with 1M znodes: from start to the first answered read",
        at_most(1 / 3, "at most a third", "s"),
    ),
    Row("snapshot", "million", "p99 while a snapshot of 1M znodes is written", snapshot),
    Row("failover", "failover", "leader killed, to the next acknowledged write", at_most(1 / 3, "at most a third", "s")),
]
