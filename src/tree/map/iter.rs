//! Walking a map, in one go or in slices.
//!
//! The order is that of the trie: no meaning, but the same each time for one map. So a position is just the index taken
//! at each level, holds no pointer, and a walk can be put down and taken up again later, as a snapshot does between
//! batches of the log.

use std::marker::PhantomData;

use super::node::{Child, DEPTH_MAX, Slot};
use super::{Entry, Map};

/// The root's own slot, the branches, and a bucket.
const FRAMES_MAX: usize = 1 + DEPTH_MAX + 1;

/// A position in a map, between two entries. Means the same place in the same version only; in any other map it is some
/// place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    next: [u32; FRAMES_MAX],
    depth: usize,
}

/// Slots of one node, and the next one to visit.
#[derive(Clone, Copy)]
struct Frame<'a> {
    slots: &'a [Slot],
    next: usize,
}

/// The entries of a map, in no particular order.
pub struct Iter<'a, E> {
    frames: [Frame<'a>; FRAMES_MAX],
    /// Frames in use.
    depth: usize,
    entries: PhantomData<&'a E>,
}

// SAFETY: an `Iter` is a shared borrow of a map, which is Sync.
unsafe impl<E: Entry> Send for Iter<'_, E> {}
// SAFETY: as above; sharing an `Iter` gives nothing but copies of it.
unsafe impl<E: Entry> Sync for Iter<'_, E> {}

impl<'a, E: Entry> Iter<'a, E> {
    pub(super) fn new(map: &'a Map<E>) -> Self {
        let mut iter = Self { frames: [Frame { slots: &[], next: 0 }; FRAMES_MAX], depth: 0, entries: PhantomData };
        iter.push(std::slice::from_ref(&map.root));
        iter
    }

    pub(super) fn from(map: &'a Map<E>, cursor: &Cursor) -> Self {
        let mut iter = Self::new(map);
        if cursor.depth == 0 {
            // The walk had come to its end.
            iter.depth = 0;
        }
        for depth in 0..cursor.depth {
            if depth > 0 {
                let above = iter.frames[depth - 1];
                // The frame above has gone past the child that this one is in.
                let child = above.next.checked_sub(1).and_then(|index| above.slots.get(index));
                if !child.is_some_and(|&child| iter.enter(child)) {
                    break;
                }
            }
            let frame = &mut iter.frames[depth];
            frame.next = (cursor.next[depth] as usize).min(frame.slots.len());
        }
        iter
    }

    /// Where the walk stands, for [`Map::iter_from`].
    pub fn cursor(&self) -> Cursor {
        let mut next = [0; FRAMES_MAX];
        for (next, frame) in next.iter_mut().zip(&self.frames[..self.depth]) {
            *next = u32::try_from(frame.next).expect("a bucket counts its slots in 32 bits");
        }
        Cursor { next, depth: self.depth }
    }

    fn push(&mut self, slots: &'a [Slot]) {
        self.frames[self.depth] = Frame { slots, next: 0 };
        self.depth += 1;
    }

    /// Goes down into a branch or a bucket; false for anything else.
    fn enter(&mut self, slot: Slot) -> bool {
        match slot.child() {
            // SAFETY: reachable from the root of a map that is borrowed for 'a, so alive and constant as long.
            Child::Branch(branch) => self.push(unsafe { &branch.as_ref().slots }),
            // SAFETY: as above.
            Child::Bucket(bucket) => self.push(unsafe { bucket.slots() }),
            Child::Leaf(_) | Child::Empty => return false,
        }
        true
    }
}

impl<'a, E: Entry> Iterator for Iter<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        while self.depth > 0 {
            let frame = &mut self.frames[self.depth - 1];
            let Some(&slot) = frame.slots.get(frame.next) else {
                self.depth -= 1;
                continue;
            };
            frame.next += 1;
            if let Child::Leaf(_) = slot.child() {
                // SAFETY: a leaf of this map, hence of `E`; reachable from the root of a map that is borrowed for 'a,
                // so alive and constant as long.
                return Some(unsafe { &(*slot.as_leaf::<E>().as_ptr()).entry });
            }
            self.enter(slot);
        }
        None
    }
}
