"""What concurrent clients did and saw, and judges of it. Nothing here talks to a server: load.py records, these decide.

A history is a list of Operation. An operation whose answer never came may have taken effect at any time after its beginning,
or never. The judges return complaints, as sentences; an empty list is a pass:

    register_complaints     each key is a linearisable compare-and-set register (writes, CAS, linearisable reads)
    order_complaints        all clients saw one order of versions, and each session only moved forward in it, also from one
                            server to another: no answer's zxid goes back, each read is of a state no older than the one before
    add_complaints          no acknowledged create or delete is lost, nothing is there that no one made, sequence numbers are
                            unique and in the order of creation
    ephemeral_complaints    ephemerals of living sessions are there, those of the dead are not
    pair_complaints         what was written in one multi is there wholly or not at all

The linearisability search is that of Wing and Gong with Lowe's memory of (what is done, state) already tried.
"""

from collections import defaultdict
from dataclasses import dataclass, field

NEVER = float("inf")
DONE, REFUSED, UNKNOWN = "done", "refused", "unknown"
# States that one key's search may try before it gives up, which is a complaint too.
SEARCH_MAX = 3_000_000


class Undecided(Exception):
    """The search was given up."""


@dataclass(slots=True)
class Operation:
    worker: int
    session: int
    kind: str                # "write", "cas", "read" (of this server's state), "sure read" (linearisable)
    key: str
    invoked: float
    value: bytes = None      # written, or read
    expected: int = None     # of a cas: the version it wants
    completed: float = NEVER
    outcome: str = UNKNOWN   # REFUSED: of a cas, the version was another one
    version: int = None      # of the znode, after a write or as read
    mzxid: int = None        # the same
    zxid: int = None         # in the answer's header
    member: int = None       # who answered


@dataclass(slots=True)
class Add:
    """A create, unordered among others: plain, or with a sequence number; perhaps deleted later."""

    worker: int
    path: str                # asked for; of a sequential one the prefix
    value: bytes
    sequential: bool = False
    outcome: str = UNKNOWN
    created: str = None      # the path answered
    removal: str = None      # None (not asked for), DONE, REFUSED, UNKNOWN


@dataclass(slots=True)
class Ephemeral:
    session: int
    path: str
    outcome: str = UNKNOWN
    session_lives: bool = True


@dataclass
class Pair:
    """Two znodes that one worker writes in one multi, always with the same value."""

    paths: tuple
    acknowledged: int = 0    # the number in the last acknowledged value
    tried: int = 0           # the number in the newest value that was sent
    complaints: list = field(default_factory=list)


# --- one register --------------------------------------------------------------------------------------

def register_step(state, operation):
    """The state after the operation took effect, or None if its answer contradicts `state`: (version, value)."""
    version, value = state
    kind, outcome = operation.kind, operation.outcome
    if kind == "write":
        if outcome == DONE and operation.version != version + 1:
            return None
        return version + 1, operation.value
    if kind == "cas":
        matches = operation.expected == version
        if outcome == DONE:
            return (version + 1, operation.value) if matches and operation.version == version + 1 else None
        if outcome == REFUSED:
            return None if matches else state
        return (version + 1, operation.value) if matches else state
    return state if (operation.version, operation.value) == state else None


def version_before(operation):
    """The version that the register must have when the operation takes effect, or None if any may do."""
    if operation.outcome != DONE:
        return None
    return operation.version - 1 if operation.kind in ("write", "cas") else operation.version


def linearise(operations, initial):
    """None if there is an order that explains all answers, else the operation at which every order fails."""
    operations = [operation for operation in operations
                  if not (operation.outcome == UNKNOWN and operation.kind not in ("write", "cas"))]
    # A doubly linked list of calls and returns in the order of time; an operation without an answer has no return.
    moments = []
    for number, operation in enumerate(operations):
        moments.append((operation.invoked, 0, number))
        if operation.outcome != UNKNOWN:
            moments.append((operation.completed, 1, number))
    moments.sort()
    count = len(moments)
    head, end = count, count + 1
    following = [*range(1, count), end, 0 if count else end, None]
    before = [head, *range(count - 1)] if count else []
    before += [None, count - 1]
    # Lost writes whose values no one has read differ in nothing but their beginning: if one is needed, the oldest will do.
    read = {operation.value for operation in operations if operation.outcome == DONE and operation.kind == "sure read"}
    older_of = {}
    unread = [number for _, is_return, number in moments if not is_return and operations[number].outcome == UNKNOWN
              and operations[number].kind == "write" and operations[number].value not in read]
    for older, newer in zip(unread, unread[1:]):
        older_of[newer] = older
    return_of = {number: at for at, (_, is_return, number) in enumerate(moments) if is_return}
    left = len(return_of)
    state, done = initial, 0
    seen, stack = set(), []
    deepest, culprit = -1, None
    at = following[head]
    while left:
        _, is_return, number = moments[at]
        operation = operations[number]
        if not is_return:
            after = register_step(state, operation)
            if number in older_of and not done >> older_of[number] & 1:
                after = None
            if after is not None and operation.outcome == UNKNOWN:
                # Without this, each lost answer doubles the states to try: a version beyond what the next
                # operation to return can bear leads nowhere.
                ahead = at
                while not moments[ahead][1]:
                    ahead = following[ahead]
                bound = version_before(operations[moments[ahead][2]])
                if bound is not None and after[0] > bound:
                    after = None
            if after is not None:
                marked = done | 1 << number
                if (marked, after) not in seen:
                    if len(seen) >= SEARCH_MAX:
                        raise Undecided(f"more than {SEARCH_MAX} states")
                    seen.add((marked, after))
                    stack.append((at, state))
                    state, done = after, marked
                    _unlink(following, before, at)
                    if number in return_of:
                        _unlink(following, before, return_of[number])
                        left -= 1
                    at = following[head]
                    continue
            at = following[at]
        else:
            # It returned, and nothing tried so far lets it take effect before.
            if len(stack) > deepest:
                deepest, culprit = len(stack), (operation, state)
            if not stack:
                return culprit
            at, state = stack.pop()
            number = moments[at][2]
            done &= ~(1 << number)
            if number in return_of:
                _relink(following, before, return_of[number])
                left += 1
            _relink(following, before, at)
            at = following[at]
    return None


def _unlink(following, before, at):
    following[before[at]] = following[at]
    before[following[at]] = before[at]


def _relink(following, before, at):
    following[before[at]] = at
    before[following[at]] = at


def register_complaints(operations, initial):
    """`initial`: key to (version, value) before the first operation. Of the reads only the linearisable ones count."""
    by_key = defaultdict(list)
    for operation in operations:
        if operation.kind != "read":
            by_key[operation.key].append(operation)
    complaints = []
    for key, of_key in sorted(by_key.items()):
        try:
            culprit = linearise(of_key, initial[key])
        except Undecided as undecided:
            complaints.append(f"{key}: not decided, {undecided}")
            continue
        if culprit is not None:
            operation, state = culprit
            near = [other for other in of_key if other.invoked <= operation.completed and other.completed >= operation.invoked]
            complaints.append(f"{key}: not linearisable: in no order of its {len(of_key)} operations is this answer right: "
                              f"{operation}; the state nearest to it: {state}; at the same time: {near[:8]}")
    return complaints


# --- one order, and sessions in it ---------------------------------------------------------------------

def order_complaints(operations):
    """`operations` of each worker in the order in which it asked."""
    complaints = []
    observed = defaultdict(dict)             # key to version to (value, mzxid)
    for operation in operations:
        if operation.outcome != DONE:
            continue
        now = (operation.value, operation.mzxid)
        known = observed[operation.key].setdefault(operation.version, now)
        if known != now:
            complaints.append(f"{operation.key} has had two versions {operation.version}: {known} and {now}")
    made_at = {}                             # key to [(version, mzxid)], in order
    for key, versions in observed.items():
        made_at[key] = sorted((version, mzxid) for version, (_, mzxid) in versions.items())
        for (older, first), (newer, second) in zip(made_at[key], made_at[key][1:]):
            if second <= first:
                complaints.append(f"{key}: version {newer} has zxid {second:#x}, version {older} has {first:#x}")
    next_made = {key: {version: made[place + 1][1] for place, (version, _) in enumerate(made[:-1])}
                 for key, made in made_at.items()}
    newest = {}                              # session to the newest zxid it has seen
    versions_seen = {}                       # (session, key) to version
    for operation in operations:
        if operation.zxid is None:
            continue
        session, key = operation.session, operation.key
        seen = newest.get(session, 0)
        who = f"session {session & (1 << 64) - 1:#x} (worker {operation.worker})"
        if operation.zxid < seen:
            complaints.append(f"{who} saw zxid {seen:#x}, then {operation.zxid:#x} from member {operation.member}: {operation}")
        newest[session] = max(seen, operation.zxid)
        if operation.outcome != DONE:
            continue
        if operation.mzxid > operation.zxid:
            complaints.append(f"{who} got {key} of zxid {operation.mzxid:#x} in an answer of zxid {operation.zxid:#x}: {operation}")
        before = versions_seen.get((session, key), -1)
        if operation.version < before:
            complaints.append(f"{who} saw version {before} of {key}, then {operation.version} from member {operation.member}: "
                              f"{operation}")
        versions_seen[session, key] = max(before, operation.version)
        # The state it read must hold everything up to what the session has seen before.
        overwritten = next_made[key].get(operation.version)
        if operation.kind in ("read", "sure read") and overwritten is not None and overwritten <= seen:
            complaints.append(f"{who} had seen zxid {seen:#x}, and then reads {key} at version {operation.version}, which was "
                              f"overwritten at {overwritten:#x}: {operation}")
    return complaints


# --- what is there at the end --------------------------------------------------------------------------

def add_complaints(adds, tree, folders):
    """`tree`: path to (value, stat) at the end; `folders`: those that hold nothing but adds."""
    complaints = []
    there = {path: found for path, found in tree.items() if path.rpartition("/")[0] in folders}
    by_value = defaultdict(list)
    for path, (value, _) in there.items():
        by_value[value].append(path)
    for value, paths in by_value.items():
        if len(paths) > 1:
            complaints.append(f"{value!r} was created {len(paths)} times: {sorted(paths)[:3]}")
    made = {}
    for add in adds:
        made[add.value] = add
        paths = by_value.get(add.value, [])
        path = add.created if add.created is not None else paths[0] if paths else add.path
        if add.outcome == DONE and add.removal is None and path not in there:
            complaints.append(f"lost: {path} was acknowledged to worker {add.worker}")
        if add.outcome == DONE and add.removal is None and path in there and there[path][0] != add.value:
            complaints.append(f"{path} holds {there[path][0]!r}, it was created with {add.value!r}")
        if add.removal == DONE and path in there:
            complaints.append(f"{path} is there, its delete was acknowledged to worker {add.worker}")
        if add.outcome == REFUSED and paths:
            complaints.append(f"{paths[0]} is there, its create was refused")
        if add.sequential and paths and not paths[0].startswith(add.path):
            complaints.append(f"{paths[0]} was to begin with {add.path}")
    for value, paths in by_value.items():
        if value not in made:
            complaints.append(f"{paths[0]} with {value!r} is there, and no one made it")
    numbered = [add.created for add in adds if add.sequential and add.created is not None]
    if len(set(numbered)) != len(numbered):
        twice = sorted({path for path in numbered if numbered.count(path) > 1})
        complaints.append(f"given to two clients: {twice[:3]}")
    for folder in folders:
        found = sorted((int(path[-10:]), stat["czxid"], path) for path, (_, stat) in there.items()
                       if path.rpartition("/")[0] == folder and path[-10:].isdigit())
        for (first, older, _), (second, newer, path) in zip(found, found[1:]):
            if first == second or newer <= older:
                complaints.append(f"{path}: number {second} of zxid {newer:#x} follows number {first} of zxid {older:#x}")
    return complaints


def ephemeral_complaints(ephemerals, tree, folder):
    complaints = []
    there = {path: stat["ephemeralOwner"] for path, (_, stat) in tree.items() if path.startswith(f"{folder}/")}
    known = {ephemeral.path: ephemeral for ephemeral in ephemerals}
    for path, owner in there.items():
        ephemeral = known.get(path)
        if ephemeral is None:
            complaints.append(f"{path} is there, and no one made it")
        elif owner != ephemeral.session:
            complaints.append(f"{path} belongs to session {owner:#x}, session {ephemeral.session:#x} made it")
        elif not ephemeral.session_lives:
            complaints.append(f"{path} is there, its session {owner:#x} is dead")
    for ephemeral in ephemerals:
        if ephemeral.session_lives and ephemeral.outcome == DONE and ephemeral.path not in there:
            complaints.append(f"{ephemeral.path} is gone, its session {ephemeral.session:#x} lives")
    return complaints


def pair_complaints(pairs, tree):
    complaints = []
    for pair in pairs:
        complaints += pair.complaints
        values = [tree[path][0] if path in tree else None for path in pair.paths]
        if values[0] != values[1]:
            complaints.append(f"{pair.paths} were always written together, and hold {values}")
            continue
        number = int(values[0] or b"0")
        if not pair.acknowledged <= number <= pair.tried:
            complaints.append(f"{pair.paths} hold {number}; acknowledged: {pair.acknowledged}, the newest sent: {pair.tried}")
    return complaints
