//! The versioned map beside a plain `HashMap<String, Box<_>>`: get, set, create and delete of one random znode, at 10
//! thousand and at 1 million of them. Each write to the versioned map ends a version, with the last four alive, which is
//! its worst case: a batch of writes costs less. The budget (design, decision 1): get at most 1.5 x the HashMap, a write
//! at most 1.5 us, at most 300 bytes a znode besides its path and data.
//!
//! And a walk over a whole version of a tree, as a snapshot does it: [`ImageSource`], records and all.
//!
//! First a table in which both take turns, so that a noisy machine harms both alike, and medians are compared; then the
//! same as criterion benchmarks. Times are CPU times of the thread. Arguments of `cargo bench --bench tree --`: `table` for the table alone; else criterion's.

mod parts;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{HashMap, VecDeque};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use zoo_server::storage::image::ImageSource;
use zoo_server::storage::snapshot::{SNAPSHOT_SLICE_LEN, SnapshotSource};
use zoo_server::tree::map::{Entry, Heap, Map, Pin, hash_str};

const SIZES: [usize; 2] = [10_000, 1_000_000];
const DATA_LEN: usize = 100;
const VERSIONS_ALIVE: usize = 4;
/// Keys made and removed again in one measurement of create and delete.
const FRESH: usize = 2_000;

/// Counts the bytes that the program holds, with the allocator's own (glibc: eight a block, in steps of 16).
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

fn cost(layout: Layout) -> usize {
    ((layout.size() + 8).next_multiple_of(16)).max(32)
}

// SAFETY: hands everything to the system's allocator and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(cost(layout), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(cost(layout), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What a znode takes: stat, the handle of its children's names, path and data.
#[derive(Clone)]
struct Znode {
    path: Arc<str>,
    data: Arc<[u8]>,
    stat: [u64; 10],
    _children: [u64; 2],
}

impl Znode {
    fn new(path: &str) -> Self {
        Self { path: path.into(), data: [7; DATA_LEN].as_slice().into(), stat: [1; 10], _children: [0; 2] }
    }
}

impl Entry for Znode {
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

trait Store {
    const NAME: &'static str;

    fn new() -> Self;
    fn get(&self, path: &str) -> u64;
    fn set(&mut self, path: &str, zxid: u64);
    fn create(&mut self, path: &str);
    fn delete(&mut self, path: &str);
}

struct Plain(HashMap<String, Box<Znode>>);

impl Store for Plain {
    const NAME: &'static str = "HashMap";

    fn new() -> Self {
        Self(HashMap::new())
    }

    fn get(&self, path: &str) -> u64 {
        let znode = &self.0[path];
        znode.stat[0] + znode.data.len() as u64
    }

    fn set(&mut self, path: &str, zxid: u64) {
        let znode = self.0.get_mut(path).expect("the path exists");
        znode.data = [9; DATA_LEN].as_slice().into();
        znode.stat[1] = zxid;
    }

    fn create(&mut self, path: &str) {
        self.0.insert(path.to_owned(), Box::new(Znode::new(path)));
    }

    fn delete(&mut self, path: &str) {
        self.0.remove(path).expect("the path exists");
    }
}

struct Versioned {
    map: Map<Znode>,
    heap: Heap,
    alive: VecDeque<Pin>,
}

impl Versioned {
    fn end_version(&mut self) {
        if self.alive.len() == VERSIONS_ALIVE {
            self.alive.pop_front();
        }
        self.alive.push_back(self.heap.cut());
        self.heap.reclaim();
    }
}

impl Store for Versioned {
    const NAME: &'static str = "versioned";

    fn new() -> Self {
        Self { map: Map::new(), heap: Heap::new(0x5eed), alive: VecDeque::new() }
    }

    fn get(&self, path: &str) -> u64 {
        let znode = self.map.get(self.heap.seed(), path).expect("the path exists");
        znode.stat[0] + znode.data.len() as u64
    }

    fn set(&mut self, path: &str, zxid: u64) {
        let znode = self.map.get_mut(&mut self.heap, path).expect("the path exists");
        znode.data = [9; DATA_LEN].as_slice().into();
        znode.stat[1] = zxid;
        self.end_version();
    }

    fn create(&mut self, path: &str) {
        assert!(!self.map.insert(&mut self.heap, Znode::new(path)));
        self.end_version();
    }

    fn delete(&mut self, path: &str) {
        assert!(self.map.remove(&mut self.heap, path));
        self.end_version();
    }
}

impl Drop for Versioned {
    fn drop(&mut self) {
        self.map.clear(&mut self.heap);
    }
}

fn path(n: usize) -> String {
    format!("/services/app-{:03}/node-{n:010}", n % 1000)
}

/// Paths in random order, which lie in memory in that order: as requests, they come hot from a socket.
fn shuffled(range: std::ops::Range<usize>, seed: u64) -> Vec<Box<str>> {
    let mut order: Vec<usize> = range.collect();
    let mut random = seed | 1;
    for index in (1..order.len()).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        order.swap(index, random as usize % (index + 1));
    }
    order.into_iter().map(|n| path(n).into_boxed_str()).collect()
}

/// Time that this thread has run: what others take of the machine meanwhile does not count.
fn now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec to where the pointer says.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "no clock of the thread's time");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A store of some size, and what to ask of it.
struct Bench<S> {
    store: S,
    /// Beyond path and data, each.
    bytes: usize,
    keys: Vec<Box<str>>,
    fresh: Vec<Box<str>>,
    next: usize,
}

impl<S: Store> Bench<S> {
    fn new(n: usize) -> Self {
        let keys = shuffled(0..n, 1);
        let fresh = shuffled(n..n + FRESH, 2);
        let before = HELD.load(Ordering::Relaxed);
        let mut store = S::new();
        for key in &keys {
            store.create(key);
        }
        let bytes = (HELD.load(Ordering::Relaxed) - before) / n - path(0).len() - DATA_LEN;
        // Another order than that in which they were created.
        Self { store, bytes, keys: shuffled(0..n, 3), fresh, next: 0 }
    }

    fn time(&mut self, times: usize, mut op: impl FnMut(&mut S, &str)) -> Duration {
        let start = now();
        for _ in 0..times {
            op(&mut self.store, &self.keys[self.next]);
            self.next = if self.next + 1 == self.keys.len() { 0 } else { self.next + 1 };
        }
        now() - start
    }

    fn gets(&mut self, times: usize) -> Duration {
        self.time(times, |store, key| {
            black_box(store.get(key));
        })
    }

    fn sets(&mut self, times: usize) -> Duration {
        self.time(times, |store, key| store.set(key, 7))
    }

    /// Time for creating `times` znodes and for deleting them again.
    fn creates_and_deletes(&mut self, times: usize) -> [Duration; 2] {
        let mut total = [Duration::ZERO; 2];
        let mut left = times;
        while left > 0 {
            let some = left.min(FRESH);
            let start = now();
            self.fresh[..some].iter().for_each(|key| self.store.create(key));
            let middle = now();
            self.fresh[..some].iter().for_each(|key| self.store.delete(key));
            total[0] += middle - start;
            total[1] += now() - middle;
            left -= some;
        }
        total
    }

    /// Nanoseconds for one get, set, create, delete.
    fn round(&mut self, times: usize) -> [f64; 4] {
        let (get, set) = (self.gets(times), self.sets(times));
        let [create, delete] = self.creates_and_deletes(times);
        [get, set, create, delete].map(|time| time.as_secs_f64() * 1e9 / times as f64)
    }
}

fn table(rounds: usize, times: usize) {
    println!(
        "{:>8} {:>7} {:>12} {:>12} {:>7}   (medians of {rounds} turns)",
        "znodes", "", "HashMap", "versioned", "ratio"
    );
    for n in SIZES {
        let (mut plain, mut versioned) = (Bench::<Plain>::new(n), Bench::<Versioned>::new(n));
        let mut samples: [[Vec<f64>; 4]; 2] = Default::default();
        for _ in 0..rounds {
            for (op, time) in plain.round(times).into_iter().enumerate() {
                samples[0][op].push(time);
            }
            for (op, time) in versioned.round(times).into_iter().enumerate() {
                samples[1][op].push(time);
            }
        }
        let medians = samples.map(|ops| {
            ops.map(|mut times| {
                times.sort_by(f64::total_cmp);
                times[times.len() / 2]
            })
        });
        for (op, name) in ["get", "set", "create", "delete"].into_iter().enumerate() {
            let [plain, versioned] = [medians[0][op], medians[1][op]];
            println!("{n:>8} {name:>7} {plain:>9.0} ns {versioned:>9.0} ns {:>7.2}", versioned / plain);
        }
        println!(
            "{n:>8} {:>7} {:>10} B {:>10} B           beside path and data, each",
            "memory", plain.bytes, versioned.bytes
        );
    }
}

fn criterion_of<S: Store>(criterion: &mut Criterion, n: usize) {
    let mut bench = None;
    let mut group = criterion.benchmark_group(S::NAME);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
    type Op<S> = fn(&mut Bench<S>, usize) -> Duration;
    let ops: [(&str, Op<S>); 4] = [
        ("get", |bench, times| bench.gets(times)),
        ("set", |bench, times| bench.sets(times)),
        ("create", |bench, times| bench.creates_and_deletes(times)[0]),
        ("delete", |bench, times| bench.creates_and_deletes(times)[1]),
    ];
    for (name, op) in ops {
        group.bench_with_input(BenchmarkId::new(name, n), &n, |b, &n| {
            let bench = bench.get_or_insert_with(|| Bench::<S>::new(n));
            b.iter_custom(|times| op(bench, times as usize));
        });
    }
    group.finish();
}

/// A snapshot's records, slice by slice, without the disk.
fn snapshot_walk(criterion: &mut Criterion, n: usize) {
    let mut group = criterion.benchmark_group("tree");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(10);
    group.throughput(Throughput::Elements(n as u64));
    let mut tree = None;
    group.bench_with_input(BenchmarkId::new("snapshot walk", n), &n, |b, &n| {
        let (tree, _) = tree.get_or_insert_with(|| parts::tree_of(n));
        let mut slice = Vec::with_capacity(SNAPSHOT_SLICE_LEN * 2);
        b.iter(|| {
            let mut source = ImageSource::new(tree.cut(), Vec::new());
            let mut records = 0;
            loop {
                slice.clear();
                match source.fill(&mut slice, SNAPSHOT_SLICE_LEN) {
                    0 => break,
                    count => records += count as usize,
                }
            }
            assert!(records > n, "znodes are missing");
        });
    });
    group.finish();
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let trial = arguments.iter().any(|argument| argument == "--test");
    if trial {
        table(1, 100);
    } else {
        table(9, 100_000);
    }
    if arguments.iter().any(|argument| argument == "table") {
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    for n in SIZES {
        criterion_of::<Plain>(&mut criterion, n);
        criterion_of::<Versioned>(&mut criterion, n);
        snapshot_walk(&mut criterion, n);
    }
    criterion.final_summary();
}
