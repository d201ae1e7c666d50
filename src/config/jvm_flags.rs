//! System properties among the flags for a Java machine (`SERVER_JVMFLAGS`, `JVMFLAGS`): where operators of Apache's server put
//! what its zoo.cfg does not take.
//!
//! `-Dzookeeper.KEY=VALUE` means what `KEY=VALUE` means in zoo.cfg, unless Apache's server reads the key from the file alone; a
//! few properties have names of their own. All other flags, and keys that nobody knows (those of loggers), mean nothing.

use super::keys;
use super::notices::NoticeKind;

/// The variables of the environment, in the order in which `zkServer.sh` joins them.
pub const VARIABLES: [&str; 2] = ["SERVER_JVMFLAGS", "JVMFLAGS"];

/// Properties whose names do not begin with `zookeeper.`.
const OWN_NAMES: &[&str] = &[
    "java.security.auth.login.config",
    "jute.maxbuffer",
    "readonlymode.enabled",
    "znode.container.checkIntervalMs",
    "znode.container.maxNeverUsedIntervalMs",
    "znode.container.maxPerMinute",
];

/// Keys that Apache's server reads from zoo.cfg alone (`QuorumPeerConfig.parseProperties`).
const FILE_ONLY: &[&str] = &[
    "autopurge.purgeInterval",
    "autopurge.snapRetainCount",
    "clientPort",
    "clientPortAddress",
    "clientPortListenBacklog",
    "connectToLearnerMasterLimit",
    "dataDir",
    "dataLogDir",
    "dynamicConfigFile",
    "electionAlg",
    "initLimit",
    "localSessionsEnabled",
    "localSessionsUpgradingEnabled",
    "maxClientCnxns",
    "maxSessionTimeout",
    "minSessionTimeout",
    "multiAddress.enabled",
    "multiAddress.reachabilityCheckEnabled",
    "multiAddress.reachabilityCheckTimeoutMs",
    "observerMasterPort",
    "oraclePath",
    "peerType",
    "portUnification",
    "quorumListenOnAllIPs",
    "reconfigEnabled",
    "secureClientPort",
    "secureClientPortAddress",
    "sslQuorum",
    "sslQuorumReloadCertFiles",
    "standaloneEnabled",
    "syncEnabled",
    "syncLimit",
    "tickTime",
    "version",
];

/// Keys and values, in order. Quotes mean nothing: `zkServer.sh` lets the shell cut the flags at blanks.
pub(super) fn settings(flags: &str) -> impl Iterator<Item = (&str, &str)> {
    flags.split_ascii_whitespace().filter_map(|flag| {
        let (name, value) = flag.strip_prefix("-D")?.split_once('=')?;
        if OWN_NAMES.contains(&name) {
            return Some((name, value));
        }
        let key = name.strip_prefix("zookeeper.")?;
        let is_member = ["server.", "group", "weight", "quorum.auth.", "metricsProvider.", "jvm.pause."]
            .iter()
            .any(|family| key.starts_with(family));
        let is_known = keys::effect(key) != keys::Effect::None(NoticeKind::Unknown);
        (is_known && !is_member && !FILE_ONLY.contains(&key)).then_some((key, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_among_flags() {
        let flags = "-Xmx1g -Dzookeeper.log.dir=/var/log -Dzookeeper.snapCount=7\n-Djava.security.auth.login.config=/j=.conf \
                     -Dzookeeper.dataDir=/x -Dreadonlymode.enabled=true -Dfile.encoding=UTF-8 -Dzookeeper.server.1=a:1:2 \
                     -Dzookeeper.ssl.keyStore.type=JKS -Dzookeeper.authProvider.1=x.Y -Dzookeeper.kinit -ea -DclientPort=5";
        let found: Vec<_> = settings(flags).collect();
        assert_eq!(
            found,
            [
                ("snapCount", "7"),
                ("java.security.auth.login.config", "/j=.conf"),
                ("readonlymode.enabled", "true"),
                ("ssl.keyStore.type", "JKS"),
                ("authProvider.1", "x.Y"),
            ]
        );
    }
}
