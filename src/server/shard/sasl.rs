//! SASL inside a session (`ZooKeeperServer.processSasl`): the exchange moves on as soon as a token comes, so that everything
//! behind it has the new identity; its answer waits for those of the writes before it, so that the client gets all in order.

use crate::pipeline::auth;
use crate::pipeline::auth::digest_md5::{NONCE_BYTES, Step};
use crate::rt::process;
use crate::server::options::ShardOptions;
use crate::wire::error_code::ErrorCode;
use crate::wire::header::{ReplyHeader, RequestHeader};
use crate::wire::jute::{Put, Reader, put_frame};

use super::State;
use super::connection::{Queued, Stage};
use super::serve::Flow;
use crate::ids::Zxid;

/// The scheme's name, in lists and in `enforce.auth.schemes`.
const SCHEME: &str = "sasl";

impl State {
    /// A token of the client's.
    pub(super) fn sasl(&mut self, options: &ShardOptions, slot: u32, header: RequestHeader, body: &[u8]) -> Flow {
        let connection = self.connections.get_mut(slot).expect("a connection that is read from is there");
        let Ok(Some(token)) = Reader::new(body).buffer() else {
            return Flow::Close;
        };
        let (err, answer) = match &options.sasl {
            // As a server where SASL is not set up: success, and no token.
            None => (ErrorCode::OK, None),
            Some(sasl) => {
                let exchange = connection.sasl.get_or_insert_default();
                match exchange.take(token, &sasl.users, process::random_bytes::<NONCE_BYTES>) {
                    Ok(Step::Challenge(challenge)) => (ErrorCode::OK, Some(challenge)),
                    Ok(Step::Proved { user, token }) => {
                        tracing::debug!(peer = %connection.peer, session = %connection.session, user, "authenticated");
                        connection.add_identities(auth::sasl_identities(&user, &options.auth));
                        (ErrorCode::OK, Some(token))
                    }
                    Err(refused) => {
                        let is_enforced = options.enforced_schemes.contains(SCHEME);
                        let may_stay = sasl.failed_allowed && !is_enforced;
                        tracing::warn!(peer = %connection.peer, %refused, may_stay, "SASL authentication failed");
                        match (may_stay, is_enforced) {
                            (true, _) => (ErrorCode::OK, None),
                            (false, true) => (ErrorCode::SESSION_CLOSED_REQUIRE_SASL_AUTH, None),
                            (false, false) => (ErrorCode::AUTH_FAILED, None),
                        }
                    }
                }
            }
        };
        let mut frame = Vec::new();
        put_frame(&mut frame, |out| {
            ReplyHeader { xid: header.xid, zxid: Zxid::ZERO, err }.encode(out);
            out.put_buffer(answer.as_deref());
        });
        let is_last = err != ErrorCode::OK;
        if !connection.queue().is_empty() {
            connection.enqueue(Queued::Answer { frame: frame.into(), is_last });
            return if is_last { Flow::Pause } else { Flow::Read };
        }
        connection.out.extend_from_slice(&frame);
        if is_last {
            connection.stage = Stage::Ending;
        }
        self.count_sent(slot);
        if is_last { Flow::Close } else { Flow::Read }
    }

    /// An answer that was ready and had to wait for others. Whether anything may follow.
    pub(super) fn say_queued(&mut self, slot: u32, frame: &[u8], is_last: bool) -> bool {
        let connection = self.connections.get_mut(slot).expect("a connection that is answered is there");
        connection.out.extend_from_slice(frame);
        if is_last {
            connection.stage = Stage::Ending;
            connection.wake_reader();
        }
        self.count_sent(slot);
        !is_last
    }
}
