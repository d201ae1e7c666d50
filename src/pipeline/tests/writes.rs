//! Single writes: `PrepRequestProcessor` and what `FinalRequestProcessor` answers.

use super::*;

const MODES_WITHOUT_TTL: [i32; 5] = [0, 1, 2, 3, 4];

#[test]
fn create_answers_the_path_and_logs_the_transaction() {
    let mut bench = Bench::new();
    let outcome = bench.create("/a", 0);
    assert_eq!(outcome.path(), "/a");
    let record = outcome.record();
    assert_eq!(record.header.zxid, Zxid(2), "createSession was the first");
    assert_eq!((record.header.session, record.header.cxid, record.header.time), (bench.session, 1, NOW));
    assert_eq!(record.header.op, OpCode::CREATE);
    let Txn::Create(create) = &record.txn else { panic!("{:?}", record.txn) };
    assert_eq!((&*create.path, create.data, create.parent_cversion), ("/a", Some(&b"data"[..]), 1));
    let tree = bench.pipeline.view().digest();
    assert_eq!(record.digest, Some(TxnDigest { version: TxnDigest::VERSION, tree }));
    assert_eq!(outcome.changes.len(), 2);
    assert_eq!(outcome.reply.as_ref().expect("an answer").0.zxid, Zxid(2));
}

#[test]
fn create2_answers_path_and_stat() {
    let mut bench = Bench::new();
    for (op, flags) in [(OpCode::CREATE2, 0), (OpCode::CREATE_CONTAINER, 4)] {
        let path = format!("/{op}");
        let outcome = bench.create_as(op, &path, flags, -1, AclList::OPEN);
        let mut body = outcome.body();
        assert_eq!(body.ustring().as_deref(), Ok(&*path));
        let stat = Stat::decode(&mut body).expect("a stat");
        assert!(body.is_empty());
        assert_eq!((stat.czxid, stat.ephemeral_owner), (outcome.done.zxid, SessionId::NONE));
    }
}

#[test]
fn failed_writes_consume_a_zxid_and_are_logged() {
    let mut bench = Bench::new();
    bench.create("/a", 0);
    let before = bench.pipeline.view().digest();
    let outcome = bench.create("/a", 0);
    assert_eq!(outcome.err(), ErrorCode::NODE_EXISTS);
    let (header, body) = outcome.reply.as_ref().expect("an answer");
    assert!(body.is_empty());
    assert_eq!(header.zxid, Zxid(3), "the answer carries the zxid of the error");
    let record = outcome.record();
    assert_eq!(record.header.op, OpCode::ERROR);
    assert_eq!(record.txn, Txn::Error { err: ErrorCode::NODE_EXISTS });
    assert_eq!(record.digest, None);
    assert!(outcome.changes.is_empty());
    assert_eq!(bench.pipeline.view().zxid(), Zxid(3));
    assert_eq!(bench.pipeline.view().digest(), before);
}

#[test]
fn undecodable_writes_answer_marshalling_error_without_a_zxid() {
    let mut bench = Bench::new();
    let ops = [
        OpCode::CREATE,
        OpCode::CREATE2,
        OpCode::CREATE_TTL,
        OpCode::CREATE_CONTAINER,
        OpCode::DELETE,
        OpCode::SET_DATA,
        OpCode::SET_ACL,
        OpCode::RECONFIG,
        OpCode::SYNC,
    ];
    for op in ops {
        for body in [&b""[..], &[0, 0, 0, 9, b'/'], &[0xff, 0xff, 0xff, 0xfe]] {
            let outcome = bench.send_bytes(op, body);
            assert_eq!(outcome.err(), ErrorCode::MARSHALLING_ERROR, "{op}");
            assert_eq!(
                outcome.done,
                Done { zxid: Zxid(1), err: ErrorCode::MARSHALLING_ERROR, logged: false, close: false }
            );
            assert_eq!(outcome.reply.as_ref().expect("an answer").0.zxid, Zxid(1));
        }
    }
}

#[test]
fn a_null_path_is_found_out_behind_the_zxid() {
    let mut bench = Bench::new();
    let cases: [(OpCode, &[u8], ErrorCode); 4] = [
        (OpCode::DELETE, &[0xff; 8], ErrorCode::MARSHALLING_ERROR),
        (OpCode::SET_DATA, &[0xff; 12], ErrorCode::BAD_ARGUMENTS),
        (OpCode::CREATE, &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], ErrorCode::MARSHALLING_ERROR),
        (OpCode::CREATE, &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], ErrorCode::BAD_ARGUMENTS),
    ];
    for (op, body, err) in cases {
        let outcome = bench.send_bytes(op, body);
        assert_eq!(outcome.err(), err, "{op}");
        assert_eq!(outcome.record().txn, Txn::Error { err });
        let outcome = bench.send_bytes(op, &body[..body.len() - 1]);
        assert_eq!((outcome.err(), outcome.done.logged), (ErrorCode::MARSHALLING_ERROR, false), "{op} cut short");
    }
}

#[test]
fn a_multi_that_cannot_be_read_consumes_a_zxid() {
    let mut bench = Bench::new();
    let outcome = bench.send_bytes(OpCode::MULTI, b"\0\0");
    assert_eq!(outcome.err(), ErrorCode::MARSHALLING_ERROR);
    assert_eq!(outcome.record().header.op, OpCode::ERROR);
}

#[test]
fn create_mode_from_flag_refuses_others() {
    let mut bench = Bench::new();
    for flags in [-1, 7, 99] {
        assert_eq!(bench.create("/a", flags).err(), ErrorCode::BAD_ARGUMENTS);
    }
    for flags in MODES_WITHOUT_TTL {
        assert_eq!(bench.create(&format!("/m{flags}"), flags).err(), ErrorCode::OK, "{flags}");
    }
}

#[test]
fn ttl_nodes_need_extended_types() {
    let mut bench = Bench::new();
    assert_eq!(bench.create_as(OpCode::CREATE_TTL, "/t", 5, 1000, AclList::OPEN).err(), ErrorCode::UNIMPLEMENTED);
    assert_eq!(bench.create("/t", 5).err(), ErrorCode::UNIMPLEMENTED);
    let mut bench = Bench::with(Options { extended_types: true, ..Options::default() });
    for ttl_ms in [0, -1, i64::MIN, 0x100_0000_0000] {
        let outcome = bench.create_as(OpCode::CREATE_TTL, "/t", 5, ttl_ms, AclList::OPEN);
        assert_eq!(outcome.err(), ErrorCode::BAD_ARGUMENTS, "{ttl_ms}");
    }
    assert_eq!(bench.create("/t", 5).err(), ErrorCode::BAD_ARGUMENTS, "a create has no TTL");
    assert_eq!(
        bench.create_as(OpCode::CREATE_TTL, "/t", 0, 1000, AclList::OPEN).err(),
        ErrorCode::BAD_ARGUMENTS,
        "a TTL for a mode that has none"
    );
    assert_eq!(
        bench.create_as(OpCode::CREATE_TTL, "/t", 0, -1, AclList::OPEN).err(),
        ErrorCode::BAD_ARGUMENTS,
        "which ends Apache's server"
    );
    let outcome = bench.create_as(OpCode::CREATE_TTL, "/t", 5, 0xff_ffff_ffff, AclList::OPEN);
    assert_eq!(outcome.record().header.op, OpCode::CREATE_TTL);
    let outcome = bench.create_as(OpCode::CREATE_TTL, "/t-", 6, 1, AclList::OPEN);
    assert_eq!(outcome.path(), "/t-0000000001");
    let znode = bench.pipeline.view().znode("/t").expect("created");
    assert_eq!(znode.ttl_ms(), Some(0xff_ffff_ffff));
    assert_eq!(znode.stat().ephemeral_owner, SessionId::NONE, "clients see no owner");
}

#[test]
fn sequential_names_are_the_parents_stored_cversion() {
    let mut bench = Bench::new();
    bench.create("/q", 0);
    assert_eq!(bench.create("/q/n-", 2).path(), "/q/n-0000000000");
    assert_eq!(bench.create("/q/n-", 3).path(), "/q/n-0000000001");
    bench.delete("/q/n-0000000001", -1);
    assert_eq!(bench.create("/q/", 2).path(), "/q/0000000002", "a deletion does not count");
    let child = |path: &'static str, parent_cversion| {
        Txn::Create(crate::wire::txn::CreateTxn {
            path: path.into(),
            data: None,
            acl: AclList::OPEN,
            kind: crate::wire::txn::CreateKind::Persistent,
            parent_cversion,
        })
    };
    replay(&mut bench.pipeline, OpCode::CREATE, &child("/q/x", i32::MAX));
    assert_eq!(bench.create("/q/", 2).path(), "/q/2147483647");
    assert_eq!(
        bench.create("/q/", 2).err(),
        ErrorCode::NODE_EXISTS,
        "at the end it stays, as Apache's tree never goes down"
    );
}

#[test]
fn sequence_numbers_are_printed_as_java_prints_them() {
    // `String.format(Locale.ENGLISH, "%010d", ...)` under OpenJDK 17.
    let cases = [
        (0, "0000000000"),
        (-1, "-000000001"),
        (i32::MIN, "-2147483648"),
        (i32::MAX, "2147483647"),
        (-50, "-000000050"),
    ];
    for (number, text) in cases {
        assert_eq!(prep::sequential("/n-", number), format!("/n-{text}"));
    }
}

#[test]
fn paths_are_checked_where_apache_checks_them() {
    let mut bench = Bench::new();
    let cases = [
        ("", ErrorCode::BAD_ARGUMENTS),
        ("a", ErrorCode::BAD_ARGUMENTS),
        ("/a\0", ErrorCode::BAD_ARGUMENTS),
        ("a/b", ErrorCode::NO_NODE),
        ("/x/../y", ErrorCode::NO_NODE),
        ("//a", ErrorCode::BAD_ARGUMENTS),
        ("/a/", ErrorCode::NO_NODE),
        ("/.", ErrorCode::BAD_ARGUMENTS),
        ("/\u{fffd}", ErrorCode::BAD_ARGUMENTS),
        ("/", ErrorCode::NODE_EXISTS),
    ];
    for (path, err) in cases {
        assert_eq!(bench.create(path, 0).err(), err, "{path:?}");
    }
    for path in ["", "a", "/a/", "//"] {
        assert_eq!(bench.set_data(path, b"", -1).err(), ErrorCode::BAD_ARGUMENTS, "{path:?}");
        assert_eq!(bench.set_acl(path, AclList::OPEN, -1).err(), ErrorCode::BAD_ARGUMENTS, "{path:?}");
    }
    for path in ["", "a", "/a\0", "/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
        assert_eq!(bench.delete(path, -1).err(), ErrorCode::BAD_ARGUMENTS, "{path:?}");
    }
    assert_eq!(bench.delete("/x/y", -1).err(), ErrorCode::NO_NODE);
}

#[test]
fn versions_are_compared() {
    let mut bench = Bench::new();
    bench.create("/a", 0);
    assert_eq!(bench.set_data("/a", b"1", 1).err(), ErrorCode::BAD_VERSION);
    let stat = bench.set_data("/a", b"11", 0).stat();
    assert_eq!((stat.version, stat.data_length), (1, 2));
    assert_eq!(bench.set_data("/a", b"2", -1).stat().version, 2);
    assert_eq!(bench.set_acl("/a", AclList::READ_ONLY, 5).err(), ErrorCode::BAD_VERSION);
    assert_eq!(bench.set_acl("/a", AclList::OPEN, 0).stat().aversion, 1);
    assert_eq!(bench.delete("/a", 1).err(), ErrorCode::BAD_VERSION);
    assert_eq!(bench.delete("/a", 2).err(), ErrorCode::OK);
    assert_eq!(bench.set_data("/a", b"", -1).err(), ErrorCode::NO_NODE);
}

#[test]
fn zookeeper_4743_a_version_never_becomes_minus_one() {
    let mut bench = Bench::new();
    bench.create("/a", 0);
    replay(&mut bench.pipeline, OpCode::SET_DATA, &Txn::SetData { path: "/a".into(), data: None, version: -2 });
    assert_eq!(bench.set_data("/a", b"", -2).stat().version, 0);
}

#[test]
fn not_empty_and_no_children_for_ephemerals() {
    let mut bench = Bench::new();
    bench.create("/a", 0);
    bench.create("/a/b", 1);
    assert_eq!(bench.delete("/a", -1).err(), ErrorCode::NOT_EMPTY);
    assert_eq!(bench.create("/a/b/c", 0).err(), ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
    assert_eq!(bench.pipeline.view().znode("/a/b").expect("created").owner(), Some(bench.session));
}

#[test]
fn the_container_flag_on_a_plain_create_makes_a_persistent_znode() {
    let mut bench = Bench::new();
    bench.create("/a", 4);
    assert_eq!(bench.pipeline.view().containers().count(), 0);
    bench.create_as(OpCode::CREATE_CONTAINER, "/b", 0, -1, AclList::OPEN);
    assert_eq!(bench.pipeline.view().containers().count(), 1, "and createContainer a container whatever its flags");
}

#[test]
fn permissions_are_those_of_the_operation() {
    let mut bench = Bench::new();
    let denied = |perms: Perms| acl(&[(Perms(Perms::ALL.0 & !perms.0), "world", "anyone")]);
    type Run = fn(&mut Bench) -> Outcome;
    let cases: [(Perms, Run); 4] = [
        (Perms::CREATE, |bench| bench.create("/p/new", 0)),
        (Perms::DELETE, |bench| bench.delete("/p/child", -1)),
        (Perms::WRITE, |bench| bench.set_data("/p", b"", -1)),
        (Perms::ADMIN, |bench| bench.set_acl("/p", AclList::OPEN, -1)),
    ];
    for (perms, run) in cases {
        for (list, err) in [(denied(perms), ErrorCode::NO_AUTH), (acl(&[(perms, "world", "anyone")]), ErrorCode::OK)] {
            let mut bench = Bench::new();
            bench.create("/p", 0);
            bench.create("/p/child", 0);
            assert_eq!(bench.set_acl("/p", list, -1).err(), ErrorCode::OK);
            assert_eq!(run(&mut bench).err(), err, "{perms:?}");
        }
    }
    // A denied parent says so even of a child that does not exist.
    bench.create("/p", 0);
    bench.set_acl("/p", denied(Perms::DELETE), -1);
    assert_eq!(bench.delete("/p/none", -1).err(), ErrorCode::NO_AUTH);
}

#[test]
fn super_digest_is_bound_by_no_list() {
    let auth = auth::Options {
        super_digest: Some(auth::generate_digest("super:test", auth::DigestAlgorithm::Sha1)),
        ..auth::Options::default()
    };
    let mut bench = Bench::with(Options { auth, ..Options::default() });
    bench.create("/a", 0);
    bench.set_acl("/a", acl(&[(Perms::ALL, "digest", "x:y")]), -1);
    assert_eq!(bench.set_data("/a", b"", -1).err(), ErrorCode::NO_AUTH);
    bench.authenticate("super:test");
    assert_eq!(bench.set_data("/a", b"", -1).err(), ErrorCode::OK);
}

#[test]
fn fixup_acl_goes_into_the_transaction() {
    let mut bench = Bench::new();
    assert_eq!(bench.create_as(OpCode::CREATE, "/a", 0, -1, acl(&[])).err(), ErrorCode::INVALID_ACL);
    let creator = acl(&[(Perms::ALL, "auth", "")]);
    assert_eq!(bench.create_as(OpCode::CREATE, "/a", 0, -1, creator.clone()).err(), ErrorCode::INVALID_ACL);
    bench.authenticate("bob:secret");
    let outcome = bench.create_as(OpCode::CREATE, "/a", 0, -1, creator);
    let TxnRecord { txn: Txn::Create(create), .. } = outcome.record() else { panic!("no create") };
    let digest = auth::generate_digest("bob:secret", auth::DigestAlgorithm::Sha1);
    assert_eq!(create.acl, acl(&[(Perms::ALL, "digest", &digest)]));
    assert_eq!(
        bench.create_as(OpCode::CREATE, "/none/a", 0, -1, acl(&[(Perms::ALL, "x509", "CN=x")])).err(),
        ErrorCode::INVALID_ACL,
        "before the parent is looked for"
    );
}

#[test]
fn sync_answers_the_path_and_consumes_no_zxid() {
    let mut bench = Bench::new();
    for path in ["/", "/nowhere", ""] {
        let outcome = bench.send(OpCode::SYNC, |out| out.put_ustring(path));
        assert_eq!(outcome.path(), path);
        assert!(!outcome.done.logged);
        assert_eq!(outcome.reply.as_ref().expect("an answer").0.zxid, Zxid(1));
    }
    let outcome = bench.send(OpCode::SYNC, |out| out.put_i32(-1));
    assert_eq!(outcome.body().buffer(), Ok(None));
}

#[test]
fn request_is_valid_refuses_what_clients_may_not_ask() {
    let mut bench = Bench::new();
    bench.create("/a", 0);
    let ops = [
        OpCode::NOTIFICATION,
        OpCode::ERROR,
        OpCode::CREATE_SESSION,
        OpCode::DELETE_CONTAINER,
        OpCode(10),
        OpCode(23),
        OpCode(99),
        OpCode(108),
        OpCode(-12),
    ];
    for op in ops {
        let outcome = bench.send(op, |out| out.put_ustring("/a"));
        assert_eq!(outcome.err(), ErrorCode::UNIMPLEMENTED, "{op}");
        assert_eq!(outcome.reply.as_ref().expect("an answer").0.zxid, Zxid(-1));
        assert!(outcome.done.close && !outcome.done.logged, "{op}");
    }
    assert!(bench.exists("/a"));
}

#[test]
fn zookeeper_2623_check_outside_a_multi_is_unknown() {
    let mut bench = Bench::new();
    let outcome = bench.send(OpCode::CHECK, |out| PathVersionRequest { path: "/".into(), version: 0 }.encode(out));
    assert_eq!(outcome.err(), ErrorCode::UNIMPLEMENTED);
    assert!(outcome.done.close && !outcome.done.logged);
}

#[test]
fn reconfig_is_disabled_or_has_nothing_to_do() {
    let body = |out: &mut Vec<u8>| {
        (0..3).for_each(|_| out.put_i32(-1));
        out.put_i64(-1);
    };
    let outcome = Bench::new().send(OpCode::RECONFIG, body);
    assert_eq!(outcome.err(), ErrorCode::RECONFIG_DISABLED);
    assert_eq!(outcome.record().txn, Txn::Error { err: ErrorCode::RECONFIG_DISABLED });
    let mut bench = Bench::with(Options { reconfig_enabled: true, ..Options::default() });
    assert_eq!(bench.send(OpCode::RECONFIG, body).err(), ErrorCode::UNIMPLEMENTED);
}

/// Gives `/q` a quota.
fn set_quota(bench: &mut Bench, limits: &str) {
    bench.create("/q", 0);
    bench.create("/zookeeper/quota/q", 0);
    bench.create("/zookeeper/quota/q/zookeeper_limits", 0);
    bench.set_data("/zookeeper/quota/q/zookeeper_limits", limits.as_bytes(), -1);
    bench.create("/zookeeper/quota/q/zookeeper_stats", 0);
}

fn with_quota(limits: &str) -> Bench {
    let mut bench = Bench::with(Options { enforce_quota: true, ..Options::default() });
    set_quota(&mut bench, limits);
    bench
}

#[test]
fn check_quota_counts() {
    let mut bench = with_quota("count=-1,bytes=-1=;countHardLimit=3");
    assert_eq!(bench.create("/q/1", 0).err(), ErrorCode::OK);
    assert_eq!(bench.create("/q/2", 0).err(), ErrorCode::OK);
    assert_eq!(bench.create("/q/3", 0).err(), ErrorCode::QUOTA_EXCEEDED);
    assert_eq!(bench.create("/q/1/x", 0).err(), ErrorCode::QUOTA_EXCEEDED);
    assert_eq!(bench.create("/outside", 0).err(), ErrorCode::OK);
    assert_eq!(bench.set_data("/q/1", b"much more than before", -1).err(), ErrorCode::OK, "of bytes nothing is said");
    bench.delete("/q/2", -1);
    assert_eq!(bench.create("/q/3", 0).err(), ErrorCode::OK);
    let exceeded = bench.pipeline.take_exceeded();
    assert_eq!(exceeded.len(), 2);
    assert_eq!(exceeded[0], Exceeded { subject: "/q".to_owned(), is_bytes: false, is_hard: true, usage: 4, limit: 3 });
}

#[test]
fn check_quota_bytes() {
    let mut bench = with_quota("count=-1,bytes=-1=;byteHardLimit=10");
    assert_eq!(bench.create("/q/1", 0).err(), ErrorCode::OK, "four and four");
    assert_eq!(bench.set_data("/q/1", b"123456", -1).err(), ErrorCode::OK);
    assert_eq!(bench.set_data("/q/1", b"1234567", -1).err(), ErrorCode::QUOTA_EXCEEDED);
    assert_eq!(bench.create("/q/2", 0).err(), ErrorCode::QUOTA_EXCEEDED);
    assert_eq!(bench.set_data("/q/1", b"654321", -1).err(), ErrorCode::OK, "no more than before");
}

#[test]
fn soft_quotas_are_only_noted_and_the_hard_one_wins() {
    let mut bench = with_quota("count=1,bytes=1");
    assert_eq!(bench.create("/q/1", 0).err(), ErrorCode::OK);
    let exceeded = bench.pipeline.take_exceeded();
    assert_eq!(
        exceeded.iter().map(|exceeded| (exceeded.is_bytes, exceeded.is_hard)).collect::<Vec<_>>(),
        [(false, false), (true, false)]
    );
    let mut bench = with_quota("count=1,bytes=-1=;countHardLimit=9");
    assert_eq!(bench.create("/q/1", 0).err(), ErrorCode::OK);
    assert_eq!(bench.pipeline.take_exceeded(), []);
}

#[test]
fn quotas_are_not_enforced_unless_asked_for() {
    let mut bench = Bench::new();
    set_quota(&mut bench, "count=-1,bytes=-1=;countHardLimit=0;byteHardLimit=0");
    assert_eq!(bench.create("/q/1", 0).err(), ErrorCode::OK);
    assert_eq!(bench.pipeline.take_exceeded(), []);
}

#[test]
fn notes_of_quotas_are_bounded() {
    let mut bench = with_quota("count=1,bytes=1");
    for at in 0..EXCEEDED_MAX {
        bench.create(&format!("/q/{at}"), 0);
    }
    assert_eq!(bench.pipeline.take_exceeded().len(), EXCEEDED_MAX);
}

#[test]
fn container_manager_candidates() {
    let mut bench = Bench::with(Options { extended_types: true, ..Options::default() });
    bench.create_as(OpCode::CREATE_CONTAINER, "/unused", 4, -1, AclList::OPEN);
    bench.create_as(OpCode::CREATE_CONTAINER, "/used", 4, -1, AclList::OPEN);
    bench.create_as(OpCode::CREATE_CONTAINER, "/full", 4, -1, AclList::OPEN);
    bench.create("/used/x", 0);
    bench.delete("/used/x", -1);
    bench.create("/full/x", 0);
    bench.create_as(OpCode::CREATE_TTL, "/ttl", 5, 1000, AclList::OPEN);
    bench.create_as(OpCode::CREATE_TTL, "/ttl-full", 5, 1000, AclList::OPEN);
    bench.create("/ttl-full/x", 0);
    let candidates = |bench: &Bench, later: i64| {
        let found = bench.pipeline.container_candidates(WallTime(NOW.0 + later));
        found.iter().map(|path| (**path).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(candidates(&bench, 1000), ["/used"]);
    assert_eq!(candidates(&bench, 1001), ["/ttl", "/used"]);
    bench.pipeline.options.container_never_used_max_ms = 5000;
    assert_eq!(candidates(&bench, 5000), ["/ttl", "/used"]);
    assert_eq!(candidates(&bench, 5001), ["/ttl", "/unused", "/used"]);
}

#[test]
fn delete_container_goes_through_the_log() {
    let mut bench = Bench::new();
    bench.create_as(OpCode::CREATE_CONTAINER, "/c", 4, -1, AclList::OPEN);
    bench.create("/c/x", 0);
    bench.create("/plain", 0);
    bench.create("/ephemeral", 1);
    let delete = |bench: &mut Bench, path: &str| {
        let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
        let done = bench.pipeline.delete_container(NOW, path, &mut sink);
        assert!(reply.is_empty() && done.logged);
        let record = TxnRecord::decode(&log).expect("a record");
        assert_eq!((record.header.session, record.header.cxid), (SessionId::NONE, 0));
        let op = if done.err == ErrorCode::OK { OpCode::DELETE_CONTAINER } else { OpCode::ERROR };
        assert_eq!(record.header.op, op);
        done.err
    };
    assert_eq!(delete(&mut bench, "/c"), ErrorCode::NOT_EMPTY);
    bench.delete("/c/x", -1);
    assert_eq!(delete(&mut bench, "/c"), ErrorCode::OK);
    assert_eq!(delete(&mut bench, "/c"), ErrorCode::NO_NODE);
    assert_eq!(delete(&mut bench, "/ephemeral"), ErrorCode::BAD_VERSION);
    assert_eq!(delete(&mut bench, "/plain"), ErrorCode::BAD_VERSION, "one that has taken a container's place");
    assert_eq!(delete(&mut bench, "/zookeeper"), ErrorCode::BAD_ARGUMENTS);
    assert!(!bench.exists("/c") && bench.exists("/plain"));
}

#[test]
fn without_digests_records_carry_none() {
    let options = tree::Options { digest_enabled: false, ..tree::Options::default() };
    let mut pipeline =
        Pipeline::new(Options::default(), Tree::new(options), Sessions::new(2000, SessionId(5)), Zxid::ZERO);
    let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
    pipeline.create_session(NOW, Instant(0), 10_000, ONE, &mut sink);
    assert_eq!(TxnRecord::decode(&log).expect("a record").digest, None);
}

#[test]
fn a_transaction_that_the_log_cannot_take_is_refused_before_it_is_applied() {
    let mut bench = Bench::with(Options { txn_bytes_max: 4096, ..Options::default() });
    assert_eq!(bench.create(&format!("/{}", "a".repeat(5000)), 0).err(), ErrorCode::BAD_ARGUMENTS);
    assert_eq!(bench.create("/a", 0).err(), ErrorCode::OK);
    assert_eq!(bench.pipeline.view().node_count(), 6, "/a and what every tree has");
}
