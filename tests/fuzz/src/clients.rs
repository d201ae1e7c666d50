//! Clients that send whatever they like, against what must hold all the same: answers are well formed, a record is logged if
//! and only if a zxid was consumed, and the records replay into another tree to the same digest and the same znodes.
//!
//! ```text
//! input:  u8 options | steps
//! step:   u8 (bits 0-1: which connection; bits 2-5: 13 time goes by, 14 a batch ends, 15 the connection is lost, others: a frame)
//! frame:  u16 length | bytes, as they come behind the length on the wire
//! ```
//!
//! The first two connections have a session from the start. A run depends on its input alone.

use std::collections::BTreeMap;

use zoo_server::ids::{ServerId, SessionId, Zxid};
use zoo_server::pipeline::auth::{self, add_identity, authenticate, ip_identity};
use zoo_server::pipeline::read::{Asker, answer, is_read};
use zoo_server::pipeline::{self, Done, Options, Pipeline, Reopened, Request, Sink};
use zoo_server::session::{Owner, Sessions, check_password, first_id};
use zoo_server::time::{Instant, WallTime};
use zoo_server::tree::{self, Change, Tree, View};
use zoo_server::watch::{WatchTable, Watcher};
use zoo_server::wire::acl::{AclList, Id};
use zoo_server::wire::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use zoo_server::wire::error_code::ErrorCode;
use zoo_server::wire::header::{ReplyHeader, RequestHeader, Xid};
use zoo_server::wire::jute::{DecodeError, Reader, put_frame};
use zoo_server::wire::multi::MultiHeader;
use zoo_server::wire::op::OpCode;
use zoo_server::wire::request::AuthRequest;
use zoo_server::wire::response::put_header_reply;
use zoo_server::wire::stat::Stat;
use zoo_server::wire::txn::{Txn, TxnRecord};
use zoo_server::wire::watch_event::{decode_event, put_event_frame};

/// Options: TTL znodes can be created.
pub const EXTENDED_TYPES: u8 = 1;
/// Options: quotas are enforced.
pub const ENFORCE_QUOTA: u8 = 2;
/// Options: nobody is refused anything.
pub const SKIP_ACL: u8 = 4;
/// Options: `reconfig` is not switched off.
pub const RECONFIG: u8 = 8;
/// Options: TTL znodes are those of 3.5.3.
pub const EMULATE_353: u8 = 16;

/// Steps: time goes by.
pub const TIME: u8 = 13 << 2;
/// Steps: a batch ends.
pub const CUT: u8 = 14 << 2;
/// Steps: the connection is lost.
pub const LOST: u8 = 15 << 2;

/// What `super:super` hashes to.
const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";
const NOW: WallTime = WallTime(1_700_000_000_000);
const CONNECTIONS: usize = 4;

/// What a run came to; so that nothing is optimised away, and to see that mutants reach something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Answers of success, but pings.
    pub done: u64,
    /// Other answers.
    pub refused: u64,
    /// Transactions.
    pub logged: u64,
    /// Watch events.
    pub events: u64,
}

#[derive(Default)]
struct Connection {
    /// None before the handshake.
    session: Option<SessionId>,
    owner: u64,
    identities: Vec<Id<'static>>,
}

struct World {
    pipeline: Pipeline,
    watches: WatchTable,
    connections: [Connection; CONNECTIONS],
    owners: u64,
    clock_ms: u64,
    /// Has another hash seed: nothing of what is logged may depend on it.
    replica: Tree,
    replica_sessions: BTreeMap<SessionId, i32>,
    last: Zxid,
    tally: Tally,
}

/// Runs one input.
pub fn run(input: &[u8]) -> Tally {
    let Some((&options, mut rest)) = input.split_first() else { return Tally::default() };
    let mut world = World::new(options);
    while let Some((&step, tail)) = rest.split_first() {
        rest = tail;
        let slot = usize::from(step & 3);
        match step & 0x3c {
            TIME => world.time_goes_by(),
            CUT => drop(world.pipeline.cut()),
            LOST => world.lose(slot),
            _ => {
                let Some((len, tail)) = rest.split_first_chunk::<2>() else { break };
                let (frame, tail) = tail.split_at(usize::from(u16::from_be_bytes(*len)).min(tail.len()));
                world.frame(slot, frame);
                rest = tail;
            }
        }
    }
    world.compare();
    world.tally
}

impl World {
    fn new(bits: u8) -> Self {
        let options = Options {
            auth: auth::Options {
                skip_acl: bits & SKIP_ACL != 0,
                super_digest: Some(SUPER_DIGEST.to_owned()),
                ..auth::Options::default()
            },
            extended_types: bits & EXTENDED_TYPES != 0,
            enforce_quota: bits & ENFORCE_QUOTA != 0,
            reconfig_enabled: bits & RECONFIG != 0,
            emulate_353: bits & EMULATE_353 != 0,
            container_never_used_max_ms: 1000,
            ..Options::default()
        };
        let tree_options =
            |hash_seed| tree::Options { owners: options.owners(), hash_seed, ..tree::Options::default() };
        let (tree, replica) = (Tree::new(tree_options(0)), Tree::new(tree_options(99)));
        let sessions = Sessions::new(2000, first_id(ServerId(1), NOW));
        let mut world = Self {
            pipeline: Pipeline::new(options, tree, sessions, Zxid::ZERO),
            watches: WatchTable::new(1),
            connections: Default::default(),
            owners: 0,
            clock_ms: 0,
            replica,
            replica_sessions: BTreeMap::new(),
            last: Zxid::ZERO,
            tally: Tally::default(),
        };
        for slot in 0..CONNECTIONS {
            world.lose(slot);
        }
        for slot in 0..2 {
            world.open(slot, 10_000);
        }
        world
    }

    fn now(&self) -> WallTime {
        WallTime(NOW.0 + self.clock_ms.cast_signed())
    }

    fn mono(&self) -> Instant {
        Instant(self.clock_ms * 1_000_000)
    }

    /// The connection is gone, and another takes its place.
    fn lose(&mut self, slot: usize) {
        self.watches.drop_watcher(Watcher(slot as u32));
        self.owners += 1;
        let identities = vec![ip_identity([127, 0, 0, 1].into())];
        self.connections[slot] = Connection { session: None, owner: self.owners, identities };
    }

    fn open(&mut self, slot: usize, timeout_ms: i32) -> ConnectResponse {
        let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
        let owner = Owner(self.connections[slot].owner);
        let (now, mono) = (self.now(), self.mono());
        let created = self.pipeline.create_session(now, mono, timeout_ms, owner, &mut sink);
        assert!(reply.is_empty() && changes.is_empty(), "a session is opened in silence");
        assert!(check_password(created.session, &created.password));
        self.replay(&log);
        assert_eq!(created.zxid, self.last);
        self.connections[slot].session = Some(created.session);
        ConnectResponse {
            protocol_version: 0,
            timeout_ms: created.timeout_ms,
            session: created.session,
            password: created.password,
            read_only: None,
        }
    }

    /// Sessions expire, containers and TTL znodes go.
    fn time_goes_by(&mut self) {
        self.clock_ms += 1500;
        let mono = self.mono();
        for session in self.pipeline.sessions_mut().expire(mono) {
            self.write_of_our_own(|pipeline, now, sink| pipeline.close_session(now, session, sink));
            for slot in 0..CONNECTIONS {
                if self.connections[slot].session == Some(session) {
                    self.lose(slot);
                }
            }
        }
        for path in self.pipeline.container_candidates(self.now()) {
            // One container's end may be another's beginning as a candidate, but never the other way round.
            let done = self.write_of_our_own(|pipeline, now, sink| pipeline.delete_container(now, &path, sink));
            assert_eq!(done.err, ErrorCode::OK, "{path} was a candidate a moment ago");
        }
    }

    fn write_of_our_own(&mut self, write: impl FnOnce(&mut Pipeline, WallTime, &mut Sink<'_>) -> Done) -> Done {
        let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        let now = self.now();
        let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
        let done = write(&mut self.pipeline, now, &mut sink);
        assert!(done.logged && reply.is_empty());
        self.replay(&log);
        self.fire(&changes);
        done
    }

    fn frame(&mut self, slot: usize, frame: &[u8]) {
        let Some(session) = self.connections[slot].session else { return self.handshake(slot, frame) };
        let mut reader = Reader::new(frame);
        let Ok(header) = RequestHeader::decode(&mut reader) else { return self.lose(slot) };
        let body = reader.rest();
        self.pipeline.sessions_mut().touch(session, Instant(self.clock_ms * 1_000_000));
        match header.op {
            OpCode::AUTH => self.authenticate(slot, header.xid, body),
            OpCode::SASL => {
                if !matches!(Reader::new(body).buffer(), Ok(Some(_))) {
                    self.lose(slot);
                }
            }
            op if is_read(op) => self.read(slot, session, header, body),
            _ => self.write(slot, session, header, body),
        }
    }

    fn handshake(&mut self, slot: usize, frame: &[u8]) {
        let Ok(request) = ConnectRequest::decode(&mut Reader::new(frame)) else { return self.lose(slot) };
        let mut again = Vec::new();
        request.encode(&mut again);
        assert_eq!(ConnectRequest::decode(&mut Reader::new(&again)).as_ref(), Ok(&request));
        let response = if request.session == SessionId::NONE {
            self.open(slot, request.timeout_ms)
        } else {
            let owner = Owner(self.connections[slot].owner);
            let mono = self.mono();
            let ConnectRequest { session, password, timeout_ms, .. } = request;
            match self.pipeline.reopen_session(mono, session, password, timeout_ms, owner) {
                Reopened::Ok { timeout_ms, previous_owner } => {
                    assert!(check_password(session, password), "a session for the wrong password");
                    let previous =
                        (0..CONNECTIONS).find(|&at| previous_owner == Some(Owner(self.connections[at].owner)));
                    // Not always at once: what it still sends finds the session moved.
                    if let Some(previous) = previous
                        && self.clock_ms.is_multiple_of(2)
                    {
                        self.lose(previous);
                    }
                    self.connections[slot].session = Some(session);
                    let password = password.try_into().expect("the right password");
                    ConnectResponse { protocol_version: 0, timeout_ms, session, password, read_only: None }
                }
                Reopened::Refused => ConnectResponse {
                    protocol_version: 0,
                    timeout_ms: 0,
                    session: SessionId::NONE,
                    password: [0; PASSWORD_LEN],
                    read_only: None,
                },
            }
        };
        let options = self.pipeline.options();
        let granted = options.session_timeout_min_ms..=options.session_timeout_max_ms;
        assert!(response.session == SessionId::NONE || granted.contains(&response.timeout_ms), "{response:?}");
        let response = ConnectResponse { read_only: request.read_only.map(|_| false), ..response };
        let mut out = Vec::new();
        put_frame(&mut out, |out| response.encode(out));
        let (frame, rest) = split_frame(&out);
        assert!(rest.is_empty());
        let mut reader = Reader::new(frame);
        assert_eq!(ConnectResponse::decode(&mut reader).as_ref(), Ok(&response));
        assert!(reader.is_empty());
        if response.session == SessionId::NONE {
            self.lose(slot);
        }
    }

    fn authenticate(&mut self, slot: usize, xid: Xid, body: &[u8]) {
        let Ok(request) = AuthRequest::decode(&mut Reader::new(body)) else { return self.lose(slot) };
        let options = &self.pipeline.options().auth;
        let mut out = Vec::new();
        match authenticate(&request.scheme, request.auth.unwrap_or_default(), [127, 0, 0, 1].into(), options) {
            Ok(ids) => {
                let identities = &mut self.connections[slot].identities;
                ids.into_iter().for_each(|id| add_identity(identities, id));
                put_header_reply(&mut out, xid, Zxid::ZERO, ErrorCode::OK);
            }
            Err(auth::AuthFailed) => {
                put_header_reply(&mut out, xid, Zxid::ZERO, ErrorCode::AUTH_FAILED);
                self.lose(slot);
            }
        }
        self.check_reply(&out, xid, OpCode::AUTH);
    }

    fn read(&mut self, slot: usize, session: SessionId, header: RequestHeader, body: &[u8]) {
        let asker = Asker { watcher: Watcher(slot as u32), session, identities: &self.connections[slot].identities };
        let mut out = Vec::new();
        let (view, options) = (self.pipeline.view(), &self.pipeline.options().auth);
        let err = answer(view, options, &mut self.watches, &asker, header.xid, header.op, body, &mut out);
        let zxid = view.zxid();
        let reply = self.check_reply(&out, header.xid, header.op);
        assert_eq!((reply.err, reply.zxid), (err, zxid));
    }

    fn write(&mut self, slot: usize, session: SessionId, header: RequestHeader, body: &[u8]) {
        let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        let before = (self.pipeline.view().digest(), self.pipeline.view().node_count());
        let request = Request {
            session,
            xid: header.xid,
            op: header.op,
            body,
            identities: &self.connections[slot].identities,
            owner: Owner(self.connections[slot].owner),
        };
        let now = self.now();
        let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
        let done = self.pipeline.process(now, &request, &mut sink);
        assert_eq!(done.logged, !log.is_empty());
        if done.logged {
            self.replay(&log);
        }
        assert_eq!((done.zxid, self.pipeline.zxid()), (self.last, self.last), "one zxid a record");
        let view = self.pipeline.view();
        if changes.is_empty() && header.op != OpCode::SET_ACL {
            assert_eq!((view.digest(), view.node_count()), before, "{} changed the tree and told nobody", header.op);
        }
        if !changes.is_empty() {
            assert!(done.logged && done.err == ErrorCode::OK, "what is refused changes nothing");
        }
        if reply.is_empty() {
            assert!(done.close, "only a moved session is not answered");
        } else {
            let answered = self.check_reply(&reply, header.xid, header.op);
            assert_eq!(answered.err, done.err);
        }
        self.fire(&changes);
        if done.close {
            self.lose(slot);
        }
        self.pipeline.take_exceeded();
    }

    fn fire(&mut self, changes: &[Change]) {
        for change in changes {
            let mut heard = Vec::new();
            pipeline::fire(&mut self.watches, change, |watcher| heard.push(watcher));
            for (at, watcher) in heard.iter().enumerate() {
                assert!(!heard[..at].contains(watcher), "{watcher:?} hears twice of one change");
                let connection = &self.connections[watcher.0 as usize];
                assert!(connection.session.is_some(), "a watch of nobody's");
                if !pipeline::may_hear(change, &connection.identities, &self.pipeline.options().auth) {
                    continue;
                }
                let mut out = Vec::new();
                put_event_frame(&mut out, change.event, &change.path, change.zxid);
                check_event(split_frame(&out).0);
                self.tally.events += 1;
            }
        }
    }

    /// Replays one record, as recovery and followers do.
    fn replay(&mut self, bytes: &[u8]) {
        let record = TxnRecord::decode(bytes).expect("a record that decodes");
        assert_eq!(record.header.zxid.0, self.last.0 + 1, "zxids are contiguous");
        let mut again = Vec::new();
        record.encode(&mut again);
        assert_eq!(again, bytes, "a record is all that is logged");
        self.replica.apply(&record.header, &record.txn, &mut Vec::new());
        match record.digest {
            Some(digest) => assert_eq!(digest.tree, self.replica.view().digest(), "replay of {record:?}"),
            None => assert!(matches!(record.txn, Txn::Error { .. }), "only a refusal has no digest: {record:?}"),
        }
        assert_eq!(self.replica.view().digest(), self.pipeline.view().digest());
        match record.txn {
            Txn::CreateSession { timeout_ms } => drop(self.replica_sessions.insert(record.header.session, timeout_ms)),
            Txn::CloseSession { .. } => drop(self.replica_sessions.remove(&record.header.session)),
            _ => {}
        }
        self.last = record.header.zxid;
        self.tally.logged += 1;
    }

    /// All that is known must be the same on both sides.
    fn compare(&self) {
        let (view, other) = (self.pipeline.view(), self.replica.view());
        assert_eq!(self.last, self.pipeline.zxid());
        assert_eq!((view.digest(), view.node_count()), (other.digest(), other.node_count()));
        assert_eq!(view.ephemeral_count(), other.ephemeral_count());
        assert_eq!(view.approximate_data_size(), other.approximate_data_size());
        let mut sessions: Vec<(SessionId, i32)> = self.pipeline.sessions().iter().collect();
        sessions.sort_unstable();
        assert!(sessions.iter().copied().eq(self.replica_sessions.iter().map(|(&id, &timeout_ms)| (id, timeout_ms))));
        for znode in view.iter() {
            let twin = other.znode(znode.path()).expect("the same znodes");
            assert_eq!((znode.data(), znode.stat()), (twin.data(), twin.stat()), "{}", znode.path());
            let list = |view: &View, znode: &tree::Znode| view.acl(znode.acl_id()).list.clone();
            assert_eq!(list(view, znode), list(other, twin), "{}", znode.path());
            if let Some((parent, _)) = znode.path().rsplit_once('/').filter(|_| &**znode.path() != "/") {
                let parent = if parent.is_empty() { "/" } else { parent };
                assert!(view.znode(parent).is_some(), "{} has no parent", znode.path());
            }
        }
        for session in view.ephemeral_sessions() {
            assert!(self.pipeline.sessions().is_live(session), "ephemerals of {session}, which is gone");
        }
    }

    /// Looks at all frames of an answer; the last is the answer itself.
    fn check_reply(&mut self, mut out: &[u8], xid: Xid, op: OpCode) -> ReplyHeader {
        loop {
            let (frame, rest) = split_frame(out);
            if !rest.is_empty() {
                assert!(matches!(op, OpCode::SET_WATCHES | OpCode::SET_WATCHES2), "{op} is answered twice");
                check_event(frame);
                self.tally.events += 1;
                out = rest;
                continue;
            }
            let mut reader = Reader::new(frame);
            let header = ReplyHeader::decode(&mut reader).expect("a header");
            assert_eq!(header.xid, xid, "the answer of {op}");
            if header.err == ErrorCode::OK {
                check_body(op, &mut reader).unwrap_or_else(|error| panic!("the answer of {op}: {error}"));
                self.tally.done += u64::from(op != OpCode::PING);
            } else {
                assert!(header.err.name().is_some(), "{} is no error", header.err);
                // A multiRead that turns out to be undecodable midway keeps the results before it, as in Apache.
                let is_midway = op == OpCode::MULTI_READ && header.err == ErrorCode::MARSHALLING_ERROR;
                if is_midway && !reader.is_empty() {
                    check_body(op, &mut reader).unwrap_or_else(|error| panic!("the answer of {op}: {error}"));
                }
                self.tally.refused += 1;
            }
            assert!(reader.is_empty(), "{op} answers {} and {} more bytes", header.err, reader.rest().len());
            return header;
        }
    }
}

fn split_frame(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (len, rest) = bytes.split_first_chunk::<4>().expect("a whole length");
    rest.split_at(usize::try_from(i32::from_be_bytes(*len)).expect("a length"))
}

fn check_event(frame: &[u8]) {
    let mut reader = Reader::new(frame);
    let header = ReplyHeader::decode(&mut reader).expect("a header");
    assert_eq!((header.xid, header.err), (Xid::NOTIFICATION, ErrorCode::OK));
    let (event, state, _) = decode_event(&mut reader).expect("an event");
    assert!((1..=4).contains(&event) && state == 3, "event {event} in state {state}");
    assert!(reader.is_empty());
}

/// Reads the body of a successful answer.
fn check_body(op: OpCode, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match op {
        OpCode::CREATE => {
            reader.path()?;
        }
        OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
            reader.path()?;
            Stat::decode(reader)?;
        }
        OpCode::SET_DATA | OpCode::SET_ACL | OpCode::EXISTS => {
            Stat::decode(reader)?;
        }
        OpCode::GET_DATA => {
            let len = reader.buffer()?.map_or(0, <[u8]>::len);
            assert_eq!(usize::try_from(Stat::decode(reader)?.data_length), Ok(len));
        }
        OpCode::GET_ACL => {
            AclList::decode(reader)?;
            Stat::decode(reader)?;
        }
        OpCode::GET_CHILDREN | OpCode::GET_EPHEMERALS => {
            reader.ustrings()?;
        }
        OpCode::GET_CHILDREN2 => {
            let count = reader.ustrings()?.len();
            assert_eq!(usize::try_from(Stat::decode(reader)?.num_children), Ok(count));
        }
        OpCode::GET_ALL_CHILDREN_NUMBER | OpCode::ADD_WATCH => {
            assert!(reader.i32()? >= 0);
        }
        OpCode::WHO_AM_I => {
            for _ in 0..reader.count()?.unwrap_or(0) {
                reader.path()?;
                reader.path()?;
            }
        }
        OpCode::SYNC => {
            reader.buffer()?;
        }
        OpCode::MULTI | OpCode::MULTI_READ => loop {
            let header = MultiHeader::decode(reader)?;
            if header.done {
                assert_eq!(header, MultiHeader::END);
                break;
            }
            match header.op {
                OpCode::ERROR => assert_eq!(reader.i32()?, header.err),
                OpCode::DELETE | OpCode::CHECK => {}
                OpCode::GET_CHILDREN => drop(reader.ustrings()?),
                op => check_body(op, reader)?,
            }
        },
        _ => {}
    }
    Ok(())
}
