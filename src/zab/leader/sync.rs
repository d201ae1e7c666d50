//! What a learner has to be sent so that its history becomes the leader's: a pure decision (Apache's
//! `LearnerHandler.syncFollower`), and the packets of it.
//!
//! The base of a DIFF is certain: it is the leader's own zxid, or the one before its ring, or in its ring, or the start of an
//! epoch within it (where no transaction can be missing). Everything else is a snapshot (ZOOKEEPER-4352, 3526), except a tail
//! that the leader does not have, which is cut off.

use bytes::Bytes;

use super::broadcast;
use super::link::Stage;
use super::{Leader, LeaderAction, LinkId};
use crate::ids::Zxid;
use crate::time::Instant;
use crate::wire::quorum::{PacketType, QuorumPacket};
use crate::zab::History;

/// How a learner is brought up to date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncPlan {
    /// It misses only the records after `from`. `announce` is the zxid of the DIFF packet: the leader's last record.
    Diff {
        /// What the packet says.
        announce: Zxid,
        /// Where the learner is.
        from: Zxid,
    },
    /// It cuts what it has after `to`, and then misses the records after `to`.
    Trunc {
        /// Where the learner will be.
        to: Zxid,
    },
    /// It gets everything.
    Snap,
}

/// Decides for a learner whose history ends at `peer`.
pub fn plan(history: &History, peer: Zxid, force_snapshot: bool) -> SyncPlan {
    let last_processed = history.last_processed();
    // Apache takes an empty ring as one that begins and ends at the tree's zxid.
    let max = if history.is_empty() { last_processed } else { history.last_record() };
    let is_epoch_start = peer.counter() == 0;
    if force_snapshot {
        SyncPlan::Snap
    } else if peer == last_processed {
        SyncPlan::Diff { announce: peer, from: peer }
    } else if peer <= Zxid::ZERO {
        // An empty learner, or one whose first transactions we cannot vouch for (ZOOKEEPER-4352).
        SyncPlan::Snap
    } else if peer > max && !is_epoch_start {
        SyncPlan::Trunc { to: max }
    } else if peer > max || peer < history.base() {
        SyncPlan::Snap
    } else if peer == history.base() || history.contains(peer) || is_epoch_start {
        SyncPlan::Diff { announce: max, from: peer }
    } else {
        // It has something between two of our records: a tail of its own, to be cut if it is within one epoch.
        let next = history.after(peer).next().map(|(zxid, _)| *zxid);
        match next {
            Some(next) if next.epoch() == peer.epoch() => SyncPlan::Trunc { to: history.before(peer) },
            _ => SyncPlan::Snap,
        }
    }
}

impl Leader {
    /// Sends history and NEWLEADER; from now on live traffic follows on the same link.
    ///
    /// Order on the wire: DIFF, TRUNC or SNAP with its body; committed records, each with its COMMIT; what is proposed but not
    /// committed (to followers only); NEWLEADER (ZOOKEEPER-3104). The shell keeps the order of `Send` and `SendSnapshot`.
    pub(super) fn synchronise(&mut self, now: Instant, id: LinkId, history: &History) {
        let last_processed = history.last_processed();
        let expected = if self.committed.counter() == 0 { self.summary.last } else { self.committed };
        // `last_processed` may also be the start of an earlier epoch in which nothing was proposed.
        assert!(
            history.last_record() == expected,
            "the tree is at {} while the leader committed {}: every Commit is carried out before the next packet",
            history.last_record(),
            self.committed
        );
        let deadline = now + self.options.init_timeout();
        let Some(link) = self.links.get_mut(&id) else { return };
        link.stage = Stage::AwaitNewLeaderAck;
        link.deadline = deadline;
        link.taken_bytes = self.proposed_bytes;
        let (peer, is_observer) = (link.peer_last, link.observer);
        let from = match plan(history, peer, self.options.force_snapshot_sync) {
            SyncPlan::Diff { announce, from } => {
                self.send(id, QuorumPacket::new(PacketType::DIFF, announce));
                from
            }
            SyncPlan::Trunc { to } => {
                self.send(id, QuorumPacket::new(PacketType::TRUNC, to));
                to
            }
            SyncPlan::Snap => {
                self.send(id, QuorumPacket::new(PacketType::SNAP, last_processed));
                self.act(LeaderAction::SendSnapshot { link: id, zxid: last_processed });
                last_processed
            }
        };
        for (zxid, record) in history.after(from) {
            self.send(id, QuorumPacket::with_data(PacketType::PROPOSAL, *zxid, record.clone()));
            self.send(id, QuorumPacket::new(PacketType::COMMIT, *zxid));
        }
        if !is_observer {
            for index in 0..self.outstanding.len() {
                let broadcast::Proposal { zxid, record, .. } = self.outstanding[index].clone();
                self.send(id, QuorumPacket::with_data(PacketType::PROPOSAL, zxid, record));
            }
        }
        let text = Bytes::from(self.options.newest().to_text());
        self.send(id, QuorumPacket::with_data(PacketType::NEWLEADER, self.start_of_epoch(), text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::zab::HistoryOptions;

    const fn zxid(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    const fn diff(announce: Zxid, from: Zxid) -> SyncPlan {
        SyncPlan::Diff { announce, from }
    }

    const fn trunc(to: Zxid) -> SyncPlan {
        SyncPlan::Trunc { to }
    }

    /// Base (1,2); records (1,3) (1,4) (2,1) (2,2) (4,1).
    fn ring() -> History {
        let records = [zxid(1, 3), zxid(1, 4), zxid(2, 1), zxid(2, 2), zxid(4, 1)];
        History::recovered(HistoryOptions::default(), zxid(1, 2), records.into_iter().map(|zxid| (zxid, Bytes::new())))
    }

    #[test]
    fn the_table_of_decisions() {
        let max = zxid(4, 1);
        for (peer, wanted, why) in [
            (max, diff(max, max), "a: in step"),
            (zxid(4, 2), trunc(max), "b: a tail of the same epoch"),
            (zxid(5, 9), trunc(max), "b: a tail of a later epoch"),
            (zxid(5, 0), SyncPlan::Snap, "b: the start of an epoch that we do not know"),
            (zxid(2, 1), diff(max, zxid(2, 1)), "c: in the ring"),
            (zxid(1, 3), diff(max, zxid(1, 3)), "c: the first of the ring"),
            (zxid(1, 2), diff(max, zxid(1, 2)), "the one before the ring"),
            (zxid(2, 0), diff(max, zxid(2, 0)), "c: start of an epoch in the ring"),
            (zxid(3, 0), diff(max, zxid(3, 0)), "c: start of an epoch without records"),
            (zxid(4, 0), diff(max, zxid(4, 0)), "c: start of the last epoch"),
            (zxid(1, 5), SyncPlan::Snap, "c: passed without finding it, another epoch follows"),
            (zxid(2, 3), SyncPlan::Snap, "c: the same, later"),
            (zxid(3, 7), SyncPlan::Snap, "c: an epoch of which we have nothing"),
            (zxid(1, 1), SyncPlan::Snap, "e: before the ring"),
            (zxid(1, 0), SyncPlan::Snap, "e: start of an epoch before the ring"),
            (Zxid::ZERO, SyncPlan::Snap, "4352: an empty learner"),
            (Zxid(-1), SyncPlan::Snap, "no history at all"),
        ] {
            assert_eq!(plan(&ring(), peer, false), wanted, "{peer}: {why}");
            assert_eq!(plan(&ring(), peer, true), SyncPlan::Snap, "{peer}: forced");
        }
    }

    #[test]
    fn an_established_leader_stands_at_the_start_of_its_epoch() {
        let mut ring = ring();
        ring.epoch_started(Epoch(6));
        let max = zxid(4, 1);
        assert_eq!(plan(&ring, zxid(6, 0), false), diff(zxid(6, 0), zxid(6, 0)));
        assert_eq!(plan(&ring, max, false), diff(max, max));
        assert_eq!(plan(&ring, zxid(4, 2), false), trunc(max));
        // Between the last record and where we stand nothing can be missing, but Apache too sends a snapshot.
        assert_eq!(plan(&ring, zxid(5, 0), false), SyncPlan::Snap);
    }

    #[test]
    fn an_empty_ring() {
        let mut empty = History::new(HistoryOptions::default(), zxid(3, 5));
        for (peer, wanted) in [
            (zxid(3, 5), diff(zxid(3, 5), zxid(3, 5))),
            (zxid(3, 6), trunc(zxid(3, 5))),
            (zxid(3, 4), SyncPlan::Snap),
            (zxid(3, 0), SyncPlan::Snap),
            (Zxid::ZERO, SyncPlan::Snap),
        ] {
            assert_eq!(plan(&empty, peer, false), wanted, "{peer}");
        }
        empty.epoch_started(Epoch(4));
        assert_eq!(plan(&empty, zxid(3, 5), false), diff(zxid(4, 0), zxid(3, 5)), "nothing is missing");
        assert_eq!(plan(&empty, zxid(3, 6), false), SyncPlan::Snap, "a tail that (4,0) does not tell us to cut");
        assert_eq!(plan(&empty, zxid(4, 1), false), trunc(zxid(4, 0)));

        let new = History::new(HistoryOptions::default(), Zxid::ZERO);
        assert_eq!(plan(&new, Zxid::ZERO, false), diff(Zxid::ZERO, Zxid::ZERO), "a new ensemble");
        assert_eq!(plan(&new, zxid(1, 1), false), trunc(Zxid::ZERO));
    }

    #[test]
    fn zk4352_a_ring_from_the_beginning_is_no_diff_for_an_empty_learner() {
        let records = (1..=3).map(|counter| (zxid(1, counter), Bytes::new()));
        let history = History::recovered(HistoryOptions::default(), Zxid::ZERO, records);
        assert_eq!(plan(&history, Zxid::ZERO, false), SyncPlan::Snap);
        assert_eq!(plan(&history, zxid(1, 1), false), diff(zxid(1, 3), zxid(1, 1)));
    }

    #[test]
    fn zk4925_a_hole_is_never_bridged() {
        let mut history = ring();
        history.push(zxid(4, 3), Bytes::new());
        assert_eq!(plan(&history, zxid(4, 1), false), SyncPlan::Snap);
        assert_eq!(plan(&history, zxid(2, 1), false), SyncPlan::Snap);
        assert_eq!(plan(&history, zxid(4, 3), false), diff(zxid(4, 3), zxid(4, 3)));
    }
}
