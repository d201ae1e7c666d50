//! The shapes, as an Apache server (Debian's 3.8.0, and 3.9's sources where they differ) sends them.

use std::time::Duration;

use super::super::figures::Figures;
use super::super::status::{
    About, ConfStatus, ConnectionSession, EnsembleStatus, EnvironmentStatus, LeaderStatus, MemberStatus, MemoryStatus,
    MonitorStatus, ResponseBytes, ServerStatus, SessionStatus,
};
use super::super::word::WORDS;
use super::*;
use crate::ids::Zxid;
use crate::latency::{Kind, Operations, Stages};
use crate::time::WallTime;

const SESSION: SessionId = SessionId(0x0100_0011_a328_0000);

fn tally(values: &[u64]) -> Tally {
    let mut tally = Tally::default();
    for &value in values {
        tally.record(value);
    }
    tally
}

fn connection(peer: &str, session: Option<ConnectionSession>, expires: i64) -> ConnectionStatus {
    ConnectionStatus {
        peer: peer.parse().unwrap(),
        reading: true,
        writing: false,
        queued: 0,
        received: 7,
        sent: 6,
        session,
        expires: Some(WallTime(expires)),
    }
}

/// A server with one session that has two ephemeral znodes and three data watches, one idle connection, and the one that asks.
fn status() -> Status {
    let session = ConnectionSession {
        id: SESSION,
        last_op: Some(OpCode::EXISTS),
        established: WallTime(1_795_358_777_182),
        timeout_ms: 30_000,
        last_cxid: Some(6),
        last_zxid: Zxid(3),
        last_response_ms: 1_184_331,
        last_latency_us: 400,
        latency: tally(&[400, 10_200]),
    };
    let mut asking = connection("127.0.0.1:56828", None, 0);
    (asking.reading, asking.received, asking.sent, asking.expires) = (false, 1, 0, None);
    let mut figures = Figures::of(&[Counter::WatchBytes], &[Measure::SyncTime], &[Latency::Read]);
    figures.add(Counter::ConnectionRequests, 1);
    figures.record(Measure::SyncTime, 1_500);
    figures.record(Measure::SyncTime, 500);
    figures.record(Measure::SyncBatchSize, 3);
    let mut operations = Operations::default();
    for us in [2_000, 8_000, 10_000] {
        operations.record_n(OpCode::SET_DATA, Duration::from_micros(us), 1);
    }
    figures.add_latency(Latency::Update, &operations.of_kind(Kind::Update));
    let mut stages = Stages::default();
    stages.record_n(Stage::Sync, Duration::from_micros(1_500), 1);
    stages.record_n(Stage::Sync, Duration::from_micros(500), 1);
    let paths = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect::<BTreeSet<_>>();
    Status {
        server: ServerStatus {
            mode: Mode::Standalone,
            client_port: 28731,
            latency: tally(&[0, 10_900, 1_000]),
            packets_received: 20,
            packets_sent: 19,
            connections: 3,
            outstanding: 0,
            zxid: Zxid(3),
            node_count: 7,
        },
        about: About {
            conf: ConfStatus {
                secure_client_port: -1,
                data_dir: "/data/zoo-1".to_owned(),
                data_log_dir: "/log/zoo-1".to_owned(),
                tick_ms: 2000,
                cnxns_per_address_max: 60,
                timeout_min_ms: 4000,
                timeout_max_ms: 40_000,
                listen_backlog: -1,
                server_id: 0,
                member: None,
            },
            environment: EnvironmentStatus {
                host_name: Some("localhost".to_owned()),
                os_name: Some("Linux".to_owned()),
                ..EnvironmentStatus::default()
            },
        },
        connections: vec![
            asking,
            connection("127.0.0.1:56804", Some(session), 1_795_358_812_000),
            connection("127.0.0.1:56814", None, 1_795_358_792_000),
        ],
        sessions: SessionStatus {
            expiring: BTreeMap::from([(WallTime(1_795_358_808_000), BTreeSet::from([SESSION]))]),
            ephemerals: BTreeMap::from([(SESSION, paths(&["/e1", "/e2"]))]),
        },
        watches: BTreeMap::from([(SESSION, paths(&["/e1", "/e2", "/none"])), (SessionId(0x2), paths(&["/e1"]))]),
        monitor: MonitorStatus {
            figures,
            operations,
            stages,
            ephemerals: 2,
            approximate_data_bytes: 54,
            watches: 4,
            global_sessions: 1,
            local_sessions: 0,
            response_bytes: Some(ResponseBytes { last: 16, min: 16, max: 90 }),
            auth_failed: 0,
            uptime_ms: 28_784,
            open_files: Some(41),
            open_files_max: Some(20_000),
        },
        ensemble: None,
        data_dir_bytes: 67_109_337,
        log_dir_bytes: 67_109_338,
        memory: Some(MemoryStatus { free_mb: 249, max_mb: 1000, total_mb: 256 }),
        digests: vec![(Zxid(0x80), 5), (Zxid(0x100), u64::MAX - 1)],
        trace_mask: 306,
    }
}

#[test]
fn conf() {
    assert_eq!(
        answer(Word::Conf, &status()),
        "clientPort=28731\nsecureClientPort=-1\ndataDir=/data/zoo-1\ndataDirSize=67109337\ndataLogDir=/log/zoo-1\n\
         dataLogSize=67109338\ntickTime=2000\nmaxClientCnxns=60\nminSessionTimeout=4000\nmaxSessionTimeout=40000\n\
         clientPortListenBacklog=-1\nserverId=0\n"
    );
}

#[test]
fn cons() {
    assert_eq!(
        answer(Word::Cons, &status()),
        " /127.0.0.1:56828[0](queued=0,recved=1,sent=0)\n \
         /127.0.0.1:56804[1](queued=0,recved=7,sent=6,sid=0x1000011a3280000,lop=EXIS,est=1795358777182,to=30000,\
         lcxid=0x6,lzxid=0x3,lresp=1184331,llat=0,minlat=0,avglat=5,maxlat=10)\n \
         /127.0.0.1:56814[1](queued=0,recved=7,sent=6)\n\n"
    );
    let mut status = status();
    let session = status.connections[1].session.as_mut().unwrap();
    (session.last_cxid, session.last_op) = (Some(-2), None);
    status.connections[1].writing = true;
    let text = answer(Word::Cons, &status);
    assert!(text.contains("[5](queued") && text.contains("lop=NA,est"), "{text}");
    assert!(!text.contains("lcxid"), "a ping's xid is not told: {text}");
}

#[test]
fn dump() {
    assert_eq!(
        answer(Word::Dump, &status()),
        "SessionTracker dump:\nSession Sets (1)/(1):\n1 expire at Sun Nov 22 14:46:48 UTC 2026:\n\t0x1000011a3280000\n\
         ephemeral nodes dump:\nSessions with Ephemerals (1):\n0x1000011a3280000:\n\t/e1\n\t/e2\n\
         Connections dump:\nConnections Sets (2)/(2):\n\
         1 expire at Sun Nov 22 14:46:32 UTC 2026:\n\tip: /127.0.0.1:56814 sessionId: 0x0\n\
         1 expire at Sun Nov 22 14:46:52 UTC 2026:\n\tip: /127.0.0.1:56804 sessionId: 0x1000011a3280000\n"
    );
}

#[test]
fn srvr_and_stat() {
    let tail = "Latency min/avg/max: 0/3.9667/10\nReceived: 20\nSent: 19\nConnections: 3\nOutstanding: 0\nZxid: 0x3\n\
                Mode: standalone\nNode count: 7\n";
    let head = format!("Zookeeper version: {}\n", full_version());
    assert_eq!(answer(Word::Srvr, &status()), format!("{head}{tail}"));
    let clients = "Clients:\n /127.0.0.1:56828[0](queued=0,recved=1,sent=0)\n \
                   /127.0.0.1:56804[1](queued=0,recved=7,sent=6)\n \
                   /127.0.0.1:56814[1](queued=0,recved=7,sent=6)\n\n";
    assert_eq!(answer(Word::Stat, &status()), format!("{head}{clients}{tail}"));
    let mut status = status();
    status.server.mode = Mode::ReadOnly;
    assert!(answer(Word::Srvr, &status).contains("\nREAD-ONLY mode; serving only read-only clients\nLatency"));
    assert_eq!(answer(Word::Isro, &status), "ro");
}

#[test]
fn watches() {
    let status = status();
    assert_eq!(answer(Word::Wchc, &status), "0x2\n\t/e1\n0x1000011a3280000\n\t/e1\n\t/e2\n\t/none\n\n");
    assert_eq!(
        answer(Word::Wchp, &status),
        "/e1\n\t0x2\n\t0x1000011a3280000\n/e2\n\t0x1000011a3280000\n/none\n\t0x1000011a3280000\n\n"
    );
    assert_eq!(answer(Word::Wchs, &status), "2 connections watching 3 paths\nTotal watches:4\n");
}

#[test]
fn small_words() {
    let status = status();
    for (word, text) in [
        (Word::Crst, "Connection stats reset.\n"),
        (Word::Srst, "Server stats reset.\n"),
        (Word::Dirs, "datadir_size: 67109337\nlogdir_size: 67109338\n"),
        (Word::Gtmk, "306"),
        (Word::Stmk, "306"),
        (Word::Hash, "80: 5\n100: -2\n"),
        (Word::Isro, "rw"),
        (Word::Ruok, "imok"),
        (Word::TelnetClose, ""),
    ] {
        assert_eq!(answer(word, &status), text, "{word:?}");
    }
    assert_eq!(
        answer(Word::Envi, &status),
        format!(
            "Environment:\nzookeeper.version={}\nhost.name=localhost\nos.name=Linux\nos.memory.free=249MB\n\
             os.memory.max=1000MB\nos.memory.total=256MB\n",
            full_version()
        )
    );
}

#[test]
fn mntr() {
    let text = answer(Word::Mntr, &status());
    let lines: BTreeMap<_, _> = text.lines().map(|line| line.split_once('\t').unwrap()).collect();
    assert_eq!(text.lines().count(), lines.len(), "no key twice");
    assert!(text.starts_with(&format!("zk_version\t{}\nzk_server_state\tstandalone\n", full_version())));
    for (key, value) in [
        ("zk_avg_latency", "3.9667"),
        ("zk_max_latency", "10"),
        ("zk_packets_received", "20"),
        ("zk_num_alive_connections", "3"),
        ("zk_znode_count", "7"),
        ("zk_watch_count", "4"),
        ("zk_ephemerals_count", "2"),
        ("zk_approximate_data_size", "54"),
        ("zk_open_file_descriptor_count", "41"),
        ("zk_max_client_response_size", "90"),
        ("zk_connection_request_count", "1"),
        ("zk_avg_fsynctime", "1.0"),
        ("zk_min_fsynctime", "0"),
        ("zk_max_fsynctime", "1"),
        ("zk_cnt_fsynctime", "2"),
        ("zk_sum_fsynctime", "2"),
        ("zk_avg_sync_processor_batch_size", "3.0"),
        ("zk_avg_updatelatency", "6.6667"),
        ("zk_p50_updatelatency", "8"),
        ("zk_p999_updatelatency", "10"),
        ("zk_cnt_readlatency", "0"),
        ("zk_p99_readlatency", "0"),
        ("zk_stage_sync_avg", "1000.0"),
        ("zk_stage_sync_p50", "501"),
        ("zk_stage_sync_p999", "1500"),
        ("zk_stage_sync_max", "1500"),
        ("zk_stage_sync_cnt", "2"),
        ("zk_stage_quorum_avg", "0.0"),
        ("zk_stage_quorum_cnt", "0"),
        ("zk_op_setData_latency_avg", "6666.6667"),
        ("zk_op_setData_latency_p50", "8031"),
        ("zk_op_setData_latency_max", "10000"),
        ("zk_op_setData_latency_cnt", "3"),
    ] {
        assert_eq!(lines.get(key), Some(&value), "{key}");
    }
    assert_eq!(lines.get("zk_watch_bytes"), Some(&"0"));
    assert!(!lines.contains_key("zk_cnt_dbinittime"), "nobody took it");
    assert!(!lines.contains_key("zk_op_getData_latency_cnt"), "it has not occurred");
    let mut bare = status();
    (bare.monitor.open_files, bare.monitor.response_bytes) = (None, None);
    let text = answer(Word::Mntr, &bare);
    assert!(!text.contains("open_file_descriptor"), "what is unknown is left out");
    assert!(text.contains("zk_last_client_response_size\t-1\n"), "before the first answer, as in Apache");
}

/// Names that `mntr` of Apache's server has, for a server alone (3.8 and 3.9; families of a summary by one member).
const APACHES: &str = include_str!("apache_mntr_keys.txt");

#[test]
fn mntr_uses_apaches_names_only() {
    let known: BTreeSet<_> = APACHES.lines().collect();
    let mut status = status();
    status.monitor.figures = Figures::of(Counter::ALL, Measure::ALL, Latency::ALL);
    // Ours, for which Apache has nothing; the last is Apache's, but told by its admin server (and by `mntr` up to 3.4).
    let ours = ["zk_stage_", "zk_op_", "zk_fsync_threshold_exceed_count"];
    let strangers: Vec<_> = answer(Word::Mntr, &status)
        .lines()
        .map(|line| line.split('\t').next().unwrap().to_owned())
        .filter(|key| !known.contains(key.as_str()) && !ours.iter().any(|ours| key.starts_with(ours)))
        .collect();
    assert!(strangers.is_empty(), "{strangers:?}");
}

/// Lines of a Debian server (3.8.0) that leads an ensemble, follows in it, or observes.
#[test]
fn members_of_an_ensemble() {
    let membership = "server.1=127.0.0.1:24671:24681:participant\nserver.4=127.0.0.1:24674:24684:observer\nversion=0";
    let mut leader = status();
    leader.server.mode = Mode::Leader;
    leader.about.conf.server_id = 2;
    leader.about.conf.member = Some(MemberStatus {
        init_limit: 10,
        sync_limit: 5,
        election_port: 24682,
        quorum_port: 24672,
        is_observer: false,
        membership: membership.to_owned(),
    });
    let part =
        LeaderStatus { learners: 2, synced_followers: 1, synced_observers: 1, uptime_ms: 9, ..Default::default() };
    leader.ensemble = Some(EnsembleStatus {
        quorum_size: 3,
        elections: 1,
        leader: Some(part),
        lags: BTreeMap::from([(1, 0), (4, 7)]),
        ..Default::default()
    });
    assert!(answer(Word::Conf, &leader).ends_with(
        "serverId=2\ninitLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort=24682\nquorumPort=24672\npeerType=0\n\
         membership: \nserver.1=127.0.0.1:24671:24681:participant\nserver.4=127.0.0.1:24674:24684:observer\nversion=0"
    ));
    let text = answer(Word::Srvr, &leader);
    assert!(text.ends_with("Mode: leader\nNode count: 7\nProposal sizes last/min/max: -1/-1/-1\n"), "{text}");
    let text = answer(Word::Mntr, &leader);
    for line in [
        "zk_server_state\tleader",
        "zk_peer_state\tleading - broadcast",
        "zk_quorum_size\t3",
        "zk_looking_count\t1",
        "zk_learners\t2",
        "zk_synced_followers\t1",
        "zk_synced_non_voting_followers\t0",
        "zk_synced_observers\t1",
        "zk_pending_syncs\t0",
        "zk_leader_uptime\t9",
        "zk_last_proposal_size\t-1",
        "zk_4_learner_lag\t7",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}: {text}");
    }
    assert!(answer(Word::Dump, &leader).contains("Session Sets (1)/(1):"));

    let mut follower = status();
    follower.server.mode = Mode::Observer;
    let global_sessions = BTreeMap::from([(SESSION, 30_000)]);
    follower.ensemble = Some(EnsembleStatus { observer_master: Some(2), global_sessions, ..Default::default() });
    assert!(answer(Word::Srvr, &follower).ends_with("Mode: observer\nNode count: 7\n"));
    let text = answer(Word::Mntr, &follower);
    assert!(text.contains("zk_peer_state\tobserving - broadcast\n") && text.contains("zk_observer_master_id\t2\n"));
    assert!(!text.contains("zk_learners") && !text.contains("proposal_size"), "{text}");
    let text = answer(Word::Dump, &follower);
    assert!(
        text.starts_with("SessionTracker dump:\nGlobal Sessions(1):\n0x1000011a3280000\t30000ms\nephemeral"),
        "{text}"
    );
}

#[test]
fn refusals() {
    assert_eq!(answer_not_allowed(Word::Stat), "stat is not executed because it is not in the whitelist.\n");
    assert_eq!(
        answer_not_allowed(Word::TelnetClose),
        "telnet close is not executed because it is not in the whitelist.\n"
    );
    let status = status();
    let not_serving = "This ZooKeeper instance is not currently serving requests";
    assert_eq!(answer_not_serving(Word::Srvr, &status), format!("{not_serving}\n"));
    assert_eq!(answer_not_serving(Word::Hash, &status), not_serving);
    assert_eq!(answer_not_serving(Word::Isro, &status), "null");
    assert_eq!(answer_not_serving(Word::Ruok, &status), "imok");
}

/// A word looks at nothing that [`needs`] does not name.
#[test]
fn needs_are_the_truth() {
    let full = status();
    for word in WORDS {
        let needs = needs(word);
        let mut part = full.clone();
        let empty = Status::default();
        if !needs.connections {
            part.connections = empty.connections;
        }
        if !needs.sessions {
            part.sessions = empty.sessions;
        }
        if !needs.watches {
            part.watches = empty.watches;
        }
        if !needs.monitor {
            part.monitor = empty.monitor;
        }
        if !needs.dir_bytes {
            (part.data_dir_bytes, part.log_dir_bytes) = (0, 0);
        }
        if !needs.memory {
            part.memory = empty.memory;
        }
        if !needs.digests {
            part.digests = empty.digests;
        }
        assert_eq!(answer(word, &part), answer(word, &full), "{word:?}");
    }
}
