//! The writer: the newest state, and what each transaction does to it (Apache's `DataTree.processTxn`).
//!
//! Transactions are absolute and already checked, so none is refused here; but a log that was written beside a fuzzy snapshot
//! of Apache's may be replayed over znodes that already have what it says. Therefore: a parent's cversion and pzxid only
//! grow; a znode that exists already, or does not any more, is an error *value* after which the tree is as well as before;
//! whatever the record says, nothing panics.

use std::sync::Arc;

use super::acl_table::{AclEntry, AclId, Interner};
use super::digest::{History, ZxidDigest};
use super::ephemeral_type::{CONTAINER_OWNER, OwnerKind, OwnerOptions, owner_of_ttl};
use super::map::{Heap, HeapStats, Map};
use super::quota::{LIMITS_NAME, QUOTA_ROOT, STATS_NAME, StatsTrack, quota_subject, stats_path};
use super::view::{Version, View};
use super::znode::{ChildName, Listed, NodeOptions, Owner, StatPersisted, Znode, share_data, split_path};
use crate::ids::{SessionId, Zxid};
use crate::time::WallTime;
use crate::wire::acl::AclList;
use crate::wire::error_code::ErrorCode;
use crate::wire::op::OpCode;
use crate::wire::stat::Stat;
use crate::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader};
use crate::wire::watch_event::EventType;

/// So many nodes of the map at least are looked at when a batch ends, to see whether they can be freed: some 0.1 ms.
const RECLAIM_MIN: usize = 1024;

const ROOT: &str = "/";
const ZOOKEEPER: &str = "/zookeeper";
/// The znode that holds the ensemble's configuration.
const CONFIG: &str = "/zookeeper/config";

/// How a tree is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Seeds the maps' hash. Clients should not be able to guess it.
    pub hash_seed: u64,
    /// `digest.enabled`: whether to keep the digest up to date.
    pub digest_enabled: bool,
    /// How `ephemeralOwner` is read.
    pub owners: OwnerOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self { hash_seed: 0, digest_enabled: true, owners: OwnerOptions::default() }
    }
}

impl Options {
    pub(super) fn node_options(&self) -> NodeOptions {
        NodeOptions { digest_enabled: self.digest_enabled, owners: self.owners }
    }
}

/// What a transaction came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// OK, or why it did nothing or only a part; for a refused request, what the record says.
    pub err: ErrorCode,
    /// The znode's stat behind it, for the operations whose answers carry one: create2, createTTL, createContainer,
    /// setData, setACL, reconfig.
    pub stat: Option<Stat>,
    /// One for each of a multi's, as far as they were looked at.
    pub subs: Vec<AppliedSub>,
}

/// What one transaction of a multi came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppliedSub {
    /// Its operation; [`OpCode::ERROR`] throughout a failed multi.
    pub op: OpCode,
    /// As in [`Applied`].
    pub err: ErrorCode,
    /// As in [`Applied`].
    pub stat: Option<Stat>,
}

/// Which watches a change concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tables {
    /// Those left by exists and getData, and the persistent ones.
    Data,
    /// Those left by getChildren, and the persistent but not the recursive ones.
    Child,
    /// First the former, then of the latter those of watchers that have not just been told.
    DataThenChild,
}

/// One thing that watchers may have to hear of.
#[derive(Clone, Debug)]
pub struct Change {
    /// What happened.
    pub event: EventType,
    /// Where.
    pub path: Arc<str>,
    /// By which transaction.
    pub zxid: Zxid,
    /// By this list a watcher must be allowed to READ: the znode's own, for a child's coming and going the parent's.
    pub acl: Arc<AclEntry>,
    /// Which watches to look through.
    pub tables: Tables,
}

/// The one writer's side of the tree: its newest state and how to change it.
pub struct Tree {
    pub(super) head: View,
    pub(super) heap: Heap,
    pub(super) acls: Interner,
    pub(super) options: Options,
    history: History,
    /// Nodes that waited to be freed behind the last cut.
    retired_before: usize,
}

/// Why a transaction did not do what it says, and the stat if it did.
type Outcome = Result<Option<Stat>, ErrorCode>;

impl Tree {
    /// What a server has that has never had a client: the root, `/zookeeper`, its `quota` and its `config`.
    pub fn new(options: Options) -> Self {
        let mut tree = Self::without_znodes(options);
        for path in [ROOT, ZOOKEEPER, QUOTA_ROOT, CONFIG] {
            let acl =
                if path == CONFIG { tree.acls.intern(&mut tree.head.acls, &AclList::READ_ONLY) } else { AclId::OPEN };
            // No client has changed its list, but Apache sets that of `config` with a version of -1 behind its creation.
            let stat = StatPersisted { aversion: if path == CONFIG { -1 } else { 0 }, ..StatPersisted::default() };
            let znode = Znode::new(path.into(), Some(share_data(b"")), acl, stat, &options.node_options());
            assert!(!tree.add(znode), "a new tree has {path} twice");
        }
        for path in [ZOOKEEPER, QUOTA_ROOT, CONFIG] {
            tree.list_child(path.into());
        }
        tree
    }

    /// Writes the configuration of the ensemble into its znode, as every member does by itself when it starts and when it has got
    /// another state (`ZKDatabase.initConfigInZKDatabase`): no transaction says so. `version` is the configuration's. The
    /// digest leaves this znode out, and the zxid stays.
    pub fn set_config(&mut self, text: &[u8], version: Zxid, time: WallTime, changes: &mut Vec<Change>) {
        if self.head.znode(CONFIG).is_none() {
            // The snapshot was written by a server that knew of no such znode.
            let acl = self.acls.intern(&mut self.head.acls, &AclList::READ_ONLY);
            let stat = StatPersisted { aversion: -1, ..StatPersisted::default() };
            let znode = Znode::new(CONFIG.into(), Some(share_data(b"")), acl, stat, &self.options.node_options());
            assert!(!self.add(znode), "{CONFIG} was missing a moment ago");
            self.list_child(CONFIG.into());
        }
        let set = self.set_data(CONFIG, Some(text), -1, version, time, changes);
        assert!(set.is_ok(), "{CONFIG} was there a moment ago");
    }

    pub(super) fn without_znodes(options: Options) -> Self {
        Self {
            head: View::new(options.hash_seed),
            heap: Heap::new(options.hash_seed),
            acls: Interner::default(),
            options,
            history: History::default(),
            retired_before: 0,
        }
    }

    /// The newest state.
    pub fn view(&self) -> &View {
        &self.head
    }

    /// The options it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The paths of all containers.
    pub fn containers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.head.containers()
    }

    /// The paths of all znodes with a TTL.
    pub fn ttls(&self) -> impl Iterator<Item = &Arc<str>> {
        self.head.ttls()
    }

    /// Samples of the digest, the oldest first.
    pub fn digest_history(&self) -> impl Iterator<Item = ZxidDigest> {
        self.history.iter()
    }

    /// What the versions hold.
    pub fn heap_stats(&self) -> HeapStats {
        self.heap.stats()
    }

    /// Ends a batch: gives a version of the present state, and frees some of what no version shows any more: more than the
    /// batch left behind, but not all that was kept for a snapshot at once, which would take as long as the snapshot is big.
    pub fn cut(&mut self) -> Version {
        let view = self.head.share();
        let version = Version::new(view, self.heap.cut());
        let retired = self.heap.stats().retired_nodes.saturating_sub(self.retired_before);
        self.heap.reclaim_some(RECLAIM_MIN + 2 * retired);
        self.retired_before = self.heap.stats().retired_nodes;
        version
    }

    /// Frees what no version shows any more, looking at so many nodes of the map at most; true if none is left over. For when
    /// there is nothing else to do: [`Tree::cut`] keeps up by itself.
    pub fn reclaim(&mut self, nodes_max: usize) -> bool {
        let is_all = self.heap.reclaim_some(nodes_max);
        self.retired_before = self.heap.stats().retired_nodes;
        is_all
    }

    /// Makes an older version the newest state again, as a leader must that loses its office before its last writes were
    /// committed. Takes as long as there are many znodes.
    ///
    /// # Panics
    /// If the version is not one that this tree's newest state descends from.
    pub fn rewind(&mut self, to: &Version) {
        let (pin, was) = (to.pin(), &**to);
        self.heap.rewind(pin);
        self.head.nodes.rewind(&mut self.heap, pin, &was.nodes);
        self.head.owners.rewind(&mut self.heap, pin, &was.owners);
        self.head.containers.rewind(&mut self.heap, pin, &was.containers);
        self.head.ttls.rewind(&mut self.heap, pin, &was.ttls);
        self.head.acls = was.acls.clone();
        self.head.quotas = was.quotas.clone();
        self.head.zxid = was.zxid;
        self.head.digest = was.digest;
        self.head.data_size = was.data_size;
        self.head.ephemerals = was.ephemerals;
        self.acls.recount(&self.head.acls, self.head.nodes.iter().map(|znode| znode.acl));
        self.history.rewind(was.zxid);
    }

    /// Does what a transaction says, and adds to `changes` what watchers may have to hear, in Apache's order.
    ///
    /// For any transaction, whatever it says, in any state; done twice it is as if done once, apart from errors for what
    /// exists already or no longer. It takes its zxid even if it is an error.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>, changes: &mut Vec<Change>) -> Applied {
        let mut applied = Applied { err: ErrorCode::OK, stat: None, subs: Vec::new() };
        if let Txn::Multi(subs) = txn {
            applied.subs.reserve_exact(subs.len());
            let failed = subs.iter().any(|sub| sub.op == OpCode::ERROR);
            let mut behind_error = false;
            for sub in subs {
                if !is_of_multi(sub.op, &sub.txn) {
                    // Apache throws here, drops the rest and counts the transaction as done.
                    break;
                }
                behind_error |= sub.op == OpCode::ERROR;
                let outcome = if failed && sub.op != OpCode::ERROR {
                    Err(if behind_error { ErrorCode::RUNTIME_INCONSISTENCY } else { ErrorCode::OK })
                } else {
                    self.apply_one(&TxnHeader { op: sub.op, ..*header }, &sub.txn, changes)
                };
                let op = if failed { OpCode::ERROR } else { sub.op };
                let (err, stat) = split_outcome(outcome);
                if applied.err == ErrorCode::OK {
                    applied.err = err;
                }
                applied.subs.push(AppliedSub { op, err, stat });
            }
        } else {
            (applied.err, applied.stat) = split_outcome(self.apply_one(header, txn, changes));
        }
        if header.zxid > self.head.zxid {
            self.head.zxid = header.zxid;
        }
        self.history.note(header.zxid, self.head.digest);
        applied
    }

    fn apply_one(&mut self, header: &TxnHeader, txn: &Txn<'_>, changes: &mut Vec<Change>) -> Outcome {
        let (zxid, time) = (header.zxid, header.time);
        match txn {
            Txn::Create(create) => {
                let owner = match create.kind {
                    CreateKind::Persistent => 0,
                    CreateKind::Ephemeral => header.session.0,
                    CreateKind::Container => CONTAINER_OWNER,
                    CreateKind::Ttl(ttl_ms) => owner_of_ttl(ttl_ms).ok_or(ErrorCode::BAD_ARGUMENTS)?,
                };
                let stat = self.create(create, owner, zxid, time, changes);
                if header.op != OpCode::CREATE {
                    return stat.map(Some);
                }
                if stat == Err(ErrorCode::NODE_EXISTS) {
                    // The parent in a fuzzy snapshot may be older than this child of it.
                    self.raise_cversion(&create.path, create.parent_cversion, zxid);
                }
                stat.map(|_| None)
            }
            Txn::Delete { path } => self.delete(path, zxid, changes).map(|()| None),
            Txn::SetData { path, data, version } => self.set_data(path, *data, *version, zxid, time, changes).map(Some),
            Txn::SetAcl { path, acl, version } => self.set_acl(path, acl, *version).map(Some),
            Txn::CloseSession { paths } => {
                self.close_session(header.session, paths.iter().flatten().map(|path| &**path), zxid, changes);
                Ok(None)
            }
            Txn::Error { err } => Err(*err),
            Txn::CreateSession { .. } | Txn::Check { .. } | Txn::Multi(_) => Ok(None),
        }
    }

    fn create(
        &mut self,
        create: &CreateTxn<'_>,
        owner: i64,
        zxid: Zxid,
        time: WallTime,
        changes: &mut Vec<Change>,
    ) -> Result<Stat, ErrorCode> {
        let (parent_path, name) = split_path(&create.path).ok_or_else(|| no_such_child(&create.path))?;
        let head = &mut self.head;
        if head.znode(&create.path).is_some() {
            // In a fuzzy snapshot the znode may name a list that was not yet in the table: the transaction sets it right.
            self.replace_acl(&create.path, &create.acl);
            return Err(ErrorCode::NODE_EXISTS);
        }
        let parent = head.nodes.get_mut(&mut self.heap, parent_path).ok_or(ErrorCode::NO_NODE)?;
        let path: Arc<str> = (&*create.path).into();
        head.digest = head.digest.wrapping_sub(parent.digest());
        raise(parent, create.parent_cversion, zxid);
        parent.children.insert(&mut self.heap, ChildName(Arc::clone(&path)));
        head.digest = head.digest.wrapping_add(parent.digest());
        let (parent_path, parent_acl) = (Arc::clone(&parent.path), parent.acl);

        let acl = self.acls.intern(&mut head.acls, &create.acl);
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            ctime: time,
            mtime: time,
            pzxid: zxid,
            ephemeral_owner: owner,
            ..StatPersisted::default()
        };
        let data = create.data.map(share_data);
        let znode = Znode::new(Arc::clone(&path), data, acl, stat, &self.options.node_options());
        let stat = znode.stat();
        assert!(!self.add(znode), "{path} was created in the place of another");

        if let Some(subject) = quota_subject(&parent_path) {
            match name {
                LIMITS_NAME => self.head.quotas.insert(subject),
                STATS_NAME => self.recount_quota(subject),
                _ => {}
            }
        }
        self.count_usage(&path, 1, stat.data_length.into());

        self.tell(changes, EventType::NodeCreated, path, zxid, acl, Tables::Data);
        self.tell(changes, EventType::NodeChildrenChanged, parent_path, zxid, parent_acl, Tables::Child);
        Ok(stat)
    }

    fn delete(&mut self, path: &str, zxid: Zxid, changes: &mut Vec<Change>) -> Result<(), ErrorCode> {
        let (parent_path, name) = split_path(path).ok_or_else(|| no_such_child(path))?;
        let head = &mut self.head;
        // The parent's pzxid comes first: the child may be gone from a fuzzy snapshot whose parent is older.
        let parent = head.nodes.get_mut(&mut self.heap, parent_path).ok_or(ErrorCode::NO_NODE)?;
        head.digest = head.digest.wrapping_sub(parent.digest());
        if zxid > parent.stat.pzxid {
            parent.stat.pzxid = zxid;
            parent.stat_changed();
        }
        head.digest = head.digest.wrapping_add(parent.digest());
        if !parent.children.remove(&mut self.heap, name) {
            return Err(ErrorCode::NO_NODE);
        }
        let (parent_path, parent_acl) = (Arc::clone(&parent.path), parent.acl);

        let znode = head.znode(path).unwrap_or_else(|| panic!("{path} is a child but no znode"));
        let (path, acl, bytes) = (Arc::clone(&znode.path), znode.acl, znode.data_len());
        let acl_entry = Arc::clone(head.acl(acl));
        if znode.num_children() > 0 {
            self.remove_below(&path);
        }
        self.remove(&path);
        if let (LIMITS_NAME, Some(subject)) = (name, quota_subject(&parent_path)) {
            self.head.quotas.remove(subject);
        }
        self.count_usage(&path, -1, -(bytes as i64));

        let event = EventType::NodeDeleted;
        changes.push(Change { event, path, zxid, acl: acl_entry, tables: Tables::DataThenChild });
        self.tell(changes, EventType::NodeChildrenChanged, parent_path, zxid, parent_acl, Tables::Child);
        Ok(())
    }

    fn set_data(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        zxid: Zxid,
        time: WallTime,
        changes: &mut Vec<Change>,
    ) -> Result<Stat, ErrorCode> {
        let head = &mut self.head;
        let znode = head.nodes.get_mut(&mut self.heap, path).ok_or(ErrorCode::NO_NODE)?;
        let bytes_before = znode.data_len();
        head.digest = head.digest.wrapping_sub(znode.digest());
        znode.stat.mtime = time;
        znode.stat.mzxid = zxid;
        znode.stat.version = version;
        znode.set_data(data);
        head.digest = head.digest.wrapping_add(znode.digest());
        head.data_size = head.data_size - bytes_before as u64 + znode.data_len() as u64;
        let (path, stat, acl) = (Arc::clone(&znode.path), znode.stat(), znode.acl);
        self.count_usage(&path, 0, i64::from(stat.data_length) - bytes_before as i64);
        self.tell(changes, EventType::NodeDataChanged, path, zxid, acl, Tables::Data);
        Ok(stat)
    }

    fn set_acl(&mut self, path: &str, list: &AclList<'_>, version: i32) -> Result<Stat, ErrorCode> {
        if !self.replace_acl(path, list) {
            return Err(ErrorCode::NO_NODE);
        }
        let head = &mut self.head;
        let znode = head.nodes.get_mut(&mut self.heap, path).expect("it is there: its list was replaced");
        head.digest = head.digest.wrapping_sub(znode.digest());
        znode.stat.aversion = version;
        znode.stat_changed();
        head.digest = head.digest.wrapping_add(znode.digest());
        Ok(znode.stat())
    }

    /// Deletes what the record lists, and then whatever else the session owns.
    fn close_session<'a>(
        &mut self,
        session: SessionId,
        listed: impl Iterator<Item = &'a str>,
        zxid: Zxid,
        changes: &mut Vec<Change>,
    ) {
        for path in listed {
            // One that is gone already is well.
            let _ = self.delete(path, zxid, changes);
        }
        let Some(owner) = self.head.owners.get(self.head.seed, &session) else { return };
        let mut left: Vec<Arc<str>> = owner.paths.iter().map(|path| Arc::clone(&path.0)).collect();
        // Watchers and replicas should hear of them in one order, whatever the maps are seeded with.
        left.sort_unstable();
        for path in left {
            let _ = self.delete(&path, zxid, changes);
        }
    }

    /// Puts a znode in and counts it, all but its parent's entry for it. True if there was one with its path, which must not
    /// be: the tree is spoilt then.
    #[must_use]
    pub(super) fn add(&mut self, znode: Znode) -> bool {
        let head = &mut self.head;
        let path = &znode.path;
        head.digest = head.digest.wrapping_add(znode.digest());
        head.data_size += size_of_znode(&znode);
        let (kind, owner) = (znode.kind(), znode.stat.ephemeral_owner);
        if kind != OwnerKind::Persistent {
            let path = Arc::clone(path);
            self.list_by_owner(kind, owner, path);
        }
        self.head.nodes.insert(&mut self.heap, znode)
    }

    /// Enters a znode into the list that is kept of its kind.
    pub(super) fn list_by_owner(&mut self, kind: OwnerKind, owner: i64, path: Arc<str>) {
        let head = &mut self.head;
        match kind {
            OwnerKind::Persistent => {}
            OwnerKind::Container => drop(head.containers.insert(&mut self.heap, Listed(path))),
            OwnerKind::Ttl => drop(head.ttls.insert(&mut self.heap, Listed(path))),
            OwnerKind::Ephemeral => {
                let session = SessionId(owner);
                if head.owners.get(head.seed, &session).is_none() {
                    head.owners.insert(&mut self.heap, Owner { session, paths: Map::new() });
                }
                let owner = head.owners.get_mut(&mut self.heap, &session).expect("it was put in");
                owner.paths.insert(&mut self.heap, Listed(path));
                head.ephemerals += 1;
            }
        }
    }

    /// Takes a znode without children out, all but its parent's entry for it.
    fn remove(&mut self, path: &Arc<str>) {
        let head = &mut self.head;
        let znode = head.nodes.get(head.seed, path).unwrap_or_else(|| panic!("{path} to be removed is no znode"));
        assert!(znode.children.is_empty(), "{path} to be removed has children");
        head.digest = head.digest.wrapping_sub(znode.digest());
        head.data_size -= size_of_znode(znode);
        let acl = znode.acl;
        match znode.kind() {
            OwnerKind::Persistent => {}
            OwnerKind::Container => drop(head.containers.remove(&mut self.heap, path)),
            OwnerKind::Ttl => drop(head.ttls.remove(&mut self.heap, path)),
            OwnerKind::Ephemeral => {
                let session = SessionId(znode.stat.ephemeral_owner);
                let owner = head.owners.get_mut(&mut self.heap, &session).expect("an ephemeral's session is listed");
                owner.paths.remove(&mut self.heap, path);
                if owner.paths.is_empty() {
                    head.owners.remove(&mut self.heap, &session);
                }
                head.ephemerals -= 1;
            }
        }
        head.nodes.remove(&mut self.heap, path);
        self.acls.release(&mut head.acls, acl);
    }

    /// Takes out all below a znode. Only in replays over a fuzzy snapshot does a deletion find children: they were created
    /// when the znode was there for a second time, and the log will create both again.
    fn remove_below(&mut self, path: &Arc<str>) {
        let mut below = Vec::new();
        self.head.descend(path, usize::MAX, |znode| below.push(Arc::clone(&znode.path)));
        // Parents came first, so from the back children come first.
        for path in below[1..].iter().rev() {
            let (parent, name) = split_path(path).expect("a path below another has a parent");
            let parent = self.head.nodes.get_mut(&mut self.heap, parent).expect("children are removed before parents");
            parent.children.remove(&mut self.heap, name);
            self.remove(path);
        }
    }

    /// Enters a znode into its parent's children; false if there is no parent.
    fn list_child(&mut self, path: Arc<str>) -> bool {
        let Some((parent, _)) = split_path(&path) else { return false };
        let Some(parent) = self.head.nodes.get_mut(&mut self.heap, parent) else { return false };
        parent.children.insert(&mut self.heap, ChildName(path));
        true
    }

    /// Gives a znode another list; false if it is not there.
    fn replace_acl(&mut self, path: &str, list: &AclList<'_>) -> bool {
        let head = &mut self.head;
        let Some(before) = head.znode(path).map(|znode| znode.acl) else { return false };
        let after = self.acls.intern(&mut head.acls, list);
        self.acls.release(&mut head.acls, before);
        if after != before {
            head.nodes.get_mut(&mut self.heap, path).expect("it was there a moment ago").acl = after;
        }
        true
    }

    /// Leads the parent of an existing child to where the child's creation left it (`setCversionPzxid`).
    fn raise_cversion(&mut self, child: &str, cversion: i32, zxid: Zxid) {
        let head = &mut self.head;
        let Some((parent, _)) = split_path(child) else { return };
        let Some(parent) = head.nodes.get_mut(&mut self.heap, parent) else { return };
        head.digest = head.digest.wrapping_sub(parent.digest());
        raise(parent, cversion, zxid);
        head.digest = head.digest.wrapping_add(parent.digest());
    }

    /// Counts a change into the usage of the deepest quota above it.
    fn count_usage(&mut self, path: &str, count: i64, bytes: i64) {
        if let Some(subject) = self.head.quota_for(path) {
            let stats_path = stats_path(subject);
            let Some(znode) = self.head.znode(&stats_path) else { return };
            let mut usage = StatsTrack::parse(znode.data().unwrap_or_default());
            usage.add(count, bytes);
            let usage = usage.to_string();
            self.write_usage(&stats_path, &usage);
        }
    }

    /// Counts the usage of a quota anew (`updateQuotaForPath`).
    pub(super) fn recount_quota(&mut self, subject: &str) {
        let (count, bytes) = self.head.usage(subject);
        let (count, bytes) = (count as i64, bytes as i64);
        self.write_usage(&stats_path(subject), &StatsTrack::of_usage(count, bytes).to_string());
    }

    /// Enters a subject that has limits, with its usage, when a snapshot is loaded.
    pub(super) fn load_quota(&mut self, subject: &str) {
        self.recount_quota(subject);
        self.head.quotas.insert(subject);
    }

    /// Writes usage, without a version and unseen by watches and the digest, as Apache does.
    fn write_usage(&mut self, stats_path: &str, usage: &str) {
        let head = &mut self.head;
        let Some(znode) = head.nodes.get_mut(&mut self.heap, stats_path) else { return };
        head.data_size -= znode.data_len() as u64;
        znode.set_data(Some(usage.as_bytes()));
        head.data_size += znode.data_len() as u64;
    }

    /// Counts the znodes of each list, and leaves in the table only what znodes have: behind a load that entered all lists first.
    pub(super) fn count_acls(&mut self, znodes: impl Iterator<Item = (AclId, u64)>) {
        let head = &mut self.head;
        self.acls.recount_by(&head.acls, znodes);
        self.acls.purge(&mut head.acls);
    }

    fn tell(
        &self,
        changes: &mut Vec<Change>,
        event: EventType,
        path: Arc<str>,
        zxid: Zxid,
        acl: AclId,
        tables: Tables,
    ) {
        changes.push(Change { event, path, zxid, acl: Arc::clone(self.head.acl(acl)), tables });
    }
}

impl Drop for Tree {
    /// Frees the newest state; versions that are still held keep theirs.
    fn drop(&mut self) {
        self.head.nodes.clear(&mut self.heap);
        self.head.owners.clear(&mut self.heap);
        self.head.containers.clear(&mut self.heap);
        self.head.ttls.clear(&mut self.heap);
    }
}

/// Sets a parent's cversion to what it is behind the creation of a child, unless it is behind a later one already.
fn raise(parent: &mut Znode, cversion: i32, zxid: Zxid) {
    let cversion = if cversion == -1 { parent.stat.cversion.wrapping_add(1) } else { cversion };
    if cversion > parent.stat.cversion {
        parent.stat.cversion = cversion;
        parent.stat.pzxid = zxid;
        parent.stat_changed();
    }
}

/// A path's length as Java has it, and the data's.
pub(super) fn size_of_znode(znode: &Znode) -> u64 {
    let path = if znode.path.is_ascii() { znode.path.len() } else { znode.path.encode_utf16().count() };
    (path + znode.data_len()) as u64
}

/// Whether Apache knows an operation as part of a multi.
fn is_of_multi(op: OpCode, txn: &Txn<'_>) -> bool {
    match txn {
        Txn::Create(_) | Txn::Delete { .. } | Txn::Check { .. } | Txn::Error { .. } => true,
        Txn::SetData { .. } => op == OpCode::SET_DATA,
        Txn::CreateSession { .. } | Txn::CloseSession { .. } | Txn::SetAcl { .. } | Txn::Multi(_) => false,
    }
}

/// What it means that a path is no child of anything. Apache fails in other ways, but never gets such transactions.
fn no_such_child(path: &str) -> ErrorCode {
    if path == ROOT { ErrorCode::BAD_ARGUMENTS } else { ErrorCode::NO_NODE }
}

fn split_outcome(outcome: Outcome) -> (ErrorCode, Option<Stat>) {
    match outcome {
        Ok(stat) => (ErrorCode::OK, stat),
        Err(err) => (err, None),
    }
}
