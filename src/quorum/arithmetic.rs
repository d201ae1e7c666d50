//! Which sets of servers decide: majority, and groups with weights.
//!
//! The one property on which everything rests: two quorums of one configuration share a server. Sources: `QuorumMaj`,
//! `QuorumHierarchical`, and `SyncedLearnerTracker`, which lets only voting members into the sets that are counted; here the
//! caller says who votes, so that no set from elsewhere can hold anyone else.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::ServerId;

/// How quorums are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quorums {
    /// More than half of the participants.
    Majority,
    /// More than half of the groups, each with more than half of its weight.
    Hierarchical {
        /// Group of each server.
        groups: BTreeMap<ServerId, i64>,
        /// Weight of each server; every participant has one.
        weights: BTreeMap<ServerId, i64>,
    },
}

impl Quorums {
    /// The weight of a server: it may lead if this is not 0. Majority gives everyone 1; a hierarchy gives 0 to a server that
    /// it does not name (Apache's server fails with a null pointer there).
    pub fn weight(&self, id: ServerId) -> i64 {
        match self {
            Self::Majority => 1,
            Self::Hierarchical { weights, .. } => weights.get(&id).copied().unwrap_or(0),
        }
    }

    /// Whether those of `acks` that are among the `voters` decide.
    ///
    /// In a hierarchy a group counts by the weight of all that it names, voter or not, and a group of weight 0 does not count
    /// at all: not among those that agree, and not in the number of groups.
    pub fn contains_quorum(&self, voters: &BTreeSet<ServerId>, acks: impl IntoIterator<Item = ServerId>) -> bool {
        let acks: BTreeSet<_> = acks.into_iter().filter(|id| voters.contains(id)).collect();
        match self {
            Self::Majority => acks.len() > voters.len() / 2,
            Self::Hierarchical { groups, .. } => {
                let mut of_group = BTreeMap::<i64, (i64, i64)>::new();
                for (&id, &group) in groups {
                    let (whole, acked) = of_group.entry(group).or_default();
                    let weight = self.weight(id);
                    *whole = whole.saturating_add(weight);
                    if acks.contains(&id) {
                        *acked = acked.saturating_add(weight);
                    }
                }
                of_group.retain(|_, (whole, _)| *whole != 0);
                let agree = of_group.values().filter(|(whole, acked)| *acked > whole / 2).count();
                agree > of_group.len() / 2
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[i64]) -> BTreeSet<ServerId> {
        ids.iter().copied().map(ServerId).collect()
    }

    fn list(ids: &[i64]) -> impl Iterator<Item = ServerId> {
        ids.iter().copied().map(ServerId)
    }

    fn hierarchy(groups: &[&[i64]], weights: &[(i64, i64)]) -> (Quorums, BTreeSet<ServerId>) {
        let mut of_server = BTreeMap::new();
        for (index, members) in groups.iter().enumerate() {
            for &id in *members {
                of_server.insert(ServerId(id), index as i64 + 1);
            }
        }
        let mut of_weight: BTreeMap<_, _> = of_server.keys().map(|id| (*id, 1)).collect();
        of_weight.extend(weights.iter().map(|&(id, weight)| (ServerId(id), weight)));
        let voters = of_server.keys().copied().collect();
        (Quorums::Hierarchical { groups: of_server, weights: of_weight }, voters)
    }

    #[test]
    fn majority_is_more_than_half_of_the_voters() {
        let quorums = Quorums::Majority;
        for (voters, acks, decides) in [
            (&[1, 2, 3][..], &[1, 2][..], true),
            (&[1, 2, 3], &[1], false),
            (&[1, 2, 3, 4], &[1, 2], false),
            (&[1, 2, 3, 4], &[1, 2, 4], true),
            // Who does not vote does not count, and nobody counts twice.
            (&[1, 2, 3], &[1, 4, 5], false),
            (&[1, 2, 3], &[1, 1, 1], false),
            (&[1], &[1], true),
            (&[], &[], false),
        ] {
            assert_eq!(quorums.contains_quorum(&ids(voters), list(acks)), decides, "{voters:?} {acks:?}");
        }
    }

    #[test]
    fn hierarchy_wants_most_groups_with_most_of_their_weight() {
        let (quorums, voters) = hierarchy(&[&[1, 2, 3], &[4, 5, 6], &[7, 8, 9]], &[]);
        for (acks, decides) in [
            (&[1, 2, 4, 5][..], true),
            (&[1, 4, 7], false),
            (&[1, 2, 3, 4, 7], false),
            (&[1, 2, 3, 4, 5], true),
            (&[], false),
        ] {
            assert_eq!(quorums.contains_quorum(&voters, list(acks)), decides, "{acks:?}");
        }
    }

    #[test]
    fn weight_0_never_decides_and_a_group_of_weight_0_is_no_group() {
        let (quorums, voters) = hierarchy(&[&[1, 2, 3], &[4, 5, 6], &[7, 8, 9]], &[(7, 0), (8, 0), (9, 0), (6, 0)]);
        // Two groups are left, so both have to agree; in the second 4 and 5 are all the weight.
        assert!(quorums.contains_quorum(&voters, list(&[1, 2, 4, 5])));
        assert!(!quorums.contains_quorum(&voters, list(&[1, 2, 7, 8, 9])));
        assert!(!quorums.contains_quorum(&voters, list(&[1, 2, 4, 6])));
        assert_eq!((quorums.weight(ServerId(6)), quorums.weight(ServerId(1)), quorums.weight(ServerId(99))), (0, 1, 0));
        assert_eq!(Quorums::Majority.weight(ServerId(99)), 1);
    }

    #[test]
    fn an_observer_in_a_group_weighs_and_never_acknowledges() {
        let (quorums, mut voters) = hierarchy(&[&[1, 2, 3]], &[(3, 2)]);
        voters.remove(&ServerId(3));
        // Group weight 4: more than 2 is needed, and the voters have just 2.
        assert!(!quorums.contains_quorum(&voters, list(&[1, 2, 3])));
    }

    /// The property that everything rests on, over all pairs of sets of all small hierarchies with these weights.
    #[test]
    fn any_two_quorums_share_a_server() {
        for weights in [vec![], vec![(1, 0)], vec![(1, 3), (4, 0)], vec![(5, 0), (6, 0)], vec![(2, 2), (3, 5)]] {
            let (quorums, voters) = hierarchy(&[&[1, 2, 3], &[4], &[5, 6]], &weights);
            for quorums in [quorums, Quorums::Majority] {
                let sets: Vec<Vec<ServerId>> = (0_u32..64)
                    .map(|bits| list(&[1, 2, 3, 4, 5, 6]).filter(|id| bits >> (id.0 - 1) & 1 == 1).collect())
                    .filter(|set: &Vec<_>| quorums.contains_quorum(&voters, set.iter().copied()))
                    .collect();
                assert!(!sets.is_empty());
                for one in &sets {
                    for other in &sets {
                        assert!(one.iter().any(|id| other.contains(id)), "{quorums:?}: {one:?} {other:?}");
                    }
                }
            }
        }
    }
}
