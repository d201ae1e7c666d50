//! The election port: one connection to each other member, over which votes go both ways (`QuorumCnxManager`).
//!
//! - Of two servers the one with the larger id makes the connection. The other one dials, too, but only to be dialled back.
//! - The newest vote for a server replaces one that has not left yet; the last one that left is sent again over a new connection,
//!   because nobody knows whether it arrived.
//! - While a vote waits, its server is dialled again and again with a growing pause; what a server that was away hears first is
//!   therefore never older than what we think now.
//! - Everything is bounded, and what a peer sends costs what it sent: frames are at most 512 KiB, of a flood the newest
//!   [`BURST_MAX`] of each read count, handshakes have [`HANDSHAKES_MAX`] places and a time limit.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::or;

use super::PeerOptions;
use super::address::{self, Bind};
use super::events::{Events, Signal};
use super::view::View;
use crate::ids::ServerId;
use crate::quorum::{HostPort, Member};
use crate::replica::Event;
use crate::rt::executor::{sleep, spawn_local, timeout};
use crate::rt::listener::{Accepted, Listener};
use crate::rt::resolver::Resolver;
use crate::rt::socket::Stream;
use crate::wire::election::{ElectionDecodeError, HELLO_ADDRESSES_MAX, Hello, HelloForm, put_frame, read_frame};

/// Connections whose handshake has not come yet. One more ends the oldest: an honest one is done within a round trip.
const HANDSHAKES_MAX: usize = 64;

/// Servers that the configuration does not know and that are heard all the same, so that they learn who leads.
const STRANGERS_MAX: usize = 16;

/// Votes of one server that are looked at of all that one read brought; the newest count.
const BURST_MAX: usize = 16;

/// After a read that brought more, so long nothing is read.
const BURST_PAUSE: Duration = Duration::from_millis(10);

/// Between two dials: the first pause, doubled up to the last.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Having dialled a server that dials back, so long it is left alone: the next dial would end the connection it makes.
const DIALLED_BACK_PAUSE: Duration = Duration::from_secs(1);

/// Dials of one server at once: one, and one more when it shows that it can be reached while the first still waits.
const DIALS_MAX: u32 = 2;

/// Connections to the election port that may wait to be accepted.
pub(super) const BACKLOG: u32 = 128;

/// Between two attempts to open the election port at another place.
const PORT_PAUSE: Duration = Duration::from_secs(1);

/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// See the file's page.
pub(super) struct Votes {
    options: Rc<PeerOptions>,
    view: Rc<View>,
    resolver: Rc<Resolver>,
    events: Rc<Events>,
    /// Told when the ports are to be closed, because others are open.
    ports: RefCell<Vec<Rc<Signal>>>,
    /// Where it is to be found. What is open there follows.
    binds: RefCell<Vec<Bind>>,
    peers: RefCell<BTreeMap<ServerId, Peer>>,
    /// Connections without a handshake, oldest first, by number.
    handshakes: RefCell<VecDeque<(u64, Rc<Stream>)>>,
    next_handshake: Cell<u64>,
}

#[derive(Default)]
struct Peer {
    /// The newest vote, until it leaves.
    unsent: Option<Arc<[u8]>>,
    last_sent: Option<Arc<[u8]>>,
    connection: Option<Rc<Connection>>,
    /// The task that dials, if there is one.
    dialler: Option<Rc<Signal>>,
    dials: u32,
    /// Where it says that it can be reached, which counts where the configuration's address does not answer.
    announced: Vec<HostPort>,
    is_unreachable_told: bool,
}

struct Connection {
    stream: Stream,
    to_send: Signal,
}

/// What became of a dial.
enum Dialled {
    /// The connection stands.
    Connected,
    /// The other server dials back.
    Announced,
}

impl Votes {
    /// Takes votes at these ports from now on.
    pub(super) fn start(
        options: Rc<PeerOptions>,
        view: Rc<View>,
        resolver: Rc<Resolver>,
        events: Rc<Events>,
        listeners: Vec<Listener>,
    ) -> Rc<Self> {
        let binds = address::election_binds(&options, view.own().as_ref());
        let peers = view.members().into_iter().filter(|id| *id != options.my_id);
        let peers = RefCell::new(peers.map(|id| (id, Peer::default())).collect());
        let votes = Rc::new(Self {
            options,
            view,
            resolver,
            events,
            ports: RefCell::default(),
            binds: RefCell::new(binds),
            peers,
            handshakes: RefCell::default(),
            next_handshake: Cell::new(0),
        });
        votes.open(listeners);
        votes
    }

    /// Takes votes at these ports instead of those before.
    fn open(self: &Rc<Self>, listeners: Vec<Listener>) {
        self.ports.borrow_mut().drain(..).for_each(|close| close.set());
        for listener in listeners {
            let (votes, close) = (self.clone(), Rc::new(Signal::default()));
            self.ports.borrow_mut().push(close.clone());
            spawn_local(async move { or(votes.accept(listener), close.wait()).await });
        }
    }

    /// Other servers are members from now on: those that join have their places, those that leave are strangers.
    pub(super) fn configured(self: &Rc<Self>) {
        let mut peers = self.peers.borrow_mut();
        for id in self.view.members().into_iter().filter(|id| *id != self.options.my_id) {
            peers.entry(id).or_default();
        }
        peers.retain(|id, peer| {
            if self.view.is_member(*id) {
                return true;
            }
            // While it is connected it may ask who leads; nobody dials it any more.
            (peer.unsent, peer.last_sent) = (None, None);
            peer.connection.is_some()
        });
        drop(peers);
        let binds = address::election_binds(&self.options, self.view.own().as_ref());
        if *self.binds.borrow() != binds {
            self.binds.replace(binds.clone());
            let votes = self.clone();
            spawn_local(async move { votes.open_elsewhere(binds).await });
        }
    }

    /// This server is to be found at another election port: the one before is open until that one is.
    async fn open_elsewhere(self: Rc<Self>, binds: Vec<Bind>) {
        let mut is_told = false;
        while *self.binds.borrow() == binds {
            let mut listeners = Vec::new();
            let mut problem = None;
            for bind in &binds {
                match bind.listen(&self.resolver, BACKLOG).await {
                    Ok(listener) => listeners.push(listener),
                    Err(error) => problem = Some(error),
                }
            }
            match problem {
                None => {
                    tracing::info!(?binds, "the election port is open at its new place");
                    return self.open(listeners);
                }
                Some(error) if is_told => tracing::debug!(%error, "the new election port is still not open"),
                Some(error) => {
                    tracing::error!(%error, "the new election port cannot be opened: tried again");
                    is_told = true;
                }
            }
            sleep(PORT_PAUSE).await;
        }
    }

    /// Sends a vote: what has not left yet is replaced.
    pub(super) fn notify(self: &Rc<Self>, to: ServerId, bytes: Arc<[u8]>) {
        let mut peers = self.peers.borrow_mut();
        // A stranger that is gone has no place any more, and cannot be dialled.
        let Some(peer) = peers.get_mut(&to) else { return };
        peer.unsent = Some(bytes);
        match &peer.connection {
            Some(connection) => connection.to_send.set(),
            None => self.dial(to, peer),
        }
    }

    /// Makes sure that a task dials.
    fn dial(self: &Rc<Self>, to: ServerId, peer: &mut Peer) {
        if peer.dialler.is_none() {
            let hurry = Rc::new(Signal::default());
            peer.dialler = Some(hurry.clone());
            let votes = self.clone();
            spawn_local(async move { votes.keep_dialling(to, hurry).await });
        }
    }

    /// Dials until there is a connection or nothing to send.
    async fn keep_dialling(self: Rc<Self>, to: ServerId, hurry: Rc<Signal>) {
        let done = Rc::new(Signal::default());
        let outcome = Rc::new(RefCell::new(None));
        let mut pause = PAUSE_MIN;
        loop {
            let may_dial = {
                let mut peers = self.peers.borrow_mut();
                let Some(peer) = peers.get_mut(&to) else { return };
                if peer.connection.is_some() || peer.unsent.is_none() {
                    peer.dialler = None;
                    return;
                }
                let may_dial = peer.dials < DIALS_MAX;
                peer.dials += u32::from(may_dial);
                may_dial
            };
            outcome.replace(None);
            if may_dial {
                let (votes, done, outcome) = (self.clone(), done.clone(), outcome.clone());
                spawn_local(async move {
                    let dialled = votes.dial_once(to).await;
                    if let Some(peer) = votes.peers.borrow_mut().get_mut(&to) {
                        peer.dials -= 1;
                    }
                    outcome.replace(Some(dialled));
                    done.set();
                });
            }
            let was_hurried = or(
                async {
                    done.wait().await;
                    false
                },
                async {
                    hurry.wait().await;
                    true
                },
            )
            .await;
            if was_hurried {
                pause = PAUSE_MIN;
                continue;
            }
            let left_alone = match outcome.borrow_mut().take() {
                Some(Ok(Dialled::Connected)) => continue,
                Some(Ok(Dialled::Announced)) => pause.max(DIALLED_BACK_PAUSE),
                Some(Err(error)) => {
                    self.tell_unreachable(to, &error);
                    if !self.is_member(to) {
                        // Its place is for one that can be reached.
                        self.peers.borrow_mut().remove(&to);
                        return;
                    }
                    pause
                }
                None => pause,
            };
            pause = (pause * 2).min(PAUSE_MAX);
            let _ = timeout(left_alone, hurry.wait()).await;
        }
    }

    /// The replica is told of each dial in vain, the operator once for each time that a server cannot be reached.
    fn tell_unreachable(&self, to: ServerId, error: &io::Error) {
        if self.is_member(to) {
            self.events.push(Event::PeerLost(to));
        }
        let mut peers = self.peers.borrow_mut();
        let is_told = peers.get_mut(&to).is_some_and(|peer| std::mem::replace(&mut peer.is_unreachable_told, true));
        if is_told {
            tracing::debug!(server = to.0, %error, "still cannot be reached at its election port");
        } else {
            tracing::info!(server = to.0, %error, "cannot be reached at its election port; tried again while there is something to tell");
        }
    }

    /// Tries each address of a server.
    async fn dial_once(self: &Rc<Self>, to: ServerId) -> io::Result<Dialled> {
        let configured = self.view.member(to);
        let mut addresses: Vec<_> =
            configured.into_iter().flat_map(|member| member.addresses).map(|address| address.election).collect();
        if let Some(peer) = self.peers.borrow().get(&to) {
            for address in &peer.announced {
                if !addresses.contains(address) {
                    addresses.push(address.clone());
                }
            }
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
        for address in addresses {
            match address::connect(&self.resolver, &address, self.options.connect_timeout).await {
                Ok(stream) => match self.introduce(to, stream).await {
                    Ok(dialled) => return Ok(dialled),
                    Err(error) => last = error,
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Says who we are; keeps the connection if it is ours to make.
    async fn introduce(self: &Rc<Self>, to: ServerId, stream: Stream) -> io::Result<Dialled> {
        let mut hello = Vec::new();
        self.options.hello(self.view.own().as_ref()).encode(&mut hello);
        match timeout(self.options.connect_timeout, stream.write_all(&hello)).await {
            Some(written) => written?,
            None => return Err(io::ErrorKind::TimedOut.into()),
        }
        if to > self.options.my_id {
            return Ok(Dialled::Announced);
        }
        self.connected(to, stream, Vec::new());
        Ok(Dialled::Connected)
    }

    async fn accept(self: Rc<Self>, listener: Listener) {
        loop {
            match listener.accept().await {
                Ok(accepted) => self.accepted(accepted),
                Err(error) => {
                    tracing::warn!(%error, "a connection to the election port could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn accepted(self: &Rc<Self>, accepted: Accepted) {
        let number = self.next_handshake.get();
        self.next_handshake.set(number + 1);
        let stream = Rc::new(Stream::adopt(accepted));
        let mut handshakes = self.handshakes.borrow_mut();
        if handshakes.len() >= HANDSHAKES_MAX
            && let Some((_, oldest)) = handshakes.pop_front()
        {
            oldest.shutdown();
        }
        handshakes.push_back((number, stream.clone()));
        let votes = self.clone();
        spawn_local(async move {
            let mut bytes = Vec::new();
            let hello = timeout(votes.options.handshake_timeout, read_hello(&stream, &mut bytes)).await;
            votes.handshakes.borrow_mut().retain(|(other, _)| *other != number);
            match hello {
                None => tracing::debug!(peer = %stream.peer(), "no handshake came at the election port: closed"),
                Some(Err(error)) => {
                    tracing::warn!(peer = %stream.peer(), %error, "not a handshake of the election port: closed");
                }
                Some(Ok(hello)) => match Rc::try_unwrap(stream) {
                    Ok(stream) => votes.introduced(hello, stream, bytes),
                    Err(_) => panic!("a stream is held by its handshake only"),
                },
            }
        });
    }

    /// A server has said who it is; `rest` came behind.
    fn introduced(self: &Rc<Self>, hello: Hello, stream: Stream, rest: Vec<u8>) {
        let (from, my_id) = (hello.server, self.options.my_id);
        if from == my_id {
            tracing::warn!(
                peer = %stream.peer(), id = from.0,
                "a server with this server's own number has connected: two servers have the same myid"
            );
            return;
        }
        if !self.has_place(from) {
            tracing::debug!(peer = %stream.peer(), id = from.0, "a server that no server.N line names: closed");
            return;
        }
        if from > my_id {
            self.connected(from, stream, rest);
            return;
        }
        // It may have lost a connection that we still hold for good, so that one ends, and we make another.
        drop(stream);
        let mut peers = self.peers.borrow_mut();
        let peer = peers.entry(from).or_default();
        peer.announced = hello.addresses.into_iter().map(|(host, port)| HostPort { host, port }).collect();
        if let Some(connection) = peer.connection.take() {
            connection.stream.shutdown();
            connection.to_send.set();
        }
        if peer.unsent.is_none() {
            peer.unsent = peer.last_sent.clone();
        }
        if peer.unsent.is_none() {
            // Nothing to tell it: the connection is for its votes.
            peer.unsent = Some(Arc::new([]));
        }
        match &peer.dialler {
            Some(hurry) => hurry.set(),
            None => self.dial(from, peer),
        }
    }

    /// Whether a server may have a connection: the configuration names it, or there is room for one more stranger.
    fn has_place(&self, id: ServerId) -> bool {
        let peers = self.peers.borrow();
        peers.contains_key(&id)
            || (id.0 >= 0 && id.0 != i64::MAX)
                && peers.keys().filter(|id| !self.view.is_member(**id)).count() < STRANGERS_MAX
    }

    /// The connection with a server stands; an older one ends.
    fn connected(self: &Rc<Self>, id: ServerId, stream: Stream, rest: Vec<u8>) {
        stream.watch_peer(self.options.connect_timeout.max(Duration::from_secs(2)));
        tracing::debug!(server = id.0, peer = %stream.peer(), "votes are exchanged");
        let connection = Rc::new(Connection { stream, to_send: Signal::default() });
        {
            let mut peers = self.peers.borrow_mut();
            let peer = peers.entry(id).or_default();
            peer.is_unreachable_told = false;
            if let Some(older) = peer.connection.replace(connection.clone()) {
                older.stream.shutdown();
                older.to_send.set();
            }
            if peer.unsent.is_none() {
                peer.unsent = peer.last_sent.clone();
            }
            if let Some(hurry) = &peer.dialler {
                // It sees that there is nothing more to do.
                hurry.set();
            }
        }
        if self.is_member(id) {
            self.events.push(Event::PeerConnected(id));
        }
        let (votes, writing) = (self.clone(), connection.clone());
        spawn_local(async move { votes.write(id, writing).await });
        let votes = self.clone();
        spawn_local(async move { votes.read(id, connection, rest).await });
    }

    fn is_member(&self, id: ServerId) -> bool {
        self.view.is_member(id)
    }

    fn is_current(&self, id: ServerId, connection: &Rc<Connection>) -> bool {
        let peers = self.peers.borrow();
        peers.get(&id).and_then(|peer| peer.connection.as_ref()).is_some_and(|current| Rc::ptr_eq(current, connection))
    }

    async fn write(self: Rc<Self>, id: ServerId, connection: Rc<Connection>) {
        let mut frame = Vec::new();
        loop {
            let vote = {
                let mut peers = self.peers.borrow_mut();
                let current = peers
                    .get_mut(&id)
                    .filter(|peer| peer.connection.as_ref().is_some_and(|current| Rc::ptr_eq(current, &connection)));
                let Some(peer) = current else { return };
                let vote = peer.unsent.take().filter(|vote| !vote.is_empty());
                if vote.is_some() {
                    peer.last_sent.clone_from(&vote);
                }
                vote
            };
            let Some(vote) = vote else {
                connection.to_send.wait().await;
                continue;
            };
            frame.clear();
            put_frame(&vote, &mut frame);
            if let Err(error) = connection.stream.write_all(&frame).await {
                self.ended(id, &connection, Some(&error));
                return;
            }
        }
    }

    async fn read(self: Rc<Self>, id: ServerId, connection: Rc<Connection>, mut bytes: Vec<u8>) {
        loop {
            let burst = match self.hand_over(id, &mut bytes).await {
                Ok(burst) => burst,
                Err(error) => {
                    tracing::warn!(server = id.0, peer = %connection.stream.peer(), %error, "rubbish at the election port: closed");
                    self.ended(id, &connection, None);
                    return;
                }
            };
            if burst > BURST_MAX {
                sleep(BURST_PAUSE).await;
            }
            if bytes.is_empty() {
                bytes = Vec::new();
            }
            match connection.stream.read(&mut bytes).await {
                Ok(1..) if self.is_current(id, &connection) => {}
                Ok(_) => return self.ended(id, &connection, None),
                Err(error) => return self.ended(id, &connection, Some(&error)),
            }
        }
    }

    /// Tells the replica the newest votes in `bytes`; how many there were.
    async fn hand_over(&self, id: ServerId, bytes: &mut Vec<u8>) -> Result<usize, ElectionDecodeError> {
        let mut newest = VecDeque::new();
        let (mut taken, mut count) = (0, 0);
        while let Some((vote, len)) = read_frame(&bytes[taken..])? {
            if newest.len() == BURST_MAX {
                newest.pop_front();
            }
            newest.push_back(vote.to_vec());
            taken += len;
            count += 1;
        }
        bytes.drain(..taken);
        if count > 0 {
            newest.into_iter().for_each(|bytes| self.events.push(Event::Notification { from: id, bytes }));
            self.events.taken().await;
        }
        Ok(count)
    }

    /// A connection is over. Unless it was replaced, its server is dialled: what left last may not have arrived.
    fn ended(self: &Rc<Self>, id: ServerId, connection: &Rc<Connection>, error: Option<&io::Error>) {
        connection.stream.shutdown();
        if !self.is_current(id, connection) {
            return;
        }
        tracing::debug!(server = id.0, peer = %connection.stream.peer(), ?error, "the connection for votes has ended");
        let mut peers = self.peers.borrow_mut();
        if !self.is_member(id) {
            peers.remove(&id);
            connection.to_send.set();
            return;
        }
        let Some(peer) = peers.get_mut(&id) else { return };
        peer.connection = None;
        self.events.push(Event::PeerLost(id));
        connection.to_send.set();
        if peer.unsent.is_none() {
            peer.unsent = peer.last_sent.clone();
        }
        if peer.unsent.is_some() {
            self.dial(id, peer);
        }
    }
}

/// Reads until the handshake is whole; what came behind it stays in `bytes`.
async fn read_hello(stream: &Stream, bytes: &mut Vec<u8>) -> io::Result<Hello> {
    loop {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if let Some((hello, len)) = Hello::read(bytes).map_err(invalid)? {
            bytes.drain(..len);
            return Ok(hello);
        }
        if stream.read(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

impl PeerOptions {
    /// How this server introduces itself. All its addresses are named only where every server understands that
    /// (ZOOKEEPER-3720).
    fn hello(&self, own: Option<&Member>) -> Hello {
        let addresses = own.into_iter().flat_map(|member| &member.addresses);
        let mut room = HELLO_ADDRESSES_MAX;
        let fitting =
            addresses.map(|address| (address.election.java_host(), address.election.port)).take_while(|(host, _)| {
                // Brackets, colon, port and the bar behind.
                room = room.saturating_sub(host.len() + 9);
                room > 0
            });
        Hello {
            form: if self.multi_address { HelloForm::V2 } else { HelloForm::V1 },
            server: self.my_id,
            addresses: fitting.collect(),
        }
    }
}
