//! What shards ask for, on a server that decides itself: alone, or leading.

use super::*;

impl Replica {
    pub(super) fn handle_shard(&mut self, now: Now, batch: ShardBatch) {
        let bodies = Arc::new(batch.bodies);
        for item in batch.items {
            // Signs of life and questions overtake what waits: sessions must not expire because the disk is slow.
            if !item.is_logged_in_order() || (self.stalled.is_empty() && self.has_room_for(&item)) {
                self.handle_item(now, &bodies, item);
            } else {
                self.stalled.push_back((bodies.clone(), item));
            }
        }
    }

    /// Whether the item may be handled now. Those that write nothing always may; those that write wait while the log
    /// prepares room, and are handled (and refused) when the disk is full.
    pub(super) fn has_room_for(&self, item: &ShardItem) -> bool {
        match item {
            ShardItem::Write(write) => {
                write.op == OpCode::SYNC || self.log_full || self.room_for(write.body.len(), SESSION_RESERVE_BYTES)
            }
            ShardItem::Connect(_) => self.log_full || self.room_for(0, 0),
            ShardItem::Heard { .. } | ShardItem::Ask(_) | ShardItem::Told(..) => true,
        }
    }

    pub(super) fn room_for(&self, body_len: usize, reserve: u64) -> bool {
        let given = self.log_given + self.open.log.cost();
        given + body_len as u64 + RECORD_OVERHEAD_BYTES + reserve <= self.log_admit_through
    }

    pub(super) fn handle_item(&mut self, now: Now, bodies: &[u8], item: ShardItem) {
        if self.open.log.cost() >= BATCH_COST_MAX {
            self.launch();
        }
        match item {
            ShardItem::Connect(connect) => self.handle_connect(now, &connect),
            ShardItem::Write(write) => self.handle_write(now, bodies, &write),
            ShardItem::Heard { session, at } => {
                self.pipeline.sessions_mut().touch(session, at);
            }
            ShardItem::Ask(ask) => self.handle_ask(ask),
            ShardItem::Told(ask, part) => self.handle_told(now, ask, part),
        }
    }

    pub(super) fn handle_connect(&mut self, now: Now, connect: &Connect) {
        let connection = connect.connection;
        if connect.last_zxid_seen > self.published {
            // The client has seen what this server has not: with us it would go back in time.
            self.open.reply(connection, ReplyKind::Close);
            return;
        }
        if connect.session != SessionId::NONE {
            self.reopen(now, connect);
            return;
        }
        if !self.room_for(0, 0) {
            self.open.reply(connection, ReplyKind::Close);
            return;
        }
        let mut sink = Sink { log: &mut self.record, reply: &mut self.open.frames, changes: &mut self.open.changes };
        let opened =
            self.pipeline.create_session(now.wall, now.instant, connect.timeout_ms, connection.owner(), &mut sink);
        self.booked(opened.zxid);
        self.open.reply(
            connection,
            ReplyKind::Opened { session: opened.session, timeout_ms: opened.timeout_ms, password: opened.password },
        );
    }

    pub(super) fn reopen(&mut self, now: Now, connect: &Connect) {
        let connection = connect.connection;
        let Some(password) = connect.password else {
            self.open.reply(connection, ReplyKind::Refused);
            return;
        };
        match self.pipeline.reopen_session(
            now.instant,
            connect.session,
            &password,
            connect.timeout_ms,
            connection.owner(),
        ) {
            Reopened::Refused => self.open.reply(connection, ReplyKind::Refused),
            Reopened::Ok { timeout_ms, previous_owner } => {
                if let Some(previous) = previous_owner.map(ConnectionId::of).filter(|previous| *previous != connection)
                {
                    let shard = usize::from(previous.shard);
                    self.actions.push_back(Action::ToShard(shard, ToShard::Displaced(previous)));
                }
                self.open.reply(connection, ReplyKind::Opened { session: connect.session, timeout_ms, password });
            }
        }
    }

    pub(super) fn handle_write(&mut self, now: Now, bodies: &[u8], write: &Write) {
        let connection = write.connection;
        if write.after_read && self.last_segment_of(connection) == Some(self.segment_number) {
            self.end_segment();
        }
        self.note_segment_of(connection);
        let reserve = if write.op == OpCode::CLOSE_SESSION { 0 } else { SESSION_RESERVE_BYTES };
        let frame_start = self.open.frames.len();
        if write.op != OpCode::SYNC && !self.room_for(write.body.len(), reserve) {
            crate::wire::response::put_header_reply(
                &mut self.open.frames,
                write.xid,
                self.pipeline.zxid(),
                ErrorCode::SYSTEM_ERROR,
            );
            self.open.reply(connection, ReplyKind::Answer(frame_start..self.open.frames.len()));
            return;
        }
        let request = Request {
            session: write.session,
            xid: write.xid,
            op: write.op,
            body: &bodies[write.body.clone()],
            identities: &write.identities,
            owner: connection.owner(),
        };
        let mut sink = Sink { log: &mut self.record, reply: &mut self.open.frames, changes: &mut self.open.changes };
        let done = self.pipeline.process(now.wall, &request, &mut sink);
        self.finish(connection, done, frame_start);
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
        while let Some((_, item)) = self.stalled.front() {
            if !self.has_room_for(item) {
                break;
            }
            let (bodies, item) = self.stalled.pop_front().expect("there is a front");
            self.handle_item(now, &bodies, item);
        }
    }
}
