//! ZAB with three replicas in one process: a leader and two followers as the state machines that they are, a network that delivers at
//! once, and disks that are done when they are asked. Packets go over the wire as bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use zoo_server::ids::{Epoch, ServerId, SessionId, Zxid};
use zoo_server::quorum::Membership;
use zoo_server::time::Instant;
use zoo_server::wire::op::OpCode;
use zoo_server::wire::quorum::{PacketReader, QuorumPacket};
use zoo_server::wire::txn::{Txn, TxnHeader, TxnRecord};
use zoo_server::zab::{
    History, HistoryOptions, Leader, LeaderAction, LeaderPhase, Learner, LearnerAction, LinkId, Options,
};

use super::{DATA_LEN, WALL, path};

const NOW: Instant = Instant(1_000_000);
const FRAME_LEN_MAX: usize = 4 << 20;
/// Where a record has its zxid: behind the session and the client's number.
const ZXID_AT: std::ops::Range<usize> = 12..20;

/// A setData of 100 bytes, without its zxid.
pub fn record() -> Vec<u8> {
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid::ZERO, time: WALL, op: OpCode::SET_DATA };
    let path = path(123_456);
    let txn = Txn::SetData { path: path.as_str().into(), data: Some(&[7; DATA_LEN]), version: 3 };
    let mut out = Vec::new();
    TxnRecord { header, txn, digest: None }.encode(&mut out);
    out
}

/// A follower, and the two directions of its link.
struct Follower {
    machine: Learner,
    link: LinkId,
    from_leader: PacketReader,
    from_follower: PacketReader,
    /// What is logged, for the disk to report at the end of a turn.
    logged: Zxid,
    committed: Zxid,
    /// Epochs to be reported as saved.
    saved: (Epoch, Epoch),
}

/// What went over the network.
#[derive(Clone, Copy, Default, Debug)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

/// See the file's page.
pub struct Ensemble {
    leader: Leader,
    history: History,
    saved: (Epoch, Epoch),
    followers: Vec<Follower>,
    logged: Zxid,
    committed: Zxid,
    outstanding: VecDeque<(Zxid, Bytes)>,
    pub traffic: Traffic,
    buffer: Vec<u8>,
    record: Vec<u8>,
}

impl Ensemble {
    /// Elected and synchronised.
    pub fn new() -> Self {
        let text = "server.1=a:1:2:participant;3\nserver.2=b:1:2:participant;3\nserver.3=c:1:2:participant;3";
        let membership = Arc::new(Membership::parse_text(text).expect("three servers"));
        let options = |id| Options::new(ServerId(id), Arc::clone(&membership));
        let none = Epoch(0);
        let mut leader = Leader::new(options(3), NOW, none, none, Zxid::ZERO);
        let follower = |id: i64| {
            let mut machine = Learner::new(options(id), NOW, false, ServerId(3), none, none, Zxid::ZERO);
            machine.connected(NOW);
            Follower {
                machine,
                link: LinkId(id as u32),
                from_leader: PacketReader::new(FRAME_LEN_MAX),
                from_follower: PacketReader::new(FRAME_LEN_MAX),
                logged: Zxid::ZERO,
                committed: Zxid::ZERO,
                saved: (none, none),
            }
        };
        let followers: Vec<_> = [1, 2].map(follower).into();
        for follower in &followers {
            leader.link_opened(NOW, follower.link);
        }
        let mut ensemble = Self {
            leader,
            history: History::new(HistoryOptions::default(), Zxid::ZERO),
            saved: (none, none),
            followers,
            logged: Zxid::ZERO,
            committed: Zxid::ZERO,
            outstanding: VecDeque::new(),
            traffic: Traffic::default(),
            buffer: Vec::new(),
            record: record(),
        };
        ensemble.settle();
        assert_eq!(ensemble.leader.phase(), LeaderPhase::Established, "nobody leads");
        ensemble.traffic = Traffic::default();
        ensemble
    }

    /// Proposes so many records as one batch, and carries on until all three have them committed.
    pub fn commit(&mut self, count: usize) {
        self.lead_propose(count);
        self.settle();
        let last = self.leader.last_proposed();
        assert_eq!(self.committed, last, "not committed");
        assert!(self.followers.iter().all(|follower| follower.committed == last), "a follower lags");
    }

    #[inline(never)]
    fn lead_propose(&mut self, count: usize) {
        for number in 1..=count {
            let zxid = match self.leader.last_proposed() {
                last if last.epoch() == self.leader.epoch() => last.next(),
                _ => Zxid::new(self.leader.epoch(), 1),
            };
            self.record[ZXID_AT].copy_from_slice(&zxid.0.to_be_bytes());
            let record = Bytes::copy_from_slice(&self.record);
            self.leader.propose(NOW, zxid, record.clone(), number == count);
            self.outstanding.push_back((zxid, record));
            self.logged = zxid;
        }
    }

    fn settle(&mut self) {
        let mut durable = Zxid::ZERO;
        loop {
            let mut idle = !self.lead_turn();
            for at in 0..self.followers.len() {
                idle &= !self.follow_turn(at);
            }
            // The leader's own disk is as fast as the followers'.
            if self.logged > durable {
                durable = self.logged;
                self.leader.durable(NOW, durable);
                continue;
            }
            if idle {
                return;
            }
        }
    }

    /// What came from the followers, and what the leader does about it. Whether there was anything.
    #[inline(never)]
    fn lead_turn(&mut self) -> bool {
        let mut busy = false;
        let Self { followers, leader, history, .. } = self;
        for own in followers {
            while let Some(packet) = own.from_follower.next_packet().expect("sound packets") {
                busy = true;
                leader.packet(NOW, own.link, packet, history);
            }
        }
        while let Some(action) = self.leader.poll() {
            busy = true;
            self.act(action);
        }
        busy
    }

    fn act(&mut self, action: LeaderAction) {
        match action {
            LeaderAction::Send { link, packet } => {
                let follower = self.followers.iter_mut().find(|follower| follower.link == link);
                send(&mut self.buffer, &mut self.traffic, &packet, &mut follower.expect("one of two").from_leader);
            }
            LeaderAction::SaveEpochs { accepted, current } => {
                self.saved = (accepted.unwrap_or(self.saved.0), current.unwrap_or(self.saved.1));
                self.leader.epochs_saved(NOW, self.saved.0, self.saved.1);
            }
            LeaderAction::Established { epoch } => self.history.epoch_started(epoch),
            LeaderAction::Commit { through } => {
                while let Some((zxid, record)) = self.outstanding.pop_front_if(|(zxid, _)| *zxid <= through) {
                    self.history.push(zxid, record);
                    self.committed = zxid;
                }
            }
            other => panic!("the leader asked for {other:?}"),
        }
    }

    /// What came from the leader, what a follower does about it, its disk, what it says. Whether there was anything.
    #[inline(never)]
    fn follow_turn(&mut self, at: usize) -> bool {
        let Self { followers, buffer, traffic, .. } = self;
        let own = &mut followers[at];
        let mut busy = false;
        while let Some(packet) = own.from_leader.next_packet().expect("sound packets") {
            busy = true;
            own.machine.packet(NOW, packet);
        }
        let before = own.logged;
        while let Some(action) = own.machine.poll() {
            busy = true;
            match action {
                LearnerAction::Send(packet) => send(buffer, traffic, &packet, &mut own.from_follower),
                LearnerAction::SaveEpochs { accepted, current } => {
                    own.saved = (accepted.unwrap_or(own.saved.0), current.unwrap_or(own.saved.1));
                    own.machine.epochs_saved(NOW, own.saved.0, own.saved.1);
                }
                LearnerAction::Append(zxid, _) => own.logged = zxid,
                LearnerAction::Commit(zxid) => own.committed = zxid,
                LearnerAction::ConfigurationSeen { is_awaited: true, .. } => own.machine.configuration_saved(NOW),
                LearnerAction::Serving { .. }
                | LearnerAction::ConfigurationSeen { .. }
                | LearnerAction::ConfigurationActivated { .. } => {}
                other => panic!("a follower asked for {other:?}"),
            }
        }
        if own.logged > before {
            own.machine.durable(NOW, own.logged);
            while let Some(LearnerAction::Send(packet)) = own.machine.poll() {
                send(buffer, traffic, &packet, &mut own.from_follower);
            }
        }
        busy
    }
}

/// As bytes over a link.
fn send(buffer: &mut Vec<u8>, traffic: &mut Traffic, packet: &QuorumPacket, to: &mut PacketReader) {
    buffer.clear();
    packet.encode(buffer);
    traffic.packets += 1;
    traffic.bytes += buffer.len() as u64;
    to.push(buffer);
}
