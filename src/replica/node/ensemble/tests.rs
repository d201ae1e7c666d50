//! Three replicas on a perfect network and perfect disks: the way through election, synchronisation and broadcast. What goes wrong
//! on bad ones is the simulator's (`tests/sim`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::*;
use crate::ids::SessionId;
use crate::replica::batch::ReplyKind;
use crate::replica::event::Event;
use crate::replica::message::{Connect, ConnectionId, ShardBatch, ShardItem, Write};
use crate::session::{Sessions, first_id};
use crate::time::WallTime;
use crate::tree::{self, Tree};
use crate::wire::acl::AclList;
use crate::wire::header::Xid;
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
    /// Tried again until the leader listens.
    dialling: BTreeMap<i64, (DialId, i64)>,
    listening: BTreeSet<i64>,
    events: VecDeque<(i64, Event)>,
    told: BTreeMap<i64, Vec<ToShard>>,
}

fn replica(id: i64, membership: &Arc<Membership>, reconfig_enabled: bool, now: Now) -> Replica {
    let options = pipeline::Options { reconfig_enabled, ..pipeline::Options::default() };
    let tree = tree::Options { hash_seed: 1, digest_enabled: true, owners: options.owners() };
    let sessions = Sessions::new(2000, first_id(ServerId(id), now.wall));
    let pipeline = Pipeline::new(options, Tree::new(tree), sessions, Zxid::ZERO);
    let options = Options {
        shards: 1,
        snapshot_txns_max: 1000,
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

impl World {
    fn new() -> Self {
        Self::with(true)
    }

    fn with(reconfig_enabled: bool) -> Self {
        let text = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\nversion=0";
        let membership = Arc::new(Membership::parse_text(text).unwrap());
        let mut world = Self {
            now: Duration::ZERO,
            servers: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            up: (1..=3).collect(),
            dialling: BTreeMap::new(),
            listening: BTreeSet::new(),
            events: VecDeque::new(),
            told: BTreeMap::new(),
        };
        for id in 1..=3 {
            let mut replica = replica(id, &membership, reconfig_enabled, world.now());
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
            for id in self.up.clone() {
                self.servers.get_mut(&id).unwrap().handle(now, Event::Tick);
                self.perform(id);
            }
            let listening = &self.listening;
            for (id, (dial, leader)) in self.dialling.extract_if(.., |_, (_, leader)| listening.contains(leader)) {
                self.next_link += 1;
                let link = LinkId(self.next_link);
                self.links.insert(id, (dial, leader, link));
                self.events.push_back((leader, Event::LinkOpened(link)));
                self.events.push_back((id, Event::LeaderConnected(dial)));
            }
            while let Some((id, event)) = self.events.pop_front() {
                if !self.up.contains(&id) {
                    continue;
                }
                self.servers.get_mut(&id).unwrap().handle(now, event);
                self.perform(id);
            }
        }
    }

    fn perform(&mut self, id: i64) {
        let now = self.now();
        let replica = self.servers.get_mut(&id).unwrap();
        replica.settle(now);
        while let Some(action) = replica.poll_action() {
            match action {
                Action::Append(batch) => self.events.push_back((id, Event::LogDurable(batch.last()))),
                Action::Configure { .. } => self.events.push_back((id, Event::Configured)),
                Action::SaveEpochs { .. } => self.events.push_back((id, Event::EpochsSaved)),
                Action::ToShard(_, message) => self.told.entry(id).or_default().push(message),
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
                Action::ToLeader(dial, bytes) => {
                    let (_, leader, link) = self.links[&id];
                    assert_eq!(self.links[&id].0, dial);
                    // Torn, as on a real link.
                    let (head, tail) = bytes.split_at(bytes.len() / 2);
                    self.events.push_back((leader, Event::LinkBytes(link, head.to_vec())));
                    self.events.push_back((leader, Event::LinkBytes(link, tail.to_vec())));
                }
                Action::ToLink(link, bytes) => {
                    let (learner, (dial, ..)) = self.links.iter().find(|(_, (.., other))| *other == link).unwrap();
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
                Action::Snapshot { .. } => panic!("no snapshot is due"),
                Action::Truncate(_) | Action::Install { .. } | Action::SnapshotToLink { .. } => {
                    panic!("three empty servers have nothing to truncate or to install")
                }
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
        let connect = Connect {
            connection: CONNECTION,
            session: SessionId::NONE,
            password: None,
            timeout_ms: 30_000,
            last_zxid_seen: Zxid::ZERO,
        };
        match self.ask(id, ShardItem::Connect(connect), Vec::new()).as_slice() {
            [(ReplyKind::Opened { session, .. }, _)] => *session,
            other => panic!("no session on server {id}: {other:?}"),
        }
    }

    fn create(&mut self, id: i64, session: SessionId, xid: i32, path: &str) {
        let mut body = Vec::new();
        let create = CreateRequest { path: path.into(), data: Some(b"data"), acl: AclList::OPEN, flags: 0, ttl_ms: -1 };
        create.encode(OpCode::CREATE, &mut body);
        let write = Write {
            connection: CONNECTION,
            session,
            xid: Xid(xid),
            op: OpCode::CREATE,
            identities: Vec::new().into(),
            body: 0..body.len(),
            after_read: false,
        };
        let replies = self.ask(id, ShardItem::Write(write), body);
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
fn without_a_leader_those_who_only_read_are_served_and_with_one_all_are() {
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
    let write = Write {
        connection: CONNECTION,
        session,
        xid: Xid(1),
        op: OpCode::CREATE,
        identities: Vec::new().into(),
        body: 0..body.len(),
        after_read: false,
    };
    let replies = world.ask(1, ShardItem::Write(write), body);
    let [(ReplyKind::Answer(frame), frames)] = replies.as_slice() else { panic!("no answer: {replies:?}") };
    assert_eq!(frames[frame.clone()][16..20], (-119_i32).to_be_bytes(), "NOTREADONLY");

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

mod reconfig;
