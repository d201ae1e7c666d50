//! The map against a model: random edits, versions held and dropped at random, every held version checked in full
//! against what it was when it was cut, and after each reclaim the nodes alive counted against the nodes reachable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread;

use super::*;

mod bulk;

/// A small generator (xorshift64*), so that a failure is replayed by its seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 32) % n
    }
}

/// Counts the entries that exist, to see that each one made is dropped once.
struct Token(Arc<AtomicU64>);

impl Token {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Clone for Token {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How well the test's keys are hashed.
const GOOD: u8 = 0;
/// All 48 bits of the levels collide for many keys, and so do some tags: buckets that cannot be split.
const COLLIDING: u8 = 1;
/// Keys differ only in the last level: the deepest tries.
const DEEP: u8 = 2;

fn spoil<const HASH: u8>(hash: u64) -> u64 {
    match HASH {
        GOOD => hash,
        COLLIDING => ((hash % 3) << 60) | ((hash >> 8) % 2),
        _ => ((hash % 8) << 44) | (hash & (0xffff << 48)),
    }
}

/// As a child's name in its parent.
#[derive(Clone)]
struct Name<const HASH: u8> {
    name: u64,
    check: u64,
    _token: Token,
}

impl<const HASH: u8> Entry for Name<HASH> {
    type Key = u64;

    fn key(&self) -> &u64 {
        &self.name
    }

    fn hash(key: &u64, seed: u64) -> u64 {
        spoil::<HASH>(hash_bytes(seed, &key.to_be_bytes()))
    }

    fn matches(&self, key: &u64) -> bool {
        self.name == *key
    }
}

/// As a znode: a path, a value with its checksum, and the names of its children.
struct Item<const HASH: u8> {
    path: Arc<str>,
    value: u64,
    check: u64,
    names: Map<Name<HASH>>,
    token: Token,
}

impl<const HASH: u8> Clone for Item<HASH> {
    fn clone(&self) -> Self {
        Self {
            path: Arc::clone(&self.path),
            value: self.value,
            check: self.check,
            names: self.names.share(),
            token: self.token.clone(),
        }
    }
}

impl<const HASH: u8> Entry for Item<HASH> {
    type Key = str;

    fn key(&self) -> &str {
        &self.path
    }

    fn hash(key: &str, seed: u64) -> u64 {
        spoil::<HASH>(hash_str(seed, key))
    }

    fn matches(&self, key: &str) -> bool {
        *self.path == *key
    }

    fn nested(&self, visit: &mut Nested<'_>) {
        visit.map(&self.names);
    }
}

fn checksum(path: &str, value: u64) -> u64 {
    hash_bytes(value, path.as_bytes())
}

fn item<const HASH: u8>(count: &Arc<AtomicU64>, path: &str, value: u64) -> Item<HASH> {
    Item { path: path.into(), value, check: checksum(path, value), names: Map::new(), token: Token::new(count) }
}

fn name<const HASH: u8>(count: &Arc<AtomicU64>, name: u64) -> Name<HASH> {
    Name { name, check: !name, _token: Token::new(count) }
}

type Model = BTreeMap<String, (u64, BTreeSet<u64>)>;

/// Checks every rule of a trie's shape below a slot; adds its nodes, and gives the number of its leaves.
fn check_shape<E: Entry>(
    slot: Slot,
    hash_seed: u64,
    prefix: u64,
    depth: usize,
    parent: u64,
    nodes: &mut BTreeSet<usize>,
    each: &mut impl FnMut(&E, &mut BTreeSet<usize>),
) -> usize {
    let mask = (1u64 << (4 * depth)) - 1;
    let mut check_leaf = |slot: Slot, parent: u64, nodes: &mut BTreeSet<usize>| {
        // SAFETY: the tests hold a pin for every root that they walk.
        let leaf = unsafe { slot.as_leaf::<E>().as_ref() };
        nodes.insert(std::ptr::from_ref(leaf).addr());
        assert!(leaf.version <= parent, "a leaf newer than its parent");
        let hash = E::hash(leaf.entry.key(), hash_seed);
        assert_eq!(slot.extra(), tag(hash), "a leaf's tag");
        assert_eq!(hash & mask, prefix, "a leaf in the wrong place");
        each(&leaf.entry, nodes);
    };
    match slot.child() {
        Child::Empty => 0,
        Child::Leaf(_) => {
            check_leaf(slot, parent, nodes);
            1
        }
        Child::Bucket(bucket) => {
            nodes.insert(bucket.node().addr().get());
            // SAFETY: as above.
            let (slots, version) = unsafe { (bucket.slots(), bucket.version()) };
            assert!(version <= parent, "a bucket newer than its parent");
            assert!(slots.len() >= 2, "a bucket of {}", slots.len());
            assert!(slots.len() <= BUCKET_SPLIT || depth == DEPTH_MAX, "a bucket of {}", slots.len());
            assert_eq!(slot.weight(), slots.len(), "a bucket's weight");
            slots.iter().for_each(|&slot| check_leaf(slot, version, nodes));
            slots.len()
        }
        Child::Branch(branch) => {
            nodes.insert(branch.addr().get());
            // SAFETY: as above.
            let branch = unsafe { branch.as_ref() };
            assert!(branch.version <= parent, "a branch newer than its parent");
            let mut leaves = 0;
            for (index, &slot) in branch.slots.iter().enumerate() {
                let prefix = prefix | (index as u64) << (4 * depth);
                leaves += check_shape::<E>(slot, hash_seed, prefix, depth + 1, branch.version, nodes, each);
            }
            assert!(leaves > BUCKET_JOIN, "a branch of {leaves}");
            leaves
        }
    }
}

fn check_item<const HASH: u8>(item: &Item<HASH>, seed: u64, nodes: &mut BTreeSet<usize>) {
    assert_eq!(item.check, checksum(&item.path, item.value), "{} is damaged", item.path);
    let mut each = |name: &Name<HASH>, _: &mut BTreeSet<usize>| assert_eq!(name.check, !name.name, "a damaged name");
    let names = check_shape(item.names.root, seed, 0, 0, u64::MAX, nodes, &mut each);
    assert_eq!(names, item.names.len());
}

/// A map is its model, in every way one can look at it.
fn check_map<const HASH: u8>(map: &Map<Item<HASH>>, seed: u64, model: &Model, nodes: &mut BTreeSet<usize>) {
    assert_eq!(map.len(), model.len());
    assert_eq!(map.is_empty(), model.is_empty());
    let mut each = |item: &Item<HASH>, nodes: &mut BTreeSet<usize>| check_item(item, seed, nodes);
    assert_eq!(check_shape(map.root, seed, 0, 0, u64::MAX, nodes, &mut each), model.len());
    for (path, (value, names)) in model {
        let item = map.get(seed, path).unwrap_or_else(|| panic!("{path} is gone"));
        assert_eq!(item.value, *value, "{path}");
        let found: BTreeSet<u64> = item.names.iter().map(|name| name.name).collect();
        assert_eq!(found, *names, "{path}");
        assert!(names.iter().all(|name| item.names.get(seed, name).is_some()), "{path}");
    }
    let seen: BTreeSet<&str> = map.iter().map(|item| &*item.path).collect();
    assert_eq!(seen.len(), model.len(), "iteration shows an entry twice or not at all");
    assert!(map.get(seed, "/not/there").is_none());
}

struct Held<const HASH: u8> {
    map: Map<Item<HASH>>,
    pin: Pin,
    model: Model,
}

/// The writer, its model, and versions held.
struct World<const HASH: u8> {
    heap: Heap,
    map: Map<Item<HASH>>,
    model: Model,
    held: Vec<Held<HASH>>,
    count: Arc<AtomicU64>,
    random: Random,
    /// Versions that a rewind left behind and that are still held: then a node may be kept longer than needed.
    abandoned: Vec<Pin>,
}

impl<const HASH: u8> World<HASH> {
    fn new(seed: u64) -> Self {
        Self {
            heap: Heap::new(seed),
            map: Map::new(),
            model: Model::new(),
            held: Vec::new(),
            count: Arc::default(),
            random: Random::new(seed),
            abandoned: Vec::new(),
        }
    }

    fn edit(&mut self, keys: u64) {
        let path = format!("/node-{}", self.random.below(keys));
        let value = self.random.next();
        let some_name = self.random.below(80);
        match self.random.below(10) {
            0..3 => {
                // Insert refuses to replace an entry with nested maps.
                if self.model.get(&path).is_none_or(|(_, names)| names.is_empty()) {
                    let replaced = self.map.insert(&mut self.heap, item(&self.count, &path, value));
                    assert_eq!(self.model.insert(path, (value, BTreeSet::new())).is_some(), replaced);
                }
            }
            3..5 => {
                let removed = self.map.remove(&mut self.heap, &path);
                assert_eq!(self.model.remove(&path).is_some(), removed);
            }
            5 => {
                let entry = self.map.get_mut(&mut self.heap, &path);
                assert_eq!(entry.is_some(), self.model.contains_key(&path));
                if let Some(entry) = entry {
                    entry.value = value;
                    entry.check = checksum(&path, value);
                    self.model.get_mut(&path).unwrap().0 = value;
                }
            }
            6..9 => {
                if let Some(entry) = self.map.get_mut(&mut self.heap, &path) {
                    let replaced = entry.names.insert(&mut self.heap, name(&self.count, some_name));
                    assert_eq!(!self.model.get_mut(&path).unwrap().1.insert(some_name), replaced);
                }
            }
            _ => {
                if let Some(entry) = self.map.get_mut(&mut self.heap, &path) {
                    let removed = entry.names.remove(&mut self.heap, &some_name);
                    assert_eq!(self.model.get_mut(&path).unwrap().1.remove(&some_name), removed);
                }
            }
        }
    }

    fn cut(&mut self) {
        let pin = self.heap.cut();
        self.held.push(Held { map: self.map.share(), pin, model: self.model.clone() });
    }

    fn drop_one(&mut self) {
        if !self.held.is_empty() {
            let index = self.random.below(self.held.len() as u64) as usize;
            self.held.remove(index);
        }
    }

    fn rewind(&mut self, to: usize, keep_newer: bool) {
        let newer = self.held.split_off(to + 1);
        if keep_newer {
            // Held on, and never rewound to again.
            self.abandoned.extend(newer.into_iter().map(|held| held.pin));
        }
        let held = &self.held[to];
        self.heap.rewind(&held.pin);
        self.map.rewind(&mut self.heap, &held.pin, &held.map);
        self.model = held.model.clone();
    }

    /// Everything is as it should be, and nothing is kept that no one needs.
    fn check(&mut self) {
        self.heap.reclaim();
        let mut nodes = BTreeSet::new();
        check_map(&self.map, self.heap.seed(), &self.model, &mut nodes);
        let current = nodes.len();
        for held in &self.held {
            check_map(&held.map, self.heap.seed(), &held.model, &mut nodes);
        }
        let stats = self.heap.stats();
        assert_eq!(stats.live_versions, self.held.len() + self.abandoned.len());
        if self.abandoned.is_empty() {
            assert_eq!(stats.nodes, nodes.len(), "nodes alive, and nodes that live versions show");
            assert_eq!(stats.retired_nodes, nodes.len() - current);
        } else {
            assert!(stats.nodes >= nodes.len());
        }
    }

    /// Drops all; nothing may be left.
    fn end(mut self) {
        self.map.clear(&mut self.heap);
        self.held.clear();
        self.abandoned.clear();
        self.heap.reclaim();
        let empty = HeapStats::default();
        assert_eq!(self.heap.stats(), empty);
        assert_eq!(self.count.load(Ordering::Relaxed), 0, "entries that were never dropped");
    }
}

fn model_test<const HASH: u8>(seed: u64, rounds: usize, keys: u64) {
    let mut world = World::<HASH>::new(seed);
    for _ in 0..rounds {
        for _ in 0..world.random.below(40) {
            world.edit(keys);
        }
        if world.random.below(3) > 0 {
            world.cut();
        }
        while world.held.len() > 6 || world.random.below(3) == 0 && !world.held.is_empty() {
            world.drop_one();
        }
        match world.random.below(40) {
            0 => {
                world.map.clear(&mut world.heap);
                world.model.clear();
            }
            1..4 if !world.held.is_empty() => {
                let to = world.random.below(world.held.len() as u64) as usize;
                let keep_newer = world.random.below(2) == 0;
                world.rewind(to, keep_newer);
            }
            4..8 => world.abandoned.clear(),
            8..16 => {
                world.heap.reclaim_some(3);
            }
            16..26 => world.check(),
            _ => world.heap.reclaim(),
        }
    }
    world.check();
    world.end();
}

#[test]
fn model_small_maps() {
    for seed in 0..30 {
        println!("seed {seed}");
        model_test::<GOOD>(seed, 150, 24);
    }
}

#[test]
fn model_larger_maps() {
    for seed in 100..104 {
        println!("seed {seed}");
        model_test::<GOOD>(seed, 400, 700);
    }
}

#[test]
fn model_colliding_hashes() {
    for seed in 200..210 {
        println!("seed {seed}");
        model_test::<COLLIDING>(seed, 150, 150);
    }
}

#[test]
fn model_deep_tries() {
    for seed in 300..310 {
        println!("seed {seed}");
        model_test::<DEEP>(seed, 150, 200);
    }
}

#[test]
fn a_version_does_not_change_while_the_map_grows_and_shrinks() {
    let mut world = World::<GOOD>::new(1);
    let n = if cfg!(miri) { 200 } else { 20_000 };
    for i in 0..n {
        world.map.insert(&mut world.heap, item(&world.count, &format!("/{i}"), i));
        world.model.insert(format!("/{i}"), (i, BTreeSet::new()));
    }
    world.cut();
    for i in 0..n {
        assert!(world.map.remove(&mut world.heap, &format!("/{i}")));
        world.model.remove(&format!("/{i}"));
        if i % 100 == 0 {
            drop(world.heap.cut());
            world.heap.reclaim();
        }
        if i % (n / 8) == 1 || i + 40 > n {
            // Small maps again, in particular: branches that have become small are buckets.
            let mut each = |item: &Item<GOOD>, nodes: &mut BTreeSet<usize>| check_item(item, world.heap.seed(), nodes);
            let nodes = &mut BTreeSet::new();
            let left = check_shape(world.map.root, world.heap.seed(), 0, 0, u64::MAX, nodes, &mut each);
            assert_eq!(left as u64, n - i - 1);
        }
    }
    assert!(matches!(world.map.root.child(), Child::Empty), "an empty map has no nodes");
    world.check();
    world.end();
}

#[test]
fn edits_within_a_version_copy_each_node_once() {
    let mut world = World::<GOOD>::new(2);
    for i in 0..2_000u64 {
        world.map.insert(&mut world.heap, item(&world.count, &format!("/{i}"), i));
        world.model.insert(format!("/{i}"), (i, BTreeSet::new()));
    }
    world.cut();
    let set = |world: &mut World<GOOD>, value: u64| {
        let entry = world.map.get_mut(&mut world.heap, "/77").unwrap();
        (entry.value, entry.check) = (value, checksum("/77", value));
    };
    set(&mut world, 1);
    let once = world.heap.stats();
    assert!((3..8).contains(&once.retired_nodes), "one path is copied: {once:?}");
    set(&mut world, 2);
    assert_eq!(world.heap.stats(), once, "a second edit in the same version changes in place");
    world.model.get_mut("/77").unwrap().0 = 2;
    world.check();
    world.end();
}

/// The point of bags by version: one old snapshot keeps its own nodes, and none of those that came and went since.
#[test]
fn an_old_version_keeps_nothing_of_what_came_after() {
    let mut world = World::<GOOD>::new(3);
    for i in 0..500u64 {
        world.map.insert(&mut world.heap, item(&world.count, &format!("/{i}"), i));
        world.model.insert(format!("/{i}"), (i, BTreeSet::new()));
    }
    world.cut();
    let alone = world.heap.stats();
    for round in 0..20_000u64 {
        let path = format!("/{}", round % 500);
        let entry = world.map.get_mut(&mut world.heap, &path).unwrap();
        (entry.value, entry.check) = (round, checksum(&path, round));
        world.model.get_mut(&path).unwrap().0 = round;
        drop(world.heap.cut());
        world.heap.reclaim();
        let stats = world.heap.stats();
        assert!(stats.nodes <= 2 * alone.nodes, "{stats:?}");
        assert!(stats.retired_nodes <= alone.nodes, "{stats:?}");
    }
    world.check();
    world.end();
}

#[test]
fn a_walk_in_slices_is_the_whole_walk() {
    for n in [0u64, 1, 2, 20, 33, 34, 500, 5_000] {
        let mut world = World::<GOOD>::new(n);
        for i in 0..n {
            world.map.insert(&mut world.heap, item(&world.count, &format!("/{i}"), i));
        }
        let whole: Vec<u64> = world.map.iter().map(|item| item.value).collect();
        let mut slices = Vec::new();
        let mut cursor = world.map.iter().cursor();
        loop {
            let mut iter = world.map.iter_from(&cursor);
            let slice: Vec<u64> = iter.by_ref().take(7).map(|item| item.value).collect();
            cursor = iter.cursor();
            if slice.is_empty() {
                break;
            }
            slices.extend(slice);
            assert!(slices.len() <= whole.len(), "a walk without end");
        }
        assert_eq!(whole, slices);
        // A cursor of another map is useless but harmless.
        let other = Map::<Item<GOOD>>::new();
        assert_eq!(other.iter_from(&cursor).count(), 0);
        world.end();
    }
}

#[test]
fn colliding_walk_in_slices() {
    let mut world = World::<COLLIDING>::new(9);
    for i in 0..300u64 {
        world.map.insert(&mut world.heap, item(&world.count, &format!("/{i}"), i));
    }
    let mut cursor = world.map.iter().cursor();
    let mut seen = BTreeSet::new();
    for _ in 0..300 {
        let mut iter = world.map.iter_from(&cursor);
        seen.insert(iter.next().unwrap().value);
        cursor = iter.cursor();
    }
    assert_eq!(seen.len(), 300);
    world.end();
}

#[test]
fn reclaim_in_small_steps_gets_there() {
    let mut world = World::<GOOD>::new(4);
    for i in 0..1_000u64 {
        world.map.insert(&mut world.heap, item(&world.count, &format!("/{i}"), i));
    }
    let pin = world.heap.cut();
    world.map.clear(&mut world.heap);
    drop(pin);
    let retired = world.heap.stats().retired_nodes;
    assert!(retired > 1_000);
    let mut steps = 0;
    while !world.heap.reclaim_some(10) {
        steps += 1;
        assert!(world.heap.stats().retired_nodes == retired - 10 * steps);
    }
    assert_eq!(steps, (retired - 1) / 10);
    world.end();
}

#[test]
fn pins_outlive_the_writer() {
    for drop_on_other_thread in [false, true] {
        let mut world = World::<GOOD>::new(5);
        for i in 0..3_000 {
            world.edit(400);
            if i % 500 == 0 {
                world.cut();
            }
        }
        let World { mut heap, mut map, held, count, model, .. } = world;
        let seed = heap.seed();
        let last = Held { map: map.share(), pin: heap.cut(), model };
        map.clear(&mut heap);
        drop(heap);
        let readers = move || {
            let mut held = held;
            held.push(last);
            while !held.is_empty() {
                for held in &held {
                    check_map(&held.map, seed, &held.model, &mut BTreeSet::new());
                }
                held.remove(held.len() / 2);
            }
        };
        assert!(count.load(Ordering::Relaxed) > 0);
        if drop_on_other_thread {
            thread::spawn(readers).join().unwrap();
        } else {
            readers();
        }
        assert_eq!(count.load(Ordering::Relaxed), 0, "entries that were never dropped");
    }
}

#[test]
fn a_dropped_heap_frees_what_nobody_reads() {
    let mut world = World::<GOOD>::new(6);
    for _ in 0..500 {
        world.edit(50);
    }
    world.cut();
    for _ in 0..500 {
        world.edit(50);
    }
    let World { mut heap, mut map, held, count, .. } = world;
    map.clear(&mut heap);
    drop(held);
    drop(heap);
    assert_eq!(count.load(Ordering::Relaxed), 0, "entries that were never dropped");
}

#[test]
fn rewind_twice_with_newer_versions_still_read() {
    let mut world = World::<GOOD>::new(7);
    let edit = |world: &mut World<GOOD>| (0..200).for_each(|_| world.edit(100));
    for _ in 0..6 {
        edit(&mut world);
        world.cut();
    }
    edit(&mut world);
    // Versions 5 and 6 are still read by someone, and must stay what they are.
    let read: Vec<_> = world.held[4..]
        .iter()
        .map(|held| Held { map: held.map.share(), pin: held.pin.clone(), model: held.model.clone() })
        .collect();
    world.rewind(3, true);
    world.check();
    for _ in 0..2 {
        edit(&mut world);
        world.cut();
    }
    edit(&mut world);
    world.rewind(1, true);
    world.check();
    edit(&mut world);
    world.check();
    for held in &read {
        check_map(&held.map, world.heap.seed(), &held.model, &mut BTreeSet::new());
    }
    drop(read);
    world.abandoned.clear();
    world.check();
    world.end();
}

#[test]
#[should_panic(expected = "which a rewind left behind")]
fn rewind_to_an_abandoned_version_is_refused() {
    let mut heap = Heap::new(0);
    let first = heap.cut();
    let second = heap.cut();
    heap.rewind(&first);
    heap.rewind(&second);
}

#[test]
#[should_panic(expected = "of another heap")]
fn rewind_to_a_version_of_another_heap_is_refused() {
    let pin = Heap::new(0).cut();
    Heap::new(0).rewind(&pin);
}

#[test]
fn insert_refuses_to_replace_an_entry_with_nested_maps() {
    let mut world = World::<GOOD>::new(8);
    world.map.insert(&mut world.heap, item(&world.count, "/a", 1));
    let names = &mut world.map.get_mut(&mut world.heap, "/a").unwrap().names;
    names.insert(&mut world.heap, name(&world.count, 1));
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.map.insert(&mut world.heap, item(&world.count, "/a", 2))
    }));
    assert!(refused.is_err());
    assert_eq!(world.map.get(world.heap.seed(), "/a").unwrap().value, 1);
    world.end();
}

/// Readers on other threads check whole versions while the writer edits, cuts and frees.
#[test]
fn readers_on_other_threads() {
    const READERS: usize = 3;
    type Newest = (Map<Item<GOOD>>, Pin, u64);
    let versions = if cfg!(miri) || std::env::var_os("MAP_TEST_SHORT").is_some() { 60 } else { 3_000 };
    let count = Arc::new(AtomicU64::new(0));
    let mut heap = Heap::new(11);
    let seed = heap.seed();
    let mut map = Map::<Item<GOOD>>::new();
    let mut random = Random::new(11);
    // Only `try_lock`: the thread sanitizer sees what is compiled with the test, not the waiting inside std.
    fn take(newest: &Mutex<Newest>) -> MutexGuard<'_, Newest> {
        loop {
            if let Ok(guard) = newest.try_lock() {
                return guard;
            }
            thread::yield_now();
        }
    }
    let newest = Arc::new(Mutex::new((map.share(), heap.cut(), 0)));
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..READERS as u64)
        .map(|reader| {
            let (newest, done) = (Arc::clone(&newest), Arc::clone(&done));
            thread::spawn(move || {
                let mut random = Random::new(1_000 + reader);
                let mut walks = 0u64;
                while !done.load(Ordering::Relaxed) {
                    let (map, pin, sum) = {
                        let newest = take(&newest);
                        (newest.0.share(), newest.1.clone(), newest.2)
                    };
                    for _ in 0..200 {
                        if let Some(item) = map.get(seed, &format!("/node-{}", random.below(500))) {
                            assert_eq!(item.check, checksum(&item.path, item.value));
                        }
                    }
                    let mut seen = 0u64;
                    let mut entries = 0;
                    for item in map.iter() {
                        assert_eq!(item.check, checksum(&item.path, item.value));
                        assert_eq!(item.names.iter().filter(|name| name.check == !name.name).count(), item.names.len());
                        seen = seen.wrapping_add(item.check);
                        entries += 1;
                    }
                    assert_eq!(entries, map.len());
                    assert_eq!(seen, sum, "a version changed under its reader");
                    walks += 1;
                    // Now the writer may free what was read here; only the pin's count tells it so, until the next lock.
                    drop(pin);
                    thread::yield_now();
                }
                walks
            })
        })
        .collect();
    let mut sum = 0u64;
    for _ in 0..versions {
        for _ in 0..20 {
            heap.reclaim();
            let path = format!("/node-{}", random.below(500));
            let value = random.next();
            match random.below(4) {
                0 => {
                    if let Some(old) = map.get(seed, &path) {
                        sum = sum.wrapping_sub(old.check);
                        map.remove(&mut heap, &path);
                    }
                }
                1 => {
                    if let Some(entry) = map.get_mut(&mut heap, &path) {
                        entry.names.insert(&mut heap, name(&count, value % 100));
                    }
                }
                _ => {
                    let new = checksum(&path, value);
                    if let Some(entry) = map.get_mut(&mut heap, &path) {
                        sum = sum.wrapping_sub(entry.check).wrapping_add(new);
                        (entry.value, entry.check) = (value, new);
                    } else {
                        map.insert(&mut heap, item(&count, &path, value));
                        sum = sum.wrapping_add(new);
                    }
                }
            }
        }
        let version = (map.share(), heap.cut(), sum);
        *take(&newest) = version;
    }
    done.store(true, Ordering::Relaxed);
    let walks: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    assert!(walks >= READERS as u64);
    map.clear(&mut heap);
    drop(newest);
    heap.reclaim();
    assert_eq!(heap.stats(), HeapStats::default());
    assert_eq!(count.load(Ordering::Relaxed), 0, "entries that were never dropped");
}

/// As a shard gets them: versions through a channel, the writer ending first.
#[test]
fn versions_through_a_channel_after_the_writer_has_gone() {
    let (send, receive) = mpsc::sync_channel::<(Map<Item<GOOD>>, Pin)>(64);
    let count = Arc::new(AtomicU64::new(0));
    let writer_count = Arc::clone(&count);
    let writer = thread::spawn(move || {
        let mut heap = Heap::new(12);
        let mut map = Map::new();
        for i in 0..64u64 {
            for key in 0..20 {
                let path = format!("/{}", (i * 7 + key) % 60);
                map.insert(&mut heap, item(&writer_count, &path, i));
            }
            send.send((map.share(), heap.cut())).unwrap();
            heap.reclaim();
        }
        map.clear(&mut heap);
    });
    writer.join().unwrap();
    for (index, (map, _pin)) in receive.iter().enumerate() {
        let newest = map.iter().map(|item| item.value).max();
        assert_eq!(newest, Some(index as u64));
        assert!(map.iter().all(|item| item.check == checksum(&item.path, item.value)));
    }
    assert_eq!(count.load(Ordering::Relaxed), 0, "entries that were never dropped");
}
