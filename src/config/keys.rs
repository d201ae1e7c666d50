//! Every key that Apache's server knows, and what becomes of it here.
//!
//! A key is looked up without its `zookeeper.` prefix. The list follows Apache's administrator's guide and the properties
//! that its code reads besides (3.9 and master). A key that is not in it is unknown to both servers.

use super::notices::NoticeKind;

/// What a key does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It acts.
    Acts,
    /// It does nothing, and the notice says why.
    None(NoticeKind),
    /// As `None`, but only worth a word when it is set to something other than `false`.
    NoneUnlessFalse(NoticeKind),
}

/// The effect of `key`, which has lost its `zookeeper.` prefix.
pub(super) fn effect(key: &str) -> Effect {
    if ACTS.contains(&key) {
        return Effect::Acts;
    }
    for (kind, keys) in [
        (NoticeKind::Unprotected, UNPROTECTED),
        (NoticeKind::NotBuilt, NOT_BUILT),
        (NoticeKind::NoSuchPart, NO_SUCH_PART),
    ] {
        let known = keys.iter().any(|known| match known.strip_suffix('*') {
            Some(prefix) => key.starts_with(prefix),
            None => key == *known,
        });
        if known {
            return match kind {
                NoticeKind::Unprotected | NoticeKind::NotBuilt => Effect::NoneUnlessFalse(kind),
                _ => Effect::None(kind),
            };
        }
    }
    let families = ["server.", "group", "weight", "authProvider.", "superUser."];
    if key == "superUser" || families.iter().any(|family| key.starts_with(family)) {
        return Effect::Acts;
    }
    Effect::None(NoticeKind::Unknown)
}

/// Keys that `load` reads; a test holds that it reads these and no others.
pub(super) const ACTS: &[&str] = &[
    // Apache's.
    "4lw.commands.whitelist",
    "DigestAuthenticationProvider.digestAlg",
    "DigestAuthenticationProvider.enabled",
    "DigestAuthenticationProvider.superDigest",
    "SASLAuthenticationProvider.superPassword",
    "X509AuthenticationProvider.superUser",
    "allowSaslFailedClients",
    "autopurge.purgeInterval",
    "autopurge.snapRetainCount",
    "client.portUnification",
    "clientPort",
    "clientPortAddress",
    "clientPortListenBacklog",
    "closeSessionTxn.enabled",
    "cnxTimeout",
    "commitLogCount",
    "connectToLearnerMasterLimit",
    "dataDir",
    "dataLogDir",
    "datadir.autocreate",
    "db.autocreate",
    "digest.enabled",
    "dynamicConfigFile",
    "electionAlg",
    "electionPortBindRetry",
    "emulate353TTLNodes",
    "enforce.auth.enabled",
    "enforce.auth.schemes",
    "enforceQuota",
    "extendedTypesEnabled",
    "fastleader.maxNotificationInterval",
    "fastleader.minNotificationInterval",
    "forceSnapshotSync",
    "forceSync",
    "fsync.warningthresholdms",
    "initLimit",
    "java.security.auth.login.config",
    "jute.maxbuffer",
    "leader.maxTimeToWaitForEpoch",
    "leaderConnectDelayDuringRetryMs",
    "leaderServes",
    "letAnySaslUserDoX",
    "localSessionsEnabled",
    "localSessionsUpgradingEnabled",
    "maxClientCnxns",
    "maxCnxns",
    "maxSessionTimeout",
    "minSessionTimeout",
    "multiAddress.enabled",
    "netty.server.outstandingHandshake.limit",
    "nio.sessionlessCnxnTimeout",
    "oraclePath",
    "peerType",
    "preAllocSize",
    "quorum.auth.enableSasl",
    "quorum.auth.learnerRequireSasl",
    "quorum.auth.serverRequireSasl",
    "quorumCnxnTimeoutMs",
    "quorumListenOnAllIPs",
    "readonlymode.enabled",
    "reconfigEnabled",
    "sasl.serverconfig",
    "secureClientPort",
    "secureClientPortAddress",
    "sessionRequireClientSASLAuth",
    "skipACL",
    "snapCount",
    "snapSizeLimitInKb",
    "ssl.authProvider",
    "ssl.ciphersuites",
    "ssl.clientAuth",
    "ssl.clientHostnameVerification",
    "ssl.context.supplier.class",
    "ssl.crl",
    "ssl.enabledProtocols",
    "ssl.hostnameVerification",
    "ssl.keyStore.location",
    "ssl.keyStore.password",
    "ssl.keyStore.passwordPath",
    "ssl.keyStore.type",
    "ssl.ocsp",
    "ssl.protocol",
    "ssl.trustStore.location",
    "ssl.trustStore.password",
    "ssl.trustStore.passwordPath",
    "ssl.trustStore.type",
    "sslQuorum",
    "standaloneEnabled",
    "syncLimit",
    "tickTime",
    "txnLogSizeLimitInKb",
    "version",
    "znode.container.checkIntervalMs",
    "znode.container.maxNeverUsedIntervalMs",
    "znode.container.maxPerMinute",
    // Ours.
    "zoo.log.core",
    "zoo.replica.core",
    "zoo.shard.cores",
    "zoo.shards",
    "zoo.spin",
];

/// Keys whose point is to protect. Those without which clients would be let in unchecked act, or are errors (see `load`).
const UNPROTECTED: &[&str] =
    &["IPAuthenticationProvider.usexforwardedfor", "audit.enable", "ensembleAuthName", "fips-mode"];

const NOT_BUILT: &[&str] = &[
    "admin.*",
    "audit.impl.class",
    "client.certReload",
    "client.secure",
    "clientCnxnSocket",
    "clientTcpKeepAlive",
    "connectionDecreaseRatio",
    "connectionDropDecrease",
    "connectionDropIncrease",
    "connectionFreezeTime",
    "connectionMaxTokens",
    "connectionTokenFillCount",
    "connectionTokenFillTime",
    "connection_throttle_*",
    "controllerPort",
    "kerberos.*",
    "kinit",
    "largeRequestMaxBytes",
    "largeRequestThreshold",
    "leader.maxConcurrentDiffSyncs",
    "leader.maxConcurrentSnapSyncs",
    "metricsProvider.*",
    "multiAddress.reachabilityCheckEnabled",
    "multiAddress.reachabilityCheckTimeoutMs",
    "observer.*",
    "observerMaster.*",
    "observerMasterPort",
    "portUnification",
    "quorum.auth.*",
    "request_stale_connection_check",
    "request_stale_latency_check",
    "request_throttle_*",
    "request_throttler.shutdownTimeout",
    "requireKerberosConfig",
    "sasl.*",
    "security.auth_to_local",
    "server.principal",
    "server.realm",
    "snapshot.compression.method",
    "ssl.*",
    "sslQuorumReloadCertFiles",
    "syncEnabled",
    "throttled_op_wait_time",
];

const NO_SUCH_PART: &[&str] = &[
    "bitHashCacheSize",
    "commitProcessor.*",
    "disableAutoWatchReset",
    "enableEagerACLCheck",
    "flushDelay",
    "follower.*",
    "forward_learner_requests_to_commit_processor_disabled",
    "globalOutstandingLimit",
    "intBufferStartingSizeBytes",
    "jmx.*",
    "jute.maxbuffer.extrasize",
    "jvm.pause.*",
    "leader.*",
    "learner.*",
    "maxBatchSize",
    "maxGetChildrenResponseCacheSize",
    "maxInProcessingDeadWatchers",
    "maxResponseCacheSize",
    "maxWriteQueuePollTime",
    "messageTracker.*",
    "netty.*",
    "nio.directBufferBytes",
    "nio.numSelectorThreads",
    "nio.numWorkerThreads",
    "nio.shutdownTimeout",
    "pathStats.*",
    "quorum.cnxn.threads.size",
    "request.timeout",
    "serializeLastProcessedZxid.enabled",
    "serverCnxnFactory",
    "snapshot.trust.empty",
    "snapshotSizeFactor",
    "tcpKeepAlive",
    "test.*",
    "testingonly.*",
    "watchManagerName",
    "watcherCleanIntervalInSeconds",
    "watcherCleanThreadsNum",
    "watcherCleanThreshold",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of reference/zookeeper.md 1.11, families by one member.
    const REFERENCE: &str = "dataDir dataLogDir clientPort clientPortAddress secureClientPort secureClientPortAddress
        observerMasterPort clientPortListenBacklog tickTime initLimit syncLimit connectToLearnerMasterLimit maxClientCnxns
        minSessionTimeout maxSessionTimeout localSessionsEnabled localSessionsUpgradingEnabled electionAlg
        quorumListenOnAllIPs peerType syncEnabled dynamicConfigFile autopurge.snapRetainCount autopurge.purgeInterval
        standaloneEnabled reconfigEnabled sslQuorum portUnification sslQuorumReloadCertFiles server.1 group.1 weight.1
        version quorum.auth.enableSasl quorum.auth.serverRequireSasl quorum.auth.learnerRequireSasl
        quorum.auth.learner.saslLoginContext quorum.auth.server.saslLoginContext quorum.auth.kerberos.servicePrincipal
        quorum.cnxn.threads.size jvm.pause.monitor jvm.pause.info-threshold.ms jvm.pause.warn-threshold.ms
        jvm.pause.sleep.time.ms metricsProvider.className metricsProvider.httpPort multiAddress.enabled
        multiAddress.reachabilityCheckTimeoutMs multiAddress.reachabilityCheckEnabled oraclePath globalOutstandingLimit
        preAllocSize snapCount commitLogCount snapSizeLimitInKb txnLogSizeLimitInKb maxCnxns fsync.warningthresholdms
        maxResponseCacheSize maxGetChildrenResponseCacheSize extendedTypesEnabled emulate353TTLNodes watchManagerName
        watcherCleanThreadsNum watcherCleanThreshold watcherCleanIntervalInSeconds maxInProcessingDeadWatchers
        bitHashCacheSize fastleader.minNotificationInterval fastleader.maxNotificationInterval connectionMaxTokens
        connectionTokenFillTime connectionTokenFillCount connectionFreezeTime connectionDropIncrease
        connectionDropDecrease connectionDecreaseRatio connection_throttle_weight_enabled
        connection_throttle_global_session_weight connection_throttle_local_session_weight
        connection_throttle_renew_session_weight serverCnxnFactory flushDelay maxWriteQueuePollTime maxBatchSize
        enforceQuota request_throttle_max_requests request_throttle_stall_time request_throttle_drop_stale
        request_stale_latency_check request_stale_connection_check request_throttler.shutdownTimeout
        netty.advancedFlowControl.enabled enableEagerACLCheck leader.maxConcurrentSnapSyncs leader.maxConcurrentDiffSyncs
        digest.enabled snapshot.compression.method snapshot.trust.empty audit.enable audit.impl.class
        largeRequestMaxBytes largeRequestThreshold netty.server.outstandingHandshake.limit
        netty.server.earlyDropSecureConnectionHandshakes throttled_op_wait_time learner.closeSocketAsync
        leader.closeSocketAsync learner.asyncSending forward_learner_requests_to_commit_processor_disabled
        serializeLastProcessedZxid.enabled leader.maxTimeToWaitForEpoch leaderServes cnxTimeout quorumCnxnTimeoutMs
        4lw.commands.whitelist tcpKeepAlive clientTcpKeepAlive electionPortBindRetry observer.reconnectDelayMs
        observer.election.DelayMs observer.syncEnabled DigestAuthenticationProvider.enabled
        DigestAuthenticationProvider.superDigest DigestAuthenticationProvider.digestAlg
        IPAuthenticationProvider.usexforwardedfor X509AuthenticationProvider.superUser superUser superUser.1
        ssl.authProvider ensembleAuthName sessionRequireClientSASLAuth enforce.auth.enabled enforce.auth.schemes
        authProvider.1 kerberos.removeHostFromPrincipal kerberos.removeRealmFromPrincipal
        kerberos.canonicalizeHostNames client.portUnification client.certReload fips-mode readonlymode.enabled
        follower.skipLearnerRequestToNextProcessor forceSync jute.maxbuffer jute.maxbuffer.extrasize skipACL
        datadir.autocreate db.autocreate nio.numSelectorThreads nio.numWorkerThreads commitProcessor.numWorkerThreads
        commitProcessor.maxReadBatchSize commitProcessor.maxCommitBatchSize znode.container.checkIntervalMs
        znode.container.maxPerMinute znode.container.maxNeverUsedIntervalMs messageTracker.BufferSize
        messageTracker.Enabled admin.enableServer admin.serverAddress admin.serverPort admin.idleTimeout admin.commandURL
        admin.portUnification admin.forceHttps admin.needClientAuth admin.rateLimiterIntervalInMS admin.snapshot.enabled
        admin.restore.enabled ssl.keyStore.location ssl.quorum.keyStore.location ssl.sslProvider ssl.clientAuth
        follower.nodelay leader.nodelay SASLAuthenticationProvider.superPassword admin.httpVersion
        closeSessionTxn.enabled commitProcessor.shutdownTimeout controllerPort disableAutoWatchReset forceSnapshotSync
        intBufferStartingSizeBytes jmx.log4j.disable client.secure kerberos.minReLoginTimeMs kinit
        leader.ackLoggingFrequency leaderConnectDelayDuringRetryMs letAnySaslUserDoX nio.directBufferBytes
        nio.sessionlessCnxnTimeout nio.shutdownTimeout observerMaster.sizeLimit pathStats.enabled request.timeout
        requireKerberosConfig sasl.client.username sasl.clientconfig sasl.serverconfig security.auth_to_local
        server.principal server.realm snapshotSizeFactor test.allowDiscontinuousProposals testingonly.initialZxid";

    #[test]
    fn every_key_of_the_reference_is_known() {
        let unknown: Vec<_> =
            REFERENCE.split_whitespace().filter(|key| effect(key) == Effect::None(NoticeKind::Unknown)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn a_key_stands_in_one_list() {
        let mut all: Vec<_> = [ACTS, UNPROTECTED, NOT_BUILT, NO_SUCH_PART].into_iter().flatten().collect();
        all.sort();
        assert!(all.windows(2).all(|two| two[0] != two[1]));
    }

    #[test]
    fn a_misspelt_key_is_unknown() {
        assert_eq!(effect("snapcount"), Effect::None(NoticeKind::Unknown));
    }
}
