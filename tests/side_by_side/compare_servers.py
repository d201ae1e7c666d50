"""The side-by-side test: the same scenarios against two servers, every answer compared.

    tests/side_by_side/run                            Apache ZooKeeper (Debian's) against ours
    tests/side_by_side/run --right apache             Apache against Apache: shows that the normalisation holds
    tests/side_by_side/run --only 'create.*'          some scenarios (`*` stands for anything; may be repeated)
    tests/side_by_side/run --only sessions --all      also print accepted differences
    tests/side_by_side/run --left zoo --dump --only multi.failures      what one server answers, step by step
    tests/side_by_side/run --left apache --record FILE                  keep the traces of the left side
    tests/side_by_side/run --right apache@CLASSPATH --record-later FILE    keep a later release's answers
    tests/side_by_side/run --left FILE                compare ours with kept traces (no Java needed)
    tests/side_by_side/run --list                     the scenarios and their configurations

--left and --right (also --ours) take apache, apache@CLASSPATH (another release), zoo, or a file made by
--record. "zoo" is
`$ZOO_SERVER run zoo.cfg`, by default target/release/zoo-server (tests/lib/servers.py).
A scenario is a function of scenarios/*.py; world.py tells what it can do and what is normalised.
accepted.txt holds the accepted differences with their reasons. later.json holds the answers of a later Apache
release in the steps where it differs from Debian's; a field in which ours answers as that one does passes, and its
step is counted as such. Exit code 0: nothing else differs,
and nothing broke. A rule of accepted.txt that no longer matches anything is named (and is an error in a full run).
"""

import argparse
import importlib
import json
import os
import pkgutil
import re
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import scenarios  # noqa: E402
from compare import Accepted, Later, differences, summary  # noqa: E402
from configs import CONFIGS  # noqa: E402
from world import SCENARIOS, World  # noqa: E402

from servers import Server  # noqa: E402  (world has put tests/lib on the path)

STEPS_SHOWN_MAX = 30
FIELDS_SHOWN_MAX = 5
STEP_CHARS_MAX = 160


class Side:
    """One of the two: a kind of server to start, or kept traces."""

    def __init__(self, what, own_keys=()):
        self.what = what
        self.own_keys = dict(key.split("=", 1) for key in own_keys) if what == "zoo" else {}
        self.kept = None
        self.server = None
        self.failure = None
        if what.partition("@")[0] not in ("apache", "zoo"):
            with open(what) as file:
                self.kept = json.load(file)

    def start(self, config):
        if self.kept is None:
            try:
                self.server = Server(self.what, {**CONFIGS[config], **self.own_keys})
                self.server.start()
            except Exception as error:
                self.failure = f"{self.what} did not start with configuration {config}: {error}"

    def run(self, name, function):
        """The trace of one scenario, and what broke, if something did."""
        if self.kept is not None:
            trace = self.kept.get(name)
            return (trace, None) if trace is not None else ([], f"{self.what} holds no trace of it")
        world = None
        broke = None
        try:
            if not self.server.alive():
                self.server.kill()
                self.server.start()
            world = World(self.server, name)
            try:
                function(world)
            finally:
                world.finish()
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)
            here = [f"{os.path.basename(e.filename)}:{e.lineno}" for e in where]
            broke = f"{type(error).__name__}: {error} at {' < '.join(reversed(here[-5:]))}"
        log = self.server.log_tail(1 << 20)
        if not self.server.alive():
            broke = f"the server ended ({self.server.process.poll()}): {broke}\n{log[-1500:]}"
        elif "panicked at" in log:
            # A new server for the next scenario: what is left of this one answers nothing worth comparing.
            broke = f"the server panicked: {broke or ''}\n{log[log.index('panicked at') - 80:][:1500]}"
            self.server.kill()
            os.rename(self.server.log_file, self.server.log_file + ".panicked")
        # Through JSON, so that a trace compares alike whether just made or kept.
        return json.loads(json.dumps(world.trace if world else [])), broke

    def stop(self):
        if self.server is not None:
            self.server.close()
            self.server = None
        self.failure = None


def both(one, other):
    """Runs two functions at once and returns what they return."""
    results = [None, None]
    thread = threading.Thread(target=lambda: results.__setitem__(1, other()))
    thread.start()
    results[0] = one()
    thread.join()
    return results


def load_scenarios(patterns):
    for module in sorted(m.name for m in pkgutil.iter_modules(scenarios.__path__)):
        importlib.import_module(f"scenarios.{module}")
    unknown = {config for config, _, _ in SCENARIOS} - set(CONFIGS)
    assert not unknown, f"unknown configurations {unknown}"
    matchers = [re.compile(".*".join(map(re.escape, p.split("*")))) for p in patterns]

    def wanted(name):
        return not matchers or any(m.fullmatch(name) or m.fullmatch(name.split(".")[0]) for m in matchers)
    return [entry for entry in SCENARIOS if wanted(entry[1])]


def dump(name, trace, broke):
    print(f"\n=== {name}")
    for step in trace:
        print(f"  {step['step']}\n      {summary(step['frames'])}")
    if broke:
        print(f"  BROKE: {broke}")


def print_problems(problems):
    """Differences under their steps; what is left out is counted."""
    by_step = {}
    for _, difference, note in problems:
        by_step.setdefault(difference.step, []).append((difference, note))
    for step, found in list(by_step.items())[:STEPS_SHOWN_MAX]:
        print(f"  {step if len(step) <= STEP_CHARS_MAX else step[:STEP_CHARS_MAX] + '...'}")
        for difference, note in found[:FIELDS_SHOWN_MAX]:
            print(f"      {difference.field}\n        left:  {difference.left}\n        right: {difference.right}" +
                  (f"\n        {note}" if note else ""))
        if len(found) > FIELDS_SHOWN_MAX:
            print(f"      ... and {len(found) - FIELDS_SHOWN_MAX} more fields: "
                  f"{', '.join(d.field for d, _ in found[FIELDS_SHOWN_MAX:])}"[:300])
    if len(by_step) > STEPS_SHOWN_MAX:
        print(f"  ... and {len(by_step) - STEPS_SHOWN_MAX} more steps")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--left", default="apache")
    parser.add_argument("--right", "--ours", default="zoo")
    parser.add_argument("--zoo-key", action="append", default=[], metavar="KEY=VALUE",
                        help="a zoo.cfg key for ours alone (say another number of shards)")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--config", action="append", default=[], choices=list(CONFIGS))
    parser.add_argument("--accepted", default=os.path.join(HERE, "accepted.txt"))
    parser.add_argument("--later", default=os.path.join(HERE, "later.json"))
    parser.add_argument("--strict", action="store_true", help="do without later.json")
    parser.add_argument("--record-later", metavar="FILE", help="keep the right side's answers where they differ")
    parser.add_argument("--all", action="store_true", help="print accepted differences too")
    parser.add_argument("--dump", action="store_true", help="only run the left side and print its traces")
    parser.add_argument("--record", metavar="FILE", help="only run the left side and keep its traces")
    parser.add_argument("--times", action="store_true", help="print the slowest scenarios")
    parser.add_argument("--list", action="store_true")
    return parser.parse_args()


def main():
    options = arguments()
    chosen = load_scenarios(options.only)
    chosen = [entry for entry in chosen if not options.config or entry[0] in options.config]
    if options.list:
        for config, name, function in chosen:
            print(f"{config:10} {name:40} {(function.__doc__ or '').strip().splitlines()[0:1]}")
        return 0
    if not chosen:
        print("no such scenario", file=sys.stderr)
        return 2
    begin = time.monotonic()
    alone = options.dump or options.record
    left = Side(options.left, options.zoo_key)
    right = None if alone else Side(options.right, options.zoo_key)
    accepted = Accepted(options.accepted)
    later = None if options.strict or options.record_later else Later(options.later)
    later_count, later_steps = 0, {}
    kept, steps, frames, passed, failed, accepted_count = {}, 0, 0, 0, 0, 0
    times = []

    for config in CONFIGS:
        of_config = [entry for entry in chosen if entry[0] == config]
        if not of_config:
            continue
        started = time.monotonic()
        both(lambda: left.start(config), lambda: right and right.start(config))
        times.append((time.monotonic() - started, f"(start of {config})"))
        start_failure = left.failure or (right and right.failure)
        if start_failure:
            print(f"FAILED configuration {config}: {start_failure}")
            failed += len(of_config)
        for _, name, function in of_config if not start_failure else ():
            started = time.monotonic()
            (trace, broke), answer = both(lambda: left.run(name, function),
                                          lambda: right.run(name, function) if right else None)
            times.append((time.monotonic() - started, name))
            steps += len(trace)
            frames += sum(len(step["frames"]) for step in trace)
            kept[name] = trace
            if options.dump:
                dump(name, trace, broke)
            if alone:
                failed += bool(broke)
                passed += not broke
                if broke and not options.dump:
                    print(f"BROKE {name}: {broke}")
                continue
            other, other_broke = answer
            problems = []
            later_agreed = set()
            for difference, frames_left, frames_right in differences(name, trace, other):
                if options.record_later:
                    assert frames_right is not None, f"{name}: the steps do not line up at {difference.step}"
                    later_steps.setdefault(name, {})[difference.step] = frames_right
                note = None
                if later and frames_left is not None and later.agrees(difference, frames_left):
                    later_agreed.add(difference.step)
                    note = f"as Apache ZooKeeper {later.release} answers"
                elif rule := accepted.rule_for(difference):
                    accepted_count += 1
                    note = f"accepted: {rule['reason']}"
                if note is None or options.all:
                    problems.append((note is None, difference, note))
            later_count += len(later_agreed)
            bad = sum(is_bad for is_bad, _, _ in problems)
            if bad or broke or other_broke:
                failed += 1
                print(f"FAILED {name}: {bad} differences")
            else:
                passed += 1
            print_problems(problems)
            for side, what in (("left", broke), ("right", other_broke)):
                if what:
                    print(f"  BROKE on the {side}: {what}")
            sys.stdout.flush()
        left.stop()
        if right:
            right.stop()

    if options.times:
        for seconds, name in sorted(times, reverse=True)[:20]:
            print(f"{seconds:8.2f} s  {name}")
    unused = [rule for rule in accepted.rules if not rule["used"]]
    full_run = not alone and not options.only and not options.config and options.right == "zoo"
    if full_run:
        for rule in unused:
            print(f"FAILED accepted.txt:{rule['line']} matches nothing any more: {rule['text']}")
        failed += len(unused)
    if options.record:
        with open(options.record, "w") as file:
            json.dump(kept, file, indent=0, sort_keys=False)
    if options.record_later:
        with open(options.record_later, "w") as file:
            file.write('{"release": "3.10.0-SNAPSHOT", "steps": {\n')
            file.write(",\n".join(f"{json.dumps(name)}: {{\n" + ",\n".join(
                f"  {json.dumps(step)}: {json.dumps(frames)}" for step, frames in of_scenario.items()) + "\n}"
                for name, of_scenario in later_steps.items()))
            file.write("\n}}\n")
    print(f"{steps} steps with {frames} answers and events in {time.monotonic() - begin:.1f} s; "
          f"accepted differences: {accepted_count}, steps as in the later release: {later_count}; left {options.left}, right {'none' if alone else options.right}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
