//! The executor that runs the [`Replica`]: takes what has arrived, has it handled, performs what comes out. The only place
//! where the replica meets a clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::admin::figures::{Counter, Figures, Measure};
use crate::replica::{Action, Event, Now, Replica};
use crate::rt::clock;
use crate::rt::executor::timeout;
use crate::rt::inbox::{Receiver, Sender};

use super::log_thread::{LogCommand, LogMessage};
use super::shard::{ToReplicaInbox, ToShardInbox};
use crate::ids::Zxid;
use crate::replica::message::{Part, ToShard};
use crate::time::Instant;

/// Messages taken in one go: all of them join one group commit.
const INBOX_TAKE_MAX: usize = 1024;

/// Runs the replica until the server stops or the log fails.
pub(super) async fn run(
    mut replica: Replica,
    mut inbox: Receiver<ToReplicaInbox>,
    shards: Vec<Sender<ToShardInbox>>,
    log: Sender<LogCommand>,
    tick: Duration,
    drain_timeout: Duration,
    recovery: Duration,
) {
    let mut watch = Stopwatch::new(recovery);
    let mut messages = Vec::with_capacity(INBOX_TAKE_MAX);
    let mut next_tick = clock::now() + tick;
    let mut stop_at = None;
    let mut crashed = false;
    loop {
        let wait = next_tick.since(clock::now());
        if matches!(timeout(wait, inbox.recv_many(&mut messages, INBOX_TAKE_MAX)).await, Some(Err(_))) {
            break;
        }
        let now = Now { instant: clock::now(), wall: clock::wall() };
        for message in messages.drain(..) {
            match message {
                ToReplicaInbox::Shard(batch) => replica.handle(now, Event::Shard(batch)),
                ToReplicaInbox::Log(LogMessage::Durable(through)) => {
                    watch.durable(through, now.instant);
                    replica.handle(now, Event::LogDurable(through));
                }
                ToReplicaInbox::Log(LogMessage::Room { admit_through, full }) => {
                    replica.handle(now, Event::LogRoom { admit_through, full });
                }
                ToReplicaInbox::Log(LogMessage::SnapshotDone(zxid)) => {
                    watch.snapshot_done(now.instant);
                    replica.handle(now, Event::SnapshotDone(zxid));
                }
                ToReplicaInbox::Log(LogMessage::Failed) => crashed = true,
                // Answers to commands that a server without an ensemble never gives.
                ToReplicaInbox::Log(
                    LogMessage::Reloaded(_)
                    | LogMessage::TruncateImpossible { .. }
                    | LogMessage::EpochsSaved
                    | LogMessage::EpochsFailed
                    | LogMessage::Installed(_)
                    | LogMessage::InstallFailed(_),
                ) => {}
                ToReplicaInbox::Stop => stop_at = Some(now.instant + drain_timeout),
                ToReplicaInbox::Crash => crashed = true,
            }
        }
        if crashed {
            // What is not durable is not said. Shards close their connections; the server ends.
            break;
        }
        if now.instant >= next_tick {
            // A tick that comes far too late comes after a pause of the machine: signs of life may still wait to be read, so
            // nobody expires before the next one.
            let is_after_pause = now.instant.since(next_tick) > tick;
            next_tick = now.instant + tick;
            if stop_at.is_none() && !is_after_pause {
                replica.handle(now, Event::Tick);
            }
            // A full log is asked again for room. One that is behind is not asked twice: ticks must never fill its inbox.
            if log.is_empty() {
                let _ = log.try_send(LogCommand::Tick);
            }
        }
        replica.settle(Now { instant: clock::now(), wall: clock::wall() });
        perform(&mut replica, &shards, &log, &mut watch).await;
        if stop_at.is_some_and(|stop_at| replica.is_drained() || now.instant >= stop_at) {
            break;
        }
    }
    let _ = log.send(if crashed { LogCommand::Crash } else { LogCommand::Close }).await;
    for shard in &shards {
        let _ = shard.send(ToShardInbox::Replica(ToShard::Stop)).await;
    }
}

/// Performs all that the replica asks for. A send waits while the other side's inbox is full: that is the back-pressure, and
/// it cannot lock up, because shards never stop to take from their inboxes while they wait for ours, and the log's, which does,
/// is never full (`LOG_INBOX_MAX`).
async fn perform(
    replica: &mut Replica,
    shards: &[Sender<ToShardInbox>],
    log: &Sender<LogCommand>,
    watch: &mut Stopwatch,
) {
    while let Some(action) = replica.poll_action() {
        // Whoever is gone ends the server himself; there is nobody to tell.
        match action {
            Action::Append(batch) => {
                watch.appended.push_back((batch.last(), clock::now()));
                let _ = log.send(LogCommand::Append(batch)).await;
            }
            Action::Snapshot { version, sessions } => {
                watch.snapshot_begun = Some(clock::now());
                let _ = log.send(LogCommand::Snapshot { version, sessions }).await;
            }
            Action::ToShard(shard, mut message) => {
                if let ToShard::Answer(_, gathered) = &mut message {
                    let expired = gathered.replica.expired_count;
                    Arc::make_mut(gathered).parts.push(Part(Arc::new(watch.figures(expired))));
                }
                let _ = shards[shard].send(ToShardInbox::Replica(message)).await;
            }
            Action::SaveEpochs { .. }
            | Action::Truncate(_)
            | Action::Install { .. }
            | Action::Notify { .. }
            | Action::Listen(_)
            | Action::ToLink(..)
            | Action::SnapshotToLink { .. }
            | Action::CloseLink(_)
            | Action::Dial(..)
            | Action::ToLeader(..)
            | Action::HangUp(_) => panic!("a server that stands alone was told to speak to an ensemble"),
        }
    }
}

/// Takes the times of what the log does for the replica, for the operator: the replica itself has no clock.
struct Stopwatch {
    figures: Figures,
    /// When the batches were handed over that are not durable yet. The log may report several at once.
    appended: VecDeque<(Zxid, Instant)>,
    snapshot_begun: Option<Instant>,
}

impl Stopwatch {
    fn new(recovery: Duration) -> Self {
        let counters = [Counter::StaleSessionsExpired, Counter::UnrecoverableErrors, Counter::DigestMismatches];
        let mut figures = Figures::of(&counters, &[Measure::SyncTime, Measure::SnapshotTime], &[]);
        figures.record(Measure::DbInitTime, recovery.as_micros() as u64);
        Self { figures, appended: VecDeque::new(), snapshot_begun: None }
    }

    fn durable(&mut self, through: Zxid, now: Instant) {
        while let Some((_, appended)) = self.appended.pop_front_if(|(last, _)| *last <= through) {
            self.figures.record(Measure::SyncTime, now.since(appended).as_micros() as u64);
        }
    }

    fn snapshot_done(&mut self, now: Instant) {
        if let Some(begun) = self.snapshot_begun.take() {
            self.figures.record(Measure::SnapshotTime, now.since(begun).as_micros() as u64);
        }
    }

    fn figures(&self, expired: u64) -> Figures {
        let mut figures = self.figures.clone();
        figures.add(Counter::StaleSessionsExpired, expired);
        figures
    }
}
