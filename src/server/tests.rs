//! Whole servers as their clients see them, byte by byte: what a well-behaved client library never does.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::embedded::ZookeeperServer;
use super::node::{Server, ServerFailed};
use super::options::{EnsembleOptions, Options};
use crate::admin::word::Whitelist;
use crate::ids::{ServerId, SessionId, Zxid};
use crate::quorum::{HostPort, Member, Membership, PeerAddress, PeerType, Quorums};
use crate::rt::clock;
use crate::rt::listener::Listener;
use crate::wire::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use crate::wire::error_code::ErrorCode;
use crate::wire::header::{ReplyHeader, RequestHeader, Xid};
use crate::wire::jute::{Reader, put_frame};
use crate::wire::op::OpCode;
use crate::wire::request::{PathWatchRequest, SetDataRequest};

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: 30_000,
        session: SessionId::NONE,
        password: &[0; PASSWORD_LEN],
        read_only: Some(false),
    };
    let mut out = Vec::new();
    put_frame(&mut out, |out| request.encode(out));
    (&stream).write_all(&out).expect("sent");
    let answer = receive(&stream);
    let response = ConnectResponse::decode(&mut Reader::new(&answer)).expect("an answer to the handshake");
    assert!(response.timeout_ms > 0);
    stream
}

fn receive(mut stream: &TcpStream) -> Vec<u8> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).expect("a frame's length");
    let mut frame = vec![0; i32::from_be_bytes(len) as usize];
    stream.read_exact(&mut frame).expect("a frame");
    frame
}

fn put_request(out: &mut Vec<u8>, xid: i32, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) {
    put_frame(out, |out| {
        RequestHeader { xid: Xid(xid), op }.encode(out);
        body(out);
    });
}

fn put_get(out: &mut Vec<u8>, xid: i32) {
    put_request(out, xid, OpCode::GET_DATA, |out| PathWatchRequest { path: "/".into(), watch: true }.encode(out));
}

fn put_set(out: &mut Vec<u8>, xid: i32) {
    let request = SetDataRequest { path: "/".into(), data: Some(b"x"), version: -1 };
    put_request(out, xid, OpCode::SET_DATA, |out| request.encode(out));
}

fn header(frame: &[u8]) -> ReplyHeader {
    ReplyHeader::decode(&mut Reader::new(frame)).expect("a reply")
}

fn expect_end(mut stream: &TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => assert!(rest.is_empty(), "{} bytes behind the last answer", rest.len()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the server ends the connection"),
    }
}

/// A member of an ensemble of three that is alone.
fn lonely(folder: &std::path::Path) -> Options {
    let host = || HostPort { host: "127.0.0.1".to_owned(), port: 0 };
    let port = || {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), 1).expect("a free port");
        HostPort { port: listener.local_addr().port(), ..host() }
    };
    let members = (1..=3).map(|id| {
        let addresses = vec![PeerAddress { quorum: port(), election: port() }];
        let peer_type = PeerType::Participant;
        (ServerId(id), Member { id: ServerId(id), addresses, peer_type, client: None, secure_client: None })
    });
    let membership = Membership::new(members.collect(), Quorums::Majority, 0).expect("good members");
    let mut options = Options::in_folder(folder);
    options.ensemble = Some(EnsembleOptions::new(ServerId(1), membership.into()));
    options.shard.words = Whitelist::parse(Some("*"), false);
    options
}

#[test]
fn a_member_without_a_leader_serves_nobody_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(lonely(folder.path())).expect("starts");
    let not_serving = "This ZooKeeper instance is not currently serving requests";
    for (word, answer) in [
        ("srvr", format!("{not_serving}\n")),
        ("stat", format!("{not_serving}\n")),
        ("mntr", format!("{not_serving}\n")),
        ("conf", format!("{not_serving}\n")),
        ("dump", format!("{not_serving}\n")),
        ("isro", "null".to_owned()),
        ("ruok", "imok".to_owned()),
    ] {
        let mut stream = TcpStream::connect(server.address()).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        stream.write_all(word.as_bytes()).expect("sent");
        let mut told = String::new();
        stream.read_to_string(&mut told).expect("an answer");
        assert_eq!(told, answer, "{word}");
    }
    let stream = TcpStream::connect(server.address()).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: 30_000,
        session: SessionId::NONE,
        password: &[0; PASSWORD_LEN],
        read_only: Some(true),
    };
    let mut out = Vec::new();
    put_frame(&mut out, |out| request.encode(out));
    (&stream).write_all(&out).expect("sent");
    expect_end(&stream);
    server.stop();
}

#[test]
fn the_server_ends_a_closed_session_and_answers_nothing_behind_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(Options::in_folder(folder.path())).expect("starts");

    // The client says nothing more and does not hang up: the server does.
    let quiet = connect(&server);
    let mut out = Vec::new();
    put_request(&mut out, 1, OpCode::CLOSE_SESSION, |_| ());
    (&quiet).write_all(&out).expect("sent");
    assert_eq!(header(&receive(&quiet)).xid, Xid(1));
    expect_end(&quiet);

    // The client goes on as if its session were open.
    let eager = connect(&server);
    let mut out = Vec::new();
    put_set(&mut out, 1);
    put_request(&mut out, 2, OpCode::CLOSE_SESSION, |_| ());
    put_get(&mut out, 3);
    put_set(&mut out, 4);
    put_get(&mut out, 5);
    put_set(&mut out, 6);
    (&eager).write_all(&out).expect("sent");
    assert_eq!(header(&receive(&eager)).xid, Xid(1));
    assert_eq!(header(&receive(&eager)).xid, Xid(2));
    expect_end(&eager);

    // It is still there, and nothing was done behind the end.
    let third = connect(&server);
    let mut out = Vec::new();
    put_get(&mut out, 1);
    (&third).write_all(&out).expect("sent");
    let answer = receive(&third);
    assert_eq!(header(&answer).err, ErrorCode::OK);
    server.stop();
}

/// The number behind a key of `mntr`.
fn monitored(server: &Server, key: &str) -> u64 {
    let mut stream = TcpStream::connect(server.address()).expect("connects");
    stream.write_all(b"mntr").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let line = answer.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("{key} in {answer}"));
    line.trim().parse().expect("a number")
}

fn watched(folder: &std::path::Path) -> Options {
    let mut options = Options::in_folder(folder);
    options.shard.words = Whitelist::parse(Some("*"), false);
    options
}

/// With room for no second request that waits for the disk, each is written alone, all are answered in order, and nobody is
/// forgotten. Reads with nothing before them go on.
#[test]
fn what_waits_for_the_disk_is_bounded_over_all_connections() {
    const CLIENTS: usize = 4;
    const REQUESTS: i32 = 60;
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = watched(folder.path());
    options.shard.queued_bytes_max = 0;
    let server = Server::start(options).expect("starts");
    let clients: Vec<_> = (0..CLIENTS).map(|_| connect(&server)).collect();
    let reader = connect(&server);
    let before = monitored(&server, "zk_cnt_fsynctime");
    for client in &clients {
        let mut out = Vec::new();
        for xid in (1..REQUESTS).step_by(2) {
            put_set(&mut out, xid);
            put_get(&mut out, xid + 1);
        }
        (&mut &*client).write_all(&out).expect("sent");
    }
    for xid in 1..100 {
        let mut out = Vec::new();
        put_get(&mut out, xid);
        (&reader).write_all(&out).expect("sent");
        let answer = loop {
            // Its watches fire, too.
            let header = header(&receive(&reader));
            if header.xid != Xid(-1) {
                break header;
            }
        };
        assert_eq!((answer.xid, answer.err), (Xid(xid), ErrorCode::OK));
    }
    for client in &clients {
        let mut next = 1;
        while next <= REQUESTS {
            let header = header(&receive(client));
            if header.xid != Xid(-1) {
                assert_eq!((header.xid, header.err), (Xid(next), ErrorCode::OK));
                next += 1;
            }
        }
    }
    let syncs = monitored(&server, "zk_cnt_fsynctime") - before;
    let writes = CLIENTS as u64 * REQUESTS as u64 / 2;
    assert!(syncs >= writes, "{writes} writes, one at a time, in {syncs} syncs");
    server.stop();
}

/// Clients that ask and do not listen hold so much together and no more: the one that holds the most is closed, others are served.
#[test]
fn answers_that_nobody_takes_are_bounded_over_all_connections() {
    const DATA: usize = 900_000;
    const GREEDY: usize = 3;
    const ASKED: i32 = 100;
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = watched(folder.path());
    options.shard.held_bytes_max = 2 << 20;
    let server = Server::start(options).expect("starts");
    let client = connect(&server);
    let mut out = Vec::new();
    let request = SetDataRequest { path: "/".into(), data: Some(&vec![7; DATA]), version: -1 };
    put_request(&mut out, 1, OpCode::SET_DATA, |out| request.encode(out));
    (&client).write_all(&out).expect("sent");
    assert_eq!(header(&receive(&client)).err, ErrorCode::OK);
    let greedy: Vec<_> = (0..GREEDY).map(|_| connect(&server)).collect();
    for stream in &greedy {
        let mut out = Vec::new();
        let request = PathWatchRequest { path: "/".into(), watch: false };
        (1..=ASKED).for_each(|xid| put_request(&mut out, xid, OpCode::GET_DATA, |out| request.encode(out)));
        (&mut &*stream).write_all(&out).expect("sent");
    }
    let begin = std::time::Instant::now();
    while monitored(&server, "zk_num_alive_connections") > 1 + GREEDY as u64 {
        assert!(begin.elapsed() < PATIENCE, "nobody was closed");
    }
    let mut out = Vec::new();
    put_get(&mut out, 2);
    (&client).write_all(&out).expect("sent");
    assert_eq!(receive(&client).len(), 16 + 4 + DATA + 68);
    let closed = greedy.iter().filter(|stream| {
        let mut taken = Vec::new();
        let ended = (&mut &**stream).take(u64::from(ASKED.unsigned_abs()) * DATA as u64).read_to_end(&mut taken);
        ended.is_err() || taken.len() < ASKED as usize * DATA
    });
    assert!((1..GREEDY).contains(&closed.count()), "one or two of them, who then leave room for the third");
    server.stop();
}

/// Who was told of a write tells somebody else: that one sees it, though another shard serves him.
#[test]
fn what_one_shard_has_shown_every_shard_has() {
    const SHARDS: usize = 4;
    const ROUNDS: i32 = 500;
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Options::in_folder(folder.path());
    options.cores.shards = vec![None; SHARDS];
    options.replica.shards = SHARDS;
    let server = Server::start(options).expect("starts");
    let writer = connect(&server);
    let readers: Vec<_> = (0..SHARDS).map(|_| connect(&server)).collect();
    for round in 1..=ROUNDS {
        let mut out = Vec::new();
        let request = SetDataRequest { path: "/".into(), data: Some(&round.to_be_bytes()), version: -1 };
        put_request(&mut out, round, OpCode::SET_DATA, |out| request.encode(out));
        (&writer).write_all(&out).expect("sent");
        let written = header(&receive(&writer));
        assert_eq!(written.err, ErrorCode::OK);
        let mut out = Vec::new();
        let request = PathWatchRequest { path: "/".into(), watch: false };
        put_request(&mut out, round, OpCode::GET_DATA, |out| request.encode(out));
        readers.iter().for_each(|mut reader| reader.write_all(&out).expect("sent"));
        for reader in &readers {
            let answer = receive(reader);
            let mut body = Reader::new(&answer);
            let seen = ReplyHeader::decode(&mut body).expect("a reply");
            let data = body.buffer().expect("data").expect("some");
            assert_eq!((seen.zxid, data), (written.zxid, round.to_be_bytes().as_slice()), "in round {round}");
        }
    }
    server.stop();
}

/// What an operator sees of a leader before its first transaction, as Apache's tells it.
#[test]
fn a_new_leader_stands_at_the_start_of_its_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ensemble = ZookeeperServer::ensemble(folder.path(), 3).expect("free ports");
    ensemble.start().expect("starts");
    let leader = ensemble.leader().expect("one is elected");
    let mut stream = TcpStream::connect(ensemble.member(leader).address().expect("runs")).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
    stream.write_all(b"srvr").expect("sent");
    let mut told = String::new();
    stream.read_to_string(&mut told).expect("an answer");
    assert!(told.contains("Zxid: 0x100000000\nMode: leader\n"), "{told}");
    assert!(told.contains("Proposal sizes last/min/max: -1/-1/-1\n"), "{told}");
}

/// A part that panics takes the server with it, in a process that goes on: nobody is left waiting for an answer.
#[test]
fn a_part_that_panics_ends_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Options::in_folder(folder.path());
    // Somewhere among the writes that prepare the log and those that clients cause.
    options.fault = Some("panic:20".parse().expect("a fault"));
    let server = Server::start(options).expect("starts");
    // It may end at any moment; what counts is that it says so and does not leave us waiting.
    let ask = || {
        let Ok(mut stream) = TcpStream::connect(server.address()) else { return };
        let mut out = Vec::new();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 30_000,
            session: SessionId::NONE,
            password: &[0; PASSWORD_LEN],
            read_only: Some(false),
        };
        put_frame(&mut out, |out| request.encode(out));
        stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        let answered = stream.write_all(&out).and_then(|()| stream.read(&mut [0; 64]));
        assert!(!answered.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "left waiting");
    };
    let patient_until = clock::now() + PATIENCE;
    while !server.has_ended() {
        assert!(clock::now() < patient_until, "nobody has noticed");
        ask();
    }
    ask();
    let failed = server.wait().expect_err("it did not end because it was told to");
    assert!(matches!(&failed, ServerFailed::Panicked(part) if part == "zoo-log"), "{failed}");
}
