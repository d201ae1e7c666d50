//! The versioned map: one writer, many immutable versions that share structure.
//!
//! A [`Map`] is a hash trie: branches of 16, and at their ends buckets of a few leaves (`node` has the layout).
//! An edit copies the nodes from the root to the place it changes, about five at a million entries, and leaves the old ones to the
//! versions that show them. A node bears the number of the version that made it; nodes of the current version are
//! the writer's own and are changed in place, so a batch of edits copies each node once.
//!
//! ```text
//!            version 7 (pinned)      current = 8
//!               root                  root'          new nodes: root', b', y'
//!              /    \                /     \         retired:   root, b, y   (wait in the bag of 7)
//!             a      b         (a)--'       b'
//!                   / \                    /  \
//!                  x   y             (x)--'    y'    x and a belong to both
//! ```
//!
//! There is no reference count in a node. Because there is one writer and versions are ordered, a node is visible in
//! one interval of versions, from its creation to its retirement, and [`Heap`] knows when no live version lies in it
//! any more: its page has the protocol and why it needs no locks.
//!
//! A map of many entries that are all known is not edited into being but built at once: see [`Leaves`].
//!
//! **What the tree must keep** (the compiler does not see it):
//! - A handle that another version reads (`Map::share`) is used only as long as a [`Pin`] of that version is held.
//! - After a root was shared for a version, [`Heap::cut`] comes before the next edit.
//! - All maps edited with a heap are edited with that heap only.
//! - Within a version a map has one owner: of an entry that was cloned with its nested maps, only one copy lives on.
//!   [`Map::get_mut`] does this; do not clone an entry with nested maps to insert it again.

mod bulk;
mod hash;
mod heap;
mod iter;
mod node;
mod pool;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::ptr::NonNull;

pub use bulk::{Leaves, Scratch};
pub use hash::{hash_bytes, hash_str};
pub use heap::{Heap, HeapStats, Pin};
pub use iter::{Cursor, Iter};
use node::{
    BUCKET_JOIN, BUCKET_SPLIT, Branch, Bucket, Child, DEPTH_MAX, FANOUT, Leaf, Node, Slot, digit, digit_of_rank, rank,
    tag,
};

/// What a map holds: a value that carries its key.
pub trait Entry: Clone + Send + Sync + 'static {
    /// What entries are found by.
    type Key: ?Sized;

    /// The entry's key, which never changes while the entry is in a map.
    fn key(&self) -> &Self::Key;

    /// The hash of a key; all 64 bits are used. See [`hash_str`].
    fn hash(key: &Self::Key, seed: u64) -> u64;

    /// Whether this entry's key is `key`.
    fn matches(&self, key: &Self::Key) -> bool;

    /// Shows all maps inside this entry to `visit`; an entry with maps that it does not show leaks them.
    fn nested(&self, visit: &mut Nested<'_>) {
        let _ = visit;
    }
}

/// One map of one version: a root and a count. Freed by [`Map::clear`], not when dropped.
pub struct Map<E> {
    root: Slot,
    len: usize,
    entries: PhantomData<E>,
}

const _: () = assert!(size_of::<Map<u8>>() == 16);

// SAFETY: a map gives shared access to entries, which are Send and Sync, and its nodes are constant while shared; whoever
// edits one has it exclusively, together with the heap.
unsafe impl<E: Entry> Send for Map<E> {}
// SAFETY: as above.
unsafe impl<E: Entry> Sync for Map<E> {}

impl<E> Default for Map<E> {
    fn default() -> Self {
        Self { root: Slot::EMPTY, len: 0, entries: PhantomData }
    }
}

impl<E> std::fmt::Debug for Map<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Map").field("len", &self.len).finish_non_exhaustive()
    }
}

/// The bucket that a leaf is in, and its index there; none if a branch or the root shows the leaf itself.
type InBucket = Option<(Bucket, usize)>;

/// Where a key is, or would be.
enum Place<E> {
    /// Its leaf belongs to the current version, hence also all nodes on the way to it: the writer's own.
    Own(NonNull<Leaf<E>>, InBucket),
    /// Its leaf may be shown by older versions.
    Shared(NonNull<Leaf<E>>, InBucket),
    Empty,
    /// Another key's leaf is where it would be.
    OtherLeaf(Slot),
    /// The bucket where it would be does not have it.
    OtherBucket(Bucket),
}

impl<E: Entry> Map<E> {
    /// An empty map. Allocates nothing.
    pub const fn new() -> Self {
        Self { root: Slot::EMPTY, len: 0, entries: PhantomData }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry of a key. `heap_seed` is the [`Heap::seed`] of this map's heap.
    #[inline]
    pub fn get(&self, heap_seed: u64, key: &E::Key) -> Option<&E> {
        let hash = E::hash(key, heap_seed);
        let mut slot = self.root;
        let mut digits = hash;
        loop {
            match slot.child() {
                Child::Branch(branch) => {
                    // SAFETY: reachable from this map's root, so alive and constant while the map is borrowed.
                    slot = unsafe { branch.as_ref() }.slots[digit(digits, 0)];
                    digits >>= FANOUT.trailing_zeros();
                }
                Child::Bucket(bucket) => {
                    // SAFETY: as above; a bucket in this map holds leaves of `E`.
                    let found = unsafe { find::<E>(bucket, tag(hash), key) };
                    // SAFETY: as above.
                    return found.map(|(_, leaf)| unsafe { &(*leaf.as_ptr()).entry });
                }
                Child::Leaf(leaf) => {
                    if slot.extra() != tag(hash) {
                        return None;
                    }
                    // SAFETY: as above; a leaf in this map is one of `E`.
                    let entry = unsafe { &(*leaf.cast::<Leaf<E>>().as_ptr()).entry };
                    return entry.matches(key).then_some(entry);
                }
                Child::Empty => return None,
            }
        }
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> Iter<'_, E> {
        Iter::new(self)
    }

    /// The entries behind a position that [`Iter::cursor`] gave for this very version of the map.
    pub fn iter_from(&self, cursor: &Cursor) -> Iter<'_, E> {
        Iter::from(self, cursor)
    }

    /// Another handle on the same root: for the version that is being cut, or for an entry that is being cloned.
    /// See the module's rules.
    pub(in crate::tree) fn share(&self) -> Self {
        Self { root: self.root, len: self.len, entries: PhantomData }
    }

    /// Adds an entry, or puts it in the place of the one with its key: then true.
    ///
    /// # Panics
    /// If it would replace an entry that has entries in nested maps, which one must edit with [`Map::get_mut`] instead.
    pub fn insert(&mut self, heap: &mut Heap, entry: E) -> bool {
        let hash = E::hash(entry.key(), heap.seed());
        let mut trail = Trail::new();
        match self.find(heap.current(), &mut trail, hash, entry.key()) {
            Place::Own(leaf, _) => {
                // SAFETY: the writer's own leaf, and this map is borrowed exclusively.
                let old = unsafe { &mut (*leaf.as_ptr()).entry };
                refuse_nested(old);
                *old = entry;
                return true;
            }
            Place::Shared(leaf, place) => {
                // SAFETY: in this map, so alive.
                refuse_nested(unsafe { &leaf.as_ref().entry });
                // SAFETY: in this map, where the new entry's leaf takes its only place.
                unsafe { self.replace(heap, trail, leaf, place, entry, hash) };
                return true;
            }
            Place::Empty => {
                let new = heap.new_leaf(entry, hash);
                self.put(heap, trail, new);
            }
            Place::OtherLeaf(other) => {
                let new = heap.new_leaf(entry, hash);
                let bucket = heap.new_bucket(&[other, new], 2);
                // SAFETY: just made.
                self.put(heap, trail, unsafe { Slot::bucket(bucket) });
            }
            Place::OtherBucket(bucket) => {
                let new = heap.new_leaf(entry, hash);
                // SAFETY: the trail leads to this bucket.
                unsafe { self.push_to_bucket(heap, trail, bucket, new, hash) };
            }
        }
        self.len += 1;
        false
    }

    /// Removes the entry of a key, with all that is in its nested maps; true if there was one.
    pub fn remove(&mut self, heap: &mut Heap, key: &E::Key) -> bool {
        let hash = E::hash(key, heap.seed());
        let mut trail = Trail::new();
        let (Place::Own(leaf, place) | Place::Shared(leaf, place)) = self.find(heap.current(), &mut trail, hash, key)
        else {
            return false;
        };
        // SAFETY: in this map, so alive and in no bag; its only place is emptied in the next step.
        unsafe { retire_leaf(heap, leaf, 0) };
        let less = match place {
            None => Slot::EMPTY,
            // SAFETY: in this map, where the result takes its only place in the next step.
            Some((bucket, index)) => unsafe { heap.without(bucket, index) },
        };
        self.put_less(heap, trail, less);
        self.len -= 1;
        true
    }

    /// The entry of a key, to change it in the current version: if an older version shows it, a clone takes its place
    /// first.
    ///
    /// The key must stay the same.
    pub fn get_mut(&mut self, heap: &mut Heap, key: &E::Key) -> Option<&mut E> {
        let hash = E::hash(key, heap.seed());
        let mut trail = Trail::new();
        let leaf = match self.find(heap.current(), &mut trail, hash, key) {
            Place::Own(leaf, _) => leaf,
            Place::Shared(leaf, place) => {
                // SAFETY: in this map, so alive.
                let clone = unsafe { leaf.as_ref() }.entry.clone();
                // SAFETY: in this map, where the clone's leaf takes its only place. The clone shares the nested maps, so
                // they are not retired.
                unsafe { self.replace(heap, trail, leaf, place, clone, hash) }
            }
            Place::Empty | Place::OtherLeaf(_) | Place::OtherBucket(_) => return None,
        };
        // SAFETY: the writer's own leaf, and this map stays borrowed exclusively with the result.
        Some(unsafe { &mut (*leaf.as_ptr()).entry })
    }

    /// Removes all entries, with all that is in their nested maps. Versions that show them keep them.
    pub fn clear(&mut self, heap: &mut Heap) {
        // SAFETY: the root is overwritten right after, and only it shows these nodes in this version.
        unsafe { retire_newer::<E>(heap, self.root, 0) };
        *self = Self::new();
    }

    /// Makes this map what it was in the version `to`, where its handle was `was`; goes with [`Heap::rewind`]. Costs as
    /// much as what was created since.
    pub fn rewind(&mut self, heap: &mut Heap, to: &Pin, was: &Self) {
        // SAFETY: what is newer than `to` is not reachable from `was`, which takes this root's place right after, and
        // only this root shows it in this version.
        unsafe { retire_newer::<E>(heap, self.root, to.version()) };
        *self = was.share();
    }

    /// Goes down to where `key` is or would be; leaves the branches on the way in `trail`.
    fn find(&self, current: u64, trail: &mut Trail, hash: u64, key: &E::Key) -> Place<E> {
        let mut slot = self.root;
        let (leaf, place) = loop {
            match slot.child() {
                Child::Branch(branch) => {
                    let index = digit(hash, trail.depth);
                    trail.push(branch, index);
                    // SAFETY: reachable from this map's root, so alive.
                    slot = unsafe { branch.as_ref() }.slots[index];
                }
                Child::Bucket(bucket) => {
                    // SAFETY: reachable from this map's root, so alive, with leaves of `E`.
                    match unsafe { find::<E>(bucket, tag(hash), key) } {
                        Some((index, leaf)) => break (leaf, Some((bucket, index))),
                        None => return Place::OtherBucket(bucket),
                    }
                }
                Child::Leaf(leaf) => {
                    let leaf = leaf.cast::<Leaf<E>>();
                    // SAFETY: reachable from this map's root, so alive, and a leaf of `E`.
                    if slot.extra() != tag(hash) || !unsafe { leaf.as_ref() }.entry.matches(key) {
                        return Place::OtherLeaf(slot);
                    }
                    break (leaf, None);
                }
                Child::Empty => return Place::Empty,
            }
        };
        // SAFETY: as above.
        let own = unsafe { leaf.as_ref() }.version == current;
        if own { Place::Own(leaf, place) } else { Place::Shared(leaf, place) }
    }

    /// Retires a leaf, without what is nested in it, and puts a new one in its place, which it returns.
    ///
    /// # Safety
    /// The leaf is shared, and in this map where the trail and `place` say.
    unsafe fn replace(
        &mut self,
        heap: &mut Heap,
        trail: Trail,
        leaf: NonNull<Leaf<E>>,
        place: InBucket,
        entry: E,
        hash: u64,
    ) -> NonNull<Leaf<E>> {
        let new = heap.new_leaf(entry, hash);
        // SAFETY: alive, as they are in this map, and retired as they lose their only place in it; a bucket is written
        // only if it is the writer's own.
        unsafe {
            heap.retire(Node::leaf(leaf));
            match place {
                None => self.put(heap, trail, new),
                Some((bucket, index)) if bucket.version() == heap.current() => bucket.set(index, new),
                Some((bucket, index)) => {
                    let copy = heap.new_bucket(bucket.slots(), bucket.len());
                    copy.set(index, new);
                    heap.retire(Node::bucket(bucket));
                    self.put(heap, trail, Slot::bucket(copy));
                }
            }
            new.as_leaf()
        }
    }

    /// Puts `new` where the trail ends: copies branches from there up to the first that is the writer's own.
    fn put(&mut self, heap: &mut Heap, mut trail: Trail, mut new: Slot) {
        while let Some((branch, index)) = trail.pop() {
            // SAFETY: on the way from this map's root, so alive; written only if of the current version, hence the
            // writer's own; else retired, as its only parent gets the copy in the next round.
            unsafe {
                if branch.as_ref().version == heap.current() {
                    (*branch.as_ptr()).slots[index] = new;
                    return;
                }
                let mut slots = branch.as_ref().slots;
                slots[index] = new;
                heap.retire(Node::branch(branch));
                new = heap.new_branch(&slots);
            }
        }
        self.root = new;
    }

    /// As [`Map::put`], after a removal: also joins branches that have become small into buckets.
    fn put_less(&mut self, heap: &mut Heap, mut trail: Trail, mut new: Slot) {
        while let Some((branch, index)) = trail.pop() {
            // SAFETY: as in `put`; a branch that is joined goes, and its leaves move to the bucket that replaces it.
            unsafe {
                let own = branch.as_ref().version == heap.current();
                let mut slots = branch.as_ref().slots;
                slots[index] = new;
                let weight: usize = slots.iter().map(|slot| slot.weight()).sum();
                if weight > BUCKET_JOIN {
                    if own {
                        (*branch.as_ptr()).slots[index] = new;
                        return;
                    }
                    new = heap.new_branch(&slots);
                } else {
                    new = heap.join(&slots, weight);
                }
                heap.retire(Node::branch(branch));
            }
        }
        self.root = new;
    }

    /// Adds a leaf of a new key to a bucket, or splits it.
    ///
    /// # Safety
    /// The trail leads to the bucket.
    unsafe fn push_to_bucket(&mut self, heap: &mut Heap, trail: Trail, bucket: Bucket, new: Slot, hash: u64) {
        // SAFETY: alive, as it is in this map; written only if the writer's own, else what takes its only place has
        // its leaves.
        unsafe {
            let len = bucket.len();
            let own = bucket.version() == heap.current();
            let put = if len >= BUCKET_SPLIT && trail.depth < DEPTH_MAX {
                let mut leaves: Vec<(u64, Slot)> = Vec::with_capacity(len + 1);
                for &slot in bucket.slots() {
                    leaves.push((rank(E::hash(slot.as_leaf::<E>().as_ref().entry.key(), heap.seed())), slot));
                }
                leaves.push((rank(hash), new));
                leaves.sort_unstable_by_key(|&(rank, _)| rank);
                heap.retire(Node::bucket(bucket));
                heap.build(&leaves, trail.depth)
            } else if own && !bucket.is_full() {
                bucket.push(new);
                Slot::bucket(bucket)
            } else {
                // A bucket of this version may well grow again in it, as when a snapshot is loaded.
                let cap = if own { len + 1 + len / 4 } else { len + 1 };
                let copy = heap.new_bucket(bucket.slots(), cap);
                copy.push(new);
                heap.retire(Node::bucket(bucket));
                Slot::bucket(copy)
            };
            self.put(heap, trail, put);
        }
    }
}

/// Making nodes, which belong to the current version.
impl Heap {
    fn new_leaf<E: Entry>(&mut self, entry: E, hash: u64) -> Slot {
        let version = self.current();
        let leaf = Leaf::allocate(self.pool(), version, entry);
        self.count_new(Node::leaf(leaf));
        Slot::leaf(leaf, tag(hash))
    }

    fn new_branch(&mut self, slots: &[Slot; FANOUT]) -> Slot {
        let version = self.current();
        let branch = Branch::allocate(self.pool(), version, slots);
        self.count_new(Node::branch(branch));
        Slot::branch(branch)
    }

    fn new_bucket(&mut self, slots: &[Slot], cap: usize) -> Bucket {
        debug_assert!(slots.len() <= cap);
        let version = self.current();
        let bucket = Bucket::allocate(self.pool(), version, cap);
        for &slot in slots {
            // SAFETY: just made with room for them.
            unsafe { bucket.push(slot) };
        }
        self.count_new(Node::bucket(bucket));
        bucket
    }

    /// What remains of a bucket of two or more without the leaf at `index`.
    ///
    /// # Safety
    /// The bucket is alive and in a map of the writer, where the result takes its place.
    unsafe fn without(&mut self, bucket: Bucket, index: usize) -> Slot {
        // SAFETY: alive, by this function's contract; written only if the writer's own.
        unsafe {
            let slots = bucket.slots();
            if slots.len() == 2 {
                let other = slots[1 - index];
                self.retire(Node::bucket(bucket));
                return other;
            }
            if bucket.version() == self.current() {
                bucket.swap_remove(index);
                return Slot::bucket(bucket);
            }
            let copy = self.new_bucket(&slots[..index], slots.len() - 1);
            for &slot in &slots[index + 1..] {
                copy.push(slot);
            }
            self.retire(Node::bucket(bucket));
            Slot::bucket(copy)
        }
    }

    /// One slot for leaves in the order of their ranks, which agree in all digits above `depth`.
    fn build(&mut self, leaves: &[(u64, Slot)], depth: usize) -> Slot {
        match leaves {
            [] => return Slot::EMPTY,
            [(_, leaf)] => return *leaf,
            _ => {}
        }
        if leaves.len() <= BUCKET_SPLIT || depth == DEPTH_MAX {
            let bucket = self.new_bucket(&[], leaves.len());
            // SAFETY: just made with room for them.
            unsafe {
                leaves.iter().for_each(|&(_, leaf)| bucket.push(leaf));
                return Slot::bucket(bucket);
            }
        }
        let mut slots = [Slot::EMPTY; FANOUT];
        let mut rest = leaves;
        for (digit, slot) in slots.iter_mut().enumerate() {
            let len = rest.partition_point(|&(rank, _)| digit_of_rank(rank, depth) <= digit);
            let (group, behind) = rest.split_at(len);
            *slot = self.build(group, depth + 1);
            rest = behind;
        }
        self.new_branch(&slots)
    }

    /// One slot for all leaves below the children of a branch that have `weight` leaves in all and no branch among them.
    ///
    /// # Safety
    /// The children are alive, and the result takes the place of their branch in a map of the writer.
    unsafe fn join(&mut self, children: &[Slot; FANOUT], weight: usize) -> Slot {
        let mut leaves = [Slot::EMPTY; BUCKET_JOIN];
        let mut count = 0;
        for &child in children {
            match child.child() {
                Child::Empty => {}
                Child::Leaf(_) => {
                    leaves[count] = child;
                    count += 1;
                }
                // SAFETY: alive, by this function's contract; its leaves move, so only the bucket itself is retired.
                Child::Bucket(bucket) => unsafe {
                    let slots = bucket.slots();
                    leaves[count..count + slots.len()].copy_from_slice(slots);
                    count += slots.len();
                    self.retire(Node::bucket(bucket));
                },
                Child::Branch(_) => unreachable!("a branch weighs too much to be joined"),
            }
        }
        assert!(count == weight, "a bucket's slot miscounts its leaves");
        match leaves[..count] {
            [] => Slot::EMPTY,
            [leaf] => leaf,
            // SAFETY: just made.
            _ => unsafe { Slot::bucket(self.new_bucket(&leaves[..count], count)) },
        }
    }
}

/// Shows the maps nested in an entry to the heap that frees or rewinds them.
pub struct Nested<'a>(Visit<'a>);

enum Visit<'a> {
    /// Retire what is newer than this version.
    Retire(&'a mut Heap, u64),
    Count(&'a mut usize),
}

impl Nested<'_> {
    /// One nested map.
    pub fn map<E: Entry>(&mut self, map: &Map<E>) {
        match &mut self.0 {
            // SAFETY: the map's owner is being retired, so no root of the current version will reach these nodes.
            Visit::Retire(heap, newer_than) => unsafe { retire_newer::<E>(heap, map.root, *newer_than) },
            Visit::Count(entries) => **entries += map.len(),
        }
    }
}

/// A replaced entry's nested maps cannot be told from those of a copy of it that replaces it: to free them could free
/// what is in use.
fn refuse_nested<E: Entry>(old: &E) {
    let mut entries = 0;
    old.nested(&mut Nested(Visit::Count(&mut entries)));
    assert!(entries == 0, "insert would replace an entry with nested maps: change it with get_mut");
}

/// Retires all nodes below `slot`, itself included, that were created after version `newer_than`, nested maps included.
///
/// # Safety
/// The nodes are alive, hold entries of `E`, wait in no bag, and no root of the current version reaches those that are
/// newer from here on.
unsafe fn retire_newer<E: Entry>(heap: &mut Heap, slot: Slot, newer_than: u64) {
    // SAFETY (all): children before their parent, which may be freed at once. A node that is not newer has no newer ones
    // below, because parents are never older than their children.
    match slot.child() {
        Child::Empty => {}
        Child::Leaf(leaf) => {
            let leaf = leaf.cast::<Leaf<E>>();
            // SAFETY: see above.
            unsafe {
                if leaf.as_ref().version > newer_than {
                    retire_leaf(heap, leaf, newer_than);
                }
            }
        }
        Child::Bucket(bucket) => {
            // SAFETY: see above.
            unsafe {
                if bucket.version() > newer_than {
                    bucket.slots().iter().for_each(|&slot| retire_newer::<E>(heap, slot, newer_than));
                    heap.retire(Node::bucket(bucket));
                }
            }
        }
        Child::Branch(branch) => {
            // SAFETY: see above.
            unsafe {
                if branch.as_ref().version > newer_than {
                    branch.as_ref().slots.iter().for_each(|&slot| retire_newer::<E>(heap, slot, newer_than));
                    heap.retire(Node::branch(branch));
                }
            }
        }
    }
}

/// Retires a leaf, and of its nested maps what is newer than `newer_than`.
///
/// # Safety
/// As for [`retire_newer`].
unsafe fn retire_leaf<E: Entry>(heap: &mut Heap, leaf: NonNull<Leaf<E>>, newer_than: u64) {
    // SAFETY: alive and not yet in a bag, by this function's contract.
    unsafe {
        leaf.as_ref().entry.nested(&mut Nested(Visit::Retire(heap, newer_than)));
        heap.retire(Node::leaf(leaf));
    }
}

/// Looks for a key in a bucket.
///
/// # Safety
/// The bucket is alive, constant while this runs, and holds leaves of `E`.
#[inline(always)]
unsafe fn find<E: Entry>(bucket: Bucket, tag: u16, key: &E::Key) -> Option<(usize, NonNull<Leaf<E>>)> {
    // SAFETY: by this function's contract.
    unsafe {
        for (index, slot) in bucket.slots().iter().enumerate() {
            if slot.extra() == tag {
                let leaf = slot.as_leaf::<E>();
                if leaf.as_ref().entry.matches(key) {
                    return Some((index, leaf));
                }
            }
        }
    }
    None
}

/// The branches from the root down to a place, each with the index taken.
struct Trail {
    steps: [(NonNull<Branch>, usize); DEPTH_MAX],
    depth: usize,
}

impl Trail {
    fn new() -> Self {
        Self { steps: [(NonNull::dangling(), 0); DEPTH_MAX], depth: 0 }
    }

    fn push(&mut self, branch: NonNull<Branch>, index: usize) {
        self.steps[self.depth] = (branch, index);
        self.depth += 1;
    }

    fn pop(&mut self) -> Option<(NonNull<Branch>, usize)> {
        self.depth = self.depth.checked_sub(1)?;
        Some(self.steps[self.depth])
    }
}
