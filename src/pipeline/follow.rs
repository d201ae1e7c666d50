//! Following: a leader's committed transactions change the head, and a client whose request became one of them is answered from
//! it (the learner's part of Apache's `CommitProcessor` and `FinalRequestProcessor`).
//!
//! Invariants:
//! - What [`Pipeline::follow`] makes of a record is what the leader's own pipeline made of the request: tree, sessions, changes
//!   for watches, and with [`answer_of`] the answer, byte for byte.
//! - A record changes everything or, if it cannot be read or is out of order, nothing.

use thiserror::Error;

use super::{Created, Pipeline, multi_results, stat_of};
use crate::ids::{SessionId, Zxid};
use crate::session::{Duty, Owner, password};
use crate::time::Instant;
use crate::tree::{Applied, Change};
use crate::wire::error_code::ErrorCode;
use crate::wire::header::Xid;
use crate::wire::jute::{DecodeError, Put};
use crate::wire::multi::MultiHeader;
use crate::wire::op::OpCode;
use crate::wire::response::{put_header_reply, put_reply};
use crate::wire::txn::{Txn, TxnDigest, TxnHeader, TxnRecord};

/// Why a record of the leader's cannot be applied. Whoever follows has to stop: its state would no longer be the leader's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FollowError {
    /// It is no transaction that we know.
    #[error("transaction {zxid} cannot be read: {error}")]
    Undecodable {
        /// What its header says, or the last one before it if not even that can be read.
        zxid: Zxid,
        /// What is wrong.
        error: DecodeError,
    },
    /// It is not behind what has been applied.
    #[error("transaction {zxid} comes behind {last}")]
    OutOfOrder {
        /// The record's.
        zxid: Zxid,
        /// The last one applied.
        last: Zxid,
    },
}

/// A leader's digest that is not ours: the trees differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DigestMismatch {
    /// Behind which transaction.
    pub zxid: Zxid,
    /// What the leader says.
    pub expected: u64,
    /// What our tree has.
    pub actual: u64,
}

/// A transaction that has been applied.
#[derive(Debug)]
pub struct Followed<'r> {
    /// Whose it is, and which.
    pub header: TxnHeader,
    /// What it did.
    pub txn: Txn<'r>,
    /// What came of it in our tree.
    pub applied: Applied,
    /// The first difference from the leader's tree since the pipeline was made, its state replaced, or a matching digest
    /// seen, if it is this transaction behind which it shows; all are [counted](Pipeline::digest_mismatches).
    pub mismatch: Option<DigestMismatch>,
    /// Whether our digest was equal to the leader's; true also where there was none to compare.
    pub digest_ok: bool,
    /// Of a session that ended: the connection of ours that it lived on, which has to be closed behind what it is owed.
    pub closed: Option<Owner>,
}

impl Followed<'_> {
    /// The error that the transaction is, OK for all others: what the leader says, not what our tree made of it.
    pub const fn err(&self) -> ErrorCode {
        match &self.txn {
            Txn::Error { err } => *err,
            _ => ErrorCode::OK,
        }
    }

    /// The session that it created.
    pub fn created(&self) -> Option<Created> {
        let Txn::CreateSession { timeout_ms } = self.txn else { return None };
        let session = self.header.session;
        Some(Created { session, password: password(session), timeout_ms, zxid: self.header.zxid })
    }
}

/// A request of a client of ours that waits for its transaction. It has found it when header and request agree in
/// session and number; requests of one session come back in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Awaiting {
    /// The client's session.
    pub session: SessionId,
    /// The client's number for it.
    pub xid: Xid,
    /// What this server knew against it before the leader did ([`Route::Forward`](super::Route::Forward)).
    pub refused: Option<ErrorCode>,
}

impl Awaiting {
    /// Whether this transaction is what it waits for.
    pub fn is_for(&self, header: &TxnHeader) -> bool {
        self.session == header.session && self.xid.0 == header.cxid
    }
}

/// What [`answer_of`] has answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answered {
    /// As in [`Done::err`](super::Done::err).
    pub err: ErrorCode,
    /// As in [`Done::close`](super::Done::close).
    pub close: bool,
}

impl Pipeline {
    /// Applies a committed transaction of the leader's; the new leader does the same with what it had logged before its time.
    /// `record` is what the log and the leader's proposal carry. What watchers may have to hear of is added to `changes`.
    ///
    /// A digest that differs is counted and told, and not fatal (Apache's `DataTree.compareDigest`): so Apache's leaders, whose
    /// snapshots are fuzzy, can be followed.
    ///
    /// An error with the zxid of the last transaction is taken for one: Apache's leader gives none of its own to a request
    /// that it cannot read.
    ///
    /// # Errors
    /// If the record cannot be read, or is not behind the last one. Then nothing has changed.
    ///
    /// # Panics
    /// If this server leads.
    pub fn follow<'r>(
        &mut self,
        mono: Instant,
        record: &'r [u8],
        changes: &mut Vec<Change>,
    ) -> Result<Followed<'r>, FollowError> {
        assert_ne!(self.sessions.duty(), Duty::Leader, "a leader follows nobody");
        let undecodable = |error| {
            let header = TxnHeader::decode(&mut crate::wire::jute::Reader::new(record));
            FollowError::Undecodable { zxid: header.map_or(self.zxid, |header| header.zxid), error }
        };
        let TxnRecord { header, txn, digest } = TxnRecord::decode(record).map_err(undecodable)?;
        let zxid = header.zxid;
        let is_shared = zxid == self.zxid && matches!(txn, Txn::Error { .. });
        if zxid <= self.zxid && !is_shared {
            return Err(FollowError::OutOfOrder { zxid, last: self.zxid });
        }
        let closed = match txn {
            Txn::CreateSession { timeout_ms } => {
                let owner = self.take_awaited_owner(header.session);
                self.sessions.create(zxid, header.session, timeout_ms, owner, mono);
                None
            }
            Txn::CloseSession { .. } => {
                let awaited = self.take_awaited_owner(header.session);
                self.sessions.close(zxid, header.session).or(awaited)
            }
            _ => None,
        };
        let applied = self.tree.apply(&header, &txn, changes);
        self.zxid = zxid;
        let (digest_ok, mismatch) = self.compare_digest(zxid, digest);
        Ok(Followed { header, txn, applied, mismatch, digest_ok, closed })
    }

    /// How many transactions showed a digest that was not the leader's (`digest_mismatches_count`).
    pub const fn digest_mismatches(&self) -> u64 {
        self.digest_mismatches
    }

    /// The state that was just installed may hold what some transactions behind its zxid made, as Apache's leaders send it: digests
    /// are not compared until [`Pipeline::end_fuzzy`], or another state is installed.
    pub const fn begin_fuzzy(&mut self) {
        self.is_fuzzy = true;
    }

    /// All transactions that the installed state may have held in part are applied.
    pub const fn end_fuzzy(&mut self) {
        self.is_fuzzy = false;
    }

    fn compare_digest(&mut self, zxid: Zxid, digest: Option<TxnDigest>) -> (bool, Option<DigestMismatch>) {
        let comparable = |digest: &TxnDigest| digest.version == TxnDigest::VERSION;
        let Some(digest) = digest.filter(comparable).filter(|_| self.tree.options().digest_enabled && !self.is_fuzzy)
        else {
            return (true, None);
        };
        let (expected, actual) = (digest.tree, self.tree.view().digest());
        if expected == actual {
            self.is_mismatching = false;
            return (true, None);
        }
        self.digest_mismatches += 1;
        let is_first = !std::mem::replace(&mut self.is_mismatching, true);
        (false, is_first.then_some(DigestMismatch { zxid, expected, actual }))
    }
}

/// Appends the answer to a request of ours that became this transaction: what [`Pipeline::process`] would have answered.
///
/// createSession has no answer of this kind: see [`Followed::created`].
pub fn answer_of(followed: &Followed<'_>, awaiting: &Awaiting, out: &mut Vec<u8>) -> Answered {
    let Followed { header, txn, applied, .. } = followed;
    let (xid, zxid) = (awaiting.xid, header.zxid);
    // As in Apache, what this server knows counts only against a request that the leader has refused, too.
    let err = match txn {
        Txn::Error { err } => awaiting.refused.unwrap_or(*err),
        Txn::Multi(_) if applied.subs.iter().any(|sub| sub.err == ErrorCode::SESSION_MOVED) => ErrorCode::SESSION_MOVED,
        Txn::Multi(_) => ErrorCode::OK,
        _ => applied.err,
    };
    if err == ErrorCode::SESSION_MOVED {
        return Answered { err, close: true };
    }
    if err != ErrorCode::OK {
        put_header_reply(out, xid, zxid, err);
        return Answered { err, close: false };
    }
    put_reply(out, xid, zxid, |out| match txn {
        Txn::Create(create) => {
            out.put_ustring(&create.path);
            if header.op != OpCode::CREATE {
                stat_of(applied.stat).encode(out);
            }
        }
        Txn::SetData { data, .. } => {
            if header.op == OpCode::RECONFIG {
                out.put_buffer(*data);
            }
            stat_of(applied.stat).encode(out);
        }
        Txn::SetAcl { .. } => stat_of(applied.stat).encode(out),
        Txn::Multi(subs) => {
            multi_results(subs, applied, out);
            MultiHeader::END.encode(out);
        }
        Txn::Delete { .. }
        | Txn::Check { .. }
        | Txn::Error { .. }
        | Txn::CreateSession { .. }
        | Txn::CloseSession { .. } => {}
    });
    Answered { err, close: matches!(txn, Txn::CloseSession { .. }) }
}
