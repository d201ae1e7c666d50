//! The log: a chain of records in segment files, each group commit one aligned write that is never touched again.
//!
//! [`mod@format`] holds the tables, [`batch`] fills buffers, [`scan`] judges bytes without touching a disk, [`read`] walks a
//! folder. Writing is [`super::core`]'s alone.

pub mod batch;
pub mod format;
pub mod marker;
pub mod read;
pub mod scan;

pub use batch::{Batch, BatchBuilder};
pub use format::{Position, segment_name, segment_sequence};
pub use marker::Marker;
pub use read::{LogIndex, LogTail, Replay, ReplaySegment, SegmentInfo};
