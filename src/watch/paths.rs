//! The watched paths: each once, in a slot with its watchers, found by its hash.
//!
//! Slots lie in one vector and are reused; an open-addressed index of slot numbers, linear probing with backward shift, finds
//! them. Invariants: a slot is in the index if and only if it is in use; the index is at most three quarters full; there are no
//! tombstones, so a table that has emptied is as fast as a new one.

use foldhash::fast::FixedState;
use std::hash::BuildHasher;

use super::watchers::Watchers;

/// Where a path is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(transparent)]
pub(super) struct PathSlot(pub(super) u32);

#[derive(Clone, Debug)]
struct Entry {
    path: Box<str>,
    watchers: Watchers,
    hash: u32,
}

/// A place of the index that is free.
const FREE: u32 = u32::MAX;
/// Below this the index is not made smaller.
const INDEX_MIN: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct Paths {
    hasher: FixedState,
    entries: Vec<Entry>,
    reusable: Vec<PathSlot>,
    /// Slot numbers; its length is a power of two or zero.
    index: Vec<u32>,
}

impl Paths {
    pub(super) const fn new(hash_seed: u64) -> Self {
        Self { hasher: FixedState::with_seed(hash_seed), entries: Vec::new(), reusable: Vec::new(), index: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.reusable.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash(&self, path: &str) -> u32 {
        // The upper half: the better mixed one.
        (self.hasher.hash_one(path) >> 32) as u32
    }

    /// Where `path` is, if it is watched.
    pub(super) fn find(&self, path: &str) -> Option<PathSlot> {
        if self.index.is_empty() { None } else { self.find_hashed(path, self.hash(path)) }
    }

    fn find_hashed(&self, path: &str, hash: u32) -> Option<PathSlot> {
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.index[at];
            if slot == FREE {
                return None;
            }
            let entry = &self.entries[slot as usize];
            if entry.hash == hash && &*entry.path == path {
                return Some(PathSlot(slot));
            }
            at = (at + 1) & mask;
        }
    }

    /// Where `path` is; in a new slot if it was not watched. The caller adds a watcher.
    pub(super) fn get_or_insert(&mut self, path: &str) -> PathSlot {
        let hash = self.hash(path);
        if !self.index.is_empty()
            && let Some(slot) = self.find_hashed(path, hash)
        {
            return slot;
        }
        if (self.len() + 1) * 4 > self.index.len() * 3 {
            self.rebuild((self.index.len() * 2).max(INDEX_MIN));
        }
        let entry = Entry { path: path.into(), watchers: Watchers::NONE, hash };
        let slot = match self.reusable.pop() {
            Some(slot) => {
                self.entries[slot.0 as usize] = entry;
                slot
            }
            None => {
                let slot = u32::try_from(self.entries.len()).ok().filter(|slot| *slot != FREE);
                self.entries.push(entry);
                PathSlot(slot.expect("a shard has fewer than 2^32 watched paths: memory ends long before"))
            }
        };
        self.link(slot);
        slot
    }

    pub(super) fn path(&self, slot: PathSlot) -> &str {
        &self.entries[slot.0 as usize].path
    }

    /// Who watches the path of a slot. Nobody, if the slot is gone: watchers' own lists may name slots that were given back
    /// together when the last watch went.
    pub(super) fn watchers(&self, slot: PathSlot) -> &Watchers {
        const NOBODY: &Watchers = &Watchers::NONE;
        self.entries.get(slot.0 as usize).map_or(NOBODY, |entry| &entry.watchers)
    }

    pub(super) fn watchers_mut(&mut self, slot: PathSlot) -> &mut Watchers {
        &mut self.entries[slot.0 as usize].watchers
    }

    /// All watched paths.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Watchers)> {
        self.entries.iter().filter(|entry| !entry.watchers.is_empty()).map(|entry| (&*entry.path, &entry.watchers))
    }

    /// Forgets the path of a slot that nobody watches any more.
    pub(super) fn release_if_unwatched(&mut self, slot: PathSlot) {
        if !self.watchers(slot).is_empty() {
            return;
        }
        self.unlink(slot);
        self.entries[slot.0 as usize].path = Box::default();
        self.reusable.push(slot);
        if self.is_empty() {
            // The end of a crowd: nothing is worth keeping.
            *self = Self { hasher: self.hasher.clone(), ..Self::new(0) };
        } else if self.index.len() > INDEX_MIN && self.len() * 8 < self.index.len() {
            self.rebuild(self.index.len() / 2);
        }
    }

    fn link(&mut self, slot: PathSlot) {
        let mask = self.index.len() - 1;
        let mut at = self.entries[slot.0 as usize].hash as usize & mask;
        while self.index[at] != FREE {
            at = (at + 1) & mask;
        }
        self.index[at] = slot.0;
    }

    fn unlink(&mut self, slot: PathSlot) {
        let mask = self.index.len() - 1;
        let mut at = self.entries[slot.0 as usize].hash as usize & mask;
        while self.index[at] != slot.0 {
            assert!(self.index[at] != FREE, "the slot of a watched path is not in the index");
            at = (at + 1) & mask;
        }
        // Whoever stands behind and would have liked this place or one before it moves up.
        let mut behind = at;
        loop {
            behind = (behind + 1) & mask;
            let next = self.index[behind];
            if next == FREE {
                break;
            }
            let home = self.entries[next as usize].hash as usize & mask;
            if (behind.wrapping_sub(home) & mask) >= (behind.wrapping_sub(at) & mask) {
                self.index[at] = next;
                at = behind;
            }
        }
        self.index[at] = FREE;
    }

    fn rebuild(&mut self, len: usize) {
        let before = std::mem::replace(&mut self.index, vec![FREE; len]);
        before.into_iter().filter(|slot| *slot != FREE).for_each(|slot| self.link(PathSlot(slot)));
    }
}
