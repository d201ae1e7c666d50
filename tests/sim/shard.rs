//! A shard without its sockets: what `src/server/shard` does with clients' frames and with what the replica tells it, call for call
//! (`request.rs`, `handshake.rs`, `publish.rs`, and the ticker and `stand` of `mod.rs` there). Whoever changes the order of
//! things in one of them has to change it in the other.
//!
//! What is left out has no part in the order: statistics, four-letter words, authentication, bounds on what a client may send; and
//! that a shard takes what the replica has sent before it answers (`catch_up`), which makes what is read only newer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use zoo_server::ids::SessionId;
use zoo_server::pipeline::{self, auth, read};
use zoo_server::replica::batch::{Published, Reply, ReplyKind, Segment};
use zoo_server::replica::message::{Connect, ConnectionId, ShardBatch, ShardItem, Standing, ToShard, Write};
use zoo_server::time::Instant;
use zoo_server::tree::{Change, Version};
use zoo_server::watch::{WatchTable, Watcher};
use zoo_server::wire::acl::Id;
use zoo_server::wire::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN, Password};
use zoo_server::wire::error_code::ErrorCode;
use zoo_server::wire::header::{RequestHeader, Xid};
use zoo_server::wire::jute::{Reader, put_frame};
use zoo_server::wire::op::OpCode;
use zoo_server::wire::response::put_header_reply;
use zoo_server::wire::watch_event::put_event_frame;

use crate::network::StreamId;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    New,
    Connecting,
    Open,
    Ending,
}

enum Queued {
    Write,
    Read { header: RequestHeader, body: Vec<u8> },
}

struct Connection {
    id: ConnectionId,
    stream: StreamId,
    stage: Stage,
    session: SessionId,
    has_read_only: bool,
    identities: Arc<[Id<'static>]>,
    queue: VecDeque<Queued>,
    out: Vec<u8>,
    /// Closed without another word.
    is_given_up: bool,
    heard: Instant,
    heard_told: Instant,
}

impl Connection {
    fn give_up(&mut self) {
        self.stage = Stage::Ending;
        self.out.clear();
        self.is_given_up = true;
    }

    fn unheard(&mut self) -> Option<ShardItem> {
        let is_new = self.session != SessionId::NONE && self.heard > self.heard_told;
        self.heard_told = self.heard;
        is_new.then_some(ShardItem::Heard { session: self.session, at: self.heard })
    }
}

/// What a shard has for a client at the end of a turn.
pub struct Said {
    pub stream: StreamId,
    pub bytes: Vec<u8>,
    /// Close behind it.
    pub is_last: bool,
}

pub struct Shard {
    number: u8,
    pub standing: Standing,
    pub version: Version,
    watches: WatchTable,
    connections: BTreeMap<u32, Connection>,
    free: Vec<u32>,
    generation: u32,
    options: auth::Options,
    pub outgoing: ShardBatch,
    /// For [`crate::plan::Sabotage::EventAfterRead`].
    pub tells_late: bool,
    /// Events that are told late.
    late: Vec<(u32, Vec<u8>)>,
}

impl Shard {
    pub fn new(number: u8, standing: Standing, version: Version) -> Self {
        Self {
            number,
            standing,
            version,
            watches: WatchTable::new(7),
            connections: BTreeMap::new(),
            free: Vec::new(),
            generation: 0,
            options: auth::Options::default(),
            outgoing: ShardBatch::default(),
            tells_late: false,
            late: Vec::new(),
        }
    }

    pub fn accept(&mut self, stream: StreamId, now: Instant) {
        let slot = self.free.pop().unwrap_or(self.connections.len() as u32);
        self.generation = ConnectionId::next_generation(self.generation);
        let id = ConnectionId { shard: self.number, slot, generation: self.generation };
        let connection = Connection {
            id,
            stream,
            stage: Stage::New,
            session: SessionId::NONE,
            has_read_only: false,
            identities: vec![auth::ip_identity([127, 0, 0, 1].into())].into(),
            queue: VecDeque::new(),
            out: Vec::new(),
            is_given_up: false,
            heard: now,
            heard_told: now,
        };
        let taken = self.connections.insert(slot, connection);
        assert!(taken.is_none(), "slot {slot} is used twice");
    }

    fn slot_of(&self, stream: StreamId) -> Option<u32> {
        self.connections.values().find(|connection| connection.stream == stream).map(|connection| connection.id.slot)
    }

    /// The client's end is gone.
    pub fn closed(&mut self, stream: StreamId) {
        if let Some(slot) = self.slot_of(stream) {
            self.remove(slot);
        }
    }

    fn remove(&mut self, slot: u32) {
        self.watches.drop_watcher(Watcher(slot));
        if let Some(mut connection) = self.connections.remove(&slot) {
            self.outgoing.items.extend(connection.unheard());
            self.free.push(slot);
        }
    }

    /// A frame of a client, without its length.
    pub fn frame(&mut self, stream: StreamId, frame: &[u8], now: Instant) {
        let Some(slot) = self.slot_of(stream) else { return };
        let connection = self.connections.get_mut(&slot).expect("it was found just now");
        connection.heard = now;
        match connection.stage {
            Stage::New => self.handshake(slot, frame),
            // A client sends its first requests behind its handshake's answer.
            Stage::Connecting | Stage::Ending => {}
            Stage::Open => self.request(slot, frame),
        }
    }

    fn handshake(&mut self, slot: u32, frame: &[u8]) {
        let connection = self.connections.get_mut(&slot).expect("a connection that is read from is there");
        let Ok(request) = ConnectRequest::decode(&mut Reader::new(frame)) else { return connection.give_up() };
        if self.standing == Standing::Looking {
            return connection.give_up();
        }
        connection.stage = Stage::Connecting;
        connection.has_read_only = request.read_only.is_some();
        self.outgoing.items.push(ShardItem::Connect(Connect {
            connection: connection.id,
            session: request.session,
            password: request.password.try_into().ok(),
            timeout_ms: request.timeout_ms,
            last_zxid_seen: request.last_zxid_seen,
        }));
    }

    fn request(&mut self, slot: u32, frame: &[u8]) {
        let mut reader = Reader::new(frame);
        let connection = self.connections.get_mut(&slot).expect("a connection that is read from is there");
        let Ok(header) = RequestHeader::decode(&mut reader) else { return connection.give_up() };
        let body = reader.rest();
        if header.op == OpCode::PING && connection.queue.is_empty() {
            put_header_reply(&mut connection.out, Xid::PING, self.version.zxid(), ErrorCode::OK);
        } else if !read::is_read(header.op) {
            self.write(slot, header, body);
        } else if connection.queue.is_empty() {
            self.answer_read(slot, header, body);
        } else {
            connection.queue.push_back(Queued::Read { header, body: body.to_vec() });
        }
    }

    fn answer_read(&mut self, slot: u32, header: RequestHeader, body: &[u8]) {
        let connection = self.connections.get_mut(&slot).expect("a connection that is answered is there");
        let asker =
            read::Asker { watcher: Watcher(slot), session: connection.session, identities: &connection.identities };
        let (watches, out) = (&mut self.watches, &mut connection.out);
        read::answer(&self.version, &self.options, watches, &asker, header.xid, header.op, body, out);
    }

    fn write(&mut self, slot: u32, header: RequestHeader, body: &[u8]) {
        let connection = self.connections.get_mut(&slot).expect("a connection that is read from is there");
        let after_read = matches!(connection.queue.back(), Some(Queued::Read { .. }));
        connection.queue.push_back(Queued::Write);
        let start = self.outgoing.bodies.len();
        self.outgoing.bodies.extend_from_slice(body);
        self.outgoing.items.push(ShardItem::Write(Write {
            connection: connection.id,
            session: connection.session,
            xid: header.xid,
            op: header.op,
            identities: connection.identities.clone(),
            body: start..self.outgoing.bodies.len(),
            after_read,
        }));
    }

    /// What the replica says. Questions are never asked here, and a stop is the process's.
    pub fn hear(&mut self, message: ToShard) {
        match message {
            ToShard::Published(published) => self.publish(&published),
            ToShard::Displaced(id) => self.close_at_once(id),
            ToShard::Standing(standing, version) => self.stand(standing, version),
            ToShard::Tell(_) | ToShard::Answer(..) | ToShard::Stop => {}
        }
    }

    fn publish(&mut self, published: &Published) {
        for segment in &published.segments {
            self.take_segment(segment);
        }
        // Only filled by hand.
        for (slot, frame) in std::mem::take(&mut self.late) {
            if let Some(connection) = self.connections.get_mut(&slot) {
                connection.out.extend_from_slice(&frame);
            }
        }
    }

    fn take_segment(&mut self, segment: &Segment) {
        self.version = segment.version.clone();
        let mut unblocked = Vec::new();
        let mut fired = 0;
        for reply in &segment.replies[usize::from(self.number)] {
            self.fire(&segment.changes[fired..reply.changes_before]);
            fired = reply.changes_before;
            self.deliver(reply, &segment.frames, &mut unblocked);
        }
        self.fire(&segment.changes[fired..]);
        for slot in unblocked {
            self.run_unblocked(slot);
        }
    }

    fn fire(&mut self, changes: &[Change]) {
        for change in changes {
            let Self { watches, connections, options, tells_late, late, .. } = self;
            pipeline::fire(watches, change, |watcher| {
                let Some(connection) = connections.get_mut(&watcher.0) else { return };
                if !pipeline::may_hear(change, &connection.identities, options) {
                    return;
                }
                if *tells_late {
                    let mut frame = Vec::new();
                    put_event_frame(&mut frame, change.event, &change.path, change.zxid);
                    late.push((watcher.0, frame));
                } else {
                    put_event_frame(&mut connection.out, change.event, &change.path, change.zxid);
                }
            });
        }
    }

    fn deliver(&mut self, reply: &Reply, frames: &[u8], unblocked: &mut Vec<u32>) {
        let id = reply.connection;
        match &reply.kind {
            ReplyKind::Opened { session, timeout_ms, password } => self.opened(id, *session, *timeout_ms, *password),
            ReplyKind::Refused => self.refused(id),
            ReplyKind::Close => self.close_at_once(id),
            ReplyKind::Answer(frame) | ReplyKind::Last(frame) => {
                let connection = self.connections.get_mut(&id.slot).filter(|connection| connection.id == id);
                let Some(connection) = connection.filter(|connection| connection.stage != Stage::Ending) else {
                    return;
                };
                let Some(Queued::Write) = connection.queue.pop_front() else {
                    let answer = &frames[frame.clone()];
                    let session = connection.session;
                    panic!(
                        "an answer, {answer:?}, to a connection whose first request is not a write, {session}, {:?}",
                        id.slot
                    );
                };
                connection.out.extend_from_slice(&frames[frame.clone()]);
                if matches!(reply.kind, ReplyKind::Last(_)) {
                    connection.stage = Stage::Ending;
                } else if matches!(connection.queue.front(), Some(Queued::Read { .. })) {
                    unblocked.push(id.slot);
                }
            }
        }
    }

    fn run_unblocked(&mut self, slot: u32) {
        loop {
            let Some(connection) = self.connections.get_mut(&slot) else { return };
            if connection.stage == Stage::Ending || !matches!(connection.queue.front(), Some(Queued::Read { .. })) {
                return;
            }
            let Some(Queued::Read { header, body }) = connection.queue.pop_front() else {
                unreachable!("the front was a read just now");
            };
            self.answer_read(slot, header, &body);
        }
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(&id.slot).filter(|connection| connection.id == id)
    }

    fn opened(&mut self, id: ConnectionId, session: SessionId, timeout_ms: i32, password: Password) {
        let Some(connection) = self.connection(id).filter(|connection| connection.stage == Stage::Connecting) else {
            return;
        };
        connection.stage = Stage::Open;
        connection.session = session;
        self.answer_handshake(id, session, timeout_ms, password);
    }

    fn refused(&mut self, id: ConnectionId) {
        self.answer_handshake(id, SessionId::NONE, 0, [0; PASSWORD_LEN]);
        if let Some(connection) = self.connection(id) {
            connection.stage = Stage::Ending;
        }
    }

    fn answer_handshake(&mut self, id: ConnectionId, session: SessionId, timeout_ms: i32, password: Password) {
        let Some(connection) = self.connection(id) else { return };
        let read_only = connection.has_read_only.then_some(false);
        let response = ConnectResponse { protocol_version: 0, timeout_ms, session, password, read_only };
        put_frame(&mut connection.out, |out| response.encode(out));
    }

    fn close_at_once(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connection(id) {
            connection.give_up();
        }
    }

    fn stand(&mut self, standing: Standing, version: Version) {
        self.standing = standing;
        self.version = version;
        for connection in self.connections.values_mut() {
            connection.give_up();
        }
    }

    /// Several times a tick.
    pub fn tick(&mut self) {
        let items = &mut self.outgoing.items;
        for connection in self.connections.values_mut().filter(|connection| connection.stage == Stage::Open) {
            items.extend(connection.unheard());
        }
    }

    /// What a turn has brought for the clients.
    pub fn end_turn(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        let mut over = Vec::new();
        for (slot, connection) in &mut self.connections {
            let is_last = connection.stage == Stage::Ending;
            if connection.is_given_up {
                connection.out.clear();
            }
            if is_last || !connection.out.is_empty() {
                said.push(Said { stream: connection.stream, bytes: std::mem::take(&mut connection.out), is_last });
            }
            if is_last {
                over.push(*slot);
            }
        }
        over.into_iter().for_each(|slot| self.remove(slot));
        said
    }
}
