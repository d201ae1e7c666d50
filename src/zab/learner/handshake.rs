//! Until the leader knows where this server's history ends (`Learner.registerWithLeader`).

use bytes::Bytes;

use super::{Learner, LearnerAction, LearnerPhase, Refusal};
use crate::ids::{Epoch, Zxid};
use crate::time::Instant;
use crate::wire::jute::Reader;
use crate::wire::quorum::{LearnerInfo, PROTOCOL_VERSION, PacketType, QuorumPacket};
use crate::zab::EPOCH_MAX;

/// Where no history ends, so that every leader sends its whole state. Zero would not do: a leader at whose epochs' starts nothing
/// was ever written is there itself, and would send a DIFF.
const HIDDEN: Zxid = Zxid(-1);

impl Learner {
    /// The connection to the leader stands (and is authenticated).
    pub fn connected(&mut self, now: Instant) {
        if self.phase != LearnerPhase::Dialling {
            return;
        }
        self.heard = now;
        self.phase = LearnerPhase::AwaitLeaderInfo;
        let kind = if self.observer { PacketType::OBSERVERINFO } else { PacketType::FOLLOWERINFO };
        let info = LearnerInfo::to_bytes(self.options.my_id, self.options.membership.version);
        self.send(QuorumPacket::with_data(kind, Zxid::new(self.accepted, 0), info));
    }

    /// LEADERINFO: the new epoch, which is saved before it is acknowledged. One that was accepted before is not acknowledged
    /// again, as it may have been another leader's; one before it is refused.
    pub(super) fn leader_info(&mut self, packet: &QuorumPacket) -> Result<(), Refusal> {
        if packet.kind != PacketType::LEADERINFO {
            let why = match packet.kind {
                PacketType::NEWLEADER => {
                    "the leader speaks the protocol before ZAB 1.0; upgrade it to 3.4 or later".into()
                }
                kind => format!("{kind:?} came instead of LEADERINFO"),
            };
            return Err(Refusal::protocol(why));
        }
        let version = packet.body().and_then(|data| Reader::new(data).i32());
        let version = version.map_err(|error| Refusal::protocol(format!("LEADERINFO: {error}")))?;
        if version < PROTOCOL_VERSION {
            return Err(Refusal::protocol(format!("the leader speaks protocol {version:#x}")));
        }
        let epoch = packet.zxid.epoch();
        if packet.zxid < Zxid::ZERO || epoch < self.accepted {
            let why = format!("the leader's epoch {:#x} is below the accepted {:#x}", epoch.0, self.accepted.0);
            return Err(Refusal::protocol(why));
        }
        if epoch > EPOCH_MAX {
            // Once accepted it would be kept for ever, and no leader could have a later one.
            return Err(Refusal::protocol(format!(
                "the leader's epoch {:#x} is beyond the last, {:#x}",
                epoch.0, EPOCH_MAX.0
            )));
        }
        self.epoch = epoch;
        if epoch > self.accepted {
            self.phase = LearnerPhase::SavingAccepted;
            self.act(LearnerAction::SaveEpochs { accepted: Some(epoch), current: None });
        } else {
            self.acknowledge_epoch(None);
        }
        Ok(())
    }

    pub(super) fn accepted_is_saved(&mut self, now: Instant) {
        self.accepted = self.epoch;
        self.heard = now;
        self.acknowledge_epoch(Some(self.current));
    }

    /// ACKEPOCH, with the epoch of the history, or -1 for "do not count me".
    fn acknowledge_epoch(&mut self, current: Option<Epoch>) {
        // A learner that hides its history must not help to elect a leader that may have less.
        let (current, last) = if self.options.want_snapshot { (None, HIDDEN) } else { (current, self.last_logged) };
        let current = current.map_or(-1, |epoch| i32::try_from(epoch.0).unwrap_or(-1));
        self.phase = LearnerPhase::AwaitPlan;
        let data = Bytes::copy_from_slice(&current.to_be_bytes());
        self.send(QuorumPacket::with_data(PacketType::ACKEPOCH, last, data));
    }
}
