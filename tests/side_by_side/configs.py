"""The configurations in which the scenarios run: zoo.cfg keys over those of tests/lib/servers.py.

`base` first: most scenarios share it. A configuration of its own is for what a key changes, and for what
would disturb other scenarios (counts that must start from zero, limits on connections)."""

# The digest of "super:secret": base64(sha1("super:secret")), behind the user's name.
SUPER_DIGEST = "super:lK75jTNcA+U9vtVEw5vB51mj/w4="

BASE = {
    "tickTime": 500,
    "minSessionTimeout": 1000,
    "maxSessionTimeout": 40000,
    "maxClientCnxns": 0,
    "DigestAuthenticationProvider.superDigest": SUPER_DIGEST,
}

CONFIGS = {
    "base": BASE,
    # A server that nobody has used: the tree as it is born, exact counts in four-letter words.
    "fresh": BASE,
    "extended": {**BASE, "extendedTypesEnabled": "true", "znode.container.checkIntervalMs": 300},
    "quota": {**BASE, "enforceQuota": "true"},
    "limits": {**BASE, "jute.maxbuffer": 4096, "nio.sessionlessCnxnTimeout": 1000},
    "crowd": {**BASE, "maxClientCnxns": 4},
    "defaults": {"4lw.commands.whitelist": None, "minSessionTimeout": None, "maxSessionTimeout": None},
    "whitelist": {**BASE, "4lw.commands.whitelist": "ruok, stat,srvr"},
}
