//! Sessions that the ensemble does not know, or not yet: local sessions and their upgrade (Apache's `UpgradeableSessionTracker`,
//! `QuorumZooKeeperServer.checkUpgradeSession`), sessions that a learner's clients ask the leader for, and those of a
//! read-only server (`ReadOnlyZooKeeperServer`).
//!
//! A local session is one server's: no transaction begins or ends it, and nobody else hears of it. When it is to own an
//! ephemeral it becomes a global one, if that is allowed: its createSession goes through the log before the request.

use super::{Created, Done, Ensemble, Pipeline, Reopened, Request, Sink, prep};
use crate::ids::SessionId;
use crate::session::{Owner, SessionError, check_password, password};
use crate::time::{Instant, WallTime};
use crate::wire::error_code::ErrorCode;
use crate::wire::jute::Reader;
use crate::wire::multi::{MultiOp, decode_multi};
use crate::wire::op::OpCode;
use crate::wire::request::CreateRequest;
use crate::wire::response::put_header_reply;
use crate::wire::txn::Txn;

/// A client of this server whose session is not in the table, because the transaction that creates it is still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    owner: Owner,
    timeout_ms: i32,
    /// It has been heard of since the last report to the leader.
    touched: bool,
    /// It was a local session, and is one again if the ensemble never hears of it.
    was_local: bool,
}

/// What has to happen to a session before a request of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upgrade {
    /// Nothing.
    NotNeeded,
    /// It is local and is to own an ephemeral: it has to become global first.
    Needed,
    /// It cannot become global: the request will be refused for this.
    Refused(ErrorCode),
}

/// Where a request of a learner's client goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// It is answered: the frame goes out behind the answers to the requests of the same client before it.
    Answered(Done),
    /// It goes to the leader.
    Forward {
        /// Before it goes a createSession of the same session, number 0, with this timeout for its body.
        upgrade_ms: Option<i32>,
        /// For [`Awaiting::refused`](super::Awaiting::refused).
        refused: Option<ErrorCode>,
    },
}

/// What becomes of a learner's client that comes back to its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LearnerReopened {
    /// This server knows.
    Here(Reopened),
    /// The leader has to be asked, with this timeout; its answer goes to [`Pipeline::revalidated`].
    AskLeader {
        /// The timeout granted, in milliseconds.
        timeout_ms: i32,
    },
}

/// What becomes of a client that comes back to its session while this server is read-only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadOnlyReopened {
    /// This server knows.
    Here(Reopened),
    /// The session is the ensemble's: the connection is closed without a word, so that the client goes on looking for a
    /// server that has a leader (Apache's `RENEW_GLOBAL_SESSION_IN_RO_MODE`).
    Close,
}

impl Pipeline {
    /// Whether new sessions are local ones.
    pub fn creates_local_sessions(&self) -> bool {
        self.ensemble.is_some_and(|ensemble| ensemble.local_sessions)
    }

    /// Creates a session that no other server hears of: there is no record, and no need to wait.
    pub fn create_local_session(&mut self, mono: Instant, asked_ms: i32, owner: Owner) -> Created {
        let (session, timeout_ms) = (self.sessions.take_id(), self.negotiate(asked_ms));
        self.local.add(session, timeout_ms, Some(owner), mono);
        Created { session, password: password(session), timeout_ms, zxid: self.zxid }
    }

    /// On a learner: chooses a session for a client. It is created by the createSession that the learner forwards, number 0 and
    /// the timeout for its body, when that is committed: then [`Followed::created`](super::Followed::created) has it.
    pub fn ask_session(&mut self, asked_ms: i32, owner: Owner) -> (SessionId, i32) {
        let (session, timeout_ms) = (self.sessions.take_id(), self.negotiate(asked_ms));
        self.awaited.insert(session, Awaited { owner, timeout_ms, touched: false, was_local: false });
        (session, timeout_ms)
    }

    /// Whether it is a local session of this server.
    pub fn is_local(&self, session: SessionId) -> bool {
        self.local.is_live(session)
    }

    /// The local sessions.
    pub const fn local_sessions(&self) -> &crate::session::Sessions {
        &self.local
    }

    /// Ends the local sessions whose time is up, and tells the connections that they lived on. In order.
    pub fn expire_local(&mut self, now: Instant) -> Vec<(SessionId, Option<Owner>)> {
        let expired = self.local.expire(now);
        let close = |session| {
            let owner = self.local.owner(session);
            self.local.remove(session);
            (session, owner)
        };
        expired.into_iter().map(close).collect()
    }

    /// Ends every local session: those of a read-only server do not outlive it.
    pub fn forget_local(&mut self) {
        let all: Vec<SessionId> = self.local.iter().map(|(session, _)| session).collect();
        for session in all {
            self.local.remove(session);
        }
    }

    /// A client was heard at `heard`: touches its session, whatever it is. False if this server does not know it.
    pub fn touch(&mut self, session: SessionId, heard: Instant) -> bool {
        if self.sessions.touch(session, heard) || self.local.touch(session, heard) {
            return true;
        }
        let Some(awaited) = self.awaited.get_mut(&session) else { return false };
        awaited.touched = true;
        true
    }

    /// On a learner, for the answer to a ping: which sessions' clients have been heard of since the last call.
    pub fn take_touched(&mut self) -> Vec<(SessionId, i32)> {
        let mut touched = self.sessions.take_touched();
        for (session, awaited) in &mut self.awaited {
            if std::mem::take(&mut awaited.touched) {
                touched.push((*session, awaited.timeout_ms));
            }
        }
        touched
    }

    /// What the session needs before this request (`checkUpgradeSession`).
    pub fn upgrade_for(&self, session: SessionId, op: OpCode, body: &[u8]) -> Upgrade {
        if !matches!(op, OpCode::CREATE | OpCode::CREATE2 | OpCode::MULTI) || !self.is_local(session) {
            return Upgrade::NotNeeded;
        }
        let creates_ephemeral = match op {
            OpCode::MULTI => decode_multi(&mut Reader::new(body)).is_ok_and(|mut ops| {
                // What cannot be read is for the leader to refuse.
                let is_readable = prep::normalize_multi(&mut ops, true).is_some();
                let is_ephemeral = |op: &MultiOp<'_>| match op {
                    MultiOp::Create(OpCode::CREATE | OpCode::CREATE2, create) => prep::is_ephemeral(create.flags),
                    _ => false,
                };
                is_readable && ops.iter().any(is_ephemeral)
            }),
            op => {
                CreateRequest::decode(op, &mut Reader::new(body)).is_ok_and(|create| prep::is_ephemeral(create.flags))
            }
        };
        match (creates_ephemeral, self.ensemble) {
            (false, _) => Upgrade::NotNeeded,
            (true, Some(Ensemble { local_sessions_upgrading: true, .. })) => Upgrade::Needed,
            (true, _) => Upgrade::Refused(ErrorCode::EPHEMERAL_ON_LOCAL_SESSION),
        }
    }

    /// On a leader: makes a local session global, with a transaction of its own. Nobody waits for it.
    ///
    /// # Panics
    /// If it is not a local session.
    pub fn upgrade(&mut self, now: WallTime, mono: Instant, session: SessionId, sink: &mut Sink<'_>) -> Done {
        let (timeout_ms, owner) = self.take_local(session);
        let header = self.next_header(now, session, 0, OpCode::CREATE_SESSION);
        self.sessions.create(header.zxid, session, timeout_ms, Some(owner), mono);
        self.commit(header, Txn::CreateSession { timeout_ms }, sink);
        self.logged(header, ErrorCode::OK)
    }

    /// Takes a session out of the local ones until its createSession is committed. Returns timeout and connection.
    fn take_local(&mut self, session: SessionId) -> (i32, Owner) {
        let timeout_ms = self.local.timeout_ms(session);
        let timeout_ms =
            timeout_ms.unwrap_or_else(|| panic!("session {session} is to be upgraded but is no local one"));
        let owner = self.local.owner(session).expect("a local session is created by a connection");
        self.local.remove(session);
        self.awaited.insert(session, Awaited { owner, timeout_ms, touched: false, was_local: true });
        (timeout_ms, owner)
    }

    /// On a learner: says where a request of one of its clients goes, and answers what need not go to the leader. `sync` goes to
    /// the leader as everything else, but becomes no transaction.
    pub fn route(&mut self, request: &Request<'_>, reply: &mut Vec<u8>) -> Route {
        let forward = |upgrade_ms, refused| Route::Forward { upgrade_ms, refused };
        match request.op {
            OpCode::CREATE | OpCode::CREATE2 | OpCode::MULTI => {
                match self.upgrade_for(request.session, request.op, request.body) {
                    Upgrade::NotNeeded => forward(None, None),
                    Upgrade::Needed => forward(Some(self.take_local(request.session).0), None),
                    Upgrade::Refused(err) => forward(None, Some(err)),
                }
            }
            OpCode::CREATE_CONTAINER
            | OpCode::CREATE_TTL
            | OpCode::DELETE
            | OpCode::SET_DATA
            | OpCode::SET_ACL
            | OpCode::RECONFIG
            | OpCode::SYNC => forward(None, None),
            OpCode::CLOSE_SESSION if self.is_local(request.session) => {
                Route::Answered(self.close_local(request, reply))
            }
            OpCode::CLOSE_SESSION => forward(None, None),
            _ => Route::Answered(self.refuse_unknown(request.xid, reply)),
        }
    }

    /// Ends a local session at its client's request.
    pub(super) fn close_local(&mut self, request: &Request<'_>, reply: &mut Vec<u8>) -> Done {
        self.local.remove(request.session);
        put_header_reply(reply, request.xid, self.zxid, ErrorCode::OK);
        Done { close: true, ..self.unlogged(ErrorCode::OK) }
    }

    /// On a learner: a client comes back to its session.
    pub fn reopen_as_learner(
        &mut self,
        mono: Instant,
        session: SessionId,
        password: &[u8],
        asked_ms: i32,
        owner: Owner,
    ) -> LearnerReopened {
        if !check_password(session, password) {
            return LearnerReopened::Here(Reopened::Refused);
        }
        let timeout_ms = self.negotiate(asked_ms);
        match self.local.reopen(session, timeout_ms, owner, mono) {
            Ok(previous_owner) => LearnerReopened::Here(Reopened::Ok { timeout_ms, previous_owner }),
            Err(_) => LearnerReopened::AskLeader { timeout_ms },
        }
    }

    /// On a learner: the leader has answered.
    pub fn revalidated(
        &mut self,
        mono: Instant,
        session: SessionId,
        timeout_ms: i32,
        owner: Owner,
        is_valid: bool,
    ) -> Reopened {
        if !is_valid {
            return Reopened::Refused;
        }
        let previous_owner = match self.sessions.reopen(session, timeout_ms, owner, mono) {
            Ok(previous_owner) => {
                self.sessions.touch(session, mono);
                previous_owner
            }
            Err(SessionError::Unknown | SessionError::Closing | SessionError::Moved) => {
                // The leader is ahead of what has been committed here: the session is still to come.
                let (touched, was_local) = (true, false);
                let before = self.awaited.insert(session, Awaited { owner, timeout_ms, touched, was_local });
                before.map(|awaited| awaited.owner).filter(|before| *before != owner)
            }
        };
        Reopened::Ok { timeout_ms, previous_owner }
    }

    /// On a read-only server: a client comes back to its session.
    pub fn reopen_read_only(
        &mut self,
        mono: Instant,
        session: SessionId,
        password: &[u8],
        asked_ms: i32,
        owner: Owner,
    ) -> ReadOnlyReopened {
        if self.sessions.is_live(session) {
            return ReadOnlyReopened::Close;
        }
        match self.reopen_as_learner(mono, session, password, asked_ms, owner) {
            LearnerReopened::Here(reopened) => ReadOnlyReopened::Here(reopened),
            LearnerReopened::AskLeader { .. } => ReadOnlyReopened::Here(Reopened::Refused),
        }
    }

    /// On a read-only server: answers a request that is not [a read](super::read::is_read) (`ReadOnlyRequestProcessor`). All are
    /// refused but the end of a session of its own; its sessions are [local](Self::create_local_session) ones, whatever the
    /// configuration says of these.
    pub fn process_read_only(&mut self, request: &Request<'_>, reply: &mut Vec<u8>) -> Done {
        match request.op {
            OpCode::CLOSE_SESSION if self.is_local(request.session) => self.close_local(request, reply),
            OpCode::SYNC
            | OpCode::CREATE
            | OpCode::CREATE2
            | OpCode::CREATE_TTL
            | OpCode::CREATE_CONTAINER
            | OpCode::DELETE
            | OpCode::DELETE_CONTAINER
            | OpCode::SET_DATA
            | OpCode::SET_ACL
            | OpCode::RECONFIG
            | OpCode::MULTI
            | OpCode::CREATE_SESSION
            | OpCode::CLOSE_SESSION => {
                put_header_reply(reply, request.xid, self.zxid, ErrorCode::NOT_READ_ONLY);
                self.unlogged(ErrorCode::NOT_READ_ONLY)
            }
            _ => self.refuse_unknown(request.xid, reply),
        }
    }

    /// The transaction that a session was waiting for has come: tells the connection of ours that it lives on.
    pub(super) fn take_awaited_owner(&mut self, session: SessionId) -> Option<Owner> {
        // It may be local again by now, if the createSession outlived the leader that it was sent to.
        let local = self.local.owner(session);
        self.local.remove(session);
        self.awaited.remove(&session).map(|awaited| awaited.owner).or(local)
    }

    /// The leader that was asked for these is no more. What was local before is so again.
    pub(super) fn forget_awaited(&mut self, mono: Instant) {
        for (session, awaited) in std::mem::take(&mut self.awaited) {
            if awaited.was_local && self.sessions.timeout_ms(session).is_none() {
                self.local.add(session, awaited.timeout_ms, Some(awaited.owner), mono);
            }
        }
    }

    /// A session that the ensemble knows is no local one.
    pub(super) fn forget_local_where_global(&mut self) {
        let both: Vec<SessionId> =
            self.local.iter().map(|(id, _)| id).filter(|id| self.sessions.timeout_ms(*id).is_some()).collect();
        for session in both {
            self.local.remove(session);
        }
    }
}
