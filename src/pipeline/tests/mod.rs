//! A bench for the pipeline: requests in, answers and records out, decoded. The rules of Apache are in the files beside this one.

mod follow;
mod golden;
mod lead;
mod local;
mod multi;
mod random;
mod reads;
mod reconfig;
mod sessions;
mod writes;

use super::auth;
use super::read::{Asker, answer};
use super::*;
use crate::ids::{Epoch, ServerId};
use crate::session::first_id;
use crate::tree;
use crate::watch::{WatchTable, Watcher};
use crate::wire::acl::{Acl, AclList, Perms};
use crate::wire::multi::{MultiOp, encode_multi};
use crate::wire::request::PathWatchRequest;

const NOW: WallTime = WallTime(1_700_000_000_000);
const ONE: Owner = Owner(1);
const TWO: Owner = Owner(2);

/// What came of one request.
#[derive(Debug)]
struct Outcome {
    done: Done,
    /// None if there was no answer.
    reply: Option<(ReplyHeader, Vec<u8>)>,
    log: Vec<u8>,
    changes: Vec<Change>,
}

impl Outcome {
    fn err(&self) -> ErrorCode {
        self.reply.as_ref().expect("an answer").0.err
    }

    fn body(&self) -> Reader<'_> {
        let (header, body) = self.reply.as_ref().expect("an answer");
        assert_eq!(header.err, ErrorCode::OK);
        Reader::new(body)
    }

    fn record(&self) -> TxnRecord<'_> {
        assert!(self.done.logged);
        TxnRecord::decode(&self.log).expect("a record that decodes")
    }

    fn stat(&self) -> Stat {
        Stat::decode(&mut self.body()).expect("a stat")
    }

    fn path(&self) -> String {
        self.body().ustring().expect("a path").into_owned()
    }
}

struct Bench {
    pipeline: Pipeline,
    session: SessionId,
    owner: Owner,
    identities: Vec<Id<'static>>,
    watches: WatchTable,
    xid: i32,
}

impl Bench {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let tree = Tree::new(tree::Options { owners: options.owners(), ..tree::Options::default() });
        let sessions = Sessions::new(2000, first_id(ServerId(1), NOW));
        let mut bench = Self {
            pipeline: Pipeline::new(options, tree, sessions, Zxid::ZERO),
            session: SessionId::NONE,
            owner: ONE,
            identities: vec![auth::ip_identity([127, 0, 0, 1].into())],
            watches: WatchTable::new(1),
            xid: 0,
        };
        bench.session = bench.open(ONE);
        bench
    }

    fn open(&mut self, owner: Owner) -> SessionId {
        let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
        self.pipeline.create_session(NOW, Instant(0), 10_000, owner, &mut sink).session
    }

    fn send(&mut self, op: OpCode, fill: impl FnOnce(&mut Vec<u8>)) -> Outcome {
        let mut body = Vec::new();
        fill(&mut body);
        self.send_bytes(op, &body)
    }

    fn send_bytes(&mut self, op: OpCode, body: &[u8]) -> Outcome {
        self.xid += 1;
        let xid = Xid(self.xid);
        let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        let done = if read::is_read(op) {
            let asker = Asker { watcher: Watcher(0), session: self.session, identities: &self.identities };
            let options = &self.pipeline.options().auth;
            let err = answer(self.pipeline.view(), options, &mut self.watches, &asker, xid, op, body, &mut reply);
            Done { zxid: self.pipeline.zxid(), err, logged: false, close: false }
        } else {
            let request =
                Request { session: self.session, xid, op, body, identities: &self.identities, owner: self.owner };
            let before = self.pipeline.zxid();
            let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
            let done = self.pipeline.process(NOW, &request, &mut sink);
            assert_eq!(done.logged, !log.is_empty());
            assert_eq!(self.pipeline.zxid().0 - before.0, i64::from(done.logged), "one zxid a record");
            assert_eq!(done.zxid, self.pipeline.zxid());
            done
        };
        let reply = (!reply.is_empty()).then(|| {
            let (header, body) = last_frame(&reply);
            assert_eq!(header.xid, xid);
            (header, body.to_vec())
        });
        Outcome { done, reply, log, changes }
    }

    fn create_as(&mut self, op: OpCode, path: &str, flags: i32, ttl_ms: i64, acl: AclList<'_>) -> Outcome {
        let request = CreateRequest { path: path.into(), data: Some(b"data"), acl, flags, ttl_ms };
        self.send(op, |out| request.encode(op, out))
    }

    fn create(&mut self, path: &str, flags: i32) -> Outcome {
        self.create_as(OpCode::CREATE, path, flags, -1, AclList::OPEN)
    }

    fn delete(&mut self, path: &str, version: i32) -> Outcome {
        self.send(OpCode::DELETE, |out| PathVersionRequest { path: path.into(), version }.encode(out))
    }

    fn set_data(&mut self, path: &str, data: &[u8], version: i32) -> Outcome {
        self.send(OpCode::SET_DATA, |out| SetDataRequest { path: path.into(), data: Some(data), version }.encode(out))
    }

    fn set_acl(&mut self, path: &str, acl: AclList<'_>, version: i32) -> Outcome {
        self.send(OpCode::SET_ACL, |out| SetAclRequest { path: path.into(), acl, version }.encode(out))
    }

    fn read(&mut self, op: OpCode, path: &str, watch: bool) -> Outcome {
        self.send(op, |out| PathWatchRequest { path: path.into(), watch }.encode(out))
    }

    fn multi(&mut self, ops: &[MultiOp<'_>]) -> Outcome {
        self.send(OpCode::MULTI, |out| encode_multi(ops, out))
    }

    fn exists(&self, path: &str) -> bool {
        self.pipeline.view().znode(path).is_some()
    }

    fn authenticate(&mut self, user_and_password: &str) {
        let peer = [127, 0, 0, 1].into();
        let options = &self.pipeline.options().auth;
        let ids = auth::authenticate("digest", user_and_password.as_bytes(), peer, options).expect("digest");
        ids.into_iter().for_each(|id| auth::add_identity(&mut self.identities, id));
    }
}

/// The frames of a buffer.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_first_chunk::<4>().expect("a whole length");
        let (frame, rest) = rest.split_at(usize::try_from(i32::from_be_bytes(*len)).expect("a length"));
        frames.push(frame);
        bytes = rest;
    }
    frames
}

fn last_frame(bytes: &[u8]) -> (ReplyHeader, &[u8]) {
    let mut reader = Reader::new(frames(bytes).pop().expect("a frame"));
    (ReplyHeader::decode(&mut reader).expect("a header"), reader.rest())
}

fn acl(entries: &[(Perms, &'static str, &str)]) -> AclList<'static> {
    let entries: Vec<Acl<'_>> =
        entries.iter().map(|(perms, scheme, id)| Acl { perms: *perms, id: Id::new(*scheme, *id) }).collect();
    AclList::from_entries(entries.iter())
}

/// A znode whose numbers no client could have brought about.
fn replay(pipeline: &mut Pipeline, op: OpCode, txn: &Txn<'_>) {
    let header = TxnHeader { session: SessionId(1), cxid: 0, zxid: pipeline.zxid, time: NOW, op };
    assert_eq!(pipeline.tree.apply(&header, txn, &mut Vec::new()).err, ErrorCode::OK);
}

#[test]
#[should_panic(expected = "ahead of")]
fn a_tree_from_the_future_is_our_own_mistake() {
    let mut bench = Bench::new();
    bench.create("/a", 0);
    let Bench { pipeline, .. } = bench;
    let Pipeline { options, tree, sessions, .. } = pipeline;
    let _ = Pipeline::new(options, tree, sessions, Zxid::new(Epoch(0), 1));
}
