//! A server that stands alone, without sockets and without a disk: what a write costs from the shard's batch to the published
//! version, the log's frame included.

use std::time::Duration;

use zoo_server::ids::{ServerId, SessionId};
use zoo_server::pipeline::{self, Pipeline};
use zoo_server::replica::Replica;
use zoo_server::replica::batch::ReplyKind;
use zoo_server::replica::event::{Action, Event, Now, Options};
use zoo_server::replica::message::{Connect, ConnectionId, ShardBatch, ShardItem, ToShard, Write};
use zoo_server::session::{Sessions, first_id};
use zoo_server::storage::core::{self, Command, LogCore, Report};
use zoo_server::storage::disk::Disk;
use zoo_server::storage::recovery;
use zoo_server::time::Instant;
use zoo_server::wire::header::{RequestHeader, Xid};
use zoo_server::wire::jute::{Reader, put_frame};
use zoo_server::wire::op::OpCode;
use zoo_server::wire::request::SetDataRequest;

use super::discard::Discard;
use super::{DATA_LEN, Numbers, WALL, path, tree_of};

const CONNECTION: ConnectionId = ConnectionId { shard: 0, slot: 0, generation: 1 };

/// See the file's page.
pub struct Writes {
    replica: Replica,
    core: LogCore,
    disk: Discard,
    session: SessionId,
    znodes: usize,
    numbers: Numbers,
    xid: i32,
    answered: usize,
}

impl Writes {
    pub fn new(znodes: usize) -> Self {
        let (tree, zxid) = tree_of(znodes);
        let sessions = Sessions::new(2000, first_id(ServerId(0), WALL));
        let pipeline = Pipeline::new(pipeline::Options::default(), tree, sessions, zxid);
        let options = Options {
            shards: 1,
            snapshot_txns_max: u64::MAX,
            snapshot_bytes_max: 0,
            container_check_interval_ms: 60_000,
            containers_per_minute_max: 10_000,
            seed: 1,
        };
        let mut disk = Discard::default();
        let mut recovered =
            recovery::recover(&mut disk, &recovery::Options::default(), &mut |_| {}).expect("an empty folder is sound");
        recovered.tail.end.zxid = zxid;
        let core = LogCore::open(&mut disk, core::Options::default(), &recovered.tail, 7).expect("nothing fails here");
        let mut writes = Self {
            replica: Replica::new(options, pipeline, now()),
            core,
            disk,
            session: SessionId::NONE,
            znodes,
            numbers: Numbers::new(9),
            xid: 0,
            answered: 0,
        };
        writes.step();
        let connect = Connect::anew(CONNECTION, 30_000);
        writes.told(ShardBatch { bodies: Vec::new(), items: vec![ShardItem::Connect(connect)] });
        assert_ne!(writes.session, SessionId::NONE, "no session was opened");
        writes
    }

    /// Frames for so many `setData` of znodes at random, as they come from a socket.
    pub fn requests(&mut self, count: usize) -> Vec<u8> {
        let data = [8; DATA_LEN];
        let mut frames = Vec::new();
        for _ in 0..count {
            self.xid += 1;
            let (xid, path) = (Xid(self.xid), path(self.numbers.below(self.znodes)));
            put_frame(&mut frames, |out| {
                RequestHeader { xid, op: OpCode::SET_DATA }.encode(out);
                SetDataRequest { path: path.as_str().into(), data: Some(&data), version: -1 }.encode(out);
            });
        }
        frames
    }

    /// Such frames, as one batch of a shard: decoded, prepared, applied, logged, durable, published, answered.
    pub fn commit(&mut self, frames: &[u8]) {
        let mut batch = ShardBatch::default();
        let mut rest = frames;
        while let Some((head, behind)) = rest.split_first_chunk() {
            let (frame, behind) = behind.split_at(i32::from_be_bytes(*head) as usize);
            let mut reader = Reader::new(frame);
            let header = RequestHeader::decode(&mut reader).expect("a request's header");
            let start = batch.bodies.len();
            batch.bodies.extend_from_slice(reader.rest());
            batch.items.push(ShardItem::Write(Write {
                connection: CONNECTION,
                session: self.session,
                xid: header.xid,
                op: header.op,
                identities: NOBODY.with(Clone::clone),
                body: start..batch.bodies.len(),
                after_read: false,
                handed: Instant::default(),
            }));
            rest = behind;
        }
        let count = batch.items.len();
        self.answered = 0;
        self.told(batch);
        assert_eq!(self.answered, count, "answers are missing");
    }

    fn told(&mut self, batch: ShardBatch) {
        self.replica.handle(now(), Event::Shard(batch));
        self.replica.settle(now());
        self.step();
    }

    /// Carries out what is to be done until nothing is.
    fn step(&mut self) {
        let mut completions = Vec::new();
        loop {
            let mut idle = true;
            while let Some(action) = self.replica.poll_action() {
                idle = false;
                match action {
                    Action::Append(batch) => self.core.handle(Command::Append(batch)),
                    Action::ToShard(_, message) => self.published(message),
                    _ => panic!("a server that stands alone asked for something else"),
                }
            }
            while self.core.step(&mut self.disk) {}
            self.disk.wait(false, &mut completions).expect("nothing fails here");
            for completion in completions.drain(..) {
                idle = false;
                self.core.complete(completion);
            }
            while let Some(report) = self.core.poll_report() {
                idle = false;
                let event = match report {
                    Report::Durable { through, .. } => Event::LogDurable(through),
                    Report::Room { admit_through, full } => Event::LogRoom { admit_through, full },
                    other => panic!("the log said {other:?}"),
                };
                self.replica.handle(now(), event);
            }
            self.replica.settle(now());
            if idle {
                return;
            }
        }
    }

    fn published(&mut self, message: ToShard) {
        let ToShard::Published(published) = message else { return };
        for reply in published.segments.iter().flat_map(|segment| &segment.replies[0]) {
            match reply.kind {
                ReplyKind::Opened { session, .. } => self.session = session,
                ReplyKind::Answer(_) => self.answered += 1,
                _ => panic!("a request was refused"),
            }
        }
    }

    /// Durable writes to the log so far, and their bytes.
    pub fn appends(&self) -> (u64, u64) {
        (self.disk.appends, self.disk.bytes)
    }
}

thread_local! {
    static NOBODY: std::sync::Arc<[zoo_server::wire::acl::Id<'static>]> = Vec::new().into();
}

fn now() -> Now {
    Now { instant: Instant::default() + Duration::from_secs(1), wall: WALL }
}
