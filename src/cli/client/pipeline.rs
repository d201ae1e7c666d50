//! Raw requests, many at once: for those who generate load or have to say exactly what goes out.
//!
//! No thread, no reconnection, no watches: push requests, send them with one write, read what has come with one read. Answers
//! come in the order of the requests; events come between them.
//!
//! ```text
//!   let mut pipe = Pipeline::connect(&host, Duration::from_secs(30), None)?;
//!   for path in paths { pipe.push(OpCode::EXISTS, |out| request(path).encode(out)); }
//!   pipe.send()?;
//!   while pipe.outstanding() > 0 { pipe.receive(|header, body| ...)?; }
//! ```

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::connection::connect;
use super::frames::FrameReader;
use super::hosts::HostPort;
use crate::ids::{SessionId, Zxid};
use crate::wire::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN, Password};
use crate::wire::header::{ReplyHeader, RequestHeader, Xid};
use crate::wire::jute::{DecodeError, Reader, put_frame};
use crate::wire::op::OpCode;

/// A connection with a session on it.
#[derive(Debug)]
pub struct Pipeline {
    stream: TcpStream,
    frames: FrameReader,
    out: Vec<u8>,
    next_xid: i32,
    outstanding: usize,
    session: SessionId,
    password: Password,
    timeout: Duration,
}

impl Pipeline {
    /// Connects and opens a session, or goes on with `session`. The session has to be kept alive by requests or
    /// [`ping`](Self::ping).
    pub fn connect(host: &HostPort, timeout: Duration, session: Option<(SessionId, Password)>) -> io::Result<Self> {
        let mut stream = connect(host, timeout)?;
        stream.set_nodelay(true)?;
        let (session, password) = session.unwrap_or((SessionId::NONE, [0; PASSWORD_LEN]));
        let mut out = Vec::new();
        put_frame(&mut out, |out| {
            ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: Zxid::ZERO,
                timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
                session,
                password: &password,
                read_only: Some(false),
            }
            .encode(out);
        });
        stream.write_all(&out)?;
        out.clear();
        let mut frames = FrameReader::new();
        let response = loop {
            if let Some(frame) = frames.next_frame()? {
                break ConnectResponse::decode(&mut Reader::new(frame)).map_err(invalid)?;
            }
            if frames.fill(&mut stream)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        match u64::try_from(response.timeout_ms) {
            Ok(timeout_ms) if timeout_ms > 0 => Ok(Self {
                stream,
                frames,
                out,
                next_xid: 1,
                outstanding: 0,
                session: response.session,
                password: response.password,
                timeout: Duration::from_millis(timeout_ms),
            }),
            _ => Err(io::Error::new(ErrorKind::PermissionDenied, "the session has expired, or its password is wrong")),
        }
    }

    /// The session and its password, to go on with it on another connection.
    pub const fn session(&self) -> (SessionId, Password) {
        (self.session, self.password)
    }

    /// The session timeout that the server granted.
    pub const fn session_timeout(&self) -> Duration {
        self.timeout
    }

    /// The socket, for its options.
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Requests sent or pushed whose answers have not been read.
    pub const fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Adds a request to what the next [`send`](Self::send) writes.
    pub fn push(&mut self, op: OpCode, fill: impl FnOnce(&mut Vec<u8>)) -> Xid {
        let xid = Xid(self.next_xid);
        self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
        self.push_as(xid, op, fill);
        xid
    }

    /// Adds a ping, whose answer is not told of.
    pub fn ping(&mut self) {
        self.push_as(Xid::PING, OpCode::PING, |_| {});
    }

    fn push_as(&mut self, xid: Xid, op: OpCode, fill: impl FnOnce(&mut Vec<u8>)) {
        put_frame(&mut self.out, |out| {
            RequestHeader { xid, op }.encode(out);
            fill(out);
        });
        self.outstanding += 1;
    }

    /// Writes all that was pushed.
    pub fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Waits for bytes, once, and hands over every whole answer and event: its header and its body. Returns how many answers
    /// there were (events and pings are none).
    pub fn receive(&mut self, mut each: impl FnMut(&ReplyHeader, &[u8])) -> io::Result<usize> {
        if self.frames.fill(&mut self.stream)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut answers = 0;
        while let Some(frame) = self.frames.next_frame()? {
            let mut reader = Reader::new(frame);
            let header = ReplyHeader::decode(&mut reader).map_err(invalid)?;
            if header.xid != Xid::NOTIFICATION {
                self.outstanding = self.outstanding.saturating_sub(1);
            }
            if header.xid == Xid::PING {
                continue;
            }
            answers += usize::from(header.xid != Xid::NOTIFICATION);
            each(&header, reader.rest());
        }
        Ok(answers)
    }
}

fn invalid(error: DecodeError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
