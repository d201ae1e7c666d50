//! What operators are told of the ensemble.

use super::Role;
use crate::ids::ServerId;
use crate::replica::message::{EnsembleReport, LearnerReport};
use crate::replica::node::Replica;

impl Replica {
    pub(in crate::replica) fn ensemble_report(&self) -> Option<EnsembleReport> {
        let ensemble = self.ensemble.as_deref()?;
        let mut report = EnsembleReport {
            standing: self.standing(),
            voters: ensemble.options.membership.participants().count() as u64,
            leader: None,
            epoch: ensemble.epoch,
            election_ms: ensemble.election_ms,
            elections: ensemble.elections,
            outstanding_proposals: 0,
            commits: ensemble.commits,
            learners: Vec::new(),
            pending_syncs: 0,
            digest_mismatches: self.pipeline.digest_mismatches(),
        };
        match &ensemble.role {
            Role::Settling | Role::Looking => {}
            Role::Leading(leading) => {
                report.leader = Some(ensemble.options.my_id);
                report.outstanding_proposals = leading.zab.outstanding() as u64;
                let last = leading.zab.last_proposed();
                report.learners = leading
                    .zab
                    .learners()
                    .map(|learner| LearnerReport {
                        server: learner.server,
                        is_observer: learner.observer,
                        is_synced: learner.synced,
                        acked: learner.acked,
                        // Of the epoch it has acknowledged nothing yet: what was proposed in it is what it may lack.
                        lag: if learner.acked.epoch() == last.epoch() {
                            u64::from(last.counter().saturating_sub(learner.acked.counter()))
                        } else {
                            u64::from(last.counter())
                        },
                    })
                    .collect();
            }
            Role::Following(following) => {
                let leader: ServerId = following.zab.leader();
                report.leader = Some(leader);
                report.pending_syncs = following.waiting.syncs() as u64;
            }
        }
        Some(report)
    }
}
