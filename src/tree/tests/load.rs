//! A tree that is loaded in parts is the tree that transactions made, however its znodes are spread over parts, and goes on as
//! it does.

use super::rules::World;
use super::*;

const ZNODES: i64 = 3_000;

/// Znodes of every kind: a wide parent, a deep path, many small families, and sessions with several ephemerals.
fn grown() -> Tree {
    let mut tree = Tree::new(OPTIONS);
    let mut changes = Vec::new();
    let mut zxid = 0;
    let mut apply = |tree: &mut Tree, path: &str, kind| {
        zxid += 1;
        let op = match kind {
            CreateKind::Persistent | CreateKind::Ephemeral => OpCode::CREATE2,
            CreateKind::Container => OpCode::CREATE_CONTAINER,
            CreateKind::Ttl(_) => OpCode::CREATE_TTL,
        };
        let header = TxnHeader { session: SessionId(1 + zxid % 3), ..header(op, zxid) };
        let acl = if zxid % 5 == 0 { AclList::READ_ONLY } else { AclList::OPEN };
        let data = (zxid % 7 > 0).then_some(path.as_bytes());
        let txn = Txn::Create(CreateTxn { path: path.into(), data, acl, kind, parent_cversion: -1 });
        let applied = tree.apply(&header, &txn, &mut changes);
        assert_eq!(applied.err, crate::wire::error_code::ErrorCode::OK, "{path}");
    };
    apply(&mut tree, "/wide", CreateKind::Persistent);
    let mut deep = String::new();
    for number in 0..ZNODES / 3 {
        let kind = match number % 11 {
            0 => CreateKind::Ephemeral,
            1 => CreateKind::Container,
            2 => CreateKind::Ttl(number),
            _ => CreateKind::Persistent,
        };
        apply(&mut tree, &format!("/wide/n{number:07}"), kind);
        apply(&mut tree, &format!("/family{number}"), CreateKind::Persistent);
        apply(&mut tree, &format!("/family{number}/child-of-{number}"), kind);
        if number % 20 == 0 {
            deep.push_str("/d");
            apply(&mut tree, &deep, CreateKind::Persistent);
        }
    }
    tree
}

/// What of a znode can be seen, and in which order.
fn walk(view: &View) -> Vec<(String, Vec<String>)> {
    let children = |znode: &Znode| znode.children().map(str::to_owned).collect();
    view.iter().map(|znode| (znode.path().to_string(), children(znode))).collect()
}

/// Enters a view's lists, and gives their numbers in the loader by those in the view.
fn enter_lists(view: &View, loader: &mut Loader) -> BTreeMap<AclId, AclId> {
    let listed = view.acls().map(|(id, entry)| (id, loader.insert_acl(&entry.list)));
    listed.chain([(AclId::OPEN, AclId::OPEN)]).collect()
}

fn assert_same_znodes(ours: &View, theirs: &View, paths: &[&str]) {
    for path in paths {
        let (one, other) = (ours.znode(path).expect("loaded"), theirs.znode(path).expect("there"));
        assert_eq!((one.stat(), one.data()), (other.stat(), other.data()), "{path}");
        assert_eq!(ours.acl(one.acl_id()), theirs.acl(other.acl_id()), "{path}");
    }
}

#[test]
fn in_parts_it_is_the_same_tree() {
    let tree = grown();
    let view = tree.view();
    let mut paths: Vec<&str> = view.iter().map(|znode| &**znode.path()).collect();
    let mut first = None;
    for parts in [1, 2, 5] {
        for hash_seed in [7, 8] {
            let mut loader = Loader::new(Options { hash_seed, ..OPTIONS });
            let lists = enter_lists(view, &mut loader);
            paths.rotate_left(parts * 100 + 1);
            let mut made: Vec<Part> = (0..parts).map(|_| loader.part()).collect();
            for (number, path) in paths.iter().enumerate() {
                let znode = view.znode(path).expect("a path of the view");
                let part = &mut made[number / 3 % parts];
                part.add(path, znode.data(), lists[&znode.acl_id()], *znode.persisted());
            }
            assert_eq!(made.iter().map(Part::len).sum::<usize>(), paths.len());
            made.into_iter().for_each(|part| loader.insert_part(part).expect("its lists are known"));
            // On two threads either may be done first.
            let loaded = loader.finish_load_by(view.zxid(), &|one, other| {
                if parts == 2 {
                    one();
                    other();
                } else {
                    other();
                    one();
                }
            });
            let mut loaded = loaded.expect("a tree");
            check(loaded.view());
            assert_eq!(loaded.view().digest(), view.digest());
            assert_eq!(loaded.view().approximate_data_size(), view.approximate_data_size());
            assert_same_znodes(loaded.view(), view, &paths);
            if hash_seed == 7 {
                let walked = walk(loaded.view());
                assert_eq!(*first.get_or_insert_with(|| walked.clone()), walked, "another order, with {parts} parts");
            }

            // It goes on, and back, as any tree.
            let before = (loaded.view().digest(), loaded.view().node_count());
            let version = loaded.cut();
            let mut changes = Vec::new();
            for (number, path) in paths.iter().enumerate().filter(|(_, path)| path.starts_with("/family")) {
                let txn = match number % 3 {
                    0 => Txn::Delete { path: (*path).into() },
                    1 => Txn::SetData { path: (*path).into(), data: Some(b"new"), version: 1 },
                    _ => Txn::SetAcl { path: (*path).into(), acl: AclList::READ_ONLY, version: 1 },
                };
                let op = [OpCode::DELETE, OpCode::SET_DATA, OpCode::SET_ACL][number % 3];
                loaded.apply(&header(op, 100_000 + number as i64), &txn, &mut changes);
            }
            let closed = Txn::CloseSession { paths: None };
            let close = TxnHeader { session: SessionId(1), ..header(OpCode::CLOSE_SESSION, 200_000) };
            loaded.apply(&close, &closed, &mut changes);
            check(loaded.view());
            check(&version);
            loaded.rewind(&version);
            check(loaded.view());
            assert_eq!((loaded.view().digest(), loaded.view().node_count()), before);
        }
    }
}

/// Copies a view through a loader, in the order of `paths`.
fn reload(view: &View, paths: &[&str]) -> Result<Tree, LoadError> {
    let mut loader = Loader::new(Options { hash_seed: 99, ..OPTIONS });
    loader.insert_acl(&AclList::from_entries([].iter()));
    let lists = enter_lists(view, &mut loader);
    let mut part = loader.part();
    for path in paths {
        let znode = view.znode(path).expect("a path of the view");
        let path = if *path == "/" { "" } else { path };
        part.add(path, znode.data(), lists[&znode.acl_id()], *znode.persisted());
    }
    loader.insert_part(part)?;
    loader.finish_load(view.zxid())
}

#[test]
fn a_tree_is_loaded_from_its_znodes_in_any_order() {
    let mut world = World::new();
    world.create("/a", "12345");
    world.create("/zookeeper/quota/a", "");
    world.create("/zookeeper/quota/a/zookeeper_limits", "count=5");
    world.create("/zookeeper/quota/a/zookeeper_stats", "");
    world.create_kind("/a/e", "1", CreateKind::Ephemeral);
    world.create_kind("/c", "", CreateKind::Container);
    world.create_kind("/c/t", "", CreateKind::Ttl(3));
    world.apply(OpCode::SET_ACL, &Txn::SetAcl { path: "/c".into(), acl: AclList::READ_ONLY, version: 4 });
    world.apply(OpCode::SET_DATA, &Txn::SetData { path: "/a".into(), data: None, version: 9 });
    let view = world.tree.view();
    let mut paths: Vec<&str> = view.iter().map(|znode| &**znode.path()).collect();
    for order in 0..2 {
        paths.sort_unstable();
        if order == 1 {
            paths.reverse();
        }
        let tree = reload(view, &paths).expect("a tree");
        check(tree.view());
        assert_eq!(tree.view().digest(), view.digest());
        assert_eq!(tree.view().zxid(), view.zxid());
        assert_eq!(tree.view().node_count(), view.node_count());
        assert_same_znodes(tree.view(), view, &paths);
        assert_eq!(tree.view().quota_for("/a"), Some("/a"));
    }
}

#[test]
fn znodes_that_are_no_tree_are_an_error() {
    let mut world = World::new();
    world.create("/a", "");
    world.create("/a/b", "");
    let view = world.tree.view();
    let error = |paths: &[&str]| reload(view, paths).err().map(|error| error.to_string());
    assert_eq!(error(&[]).as_deref(), Some("there is no root"));
    assert_eq!(error(&["/a/b", "/"]).as_deref(), Some("the znode /a/b has no parent"));
    assert_eq!(error(&["/", "/a", "/a"]).as_deref(), Some("the znode /a is there twice"));
}

#[test]
fn parts_that_are_no_tree_are_an_error() {
    let stat = StatPersisted::default();
    let load = |paths: &[&[&str]], list: AclId| {
        let mut loader = Loader::new(OPTIONS);
        for paths in paths {
            let mut part = loader.part();
            paths.iter().for_each(|path| part.add(path, None, list, stat));
            loader.insert_part(part)?;
        }
        loader.finish_load(Zxid(1))
    };
    let error = |paths| load(paths, AclId::OPEN).err().map(|error| error.to_string());
    assert_eq!(error(&[&["/", "/a"], &["/a/b"]]), None);
    assert_eq!(error(&[&[], &["/a"]]).as_deref(), Some("there is no root"));
    assert_eq!(error(&[&["/", "/a"], &["/b", "/a"]]).as_deref(), Some("the znode /a is there twice"));
    assert_eq!(error(&[&["/", "/a"], &["/b/c"]]).as_deref(), Some("the znode /b/c has no parent"));
    assert_eq!(error(&[&["/", "/a"], &["/a/", "/b"]]).as_deref(), Some("the znode /a/ has no parent"));
    assert_eq!(error(&[&["/", "nowhere"]]).as_deref(), Some("the znode nowhere has no parent"));
    let unknown = load(&[&["/"]], AclId(3)).err();
    assert_eq!(unknown, Some(LoadError::UnknownAcl("/".into())));
}
