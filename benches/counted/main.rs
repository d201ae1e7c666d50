//! Counts that do not flutter: allocations a request, printed; and the works that `benches/counts` runs under callgrind, or beside
//! strace.
//!
//! ```sh
//! cargo bench --bench counted                                        # the table of allocations
//! benches/counts                                                     # all counts, compared with the committed ones
//! ```

#[path = "../parts/mod.rs"]
mod parts;

mod load;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Parser, Subcommand};
use zoo_server::watch::WatchKind;
use zoo_server::wire::op::OpCode;

use parts::reads::{Reads, Watches};
use parts::writes::Writes;
use parts::zab::Ensemble;

/// Counts what is asked of the system's allocator. Growing a block counts as an allocation.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn count(len: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(len as u64, Ordering::Relaxed);
}

// SAFETY: hands everything to the system's allocator and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count(len.saturating_sub(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.realloc(block, layout, len) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Znodes in the trees.
const ZNODES: usize = 10_000;
/// Turns before anything is counted, so that buffers have grown.
const WARM_UP: usize = 200;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Passed by cargo; without meaning here.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum What {
    /// The table of allocations (the default).
    Allocations,
    /// Names the works.
    List,
    /// Does a work so many times; of that, `counted_turns` is what counts.
    Turns {
        #[arg(long)]
        work: String,
        #[arg(long)]
        turns: usize,
    },
    /// Asks a server for so much, connection by connection in bursts; `ready`, `done` on the output, a line of input before each.
    Load(load::Args),
}

/// A work, and how many requests a turn of it is.
struct Work {
    name: &'static str,
    requests: usize,
    make: fn() -> Box<dyn FnMut()>,
}

const WORKS: &[Work] = &[
    Work { name: "getData", requests: 1, make: || reads(OpCode::GET_DATA) },
    Work { name: "exists", requests: 1, make: || reads(OpCode::EXISTS) },
    Work { name: "setData-alone", requests: 1, make: || writes(1) },
    Work { name: "setData-of-32", requests: 32, make: || writes(32) },
    Work { name: "watch-one-shot", requests: 1, make: || watches(WatchKind::Data) },
    Work { name: "watch-persistent", requests: 1, make: || watches(WatchKind::Persistent) },
    Work { name: "watch-recursive", requests: 1, make: || watches(WatchKind::PersistentRecursive) },
    Work { name: "proposal-alone", requests: 1, make: || proposals(1) },
    Work { name: "proposal-of-32", requests: 32, make: || proposals(32) },
];

/// Decode, look up, encode.
fn reads(op: OpCode) -> Box<dyn FnMut()> {
    let mut reads = Reads::new(op, ZNODES, 10_000);
    Box::new(move || {
        black_box(reads.answer_one());
    })
}

/// Decode, prepare, apply, the log's frame, publish, answer.
fn writes(batch: usize) -> Box<dyn FnMut()> {
    let mut writes = Writes::new(ZNODES);
    let frames: Vec<_> = (0..64).map(|_| writes.requests(batch)).collect();
    let mut turn = 0;
    Box::new(move || {
        turn += 1;
        writes.commit(&frames[turn % frames.len()]);
    })
}

/// The event's frame for one watcher, and its watch again if it was spent.
fn watches(kind: WatchKind) -> Box<dyn FnMut()> {
    let mut watches = Watches::new(kind, ZNODES, 1);
    Box::new(move || watches.fire_and_renew())
}

/// The leader and two followers, through commit.
fn proposals(batch: usize) -> Box<dyn FnMut()> {
    let mut ensemble = Ensemble::new();
    Box::new(move || ensemble.commit(batch))
}

fn work(name: &str) -> &'static Work {
    WORKS.iter().find(|work| work.name == name).unwrap_or_else(|| panic!("no work {name}: see `list`"))
}

/// What callgrind is told to look at.
#[inline(never)]
fn counted_turns(turn: &mut dyn FnMut(), turns: usize) {
    for _ in 0..turns {
        turn();
    }
}

fn allocations() {
    const TURNS: usize = 1_000;
    println!("{:<22} {:>12} {:>12}   a request", "", "allocations", "bytes");
    for Work { name, requests, make } in WORKS {
        let mut turn = make();
        counted_turns(&mut *turn, WARM_UP);
        let before = (ALLOCATIONS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
        counted_turns(&mut *turn, TURNS);
        let after = (ALLOCATIONS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
        let each = |before: u64, after: u64| (after - before) as f64 / (TURNS * requests) as f64;
        println!("{name:<22} {:>12.3} {:>12.1}", each(before.0, after.0), each(before.1, after.1));
    }
}

fn main() {
    match Args::parse().what.unwrap_or(What::Allocations) {
        What::Allocations => allocations(),
        What::List => WORKS.iter().for_each(|work| println!("{} {}", work.name, work.requests)),
        What::Turns { work: name, turns } => {
            let mut turn = (work(&name).make)();
            // Not the counted function: the compiler must not know that it is the same.
            (0..WARM_UP).for_each(|_| turn());
            counted_turns(&mut *turn, turns);
        }
        What::Load(args) => load::run(&args),
    }
}
