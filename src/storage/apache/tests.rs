//! The fixture was made by Apache's own classes: `tests/apache_snapshot`. What we write, they read in
//! `tests/apache_snapshot.rs`.

use std::fmt::Write;

use super::super::SnapWriter;
use super::*;
use crate::ids::Epoch;
use crate::tree::Version;
use crate::tree::ephemeral_type::OwnerOptions;
use crate::wire::op::OpCode;
use crate::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader};

const BODY: &[u8] = include_bytes!("../../../tests/apache_snapshot/apache.body");
const TEXT: &str = include_str!("../../../tests/apache_snapshot/apache.txt");
/// The last transaction of the fixture.
const ZXID: Zxid = Zxid(0x1_0000_004a);

fn options() -> tree::Options {
    tree::Options {
        owners: OwnerOptions { extended_types: true, ..OwnerOptions::default() },
        ..tree::Options::default()
    }
}

fn reader(zxid: Zxid) -> SnapReader {
    SnapReader::new(options(), zxid, Limits::default())
}

fn read(bytes: &[u8], zxid: Zxid) -> Result<(Tree, BTreeMap<SessionId, i32>), SnapError> {
    let mut reader = reader(zxid);
    reader.push(bytes)?;
    reader.finish()
}

/// As the Java program tells it.
fn text(version: &Version, sessions: &BTreeMap<SessionId, i32>) -> String {
    let mut text = String::new();
    for (session, timeout_ms) in sessions {
        writeln!(text, "session {:x} {timeout_ms}", session.0).expect("to a string");
    }
    let mut lines: Vec<String> = Vec::new();
    for znode in version.iter() {
        let stat = znode.persisted();
        let mut line = format!("znode {} ", znode.path());
        match znode.data() {
            None => line += "null",
            Some(data) => {
                line.push('=');
                data.iter().for_each(|byte| write!(line, "{byte:02x}").expect("to a string"));
            }
        }
        for acl in version.acl(znode.acl_id()).list.iter() {
            write!(line, " {}:{}:{}", acl.perms.0, acl.id.scheme, acl.id.id).expect("to a string");
        }
        writeln!(
            line,
            " | {:x} {:x} {} {} {} {} {} {:x} {:x}",
            stat.czxid.0,
            stat.mzxid.0,
            stat.ctime.0,
            stat.mtime.0,
            stat.version,
            stat.cversion,
            stat.aversion,
            stat.ephemeral_owner,
            stat.pzxid.0
        )
        .expect("to a string");
        lines.push(line);
    }
    // In the order of the paths, not of the lines.
    lines.sort_by_key(|line| line.split(' ').nth(1).unwrap_or_default().to_owned());
    text.extend(lines);
    writeln!(text, "digest {:x}", version.digest()).expect("to a string");
    text
}

fn write_all(version: Version, sessions: &BTreeMap<SessionId, i32>, budget: usize) -> Vec<u8> {
    let mut writer = SnapWriter::new(version, sessions.iter().map(|(&id, &timeout_ms)| (id, timeout_ms)).collect());
    let (mut all, mut slice) = (Vec::new(), Vec::new());
    loop {
        slice.clear();
        let is_more = writer.fill(&mut slice, budget);
        all.extend_from_slice(&slice);
        if !is_more {
            return all;
        }
        assert!(!slice.is_empty());
    }
}

#[test]
fn what_apache_wrote_is_read_with_its_digest() {
    let (mut tree, sessions) = read(BODY, ZXID).expect("Apache wrote it");
    let version = tree.cut();
    assert_eq!(version.zxid(), ZXID);
    assert_eq!(text(&version, &sessions), TEXT);
}

#[test]
fn bytes_come_in_pieces_of_any_length_and_what_follows_is_left() {
    let mut stream = BODY.to_vec();
    stream.extend_from_slice(b"packets");
    for piece in [1, 2, 3, 7, 64, 1000, 5000, BODY.len() - 1, BODY.len(), BODY.len() + 3, stream.len()] {
        let mut reader = reader(ZXID);
        let mut used = 0;
        for bytes in stream.chunks(piece) {
            match reader.push(bytes).expect("it is sound") {
                Pushed::More => used += bytes.len(),
                Pushed::Complete { used: of_these } => {
                    used += of_these;
                    break;
                }
            }
        }
        assert_eq!(used, BODY.len(), "in pieces of {piece}");
        assert_eq!(reader.push(b"more"), Ok(Pushed::Complete { used: 0 }));
        let (mut tree, sessions) = reader.finish().expect("it is complete");
        assert_eq!(text(&tree.cut(), &sessions), TEXT, "in pieces of {piece}");
    }
}

#[test]
fn what_is_written_in_slices_of_any_length_is_the_same_and_is_read_back() {
    let (mut tree, sessions) = read(BODY, ZXID).expect("Apache wrote it");
    let version = tree.cut();
    let whole = write_all(version.clone(), &sessions, usize::MAX);
    assert_eq!(whole.len(), BODY.len(), "the same in another order");
    for budget in [1, 100, 4096] {
        assert!(write_all(version.clone(), &sessions, budget) == whole, "in slices of {budget}");
    }
    let (mut again, sessions) = read(&whole, ZXID).expect("we wrote it");
    assert_eq!(text(&again.cut(), &sessions), TEXT);
}

#[test]
fn a_snapshot_that_is_cut_short_is_not_taken() {
    for len in 0..BODY.len() {
        let mut reader = reader(ZXID);
        assert_eq!(reader.push(&BODY[..len]), Ok(Pushed::More));
        assert_eq!(reader.finish().err(), Some(SnapError::Incomplete(len as u64)));
    }
}

/// Where the znodes begin in the fixture.
fn znodes_at() -> usize {
    // The root: an empty path, and data of no byte.
    let root = [0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
    BODY.windows(root.len()).position(|window| window == root).expect("there is a root")
}

#[test]
fn hostile_bytes_are_errors() {
    let edit = |at: usize, bytes: &[u8]| {
        let mut body = BODY.to_vec();
        body[at..at + bytes.len()].copy_from_slice(bytes);
        read(&body, ZXID).err().unwrap_or_else(|| panic!("{bytes:?} at {at} was taken"))
    };
    let minus = (-2_i32).to_be_bytes();
    assert!(matches!(edit(0, &minus), SnapError::BadLength { offset: 0, len: -2, .. }));
    let lists = 4 + 3 * 12;
    assert!(matches!(edit(lists, &minus), SnapError::BadLength { len: -2, .. }));
    for len in [-1_i32, -7] {
        let error = edit(lists + 4 + 8, &len.to_be_bytes());
        assert!(matches!(error, SnapError::BadLength { what: "a list", .. }), "{error}");
    }
    let znodes = znodes_at();
    for len in [-2, i32::MIN, i32::MAX, (64 << 20) + 1] {
        let error = edit(znodes, &len.to_be_bytes());
        assert!(matches!(error, SnapError::BadLength { offset, .. } if offset == znodes as u64), "{error}");
        let error = edit(znodes + 4, &len.to_be_bytes());
        assert!(matches!(error, SnapError::BadLength { what: "data", .. }), "{error}");
    }
    let signature = BODY.len() - 14;
    assert!(edit(signature + 5, b"x").to_string().contains("BenWasHere"));
    let limits = Limits { record_bytes_max: 1 << 20, body_bytes_max: 5000 };
    let mut bounded = SnapReader::new(options(), ZXID, limits);
    assert_eq!(bounded.push(BODY), Err(SnapError::TooLong(5000)));
    // A znode without its parent, one that is there twice, and no root.
    let orphan = BODY.windows(4).position(|window| window == b"/app").expect("it is there");
    assert!(matches!(edit(orphan, b"/apq"), SnapError::NoTree(LoadError::DanglingParent(_))));
    let other = BODY.windows(4).position(|window| window == b"/ttl").expect("it is there");
    assert!(matches!(edit(other, b"/app"), SnapError::NoTree(LoadError::Duplicate(_))));
    assert!(matches!(edit(orphan, &[0xff]), SnapError::Malformed { .. }));
    let mut rootless = BODY[..znodes].to_vec();
    rootless.extend_from_slice(b"\0\0\0\x01/\0\0\0\x0aBenWasHere");
    assert_eq!(read(&rootless, ZXID).err(), Some(SnapError::NoTree(LoadError::NoRoot)));
}

/// Every byte set to some others: no panic, and nothing is kept that is longer than what came.
#[test]
fn any_flipped_byte_ends_in_a_tree_or_an_error() {
    let (mut trees, mut errors, mut waits) = (0, 0, 0);
    for at in (0..BODY.len()).step_by(if at_leisure() { 7 } else { 83 }) {
        for value in [0, 1, 0x2f, 0x7f, 0x80, 0xff] {
            let mut body = BODY.to_vec();
            body[at] = value;
            let mut reader = reader(ZXID);
            match reader.push(&body) {
                Ok(_) => match reader.finish() {
                    Ok(_) => trees += 1,
                    Err(SnapError::Incomplete(_)) => waits += 1,
                    Err(_) => errors += 1,
                },
                Err(_) => errors += 1,
            }
        }
    }
    assert!(trees > 100 && errors > 50 && waits > 0, "{trees} trees, {errors} errors, {waits} wait for more");
}

fn at_leisure() -> bool {
    !cfg!(debug_assertions)
}

/// Apache's leader goes on while it writes: what is newer than the packet's zxid comes again as a transaction.
#[test]
fn what_is_newer_than_its_zxid_is_left_to_its_transaction() {
    // As if it had been sent with an older zxid: whatever was created later is left out, with all below it.
    let (mut exact, _) = read(BODY, ZXID).expect("Apache wrote it");
    let before = Zxid(0x1_0000_0020);
    let (mut tree, _) = read(BODY, before).expect("a tree all the same");
    let later = exact.view().iter().filter(|znode| znode.persisted().czxid > before).count();
    assert!(later > 20);
    assert_eq!(tree.view().node_count(), exact.view().node_count() - later);
    assert!(tree.view().iter().all(|znode| znode.persisted().czxid <= before));
    assert_eq!(tree.view().zxid(), before);

    // A list that came into the table behind it allows nobody anything, until the transaction that gave it comes again.
    let mut body = BODY.to_vec();
    let znode = body.windows(6).position(|window| window == b"/empty").expect("it is there");
    body[znode + 6 + 4..znode + 6 + 12].copy_from_slice(&77_i64.to_be_bytes());
    let (mut closed, _) = read(&body, ZXID).expect("a tree all the same");
    let version = closed.cut();
    let list = &version.acl(version.znode("/empty").expect("it is there").acl_id()).list;
    assert_eq!(list.iter().map(|acl| acl.perms).collect::<Vec<_>>(), [Perms(0)]);
    let zxid = ZXID.next();
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time: WallTime(5), op: OpCode::SET_ACL };
    let txn = Txn::SetAcl { path: "/empty".into(), acl: AclList::READ_ONLY, version: 2 };
    for tree in [&mut closed, &mut exact] {
        tree.apply(&header, &txn, &mut Vec::new());
    }
    assert_eq!(closed.view().digest(), exact.view().digest());
    let version = closed.cut();
    assert!(version.acl(version.znode("/empty").expect("it is there").acl_id()).list == AclList::READ_ONLY);
    drop(tree.cut());
}

/// Parents come before their children however wide and deep the tree is, and a slice ends anywhere among them.
#[test]
fn a_wide_and_deep_tree_goes_through() {
    let mut tree = Tree::new(options());
    let mut zxid = Zxid::new(Epoch(1), 0);
    let mut create = |tree: &mut Tree, path: &str, parent_cversion| {
        zxid = zxid.next();
        let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time: WallTime(5), op: OpCode::CREATE };
        let acl = AclList::OPEN;
        let create = CreateTxn { path: path.into(), data: None, acl, kind: CreateKind::Persistent, parent_cversion };
        tree.apply(&header, &Txn::Create(create), &mut Vec::new());
    };
    for width in 0..2000 {
        create(&mut tree, &format!("/{width}"), width + 1);
        if width % 10 == 0 {
            create(&mut tree, &format!("/{width}/a"), 1);
            create(&mut tree, &format!("/{width}/a/b"), 1);
            create(&mut tree, &format!("/{width}/c"), 2);
        }
    }
    let mut path = String::new();
    for _ in 0..500 {
        path += "/d";
        create(&mut tree, &path, 2001);
    }
    let sessions = BTreeMap::from([(SessionId(1), 1)]);
    let version = tree.cut();
    let body = write_all(version.clone(), &sessions, 777);
    let (mut again, _) = read(&body, version.zxid()).expect("we wrote it");
    assert_eq!(text(&again.cut(), &sessions), text(&version, &sessions));
}
