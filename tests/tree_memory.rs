//! The tree's budget of memory (design, decision 1): at most 300 bytes a znode beside its path and its data, the allocator's
//! own included. In a process of its own, because it counts what the whole process holds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use zoo_server::ids::{SessionId, Zxid};
use zoo_server::time::WallTime;
use zoo_server::tree::{Options, Tree};
use zoo_server::wire::acl::AclList;
use zoo_server::wire::error_code::ErrorCode;
use zoo_server::wire::op::OpCode;
use zoo_server::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader};

const BYTES_MAX: usize = 300;
const ZNODES: usize = 60_000;
const BATCH: usize = 32;
const VERSIONS_ALIVE: usize = 4;

/// Counts the bytes that the process holds, with the allocator's own (glibc: eight a block, in steps of 16).
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

fn create(tree: &mut Tree, zxid: usize, path: &str) {
    let header =
        TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(zxid as i64), time: WallTime(1), op: OpCode::CREATE };
    let txn = Txn::Create(CreateTxn {
        path: path.into(),
        data: Some(&[7; 100]),
        acl: AclList::OPEN,
        kind: CreateKind::Persistent,
        parent_cversion: -1,
    });
    let applied = tree.apply(&header, &txn, &mut Vec::new());
    assert_eq!(applied.err, ErrorCode::OK, "{path}");
}

/// Bytes a znode beside path and data, where each parent has as many children as `siblings`.
fn bytes_a_znode(siblings: usize) -> usize {
    let mut tree = Tree::new(Options { hash_seed: 1, ..Options::default() });
    for parent in 0..ZNODES / siblings {
        create(&mut tree, 1, &format!("/parent{parent}"));
    }
    let before = HELD.load(Ordering::Relaxed);
    let mut payload = 0;
    let mut versions = VecDeque::new();
    for n in 0..ZNODES {
        let path = format!("/parent{}/znode{n:08}", n / siblings);
        create(&mut tree, 2 + n, &path);
        payload += path.len() + 100;
        if n % BATCH == 0 {
            versions.push_back(tree.cut());
            if versions.len() > VERSIONS_ALIVE {
                versions.pop_front();
            }
        }
    }
    drop(versions);
    assert!(tree.reclaim(usize::MAX));
    (HELD.load(Ordering::Relaxed) - before - payload) / ZNODES
}

#[test]
fn a_znode_takes_at_most_300_bytes_beside_path_and_data() {
    // One test, one after the other: another thread's memory would be counted in.
    for siblings in [ZNODES, 100, 1] {
        let bytes = bytes_a_znode(siblings);
        println!("{siblings} children a parent: {bytes} bytes a znode");
        assert!(bytes <= BYTES_MAX, "{siblings} children a parent: {bytes} bytes a znode");
    }
}
