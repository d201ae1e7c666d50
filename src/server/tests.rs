//! Whole servers as their clients see them, byte by byte: what a well-behaved client library never does.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::node::Server;
use super::options::Options;
use crate::ids::{SessionId, Zxid};
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
