//! What shards ask for, on a server that decides itself: alone, or leading.

use super::*;
use crate::pipeline::{Created, ReadOnlyReopened, Upgrade};
use crate::storage::log::format::{RECORD_HEADER_LEN, batch_cost};
use crate::wire::connect::Password;

/// What a client asks for, as the pipeline takes it.
fn request_of<'a>(bodies: &'a [u8], write: &'a Write) -> Request<'a> {
    Request {
        session: write.session,
        xid: write.xid,
        op: write.op,
        body: &bodies[write.body.clone()],
        identities: &write.identities,
        owner: write.connection.owner(),
    }
}

impl Replica {
    pub(super) fn handle_shard(&mut self, now: Now, batch: ShardBatch) {
        let bodies = Arc::new(batch.bodies);
        for item in batch.items {
            // Signs of life and questions overtake what waits: sessions must not expire because the disk is slow.
            let overtakes = !item.is_logged_in_order();
            if overtakes || (!self.stalled.holds_up(Origin::Shards) && self.has_room_for(&bodies, &item)) {
                self.handle_item(now, &bodies, item);
            } else {
                self.stalled.push(Stalled::Item(bodies.clone(), item));
            }
        }
    }

    /// Whether the item may be handled now. Those that write nothing always may; those that write wait while the log
    /// prepares room, and are handled (and refused) when the disk is full.
    pub(super) fn has_room_for(&self, bodies: &[u8], item: &ShardItem) -> bool {
        if !self.is_deciding() {
            return true;
        }
        match item {
            ShardItem::Write(write) => self.log_full || self.has_room_for_write(&request_of(bodies, write)),
            ShardItem::Connect(_) => self.log_full || self.room_for(self.pipeline.create_len_bound(), 0),
            ShardItem::Heard { .. } | ShardItem::Ask(_) | ShardItem::Told(..) => true,
        }
    }

    /// Whether the log takes all that can come of this request, and its reserve stays untouched.
    pub(super) fn has_room_for_write(&self, request: &Request<'_>) -> bool {
        if request.op == OpCode::SYNC {
            return true;
        }
        let is_of_session = matches!(request.op, OpCode::CREATE_SESSION | OpCode::CLOSE_SESSION);
        let reserve = if is_of_session { 0 } else { SESSION_RESERVE_BYTES };
        let upgrade = self.pipeline.create_len_bound() + RECORD_HEADER_LEN;
        // Nearly always there is room for the longest record of all, and how long this one will be need not be known.
        if self.room_for(self.pipeline.record_len_max() + upgrade, reserve) {
            return true;
        }
        let is_upgraded =
            matches!(self.pipeline.upgrade_for(request.session, request.op, request.body), Upgrade::Needed);
        let upgrade = if is_upgraded { upgrade } else { 0 };
        self.room_for(self.pipeline.record_len_bound(request) + upgrade, reserve)
    }

    /// Whether the log takes one more record of this length for certain, and so many bytes besides.
    pub(super) fn room_for(&self, record_len: usize, reserve: u64) -> bool {
        let (open, records_len) = (&self.open.log, RECORD_HEADER_LEN + record_len);
        // A batch that is long enough goes before, and the record begins the next.
        let is_launched = open.cost() >= BATCH_COST_MAX;
        let cost = if is_launched { open.cost() + batch_cost(records_len) } else { open.cost_with(records_len) };
        self.log_given + cost + reserve <= self.log_admit_through
    }

    /// Whether records may be made now. Makes room in the open batch, and lays a leader's office down whose epoch has no zxids left.
    pub(super) fn may_decide(&mut self, now: Now) -> bool {
        if self.pipeline.is_epoch_full() {
            self.stand_down(now, "the zxids of the epoch are used up: a new epoch has to begin");
        }
        if self.open.log.cost() >= BATCH_COST_MAX {
            self.launch(now);
        }
        self.is_deciding()
    }

    pub(super) fn handle_item(&mut self, now: Now, bodies: &[u8], item: ShardItem) {
        match item {
            ShardItem::Connect(connect) => {
                let epoch_start = self.epoch_start();
                if self.is_read_only() {
                    self.taken(connect.handed);
                    self.connect_read_only(now, &connect);
                } else if !self.may_decide(now) && !self.is_forwarding() {
                    self.turn_away(connect.connection);
                } else if connect.last_zxid_seen > self.published.max(epoch_start) {
                    // The client has seen what this server has not: with us it would go back in time.
                    self.open.reply(connect.connection, ReplyKind::Close);
                } else {
                    self.taken(connect.handed);
                    if self.is_forwarding() {
                        self.forward_connect(now, &connect);
                    } else {
                        self.handle_connect(now, &connect);
                    }
                }
            }
            ShardItem::Write(write) => {
                if self.is_read_only() {
                    self.taken(write.handed);
                    self.refuse_write(bodies, &write);
                } else if self.may_decide(now) {
                    self.taken(write.handed);
                    self.handle_write(now, bodies, &write);
                } else if self.is_forwarding() {
                    self.taken(write.handed);
                    self.forward_write(bodies, &write);
                } else {
                    self.turn_away(write.connection);
                }
            }
            ShardItem::Heard { session, at } => {
                self.pipeline.touch(session, at);
            }
            ShardItem::Ask(ask) => self.handle_ask(ask),
            ShardItem::Told(ask, part) => self.handle_told(now, ask, part),
        }
    }

    /// A client that is content with reading has come while there is no leader.
    fn connect_read_only(&mut self, now: Now, connect: &Connect) {
        let (connection, owner) = (connect.connection, connect.connection.owner());
        if connect.last_zxid_seen > self.published {
            return self.open.reply(connection, ReplyKind::Close);
        }
        if connect.session == SessionId::NONE {
            let created = self.pipeline.create_local_session(now.instant, connect.timeout_ms, owner);
            return self.reply_created(connection, &created);
        }
        let Some(password) = connect.password else {
            return self.open.reply(connection, ReplyKind::Refused);
        };
        let (session, asked_ms) = (connect.session, connect.timeout_ms);
        match self.pipeline.reopen_read_only(now.instant, session, &password, asked_ms, owner) {
            ReadOnlyReopened::Here(reopened) => self.answer_reopened(connection, session, password, reopened),
            ReadOnlyReopened::Close => self.open.reply(connection, ReplyKind::Close),
        }
    }

    /// What changes something is refused while there is no leader, but for the end of a session of this server's own.
    fn refuse_write(&mut self, bodies: &[u8], write: &Write) {
        let request = request_of(bodies, write);
        let frame_start = self.open.frames.len();
        let done = self.pipeline.process_read_only(&request, &mut self.open.frames);
        self.finish(write.connection, done, frame_start);
    }

    /// Closes a connection whose request came when nobody could take it any more.
    pub(super) fn turn_away(&mut self, connection: ConnectionId) {
        self.actions.push_back(Action::ToShard(usize::from(connection.shard), ToShard::Displaced(connection)));
    }

    pub(super) fn handle_connect(&mut self, now: Now, connect: &Connect) {
        let connection = connect.connection;
        if connect.session != SessionId::NONE {
            self.reopen(now, connect);
            return;
        }
        if self.pipeline.creates_local_sessions() {
            let created = self.pipeline.create_local_session(now.instant, connect.timeout_ms, connection.owner());
            self.reply_created(connection, &created);
            return;
        }
        if !self.room_for(self.pipeline.create_len_bound(), 0) {
            self.open.reply(connection, ReplyKind::Close);
            return;
        }
        let mut sink = Sink { log: &mut self.record, reply: &mut self.open.frames, changes: &mut self.open.changes };
        let created =
            self.pipeline.create_session(now.wall, now.instant, connect.timeout_ms, connection.owner(), &mut sink);
        self.booked(created.zxid);
        self.reply_created(connection, &created);
    }

    pub(super) fn reply_created(&mut self, connection: ConnectionId, created: &Created) {
        let Created { session, timeout_ms, password, .. } = *created;
        self.open.reply(connection, ReplyKind::Opened { session, timeout_ms, password });
    }

    pub(super) fn reopen(&mut self, now: Now, connect: &Connect) {
        let connection = connect.connection;
        let Some(password) = connect.password else {
            self.open.reply(connection, ReplyKind::Refused);
            return;
        };
        let reopened = self.pipeline.reopen_session(
            now.instant,
            connect.session,
            &password,
            connect.timeout_ms,
            connection.owner(),
        );
        self.answer_reopened(connection, connect.session, password, reopened);
    }

    /// Tells a client whether it has its session back, and closes the connection that the session lived on before.
    pub(super) fn answer_reopened(
        &mut self,
        connection: ConnectionId,
        session: SessionId,
        password: Password,
        reopened: Reopened,
    ) {
        match reopened {
            Reopened::Refused => self.open.reply(connection, ReplyKind::Refused),
            Reopened::Ok { timeout_ms, previous_owner } => {
                self.stalled.moved(session, connection.owner());
                let previous = previous_owner.filter(|owner| owner.as_learner().is_none()).map(ConnectionId::of);
                if let Some(previous) = previous.filter(|previous| *previous != connection) {
                    self.turn_away(previous);
                }
                self.open.reply(connection, ReplyKind::Opened { session, timeout_ms, password });
            }
        }
    }

    pub(super) fn handle_write(&mut self, now: Now, bodies: &[u8], write: &Write) {
        let connection = write.connection;
        if write.after_read && self.last_segment_of(connection) == Some(self.segment_number) {
            self.end_segment();
        }
        self.note_segment_of(connection);
        let request = request_of(bodies, write);
        let frame_start = self.open.frames.len();
        if !self.has_room_for_write(&request) {
            crate::wire::response::put_header_reply(
                &mut self.open.frames,
                write.xid,
                self.pipeline.view().zxid(),
                ErrorCode::SYSTEM_ERROR,
            );
            self.open.reply(connection, ReplyKind::Answer(frame_start..self.open.frames.len()));
            return;
        }
        let mut refused = None;
        match self.pipeline.upgrade_for(write.session, write.op, request.body) {
            Upgrade::NotNeeded => {}
            Upgrade::Refused(err) => refused = Some(err),
            Upgrade::Needed => {
                let mut sink =
                    Sink { log: &mut self.record, reply: &mut self.open.frames, changes: &mut self.open.changes };
                let done = self.pipeline.upgrade(now.wall, now.instant, write.session, &mut sink);
                self.booked(done.zxid);
                if self.pipeline.is_epoch_full() {
                    // The connection is closed with the office.
                    self.may_decide(now);
                    return;
                }
            }
        }
        if let Some(err) = refused {
            crate::wire::response::put_header_reply(&mut self.open.frames, write.xid, self.pipeline.view().zxid(), err);
            return self.open.reply(connection, ReplyKind::Answer(frame_start..self.open.frames.len()));
        }
        self.show_quorum(write.op);
        let mut sink = Sink { log: &mut self.record, reply: &mut self.open.frames, changes: &mut self.open.changes };
        let done = self.pipeline.process(now.wall, &request, &mut sink);
        if write.op == OpCode::SYNC && done.err == ErrorCode::OK {
            self.confirm_sync();
        }
        self.finish(connection, done, frame_start);
        self.launch_reconfiguration(now);
    }

    /// Books what the pipeline did with a request: its record, and its answer.
    pub(super) fn finish(&mut self, connection: ConnectionId, done: Done, frame_start: usize) {
        if done.logged {
            self.booked(done.zxid);
        }
        let frame = frame_start..self.open.frames.len();
        let kind = match (done.close, frame.is_empty()) {
            (true, true) => ReplyKind::Close,
            (true, false) => ReplyKind::Last(frame),
            (false, _) => ReplyKind::Answer(frame),
        };
        self.open.reply(connection, kind);
    }

    /// Remembers that the open segment holds the connection's newest write.
    pub(super) fn note_segment_of(&mut self, connection: ConnectionId) {
        let slots = &mut self.last_segment[usize::from(connection.shard)];
        let slot = connection.slot as usize;
        if slots.len() <= slot {
            slots.resize(slot + 1, 0);
        }
        slots[slot] = self.segment_number;
    }

    pub(super) fn last_segment_of(&self, connection: ConnectionId) -> Option<u64> {
        self.last_segment[usize::from(connection.shard)].get(connection.slot as usize).copied()
    }

    pub(super) fn handle_room(&mut self, now: Now, admit_through: u64, full: bool) {
        if full && !self.log_full {
            tracing::error!("the disk is full: writes are refused until there is room, reads go on");
        } else if !full && self.log_full {
            tracing::warn!("there is room on the disk again: writes are accepted");
        }
        self.log_admit_through = admit_through;
        self.log_full = full;
        self.append_held();
        while let Some(stalled) = self.stalled.front() {
            let has_room = match stalled {
                Stalled::Item(bodies, item) => self.has_room_for(bodies, item),
                Stalled::Forwarded(_, request) => self.has_room_for_forwarded(request),
            };
            if !has_room {
                break;
            }
            match self.stalled.pop().expect("there is a front") {
                Stalled::Item(bodies, item) => self.handle_item(now, &bodies, item),
                Stalled::Forwarded(link, request) => self.process_forwarded(now, link, &request),
            }
        }
        self.note_full_disk(now, full);
    }
}
