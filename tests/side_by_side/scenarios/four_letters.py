"""Four-letter words: each one's shape, with the numbers that a test can know compared exactly."""

import re

from world import scenario

ALL = ("conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst", "srvr", "stat",
       "stmk", "wchc", "wchp", "wchs")
# Values of mntr that the scenario determines; the rest is load, memory and time.
EXACT = ("zk_znode_count", "zk_watch_count", "zk_ephemerals_count", "zk_approximate_data_size",
         "zk_num_alive_connections", "zk_server_state", "zk_outstanding_requests", "zk_global_sessions",
         "zk_local_sessions", "zk_peer_state", "zk_read_only", "zk_auth_failed_count", "zk_pending_session_queue")
# What operators look at (reference 1.10, and what mntr showed before there were metrics); the rest is recorded apart.
WATCHED = EXACT + (
    "zk_version", "zk_avg_latency", "zk_min_latency", "zk_max_latency", "zk_packets_received", "zk_packets_sent",
    "zk_open_file_descriptor_count", "zk_max_file_descriptor_count", "zk_uptime", "zk_last_client_response_size",
    "zk_max_client_response_size", "zk_min_client_response_size", "zk_watch_bytes", "zk_connection_rejected",
    "zk_connection_request_count", "zk_connection_drop_count", "zk_stale_sessions_expired", "zk_snap_count",
    "zk_commit_count", "zk_unrecoverable_error_count", "zk_digest_mismatches_count", "zk_ensemble_auth_fail",
    "zk_bytes_received_count", "zk_response_packet_cache_hits", "zk_response_packet_cache_misses",
    "zk_large_requests_rejected", "zk_throttled_ops", "zk_stale_requests",
    *(f"zk_{kind}_{name}" for name in ("fsynctime", "snapshottime", "dbinittime", "readlatency", "updatelatency",
                                       "connection_token_deficit") for kind in ("avg", "min", "max", "cnt", "sum")))
# What only a Java virtual machine has.
JVM = re.compile(r"zk_jvm_|zk_.*jvm")


def shape(text, session_names=None):
    """Lines with their numbers replaced, sorted where the order is a hash table's."""
    for session, name in (session_names or {}).items():
        text = re.sub(f"0x{session:x}\\b", f"<{name}>", text)
    text = re.sub(r"0x[0-9a-f]+", "0x#", text)
    text = re.sub(r"\d+(\.\d+)?(E-?\d+)?", "#", text)
    text = re.sub(r"[A-Z][a-z]{2} [A-Z][a-z]{2} # #:#:# [A-Z]+ #", "<date>", text)
    return text.split("\n")


def dump_shape(text, session_names=None):
    """The titles in their order, then who stands below them. How many expiry buckets there are, and which
    sessions share one, is a matter of timing."""
    lines = shape(text, session_names)
    buckets = {line for line in lines if line.startswith("# expire at")}
    members = [line for line in lines if line.startswith(("\t", "<"))]
    titles = [line for line in lines if line not in buckets and line not in members]
    return [*titles, *sorted(buckets), *sorted(members)]


def keyed(text, separator, exact=(), skip=None):
    """Lines of key and value: one field a key."""
    fields = {}
    for line in text.split("\n"):
        if not line:
            continue
        key, found, value = line.partition(separator)
        if skip and skip.match(key):
            continue
        fields[key] = (value if key in exact else shape(value)[0]) if found else "(no separator)"
    return fields


def conf_shape(text):
    return keyed(text, "=", exact=("tickTime", "maxClientCnxns", "minSessionTimeout", "maxSessionTimeout", "serverId",
                                   "clientPortListenBacklog", "secureClientPort")) | {
        key: "(path)" for key in ("dataDir", "dataLogDir")}


def envi_shape(text):
    """Only the keys: the values are the machine's, and Java's."""
    lines = text.split("\n")
    keys = [line.partition("=")[0] for line in lines]
    return {"title": lines[0], **{key: "(value)" for key in keys[1:] if key and not key.startswith("java.")}}


def without_version(text):
    return [line if not line.startswith("Zookeeper version") else "Zookeeper version: #" for line in shape(text)]


def mntr_shape(text):
    """Two groups: WATCHED, and every other metric there is."""
    fields = keyed(text, "\t", EXACT, JVM)
    for key in fields:
        if key == "zk_version":
            fields[key] = "(version)"
        elif key not in EXACT:
            fields[key] = "(number)"
    return [{k: v for k, v in fields.items() if k in WATCHED}, {k: v for k, v in fields.items() if k not in WATCHED}]


@scenario("fresh")
def a_idle(w):
    """Words that need no session. (First in its configuration: nothing has connected yet.)"""
    for word in (b"ruok", b"isro", b"gtmk"):
        w.four(word)
    w.four(b"conf", conf_shape)
    w.four(b"srvr", without_version)
    w.four(b"stat", without_version)
    w.four(b"envi", envi_shape)
    w.four(b"dirs", shape)
    w.four(b"wchs")
    w.four(b"wchc")
    w.four(b"wchp")
    w.four(b"dump", dump_shape)
    w.four(b"mntr", mntr_shape)
    w.four(b"hash", shape)
    w.four(b"cons", shape)


@scenario("fresh")
def b_busy(w):
    """With sessions, watches and ephemeral nodes."""
    a = w.top()
    b = w.connect("b", timeout=20000)
    a.create(w.path("e"), b"12345", flags=1)
    b.create(w.path("f"), b"", flags=1)
    b.create(w.path("g"), b"", flags=1)
    a.get(w.root, True)
    a.exists(w.path("none"), True)
    b.get(w.root, True)
    b.children(w.root, True)
    b.add_watch(w.path("p"), 0)
    b.add_watch(w.path("r"), 1)
    names = {session & (1 << 64) - 1: name for session, name in w.sessions.items()}

    def sessions(text):
        return sorted(shape(text, names))

    def tree(text):
        """wchc, wchp: groups in the order of a hash table, members below them."""
        groups, group = [], []
        for line in shape(text, names):
            if line.startswith("\t"):
                group.append(line)
            else:
                groups.append(group)
                group = [line]
        groups.append(group)
        return [line for g in sorted(groups) for line in [*g[:1], *sorted(g[1:])]]
    w.four(b"wchs")
    w.four(b"wchc", tree)
    w.four(b"wchp", tree)
    w.four(b"dump", lambda text: dump_shape(text, names))
    w.four(b"mntr", mntr_shape)
    w.four(b"cons", sessions)
    w.four(b"stat", lambda text: sorted(without_version(text)))
    w.four(b"srvr", without_version)
    w.four(b"ruok")
    b.close()
    w.four(b"wchs")
    w.four(b"dump", lambda text: dump_shape(text, names))
    w.four(b"mntr", mntr_shape)
    w.four(b"crst")
    w.four(b"srst")
    w.four(b"cons", sessions)
    w.four(b"srvr", lambda text: [line for line in without_version(text)])


@scenario("fresh")
def exact_counts(w):
    """Counts in srvr and stat that the scenario determines."""
    a = w.top()
    for n in range(5):
        a.create(w.path(f"n{n}"), b"12345")

    def counts(text):
        return [line for line in text.split("\n") if line.startswith(("Node count", "Connections", "Mode", "Outstanding"))]
    w.four(b"srvr", counts)
    w.four(b"stat", counts)
    b = w.connect("b")
    w.four(b"srvr", counts)
    b.close()
    w.four(b"srvr", counts)


@scenario("fresh")
def trace_mask(w):
    """stmk takes eight bytes more."""
    w.four(b"gtmk")
    w.four(b"stmk" + bytes([0, 0, 0, 0, 0, 0, 0, 0x12]))
    w.four(b"gtmk")
    w.four(b"stmk" + bytes([0, 0, 0, 0, 0, 0, 1, 0x12]))
    w.four(b"gtmk")


@scenario()
def unknown_words(w):
    """Four letters that are no word are a frame length, and far too large."""
    for word in (b"abcd", b"RUOK", b"quit", b"help", b"ruo\n", b"\xff\xf4\xff\xfd"):
        w.four(word)


@scenario("whitelist")
def not_whitelisted(w):
    """Known words outside 4lw.commands.whitelist are refused by name."""
    for word in ALL:
        if word == "stat":
            w.four(b"stat", without_version)
        elif word == "srvr":
            w.four(b"srvr", without_version)
        else:
            w.four(word.encode() + (bytes(8) if word == "stmk" else b""))


@scenario("defaults")
def default_whitelist(w):
    """Only srvr."""
    for word in ALL:
        w.four(word.encode() + (bytes(8) if word == "stmk" else b""), without_version if word == "srvr" else None)
    w.four(b"abcd")


@scenario("defaults")
def default_configuration(w):
    """What a server with hardly any keys says of itself through a session."""
    a = w.connect("a")
    a.get("/zookeeper/config")
    a.get_acl("/zookeeper/config")
    a.exists("/")
    a.auth("digest", b"super:secret")
    a.who_am_i()
    a.get_acl("/zookeeper/config")
    a.set("/zookeeper/config", b"x")
