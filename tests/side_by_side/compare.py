"""Compares the traces of two servers, step by step and field by field, and knows the accepted differences."""

import json
import re
from collections import namedtuple

Difference = namedtuple("Difference", "scenario step field left right")

ABSENT = "(absent)"


def differences(scenario, left, right):
    """All differences between two traces of one scenario, as (difference, both sides' frames)."""
    found = []
    for number in range(max(len(left), len(right))):
        if number >= len(left) or number >= len(right):
            longer = (left if number < len(left) else right)[number]["step"]
            found.append((Difference(scenario, longer, "step", "there" if number < len(left) else ABSENT,
                                     "there" if number < len(right) else ABSENT), None, None))
            break
        one, other = left[number], right[number]
        if one["step"] != other["step"]:
            found.append((Difference(scenario, one["step"], "step", one["step"], other["step"]), None, None))
            break
        for difference in step_differences(scenario, one["step"], one["frames"], other["frames"]):
            found.append((difference, one["frames"], other["frames"]))
    return found


def step_differences(scenario, step, left, right):
    if [f["kind"] for f in left] != [f["kind"] for f in right]:
        # The frames do not line up: field by field would only confuse.
        return [Difference(scenario, step, "frames", summary(left), summary(right))]
    order = [[(f.get("op") or f.get("type"), f.get("xid")) for f in side] for side in (left, right)]
    if order[0] != order[1]:
        return [Difference(scenario, step, "order", *(" ".join(f"{op}({xid})" for op, xid in o) for o in order))]
    found = []
    for index, (one, other) in enumerate(zip(left, right)):
        prefix = f"{index}." if len(left) > 1 else ""
        for name in [*one, *(name for name in other if name not in one)]:
            a, b = one.get(name, ABSENT), other.get(name, ABSENT)
            if a != b:
                found.append(Difference(scenario, step, f"{prefix}{one['kind']}.{name}", a, b))
    return found


def summary(frames):
    """Frames in one line, for a person."""
    parts = []
    for frame in frames:
        rest = ", ".join(f"{k}={v}" for k, v in frame.items() if k not in ("kind", "len"))
        parts.append(f"{frame['kind']}({rest})" if rest else frame["kind"])
    return " + ".join(parts) or "nothing"


class Accepted:
    """The file of accepted differences: `scenario | step | field | left | right | reason`, `*` in any of the
    first five stands for anything, `#` begins a comment line."""

    def __init__(self, file):
        self.rules = []
        with open(file) as lines:
            for number, line in enumerate(lines, 1):
                line = line.strip()
                if not line or line.startswith("#"):
                    continue
                parts = [part.strip() for part in line.split(" | ")]
                if len(parts) != 6 or not parts[5]:
                    raise SystemExit(f"{file}:{number}: six parts with ` | ` between them, the last the reason")
                patterns = [re.compile(".*".join(map(re.escape, part.split("*"))), re.DOTALL) for part in parts[:5]]
                self.rules.append({"line": number, "text": line, "reason": parts[5], "patterns": patterns, "used": 0})

    def rule_for(self, difference):
        for rule in self.rules:
            if all(p.fullmatch(str(v)) for p, v in zip(rule["patterns"], difference)):
                rule["used"] += 1
                return rule
        return None


class Later:
    """Answers of a later release of Apache ZooKeeper, kept for the steps in which it differs from Debian's
    3.8.0 (`--record-later`). Where ours answers just as the later release does, that is no fault of ours."""

    def __init__(self, file):
        with open(file) as text:
            kept = json.load(text)
        self.release = kept["release"]
        self.steps = kept["steps"]

    def agrees(self, difference, left):
        """Whether the later release differs from the left side's frames in just the same way."""
        kept = self.steps.get(difference.scenario, {}).get(difference.step)
        return kept is not None and difference in step_differences(difference.scenario, difference.step, left, kept)
