//! A leader whose disk is full lays its office down, so that one with room may be elected.
//!
//! Nothing else would ever take it away: the disk of a leader that takes no more makes nobody late, as it proposes nothing, and
//! reads, pings and sessions go on. It goes when a quorum of others is there that follows it.
//!
//! A voter that loses its leader, or its office, with a full disk keeps out of the election for a while: it would often win, with the
//! newest history or the greatest id, or give another the vote that it needs and then not follow it, for want of room.
//!
//! Whether the others have room cannot be known before one of them leads; where all share one full disk each finds that out in
//! turn, ever more rarely.

use super::Role;
use crate::replica::event::Now;
use crate::replica::node::Replica;
use crate::time::Instant;

/// Ticks that a leader's disk is full before it goes, the first time; so many times as long each time after that, up to the longest.
const PATIENCE_TICKS: u32 = 2;
const PATIENCE_FACTOR: u32 = 4;
const PATIENCE_TICKS_MAX: u32 = 512;

/// Ticks that it keeps out of the election at most, the first time: enough for the others, and not much if they do not come to an
/// end without it. Twice as many each time that it has not served meanwhile, up to twice `initLimit`: so long a leader waits in
/// vain that it has voted for.
const ABSTENTION_TICKS: u32 = 2;

/// What a member knows of its full disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FullDisk {
    /// Since when there has been no room.
    since: Option<Instant>,
    /// How often it has laid its office down since then.
    laid_down: u32,
    /// How often in a row it has kept out of an election and then served nobody.
    abstained: u32,
    /// Until when it keeps out of elections.
    abstains_until: Option<Instant>,
    /// Only for its log's sake: room there ends that.
    is_for_log: bool,
}

impl FullDisk {
    fn patience_ticks(&self) -> u32 {
        PATIENCE_TICKS.saturating_mul(PATIENCE_FACTOR.saturating_pow(self.laid_down)).min(PATIENCE_TICKS_MAX)
    }

    /// Until when it keeps out of the election that it could take part in.
    pub(super) fn abstains_until(&self) -> Option<Instant> {
        self.abstains_until
    }

    /// It serves, full or not.
    pub(super) fn served(&mut self) {
        self.abstained = 0;
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) {
        self.abstains_until.take_if(|until| now >= *until);
    }
}

impl Replica {
    /// The log has said whether there is room.
    pub(in crate::replica) fn note_full_disk(&mut self, now: Now, full: bool) {
        let Some(ensemble) = self.ensemble.as_deref_mut() else { return };
        if full {
            ensemble.full_disk.since.get_or_insert(now.instant);
        } else if ensemble.full_disk.since.is_some() {
            let FullDisk { abstained, abstains_until, is_for_log, .. } = ensemble.full_disk;
            // A log that is opened anew, as after a leader's state that did not fit, has room until it tries: that is no reason to
            // vote (seed 875896).
            let abstains_until = abstains_until.filter(|_| !is_for_log);
            ensemble.full_disk = FullDisk { abstained, abstains_until, ..FullDisk::default() };
        }
    }

    /// Lays a leader's office down if its disk has been full for long enough, and others can lead.
    pub(super) fn may_lay_down(&mut self, now: Now) {
        let Some(ensemble) = self.ensemble.as_deref() else { return };
        let (Some(since), Role::Leading(leading)) = (ensemble.full_disk.since, &ensemble.role) else { return };
        let is_due = now.instant.since(since.max(leading.since)) >= ensemble.ticks(ensemble.full_disk.patience_ticks());
        if is_due && leading.is_established && leading.zab.is_dispensable() {
            let FullDisk { laid_down, .. } =
                &mut self.ensemble.as_deref_mut().expect("it was there just now").full_disk;
            *laid_down = laid_down.saturating_add(1);
            self.stand_down(now, "its disk is full, and a quorum of others is there to elect another");
        }
    }

    /// It has no role any more: with a full disk the next election is the others', unless its leader is known.
    pub(super) fn may_abstain(&mut self, now: Now) {
        let ensemble = self.ensemble.as_deref().expect("only members have a role");
        let has_vote = ensemble.options.membership.is_participant(ensemble.options.my_id);
        let FullDisk { since, abstains_until, .. } = ensemble.full_disk;
        if has_vote && since.is_some() && abstains_until.is_none() && ensemble.designated.is_none() {
            self.keep_out(now, true);
        }
    }

    /// Something else than the log has found no room, and it is about to stand down for that: it would be of no use as a leader, nor as
    /// a follower, whatever the log says.
    pub(super) fn abstain(&mut self, now: Now) {
        self.keep_out(now, false);
    }

    fn keep_out(&mut self, now: Now, is_for_log: bool) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members have a role");
        let abstained = ensemble.full_disk.abstained;
        let ticks = ABSTENTION_TICKS
            .saturating_mul(2_u32.saturating_pow(abstained))
            .min(ensemble.options.init_limit.saturating_mul(2));
        let abstains_until = Some(now.instant + ensemble.ticks(ticks));
        let abstained = abstained.saturating_add(1);
        ensemble.full_disk = FullDisk { abstained, abstains_until, is_for_log, ..ensemble.full_disk };
        ensemble.election.abstain();
    }
}
