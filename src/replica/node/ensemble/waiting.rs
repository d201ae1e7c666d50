//! What the clients of a learner wait for: requests that went to the leader, each session's in order.
//!
//! A write comes back as a committed transaction with the session and the number of its request; a `sync` comes back as a SYNC
//! packet, in the order in which they were sent. An answer goes out only from the front of its session's line, so a client
//! is answered in the order of its requests, whatever order the leader's answers come in (Apache's `CommitProcessor`).

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use crate::ids::{SessionId, Zxid};
use crate::replica::message::ConnectionId;
use crate::wire::error_code::ErrorCode;
use crate::wire::header::Xid;
use crate::wire::jute::Put;
use crate::wire::op::OpCode;
use crate::wire::response::put_reply;

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
    /// Why its outcome will be an error, if this server knows that better than the leader.
    pub(in crate::replica) refused: Option<ErrorCode>,
    /// The answer, if it is known and waits for those before it only.
    answer: Option<Answer>,
}

/// An answer that waits for its turn.
#[derive(Debug)]
pub(in crate::replica) struct Answer {
    pub(in crate::replica) frame: Vec<u8>,
    /// Whether the connection ends behind it.
    pub(in crate::replica) close: bool,
}

impl Waiting {
    pub(in crate::replica) fn new(connection: ConnectionId, xid: Xid, op: OpCode) -> Self {
        Self { connection, xid, op, after_read: false, refused: None, answer: None }
    }

    /// The same with its answer.
    pub(in crate::replica) fn answered(mut self, frame: Vec<u8>, close: bool) -> Self {
        self.answer = Some(Answer { frame, close });
        self
    }
}

/// A `sync` under way.
#[derive(Debug)]
struct Sync {
    session: SessionId,
    connection: ConnectionId,
    xid: Xid,
    /// What the answer repeats.
    path: Option<String>,
}

/// All that wait.
#[derive(Default)]
pub(in crate::replica) struct WaitingLines {
    lines: HashMap<SessionId, VecDeque<Waiting>, FixedState>,
    /// The connections of clients that came back to this server, until their sessions end.
    newest: HashMap<SessionId, ConnectionId, FixedState>,
    /// The `sync` requests under way, in the order in which they went to the leader.
    syncs: VecDeque<Sync>,
}

impl WaitingLines {
    /// One more at the end of its session's line.
    pub(in crate::replica) fn push(&mut self, session: SessionId, waiting: Waiting) {
        self.lines.entry(session).or_default().push_back(waiting);
    }

    /// A `sync` at the end of its session's line; `path` is what its answer repeats.
    pub(in crate::replica) fn push_sync(&mut self, session: SessionId, waiting: Waiting, path: Option<String>) {
        self.syncs.push_back(Sync { session, connection: waiting.connection, xid: waiting.xid, path });
        self.push(session, waiting);
    }

    /// The client of a session is back on this connection: what still comes over another is not taken.
    pub(in crate::replica) fn moved(&mut self, session: SessionId, connection: ConnectionId) {
        self.newest.insert(session, connection);
    }

    /// Whether the client of a session has come back over another connection than this.
    pub(in crate::replica) fn has_moved(&self, session: SessionId, connection: ConnectionId) -> bool {
        self.newest.get(&session).is_some_and(|newest| *newest != connection)
    }

    /// How many `sync` requests wait.
    pub(in crate::replica) fn syncs(&self) -> usize {
        self.syncs.len()
    }

    /// The oldest `sync` is back; everything through `zxid` is applied. Its session.
    pub(in crate::replica) fn sync_done(&mut self, zxid: Zxid) -> Option<SessionId> {
        let Sync { session, connection, xid, path } = self.syncs.pop_front()?;
        let waiting = self.lines.get_mut(&session)?.iter_mut().find(|waiting| {
            waiting.op == OpCode::SYNC
                && (waiting.xid, waiting.connection) == (xid, connection)
                && waiting.answer.is_none()
        })?;
        let mut frame = Vec::new();
        put_reply(&mut frame, xid, zxid, |out| out.put_buffer(path.as_deref().map(str::as_bytes)));
        waiting.answer = Some(Answer { frame, close: false });
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
    pub(in crate::replica) fn pop_answered(&mut self, session: SessionId) -> Option<(Waiting, Answer)> {
        self.lines.get(&session)?.front()?.answer.as_ref()?;
        let mut waiting = self.pop(session).expect("there is a front");
        let answer = waiting.answer.take().expect("it was there just now");
        Some((waiting, answer))
    }

    /// What this session waits for is of no use to anybody any more.
    pub(in crate::replica) fn forget_requests(&mut self, session: SessionId) {
        self.lines.remove(&session);
    }

    /// Nothing more of this session will come back: its line is forgotten, its syncs keep their places.
    pub(in crate::replica) fn forget(&mut self, session: SessionId) {
        self.lines.remove(&session);
        self.newest.remove(&session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(7);
    const CONNECTION: ConnectionId = ConnectionId { shard: 0, slot: 1, generation: 1 };

    fn waiting(xid: i32, op: OpCode) -> Waiting {
        Waiting::new(CONNECTION, Xid(xid), op)
    }

    /// 1863, 4537: a client is answered in the order of its requests, whichever answer is there first, and none is forgotten.
    #[test]
    fn zookeeper_1863_4537_answers_go_out_in_the_order_of_the_requests() {
        let mut lines = WaitingLines::default();
        lines.push(SESSION, waiting(1, OpCode::SET_DATA));
        lines.push_sync(SESSION, waiting(2, OpCode::SYNC), Some("/a".to_owned()));
        lines.push(SESSION, waiting(3, OpCode::SET_DATA));
        lines.push(SESSION, waiting(4, OpCode::SET_DATA).answered(b"four".to_vec(), false));
        // The sync is back before the write that was sent before it.
        assert_eq!(lines.sync_done(Zxid(9)), Some(SESSION));
        assert!(lines.pop_answered(SESSION).is_none());
        assert!(lines.front(SESSION, 3).is_none(), "a transaction of a later request answers nothing now");
        assert_eq!(lines.front(SESSION, 1).map(|waiting| waiting.xid), Some(Xid(1)));
        lines.pop(SESSION);
        let (answered, _) = lines.pop_answered(SESSION).expect("the sync is next");
        assert_eq!(answered.xid, Xid(2));
        assert!(lines.pop_answered(SESSION).is_none(), "3 is not answered");
        assert_eq!(lines.front(SESSION, 3).map(|waiting| waiting.xid), Some(Xid(3)));
        lines.pop(SESSION);
        assert_eq!(lines.pop_answered(SESSION).map(|(_, answer)| answer.frame), Some(b"four".to_vec()));
        assert!(lines.pop_answered(SESSION).is_none());
    }
}
