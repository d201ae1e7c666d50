//! From the won election to the established leader: the epoch, who accepts it, who holds the history
//! (`getEpochToPropose`, `waitForEpochAck`, `waitForNewLeaderAck`, `startZkServer`).

use std::time::Duration;

use bytes::Bytes;

use super::link::Stage;
use super::{Leader, LeaderAction, LeaderPhase, LinkId, Summary};
use crate::ids::{Epoch, ServerId, Zxid};
use crate::time::Instant;
use crate::wire::jute::Reader;
use crate::wire::quorum::{LearnerInfo, PROTOCOL_VERSION, PacketType, QuorumPacket};
use crate::zab::{EPOCH_LEAP_MAX, EPOCH_MAX, History};

impl Leader {
    /// The first packet: who is it, and which epoch has it accepted?
    pub(super) fn greeting(&mut self, now: Instant, id: LinkId, packet: &QuorumPacket) -> Result<(), String> {
        let observer = match packet.kind {
            PacketType::FOLLOWERINFO => false,
            PacketType::OBSERVERINFO => true,
            kind => return Err(format!("the first packet is {kind:?}, neither FOLLOWERINFO nor OBSERVERINFO")),
        };
        let info = LearnerInfo::decode(packet.data.as_deref());
        let Some(server) = info.server else {
            return Err("a learner that does not say who it is; a server before 3.4 cannot join".to_owned());
        };
        if info.protocol < PROTOCOL_VERSION {
            return Err(format!(
                "server {} speaks protocol {:#x}, before ZAB 1.0; upgrade it to 3.4 or later first",
                server.0, info.protocol
            ));
        }
        if info.config_version > self.options.membership.version {
            return Err(format!(
                "server {} has a later configuration ({:x}) than the leader ({:x})",
                server.0, info.config_version, self.options.membership.version
            ));
        }
        if server == self.options.my_id {
            return Err(format!("server {} is the leader itself: two servers have the same myid", server.0));
        }
        let accepted = packet.zxid.epoch();
        if packet.zxid < Zxid::ZERO || accepted >= EPOCH_MAX {
            return Err(format!("server {} claims the epoch {:#x}", server.0, accepted.0));
        }
        // An older link of the same server is one that it has given up.
        let old = self.links.iter().find(|(_, link)| link.stage > Stage::Greeting && link.server == server);
        if let Some(old) = old.map(|(old, _)| *old) {
            self.close(old, format!("server {} came again", server.0));
        }
        let has_vote = !observer && self.options.is_participant(server);
        let is_collecting = self.phase == LeaderPhase::CollectingEpochs;
        if is_collecting && !has_vote && self.options.is_member(server) {
            // An election by its voters stands behind what one of them has promised; others could say anything.
            Self::check_leap(server, accepted, self.own_epoch)?;
        }
        let link = self.links.get_mut(&id).expect("packet() has found it");
        (link.server, link.observer, link.stage, link.accepted) = (server, observer, Stage::AwaitEpoch, accepted);
        if is_collecting {
            // Whom the configuration does not name is not waited for: it may find that this leader's epoch is too early for it.
            if self.options.is_member(server) {
                self.epoch = self.epoch.max(Epoch(accepted.0 + 1));
            }
            if has_vote {
                self.connecting.insert(server);
            }
            self.try_decide_epoch();
        } else if self.phase > LeaderPhase::SavingAccepted && accepted > self.epoch && self.options.is_member(server) {
            Self::check_leap(server, accepted, self.epoch)?;
            self.promised_beyond = self.promised_beyond.max(Some(accepted));
            self.make_room_for_promises(now);
        } else if self.phase > LeaderPhase::SavingAccepted {
            self.say_epoch(now, id);
        }
        Ok(())
    }

    /// Whether a promise may be of this ensemble; see [`EPOCH_LEAP_MAX`].
    fn check_leap(server: ServerId, accepted: Epoch, epoch: Epoch) -> Result<(), String> {
        if accepted.0.saturating_sub(epoch.0) <= EPOCH_LEAP_MAX {
            return Ok(());
        }
        let (server, accepted, epoch) = (server.0, accepted.0, epoch.0);
        Err(format!(
            "server {server} has promised epoch {accepted:#x}, far beyond this leader's, {epoch:#x}: is its disk of another ensemble?"
        ))
    }

    /// With a quorum the epoch is fixed; it is saved before anybody hears of it.
    pub(super) fn try_decide_epoch(&mut self) {
        if self.has_quorum(&self.connecting) {
            self.phase = LeaderPhase::SavingAccepted;
            self.act(LeaderAction::SaveEpochs { accepted: Some(self.epoch), current: None });
        }
    }

    pub(super) fn accepted_is_saved(&mut self, now: Instant) {
        self.phase = LeaderPhase::CollectingAcks;
        self.phase_deadline = now + self.options.init_timeout();
        self.electing.insert(self.options.my_id);
        let waiting: Vec<_> = self.links_in(Stage::AwaitEpoch);
        for id in waiting {
            self.say_epoch(now, id);
        }
        // No learner can have answered yet, so none waits to be synchronised.
        self.try_finish_election(now);
    }

    fn say_epoch(&mut self, now: Instant, id: LinkId) {
        let version = Bytes::copy_from_slice(&PROTOCOL_VERSION.to_be_bytes());
        self.send(id, QuorumPacket::with_data(PacketType::LEADERINFO, self.start_of_epoch(), version));
        let deadline = now + self.options.init_timeout();
        if let Some(link) = self.links.get_mut(&id) {
            link.stage = Stage::AwaitAckEpoch;
            link.deadline = deadline;
        }
    }

    /// ACKEPOCH: the learner promises to follow nobody of an earlier epoch, and says where its history ends.
    pub(super) fn ack_epoch(
        &mut self,
        now: Instant,
        id: LinkId,
        packet: &QuorumPacket,
        history: &History,
    ) -> Result<(), String> {
        if packet.kind != PacketType::ACKEPOCH {
            return Err(format!("{:?} came instead of ACKEPOCH", packet.kind));
        }
        let data = packet.body().map_err(|error| format!("ACKEPOCH: {error}"))?;
        let current = Reader::new(data).i32().map_err(|error| format!("ACKEPOCH: {error}"))?;
        let link = self.links.get_mut(&id).expect("packet() has found it");
        link.peer_last = packet.zxid;
        let (server, observer) = (link.server, link.observer);
        if self.phase > LeaderPhase::CollectingAcks {
            self.synchronise(now, id, history);
            return Ok(());
        }
        // -1: it has accepted this epoch before, perhaps from another; then it does not count.
        if let Ok(current) = u32::try_from(current) {
            let theirs = Summary { current: Epoch(current), last: packet.zxid };
            if theirs > self.summary {
                return Err(format!("server {} is ahead of the leader: {theirs:?}, we: {:?}", server.0, self.summary));
            }
            if packet.zxid >= Zxid::ZERO && !observer && self.options.is_participant(server) {
                self.electing.insert(server);
            }
        }
        link.stage = Stage::AwaitEpochQuorum;
        if self.try_finish_election(now) {
            for id in self.links_in(Stage::AwaitEpochQuorum) {
                self.synchronise(now, id, history);
            }
        }
        Ok(())
    }

    /// With a quorum of ACKEPOCH the leader's history is that of the new epoch.
    fn try_finish_election(&mut self, now: Instant) -> bool {
        if !self.has_quorum(&self.electing) {
            return false;
        }
        self.phase = LeaderPhase::SavingCurrent;
        self.phase_deadline = now + self.options.init_timeout();
        self.name_first_configuration();
        self.last_proposed = self.start_of_epoch();
        self.committed = self.start_of_epoch();
        self.act(LeaderAction::SaveEpochs { accepted: None, current: Some(self.epoch) });
        true
    }

    /// What comes first after NEWLEADER: the ACK for it.
    ///
    /// Apache's 3.8 learners log what they were sent while they acknowledge NEWLEADER, and an ACK of a proposal may overtake
    /// it (ZOOKEEPER-4685). Taking that for the ACK of NEWLEADER would be wrong, and so would hanging up: it is kept, and
    /// counts once NEWLEADER is acknowledged.
    pub(super) fn first_ack(&mut self, now: Instant, id: LinkId, packet: &QuorumPacket) -> Result<(), String> {
        if packet.kind != PacketType::ACK {
            return Err(format!("{:?} came instead of the ACK of NEWLEADER", packet.kind));
        }
        let (start, last_proposed) = (self.start_of_epoch(), self.last_proposed);
        let (deadline, alive) = (now + self.options.sync_timeout(), self.tick + u64::from(self.options.sync_limit));
        let link = self.links.get_mut(&id).expect("packet() has found it");
        if packet.zxid != start {
            if packet.zxid.counter() == 0 {
                return Err(format!("ACK of {} instead of NEWLEADER's {start}", packet.zxid));
            }
            if packet.zxid <= last_proposed {
                link.acked = link.acked.max(packet.zxid);
            }
            return Ok(());
        }
        link.stage = Stage::AwaitStart;
        link.deadline = deadline;
        link.alive_until_tick = link.alive_until_tick.max(alive);
        let (server, observer) = (link.server, link.observer);
        self.acks_changed = true;
        if self.phase == LeaderPhase::Established {
            self.up_to_date(now, id);
        } else if !observer && self.options.is_participant(server) {
            self.new_leader_acks.insert(server);
            self.try_establish(now);
        }
        Ok(())
    }

    pub(super) fn try_establish(&mut self, now: Instant) {
        // The leader itself has to hold the epoch (its own ack comes with that), whoever else does.
        if self.phase != LeaderPhase::Synchronising || !self.has_quorum(&self.new_leader_acks) {
            return;
        }
        self.phase = LeaderPhase::Established;
        self.established = Some(now);
        self.next_half_tick = Some(now + self.half_tick());
        self.half = false;
        self.activate_newest();
        if self.retires_at_tick.is_none() {
            self.act(LeaderAction::Established { epoch: self.epoch });
        }
        for id in self.links_in(Stage::AwaitStart) {
            self.up_to_date(now, id);
        }
        self.retire_if_alone();
    }

    fn up_to_date(&mut self, now: Instant, id: LinkId) {
        self.send(id, QuorumPacket::new(PacketType::UPTODATE, Zxid(-1)));
        let deadline = now + self.options.sync_timeout();
        if let Some(link) = self.links.get_mut(&id) {
            link.stage = Stage::Serving;
            link.deadline = deadline;
        }
    }

    /// A voter who elected this leader looks for another one (`reportLookingSid`, ZOOKEEPER-3109): after
    /// `leader.maxTimeToWaitForEpoch` without an epoch there is no point in waiting until initLimit.
    pub fn voter_looking(&mut self, now: Instant, voter: ServerId) {
        let Some(wait) = self.options.max_time_to_wait_for_epoch_ms else { return };
        if self.phase == LeaderPhase::CollectingEpochs
            && self.options.is_participant(voter)
            && now.since(self.started) > Duration::from_millis(wait)
        {
            self.step_down(format!("server {} changed its mind before there was an epoch", voter.0));
        }
    }

    fn links_in(&self, stage: Stage) -> Vec<LinkId> {
        self.links.iter().filter(|(_, link)| link.stage == stage).map(|(id, _)| *id).collect()
    }

    /// A quorum that has the leader in it.
    fn has_quorum<'a>(&self, servers: impl IntoIterator<Item = &'a ServerId>) -> bool {
        let servers: Vec<_> = servers.into_iter().copied().collect();
        servers.contains(&self.options.my_id) && self.options.contains_quorum(&servers)
    }
}
