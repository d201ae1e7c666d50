//! The nodes of the map and the one-word slots that point to them.
//!
//! ```text
//!   slot    63        48 47                       2 1  0
//!          +------------+--------------------------+----+
//!          |   extra    |        address           |kind|     empty = all zero
//!          +------------+--------------------------+----+
//!             leaf: 16 bits of the key's hash (a lookup that misses does not touch the leaf)
//!             bucket: its length, at most 0xffff (a removal sees from the branch alone whether to join)
//!
//!   branch   version | slot x 16                    indexed by four bits of the hash a level
//!   bucket   version | len, cap | leaf slot x cap   up to BUCKET_SPLIT leaves in no order, found by their 16 bits
//!   leaf     version | entry
//! ```
//!
//! Every node begins with the version that created it. A node is written only by the writer and only while that version
//! is the current, uncut one; from the cut on it is constant until it is freed. A parent is never older than its child,
//! because to change a child is to rewrite its parents.
//!
//! Addresses of user space fit 47 bits on x86-64 and 48 on AArch64 unless a program asks mmap for more, which
//! allocators do not; [`Slot::new`] checks it for every node.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use super::Entry;
use super::pool::Pool;

/// Children of a branch: four bits of the hash a level.
pub(super) const FANOUT: usize = 16;
const FANOUT_BITS: u32 = FANOUT.trailing_zeros();
/// Levels of branches: 48 bits of the hash. The other 16 are the tag. Keys that agree in all 48 share one bucket, which
/// then grows beyond [`BUCKET_SPLIT`].
pub(super) const DEPTH_MAX: usize = (u64::BITS - TAG_BITS) as usize / FANOUT_BITS as usize;
/// A bucket that would grow beyond this many leaves becomes a branch.
pub(super) const BUCKET_SPLIT: usize = 32;
/// A branch that shrinks to this many leaves becomes a bucket. Half of [`BUCKET_SPLIT`], so that adding and removing
/// one key in turn does not split and join each time.
pub(super) const BUCKET_JOIN: usize = BUCKET_SPLIT / 2;

const TAG_BITS: u32 = 16;
const TAG_SHIFT: u32 = u64::BITS - TAG_BITS;
const KIND_MASK: usize = 0b11;
const ADDRESS_MASK: usize = (1 << TAG_SHIFT) - 1 - KIND_MASK;

const LEAF: usize = 1;
const BUCKET: usize = 2;
const BRANCH: usize = 3;

const _: () = assert!(usize::BITS == 64, "slots hold 16 bits beside the address");
const _: () = assert!(FANOUT.is_power_of_two() && DEPTH_MAX == 12);
const _: () = assert!(size_of::<Branch>() == 8 + 8 * FANOUT && size_of::<BucketHead>() == 16);
const _: () = assert!(align_of::<Branch>() > KIND_MASK && align_of::<BucketHead>() > KIND_MASK);

/// Which child of a branch at `depth` a hash goes to.
#[inline(always)]
pub(super) fn digit(hash: u64, depth: usize) -> usize {
    (hash >> (depth as u32 * FANOUT_BITS)) as usize % FANOUT
}

/// A hash with its digits in reverse order, the first as the most significant: who sorts by it has the order of the trie.
#[inline(always)]
pub(super) fn rank(hash: u64) -> u64 {
    const LOW: u64 = 0x0f0f_0f0f_0f0f_0f0f;
    const { assert!(FANOUT_BITS == 4) };
    let bytes = hash.swap_bytes();
    (bytes & LOW) << FANOUT_BITS | (bytes >> FANOUT_BITS) & LOW
}

/// [`digit`] of the hash whose rank it is.
#[inline(always)]
pub(super) fn digit_of_rank(rank: u64, depth: usize) -> usize {
    (rank >> (u64::BITS - FANOUT_BITS - depth as u32 * FANOUT_BITS)) as usize % FANOUT
}

/// The bits of a hash that no level uses.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u16 {
    (hash >> TAG_SHIFT) as u16
}

/// A typed view of a slot.
#[derive(Clone, Copy)]
pub(super) enum Child {
    Empty,
    Leaf(NonNull<u8>),
    Bucket(Bucket),
    Branch(NonNull<Branch>),
}

/// A pointer to a node with its kind and 16 bits more, or nothing.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Slot(*mut u8);

impl Slot {
    pub(super) const EMPTY: Self = Self(ptr::null_mut());

    fn new(node: *mut u8, kind: usize, extra: u16) -> Self {
        assert!(node.addr() & !ADDRESS_MASK == 0, "the allocator gave an address beyond 48 bits: {node:p}");
        Self(node.map_addr(|address| address | kind | (extra as usize) << TAG_SHIFT))
    }

    pub(super) fn leaf<E>(leaf: NonNull<Leaf<E>>, tag: u16) -> Self {
        Self::new(leaf.as_ptr().cast(), LEAF, tag)
    }

    /// # Safety
    /// The bucket is alive.
    pub(super) unsafe fn bucket(bucket: Bucket) -> Self {
        // SAFETY: alive, by this function's contract.
        let len = unsafe { bucket.len() };
        Self::new(bucket.0.as_ptr().cast(), BUCKET, u16::try_from(len).unwrap_or(u16::MAX))
    }

    pub(super) fn branch(branch: NonNull<Branch>) -> Self {
        Self::new(branch.as_ptr().cast(), BRANCH, 0)
    }

    #[inline(always)]
    pub(super) fn child(self) -> Child {
        let Some(node) = NonNull::new(self.0.map_addr(|address| address & ADDRESS_MASK)) else {
            return Child::Empty;
        };
        match self.0.addr() & KIND_MASK {
            LEAF => Child::Leaf(node),
            BUCKET => Child::Bucket(Bucket(node.cast())),
            _ => Child::Branch(node.cast()),
        }
    }

    /// The tag of a leaf, the length of a bucket.
    #[inline(always)]
    pub(super) fn extra(self) -> u16 {
        (self.0.addr() >> TAG_SHIFT) as u16
    }

    /// Leaves below, as far as the slot alone tells: branches count as too many to join.
    pub(super) fn weight(self) -> usize {
        match self.0.addr() & KIND_MASK {
            0 => 0,
            LEAF => 1,
            BUCKET => self.extra() as usize,
            _ => usize::from(u16::MAX),
        }
    }

    /// The leaf that this slot points to.
    ///
    /// # Safety
    /// The slot is that of a leaf of `E`.
    #[inline(always)]
    pub(super) unsafe fn as_leaf<E>(self) -> NonNull<Leaf<E>> {
        debug_assert!(self.0.addr() & KIND_MASK == LEAF);
        // SAFETY: a leaf's slot holds the address of a node, which is not null; masking leaves that address.
        unsafe { NonNull::new_unchecked(self.0.map_addr(|address| address & ADDRESS_MASK)) }.cast()
    }
}

/// An inner node with a child for each value of four bits.
#[repr(C)]
pub(super) struct Branch {
    pub(super) version: u64,
    pub(super) slots: [Slot; FANOUT],
}

impl Branch {
    pub(super) fn allocate(pool: &mut Pool, version: u64, slots: &[Slot; FANOUT]) -> NonNull<Self> {
        let node = pool.allocate(Layout::new::<Self>()).cast::<Self>();
        // SAFETY: fresh memory of this layout.
        unsafe { node.write(Self { version, slots: *slots }) };
        node
    }
}

#[repr(C)]
struct BucketHead {
    version: u64,
    len: u32,
    cap: u32,
}

/// A few leaves in no order; a pointer to the head, behind which the slots lie.
#[derive(Clone, Copy)]
pub(super) struct Bucket(NonNull<BucketHead>);

impl Bucket {
    /// A bucket with room for at least `cap` leaves. Few different sizes, so that what one bucket leaves another can use.
    pub(super) fn allocate(pool: &mut Pool, version: u64, cap: usize) -> Self {
        let cap = if cap <= 2 { 2 } else { cap.next_multiple_of(4) };
        let cap = u32::try_from(cap).expect("a bucket of more than four thousand million colliding keys");
        let node = pool.allocate(Self::layout(cap)).cast::<BucketHead>();
        // SAFETY: fresh memory of a layout that begins with the head.
        unsafe { node.write(BucketHead { version, len: 0, cap }) };
        Self(node)
    }

    fn layout(cap: u32) -> Layout {
        let (layout, offset) = Layout::array::<Slot>(cap as usize)
            .and_then(|slots| Layout::new::<BucketHead>().extend(slots))
            .expect("a bucket beyond the address space");
        debug_assert!(offset == size_of::<BucketHead>());
        layout
    }

    pub(super) fn node(self) -> NonNull<u8> {
        self.0.cast()
    }

    // All below: the bucket must be alive. Reads race with nothing, because a node is written by the writer only, and
    // only before its version is cut, while no one else has it.

    /// # Safety
    /// The bucket is alive.
    #[inline(always)]
    pub(super) unsafe fn version(self) -> u64 {
        // SAFETY: alive, by this function's contract; see the note above.
        unsafe { (*self.0.as_ptr()).version }
    }

    /// # Safety
    /// The bucket is alive.
    #[inline(always)]
    pub(super) unsafe fn len(self) -> usize {
        // SAFETY: alive, by this function's contract; see the note above.
        unsafe { (*self.0.as_ptr()).len as usize }
    }

    /// # Safety
    /// The bucket is alive.
    pub(super) unsafe fn is_full(self) -> bool {
        // SAFETY: alive, by this function's contract; see the note above.
        unsafe { (*self.0.as_ptr()).len == (*self.0.as_ptr()).cap }
    }

    #[inline(always)]
    fn first(self) -> *mut Slot {
        // SAFETY: the slots begin where the head ends (checked in `layout`), inside the same allocation.
        unsafe { self.0.as_ptr().add(1).cast() }
    }

    /// The leaves' slots.
    ///
    /// # Safety
    /// The bucket is alive, and is neither freed nor written as long as the result is used.
    #[inline(always)]
    pub(super) unsafe fn slots<'a>(self) -> &'a [Slot] {
        // SAFETY: `len` slots are initialised behind the head; alive and constant by this function's contract.
        unsafe { std::slice::from_raw_parts(self.first(), self.len()) }
    }

    /// # Safety
    /// The bucket is alive, the writer's own (of the current version), and not full.
    pub(super) unsafe fn push(self, slot: Slot) {
        // SAFETY: the writer's own, so no one reads it now; `len < cap`, so the slot lies inside the allocation.
        unsafe {
            let head = self.0.as_ptr();
            debug_assert!((*head).len < (*head).cap);
            self.first().add((*head).len as usize).write(slot);
            (*head).len += 1;
        }
    }

    /// # Safety
    /// The bucket is alive, the writer's own, and longer than `index`.
    pub(super) unsafe fn set(self, index: usize, slot: Slot) {
        // SAFETY: the writer's own, so no one reads it now; inside the allocation by this function's contract.
        unsafe {
            debug_assert!(index < self.len());
            self.first().add(index).write(slot);
        }
    }

    /// # Safety
    /// The bucket is alive, the writer's own, and longer than `index`.
    pub(super) unsafe fn swap_remove(self, index: usize) {
        // SAFETY: the writer's own, so no one reads it now; both slots exist, by this function's contract.
        unsafe {
            let last = self.len() - 1;
            debug_assert!(index <= last);
            self.first().add(index).write(self.first().add(last).read());
            (*self.0.as_ptr()).len = last as u32;
        }
    }
}

/// An entry and the version that made it.
#[repr(C)]
pub(super) struct Leaf<E> {
    pub(super) version: u64,
    pub(super) entry: E,
}

impl<E> Leaf<E> {
    pub(super) fn allocate(pool: &mut Pool, version: u64, entry: E) -> NonNull<Self> {
        const { assert!(align_of::<Self>() > KIND_MASK && align_of::<Self>() <= 16) };
        let node = pool.allocate(Layout::new::<Self>()).cast::<Self>();
        // SAFETY: fresh memory of this layout.
        unsafe { node.write(Self { version, entry }) };
        node
    }
}

/// What the heap must know of a node whose type it has forgotten.
pub(super) struct Kind {
    layout: unsafe fn(NonNull<u8>) -> Layout,
    /// Drops what the node owns besides its memory.
    drop: Option<unsafe fn(NonNull<u8>)>,
}

impl Kind {
    const BRANCH: &'static Self = &Self { layout: |_| Layout::new::<Branch>(), drop: None };

    const BUCKET: &'static Self = &Self {
        // SAFETY: by the contract of `Node`, called with a bucket that is alive. `cap` never changes.
        layout: |node| Bucket::layout(unsafe { node.cast::<BucketHead>().as_ref() }.cap),
        drop: None,
    };

    const fn leaf<E: Entry>() -> &'static Self {
        struct Of<E>(PhantomData<E>);
        impl<E: Entry> Of<E> {
            const KIND: &'static Kind = &Kind {
                layout: |_| Layout::new::<Leaf<E>>(),
                // SAFETY: by the contract of `Node`, called once, with a leaf of `E` whose entry nobody uses any more.
                drop: Some(|node| unsafe { ptr::drop_in_place(&raw mut (*node.cast::<Leaf<E>>().as_ptr()).entry) }),
            };
        }
        Of::<E>::KIND
    }
}

/// A node whose type is forgotten: what bags hold.
///
/// Invariant: the address is that of a node that is alive, of the kind that `kind` says.
#[derive(Clone, Copy)]
pub(super) struct Node {
    address: NonNull<u8>,
    kind: &'static Kind,
}

// SAFETY: a `Node` owns its node, as a Box would: branches and buckets are plain words, and leaves hold an `Entry`, which
// is Send.
unsafe impl Send for Node {}
// SAFETY: through a shared `Node` one can only read the version and the size, which are constant.
unsafe impl Sync for Node {}

impl Node {
    pub(super) fn branch(branch: NonNull<Branch>) -> Self {
        Self { address: branch.cast(), kind: Kind::BRANCH }
    }

    pub(super) fn bucket(bucket: Bucket) -> Self {
        Self { address: bucket.node(), kind: Kind::BUCKET }
    }

    pub(super) fn leaf<E: Entry>(leaf: NonNull<Leaf<E>>) -> Self {
        Self { address: leaf.cast(), kind: Kind::leaf::<E>() }
    }

    /// The version that created the node.
    pub(super) fn version(self) -> u64 {
        // SAFETY: alive by the type's invariant; every node begins with its version (repr(C)).
        unsafe { self.address.cast::<u64>().read() }
    }

    /// Bytes of the node itself, without what its entry points to.
    pub(super) fn size(self) -> usize {
        // SAFETY: alive and of this kind by the type's invariant.
        unsafe { (self.kind.layout)(self.address) }.size()
    }

    /// Frees the node (a leaf's entry is dropped), but nothing below it.
    ///
    /// # Safety
    /// Its memory came from `pool`, and nobody uses the node now or later: neither a reader nor another `Node`.
    pub(super) unsafe fn free(self, pool: &mut Pool) {
        // SAFETY: alive and of this kind by the type's invariant, and the last use by this function's contract; `layout`
        // is the one it was allocated with.
        unsafe {
            let layout = (self.kind.layout)(self.address);
            if let Some(drop) = self.kind.drop {
                drop(self.address);
            }
            pool.free(self.address, layout);
        }
    }
}
