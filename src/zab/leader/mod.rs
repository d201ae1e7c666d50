//! The leader's side of ZAB (Apache's `Leader`, `LearnerHandler`): finds an epoch, brings learners up to date, broadcasts.
//!
//! Invariants: no packet that promises an epoch leaves before the epoch is saved; a proposal is committed when a quorum of
//! participants holds it durably *and* all before it are committed; what a learner acknowledged counts only on the link on
//! which it did (a learner that comes again may have been told to cut its tail); so does its ack of NEWLEADER, as who is gone may
//! follow another leader by now. Its ack of the epoch counts for good: it is a promise.
//!
//! Beyond Apache: a member that has promised a later epoch, to a leader that came to nothing, cannot join this one. It is kept
//! waiting, and once this leader has been in office for initLimit it steps down, so that the next epoch is beyond the promise
//! ([`Leader::promised_beyond`]). To step down and to choose a later epoch is safe at any time. A member that shows ever later
//! promises costs an election each initLimit at most; a server that the configuration does not name costs none.
//!
//! Beyond Apache: a SYNC is answered only after a quorum has answered a ping that was sent behind it. So a leader that has been
//! replaced without knowing it answers none, and a read behind a sync is linearisable.

mod broadcast;
mod discovery;
mod link;
mod reconfig;
pub(super) mod sync;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::broadcast::PendingSync;
use self::link::{Link, Stage};
use super::{History, LinkId, Options};
use crate::ids::{Epoch, ServerId, SessionId, Zxid};
use crate::quorum::Membership;
use crate::time::Instant;
use crate::wire::acl::Id;
use crate::wire::jute::DecodeError;
use crate::wire::quorum::{
    ForwardedRequest, PacketType, QuorumPacket, decode_revalidate, decode_touches, revalidated_to_bytes,
};

/// Most links at a time; more are closed at once.
pub const LINKS_MAX: usize = 1024;

/// Most proposals that wait for a quorum. The caller asks [`Leader::has_room`] before it makes more; beyond twice this the
/// leader steps down, as its learners do not follow.
pub const OUTSTANDING_MAX: usize = 1 << 18;

/// Most bytes of proposals that wait for a quorum, in the same sense.
pub const OUTSTANDING_BYTES_MAX: usize = 256 << 20;

/// Most bytes of proposals that may be queued on one link (as its answers to pings tell, looked at in [`Leader::tick`]); a learner
/// that is farther behind is closed, and comes again with a DIFF or a snapshot.
pub const LINK_BYTES_MAX: u64 = 1 << 30;

/// What the leader wants done, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeaderAction {
    /// Save the epochs that are given, durably; answer with [`Leader::epochs_saved`].
    SaveEpochs {
        /// acceptedEpoch, if it changes.
        accepted: Option<Epoch>,
        /// currentEpoch, if it changes.
        current: Option<Epoch>,
    },
    /// Behind everything sent on this link before.
    Send {
        /// To whom.
        link: LinkId,
        /// What.
        packet: QuorumPacket,
    },
    /// Behind everything sent before, and before everything sent later: the committed tree and its sessions, exactly as they
    /// stand at `zxid` (which is [`History::last_processed`] now), as Apache's snapshot body and the signature.
    SendSnapshot {
        /// To whom.
        link: LinkId,
        /// At which zxid.
        zxid: Zxid,
    },
    /// Close this link; it is already forgotten here, and no `link_closed` is needed for it.
    Close {
        /// Which.
        link: LinkId,
        /// For the log.
        why: String,
    },
    /// A quorum follows: serving begins, the next zxid is `(epoch, 1)`.
    Established {
        /// The new epoch.
        epoch: Epoch,
    },
    /// Everything proposed up to here is committed: apply it in order, push it into the [`History`], publish it.
    Commit {
        /// The last of it.
        through: Zxid,
    },
    /// This configuration holds from now on: that of the last record of the `Commit` before, or at the beginning of the term,
    /// before `Established`, one that was proposed before it. If `designated` is another server nothing is committed any more;
    /// the term ends when all learners have gone to that one, and after syncLimit whoever has not.
    Activate {
        /// What holds.
        membership: Arc<Membership>,
        /// Who leads from now on.
        designated: ServerId,
    },
    /// A client of a learner asks for this. Several of one link are in the order in which they came. A `sync` goes to
    /// [`Leader::sync_request`] when its turn comes.
    Request {
        /// Through which learner.
        link: LinkId,
        /// What.
        request: ForwardedRequest,
        /// Who the client is.
        identities: Vec<Id<'static>>,
    },
    /// A client came back to a learner: answer with [`Leader::revalidated`], and if it is valid let the learner own it.
    Revalidate {
        /// Through which learner.
        link: LinkId,
        /// Which session.
        session: SessionId,
        /// What the client asked for.
        timeout_ms: i32,
    },
    /// The clients of these sessions were heard at a learner.
    Touch {
        /// Which learner.
        link: LinkId,
        /// Sessions and their timeouts in milliseconds.
        sessions: Vec<(SessionId, i32)>,
    },
    /// The oldest [`Leader::sync_request`] of this server's own clients is done.
    SyncDone,
    /// The term of office is over: close all links, go looking. Nothing follows.
    StepDown {
        /// For the log.
        why: String,
    },
}

/// How far the term of office is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LeaderPhase {
    /// Waits for a quorum that says which epochs it has accepted.
    CollectingEpochs,
    /// acceptedEpoch is being saved.
    SavingAccepted,
    /// Waits for a quorum that accepts the epoch.
    CollectingAcks,
    /// currentEpoch is being saved, learners are being synchronised.
    SavingCurrent,
    /// Waits for a quorum that holds the leader's history.
    Synchronising,
    /// Proposals are possible.
    Established,
    /// Over.
    Dead,
}

/// One learner, for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LearnerStatus {
    /// Its link.
    pub link: LinkId,
    /// Its number.
    pub server: ServerId,
    /// Whether it said that it only observes.
    pub observer: bool,
    /// Whether it serves clients.
    pub synced: bool,
    /// The last proposal that it acknowledged.
    pub acked: Zxid,
    /// How many requests it has sent on.
    pub requests: u64,
}

/// Where a history ends, and in whose epoch (`StateSummary`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Summary {
    current: Epoch,
    last: Zxid,
}

/// The leader. See the module page for how it is driven.
#[derive(Debug)]
pub struct Leader {
    options: Options,
    phase: LeaderPhase,
    /// When the present phase has lasted too long.
    phase_deadline: Instant,
    started: Instant,
    /// The epoch that is going to be, or is.
    epoch: Epoch,
    /// What it would be by this server's own promises.
    own_epoch: Epoch,
    summary: Summary,
    links: BTreeMap<LinkId, Link>,
    connecting: BTreeSet<ServerId>,
    electing: BTreeSet<ServerId>,
    new_leader_acks: BTreeSet<ServerId>,
    /// Proposed and not committed, in order.
    outstanding: VecDeque<broadcast::Proposal>,
    outstanding_bytes: usize,
    /// All bytes ever proposed.
    proposed_bytes: u64,
    last_proposed: Zxid,
    committed: Zxid,
    durable: Zxid,
    /// Something was acknowledged since commits were last counted.
    acks_changed: bool,
    syncs: VecDeque<PendingSync>,
    /// The reconfiguration that is proposed and not committed: its zxid, and `options.last_seen` is what it makes.
    reconfiguration: Option<Zxid>,
    /// Another server is to lead; the tick after which this one goes, whoever is still here.
    retires_at_tick: Option<u64>,
    ping_round: u64,
    confirmed_round: u64,
    tick: u64,
    next_half_tick: Option<Instant>,
    half: bool,
    established: Option<Instant>,
    /// The latest epoch, beyond this leader's, that a member has promised to another.
    promised_beyond: Option<Epoch>,
    actions: VecDeque<LeaderAction>,
}

impl Leader {
    /// A server that won the election. `accepted` and `current` are its saved epochs, `last_zxid` the end of its log, which is
    /// durable and has been applied in full.
    ///
    /// # Panics
    /// If it has no vote in `options.membership`: then it could not have won.
    pub fn new(options: Options, now: Instant, accepted: Epoch, current: Epoch, last_zxid: Zxid) -> Self {
        assert!(options.is_participant(options.my_id), "server {} leads without a vote", options.my_id.0);
        // See the module page: records of an epoch prove that its beginning is held.
        let current = current.max(last_zxid.epoch());
        let mut leader = Self {
            phase: LeaderPhase::CollectingEpochs,
            phase_deadline: now + options.init_timeout(),
            started: now,
            epoch: Epoch(accepted.max(current).0 + 1),
            own_epoch: Epoch(accepted.max(current).0 + 1),
            summary: Summary { current, last: last_zxid },
            links: BTreeMap::new(),
            connecting: BTreeSet::from([options.my_id]),
            electing: BTreeSet::new(),
            new_leader_acks: BTreeSet::new(),
            outstanding: VecDeque::new(),
            outstanding_bytes: 0,
            proposed_bytes: 0,
            last_proposed: last_zxid,
            committed: Zxid::ZERO,
            durable: last_zxid,
            acks_changed: false,
            syncs: VecDeque::new(),
            reconfiguration: None,
            retires_at_tick: None,
            ping_round: 0,
            confirmed_round: 0,
            tick: 0,
            next_half_tick: None,
            half: false,
            established: None,
            promised_beyond: None,
            actions: VecDeque::new(),
            options,
        };
        leader.try_decide_epoch();
        leader
    }

    /// A connection to the quorum port was accepted (and authenticated).
    pub fn link_opened(&mut self, now: Instant, link: LinkId) {
        if self.phase == LeaderPhase::Dead {
            return;
        }
        if self.links.len() >= LINKS_MAX {
            return self.act(LeaderAction::Close { link, why: format!("more than {LINKS_MAX} learners") });
        }
        let alive = self.tick + u64::from(self.options.init_limit) + u64::from(self.options.sync_limit);
        self.links.insert(link, Link::new(now + self.options.init_timeout(), alive));
    }

    /// The connection is gone.
    pub fn link_closed(&mut self, link: LinkId) {
        if let Some(link) = self.links.remove(&link) {
            // Who is gone may follow another one by now: a leader is established by those who are here.
            self.new_leader_acks.remove(&link.server);
        }
        self.syncs.retain(|sync| sync.link != Some(link));
        self.acks_changed = true;
        self.retire_if_alone();
    }

    /// Bytes of a snapshot went out on this link: its learner is not late while they do, and if it is one that the quorum may
    /// need, neither is the quorum.
    pub fn snapshot_progress(&mut self, now: Instant, link: LinkId) {
        let deadline = now + self.options.init_timeout();
        let Some(link) = self.links.get_mut(&link).filter(|link| link.stage == Stage::AwaitNewLeaderAck) else {
            return;
        };
        link.deadline = deadline;
        if matches!(self.phase, LeaderPhase::SavingCurrent | LeaderPhase::Synchronising)
            && self.options.is_participant(link.server)
        {
            self.phase_deadline = deadline;
        }
    }

    /// A packet came. `history` is what the tree holds; every `Commit` given before has been carried out in it.
    pub fn packet(&mut self, now: Instant, id: LinkId, packet: QuorumPacket, history: &History) {
        let Some(link) = self.links.get(&id) else { return };
        let result = match link.stage {
            Stage::Greeting => self.greeting(now, id, &packet),
            Stage::AwaitAckEpoch => self.ack_epoch(now, id, &packet, history),
            Stage::AwaitNewLeaderAck => self.first_ack(now, id, &packet),
            Stage::AwaitStart if packet.kind == PacketType::ACK => {
                self.ack(id, packet.zxid);
                Ok(())
            }
            Stage::Serving => self.serve(now, id, packet),
            Stage::AwaitEpoch | Stage::AwaitEpochQuorum | Stage::AwaitStart => {
                Err(format!("{:?} came out of turn", packet.kind))
            }
        };
        if let Err(why) = result {
            self.close(id, why);
        }
    }

    fn serve(&mut self, now: Instant, id: LinkId, packet: QuorumPacket) -> Result<(), String> {
        let bad = |error: DecodeError| format!("{:?}: {error}", packet.kind);
        let (deadline, alive) = (now + self.options.sync_timeout(), self.tick + u64::from(self.options.sync_limit));
        let link = self.links.get_mut(&id).expect("packet() has found it");
        link.deadline = deadline;
        link.alive_until_tick = alive;
        match packet.kind {
            PacketType::ACK => self.ack(id, packet.zxid),
            PacketType::PING => {
                self.pong(id);
                let sessions = decode_touches(packet.data.as_deref().unwrap_or_default()).map_err(bad)?;
                if !sessions.is_empty() {
                    self.act(LeaderAction::Touch { link: id, sessions });
                }
            }
            PacketType::REVALIDATE => {
                let (session, timeout_ms) = packet.body().and_then(|data| decode_revalidate(data)).map_err(bad)?;
                self.act(LeaderAction::Revalidate { link: id, session, timeout_ms });
            }
            PacketType::REQUEST => {
                let request = packet.body().and_then(ForwardedRequest::decode).map_err(bad)?;
                link.requests += 1;
                let identities = packet.authinfo.unwrap_or_default();
                self.act(LeaderAction::Request { link: id, request, identities });
            }
            // Apache logs a warning and goes on.
            _ => {}
        }
        Ok(())
    }

    /// The answer to [`LeaderAction::Revalidate`].
    pub fn revalidated(&mut self, link: LinkId, session: SessionId, valid: bool) {
        if self.links.get(&link).is_some_and(|link| link.stage == Stage::Serving) {
            let data = revalidated_to_bytes(session, valid);
            self.send(link, QuorumPacket::with_data(PacketType::REVALIDATE, Zxid(-1), data));
        }
    }

    /// What the epoch files hold now.
    pub fn epochs_saved(&mut self, now: Instant, accepted: Epoch, current: Epoch) {
        match self.phase {
            LeaderPhase::SavingAccepted if accepted >= self.epoch => self.accepted_is_saved(now),
            LeaderPhase::SavingCurrent if current >= self.epoch => {
                self.phase = LeaderPhase::Synchronising;
                self.new_leader_acks.insert(self.options.my_id);
                self.try_establish(now);
            }
            _ => {}
        }
    }

    /// Time has passed: call it at [`Leader::timer`], or more often.
    pub fn tick(&mut self, now: Instant) {
        if matches!(self.phase, LeaderPhase::Dead) {
            return;
        }
        let is_impatient =
            self.phase == LeaderPhase::CollectingEpochs && now.since(self.started) >= self.options.epoch_patience();
        if self.phase < LeaderPhase::Established && (now >= self.phase_deadline || is_impatient) {
            let what = match self.phase {
                LeaderPhase::CollectingEpochs | LeaderPhase::SavingAccepted => "for an epoch from a quorum",
                LeaderPhase::CollectingAcks => "for a quorum to accept the epoch",
                _ => "for a quorum to take over the history",
            };
            return self.step_down(format!("waited too long {what}"));
        }
        let limit = self.options.sync_timeout();
        let late: Vec<_> = self
            .links
            .iter()
            .filter_map(|(id, link)| {
                if !link.waits_for_others() && now >= link.deadline {
                    Some((*id, format!("nothing came in time ({:?})", link.stage)))
                } else if link.has_joined() && link.lag.is_overdue(now, limit) {
                    Some((*id, "a proposal was not acknowledged within syncLimit".to_owned()))
                } else if link.is_forwarding() && self.proposed_bytes - link.taken_bytes > LINK_BYTES_MAX {
                    Some((*id, format!("it is more than {LINK_BYTES_MAX} bytes behind")))
                } else {
                    None
                }
            })
            .collect();
        for (id, why) in late {
            self.close(id, why);
        }
        self.make_room_for_promises(now);
        if self.phase == LeaderPhase::Established && self.next_half_tick.is_some_and(|at| now >= at) {
            self.next_half_tick = Some(now + self.half_tick());
            self.half_tick_passed();
        }
    }

    /// Steps down for a member that has promised a later epoch, if it waits still and this leader was in office long enough.
    pub(super) fn make_room_for_promises(&mut self, now: Instant) {
        if self.established.is_none_or(|since| now.since(since) < self.options.init_timeout()) {
            return;
        }
        let waiting = |link: &&Link| link.stage == Stage::AwaitEpoch && link.accepted > self.epoch;
        if let Some(Link { server, accepted, .. }) = self.links.values().find(waiting) {
            let (server, accepted, epoch) = (server.0, accepted.0, self.epoch.0);
            self.step_down(format!(
                "server {server} has promised epoch {accepted:#x} to another leader, and cannot follow one of epoch {epoch:#x}"
            ));
        }
    }

    /// The latest epoch beyond this leader's that a member has promised to another leader: the next one is to be beyond that.
    pub const fn promised_beyond(&self) -> Option<Epoch> {
        self.promised_beyond
    }

    /// When [`Leader::tick`] is to be called at the latest.
    pub fn timer(&self) -> Option<Instant> {
        if self.phase == LeaderPhase::Dead {
            return None;
        }
        if self.phase == LeaderPhase::Established {
            // Fine enough to look at everything else.
            return self.next_half_tick;
        }
        let links = self.links.values().filter(|link| !link.waits_for_others()).map(|link| link.deadline);
        let impatient = self.started + self.options.epoch_patience();
        let impatient = (self.phase == LeaderPhase::CollectingEpochs).then_some(impatient);
        links.chain([self.phase_deadline]).chain(impatient).min()
    }

    fn half_tick(&self) -> Duration {
        Duration::from_millis((self.options.tick_ms / 2).max(1))
    }

    /// Each half tick learners are pinged; each whole tick a quorum has to be alive.
    fn half_tick_passed(&mut self) {
        self.half = !self.half;
        if !self.half {
            self.tick += 1;
            if self.retires_at_tick.is_some() {
                return self.retire_if_overdue();
            }
            let mut alive = vec![self.options.my_id];
            // Not those who observe, even if they are to vote by what is proposed: they acknowledge nothing yet.
            let alive_links = self.links.values().filter(|link| !link.observer && self.tick <= link.alive_until_tick);
            alive.extend(alive_links.map(|link| link.server));
            if !self.options.contains_quorum(&alive) {
                let why = format!(
                    "not enough followers: only {:?} are alive",
                    alive.iter().map(|id| id.0).collect::<Vec<_>>()
                );
                return self.step_down(why);
            }
        }
        self.ping_all();
    }

    /// What to do next of what packets have asked for; acknowledgements are not counted yet. For between the packets that came
    /// together: each is to find done what the one before asked for, and a batch of acknowledgements makes one count.
    pub fn poll_between(&mut self) -> Option<LeaderAction> {
        self.actions.pop_front()
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<LeaderAction> {
        if self.acks_changed && self.actions.is_empty() {
            self.acks_changed = false;
            self.commit_what_a_quorum_holds();
        }
        self.actions.pop_front()
    }

    /// Whether those with a vote who follow it, and were heard of lately, could elect another one without it.
    pub fn is_dispensable(&self) -> bool {
        let others = self
            .links
            .values()
            .filter(|link| link.stage == Stage::Serving && !link.observer && self.tick <= link.alive_until_tick);
        let others: Vec<_> = others.map(|link| link.server).collect();
        self.phase == LeaderPhase::Established
            && self.reconfiguration.is_none()
            && self.retires_at_tick.is_none()
            && self.options.contains_quorum(&others)
    }

    /// How far the term of office is.
    pub const fn phase(&self) -> LeaderPhase {
        self.phase
    }

    /// The epoch that is going to be, or is.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The newest proposal; `(epoch, 0)` before the first.
    pub const fn last_proposed(&self) -> Zxid {
        self.last_proposed
    }

    /// The newest committed proposal; `(epoch, 0)` before the first.
    pub const fn committed(&self) -> Zxid {
        self.committed
    }

    /// All learners that have said who they are.
    pub fn learners(&self) -> impl Iterator<Item = LearnerStatus> {
        self.links.iter().filter(|(_, link)| link.stage > Stage::Greeting).map(|(id, link)| LearnerStatus {
            link: *id,
            server: link.server,
            observer: link.observer,
            synced: link.stage == Stage::Serving,
            acked: link.acked,
            requests: link.requests,
        })
    }

    const fn start_of_epoch(&self) -> Zxid {
        Zxid::new(self.epoch, 0)
    }

    fn act(&mut self, action: LeaderAction) {
        self.actions.push_back(action);
    }

    fn send(&mut self, link: LinkId, packet: QuorumPacket) {
        self.actions.push_back(LeaderAction::Send { link, packet });
    }

    fn close(&mut self, link: LinkId, why: String) {
        self.act(LeaderAction::Close { link, why });
        self.link_closed(link);
    }

    fn step_down(&mut self, why: String) {
        if self.phase != LeaderPhase::Dead {
            self.phase = LeaderPhase::Dead;
            self.links.clear();
            self.syncs.clear();
            self.outstanding.clear();
            self.outstanding_bytes = 0;
            self.acks_changed = false;
            self.act(LeaderAction::StepDown { why });
        }
    }
}

#[cfg(test)]
mod tests;
