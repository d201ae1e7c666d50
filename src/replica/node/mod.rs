//! The replica: takes what shards and the log core tell it, one event at a time, and says what has to be done about it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use self::ensemble::{Ensemble, LearnerRequest, SessionList};
pub use self::ensemble::{EnsembleOptions, Epochs};
use self::stalled::{Origin, Stalled, StalledLines};
use super::batch::{Moments, OpenBatch, Published, ReplyKind, Segment};
use super::event::{Action, Event, Now, Options};
use super::message::{
    Ask, Connect, ConnectionId, Gathered, Part, Question, ReplicaReport, SessionReport, ShardBatch, ShardItem, ToShard,
    Write,
};
use super::snapshots::SnapshotTrigger;
use crate::ids::{SessionId, Zxid};
use crate::pipeline::{Done, Pipeline, Reopened, Request, Sink};
use crate::time::Instant;
use crate::tree::Version;
use crate::wire::error_code::ErrorCode;
use crate::wire::op::OpCode;

/// Questions that may wait for answers at once; the oldest is forgotten beyond it (its connection times out).
const ASKS_MAX: usize = 256;

/// Log room that only the begin and the end of sessions may use, so that on a full disk clients can still come and read.
const SESSION_RESERVE_BYTES: u64 = 4 << 20;

/// What a log has to have room for, whatever its segments hold, besides its longest record: without it that record could wait for
/// ever, and everything behind it.
pub const LOG_ROOM_BESIDES_BYTES: u64 = SESSION_RESERVE_BYTES;

/// A batch that has grown to this many bytes of log waits in line behind the one that is on its way, and the next begins.
const BATCH_COST_MAX: u64 = 4 << 20;

/// Batches of a leader that may be on their way to a quorum at once; what comes then makes up the next, longer one.
const BATCHES_PROPOSED_MAX: usize = 4;

/// A batch that is on its way to the disk, or waits for one that is.
struct InFlight {
    /// Its last record; `None` if it has none and only had to keep its place.
    last: Option<Zxid>,
    segments: Vec<Segment>,
    /// `sync` requests in it of which a leader does not know yet whether it still led behind them.
    unconfirmed_syncs: u32,
    snapshot_sessions: Option<Vec<(SessionId, i32)>>,
    /// When it went on its way.
    launched: Instant,
    /// When its records were made.
    made: Moments,
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
    /// The time of the event at hand.
    now: Now,
    /// What it is and keeps as a member of an ensemble; `None` of a server that stands alone.
    ensemble: Option<Box<Ensemble>>,
    pipeline: Pipeline,
    open: OpenBatch,
    in_flight: VecDeque<InFlight>,
    /// When the records of a leader were made that its own log does not have yet, by batch: a quorum may have them before.
    unlogged: VecDeque<(Zxid, Moments)>,
    /// A snapshot that waits for the log to be durable through its version.
    snapshot_waiting: Option<(Version, SessionList)>,
    /// The newest zxid that clients may know of.
    published: Zxid,
    /// The version that holds it.
    published_version: Version,
    actions: VecDeque<Action>,

    /// What waits for room in the log.
    stalled: StalledLines,
    /// Sessions whose time is up, and whose ends wait for room in the log.
    expired: Vec<SessionId>,
    /// When time was last told to pass, and before when nobody expires: see [`Replica::expire`].
    ticked: Instant,
    expires_from: Instant,
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
            unlogged: VecDeque::new(),
            snapshot_waiting: None,
            ensemble: None,
            published: version.zxid(),
            published_version: version,
            actions: VecDeque::new(),
            stalled: StalledLines::default(),
            expired: Vec::new(),
            ticked: now.instant,
            expires_from: now.instant,
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
            now,
            pipeline,
        }
    }

    /// The version that shards begin with.
    pub fn published_version(&self) -> &Version {
        &self.published_version
    }

    /// What happened; afterwards the actions have to be fetched.
    pub fn handle(&mut self, now: Now, event: Event) {
        self.now = now;
        match event {
            Event::Shard(batch) => self.handle_shard(now, batch),
            Event::LogDurable(through) => self.handle_durable(now, through),
            Event::LogRoom { admit_through, full } => self.handle_room(now, admit_through, full),
            Event::SnapshotDone(_) => {
                self.snapshot_running = false;
                self.stats.snapshot_count += 1;
            }
            Event::Tick => self.handle_tick(now),
            Event::Configured => self.handle_configured(now),
            Event::EpochsSaved => self.handle_epochs_saved(now),
            Event::Truncated(state) => self.handle_truncated(now, *state),
            Event::Installed(zxid) => self.handle_installed(now, zxid),
            Event::EpochsFailed => self.handle_epochs_failed(now),
            Event::TruncateImpossible => self.handle_truncate_impossible(now),
            Event::InstallFailed(zxid) => self.handle_install_failed(now, zxid),
            Event::Notification { from, bytes } => self.handle_notification(now, from, &bytes),
            Event::PeerConnected(peer) => self.handle_peer(now, peer, true),
            Event::PeerLost(peer) => self.handle_peer(now, peer, false),
            Event::LinkOpened(link) => self.handle_link_opened(now, link),
            Event::LinkBytes(link, bytes) => self.handle_link_bytes(now, link, &bytes),
            Event::LinkProgress(link) => self.handle_link_progress(now, link),
            Event::LinkClosed(link) => self.handle_link_closed(link),
            Event::LeaderConnected(dial) => self.handle_leader_connected(now, dial),
            Event::LeaderBytes(dial, bytes) => self.handle_leader_bytes(now, dial, &bytes),
            Event::LeaderLost(dial) => self.handle_leader_lost(dial),
        }
        self.drive(now);
    }

    /// Sends the open batch on its way if it need not wait for others. To be called when all events at hand are handled: what
    /// came together is then committed together.
    pub fn settle(&mut self, now: Now) {
        self.now = now;
        if self.in_flight.len() < self.batches_in_flight_max() && !self.open.is_empty() {
            self.launch(now);
        }
        self.publish_ready();
        self.drive(now);
        self.end_turn_of_election(now);
        self.flush_links();
        self.flush_learner(now);
    }

    /// One that stands alone has one batch on its way: the next collects meanwhile. A leader has more, because the way to a
    /// quorum is longer than a sync.
    fn batches_in_flight_max(&self) -> usize {
        if self.ensemble.is_some() { BATCHES_PROPOSED_MAX } else { 1 }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether everything that was accepted is durable and published.
    pub fn is_drained(&self) -> bool {
        self.in_flight.is_empty() && self.open.is_empty() && self.stalled.is_empty()
    }
}

mod commit;
mod ensemble;
mod meter;
mod requests;
mod stalled;
#[cfg(test)]
mod tests;
mod upkeep;
