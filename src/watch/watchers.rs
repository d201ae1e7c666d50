//! The watchers of one path: words, each a watcher above and the modes of its watch below, sorted by watcher.
//!
//! Most paths have one to four, which lie in place; more go to the heap. Invariants: sorted, no watcher twice, and no word
//! without a mode except between [`Watchers::clear`] and [`Watchers::sweep`]. The few that are free lie behind the others.

use super::{ALL, MODE_BITS, Modes, Watcher};

/// How many lie in place; with them an entry is as big as with a vector alone.
const FEW: usize = 4;

/// A free place among the few. No word: [`Watcher::MAX`] leaves it out.
const FREE: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(super) enum Watchers {
    Few([u32; FEW]),
    Many(Vec<u32>),
}

const _: () = assert!(size_of::<Watchers>() == size_of::<Vec<u32>>(), "the few must not cost more than the many");

impl Watchers {
    pub(super) const NONE: Self = Self::Few([FREE; FEW]);

    fn as_slice(&self) -> &[u32] {
        match self {
            Self::Few(words) => &words[..words.iter().position(|word| *word == FREE).unwrap_or(FEW)],
            Self::Many(words) => words,
        }
    }

    /// All of them.
    pub(super) fn words(&self) -> impl Iterator<Item = u32> {
        self.as_slice().iter().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn find(&self, watcher: Watcher) -> Result<usize, usize> {
        self.as_slice().binary_search_by_key(&watcher.0, |word| word >> MODE_BITS)
    }

    /// A watcher's modes; 0 if it does not watch.
    pub(super) fn modes(&self, watcher: Watcher) -> Modes {
        self.find(watcher).map_or(0, |at| self.as_slice()[at] & ALL)
    }

    /// Adds modes; returns those before.
    pub(super) fn add(&mut self, watcher: Watcher, modes: Modes) -> Modes {
        match self.find(watcher) {
            Ok(at) => {
                let word = &mut self.words_mut()[at];
                let before = *word & ALL;
                *word |= modes;
                before
            }
            Err(at) => {
                self.insert(at, watcher.0 << MODE_BITS | modes);
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
        let word = &mut self.words_mut()[at];
        *word &= !modes;
        *word & ALL
    }

    /// Removes the words that have no mode.
    pub(super) fn sweep(&mut self) {
        match self {
            Self::Few(words) => {
                let mut kept = [FREE; FEW];
                words
                    .iter()
                    .filter(|word| **word != FREE && **word & ALL != 0)
                    .zip(&mut kept)
                    .for_each(|(word, place)| *place = *word);
                *words = kept;
            }
            Self::Many(words) => {
                words.retain(|word| word & ALL != 0);
                // Half of what fits in place, so that a path around the limit does not go to and fro.
                if words.len() <= FEW / 2 {
                    let mut few = [FREE; FEW];
                    few[..words.len()].copy_from_slice(words);
                    *self = Self::Few(few);
                } else if words.len() < words.capacity() / 4 {
                    words.shrink_to(words.len() * 2);
                }
            }
        }
    }

    fn words_mut(&mut self) -> &mut [u32] {
        match self {
            Self::Few(words) => words,
            Self::Many(words) => words,
        }
    }

    fn insert(&mut self, at: usize, word: u32) {
        match self {
            Self::Few(words) if words[FEW - 1] == FREE => {
                words.copy_within(at..FEW - 1, at + 1);
                words[at] = word;
            }
            Self::Few(words) => {
                let mut many = Vec::with_capacity(2 * FEW);
                many.extend_from_slice(words);
                many.insert(at, word);
                *self = Self::Many(many);
            }
            Self::Many(words) => words.insert(at, word),
        }
    }
}
