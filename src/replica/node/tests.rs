use std::time::Duration;

use super::*;
use crate::ids::ServerId;
use crate::pipeline;
use crate::session::{Sessions, first_id};
use crate::time::WallTime;
use crate::tree::{self, Tree};
use crate::wire::header::Xid;

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
