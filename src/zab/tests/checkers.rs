//! What has to hold whatever happens, checked from outside: the checkers know logs and disks, and nothing of the machines.

use std::collections::BTreeSet;

use super::cluster::{Cluster, Node};
use super::records::Txn;
use crate::ids::{Epoch, ServerId};

impl Cluster {
    /// An established leader's history has everything that leaders of earlier epochs have committed; now all of it is
    /// committed. A leader may be established so late that one of a later epoch is already: it can commit nothing more, and its
    /// history is a part of what is committed.
    pub(super) fn check_established(&mut self, id: ServerId, epoch: Epoch) {
        let needed = self.growth.iter().filter(|(earlier, _)| *earlier < epoch).map(|(_, len)| *len).max().unwrap_or(0);
        let log = self.nodes[&id].log.clone();
        assert!(
            log.starts_with(&self.canonical[..needed]),
            "server {} leads without what was committed: {:?} after {:?}",
            id.0,
            log.last(),
            self.canonical.last()
        );
        self.committed(id, epoch, &log);
    }

    /// What a leader commits extends what is committed, or is a part of it (it may learn late of acks). Agreement and total
    /// order.
    pub(super) fn check_leader(&mut self, id: ServerId, epoch: Epoch) {
        let tree = self.nodes[&id].log[..self.nodes[&id].applied].to_vec();
        self.committed(id, epoch, &tree);
    }

    fn committed(&mut self, id: ServerId, epoch: Epoch, history: &[Txn]) {
        if history.len() > self.canonical.len() {
            assert!(history.starts_with(&self.canonical), "server {} commits another history", id.0);
            self.marks.committed += history.len() - self.canonical.len();
            self.canonical = history.to_vec();
            self.check_durability();
        } else {
            assert!(self.canonical.starts_with(history), "server {} commits another history", id.0);
        }
        self.growth.push((epoch, history.len()));
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
