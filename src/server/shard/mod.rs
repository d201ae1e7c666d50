//! A shard: one executor that serves its share of the clients, from its own version of the tree and its own table of watches.
//!
//! Three kinds of task share the [`Shard`]: a reader for each connection ([`serve`]), the inbox that takes what the replica
//! publishes ([`publish`]), and a ticker. Each does its work between two awaits, with the state borrowed for just as long, so
//! "read and leave a watch", or "fire the events, then answer", are atomic without a lock.
//!
//! What a turn produces goes out in batches: the writes of all connections that were read in a turn travel to the replica as one
//! message, and each connection's answers leave with one system call.
//!
//! **One server, whichever shard.** A client that was told of a write may tell another, whose connection may be another shard's:
//! that one must see the write, too. So no shard looks into an older version than the newest that any shard may have shown
//! ([`SharedCounts::newest`]): whoever has read requests and finds its version behind takes what the replica has sent
//! meanwhile first ([`Shard::catch_up`]).

mod connection;
mod handshake;
mod publish;
mod request;
mod sasl;
mod secure;
mod serve;
pub(super) mod slots;
mod words;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::admin::figures::Counter;
use crate::admin::status::TRACE_MASK_DEFAULT;
use crate::ids::SessionId;
use crate::pipeline::auth;
use crate::quorum::Membership;
use crate::replica::message::{ConnectionId, ShardBatch, ShardItem, Standing, ToShard};
use crate::rt::clock;
use crate::rt::executor::{sleep, spawn_local};
use crate::rt::inbox::{Closed, Receiver, Sender};
use crate::rt::listener::Accepted;
use crate::time::Instant;
use crate::tree::Version;
use crate::watch::{WatchTable, Watcher};

use super::acceptor::PerAddress;
use super::options::ShardOptions;
use connection::{Connection, Load, Stage};
use slots::Slots;
use words::{Asked, Facts, ShardStats};

/// Messages that a shard takes from its inbox in one go.
const INBOX_TAKE_MAX: usize = 256;

/// Bytes of writes collected for the replica at which connections are not read from until the replica has taken them.
const OUTGOING_PAUSE_BYTES: usize = 16 << 20;

/// What reaches a shard's inbox.
pub(super) enum ToShardInbox {
    /// From the replica.
    Replica(ToShard),
    /// A connection for this shard, and by which door it came.
    Accepted(Accepted, Door),
    /// From a thread of the shard's own that has read files for the word with this ticket.
    Facts(u32, Facts),
}

/// What a port takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Door {
    /// No TLS (`clientPort`).
    Plain,
    /// TLS only (`secureClientPort`).
    Secure,
    /// Both, told apart by the first byte (`client.portUnification`).
    Either,
}

/// What reaches the replica's inbox.
pub(super) enum ToReplicaInbox {
    /// From a shard.
    Shard(ShardBatch),
    /// From the log thread.
    Log(super::log_thread::LogMessage),
    /// Finish what was accepted, then end.
    Stop,
    /// End as if the power had failed: nothing more is made durable or said.
    Crash,
}

/// Counts that all shards and the acceptor share. Relaxed: they bound, they do not order.
#[derive(Debug, Default)]
pub(super) struct SharedCounts {
    /// Open connections by shard.
    pub(super) by_shard: Vec<AtomicU64>,
    /// Open connections by client address.
    pub(super) per_address: PerAddress,
    /// What `stmk` sets and `gtmk` tells; without any other effect.
    pub(super) trace_mask: AtomicI64,
    /// Connections that were turned away.
    pub(super) rejected: AtomicU64,
    /// TLS handshakes that go on.
    pub(super) handshakes: AtomicU64,
    /// Whether the server is about to end: nobody new is let in.
    pub(super) is_stopping: AtomicBool,
    /// The zxid of the version that the replica has begun to hand out. Written before any shard has it, so a shard that has
    /// shown it to somebody is never ahead of this.
    pub(super) newest: AtomicI64,
    /// Where clients find the server since a reconfiguration; 0: where it began.
    pub(super) client_port: AtomicU16,
    /// The ensemble's configuration since it changed. Touched when it changes, and by operators' words.
    pub(super) configuration: Mutex<Option<Arc<Membership>>>,
}

impl SharedCounts {
    pub(super) fn new(shards: usize, version: &Version) -> Self {
        Self {
            newest: AtomicI64::new(version.zxid().0),
            by_shard: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            trace_mask: AtomicI64::new(TRACE_MASK_DEFAULT),
            ..Self::default()
        }
    }

    /// Connections over all shards.
    pub(super) fn connections(&self) -> u64 {
        self.by_shard.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The shard with the fewest connections.
    pub(super) fn least_loaded(&self) -> usize {
        let counts = self.by_shard.iter().map(|count| count.load(Ordering::Relaxed));
        counts.enumerate().min_by_key(|(_, count)| *count).map_or(0, |(shard, _)| shard)
    }

    /// A connection goes to a shard.
    pub(super) fn entered(&self, shard: usize) {
        self.by_shard[shard].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection of a shard's is over.
    fn left(&self, shard: u8, address: IpAddr, door: Door) {
        self.by_shard[usize::from(shard)].fetch_sub(1, Ordering::Relaxed);
        self.per_address.leave(address, door);
    }
}

/// See the module's page.
pub(super) struct Shard {
    number: u8,
    options: Arc<ShardOptions>,
    shared: Arc<SharedCounts>,
    state: RefCell<State>,
    to_replica: Sender<ToReplicaInbox>,
    inbox: RefCell<Inbox>,
}

/// What comes to the shard.
struct Inbox {
    receiver: Receiver<ToShardInbox>,
    /// Room for what is taken; empty in between.
    messages: Vec<ToShardInbox>,
    /// The task that waits for it.
    main: Option<Waker>,
}

/// What changes.
struct State {
    standing: Standing,
    /// When it began.
    since: Instant,
    version: Version,
    watches: WatchTable,
    connections: Slots<Connection>,
    /// What the replica has not been told yet.
    outgoing: ShardBatch,
    /// Whether the task that sends `outgoing` is about to run, or waits for room.
    is_sending: bool,
    /// That task, while it has nothing to do.
    sender: Option<Waker>,
    /// Readers that wait until `outgoing` is sent.
    waiting_for_send: Vec<Waker>,
    /// Readers that wait for a version that is on its way.
    waiting_for_version: Vec<Waker>,
    /// Connections with something in `out`, to be flushed at the end of the turn.
    dirty: Vec<u32>,
    load: Rc<Load>,
    /// Connections that are not read from until less waits for the disk.
    waiting_for_room: Vec<ConnectionId>,
    stats: ShardStats,
    /// Four-letter words that wait for the other shards and the replica, by ticket.
    asked: BTreeMap<u32, Asked>,
    next_ticket: u32,
    /// The shard's own, for threads that work for it.
    inbox: Sender<ToShardInbox>,
    is_stopping: bool,
}

/// Runs a shard until the server stops.
pub(super) async fn run(
    number: u8,
    options: Arc<ShardOptions>,
    shared: Arc<SharedCounts>,
    (standing, version): (Standing, Version),
    (own_inbox, receiver): (Sender<ToShardInbox>, Receiver<ToShardInbox>),
    to_replica: Sender<ToReplicaInbox>,
) {
    let shard = Rc::new(Shard {
        number,
        shared,
        state: RefCell::new(State {
            standing,
            since: clock::now(),
            version,
            watches: WatchTable::new(options.hash_seed),
            connections: Slots::default(),
            outgoing: ShardBatch::default(),
            is_sending: false,
            sender: None,
            waiting_for_send: Vec::new(),
            waiting_for_version: Vec::new(),
            dirty: Vec::new(),
            load: Rc::default(),
            waiting_for_room: Vec::new(),
            stats: ShardStats::default(),
            asked: BTreeMap::new(),
            next_ticket: 0,
            inbox: own_inbox,
            is_stopping: false,
        }),
        options,
        to_replica,
        inbox: RefCell::new(Inbox { receiver, messages: Vec::with_capacity(INBOX_TAKE_MAX), main: None }),
    });
    let (ticking, sending) = (shard.clone(), shard.clone());
    spawn_local(async move { ticking.tick().await });
    spawn_local(async move { sending.keep_sending().await });
    while shard.receive().await {
        shard.clone().end_turn();
    }
    shard.drain().await;
}

impl Shard {
    /// Waits for messages and handles them. Whether more may come.
    async fn receive(self: &Rc<Self>) -> bool {
        let received = poll_fn(|cx| {
            if self.state.borrow().is_stopping {
                return Poll::Ready(Err(Closed));
            }
            let Inbox { receiver, messages, main } = &mut *self.inbox.borrow_mut();
            if !main.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *main = Some(cx.waker().clone());
            }
            receiver.poll_recv_many(cx, messages, INBOX_TAKE_MAX)
        })
        .await;
        self.handle_received();
        received.is_ok() && !self.state.borrow().is_stopping
    }

    /// Handles what has been taken from the inbox.
    fn handle_received(self: &Rc<Self>) {
        let mut messages = std::mem::take(&mut self.inbox.borrow_mut().messages);
        for message in messages.drain(..) {
            match message {
                ToShardInbox::Accepted(accepted, door) => self.clone().adopt(accepted, door),
                ToShardInbox::Replica(message) => self.hear(message),
                ToShardInbox::Facts(ticket, facts) => {
                    self.state.borrow_mut().hear_facts(&self.options, &self.shared, self.number, ticket, facts);
                }
            }
        }
        self.inbox.borrow_mut().messages = messages;
    }

    /// Whether another shard may have shown a newer version than this one has.
    fn is_behind(&self) -> bool {
        // One shard alone has shown what it has shown.
        self.shared.by_shard.len() > 1
            && self.state.borrow().version.zxid().0 < self.shared.newest.load(Ordering::SeqCst)
    }

    /// Takes what the replica has sent, until this shard's version is one that no other shard has gone beyond when this was called.
    /// To be called between reading requests and answering them.
    async fn catch_up(self: &Rc<Self>) {
        if !self.is_behind() {
            return;
        }
        let goal = self.shared.newest.load(Ordering::SeqCst);
        // Nearly always it is in the inbox already.
        let taken = {
            let Inbox { receiver, messages, .. } = &mut *self.inbox.borrow_mut();
            receiver.try_recv_many(messages, INBOX_TAKE_MAX)
        };
        if taken.is_ok() {
            self.handle_received();
        }
        if self.state.borrow().is_stopping
            && let Some(main) = &self.inbox.borrow().main
        {
            main.wake_by_ref();
        }
        poll_fn(|cx| {
            let state = &mut *self.state.borrow_mut();
            // It may step back, too: then what was there before is not to be seen any more.
            if state.is_stopping || state.version.zxid().0 >= goal.min(self.shared.newest.load(Ordering::SeqCst)) {
                return Poll::Ready(());
            }
            state.waiting_for_version.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// What the replica says.
    fn hear(&self, message: ToShard) {
        let state = &mut *self.state.borrow_mut();
        match message {
            ToShard::Published(published) => {
                state.publish(&self.options, self.number, &published);
                state.waiting_for_version.drain(..).for_each(Waker::wake);
            }
            ToShard::Displaced(connection) => state.close_at_once(connection),
            ToShard::Tell(ask) => {
                let part = state.part(&self.options, ask.question);
                state.outgoing.items.push(ShardItem::Told(ask, part));
            }
            ToShard::Answer(ask, gathered) => state.answer_word(&self.options, &self.shared, ask, &gathered),
            ToShard::Standing(standing, version) => {
                state.stand(standing, version);
                state.waiting_for_version.drain(..).for_each(Waker::wake);
            }
            ToShard::Stop => {
                state.is_stopping = true;
                state.waiting_for_version.drain(..).for_each(Waker::wake);
            }
        }
    }

    /// What a turn has brought goes out.
    fn end_turn(self: Rc<Self>) {
        let (dirty, send) = {
            let state = &mut *self.state.borrow_mut();
            let send = !state.outgoing.is_empty() && !state.is_sending;
            state.is_sending |= send;
            (std::mem::take(&mut state.dirty), send)
        };
        for slot in &dirty {
            self.clone().flush(*slot);
        }
        // The vector goes back, to be used again.
        let mut dirty = dirty;
        dirty.clear();
        let state = &mut *self.state.borrow_mut();
        if state.dirty.is_empty() {
            state.dirty = dirty;
        }
        // The sender runs behind all readers that are ready now, so that it takes what they bring, too.
        if send && let Some(sender) = &state.sender {
            sender.wake_by_ref();
        }
    }

    /// Sends what was collected for the replica, waiting for room in its inbox if need be, until the server stops.
    async fn keep_sending(&self) {
        loop {
            poll_fn(|cx| {
                let state = &mut *self.state.borrow_mut();
                if state.is_sending {
                    return Poll::Ready(());
                }
                if !state.sender.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                    state.sender = Some(cx.waker().clone());
                }
                Poll::Pending
            })
            .await;
            let batch = {
                let state = &mut *self.state.borrow_mut();
                if state.outgoing.is_empty() {
                    state.is_sending = false;
                    continue;
                }
                // There is room for as much again: whoever waits reads on while this is sent.
                state.waiting_for_send.drain(..).for_each(Waker::wake);
                std::mem::take(&mut state.outgoing)
            };
            if self.to_replica.send(ToReplicaInbox::Shard(batch)).await.is_err() {
                // The replica is gone, so the server is about to end: this is told, too.
                let state = &mut *self.state.borrow_mut();
                state.is_sending = false;
                state.waiting_for_send.drain(..).for_each(Waker::wake);
                return;
            }
        }
    }

    /// Looks after what happens without anybody asking: sessions' signs of life, and connections that never became sessions.
    async fn tick(self: Rc<Self>) {
        let period = Duration::from_millis(u64::from((self.options.tick_ms / 4).clamp(20, 500)));
        loop {
            sleep(period).await;
            if self.state.borrow().is_stopping {
                return;
            }
            {
                let (state, now) = (&mut *self.state.borrow_mut(), clock::now());
                state.tell_heard(now);
                state.close_sessionless(now, self.options.sessionless_timeout);
            }
            self.clone().end_turn();
        }
    }

    /// Sends what is still to be sent, bounded in time, and closes all connections.
    async fn drain(self: Rc<Self>) {
        let deadline = clock::now() + self.options.drain_timeout;
        loop {
            let unsent = self
                .state
                .borrow()
                .connections
                .iter()
                .any(|(_, connection)| connection.is_writing || connection.has_unsent());
            if !unsent || clock::now() >= deadline {
                break;
            }
            sleep(Duration::from_millis(2)).await;
        }
        let state = &mut *self.state.borrow_mut();
        for (_, connection) in state.connections.iter_mut() {
            connection.give_up();
        }
    }

    /// Takes a new connection over.
    fn adopt(self: Rc<Self>, accepted: Accepted, door: Door) {
        if self.state.borrow().is_stopping {
            return;
        }
        let number = self.number;
        let stream = Rc::new(crate::rt::socket::Stream::adopt(accepted));
        let identities = vec![auth::ip_identity(stream.peer().ip())].into();
        let (now, since) = (clock::now(), clock::wall());
        let slot = {
            let state = &mut *self.state.borrow_mut();
            let load = &state.load;
            state.connections.insert(|slot, generation| {
                let id = ConnectionId { shard: number, slot, generation };
                Connection::new(id, stream.clone(), identities, load.clone(), now, since)
            })
        };
        spawn_local(async move { self.serve(slot, stream, door).await });
    }
}

impl State {
    /// The connection, if it is still the one that is meant.
    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.slot).filter(|connection| connection.id == id)
    }

    /// Lists the connection for the flush at the end of the turn.
    fn mark_dirty(connection: &mut Connection, dirty: &mut Vec<u32>) {
        if !connection.is_dirty {
            connection.is_dirty = true;
            dirty.push(connection.id.slot);
        }
    }

    /// Reads on from those who had to wait for room, if there is some.
    fn make_room(&mut self, options: &ShardOptions) {
        if self.waiting_for_room.is_empty() || self.load.queued.get() > options.queued_bytes_max {
            return;
        }
        for id in std::mem::take(&mut self.waiting_for_room) {
            if let Some(connection) = self.connection(id) {
                connection.waits_for_room = false;
                connection.resume();
            }
        }
    }

    /// Closes connections that hold the most answers which their clients do not take, as long as there are too many in all.
    fn shed(&mut self, options: &ShardOptions) {
        while self.load.held.get() > options.held_bytes_max {
            // Those that end let go of theirs.
            let staying = self.connections.iter_mut().filter(|(_, connection)| connection.stage != Stage::Ending);
            let held = staying.map(|(_, connection)| (connection.book_held(), connection));
            let Some((bytes, connection)) = held.max_by_key(|(bytes, _)| *bytes).filter(|(bytes, _)| *bytes > 0) else {
                return;
            };
            tracing::warn!(
                peer = %connection.peer, bytes, max = options.held_bytes_max,
                "clients do not take what they are told, and this one the most of it: closed"
            );
            connection.give_up();
            connection.book_held();
        }
    }

    /// Closes without another word.
    fn close_at_once(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connection(id) {
            connection.give_up();
        }
    }

    /// The server's part in the ensemble has changed. Apache closes all of its clients then, and so do we: those whose requests
    /// were under way must not believe that they failed, nor that they did not.
    fn stand(&mut self, standing: Standing, version: Version) {
        tracing::debug!(?standing, zxid = %version.zxid(), "the shard's standing");
        self.standing = standing;
        self.since = clock::now();
        self.version = version;
        for (_, connection) in self.connections.iter_mut() {
            if connection.stage != Stage::Word {
                connection.give_up();
            }
        }
    }

    /// Tells the replica of which sessions a sign of life has come since the last time.
    fn tell_heard(&mut self, now: Instant) {
        let items = &mut self.outgoing.items;
        for (_, connection) in self.connections.iter_mut() {
            if connection.stage == Stage::Open {
                if connection.waits_for_disk() {
                    // We do not read because our disk is slow: its pings wait in the socket.
                    connection.heard = now;
                }
                items.extend(connection.unheard());
            }
            connection.trim();
        }
    }

    /// Closes connections that have had time enough to become a session and did not.
    fn close_sessionless(&mut self, now: Instant, timeout: Duration) {
        for (_, connection) in self.connections.iter_mut() {
            let is_late = now.since(connection.heard) > timeout;
            if is_late && connection.session == SessionId::NONE && connection.stage != Stage::Connecting {
                tracing::debug!(peer = %connection.peer, "no session came of this connection: closed");
                self.stats.figures.add(Counter::SessionlessConnectionsExpired, 1);
                connection.give_up();
            }
        }
    }

    /// The watcher that stands for a connection.
    fn watcher(slot: u32) -> Watcher {
        Watcher(slot)
    }
}
