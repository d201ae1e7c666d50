//! How long the record of a request may become, before it is processed: so that a log which is nearly full takes what it has
//! been promised room for, and refuses the rest before anything has changed.

use super::{CLOSE_PATHS_BYTES_MAX, Pipeline, Request};
use crate::ids::SessionId;
use crate::wire::acl::Id;
use crate::wire::op::OpCode;
use crate::wire::txn::{TxnDigest, TxnHeader};

/// Header, digest, and the body of a refusal: in every record, or longer than it.
const ENVELOPE: usize = TxnHeader::LEN + TxnDigest::LEN + 4;

/// By how much a transaction may be longer than its request: a sequence number (eleven digits where it is negative), the
/// parent's cversion and the ephemeral's flag for the flags of the request; for null where the path has to be.
const GROWTH: usize = 11 + 1 + 4;

/// The shortest operation of a multi: its header and a path of nothing with a version.
const MULTI_OP_BYTES_MIN: usize = 9 + 4 + 4;

impl Pipeline {
    /// No less than the bytes of the record that [`process`](Self::process) or
    /// [`process_forwarded`](Self::process_forwarded) will make of this request, should it make one at once; and little more.
    pub fn record_len_bound(&self, request: &Request<'_>) -> usize {
        let len = request.body.len();
        let body = match request.op {
            OpCode::CLOSE_SESSION => return self.close_len_bound(request.session),
            OpCode::CREATE_SESSION => return ENVELOPE,
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL | OpCode::SET_ACL => {
                len + GROWTH + auth_growth(request.body, request.identities)
            }
            OpCode::DELETE | OpCode::SET_DATA => len + GROWTH,
            OpCode::MULTI => {
                len + (len / MULTI_OP_BYTES_MIN) * GROWTH + 4 + auth_growth(request.body, request.identities)
            }
            OpCode::RECONFIG | OpCode::CHECK | OpCode::DELETE_CONTAINER => 0,
            _ => return 0,
        };
        // What is longer is refused.
        ENVELOPE + body.min(self.options.txn_bytes_max)
    }

    /// The same for [`create_session`](Self::create_session) and [`upgrade`](Self::upgrade).
    pub const fn create_len_bound(&self) -> usize {
        ENVELOPE
    }

    /// The same for [`close_session`](Self::close_session). Takes as long as the session has ephemerals.
    pub fn close_len_bound(&self, session: SessionId) -> usize {
        if !self.options.close_session_txn {
            return ENVELOPE;
        }
        let paths: usize = self.tree.view().ephemerals(session).map(|path| 4 + path.len()).sum();
        // With more the record has no list.
        ENVELOPE + if paths <= CLOSE_PATHS_BYTES_MAX { paths } else { 0 }
    }

    /// The same for [`delete_container`](Self::delete_container).
    pub const fn delete_container_len_bound(&self, path: &str) -> usize {
        ENVELOPE + 4 + path.len()
    }
}

/// By how much access control lists may grow, because every entry of scheme `auth` stands for all that the client has proved.
fn auth_growth(body: &[u8], identities: &[Id<'_>]) -> usize {
    // The scheme as it is written; wherever else these bytes stand, they only make the bound wider.
    const AUTH: [u8; 8] = *b"\0\0\0\x04auth";
    if identities.iter().all(|id| id.scheme == "ip") {
        return 0;
    }
    let entries = body.windows(AUTH.len()).filter(|window| *window == AUTH).count();
    entries * identities.iter().map(|id| 12 + id.scheme.len() + id.id.len()).sum::<usize>()
}
