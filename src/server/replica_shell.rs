//! The executor that runs the [`Replica`]: takes what has arrived, has it handled, performs what comes out. The only place
//! where the replica meets a clock.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use crate::admin::figures::{Counter, Figures, Measure};
use crate::ids::ServerId;
use crate::latency::{Stage, Stages};
use crate::quorum::{HostPort, Membership};
use crate::replica::event::Reloaded;
use crate::replica::message::{Part, Question, Standing, ToShard};
use crate::replica::{Action, Event, Now, Replica};
use crate::rt::executor::{timeout, yield_now};
use crate::rt::inbox::{Receiver, Sender};
use crate::rt::listener::Listener;
use crate::rt::{clock, process};
use crate::storage::apache::SnapWriter;
use crate::storage::disk::Took;
use crate::time::Instant;
use crate::tree::Version;

use super::acceptor::ClientPlaces;
use super::log_thread::{LogCommand, LogMessage};
use super::options::PeerOptions;
use super::peers::Peers;
use super::shard::{SharedCounts, ToReplicaInbox, ToShardInbox};

/// Bytes of a snapshot for a learner that are made in one go.
const SNAPSHOT_SLICE_BYTES: usize = 256 << 10;

/// Messages taken in one go: all of them join one group commit.
const INBOX_TAKE_MAX: usize = 1024;

/// What the shell holds beside the replica.
pub(super) struct Wiring {
    pub(super) shards: Vec<Sender<ToShardInbox>>,
    pub(super) log: Sender<LogCommand>,
    /// How often the replica is told that time has passed, at the least.
    pub(super) tick: Duration,
    pub(super) drain_timeout: Duration,
    /// How long recovery took, for the operator.
    pub(super) recovery: Duration,
    /// The other servers; `None` for a server that stands alone.
    pub(super) ensemble: Option<EnsembleWiring>,
    /// Where operators' words look.
    pub(super) shared: Arc<SharedCounts>,
}

/// What a member needs besides.
pub(super) struct EnsembleWiring {
    pub(super) peers: PeerOptions,
    pub(super) election_port: Vec<Listener>,
    /// Who looks after the ports for clients.
    pub(super) doorman: Sender<ClientPlaces>,
}

/// Votes and links are looked after at least so often in an ensemble; sooner if the replica asks for it.
const MEMBER_TICK: Duration = Duration::from_millis(50);

/// Runs the replica until the server stops or the log fails.
pub(super) async fn run(mut replica: Replica, mut inbox: Receiver<ToReplicaInbox>, wiring: Wiring) {
    let Wiring { shards, log, tick: pace, drain_timeout, recovery, ensemble, shared } = wiring;
    let tick = if ensemble.is_some() { pace.min(MEMBER_TICK) } else { pace };
    let mut doors = None;
    let peers = ensemble.map(|ensemble| {
        doors = Some(Doors::new(&ensemble.peers, ensemble.doorman));
        Peers::start(ensemble.peers, ensemble.election_port)
    });
    let started = clock::now();
    let watch = Stopwatch::new(recovery, started);
    let mut hands = Hands { shards, to_wake: Vec::new(), log, watch, peers, doors, shared };
    let mut messages = Vec::with_capacity(INBOX_TAKE_MAX);
    let mut next_tick = started + tick;
    let mut next_log_tick = started + pace;
    let mut quiet_until = started;
    let mut stop_at = None;
    let mut crashed = false;
    // A member begins to vote before anything has happened.
    hands.perform(&mut replica).await;
    loop {
        let due = replica.next_timer().map_or(next_tick, |timer| timer.min(next_tick));
        let wait = due.since(clock::now());
        let mut has_waited = false;
        let arrived = poll_fn(|cx| {
            let told = hands.peers.as_ref().is_some_and(|peers| peers.poll_ready(cx).is_ready());
            match inbox.poll_recv_many(cx, &mut messages, INBOX_TAKE_MAX) {
                Poll::Pending if told => Poll::Ready(Ok(0)),
                arrived => {
                    has_waited |= arrived.is_pending();
                    arrived
                }
            }
        });
        if matches!(timeout(wait, arrived).await, Some(Err(_))) {
            break;
        }
        if !has_waited && hands.peers.is_some() {
            // Only a task that waits lets the sockets of the others be looked at, and a busy replica never does.
            yield_now().await;
        }
        let now = Now { instant: clock::now(), wall: clock::wall() };
        for message in messages.drain(..) {
            match message {
                ToReplicaInbox::Shard(batch) => replica.handle(now, Event::Shard(batch)),
                ToReplicaInbox::Log(LogMessage::Failed) => crashed = true,
                ToReplicaInbox::Log(message) => {
                    let event = hands.hear_log(message, now);
                    replica.handle(now, event);
                }
                ToReplicaInbox::Stop => {
                    stop_at = Some(now.instant + drain_timeout);
                }
                ToReplicaInbox::Crash => crashed = true,
            }
        }
        if crashed {
            // What is not durable is not said. Shards close their connections; the server ends.
            break;
        }
        for event in hands.peers.as_ref().map(Peers::take).unwrap_or_default() {
            replica.handle(now, event);
        }
        if now.instant.since(next_tick) > pace {
            // A tick that comes far too late comes after a pause of the machine: signs of life may still wait to be read, so
            // nobody expires before everybody had time to be heard.
            quiet_until = now.instant + pace;
        }
        let is_due = replica.next_timer().is_some_and(|timer| timer <= now.instant);
        if now.instant >= next_tick || is_due {
            next_tick = now.instant + tick;
            if stop_at.is_none() && now.instant >= quiet_until {
                replica.handle(now, Event::Tick);
            }
        }
        if now.instant >= next_log_tick {
            next_log_tick = now.instant + pace;
            // A full log is asked again for room. One that is behind is not asked twice: ticks must never fill its inbox.
            if hands.log.is_empty() {
                let _ = hands.log.try_send(LogCommand::Tick);
            }
        }
        replica.settle(Now { instant: clock::now(), wall: clock::wall() });
        hands.perform(&mut replica).await;
        if stop_at.is_some_and(|stop_at| replica.is_drained() || now.instant >= stop_at) {
            break;
        }
    }
    let _ = hands.log.send(if crashed { LogCommand::Crash } else { LogCommand::Close }).await;
    for shard in &hands.shards {
        let _ = shard.send(ToShardInbox::Replica(ToShard::Stop)).await;
    }
}

/// Everything that the replica acts through.
struct Hands {
    shards: Vec<Sender<ToShardInbox>>,
    /// Shards that have been sent something for which none of their clients waits, and may still sleep.
    to_wake: Vec<usize>,
    log: Sender<LogCommand>,
    watch: Stopwatch,
    peers: Option<Peers>,
    doors: Option<Doors>,
    shared: Arc<SharedCounts>,
}

/// Where clients find this server by the configuration that holds.
struct Doors {
    my_id: ServerId,
    places: (Option<HostPort>, Option<HostPort>),
    doorman: Sender<ClientPlaces>,
}

impl Doors {
    fn new(options: &PeerOptions, doorman: Sender<ClientPlaces>) -> Self {
        let mut doors = Self { my_id: options.my_id, places: (None, None), doorman };
        doors.configured(&options.membership);
        doors
    }

    /// What is new in this configuration.
    fn configured(&mut self, membership: &Membership) -> Option<ClientPlaces> {
        let own = membership.members.get(&self.my_id)?;
        let new = |before: &mut Option<HostPort>, now: &Option<HostPort>| {
            let is_new = now.is_some() && before != now;
            is_new.then(|| before.clone_from(now))?;
            now.clone()
        };
        let client = new(&mut self.places.0, &own.client);
        let secure_client = new(&mut self.places.1, &own.secure_client);
        (client.is_some() || secure_client.is_some()).then_some(ClientPlaces { client, secure_client })
    }
}

impl Hands {
    /// Performs all that the replica asks for. A send waits while the other side's inbox is full: that is the back-pressure, and
    /// it cannot lock up, because shards never stop to take from their inboxes while they wait for ours, and the log's, which
    /// does, is never full (`LOG_INBOX_MAX`).
    async fn perform(&mut self, replica: &mut Replica) {
        while let Some(action) = replica.poll_action() {
            // Whoever is gone ends the server himself; there is nobody to tell.
            match action {
                Action::Append(batch) => {
                    let _ = self.log.send(LogCommand::Append(batch)).await;
                }
                Action::Snapshot { version, sessions } => {
                    self.watch.snapshot_begun = Some(clock::now());
                    let _ = self.log.send(LogCommand::Snapshot { version, sessions }).await;
                }
                Action::ToShard(shard, mut message) => {
                    let mut is_urgent = true;
                    match &mut message {
                        ToShard::Answer(ask, gathered) => {
                            let expired = gathered.replica.expired_count;
                            if ask.question == Question::ResetStats {
                                self.watch.reset(expired);
                            }
                            let gathered = Arc::make_mut(gathered);
                            gathered.parts.push(Part(Arc::new(self.watch.figures(expired))));
                            gathered.replica.stages.merge(&self.watch.stages);
                        }
                        ToShard::Published(published) => {
                            if let Some(segment) = published.segments.last() {
                                self.announce(&segment.version);
                            }
                            is_urgent = published.answers(shard);
                        }
                        ToShard::Standing(standing, version) => {
                            if shard == 0 {
                                self.watch.stands(*standing, clock::now());
                            }
                            self.announce(version);
                        }
                        _ => {}
                    }
                    let message = ToShardInbox::Replica(message);
                    if is_urgent {
                        let _ = self.shards[shard].send(message).await;
                    } else {
                        let _ = self.shards[shard].send_without_waking(message).await;
                        self.to_wake.push(shard);
                    }
                }
                Action::SaveEpochs { accepted, current } => {
                    let _ = self.log.send(LogCommand::SaveEpochs { accepted, current }).await;
                }
                Action::Truncate(to) => {
                    self.watch.snapshot_begun = None;
                    let _ = self.log.send(LogCommand::Truncate { to }).await;
                }
                Action::Install { version, sessions } => {
                    self.watch.snapshot_begun = None;
                    let _ = self.log.send(LogCommand::Install { version, sessions, log_id: process::random() }).await;
                }
                Action::Configure { committed, last_seen } => {
                    if let Some(peers) = &self.peers {
                        peers.configure(committed.clone(), last_seen.clone());
                    }
                    if let Some(doors) = &mut self.doors
                        && let Some(places) = doors.configured(&committed)
                    {
                        let _ = doors.doorman.send(places).await;
                    }
                    *self.shared.configuration.lock().unwrap_or_else(PoisonError::into_inner) = Some(committed.clone());
                    let _ = self.log.send(LogCommand::Configure { committed, last_seen }).await;
                }
                action => self.speak(action),
            }
        }
        if let Some(peers) = &self.peers {
            peers.flush();
        }
        // Behind the wake-ups of those who have somebody to answer.
        self.to_wake.drain(..).for_each(|shard| self.shards[shard].wake());
    }

    /// Says which version shards are about to get, before one of them can show it to a client.
    fn announce(&self, version: &Version) {
        self.shared.newest.store(version.zxid().0, Ordering::SeqCst);
    }

    /// Says something to another server.
    fn speak(&mut self, action: Action) {
        let Some(peers) = &self.peers else {
            panic!("a server that stands alone was told to speak to an ensemble");
        };
        match action {
            Action::Notify { to, bytes } => peers.notify(to, bytes),
            Action::Listen(open) => {
                if open {
                    self.watch.elected(clock::now());
                }
                peers.listen(open);
            }
            Action::ToLink(link, bytes) => peers.to_link(link, bytes),
            Action::SnapshotToLink { link, version, sessions } => {
                let mut writer = SnapWriter::new(version, sessions);
                peers.body_to_link(link, Box::new(move |out| writer.fill(out, SNAPSHOT_SLICE_BYTES)));
            }
            Action::CloseLink(link) => peers.close_link(link),
            Action::Dial(dial, leader) => {
                self.watch.elected(clock::now());
                peers.dial(dial, leader);
            }
            Action::ToLeader(dial, bytes) => peers.to_leader(dial, bytes),
            Action::HangUp(dial) => peers.hang_up(dial),
            Action::Append(_)
            | Action::Snapshot { .. }
            | Action::ToShard(..)
            | Action::Configure { .. }
            | Action::SaveEpochs { .. }
            | Action::Truncate(_)
            | Action::Install { .. } => panic!("this is not said to another server"),
        }
    }

    /// What the log said, as the replica is to hear it.
    fn hear_log(&mut self, message: LogMessage, now: Now) -> Event {
        match message {
            LogMessage::Durable { through, took, is_slow } => {
                self.watch.wrote(took, is_slow);
                Event::LogDurable(through)
            }
            LogMessage::Room { admit_through, full } => Event::LogRoom { admit_through, full },
            LogMessage::SnapshotDone(zxid) => {
                self.watch.snapshot_done(now.instant);
                Event::SnapshotDone(zxid)
            }
            LogMessage::Reloaded(recovered) => {
                Event::Truncated(Box::new(Reloaded { tree: recovered.tree, sessions: recovered.sessions }))
            }
            LogMessage::Configured => Event::Configured,
            LogMessage::EpochsSaved => Event::EpochsSaved,
            LogMessage::EpochsFailed => Event::EpochsFailed,
            LogMessage::TruncateImpossible => Event::TruncateImpossible,
            LogMessage::Installed(zxid) => Event::Installed(zxid),
            LogMessage::InstallFailed(zxid) => Event::InstallFailed(zxid),
            LogMessage::Failed => panic!("the end of the log ends the shell"),
        }
    }
}

/// Takes the times of what the log does for the replica, for the operator: the replica itself has no clock.
struct Stopwatch {
    figures: Figures,
    stages: Stages,
    /// Sessions that had expired when the figures were reset.
    expired_before: u64,
    snapshot_begun: Option<Instant>,
    /// When the election began that is not decided yet, and since when nobody is served.
    electing_since: Option<Instant>,
    unavailable_since: Option<Instant>,
}

impl Stopwatch {
    fn new(recovery: Duration, now: Instant) -> Self {
        let counters = [
            Counter::StaleSessionsExpired,
            Counter::UnrecoverableErrors,
            Counter::DigestMismatches,
            Counter::SlowSyncs,
        ];
        let mut figures = Figures::of(&counters, &[Measure::SyncTime, Measure::SnapshotTime], &[]);
        figures.record(Measure::DbInitTime, recovery.as_micros() as u64);
        Self {
            figures,
            stages: Stages::default(),
            expired_before: 0,
            snapshot_begun: None,
            electing_since: Some(now),
            unavailable_since: Some(now),
        }
    }

    /// An election has named a leader.
    fn elected(&mut self, now: Instant) {
        if let Some(since) = self.electing_since.take() {
            self.figures.record(Measure::ElectionTime, now.since(since).as_micros() as u64);
        }
    }

    /// The server's part is another one.
    fn stands(&mut self, standing: Standing, now: Instant) {
        match standing {
            Standing::Standalone => {}
            Standing::Looking | Standing::ReadOnly => {
                self.electing_since.get_or_insert(now);
                self.unavailable_since.get_or_insert(now);
            }
            Standing::Leading | Standing::Following | Standing::Observing => {
                if let Some(since) = self.unavailable_since.take() {
                    self.figures.record(Measure::UnavailableTime, now.since(since).as_micros() as u64);
                }
            }
        }
    }

    /// A frame of the log is durable.
    fn wrote(&mut self, took: Took, is_slow: bool) {
        if let Some(write) = took.write {
            self.stages.record_n(Stage::LogWrite, write, 1);
        }
        if let Some(sync) = took.sync {
            self.stages.record_n(Stage::Sync, sync, 1);
            self.figures.record(Measure::SyncTime, sync.as_micros() as u64);
        }
        self.figures.add(Counter::SlowSyncs, u64::from(is_slow));
    }

    /// Forgets all that was measured and counted (`srst`), `expired` sessions among it.
    fn reset(&mut self, expired: u64) {
        self.figures.reset();
        self.stages.reset();
        self.expired_before = expired;
    }

    fn snapshot_done(&mut self, now: Instant) {
        if let Some(begun) = self.snapshot_begun.take() {
            self.figures.record(Measure::SnapshotTime, now.since(begun).as_micros() as u64);
        }
    }

    fn figures(&self, expired: u64) -> Figures {
        let mut figures = self.figures.clone();
        figures.add(Counter::StaleSessionsExpired, expired - self.expired_before);
        figures
    }
}
