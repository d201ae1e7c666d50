//! What the server wants to be told before it starts; `config` fills it from the operator's words.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::admin;
use crate::ids::ServerId;
use crate::pipeline;
use crate::quorum::{ChangeRules, Membership};
use crate::replica;
use crate::rt::{clock, process};
use crate::storage;
use crate::time::Instant;
use crate::tls;
use crate::tree;
use crate::zab::HistoryOptions;

/// A whole server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where clients connect; `None`: by TLS only.
    pub listen: Option<SocketAddr>,
    /// Where clients connect by TLS (`secureClientPort`); needs [`ShardOptions::tls`].
    pub secure_listen: Option<SocketAddr>,
    /// Connections that may wait to be accepted.
    pub listen_backlog: u32,
    /// Where snapshots are kept.
    pub snapshot_folder: PathBuf,
    /// Where the log is kept; may be the same.
    pub log_folder: PathBuf,
    /// Names a log that begins in an empty folder: drawn at random.
    pub log_id: u64,
    /// Threads that help to decode a snapshot.
    pub recovery_threads: usize,
    /// The server's number, which stands in the top byte of its sessions' ids.
    pub server_id: ServerId,
    /// Which core runs what.
    pub cores: Cores,
    /// Connections from one address (`maxClientCnxns`); 0: no limit.
    pub connections_per_address_max: u32,
    /// Connections in all (`maxCnxns`); 0: no limit.
    pub connections_max: u32,
    /// What shards need to know.
    pub shard: ShardOptions,
    /// What turns requests into transactions.
    pub pipeline: pipeline::Options,
    /// How the replica behaves.
    pub replica: replica::Options,
    /// How data is kept.
    pub storage: storage::core::Options,
    /// The tree's.
    pub tree: tree::Options,
    /// The ensemble that it is a member of; `None` for a server that stands alone.
    pub ensemble: Option<EnsembleOptions>,
    /// Fail the n-th write or sync of the disk: for tests of real processes only.
    pub fault: Option<crate::rt::faulty::Fault>,
}

impl Options {
    /// One server with defaults throughout, its data in `folder`, on a port of the loopback that the system chooses. Its
    /// threads run wherever the kernel likes. `config` begins with it, and programs that embed a server leave it at that.
    pub fn in_folder(folder: &Path) -> Self {
        let hash_seed = process::random();
        let pipeline = pipeline::Options::default();
        let cores = Cores { shards: vec![None], replica: None, log: None, spin: Duration::ZERO };
        let about = About {
            told: admin::status::About::default(),
            client_port: 0,
            data_folder: folder.to_owned(),
            log_folder: folder.to_owned(),
            started: clock::now(),
        };
        Self {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            secure_listen: None,
            listen_backlog: 1024,
            snapshot_folder: folder.to_owned(),
            log_folder: folder.to_owned(),
            log_id: process::random(),
            recovery_threads: 1,
            server_id: ServerId(0),
            connections_per_address_max: 0,
            connections_max: 0,
            shard: ShardOptions {
                frame_bytes_max: FRAME_BYTES_MAX,
                queued_bytes_max: queued_bytes_max(cores.shards.len()),
                held_bytes_max: held_bytes_max(cores.shards.len()),
                hash_seed,
                auth: pipeline.auth.clone(),
                enforced_schemes: BTreeSet::new(),
                sasl: None,
                tls: None,
                sessionless_timeout: Duration::from_secs(10),
                leader_serves: true,
                tick_ms: 2000,
                drain_timeout: Duration::from_millis(500),
                words: admin::Whitelist::parse(None, false),
                about: Arc::new(about),
            },
            replica: replica::Options {
                shards: cores.shards.len(),
                snapshot_txns_max: 100_000,
                snapshot_bytes_max: 4 << 30,
                container_check_interval_ms: 60_000,
                containers_per_minute_max: 10_000,
                seed: process::random(),
            },
            cores,
            storage: storage::core::Options::default(),
            tree: tree::Options { hash_seed, digest_enabled: true, owners: pipeline.owners() },
            pipeline,
            ensemble: None,
            fault: None,
        }
    }
}

/// A server's part in an ensemble.
#[derive(Clone, Debug)]
pub struct EnsembleOptions {
    /// How it elects, leads and follows.
    pub replica: replica::EnsembleOptions,
    /// How it speaks with the others.
    pub peers: PeerOptions,
    /// Where changed configurations are kept; `None`: nowhere, a restart begins with the first.
    pub config_store: Option<Arc<dyn ConfigStore>>,
}

/// Where a server keeps the ensemble's configurations. Called on the thread of the log, so that what is saved is durable before what
/// the log is given behind it.
pub trait ConfigStore: fmt::Debug + Send + Sync {
    /// Makes these durable: the configuration that holds, and a newer one that is proposed.
    ///
    /// # Errors
    /// What could not be written and why, for the operator: the server goes on, as Apache's does, and would begin again with
    /// what is there.
    fn save(&self, committed: &Membership, last_seen: Option<&Membership>) -> Result<(), String>;
}

impl EnsembleOptions {
    /// With Apache's defaults, and `tickTime` 2000, `initLimit` 10, `syncLimit` 5.
    pub fn new(my_id: ServerId, membership: Arc<Membership>) -> Self {
        let replica = replica::EnsembleOptions {
            my_id,
            membership: membership.clone(),
            last_seen: None,
            change_rules: ChangeRules { standalone_enabled: true, multi_address: false },
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            notification_min_ms: 200,
            notification_max_ms: 60_000,
            finalize_wait_ms: 200,
            epoch_wait_max_ms: None,
            read_only_mode: false,
            local_sessions: false,
            local_session_upgrading: false,
            force_snapshot_sync: false,
            history: HistoryOptions::default(),
            packet_bytes_max: storage::core::Options::default().record_len_max,
        };
        Self { replica, peers: PeerOptions::new(my_id, membership), config_store: None }
    }
}

/// What this server needs to know of the others, and how it speaks with them.
#[derive(Clone, Debug)]
pub struct PeerOptions {
    /// This server's number; a member has it.
    pub my_id: ServerId,
    /// All servers, and where they are.
    pub membership: Arc<Membership>,
    /// Election and quorum port are open on all addresses of the machine (`quorumListenOnAllIPs`), not only on the member's own.
    pub listen_on_all: bool,
    /// Members may have several addresses, and all servers understand that (`multiAddress.enabled`).
    pub multi_address: bool,
    /// Attempts to open the election port (`electionPortBindRetry`), a second apart; 0: without end.
    pub bind_tries_max: u32,
    /// How long it may take to connect to an election port (`cnxTimeout`).
    pub connect_timeout: Duration,
    /// How long who connects to our election port may take to say who he is (`quorumCnxnTimeoutMs`).
    pub handshake_timeout: Duration,
    /// How long all attempts to connect to the leader may take together (`connectToLearnerMasterLimit`, `initLimit`).
    pub dial_budget: Duration,
    /// Between two of them (`leaderConnectDelayDuringRetryMs`).
    pub dial_pause: Duration,
    /// Bytes that may wait to be sent to one learner, or to the leader; the connection ends beyond it.
    pub link_bytes_max: usize,
}

impl PeerOptions {
    /// With Apache's defaults, and `tickTime` 2000, `initLimit` 10, `syncLimit` 5.
    pub fn new(my_id: ServerId, membership: Arc<Membership>) -> Self {
        Self {
            my_id,
            membership,
            listen_on_all: false,
            multi_address: false,
            bind_tries_max: 3,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            dial_budget: Duration::from_secs(20),
            dial_pause: Duration::from_millis(100),
            link_bytes_max: LINK_BYTES_MAX,
        }
    }
}

/// Bytes that may wait for one learner unless something else is said. Much, because what is proposed while it takes a snapshot
/// waits here.
pub const LINK_BYTES_MAX: usize = 1 << 30;

/// `jute.maxbuffer` where nothing is said: Apache's default.
pub const FRAME_BYTES_MAX: usize = 0xf_ffff;

/// Bytes of requests that may wait for the disk over the whole server, unless there are so many shards that each would have less
/// than a few connections' worth.
const QUEUED_BYTES_MAX: usize = 256 << 20;

/// [`ShardOptions::queued_bytes_max`] for each of so many shards.
pub fn queued_bytes_max(shards: usize) -> usize {
    (QUEUED_BYTES_MAX / shards).max(16 << 20)
}

/// The part of the machine's memory that answers may take up which clients do not take.
const HELD_MEMORY_PART: u64 = 8;

/// [`ShardOptions::held_bytes_max`] for each of so many shards: more than the largest answer.
pub fn held_bytes_max(shards: usize) -> usize {
    let memory = process::memory().map_or(0, |(_, most)| most);
    ((memory / HELD_MEMORY_PART) as usize / shards).max(256 << 20)
}

/// Which core runs what. `None`: wherever the kernel likes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// One for each shard.
    pub shards: Vec<Option<usize>>,
    /// The replica's.
    pub replica: Option<usize>,
    /// The log's.
    pub log: Option<usize>,
    /// How long executors look for work before they sleep.
    pub spin: Duration,
}

/// What a shard needs to know.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// The longest request that is taken (`jute.maxbuffer`), in bytes.
    pub frame_bytes_max: usize,
    /// Bytes of requests that may wait for the disk over all connections of a shard; beyond it who wants to add to them is not
    /// read from.
    pub queued_bytes_max: usize,
    /// Bytes of answers and events that clients of a shard may leave untaken together; beyond it the connection that holds the
    /// most of them is closed.
    pub held_bytes_max: usize,
    /// Seed of the watch table's hash.
    pub hash_seed: u64,
    /// How clients prove who they are, and whether it matters.
    pub auth: pipeline::auth::Options,
    /// Schemes of which a client must have one before it may ask anything (`enforce.auth.schemes`); empty: none.
    pub enforced_schemes: BTreeSet<String>,
    /// SASL for clients; `None`: it is answered as by a server where it is not set up.
    pub sasl: Option<SaslOptions>,
    /// TLS for clients; `None`: no port takes it.
    pub tls: Option<TlsOptions>,
    /// How long a connection may take to become a session.
    pub sessionless_timeout: Duration,
    /// Whether clients may connect while this server leads (`leaderServes`).
    pub leader_serves: bool,
    /// Milliseconds of a tick.
    pub tick_ms: u32,
    /// How long the end of a connection, or of the server, may take.
    pub drain_timeout: Duration,
    /// Which four-letter words are answered.
    pub words: admin::word::Whitelist,
    /// What `conf`, `envi` and others tell of the server.
    pub about: Arc<About>,
}

/// SASL for clients.
#[derive(Clone, Debug)]
pub struct SaslOptions {
    /// Who they may be, with their passwords.
    pub users: pipeline::auth::digest_md5::Users,
    /// `allowSaslFailedClients`: who fails may stay, as nobody, unless SASL is enforced.
    pub failed_allowed: bool,
}

/// TLS for clients.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// What every handshake needs.
    pub acceptor: tls::Acceptor,
    /// `client.portUnification`: the port without TLS takes both.
    pub port_unification: bool,
    /// Handshakes that may go on at once; connections beyond them are closed.
    pub handshakes_max: u32,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

/// What operators may ask of the server that does not change while it runs.
#[derive(Clone, Debug)]
pub struct About {
    /// For `conf` and `envi`.
    pub told: admin::status::About,
    /// The port that is really listened on.
    pub client_port: u16,
    /// Where snapshots are kept.
    pub data_folder: PathBuf,
    /// Where the log is kept.
    pub log_folder: PathBuf,
    /// When the server was started.
    pub started: Instant,
}
