//! In step with the leader (`Follower.processPacket`, `Observer.processPacket`), and what this server's clients want from it.

use bytes::Bytes;

use super::sync::record_of;
use super::{Learner, LearnerAction, LearnerPhase, Refusal};
use crate::ids::{SessionId, Zxid};
use crate::wire::acl::Id;
use crate::wire::op::OpCode;
use crate::wire::quorum::{
    ForwardedRequest, PacketType, QuorumPacket, decode_revalidated, revalidate_to_bytes, touches_to_bytes,
};
use crate::zab::follows;

/// Most pings that wait for [`Learner::touches`]; more is a caller that does not answer, and the oldest are forgotten.
const PINGS_MAX: usize = 4096;

impl Learner {
    pub(super) fn follow_packet(&mut self, packet: QuorumPacket) -> Result<(), Refusal> {
        let QuorumPacket { kind, zxid, data, .. } = packet;
        match kind {
            PacketType::PROPOSAL if !self.observer => {
                let record = record_of(zxid, data)?;
                self.check_follows(zxid)?;
                self.append(zxid, record);
                Ok(())
            }
            PacketType::COMMIT if !self.observer => self.commit(zxid),
            PacketType::COMMITANDACTIVATE if !self.observer => {
                self.will_activate(zxid, data.as_ref())?;
                self.commit(zxid)
            }
            PacketType::INFORM if self.observer => self.inform(zxid, data),
            PacketType::INFORMANDACTIVATE if self.observer => {
                self.will_activate(zxid, data.as_ref())?;
                self.inform(zxid, data.map(|data| data.slice(8..)))
            }
            PacketType::PING => {
                let mut reply = QuorumPacket::new(PacketType::PING, zxid);
                reply.authinfo = packet.authinfo;
                if self.pings.len() >= PINGS_MAX {
                    self.pings.pop_front();
                }
                self.pings.push_back(reply);
                self.act(LearnerAction::TouchesWanted);
                Ok(())
            }
            PacketType::SYNC => {
                if let Some(rest) = self.syncs.checked_sub(1) {
                    self.syncs = rest;
                    self.act(LearnerAction::SyncDone);
                }
                Ok(())
            }
            PacketType::REVALIDATE => {
                let (session, valid) = decode_revalidated(data.as_deref().unwrap_or_default())
                    .map_err(|error| Refusal::protocol(format!("REVALIDATE: {error}")))?;
                self.act(LearnerAction::Revalidated { session, valid });
                Ok(())
            }
            PacketType::SNAP
            | PacketType::DIFF
            | PacketType::TRUNC
            | PacketType::NEWLEADER
            | PacketType::LEADERINFO => Err(Refusal::protocol(format!("{kind:?} came while following"))),
            // Apache logs a warning and goes on.
            _ => Ok(()),
        }
    }

    /// A gap means that something was lost on the way: come again and get it (ZOOKEEPER-1208, 4925).
    fn check_follows(&self, zxid: Zxid) -> Result<(), Refusal> {
        if zxid.epoch() != self.epoch {
            Err(Refusal::protocol(format!("proposal {zxid} is not of the leader's epoch, {:#x}", self.epoch.0)))
        } else if follows(self.appended, zxid) {
            Ok(())
        } else {
            Err(Refusal::protocol(format!("proposal {zxid} does not follow {}", self.appended)))
        }
    }

    pub(super) fn append(&mut self, zxid: Zxid, record: Bytes) {
        self.appended = zxid;
        self.pending.push_back(zxid);
        if !self.observer {
            self.unacknowledged.push_back(zxid);
        }
        self.see_configuration(zxid, &record);
        self.act(LearnerAction::Append(zxid, record));
    }

    pub(super) fn commit_pending(&mut self, zxid: Zxid) {
        let next = self.pending.pop_front();
        assert!(next == Some(zxid), "{zxid} is committed while the next is {next:?}");
        self.act(LearnerAction::Commit(zxid));
        self.activate_committed(zxid);
    }

    /// COMMIT is for the oldest pending proposal; Apache's follower ends its process if it is for another.
    fn commit(&mut self, zxid: Zxid) -> Result<(), Refusal> {
        match self.pending.front() {
            Some(next) if *next == zxid => {
                self.commit_pending(zxid);
                Ok(())
            }
            // Told twice: it is long applied.
            next if next.is_none_or(|next| zxid < *next) && zxid <= self.appended => Ok(()),
            next => {
                let why = format!("COMMIT of {zxid}, while the next proposal is {next:?}");
                Err(Refusal::protocol(why))
            }
        }
    }

    fn inform(&mut self, zxid: Zxid, data: Option<Bytes>) -> Result<(), Refusal> {
        let record = record_of(zxid, data)?;
        self.check_follows(zxid)?;
        self.append(zxid, record);
        self.commit_pending(zxid);
        Ok(())
    }

    /// One ACK for each proposal that is durable: Apache's leader counts each for itself.
    pub(super) fn acknowledge(&mut self) {
        while self.unacknowledged.front().is_some_and(|zxid| *zxid <= self.durable) {
            let zxid = self.unacknowledged.pop_front().expect("it has a first one");
            self.send(QuorumPacket::new(PacketType::ACK, zxid));
        }
    }

    /// A client's request that the leader has to decide. For a sync, [`LearnerAction::SyncDone`] answers in order.
    ///
    /// # Panics
    /// Before the synchronisation is complete: then no client is served. After the end nothing happens.
    pub fn request(&mut self, session: SessionId, cxid: i32, op: OpCode, body: Bytes, identities: Vec<Id<'static>>) {
        if !self.may_speak() {
            return;
        }
        if op == OpCode::SYNC {
            self.syncs += 1;
        }
        let data = ForwardedRequest { session, cxid, op, body }.to_bytes();
        let authinfo = Some(identities);
        self.send(QuorumPacket { kind: PacketType::REQUEST, zxid: Zxid(-1), data: Some(data), authinfo });
    }

    /// A client came back with this session; [`LearnerAction::Revalidated`] tells whether it lives.
    ///
    /// # Panics
    /// As [`Learner::request`].
    pub fn revalidate(&mut self, session: SessionId, timeout_ms: i32) {
        if self.may_speak() {
            let data = revalidate_to_bytes(session, timeout_ms);
            self.send(QuorumPacket::with_data(PacketType::REVALIDATE, Zxid(-1), data));
        }
    }

    /// The answer to [`LearnerAction::TouchesWanted`]: sessions whose clients were heard, with their timeouts in milliseconds.
    pub fn touches(&mut self, sessions: &[(SessionId, i32)]) {
        if let Some(mut reply) = self.pings.pop_front().filter(|_| self.phase == LearnerPhase::Following) {
            reply.data = Some(touches_to_bytes(sessions));
            self.send(reply);
        }
    }

    fn may_speak(&self) -> bool {
        assert!(
            matches!(self.phase, LearnerPhase::Following | LearnerPhase::Dead),
            "a client's request goes to a leader that is not yet followed ({:?})",
            self.phase
        );
        self.phase == LearnerPhase::Following
    }
}
