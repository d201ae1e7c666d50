//! One thread of the generator: its connections, and the loop that keeps them busy.
//!
//! What to ask and what is right is the [`Work`]'s business; when to ask is the [`Plan`]'s:
//!
//! - *closed loop*: every connection keeps so many requests outstanding, and makes as many new ones as answers came, with one
//!   write. A request's latency counts from when its batch was made, just before it was written.
//! - *fixed rate*: each request is due at an instant that was fixed before, evenly spread over all connections; its latency
//!   counts from then, whatever kept it from being sent. So a server that stands still for a second shows that second in every
//!   request that was due in it (no coordinated omission).
//!
//! The clock is read once for each read of a socket, and once for each wait.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::connection::{Connection, Op, Slot, State};
use super::record::Recorder;
use crate::cli::client::FRAME_LEN_MAX;
use crate::rt::poller::{Poller, Ready, connect, wake_sharply};

/// Bytes that one read may bring.
const READ_LEN: usize = 256 << 10;

/// How often a thread looks after what no socket tells it of.
const TICK: u64 = 50_000_000;

/// How long a connection rests before it is tried again.
const RETRY: u64 = 100_000_000;

/// How long a connection may take to be open.
const OPEN_MAX: u64 = 20_000_000_000;

/// How long the answers to what was asked may take once nothing more is asked, and how long no server at all may answer.
const PATIENCE: u64 = 30_000_000_000;

/// Connections of a thread that are opened at one time, so that the server's queue of new ones does not overflow. The churning
/// workloads, whose purpose this is, do not heed it.
const OPENING_MAX: usize = 128;

/// What to ask.
pub(super) trait Work {
    /// Whether each unit of work opens a connection of its own and ends it.
    const CHURNS: bool = false;

    /// Adds the next request to the connection's batch; false if there is none for it now.
    fn next(&mut self, connection: &mut Connection, since: u64) -> bool;

    /// Whether the body of a good answer is what it must be; if not, what is wrong with it.
    fn check(&mut self, connection: &Connection, slot: Slot, zxid: i64, body: &[u8]) -> Result<(), &'static str>;

    /// Whether this error is as good as success.
    fn excuses(&self, _op: Op, _error: i32) -> bool {
        false
    }

    /// An answer came, good or not.
    fn answered(&mut self, _connection: &mut Connection, _slot: Slot, _now: u64, _record: &mut Recorder) -> After {
        After::Go
    }

    /// A connection begins a new life (churning works only).
    fn begins(&mut self, _connection: &mut Connection) {}

    /// A connection was lost.
    fn lost(&mut self, _connection: &mut Connection) {}

    /// A watch event came; if nobody waits for it, what is wrong.
    fn event(
        &mut self,
        _connection: &mut Connection,
        _body: &[u8],
        _now: u64,
        _record: &mut Recorder,
    ) -> Result<(), &'static str> {
        Err("an event that nobody asked for")
    }

    /// Whether all has been asked. Works without an end are ended by their plan.
    fn is_done(&self) -> bool {
        false
    }

    /// What a request that was never made would have been.
    fn op(&self) -> Op {
        Op::Get
    }
}

/// What follows an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    /// The next request.
    Go,
    /// The next request, and one on the thread's first connection, which has waited for this.
    First,
    /// The session is closed, and with it the connection.
    Ended,
}

/// When to ask. Instants are nanoseconds of the run.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// Nothing is asked from then on.
    pub(super) until: u64,
    /// Absent: a closed loop.
    pub(super) pace: Option<Pace>,
    /// Set from outside to end it early.
    pub(super) stop: &'a AtomicBool,
    /// Whether a connection that cannot be made or ends is the end of it all.
    pub(super) strict: bool,
}

impl<'a> Plan<'a> {
    /// Until all is done; whatever goes wrong with a connection ends it.
    pub(super) const fn strict(stop: &'a AtomicBool) -> Self {
        Self { until: u64::MAX, pace: None, stop, strict: true }
    }
}

/// A fixed rate: request `k` of connection `c` of `connections` is due at `start + (c + k * connections) * interval`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) start: u64,
    pub(super) interval_ns: f64,
    pub(super) connections: u64,
    /// The rate is that of each thread's first connection alone, for which the others work.
    pub(super) is_of_first: bool,
}

impl Pace {
    /// How many of a thread's connections have requests due.
    fn paced(&self, connections: usize) -> usize {
        if self.is_of_first { 1 } else { connections }
    }

    fn due(&self, connection: u32, made: u64) -> u64 {
        self.start + ((u64::from(connection) + made * self.connections) as f64 * self.interval_ns) as u64
    }
}

/// Why a connection ended.
#[derive(Debug)]
enum Lost {
    /// Its socket said so.
    Socket(std::io::Error),
    /// The server closed it.
    Closed,
    /// The server sent what no server may send.
    Protocol(&'static str),
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(error) => write!(f, "{error}"),
            Self::Closed => write!(f, "the server closed the connection"),
            Self::Protocol(what) => write!(f, "{what}"),
        }
    }
}

/// See the file's page.
#[derive(Debug)]
pub(super) struct Worker {
    /// When the run began.
    base: Instant,
    poller: Poller,
    hosts: Arc<[SocketAddr]>,
    pub(super) connections: Vec<Connection>,
    buffer: Vec<u8>,
    /// Connections that are to be opened, and how many are being opened.
    down: Vec<usize>,
    opening: usize,
    /// Whether anything more is to be asked.
    issuing: bool,
    /// Whether connections are opened by the work, not to be there for it.
    churns: bool,
    /// With a fixed rate: the connection whose request is due next, and how many rounds over all have been.
    turn: (usize, u64),
    /// When a connection was last open.
    open_at: u64,
    /// When something last came from a server.
    heard_at: u64,
}

impl Worker {
    /// With connections of these numbers, spread over the hosts.
    pub(super) fn new(
        base: Instant,
        hosts: &Arc<[SocketAddr]>,
        numbers: impl Iterator<Item = u32>,
        outstanding: usize,
    ) -> std::io::Result<Self> {
        let connections: Vec<_> =
            numbers.map(|number| Connection::new(number, number as usize % hosts.len(), outstanding)).collect();
        Ok(Self {
            base,
            poller: Poller::new()?,
            hosts: Arc::clone(hosts),
            down: Vec::new(),
            connections,
            buffer: vec![0; READ_LEN],
            opening: 0,
            issuing: false,
            churns: false,
            turn: (0, 0),
            open_at: 0,
            heard_at: 0,
        })
    }

    /// Nanoseconds since the run began.
    pub(super) fn clock(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Does the work as planned, until all is asked and answered. An error is what ended it before.
    pub(super) fn run<W: Work>(&mut self, work: &mut W, plan: &Plan<'_>, record: &mut Recorder) -> Result<(), String> {
        wake_sharply();
        let mut now = self.clock();
        self.issuing = true;
        (self.open_at, self.heard_at) = (now, now);
        self.turn = (0, 0);
        self.churns = W::CHURNS;
        self.down.clear();
        if !W::CHURNS {
            let is_down = |at: &usize| matches!(self.connections[*at].state, State::Down { .. });
            self.down.extend((0..self.connections.len()).rev().filter(is_down));
        }
        for connection in &mut self.connections {
            (connection.owed, connection.made) = (0, 0);
        }
        self.begin(work, plan, record, now)?;
        let mut due = Vec::new();
        let mut tick = now + TICK;
        let mut ending_since = None;
        loop {
            self.issuing = now < plan.until && !work.is_done() && !plan.stop.load(Ordering::Relaxed);
            if !self.issuing {
                let since = *ending_since.get_or_insert(now);
                if !self.connections.iter().any(|connection| is_busy::<W>(connection, plan)) {
                    break;
                }
                if now - since > PATIENCE && plan.until != u64::MAX {
                    self.give_up(record);
                    break;
                }
            }
            let mut wake = tick;
            if self.issuing {
                wake = wake.min(plan.until);
                if let Some(pace) = &plan.pace {
                    wake = wake.min(self.due(pace));
                }
            }
            let count = self
                .poller
                .wait(Duration::from_nanos(wake.saturating_sub(now)))
                .map_err(|error| format!("cannot wait for sockets: {error}"))?;
            now = self.clock();
            record.turn(now);
            if let Some(pace) = plan.pace.as_ref().filter(|_| self.issuing) {
                self.collect_due(pace, now.min(plan.until - 1), &mut due);
                for at in due.drain(..) {
                    self.serve(at, work, plan, record, now)?;
                }
            }
            for at in 0..count {
                let ready = self.poller.ready(at);
                self.react(ready, work, plan, record)?;
            }
            if now >= tick {
                tick = now + TICK;
                self.look_after(work, plan, record, now)?;
            }
        }
        // A work that has come to its own end owes nothing.
        if let Some(pace) = plan.pace.as_ref().filter(|_| !work.is_done()) {
            self.count_never_made(work.op(), pace, plan.until.min(now), record);
        }
        Ok(())
    }

    /// The first requests, or the first connections.
    fn begin<W: Work>(&mut self, work: &mut W, plan: &Plan<'_>, record: &mut Recorder, now: u64) -> Result<(), String> {
        self.open_some(plan, record, now)?;
        // With a fixed rate, those whose requests are due by the clock wait for it.
        let paced = plan.pace.as_ref().map_or(0, |pace| pace.paced(self.connections.len()));
        for at in paced..self.connections.len() {
            self.serve(at, work, plan, record, now)?;
        }
        Ok(())
    }

    /// When the next request is due.
    fn due(&self, pace: &Pace) -> u64 {
        let (at, round) = self.turn;
        pace.due(self.connections[at].number, round)
    }

    /// The connections that have requests due by `now`, each once.
    fn collect_due(&mut self, pace: &Pace, now: u64, due: &mut Vec<usize>) {
        while self.due(pace) <= now {
            let (at, round) = self.turn;
            let connection = &mut self.connections[at];
            connection.owed += 1;
            // The connections come in rounds: once a round is whole, all are in the list.
            if due.len() < self.connections.len() {
                due.push(at);
            }
            self.turn = if at + 1 == pace.paced(self.connections.len()) { (0, round + 1) } else { (at + 1, round) };
        }
    }

    /// Requests that were due and never made.
    fn count_never_made(&mut self, op: Op, pace: &Pace, end: u64, record: &mut Recorder) {
        self.collect_due(pace, end.saturating_sub(1), &mut Vec::new());
        for connection in &mut self.connections {
            for made in connection.made..connection.made + connection.owed {
                record.never_made(op, end.saturating_sub(pace.due(connection.number, made)));
            }
            connection.owed = 0;
        }
    }

    /// Gives a connection its next requests; a churning one its next life.
    fn serve<W: Work>(
        &mut self,
        at: usize,
        work: &mut W,
        plan: &Plan<'_>,
        record: &mut Recorder,
        now: u64,
    ) -> Result<(), String> {
        let connection = &mut self.connections[at];
        if !W::CHURNS || connection.is_open() {
            return self.fill(at, work, plan, record, now);
        }
        if !self.issuing || !matches!(connection.state, State::Down { retry_at } if retry_at <= now) {
            return Ok(());
        }
        let since = match &plan.pace {
            None => now,
            Some(_) if connection.owed == 0 => return Ok(()),
            Some(pace) => {
                connection.owed -= 1;
                connection.made += 1;
                let since = pace.due(connection.number, connection.made - 1);
                record.made_late(now.saturating_sub(since), now);
                since
            }
        };
        connection.forget_session();
        work.begins(connection);
        self.start(at, since, plan, record, now)
    }

    /// Adds requests while there is room, and writes them.
    fn fill<W: Work>(
        &mut self,
        at: usize,
        work: &mut W,
        plan: &Plan<'_>,
        record: &mut Recorder,
        mut now: u64,
    ) -> Result<(), String> {
        loop {
            let connection = &mut self.connections[at];
            if !connection.is_open() {
                return Ok(());
            }
            let mut has_added = false;
            while connection.has_room() {
                match plan.pace.as_ref().filter(|pace| !W::CHURNS && at < pace.paced(usize::MAX)) {
                    Some(pace) => {
                        if connection.owed == 0 || !self.issuing {
                            break;
                        }
                        let since = pace.due(connection.number, connection.made);
                        if !work.next(connection, since) {
                            break;
                        }
                        connection.owed -= 1;
                        connection.made += 1;
                        record.made_late(now.saturating_sub(since), now);
                    }
                    // A session that has begun its life goes on to its end.
                    None if !self.issuing && !W::CHURNS => break,
                    None => {
                        if !work.next(connection, now) {
                            break;
                        }
                    }
                }
                has_added = true;
            }
            if !connection.has_output() {
                return Ok(());
            }
            match connection.flush(now) {
                Ok(bytes) => record.sent(bytes, now),
                Err(error) => return self.lose(at, &Lost::Socket(error), work, plan, record),
            }
            if self.connections[at].has_output() || !has_added {
                return Ok(());
            }
            if !self.connections[at].has_room() {
                return Ok(());
            }
            now = self.clock();
        }
    }

    /// Something is new with a socket.
    fn react<W: Work>(
        &mut self,
        ready: Ready,
        work: &mut W,
        plan: &Plan<'_>,
        record: &mut Recorder,
    ) -> Result<(), String> {
        let at = ready.token;
        match self.connections[at].state {
            State::Down { .. } => return Ok(()),
            State::Connecting => {
                if !ready.writable {
                    return Ok(());
                }
                let connection = &mut self.connections[at];
                let stream = connection.stream.as_ref().expect("a connection that is being made has a socket");
                match stream.take_error() {
                    Ok(None) => connection.ask_for_session(),
                    Ok(Some(error)) | Err(error) => {
                        self.opening -= 1;
                        return self.refused(at, &error, plan, record);
                    }
                }
                let now = self.clock();
                return match self.connections[at].flush(now) {
                    Ok(_) => Ok(()),
                    Err(error) => self.lose(at, &Lost::Socket(error), work, plan, record),
                };
            }
            State::Opening if ready.writable && self.connections[at].has_output() => {
                let now = self.clock();
                if let Err(error) = self.connections[at].flush(now) {
                    return self.lose(at, &Lost::Socket(error), work, plan, record);
                }
            }
            State::Opening | State::Open => {}
        }
        let mut now = None;
        let mut is_first_waiting = false;
        if ready.readable {
            match self.receive(at, ready.ended, work, plan, record) {
                Ok((read_at, is_waiting)) => (now, is_first_waiting) = (Some(read_at), is_waiting),
                Err(lost) => return self.lose(at, &lost, work, plan, record),
            }
        }
        if now.is_none() && !(ready.writable && self.connections[at].has_output()) {
            return Ok(());
        }
        let now = now.unwrap_or_else(|| self.clock());
        self.serve(at, work, plan, record, now)?;
        if is_first_waiting && at != 0 {
            self.serve(0, work, plan, record, now)?;
        }
        if self.down.is_empty() { Ok(()) } else { self.open_some(plan, record, now) }
    }

    /// Reads what has come; when it did.
    fn receive<W: Work>(
        &mut self,
        at: usize,
        has_ended: bool,
        work: &mut W,
        plan: &Plan<'_>,
        record: &mut Recorder,
    ) -> Result<(u64, bool), Lost> {
        let mut now = self.clock();
        let mut is_first_waiting = false;
        loop {
            let connection = &mut self.connections[at];
            let Some(stream) = &mut connection.stream else {
                return Ok((now, is_first_waiting));
            };
            let len = match stream.read(&mut self.buffer) {
                Ok(0) => return Err(Lost::Closed),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((now, is_first_waiting)),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Lost::Socket(error)),
            };
            now = u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.heard_at = now;
            record.received(len, now);
            let was_opening = connection.state == State::Opening;
            let mut turn = Turn { connection, work, plan, record, now };
            let end = if turn.connection.input.is_empty() {
                turn.frames(&self.buffer[..len]).map(|(used, end)| {
                    turn.connection.input.extend_from_slice(&self.buffer[used..len]);
                    end
                })
            } else {
                let mut input = std::mem::take(&mut turn.connection.input);
                input.extend_from_slice(&self.buffer[..len]);
                turn.frames(&input).map(|(used, end)| {
                    input.drain(..used);
                    turn.connection.input = input;
                    end
                })
            };
            if was_opening && connection.is_open() {
                self.opening -= 1;
                self.open_at = now;
            }
            match end? {
                After::Ended => {
                    connection.drop_stream(0);
                    connection.forget_session();
                    return Ok((now, is_first_waiting));
                }
                After::First => is_first_waiting = true,
                After::Go => {}
            }
            // Less than was asked for: all is read, unless an end or an error is behind it.
            if len < self.buffer.len() && !has_ended {
                return Ok((now, is_first_waiting));
            }
        }
    }

    /// Opens connections that are down, as many as may be opened at one time.
    fn open_some(&mut self, plan: &Plan<'_>, record: &mut Recorder, now: u64) -> Result<(), String> {
        while self.opening < OPENING_MAX {
            let Some(at) = self.down.pop() else {
                return Ok(());
            };
            if matches!(self.connections[at].state, State::Down { retry_at } if retry_at > now) {
                // The others were put there before it or together with it.
                self.down.push(at);
                return Ok(());
            }
            self.start(at, now, plan, record, now)?;
        }
        Ok(())
    }

    /// Starts to connect.
    fn start(&mut self, at: usize, since: u64, plan: &Plan<'_>, record: &mut Recorder, now: u64) -> Result<(), String> {
        let connection = &mut self.connections[at];
        connection.open_since = since;
        connection.written_at = now;
        let begun = connect(self.hosts[connection.host]).and_then(|stream| {
            self.poller.add(&stream, at)?;
            Ok(stream)
        });
        match begun {
            Ok(stream) => {
                connection.stream = Some(stream);
                connection.state = State::Connecting;
                self.opening += 1;
                Ok(())
            }
            Err(error) => self.refused(at, &error, plan, record),
        }
    }

    /// A connection could not be made.
    fn refused(
        &mut self,
        at: usize,
        error: &std::io::Error,
        plan: &Plan<'_>,
        record: &mut Recorder,
    ) -> Result<(), String> {
        let address = self.hosts[self.connections[at].host];
        record.refused(&format!("{address}: {error}"));
        self.put_down(at);
        if plan.strict { Err(format!("cannot connect to {address}: {error}")) } else { Ok(()) }
    }

    /// A connection ended that should not have.
    fn lose<W: Work>(
        &mut self,
        at: usize,
        lost: &Lost,
        work: &mut W,
        plan: &Plan<'_>,
        record: &mut Recorder,
    ) -> Result<(), String> {
        work.lost(&mut self.connections[at]);
        let connection = &self.connections[at];
        let address = self.hosts[connection.host];
        if !connection.is_open() {
            self.opening -= 1;
        }
        if let Lost::Protocol(what) = lost {
            record.wrong(Op::Connect, what);
        }
        let requests = self.put_down(at);
        record.lost(&format!("{address}: {lost}"), requests);
        if plan.strict { Err(format!("the connection to {address} ended: {lost}")) } else { Ok(()) }
    }

    /// Closes it until it is tried again, with the next host; how many requests were on their way.
    fn put_down(&mut self, at: usize) -> u64 {
        let retry_at = self.clock() + RETRY;
        let connection = &mut self.connections[at];
        connection.host = (connection.host + 1) % self.hosts.len();
        if !self.churns {
            self.down.insert(0, at);
        }
        connection.drop_stream(retry_at)
    }

    /// What no socket tells of: rests that are over, sessions that want a ping, a server that is gone.
    fn look_after<W: Work>(
        &mut self,
        work: &mut W,
        plan: &Plan<'_>,
        record: &mut Recorder,
        now: u64,
    ) -> Result<(), String> {
        self.open_some(plan, record, now)?;
        if plan.strict && now.saturating_sub(self.heard_at) > 2 * PATIENCE {
            return Err("no server has answered for 60 s".to_owned());
        }
        for at in 0..self.connections.len() {
            let connection = &mut self.connections[at];
            let quiet = now.saturating_sub(connection.written_at);
            match connection.state {
                State::Open => {
                    self.open_at = now;
                    if quiet > u64::from(connection.timeout_ms) * 1_000_000 / 3 {
                        connection.ping();
                        self.fill(at, work, plan, record, now)?;
                    }
                }
                State::Connecting | State::Opening if quiet > OPEN_MAX => {
                    self.opening -= 1;
                    let error = std::io::Error::new(ErrorKind::TimedOut, "no session within 20 s");
                    self.refused(at, &error, plan, record)?;
                }
                State::Connecting | State::Opening => {}
                State::Down { .. } if W::CHURNS => self.serve(at, work, plan, record, now)?,
                State::Down { .. } => {}
            }
        }
        if now.saturating_sub(self.open_at) > PATIENCE {
            return Err("no server has opened a session for 30 s".to_owned());
        }
        Ok(())
    }

    /// Ends what is not answered.
    fn give_up(&mut self, record: &mut Recorder) {
        for connection in &mut self.connections {
            let was_opening = matches!(connection.state, State::Connecting | State::Opening);
            if connection.outstanding() > 0 || was_opening {
                self.opening -= usize::from(was_opening);
                record.faults.unanswered += connection.drop_stream(0).max(1);
            }
        }
    }
}

/// Whether something is still to come on it.
fn is_busy<W: Work>(connection: &Connection, plan: &Plan<'_>) -> bool {
    match connection.state {
        State::Open => connection.outstanding() > 0 || W::CHURNS,
        State::Connecting | State::Opening => W::CHURNS || plan.strict,
        State::Down { .. } => plan.strict && !W::CHURNS,
    }
}

/// One read's bytes, with all that is needed to make sense of them.
struct Turn<'a, 'p, W> {
    connection: &'a mut Connection,
    work: &'a mut W,
    plan: &'a Plan<'p>,
    record: &'a mut Recorder,
    now: u64,
}

impl<W: Work> Turn<'_, '_, W> {
    /// Takes the whole frames; how many bytes they had, and what follows.
    fn frames(&mut self, bytes: &[u8]) -> Result<(usize, After), Lost> {
        let mut at = 0;
        let mut after = After::Go;
        while let Some(head) = bytes[at..].first_chunk::<4>() {
            let len = usize::try_from(i32::from_be_bytes(*head)).ok().filter(|len| *len <= FRAME_LEN_MAX);
            let len = len.ok_or(Lost::Protocol("a frame of unreasonable length"))?;
            let Some(frame) = bytes.get(at + 4..at + 4 + len) else {
                break;
            };
            at += 4 + len;
            if self.connection.state == State::Opening {
                self.session(frame)?;
                continue;
            }
            match self.frame(frame)? {
                After::Go => {}
                After::First => after = After::First,
                After::Ended => return Ok((at, After::Ended)),
            }
        }
        Ok((at, after))
    }

    /// The answer to the request for a session.
    fn session(&mut self, frame: &[u8]) -> Result<(), Lost> {
        if !self.connection.session_granted(frame).map_err(Lost::Protocol)? {
            self.record.faults.sessions_lost += 1;
            // The server closes the connection behind its word, and the next one asks for a new session.
            return Ok(());
        }
        if W::CHURNS {
            let slot = Slot { since: self.connection.open_since, key: 0, op: Op::Connect };
            self.good(slot);
        }
        Ok(())
    }

    fn frame(&mut self, frame: &[u8]) -> Result<After, Lost> {
        let Some((header, body)) = frame.split_first_chunk::<16>() else {
            return Err(Lost::Protocol("an answer shorter than its header"));
        };
        let [x0, x1, x2, x3, z0, z1, z2, z3, z4, z5, z6, z7, e0, e1, e2, e3] = *header;
        let xid = i32::from_be_bytes([x0, x1, x2, x3]);
        match xid {
            -1 => {
                if let Err(what) = self.work.event(self.connection, body, self.now, self.record) {
                    self.record.wrong(Op::Event, what);
                }
                return Ok(After::Go);
            }
            -2 => return Ok(After::Go),
            _ => {}
        }
        let slot = self.connection.answer(xid).ok_or(Lost::Protocol("an answer out of its turn"))?;
        let zxid = i64::from_be_bytes([z0, z1, z2, z3, z4, z5, z6, z7]);
        let error = i32::from_be_bytes([e0, e1, e2, e3]);
        if error != 0 {
            if !self.work.excuses(slot.op, error) {
                self.record.error(error);
            }
        } else if zxid < self.connection.zxid_seen {
            self.record.wrong(slot.op, "its zxid is older than the one of the answer before");
        } else {
            self.connection.zxid_seen = zxid;
            match self.work.check(self.connection, slot, zxid, body) {
                Ok(()) => self.good(slot),
                Err(what) => self.record.wrong(slot.op, what),
            }
        }
        Ok(self.work.answered(self.connection, slot, self.now, self.record))
    }

    fn good(&mut self, slot: Slot) {
        if self.now < self.plan.until {
            self.record.answer(slot, self.now);
        } else if self.plan.pace.is_some() {
            self.record.answer_behind_the_end(slot, self.now);
        }
    }
}
