//! From ACKEPOCH to UPTODATE: taking over the leader's history (`Learner.syncWithLeader` of 3.9.5, whose order is kept).
//!
//! Before NEWLEADER committed records go to the log as they come; that is Apache's order, only without gathering them first.
//! At NEWLEADER: everything appended is durable, then currentEpoch is saved, then the ACK goes out. What is not committed by
//! then, and what comes until UPTODATE, is appended after the second ACK.

use bytes::Bytes;

use super::{Learner, LearnerAction, LearnerPhase, Refusal};
use crate::ids::Zxid;
use crate::time::Instant;
use crate::wire::quorum::{PacketType, QuorumPacket};
use crate::wire::txn::TxnRecord;
use crate::zab::follows;

impl Learner {
    /// DIFF, TRUNC or SNAP.
    pub(super) fn sync_plan(&mut self, packet: &QuorumPacket) -> Result<(), Refusal> {
        let zxid = packet.zxid;
        if zxid < Zxid::ZERO {
            return Err(Refusal::protocol(format!("{:?} of {zxid}", packet.kind)));
        }
        match packet.kind {
            PacketType::SNAP => {
                self.phase = LearnerPhase::ReceivingSnapshot;
                self.base = zxid;
                self.act(LearnerAction::ReceiveSnapshot { zxid });
                Ok(())
            }
            // It would be a DIFF to what was told, not to what is here.
            PacketType::DIFF | PacketType::TRUNC if self.options.want_snapshot => {
                Err(Refusal::protocol(format!("{:?} came although no history was told", packet.kind)))
            }
            PacketType::DIFF => {
                self.phase = LearnerPhase::Synchronising;
                self.adopt(self.last_logged);
                Ok(())
            }
            PacketType::TRUNC if zxid > self.last_logged => {
                let why = format!("TRUNC to {zxid}, while the log ends at {}", self.last_logged);
                Err(Refusal::gap(why))
            }
            PacketType::TRUNC => {
                self.phase = LearnerPhase::Truncating;
                self.base = zxid;
                self.act(LearnerAction::Truncate { to: zxid });
                Ok(())
            }
            kind => Err(Refusal::protocol(format!("{kind:?} came instead of DIFF, TRUNC or SNAP"))),
        }
    }

    /// What is here up to `zxid` is the leader's history too.
    fn adopt(&mut self, zxid: Zxid) {
        self.base = zxid;
        self.appended = zxid;
        self.durable = zxid;
        self.act(LearnerAction::Commit(zxid));
    }

    /// The log is cut, durably; its last record is `last` (the base of the log, if it has no record).
    ///
    /// A log that could not be cut at the right place is no base for what follows (ZOOKEEPER-1154, 3701): then the next
    /// attempt asks for a snapshot. Only for the start of an epoch, which is no record, may the log end before it.
    pub fn truncated(&mut self, now: Instant, last: Zxid) {
        if self.phase != LearnerPhase::Truncating {
            return;
        }
        if last == self.base || (last < self.base && self.base.counter() == 0) {
            self.adopt(self.base);
            self.unblocked(now, LearnerPhase::Synchronising);
        } else {
            self.give_up(Refusal::gap(format!("the log was to be cut at {}, but ends at {last}", self.base)));
        }
    }

    /// All bytes of the snapshot came, and they were good.
    pub fn snapshot_received(&mut self, now: Instant) {
        if self.phase == LearnerPhase::ReceivingSnapshot {
            self.heard = now;
            self.phase = LearnerPhase::Installing;
            self.act(LearnerAction::InstallSnapshot { zxid: self.base });
        }
    }

    /// The snapshot is this server's state, durably.
    pub fn snapshot_installed(&mut self, now: Instant, zxid: Zxid) {
        if self.phase == LearnerPhase::Installing && zxid == self.base {
            (self.appended, self.durable) = (zxid, zxid);
            self.unblocked(now, LearnerPhase::Synchronising);
        }
    }

    /// A packet between the plan and UPTODATE.
    pub(super) fn sync_packet(&mut self, now: Instant, packet: QuorumPacket) -> Result<(), Refusal> {
        let is_before_new_leader = self.phase == LearnerPhase::Synchronising;
        match packet.kind {
            PacketType::PROPOSAL => self.sync_proposal(packet.zxid, packet.data),
            PacketType::COMMIT => self.sync_commit(packet.zxid),
            PacketType::COMMITANDACTIVATE => {
                self.will_activate(packet.zxid, packet.data.as_ref())?;
                self.sync_commit(packet.zxid)
            }
            PacketType::INFORM => self.sync_inform(packet.zxid, packet.data),
            PacketType::INFORMANDACTIVATE => {
                self.will_activate(packet.zxid, packet.data.as_ref())?;
                self.sync_inform(packet.zxid, packet.data.map(|data| data.slice(8..)))
            }
            PacketType::NEWLEADER if is_before_new_leader => {
                if packet.zxid != Zxid::new(self.epoch, 0) {
                    let why = format!("NEWLEADER of {} in epoch {:#x}", packet.zxid, self.epoch.0);
                    return Err(Refusal::protocol(why));
                }
                if let Some(text) = packet.data.filter(|text| text.len() > 1) {
                    self.leaders_configuration = Some(text.clone());
                    self.awaits_configuration = true;
                    self.act(LearnerAction::ConfigurationSeen { text, is_awaited: true });
                }
                self.phase = LearnerPhase::SavingHistory;
                self.history_may_be_durable(now);
                Ok(())
            }
            PacketType::UPTODATE if !is_before_new_leader => {
                self.up_to_date();
                Ok(())
            }
            PacketType::NEWLEADER
            | PacketType::UPTODATE
            | PacketType::DIFF
            | PacketType::TRUNC
            | PacketType::SNAP
            | PacketType::LEADERINFO => Err(Refusal::protocol(format!("{:?} came out of turn", packet.kind))),
            // Pings are answered from UPTODATE on, as by Apache's learner.
            _ => Ok(()),
        }
    }

    /// The last proposal that came.
    fn last_queued(&self) -> Zxid {
        self.unlogged.back().map_or(self.appended, |(zxid, _)| *zxid)
    }

    fn sync_proposal(&mut self, zxid: Zxid, data: Option<Bytes>) -> Result<(), Refusal> {
        let record = record_of(zxid, data)?;
        if zxid <= self.base {
            // The snapshot of an Apache leader may be later than the decision what to send behind it.
            return Ok(());
        }
        let last = self.last_queued();
        if zxid.epoch() > self.epoch {
            return Err(Refusal::protocol(format!(
                "proposal {zxid} of a later epoch than the leader's, {:#x}",
                self.epoch.0
            )));
        }
        if !follows(last, zxid) {
            return Err(Refusal::gap(format!("proposal {zxid} does not follow {last}")));
        }
        self.hold(record.len())?;
        self.unlogged.push_back((zxid, record));
        Ok(())
    }

    fn sync_commit(&mut self, zxid: Zxid) -> Result<(), Refusal> {
        if zxid <= self.base {
            return Ok(());
        }
        match self.unlogged.get(self.committed_count) {
            Some((next, _)) if *next == zxid => {
                self.committed_count += 1;
                if self.phase == LearnerPhase::Synchronising {
                    self.log_committed();
                }
                Ok(())
            }
            next => {
                let next = next.map(|(next, _)| *next);
                Err(Refusal::protocol(format!("COMMIT of {zxid}, while the next proposal is {next:?}")))
            }
        }
    }

    fn sync_inform(&mut self, zxid: Zxid, data: Option<Bytes>) -> Result<(), Refusal> {
        if self.unlogged.get(self.committed_count).is_none_or(|(next, _)| *next != zxid) {
            // An observer may have been sent proposals that were not committed; what is informed counts.
            self.drop_uncommitted();
            self.sync_proposal(zxid, data)?;
        }
        self.sync_commit(zxid)
    }

    fn drop_uncommitted(&mut self) {
        for (_, record) in self.unlogged.drain(self.committed_count..) {
            self.waiting_bytes -= record.len();
        }
    }

    /// Moves what is committed to the log.
    fn log_committed(&mut self) {
        for _ in 0..std::mem::take(&mut self.committed_count) {
            let (zxid, record) = self.unlogged.pop_front().expect("what is committed has come");
            self.waiting_bytes -= record.len();
            self.appended = zxid;
            self.see_configuration(zxid, &record);
            self.act(LearnerAction::Append(zxid, record));
            self.act(LearnerAction::Commit(zxid));
            self.activate_committed(zxid);
        }
    }

    /// History first, then currentEpoch, then the ACK.
    pub(super) fn history_may_be_durable(&mut self, now: Instant) {
        if self.durable < self.appended || self.awaits_configuration {
            return;
        }
        self.phase = LearnerPhase::SavingCurrent;
        if self.current < self.epoch {
            self.act(LearnerAction::SaveEpochs { accepted: None, current: Some(self.epoch) });
        } else {
            // It followed this leader before.
            self.current_is_saved(now);
        }
    }

    pub(super) fn current_is_saved(&mut self, now: Instant) {
        self.current = self.epoch;
        self.send(QuorumPacket::new(PacketType::ACK, Zxid::new(self.epoch, 0)));
        self.unblocked(now, LearnerPhase::AwaitUpToDate);
    }

    /// UPTODATE: the second ACK, then the proposals that came meanwhile.
    fn up_to_date(&mut self) {
        self.send(QuorumPacket::new(PacketType::ACK, Zxid::new(self.epoch, 0)));
        if self.observer {
            self.drop_uncommitted();
        }
        self.phase = LearnerPhase::Following;
        if let Some(text) = self.leaders_configuration.take() {
            self.act(LearnerAction::ConfigurationActivated { text, designated: None });
        }
        let committed = self.committed_count;
        self.committed_count = 0;
        for (index, (zxid, record)) in std::mem::take(&mut self.unlogged).into_iter().enumerate() {
            self.waiting_bytes -= record.len();
            self.append(zxid, record);
            if index < committed {
                self.commit_pending(zxid);
            }
        }
        self.act(LearnerAction::Serving { epoch: self.epoch });
    }
}

/// The record of a proposal, which has to be of the zxid that the packet names. It is read in full before it goes to the log: one
/// that nobody can apply would keep this server from starting again.
pub(super) fn record_of(zxid: Zxid, data: Option<Bytes>) -> Result<Bytes, Refusal> {
    let record = data.as_deref().map(|data| TxnRecord::decode(data).map(|record| record.header.zxid));
    match (data, record) {
        (Some(data), Some(Ok(own))) if own == zxid => Ok(data),
        (_, Some(Ok(own))) => Err(Refusal::protocol(format!("the record of {own} came as {zxid}"))),
        (_, Some(Err(error))) => Err(Refusal::protocol(format!("proposal {zxid} has no transaction: {error}"))),
        (_, None) => Err(Refusal::protocol(format!("proposal {zxid} has no transaction"))),
    }
}
