//! Local sessions, a learner's clients, and read-only servers: `UpgradeableSessionTracker`, `QuorumZooKeeperServer`,
//! `ReadOnlyRequestProcessor`.

use super::*;
use crate::session::password;

const MONO: Instant = Instant(0);
const LEARNERS: Ensemble = Ensemble { server_id: ServerId(1), local_sessions: true, local_sessions_upgrading: true };

/// A server with local sessions, and a client that has one.
fn local(ensemble: Ensemble, leads: bool) -> Bench {
    let mut bench = Bench::new();
    bench.pipeline.join(ensemble);
    if leads {
        bench.pipeline.begin_epoch(Epoch(1), MONO);
    }
    assert!(bench.pipeline.creates_local_sessions());
    let created = bench.pipeline.create_local_session(MONO, 10_000, ONE);
    assert_eq!((created.timeout_ms, created.password), (10_000, password(created.session)));
    bench.session = created.session;
    bench
}

fn body_of(op: OpCode, path: &str, flags: i32) -> Vec<u8> {
    let mut body = Vec::new();
    let request = CreateRequest { path: path.into(), data: None, acl: AclList::OPEN, flags, ttl_ms: -1 };
    request.encode(op, &mut body);
    body
}

fn route(bench: &mut Bench, op: OpCode, body: &[u8]) -> (Route, Vec<u8>) {
    let (session, identities, owner) = (bench.session, &bench.identities, bench.owner);
    let request = Request { session, xid: Xid(9), op, body, identities, owner };
    let mut reply = Vec::new();
    let route = bench.pipeline.route(&request, &mut reply);
    (route, reply)
}

const PLAINLY: Route = Route::Forward { upgrade_ms: None, refused: None };

#[test]
fn local_sessions_live_and_end_without_a_transaction() {
    let mut bench = local(LEARNERS, true);
    let (session, zxid) = (bench.session, bench.pipeline.zxid());
    assert!(bench.pipeline.is_local(session) && !bench.pipeline.sessions().is_live(session));
    assert_eq!(bench.pipeline.sessions().len(), 1, "the ensemble knows the other one only");
    assert_eq!(
        bench.pipeline.reopen_session(MONO, session, &password(session), 5000, TWO),
        Reopened::Ok { timeout_ms: 5000, previous_owner: Some(ONE) }
    );
    assert!(bench.pipeline.touch(session, Instant(4_000_000)));
    assert_eq!(bench.pipeline.expire_local(Instant(8_000_000)), []);
    assert_eq!(bench.pipeline.expire_local(Instant(10_000_000)), [(session, Some(TWO))]);
    assert!(!bench.pipeline.is_local(session) && !bench.pipeline.touch(session, Instant(11_000_000)));
    bench.session = bench.pipeline.create_local_session(MONO, 10_000, ONE).session;
    let outcome = bench.send_bytes(OpCode::CLOSE_SESSION, &[]);
    assert_eq!(outcome.err(), ErrorCode::OK);
    assert!(outcome.done.close && !outcome.done.logged);
    assert_eq!(bench.create("/late", 0).err(), ErrorCode::SESSION_EXPIRED);
    assert_eq!(bench.pipeline.zxid(), zxid);
}

#[test]
fn local_sessions_may_write_what_is_not_ephemeral() {
    let mut bench = local(LEARNERS, true);
    assert_eq!(bench.create("/a", 0).err(), ErrorCode::OK);
    assert_eq!(bench.set_data("/a", b"x", -1).err(), ErrorCode::OK);
    bench.owner = TWO;
    assert!(bench.create("/b", 0).reply.is_none(), "it lives on another connection");
}

#[test]
fn a_leader_upgrades_before_the_request() {
    let mut bench = local(LEARNERS, true);
    let session = bench.session;
    let ephemeral = body_of(OpCode::CREATE2, "/e", 3);
    assert_eq!(bench.pipeline.upgrade_for(session, OpCode::CREATE2, &ephemeral), Upgrade::Needed);
    let plain = body_of(OpCode::CREATE, "/e", 2);
    assert_eq!(bench.pipeline.upgrade_for(session, OpCode::CREATE, &plain), Upgrade::NotNeeded);
    let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
    let done = bench.pipeline.upgrade(NOW, MONO, session, &mut sink);
    assert!(done.logged && reply.is_empty());
    let record = TxnRecord::decode(&log).expect("a record");
    assert_eq!((record.header.session, record.header.cxid), (session, 0));
    assert_eq!(record.txn, Txn::CreateSession { timeout_ms: 10_000 });
    assert!(!bench.pipeline.is_local(session) && bench.pipeline.sessions().is_live(session));
    assert_eq!(bench.pipeline.sessions().owner(session), Some(ONE));
    assert_eq!(bench.pipeline.upgrade_for(session, OpCode::CREATE2, &ephemeral), Upgrade::NotNeeded);
    assert_eq!(bench.send_bytes(OpCode::CREATE2, &ephemeral).err(), ErrorCode::OK);
}

#[test]
fn an_upgrade_that_is_taken_back_leaves_a_local_session() {
    let mut bench = local(LEARNERS, true);
    let session = bench.session;
    let version = bench.pipeline.cut();
    let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
    bench.pipeline.upgrade(NOW, MONO, session, &mut sink);
    bench.pipeline.rewind(&version, MONO);
    assert!(bench.pipeline.is_local(session) && !bench.pipeline.sessions().is_live(session));
    // Another leader had heard of it, and commits it.
    bench.pipeline.follow(MONO, &log, &mut changes).expect("a record that can be followed");
    assert!(!bench.pipeline.is_local(session));
    assert_eq!(bench.pipeline.sessions().owner(session), Some(ONE));
}

#[test]
fn ephemeral_on_local_session() {
    let ensemble = Ensemble { local_sessions_upgrading: false, ..LEARNERS };
    let mut bench = local(ensemble, true);
    let err = ErrorCode::EPHEMERAL_ON_LOCAL_SESSION;
    let body = body_of(OpCode::CREATE, "/e", 1);
    assert_eq!(bench.pipeline.upgrade_for(bench.session, OpCode::CREATE, &body), Upgrade::Refused(err));
    let outcome = bench.send_bytes(OpCode::CREATE, &body);
    assert_eq!((outcome.err(), outcome.record().txn), (err, Txn::Error { err }));
    // Apache looks at the mode first.
    let outcome = bench.create_as(OpCode::CREATE, "/e", 1, 5, AclList::OPEN);
    assert_eq!(outcome.err(), err);
    let request = |flags| CreateRequest { path: "/e".into(), data: None, acl: AclList::OPEN, flags, ttl_ms: -1 };
    let ops = [MultiOp::Create(OpCode::CREATE, request(2)), MultiOp::Create(OpCode::CREATE, request(1))];
    let outcome = bench.multi(&ops);
    let Txn::Multi(subs) = outcome.record().txn else { panic!("a multi") };
    assert_eq!(subs[1].txn, Txn::Error { err });

    // The leader of a learner's client only knows that the session is none of its own; the learner knows better.
    let mut learner = local(ensemble, false);
    let (to, reply) = route(&mut learner, OpCode::CREATE, &body);
    assert_eq!(to, Route::Forward { upgrade_ms: None, refused: Some(err) });
    assert!(reply.is_empty());
    let session = SessionId(learner.session.0 | 0x0200_0000_0000_0000);
    let (mut log, mut changes) = (Vec::new(), Vec::new());
    let owner = Owner::learner(1);
    let forwarded = Request { session, xid: Xid(9), op: OpCode::CREATE, body: &body, identities: &[], owner };
    let mut sink = Sink { log: &mut log, reply: &mut Vec::new(), changes: &mut changes };
    let done = bench.pipeline.process_forwarded(NOW, MONO, &forwarded, &mut sink);
    assert_eq!(done.err, ErrorCode::SESSION_EXPIRED);
    let followed = learner.pipeline.follow(MONO, &log, &mut changes).expect("a record that can be followed");
    let (awaiting, mut out) = (Awaiting { session, xid: Xid(9), refused: Some(err) }, Vec::new());
    assert_eq!(answer_of(&followed, &awaiting, &mut out), Answered { err, close: false });
    assert_eq!(last_frame(&out).0, ReplyHeader { xid: Xid(9), zxid: done.zxid, err });
    // What is not ephemeral it may write, though the leader has never heard of its session.
    let plain = body_of(OpCode::CREATE, "/plain", 0);
    let forwarded = Request { op: OpCode::CREATE, body: &plain, ..forwarded };
    let mut sink = Sink { log: &mut log, reply: &mut Vec::new(), changes: &mut changes };
    assert_eq!(bench.pipeline.process_forwarded(NOW, MONO, &forwarded, &mut sink).err, ErrorCode::OK);
    // Unless the id is one of the leader's own: then it was a session of its own, which is over.
    let own = Request { session: SessionId(bench.session.0 + 99), ..forwarded };
    assert_eq!(bench.pipeline.process_forwarded(NOW, MONO, &own, &mut sink).err, ErrorCode::SESSION_EXPIRED);
}

#[test]
fn zookeeper_2725_a_multi_with_an_ephemeral_upgrades() {
    let bench = local(LEARNERS, true);
    let create = |flags| {
        let request = CreateRequest { path: "/e".into(), data: None, acl: AclList::OPEN, flags, ttl_ms: -1 };
        MultiOp::Create(OpCode::CREATE2, request)
    };
    let check = MultiOp::Check(PathVersionRequest { path: "/".into(), version: -1 });
    let upgrade = |ops: &[MultiOp<'_>], cut: usize| {
        let mut body = Vec::new();
        encode_multi(ops, &mut body);
        body.truncate(body.len() - cut);
        bench.pipeline.upgrade_for(bench.session, OpCode::MULTI, &body)
    };
    assert_eq!(upgrade(&[check.clone(), create(0), create(3)], 0), Upgrade::Needed);
    assert_eq!(upgrade(&[check.clone(), create(0), create(4)], 0), Upgrade::NotNeeded);
    assert_eq!(upgrade(&[check, create(1)], 3), Upgrade::NotNeeded, "the leader refuses it for what it is");
}

#[test]
fn a_learner_upgrades_by_the_leader() {
    let mut bench = local(LEARNERS, false);
    let session = bench.session;
    let body = body_of(OpCode::CREATE, "/e", 1);
    assert_eq!(route(&mut bench, OpCode::CREATE, &body).0, Route::Forward { upgrade_ms: Some(10_000), refused: None });
    assert_eq!(route(&mut bench, OpCode::CREATE, &body).0, PLAINLY, "once is enough");
    assert!(!bench.pipeline.is_local(session));
    assert!(bench.pipeline.touch(session, MONO), "neither local nor global, and heard of all the same");
    assert_eq!(bench.pipeline.take_touched(), [(session, 10_000)]);
    let mut log = Vec::new();
    let header = TxnHeader { session, cxid: 0, zxid: Zxid(2), time: NOW, op: OpCode::CREATE_SESSION };
    TxnRecord { header, txn: Txn::CreateSession { timeout_ms: 10_000 }, digest: None }.encode(&mut log);
    bench.pipeline.follow(MONO, &log, &mut Vec::new()).expect("a record that can be followed");
    assert_eq!(bench.pipeline.sessions().owner(session), Some(ONE));
    assert_eq!(bench.pipeline.take_touched(), [(session, 10_000)]);
}

#[test]
fn what_a_learner_answers_itself() {
    let mut bench = local(LEARNERS, false);
    for op in [
        OpCode::CREATE_TTL,
        OpCode::CREATE_CONTAINER,
        OpCode::DELETE,
        OpCode::SET_DATA,
        OpCode::SET_ACL,
        OpCode::RECONFIG,
        OpCode::SYNC,
        OpCode::MULTI,
    ] {
        assert_eq!(route(&mut bench, op, &[]).0, PLAINLY, "{op}");
    }
    for op in [OpCode::CHECK, OpCode::DELETE_CONTAINER, OpCode::CREATE_SESSION, OpCode(77)] {
        let (to, reply) = route(&mut bench, op, &[]);
        assert!(matches!(to, Route::Answered(Done { close: true, logged: false, .. })), "{op}: {to:?}");
        let err = ErrorCode::UNIMPLEMENTED;
        assert_eq!(last_frame(&reply).0, ReplyHeader { xid: Xid(9), zxid: Zxid(-1), err });
    }
    let (to, reply) = route(&mut bench, OpCode::CLOSE_SESSION, &[]);
    assert!(matches!(to, Route::Answered(Done { close: true, logged: false, err: ErrorCode::OK, .. })));
    assert_eq!(last_frame(&reply).0.err, ErrorCode::OK);
    assert_eq!(route(&mut bench, OpCode::CLOSE_SESSION, &[]).0, PLAINLY, "it is no local session");
}

#[test]
fn a_learners_client_gets_its_session_from_the_leader() {
    let mut bench = Bench::new();
    bench.pipeline.join(Ensemble::default());
    assert!(!bench.pipeline.creates_local_sessions());
    let (session, timeout_ms) = bench.pipeline.ask_session(1, TWO);
    assert_eq!((timeout_ms, session.0 >> 56), (4000, 1));
    assert!(!bench.pipeline.sessions().is_live(session), "nothing is before it is committed");
    let mut log = Vec::new();
    let header = TxnHeader { session, cxid: 0, zxid: Zxid(2), time: NOW, op: OpCode::CREATE_SESSION };
    TxnRecord { header, txn: Txn::CreateSession { timeout_ms }, digest: None }.encode(&mut log);
    let followed = bench.pipeline.follow(MONO, &log, &mut Vec::new()).expect("a record that can be followed");
    let created = Created { session, password: password(session), timeout_ms, zxid: Zxid(2) };
    assert_eq!(followed.created(), Some(created));
    assert_eq!(bench.pipeline.sessions().owner(session), Some(TWO));
}

#[test]
fn a_learner_asks_the_leader_for_sessions_that_come_back() {
    let mut bench = local(LEARNERS, false);
    let (local, global) = (bench.session, SessionId(0x77));
    let mut reopen = |session, password: &[u8]| bench.pipeline.reopen_as_learner(MONO, session, password, 1, TWO);
    assert_eq!(reopen(global, &[0; 16]), LearnerReopened::Here(Reopened::Refused));
    assert_eq!(reopen(global, &password(global)), LearnerReopened::AskLeader { timeout_ms: 4000 });
    let here = Reopened::Ok { timeout_ms: 4000, previous_owner: Some(ONE) };
    assert_eq!(reopen(local, &password(local)), LearnerReopened::Here(here));
    assert_eq!(bench.pipeline.revalidated(MONO, global, 4000, TWO, false), Reopened::Refused);
    assert!(!bench.pipeline.touch(global, MONO));
    // The leader knows it, and here its creation is still to come.
    let ok = |previous_owner| Reopened::Ok { timeout_ms: 4000, previous_owner };
    assert_eq!(bench.pipeline.revalidated(MONO, global, 4000, ONE, true), ok(None));
    assert_eq!(bench.pipeline.revalidated(MONO, global, 4000, TWO, true), ok(Some(ONE)));
    assert_eq!(bench.pipeline.take_touched(), [(global, 4000)]);
    let mut log = Vec::new();
    let header = TxnHeader { session: global, cxid: 0, zxid: Zxid(2), time: NOW, op: OpCode::CREATE_SESSION };
    TxnRecord { header, txn: Txn::CreateSession { timeout_ms: 6000 }, digest: None }.encode(&mut log);
    bench.pipeline.follow(MONO, &log, &mut Vec::new()).expect("a record that can be followed");
    assert_eq!(bench.pipeline.sessions().owner(global), Some(TWO));
}

#[test]
fn read_only_request_processor() {
    let mut bench = Bench::new();
    let global = bench.session;
    bench.pipeline.join(Ensemble { server_id: ServerId(1), ..Ensemble::default() });
    let created = bench.pipeline.create_local_session(MONO, 10_000, ONE);
    bench.session = created.session;
    let mut ask = |session, op| {
        let request = Request { session, xid: Xid(9), op, body: &[], identities: &[], owner: ONE };
        let mut reply = Vec::new();
        let done = bench.pipeline.process_read_only(&request, &mut reply);
        assert!(!done.logged);
        (last_frame(&reply).0.err, done.close)
    };
    for op in [
        OpCode::SYNC,
        OpCode::CREATE,
        OpCode::CREATE2,
        OpCode::CREATE_TTL,
        OpCode::CREATE_CONTAINER,
        OpCode::DELETE,
        OpCode::DELETE_CONTAINER,
        OpCode::SET_DATA,
        OpCode::SET_ACL,
        OpCode::RECONFIG,
        OpCode::MULTI,
    ] {
        assert_eq!(ask(created.session, op), (ErrorCode::NOT_READ_ONLY, false), "{op}");
    }
    assert_eq!(ErrorCode::NOT_READ_ONLY.0, -119);
    assert_eq!(ask(created.session, OpCode(77)), (ErrorCode::UNIMPLEMENTED, true));
    assert_eq!(ask(global, OpCode::CLOSE_SESSION), (ErrorCode::NOT_READ_ONLY, false));
    assert_eq!(ask(created.session, OpCode::CLOSE_SESSION), (ErrorCode::OK, true));

    let own = bench.pipeline.create_local_session(MONO, 10_000, ONE).session;
    let mut reopen = |session, password: &[u8]| bench.pipeline.reopen_read_only(MONO, session, password, 10_000, TWO);
    assert_eq!(reopen(global, &password(global)), ReadOnlyReopened::Close);
    assert_eq!(reopen(SessionId(7), &password(SessionId(7))), ReadOnlyReopened::Here(Reopened::Refused));
    assert_eq!(reopen(own, &[0; 16]), ReadOnlyReopened::Here(Reopened::Refused));
    let ok = Reopened::Ok { timeout_ms: 10_000, previous_owner: Some(ONE) };
    assert_eq!(reopen(own, &password(own)), ReadOnlyReopened::Here(ok));
}
