//! Sessions: who is alive, until when, on which connection, and what a client has to know to come back.
//!
//! A pure table (Apache's `SessionTrackerImpl` over its `ExpiryQueue`): the instants come in as arguments. Invariants:
//! a session that is [closing](Sessions::set_closing) is never touched, reopened or owned again; every session that is not
//! closing is filed in a bucket no later than the one in which it expires, so none can outlive its
//! timeout by more than a tick.

mod expiry;
mod password;

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::FixedState;

use self::expiry::ExpiryQueue;
pub use self::password::{check_password, password};
use crate::ids::{ServerId, SessionId};
use crate::time::{Instant, WallTime};

/// A connection, by whatever number the server gives it; requests of any other connection find the session moved.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Owner(pub u64);

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
    /// When it expires, rounded up to a bucket; see [`ExpiryQueue`].
    expires: u64,
    /// The bucket that really holds it: not later than `expires`.
    filed: u64,
}

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
        Self { by_id: HashMap::with_hasher(FixedState::with_seed(0)), queue: ExpiryQueue::new(tick_ms), next_id: first }
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
        let session = Session { timeout_ms, granted_ms: timeout_ms, owner, closing: false, expires, filed: expires };
        self.queue.file(id, expires);
        self.by_id.insert(id, session);
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
