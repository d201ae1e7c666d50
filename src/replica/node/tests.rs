use std::time::Duration;

use super::*;
use crate::ids::ServerId;
use crate::latency::{Histogram, Milestone, Stage};
use crate::pipeline;
use crate::session::{Sessions, first_id};
use crate::time::WallTime;
use crate::tree::{self, Tree};
use crate::wire::header::Xid;
use crate::wire::request::SetDataRequest;

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
    let connect = Connect {
        connection: CONNECTION,
        session: SessionId::NONE,
        password: None,
        timeout_ms: 30_000,
        last_zxid_seen: Zxid::ZERO,
        handed: Instant::default(),
    };
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
    let write = Write {
        connection: CONNECTION,
        session,
        xid: Xid(1),
        op: OpCode::SET_DATA,
        identities: Vec::new().into(),
        body: 0..body.len(),
        after_read: false,
        handed: Instant::default(),
    };
    replica.handle(at(1), items(vec![ShardItem::Write(write)], body));
    assert!(run(&mut replica, at(1)).is_empty() && !replica.is_drained(), "the write waits for room");
    for secs in (5..=100).step_by(5) {
        let now = at(secs);
        replica.handle(now, items(vec![ShardItem::Heard { session, at: now.instant }], Vec::new()));
        replica.handle(now, Event::Tick);
        run(&mut replica, now);
        assert!(replica.pipeline.sessions().is_live(session), "expired after {secs} s");
    }
    replica.handle(at(200), Event::Tick);
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
        let write = Write {
            connection: CONNECTION,
            session,
            xid: Xid(xid),
            op: OpCode::SET_DATA,
            identities: Vec::new().into(),
            body: 0..body.len(),
            after_read: false,
            handed,
        };
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
