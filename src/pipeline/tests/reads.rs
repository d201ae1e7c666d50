//! Reads: the other half of `FinalRequestProcessor`, `DataTree.setWatches`, and what watchers hear.

use super::*;
use crate::wire::request::{PathKindRequest, SetWatchesRequest};
use crate::wire::watch_event::{EventType, decode_event};

fn strings(reader: &mut Reader<'_>) -> Vec<String> {
    let mut strings: Vec<String> = reader.ustrings().expect("strings").iter().map(ToString::to_string).collect();
    strings.sort_unstable();
    strings
}

fn bench_with(paths: &[&str]) -> Bench {
    let mut bench = Bench::new();
    for path in paths {
        assert_eq!(bench.create(path, 0).err(), ErrorCode::OK);
    }
    bench
}

/// Who of one watcher hears what of these changes.
fn heard(bench: &mut Bench, outcome: &Outcome) -> Vec<(EventType, String)> {
    let mut heard = Vec::new();
    for change in &outcome.changes {
        let (identities, options) = (&bench.identities, &bench.pipeline.options.auth);
        fire(&mut bench.watches, change, |watcher| {
            assert_eq!(watcher, Watcher(0));
            if may_hear(change, identities, options) {
                heard.push((change.event, change.path.to_string()));
            }
        });
    }
    heard
}

#[test]
fn get_data_answers_data_and_stat() {
    let mut bench = bench_with(&["/a"]);
    let outcome = bench.read(OpCode::GET_DATA, "/a", false);
    let mut body = outcome.body();
    assert_eq!(body.buffer(), Ok(Some(&b"data"[..])));
    assert_eq!(Stat::decode(&mut body), Ok(bench.pipeline.view().znode("/a").expect("created").stat()));
    assert!(body.is_empty());
    assert_eq!(outcome.reply.as_ref().expect("an answer").0.zxid, Zxid(2));
    assert_eq!(bench.read(OpCode::GET_DATA, "/none", true).err(), ErrorCode::NO_NODE);
    assert!(bench.watches.is_empty(), "getData leaves no watch on what is not there");
    assert_eq!(bench.read(OpCode::GET_DATA, "", false).err(), ErrorCode::OK, "the root, as in Apache");
}

#[test]
fn null_data_stays_null() {
    let mut bench = Bench::new();
    let request = CreateRequest { path: "/n".into(), data: None, acl: AclList::OPEN, flags: 0, ttl_ms: -1 };
    bench.send(OpCode::CREATE, |out| request.encode(OpCode::CREATE, out));
    assert_eq!(bench.read(OpCode::GET_DATA, "/n", false).body().buffer(), Ok(None));
}

#[test]
fn exists_waits_for_what_is_not_there() {
    let mut bench = Bench::new();
    assert_eq!(bench.read(OpCode::EXISTS, "/a", true).err(), ErrorCode::NO_NODE);
    assert_eq!(bench.read(OpCode::EXISTS, "/a\0", true).err(), ErrorCode::BAD_ARGUMENTS);
    assert_eq!(bench.watches.len(), 1);
    let outcome = bench.create("/a", 0);
    assert_eq!(heard(&mut bench, &outcome), [(EventType::NodeCreated, "/a".to_owned())]);
    assert_eq!(bench.read(OpCode::EXISTS, "/a", false).stat().czxid, outcome.done.zxid);
}

#[test]
fn zookeeper_2590_exists_needs_read() {
    let mut bench = bench_with(&["/a"]);
    bench.set_acl("/a", acl(&[(Perms::WRITE, "world", "anyone")]), -1);
    for op in [OpCode::EXISTS, OpCode::GET_DATA, OpCode::GET_CHILDREN, OpCode::GET_CHILDREN2] {
        assert_eq!(bench.read(op, "/a", true).err(), ErrorCode::NO_AUTH, "{op}");
    }
    assert_eq!(bench.send(OpCode::GET_ALL_CHILDREN_NUMBER, |out| out.put_ustring("/a")).err(), ErrorCode::NO_AUTH);
    assert!(bench.watches.is_empty(), "and no watch is left");
}

#[test]
fn get_children_lists_names() {
    let mut bench = bench_with(&["/a", "/a/x", "/a/y", "/a/x/deep"]);
    let outcome = bench.read(OpCode::GET_CHILDREN, "/a", true);
    let mut body = outcome.body();
    assert_eq!(strings(&mut body), ["x", "y"]);
    assert!(body.is_empty());
    let outcome = bench.read(OpCode::GET_CHILDREN2, "/a", true);
    let mut body = outcome.body();
    assert_eq!(strings(&mut body), ["x", "y"]);
    assert_eq!(Stat::decode(&mut body).expect("a stat").num_children, 2);
    assert_eq!(bench.read(OpCode::GET_CHILDREN, "/none", true).err(), ErrorCode::NO_NODE);
    assert_eq!(bench.watches.len(), 1);
}

#[test]
fn get_all_children_number_counts_at_every_depth() {
    let mut bench = bench_with(&["/a", "/a/x", "/a/y", "/a/x/deep", "/ab"]);
    let mut count = |path: &str| {
        let outcome = bench.send(OpCode::GET_ALL_CHILDREN_NUMBER, |out| out.put_ustring(path));
        outcome.body().i32().expect("a number")
    };
    assert_eq!(count("/a"), 3);
    assert_eq!(count("/ab"), 0);
    assert_eq!(count("/"), 8, "ZooKeeper's own three included");
}

#[test]
fn get_acl_masks_digests_from_who_may_not_administer() {
    let mut bench = bench_with(&["/a"]);
    bench.authenticate("bob:secret");
    let digest = auth::generate_digest("bob:secret", auth::DigestAlgorithm::Sha1);
    let list = acl(&[(Perms::ALL, "digest", &digest), (Perms::READ, "world", "anyone")]);
    bench.set_acl("/a", list.clone(), -1);
    let get = |bench: &mut Bench| {
        let outcome = bench.send(OpCode::GET_ACL, |out| out.put_ustring("/a"));
        let mut body = outcome.body();
        let list = AclList::decode(&mut body).expect("a list").into_owned();
        assert_eq!(Stat::decode(&mut body).expect("a stat").aversion, 1);
        list
    };
    assert_eq!(get(&mut bench), list);
    bench.identities.retain(|id| id.scheme == "ip");
    assert_eq!(get(&mut bench), acl(&[(Perms::ALL, "digest", "bob:x"), (Perms::READ, "world", "anyone")]));
    bench.authenticate("bob:secret");
    bench.set_acl("/a", acl(&[(Perms::WRITE, "world", "anyone")]), -1);
    assert_eq!(bench.send(OpCode::GET_ACL, |out| out.put_ustring("/a")).err(), ErrorCode::NO_AUTH);
    assert_eq!(bench.send(OpCode::GET_ACL, |out| out.put_ustring("/none")).err(), ErrorCode::NO_NODE);
}

#[test]
fn get_ephemerals_by_prefix() {
    let mut bench = bench_with(&["/a"]);
    for path in ["/a/1", "/a/2", "/b"] {
        bench.create(path, 1);
    }
    let mut get = |prefix: &str| {
        let outcome = bench.send(OpCode::GET_EPHEMERALS, |out| out.put_ustring(prefix));
        strings(&mut outcome.body())
    };
    for all in ["", "/", " ", " / "] {
        assert_eq!(get(all), ["/a/1", "/a/2", "/b"], "{all:?}");
    }
    assert_eq!(get("/a"), ["/a/1", "/a/2"]);
    assert_eq!(get("/a/2"), ["/a/2"]);
    assert_eq!(get("/x"), [""; 0]);
    let outcome = bench.send(OpCode::GET_EPHEMERALS, |out| out.put_i32(-1));
    assert_eq!(strings(&mut outcome.body()).len(), 3, "null is all");
}

#[test]
fn multi_read_answers_each_on_its_own_and_leaves_no_watch() {
    let mut bench = bench_with(&["/a", "/a/x"]);
    let read = |path: &'static str| PathWatchRequest { path: path.into(), watch: true };
    let ops = [MultiOp::GetData(read("/a")), MultiOp::GetData(read("/none")), MultiOp::GetChildren(read("/a"))];
    let outcome = bench.send(OpCode::MULTI_READ, |out| encode_multi(&ops, out));
    let mut body = outcome.body();
    assert_eq!(MultiHeader::decode(&mut body), Ok(MultiHeader { op: OpCode::GET_DATA, done: false, err: 0 }));
    assert_eq!(body.buffer(), Ok(Some(&b"data"[..])));
    Stat::decode(&mut body).expect("a stat");
    assert_eq!(MultiHeader::decode(&mut body), Ok(MultiHeader { op: OpCode::ERROR, done: false, err: -101 }));
    assert_eq!(body.i32(), Ok(-101));
    assert_eq!(MultiHeader::decode(&mut body), Ok(MultiHeader { op: OpCode::GET_CHILDREN, done: false, err: 0 }));
    assert_eq!(strings(&mut body), ["x"]);
    assert_eq!(MultiHeader::decode(&mut body), Ok(MultiHeader::END));
    assert!(body.is_empty() && bench.watches.is_empty());
    let write = MultiOp::Check(PathVersionRequest { path: "/a".into(), version: -1 });
    assert_eq!(bench.send(OpCode::MULTI_READ, |out| encode_multi(&[write], out)).err(), ErrorCode::MARSHALLING_ERROR);
}

#[test]
fn a_multi_read_is_bounded_by_its_answer() {
    let mut bench = bench_with(&["/a"]);
    let data = vec![0; 1 << 20];
    assert_eq!(bench.set_data("/a", &data, -1).err(), ErrorCode::OK);
    let mut read_times = |times: usize| {
        let op = || MultiOp::GetData(PathWatchRequest { path: "/a".into(), watch: false });
        let ops: Vec<_> = (0..times).map(|_| op()).collect();
        bench.send(OpCode::MULTI_READ, |out| encode_multi(&ops, out))
    };
    assert_eq!(read_times(8).err(), ErrorCode::OK);
    let refused = read_times(read::MULTI_READ_BYTES_MAX / data.len() + 2);
    assert_eq!(refused.err(), ErrorCode::SYSTEM_ERROR);
    assert!(refused.reply.expect("an answer").1.is_empty());
}

#[test]
fn undecodable_reads_answer_marshalling_error() {
    let mut bench = Bench::new();
    for number in 0..120 {
        let op = OpCode(number);
        if read::is_read(op) && !matches!(op, OpCode::PING | OpCode::WHO_AM_I) {
            let outcome = bench.send_bytes(op, &[0, 0, 0]);
            assert_eq!(outcome.err(), ErrorCode::MARSHALLING_ERROR, "{op}");
            assert!(outcome.reply.expect("an answer").1.is_empty());
        }
    }
    for op in [OpCode::ADD_WATCH, OpCode::CHECK_WATCHES, OpCode::REMOVE_WATCHES] {
        let outcome = bench.send(op, |out| PathKindRequest { path: "/a".into(), kind: 9 }.encode(out));
        assert_eq!(outcome.err(), ErrorCode::MARSHALLING_ERROR, "{op} of a kind that is none");
    }
    assert_eq!(bench.send(OpCode::GET_DATA, |out| out.put_bytes(&[0xff; 5])).err(), ErrorCode::MARSHALLING_ERROR);
}

#[test]
fn ping_is_a_header() {
    let outcome = Bench::new().send_bytes(OpCode::PING, &[]);
    assert!(outcome.body().is_empty());
}

#[test]
fn who_am_i() {
    let mut bench = Bench::new();
    bench.authenticate("bob:secret");
    let outcome = bench.send_bytes(OpCode::WHO_AM_I, &[]);
    let mut body = outcome.body();
    assert_eq!(body.i32(), Ok(2));
    let mut infos: Vec<(String, String)> = (0..2)
        .map(|_| (body.ustring().expect("a scheme").into_owned(), body.ustring().expect("a user").into_owned()))
        .collect();
    infos.sort_unstable();
    assert_eq!(infos, [("digest".to_owned(), "bob".to_owned()), ("ip".to_owned(), "127.0.0.1".to_owned())]);
}

#[test]
fn add_check_and_remove_watches() {
    let mut bench = bench_with(&["/a"]);
    let send =
        |bench: &mut Bench, op, kind| bench.send(op, |out| PathKindRequest { path: "/a".into(), kind }.encode(out));
    assert_eq!(send(&mut bench, OpCode::CHECK_WATCHES, 3).err(), ErrorCode::NO_WATCHER);
    assert_eq!(send(&mut bench, OpCode::ADD_WATCH, 1).body().i32(), Ok(0));
    assert_eq!(send(&mut bench, OpCode::CHECK_WATCHES, 5).err(), ErrorCode::OK);
    assert_eq!(send(&mut bench, OpCode::CHECK_WATCHES, 4).err(), ErrorCode::NO_WATCHER);
    let outcome = bench.create("/a/b", 0);
    assert_eq!(heard(&mut bench, &outcome), [(EventType::NodeCreated, "/a/b".to_owned())]);
    assert_eq!(send(&mut bench, OpCode::REMOVE_WATCHES, 3).err(), ErrorCode::OK);
    assert_eq!(send(&mut bench, OpCode::REMOVE_WATCHES, 3).err(), ErrorCode::NO_WATCHER);
    assert!(bench.watches.is_empty());
}

#[test]
fn a_deletion_is_heard_once_and_the_parent_hears_of_its_children() {
    let mut bench = bench_with(&["/a", "/a/b"]);
    bench.read(OpCode::GET_DATA, "/a/b", true);
    bench.read(OpCode::GET_CHILDREN, "/a/b", true);
    bench.read(OpCode::GET_CHILDREN, "/a", true);
    let outcome = bench.delete("/a/b", -1);
    assert_eq!(
        heard(&mut bench, &outcome),
        [(EventType::NodeDeleted, "/a/b".to_owned()), (EventType::NodeChildrenChanged, "/a".to_owned())]
    );
    assert!(bench.watches.is_empty());
}

#[test]
fn cve_2024_23944_events_are_only_for_readers() {
    let mut bench = bench_with(&["/a"]);
    bench.send(OpCode::ADD_WATCH, |out| PathKindRequest { path: "/a".into(), kind: 1 }.encode(out));
    let secret = acl(&[(Perms::ALL, "digest", "x:y")]);
    let outcome = bench.create_as(OpCode::CREATE, "/a/secret", 0, -1, secret);
    assert_eq!(outcome.changes.len(), 2);
    assert_eq!(heard(&mut bench, &outcome), [], "the path itself is not to be told");
    let outcome = bench.create("/a/open", 0);
    assert_eq!(heard(&mut bench, &outcome), [(EventType::NodeCreated, "/a/open".to_owned())]);
}

#[test]
fn set_watches_catches_up() {
    let mut bench = bench_with(&["/old", "/changed", "/born", "/parent"]);
    let seen = bench.pipeline.zxid();
    bench.set_data("/changed", b"", -1);
    bench.create("/parent/child", 0);
    let request = SetWatchesRequest {
        relative_zxid: seen,
        data: vec!["/old".into(), "/changed".into(), "/gone".into()],
        exist: vec!["/born".into(), "/unborn".into()],
        child: vec!["/old".into(), "/parent".into(), "/gone".into()],
        persistent: vec!["/p".into()],
        persistent_recursive: vec!["/r".into()],
    };
    let mut body = Vec::new();
    request.encode(&mut body);
    let mut out = Vec::new();
    let asker = Asker { watcher: Watcher(0), session: bench.session, identities: &bench.identities };
    let options = auth::Options::default();
    let view = bench.pipeline.view();
    let watches = &mut bench.watches;
    answer(view, &options, watches, &asker, Xid::SET_WATCHES, OpCode::SET_WATCHES2, &body, &mut out);
    let frames = frames(&out);
    let events: Vec<(i32, String)> = frames[..frames.len() - 1]
        .iter()
        .map(|frame| {
            let mut reader = Reader::new(frame);
            let header = ReplyHeader::decode(&mut reader).expect("a header");
            assert_eq!((header.xid, header.zxid), (Xid::NOTIFICATION, Zxid(-1)));
            let (event, state, path) = decode_event(&mut reader).expect("an event");
            assert_eq!(state, 3);
            (event, path)
        })
        .collect();
    let event = |event: EventType, path: &str| (event as i32, path.to_owned());
    assert_eq!(
        events,
        [
            event(EventType::NodeDataChanged, "/changed"),
            event(EventType::NodeDeleted, "/gone"),
            event(EventType::NodeCreated, "/born"),
            event(EventType::NodeChildrenChanged, "/parent"),
            event(EventType::NodeDeleted, "/gone"),
        ]
    );
    let (header, rest) = last_frame(&out);
    assert_eq!((header.xid, header.err), (Xid::SET_WATCHES, ErrorCode::OK));
    assert!(rest.is_empty());
    let mut left: Vec<&str> = watches.by_path().map(|(path, _)| path).collect();
    left.sort_unstable();
    assert_eq!(left, ["/old", "/p", "/r", "/unborn"]);
    assert_eq!(watches.len(), 6, "/old has both, and /p stands in both tables");
}

#[test]
fn set_watches_of_the_first_kind_has_no_persistent_ones() {
    let mut bench = Bench::new();
    let request = SetWatchesRequest {
        relative_zxid: Zxid(0),
        data: vec![],
        exist: vec!["/x".into()],
        child: vec![],
        persistent: vec!["/p".into()],
        persistent_recursive: vec![],
    };
    let outcome = bench.send(OpCode::SET_WATCHES, |out| request.encode(out));
    assert!(outcome.body().is_empty());
    assert_eq!(bench.watches.len(), 1);
}

#[test]
fn every_operation_is_either_a_read_or_not() {
    let reads = (-20..200).filter(|number| read::is_read(OpCode(*number))).count();
    assert_eq!(reads, 15);
}
