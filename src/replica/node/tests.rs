use std::time::Duration;

use super::*;
use crate::ids::ServerId;
use crate::latency::{Histogram, Milestone, Stage};
use crate::pipeline;
use crate::session::{Sessions, first_id};
use crate::time::WallTime;
use crate::tree::{self, Tree};
use crate::wire::acl::{Acl, AclList, Id, Perms};
use crate::wire::request::{CreateRequest, SetDataRequest};

const CONNECTION: ConnectionId = ConnectionId { shard: 0, slot: 0, generation: 1 };

fn replica() -> Replica {
    let pipeline_options = pipeline::Options::default();
    let tree = tree::Options { hash_seed: 1, digest_enabled: true, owners: pipeline_options.owners() };
    let sessions = Sessions::new(2000, first_id(ServerId(0), at(0).wall));
    let pipeline = Pipeline::new(pipeline_options, Tree::new(tree), sessions, Zxid::ZERO);
    let options = Options {
        shards: 1,
        snapshot_txns_max: 1000,
        snapshot_bytes_max: 0,
        container_check_interval_ms: 60_000,
        containers_per_minute_max: 10_000,
        seed: 1,
    };
    Replica::new(options, pipeline, at(0))
}

fn at(secs: u64) -> Now {
    Now { instant: Instant::default() + Duration::from_secs(secs), wall: WallTime(1_700_000_000_000) }
}

/// Makes durable whatever is to be, and returns what the shard is told.
fn run(replica: &mut Replica, now: Now) -> Vec<ToShard> {
    let mut told = Vec::new();
    replica.settle(now);
    while let Some(action) = replica.poll_action() {
        match action {
            Action::Append(batch) => {
                replica.handle(now, Event::LogDurable(batch.last()));
                replica.settle(now);
            }
            Action::Snapshot { .. } => {}
            Action::ToShard(_, message) => told.push(message),
            _ => panic!("a server that stands alone speaks to nobody"),
        }
    }
    told
}

fn items(items: Vec<ShardItem>, bodies: Vec<u8>) -> Event {
    Event::Shard(ShardBatch { bodies, items })
}

fn open_session(replica: &mut Replica) -> SessionId {
    let connect = Connect::anew(CONNECTION, 30_000);
    replica.handle(at(0), items(vec![ShardItem::Connect(connect)], Vec::new()));
    let told = run(replica, at(0));
    let opened = told.iter().find_map(|message| match message {
        ToShard::Published(published) => match published.segments[0].replies[0][0].kind {
            ReplyKind::Opened { session, .. } => Some(session),
            _ => None,
        },
        _ => None,
    });
    opened.expect("a session")
}

#[test]
fn a_session_that_is_heard_lives_while_writes_wait_for_the_log() {
    let mut replica = replica();
    replica.handle(at(0), Event::LogRoom { admit_through: SESSION_RESERVE_BYTES + (64 << 10), full: false });
    let session = open_session(&mut replica);
    let body = vec![0; 1 << 20];
    let write = Write::alone(CONNECTION, session, 1, OpCode::SET_DATA, &body);
    replica.handle(at(1), items(vec![ShardItem::Write(write)], body));
    assert!(run(&mut replica, at(1)).is_empty() && !replica.is_drained(), "the write waits for room");
    for secs in (5..=100).step_by(5) {
        let now = at(secs);
        replica.handle(now, items(vec![ShardItem::Heard { session, at: now.instant }], Vec::new()));
        replica.handle(now, Event::Tick);
        run(&mut replica, now);
        assert!(replica.pipeline.sessions().is_live(session), "expired after {secs} s");
    }
    for secs in 200..=203 {
        replica.handle(at(secs), Event::Tick);
    }
    assert!(!replica.pipeline.sessions().is_live(session), "nobody heard of it any more");
}

#[test]
fn requests_are_measured_until_their_batch_leaves_and_transactions_until_they_are_seen() {
    let mut replica = replica();
    replica.handle(at(0), Event::LogRoom { admit_through: 1 << 30, full: false });
    let session = open_session(&mut replica);
    let write = |xid, handed| {
        let mut body = Vec::new();
        SetDataRequest { path: "/".into(), data: None, version: -1 }.encode(&mut body);
        let write = Write { handed, ..Write::alone(CONNECTION, session, xid, OpCode::SET_DATA, &body) };
        items(vec![ShardItem::Write(write)], body)
    };
    let append = |replica: &mut Replica| match replica.poll_action() {
        Some(Action::Append(batch)) => batch.last(),
        Some(_) => panic!("something else is to be done"),
        None => panic!("nothing is to be done"),
    };
    // The first leaves at once; the second, handed over a second before the replica took it, waits until the first is durable.
    replica.handle(at(10), write(1, at(10).instant));
    replica.settle(at(10));
    let first = append(&mut replica);
    replica.handle(at(12), write(2, at(11).instant));
    replica.settle(at(12));
    assert!(replica.poll_action().is_none(), "one batch is on its way at a time");
    replica.handle(at(15), Event::LogDurable(first));
    replica.settle(at(15));
    let Some(Action::ToShard(0, ToShard::Published(published))) = replica.poll_action() else {
        panic!("the first batch is to be seen")
    };
    assert_eq!(published.decided, at(15).instant);
    let second = append(&mut replica);
    replica.handle(at(18), Event::LogDurable(second));
    replica.settle(at(18));

    let report = replica.report(at(18), Question::Stats);
    let tally = |histogram: Option<&Histogram>| {
        let tally = *histogram.expect("recorded").tally();
        (tally.count, tally.sum / 1_000_000, tally.max() / 1_000_000)
    };
    // The session's beginning was handed over and durable at once.
    assert_eq!(tally(report.stages.get(Stage::Queue)), (3, 4, 4));
    assert_eq!(tally(report.milestones.get(Milestone::Applied)), (3, 5 + 6, 6));
    assert!(report.stages.get(Stage::Quorum).is_none() && report.milestones.get(Milestone::Committed).is_none());

    let ask = Ask { shard: 0, ticket: 1, question: Question::ResetStats };
    replica.handle(at(19), items(vec![ShardItem::Ask(ask)], Vec::new()));
    let report = replica.report(at(19), Question::Stats);
    assert_eq!(tally(report.stages.get(Stage::Queue)), (0, 0, 0));
    assert_eq!(tally(report.milestones.get(Milestone::Applied)), (0, 0, 0));
}

/// What each write costs the log, by what it was given for it.
struct Log {
    admit_through: u64,
    given: u64,
}

impl Log {
    /// Runs the replica with this log; the answers of writes by their error codes.
    fn run(&mut self, replica: &mut Replica, now: Now) -> Vec<i32> {
        let mut errors = Vec::new();
        replica.settle(now);
        while let Some(action) = replica.poll_action() {
            match action {
                Action::Append(batch) => {
                    self.given += batch.cost();
                    let Self { admit_through, given } = *self;
                    assert!(given <= admit_through, "{given} bytes were given to a log that takes {admit_through}");
                    replica.handle(now, Event::LogDurable(batch.last()));
                    replica.settle(now);
                }
                Action::ToShard(_, ToShard::Published(published)) => {
                    for segment in &published.segments {
                        for reply in &segment.replies[0] {
                            if let ReplyKind::Answer(frame) | ReplyKind::Last(frame) = &reply.kind {
                                let err = &segment.frames[frame.clone()][16..20];
                                errors.push(i32::from_be_bytes(err.try_into().expect("four bytes")));
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        errors
    }

    /// As the disk says it, full or not.
    fn room(&mut self, replica: &mut Replica, now: Now, more: u64, full: bool) {
        self.admit_through = self.given + more;
        replica.handle(now, Event::LogRoom { admit_through: self.admit_through, full });
    }
}

fn write(replica: &mut Replica, now: Now, session: SessionId, xid: i32, op: OpCode, body: Vec<u8>) {
    let write = Write {
        identities: vec![Id::new("digest", "a".repeat(200))].into(),
        handed: now.instant,
        ..Write::alone(CONNECTION, session, xid, op, &body)
    };
    replica.handle(now, items(vec![ShardItem::Write(write)], body));
}

fn create(path: &str, data: &[u8], acl: AclList<'_>, flags: i32) -> Vec<u8> {
    let mut body = Vec::new();
    CreateRequest { path: path.into(), data: Some(data), acl, flags, ttl_ms: -1 }.encode(OpCode::CREATE, &mut body);
    body
}

/// A server with a session that has so many ephemerals with long names.
fn with_ephemerals(count: usize) -> (Replica, Log, SessionId) {
    let mut replica = replica();
    let mut log = Log { admit_through: 0, given: 0 };
    log.room(&mut replica, at(0), 1 << 40, false);
    let session = open_session(&mut replica);
    // What the session took is not counted here.
    log.given = replica.log_given;
    for number in 0..count {
        let path = format!("/{}-{number:06}", "e".repeat(200));
        write(&mut replica, at(1), session, number as i32, OpCode::CREATE, create(&path, b"", AclList::OPEN, 1));
    }
    assert_eq!(log.run(&mut replica, at(1)), vec![0; count]);
    (replica, log, session)
}

/// The end of a session is as long as its ephemerals' names: a full log is not given what it has no room for.
#[test]
fn the_end_of_a_session_with_many_ephemerals_waits_for_room_for_all_of_it() {
    let (mut replica, mut log, session) = with_ephemerals(1000);
    log.room(&mut replica, at(2), 100 << 10, true);
    write(&mut replica, at(2), session, 9999, OpCode::CLOSE_SESSION, Vec::new());
    assert_eq!(log.run(&mut replica, at(2)), [ErrorCode::SYSTEM_ERROR.0], "there is no room, and the disk is full");
    log.room(&mut replica, at(2), 100 << 10, false);
    write(&mut replica, at(2), session, 10_000, OpCode::CLOSE_SESSION, Vec::new());
    assert!(log.run(&mut replica, at(2)).is_empty(), "it waits");
    log.room(&mut replica, at(3), 300 << 10, false);
    assert_eq!(log.run(&mut replica, at(3)), [0]);
    assert_eq!(replica.published_version().ephemerals(session).count(), 0);
}

/// So is an expired one.
#[test]
fn expired_sessions_end_as_far_as_there_is_room_and_the_others_when_there_is_more() {
    let (mut replica, mut log, session) = with_ephemerals(1000);
    let others: Vec<SessionId> = (0..300).map(|_| open_session(&mut replica)).collect();
    log.run(&mut replica, at(1));
    log.given = replica.log_given;
    log.room(&mut replica, at(2), 8 << 10, true);
    let live = |replica: &Replica| {
        let sessions = replica.pipeline.sessions();
        others.iter().chain([&session]).filter(|session| sessions.timeout_ms(**session).is_some()).count()
    };
    for secs in 100..=103 {
        replica.handle(at(secs), Event::Tick);
        log.run(&mut replica, at(secs));
    }
    let left = live(&replica);
    assert!((1..301).contains(&left), "{left} are left");
    log.room(&mut replica, at(104), 1 << 20, false);
    replica.handle(at(104), Event::Tick);
    log.run(&mut replica, at(104));
    assert_eq!(live(&replica), 0);
}

/// A list that names `auth` grows with what the client has proved.
#[test]
fn a_list_that_grows_is_given_room_for_all_of_it() {
    let mut replica = replica();
    let mut log = Log { admit_through: 0, given: 0 };
    log.room(&mut replica, at(0), 1 << 40, false);
    let session = open_session(&mut replica);
    log.given = replica.log_given;
    let entries = vec![Acl { perms: Perms::ALL, id: Id::new("auth", "") }; 1000];
    let acl = AclList::from_entries(entries.iter());
    log.room(&mut replica, at(1), SESSION_RESERVE_BYTES + (64 << 10), true);
    write(&mut replica, at(1), session, 1, OpCode::CREATE, create("/a", b"", acl, 0));
    let errors = log.run(&mut replica, at(1));
    assert_eq!(errors, [ErrorCode::SYSTEM_ERROR.0]);
}

/// What the log grants is used to the last block, and never beyond.
#[test]
fn writes_of_any_length_are_never_given_to_a_log_without_room_for_them() {
    let mut random = 1_u64;
    let mut draw = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut replica = replica();
    let mut log = Log { admit_through: 0, given: 0 };
    log.room(&mut replica, at(0), 1 << 40, false);
    let session = open_session(&mut replica);
    log.given = replica.log_given;
    let (mut done, mut refused, mut left_min) = (0, 0, u64::MAX);
    for xid in 0..2000 {
        if draw(4) == 0 {
            let more = SESSION_RESERVE_BYTES + draw(200 << 10);
            log.room(&mut replica, at(1), more, true);
        }
        let data = vec![7; draw(20_000) as usize];
        let body = create(&format!("/{xid}"), &data, AclList::OPEN, 0);
        write(&mut replica, at(1), session, xid, OpCode::CREATE, body);
        if draw(3) == 0 {
            for err in log.run(&mut replica, at(1)) {
                if err == 0 { done += 1 } else { refused += 1 }
            }
            left_min = left_min.min(
                log.admit_through - SESSION_RESERVE_BYTES - log.given.min(log.admit_through - SESSION_RESERVE_BYTES),
            );
        }
    }
    assert!(done > 300 && refused > 300, "{done} done, {refused} refused");
    assert!(left_min < 4096, "at least {left_min} bytes were left over each time");
}
