"""Runs scenarios: each is a function that does something terrible to an ensemble under load; what must hold afterwards is
always the same (see load.py and history.py), and is judged here.

    @scenario(size=3, network="namespaces")
    def leader_cut_off(ensemble, load):
        "The leader reaches no one."
        ...                                # may return a word for the table

    sys.exit(run("ensemble", SCENARIOS, __doc__))

Every scenario prints one line that begins with TABLE. A machine that permits no network namespaces says so, loudly, once, and
runs the rest; with ZOO_NAMESPACES=required that is a failure.

With --parallel N so many scenarios run at a time, each in a process of its own, as they mostly wait. They share nothing: each has
its folders, and ports and subnets are claimed (servers.claim). What one prints comes out when it ends.
"""

import argparse
import itertools
import os
import random
import shutil
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Callable

from ensemble import Ensemble, namespaces_permitted
from load import Load
from servers import die_with_parent


class Wrong(Exception):
    """A promise is broken."""


class Skip(Exception):
    """This scenario has nothing to do with these kinds, or the machine does not allow it; the message says why."""


@dataclass
class Scenario:
    function: Callable
    name: str
    size: int
    network: str
    observers: tuple
    sure_sync: bool
    sessions_survive: bool
    config: dict
    quick: bool
    prepare: Callable
    kinds: tuple                # fixed, instead of those asked for
    load: dict
    start: tuple                # the servers to start with; the others are the scenario's own business
    initial: tuple              # the members of the first configuration

    @property
    def about(self):
        return self.function.__doc__.splitlines()[0].rstrip(".")


def scenario(into, *, size=3, network="loopback", observers=(), sure_sync=True, sessions_survive=False, config=None, quick=True,
             prepare=None, kinds=None, load=None, start=None, initial=None, name=None):
    """Puts a function into the list `into`. `sure_sync`: no deposed leader can answer, so a read behind a sync is linearisable.
    `sessions_survive`: no client may lose its session. `prepare(stack)`: folders for the Ensemble, made before it."""
    def add(function):
        into.append(Scenario(function, name or function.__name__, size, network, tuple(observers), sure_sync, sessions_survive,
                             dict(config or {}), quick, prepare, kinds, dict(load or {}), start, initial))
        return function
    return add


def arguments(about):
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default="zoo,zoo,zoo", help="zoo or apache, one for each server; repeated for larger ensembles")
    parser.add_argument("--stand-in", choices=["apache", "zoo"], help="all servers are of this kind, whatever they should be")
    parser.add_argument("--only", action="append", help="scenarios whose names contain this")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--long", action="store_true", help="also those that are left out of the quick set")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="so many scenarios at a time")
    parser.add_argument("--one", metavar="NAME/ROUND", help=argparse.SUPPRESS)       # what --parallel runs
    parser.add_argument("--keep", action="store_true", help="keep the folders of what failed")
    parser.add_argument("--list", action="store_true")
    return parser


def run(title, scenarios, about, options=None):
    options = options or arguments(about).parse_args()
    if options.list:
        for each in scenarios:
            print(f"{each.name:28} {'' if each.quick else '(--long) '}{each.about}")
        return 0
    kinds = options.kinds.split(",")
    Ensemble.stand_in = options.stand_in
    if options.one:
        name, round_number = options.one.split("/")
        each = next(each for each in scenarios if each.name == name)
        return 1 if run_one(title, each, kinds, f"{options.seed}/{round_number}", options.keep) == "FAILED" else 0
    chosen = [each for each in scenarios if (each.quick or options.long or options.only)
              and (not options.only or any(word in each.name for word in options.only))]
    if not chosen:
        print("no scenario is named like that; --list names them", file=sys.stderr)
        return 2
    refusal = namespaces_permitted() if any(each.network == "namespaces" for each in chosen) else None
    if refusal:
        print(f"{'!' * 100}\nFIGURE {title}: NETWORK NAMESPACES ARE NOT PERMITTED HERE: PARTITIONS ARE NOT TESTED ({refusal})\n"
              f"{'!' * 100}", flush=True)
        if os.environ.get("ZOO_NAMESPACES") == "required":
            return 1
        chosen = [each for each in chosen if each.network != "namespaces"]
    print(f"seed {options.seed}", flush=True)
    failed, passed = [], 0
    begin = time.monotonic()
    for name, is_failed in outcomes(title, chosen, kinds, options):
        if is_failed:
            failed.append(name)
        else:
            passed += 1
    print(f"FIGURE {title}: {passed} scenarios passed, {len(failed)} failed, {time.monotonic() - begin:.0f} s"
          + (f"; failed: {' '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def outcomes(title, chosen, kinds, options):
    """Runs all rounds; the name of each scenario as it ends, and whether it failed."""
    due = [(each, round_number) for round_number in range(options.rounds) for each in chosen]
    if options.parallel <= 1:
        for each, round_number in due:
            yield each.name, run_one(title, each, kinds, f"{options.seed}/{round_number}", options.keep) == "FAILED"
        return

    def run_apart(each, round_number):
        words = [sys.executable, sys.argv[0], "--one", f"{each.name}/{round_number}", "--seed", str(options.seed), "--kinds", options.kinds]
        words += ["--stand-in", options.stand_in] if options.stand_in else []
        words += ["--keep"] if options.keep else []
        return each.name, subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                         preexec_fn=die_with_parent)

    with ThreadPoolExecutor(options.parallel) as pool:
        for ended in as_completed([pool.submit(run_apart, *one) for one in due]):
            name, done = ended.result()
            print(done.stdout, end="", flush=True)
            yield name, done.returncode != 0


def run_one(title, each, kinds, seed, keep=False):
    kinds = [Ensemble.play_as(kind) for kind in each.kinds or itertools.islice(itertools.cycle(kinds), each.size)]
    begin = time.monotonic()
    figures, note, outcome, ensemble = None, "", "ok", None
    try:
        folders = each.prepare() if each.prepare else None
        try:
            with Ensemble(kinds, observers=each.observers, network=each.network, config=each.config, label=title,
                          folders=folders.folders if folders else None, initial=each.initial) as ensemble:
                try:
                    figures, note = play(each, ensemble, seed)
                except Skip:
                    raise
                except BaseException:
                    print(ensemble.report())
                    if keep:
                        kept = shutil.copytree(ensemble.folder, f"{ensemble.folder}-kept")
                        print(f"the folders are kept in {kept}")
                    raise
        finally:
            if folders:
                folders.close()
    except Skip as reason:
        outcome, note = "SKIPPED", str(reason)
    except Exception as error:  # whatever it was: the others still run
        print(f"WRONG {each.name}, seed {seed}: {error}" if isinstance(error, Wrong) else traceback.format_exc())
        outcome = "FAILED"
    counts = f"{figures['acknowledged writes']} writes acknowledged, {figures['lost']} sessions lost" if figures else ""
    print(f"TABLE {title:9} {','.join(kind + ('(observer)' if at + 1 in each.observers else '') for at, kind in enumerate(kinds)):24} "
          f"{each.name:28} {outcome:8} {counts} {note or ''} ({time.monotonic() - begin:.1f} s)", flush=True)
    return outcome


def play(each, ensemble, seed):
    ensemble.start(each.start)
    load = Load(ensemble, seed=seed, sure_sync=each.sure_sync, witness=each.sessions_survive, **each.load)
    load.start()
    note = each.function(ensemble, load)
    verdict = load.finish()
    complaints = verdict.complaints
    for member in [*ensemble.members.values(), *ensemble.retired]:
        if member.kind == "zoo" and "panicked" in member.log():
            complaints.append(f"{member.name} has panicked")
    if each.sessions_survive and verdict.lost_sessions:
        complaints.append(f"sessions were lost: {verdict.lost_sessions}")
    print(f"{each.name}: {', '.join(f'{count} {name}' for name, count in sorted(verdict.figures.items()))}")
    if complaints:
        raise Wrong(f"{len(complaints)} complaints:\n  " + "\n  ".join(complaint[:3000] for complaint in complaints[:6]))
    verdict.figures["lost"] = len(verdict.lost_sessions)
    return verdict.figures, note
