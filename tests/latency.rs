//! What the servers of an ensemble say about how long their requests took agrees with what was done: counts are exact, times are
//! not looked at.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zoo_server::server::ZookeeperServer;

/// How long what comes a moment later may take.
const PATIENCE: Duration = Duration::from_secs(20);

type Told = BTreeMap<String, String>;

fn number(told: &Told, name: &str) -> u64 {
    let value = told.get(name).unwrap_or_else(|| panic!("no {name}"));
    value.parse().unwrap_or_else(|_| panic!("{name} is {value}"))
}

/// What a server tells once `is_there`.
fn once(server: &ZookeeperServer, what: &str, is_there: impl Fn(&Told) -> bool) -> Told {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = server.monitor().expect("a server that runs");
        if !told.is_empty() && is_there(&told) {
            return told;
        }
        assert!(Instant::now() < deadline, "not so for long: {what}\n{told:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn one_server_syncs_once_for_each_write_of_a_client_that_waits() {
    const SETS: u64 = 7;
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = ZookeeperServer::new(folder.path());
    server.start().expect("starts");
    server.create("/a", b"").expect("made");
    for version in 0..SETS {
        server.set("/a", b"x", version as i32).expect("set");
        server.get("/a").expect("read");
    }
    assert!(server.set("/a", b"x", 0).is_err(), "a stale writer");
    // The session, the znode, the data, and the refusal, which is a transaction, too.
    let writes = 1 + 1 + SETS + 1;
    let told = server.monitor().expect("it runs");
    assert_eq!(number(&told, "zk_stage_sync_cnt"), writes, "each waited for the one before");
    assert_eq!(number(&told, "zk_cnt_fsynctime"), writes);
    assert_eq!(number(&told, "zk_stage_queue_cnt"), writes);
    assert_eq!(number(&told, "zk_stage_publish_cnt"), writes);
    assert_eq!(number(&told, "zk_stage_answer_cnt"), writes + SETS);
    assert_eq!(number(&told, "zk_op_setData_latency_cnt"), SETS + 1);
    assert_eq!(number(&told, "zk_op_getData_latency_cnt"), SETS);
    assert_eq!(number(&told, "zk_op_create2_latency_cnt"), 1);
    assert_eq!(number(&told, "zk_stage_quorum_cnt"), 0);
    server.stop();
}

#[test]
fn three_servers_count_what_each_did_for_the_others() {
    const SETS: u64 = 5;
    let folder = tempfile::tempdir().expect("a folder");
    let mut ensemble = ZookeeperServer::ensemble(folder.path(), 3).expect("free ports");
    ensemble.start().expect("starts");
    let leader = ensemble.leader().expect("one leads");
    let follower = (leader + 1) % 3;
    // Who follows later gets what was done before as history, which is counted nowhere.
    once(ensemble.member(leader), "both follow", |told| number(told, "zk_synced_followers") == 2);
    once(ensemble.member(follower), "it serves", |_| true);
    ensemble.member(leader).create("/a", b"").expect("made");
    for version in 0..SETS as i32 {
        ensemble.member(leader).set("/a", b"x", version).expect("set");
    }
    ensemble.member(follower).create("/b", b"").expect("made");
    for version in 0..SETS as i32 {
        ensemble.member(follower).set("/b", b"x", version).expect("set");
    }
    // On each of the two a session, a znode, and the data.
    let own = 2 + SETS;
    let all = 2 * own;

    let of_leader = once(ensemble.member(leader), "its own log has all", |told| {
        number(told, "zk_cnt_proposal_ack_creation_latency") >= all
    });
    assert_eq!(number(&of_leader, "zk_stage_quorum_cnt"), all);
    assert_eq!(number(&of_leader, "zk_commit_count"), all);
    assert_eq!(number(&of_leader, "zk_cnt_quorum_ack_latency"), all);
    assert_eq!(number(&of_leader, "zk_cnt_proposal_ack_creation_latency"), all);
    assert_eq!(number(&of_leader, "zk_cnt_propagation_latency"), all);
    assert_eq!(number(&of_leader, "zk_cnt_proposal_latency"), 0, "nobody proposes to a leader");
    assert_eq!(number(&of_leader, "zk_stage_queue_cnt"), own, "of its own clients");
    assert_eq!(number(&of_leader, "zk_op_setData_latency_cnt"), SETS);

    let of_follower = once(ensemble.member(follower), "all is applied", |told| {
        number(told, "zk_cnt_commit_propagation_latency") >= all
    });
    assert_eq!(number(&of_follower, "zk_cnt_proposal_latency"), all);
    assert_eq!(number(&of_follower, "zk_cnt_commit_propagation_latency"), all);
    assert_eq!(number(&of_follower, "zk_stage_quorum_cnt"), own, "what its own clients wait for");
    assert_eq!(number(&of_follower, "zk_stage_queue_cnt"), own);
    assert_eq!(number(&of_follower, "zk_stage_publish_cnt"), own);
    assert_eq!(number(&of_follower, "zk_op_setData_latency_cnt"), SETS);
    assert_eq!(number(&of_follower, "zk_cnt_quorum_ack_latency"), 0, "only a leader counts acks");

    // Several transactions may share a sync where the quorum is faster than this disk.
    for told in [&of_leader, &of_follower] {
        let syncs = number(told, "zk_stage_sync_cnt");
        assert!((1..=all).contains(&syncs), "{syncs} syncs for {all} transactions");
        assert_eq!(number(told, "zk_cnt_fsynctime"), syncs);
    }
    ensemble.stop();
}
