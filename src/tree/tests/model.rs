//! Random transactions against a plain model, written for plainness alone: a sorted map from path to znode, with the rules of
//! Apache's `DataTree` spelled out. Versions are held for a while and compared again, the newest state is rewound now and
//! then, and everything that is counted beside the znodes is counted anew every few steps.

use super::*;
use crate::wire::acl::{Acl, Id, Perms};
use crate::wire::error_code::ErrorCode;
use crate::wire::stat::Stat;
use crate::wire::txn::SubTxn;

#[derive(Clone, PartialEq, Debug)]
struct Node {
    data: Option<Vec<u8>>,
    stat: StatPersisted,
    acl: AclList<'static>,
}

#[derive(Clone, PartialEq, Debug, Default)]
struct Model {
    nodes: BTreeMap<String, Node>,
    quotas: BTreeSet<String>,
    zxid: i64,
}

fn parent_of(path: &str) -> String {
    let parent = &path[..path.rfind('/').expect("a path")];
    if parent.is_empty() { "/".into() } else { parent.into() }
}

impl Model {
    fn new() -> Self {
        let mut model = Self::default();
        for path in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
            let is_config = path == "/zookeeper/config";
            let stat = StatPersisted { aversion: -i32::from(is_config), ..StatPersisted::default() };
            let acl = if is_config { AclList::READ_ONLY } else { AclList::OPEN };
            model.nodes.insert(path.into(), Node { data: Some(Vec::new()), stat, acl });
        }
        model
    }

    /// All below a path, at any depth.
    fn below(&self, path: &str) -> Vec<String> {
        let prefix = if path == "/" { "/".into() } else { format!("{path}/") };
        self.nodes.keys().filter(|other| other.len() > prefix.len() && other.starts_with(&prefix)).cloned().collect()
    }

    fn children(&self, path: &str) -> BTreeSet<String> {
        self.below(path).into_iter().filter(|child| parent_of(child) == path).collect()
    }

    fn stat(&self, path: &str) -> Stat {
        let Node { data, stat, .. } = &self.nodes[path];
        let (num_children, owner) = (self.children(path).len() as i32, stat.ephemeral_owner);
        Stat {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            cversion: stat.cversion * 2 - num_children,
            aversion: stat.aversion,
            ephemeral_owner: if owner > 0 { SessionId(owner) } else { SessionId::NONE },
            data_length: data.as_ref().map_or(0, Vec::len) as i32,
            num_children,
            pzxid: stat.pzxid,
        }
    }

    fn count_usage(&mut self, path: &str, count: i64, bytes: i64) {
        let is_above = |subject: &&String| path == *subject || path.starts_with(&format!("{subject}/"));
        let Some(subject) = self.quotas.iter().filter(is_above).max_by_key(|subject| subject.len()) else { return };
        let Some(node) = self.nodes.get_mut(&format!("/zookeeper/quota{subject}/zookeeper_stats")) else { return };
        let text = String::from_utf8(node.data.take().unwrap_or_default()).expect("only usage is written there");
        let mut numbers =
            text.split(',').map(|pair| pair.split_once('=').map(|(_, n)| n.parse::<i64>().expect("a number")));
        let (old_count, old_bytes) = (numbers.next().flatten().unwrap_or(-1), numbers.next().flatten().unwrap_or(-1));
        node.data = Some(format!("count={},bytes={}", old_count + count, old_bytes + bytes).into_bytes());
    }

    fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>, events: &mut Vec<String>) -> (ErrorCode, Option<Stat>) {
        self.zxid = self.zxid.max(header.zxid.0);
        match txn {
            Txn::Multi(subs) => {
                for sub in subs {
                    self.apply(&TxnHeader { op: sub.op, ..*header }, &sub.txn, events);
                }
                (ErrorCode::OK, None)
            }
            Txn::Create(create) => {
                let (path, parent) = (create.path.to_string(), parent_of(&create.path));
                if !self.nodes.contains_key(&parent) {
                    return (ErrorCode::NO_NODE, None);
                }
                let exists = self.nodes.contains_key(&path);
                if !exists || header.op == OpCode::CREATE {
                    let stat = &mut self.nodes.get_mut(&parent).expect("it is there").stat;
                    let cversion =
                        if create.parent_cversion == -1 { stat.cversion + 1 } else { create.parent_cversion };
                    if cversion > stat.cversion {
                        (stat.cversion, stat.pzxid) = (cversion, header.zxid);
                    }
                }
                let acl = create.acl.clone().into_owned();
                if exists {
                    self.nodes.get_mut(&path).expect("it is there").acl = acl;
                    return (ErrorCode::NODE_EXISTS, None);
                }
                let stat = StatPersisted {
                    czxid: header.zxid,
                    mzxid: header.zxid,
                    pzxid: header.zxid,
                    ctime: header.time,
                    mtime: header.time,
                    ephemeral_owner: match create.kind {
                        CreateKind::Persistent => 0,
                        CreateKind::Ephemeral => header.session.0,
                        CreateKind::Container => i64::MIN,
                        CreateKind::Ttl(ttl) => (0xff << 56) | ttl,
                    },
                    ..StatPersisted::default()
                };
                let bytes = create.data.map_or(0, <[u8]>::len) as i64;
                self.nodes.insert(path.clone(), Node { data: create.data.map(<[u8]>::to_vec), stat, acl });
                if let Some(subject) = parent.strip_prefix("/zookeeper/quota").filter(|subject| !subject.is_empty()) {
                    if path.ends_with("/zookeeper_limits") {
                        self.quotas.insert(subject.into());
                    } else if path.ends_with("/zookeeper_stats") {
                        let all: Vec<String> = self.below(subject).into_iter().chain([subject.into()]).collect();
                        let all: Vec<&Node> = all.iter().filter_map(|path| self.nodes.get(path)).collect();
                        let bytes: usize = all.iter().map(|node| node.data.as_ref().map_or(0, Vec::len)).sum();
                        let usage = format!("count={},bytes={bytes}", all.len());
                        self.nodes.get_mut(&path).expect("just made").data = Some(usage.into_bytes());
                    }
                }
                let answer = Stat { data_length: bytes as i32, ..self.stat(&path) };
                self.count_usage(&path, 1, bytes);
                events.push(format!("NodeCreated {path} Data"));
                events.push(format!("NodeChildrenChanged {parent} Child"));
                (ErrorCode::OK, (header.op != OpCode::CREATE).then_some(answer))
            }
            Txn::Delete { path } => (self.delete(path, header.zxid, events), None),
            Txn::SetData { path, data, version } => {
                let Some(node) = self.nodes.get_mut(&**path) else { return (ErrorCode::NO_NODE, None) };
                let before = node.data.as_ref().map_or(0, Vec::len) as i64;
                node.data = data.map(<[u8]>::to_vec);
                node.stat.version = *version;
                (node.stat.mzxid, node.stat.mtime) = (header.zxid, header.time);
                let stat = self.stat(path);
                self.count_usage(path, 0, i64::from(stat.data_length) - before);
                events.push(format!("NodeDataChanged {path} Data"));
                (ErrorCode::OK, Some(stat))
            }
            Txn::SetAcl { path, acl, version } => {
                let Some(node) = self.nodes.get_mut(&**path) else { return (ErrorCode::NO_NODE, None) };
                node.acl = acl.clone().into_owned();
                node.stat.aversion = *version;
                (ErrorCode::OK, Some(self.stat(path)))
            }
            Txn::CloseSession { paths } => {
                for path in paths.iter().flatten() {
                    self.delete(path, header.zxid, events);
                }
                let owned = |(path, node): (&String, &Node)| {
                    (node.stat.ephemeral_owner == header.session.0).then(|| path.clone())
                };
                for path in self.nodes.iter().filter_map(owned).collect::<Vec<_>>() {
                    self.delete(&path, header.zxid, events);
                }
                (ErrorCode::OK, None)
            }
            Txn::Error { err } => (*err, None),
            Txn::CreateSession { .. } | Txn::Check { .. } => (ErrorCode::OK, None),
        }
    }

    fn delete(&mut self, path: &str, zxid: Zxid, events: &mut Vec<String>) -> ErrorCode {
        let parent = parent_of(path);
        let Some(node) = self.nodes.get_mut(&parent) else { return ErrorCode::NO_NODE };
        node.stat.pzxid = node.stat.pzxid.max(zxid);
        let Some(gone) = self.nodes.remove(path) else { return ErrorCode::NO_NODE };
        for below in self.below(path) {
            self.nodes.remove(&below);
        }
        if let (true, Some(subject)) = (path.ends_with("/zookeeper_limits"), parent.strip_prefix("/zookeeper/quota")) {
            self.quotas.remove(subject);
        }
        self.count_usage(path, -1, -(gone.data.map_or(0, |data| data.len()) as i64));
        events.push(format!("NodeDeleted {path} DataThenChild"));
        events.push(format!("NodeChildrenChanged {parent} Child"));
        ErrorCode::OK
    }

    fn compare(&self, view: &View) {
        assert_eq!(view.zxid(), Zxid(self.zxid));
        assert_eq!(view.node_count(), self.nodes.len() + 1);
        for (path, node) in &self.nodes {
            let znode = view.znode(path).unwrap_or_else(|| panic!("no {path}"));
            assert_eq!(znode.data(), node.data.as_deref(), "data of {path}");
            assert_eq!(*znode.persisted(), node.stat, "stat of {path}");
            assert_eq!(znode.stat(), self.stat(path), "stat of {path}");
            assert_eq!(view.acl(znode.acl_id()).list, node.acl, "list of {path}");
            assert_eq!(view.all_children_number(path), self.below(path).len(), "all below {path}");
        }
        assert_eq!(view.quotas().collect::<Vec<_>>(), self.quotas.iter().collect::<Vec<_>>());
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % n
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// Few names, so that transactions meet; quotas on some of them.
    fn path(&mut self) -> String {
        if self.below(12) == 0 {
            let (subject, name) = (*self.one_of(&["/0", "/0/1", "/1"]), *self.one_of(&["", "/zookeeper_limits"]));
            let name = if self.below(3) == 0 { "/zookeeper_stats" } else { name };
            return format!("/zookeeper/quota{subject}{name}");
        }
        (0..=self.below(3)).map(|_| format!("/{}", self.below(4))).collect()
    }

    fn txn(&mut self, in_multi: bool) -> (OpCode, Txn<'static>) {
        let path: std::borrow::Cow<'static, str> = self.path().into();
        let data: Option<&'static [u8]> =
            *self.one_of(&[None, Some(&b""[..]), Some(b"some"), Some(b"more"), Some(b"longer")]);
        let acl = match self.below(4) {
            0 => AclList::READ_ONLY,
            1 => AclList::from_entries([Acl { perms: Perms(1 + self.below(5) as i32), id: Id::anyone() }].iter()),
            _ => AclList::OPEN,
        };
        match self.below(if in_multi { 13 } else { 20 }) {
            0..=6 => {
                let kind = *self.one_of(&[
                    CreateKind::Persistent,
                    CreateKind::Persistent,
                    CreateKind::Ephemeral,
                    CreateKind::Container,
                    CreateKind::Ttl(7),
                ]);
                let op = match kind {
                    CreateKind::Container => OpCode::CREATE_CONTAINER,
                    CreateKind::Ttl(_) => OpCode::CREATE_TTL,
                    _ => *self.one_of(&[OpCode::CREATE, OpCode::CREATE2]),
                };
                let parent_cversion = if self.below(8) == 0 { self.below(50) as i32 } else { -1 };
                (op, Txn::Create(CreateTxn { path, data, acl, kind, parent_cversion }))
            }
            7..=8 => (OpCode::DELETE, Txn::Delete { path }),
            9..=11 if path.ends_with("stats") => (OpCode::CHECK, Txn::Check { path, version: 1 }),
            9..=11 => (OpCode::SET_DATA, Txn::SetData { path, data, version: self.below(9) as i32 }),
            12 => (OpCode::CHECK, Txn::Check { path, version: 1 }),
            13..=14 => (OpCode::SET_ACL, Txn::SetAcl { path, acl, version: self.below(9) as i32 }),
            15 => {
                let paths = (0..self.below(3)).map(|_| self.path().into()).collect();
                (OpCode::CLOSE_SESSION, Txn::CloseSession { paths: (self.below(2) == 0).then_some(paths) })
            }
            16 => (OpCode::ERROR, Txn::Error { err: ErrorCode::NO_NODE }),
            17 => (OpCode::CREATE_SESSION, Txn::CreateSession { timeout_ms: 1 }),
            _ => {
                let subs = (0..self.below(5)).map(|_| self.txn(true)).map(|(op, txn)| SubTxn { op, txn }).collect();
                (OpCode::MULTI, Txn::Multi(subs))
            }
        }
    }
}

/// A version, and what it has to be for ever.
struct Held {
    version: Version,
    model: Model,
    cut_at: u64,
    /// The tree was rewound to before it.
    is_left_behind: bool,
}

impl Held {
    fn check(&self) {
        check(&self.version);
        self.model.compare(&self.version);
    }
}

/// Gives how many steps went well while there was a quota with usage, to see that the dice reach that far.
fn run(seed: u64, steps: u64) -> u64 {
    let mut steps_with_quota = 0;
    let mut random = Random(seed);
    let (mut tree, mut model) = (Tree::new(OPTIONS), Model::new());
    let mut held: Vec<Held> = Vec::new();
    let mut zxid = 0;
    for step in 0..steps {
        // Now and then from the past, as in a replay over a fuzzy snapshot.
        zxid += 1;
        let at = if random.below(10) == 0 { 1 + random.below(zxid) as i64 } else { zxid as i64 };
        let (op, txn) = random.txn(false);
        let header = TxnHeader {
            session: SessionId(1 + random.below(3) as i64),
            cxid: 0,
            zxid: Zxid(at),
            time: WallTime(1000 + at),
            op,
        };
        let (mut changes, mut expected) = (Vec::new(), Vec::new());
        let applied = tree.apply(&header, &txn, &mut changes);
        let (err, stat) = model.apply(&header, &txn, &mut expected);
        assert_eq!(events(&changes), expected, "seed {seed} step {step}: {header:?} {txn:?}");
        if op != OpCode::MULTI {
            assert_eq!((applied.err, applied.stat), (err, stat), "seed {seed} step {step}: {header:?} {txn:?}");
        }
        let usage = |subject: &String| model.nodes.contains_key(&format!("/zookeeper/quota{subject}/zookeeper_stats"));
        steps_with_quota += u64::from(err == ErrorCode::OK && model.quotas.iter().any(usage));
        if step % 8 == 0 {
            check(tree.view());
            model.compare(tree.view());
        }
        if random.below(6) == 0 {
            held.push(Held { version: tree.cut(), model: model.clone(), cut_at: step, is_left_behind: false });
            if held.len() > 6 {
                held.swap_remove(random.below(held.len() as u64) as usize).check();
            }
        }
        if random.below(60) == 0 && !held.is_empty() {
            let to = random.below(held.len() as u64) as usize;
            if !held[to].is_left_behind {
                let cut_at = held[to].cut_at;
                held.iter_mut().for_each(|held| held.is_left_behind |= held.cut_at > cut_at);
                tree.rewind(&held[to].version);
                model = held[to].model.clone();
            }
        }
    }
    held.iter().for_each(Held::check);
    drop(tree);
    held.iter().for_each(Held::check);
    steps_with_quota
}

#[test]
fn random_transactions_end_where_the_model_ends() {
    let steps_with_quota: u64 = (1..=12).map(|seed: u64| run(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), 1500)).sum();
    assert!(steps_with_quota > 1000, "only {steps_with_quota} steps with a quota");
}
