//! Several servers with their leaders and learners, wired by a seeded scheduler. Only unit tests use it.
//!
//! The model: a server is a log (its tree is the applied part of it), epoch files and a disk that works off a queue in order; a
//! crash keeps what the disk has done, with a random part of the queue done but not reported, and loses all else. Links are
//! FIFO, different links are not ordered; a cut link loses what was on its way, and each end learns of it at a time of its own.
//! Elections are an oracle that is usually right and sometimes not: safety must not depend on it. Time runs at random.
//!
//! `canonical` is everything that is committed, in order; it only grows, and the `checkers` compare all else with it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::records::{Txn, record, txn};
use crate::ids::{Epoch, ServerId, SessionId, Zxid};
use crate::quorum::Membership;
use crate::time::Instant;
use crate::wire::op::OpCode;
use crate::wire::quorum::{PacketReader, PacketType, QuorumPacket};
use crate::zab::{
    History, HistoryOptions, Leader, LeaderAction, LeaderPhase, Learner, LearnerAction, LearnerPhase, LinkId, Options,
    follows,
};

/// Faults that are put in by hand, to see that the checkers find them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::zab) enum Fault {
    None,
    /// The disk reports records before it has them.
    AckBeforeSync,
    /// A learner's currentEpoch is saved before the history of that epoch.
    EpochBeforeHistory,
    /// Epochs are reported and never reach the disk.
    EpochNotSaved,
    /// TRUNC is reported and not done.
    SkippedTruncation,
    /// A leader takes itself for the whole ensemble.
    CommitWithoutQuorum,
}

/// splitmix64: all that is random here.
pub(in crate::zab) struct Random(pub(in crate::zab) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(in crate::zab) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n.max(1)).expect("small")).expect("small")
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

enum DiskOp {
    Append(Txn),
    Epochs(Option<Epoch>, Option<Epoch>),
    Truncate(Zxid),
    Install(Zxid, Vec<Txn>),
}

#[derive(Default)]
pub(super) struct Disk {
    pub(super) log: Vec<Txn>,
    accepted: Epoch,
    current: Epoch,
}

impl Disk {
    fn last(&self) -> Zxid {
        self.log.last().map_or(Zxid::ZERO, |txn| txn.0)
    }

    fn carry_out(&mut self, op: &DiskOp, fault: Fault) {
        match op {
            DiskOp::Append(txn) => {
                assert!(follows(self.last(), txn.0), "the log of the disk has a hole: {} {}", self.last(), txn.0);
                self.log.push(*txn);
            }
            DiskOp::Epochs(accepted, current) => {
                self.accepted = accepted.unwrap_or(self.accepted);
                self.current = current.unwrap_or(self.current);
            }
            DiskOp::Truncate(_) if fault == Fault::SkippedTruncation => {}
            DiskOp::Truncate(to) => self.log.retain(|txn| txn.0 <= *to),
            DiskOp::Install(_, log) => self.log.clone_from(log),
        }
    }
}

enum Role {
    Down,
    /// Waits for the disk, then goes looking.
    Draining,
    Looking,
    Leading(Box<Leader>, History),
    Learning(Box<Learner>, LinkId, Vec<Txn>),
}

pub(super) struct Node {
    pub(super) disk: Disk,
    queue: VecDeque<DiskOp>,
    role: Role,
    /// The log as appended; the disk may be behind.
    pub(super) log: Vec<Txn>,
    /// How much of the log the tree holds.
    pub(super) applied: usize,
    observer: bool,
    want_snapshot: bool,
    /// Lengths of `canonical` when syncs were asked for.
    pub(super) syncs: VecDeque<usize>,
}

enum Message {
    Open,
    Packet(QuorumPacket),
    /// One of several parts of a snapshot, the last one marked.
    Snapshot(Vec<Txn>, bool),
    Closed,
}

struct Wire {
    /// Nothing that is sent from now on arrives.
    cut: bool,
    leader: ServerId,
    learner: ServerId,
    to_leader: VecDeque<Message>,
    to_learner: VecDeque<Message>,
}

/// What came about in a run, so that a test can see that it tests something.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::zab) struct Marks {
    pub(in crate::zab) committed: usize,
    pub(in crate::zab) established: usize,
    pub(in crate::zab) diffs: usize,
    pub(in crate::zab) truncations: usize,
    pub(in crate::zab) snapshots: usize,
    pub(in crate::zab) broken_snapshots: usize,
    pub(in crate::zab) crashes: usize,
    pub(in crate::zab) syncs: usize,
}

pub(in crate::zab) struct Cluster {
    pub(super) random: Random,
    fault: Fault,
    now: Instant,
    pub(super) nodes: BTreeMap<ServerId, Node>,
    wires: BTreeMap<LinkId, Wire>,
    pub(super) membership: Arc<Membership>,
    next_link: u32,
    next_number: i64,
    pub(super) canonical: Vec<Txn>,
    /// Leaders' epochs, with how much of `canonical` they have committed.
    pub(super) growth: Vec<(Epoch, usize)>,
    pub(in crate::zab) marks: Marks,
}

const TICK_MS: u64 = 200;

impl Cluster {
    pub(in crate::zab) fn new(seed: u64, fault: Fault) -> Self {
        let mut random = Random(seed);
        let voters = [3, 3, 5][random.below(3)];
        let observers = i64::from(random.chance(30));
        let line = |id: i64| {
            let role = if id > voters { "observer" } else { "participant" };
            format!("server.{id}=127.0.0.1:{}:{}:{role}\n", 20_000 + id, 21_000 + id)
        };
        let text: String = (1..=voters + observers).map(line).collect();
        let membership = Arc::new(Membership::parse_text(&text).expect("a good configuration"));
        let node = |id: i64| {
            let node = Node {
                disk: Disk::default(),
                queue: VecDeque::new(),
                role: Role::Looking,
                log: Vec::new(),
                applied: 0,
                observer: id > voters,
                want_snapshot: false,
                syncs: VecDeque::new(),
            };
            (ServerId(id), node)
        };
        Self {
            random,
            fault,
            now: Instant(1_000_000),
            nodes: (1..=voters + observers).map(node).collect(),
            wires: BTreeMap::new(),
            membership,
            next_link: 0,
            next_number: 0,
            canonical: Vec::new(),
            growth: Vec::new(),
            marks: Marks::default(),
        }
    }

    fn options(&self, id: ServerId) -> Options {
        let membership = if self.fault == Fault::CommitWithoutQuorum {
            let text = format!("server.{}=127.0.0.1:20000:20001:participant", id.0);
            Arc::new(Membership::parse_text(&text).expect("a good configuration"))
        } else {
            Arc::clone(&self.membership)
        };
        let options = Options::new(id, membership);
        Options {
            tick_ms: TICK_MS,
            init_limit: 6,
            sync_limit: 3,
            reconfig_enabled: true,
            want_snapshot: self.nodes[&id].want_snapshot,
            ..options
        }
    }

    pub(super) fn node(&mut self, id: ServerId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a member")
    }

    fn pick(&mut self, wanted: impl Fn(&Node) -> bool) -> Option<ServerId> {
        let ids: Vec<_> = self.nodes.iter().filter(|(_, node)| wanted(node)).map(|(id, _)| *id).collect();
        (!ids.is_empty()).then(|| ids[self.random.below(ids.len())])
    }

    /// Faults and work at random.
    pub(in crate::zab) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.random.below(1000) {
                0..500 => self.deliver_somewhere(),
                500..750 => self.some_disk_works(),
                750..850 => self.some_client_writes(),
                850..870 => self.some_client_syncs(),
                870..915 => self.time_passes(),
                915..965 => self.elect(),
                965..980 => self.join(),
                980..990 => self.cut(),
                990..994 => self.crash(),
                _ => self.restart(),
            }
        }
    }

    /// No more faults: in the end all servers follow one leader and hold the same.
    pub(in crate::zab) fn heal(&mut self) {
        for id in self.ids() {
            if matches!(self.nodes[&id].role, Role::Down) {
                self.restart_node(id);
            }
        }
        let mut idle = 0;
        for round in 0..20_000 {
            assert!(round < 19_999, "no progress after healing: {}", self.describe());
            let (queued, waiting) = (self.disk_pending(), self.messages_pending());
            if queued {
                self.some_disk_works();
            }
            if waiting {
                self.deliver_somewhere();
            }
            if queued || waiting {
                continue;
            }
            if self.is_converged() {
                if idle >= 3 {
                    return;
                }
                // It has to go on from here, too.
                self.some_client_writes();
                self.some_client_syncs();
                idle += 1;
                continue;
            }
            self.elect_well();
            self.time_passes();
        }
    }

    fn ids(&self) -> Vec<ServerId> {
        self.nodes.keys().copied().collect()
    }

    fn disk_pending(&self) -> bool {
        self.nodes.values().any(|node| !node.queue.is_empty())
    }

    fn messages_pending(&self) -> bool {
        self.wires.values().any(|wire| !wire.to_leader.is_empty() || !wire.to_learner.is_empty())
    }

    fn is_converged(&self) -> bool {
        let settled = self.nodes.values().all(|node| match &node.role {
            Role::Leading(leader, _) => leader.phase() == LeaderPhase::Established && leader.outstanding() == 0,
            Role::Learning(learner, ..) => learner.phase() == LearnerPhase::Following,
            _ => false,
        });
        settled
            && self.nodes.values().all(|node| {
                node.applied == self.canonical.len() && node.log == self.canonical && node.disk.log == self.canonical
            })
    }

    fn describe(&self) -> String {
        let node = |(id, node): (&ServerId, &Node)| {
            let role = match &node.role {
                Role::Down => "down".to_owned(),
                Role::Draining => "draining".to_owned(),
                Role::Looking => "looking".to_owned(),
                Role::Leading(leader, _) => format!("leading {:?} {:?}", leader.epoch(), leader.phase()),
                Role::Learning(learner, ..) => format!("learning from {:?} {:?}", learner.leader(), learner.phase()),
            };
            format!("{}: {role}, log {:?}, {:?}/{:?}", id.0, node.log.last(), node.disk.accepted, node.disk.current)
        };
        self.nodes.iter().map(node).collect::<Vec<_>>().join("; ")
    }

    // What may happen.

    fn deliver_somewhere(&mut self) {
        let full: Vec<_> = self
            .wires
            .iter()
            .flat_map(|(id, wire)| [(*id, true, wire.to_leader.is_empty()), (*id, false, wire.to_learner.is_empty())])
            .filter(|(.., empty)| !empty)
            .collect();
        if full.is_empty() {
            return;
        }
        let (id, to_leader, _) = full[self.random.below(full.len())];
        // A packet rarely comes alone.
        for _ in 0..=self.random.below(4) {
            let Some(wire) = self.wires.get_mut(&id) else { return };
            let queue = if to_leader { &mut wire.to_leader } else { &mut wire.to_learner };
            let Some(message) = queue.pop_front() else { return };
            let receiver = if to_leader { wire.leader } else { wire.learner };
            self.deliver(id, receiver, to_leader, message);
        }
    }

    fn deliver(&mut self, id: LinkId, receiver: ServerId, to_leader: bool, message: Message) {
        let now = self.now;
        let is_end = matches!(message, Message::Closed);
        if is_end && let Some(wire) = self.wires.get_mut(&id) {
            // What this end has on the way is lost, except that it hung up too.
            let back = if to_leader { &mut wire.to_learner } else { &mut wire.to_leader };
            back.retain(|message| matches!(message, Message::Closed));
        }
        if to_leader {
            let node = self.node(receiver);
            let Role::Leading(leader, history) = &mut node.role else {
                return if is_end { self.sweep() } else { self.hang_up(id, true) };
            };
            match message {
                Message::Open => leader.link_opened(now, id),
                Message::Packet(packet) => leader.packet(now, id, through_wire(&packet), history),
                Message::Closed => leader.link_closed(id),
                Message::Snapshot(..) => unreachable!("a learner sends no snapshot"),
            }
        } else {
            let mut broken = false;
            let node = self.node(receiver);
            match &mut node.role {
                Role::Learning(learner, own, snapshot) if *own == id => match message {
                    Message::Packet(packet) => learner.packet(now, through_wire(&packet)),
                    Message::Snapshot(part, is_last) => {
                        snapshot.extend(part);
                        learner.heard(now);
                        if is_last {
                            learner.snapshot_received(now);
                        }
                    }
                    Message::Closed => {
                        broken = learner.phase() == LearnerPhase::ReceivingSnapshot;
                        learner.closed();
                    }
                    Message::Open => unreachable!("only a leader is called"),
                },
                _ => return if is_end { self.sweep() } else { self.hang_up(id, false) },
            }
            self.marks.broken_snapshots += usize::from(broken);
        }
        self.carry_out(receiver);
    }

    /// One end is gone: the other learns of it behind what is already on the way to it.
    fn hang_up(&mut self, id: LinkId, at_leader: bool) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let (own, other) = if at_leader {
            (&mut wire.to_leader, &mut wire.to_learner)
        } else {
            (&mut wire.to_learner, &mut wire.to_leader)
        };
        own.clear();
        if !wire.cut && !matches!(other.back(), Some(Message::Closed)) {
            other.push_back(Message::Closed);
        }
    }

    fn cut(&mut self) {
        let ids: Vec<_> = self.wires.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.random.below(ids.len())];
        if self.random.chance(20) {
            // A leader falls silent for all, and does not know it.
            let leader = self.wires[&id].leader;
            let all: Vec<_> = self.wires.iter().filter(|(_, wire)| wire.leader == leader).map(|(id, _)| *id).collect();
            all.into_iter().for_each(|id| self.cut_wire(id, 0));
        } else {
            let ends = self.random.below(4);
            self.cut_wire(id, ends);
        }
    }

    /// `ends`: 0, only the learner finds out at once; 1, only the leader; else both. The other one has its clock.
    fn cut_wire(&mut self, id: LinkId, ends: usize) {
        let (keep_up, keep_down) = (self.random.below(4), self.random.below(4));
        let wire = self.wires.get_mut(&id).expect("it was listed");
        wire.cut = true;
        wire.to_leader.truncate(keep_up);
        wire.to_learner.truncate(keep_down);
        if ends != 0 {
            wire.to_leader.push_back(Message::Closed);
        }
        if ends != 1 {
            wire.to_learner.push_back(Message::Closed);
        }
    }

    fn some_disk_works(&mut self) {
        let Some(id) = self.pick(|node| !node.queue.is_empty()) else { return };
        let batch = 1 + self.random.below(6);
        self.disk_works(id, batch);
    }

    fn disk_works(&mut self, id: ServerId, batch: usize) {
        let (now, fault) = (self.now, self.fault);
        let node = self.node(id);
        let mut durable = None;
        let mut rewrote = false;
        for _ in 0..batch {
            let Some(op) = node.queue.pop_front() else { break };
            node.disk.carry_out(&op, fault);
            match op {
                DiskOp::Append(txn) => {
                    durable = Some(txn.0);
                    continue;
                }
                DiskOp::Epochs(..) => {
                    let (accepted, current) = (node.disk.accepted, node.disk.current);
                    match &mut node.role {
                        Role::Leading(leader, _) => leader.epochs_saved(now, accepted, current),
                        Role::Learning(learner, ..) => learner.epochs_saved(now, accepted, current),
                        _ => {}
                    }
                }
                DiskOp::Truncate(to) => {
                    rewrote = true;
                    let last = if fault == Fault::SkippedTruncation { to } else { node.disk.last() };
                    if let Role::Learning(learner, ..) = &mut node.role {
                        learner.truncated(now, last);
                    }
                }
                DiskOp::Install(zxid, _) => {
                    rewrote = true;
                    if let Role::Learning(learner, ..) = &mut node.role {
                        learner.snapshot_installed(now, zxid);
                    }
                }
            }
            break;
        }
        match (&mut node.role, durable) {
            (Role::Leading(leader, _), Some(through)) => leader.durable(now, through),
            (Role::Learning(learner, ..), Some(through)) => learner.durable(now, through),
            (Role::Draining, _) if node.queue.is_empty() => node.role = Role::Looking,
            _ => {}
        }
        if rewrote {
            self.check_durability();
        }
        self.carry_out(id);
    }

    fn some_client_writes(&mut self) {
        let is_ready =
            |node: &Node| matches!(&node.role, Role::Leading(leader, _) if leader.phase() == LeaderPhase::Established);
        let can_ask = |node: &Node| matches!(&node.role, Role::Learning(learner, ..) if learner.phase() == LearnerPhase::Following);
        if self.random.chance(30)
            && let Some(id) = self.pick(can_ask)
        {
            let node = self.node(id);
            let Role::Learning(learner, ..) = &mut node.role else { return };
            learner.request(SessionId(7), 1, OpCode::CREATE, Bytes::from_static(b"/a"), Vec::new());
            return self.carry_out(id);
        }
        // Mostly at the newest leader, so that an old one that does not know it has nothing to wait for.
        let newest = self.ids().into_iter().filter(|id| is_ready(&self.nodes[id])).max_by_key(|id| self.summary(*id));
        let chosen = if self.random.chance(80) { newest } else { self.pick(is_ready) };
        if let Some(id) = chosen {
            for _ in 0..=self.random.below(3) {
                self.propose(id);
            }
            self.carry_out(id);
        }
    }

    fn propose(&mut self, id: ServerId) {
        self.next_number += 1;
        let (now, number) = (self.now, self.next_number);
        let node = self.node(id);
        let Role::Leading(leader, _) = &mut node.role else { return };
        if leader.phase() != LeaderPhase::Established || !leader.has_room() {
            return;
        }
        let txn = (leader.last_proposed().next(), number);
        leader.propose(now, txn.0, record(txn), true);
        node.log.push(txn);
        self.queue_for_disk(id, DiskOp::Append(txn));
    }

    fn some_client_syncs(&mut self) {
        let Some(id) = self.pick(|node| match &node.role {
            Role::Leading(leader, _) => leader.phase() == LeaderPhase::Established,
            Role::Learning(learner, ..) => learner.phase() == LearnerPhase::Following,
            _ => false,
        }) else {
            return;
        };
        let committed = self.canonical.len();
        let node = self.node(id);
        node.syncs.push_back(committed);
        match &mut node.role {
            Role::Leading(leader, _) => leader.sync_request(None, leader.last_proposed()),
            Role::Learning(learner, ..) => {
                learner.request(SessionId(7), 2, OpCode::SYNC, Bytes::from_static(b"/"), Vec::new());
            }
            _ => unreachable!("it was picked for its role"),
        }
        self.carry_out(id);
    }

    fn time_passes(&mut self) {
        self.now = self.now + Duration::from_millis(u64::try_from(self.random.below(150)).expect("small"));
        for id in self.ids() {
            if self.random.chance(80) {
                self.tick(id);
            }
        }
    }

    fn tick(&mut self, id: ServerId) {
        let now = self.now;
        match &mut self.node(id).role {
            Role::Leading(leader, _) => leader.tick(now),
            Role::Learning(learner, ..) => learner.tick(now),
            _ => return,
        }
        self.carry_out(id);
    }

    fn summary(&self, id: ServerId) -> (Epoch, Zxid, ServerId) {
        let disk = &self.nodes[&id].disk;
        (disk.current.max(disk.last().epoch()), disk.last(), id)
    }

    /// Some of those who are looking agree on a leader: mostly the best of them, sometimes anyone.
    fn elect(&mut self) {
        let looking: Vec<_> =
            self.ids().into_iter().filter(|id| matches!(self.nodes[id].role, Role::Looking)).collect();
        let some: Vec<_> = looking.into_iter().filter(|_| self.random.chance(80)).collect();
        let voters: Vec<_> = some.iter().copied().filter(|id| !self.nodes[id].observer).collect();
        let best = voters.iter().copied().max_by_key(|id| self.summary(*id));
        let Some(best) = best else { return };
        let leader = if self.random.chance(85) { best } else { voters[self.random.below(voters.len())] };
        if voters.len() < 2 && self.random.chance(90) {
            return;
        }
        self.lead(leader);
        for id in some.into_iter().filter(|id| *id != leader) {
            self.follow(id, leader);
        }
    }

    fn elect_well(&mut self) {
        let looking: Vec<_> =
            self.ids().into_iter().filter(|id| matches!(self.nodes[id].role, Role::Looking)).collect();
        let leading: Vec<_> =
            self.ids().into_iter().filter(|id| matches!(self.nodes[id].role, Role::Leading(..))).collect();
        match leading[..] {
            [] if looking.len() == self.nodes.len() => {
                let voters = looking.iter().copied().filter(|id| !self.nodes[id].observer);
                let best = voters.max_by_key(|id| self.summary(*id)).expect("somebody votes");
                self.lead(best);
            }
            [leader] => {
                let Role::Leading(machine, _) = &self.nodes[&leader].role else { unreachable!() };
                let epoch = machine.epoch();
                // Who has accepted a later epoch cannot follow until there is a new leader, as with Apache.
                let stuck = machine.phase() == LeaderPhase::Established
                    && looking.iter().any(|id| self.nodes[id].disk.accepted > epoch);
                if stuck {
                    self.end_term(leader);
                } else {
                    for id in looking {
                        self.follow(id, leader);
                    }
                }
            }
            [] => {}
            [old, ..] => self.end_term(old),
        }
    }

    fn join(&mut self) {
        let Some(id) = self.pick(|node| matches!(node.role, Role::Looking)) else { return };
        if let Some(leader) = self.pick(|node| matches!(node.role, Role::Leading(..))) {
            self.follow(id, leader);
        }
    }

    fn lead(&mut self, id: ServerId) {
        let (now, options) = (self.now, self.options(id));
        let keep = 1 + self.random.below(12);
        let node = self.node(id);
        assert!(node.log == node.disk.log, "a term begins with everything durable");
        // All of the log is applied; the ring holds some of its end.
        node.applied = node.log.len();
        let first = node.log.len().saturating_sub(keep);
        let base = first.checked_sub(1).map_or(Zxid::ZERO, |index| node.log[index].0);
        let bounds = HistoryOptions { count_max: keep, ..HistoryOptions::default() };
        let history = History::recovered(bounds, base, node.log[first..].iter().map(|txn| (txn.0, record(*txn))));
        let leader = Leader::new(options, now, node.disk.accepted, node.disk.current, node.disk.last());
        node.role = Role::Leading(Box::new(leader), history);
        self.carry_out(id);
    }

    fn follow(&mut self, id: ServerId, leader: ServerId) {
        let (now, options) = (self.now, self.options(id));
        let link = LinkId(self.next_link);
        self.next_link += 1;
        let wire =
            Wire { cut: false, leader, learner: id, to_leader: [Message::Open].into(), to_learner: VecDeque::new() };
        self.wires.insert(link, wire);
        let node = self.node(id);
        assert!(node.log == node.disk.log, "a term begins with everything durable");
        node.want_snapshot = false;
        let (disk, observer) = (&node.disk, node.observer);
        let mut learner = Learner::new(options, now, observer, leader, disk.accepted, disk.current, disk.last());
        learner.connected(now);
        node.role = Role::Learning(Box::new(learner), link, Vec::new());
        self.carry_out(id);
    }

    fn crash(&mut self) {
        let Some(id) = self.pick(|node| !matches!(node.role, Role::Down)) else { return };
        self.marks.crashes += 1;
        self.leave(id);
        let fault = self.fault;
        let done = self.random.below(1 + self.nodes[&id].queue.len());
        let node = self.node(id);
        for op in node.queue.drain(..).take(done) {
            node.disk.carry_out(&op, fault);
        }
        if fault == Fault::EpochNotSaved {
            (node.disk.accepted, node.disk.current) = (Epoch(0), Epoch(0));
        }
        node.role = Role::Down;
        self.check_durability();
    }

    fn restart(&mut self) {
        if let Some(id) = self.pick(|node| matches!(node.role, Role::Down)) {
            self.restart_node(id);
        }
    }

    fn restart_node(&mut self, id: ServerId) {
        let node = self.node(id);
        node.log.clone_from(&node.disk.log);
        // What is applied after a restart may be anything up to the log's end: it is told by the next leader.
        node.applied = 0;
        node.role = Role::Looking;
    }

    /// Closes the links and drops the machine.
    fn leave(&mut self, id: ServerId) {
        let links: Vec<_> = self.wires.iter().filter(|(_, wire)| wire.leader == id || wire.learner == id).collect();
        let links: Vec<_> = links.into_iter().map(|(link, wire)| (*link, wire.leader == id)).collect();
        for (link, at_leader) in links {
            self.hang_up(link, at_leader);
        }
        self.node(id).syncs.clear();
    }

    fn end_term(&mut self, id: ServerId) {
        self.leave(id);
        let node = self.node(id);
        node.role = if node.queue.is_empty() { Role::Looking } else { Role::Draining };
    }

    fn queue_for_disk(&mut self, id: ServerId, op: DiskOp) {
        let (now, fault, overtakes) = (self.now, self.fault, self.random.below(4));
        let node = self.node(id);
        if let (DiskOp::Append(txn), Fault::AckBeforeSync) = (&op, fault) {
            match &mut node.role {
                Role::Leading(leader, _) => leader.durable(now, txn.0),
                Role::Learning(learner, ..) => learner.durable(now, txn.0),
                _ => {}
            }
        }
        // The epochs are in files of their own: they may get there before records that were given to the disk earlier.
        let is_record = |op: &DiskOp| matches!(op, DiskOp::Append(_));
        let overtaken = match op {
            DiskOp::Epochs(..) => node.queue.iter().rev().take_while(|op| is_record(op)).take(overtakes).count(),
            _ => 0,
        };
        node.queue.insert(node.queue.len() - overtaken, op);
    }

    // The actions of the machines.

    fn carry_out(&mut self, id: ServerId) {
        loop {
            let node = self.node(id);
            let action = match &mut node.role {
                Role::Leading(leader, _) => leader.poll().map(Ok),
                Role::Learning(learner, ..) => learner.poll().map(Err),
                _ => None,
            };
            match action {
                None => break,
                Some(Ok(action)) => self.leader_action(id, action),
                Some(Err(action)) => self.learner_action(id, action),
            }
        }
        self.sweep();
    }

    /// Forgets links that have no end any more.
    fn sweep(&mut self) {
        self.wires.retain(|id, wire| {
            let is_used = || matches!(&self.nodes[&wire.learner].role, Role::Learning(_, own, _) if own == id);
            !wire.to_leader.is_empty() || !wire.to_learner.is_empty() || is_used()
        });
    }

    fn leader_action(&mut self, id: ServerId, action: LeaderAction) {
        match action {
            LeaderAction::SaveEpochs { accepted, current } => {
                self.queue_for_disk(id, DiskOp::Epochs(accepted, current))
            }
            LeaderAction::Send { link, packet } => {
                if let Some(wire) = self.wires.get_mut(&link).filter(|wire| !wire.cut) {
                    self.marks.diffs += usize::from(packet.kind == PacketType::DIFF);
                    self.marks.truncations += usize::from(packet.kind == PacketType::TRUNC);
                    self.marks.snapshots += usize::from(packet.kind == PacketType::SNAP);
                    wire.to_learner.push_back(Message::Packet(packet));
                }
            }
            LeaderAction::SendSnapshot { link, zxid } => {
                let node = &self.nodes[&id];
                let Role::Leading(_, history) = &node.role else { unreachable!() };
                assert_eq!(zxid, history.last_processed(), "a snapshot is of what the tree holds");
                let tree = &node.log[..node.applied];
                if let Some(wire) = self.wires.get_mut(&link).filter(|wire| !wire.cut) {
                    let (start, end) = tree.split_at(tree.len() / 2);
                    wire.to_learner.push_back(Message::Snapshot(start.to_vec(), false));
                    wire.to_learner.push_back(Message::Snapshot(end.to_vec(), true));
                }
            }
            LeaderAction::Close { link, .. } => self.hang_up(link, true),
            LeaderAction::Established { epoch } => {
                self.marks.established += 1;
                let marks_epoch = self.random.chance(50);
                if let Role::Leading(_, history) = &mut self.node(id).role
                    && marks_epoch
                {
                    history.epoch_started(epoch);
                }
                self.check_established(id, epoch);
            }
            LeaderAction::Commit { through } => {
                let node = self.node(id);
                let Role::Leading(_, history) = &mut node.role else { unreachable!() };
                while let Some(txn) = node.log.get(node.applied).filter(|txn| txn.0 <= through) {
                    history.push(txn.0, record(*txn));
                    node.applied += 1;
                }
                assert_eq!(history.last_processed(), through, "commits are in order");
                self.check_leader(id, through.epoch());
            }
            LeaderAction::Request { link, request, .. } if request.op == OpCode::SYNC => {
                if let Role::Leading(leader, _) = &mut self.node(id).role {
                    leader.sync_request(Some(link), leader.last_proposed());
                }
            }
            LeaderAction::Request { .. } => self.propose(id),
            LeaderAction::Revalidate { .. } | LeaderAction::Touch { .. } => {}
            LeaderAction::SyncDone => self.check_sync(id),
            LeaderAction::Activate { designated, .. } => assert_eq!(designated, id, "nobody reconfigures"),
            LeaderAction::StepDown { .. } => self.end_term(id),
        }
    }

    fn learner_action(&mut self, id: ServerId, action: LearnerAction) {
        let now = self.now;
        let node = self.node(id);
        let Role::Learning(learner, link, snapshot) = &mut node.role else { unreachable!() };
        match action {
            LearnerAction::SaveEpochs { accepted, current } => {
                // As ZOOKEEPER-4643: the epoch of a history that is not there yet.
                let current = if self.fault == Fault::EpochBeforeHistory { current.or(accepted) } else { current };
                self.queue_for_disk(id, DiskOp::Epochs(accepted, current));
            }
            LearnerAction::Send(packet) => {
                let link = *link;
                if let Some(wire) = self.wires.get_mut(&link).filter(|wire| !wire.cut) {
                    wire.to_leader.push_back(Message::Packet(packet));
                }
            }
            LearnerAction::Append(zxid, bytes) => {
                let txn = txn(&bytes);
                assert_eq!(txn.0, zxid);
                node.log.push(txn);
                self.queue_for_disk(id, DiskOp::Append(txn));
            }
            LearnerAction::Commit(zxid) => {
                while node.log.get(node.applied).is_some_and(|txn| txn.0 <= zxid) {
                    node.applied += 1;
                }
                if learner.phase() == LearnerPhase::Following {
                    self.check_learner(id);
                }
            }
            LearnerAction::Truncate { to } => {
                node.log.retain(|txn| txn.0 <= to);
                node.applied = node.applied.min(node.log.len());
                self.queue_for_disk(id, DiskOp::Truncate(to));
            }
            LearnerAction::ReceiveSnapshot { .. } => snapshot.clear(),
            LearnerAction::InstallSnapshot { zxid } => {
                node.log = std::mem::take(snapshot);
                node.applied = node.log.len();
                let log = node.log.clone();
                self.queue_for_disk(id, DiskOp::Install(zxid, log));
            }
            LearnerAction::ConfigurationSeen { text, is_awaited } => {
                let text = std::str::from_utf8(&text).expect("a text");
                let seen = Membership::parse_text(text).expect("a configuration");
                assert!(is_awaited && seen.version == Zxid::new(learner.epoch(), 0).0, "nobody reconfigures: {text}");
                learner.configuration_saved(now);
            }
            LearnerAction::ConfigurationActivated { text, designated } => {
                let text = std::str::from_utf8(&text).expect("a text");
                let active = Membership::parse_text(text).expect("a configuration");
                assert_eq!((active.version, designated), (Zxid::new(learner.epoch(), 0).0, None));
            }
            LearnerAction::Serving { .. } => self.check_learner(id),
            LearnerAction::SyncDone => self.check_sync(id),
            LearnerAction::Revalidated { .. } => {}
            LearnerAction::TouchesWanted => learner.touches(&[(SessionId(7), 1000)]),
            LearnerAction::Abandon { want_snapshot, .. } => {
                node.want_snapshot = want_snapshot;
                self.end_term(id);
            }
        }
    }
}

/// Through the bytes, in two pieces.
fn through_wire(packet: &QuorumPacket) -> QuorumPacket {
    let mut bytes = Vec::new();
    packet.encode(&mut bytes);
    let mut reader = PacketReader::new(1 << 20);
    let (start, end) = bytes.split_at(bytes.len() / 2);
    reader.push(start);
    assert_eq!(reader.next_packet(), Ok(None));
    reader.push(end);
    reader.next_packet().expect("a packet of ours").expect("all of its bytes are there")
}
