//! From the configuration to the options of the rooms.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::dynamic::DynamicFiles;
use super::*;
use crate::admin::status::{About as Told, ConfStatus, EnvironmentStatus, MemberStatus};
use crate::ids::ServerId;
use crate::quorum::ChangeRules;
use crate::time::Instant;
use crate::zab::HistoryOptions;
use crate::{pipeline, replica, server, storage, tree};

/// Connections that wait to be accepted, if nothing is said: more than Java's 50, because clients that lost a server come
/// back all at once.
const LISTEN_BACKLOG_DEFAULT: u32 = 1024;

/// The number that stands in the session ids of a single server, whatever its `myid` says (`ZooKeeperServer`).
const STANDALONE_SESSION_SERVER_ID: ServerId = ServerId(1);

/// How long the end of the server may take before connections are cut: SIGTERM ends it in under a second.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Handshakes that may go on at once if nothing is said. Apache's server has no limit then; more than these would only time out.
const HANDSHAKES_MAX_DEFAULT: u32 = 4096;

/// A record is longer than the request that caused it: the path of a sequential znode, a header, the stat of each part of a
/// multi. And a closed session's record names all its ephemerals, however short the request was.
const RECORD_LEN_MIN: usize = 8 << 20;

/// What only the moment of the start can tell.
#[derive(Clone, Debug)]
pub struct Start {
    /// Now.
    pub now: Instant,
    /// Numbers that nobody can guess.
    pub random: [u64; 3],
    /// What `envi` tells.
    pub environment: EnvironmentStatus,
    /// Whether this machine speaks IPv6.
    pub has_ipv6: bool,
}

impl Config {
    /// The options of the server, alone or a member of an ensemble. The folders are those that [`prepare`] made.
    pub fn server_options(&self, start: &Start) -> server::options::Options {
        let [hash_seed, log_id, seed] = start.random;
        let auth = pipeline::auth::Options {
            skip_acl: self.access.skip_acl,
            digest_enabled: self.access.digest_enabled,
            digest_algorithm: match self.access.digest_algorithm {
                DigestAlgorithm::Sha1 => pipeline::auth::DigestAlgorithm::Sha1,
                DigestAlgorithm::Sha224 => pipeline::auth::DigestAlgorithm::Sha224,
                DigestAlgorithm::Sha256 => pipeline::auth::DigestAlgorithm::Sha256,
                DigestAlgorithm::Sha384 => pipeline::auth::DigestAlgorithm::Sha384,
                DigestAlgorithm::Sha512 => pipeline::auth::DigestAlgorithm::Sha512,
            },
            super_digest: self.access.super_digest.as_ref().map(|digest| digest.0.clone()),
            sasl: self.security.sasl_scheme,
            sasl_super_users: self.security.sasl_super_users.clone(),
            any_sasl_user: self.security.any_sasl_user.clone(),
            x509: self.security.x509_scheme,
            x509_super_user: self.security.x509_super_user.clone(),
        };
        let tls = self.security.tls.as_ref();
        let pipeline = pipeline::Options {
            auth: auth.clone(),
            extended_types: self.tree.extended_types,
            emulate_353: self.tree.emulate_353,
            enforce_quota: self.tree.enforce_quota,
            reconfig_enabled: self.tree.reconfig_enabled,
            // The server sets it from what the log takes.
            txn_bytes_max: pipeline::Options::default().txn_bytes_max,
            close_session_txn: self.tree.close_session_txn,
            session_timeout_min_ms: self.session.timeout_min_ms.cast_signed(),
            session_timeout_max_ms: self.session.timeout_max_ms.cast_signed(),
            container_never_used_max_ms: self
                .tree
                .container_never_used_ms
                .map_or(0, |interval| i64::try_from(interval).unwrap_or(i64::MAX)),
            epoch_txns_max: pipeline::Options::default().epoch_txns_max,
        };
        let tree = tree::Options { hash_seed, digest_enabled: self.tree.digest_enabled, owners: pipeline.owners() };
        let request_len_max = self.client.request_len_max as usize;
        let record_len_max = RECORD_LEN_MIN.max(request_len_max.saturating_mul(2));
        let storage = storage::core::Options {
            segment_len: self.storage.segment_bytes,
            record_len_max,
            force_sync: self.storage.force_sync,
            snapshots_retained: match self.storage.autopurge.when {
                PurgeWhen::Never => 0,
                PurgeWhen::AfterSnapshot | PurgeWhen::EveryMs(_) => self.storage.autopurge.retain as usize,
            },
        };
        let replica = replica::Options {
            shards: self.cores.shards.len(),
            snapshot_txns_max: u64::from(self.storage.snap_count),
            snapshot_bytes_max: self.storage.snap_log_bytes.unwrap_or(0),
            container_check_interval_ms: u64::from(self.tree.container_check_interval_ms),
            containers_per_minute_max: self.tree.container_removals_per_minute,
            seed,
        };
        let (snapshot_folder, log_folder) = (folder(&self.storage.data_dir), folder(&self.storage.data_log_dir));
        let about = server::options::About {
            told: Told { conf: self.conf_status(), environment: start.environment.clone() },
            client_port: self.client.listen.map_or(0, |listen| listen.port),
            data_folder: snapshot_folder.clone(),
            log_folder: log_folder.clone(),
            started: start.now,
        };
        server::options::Options {
            listen: self.client.listen.map(|listen| address(listen, start.has_ipv6)),
            secure_listen: tls.and_then(|tls| tls.listen).map(|listen| address(listen, start.has_ipv6)),
            listen_backlog: self.client.listen_backlog.unwrap_or(LISTEN_BACKLOG_DEFAULT),
            snapshot_folder,
            log_folder,
            log_id,
            recovery_threads: self.cores.shards.len().clamp(1, 8),
            server_id: self.quorum.as_ref().map_or(STANDALONE_SESSION_SERVER_ID, |quorum| ServerId(quorum.my_id)),
            cores: server::options::Cores {
                shards: self.cores.shards.iter().copied().map(Some).collect(),
                replica: Some(self.cores.replica),
                log: Some(self.cores.log),
                spin: Duration::from_micros(u64::from(self.cores.spin_us)),
            },
            connections_per_address_max: self.client.cnxns_per_address_max.unwrap_or(0),
            connections_max: self.client.cnxns_max.unwrap_or(0),
            shard: server::options::ShardOptions {
                frame_bytes_max: request_len_max,
                queued_bytes_max: server::options::queued_bytes_max(self.cores.shards.len()),
                held_bytes_max: server::options::held_bytes_max(self.cores.shards.len()),
                hash_seed,
                auth,
                enforced_schemes: self.access.enforced_schemes.clone(),
                sasl: self.security.sasl_users.clone().map(|users| server::options::SaslOptions {
                    users,
                    failed_allowed: self.security.sasl_failed_allowed,
                }),
                tls: tls.map(|tls| server::options::TlsOptions {
                    acceptor: tls.acceptor.clone(),
                    port_unification: tls.port_unification,
                    handshakes_max: tls.handshakes_max.unwrap_or(HANDSHAKES_MAX_DEFAULT),
                    handshake_timeout: Duration::from_millis(u64::from(self.client.sessionless_timeout_ms)),
                }),
                sessionless_timeout: Duration::from_millis(u64::from(self.client.sessionless_timeout_ms)),
                leader_serves: self.quorum.as_ref().is_none_or(|quorum| quorum.leader_serves),
                tick_ms: self.session.tick_ms,
                drain_timeout: DRAIN_TIMEOUT,
                words: self.client.four_letter_words.clone(),
                about: Arc::new(about),
            },
            pipeline,
            replica,
            storage: storage.checked(),
            sync_warning: Duration::from_millis(self.storage.sync_warning_ms),
            tree,
            ensemble: self.quorum.as_ref().map(|quorum| quorum.options(self, record_len_max)),
            fault: None,
        }
    }

    fn conf_status(&self) -> ConfStatus {
        ConfStatus {
            secure_client_port: self
                .security
                .tls
                .as_ref()
                .and_then(|tls| tls.listen)
                .map_or(-1, |listen| i32::from(listen.port)),
            data_dir: folder(&self.storage.data_dir).display().to_string(),
            data_log_dir: folder(&self.storage.data_log_dir).display().to_string(),
            tick_ms: self.session.tick_ms,
            cnxns_per_address_max: self.client.cnxns_per_address_max.unwrap_or(0),
            timeout_min_ms: self.session.timeout_min_ms,
            timeout_max_ms: self.session.timeout_max_ms,
            listen_backlog: self.client.listen_backlog.map_or(-1, u32::cast_signed),
            // A single server has none, whatever `myid` says.
            server_id: self.quorum.as_ref().map_or(0, |quorum| quorum.my_id),
            member: self.quorum.as_ref().map(QuorumConfig::member_status),
        }
    }
}

impl QuorumConfig {
    fn options(&self, config: &Config, record_len_max: usize) -> server::options::EnsembleOptions {
        let (my_id, membership) = (ServerId(self.my_id), Arc::new(self.ensemble.clone()));
        let tick = Duration::from_millis(u64::from(config.session.tick_ms));
        let dial_ticks = match self.connect_to_learner_master_limit {
            0 => self.init_limit,
            limit => limit,
        };
        let defaults = server::options::EnsembleOptions::new(my_id, membership);
        server::options::EnsembleOptions {
            replica: replica::EnsembleOptions {
                last_seen: self.last_seen.clone().map(Arc::new),
                change_rules: ChangeRules {
                    standalone_enabled: self.standalone_enabled,
                    multi_address: self.multi_address,
                },
                tick_ms: config.session.tick_ms,
                init_limit: self.init_limit,
                sync_limit: self.sync_limit,
                notification_min_ms: u64::from(self.notification_min_ms),
                notification_max_ms: u64::from(self.notification_max_ms),
                epoch_wait_max_ms: self.epoch_wait_max_ms.map(u64::from),
                read_only_mode: config.session.read_only_mode,
                local_sessions: self.local_sessions,
                local_session_upgrading: self.local_sessions_upgrading,
                force_snapshot_sync: self.force_snapshot_sync,
                // Far more than Apache's 500 by default: a learner that was away for a minute gets what it missed, not everything.
                history: HistoryOptions {
                    count_max: defaults.replica.history.count_max.max(self.history_len as usize),
                    count_min: self.history_len as usize,
                    ..defaults.replica.history
                },
                packet_bytes_max: record_len_max,
                ..defaults.replica
            },
            peers: server::options::PeerOptions {
                listen_on_all: self.listen_on_all,
                multi_address: self.multi_address,
                bind_tries_max: self.bind_tries_max,
                connect_timeout: Duration::from_millis(u64::from(self.connect_timeout_ms)),
                handshake_timeout: Duration::from_millis(self.handshake_timeout_ms),
                dial_budget: tick * dial_ticks,
                dial_pause: Duration::from_millis(u64::from(self.dial_pause_ms)),
                ..defaults.peers
            },
            config_store: match &self.config_files {
                ConfigFiles::None => None,
                ConfigFiles::Static(file) | ConfigFiles::Dynamic(file) => {
                    Some(Arc::new(DynamicFiles::new(file.clone(), my_id, &self.ensemble, self.last_seen.as_ref())))
                }
            },
        }
    }

    fn member_status(&self) -> MemberStatus {
        let own = self.ensemble.members.get(&ServerId(self.my_id)).and_then(|member| member.addresses.first());
        MemberStatus {
            init_limit: self.init_limit,
            sync_limit: self.sync_limit,
            election_port: own.map_or(0, |address| address.election.port),
            quorum_port: own.map_or(0, |address| address.quorum.port),
            is_observer: self.peer_type == PeerType::Observer,
            membership: self.ensemble.to_text(),
        }
    }
}

/// All interfaces are the IPv6 ones where there are any, which take IPv4 too.
fn address(listen: Listen, has_ipv6: bool) -> SocketAddr {
    let any = if has_ipv6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    SocketAddr::new(listen.host.unwrap_or(any), listen.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(settings: &[(&str, &str)]) -> server::options::Options {
        let settings: Vec<_> = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let config = load(&Source::Default, &settings, &Machine::with_cores([0, 1])).unwrap();
        let environment = EnvironmentStatus::default();
        config.server_options(&Start { now: Instant(5), random: [1, 2, 3], environment, has_ipv6: true })
    }

    #[test]
    fn values_reach_their_rooms() {
        let options = options(&[
            ("dataDir", "/data"),
            ("dataLogDir", "/log"),
            ("clientPortAddress", "0.0.0.0"),
            ("jute.maxbuffer", "20000000"),
            ("maxClientCnxns", "0"),
            ("maxCnxns", "9"),
            ("tickTime", "100"),
            ("autopurge.purgeInterval", "0"),
            ("snapSizeLimitInKb", "-1"),
            ("forceSync", "no"),
            ("fsync.warningthresholdms", "0x14"),
            ("DigestAuthenticationProvider.superDigest", "super:x"),
            ("extendedTypesEnabled", "true"),
            ("digest.enabled", "false"),
            ("znode.container.maxNeverUsedIntervalMs", "77"),
        ]);
        assert_eq!(options.listen.unwrap().to_string(), "[::]:2181");
        assert_eq!(options.snapshot_folder.to_str(), Some("/data/zoo-1"));
        assert_eq!(options.log_folder.to_str(), Some("/log/zoo-1"));
        assert_eq!(options.shard.about.told.conf.data_log_dir, "/log/zoo-1");
        assert_eq!(options.shard.frame_bytes_max, 20_000_000);
        assert_eq!(options.storage.record_len_max, 40_000_000);
        assert!(options.storage.segment_len > 80_000_000, "two of the longest records fit");
        assert_eq!((options.connections_per_address_max, options.connections_max), (0, 9));
        assert_eq!((options.shard.tick_ms, options.pipeline.session_timeout_max_ms), (100, 2000));
        assert_eq!((options.storage.snapshots_retained, options.replica.snapshot_bytes_max), (0, 0));
        assert!(!options.storage.force_sync);
        assert_eq!(options.sync_warning, Duration::from_millis(20));
        assert_eq!(options.shard.auth.super_digest.as_deref(), Some("super:x"));
        assert_eq!(options.shard.auth, options.pipeline.auth);
        assert!(options.pipeline.extended_types && options.tree.owners.extended_types);
        assert!(!options.tree.digest_enabled);
        assert_eq!(options.pipeline.container_never_used_max_ms, 77);
        assert_eq!(options.replica.shards, options.cores.shards.len());
    }

    #[test]
    fn a_member_of_an_ensemble() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("myid"), "2").unwrap();
        let server = |n: i32| (format!("server.{n}"), format!("h{n}:288{n}:388{n};218{n}"));
        let mut settings: Vec<_> = [1, 2, 3].map(server).to_vec();
        for (key, value) in [
            ("dataDir", dir.path().to_str().unwrap()),
            ("clientPort", "2182"),
            ("clientPortAddress", "0.0.0.0"),
            ("tickTime", "1000"),
            ("initLimit", "7"),
            ("syncLimit", "3"),
            ("leaderServes", "no"),
            ("commitLogCount", "200000"),
            ("readonlymode.enabled", "true"),
        ] {
            settings.push((key.to_owned(), value.to_owned()));
        }
        let config = load(&Source::Default, &settings, &Machine::with_cores([0, 1])).unwrap();
        let environment = EnvironmentStatus::default();
        let options = config.server_options(&Start { now: Instant(5), random: [1, 2, 3], environment, has_ipv6: true });
        assert_eq!((options.server_id, options.shard.leader_serves), (ServerId(2), false));
        assert_eq!(options.listen.map(|listen| listen.port()), Some(2182));
        let conf = options.shard.about.told.conf.member.as_ref().unwrap();
        assert_eq!((conf.quorum_port, conf.election_port, conf.init_limit), (2882, 3882, 7));
        assert!(conf.membership.starts_with("server.1=h1:2881:3881:participant;0.0.0.0:2181\n"), "{}", conf.membership);
        let ensemble = options.ensemble.unwrap();
        assert_eq!(ensemble.peers.dial_budget, Duration::from_secs(7));
        assert_eq!(ensemble.peers.handshake_timeout, Duration::from_secs(3));
        assert_eq!((ensemble.replica.tick_ms, ensemble.replica.init_limit, ensemble.replica.sync_limit), (1000, 7, 3));
        assert_eq!((ensemble.replica.history.count_max, ensemble.replica.history.count_min), (200_000, 200_000));
        assert!(ensemble.replica.read_only_mode);
    }

    #[test]
    fn defaults_reach_their_rooms() {
        let options = options(&[]);
        assert_eq!(options.listen.unwrap().to_string(), "127.0.0.1:2181");
        assert_eq!(options.storage.snapshots_retained, 3);
        assert_eq!(options.replica.snapshot_txns_max, 100_000);
        assert_eq!(options.replica.snapshot_bytes_max, 4 << 30);
        assert_eq!(options.cores.shards, [Some(1)]);
        assert_eq!(options.server_id, ServerId(1));
        assert_eq!(options.shard.about.told.conf.listen_backlog, -1);
    }
}
