//! How a server is part of an ensemble: what it has to know from the start, and what it keeps over all its roles.

use std::collections::VecDeque;
use std::sync::Arc;

use super::leading::Leading;
use super::following::Following;
use crate::election::Election;
use crate::ids::{Epoch, ServerId, Zxid};
use crate::quorum::Membership;
use crate::storage::log::Batch;
use crate::time::Instant;
use crate::zab::History;

/// How the server takes part; `config` fills it.
#[derive(Clone, Debug)]
pub struct EnsembleOptions {
    /// This server.
    pub my_id: ServerId,
    /// All servers, this one among them.
    pub membership: Arc<Membership>,
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
    /// Committed transactions that are kept for learners that come back, at most.
    pub history_len_max: usize,
    /// The same in bytes.
    pub history_bytes_max: usize,
}

/// The two epochs of reference 2.5, as they are on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The highest that this server has promised to accept.
    pub accepted: Epoch,
    /// The one that its history belongs to.
    pub current: Epoch,
}

/// What a member keeps whatever its role is.
pub(super) struct Ensemble {
    pub(super) options: EnsembleOptions,
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
    pub(super) next_dial: u32,
    pub(super) looking_since: Instant,
    pub(super) elections: u64,
    pub(super) election_ms: Option<u64>,
    pub(super) commits: u64,
    pub(super) digest_mismatches: u64,
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
    pub(super) fn take_dial(&mut self) -> super::event::DialId {
        self.next_dial += 1;
        super::event::DialId(self.next_dial)
    }
}

impl Replica {
    /// A member of an ensemble whose state recovery has brought back into `pipeline`, with the last records of its log. It serves
    /// nobody before an election is won by it or by another.
    pub fn join(
        options: Options,
        ensemble: EnsembleOptions,
        pipeline: Pipeline,
        epochs: Epochs,
        records: Vec<(Zxid, Bytes)>,
        now: Now,
    ) -> Self {
        let last = pipeline.zxid();
        let mut history = History::new(last, ensemble.history_len_max, ensemble.history_bytes_max);
        history.load(records);
        let election = Election::new(election::Options {
            my_id: ensemble.my_id,
            membership: ensemble.membership.clone(),
            notification_min_ms: ensemble.notification_min_ms,
            notification_max_ms: ensemble.notification_max_ms,
            finalize_wait_ms: ensemble.finalize_wait_ms,
        });
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
            next_dial: 0,
            looking_since: now.instant,
            elections: 0,
            election_ms: None,
            commits: 0,
            digest_mismatches: 0,
            options: ensemble,
        }));
        replica.drive(now);
        replica
    }

    /// What it is in its ensemble.
    pub fn standing(&self) -> Standing {
        match self.ensemble.as_deref().map(|ensemble| &ensemble.role) {
            None => Standing::Standalone,
            Some(Role::Leading(leading)) if leading.is_established => Standing::Leading,
            Some(Role::Following(following)) if following.is_serving && following.is_observer => Standing::Observing,
            Some(Role::Following(following)) if following.is_serving => Standing::Following,
            Some(_) => Standing::Looking,
        }
    }

    /// When it has to be ticked at the latest, if sooner than usual.
    pub fn next_timer(&self) -> Option<Instant> {
        self.ensemble.as_deref()?.election.timer()
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

    /// Begins to vote when everything that was handed to the storage is durable: a vote names the last transaction of the log, and
    /// what it says is a promise. Whether it did.
    fn begin_election(&mut self, now: Now) -> bool {
        let Some(ensemble) = self.ensemble.as_deref_mut() else { return false };
        let is_settled = ensemble.storage.is_empty() && ensemble.log_durable >= ensemble.log_end;
        if !matches!(ensemble.role, Role::Settling) || !is_settled {
            return false;
        }
        assert_eq!(
            ensemble.log_end,
            self.pipeline.zxid(),
            "a member that votes has applied its whole log, and logged what it has applied"
        );
        ensemble.role = Role::Looking;
        ensemble.looking_since = now.instant;
        ensemble.elections += 1;
        ensemble.election.start(now.instant, ensemble.log_end, ensemble.epochs.current);
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
            ElectionAction::Elected(outcome) => {
                assert!(matches!(ensemble.role, Role::Looking), "only who looks for a leader finds one");
                let took = now.instant.since(ensemble.looking_since);
                ensemble.election_ms = Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
                ensemble.role_number += 1;
                let options = ensemble.zab_options();
                let epochs = ensemble.epochs;
                match outcome.role {
                    ElectionRole::Leading => {
                        tracing::info!(took_ms = took.as_millis() as u64, zxid = %ensemble.log_end, "elected");
                        let zab = Leader::new(options, now.instant, epochs.accepted, epochs.current, ensemble.log_end);
                        ensemble.role = Role::Leading(Box::new(Leading::new(zab, now.instant)));
                        self.actions.push_back(Action::Listen(true));
                        self.publish_head();
                    }
                    role @ (ElectionRole::Following | ElectionRole::Observing) => {
                        let is_observer = role == ElectionRole::Observing;
                        tracing::info!(leader = outcome.leader.0, took_ms = took.as_millis() as u64, "a leader is elected");
                        let dial = ensemble.take_dial();
                        let zab = Learner::new(
                            options,
                            now.instant,
                            is_observer,
                            outcome.leader,
                            epochs.accepted,
                            epochs.current,
                            ensemble.log_end,
                        );
                        ensemble.role =
                            Role::Following(Box::new(Following::new(zab, dial, is_observer, now.instant)));
                        self.actions.push_back(Action::Dial(dial, outcome.leader));
                    }
                }
            }
            ElectionAction::MembershipSeen(membership) => {
                // To take over another configuration is a reconfiguration, which is not built yet.
                tracing::warn!(version = membership.version, "another server has a newer configuration: not taken over");
            }
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
        let was_serving = self.is_deciding() || self.is_forwarding();
        let ensemble = self.ensemble.as_deref_mut().expect("only members stand down");
        let role = std::mem::replace(&mut ensemble.role, Role::Settling);
        ensemble.held.clear();
        match role {
            Role::Settling => {}
            Role::Looking => panic!("who looks for a leader has no role to give up"),
            Role::Leading(mut leading) => {
                tracing::warn!(why, "this server leads no longer");
                self.actions.push_back(Action::Listen(false));
                self.log_rest(leading.zab.take_outstanding());
            }
            Role::Following(mut following) => {
                tracing::warn!(why, "this server follows no longer");
                self.actions.push_back(Action::HangUp(following.dial));
                let log_end = ensemble.log_end;
                for (zxid, record) in following.take_pending().into_iter().filter(|(zxid, _)| *zxid <= log_end) {
                    if let Err(error) = self.follow(now, zxid, record, false) {
                        panic!("transaction {zxid} was logged by this server and cannot be applied: {error}");
                    }
                }
            }
        }
        self.open = OpenBatch::new(self.options.shards);
        self.in_flight.clear();
        self.stalled.clear();
        self.snapshot_waiting = None;
        self.segment_number += 1;
        self.pipeline.stand_down();
        if was_serving {
            self.stand(Standing::Looking);
        }
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
