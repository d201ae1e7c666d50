//! What the replica measures of its requests and transactions; what each stage is stands in [`crate::latency`].

use super::*;
use crate::latency::{Milestone, Stage};
use crate::time::WallTime;

impl Replica {
    /// A request of a shard's is taken: into the open batch, or it goes to the leader now.
    pub(super) fn taken(&mut self, handed: Instant) {
        if self.is_forwarding() {
            self.stats.stages.record_n(Stage::Queue, self.now.instant.since(handed), 1);
        } else {
            self.open.handed.note(handed);
        }
    }

    /// A batch goes on its way, with requests that were handed over and records that were made then.
    pub(super) fn measure_launch(&mut self, batch: &OpenBatch) {
        for (age, count) in batch.handed.ages(self.now.instant) {
            self.stats.stages.record_n(Stage::Queue, age, count);
        }
        if let Some(last) = batch.last.filter(|_| self.ensemble.is_some()) {
            self.unlogged.push_back((last, batch.made.clone()));
        }
    }

    /// A leader's own log is durable through this.
    pub(super) fn measure_logged(&mut self, through: Zxid) {
        while let Some((_, made)) = self.unlogged.pop_front_if(|(last, _)| *last <= through) {
            for (age, count) in made.ages(self.now.instant) {
                self.stats.milestones.record_n(Milestone::Acknowledged, age, count);
            }
        }
    }

    /// A quorum has this batch of a leader's.
    pub(super) fn measure_committed(stats: &mut ReplicaReport, batch: &InFlight, now: Instant) {
        stats.stages.record_n(Stage::Quorum, now.since(batch.launched), batch.made.count());
        for (age, count) in batch.made.ages(now) {
            stats.milestones.record_n(Milestone::Committed, age, count);
        }
    }

    /// A batch that was made here goes to those who read.
    pub(super) fn measure_applied(&mut self, made: &Moments) {
        for (age, count) in made.ages(self.now.instant) {
            self.stats.milestones.record_n(Milestone::Applied, age, count);
        }
    }

    /// A transaction that another server made at `made` has come so far. Its clock is not ours: one that is ahead says nothing.
    pub(super) fn measure_of_leader(&mut self, milestones: &[Milestone], made: WallTime) {
        if let Ok(age_ms) = u64::try_from(self.now.wall.0 - made.0) {
            for milestone in milestones {
                self.stats.milestones.record_n(*milestone, Duration::from_millis(age_ms), 1);
            }
        }
    }

    /// Forgets all that was measured (`srst`).
    pub(super) fn forget_measures(&mut self) {
        self.stats.proposal_size = [0; 3];
        self.stats.stages.reset();
        self.stats.milestones.reset();
    }
}
