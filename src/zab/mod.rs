//! ZAB, ZooKeeper's atomic broadcast, as two machines without I/O: a [`Leader`] with a link to each learner, and a [`Learner`]
//! (follower or observer) with its one link to the leader. A transaction is a zxid and bytes to them.
//!
//! Both speak Apache's protocol (3.4 and later) on the wire, so either side of a link may be an Apache server.
//!
//! # How the caller drives them
//!
//! Events go in as calls, then everything that [`Leader::poll`] or [`Learner::poll`] gives is carried out, in order, before the
//! next event goes in. `now` never goes back. Replies of the disk (`epochs_saved`, `durable`, `truncated`,
//! `snapshot_installed`) answer requests of the *same* machine: when a term of office ends, the caller waits until the disk has
//! answered everything that was asked before it makes the machine of the next term. What it gives to that machine as the last
//! zxid of its log is durable.
//!
//! # Save, then say
//!
//! | promise | is said only after |
//! |---|---|
//! | LEADERINFO (leader) | acceptedEpoch is saved |
//! | the leader's own vote in NEWLEADER's quorum | currentEpoch is saved |
//! | the leader's own ack of a proposal | its log has it: `durable` |
//! | ACKEPOCH (learner) | acceptedEpoch is saved |
//! | ACK of NEWLEADER (learner) | its history is durable, *then* currentEpoch is saved (ZOOKEEPER-4646, 4643, 3911) |
//! | ACK of a proposal (learner) | its log has it, and NEWLEADER was acknowledged before (ZOOKEEPER-4685) |
//!
//! # What an unfinished synchronisation leaves behind
//!
//! A learner changes its durable state in steps of which each leaves a history that some leader had, cut somewhere
//! (ZOOKEEPER-3642, 5094): a DIFF appends committed records one behind the other; TRUNC is one durable step, and only then
//! follow appends; a snapshot is built beside the old state and replaces it in one durable step. So after
//! [`LearnerAction::Abandon`], at any point:
//! - a snapshot that was being received is discarded, with everything that was read of it;
//! - a truncation or an installation that was asked for is waited for, then the state is taken from the disk;
//! - records that were appended stay; the last one durable is the last zxid of the next term;
//! - the tree holds what `Commit` told; if a later `Truncate` goes below that, the state has to be built anew from the disk.
//!
//! A history that ends in epoch e holds all that the leader of e began with, as records arrive in order. Therefore the epoch
//! of the last record may stand above a currentEpoch that was saved before, and both machines use the greater of the two. The
//! opposite, a currentEpoch above the history, is what ZOOKEEPER-4643 was, and cannot come about.
//!
//! - `history`: the last committed records, from which a DIFF is made.
//! - `leader`: `discovery` (epochs), `sync` (DIFF, TRUNC or SNAP), `broadcast` (proposals, acks, commits, syncs), `link`.
//! - `learner`: `handshake`, `sync` (until UPTODATE), `follow` (afterwards).
//!
//! # Reconfiguration
//!
//! A transaction of type reconfig holds a configuration, and its zxid is that configuration's version. From its proposal on a
//! quorum of the configuration before *and* of the new one is needed, for what comes behind it and for the leader to stay
//! alive; when it is committed the new one alone counts. Whoever acknowledges it has saved it as last seen before, and elects,
//! leads and follows by both configurations until one of them wins: so of two leaders one always lacks a quorum.
//! - `leader::reconfig`: both quorums, who is to lead, and the end of a leader that is not; a leader that begins with a
//!   configuration that its predecessor proposed completes it with its NEWLEADER.
//! - A learner hears of a configuration by its proposal ([`LearnerAction::ConfigurationSeen`]) and that it holds by
//!   COMMITANDACTIVATE, INFORMANDACTIVATE, or UPTODATE for the one that came with NEWLEADER
//!   ([`LearnerAction::ConfigurationActivated`]). That one is not what this term has only proposed: our leader does not send it, and
//!   of an Apache leader, who does, a learner waits for the commit.

mod history;
mod leader;
mod learner;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{Epoch, ServerId, Zxid};
use crate::quorum::Membership;

pub use history::{History, HistoryOptions};
pub use leader::sync::{SyncPlan, plan};
pub use leader::{
    LINK_BYTES_MAX, LINKS_MAX, Leader, LeaderAction, LeaderPhase, LearnerStatus, OUTSTANDING_BYTES_MAX, OUTSTANDING_MAX,
};
pub use learner::{Learner, LearnerAction, LearnerPhase, WAITING_BYTES_MAX};

/// One connection of the quorum port, as the shell numbers them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u32);

/// Highest epoch that is entered; an accepted epoch at or above it is a peer's mistake, as epochs are 32 bits of a signed zxid.
pub const EPOCH_MAX: Epoch = Epoch(i32::MAX as u32 - 1);

/// So far beyond the leader's epoch a member's promise may be for the leader to make room for it: each epoch in between was a
/// leader that a quorum elected and that came to nothing. More is a disk of another ensemble.
pub const EPOCH_LEAP_MAX: u32 = 1 << 16;

/// What both machines need to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// This server.
    pub my_id: ServerId,
    /// `tickTime`, in milliseconds.
    pub tick_ms: u64,
    /// `initLimit`, in ticks: for finding an epoch, for synchronisation.
    pub init_limit: u32,
    /// `syncLimit`, in ticks: how long a synchronised peer may be silent.
    pub sync_limit: u32,
    /// The configuration that holds.
    pub membership: Arc<Membership>,
    /// A newer one that was proposed and may be committed (Apache's last seen verifier). Quorums then need both.
    pub last_seen: Option<Arc<Membership>>,
    /// Whether configurations change (`reconfigEnabled`). Without it nobody takes one over (ZOOKEEPER-3829).
    pub reconfig_enabled: bool,
    /// `leader.maxTimeToWaitForEpoch`, in milliseconds: how long a leader without a quorum ignores that its voters look for
    /// another one. `None`: until initLimit ends.
    pub max_time_to_wait_for_epoch_ms: Option<u64>,
    /// How long an elected leader waits for a quorum that says which epochs it has accepted, in milliseconds; never longer than
    /// initLimit. Those that elected it come at once; if they do not, it was elected by votes of the past, and the others may
    /// have another leader by now.
    pub epoch_patience_ms: u64,
    /// `zookeeper.forceSnapshotSync` of a leader: always send a snapshot.
    pub force_snapshot_sync: bool,
    /// Of a learner, for one attempt: hide what it has, so that the leader sends a snapshot. Set it after an
    /// [`LearnerAction::Abandon`] that asks for it, for the same leader. Such a learner does not count in the leader's epoch quorum,
    /// so it must not come like this to one that still has to win its epoch.
    pub want_snapshot: bool,
}

impl Options {
    /// With Apache's defaults: 2000 ms, 10 and 5 ticks.
    pub const fn new(my_id: ServerId, membership: Arc<Membership>) -> Self {
        Self {
            my_id,
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            membership,
            last_seen: None,
            reconfig_enabled: false,
            max_time_to_wait_for_epoch_ms: None,
            epoch_patience_ms: u64::MAX,
            force_snapshot_sync: false,
            want_snapshot: false,
        }
    }

    fn init_timeout(&self) -> Duration {
        Duration::from_millis(self.tick_ms * u64::from(self.init_limit))
    }

    fn epoch_patience(&self) -> Duration {
        Duration::from_millis(self.epoch_patience_ms).min(self.init_timeout())
    }

    fn sync_timeout(&self) -> Duration {
        Duration::from_millis(self.tick_ms * u64::from(self.sync_limit))
    }

    /// Whether `server` votes in a configuration that counts.
    fn is_participant(&self, server: ServerId) -> bool {
        self.configurations().any(|configuration| configuration.is_participant(server))
    }

    /// Whether a configuration that counts names `server`, with or without a vote.
    fn is_member(&self, server: ServerId) -> bool {
        self.configurations().any(|configuration| configuration.members.contains_key(&server))
    }

    /// Whether these servers are a quorum of every configuration that counts.
    fn contains_quorum(&self, servers: &[ServerId]) -> bool {
        self.configurations().all(|configuration| configuration.contains_quorum(servers.iter().copied()))
    }

    /// The newest configuration.
    fn newest(&self) -> &Arc<Membership> {
        self.last_seen.as_ref().filter(|newer| newer.version > self.membership.version).unwrap_or(&self.membership)
    }

    /// The same without a newer configuration that is proposed.
    fn is_committed_quorum(&self, servers: &[ServerId]) -> bool {
        self.membership.contains_quorum(servers.iter().copied())
    }

    fn configurations(&self) -> impl Iterator<Item = &Membership> {
        let newer = self.last_seen.as_deref().filter(|newer| newer.version > self.membership.version);
        std::iter::once(&*self.membership).chain(newer)
    }
}

/// Whether a history may go from `last` to `next` with nothing between: the next of the epoch, or the first of a later one
/// (ZOOKEEPER-4925).
pub const fn follows(last: Zxid, next: Zxid) -> bool {
    if next.epoch().0 == last.epoch().0 {
        last.counter() != Zxid::COUNTER_MAX && next.counter() == last.counter() + 1
    } else {
        next.epoch().0 > last.epoch().0 && next.counter() == 1
    }
}
