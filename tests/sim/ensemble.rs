//! What servers have to do with each other: votes, dials, and the links between a leader and its learners.

use std::sync::Arc;

use zoo_server::ids::{ServerId, SessionId};
use zoo_server::quorum::{ChangeRules, Membership};
use zoo_server::replica::EnsembleOptions;
use zoo_server::replica::event::{DialId, Event, LinkId};
use zoo_server::storage::apache::SnapWriter;
use zoo_server::tree::Version;
use zoo_server::zab::HistoryOptions;

use crate::network::{End, server_id};
use crate::plan::Plan;
use crate::world::{Due, World};

/// `initLimit` and `syncLimit`.
const INIT_LIMIT: u32 = 10;
const SYNC_LIMIT: u32 = 5;

/// The configuration that the ensemble begins with.
pub fn first_membership(plan: &Plan) -> Membership {
    let mut text = String::new();
    for other in 0..plan.servers() {
        let role = if other < plan.participants { "participant" } else { "observer" };
        text += &format!("server.{}=h{other}:2888:3888:{role}\n", server_id(other).0);
    }
    text += "version=0";
    Membership::parse_text(&text).expect("a membership of this form")
}

/// How a server takes part.
pub fn options(plan: &Plan, server: usize) -> EnsembleOptions {
    let membership = first_membership(plan);
    EnsembleOptions {
        my_id: server_id(server),
        membership: Arc::new(membership),
        last_seen: None,
        change_rules: ChangeRules { standalone_enabled: true, multi_address: false },
        tick_ms: plan.tick_ms,
        init_limit: INIT_LIMIT,
        sync_limit: SYNC_LIMIT,
        notification_min_ms: 100,
        notification_max_ms: 1600,
        finalize_wait_ms: plan.finalize_wait_ms,
        epoch_wait_max_ms: None,
        read_only_mode: false,
        local_sessions: false,
        local_session_upgrading: false,
        force_snapshot_sync: plan.force_snapshot_sync,
        history: history_options(plan),
        packet_bytes_max: 1 << 20,
    }
}

/// So few that a learner which was away needs a whole state at times.
pub fn history_options(plan: &Plan) -> HistoryOptions {
    HistoryOptions { bytes_max: 1 << 20, count_max: plan.history_max, count_min: 1 }
}

const fn index_of(server: ServerId) -> usize {
    (server.0 - 1) as usize
}

impl World {
    /// A server tells its vote.
    pub fn notify(&mut self, from: usize, to: ServerId, bytes: Arc<[u8]>) {
        let to = index_of(to);
        let slot = self.network.votes.entry((from, to)).or_default();
        slot.waiting = Some(bytes);
        if !std::mem::replace(&mut slot.is_due, true) {
            let delay = self.latency();
            self.at(delay, Due::Vote { from, to });
        }
    }

    pub fn vote_arrives(&mut self, from: usize, to: usize) {
        let is_cut = self.random.one_in(50);
        let (sender, receiver) = (&self.servers[from], &self.servers[to]);
        let is_there = receiver.process.is_some() && receiver.paused_until <= self.now;
        let can_pass = is_there && sender.process.is_some() && !self.network.is_blocked(from, to) && !is_cut;
        let Some(slot) = self.network.votes.get_mut(&(from, to)) else { return };
        if slot.waiting.is_none() {
            slot.is_due = false;
            return;
        }
        if !can_pass {
            let again = self.random.between(20_000, 300_000);
            return self.at(again, Due::Vote { from, to });
        }
        slot.is_due = false;
        let bytes = slot.waiting.take().expect("it was there just now");
        slot.sent = Some(bytes.clone());
        self.trace(|| {
            format!("vote of {from} to {to}: {:?}", zoo_server::wire::election::Notification::decode(&bytes))
        });
        self.tell_replica(to, Event::Notification { from: server_id(from), bytes: bytes.to_vec() });
    }

    /// A server has been started: the others connect to it anew, and send their last votes again.
    pub fn votes_again(&mut self, server: usize) {
        let pairs: Vec<(usize, usize)> = self.network.votes.keys().copied().filter(|(_, to)| *to == server).collect();
        for (from, to) in pairs {
            let Some(slot) = self.network.votes.get_mut(&(from, to)) else { continue };
            if slot.waiting.is_none() {
                slot.waiting = slot.sent.clone();
            }
            if slot.waiting.is_some() && !std::mem::replace(&mut slot.is_due, true) {
                let delay = self.random.between(1_000, 300_000);
                self.at(delay, Due::Vote { from, to });
            }
        }
    }

    /// A server wants to reach its leader.
    pub fn begin_dial(&mut self, server: usize, dial: DialId, target: ServerId) {
        let life = self.servers[server].life;
        if let Some(process) = self.process(server) {
            process.dials.insert(dial, None);
            let delay = self.latency();
            self.at(delay, Due::Dial { server, life, dial, target, attempt: 1 });
        }
    }

    pub fn dial(&mut self, server: usize, dial: DialId, target: ServerId, attempt: u32) {
        let life = self.servers[server].life;
        if self.process(server).is_none_or(|process| process.dials.get(&dial) != Some(&None)) {
            return;
        }
        let leader = index_of(target);
        let is_open = self.servers[leader].process.as_ref().is_some_and(|process| process.is_listening);
        if !is_open || !self.network.can_connect(server, leader) {
            // As Apache's learners: so long as `initLimit` allows for.
            let attempts = INIT_LIMIT * self.plan.tick_ms / 100;
            if attempt < attempts {
                return self.at(100_000, Due::Dial { server, life, dial, target, attempt: attempt + 1 });
            }
            self.process(server).expect("it dials").dials.remove(&dial);
            return self.tell_replica(server, Event::LeaderLost(dial));
        }
        let leader_life = self.servers[leader].life;
        let process = self.process(leader).expect("it listens");
        process.next_link += 1;
        let link = LinkId(process.next_link);
        let ends = [End::Learner { server, life, dial }, End::Leader { server: leader, life: leader_life, link }];
        let stream = self.network.open(ends, [server, leader]);
        self.process(leader).expect("it listens").links.insert(link, stream);
        self.process(server).expect("it dials").dials.insert(dial, Some(stream));
        self.trace(|| format!("server {server} connects to {leader}, {link:?}, {dial:?}"));
        self.tell_replica(leader, Event::LinkOpened(link));
        self.tell_replica(server, Event::LeaderConnected(dial));
    }

    pub fn say_to_leader(&mut self, server: usize, dial: DialId, bytes: Vec<u8>) {
        let stream = self.process(server).and_then(|process| process.dials.get(&dial).copied().flatten());
        if let Some(stream) = stream {
            self.send(stream, 0, bytes);
        }
    }

    pub fn hang_up(&mut self, server: usize, dial: DialId) {
        if let Some(Some(stream)) = self.process(server).and_then(|process| process.dials.remove(&dial)) {
            self.close(stream, 0);
        }
    }

    pub fn say_to_link(&mut self, server: usize, link: LinkId, bytes: Vec<u8>) {
        let stream = self.process(server).and_then(|process| process.links.get(&link).copied());
        if let Some(stream) = stream {
            self.send(stream, 1, bytes);
        }
    }

    /// For the observer: what the state is made of that goes to a learner.
    pub fn lineage_to_link(&mut self, server: usize, link: LinkId) {
        let stream = self.process(server).and_then(|process| process.links.get(&link).copied());
        let stream = stream.and_then(|stream| self.network.streams.get(&stream));
        if let Some(learner) = stream.map(|stream| stream.machines[0]) {
            self.ledger.truths[learner].sent = self.ledger.truths[server].records.clone();
        }
    }

    /// A whole state as a learner reads it.
    pub fn snapshot_stream(&self, version: &Version, sessions: Vec<(SessionId, i32)>) -> Vec<u8> {
        let mut writer = SnapWriter::new(version.clone(), sessions);
        let mut bytes = Vec::new();
        while writer.fill(&mut bytes, usize::MAX) {}
        bytes
    }

    pub fn close_link(&mut self, server: usize, link: LinkId) {
        if let Some(stream) = self.process(server).and_then(|process| process.links.remove(&link)) {
            self.close(stream, 1);
        }
    }

    pub fn listen(&mut self, server: usize, is_listening: bool) {
        let Some(process) = self.process(server) else { return };
        process.is_listening = is_listening;
        if !is_listening {
            let links: Vec<LinkId> = process.links.keys().copied().collect();
            links.into_iter().for_each(|link| self.close_link(server, link));
        }
    }
}
