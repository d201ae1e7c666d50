//! Reconfigurations from the learner's side.

use super::*;
use crate::time::WallTime;
use crate::wire::txn::{Txn, TxnHeader, TxnRecord};

/// A transaction that makes a configuration.
fn reconfiguration(zxid: Zxid) -> (Bytes, Bytes) {
    let text = format!("server.1=a:1:2\nserver.2=b:1:2\nversion={:x}", zxid.0);
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time: WallTime(0), op: OpCode::RECONFIG };
    let txn = Txn::SetData { path: "/zookeeper/config".into(), data: Some(text.as_bytes()), version: -1 };
    let mut record = Vec::new();
    TxnRecord { header, txn, digest: None }.encode(&mut record);
    (Bytes::from(record), Bytes::from(text))
}

fn to_lead(leader: i64) -> Bytes {
    Bytes::copy_from_slice(&leader.to_be_bytes())
}

#[test]
fn a_configuration_is_seen_before_it_is_logged_and_holds_with_its_commit() {
    let (record, text) = reconfiguration(zxid(5, 1));
    let seen = LearnerAction::ConfigurationSeen { text: text.clone(), is_awaited: false };
    let activated = LearnerAction::ConfigurationActivated { text: text.clone(), designated: Some(ServerId(3)) };
    let logged = LearnerAction::Append(zxid(5, 1), record.clone());
    let mut learner = following(false);
    let proposal = QuorumPacket::with_data(PacketType::PROPOSAL, zxid(5, 1), record.clone());
    assert_eq!(feed(&mut learner, [proposal.clone()]), [seen.clone(), logged.clone()]);
    let activate = QuorumPacket::with_data(PacketType::COMMITANDACTIVATE, zxid(5, 1), to_lead(3));
    assert_eq!(feed(&mut learner, [activate]), [LearnerAction::Commit(zxid(5, 1)), activated.clone()]);
    // An observer hears of it when it holds.
    let mut learner = following(true);
    let data = Bytes::from([&to_lead(3)[..], &record].concat());
    let caused = feed(&mut learner, [QuorumPacket::with_data(PacketType::INFORMANDACTIVATE, zxid(5, 1), data)]);
    assert_eq!(caused, [seen.clone(), logged.clone(), LearnerAction::Commit(zxid(5, 1)), activated]);
    // Without a word about activation it was long ago, and another one holds by now.
    let mut learner = in_diff(false);
    let caused = feed(&mut learner, [proposal, commit(zxid(5, 1))]);
    assert_eq!(caused, [seen, logged, LearnerAction::Commit(zxid(5, 1))]);
    let short = QuorumPacket::with_data(PacketType::COMMITANDACTIVATE, zxid(5, 2), Bytes::from_static(b"1234"));
    assert!(is_abandoned(&feed(&mut learner, [short]), "without a leader"));
}

#[test]
fn what_new_leader_brought_holds_with_uptodate_and_what_came_later_behind_it() {
    let mut learner = in_diff(false);
    let text = Bytes::from_static(b"server.1=a:1:2\nserver.2=b:1:2\nversion=400000006");
    feed(&mut learner, [QuorumPacket::with_data(PacketType::NEWLEADER, START, text.clone())]);
    learner.configuration_saved(NOW);
    learner.epochs_saved(NOW, EPOCH, EPOCH);
    actions(&mut learner);
    let (record, later) = reconfiguration(zxid(5, 1));
    let proposal = QuorumPacket::with_data(PacketType::PROPOSAL, zxid(5, 1), record.clone());
    let activate = QuorumPacket::with_data(PacketType::COMMITANDACTIVATE, zxid(5, 1), to_lead(1));
    assert_eq!(feed(&mut learner, [proposal, activate]), [], "nothing is logged before UPTODATE");
    assert_eq!(
        feed(&mut learner, [up_to_date()]),
        [
            ack(START),
            LearnerAction::ConfigurationActivated { text, designated: None },
            LearnerAction::ConfigurationSeen { text: later.clone(), is_awaited: false },
            LearnerAction::Append(zxid(5, 1), record),
            LearnerAction::Commit(zxid(5, 1)),
            LearnerAction::ConfigurationActivated { text: later, designated: Some(ServerId(1)) },
            LearnerAction::Serving { epoch: EPOCH },
        ]
    );
}
