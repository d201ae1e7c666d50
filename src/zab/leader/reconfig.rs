//! A change of who decides: proposed, committed, and who leads behind it (`Leader.propose`, `getDesignatedLeader`,
//! `processReconfig`, `allowedToCommit`).

use std::sync::Arc;

use super::link::Stage;
use super::{Leader, LeaderAction, LeaderPhase};
use crate::ids::{ServerId, Zxid};
use crate::quorum::{HostPort, Membership};

impl Leader {
    /// The next proposal, `zxid`, is a reconfiguration, and makes `membership`. From now on quorums need both.
    ///
    /// # Panics
    /// If one is under way, the version is not its zxid, or configurations do not change here.
    pub fn reconfigure(&mut self, zxid: Zxid, membership: Arc<Membership>) {
        assert!(self.options.reconfig_enabled, "a reconfiguration while reconfigEnabled is false");
        assert!(self.reconfiguration.is_none(), "a reconfiguration while another is under way");
        assert_eq!(membership.version, zxid.0, "the version of a configuration is the zxid of what made it");
        self.reconfiguration = Some(zxid);
        self.options.last_seen = Some(membership);
    }

    /// The configuration that holds.
    pub const fn membership(&self) -> &Arc<Membership> {
        &self.options.membership
    }

    /// The servers that would acknowledge a proposal now: this one, and those that follow with a vote and are alive
    /// (`isQuorumSynced`). Not who observes, even if he is to vote: he does not acknowledge before he follows.
    pub fn synced(&self) -> impl Iterator<Item = ServerId> {
        let alive = |tick| self.tick <= tick;
        let followers =
            self.links.values().filter(move |link| link.has_joined() && !link.observer && alive(link.alive_until_tick));
        followers.map(|link| link.server).chain([self.options.my_id])
    }

    /// Whether the configuration of an ensemble that was never reconfigured gets a version: the start of this epoch, so that
    /// it wins over the first configurations of servers that want to join (ZOOKEEPER-1783).
    pub(super) fn name_first_configuration(&mut self) {
        if self.options.reconfig_enabled && self.options.newest().version == 0 {
            let mut established = Membership::clone(&self.options.membership);
            established.version = self.start_of_epoch().0;
            self.options.last_seen = Some(Arc::new(established));
        }
    }

    /// The term begins: a quorum of both configurations has taken over the newest with NEWLEADER, so that it holds
    /// (ZOOKEEPER-1324).
    pub(super) fn activate_newest(&mut self) {
        if self.options.reconfig_enabled {
            let designated = self.designated_leader(self.start_of_epoch());
            self.activate(designated);
        }
    }

    /// The newest configuration holds.
    pub(super) fn activate(&mut self, designated: ServerId) {
        let membership = self.options.newest().clone();
        self.options.membership = membership.clone();
        self.options.last_seen = None;
        self.reconfiguration = None;
        self.act(LeaderAction::Activate { membership, designated });
        if designated != self.options.my_id {
            self.retires_at_tick = Some(self.tick + u64::from(self.options.sync_limit));
        }
    }

    /// Who leads by the newest configuration: this server if it votes there and is found at the same address, else the one that
    /// has acknowledged most, at least through `through`. Nobody else there means this server, which has to go to its new
    /// address then.
    pub(super) fn designated_leader(&self, through: Zxid) -> ServerId {
        let (present, newest) = (&self.options.membership, self.options.newest());
        let my_id = self.options.my_id;
        let is_same_place = match (quorum_addresses(present, my_id), quorum_addresses(newest, my_id)) {
            (Some(before), Some(after)) => before == after,
            // It was found here, whatever its configuration before did not say.
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if newest.is_participant(my_id) && is_same_place {
            return my_id;
        }
        let candidates = self
            .links
            .values()
            .filter(|link| link.has_joined() && newest.is_participant(link.server) && newest.weight(link.server) != 0)
            .filter(|link| link.acked >= through || through.counter() == 0);
        let best = candidates.max_by(|one, other| one.acked.cmp(&other.acked).then(other.server.cmp(&one.server)));
        best.map_or(my_id, |link| link.server)
    }

    /// A leader that is not the one any more goes when all have gone: then they have heard who is.
    pub(super) fn retire_if_alone(&mut self) {
        let is_alone = || self.links.values().all(|link| link.stage < Stage::Serving);
        if self.retires_at_tick.is_some() && self.phase != LeaderPhase::Dead && is_alone() {
            self.step_down("the ensemble was reconfigured: another server leads".to_owned());
        }
    }

    pub(super) fn retire_if_overdue(&mut self) {
        if self.retires_at_tick.is_some_and(|at| self.tick > at) {
            self.step_down(
                "the ensemble was reconfigured: another server leads, though not all have gone to it".to_owned(),
            );
        }
    }
}

/// Where a member is found by learners, if it is one.
fn quorum_addresses(membership: &Membership, server: ServerId) -> Option<Vec<&HostPort>> {
    let member = membership.members.get(&server)?;
    Some(member.addresses.iter().map(|address| &address.quorum).collect())
}
