//! Which versions live, and when a replaced node can be freed.
//!
//! The writer alone owns the heap. A node is *created* at version `c` and *retired* at version `r`, when an edit
//! replaces or removes it; so exactly the versions `c <= v < r` show it. Retired nodes wait in the bag of the newest live
//! version before `r`. When a version's last pin is gone, its bag is emptied: a node that the next older live version also
//! shows (`c <=` its number) moves to that version's bag, and any other is freed. (ZFS frees the blocks of deleted
//! snapshots in this way and calls the bags dead lists.)
//!
//! ```text
//!   versions      3 ............... 7 .... 8 .... 9     10 = current, being written
//!   pinned by     a snapshot        shards that lag
//!   bags         [c<=3<r<=7]       [c<=7,r=8] ..  [c<=9,r=10]
//!
//!   8 loses its last pin: of its bag, the nodes with c <= 7 move to 7, those with c = 8 are freed.
//! ```
//!
//! Invariants:
//! - a node in the bag of version `v` has `c <= v < r`, and no live version lies in `v < x < r`;
//! - a node waits in at most one bag, and nothing reachable from a root of the current version waits in any;
//! - so a snapshot that lives for long keeps the nodes of its own version and nothing of what came after.
//!
//! No locks: readers never write to the heap or the nodes. A reader's only traces are the pin's count, and its last one
//! is released when a reader drops its pin and acquired by the writer in [`Heap::reclaim`] (`Arc::get_mut`): whatever the
//! reader did with nodes happened before they are freed. What the writer did before a cut reaches a reader with the pin,
//! through whatever hands the pin over.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::{fmt, mem};

use super::node::Node;
use super::pool::Pool;

/// Emptied bags kept for the next versions, so that a cut for each write does not allocate.
const SPARE_BAGS_MAX: usize = 16;

/// The number of the first version that is cut.
const FIRST_VERSION: u64 = 1;

/// Keeps one version alive: whatever is reachable from its roots stays as it is until the last clone is dropped.
///
/// May outlive the [`Heap`].
#[derive(Clone)]
pub struct Pin(Arc<Pinned>);

impl Pin {
    /// The number of the version, which counts up with each cut.
    pub fn version(&self) -> u64 {
        self.0.version
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pin").field(&self.version()).finish()
    }
}

struct Pinned {
    version: u64,
    /// Held so that what the heap leaves behind is freed with the last pin.
    graveyard: Arc<Graveyard>,
}

/// Where a dropped heap leaves what pinned versions still show; freed when the last pin goes.
#[derive(Default)]
struct Graveyard {
    left: OnceLock<(Vec<Node>, Pool)>,
}

impl Drop for Graveyard {
    fn drop(&mut self) {
        let Some((left, mut pool)) = self.left.take() else {
            return;
        };
        for node in left {
            // SAFETY: every pin and the heap hold this graveyard, so all are gone: no version shows the node, and no
            // other bag holds it. Its heap's pool came here with it.
            unsafe { node.free(&mut pool) };
        }
    }
}

/// A cut version.
struct Version {
    number: u64,
    /// None once nobody but the heap held it; the version then remains until its bag is empty.
    pin: Option<Pin>,
    bag: Vec<Node>,
    /// A rewind went behind it: it may still be read, but no rewind can lead to it.
    abandoned: bool,
}

/// What the heap holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapStats {
    /// Versions that are pinned, as far as the last reclaim saw.
    pub live_versions: usize,
    /// Nodes that only older versions show.
    pub retired_nodes: usize,
    /// Bytes of those nodes, without what their entries point to and the allocator's own.
    pub retired_bytes: usize,
    /// All nodes, the retired ones included.
    pub nodes: usize,
    /// Bytes of all nodes.
    pub bytes: usize,
}

/// The single writer's side of all maps that are versioned together: the seed of their hash, the current version's
/// number, the live versions, and the retired nodes.
///
/// Dropping it leaks what is reachable from a current root: [`Map::clear`](super::Map::clear) the maps first. What pinned versions still show is freed with the last pin.
pub struct Heap {
    seed: u64,
    current: u64,
    /// Ascending by number.
    versions: VecDeque<Version>,
    spare_bags: Vec<Vec<Node>>,
    graveyard: Arc<Graveyard>,
    pool: Pool,
    stats: HeapStats,
}

impl Heap {
    /// A heap whose maps hash with `seed`, which clients should not be able to guess.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            current: FIRST_VERSION,
            versions: VecDeque::new(),
            spare_bags: Vec::new(),
            graveyard: Arc::default(),
            pool: Pool::new(),
            stats: HeapStats::default(),
        }
    }

    /// The seed to give to [`Map::get`](super::Map::get).
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Ends the current version. What is reachable from its roots stays unchanged until the pin is dropped everywhere;
    /// later edits copy what they touch.
    pub fn cut(&mut self) -> Pin {
        let pin = Pin(Arc::new(Pinned { version: self.current, graveyard: Arc::clone(&self.graveyard) }));
        let bag = self.spare_bags.pop().unwrap_or_default();
        self.versions.push_back(Version { number: self.current, pin: Some(pin.clone()), bag, abandoned: false });
        self.advance();
        pin
    }

    /// Frees all nodes that no live version needs.
    pub fn reclaim(&mut self) {
        self.reclaim_some(usize::MAX);
    }

    /// Frees nodes that no live version needs, looking at `nodes_max` retired nodes at most; true if none is left over.
    pub fn reclaim_some(&mut self, nodes_max: usize) -> bool {
        for version in &mut self.versions {
            if version.pin.as_mut().is_some_and(|pin| Arc::get_mut(&mut pin.0).is_some()) {
                version.pin = None;
            }
        }
        let mut budget = nodes_max;
        let mut older = None;
        let mut index = 0;
        while index < self.versions.len() {
            if self.versions[index].pin.is_some() {
                older = Some(index);
                index += 1;
                continue;
            }
            let mut bag = mem::take(&mut self.versions[index].bag);
            while budget > 0
                && let Some(node) = bag.pop()
            {
                budget -= 1;
                match older {
                    Some(older) if node.version() <= self.versions[older].number => {
                        self.versions[older].bag.push(node);
                    }
                    // SAFETY: by the invariant of bags no live version newer than this one shows the node, this one is
                    // dead, and the next older live one, if any, is older than the node; and it was in this bag only.
                    _ => unsafe { self.free_retired(node) },
                }
            }
            if !bag.is_empty() {
                self.versions[index].bag = bag;
                self.count_live();
                return false;
            }
            if self.spare_bags.len() < SPARE_BAGS_MAX {
                self.spare_bags.push(bag);
            }
            self.versions.remove(index);
        }
        self.count_live();
        true
    }

    /// Makes a pinned version the newest again: what was retired since is alive again. Each map must be led back too,
    /// with [`Map::rewind`](super::Map::rewind), before its next edit; that frees what was created since.
    ///
    /// Newer versions that are still pinned stay readable until they are dropped.
    ///
    /// # Panics
    /// If the version is not one that the current one descends from.
    pub fn rewind(&mut self, to: &Pin) {
        assert!(Arc::ptr_eq(&to.0.graveyard, &self.graveyard), "rewind to a version of another heap");
        let to = to.version();
        for version in self.versions.iter_mut().rev() {
            if version.number < to {
                break;
            }
            assert!(version.number != to || !version.abandoned, "rewind to version {to}, which a rewind left behind");
            // A node here was retired after `to`: had it been at `to` or before, its bag would be that of a version
            // before `to`. So it belongs to `to` again exactly if it had been created by then.
            let stats = &mut self.stats;
            version.bag.retain(|node| {
                let garbage = node.version() > to;
                if !garbage {
                    stats.retired_nodes -= 1;
                    stats.retired_bytes -= node.size();
                }
                garbage
            });
            version.abandoned |= version.number > to;
        }
    }

    /// Takes over another heap's nodes, for maps that were built beside this heap's and are its own from here on.
    ///
    /// # Panics
    /// If they hash differently, or one of them has ended a version: the other's would mean something else.
    pub(super) fn absorb(&mut self, mut other: Self) {
        assert!(self.seed == other.seed, "the other heap's maps hash with another seed");
        let is_uncut = |heap: &Self| heap.versions.is_empty() && heap.current == FIRST_VERSION;
        assert!(is_uncut(self) && is_uncut(&other), "a version was cut of one of the heaps");
        self.pool.absorb(mem::replace(&mut other.pool, Pool::new()));
        let HeapStats { nodes, bytes, .. } = mem::take(&mut other.stats);
        self.stats.nodes += nodes;
        self.stats.bytes += bytes;
    }

    /// What the heap holds.
    pub fn stats(&self) -> HeapStats {
        self.stats
    }

    /// The version being written: its nodes are the writer's own.
    #[inline(always)]
    pub(super) fn current(&self) -> u64 {
        self.current
    }

    /// Where nodes of the current version come from; [`Heap::count_new`] each.
    #[inline(always)]
    pub(super) fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    pub(super) fn count_new(&mut self, node: Node) {
        self.stats.nodes += 1;
        self.stats.bytes += node.size();
    }

    /// Takes a node that the current version no longer shows: frees it now if no live version shows it, else when the
    /// last one is dropped.
    ///
    /// # Safety
    /// The node is alive, no bag holds it, and no root of the current version reaches it any more.
    pub(super) unsafe fn retire(&mut self, node: Node) {
        let created = node.version();
        debug_assert!(created <= self.current, "a node of the future");
        let newest = self.versions.iter_mut().rev().find(|version| version.pin.is_some());
        match newest {
            Some(newest) if created <= newest.number => {
                self.stats.retired_nodes += 1;
                self.stats.retired_bytes += node.size();
                newest.bag.push(node);
            }
            // SAFETY: created after every live version, so none shows it, and the current one shows it no more.
            _ => unsafe { self.free(node) },
        }
    }

    /// # Safety
    /// Nobody uses the node now or later.
    unsafe fn free_retired(&mut self, node: Node) {
        self.stats.retired_nodes -= 1;
        self.stats.retired_bytes -= node.size();
        // SAFETY: by this function's contract.
        unsafe { self.free(node) };
    }

    /// # Safety
    /// Nobody uses the node now or later.
    unsafe fn free(&mut self, node: Node) {
        self.stats.nodes -= 1;
        self.stats.bytes -= node.size();
        // SAFETY: by this function's contract.
        unsafe { node.free(&mut self.pool) };
    }

    fn advance(&mut self) {
        // At a million cuts a second this lasts for half a million years.
        self.current += 1;
        self.count_live();
    }

    fn count_live(&mut self) {
        self.stats.live_versions = self.versions.iter().filter(|version| version.pin.is_some()).count();
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        self.reclaim();
        let left: Vec<Node> = self.versions.iter_mut().flat_map(|version| mem::take(&mut version.bag)).collect();
        let mut pool = mem::replace(&mut self.pool, Pool::new());
        if left.len() < self.stats.nodes {
            // A map was not cleared, and its handle may still be used.
            pool.leak();
        }
        assert!(self.graveyard.left.set((left, pool)).is_ok(), "a heap was dropped twice");
        // The heap's own pins and its hold on the graveyard go next; the last holder anywhere frees what is left.
    }
}
