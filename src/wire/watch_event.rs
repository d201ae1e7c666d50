//! What a server tells a client that left a watch.

use super::error_code::ErrorCode;
use super::header::{ReplyHeader, Xid};
use super::jute::{DecodeError, Put, Reader, put_frame};
use crate::ids::Zxid;

/// What happened (Apache's `Watcher.Event.EventType`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i32)]
pub enum EventType {
    /// Only the connection's state changed.
    None = -1,
    /// A znode was created.
    NodeCreated = 1,
    /// A znode was deleted.
    NodeDeleted = 2,
    /// A znode's data was set.
    NodeDataChanged = 3,
    /// A znode's children were added to or removed from.
    NodeChildrenChanged = 4,
    /// A data watch was removed on the client's wish.
    DataWatchRemoved = 5,
    /// A child watch was removed on the client's wish.
    ChildWatchRemoved = 6,
    /// A persistent watch was removed on the client's wish.
    PersistentWatchRemoved = 7,
}

/// The connection's state that an event carries (Apache's `Watcher.Event.KeeperState`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum KeeperState {
    /// Connected to a server with a quorum.
    SyncConnected = 3,
    /// The session is closed.
    Closed = 7,
}

/// An event as clients read it (`WatcherEvent`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatcherEvent<'a> {
    /// [`EventType`] by number.
    pub event: i32,
    /// [`KeeperState`] by number.
    pub state: i32,
    /// Where it happened.
    pub path: &'a str,
}

impl WatcherEvent<'_> {
    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i32(self.event);
        out.put_i32(self.state);
        out.put_ustring(self.path);
    }
}

/// Appends the whole frame that tells a client of `event` at `path`, caused by the transaction `zxid`.
pub fn put_event_frame(out: &mut Vec<u8>, event: EventType, path: &str, zxid: Zxid) {
    put_frame(out, |out| {
        ReplyHeader { xid: Xid::NOTIFICATION, zxid, err: ErrorCode::OK }.encode(out);
        WatcherEvent { event: event as i32, state: KeeperState::SyncConnected as i32, path }.encode(out);
    });
}

/// Reads an event behind its reply header.
pub fn decode_event(reader: &mut Reader<'_>) -> Result<(i32, i32, String), DecodeError> {
    Ok((reader.i32()?, reader.i32()?, reader.ustring()?.into_owned()))
}
