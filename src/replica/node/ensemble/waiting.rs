//! What the clients of a learner wait for: requests that went to the leader, each session's in order.
//!
//! A write comes back as a committed transaction with the session and the number of its request; a `sync` comes back as a SYNC
//! packet, in the order in which they were sent. An answer goes out only from the front of its session's line, so a client
//! is answered in the order of its requests, whatever order the leader's answers come in (Apache's `CommitProcessor`).

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use crate::ids::SessionId;
use crate::replica::message::ConnectionId;
use crate::wire::header::Xid;
use crate::wire::op::OpCode;

/// A request under way.
#[derive(Debug)]
pub(in crate::replica) struct Waiting {
    /// Who asked.
    pub(in crate::replica) connection: ConnectionId,
    /// The client's number for it.
    pub(in crate::replica) xid: Xid,
    /// What for; [`OpCode::CREATE_SESSION`] stands for the handshake.
    pub(in crate::replica) op: OpCode,
    /// Whether reads of the session wait for the state before this write.
    pub(in crate::replica) after_read: bool,
    /// The timeout granted to a handshake, in milliseconds.
    pub(in crate::replica) timeout_ms: i32,
    /// The answer, if it is known and waits for those before it only.
    answer: Option<Vec<u8>>,
}

impl Waiting {
    pub(in crate::replica) fn new(connection: ConnectionId, xid: Xid, op: OpCode) -> Self {
        Self { connection, xid, op, after_read: false, timeout_ms: 0, answer: None }
    }
}

/// All that wait.
#[derive(Default)]
pub(in crate::replica) struct WaitingLines {
    lines: HashMap<SessionId, VecDeque<Waiting>, FixedState>,
    /// The sessions of the `sync` requests under way, in the order in which they went to the leader, each with its answer.
    syncs: VecDeque<(SessionId, Xid, ConnectionId, Vec<u8>)>,
}

impl WaitingLines {
    /// One more at the end of its session's line.
    pub(in crate::replica) fn push(&mut self, session: SessionId, waiting: Waiting) {
        self.lines.entry(session).or_default().push_back(waiting);
    }

    /// A `sync` that goes to the leader now, and the answer that it gets when it is back.
    pub(in crate::replica) fn push_sync(&mut self, session: SessionId, waiting: Waiting, answer: Vec<u8>) {
        self.syncs.push_back((session, waiting.xid, waiting.connection, answer));
        self.push(session, waiting);
    }

    /// How many `sync` requests wait.
    pub(in crate::replica) fn syncs(&self) -> usize {
        self.syncs.len()
    }

    /// The oldest `sync` is back. Its session.
    pub(in crate::replica) fn sync_done(&mut self) -> Option<SessionId> {
        let (session, xid, connection, answer) = self.syncs.pop_front()?;
        let line = self.lines.get_mut(&session)?;
        let waiting = line.iter_mut().find(|waiting| {
            waiting.op == OpCode::SYNC
                && waiting.xid == xid
                && waiting.connection == connection
                && waiting.answer.is_none()
        })?;
        waiting.answer = Some(answer);
        Some(session)
    }

    /// The request of which this transaction is the outcome, if it came over this server and everything before it is answered.
    pub(in crate::replica) fn front(&self, session: SessionId, cxid: i32) -> Option<&Waiting> {
        let front = self.lines.get(&session)?.front()?;
        (front.answer.is_none() && front.op != OpCode::SYNC && front.xid.0 == cxid).then_some(front)
    }

    /// Takes it out.
    pub(in crate::replica) fn pop(&mut self, session: SessionId) -> Option<Waiting> {
        let line = self.lines.get_mut(&session)?;
        let front = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&session);
        }
        front
    }

    /// The next answer that waits for nothing any longer.
    pub(in crate::replica) fn pop_answered(&mut self, session: SessionId) -> Option<(Waiting, Vec<u8>)> {
        self.lines.get(&session)?.front()?.answer.as_ref()?;
        let mut waiting = self.pop(session).expect("there is a front");
        let answer = waiting.answer.take().expect("it was there just now");
        Some((waiting, answer))
    }

    /// Nothing more of this session will come back: its line is forgotten, its syncs keep their places.
    pub(in crate::replica) fn forget(&mut self, session: SessionId) {
        self.lines.remove(&session);
    }
}
