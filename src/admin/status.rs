//! What there is to tell about a server. The server fills it, [`super::answer()`] tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::figures::{Figures, Tally};
use crate::ids::{SessionId, Zxid};
use crate::latency::{Operations, Stages};
use crate::time::WallTime;
use crate::wire::op::OpCode;

/// Everything that any word tells. [`super::needs`] says which parts a word looks at; the others may stay empty.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The server as a whole: looked at by most words.
    pub server: ServerStatus,
    /// `conf`, `envi`: what does not change while the server runs.
    pub about: About,
    /// `cons`, `stat`, `dump`: all connections, the one that asks included.
    pub connections: Vec<ConnectionStatus>,
    /// `dump`.
    pub sessions: SessionStatus,
    /// `wchc`, `wchp`, `wchs`: the data watches (set by getData and exists, persistent and recursive ones included; not the
    /// child watches) of each session.
    pub watches: BTreeMap<SessionId, BTreeSet<String>>,
    /// `mntr`.
    pub monitor: MonitorStatus,
    /// `srvr`, `stat`, `mntr`, `dump`: what a member of an ensemble tells besides; `None` of a server that stands alone.
    pub ensemble: Option<EnsembleStatus>,
    /// `dirs`, `conf`: bytes in the folder of the snapshots.
    pub data_dir_bytes: u64,
    /// `dirs`, `conf`: bytes in the folder of the log.
    pub log_dir_bytes: u64,
    /// `envi`; `None` is left out.
    pub memory: Option<MemoryStatus>,
    /// `hash`: the tree's digest at every 128th zxid, oldest first, at most the last [`DIGESTS_MAX`].
    pub digests: Vec<(Zxid, u64)>,
    /// `gtmk`, `stmk`: the mask, after `stmk` the new one. It has no effect but to be told.
    pub trace_mask: i64,
}

/// What does not change while the server runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// `conf`.
    pub conf: ConfStatus,
    /// `envi`.
    pub environment: EnvironmentStatus,
}

/// How many digests are kept for `hash` (`DataTree.DIGEST_LOG_LIMIT`).
pub const DIGESTS_MAX: usize = 1024;

/// A digest is kept at each zxid that is a multiple of this (`DataTree.DIGEST_LOG_INTERVAL`).
pub const DIGEST_INTERVAL: i64 = 128;

/// The mask before anyone sets it (`ZooTrace`'s default).
pub const TRACE_MASK_DEFAULT: i64 = 306;

/// What the server is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It serves alone.
    #[default]
    Standalone,
    /// It leads.
    Leader,
    /// It follows and votes.
    Follower,
    /// It follows without a vote.
    Observer,
    /// It has lost its ensemble and answers reads only.
    ReadOnly,
}

impl Mode {
    /// As `srvr` and `mntr` name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::ReadOnly => "read-only",
        }
    }

    /// As `mntr` tells what a member of an ensemble that serves is doing (`QuorumPeer.getDetailedPeerState`).
    pub(super) const fn peer_state(self) -> Option<&'static str> {
        match self {
            Self::Standalone => None,
            Self::Leader => Some("leading - broadcast"),
            Self::Follower => Some("following - broadcast"),
            Self::Observer => Some("observing - broadcast"),
            Self::ReadOnly => Some("looking"),
        }
    }
}

/// The server as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerStatus {
    /// What it is doing.
    pub mode: Mode,
    /// The client port that is really listened on.
    pub client_port: u16,
    /// Latency of all requests, reads and writes, microseconds.
    pub latency: Tally,
    /// Frames read, four-letter words included.
    pub packets_received: u64,
    /// Frames written.
    pub packets_sent: u64,
    /// Open client connections, the one that asks included.
    pub connections: u64,
    /// Requests under way.
    pub outstanding: u64,
    /// The last applied transaction.
    pub zxid: Zxid,
    /// Znodes, those of the server itself included.
    pub node_count: u64,
}

/// What `conf` tells. -1 stands for "not set" as in Apache's server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfStatus {
    /// The TLS port, -1 for none.
    pub secure_client_port: i32,
    /// Absolute folder of the snapshots (`dataDir/zoo-1`).
    pub data_dir: String,
    /// Absolute folder of the log (`dataLogDir/zoo-1`).
    pub data_log_dir: String,
    /// `tickTime`, milliseconds.
    pub tick_ms: u32,
    /// `maxClientCnxns`, 0 for no limit.
    pub cnxns_per_address_max: u32,
    /// `minSessionTimeout`, milliseconds.
    pub timeout_min_ms: u32,
    /// `maxSessionTimeout`, milliseconds.
    pub timeout_max_ms: u32,
    /// `clientPortListenBacklog`, -1 if not set.
    pub listen_backlog: i32,
    /// `myid`, 0 for a single server.
    pub server_id: i64,
    /// What a member of an ensemble tells besides.
    pub member: Option<MemberStatus>,
}

/// What `conf` tells of a member of an ensemble.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberStatus {
    /// `initLimit`, ticks.
    pub init_limit: u32,
    /// `syncLimit`, ticks.
    pub sync_limit: u32,
    /// Where votes are exchanged.
    pub election_port: u16,
    /// Where learners connect.
    pub quorum_port: u16,
    /// Whether it only follows.
    pub is_observer: bool,
    /// The configuration of the ensemble as text.
    pub membership: String,
}

/// What a member of an ensemble tells of its part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnsembleStatus {
    /// Servers that vote.
    pub quorum_size: u64,
    /// Who leads, if an observer knows.
    pub observer_master: Option<i64>,
    /// Elections begun since the server started.
    pub elections: u64,
    /// Transactions committed under the present leader.
    pub commits: u64,
    /// Sessions and their timeouts in milliseconds, as one who does not watch over them knows them.
    pub global_sessions: BTreeMap<SessionId, i32>,
    /// What a leader tells besides.
    pub leader: Option<LeaderStatus>,
    /// And for each of its learners, how many transactions it is behind.
    pub lags: BTreeMap<i64, u64>,
}

/// What a leader tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaderStatus {
    /// Servers that follow it, with a vote or without.
    pub learners: u64,
    /// Those with a vote that are up to date.
    pub synced_followers: u64,
    /// Those without that are.
    pub synced_observers: u64,
    /// `sync` requests that wait.
    pub pending_syncs: u64,

    /// Since it leads, milliseconds.
    pub uptime_ms: u64,
    /// Bytes of the last, least and largest proposal; `None` before the first.
    pub proposal_size: Option<[u64; 3]>,
}

impl LeaderStatus {
    /// As Java's `BufferStats`: -1 before the first.
    pub(super) fn proposal_sizes(&self) -> [i64; 3] {
        self.proposal_size.map_or([-1; 3], |sizes| sizes.map(u64::cast_signed))
    }
}

/// One client connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// The client's address.
    pub peer: SocketAddr,
    /// Whether the server waits for bytes of it; false while it is held back, and for the connection that asks.
    pub reading: bool,
    /// Whether answers wait to be written.
    pub writing: bool,
    /// Its requests under way.
    pub queued: u64,
    /// Frames read.
    pub received: u64,
    /// Frames written.
    pub sent: u64,
    /// Its session; `None` before it has one.
    pub session: Option<ConnectionSession>,
    /// When it will be closed if nothing comes; `None` if it is not watched for that.
    pub expires: Option<WallTime>,
}

/// What is told of a connection that has a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSession {
    /// The session.
    pub id: SessionId,
    /// The last operation answered; `None` before the first.
    pub last_op: Option<OpCode>,
    /// When the connection was accepted.
    pub established: WallTime,
    /// Negotiated timeout, milliseconds.
    pub timeout_ms: u32,
    /// xid of the last request answered; `None` if it was a ping or the like.
    pub last_cxid: Option<i32>,
    /// zxid of the last answer.
    pub last_zxid: Zxid,
    /// When the last answer was given, milliseconds on the server's monotonic clock.
    pub last_response_ms: u64,
    /// Latency of the last request, microseconds.
    pub last_latency_us: u64,
    /// Latencies of its requests, microseconds.
    pub latency: Tally,
}

/// What `dump` tells of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionStatus {
    /// Sessions by the time at which they expire if nothing is heard of them (their bucket).
    pub expiring: BTreeMap<WallTime, BTreeSet<SessionId>>,
    /// Ephemeral znodes by session.
    pub ephemerals: BTreeMap<SessionId, BTreeSet<String>>,
}

/// What `mntr` tells besides [`ServerStatus`].
#[derive(Clone, Debug, Default)]
pub struct MonitorStatus {
    /// Counters, measures and latencies, merged of all threads.
    pub figures: Figures,
    /// Latencies by operation, merged of all threads.
    pub operations: Operations,
    /// Latencies by stage, merged of all threads.
    pub stages: Stages,
    /// Ephemeral znodes.
    pub ephemerals: u64,
    /// Bytes of all paths and data (`DataTree.approximateDataSize`).
    pub approximate_data_bytes: u64,
    /// Data watches and child watches together.
    pub watches: u64,
    /// Sessions.
    pub global_sessions: u64,
    /// Sessions known to this server only.
    pub local_sessions: u64,
    /// Lengths of answers, bytes: last, least, most; `None` is left out.
    pub response_bytes: Option<ResponseBytes>,
    /// Failed authentications.
    pub auth_failed: u64,
    /// Since start, milliseconds.
    pub uptime_ms: u64,
    /// Open files of the process, `None` if unknown.
    pub open_files: Option<u64>,
    /// Most open files of the process, `None` if unknown.
    pub open_files_max: Option<u64>,
}

/// Lengths of answers, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseBytes {
    /// Of the last answer.
    pub last: u64,
    /// The least.
    pub min: u64,
    /// The most.
    pub max: u64,
}

impl ResponseBytes {
    /// Adds one answer to what is known.
    pub fn record(known: &mut Option<Self>, len: u64) {
        *known = Some(match *known {
            None => Self { last: len, min: len, max: len },
            Some(known) => Self { last: len, min: known.min.min(len), max: known.max.max(len) },
        });
    }

    /// Both threads' answers; the last one is any of the two.
    #[must_use]
    pub fn merge(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => {
                Some(Self { last: other.last, min: one.min.min(other.min), max: one.max.max(other.max) })
            }
            (one, other) => one.or(other),
        }
    }
}

/// What `envi` tells: `None` is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentStatus {
    /// Name of the machine.
    pub host_name: Option<String>,
    /// `Linux`.
    pub os_name: Option<String>,
    /// As Java names it: `amd64`, `aarch64`.
    pub os_arch: Option<String>,
    /// The kernel's release.
    pub os_version: Option<String>,
    /// The server's user.
    pub user_name: Option<String>,
    /// That user's home.
    pub user_home: Option<String>,
    /// The folder in which the server was started.
    pub user_dir: Option<String>,
}

/// The memory of the process, MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryStatus {
    /// What the machine has left.
    pub free_mb: u64,
    /// What the process may use at most.
    pub max_mb: u64,
    /// What it uses.
    pub total_mb: u64,
}
