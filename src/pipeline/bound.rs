//! How long the record of a request may become, before it is processed: so that a log which is nearly full takes what it has
//! been promised room for, and refuses the rest before anything has changed.

use super::{CLOSE_PATHS_BYTES_MAX, CONFIG_PATH, Pipeline, Request};
use crate::ids::SessionId;
use crate::wire::acl::{AclList, Id};
use crate::wire::jute::Reader;
use crate::wire::multi::{MultiOp, decode_multi};
use crate::wire::op::OpCode;
use crate::wire::request::{CreateRequest, SetAclRequest};
use crate::wire::txn::{TxnDigest, TxnHeader};

/// Header, digest, and the body of a refusal: in every record, or longer than it.
const ENVELOPE: usize = TxnHeader::LEN + TxnDigest::LEN + 4;

/// The lengths and numbers of any creation, and a sequence number, which has eleven digits where it is negative.
const CREATE: usize = 4 + 11 + 4 + 4 + 8;

impl Pipeline {
    /// No less than the bytes of the record that [`process`](Self::process) or
    /// [`process_forwarded`](Self::process_forwarded) will make of this request, should it make one at once; and little more. What
    /// has an access control list is decoded for it.
    pub fn record_len_bound(&self, request: &Request<'_>) -> usize {
        let identities = request.identities;
        let mut reader = Reader::new(request.body);
        let body = match request.op {
            OpCode::CLOSE_SESSION => return self.close_len_bound(request.session),
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
                CreateRequest::decode(request.op, &mut reader).map_or(0, |create| create_len(&create, identities))
            }
            OpCode::SET_ACL => SetAclRequest::decode(&mut reader)
                .map_or(0, |request| 8 + request.path.len() + acl_len(&request.acl, identities)),
            // The same fields, in the same order.
            OpCode::DELETE | OpCode::SET_DATA => request.body.len(),
            OpCode::MULTI => decode_multi(&mut reader).map_or(0, |ops| {
                let len = |op: &MultiOp<'_>| match op {
                    MultiOp::Create(_, create) => create_len(create, identities),
                    MultiOp::Delete(request) | MultiOp::Check(request) => 8 + request.path.len(),
                    MultiOp::SetData(request) => 12 + request.path.len() + request.data.map_or(0, <[u8]>::len),
                    MultiOp::GetData(_) | MultiOp::GetChildren(_) => 0,
                };
                4 + ops.iter().map(|op| 8 + len(op)).sum::<usize>()
            }),
            OpCode::RECONFIG => {
                let present = self.tree.view().znode(CONFIG_PATH).and_then(|znode| znode.data()).map_or(0, <[u8]>::len);
                // What a member is told to be is written out: its role, its hosts, its weight. That is no more than so many times
                // the shortest member.
                CONFIG_PATH.len() + 64 + present + 16 * request.body.len()
            }
            OpCode::CREATE_SESSION | OpCode::CHECK | OpCode::DELETE_CONTAINER => 0,
            _ => return 0,
        };
        // What is longer is refused.
        ENVELOPE + body.min(self.options.txn_bytes_max)
    }

    /// No record of a request, or of a session's end, is longer than this.
    pub fn record_len_max(&self) -> usize {
        ENVELOPE + self.options.txn_bytes_max.max(CLOSE_PATHS_BYTES_MAX)
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

fn create_len(create: &CreateRequest<'_>, identities: &[Id<'_>]) -> usize {
    CREATE + create.path.len() + create.data.map_or(0, <[u8]>::len) + acl_len(&create.acl, identities)
}

/// A list as it will be stored at most: an entry of scheme `auth` stands for all that the client has proved.
fn acl_len(acl: &AclList<'_>, identities: &[Id<'_>]) -> usize {
    let len = |id: &Id<'_>| 12 + id.scheme.len() + id.id.len();
    if *acl == AclList::OPEN {
        return acl.as_bytes().len();
    }
    let proved: usize = identities.iter().map(len).sum();
    let stored = |id: &Id<'_>| if id.scheme == "auth" { proved } else { len(id) };
    4 + acl.iter().map(|entry| stored(&entry.id)).sum::<usize>()
}
