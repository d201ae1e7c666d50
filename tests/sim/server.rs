//! A server: a machine with a disk and clocks, and perhaps a process on it, which is the product's [`Replica`], the product's
//! [`LogCore`] and shards as in [`crate::shard`], each in turns of its own as if on a thread of its own.
//!
//! This file does what `src/server/replica_shell.rs` and `log_thread.rs` do, without threads.
//!
//! Fault model:
//! - A process can end between any two of its steps: an event that it takes, an action that it performs, a step of its log core, a
//!   completion of its disk. Killed, it leaves what it wrote; with its machine's power it leaves what was synced, and of the rest any
//!   sectors, names and lengths (`zoo_server::storage::sim_disk`).
//! - A process can stand still, for longer than any timeout; what is sent to it meanwhile waits.
//! - A disk can be slow, full for a while, fail a write or a sync (the process ends then, and what was under way is there or not), and
//!   rot. A server that refuses to start because of that is wiped by its operator.
//! - Each server has clocks of its own: the monotonic one runs faster or slower by up to 2 %, the wall clock is off by minutes and jumps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use zoo_server::ids::{Epoch, SessionId, Zxid};
use zoo_server::pipeline::{self, Pipeline};
use zoo_server::quorum::Membership;
use zoo_server::replica::Replica;
use zoo_server::replica::event::{Action, DialId, Event, LinkId, Now, Options, Reloaded};
use zoo_server::replica::message::{Standing, ToShard};
use zoo_server::session::{Sessions, first_id};
use zoo_server::storage::StorageError;
use zoo_server::storage::core::{Command, LogCore, Report};
use zoo_server::storage::disk::{Disk, DiskError};
use zoo_server::storage::image::ImageSource;
use zoo_server::storage::log::{Batch, BatchBuilder, LogIndex};
use zoo_server::storage::recovery;
use zoo_server::storage::sim_disk::SimDisk;
use zoo_server::time::{Instant, WallTime};
use zoo_server::wire::op::OpCode;
use zoo_server::wire::txn::{Txn, TxnHeader, TxnRecord};
use zoo_server::zab::History;

use crate::ensemble;
use crate::ledger::Logged;
use crate::network::{End, Life, StreamId, server_id};
use crate::plan::Sabotage;
use crate::shard::Shard;
use crate::world::{Due, World};

/// The replica keeps this much of the log's room for the ends of sessions. Segments here are far smaller, so the room that it is
/// told of is larger by this: what does not fit waits in the log core, which is all that a session's end could do.
const SESSION_RESERVE_BYTES: u64 = 4 << 20;

const RECORD_LEN_MAX: usize = 16 << 10;

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// The machine goes on: what was written is there.
    Kill,
    /// So does the power: what was not synced may be there, in part or not at all.
    PowerCut,
}

/// A server's clocks: true time, scaled and shifted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    pub rate_ppm: i64,
    pub wall_shift_ms: i64,
}

impl Clock {
    fn instant(&self, now: u64) -> Instant {
        // Never near zero: a clock that has run since the machine was started.
        Instant((1_000_000_000 + now as i64 + now as i64 * self.rate_ppm / 1_000_000) as u64)
    }

    /// How long it takes, in true time, until this clock shows `later`.
    fn until(&self, instant: Instant, later: Instant) -> u64 {
        let wait = later.since(instant).as_micros() as i64;
        (wait * 1_000_000 / (1_000_000 + self.rate_ppm)) as u64 + 1
    }

    pub fn now(&self, now: u64) -> Now {
        let instant = self.instant(now);
        Now { instant, wall: WallTime(1_700_000_000_000 + instant.0 as i64 / 1000 + self.wall_shift_ms) }
    }
}

pub struct Server {
    pub device: SimDisk,
    pub life: Life,
    pub process: Option<Process>,
    pub clock: Clock,
    /// Nothing happens to its process before.
    pub paused_until: u64,
    /// It ends after so many more steps.
    pub crash_after: Option<(u32, Crash)>,
    /// A file of its disk was damaged.
    pub is_rotten: bool,
    /// Its machine has power.
    pub is_powered: bool,
    /// The operator is about to start it.
    pub is_starting: bool,
    /// The operator leaves it alone.
    pub is_kept_down: bool,
    /// Its disk takes so many times as long.
    pub disk_slowness: u64,
    pub down_since: u64,
    /// The ensemble's configurations as its files have them: the one that holds, and a newer one that is proposed. `None` before
    /// the first change.
    pub configurations: Option<(Arc<Membership>, Option<Arc<Membership>>)>,
}

impl Server {
    pub fn new(seed: u64, clock: Clock) -> Self {
        Self {
            device: SimDisk::new(seed),
            life: 0,
            process: None,
            clock,
            paused_until: 0,
            crash_after: None,
            is_rotten: false,
            is_powered: true,
            is_starting: false,
            is_kept_down: false,
            disk_slowness: 1,
            down_since: 0,
            configurations: None,
        }
    }

    /// What it is at present; `None` without a process.
    pub fn standing(&self) -> Option<Standing> {
        Some(self.process.as_ref()?.shards[0].standing)
    }

    pub fn is_serving(&self) -> bool {
        let serving = [Standing::Standalone, Standing::Leading, Standing::Following, Standing::Observing];
        self.standing().is_some_and(|standing| serving.contains(&standing))
    }
}

/// See the file's page.
pub struct Process {
    pub replica: Replica,
    pub inbox: VecDeque<Event>,
    pub is_replica_due: bool,
    next_tick: Instant,
    /// When a turn is due for the replica's own timer.
    timer_at: Option<Instant>,
    /// For [`Sabotage::EpochBeforeHistory`].
    pub withheld: Vec<Batch>,
    /// Taken out only while the log is read again behind a cut.
    core: Option<LogCore>,
    pub disk: SimDisk,
    commands: VecDeque<Command>,
    is_log_due: bool,
    is_disk_due: bool,
    pub shards: Vec<Shard>,
    shard_inboxes: Vec<VecDeque<ToShard>>,
    is_shard_due: Vec<bool>,
    /// Whether learners may connect.
    pub is_listening: bool,
    pub next_link: u32,
    pub links: BTreeMap<LinkId, StreamId>,
    pub dials: BTreeMap<DialId, Option<StreamId>>,
    /// Records that went to the log since the last snapshot.
    pub logged_since_snapshot: u64,
    /// Whether its log has said that the disk is full.
    pub is_full: bool,
    /// What the disk was asked to save as currentEpoch and has not answered, and what it has saved last.
    saving: VecDeque<Option<Epoch>>,
    current: Option<Epoch>,
}

const CORE: &str = "a process has a log core";

impl Process {
    fn core_mut(&mut self) -> &mut LogCore {
        self.core.as_mut().expect(CORE)
    }
}

impl World {
    pub fn recovery_options(&self) -> recovery::Options {
        recovery::Options {
            threads: 0,
            is_member: self.plan.is_ensemble(),
            history_records_max: self.plan.history_max,
            history_bytes_max: 1 << 20,
            ..recovery::Options::default()
        }
    }

    pub fn storage_options(&self) -> zoo_server::storage::core::Options {
        zoo_server::storage::core::Options {
            segment_len: self.plan.segment_len,
            record_len_max: RECORD_LEN_MAX,
            force_sync: true,
            snapshots_retained: 3,
        }
    }

    /// What all disks hold before anything happens, if the ensemble has a past: one transaction of the first epoch.
    pub fn remember(&mut self) {
        let Some(counter) = self.plan.past else { return };
        let zxid = Zxid::new(Epoch(1), counter);
        let header = TxnHeader { session: SessionId(1), cxid: 0, zxid, time: WallTime(0), op: OpCode::CREATE_SESSION };
        let mut bytes = Vec::new();
        TxnRecord { header, txn: Txn::CreateSession { timeout_ms: 1000 }, digest: None }.encode(&mut bytes);
        for server in 0..self.servers.len() {
            let mut disk = self.servers[server].device.clone();
            let empty = recovery::recover(&mut disk, &self.recovery_options(), &mut |_| {}).expect("an empty disk");
            let mut core = LogCore::open(&mut disk, self.storage_options(), &empty.tail, 1).expect("a sound disk");
            let mut batch = BatchBuilder::new();
            batch.push(zxid, &bytes);
            core.handle(Command::Append(batch.finish().expect("one record")));
            core.handle(Command::SaveEpochs { accepted: Some(Epoch(1)), current: Some(Epoch(1)) });
            core.handle(Command::Close);
            let mut done = Vec::new();
            while !core.has_ended() {
                while core.step(&mut disk) {}
                disk.wait(true, &mut done).expect("a sound disk");
                done.drain(..).for_each(|completion| core.complete(completion));
            }
            let appended = self.ledger.appended(server, zxid, &bytes);
            self.check(appended);
            self.ledger.durable(server, zxid);
        }
    }

    /// The operator starts a server.
    pub fn start(&mut self, server: usize) {
        let own = &mut self.servers[server];
        own.is_starting = false;
        if own.process.is_some() || own.is_kept_down {
            return;
        }
        own.is_powered = true;
        own.life += 1;
        let life = own.life;
        let mut disk = own.device.clone();
        match self.recover(server, &mut disk) {
            Ok((core, replica)) => {
                let (standing, version) = (replica.standing(), replica.published_version().clone());
                if standing == Standing::Standalone {
                    let shown = self.ledger.shown(server, &version);
                    self.check(shown);
                }
                let shards = (0..self.plan.shards).map(|number| {
                    let mut shard = Shard::new(number as u8, standing, version.clone());
                    shard.tells_late = self.sabotages(Sabotage::EventAfterRead);
                    shard
                });
                let shards: Vec<Shard> = shards.collect();
                let process = Process {
                    replica,
                    inbox: VecDeque::new(),
                    is_replica_due: false,
                    next_tick: Instant(0),
                    timer_at: None,
                    withheld: Vec::new(),
                    core: Some(core),
                    disk,
                    commands: VecDeque::new(),
                    is_log_due: false,
                    is_disk_due: false,
                    shard_inboxes: shards.iter().map(|_| VecDeque::new()).collect(),
                    is_shard_due: vec![false; shards.len()],
                    shards,
                    is_listening: false,
                    next_link: 0,
                    links: BTreeMap::new(),
                    dials: BTreeMap::new(),
                    logged_since_snapshot: 0,
                    is_full: false,
                    saving: VecDeque::new(),
                    current: None,
                };
                self.servers[server].process = Some(process);
                self.trace(|| format!("server {server} is up, life {life}"));
                self.wake_log(server);
                self.at(0, Due::Tick { server, life });
                self.at(0, Due::ShardTick { server, life });
                self.votes_again(server);
            }
            Err(error) => self.refused_to_start(server, &error),
        }
    }

    fn refused_to_start(&mut self, server: usize, error: &StorageError) {
        self.trace(|| format!("server {server} does not start: {error}"));
        let is_disk = matches!(error, StorageError::Disk(_));
        if self.servers[server].is_rotten && !is_disk {
            // Noticed: the operator wipes it, and the others bring it back.
            self.servers[server].is_rotten = false;
            self.servers[server].device = SimDisk::new(self.random.next());
            self.ledger.truths[server] = crate::ledger::Truth::default();
            self.figures.wiped += 1;
        } else if !is_disk {
            self.check(Err(format!("server {server} does not start: {error}")));
        }
        self.start_later(server);
    }

    pub fn start_later(&mut self, server: usize) {
        let own = &mut self.servers[server];
        if own.process.is_none() && !own.is_starting {
            own.is_starting = true;
            let delay = match self.random.below(4) {
                0 => self.random.between(1_000, 50_000),
                _ => self.random.between(50_000, 2_000_000),
            };
            self.at(delay, Due::Start { server });
        }
    }

    fn recover(&mut self, server: usize, disk: &mut SimDisk) -> Result<(LogCore, Replica), StorageError> {
        let recovered = recovery::recover(disk, &self.recovery_options(), &mut |_| {})?;
        let index = LogIndex::read(disk)?;
        let base = index.reaches_back_to().or(recovered.snapshot).unwrap_or(Zxid::ZERO);
        let mut records = Vec::new();
        let mut replay = index.replay(base)?;
        while let Some(segment) = replay.next_segment(disk)? {
            records.extend(segment.records().map(|record| Logged::new(record.zxid, record.payload)));
        }
        let first_kept = recovered.history.first().map(|(zxid, _)| *zxid);
        let before_first = first_kept.map(|first| {
            let index = records.partition_point(|record| record.zxid < first);
            index.checked_sub(1).map_or(base, |index| records[index].zxid)
        });
        let log_id = self.random.next();
        // Makes what was read durable, too: a start that fails here promises nothing (seed 316441).
        let core = LogCore::open(disk, self.storage_options(), &recovered.tail, log_id)?;
        let is_rotten = std::mem::take(&mut self.servers[server].is_rotten);
        let verdict = self.ledger.recovered(server, base, records, is_rotten);
        self.check(verdict);
        let now = self.servers[server].clock.now(self.now);
        let id = if self.plan.is_ensemble() { server_id(server) } else { server_id(0) };
        let mut sessions = Sessions::new(self.plan.tick_ms, first_id(id, now.wall));
        for (session, timeout_ms) in recovered.sessions {
            sessions.add(session, timeout_ms, None, now.instant);
        }
        let tick = self.plan.tick_ms as i32;
        let pipeline_options = pipeline::Options {
            session_timeout_min_ms: 2 * tick,
            session_timeout_max_ms: 20 * tick,
            txn_bytes_max: RECORD_LEN_MAX - 4096,
            epoch_txns_max: self.plan.epoch_txns_max,
            reconfig_enabled: true,
            auth: pipeline::auth::Options { skip_acl: self.plan.reconfigures, ..Default::default() },
            ..pipeline::Options::default()
        };
        let zxid = recovered.tree.view().zxid();
        let pipeline = Pipeline::new(pipeline_options, recovered.tree, sessions, zxid);
        let options = Options {
            shards: self.plan.shards,
            snapshot_txns_max: self.plan.snapshot_txns_max,
            snapshot_bytes_max: 0,
            container_check_interval_ms: 60_000,
            containers_per_minute_max: 10_000,
            seed: self.random.next(),
        };
        if !self.plan.is_ensemble() {
            return Ok((core, Replica::new(options, pipeline, now)));
        }
        let records = recovered.history;
        // Everything behind the record before the first is there; where the log has none the snapshot is the base.
        let base = match records.first() {
            None => zxid,
            Some((first, _)) => before_first.unwrap_or(Zxid(first.0 - 1)),
        };
        let history = History::recovered(ensemble::history_options(&self.plan), base, records);
        let mut ensemble = ensemble::options(&self.plan, server);
        if let Some((committed, last_seen)) = &self.servers[server].configurations {
            (ensemble.membership, ensemble.last_seen) = (committed.clone(), last_seen.clone());
        }
        Ok((core, Replica::join(options, ensemble, pipeline, recovered.epochs, history, now)))
    }

    /// A process ends.
    pub fn crash(&mut self, server: usize, crash: Crash) {
        let seed = self.random.next();
        let own = &mut self.servers[server];
        own.crash_after = None;
        own.paused_until = 0;
        let life = own.life;
        if own.process.is_none() && crash == Crash::Kill {
            return;
        }
        self.figures.crashes += 1;
        let own = &mut self.servers[server];
        own.down_since = self.now;
        if crash == Crash::PowerCut {
            own.device = own.device.crash_image(seed);
            own.is_powered = false;
        }
        own.process = None;
        self.trace(|| format!("server {server} is down: {crash:?}"));
        for (stream, side) in self.network.of_process(server, life) {
            match crash {
                Crash::Kill => self.close(stream, side),
                Crash::PowerCut => self.vanish(stream, side),
            }
        }
        for ((from, _), slot) in &mut self.network.votes {
            if *from == server {
                (slot.waiting, slot.sent) = (None, None);
            }
        }
        self.start_later(server);
    }

    /// One more step of a process is done: true if it was the last.
    fn is_last_step(&mut self, server: usize) -> bool {
        let own = &mut self.servers[server];
        if own.process.is_none() {
            return true;
        }
        match &mut own.crash_after {
            None => false,
            Some((0, crash)) => {
                let crash = *crash;
                self.crash(server, crash);
                true
            }
            Some((steps, _)) => {
                *steps -= 1;
                false
            }
        }
    }

    pub fn process(&mut self, server: usize) -> Option<&mut Process> {
        self.servers[server].process.as_mut()
    }

    /// Something for the replica, which takes it in its next turn.
    pub fn tell_replica(&mut self, server: usize, event: Event) {
        let life = self.servers[server].life;
        let Some(process) = self.process(server) else { return };
        process.inbox.push_back(event);
        if !process.is_replica_due {
            process.is_replica_due = true;
            let delay = self.wake_up();
            self.at(delay, Due::Replica { server, life });
        }
    }

    fn wake_log(&mut self, server: usize) {
        let life = self.servers[server].life;
        let Some(process) = self.process(server) else { return };
        if !process.is_log_due {
            process.is_log_due = true;
            let delay = self.wake_up();
            self.at(delay, Due::Log { server, life });
        }
    }

    fn tell_shard(&mut self, server: usize, shard: usize, message: ToShard) {
        let life = self.servers[server].life;
        let Some(process) = self.process(server) else { return };
        process.shard_inboxes[shard].push_back(message);
        if !process.is_shard_due[shard] {
            process.is_shard_due[shard] = true;
            let delay = self.wake_up();
            self.at(delay, Due::Shard { server, life, shard });
        }
    }

    /// How long it takes a thread to hear of something.
    fn wake_up(&mut self) -> u64 {
        if self.random.one_in(100) { self.random.between(100, 20_000) } else { self.random.between(1, 100) }
    }

    /// The replica's clock strikes.
    pub fn tick(&mut self, server: usize) {
        let life = self.servers[server].life;
        let Some(process) = self.process(server) else { return };
        if !process.is_replica_due {
            process.is_replica_due = true;
            self.at(0, Due::Replica { server, life });
        }
        let period = u64::from((self.plan.tick_ms / 4).clamp(20, 500)) * 1000;
        self.at(period, Due::Tick { server, life });
    }

    /// The shards' clocks strike.
    pub fn shard_tick(&mut self, server: usize) {
        let life = self.servers[server].life;
        for shard in 0..self.plan.shards {
            let Some(process) = self.process(server) else { return };
            process.shards[shard].tick();
            self.end_shard_turn(server, shard);
        }
        let period = u64::from((self.plan.tick_ms / 4).clamp(20, 500)) * 1000;
        self.at(period, Due::ShardTick { server, life });
    }

    /// The replica takes what has come, and what comes of it is done.
    pub fn replica_turn(&mut self, server: usize) {
        let now = self.servers[server].clock.now(self.now);
        let tick = std::time::Duration::from_millis(u64::from((self.plan.tick_ms / 4).clamp(20, 500)));
        let Some(process) = self.process(server) else { return };
        process.is_replica_due = false;
        for event in std::mem::take(&mut process.inbox) {
            if self.is_last_step(server) {
                return;
            }
            let Some(process) = self.process(server) else { return };
            process.replica.handle(now, event);
        }
        let Some(process) = self.process(server) else { return };
        if process.replica.next_timer().is_some_and(|timer| timer <= now.instant) && now.instant < process.next_tick {
            process.replica.handle(now, Event::Tick);
        }
        if now.instant >= process.next_tick {
            let is_after_pause = process.next_tick != Instant(0) && now.instant.since(process.next_tick) > tick;
            process.next_tick = now.instant + tick;
            if !is_after_pause {
                process.replica.handle(now, Event::Tick);
            }
            if process.commands.is_empty() {
                process.commands.push_back(Command::Tick);
                self.wake_log(server);
            }
        }
        let Some(process) = self.process(server) else { return };
        process.replica.settle(now);
        let actions: Vec<Action> = std::iter::from_fn(|| process.replica.poll_action()).collect();
        // A turn may show a record before it logs it: the observer has to know its bytes by then.
        for action in &actions {
            if let Action::Append(batch) = action {
                for (zxid, bytes) in batch.iter() {
                    let appended = self.ledger.appended(server, zxid, bytes);
                    self.check(appended);
                }
            }
        }
        for action in actions {
            if self.is_last_step(server) {
                return;
            }
            self.perform(server, action);
        }
        self.set_timer(server);
    }

    /// The replica's next turn is no later than it asks for.
    fn set_timer(&mut self, server: usize) {
        let life = self.servers[server].life;
        let clock = self.servers[server].clock;
        let instant = clock.now(self.now).instant;
        let Some(process) = self.process(server) else { return };
        let Some(timer) = process.replica.next_timer() else { return };
        if process.timer_at.is_none_or(|at| at <= instant || timer < at) {
            process.timer_at = Some(timer);
            let wait = clock.until(instant, timer);
            self.at(wait, Due::Replica { server, life });
        }
    }

    fn perform(&mut self, server: usize, action: Action) {
        match action {
            Action::Append(batch) => {
                self.note(10, batch.last().0 as u64);
                if let Some(process) = self.process(server) {
                    process.logged_since_snapshot += u64::from(batch.records());
                }
                self.trace(|| format!("server {server} logs {} to {}", batch.first(), batch.last()));
                if self.sabotages(Sabotage::AckBeforeSync) {
                    self.tell_replica(server, Event::LogDurable(batch.last()));
                }
                if self.sabotages(Sabotage::CommitWithoutQuorum) {
                    let zxids: Vec<Zxid> = batch.iter().map(|(zxid, _)| zxid).collect();
                    self.forge_acks(server, &zxids);
                }
                if self.sabotages(Sabotage::EpochBeforeHistory) {
                    let is_synchronising = self.servers[server].standing() == Some(Standing::Looking);
                    if is_synchronising || self.process(server).is_some_and(|process| !process.withheld.is_empty()) {
                        return self.withhold(server, batch);
                    }
                }
                self.command(server, Command::Append(batch));
            }
            Action::Snapshot { version, sessions } => {
                self.command(server, Command::Snapshot(Box::new(ImageSource::new(version, sessions))));
            }
            Action::ToShard(shard, message) => {
                if shard == 0 {
                    self.look_at(server, &message);
                }
                self.tell_shard(server, shard, message);
            }
            Action::Configure { committed, last_seen } => {
                self.trace(|| {
                    let next = last_seen.as_ref().map(|next| next.to_text());
                    format!("server {server} goes by {:?}, next {next:?}", committed.to_text())
                });
                self.note(16, committed.version as u64);
                match self.ledger.holds(&committed) {
                    Ok(is_new) => self.figures.reconfigured += u64::from(is_new),
                    violation => self.check(violation.map(drop)),
                }
                // What the operator's files hold: written as a whole and synced before anything else is done.
                self.servers[server].configurations = Some((committed, last_seen));
                self.tell_replica(server, Event::Configured);
            }
            Action::SaveEpochs { accepted, current } => {
                self.trace(|| format!("server {server} saves epochs {accepted:?} {current:?}"));
                self.note(14, current.map_or(0, |epoch| u64::from(epoch.0)));
                if let Some(process) = self.process(server) {
                    process.saving.push_back(current);
                }
                self.command(server, Command::SaveEpochs { accepted, current });
            }
            Action::Truncate(to) if self.sabotages(Sabotage::SkippedTruncation) => self.pretend_truncation(server, to),
            Action::Truncate(to) => {
                self.trace(|| format!("server {server} truncates its log to {to}"));
                self.figures.truncations += 1;
                self.release(server);
                self.ledger.truths[server].truncating = Some(to);
                self.command(server, Command::Truncate { to });
            }
            Action::Install { version, sessions } => {
                self.trace(|| format!("server {server} installs the state of {}", version.zxid()));
                self.figures.installs += 1;
                self.release(server);
                self.ledger.truths[server].installing = Some(version.zxid());
                let log_id = self.random.next();
                let source = Box::new(ImageSource::new(version, sessions));
                self.command(server, Command::Install { source, log_id });
            }
            Action::Notify { to, bytes } => self.notify(server, to, bytes),
            Action::Listen(is_listening) => self.listen(server, is_listening),
            Action::ToLink(link, bytes) => self.say_to_link(server, link, bytes),
            Action::SnapshotToLink { link, version, sessions } => {
                self.lineage_to_link(server, link);
                let bytes = self.snapshot_stream(&version, sessions);
                self.say_to_link(server, link, bytes);
            }
            Action::CloseLink(link) => self.close_link(server, link),
            Action::Dial(dial, leader) => self.begin_dial(server, dial, leader),
            Action::ToLeader(dial, bytes) => self.say_to_leader(server, dial, bytes),
            Action::HangUp(dial) => self.hang_up(server, dial),
        }
    }

    /// What clients are about to see.
    fn look_at(&mut self, server: usize, message: &ToShard) {
        match message {
            ToShard::Published(published) => {
                for segment in &published.segments {
                    let shown = self.ledger.shown(server, &segment.version);
                    self.check(shown);
                    self.note(11, segment.version.digest());
                    self.trace(|| {
                        let changes: Vec<_> =
                            segment.changes.iter().map(|change| (change.zxid, &*change.path)).collect();
                        format!("server {server} shows {} with {changes:?}", segment.version.zxid())
                    });
                }
            }
            ToShard::Standing(standing, version) => {
                self.note(12, version.zxid().0 as u64);
                self.trace(|| format!("server {server} is {standing:?} at {}", version.zxid()));
                self.figures.elections += u64::from(*standing == Standing::Leading);
                if *standing == Standing::Leading {
                    self.leads(server);
                }
                self.note(15, *standing as u64);
                if matches!(standing, Standing::Leading | Standing::Following | Standing::Observing) {
                    let shown = self.ledger.shown(server, version);
                    self.check(shown);
                }
            }
            _ => {}
        }
    }

    /// An epoch has one leader (ZAB's `Leadership`): what it is, is what its disk holds as currentEpoch.
    fn leads(&mut self, server: usize) {
        let life = self.servers[server].life;
        let Some(epoch) = self.process(server).and_then(|process| process.current) else { return };
        let (other, other_life) = *self.leaders.entry(epoch).or_insert((server, life));
        if (other, other_life) != (server, life) {
            self.check(Err(format!("servers {other} and {server} have both led epoch {}", epoch.0)));
        }
    }

    pub fn command(&mut self, server: usize, command: Command) {
        if let Some(process) = self.process(server) {
            process.commands.push_back(command);
            self.wake_log(server);
        }
    }

    /// The log thread takes its commands.
    pub fn log_turn(&mut self, server: usize) {
        let Some(process) = self.process(server) else { return };
        process.is_log_due = false;
        for command in std::mem::take(&mut process.commands) {
            process.core_mut().handle(command);
        }
        self.log_steps(server);
    }

    /// The log core does what needs no completion.
    fn log_steps(&mut self, server: usize) {
        loop {
            if self.is_last_step(server) {
                return;
            }
            let Some(process) = self.process(server) else { return };
            let again = process.core.as_mut().expect(CORE).step(&mut process.disk);
            if !self.log_reports(server) {
                return;
            }
            if !again {
                break;
            }
        }
        let life = self.servers[server].life;
        let slowness = self.servers[server].disk_slowness;
        let Some(process) = self.process(server) else { return };
        if !process.is_disk_due {
            process.is_disk_due = true;
            let delay = self.random.between(50, 400) * slowness;
            self.at(delay, Due::Disk { server, life });
        }
    }

    /// The disk completes something, if there was anything.
    pub fn disk_turn(&mut self, server: usize) {
        let mut completions = Vec::new();
        let Some(process) = self.process(server) else { return };
        process.is_disk_due = false;
        if let Err(error) = process.disk.wait(true, &mut completions) {
            return self.disk_failed(server, &error.into());
        }
        if completions.is_empty() {
            return;
        }
        if self.is_last_step(server) {
            return;
        }
        let Some(process) = self.process(server) else { return };
        completions.into_iter().for_each(|completion| process.core_mut().complete(completion));
        if self.log_reports(server) {
            self.log_steps(server);
        }
    }

    /// Says what the log core has to say. False if it was its last word.
    fn log_reports(&mut self, server: usize) -> bool {
        loop {
            let Some(process) = self.process(server) else { return false };
            let Some(report) = process.core_mut().poll_report() else { return true };
            match report {
                Report::Durable { through, .. } => {
                    self.ledger.durable(server, through);
                    self.note(13, through.0 as u64);
                    self.tell_replica(server, Event::LogDurable(through));
                }
                Report::Room { admit_through, full } => {
                    // On a full disk no snapshot can be written: what comes behind it counts (seed 324954).
                    if full || process.is_full {
                        process.logged_since_snapshot = 0;
                    }
                    process.is_full = full;
                    let admit_through = admit_through + SESSION_RESERVE_BYTES;
                    self.tell_replica(server, Event::LogRoom { admit_through, full });
                }
                Report::SnapshotDone(done) => {
                    process.logged_since_snapshot = 0;
                    self.figures.snapshots += 1;
                    self.trace(|| format!("server {server} has written its snapshot of {}", done.zxid));
                    self.tell_replica(server, Event::SnapshotDone(done.zxid));
                }
                Report::SnapshotFailed { zxid, ref error } => {
                    if matches!(error, StorageError::Disk(DiskError::Full { .. })) {
                        process.logged_since_snapshot = 0;
                    }
                    self.trace(|| format!("server {server} has not written its snapshot of {zxid}: {error}"));
                    self.tell_replica(server, Event::SnapshotDone(zxid));
                }
                Report::Purged { .. } => {}
                Report::Truncated { through } => {
                    self.ledger.truths[server].truncate(through);
                    if let Err(error) = self.reload(server) {
                        self.disk_failed(server, &error);
                        return false;
                    }
                }
                Report::TruncateImpossible { .. } => {
                    self.ledger.truths[server].truncating = None;
                    self.tell_replica(server, Event::TruncateImpossible);
                }
                Report::EpochsSaved => {
                    let current = process.saving.pop_front().flatten();
                    process.current = current.or(process.current);
                    self.tell_replica(server, Event::EpochsSaved);
                }
                Report::EpochsFailed { .. } => {
                    process.saving.pop_front();
                    self.tell_replica(server, Event::EpochsFailed);
                }
                Report::Installed { zxid } => {
                    process.logged_since_snapshot = 0;
                    self.ledger.truths[server].install(zxid);
                    self.tell_replica(server, Event::Installed(zxid));
                }
                Report::InstallFailed { zxid, .. } => {
                    self.ledger.truths[server].installing = None;
                    self.tell_replica(server, Event::InstallFailed(zxid));
                }
                Report::Failed(error) => {
                    self.disk_failed(server, &error);
                    return false;
                }
                Report::Closed => return false,
            }
        }
    }

    /// Reads the log again behind a cut.
    fn reload(&mut self, server: usize) -> Result<(), StorageError> {
        let options = self.recovery_options();
        let Some(process) = self.process(server) else { return Ok(()) };
        let core = process.core.take().expect(CORE);
        let (core, recovered) = recovery::reload(core, &mut process.disk, &options, &mut |_| {})?;
        process.core = Some(core);
        let reloaded = Reloaded { tree: recovered.tree, sessions: recovered.sessions };
        self.tell_replica(server, Event::Truncated(Box::new(reloaded)));
        Ok(())
    }

    fn disk_failed(&mut self, server: usize, error: &StorageError) {
        self.trace(|| format!("server {server}: {error}"));
        self.figures.disk_failures += 1;
        // Whether what was not synced is there afterwards is the kernel's to decide.
        let crash = if self.random.one_in(2) { Crash::Kill } else { Crash::PowerCut };
        self.crash(server, crash);
    }

    pub fn shard_turn(&mut self, server: usize, shard: usize) {
        let Some(process) = self.process(server) else { return };
        process.is_shard_due[shard] = false;
        for message in std::mem::take(&mut process.shard_inboxes[shard]) {
            process.shards[shard].hear(message);
        }
        self.end_shard_turn(server, shard);
    }

    /// What a shard's turn has brought goes out: to the replica, and to the clients.
    pub fn end_shard_turn(&mut self, server: usize, shard: usize) {
        let life = self.servers[server].life;
        let Some(process) = self.process(server) else { return };
        let said = process.shards[shard].end_turn();
        let batch = std::mem::take(&mut process.shards[shard].outgoing);
        if !batch.is_empty() {
            self.tell_replica(server, Event::Shard(batch));
        }
        for said in said {
            let end = End::Shard { server, life, shard };
            let Some(side) =
                self.network.streams.get(&said.stream).and_then(|stream| {
                    stream.ends.iter().position(|own| *own == end).filter(|side| stream.is_open[*side])
                })
            else {
                continue;
            };
            if !said.bytes.is_empty() {
                self.send(said.stream, side, said.bytes);
            }
            if said.is_last {
                self.close(said.stream, side);
            }
        }
    }
}
