//! A tree from the znodes of a snapshot, which may come in any order and on several threads.
//!
//! Most of the work of a znode is to decode it, to take its CRC and to hash its path: each thread does this into a [`Part`] of
//! its own. When all znodes are there, [`Loader::finish_load`] sorts them and builds the maps, each in one go ([`super::map::Leaves`]):
//! the znodes' map, and one of its children for each znode that has any. The two kinds know nothing of each other until
//! the end, so two threads may do them beside each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::acl_table::AclId;
use super::ephemeral_type::OwnerKind;
use super::map::{Entry, Leaves, Map, Scratch};
use super::quota::{LIMITS_NAME, QUOTA_ROOT, quota_subject};
use super::writer::{Options, Tree, size_of_znode};
use super::znode::{ChildName, NodeOptions, StatPersisted, Znode, share_data, split_path};
use crate::ids::Zxid;
use crate::wire::acl::AclList;

/// Why znodes are no tree. The bytes were read well, so this is damage that no checksum saw, or another's mistake.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LoadError {
    /// No znode at "/".
    #[error("there is no root")]
    NoRoot,
    /// The znode's parent is not there, or its path is none.
    #[error("the znode {0} has no parent")]
    DanglingParent(Arc<str>),
    /// Two znodes with one path.
    #[error("the znode {0} is there twice")]
    Duplicate(Arc<str>),
    /// The znode names a list that is not in the table.
    #[error("the znode {0} has an unknown access control list")]
    UnknownAcl(Arc<str>),
}

/// Some of the znodes of a tree that is being loaded, with what is counted of them.
pub struct Part {
    options: NodeOptions,
    znodes: Leaves<Znode>,
    /// Each znode's name for its parent, in the order in which they came; the root has none.
    names: Leaves<ChildName>,
    siblings: Vec<Siblings>,
    digest: u64,
    data_size: u64,
    /// Znodes by list, and one of them.
    lists: BTreeMap<AclId, (u64, Arc<str>)>,
    /// Those that are listed elsewhere too: what they are, their owner, their path.
    owned: Vec<(OwnerKind, i64, Arc<str>)>,
    /// The first whose path is none.
    pathless: Option<Arc<str>>,
}

/// Names that came one behind the other and have one parent.
struct Siblings {
    parent_hash: u64,
    /// The path of one of them.
    path: Arc<str>,
    /// Where they stand among the part's names.
    from: usize,
    to: usize,
}

impl Siblings {
    fn parent(&self) -> &str {
        split_path(&self.path).expect("only names with a parent are siblings").0
    }
}

impl Part {
    fn new(options: &Options) -> Self {
        Self {
            options: options.node_options(),
            znodes: Leaves::new(options.hash_seed),
            names: Leaves::new(options.hash_seed),
            siblings: Vec::new(),
            digest: 0,
            data_size: 0,
            lists: BTreeMap::new(),
            owned: Vec::new(),
            pathless: None,
        }
    }

    /// How many znodes are in it.
    pub fn len(&self) -> usize {
        self.znodes.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.znodes.is_empty()
    }

    /// Makes room for so many znodes.
    pub fn reserve(&mut self, znodes: usize) {
        self.znodes.reserve(znodes);
        self.names.reserve(znodes);
    }

    /// Adds a znode; "" is the root too, as in Apache's snapshots. The list is one that [`Loader::insert_acl`] gave.
    pub fn add(&mut self, path: &str, data: Option<&[u8]>, acl: AclId, stat: StatPersisted) {
        let path = if path.is_empty() { "/" } else { path };
        let znode = Znode::new(path.into(), data.map(share_data), acl, stat, &self.options);
        let path = &znode.path;
        self.digest = self.digest.wrapping_add(znode.digest());
        self.data_size += size_of_znode(&znode);
        match self.lists.get_mut(&znode.acl) {
            Some((znodes, _)) => *znodes += 1,
            None => drop(self.lists.insert(znode.acl, (1, Arc::clone(path)))),
        }
        if znode.kind() != OwnerKind::Persistent {
            self.owned.push((znode.kind(), znode.stat.ephemeral_owner, Arc::clone(path)));
        }
        if let Some((parent, _)) = split_path(path) {
            let at = self.names.len();
            match self.siblings.last_mut().filter(|siblings| siblings.parent() == parent) {
                Some(siblings) => siblings.to = at + 1,
                None => self.siblings.push(Siblings {
                    parent_hash: Znode::hash(parent, self.names.heap_seed()),
                    path: Arc::clone(path),
                    from: at,
                    to: at + 1,
                }),
            }
            self.names.push(ChildName(Arc::clone(path)));
        } else if &**path != "/" && self.pathless.is_none() {
            self.pathless = Some(Arc::clone(path));
        }
        self.znodes.push(znode);
    }

    fn append(&mut self, mut other: Self) {
        let names_before = self.names.len();
        self.siblings.extend(other.siblings.drain(..).map(|siblings| Siblings {
            from: siblings.from + names_before,
            to: siblings.to + names_before,
            ..siblings
        }));
        self.znodes.append(other.znodes);
        self.names.append(other.names);
        self.digest = self.digest.wrapping_add(other.digest);
        self.data_size += other.data_size;
        for (list, (znodes, path)) in other.lists {
            self.lists.entry(list).or_insert((0, path)).0 += znodes;
        }
        self.owned.append(&mut other.owned);
        self.pathless = self.pathless.take().or(other.pathless);
    }
}

/// Runs two closures, one after the other or beside each other, and returns when both have ended.
pub type Both<'a> = &'a dyn Fn(&mut (dyn FnMut() + Send), &mut (dyn FnMut() + Send));

/// A znode's path and its children.
type Family = (Arc<str>, Map<ChildName>);

/// Takes the parts of a snapshot and makes a tree of them.
pub struct Loader {
    tree: Tree,
    part: Part,
}

impl Loader {
    /// For a tree with these options.
    pub fn new(options: Options) -> Self {
        Self { tree: Tree::without_znodes(options), part: Part::new(&options) }
    }

    /// An empty part, for any thread.
    pub fn part(&self) -> Part {
        Part::new(&self.tree.options)
    }

    /// Adds a list to the table, or finds it there, and gives its number in this tree, whatever it was in the snapshot.
    pub fn insert_acl(&mut self, list: &AclList<'_>) -> AclId {
        self.tree.acls.intern(&mut self.tree.head.acls, list)
    }

    /// Puts in a part. Behind an error the loader is of no more use.
    pub fn insert_part(&mut self, part: Part) -> Result<(), LoadError> {
        if let Some((_, (_, path))) = part.lists.iter().find(|(list, _)| !self.tree.acls.is_known(**list)) {
            return Err(LoadError::UnknownAcl(Arc::clone(path)));
        }
        if self.part.is_empty() {
            self.part = part;
        } else {
            self.part.append(part);
        }
        Ok(())
    }

    /// Makes the tree, as it was right behind `zxid`. Lists that no znode has are forgotten; usage of quotas is counted anew,
    /// as Apache does.
    pub fn finish_load(self, zxid: Zxid) -> Result<Tree, LoadError> {
        self.finish_load_by(zxid, &|one, other| {
            one();
            other();
        })
    }

    /// As [`Loader::finish_load`], with two threads if `both` has them.
    pub fn finish_load_by(self, zxid: Zxid, both: Both<'_>) -> Result<Tree, LoadError> {
        let Self { mut tree, part } = self;
        let Part { znodes, mut names, mut siblings, digest, data_size, lists, owned, pathless, .. } = part;
        let (mut znodes, mut map, mut families) = (Some(znodes), None, Vec::new());
        let heap = &mut tree.heap;
        both(&mut || map = znodes.take().map(|znodes| znodes.into_map(heap)), &mut || {
            families = raise_families(&mut names, &mut siblings);
        });
        names.finish(&mut tree.heap);
        let head = &mut tree.head;
        let mut problem = None;
        match map.expect("the first closure was run") {
            Ok(map) => head.nodes = map,
            Err(znode) => problem = Some(LoadError::Duplicate(znode.path)),
        }
        if problem.is_none() && head.znode("/").is_none() {
            problem = Some(LoadError::NoRoot);
        }
        problem = problem.or_else(|| pathless.map(LoadError::DanglingParent));
        for (path, mut children) in families {
            let parent = split_path(&path).expect("a child's path has a parent").0;
            match head.nodes.get_mut(&mut tree.heap, parent) {
                Some(parent) if problem.is_none() => parent.children = children,
                _ => {
                    // Nothing else shows them.
                    children.clear(&mut tree.heap);
                    problem = problem.or(Some(LoadError::DanglingParent(path)));
                }
            }
        }
        if let Some(problem) = problem {
            return Err(problem);
        }
        head.digest = digest;
        head.data_size = data_size;
        for (kind, owner, path) in owned {
            tree.list_by_owner(kind, owner, path);
        }
        tree.count_acls(lists.into_iter().map(|(list, (znodes, _))| (list, znodes)));
        let mut subjects: Vec<Arc<str>> = Vec::new();
        tree.head.descend(QUOTA_ROOT, usize::MAX, |znode| {
            if znode.num_children() == 0
                && let Some((parent, LIMITS_NAME)) = split_path(&znode.path)
                && let Some(subject) = quota_subject(parent)
            {
                subjects.push(subject.into());
            }
        });
        subjects.iter().for_each(|subject| tree.load_quota(subject));
        tree.head.zxid = zxid;
        Ok(tree)
    }
}

/// The children of each parent, with the path of one of them.
fn raise_families(names: &mut Leaves<ChildName>, siblings: &mut [Siblings]) -> Vec<Family> {
    siblings.sort_unstable_by_key(|some| some.parent_hash);
    let (mut families, mut scratch) = (Vec::new(), Scratch::default());
    for of_hash in siblings.chunk_by_mut(|one, other| one.parent_hash == other.parent_hash) {
        // One parent's, unless the hash is that of several paths.
        let (first, others) = of_hash.split_first().expect("a chunk is not empty");
        let is_mixed = others.iter().any(|some| some.parent() != first.parent());
        if is_mixed {
            of_hash.sort_unstable_by(|one, other| one.parent().cmp(other.parent()));
        }
        for of_one in of_hash.chunk_by(|one, other| !is_mixed || one.parent() == other.parent()) {
            let children = names.take_map(of_one.iter().map(|some| some.from..some.to), &mut scratch);
            families.push((Arc::clone(&of_one[0].path), children));
        }
    }
    families
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn parents_whose_hashes_are_equal_keep_their_own_children() {
        let (mut names, mut siblings) = (Leaves::new(1), Vec::new());
        let parents = ["/a", "/b", "/", "/a/a"];
        for number in 0..40 {
            let parent = parents[number * 7 % 4];
            let path: Arc<str> = format!("{}/{number}", parent.trim_end_matches('/')).into();
            let from = names.len();
            names.push(ChildName(Arc::clone(&path)));
            // As if one hash were that of all but the last.
            siblings.push(Siblings { parent_hash: u64::from(parent == "/a/a"), path, from, to: from + 1 });
        }
        let families = raise_families(&mut names, &mut siblings);
        let mut tree = Tree::without_znodes(Options { hash_seed: 1, ..Options::default() });
        names.finish(&mut tree.heap);
        let mut seen = BTreeSet::new();
        for (path, mut children) in families {
            let parent = split_path(&path).expect("a child's path").0;
            assert!(seen.insert(parent.to_owned()), "{parent} has two families");
            let mut expected: BTreeSet<String> =
                (0..40).filter(|number| parents[number * 7 % 4] == parent).map(|number| number.to_string()).collect();
            assert!(children.iter().all(|child| expected.remove(child.key())), "a child of another in {parent}");
            assert!(expected.is_empty(), "{parent} lacks {expected:?}");
            children.clear(&mut tree.heap);
        }
        assert_eq!(seen.len(), parents.len());
    }
}
