//! From a request to the transaction that does it, or the reason against it (Apache's `PrepRequestProcessor.pRequest2Txn`).
//!
//! Nothing is changed here: a [`Prep`] reads the head of the tree and decides. The order of the checks is Apache's, because it
//! decides which of several errors a client sees. Within a multi, an operation has to see those before it, which are not in the
//! tree yet: they stand in a small overlay of pending znodes, thrown away when all are prepared. So a multi that fails at its
//! last operation has touched nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::quota::Exceeded;
use super::reconfig::CONFIG_PATH;
use super::{Options, acl, path, quota};
use crate::ids::SessionId;
use crate::tree::ephemeral_type::{OwnerKind, TTL_MAX_MS};
use crate::tree::{AclEntry, AclId, View};
use crate::wire::acl::{AclList, Id, Perms};
use crate::wire::error_code::ErrorCode;
use crate::wire::multi::MultiOp;
use crate::wire::op::OpCode;
use crate::wire::request::{CreateRequest, PathVersionRequest, SetAclRequest, SetDataRequest};
use crate::wire::txn::{CreateKind, CreateTxn, Txn};

/// Apache's `CreateMode`, by the flags of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct CreateMode {
    kind: ModeKind,
    is_sequential: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ModeKind {
    Persistent,
    Ephemeral,
    Container,
    Ttl,
}

impl CreateMode {
    /// `CreateMode.fromFlag`.
    const fn from_flags(flags: i32) -> Option<Self> {
        let (kind, is_sequential) = match flags {
            0 => (ModeKind::Persistent, false),
            1 => (ModeKind::Ephemeral, false),
            2 => (ModeKind::Persistent, true),
            3 => (ModeKind::Ephemeral, true),
            4 => (ModeKind::Container, false),
            5 => (ModeKind::Ttl, false),
            6 => (ModeKind::Ttl, true),
            _ => return None,
        };
        Some(Self { kind, is_sequential })
    }
}

/// Whether a request of these flags creates an ephemeral; flags that are none create nothing.
pub(super) fn is_ephemeral(flags: i32) -> bool {
    CreateMode::from_flags(flags).is_some_and(|mode| mode.kind == ModeKind::Ephemeral)
}

/// What there is against a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SessionState {
    /// For any write (`checkSession`).
    pub(super) any: Result<(), ErrorCode>,
    /// For a write that makes the session own an ephemeral (`checkGlobalSession`).
    pub(super) global: Result<(), ErrorCode>,
}

impl SessionState {
    /// The same for all writes.
    pub(super) const fn of(any: Result<(), ErrorCode>) -> Self {
        Self { any, global: any }
    }
}

/// A multi that fails.
pub(super) struct FailedMulti<'a> {
    /// The operations before the one that failed, which Apache logs though they are not done.
    pub(super) before: Vec<(OpCode, Txn<'a>)>,
    /// Why.
    pub(super) err: ErrorCode,
}

/// What the operations of a multi need to know of a znode that one before them has touched.
#[derive(Clone, Debug)]
struct Pending {
    version: i32,
    cversion: i32,
    kind: OwnerKind,
    children: usize,
    data_len: usize,
    acl: Arc<AclEntry>,
}

/// The same, of any znode.
struct Seen<'a> {
    version: i32,
    cversion: i32,
    kind: OwnerKind,
    children: usize,
    data_len: usize,
    acl: &'a Arc<AclEntry>,
}

impl Seen<'_> {
    fn to_pending(&self) -> Pending {
        Pending {
            version: self.version,
            cversion: self.cversion,
            kind: self.kind,
            children: self.children,
            data_len: self.data_len,
            acl: Arc::clone(self.acl),
        }
    }
}

/// Prepares the operations of one request.
pub(super) struct Prep<'p> {
    view: &'p View,
    options: &'p Options,
    identities: &'p [Id<'static>],
    session: SessionId,
    /// What `checkSession` says, asked once and told where Apache asks.
    session_state: SessionState,
    /// Znodes as the operations before left them; `None` for those that they deleted. Only in a multi.
    pending: Option<BTreeMap<String, Option<Pending>>>,
    /// The path of the request is null, which it shows as empty.
    pub(super) is_path_null: bool,
    /// Quotas that are exceeded.
    pub(super) exceeded: Vec<Exceeded>,
}

impl<'p> Prep<'p> {
    pub(super) fn new(
        view: &'p View,
        options: &'p Options,
        identities: &'p [Id<'static>],
        session: SessionId,
        session_state: SessionState,
    ) -> Self {
        Self {
            view,
            options,
            identities,
            session,
            session_state,
            pending: None,
            is_path_null: false,
            exceeded: Vec::new(),
        }
    }

    /// The operations of a multi, in their order, up to and with the first that fails.
    pub(super) fn multi<'a>(&mut self, ops: &[MultiOp<'a>]) -> Result<Vec<(OpCode, Txn<'a>)>, FailedMulti<'a>> {
        self.pending = Some(BTreeMap::new());
        let mut txns = Vec::with_capacity(ops.len());
        for op in ops {
            let op_code = op.op();
            let txn = match op {
                MultiOp::Create(op, request) => self.create(*op, request),
                MultiOp::Delete(request) => self.delete(request),
                MultiOp::SetData(request) => self.set_data(request),
                MultiOp::Check(request) => self.check(request),
                MultiOp::GetData(_) | MultiOp::GetChildren(_) => {
                    unreachable!("reads in a multi are refused before it is prepared")
                }
            };
            match txn {
                Ok(txn) => txns.push((op_code, txn)),
                Err(err) => return Err(FailedMulti { before: txns, err }),
            }
        }
        Ok(txns)
    }

    /// `create`, `create2`, `createContainer`, `createTTL`.
    pub(super) fn create<'a>(&mut self, op: OpCode, request: &CreateRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        let mode = CreateMode::from_flags(request.flags).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        if mode.kind == ModeKind::Ttl {
            if !self.options.extended_types {
                return Err(ErrorCode::UNIMPLEMENTED);
            }
            if !(1..=TTL_MAX_MS).contains(&request.ttl_ms) {
                return Err(ErrorCode::BAD_ARGUMENTS);
            }
        } else if request.ttl_ms >= 0 || op == OpCode::CREATE_TTL {
            // A createTTL of a mode without one passes Apache's check if its TTL is negative, and then ends the server.
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        if mode.kind == ModeKind::Ephemeral {
            self.session_state.global?;
        } else {
            self.session_state.any?;
        }
        self.path_is_there()?;
        let parent_path = path::parent_for_create(&request.path).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        let acl = acl::fixup(&request.acl, self.identities, &self.options.auth)?;
        let parent = self.look(parent_path).ok_or(ErrorCode::NO_NODE)?;
        self.may(parent.acl, Perms::CREATE)?;
        let path: Cow<'a, str> = if mode.is_sequential {
            Cow::Owned(sequential(&request.path, parent.cversion))
        } else {
            request.path.clone()
        };
        if !path::is_valid(&path) {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        if self.look(&path).is_some() {
            return Err(ErrorCode::NODE_EXISTS);
        }
        if parent.kind == OwnerKind::Ephemeral {
            return Err(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
        }
        let parent_cversion = parent.cversion.wrapping_add(1);
        let parent_pending = self.pending.is_some().then(|| Pending {
            // The tree never lets it go down, not even where it wraps.
            cversion: parent.cversion.max(parent_cversion),
            children: parent.children + 1,
            ..parent.to_pending()
        });
        self.within_quota(&path, 1, request.data.map_or(0, <[u8]>::len), 0)?;
        let kind = match (op, mode.kind) {
            (OpCode::CREATE_CONTAINER, _) => CreateKind::Container,
            (OpCode::CREATE_TTL, _) => CreateKind::Ttl(request.ttl_ms),
            (_, ModeKind::Ephemeral) => CreateKind::Ephemeral,
            // The container flag on a plain create makes a persistent znode, as in Apache.
            _ => CreateKind::Persistent,
        };
        if let (Some(pending), Some(parent)) = (&mut self.pending, parent_pending) {
            pending.insert(parent_path.to_owned(), Some(parent));
            let entry = if acl == AclList::OPEN {
                Arc::clone(self.view.acl(AclId::OPEN))
            } else {
                Arc::new(AclEntry::new(acl.clone().into_owned()))
            };
            let created = Pending {
                version: 0,
                cversion: 0,
                kind: match kind {
                    CreateKind::Persistent => OwnerKind::Persistent,
                    CreateKind::Ephemeral => OwnerKind::of(self.session.0, self.options.owners()),
                    CreateKind::Container => OwnerKind::Container,
                    CreateKind::Ttl(_) => OwnerKind::Ttl,
                },
                children: 0,
                data_len: request.data.map_or(0, <[u8]>::len),
                acl: entry,
            };
            pending.insert(path.clone().into_owned(), Some(created));
        }
        Ok(Txn::Create(CreateTxn { path, data: request.data, acl, kind, parent_cversion }))
    }

    /// `delete`.
    pub(super) fn delete<'a>(&mut self, request: &PathVersionRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        self.session_state.any?;
        self.path_is_there()?;
        let parent_path = path::parent_for_delete(&request.path).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        let parent = self.look(parent_path).ok_or(ErrorCode::NO_NODE)?;
        self.may(parent.acl, Perms::DELETE)?;
        let znode = self.look(&request.path).ok_or(ErrorCode::NO_NODE)?;
        next_version(znode.version, request.version)?;
        if znode.children > 0 {
            return Err(ErrorCode::NOT_EMPTY);
        }
        if self.pending.is_some() {
            let parent = Pending { children: parent.children - 1, ..parent.to_pending() };
            self.leave(parent_path, Some(parent));
            self.leave(&request.path, None);
        }
        Ok(Txn::Delete { path: request.path.clone() })
    }

    /// The internal `deleteContainer`.
    ///
    /// Unlike Apache's, it does not delete what has become a plain znode since it was chosen.
    pub(super) fn delete_container<'a>(&self, path: &'a str) -> Result<Txn<'a>, ErrorCode> {
        let parent_path = path::parent_for_delete(path).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        let znode = self.look(path).ok_or(ErrorCode::NO_NODE)?;
        if znode.children > 0 {
            return Err(ErrorCode::NOT_EMPTY);
        }
        if !matches!(znode.kind, OwnerKind::Container | OwnerKind::Ttl) {
            return Err(ErrorCode::BAD_VERSION);
        }
        self.look(parent_path).ok_or(ErrorCode::NO_NODE)?;
        Ok(Txn::Delete { path: path.into() })
    }

    /// `setData`.
    pub(super) fn set_data<'a>(&mut self, request: &SetDataRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        self.session_state.any?;
        if !path::is_valid(&request.path) {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        let znode = self.look(&request.path).ok_or(ErrorCode::NO_NODE)?;
        self.may(znode.acl, Perms::WRITE)?;
        let (present, data_len) = (znode.version, request.data.map_or(0, <[u8]>::len));
        let pending = self.pending.is_some().then(|| znode.to_pending());
        let data_len_before = znode.data_len;
        self.within_quota(&request.path, 0, data_len, data_len_before)?;
        let version = next_version(present, request.version)?;
        if let Some(znode) = pending {
            self.leave(&request.path, Some(Pending { version, data_len, ..znode }));
        }
        Ok(Txn::SetData { path: request.path.clone(), data: request.data, version })
    }

    /// `setACL`.
    pub(super) fn set_acl<'a>(&self, request: &SetAclRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        self.session_state.any?;
        if !path::is_valid(&request.path) {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        let acl = acl::fixup(&request.acl, self.identities, &self.options.auth)?;
        // It is no part of a multi, so the tree itself is asked.
        let znode = self.view.znode(&request.path).ok_or(ErrorCode::NO_NODE)?;
        self.may(self.view.acl(znode.acl_id()), Perms::ADMIN)?;
        let version = next_version(znode.persisted().aversion, request.version)?;
        Ok(Txn::SetAcl { path: request.path.clone(), acl, version })
    }

    /// `check`, within a multi.
    fn check<'a>(&self, request: &PathVersionRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        self.session_state.any?;
        if !path::is_valid(&request.path) {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        let znode = self.look(&request.path).ok_or(ErrorCode::NO_NODE)?;
        self.may(znode.acl, Perms::READ)?;
        let version = next_version(znode.version, request.version)?;
        Ok(Txn::Check { path: request.path.clone(), version })
    }

    /// Whether a client of this session may ask for a `reconfig` at all.
    pub(super) fn may_reconfigure(&self) -> Result<(), ErrorCode> {
        if !self.options.reconfig_enabled {
            return Err(ErrorCode::RECONFIG_DISABLED);
        }
        self.session_state.any
    }

    /// Whether it may change the ensemble's configuration, which is what the list of its znode says.
    pub(super) fn may_change_config(&self) -> Result<(), ErrorCode> {
        let znode = self.view.znode(CONFIG_PATH).ok_or(ErrorCode::NO_NODE)?;
        self.may(self.view.acl(znode.acl_id()), Perms::WRITE)
    }

    /// Where Apache stumbles over null; elsewhere it only finds no valid path.
    const fn path_is_there(&self) -> Result<(), ErrorCode> {
        if self.is_path_null { Err(ErrorCode::MARSHALLING_ERROR) } else { Ok(()) }
    }

    fn may(&self, entry: &AclEntry, wanted: Perms) -> Result<(), ErrorCode> {
        acl::check(entry, wanted, self.identities, &self.options.auth)
    }

    fn within_quota(&mut self, path: &str, count: i64, len: usize, len_before: usize) -> Result<(), ErrorCode> {
        if !self.options.enforce_quota {
            return Ok(());
        }
        let bytes = i64::try_from(len).expect("data is bounded") - i64::try_from(len_before).expect("data is bounded");
        quota::check(self.view, path, count, bytes, |exceeded| self.exceeded.push(exceeded))
    }

    /// A znode as the operations before have left it.
    fn look(&self, path: &str) -> Option<Seen<'_>> {
        if let Some(pending) = &self.pending
            && let Some(znode) = pending.get(path)
        {
            return znode.as_ref().map(|znode| Seen {
                version: znode.version,
                cversion: znode.cversion,
                kind: znode.kind,
                children: znode.children,
                data_len: znode.data_len,
                acl: &znode.acl,
            });
        }
        self.view.znode(path).map(|znode| Seen {
            version: znode.persisted().version,
            cversion: znode.persisted().cversion,
            kind: znode.kind(),
            children: znode.num_children(),
            data_len: znode.data().map_or(0, <[u8]>::len),
            acl: self.view.acl(znode.acl_id()),
        })
    }

    fn leave(&mut self, path: &str, znode: Option<Pending>) {
        if let Some(pending) = &mut self.pending {
            pending.insert(path.to_owned(), znode);
        }
    }
}

/// The name of a sequential znode. Java counts the sign among the ten digits, and so does Rust.
pub(super) fn sequential(path: &str, number: i32) -> String {
    format!("{path}{number:010}")
}

/// The version behind a change, if `expected` is the present one or -1 (`checkAndIncVersion`). Where it wraps it skips -1, which
/// could not be expected (ZOOKEEPER-4743).
fn next_version(present: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != present {
        return Err(ErrorCode::BAD_VERSION);
    }
    Ok(match present.wrapping_add(1) {
        -1 => 0,
        next => next,
    })
}

/// The operations of a multi as Apache's `MultiOperationRecord` and `Op` read them: the flags decide as much as the header.
/// None if Apache cannot read them, which is a marshalling error of the whole.
///
/// In an ensemble create2 becomes create, and is answered without a stat: servers of Apache's before ZOOKEEPER-4026 (3.8.0 is
/// one) do so, and as followers they would drop a transaction with create2 in it.
pub(super) fn normalize_multi(ops: &mut [MultiOp<'_>], is_ensemble: bool) -> Option<()> {
    for op in ops {
        match op {
            MultiOp::Create(op, request) => {
                let mode = CreateMode::from_flags(request.flags).map(|mode| mode.kind);
                if *op == OpCode::CREATE_TTL {
                    // With flags that are none, it is a create that will be refused for them.
                    match mode {
                        Some(ModeKind::Ttl) => {}
                        Some(ModeKind::Container) => (*op, request.ttl_ms) = (OpCode::CREATE_CONTAINER, -1),
                        _ => (*op, request.ttl_ms) = (OpCode::CREATE, -1),
                    }
                } else {
                    match mode? {
                        ModeKind::Ttl => return None,
                        ModeKind::Container => *op = OpCode::CREATE_CONTAINER,
                        ModeKind::Persistent | ModeKind::Ephemeral if is_ensemble && *op == OpCode::CREATE2 => {
                            *op = OpCode::CREATE;
                        }
                        ModeKind::Persistent | ModeKind::Ephemeral => {}
                    }
                    if request.acl.is_null() {
                        return None;
                    }
                }
            }
            MultiOp::GetData(_) | MultiOp::GetChildren(_) => return None,
            MultiOp::Delete(_) | MultiOp::SetData(_) | MultiOp::Check(_) => {}
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zookeeper_4743_versions_skip_minus_one() {
        assert_eq!(next_version(0, 0), Ok(1));
        assert_eq!(next_version(5, -1), Ok(6));
        assert_eq!(next_version(5, 4), Err(ErrorCode::BAD_VERSION));
        assert_eq!(next_version(i32::MAX, i32::MAX), Ok(i32::MIN));
        assert_eq!(next_version(-2, -2), Ok(0));
    }

    #[test]
    fn create_mode_from_flag() {
        assert!((0..=6).all(|flags| CreateMode::from_flags(flags).is_some()));
        assert!([-1, 7, 100].iter().all(|flags| CreateMode::from_flags(*flags).is_none()));
        let sequential: Vec<i32> =
            (0..=6).filter(|flags| CreateMode::from_flags(*flags).is_some_and(|mode| mode.is_sequential)).collect();
        assert_eq!(sequential, [2, 3, 6]);
    }
}
