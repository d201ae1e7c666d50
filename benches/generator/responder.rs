//! A server that knows nothing: it answers ZooKeeper's requests from templates, on one core, so that a load generator can be
//! measured and tested against it. It can be told to misbehave.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use zoo_server::ids::{SessionId, Zxid};
use zoo_server::rt::limits::spawn_thread;
use zoo_server::rt::poller::Poller;
use zoo_server::wire::connect::{ConnectResponse, PASSWORD_LEN};
use zoo_server::wire::error_code::ErrorCode;
use zoo_server::wire::header::Xid;
use zoo_server::wire::jute::{Put, put_frame};
use zoo_server::wire::op::OpCode;
use zoo_server::wire::response::{put_header_reply, put_reply};
use zoo_server::wire::stat::Stat;

/// Digits at the end of the generator's paths and at the head of its data.
const DIGITS: usize = 9;

/// How long the responder sleeps at most before it looks whether it is to end.
const TICK: Duration = Duration::from_millis(20);

const LISTENER: usize = usize::MAX;

/// What it answers, and where it misbehaves. Numbers count requests for data.
#[derive(Clone, Debug)]
pub(crate) struct Character {
    /// Bytes of data in each znode.
    pub(crate) data_len: usize,
    /// Stands still once, so long after the first request for data, for so long.
    pub(crate) pause: Option<(Duration, Duration)>,
    /// Each so many-th is answered with NODEEXISTS.
    pub(crate) error_each: u64,
    /// Each so many-th is answered with another key's data.
    pub(crate) wrong_each: u64,
    /// The so many-th is answered as if it was the one behind it.
    pub(crate) out_of_turn_at: u64,
    /// At the so many-th the connection is closed instead of an answer.
    pub(crate) close_at: u64,
}

impl Default for Character {
    fn default() -> Self {
        Self { data_len: 100, pause: None, error_each: 0, wrong_each: 0, out_of_turn_at: 0, close_at: 0 }
    }
}

/// A running responder, ended when dropped.
#[derive(Debug)]
pub(crate) struct Responder {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Starts on a free port of the loopback, on a core if one is given.
    pub(crate) fn start(core: Option<usize>, character: Character) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let serve =
            move || Serving::new(listener, character).and_then(|mut serving| serving.run(&asked)).expect("it serves");
        Ok(Self { address, stop, thread: Some(spawn_thread("responder", core, serve)?) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("joined once").join();
        assert!(ended.is_ok() || thread::panicking(), "the responder ended badly");
    }
}

struct Line {
    stream: TcpStream,
    has_session: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
}

struct Serving {
    listener: TcpListener,
    poller: Poller,
    lines: Vec<Option<Line>>,
    buffer: Vec<u8>,
    replies: Replies,
}

impl Serving {
    fn new(listener: TcpListener, character: Character) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER)?;
        let replies = Replies::new(character);
        Ok(Self { listener, poller, lines: Vec::new(), buffer: vec![0; 256 << 10], replies })
    }

    fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let count = self.poller.wait(TICK)?;
            self.replies.pause_if_it_is_time();
            for at in 0..count {
                let ready = self.poller.ready(at);
                if ready.token == LISTENER {
                    self.accept()?;
                } else if !self.serve(ready.token) {
                    self.lines[ready.token] = None;
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    self.poller.add(&stream, self.lines.len())?;
                    let line = Line { stream, has_session: false, input: Vec::new(), output: Vec::new(), written: 0 };
                    self.lines.push(Some(line));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers what has come; false if the connection is at its end.
    fn serve(&mut self, at: usize) -> bool {
        let Some(line) = &mut self.lines[at] else {
            return true;
        };
        loop {
            match line.stream.read(&mut self.buffer) {
                Ok(0) => return false,
                Ok(len) => {
                    let goes_on = if line.input.is_empty() {
                        let (used, goes_on) =
                            self.replies.answer(&self.buffer[..len], &mut line.has_session, &mut line.output);
                        line.input.extend_from_slice(&self.buffer[used..len]);
                        goes_on
                    } else {
                        line.input.extend_from_slice(&self.buffer[..len]);
                        let (used, goes_on) = self.replies.answer(&line.input, &mut line.has_session, &mut line.output);
                        line.input.drain(..used);
                        goes_on
                    };
                    if !goes_on {
                        let _ = line.stream.write(&line.output[line.written..]);
                        return false;
                    }
                    if len < self.buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        while line.written < line.output.len() {
            match line.stream.write(&line.output[line.written..]) {
                Ok(len) => line.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        line.output.clear();
        line.written = 0;
        true
    }
}

struct Replies {
    character: Character,
    /// The answer to a getData but for xid and digits.
    data: Vec<u8>,
    /// The answer to exists and setData but for the xid.
    stat: Vec<u8>,
    requests: u64,
    sessions: i64,
    began: Option<Instant>,
    has_paused: bool,
}

impl Replies {
    fn new(character: Character) -> Self {
        let letters = character.data_len.saturating_sub(if character.data_len >= DIGITS { DIGITS } else { 0 });
        let mut body = if character.data_len >= DIGITS { vec![b'0'; DIGITS] } else { Vec::new() };
        body.extend((0..letters).map(|at| b'a' + (at % 26) as u8));
        let stat = Stat { version: 1, data_length: character.data_len as i32, ..Stat::default() };
        let (mut data, mut only_stat) = (Vec::new(), Vec::new());
        put_reply(&mut data, Xid(0), Zxid(1), |out| {
            out.put_buffer(Some(&body));
            stat.encode(out);
        });
        put_reply(&mut only_stat, Xid(0), Zxid(1), |out| stat.encode(out));
        Self { character, data, stat: only_stat, requests: 0, sessions: 0, began: None, has_paused: false }
    }

    fn pause_if_it_is_time(&mut self) {
        if let (Some((after, pause)), Some(began), false) = (self.character.pause, self.began, self.has_paused)
            && began.elapsed() >= after
        {
            self.has_paused = true;
            // This is the behaviour that is asked for, not a wait for anything.
            thread::sleep(pause);
        }
    }

    /// Answers the whole frames; how many bytes they had, and whether the connection goes on.
    fn answer(&mut self, bytes: &[u8], has_session: &mut bool, out: &mut Vec<u8>) -> (usize, bool) {
        let mut at = 0;
        while let Some(head) = bytes[at..].first_chunk::<4>() {
            let len = i32::from_be_bytes(*head) as usize;
            let Some(frame) = bytes.get(at + 4..at + 4 + len) else {
                break;
            };
            at += 4 + len;
            if !*has_session {
                *has_session = true;
                self.session(out);
                continue;
            }
            let number = |at: usize| i32::from_be_bytes(*frame[at..].first_chunk().expect("a request has its header"));
            let (xid, op, body) = (number(0), OpCode(number(4)), &frame[8..]);
            let start = out.len();
            match op {
                OpCode::GET_DATA => {
                    if !self.get(xid, body, out) {
                        return (at, false);
                    }
                }
                OpCode::SET_DATA | OpCode::EXISTS => {
                    out.extend_from_slice(&self.stat);
                    out[start + 4..start + 8].copy_from_slice(&xid.to_be_bytes());
                }
                OpCode::CREATE => {
                    let path_len = i32::from_be_bytes(*body.first_chunk().expect("a path")) as usize;
                    put_reply(out, Xid(xid), Zxid(1), |out| out.put_bytes(&body[..4 + path_len]));
                }
                OpCode::DELETE | OpCode::PING => put_header_reply(out, Xid(xid), Zxid(1), ErrorCode::OK),
                OpCode::CLOSE_SESSION => {
                    put_header_reply(out, Xid(xid), Zxid(1), ErrorCode::OK);
                    return (at, false);
                }
                _ => put_header_reply(out, Xid(xid), Zxid(1), ErrorCode::UNIMPLEMENTED),
            }
        }
        (at, true)
    }

    fn session(&mut self, out: &mut Vec<u8>) {
        self.sessions += 1;
        put_frame(out, |out| {
            ConnectResponse {
                protocol_version: 0,
                timeout_ms: 30_000,
                session: SessionId(self.sessions),
                password: [1; PASSWORD_LEN],
                read_only: Some(false),
            }
            .encode(out);
        });
    }

    /// False if the connection is to end.
    fn get(&mut self, xid: i32, body: &[u8], out: &mut Vec<u8>) -> bool {
        self.requests += 1;
        if self.requests == 1 {
            self.began = Some(Instant::now());
        }
        let character = &self.character;
        let is_turn = |each: u64| each != 0 && self.requests.is_multiple_of(each);
        if self.requests == character.close_at {
            return false;
        }
        if is_turn(character.error_each) {
            put_header_reply(out, Xid(xid), Zxid(1), ErrorCode::NODE_EXISTS);
            return true;
        }
        let start = out.len();
        out.extend_from_slice(&self.data);
        let xid = if self.requests == character.out_of_turn_at { xid + 1 } else { xid };
        out[start + 4..start + 8].copy_from_slice(&xid.to_be_bytes());
        // The path's last digits, before the watch's byte, become the data's first.
        let digits = body.len() - 1 - DIGITS;
        if character.data_len >= DIGITS && !is_turn(character.wrong_each) {
            out[start + 24..start + 24 + DIGITS].copy_from_slice(&body[digits..digits + DIGITS]);
        } else if character.data_len >= DIGITS {
            out[start + 24..start + 24 + DIGITS].copy_from_slice(b"999999999");
        }
        true
    }
}
