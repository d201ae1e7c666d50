//! Sessions: who is alive, until when, on which connection, and what a client has to know to come back.
//!
//! A pure table (Apache's `SessionTrackerImpl` over its `ExpiryQueue`): the instants come in as arguments. Invariants:
//! a session that is [closing](Sessions::set_closing) is never touched, reopened or owned again; every session that is not
//! closing is filed in a bucket no later than the one in which it expires, so none can outlive its
//! timeout by more than a tick.
//!
//! In an ensemble one server, the leader, decides when a session ends (Apache's `LeaderSessionTracker`); all others know the
//! sessions that committed transactions have begun, let none of them expire, and report whom they have heard of
//! (`LearnerSessionTracker`). The leader's table is ahead of what is committed: a [journal](Sessions::committed) of what
//! its newest transactions did to the table takes them back if it loses its office.

mod expiry;
mod journal;
mod password;

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::FixedState;

use self::expiry::ExpiryQueue;
use self::journal::Journal;
pub use self::password::{check_password, password};
use crate::ids::{ServerId, SessionId, Zxid};
use crate::time::{Instant, WallTime};

/// A connection, by whatever number the server gives it; requests of any other connection find the session moved.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Owner(pub u64);

impl Owner {
    /// Marks the links of learners. A connection's number has its generation, which is never 0, in the bits from 32 to 55;
    /// these have none, so that they meet no connection's.
    const LEARNER: u64 = 0xFF << 56;

    /// Of a request that came when its session had moved already, and was kept: whatever its session lives on by the time that it is
    /// looked at, it has moved for this one. No connection has this number: none has a slot of 2^32 - 1.
    pub const MOVED: Self = Self(u64::MAX);

    /// A learner's link, behind which its client's connection is.
    pub const fn learner(link: u32) -> Self {
        Self(Self::LEARNER | link as u64)
    }

    /// The link, if it is a learner's.
    pub const fn as_learner(self) -> Option<u32> {
        if self.0 >> 32 == Self::LEARNER >> 32 { Some(self.0 as u32) } else { None }
    }
}

/// Why a session may not be used (Apache's `SessionTracker.checkSession`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionError {
    /// There is none of this id: never was, or is gone.
    Unknown,
    /// It is on its way out.
    Closing,
    /// It lives on another connection by now.
    Moved,
}

/// One session.
#[derive(Clone, Copy, Debug)]
struct Session {
    /// What the transaction that created it says, and what a snapshot keeps.
    timeout_ms: i32,
    /// What its newest connection negotiated: this is what a touch is worth.
    granted_ms: i32,
    owner: Option<Owner>,
    closing: bool,
    /// On a learner: its client has been heard of since the last report.
    touched: bool,
    /// When it expires, rounded up to a bucket; see [`ExpiryQueue`].
    expires: u64,
    /// The bucket that really holds it: not later than `expires`; on a learner [`UNFILED`].
    filed: u64,
}

/// In no bucket, and earlier than all of them: no earlier expiry files it.
const UNFILED: u64 = 0;

/// What a dump says of one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionInfo {
    /// Which.
    pub session: SessionId,
    /// The timeout it was created with.
    pub timeout_ms: i32,
    /// The connection that it lives on.
    pub owner: Option<Owner>,
    /// When it expires if it is not heard of: the end of a bucket.
    pub expires: Instant,
    /// Whether it is on its way out.
    pub closing: bool,
}

/// All sessions of the node.
#[derive(Clone, Debug)]
pub struct Sessions {
    by_id: HashMap<SessionId, Session, FixedState>,
    queue: ExpiryQueue,
    next_id: SessionId,
    duty: Duty,
    /// On a learner: who has been heard of since the last report.
    touched: Vec<SessionId>,
    /// On a leader: what may have to be undone.
    journal: Journal,
}

/// What the table is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duty {
    /// The server is alone: it lets sessions expire.
    Alone,
    /// It leads: it lets sessions expire, and journals what is not yet committed.
    Leader,
    /// It follows, observes or looks for a leader: no session expires, and touches are collected.
    Learner,
}

/// Apache's sentinel for "this is a container": never the id of a session.
const CONTAINER_OWNER: i64 = i64::MIN;

/// The first session id of a server that starts now: its own id in the top byte, the time below, zeros at the end
/// (Apache's `SessionTrackerImpl.initializeNextSessionId`, ZOOKEEPER-1622).
///
/// The time is the wall's, not the machine's since boot as in Apache: a reboot must not begin with ids that were given before.
pub const fn first_id(server: ServerId, now: WallTime) -> SessionId {
    let time = ((now.0 << 24).cast_unsigned() >> 8).cast_signed();
    let id = time | (server.0 << 56);
    SessionId(if id == CONTAINER_OWNER || id == 0 { id + 1 } else { id })
}

/// The timeout that a client gets: what it asks for, within the server's bounds.
pub const fn negotiate(asked_ms: i32, min_ms: i32, max_ms: i32) -> i32 {
    // The order matters where an operator has set the bounds the wrong way round: Apache lets the maximum win.
    let at_least = if asked_ms < min_ms { min_ms } else { asked_ms };
    if at_least > max_ms { max_ms } else { at_least }
}

impl Sessions {
    /// None yet. `tick_ms` is the width of a bucket; ids are given from `first` on.
    pub fn new(tick_ms: u32, first: SessionId) -> Self {
        Self {
            by_id: HashMap::with_hasher(FixedState::with_seed(0)),
            queue: ExpiryQueue::new(tick_ms),
            next_id: first,
            duty: Duty::Alone,
            touched: Vec::new(),
            journal: Journal::default(),
        }
    }

    /// What the table is for at present.
    pub const fn duty(&self) -> Duty {
        self.duty
    }

    /// Takes up the leader's duty: every session gets its whole timeout anew, because nobody can say how long ago its client was
    /// heard while there was no leader (Apache makes a new tracker of what is committed). Nobody owns a session until
    /// its client is heard of again.
    pub fn lead(&mut self, now: Instant) {
        self.rest(Duty::Leader);
        for (id, session) in &mut self.by_id {
            session.expires = self.queue.bucket(now, session.timeout_ms);
            session.filed = session.expires;
            self.queue.file(*id, session.expires);
        }
    }

    /// Takes up a learner's duty. What a leader did that was not committed has to be [undone](Self::undo_after) before.
    ///
    /// # Panics
    /// If it was not.
    pub fn learn(&mut self) {
        assert!(self.journal.is_empty(), "the sessions of transactions that were never committed must be undone first");
        self.rest(Duty::Learner);
    }

    /// Forgets all that belongs to a duty. What was about to close is open again: its end was not committed.
    fn rest(&mut self, duty: Duty) {
        self.duty = duty;
        self.queue.clear();
        self.touched.clear();
        for session in self.by_id.values_mut() {
            let (granted_ms, owner, closing, touched, filed) = (session.timeout_ms, None, false, false, UNFILED);
            *session = Session { granted_ms, owner, closing, touched, filed, ..*session };
        }
    }

    /// Replaces all sessions, as a snapshot tells them; the duty stays.
    pub fn replace(&mut self, sessions: impl IntoIterator<Item = (SessionId, i32)>, now: Instant) {
        self.by_id.clear();
        self.journal.clear();
        self.rest(self.duty);
        for (id, timeout_ms) in sessions {
            self.add(id, timeout_ms, None, now);
        }
    }

    /// Transaction `zxid` creates a session, or touches the one that is there already and gives it the timeout (Apache's
    /// `trackSession` and `commitSession`). Says whether it is new.
    pub fn create(&mut self, zxid: Zxid, id: SessionId, timeout_ms: i32, owner: Option<Owner>, now: Instant) -> bool {
        self.journal(zxid, id);
        let is_new = self.add(id, timeout_ms, owner, now);
        let session = self.by_id.get_mut(&id).expect("it was added just now");
        session.timeout_ms = timeout_ms;
        if self.duty == Duty::Learner {
            self.touch(id, now);
        }
        is_new
    }

    /// Transaction `zxid` ends a session. Returns the connection that it lived on.
    pub fn close(&mut self, zxid: Zxid, id: SessionId) -> Option<Owner> {
        self.journal(zxid, id);
        self.by_id.remove(&id)?.owner
    }

    /// All transactions up to this one are committed: nothing of theirs will be undone.
    pub fn committed(&mut self, through: Zxid) {
        self.journal.forget_through(through);
    }

    /// Takes back what all transactions behind `zxid` did; what is left stays. To be followed by [`Self::learn`].
    pub fn undo_after(&mut self, zxid: Zxid) {
        while let Some((id, before)) = self.journal.pop_after(zxid) {
            match before {
                Some(session) => drop(self.by_id.insert(id, session)),
                None => drop(self.by_id.remove(&id)),
            }
        }
        self.journal.clear();
    }

    /// All sessions as they were behind transaction `zxid`, which is the newest or one that may still be undone; for a snapshot
    /// of the tree's version of the same zxid. In no particular order.
    ///
    /// # Panics
    /// If a later transaction is [committed](Self::committed) already and has touched the table: then it is not known any more.
    pub fn at(&self, zxid: Zxid) -> Vec<(SessionId, i32)> {
        let then = self.journal.before_all_after(zxid);
        let unchanged = self.iter().filter(|(id, _)| !then.contains_key(id));
        let changed = then.iter().filter_map(|(id, before)| Some((*id, before.as_ref()?.timeout_ms)));
        unchanged.chain(changed).collect()
    }

    fn journal(&mut self, zxid: Zxid, id: SessionId) {
        if self.duty == Duty::Leader {
            self.journal.push(zxid, id, self.by_id.get(&id).copied());
        }
    }

    /// On a learner: who has been heard of since the last call, with the timeout that its touch is worth (Apache's
    /// `LearnerSessionTracker.snapshot`, for the answer to a ping). In no particular order.
    pub fn take_touched(&mut self) -> Vec<(SessionId, i32)> {
        let by_id = &mut self.by_id;
        let still_there = |id: SessionId| {
            let session = by_id.get_mut(&id)?;
            std::mem::take(&mut session.touched).then_some((id, session.granted_ms))
        };
        std::mem::take(&mut self.touched).into_iter().filter_map(still_there).collect()
    }

    /// On a leader: a learner has heard of it, and says what that is worth. False if there is no such session or it is closing.
    pub fn touch_for(&mut self, id: SessionId, timeout_ms: i32, heard: Instant) -> bool {
        let Some(session) = self.by_id.get_mut(&id).filter(|session| !session.closing) else { return false };
        session.expires = session.expires.max(self.queue.bucket(heard, timeout_ms));
        true
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The next free id. It is taken by this: no later call returns it.
    pub fn take_id(&mut self) -> SessionId {
        loop {
            let id = self.next_id;
            self.next_id = SessionId(id.0.wrapping_add(1));
            if id != SessionId::NONE && id.0 != CONTAINER_OWNER && !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }

    /// Adds a session, or touches the one that is there already (Apache's `trackSession`). Says whether it is new.
    pub fn add(&mut self, id: SessionId, timeout_ms: i32, owner: Option<Owner>, now: Instant) -> bool {
        let expires = self.queue.bucket(now, timeout_ms);
        if let Some(session) = self.by_id.get_mut(&id) {
            if owner.is_some() {
                session.owner = owner;
            }
            self.queue.reschedule(id, &mut session.expires, &mut session.filed, expires);
            return false;
        }
        let is_filed = self.duty != Duty::Learner;
        let (granted_ms, closing, touched, filed) =
            (timeout_ms, false, false, if is_filed { expires } else { UNFILED });
        self.by_id.insert(id, Session { timeout_ms, granted_ms, owner, closing, touched, expires, filed });
        if is_filed {
            self.queue.file(id, expires);
        }
        true
    }

    /// Forgets a session: its closing has been applied. Says whether it was there.
    pub fn remove(&mut self, id: SessionId) -> bool {
        self.by_id.remove(&id).is_some()
    }

    /// Its client was heard at `heard`. False if there is no such session or it is closing.
    ///
    /// Touches may come late and in any order (they travel in batches): an earlier one never shortens a session's life.
    pub fn touch(&mut self, id: SessionId, heard: Instant) -> bool {
        let Some(session) = self.by_id.get_mut(&id).filter(|session| !session.closing) else { return false };
        let expires = self.queue.bucket(heard, session.granted_ms);
        // The bucket that holds it is left as it is: when it comes up, the session is filed anew. One move a timeout
        // instead of one a touch.
        session.expires = session.expires.max(expires);
        if self.duty == Duty::Learner && !std::mem::replace(&mut session.touched, true) {
            self.touched.push(id);
        }
        true
    }

    /// Its client is back on `owner` with a timeout of its own (Apache's `revalidateSession`). Returns the connection that it
    /// lived on before.
    pub fn reopen(
        &mut self,
        id: SessionId,
        granted_ms: i32,
        owner: Owner,
        now: Instant,
    ) -> Result<Option<Owner>, SessionError> {
        let session = self.by_id.get_mut(&id).ok_or(SessionError::Unknown)?;
        if session.closing {
            return Err(SessionError::Closing);
        }
        session.granted_ms = granted_ms;
        let expires = self.queue.bucket(now, granted_ms);
        self.queue.reschedule(id, &mut session.expires, &mut session.filed, expires);
        Ok(session.owner.replace(owner).filter(|before| *before != owner))
    }

    /// Whether `owner` may act for it. The first that asks for a session that has none becomes its owner (Apache's
    /// `checkSession`): so after a restart.
    pub fn check(&mut self, id: SessionId, owner: Owner) -> Result<(), SessionError> {
        let session = self.by_id.get_mut(&id).ok_or(SessionError::Unknown)?;
        if session.closing {
            return Err(SessionError::Closing);
        }
        if owner == Owner::MOVED {
            return Err(SessionError::Moved);
        }
        if *session.owner.get_or_insert(owner) == owner { Ok(()) } else { Err(SessionError::Moved) }
    }

    /// Whether it is there and not closing.
    pub fn is_live(&self, id: SessionId) -> bool {
        self.by_id.get(&id).is_some_and(|session| !session.closing)
    }

    /// The connection that it lives on.
    pub fn owner(&self, id: SessionId) -> Option<Owner> {
        self.by_id.get(&id)?.owner
    }

    /// It lives on `owner` from now on.
    pub fn set_owner(&mut self, id: SessionId, owner: Owner) -> Result<(), SessionError> {
        let session = self.by_id.get_mut(&id).ok_or(SessionError::Unknown)?;
        if session.closing {
            return Err(SessionError::Closing);
        }
        session.owner = Some(owner);
        Ok(())
    }

    /// It is on its way out: nothing but its end may happen to it.
    pub fn set_closing(&mut self, id: SessionId) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.closing = true;
        }
    }

    /// The timeout that it was created with, in milliseconds.
    pub fn timeout_ms(&self, id: SessionId) -> Option<i32> {
        Some(self.by_id.get(&id)?.timeout_ms)
    }

    /// The sessions whose time is up at `now`, all set closing by this. The caller closes them through the log.
    pub fn expire(&mut self, now: Instant) -> Vec<SessionId> {
        let mut expired = Vec::new();
        while let Some((bucket, ids)) = self.queue.pop_due(now) {
            for id in ids {
                let Some(session) = self.by_id.get_mut(&id) else { continue };
                // Closing ones end anyway; those filed elsewhere have left a stale entry here.
                if session.closing || session.filed != bucket {
                    continue;
                }
                if session.expires > bucket {
                    session.filed = session.expires;
                    self.queue.file(id, session.expires);
                } else {
                    session.closing = true;
                    expired.push(id);
                }
            }
        }
        expired
    }

    /// When [`Self::expire`] has to look again; it may then find that all of them have been heard of.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.queue.next_due()
    }

    /// All sessions with the timeouts that they were created with, as a snapshot keeps them. In no particular order, but the
    /// same for the same history.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, i32)> {
        self.by_id.iter().map(|(id, session)| (*id, session.timeout_ms))
    }

    /// What `dump` shows: every session, by expiry and then by id.
    pub fn dump(&self) -> Vec<SessionInfo> {
        let mut all: Vec<SessionInfo> = self
            .by_id
            .iter()
            .map(|(id, session)| SessionInfo {
                session: *id,
                timeout_ms: session.timeout_ms,
                owner: session.owner,
                expires: self.queue.instant(session.expires),
                closing: session.closing,
            })
            .collect();
        all.sort_unstable_by_key(|info| (info.expires, info.session));
        all
    }

    /// The width of a bucket.
    pub fn tick(&self) -> Duration {
        self.queue.tick()
    }
}

#[cfg(test)]
mod tests;
