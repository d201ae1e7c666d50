//! Memory for nodes: free lists by size, fed from chunks.
//!
//! Each write allocates about six small nodes and frees six others, of sizes that differ from write to write. A general
//! allocator merges and splits its blocks at that, touching cold neighbours: a third of a write's time with glibc's. Here a
//! freed node is the next one of its size to be used, still warm. Nodes have no header of the allocator's, and lie
//! beside each other in chunks.
//!
//! Chunks go back to the system with the pool, not before: a tree that shrinks keeps its memory for when it grows.
//!
//! To let valgrind and the address sanitizer see each node, build with `--cfg zoo_map_unpooled`.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

/// Larger nodes come from the system's allocator (buckets of colliding keys, entries of some kilobytes).
const POOLED_MAX: usize = if cfg!(zoo_map_unpooled) { 0 } else { 512 };
/// Sizes go in steps of a word.
const STEP: usize = size_of::<usize>();
const CLASSES: usize = POOLED_MAX / STEP + 1;
/// Chunks grow with the pool between these, so that a small tree is small and a large one has few.
const CHUNK_LEN_MIN: usize = 16 << 10;
const CHUNK_LEN_MAX: usize = HUGE_PAGE_LEN;
/// Of x86-64, and of AArch64 with pages of 4 KiB.
const HUGE_PAGE_LEN: usize = 2 << 20;

const _: () = assert!(POOLED_MAX.is_multiple_of(STEP) && CHUNK_LEN_MIN > POOLED_MAX);

/// A free node, which holds the next free one of its size.
struct Free {
    next: *mut Self,
}

pub(super) struct Pool {
    free: [*mut Free; CLASSES],
    /// The rest of the newest chunk.
    rest: *mut u8,
    rest_len: usize,
    /// The rests of the newest chunks of pools that this one took over.
    other_rests: Vec<(NonNull<u8>, usize)>,
    chunks: Vec<(NonNull<u8>, Layout)>,
    chunks_len: usize,
}

// SAFETY: a pool owns its chunks and the free nodes in them, which are plain memory.
unsafe impl Send for Pool {}
// SAFETY: a shared pool can do nothing.
unsafe impl Sync for Pool {}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            free: [ptr::null_mut(); CLASSES],
            rest: ptr::null_mut(),
            rest_len: 0,
            other_rests: Vec::new(),
            chunks: Vec::new(),
            chunks_len: 0,
        }
    }

    /// The free list of a layout; none if the system's allocator serves it.
    #[inline(always)]
    fn class(layout: Layout) -> Option<usize> {
        (layout.size() <= POOLED_MAX && layout.align() <= STEP).then(|| layout.size().div_ceil(STEP))
    }

    /// Memory for a layout, which is not of size zero.
    #[inline]
    pub(super) fn allocate(&mut self, layout: Layout) -> NonNull<u8> {
        assert!(layout.size() >= STEP, "a node begins with its version");
        let Some(class) = Self::class(layout) else {
            return system(layout);
        };
        if let Some(node) = NonNull::new(self.free[class]) {
            // SAFETY: what is in a free list is a free node of this pool, written by `free`.
            self.free[class] = unsafe { node.as_ref().next };
            return node.cast();
        }
        let len = class * STEP;
        if self.rest_len < len {
            self.add_chunk();
        }
        let node = NonNull::new(self.rest).expect("a chunk was just added");
        // SAFETY: at least `len` bytes of the chunk are left.
        self.rest = unsafe { self.rest.add(len) };
        self.rest_len -= len;
        node
    }

    /// Takes memory back.
    ///
    /// # Safety
    /// It came from `allocate` of this pool with this layout, and nobody uses it any more.
    #[inline]
    pub(super) unsafe fn free(&mut self, node: NonNull<u8>, layout: Layout) {
        let Some(class) = Self::class(layout) else {
            // SAFETY: such a layout came from the system's allocator; unused, by this function's contract.
            unsafe { dealloc(node.as_ptr(), layout) };
            return;
        };
        if cfg!(debug_assertions) {
            // Whoever still looks at it shall see that it is gone.
            // SAFETY: `class * STEP` bytes were handed out, and nobody uses them.
            unsafe { node.write_bytes(0x55, class * STEP) };
        }
        let node = node.cast::<Free>();
        // SAFETY: ours, at least a word long, and aligned to words, as chunks and sizes are.
        unsafe { node.write(Free { next: self.free[class] }) };
        self.free[class] = node.as_ptr();
    }

    /// Begins a new chunk; what was left of the last one, less than a node, is given up.
    #[cold]
    fn add_chunk(&mut self) {
        if let Some((rest, len)) = self.other_rests.pop() {
            (self.rest, self.rest_len) = (rest.as_ptr(), len);
            return;
        }
        let len = self.chunks_len.clamp(CHUNK_LEN_MIN, CHUNK_LEN_MAX);
        let huge = len == HUGE_PAGE_LEN;
        let align = if huge { HUGE_PAGE_LEN } else { 64 };
        let layout = Layout::from_size_align(len, align).expect("a chunk's length and alignment are in range");
        let chunk = system(layout);
        if huge {
            // A lookup in a large tree goes to nodes far apart; with small pages the walks through the page tables cost
            // as much as the nodes (a third of a write, measured). Mere advice: a refusal changes nothing.
            // SAFETY: our own memory, from its first page to its last; the advice does not change what it holds.
            unsafe { libc::madvise(chunk.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
        }
        self.chunks.push((chunk, layout));
        self.chunks_len += len;
        (self.rest, self.rest_len) = (chunk.as_ptr(), len);
    }

    /// Takes over another pool's memory, with all nodes that are in it.
    pub(super) fn absorb(&mut self, mut other: Self) {
        for (own, theirs) in self.free.iter_mut().zip(&mut other.free) {
            while let Some(node) = NonNull::new(*theirs) {
                // SAFETY: what is in a free list is a free node of that pool, written by `free`, and in no other list.
                unsafe {
                    *theirs = node.as_ref().next;
                    (*node.as_ptr()).next = *own;
                }
                *own = node.as_ptr();
            }
        }
        // Those too short for every node would be met at a node that does not fit.
        let rests = [(NonNull::new(other.rest), other.rest_len)];
        let rests = rests.into_iter().filter_map(|(rest, len)| Some((rest?, len))).chain(other.other_rests.drain(..));
        self.other_rests.extend(rests.filter(|&(_, len)| len >= POOLED_MAX.max(STEP)));
        self.chunks.append(&mut other.chunks);
        self.chunks_len += other.chunks_len;
    }

    /// Gives the chunks up without freeing them, for nodes that stay in use for ever.
    pub(super) fn leak(&mut self) {
        *self = Self::new();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for &(chunk, layout) in &self.chunks {
            // SAFETY: from `system` with this layout. Whoever drops a pool has freed its nodes.
            unsafe { dealloc(chunk.as_ptr(), layout) };
        }
    }
}

fn system(layout: Layout) -> NonNull<u8> {
    // SAFETY: no layout here is of size zero (checked in `allocate`; chunks are not empty).
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_blocks_do_not_overlap() {
        let mut pool = Pool::new();
        let mut held: Vec<(NonNull<u8>, Layout, u8)> = Vec::new();
        for round in 0..20_000usize {
            let len = 8 + round * 7919 % 700;
            let layout = Layout::from_size_align(len, if round % 50 == 0 { 16 } else { 8 }).unwrap();
            let block = pool.allocate(layout);
            assert!(block.addr().get().is_multiple_of(layout.align()));
            let mark = round as u8;
            // SAFETY: a fresh block of this length.
            unsafe { block.write_bytes(mark, len) };
            held.push((block, layout, mark));
            if round % 3 != 0 || held.len() > 500 {
                let (block, layout, mark) = held.swap_remove(round * 31 % held.len());
                // SAFETY: held until now, and written in full.
                let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), layout.size()) };
                assert!(bytes.iter().all(|&byte| byte == mark), "another block was written over this one");
                // SAFETY: from this pool with this layout, and not used again.
                unsafe { pool.free(block, layout) };
            }
        }
        assert!(pool.chunks_len < 2 << 20, "memory is not used again: {}", pool.chunks_len);
        // In another pool's hands it is as well.
        let mut heir = Pool::new();
        let layout = Layout::from_size_align(64, 8).unwrap();
        held.push((heir.allocate(layout), layout, 0));
        heir.absorb(pool);
        let (mut pool, before) = (heir, held.len());
        for round in 0..1000usize {
            let block = pool.allocate(layout);
            // SAFETY: a fresh block of this length.
            unsafe { block.write_bytes(round as u8, 64) };
            held.push((block, layout, round as u8));
        }
        for &(block, layout, mark) in &held[before..] {
            // SAFETY: held until now, and written in full.
            let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), layout.size()) };
            assert!(bytes.iter().all(|&byte| byte == mark), "another block was written over this one");
        }
        for (block, layout, _) in held {
            // SAFETY: from this pool with this layout, and not used again.
            unsafe { pool.free(block, layout) };
        }
    }
}
