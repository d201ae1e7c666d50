//! What happens to a server, and what it has to do about it: the whole seam between the [`Replica`](super::Replica) and the world.
//!
//! Bytes of other servers come in and go out as they are on the wire: how they are cut into packets is the replica's business, so
//! that a simulator can cut them anywhere. Whoever performs the actions keeps the order of those that concern the same thing: the
//! log, one peer, one link, one shard.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::{ShardBatch, ToShard};
use crate::ids::{Epoch, ServerId, SessionId, Zxid};
use crate::quorum::Membership;
use crate::storage::log::Batch;
use crate::time::{Instant, WallTime};
use crate::tree::{Tree, Version};
pub use crate::zab::LinkId;

/// How the replica behaves; `config` fills it.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many shards there are.
    pub shards: usize,
    /// Transactions after which a snapshot is written, at the latest (`snapCount`).
    pub snapshot_txns_max: u64,
    /// Bytes of log after which a snapshot is written, at the latest (`snapSizeLimitInKb`); 0: no limit.
    pub snapshot_bytes_max: u64,
    /// How often containers and TTL znodes are looked through, in milliseconds (`znode.container.checkIntervalMs`).
    pub container_check_interval_ms: u64,
    /// How many of them may be removed in a minute (`znode.container.maxPerMinute`).
    pub containers_per_minute_max: u32,
    /// For what has to be spread, such as the time of snapshots.
    pub seed: u64,
}

/// The two clocks, read once per event by the shell.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For waits.
    pub instant: Instant,
    /// For znodes.
    pub wall: WallTime,
}

/// One attempt of this server to reach its leader. Numbers are never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DialId(pub u32);

/// What happened.
pub enum Event {
    /// A shard told something.
    Shard(ShardBatch),
    /// All records up to this one are durable.
    LogDurable(Zxid),
    /// The log takes batches for certain as long as the sum of what they cost, counted from the start of the server, is not
    /// above this.
    LogRoom {
        /// The sum, bytes.
        admit_through: u64,
        /// Whether the disk has no room for more at present.
        full: bool,
    },
    /// A snapshot is written and durable.
    SnapshotDone(Zxid),
    /// Time passed; several times a tick.
    Tick,

    /// The configurations are saved, or could not be ([`Action::Configure`]); one for one.
    Configured,
    /// The epochs are durable ([`Action::SaveEpochs`]).
    EpochsSaved,
    /// There is no room for them: those before hold.
    EpochsFailed,
    /// The log ends where it was to end, and this is the state there ([`Action::Truncate`]).
    Truncated(Box<Reloaded>),
    /// What lies before the cut is not here any more; nothing was changed.
    TruncateImpossible,
    /// The state that the leader sent is durable and has replaced what was there ([`Action::Install`]).
    Installed(Zxid),
    /// There is no room for it; on the disk everything is as before.
    InstallFailed(Zxid),

    /// Another server's vote has come over the election port: the bytes of one frame.
    Notification {
        /// Whose connection it came over.
        from: ServerId,
        /// The frame without its length.
        bytes: Vec<u8>,
    },
    /// A connection to this server stands, by which votes go both ways.
    PeerConnected(ServerId),
    /// There is none any more, or one that was wanted could not be made: it has nothing to say at present.
    PeerLost(ServerId),
    /// A learner has connected to the quorum port.
    LinkOpened(LinkId),
    /// It sent this.
    LinkBytes(LinkId, Vec<u8>),
    /// It takes a state that is sent to it ([`Action::SnapshotToLink`]): some more of it has left.
    LinkProgress(LinkId),
    /// Its connection has ended.
    LinkClosed(LinkId),
    /// The connection to the leader stands ([`Action::Dial`]).
    LeaderConnected(DialId),
    /// The leader sent this.
    LeaderBytes(DialId, Vec<u8>),
    /// The leader could not be reached, or the connection to it has ended.
    LeaderLost(DialId),
}

/// A state read back from the disk.
pub struct Reloaded {
    /// Its znodes.
    pub tree: Tree,
    /// Its sessions and their timeouts in milliseconds.
    pub sessions: BTreeMap<SessionId, i32>,
}

/// What has to be done.
pub enum Action {
    /// Append these records to the log, as one group commit.
    Append(Batch),
    /// Write a snapshot of this version, with the sessions of the same moment. The log is durable through it.
    Snapshot {
        /// The tree.
        version: Version,
        /// Sessions and their timeouts in milliseconds.
        sessions: Vec<(SessionId, i32)>,
    },
    /// Tell a shard.
    ToShard(usize, ToShard),

    /// The ensemble's configurations are others: let them be known wherever its servers are dialled, and make them durable, before
    /// everything that the log is given later. [`Event::Configured`] answers.
    Configure {
        /// The one that holds.
        committed: Arc<Membership>,
        /// A newer one that is proposed, if there is one.
        last_seen: Option<Arc<Membership>>,
    },
    /// Make these durable; those that are `None` stay as they are. [`Event::EpochsSaved`] answers, one for one and in order.
    SaveEpochs {
        /// The highest epoch that this server has promised to accept.
        accepted: Option<Epoch>,
        /// The epoch that its history belongs to.
        current: Option<Epoch>,
    },
    /// Cut everything behind this transaction off the log, and read the state there. [`Event::Truncated`] answers.
    Truncate(Zxid),
    /// Replace everything by this state, which a leader sent. [`Event::Installed`] answers.
    Install {
        /// The tree.
        version: Version,
        /// Sessions and their timeouts in milliseconds.
        sessions: Vec<(SessionId, i32)>,
    },

    /// Send a vote: dial first if need be, and if an earlier one to the same server has not left yet, replace it. Sent again
    /// when the connection is made anew.
    Notify {
        /// To whom.
        to: ServerId,
        /// The frame without its length.
        bytes: Arc<[u8]>,
    },
    /// Take connections of learners on the quorum port, or close the port and every link.
    Listen(bool),
    /// Send to a learner.
    ToLink(LinkId, Vec<u8>),
    /// Send this state to a learner as Apache's snapshot stream, between what was sent before and what will be sent after.
    SnapshotToLink {
        /// To whom.
        link: LinkId,
        /// The tree.
        version: Version,
        /// Sessions and their timeouts in milliseconds.
        sessions: Vec<(SessionId, i32)>,
    },
    /// End the connection of a learner, behind what was sent to it.
    CloseLink(LinkId),
    /// Connect to the leader; tried again for as long as the settings say. [`Event::LeaderConnected`] or
    /// [`Event::LeaderLost`] answers.
    Dial(DialId, ServerId),
    /// Send to the leader.
    ToLeader(DialId, Vec<u8>),
    /// End the connection to the leader. Nothing of it is heard any more.
    HangUp(DialId),
}
