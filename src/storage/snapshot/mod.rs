//! Snapshots: the exact contents of one version of the tree, in one file.
//!
//! [`mod@format`] holds the tables and the writing and judging of single frames, [`read`] walks a file. Writing is
//! [`super::core`]'s, in slices between batches; what the records mean is `image`'s.

pub mod format;
pub mod read;

pub use format::{SnapshotInfo, snapshot_name, snapshot_zxid};
pub use read::{SnapshotFrame, SnapshotReader};

use crate::ids::Zxid;

/// How many bytes of records a snapshot's frame holds, unless a single record is longer. It is also the slice in which
/// snapshots are written: the log waits for at most one, which takes less than 100 us to put together. With its header and a last
/// record of usual length it fills whole blocks.
pub const SNAPSHOT_SLICE_LEN: usize = 30 << 10;

/// Gives out the contents of one version, which must not change meanwhile.
pub trait SnapshotSource: Send {
    /// What is to be written: the version's zxid, how many records of each kind, the tree's digest.
    fn info(&self) -> SnapshotInfo;
    /// Appends whole records to `out`, at least one if any is left, until it holds `budget` bytes or there are no more;
    /// how many were added. 0 says that there are no more.
    fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> u32;
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotDone {
    /// The version's zxid.
    pub zxid: Zxid,
    /// Length of the file, bytes.
    pub len: u64,
    /// Records in it.
    pub records: u64,
}
