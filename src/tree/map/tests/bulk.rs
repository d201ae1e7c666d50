//! Maps built at once against maps built one by one, and that what was built is edited, read and freed as any other.

use super::*;

/// Some items with some names each, in some order, and their model.
fn some_items(random: &mut Random, keys: u64) -> (Vec<String>, Model) {
    let mut model = Model::new();
    for _ in 0..keys {
        let names = match random.below(20) {
            0 => 100,
            1..8 => 3,
            _ => 0,
        };
        let names = (0..names).map(|_| random.below(500)).collect();
        model.insert(format!("/node-{}", random.below(2 * keys)), (random.next(), names));
    }
    let mut order: Vec<String> = model.keys().cloned().collect();
    shuffle(random, &mut order);
    (order, model)
}

fn shuffle<T>(random: &mut Random, items: &mut [T]) {
    for index in (1..items.len()).rev() {
        items.swap(index, random.below(index as u64 + 1) as usize);
    }
}

/// All of a model in so many pieces, as threads would make them.
fn build<const HASH: u8>(
    heap: &mut Heap,
    count: &Arc<AtomicU64>,
    order: &[String],
    model: &Model,
    pieces: usize,
) -> Map<Item<HASH>> {
    let seed = heap.seed();
    let (mut items, mut names) = (Leaves::new(seed), Leaves::new(seed));
    let mut places: BTreeMap<&str, Vec<std::ops::Range<usize>>> = BTreeMap::new();
    for piece in order.chunks(order.len().div_ceil(pieces).max(1)) {
        let (mut some_items, mut some_names) = (Leaves::new(seed), Leaves::new(seed));
        let before: usize = names.len();
        for path in piece {
            let (value, of_item) = &model[path];
            some_items.push(item::<HASH>(count, path, *value));
            // In two runs each, one behind the other.
            let from = before + some_names.len();
            of_item.iter().for_each(|&some| some_names.push(name::<HASH>(count, some)));
            let (middle, end) = (from + of_item.len() / 2, before + some_names.len());
            places.insert(path, vec![middle..end, from..middle]);
        }
        items.append(some_items);
        names.append(some_names);
    }
    assert_eq!(items.len(), model.len());
    let mut scratch = Scratch::default();
    let families: Vec<(&str, Map<Name<HASH>>)> =
        places.into_iter().map(|(path, places)| (path, names.take_map(places, &mut scratch))).collect();
    names.finish(heap);
    let mut map = items.into_map(heap).unwrap_or_else(|twice| panic!("{} is there once", twice.path));
    for (path, family) in families {
        map.get_mut(heap, path).expect("it is there").names = family;
    }
    map
}

/// What each bucket holds, and each leaf without one, in the order of the map.
fn buckets<E: Entry>(slot: Slot, key: &impl Fn(&E) -> String, all: &mut Vec<BTreeSet<String>>) {
    // SAFETY: the test's map is alive and not edited meanwhile.
    let entry = |slot: Slot| unsafe { &(*slot.as_leaf::<E>().as_ptr()).entry };
    let leaf_key = |slot: Slot| key(entry(slot));
    match slot.child() {
        Child::Empty => {}
        Child::Leaf(_) => all.push(BTreeSet::from([leaf_key(slot)])),
        // SAFETY: as above.
        Child::Bucket(bucket) => all.push(unsafe { bucket.slots() }.iter().map(|&slot| leaf_key(slot)).collect()),
        // SAFETY: as above.
        Child::Branch(branch) => unsafe { branch.as_ref() }.slots.iter().for_each(|&slot| buckets(slot, key, all)),
    }
}

fn bulk_test<const HASH: u8>(seed: u64, keys: u64) {
    let mut random = Random::new(seed);
    for pieces in [1, 2, 3] {
        let (mut order, model) = some_items(&mut random, keys);
        let mut world = World::<HASH>::new(seed);
        world.map = build(&mut world.heap, &world.count, &order, &model, pieces);
        world.model = model.clone();
        world.check();

        // The same trie as one by one, but for the order within buckets.
        let mut other = World::<HASH>::new(seed);
        for path in &order {
            let (value, names) = &model[path];
            assert!(!other.map.insert(&mut other.heap, item(&other.count, path, *value)));
            let entry = other.map.get_mut(&mut other.heap, path).expect("just put in");
            for &some in names {
                assert!(!entry.names.insert(&mut other.heap, name(&other.count, some)));
            }
        }
        assert_eq!(world.heap.stats().nodes, other.heap.stats().nodes);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        buckets(world.map.root, &|item: &Item<HASH>| item.path.to_string(), &mut ours);
        buckets(other.map.root, &|item: &Item<HASH>| item.path.to_string(), &mut theirs);
        assert_eq!(ours, theirs);
        other.end();

        // The very same whatever the order, where no two hashes are equal.
        if HASH == GOOD {
            let walk = |world: &World<HASH>| -> Vec<(String, Vec<u64>)> {
                let names = |item: &Item<HASH>| item.names.iter().map(|name| name.name).collect();
                world.map.iter().map(|item| (item.path.to_string(), names(item))).collect()
            };
            let mut again = World::<HASH>::new(seed);
            shuffle(&mut random, &mut order);
            again.map = build(&mut again.heap, &again.count, &order, &model, 4 - pieces);
            assert_eq!(walk(&world), walk(&again));
            again.model = model;
            again.end();
        }

        // It goes on as any other.
        for _ in 0..if cfg!(miri) { 5 } else { 20 } {
            for _ in 0..random.below(60) {
                world.edit(2 * keys + 1);
            }
            world.cut();
            if world.held.len() > 3 {
                world.drop_one();
            }
        }
        world.check();
        world.end();
    }
}

#[test]
fn built_at_once_is_as_built_one_by_one() {
    for (seed, keys) in [(1, 0), (2, 1), (3, 2), (4, 33)] {
        bulk_test::<GOOD>(seed, keys);
    }
    if !cfg!(miri) {
        bulk_test::<GOOD>(5, 400);
        bulk_test::<GOOD>(6, 20_000);
    }
}

#[test]
fn colliding_and_deep_maps_are_built_at_once_too() {
    for (seed, keys) in [(1, 2), (2, 40), (3, if cfg!(miri) { 80 } else { 300 })] {
        bulk_test::<COLLIDING>(seed, keys);
        bulk_test::<DEEP>(seed, keys);
    }
}

#[test]
fn a_key_that_is_there_twice_is_told_and_all_is_dropped() {
    fn twice<const HASH: u8>() {
        let count = Arc::new(AtomicU64::new(0));
        let mut heap = Heap::new(5);
        for at in [0, 1, 50, 99] {
            let mut leaves = Leaves::<Item<HASH>>::new(5);
            (0..100).for_each(|number| leaves.push(item(&count, &format!("/{number}"), number)));
            leaves.push(item(&count, &format!("/{at}"), 7));
            let twice = leaves.into_map(&mut heap).expect_err("one is there twice");
            assert_eq!(*twice.path, *format!("/{at}"));
        }
        assert_eq!(count.load(Ordering::Relaxed), 0, "entries that were never dropped");
        assert_eq!(heap.stats(), HeapStats::default());
    }
    twice::<GOOD>();
    twice::<COLLIDING>();
    twice::<DEEP>();
}

#[test]
fn entries_that_no_map_took_are_dropped() {
    let count = Arc::new(AtomicU64::new(0));
    let mut heap = Heap::new(5);
    let mut leaves = Leaves::<Name<GOOD>>::new(5);
    (0..100).for_each(|number| leaves.push(name(&count, number)));
    drop(leaves);
    assert_eq!(count.load(Ordering::Relaxed), 0);
    let mut leaves = Leaves::<Name<GOOD>>::new(5);
    (0..100).for_each(|number| leaves.push(name(&count, number)));
    let mut map = leaves.take_map([10..20, 60..90], &mut Scratch::default());
    leaves.finish(&mut heap);
    assert_eq!((map.len(), count.load(Ordering::Relaxed)), (40, 40));
    assert!(
        (0..100)
            .all(|number| map.get(5, &number).is_some() == ((10..20).contains(&number) || (60..90).contains(&number)))
    );
    map.clear(&mut heap);
    assert_eq!((count.load(Ordering::Relaxed), heap.stats()), (0, HeapStats::default()));
}

#[test]
#[should_panic(expected = "in two maps")]
fn an_entry_is_in_one_map_only() {
    let mut leaves = Leaves::<Name<GOOD>>::new(5);
    (0..10).for_each(|number| leaves.push(name(&Arc::default(), number)));
    let mut scratch = Scratch::default();
    leaves.take_map(std::iter::once(0..3), &mut scratch);
    leaves.take_map(std::iter::once(2..5), &mut scratch);
}

#[test]
#[should_panic(expected = "a version was cut")]
fn a_map_is_built_before_the_first_version_is_cut() {
    let mut heap = Heap::new(5);
    heap.cut();
    let _ = Leaves::<Name<GOOD>>::new(5).into_map(&mut heap);
}
