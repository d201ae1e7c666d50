//! A durable batch arrives: the version moves on, events go out, waiting writes are answered, and the reads behind them run.
//!
//! Segment by segment, and within one: every change fires its watches before the answers that come after it, and reads that had
//! to wait run last, when all events of what they will see are in their clients' buffers.

use crate::admin::figures::{Counter, Latency};
use crate::admin::status::ResponseBytes;
use crate::pipeline;
use crate::replica::batch::{Published, Reply, ReplyKind, Segment};
use crate::rt::clock;
use crate::server::options::ShardOptions;
use crate::time::Instant;
use crate::tree::Change;
use crate::wire::header::RequestHeader;
use crate::wire::watch_event::put_event_frame;

use super::State;
use super::connection::{OUT_MAX_BYTES, Queued, Stage};

impl State {
    /// Takes a batch.
    pub(super) fn publish(&mut self, options: &ShardOptions, shard: u8, published: &Published) {
        let now = clock::now();
        for segment in &published.segments {
            self.take_segment(options, shard, segment, now);
        }
        self.make_room(options);
    }

    fn take_segment(&mut self, options: &ShardOptions, shard: u8, segment: &Segment, now: Instant) {
        self.version = segment.version.clone();
        let mut unblocked = Vec::new();
        let mut fired = 0;
        for reply in &segment.replies[usize::from(shard)] {
            self.fire(options, &segment.changes[fired..reply.changes_before]);
            fired = reply.changes_before;
            self.deliver(reply, &segment.frames, now, &mut unblocked);
        }
        self.fire(options, &segment.changes[fired..]);
        for slot in unblocked {
            self.run_unblocked(options, slot, now);
        }
    }

    /// Tells those who watch.
    fn fire(&mut self, options: &ShardOptions, changes: &[Change]) {
        if self.watches.is_empty() {
            return;
        }
        for change in changes {
            let Self { watches, connections, dirty, stats, .. } = self;
            pipeline::fire(watches, change, |watcher| {
                let Some(connection) = connections.get_mut(watcher.0) else {
                    return;
                };
                if !pipeline::may_hear(change, &connection.identities, &options.auth) {
                    return;
                }
                let before = connection.out.len();
                put_event_frame(&mut connection.out, change.event, &change.path, change.zxid);
                stats.figures.add(Counter::WatchBytes, (connection.out.len() - before) as u64);
                connection.stats.sent += 1;
                stats.packets_sent += 1;
                Self::mark_dirty(connection, dirty);
            });
        }
    }

    /// Hands an answer to its connection.
    fn deliver(&mut self, reply: &Reply, frames: &[u8], now: Instant, unblocked: &mut Vec<u32>) {
        let id = reply.connection;
        match &reply.kind {
            ReplyKind::Opened { session, timeout_ms, password } => self.opened(id, *session, *timeout_ms, *password),
            ReplyKind::Refused => self.refused(id),
            ReplyKind::Close => self.close_at_once(id),
            ReplyKind::Answer(frame) | ReplyKind::Last(frame) => {
                // Nothing is answered behind the last words: a client may have sent more behind a `closeSession`.
                let connection = self.connections.get_mut(id.slot).filter(|connection| connection.id == id);
                let Some(connection) = connection.filter(|connection| connection.stage != Stage::Ending) else {
                    return;
                };
                let Some(Queued::Write { xid, op, received, .. }) = connection.dequeue() else {
                    panic!("an answer came to a connection whose first request is not a write");
                };
                connection.out.extend_from_slice(&frames[frame.clone()]);
                ResponseBytes::record(&mut self.stats.response_bytes, frame.len() as u64);
                let latency_us = now.since(received).as_micros() as u64;
                connection.stats.answered(op, xid, self.version.zxid(), latency_us, now);
                self.stats.latency.record(latency_us);
                self.stats.figures.record_latency(Latency::Update, latency_us);
                if matches!(reply.kind, ReplyKind::Last(_)) {
                    connection.stage = Stage::Ending;
                    connection.wake_reader();
                } else if connection.is_ready_next() {
                    unblocked.push(id.slot);
                } else {
                    connection.resume();
                }
                self.count_sent(id.slot);
            }
        }
    }

    /// Answers what waited for a write, up to the next write.
    fn run_unblocked(&mut self, options: &ShardOptions, slot: u32, now: Instant) {
        loop {
            let Some(connection) = self.connections.get_mut(slot) else {
                return;
            };
            if connection.stage == Stage::Ending {
                return;
            }
            if !connection.is_ready_next() {
                connection.resume();
                return;
            }
            let is_over = connection.out.len() > OUT_MAX_BYTES;
            let (xid, op, body, received) = match connection.dequeue() {
                Some(Queued::Read { xid, op, body, received }) => (xid, op, body, received),
                Some(Queued::Answer { frame, is_last }) => {
                    if self.say_queued(slot, &frame, is_last) {
                        continue;
                    }
                    return;
                }
                _ => unreachable!("the front was no write just now"),
            };
            if is_over {
                // The flush at the end of the turn closes the connection: this read gets no answer any more.
                continue;
            }
            self.answer_read(options, slot, RequestHeader { xid, op }, &body, received, now);
        }
    }
}
