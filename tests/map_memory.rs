//! The versioned map gives all memory back: every byte that the process holds is counted, once with the pins dropped before
//! the writer and once after it, on another thread. A test of its own, because its allocator counts everything.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::thread;

use zoo_server::tree::map::{Entry, Heap, Map, hash_str};

struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: hands everything to the system's allocator and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::SeqCst);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::SeqCst);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[derive(Clone)]
struct File {
    path: Arc<str>,
    data: Arc<[u8]>,
}

impl Entry for File {
    type Key = str;

    fn key(&self) -> &str {
        &self.path
    }

    fn hash(key: &str, seed: u64) -> u64 {
        hash_str(seed, key)
    }

    fn matches(&self, key: &str) -> bool {
        *self.path == *key
    }
}

const FILES: usize = 20_000;

fn edit_with_versions_alive(pins_go_first: bool) {
    let mut heap = Heap::new(3);
    let mut map = Map::<File>::new();
    let mut pins = VecDeque::new();
    for step in 0..3 * FILES {
        let path = format!("/file-{}", step * 7919 % FILES);
        if step % 5 == 4 {
            map.remove(&mut heap, &path);
        } else if let Some(file) = map.get_mut(&mut heap, &path) {
            file.data = vec![1; step % 300].into();
        } else {
            map.insert(&mut heap, File { path: path.as_str().into(), data: vec![0; 100].into() });
        }
        if step % 10 == 0 {
            pins.push_back(heap.cut());
            // One in a hundred stays, as a snapshot would.
            if pins.len() > 20 {
                let keep = pins.len() / 2;
                pins.remove(keep);
            }
            heap.reclaim();
        }
    }
    let held = HELD.load(Ordering::SeqCst);
    assert!(held > (map.len() * 100) as isize, "{held} bytes for {} files", map.len());
    map.clear(&mut heap);
    if pins_go_first {
        drop(pins);
        heap.reclaim();
        assert_eq!(heap.stats().bytes, 0);
    } else {
        drop(heap);
        thread::spawn(move || drop(pins)).join().expect("the last reader ends well");
    }
}

#[test]
fn all_memory_is_given_back() {
    // Once before, for what the test harness and the threads keep for themselves.
    edit_with_versions_alive(false);
    for pins_go_first in [true, false] {
        let before = HELD.load(Ordering::SeqCst);
        edit_with_versions_alive(pins_go_first);
        let after = HELD.load(Ordering::SeqCst);
        // The harness may write a line meanwhile.
        assert!((after - before).abs() < 4096, "{} bytes are left", after - before);
    }
}
