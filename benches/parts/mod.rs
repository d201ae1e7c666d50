//! The product's pure parts put together as the server does, without sockets, disks and clocks: what the benches time, and what
//! `counts` counts. Each target uses some of it.
#![allow(dead_code, unreachable_pub, reason = "each bench target takes the parts that it needs")]

pub mod discard;
pub mod reads;
pub mod writes;
pub mod zab;

use zoo_server::ids::{SessionId, Zxid};
use zoo_server::time::WallTime;
use zoo_server::tree::{self, Tree};
use zoo_server::wire::acl::AclList;
use zoo_server::wire::op::OpCode;
use zoo_server::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader};

/// Bytes of data in each znode.
pub const DATA_LEN: usize = 100;

/// Some wall-clock time.
pub const WALL: WallTime = WallTime(1_700_000_000_000);

/// Children of one znode: as many as a directory of services may have.
const FAN_OUT: usize = 1000;

/// The path of the n-th znode.
pub fn path(n: usize) -> String {
    format!("/services/app-{:04}/node-{n:010}", n / FAN_OUT)
}

/// Pseudo-random numbers below `bound`, always the same.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// The transactions that create so many znodes of [`DATA_LEN`] bytes and those above them, in order.
pub fn creations(znodes: usize, mut each: impl FnMut(&TxnHeader, &Txn<'_>)) {
    let mut zxid = Zxid::ZERO;
    let mut create = |path: &str, data: &[u8], parent_cversion: usize| {
        zxid = zxid.next();
        let header = TxnHeader { session: SessionId::NONE, cxid: 0, zxid, time: WALL, op: OpCode::CREATE };
        let txn = Txn::Create(CreateTxn {
            path: path.into(),
            data: Some(data),
            acl: AclList::OPEN,
            kind: CreateKind::Persistent,
            parent_cversion: parent_cversion as i32,
        });
        each(&header, &txn);
    };
    create("/services", b"", 1);
    for n in 0..znodes {
        let path = path(n);
        if n % FAN_OUT == 0 {
            create(path.rsplit_once('/').expect("a path has a parent").0, b"", n / FAN_OUT + 1);
        }
        create(&path, &[7; DATA_LEN], n % FAN_OUT + 1);
    }
}

/// A tree with so many znodes beside those above them, and the zxid of the last creation.
pub fn tree_of(znodes: usize) -> (Tree, Zxid) {
    let mut tree = Tree::new(tree::Options::default());
    let mut changes = Vec::new();
    creations(znodes, |header, txn| {
        tree.apply(header, txn, &mut changes);
        changes.clear();
    });
    let zxid = tree.view().zxid();
    (tree, zxid)
}
