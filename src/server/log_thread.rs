//! The log core's thread: pinned, alone with the disk, asleep in its own ring.
//!
//! It takes commands from its inbox, steps the storage core, and sleeps until an operation completes or the inbox's doorbell is
//! rung. All decisions are the core's; this file only waits.

use crate::ids::{SessionId, Zxid};
use crate::rt::inbox::{Receiver, Sender};
use crate::storage::core::{Command, LogCore, Report};
use crate::storage::disk::{Disk, DiskError};
use crate::storage::image::ImageSource;
use crate::storage::log::Batch;
use crate::tree::Version;

use super::shard::ToReplicaInbox;

/// Commands taken in one go.
const INBOX_TAKE_MAX: usize = 64;

/// What the replica wants of the log.
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
    /// What may be given, as a sum of costs since the start; whether the disk is full beyond it.
    Room { admit_through: u64, full: bool },
    /// A snapshot is durable.
    SnapshotDone(Zxid),
    /// The disk failed. What was not durable will never be.
    Failed,
}

/// Why the thread ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// As it was told to.
    Closed,
    /// The disk failed.
    Failed(DiskError),
}

/// Runs the storage core until it is told to end, or the disk fails. Runs on the thread that called it.
pub(super) fn run(
    mut disk: Box<dyn Disk>,
    mut core: LogCore,
    mut inbox: Receiver<LogCommand>,
    to_replica: &Sender<ToReplicaInbox>,
) -> Ended {
    let mut commands = Vec::with_capacity(INBOX_TAKE_MAX);
    let mut completions = Vec::new();
    loop {
        // Taking also asks for the doorbell to be rung by whatever comes behind it.
        let taken = inbox.try_recv_many(&mut commands, INBOX_TAKE_MAX);
        let is_more = matches!(taken, Ok(len) if len == INBOX_TAKE_MAX);
        if taken.is_err() {
            // The replica is gone without a word: end as it did.
            return Ended::Closed;
        }
        for command in commands.drain(..) {
            match command {
                LogCommand::Append(batch) => core.handle(Command::Append(batch)),
                LogCommand::Snapshot { version, sessions } => {
                    core.handle(Command::Snapshot(Box::new(ImageSource::new(version, sessions))));
                }
                LogCommand::Tick => core.handle(Command::Tick),
                LogCommand::Close => core.handle(Command::Close),
                LogCommand::Crash => return Ended::Closed,
            }
        }
        let again = core.step(&mut *disk);
        if let Some(ended) = report(&mut core, to_replica) {
            return ended;
        }
        if let Err(error) = disk.wait(!is_more && !again, &mut completions) {
            return failed(error, to_replica);
        }
        for completion in completions.drain(..) {
            core.complete(completion);
        }
        if let Some(ended) = report(&mut core, to_replica) {
            return ended;
        }
    }
}

/// Tells the replica what the core has to say; how it ended, if it did.
fn report(core: &mut LogCore, to_replica: &Sender<ToReplicaInbox>) -> Option<Ended> {
    while let Some(report) = core.poll_report() {
        let message = match report {
            Report::Durable { through } => LogMessage::Durable(through),
            Report::Room { admit_through, full } => LogMessage::Room { admit_through, full },
            Report::SnapshotDone(done) => {
                tracing::info!(zxid = %done.zxid, bytes = done.len, records = done.records, "snapshot written");
                LogMessage::SnapshotDone(done.zxid)
            }
            Report::SnapshotFailed { zxid, error } => {
                tracing::error!(%zxid, %error, "snapshot given up; the log goes on");
                LogMessage::SnapshotDone(zxid)
            }
            Report::Purged { files } => {
                tracing::info!(?files, "old files removed");
                continue;
            }
            Report::Failed(error) => return Some(failed(error, to_replica)),
            Report::Closed => return Some(Ended::Closed),
        };
        // A replica that is gone has nobody to tell any more.
        let _ = to_replica.send_blocking(ToReplicaInbox::Log(message));
    }
    None
}

fn failed(error: DiskError, to_replica: &Sender<ToReplicaInbox>) -> Ended {
    tracing::error!(%error, "the disk failed: the server ends, and recovers at its next start what was acknowledged");
    let _ = to_replica.send_blocking(ToReplicaInbox::Log(LogMessage::Failed));
    Ended::Failed(error)
}
