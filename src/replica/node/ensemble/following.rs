//! The server follows: the leader's records go to the log, its commits to the tree and to the clients, and the clients' writes to
//! the leader.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use foldhash::fast::FixedState;

use super::waiting::{Waiting, WaitingLines};
use super::{Ensemble, Role};
use crate::ids::{Epoch, SessionId, Zxid};
use crate::latency::{Milestone, Stage};
use crate::pipeline::{Awaiting, FollowError, Followed, LearnerReopened, Request, Route, answer_of};
use crate::replica::batch::ReplyKind;
use crate::replica::event::{Action, DialId, Now, Reloaded};
use crate::replica::message::{Connect, ConnectionId, Write};
use crate::replica::node::{BATCH_COST_MAX, Replica};
use crate::storage::apache::{Limits, Pushed, SnapReader};
use crate::storage::log::{Batch, BatchBuilder};
use crate::time::Instant;
use crate::tree::Change;
use crate::wire::connect::Password;
use crate::wire::error_code::ErrorCode;
use crate::wire::header::{ReplyHeader, Xid};
use crate::wire::jute::Reader;
use crate::wire::op::OpCode;
use crate::wire::quorum::PacketReader;
use crate::wire::request::decode_path;
use crate::wire::response::put_header_reply;
use crate::wire::txn::{Txn, TxnHeader};
use crate::zab::{Learner, LearnerAction};

/// Bytes of records that may wait for room in the log of a learner, beyond which it gives its leader up: one without a vote would
/// not be given up for what it does not acknowledge. More than a leader sends of its history at once (64 MiB, `zab::history`): a
/// newcomer with a slow disk would give up a leader it has just come to.
const HELD_BYTES_MAX: u64 = 128 << 20;

/// What a follower or observer keeps.
pub(in crate::replica) struct Following {
    pub(in crate::replica) zab: Learner,
    pub(in crate::replica) dial: DialId,
    /// The leader is not dialled before this.
    pub(super) dial_at: Option<Instant>,
    pub(in crate::replica) is_observer: bool,
    pub(in crate::replica) is_serving: bool,
    pub(in crate::replica) since: Instant,
    /// How it came to the leader's state, for the operator.
    synchronised_by: &'static str,
    reader: PacketReader,
    /// The leader's state, while it comes in.
    snapshot: Option<Box<SnapReader>>,
    /// The same when it is whole, until it is installed.
    received: Option<Box<SnapReader>>,
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
    pub(super) fn new(zab: Learner, dial: DialId, is_observer: bool, packet_bytes_max: usize, now: Instant) -> Self {
        Self {
            zab,
            dial,
            dial_at: None,
            is_observer,
            is_serving: false,
            since: now,
            synchronised_by: "DIFF",
            reader: PacketReader::new(packet_bytes_max),
            snapshot: None,
            received: None,
            out: Vec::new(),
            pending: VecDeque::new(),
            append: BatchBuilder::default(),
            append_len: 0,
            waiting: WaitingLines::default(),
            revalidating: HashMap::default(),
        }
    }

    /// Takes out what has collected for the log, and the number of its records.
    pub(super) fn take_unlogged(&mut self) -> Option<(Batch, u64)> {
        let records = std::mem::take(&mut self.append_len);
        Some((std::mem::take(&mut self.append).finish()?, records))
    }

    /// Takes out what was logged and never committed.
    pub(super) fn take_pending(&mut self) -> VecDeque<(Zxid, Bytes)> {
        std::mem::take(&mut self.pending)
    }
}

impl Replica {
    pub(super) fn following(&mut self) -> Option<&mut Following> {
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

    pub(in crate::replica) fn handle_leader_lost(&mut self, dial: DialId) {
        if let Some(following) = self.following().filter(|following| following.dial == dial) {
            following.zab.closed();
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
                let bytes = following.reader.take_rest();
                if bytes.is_empty() {
                    return;
                }
                following.zab.heard(now.instant);
                match snapshot.push(&bytes) {
                    Ok(Pushed::More) => return,
                    Ok(Pushed::Complete { used }) => {
                        following.reader.push(&bytes[used..]);
                        following.received = following.snapshot.take();
                        following.zab.snapshot_received(now.instant);
                    }
                    Err(error) => {
                        following.snapshot = None;
                        self.stand_down(now, &format!("the leader's state could not be read: {error}"));
                        return;
                    }
                }
            } else {
                match following.reader.next_packet() {
                    Ok(Some(packet)) => following.zab.packet(now.instant, packet),
                    Ok(None) => return,
                    Err(error) => {
                        self.stand_down(now, &format!("the leader sent what is no packet: {error}"));
                        return;
                    }
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
                    let proposed = following.is_serving.then(|| TxnHeader::decode(&mut Reader::new(&record)));
                    following.pending.push_back((zxid, record));
                    if let Some(Ok(header)) = proposed {
                        self.measure_of_leader(&[Milestone::Proposed], header.time);
                    }
                }
                LearnerAction::Commit(zxid) => self.apply_committed(now, zxid),
                LearnerAction::ConfigurationSeen { text, is_awaited } => {
                    self.configuration_proposed(now, &text, is_awaited);
                }
                LearnerAction::ConfigurationActivated { text, designated } => {
                    self.activate_as_learner(now, &text, designated);
                }
                LearnerAction::Truncate { to } => {
                    following.synchronised_by = "TRUNC";
                    self.truncate(to);
                }
                LearnerAction::ReceiveSnapshot { zxid } => {
                    following.synchronised_by = "SNAP";
                    let reader = SnapReader::new(*self.pipeline.tree().options(), zxid, Limits::default());
                    following.snapshot = Some(Box::new(reader));
                }
                LearnerAction::InstallSnapshot { zxid } => self.install_received(now, zxid),
                LearnerAction::Serving { epoch } => self.serve_as_learner(now, epoch),
                LearnerAction::SyncDone => self.sync_done(),
                LearnerAction::Revalidated { session, valid } => self.revalidated(now, session, valid),
                LearnerAction::TouchesWanted => {
                    let touched = self.pipeline.take_touched();
                    if let Some(following) = self.following() {
                        following.zab.touches(&touched);
                    }
                }
                LearnerAction::Abandon { why, want_snapshot: true } => self.come_back_for_the_state(now, &why),
                LearnerAction::Abandon { why, want_snapshot: false } => self.stand_down(now, &why),
            }
        }
    }

    /// What the leader sends does not fit what is here: it is asked for its whole state, over a new connection and without an
    /// election.
    ///
    /// Who hides its history counts for nobody who has yet to win the epoch. That leader has won it, with this server's true
    /// history if it needed that; the next one might have to win it with this server's alone (seed 452268: two members were left,
    /// and each second attempt failed as this one hid its history, each other one as it did not).
    pub(super) fn come_back_for_the_state(&mut self, now: Now, why: &str) {
        let ensemble = self.ensemble.as_deref_mut().expect("a learner has an ensemble");
        let Role::Following(following) = &ensemble.role else { panic!("only a learner is sent what does not fit") };
        ensemble.want_snapshot = true;
        ensemble.designated = Some(following.zab.leader());
        self.stand_down(now, &format!("{why}: its whole state is needed"));
    }

    /// The leader's state has come in whole.
    fn install_received(&mut self, now: Now, zxid: Zxid) {
        let following = self.following().expect("only a learner is sent a state");
        let received = following.received.take().expect("the learner installs what it has received");
        match received.finish() {
            Ok((tree, sessions)) => self.install(now, zxid, Reloaded { tree, sessions }),
            Err(error) => self.stand_down(now, &format!("the leader's state is none: {error}")),
        }
    }

    /// Everything up to this zxid is the leader's history: what of it is not applied yet is applied now.
    fn apply_committed(&mut self, now: Now, through: Zxid) {
        while let Some(following) = self.following()
            && let Some((zxid, record)) = following.pending.pop_front_if(|(zxid, _)| *zxid <= through)
        {
            let is_serving = following.is_serving;
            if let Err(error) = self.follow(now, zxid, record, is_serving) {
                self.stand_down(now, &format!("transaction {zxid} of the leader cannot be applied: {error}"));
            }
        }
    }

    /// Applies a record to the newest state; with `tell`, clients hear of it.
    pub(super) fn follow(&mut self, now: Now, zxid: Zxid, record: Bytes, tell: bool) -> Result<(), FollowError> {
        let mut unheard: Vec<Change> = Vec::new();
        if tell {
            self.end_segment_before(&record);
        }
        let changes = if tell { &mut self.open.changes } else { &mut unheard };
        let followed = self.pipeline.follow(now.instant, &record, changes)?;
        if let Some(mismatch) = &followed.mismatch {
            tracing::error!(
                zxid = %mismatch.zxid, expected = mismatch.expected, actual = mismatch.actual,
                "the tree is not the leader's behind this transaction"
            );
        }
        if tell {
            self.open.segment_has_records = true;
            self.stats.txn_count += 1;
            let made = followed.header.time;
            self.answer_followed(&followed);
            self.measure_of_leader(&[Milestone::CommitHeard, Milestone::Applied], made);
        }
        let ensemble = self.ensemble.as_deref_mut().expect("only members follow");
        ensemble.history.push(zxid, record);
        ensemble.commits += 1;
        Ok(())
    }

    /// Ends the open segment if a read of the client waits for the state before this record.
    fn end_segment_before(&mut self, record: &[u8]) {
        let Ok(header) = TxnHeader::decode(&mut Reader::new(record)) else { return };
        let Some(following) = self.following() else { return };
        let Some(waiting) = following.waiting.front(header.session, header.cxid) else { return };
        let (connection, after_read) = (waiting.connection, waiting.after_read);
        self.end_segment_between(connection, after_read);
    }

    /// Ends the open segment if it holds an answer for this connection and reads wait between that one and the next.
    fn end_segment_between(&mut self, connection: ConnectionId, after_read: bool) {
        if after_read && self.last_segment_of(connection) == Some(self.segment_number) {
            self.end_segment();
        }
        self.note_segment_of(connection);
    }

    /// Answers the client of ours whose request became this transaction, and tells the one whose session it ended.
    fn answer_followed(&mut self, followed: &Followed<'_>) {
        let (session, cxid) = (followed.header.session, followed.header.cxid);
        let Some(Ensemble { role: Role::Following(following), .. }) = self.ensemble.as_deref_mut() else { return };
        let mut told = None;
        if let Some(waiting) = following.waiting.front(session, cxid) {
            let connection = waiting.connection;
            told = Some(connection);
            let kind = if waiting.op == OpCode::CREATE_SESSION {
                match followed.created() {
                    Some(created) => {
                        ReplyKind::Opened { session, timeout_ms: created.timeout_ms, password: created.password }
                    }
                    None => ReplyKind::Refused,
                }
            } else {
                let awaiting = Awaiting { session, xid: waiting.xid, refused: waiting.refused };
                let start = self.open.frames.len();
                let answered = answer_of(followed, &awaiting, &mut self.open.frames);
                let frame = start..self.open.frames.len();
                match (answered.close, frame.is_empty()) {
                    (true, true) => ReplyKind::Close,
                    (true, false) => ReplyKind::Last(frame),
                    (false, _) => ReplyKind::Answer(frame),
                }
            };
            let waiting = following.waiting.pop(session).expect("it is at the front");
            if let Some(sent) = waiting.sent {
                self.stats.stages.record_n(Stage::Quorum, self.now.instant.since(sent), 1);
            }
            self.open.reply(connection, kind);
            self.answer_ready(session);
        }
        if let Some(owner) = followed.closed.map(ConnectionId::of)
            && told != Some(owner)
        {
            self.open.reply(owner, ReplyKind::Close);
        }
        if matches!(followed.txn, Txn::CloseSession { .. })
            && let Some(following) = self.following()
        {
            following.waiting.forget(session);
        }
    }

    /// Gives a client all answers that wait for nothing any longer.
    fn answer_ready(&mut self, session: SessionId) {
        while let Some(following) = self.following()
            && let Some((waiting, answer)) = following.waiting.pop_answered(session)
        {
            self.end_segment_between(waiting.connection, waiting.after_read);
            let start = self.open.frames.len();
            self.open.frames.extend_from_slice(&answer.frame);
            // What has waited shows the state of now: its client has seen later answers than that of when it was made.
            let zxid = self.pipeline.zxid();
            ReplyHeader::raise_zxid(&mut self.open.frames[start..], zxid);
            let frame = start..self.open.frames.len();
            let kind = if answer.close { ReplyKind::Last(frame) } else { ReplyKind::Answer(frame) };
            self.open.reply(waiting.connection, kind);
        }
    }

    /// A client of ours wants something done: it goes to the leader, or is answered here in its turn.
    pub(in crate::replica) fn forward_write(&mut self, bodies: &[u8], write: &Write) {
        if self.following().is_some_and(|following| following.waiting.has_moved(write.session, write.connection)) {
            // Its client is back on another connection, and this came late: Apache has closed the old one by then.
            return self.turn_away(write.connection);
        }
        let request = Request {
            session: write.session,
            xid: write.xid,
            op: write.op,
            body: &bodies[write.body.clone()],
            identities: &write.identities,
            owner: write.connection.owner(),
        };
        let mut waiting = Waiting::new(write.connection, write.xid, write.op).sent(self.now.instant);
        waiting.after_read = write.after_read;
        let mut frame = Vec::new();
        let route = self.pipeline.route(&request, &mut frame);
        let zxid = self.published;
        let following = self.following().expect("only learners forward");
        match route {
            Route::Answered(done) => {
                following.waiting.push(write.session, waiting.answered(frame, done.close));
                self.answer_ready(write.session);
            }
            Route::Forward { upgrade_ms, refused } => {
                if let Some(timeout_ms) = upgrade_ms {
                    let body = Bytes::copy_from_slice(&timeout_ms.to_be_bytes());
                    following.zab.request(write.session, 0, OpCode::CREATE_SESSION, body, Vec::new());
                }
                waiting.refused = refused;
                if write.op == OpCode::SYNC {
                    let Ok(path) = decode_path(&mut Reader::new(request.body)) else {
                        put_header_reply(&mut frame, write.xid, zxid, ErrorCode::MARSHALLING_ERROR);
                        following.waiting.push(write.session, waiting.answered(frame, false));
                        return self.answer_ready(write.session);
                    };
                    following.waiting.push_sync(write.session, waiting, path.map(|path| path.into_owned()));
                } else {
                    following.waiting.push(write.session, waiting);
                }
                // Behind a `sync` of the same client, too: its answer comes before what is committed of later writes, and the
                // reads between the two see the state before these.
                let (body, identities) = (Bytes::copy_from_slice(request.body), write.identities.to_vec());
                following.zab.request(write.session, write.xid.0, write.op, body, identities);
            }
        }
    }

    /// The leader and all that it had proposed before are here: the oldest `sync` is answered.
    fn sync_done(&mut self) {
        let zxid = self.pipeline.zxid();
        if let Some(following) = self.following()
            && let Some(session) = following.waiting.sync_done(zxid)
        {
            self.answer_ready(session);
        }
    }

    /// A client of ours wants a session, or its own back: the leader has to say.
    pub(in crate::replica) fn forward_connect(&mut self, now: Now, connect: &Connect) {
        let (connection, owner) = (connect.connection, connect.connection.owner());
        if connect.session == SessionId::NONE {
            if self.pipeline.creates_local_sessions() {
                let created = self.pipeline.create_local_session(now.instant, connect.timeout_ms, owner);
                let (session, timeout_ms, password) = (created.session, created.timeout_ms, created.password);
                return self.open.reply(connection, ReplyKind::Opened { session, timeout_ms, password });
            }
            let (session, timeout_ms) = self.pipeline.ask_session(connect.timeout_ms, owner);
            let following = self.following().expect("only learners forward");
            let waiting = Waiting::new(connection, Xid(0), OpCode::CREATE_SESSION).sent(now.instant);
            following.waiting.push(session, waiting);
            let body = Bytes::copy_from_slice(&timeout_ms.to_be_bytes());
            following.zab.request(session, 0, OpCode::CREATE_SESSION, body, Vec::new());
            return;
        }
        let Some(password) = connect.password else {
            return self.open.reply(connection, ReplyKind::Refused);
        };
        let (session, asked_ms) = (connect.session, connect.timeout_ms);
        match self.pipeline.reopen_as_learner(now.instant, session, &password, asked_ms, owner) {
            LearnerReopened::Here(reopened) => self.answer_reopened(connection, session, password, reopened),
            LearnerReopened::AskLeader { timeout_ms } => {
                let following = self.following().expect("only learners forward");
                // What still comes over its connection before this one must not go out behind this: the client may have done
                // more over another server meanwhile.
                following.waiting.moved(session, connection);
                let asker = (connection, timeout_ms, password);
                following.revalidating.entry(session).or_default().push_back(asker);
                following.zab.revalidate(session, timeout_ms);
            }
        }
    }

    /// The leader says whether a session is alive whose client came back.
    fn revalidated(&mut self, now: Now, session: SessionId, is_valid: bool) {
        let following = self.following().expect("only learners ask");
        let Some(askers) = following.revalidating.get_mut(&session) else { return };
        let Some((connection, timeout_ms, password)) = askers.pop_front() else { return };
        if askers.is_empty() {
            following.revalidating.remove(&session);
        }
        // What an earlier connection waited for is of no use to this one, and must not hold it up if it never comes.
        following.waiting.forget_requests(session);
        let reopened = self.pipeline.revalidated(now.instant, session, timeout_ms, connection.owner(), is_valid);
        self.answer_reopened(connection, session, password, reopened);
    }

    /// Everything that the leader's office began with is durable here and on a quorum: clients are served.
    fn serve_as_learner(&mut self, now: Now, epoch: Epoch) {
        // The leader had sent all of its state when it heard NEWLEADER acknowledged, before it sent UPTODATE.
        self.pipeline.end_fuzzy();
        self.show_config(now);
        self.publish_head();
        let ensemble = self.ensemble.as_deref_mut().expect("only members follow");
        ensemble.commits = 0;
        ensemble.fruitless = 0;
        ensemble.unserved = 0;
        ensemble.full_disk.served();
        ensemble.epoch = epoch;
        ensemble.election.established(now.instant, epoch);
        let Role::Following(following) = &mut ensemble.role else { unreachable!("it is a learner") };
        following.is_serving = true;
        tracing::info!(
            epoch = epoch.0, zxid = %self.published, leader = following.zab.leader().0, observer = following.is_observer,
            synchronised_by = following.synchronised_by, "this server follows"
        );
        self.stand(self.standing());
    }

    /// What has collected for the log and for the leader goes out.
    pub(in crate::replica) fn flush_learner(&mut self, now: Now) {
        let Some(Ensemble { role: Role::Following(following), held, .. }) = self.ensemble.as_deref_mut() else {
            return;
        };
        if !following.out.is_empty() {
            self.actions.push_back(Action::ToLeader(following.dial, std::mem::take(&mut following.out)));
        }
        // What waits for room waits together: the log's inbox takes few batches, however many turns they came in.
        if held.is_empty() || following.append.cost() >= BATCH_COST_MAX {
            held.extend(following.take_unlogged());
        }
        let held_bytes = || held.iter().map(|(batch, _)| batch.cost()).sum::<u64>();
        let is_too_much = !held.is_empty() && held_bytes() > HELD_BYTES_MAX;
        self.append_held();
        if is_too_much && self.ensemble.as_deref().is_some_and(|ensemble| !ensemble.held.is_empty()) {
            self.stand_down(now, "too much of the leader's waits for room on this server's disk");
        }
    }

    /// Hands the log what it has room for. What has to wait is not acknowledged, and a leader gives up who acknowledges nothing.
    pub(in crate::replica) fn append_held(&mut self) {
        while let Some(ensemble) = self.ensemble.as_deref_mut()
            && let Some((batch, _)) = ensemble.held.front()
            && self.log_given + batch.cost() <= self.log_admit_through
        {
            let (batch, records) = ensemble.held.pop_front().expect("there is a front");
            self.append(batch, records);
        }
    }
}
