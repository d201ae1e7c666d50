//! Reads and watches, answered from one version of the tree (the reading half of Apache's `FinalRequestProcessor`, and
//! `DataTree.setWatches`).
//!
//! [`answer`] appends one whole reply frame and leaves the watches that the request asks for. Reading and leaving the watch see the
//! same version, and the caller fires a newer version's changes only after it: so no change falls between the two. For
//! getData, exists and getChildren nothing is allocated but what `out` grows by.

use std::borrow::Cow;

use super::acl;
use super::auth::{self, client_infos};
use crate::ids::{SessionId, Zxid};
use crate::tree::{AclEntry, View, Znode};
use crate::watch::{WatchKind, WatchTable, Watcher, WatcherType};
use crate::wire::acl::{Id, Perms};
use crate::wire::error_code::ErrorCode;
use crate::wire::header::{ReplyHeader, Xid};
use crate::wire::jute::{DecodeError, Put, Reader, put_frame};
use crate::wire::multi::{MultiHeader, MultiOp, MultiResult, decode_multi};
use crate::wire::op::OpCode;
use crate::wire::request::{PathKindRequest, PathWatchRequest, SetWatchesRequest, decode_path};
use crate::wire::watch_event::{EventType, put_event_frame};

/// The zxid of an event that answers setWatches: no transaction caused it (Apache's `WatchedEvent.NO_ZXID`).
const NO_ZXID: Zxid = Zxid(-1);

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Its connection's slot in the watch table.
    pub watcher: Watcher,
    /// Its session.
    pub session: SessionId,
    /// What it has proved to be, in the order of [`auth::add_identity`].
    pub identities: &'a [Id<'static>],
}

/// Whether [`answer`] answers this operation. All others are for [`Pipeline::process`](super::Pipeline::process), `auth` and `sasl`
/// excepted, which are the connection's own.
pub const fn is_read(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::PING
            | OpCode::EXISTS
            | OpCode::GET_DATA
            | OpCode::GET_ACL
            | OpCode::GET_CHILDREN
            | OpCode::GET_CHILDREN2
            | OpCode::GET_ALL_CHILDREN_NUMBER
            | OpCode::GET_EPHEMERALS
            | OpCode::MULTI_READ
            | OpCode::SET_WATCHES
            | OpCode::SET_WATCHES2
            | OpCode::ADD_WATCH
            | OpCode::CHECK_WATCHES
            | OpCode::REMOVE_WATCHES
            | OpCode::WHO_AM_I
    )
}

/// Answers a request of which [`is_read`] is true, and returns the error that the answer carries.
///
/// # Panics
/// If it is not a read.
#[expect(clippy::too_many_arguments, reason = "each is a thing of its own, and the callers have them apart")]
pub fn answer(
    view: &View,
    options: &auth::Options,
    watches: &mut WatchTable,
    asker: &Asker<'_>,
    xid: Xid,
    op: OpCode,
    body: &[u8],
    out: &mut Vec<u8>,
) -> ErrorCode {
    let mut answer = Answer { view, options, watches, asker };
    if matches!(op, OpCode::SET_WATCHES | OpCode::SET_WATCHES2) {
        // Its events go out before its answer.
        let err = answer.set_watches(op, &mut Reader::new(body), out).err().map_or(ErrorCode::OK, Refused::code);
        put_frame(out, |out| ReplyHeader { xid, zxid: view.zxid(), err }.encode(out));
        return err;
    }
    let start = out.len();
    let mut err = ErrorCode::OK;
    put_frame(out, |out| {
        ReplyHeader { xid, zxid: view.zxid(), err }.encode(out);
        let body_start = out.len();
        if let Err(refused) = answer.body(op, &mut Reader::new(body), out) {
            if !matches!(refused, Refused::Midway) {
                out.truncate(body_start);
            }
            err = refused.code();
        }
    });
    if err != ErrorCode::OK {
        let at = start + 4 + ReplyHeader::LEN - 4;
        out[at..at + 4].copy_from_slice(&err.0.to_be_bytes());
    }
    err
}

/// A `multiRead` whose answer grows beyond this is refused: a frame of one megabyte can ask for a large znode sixty thousand times.
pub const MULTI_READ_BYTES_MAX: usize = 64 << 20;

/// Why there is no answer.
enum Refused {
    Code(ErrorCode),
    Undecodable,
    /// Undecodable, found out when a part of the answer was there already, which Apache sends all the same.
    Midway,
}

impl Refused {
    const fn code(self) -> ErrorCode {
        match self {
            Self::Code(code) => code,
            Self::Undecodable | Self::Midway => ErrorCode::MARSHALLING_ERROR,
        }
    }
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<DecodeError> for Refused {
    fn from(_: DecodeError) -> Self {
        Self::Undecodable
    }
}

struct Answer<'a> {
    view: &'a View,
    options: &'a auth::Options,
    watches: &'a mut WatchTable,
    asker: &'a Asker<'a>,
}

impl<'a> Answer<'a> {
    fn body(&mut self, op: OpCode, body: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        match op {
            OpCode::GET_DATA => {
                let request = PathWatchRequest::decode(body)?;
                self.get_data(&request, out)?;
            }
            OpCode::EXISTS => {
                let request = PathWatchRequest::decode(body)?;
                if request.path.contains('\0') {
                    return Err(ErrorCode::BAD_ARGUMENTS.into());
                }
                let znode = self.find(&request.path);
                if let Some(znode) = znode {
                    self.may(znode, Perms::READ)?;
                }
                // Left even where there is no znode: then it waits for one.
                self.leave(&request, WatchKind::Data);
                znode.ok_or(ErrorCode::NO_NODE)?.stat().encode(out);
            }
            OpCode::GET_CHILDREN => {
                let request = PathWatchRequest::decode(body)?;
                self.get_children(&request, out)?;
            }
            OpCode::GET_CHILDREN2 => {
                let request = PathWatchRequest::decode(body)?;
                self.get_children(&request, out)?.stat().encode(out);
            }
            OpCode::GET_ACL => {
                let path = decode_path(body)?.ok_or(DecodeError::NullPath)?;
                let znode = self.find(&path).ok_or(ErrorCode::NO_NODE)?;
                self.may(znode, Perms(Perms::READ.0 | Perms::ADMIN.0))?;
                let entry = self.acl_of(znode);
                if self.may(znode, Perms::ADMIN).is_ok() {
                    entry.list.encode(out);
                } else {
                    acl::masked(entry).encode(out);
                }
                znode.stat().encode(out);
            }
            OpCode::GET_ALL_CHILDREN_NUMBER => {
                let path = decode_path(body)?.ok_or(DecodeError::NullPath)?;
                let znode = self.find(&path).ok_or(ErrorCode::NO_NODE)?;
                self.may(znode, Perms::READ)?;
                // Below the empty path Apache finds the root, too.
                out.put_len(self.view.all_children_number(znode.path()) + usize::from(path.is_empty()));
            }
            OpCode::GET_EPHEMERALS => {
                let prefix = decode_path(body)?.unwrap_or_default();
                let trimmed = prefix.trim_matches(|c| c <= ' ');
                let all = matches!(trimmed, "" | "/");
                let paths = self.view.ephemerals(self.asker.session).filter(|path| all || path.starts_with(&*prefix));
                put_counted(out, paths);
            }
            OpCode::MULTI_READ => self.multi_read(body, out)?,
            OpCode::ADD_WATCH => {
                let request = decode_path_kind(body)?;
                let kind = WatchKind::from_add_watch_mode(request.kind).ok_or(Refused::Undecodable)?;
                self.watches.add(&request.path, kind, self.asker.watcher);
                out.put_i32(ErrorCode::OK.0);
            }
            OpCode::CHECK_WATCHES | OpCode::REMOVE_WATCHES => {
                let request = decode_path_kind(body)?;
                let kind = WatcherType::from_wire(request.kind).ok_or(Refused::Undecodable)?;
                let (path, watcher) = (&request.path, self.asker.watcher);
                let found = if op == OpCode::CHECK_WATCHES {
                    self.watches.contains(path, kind, watcher)
                } else {
                    self.watches.remove(path, kind, watcher)
                };
                if !found {
                    return Err(ErrorCode::NO_WATCHER.into());
                }
            }
            OpCode::WHO_AM_I => {
                let infos = client_infos(self.asker.identities, self.options);
                out.put_len(infos.len());
                for (scheme, user) in infos {
                    out.put_ustring(scheme);
                    out.put_ustring(user);
                }
            }
            OpCode::PING => {}
            other => panic!("{other} is no read: it must not be given to `answer`"),
        }
        Ok(())
    }

    fn get_data(&mut self, request: &PathWatchRequest<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let znode = self.find(&request.path).ok_or(ErrorCode::NO_NODE)?;
        self.may(znode, Perms::READ)?;
        self.leave(request, WatchKind::Data);
        out.put_buffer(znode.data());
        znode.stat().encode(out);
        Ok(())
    }

    fn get_children(&mut self, request: &PathWatchRequest<'_>, out: &mut Vec<u8>) -> Result<&'a Znode, ErrorCode> {
        let znode = self.find(&request.path).ok_or(ErrorCode::NO_NODE)?;
        self.may(znode, Perms::READ)?;
        self.leave(request, WatchKind::Child);
        out.put_len(znode.num_children());
        znode.visit_children(|name| out.put_ustring(name));
        Ok(znode)
    }

    /// Each read with its own result or error. Watches are not left: Apache drops the wish.
    fn multi_read(&mut self, body: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        let whole = out.len();
        let ops = match decode_multi(body) {
            Err(DecodeError::NullPath) => {
                MultiHeader::END.encode(out);
                return Err(Refused::Midway);
            }
            ops => ops?,
        };
        for op in ops {
            let (number, start) = (op.op(), out.len());
            if start - whole > MULTI_READ_BYTES_MAX {
                return Err(ErrorCode::SYSTEM_ERROR.into());
            }
            MultiHeader { op: number, done: false, err: ErrorCode::OK.0 }.encode(out);
            let result = match op {
                MultiOp::GetData(request) => self.get_data(&PathWatchRequest { watch: false, ..request }, out),
                MultiOp::GetChildren(request) => {
                    self.get_children(&PathWatchRequest { watch: false, ..request }, out).map(drop)
                }
                _ => {
                    out.truncate(start);
                    MultiHeader::END.encode(out);
                    return Err(Refused::Midway);
                }
            };
            if let Err(err) = result {
                out.truncate(start);
                MultiResult::Error(err).encode(out);
            }
        }
        MultiHeader::END.encode(out);
        Ok(())
    }

    /// Leaves the watches of a client that comes back; those whose event it has missed fire at once, and are not left.
    fn set_watches(&mut self, op: OpCode, body: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        let request = SetWatchesRequest::decode(op, body)?;
        let seen = request.relative_zxid;
        let mut tell = |event, path: &str| put_event_frame(out, event, path, NO_ZXID);
        let watcher = self.asker.watcher;
        for path in &request.data {
            match self.find(path) {
                None => tell(EventType::NodeDeleted, path),
                Some(znode) if znode.persisted().mzxid > seen => tell(EventType::NodeDataChanged, path),
                Some(_) => self.watches.add(path, WatchKind::Data, watcher),
            }
        }
        for path in &request.exist {
            match self.find(path) {
                Some(_) => tell(EventType::NodeCreated, path),
                None => self.watches.add(path, WatchKind::Data, watcher),
            }
        }
        for path in &request.child {
            match self.find(path) {
                None => tell(EventType::NodeDeleted, path),
                Some(znode) if znode.persisted().pzxid > seen => tell(EventType::NodeChildrenChanged, path),
                Some(_) => self.watches.add(path, WatchKind::Child, watcher),
            }
        }
        for path in &request.persistent {
            self.watches.add(path, WatchKind::Persistent, watcher);
        }
        for path in &request.persistent_recursive {
            self.watches.add(path, WatchKind::PersistentRecursive, watcher);
        }
        Ok(())
    }

    /// Reads find the root under the empty path, too, as Apache keeps it.
    fn find(&self, path: &str) -> Option<&'a Znode> {
        self.view.znode(if path.is_empty() { "/" } else { path })
    }

    fn acl_of(&self, znode: &Znode) -> &'a AclEntry {
        self.view.acl(znode.acl_id())
    }

    fn may(&self, znode: &Znode, wanted: Perms) -> Result<(), ErrorCode> {
        acl::check(self.acl_of(znode), wanted, self.asker.identities, self.options)
    }

    fn leave(&mut self, request: &PathWatchRequest<'_>, kind: WatchKind) {
        if request.watch {
            self.watches.add(&request.path, kind, self.asker.watcher);
        }
    }
}

/// Watches on null can be left and asked for in Apache. Nothing ever happens there, so any path will do that no znode can have.
fn decode_path_kind<'b>(body: &mut Reader<'b>) -> Result<PathKindRequest<'b>, DecodeError> {
    Ok(PathKindRequest { path: body.ustring_opt()?.unwrap_or(Cow::Borrowed("\0")), kind: body.i32()? })
}

/// Appends a vector of strings whose number is not known before.
fn put_counted<'s>(out: &mut Vec<u8>, strings: impl Iterator<Item = &'s str>) {
    let at = out.len();
    out.put_i32(0);
    let mut count = 0_i32;
    for string in strings {
        out.put_ustring(string);
        count += 1;
    }
    out[at..at + 4].copy_from_slice(&count.to_be_bytes());
}
