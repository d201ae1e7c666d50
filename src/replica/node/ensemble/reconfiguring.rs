//! Configurations of the ensemble come and go: proposed by this server or its leader, committed, or learned from a vote
//! (`QuorumPeer.setLastSeenQuorumVerifier`, `processReconfig`).
//!
//! A member has two: the one that holds, and perhaps a newer one that is proposed. Both are saved by
//! [`Action::Configure`] before what depends on them is said.

use std::sync::Arc;

use super::{Ensemble, Role};
use crate::ids::{ServerId, Zxid};
use crate::pipeline::QuorumView;
use crate::quorum::Membership;
use crate::replica::event::{Action, Now};
use crate::replica::node::Replica;
use crate::wire::op::OpCode;

impl Ensemble {
    /// Takes the server that is to be followed without an election, if that can be: a server leads only with a vote.
    pub(super) fn take_designated(&mut self) -> Option<ServerId> {
        self.designated.take().filter(|leader| self.options.membership.is_participant(*leader))
    }

    /// Whether it is an observer by the configuration that holds; who is not named there follows without a vote.
    fn observes(&self) -> bool {
        self.options.membership.members.get(&self.options.my_id).is_some_and(|member| !member.is_participant())
    }

    /// Whether a leader is found at the same place, with a vote, by both configurations.
    fn is_same_leader(leader: ServerId, before: &Membership, after: &Membership) -> bool {
        let Some(new) = after.members.get(&leader).filter(|member| member.is_participant()) else { return false };
        before.members.get(&leader).is_none_or(|old| {
            let quorum = |member: &crate::quorum::Member| -> Vec<_> {
                member.addresses.iter().map(|address| address.quorum.clone()).collect()
            };
            quorum(old) == quorum(new)
        })
    }
}

impl Replica {
    /// A client wants the ensemble to be reconfigured: the pipeline has to know who could decide.
    pub(in crate::replica) fn show_quorum(&mut self, op: OpCode) {
        if op != OpCode::RECONFIG {
            return;
        }
        let Some(Ensemble { role: Role::Leading(leading), options, .. }) = self.ensemble.as_deref() else { return };
        let newest = options.last_seen.as_ref().unwrap_or(&options.membership);
        self.pipeline.set_quorum(QuorumView {
            newest: newest.clone(),
            is_pending: options.last_seen.is_some(),
            synced: leading.zab.synced().collect(),
            rules: options.change_rules,
        });
    }

    /// Behind a request: a reconfiguration ends its batch, because others decide about what comes behind it.
    pub(in crate::replica) fn launch_reconfiguration(&mut self, now: Now) {
        if let Some(membership) = self.pipeline.take_reconfigured() {
            self.open.reconfiguration = Some(membership);
            self.launch(now);
        }
    }

    /// The batch that leaves now proposes this configuration with its last record.
    pub(in crate::replica) fn propose_configuration(&mut self, now: Now, zxid: Zxid, membership: Arc<Membership>) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members are reconfigured");
        let Role::Leading(leading) = &mut ensemble.role else { unreachable!("only a leader proposes") };
        tracing::info!(%zxid, members = %membership.to_text().replace('\n', " "), "a reconfiguration is proposed");
        leading.zab.reconfigure(zxid, membership.clone());
        self.see(now, Some(membership));
    }

    /// The leader proposes a configuration, with a transaction or with its NEWLEADER.
    pub(super) fn configuration_proposed(&mut self, now: Now, text: &[u8], is_awaited: bool) {
        let ensemble = self.ensemble.as_deref().expect("a learner has an ensemble");
        let (is_enabled, held) = (ensemble.reconfig_enabled, ensemble.options.membership.version);
        match read(text).filter(|_| is_enabled) {
            // A transaction of long ago, which comes with what this server missed: another one holds by now. What NEWLEADER brings
            // is the newest that there is, whatever this server had seen.
            Some(membership) if !is_awaited && membership.version <= held => {}
            Some(membership) => self.see(now, Some(Arc::new(membership))),
            None if is_enabled => {
                tracing::error!(text = %String::from_utf8_lossy(text), "the leader proposes what is no configuration");
            }
            None => self.compare_configuration(text),
        }
        if is_awaited {
            self.answer_awaited(now);
        }
    }

    /// Without `reconfigEnabled` everybody keeps what his own file says, and the operator has to keep them equal.
    fn compare_configuration(&self, text: &[u8]) {
        let ensemble = self.ensemble.as_deref().expect("a learner has an ensemble");
        if !read(text).is_some_and(|theirs| theirs.same_members(&ensemble.options.membership)) {
            let text = String::from_utf8_lossy(text);
            tracing::warn!(%text, "the leader has another configuration than this server, and reconfigEnabled is false here");
        }
    }

    /// A configuration is the newest that was proposed, whatever was before; none if it is not newer than what holds.
    fn see(&mut self, now: Now, membership: Option<Arc<Membership>>) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members have configurations");
        let held = ensemble.options.membership.version;
        let last_seen = membership.filter(|newest| newest.version > held);
        let version = |membership: &Option<Arc<Membership>>| membership.as_ref().map(|membership| membership.version);
        if version(&last_seen) != version(&ensemble.options.last_seen) {
            ensemble.options.last_seen = last_seen;
            self.configure(now);
        }
    }

    /// What this member has counts from now on, and is saved.
    fn configure(&mut self, now: Now) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members have configurations");
        ensemble.configuring += 1;
        let (committed, last_seen) = (ensemble.options.membership.clone(), ensemble.options.last_seen.clone());
        ensemble.election.set_membership(now.instant, committed.clone(), last_seen.clone());
        self.actions.push_back(Action::Configure { committed, last_seen });
    }

    pub(in crate::replica) fn handle_configured(&mut self, now: Now) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members have configurations");
        ensemble.configuring =
            ensemble.configuring.checked_sub(1).expect("a configuration is saved that was asked for");
        self.answer_awaited(now);
    }

    /// The learner goes on when everything is saved.
    fn answer_awaited(&mut self, now: Now) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members have configurations");
        if ensemble.configuring == 0
            && let Role::Following(following) = &mut ensemble.role
        {
            following.zab.configuration_saved(now.instant);
        }
    }

    /// This configuration holds from now on, unless it is one of yesterday. The one before, if it changed members.
    fn hold(&mut self, now: Now, membership: Arc<Membership>) -> Option<Arc<Membership>> {
        let ensemble = self.ensemble.as_deref_mut().expect("only members have configurations");
        let options = &mut ensemble.options;
        if !ensemble.reconfig_enabled || membership.version <= options.membership.version {
            return None;
        }
        let before = std::mem::replace(&mut options.membership, membership.clone());
        options.last_seen.take_if(|newest| newest.version <= membership.version);
        let is_changed = !before.same_members(&membership);
        tracing::info!(
            version = format_args!("{:x}", membership.version), is_changed,
            members = %membership.to_text().replace('\n', " "), "the ensemble's configuration"
        );
        self.configure(now);
        is_changed.then_some(before)
    }

    /// Another server knows a newer configuration that holds; the election has begun anew with it already.
    pub(super) fn configuration_learned(&mut self, now: Now, membership: Arc<Membership>) {
        self.hold(now, membership);
    }

    /// What this leader proposed, or its predecessor, holds.
    pub(super) fn activate_as_leader(&mut self, now: Now, membership: Arc<Membership>, designated: ServerId) {
        let before = self.hold(now, membership.clone());
        let ensemble = self.ensemble.as_deref_mut().expect("a leader has an ensemble");
        let my_id = ensemble.options.my_id;
        if designated != my_id {
            tracing::info!(designated = designated.0, "this server is not the leader any more");
            ensemble.designated = Some(designated);
            let Role::Leading(leading) = &mut ensemble.role else { unreachable!("only a leader activates") };
            leading.is_retiring = true;
        } else if before.is_some_and(|before| !Ensemble::is_same_leader(my_id, &before, &membership)) {
            // Nobody else could lead; but it is to be found elsewhere from now on.
            ensemble.designated = Some(my_id);
            self.stand_down(now, "the ensemble was reconfigured: this server leads at another address");
        }
    }

    /// The leader says that a configuration holds.
    pub(super) fn activate_as_learner(&mut self, now: Now, text: &[u8], designated: Option<ServerId>) {
        let Some(membership) = read(text).map(Arc::new) else { return };
        let Some(before) = self.hold(now, membership.clone()) else { return };
        let ensemble = self.ensemble.as_deref_mut().expect("a learner has an ensemble");
        let observes = ensemble.observes();
        let Role::Following(following) = &ensemble.role else { return };
        let leader = following.zab.leader();
        let is_other_role = observes != following.is_observer;
        let is_other_leader = match designated {
            Some(designated) => designated != leader,
            None => !Ensemble::is_same_leader(leader, &before, &membership),
        };
        if !is_other_role && !is_other_leader {
            return;
        }
        // Without a word about who leads, an election has to say.
        ensemble.designated = designated;
        // Who asked for it is answered, as far as it can be.
        if !self.open.is_empty() {
            self.launch(now);
        }
        self.publish_ready();
        self.stand_down(now, "the ensemble was reconfigured: another leader, or another role");
    }
}

fn read(text: &[u8]) -> Option<Membership> {
    Membership::parse_text(std::str::from_utf8(text).ok()?).ok()
}
