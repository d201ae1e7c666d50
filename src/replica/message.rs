//! What shards and the replica tell each other. They do it in batches: one wake-up carries all that a turn brought.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::ids::{Epoch, ServerId, SessionId, Zxid};
use crate::latency::{Milestones, Stages};
use crate::session::Owner;
use crate::time::Instant;
use crate::tree::Version;
use crate::wire::acl::Id;
use crate::wire::connect::Password;
use crate::wire::header::Xid;
use crate::wire::op::OpCode;

use super::batch::Published;

/// A connection's address: which shard, which of its slots, and which use of the slot, so that an answer to a
/// connection that is gone never reaches its successor. Packed into the [`Owner`] of a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId {
    /// The shard's number.
    pub shard: u8,
    /// The slot within the shard.
    pub slot: u32,
    /// Which use of the slot, counting from 1 and wrapping at 24 bits.
    pub generation: u32,
}

impl ConnectionId {
    /// Bits of the generation.
    const GENERATION_BITS: u32 = 24;

    /// The generation after `generation`; never 0, so that no packed id is 0.
    pub const fn next_generation(generation: u32) -> u32 {
        let next = (generation + 1) & ((1 << Self::GENERATION_BITS) - 1);
        if next == 0 { 1 } else { next }
    }

    /// As the sessions know it.
    pub const fn owner(self) -> Owner {
        Owner(((self.shard as u64) << 56) | ((self.generation as u64) << 32) | self.slot as u64)
    }

    /// From what the sessions know.
    pub const fn of(owner: Owner) -> Self {
        Self {
            shard: (owner.0 >> 56) as u8,
            slot: owner.0 as u32,
            generation: ((owner.0 >> 32) as u32) & ((1 << Self::GENERATION_BITS) - 1),
        }
    }
}

/// What a shard has to tell since the last time.
#[derive(Debug, Default)]
pub struct ShardBatch {
    /// The bodies of the writes, one behind the other.
    pub bodies: Vec<u8>,
    /// In the order in which they happened on the shard.
    pub items: Vec<ShardItem>,
}

impl ShardBatch {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// One thing that happened on a shard.
#[derive(Debug)]
pub enum ShardItem {
    /// A client wants a session.
    Connect(Connect),
    /// A client wants something changed, or wants to be told when all before it is visible (`sync`).
    Write(Write),
    /// The session's client was heard at this instant.
    Heard {
        /// Which session.
        session: SessionId,
        /// When.
        at: Instant,
    },
    /// A question whose answer needs every shard and the replica (four-letter words).
    Ask(Ask),
    /// This shard's part of the answer to a question.
    Told(Ask, Part),
}

impl ShardItem {
    /// Whether it has its place among the requests of its connection, and may have to wait for the log.
    pub fn is_logged_in_order(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Write(_))
    }
}

/// The handshake of a connection.
#[derive(Debug)]
pub struct Connect {
    /// The connection.
    pub connection: ConnectionId,
    /// The session to go on with, or none for a new one.
    pub session: SessionId,
    /// Its password; `None` if it had not even the right length.
    pub password: Option<Password>,
    /// The timeout asked for, in milliseconds.
    pub timeout_ms: i32,
    /// The newest state that the client has seen.
    pub last_zxid_seen: Zxid,
    /// When the shard handed it over.
    pub handed: Instant,
}

impl Connect {
    /// A wish for a new session, by a client that has seen nothing yet.
    pub fn anew(connection: ConnectionId, timeout_ms: i32) -> Self {
        Self {
            connection,
            session: SessionId::NONE,
            password: None,
            timeout_ms,
            last_zxid_seen: Zxid::ZERO,
            handed: Instant::default(),
        }
    }
}

/// A request that is not answered by the shard.
#[derive(Debug)]
pub struct Write {
    /// The connection.
    pub connection: ConnectionId,
    /// Its session.
    pub session: SessionId,
    /// The client's number for it.
    pub xid: Xid,
    /// What it asks for.
    pub op: OpCode,
    /// As whom.
    pub identities: Arc<[Id<'static>]>,
    /// Its body within [`ShardBatch::bodies`].
    pub body: Range<usize>,
    /// Whether reads of the same session wait between its last write and this one: they must see the state between
    /// the two, so a version has to be cut there.
    pub after_read: bool,
    /// When the shard handed it over.
    pub handed: Instant,
}

#[cfg(test)]
impl Write {
    /// The only request of its batch, by a client without identities.
    pub(super) fn alone(connection: ConnectionId, session: SessionId, xid: i32, op: OpCode, body: &[u8]) -> Self {
        Self {
            connection,
            session,
            xid: Xid(xid),
            op,
            identities: Vec::new().into(),
            body: 0..body.len(),
            after_read: false,
            handed: Instant::default(),
        }
    }
}

/// A question to all parts of the server, with a ticket to find the asker again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The shard that asks.
    pub shard: u8,
    /// Its number for the question.
    pub ticket: u32,
    /// What it wants to know.
    pub question: Question,
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Counters, latencies, totals.
    Stats,
    /// The connections, one by one.
    Connections,
    /// The sessions and their ephemerals.
    Sessions,
    /// The watches, one by one.
    Watches,
    /// Forget the counters and latencies.
    ResetStats,
    /// Forget the counters of each connection.
    ResetConnections,
}

/// What the replica tells a shard.
#[derive(Clone)]
pub enum ToShard {
    /// A batch is durable: its versions, events and answers.
    Published(Arc<Published>),
    /// The session of this connection lives elsewhere by now: close it.
    Displaced(ConnectionId),
    /// Somebody asks: tell your part ([`ShardItem::Told`]).
    Tell(Ask),
    /// The whole answer to a question of this shard's: the replica's part, and every shard's.
    Answer(Ask, Arc<Gathered>),
    /// The server's part in the ensemble is another one now: whom it serves, from which version on.
    Standing(Standing, Version),
    /// Nothing more will come: finish.
    Stop,
}

/// What a server is in its ensemble, and what that means for its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is alone, and serves.
    Standalone,
    /// It has no leader: clients are closed and refused.
    Looking,
    /// It has no leader, but serves clients that are content with reading (`readonlymode.enabled`).
    ReadOnly,
    /// It leads, and serves (unless `leaderServes` is off).
    Leading,
    /// It follows with a vote, and serves.
    Following,
    /// It follows without a vote, and serves.
    Observing,
}

/// A shard's part of an answer. It travels sealed: only shards know what is in it.
#[derive(Clone)]
pub struct Part(pub Arc<dyn Any + Send + Sync>);

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Part")
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// The replica's part.
    pub replica: ReplicaReport,
    /// Every shard's part, in no particular order.
    pub parts: Vec<Part>,
}

/// What only the replica knows, for four-letter words.
#[derive(Clone, Debug, Default)]
pub struct ReplicaReport {
    /// All sessions: id, timeout in milliseconds, milliseconds until it expires unless heard of.
    pub sessions: Vec<SessionReport>,
    /// Sessions.
    pub session_count: u64,
    /// Sessions that have expired since the server started.
    pub expired_count: u64,
    /// Writes applied and not yet durable.
    pub outstanding: u64,
    /// Bytes of the last, smallest and largest transaction; all zero before the first, of a member before the first that it leads.
    pub proposal_size: [u64; 3],
    /// Transactions since the server started.
    pub txn_count: u64,
    /// Log batches since the server started.
    pub batch_count: u64,
    /// Snapshots written since the server started.
    pub snapshot_count: u64,
    /// How long requests waited for their batch, and batches for a quorum, since the server started or `srst`.
    pub stages: Stages,
    /// How long transactions took to come so far, since then.
    pub milestones: Milestones,
    /// Digest samples, oldest first: zxid and tree digest.
    pub digests: Vec<(Zxid, u64)>,
    /// What it is in its ensemble; `None` of a server that stands alone.
    pub ensemble: Option<EnsembleReport>,
}

/// What a member of an ensemble tells of it, for four-letter words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnsembleReport {
    /// Its part.
    pub standing: Standing,
    /// Members that vote.
    pub voters: u64,
    /// Who leads, if it knows.
    pub leader: Option<ServerId>,
    /// The epoch of that leader.
    pub epoch: Epoch,
    /// How long the last election took, in milliseconds; `None` before the first.
    pub election_ms: Option<u64>,
    /// Elections begun since the server started.
    pub elections: u64,
    /// Proposals that wait for a quorum.
    pub outstanding_proposals: u64,
    /// Transactions that were committed under the present leader.
    pub commits: u64,
    /// The leader's learners.
    pub learners: Vec<LearnerReport>,
    /// `sync` requests that wait.
    pub pending_syncs: u64,
    /// Transactions after which this server's digest was not the leader's.
    pub digest_mismatches: u64,
}

/// A learner as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnerReport {
    /// Which server.
    pub server: ServerId,
    /// Whether it follows without a vote.
    pub is_observer: bool,
    /// Whether it is up to date, and counts.
    pub is_synced: bool,
    /// The last transaction that it has acknowledged.
    pub acked: Zxid,
    /// How many transactions it is behind what was proposed.
    pub lag: u64,
}

/// A session, for `dump`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionReport {
    /// Which.
    pub session: SessionId,
    /// Its timeout in milliseconds.
    pub timeout_ms: i32,
    /// When it expires unless heard of before, in milliseconds from now.
    pub expires_in_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_pack_into_owners_and_back() {
        for connection in [
            ConnectionId { shard: 0, slot: 0, generation: 1 },
            ConnectionId { shard: 255, slot: u32::MAX, generation: (1 << 24) - 1 },
            ConnectionId { shard: 3, slot: 70_000, generation: 9 },
        ] {
            assert_eq!(ConnectionId::of(connection.owner()), connection);
            assert_ne!(connection.owner().0, 0);
        }
        assert_eq!(ConnectionId::next_generation((1 << 24) - 1), 1);
    }
}
