//! `multi`: all or nothing, each operation seeing those before it.

use super::*;

fn create(path: &str, flags: i32) -> MultiOp<'_> {
    create_as(OpCode::CREATE, path, flags)
}

fn create_as(op: OpCode, path: &str, flags: i32) -> MultiOp<'_> {
    MultiOp::Create(op, CreateRequest { path: path.into(), data: Some(b"d"), acl: AclList::OPEN, flags, ttl_ms: -1 })
}

fn delete(path: &str, version: i32) -> MultiOp<'_> {
    MultiOp::Delete(PathVersionRequest { path: path.into(), version })
}

fn set(path: &str, version: i32) -> MultiOp<'_> {
    MultiOp::SetData(SetDataRequest { path: path.into(), data: Some(b"new"), version })
}

fn check(path: &str, version: i32) -> MultiOp<'_> {
    MultiOp::Check(PathVersionRequest { path: path.into(), version })
}

/// The errors of a multi's results, 0 for those that are none.
fn results(outcome: &Outcome) -> Vec<i32> {
    let mut body = outcome.body();
    let mut errs = Vec::new();
    loop {
        let header = MultiHeader::decode(&mut body).expect("a header");
        if header.done {
            assert_eq!(header, MultiHeader::END);
            assert!(body.is_empty());
            return errs;
        }
        errs.push(header.err);
        match header.op {
            OpCode::CREATE => drop(body.ustring().expect("a path")),
            OpCode::CREATE2 => {
                body.ustring().expect("a path");
                Stat::decode(&mut body).expect("a stat");
            }
            OpCode::SET_DATA => drop(Stat::decode(&mut body).expect("a stat")),
            OpCode::DELETE | OpCode::CHECK => {}
            OpCode::ERROR => assert_eq!(body.i32(), Ok(header.err)),
            other => panic!("{other} among the results"),
        }
    }
}

#[test]
fn a_multi_sees_its_own_operations() {
    let mut bench = Bench::new();
    let ops = [
        create("/a", 0),
        create_as(OpCode::CREATE2, "/a/b", 0),
        set("/a", 0),
        set("/a", 1),
        check("/a", 2),
        create("/a/n-", 2),
        create("/a/n-", 2),
        delete("/a/b", 0),
        create("/a/b", 0),
    ];
    let outcome = bench.multi(&ops);
    assert_eq!(results(&outcome), [0; 9]);
    assert_eq!(outcome.done.zxid, Zxid(2), "one zxid for all");
    let view = bench.pipeline.view();
    let mut children: Vec<&str> = view.znode("/a").expect("created").children().collect();
    children.sort_unstable();
    assert_eq!(children, ["b", "n-0000000001", "n-0000000002"]);
    let stat = view.znode("/a").expect("created").stat();
    assert_eq!((stat.version, stat.num_children, stat.cversion), (2, 3, 5));
    assert_eq!((stat.czxid, stat.mzxid, stat.pzxid), (Zxid(2), Zxid(2), Zxid(2)));
    let record = outcome.record();
    assert_eq!(record.header.op, OpCode::MULTI);
    assert_eq!(record.digest.expect("a digest").tree, view.digest(), "the digest is that behind the whole");
    let Txn::Multi(subs) = &record.txn else { panic!("{:?}", record.txn) };
    assert_eq!(subs[4].txn, Txn::Check { path: "/a".into(), version: 3 }, "the version after the one checked");
}

#[test]
fn a_failed_multi_leaves_no_trace() {
    let mut bench = Bench::new();
    bench.create("/a", 0);
    let (digest, stat) = (bench.pipeline.view().digest(), bench.pipeline.view().znode("/").expect("the root").stat());
    let ops =
        [create("/b", 0), set("/a", 0), create("/q-", 2), delete("/missing", -1), create("/c", 0), delete("/a", -1)];
    let outcome = bench.multi(&ops);
    assert_eq!(outcome.err(), ErrorCode::OK, "the errors stand in the body");
    assert_eq!(results(&outcome), [0, 0, 0, ErrorCode::NO_NODE.0, -2, -2]);
    assert!(outcome.changes.is_empty());
    let view = bench.pipeline.view();
    assert_eq!((view.digest(), view.znode("/").expect("the root").stat()), (digest, stat));
    assert!(!bench.exists("/b"));
    // ZOOKEEPER-1624: the sequence goes on as if it had never been.
    assert_eq!(bench.create("/q-", 2).path(), "/q-0000000001");
    let record = outcome.record();
    let Txn::Multi(subs) = &record.txn else { panic!("{:?}", record.txn) };
    // As Apache's: what was prepared before the failure, and errors from there on.
    let ops: Vec<OpCode> = subs.iter().map(|sub| sub.op).collect();
    let error = OpCode::ERROR;
    assert_eq!(ops, [OpCode::CREATE, OpCode::SET_DATA, OpCode::CREATE, error, error, error]);
    let errs: Vec<&Txn<'_>> = subs[3..].iter().map(|sub| &sub.txn).collect();
    let (no_node, behind) =
        (Txn::Error { err: ErrorCode::NO_NODE }, Txn::Error { err: ErrorCode::RUNTIME_INCONSISTENCY });
    assert_eq!(errs, [&no_node, &behind, &behind]);
    assert_eq!(record.header.zxid, Zxid(3), "it has a zxid all the same");
    assert_eq!(view_digest(&record), digest);
}

#[test]
fn zookeeper_4026_old_followers_know_no_create2_in_a_multi() {
    let subs_of = |ensemble| {
        let mut bench = Bench::new();
        bench.pipeline.ensemble = ensemble;
        let outcome = bench.multi(&[create_as(OpCode::CREATE2, "/a", 0), create_as(OpCode::CREATE2, "/c", 4)]);
        let in_answer = MultiHeader::decode(&mut outcome.body()).expect("a header").op;
        let Txn::Multi(subs) = outcome.record().txn else { panic!("a multi") };
        assert_eq!(subs[1].op, OpCode::CREATE_CONTAINER);
        (subs[0].op, in_answer)
    };
    assert_eq!(subs_of(Some(Ensemble::default())), (OpCode::CREATE, OpCode::CREATE));
    assert_eq!(subs_of(None), (OpCode::CREATE2, OpCode::CREATE2));
}

fn view_digest(record: &TxnRecord<'_>) -> u64 {
    record.digest.expect("a digest").tree
}

#[test]
fn an_empty_multi_is_one_transaction() {
    let mut bench = Bench::new();
    let outcome = bench.multi(&[]);
    assert_eq!(results(&outcome), [0; 0]);
    assert_eq!(outcome.record().txn, Txn::Multi(vec![]));
}

#[test]
fn operations_see_what_those_before_have_forbidden() {
    let cases: [(&[MultiOp<'_>], usize, ErrorCode); 8] = [
        (&[create("/e", 1), create("/e/x", 0)], 1, ErrorCode::NO_CHILDREN_FOR_EPHEMERALS),
        (&[create("/x", 0), create("/x", 0)], 1, ErrorCode::NODE_EXISTS),
        (&[create("/x", 0), create("/x/y", 0), delete("/x", -1)], 2, ErrorCode::NOT_EMPTY),
        (&[delete("/a", -1), set("/a", -1)], 1, ErrorCode::NO_NODE),
        (&[delete("/a", -1), create("/a/x", 0)], 1, ErrorCode::NO_NODE),
        (&[set("/a", 0), check("/a", 0)], 1, ErrorCode::BAD_VERSION),
        (&[delete("/a", -1), check("/a", -1)], 1, ErrorCode::NO_NODE),
        (&[check("/a", 7)], 0, ErrorCode::BAD_VERSION),
    ];
    for (ops, failed, err) in cases {
        let mut bench = Bench::new();
        bench.create("/a", 0);
        let errs = results(&bench.multi(ops));
        assert_eq!(errs[failed], err.0, "{ops:?}");
    }
}

#[test]
fn lists_of_created_znodes_hold_within_the_multi() {
    let mut bench = Bench::new();
    let closed = acl(&[(Perms::READ, "world", "anyone")]);
    let request = CreateRequest { path: "/c".into(), data: None, acl: closed, flags: 0, ttl_ms: -1 };
    let outcome = bench.multi(&[MultiOp::Create(OpCode::CREATE, request), create("/c/x", 0)]);
    assert_eq!(results(&outcome), [0, ErrorCode::NO_AUTH.0]);
    bench.create("/r", 0);
    bench.set_acl("/r", acl(&[(Perms::WRITE, "world", "anyone")]), -1);
    assert_eq!(results(&bench.multi(&[check("/r", -1)])), [ErrorCode::NO_AUTH.0], "check reads");
}

#[test]
fn multi_operation_record_reads_flags_as_much_as_headers() {
    let mut bench = Bench::with(Options { extended_types: true, ..Options::default() });
    let outcome = bench.multi(&[create_as(OpCode::CREATE, "/c", 4)]);
    assert_eq!(results(&outcome), [0]);
    let record = outcome.record();
    let Txn::Multi(subs) = &record.txn else { panic!("{:?}", record.txn) };
    assert_eq!(subs[0].op, OpCode::CREATE_CONTAINER, "with the container flag it is a createContainer");
    assert_eq!(bench.pipeline.view().containers().count(), 1);
    for ops in [&[create("/x", 9)][..], &[create("/x", 5)]] {
        let outcome = bench.multi(ops);
        assert_eq!(outcome.err(), ErrorCode::MARSHALLING_ERROR, "{ops:?}");
        assert!(outcome.done.logged);
    }
    let ttl = |path: &'static str, flags, ttl_ms| {
        let request = CreateRequest { path: path.into(), data: None, acl: AclList::OPEN, flags, ttl_ms };
        MultiOp::Create(OpCode::CREATE_TTL, request)
    };
    assert_eq!(results(&bench.multi(&[ttl("/t", 5, 1000)])), [0]);
    assert_eq!(bench.pipeline.view().ttls().count(), 1);
    assert_eq!(results(&bench.multi(&[ttl("/p", 0, 1000)])), [0], "without the flag the TTL is dropped");
    assert_eq!(bench.pipeline.view().ttls().count(), 1);
    assert_eq!(results(&bench.multi(&[ttl("/y", 9, 1000)])), [ErrorCode::BAD_ARGUMENTS.0]);
}

#[test]
fn reads_in_a_multi_are_a_marshalling_error() {
    let mut bench = Bench::new();
    let outcome = bench.multi(&[MultiOp::GetData(PathWatchRequest { path: "/".into(), watch: false })]);
    assert_eq!(outcome.err(), ErrorCode::MARSHALLING_ERROR);
    assert_eq!(outcome.record().header.op, OpCode::ERROR);
}

#[test]
fn zookeeper_710_a_moved_session_gets_no_answer_inside_a_multi_either() {
    let mut bench = Bench::new();
    bench.owner = TWO;
    let outcome = bench.multi(&[create("/a", 0)]);
    assert!(outcome.reply.is_none() && outcome.done.close);
    assert_eq!(outcome.done.err, ErrorCode::SESSION_MOVED);
    assert!(!bench.exists("/a"));
}
