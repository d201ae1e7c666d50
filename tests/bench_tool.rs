//! `zoo-server bench` as its users meet it: against a responder that answers well, badly, late or not at all, and every
//! workload against this server.

#[path = "../benches/generator/responder.rs"]
mod responder;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use responder::{Character, Responder};

/// What came of a run.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    /// What `--json` wrote, if it did.
    run: Value,
}

fn bench(words: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("run.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoo-server"));
    command.arg("bench").args(words).current_dir(folder.path()).stdin(Stdio::null());
    if words.first() != Some(&"report") {
        command.arg("--json").arg(&json);
    }
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    Ran {
        code: status.code(),
        stdout: String::from_utf8(stdout).expect("text"),
        stderr: String::from_utf8(stderr).expect("text"),
        run: fs::read_to_string(&json).map_or(Value::Null, |text| serde_json::from_str(&text).expect("JSON")),
    }
}

/// A short run against a responder of this character.
fn against(character: Character, words: &[&str]) -> Ran {
    let responder = Responder::start(None, character).expect("it starts");
    let hosts = responder.address().to_string();
    let mut all = vec!["get", "--hosts", &hosts, "--warm-up", "0", "--connections", "4"];
    all.extend(words);
    if !words.contains(&"--duration") {
        all.extend(["--duration", "300ms"]);
    }
    bench(&all)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_good_server_is_measured() {
    let ran = against(Character::default(), &["--name", "good"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.starts_with("good: "), "{}", ran.stdout);
    let run = &ran.run;
    assert_eq!((run["format"].as_str(), run["name"].as_str()), (Some("zoo-bench-1"), Some("good")));
    let operations = number(&run["operations"]);
    assert!(operations > 0.0);
    assert!((number(&run["per_second"]) * number(&run["seconds"]) - operations).abs() < 1.0);
    assert_eq!(number(&run["by_operation"]["get"]["operations"]), operations);
    assert_eq!((&run["errors"], number(&run["wrong"])), (&Value::Object(serde_json::Map::new()), 0.0));
    for (least, most) in [("min", "p50"), ("p50", "p90"), ("p90", "p99"), ("p99", "p999"), ("p999", "max")] {
        assert!(number(&run["latency_us"][least]) <= number(&run["latency_us"][most]), "{}", run["latency_us"]);
    }
    // 34 bytes of request, 192 of answer, for each.
    let ratio = number(&run["bytes_per_second"]["received"]) / number(&run["bytes_per_second"]["sent"]);
    assert!((4.0..8.0).contains(&ratio), "{ratio}");
}

#[test]
fn threads_and_small_data() {
    let ran = against(Character { data_len: 5, ..Character::default() }, &["--threads", "3", "--data", "5"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn wrong_data_fails_the_run() {
    let ran = against(Character { wrong_each: 100, ..Character::default() }, &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(number(&ran.run["wrong"]) > 0.0);
    assert!(ran.stdout.contains("not the data that this key has"), "{}", ran.stdout);
    // Data of another length than was asked for is wrong, too.
    let ran = against(Character { data_len: 50, ..Character::default() }, &[]);
    assert_eq!((ran.code, number(&ran.run["operations"])), (Some(1), 0.0), "{}", ran.stdout);
}

#[test]
fn errors_fail_the_run_and_have_names() {
    let ran = against(Character { error_each: 50, ..Character::default() }, &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(number(&ran.run["errors"]["NODEEXISTS"]) > 0.0, "{}", ran.run["errors"]);
    assert!(ran.stdout.contains("NODEEXISTS"), "{}", ran.stdout);
}

#[test]
fn an_answer_out_of_its_turn_ends_its_connection() {
    let ran = against(Character { out_of_turn_at: 500, ..Character::default() }, &[]);
    assert_eq!((ran.code, number(&ran.run["wrong"])), (Some(1), 1.0), "{}", ran.stdout);
    assert!(ran.stdout.contains("an answer out of its turn"), "{}", ran.stdout);
}

#[test]
fn a_lost_connection_is_counted_and_made_again() {
    let ran = against(Character { close_at: 50, ..Character::default() }, &["--outstanding", "1", "--duration", "1s"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert_eq!(number(&ran.run["errors"]["connections lost"]), 1.0, "{}", ran.run["errors"]);
    assert_eq!(number(&ran.run["errors"]["CONNECTIONLOSS"]), 1.0, "{}", ran.run["errors"]);
    assert!(number(&ran.run["operations"]) > 50.0, "the others go on, and it comes back: {}", ran.stdout);
}

#[test]
fn time_in_which_the_server_stands_still_is_in_the_latencies_of_a_fixed_rate() {
    let still = || Character {
        pause: Some((Duration::from_millis(1000), Duration::from_millis(1000))),
        ..Character::default()
    };
    let words = ["--duration", "3s", "--outstanding", "8"];
    let paced = against(still(), &[&words[..], &["--rate", "2000"]].concat());
    assert_eq!(paced.code, Some(0), "{}", paced.stdout);
    // A third of the requests was due while nobody answered: evenly from now to a whole second before the answer.
    let latency = |ran: &Ran, name: &str| number(&ran.run["latency_us"][name]);
    assert!(latency(&paced, "max") >= 990_000.0, "{}", paced.stdout);
    assert!(latency(&paced, "p90") >= 550_000.0, "{}", paced.stdout);
    assert!(number(&paced.run["lateness_us"]["max"]) >= 900_000.0, "{}", paced.run["lateness_us"]);
    // Nothing due was forgotten: all are either answered or said to be never made.
    let seen = number(&paced.run["by_operation"]["get"]["operations"]);
    assert!((5900.0..6100.0).contains(&seen), "{seen}");
    // A closed loop asks nothing meanwhile, and shows the pause in as many answers as were outstanding.
    let closed = against(still(), &words);
    assert!(latency(&closed, "max") >= 900_000.0 && latency(&closed, "p90") < 500_000.0, "{}", closed.stdout);
}

#[test]
fn a_rate_that_is_too_high_is_said_so() {
    // Stands still from the middle to behind the end.
    let still =
        Character { pause: Some((Duration::from_millis(500), Duration::from_millis(1500))), ..Character::default() };
    let ran = against(still, &["--duration", "1s", "--outstanding", "2", "--rate", "1000"]);
    assert!(number(&ran.run["unsent"]) > 300.0, "{}", ran.run["unsent"]);
    assert!(ran.stdout.contains("were due and never made"), "{}", ran.stdout);
    assert!(number(&ran.run["latency_us"]["p90"]) > 300_000.0, "{}", ran.stdout);
}

#[test]
fn nobody_there() {
    let port = TcpListener::bind("127.0.0.1:0").expect("listens").local_addr().expect("known").port();
    let ran = bench(&["get", "--hosts", &format!("127.0.0.1:{port}")]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains(&format!("cannot connect to 127.0.0.1:{port}")), "{}", ran.stderr);
}

#[test]
fn wrong_words() {
    for (words, said) in [
        (&["get", "--rate", "0"][..], "requests a second"),
        (&["nonsense"][..], "possible values"),
        (&["get", "--root", "bench"][..], "--root"),
        (&["get", "--root", "/zookeeper/bench"][..], "not for this tool"),
        (&["get", "--threads", "9", "--connections", "8"][..], "9 threads cannot share 8 connections"),
        (&["watch", "--threads", "2"][..], "one thread"),
        (&["get", "--hosts", "a:1/path"][..], "--root"),
        (&["get", "--duration", "0"][..], "nothing to measure"),
        (&["report"][..], "required"),
        (&["report", "absent.json", "-o", "x.html"][..], "absent.json"),
    ] {
        let ran = bench(words);
        assert_eq!(ran.code, Some(2), "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{words:?}: {}", ran.stderr);
    }
}

/// This server, killed when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_zoo-server"))
            .current_dir(folder)
            .args(["run", "-D", "clientPort=0", "-D", "4lw.commands.whitelist=*", "-D", "maxClientCnxns=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let banner: Vec<String> = lines.take(5).map(|line| line.expect("text")).collect();
        let port = banner.last().and_then(|line| line.rsplit(':').next()?.parse().ok());
        Self { child, port: port.unwrap_or_else(|| panic!("no port in {banner:?}")) }
    }

    /// A line of mntr.
    fn tells(&self, key: &str) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        stream.write_all(b"mntr").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let line = answer.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key} in {answer}"));
        line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const WORKLOADS: [&str; 12] = [
    "get",
    "set",
    "create",
    "delete",
    "exists",
    "children",
    "mix",
    "multi",
    "ephemeral",
    "session",
    "watch",
    "connect",
];

#[test]
fn every_workload_runs_well_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    let hosts = format!("127.0.0.1:{}", server.port);
    let before = server.tells("zk_znode_count");
    for workload in WORKLOADS {
        let small =
            ["--hosts", &hosts, "--duration", "600ms", "--warm-up", "100ms", "--keys", "200", "--watchers", "20"];
        // Few enough for a slow machine to answer in that time.
        let few = ["--connections", "4", "--outstanding", "4"];
        for paced in [&[][..], &["--rate", "500", "--server-stages"]] {
            let ran = bench(&[&[workload][..], &small, &few, paced].concat());
            assert_eq!(ran.code, Some(0), "{workload} {paced:?}: {}{}", ran.stdout, ran.stderr);
            assert!(number(&ran.run["operations"]) > 0.0, "{workload} {paced:?}: {}", ran.stdout);
        }
        assert_eq!(server.tells("zk_znode_count"), before, "{workload} has left znodes");
        assert_eq!(server.tells("zk_ephemerals_count"), 0, "{workload} has left ephemerals");
        assert_eq!(server.tells("zk_global_sessions"), 0, "{workload} has left sessions");
    }
}

#[test]
fn znodes_are_prepared_once_and_used_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    let hosts = format!("127.0.0.1:{}", server.port);
    let with = |words: &[&str]| {
        bench(&[words, &["--hosts", &hosts, "--keys", "5000", "--root", "/a/b", "--data", "30"]].concat())
    };
    let before = server.tells("zk_znode_count");
    assert_eq!(with(&["get", "--prepare-only"]).code, Some(0));
    assert_eq!(server.tells("zk_znode_count"), before + 5002);

    let short = ["--duration", "200ms", "--warm-up", "0"];
    let refused = with(&[&["get"][..], &short].concat());
    assert!(refused.code == Some(1) && refused.stderr.contains("/a/b is there already"), "{}", refused.stderr);
    let again = with(&[&["mix", "--reuse", "--distribution", "zipfian"][..], &short].concat());
    assert_eq!(again.code, Some(0), "{}{}", again.stdout, again.stderr);
    let other = bench(&["get", "--hosts", &hosts, "--root", "/a/b", "--reuse", "--data", "31"]);
    assert!(other.code == Some(1) && other.stderr.contains("holds 30 bytes"), "{}", other.stderr);
    assert_eq!(server.tells("zk_znode_count"), before + 5002, "what was there stays");
}
