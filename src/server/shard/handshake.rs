//! The first bytes of a connection: a handshake, a four-letter word, or neither.

use crate::admin::figures::Counter;
use crate::ids::SessionId;
use crate::replica::message::{Connect, ConnectionId, ShardItem, Standing};
use crate::time::Instant;
use crate::wire::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN, Password};
use crate::wire::jute::{Reader, put_frame};
use crate::wire::op::OpCode;

use super::State;
use super::connection::Stage;
use super::serve::Flow;
use crate::server::options::ShardOptions;

impl State {
    /// The handshake's frame.
    pub(super) fn handshake(&mut self, options: &ShardOptions, slot: u32, frame: &[u8], now: Instant) -> Flow {
        let serves = self.serves(options);
        let connection = self.connections.get_mut(slot).expect("a connection that is read from is there");
        let Ok(request) = ConnectRequest::decode(&mut Reader::new(frame)) else {
            tracing::debug!(peer = %connection.peer, "not a handshake: closed");
            return Flow::Close;
        };
        if !serves {
            tracing::debug!(peer = %connection.peer, standing = ?self.standing, "nobody is served: closed");
            return Flow::Close;
        }
        if self.standing == Standing::ReadOnly && request.read_only != Some(true) {
            tracing::debug!(peer = %connection.peer, "no leader, and the client is not content with reading: closed");
            return Flow::Close;
        }
        connection.stage = Stage::Connecting;
        connection.has_read_only = request.read_only.is_some();
        connection.session_asked = (request.session == SessionId::NONE).then_some(now);
        connection.stats.received += 1;
        self.stats.packets_received += 1;
        self.stats.figures.add(Counter::ConnectionRequests, 1);
        self.outgoing.items.push(ShardItem::Connect(Connect {
            connection: connection.id,
            session: request.session,
            password: request.password.try_into().ok(),
            timeout_ms: request.timeout_ms,
            last_zxid_seen: request.last_zxid_seen,
            handed: now,
        }));
        Flow::Pause
    }

    /// The replica has opened the session of this connection.
    pub(super) fn opened(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        timeout_ms: i32,
        password: Password,
        now: Instant,
    ) {
        // One that was displaced or given up in the meantime stays ended.
        let Some(connection) = self.connection(id).filter(|connection| connection.stage == Stage::Connecting) else {
            return;
        };
        tracing::debug!(peer = %connection.peer, %session, timeout_ms, "session open");
        connection.stage = Stage::Open;
        connection.session = session;
        connection.timeout_ms = timeout_ms;
        let asked = connection.session_asked.take();
        self.answer_handshake(id, session, timeout_ms, password);
        if let Some(asked) = asked {
            self.turn.answered(id.slot, OpCode::CREATE_SESSION, asked, now);
        }
        if let Some(connection) = self.connection(id) {
            connection.resume();
        }
    }

    /// The replica knows no such session, or the password is wrong: said with a timeout of zero, then closed.
    pub(super) fn refused(&mut self, id: ConnectionId) {
        self.answer_handshake(id, SessionId::NONE, 0, [0; PASSWORD_LEN]);
        if let Some(connection) = self.connection(id) {
            tracing::debug!(peer = %connection.peer, "session refused");
            connection.stage = Stage::Ending;
        }
    }

    /// Whether clients are served at all.
    pub(super) fn serves(&self, options: &ShardOptions) -> bool {
        match self.standing {
            Standing::Looking => false,
            Standing::Leading => options.leader_serves,
            Standing::Standalone | Standing::ReadOnly | Standing::Following | Standing::Observing => true,
        }
    }

    fn answer_handshake(&mut self, id: ConnectionId, session: SessionId, timeout_ms: i32, password: Password) {
        let is_read_only = self.standing == Standing::ReadOnly;
        let Some(connection) = self.connections.get_mut(id.slot).filter(|connection| connection.id == id) else {
            return;
        };
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session,
            password,
            read_only: connection.has_read_only.then_some(is_read_only),
        };
        put_frame(&mut connection.out, |out| response.encode(out));
        connection.stats.sent += 1;
        self.stats.packets_sent += 1;
        Self::mark_dirty(connection, &mut self.dirty);
    }
}
