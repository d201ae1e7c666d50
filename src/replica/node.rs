//! The replica: takes what shards and the log core tell it, one event at a time, and says what has to be done about it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::batch::{OpenBatch, Published, ReplyKind, Segment};
use super::event::{Action, Event, Now, Options};
use super::message::{
    Ask, Connect, ConnectionId, Gathered, Part, Question, ReplicaReport, SessionReport, ShardBatch, ShardItem,
    Standing, ToShard, Write,
};
use super::snapshots::SnapshotTrigger;
use crate::ids::{SessionId, Zxid};
use crate::pipeline::{Done, Pipeline, Reopened, Request, Sink};
use crate::storage::log::Batch;
use crate::time::{Instant, WallTime};
use crate::tree::Version;
use crate::wire::error_code::ErrorCode;
use crate::wire::op::OpCode;

/// Questions that may wait for answers at once; the oldest is forgotten beyond it (its connection times out).
const ASKS_MAX: usize = 256;

/// Log room that only the begin and the end of sessions may use, so that on a full disk clients can still come and read.
const SESSION_RESERVE_BYTES: u64 = 4 << 20;

/// What a record costs in the log at most beyond a request's own length: its headers, the digest, its frame, an ACL
/// expanded from `auth`, a sequence number, and the rest of its block.
const RECORD_OVERHEAD_BYTES: u64 = 16 << 10;

/// A batch that has grown to this many bytes of log waits in line behind the one that is on its way, and the next begins.
const BATCH_COST_MAX: u64 = 4 << 20;

/// A batch that is on its way to the disk, or waits for one that is.
struct InFlight {
    /// Its last record; `None` if it has none and only had to keep its place.
    last: Option<Zxid>,
    segments: Vec<Segment>,
    snapshot_sessions: Option<Vec<(SessionId, i32)>>,
}

/// A question that waits for the shards.
#[derive(Debug)]
struct Asked {
    ask: Ask,
    parts: Vec<Part>,
}

/// One server. See the module's page.
pub struct Replica {
    options: Options,
    pipeline: Pipeline,
    open: OpenBatch,
    in_flight: VecDeque<InFlight>,
    /// The newest zxid that clients may know of.
    published: Zxid,
    /// The version that holds it.
    published_version: Version,
    actions: VecDeque<Action>,

    /// Items that wait for room in the log, in order, with the bodies of their batch.
    stalled: VecDeque<(Arc<Vec<u8>>, ShardItem)>,
    /// What the log takes for certain, and what it was given, as sums of costs since the start.
    log_admit_through: u64,
    log_given: u64,
    log_full: bool,
    /// The record that the pipeline writes at present; empty in between.
    record: Vec<u8>,

    /// By shard and slot: the number of the segment that holds the connection's newest write.
    last_segment: Vec<Vec<u64>>,
    segment_number: u64,

    trigger: SnapshotTrigger,
    snapshot_running: bool,
    containers_checked: Instant,
    asked: VecDeque<Asked>,
    stats: ReplicaReport,
}

impl Replica {
    /// A server whose state recovery has brought back into `pipeline`; shards begin with [`Replica::published_version`].
    pub fn new(options: Options, mut pipeline: Pipeline, now: Now) -> Self {
        assert!(options.shards > 0 && options.shards <= 256, "a server has 1 to 256 shards, not {}", options.shards);
        let version = pipeline.cut();
        let trigger = SnapshotTrigger::new(options.snapshot_txns_max, options.snapshot_bytes_max, options.seed);
        Self {
            open: OpenBatch::new(options.shards),
            in_flight: VecDeque::new(),
            published: version.zxid(),
            published_version: version,
            actions: VecDeque::new(),
            stalled: VecDeque::new(),
            log_admit_through: 0,
            log_given: 0,
            log_full: false,
            record: Vec::new(),
            last_segment: vec![Vec::new(); options.shards],
            segment_number: 1,
            trigger,
            snapshot_running: false,
            containers_checked: now.instant,
            asked: VecDeque::new(),
            stats: ReplicaReport::default(),
            options,
            pipeline,
        }
    }

    /// The version that shards begin with.
    pub fn published_version(&self) -> &Version {
        &self.published_version
    }

    /// What it is in its ensemble.
    pub fn standing(&self) -> Standing {
        Standing::Standalone
    }

    /// What happened; afterwards the actions have to be fetched.
    pub fn handle(&mut self, now: Now, event: Event) {
        match event {
            Event::Shard(batch) => self.handle_shard(now, batch),
            Event::LogDurable(through) => self.handle_durable(through),
            Event::LogRoom { admit_through, full } => self.handle_room(now, admit_through, full),
            Event::SnapshotDone(_) => {
                self.snapshot_running = false;
                self.stats.snapshot_count += 1;
            }
            Event::Tick => self.handle_tick(now),
            Event::EpochsSaved
            | Event::Truncated(_)
            | Event::Installed(_)
            | Event::Notification { .. }
            | Event::LinkOpened(_)
            | Event::LinkBytes(..)
            | Event::LinkClosed(_)
            | Event::LeaderConnected(_)
            | Event::LeaderBytes(..)
            | Event::LeaderLost(_) => panic!("a server that stands alone was told of an ensemble"),
        }
    }

    /// Sends the open batch on its way if none is. To be called when all events at hand are handled: what came together
    /// is then committed together.
    pub fn settle(&mut self) {
        if self.in_flight.is_empty() && !self.open.is_empty() {
            self.launch();
        }
        self.publish_ready();
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether everything that was accepted is durable and published.
    pub fn is_drained(&self) -> bool {
        self.in_flight.is_empty() && self.open.is_empty() && self.stalled.is_empty()
    }

    fn handle_shard(&mut self, now: Now, batch: ShardBatch) {
        let bodies = Arc::new(batch.bodies);
        for item in batch.items {
            // Signs of life and questions overtake what waits: sessions must not expire because the disk is slow.
            if !item.is_logged_in_order() || (self.stalled.is_empty() && self.has_room_for(&item)) {
                self.handle_item(now, &bodies, item);
            } else {
                self.stalled.push_back((bodies.clone(), item));
            }
        }
    }

    /// Whether the item may be handled now. Those that write nothing always may; those that write wait while the log
    /// prepares room, and are handled (and refused) when the disk is full.
    fn has_room_for(&self, item: &ShardItem) -> bool {
        match item {
            ShardItem::Write(write) => {
                write.op == OpCode::SYNC || self.log_full || self.room_for(write.body.len(), SESSION_RESERVE_BYTES)
            }
            ShardItem::Connect(_) => self.log_full || self.room_for(0, 0),
            ShardItem::Heard { .. } | ShardItem::Ask(_) | ShardItem::Told(..) => true,
        }
    }

    fn room_for(&self, body_len: usize, reserve: u64) -> bool {
        let given = self.log_given + self.open.log.cost();
        given + body_len as u64 + RECORD_OVERHEAD_BYTES + reserve <= self.log_admit_through
    }

    fn handle_item(&mut self, now: Now, bodies: &[u8], item: ShardItem) {
        if self.open.log.cost() >= BATCH_COST_MAX {
            self.launch();
        }
        match item {
            ShardItem::Connect(connect) => self.handle_connect(now, &connect),
            ShardItem::Write(write) => self.handle_write(now, bodies, &write),
            ShardItem::Heard { session, at } => {
                self.pipeline.sessions_mut().touch(session, at);
            }
            ShardItem::Ask(ask) => self.handle_ask(ask),
            ShardItem::Told(ask, part) => self.handle_told(now, ask, part),
        }
    }

    fn handle_connect(&mut self, now: Now, connect: &Connect) {
        let connection = connect.connection;
        if connect.last_zxid_seen > self.published {
            // The client has seen what this server has not: with us it would go back in time.
            self.open.reply(connection, ReplyKind::Close);
            return;
        }
        if connect.session != SessionId::NONE {
            self.reopen(now, connect);
            return;
        }
        if !self.room_for(0, 0) {
            self.open.reply(connection, ReplyKind::Close);
            return;
        }
        let mut sink = Sink { log: &mut self.record, reply: &mut self.open.frames, changes: &mut self.open.changes };
        let opened =
            self.pipeline.create_session(now.wall, now.instant, connect.timeout_ms, connection.owner(), &mut sink);
        self.booked(opened.zxid);
        self.open.reply(
            connection,
            ReplyKind::Opened { session: opened.session, timeout_ms: opened.timeout_ms, password: opened.password },
        );
    }

    fn reopen(&mut self, now: Now, connect: &Connect) {
        let connection = connect.connection;
        let Some(password) = connect.password else {
            self.open.reply(connection, ReplyKind::Refused);
            return;
        };
        match self.pipeline.reopen_session(
            now.instant,
            connect.session,
            &password,
            connect.timeout_ms,
            connection.owner(),
        ) {
            Reopened::Refused => self.open.reply(connection, ReplyKind::Refused),
            Reopened::Ok { timeout_ms, previous_owner } => {
                if let Some(previous) = previous_owner.map(ConnectionId::of).filter(|previous| *previous != connection)
                {
                    let shard = usize::from(previous.shard);
                    self.actions.push_back(Action::ToShard(shard, ToShard::Displaced(previous)));
                }
                self.open.reply(connection, ReplyKind::Opened { session: connect.session, timeout_ms, password });
            }
        }
    }

    fn handle_write(&mut self, now: Now, bodies: &[u8], write: &Write) {
        let connection = write.connection;
        if write.after_read && self.last_segment_of(connection) == Some(self.segment_number) {
            self.end_segment();
        }
        self.note_segment_of(connection);
        let reserve = if write.op == OpCode::CLOSE_SESSION { 0 } else { SESSION_RESERVE_BYTES };
        let frame_start = self.open.frames.len();
        if write.op != OpCode::SYNC && !self.room_for(write.body.len(), reserve) {
            crate::wire::response::put_header_reply(
                &mut self.open.frames,
                write.xid,
                self.pipeline.zxid(),
                ErrorCode::SYSTEM_ERROR,
            );
            self.open.reply(connection, ReplyKind::Answer(frame_start..self.open.frames.len()));
            return;
        }
        let request = Request {
            session: write.session,
            xid: write.xid,
            op: write.op,
            body: &bodies[write.body.clone()],
            identities: &write.identities,
            owner: connection.owner(),
        };
        let mut sink = Sink { log: &mut self.record, reply: &mut self.open.frames, changes: &mut self.open.changes };
        let done = self.pipeline.process(now.wall, &request, &mut sink);
        self.finish(connection, done, frame_start);
    }

    /// Books what the pipeline did with a request: its record, and its answer.
    fn finish(&mut self, connection: ConnectionId, done: Done, frame_start: usize) {
        if done.logged {
            self.booked(done.zxid);
        }
        let frame = frame_start..self.open.frames.len();
        let kind = match (done.close, frame.is_empty()) {
            (true, true) => ReplyKind::Close,
            (true, false) => ReplyKind::Last(frame),
            (false, _) => ReplyKind::Answer(frame),
        };
        self.open.reply(connection, kind);
    }

    /// Remembers that the open segment holds the connection's newest write.
    fn note_segment_of(&mut self, connection: ConnectionId) {
        let slots = &mut self.last_segment[usize::from(connection.shard)];
        let slot = connection.slot as usize;
        if slots.len() <= slot {
            slots.resize(slot + 1, 0);
        }
        slots[slot] = self.segment_number;
    }

    /// Takes the record that the pipeline has just written into the open batch.
    fn booked(&mut self, zxid: Zxid) {
        let len = self.record.len() as u64;
        self.open.log.push(zxid, &self.record);
        self.record.clear();
        self.open.last = Some(zxid);
        self.open.records += 1;
        self.open.segment_has_records = true;
        self.stats.txn_count += 1;
        let [last, min, max] = &mut self.stats.proposal_size;
        *last = len;
        *min = if *min == 0 { len } else { len.min(*min) };
        *max = len.max(*max);
    }

    fn last_segment_of(&self, connection: ConnectionId) -> Option<u64> {
        self.last_segment[usize::from(connection.shard)].get(connection.slot as usize).copied()
    }

    fn end_segment(&mut self) {
        let version = if self.open.segment_has_records { self.pipeline.cut() } else { self.newest_version() };
        self.open.end_segment(version);
        self.segment_number += 1;
    }

    /// The newest version that was cut.
    fn newest_version(&self) -> Version {
        let in_open = self.open.closed.last();
        let in_flight = self.in_flight.back().and_then(|batch| batch.segments.last());
        in_open.or(in_flight).map_or(&self.published_version, |segment| &segment.version).clone()
    }

    /// Closes the open batch and hands its records to the log.
    fn launch(&mut self) {
        self.end_segment();
        let batch = std::mem::replace(&mut self.open, OpenBatch::new(self.options.shards));
        let last = batch.last;
        let mut snapshot_sessions = None;
        if let Some(records) = batch.log.finish() {
            let log_bytes = records.cost();
            self.trigger.logged(batch.records, log_bytes);
            self.stats.batch_count += 1;
            if self.trigger.is_due() && !self.snapshot_running {
                self.snapshot_running = true;
                self.trigger.reset();
                snapshot_sessions = Some(self.pipeline.sessions().iter().collect());
            }
            self.log_given += log_bytes;
            self.actions.push_back(Action::Append(records));
        }
        self.in_flight.push_back(InFlight { last, segments: batch.closed, snapshot_sessions });
    }

    fn handle_durable(&mut self, through: Zxid) {
        for batch in &mut self.in_flight {
            match batch.last {
                None => {}
                Some(last) if last <= through => batch.last = None,
                Some(_) => break,
            }
        }
        self.publish_ready();
    }

    /// Publishes the batches, from the oldest on, that wait for the log no longer.
    fn publish_ready(&mut self) {
        while self.in_flight.front().is_some_and(|batch| batch.last.is_none()) {
            let batch = self.in_flight.pop_front().expect("there is a front");
            let newest = &batch.segments.last().expect("every batch has a segment").version;
            assert!(newest.zxid() >= self.published, "a published version is never older than the one before");
            self.published = newest.zxid();
            self.published_version = newest.clone();
            if let Some(sessions) = batch.snapshot_sessions {
                self.actions.push_back(Action::Snapshot { version: newest.clone(), sessions });
            }
            let published = Arc::new(Published { segments: batch.segments });
            for shard in 0..self.options.shards {
                self.actions.push_back(Action::ToShard(shard, ToShard::Published(published.clone())));
            }
        }
    }

    fn handle_room(&mut self, now: Now, admit_through: u64, full: bool) {
        if full && !self.log_full {
            tracing::error!("the disk is full: writes are refused until there is room, reads go on");
        } else if !full && self.log_full {
            tracing::warn!("there is room on the disk again: writes are accepted");
        }
        self.log_admit_through = admit_through;
        self.log_full = full;
        while let Some((_, item)) = self.stalled.front() {
            if !self.has_room_for(item) {
                break;
            }
            let (bodies, item) = self.stalled.pop_front().expect("there is a front");
            self.handle_item(now, &bodies, item);
        }
    }

    fn handle_tick(&mut self, now: Now) {
        // Without room for their ends, sessions live on until there is some.
        let expired = if self.room_for(0, 0) { self.pipeline.sessions_mut().expire(now.instant) } else { Vec::new() };
        for session in expired {
            tracing::info!(%session, "session expired");
            self.stats.expired_count += 1;
            let owner = self.pipeline.sessions().owner(session);
            let frame_start = self.open.frames.len();
            let mut sink =
                Sink { log: &mut self.record, reply: &mut self.open.frames, changes: &mut self.open.changes };
            let done = self.pipeline.close_session(now.wall, session, &mut sink);
            self.open.frames.truncate(frame_start);
            if done.logged {
                self.booked(done.zxid);
            }
            if let Some(owner) = owner {
                self.open.reply(ConnectionId::of(owner), ReplyKind::Close);
            }
        }
        self.remove_containers(now);
    }

    /// Removes empty containers and TTL znodes whose time has passed (Apache's `ContainerManager`).
    fn remove_containers(&mut self, now: Now) {
        if now.instant.since(self.containers_checked).as_millis() < u128::from(self.options.container_check_interval_ms)
        {
            return;
        }
        self.containers_checked = now.instant;
        let mut candidates = self.pipeline.container_candidates(now.wall);
        // The limit is by the minute, and a check is an interval's share of it.
        let share =
            u64::from(self.options.containers_per_minute_max) * self.options.container_check_interval_ms / 60_000;
        candidates.truncate(usize::try_from(share.max(1)).unwrap_or(usize::MAX));
        for path in candidates {
            if !self.room_for(path.len(), SESSION_RESERVE_BYTES) {
                return;
            }
            let frame_start = self.open.frames.len();
            let mut sink =
                Sink { log: &mut self.record, reply: &mut self.open.frames, changes: &mut self.open.changes };
            let done = self.pipeline.delete_container(now.wall, &path, &mut sink);
            self.open.frames.truncate(frame_start);
            if done.logged {
                self.booked(done.zxid);
            }
        }
    }

    fn handle_ask(&mut self, ask: Ask) {
        if ask.question == Question::ResetStats {
            self.stats.proposal_size = [0; 3];
        }
        if self.asked.len() == ASKS_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked { ask, parts: Vec::new() });
        for shard in 0..self.options.shards {
            self.actions.push_back(Action::ToShard(shard, ToShard::Tell(ask)));
        }
    }

    fn handle_told(&mut self, now: Now, ask: Ask, part: Part) {
        let Some(index) = self.asked.iter().position(|asked| asked.ask == ask) else {
            return;
        };
        self.asked[index].parts.push(part);
        if self.asked[index].parts.len() < self.options.shards {
            return;
        }
        let asked = self.asked.remove(index).expect("the index was found just now");
        let gathered = Gathered { replica: self.report(now, ask.question), parts: asked.parts };
        self.actions.push_back(Action::ToShard(usize::from(ask.shard), ToShard::Answer(ask, Arc::new(gathered))));
    }

    fn report(&self, now: Now, question: Question) -> ReplicaReport {
        let mut report = self.stats.clone();
        report.outstanding =
            self.in_flight.iter().map(|batch| batch.segments.len() as u64).sum::<u64>() + self.open.records;
        report.session_count = self.pipeline.sessions().len() as u64;
        report.digests = self.pipeline.tree().digest_history().map(|sample| (sample.zxid, sample.digest)).collect();
        if question == Question::Sessions {
            let sessions = self.pipeline.sessions().dump().into_iter();
            report.sessions = sessions
                .map(|session| SessionReport {
                    session: session.session,
                    timeout_ms: session.timeout_ms,
                    expires_in_ms: u64::try_from(session.expires.since(now.instant).as_millis()).unwrap_or(u64::MAX),
                })
                .collect();
        }
        report
    }
}

#[cfg(test)]
mod tests;
