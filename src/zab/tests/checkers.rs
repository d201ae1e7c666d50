//! What has to hold whatever happens, checked from outside: the checkers know logs and disks, and nothing of the machines.

use std::collections::BTreeSet;

use super::cluster::{Cluster, Node};
use crate::ids::ServerId;

impl Cluster {
    /// An established leader's history has everything that was committed before; now all of it is committed.
    pub(super) fn check_established(&mut self, id: ServerId) {
        let log = self.nodes[&id].log.clone();
        assert!(
            log.starts_with(&self.canonical),
            "server {} leads without what was committed: {:?} after {:?}",
            id.0,
            log.last(),
            self.canonical.last()
        );
        self.canonical = log;
        self.check_durability();
    }

    /// What a leader commits extends what is committed, or is a part of it (it may learn late of acks). Agreement and total
    /// order.
    pub(super) fn check_leader(&mut self, id: ServerId) {
        let tree = &self.nodes[&id].log[..self.nodes[&id].applied];
        if tree.len() > self.canonical.len() {
            assert!(tree.starts_with(&self.canonical), "server {} commits another history", id.0);
            self.marks.committed += tree.len() - self.canonical.len();
            self.canonical = tree.to_vec();
            self.check_durability();
        } else {
            assert!(self.canonical.starts_with(tree), "server {} commits another history", id.0);
        }
    }

    /// What a learner serves is committed.
    pub(super) fn check_learner(&mut self, id: ServerId) {
        let tree = &self.nodes[&id].log[..self.nodes[&id].applied];
        let begin = tree.len().saturating_sub(8);
        assert!(
            tree.len() <= self.canonical.len() && tree[begin..] == self.canonical[begin..tree.len()],
            "server {} shows what is not committed: {:?} beyond {:?}",
            id.0,
            tree.last(),
            self.canonical.last()
        );
        if tree.len() <= 8 || self.random.chance(5) {
            assert!(self.canonical.starts_with(tree), "server {} shows another history", id.0);
        }
    }

    /// All that is committed is on the disks of a quorum, whatever happens.
    pub(super) fn check_durability(&self) {
        let holds = |node: &Node| node.disk.log.starts_with(&self.canonical);
        let holders: BTreeSet<_> = self.nodes.iter().filter(|(_, node)| holds(node)).map(|(id, _)| *id).collect();
        assert!(
            self.membership.contains_quorum(holders.iter().copied()),
            "only {holders:?} hold what is committed up to {:?}",
            self.canonical.last()
        );
    }

    /// Behind a sync a server shows everything that was committed, anywhere, when it was asked for.
    pub(super) fn check_sync(&mut self, id: ServerId) {
        self.marks.syncs += 1;
        let node = self.node(id);
        let wanted = node.syncs.pop_front().expect("a sync is answered once");
        assert!(node.applied >= wanted, "a sync was answered at {} of {wanted}", node.applied);
    }
}
