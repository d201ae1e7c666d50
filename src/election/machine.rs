//! Rounds of an election, and the way out of them: [`Election`], which lives as long as the server.
//!
//! Invariants:
//! - While it looks it has a proposal: its own vote, or a better one that it heard of in this round. Within a round the
//!   proposal only gets better, and every change of it is told to all voters.
//! - `votes` holds what voters said in this round, `established` what servers with a leader said, of any round.
//! - It leaves a round in two ways: a quorum has its proposal and nothing better comes within the wait; or a quorum of
//!   servers has a leader that itself says it leads.
//! - Once it has a leader it answers those that look, and takes part in no election until [`Election::start`].
//!
//! Bounds: one vote a voter in each table; one message a peer and at most [`SENDS_MAX`] waiting to be taken: a newer one takes
//! the place of the older (as in `QuorumCnxManager`, whose queues hold one), and the oldest goes if there are too many.
//!
//! Where it differs from `FastLeaderElection`, on purpose:
//! - Its own vote does not travel through a queue; it counts at once.
//! - When every voter that can be reached has the same candidate there is nothing to wait for, so it does not
//!   ([`Options::decide_early`]). Who cannot be reached is what the connection manager said; without its word the whole wait is
//!   kept. It decides when all that has arrived is heard ([`Election::turn_ended`]): after a partition the votes of several
//!   rounds come at once, and the first of them are of the past.
//! - The wait is not prolonged by votes that change nothing, and who asked in vain during it is answered after it.
//! - Who votes for a worse candidate in this round is told ours once more. It may have begun to look only after our vote came, and
//!   would hear it again no sooner than `minNotificationInterval` (a fifth of a second) later.
//! - A round number grows for ever, also over a change of the configuration (Apache's server begins with 0 then).
//! - A server that looks answers an observer with its proposal, not with the leader before.
//! - Only those that look are answered: two servers that do not know each other as voters would answer each other for ever.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::vote::Vote;
use crate::ids::{Epoch, ServerId, Zxid};
use crate::quorum::{Membership, PeerType};
use crate::time::Instant;
use crate::wire::election::{NOTIFICATION_VERSION, Notification, ServerState};

/// Most messages that wait to be taken; more than there are members, so only unknown peers can fill it.
const SENDS_MAX: usize = 1024;

/// Who hears of a leader and cannot join it yet, because not all that follow it say the same, asks again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The zxid of a server that has lost its data: it must not be believed, and believes nobody.
const LOST: Zxid = Zxid(-1);

/// What the election needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which server this is.
    pub my_id: ServerId,
    /// The committed configuration.
    pub membership: Arc<Membership>,
    /// Its role if the configuration does not name it (`peerType`).
    pub peer_type: PeerType,
    /// How long a candidate with a quorum waits for a better one, in milliseconds (`finalizeWait`).
    pub finalize_wait_ms: u64,
    /// The first wait before a vote is told again, in milliseconds (`zookeeper.fastleader.minNotificationInterval`).
    pub notification_interval_min_ms: u64,
    /// That wait doubles up to this many milliseconds (`zookeeper.fastleader.maxNotificationInterval`).
    pub notification_interval_max_ms: u64,
    /// Whether a newer configuration in a notification is taken over (`reconfigEnabled`). Never without it (ZOOKEEPER-3829).
    pub reconfig_enabled: bool,
    /// Do not wait for a better candidate when nobody is left who could name one.
    pub decide_early: bool,
}

impl Options {
    /// Apache's values for server `my_id`.
    pub const fn new(my_id: ServerId, membership: Arc<Membership>) -> Self {
        Self {
            my_id,
            membership,
            peer_type: PeerType::Participant,
            finalize_wait_ms: 200,
            notification_interval_min_ms: 200,
            notification_interval_max_ms: 60_000,
            reconfig_enabled: false,
            decide_early: true,
        }
    }
}

/// How an election ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Whom to follow; it may be this server.
    pub leader: ServerId,
    /// What this server is from now on: never looking.
    pub role: ServerState,
    /// The vote that won.
    pub vote: Vote,
    /// Whose votes made the quorum.
    pub supporters: BTreeSet<ServerId>,
}

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ElectionAction {
    /// Bring this to that server; it may take the place of what is not on its way yet.
    Send {
        /// The server.
        to: ServerId,
        /// The vote.
        notification: Notification,
    },
    /// A leader is known.
    Elected(Outcome),
    /// A newer configuration came with a notification and counts from now on: save it (`QuorumPeer.processReconfig`).
    MembershipSeen(Arc<Membership>),
    /// This server leads, and one of the voters looks for a leader: a leader that waits for its quorum longer than
    /// `leader.maxTimeToWaitForEpoch` should give up (`Leader.reportLookingSid`, ZOOKEEPER-3109).
    VoterLooking(ServerId),
}

/// See the file's page.
#[derive(Debug)]
pub struct Election {
    options: Options,
    /// The committed configuration and its text.
    membership: Arc<Membership>,
    text: String,
    /// A newer configuration that is proposed but not committed: quorums are needed in both.
    last_seen: Option<Arc<Membership>>,
    /// The voters of both (`getCurrentAndNextConfigVoters`).
    voters: BTreeSet<ServerId>,
    /// `None` before the first start, and while it abstains.
    state: Option<ServerState>,
    /// The logical clock.
    round: i64,
    /// What this server would vote if it were alone.
    own: Vote,
    proposal: Vote,
    /// What was decided, and is told while not looking.
    current: Option<Vote>,
    votes: BTreeMap<ServerId, Vote>,
    established: BTreeMap<ServerId, Vote>,
    /// Since the proposal has a quorum: when it is final.
    final_at: Option<Instant>,
    /// Nobody is left who could name a better one: it is final at the end of the turn.
    is_early: bool,
    resend_at: Instant,
    interval_ms: u64,
    /// Who looked in vain while the proposal became final.
    unanswered: BTreeSet<ServerId>,
    /// Who was told the proposal once more: once each, as two that see different configurations would tell each other for ever.
    reminded: BTreeSet<ServerId>,
    /// Servers that cannot be reached, as far as the connection manager said.
    unreachable: BTreeSet<ServerId>,
    actions: VecDeque<ElectionAction>,
}

impl Election {
    /// A server that has not begun to look yet.
    pub fn new(options: Options) -> Self {
        let nobody = Vote {
            leader: ServerId(i64::MIN),
            zxid: Zxid(i64::MIN),
            peer_epoch: i64::MIN,
            election_epoch: 0,
            state: ServerState::Looking,
            version: 0,
        };
        let mut election = Self {
            membership: Arc::clone(&options.membership),
            text: String::new(),
            last_seen: None,
            voters: BTreeSet::new(),
            state: None,
            round: 0,
            own: nobody,
            proposal: nobody,
            current: None,
            votes: BTreeMap::new(),
            established: BTreeMap::new(),
            final_at: None,
            is_early: false,
            resend_at: Instant(0),
            interval_ms: options.notification_interval_min_ms,
            unanswered: BTreeSet::new(),
            reminded: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            actions: VecDeque::new(),
            options,
        };
        election.adopt(Arc::clone(&election.options.membership), None);
        election
    }

    /// Begins to look for a leader in a new round, with what the log and the epoch file hold now (`lookForLeader`).
    ///
    /// `last_logged` is -1 if the server finds no data where it should have some: then it believes no candidate, votes for
    /// none, and can only join a leader that the others have.
    pub fn start(&mut self, now: Instant, last_logged: Zxid, current_epoch: Epoch) {
        self.own.zxid = last_logged;
        self.own.peer_epoch = i64::from(current_epoch.0);
        self.begin_round(now);
    }

    /// The ensemble was reconfigured, and the leader before said who leads now: that one is followed without an election
    /// (`QuorumPeer.updateVote`). If it is this server, it leads. Whether that comes about is `zab`'s to find out, as after an
    /// election; [`Election::start`] begins one if not.
    pub fn designate(&mut self, leader: ServerId, last_logged: Zxid, current_epoch: Epoch) {
        (self.own.zxid, self.own.peer_epoch) = (last_logged, i64::from(current_epoch.0));
        let vote = Vote { leader, election_epoch: self.round, state: ServerState::Looking, version: 0, ..self.own };
        self.decide(vote, &BTreeSet::new());
    }

    /// It has no leader any more and keeps out of the election that comes: it tells nobody anything, and believes nobody, until
    /// [`Election::start`] or [`Election::designate`].
    pub fn abstain(&mut self) {
        self.state = None;
        self.actions.clear();
    }

    /// A notification came from the server at the other end of a connection.
    pub fn handle(&mut self, now: Instant, from: ServerId, notification: &Notification) {
        let Some(state) = self.state else { return };
        if from == self.options.my_id {
            return;
        }
        let looking = state == ServerState::Looking;
        if looking && self.sees_newer_membership(now, notification) {
            return;
        }
        if !self.voters.contains(&from) {
            if notification.state == ServerState::Looking {
                self.send(from);
            }
            return;
        }
        if looking {
            if notification.state == ServerState::Looking && notification.election_epoch < self.round {
                self.send(from);
            }
            self.count(now, from, notification);
        } else if notification.state == ServerState::Looking {
            let report = ElectionAction::VoterLooking(from);
            if state == ServerState::Leading && !self.actions.contains(&report) {
                self.actions.push_back(report);
            }
            self.send(from);
        }
    }

    /// There is a connection to `peer`, after there was none: it is told the vote, as what was sent before may be lost.
    pub fn connected(&mut self, now: Instant, peer: ServerId) {
        self.unreachable.remove(&peer);
        if self.state == Some(ServerState::Looking) && self.voters.contains(&peer) && peer != self.options.my_id {
            self.send(peer);
            // It may name a better candidate after all.
            self.evaluate(now);
        }
    }

    /// The last connection to `peer` broke, or it refused one. To be called only if there is none left.
    pub fn disconnected(&mut self, now: Instant, peer: ServerId) {
        self.unreachable.insert(peer);
        if self.state == Some(ServerState::Looking) {
            self.evaluate(now);
        }
    }

    /// The leader is established in `epoch`, as leader or as follower: from now on all its servers report the same epoch, so
    /// that a latecomer sees their quorum (`QuorumPeer.updateElectionVote`, ZOOKEEPER-1732).
    pub fn established(&mut self, _now: Instant, epoch: Epoch) {
        if let Some(current) = &mut self.current {
            current.peer_epoch = i64::from(epoch.0);
        }
    }

    /// The configuration changed: the committed one, and the proposed one if that is newer. A server that looks begins anew if
    /// the members are not the same.
    pub fn set_membership(&mut self, now: Instant, committed: Arc<Membership>, last_seen: Option<Arc<Membership>>) {
        let same = self.membership.same_members(&committed);
        self.adopt(committed, last_seen);
        if !same && self.state == Some(ServerState::Looking) {
            self.begin_round(now);
        }
    }

    /// Everything that has arrived so far was told: what waits for nothing else is decided now. Whether something was.
    pub fn turn_ended(&mut self) -> bool {
        let is_due = self.is_early && self.final_at.is_some();
        if is_due {
            self.decide(self.proposal, &self.supporters(&self.votes, &self.proposal));
        }
        is_due
    }

    /// When [`Self::tick`] is to be called, if nothing else happens before.
    pub fn timer(&self) -> Option<Instant> {
        (self.state == Some(ServerState::Looking)).then(|| self.final_at.unwrap_or(self.resend_at))
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        if self.timer().is_none_or(|at| now < at) {
            return;
        }
        if self.final_at.is_some() {
            self.decide(self.proposal, &self.supporters(&self.votes, &self.proposal));
        } else {
            self.interval_ms = (self.interval_ms.saturating_mul(2)).min(self.options.notification_interval_max_ms);
            self.tell_all(now);
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<ElectionAction> {
        self.actions.pop_front()
    }

    /// What this server is doing; looking before the first start.
    pub fn state(&self) -> ServerState {
        self.state.unwrap_or(ServerState::Looking)
    }

    /// The round (Apache's logical clock).
    pub const fn round(&self) -> i64 {
        self.round
    }

    /// The vote that it tells: its proposal while it looks, else what was decided.
    pub fn vote(&self) -> Vote {
        match self.current {
            Some(current) if self.state != Some(ServerState::Looking) => current,
            _ => self.proposal,
        }
    }

    /// What voters have said in this round; empty while it does not look.
    pub const fn votes(&self) -> &BTreeMap<ServerId, Vote> {
        &self.votes
    }

    /// The configuration that counts.
    pub const fn membership(&self) -> &Arc<Membership> {
        &self.membership
    }

    fn adopt(&mut self, committed: Arc<Membership>, last_seen: Option<Arc<Membership>>) {
        self.last_seen = last_seen.filter(|next| next.version > committed.version);
        self.voters = committed
            .participants()
            .chain(self.last_seen.iter().flat_map(|next| next.participants()))
            .map(|member| member.id)
            .collect();
        self.text = committed.to_text();
        self.membership = committed;
    }

    /// `receive` of a configuration that is newer than ours. True if everything begins anew, without this notification.
    fn sees_newer_membership(&mut self, now: Instant, notification: &Notification) -> bool {
        let Some(text) = notification.config.as_ref().filter(|text| **text != self.text) else { return false };
        // A text that is no configuration does not spoil the vote it came with.
        let Ok(membership) = Membership::parse_text(text) else { return false };
        if !self.options.reconfig_enabled || membership.version <= self.membership.version {
            return false;
        }
        let same = self.membership.same_members(&membership);
        let membership = Arc::new(membership);
        let last_seen = self.last_seen.take();
        self.adopt(Arc::clone(&membership), last_seen);
        self.actions.push_back(ElectionAction::MembershipSeen(membership));
        if !same {
            self.begin_round(now);
        }
        !same
    }

    /// This server's role: what the configuration says, if it names it.
    fn peer_type(&self) -> PeerType {
        self.membership.members.get(&self.options.my_id).map_or(self.options.peer_type, |member| member.peer_type)
    }

    /// The vote for itself; an observer's is worse than every other (`getInitId`, `getInitLastLoggedZxid`, `getPeerEpoch`).
    fn initial(&self) -> Vote {
        let is_participant = self.peer_type() == PeerType::Participant;
        Vote {
            leader: if self.membership.is_participant(self.options.my_id) {
                self.options.my_id
            } else {
                ServerId(i64::MIN)
            },
            zxid: if is_participant { self.own.zxid } else { Zxid(i64::MIN) },
            peer_epoch: if is_participant { self.own.peer_epoch } else { i64::MIN },
            election_epoch: self.round,
            state: ServerState::Looking,
            version: 0,
        }
    }

    fn begin_round(&mut self, now: Instant) {
        self.state = Some(ServerState::Looking);
        self.round = self.round.wrapping_add(1);
        self.votes.clear();
        self.established.clear();
        self.unanswered.clear();
        self.interval_ms = self.options.notification_interval_min_ms;
        self.propose(now, self.initial());
    }

    /// Makes `vote` the proposal of this round and tells all.
    fn propose(&mut self, now: Instant, vote: Vote) {
        let (state, version) = (ServerState::Looking, 0);
        self.proposal = Vote { election_epoch: self.round, state, version, ..vote };
        self.final_at = None;
        self.reminded.clear();
        self.tell_all(now);
    }

    /// `sendNotifications`. The vote of a server that lost its data is told, so that the others answer, and never counts.
    fn tell_all(&mut self, now: Instant) {
        let my_id = self.options.my_id;
        for to in self.voters.iter().copied().filter(|to| *to != my_id).collect::<Vec<_>>() {
            self.send(to);
        }
        self.resend_at = now + Duration::from_millis(self.interval_ms);
        if self.voters.contains(&my_id) && self.initial().zxid != LOST {
            self.votes.insert(my_id, self.proposal);
        }
        self.evaluate(now);
    }

    /// Sends the vote that this server has now.
    fn send(&mut self, to: ServerId) {
        let vote = self.vote();
        let notification = Notification {
            state: self.state(),
            leader: vote.leader,
            zxid: vote.zxid,
            election_epoch: vote.election_epoch,
            peer_epoch: vote.peer_epoch,
            version: NOTIFICATION_VERSION,
            config: Some(self.text.clone()),
        };
        let same = |action: &ElectionAction| matches!(action, ElectionAction::Send { to: other, .. } if *other == to);
        if let Some(place) = self.actions.iter().position(same) {
            self.actions.remove(place);
        } else if self.actions.len() >= SENDS_MAX {
            let oldest = self.actions.iter().position(|action| matches!(action, ElectionAction::Send { .. }));
            if let Some(place) = oldest {
                self.actions.remove(place);
            }
        }
        self.actions.push_back(ElectionAction::Send { to, notification });
    }

    /// A voter's notification while this server looks (the loop of `lookForLeader`).
    fn count(&mut self, now: Instant, from: ServerId, notification: &Notification) {
        // The candidate has to be one that may lead in this configuration or the next.
        if !self.voters.contains(&notification.leader) {
            return;
        }
        let vote = Vote::of(notification);
        match notification.state {
            ServerState::Looking => self.count_looking(now, from, vote),
            ServerState::Following | ServerState::Leading => self.count_established(now, from, vote),
            ServerState::Observing => {}
        }
    }

    fn count_looking(&mut self, now: Instant, from: ServerId, vote: Vote) {
        if self.initial().zxid == LOST || vote.zxid == LOST {
            return;
        }
        if self.final_at.is_some()
            && vote.election_epoch > self.round
            && !vote.is_better_than(&self.proposal, &self.membership)
        {
            // Not worth another round: it hears the outcome.
            self.unanswered.insert(from);
            return;
        }
        if vote.election_epoch > self.round {
            self.round = vote.election_epoch;
            self.votes.clear();
            let initial = self.initial();
            let better = vote.is_better_than(&initial, &self.membership);
            self.votes.insert(from, vote);
            self.propose(now, if better { vote } else { initial });
        } else if vote.election_epoch < self.round {
            // Its sender has been told.
        } else {
            self.votes.insert(from, vote);
            if vote.is_better_than(&self.proposal, &self.membership) {
                self.propose(now, vote);
            } else {
                if self.proposal.is_better_than(&vote, &self.membership) && self.reminded.insert(from) {
                    self.send(from);
                }
                self.evaluate(now);
            }
        }
    }

    /// Whether the proposal has its quorum, and is final now, later, or not yet.
    fn evaluate(&mut self, now: Instant) {
        let supporters = self.supporters(&self.votes, &self.proposal);
        self.is_early = false;
        if !self.is_quorum(&supporters) {
            self.final_at = None;
            return;
        }
        let wait = Duration::from_millis(self.options.finalize_wait_ms);
        self.final_at.get_or_insert(now + wait);
        let all_heard = self.voters.iter().all(|voter| supporters.contains(voter) || self.unreachable.contains(voter));
        self.is_early = self.options.decide_early && all_heard && !self.unreachable.contains(&self.proposal.leader);
    }

    /// `receivedFollowingNotification`: what a server says that has a leader.
    fn count_established(&mut self, now: Instant, from: ServerId, vote: Vote) {
        if vote.election_epoch == self.round {
            // Without its version, as in Apache's table: within one round the leader's id is enough.
            self.votes.insert(from, Vote { version: 0, ..vote });
            let supporters = self.supporters(&self.votes, &vote);
            if self.is_following(&supporters) && self.leads_itself(&self.votes, &vote) {
                self.decide(vote, &supporters);
                return;
            }
        }
        // Votes of this round too, so that late and early followers of one leader are counted together (ZOOKEEPER-1732).
        self.established.insert(from, vote);
        let supporters = self.supporters(&self.established, &vote);
        if self.is_following(&supporters) && self.leads_itself(&self.established, &vote) {
            self.round = vote.election_epoch;
            self.decide(vote, &supporters);
            return;
        }
        // There is a leader, or is about to be: its servers are asked again soon, whatever the pause has grown to.
        self.resend_at = self.resend_at.min(now + ASK_AGAIN);
        // A voter of this round that has decided for another is lost to the proposal.
        self.evaluate(now);
    }

    /// `checkLeader`: nobody joins a leader that has not said itself that it leads, or all would elect one that has crashed
    /// over and over. If all say that this server leads, in the round that it is in, it does.
    fn leads_itself(&self, votes: &BTreeMap<ServerId, Vote>, vote: &Vote) -> bool {
        if vote.leader == self.options.my_id {
            return vote.election_epoch == self.round;
        }
        votes.get(&vote.leader).is_some_and(|own| own.state == ServerState::Leading)
    }

    fn supporters(&self, votes: &BTreeMap<ServerId, Vote>, vote: &Vote) -> BTreeSet<ServerId> {
        votes.iter().filter(|(_, other)| vote.agrees_with(other)).map(|(id, _)| *id).collect()
    }

    /// A quorum of the committed configuration and of the proposed one (`getVoteTracker`, `SyncedLearnerTracker`).
    fn is_quorum(&self, supporters: &BTreeSet<ServerId>) -> bool {
        let decides = |membership: &Membership| membership.contains_quorum(supporters.iter().copied());
        decides(&self.membership) && self.last_seen.as_deref().is_none_or(decides)
    }

    /// Whether these, who have a leader, are enough to follow it, too: a quorum of one configuration. A reconfiguration may wait for
    /// this very server (seed 332 of the simulator), and to follow is always safe: the leader needs both quorums, not who joins it.
    fn is_following(&self, supporters: &BTreeSet<ServerId>) -> bool {
        let decides = |membership: &Membership| membership.contains_quorum(supporters.iter().copied());
        decides(&self.membership) || self.last_seen.as_deref().is_some_and(decides)
    }

    fn decide(&mut self, vote: Vote, supporters: &BTreeSet<ServerId>) {
        let role = if vote.leader == self.options.my_id {
            ServerState::Leading
        } else if self.peer_type() == PeerType::Participant {
            ServerState::Following
        } else {
            ServerState::Observing
        };
        let vote = Vote { state: role, version: 0, ..vote };
        self.state = Some(role);
        self.current = Some(vote);
        self.final_at = None;
        self.is_early = false;
        self.votes.clear();
        self.established.clear();
        let outcome = Outcome { leader: vote.leader, role, vote, supporters: supporters.clone() };
        self.actions.push_back(ElectionAction::Elected(outcome));
        for peer in std::mem::take(&mut self.unanswered) {
            self.send(peer);
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
