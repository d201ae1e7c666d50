//! What each transaction does, one rule at a time.

use super::*;
use crate::wire::acl::Perms;
use crate::wire::error_code::ErrorCode;
use crate::wire::txn::SubTxn;

/// A tree and the next zxid.
pub(super) struct World {
    pub(super) tree: Tree,
    zxid: i64,
    changes: Vec<Change>,
}

impl World {
    pub(super) fn new() -> Self {
        Self { tree: Tree::new(OPTIONS), zxid: 0, changes: Vec::new() }
    }

    pub(super) fn apply(&mut self, op: OpCode, txn: &Txn<'_>) -> Applied {
        self.zxid += 1;
        self.apply_at(self.zxid, op, txn)
    }

    fn apply_at(&mut self, zxid: i64, op: OpCode, txn: &Txn<'_>) -> Applied {
        self.changes.clear();
        let applied = self.tree.apply(&header(op, zxid), txn, &mut self.changes);
        check(self.tree.view());
        applied
    }

    pub(super) fn create(&mut self, path: &str, data: &str) -> Applied {
        self.create_kind(path, data, CreateKind::Persistent)
    }

    pub(super) fn create_kind(&mut self, path: &str, data: &str, kind: CreateKind) -> Applied {
        let op = match kind {
            CreateKind::Persistent | CreateKind::Ephemeral => OpCode::CREATE2,
            CreateKind::Container => OpCode::CREATE_CONTAINER,
            CreateKind::Ttl(_) => OpCode::CREATE_TTL,
        };
        self.apply(op, &create(path, data.as_bytes(), kind, -1))
    }

    fn delete(&mut self, path: &str) -> Applied {
        self.apply(OpCode::DELETE, &Txn::Delete { path: path.into() })
    }

    fn set(&mut self, path: &str, data: &str, version: i32) -> Applied {
        let data = Some(data.as_bytes());
        self.apply(OpCode::SET_DATA, &Txn::SetData { path: path.into(), data, version })
    }

    fn znode(&self, path: &str) -> &Znode {
        self.tree.view().znode(path).unwrap_or_else(|| panic!("no {path}"))
    }

    fn data(&self, path: &str) -> &str {
        std::str::from_utf8(self.znode(path).data().expect("not null")).expect("text")
    }
}

#[test]
fn a_new_tree_is_what_apache_begins_with() {
    let tree = Tree::new(OPTIONS);
    let view = tree.view();
    check(view);
    assert_eq!((view.node_count(), view.approximate_data_size(), view.zxid()), (5, 44, Zxid::ZERO));
    let config = view.znode("/zookeeper/config").expect("config");
    assert_eq!((config.persisted().aversion, view.acl(config.acl_id()).anyone), (-1, Perms::READ));
    let root = view.znode("/").expect("root");
    assert_eq!((root.acl_id(), root.stat().cversion, root.stat().num_children), (AclId::OPEN, -1, 1));
    assert_eq!(view.all_children_number("/"), 3);
    assert_eq!(view.all_children_number("/zookeeper"), 2);
    assert_eq!(view.all_children_number("/nowhere"), 0);
}

#[test]
fn a_creation_tells_the_znode_then_its_parent() {
    let mut world = World::new();
    let applied = world.create("/a", "data");
    let stat = applied.stat.expect("create2 answers with a stat");
    assert_eq!((stat.czxid, stat.mzxid, stat.pzxid, stat.version, stat.data_length), (Zxid(1), Zxid(1), Zxid(1), 0, 4));
    assert_eq!(events(&world.changes), ["NodeCreated /a Data", "NodeChildrenChanged / Child"]);
    assert_eq!((world.znode("/").persisted().cversion, world.znode("/").persisted().pzxid), (1, Zxid(1)));
    let txn = create("/a/b", b"", CreateKind::Persistent, 1);
    assert_eq!(world.apply(OpCode::CREATE, &txn).stat, None, "create answers with the path alone");
    assert_eq!(events(&world.changes), ["NodeCreated /a/b Data", "NodeChildrenChanged /a Child"]);
    assert_eq!(world.tree.view().all_children_number("/a"), 1);
}

#[test]
fn a_parents_cversion_and_pzxid_only_grow() {
    let mut world = World::new();
    let seen = |world: &World| (world.znode("/").persisted().cversion, world.znode("/").persisted().pzxid.0);
    world.apply_at(5, OpCode::CREATE, &create("/a", b"", CreateKind::Persistent, 9));
    assert_eq!(seen(&world), (9, 5));
    world.apply_at(6, OpCode::CREATE, &create("/b", b"", CreateKind::Persistent, 3));
    assert_eq!(seen(&world), (9, 5), "an old cversion changes neither");
    world.apply_at(7, OpCode::CREATE, &create("/c", b"", CreateKind::Persistent, -1));
    assert_eq!(seen(&world), (10, 7), "-1 counts up");
    world.apply_at(4, OpCode::DELETE, &Txn::Delete { path: "/c".into() });
    assert_eq!(seen(&world), (10, 7), "an old deletion changes neither");
    assert_eq!(world.tree.view().zxid(), Zxid(7));
    world.apply_at(8, OpCode::DELETE, &Txn::Delete { path: "/gone".into() });
    assert_eq!(seen(&world), (10, 8), "even that of a child that is not there counts for pzxid");
    // The child exists: only `create` leads the parent on, as in Apache.
    let txn = create("/a", b"", CreateKind::Persistent, 20);
    assert_eq!(world.apply_at(9, OpCode::CREATE2, &txn).err, ErrorCode::NODE_EXISTS);
    assert_eq!(seen(&world), (10, 8));
    assert_eq!(world.apply_at(9, OpCode::CREATE, &txn).err, ErrorCode::NODE_EXISTS);
    assert_eq!(seen(&world), (20, 9));
    assert!(world.changes.is_empty());
}

#[test]
fn an_existing_znode_takes_the_list_of_its_replayed_creation() {
    let mut world = World::new();
    world.create("/a", "");
    let txn = Txn::Create(CreateTxn {
        path: "/a".into(),
        data: None,
        acl: AclList::READ_ONLY,
        kind: CreateKind::Persistent,
        parent_cversion: 1,
    });
    assert_eq!(world.apply(OpCode::CREATE2, &txn).err, ErrorCode::NODE_EXISTS);
    assert_eq!(world.tree.view().acl(world.znode("/a").acl_id()).list, AclList::READ_ONLY);
    assert_eq!(world.znode("/a").persisted().aversion, 0);
}

#[test]
fn a_deletion_tells_both_tables_then_the_parent() {
    let mut world = World::new();
    world.create("/a", "");
    world.create("/a/b", "xyz");
    assert_eq!(world.delete("/a/b").err, ErrorCode::OK);
    assert_eq!(events(&world.changes), ["NodeDeleted /a/b DataThenChild", "NodeChildrenChanged /a Child"]);
    let parent = world.znode("/a").stat();
    assert_eq!((parent.cversion, parent.num_children, parent.pzxid), (2, 0, Zxid(3)));
    assert_eq!(world.delete("/a").err, ErrorCode::OK);
    assert_eq!(events(&world.changes), ["NodeDeleted /a DataThenChild", "NodeChildrenChanged / Child"]);
    assert_eq!(world.delete("/a").err, ErrorCode::NO_NODE);
    assert_eq!(world.delete("/no/parent").err, ErrorCode::NO_NODE);
    assert!(world.changes.is_empty());
}

#[test]
fn a_deletion_replayed_over_a_later_snapshot_takes_what_is_below() {
    let mut world = World::new();
    world.create("/a", "");
    world.create_kind("/a/e", "", CreateKind::Ephemeral);
    world.create_kind("/a/c", "", CreateKind::Container);
    world.create_kind("/a/c/t", "", CreateKind::Ttl(5));
    assert_eq!(world.delete("/a").err, ErrorCode::OK);
    assert_eq!(world.tree.view().node_count(), 5);
    assert_eq!(world.tree.view().ephemeral_count(), 0);
}

#[test]
fn setting_data_sets_the_version_it_says() {
    let mut world = World::new();
    world.create("/a", "one");
    let stat = world.set("/a", "three", 7).stat.expect("setData answers with a stat");
    assert_eq!(
        (stat.version, stat.mzxid, stat.mtime, stat.czxid, stat.data_length),
        (7, Zxid(2), WallTime(20), Zxid(1), 5)
    );
    assert_eq!(events(&world.changes), ["NodeDataChanged /a Data"]);
    assert_eq!(world.set("/b", "", 1).err, ErrorCode::NO_NODE);
    let applied = world.apply(OpCode::SET_DATA, &Txn::SetData { path: "/".into(), data: None, version: 1 });
    assert_eq!(applied.err, ErrorCode::OK);
    assert_eq!((world.znode("/").data(), world.znode("/").stat().data_length), (None, 0));
    let reconfig = Txn::SetData { path: "/zookeeper/config".into(), data: Some(b"server.1=.."), version: -1 };
    assert!(world.apply(OpCode::RECONFIG, &reconfig).stat.is_some());
    assert_eq!(world.data("/zookeeper/config"), "server.1=..");
}

#[test]
fn setting_a_list_changes_aversion_and_tells_no_one() {
    let mut world = World::new();
    world.create("/a", "");
    let set = |path: &'static str| Txn::SetAcl { path: path.into(), acl: AclList::READ_ONLY, version: 4 };
    let stat = world.apply(OpCode::SET_ACL, &set("/a")).stat.expect("setACL answers with a stat");
    assert_eq!((stat.aversion, stat.version, stat.mzxid), (4, 0, Zxid(1)));
    assert!(world.changes.is_empty());
    assert_eq!(world.apply(OpCode::SET_ACL, &set("/b")).err, ErrorCode::NO_NODE);
    world.create("/a/b", "");
    assert_eq!(world.changes[0].acl.list, AclList::OPEN);
    assert_eq!(world.changes[1].acl.list, AclList::READ_ONLY, "the parent's list is asked for its children");
    world.delete("/a");
    assert_eq!(world.changes[0].acl.list, AclList::READ_ONLY, "of a deleted znode the last list");
}

#[test]
fn a_session_takes_its_ephemerals_along() {
    let mut world = World::new();
    for path in ["/b", "/a", "/c"] {
        let stat = world.create_kind(path, "", CreateKind::Ephemeral).stat.expect("a stat");
        assert_eq!(stat.ephemeral_owner, SessionId(0x5e55));
    }
    world.create("/kept", "");
    // The record lists one, one that is gone, and one that was never the session's.
    let paths = Some(vec!["/c".into(), "/gone".into(), "/kept".into()]);
    world.apply(OpCode::CLOSE_SESSION, &Txn::CloseSession { paths });
    let deleted: Vec<_> = world.changes.iter().step_by(2).map(|change| &*change.path).collect();
    assert_eq!(deleted, ["/c", "/kept", "/a", "/b"], "the record's first, in its order, then the rest");
    world.create_kind("/d", "", CreateKind::Ephemeral);
    world.apply(OpCode::CLOSE_SESSION, &Txn::CloseSession { paths: None });
    assert_eq!(world.tree.view().ephemeral_count(), 0);
    assert_eq!(world.tree.view().zxid(), Zxid(world.zxid));
    world.apply(OpCode::CLOSE_SESSION, &Txn::CloseSession { paths: None });
    assert!(world.changes.is_empty());
}

#[test]
fn containers_and_ttls_are_listed_and_hide_their_owner() {
    let mut world = World::new();
    for (path, kind) in [("/c", CreateKind::Container), ("/t", CreateKind::Ttl(500))] {
        let stat = world.create_kind(path, "", kind).stat.expect("a stat");
        assert_eq!(stat.ephemeral_owner, SessionId::NONE);
    }
    assert_eq!(world.tree.containers().map(|path| &**path).collect::<Vec<_>>(), ["/c"]);
    assert_eq!(world.tree.ttls().map(|path| &**path).collect::<Vec<_>>(), ["/t"]);
    assert_eq!(world.znode("/t").ttl_ms(), Some(500));
    assert_eq!(world.apply(OpCode::DELETE_CONTAINER, &Txn::Delete { path: "/c".into() }).err, ErrorCode::OK);
    assert_eq!(world.tree.containers().count(), 0);
    assert_eq!(world.create_kind("/bad", "", CreateKind::Ttl(0)).err, ErrorCode::BAD_ARGUMENTS);
}

#[test]
fn a_multi_is_one_zxid_and_its_parts_see_each_other() {
    let mut world = World::new();
    let sub = |op, txn| SubTxn { op, txn };
    let applied = world.apply(
        OpCode::MULTI,
        &Txn::Multi(vec![
            sub(OpCode::CHECK, Txn::Check { path: "/".into(), version: 1 }),
            sub(OpCode::CREATE2, create("/m", b"", CreateKind::Persistent, 1)),
            sub(OpCode::CREATE, create("/m/x", b"", CreateKind::Persistent, 1)),
            sub(OpCode::SET_DATA, Txn::SetData { path: "/m".into(), data: Some(b"1"), version: 1 }),
            sub(OpCode::DELETE, Txn::Delete { path: "/m/x".into() }),
        ]),
    );
    assert_eq!(applied.err, ErrorCode::OK);
    assert_eq!(
        applied.subs.iter().map(|sub| sub.stat.is_some()).collect::<Vec<_>>(),
        [false, true, false, true, false]
    );
    assert_eq!(world.changes.len(), 7);
    assert!(world.changes.iter().all(|change| change.zxid == Zxid(1)));
    assert_eq!(world.znode("/m").stat().pzxid, Zxid(1));
}

#[test]
fn a_failed_multi_takes_a_zxid_and_nothing_else() {
    let mut world = World::new();
    world.create("/a", "");
    let digest = world.tree.view().digest();
    let error = |err| SubTxn { op: OpCode::ERROR, txn: Txn::Error { err } };
    let txn =
        Txn::Multi(vec![error(ErrorCode::OK), error(ErrorCode::BAD_VERSION), error(ErrorCode::RUNTIME_INCONSISTENCY)]);
    let applied = world.apply(OpCode::MULTI, &txn);
    let errors = [ErrorCode::OK, ErrorCode::BAD_VERSION, ErrorCode::RUNTIME_INCONSISTENCY];
    assert_eq!(applied.err, ErrorCode::BAD_VERSION);
    assert_eq!(applied.subs.iter().map(|sub| sub.err).collect::<Vec<_>>(), errors);
    // Old servers kept the operations beside the error.
    let txn = Txn::Multi(vec![
        SubTxn { op: OpCode::CREATE, txn: create("/x", b"", CreateKind::Persistent, 1) },
        error(ErrorCode::BAD_VERSION),
        SubTxn { op: OpCode::DELETE, txn: Txn::Delete { path: "/a".into() } },
    ]);
    let applied = world.apply(OpCode::MULTI, &txn);
    assert_eq!(applied.subs.iter().map(|sub| sub.err).collect::<Vec<_>>(), errors);
    assert!(applied.subs.iter().all(|sub| sub.op == OpCode::ERROR));
    assert_eq!((world.tree.view().digest(), world.tree.view().zxid()), (digest, Zxid(3)));
}

#[test]
fn an_operation_that_no_multi_has_ends_it() {
    let mut world = World::new();
    let sub = |op, txn| SubTxn { op, txn };
    let applied = world.apply(
        OpCode::MULTI,
        &Txn::Multi(vec![
            sub(OpCode::CREATE, create("/a", b"", CreateKind::Persistent, 1)),
            sub(OpCode::SET_ACL, Txn::SetAcl { path: "/a".into(), acl: AclList::READ_ONLY, version: 1 }),
            sub(OpCode::CREATE, create("/b", b"", CreateKind::Persistent, 2)),
        ]),
    );
    assert_eq!((applied.err, applied.subs.len()), (ErrorCode::OK, 1));
    assert!(world.tree.view().znode("/b").is_none());
}

#[test]
fn sessions_and_errors_take_their_zxid() {
    let mut world = World::new();
    let digest = world.tree.view().digest();
    world.apply(OpCode::CREATE_SESSION, &Txn::CreateSession { timeout_ms: 4000 });
    let applied = world.apply(OpCode::ERROR, &Txn::Error { err: ErrorCode::NO_NODE });
    assert_eq!(applied.err, ErrorCode::NO_NODE);
    assert_eq!((world.tree.view().zxid(), world.tree.view().digest()), (Zxid(2), digest));
}

#[test]
fn paths_that_are_none_are_refused() {
    let mut world = World::new();
    for path in ["", "a", "//a", "/a/", "/x/y"] {
        assert_eq!(world.create(path, "").err, ErrorCode::NO_NODE, "{path:?}");
        assert_eq!(world.delete(path).err, ErrorCode::NO_NODE, "{path:?}");
        assert_eq!(world.set(path, "", 1).err, ErrorCode::NO_NODE, "{path:?}");
    }
    assert_eq!(world.create("/", "").err, ErrorCode::BAD_ARGUMENTS);
    assert_eq!(world.delete("/").err, ErrorCode::BAD_ARGUMENTS);
}

#[test]
fn the_usage_of_the_deepest_quota_is_kept() {
    const STATS: &str = "/zookeeper/quota/a/zookeeper_stats";
    let mut world = World::new();
    world.create("/a", "12345");
    world.create("/a/b", "123");
    world.create("/zookeeper/quota/a", "");
    world.create("/zookeeper/quota/a/zookeeper_limits", "count=5,bytes=100");
    assert_eq!(world.tree.view().quota_for("/a/b/c"), Some("/a"));
    world.create("/a/c", "1");
    let version = world.znode("/a").persisted().version;
    world.create(STATS, "");
    assert_eq!(world.data(STATS), "count=3,bytes=9", "counted anew when the znode comes to be");
    let digest = world.tree.view().digest();
    world.create("/a/d", "12");
    assert_eq!(world.data(STATS), "count=4,bytes=11");
    assert_ne!(world.tree.view().digest(), digest);
    world.set("/a/d", "", 1);
    assert_eq!(world.data(STATS), "count=4,bytes=9");
    world.delete("/a/b");
    assert_eq!(world.data(STATS), "count=3,bytes=6");
    assert_eq!((world.znode(STATS).persisted().version, world.znode("/a").persisted().version), (0, version));
    assert_eq!(events(&world.changes).len(), 2, "watchers hear nothing of the usage");
    world.create("/other", "123");
    assert_eq!(world.data(STATS), "count=3,bytes=6");
    world.delete("/zookeeper/quota/a/zookeeper_limits");
    assert_eq!(world.tree.view().quota_for("/a"), None);
    world.create("/a/e", "");
    assert_eq!(world.data(STATS), "count=3,bytes=6");
    // At the quota root itself there can be none.
    world.create("/zookeeper/quota/zookeeper_limits", "");
    world.create("/zookeeper/quota/zookeeper_stats", "");
    assert_eq!(world.tree.view().quotas().count(), 0);
}

#[test]
fn digests_are_sampled() {
    let mut world = World::new();
    for zxid in 1..=300 {
        world.apply_at(zxid, OpCode::ERROR, &Txn::Error { err: ErrorCode::NO_NODE });
    }
    assert_eq!(world.tree.digest_history().map(|sample| sample.zxid.0).collect::<Vec<_>>(), [128, 256]);
    let off = Tree::new(Options { digest_enabled: false, ..OPTIONS });
    assert_eq!(off.view().digest(), 0);
}

#[test]
fn a_version_stays_and_a_rewind_leads_back_to_it() {
    let mut world = World::new();
    world.create("/a", "one");
    world.create("/zookeeper/quota/a", "");
    world.create("/zookeeper/quota/a/zookeeper_limits", "");
    let version = world.tree.cut();
    world.set("/a", "two", 1);
    world.create_kind("/e", "", CreateKind::Ephemeral);
    world.apply(OpCode::SET_ACL, &Txn::SetAcl { path: "/a".into(), acl: AclList::READ_ONLY, version: 4 });
    world.delete("/zookeeper/quota/a/zookeeper_limits");
    let newer = world.tree.cut();
    world.delete("/e");
    check(&version);
    check(&newer);
    assert_eq!(version.znode("/a").and_then(Znode::data), Some(&b"one"[..]));
    assert_eq!((version.zxid(), newer.zxid()), (Zxid(3), Zxid(7)));
    assert!(version.znode("/e").is_none() && newer.znode("/e").is_some());

    world.tree.rewind(&version);
    check(world.tree.view());
    assert_eq!((world.tree.view().zxid(), world.tree.view().digest()), (version.zxid(), version.digest()));
    assert_eq!(world.tree.view().quota_for("/a"), Some("/a"));
    world.create("/f", "");
    assert!(version.znode("/f").is_none());
    check(&newer);
    drop(world);
    check(&newer);
}

#[test]
fn what_a_snapshot_kept_is_freed_bit_by_bit() {
    let mut world = World::new();
    for n in 0..3000 {
        let path = format!("/n{n}");
        let txn = create(&path, b"", CreateKind::Persistent, -1);
        world.tree.apply(&header(OpCode::CREATE, n + 1), &txn, &mut world.changes);
    }
    let snapshot = world.tree.cut();
    for n in 0..3000 {
        let txn = Txn::Delete { path: format!("/n{n}").into() };
        world.tree.apply(&header(OpCode::DELETE, 3001 + n), &txn, &mut world.changes);
    }
    drop(world.tree.cut());
    let kept = world.tree.heap_stats().retired_nodes;
    assert!(kept > 6000, "each of 3000 znodes is a node of the map, and one of its parent's children: {kept}");
    check(&snapshot);
    drop(snapshot);
    let mut cuts = 0;
    while world.tree.heap_stats().retired_nodes > 0 {
        drop(world.tree.cut());
        cuts += 1;
        assert!(cuts < 100, "never done: {:?}", world.tree.heap_stats());
    }
    assert!(cuts > 3, "{kept} nodes were freed in {cuts} cuts");
    assert!(world.tree.reclaim(usize::MAX));
    check(world.tree.view());
}

/// What crosses threads: the tree into the replica's, versions into every shard and the log's, the parts that are
/// decoded into the loader's.
#[test]
fn what_has_to_cross_threads_may() {
    fn sent<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    sent::<Tree>();
    sent::<Loader>();
    sent::<Walk>();
    sent::<Part>();
    shared::<Version>();
    shared::<Change>();
    shared::<Part>();
}

#[test]
fn a_walk_pauses_and_goes_on() {
    let mut world = World::new();
    for n in 0..100 {
        world.create(&format!("/n{n}"), "");
    }
    let mut walk = Walk::new(world.tree.cut());
    let mut seen = BTreeSet::new();
    let mut slices = 0;
    loop {
        world.create(&format!("/later{slices}"), "");
        world.delete(&format!("/n{slices}"));
        slices += 1;
        let mut room = 7;
        let done = walk.visit(|znode| {
            assert!(seen.insert(znode.path().to_string()), "twice");
            room -= 1;
            room > 0
        });
        if done {
            break;
        }
    }
    assert_eq!((slices, walk.left()), (15, 0), "104 znodes by sevens");
    assert_eq!(seen, walk.version().iter().map(|znode| znode.path().to_string()).collect());
    assert!(walk.visit(|_| panic!("there is no more")));
}

#[test]
fn names_of_children_that_are_taken_together_are_all_of_them() {
    let mut world = World::new();
    let mut have = 0;
    world.create("/a", "");
    for count in [0, 1, 2, 31, 32, 33, 64, 100] {
        while have < count {
            world.create(&format!("/a/n{have}"), "");
            have += 1;
        }
        let mut together = Vec::new();
        world.znode("/a").visit_children(|name| together.push(name.to_owned()));
        assert!(together.iter().eq(world.znode("/a").children()), "{count} in the same order");
        together.sort();
        let mut wanted: Vec<String> = (0..count).map(|at| format!("n{at}")).collect();
        wanted.sort();
        assert_eq!(together, wanted);
    }
}
