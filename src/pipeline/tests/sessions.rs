//! Sessions through the pipeline: `ZooKeeperServer.createSession`, `reopenSession`, `closeSession`, and who may still ask.

use super::*;
use crate::session::password;

#[test]
fn create_session_is_logged() {
    let mut bench = Bench::new();
    let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
    let created = bench.pipeline.create_session(NOW, Instant(0), 1, TWO, &mut sink);
    assert_eq!(created.timeout_ms, 4000, "within the server's bounds");
    assert_eq!(created.session, SessionId(bench.session.0 + 1));
    assert_eq!(created.password, password(created.session));
    let record = TxnRecord::decode(&log).expect("a record");
    assert_eq!(record.txn, Txn::CreateSession { timeout_ms: 4000 });
    assert_eq!((record.header.session, record.header.cxid, record.header.zxid), (created.session, 0, Zxid(2)));
    assert_eq!(record.digest.expect("a digest").tree, bench.pipeline.view().digest());
    assert!(reply.is_empty() && changes.is_empty());
}

#[test]
fn reopen_session_needs_the_password() {
    let mut bench = Bench::new();
    let (session, right) = (bench.session, password(bench.session));
    let mut reopen =
        |password: &[u8], session| bench.pipeline.reopen_session(Instant(5), session, password, 99_000, TWO);
    assert_eq!(reopen(&[0; 16], session), Reopened::Refused);
    assert_eq!(reopen(&right[..8], session), Reopened::Refused);
    assert_eq!(reopen(&password(SessionId(77)), SessionId(77)), Reopened::Refused, "never was");
    assert_eq!(reopen(&right, session), Reopened::Ok { timeout_ms: 40_000, previous_owner: Some(ONE) });
    assert_eq!(reopen(&right, session), Reopened::Ok { timeout_ms: 40_000, previous_owner: None });
}

#[test]
fn session_moved_closes_without_an_answer() {
    let mut bench = Bench::new();
    let session = bench.session;
    bench.pipeline.reopen_session(Instant(0), session, &password(session), 10_000, TWO);
    let outcome = bench.create("/a", 0);
    assert!(outcome.reply.is_none() && outcome.done.close);
    assert_eq!(outcome.record().txn, Txn::Error { err: ErrorCode::SESSION_MOVED });
    let outcome = bench.send(OpCode::SYNC, |out| out.put_ustring("/"));
    assert!(outcome.reply.is_none() && outcome.done.close && !outcome.done.logged);
    bench.owner = TWO;
    assert_eq!(bench.create("/a", 0).err(), ErrorCode::OK);
}

#[test]
fn a_session_without_an_owner_takes_the_first_that_asks() {
    let mut bench = Bench::new();
    let loaded = SessionId(0x77);
    bench.pipeline.sessions_mut().add(loaded, 10_000, None, Instant(0));
    bench.session = loaded;
    bench.owner = TWO;
    assert_eq!(bench.create("/a", 1).err(), ErrorCode::OK);
    bench.owner = ONE;
    assert!(bench.create("/b", 0).reply.is_none());
}

#[test]
fn a_session_that_is_closing_or_gone_has_expired() {
    for close_first in [true, false] {
        let mut bench = Bench::new();
        let session = bench.session;
        if close_first {
            bench.pipeline.sessions_mut().set_closing(session);
        } else {
            bench.pipeline.sessions_mut().remove(session);
        }
        for op in [OpCode::CREATE, OpCode::SYNC, OpCode::CLOSE_SESSION, OpCode::MULTI] {
            let outcome = bench.send_bytes(op, &[]);
            assert_eq!(outcome.err(), ErrorCode::SESSION_EXPIRED, "{op}");
            assert!(outcome.done.close && !outcome.done.logged);
        }
    }
}

#[test]
fn zookeeper_3145_close_session_lists_its_ephemerals() {
    let mut bench = Bench::new();
    bench.create("/p", 0);
    for path in ["/z", "/b", "/p/a"] {
        bench.create(path, 1);
    }
    bench.create("/stays", 0);
    let other = bench.open(TWO);
    let outcome = bench.send_bytes(OpCode::CLOSE_SESSION, &[]);
    assert_eq!(outcome.err(), ErrorCode::OK);
    assert!(outcome.done.close);
    let record = outcome.record();
    assert_eq!(record.txn, Txn::CloseSession { paths: Some(vec!["/b".into(), "/p/a".into(), "/z".into()]) });
    assert_eq!(record.header.cxid, bench.xid);
    assert_eq!(record.digest.expect("a digest").tree, bench.pipeline.view().digest());
    assert_eq!(outcome.changes.len(), 6);
    assert!(!bench.exists("/b") && bench.exists("/stays"));
    assert!(!bench.pipeline.sessions().is_live(bench.session) && bench.pipeline.sessions().is_live(other));
    assert_eq!(bench.pipeline.sessions().len(), 1);
}

#[test]
fn without_the_list_the_record_is_bare() {
    let mut bench = Bench::with(Options { close_session_txn: false, ..Options::default() });
    bench.create("/e", 1);
    let outcome = bench.send_bytes(OpCode::CLOSE_SESSION, &[]);
    assert_eq!(outcome.record().txn, Txn::CloseSession { paths: None });
    assert_eq!(outcome.record().digest, None);
    assert!(!bench.exists("/e"));
}

#[test]
fn a_list_too_long_for_the_log_is_left_out() {
    let mut bench = Bench::new();
    let long = "x".repeat(64 << 10);
    for number in 0..=(CLOSE_PATHS_BYTES_MAX >> 16) {
        assert_eq!(bench.create(&format!("/{long}{number}"), 1).err(), ErrorCode::OK);
    }
    let outcome = bench.send_bytes(OpCode::CLOSE_SESSION, &[]);
    assert_eq!(outcome.err(), ErrorCode::OK);
    assert_eq!(outcome.record().txn, Txn::CloseSession { paths: None });
    assert!(!bench.exists(&format!("/{long}0")), "they end with it all the same");
}

#[test]
fn expired_sessions_are_closed_through_the_log() {
    let mut bench = Bench::new();
    bench.create("/e", 1);
    let expired = bench.pipeline.sessions_mut().expire(Instant(12_000_000));
    assert_eq!(expired, [bench.session]);
    assert_eq!(bench.create("/late", 0).err(), ErrorCode::SESSION_EXPIRED, "nothing comes between");
    let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
    let done = bench.pipeline.close_session(NOW, bench.session, &mut sink);
    assert!(done.logged && reply.is_empty());
    assert_eq!(TxnRecord::decode(&log).expect("a record").header.cxid, 0);
    assert!(!bench.exists("/e"));
}
