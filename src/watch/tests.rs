//! Named after the rules of `WatchManager`, `DataTree.addWatch`, `containsWatcher` and `removeWatch`.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const A: Watcher = Watcher(1);
const B: Watcher = Watcher(7);

fn table() -> WatchTable {
    WatchTable::new(42)
}

fn heard(table: &mut WatchTable, event: EventType, path: &str) -> Vec<Watcher> {
    let tables = match event {
        EventType::NodeChildrenChanged => Tables::Child,
        EventType::NodeDeleted => Tables::DataThenChild,
        _ => Tables::Data,
    };
    let mut heard = Vec::new();
    table.fire(event, path, tables, |watcher| heard.push(watcher));
    heard.sort_unstable();
    heard
}

#[test]
fn one_shot_watches_are_spent() {
    let mut table = table();
    table.add("/a", WatchKind::Data, A);
    table.add("/a", WatchKind::Data, A);
    table.add("/a", WatchKind::Child, B);
    assert_eq!(table.len(), 2);
    assert_eq!(heard(&mut table, EventType::NodeDataChanged, "/b"), []);
    assert_eq!(heard(&mut table, EventType::NodeDataChanged, "/a"), [A]);
    assert_eq!(heard(&mut table, EventType::NodeDataChanged, "/a"), []);
    assert_eq!(heard(&mut table, EventType::NodeChildrenChanged, "/a"), [B]);
    assert_eq!(heard(&mut table, EventType::NodeChildrenChanged, "/a"), []);
    assert!(table.is_empty());
    assert!(table.paths.is_empty());
}

#[test]
fn a_deletion_is_heard_once_by_one_with_both_watches() {
    let mut table = table();
    table.add("/a", WatchKind::Data, A);
    table.add("/a", WatchKind::Child, A);
    table.add("/a", WatchKind::Child, B);
    assert_eq!(heard(&mut table, EventType::NodeDeleted, "/a"), [A, B]);
    assert!(table.is_empty(), "and both are spent");
}

#[test]
fn data_and_child_watches_do_not_mix() {
    let mut table = table();
    table.add("/a", WatchKind::Child, A);
    assert_eq!(heard(&mut table, EventType::NodeDataChanged, "/a"), []);
    assert_eq!(heard(&mut table, EventType::NodeCreated, "/a"), []);
    table.add("/a", WatchKind::Data, A);
    assert_eq!(heard(&mut table, EventType::NodeChildrenChanged, "/a"), [A]);
    assert_eq!(heard(&mut table, EventType::NodeCreated, "/a"), [A]);
}

#[test]
fn persistent_watches_stay_and_hear_once() {
    let mut table = table();
    table.add("/a", WatchKind::Persistent, A);
    table.add("/a", WatchKind::Data, A);
    assert_eq!(table.len(), 2, "one in each table; the one-shot shares the first");
    for _ in 0..2 {
        assert_eq!(heard(&mut table, EventType::NodeDataChanged, "/a"), [A]);
        assert_eq!(heard(&mut table, EventType::NodeChildrenChanged, "/a"), [A]);
        assert_eq!(heard(&mut table, EventType::NodeDeleted, "/a"), [A]);
        assert_eq!(heard(&mut table, EventType::NodeCreated, "/a"), [A]);
        assert_eq!(heard(&mut table, EventType::NodeDataChanged, "/a/b"), [], "not of what is below");
    }
    assert!(!table.contains("/a", WatcherType::Data, A), "the one-shot is spent");
    assert!(table.contains("/a", WatcherType::Persistent, A));
}

#[test]
fn recursive_watches_hear_from_below_but_not_of_children() {
    let mut table = table();
    table.add("/a", WatchKind::PersistentRecursive, A);
    table.add("/", WatchKind::PersistentRecursive, B);
    table.add("/a/b", WatchKind::Data, A);
    assert_eq!(heard(&mut table, EventType::NodeDataChanged, "/a/b"), [A, B], "A once, although by two watches");
    assert_eq!(heard(&mut table, EventType::NodeCreated, "/a/b/c/d"), [A, B]);
    assert_eq!(heard(&mut table, EventType::NodeDeleted, "/a"), [A, B]);
    assert_eq!(heard(&mut table, EventType::NodeDeleted, "/ab"), [B], "a name that begins alike is not below");
    assert_eq!(heard(&mut table, EventType::NodeChildrenChanged, "/a"), []);
    assert_eq!(heard(&mut table, EventType::NodeChildrenChanged, "/a/b"), []);
    assert_eq!(heard(&mut table, EventType::NodeDataChanged, "/"), [B]);
    assert!(table.remove("/", WatcherType::PersistentRecursive, B));
    assert_eq!(heard(&mut table, EventType::NodeDataChanged, "/x"), []);
}

#[test]
fn recursive_and_persistent_on_one_path_are_two_watches() {
    let mut table = table();
    table.add("/a", WatchKind::Persistent, A);
    table.add("/a", WatchKind::PersistentRecursive, A);
    assert_eq!(heard(&mut table, EventType::NodeDataChanged, "/a"), [A]);
    assert!(table.remove("/a", WatcherType::Persistent, A));
    assert_eq!(heard(&mut table, EventType::NodeChildrenChanged, "/a"), []);
    assert_eq!(heard(&mut table, EventType::NodeDataChanged, "/a/b"), [A], "the recursive one is still there");
}

#[test]
fn contains_watcher_by_type() {
    let mut table = table();
    table.add("/d", WatchKind::Data, A);
    table.add("/c", WatchKind::Child, A);
    table.add("/p", WatchKind::Persistent, A);
    table.add("/r", WatchKind::PersistentRecursive, A);
    let types = [
        WatcherType::Children,
        WatcherType::Data,
        WatcherType::Any,
        WatcherType::Persistent,
        WatcherType::PersistentRecursive,
    ];
    let found = |path: &str| types.map(|kind| table.contains(path, kind, A));
    assert_eq!(found("/d"), [false, true, true, false, false]);
    assert_eq!(found("/c"), [true, false, true, false, false]);
    assert_eq!(found("/p"), [false, false, true, true, false]);
    assert_eq!(found("/r"), [false, false, true, false, true]);
    assert_eq!(found("/x"), [false; 5]);
    assert!(types.iter().all(|kind| !table.contains("/d", *kind, B)));
}

#[test]
fn remove_watcher_by_type() {
    let mut table = table();
    for kind in [WatchKind::Data, WatchKind::Child, WatchKind::Persistent, WatchKind::PersistentRecursive] {
        table.add("/a", kind, A);
        table.add("/a", kind, B);
    }
    assert!(table.remove("/a", WatcherType::Data, A));
    assert!(!table.remove("/a", WatcherType::Data, A));
    assert!(table.contains("/a", WatcherType::Children, A));
    assert!(table.remove("/a", WatcherType::Any, A));
    assert!(!table.remove("/a", WatcherType::Any, A));
    assert!(!table.remove("/x", WatcherType::Any, A));
    assert!(!table.contains("/a", WatcherType::Any, A));
    assert!(table.contains("/a", WatcherType::Data, B), "B's are not A's");
    assert_eq!(table.len(), 2);
}

#[test]
fn numbers_of_the_wire() {
    assert_eq!((1..=5).map(WatcherType::from_wire).filter(Option::is_some).count(), 5);
    assert_eq!(WatcherType::from_wire(3), Some(WatcherType::Any));
    assert_eq!(WatcherType::from_wire(0), None);
    assert_eq!(WatcherType::from_wire(6), None);
    assert_eq!(WatchKind::from_add_watch_mode(0), Some(WatchKind::Persistent));
    assert_eq!(WatchKind::from_add_watch_mode(1), Some(WatchKind::PersistentRecursive));
    assert_eq!(WatchKind::from_add_watch_mode(2), None);
}

#[test]
fn watches_summary_and_dumps_show_data_watches() {
    let mut table = table();
    table.add("/a", WatchKind::Data, A);
    table.add("/a", WatchKind::Data, B);
    table.add("/b", WatchKind::Persistent, A);
    table.add("/c", WatchKind::Child, B);
    assert_eq!(table.summary(), WatchSummary { watchers: 2, paths: 2, watches: 3 });
    let mut by_path: Vec<_> = table.by_path().collect();
    by_path.sort();
    assert_eq!(by_path, [("/a", vec![A, B]), ("/b", vec![A])]);
    let mut by_watcher: Vec<_> = table.by_watcher().collect();
    by_watcher.iter_mut().for_each(|(_, paths)| paths.sort_unstable());
    assert_eq!(by_watcher, [(A, vec!["/a", "/b"]), (B, vec!["/a"])]);
}

#[test]
fn a_watcher_that_goes_takes_its_watches_along() {
    let mut table = table();
    for path in 0..1000 {
        table.add(&format!("/{path}"), WatchKind::Data, A);
        table.add(&format!("/{path}"), WatchKind::Child, B);
    }
    table.drop_watcher(A);
    assert_eq!(table.len(), 1000);
    assert_eq!(heard(&mut table, EventType::NodeDeleted, "/5"), [B]);
    table.drop_watcher(B);
    table.drop_watcher(B);
    assert!(table.is_empty() && table.left.is_empty() && table.paths.is_empty());
}

#[test]
fn a_watcher_goes_whose_list_names_a_slot_twice() {
    let mut table = table();
    table.add("/a", WatchKind::Data, A);
    table.add("/b", WatchKind::Data, A);
    assert_eq!(heard(&mut table, EventType::NodeDeleted, "/a"), [A]);
    // In the slot of /a, which A's list names still.
    table.add("/c", WatchKind::Data, A);
    table.drop_watcher(A);
    assert!(table.is_empty() && table.left.is_empty() && table.paths.is_empty());
}

#[test]
fn a_watcher_that_watches_again_and_again_needs_no_more_memory() {
    let mut table = table();
    table.add("/stays", WatchKind::Data, A);
    for _ in 0..10_000 {
        table.add("/a", WatchKind::Data, A);
        assert_eq!(heard(&mut table, EventType::NodeDataChanged, "/a"), [A]);
    }
    assert!(table.left[A.0 as usize].slots.as_slice().len() < 32);
    assert!(table.paths.len() == 1);
}

#[test]
fn ten_thousand_watchers_of_one_path_hear_in_linear_time() {
    let mut table = table();
    for watcher in (0..10_000).rev() {
        table.add("/a", WatchKind::Data, Watcher(watcher));
    }
    assert_eq!(heard(&mut table, EventType::NodeDeleted, "/a").len(), 10_000);
    assert!(table.is_empty());
}

/// The two tables of Apache, as plain as can be.
#[derive(Default)]
struct Model {
    data: BTreeMap<(String, Watcher), BTreeSet<u8>>,
    child: BTreeMap<(String, Watcher), BTreeSet<u8>>,
}

impl Model {
    fn trigger(table: &mut BTreeMap<(String, Watcher), BTreeSet<u8>>, path: &str, out: &mut BTreeSet<Watcher>) {
        for ((watched, watcher), modes) in table.iter_mut() {
            let below = watched == "/" || path.strip_prefix(watched.as_str()).is_some_and(|rest| rest.starts_with('/'));
            if watched == path {
                out.insert(*watcher);
                modes.remove(&0);
            } else if below && modes.contains(&2) {
                out.insert(*watcher);
            }
        }
        table.retain(|_, modes| !modes.is_empty());
    }
}

#[test]
fn the_table_agrees_with_two_plain_ones() {
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    let paths = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/a/x", "/z", "/z/1", "/z/2", "/z/2/3", "/q", "/q/w/e"];
    let mut table = table();
    let mut model = Model::default();
    let mut events = 0;
    for _ in 0..60_000 {
        let path = paths[usize::try_from(next(paths.len() as u64)).expect("small")];
        let watcher = Watcher(u32::try_from(next(12)).expect("small"));
        let key = (path.to_owned(), watcher);
        match next(20) {
            0..4 => {
                table.add(path, WatchKind::Data, watcher);
                model.data.entry(key).or_default().insert(0);
            }
            4..7 => {
                table.add(path, WatchKind::Child, watcher);
                model.child.entry(key).or_default().insert(0);
            }
            7 => {
                table.add(path, WatchKind::Persistent, watcher);
                model.data.entry(key.clone()).or_default().insert(1);
                model.child.entry(key).or_default().insert(1);
            }
            8 => {
                table.add(path, WatchKind::PersistentRecursive, watcher);
                model.data.entry(key).or_default().insert(2);
            }
            9 | 10 => {
                let number = i32::try_from(next(5)).expect("small") + 1;
                let kind = WatcherType::from_wire(number).expect("1 to 5");
                let (data, child): (&[u8], &[u8]) = match kind {
                    WatcherType::Children => (&[], &[0]),
                    WatcherType::Data => (&[0], &[]),
                    WatcherType::Any => (&[0, 1, 2], &[0, 1, 2]),
                    WatcherType::Persistent => (&[1], &[1]),
                    WatcherType::PersistentRecursive => (&[2], &[]),
                };
                let mut removed = false;
                for (side, modes) in [(&mut model.data, data), (&mut model.child, child)] {
                    if let Some(have) = side.get_mut(&key) {
                        modes.iter().for_each(|mode| removed |= have.remove(mode));
                        if have.is_empty() {
                            side.remove(&key);
                        }
                    }
                }
                assert_eq!(table.contains(path, kind, watcher), removed);
                assert_eq!(table.remove(path, kind, watcher), removed);
            }
            11 => {
                table.drop_watcher(watcher);
                model.data.retain(|(_, other), _| *other != watcher);
                model.child.retain(|(_, other), _| *other != watcher);
            }
            number => {
                let mut expected = BTreeSet::new();
                let event = match number {
                    12..14 => EventType::NodeCreated,
                    14..16 => EventType::NodeDataChanged,
                    16..18 => EventType::NodeChildrenChanged,
                    _ => EventType::NodeDeleted,
                };
                if event != EventType::NodeChildrenChanged {
                    Model::trigger(&mut model.data, path, &mut expected);
                }
                if matches!(event, EventType::NodeChildrenChanged | EventType::NodeDeleted) {
                    Model::trigger(&mut model.child, path, &mut expected);
                }
                events += expected.len();
                assert_eq!(
                    heard(&mut table, event, path),
                    expected.into_iter().collect::<Vec<_>>(),
                    "{event:?} {path}"
                );
            }
        }
        assert_eq!(table.len(), model.data.len() + model.child.len());
        let watched: BTreeSet<&str> =
            model.data.keys().chain(model.child.keys()).map(|(path, _)| path.as_str()).collect();
        assert_eq!(table.paths.len(), watched.len());
        assert_eq!(table.summary().watches, model.data.len());
    }
    assert!(events > 10_000, "the test must let watches fire: {events}");
}

#[test]
fn a_watch_is_small() {
    assert_eq!(size_of::<Left>(), 32, "what every connection costs, with the first four paths that it watches");
    let mut table = table();
    for watcher in 0..1000 {
        table.add("/one", WatchKind::Data, Watcher(watcher));
    }
    let slot = table.paths.find("/one").expect("watched");
    assert!(table.paths.watchers(slot).capacity() <= 1024, "four bytes each");
}

#[test]
fn a_watcher_may_go_after_all_watches_have_fired() {
    // Once: the table forgot all slots with its last watch, and the watcher that went named one of them.
    let mut table = WatchTable::new(7);
    for path in ["/a", "/b", "/c"] {
        table.add(path, WatchKind::Data, Watcher(3));
    }
    for path in ["/a", "/b", "/c"] {
        table.fire(EventType::NodeDeleted, path, Tables::DataThenChild, |_| {});
    }
    assert!(table.is_empty());
    table.drop_watcher(Watcher(3));
    table.add("/a", WatchKind::Data, Watcher(3));
    assert_eq!(table.by_watcher().count(), 1);
}
