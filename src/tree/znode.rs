//! A znode, and the small entries that point to one by its path.
//!
//! Sized for millions: 128 bytes, beside the path and the data, each one allocation that everything shares which names them:
//! the znode's own copies in older versions, its parent's entry for it, a session's list, the events for watchers. So a
//! change of the stat copies neither.

use std::hint::black_box;
use std::sync::Arc;

use super::acl_table::AclId;
use super::digest;
use super::ephemeral_type::{self, OwnerKind, OwnerOptions};
use super::map::{Entry, Map, Nested, hash_bytes, hash_str};
use crate::ids::{SessionId, Zxid};
use crate::time::WallTime;
use crate::wire::stat::Stat;

/// A znode's numbers as they are kept (Apache's `StatPersisted`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StatPersisted {
    /// The transaction that created it.
    pub czxid: Zxid,
    /// The transaction that last changed its data.
    pub mzxid: Zxid,
    /// When it was created.
    pub ctime: WallTime,
    /// When its data last changed.
    pub mtime: WallTime,
    /// The transaction that last added or removed a child.
    pub pzxid: Zxid,
    /// The session of an ephemeral, or what [`ephemeral_type`] says.
    pub ephemeral_owner: i64,
    /// Changes of its data.
    pub version: i32,
    /// Children created; unlike what clients see, deletions do not count. The next sequence number.
    pub cversion: i32,
    /// Changes of its access control list.
    pub aversion: i32,
}

/// A znode of some version.
#[derive(Debug)]
pub struct Znode {
    pub(super) path: Arc<str>,
    pub(super) data: Option<Arc<[u8]>>,
    pub(super) children: Map<ChildName>,
    pub(super) stat: StatPersisted,
    pub(super) acl: AclId,
    /// CRC over path and data; unused where [`Znode::digest`] is always zero.
    prefix_crc: u32,
    digest: u32,
    kind: OwnerKind,
    is_digested: bool,
}

const _: () = assert!(size_of::<Znode>() <= 128);

impl Znode {
    pub(super) fn new(
        path: Arc<str>,
        data: Option<Arc<[u8]>>,
        acl: AclId,
        stat: StatPersisted,
        options: &NodeOptions,
    ) -> Self {
        let is_digested = options.digest_enabled && !digest::is_excluded(&path);
        let kind = OwnerKind::of(stat.ephemeral_owner, options.owners);
        let mut znode =
            Self { path, data, children: Map::new(), stat, acl, prefix_crc: 0, digest: 0, kind, is_digested };
        znode.data_changed();
        znode
    }

    /// The whole path; "/" for the root.
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// The data. `None` is null, which clients can tell from empty.
    pub fn data(&self) -> Option<&[u8]> {
        self.data.as_deref()
    }

    /// Its numbers as clients see them (`DataNode.copyStat`).
    pub fn stat(&self) -> Stat {
        let stat = &self.stat;
        let num_children = self.children.len() as i32;
        Stat {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            // Clients count creations and deletions: there were as many deletions as creations whose child is gone.
            cversion: stat.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: stat.aversion,
            ephemeral_owner: self.owner().unwrap_or(SessionId::NONE),
            data_length: self.data_len() as i32,
            num_children,
            pzxid: stat.pzxid,
        }
    }

    /// Its numbers as they are kept.
    pub fn persisted(&self) -> &StatPersisted {
        &self.stat
    }

    /// Its access control list, by number.
    pub fn acl_id(&self) -> AclId {
        self.acl
    }

    /// What it is by its owner.
    pub fn kind(&self) -> OwnerKind {
        self.kind
    }

    /// Whether it lives and dies with a session.
    pub fn is_ephemeral(&self) -> bool {
        self.kind == OwnerKind::Ephemeral
    }

    /// The session that it lives and dies with.
    pub fn owner(&self) -> Option<SessionId> {
        self.is_ephemeral().then_some(SessionId(self.stat.ephemeral_owner))
    }

    /// Its TTL in milliseconds.
    pub fn ttl_ms(&self) -> Option<i64> {
        (self.kind == OwnerKind::Ttl).then(|| ephemeral_type::ttl_of_owner(self.stat.ephemeral_owner))
    }

    /// The names of its children, in no particular order.
    pub fn children(&self) -> impl Iterator<Item = &str> {
        self.children.iter().map(Entry::key)
    }

    /// Shows the names of its children to `visit`, in no particular order: for those who want them all.
    ///
    /// A name lies two steps from the map: in the child's path, which the parent's entry points to. Of very many children
    /// neither is in a cache, and one name after the other would wait for memory twice. So some are taken together, and
    /// each step is made for all of them, so that the processor waits for all of them at once.
    pub fn visit_children(&self, mut visit: impl FnMut(&str)) {
        const TOGETHER: usize = 32;
        let mut children = self.children.iter();
        loop {
            let mut entries: [Option<&ChildName>; TOGETHER] = [None; TOGETHER];
            entries.iter_mut().zip(&mut children).for_each(|(entry, child)| *entry = Some(child));
            let entries = entries.iter().map_while(|entry| *entry);
            let mut paths: [&str; TOGETHER] = [""; TOGETHER];
            let count = paths.iter_mut().zip(entries).map(|(path, entry)| *path = &entry.0).count();
            let paths = &paths[..count];
            black_box(paths.iter().fold(0, |sum, path| sum ^ path.as_bytes().last().expect("a path is not empty")));
            paths.iter().for_each(|path| visit(name_in(path)));
            if count < TOGETHER {
                return;
            }
        }
    }

    /// How many children it has.
    pub fn num_children(&self) -> usize {
        self.children.len()
    }

    pub(super) fn data_len(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }

    /// What it adds to the tree's digest.
    pub(super) fn digest(&self) -> u64 {
        self.digest.into()
    }

    /// To be called behind every change of the stat.
    pub(super) fn stat_changed(&mut self) {
        if self.is_digested {
            self.digest = digest::node_digest(self.prefix_crc, &self.stat);
        }
    }

    /// To be called behind every change of the data.
    pub(super) fn data_changed(&mut self) {
        if self.is_digested {
            self.prefix_crc = digest::prefix_crc(&self.path, self.data.as_deref());
            self.stat_changed();
        }
    }

    /// Puts other data in; in place if it fits and no version shows the present.
    pub(super) fn set_data(&mut self, data: Option<&[u8]>) {
        let in_place = match (self.data.as_mut().and_then(Arc::get_mut), data) {
            (Some(present), Some(data)) if present.len() == data.len() => {
                present.copy_from_slice(data);
                true
            }
            _ => false,
        };
        if !in_place {
            self.data = data.map(share_data);
        }
        self.data_changed();
    }
}

/// One allocation for data, or none if it is empty.
pub(super) fn share_data(data: &[u8]) -> Arc<[u8]> {
    if data.is_empty() { Arc::default() } else { data.into() }
}

/// What of a tree's options a znode needs.
#[derive(Clone, Copy)]
pub(super) struct NodeOptions {
    pub(super) digest_enabled: bool,
    pub(super) owners: OwnerOptions,
}

/// The parent of a path and the name within it. `None` for the root and for what is no path below an existing parent.
pub(super) fn split_path(path: &str) -> Option<(&str, &str)> {
    let slash = path.rfind('/')?;
    let (parent, name) = (&path[..slash], &path[slash + 1..]);
    match (parent, name) {
        // "/" as a parent would make "//a" a child of the root.
        (_, "") | ("/", _) => None,
        ("", name) => Some(("/", name)),
        parent_and_name => Some(parent_and_name),
    }
}

/// The name at the end of a path.
fn name_in(path: &str) -> &str {
    let slash = path.rfind('/').expect("a path has a slash");
    &path[slash + 1..]
}

impl Clone for Znode {
    /// Only for the map, which puts the clone in the place of the original: the two have one map of children.
    fn clone(&self) -> Self {
        Self { path: Arc::clone(&self.path), data: self.data.clone(), children: self.children.share(), ..*self }
    }
}

impl Entry for Znode {
    type Key = str;

    fn key(&self) -> &str {
        &self.path
    }

    fn hash(key: &str, seed: u64) -> u64 {
        hash_str(seed, key)
    }

    fn matches(&self, key: &str) -> bool {
        &*self.path == key
    }

    fn nested(&self, visit: &mut Nested<'_>) {
        visit.map(&self.children);
    }
}

/// A parent's entry for a child: the end of the child's path.
#[derive(Clone, Debug)]
pub(super) struct ChildName(pub(super) Arc<str>);

impl Entry for ChildName {
    type Key = str;

    fn key(&self) -> &str {
        name_in(&self.0)
    }

    fn hash(key: &str, seed: u64) -> u64 {
        hash_str(seed, key)
    }

    fn matches(&self, key: &str) -> bool {
        // No name has a slash, so what ends with one and the name is that child, and the slash need not be looked for.
        self.0.strip_suffix(key).is_some_and(|parent| parent.ends_with('/'))
    }
}

/// A znode, named by its path: in the list of a session, of containers, of TTLs.
#[derive(Clone, Debug)]
pub(super) struct Listed(pub(super) Arc<str>);

impl Entry for Listed {
    type Key = str;

    fn key(&self) -> &str {
        &self.0
    }

    fn hash(key: &str, seed: u64) -> u64 {
        hash_str(seed, key)
    }

    fn matches(&self, key: &str) -> bool {
        &*self.0 == key
    }
}

/// A session and its ephemerals, of which there is at least one.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) session: SessionId,
    pub(super) paths: Map<Listed>,
}

impl Clone for Owner {
    /// Only for the map, which puts the clone in the place of the original: the two have one map of paths.
    fn clone(&self) -> Self {
        Self { session: self.session, paths: self.paths.share() }
    }
}

impl Entry for Owner {
    type Key = SessionId;

    fn key(&self) -> &SessionId {
        &self.session
    }

    fn hash(key: &SessionId, seed: u64) -> u64 {
        hash_bytes(seed, &key.0.to_be_bytes())
    }

    fn matches(&self, key: &SessionId) -> bool {
        self.session == *key
    }

    fn nested(&self, visit: &mut Nested<'_>) {
        visit.map(&self.paths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_into_parent_and_name() {
        assert_eq!(split_path("/a"), Some(("/", "a")));
        assert_eq!(split_path("/a/b"), Some(("/a", "b")));
        for bad in ["", "a", "/", "/a/", "//a"] {
            assert_eq!(split_path(bad), None, "{bad:?}");
        }
        let child = ChildName("/a/bc".into());
        assert_eq!((child.key(), ChildName("/x".into()).key()), ("bc", "x"));
        assert!(child.matches("bc") && !child.matches("c") && !child.matches("abc"));
    }

    #[test]
    fn data_is_replaced_in_place_only_where_no_one_else_sees_it() {
        let options = NodeOptions { digest_enabled: true, owners: OwnerOptions::default() };
        let mut znode =
            Znode::new("/a".into(), Some(share_data(b"one")), AclId::OPEN, StatPersisted::default(), &options);
        let (place, digest) = (znode.data.as_ref().map(|data| data.as_ptr()), znode.digest());
        znode.set_data(Some(b"two"));
        assert_eq!(znode.data.as_ref().map(|data| data.as_ptr()), place);
        assert_ne!(znode.digest(), digest);
        let older = znode.clone();
        znode.set_data(Some(b"six"));
        assert_eq!((older.data(), znode.data()), (Some(&b"two"[..]), Some(&b"six"[..])));
        znode.set_data(None);
        assert_eq!(znode.data(), None);
        znode.set_data(Some(b""));
        assert_eq!(znode.data(), Some(&b""[..]));
        znode.set_data(Some(b"one"));
        assert_eq!(znode.digest(), digest);
    }

    #[test]
    fn clients_see_their_own_numbers() {
        let extended =
            NodeOptions { digest_enabled: false, owners: OwnerOptions { extended_types: true, emulate_353: false } };
        let stat = |owner| StatPersisted { cversion: 7, ephemeral_owner: owner, ..StatPersisted::default() };
        let znode = |owner| Znode::new("/a".into(), None, AclId::OPEN, stat(owner), &extended);
        assert_eq!(znode(5).stat().ephemeral_owner, SessionId(5));
        assert_eq!(znode(5).stat().cversion, 14);
        assert_eq!(znode(ephemeral_type::CONTAINER_OWNER).stat().ephemeral_owner, SessionId::NONE);
        let ttl = znode(ephemeral_type::owner_of_ttl(9).expect("a TTL"));
        assert_eq!((ttl.stat().ephemeral_owner, ttl.ttl_ms(), ttl.kind()), (SessionId::NONE, Some(9), OwnerKind::Ttl));
    }
}
