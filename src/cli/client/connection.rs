//! The connection, the session on it, and who waits for which answer.
//!
//! Locks are taken in one order: the link, then the state. The background thread never waits for the link while it reads, so
//! that a caller who is stuck in a write because the server does not read cannot keep the answers from being read.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::debug;

use super::error::Error;
use super::frames::FrameReader;
use super::hosts::{ConnectString, HostPort};
use super::watches::{WatchKind, Watches};
use crate::ids::{SessionId, Zxid};
use crate::wire::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN, Password};
use crate::wire::error_code::ErrorCode;
use crate::wire::header::{ReplyHeader, RequestHeader, Xid};
use crate::wire::jute::{Reader, put_frame};
use crate::wire::op::OpCode;
use crate::wire::request::AuthRequest;
use crate::wire::watch_event::{EventType, decode_event};

/// Requests that may wait for an answer at one time; the next caller waits for room.
const WAITING_MAX: usize = 10_000;

/// Between two rounds over the host list when no host could be reached.
const ROUND_PAUSE: Duration = Duration::from_secs(1);

/// How long `close` waits for the server's word that the session is closed.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(5);

/// Hears of events. Called on the client's own thread: it must not wait for an answer of the same client.
pub type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

/// How to connect.
#[derive(Clone)]
pub struct Options {
    /// Where, and below which chroot.
    pub connect: ConnectString,
    /// The session timeout to ask for.
    pub session_timeout: Duration,
    /// Whether a server without a quorum will do.
    pub read_only: bool,
    /// Hears of the connection's changes and of watch events.
    pub listener: Option<Listener>,
}

impl Options {
    /// A session of 30 seconds with no listener.
    pub const fn new(connect: ConnectString) -> Self {
        Self { connect, session_timeout: Duration::from_secs(30), read_only: false, listener: None }
    }
}

/// A watch event, or a change of the connection (then `event` is -1 and there is no path).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// [`EventType`] by number.
    pub event: i32,
    /// Apache's `KeeperState` by number.
    pub state: i32,
    /// Where, as the client names it (without the chroot).
    pub path: Option<String>,
    /// The transaction behind a watch event.
    pub zxid: Option<Zxid>,
}

impl Event {
    /// No connection at the moment.
    pub const DISCONNECTED: i32 = 0;
    /// Connected to a server with a quorum.
    pub const SYNC_CONNECTED: i32 = 3;
    /// The server refused the client's credentials.
    pub const AUTH_FAILED: i32 = 4;
    /// Connected to a server without a quorum.
    pub const CONNECTED_READ_ONLY: i32 = 5;
    /// The session was closed by the client.
    pub const CLOSED: i32 = 7;
    /// The session has expired.
    pub const EXPIRED: i32 = -112;

    const fn of_connection(state: i32) -> Self {
        Self { event: EventType::None as i32, state, path: None, zxid: None }
    }
}

/// Prints as Apache's `WatchedEvent` does.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            Self::DISCONNECTED => "Disconnected",
            Self::SYNC_CONNECTED => "SyncConnected",
            Self::AUTH_FAILED => "AuthFailed",
            Self::CONNECTED_READ_ONLY => "ConnectedReadOnly",
            Self::CLOSED => "Closed",
            Self::EXPIRED => "Expired",
            _ => "Unknown",
        };
        let event = match self.event {
            1 => "NodeCreated",
            2 => "NodeDeleted",
            3 => "NodeDataChanged",
            4 => "NodeChildrenChanged",
            5 => "DataWatchRemoved",
            6 => "ChildWatchRemoved",
            7 => "PersistentWatchRemoved",
            _ => "None",
        };
        let path = self.path.as_deref().unwrap_or("null");
        write!(f, "WatchedEvent state:{state} type:{event} path:{path}")
    }
}

/// What has become of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionState {
    /// Looking for a server.
    Connecting,
    /// On a server with a quorum.
    Connected,
    /// On a server without one.
    ConnectedReadOnly,
    /// The session expired while there was no connection: the end.
    Expired,
    /// Credentials were refused: the end.
    AuthFailed,
    /// Closed by the client: the end.
    Closed,
}

impl ConnectionState {
    /// Whether requests may be made, now or after the next connection.
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Connecting | Self::Connected | Self::ConnectedReadOnly)
    }

    const fn is_connected(self) -> bool {
        matches!(self, Self::Connected | Self::ConnectedReadOnly)
    }

    /// What a request meets in this state.
    const fn refusal(self) -> ErrorCode {
        match self {
            Self::Expired | Self::Closed => ErrorCode::SESSION_EXPIRED,
            Self::AuthFailed => ErrorCode::AUTH_FAILED,
            Self::Connecting | Self::Connected | Self::ConnectedReadOnly => ErrorCode::CONNECTION_LOSS,
        }
    }
}

/// Prints as Apache's `ZooKeeper.States` does.
impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "CONNECTING",
            Self::Connected => "CONNECTED",
            Self::ConnectedReadOnly => "CONNECTEDREADONLY",
            Self::Expired | Self::Closed => "CLOSED",
            Self::AuthFailed => "AUTH_FAILED",
        })
    }
}

/// An answer: the transaction it is of, and its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
}

/// An answer that will come.
#[derive(Debug)]
pub struct Ticket {
    receiver: Receiver<Result<Answer, Error>>,
}

impl Ticket {
    /// Waits for it.
    pub(super) fn wait(self) -> Result<Answer, Error> {
        // The sender is dropped unanswered only when the client's thread has ended.
        self.receiver.recv().unwrap_or_else(|_| Err(Error::keeper(ErrorCode::CONNECTION_LOSS, None)))
    }
}

/// A watch that a request leaves if it succeeds.
#[derive(Debug)]
pub(super) enum WatchWish {
    /// This one.
    Of(WatchKind, String),
    /// A data watch if the znode is there, else an exist watch.
    OfExists(String),
}

/// A client: a session that its background thread keeps alive. Dropping it closes the connection and leaves the session to
/// its timeout, as when a process dies; [`close`](Self::close) ends the session.
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    /// Starts to connect, and returns at once.
    pub fn start(options: Options) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            link: Mutex::new(None),
            state: Mutex::new(State::new(options.session_timeout)),
            changed: Condvar::new(),
            options,
        });
        let thread = Arc::clone(&shared);
        thread::Builder::new().name("zk-client".to_owned()).spawn(move || thread.run())?;
        Ok(Self { shared })
    }

    /// What has become of the connection.
    pub fn state(&self) -> ConnectionState {
        self.shared.state().connection
    }

    /// The session, [`SessionId::NONE`] before the first connection.
    pub fn session(&self) -> SessionId {
        self.shared.state().session
    }

    /// The session timeout that the server granted.
    pub fn session_timeout(&self) -> Duration {
        self.shared.state().timeout
    }

    /// Waits until connected; says whether it is.
    pub fn wait_connected(&self, wait: Duration) -> bool {
        let waiting = |state: &mut State| state.connection == ConnectionState::Connecting;
        let guard = self.shared.state();
        let (state, _) =
            self.shared.changed.wait_timeout_while(guard, wait, waiting).unwrap_or_else(PoisonError::into_inner);
        state.connection.is_connected()
    }

    /// Ends the session: its ephemeral znodes go now. Without a connection the session is left to its timeout.
    pub fn close(&self) {
        if !self.state().is_alive() {
            return;
        }
        let ticket = self.state().is_connected().then(|| self.submit(OpCode::CLOSE_SESSION, None, None, |_| {}));
        self.shared.state().is_closing = true;
        if let Some(Ok(ticket)) = ticket {
            // Whatever comes, an answer or the connection's end: it is over.
            let _ = ticket.receiver.recv_timeout(CLOSE_WAIT_MAX);
        }
        self.shared.end(ConnectionState::Closed);
        self.shared.tell(&Event::of_connection(Event::CLOSED));
    }

    /// Adds an identity, now and on every later connection.
    pub fn add_auth(&self, scheme: &str, auth: &[u8]) -> Result<(), Error> {
        let (done, receiver) = mpsc::channel();
        {
            let mut link = self.shared.link();
            let mut state = self.shared.state();
            if !state.connection.is_alive() {
                return Err(Error::keeper(state.connection.refusal(), None));
            }
            state.auths.push((scheme.to_owned(), auth.to_vec()));
            state.waiting_auths.push_back(Some(done));
            // Without a connection it is sent with all others when there is one.
            if state.connection.is_connected() {
                drop(state);
                let mut frame = Vec::new();
                put_auth(&mut frame, scheme, auth);
                if let Some(link) = link.as_mut() {
                    link.send(&frame);
                }
            }
        }
        receiver.recv().unwrap_or_else(|_| Err(Error::keeper(ErrorCode::CONNECTION_LOSS, None)))
    }

    /// Sends a request, or queues it until there is a connection.
    pub(super) fn submit(
        &self,
        op: OpCode,
        path: Option<&str>,
        watch: Option<WatchWish>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Ticket, Error> {
        let (done, receiver) = mpsc::channel();
        let full = |state: &mut State| state.waiting.len() >= WAITING_MAX;
        let (mut link, mut state) = loop {
            // Room is waited for without the link, which the background thread needs to open the next connection.
            drop(self.shared.changed.wait_while(self.shared.state(), full).unwrap_or_else(PoisonError::into_inner));
            let link = self.shared.link();
            let state = self.shared.state();
            if state.waiting.len() < WAITING_MAX {
                break (link, state);
            }
        };
        if !state.connection.is_alive() || state.is_closing {
            return Err(Error::keeper(state.connection.refusal(), path));
        }
        // Said before it is sent: the server hangs up behind its answer, and that is no lost connection.
        state.is_closing = op == OpCode::CLOSE_SESSION;
        let xid = Xid(state.next_xid);
        state.next_xid = state.next_xid.checked_add(1).unwrap_or(1);
        let mut frame = Vec::new();
        put_frame(&mut frame, |out| {
            RequestHeader { xid, op }.encode(out);
            fill(out);
        });
        state.waiting.push_back(Waiting { xid, op, path: path.map(str::to_owned), watch, done });
        if state.connection.is_connected() {
            drop(state);
            if let Some(link) = link.as_mut() {
                link.send(&frame);
            }
        } else {
            state.unsent.extend_from_slice(&frame);
        }
        Ok(Ticket { receiver })
    }

    /// Sends a request and waits for its answer.
    pub(super) fn call(
        &self,
        op: OpCode,
        path: Option<&str>,
        watch: Option<WatchWish>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Answer, Error> {
        self.submit(op, path, watch, fill)?.wait()
    }

    /// The server's name of a path: with the chroot before it.
    pub(super) fn server_path(&self, path: &str) -> String {
        let chroot = &self.shared.options.connect.chroot;
        match path {
            "/" if !chroot.is_empty() => chroot.clone(),
            _ => format!("{chroot}{path}"),
        }
    }

    /// The client's name of a path.
    pub(super) fn client_path(&self, path: String) -> String {
        self.shared.client_path(path)
    }

    /// Works on the watches that the client has noted.
    pub(super) fn with_watches<T>(&self, work: impl FnOnce(&mut Watches) -> T) -> T {
        work(&mut self.shared.state().watches)
    }

    /// Tells the listener of events that the client itself has made.
    pub(super) fn tell(&self, event: EventType, path: &str) {
        let event = event as i32;
        self.shared.tell(&Event { event, state: Event::SYNC_CONNECTED, path: Some(path.to_owned()), zxid: None });
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.end(ConnectionState::Closed);
    }
}

/// The socket's writing half.
struct Link {
    stream: TcpStream,
    last_send: Instant,
}

impl Link {
    /// Sends whole frames. If that fails, the connection is broken for both directions: the reader finds out and tells all
    /// who wait.
    fn send(&mut self, frames: &[u8]) {
        self.last_send = Instant::now();
        if let Err(error) = self.stream.write_all(frames) {
            debug!(%error, "the connection broke while a request was written");
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}

/// A request whose answer has not come.
struct Waiting {
    xid: Xid,
    op: OpCode,
    path: Option<String>,
    watch: Option<WatchWish>,
    done: Sender<Result<Answer, Error>>,
}

struct State {
    connection: ConnectionState,
    session: SessionId,
    password: Password,
    timeout: Duration,
    last_zxid: Zxid,
    next_xid: i32,
    /// In the order of their xids, which is the order of the answers.
    waiting: VecDeque<Waiting>,
    /// The frames of those in `waiting` that were made while there was no connection.
    unsent: Vec<u8>,
    /// All identities, to be sent again on each connection.
    auths: Vec<(String, Vec<u8>)>,
    /// Who waits for the answers to `auth`; `None` for those that were sent again.
    waiting_auths: VecDeque<Option<Sender<Result<(), Error>>>>,
    watches: Watches,
    is_closing: bool,
}

impl State {
    const fn new(timeout: Duration) -> Self {
        Self {
            connection: ConnectionState::Connecting,
            session: SessionId::NONE,
            password: [0; PASSWORD_LEN],
            timeout,
            last_zxid: Zxid::ZERO,
            next_xid: 1,
            waiting: VecDeque::new(),
            unsent: Vec::new(),
            auths: Vec::new(),
            waiting_auths: VecDeque::new(),
            watches: Watches::new(),
            is_closing: false,
        }
    }
}

struct Shared {
    options: Options,
    link: Mutex<Option<Link>>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn link(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: &Event) {
        if let Some(listener) = &self.options.listener {
            listener(event);
        }
    }

    fn client_path(&self, path: String) -> String {
        match path.strip_prefix(&self.options.connect.chroot) {
            Some("") => "/".to_owned(),
            Some(rest) if rest.starts_with('/') => rest.to_owned(),
            _ => path,
        }
    }

    /// The background thread: connects, serves, connects again, until the end.
    fn run(&self) {
        let hosts = shuffled(&self.options.connect.hosts);
        loop {
            let mut any_served = false;
            for host in &hosts {
                if !self.state().connection.is_alive() {
                    return;
                }
                match self.open(host) {
                    Ok(Some((stream, frames))) => {
                        any_served = true;
                        let end = self.serve(stream, frames);
                        debug!(%host, %end, "the connection ended");
                        self.disconnected();
                    }
                    Ok(None) => {
                        self.end(ConnectionState::Expired);
                        self.tell(&Event::of_connection(Event::EXPIRED));
                    }
                    Err(error) => debug!(%host, %error, "no connection"),
                }
            }
            if !any_served {
                self.fail_waiting();
            }
            let pausing = |state: &mut State| state.connection.is_alive();
            let (state, _) = self
                .changed
                .wait_timeout_while(self.state(), ROUND_PAUSE, pausing)
                .unwrap_or_else(PoisonError::into_inner);
            if !state.connection.is_alive() {
                return;
            }
        }
    }

    /// Connects to one host and opens the session there. `None`: the session has expired.
    fn open(&self, host: &HostPort) -> io::Result<Option<(TcpStream, FrameReader)>> {
        let wait = self.options.session_timeout / u32::try_from(self.options.connect.hosts.len()).unwrap_or(1);
        let wait = wait.max(Duration::from_millis(100));
        let mut stream = connect(host, wait)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(wait))?;
        stream.set_read_timeout(Some(wait))?;

        let mut request = Vec::new();
        {
            let state = self.state();
            put_frame(&mut request, |out| {
                ConnectRequest {
                    protocol_version: 0,
                    last_zxid_seen: state.last_zxid,
                    timeout_ms: i32::try_from(self.options.session_timeout.as_millis()).unwrap_or(i32::MAX),
                    session: state.session,
                    password: &state.password,
                    read_only: Some(self.options.read_only),
                }
                .encode(out);
            });
        }
        stream.write_all(&request)?;

        let mut frames = FrameReader::new();
        let response = loop {
            if let Some(frame) = frames.next_frame()? {
                break ConnectResponse::decode(&mut Reader::new(frame)).map_err(invalid)?;
            }
            if frames.fill(&mut stream)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        let Some(timeout_ms) = u64::try_from(response.timeout_ms).ok().filter(|timeout_ms| *timeout_ms > 0) else {
            return Ok(None);
        };

        let mut link = self.link();
        let mut state = self.state();
        if !state.connection.is_alive() {
            return Err(ErrorKind::NotConnected.into());
        }
        state.session = response.session;
        state.password = response.password;
        state.timeout = Duration::from_millis(timeout_ms);
        stream.set_write_timeout(Some(state.timeout))?;
        let first = first_frames(&mut state);
        let mut writer = Link { stream: stream.try_clone()?, last_send: Instant::now() };
        let read_only = response.read_only == Some(true);
        state.connection = if read_only { ConnectionState::ConnectedReadOnly } else { ConnectionState::Connected };
        drop(state);
        writer.send(&first);
        *link = Some(writer);
        drop(link);
        self.changed.notify_all();
        let connected = if read_only { Event::CONNECTED_READ_ONLY } else { Event::SYNC_CONNECTED };
        self.tell(&Event::of_connection(connected));
        Ok(Some((stream, frames)))
    }

    /// Reads answers and pings, until the connection ends. Says why it did.
    fn serve(&self, mut stream: TcpStream, mut frames: FrameReader) -> io::Error {
        let timeout = self.state().timeout;
        // Apache's client: give up after two thirds of the timeout, which leaves a third to find another server; ping after
        // half of that.
        let silence_max = timeout * 2 / 3;
        let ping_after = silence_max / 2;
        let mut last_receive = Instant::now();
        loop {
            if !self.state().connection.is_alive() {
                return ErrorKind::ConnectionAborted.into();
            }
            let now = Instant::now();
            let silence = now.saturating_duration_since(last_receive);
            if silence >= silence_max {
                let _ = stream.shutdown(Shutdown::Both);
                return io::Error::new(ErrorKind::TimedOut, "the server has been silent for too long");
            }
            let mut wait = silence_max - silence;
            // A link that is locked is being written to: no ping is needed.
            if let Ok(mut link) = self.link.try_lock()
                && let Some(link) = link.as_mut()
            {
                if now.saturating_duration_since(link.last_send) >= ping_after {
                    link.send(&ping());
                }
                wait = wait.min(ping_after.saturating_sub(link.last_send.elapsed()));
            }
            if let Err(error) = stream.set_read_timeout(Some(wait.max(Duration::from_millis(1)))) {
                return error;
            }
            match frames.fill(&mut stream) {
                Ok(0) => return ErrorKind::UnexpectedEof.into(),
                Ok(_) => last_receive = Instant::now(),
                Err(error) if is_timeout(&error) => continue,
                Err(error) => return error,
            }
            loop {
                let handled = match frames.next_frame() {
                    Ok(None) => break,
                    Ok(Some(frame)) => self.handle(frame),
                    Err(error) => Err(error),
                };
                if let Err(error) = handled {
                    let _ = stream.shutdown(Shutdown::Both);
                    return error;
                }
            }
        }
    }

    /// One frame from the server.
    fn handle(&self, frame: &[u8]) -> io::Result<()> {
        let mut reader = Reader::new(frame);
        let header = ReplyHeader::decode(&mut reader).map_err(invalid)?;
        match header.xid {
            Xid::PING | Xid::SET_WATCHES => Ok(()),
            Xid::NOTIFICATION => self.handle_event(header.zxid, &mut reader),
            Xid::AUTH => self.handle_auth(header.err),
            _ => self.handle_answer(&header, reader.rest()),
        }
    }

    fn handle_event(&self, zxid: Zxid, reader: &mut Reader<'_>) -> io::Result<()> {
        let (event, state, path) = decode_event(reader).map_err(invalid)?;
        self.state().watches.fired(event, &path);
        self.tell(&Event { event, state, path: Some(self.client_path(path)), zxid: Some(zxid) });
        Ok(())
    }

    fn handle_auth(&self, err: ErrorCode) -> io::Result<()> {
        let waiting = self.state().waiting_auths.pop_front().flatten();
        if err == ErrorCode::OK {
            waiting.map(|done| done.send(Ok(())));
            return Ok(());
        }
        self.end(ConnectionState::AuthFailed);
        self.tell(&Event::of_connection(Event::AUTH_FAILED));
        waiting.map(|done| done.send(Err(Error::keeper(ErrorCode::AUTH_FAILED, None))));
        Err(io::Error::new(ErrorKind::PermissionDenied, "the server refused the credentials"))
    }

    fn handle_answer(&self, header: &ReplyHeader, body: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let in_order = state.waiting.front().is_some_and(|first| first.xid == header.xid);
        if !in_order {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("an answer out of order: xid {}", header.xid.0),
            ));
        }
        let Some(first) = state.waiting.pop_front() else { return Ok(()) };
        if header.zxid > state.last_zxid {
            state.last_zxid = header.zxid;
        }
        match first.watch {
            Some(WatchWish::Of(kind, path)) if header.err == ErrorCode::OK => state.watches.add(kind, path),
            Some(WatchWish::OfExists(path)) if header.err == ErrorCode::OK => state.watches.add(WatchKind::Data, path),
            Some(WatchWish::OfExists(path)) if header.err == ErrorCode::NO_NODE => {
                state.watches.add(WatchKind::Exist, path);
            }
            _ => {}
        }
        drop(state);
        self.changed.notify_all();
        let answer = if header.err == ErrorCode::OK {
            Ok(Answer { body: body.to_vec() })
        } else {
            debug!(op = %first.op, err = %header.err, "refused");
            Err(Error::keeper(header.err, first.path.as_deref()))
        };
        // A caller that no longer waits does not need it.
        let _ = first.done.send(answer);
        Ok(())
    }

    /// The connection is gone; the session may live.
    fn disconnected(&self) {
        *self.link() = None;
        let was_alive = {
            let mut state = self.state();
            let alive = state.connection.is_alive();
            if alive {
                state.connection = ConnectionState::Connecting;
            }
            alive && !state.is_closing
        };
        self.fail_waiting();
        if was_alive {
            self.tell(&Event::of_connection(Event::DISCONNECTED));
        }
    }

    /// Everything ends in `connection`, unless it has ended before.
    fn end(&self, connection: ConnectionState) {
        {
            let mut state = self.state();
            if state.connection.is_alive() {
                state.connection = connection;
            }
        }
        self.changed.notify_all();
        // Wakes the thread out of its read. The link may be held by a writer that is stuck: it has its own timeout.
        if let Ok(mut link) = self.link.try_lock()
            && let Some(link) = link.take()
        {
            let _ = link.stream.shutdown(Shutdown::Both);
        }
        self.fail_waiting();
    }

    /// Tells all who wait that no answer will come.
    fn fail_waiting(&self) {
        let (waiting, auths, code) = {
            let mut state = self.state();
            state.unsent.clear();
            let auths: Vec<_> = state.waiting_auths.drain(..).flatten().collect();
            (state.waiting.drain(..).collect::<Vec<_>>(), auths, state.connection.refusal())
        };
        self.changed.notify_all();
        for one in waiting {
            let _ = one.done.send(Err(Error::keeper(code, one.path.as_deref())));
        }
        for done in auths {
            let _ = done.send(Err(Error::keeper(code, None)));
        }
    }
}

/// What goes out first on a new connection: identities, watches, then what has waited for a connection.
fn first_frames(state: &mut State) -> Vec<u8> {
    let mut out = Vec::new();
    // Those who wait at this moment have their identity among `auths`, at its end.
    let waiting = state.waiting_auths.len();
    for _ in waiting..state.auths.len() {
        state.waiting_auths.push_front(None);
    }
    for (scheme, auth) in &state.auths {
        put_auth(&mut out, scheme, auth);
    }
    for request in state.watches.set_watches(state.last_zxid) {
        put_frame(&mut out, |out| {
            RequestHeader { xid: Xid::SET_WATCHES, op: OpCode::SET_WATCHES2 }.encode(out);
            request.encode(out);
        });
    }
    out.append(&mut state.unsent);
    out
}

fn put_auth(out: &mut Vec<u8>, scheme: &str, auth: &[u8]) {
    put_frame(out, |out| {
        RequestHeader { xid: Xid::AUTH, op: OpCode::AUTH }.encode(out);
        AuthRequest { kind: 0, scheme: scheme.into(), auth: Some(auth) }.encode(out);
    });
}

fn ping() -> Vec<u8> {
    let mut out = Vec::new();
    put_frame(&mut out, |out| RequestHeader { xid: Xid::PING, op: OpCode::PING }.encode(out));
    out
}

/// Tries each address of a host.
pub(super) fn connect(host: &HostPort, wait: Duration) -> io::Result<TcpStream> {
    let mut last = None;
    for address in (host.host.as_str(), host.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, wait) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(ErrorKind::NotFound, "the host has no address")))
}

/// The hosts in an order of chance, so that many clients with one list spread over the servers.
fn shuffled(hosts: &[HostPort]) -> Vec<HostPort> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut chance = u64::from(since_1970.subsec_nanos()) ^ (u64::from(std::process::id()) << 32);
    let mut hosts = hosts.to_vec();
    for last in (1..hosts.len()).rev() {
        // A step of Knuth's generator; its high bits are good enough to spread load.
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(chance >> 33).unwrap_or(0) % (last + 1);
        hosts.swap(last, other);
    }
    hosts
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
