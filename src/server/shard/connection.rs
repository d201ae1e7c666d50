//! A client's connection as its shard keeps it: where it stands, what it still has to be told, and in what order.
//!
//! **Order.** A session's requests are answered in the order in which they came. A read with nothing before it is answered at
//! once; behind a write that waits for the disk it waits in [`Connection::queue`], and runs when that write's answer is out,
//! against the version that holds the write.
//!
//! **Bounds.** A connection that has [`QUEUE_MAX`] requests of [`QUEUE_PAUSE_BYTES`] waiting, [`WAITING_READS_MAX`] reads among
//! them, or [`OUT_PAUSE_BYTES`] of answers that its client does not take, is not read from until that changes. At
//! [`OUT_MAX_BYTES`], which only watch events and the answers of reads that waited together can bring about, it is closed.
//! All connections of a shard together are bounded by its [`Load`]: with too much waiting for the disk, who wants to add to it is
//! not read from until there is less (reads with nothing before them go on); with too many answers that clients do not take,
//! the connection that holds the most of them is closed.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use crate::admin::figures::Tally;
use crate::ids::{SessionId, Zxid};
use crate::pipeline::auth;
use crate::pipeline::auth::digest_md5::DigestMd5;
use crate::replica::message::{ConnectionId, ShardItem};
use crate::rt::socket::Stream;
use crate::time::{Instant, WallTime};
use crate::wire::acl::Id;
use crate::wire::header::Xid;
use crate::wire::op::OpCode;

use super::secure::Secured;

/// Requests that may wait on one connection; beyond it the connection is not read from.
const QUEUE_MAX: usize = 4096;

/// Room for waiting requests that a connection may keep while none waits.
const QUEUE_KEEP: usize = 64;

/// Room for answers that a connection may keep while there are none.
const OUT_KEEP_BYTES: usize = 4096;

/// Room for answers that is kept from one turn to the next: a pipelining client fills as much again at once.
pub(super) const OUT_REUSE_BYTES: usize = 64 << 10;
/// Bytes of requests that wait on one connection at which it is not read from: what its writes hold on their way to the log,
/// and its reads behind them.
pub(super) const QUEUE_PAUSE_BYTES: usize = 4 << 20;

/// Reads that may wait behind writes on one connection; beyond it the connection is not read from. All of them are answered in
/// the turn in which the write is, whether the client takes the answers or not, and each answer can be a znode's largest.
pub(super) const WAITING_READS_MAX: usize = 64;

/// Bytes of answers waiting for the client at which its connection is not read from.
pub(super) const OUT_PAUSE_BYTES: usize = 1 << 20;

/// Bytes of answers and events waiting for the client at which its connection is closed. Above the largest answer, so that one
/// answer alone never closes it.
pub(super) const OUT_MAX_BYTES: usize = 256 << 20;

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Nothing has come yet: a handshake or a four-letter word.
    New,
    /// A four-letter word waits for its answer; nothing more is read.
    Word,
    /// The handshake is on its way; nothing more is read until it is answered.
    Connecting,
    /// A session.
    Open,
    /// What is in `out` is still sent, then the connection is closed; nothing more is read.
    Ending,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) enum Queued {
    /// A write, or a sync, on its way through the replica.
    Write {
        /// The client's number for it.
        xid: Xid,
        /// What it asks for.
        op: OpCode,
        /// Bytes of its body.
        len: usize,
        /// When it came.
        received: Instant,
    },
    /// A request that waits for the writes before it.
    Read {
        /// The client's number for it.
        xid: Xid,
        /// What it asks for.
        op: OpCode,
        /// Its body.
        body: Box<[u8]>,
        /// When it came.
        received: Instant,
    },
    /// An answer that is ready and waits for those before it.
    Answer {
        /// All of it.
        frame: Box<[u8]>,
        /// Whether the connection ends with it.
        is_last: bool,
    },
}

impl Queued {
    fn len(&self) -> usize {
        match self {
            Self::Write { len, .. } => *len,
            Self::Read { body, .. } => body.len(),
            Self::Answer { frame, .. } => frame.len(),
        }
    }

    /// Whether it waits for the replica, and not only for those before it.
    pub(super) fn is_write(&self) -> bool {
        matches!(self, Self::Write { .. })
    }

    fn is_read(&self) -> bool {
        matches!(self, Self::Read { .. })
    }
}

/// Counters for `cons`, since the connection began or `crst`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnectionStats {
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) latency: Tally,
    pub(super) latency_last_us: u64,
    pub(super) answered: u64,
    pub(super) last_op: Option<OpCode>,
    pub(super) last_xid: i32,
    pub(super) last_zxid: Zxid,
    pub(super) last_answer: Option<Instant>,
}

impl ConnectionStats {
    /// Counts an answer.
    pub(super) fn answered(&mut self, op: OpCode, xid: Xid, zxid: Zxid, latency_us: u64, now: Instant) {
        self.latency.record(latency_us);
        self.latency_last_us = latency_us;
        self.answered += 1;
        self.last_op = Some(op);
        self.last_xid = xid.0;
        self.last_zxid = zxid;
        self.last_answer = Some(now);
    }
}

/// What all connections of a shard hold together, in bytes.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Bodies of requests that are not answered yet.
    pub(super) queued: Cell<usize>,
    /// Answers and events that clients have not taken.
    pub(super) held: Cell<usize>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) stream: Rc<Stream>,
    pub(super) peer: SocketAddr,
    pub(super) stage: Stage,
    pub(super) session: SessionId,
    pub(super) timeout_ms: i32,
    /// Whether the client sent the read-only byte, and so gets one back.
    pub(super) has_read_only: bool,
    pub(super) identities: Arc<[Id<'static>]>,
    /// Its SASL exchange, once it has begun.
    pub(super) sasl: Option<Box<DigestMd5>>,
    /// Its TLS, if it is secured.
    pub(super) tls: Option<Box<Secured>>,
    /// See [`Connection::queue`].
    queue: VecDeque<Queued>,
    /// Bytes of their bodies.
    queue_bytes: usize,
    /// How many of them are reads.
    waiting_reads: usize,
    /// What it is part of.
    load: Rc<Load>,
    /// Not read from because the shard as a whole has too much that waits.
    pub(super) waits_for_room: bool,
    /// Its part of [`Load::held`].
    held: usize,
    /// Bytes of answers that the writer task has taken.
    pub(super) in_writer: usize,
    /// Frames to send.
    pub(super) out: Vec<u8>,
    /// A writer task waits until the client takes more; it will send what is in `out`.
    pub(super) is_writing: bool,
    /// The reader task, if it waits for the queue or `out` to become shorter, or for the handshake.
    pub(super) reader: Option<Waker>,
    /// Listed to be flushed at the end of this turn.
    pub(super) is_dirty: bool,
    /// When the client was last heard, and when the replica was last told so.
    pub(super) heard: Instant,
    pub(super) heard_told: Instant,
    pub(super) since: WallTime,
    pub(super) stats: ConnectionStats,
}

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        stream: Rc<Stream>,
        identities: Arc<[Id<'static>]>,
        load: Rc<Load>,
        now: Instant,
        since: WallTime,
    ) -> Self {
        Self {
            id,
            peer: stream.peer(),
            stream,
            stage: Stage::New,
            session: SessionId::NONE,
            timeout_ms: 0,
            has_read_only: false,
            identities,
            sasl: None,
            tls: None,
            queue: VecDeque::new(),
            queue_bytes: 0,
            waiting_reads: 0,
            load,
            waits_for_room: false,
            held: 0,
            in_writer: 0,
            out: Vec::new(),
            is_writing: false,
            reader: None,
            is_dirty: false,
            heard: now,
            heard_told: now,
            since,
            stats: ConnectionStats::default(),
        }
    }

    /// Whether its reader has to wait.
    pub(super) fn is_paused(&self) -> bool {
        match self.stage {
            Stage::New => false,
            Stage::Open => {
                self.is_writing
                    || self.waits_for_disk()
                    || self.out.len() >= OUT_PAUSE_BYTES
                    || matches!(self.queue.back(), Some(Queued::Answer { is_last: true, .. }))
            }
            Stage::Word | Stage::Connecting | Stage::Ending => true,
        }
    }

    /// Whether so much of it waits for the disk that no more is read.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.waits_for_room
            || self.queue.len() >= QUEUE_MAX
            || self.queue_bytes >= QUEUE_PAUSE_BYTES
            || self.waiting_reads >= WAITING_READS_MAX
    }

    /// The sign of life that the replica has not been told of; afterwards it has.
    pub(super) fn unheard(&mut self) -> Option<ShardItem> {
        let is_new = self.session != SessionId::NONE && self.heard > self.heard_told;
        self.heard_told = self.heard;
        is_new.then_some(ShardItem::Heard { session: self.session, at: self.heard })
    }

    /// Requests that are not answered yet, in order; the first is a write.
    pub(super) fn queue(&self) -> &VecDeque<Queued> {
        &self.queue
    }

    /// One more request that is not answered yet.
    pub(super) fn enqueue(&mut self, request: Queued) {
        self.queue_bytes += request.len();
        self.load.queued.update(|bytes| bytes + request.len());
        self.waiting_reads += usize::from(request.is_read());
        self.queue.push_back(request);
    }

    /// The first of them, to be answered now.
    pub(super) fn dequeue(&mut self) -> Option<Queued> {
        let request = self.queue.pop_front()?;
        self.queue_bytes -= request.len();
        self.load.queued.update(|bytes| bytes - request.len());
        self.waiting_reads -= usize::from(request.is_read());
        Some(request)
    }

    /// Whether the first of them need not wait any more, now that a write before it is answered.
    pub(super) fn is_ready_next(&self) -> bool {
        self.queue.front().is_some_and(|request| !request.is_write())
    }

    /// Its client has proved to be these, too.
    pub(super) fn add_identities(&mut self, new: Vec<Id<'static>>) {
        let mut identities = self.identities.to_vec();
        new.into_iter().for_each(|id| auth::add_identity(&mut identities, id));
        self.identities = identities.into();
    }

    /// What the socket gets next: the answers themselves, or records of theirs.
    pub(super) fn unsent(&mut self) -> &mut Vec<u8> {
        match &mut self.tls {
            None => &mut self.out,
            Some(tls) => tls.unsent(&mut self.out),
        }
    }

    /// Whether there is something for the socket.
    pub(super) fn has_unsent(&self) -> bool {
        !self.out.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_to_say())
    }

    /// Wakes the reader if it waits and need not any more.
    pub(super) fn resume(&mut self) {
        if !self.is_paused() {
            self.wake_reader();
        }
    }

    /// Books what its client has not taken; how much that is.
    pub(super) fn book_held(&mut self) -> usize {
        let now = self.out.len() + self.in_writer;
        if now != self.held {
            self.load.held.update(|bytes| bytes - self.held + now);
            self.held = now;
        }
        now
    }

    /// Gives back what a burst has left allocated.
    pub(super) fn trim(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > QUEUE_KEEP {
            self.queue = VecDeque::new();
        }
        if self.out.is_empty() && self.out.capacity() > OUT_KEEP_BYTES {
            self.out = Vec::new();
        }
    }

    /// Closes without another word.
    pub(super) fn give_up(&mut self) {
        self.stage = Stage::Ending;
        self.out = Vec::new();
        self.stream.shutdown();
        self.wake_reader();
    }

    /// Wakes the reader if it waits.
    pub(super) fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.load.queued.update(|bytes| bytes - self.queue_bytes);
        self.load.held.update(|bytes| bytes - self.held);
    }
}
