//! What the server wants to be told before it starts; `config` fills it from the operator's words.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::admin;
use crate::pipeline;
use crate::replica;
use crate::storage;
use crate::time::Instant;

/// A whole server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Connections that may wait to be accepted.
    pub listen_backlog: u32,
    /// Where snapshots are kept.
    pub snapshot_folder: PathBuf,
    /// Where the log is kept; may be the same.
    pub log_folder: PathBuf,
    /// Names a log that begins in an empty folder: drawn at random.
    pub log_id: u64,
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
    pub tree: crate::tree::Options,
    /// Fail the n-th write or sync of the disk: for tests of real processes only.
    pub fault: Option<crate::rt::faulty::Fault>,
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
    /// Seed of the watch table's hash.
    pub hash_seed: u64,
    /// How access is checked.
    pub access: pipeline::AccessOptions,
    /// How clients prove who they are.
    pub auth: pipeline::auth::Options,
    /// Schemes of which a client must have one before it may ask anything (`enforce.auth.schemes`); empty: none.
    pub enforced_schemes: BTreeSet<String>,
    /// How long a connection may take to become a session.
    pub sessionless_timeout: Duration,
    /// Milliseconds of a tick.
    pub tick_ms: u32,
    /// How long the end of a connection, or of the server, may take.
    pub drain_timeout: Duration,
    /// Which four-letter words are answered.
    pub words: admin::word::Whitelist,
    /// What `conf`, `envi` and others tell of the server.
    pub about: std::sync::Arc<About>,
}

/// What operators may ask of the server that does not change while it runs.
#[derive(Clone, Debug)]
pub struct About {
    /// For `conf`.
    pub conf: admin::status::ConfStatus,
    /// For `envi`, without the figures of memory.
    pub environment: admin::status::EnvironmentStatus,
    /// Where snapshots are kept.
    pub data_folder: PathBuf,
    /// Where the log is kept.
    pub log_folder: PathBuf,
    /// When the server was started.
    pub started: Instant,
}
