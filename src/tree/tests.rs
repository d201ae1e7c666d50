//! The room as a whole: the rules of each transaction one by one (`rules`), random transactions against a plain model
//! (`model`), a tree that is loaded in parts (`load`), and a log that Apache's own server wrote (`oracle`).

mod load;
mod model;
mod oracle;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use super::digest::{is_excluded, node_digest, prefix_crc};
use super::ephemeral_type::{OwnerKind, OwnerOptions};
use super::*;
use crate::ids::{SessionId, Zxid};
use crate::time::WallTime;
use crate::wire::acl::AclList;
use crate::wire::op::OpCode;
use crate::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader};

const OPTIONS: Options =
    Options { hash_seed: 7, digest_enabled: true, owners: OwnerOptions { extended_types: true, emulate_353: false } };

fn header(op: OpCode, zxid: i64) -> TxnHeader {
    TxnHeader { session: SessionId(0x5e55), cxid: 1, zxid: Zxid(zxid), time: WallTime(zxid * 10), op }
}

fn create<'a>(path: &'a str, data: &'a [u8], kind: CreateKind, parent_cversion: i32) -> Txn<'a> {
    Txn::Create(CreateTxn { path: path.into(), data: Some(data), acl: AclList::OPEN, kind, parent_cversion })
}

/// The events of changes, shortly.
fn events(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|change| format!("{:?} {} {:?}", change.event, change.path, change.tables)).collect()
}

/// Recomputes from the znodes alone all that a view keeps beside them, and compares.
fn check(view: &View) {
    let znodes: BTreeMap<&str, &Znode> = view.iter().map(|znode| (&**znode.path(), znode)).collect();
    assert_eq!(znodes.len() + 1, view.node_count());
    let mut children: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut owners: BTreeMap<SessionId, BTreeSet<&str>> = BTreeMap::new();
    let (mut digest, mut data_size) = (0_u64, 0);
    for (&path, znode) in &znodes {
        assert!(std::ptr::eq(view.znode(path).expect("it was iterated"), *znode));
        if path != "/" {
            let (parent, name) = path.rsplit_once('/').expect("a path has a slash");
            children.entry(if parent.is_empty() { "/" } else { parent }).or_default().insert(name);
        }
        if !is_excluded(path) {
            let crc = prefix_crc(path, znode.data());
            digest = digest.wrapping_add(node_digest(crc, znode.persisted()).into());
        }
        data_size += path.encode_utf16().count() + znode.data().map_or(0, <[u8]>::len);
        if let Some(owner) = znode.owner() {
            owners.entry(owner).or_default().insert(path);
        }
        let _ = view.acl(znode.acl_id()); // panics if it is not there
    }
    for (parent, names) in &children {
        let znode = znodes.get(parent).unwrap_or_else(|| panic!("{parent} has children but is no znode"));
        assert_eq!(znode.children().collect::<BTreeSet<_>>(), *names, "children of {parent}");
    }
    for (path, znode) in &znodes {
        assert_eq!(znode.num_children(), children.get(path).map_or(0, BTreeSet::len), "children of {path}");
    }
    assert_eq!(view.digest(), digest, "digest");
    assert_eq!(view.approximate_data_size(), data_size as u64, "data size");
    assert_eq!(view.ephemeral_count(), owners.values().map(BTreeSet::len).sum::<usize>());
    assert_eq!(view.ephemeral_sessions().collect::<BTreeSet<_>>(), owners.keys().copied().collect());
    for (&session, paths) in &owners {
        assert_eq!(view.ephemerals(session).collect::<BTreeSet<_>>(), *paths, "ephemerals of {session}");
    }
    let of_kind = |kind| znodes.values().filter(move |znode| znode.kind() == kind).map(|znode| &**znode.path());
    let (containers, ttls) = (of_kind(OwnerKind::Container), of_kind(OwnerKind::Ttl));
    assert_eq!(view.containers().map(|path| &**path).collect::<BTreeSet<_>>(), containers.collect());
    assert_eq!(view.ttls().map(|path| &**path).collect::<BTreeSet<_>>(), ttls.collect());
    let used: BTreeSet<AclId> = znodes.values().map(|znode| znode.acl_id()).filter(|&id| id != AclId::OPEN).collect();
    assert_eq!(view.acls().map(|(id, _)| id).collect::<BTreeSet<_>>(), used, "lists");
}
