//! A whole server: started in the order in which its parts depend on each other, ended in the reverse.
//!
//! ```text
//!  start:  folder (lock, self test) ▶ recovery ▶ ports ▶ log thread ▶ replica ▶ shards ▶ acceptor
//!  stop:   acceptor ▶ replica drains ▶ log marks all as durable ▶ shards say their last words
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::zip;
use thiserror::Error;

use crate::ids::Zxid;
use crate::pipeline::Pipeline;
use crate::replica::{Epochs, LOG_ROOM_BESIDES_BYTES, Now, Replica};
use crate::rt::executor::{self, Alarm, JoinHandle, spawn_local};
use crate::rt::inbox::{self, Sender};
use crate::rt::listener::{BindError, Listener};
use crate::rt::ring::OpenError;
use crate::rt::{clock, limits};
use crate::session::{Sessions, first_id};
use crate::storage::StorageError;
use crate::zab::{History, HistoryOptions};

use super::acceptor::{Doorman, Limits};
use super::log_thread::{self, Ended, LogMessage};
use super::options::Options;
use super::peers;
use super::replica_shell::{self, EnsembleWiring, Wiring};
use super::shard::{self, Door, SharedCounts, ToReplicaInbox};
use super::storage_folder;

/// Messages that may wait for a shard. Batches, so few are many.
const SHARD_INBOX_MAX: usize = 1024;

/// Messages that may wait for the replica.
const REPLICA_INBOX_MAX: usize = 1024;

/// Moves to other ports that may wait; each comes with a reconfiguration.
const DOORMAN_INBOX_MAX: usize = 64;

/// Commands that may wait for the log. Never reached, and must not be: the log waits for the replica, so the replica must not wait
/// for the log. Appends that wait are of at least 4 MiB each, and no more are given than two segments have room for.
const LOG_INBOX_MAX: usize = 2048;

/// Turns on a core that several threads share. Where a write passes from one to the next, the next is to run at once, not when the
/// one before has gone to sleep: first the log, for until a write is on its way to the disk nobody has anything to wait for, then the
/// shard, whose client waits, and last the replica, which by then has told both.
const LOG_TURN: Duration = limits::TURN_MIN;
const SHARD_TURN: Duration = Duration::from_micros(200);
const REPLICA_TURN: Duration = Duration::from_micros(300);

/// What a transaction's record holds besides the transaction, generously: header and digest.
const TXN_OVERHEAD_BYTES: usize = 4096;

/// Why a server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// What is in it.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An executor.
    #[error(transparent)]
    Executor(#[from] executor::StartError),
    /// A thread.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
}

/// A running server. Dropping it leaves it running until the process ends: [`Server::stop`] ends it in order.
pub struct Server {
    address: SocketAddr,
    secure_address: Option<SocketAddr>,
    is_direct: bool,
    shared: Arc<SharedCounts>,
    to_replica: Sender<ToReplicaInbox>,
    has_failed: Arc<AtomicBool>,
    log: thread::JoinHandle<Ended>,
    /// The replica's and the shards'.
    executors: Vec<JoinHandle>,
}

/// How a server ended by itself.
#[derive(Debug, Error)]
pub enum ServerFailed {
    /// The disk failed; the message has been logged, and the next start recovers what was acknowledged.
    #[error("the disk failed: {0}")]
    Disk(StorageError),
    /// A part of the server panicked, which is a mistake of ours.
    #[error("the thread {0} ended with a panic: please report it")]
    Panicked(String),
}

/// A port and what it takes.
type OpenDoor = (Listener, Door);

/// Opens the ports; where they are, without TLS and with it.
fn open_doors(options: &Options) -> Result<(Vec<OpenDoor>, [Option<SocketAddr>; 2]), StartError> {
    let is_unified = options.shard.tls.as_ref().is_some_and(|tls| tls.port_unification);
    let plain = if is_unified { Door::Either } else { Door::Plain };
    let mut doors = Vec::new();
    let mut open = |address: Option<SocketAddr>, door| -> Result<Option<SocketAddr>, StartError> {
        let Some(address) = address else { return Ok(None) };
        let listener = Listener::bind(address, options.listen_backlog)?;
        let address = listener.local_addr();
        doors.push((listener, door));
        Ok(Some(address))
    };
    let addresses = [open(options.listen, plain)?, open(options.secure_listen, Door::Secure)?];
    assert!(options.secure_listen.is_none() || options.shard.tls.is_some(), "a port for TLS without TLS");
    Ok((doors, addresses))
}

/// The newest records as learners are sent them. What came before the first of them is not known, so it only says where the
/// others begin.
fn history(options: HistoryOptions, zxid: Zxid, records: Vec<(Zxid, Bytes)>) -> History {
    match records.first() {
        Some(&(base, _)) if records.last().is_some_and(|(last, _)| *last == zxid) => {
            History::recovered(options, base, records.into_iter().skip(1))
        }
        _ => History::new(options, zxid),
    }
}

impl Server {
    /// Recovers what the folder holds, and serves.
    ///
    /// # Errors
    /// Says what is wrong, where, and what to do about it.
    pub fn start(mut options: Options) -> Result<Self, StartError> {
        if let Err(error) = limits::raise_open_files() {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
        options.storage = options.storage.with_room_besides(LOG_ROOM_BESIDES_BYTES);
        let mut folder = storage_folder::open(&options)?;
        let begun = clock::now();
        let recovered = storage_folder::recover(&mut folder, &options)?;
        let recovery = clock::now().since(begun);
        let (doors, [address, secure_address]) = open_doors(&options)?;
        let (to_doorman, doorman_inbox) = inbox::channel(DOORMAN_INBOX_MAX);
        let mut config_store = None;
        let ensemble = match options.ensemble.take() {
            None => None,
            Some(mut ensemble) => {
                config_store = ensemble.config_store.take();
                let election_port = peers::open_election_port(&ensemble.peers)?;
                // What a leader proposes has to fit into a record of the log.
                let bytes_max = &mut ensemble.replica.packet_bytes_max;
                *bytes_max = options.storage.record_len_max.min(*bytes_max);
                Some((ensemble.replica, EnsembleWiring { peers: ensemble.peers, election_port, doorman: to_doorman }))
            }
        };
        options.pipeline.txn_bytes_max = options.storage.record_len_max.saturating_sub(TXN_OVERHEAD_BYTES);
        let about = Arc::make_mut(&mut options.shard.about);
        about.client_port = address.map_or(0, |address| address.port());
        about.told.conf.secure_client_port = secure_address.map_or(-1, |address| address.port().into());
        let is_direct = folder.is_direct;

        let (to_replica, replica_inbox) = inbox::channel(REPLICA_INBOX_MAX);
        let (to_log, mut log_inbox) = inbox::channel(LOG_INBOX_MAX);
        let mut to_shards = Vec::new();
        let mut shard_inboxes = Vec::new();
        for _ in &options.cores.shards {
            let (sender, receiver) = inbox::channel(SHARD_INBOX_MAX);
            to_shards.push(sender);
            shard_inboxes.push(receiver);
        }

        // A part that is lost ends the others: half a server would take connections and answer nobody.
        let has_failed = Arc::new(AtomicBool::new(false));
        let alarm = {
            let (has_failed, to_replica, to_shards) = (has_failed.clone(), to_replica.clone(), to_shards.clone());
            let to_log = to_log.clone();
            Alarm::new(move || {
                has_failed.store(true, Ordering::SeqCst);
                to_log.close();
                to_replica.close();
                to_shards.iter().for_each(Sender::close);
            })
        };

        log_inbox.attach_doorbell(&folder.doorbell);
        let (reports, failed, log_alarm) = (to_replica.clone(), has_failed.clone(), alarm.clone());
        let (disk, core, how) = (folder.disk, recovered.core, storage_folder::how_to_recover(&options));
        let sync_warning = options.sync_warning;
        let log = limits::spawn_thread("zoo-log", options.cores.log, move || {
            let _guard = log_alarm.guard();
            limits::take_short_turns(LOG_TURN);
            let ended = log_thread::run(disk, core, &how, config_store.as_deref(), log_inbox, &reports, sync_warning);
            if matches!(ended, Ended::Failed(_)) {
                failed.store(true, Ordering::SeqCst);
                let _ = reports.send_blocking(ToReplicaInbox::Log(LogMessage::Failed));
            }
            ended
        })
        .map_err(StartError::Thread)?;

        let now = Now { instant: clock::now(), wall: clock::wall() };
        let mut sessions = Sessions::new(options.shard.tick_ms, first_id(options.server_id, now.wall));
        for (session, timeout_ms) in recovered.sessions {
            sessions.add(session, timeout_ms, None, now.instant);
        }
        let zxid = recovered.tree.view().zxid();
        let pipeline = Pipeline::new(options.pipeline.clone(), recovered.tree, sessions, zxid);
        let (replica, ensemble) = match ensemble {
            None => (Replica::new(options.replica.clone(), pipeline, now), None),
            Some((member, wiring)) => {
                let epochs = Epochs { accepted: recovered.epochs.accepted, current: recovered.epochs.current };
                let history = history(member.history, zxid, recovered.history);
                (Replica::join(options.replica.clone(), member, pipeline, epochs, history, now), Some(wiring))
            }
        };
        let (standing, version) = (replica.standing(), replica.published_version().clone());
        let shared = Arc::new(SharedCounts::new(options.cores.shards.len(), &version));
        let executor_options = |turn| executor::Options {
            spin: options.cores.spin,
            turn,
            alarm: Some(alarm.clone()),
            ..executor::Options::default()
        };
        let wiring = Wiring {
            shards: to_shards.clone(),
            shared: shared.clone(),
            log: to_log,
            tick: Duration::from_millis(u64::from((options.shard.tick_ms / 4).clamp(20, 500))),
            drain_timeout: options.shard.drain_timeout,
            recovery,
            ensemble,
        };
        // Where the first shard and the replica share a core they share an executor, too: what they tell each other is then a call,
        // not a thread that is woken.
        let is_shared = options.cores.replica.is_some() && options.cores.shards.first() == Some(&options.cores.replica);
        let replica = move || replica_shell::run(replica, replica_inbox, wiring);
        let (mut with_shard, mut executors) = (None, Vec::new());
        if is_shared {
            with_shard = Some(replica);
        } else {
            executors.push(executor::spawn(
                "zoo-replica",
                options.cores.replica,
                executor_options(REPLICA_TURN),
                replica,
            )?);
        }

        let shard_options = Arc::new(options.shard);
        let limits = Limits { per_address: options.connections_per_address_max, total: options.connections_max };
        let mut doors = Some((doors, doorman_inbox));
        let backlog = options.listen_backlog;
        for (number, (core, inbox)) in options.cores.shards.iter().zip(shard_inboxes).enumerate() {
            let number = u8::try_from(number).expect("there are at most 256 shards");
            let (shard_options, shared, version) = (shard_options.clone(), shared.clone(), version.clone());
            let (to_replica, to_shards) = (to_replica.clone(), to_shards.clone());
            // The first shard also accepts for all.
            let doors = doors.take();
            let replica = with_shard.take();
            executors.push(executor::spawn(
                &format!("zoo-shard-{number}"),
                *core,
                executor_options(SHARD_TURN),
                move || async move {
                    if let Some((doors, doorman_inbox)) = doors {
                        let mut doorman = Doorman::new(limits, backlog, shared.clone(), to_shards.clone());
                        doors.into_iter().for_each(|(listener, door)| doorman.open(listener, door));
                        spawn_local(doorman.stay(doorman_inbox));
                    }
                    let inbox = (to_shards[usize::from(number)].clone(), inbox);
                    let shard = shard::run(number, shard_options, shared, (standing, version), inbox, to_replica);
                    match replica {
                        // Not as a task of its own: the end of the shard would drop it before it had told the others.
                        Some(replica) => drop(zip(replica(), shard).await),
                        None => shard.await,
                    }
                },
            )?);
        }
        let address = address.or(secure_address).expect("a server has a door");
        Ok(Self { address, secure_address, is_direct, shared, to_replica, has_failed, log, executors })
    }

    /// Where it listens: without TLS, if it does.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens with TLS (`secureClientPort`).
    pub fn secure_address(&self) -> Option<SocketAddr> {
        self.secure_address
    }

    /// Whether its files bypass the page cache.
    pub fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// What ends the server when called, from any thread: it finishes what it has accepted. [`Server::wait`] returns
    /// afterwards.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static {
        let (shared, to_replica) = (self.shared.clone(), self.to_replica.clone());
        move || {
            shared.is_stopping.store(true, Ordering::Relaxed);
            // If the replica is gone the server ends already.
            let _ = to_replica.send_blocking(ToReplicaInbox::Stop);
        }
    }

    /// Whether it ends, or a part of it has ended: [`Server::wait`] does not wait for long then.
    pub fn has_ended(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
            || self.shared.is_stopping.load(Ordering::Relaxed)
            || self.log.is_finished()
            || self.executors.iter().any(JoinHandle::is_finished)
    }

    /// Waits until the server has ended.
    ///
    /// # Errors
    /// If it did not end because it was told to.
    pub fn wait(self) -> Result<(), ServerFailed> {
        let log = self.log.join();
        let mut panicked = None;
        for executor in self.executors {
            if let Err(executor::Panicked { name }) = executor.join() {
                panicked.get_or_insert(name);
            }
        }
        match (panicked, log) {
            (Some(name), _) => Err(ServerFailed::Panicked(name)),
            (None, Err(_)) => Err(ServerFailed::Panicked("zoo-log".to_owned())),
            (None, Ok(Ended::Failed(error))) => Err(ServerFailed::Disk(error)),
            (None, Ok(Ended::Closed)) => Ok(()),
        }
    }

    /// What shards tell the replica, for tests that tell it what no shard would.
    #[cfg(test)]
    pub(super) fn replica_inbox(&self) -> &Sender<ToReplicaInbox> {
        &self.to_replica
    }

    /// Ends it in order, and waits for that.
    pub fn stop(self) {
        self.stopper()();
        if let Err(error) = self.wait() {
            tracing::error!(%error, "the server did not end in order");
        }
    }

    /// Ends it as a power failure would: nothing is finished, nothing more is made durable.
    pub fn crash(self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        let _ = self.to_replica.send_blocking(ToReplicaInbox::Crash);
        if let Err(error) = self.wait() {
            tracing::error!(%error, "the server did not end in order");
        }
    }
}
