"""What the znodes of one writer must be, given what it asked for.

A writer owns a folder: nobody else writes there, and its requests are pipelined on one session, so that they take effect in
their order. So its folder after a crash is the folder after all acknowledged requests and some first part of those that were
on their way. `Model.apply` says what one request does and how it must be answered; `matches` compares with what a server has.

A znode is [value, version, aversion, owner, creates, czxid, mzxid]; a zxid of None is one that nobody has told us of yet.
"""

VALUE, VERSION, AVERSION, OWNER, CREATES, CZXID, MZXID = range(7)
OK, NO_NODE, BAD_VERSION, NODE_EXISTS, NOT_EMPTY, ROLLED_BACK = 0, -101, -103, -110, -111, -2


class Model:
    """The folder of one writer: `nodes` by path (the folder itself among them), and `shared`: the values of what it created
    in the folder of all."""

    def __init__(self, folder):
        self.folder = folder
        self.nodes = {}
        self.shared = {}

    def copy(self):
        other = Model(self.folder)
        other.nodes = {path: list(node) for path, node in self.nodes.items()}
        other.shared = dict(self.shared)
        return other

    def children(self, path):
        prefix = path + "/"
        return [other for other in self.nodes if other.startswith(prefix) and "/" not in other[len(prefix):]]

    def apply(self, request, session, zxid=None):
        """Does what `request` does; returns (error, answer): the path of a create, the version of a set, a list for a multi."""
        kind = request[0]
        if kind == "multi":
            return self._multi(request[1], session, zxid)
        if kind == "close":
            for path in [path for path, node in self.nodes.items() if node[OWNER] == session]:
                del self.nodes[path]
            return OK, None
        if kind == "shared":
            # The server chooses its name among those of all writers; the answer tells.
            self.shared[request[1]] = None
            return OK, None
        return self._one(request, session, zxid)

    def _one(self, request, session, zxid):
        kind, path = request[0], request[1]
        nodes = self.nodes
        if kind in ("create", "ephemeral", "sequential"):
            parent = path.rpartition("/")[0]
            if parent in nodes or path == self.folder:
                if kind == "sequential":
                    path = f"{path}{nodes[parent][CREATES]:010d}"
                if path in nodes:
                    return NODE_EXISTS, None
                if path != self.folder:
                    nodes[parent][CREATES] += 1
                nodes[path] = [request[2], 0, 0, session if kind == "ephemeral" else 0, 0, zxid, zxid]
                return OK, path
            return NO_NODE, None
        node = nodes.get(path)
        if node is None:
            return NO_NODE, None
        if kind == "delete":
            if request[2] not in (-1, node[VERSION]):
                return BAD_VERSION, None
            if self.children(path):
                return NOT_EMPTY, None
            del nodes[path]
            return OK, None
        if kind == "set":
            if request[3] not in (-1, node[VERSION]):
                return BAD_VERSION, None
            node[VALUE] = request[2]
            node[VERSION] += 1
            node[MZXID] = zxid
            return OK, node[VERSION]
        if kind == "check":
            return (OK if request[2] in (-1, node[VERSION]) else BAD_VERSION), None
        if kind == "acl":
            node[AVERSION] += 1
            return OK, node[AVERSION]
        raise AssertionError(kind)

    def _multi(self, requests, session, zxid):
        before = self.copy()
        answers = []
        for number, request in enumerate(requests):
            err, answer = self._one(request, session, zxid)
            if err != OK:
                self.nodes = before.nodes
                # The header of the answer has the error of the one that failed.
                return err, [OK] * number + [err] + [ROLLED_BACK] * (len(requests) - number - 1)
            answers.append(answer)
        return OK, answers

    def difference(self, actual, shared, zxid_floor):
        """None if the server has exactly this; else the first difference. `actual`: path to (value, stat); `shared`: the
        values that the server has of ours. What no one has told us of must be newer than `zxid_floor`."""
        for path in actual:
            if path not in self.nodes:
                return f"{path} is there ({actual[path][0]!r}) and should not be"
        for path, node in self.nodes.items():
            if path not in actual:
                return f"{path} is gone, it should hold {node[VALUE]!r}"
            value, stat = actual[path]
            children = len(self.children(path))
            checks = [("value", value, node[VALUE]), ("version", stat["version"], node[VERSION]),
                      ("aversion", stat["aversion"], node[AVERSION]), ("ephemeralOwner", stat["ephemeralOwner"], node[OWNER]),
                      ("numChildren", stat["numChildren"], children),
                      ("cversion", stat["cversion"], 2 * node[CREATES] - children)]
            for name, number in (("czxid", CZXID), ("mzxid", MZXID)):
                if node[number] is None:
                    checks.append((name + " newer", stat[name] > zxid_floor, True))
                else:
                    checks.append((name, stat[name], node[number]))
            for name, is_, should in checks:
                if is_ != should:
                    return f"{path}: {name} is {is_!r}, it should be {should!r}"
        if set(shared) != set(self.shared):
            lost, surplus = set(self.shared) - set(shared), set(shared) - set(self.shared)
            return f"in the shared folder: lost {sorted(lost)[:3]}, surplus {sorted(surplus)[:3]}"
        for value, name in self.shared.items():
            if name is not None and shared[value] != name:
                return f"in the shared folder: {value} is {shared[value]}, it was {name}"
        return None

    def learn(self, actual, shared):
        """Takes over the zxids and names that the server has told by now."""
        for path, node in self.nodes.items():
            stat = actual[path][1]
            node[CZXID], node[MZXID] = stat["czxid"], stat["mzxid"]
        self.shared = dict(shared)
