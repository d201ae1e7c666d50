//! How a server is part of an ensemble: what it has to know from the start, and what it keeps over all its roles.

mod disk;
mod following;
mod full_disk;
mod leading;
mod reconfiguring;
mod report;
mod waiting;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::following::Following;
use self::full_disk::FullDisk;
use self::leading::Leading;
pub(super) use self::leading::{LearnerRequest, SessionList};
use super::{Replica, StalledLines};
use crate::election::{self, Election, ElectionAction, Outcome};
use crate::ids::{Epoch, ServerId, Zxid};
use crate::pipeline::{self, Pipeline};
use crate::quorum::{ChangeRules, Membership};
use crate::replica::batch::OpenBatch;
use crate::replica::event::{Action, DialId, Now, Options};
use crate::replica::message::{Standing, ToShard};
pub use crate::storage::epochs::Epochs;
use crate::storage::log::Batch;
use crate::time::Instant;
use crate::wire::election::{Notification, ServerState};
use crate::zab::{self, History, HistoryOptions, Leader, Learner};

/// A server without a leader looks for one at least so long before it serves those who only read, as Apache's.
const READ_ONLY_PATIENCE_MIN: Duration = Duration::from_secs(2);

/// Ticks that an elected leader waits for its quorum to come to it, the first time; twice as many after each time in vain, up to
/// `initLimit`.
const EPOCH_PATIENCE_TICKS: u64 = 2;

/// So often in a row a leader may hang up before the server waits a little until it dials again: so long the first time, then
/// twice as long each time, and never longer than the doublings make it, or an eighth of `initLimit`.
const UNSERVED_FREE: u32 = 3;
const DIAL_PAUSE: Duration = Duration::from_millis(16);
const UNSERVED_DOUBLINGS_MAX: u32 = 6;

/// How the server takes part; `config` fills it.
#[derive(Clone, Debug)]
pub struct EnsembleOptions {
    /// This server.
    pub my_id: ServerId,
    /// The configuration that holds: all servers, this one among them.
    pub membership: Arc<Membership>,
    /// A newer one that was proposed and may hold already (Apache's `.dynamic.next`).
    pub last_seen: Option<Arc<Membership>>,
    /// What every configuration has to keep to.
    pub change_rules: ChangeRules,
    /// `tickTime`, milliseconds.
    pub tick_ms: u32,
    /// `initLimit`: ticks that a learner may take to connect and to synchronise.
    pub init_limit: u32,
    /// `syncLimit`: ticks after which a silent peer is given up.
    pub sync_limit: u32,
    /// `fastleader.minNotificationInterval`, milliseconds.
    pub notification_min_ms: u64,
    /// `fastleader.maxNotificationInterval`, milliseconds.
    pub notification_max_ms: u64,
    /// How long a server that sees a quorum for its vote waits for a better one, milliseconds (`finalizeWait`).
    pub finalize_wait_ms: u64,
    /// `leader.maxTimeToWaitForEpoch`, milliseconds; `None`: no limit of its own.
    pub epoch_wait_max_ms: Option<u64>,
    /// `readonlymode.enabled`: whether clients that are content with reading are served without a leader.
    pub read_only_mode: bool,
    /// `localSessionsEnabled`.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`.
    pub local_session_upgrading: bool,
    /// `forceSnapshotSync`: whether a leader always sends its whole state.
    pub force_snapshot_sync: bool,
    /// Committed transactions that are kept for learners that come back.
    pub history: HistoryOptions,
    /// The longest data of a packet between servers that is taken, in bytes (`jute.maxbuffer` and what a leader adds to it).
    pub packet_bytes_max: usize,
}

/// What a member keeps whatever its role is.
pub(super) struct Ensemble {
    pub(super) options: EnsembleOptions,
    /// Whether configurations change, by clients or by what other servers know: as the pipeline was told.
    pub(super) reconfig_enabled: bool,
    pub(super) election: Election,
    pub(super) epochs: Epochs,
    /// The newest records of the history, through the last one that was applied.
    pub(super) history: History,
    pub(super) role: Role,
    /// The last record that was handed to the log, and the last that is durable there.
    pub(super) log_end: Zxid,
    pub(super) log_durable: Zxid,
    /// Records that wait for room in the log, oldest first, with their number.
    pub(super) held: VecDeque<(Batch, u64)>,
    /// What the storage was asked for in order, and has not answered yet.
    pub(super) storage: VecDeque<StorageWork>,
    /// Counts the roles: what was asked for in one is not answered to the next.
    pub(super) role_number: u64,
    /// It looks for a leader since long, and serves those who only read meanwhile.
    pub(super) is_read_only: bool,
    pub(super) next_dial: u32,
    pub(super) looking_since: Instant,
    pub(super) elections: u64,
    pub(super) election_ms: Option<u64>,
    pub(super) commits: u64,
    /// The epoch of the leader under which it serves or served last.
    pub(super) epoch: Epoch,
    /// The latest epoch that a member has promised to another leader, as this server learned while it led: if it leads again, then
    /// beyond that.
    pub(super) promised_beyond: Epoch,
    /// How often in a row it was elected and came to nothing.
    pub(super) fruitless: u32,
    /// How often in a row it turned to a leader and was not served.
    pub(super) unserved: u32,
    /// The leader's records did not fit: it is followed again, and asked for its whole state.
    pub(super) want_snapshot: bool,
    /// Configurations that are being saved.
    pub(super) configuring: u32,
    /// The server that a reconfiguration named as the leader, or whose state is needed: it is followed without an election.
    pub(super) designated: Option<ServerId>,
    full_disk: FullDisk,
}

/// What the storage does for a member beside appending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StorageWork {
    /// Epochs, for the role of this number.
    Save { role: u64, epochs: Epochs },
    /// A truncation to this zxid.
    Truncate { role: u64, to: Zxid },
    /// The state of a leader.
    Install { role: u64, zxid: Zxid },
}

/// What a member does.
pub(super) enum Role {
    /// It had another role, or has just started: what was handed to the storage becomes durable, then the election begins.
    Settling,
    /// It votes.
    Looking,
    /// It was elected.
    Leading(Box<Leading>),
    /// Another was elected; with or without a vote.
    Following(Box<Following>),
}

impl Ensemble {
    /// The number for the next connection to a leader.
    fn take_dial(&mut self) -> DialId {
        self.next_dial += 1;
        DialId(self.next_dial)
    }

    /// How long to wait before a leader is dialled: some leaders hang up on who may not join them (Apache's on one that has promised
    /// a later epoch, until it steps down), and neither they nor the operator's log are to be asked a hundred times a second. Not
    /// after the first failures: a leader may be on its way only just.
    fn pause_before_dial(&self) -> Option<Duration> {
        let doublings = self.unserved.checked_sub(UNSERVED_FREE)?.min(UNSERVED_DOUBLINGS_MAX);
        Some((DIAL_PAUSE * 2_u32.pow(doublings)).min(self.ticks(self.options.init_limit) / 8))
    }

    fn ticks(&self, count: u32) -> Duration {
        Duration::from_millis(u64::from(self.options.tick_ms)) * count
    }

    /// Whether it has no role at present.
    const fn is_looking(&self) -> bool {
        matches!(self.role, Role::Settling | Role::Looking)
    }

    fn zab_options(&mut self) -> zab::Options {
        let mut options = zab::Options::new(self.options.my_id, self.options.membership.clone());
        options.tick_ms = u64::from(self.options.tick_ms);
        options.init_limit = self.options.init_limit;
        options.sync_limit = self.options.sync_limit;
        options.max_time_to_wait_for_epoch_ms = self.options.epoch_wait_max_ms;
        options.last_seen = self.options.last_seen.clone();
        options.reconfig_enabled = self.reconfig_enabled;
        let patience_ms = EPOCH_PATIENCE_TICKS * options.tick_ms;
        options.epoch_patience_ms = patience_ms.saturating_mul(2_u64.saturating_pow(self.fruitless));
        options.force_snapshot_sync = self.options.force_snapshot_sync;
        options.want_snapshot = std::mem::take(&mut self.want_snapshot);
        options
    }
}

impl Replica {
    /// A member of an ensemble whose state recovery has brought back into `pipeline`, with the last records of its log in `history`.
    /// It serves nobody before an election is won by it or by another.
    pub fn join(
        options: Options,
        ensemble: EnsembleOptions,
        mut pipeline: Pipeline,
        epochs: Epochs,
        history: History,
        now: Now,
    ) -> Self {
        let last = pipeline.view().zxid();
        assert_eq!(history.last_processed(), last, "the history ends where the tree does");
        pipeline.join(pipeline::Ensemble {
            server_id: ensemble.my_id,
            local_sessions: ensemble.local_sessions,
            local_sessions_upgrading: ensemble.local_session_upgrading,
        });
        let reconfig_enabled = pipeline.options().reconfig_enabled;
        let mut election = Election::new(election::Options {
            reconfig_enabled,
            finalize_wait_ms: ensemble.finalize_wait_ms,
            notification_interval_min_ms: ensemble.notification_min_ms,
            notification_interval_max_ms: ensemble.notification_max_ms,
            ..election::Options::new(ensemble.my_id, ensemble.membership.clone())
        });
        election.set_membership(now.instant, ensemble.membership.clone(), ensemble.last_seen.clone());
        let mut replica = Self::new(options, pipeline, now);
        replica.ensemble = Some(Box::new(Ensemble {
            election,
            epochs,
            history,
            role: Role::Settling,
            log_end: last,
            log_durable: last,
            held: VecDeque::new(),
            storage: VecDeque::new(),
            role_number: 0,
            is_read_only: false,
            next_dial: 0,
            looking_since: now.instant,
            elections: 0,
            election_ms: None,
            commits: 0,
            epoch: Epoch(0),
            promised_beyond: Epoch(0),
            fruitless: 0,
            unserved: 0,
            want_snapshot: false,
            configuring: 0,
            designated: None,
            full_disk: FullDisk::default(),
            reconfig_enabled,
            options: ensemble,
        }));
        replica.show_config(now);
        replica.publish_head();
        replica.settle(now);
        replica
    }

    /// What it is in its ensemble.
    pub fn standing(&self) -> Standing {
        match self.ensemble.as_deref().map(|ensemble| &ensemble.role) {
            None => Standing::Standalone,
            Some(Role::Leading(leading)) if leading.is_established => Standing::Leading,
            Some(Role::Following(following)) if following.is_serving && following.is_observer => Standing::Observing,
            Some(Role::Following(following)) if following.is_serving => Standing::Following,
            Some(Role::Looking) if self.is_read_only() => Standing::ReadOnly,
            Some(_) => Standing::Looking,
        }
    }

    /// When it has to be ticked at the latest, if sooner than usual.
    pub fn next_timer(&self) -> Option<Instant> {
        let ensemble = self.ensemble.as_deref()?;
        let of_role = match &ensemble.role {
            Role::Settling => ensemble.full_disk.abstains_until(),
            Role::Looking => None,
            Role::Leading(leading) => leading.zab.timer(),
            Role::Following(following) => following.zab.timer().into_iter().chain(following.dial_at).min(),
        };
        of_role.into_iter().chain(ensemble.election.timer()).min()
    }

    pub(super) fn tick_ensemble(&mut self, now: Now) {
        self.may_become_read_only(now);
        self.may_lay_down(now);
        let Some(ensemble) = self.ensemble.as_deref_mut() else { return };
        ensemble.election.tick(now.instant);
        match &mut ensemble.role {
            Role::Settling => ensemble.full_disk.tick(now.instant),
            Role::Looking => {}
            Role::Leading(leading) => leading.zab.tick(now.instant),
            Role::Following(following) => {
                if following.dial_at.take_if(|at| now.instant >= *at).is_some() {
                    self.actions.push_back(Action::Dial(following.dial, following.zab.leader()));
                }
                following.zab.tick(now.instant);
            }
        }
        self.drive(now);
    }

    /// The log is durable through this.
    pub(super) fn handle_durable(&mut self, now: Now, through: Zxid) {
        let Some(ensemble) = self.ensemble.as_deref_mut() else {
            return self.handle_committed(through);
        };
        // A truncation or another state may have come between: the log ends where it says.
        ensemble.log_durable = through;
        self.measure_logged(through);
        let ensemble = self.ensemble.as_deref_mut().expect("it was there just now");
        match &mut ensemble.role {
            Role::Settling | Role::Looking => {}
            Role::Leading(leading) => leading.zab.durable(now.instant, through),
            Role::Following(following) => following.zab.durable(now.instant, through),
        }
        self.begin_snapshot();
    }

    /// Another server tells its vote.
    pub(super) fn handle_notification(&mut self, now: Now, from: ServerId, bytes: &[u8]) {
        let Some(ensemble) = self.ensemble.as_deref_mut() else { return };
        match Notification::decode(bytes) {
            Ok(notification) => ensemble.election.handle(now.instant, from, &notification),
            Err(error) => tracing::warn!(from = from.0, %error, "a vote that cannot be read is dropped"),
        }
    }

    /// Whether another server can be asked for its vote: nobody waits for those that cannot.
    pub(super) fn handle_peer(&mut self, now: Now, peer: ServerId, is_connected: bool) {
        let Some(ensemble) = self.ensemble.as_deref_mut() else { return };
        if is_connected {
            ensemble.election.connected(now.instant, peer);
        } else {
            ensemble.election.disconnected(now.instant, peer);
        }
    }

    pub(super) fn packet_bytes_max(&self) -> usize {
        self.ensemble.as_deref().map_or(0, |ensemble| ensemble.options.packet_bytes_max)
    }

    /// Lets every machine say what it has to say, and does it.
    pub(super) fn drive(&mut self, now: Now) {
        loop {
            self.drive_leader(now);
            self.drive_learner(now);
            let Some(ensemble) = self.ensemble.as_deref_mut() else { return };
            if let Some(action) = ensemble.election.poll() {
                self.do_election(now, action);
            } else if !self.begin_election(now) {
                return;
            }
        }
    }

    /// All that has arrived is handled: an election that waits for nothing else is decided now.
    pub(super) fn end_turn_of_election(&mut self, now: Now) {
        while self.ensemble.as_deref_mut().is_some_and(|ensemble| ensemble.election.turn_ended()) {
            self.drive(now);
        }
    }

    /// Begins to vote when everything that was handed to the storage is durable: a vote names the last transaction of the log, and
    /// what it says is a promise. Whether it did.
    fn begin_election(&mut self, now: Now) -> bool {
        let Some(ensemble) = self.ensemble.as_deref_mut() else { return false };
        let is_settled = ensemble.storage.is_empty() && ensemble.log_durable >= ensemble.log_end;
        if !matches!(ensemble.role, Role::Settling) || !is_settled || ensemble.full_disk.abstains_until().is_some() {
            return false;
        }
        assert_eq!(
            ensemble.log_end,
            ensemble.history.last_record(),
            "a member that votes has applied its whole log, and logged what it has applied"
        );
        ensemble.role = Role::Looking;
        ensemble.looking_since = now.instant;
        ensemble.elections += 1;
        // Records of an epoch prove that its beginning is held, as `zab` reckons too: a vote that said less would elect a leader
        // whom this server's ACKEPOCH tells that it is behind.
        let current = ensemble.epochs.current.max(ensemble.log_end.epoch());
        match ensemble.take_designated() {
            Some(leader) => ensemble.election.designate(leader, ensemble.log_end, current),
            None => ensemble.election.start(now.instant, ensemble.log_end, current),
        }
        true
    }

    fn do_election(&mut self, now: Now, action: ElectionAction) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members vote");
        match action {
            ElectionAction::Send { to, notification } => {
                let mut bytes = Vec::new();
                notification.encode(&mut bytes);
                self.actions.push_back(Action::Notify { to, bytes: bytes.into() });
            }
            ElectionAction::Elected(outcome) => self.take_role(now, &outcome),
            ElectionAction::MembershipSeen(membership) => self.configuration_learned(now, membership),
            ElectionAction::VoterLooking(voter) => {
                if let Role::Leading(leading) = &mut ensemble.role {
                    leading.zab.voter_looking(now.instant, voter);
                }
            }
        }
    }

    /// Whether it has no leader and serves those who only read.
    pub(super) fn is_read_only(&self) -> bool {
        self.ensemble.as_deref().is_some_and(|ensemble| ensemble.is_read_only)
    }

    /// A server that has looked for a leader long enough serves those who are content with reading, if it may
    /// (`QuorumPeer.run`, `ReadOnlyZooKeeperServer`).
    fn may_become_read_only(&mut self, now: Now) {
        let Some(ensemble) = self.ensemble.as_deref_mut() else { return };
        let patience = ensemble.ticks(1).max(READ_ONLY_PATIENCE_MIN);
        let is_due = matches!(ensemble.role, Role::Looking)
            && ensemble.options.read_only_mode
            && !ensemble.is_read_only
            && now.instant.since(ensemble.looking_since) >= patience;
        if is_due {
            ensemble.is_read_only = true;
            tracing::warn!("no leader is found: clients that only read are served meanwhile");
            self.publish_head();
            self.stand(Standing::ReadOnly);
        }
    }

    /// There is a leader again: whoever was served meanwhile has to come anew.
    fn end_read_only(&mut self) {
        let Some(ensemble) = self.ensemble.as_deref_mut() else { return };
        if std::mem::take(&mut ensemble.is_read_only) {
            self.open = OpenBatch::new(self.options.shards);
            self.in_flight.clear();
            self.pipeline.forget_local();
            self.stand(Standing::Looking);
        }
    }

    /// The election has ended.
    fn take_role(&mut self, now: Now, outcome: &Outcome) {
        self.end_read_only();
        let version = self.pipeline.cut();
        let packet_bytes_max = self.packet_bytes_max();
        let ensemble = self.ensemble.as_deref_mut().expect("only members vote");
        assert!(matches!(ensemble.role, Role::Looking), "only who looks for a leader finds one");
        let took = now.instant.since(ensemble.looking_since);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        ensemble.election_ms = Some(took_ms);
        ensemble.role_number += 1;
        let options = ensemble.zab_options();
        let (Epochs { accepted, current }, log_end) = (ensemble.epochs, ensemble.log_end);
        if outcome.role == ServerState::Leading {
            tracing::info!(took_ms, zxid = %log_end, "elected");
            let accepted = accepted.max(ensemble.promised_beyond);
            let zab = Leader::new(options, now.instant, accepted, current, log_end);
            ensemble.role = Role::Leading(Box::new(Leading::new(zab, version.clone(), now.instant)));
            self.published = version.zxid();
            self.published_version = version;
            self.actions.push_back(Action::Listen(true));
        } else {
            let is_observer = outcome.role == ServerState::Observing;
            tracing::info!(leader = outcome.leader.0, took_ms, zxid = %log_end, "a leader is elected");
            let dial = ensemble.take_dial();
            let zab = Learner::new(options, now.instant, is_observer, outcome.leader, accepted, current, log_end);
            let mut following = Following::new(zab, dial, is_observer, packet_bytes_max, now.instant);
            following.dial_at = ensemble.pause_before_dial().map(|pause| now.instant + pause);
            if following.dial_at.is_none() {
                self.actions.push_back(Action::Dial(dial, outcome.leader));
            }
            ensemble.role = Role::Following(Box::new(following));
        }
    }

    /// The newest state is the one to be served next, to clients and to learners.
    fn publish_head(&mut self) {
        self.published_version = self.pipeline.cut();
        self.published = self.published_version.zxid();
    }

    /// Tells the shards whom the server serves from now on.
    pub(super) fn stand(&mut self, standing: Standing) {
        for shard in 0..self.options.shards {
            let version = self.published_version.clone();
            self.actions.push_back(Action::ToShard(shard, ToShard::Standing(standing, version)));
        }
    }

    /// Gives the present role up: what was decided stays, what was not is in the log and may be decided by the next leader.
    pub(super) fn stand_down(&mut self, now: Now, why: &str) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members stand down");
        let role = std::mem::replace(&mut ensemble.role, Role::Settling);
        // A leader that has been removed decides nothing more, and still has the clients that it served.
        let was_serving = match &role {
            Role::Leading(leading) => leading.is_established,
            Role::Following(following) => following.is_serving,
            Role::Settling | Role::Looking => false,
        };
        let mut held = std::mem::take(&mut ensemble.held);
        let next = ensemble.designated.map_or_else(
            || "an election begins".to_owned(),
            |leader| format!("server {} is the leader without an election", leader.0),
        );
        match role {
            Role::Settling => {}
            Role::Looking => panic!("who looks for a leader has no role to give up"),
            Role::Leading(mut leading) => {
                let led_ms = now.instant.since(leading.since).as_millis() as u64;
                tracing::warn!(why, led_ms, "this server leads no longer: {next}");
                let ensemble = self.ensemble.as_deref_mut().expect("it was there just now");
                if !leading.is_established {
                    ensemble.fruitless = ensemble.fruitless.saturating_add(1);
                }
                ensemble.promised_beyond =
                    ensemble.promised_beyond.max(leading.zab.promised_beyond().unwrap_or_default());
                self.actions.push_back(Action::Listen(false));
                self.log_rest(leading.take_proposed());
            }
            Role::Following(mut following) => {
                let followed_ms = now.instant.since(following.since).as_millis() as u64;
                let leader = following.zab.leader().0;
                tracing::warn!(why, leader, followed_ms, "this server follows no longer: {next}");
                if following.dial_at.is_none() {
                    self.actions.push_back(Action::HangUp(following.dial));
                }
                if !following.is_serving {
                    let ensemble = self.ensemble.as_deref_mut().expect("it was there just now");
                    ensemble.unserved = ensemble.unserved.saturating_add(1);
                }
                // Some of what waits for the log may be applied already, as the leader decides without this server's log: so
                // all of it goes there, and waits for its room there.
                held.extend(following.take_unlogged());
                for (batch, records) in held {
                    self.append(batch, records);
                }
                let log_end = self.ensemble.as_deref().expect("it was there just now").log_end;
                for (zxid, record) in following.take_pending().into_iter().filter(|(zxid, _)| *zxid <= log_end) {
                    if let Err(error) = self.follow(now, zxid, record, false) {
                        panic!("transaction {zxid} was logged by this server and cannot be applied: {error}");
                    }
                }
            }
        }
        self.open = OpenBatch::new(self.options.shards);
        // A snapshot that counts as begun and whose version was not decided in time will never be written.
        let is_lost = self.snapshot_waiting.take().is_some()
            || self.in_flight.iter().any(|batch| batch.snapshot_sessions.is_some());
        if is_lost {
            self.snapshot_running = false;
            self.trigger.fire();
        }
        self.in_flight.clear();
        self.unlogged.clear();
        self.stalled = StalledLines::default();
        self.expired.clear();
        self.segment_number += 1;
        // What was applied stays: the log has it, and the next leader may. What it does not have is cut off then, here and there.
        let head = self.pipeline.cut();
        self.pipeline.committed(head.zxid());
        self.pipeline.rewind(&head, now.instant);
        if was_serving {
            self.stand(Standing::Looking);
        }
        self.may_abstain(now);
    }

    /// A leader's last records, which were applied and not yet logged, go to the log, and all that was not committed into the
    /// history: who has applied a record has it in both.
    fn log_rest(&mut self, outstanding: impl IntoIterator<Item = (Zxid, Bytes)>) {
        self.end_segment();
        let batch = std::mem::replace(&mut self.open, OpenBatch::new(self.options.shards));
        let ensemble = self.ensemble.as_deref_mut().expect("only members stand down");
        for (zxid, record) in outstanding {
            ensemble.history.push(zxid, record);
        }
        let records = Bytes::from(batch.proposals);
        let mut start = 0;
        for (zxid, end) in batch.proposal_ends {
            ensemble.history.push(zxid, records.slice(start..end));
            start = end;
        }
        if let Some(records) = batch.log.finish() {
            self.append(records, batch.records);
        }
    }
}

#[cfg(test)]
mod tests;
