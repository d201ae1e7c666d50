//! A list of words that is mostly short: up to four lie in place, more on the heap, and the whole is no bigger than a vector.

/// How many lie in place.
pub(super) const FEW: usize = 4;
/// A free place among the few. Never a word of a list.
pub(super) const FREE: u32 = u32::MAX;

/// Invariant: among the few, the free places are behind the others.
#[derive(Clone, Debug)]
pub(super) enum Words {
    Few([u32; FEW]),
    Many(Vec<u32>),
}

const _: () = assert!(size_of::<Words>() == size_of::<Vec<u32>>(), "the few must not cost more than the many");

impl Default for Words {
    fn default() -> Self {
        Self::NONE
    }
}

impl Words {
    pub(super) const NONE: Self = Self::Few([FREE; FEW]);

    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::Few(words) => &words[..words.iter().position(|word| *word == FREE).unwrap_or(FEW)],
            Self::Many(words) => words,
        }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u32] {
        let len = self.as_slice().len();
        match self {
            Self::Few(words) => &mut words[..len],
            Self::Many(words) => words,
        }
    }

    pub(super) fn insert(&mut self, at: usize, word: u32) {
        debug_assert!(word != FREE, "the mark of a free place is no word");
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

    pub(super) fn push(&mut self, word: u32) {
        self.insert(self.as_slice().len(), word);
    }

    /// Keeps what `keep` says, in its order, and gives memory back that is not needed any more.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        match self {
            Self::Few(words) => {
                let mut kept = [FREE; FEW];
                let words = words.iter().filter(|word| **word != FREE && keep(**word));
                words.zip(&mut kept).for_each(|(word, place)| *place = *word);
                *self = Self::Few(kept);
            }
            Self::Many(words) => {
                words.retain(|word| keep(*word));
                // Half of what fits in place, so that a list around the limit does not go to and fro.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_and_shrink() {
        let mut words = Words::NONE;
        let mut model = Vec::new();
        for word in 0..100 {
            let at = model.len() / 2;
            words.insert(at, word);
            model.insert(at, word);
            assert_eq!(words.as_slice(), model);
            assert_eq!(matches!(words, Words::Few(_)), model.len() <= FEW);
        }
        for limit in (0..100).rev() {
            words.retain(|word| word < limit);
            model.retain(|word| *word < limit);
            assert_eq!(words.as_slice(), model);
        }
        assert!(matches!(words, Words::Few(_)));
        words.push(7);
        words.push(8);
        words.as_mut_slice()[0] = 9;
        assert_eq!(words.as_slice(), [9, 8]);
    }
}
