//! An ensemble's duties: to lead, and to lay that down (Apache's `LeaderZooKeeperServer`, `LeaderSessionTracker`).
//!
//! A leader's head is ahead of what is committed. What was not when its time ends is taken back: the tree to a version that it
//! had cut, the sessions by their journal, the zxid with them. So there is nothing of a former time in the head when a new
//! one begins.
//!
//! Invariants:
//! - Every write that a learner forwards ends in a transaction with the request's session and number, a refusal if need be: the
//!   learner's client waits for it.
//! - No zxid of an epoch is given twice, and none runs over into the next (ZOOKEEPER-1277).

use super::{Done, Pipeline, Request, Sink};
use crate::ids::{Epoch, ServerId, SessionId, Zxid};
use crate::session::{Duty, Owner};
use crate::time::{Instant, WallTime};
use crate::tree::{Change, Tree, Version};
use crate::wire::error_code::ErrorCode;
use crate::wire::jute::Reader;
use crate::wire::op::OpCode;
use crate::wire::txn::Txn;

/// How a server of an ensemble treats its sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ensemble {
    /// Whose pipeline it is: sessions bear the id of the server that created them.
    pub server_id: ServerId,
    /// `localSessionsEnabled`.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`.
    pub local_sessions_upgrading: bool,
}

/// The last counter that a transaction gets: Apache's leader proposes none with the last of all.
const COUNTER_LAST: u32 = Zxid::COUNTER_MAX - 1;

impl Pipeline {
    /// Makes it the pipeline of a member of an ensemble, which follows until it [leads](Self::begin_epoch).
    pub fn join(&mut self, ensemble: Ensemble) {
        self.ensemble = Some(ensemble);
        self.sessions.learn();
    }

    /// Writes the ensemble's configuration into `/zookeeper/config`, where clients look for it: the text of its members and its
    /// version. To be done by every member when it starts and whenever it has [`installed`](Self::install) a state.
    pub fn set_config(&mut self, now: WallTime, text: &str, version: i64, changes: &mut Vec<Change>) {
        self.tree.set_config(text.as_bytes(), Zxid(version), now, changes);
    }

    /// What [`Self::join`] was given; none for a server alone.
    pub const fn ensemble(&self) -> Option<&Ensemble> {
        self.ensemble.as_ref()
    }

    /// Whether it leads.
    pub fn is_leading(&self) -> bool {
        self.sessions.duty() == Duty::Leader
    }

    /// Begins to lead: the next transaction is the first of `epoch`, and all sessions get their whole timeouts anew.
    ///
    /// # Panics
    /// If the epoch is not behind that of the last transaction, or the server is not in an ensemble.
    pub fn begin_epoch(&mut self, epoch: Epoch, mono: Instant) {
        assert!(self.ensemble.is_some(), "one server alone has no epochs");
        assert!(epoch > self.zxid.epoch(), "epoch {} begins behind {}", epoch.0, self.zxid);
        self.zxid = Zxid::new(epoch, 0);
        self.sessions.lead(mono);
        // Of these, some may have been created by another leader's transactions that were never committed.
        self.forget_awaited(mono);
    }

    /// Whether the epoch has no zxid left: a leader must step down, and process nothing before.
    pub fn is_epoch_full(&self) -> bool {
        self.is_leading() && self.zxid.counter() >= COUNTER_LAST.min(self.options.epoch_txns_max)
    }

    /// All transactions up to this one are committed: the way back behind it is forgotten.
    pub fn committed(&mut self, through: Zxid) {
        self.sessions.committed(through);
    }

    /// The sessions as they were at `zxid`, that of a version: the newest, or any that is not older than what was last
    /// [`committed`](Self::committed). For snapshots.
    pub fn sessions_at(&self, zxid: Zxid) -> Vec<(SessionId, i32)> {
        self.sessions.at(zxid)
    }

    /// Lays down the office, and keeps what it has decided: that is in the log, and the next leader decides what becomes of it.
    /// The way back is forgotten, the sessions are a learner's, and the zxid is that of the last transaction. Harmless for who
    /// does not lead.
    pub fn stand_down(&mut self, mono: Instant) {
        let newest = self.tree.view().zxid();
        self.lay_down(newest, mono);
    }

    /// Lays down the office and takes back every transaction behind `version`, in the tree, the sessions and the zxid. Harmless
    /// for who does not lead, and cheap if there is nothing to take back.
    ///
    /// # Panics
    /// If the version is not one that the tree descends from, or older than what was [`committed`](Self::committed).
    pub fn rewind(&mut self, version: &Version, mono: Instant) {
        if self.tree.view().zxid() > version.zxid() {
            self.tree.rewind(version);
        }
        self.lay_down(version.zxid(), mono);
    }

    fn lay_down(&mut self, last: Zxid, mono: Instant) {
        if self.is_leading() {
            self.sessions.undo_after(last);
        }
        self.zxid = last;
        self.exceeded.clear();
        if self.ensemble.is_some() {
            self.sessions.learn();
        }
        self.forget_awaited(mono);
    }

    /// Puts another state in the place of the present one, as it comes from a leader's snapshot, or from the disk when the
    /// log has been truncated. `last` is its last zxid. Whoever led does not any more.
    ///
    /// # Panics
    /// As [`Pipeline::new`].
    pub fn install(
        &mut self,
        tree: Tree,
        sessions: impl IntoIterator<Item = (SessionId, i32)>,
        last: Zxid,
        mono: Instant,
    ) {
        Self::check_parts(&self.options, &tree, last);
        self.tree = tree;
        self.is_mismatching = false;
        self.is_fuzzy = false;
        self.sessions.replace(std::iter::empty(), mono);
        self.lay_down(last, mono);
        self.sessions.replace(sessions, mono);
        // A local session of ours may be among them, if its upgrade was committed meanwhile.
        self.forget_local_where_global();
    }

    /// Does what a learner's client asks for. There is no answer here: the learner makes it from the transaction, which every
    /// write becomes; nothing comes of what is no write. `sync` is not for the pipeline. The body of a createSession is the timeout
    /// that the learner has negotiated; its session's id is the learner's choice.
    ///
    /// `request.owner` is the learner's link ([`Owner::learner`]): the session lives behind it.
    pub fn process_forwarded(
        &mut self,
        now: WallTime,
        mono: Instant,
        request: &Request<'_>,
        sink: &mut Sink<'_>,
    ) -> Done {
        let answered = sink.reply.len();
        let done = match request.op {
            OpCode::CREATE_SESSION => self.create_session_for(now, mono, request, sink),
            // Apache logs the end of a session that it does not know, too: the learner waits for it.
            OpCode::CLOSE_SESSION => self.close(now, request.session, request.xid.0, sink),
            OpCode::MULTI => self.multi(now, request, sink),
            OpCode::CREATE
            | OpCode::CREATE2
            | OpCode::CREATE_CONTAINER
            | OpCode::CREATE_TTL
            | OpCode::DELETE
            | OpCode::SET_DATA
            | OpCode::SET_ACL => self.single(now, request, true, sink),
            OpCode::RECONFIG => self.reconfig(now, request, true, sink),
            // No client may ask for these; but a learner of Apache's forwards them, and its client waits.
            OpCode::CHECK | OpCode::DELETE_CONTAINER => {
                let header = self.next_header(now, request.session, request.xid.0, request.op);
                self.commit_error(header, ErrorCode::UNIMPLEMENTED, sink)
            }
            _ => self.unlogged(ErrorCode::OK),
        };
        sink.reply.truncate(answered);
        Done { close: false, ..done }
    }

    fn create_session_for(&mut self, now: WallTime, mono: Instant, request: &Request<'_>, sink: &mut Sink<'_>) -> Done {
        let header = self.next_header(now, request.session, request.xid.0, OpCode::CREATE_SESSION);
        let Ok(timeout_ms) = Reader::new(request.body).i32() else {
            return self.commit_error(header, ErrorCode::MARSHALLING_ERROR, sink);
        };
        self.sessions.create(header.zxid, request.session, timeout_ms, Some(request.owner), mono);
        self.commit(header, Txn::CreateSession { timeout_ms }, sink);
        self.logged(header, ErrorCode::OK)
    }

    /// A learner asks whether a client that came to it has its session still (`Leader.revalidateSession`). If so, it lives
    /// behind the learner's link from now on.
    pub fn revalidate(&mut self, mono: Instant, session: SessionId, timeout_ms: i32, link: Owner) -> bool {
        self.sessions.reopen(session, timeout_ms, link, mono).is_ok()
    }
}
