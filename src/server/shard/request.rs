//! What a client's bytes ask for, frame by frame.

use crate::pipeline::{auth, read};
use crate::replica::message::{ShardItem, Standing, Write};
use crate::rt::clock;
use crate::time::Instant;
use crate::wire::error_code::ErrorCode;
use crate::wire::header::{RequestHeader, Xid};
use crate::wire::jute::Reader;
use crate::wire::op::OpCode;
use crate::wire::request::AuthRequest;
use crate::wire::response::put_header_reply;

use crate::admin::figures::{Counter, Latency};
use crate::admin::status::ResponseBytes;
use crate::admin::word::{STMK_ARGUMENT_LEN, Word};
use crate::ids::Zxid;
use crate::server::options::ShardOptions;

use super::connection::{Connection, Queued, Stage};
use super::serve::Flow;
use super::{Shard, State};

/// Identities that a connection may collect; the proof of one more fails.
const IDENTITIES_MAX: usize = 128;

/// Bytes of a frame's length.
const LEN: usize = 4;

impl Shard {
    /// Handles what has come from a connection and takes it out of `bytes`.
    pub(super) fn take(&self, slot: u32, bytes: &mut Vec<u8>) -> Flow {
        let state = &mut *self.state.borrow_mut();
        let now = clock::now();
        let mut taken = 0;
        let flow = loop {
            let Some(connection) = state.connections.get_mut(slot) else {
                break Flow::Close;
            };
            if connection.stage == Stage::Ending {
                break Flow::Close;
            }
            if connection.is_paused() {
                break Flow::Pause;
            }
            let rest = &bytes[taken..];
            let Some(head) = rest.first_chunk::<LEN>() else {
                break Flow::Read;
            };
            if connection.stage == Stage::New
                && let Some(word) = Word::parse(*head)
            {
                // `stmk` brings eight bytes of its own.
                let argument_len = if word == Word::Stmk { STMK_ARGUMENT_LEN } else { 0 };
                let Some(argument) = rest.get(LEN..LEN + argument_len) else {
                    break Flow::Read;
                };
                let argument = argument.to_vec();
                taken += LEN + argument_len;
                state.word(&self.options, &self.shared, self.number, slot, word, &argument);
                continue;
            }
            let len = i32::from_be_bytes(*head);
            let Some(len) = usize::try_from(len).ok().filter(|len| *len <= self.options.frame_bytes_max) else {
                tracing::warn!(
                    peer = %connection.peer, len, max = self.options.frame_bytes_max,
                    "a frame of this length is not taken (jute.maxbuffer): closed"
                );
                state.stats.figures.add(Counter::LargeRequestsRejected, 1);
                break Flow::Close;
            };
            let Some(frame) = rest.get(LEN..LEN + len) else {
                break Flow::Read;
            };
            if state.load.queued.get() > self.options.queued_bytes_max && adds_to_queue(connection, frame) {
                connection.waits_for_room = true;
                state.waiting_for_room.push(connection.id);
                break Flow::Pause;
            }
            let flow = if connection.stage == Stage::New {
                state.handshake(&self.options, slot, frame)
            } else {
                state.request(&self.options, slot, frame, now)
            };
            taken += LEN + len;
            if flow != Flow::Read {
                break flow;
            }
        };
        if taken == bytes.len() {
            bytes.clear();
        } else if taken > 0 {
            bytes.drain(..taken);
        }
        flow
    }
}

/// Whether a request would wait for the disk, or behind one that does.
fn adds_to_queue(connection: &Connection, frame: &[u8]) -> bool {
    let is_immediate = |header: RequestHeader| {
        matches!(header.op, OpCode::AUTH | OpCode::SASL | OpCode::PING) || read::is_read(header.op)
    };
    connection.stage == Stage::Open
        && (!connection.queue().is_empty() || !RequestHeader::decode(&mut Reader::new(frame)).is_ok_and(is_immediate))
}

impl State {
    /// One request of an open session.
    fn request(&mut self, options: &ShardOptions, slot: u32, frame: &[u8], now: Instant) -> Flow {
        let mut reader = Reader::new(frame);
        let connection = self.connections.get_mut(slot).expect("a connection that is read from is there");
        let Ok(header) = RequestHeader::decode(&mut reader) else {
            tracing::debug!(peer = %connection.peer, "a frame without a request: closed");
            return Flow::Close;
        };
        connection.stats.received += 1;
        self.stats.packets_received += 1;
        let body = reader.rest();
        match header.op {
            OpCode::AUTH => return self.authenticate(options, slot, header, body),
            OpCode::SASL => return self.sasl(options, slot, header, body),
            OpCode::PING if connection.queue().is_empty() => {
                put_header_reply(&mut connection.out, Xid::PING, self.version.zxid(), ErrorCode::OK);
                connection.stats.answered(header.op, Xid::PING, self.version.zxid(), 0, now);
                self.count_sent(slot);
                return Flow::Read;
            }
            _ => {}
        }
        if !options.enforced_schemes.is_empty()
            && !connection.identities.iter().any(|id| options.enforced_schemes.contains(id.scheme.as_ref()))
        {
            tracing::warn!(peer = %connection.peer, "not authenticated by a scheme that is asked for: closed");
            let refusal = ErrorCode::SESSION_CLOSED_REQUIRE_SASL_AUTH;
            put_header_reply(&mut connection.out, header.xid, Zxid::ZERO, refusal);
            connection.stage = Stage::Ending;
            self.count_sent(slot);
            return Flow::Close;
        }
        if read::is_read(header.op) {
            self.read(options, slot, header, body, now);
        } else {
            self.write(slot, header, body, now);
        }
        Flow::Read
    }

    /// Answers a read, or lets it wait for the writes before it.
    fn read(&mut self, options: &ShardOptions, slot: u32, header: RequestHeader, body: &[u8], now: Instant) {
        let connection = self.connections.get_mut(slot).expect("a connection that is read from is there");
        if !connection.queue().is_empty() {
            connection.enqueue(Queued::Read { xid: header.xid, op: header.op, body: body.into(), received: now });
            return;
        }
        self.answer_read(options, slot, header, body, now, now);
    }

    /// Answers a read from the present version.
    pub(super) fn answer_read(
        &mut self,
        options: &ShardOptions,
        slot: u32,
        header: RequestHeader,
        body: &[u8],
        received: Instant,
        now: Instant,
    ) {
        let connection = self.connections.get_mut(slot).expect("a connection that is answered is there");
        let asker = read::Asker {
            watcher: Self::watcher(slot),
            session: connection.session,
            identities: &connection.identities,
        };
        let (watches, out) = (&mut self.watches, &mut connection.out);
        let start = out.len();
        read::answer(&self.version, &options.auth, watches, &asker, header.xid, header.op, body, out);
        ResponseBytes::record(&mut self.stats.response_bytes, (out.len() - start) as u64);
        let latency_us = now.since(received).as_micros() as u64;
        connection.stats.answered(header.op, header.xid, self.version.zxid(), latency_us, now);
        self.stats.latency.record(latency_us);
        self.stats.figures.record_latency(Latency::Read, latency_us);
        self.count_sent(slot);
    }

    /// Sends a write, or whatever else the replica has to see, on its way.
    fn write(&mut self, slot: u32, header: RequestHeader, body: &[u8], now: Instant) {
        let connection = self.connections.get_mut(slot).expect("a connection that is read from is there");
        if self.standing == Standing::ReadOnly && header.op != OpCode::CLOSE_SESSION {
            // `ReadOnlyRequestProcessor`. Behind a closeSession nobody waits for an answer any more.
            if connection.queue().is_empty() {
                put_header_reply(&mut connection.out, header.xid, self.version.zxid(), ErrorCode::NOT_READ_ONLY);
                connection.stats.answered(header.op, header.xid, self.version.zxid(), 0, now);
                self.count_sent(slot);
            }
            return;
        }
        let after_read = connection.queue().back().is_some_and(|last| !last.is_write());
        connection.enqueue(Queued::Write { xid: header.xid, op: header.op, len: body.len(), received: now });
        let start = self.outgoing.bodies.len();
        self.outgoing.bodies.extend_from_slice(body);
        self.outgoing.items.push(ShardItem::Write(Write {
            connection: connection.id,
            session: connection.session,
            xid: header.xid,
            op: header.op,
            identities: connection.identities.clone(),
            body: start..self.outgoing.bodies.len(),
            after_read,
        }));
    }

    /// `auth`: the connection gets one more identity, or is told that it does not, and closed.
    fn authenticate(&mut self, options: &ShardOptions, slot: u32, header: RequestHeader, body: &[u8]) -> Flow {
        let connection = self.connections.get_mut(slot).expect("a connection that is read from is there");
        let Ok(request) = AuthRequest::decode(&mut Reader::new(body)) else {
            return Flow::Close;
        };
        let proved = match request.auth {
            _ if connection.identities.len() >= IDENTITIES_MAX => Err(auth::AuthFailed),
            // That of its certificate is proved already.
            _ if request.scheme == "x509" && connection.identities.iter().any(|id| id.scheme == "x509") => {
                Ok(Vec::new())
            }
            Some(auth) => auth::authenticate(&request.scheme, auth, connection.peer.ip(), &options.auth),
            // The digest of nothing at all is where Java stumbles; other schemes do not look.
            None if request.scheme == "digest" => Err(auth::AuthFailed),
            None => auth::authenticate(&request.scheme, &[], connection.peer.ip(), &options.auth),
        };
        match proved {
            Ok(new) => {
                connection.add_identities(new);
                put_header_reply(&mut connection.out, header.xid, Zxid::ZERO, ErrorCode::OK);
                self.count_sent(slot);
                Flow::Read
            }
            Err(auth::AuthFailed) => {
                self.stats.auth_failed += 1;
                tracing::warn!(peer = %connection.peer, scheme = %request.scheme, "authentication failed: closed");
                put_header_reply(&mut connection.out, header.xid, Zxid::ZERO, ErrorCode::AUTH_FAILED);
                connection.stage = Stage::Ending;
                self.count_sent(slot);
                Flow::Close
            }
        }
    }

    /// One more frame in the connection's `out`.
    pub(super) fn count_sent(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.stats.sent += 1;
            self.stats.packets_sent += 1;
            Self::mark_dirty(connection, &mut self.dirty);
        }
    }
}
