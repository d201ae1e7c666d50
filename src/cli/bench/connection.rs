//! One connection: its socket, the session on it, and the requests that wait for their answers.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;

use super::template::Template;
use crate::ids::{SessionId, Zxid};
use crate::wire::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN, Password};
use crate::wire::header::{RequestHeader, Xid};
use crate::wire::jute::{Reader, put_frame};
use crate::wire::op::OpCode;

/// Session timeout that is asked for.
const SESSION_TIMEOUT_MS: i32 = 30_000;

/// Bytes that one batch of requests may have before it is written; what follows goes into the next.
const BATCH_LEN_MAX: usize = 256 << 10;

/// What is measured apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(super) enum Op {
    /// getData.
    Get,
    /// setData.
    Set,
    /// create.
    Create,
    /// delete.
    Delete,
    /// exists.
    Exists,
    /// getChildren2.
    Children,
    /// multi.
    Multi,
    /// From the start of a TCP connection to the granted session.
    Connect,
    /// closeSession.
    Close,
    /// A whole life of a session: connect, create an ephemeral znode, close.
    Session,
    /// getData that leaves a watch.
    Watch,
    /// From the write of a setData to a watcher's event.
    Event,
}

impl Op {
    pub(super) const ALL: [Self; 12] = [
        Self::Get,
        Self::Set,
        Self::Create,
        Self::Delete,
        Self::Exists,
        Self::Children,
        Self::Multi,
        Self::Connect,
        Self::Close,
        Self::Session,
        Self::Watch,
        Self::Event,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Exists => "exists",
            Self::Children => "children",
            Self::Multi => "multi",
            Self::Connect => "connect",
            Self::Close => "close",
            Self::Session => "session",
            Self::Watch => "watch",
            Self::Event => "event",
        }
    }
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// From when its latency counts, in nanoseconds of the run.
    pub(super) since: u64,
    /// Whatever its work wants to know of it: the key, mostly.
    pub(super) key: u32,
    pub(super) op: Op,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// No socket; one is made from this instant on.
    Down { retry_at: u64 },
    /// The socket is being connected.
    Connecting,
    /// The session is asked for.
    Opening,
    /// Requests may be made.
    Open,
}

/// See the file's page.
#[derive(Debug)]
pub(super) struct Connection {
    /// Its number among all connections of the run.
    pub(super) number: u32,
    pub(super) state: State,
    pub(super) stream: Option<TcpStream>,
    /// Which of the hosts; goes on to the next when one fails.
    pub(super) host: usize,
    /// The beginning of a frame whose end has not come.
    pub(super) input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// A ring: `sent` and `answered` count requests, and their low bits are places in it.
    slots: Box<[Slot]>,
    /// How many of them may be taken.
    outstanding_max: u64,
    sent: u64,
    answered: u64,
    xid_sent: i32,
    xid_answered: i32,
    pub(super) zxid_seen: i64,
    pub(super) session: SessionId,
    password: Password,
    pub(super) timeout_ms: u32,
    /// When something was last written.
    pub(super) written_at: u64,
    /// From when the latency of opening it counts.
    pub(super) open_since: u64,
    /// With a fixed rate: requests that are due and not yet made, and how many were made.
    pub(super) owed: u64,
    pub(super) made: u64,
    /// A number for the work's own use, such as the next znode to create.
    pub(super) counter: u32,
    /// The same, for what is behind it.
    pub(super) step: u32,
}

impl Connection {
    pub(super) fn new(number: u32, host: usize, outstanding: usize) -> Self {
        let slot = Slot { since: 0, key: 0, op: Op::Get };
        Self {
            number,
            state: State::Down { retry_at: 0 },
            stream: None,
            host,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            slots: vec![slot; outstanding.next_power_of_two()].into_boxed_slice(),
            outstanding_max: outstanding as u64,
            sent: 0,
            answered: 0,
            xid_sent: 0,
            xid_answered: 0,
            zxid_seen: 0,
            session: SessionId::NONE,
            password: [0; PASSWORD_LEN],
            timeout_ms: 0,
            written_at: 0,
            open_since: 0,
            owed: 0,
            made: 0,
            counter: 0,
            step: 0,
        }
    }

    pub(super) const fn outstanding(&self) -> u64 {
        self.sent - self.answered
    }

    /// Whether one more request may be added to the batch.
    pub(super) const fn has_room(&self) -> bool {
        self.outstanding() < self.outstanding_max && self.output.len() < BATCH_LEN_MAX
    }

    /// Lets so many requests be outstanding from now on.
    pub(super) fn limit(&mut self, outstanding: usize) {
        assert!(outstanding > 0 && outstanding <= self.slots.len(), "the slots were made for the most that is needed");
        self.outstanding_max = outstanding as u64;
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Adds a request to the batch.
    pub(super) fn push(&mut self, template: &Template, numbers: &[u32], slot: Slot) {
        let xid = self.take(slot);
        template.put(&mut self.output, xid, numbers);
    }

    /// Adds a request that has no template.
    pub(super) fn push_rare(&mut self, op: OpCode, slot: Slot, encode: impl FnOnce(&mut Vec<u8>)) {
        let xid = Xid(self.take(slot));
        put_frame(&mut self.output, |out| {
            RequestHeader { xid, op }.encode(out);
            encode(out);
        });
    }

    const fn place(&self, count: u64) -> usize {
        count as usize & (self.slots.len() - 1)
    }

    fn take(&mut self, slot: Slot) -> i32 {
        let place = self.place(self.sent);
        debug_assert!(self.outstanding() < self.slots.len() as u64, "the caller asked for room");
        self.slots[place] = slot;
        self.sent += 1;
        self.xid_sent = next_xid(self.xid_sent);
        self.xid_sent
    }

    pub(super) fn ping(&mut self) {
        put_frame(&mut self.output, |out| RequestHeader { xid: Xid::PING, op: OpCode::PING }.encode(out));
    }

    /// The request that an answer with this xid is to; `None` if it is not the one whose turn it is.
    pub(super) fn answer(&mut self, xid: i32) -> Option<Slot> {
        let expected = next_xid(self.xid_answered);
        if xid != expected || self.outstanding() == 0 {
            return None;
        }
        let place = self.place(self.answered);
        self.xid_answered = expected;
        self.answered += 1;
        Some(self.slots[place])
    }

    /// Asks for the session: a new one, or the one it had.
    pub(super) fn ask_for_session(&mut self) {
        self.state = State::Opening;
        put_frame(&mut self.output, |out| {
            ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: Zxid(self.zxid_seen),
                timeout_ms: SESSION_TIMEOUT_MS,
                session: self.session,
                password: &self.password,
                read_only: Some(false),
            }
            .encode(out);
        });
    }

    /// Takes the answer to that; false if the session that it had is gone.
    pub(super) fn session_granted(&mut self, frame: &[u8]) -> Result<bool, &'static str> {
        let response = ConnectResponse::decode(&mut Reader::new(frame))
            .map_err(|_| "the answer to the request for a session cannot be read")?;
        if response.timeout_ms <= 0 {
            self.forget_session();
            return Ok(false);
        }
        self.session = response.session;
        self.password = response.password;
        self.timeout_ms = response.timeout_ms.unsigned_abs();
        self.state = State::Open;
        Ok(true)
    }

    /// The next session is a new one.
    pub(super) const fn forget_session(&mut self) {
        self.session = SessionId::NONE;
        self.password = [0; PASSWORD_LEN];
    }

    /// Closes the socket and forgets what was on its way; how many requests that were.
    pub(super) fn drop_stream(&mut self, retry_at: u64) -> u64 {
        let lost = self.outstanding();
        self.stream = None;
        self.state = State::Down { retry_at };
        self.input.clear();
        self.output.clear();
        self.written = 0;
        self.answered = self.sent;
        (self.xid_sent, self.xid_answered) = (0, 0);
        lost
    }

    /// Whether bytes wait to be written.
    pub(super) const fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Writes what the socket takes; how many bytes.
    pub(super) fn flush(&mut self, now: u64) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else {
            return Ok(0);
        };
        let start = self.written;
        let mut total = 0;
        while self.written < self.output.len() {
            match stream.write(&self.output[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(self.written - start),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            total = self.written - start;
            self.written_at = now;
        }
        self.output.clear();
        self.written = 0;
        Ok(total)
    }
}

/// The one after it; negative ones are reserved.
const fn next_xid(xid: i32) -> i32 {
    match xid.checked_add(1) {
        Some(next) => next,
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order() {
        let mut connection = Connection::new(0, 0, 2);
        let template = Template::new(OpCode::SYNC, |_| {});
        for key in [5, 6] {
            assert!(connection.has_room());
            connection.push(&template, &[], Slot { since: 1, key, op: Op::Get });
        }
        assert!(!connection.has_room());
        assert!(connection.answer(2).is_none(), "not its turn");
        assert_eq!(connection.answer(1).map(|slot| slot.key), Some(5));
        assert!(connection.answer(1).is_none(), "twice");
        assert_eq!(connection.answer(2).map(|slot| slot.key), Some(6));
        assert!(connection.answer(3).is_none(), "never asked");
        connection.push(&template, &[], Slot { since: 1, key: 7, op: Op::Get });
        assert_eq!(connection.drop_stream(9), 1);
        assert_eq!((connection.outstanding(), connection.state), (0, State::Down { retry_at: 9 }));
    }

    #[test]
    fn xids_stay_positive() {
        assert_eq!((next_xid(0), next_xid(i32::MAX)), (1, 1));
    }
}
