//! A vote, which of two is better, and which of two say the same. Sources: `Vote`, `FastLeaderElection.totalOrderPredicate`.

use crate::ids::{ServerId, Zxid};
use crate::quorum::Membership;
use crate::wire::election::{Notification, ServerState};

/// What a server says about who should lead, or leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    /// The candidate, or the leader.
    pub leader: ServerId,
    /// The last zxid in the candidate's log when it was proposed.
    pub zxid: Zxid,
    /// The epoch of the candidate's history; once it is established, the epoch that it leads (ZOOKEEPER-1732).
    pub peer_epoch: i64,
    /// The round in which the vote was given.
    pub election_epoch: i64,
    /// What the voter was doing.
    pub state: ServerState,
    /// The version of the notification that brought it, 0 for votes of our own.
    pub version: i32,
}

impl Vote {
    /// The vote in a notification.
    pub(super) fn of(notification: &Notification) -> Self {
        Self {
            leader: notification.leader,
            zxid: notification.zxid,
            peer_epoch: notification.peer_epoch,
            election_epoch: notification.election_epoch,
            state: notification.state,
            version: notification.version,
        }
    }

    /// By what candidates are compared: the newer epoch, then the longer history, then the higher id.
    pub(super) const fn rank(&self) -> (i64, Zxid, ServerId) {
        (self.peer_epoch, self.zxid, self.leader)
    }

    /// Whether its candidate is better than `other`'s. A server of weight 0 never is (`totalOrderPredicate`).
    pub(super) fn is_better_than(&self, other: &Self, membership: &Membership) -> bool {
        membership.weight(self.leader) != 0 && self.rank() > other.rank()
    }

    /// Whether the two count together (`Vote.equals`).
    ///
    /// In an election everything has to agree. Between servers that have a leader, zxid and round do not count, as each
    /// remembers those of the election by which it came to its leader (ZOOKEEPER-1805); and if one of them cannot say the
    /// established epoch (no version in its format), neither does the epoch (ZOOKEEPER-1732).
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        if self.leader != other.leader {
            return false;
        }
        if self.state == ServerState::Looking || other.state == ServerState::Looking {
            return self.rank() == other.rank() && self.election_epoch == other.election_epoch;
        }
        (self.version > 0) != (other.version > 0) || self.peer_epoch == other.peer_epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(leader: i64, zxid: i64, peer_epoch: i64) -> Vote {
        let state = ServerState::Looking;
        Vote { leader: ServerId(leader), zxid: Zxid(zxid), peer_epoch, election_epoch: 1, state, version: 2 }
    }

    /// ZOOKEEPER-1082: the epoch of a history counts before its length.
    #[test]
    fn better_is_epoch_then_zxid_then_id_1082() {
        let members = Membership::parse_text("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2").unwrap();
        let ascending = [vote(3, 9, 0), vote(2, 1, 1), vote(3, 1, 1), vote(1, 2, 1), vote(1, -5, 2)];
        for (place, one) in ascending.iter().enumerate() {
            for (other_place, other) in ascending.iter().enumerate() {
                assert_eq!(one.is_better_than(other, &members), place > other_place, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn weight_0_is_never_better() {
        let text = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\ngroup.1=1:2:3\nweight.3=0";
        let members = Membership::parse_text(text).unwrap();
        assert!(!vote(3, 9, 9).is_better_than(&vote(1, 1, 1), &members));
        assert!(vote(1, 1, 1).is_better_than(&vote(3, 1, 0), &members));
        // Nor is one that no group names.
        assert!(!vote(4, 9, 9).is_better_than(&vote(1, 1, 1), &members));
    }

    /// ZOOKEEPER-1732 and 1805: what counts together in and after an election.
    #[test]
    fn what_counts_together_1732_1805() {
        let looking = vote(1, 5, 3);
        let established = Vote { state: ServerState::Following, ..looking };
        let leading = Vote { state: ServerState::Leading, ..looking };
        for change in [
            Vote { zxid: Zxid(6), ..established },
            Vote { election_epoch: 7, ..established },
            Vote { version: 1, ..established },
        ] {
            assert!(change.agrees_with(&leading) && leading.agrees_with(&change), "{change:?}");
        }
        assert!(!Vote { peer_epoch: 4, ..established }.agrees_with(&leading));
        assert!(Vote { peer_epoch: 4, version: 0, ..established }.agrees_with(&leading));
        assert!(!Vote { leader: ServerId(2), version: 0, ..established }.agrees_with(&leading));

        assert!(established.agrees_with(&looking));
        for change in [
            Vote { zxid: Zxid(6), ..looking },
            Vote { election_epoch: 7, ..looking },
            Vote { peer_epoch: 4, version: 0, ..looking },
        ] {
            assert!(!change.agrees_with(&looking) && !established.agrees_with(&change), "{change:?}");
        }
    }
}
