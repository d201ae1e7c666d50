//! What the znodes have to be: a plain model of ZooKeeper's tree with the whole past of every path, fed with the committed
//! transactions. It shares no code with the product's tree.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use zoo_server::ids::{SessionId, Zxid};
use zoo_server::tree::View;
use zoo_server::wire::stat::Stat;
use zoo_server::wire::txn::{CreateKind, Txn, TxnHeader};

/// A znode at some moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    pub data: Option<Rc<[u8]>>,
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub pzxid: Zxid,
    pub version: i32,
    pub aversion: i32,
    /// Children ever created.
    pub created: i32,
    pub children: i32,
    pub owner: SessionId,
}

impl Node {
    /// Whether this is what a client is told.
    pub fn is(&self, stat: &Stat) -> bool {
        let data_length = self.data.as_ref().map_or(0, |data| data.len()) as i32;
        (self.czxid, self.mzxid, self.pzxid) == (stat.czxid, stat.mzxid, stat.pzxid)
            && (self.version, self.aversion) == (stat.version, stat.aversion)
            && (2 * self.created - self.children, self.children) == (stat.cversion, stat.num_children)
            && (self.owner, data_length) == (stat.ephemeral_owner, stat.data_length)
    }
}

#[derive(Default)]
pub struct Model {
    /// By path: what it was from each transaction on that changed it.
    past: BTreeMap<String, Vec<(Zxid, Option<Node>)>>,
    /// Sessions that live, and those that have lived.
    sessions: BTreeMap<SessionId, bool>,
    /// By session: its ephemerals.
    ephemerals: BTreeMap<SessionId, BTreeSet<String>>,
    /// The newest sequence number given below a path.
    numbers: BTreeMap<String, i64>,
    /// What a recursive watcher of everything would be told, in order.
    pub changes: Vec<(Zxid, String)>,
    pub zxid: Zxid,
}

/// The znodes that every server has from its start are not ours to judge.
fn is_judged(path: &str) -> bool {
    path != "/" && !path.starts_with("/zookeeper")
}

fn parent_of(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

impl Model {
    /// What is at a path now.
    fn now(&self, path: &str) -> Option<&Node> {
        self.past.get(path)?.last()?.1.as_ref()
    }

    /// What was at a path when the last transaction was `zxid`.
    pub fn at(&self, path: &str, zxid: Zxid) -> Option<&Node> {
        let past = self.past.get(path)?;
        let index = past.partition_point(|(changed, _)| *changed <= zxid);
        past[..index].last()?.1.as_ref()
    }

    /// The names of a znode's children when the last transaction was `zxid`.
    pub fn children_at(&self, path: &str, zxid: Zxid) -> BTreeSet<&str> {
        let prefix = format!("{path}/");
        let below = self.past.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        below
            .filter(|(path, _)| !path[prefix.len()..].contains('/') && self.at(path, zxid).is_some())
            .map(|(path, _)| &path[prefix.len()..])
            .collect()
    }

    /// The first transaction behind `after` that changed the data of a path, or made it or unmade it.
    pub fn next_data_change(&self, path: &str, after: Zxid) -> Option<Zxid> {
        let past = self.past.get(path)?;
        let from = past.partition_point(|(changed, _)| *changed <= after);
        past[from..]
            .iter()
            .find(|(zxid, node)| node.as_ref().is_none_or(|node| node.mzxid == *zxid))
            .map(|(zxid, _)| *zxid)
    }

    /// The first transaction behind `after` that gave a path a child, or took one, or made or unmade the path itself.
    pub fn next_child_change(&self, path: &str, after: Zxid) -> Option<Zxid> {
        let past = self.past.get(path)?;
        let from = past.partition_point(|(changed, _)| *changed <= after);
        past[from..]
            .iter()
            .find(|(zxid, node)| node.as_ref().is_none_or(|node| node.pzxid == *zxid))
            .map(|(zxid, _)| *zxid)
    }

    pub fn is_live(&self, session: SessionId) -> bool {
        self.sessions.get(&session) == Some(&true)
    }

    /// Whether it ever was, live or not.
    pub fn has_been(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    fn put(&mut self, path: &str, zxid: Zxid, node: Option<Node>) {
        if !is_judged(path) {
            return;
        }
        let past = self.past.entry(path.to_owned()).or_default();
        if past.last().is_some_and(|(last, _)| *last == zxid) {
            past.pop();
        }
        past.push((zxid, node));
    }

    /// A committed transaction. What is wrong with it, if anything.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Result<(), String> {
        self.zxid = header.zxid;
        self.change(header, txn)
    }

    fn change(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Result<(), String> {
        let zxid = header.zxid;
        match txn {
            Txn::CreateSession { .. } => {
                self.sessions.insert(header.session, true);
            }
            Txn::CloseSession { .. } => {
                self.sessions.insert(header.session, false);
                // Whatever the record lists: none of them may stay.
                for path in self.ephemerals.remove(&header.session).unwrap_or_default() {
                    self.delete(&path, zxid)?;
                }
            }
            Txn::Create(create) => {
                let path = &*create.path;
                if self.now(path).is_some() {
                    return Err(format!("{zxid} creates {path}, which is there already"));
                }
                let owner = match create.kind {
                    CreateKind::Ephemeral => header.session,
                    _ => SessionId::NONE,
                };
                if owner != SessionId::NONE {
                    if !self.is_live(owner) {
                        return Err(format!("{zxid} creates an ephemeral {path} of session {owner}, which is dead"));
                    }
                    self.ephemerals.entry(owner).or_default().insert(path.to_owned());
                }
                let parent = parent_of(path).to_owned();
                if is_judged(&parent) {
                    let Some(mut node) = self.now(&parent).cloned() else {
                        return Err(format!("{zxid} creates {path}, which has no parent"));
                    };
                    self.number(&parent, path, zxid)?;
                    node.created += 1;
                    node.children += 1;
                    node.pzxid = zxid;
                    self.put(&parent, zxid, Some(node));
                }
                let node = Node {
                    data: create.data.map(Rc::from),
                    czxid: zxid,
                    mzxid: zxid,
                    pzxid: zxid,
                    version: 0,
                    aversion: 0,
                    created: 0,
                    children: 0,
                    owner,
                };
                self.put(path, zxid, Some(node));
                self.changes.push((zxid, path.to_owned()));
            }
            Txn::Delete { path } => self.delete(path, zxid)?,
            Txn::SetData { path, data, version } => {
                if is_judged(path) {
                    let Some(mut node) = self.now(path).cloned() else {
                        return Err(format!("{zxid} sets the data of {path}, which is not there"));
                    };
                    if node.version + 1 != *version {
                        return Err(format!("{zxid} makes {path} version {version} behind {}", node.version));
                    }
                    node.data = data.map(Rc::from);
                    node.version = *version;
                    node.mzxid = zxid;
                    self.put(path, zxid, Some(node));
                    self.changes.push((zxid, path.to_string()));
                }
            }
            Txn::SetAcl { path, version, .. } => {
                if let Some(mut node) = self.now(path).cloned() {
                    node.aversion = *version;
                    self.put(path, zxid, Some(node));
                }
            }
            // One that failed names what was prepared before the failure, and does nothing.
            Txn::Multi(subs) if subs.iter().any(|sub| matches!(sub.txn, Txn::Error { .. })) => {}
            Txn::Multi(subs) => {
                for sub in subs {
                    self.change(header, &sub.txn)?;
                }
            }
            Txn::Check { .. } | Txn::Error { .. } => {}
        }
        Ok(())
    }

    fn delete(&mut self, path: &str, zxid: Zxid) -> Result<(), String> {
        let Some(node) = self.now(path) else { return Err(format!("{zxid} deletes {path}, which is not there")) };
        if node.children > 0 {
            return Err(format!("{zxid} deletes {path}, which has children"));
        }
        let owner = node.owner;
        if let Some(paths) = self.ephemerals.get_mut(&owner) {
            paths.remove(path);
        }
        self.put(path, zxid, None);
        self.changes.push((zxid, path.to_owned()));
        let parent = parent_of(path).to_owned();
        if let Some(mut node) = self.now(&parent).cloned() {
            node.children -= 1;
            node.pzxid = zxid;
            self.put(&parent, zxid, Some(node));
        }
        Ok(())
    }

    /// Sequence numbers rise, and none is given twice.
    fn number(&mut self, parent: &str, path: &str, zxid: Zxid) -> Result<(), String> {
        let digits = path.len().checked_sub(10).map(|at| &path.as_bytes()[at..]);
        let Some(digits) = digits.filter(|digits| digits.iter().all(u8::is_ascii_digit)) else { return Ok(()) };
        let number = digits.iter().fold(0_i64, |number, digit| number * 10 + i64::from(digit - b'0'));
        match self.numbers.insert(parent.to_owned(), number) {
            Some(before) if before >= number => {
                Err(format!("{zxid} gives the number {number} in {path} behind {before}"))
            }
            _ => Ok(()),
        }
    }

    /// Compares a server's tree with what it has to be at its zxid, and names the first difference.
    pub fn compare(&self, view: &View) -> Result<(), String> {
        let zxid = view.zxid();
        let mut expected = 0;
        for path in self.past.keys() {
            let (ours, theirs) = (self.at(path, zxid), view.znode(path));
            expected += usize::from(ours.is_some());
            match (ours, theirs) {
                (None, None) => {}
                (Some(node), Some(znode)) if node.is(&znode.stat()) && node.data.as_deref() == znode.data() => {}
                (ours, theirs) => {
                    let theirs = theirs.map(|znode| (znode.stat(), znode.data().map(<[u8]>::len)));
                    return Err(format!("at {zxid} {path} has to be {ours:?} and is {theirs:?}"));
                }
            }
        }
        let found = view.iter().filter(|znode| is_judged(znode.path())).count();
        if found != expected {
            return Err(format!("at {zxid} there have to be {expected} znodes and are {found}"));
        }
        Ok(())
    }
}
