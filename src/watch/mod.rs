//! Watches: who wants to hear of which path (Apache's two `WatchManager`s, for data and for children, as one table).
//!
//! A shard has one [`WatchTable`] for its connections. It is made to be small, because an installation may leave millions of
//! watches: a path is stored once, and a watch is four bytes at its path and about as many at its watcher. A path's watchers
//! are a sorted list of words, each a watcher with the modes of its watch in both of Apache's tables; the first four lie in
//! the path's slot.
//!
//! Invariants: a path has a slot if and only if somebody watches it; a watcher's own list names every slot that it watches, and
//! perhaps some that it does not any more (they are swept out when they would outweigh the others); the counters are those of
//! the words.

mod paths;
mod watchers;
mod words;

use self::paths::{PathSlot, Paths};
use self::words::Words;
use crate::wire::watch_event::EventType;

/// A connection, as a slot that the server gives it. Slots are reused, so a connection that goes has to be
/// [dropped](WatchTable::drop_watcher) first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Watcher(pub u32);

impl Watcher {
    /// The number of slots of one table: a watcher and its modes share a word, of which one is none.
    pub const MAX: u32 = (1 << (32 - MODE_BITS)) - 1;
}

/// What a client leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchKind {
    /// One-shot, on a znode's data or existence.
    Data,
    /// One-shot, on a znode's children.
    Child,
    /// On both, until removed.
    Persistent,
    /// On a znode and all below it, until removed.
    PersistentRecursive,
}

/// What a client asks about or removes (Apache's `Watcher.WatcherType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatcherType {
    /// One-shot child watches.
    Children,
    /// One-shot data and exist watches.
    Data,
    /// Every kind.
    Any,
    /// Persistent ones.
    Persistent,
    /// Persistent recursive ones.
    PersistentRecursive,
}

impl WatcherType {
    /// By its number on the wire.
    pub const fn from_wire(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Children,
            2 => Self::Data,
            3 => Self::Any,
            4 => Self::Persistent,
            5 => Self::PersistentRecursive,
            _ => return None,
        })
    }
}

impl WatchKind {
    /// The kind that `addWatch` names by its mode.
    pub const fn from_add_watch_mode(mode: i32) -> Option<Self> {
        match mode {
            0 => Some(Self::Persistent),
            1 => Some(Self::PersistentRecursive),
            _ => None,
        }
    }
}

/// Which of Apache's tables an event concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tables {
    /// Data watches: a znode was created or its data was set.
    Data,
    /// Child watches: a znode's children have changed.
    Child,
    /// Data watches and then child watches, each watcher once: a znode was deleted.
    DataThenChild,
}

/// The modes of a watch, as bits of a word: three of the data table, two of the child table.
type Modes = u32;

const MODE_BITS: u32 = 5;
const DATA_ONCE: Modes = 1;
const DATA_PERSISTENT: Modes = 1 << 1;
const DATA_RECURSIVE: Modes = 1 << 2;
const CHILD_ONCE: Modes = 1 << 3;
const CHILD_PERSISTENT: Modes = 1 << 4;
const IN_DATA: Modes = DATA_ONCE | DATA_PERSISTENT | DATA_RECURSIVE;
const IN_CHILD: Modes = CHILD_ONCE | CHILD_PERSISTENT;
const ALL: Modes = IN_DATA | IN_CHILD;

impl WatchKind {
    const fn modes(self) -> Modes {
        match self {
            Self::Data => DATA_ONCE,
            Self::Child => CHILD_ONCE,
            Self::Persistent => DATA_PERSISTENT | CHILD_PERSISTENT,
            // Not in the child table: a recursive watcher hears of every znode itself, so NodeChildrenChanged would say
            // nothing new.
            Self::PersistentRecursive => DATA_RECURSIVE,
        }
    }
}

impl WatcherType {
    const fn modes(self) -> Modes {
        match self {
            Self::Children => CHILD_ONCE,
            Self::Data => DATA_ONCE,
            Self::Any => ALL,
            Self::Persistent => DATA_PERSISTENT | CHILD_PERSISTENT,
            Self::PersistentRecursive => DATA_RECURSIVE,
        }
    }
}

/// Counts of the data watches, which is what `wchs` shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WatchSummary {
    /// Watchers that have left any.
    pub watchers: usize,
    /// Paths that are watched.
    pub paths: usize,
    /// Pairs of the two.
    pub watches: usize,
}

/// All watches of one shard.
#[derive(Clone, Debug)]
pub struct WatchTable {
    paths: Paths,
    /// By watcher: where it has left watches.
    left: Vec<Left>,
    data_watches: usize,
    child_watches: usize,
    recursive_watches: usize,
    /// Who hears of an event; empty between calls.
    hearing: Vec<u32>,
}

/// Where a watcher has left watches.
#[derive(Clone, Debug, Default)]
struct Left {
    /// Every slot that it watches, perhaps twice, and perhaps some others.
    slots: Words,
    /// How many it does watch.
    live: u32,
}

/// A list of a watcher's slots may be this much longer than twice what is live, before it is swept.
const STALE_SLACK: usize = 8;

impl WatchTable {
    /// No watches yet. `hash_seed` should differ from server to server: the paths come from clients.
    pub fn new(hash_seed: u64) -> Self {
        Self {
            paths: Paths::new(hash_seed),
            left: Vec::new(),
            data_watches: 0,
            child_watches: 0,
            recursive_watches: 0,
            hearing: Vec::new(),
        }
    }

    /// Leaves a watch; no matter if it is there already.
    ///
    /// # Panics
    /// If the watcher is [`Watcher::MAX`] or above: the server bounds its connections far below.
    pub fn add(&mut self, path: &str, kind: WatchKind, watcher: Watcher) {
        assert!(watcher.0 < Watcher::MAX, "watcher {} is beyond the {} slots of a table", watcher.0, Watcher::MAX);
        let slot = self.paths.get_or_insert(path);
        let before = self.paths.watchers_mut(slot).add(watcher, kind.modes());
        self.count(before, before | kind.modes());
        if before == 0 {
            let index = watcher.0 as usize;
            if self.left.len() <= index {
                self.left.resize_with(index + 1, Left::default);
            }
            let left = &mut self.left[index];
            left.live += 1;
            left.slots.push(slot.0);
            self.sweep_if_stale(watcher);
        }
    }

    /// Tells who hears of `event` at `path`: calls `hear` for each watcher once, and removes the one-shot watches among theirs.
    ///
    /// Recursive watches above the path are looked for only while there are any, and only for events of the data table, as in
    /// Apache. Whether the watcher may read the znode is the caller's to judge; the watch is spent all the same (`WatchManager`).
    pub fn fire(&mut self, event: EventType, path: &str, tables: Tables, mut hear: impl FnMut(Watcher)) {
        debug_assert!(
            matches!(
                (event, tables),
                (EventType::NodeCreated | EventType::NodeDataChanged, Tables::Data)
                    | (EventType::NodeChildrenChanged, Tables::Child)
                    | (EventType::NodeDeleted, Tables::DataThenChild)
            ),
            "{event:?} does not concern {tables:?}"
        );
        if self.paths.is_empty() {
            return;
        }
        let (concerned, spent) = match tables {
            Tables::Data => (IN_DATA, DATA_ONCE),
            Tables::Child => (IN_CHILD, CHILD_ONCE),
            Tables::DataThenChild => (ALL, DATA_ONCE | CHILD_ONCE),
        };
        let mut hearing = std::mem::take(&mut self.hearing);
        if let Some(slot) = self.paths.find(path) {
            for word in self.paths.watchers(slot).words() {
                if word & concerned != 0 {
                    hearing.push(word >> MODE_BITS);
                }
            }
            if !hearing.is_empty() {
                self.spend(slot, &hearing, spent);
            }
        }
        if self.recursive_watches > 0 && tables != Tables::Child {
            let own = hearing.len();
            let mut above = path;
            while let Some(parent) = parent(above) {
                above = parent;
                let Some(slot) = self.paths.find(above) else { continue };
                for word in self.paths.watchers(slot).words() {
                    if word & DATA_RECURSIVE != 0 {
                        hearing.push(word >> MODE_BITS);
                    }
                }
            }
            if hearing.len() > own {
                hearing.sort_unstable();
                hearing.dedup();
            }
        }
        hearing.drain(..).for_each(|watcher| hear(Watcher(watcher)));
        self.hearing = hearing;
    }

    /// Removes what `kind` names of a watcher's watches at `path`. False if there was none.
    pub fn remove(&mut self, path: &str, kind: WatcherType, watcher: Watcher) -> bool {
        let Some(slot) = self.paths.find(path) else { return false };
        let before = self.paths.watchers(slot).modes(watcher);
        let removed = before & kind.modes();
        if removed != 0 {
            self.remove_modes(slot, watcher, removed);
        }
        removed != 0
    }

    /// Whether a watcher has a watch at `path` that `kind` names.
    pub fn contains(&self, path: &str, kind: WatcherType, watcher: Watcher) -> bool {
        // Apache looks for persistent ones in the data table alone; they always stand in both.
        self.paths.find(path).is_some_and(|slot| self.paths.watchers(slot).modes(watcher) & kind.modes() != 0)
    }

    /// Forgets all watches of a connection that goes. Costs what it has left.
    pub fn drop_watcher(&mut self, watcher: Watcher) {
        let Some(left) = self.left.get_mut(watcher.0 as usize) else { return };
        for slot in std::mem::take(left).slots.as_slice().iter().copied().map(PathSlot) {
            let modes = self.paths.watchers(slot).modes(watcher);
            if modes != 0 {
                self.count(modes, 0);
                self.paths.watchers_mut(slot).remove(watcher, modes);
                self.paths.release_if_unwatched(slot);
            }
        }
        // Trailing slots that nobody uses are given back, so that one crowded hour does not cost memory for ever.
        while self.left.last().is_some_and(|left| left.live == 0) {
            self.left.pop();
        }
    }

    /// How many watches there are, as `mntr` counts them: those of both tables, so a persistent one twice.
    pub fn len(&self) -> usize {
        self.data_watches + self.child_watches
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The counts of `wchs`. Goes through all watches.
    pub fn summary(&self) -> WatchSummary {
        let mut summary = WatchSummary { watches: self.data_watches, ..WatchSummary::default() };
        let mut seen = vec![false; self.left.len()];
        for (_, watchers) in self.paths.iter() {
            let mut any = false;
            for word in watchers.words().filter(|word| word & IN_DATA != 0) {
                any = true;
                seen[(word >> MODE_BITS) as usize] = true;
            }
            summary.paths += usize::from(any);
        }
        summary.watchers = seen.into_iter().filter(|seen| *seen).count();
        summary
    }

    /// The data watches by path, as `wchp` shows them.
    pub fn by_path(&self) -> impl Iterator<Item = (&str, Vec<Watcher>)> {
        self.paths.iter().filter_map(|(path, watchers)| {
            let watchers: Vec<Watcher> =
                watchers.words().filter(|word| word & IN_DATA != 0).map(|word| Watcher(word >> MODE_BITS)).collect();
            (!watchers.is_empty()).then_some((path, watchers))
        })
    }

    /// The data watches by watcher, as `wchc` shows them.
    pub fn by_watcher(&self) -> impl Iterator<Item = (Watcher, Vec<&str>)> {
        self.left.iter().zip(0..).filter_map(|(left, index)| {
            let watcher = Watcher(index);
            let mut slots: Vec<PathSlot> = left
                .slots
                .as_slice()
                .iter()
                .copied()
                .map(PathSlot)
                .filter(|slot| self.paths.watchers(*slot).modes(watcher) & IN_DATA != 0)
                .collect();
            slots.sort_unstable();
            slots.dedup();
            (!slots.is_empty()).then(|| (watcher, slots.into_iter().map(|slot| self.paths.path(slot)).collect()))
        })
    }

    /// Takes the one-shot watches `spent` away from those at a path that hear.
    fn spend(&mut self, slot: PathSlot, hearing: &[u32], spent: Modes) {
        for watcher in hearing {
            let watcher = Watcher(*watcher);
            let before = self.paths.watchers(slot).modes(watcher);
            let modes = before & spent;
            if modes != 0 {
                self.count(before, before & !modes);
                // Words are changed in place here and swept once below: a path with many watchers costs no more than linear.
                if self.paths.watchers_mut(slot).clear(watcher, modes) == 0 {
                    self.no_longer_watching(watcher);
                }
            }
        }
        self.paths.watchers_mut(slot).sweep();
        self.paths.release_if_unwatched(slot);
    }

    fn remove_modes(&mut self, slot: PathSlot, watcher: Watcher, removed: Modes) {
        let before = self.paths.watchers(slot).modes(watcher);
        self.count(before, before & !removed);
        if self.paths.watchers_mut(slot).remove(watcher, removed) == 0 {
            self.no_longer_watching(watcher);
            self.paths.release_if_unwatched(slot);
        }
    }

    fn no_longer_watching(&mut self, watcher: Watcher) {
        let left = &mut self.left[watcher.0 as usize];
        left.live -= 1;
        if left.live == 0 {
            left.slots = Words::NONE;
        }
    }

    /// Keeps a watcher's list in proportion to what it watches, although spent watches stay on it.
    fn sweep_if_stale(&mut self, watcher: Watcher) {
        let left = &mut self.left[watcher.0 as usize];
        if left.slots.as_slice().len() > 2 * left.live as usize + STALE_SLACK {
            left.slots.as_mut_slice().sort_unstable();
            let mut last = None;
            left.slots.retain(|slot| {
                let is_new = last.replace(slot) != Some(slot);
                is_new && self.paths.watchers(PathSlot(slot)).modes(watcher) != 0
            });
            let kept = left.slots.as_slice().len();
            assert_eq!(kept, left.live as usize, "watcher {} lost a watch from its own list", watcher.0);
        }
    }

    /// Counts the change of one watch from some modes to others, as Apache counts: one for each table that it stands in.
    fn count(&mut self, before: Modes, after: Modes) {
        let step = |count: &mut usize, bits: Modes| {
            *count = *count + usize::from(after & bits != 0) - usize::from(before & bits != 0);
        };
        step(&mut self.data_watches, IN_DATA);
        step(&mut self.child_watches, IN_CHILD);
        step(&mut self.recursive_watches, DATA_RECURSIVE);
    }
}

/// The path above, up to the root.
fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() > 1 => Some("/"),
        0 => None,
        slash => Some(&path[..slash]),
    }
}

#[cfg(test)]
mod tests;
