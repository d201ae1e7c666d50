//! The watches that this client left, so that they can be left again on a new connection.
//!
//! A mirror of what the server holds for the session's connection: one-shot watches go when their event comes, persistent
//! ones stay until they are removed. Paths are the server's (the chroot is before them).

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::ops::WatcherType;
use crate::ids::Zxid;
use crate::wire::request::SetWatchesRequest;
use crate::wire::watch_event::EventType;

/// How many bytes of paths one `setWatches2` carries at most, so that it stays far below `jute.maxbuffer` (ZOOKEEPER-706).
const SET_WATCHES_LEN_MAX: usize = 128 << 10;

/// A table of watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WatchKind {
    /// `getData`, or `exists` on a znode that was there.
    Data,
    /// `exists` on a znode that was not there.
    Exist,
    /// `getChildren`.
    Child,
    /// `addWatch`, one znode.
    Persistent,
    /// `addWatch`, a znode and all below it.
    PersistentRecursive,
}

/// All watches of one client.
#[derive(Debug)]
pub(super) struct Watches {
    data: BTreeSet<String>,
    exist: BTreeSet<String>,
    child: BTreeSet<String>,
    persistent: BTreeSet<String>,
    persistent_recursive: BTreeSet<String>,
}

impl Watches {
    /// None.
    pub(super) const fn new() -> Self {
        Self {
            data: BTreeSet::new(),
            exist: BTreeSet::new(),
            child: BTreeSet::new(),
            persistent: BTreeSet::new(),
            persistent_recursive: BTreeSet::new(),
        }
    }

    /// Notes a watch.
    pub(super) fn add(&mut self, kind: WatchKind, path: String) {
        self.table(kind).insert(path);
    }

    /// Forgets the one-shot watches that an event has used up.
    pub(super) fn fired(&mut self, event: i32, path: &str) {
        let is = |kind: EventType| event == kind as i32;
        if is(EventType::NodeCreated) || is(EventType::NodeDataChanged) || is(EventType::NodeDeleted) {
            self.data.remove(path);
            self.exist.remove(path);
        }
        if is(EventType::NodeChildrenChanged) || is(EventType::NodeDeleted) {
            self.child.remove(path);
        }
    }

    /// Whether there is a watch of this type at `path`.
    pub(super) fn contains(&self, kind: WatcherType, path: &str) -> bool {
        let data = self.data.contains(path) || self.exist.contains(path);
        let child = self.child.contains(path);
        let persistent = self.persistent.contains(path);
        let recursive = self.persistent_recursive.contains(path);
        match kind {
            WatcherType::Children => child,
            WatcherType::Data => data,
            WatcherType::Persistent => persistent,
            WatcherType::PersistentRecursive => recursive,
            WatcherType::Any => data || child || persistent || recursive,
        }
    }

    /// Forgets the watches of this type at `path`; says which events tell so.
    pub(super) fn remove(&mut self, kind: WatcherType, path: &str) -> Vec<EventType> {
        let any = kind == WatcherType::Any;
        let mut events = Vec::new();
        if (any || kind == WatcherType::Children) && self.child.remove(path) {
            events.push(EventType::ChildWatchRemoved);
        }
        if any || kind == WatcherType::Data {
            let data = self.data.remove(path);
            if self.exist.remove(path) || data {
                events.push(EventType::DataWatchRemoved);
            }
        }
        let persistent = (any || kind == WatcherType::Persistent) && self.persistent.remove(path);
        let recursive = (any || kind == WatcherType::PersistentRecursive) && self.persistent_recursive.remove(path);
        if persistent || recursive {
            events.push(EventType::PersistentWatchRemoved);
        }
        events
    }

    /// The requests that leave all of them again, for a client that has seen everything up to `relative_zxid`.
    pub(super) fn set_watches(&self, relative_zxid: Zxid) -> Vec<SetWatchesRequest<'_>> {
        let empty = || SetWatchesRequest {
            relative_zxid,
            data: Vec::new(),
            exist: Vec::new(),
            child: Vec::new(),
            persistent: Vec::new(),
            persistent_recursive: Vec::new(),
        };
        let mut requests: Vec<SetWatchesRequest<'_>> = Vec::new();
        let mut len = SET_WATCHES_LEN_MAX;
        for (kind, paths) in [
            (WatchKind::Data, &self.data),
            (WatchKind::Exist, &self.exist),
            (WatchKind::Child, &self.child),
            (WatchKind::Persistent, &self.persistent),
            (WatchKind::PersistentRecursive, &self.persistent_recursive),
        ] {
            for path in paths {
                if len + path.len() + 4 > SET_WATCHES_LEN_MAX {
                    requests.push(empty());
                    len = 0;
                }
                len += path.len() + 4;
                let Some(request) = requests.last_mut() else { continue };
                let list = match kind {
                    WatchKind::Data => &mut request.data,
                    WatchKind::Exist => &mut request.exist,
                    WatchKind::Child => &mut request.child,
                    WatchKind::Persistent => &mut request.persistent,
                    WatchKind::PersistentRecursive => &mut request.persistent_recursive,
                };
                list.push(Cow::Borrowed(path));
            }
        }
        requests
    }

    fn table(&mut self, kind: WatchKind) -> &mut BTreeSet<String> {
        match kind {
            WatchKind::Data => &mut self.data,
            WatchKind::Exist => &mut self.exist,
            WatchKind::Child => &mut self.child,
            WatchKind::Persistent => &mut self.persistent,
            WatchKind::PersistentRecursive => &mut self.persistent_recursive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shot_watches_go_with_their_event_and_persistent_ones_stay() {
        let mut watches = Watches::new();
        for kind in [WatchKind::Data, WatchKind::Child, WatchKind::Persistent] {
            watches.add(kind, "/a".to_owned());
        }
        watches.fired(EventType::NodeDataChanged as i32, "/a");
        assert!(!watches.contains(WatcherType::Data, "/a"));
        assert!(watches.contains(WatcherType::Children, "/a"));
        watches.fired(EventType::NodeDeleted as i32, "/a");
        assert!(!watches.contains(WatcherType::Children, "/a"));
        assert!(watches.contains(WatcherType::Persistent, "/a"));
        assert_eq!(watches.remove(WatcherType::Any, "/a"), [EventType::PersistentWatchRemoved]);
        assert!(!watches.contains(WatcherType::Any, "/a"));
    }

    #[test]
    fn many_watches_are_left_again_in_parts() {
        let mut watches = Watches::new();
        for number in 0..20_000 {
            let kind = if number % 2 == 0 { WatchKind::Data } else { WatchKind::PersistentRecursive };
            watches.add(kind, format!("/some/longer/path/{number:06}"));
        }
        let requests = watches.set_watches(Zxid(7));
        assert!(requests.len() > 1);
        let count: usize = requests.iter().map(|part| part.data.len() + part.persistent_recursive.len()).sum();
        assert_eq!(count, 20_000);
        for request in &requests {
            let mut out = Vec::new();
            request.encode(&mut out);
            assert!(out.len() <= SET_WATCHES_LEN_MAX + 64);
            assert_eq!(request.relative_zxid, Zxid(7));
        }
        assert!(Watches::new().set_watches(Zxid(7)).is_empty());
    }
}
