//! Followers: whatever clients send to a leader, who applies its records has the leader's state, tells its watchers the same, and
//! answers the same.

use super::random::{Dice, assert_same_tree};
use super::*;
use crate::session::Duty;

const MONO: Instant = Instant(0);

/// A pipeline that follows, of another hash seed.
fn follower(options: &Options) -> Pipeline {
    let tree = Tree::new(tree::Options { owners: options.owners(), hash_seed: 99, ..tree::Options::default() });
    let mut pipeline =
        Pipeline::new(options.clone(), tree, Sessions::new(2000, first_id(ServerId(2), NOW)), Zxid::ZERO);
    pipeline.join(member().expect("it is one"));
    pipeline
}

fn member() -> Option<Ensemble> {
    Some(Ensemble { server_id: ServerId(2), ..Ensemble::default() })
}

fn sessions_of(pipeline: &Pipeline) -> Vec<(SessionId, i32)> {
    let mut sessions: Vec<(SessionId, i32)> = pipeline.sessions().iter().collect();
    sessions.sort_unstable();
    sessions
}

fn assert_same_changes(one: &[Change], other: &[Change]) {
    let shown =
        |change: &Change| (change.event, change.path.clone(), change.zxid, change.acl.list.clone(), change.tables);
    assert_eq!(one.iter().map(shown).collect::<Vec<_>>(), other.iter().map(shown).collect::<Vec<_>>());
}

fn record(header: TxnHeader, txn: Txn<'_>) -> Vec<u8> {
    let mut log = Vec::new();
    TxnRecord { header, txn, digest: None }.encode(&mut log);
    log
}

/// The record that made the bench's session.
fn first_record(bench: &Bench) -> Vec<u8> {
    let header = TxnHeader { session: bench.session, cxid: 0, zxid: Zxid(1), time: NOW, op: OpCode::CREATE_SESSION };
    record(header, Txn::CreateSession { timeout_ms: 10_000 })
}

#[derive(Default)]
struct Counts {
    requests: usize,
    answers: usize,
    refusals: usize,
    only_forwarded: usize,
}

/// Each request three ways: processed by a server alone; forwarded to a leader; and both servers' records followed.
fn run(seed: u64, steps: usize, counts: &mut Counts) {
    let options = Options { extended_types: true, enforce_quota: seed.is_multiple_of(2), ..Options::default() };
    let mut dice = Dice::of_seed(seed);
    let mut bench = Bench::with(options.clone());
    bench.authenticate("bob:secret");
    // Alone it would log create2 in a multi as it is.
    bench.pipeline.ensemble = member();
    let (mut of_bench, mut leader, mut of_leader) = (follower(&options), follower(&options), follower(&options));
    for pipeline in [&mut of_bench, &mut leader, &mut of_leader] {
        pipeline.follow(MONO, &first_record(&bench), &mut Vec::new()).expect("a record that can be followed");
    }
    leader.begin_epoch(Epoch(1), MONO);
    let mut open = vec![(bench.session, ONE)];
    let mut next_owner = 2;
    for _ in 0..steps {
        // One numbering for both, though the leader sometimes logs what the server alone does not.
        bench.pipeline.zxid = leader.zxid();
        if open.len() < 3 || dice.roll(100) == 0 {
            let owner = Owner(next_owner);
            next_owner += 1;
            let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
            let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
            let created = bench.pipeline.create_session(NOW, MONO, 5000, owner, &mut sink);
            open.push((created.session, owner));
            let body = 5000_i32.to_be_bytes();
            let (op, xid, session) = (OpCode::CREATE_SESSION, Xid(0), created.session);
            let request = Request { session, xid, op, body: &body, identities: &[], owner };
            let mut led = Vec::new();
            let mut sink = Sink { log: &mut led, reply: &mut reply, changes: &mut changes };
            assert!(leader.process_forwarded(NOW, MONO, &request, &mut sink).logged);
            assert_eq!(led, log, "createSession");
            for pipeline in [&mut of_bench, &mut of_leader] {
                let followed = pipeline.follow(MONO, &log, &mut changes).expect("a record that can be followed");
                assert_eq!(followed.created(), Some(created));
            }
            continue;
        }
        let (session, owner) = dice.pick(&open);
        (bench.session, bench.owner) = (session, if dice.roll(200) == 0 { Owner(0) } else { owner });
        let (op, body) = dice.request();
        if read::is_read(op) {
            continue;
        }
        counts.requests += 1;

        let bound_of_bench;
        let (mut led, mut nothing, mut led_changes) = (Vec::new(), Vec::new(), Vec::new());
        let forwarded = {
            let request = Request {
                session,
                xid: Xid(bench.xid + 1),
                op,
                body: &body,
                identities: &bench.identities,
                owner: bench.owner,
            };
            bound_of_bench = bench.pipeline.record_len_bound(&request);
            assert_eq!(leader.record_len_bound(&request), bound_of_bench);
            let mut sink = Sink { log: &mut led, reply: &mut nothing, changes: &mut led_changes };
            leader.process_forwarded(NOW, MONO, &request, &mut sink)
        };
        assert!(nothing.is_empty(), "the learner answers");
        assert_eq!(forwarded.logged, !led.is_empty());
        let is_write = !matches!(op, OpCode::SYNC | OpCode(55));
        assert_eq!(forwarded.logged, is_write, "{op}: every write ends in a transaction");
        assert!(led.len() <= bound_of_bench, "{op}: a record of {} bytes, not {bound_of_bench}", led.len());

        let is_live = bench.pipeline.sessions().is_live(session);
        let outcome = bench.send_bytes(op, &body);
        let xid = Xid(bench.xid);
        let awaiting = Awaiting { session, xid, refused: None };
        assert!(outcome.log.len() <= bound_of_bench);
        let ops = match TxnRecord::decode(&outcome.log).map(|record| record.txn) {
            Err(_) | Ok(Txn::Error { .. }) => 0,
            Ok(Txn::Multi(subs)) if subs.iter().any(|sub| sub.op == OpCode::ERROR) => 0,
            Ok(Txn::Multi(subs)) => subs.len(),
            Ok(_) => 1,
        };
        // A sequence number, a TTL, identities that prove nothing, and an entry said twice may be missing: not much else.
        let slack = bound_of_bench - outcome.log.len();
        assert!(ops == 0 || slack <= 4 + 80 * ops, "{op}: {slack} bytes of room too much");
        if outcome.done.logged {
            assert_eq!(led, outcome.log, "{op}");
            assert_same_changes(&led_changes, &outcome.changes);
            let (mut changes, mut answer) = (Vec::new(), Vec::new());
            let followed = of_bench.follow(MONO, &outcome.log, &mut changes).expect("a record that can be followed");
            assert!(followed.digest_ok && awaiting.is_for(&followed.header));
            let answered = answer_of(&followed, &awaiting, &mut answer);
            assert_eq!((answered.err, answered.close), (outcome.done.err, outcome.done.close), "{op}");
            assert_same_changes(&changes, &outcome.changes);
            let reply = (!answer.is_empty()).then(|| last_frame(&answer)).map(|(header, body)| (header, body.to_vec()));
            assert_eq!(reply, outcome.reply, "{op}");
            match outcome.reply {
                Some((header, _)) if header.err == ErrorCode::OK => counts.answers += 1,
                _ => counts.refusals += 1,
            }
        }
        if forwarded.logged {
            let (mut changes, mut answer) = (Vec::new(), Vec::new());
            let followed = of_leader.follow(MONO, &led, &mut changes).expect("a record that can be followed");
            assert!(followed.digest_ok && awaiting.is_for(&followed.header));
            let answered = answer_of(&followed, &awaiting, &mut answer);
            if !outcome.done.logged {
                counts.only_forwarded += 1;
                assert!(is_live || op == OpCode::CLOSE_SESSION);
                assert_eq!(answered.err, outcome.done.err, "{op}");
                // What the leader has logged beyond: a refusal, which changes nothing but the zxid.
                of_bench.follow(MONO, &led, &mut changes).expect("a record that can be followed");
                let header = TxnRecord::decode(&led).expect("a record").header;
                assert_eq!(header.op, OpCode::ERROR);
                bench.pipeline.tree.apply(&header, &Txn::Error { err: answered.err }, &mut changes);
                assert!(changes.is_empty());
            }
        }
        if op == OpCode::CLOSE_SESSION {
            open.retain(|(id, _)| *id != session);
        }
        let digest = bench.pipeline.view().digest();
        for pipeline in [&of_bench, &leader, &of_leader] {
            assert_eq!(pipeline.view().digest(), digest);
        }
    }
    for pipeline in [&of_bench, &leader, &of_leader] {
        assert_same_tree(bench.pipeline.view(), pipeline.view());
        assert_eq!(sessions_of(pipeline), sessions_of(&bench.pipeline));
        assert_eq!(pipeline.zxid(), leader.zxid());
        assert_eq!(pipeline.digest_mismatches(), 0);
    }
}

#[test]
fn whoever_follows_has_the_same_state_and_gives_the_same_answers() {
    let mut counts = Counts::default();
    for seed in 1..=24 {
        run(seed, 1500, &mut counts);
    }
    assert!(counts.requests > 25_000, "{} requests", counts.requests);
    assert!(counts.answers > 5000 && counts.refusals > 5000, "{} and {}", counts.answers, counts.refusals);
    assert!(counts.only_forwarded > 500, "{} requests that only a learner waits for", counts.only_forwarded);
}

#[test]
fn what_cannot_be_followed_changes_nothing() {
    let mut bench = Bench::new();
    let mut pipeline = follower(&Options::default());
    let mut changes = Vec::new();
    pipeline.follow(MONO, &first_record(&bench), &mut changes).expect("a record that can be followed");
    let outcome = bench.create("/a", 0);
    let before = pipeline.view().digest();
    for cut in [0, 10, 32, 40] {
        let error = pipeline.follow(MONO, &outcome.log[..cut], &mut changes).expect_err("cut off");
        assert!(matches!(error, FollowError::Undecodable { error: DecodeError::UnexpectedEnd, .. }), "{error}");
    }
    let mut strange = outcome.log.clone();
    strange[28..32].copy_from_slice(&77_i32.to_be_bytes());
    let error = pipeline.follow(MONO, &strange, &mut changes).expect_err("no such transaction");
    assert_eq!(error, FollowError::Undecodable { zxid: Zxid(2), error: DecodeError::BadType(77) });
    assert_eq!((pipeline.zxid(), pipeline.view().digest(), changes.len()), (Zxid(1), before, 0));

    pipeline.follow(MONO, &outcome.log, &mut changes).expect("it is whole");
    let error = pipeline.follow(MONO, &outcome.log, &mut changes).expect_err("a second time");
    assert_eq!(error, FollowError::OutOfOrder { zxid: Zxid(2), last: Zxid(2) });
    assert_eq!(pipeline.view().digest(), bench.pipeline.view().digest());
}

#[test]
fn apaches_leader_gives_no_zxid_to_what_it_cannot_read() {
    let bench = Bench::new();
    let mut pipeline = follower(&Options::default());
    pipeline.follow(MONO, &first_record(&bench), &mut Vec::new()).expect("a record that can be followed");
    let header = TxnHeader { session: bench.session, cxid: 7, zxid: Zxid(1), time: NOW, op: OpCode::ERROR };
    let record = record(header, Txn::Error { err: ErrorCode::MARSHALLING_ERROR });
    let followed = pipeline.follow(MONO, &record, &mut Vec::new()).expect("an error without a zxid of its own");
    let (awaiting, mut out) = (Awaiting { session: bench.session, xid: Xid(7), refused: None }, Vec::new());
    assert!(awaiting.is_for(&followed.header));
    assert_eq!(answer_of(&followed, &awaiting, &mut out).err, ErrorCode::MARSHALLING_ERROR);
    assert_eq!(pipeline.zxid(), Zxid(1));
}

/// The state that an Apache leader sends may be later than its zxid: what differs until all of it is applied is no difference.
#[test]
fn a_fuzzy_state_is_not_compared_until_it_is_whole() {
    let mut bench = Bench::new();
    let mut pipeline = follower(&Options::default());
    pipeline.follow(MONO, &first_record(&bench), &mut Vec::new()).expect("a record that can be followed");
    // What the follower does not hear of.
    bench.create("/missing", 0);
    pipeline.begin_fuzzy();
    let is_ok = |pipeline: &mut Pipeline, log: &[u8]| {
        pipeline.follow(MONO, log, &mut Vec::new()).expect("a record that can be followed").digest_ok
    };
    assert!(is_ok(&mut pipeline, &bench.create("/a", 0).log));
    assert_eq!(pipeline.digest_mismatches(), 0);
    pipeline.end_fuzzy();
    assert!(!is_ok(&mut pipeline, &bench.create("/b", 0).log));
    assert_eq!(pipeline.digest_mismatches(), 1);
}

/// 2846: a state that is not the leader's is noticed at the next record that has a digest.
#[test]
fn zookeeper_2846_data_tree_compare_digest() {
    let mut bench = Bench::new();
    let mut pipeline = follower(&Options::default());
    pipeline.follow(MONO, &first_record(&bench), &mut Vec::new()).expect("a record that can be followed");
    let mut follow = |log: &[u8]| {
        let followed = pipeline.follow(MONO, log, &mut Vec::new()).expect("a record that can be followed");
        (followed.digest_ok, followed.mismatch, pipeline.digest_mismatches())
    };
    let len_of_digest = TxnDigest::LEN;
    // Ours differs from here on: the leader's "/a" holds something else.
    let log = bench.create("/a", 0).log;
    let mut other = log.clone();
    let at = log.windows(4).position(|window| window == b"data").expect("its data");
    other[at] = b'D';
    let expected = bench.pipeline.view().digest();
    let (is_ok, mismatch, count) = follow(&other);
    assert!(!is_ok && count == 1);
    let mismatch = mismatch.expect("it is the first");
    assert_eq!((mismatch.zxid, mismatch.expected), (bench.pipeline.zxid(), expected));
    assert_ne!(mismatch.actual, expected);
    assert_eq!(follow(&bench.create("/b", 0).log), (false, None, 2), "counted, not told again");
    // Nothing to compare: a refusal has no digest, and another way of computing is not ours.
    assert_eq!(follow(&bench.create("/b", 0).log), (true, None, 2));
    let mut log = bench.create("/c", 0).log;
    let at = log.len() - len_of_digest;
    log[at..at + 4].copy_from_slice(&3_i32.to_be_bytes());
    assert_eq!(follow(&log), (true, None, 2));
    // Set right again, and then it is told again.
    assert_eq!(follow(&bench.set_data("/a", b"data", -1).log), (true, None, 2));
    let mut log = bench.create("/d", 0).log;
    let at = log.len() - 1;
    log[at] ^= 1;
    let (is_ok, mismatch, count) = follow(&log);
    assert!(!is_ok && mismatch.is_some() && count == 3);
}

#[test]
fn without_digests_none_is_compared() {
    let options = Options::default();
    let tree = tree::Options { owners: options.owners(), digest_enabled: false, ..tree::Options::default() };
    let sessions = Sessions::new(2000, SessionId(1));
    let mut pipeline = Pipeline::new(options, Tree::new(tree), sessions, Zxid::ZERO);
    pipeline.join(Ensemble::default());
    let mut bench = Bench::new();
    pipeline.follow(MONO, &first_record(&bench), &mut Vec::new()).expect("a record that can be followed");
    assert!(pipeline.follow(MONO, &bench.create("/a", 0).log, &mut Vec::new()).expect("a record").digest_ok);
}

#[test]
fn a_session_that_ends_tells_whose_connection_to_close() {
    let mut bench = Bench::new();
    let mut pipeline = follower(&Options::default());
    pipeline.follow(MONO, &first_record(&bench), &mut Vec::new()).expect("a record that can be followed");
    assert_eq!(pipeline.sessions().owner(bench.session), None, "its client is another server's");
    assert_eq!(
        pipeline.revalidated(MONO, bench.session, 10_000, TWO, true),
        Reopened::Ok { timeout_ms: 10_000, previous_owner: None }
    );
    let three = Owner(3);
    assert_eq!(
        pipeline.revalidated(MONO, bench.session, 10_000, three, true),
        Reopened::Ok { timeout_ms: 10_000, previous_owner: Some(TWO) }
    );
    let outcome = bench.send_bytes(OpCode::CLOSE_SESSION, &[]);
    let followed = pipeline.follow(MONO, &outcome.log, &mut Vec::new()).expect("a record that can be followed");
    assert_eq!(followed.closed, Some(three));
    assert!(pipeline.sessions().is_empty());
}

#[test]
fn apaches_closing_record_without_a_list_has_its_digest_where_the_list_would_be() {
    let mut bench = Bench::new();
    bench.create("/e", 1);
    let header = TxnHeader { session: bench.session, cxid: 2, zxid: Zxid(3), time: NOW, op: OpCode::CLOSE_SESSION };
    let mut log = record(header, Txn::CloseSession { paths: None });
    let digest = TxnDigest { version: TxnDigest::VERSION, tree: 0x1234_5678_9abc };
    log.put_i32(digest.version);
    log.put_i64(digest.tree.cast_signed());
    let decoded = TxnRecord::decode(&log).expect("Apache's leader writes this");
    assert_eq!(decoded, TxnRecord { header, txn: Txn::CloseSession { paths: None }, digest: Some(digest) });
    let mut pipeline = follower(&Options::default());
    pipeline.follow(MONO, &first_record(&bench), &mut Vec::new()).expect("a record that can be followed");
    pipeline.follow(MONO, &log, &mut Vec::new()).expect("a record that can be followed");
    assert!(pipeline.sessions().is_empty());
}

#[test]
fn learners_let_nobody_expire_and_report_whom_they_heard() {
    let mut bench = Bench::new();
    let mut pipeline = follower(&Options::default());
    assert_eq!(pipeline.sessions().duty(), Duty::Learner);
    pipeline.follow(MONO, &first_record(&bench), &mut Vec::new()).expect("a record that can be followed");
    assert_eq!(pipeline.take_touched(), [(bench.session, 10_000)], "whoever is created is heard of");
    assert_eq!(pipeline.take_touched(), []);
    assert!(pipeline.touch(bench.session, Instant(5)) && pipeline.touch(bench.session, Instant(6)));
    assert!(!pipeline.touch(SessionId(77), Instant(5)));
    pipeline.revalidated(Instant(7), bench.session, 6000, TWO, true);
    assert_eq!(pipeline.take_touched(), [(bench.session, 6000)], "once, with what it was granted last");
    assert_eq!(pipeline.sessions().next_expiry(), None);
    assert_eq!(pipeline.sessions_mut().expire(Instant(u64::MAX / 2)), []);
    // One that is heard of and gone before the report is not in it.
    assert!(pipeline.touch(bench.session, Instant(8)));
    let log = bench.send_bytes(OpCode::CLOSE_SESSION, &[]).log;
    pipeline.follow(MONO, &log, &mut Vec::new()).expect("a record that can be followed");
    assert_eq!(pipeline.take_touched(), []);
}

#[test]
#[should_panic(expected = "follows nobody")]
fn a_leader_that_follows_is_our_own_mistake() {
    let bench = Bench::new();
    let mut pipeline = follower(&Options::default());
    pipeline.begin_epoch(Epoch(1), MONO);
    let _ = pipeline.follow(MONO, &first_record(&bench), &mut Vec::new());
}

#[test]
fn damaged_records_are_errors_or_transactions_and_nothing_else() {
    let options = Options { extended_types: true, ..Options::default() };
    let (mut read, mut refused) = (0, 0);
    for seed in 1..=40 {
        let mut dice = Dice::of_seed(seed);
        let mut bench = Bench::with(options.clone());
        let mut pipeline = follower(&options);
        pipeline.follow(MONO, &first_record(&bench), &mut Vec::new()).expect("a record that can be followed");
        for _ in 0..300 {
            let (op, body) = dice.request();
            if read::is_read(op) || op == OpCode::CLOSE_SESSION {
                continue;
            }
            let mut log = bench.send_bytes(op, &body).log;
            for _ in 0..dice.roll(3) {
                // Not the zxid's upper bytes: behind a zxid of the far future nothing would be in order.
                let at =
                    dice.pick(&[0, 8, 18, 19, 20, 28, 31]).max(dice.roll(1 + log.len() as u64 * 2) % (1 + log.len()));
                if let Some(byte) = log.get_mut(at).filter(|_| !(12..20).contains(&at)) {
                    *byte ^= 1 << dice.roll(8);
                }
            }
            if log.is_empty() {
                continue;
            }
            let before = pipeline.zxid();
            match pipeline.follow(MONO, &log, &mut Vec::new()) {
                Ok(followed) => {
                    read += 1;
                    let awaiting = Awaiting { session: bench.session, xid: Xid(1), refused: None };
                    let mut out = Vec::new();
                    let answered = answer_of(&followed, &awaiting, &mut out);
                    assert_eq!(out.is_empty(), answered.err == ErrorCode::SESSION_MOVED);
                }
                Err(_) => {
                    refused += 1;
                    assert_eq!(pipeline.zxid(), before);
                }
            }
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}
