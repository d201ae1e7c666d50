//! The log core's thread: pinned, alone with the disk, asleep in its own ring.
//!
//! It takes commands from its inbox, steps the storage core, and sleeps until an operation completes or the inbox's doorbell is
//! rung. All decisions are the core's; this file only waits.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{Epoch, SessionId, Zxid};
use crate::quorum::Membership;
use crate::rt::clock;
use crate::rt::inbox::{Receiver, Sender};
use crate::storage::StorageError;
use crate::storage::core::{Command, LogCore, Report};
use crate::storage::disk::{Disk, Took};
use crate::storage::image::ImageSource;
use crate::storage::log::Batch;
use crate::storage::recovery::{self, Recovered};
use crate::time::Instant;
use crate::tree::Version;

use super::options::ConfigStore;
use super::shard::ToReplicaInbox;

/// Commands taken in one go.
const INBOX_TAKE_MAX: usize = 64;

/// Between the slices of a snapshot, or of what is purged, the thread sleeps for this long, unless there is a batch to write. Whoever
/// shares its core and was just told that something is durable can say so to the client meanwhile, and the device has time for the
/// log.
const SLICE_PAUSE: Duration = Duration::from_micros(100);

/// What the replica wants of the log.
pub(super) enum LogCommand {
    /// Make these records durable, as one group commit.
    Append(Batch),
    /// Write a snapshot.
    Snapshot { version: Version, sessions: Vec<(SessionId, i32)> },
    /// Cut the log behind this zxid, and bring back the state there: [`LogMessage::Reloaded`] or
    /// [`LogMessage::TruncateImpossible`].
    Truncate { to: Zxid },
    /// Save what was promised, behind everything appended before: [`LogMessage::EpochsSaved`] or
    /// [`LogMessage::EpochsFailed`].
    SaveEpochs { accepted: Option<Epoch>, current: Option<Epoch> },
    /// Save these configurations, before everything that comes behind: [`LogMessage::Configured`].
    Configure { committed: Arc<Membership>, last_seen: Option<Arc<Membership>> },
    /// This version takes the place of everything: [`LogMessage::Installed`] or [`LogMessage::InstallFailed`].
    Install {
        version: Version,
        sessions: Vec<(SessionId, i32)>,
        /// Names the new log; drawn at random.
        log_id: u64,
    },
    /// Time passed: try again what failed for lack of room.
    Tick,
    /// Finish what was given, say that all is durable, and end.
    Close,
    /// End at once, as if the power had failed.
    Crash,
}

/// What the log tells the replica.
pub(super) enum LogMessage {
    /// All records up to this one are durable.
    Durable {
        through: Zxid,
        /// How long the disk took for it.
        took: Took,
        /// Whether that is longer than the operator wants to bear without a word.
        is_slow: bool,
    },
    /// What may be given, as a sum of costs since the start; whether the disk is full beyond it.
    Room { admit_through: u64, full: bool },
    /// A snapshot is durable.
    SnapshotDone(Zxid),
    /// The log was cut; this is what it holds now. Costs and room count from the start again.
    Reloaded(Box<Recovered>),
    /// What lies before the cut is not here. Nothing was changed.
    TruncateImpossible,
    /// The epochs are durable.
    EpochsSaved,
    /// The configurations are saved, or the operator was told why not.
    Configured,
    /// There was no room for the epochs: those before still hold.
    EpochsFailed,
    /// The version has taken the place of everything, durably. The next [`LogMessage::Room`] may tell less than the last.
    Installed(Zxid),
    /// There was no room for it. Everything is as before.
    InstallFailed(Zxid),
    /// The disk failed. What was not durable will never be.
    Failed,
}

/// Why the thread ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// As it was told to.
    Closed,
    /// The disk failed, or does not hold what was written.
    Failed(StorageError),
}

/// Runs the storage core until it is told to end, or the disk fails, of which the caller tells the replica
/// ([`LogMessage::Failed`]). Runs on the thread that called it.
pub(super) fn run(
    mut disk: Box<dyn Disk>,
    mut core: LogCore,
    how_to_recover: &recovery::Options,
    config_store: Option<&dyn ConfigStore>,
    mut inbox: Receiver<LogCommand>,
    to_replica: &Sender<ToReplicaInbox>,
    sync_warning: Duration,
) -> Ended {
    let mut slow_syncs = SlowSyncs::new(sync_warning);
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
                LogCommand::Truncate { to } => core.handle(Command::Truncate { to }),
                LogCommand::SaveEpochs { accepted, current } => core.handle(Command::SaveEpochs { accepted, current }),
                LogCommand::Install { version, sessions, log_id } => {
                    let source = Box::new(ImageSource::new(version, sessions));
                    core.handle(Command::Install { source, log_id });
                }
                LogCommand::Configure { committed, last_seen } => {
                    if let Some(store) = config_store
                        && let Err(error) = store.save(&committed, last_seen.as_deref())
                    {
                        tracing::error!(
                            %error,
                            "the ensemble's configuration could not be saved: a restart of this server begins with the one before"
                        );
                    }
                    let _ = to_replica.send_blocking(ToReplicaInbox::Log(LogMessage::Configured));
                }
                LogCommand::Tick => core.handle(Command::Tick),
                LogCommand::Close => core.handle(Command::Close),
                LogCommand::Crash => return Ended::Closed,
            }
        }
        let again = core.step(&mut *disk);
        let mut told = report(&mut core, to_replica, &mut slow_syncs);
        if matches!(told, Told::Cut) {
            core = match reload(core, &mut *disk, how_to_recover, to_replica) {
                Ok(core) => core,
                Err(error) => return failed(error),
            };
            told = report(&mut core, to_replica, &mut slow_syncs);
        }
        if let Told::Ended(ended) = told {
            return ended;
        }
        if let Err(error) = disk.wait(!is_more && !again, &mut completions) {
            return failed(error.into());
        }
        for completion in completions.drain(..) {
            core.complete(completion);
        }
        // A cut is told by a step, never by a completion.
        if let Told::Ended(ended) = report(&mut core, to_replica, &mut slow_syncs) {
            return ended;
        }
        // A batch that came meanwhile has rung already.
        if (core.is_snapshotting() || core.is_purging()) && core.is_quiet() && inbox.is_empty() {
            disk.pause(SLICE_PAUSE);
        }
    }
}

/// What the core had to say.
enum Told {
    /// What the replica was told.
    All,
    /// And then, that the log was cut.
    Cut,
    /// And then, that it has ended.
    Ended(Ended),
}

/// Tells the replica what the core has to say.
fn report(core: &mut LogCore, to_replica: &Sender<ToReplicaInbox>, slow_syncs: &mut SlowSyncs) -> Told {
    while let Some(report) = core.poll_report() {
        let message = match report {
            Report::Durable { through, took } => {
                LogMessage::Durable { through, took, is_slow: slow_syncs.is_slow(took, through) }
            }
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
            Report::Truncated { through } => {
                tracing::warn!(%through, "the log was cut, as the leader asked");
                return Told::Cut;
            }
            Report::TruncateImpossible { to, error } => {
                tracing::warn!(%to, %error, "the log cannot be cut there; a snapshot from the leader is needed");
                LogMessage::TruncateImpossible
            }
            Report::EpochsSaved => LogMessage::EpochsSaved,
            Report::EpochsFailed { error } => {
                tracing::error!(%error, "no room to save the epoch");
                LogMessage::EpochsFailed
            }
            Report::Installed { zxid } => {
                tracing::info!(%zxid, "a snapshot from the leader has taken the place of everything");
                LogMessage::Installed(zxid)
            }
            Report::InstallFailed { zxid, error } => {
                tracing::error!(%zxid, %error, "no room for the leader's snapshot");
                LogMessage::InstallFailed(zxid)
            }
            Report::Failed(error) => return Told::Ended(failed(error)),
            Report::Closed => return Told::Ended(Ended::Closed),
        };
        // A replica that is gone has nobody to tell any more.
        let _ = to_replica.send_blocking(ToReplicaInbox::Log(message));
    }
    Told::All
}

/// Tells the operator of syncs that take too long (`fsync.warningthresholdms`), once in [`SLOW_SYNC_PAUSE`]: a disk that is slow is
/// slow for every batch.
struct SlowSyncs {
    threshold: Duration,
    quiet_until: Instant,
    unsaid: u64,
}

/// Between two warnings.
const SLOW_SYNC_PAUSE: Duration = Duration::from_secs(1);

impl SlowSyncs {
    fn new(threshold: Duration) -> Self {
        Self { threshold, quiet_until: Instant::default(), unsaid: 0 }
    }

    /// Whether it was too slow. As Apache counts: in whole milliseconds, and only what is above the threshold.
    fn is_slow(&mut self, took: Took, through: Zxid) -> bool {
        let Some(sync) = took.sync.filter(|sync| sync.as_millis() > self.threshold.as_millis()) else { return false };
        let now = clock::now();
        if now < self.quiet_until {
            self.unsaid += 1;
        } else {
            self.quiet_until = now + SLOW_SYNC_PAUSE;
            let unsaid = std::mem::take(&mut self.unsaid);
            tracing::warn!(
                took_ms = sync.as_millis() as u64,
                threshold_ms = self.threshold.as_millis() as u64,
                %through,
                others_since_the_last_warning = unsaid,
                "a sync of the log took longer than fsync.warningthresholdms: writes wait as long; is the disk shared?"
            );
        }
        true
    }
}

/// Brings back the state at a cut, for the replica, and opens the folder again.
fn reload(
    core: LogCore,
    disk: &mut dyn Disk,
    how: &recovery::Options,
    to_replica: &Sender<ToReplicaInbox>,
) -> Result<LogCore, StorageError> {
    let (core, recovered) = recovery::reload(core, disk, how, &mut |_| {})?;
    tracing::info!(zxid = %recovered.tree.view().zxid(), "recovered behind the cut");
    let _ = to_replica.send_blocking(ToReplicaInbox::Log(LogMessage::Reloaded(Box::new(recovered))));
    Ok(core)
}

fn failed(error: StorageError) -> Ended {
    tracing::error!(%error, "the disk failed: the server ends, and recovers at its next start what was acknowledged");
    Ended::Failed(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_above_the_threshold_are_slow_and_told_once_in_a_while() {
        let mut slow_syncs = SlowSyncs::new(Duration::from_millis(20));
        let took =
            |sync: Option<u64>| Took { write: Some(Duration::from_secs(9)), sync: sync.map(Duration::from_micros) };
        // As Apache counts them: 20.9 ms are 20.
        for (sync, is_slow) in [(None, false), (Some(300), false), (Some(20_900), false), (Some(21_000), true)] {
            assert_eq!(slow_syncs.is_slow(took(sync), Zxid(1)), is_slow, "{sync:?}");
        }
        assert_eq!(slow_syncs.unsaid, 0, "the first is told at once");
        for _ in 0..3 {
            assert!(slow_syncs.is_slow(took(Some(50_000)), Zxid(2)));
        }
        assert_eq!(slow_syncs.unsaid, 3, "those that follow within a second are counted");
        slow_syncs.quiet_until = Instant::default();
        assert!(slow_syncs.is_slow(took(Some(50_000)), Zxid(3)));
        assert_eq!(slow_syncs.unsaid, 0, "and told with the next");
    }
}
