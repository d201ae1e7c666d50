//! The pipeline: a request becomes a transaction, the transaction changes the tree, and the answer says what came of it
//! (Apache's `PrepRequestProcessor` and the writing half of its `FinalRequestProcessor`, without the queues between them).
//!
//! Pure: the time comes in as an argument; records and answers go into buffers. [`Pipeline`] owns what writes change, the tree and
//! the sessions; it prepares a request against the tree's head, applies the transaction at once, and hands the record out to
//! be logged. Whoever calls it keeps the answers back until the record is durable.
//!
//! Invariants:
//! - A request consumes one zxid or none, and a record is logged if and only if it consumes one: so zxids are contiguous in the
//!   log, and replaying the records gives the same tree, digest included.
//! - What is refused has changed nothing; a refused write is logged as an error all the same, as in Apache, whose followers count
//!   on it.
//! - The transaction that is applied is the one that is logged.
//!
//! In an ensemble, one pipeline leads and the others apply what it has made; which of the two it does can change at any time.
//!
//! | page | |
//! |---|---|
//! | `follow` | a leader's transactions, and answers from them |
//! | `lead` | requests of learners, epochs, and the way back |
//! | `local` | local sessions and their upgrade, a learner's clients, read-only servers |
//! | `bound` | how long a record may become |
//! | [`read`] | answers of reads, and the watches that they leave |
//! | `prep` | the checks of every write |
//! | `reconfig` | a change of the ensemble's members |
//! | [`acl`] [`auth`] [`path`] [`quota`] `container` | one rule of ZooKeeper each |

pub mod acl;
pub mod auth;
mod bound;
mod container;
mod event;
mod follow;
mod lead;
mod local;
pub mod path;
mod prep;
pub mod quota;
pub mod read;
mod reconfig;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::event::{fire, may_hear};
pub use self::follow::{Answered, Awaiting, DigestMismatch, FollowError, Followed, answer_of};
pub use self::lead::Ensemble;
use self::local::Awaited;
pub use self::local::{LearnerReopened, ReadOnlyReopened, Route, Upgrade};
use self::prep::{FailedMulti, Prep, SessionState};
use self::quota::Exceeded;
pub use self::reconfig::{CONFIG_PATH, QuorumView};
use crate::ids::{SessionId, Zxid};
use crate::quorum::Membership;
use crate::session::{Owner, SessionError, Sessions, check_password, negotiate, password};
use crate::time::{Instant, WallTime};
use crate::tree::ephemeral_type::OwnerOptions;
use crate::tree::{Applied, Change, Tree, Version, View};
use crate::wire::acl::Id;
use crate::wire::connect::Password;
use crate::wire::error_code::ErrorCode;
use crate::wire::header::{ReplyHeader, Xid};
use crate::wire::jute::{DecodeError, Put, Reader, put_frame};
use crate::wire::multi::{MultiHeader, MultiResult, decode_multi};
use crate::wire::op::OpCode;
use crate::wire::request::{CreateRequest, PathVersionRequest, SetAclRequest, SetDataRequest, decode_path};
use crate::wire::response::{put_header_reply, put_reply};
use crate::wire::stat::Stat;
use crate::wire::txn::{SubTxn, Txn, TxnDigest, TxnHeader, TxnRecord};

/// How writes are judged. What the tree must know too (`digest.enabled`, extended types) is in its own options; those that stand in
/// both have to agree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Identities and access control lists.
    pub auth: auth::Options,
    /// `extendedTypesEnabled`: whether TTL znodes can be created.
    pub extended_types: bool,
    /// `emulate353TTLNodes`.
    pub emulate_353: bool,
    /// `enforceQuota`.
    pub enforce_quota: bool,
    /// `reconfigEnabled`. One server alone refuses a reconfiguration either way, with another error.
    pub reconfig_enabled: bool,
    /// `closeSessionTxn.enabled`: whether the end of a session lists the ephemerals that go with it (ZOOKEEPER-3145).
    pub close_session_txn: bool,
    /// The longest transaction that is made, in bytes: a list that names `auth` grows with the client's identities, and the log
    /// has to take what was applied.
    pub txn_bytes_max: usize,
    /// `minSessionTimeout`, in milliseconds.
    pub session_timeout_min_ms: i32,
    /// `maxSessionTimeout`, in milliseconds.
    pub session_timeout_max_ms: i32,
    /// `znode.container.maxNeverUsedIntervalMs`: how long a container may wait for its first child; 0 for ever.
    pub container_never_used_max_ms: i64,
    /// Transactions after which a leader lays down its office, if the counter of its epoch does not end before: so that tests
    /// and the simulator come to the end of an epoch.
    pub epoch_txns_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auth: auth::Options::default(),
            extended_types: false,
            emulate_353: false,
            enforce_quota: false,
            reconfig_enabled: false,
            close_session_txn: true,
            txn_bytes_max: 4 << 20,
            session_timeout_min_ms: 4000,
            session_timeout_max_ms: 40_000,
            container_never_used_max_ms: 0,
            epoch_txns_max: u32::MAX,
        }
    }
}

impl Options {
    /// How owners are read, for the tree's options.
    pub const fn owners(&self) -> OwnerOptions {
        OwnerOptions { extended_types: self.extended_types, emulate_353: self.emulate_353 }
    }
}

/// A write, or another request that the replica has to see.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The session of its connection.
    pub session: SessionId,
    /// The client's number for it.
    pub xid: Xid,
    /// What it asks for.
    pub op: OpCode,
    /// The record behind the header.
    pub body: &'a [u8],
    /// What its client has proved to be, in the order of [`auth::add_identity`].
    pub identities: &'a [Id<'static>],
    /// Its connection.
    pub owner: Owner,
}

/// Where the outcome of one write goes. All three are appended to.
#[derive(Debug)]
pub struct Sink<'a> {
    /// One encoded [`TxnRecord`], if [`Done::logged`].
    pub log: &'a mut Vec<u8>,
    /// The answer: one frame, or nothing.
    pub reply: &'a mut Vec<u8>,
    /// What watchers may have to hear of.
    pub changes: &'a mut Vec<Change>,
}

/// What came of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// Its transaction; the last one before it if it consumed none.
    pub zxid: Zxid,
    /// What the answer's header says, or would say if there is none. A multi that fails answers OK and tells of it in its body.
    pub err: ErrorCode,
    /// Whether a record has been appended to [`Sink::log`]: the answer must wait until it is durable.
    pub logged: bool,
    /// Whether the connection has to be closed behind the answer: the session is over or lives elsewhere, or the operation is
    /// unknown.
    pub close: bool,
}

/// A session that has just been created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Created {
    /// Its id.
    pub session: SessionId,
    /// Its password.
    pub password: Password,
    /// The timeout granted, in milliseconds.
    pub timeout_ms: i32,
    /// The transaction that created it, which has been logged.
    pub zxid: Zxid,
}

/// Whether a client that comes back has its session still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reopened {
    /// It has.
    Ok {
        /// The timeout granted, in milliseconds.
        timeout_ms: i32,
        /// The connection that it lived on before, which has to be closed.
        previous_owner: Option<Owner>,
    },
    /// The session is gone or ending, or the password is wrong: answer with no session, and close.
    Refused,
}

/// At this many notes that nobody [takes](Pipeline::take_exceeded), more are dropped.
pub const EXCEEDED_MAX: usize = 64;

/// Bytes of paths that the record of a session's end lists at most; far below the longest record that the log takes.
pub const CLOSE_PATHS_BYTES_MAX: usize = 4 << 20;

/// What writes change, and the rules by which they do.
pub struct Pipeline {
    options: Options,
    tree: Tree,
    sessions: Sessions,
    /// The last zxid given away; not below that of the tree.
    zxid: Zxid,
    exceeded: Vec<Exceeded>,
    /// What it is a member of; `None` for a server alone.
    ensemble: Option<Ensemble>,
    /// Sessions of this server only.
    local: Sessions,
    /// Sessions of clients of this server that are still to be created, or known, here. No more than there are clients.
    awaited: BTreeMap<SessionId, Awaited>,
    /// The ensemble as a leader sees it, while it judges a `reconfig`; and what came of that.
    quorum: Option<QuorumView>,
    reconfigured: Option<Arc<Membership>>,
    digest_mismatches: u64,
    /// The last digest that was compared differed.
    is_mismatching: bool,
    /// See [`Pipeline::begin_fuzzy`].
    is_fuzzy: bool,
}

impl Pipeline {
    /// Goes on where `tree` and `sessions` are, with the zxid behind `last`.
    ///
    /// # Panics
    /// If the tree reads owners otherwise than the options say, or is ahead of `last`.
    pub fn new(options: Options, tree: Tree, sessions: Sessions, last: Zxid) -> Self {
        Self::check_parts(&options, &tree, last);
        let tick_ms = u32::try_from(sessions.tick().as_millis()).expect("a tick comes from 32 bits of milliseconds");
        Self {
            options,
            tree,
            sessions,
            zxid: last,
            exceeded: Vec::new(),
            ensemble: None,
            // Its own ids are never used: local sessions take theirs from the same numbers as all others.
            local: Sessions::new(tick_ms, SessionId::NONE),
            awaited: BTreeMap::new(),
            quorum: None,
            reconfigured: None,
            digest_mismatches: 0,
            is_mismatching: false,
            is_fuzzy: false,
        }
    }

    fn check_parts(options: &Options, tree: &Tree, last: Zxid) {
        assert_eq!(tree.options().owners, options.owners(), "tree and pipeline read owners differently");
        assert!(tree.view().zxid() <= last, "the tree at {} is ahead of {last}", tree.view().zxid());
    }

    /// The last zxid given away. A leader has to begin a new epoch before the counter in it ends.
    pub const fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// The options.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The newest state of the tree.
    pub fn view(&self) -> &View {
        self.tree.view()
    }

    /// The tree, for what goes beyond its view.
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Ends a batch: a version of the newest state for the shards.
    pub fn cut(&mut self) -> Version {
        self.tree.cut()
    }

    /// The sessions.
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The sessions, to touch them and to let them expire.
    pub const fn sessions_mut(&mut self) -> &mut Sessions {
        &mut self.sessions
    }

    /// The quotas that writes have exceeded since the last call, for the operator's log.
    pub fn take_exceeded(&mut self) -> Vec<Exceeded> {
        std::mem::take(&mut self.exceeded)
    }

    /// Does what a client asks for, unless [`read::is_read`]; `auth` and `sasl` are the connection's own.
    ///
    /// What no client may ask for is refused as an unknown operation: `check` outside of a multi, and, otherwise than in Apache,
    /// whose checks are missing there, `createSession` and `deleteContainer`.
    pub fn process(&mut self, now: WallTime, request: &Request<'_>, sink: &mut Sink<'_>) -> Done {
        if self.is_local(request.session) {
            if request.op == OpCode::CLOSE_SESSION {
                return self.close_local(request, sink.reply);
            }
        } else if !self.sessions.is_live(request.session) {
            // Apache drops the request; its client hears of it when the connection is closed.
            return self.refuse(request.xid, ErrorCode::SESSION_EXPIRED, sink);
        }
        match request.op {
            OpCode::CREATE
            | OpCode::CREATE2
            | OpCode::CREATE_CONTAINER
            | OpCode::CREATE_TTL
            | OpCode::DELETE
            | OpCode::SET_DATA
            | OpCode::SET_ACL => self.single(now, request, false, sink),
            OpCode::RECONFIG => self.reconfig(now, request, false, sink),
            OpCode::MULTI => self.multi(now, request, sink),
            OpCode::SYNC => self.sync(request, sink),
            OpCode::CLOSE_SESSION => {
                let done = self.close(now, request.session, request.xid.0, sink);
                put_header_reply(sink.reply, request.xid, done.zxid, done.err);
                Done { close: true, ..done }
            }
            _ => self.refuse_unknown(request.xid, sink.reply),
        }
    }

    /// Answers that there is no such operation.
    fn refuse_unknown(&self, xid: Xid, reply: &mut Vec<u8>) -> Done {
        // Apache has not yet given such a request a zxid, and says so.
        put_header_reply(reply, xid, Zxid(-1), ErrorCode::UNIMPLEMENTED);
        Done { close: true, ..self.unlogged(ErrorCode::UNIMPLEMENTED) }
    }

    /// Creates a session for the client on `owner`.
    pub fn create_session(
        &mut self,
        now: WallTime,
        mono: Instant,
        asked_ms: i32,
        owner: Owner,
        sink: &mut Sink<'_>,
    ) -> Created {
        let timeout_ms = self.negotiate(asked_ms);
        let session = self.sessions.take_id();
        let header = self.next_header(now, session, 0, OpCode::CREATE_SESSION);
        self.sessions.create(header.zxid, session, timeout_ms, Some(owner), mono);
        self.commit(header, Txn::CreateSession { timeout_ms }, sink);
        Created { session, password: password(session), timeout_ms, zxid: header.zxid }
    }

    /// Moves a session to `owner`, if the password is its own. Nothing of this is logged.
    pub fn reopen_session(
        &mut self,
        mono: Instant,
        session: SessionId,
        password: &[u8],
        asked_ms: i32,
        owner: Owner,
    ) -> Reopened {
        if !check_password(session, password) {
            return Reopened::Refused;
        }
        let timeout_ms = self.negotiate(asked_ms);
        let sessions = if self.is_local(session) { &mut self.local } else { &mut self.sessions };
        match sessions.reopen(session, timeout_ms, owner, mono) {
            Ok(previous_owner) => Reopened::Ok { timeout_ms, previous_owner },
            Err(_) => Reopened::Refused,
        }
    }

    /// Ends a session that has expired, with its ephemerals. There is no answer.
    pub fn close_session(&mut self, now: WallTime, session: SessionId, sink: &mut Sink<'_>) -> Done {
        self.close(now, session, 0, sink)
    }

    /// Removes a container or a TTL znode of [`Self::container_candidates`], if it is still empty. There is no answer.
    pub fn delete_container(&mut self, now: WallTime, path: &str, sink: &mut Sink<'_>) -> Done {
        let state = SessionState::of(Ok(()));
        let prep = Prep::new(self.tree.view(), &self.options, &[], SessionId::NONE, state);
        let prepared = prep.delete_container(path);
        let header = self.next_header(now, SessionId::NONE, 0, OpCode::DELETE_CONTAINER);
        match prepared {
            Ok(txn) => {
                self.commit(header, txn, sink);
                self.logged(header, ErrorCode::OK)
            }
            Err(err) => self.commit_error(header, err, sink),
        }
    }

    /// The containers and TTL znodes that may be removed, to be offered to [`Self::delete_container`] at a measured pace.
    pub fn container_candidates(&self, now: WallTime) -> Vec<Arc<str>> {
        container::candidates(self.tree.view(), now, self.options.container_never_used_max_ms)
    }

    /// The operations that are one transaction each. One that cannot be read is none, unless somebody waits for it.
    fn single(&mut self, now: WallTime, request: &Request<'_>, is_awaited: bool, sink: &mut Sink<'_>) -> Done {
        let state = self.session_state(request);
        let mut prep = Prep::new(self.tree.view(), &self.options, request.identities, request.session, state);
        let named = name_null_path(request.body);
        prep.is_path_null = named.is_some();
        let mut prepared = prepare_single(&mut prep, request.op, named.as_deref().unwrap_or(request.body));
        if matches!(&prepared, Ok(txn) if txn.len_bound() > self.options.txn_bytes_max) {
            prepared = Err(NotPrepared::Refused(ErrorCode::BAD_ARGUMENTS));
        }
        let exceeded = prep.exceeded;
        self.note(exceeded);
        let txn = match prepared {
            Ok(txn) => txn,
            Err(NotPrepared::Undecodable) if is_awaited => {
                let header = self.next_header(now, request.session, request.xid.0, request.op);
                return self.commit_refusal(header, ErrorCode::MARSHALLING_ERROR, request.xid, sink);
            }
            Err(NotPrepared::Undecodable) => {
                put_header_reply(sink.reply, request.xid, self.tree.view().zxid(), ErrorCode::MARSHALLING_ERROR);
                return self.unlogged(ErrorCode::MARSHALLING_ERROR);
            }
            Err(NotPrepared::Refused(err)) => {
                let header = self.next_header(now, request.session, request.xid.0, request.op);
                return self.commit_refusal(header, err, request.xid, sink);
            }
        };
        let header = self.next_header(now, request.session, request.xid.0, request.op);
        let created_path = match &txn {
            Txn::Create(create) => create.path.clone(),
            _ => Cow::Borrowed(""),
        };
        let applied = self.commit(header, txn, sink);
        put_reply(sink.reply, request.xid, header.zxid, |out| match request.op {
            OpCode::CREATE => out.put_ustring(&created_path),
            OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
                out.put_ustring(&created_path);
                stat_of(applied.stat).encode(out);
            }
            OpCode::SET_DATA | OpCode::SET_ACL => stat_of(applied.stat).encode(out),
            _ => {}
        });
        self.logged(header, ErrorCode::OK)
    }

    fn multi(&mut self, now: WallTime, request: &Request<'_>, sink: &mut Sink<'_>) -> Done {
        let decoded = decode_multi(&mut Reader::new(request.body)).ok().and_then(|mut ops| {
            prep::normalize_multi(&mut ops, self.ensemble.is_some())?;
            Some(ops)
        });
        let Some(ops) = decoded else {
            let header = self.next_header(now, request.session, request.xid.0, OpCode::MULTI);
            return self.commit_refusal(header, ErrorCode::MARSHALLING_ERROR, request.xid, sink);
        };
        let state = self.session_state(request);
        let mut prep = Prep::new(self.tree.view(), &self.options, request.identities, request.session, state);
        let prepared = prep.multi(&ops);
        let exceeded = prep.exceeded;
        self.note(exceeded);
        let header = self.next_header(now, request.session, request.xid.0, OpCode::MULTI);
        let (done, failed) = match prepared {
            Ok(txns) => (txns, None),
            Err(FailedMulti { before, err }) => (before, Some(err)),
        };
        let mut subs: Vec<SubTxn<'_>> = done.into_iter().map(|(op, txn)| SubTxn { op, txn }).collect();
        if let Some(err) = failed {
            // Apache logs what was prepared before the failure as it is, and errors from there on: who applies it sees
            // the error, and does nothing.
            let error = |err| SubTxn { op: OpCode::ERROR, txn: Txn::Error { err } };
            subs.push(error(err));
            subs.resize_with(ops.len(), || error(ErrorCode::RUNTIME_INCONSISTENCY));
        }
        if subs.iter().map(|sub| 8 + sub.txn.len_bound()).sum::<usize>() > self.options.txn_bytes_max {
            return self.commit_refusal(header, ErrorCode::BAD_ARGUMENTS, request.xid, sink);
        }
        let txn = Txn::Multi(subs);
        let applied = if failed.is_none() {
            self.apply(header, &txn, sink)
        } else {
            self.tree.apply(&header, &txn, sink.changes)
        };
        let Txn::Multi(subs) = &txn else { unreachable!("it was made a multi above") };
        assert_eq!(subs.len(), applied.subs.len(), "the tree must look at all of a prepared multi");
        let done = if failed == Some(ErrorCode::SESSION_MOVED) {
            Done { close: true, ..self.logged(header, ErrorCode::SESSION_MOVED) }
        } else {
            put_reply(sink.reply, request.xid, header.zxid, |out| {
                multi_results(subs, &applied, out);
                MultiHeader::END.encode(out);
            });
            self.logged(header, ErrorCode::OK)
        };
        // The digest stands behind a failed one, too, as if it had done something.
        self.append_record(TxnRecord { header, txn, digest: self.digest() }, sink);
        done
    }

    /// All writes of this session before it have been applied, so there is nothing to wait for here; how long the answer waits for
    /// the log, or for other servers, is the replica's to know.
    fn sync(&mut self, request: &Request<'_>, sink: &mut Sink<'_>) -> Done {
        if let Err(err) = self.session_state(request).any {
            return Done { close: true, ..self.unlogged(err) };
        }
        match decode_path(&mut Reader::new(request.body)) {
            Ok(path) => {
                put_reply(sink.reply, request.xid, self.tree.view().zxid(), |out| {
                    out.put_buffer(path.as_ref().map(|path| path.as_bytes()))
                });
                self.unlogged(ErrorCode::OK)
            }
            Err(_) => {
                put_header_reply(sink.reply, request.xid, self.tree.view().zxid(), ErrorCode::MARSHALLING_ERROR);
                self.unlogged(ErrorCode::MARSHALLING_ERROR)
            }
        }
    }

    fn close(&mut self, now: WallTime, session: SessionId, cxid: i32, sink: &mut Sink<'_>) -> Done {
        // Apache does not ask whose connection this comes from: expiry has none, and it is the session's last request.
        self.sessions.set_closing(session);
        let header = self.next_header(now, session, cxid, OpCode::CLOSE_SESSION);
        let paths = self.options.close_session_txn.then(|| {
            let mut paths: Vec<Cow<'static, str>> =
                self.tree.view().ephemerals(session).map(|path| Cow::Owned(path.to_owned())).collect();
            // Apache's order is that of a hash set; ours is the same for every seed.
            paths.sort_unstable();
            paths
        });
        // More than a log record takes: a bare record says the same, as every server knows whose ephemerals they are.
        let fits =
            |paths: &Vec<Cow<'_, str>>| paths.iter().map(|path| 4 + path.len()).sum::<usize>() <= CLOSE_PATHS_BYTES_MAX;
        let paths = paths.filter(fits);
        self.commit(header, Txn::CloseSession { paths }, sink);
        self.sessions.close(header.zxid, session);
        self.awaited.remove(&session);
        self.logged(header, ErrorCode::OK)
    }

    /// The next transaction's header. From here on it has to be committed.
    fn next_header(&mut self, time: WallTime, session: SessionId, cxid: i32, op: OpCode) -> TxnHeader {
        assert!(!self.is_epoch_full(), "the epoch is full at {}: a leader must step down before this", self.zxid);
        // One server alone counts on over the end of an epoch, as Apache's does.
        self.zxid = Zxid(self.zxid.0.checked_add(1).expect("2^63 transactions are more than any server lives to see"));
        TxnHeader { session, cxid, zxid: self.zxid, time, op }
    }

    /// Applies what has been checked, and logs it.
    fn commit(&mut self, header: TxnHeader, txn: Txn<'_>, sink: &mut Sink<'_>) -> Applied {
        let applied = self.apply(header, &txn, sink);
        // A record without paths ends where Apache would look for them: nothing may follow it.
        let is_bare = matches!(txn, Txn::CloseSession { paths: None });
        let digest = if is_bare { None } else { self.digest() };
        self.append_record(TxnRecord { header, txn, digest }, sink);
        applied
    }

    fn apply(&mut self, header: TxnHeader, txn: &Txn<'_>, sink: &mut Sink<'_>) -> Applied {
        let applied = self.tree.apply(&header, txn, sink.changes);
        assert_eq!(
            applied.err,
            ErrorCode::OK,
            "the tree refused transaction {} ({}), which had been checked against it",
            header.zxid,
            header.op
        );
        applied
    }

    /// Logs a refusal without an answer. Apache gives such records no digest.
    fn commit_error(&mut self, header: TxnHeader, err: ErrorCode, sink: &mut Sink<'_>) -> Done {
        let header = TxnHeader { op: OpCode::ERROR, ..header };
        let txn = Txn::Error { err };
        self.tree.apply(&header, &txn, sink.changes);
        self.append_record(TxnRecord { header, txn, digest: None }, sink);
        self.logged(header, err)
    }

    /// Logs a refusal and answers it; but who has moved elsewhere is not answered (ZOOKEEPER-710).
    fn commit_refusal(&mut self, header: TxnHeader, err: ErrorCode, xid: Xid, sink: &mut Sink<'_>) -> Done {
        let done = self.commit_error(header, err, sink);
        if err == ErrorCode::SESSION_MOVED {
            return Done { close: true, ..done };
        }
        put_header_reply(sink.reply, xid, header.zxid, err);
        done
    }

    fn append_record(&self, record: TxnRecord<'_>, sink: &mut Sink<'_>) {
        record.encode(sink.log);
    }

    fn digest(&self) -> Option<TxnDigest> {
        let is_enabled = self.tree.options().digest_enabled;
        is_enabled.then(|| TxnDigest { version: TxnDigest::VERSION, tree: self.tree.view().digest() })
    }

    /// Answers that the session is over.
    fn refuse(&self, xid: Xid, err: ErrorCode, sink: &mut Sink<'_>) -> Done {
        put_frame(sink.reply, |out| ReplyHeader { xid, zxid: self.tree.view().zxid(), err }.encode(out));
        Done { close: true, ..self.unlogged(err) }
    }

    const fn unlogged(&self, err: ErrorCode) -> Done {
        Done { zxid: self.zxid, err, logged: false, close: false }
    }

    const fn logged(&self, header: TxnHeader, err: ErrorCode) -> Done {
        Done { zxid: header.zxid, err, logged: true, close: false }
    }

    /// `checkSession` and `checkGlobalSession`.
    fn session_state(&mut self, request: &Request<'_>) -> SessionState {
        let code = |err| match err {
            // As Apache's leader says it: whom it does not know has expired.
            SessionError::Unknown | SessionError::Closing => ErrorCode::SESSION_EXPIRED,
            SessionError::Moved => ErrorCode::SESSION_MOVED,
        };
        match self.sessions.check(request.session, request.owner) {
            Err(SessionError::Unknown) => {}
            known => return SessionState::of(known.map_err(code)),
        }
        let ensemble = self.ensemble.unwrap_or_default();
        match self.local.check(request.session, request.owner) {
            Ok(()) => {
                let is_upgraded_first = ensemble.local_sessions_upgrading;
                let global =
                    if is_upgraded_first { ErrorCode::SESSION_EXPIRED } else { ErrorCode::EPHEMERAL_ON_LOCAL_SESSION };
                SessionState { any: Ok(()), global: Err(global) }
            }
            Err(SessionError::Unknown) => {
                // It may be a local session of the learner that the request comes from.
                let is_foreign =
                    ensemble.local_sessions && (request.session.0 >> 56) & 0xFF != ensemble.server_id.0 & 0xFF;
                let expired = Err(ErrorCode::SESSION_EXPIRED);
                SessionState { any: if is_foreign { Ok(()) } else { expired }, global: expired }
            }
            known => SessionState::of(known.map_err(code)),
        }
    }

    const fn negotiate(&self, asked_ms: i32) -> i32 {
        negotiate(asked_ms, self.options.session_timeout_min_ms, self.options.session_timeout_max_ms)
    }

    fn note(&mut self, exceeded: Vec<Exceeded>) {
        let room = EXCEEDED_MAX - self.exceeded.len();
        self.exceeded.extend(exceeded.into_iter().take(room));
    }
}

/// Why a request has no transaction.
enum NotPrepared {
    Undecodable,
    Refused(ErrorCode),
}

impl From<DecodeError> for NotPrepared {
    fn from(error: DecodeError) -> Self {
        match error {
            // Apache reads such a list, takes a zxid, and stumbles when it looks at the id.
            DecodeError::NullId => Self::Refused(ErrorCode::MARSHALLING_ERROR),
            _ => Self::Undecodable,
        }
    }
}

impl From<ErrorCode> for NotPrepared {
    fn from(err: ErrorCode) -> Self {
        Self::Refused(err)
    }
}

fn prepare_single<'a>(prep: &mut Prep<'_>, op: OpCode, body: &'a [u8]) -> Result<Txn<'a>, NotPrepared> {
    let mut body = Reader::new(body);
    Ok(match op {
        OpCode::DELETE => prep.delete(&PathVersionRequest::decode(&mut body)?)?,
        OpCode::SET_DATA => prep.set_data(&SetDataRequest::decode(&mut body)?)?,
        OpCode::SET_ACL => prep.set_acl(&SetAclRequest::decode(&mut body)?)?,
        create => prep.create(create, &CreateRequest::decode(create, &mut body)?)?,
    })
}

/// A record whose first field, its path, is null, with the empty path instead. Apache reads null and stumbles over it later, or
/// not at all; who has to know asks for it apart. None for all others.
fn name_null_path(body: &[u8]) -> Option<Vec<u8>> {
    const NULL: [u8; 4] = (-1_i32).to_be_bytes();
    body.strip_prefix(&NULL).map(|rest| [&[0; 4], rest].concat())
}

/// Appends the results of a multi, without its end.
fn multi_results(subs: &[SubTxn<'_>], applied: &Applied, out: &mut Vec<u8>) {
    for (sub, applied) in subs.iter().zip(&applied.subs) {
        let is_error = applied.op == OpCode::ERROR || applied.err != ErrorCode::OK;
        let result = match &sub.txn {
            _ if is_error => MultiResult::Error(applied.err),
            Txn::Create(create) if sub.op == OpCode::CREATE => MultiResult::Create { path: &create.path },
            Txn::Create(create) => MultiResult::Create2 { path: &create.path, stat: stat_of(applied.stat) },
            Txn::Delete { .. } => MultiResult::Delete,
            Txn::SetData { .. } => MultiResult::SetData { stat: stat_of(applied.stat) },
            Txn::Check { .. } => MultiResult::Check,
            other => unreachable!("{other:?} is none of a multi's, and the tree does not look at it"),
        };
        result.encode(out);
    }
}

fn stat_of(stat: Option<Stat>) -> Stat {
    stat.expect("the tree gives a stat for every operation whose answer carries one")
}

#[cfg(test)]
mod tests;
