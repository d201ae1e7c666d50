//! Random requests of several sessions, against what must hold whatever they are: contiguous zxids, records that decode and
//! replay to the same digest, well-formed answers, and nothing left of what is refused.

use std::collections::BTreeMap;

use super::*;

pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn of_seed(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn roll(&mut self, sides: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides).expect("small")
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64)]
    }

    fn path(&mut self) -> &'static str {
        self.pick(&[
            "/a",
            "/b",
            "/a/x",
            "/a/y",
            "/a/x/1",
            "/a/x/2",
            "/b/q-",
            "/b/",
            "/c",
            "/c/ü",
            "/",
            "/zookeeper",
            "/zookeeper/quota/a",
            "/zookeeper/quota/a/zookeeper_limits",
            "/zookeeper/quota/a/zookeeper_stats",
            "",
            "x",
            "/a//b",
            "/none/none",
        ])
    }

    fn version(&mut self) -> i32 {
        self.pick(&[-1, -1, -1, 0, 1, 2])
    }

    fn data(&mut self) -> Option<&'static [u8]> {
        self.pick(&[None, Some(&b""[..]), Some(b"x"), Some(b"count=3,bytes=-1=;countHardLimit=5"), Some(&[7; 300])])
    }

    fn acl(&mut self) -> AclList<'static> {
        match self.roll(8) {
            0 => acl(&[(Perms::ALL, "auth", "")]),
            1 => acl(&[(Perms::ALL, "digest", "bob:x"), (Perms::READ, "world", "anyone")]),
            2 => acl(&[]),
            3 => acl(&[(Perms(27), "ip", "127.0.0.0/8")]),
            _ => AclList::OPEN,
        }
    }

    fn create(&mut self) -> (OpCode, CreateRequest<'static>) {
        let op =
            self.pick(&[OpCode::CREATE, OpCode::CREATE, OpCode::CREATE2, OpCode::CREATE_CONTAINER, OpCode::CREATE_TTL]);
        let flags = match op {
            OpCode::CREATE_TTL => self.pick(&[5, 6, 5, 0]),
            _ => self.pick(&[0, 0, 0, 1, 1, 2, 3, 4, 5, 9]),
        };
        let ttl_ms = if op == OpCode::CREATE_TTL { self.pick(&[1, 1000, -1, 0]) } else { -1 };
        (op, CreateRequest { path: self.path().into(), data: self.data(), acl: self.acl(), flags, ttl_ms })
    }

    fn multi_op(&mut self) -> MultiOp<'static> {
        match self.roll(5) {
            0 | 1 => {
                let (op, request) = self.create();
                MultiOp::Create(op, request)
            }
            2 => MultiOp::Delete(PathVersionRequest { path: self.path().into(), version: self.version() }),
            3 => MultiOp::SetData(SetDataRequest {
                path: self.path().into(),
                data: self.data(),
                version: self.version(),
            }),
            _ => MultiOp::Check(PathVersionRequest { path: self.path().into(), version: self.version() }),
        }
    }

    pub(super) fn request(&mut self) -> (OpCode, Vec<u8>) {
        let mut body = Vec::new();
        let op = match self.roll(20) {
            0..7 => {
                let (op, request) = self.create();
                request.encode(op, &mut body);
                op
            }
            7..10 => {
                PathVersionRequest { path: self.path().into(), version: self.version() }.encode(&mut body);
                OpCode::DELETE
            }
            10..13 => {
                SetDataRequest { path: self.path().into(), data: self.data(), version: self.version() }
                    .encode(&mut body);
                OpCode::SET_DATA
            }
            13 => {
                SetAclRequest { path: self.path().into(), acl: self.acl(), version: self.version() }.encode(&mut body);
                OpCode::SET_ACL
            }
            14..17 => {
                let ops: Vec<MultiOp<'_>> = (0..self.roll(6)).map(|_| self.multi_op()).collect();
                encode_multi(&ops, &mut body);
                OpCode::MULTI
            }
            17 => {
                let op = self.pick(&[OpCode::EXISTS, OpCode::GET_DATA, OpCode::GET_CHILDREN, OpCode::GET_CHILDREN2]);
                PathWatchRequest { path: self.path().into(), watch: self.roll(2) == 0 }.encode(&mut body);
                op
            }
            18 => {
                body.put_ustring(self.path());
                self.pick(&[
                    OpCode::SYNC,
                    OpCode::GET_ACL,
                    OpCode::GET_EPHEMERALS,
                    OpCode::GET_ALL_CHILDREN_NUMBER,
                    OpCode::CHECK,
                    OpCode(55),
                ])
            }
            _ => self.pick(&[OpCode::CLOSE_SESSION, OpCode::PING, OpCode::WHO_AM_I, OpCode::RECONFIG]),
        };
        // Now and then a body is cut or spoilt: it must do no harm, whatever comes of it.
        match self.roll(12) {
            0 => body.truncate(self.roll(body.len() as u64 + 1)),
            1 if !body.is_empty() => {
                let at = self.roll(body.len() as u64);
                body[at] ^= 1 << self.roll(8);
            }
            _ => {}
        }
        (op, body)
    }
}

/// Replays a record into a tree and a table of sessions, and compares the digest that it carries.
fn replay_record(tree: &mut Tree, sessions: &mut BTreeMap<SessionId, i32>, bytes: &[u8], last: Zxid) -> Zxid {
    let record = TxnRecord::decode(bytes).expect("a record that decodes");
    assert_eq!(record.header.zxid.0, last.0 + 1, "zxids are contiguous");
    let mut again = Vec::new();
    record.encode(&mut again);
    assert_eq!(again, bytes, "a record is all that is logged");
    tree.apply(&record.header, &record.txn, &mut Vec::new());
    if let Some(digest) = record.digest {
        assert_eq!(digest.tree, tree.view().digest(), "replay of {record:?}");
    }
    match record.txn {
        Txn::CreateSession { timeout_ms } => drop(sessions.insert(record.header.session, timeout_ms)),
        Txn::CloseSession { .. } => drop(sessions.remove(&record.header.session)),
        _ => {}
    }
    record.header.zxid
}

/// The same znodes, with the same stats and lists.
pub(super) fn assert_same_tree(one: &View, other: &View) {
    for znode in one.iter() {
        let twin = other.znode(znode.path()).expect("the same znodes");
        assert_eq!((znode.data(), znode.stat()), (twin.data(), twin.stat()), "{}", znode.path());
        let list = |view: &View, znode: &tree::Znode| view.acl(znode.acl_id()).list.clone();
        assert_eq!(list(one, znode), list(other, twin));
    }
    assert_eq!(one.node_count(), other.node_count());
    assert_eq!((one.digest(), one.zxid()), (other.digest(), other.zxid()));
    assert_eq!(one.ephemeral_count(), other.ephemeral_count());
}

fn run(seed: u64, steps: usize) -> (usize, usize) {
    let options = Options { extended_types: true, enforce_quota: seed.is_multiple_of(2), ..Options::default() };
    let mut dice = Dice::of_seed(seed);
    let mut bench = Bench::with(options.clone());
    bench.authenticate("bob:secret");
    // A tree of another hash seed: nothing of what is logged may depend on it.
    let mut replica = Tree::new(tree::Options { owners: options.owners(), hash_seed: 99, ..tree::Options::default() });
    let mut sessions = BTreeMap::from([(bench.session, 10_000)]);
    let header = TxnHeader { session: bench.session, cxid: 0, zxid: Zxid(1), time: NOW, op: OpCode::CREATE_SESSION };
    replica.apply(&header, &Txn::CreateSession { timeout_ms: 10_000 }, &mut Vec::new());
    let mut last = Zxid(1);
    let mut open = vec![(bench.session, ONE)];
    let mut next_owner = 2;
    let (mut done, mut refused) = (0, 0);
    let mut versions = Vec::new();
    for step in 0..steps {
        if open.len() < 3 || dice.roll(100) == 0 {
            let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
            let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
            let created = bench.pipeline.create_session(NOW, Instant(0), 5000, Owner(next_owner), &mut sink);
            open.push((created.session, Owner(next_owner)));
            next_owner += 1;
            last = replay_record(&mut replica, &mut sessions, &log, last);
        }
        if step % 50 == 0 {
            versions.push((bench.pipeline.cut(), bench.pipeline.view().digest()));
            for path in bench.pipeline.container_candidates(WallTime(NOW.0 + 500)) {
                let (mut log, mut reply, mut changes) = (Vec::new(), Vec::new(), Vec::new());
                let mut sink = Sink { log: &mut log, reply: &mut reply, changes: &mut changes };
                let done = bench.pipeline.delete_container(NOW, &path, &mut sink);
                assert_eq!(done.err, ErrorCode::OK, "{path} was a candidate a moment ago");
                last = replay_record(&mut replica, &mut sessions, &log, last);
            }
        }
        let (session, owner) = dice.pick(&open);
        (bench.session, bench.owner) = (session, if dice.roll(200) == 0 { Owner(0) } else { owner });
        let (op, body) = dice.request();
        let before = (bench.pipeline.view().digest(), bench.pipeline.view().node_count());
        let outcome = bench.send_bytes(op, &body);
        let view = bench.pipeline.view();
        if outcome.done.logged {
            last = replay_record(&mut replica, &mut sessions, &outcome.log, last);
            assert_eq!(view.zxid(), last);
        }
        if outcome.changes.is_empty() && op != OpCode::SET_ACL {
            assert_eq!((view.digest(), view.node_count()), before, "{op} changed the tree and told nobody");
        }
        match outcome.reply {
            Some((header, body)) => {
                assert!(header.err == ErrorCode::OK || body.is_empty(), "an error has no body");
                let counts = if header.err == ErrorCode::OK { &mut done } else { &mut refused };
                *counts += 1;
                if header.err != ErrorCode::UNIMPLEMENTED {
                    assert_eq!(header.zxid, bench.pipeline.zxid());
                }
            }
            None => assert!(outcome.done.close, "only a moved session is not answered"),
        }
        if op == OpCode::CLOSE_SESSION && outcome.done.logged {
            open.retain(|(id, _)| *id != session);
        }
        assert_eq!(view.digest(), replica.view().digest());
        assert_eq!(view.ephemeral_count(), replica.view().ephemeral_count());
    }
    assert_eq!(last, bench.pipeline.zxid());
    let mut kept: Vec<(SessionId, i32)> = bench.pipeline.sessions().iter().collect();
    kept.sort_unstable();
    assert_eq!(kept, sessions.into_iter().collect::<Vec<_>>());
    assert_same_tree(bench.pipeline.view(), replica.view());
    for (version, digest) in versions {
        assert_eq!(version.digest(), digest, "a version stays as it was");
    }
    (done, refused)
}

#[test]
fn whatever_clients_send_the_log_tells_the_same_story() {
    let (mut done, mut refused) = (0, 0);
    for seed in 1..=12 {
        let (more_done, more_refused) = run(seed, 1500);
        done += more_done;
        refused += more_refused;
    }
    assert!(done > 3000 && refused > 3000, "both sides must be seen: {done} done, {refused} refused");
}
