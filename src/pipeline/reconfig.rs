//! `reconfig`: from a request to the transaction that changes the members of the ensemble.
//!
//! A transaction like another, of `/zookeeper/config`, except that its zxid becomes the version of the configuration that it
//! holds. Who is a member, and who of the members could decide at this moment, the replica says right before
//! ([`Pipeline::set_quorum`]), and takes the outcome right behind ([`Pipeline::take_reconfigured`]). The order of the checks is
//! that of `PrepRequestProcessor`, because it decides which of several errors a client sees.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::prep::Prep;
use super::{Done, Pipeline, Request, Sink, stat_of};
use crate::ids::{ServerId, Zxid};
use crate::quorum::{Change, ChangeRefused, ChangeRules, Membership};
use crate::time::WallTime;
use crate::wire::error_code::ErrorCode;
use crate::wire::jute::{Put, Reader};
use crate::wire::op::OpCode;
use crate::wire::request::ReconfigRequest;
use crate::wire::response::{put_header_reply, put_reply};
use crate::wire::txn::Txn;

/// Where the configuration lies.
pub const CONFIG_PATH: &str = "/zookeeper/config";

/// The ensemble as its leader sees it when a change of its members is asked for.
#[derive(Clone, Debug)]
pub struct QuorumView {
    /// The newest configuration that was proposed.
    pub newest: Arc<Membership>,
    /// Whether it is not committed yet.
    pub is_pending: bool,
    /// The servers that would acknowledge what is proposed now, the leader among them.
    pub synced: BTreeSet<ServerId>,
    /// What every configuration has to keep to.
    pub rules: ChangeRules,
}

impl Pipeline {
    /// To be called before a `reconfig` is processed by a leader.
    pub fn set_quorum(&mut self, view: QuorumView) {
        self.quorum = Some(view);
    }

    /// The configuration that the last transaction proposes, if it was a `reconfig`.
    pub const fn take_reconfigured(&mut self) -> Option<Arc<Membership>> {
        self.reconfigured.take()
    }

    /// Does a `reconfig`, or refuses it.
    pub(super) fn reconfig(
        &mut self,
        now: WallTime,
        request: &Request<'_>,
        is_awaited: bool,
        sink: &mut Sink<'_>,
    ) -> Done {
        let Ok(wish) = ReconfigRequest::decode(&mut Reader::new(request.body)) else {
            if is_awaited {
                let header = self.next_header(now, request.session, request.xid.0, request.op);
                return self.commit_refusal(header, ErrorCode::MARSHALLING_ERROR, request.xid, sink);
            }
            put_header_reply(sink.reply, request.xid, self.tree.view().zxid(), ErrorCode::MARSHALLING_ERROR);
            return self.unlogged(ErrorCode::MARSHALLING_ERROR);
        };
        let state = self.session_state(request);
        let quorum = self.quorum.take();
        let prep = Prep::new(self.tree.view(), &self.options, request.identities, request.session, state);
        let header = (request.session, request.xid.0);
        let prepared = match (prep.may_reconfigure(), self.ensemble.is_some()) {
            (Err(err), _) => Err(err),
            // One server alone has nothing to reconfigure.
            (Ok(()), false) => Err(ErrorCode::UNIMPLEMENTED),
            (Ok(()), true) => {
                let quorum = quorum.expect("whoever leads says who could decide before it has a reconfig processed");
                // The zxid that it is about to get.
                changed(&quorum, &wish, Zxid(self.zxid.0 + 1))
                    .and_then(|changed| prep.may_change_config().map(|()| changed))
            }
        };
        let prepared = prepared.map(|membership| (membership.to_text(), membership)).and_then(|(text, membership)| {
            let is_short = text.len() + CONFIG_PATH.len() + 64 <= self.options.txn_bytes_max;
            if is_short { Ok((text, membership)) } else { Err(ErrorCode::BAD_ARGUMENTS) }
        });
        let header = self.next_header(now, header.0, header.1, OpCode::RECONFIG);
        let (text, membership) = match prepared {
            Ok(prepared) => prepared,
            Err(err) => return self.commit_refusal(header, err, request.xid, sink),
        };
        let txn = Txn::SetData { path: CONFIG_PATH.into(), data: Some(text.as_bytes()), version: -1 };
        let applied = self.commit(header, txn, sink);
        put_reply(sink.reply, request.xid, header.zxid, |out| {
            out.put_buffer(Some(text.as_bytes()));
            stat_of(applied.stat).encode(out);
        });
        self.reconfigured = Some(Arc::new(membership));
        self.logged(header, ErrorCode::OK)
    }
}

/// The configuration that is asked for, if it may be one now.
fn changed(quorum: &QuorumView, wish: &ReconfigRequest<'_>, zxid: Zxid) -> Result<Membership, ErrorCode> {
    if quorum.is_pending {
        return Err(ErrorCode::RECONFIG_IN_PROGRESS);
    }
    if wish.from_version != -1 && wish.from_version != quorum.newest.version {
        return Err(ErrorCode::BAD_VERSION);
    }
    let change = match &wish.members {
        Some(members) => Change::All(members),
        None => Change::Some { joining: wish.joining.as_deref(), leaving: wish.leaving.as_deref() },
    };
    let changed = quorum.newest.changed(&change, zxid.0, quorum.rules).map_err(|refused| match refused {
        ChangeRefused::Arguments(why) => {
            tracing::info!(why, "a reconfiguration is refused");
            ErrorCode::BAD_ARGUMENTS
        }
        ChangeRefused::Number(why) => {
            tracing::info!(why, "a reconfiguration is refused");
            ErrorCode::MARSHALLING_ERROR
        }
    })?;
    if !changed.contains_quorum(quorum.synced.iter().copied()) {
        tracing::info!(synced = ?quorum.synced, "a reconfiguration is refused: these are no quorum of what is asked for");
        return Err(ErrorCode::NEW_CONFIG_NO_QUORUM);
    }
    Ok(changed)
}
