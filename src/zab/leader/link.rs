//! What the leader knows about one link (Apache's `LearnerHandler`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::{Epoch, ServerId, Zxid};
use crate::time::Instant;

/// How far the handshake has come; see the module page of `zab` for what each step waits on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stage {
    /// Nothing came yet; FOLLOWERINFO or OBSERVERINFO has to be first.
    Greeting,
    /// It said who it is; the epoch is not yet decided and saved, or it has promised a later one.
    AwaitEpoch,
    /// LEADERINFO went out.
    AwaitAckEpoch,
    /// ACKEPOCH came; a quorum of them is missing.
    AwaitEpochQuorum,
    /// History and NEWLEADER went out; it has no vote in commits yet.
    AwaitNewLeaderAck,
    /// It has acknowledged NEWLEADER; a quorum of that is missing.
    AwaitStart,
    /// UPTODATE went out.
    Serving,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) stage: Stage,
    pub(super) server: ServerId,
    pub(super) observer: bool,
    /// The highest epoch that it has promised to a leader, as it said first.
    pub(super) accepted: Epoch,
    /// Of ACKEPOCH: where its history ends.
    pub(super) peer_last: Zxid,
    /// When the present stage has lasted too long; in `Serving`, when it was silent too long.
    pub(super) deadline: Instant,
    /// The last tick in which it counts as alive.
    pub(super) alive_until_tick: u64,
    /// Everything up to here that was proposed on this link is durable there.
    pub(super) acked: Zxid,
    pub(super) lag: Lag,
    /// The pings that it has not answered, in order: their rounds, and all bytes proposed until then.
    pub(super) pings: VecDeque<(u64, u64)>,
    /// Of all bytes ever proposed, those that certainly are not queued on this link any more.
    pub(super) taken_bytes: u64,
    /// The last round that it answered.
    pub(super) confirmed_round: u64,
    pub(super) requests: u64,
}

impl Link {
    pub(super) const fn new(deadline: Instant, alive_until_tick: u64) -> Self {
        Self {
            stage: Stage::Greeting,
            server: ServerId(-1),
            observer: false,
            accepted: Epoch(0),
            peer_last: Zxid::ZERO,
            deadline,
            alive_until_tick,
            acked: Zxid::ZERO,
            lag: Lag { oldest: None, newest: None },
            pings: VecDeque::new(),
            taken_bytes: 0,
            confirmed_round: 0,
            requests: 0,
        }
    }

    /// Whether live proposals, commits and informs go to it: from the moment its history was decided on.
    pub(super) fn is_forwarding(&self) -> bool {
        self.stage >= Stage::AwaitNewLeaderAck
    }

    /// Whether it is not its turn: then the phase's own deadline bounds the wait.
    pub(super) fn waits_for_others(&self) -> bool {
        matches!(self.stage, Stage::AwaitEpoch | Stage::AwaitEpochQuorum | Stage::AwaitStart)
    }

    /// Whether its acks count.
    pub(super) fn has_joined(&self) -> bool {
        self.stage >= Stage::AwaitStart
    }
}

/// Since when it owes an ack: two marks are enough to notice one that is overdue (Apache's `SyncLimitCheck`).
#[derive(Debug)]
pub(super) struct Lag {
    oldest: Option<(Zxid, Instant)>,
    newest: Option<(Zxid, Instant)>,
}

impl Lag {
    pub(super) fn proposed(&mut self, now: Instant, zxid: Zxid) {
        if self.oldest.is_none() {
            self.oldest = Some((zxid, now));
        } else {
            self.newest = Some((zxid, now));
        }
    }

    pub(super) fn acked(&mut self, through: Zxid) {
        if self.oldest.is_some_and(|(zxid, _)| zxid <= through) {
            self.oldest = self.newest.take().filter(|(zxid, _)| *zxid > through);
        }
    }

    pub(super) fn is_overdue(&self, now: Instant, limit: Duration) -> bool {
        self.oldest.is_some_and(|(_, since)| now.since(since) >= limit)
    }
}
