//! The tree of znodes: what transactions change, and what reads read.
//!
//! [`Tree`] is the one writer: [`Tree::apply`] is Apache's `DataTree.processTxn`, watches left out: it says with
//! [`Change`]s what watchers may have to hear. [`Tree::cut`] ends a batch and gives a [`Version`] of it, which any thread may
//! read for as long as it likes, while the writer goes on; a [`View`] is either's content. All znodes are in one persistent
//! map from path to znode ([`map`]), so a version is a few roots, costs nothing to make, and shares what did not change.
//!
//! | page | |
//! |---|---|
//! | [`writer`](self) | `Tree`: the rules of each transaction |
//! | [`view`](self) | `View`, `Version`, and `Walk`, a walk over a version that can pause |
//! | [`load`](self) | `Loader`: a tree from the znodes of a snapshot |
//! | [`znode`](self) | `Znode` and its numbers |
//! | [`digest`] [`quota`] [`ephemeral_type`] `acl_table` | one rule of ZooKeeper each |
//!
//! Invariants, which the tests recompute from scratch: every znode but the root has a parent that lists it, and only such
//! are listed; the digest is the sum over the znodes; a session's ephemerals, the containers and the TTLs are exactly the
//! znodes with such owners; every list that a znode names is in the table.

mod acl_table;
pub mod digest;
pub mod ephemeral_type;
mod load;
pub mod map;
pub mod quota;
#[cfg(test)]
mod tests;
mod view;
mod writer;
mod znode;

pub use acl_table::{AclEntry, AclId};
pub use load::{Both, LoadError, Loader, Part};
pub use view::{Descent, Version, View, Walk};
pub use writer::{Applied, AppliedSub, Change, Options, Tables, Tree};
pub use znode::{StatPersisted, Znode};
