//! A client with a session, and the observer of what it is told.
//!
//! It behaves as Apache's: requests are numbered on over all of its connections, what was under way on one that is lost has an
//! unknown outcome and is not sent again, and a new connection begins with setWatches. What it is told is judged at once:
//!
//! - answers come in the order of the requests, and no state is older than one that it has seen;
//! - a write that is answered is the committed transaction of that number, with that outcome;
//! - a read shows exactly the committed state of the zxid that its header says, and behind a `sync` one that is not older than
//!   the newest that anybody had been answered when the `sync` was asked for;
//! - the event of a change comes before any answer that could show the change, of one-shot and of persistent watches, and a
//!   persistent one tells of every change.

use std::collections::{BTreeMap, VecDeque};

use zoo_server::ids::{SessionId, Zxid};
use zoo_server::wire::acl::AclList;
use zoo_server::wire::connect::{ConnectRequest, ConnectResponse};
use zoo_server::wire::error_code::ErrorCode;
use zoo_server::wire::header::{ReplyHeader, RequestHeader, Xid};
use zoo_server::wire::jute::{Put, Reader};
use zoo_server::wire::multi::{MultiOp, encode_multi};
use zoo_server::wire::op::OpCode;
use zoo_server::wire::request::{
    CreateRequest, PathKindRequest, PathVersionRequest, PathWatchRequest, ReconfigRequest, SetDataRequest,
    SetWatchesRequest,
};
use zoo_server::wire::stat::Stat;
use zoo_server::wire::watch_event::{EventType, decode_event};

use crate::ledger::Ledger;
use crate::linear::{Call, What};
use crate::network::StreamId;
use crate::random::Random;

/// Znodes whose data is read and set.
const REGISTERS: u64 = 4;
/// Names over which clients compete with ephemerals.
const LOCKS: u64 = 3;

const DIRECTORIES: [&str; 3] = ["/r", "/e", "/s"];
/// All changes below it are told to those who watch it for good.
const WATCHED_FOR_GOOD: &str = "/r";

/// `CreateMode` by number.
const PERSISTENT: i32 = 0;
const EPHEMERAL: i32 = 1;
const PERSISTENT_SEQUENTIAL: i32 = 2;
const EPHEMERAL_SEQUENTIAL: i32 = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    None,
    /// Since when.
    Connecting(StreamId, u64),
    Open(StreamId),
}

/// A request that is under way.
struct Pending {
    xid: Xid,
    op: OpCode,
    path: String,
    /// Whether it leaves a watch.
    watch: bool,
    /// Of a `sync`: what must be seen behind it.
    barrier: Zxid,
    /// When it was sent, in the order of all moments.
    begun: u64,
}

struct Persistent {
    /// The next of the model's changes that has to be told.
    next: usize,
}

pub struct Client {
    pub number: usize,
    pub link: Link,
    pub session: SessionId,
    password: Vec<u8>,
    pub timeout_ms: i32,
    asked_ms: i32,
    last_zxid: Zxid,
    /// The same as the server said it, which it is told when it is connected to again.
    newest_said: Zxid,
    next_xid: i32,
    pending: VecDeque<Pending>,
    /// Calls under way, by xid; a multi is several.
    calls: BTreeMap<i32, Vec<Call>>,
    /// Reads must not show less.
    floor: Zxid,
    /// When the newest sync of this connection began, once it is answered: what is read behind it is not older.
    synced_since: Option<u64>,
    data_watches: BTreeMap<String, Zxid>,
    child_watches: BTreeMap<String, Zxid>,
    persistent: Option<Persistent>,
    heard: u64,
    said: u64,
    /// It does nothing before.
    pub idle_until: u64,
    next_value: u64,
    /// The versions that it last saw.
    versions: BTreeMap<String, i32>,
    /// Writes that were answered with success.
    pub writes_done: u64,
    pub requests_done: u64,
    pub sessions_lost: u64,
    /// The ephemerals and directories are made by whoever is first.
    has_directories: bool,
    /// In the last phase it neither closes its session nor sleeps.
    pub is_steady: bool,
    /// Makes no more requests.
    pub is_retired: bool,
    /// Waits for the answer of its closeSession.
    is_closing: bool,
    /// Has it, and hears nothing more on this connection.
    is_over: bool,
}

/// What a client wants of the world.
pub enum Wish {
    Connect,
    Send(Vec<u8>),
    HangUp,
}

/// What a client may look at.
pub struct Sight<'a> {
    pub now: u64,
    /// Counts all moments that matter for who was before whom.
    pub moment: u64,
    pub random: &'a mut Random,
    pub ledger: &'a mut Ledger,
    pub history: &'a mut Vec<Call>,
    pub pipelined: usize,
    pub is_alone: bool,
    /// How many servers there are to be members, if clients reconfigure.
    pub reconfigures: Option<u64>,
    pub trace: bool,
}

impl Client {
    pub fn new(number: usize, random: &mut Random) -> Self {
        Self {
            number,
            link: Link::None,
            session: SessionId::NONE,
            password: vec![0; 16],
            timeout_ms: 0,
            asked_ms: 800 + random.below(3000) as i32,
            last_zxid: Zxid::ZERO,
            newest_said: Zxid::ZERO,
            next_xid: 1,
            pending: VecDeque::new(),
            calls: BTreeMap::new(),
            floor: Zxid::ZERO,
            synced_since: None,
            data_watches: BTreeMap::new(),
            child_watches: BTreeMap::new(),
            persistent: None,
            heard: 0,
            said: 0,
            idle_until: 0,
            next_value: 0,
            versions: BTreeMap::new(),
            writes_done: 0,
            requests_done: 0,
            sessions_lost: 0,
            has_directories: false,
            is_steady: false,
            is_retired: false,
            is_closing: false,
            is_over: false,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.link, Link::Open(_))
    }

    pub fn is_quiet(&self) -> bool {
        self.pending.is_empty()
    }

    fn timeout(&self) -> u64 {
        1000 * if self.timeout_ms > 0 { self.timeout_ms } else { self.asked_ms } as u64
    }

    /// It may do something.
    pub fn turn(&mut self, sight: &mut Sight<'_>) -> Vec<Wish> {
        let now = sight.now;
        if now < self.idle_until {
            return Vec::new();
        }
        match self.link {
            Link::None => return vec![Wish::Connect],
            Link::Connecting(_, since) => {
                return if now > since + self.timeout() / 2 { vec![Wish::HangUp] } else { Vec::new() };
            }
            Link::Open(_) => {}
        }
        if self.is_over {
            return vec![Wish::HangUp];
        }
        if now > self.heard + self.timeout() * 2 / 3 && now > self.said {
            return vec![Wish::HangUp];
        }
        if !self.is_steady && !self.is_retired {
            match sight.random.below(400) {
                0 => return vec![Wish::HangUp],
                // Long enough to lose the session, at times.
                1 => {
                    self.idle_until = now + sight.random.below(2 * self.timeout());
                    return Vec::new();
                }
                _ => {}
            }
        }
        let mut wishes = Vec::new();
        if self.pending.len() < sight.pipelined && !self.is_closing && !self.is_retired {
            wishes.push(Wish::Send(self.make_request(sight)));
        }
        if wishes.is_empty() && now > self.said + self.timeout() / 3 {
            wishes.push(Wish::Send(self.request(sight, Xid::PING, OpCode::PING, "", |_| {})));
        }
        wishes
    }

    /// A connection is about to be made: the handshake.
    pub fn connecting(&mut self, stream: StreamId, now: u64) -> Vec<u8> {
        self.link = Link::Connecting(stream, now);
        self.heard = now;
        self.said = now;
        let mut frame = Vec::new();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.newest_said,
            timeout_ms: self.asked_ms,
            session: self.session,
            password: &self.password,
            read_only: Some(false),
        };
        request.encode(&mut frame);
        frame
    }

    /// The connection is gone. What was under way has an unknown outcome.
    pub fn lost(&mut self, history: &mut Vec<Call>) {
        self.link = Link::None;
        self.is_over = false;
        self.pending.clear();
        history.extend(std::mem::take(&mut self.calls).into_values().flatten());
        self.synced_since = None;
        if std::mem::take(&mut self.is_closing) {
            // Whether the session is closed is not known: it is left to itself.
            self.forget_session();
        }
    }

    fn forget_session(&mut self) {
        self.session = SessionId::NONE;
        self.password = vec![0; 16];
        self.timeout_ms = 0;
        self.data_watches.clear();
        self.child_watches.clear();
        self.persistent = None;
    }

    fn request(
        &mut self,
        sight: &mut Sight<'_>,
        xid: Xid,
        op: OpCode,
        path: &str,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Vec<u8> {
        if sight.trace {
            println!("             client {}: asks {} {op} {path}", self.number, xid.0);
        }
        let barrier = if op == OpCode::SYNC { sight.ledger.answered } else { Zxid::ZERO };
        self.pending.push_back(Pending { xid, op, path: path.to_owned(), watch: false, barrier, begun: sight.moment });
        self.said = sight.now;
        let mut frame = Vec::new();
        RequestHeader { xid, op }.encode(&mut frame);
        body(&mut frame);
        frame
    }

    fn write(
        &mut self,
        sight: &mut Sight<'_>,
        op: OpCode,
        path: &str,
        calls: &[(&str, What)],
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Vec<u8> {
        let xid = self.take_xid();
        sight.ledger.requested(self.session, xid.0);
        let call = |(path, what): &(&str, What)| Call {
            path: (*path).to_owned(),
            what: *what,
            begun: sight.moment,
            ended: None,
        };
        self.calls.insert(xid.0, calls.iter().map(call).collect());
        self.request(sight, xid, op, path, body)
    }

    fn read(&mut self, sight: &mut Sight<'_>, op: OpCode, path: &str, watch: bool) -> Vec<u8> {
        let xid = self.take_xid();
        let frame = self.request(sight, xid, op, path, |out| PathWatchRequest { path: path.into(), watch }.encode(out));
        self.pending.back_mut().expect("it was asked for just now").watch = watch;
        frame
    }

    fn take_xid(&mut self) -> Xid {
        let xid = Xid(self.next_xid);
        self.next_xid += 1;
        xid
    }

    fn take_value(&mut self, random: &mut Random) -> Vec<u8> {
        self.next_value += 1;
        let value = (self.number as u64) << 32 | self.next_value;
        let mut data = value.to_be_bytes().to_vec();
        let padding = if random.one_in(8) { random.below(1500) } else { random.below(40) };
        data.resize(8 + padding as usize, self.number as u8);
        data
    }

    fn make_request(&mut self, sight: &mut Sight<'_>) -> Vec<u8> {
        if !self.has_directories {
            // Made one after the other, until all of them are seen to be there.
            let path = DIRECTORIES[sight.random.index(DIRECTORIES.len())];
            if sight.random.one_in(3) {
                self.has_directories =
                    DIRECTORIES.iter().all(|path| sight.ledger.model.at(path, self.last_zxid).is_some());
            }
            return self.create(sight, path, PERSISTENT);
        }
        let register = format!("/r/{}", sight.random.below(REGISTERS));
        match sight.random.below(100) {
            0..20 => {
                let data = self.take_value(sight.random);
                let expected = if sight.random.one_in(3) { self.versions.get(&register).copied() } else { None };
                let what = What::Set { value: value_of(&data), version: expected.map(|version| version + 1) };
                self.write(sight, OpCode::SET_DATA, &register, &[(&register, what)], |out| {
                    let version = expected.unwrap_or(-1);
                    SetDataRequest { path: register.as_str().into(), data: Some(&data), version }.encode(out);
                })
            }
            20..25 => self.create(sight, &register, PERSISTENT),
            25..27 => self.delete(sight, &register),
            27..40 => self.read(sight, OpCode::GET_DATA, &register, false),
            40..48 => {
                let xid = self.take_xid();
                self.request(sight, xid, OpCode::SYNC, &register, |out| out.put_ustring("/"))
            }
            48..56 => {
                let watch = sight.random.one_in(2);
                self.read(sight, OpCode::GET_DATA, &register, watch)
            }
            56..60 => {
                let watch = sight.random.one_in(2);
                self.read(sight, OpCode::EXISTS, &register, watch)
            }
            60..68 => {
                let path = DIRECTORIES[sight.random.index(DIRECTORIES.len())];
                let watch = sight.random.one_in(2);
                self.read(sight, OpCode::GET_CHILDREN2, path, watch)
            }
            68..75 => {
                let lock = format!("/e/{}", sight.random.below(LOCKS));
                self.create(sight, &lock, EPHEMERAL)
            }
            75..79 => {
                let lock = format!("/e/{}", sight.random.below(LOCKS));
                self.delete(sight, &lock)
            }
            79..84 => self.create(sight, "/s/n-", PERSISTENT_SEQUENTIAL),
            84..87 => self.create(sight, "/e/n-", EPHEMERAL_SEQUENTIAL),
            87..90 => {
                let number = sight.random.below(1 + self.next_value);
                self.delete(sight, &format!("/s/n-{number:010}"))
            }
            90..95 => self.multi(sight),
            95..97 if self.persistent.is_none() => {
                let xid = self.take_xid();
                self.request(sight, xid, OpCode::ADD_WATCH, WATCHED_FOR_GOOD, |out| {
                    PathKindRequest { path: WATCHED_FOR_GOOD.into(), kind: 1 }.encode(out);
                })
            }
            97 if !self.is_steady && sight.random.one_in(4) => {
                self.is_closing = true;
                let xid = self.take_xid();
                self.request(sight, xid, OpCode::CLOSE_SESSION, "", |_| {})
            }
            98 if !self.is_steady && sight.reconfigures.is_some() => self.reconfigure(sight),
            _ => self.read(sight, OpCode::GET_DATA, &register, false),
        }
    }

    /// One server joins, changes its role, or leaves.
    fn reconfigure(&mut self, sight: &mut Sight<'_>) -> Vec<u8> {
        let servers = sight.reconfigures.expect("only asked for where it may be");
        let server = sight.random.below(servers);
        let role = match sight.random.below(4) {
            0 => None,
            1 => Some("observer"),
            _ => Some("participant"),
        };
        let joining = role.map(|role| format!("server.{}=h{server}:2888:3888:{role};1", server + 1).into());
        let leaving = role.is_none().then(|| (server + 1).to_string().into());
        let request = ReconfigRequest { joining, leaving, members: None, from_version: -1 };
        self.write(sight, OpCode::RECONFIG, "", &[], |out| request.encode(out))
    }

    fn create(&mut self, sight: &mut Sight<'_>, path: &str, flags: i32) -> Vec<u8> {
        let data = self.take_value(sight.random);
        let op = if sight.random.one_in(2) { OpCode::CREATE } else { OpCode::CREATE2 };
        let call = [(path, What::Create { value: value_of(&data) })];
        self.write(sight, op, path, if is_register(path) { &call } else { &[] }, |out| {
            let request = CreateRequest { path: path.into(), data: Some(&data), acl: AclList::OPEN, flags, ttl_ms: -1 };
            request.encode(op, out);
        })
    }

    fn delete(&mut self, sight: &mut Sight<'_>, path: &str) -> Vec<u8> {
        let call = [(path, What::Delete)];
        self.write(sight, OpCode::DELETE, path, if is_register(path) { &call } else { &[] }, |out| {
            PathVersionRequest { path: path.into(), version: -1 }.encode(out);
        })
    }

    /// Two registers at once, if a third is what it was.
    fn multi(&mut self, sight: &mut Sight<'_>) -> Vec<u8> {
        let (first, second) = (self.take_value(sight.random), self.take_value(sight.random));
        let [one, two, three] = [(); 3].map(|()| format!("/r/{}", sight.random.below(REGISTERS)));
        let version = self.versions.get(&three).copied().unwrap_or(-1);
        let set = |data: &[u8]| What::Set { value: value_of(data), version: None };
        // Of the same znode set twice, only the second value can be read, but both count.
        let calls = [(&*one, set(&first)), (&*two, set(&second))];
        self.write(sight, OpCode::MULTI, "", &calls, |out| {
            let ops = [
                MultiOp::Check(PathVersionRequest { path: three.as_str().into(), version }),
                MultiOp::SetData(SetDataRequest { path: one.as_str().into(), data: Some(&first), version: -1 }),
                MultiOp::SetData(SetDataRequest { path: two.as_str().into(), data: Some(&second), version: -1 }),
                MultiOp::Create(
                    OpCode::CREATE,
                    CreateRequest {
                        path: "/s/n-".into(),
                        data: None,
                        acl: AclList::OPEN,
                        flags: PERSISTENT_SEQUENTIAL,
                        ttl_ms: -1,
                    },
                ),
            ];
            encode_multi(&ops, out);
        })
    }

    /// Bytes of the server: whole frames.
    pub fn received(&mut self, bytes: &[u8], sight: &mut Sight<'_>) -> Result<Vec<Wish>, String> {
        let mut wishes = Vec::new();
        let mut reader = Reader::new(bytes);
        self.heard = sight.now;
        while !reader.is_empty() {
            let frame = reader.buffer().ok().flatten().ok_or("a frame that is not whole")?;
            if self.is_over {
                break;
            }
            if self.is_open() {
                self.answer(frame, sight)?;
            } else if matches!(self.link, Link::Connecting(..)) {
                wishes.extend(self.connected(frame, sight)?);
            }
        }
        Ok(wishes)
    }

    fn connected(&mut self, frame: &[u8], sight: &mut Sight<'_>) -> Result<Option<Wish>, String> {
        let Link::Connecting(stream, _) = self.link else { return Ok(None) };
        let response = ConnectResponse::decode(&mut Reader::new(frame)).map_err(|error| error.to_string())?;
        if response.timeout_ms <= 0 {
            if sight.is_alone && sight.ledger.model.is_live(self.session) {
                return Err(format!("session {} is refused and lives", self.session));
            }
            self.sessions_lost += 1;
            self.forget_session();
            return Ok(Some(Wish::HangUp));
        }
        if !sight.ledger.model.has_been(response.session) {
            return Err(format!("session {} is open and was never committed", response.session));
        }
        let is_back = self.session != SessionId::NONE;
        if is_back && response.session != self.session {
            return Err(format!("session {} was asked for, {} is open", self.session, response.session));
        }
        self.link = Link::Open(stream);
        self.session = response.session;
        self.password = response.password.to_vec();
        self.timeout_ms = response.timeout_ms;
        let has_watches = !self.data_watches.is_empty() || !self.child_watches.is_empty() || self.persistent.is_some();
        if !is_back || !has_watches {
            return Ok(None);
        }
        // Which of the watched znodes were there is what the client knew then.
        let model = &sight.ledger.model;
        let (there, missing): (Vec<&String>, Vec<&String>) = self
            .data_watches
            .iter()
            .map(|(path, seen)| (path, *seen))
            .fold((Vec::new(), Vec::new()), |(mut there, mut missing), (path, seen)| {
                if model.at(path, seen).is_some() {
                    there.push(path)
                } else {
                    missing.push(path)
                }
                (there, missing)
            });
        let request = SetWatchesRequest {
            relative_zxid: self.last_zxid,
            data: there.into_iter().map(|path| path.clone().into()).collect(),
            exist: missing.into_iter().map(|path| path.clone().into()).collect(),
            child: self.child_watches.keys().map(|path| path.clone().into()).collect(),
            persistent: Vec::new(),
            persistent_recursive: self.persistent.iter().map(|_| WATCHED_FOR_GOOD.into()).collect(),
        };
        Ok(Some(Wish::Send(self.request(sight, Xid::SET_WATCHES, OpCode::SET_WATCHES2, "", |out| request.encode(out)))))
    }

    fn answer(&mut self, frame: &[u8], sight: &mut Sight<'_>) -> Result<(), String> {
        let mut reader = Reader::new(frame);
        let mut header = ReplyHeader::decode(&mut reader).map_err(|error| error.to_string())?;
        self.newest_said = self.newest_said.max(header.zxid);
        if header.zxid.0 > 0 && header.zxid.counter() == 0 {
            // The start of an epoch, which is the state of the last transaction before it.
            header.zxid = sight.ledger.last_before(header.zxid);
        }
        if header.xid == Xid::NOTIFICATION {
            if sight.trace {
                println!("             client {}: event of {} {:?}", self.number, header.zxid, &frame[16..]);
            }
            return self.event(header, &mut reader, sight.ledger);
        }
        let Some(pending) = self.pending.pop_front() else {
            return Err(format!("an answer to {} came, and nothing was asked", header.xid.0));
        };
        if pending.xid != header.xid {
            return Err(format!("an answer to {} came before that to {}", header.xid.0, pending.xid.0));
        }
        self.requests_done += 1;
        if sight.trace {
            println!(
                "             client {}: told {} {} {} at {} {:?}",
                self.number, pending.xid.0, pending.op, pending.path, header.zxid, header.err
            );
        }
        if header.err == ErrorCode::SESSION_EXPIRED || header.err == ErrorCode::SESSION_MOVED {
            // Said in passing by a server that is about to close the connection.
            sight.ledger.refused(self.session, header.xid.0)?;
            self.calls.remove(&header.xid.0);
            return Ok(());
        }
        if header.zxid.0 > 0 {
            self.saw(&pending, header.zxid, sight.ledger)?;
        }
        self.judge(&pending, header, &mut reader, sight)
            .map_err(|error| format!("{} of {:?}: {error}", pending.op, pending.path))?;
        if pending.op == OpCode::SYNC && header.err == ErrorCode::OK {
            self.synced_since = Some(pending.begun);
        }
        if pending.op == OpCode::CLOSE_SESSION && header.err == ErrorCode::OK {
            if sight.ledger.model.is_live(self.session) {
                return Err(format!("session {} is said to be closed and lives", self.session));
            }
            self.is_closing = false;
            self.is_over = true;
            self.forget_session();
        }
        Ok(())
    }

    /// An answer shows that the server is at `zxid`: never before what was seen, and never before the event of a change.
    fn saw(&mut self, pending: &Pending, zxid: Zxid, ledger: &Ledger) -> Result<(), String> {
        if zxid > ledger.last() {
            return Err(format!("{} shows {zxid}, {} is committed", pending.op, ledger.last()));
        }
        if zxid < self.last_zxid {
            return Err(format!("{} shows {zxid} behind {}", pending.op, self.last_zxid));
        }
        self.last_zxid = zxid;
        let is_reconnect = pending.op == OpCode::SET_WATCHES2;
        for (path, seen) in &mut self.data_watches {
            if is_reconnect && ledger.model.at(path, *seen).is_none() && ledger.model.at(path, zxid).is_none() {
                // Made and unmade meanwhile: nobody is told of that.
                *seen = zxid;
            }
            if let Some(change) = ledger.model.next_data_change(path, *seen).filter(|change| *change <= zxid) {
                return Err(format!("{} shows {zxid} before the event of {change} at {path}", pending.op));
            }
        }
        for (path, seen) in &self.child_watches {
            if let Some(change) = ledger.model.next_child_change(path, *seen).filter(|change| *change <= zxid) {
                return Err(format!("{} shows {zxid} before the event of {change} below {path}", pending.op));
            }
        }
        if let Some(persistent) = &mut self.persistent {
            if is_reconnect {
                persistent.next = ledger.model.changes.partition_point(|(changed, _)| *changed <= zxid);
            }
            let untold = ledger.model.changes[persistent.next..].iter().take_while(|(changed, _)| *changed <= zxid);
            if let Some((changed, path)) = untold.into_iter().find(|(_, path)| is_watched_for_good(path)) {
                return Err(format!("{} shows {zxid} and {changed} at {path} was not told", pending.op));
            }
        }
        Ok(())
    }

    fn event(&mut self, header: ReplyHeader, reader: &mut Reader<'_>, ledger: &Ledger) -> Result<(), String> {
        let (kind, _, path) = decode_event(reader).map_err(|error| error.to_string())?;
        let is_child = kind == EventType::NodeChildrenChanged as i32;
        let is_delete = kind == EventType::NodeDeleted as i32;
        let mut is_expected = false;
        if header.zxid.0 > 0
            && let Some(persistent) = &mut self.persistent
            && !is_child
            && is_watched_for_good(&path)
        {
            let news = &ledger.model.changes[persistent.next..];
            let next = news.iter().position(|(_, path)| is_watched_for_good(path));
            let Some(next) = next.filter(|next| news[*next] == (header.zxid, path.clone())) else {
                let next = next.map(|next| &news[next]);
                return Err(format!("an event of {} at {path}, where {next:?} is the next change", header.zxid));
            };
            persistent.next += next + 1;
            is_expected = true;
        }
        let from_data = if is_child { None } else { self.data_watches.remove(&path) };
        let from_child = if is_child || is_delete { self.child_watches.remove(&path) } else { None };
        for (seen, change) in [
            from_data.map(|seen| (seen, ledger.model.next_data_change(&path, seen))),
            from_child.map(|seen| (seen, ledger.model.next_child_change(&path, seen))),
        ]
        .into_iter()
        .flatten()
        {
            is_expected = true;
            let Some(change) = change else {
                return Err(format!("an event of {kind} at {path}, where nothing has changed since {seen}"));
            };
            if header.zxid.0 > 0 && change != header.zxid {
                return Err(format!("an event of {} at {path}, which changed with {change}", header.zxid));
            }
        }
        // One for the data watch and one for the child watch of a znode that is gone, to a client that comes back.
        is_expected |= self.pending.front().is_some_and(|pending| pending.op == OpCode::SET_WATCHES2);
        if is_expected || self.pending.iter().any(|pending| pending.watch && pending.path == path) {
            return Ok(());
        }
        if self.pending.iter().any(|pending| pending.op == OpCode::ADD_WATCH) && is_watched_for_good(&path) {
            return Ok(());
        }
        Err(format!("an event of {kind} at {path}, which is not watched"))
    }

    fn judge(
        &mut self,
        pending: &Pending,
        header: ReplyHeader,
        reader: &mut Reader<'_>,
        sight: &mut Sight<'_>,
    ) -> Result<(), String> {
        let (op, path, zxid, err) = (pending.op, &*pending.path, header.zxid, header.err);
        let undecodable = |error: zoo_server::wire::jute::DecodeError| error.to_string();
        let is_read = matches!(op, OpCode::GET_DATA | OpCode::EXISTS | OpCode::GET_CHILDREN2);
        if is_read {
            if zxid < self.floor {
                return Err(format!("{zxid} is shown behind a sync, {} had been answered before it", self.floor));
            }
            let node = sight.ledger.model.at(path, zxid);
            let synced_since = self.synced_since.filter(|_| op == OpCode::GET_DATA && is_register(path));
            let mut read = None;
            match (node, err) {
                (None, ErrorCode::NO_NODE) => {}
                (Some(node), ErrorCode::OK) => {
                    if op == OpCode::GET_DATA {
                        let data = reader.buffer().map_err(undecodable)?;
                        if data != node.data.as_deref() {
                            return Err(format!("other data than those of {zxid}"));
                        }
                        read = data.map(|data| (value_of(data), 0));
                    }
                    if op == OpCode::GET_CHILDREN2 {
                        let names = reader.ustrings().map_err(undecodable)?;
                        let names: std::collections::BTreeSet<&str> = names.iter().map(|name| &**name).collect();
                        if names != sight.ledger.model.children_at(path, zxid) {
                            return Err(format!("other children than those of {zxid}"));
                        }
                    }
                    let stat = Stat::decode(reader).map_err(undecodable)?;
                    if !node.is(&stat) {
                        return Err(format!("at {zxid} it has to be {node:?} and is {stat:?}"));
                    }
                    self.versions.insert(path.to_owned(), stat.version);
                    read = read.map(|(value, _)| (value, stat.version));
                }
                (node, err) => return Err(format!("{err:?} at {zxid}, where it is {node:?}")),
            }
            if let Some(begun) = synced_since {
                let (path, what) = (path.to_owned(), What::Read(read));
                sight.history.push(Call { path, what, begun, ended: Some(sight.moment) });
            }
            let is_left = pending.watch && (err == ErrorCode::OK || op == OpCode::EXISTS);
            if is_left {
                let watches =
                    if op == OpCode::GET_CHILDREN2 { &mut self.child_watches } else { &mut self.data_watches };
                watches.insert(path.to_owned(), zxid);
            }
            return Ok(());
        }
        match op {
            OpCode::SYNC => {
                self.floor = self.floor.max(pending.barrier);
                return Ok(());
            }
            OpCode::ADD_WATCH if err == ErrorCode::OK => {
                let next = sight.ledger.model.changes.partition_point(|(changed, _)| *changed <= zxid);
                self.persistent.get_or_insert(Persistent { next });
                return Ok(());
            }
            OpCode::PING | OpCode::ADD_WATCH | OpCode::SET_WATCHES2 | OpCode::CLOSE_SESSION => return Ok(()),
            _ => {}
        }
        // A write.
        let calls = self.calls.remove(&header.xid.0);
        if err == ErrorCode::SYSTEM_ERROR {
            // The disk is full.
            return sight.ledger.refused(self.session, header.xid.0);
        }
        let Some(entry) = sight.ledger.find(zxid) else { return Err(format!("{zxid} is answered and not committed")) };
        if (entry.session, entry.cxid) != (self.session, header.xid.0) {
            return Err(format!("{zxid} is answered, which is request {} of {}", entry.cxid, entry.session));
        }
        if entry.err != err && op != OpCode::MULTI {
            return Err(format!("{err:?} is answered, {zxid} is {:?}", entry.err));
        }
        let is_done = err == ErrorCode::OK && entry.err == ErrorCode::OK;
        let made = entry.created.clone();
        sight.ledger.answered = sight.ledger.answered.max(zxid);
        if !is_done {
            return Ok(());
        }
        self.writes_done += 1;
        let mut is_shown = Ok(());
        match op {
            OpCode::CREATE | OpCode::CREATE2 => {
                let created = reader.ustring().map_err(undecodable)?;
                if Some(&*created) != made.as_deref() {
                    return Err(format!("{created} is answered, {zxid} made {made:?}"));
                }
                if op == OpCode::CREATE2 {
                    is_shown = self.check_stat(&created, zxid, reader, sight.ledger);
                }
            }
            OpCode::SET_DATA => is_shown = self.check_stat(path, zxid, reader, sight.ledger),
            _ => {}
        }
        let answered = self.versions.get(path).copied().filter(|_| op == OpCode::SET_DATA);
        for mut call in calls.unwrap_or_default() {
            call.ended = Some(sight.moment);
            if let What::Set { version, .. } = &mut call.what {
                *version = answered.or(*version);
            }
            sight.history.push(call);
        }
        is_shown
    }

    fn check_stat(&mut self, path: &str, zxid: Zxid, reader: &mut Reader<'_>, ledger: &Ledger) -> Result<(), String> {
        let stat = Stat::decode(reader).map_err(|error| error.to_string())?;
        self.versions.insert(path.to_owned(), stat.version);
        match ledger.model.at(path, zxid) {
            Some(node) if node.is(&stat) => Ok(()),
            node => Err(format!("behind {zxid} it has to be {node:?} and is {stat:?}")),
        }
    }
}

fn is_watched_for_good(path: &str) -> bool {
    path == WATCHED_FOR_GOOD || path.strip_prefix(WATCHED_FOR_GOOD).is_some_and(|rest| rest.starts_with('/'))
}

fn is_register(path: &str) -> bool {
    path.starts_with("/r/")
}

fn value_of(data: &[u8]) -> u64 {
    data.first_chunk().map_or(0, |value| u64::from_be_bytes(*value))
}
