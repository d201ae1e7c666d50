//! What a leader's uncommitted transactions did to its sessions: for each, how the session stood before. The way back takes as
//! long as there is to undo, and the sessions of any version between the last commit and the newest can be told.

use std::collections::{BTreeMap, VecDeque};

use super::Session;
use crate::ids::{SessionId, Zxid};

/// In the order of the transactions. As long as the transactions that are proposed and not committed, which the replica bounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    /// Entries up to here are forgotten.
    forgotten: Zxid,
}

#[derive(Clone, Debug)]
struct Entry {
    zxid: Zxid,
    id: SessionId,
    /// `None` if there was none.
    before: Option<Session>,
}

impl Journal {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn push(&mut self, zxid: Zxid, id: SessionId, before: Option<Session>) {
        let newest = self.entries.back().map_or(self.forgotten, |entry| entry.zxid);
        assert!(newest <= zxid, "transaction {zxid} touches the sessions behind {newest}");
        self.entries.push_back(Entry { zxid, id, before });
    }

    /// Forgets the way back from all up to `zxid`.
    pub(super) fn forget_through(&mut self, zxid: Zxid) {
        while self.entries.front().is_some_and(|entry| entry.zxid <= zxid) {
            let entry = self.entries.pop_front().expect("there is a front");
            self.forgotten = entry.zxid;
        }
    }

    /// The newest entry, if it is behind `zxid`: to be undone.
    pub(super) fn pop_after(&mut self, zxid: Zxid) -> Option<(SessionId, Option<Session>)> {
        assert!(
            self.forgotten <= zxid,
            "what {} did to the sessions is committed and cannot be undone",
            self.forgotten
        );
        let entry = self.entries.pop_back_if(|entry| entry.zxid > zxid)?;
        Some((entry.id, entry.before))
    }

    /// How the sessions that transactions behind `zxid` touched stood before all of these.
    pub(super) fn before_all_after(&self, zxid: Zxid) -> BTreeMap<SessionId, Option<Session>> {
        assert!(self.forgotten <= zxid, "the sessions at {zxid} are forgotten: {} is committed", self.forgotten);
        // From the newest to the oldest: the oldest has the last word.
        self.entries.iter().rev().take_while(|entry| entry.zxid > zxid).map(|entry| (entry.id, entry.before)).collect()
    }
}
