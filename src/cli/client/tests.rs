//! The client against a server that follows a script, on a real socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::pipeline::Pipeline;
use super::*;
use crate::ids::{SessionId, Zxid};
use crate::wire::acl::AclList;
use crate::wire::connect::{ConnectRequest, ConnectResponse};
use crate::wire::error_code::ErrorCode;
use crate::wire::header::{RequestHeader, Xid};
use crate::wire::jute::{Put, Reader, put_frame};
use crate::wire::op::OpCode;
use crate::wire::request::{AuthRequest, SetWatchesRequest};
use crate::wire::response::{put_header_reply, put_reply};
use crate::wire::stat::Stat;
use crate::wire::watch_event::{EventType, put_event_frame};

/// Far beyond what anything here takes.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// One accepted connection, as the scripted server sees it.
struct Peer(TcpStream);

impl Peer {
    fn accept(listener: &TcpListener) -> Self {
        // Polled, so that a client that does not come fails the test and does not hang it.
        listener.set_nonblocking(true).expect("a listener can poll");
        let deadline = Instant::now() + WAIT_MAX;
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => assert!(error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline, "{error}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        stream.set_nonblocking(false).expect("a socket can block");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("a socket takes a timeout");
        Self(stream)
    }

    fn frame(&mut self) -> Vec<u8> {
        let mut len = [0; 4];
        self.0.read_exact(&mut len).expect("a frame comes");
        let mut payload = vec![0; usize::try_from(i32::from_be_bytes(len)).expect("a sane length")];
        self.0.read_exact(&mut payload).expect("a whole frame comes");
        payload
    }

    /// Reads the connect request; answers with `timeout_ms`.
    fn handshake(&mut self, session: i64, timeout_ms: i32) -> (SessionId, Zxid) {
        let payload = self.frame();
        let request = ConnectRequest::decode(&mut Reader::new(&payload)).expect("a connect request");
        let mut out = Vec::new();
        put_frame(&mut out, |out| {
            ConnectResponse {
                protocol_version: 0,
                timeout_ms,
                session: SessionId(session),
                password: [9; 16],
                read_only: Some(false),
            }
            .encode(out);
        });
        self.0.write_all(&out).expect("the client listens");
        (request.session, request.last_zxid_seen)
    }

    /// The next request that is no ping.
    fn request(&mut self) -> (RequestHeader, Vec<u8>) {
        loop {
            let payload = self.frame();
            let mut reader = Reader::new(&payload);
            let header = RequestHeader::decode(&mut reader).expect("a request header");
            if header.op != OpCode::PING {
                return (header, reader.rest().to_vec());
            }
            let mut out = Vec::new();
            put_header_reply(&mut out, Xid::PING, Zxid(0), ErrorCode::OK);
            self.send(&out);
        }
    }

    fn expect(&mut self, op: OpCode) -> (Xid, Vec<u8>) {
        let (header, body) = self.request();
        assert_eq!(header.op, op);
        (header.xid, body)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the client listens");
    }
}

fn serve(script: impl FnOnce(TcpListener) + Send + 'static) -> (HostPort, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("a bound port").port();
    (HostPort { host: "127.0.0.1".to_owned(), port }, thread::spawn(move || script(listener)))
}

fn client(host: &HostPort, chroot: &str) -> (Client, Receiver<Event>) {
    let (sender, events) = mpsc::channel();
    let sender = Mutex::new(sender);
    let connect = ConnectString { hosts: vec![host.clone()], chroot: chroot.to_owned() };
    let listener: Listener = Arc::new(move |event: &Event| {
        let _ = sender.lock().expect("no panic").send(event.clone());
    });
    let options = Options { listener: Some(listener), ..Options::new(connect) };
    (Client::start(options).expect("a thread"), events)
}

fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(WAIT_MAX).expect("an event comes")
}

#[test]
fn a_lost_connection_goes_on_with_the_session_the_identities_and_the_watches() {
    let (host, server) = serve(|listener| {
        let mut peer = Peer::accept(&listener);
        assert_eq!(peer.handshake(7, 30_000).0, SessionId::NONE);
        let mut out = Vec::new();
        let (header, _) = peer.request();
        assert_eq!((header.op, header.xid), (OpCode::AUTH, Xid::AUTH));
        put_header_reply(&mut out, Xid::AUTH, Zxid(0), ErrorCode::OK);
        peer.send(&out);
        let (xid, body) = peer.expect(OpCode::GET_DATA);
        assert_eq!(Reader::new(&body).ustring().as_deref(), Ok("/app/a"));
        out.clear();
        put_reply(&mut out, xid, Zxid(5), |out| {
            out.put_buffer(Some(b"one"));
            Stat::default().encode(out);
        });
        peer.send(&out);
        // The next request is never answered.
        peer.expect(OpCode::DELETE);
        drop(peer);

        let mut peer = Peer::accept(&listener);
        assert_eq!(peer.handshake(7, 30_000), (SessionId(7), Zxid(5)));
        let (_, body) = peer.expect(OpCode::AUTH);
        let auth = AuthRequest::decode(&mut Reader::new(&body)).expect("an auth");
        assert_eq!((&*auth.scheme, auth.auth), ("digest", Some(&b"u:p"[..])));
        let (xid, body) = peer.expect(OpCode::SET_WATCHES2);
        assert_eq!(xid, Xid::SET_WATCHES);
        let watches = SetWatchesRequest::decode(OpCode::SET_WATCHES2, &mut Reader::new(&body)).expect("watches");
        assert_eq!(watches.relative_zxid, Zxid(5));
        assert_eq!(watches.data, ["/app/a"]);
        let mut out = Vec::new();
        put_header_reply(&mut out, Xid::AUTH, Zxid(0), ErrorCode::OK);
        put_event_frame(&mut out, EventType::NodeDataChanged, "/app/a", Zxid(6));
        put_header_reply(&mut out, Xid::SET_WATCHES, Zxid(6), ErrorCode::OK);
        peer.send(&out);
        let (xid, _) = peer.expect(OpCode::CLOSE_SESSION);
        let mut out = Vec::new();
        put_header_reply(&mut out, xid, Zxid(7), ErrorCode::OK);
        peer.send(&out);
    });
    let (client, events) = client(&host, "/app");
    assert_eq!(next(&events).state, Event::SYNC_CONNECTED);
    client.add_auth("digest", b"u:p").expect("the server accepts it");
    assert_eq!(client.get_data("/a", true).expect("an answer").0.as_deref(), Some(&b"one"[..]));
    let lost = client.delete("/a", -1).expect_err("the connection is lost");
    assert_eq!(lost, Error::keeper(ErrorCode::CONNECTION_LOSS, Some("/a")));
    assert_eq!(next(&events).state, Event::DISCONNECTED);
    assert_eq!(next(&events).state, Event::SYNC_CONNECTED);
    let event = next(&events);
    assert_eq!((event.event, event.path.as_deref()), (EventType::NodeDataChanged as i32, Some("/a")));
    assert_eq!(client.session(), SessionId(7));
    client.close();
    assert_eq!(next(&events).state, Event::CLOSED);
    let refused = client.exists("/a", false).expect_err("closed");
    assert_eq!(refused.code(), Some(ErrorCode::SESSION_EXPIRED));
    server.join().expect("the script went through");
}

#[test]
fn events_come_before_the_answers_behind_them() {
    let (host, server) = serve(|listener| {
        let mut peer = Peer::accept(&listener);
        peer.handshake(1, 30_000);
        let (xid, _) = peer.expect(OpCode::CREATE);
        let mut out = Vec::new();
        put_event_frame(&mut out, EventType::NodeCreated, "/a", Zxid(2));
        put_reply(&mut out, xid, Zxid(2), |out| out.put_ustring("/a"));
        peer.send(&out);
        // An answer to nothing: the client must not trust this connection any more.
        let mut out = Vec::new();
        put_header_reply(&mut out, Xid(77), Zxid(2), ErrorCode::OK);
        peer.send(&out);
        let mut rest = Vec::new();
        peer.0.read_to_end(&mut rest).expect("the client hangs up");
    });
    let (client, events) = client(&host, "");
    assert_eq!(next(&events).state, Event::SYNC_CONNECTED);
    let created = client.create("/a", None, &AclList::OPEN, CreateMode::Persistent);
    assert_eq!(created.as_deref(), Ok("/a"));
    let event = events.try_recv().expect("the event was told of before");
    assert_eq!(event.event, EventType::NodeCreated as i32);
    assert_eq!(next(&events).state, Event::DISCONNECTED);
    drop(client);
    server.join().expect("the script went through");
}

#[test]
fn an_expired_session_is_the_end() {
    let (host, server) = serve(|listener| {
        Peer::accept(&listener).handshake(1, 30_000);
        Peer::accept(&listener).handshake(0, 0);
    });
    let (client, events) = client(&host, "");
    for state in [Event::SYNC_CONNECTED, Event::DISCONNECTED, Event::EXPIRED] {
        assert_eq!(next(&events).state, state);
    }
    assert_eq!(client.state(), ConnectionState::Expired);
    assert_eq!(client.sync("/").map_err(|error| error.code()), Err(Some(ErrorCode::SESSION_EXPIRED)));
    server.join().expect("the script went through");
}

#[test]
fn refused_credentials_are_the_end() {
    let (host, server) = serve(|listener| {
        let mut peer = Peer::accept(&listener);
        peer.handshake(1, 30_000);
        peer.expect(OpCode::AUTH);
        let mut out = Vec::new();
        put_header_reply(&mut out, Xid::AUTH, Zxid(0), ErrorCode::AUTH_FAILED);
        peer.send(&out);
    });
    let (client, events) = client(&host, "");
    assert_eq!(next(&events).state, Event::SYNC_CONNECTED);
    assert_eq!(client.add_auth("nope", b"").map_err(|error| error.code()), Err(Some(ErrorCode::AUTH_FAILED)));
    assert_eq!(next(&events).state, Event::AUTH_FAILED);
    assert!(!client.state().is_alive());
    server.join().expect("the script went through");
}

#[test]
fn requests_without_a_server_end() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let host = HostPort { host: "127.0.0.1".to_owned(), port };
    let (client, _events) = client(&host, "");
    let error = client.get_children("/", false).expect_err("nobody is there");
    assert_eq!(error, Error::keeper(ErrorCode::CONNECTION_LOSS, Some("/")));
    assert!(client.state().is_alive());
    assert!(matches!(client.delete("a", -1), Err(Error::InvalidPath(_))));
}

#[test]
fn a_pipeline_reads_many_answers() {
    let (host, server) = serve(|listener| {
        let mut peer = Peer::accept(&listener);
        peer.handshake(3, 30_000);
        let mut out = Vec::new();
        for number in 0..100 {
            let (xid, _) = peer.expect(OpCode::WHO_AM_I);
            assert_eq!(xid, Xid(number + 1));
            put_reply(&mut out, xid, Zxid(1), |out| out.put_i32(0));
        }
        put_event_frame(&mut out, EventType::NodeDeleted, "/x", Zxid(2));
        peer.send(&out);
    });
    let mut pipe = Pipeline::connect(&host, Duration::from_secs(30), None).expect("a session");
    assert_eq!(pipe.session().0, SessionId(3));
    (0..100).for_each(|_| {
        pipe.push(OpCode::WHO_AM_I, |_| {});
    });
    pipe.send().expect("the server listens");
    let mut answers = 0;
    while pipe.outstanding() > 0 {
        answers += pipe.receive(|header, _| assert_eq!(header.err, ErrorCode::OK)).expect("answers come");
    }
    assert_eq!(answers, 100);
    server.join().expect("the script went through");
}
