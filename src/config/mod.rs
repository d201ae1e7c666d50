//! The operator's words into typed values: zoo.cfg, the command line, and what both leave open.
//!
//! A zoo.cfg that Apache ZooKeeper accepts is accepted as it is: same syntax ([`properties`]), same keys, units, defaults and
//! errors; keys that do nothing here are named once ([`Notices`]). [`Config`] holds every value that acts, defaults filled
//! in, so that nobody after this room asks what an absent key means. Our own keys begin with `zoo.`:
//!
//! | key | meaning | default |
//! |---|---|---|
//! | `zoo.shards` | number of shards | one for each core that is left |
//! | `zoo.shard.cores` | cores of the shards, as `2-7,9` | every core that replica and log do not use |
//! | `zoo.replica.core` | core of the replica | the first |
//! | `zoo.log.core` | core of the log | the replica's with up to 4 cores, else the second |
//! | `zoo.spin` | microseconds that replica and log look for work before they sleep | 0 with up to 4 cores, else 50 |
//!
//! Three things differ from Apache's server on purpose: old snapshots are purged unless `autopurge.purgeInterval` says
//! otherwise; `jute.maxbuffer`, `readonlymode.enabled` and `znode.container.*`, which Apache reads as Java system properties
//! only, act in the file too, with and without the `zookeeper.` prefix; and a setting that keeps out clients who have not
//! proved who they are is an error where it cannot be kept.

mod cores;
mod data_dir;
mod dynamic;
mod ensemble;
mod error;
mod fill;
mod jaas;
mod jvm_flags;
mod keys;
mod load;
mod notices;
pub mod properties;
mod security;
mod settings;
mod stores;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

pub use cores::{Cores, SHARDS_MAX, SPIN_US_DEFAULT, SPIN_US_MAX, parse_list as parse_core_list};
pub use data_dir::{FOLDER, check_log, check_voter, expect_log, folder, prepare, take_initialize};
pub use error::{ConfigError, ErrorKind, Place};
pub use fill::Start;
pub use jvm_flags::VARIABLES as JVM_FLAGS_VARIABLES;
pub use load::{Machine, Source, load, load_with_flags};
pub use notices::{Notice, NoticeKind, Notices};
pub use security::{SecurityConfig, TlsConfig};

use crate::admin::word::Whitelist;
use crate::quorum::{Membership, PeerType};

/// Every value that acts, as it is after defaults, units and corrections.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect, and how many may.
    pub client: ClientConfig,
    /// How long sessions live.
    pub session: SessionConfig,
    /// Who may do what.
    pub access: AccessConfig,
    /// TLS and SASL.
    pub security: SecurityConfig,
    /// What the tree allows.
    pub tree: TreeConfig,
    /// Where and how data is kept.
    pub storage: StorageConfig,
    /// Which thread runs where.
    pub cores: Cores,
    /// `myid`, if there is such a file.
    pub my_id: Option<i64>,
    /// The ensemble this server is to be part of; `None` for a single server.
    pub quorum: Option<QuorumConfig>,
    /// What to tell the operator.
    pub notices: Notices,
}

/// Where clients connect, and how many may.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `clientPort` and `clientPortAddress`, or the client address of this server's own `server.N` line. `None` if there is only
    /// the port for TLS.
    pub listen: Option<Listen>,
    /// `clientPortListenBacklog`; `None` leaves it to the server (Java's is 50).
    pub listen_backlog: Option<u32>,
    /// `maxClientCnxns`: connections from one address; `None` is no limit.
    pub cnxns_per_address_max: Option<u32>,
    /// `maxCnxns`: connections in all; `None` is no limit.
    pub cnxns_max: Option<u32>,
    /// `nio.sessionlessCnxnTimeout`, milliseconds: a connection without a session is closed after it.
    pub sessionless_timeout_ms: u32,
    /// `jute.maxbuffer`, bytes: a longer request is refused and its connection closed.
    pub request_len_max: u32,
    /// `4lw.commands.whitelist`.
    pub four_letter_words: Whitelist,
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// `None`: all interfaces, IPv6 and IPv4.
    pub host: Option<IpAddr>,
    /// TCP port; 0 lets the system choose.
    pub port: u16,
}

/// `host:port`, `*` for all interfaces.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            None => write!(f, "*:{}", self.port),
            Some(host) => write!(f, "{}", std::net::SocketAddr::new(host, self.port)),
        }
    }
}

/// How long sessions live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// `tickTime`, milliseconds: the step of all session times.
    pub tick_ms: u32,
    /// `minSessionTimeout`, milliseconds; by default 2 ticks.
    pub timeout_min_ms: u32,
    /// `maxSessionTimeout`, milliseconds; by default 20 ticks.
    pub timeout_max_ms: u32,
    /// `readonlymode.enabled`: also allows the word `isro`.
    pub read_only_mode: bool,
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessConfig {
    /// `enforce.auth.schemes`, if `enforce.auth.enabled`: a client that has an identity of none of these schemes may only
    /// authenticate, and is answered SESSIONCLOSEDREQUIRESASLAUTH and closed for anything else. Empty: everyone may ask.
    pub enforced_schemes: BTreeSet<String>,
    /// `skipACL`: no access is ever checked.
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.enabled`.
    pub digest_enabled: bool,
    /// `DigestAuthenticationProvider.digestAlg`.
    pub digest_algorithm: DigestAlgorithm,
    /// `DigestAuthenticationProvider.superDigest`, `user:base64(hash(user:password))`: whoever proves it may do everything.
    pub super_digest: Option<Secret>,
}

/// A hash by the name that Java gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// The default.
    #[default]
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A text that no log line or error may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What the tree allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeConfig {
    /// `extendedTypesEnabled`: TTL nodes.
    pub extended_types: bool,
    /// `emulate353TTLNodes`: owners of TTL nodes are read as ZooKeeper 3.5.3 wrote them.
    pub emulate_353: bool,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// `enforceQuota`: hard quotas refuse writes.
    pub enforce_quota: bool,
    /// `digest.enabled`: the tree's digest is kept and shown by `hash`.
    pub digest_enabled: bool,
    /// `closeSessionTxn.enabled`: closeSession transactions carry the paths that they delete.
    pub close_session_txn: bool,
    /// `znode.container.checkIntervalMs`, milliseconds.
    pub container_check_interval_ms: u32,
    /// `znode.container.maxPerMinute`: most container and TTL nodes removed in a minute.
    pub container_removals_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs`, milliseconds; `None`: a container that never had a child stays.
    pub container_never_used_ms: Option<u64>,
}

/// Where and how data is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// `dataDir`, absolute: `myid`, and snapshots in the folder [`FOLDER`].
    pub data_dir: PathBuf,
    /// `dataLogDir`, absolute, by default `dataDir`: the log in the folder [`FOLDER`].
    pub data_log_dir: PathBuf,
    /// `datadir.autocreate`: missing folders are made.
    pub autocreate: bool,
    /// `forceSync`: without it a write is acknowledged before it is durable.
    pub force_sync: bool,
    /// `fsync.warningthresholdms`: a sync of the log that takes longer is told.
    pub sync_warning_ms: u64,
    /// `snapCount`: transactions between snapshots.
    pub snap_count: u32,
    /// `snapSizeLimitInKb`, in bytes: log between snapshots; `None` is no limit.
    pub snap_log_bytes: Option<u64>,
    /// `preAllocSize`, in bytes, but not more than `txnLogSizeLimitInKb`: size of a log segment.
    pub segment_bytes: u64,
    /// `autopurge.*`.
    pub autopurge: Autopurge,
}

/// When old snapshots and the log before them are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autopurge {
    /// `autopurge.snapRetainCount`: how many snapshots stay, at least 3.
    pub retain: u32,
    /// When.
    pub when: PurgeWhen,
}

/// When to purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeWhen {
    /// Whenever a snapshot is complete: so it is here if nothing is said.
    AfterSnapshot,
    /// Every so many milliseconds, and at start.
    EveryMs(u64),
    /// Never (`autopurge.purgeInterval=0`).
    Never,
}

/// What an ensemble needs to know besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// All members.
    pub ensemble: Membership,
    /// A newer configuration that was proposed when the server ended (`zoo.cfg.dynamic.next`).
    pub last_seen: Option<Membership>,
    /// `standaloneEnabled`: one voter is no ensemble.
    pub standalone_enabled: bool,
    /// Where members that change at runtime are kept.
    pub config_files: ConfigFiles,
    /// Which of them this is.
    pub my_id: i64,
    /// `initLimit`, ticks.
    pub init_limit: u32,
    /// `syncLimit`, ticks.
    pub sync_limit: u32,
    /// `connectToLearnerMasterLimit`, ticks; 0 stands for `initLimit`.
    pub connect_to_learner_master_limit: u32,
    /// The role, which the list of members decides.
    pub peer_type: PeerType,
    /// `localSessionsEnabled`.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`.
    pub local_sessions_upgrading: bool,
    /// `quorumListenOnAllIPs`: election and quorum port are open on all addresses.
    pub listen_on_all: bool,
    /// `multiAddress.enabled`: handshakes name all addresses of a server.
    pub multi_address: bool,
    /// `electionPortBindRetry`: attempts to open the election port; 0 is no limit.
    pub bind_tries_max: u32,
    /// `cnxTimeout`, milliseconds: how long it may take to connect to an election port.
    pub connect_timeout_ms: u32,
    /// `quorumCnxnTimeoutMs`, or syncLimit ticks: how long a handshake at the election port may take, milliseconds.
    pub handshake_timeout_ms: u64,
    /// `leaderConnectDelayDuringRetryMs`: between two attempts to connect to the leader, milliseconds.
    pub dial_pause_ms: u32,
    /// `fastleader.minNotificationInterval`, milliseconds: after so long votes are sent again.
    pub notification_min_ms: u32,
    /// `fastleader.maxNotificationInterval`, milliseconds.
    pub notification_max_ms: u32,
    /// `leader.maxTimeToWaitForEpoch`, milliseconds; `None` is no limit of its own.
    pub epoch_wait_max_ms: Option<u32>,
    /// `leaderServes`: clients may connect to the leader.
    pub leader_serves: bool,
    /// `commitLogCount`: transactions kept in memory for learners that come back, at the least.
    pub history_len: u32,
    /// `forceSnapshotSync`: a leader sends its whole state to every learner.
    pub force_snapshot_sync: bool,
    /// `db.autocreate`: an empty data folder is an empty tree, and may vote.
    pub db_autocreate: bool,
}

/// Where members that change at runtime are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigFiles {
    /// Nowhere: there is no zoo.cfg, or members stand on the command line.
    None,
    /// In this zoo.cfg at present; in a file of their own from the first change on.
    Static(PathBuf),
    /// In a file of their own, to which this zoo.cfg points.
    Dynamic(PathBuf),
}

/// Keeps a zoo.cfg that reconfigurations may change, as `zoo.cfg.bak`: at each start that finds the members in it, as Apache's
/// server does. Who may not write there hears of it, and is served all the same.
pub fn back_up(config: &Config) {
    if config.tree.reconfig_enabled
        && let Some(quorum) = &config.quorum
        && let ConfigFiles::Static(file) = &quorum.config_files
        && let Err(error) = dynamic::back_up(file)
    {
        tracing::warn!(%error, "zoo.cfg could not be kept aside");
    }
}
