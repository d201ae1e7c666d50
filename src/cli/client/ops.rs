//! The operations, typed. Paths are the client's: the chroot is put before them here, and taken off again.

use crate::wire::acl::{Acl, AclList};
use crate::wire::error_code::ErrorCode;
use crate::wire::jute::{Put, Reader};
use crate::wire::multi::{MultiOp, encode_multi};
use crate::wire::op::OpCode;
use crate::wire::request::{
    CreateRequest, PathKindRequest, PathVersionRequest, PathWatchRequest, SetAclRequest, SetDataRequest,
};
use crate::wire::stat::Stat;

use super::connection::{Client, Ticket, WatchWish};
use super::error::Error;
use super::path;
use super::reply::{self, MultiOutcome};
use super::watches::WatchKind;

/// Where the ensemble's configuration is kept. It is the same for clients with a chroot.
const CONFIG_PATH: &str = "/zookeeper/config";

/// The longest TTL of a znode, in milliseconds: 40 bits (Apache's `EphemeralType.TTL`).
pub const TTL_MS_MAX: i64 = 0xff_ffff_ffff;

/// What kind of znode to create (Apache's `CreateMode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateMode {
    /// Stays until it is deleted.
    Persistent,
    /// Goes with the session.
    Ephemeral,
    /// Stays; its name gets the parent's next number.
    PersistentSequential,
    /// Goes with the session; its name gets the parent's next number.
    EphemeralSequential,
    /// Goes some time after its last child went.
    Container,
    /// Goes when it had no child and no change for as many milliseconds.
    Ttl(i64),
    /// The same, and its name gets the parent's next number.
    SequentialTtl(i64),
}

impl CreateMode {
    const fn flags(self) -> i32 {
        match self {
            Self::Persistent => 0,
            Self::Ephemeral => 1,
            Self::PersistentSequential => 2,
            Self::EphemeralSequential => 3,
            Self::Container => 4,
            Self::Ttl(_) => 5,
            Self::SequentialTtl(_) => 6,
        }
    }

    /// The operation that creates it; `plain` is what ordinary modes use.
    const fn op(self, plain: OpCode) -> OpCode {
        match self {
            Self::Container => OpCode::CREATE_CONTAINER,
            Self::Ttl(_) | Self::SequentialTtl(_) => OpCode::CREATE_TTL,
            Self::Persistent | Self::Ephemeral | Self::PersistentSequential | Self::EphemeralSequential => plain,
        }
    }

    const fn ttl_ms(self) -> i64 {
        match self {
            Self::Ttl(ttl_ms) | Self::SequentialTtl(ttl_ms) => ttl_ms,
            Self::Persistent
            | Self::Ephemeral
            | Self::PersistentSequential
            | Self::EphemeralSequential
            | Self::Container => -1,
        }
    }

    const fn is_sequential(self) -> bool {
        matches!(self, Self::PersistentSequential | Self::EphemeralSequential | Self::SequentialTtl(_))
    }
}

/// What an `addWatch` hears of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddWatchMode {
    /// One znode and its list of children, again and again.
    Persistent,
    /// A znode and everything below it, again and again.
    PersistentRecursive,
}

/// Which watches to remove or to check for (Apache's `WatcherType`, by its numbers).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum WatcherType {
    /// Left by `getChildren`.
    Children = 1,
    /// Left by `getData` or `exists`.
    Data = 2,
    /// All of them.
    Any = 3,
    /// Left by `addWatch`, for one znode.
    Persistent = 4,
    /// Left by `addWatch`, for a znode and all below it.
    PersistentRecursive = 5,
}

impl Client {
    /// Creates a znode; gives its path, with the number of a sequential one.
    pub fn create(
        &self,
        path: &str,
        data: Option<&[u8]>,
        acl: &AclList<'_>,
        mode: CreateMode,
    ) -> Result<String, Error> {
        self.create_by(mode.op(OpCode::CREATE), path, data, acl, mode).map(|(path, _)| path)
    }

    /// Creates a znode; gives its path and stat.
    pub fn create2(
        &self,
        path: &str,
        data: Option<&[u8]>,
        acl: &AclList<'_>,
        mode: CreateMode,
    ) -> Result<(String, Stat), Error> {
        let (path, stat) = self.create_by(mode.op(OpCode::CREATE2), path, data, acl, mode)?;
        Ok((path, stat.unwrap_or_default()))
    }

    fn create_by(
        &self,
        op: OpCode,
        path: &str,
        data: Option<&[u8]>,
        acl: &AclList<'_>,
        mode: CreateMode,
    ) -> Result<(String, Option<Stat>), Error> {
        if mode.is_sequential() {
            // The number that will come behind it makes "/a/" a good path.
            path::validate(&format!("{path}1"))?;
        } else {
            path::validate(path)?;
        }
        let request = CreateRequest {
            path: self.server_path(path).into(),
            data,
            acl: acl.borrowed(),
            flags: mode.flags(),
            ttl_ms: mode.ttl_ms(),
        };
        let answer = self.call(op, Some(path), None, |out| request.encode(op, out))?;
        let mut reader = Reader::new(&answer.body);
        let created = self.client_path(reader.ustring()?.into_owned());
        let stat = if op == OpCode::CREATE { None } else { Some(Stat::decode(&mut reader)?) };
        Ok((created, stat))
    }

    /// Deletes a znode that has no children; `version` -1 is any.
    pub fn delete(&self, path: &str, version: i32) -> Result<(), Error> {
        path::validate(path)?;
        let request = PathVersionRequest { path: self.server_path(path).into(), version };
        self.call(OpCode::DELETE, Some(path), None, |out| request.encode(out)).map(drop)
    }

    /// The stat of a znode; `None` if there is none. With `watch`, the listener hears of the next change of its data, its
    /// creation or its deletion.
    pub fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>, Error> {
        path::validate(path)?;
        let request = PathWatchRequest { path: self.server_path(path).into(), watch };
        let wish = watch.then(|| WatchWish::OfExists(request.path.to_string()));
        match self.call(OpCode::EXISTS, Some(path), wish, |out| request.encode(out)) {
            Ok(answer) => Ok(Some(Stat::decode(&mut Reader::new(&answer.body))?)),
            Err(Error::Keeper { code: ErrorCode::NO_NODE, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The data (which may be null) and stat of a znode.
    pub fn get_data(&self, path: &str, watch: bool) -> Result<(Option<Vec<u8>>, Stat), Error> {
        path::validate(path)?;
        self.get_data_at(path, self.server_path(path), watch)
    }

    /// The ensemble's configuration as text, and the stat of the znode that keeps it.
    pub fn get_config(&self, watch: bool) -> Result<(Option<Vec<u8>>, Stat), Error> {
        self.get_data_at(CONFIG_PATH, CONFIG_PATH.to_owned(), watch)
    }

    fn get_data_at(&self, path: &str, at: String, watch: bool) -> Result<(Option<Vec<u8>>, Stat), Error> {
        let wish = watch.then(|| WatchWish::Of(WatchKind::Data, at.clone()));
        let request = PathWatchRequest { path: at.into(), watch };
        let answer = self.call(OpCode::GET_DATA, Some(path), wish, |out| request.encode(out))?;
        Ok(reply::data_and_stat(&mut Reader::new(&answer.body))?)
    }

    /// Replaces a znode's data; `version` -1 is any.
    pub fn set_data(&self, path: &str, data: Option<&[u8]>, version: i32) -> Result<Stat, Error> {
        path::validate(path)?;
        let request = SetDataRequest { path: self.server_path(path).into(), data, version };
        let answer = self.call(OpCode::SET_DATA, Some(path), None, |out| request.encode(out))?;
        Ok(Stat::decode(&mut Reader::new(&answer.body))?)
    }

    /// A znode's access control list and stat.
    pub fn get_acl(&self, path: &str) -> Result<(Vec<Acl<'static>>, Stat), Error> {
        path::validate(path)?;
        let at = self.server_path(path);
        let answer = self.call(OpCode::GET_ACL, Some(path), None, |out| out.put_ustring(&at))?;
        Ok(reply::acl_and_stat(&mut Reader::new(&answer.body))?)
    }

    /// Replaces a znode's access control list; `version` is of the list, -1 is any.
    pub fn set_acl(&self, path: &str, acl: &AclList<'_>, version: i32) -> Result<Stat, Error> {
        path::validate(path)?;
        let request = SetAclRequest { path: self.server_path(path).into(), acl: acl.borrowed(), version };
        let answer = self.call(OpCode::SET_ACL, Some(path), None, |out| request.encode(out))?;
        Ok(Stat::decode(&mut Reader::new(&answer.body))?)
    }

    /// The names of a znode's children, in no order, and its stat.
    pub fn get_children(&self, path: &str, watch: bool) -> Result<(Vec<String>, Stat), Error> {
        path::validate(path)?;
        let request = PathWatchRequest { path: self.server_path(path).into(), watch };
        let wish = watch.then(|| WatchWish::Of(WatchKind::Child, request.path.to_string()));
        let answer = self.call(OpCode::GET_CHILDREN2, Some(path), wish, |out| request.encode(out))?;
        let mut reader = Reader::new(&answer.body);
        Ok((reply::strings(&mut reader)?, Stat::decode(&mut reader)?))
    }

    /// How many znodes there are below this one, at any depth.
    pub fn get_all_children_number(&self, path: &str) -> Result<i32, Error> {
        path::validate(path)?;
        let at = self.server_path(path);
        let answer = self.call(OpCode::GET_ALL_CHILDREN_NUMBER, Some(path), None, |out| out.put_ustring(&at))?;
        Ok(Reader::new(&answer.body).i32()?)
    }

    /// This session's ephemeral znodes whose paths begin with `prefix`.
    pub fn get_ephemerals(&self, prefix: &str) -> Result<Vec<String>, Error> {
        path::validate(prefix)?;
        let at = self.server_path(prefix);
        let answer = self.call(OpCode::GET_EPHEMERALS, Some(prefix), None, |out| out.put_ustring(&at))?;
        let paths = reply::strings(&mut Reader::new(&answer.body))?;
        Ok(paths.into_iter().map(|path| self.client_path(path)).collect())
    }

    /// Lets the server catch up with the leader: a read behind it sees all that was acknowledged before it.
    pub fn sync(&self, path: &str) -> Result<(), Error> {
        path::validate(path)?;
        let at = self.server_path(path);
        self.call(OpCode::SYNC, Some(path), None, |out| out.put_ustring(&at)).map(drop)
    }

    /// Does all operations or none. The paths in `ops` are the server's. If one fails, the outcomes say which, and nothing
    /// has happened.
    pub fn multi(&self, ops: &[MultiOp<'_>]) -> Result<Vec<MultiOutcome>, Error> {
        self.multi_start(ops)?.wait_multi()
    }

    /// Sends a multi whose outcomes are read later.
    pub fn multi_start(&self, ops: &[MultiOp<'_>]) -> Result<Ticket, Error> {
        self.submit(OpCode::MULTI, None, None, |out| encode_multi(ops, out))
    }

    /// Several reads of one state; each outcome is its own. The paths in `ops` are the server's.
    pub fn multi_read(&self, ops: &[MultiOp<'_>]) -> Result<Vec<MultiOutcome>, Error> {
        let answer = self.call(OpCode::MULTI_READ, None, None, |out| encode_multi(ops, out))?;
        Ok(reply::multi(&mut Reader::new(&answer.body))?)
    }

    /// A `delete` for a multi, with the chroot before its path.
    pub fn delete_op(&self, path: &str, version: i32) -> MultiOp<'static> {
        MultiOp::Delete(PathVersionRequest { path: self.server_path(path).into(), version })
    }

    /// Leaves a watch that stays.
    pub fn add_watch(&self, path: &str, mode: AddWatchMode) -> Result<(), Error> {
        path::validate(path)?;
        let (number, kind) = match mode {
            AddWatchMode::Persistent => (0, WatchKind::Persistent),
            AddWatchMode::PersistentRecursive => (1, WatchKind::PersistentRecursive),
        };
        let at = self.server_path(path);
        let wish = WatchWish::Of(kind, at.clone());
        let request = PathKindRequest { path: at.into(), kind: number };
        self.call(OpCode::ADD_WATCH, Some(path), Some(wish), |out| request.encode(out)).map(drop)
    }

    /// Whether the server holds a watch of this type for this client.
    pub fn check_watches(&self, path: &str, kind: WatcherType) -> Result<bool, Error> {
        path::validate(path)?;
        let request = PathKindRequest { path: self.server_path(path).into(), kind: kind as i32 };
        match self.call(OpCode::CHECK_WATCHES, Some(path), None, |out| request.encode(out)) {
            Ok(_) => Ok(true),
            Err(Error::Keeper { code: ErrorCode::NO_WATCHER, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes watches, on the server and here; `locally` also when the server cannot be asked. The listener hears of each
    /// removal before this returns.
    pub fn remove_watches(&self, path: &str, kind: WatcherType, locally: bool) -> Result<(), Error> {
        path::validate(path)?;
        let at = self.server_path(path);
        if !self.with_watches(|watches| watches.contains(kind, &at)) {
            return Err(Error::keeper(ErrorCode::NO_WATCHER, Some(path)));
        }
        let request = PathKindRequest { path: at.as_str().into(), kind: kind as i32 };
        match self.call(OpCode::REMOVE_WATCHES, Some(path), None, |out| request.encode(out)) {
            Err(error) if !locally => return Err(error),
            Ok(_) | Err(_) => {}
        }
        for event in self.with_watches(|watches| watches.remove(kind, &at)) {
            self.tell(event, path);
        }
        Ok(())
    }

    /// The session's identities: scheme and user.
    pub fn who_am_i(&self) -> Result<Vec<(String, String)>, Error> {
        let answer = self.call(OpCode::WHO_AM_I, None, None, |_| {})?;
        Ok(reply::who_am_i(&mut Reader::new(&answer.body))?)
    }

    /// Changes the ensemble: servers that join and ids that leave, or all new members; `version` is that of the present
    /// configuration, -1 any. Gives the new configuration.
    pub fn reconfig(
        &self,
        joining: Option<&str>,
        leaving: Option<&str>,
        members: Option<&str>,
        version: i64,
    ) -> Result<(Option<Vec<u8>>, Stat), Error> {
        let answer = self.call(OpCode::RECONFIG, None, None, |out| {
            for text in [joining, leaving, members] {
                out.put_buffer(text.map(str::as_bytes));
            }
            out.put_i64(version);
        })?;
        Ok(reply::data_and_stat(&mut Reader::new(&answer.body))?)
    }
}

impl Ticket {
    /// Waits for the outcomes of a [`Client::multi_start`].
    pub fn wait_multi(self) -> Result<Vec<MultiOutcome>, Error> {
        let answer = self.wait()?;
        Ok(reply::multi(&mut Reader::new(&answer.body))?)
    }
}
