//! A learner's side of ZAB (Apache's `Learner`, `Follower`, `Observer`): registers with the leader, takes over its history,
//! then follows.
//!
//! Invariants: the log only grows by records that follow each other without a gap (ZOOKEEPER-4925); what is not committed when
//! NEWLEADER comes stays in memory until UPTODATE (ZOOKEEPER-4394); NEWLEADER is acknowledged after the history before it is
//! durable and currentEpoch is saved behind that, and no proposal is acknowledged before NEWLEADER is; while the disk works on
//! a step, packets wait.
//!
//! A record goes first to the log ([`LearnerAction::Append`]) and is applied when it is committed ([`LearnerAction::Commit`]).
//! Its bytes stay with the caller between the two.

mod follow;
mod handshake;
mod reconfig;
mod sync;

use std::collections::VecDeque;

use bytes::Bytes;

use super::Options;
use crate::ids::{Epoch, ServerId, SessionId, Zxid};
use crate::time::Instant;
use crate::wire::quorum::{PacketType, QuorumPacket};

/// Most bytes of packets and of uncommitted records that wait for the disk or for UPTODATE; beyond it the learner gives up and
/// comes again. [`Learner::is_full`] tells the shell to stop reading long before.
pub const WAITING_BYTES_MAX: usize = 256 << 20;

/// What the learner wants done, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LearnerAction {
    /// Save the epochs that are given, durably; answer with [`Learner::epochs_saved`].
    SaveEpochs {
        /// acceptedEpoch, if it changes.
        accepted: Option<Epoch>,
        /// currentEpoch, if it changes.
        current: Option<Epoch>,
    },
    /// To the leader.
    Send(QuorumPacket),
    /// To the log; report with [`Learner::durable`]. Keep it until `Commit` covers it.
    Append(Zxid, Bytes),
    /// Everything up to this zxid is the leader's history: apply what of it is not applied, in order. While following that is
    /// one record; at the beginning of a synchronisation it is what the log held beyond the tree.
    Commit(Zxid),
    /// Cut the log behind `to`, durably, and drop what was kept for `Commit`; if the tree holds more than `to`, build it anew
    /// from the disk. Answer with [`Learner::truncated`].
    Truncate {
        /// The last zxid that stays.
        to: Zxid,
    },
    /// The link's bytes behind this packet are a snapshot, as of `zxid`: read it into a state of its own. At its end call
    /// [`Learner::snapshot_received`], then go on with packets; if it breaks off, discard it (ZOOKEEPER-3642).
    ///
    /// The snapshot of an Apache leader is fuzzy: all up to `zxid` is in it, and perhaps something of later records. These
    /// come as records too, and have to be applied as in a replay of a log, where a record may be applied already.
    ReceiveSnapshot {
        /// What SNAP said.
        zxid: Zxid,
    },
    /// Make the received snapshot the state of this server, durably and in one step, the old log being void; answer with
    /// [`Learner::snapshot_installed`].
    InstallSnapshot {
        /// What SNAP said.
        zxid: Zxid,
    },
    /// This configuration (`Membership::to_text`) was proposed: last seen from now on, quorums need it, too. It comes before the
    /// `Append` of the record that proposes it, and has to be durable no later than that. If it came with NEWLEADER
    /// (`is_awaited`), answer with [`Learner::configuration_saved`] when it is.
    ConfigurationSeen {
        /// The configuration.
        text: Bytes,
        /// Whether the learner waits for it.
        is_awaited: bool,
    },
    /// This configuration holds from now on; behind the `Commit` of the record that made it, or before `Serving`.
    ConfigurationActivated {
        /// The configuration.
        text: Bytes,
        /// Who leads from now on, if the leader said so.
        designated: Option<ServerId>,
    },
    /// The synchronisation is complete: serve clients.
    Serving {
        /// In this epoch.
        epoch: Epoch,
    },
    /// The oldest sync of this server's clients is done, everything committed before it has been told.
    SyncDone,
    /// The leader's answer about a session.
    Revalidated {
        /// Which.
        session: SessionId,
        /// Whether it lives.
        valid: bool,
    },
    /// Give the sessions that were touched since the last time to [`Learner::touches`], at once.
    TouchesWanted,
    /// The link is of no more use: close it, go looking. Nothing follows.
    Abandon {
        /// For the log.
        why: String,
        /// The leader could not give records that fit: let the next attempt, and only that, have
        /// [`Options::want_snapshot`].
        want_snapshot: bool,
    },
}

/// How far the learner is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LearnerPhase {
    /// The shell is dialling.
    Dialling,
    /// Waits for LEADERINFO.
    AwaitLeaderInfo,
    /// acceptedEpoch is being saved.
    SavingAccepted,
    /// Waits for DIFF, TRUNC or SNAP.
    AwaitPlan,
    /// The log is being cut.
    Truncating,
    /// A snapshot is being read.
    ReceivingSnapshot,
    /// A snapshot is being made this server's state.
    Installing,
    /// Takes over records, until NEWLEADER.
    Synchronising,
    /// The history is being made durable.
    SavingHistory,
    /// currentEpoch is being saved.
    SavingCurrent,
    /// NEWLEADER is acknowledged.
    AwaitUpToDate,
    /// In step with the leader.
    Following,
    /// Over.
    Dead,
}

impl LearnerPhase {
    /// The disk is at work: packets wait.
    const fn is_blocked(self) -> bool {
        matches!(self, Self::Truncating | Self::Installing | Self::SavingHistory | Self::SavingCurrent)
    }
}

/// The learner. See the module page of `zab` for how it is driven.
#[derive(Debug)]
pub struct Learner {
    options: Options,
    observer: bool,
    leader: ServerId,
    phase: LearnerPhase,
    accepted: Epoch,
    current: Epoch,
    last_logged: Zxid,
    /// The leader's, once it is known.
    epoch: Epoch,
    /// When the leader was last heard, or the disk last finished.
    heard: Instant,
    /// Where the synchronisation began: what the leader sends up to here is here already.
    base: Zxid,
    /// The last record given to the log.
    appended: Zxid,
    durable: Zxid,
    /// Proposals before UPTODATE that are not in the log; the first `committed_count` of them are committed.
    unlogged: VecDeque<(Zxid, Bytes)>,
    committed_count: usize,
    /// In the log, not committed.
    pending: VecDeque<Zxid>,
    /// In the log, to be acknowledged once they are durable.
    unacknowledged: VecDeque<Zxid>,
    /// Reconfigurations in the log, or on their way there, that are not committed: their configurations.
    proposed_configurations: VecDeque<(Zxid, Bytes)>,
    /// Of those that are committed before they are in the log: who leads.
    activations: VecDeque<(Zxid, ServerId)>,
    /// What NEWLEADER brought, unless it is only proposed: it holds with UPTODATE.
    leaders_configuration: Option<Bytes>,
    /// It is being saved.
    awaits_configuration: bool,
    /// Packets that wait for the disk.
    inbox: VecDeque<QuorumPacket>,
    waiting_bytes: usize,
    /// Pings that wait for the touched sessions.
    pings: VecDeque<QuorumPacket>,
    syncs: usize,
    actions: VecDeque<LearnerAction>,
}

impl Learner {
    /// A server that was told by the election to follow `leader`. `accepted` and `current` are its saved epochs, `last_logged`
    /// the durable end of its log.
    pub fn new(
        options: Options,
        now: Instant,
        observer: bool,
        leader: ServerId,
        accepted: Epoch,
        current: Epoch,
        last_logged: Zxid,
    ) -> Self {
        // See the module page: records of an epoch prove that its beginning is held.
        let current = current.max(last_logged.epoch());
        Self {
            options,
            observer,
            leader,
            phase: LearnerPhase::Dialling,
            accepted: accepted.max(current),
            current,
            last_logged,
            epoch: Epoch(0),
            heard: now,
            base: last_logged,
            appended: last_logged,
            durable: last_logged,
            unlogged: VecDeque::new(),
            committed_count: 0,
            pending: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            proposed_configurations: VecDeque::new(),
            activations: VecDeque::new(),
            leaders_configuration: None,
            awaits_configuration: false,
            inbox: VecDeque::new(),
            waiting_bytes: 0,
            pings: VecDeque::new(),
            syncs: 0,
            actions: VecDeque::new(),
        }
    }

    /// A packet came.
    ///
    /// # Panics
    /// While a snapshot is being received: its bytes are not packets.
    pub fn packet(&mut self, now: Instant, packet: QuorumPacket) {
        assert!(self.phase != LearnerPhase::ReceivingSnapshot, "a packet was read within a snapshot");
        self.heard = now;
        if self.phase == LearnerPhase::Dead {
            return;
        }
        if self.phase.is_blocked() {
            // What follows SNAP on the link is no packet, so it cannot wait.
            if packet.kind == PacketType::SNAP {
                return self.abandon("SNAP came out of turn");
            }
            match self.hold(packet.encoded_len()) {
                Ok(()) => self.inbox.push_back(packet),
                Err(refusal) => self.give_up(refusal),
            }
        } else {
            self.handle(now, packet);
        }
    }

    fn handle(&mut self, now: Instant, packet: QuorumPacket) {
        let result = match self.phase {
            LearnerPhase::AwaitLeaderInfo => self.leader_info(&packet),
            LearnerPhase::AwaitPlan => self.sync_plan(&packet),
            LearnerPhase::Synchronising | LearnerPhase::AwaitUpToDate => self.sync_packet(now, packet),
            LearnerPhase::Following => self.follow_packet(packet),
            _ => Err(Refusal::protocol(format!("{:?} came out of turn", packet.kind))),
        };
        if let Err(refusal) = result {
            self.give_up(refusal);
        }
    }

    /// The disk has finished a step: what waited for it goes on.
    fn unblocked(&mut self, now: Instant, phase: LearnerPhase) {
        self.phase = phase;
        self.heard = now;
        while !self.phase.is_blocked() && self.phase != LearnerPhase::Dead {
            let Some(packet) = self.inbox.pop_front() else { return };
            self.waiting_bytes -= packet.encoded_len();
            self.handle(now, packet);
        }
    }

    /// Bytes of a snapshot came: the leader is not silent.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// The link is gone.
    pub fn closed(&mut self) {
        self.abandon("the leader's connection was closed");
    }

    /// Time has passed: call it at [`Learner::timer`], or more often.
    pub fn tick(&mut self, now: Instant) {
        if self.timer().is_some_and(|at| now >= at) {
            self.abandon(format!("the leader, server {}, was silent too long ({:?})", self.leader.0, self.phase));
        }
    }

    /// When [`Learner::tick`] is to be called at the latest. While the disk works the leader may be silent.
    pub fn timer(&self) -> Option<Instant> {
        match self.phase {
            LearnerPhase::Dead | LearnerPhase::SavingAccepted => None,
            phase if phase.is_blocked() => None,
            LearnerPhase::AwaitUpToDate | LearnerPhase::Following => Some(self.heard + self.options.sync_timeout()),
            _ => Some(self.heard + self.options.init_timeout()),
        }
    }

    /// Whether so much waits that the shell had better not read more from the leader until something has been carried out.
    pub const fn is_full(&self) -> bool {
        self.waiting_bytes > WAITING_BYTES_MAX / 4
    }

    /// The log holds everything up to here durably.
    pub fn durable(&mut self, now: Instant, through: Zxid) {
        self.durable = self.durable.max(through);
        match self.phase {
            LearnerPhase::SavingHistory => self.history_may_be_durable(now),
            LearnerPhase::Following => self.acknowledge(),
            _ => {}
        }
    }

    /// What the epoch files hold now.
    pub fn epochs_saved(&mut self, now: Instant, accepted: Epoch, current: Epoch) {
        match self.phase {
            LearnerPhase::SavingAccepted if accepted >= self.epoch => self.accepted_is_saved(now),
            LearnerPhase::SavingCurrent if current >= self.epoch => self.current_is_saved(now),
            _ => {}
        }
    }

    /// The configuration that came with NEWLEADER is durable, or there is nothing to save.
    pub fn configuration_saved(&mut self, now: Instant) {
        if std::mem::take(&mut self.awaits_configuration) && self.phase == LearnerPhase::SavingHistory {
            self.heard = now;
            self.history_may_be_durable(now);
        }
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<LearnerAction> {
        self.actions.pop_front()
    }

    /// How far it is.
    pub const fn phase(&self) -> LearnerPhase {
        self.phase
    }

    /// Whom it follows.
    pub const fn leader(&self) -> ServerId {
        self.leader
    }

    /// Whether it has no vote.
    pub const fn is_observer(&self) -> bool {
        self.observer
    }

    /// The leader's epoch; 0 until it is known.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The last record given to the log.
    pub const fn appended(&self) -> Zxid {
        self.appended
    }

    fn act(&mut self, action: LearnerAction) {
        self.actions.push_back(action);
    }

    fn send(&mut self, packet: QuorumPacket) {
        self.actions.push_back(LearnerAction::Send(packet));
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.waiting_bytes += bytes;
        if self.waiting_bytes > WAITING_BYTES_MAX {
            let why = format!("more than {WAITING_BYTES_MAX} bytes wait for the disk or for UPTODATE");
            return Err(Refusal::protocol(why));
        }
        Ok(())
    }

    fn abandon(&mut self, why: impl Into<String>) {
        self.give_up(Refusal::protocol(why.into()));
    }

    fn give_up(&mut self, refusal: Refusal) {
        if self.phase != LearnerPhase::Dead {
            self.phase = LearnerPhase::Dead;
            self.inbox.clear();
            self.unlogged.clear();
            self.act(LearnerAction::Abandon { why: refusal.why, want_snapshot: refusal.want_snapshot });
        }
    }
}

/// Why the leader's words cannot be followed.
struct Refusal {
    why: String,
    want_snapshot: bool,
}

impl Refusal {
    const fn protocol(why: String) -> Self {
        Self { why, want_snapshot: false }
    }

    /// The records do not fit to what is here.
    const fn gap(why: String) -> Self {
        Self { why, want_snapshot: true }
    }
}

#[cfg(test)]
mod tests;
