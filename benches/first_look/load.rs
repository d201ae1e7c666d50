//! A closed-loop load from one thread: many connections, each with a fixed number of requests outstanding.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use zoo_server::ids::{SessionId, Zxid};
use zoo_server::wire::acl::AclList;
use zoo_server::wire::connect::{ConnectRequest, PASSWORD_LEN};
use zoo_server::wire::header::{RequestHeader, Xid};
use zoo_server::wire::jute::{Put, put_frame};
use zoo_server::wire::op::OpCode;
use zoo_server::wire::request::{CreateRequest, PathWatchRequest, SetDataRequest};

/// What is asked for, again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// getData.
    Get,
    /// setData.
    Set,
}

impl Work {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
        }
    }
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) rate: f64,
    latencies: Histogram<u64>,
}

impl Outcome {
    pub(crate) fn latency_us(&self, percentile: f64) -> u64 {
        self.latencies.value_at_percentile(percentile)
    }
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    xid: i32,
    /// When the requests that are outstanding were made.
    sent: VecDeque<Instant>,
}

/// See the file's page.
pub(crate) struct Load {
    poll: Poll,
    connections: Vec<Connection>,
    outstanding: usize,
    data: Vec<u8>,
    znodes: usize,
    seed: u64,
}

impl Load {
    /// The connections go round the addresses.
    pub(crate) fn new(
        addresses: &[SocketAddr],
        connections: usize,
        outstanding: usize,
        data_len: usize,
        znodes: usize,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut load = Self {
            poll,
            connections: Vec::new(),
            outstanding,
            data: (0..data_len).map(|at| b'a' + (at % 26) as u8).collect(),
            znodes,
            seed: 0x9E37_79B9_7F4A_7C15,
        };
        for number in 0..connections {
            let stream = connect(addresses[number % addresses.len()])?;
            let mut stream = TcpStream::from_std(stream);
            load.poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
            load.connections.push(Connection {
                stream,
                input: Vec::new(),
                output: Vec::new(),
                written: 0,
                xid: 0,
                sent: VecDeque::new(),
            });
        }
        Ok(load)
    }

    /// Makes the znodes.
    pub(crate) fn prepare(&mut self) -> io::Result<()> {
        let mut left: Vec<usize> = (0..self.znodes).rev().collect();
        self.drive(
            |connection, data, _| {
                let Some(number) = left.pop() else {
                    return false;
                };
                let request = CreateRequest {
                    path: path(number).into(),
                    data: Some(data),
                    acl: AclList::OPEN,
                    flags: 0,
                    ttl_ms: -1,
                };
                connection.push(OpCode::CREATE, |out| request.encode(OpCode::CREATE, out));
                true
            },
            // Whoever runs twice against one server finds them there.
            |err| err == 0 || err == -110,
            None,
        )?;
        Ok(())
    }

    /// Runs `work` for as long as `period`.
    pub(crate) fn run(&mut self, work: Work, period: Duration) -> io::Result<Outcome> {
        let znodes = self.znodes as u64;
        self.drive(
            move |connection, data, random| {
                let path = path((random % znodes) as usize);
                match work {
                    Work::Get => {
                        let request = PathWatchRequest { path: path.into(), watch: false };
                        connection.push(OpCode::GET_DATA, |out| request.encode(out));
                    }
                    Work::Set => {
                        let request = SetDataRequest { path: path.into(), data: Some(data), version: -1 };
                        connection.push(OpCode::SET_DATA, |out| request.encode(out));
                    }
                }
                true
            },
            |err| err == 0,
            Some(period),
        )
    }

    fn random(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    /// Keeps the connections busy with what `next` makes until it makes no more, or `period` is over and all is answered.
    fn drive(
        &mut self,
        mut next: impl FnMut(&mut Connection, &[u8], u64) -> bool,
        is_good: impl Fn(i32) -> bool,
        period: Option<Duration>,
    ) -> io::Result<Outcome> {
        let mut latencies = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("constant bounds");
        let start = Instant::now();
        let mut is_over = false;
        let mut answered_in_time = 0_u64;
        let mut end = start;
        for connection in &mut self.connections {
            for _ in 0..self.outstanding {
                let random = Self::random(&mut self.seed);
                if !next(connection, &self.data, random) {
                    break;
                }
            }
            connection.flush()?;
        }
        let mut events = Events::with_capacity(1024);
        while self.connections.iter().any(|connection| !connection.sent.is_empty()) {
            self.poll.poll(&mut events, Some(Duration::from_secs(30)))?;
            if events.is_empty() {
                return Err(io::Error::new(ErrorKind::TimedOut, "no answer for 30 s"));
            }
            let now = Instant::now();
            if !is_over {
                end = now;
                is_over = period.is_some_and(|period| now - start >= period);
            }
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                let answers = connection.receive(&is_good, &mut latencies)?;
                if !is_over {
                    answered_in_time += answers as u64;
                    for _ in 0..answers {
                        let random = Self::random(&mut self.seed);
                        if !next(connection, &self.data, random) {
                            break;
                        }
                    }
                }
                connection.flush()?;
            }
        }
        Ok(Outcome { rate: answered_in_time as f64 / (end - start).as_secs_f64(), latencies })
    }
}

impl Connection {
    fn push(&mut self, op: OpCode, encode: impl FnOnce(&mut Vec<u8>)) {
        self.xid = self.xid.wrapping_add(1).max(1);
        let header = RequestHeader { xid: Xid(self.xid), op };
        put_frame(&mut self.output, |out| {
            header.encode(out);
            encode(out);
        });
        self.sent.push_back(Instant::now());
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Takes the answers that are there; how many.
    fn receive(&mut self, is_good: &impl Fn(i32) -> bool, latencies: &mut Histogram<u64>) -> io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        let mut answers = 0;
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
                Ok(len) => self.input.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let now = Instant::now();
        let mut at = 0;
        while let Some(head) = self.input[at..].first_chunk::<4>() {
            let len = i32::from_be_bytes(*head) as usize;
            let Some(frame) = self.input.get(at + 4..at + 4 + len) else {
                break;
            };
            let field = |range: std::ops::Range<usize>| frame[range].try_into().expect("a reply header has 16 bytes");
            let (xid, err) = (i32::from_be_bytes(field(0..4)), i32::from_be_bytes(field(12..16)));
            let expected = self.xid - self.sent.len() as i32 + 1;
            if xid != expected || !is_good(err) {
                let what = format!("answer {xid} with error {err} where {expected} was expected");
                return Err(io::Error::new(ErrorKind::InvalidData, what));
            }
            let sent = self.sent.pop_front().expect("an answer to a request that was sent");
            latencies.saturating_record((now - sent).as_micros().max(1) as u64);
            answers += 1;
            at += 4 + len;
        }
        self.input.drain(..at);
        Ok(answers)
    }
}

fn path(number: usize) -> String {
    format!("/first-look-{number:07}")
}

/// Opens a session.
fn connect(address: SocketAddr) -> io::Result<std::net::TcpStream> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut out = Vec::new();
    put_frame(&mut out, |out| {
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 40_000,
            session: SessionId::NONE,
            password: &[0; PASSWORD_LEN],
            read_only: Some(false),
        }
        .encode(out);
    });
    stream.write_all(&out)?;
    let mut answer = [0; 41];
    stream.read_exact(&mut answer)?;
    out.clear();
    out.put_bytes(&answer);
    stream.set_nonblocking(true)?;
    Ok(stream)
}
