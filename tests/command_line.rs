//! The program as an operator meets it: started, asked, told to end, and started wrongly.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoo-server"));
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end; the code, and both outputs.
fn run(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = program(folder).args(words).output().expect("the program starts");
    (status.code(), String::from_utf8(stdout).expect("text"), String::from_utf8(stderr).expect("text"))
}

/// A running server. Killed if a test ends early.
struct Running {
    child: Child,
    banner: Vec<String>,
    port: u16,
}

impl Running {
    /// Starts it on a port that the system chooses, and waits for its banner.
    fn start(folder: &Path, words: &[&str]) -> Self {
        Self::spawn(program(folder).arg("run").args(words))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.args(["-D", "clientPort=0"]).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let banner: Vec<String> = lines.by_ref().take(5).map(|line| line.expect("text")).collect();
        let Some(port) = banner.last().and_then(|line| line.rsplit(':').next()?.parse().ok()) else {
            let mut stderr = String::new();
            let _ = child.stderr.take().expect("piped").read_to_string(&mut stderr);
            panic!("no port in {banner:?}: {stderr}");
        };
        Self { child, banner, port }
    }

    /// The answer to a four-letter word.
    fn ask(&self, word: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(word.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    /// Sends SIGTERM and waits; its code, and what it had logged.
    fn terminate(self) -> (Option<i32>, String) {
        self.signal("TERM");
        self.ended()
    }

    fn signal(&self, name: &str) {
        let (name, id) = (format!("-{name}"), self.child.id().to_string());
        assert!(Command::new("kill").args([name, id]).status().expect("kill runs").success());
    }

    /// Waits for its end; its code, and what it had logged.
    fn ended(mut self) -> (Option<i32>, String) {
        let told = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waited") {
                break status;
            }
            assert!(told.elapsed() < PATIENCE, "it does not end");
            std::thread::yield_now();
        };
        let mut stderr = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut stderr).expect("text");
        }
        (status.code(), stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_serves_and_ends() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Running::start(dir.path(), &["-D", "4lw.commands.whitelist=ruok, conf"]);
    let data = dir.path().join("data/zoo-1");
    assert!(server.banner[1].contains(&format!("127.0.0.1:{}", server.port)), "{:?}", server.banner);
    assert!(server.banner[2].contains(&data.display().to_string()), "{:?}", server.banner);
    assert_eq!(server.ask("ruok"), "imok");
    let conf = server.ask("conf");
    assert!(conf.starts_with(&format!("clientPort={}\n", server.port)), "{conf}");
    assert!(conf.contains(&format!("\ndataDir={}\n", data.display())), "{conf}");
    assert_eq!(server.ask("stat"), "stat is not executed because it is not in the whitelist.\n");

    // A second server on the same folder.
    let (code, out, err) = run(dir.path(), &["run", "-D", "clientPort=0"]);
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    // A second server on the same port.
    let other = dir.path().join("other").display().to_string();
    let port = format!("clientPort={}", server.port);
    let (code, _, err) = run(dir.path(), &["run", "-D", &port, "-D", &format!("dataDir={other}")]);
    assert_eq!(code, Some(1));
    assert!(err.contains("address already in use") && err.contains("what to do:"), "{err}");

    let (code, err) = server.terminate();
    assert_eq!((code, err.as_str()), (Some(0), ""), "quiet when all is well");

    let (code, out, err) = run(dir.path(), &["log", "verify"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("the log is sound"), "{out}");
    let (code, _, err) = run(dir.path(), &["log", "verify", "nowhere"]);
    assert_eq!(code, Some(2), "{err}");
}

#[test]
fn apaches_file_and_apaches_arguments() {
    let dir = tempfile::tempdir().expect("a folder");
    let cfg =
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=data\nclientPort=2181\nleaderServes=yes\nnoSuchKey=1\n";
    fs::write(dir.path().join("zoo.cfg"), cfg).expect("written");
    let server = Running::start(dir.path(), &["zoo.cfg"]);
    assert!(server.ask("srvr").starts_with("Zookeeper version: 3."));
    let (code, err) = server.terminate();
    assert_eq!(code, Some(0));
    assert!(err.contains("without effect on a single server: leaderServes"), "{err}");
    assert!(err.contains("without effect, not a known key: noSuchKey"), "{err}");

    let (code, out, _) = run(dir.path(), &["run", "2181", "data", "500", "10", "--check"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("sessions    1000 to 10000 ms, tick 500 ms"), "{out}");
}

#[test]
fn wrong_starts_say_what_where_and_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("bad.cfg"), "dataDir=data\nclientPort=x\n").expect("written");
    let (code, out, err) = run(dir.path(), &["run", "bad.cfg"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(
        err,
        "zoo-server: clientPort: \"x\" is not a whole number\n  where:      bad.cfg:2\n  \
         what to do: give a TCP port, e.g. 2181\n"
    );
    assert_eq!(run(dir.path(), &["run", "--no-such-option"]).0, Some(2));
    assert_eq!(run(dir.path(), &["--log-level", "=loud="]).0, Some(2));

    fs::create_dir_all(dir.path().join("apache/version-2")).expect("made");
    fs::write(dir.path().join("apache/version-2/snapshot.0"), "ZKSN").expect("written");
    let (code, _, err) = run(dir.path(), &["run", "0", "apache"]);
    assert_eq!(code, Some(3));
    assert!(err.contains("version-2/snapshot.0") && err.contains("name another dataDir"), "{err}");

    fs::write(dir.path().join("empty.cfg"), "").expect("written");
    let (code, _, err) = run(dir.path(), &["run", "empty.cfg"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("dataDir: is not set") && err.contains("where:      empty.cfg"), "{err}");

    let words = ["run", "-D", "clientPort=0", "-D", "clientPortAddress=192.0.2.1"];
    let (code, _, err) = run(dir.path(), &words);
    assert_eq!(code, Some(1));
    assert!(err.contains("no such address") && err.contains("what to do: name an address of this machine"), "{err}");

    let ensemble = "dataDir=.\ninitLimit=1\nsyncLimit=1\nserver.1=a:1:2;2181\nserver.2=b:1:2;2181\n";
    fs::write(dir.path().join("ensemble.cfg"), ensemble).expect("written");
    let (code, _, err) = run(dir.path(), &["run", "ensemble.cfg"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("an ensemble needs the file myid in dataDir") && err.contains("what to do"), "{err}");
    fs::write(dir.path().join("myid"), "7").expect("written");
    let (code, _, err) = run(dir.path(), &["run", "ensemble.cfg"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("no server.N line is this server's: myid says 7") && err.contains("ensemble.cfg:4"), "{err}");
}

#[test]
fn logs_are_json_when_asked() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Running::start(dir.path(), &["--log-level", "info", "--log-format", "json", "-DnoSuchKey=1"]);
    let (code, err) = server.terminate();
    assert_eq!(code, Some(0));
    let lines: Vec<Value> = err.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert!(lines.iter().any(|line| line["message"] == "without effect, not a known key: noSuchKey"), "{err}");
    assert!(lines.iter().any(|line| line["level"] == "INFO"), "{err}");
}

#[test]
fn damaged_data_is_not_served() {
    let dir = tempfile::tempdir().expect("a folder");
    Running::start(dir.path(), &[]).terminate();
    let entries = fs::read_dir(dir.path().join("data/zoo-1")).expect("listed");
    let log = entries
        .map(|entry| entry.expect("listed").path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log.")));
    let log = log.expect("a log");
    // Its identity.
    let mut bytes = fs::read(&log).expect("read");
    bytes[20] ^= 1;
    fs::write(&log, &bytes).expect("written");
    let (code, out, err) = run(dir.path(), &["run", "-D", "clientPort=0"]);
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    let name = log.file_name().expect("a name").to_string_lossy().into_owned();
    for part in
        [&name, "where:      ", "data/zoo-1", "what to do: nothing was changed", "zoo-server log verify", "from a copy"]
    {
        assert!(err.contains(part), "{part} is not in {err}");
    }
    assert_eq!(run(dir.path(), &["log", "verify"]).0, Some(1));
}

#[test]
fn a_disk_that_fails_ends_the_server_and_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = program(dir.path())
        .args(["run", "-D", "clientPort=0"])
        .env("ZOO_FAULT", "nonsense")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ZOO_FAULT"));
    let output = program(dir.path())
        .args(["run", "-D", "clientPort=0"])
        .env("ZOO_FAULT", "write:1")
        .output()
        .expect("the program starts");
    assert_ne!(output.status.code(), Some(0), "it cannot even begin its log");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(err.contains("zoo-server: "), "{err}");
}

#[test]
fn a_log_that_nobody_takes_harms_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let words = ["run", "--log-level", "debug"];
    // Whoever read it has ended.
    let mut server = Running::spawn(program(dir.path()).args(words));
    drop(server.child.stderr.take());
    assert!(server.ask("srvr").starts_with("Zookeeper version"));
    assert_eq!(server.terminate().0, Some(0));
    // The disk that it is written to is full.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device that is always full");
    let server = Running::spawn(program(dir.path()).args(words).stderr(full));
    assert!(server.ask("srvr").starts_with("Zookeeper version"));
    assert_eq!(server.terminate().0, Some(0));
    // Nor does a command that fails.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device that is always full");
    let status = program(dir.path()).args(["log", "verify", "nowhere"]).stderr(full).status().expect("runs");
    assert_eq!(status.code(), Some(2));
}

/// Whoever reads the log stops: the server goes on, and ends when it is told to.
#[test]
fn a_log_that_is_not_read_stops_nobody() {
    /// More than a pipe holds and than may wait.
    const LINES: usize = 4_000;
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Running::start(dir.path(), &["--log-level", "debug", "-D", "maxClientCnxns=0"]);
    for _ in 0..LINES {
        // No handshake: a line at the level of debugging.
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(&[0, 0, 0, 1, 0]).expect("written");
        assert!(!matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock), "it hangs");
    }
    assert!(server.ask("srvr").starts_with("Zookeeper version"));
    // Read at last, it says what is missing.
    let stderr = server.child.stderr.take().expect("piped");
    let mut lines = BufReader::new(stderr).lines().map(|line| line.expect("text"));
    assert!(lines.any(|line| line.contains("log lines were dropped")));
    server.signal("TERM");
    assert!(lines.last().is_some(), "to the end");
    assert_eq!(server.ended().0, Some(0));

    let mut server = Running::start(dir.path(), &["--log-level", "debug", "-D", "maxClientCnxns=0"]);
    let stderr = server.child.stderr.take().expect("piped");
    for _ in 0..LINES / 4 {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
        stream.write_all(&[0, 0, 0, 1, 0]).expect("written");
        let _ = stream.read(&mut [0]);
    }
    assert_eq!(server.terminate().0, Some(0), "though nobody reads");
    drop(stderr);
}

#[test]
fn a_terminal_that_goes_ends_the_server_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Running::start(dir.path(), &[]);
    // The kernel says it, and the shell says it again.
    server.signal("HUP");
    server.signal("HUP");
    assert_eq!(server.ended(), (Some(0), String::new()));

    let mut nohup = Command::new("nohup");
    nohup.arg(env!("CARGO_BIN_EXE_zoo-server")).current_dir(dir.path());
    nohup.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let server = Running::spawn(nohup.arg("run"));
    server.signal("HUP");
    assert!(server.ask("srvr").starts_with("Zookeeper version"), "under nohup it stays");
    assert_eq!(server.terminate().0, Some(0));
}
