//! The log core's thread: pinned, alone with the disk, asleep in its own ring.
//!
//! It takes commands from its inbox, steps the storage core, and sleeps until an operation completes or the inbox's doorbell is
//! rung. All decisions are the core's; this file only waits.

use std::sync::Arc;

use crate::ids::{SessionId, Zxid};
use crate::rt::inbox::{Receiver, Sender};
use crate::storage::core::{LogCore, Report};
use crate::storage::disk::Disk;
use crate::storage::log::Batch;
use crate::tree::Version;

use super::shard::ToReplicaInbox;

/// Commands taken in one go.
const INBOX_TAKE_MAX: usize = 64;

/// What the replica wants of the log.
#[derive(Debug)]
pub(super) enum LogCommand {
    /// Make these records durable, as one group commit.
    Append(Batch),
    /// Write a snapshot.
    Snapshot { version: Version, sessions: Vec<(SessionId, i32)> },
    /// Time passed: try again what failed for lack of room.
    Tick,
    /// Finish what was given, say that all is durable, and end.
    Close,
    /// End at once, as if the power had failed.
    Crash,
}

/// What the log tells the replica.
#[derive(Debug)]
pub(super) enum LogMessage {
    /// All records up to this one are durable.
    Durable(Zxid),
    /// Room for this many bytes for certain; whether the disk is full beyond it.
    Room { bytes: u64, full: bool },
    /// A snapshot is durable.
    SnapshotDone(Zxid),
    /// The disk failed. What was not durable will never be.
    Failed,
}
