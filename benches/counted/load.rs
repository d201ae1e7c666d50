//! A load that is the same every time: every connection sends a burst of requests with one write, then every connection takes its
//! answers, and so on. Slow on purpose: between two bursts nothing is under way.

use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::ValueEnum;
use zoo_server::ids::{SessionId, Zxid};
use zoo_server::wire::acl::AclList;
use zoo_server::wire::connect::{ConnectRequest, PASSWORD_LEN};
use zoo_server::wire::error_code::ErrorCode;
use zoo_server::wire::header::{ReplyHeader, RequestHeader, Xid};
use zoo_server::wire::jute::{Reader, put_frame};
use zoo_server::wire::op::OpCode;
use zoo_server::wire::request::{CreateRequest, PathWatchRequest, SetDataRequest};

use super::parts::DATA_LEN;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    server: SocketAddr,
    #[arg(long)]
    kind: Kind,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Requests of a burst, on each connection.
    #[arg(long, default_value_t = 32)]
    outstanding: usize,
    #[arg(long, default_value_t = 20)]
    bursts: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Get,
    Set,
}

struct Connection {
    stream: TcpStream,
    xid: i32,
    output: Vec<u8>,
    input: Vec<u8>,
}

impl Connection {
    fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut this = Self { stream, xid: 0, output: Vec::new(), input: Vec::new() };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 30_000,
            session: SessionId::NONE,
            password: &[0; PASSWORD_LEN],
            read_only: Some(false),
        };
        put_frame(&mut this.output, |out| request.encode(out));
        this.send()?;
        this.frames(1, |_| Ok(()))?;
        Ok(this)
    }

    fn push(&mut self, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) {
        self.xid += 1;
        let xid = Xid(self.xid);
        put_frame(&mut self.output, |out| {
            RequestHeader { xid, op }.encode(out);
            body(out);
        });
    }

    fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    /// Takes so many frames.
    fn frames(&mut self, count: usize, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut left = count;
        let mut chunk = [0; 1 << 16];
        while left > 0 {
            let mut at = 0;
            while let Some(head) = self.input[at..].first_chunk() {
                let end = at + 4 + i32::from_be_bytes(*head) as usize;
                let Some(frame) = self.input.get(at + 4..end) else { break };
                each(frame)?;
                left -= 1;
                at = end;
            }
            self.input.drain(..at);
            if left > 0 {
                match self.stream.read(&mut chunk)? {
                    0 => return Err(io::Error::other("the server ended the connection")),
                    len => self.input.extend_from_slice(&chunk[..len]),
                }
            }
        }
        Ok(())
    }

    /// Takes so many answers, all of them good.
    fn answers(&mut self, count: usize, may: ErrorCode) -> io::Result<()> {
        self.frames(count, |frame| {
            let header = ReplyHeader::decode(&mut Reader::new(frame)).map_err(io::Error::other)?;
            if header.err == ErrorCode::OK || header.err == may {
                Ok(())
            } else {
                Err(io::Error::other(format!("an answer with error {}", header.err.0)))
            }
        })
    }
}

fn name(connection: usize, request: usize) -> String {
    format!("/counts-{connection}-{request}")
}

fn burst(connections: &mut [Connection], args: &Args) -> io::Result<()> {
    let data = [8; DATA_LEN];
    for (number, connection) in connections.iter_mut().enumerate() {
        for request in 0..args.outstanding {
            let path = name(number, request);
            match args.kind {
                Kind::Get => {
                    let request = PathWatchRequest { path: path.into(), watch: false };
                    connection.push(OpCode::GET_DATA, |out| request.encode(out));
                }
                Kind::Set => {
                    let request = SetDataRequest { path: path.into(), data: Some(&data), version: -1 };
                    connection.push(OpCode::SET_DATA, |out| request.encode(out));
                }
            }
        }
        connection.send()?;
    }
    connections.iter_mut().try_for_each(|connection| connection.answers(args.outstanding, ErrorCode::OK))
}

fn create(connections: &mut [Connection], args: &Args) -> io::Result<()> {
    let data = [7; DATA_LEN];
    for (number, connection) in connections.iter_mut().enumerate() {
        for request in 0..args.outstanding {
            let path = name(number, request);
            let request =
                CreateRequest { path: path.into(), data: Some(&data), acl: AclList::OPEN, flags: 0, ttl_ms: -1 };
            connection.push(OpCode::CREATE, |out| request.encode(OpCode::CREATE, out));
        }
        connection.send()?;
        connection.answers(args.outstanding, ErrorCode::NODE_EXISTS)?;
    }
    Ok(())
}

/// Says that it is so far, and waits for a line.
fn stand_by(word: &str) -> io::Result<()> {
    println!("{word}");
    io::stdout().flush()?;
    io::stdin().lock().read_line(&mut String::new()).map(drop)
}

pub(crate) fn run(args: &Args) {
    let load = || -> io::Result<()> {
        let mut connections =
            (0..args.connections).map(|_| Connection::open(args.server)).collect::<io::Result<Vec<_>>>()?;
        create(&mut connections, args)?;
        (0..3).try_for_each(|_| burst(&mut connections, args))?;
        stand_by("ready")?;
        (0..args.bursts).try_for_each(|_| burst(&mut connections, args))?;
        stand_by("done")
    };
    load().unwrap_or_else(|error| panic!("the load failed: {error}"));
}
