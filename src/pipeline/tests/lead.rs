//! Leaders: epochs, learners' requests, and the way back from what was never committed.

use std::collections::VecDeque;

use super::random::{Dice, assert_same_tree};
use super::*;

const MONO: Instant = Instant(0);
const LINK: Owner = Owner::learner(3);

fn led(options: Options) -> Bench {
    let mut bench = Bench::with(options);
    bench.pipeline.join(Ensemble { server_id: ServerId(1), ..Ensemble::default() });
    bench.pipeline.begin_epoch(Epoch(1), MONO);
    bench
}

fn sessions_of(pipeline: &Pipeline) -> Vec<(SessionId, i32)> {
    let mut sessions: Vec<(SessionId, i32)> = pipeline.sessions().iter().collect();
    sessions.sort_unstable();
    sessions
}

fn forward(bench: &mut Bench, session: SessionId, xid: i32, op: OpCode, body: &[u8]) -> (Done, Vec<u8>) {
    let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    let request = Request { session, xid: Xid(xid), op, body, identities: &bench.identities, owner: LINK };
    let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
    let done = bench.pipeline.process_forwarded(NOW, MONO, &request, &mut sink);
    assert!(reply.is_empty());
    (done, log)
}

#[test]
fn owners_of_learners_are_no_connections() {
    for link in [0, 1, u32::MAX] {
        assert_eq!(Owner::learner(link).as_learner(), Some(link));
    }
    // As the replica packs a connection: the shard, a generation that is not 0, the slot.
    let connections = [0x0000_0001_0000_0000, 0xFF00_0001_0000_0000, 0xFFFF_FFFF_FFFF_FFFF, 1];
    assert!(connections.iter().all(|owner| Owner(*owner).as_learner().is_none()));
}

#[test]
fn an_epoch_begins_with_its_first_counter() {
    let mut bench = led(Options::default());
    assert_eq!(bench.pipeline.zxid(), Zxid::new(Epoch(1), 0));
    assert_eq!(bench.create("/a", 0).done.zxid, Zxid::new(Epoch(1), 1));
    let version = bench.pipeline.cut();
    bench.pipeline.committed(version.zxid());
    bench.pipeline.rewind(&version, MONO);
    bench.pipeline.begin_epoch(Epoch(7), MONO);
    assert_eq!(bench.open(TWO), SessionId(bench.session.0 + 1));
    assert_eq!(bench.pipeline.zxid(), Zxid::new(Epoch(7), 1));
}

#[test]
fn zookeeper_1277_the_counter_does_not_roll_over() {
    let mut bench = led(Options::default());
    bench.pipeline.zxid = Zxid::new(Epoch(1), u32::MAX - 2);
    assert!(!bench.pipeline.is_epoch_full());
    assert_eq!(bench.create("/a", 0).done.zxid.counter(), u32::MAX - 1, "the last that Apache's leader proposes");
    assert!(bench.pipeline.is_epoch_full());
    let overrun = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.create("/b", 0)));
    let message = *overrun.expect_err("our own mistake").downcast::<String>().expect("a message");
    assert!(message.contains("the epoch is full"), "{message}");
    // One server alone counts on.
    let mut alone = Bench::new();
    alone.pipeline.zxid = Zxid::new(Epoch(1), u32::MAX);
    assert!(!alone.pipeline.is_epoch_full());
    assert_eq!(alone.create("/a", 0).done.zxid, Zxid::new(Epoch(2), 0));
}

#[test]
#[should_panic(expected = "begins behind")]
fn an_epoch_that_is_over_does_not_begin_again() {
    let mut bench = led(Options::default());
    bench.pipeline.begin_epoch(Epoch(1), MONO);
}

#[test]
fn learners_choose_the_ids_of_their_sessions() {
    let mut bench = led(Options::default());
    let chosen = first_id(ServerId(9), NOW);
    let (done, log) = forward(&mut bench, chosen, 0, OpCode::CREATE_SESSION, &7000_i32.to_be_bytes());
    assert!(done.logged && !done.close);
    let record = TxnRecord::decode(&log).expect("a record");
    assert_eq!((record.header.session, record.header.cxid, record.header.time), (chosen, 0, NOW));
    assert_eq!(record.txn, Txn::CreateSession { timeout_ms: 7000 });
    assert!(record.digest.is_some());
    assert_eq!(bench.pipeline.sessions().timeout_ms(chosen), Some(7000), "the learner has negotiated");
    assert_eq!(bench.pipeline.sessions().owner(chosen), Some(LINK));
    // Its requests come over this link, and over no other.
    let mut body = Vec::new();
    let request = CreateRequest { path: "/e".into(), data: None, acl: AclList::OPEN, flags: 1, ttl_ms: -1 };
    request.encode(OpCode::CREATE, &mut body);
    let (done, _) = forward(&mut bench, chosen, 1, OpCode::CREATE, &body);
    assert_eq!(done.err, ErrorCode::OK);
    assert!(bench.pipeline.revalidate(MONO, chosen, 9000, Owner::learner(4)));
    let (done, log) = forward(&mut bench, chosen, 2, OpCode::CREATE, &body);
    assert_eq!(done.err, ErrorCode::SESSION_MOVED);
    assert_eq!(TxnRecord::decode(&log).expect("a record").txn, Txn::Error { err: ErrorCode::SESSION_MOVED });
    // Its end comes over any, and takes the ephemeral along.
    let (done, log) = forward(&mut bench, chosen, 3, OpCode::CLOSE_SESSION, &[]);
    assert!(done.logged && !done.close);
    assert_eq!(TxnRecord::decode(&log).expect("a record").txn, Txn::CloseSession { paths: Some(vec!["/e".into()]) });
    assert!(!bench.pipeline.revalidate(MONO, chosen, 9000, LINK), "it is over");
}

#[test]
fn whatever_a_learner_forwards_its_client_gets_a_transaction() {
    let mut bench = led(Options::default());
    let live = bench.session;
    let none: &[u8] = &[];
    let nobody = SessionId(0x55);
    for (op, session, err) in [
        (OpCode::CREATE, live, ErrorCode::MARSHALLING_ERROR),
        (OpCode::CREATE2, live, ErrorCode::MARSHALLING_ERROR),
        (OpCode::CREATE_TTL, live, ErrorCode::MARSHALLING_ERROR),
        (OpCode::CREATE_CONTAINER, live, ErrorCode::MARSHALLING_ERROR),
        (OpCode::DELETE, live, ErrorCode::MARSHALLING_ERROR),
        (OpCode::SET_DATA, live, ErrorCode::MARSHALLING_ERROR),
        (OpCode::SET_ACL, nobody, ErrorCode::MARSHALLING_ERROR),
        (OpCode::RECONFIG, live, ErrorCode::MARSHALLING_ERROR),
        (OpCode::MULTI, nobody, ErrorCode::MARSHALLING_ERROR),
        (OpCode::CREATE_SESSION, nobody, ErrorCode::MARSHALLING_ERROR),
        (OpCode::CHECK, live, ErrorCode::UNIMPLEMENTED),
        (OpCode::DELETE_CONTAINER, live, ErrorCode::UNIMPLEMENTED),
    ] {
        let (done, log) = forward(&mut bench, session, 5, op, none);
        assert!(done.logged && done.err == err, "{op}: {done:?}");
        let record = TxnRecord::decode(&log).expect("a record");
        assert_eq!((record.header.session, record.header.cxid, record.header.op), (session, 5, OpCode::ERROR));
        assert_eq!((record.txn, record.digest), (Txn::Error { err }, None));
    }
    let (done, log) = forward(&mut bench, nobody, 5, OpCode::CLOSE_SESSION, none);
    assert!(done.logged && done.err == ErrorCode::OK);
    assert_eq!(TxnRecord::decode(&log).expect("a record").txn, Txn::CloseSession { paths: Some(Vec::new()) });
    let mut body = Vec::new();
    PathVersionRequest { path: "/a".into(), version: -1 }.encode(&mut body);
    let (done, _) = forward(&mut bench, nobody, 6, OpCode::DELETE, &body);
    assert!(done.logged && done.err == ErrorCode::SESSION_EXPIRED, "{done:?}");
    for op in [OpCode::EXISTS, OpCode::PING, OpCode::SYNC, OpCode(77)] {
        assert!(!forward(&mut bench, live, 7, op, none).0.logged, "{op} becomes no transaction");
    }
}

#[test]
fn a_new_leader_gives_every_session_its_whole_timeout() {
    let mut bench = Bench::new();
    let session = bench.session;
    bench.pipeline.join(Ensemble::default());
    let far = Instant(3_600_000_000);
    assert_eq!(bench.pipeline.sessions_mut().expire(far), []);
    bench.pipeline.begin_epoch(Epoch(1), far);
    assert_eq!(bench.pipeline.sessions().owner(session), None);
    let at_ms = |ms: u64| Instant(far.0 + ms * 1000);
    assert_eq!(bench.pipeline.sessions_mut().expire(at_ms(9999)), []);
    // A learner hears of it, and says what that is worth.
    assert!(bench.pipeline.sessions_mut().touch_for(session, 20_000, at_ms(9999)));
    assert!(!bench.pipeline.sessions_mut().touch_for(SessionId(77), 20_000, at_ms(9999)));
    assert_eq!(bench.pipeline.sessions_mut().expire(at_ms(29_000)), []);
    assert_eq!(bench.pipeline.sessions_mut().expire(at_ms(32_000)), [session]);
    assert!(!bench.pipeline.sessions_mut().touch_for(session, 20_000, at_ms(33_000)), "closing");
    assert!(!bench.pipeline.revalidate(at_ms(33_000), session, 20_000, LINK), "closing");
    // It loses its office before the end is committed: then the session goes on.
    let version = bench.pipeline.cut();
    let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
    assert!(bench.pipeline.close_session(NOW, session, &mut sink).logged);
    assert!(bench.pipeline.sessions().is_empty());
    bench.pipeline.rewind(&version, far);
    assert!(bench.pipeline.sessions().is_live(session));
    bench.pipeline.begin_epoch(Epoch(2), far);
    assert!(bench.pipeline.revalidate(far, session, 20_000, LINK));
    assert_eq!(bench.pipeline.sessions_mut().expire(at_ms(22_000)), [session]);
}

/// A version that a leader has cut, and what was true then.
struct Cut {
    version: Version,
    sessions: Vec<(SessionId, i32)>,
    /// Records until then.
    records: usize,
}

fn lose_and_lead_again(seed: u64) -> (usize, usize) {
    let mut dice = Dice::of_seed(seed);
    let mut bench = led(Options { extended_types: true, ..Options::default() });
    bench.authenticate("bob:secret");
    // Follows what is committed, and in the end what was kept.
    let mut follower = Bench::with(bench.pipeline.options().clone()).pipeline;
    follower.join(Ensemble::default());
    let (mut epoch, mut rewinds, mut undone) = (1, 0, 0);
    let mut open = vec![(bench.session, ONE)];
    let mut next_owner = 2;
    let mut records: Vec<Vec<u8>> = Vec::new();
    let mut followed = 0;
    let mut cuts: VecDeque<Cut> = VecDeque::new();
    for step in 0..1500 {
        if open.len() < 4 || dice.roll(20) == 0 {
            let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
            let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
            let created = bench.pipeline.create_session(NOW, MONO, 5000 + step, Owner(next_owner), &mut sink);
            open.push((created.session, Owner(next_owner)));
            next_owner += 1;
            records.push(log);
        }
        let (session, owner) = dice.pick(&open);
        (bench.session, bench.owner) = (session, owner);
        let (op, body) = if dice.roll(30) == 0 { (OpCode::CLOSE_SESSION, Vec::new()) } else { dice.request() };
        let outcome = bench.send_bytes(op, &body);
        if outcome.done.logged {
            records.push(outcome.log);
        }
        if op == OpCode::CLOSE_SESSION {
            open.retain(|(id, _)| *id != session);
        }
        if dice.roll(15) == 0 {
            let version = bench.pipeline.cut();
            cuts.push_back(Cut { version, sessions: sessions_of(&bench.pipeline), records: records.len() });
        }
        if cuts.len() > 6 {
            // The oldest is committed.
            let cut = cuts.pop_front().expect("there are some");
            for record in &records[followed..cut.records] {
                follower.follow(MONO, record, &mut Vec::new()).expect("a record that can be followed");
            }
            followed = cut.records;
            bench.pipeline.committed(cut.version.zxid());
        }
        for cut in &cuts {
            let mut then = bench.pipeline.sessions_at(cut.version.zxid());
            then.sort_unstable();
            assert_eq!(then, cut.sessions, "step {step}");
        }
        if !cuts.is_empty() && dice.roll(150) == 0 {
            let kept = dice.roll(cuts.len() as u64);
            let cut = &cuts[kept];
            bench.pipeline.rewind(&cut.version, MONO);
            assert_eq!(sessions_of(&bench.pipeline), cut.sessions);
            undone += records.len() - cut.records;
            rewinds += 1;
            records.truncate(cut.records);
            for record in &records[followed..] {
                follower.follow(MONO, record, &mut Vec::new()).expect("a record that can be followed");
            }
            followed = records.len();
            assert_same_tree(bench.pipeline.view(), follower.view());
            assert_eq!(sessions_of(&bench.pipeline), sessions_of(&follower));
            assert_eq!(bench.pipeline.zxid(), follower.zxid());
            open = cut.sessions.iter().enumerate().map(|(at, (id, _))| (*id, Owner(1000 + at as u64))).collect();
            cuts.clear();
            epoch += 1;
            bench.pipeline.begin_epoch(Epoch(epoch), MONO);
            assert_eq!(bench.pipeline.zxid(), Zxid::new(Epoch(epoch), 0));
        }
    }
    for record in &records[followed..] {
        follower.follow(MONO, record, &mut Vec::new()).expect("a record that can be followed");
    }
    assert_same_tree(bench.pipeline.view(), follower.view());
    assert_eq!(sessions_of(&bench.pipeline), sessions_of(&follower));
    (rewinds, undone)
}

#[test]
fn who_loses_the_office_takes_back_what_was_not_committed() {
    let (mut rewinds, mut undone) = (0, 0);
    for seed in 1..=12 {
        let (more_rewinds, more_undone) = lose_and_lead_again(seed);
        rewinds += more_rewinds;
        undone += more_undone;
    }
    assert!(rewinds > 50 && undone > 1000, "{rewinds} rewinds took {undone} transactions back");
}

#[test]
fn a_session_created_again_has_its_old_timeout_back() {
    let mut bench = led(Options::default());
    let session = bench.session;
    let version = bench.pipeline.cut();
    let (done, _) = forward(&mut bench, session, 0, OpCode::CREATE_SESSION, &33_000_i32.to_be_bytes());
    assert!(done.logged);
    assert_eq!(sessions_of(&bench.pipeline), [(session, 33_000)]);
    assert_eq!(bench.pipeline.sessions_at(version.zxid()), [(session, 10_000)]);
    bench.pipeline.rewind(&version, MONO);
    assert_eq!(sessions_of(&bench.pipeline), [(session, 10_000)]);
}

#[test]
fn who_stands_down_keeps_what_is_in_the_log() {
    let mut bench = led(Options::default());
    let session = bench.session;
    bench.create("/a", 1);
    let other = bench.open(TWO);
    bench.send_bytes(OpCode::CLOSE_SESSION, &[]);
    let last = bench.pipeline.zxid();
    bench.pipeline.stand_down(MONO);
    assert!(!bench.pipeline.is_leading() && !bench.exists("/a"));
    assert_eq!((bench.pipeline.zxid(), sessions_of(&bench.pipeline)), (last, vec![(other, 10_000)]));
    assert_eq!(bench.pipeline.sessions().owner(other), None);
    assert_eq!(bench.pipeline.sessions().timeout_ms(session), None);
    // An epoch without a transaction leaves no trace in the zxid: the next leader's may be of an older one.
    bench.pipeline.begin_epoch(Epoch(9), MONO);
    bench.pipeline.stand_down(MONO);
    assert_eq!(bench.pipeline.zxid(), last);
}

#[test]
#[should_panic(expected = "are forgotten")]
fn sessions_before_a_commit_are_not_known() {
    let mut bench = led(Options::default());
    let version = bench.pipeline.cut();
    bench.open(TWO);
    bench.pipeline.committed(bench.pipeline.zxid());
    let _ = bench.pipeline.sessions_at(version.zxid());
}

#[test]
fn another_state_takes_the_place_of_the_present_one() {
    let mut bench = led(Options::default());
    bench.create("/mine", 1);
    let mut other = led(Options::default());
    other.create("/theirs", 0);
    let Bench { pipeline, .. } = other;
    let last = pipeline.zxid();
    let sessions = vec![(SessionId(0x77), 4000), (SessionId(0x78), 5000)];
    bench.pipeline.install(pipeline.tree, sessions.clone(), last, MONO);
    assert_eq!(bench.pipeline.zxid(), last);
    assert!(bench.exists("/theirs") && !bench.exists("/mine"));
    assert_eq!(sessions_of(&bench.pipeline), sessions);
    assert!(!bench.pipeline.is_leading());
    assert_eq!(bench.pipeline.sessions().next_expiry(), None);
    bench.pipeline.begin_epoch(Epoch(2), MONO);
    bench.session = SessionId(0x77);
    assert_eq!(bench.create("/more", 0).done.zxid, Zxid::new(Epoch(2), 1));
}

#[test]
fn init_config_in_zk_database() {
    let mut bench = led(Options::default());
    bench.create("/a", 0);
    let (digest, zxid) = (bench.pipeline.view().digest(), bench.pipeline.view().zxid());
    let text = "server.1=127.0.0.1:2888:3888:participant\nversion=100000000";
    let mut changes = Vec::new();
    bench.pipeline.set_config(WallTime(7), text, 0x1_0000_0000, &mut changes);
    let config = "/zookeeper/config";
    let outcome = bench.read(OpCode::GET_DATA, config, false);
    let mut body = outcome.body();
    assert_eq!(body.buffer(), Ok(Some(text.as_bytes())));
    let stat = Stat::decode(&mut body).expect("a stat");
    assert_eq!((stat.version, stat.mzxid, stat.mtime, stat.czxid), (-1, Zxid(0x1_0000_0000), WallTime(7), Zxid(0)));
    assert_eq!((bench.pipeline.view().digest(), bench.pipeline.view().zxid()), (digest, zxid));
    assert_eq!(changes.iter().map(|change| &*change.path).collect::<Vec<_>>(), [config]);
    assert_eq!(bench.create("/b", 0).err(), ErrorCode::OK);
    // A version of the tree from before does not show it, and a state without the znode gets one.
    let header = TxnHeader { session: SessionId(1), cxid: 0, zxid, time: NOW, op: OpCode::DELETE };
    bench.pipeline.tree.apply(&header, &Txn::Delete { path: config.into() }, &mut changes);
    assert!(!bench.exists(config));
    let children = |bench: &Bench| bench.pipeline.view().znode("/zookeeper").expect("it is there").num_children();
    assert_eq!(children(&bench), 1);
    bench.pipeline.set_config(WallTime(8), text, 0, &mut changes);
    assert_eq!(children(&bench), 2);
    let list = bench.read(OpCode::GET_ACL, config, false);
    assert_eq!(AclList::decode(&mut list.body()), Ok(AclList::READ_ONLY));
}

#[test]
fn closing_many_ephemerals_is_foretold() {
    let mut bench = led(Options::default());
    for number in 0..500 {
        bench.create(&format!("/ephemeral-{number}"), 1);
    }
    let session = bench.session;
    let request = Request { session, xid: Xid(1), op: OpCode::CLOSE_SESSION, body: &[], identities: &[], owner: ONE };
    let bound = bench.pipeline.record_len_bound(&request);
    assert_eq!(bound, bench.pipeline.close_len_bound(session));
    let version = bench.pipeline.cut();
    let log = bench.send_bytes(OpCode::CLOSE_SESSION, &[]).log;
    assert_eq!(log.len(), bound);
    bench.pipeline.rewind(&version, MONO);
    assert_eq!(bench.pipeline.close_len_bound(session), bound);
    assert_eq!(bench.pipeline.view().ephemeral_count(), 500);
}

#[test]
fn lists_that_grow_are_foretold() {
    let mut bench = led(Options::default());
    for user in 0..50 {
        bench.authenticate(&format!("user-{user}:secret"));
    }
    let entries: Vec<(Perms, &str, &str)> = (0..20).map(|perms| (Perms(perms), "auth", "")).collect();
    let acl = acl(&entries);
    let request = CreateRequest { path: "/a-".into(), data: Some(b"x"), acl, flags: 2, ttl_ms: -1 };
    let ops = [MultiOp::Create(OpCode::CREATE, request.clone()), MultiOp::Create(OpCode::CREATE2, request.clone())];
    let mut bodies = [(OpCode::CREATE, Vec::new()), (OpCode::MULTI, Vec::new())];
    request.encode(OpCode::CREATE, &mut bodies[0].1);
    encode_multi(&ops, &mut bodies[1].1);
    for (op, body) in &bodies {
        let (session, identities, owner) = (bench.session, &bench.identities, bench.owner);
        let request = Request { session, xid: Xid(1), op: *op, body, identities, owner };
        let bound = bench.pipeline.record_len_bound(&request);
        let len = bench.send_bytes(*op, body).log.len();
        assert!(len > 40_000 && (len..len + 2000).contains(&bound), "{op}: {len} bytes, not {bound}");
    }
}
