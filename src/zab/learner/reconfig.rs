//! What a learner hears of configurations besides NEWLEADER's: one is proposed, and one holds (`Learner.syncWithLeader`,
//! `Follower.processPacket`, `Observer.processPacket`).

use bytes::Bytes;

use super::{Learner, LearnerAction, Refusal};
use crate::ids::{ServerId, Zxid};
use crate::wire::jute::Reader;
use crate::wire::op::OpCode;
use crate::wire::txn::{Txn, TxnHeader, TxnRecord};

impl Learner {
    /// COMMITANDACTIVATE or INFORMANDACTIVATE of this zxid came: who leads is in front of its data.
    pub(super) fn will_activate(&mut self, zxid: Zxid, data: Option<&Bytes>) -> Result<(), Refusal> {
        let leader = data.and_then(|data| Reader::new(data).i64().ok()).map(ServerId);
        let leader =
            leader.ok_or_else(|| Refusal::protocol("a configuration is activated without a leader".to_owned()))?;
        if self.activations.back().is_none_or(|(last, _)| *last < zxid) {
            self.activations.push_back((zxid, leader));
        }
        Ok(())
    }

    /// A record goes to the log: the configuration that it proposes is to be saved before.
    pub(super) fn see_configuration(&mut self, zxid: Zxid, record: &Bytes) {
        if let Some(text) = configuration_of(record) {
            self.proposed_configurations.push_back((zxid, text.clone()));
            self.act(LearnerAction::ConfigurationSeen { text, is_awaited: false });
        }
    }

    /// A record is committed: the configuration that it made holds, if the leader said so. What is told without a word about
    /// that was committed long ago; NEWLEADER brings what holds now.
    pub(super) fn activate_committed(&mut self, zxid: Zxid) {
        let text = self.proposed_configurations.pop_front_if(|(proposed, _)| *proposed <= zxid);
        while self.activations.pop_front_if(|(activated, _)| *activated < zxid).is_some() {}
        let activation = self.activations.pop_front_if(|(activated, _)| *activated == zxid);
        if let (Some((_, text)), Some((_, leader))) = (text, activation) {
            self.act(LearnerAction::ConfigurationActivated { text, designated: Some(leader) });
        }
    }
}

/// The text of the configuration that a record proposes, if it is a reconfiguration.
fn configuration_of(record: &Bytes) -> Option<Bytes> {
    let header = TxnHeader::decode(&mut Reader::new(record)).ok()?;
    if header.op != OpCode::RECONFIG {
        return None;
    }
    match TxnRecord::decode(record).ok()?.txn {
        Txn::SetData { data: Some(data), .. } => Some(record.slice_ref(data)),
        _ => None,
    }
}
