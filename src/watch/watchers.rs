//! The watchers of one path: words, each a watcher above and the modes of its watch below, sorted by watcher.
//!
//! Invariants: sorted, no watcher twice, and no word without a mode except between [`Watchers::clear`] and
//! [`Watchers::sweep`].

use super::words::{FREE, Words};
use super::{ALL, MODE_BITS, Modes, Watcher};

#[derive(Clone, Debug)]
pub(super) struct Watchers(Words);

const _: () =
    assert!(Watcher::MAX << MODE_BITS | ALL == FREE, "the mark of a free place is the first watcher too many");

impl Watchers {
    pub(super) const NONE: Self = Self(Words::NONE);

    /// All of them.
    pub(super) fn words(&self) -> impl Iterator<Item = u32> {
        self.0.as_slice().iter().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    fn find(&self, watcher: Watcher) -> Result<usize, usize> {
        self.0.as_slice().binary_search_by_key(&watcher.0, |word| word >> MODE_BITS)
    }

    /// A watcher's modes; 0 if it does not watch.
    pub(super) fn modes(&self, watcher: Watcher) -> Modes {
        self.find(watcher).map_or(0, |at| self.0.as_slice()[at] & ALL)
    }

    /// Adds modes; returns those before.
    pub(super) fn add(&mut self, watcher: Watcher, modes: Modes) -> Modes {
        match self.find(watcher) {
            Ok(at) => {
                let word = &mut self.0.as_mut_slice()[at];
                let before = *word & ALL;
                *word |= modes;
                before
            }
            Err(at) => {
                self.0.insert(at, watcher.0 << MODE_BITS | modes);
                0
            }
        }
    }

    /// Takes modes away; returns what is left of the watcher's.
    pub(super) fn remove(&mut self, watcher: Watcher, modes: Modes) -> Modes {
        let left = self.clear(watcher, modes);
        if left == 0 {
            self.sweep();
        }
        left
    }

    /// Takes modes away, and leaves a word with none where it is. [`Self::sweep`] has to follow, and nothing but more of these
    /// comes between.
    pub(super) fn clear(&mut self, watcher: Watcher, modes: Modes) -> Modes {
        let at = self.find(watcher).expect("only a watcher's own modes are taken away");
        let word = &mut self.0.as_mut_slice()[at];
        *word &= !modes;
        *word & ALL
    }

    /// Removes the words that have no mode.
    pub(super) fn sweep(&mut self) {
        self.0.retain(|word| word & ALL != 0);
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        match &self.0 {
            Words::Few(words) => words.len(),
            Words::Many(words) => words.capacity(),
        }
    }
}
