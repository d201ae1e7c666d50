//! The life of a batch: open (writes join it), in flight (its log records are on their way to the disk), published.
//!
//! A batch is one group commit. Within it a *segment* ends wherever a client's read must see the state between two of its
//! own writes: every segment has a version of its own, but all share the one sync. Answers lie in the batch as finished frames,
//! sorted by shard, each with the number of changes that come before it: a shard fires those watches first, so an event
//! reaches a client before any answer that shows the state behind it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::{SessionId, Zxid};
use crate::quorum::Membership;
use crate::storage::log::BatchBuilder;
use crate::time::Instant;
use crate::tree::{Change, Version};
use crate::wire::connect::Password;

use super::message::ConnectionId;

/// A durable batch as every shard gets it.
pub struct Published {
    /// In order; a shard takes them one at a time.
    pub segments: Vec<Segment>,
    /// When it was known that they may be seen.
    pub decided: Instant,
}

impl Published {
    /// Whether a client of this shard waits for an answer that is in it.
    pub fn answers(&self, shard: usize) -> bool {
        self.segments.iter().any(|segment| !segment.replies[shard].is_empty())
    }
}

/// Some writes, and the version that holds them.
pub struct Segment {
    /// The tree after all of its writes.
    pub version: Version,
    /// What its writes changed, in their order.
    pub changes: Vec<Change>,
    /// Answers by shard, in the order of the writes.
    pub replies: Vec<Vec<Reply>>,
    /// The frames that the replies point into.
    pub frames: Vec<u8>,
}

/// An answer that was waiting for the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// To whom.
    pub connection: ConnectionId,
    /// How many of the segment's changes come before it.
    pub changes_before: usize,
    /// What it is.
    pub kind: ReplyKind,
}

/// What an answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// A frame to send.
    Answer(Range<usize>),
    /// The last frame to send: the session is closed.
    Last(Range<usize>),
    /// The handshake succeeded.
    Opened {
        /// The session.
        session: SessionId,
        /// Its timeout.
        timeout_ms: i32,
        /// Its password.
        password: Password,
    },
    /// The handshake failed: no such session, or a wrong password.
    Refused,
    /// The connection ends without another word (expired session, client ahead of the server, no room for a session).
    Close,
}

/// A batch that writes join.
#[derive(Default)]
pub(super) struct OpenBatch {
    /// Log records, encoded and framed as they will lie on the disk.
    pub(super) log: BatchBuilder,
    /// The last record's zxid.
    pub(super) last: Option<Zxid>,
    /// How many records there are.
    pub(super) records: u64,
    /// Segments that are closed.
    pub(super) closed: Vec<Segment>,
    /// The segment that writes join.
    pub(super) changes: Vec<Change>,
    pub(super) frames: Vec<u8>,
    pub(super) replies: Vec<Vec<Reply>>,
    pub(super) replies_len: usize,
    /// Whether records joined since the last cut.
    pub(super) segment_has_records: bool,
    /// The records once more, one behind the other, for the peers of a leader; empty elsewhere.
    pub(super) proposals: Vec<u8>,
    /// Their zxids, and where each ends.
    pub(super) proposal_ends: Vec<(Zxid, usize)>,
    /// The configuration that its last record proposes, if it does.
    pub(super) reconfiguration: Option<Arc<Membership>>,
    /// `sync` requests in it that a leader has to have confirmed.
    pub(super) unconfirmed_syncs: u32,
    /// When its requests were handed over by the shards.
    pub(super) handed: Moments,
    /// When its records were made.
    pub(super) made: Moments,
}

/// When several things happened, each time once with how many things happened then: few, because the clock is read once a turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Moments(Vec<(Instant, u64)>);

impl Moments {
    /// One more thing.
    pub(super) fn note(&mut self, at: Instant) {
        match self.0.last_mut() {
            Some((last, count)) if *last == at => *count += 1,
            _ => self.0.push((at, 1)),
        }
    }

    /// How long ago they were at `now`, and how many share it.
    pub(super) fn ages(&self, now: Instant) -> impl Iterator<Item = (Duration, u64)> {
        self.0.iter().map(move |(at, count)| (now.since(*at), *count))
    }

    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

impl OpenBatch {
    pub(super) fn new(shards: usize) -> Self {
        Self { replies: vec![Vec::new(); shards], ..Self::default() }
    }

    /// Whether there is nothing in it at all.
    pub(super) fn is_empty(&self) -> bool {
        !self.segment_has_records && self.last.is_none() && self.closed.is_empty() && self.replies_len == 0
    }

    /// Lets an answer wait for this batch.
    pub(super) fn reply(&mut self, connection: ConnectionId, kind: ReplyKind) {
        let changes_before = self.changes.len();
        self.replies[usize::from(connection.shard)].push(Reply { connection, changes_before, kind });
        self.replies_len += 1;
    }

    /// Ends the segment that writes join; `version` holds all of them.
    pub(super) fn end_segment(&mut self, version: Version) {
        let shards = self.replies.len();
        self.closed.push(Segment {
            version,
            changes: std::mem::take(&mut self.changes),
            replies: std::mem::replace(&mut self.replies, vec![Vec::new(); shards]),
            frames: std::mem::take(&mut self.frames),
        });
        self.replies_len = 0;
        self.segment_has_records = false;
    }
}
