//! Sockets of the ensemble over the loopback: several servers' [`Peers`] on one executor, and others that are played by the test.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;

use super::*;
use crate::quorum::{HostPort, Member, Membership, PeerAddress, PeerType, Quorums};
use crate::rt::executor::{self, sleep, spawn, timeout};
use crate::rt::socket::Stream;
use crate::wire::election::{FRAME_MAX, Hello, HelloForm, put_frame, read_frame};

/// The most that anything here may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs a test on an executor, for a bounded time.
fn on_executor<F: Future<Output = ()> + 'static>(name: &str, make: impl FnOnce() -> F + Send + 'static) {
    let executor = spawn(name, None, executor::Options::default(), move || async move {
        timeout(Duration::from_secs(60), make()).await.expect("the test ends in time");
    });
    executor.expect("starts").join().expect("ends well");
}

fn listen() -> Listener {
    Listener::bind("127.0.0.1:0".parse().expect("an address"), 64).expect("a free port")
}

/// A port where nobody listens.
fn free_port() -> u16 {
    listen().local_addr().port()
}

/// Members with these numbers and ports: quorum, election.
fn membership(ports: &[(i64, u16, u16)]) -> Arc<Membership> {
    let host = |port| HostPort { host: "127.0.0.1".to_owned(), port };
    let members: BTreeMap<_, _> = ports
        .iter()
        .map(|&(id, quorum, election)| {
            let addresses = vec![PeerAddress { quorum: host(quorum), election: host(election) }];
            let peer_type = PeerType::Participant;
            (ServerId(id), Member { id: ServerId(id), addresses, peer_type, client: None, secure_client: None })
        })
        .collect();
    Arc::new(Membership::new(members, Quorums::Majority, 0).expect("good members"))
}

fn options(my_id: i64, membership: &Arc<Membership>) -> PeerOptions {
    PeerOptions { handshake_timeout: LIMIT, ..PeerOptions::new(ServerId(my_id), membership.clone()) }
}

/// A server's part, and what it has heard.
struct Server {
    peers: Peers,
    heard: VecDeque<Event>,
    skips_peers: bool,
}

impl Server {
    fn start(options: PeerOptions, election_port: Vec<Listener>) -> Self {
        Self { peers: Peers::start(options, election_port), heard: VecDeque::new(), skips_peers: true }
    }

    async fn next(&mut self) -> Event {
        while self.heard.is_empty() {
            timeout(LIMIT, poll_fn(|cx| self.peers.poll_ready(cx))).await.expect("something is heard in time");
            self.heard.extend(self.peers.take());
            // Of little interest here but in the test of its own.
            self.heard
                .retain(|event| !self.skips_peers || !matches!(event, Event::PeerConnected(_) | Event::PeerLost(_)));
        }
        self.heard.pop_front().expect("something was heard")
    }

    async fn notification(&mut self) -> (i64, Vec<u8>) {
        match self.next().await {
            Event::Notification { from, bytes } => (from.0, bytes),
            other => panic!("a vote was expected, not {}", name(&other)),
        }
    }

    async fn opened(&mut self) -> LinkId {
        match self.next().await {
            Event::LinkOpened(link) => link,
            other => panic!("a link was expected, not {}", name(&other)),
        }
    }

    fn notify(&self, to: i64, vote: &[u8]) {
        self.peers.notify(ServerId(to), vote.into());
    }

    /// Hears nothing for some time: only ever used to show that something that would be wrong does not happen.
    async fn hears_nothing(&mut self) {
        sleep(Duration::from_millis(100)).await;
        self.heard.extend(self.peers.take());
        if let Some(event) = self.heard.front() {
            panic!("nothing was expected, not {}", name(event));
        }
    }
}

fn name(event: &Event) -> String {
    match event {
        Event::Notification { from, bytes } => format!("a vote of {}: {bytes:?}", from.0),
        Event::PeerConnected(peer) => format!("{peer:?} connected"),
        Event::PeerLost(peer) => format!("{peer:?} lost"),
        Event::LinkOpened(link) => format!("{link:?} opened"),
        Event::LinkBytes(link, bytes) => format!("{} bytes of {link:?}", bytes.len()),
        Event::LinkProgress(link) => format!("{link:?} takes a state"),
        Event::LinkClosed(link) => format!("{link:?} closed"),
        Event::LeaderConnected(dial) => format!("{dial:?} connected"),
        Event::LeaderBytes(dial, bytes) => format!("{} bytes of {dial:?}", bytes.len()),
        Event::LeaderLost(dial) => format!("{dial:?} lost"),
        _ => "something else".to_owned(),
    }
}

/// Another server's side of an election connection.
struct Other {
    stream: Stream,
    bytes: Vec<u8>,
}

impl Other {
    fn new(stream: Stream) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    /// Dials `port` as server `id`, reachable at `own`.
    async fn dial(port: u16, id: i64, own: u16) -> Self {
        let stream = connect(port).await;
        let mut hello = Vec::new();
        let addresses = vec![("127.0.0.1".to_owned(), own)];
        Hello { form: HelloForm::V1, server: ServerId(id), addresses }.encode(&mut hello);
        stream.write_all(&hello).await.expect("written");
        Self::new(stream)
    }

    /// Takes the next connection at `listener`, and who makes it.
    async fn accept(listener: &Listener) -> (Self, i64) {
        let accepted = timeout(LIMIT, listener.accept()).await.expect("dialled in time").expect("a connection");
        let mut other = Self::new(Stream::adopt(accepted));
        loop {
            if let Some((hello, len)) = Hello::read(&other.bytes).expect("a handshake") {
                other.bytes.drain(..len);
                return (other, hello.server.0);
            }
            assert!(other.more().await, "the handshake comes whole");
        }
    }

    async fn more(&mut self) -> bool {
        timeout(LIMIT, self.stream.read(&mut self.bytes)).await.expect("in time").is_ok_and(|len| len > 0)
    }

    /// The next vote; `None` at the end.
    async fn vote(&mut self) -> Option<Vec<u8>> {
        loop {
            let frame = read_frame(&self.bytes).expect("a frame").map(|(vote, len)| (vote.to_vec(), len));
            if let Some((vote, len)) = frame {
                self.bytes.drain(..len);
                return Some(vote);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn send(&self, vote: &[u8]) {
        let mut frame = Vec::new();
        put_frame(vote, &mut frame);
        self.stream.write_all(&frame).await.expect("written");
    }
}

async fn connect(port: u16) -> Stream {
    Stream::connect(SocketAddr::from(([127, 0, 0, 1], port)), LIMIT).await.expect("connects")
}

#[test]
fn votes_go_both_ways_whoever_speaks_first() {
    on_executor("votes-both", || async {
        for first in [1, 2] {
            let ports = [listen(), listen()];
            let [one, two] = [0, 1].map(|at: usize| ports[at].local_addr().port());
            let members = membership(&[(1, 1, one), (2, 2, two)]);
            let [port_one, port_two] = ports;
            let mut servers = [
                Server::start(options(1, &members), vec![port_one]),
                Server::start(options(2, &members), vec![port_two]),
            ];
            let (speaker, hearer) = (first - 1, 2 - first);
            servers[speaker].notify(hearer as i64 + 1, b"first");
            assert_eq!(servers[hearer].notification().await, (first as i64, b"first".to_vec()));
            servers[hearer].notify(first as i64, b"second");
            assert_eq!(servers[speaker].notification().await, (hearer as i64 + 1, b"second".to_vec()));
            for number in 0..50_u8 {
                servers[speaker].notify(hearer as i64 + 1, &[number]);
                assert_eq!(servers[hearer].notification().await.1, [number]);
            }
        }
    });
}

#[test]
fn the_smaller_id_is_dialled_back_and_the_last_vote_is_sent_again() {
    on_executor("votes-smaller", || async {
        let (own, theirs) = (listen(), listen());
        let (own_port, their_port) = (own.local_addr().port(), theirs.local_addr().port());
        let members = membership(&[(1, 1, own_port), (9, 2, their_port)]);
        let mut server = Server::start(options(1, &members), vec![own]);
        server.notify(9, b"old");
        server.notify(9, b"new");
        let (mut announced, id) = Other::accept(&theirs).await;
        assert_eq!(id, 1);
        assert_eq!(announced.vote().await, None, "we lose the challenge and end the connection");

        let mut other = Other::dial(own_port, 9, their_port).await;
        assert_eq!(other.vote().await.as_deref(), Some(&b"new"[..]), "the newest vote replaced the older one");
        other.send(b"theirs").await;
        assert_eq!(server.notification().await, (9, b"theirs".to_vec()));

        // Half open: we believe that the first one stands, they have lost it and dial again.
        let mut second = Other::dial(own_port, 9, their_port).await;
        assert_eq!(second.vote().await.as_deref(), Some(&b"new"[..]));
        assert_eq!(other.vote().await, None, "the older connection ends");
        server.notify(9, b"newer");
        assert_eq!(second.vote().await.as_deref(), Some(&b"newer"[..]));

        drop(second);
        let (_, id) = Other::accept(&theirs).await;
        assert_eq!(id, 1, "a connection that breaks is asked for again");
        let mut third = Other::dial(own_port, 9, their_port).await;
        assert_eq!(third.vote().await.as_deref(), Some(&b"newer"[..]), "it may not have arrived");
    });
}

#[test]
fn the_larger_id_makes_the_connection() {
    on_executor("votes-larger", || async {
        let (own, theirs) = (listen(), listen());
        let (own_port, their_port) = (own.local_addr().port(), theirs.local_addr().port());
        let members = membership(&[(5, 1, own_port), (2, 2, their_port)]);
        let mut server = Server::start(options(5, &members), vec![own]);

        let mut announced = Other::dial(own_port, 2, their_port).await;
        assert_eq!(announced.vote().await, None);
        let (other, id) = Other::accept(&theirs).await;
        assert_eq!(id, 5, "dialled back, though there is nothing to tell yet");
        other.send(b"hello").await;
        assert_eq!(server.notification().await, (2, b"hello".to_vec()));

        // It has restarted, and we do not know yet: what we hold ends, and we dial again.
        let mut other = other;
        server.notify(2, b"mine");
        assert_eq!(other.vote().await.as_deref(), Some(&b"mine"[..]));
        Other::dial(own_port, 2, their_port).await;
        let (mut again, _) = Other::accept(&theirs).await;
        assert_eq!(again.vote().await.as_deref(), Some(&b"mine"[..]));
        assert_eq!(other.vote().await, None);
    });
}

#[test]
fn a_server_that_comes_late_hears_the_newest_vote_only() {
    on_executor("votes-late", || async {
        let (own, their_port) = (listen(), free_port());
        let members = membership(&[(5, 1, own.local_addr().port()), (2, 2, their_port)]);
        let server = Server::start(options(5, &members), vec![own]);
        for number in 0..10_u8 {
            server.notify(2, &[number]);
            sleep(Duration::from_millis(10)).await;
        }
        let theirs = Listener::bind(SocketAddr::from(([127, 0, 0, 1], their_port)), 8).expect("still free");
        let (mut other, _) = Other::accept(&theirs).await;
        assert_eq!(other.vote().await, Some(vec![9]));
    });
}

#[test]
fn it_is_told_who_can_be_reached() {
    on_executor("votes-reach", || async {
        let (own, their_port) = (listen(), free_port());
        let members = membership(&[(5, 1, own.local_addr().port()), (2, 2, their_port)]);
        let mut server = Server::start(options(5, &members), vec![own]);
        server.skips_peers = false;
        server.notify(2, b"vote");
        assert!(matches!(server.next().await, Event::PeerLost(ServerId(2))), "nobody listens");
        let theirs = Listener::bind(SocketAddr::from(([127, 0, 0, 1], their_port)), 8).expect("still free");
        let (other, _) = Other::accept(&theirs).await;
        // As often as it was dialled in vain.
        loop {
            match server.next().await {
                Event::PeerLost(ServerId(2)) => {}
                Event::PeerConnected(ServerId(2)) => break,
                other => panic!("not {}", name(&other)),
            }
        }
        drop(other);
        assert!(matches!(server.next().await, Event::PeerLost(ServerId(2))));
    });
}

#[test]
fn rubbish_and_floods_harm_nobody() {
    on_executor("votes-rubbish", || async {
        let (own, theirs) = (listen(), listen());
        let (own_port, their_port) = (own.local_addr().port(), theirs.local_addr().port());
        let members = membership(&[(1, 1, own_port), (9, 2, their_port)]);
        let mut server = Server::start(options(1, &members), vec![own]);

        // No handshake at all, more often than there are places.
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(connect(own_port).await);
        }
        // What is no handshake, and one of a server with our own number.
        for rubbish in [&b"GET / HTTP/1.1\r\n\r\n........"[..], &[0xff; 64], &[0x80; 20]] {
            let stream = connect(own_port).await;
            stream.write_all(rubbish).await.expect("written");
            assert!(!Other::new(stream).more().await, "closed");
        }
        assert_eq!(Other::dial(own_port, 1, their_port).await.vote().await, None, "our own number");
        // Frames that are none.
        for length in [0_i32, -1, FRAME_MAX as i32 + 1] {
            let mut other = Other::dial(own_port, 9, their_port).await;
            other.stream.write_all(&length.to_be_bytes()).await.expect("written");
            assert_eq!(other.vote().await, None, "a frame of {length} bytes ends the connection");
        }
        // Who sends without end is heard, and not all of it.
        let other = Other::dial(own_port, 9, their_port).await;
        let mut flood = Vec::new();
        for number in 0..5000_u32 {
            put_frame(&number.to_be_bytes(), &mut flood);
        }
        other.stream.write_all(&flood).await.expect("written");
        let mut count = 0;
        loop {
            let (from, vote) = server.notification().await;
            assert_eq!(from, 9);
            count += 1;
            if vote == 4999_u32.to_be_bytes() {
                break;
            }
        }
        assert!(count < 5000, "the newest of many count: {count}");
        // The largest frame is one.
        let largest = vec![7; FRAME_MAX];
        other.send(&largest).await;
        assert_eq!(server.notification().await.1, largest);
        server.notify(9, b"still here");
        let mut other = other;
        assert_eq!(other.vote().await.as_deref(), Some(&b"still here"[..]));
        drop(silent);
    });
}

#[test]
fn a_stranger_is_answered_while_it_is_there() {
    on_executor("votes-stranger", || async {
        let own = listen();
        let own_port = own.local_addr().port();
        let mut server = Server::start(options(1, &membership(&[(1, 1, own_port)])), vec![own]);
        let mut others = Vec::new();
        for id in 100..116 {
            let other = Other::dial(own_port, id, 1).await;
            other.send(b"who leads?").await;
            assert_eq!(server.notification().await, (id, b"who leads?".to_vec()));
            server.notify(id, b"I do");
            others.push(other);
        }
        for other in &mut others {
            assert_eq!(other.vote().await.as_deref(), Some(&b"I do"[..]));
        }
        assert_eq!(Other::dial(own_port, 200, 1).await.vote().await, None, "one too many");
        drop(others.pop());
        loop {
            // Its place is free once its end was seen; until then the next one is closed.
            let mut other = Other::dial(own_port, 200, 1).await;
            let answer = loop {
                server.notify(200, b"yes");
                if let Some(answer) = timeout(Duration::from_millis(10), other.vote()).await {
                    break answer;
                }
            };
            if answer.is_some() {
                break;
            }
        }
    });
}

#[test]
fn learners_come_speak_and_go() {
    on_executor("links", || async {
        let port = free_port();
        let mut server = Server::start(options(1, &membership(&[(1, port, 1)])), Vec::new());
        let refused = Stream::connect(SocketAddr::from(([127, 0, 0, 1], port)), LIMIT).await;
        assert!(refused.is_err(), "the port is closed until it is wanted");
        for _ in 0..3 {
            server.peers.listen(true);
            let learner = loop {
                match Stream::connect(SocketAddr::from(([127, 0, 0, 1], port)), LIMIT).await {
                    Ok(stream) => break stream,
                    Err(_) => sleep(Duration::from_millis(1)).await,
                }
            };
            let link = server.opened().await;
            learner.write_all(b"hello").await.expect("written");
            assert!(matches!(server.next().await, Event::LinkBytes(of, bytes) if of == link && bytes == b"hello"));

            // Packets, a snapshot, packets, the end: in this order.
            let mut left = 100_u32;
            server.peers.to_link(link, b"before ".to_vec());
            server.peers.to_link(link, b"it ".to_vec());
            server.peers.body_to_link(
                link,
                Box::new(move |out| {
                    out.extend_from_slice(&[b'x'; 100_000]);
                    left -= 1;
                    left > 0
                }),
            );
            server.peers.to_link(link, b" behind".to_vec());
            server.peers.flush();
            server.peers.to_link(link, b" it".to_vec());
            server.peers.flush();
            server.peers.close_link(link);
            let mut heard = Vec::new();
            while learner.read(&mut heard).await.is_ok_and(|len| len > 0) {}
            assert_eq!(heard.len(), 10 + 10_000_000 + 10);
            assert!(heard.starts_with(b"before it x") && heard.ends_with(b"x behind it"));

            // What it takes of a state is told; one that goes by itself is told of, once.
            let other = connect(port).await;
            let link = server.opened().await;
            server.peers.body_to_link(
                link,
                Box::new(|out| {
                    out.extend_from_slice(b"a short one");
                    false
                }),
            );
            server.peers.flush();
            assert!(matches!(server.next().await, Event::LinkProgress(of) if of == link));
            drop(other);
            assert!(matches!(server.next().await, Event::LinkClosed(of) if of == link));

            let other = connect(port).await;
            let _ = server.opened().await;
            server.peers.listen(false);
            assert!(!Other::new(other).more().await, "every link ends with the port");
            server.hears_nothing().await;
        }
    });
}

#[test]
fn a_learner_that_does_not_read_is_cut_off() {
    on_executor("links-full", || async {
        let port = free_port();
        let options = PeerOptions { link_bytes_max: 1 << 20, ..options(1, &membership(&[(1, port, 1)])) };
        let mut server = Server::start(options, Vec::new());
        server.peers.listen(true);
        sleep(Duration::from_millis(1)).await;
        let learner = connect(port).await;
        let link = server.opened().await;
        let mut sent = 0;
        let closed = loop {
            server.peers.to_link(link, vec![0; 100_000]);
            server.peers.flush();
            sent += 1;
            executor::yield_now().await;
            server.heard.extend(server.peers.take());
            if let Some(event) = server.heard.pop_front() {
                break event;
            }
            assert!(sent < 1000, "100 MB do not fit into 1 MiB and the kernel's buffers");
        };
        assert!(matches!(closed, Event::LinkClosed(of) if of == link));
        drop(learner);
    });
}

#[test]
fn a_leader_is_dialled_until_it_opens_its_port() {
    on_executor("leader", || async {
        let port = free_port();
        // The first pauses are short, however long the whole one is.
        let hour = Duration::from_secs(3600);
        let options = PeerOptions { dial_pause: hour, ..options(1, &membership(&[(1, 1, 1), (2, port, 2)])) };
        let mut server = Server::start(options, Vec::new());
        server.peers.dial(DialId(1), ServerId(2));
        sleep(Duration::from_millis(30)).await;
        let leader = Listener::bind(SocketAddr::from(([127, 0, 0, 1], port)), 8).expect("still free");
        let accepted = timeout(LIMIT, leader.accept()).await.expect("in time").expect("a connection");
        let stream = Stream::adopt(accepted);
        assert!(matches!(server.next().await, Event::LeaderConnected(DialId(1))));
        server.peers.to_leader(DialId(1), b"follower".to_vec());
        server.peers.to_leader(DialId(7), b"of another dial".to_vec());
        server.peers.flush();
        let mut heard = Vec::new();
        stream.read(&mut heard).await.expect("heard");
        assert_eq!(heard, b"follower");
        stream.write_all(b"leader").await.expect("written");
        assert!(matches!(server.next().await, Event::LeaderBytes(DialId(1), bytes) if bytes == b"leader"));

        // A new dial silences the old one, and so does hanging up.
        stream.write_all(b"too late").await.expect("written");
        server.peers.dial(DialId(2), ServerId(2));
        let accepted = timeout(LIMIT, leader.accept()).await.expect("in time").expect("a connection");
        let second = Stream::adopt(accepted);
        assert!(matches!(server.next().await, Event::LeaderConnected(DialId(2))));
        assert!(!Other::new(stream).more().await, "the old connection ends");
        second.write_all(b"heard").await.expect("written");
        assert!(matches!(server.next().await, Event::LeaderBytes(DialId(2), _)));
        drop(second);
        assert!(matches!(server.next().await, Event::LeaderLost(DialId(2))));

        server.peers.dial(DialId(3), ServerId(2));
        server.peers.hang_up(DialId(3));
        server.hears_nothing().await;
    });
}

#[test]
fn a_leader_that_is_not_there_is_lost() {
    on_executor("leader-lost", || async {
        let options = PeerOptions {
            dial_pause: Duration::from_millis(5),
            ..options(1, &membership(&[(1, 1, 1), (2, free_port(), 2)]))
        };
        let mut server = Server::start(options, Vec::new());
        server.peers.dial(DialId(1), ServerId(2));
        assert!(matches!(server.next().await, Event::LeaderLost(DialId(1))));
        server.peers.dial(DialId(2), ServerId(3));
        assert!(matches!(server.next().await, Event::LeaderLost(DialId(2))), "no such server");
    });
}
