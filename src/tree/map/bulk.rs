//! A map of many entries at once, for a tree that is loaded: nothing is looked for and nothing is copied.
//!
//! To insert a million entries one by one is to go down the trie a million times, each time to nodes that are in no cache, and
//! to copy each bucket as it grows. Here the leaves are made as the entries come, one behind the other in memory; when all
//! are there they are sorted by the order of the trie ([`rank`]), and each bucket and each branch is made once, in its right
//! size, from what is then its own piece of one array.
//!
//! [`Leaves`] have a heap of their own, so that any number of threads can make some, each by itself; with the map their nodes
//! go over to the heap that will edit it. The map is the same whatever the order in which entries came.

use std::marker::PhantomData;
use std::ops::Range;

use super::node::{Node, Slot, rank};
use super::{Entry, Heap, Map};

/// Entries that will be a map, or several.
pub struct Leaves<E: Entry> {
    heap: Heap,
    /// The rank of each leaf's hash, and its slot; empty if a map has it already.
    leaves: Vec<(u64, Slot)>,
    entries: PhantomData<E>,
}

// SAFETY: it owns its leaves, as a Vec of entries would, and entries are Send.
unsafe impl<E: Entry> Send for Leaves<E> {}
// SAFETY: a shared one gives nothing but its length.
unsafe impl<E: Entry> Sync for Leaves<E> {}

impl<E: Entry> Leaves<E> {
    /// None, for maps of a heap with this seed that has not ended a version.
    pub fn new(heap_seed: u64) -> Self {
        Self { heap: Heap::new(heap_seed), leaves: Vec::new(), entries: PhantomData }
    }

    /// The seed that it was made with.
    pub fn heap_seed(&self) -> u64 {
        self.heap.seed()
    }

    /// How many entries have come.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether none has come.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Makes room for so many.
    pub fn reserve(&mut self, entries: usize) {
        self.leaves.reserve(entries);
    }

    /// Adds an entry, behind all that came before.
    pub fn push(&mut self, entry: E) {
        let hash = E::hash(entry.key(), self.heap.seed());
        let leaf = self.heap.new_leaf(entry, hash);
        self.leaves.push((rank(hash), leaf));
    }

    /// Adds all of another's, behind those that came before.
    ///
    /// # Panics
    /// If the two hash differently.
    pub fn append(&mut self, mut other: Self) {
        self.heap.absorb(std::mem::replace(&mut other.heap, Heap::new(self.heap.seed())));
        self.leaves.append(&mut other.leaves);
    }

    /// The map of all, which is `heap`'s.
    ///
    /// # Errors
    /// A copy of an entry whose key another has too.
    ///
    /// # Panics
    /// If `heap` hashes differently or has ended a version.
    pub fn into_map(mut self, heap: &mut Heap) -> Result<Map<E>, Box<E>> {
        self.leaves.sort_unstable_by_key(|&(rank, _)| rank);
        for equal in self.leaves.chunk_by(|(one, _), (other, _)| one == other) {
            for (index, &(_, slot)) in equal.iter().enumerate().skip(1) {
                // SAFETY: this one's own leaves, of `E`, which are alive until a map has them.
                let entry = unsafe { &slot.as_leaf::<E>().as_ref().entry };
                // SAFETY: as above.
                let mut before = equal[..index].iter().map(|(_, slot)| unsafe { &slot.as_leaf::<E>().as_ref().entry });
                if before.any(|other| other.matches(entry.key())) {
                    return Err(Box::new(entry.clone()));
                }
            }
        }
        let leaves = std::mem::take(&mut self.leaves);
        let root = self.heap.build(&leaves, 0);
        heap.absorb(std::mem::replace(&mut self.heap, Heap::new(heap.seed())));
        Ok(Map { root, len: leaves.len(), entries: PhantomData })
    }

    /// A map of the entries at these places, counted in the order in which they came, of which none has the key of another.
    /// It is usable when [`Leaves::finish`] has handed its nodes over.
    ///
    /// # Panics
    /// If one of them is in a map already.
    pub fn take_map(&mut self, places: impl IntoIterator<Item = Range<usize>>, scratch: &mut Scratch) -> Map<E> {
        scratch.0.clear();
        for place in places {
            for leaf in &mut self.leaves[place] {
                let leaf = std::mem::replace(leaf, (0, Slot::EMPTY));
                assert!(leaf.1.weight() > 0, "an entry was to be in two maps");
                scratch.0.push(leaf);
            }
        }
        scratch.0.sort_unstable_by_key(|&(rank, _)| rank);
        Map { root: self.heap.build(&scratch.0, 0), len: scratch.0.len(), entries: PhantomData }
    }

    /// Hands the nodes of all maps that were taken over to the heap that will edit them, and drops entries that are in none.
    ///
    /// # Panics
    /// If `heap` hashes differently or has ended a version.
    pub fn finish(mut self, heap: &mut Heap) {
        self.drop_leaves();
        heap.absorb(std::mem::replace(&mut self.heap, Heap::new(heap.seed())));
    }

    fn drop_leaves(&mut self) {
        for (_, slot) in self.leaves.drain(..).filter(|(_, slot)| slot.weight() > 0) {
            // SAFETY: its own leaf, of `E`, which is alive and in no map and no bag.
            unsafe { self.heap.retire(Node::leaf(slot.as_leaf::<E>())) };
        }
    }
}

impl<E: Entry> Drop for Leaves<E> {
    fn drop(&mut self) {
        self.drop_leaves();
    }
}

/// Room for [`Leaves::take_map`] to work in, used again by the next.
#[derive(Default)]
pub struct Scratch(Vec<(u64, Slot)>);
