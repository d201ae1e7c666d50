//! Proposals, acks, commits, pings and syncs of an established leader (`Leader.propose`, `processAck`, `tryToCommit`,
//! `processSync`).
//!
//! Acks are collected by the calls and counted once, when the caller asks what to do: a batch of acks makes one count. An ACK
//! covers everything that was proposed on its link up to its zxid, as a link is FIFO and a learner has one log.

use bytes::Bytes;

use super::link::Stage;
use super::{Leader, LeaderAction, LeaderPhase, LinkId, OUTSTANDING_BYTES_MAX, OUTSTANDING_MAX};
use crate::ids::{ServerId, Zxid};
use crate::time::Instant;
use crate::wire::quorum::{PacketType, QuorumPacket};
use crate::zab::follows;

/// Most pings that a learner may owe an answer to; it is sent no more until it answers. What it sends besides decides whether
/// it is alive.
const PINGS_MAX: usize = 1024;

/// A record that a quorum does not hold yet.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    pub(super) zxid: Zxid,
    pub(super) record: Bytes,
    /// See [`Leader::propose`].
    ends_batch: bool,
}
/// Most syncs of learners that are not yet answered; the learner that brings one more is closed.
const SYNCS_MAX: usize = 1 << 18;

/// A sync that is not yet answered.
#[derive(Debug)]
pub(super) struct PendingSync {
    /// Whose; `None` for this server's own clients.
    pub(super) link: Option<LinkId>,
    /// What has to be committed before.
    after: Zxid,
    /// The ping round that has to be answered by a quorum before: it began after the sync came.
    round: u64,
}

impl Leader {
    /// Whether more proposals may be made now. At the bound the caller holds its clients back until something commits.
    pub fn has_room(&self) -> bool {
        self.outstanding.len() < OUTSTANDING_MAX && self.outstanding_bytes < OUTSTANDING_BYTES_MAX
    }

    /// Proposals that wait for a quorum.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Sends a transaction to all followers; the caller appends it to its own log at the same time. Never waits.
    ///
    /// At the last zxid of the epoch nothing is proposed, the leader steps down instead (ZOOKEEPER-1277): the caller drops the
    /// transaction with everything else that is not committed.
    ///
    /// Records are committed up to one that `ends_batch`, never in the middle: the caller has a version of its state at these
    /// places only, and a learner may need the state at what is committed.
    ///
    /// # Panics
    /// If the leader is not established, or the zxid is not the next one.
    pub fn propose(&mut self, now: Instant, zxid: Zxid, record: Bytes, ends_batch: bool) {
        if self.phase == LeaderPhase::Dead {
            return;
        }
        assert!(self.phase == LeaderPhase::Established, "a proposal before the leader is established");
        assert!(follows(self.last_proposed, zxid), "proposal {zxid} does not follow {}", self.last_proposed);
        if zxid.counter() == Zxid::COUNTER_MAX {
            return self.step_down("the counter of zxids has come to its end; a new epoch begins".to_owned());
        }
        if self.outstanding.len() >= 2 * OUTSTANDING_MAX || self.outstanding_bytes >= 2 * OUTSTANDING_BYTES_MAX {
            return self.step_down(format!("{} proposals wait for a quorum", self.outstanding.len()));
        }
        self.last_proposed = zxid;
        for (id, link) in &mut self.links {
            if link.is_forwarding() && !link.observer {
                if link.has_joined() {
                    link.lag.proposed(now, zxid);
                }
                let packet = QuorumPacket::with_data(PacketType::PROPOSAL, zxid, record.clone());
                self.actions.push_back(LeaderAction::Send { link: *id, packet });
            }
        }
        self.proposed_bytes += record.len() as u64;
        self.outstanding_bytes += record.len();
        assert!(
            ends_batch || self.reconfiguration != Some(zxid),
            "the reconfiguration {zxid} does not end its batch, and what comes behind it is decided by others"
        );
        self.outstanding.push_back(Proposal { zxid, record, ends_batch });
    }

    /// The leader's own log holds everything up to here.
    pub fn durable(&mut self, _now: Instant, through: Zxid) {
        self.durable = self.durable.max(through);
        self.acks_changed = true;
    }

    /// An ACK of a proposal. Ignored: those of an epoch's start (the second ACK of the learner's synchronisation), of what is
    /// committed, and of what was never proposed.
    pub(super) fn ack(&mut self, id: LinkId, zxid: Zxid) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if zxid.counter() == 0 || zxid > self.last_proposed || zxid <= link.acked {
            return;
        }
        link.lag.acked(zxid);
        link.acked = zxid;
        if zxid > self.committed {
            self.acks_changed = true;
        }
    }

    /// Commits, strictly in order, what a quorum of every configuration holds.
    pub(super) fn commit_what_a_quorum_holds(&mut self) {
        if self.phase != LeaderPhase::Established {
            return;
        }
        // Behind a reconfiguration other servers decide than before it.
        while self.retires_at_tick.is_none() && self.commit_up_to_a_reconfiguration() {}
        if self.retires_at_tick.is_some() {
            return;
        }
        self.count_pongs();
        self.answer_syncs();
    }

    /// Whether it came to one.
    fn commit_up_to_a_reconfiguration(&mut self) -> bool {
        let mut acks = vec![(self.durable, self.options.my_id)];
        acks.extend(self.links.values().filter(|link| link.has_joined()).map(|link| (link.acked, link.server)));
        let Some(held) = self.held_at_present(acks) else { return false };
        let whole =
            self.outstanding.iter().take_while(|proposal| proposal.zxid <= held).filter(|proposal| proposal.ends_batch);
        let Some(through) = whole.last().map(|proposal| proposal.zxid) else { return false };
        let reconfigures = self.reconfiguration == Some(through);
        // Who leads next is decided by what is acknowledged beyond the reconfiguration.
        let designated = reconfigures.then(|| self.designated_leader(through));
        while let Some(Proposal { zxid, record, .. }) =
            self.outstanding.pop_front_if(|proposal| proposal.zxid <= through)
        {
            self.outstanding_bytes -= record.len();
            // A quorum has taken this after every sync that waits for what is before it, so these are confirmed. They are
            // answered first: Apache's learners take what comes back in the order in which they sent it, and one that
            // got a later write's COMMIT before the SYNC would answer none of its clients any more.
            self.answer_syncs_while(|sync| sync.after < zxid);
            let activates = designated.filter(|_| zxid == through);
            for (id, link) in self.links.iter().filter(|(_, link)| link.is_forwarding()) {
                let packet = match (activates, link.observer) {
                    (None, false) => QuorumPacket::new(PacketType::COMMIT, zxid),
                    (None, true) => QuorumPacket::with_data(PacketType::INFORM, zxid, record.clone()),
                    (Some(designated), false) => {
                        let data = Bytes::copy_from_slice(&designated.0.to_be_bytes());
                        QuorumPacket::with_data(PacketType::COMMITANDACTIVATE, zxid, data)
                    }
                    (Some(designated), true) => {
                        let data = [&designated.0.to_be_bytes()[..], &record].concat();
                        QuorumPacket::with_data(PacketType::INFORMANDACTIVATE, zxid, Bytes::from(data))
                    }
                };
                self.actions.push_back(LeaderAction::Send { link: *id, packet });
            }
        }
        self.committed = through;
        self.act(LeaderAction::Commit { through });
        if let Some(designated) = designated {
            self.activate(designated);
            self.retire_if_alone();
        }
        reconfigures
    }

    /// The last record that may be committed now: up to a reconfiguration what a quorum of the present configuration has, it and
    /// what comes behind it only with a quorum of the new one.
    fn held_at_present(&self, acks: Vec<(Zxid, ServerId)>) -> Option<Zxid> {
        let by_all = self.held_by_quorum(acks.clone(), self.committed);
        let Some(reconfiguration) = self.reconfiguration else { return by_all };
        match by_all {
            Some(held) if held >= reconfiguration => Some(reconfiguration),
            _ => {
                let before = Zxid(reconfiguration.0 - 1);
                self.held_by(acks, self.committed, |servers| self.options.is_committed_quorum(servers))
                    .map(|held| held.min(before))
            }
        }
    }

    /// The greatest value above `floor` that a quorum has reached.
    fn held_by_quorum<T: Ord + Copy>(&self, reached: Vec<(T, ServerId)>, floor: T) -> Option<T> {
        self.held_by(reached, floor, |servers| self.options.contains_quorum(servers))
    }

    fn held_by<T: Ord + Copy>(
        &self,
        mut reached: Vec<(T, ServerId)>,
        floor: T,
        is_quorum: impl Fn(&[ServerId]) -> bool,
    ) -> Option<T> {
        reached.retain(|(value, server)| *value > floor && self.options.is_participant(*server));
        reached.sort_unstable_by(|a, b| b.cmp(a));
        let servers: Vec<_> = reached.iter().map(|(_, server)| *server).collect();
        (1..=servers.len()).find(|count| is_quorum(&servers[..*count])).map(|count| reached[count - 1].0)
    }

    /// A client of a learner, or of this server itself, asks for a sync; `after` is the last transaction made before it, whether
    /// it is proposed yet or not. A learner is sent SYNC, for this server [`LeaderAction::SyncDone`] is the answer; those of
    /// each are answered in order.
    pub fn sync_request(&mut self, link: Option<LinkId>, after: Zxid) {
        if self.phase != LeaderPhase::Established || link.is_some_and(|link| !self.links.contains_key(&link)) {
            return;
        }
        if let Some(link) = link
            && self.syncs.len() >= SYNCS_MAX
        {
            return self.close(link, format!("more than {SYNCS_MAX} syncs wait"));
        }
        // A round that is on its way may have been answered before the sync came: the next one counts.
        let round = self.ping_round + 1;
        self.syncs.push_back(PendingSync { link, after, round });
        if self.confirmed_round == self.ping_round {
            self.ping_all();
        }
        self.acks_changed = true;
    }

    /// A new round: whoever answers it followed this leader at that time.
    pub(super) fn ping_all(&mut self) {
        self.ping_round += 1;
        for (id, link) in self.links.iter_mut().filter(|(_, link)| link.stage == Stage::Serving) {
            if link.pings.len() >= PINGS_MAX {
                continue;
            }
            link.pings.push_back((self.ping_round, self.proposed_bytes));
            let packet = QuorumPacket::new(PacketType::PING, self.last_proposed);
            self.actions.push_back(LeaderAction::Send { link: *id, packet });
        }
        self.acks_changed = true;
    }

    /// Answers come in the order of the pings.
    pub(super) fn pong(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if let Some((round, bytes)) = link.pings.pop_front() {
            link.confirmed_round = round;
            link.taken_bytes = bytes;
            self.acks_changed = true;
        }
    }

    fn count_pongs(&mut self) {
        let mut rounds = vec![(self.ping_round, self.options.my_id)];
        let serving = self.links.values().filter(|link| link.stage == Stage::Serving && !link.observer);
        rounds.extend(serving.map(|link| (link.confirmed_round, link.server)));
        if let Some(round) = self.held_by_quorum(rounds, self.confirmed_round) {
            self.confirmed_round = round;
        }
    }

    fn answer_syncs_while(&mut self, is_done: impl Fn(&PendingSync) -> bool) {
        while let Some(sync) = self.syncs.pop_front_if(|sync| is_done(sync)) {
            match sync.link {
                None => self.act(LeaderAction::SyncDone),
                Some(id) => self.send(id, QuorumPacket::new(PacketType::SYNC, Zxid::ZERO)),
            }
        }
    }

    fn answer_syncs(&mut self) {
        let (committed, confirmed) = (self.committed, self.confirmed_round);
        self.answer_syncs_while(|sync| sync.after <= committed && sync.round <= confirmed);
        if confirmed == self.ping_round && self.syncs.iter().any(|sync| sync.round > confirmed) {
            self.ping_all();
        }
    }
}
