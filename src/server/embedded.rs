//! A server inside a program: start it, use it, pull its plug, start it again.
//!
//! ```
//! use zoo_server::server::ZookeeperServer;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let mut server = ZookeeperServer::new(folder.path());
//! server.start()?;
//!
//! server.create("/config", b"one")?;
//! let stat = server.set("/config", b"two", 0)?;
//! assert_eq!(stat.version, 1);
//! assert!(server.set("/config", b"three", 0).is_err(), "a stale writer is refused");
//!
//! // As by power loss: what was acknowledged is there when the server is back.
//! server.crash();
//! server.start()?;
//! let (data, stat) = server.get("/config")?;
//! assert_eq!((data.as_slice(), stat.version), (b"two".as_slice(), 1));
//!
//! server.stop();
//! # Ok(())
//! # }
//! ```
//!
//! Or several that form an ensemble, each with a folder of its own:
//!
//! ```
//! use zoo_server::server::ZookeeperServer;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let mut ensemble = ZookeeperServer::ensemble(folder.path(), 3)?;
//! ensemble.start()?;
//!
//! ensemble.member(0).create("/config", b"one")?;
//! assert_eq!(ensemble.member(1).get("/config")?.0, b"one", "whoever is asked");
//!
//! // One loses its power. The others are enough, and send it what it missed when it is back.
//! ensemble.member(2).crash();
//! ensemble.member(0).set("/config", b"two", 0)?;
//! ensemble.member(2).start()?;
//! assert_eq!(ensemble.member(2).get("/config")?.0, b"two");
//!
//! // The leader steps down, and another one takes over with all that was acknowledged.
//! let before = ensemble.leader()?;
//! let after = ensemble.election()?;
//! assert_ne!(before, after);
//! assert_eq!(ensemble.member(before).get("/config")?.0, b"two");
//! ensemble.member(before).set("/config", b"three", 1)?;
//!
//! ensemble.stop();
//! # Ok(())
//! # }
//! ```

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::ids::{ServerId, SessionId, Zxid};
use crate::quorum::{HostPort, MEMBERS_MAX, Member, Membership, PeerAddress, PeerType, Quorums};
use crate::rt::listener::Listener;
use crate::rt::{clock, process};
use crate::wire::acl::AclList;
use crate::wire::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use crate::wire::error_code::ErrorCode;
use crate::wire::header::{ReplyHeader, RequestHeader, Xid};
use crate::wire::jute::{DecodeError, Put, Reader, put_frame};
use crate::wire::op::OpCode;
use crate::wire::request::{CreateRequest, PathVersionRequest, PathWatchRequest, SetDataRequest};
use crate::wire::stat::Stat;

use super::node::{Server, ServerFailed, StartError};
use super::options::{EnsembleOptions, Options};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The session timeout asked for, in milliseconds.
const SESSION_TIMEOUT_MS: i32 = 30_000;

/// The longest answer that is taken: data of a znode is bounded far below.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How long an ensemble may take to have a leader.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks whether it has.
const ELECTION_PAUSE: Duration = Duration::from_millis(20);

/// Ports of members are chosen from here: below those that the system gives to connections.
const PORTS: Range<u16> = 20_000..32_000;

/// Why a call failed.
#[derive(Debug, Error)]
pub enum CallError {
    /// [`ZookeeperServer::start`] has not been called, or the server was stopped or crashed.
    #[error("the server is not running")]
    NotRunning,
    /// The server refused, for instance with [`ErrorCode::BAD_VERSION`].
    #[error("{0}")]
    Refused(ErrorCode),
    /// The server has ended by itself; it can be started again.
    #[error("the server has ended by itself: {0}")]
    Ended(#[from] ServerFailed),
    /// The connection to the server failed.
    #[error("connection to the server: {0}")]
    Connection(#[from] io::Error),
    /// No server of the ensemble leads.
    #[error("no server of the ensemble leads")]
    NoLeader,
    /// A server could not be started again.
    #[error(transparent)]
    Start(Box<StartError>),
    /// The server's answer could not be understood.
    #[error("answer of the server: {0}")]
    Answer(#[from] DecodeError),
}

/// A server in this process, on a port of the loopback that the system chooses. See the module's page.
pub struct ZookeeperServer {
    folder: PathBuf,
    /// Which member of an ensemble it is; `None` if it is alone.
    member: Option<(ServerId, Arc<Membership>)>,
    running: Option<Running>,
}

struct Running {
    server: Server,
    client: Option<Client>,
}

impl ZookeeperServer {
    /// A server that keeps its data in `folder`, which is made if it is not there. Does not start it.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self { folder: folder.as_ref().to_owned(), member: None, running: None }
    }

    /// `count` servers that are to form an ensemble over the loopback, each with its data in a folder below `folder`. Does not start
    /// them.
    ///
    /// # Errors
    /// If there are not enough free ports.
    ///
    /// # Panics
    /// With no server, or more than 255.
    pub fn ensemble(folder: impl AsRef<Path>, count: usize) -> Result<Ensemble, CallError> {
        assert!((1..=MEMBERS_MAX).contains(&count), "an ensemble of {count} servers");
        let ports = free_ports(2 * count)?;
        let host = |port| HostPort { host: "127.0.0.1".to_owned(), port };
        let members = ports.chunks_exact(2).zip(1..).map(|(ports, id)| {
            let addresses = vec![PeerAddress { quorum: host(ports[0]), election: host(ports[1]) }];
            let peer_type = PeerType::Participant;
            (ServerId(id), Member { id: ServerId(id), addresses, peer_type, client: None, secure_client: None })
        });
        let membership =
            Membership::new(members.collect(), Quorums::Majority, 0).expect("participants with ports of their own");
        let membership = Arc::new(membership);
        let members = membership.members.keys().map(|id| Self {
            folder: folder.as_ref().join(id.0.to_string()),
            member: Some((*id, membership.clone())),
            running: None,
        });
        Ok(Ensemble { members: members.collect() })
    }

    /// Starts it: recovers what the folder holds, and serves. Does nothing if it runs.
    ///
    /// # Errors
    /// If the folder cannot be used, is used by another server, or holds damaged data, or io_uring is not to be had.
    pub fn start(&mut self) -> Result<(), StartError> {
        if self.running.is_none() {
            let server = Server::start(self.options())?;
            self.running = Some(Running { server, client: None });
        }
        Ok(())
    }

    fn options(&self) -> Options {
        let mut options = Options::in_folder(&self.folder);
        if let Some((id, membership)) = &self.member {
            options.server_id = *id;
            options.ensemble = Some(EnsembleOptions::new(*id, membership.clone()));
        }
        options
    }

    /// Whether it leads, as it says itself.
    fn is_leading(&self) -> bool {
        let ask = || -> io::Result<String> {
            let address = self.address().map_err(io::Error::other)?;
            let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            stream.write_all(b"srvr")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.lines().any(|line| line == "Mode: leader"))
    }

    /// Where clients of any kind can connect.
    ///
    /// # Errors
    /// [`CallError::NotRunning`].
    pub fn address(&self) -> Result<SocketAddr, CallError> {
        self.running.as_ref().map(|running| running.server.address()).ok_or(CallError::NotRunning)
    }

    /// Makes a persistent znode that everybody may use; durable when this returns.
    ///
    /// # Errors
    /// [`ErrorCode::NODE_EXISTS`], [`ErrorCode::NO_NODE`] if the parent is missing, and others.
    pub fn create(&mut self, path: &str, data: &[u8]) -> Result<Stat, CallError> {
        let request = CreateRequest { path: path.into(), data: Some(data), acl: AclList::OPEN, flags: 0, ttl_ms: -1 };
        self.call(
            OpCode::CREATE2,
            |out| request.encode(OpCode::CREATE2, out),
            |body| {
                body.ustring()?;
                Stat::decode(body)
            },
        )
    }

    /// Replaces a znode's data if it has `version` (-1: any); durable when this returns.
    ///
    /// # Errors
    /// [`ErrorCode::BAD_VERSION`], [`ErrorCode::NO_NODE`], and others.
    pub fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat, CallError> {
        let request = SetDataRequest { path: path.into(), data: Some(data), version };
        self.call(OpCode::SET_DATA, |out| request.encode(out), Stat::decode)
    }

    /// A znode's data and numbers. A member of an ensemble catches up with its leader first, so what was acknowledged by any member
    /// before is seen.
    ///
    /// # Errors
    /// [`ErrorCode::NO_NODE`], and others.
    pub fn get(&mut self, path: &str) -> Result<(Vec<u8>, Stat), CallError> {
        if self.member.is_some() {
            self.call(OpCode::SYNC, |out| out.put_ustring(path), |_| Ok(()))?;
        }
        let request = PathWatchRequest { path: path.into(), watch: false };
        self.call(
            OpCode::GET_DATA,
            |out| request.encode(out),
            |body| Ok((body.buffer()?.unwrap_or_default().to_vec(), Stat::decode(body)?)),
        )
    }

    /// Removes a znode without children if it has `version` (-1: any); durable when this returns.
    ///
    /// # Errors
    /// [`ErrorCode::NOT_EMPTY`], [`ErrorCode::NO_NODE`], and others.
    pub fn delete(&mut self, path: &str, version: i32) -> Result<(), CallError> {
        let request = PathVersionRequest { path: path.into(), version };
        self.call(OpCode::DELETE, |out| request.encode(out), |_| Ok(()))
    }

    /// Ends it as a power failure would: what was not durable is gone, nothing is finished. It can be started again.
    pub fn crash(&mut self) {
        if let Some(running) = self.running.take() {
            running.server.crash();
        }
    }

    /// Ends it in order: what was accepted is finished.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            drop(running.client);
            running.server.stop();
        }
    }

    /// If the server has failed, that is why a call did.
    fn call<T>(
        &mut self,
        op: OpCode,
        encode: impl FnOnce(&mut Vec<u8>),
        decode: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, CallError> {
        let called = self.try_call(op, encode, decode);
        if called.is_err()
            && let Some(running) = self.running.take_if(|running| running.server.has_ended())
        {
            running.server.wait()?;
        }
        called
    }

    fn try_call<T>(
        &mut self,
        op: OpCode,
        encode: impl FnOnce(&mut Vec<u8>),
        decode: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, CallError> {
        let is_member = self.member.is_some();
        let running = self.running.as_mut().ok_or(CallError::NotRunning)?;
        let mut client = match running.client.take().filter(Client::is_connected) {
            Some(client) => client,
            None if is_member => Client::connect_patiently(running.server.address())?,
            None => Client::connect(running.server.address())?,
        };
        let answer = client.call(op, encode)?;
        running.client = Some(client);
        let mut reader = Reader::new(&answer);
        let header = ReplyHeader::decode(&mut reader)?;
        if header.err != ErrorCode::OK {
            return Err(CallError::Refused(header.err));
        }
        Ok(decode(&mut reader)?)
    }
}

/// Servers in this process that form an ensemble. See the module's page.
pub struct Ensemble {
    members: Vec<ZookeeperServer>,
}

impl Ensemble {
    /// Starts those that do not run. They elect a leader; calls wait for it.
    ///
    /// # Errors
    /// As [`ZookeeperServer::start`].
    pub fn start(&mut self) -> Result<(), StartError> {
        self.members.iter_mut().try_for_each(ZookeeperServer::start)
    }

    /// How many there are, running or not.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none, which never is so.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// One of them, counted from 0.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn member(&mut self, index: usize) -> &mut ZookeeperServer {
        &mut self.members[index]
    }

    /// Which one leads; waits until one does.
    ///
    /// # Errors
    /// [`CallError::NoLeader`] if too few run, or they cannot agree.
    pub fn leader(&self) -> Result<usize, CallError> {
        let deadline = clock::now() + ELECTION_TIMEOUT;
        loop {
            if let Some(leader) = self.members.iter().position(ZookeeperServer::is_leading) {
                return Ok(leader);
            }
            if clock::now() >= deadline {
                return Err(CallError::NoLeader);
            }
            thread::sleep(ELECTION_PAUSE);
        }
    }

    /// The leader steps down: it is ended in order, the others elect one of themselves, and it comes back and follows. Which one
    /// leads then.
    ///
    /// # Errors
    /// [`CallError::NoLeader`] if those that run are not enough without their leader, which then is started again all the same.
    pub fn election(&mut self) -> Result<usize, CallError> {
        let before = self.leader()?;
        self.members[before].stop();
        let after = self.leader();
        self.members[before].start().map_err(|error| CallError::Start(Box::new(error)))?;
        after
    }

    /// Ends all of them in order.
    pub fn stop(&mut self) {
        self.members.iter_mut().for_each(ZookeeperServer::stop);
    }
}

/// Ports of the loopback where nobody listens.
fn free_ports(count: usize) -> Result<Vec<u16>, CallError> {
    let mut taken = Vec::new();
    let first = process::random() % PORTS.len() as u64;
    for step in 0..PORTS.len() as u64 {
        if taken.len() == count {
            break;
        }
        let port = PORTS.start + ((first + step) % PORTS.len() as u64) as u16;
        taken.extend(Listener::bind(SocketAddr::from(([127, 0, 0, 1], port)), 1).ok());
    }
    if taken.len() < count {
        return Err(CallError::Connection(io::ErrorKind::AddrInUse.into()));
    }
    Ok(taken.iter().map(|listener| listener.local_addr().port()).collect())
}

impl Drop for ZookeeperServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One session, one request at a time. A failed call gives it up; the next call opens another.
#[derive(Debug)]
struct Client {
    stream: TcpStream,
    xid: i32,
}

impl Client {
    fn connect(address: SocketAddr) -> Result<Self, CallError> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let mut client = Self { stream, xid: 0 };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: SESSION_TIMEOUT_MS,
            session: SessionId::NONE,
            password: &[0; PASSWORD_LEN],
            read_only: Some(false),
        };
        client.send(|out| request.encode(out))?;
        let answer = client.receive()?;
        let response = ConnectResponse::decode(&mut Reader::new(&answer))?;
        if response.timeout_ms <= 0 {
            return Err(CallError::Refused(ErrorCode::SESSION_EXPIRED));
        }
        Ok(client)
    }

    /// As [`Client::connect`], again and again while the server has no leader, and so closes the connection.
    fn connect_patiently(address: SocketAddr) -> Result<Self, CallError> {
        let deadline = clock::now() + ELECTION_TIMEOUT;
        loop {
            match Self::connect(address) {
                Err(CallError::Connection(_)) if clock::now() < deadline => thread::sleep(ELECTION_PAUSE),
                connected => return connected,
            }
        }
    }

    /// Whether the server has not ended the session, which it does when nothing was asked for its timeout.
    fn is_connected(&self) -> bool {
        let peek = || {
            self.stream.set_nonblocking(true)?;
            let peeked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false)?;
            peeked
        };
        peek().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn call(&mut self, op: OpCode, encode: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<u8>, CallError> {
        self.xid = self.xid.wrapping_add(1).max(1);
        let header = RequestHeader { xid: Xid(self.xid), op };
        self.send(|out| {
            header.encode(out);
            encode(out);
        })?;
        self.receive()
    }

    fn send(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), CallError> {
        let mut out = Vec::new();
        put_frame(&mut out, fill);
        Ok(self.stream.write_all(&out)?)
    }

    fn receive(&mut self) -> Result<Vec<u8>, CallError> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len)?;
        let len = i32::from_be_bytes(len);
        let len_bytes = usize::try_from(len).ok().filter(|len| *len <= ANSWER_BYTES_MAX);
        let mut answer = vec![0; len_bytes.ok_or(DecodeError::BadLength(len))?];
        self.stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::message::{Ask, ConnectionId, Question, ShardBatch, ShardItem, Write};
    use crate::server::shard::ToReplicaInbox;

    /// A part of the server is made to panic. The next call says so at once, and a new start has all that was acknowledged.
    fn lose<T>(part: &str, options: impl FnOnce(&mut Options), panic: impl FnOnce(&Server) -> T) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = ZookeeperServer::new(folder.path());
        server.start().expect("starts");
        server.create("/before", b"kept").expect("made");
        server.stop();
        let mut faulty = server.options();
        options(&mut faulty);
        server.running = Some(Running { server: Server::start(faulty).expect("starts"), client: None });
        // The one connection: slot 0, first use.
        server.get("/before").expect("there");
        let _cause = panic(&server.running.as_ref().expect("runs").server);
        let begin = clock::now();
        let error = loop {
            match server.set("/before", b"kept", -1) {
                Ok(_) => assert!(clock::now().since(begin) < ANSWER_TIMEOUT, "the server never noticed"),
                Err(error) => break error,
            }
        };
        assert!(clock::now().since(begin) < ANSWER_TIMEOUT, "not by waiting in vain");
        assert!(matches!(&error, CallError::Ended(ServerFailed::Panicked(name)) if name == part), "{error}");
        assert!(matches!(server.get("/before"), Err(CallError::NotRunning)));
        server.start().expect("starts again");
        assert_eq!(server.get("/before").expect("there").0, b"kept");
    }

    fn tell_replica(server: &Server, item: ShardItem, bodies: Vec<u8>) {
        let batch = ShardBatch { bodies, items: vec![item] };
        assert!(server.replica_inbox().send_blocking(ToReplicaInbox::Shard(batch)).is_ok(), "the replica lives");
    }

    #[test]
    fn a_shard_that_panics_ends_the_server() {
        lose(
            "zoo-shard-0",
            |_| (),
            |server| {
                // Answered to a connection that asked nothing: the second.
                let idle = Client::connect(server.address()).expect("connects");
                let mut path = Vec::new();
                path.put_ustring("/");
                let write = Write {
                    connection: ConnectionId { shard: 0, slot: 1, generation: 1 },
                    session: SessionId::NONE,
                    xid: Xid(1),
                    op: OpCode::SYNC,
                    identities: Vec::new().into(),
                    body: 0..path.len(),
                    after_read: false,
                };
                tell_replica(server, ShardItem::Write(write), path);
                idle
            },
        );
    }

    #[test]
    fn a_replica_that_panics_ends_the_server() {
        lose(
            "zoo-replica",
            |_| (),
            |server| {
                // Asked by a shard that is not there.
                let ask = Ask { shard: 200, ticket: 1, question: Question::Stats };
                tell_replica(server, ShardItem::Ask(ask), Vec::new());
            },
        );
    }

    #[test]
    fn a_log_that_panics_ends_the_server() {
        lose("zoo-log", |options| options.fault = Some("panic:40".parse().expect("a fault")), |_| ());
    }

    #[test]
    fn a_disk_that_fails_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = ZookeeperServer::new(folder.path());
        let mut faulty = server.options();
        faulty.fault = Some("write:40".parse().expect("a fault"));
        server.running = Some(Running { server: Server::start(faulty).expect("starts"), client: None });
        let error = (0..1000).find_map(|number| server.create(&format!("/{number}"), b"").err()).expect("fails");
        assert!(matches!(&error, CallError::Ended(ServerFailed::Disk(_))), "{error}");
        server.start().expect("starts again");
    }
}
