//! Three replicas on a perfect network and perfect disks: the way through election, synchronisation and broadcast. What goes wrong
//! on bad ones is the simulator's (`tests/sim`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::*;
use crate::ids::SessionId;
use crate::latency::{Milestone, Stage};
use crate::replica::batch::ReplyKind;
use crate::replica::event::Event;
use crate::replica::message::{Connect, ConnectionId, ShardBatch, ShardItem, Write};
use crate::session::{Sessions, first_id};
use crate::time::WallTime;
use crate::tree::{self, Tree};
use crate::wire::acl::AclList;
use crate::wire::op::OpCode;
use crate::wire::request::CreateRequest;
use crate::zab::LinkId;

const CONNECTION: ConnectionId = ConnectionId { shard: 0, slot: 0, generation: 1 };

struct World {
    now: Duration,
    servers: BTreeMap<i64, Replica>,
    /// By learner: its dial, the leader, and the link there.
    links: BTreeMap<i64, (DialId, i64, LinkId)>,
    next_link: u32,
    /// Servers that are there.
    up: BTreeSet<i64>,
    /// Of these, those that stand still: what happens to them waits.
    paused: BTreeSet<i64>,
    /// What the log of each was given, and what it has room for.
    logs: BTreeMap<i64, (u64, u64)>,
    /// Tried again until the leader listens.
    dialling: BTreeMap<i64, (DialId, i64)>,
    listening: BTreeSet<i64>,
    /// Learners on whom leaders hang up at once, and how often they have done so.
    refused: BTreeMap<i64, u32>,
    events: VecDeque<(i64, Event)>,
    told: BTreeMap<i64, Vec<ToShard>>,
    /// No log reaches back to where it could be cut.
    logs_begin_late: bool,
    /// What the shards of each have heard last of how it stands.
    stood: BTreeMap<i64, Standing>,
    /// By server: where the snapshots stand that it has asked for, with the number of their sessions.
    snapshots: BTreeMap<i64, Vec<(Zxid, usize)>>,
}

fn replica(id: i64, membership: &Arc<Membership>, options: pipeline::Options, now: Now) -> Replica {
    let tree = tree::Options { hash_seed: 1, digest_enabled: true, owners: options.owners() };
    let sessions = Sessions::new(2000, first_id(ServerId(id), now.wall));
    let pipeline = Pipeline::new(options, Tree::new(tree), sessions, Zxid::ZERO);
    let options = Options {
        shards: 1,
        snapshot_txns_max: 40,
        snapshot_bytes_max: 0,
        container_check_interval_ms: 60_000,
        containers_per_minute_max: 10_000,
        seed: 1,
    };
    let ensemble = EnsembleOptions {
        my_id: ServerId(id),
        membership: membership.clone(),
        last_seen: None,
        change_rules: ChangeRules { standalone_enabled: true, multi_address: false },
        tick_ms: 2000,
        init_limit: 10,
        sync_limit: 5,
        notification_min_ms: 200,
        notification_max_ms: 60_000,
        finalize_wait_ms: 200,
        epoch_wait_max_ms: None,
        read_only_mode: true,
        local_sessions: false,
        local_session_upgrading: false,
        force_snapshot_sync: false,
        history: HistoryOptions::default(),
        packet_bytes_max: 1 << 20,
    };
    let history = History::new(HistoryOptions::default(), Zxid::ZERO);
    Replica::join(options, ensemble, pipeline, Epochs::default(), history, now)
}

/// A client's wish for a znode, and its body.
fn creation(session: SessionId, xid: i32, path: &str, data: &[u8]) -> (Vec<u8>, ShardItem) {
    let mut body = Vec::new();
    let create = CreateRequest { path: path.into(), data: Some(data), acl: AclList::OPEN, flags: 0, ttl_ms: -1 };
    create.encode(OpCode::CREATE, &mut body);
    let write = Write::alone(CONNECTION, session, xid, OpCode::CREATE, &body);
    (body, ShardItem::Write(write))
}

impl World {
    fn new() -> Self {
        Self::with("participant", pipeline::Options { reconfig_enabled: true, ..pipeline::Options::default() })
    }

    /// Server 1 in this role, and epochs of so many transactions at most.
    fn with_epochs_of(role: &str, epoch_txns_max: u32) -> Self {
        Self::with(role, pipeline::Options { epoch_txns_max, ..pipeline::Options::default() })
    }

    fn with(role: &str, options: pipeline::Options) -> Self {
        let text = format!("server.1=a:1:2:{role}\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\nversion=0");
        let membership = Arc::new(Membership::parse_text(&text).unwrap());
        let mut world = Self {
            now: Duration::ZERO,
            servers: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            up: (1..=3).collect(),
            paused: BTreeSet::new(),
            logs: (1..=3).map(|id| (id, (0, u64::MAX / 2))).collect(),
            dialling: BTreeMap::new(),
            listening: BTreeSet::new(),
            refused: BTreeMap::new(),
            events: VecDeque::new(),
            told: BTreeMap::new(),
            logs_begin_late: false,
            stood: BTreeMap::new(),
            snapshots: BTreeMap::new(),
        };
        for id in 1..=3 {
            let mut replica = replica(id, &membership, options.clone(), world.now());
            replica.handle(world.now(), Event::LogRoom { admit_through: u64::MAX / 2, full: false });
            world.servers.insert(id, replica);
        }
        world
    }

    fn now(&self) -> Now {
        Now { instant: Instant::default() + self.now, wall: WallTime(1_700_000_000_000) }
    }

    /// Lets so many milliseconds pass.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            self.now += Duration::from_millis(50);
            let now = self.now();
            for id in self.up.difference(&self.paused).copied().collect::<Vec<_>>() {
                let replica = self.servers.get_mut(&id).unwrap();
                replica.handle(now, Event::Tick);
                assert!(replica.next_timer().is_none_or(|at| at > now.instant), "server {id} would be ticked for ever");
                self.perform(id);
            }
            let listening = &self.listening;
            for (id, (dial, leader)) in self.dialling.extract_if(.., |_, (_, leader)| listening.contains(leader)) {
                if let Some(count) = self.refused.get_mut(&id) {
                    *count += 1;
                    self.events.extend([(id, Event::LeaderConnected(dial)), (id, Event::LeaderLost(dial))]);
                    continue;
                }
                self.next_link += 1;
                let link = LinkId(self.next_link);
                self.links.insert(id, (dial, leader, link));
                self.events.push_back((leader, Event::LinkOpened(link)));
                self.events.push_back((id, Event::LeaderConnected(dial)));
            }
            let mut waiting = VecDeque::new();
            while let Some((id, event)) = self.events.pop_front() {
                if self.paused.contains(&id) {
                    waiting.push_back((id, event));
                    continue;
                }
                if !self.up.contains(&id) {
                    continue;
                }
                self.servers.get_mut(&id).unwrap().handle(now, event);
                self.perform(id);
            }
            self.events = waiting;
        }
    }

    /// The log of a server has room for so much in all.
    fn room(&mut self, id: i64, admit_through: u64, full: bool) {
        self.logs.get_mut(&id).unwrap().1 = admit_through;
        self.events.push_back((id, Event::LogRoom { admit_through, full }));
        self.run(50);
    }

    fn perform(&mut self, id: i64) {
        let now = self.now();
        let replica = self.servers.get_mut(&id).unwrap();
        replica.settle(now);
        while let Some(action) = replica.poll_action() {
            match action {
                Action::Configure { .. } => self.events.push_back((id, Event::Configured)),
                Action::Append(batch) => {
                    let (given, room) = self.logs.get_mut(&id).unwrap();
                    *given += batch.cost();
                    if *given <= *room {
                        self.events.push_back((id, Event::LogDurable(batch.last())));
                    }
                }
                Action::SaveEpochs { .. } => self.events.push_back((id, Event::EpochsSaved)),
                Action::ToShard(_, message) => {
                    if let ToShard::Standing(standing, _) = &message {
                        self.stood.insert(id, *standing);
                    }
                    self.told.entry(id).or_default().push(message);
                }
                Action::Notify { to, bytes } => {
                    self.events.push_back((to.0, Event::Notification { from: ServerId(id), bytes: bytes.to_vec() }));
                }
                Action::Listen(true) => drop(self.listening.insert(id)),
                Action::Listen(false) => {
                    self.listening.remove(&id);
                    for (learner, (dial, ..)) in self.links.extract_if(.., |_, (_, leader, _)| *leader == id) {
                        self.events.push_back((learner, Event::LeaderLost(dial)));
                    }
                }
                Action::Dial(dial, leader) => drop(self.dialling.insert(id, (dial, leader.0))),
                // It was hung up on meanwhile.
                Action::ToLeader(..) if self.refused.contains_key(&id) => {}
                Action::ToLeader(dial, bytes) => {
                    let (_, leader, link) = self.links[&id];
                    assert_eq!(self.links[&id].0, dial);
                    // Torn, as on a real link.
                    let (head, tail) = bytes.split_at(bytes.len() / 2);
                    self.events.push_back((leader, Event::LinkBytes(link, head.to_vec())));
                    self.events.push_back((leader, Event::LinkBytes(link, tail.to_vec())));
                }
                Action::ToLink(link, bytes) => {
                    // One whose other end has hung up while this server was away takes nothing.
                    let Some((learner, (dial, ..))) = self.links.iter().find(|(_, (.., other))| *other == link) else {
                        continue;
                    };
                    let (head, tail) = bytes.split_at(bytes.len() / 3);
                    self.events.push_back((*learner, Event::LeaderBytes(*dial, head.to_vec())));
                    self.events.push_back((*learner, Event::LeaderBytes(*dial, tail.to_vec())));
                }
                Action::CloseLink(link) => {
                    for (learner, (dial, ..)) in self.links.extract_if(.., |_, (.., other)| *other == link) {
                        self.events.push_back((learner, Event::LeaderLost(dial)));
                    }
                }
                Action::HangUp(_) => {
                    if let Some((_, leader, link)) = self.links.remove(&id) {
                        self.events.push_back((leader, Event::LinkClosed(link)));
                    }
                }
                Action::Snapshot { version, sessions } => {
                    self.snapshots.entry(id).or_default().push((version.zxid(), sessions.len()));
                    self.events.push_back((id, Event::SnapshotDone(version.zxid())));
                }
                Action::SnapshotToLink { link, version, sessions } => {
                    let mut writer = crate::storage::apache::SnapWriter::new(version, sessions);
                    let mut bytes = Vec::new();
                    while writer.fill(&mut bytes, usize::MAX) {}
                    let (learner, (dial, ..)) = self.links.iter().find(|(_, (.., other))| *other == link).unwrap();
                    self.events.push_back((*learner, Event::LeaderBytes(*dial, bytes)));
                }
                Action::Install { version, .. } => {
                    self.events.push_back((id, Event::Installed(version.zxid())));
                    self.events.push_back((id, Event::LogRoom { admit_through: u64::MAX / 2, full: false }));
                }
                Action::Truncate(_) if self.logs_begin_late => self.events.push_back((id, Event::TruncateImpossible)),
                Action::Truncate(_) => panic!("there is nothing to truncate"),
            }
        }
    }

    fn standings(&self) -> Vec<Standing> {
        self.servers.values().map(Replica::standing).collect()
    }

    /// What a client of this server asks for, and all the answers it gets.
    fn ask(&mut self, id: i64, item: ShardItem, bodies: Vec<u8>) -> Vec<(ReplyKind, Vec<u8>)> {
        self.told.clear();
        let now = self.now();
        self.servers.get_mut(&id).unwrap().handle(now, Event::Shard(ShardBatch { bodies, items: vec![item] }));
        self.perform(id);
        self.run(200);
        self.answers(id)
    }

    /// What its shard was told since the last time.
    fn answers(&mut self, id: i64) -> Vec<(ReplyKind, Vec<u8>)> {
        let mut replies = Vec::new();
        for message in self.told.remove(&id).unwrap_or_default() {
            if let ToShard::Published(published) = message {
                for segment in &published.segments {
                    replies.extend(segment.replies[0].iter().map(|reply| (reply.kind.clone(), segment.frames.clone())));
                }
            }
        }
        replies
    }

    fn open_session(&mut self, id: i64) -> SessionId {
        self.open_session_for(id, 30_000)
    }

    fn open_session_for(&mut self, id: i64, timeout_ms: i32) -> SessionId {
        let connect = Connect::anew(CONNECTION, timeout_ms);
        match self.ask(id, ShardItem::Connect(connect), Vec::new()).as_slice() {
            [(ReplyKind::Opened { session, .. }, _)] => *session,
            other => panic!("no session on server {id}: {other:?}"),
        }
    }

    /// Server 3, which leads, does this alone, and is gone; the others elect 2.
    fn leave_behind(&mut self, bodies: Vec<u8>, item: ShardItem) {
        self.up = BTreeSet::from([3]);
        let now = self.now();
        self.servers.get_mut(&3).unwrap().handle(now, Event::Shard(ShardBatch { bodies, items: vec![item] }));
        self.run(500);
        self.up = BTreeSet::from([1, 2]);
        for id in [1, 2] {
            let dial = self.links.remove(&id).unwrap().0;
            self.events.push_back((id, Event::LeaderLost(dial)));
        }
        self.run(5_000);
        assert_eq!(self.standings()[1], Standing::Leading);
    }

    /// Server 2 loses all its followers and its office, and then nobody but 3 is there, whose log cannot be cut.
    fn leave_two(&mut self) {
        self.logs_begin_late = true;
        self.up = BTreeSet::from([2]);
        self.run(30_000);
        assert_ne!(self.standings()[1], Standing::Leading, "it has lost its followers");
        self.up = BTreeSet::from([2, 3]);
        self.run(5_000);
        assert_eq!(self.standings()[1..], [Standing::Leading, Standing::Following]);
    }

    fn create(&mut self, id: i64, session: SessionId, xid: i32, path: &str) {
        let (body, item) = creation(session, xid, path, b"data");
        let replies = self.ask(id, item, body);
        let [(ReplyKind::Answer(frame), frames)] = replies.as_slice() else {
            panic!("no answer from server {id}: {replies:?}")
        };
        let header = &frames[frame.clone()][4..20];
        assert_eq!(header[..4], xid.to_be_bytes(), "the answer is to the request");
        assert_eq!(header[12..], [0; 4], "server {id} has refused to create {path}");
    }
}

#[test]
fn three_servers_elect_one_and_all_hold_what_any_of_them_is_asked_to_write() {
    let mut world = World::new();
    world.run(2_000);
    assert_eq!(world.standings(), [Standing::Following, Standing::Following, Standing::Leading]);
    for id in 1..=3 {
        let session = world.open_session(id);
        world.create(id, session, 1, &format!("/of-{id}"));
    }
    world.run(1_000);
    let count = |id: i64, stage| world.servers[&id].stats.stages.get(stage).map_or(0, |values| values.tally().count);
    let queued: Vec<_> = (1..=3).map(|id| count(id, Stage::Queue)).collect();
    assert_eq!(queued, [2; 3], "each server's own client asked for a session and for a znode");
    let quorum: Vec<_> = (1..=3).map(|id| count(id, Stage::Quorum)).collect();
    assert_eq!(quorum, [2, 2, 6], "followers wait for what their clients asked for, the leader for all");
    let reached = |id: i64, milestone| {
        world.servers[&id].stats.milestones.get(milestone).map_or(0, |values| values.tally().count)
    };
    for id in 1..=3 {
        let told = Milestone::ALL.iter().map(|milestone| reached(id, *milestone)).collect::<Vec<_>>();
        // Proposed, acknowledged, committed, heard of the commit, applied.
        assert_eq!(told, if id == 3 { [0, 6, 6, 0, 6] } else { [6, 0, 0, 6, 6] }, "server {id}");
    }
    let digests: Vec<_> = world.servers.values().map(|replica| replica.published_version().digest()).collect();
    let zxids: Vec<_> = world.servers.values().map(|replica| replica.published_version().zxid()).collect();
    assert_eq!(zxids, [Zxid::new(Epoch(1), 6); 3]);
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:x?}");
    for replica in world.servers.values() {
        assert_eq!(replica.pipeline.sessions().len(), 3, "sessions are everywhere");
        for id in 1..=3 {
            assert!(replica.published_version().znode(&format!("/of-{id}")).is_some());
        }
    }
}

#[test]
fn zookeeper_3526_without_a_leader_those_who_only_read_are_served_and_with_one_all_are() {
    let mut world = World::new();
    world.up = BTreeSet::from([1]);
    world.run(1_500);
    assert_eq!(world.standings()[0], Standing::Looking, "it looks for a leader first");
    world.run(1_500);
    assert_eq!(world.standings()[0], Standing::ReadOnly);
    let session = world.open_session(1);
    let mut body = Vec::new();
    let create = CreateRequest { path: "/a".into(), data: None, acl: AclList::OPEN, flags: 0, ttl_ms: -1 };
    create.encode(OpCode::CREATE, &mut body);
    let write = Write::alone(CONNECTION, session, 1, OpCode::CREATE, &body);
    let replies = world.ask(1, ShardItem::Write(write), body);
    let [(ReplyKind::Answer(frame), frames)] = replies.as_slice() else { panic!("no answer: {replies:?}") };
    assert_eq!(frames[frame.clone()][16..20], (-119_i32).to_be_bytes(), "NOTREADONLY");
    // 3526: nothing of this is history that a learner could be sent, or that could be voted with.
    let ensemble = world.servers[&1].ensemble.as_ref().unwrap();
    assert_eq!((ensemble.history.last_record(), ensemble.log_end), (Zxid::ZERO, Zxid::ZERO));

    world.up = BTreeSet::from([1, 2, 3]);
    world.told.clear();
    world.run(70_000);
    assert_eq!(world.standings().iter().filter(|standing| **standing == Standing::Leading).count(), 1);
    let told = &world.told[&1];
    let stood: Vec<_> = told
        .iter()
        .filter_map(|message| if let ToShard::Standing(standing, _) = message { Some(*standing) } else { None })
        .collect();
    assert_eq!(stood[0], Standing::Looking, "its clients are closed before it serves all: {stood:?}");
    assert!(matches!(stood.last(), Some(Standing::Leading | Standing::Following)), "{stood:?}");
    let session = world.open_session(1);
    world.create(1, session, 1, "/a");
}

/// A follower's log and an observer's grow like the leader's: without snapshots nothing of them could ever be purged, and a
/// restart would take ever longer.
#[test]
fn every_member_writes_snapshots_whoever_leads() {
    let mut world = World::new();
    world.run(2_000);
    let session = world.open_session(3);
    for number in 1..=100 {
        world.create(3, session, number, &format!("/{number}"));
    }
    world.run(1_000);
    for id in 1..=3 {
        let written = world.snapshots.get(&id).map_or(&[][..], Vec::as_slice);
        assert!(written.len() >= 2, "server {id} has written {written:?} in 101 transactions");
        assert!(written.iter().all(|(zxid, sessions)| zxid.epoch() == Epoch(1) && *sessions == 1), "{written:?}");
    }
}

/// A leader that lays down its office between the begin of a snapshot and the decision on its version writes the next one.
#[test]
fn a_snapshot_that_was_lost_with_the_office_does_not_keep_the_next_from_being_written() {
    let mut world = World::new();
    world.run(2_000);
    let session = world.open_session(3);
    for number in 1..=20 {
        world.create(3, session, number, &format!("/{number}"));
    }
    // Nobody acknowledges any more, and the leader goes on until it is alone for too long.
    world.up = BTreeSet::from([3]);
    for number in 21..=60 {
        let (bodies, item) = creation(session, number, &format!("/{number}"), b"data");
        let now = world.now();
        let replica = world.servers.get_mut(&3).unwrap();
        replica.handle(now, Event::Shard(ShardBatch { bodies, items: vec![item] }));
        replica.settle(now);
        if replica.snapshot_running {
            break;
        }
    }
    assert!(world.servers[&3].snapshot_running, "one is begun");
    world.run(20_000);
    assert_eq!(world.servers[&3].standing(), Standing::ReadOnly);
    assert!(!world.servers[&3].snapshot_running, "it will never be done, and keeps the next from being begun");
    assert!(
        world.servers[&3].trigger.is_due(),
        "the next one is begun with what comes next, not so many records later"
    );
}

/// In an ensemble the others may decide before this server's own disk has it: a snapshot of what is not in the log yet would leave
/// a log that ends before its snapshot.
#[test]
fn no_snapshot_is_begun_of_what_the_servers_own_log_does_not_have() {
    for id in [1, 3] {
        let mut world = World::new();
        world.run(2_000);
        let session = world.open_session(3);
        // It takes what it is given, and says no more when it has it.
        let given = world.logs[&id].0;
        world.logs.get_mut(&id).unwrap().1 = given;
        // Not for so long that the leader gives it up.
        for number in 1..=42 {
            world.create(3, session, number, &format!("/{number}"));
        }
        let server = &world.servers[&id];
        assert!(server.snapshot_waiting.is_some(), "server {id} has decided on one");
        assert_eq!(world.snapshots.get(&id), None, "server {id}");
        let last = server.ensemble.as_ref().unwrap().log_end;
        world.logs.get_mut(&id).unwrap().1 = u64::MAX / 2;
        world.events.push_back((id, Event::LogDurable(last)));
        world.run(200);
        let (zxid, _) = world.snapshots[&id][0];
        assert!(zxid <= last, "server {id}: {zxid}");
    }
}

/// A leader that is paused or cut off does not know that there may be another one: what it answers a `sync` with has to be the newest
/// state there is, so it asks the others first, even where nothing was written.
#[test]
fn a_sync_waits_until_a_quorum_says_that_this_server_still_leads() {
    let mut world = World::new();
    world.run(2_000);
    let session = world.open_session(3);
    let sync = |xid| {
        let mut body = 1_i32.to_be_bytes().to_vec();
        body.extend_from_slice(b"/");
        let write = Write::alone(CONNECTION, session, xid, OpCode::SYNC, &body);
        (ShardItem::Write(write), body)
    };
    let (item, body) = sync(1);
    assert_eq!(world.ask(3, item, body).len(), 1, "with all there it is answered");
    world.paused = BTreeSet::from([1, 2]);
    let (item, body) = sync(2);
    assert_eq!(world.ask(3, item, body), [], "nobody has said so since it came");
    world.paused = BTreeSet::from([1]);
    world.run(200);
    assert_eq!(world.answers(3).len(), 1);
}

/// 1277: the end of an epoch may come in the middle of anything that takes several transactions at once.
#[test]
fn zookeeper_1277_an_epoch_that_ends_among_expired_sessions_ends_the_office_and_nothing_else() {
    for left in 0..3 {
        let mut world = World::with_epochs_of("participant", 5 + left);
        world.run(2_000);
        let sessions: Vec<_> = (0..4).map(|_| world.open_session_for(3, 4_000)).collect();
        world.run(20_000);
        assert_eq!(world.standings().iter().filter(|standing| **standing == Standing::Leading).count(), 1);
        for replica in world.servers.values() {
            assert!(replica.published_version().zxid() >= Zxid::new(Epoch(2), 1), "a new epoch has begun");
            let live = sessions.iter().filter(|session| replica.pipeline.sessions().is_live(**session)).count();
            assert_eq!(live, 0, "with {left} zxids left, the rest ends in the next epoch");
        }
    }
}

/// An observer owes nobody an acknowledgement, so no leader gives it up when its disk is full: it has to know itself when it holds
/// too much in memory.
#[test]
fn an_observer_with_a_full_disk_stands_down_before_it_holds_too_much() {
    let mut world = World::with_epochs_of("observer", u32::MAX);
    world.run(2_000);
    assert_eq!(world.standings(), [Standing::Observing, Standing::Following, Standing::Leading]);
    world.room(1, 0, true);
    let session = world.open_session(3);
    let data = vec![1; 900 << 10];
    let mut held_max = 0;
    for number in 1..=170 {
        let (body, item) = creation(session, number, &format!("/{number}"), &data);
        world.ask(3, item, body);
        held_max =
            held_max.max(world.servers[&1].ensemble.as_ref().unwrap().held.iter().map(|(batch, _)| batch.cost()).sum());
    }
    assert!((100 << 20..=140 << 20).contains(&held_max), "it holds {held_max} bytes");
    assert_eq!(world.servers[&1].standing(), Standing::Looking, "it votes for nobody before its log is durable");
    let (given, _) = world.logs[&1];
    assert!(given >= held_max, "what was applied is the log's to take");
    world.room(1, u64::MAX / 2, false);
    let last = world.servers[&1].ensemble.as_ref().unwrap().log_end;
    world.events.push_back((1, Event::LogDurable(last)));
    world.run(5_000);
    assert_eq!(world.servers[&1].standing(), Standing::Observing);
    assert_eq!(world.servers[&1].published_version().digest(), world.servers[&3].published_version().digest());
}

/// Batches that wait for room are few, however many turns they came in: the log's inbox is as long as it is.
#[test]
fn what_waits_for_room_waits_together() {
    let mut world = World::with_epochs_of("observer", u32::MAX);
    world.run(2_000);
    world.room(1, 0, true);
    let session = world.open_session(3);
    for number in 1..=100 {
        world.create(3, session, number, &format!("/{number}"));
    }
    let held = world.servers[&1].ensemble.as_ref().unwrap().held.len();
    assert!(held <= 2, "{held} batches wait");
    world.room(1, u64::MAX / 2, false);
    world.run(1_000);
    assert_eq!(world.servers[&1].ensemble.as_ref().unwrap().log_durable, world.servers[&3].published);
}

/// A leader hears of its followers' clients when they answer its pings. After a pause of its own it has heard of nobody for that
/// long, and must not take that for their silence.
#[test]
fn a_pause_of_the_leader_ends_no_session_whose_client_a_follower_hears() {
    for pause in [3_000, 6_000, 8_000] {
        let mut world = World::new();
        world.run(2_000);
        let session = world.open_session_for(1, 4_000);
        let hear = |world: &mut World, ms: u64| {
            for _ in 0..ms / 500 {
                let at = world.now().instant;
                let items = vec![ShardItem::Heard { session, at }];
                world.events.push_back((1, Event::Shard(ShardBatch { bodies: Vec::new(), items })));
                world.run(500);
            }
        };
        hear(&mut world, 10_000);
        world.paused.insert(3);
        hear(&mut world, pause);
        world.paused.clear();
        hear(&mut world, 10_000);
        assert_eq!(world.standings(), [Standing::Following, Standing::Following, Standing::Leading]);
        assert!(world.servers[&3].pipeline.sessions().is_live(session), "after {pause} ms");
        world.run(10_000);
        assert!(!world.servers[&3].pipeline.sessions().is_live(session), "silent for good");
    }
}

/// What learners forward while a leader's log has no room waits; a learner that sends without end is cut off.
#[test]
fn forwarded_requests_that_wait_for_room_are_bounded() {
    let mut world = World::new();
    world.run(2_000);
    let session = world.open_session(1);
    world.room(3, 0, true);
    let (_, _, link) = world.links[&1];
    let body = Bytes::from(vec![0; 900 << 10]);
    let mut packet = Vec::new();
    let request = crate::wire::quorum::ForwardedRequest { session, cxid: 1, op: OpCode::SET_DATA, body };
    let kind = crate::wire::quorum::PacketType::REQUEST;
    crate::wire::quorum::QuorumPacket::with_data(kind, Zxid(-1), request.to_bytes()).encode(&mut packet);
    let now = world.now();
    let replica = world.servers.get_mut(&3).unwrap();
    let mut waiting_max = 0;
    for _ in 0..200 {
        replica.handle(now, Event::LinkBytes(link, packet.clone()));
        waiting_max = waiting_max.max(replica.stalled.len());
    }
    assert!(waiting_max * (900 << 10) <= 80 << 20, "{waiting_max} requests wait");
    let is_closed = std::iter::from_fn(|| replica.poll_action()).any(|action| matches!(action, Action::CloseLink(_)));
    assert!(is_closed);
    assert!(replica.stalled.is_empty(), "nobody waits for their answers any more");
}

/// A client asks through one learner, goes to another one and comes back. What it had asked for first comes to the leader when it has gone,
/// and waits there for room until it is back: its session has moved for it all the same (the simulator's seed 196353).
#[test]
fn what_waits_for_room_when_its_session_has_moved_is_refused_though_the_session_comes_back() {
    let mut world = World::new();
    world.run(2_000);
    let session = world.open_session(1);
    let (_, _, first) = world.links[&1];
    let (_, _, second) = world.links[&2];
    let packet = |kind, data| {
        let mut packet = Vec::new();
        crate::wire::quorum::QuorumPacket::with_data(kind, Zxid(-1), data).encode(&mut packet);
        packet
    };
    let (body, item) = creation(session, 7, "/late", b"data");
    let ShardItem::Write(write) = item else { panic!("a creation is a write") };
    let body = Bytes::from(body[write.body].to_vec());
    let request = crate::wire::quorum::ForwardedRequest { session, cxid: 7, op: OpCode::CREATE, body };
    let late = packet(crate::wire::quorum::PacketType::REQUEST, request.to_bytes());
    let revalidate = || {
        let data = crate::wire::quorum::revalidate_to_bytes(session, 30_000);
        packet(crate::wire::quorum::PacketType::REVALIDATE, data)
    };
    let now = world.now();
    for is_late in [true, false] {
        world.room(3, 0, true);
        let leader = world.servers.get_mut(&3).unwrap();
        if is_late {
            leader.handle(now, Event::LinkBytes(second, revalidate()));
        }
        leader.handle(now, Event::LinkBytes(first, late.clone()));
        assert_eq!(leader.stalled.len(), 1, "it waits for room");
        leader.handle(now, Event::LinkBytes(first, revalidate()));
        world.room(3, u64::MAX, false);
        world.run(500);
        let leader = &world.servers[&3];
        assert!(leader.stalled.is_empty());
        let is_done = leader.pipeline.view().znode("/late").is_some();
        assert_eq!(is_done, !is_late, "what did not come late is done");
    }
}

/// 2845: what a leader had proposed and nobody took is in its memory and its log when it comes back, and neither may keep it.
#[test]
fn zookeeper_2845_what_only_an_earlier_leader_has_goes_when_it_follows() {
    let mut world = World::new();
    world.run(2_000);
    let session = world.open_session(3);
    world.create(3, session, 1, "/kept");
    let (bodies, item) = creation(session, 2, "/lost", b"data");
    world.leave_behind(bodies, item);
    assert!(world.servers[&3].pipeline.view().znode("/lost").is_some(), "it has decided so");
    assert!(world.servers[&3].published_version().znode("/lost").is_none(), "and nobody has seen it");
    let session = world.open_session(2);
    world.create(2, session, 1, "/new");
    world.up = BTreeSet::from([1, 2, 3]);
    world.run(70_000);
    assert_eq!(world.standings(), [Standing::Following, Standing::Leading, Standing::Following]);
    let tree = world.servers[&3].pipeline.view();
    assert!(tree.znode("/lost").is_none() && tree.znode("/kept").is_some() && tree.znode("/new").is_some());
    assert_eq!(tree.digest(), world.servers[&2].pipeline.view().digest());
}

/// A log that does not reach back to where the leader wants it cut has to be replaced. Its server must not look for another leader
/// with that wish: without its true history the only other one that is left would never have a quorum (seed 452268).
#[test]
fn a_log_that_cannot_be_cut_is_replaced_though_only_two_are_left() {
    let mut world = World::new();
    world.run(2_000);
    let session = world.open_session(3);
    world.create(3, session, 1, "/kept");
    let (bodies, item) = creation(session, 2, "/lost", b"data");
    world.leave_behind(bodies, item);
    world.leave_two();
    let tree = world.servers[&3].pipeline.view();
    assert!(tree.znode("/lost").is_none() && tree.znode("/kept").is_some());
    assert_eq!(tree.digest(), world.servers[&2].pipeline.view().digest());
}

/// The same where the leader has nothing at all: to hide a history must not look like having none.
#[test]
fn a_log_that_cannot_be_cut_is_replaced_by_the_state_of_a_leader_that_has_none() {
    let mut world = World::new();
    world.run(2_000);
    assert_eq!(world.standings()[2], Standing::Leading);
    // The first that is ever written comes to nobody else.
    world.leave_behind(Vec::new(), ShardItem::Connect(Connect::anew(CONNECTION, 30_000)));
    world.leave_two();
}

/// 4541, 4712, 4502: whoever leaves a role still has records on their way to its disk. It votes with what it has applied only when
/// its log has that, too.
#[test]
fn zookeeper_4541_4712_4502_nobody_votes_before_the_log_has_what_was_applied() {
    let mut world = World::new();
    world.run(2_000);
    let session = world.open_session(3);
    world.create(3, session, 1, "/a");
    // The log of server 1 takes what it is given, and says no more when it has it.
    let given = world.logs[&1].0;
    world.logs.get_mut(&1).unwrap().1 = given;
    world.create(3, session, 2, "/b");
    world.run(500);
    let server = &world.servers[&1];
    assert!(server.pipeline.view().znode("/b").is_some(), "the others have decided it");
    world.up = BTreeSet::from([1, 2]);
    for id in [1, 2] {
        let dial = world.links.remove(&id).unwrap().0;
        world.events.push_back((id, Event::LeaderLost(dial)));
    }
    world.run(30_000);
    let ensemble = world.servers[&1].ensemble.as_ref().unwrap();
    assert!(matches!(ensemble.role, Role::Settling), "it is not in the election");
    assert!(ensemble.log_durable < ensemble.log_end);
    assert_ne!(world.standings()[1], Standing::Leading, "nobody can lead without its vote");
    let last = ensemble.log_end;
    world.logs.get_mut(&1).unwrap().1 = u64::MAX / 2;
    world.events.push_back((1, Event::LogDurable(last)));
    world.run(70_000);
    assert_eq!(world.standings()[..2], [Standing::Following, Standing::Leading]);
}

/// Whoever connects to the quorum port can announce a packet of any length that is allowed: it costs what has come, and little of it.
#[test]
fn a_stranger_at_the_quorum_port_holds_little_memory() {
    let mut world = World::new();
    world.run(2_000);
    let now = world.now();
    let replica = world.servers.get_mut(&3).unwrap();
    let link = LinkId(999);
    replica.handle(now, Event::LinkOpened(link));
    let mut packet = Vec::new();
    let data = Bytes::from(vec![0; 900 << 10]);
    let kind = crate::wire::quorum::PacketType::FOLLOWERINFO;
    crate::wire::quorum::QuorumPacket::with_data(kind, Zxid::ZERO, data).encode(&mut packet);
    let mut taken = 0;
    for piece in packet.chunks(16 << 10) {
        replica.handle(now, Event::LinkBytes(link, piece.to_vec()));
        taken += piece.len();
        if std::iter::from_fn(|| replica.poll_action()).any(|action| matches!(action, Action::CloseLink(LinkId(999)))) {
            break;
        }
    }
    assert!(taken <= 128 << 10, "closed after {taken} bytes");
}

mod full_disk;
mod reconfig;

#[test]
fn a_learner_on_whom_its_leader_hangs_up_does_not_come_again_all_the_time() {
    let mut world = World::new();
    world.run(2_000);
    world.open_session(1);
    let (dial, leader, link) = world.links.remove(&1).expect("it follows");
    world.events.extend([(1, Event::LeaderLost(dial)), (leader, Event::LinkClosed(link))]);
    world.refused.insert(1, 0);
    world.run(30_000);
    assert_eq!(world.standings(), [Standing::Looking, Standing::Following, Standing::Leading]);
    let often = world.refused[&1];
    // About once a second, and more often at first; without a pause it is each time that the world turns, 600 times.
    assert!((25..=60).contains(&often), "{often} times");
    world.refused.clear();
    world.run(2_000);
    assert_eq!(world.standings(), [Standing::Following, Standing::Following, Standing::Leading]);
}
