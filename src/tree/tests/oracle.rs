//! A log that Apache's own server wrote, replayed: the digest behind each transaction is the one it computed, and at the end
//! every znode, its stat and its list are as its clients saw them. `apache/make.py` made the files.

use serde_json::Value;

use super::*;
use crate::wire::jute::Reader;
use crate::wire::txn::{TxnDigest, TxnRecord};

const TXNS: &[u8] = include_bytes!("apache/txns");
const STATE: &str = include_str!("apache/state");
const WORDS: &str = include_str!("apache/words");

/// The records of an Apache log: a header of 16 bytes, then a checksum, a length, a record and 'B' for each.
fn records() -> Vec<TxnRecord<'static>> {
    let mut reader = Reader::new(TXNS);
    assert_eq!(reader.bytes(16).expect("a header")[..4], *b"ZKLG");
    let mut records = Vec::new();
    while !reader.is_empty() {
        reader.i64().expect("a checksum");
        let record = reader.buffer().expect("a length and so many bytes").expect("not null");
        assert_eq!(reader.u8(), Ok(b'B'));
        records.push(TxnRecord::decode(record).expect("a transaction"));
    }
    records
}

/// Apache adds no digest to the record of a refused request.
fn check_digest(tree: &Tree, record: &TxnRecord<'_>) {
    let digest = TxnDigest { version: TxnDigest::VERSION, tree: tree.view().digest() };
    let expected = (record.header.op != OpCode::ERROR).then_some(digest);
    assert_eq!(record.digest, expected, "digest behind {record:?}");
}

#[test]
fn each_digest_is_apaches() {
    let records = records();
    let (mut ops, mut changes) = (BTreeSet::new(), Vec::new());
    let mut tree = Tree::new(OPTIONS);
    let mut held = Vec::new();
    for (n, record) in records.iter().enumerate() {
        ops.insert(record.header.op.0);
        let applied = tree.apply(&record.header, &record.txn, &mut changes);
        assert_eq!(
            applied.err.0 != 0,
            record.header.op == OpCode::ERROR || applied.subs.iter().any(|sub| sub.err.0 != 0)
        );
        check_digest(&tree, record);
        assert_eq!(tree.view().zxid(), record.header.zxid);
        if n % 16 == 0 {
            check(tree.view());
            held.push((tree.cut(), tree.view().digest()));
        }
    }
    for (version, digest) in held {
        check(&version);
        assert_eq!(version.digest(), digest);
    }
    for op in [
        OpCode::CREATE_SESSION,
        OpCode::CLOSE_SESSION,
        OpCode::CREATE,
        OpCode::CREATE2,
        OpCode::CREATE_CONTAINER,
        OpCode::CREATE_TTL,
        OpCode::DELETE,
        OpCode::SET_DATA,
        OpCode::SET_ACL,
        OpCode::MULTI,
        OpCode::ERROR,
    ] {
        assert!(ops.contains(&op.0), "no {op} in the log");
    }
    assert!(records.len() > 300);
}

#[test]
fn each_znode_is_as_apaches_clients_saw_it() {
    let mut tree = Tree::new(OPTIONS);
    for record in records() {
        tree.apply(&record.header, &record.txn, &mut Vec::new());
    }
    let view = tree.view();
    let mut seen = 0;
    for line in STATE.lines() {
        let json: Value = serde_json::from_str(line).expect("JSON");
        let path = json["path"].as_str().expect("a path");
        let znode = view.znode(path).unwrap_or_else(|| panic!("no {path}"));
        let data: Option<String> = znode.data().map(|data| data.iter().map(|byte| format!("{byte:02x}")).collect());
        assert_eq!(json["data"].as_str(), data.as_deref(), "data of {path}");
        let stat = znode.stat();
        // In the order of ZooKeeper's Stat.
        let numbers = [
            stat.czxid.0,
            stat.mzxid.0,
            stat.ctime.0,
            stat.mtime.0,
            stat.version.into(),
            stat.cversion.into(),
            stat.aversion.into(),
            stat.ephemeral_owner.0,
            stat.data_length.into(),
            stat.num_children.into(),
            stat.pzxid.0,
        ];
        assert_eq!(json["stat"], Value::from(numbers.to_vec()), "stat of {path}");
        let entries = view.acl(znode.acl_id()).entries.iter();
        let acl: Value =
            entries.map(|acl| serde_json::json!([acl.perms.0, acl.id.scheme, acl.id.id])).collect::<Vec<_>>().into();
        assert_eq!(json["acl"], acl, "list of {path}");
        seen += 1;
    }
    assert_eq!(seen + 1, view.node_count());

    let counts = BTreeMap::from_iter(WORDS.lines().filter_map(|line| line.split_once('\t')));
    let count = |name: &str| counts[name].parse::<usize>().expect("a number");
    assert_eq!(count("zk_znode_count"), view.node_count());
    assert_eq!(count("zk_ephemerals_count"), view.ephemeral_count());
    // Until its next start Apache goes on counting the usage of a quota as long as it was when its znode came to be.
    let usage = view.znode("/zookeeper/quota/a/zookeeper_stats").and_then(Znode::data).expect("a quota's usage");
    let grown = usage.len() - b"count=1,bytes=1".len();
    assert_eq!((count("zk_approximate_data_size") + grown) as u64, view.approximate_data_size());
    let hash: Vec<_> = WORDS.lines().filter(|line| !line.contains('\t')).collect();
    let ours: Vec<_> =
        tree.digest_history().map(|sample| format!("{:x}: {}", sample.zxid.0, sample.digest.cast_signed())).collect();
    assert_eq!(ours, hash);
    assert!(hash.len() >= 2);
}

/// Where Apache's snapshots are fuzzy, it replays transactions over znodes that have their effect already. The log replayed
/// from anywhere over its own end must come to that end again.
#[test]
fn a_replay_over_a_later_state_ends_the_same() {
    let records = records();
    let last = records.iter().rev().find_map(|record| record.digest).map(|digest| digest.tree);
    for start in [0, 1, records.len() / 3, records.len() / 2, records.len() - 1] {
        let mut tree = Tree::new(OPTIONS);
        for record in records.iter().chain(&records[start..]) {
            tree.apply(&record.header, &record.txn, &mut Vec::new());
        }
        check(tree.view());
        assert_eq!(Some(tree.view().digest()), last);
    }
}

/// Whatever a log says, as long as it is made of transactions, the tree neither panics nor loses its invariants.
#[test]
fn spoilt_transactions_spoil_nothing() {
    let mut encoded = Vec::new();
    let records: Vec<Vec<u8>> = records()
        .iter()
        .map(|record| {
            encoded.clear();
            record.encode(&mut encoded);
            encoded.clone()
        })
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) as usize % n
    };
    let mut spoilt = 0;
    for _ in 0..30 {
        let mut tree = Tree::new(OPTIONS);
        let mut held = None;
        for n in 0..records.len() {
            let mut bytes = records[if below(4) == 0 { below(records.len()) } else { n }].clone();
            for _ in 0..below(4) {
                let at = below(bytes.len());
                // A path's own letters now and then, so that spoilt paths are near others.
                bytes[at] = if below(2) == 0 { b"/a0r\0"[below(5)] } else { below(256) as u8 };
            }
            let Ok(record) = TxnRecord::decode(&bytes) else { continue };
            spoilt += 1;
            tree.apply(&record.header, &record.txn, &mut Vec::new());
            if n % 100 == 0 {
                check(tree.view());
                held = Some(tree.cut());
            }
        }
        check(tree.view());
        check(&held.expect("the log is long enough"));
    }
    assert!(spoilt > 3000, "{spoilt}");
}
