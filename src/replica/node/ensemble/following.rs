//! The server follows: the leader's records go to the log, its commits to the tree and to the clients, and the clients' writes to
//! the leader.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use foldhash::fast::FixedState;

use super::waiting::{Waiting, WaitingLines};
use super::{Ensemble, Role, StorageWork};
use crate::ids::{Epoch, SessionId, Zxid};
use crate::pipeline::Sink;
use crate::replica::batch::ReplyKind;
use crate::replica::event::{Action, DialId, Now, Reloaded};
use crate::replica::message::{Connect, ConnectionId, Standing, ToShard, Write};
use crate::replica::node::Replica;
use crate::session::password;
use crate::storage::apache::SnapReader;
use crate::storage::log::BatchBuilder;
use crate::time::Instant;
use crate::tree::Change;
use crate::wire::connect::Password;
use crate::wire::header::Xid;
use crate::wire::op::OpCode;
use crate::wire::quorum::PacketReader;
use crate::zab::{Learner, LearnerAction};

/// What a follower or observer keeps.
pub(in crate::replica) struct Following {
    pub(in crate::replica) zab: Learner,
    pub(in crate::replica) dial: DialId,
    pub(in crate::replica) is_observer: bool,
    pub(in crate::replica) is_serving: bool,
    pub(in crate::replica) since: Instant,
    reader: PacketReader,
    /// The leader's state, while it comes in.
    snapshot: Option<Box<SnapReader>>,
    out: Vec<u8>,
    /// Records that are not applied yet: those that the leader has not committed.
    pending: VecDeque<(Zxid, Bytes)>,
    /// Records for the log, at the end of the turn.
    append: BatchBuilder,
    append_len: u64,
    pub(in crate::replica) waiting: WaitingLines,
    /// Clients that came back, until the leader has said whether their sessions are alive; in order for each session.
    revalidating: HashMap<SessionId, VecDeque<(ConnectionId, i32, Password)>, FixedState>,
}

impl Following {
    pub(super) fn new(zab: Learner, dial: DialId, is_observer: bool, now: Instant) -> Self {
        Self {
            zab,
            dial,
            is_observer,
            is_serving: false,
            since: now,
            reader: PacketReader::default(),
            snapshot: None,
            out: Vec::new(),
            pending: VecDeque::new(),
            append: BatchBuilder::default(),
            append_len: 0,
            waiting: WaitingLines::default(),
            revalidating: HashMap::default(),
        }
    }

    /// Takes out what was logged and never committed.
    pub(super) fn take_pending(&mut self) -> VecDeque<(Zxid, Bytes)> {
        std::mem::take(&mut self.pending)
    }
}

impl Replica {
    fn following(&mut self) -> Option<&mut Following> {
        match self.ensemble.as_deref_mut() {
            Some(Ensemble { role: Role::Following(following), .. }) => Some(following),
            _ => None,
        }
    }

    /// Whether it serves clients on behalf of a leader elsewhere.
    pub(in crate::replica) fn is_forwarding(&self) -> bool {
        matches!(self.ensemble.as_deref(), Some(Ensemble { role: Role::Following(following), .. }) if following.is_serving)
    }

    pub(in crate::replica) fn handle_leader_connected(&mut self, now: Now, dial: DialId) {
        if let Some(following) = self.following().filter(|following| following.dial == dial) {
            following.zab.connected(now.instant);
        }
    }

    pub(in crate::replica) fn handle_leader_lost(&mut self, now: Now, dial: DialId) {
        if let Some(following) = self.following().filter(|following| following.dial == dial) {
            following.zab.closed(now.instant);
        }
    }

    pub(in crate::replica) fn handle_leader_bytes(&mut self, now: Now, dial: DialId, bytes: &[u8]) {
        let Some(following) = self.following().filter(|following| following.dial == dial) else { return };
        following.reader.push(bytes);
        self.read_leader(now, dial);
    }

    /// Takes what has come from the leader, packet by packet, or piece by piece of its state.
    fn read_leader(&mut self, now: Now, dial: DialId) {
        while let Some(following) = self.following().filter(|following| following.dial == dial) {
            if let Some(snapshot) = &mut following.snapshot {
                let mut raw = following.reader.take_raw();
                match snapshot.push(&mut raw) {
                    Ok(None) => return,
                    Ok(Some(loaded)) => {
                        following.reader.push(&raw);
                        following.snapshot = None;
                        self.replace_state(now, loaded);
                    }
                    Err(error) => {
                        following.snapshot = None;
                        self.stand_down(now, &format!("the leader's state could not be read: {error}"));
                        return;
                    }
                }
                self.drive_learner(now);
                continue;
            }
            match following.reader.next() {
                Ok(Some(packet)) => following.zab.packet(now.instant, packet),
                Ok(None) => return,
                Err(error) => {
                    self.stand_down(now, &format!("the leader sent what is no packet: {error}"));
                    return;
                }
            }
            self.drive_learner(now);
        }
    }

    /// Does what the learner's machine says, until it has nothing more to say.
    pub(super) fn drive_learner(&mut self, now: Now) {
        while let Some(Ensemble { role: Role::Following(following), .. }) = self.ensemble.as_deref_mut()
            && let Some(action) = following.zab.poll()
        {
            match action {
                LearnerAction::SaveEpochs { accepted, current } => self.save_epochs(accepted, current),
                LearnerAction::Send(packet) => packet.encode(&mut following.out),
                LearnerAction::Append(zxid, record) => {
                    following.append.push(zxid, &record);
                    following.append_len += 1;
                    following.pending.push_back((zxid, record));
                }
                LearnerAction::Commit(zxid) => self.apply_committed(now, zxid),
                LearnerAction::Truncate { to } => self.truncate(to),
                LearnerAction::ReceiveSnapshot { zxid } => {
                    let reader = SnapReader::new(*self.pipeline.tree().options(), zxid);
                    following.snapshot = Some(Box::new(reader));
                }
                LearnerAction::InstallSnapshot { zxid } => self.install(zxid),
                LearnerAction::Serving { epoch } => self.serve_as_learner(now, epoch),
                LearnerAction::SyncDone => {
                    if let Some(session) = following.waiting.sync_done() {
                        self.answer_ready(session);
                    }
                }
                LearnerAction::Revalidated { session, valid } => self.revalidated(now, session, valid),
                LearnerAction::TouchesWanted => {
                    let touched = self.pipeline.sessions_mut().take_touched();
                    if let Some(following) = self.following() {
                        following.zab.touches(touched);
                    }
                }
                LearnerAction::Abandon { why } => self.stand_down(now, &why),
            }
        }
    }

    /// The leader has committed the oldest record that waits.
    fn apply_committed(&mut self, now: Now, zxid: Zxid) {
        let following = self.following().expect("only a learner is told of commits");
        let (logged, record) = following.pending.pop_front().expect("the learner commits what it has appended");
        assert_eq!(logged, zxid, "the learner commits in the order of its log");
        let is_serving = following.is_serving;
        if let Err(error) = self.follow(now, zxid, record, is_serving) {
            self.stand_down(now, &format!("transaction {zxid} of the leader cannot be applied: {error}"));
        }
    }

    /// Applies a record to the newest state; with `tell`, clients hear of it.
    pub(super) fn follow(
        &mut self,
        now: Now,
        zxid: Zxid,
        record: Bytes,
        tell: bool,
    ) -> Result<(), crate::pipeline::FollowError> {
        let mut unheard: Vec<Change> = Vec::new();
        if tell {
            self.end_segment_before(&record);
        }
        let changes = if tell { &mut self.open.changes } else { &mut unheard };
        let followed = self.pipeline.follow(now.instant, &record, changes)?;
        let ensemble = self.ensemble.as_deref_mut().expect("only members follow");
        if followed.digest_differs {
            ensemble.digest_mismatches += 1;
            tracing::error!(%zxid, "the tree differs from the leader's behind this transaction");
        }
        ensemble.history.push(zxid, record.clone());
        ensemble.commits += 1;
        if tell {
            self.open.segment_has_records = true;
            self.stats.txn_count += 1;
            self.answer_followed(&record, &followed);
        }
        Ok(())
    }
}
