//! What the log core is told, what it says, and how it is set.

use crate::ids::{Epoch, Zxid};
use crate::storage::disk::{BLOCK_LEN, Took};
use crate::storage::error::StorageError;
use crate::storage::log::Batch;
use crate::storage::log::format::{FrameLayout, RECORD_HEADER_LEN, SEGMENT_HEADER_LEN, SEGMENT_LEN_MAX, batch_cost};
use crate::storage::snapshot::{SnapshotDone, SnapshotSource};

/// The longest record that the log takes, whatever the options say: two of them fit into the longest segment.
pub const RECORD_LEN_MAX: usize = 500 << 20;

/// How storage writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Length of a new segment in bytes (`preAllocSize`).
    pub segment_len: u64,
    /// Longest payload of a record, bytes.
    pub record_len_max: usize,
    /// Whether a batch is acknowledged only when it would survive a power cut (`forceSync`).
    ///
    /// Without, a power cut may take the last of what was acknowledged, and does so silently where what is left is a whole
    /// prefix of the log. Where it is not (a later write arrived and an earlier one did not), recovery refuses and names the
    /// place: which records to give up is the operator's to say, and in an ensemble a member with an emptied folder gets
    /// everything from the others. A process that was killed loses nothing either way.
    pub force_sync: bool,
    /// How many snapshots are kept (`autopurge.snapRetainCount`) with the log behind the oldest of them; 0 keeps all.
    pub snapshots_retained: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_len: 64 << 20, record_len_max: 8 << 20, force_sync: true, snapshots_retained: 3 }
    }
}

impl Options {
    /// The same with lengths that work together: a segment holds at least two of the longest records, and is not longer than
    /// [`SEGMENT_LEN_MAX`]; so no record is longer than [`RECORD_LEN_MAX`], whatever was asked for.
    #[must_use]
    pub fn checked(mut self) -> Self {
        self.record_len_max = self.record_len_max.min(RECORD_LEN_MAX);
        let least = (SEGMENT_HEADER_LEN + 2 * self.record_frame_len_max() + 4 * BLOCK_LEN) as u64;
        self.segment_len = self.segment_len.clamp(least, SEGMENT_LEN_MAX).next_multiple_of(BLOCK_LEN as u64);
        assert!(self.segment_len <= SEGMENT_LEN_MAX, "a segment of {} bytes", self.segment_len);
        self
    }

    /// The same with segments so long that a log which has room for another one takes the longest record and this many bytes
    /// besides, however its segments happen to be filled.
    #[must_use]
    pub fn with_room_besides(mut self, bytes: u64) -> Self {
        self = self.checked();
        let wanted = batch_cost(self.record_len_max + RECORD_HEADER_LEN) + bytes;
        self.segment_len += wanted.saturating_sub(self.batch_cost_max());
        self.checked()
    }

    /// The largest [`Batch::cost`] that is sure to be admitted at some time, however the segments happen to be filled.
    /// Whoever builds batches must stay below it.
    pub fn batch_cost_max(&self) -> u64 {
        self.segment_len - SEGMENT_HEADER_LEN as u64 - self.waste_max()
    }

    /// A frame with one record of the longest kind.
    fn record_frame_len_max(&self) -> usize {
        FrameLayout::of(self.record_len_max + RECORD_HEADER_LEN).len
    }

    /// What can be left unused at the end of a segment, at most: the next record did not fit, or a batch was split there
    /// and costs a header more.
    pub(super) fn waste_max(&self) -> u64 {
        (self.record_frame_len_max() + 2 * BLOCK_LEN) as u64
    }
}

/// What the core is told to do.
pub enum Command {
    /// Append the batch; [`Report::Durable`] tells when it is safe. Zxids rise from batch to batch.
    Append(Batch),
    /// Write this version as a snapshot; [`Report::SnapshotDone`] or [`Report::SnapshotFailed`] tells how it ended.
    Snapshot(Box<dyn SnapshotSource>),
    /// Cut the log behind the last record that is not above `to`. Behind everything that was appended before; nothing may be
    /// appended until [`Report::Truncated`], and only what lies behind the cut then. A snapshot under way is given up, without
    /// a report. The state at the cut is had with [`crate::storage::recovery::reload`].
    Truncate {
        /// The last zxid that may stay.
        to: Zxid,
    },
    /// Save what the server promised. Behind everything that was appended before: history first, then the epoch (reference
    /// 4.1: 4643). [`Report::EpochsSaved`] tells.
    SaveEpochs {
        /// The highest epoch promised to a leader; `None` leaves it.
        accepted: Option<Epoch>,
        /// The epoch of the history that is here; `None` leaves it.
        current: Option<Epoch>,
    },
    /// A snapshot from the leader takes the place of everything: the log that is here becomes void, and a new one begins
    /// behind it. Nothing may be appended until [`Report::Installed`] or [`Report::InstallFailed`]. A snapshot under way is given
    /// up, without a report.
    Install {
        /// The snapshot.
        source: Box<dyn SnapshotSource>,
        /// Names the new log; drawn at random.
        log_id: u64,
    },
    /// Time has passed (some 100 ms): look whether there is room again, and mark an idle log as durable.
    Tick,
    /// Finish what was admitted, mark the log as durable, then [`Report::Closed`]. A snapshot under way is given up.
    Close,
}

/// What the core says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Everything up to and including this transaction is durable (or, without `force_sync`, written).
    Durable {
        /// The last such transaction.
        through: Zxid,
        /// How long the disk took for the frame that ends there.
        took: Took,
    },
    /// Batches may be admitted as long as the sum of their [`Batch::cost`], from the first since the core was opened, is
    /// not above this. Never falls, except where [`Report::Truncated`], [`Report::Installed`] and
    /// [`Report::InstallFailed`] say so.
    Room {
        /// The sum, bytes.
        admit_through: u64,
        /// The device has no room for another segment: what is left is all that there is until further notice.
        full: bool,
    },
    /// A snapshot is complete, checked and durable.
    SnapshotDone(SnapshotDone),
    /// A snapshot was given up, and nothing of it is left; the log goes on.
    SnapshotFailed {
        /// The version's zxid.
        zxid: Zxid,
        /// Why.
        error: StorageError,
    },
    /// The log is cut, durably, or there was nothing to cut. Costs and room count from the start again, as if the core had just
    /// been opened: nothing may be appended before the next [`Report::Room`].
    Truncated {
        /// The last record that is left.
        through: Zxid,
    },
    /// The log cannot be cut there, since what lies before is not here. Nothing was changed: the way on is a snapshot from the
    /// leader, as if this server had nothing.
    TruncateImpossible {
        /// Where it was to be cut.
        to: Zxid,
        /// Why.
        error: StorageError,
    },
    /// The epochs are durable.
    EpochsSaved,
    /// There is no room for them. What was saved before still holds, so what they would have promised must not be said.
    EpochsFailed {
        /// Why.
        error: StorageError,
    },
    /// The snapshot is durable and has taken the place of everything. Costs and room count from the start again, as behind
    /// [`Report::Truncated`].
    Installed {
        /// Its zxid; the log goes on behind it.
        zxid: Zxid,
    },
    /// There is no room for the snapshot. Everything is as before, and costs count on; the next [`Report::Room`] may tell less
    /// than the one before.
    InstallFailed {
        /// The snapshot's zxid.
        zxid: Zxid,
        /// Why.
        error: StorageError,
    },
    /// Old files were removed.
    Purged {
        /// Their names.
        files: Vec<String>,
    },
    /// Storage has ended. Nothing is acknowledged behind this.
    Failed(StorageError),
    /// Everything that was admitted is durable, and nothing more will be done.
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A write that is never admitted would hold up all behind it for ever.
    #[test]
    fn the_longest_record_is_admitted_at_some_time_whatever_the_operator_asks_for() {
        for record_len_max in [1 << 10, 8 << 20, (8 << 20) + 1, 40_000_000, RECORD_LEN_MAX, usize::MAX] {
            for segment_len in [0, 4 << 20, 16 << 20, 64 << 20, 1 << 30, u64::MAX] {
                let options = Options { segment_len, record_len_max, ..Options::default() }.with_room_besides(4 << 20);
                let longest = batch_cost(options.record_len_max + RECORD_HEADER_LEN);
                let room = options.batch_cost_max();
                assert!(longest + (4 << 20) <= room, "{longest} of {room}: {options:?}");
                assert!(options.segment_len <= SEGMENT_LEN_MAX);
            }
        }
    }
}
