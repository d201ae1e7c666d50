"""Figures of several rounds: medians, spread, and tables of them."""

import statistics
from collections import defaultdict


class Samples:
    """What was measured, by name and side, a value a round."""

    def __init__(self):
        self.of = defaultdict(lambda: defaultdict(list))

    def add(self, name, side, value):
        self.of[name][side].append(float(value))

    def has(self, name, *sides):
        return name in self.of and all(self.of[name][side] for side in sides)

    def median(self, name, side):
        return statistics.median(self.of[name][side])

    def spread(self, name, side):
        return min(self.of[name][side]), max(self.of[name][side])

    def ratio(self, name, over="apache", of="zoo"):
        """Median over median."""
        return self.median(name, of) / self.median(name, over)

    def ratio_spread(self, name, over="apache", of="zoo"):
        """The least and the greatest ratio of one round."""
        pairs = [one / other for one, other in zip(self.of[name][of], self.of[name][over])]
        return min(pairs), max(pairs)

    def as_dict(self):
        return {name: dict(sides) for name, sides in self.of.items()}


def number(value):
    """Three significant figures, thousands set off: 1,380,000; 23.4; 0.0512."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        digits = len(str(int(abs(value)))) - 4
        return f"{round(value, -digits if digits > 0 else 0):,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def with_unit(value, unit):
    """A figure as a reader likes it: microseconds become milliseconds, bytes become MiB."""
    if unit == "us":
        return (
            f"{number(value)} µs"
            if value < 10_000
            else f"{number(value / 1000)} ms" if value < 1e6 else f"{number(value / 1e6)} s"
        )
    if unit == "s":
        return f"{number(value * 1000)} ms" if value < 1 else f"{number(value)} s"
    if unit == "bytes":
        return f"{number(value / 2**20)} MiB" if value < 2**30 else f"{number(value / 2**30)} GiB"
    return f"{number(value)} {unit}".strip()


def markdown(header, rows):
    """A table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def plain(header, rows, indent=""):
    """A table for a terminal."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in [header, *rows]) for at in range(len(header))]
    shown = [
        indent
        + "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths)))
        for row in [header, *rows]
    ]
    return "\n".join(line.rstrip() for line in shown)
