//! One state of the tree, to read: the writer's head, or a version that stays as it is.

use std::ops::Deref;
use std::sync::Arc;

use super::acl_table::{AclEntry, AclId, AclTable};
use super::map::{Cursor, Map, Pin};
use super::quota::Quotas;
use super::znode::{Listed, Owner, Znode};
use crate::ids::{SessionId, Zxid};

/// What reads need.
pub struct View {
    pub(super) seed: u64,
    pub(super) nodes: Map<Znode>,
    pub(super) owners: Map<Owner>,
    pub(super) containers: Map<Listed>,
    pub(super) ttls: Map<Listed>,
    pub(super) acls: AclTable,
    pub(super) quotas: Quotas,
    pub(super) zxid: Zxid,
    pub(super) digest: u64,
    pub(super) data_size: u64,
    pub(super) ephemerals: usize,
}

impl View {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            nodes: Map::new(),
            owners: Map::new(),
            containers: Map::new(),
            ttls: Map::new(),
            acls: AclTable::new(),
            quotas: Quotas::default(),
            zxid: Zxid::ZERO,
            digest: 0,
            data_size: 0,
            ephemerals: 0,
        }
    }

    /// A second handle, which must not be read without a pin of this version.
    pub(super) fn share(&self) -> Self {
        Self {
            nodes: self.nodes.share(),
            owners: self.owners.share(),
            containers: self.containers.share(),
            ttls: self.ttls.share(),
            acls: self.acls.clone(),
            quotas: self.quotas.clone(),
            ..*self
        }
    }

    /// The last transaction in it.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// The sum of all znodes' digests; zero where digests are switched off.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Znodes, the root counted twice, as Apache counts (it has it under "" and "/").
    pub fn node_count(&self) -> usize {
        self.nodes.len() + 1
    }

    /// Bytes of data and characters of paths (UTF-16 units, as Java counts) of all znodes.
    pub fn approximate_data_size(&self) -> u64 {
        self.data_size
    }

    /// Ephemeral znodes.
    pub fn ephemeral_count(&self) -> usize {
        self.ephemerals
    }

    /// The znode at a path.
    #[inline]
    pub fn znode(&self, path: &str) -> Option<&Znode> {
        self.nodes.get(self.seed, path)
    }

    /// All znodes, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Znode> {
        self.nodes.iter()
    }

    /// A list that a znode of this view has.
    ///
    /// # Panics
    /// If none has it.
    #[inline]
    pub fn acl(&self, id: AclId) -> &Arc<AclEntry> {
        self.acls.get(id)
    }

    /// All lists; [`AclId::OPEN`], which means the same everywhere, is not among them.
    pub fn acls(&self) -> impl Iterator<Item = (AclId, &Arc<AclEntry>)> {
        self.acls.iter()
    }

    /// The paths of a session's ephemerals, in no particular order.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = &str> {
        self.owners.get(self.seed, &session).into_iter().flat_map(|owner| owner.paths.iter()).map(|path| &*path.0)
    }

    /// The sessions that have ephemerals, in no particular order.
    pub fn ephemeral_sessions(&self) -> impl Iterator<Item = SessionId> {
        self.owners.iter().map(|owner| owner.session)
    }

    /// The paths of all containers, in no particular order.
    pub fn containers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.containers.iter().map(|listed| &listed.0)
    }

    /// The paths of all znodes with a TTL, in no particular order.
    pub fn ttls(&self) -> impl Iterator<Item = &Arc<str>> {
        self.ttls.iter().map(|listed| &listed.0)
    }

    /// The deepest znode with a quota at `path` or above it. Its limits and its usage are the data of
    /// [`limits_path`](super::quota::limits_path) and [`stats_path`](super::quota::stats_path).
    pub fn quota_for<'a>(&self, path: &'a str) -> Option<&'a str> {
        self.quotas.find(path)
    }

    /// The znodes that have a quota.
    pub fn quotas(&self) -> impl Iterator<Item = &str> {
        self.quotas.iter()
    }

    /// How many znodes are below a path, at any depth. Takes as long as there are many.
    pub fn all_children_number(&self, path: &str) -> usize {
        if path == "/" { self.nodes.len() - 1 } else { self.usage(path).0.saturating_sub(1) }
    }

    /// How many znodes are at a path and below it, and the bytes of their data.
    pub(super) fn usage(&self, path: &str) -> (usize, usize) {
        // A step down costs about as much as 20 steps of a walk over everything, which is in the order of the memory.
        let steps_max = 16 + self.nodes.len() / 16;
        let (mut znodes, mut bytes) = (0, 0);
        let is_all = self.descend(path, steps_max, |znode| {
            znodes += 1;
            bytes += znode.data_len();
        });
        if is_all {
            return (znodes, bytes);
        }
        let is_below = |znode: &&Znode| {
            path == "/" || znode.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.iter().filter(is_below).fold((0, 0), |(znodes, bytes), znode| (znodes + 1, bytes + znode.data_len()))
    }

    /// Visits a znode, if it is there, and all below it, parents first; false if there are more than `steps_max`. Not
    /// recursive: paths may be as deep as frames are long.
    pub(super) fn descend(&self, path: &str, steps_max: usize, mut visit: impl FnMut(&Znode)) -> bool {
        let mut steps_left = steps_max;
        let mut open = Vec::from_iter(self.znode(path));
        while let Some(znode) = open.pop() {
            if open.len() + znode.num_children() >= steps_left {
                return false;
            }
            steps_left -= 1;
            visit(znode);
            open.extend(
                znode
                    .children
                    .iter()
                    .map(|child| self.znode(&child.0).unwrap_or_else(|| panic!("{} is a child but no znode", child.0))),
            );
        }
        true
    }
}

/// A state of the tree that stays as it is for as long as somebody holds it.
#[derive(Clone)]
pub struct Version(Arc<Pinned>);

struct Pinned {
    view: View,
    pin: Pin,
}

impl Version {
    /// The pin must be of the version whose roots the view shares.
    pub(super) fn new(view: View, pin: Pin) -> Self {
        Self(Arc::new(Pinned { view, pin }))
    }

    pub(super) fn pin(&self) -> &Pin {
        &self.0.pin
    }
}

impl Deref for Version {
    type Target = View;

    fn deref(&self) -> &View {
        &self.0.view
    }
}

/// A walk over all znodes of a version that can pause: what a snapshot writes between batches of the log.
///
/// Each znode comes once, in no particular order, so a parent may come after its child.
pub struct Walk {
    version: Version,
    /// Where it goes on; none before the start.
    cursor: Option<Cursor>,
    left: usize,
}

impl Walk {
    /// From the start.
    pub fn new(version: Version) -> Self {
        Self { left: version.nodes.len(), version, cursor: None }
    }

    /// The version it walks, which also has the lists of all znodes: [`View::acls`].
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Znodes to come.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Shows the next znodes to `visit`, as long as it returns true (of which the next visit begins behind the last one
    /// seen) and there are more. True when all have been seen.
    pub fn visit(&mut self, mut visit: impl FnMut(&Znode) -> bool) -> bool {
        let nodes = &self.version.nodes;
        let mut iter = self.cursor.as_ref().map_or_else(|| nodes.iter(), |cursor| nodes.iter_from(cursor));
        while self.left > 0 {
            let znode = iter.next().expect("a version has as many znodes as it counts");
            self.left -= 1;
            if !visit(znode) {
                break;
            }
        }
        self.cursor = Some(iter.cursor());
        self.left == 0
    }
}

/// A walk over all znodes of a version, each parent before its children, that can pause: what Apache's snapshots ask for.
pub struct Descent {
    version: Version,
    is_begun: bool,
    /// Paths of znodes whose children are still to come.
    open: Vec<Arc<str>>,
    /// The znode whose children are being shown, and where it goes on among them.
    at: Option<(Arc<str>, Cursor)>,
}

impl Descent {
    /// From the root.
    pub fn new(version: Version) -> Self {
        Self { version, is_begun: false, open: Vec::new(), at: None }
    }

    /// The version it walks.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Shows the next znodes to `visit`, as long as it returns true (of which the next visit begins behind the last one
    /// seen) and there are more. True when all have been seen.
    pub fn visit(&mut self, mut visit: impl FnMut(&Znode) -> bool) -> bool {
        let view: &View = &self.version;
        if !self.is_begun {
            self.is_begun = true;
            let root = view.znode("/").expect("every version has a root");
            self.open.push(Arc::clone(&root.path));
            if !visit(root) {
                return false;
            }
        }
        loop {
            let (parent, mut children) = match self.at.take() {
                Some((path, cursor)) => {
                    let parent = view.znode(&path).expect("it was there before");
                    (parent, parent.children.iter_from(&cursor))
                }
                None => {
                    let Some(path) = self.open.pop() else { return true };
                    let parent = view.znode(&path).expect("it was seen before");
                    (parent, parent.children.iter())
                }
            };
            while let Some(child) = children.next() {
                let child = view.znode(&child.0).unwrap_or_else(|| panic!("{} is a child but no znode", child.0));
                if child.num_children() > 0 {
                    self.open.push(Arc::clone(&child.path));
                }
                if !visit(child) {
                    self.at = Some((Arc::clone(&parent.path), children.cursor()));
                    return false;
                }
            }
        }
    }
}
