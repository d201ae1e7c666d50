//! A tree from the znodes of a snapshot, which may come in any order and from several threads.
//!
//! Most of the work of a znode is to decode it and to take its CRC: [`Loader::decoder`] is for the threads that do this.
//! One thread then puts them in; when all are there, [`Loader::finish_load`] enters each into its parent and counts what is
//! counted.

use std::sync::Arc;

use thiserror::Error;

use super::acl_table::AclId;
use super::quota::{LIMITS_NAME, QUOTA_ROOT, quota_subject};
use super::writer::{Options, Tree};
use super::znode::{NodeOptions, StatPersisted, Znode, share_data, split_path};
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

/// Makes [`LoadedZnode`]s, on any thread.
#[derive(Clone, Copy)]
pub struct Decoder(NodeOptions);

impl Decoder {
    /// A znode; "" is the root too, as in Apache's snapshots. The list is one that [`Loader::insert_acl`] gave.
    pub fn znode(&self, path: &str, data: Option<&[u8]>, acl: AclId, stat: StatPersisted) -> LoadedZnode {
        let path = if path.is_empty() { "/" } else { path };
        LoadedZnode(Znode::new(path.into(), data.map(share_data), acl, stat, &self.0))
    }
}

/// A znode that is not yet in a tree.
pub struct LoadedZnode(Znode);

/// Takes the parts of a snapshot and makes a tree of them.
pub struct Loader {
    tree: Tree,
    paths: Vec<Arc<str>>,
}

impl Loader {
    /// For a tree with these options.
    pub fn new(options: Options) -> Self {
        Self { tree: Tree::without_znodes(options), paths: Vec::new() }
    }

    /// For the threads that decode.
    pub fn decoder(&self) -> Decoder {
        Decoder(self.tree.options.node_options())
    }

    /// Makes room for so many znodes.
    pub fn reserve(&mut self, znodes: usize) {
        self.paths.reserve(znodes);
    }

    /// Adds a list to the table, or finds it there, and gives its number in this tree, whatever it was in the snapshot.
    pub fn insert_acl(&mut self, list: &AclList<'_>) -> AclId {
        self.tree.acls.intern(&mut self.tree.head.acls, list)
    }

    /// Puts in a znode. Behind an error the loader is of no more use.
    pub fn insert_loaded(&mut self, LoadedZnode(znode): LoadedZnode) -> Result<(), LoadError> {
        let path = Arc::clone(&znode.path);
        if !self.tree.acls.is_known(znode.acl) {
            return Err(LoadError::UnknownAcl(path));
        }
        if self.tree.add(znode) {
            return Err(LoadError::Duplicate(path));
        }
        self.paths.push(path);
        Ok(())
    }

    /// Makes the tree, as it was right behind `zxid`. Lists that no znode has are forgotten; usage of quotas is counted anew,
    /// as Apache does.
    pub fn finish_load(mut self, zxid: Zxid) -> Result<Tree, LoadError> {
        if self.tree.head.znode("/").is_none() {
            return Err(LoadError::NoRoot);
        }
        for path in self.paths.drain(..) {
            if &*path != "/" && !self.tree.list_child(Arc::clone(&path)) {
                return Err(LoadError::DanglingParent(path));
            }
        }
        let mut tree = self.tree;
        tree.forget_unused_acls();
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
