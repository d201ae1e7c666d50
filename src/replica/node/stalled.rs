//! What waits for room in the log: a line for each *origin*, which is one learner's link, or this server's own shards.
//!
//! Within an origin nothing overtakes: an Apache learner takes what comes back in the order in which it sent it
//! (`CommitProcessor`), and a client expects its own order. Between origins there is no order to keep, so a learner's client that
//! waits on a full disk holds up neither other learners nor the leader's own clients. A session that moves from one origin to
//! another is the exception: what it has left behind is marked, and refused when its turn comes ([`StalledLines::moved`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::LearnerRequest;
use crate::ids::SessionId;
use crate::replica::event::LinkId;
use crate::replica::message::ShardItem;
use crate::session::Owner;

/// Bytes of learners' clients' requests that may wait. The learner that brings more is cut off, and its clients ask again elsewhere or
/// later. What this server's own clients may have under way is bounded by the shards.
const FORWARDED_BYTES_MAX: usize = 64 << 20;

/// Something that waits.
pub(super) enum Stalled {
    /// Of a shard, with the bodies of its batch.
    Item(Arc<Vec<u8>>, ShardItem),
    /// Of a learner's client.
    Forwarded(LinkId, LearnerRequest),
}

/// Where it comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Origin {
    Shards,
    Learner(LinkId),
}

impl Stalled {
    const fn origin(&self) -> Origin {
        match self {
            Self::Item(..) => Origin::Shards,
            Self::Forwarded(link, _) => Origin::Learner(*link),
        }
    }

    /// What it counts against the bound.
    fn forwarded_len(&self) -> usize {
        match self {
            Self::Item(..) => 0,
            Self::Forwarded(_, request) => request.len(),
        }
    }
}

/// All that wait, in the order in which they came.
#[derive(Default)]
pub(super) struct StalledLines {
    items: VecDeque<Stalled>,
    forwarded_bytes: usize,
    /// How many wait of each origin; none of those of which none waits.
    origins: BTreeMap<Origin, usize>,
}

impl StalledLines {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether something of this origin waits, and whatever comes from there has to wait behind it.
    pub(super) fn holds_up(&self, origin: Origin) -> bool {
        self.origins.contains_key(&origin)
    }

    /// One more.
    pub(super) fn push(&mut self, stalled: Stalled) {
        self.forwarded_bytes += stalled.forwarded_len();
        *self.origins.entry(stalled.origin()).or_default() += 1;
        self.items.push_back(stalled);
    }

    /// Whether learners have brought more than may wait.
    pub(super) fn is_too_much(&self) -> bool {
        self.forwarded_bytes > FORWARDED_BYTES_MAX
    }

    pub(super) fn front(&self) -> Option<&Stalled> {
        self.items.front()
    }

    pub(super) fn pop(&mut self) -> Option<Stalled> {
        let stalled = self.items.pop_front()?;
        self.count_out(&stalled);
        Some(stalled)
    }

    fn count_out(&mut self, stalled: &Stalled) {
        self.forwarded_bytes -= stalled.forwarded_len();
        let origin = stalled.origin();
        let count = self.origins.get_mut(&origin).expect("what waits is counted");
        *count -= 1;
        if *count == 0 {
            self.origins.remove(&origin);
        }
    }

    /// Nobody waits for the answers to what this learner has forwarded.
    pub(super) fn forget_link(&mut self, link: LinkId) {
        let origin = Origin::Learner(link);
        if !self.holds_up(origin) {
            return;
        }
        for stalled in std::mem::take(&mut self.items) {
            if stalled.origin() == origin {
                self.count_out(&stalled);
            } else {
                self.items.push_back(stalled);
            }
        }
    }

    /// The session belongs to `owner` from now on: what it had asked for elsewhere came too late, even if it comes back there while
    /// that waits.
    pub(super) fn moved(&mut self, session: SessionId, owner: Owner) {
        for stalled in &mut self.items {
            if let Stalled::Forwarded(_, request) = stalled
                && request.request.session == session
                && request.owner != owner
            {
                request.owner = Owner::MOVED;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}
