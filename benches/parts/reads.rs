//! What a shard does between two system calls for reads, and for a published change that somebody watches.

use zoo_server::ids::{SessionId, Zxid};
use zoo_server::pipeline::auth;
use zoo_server::pipeline::read::{Asker, answer};
use zoo_server::tree::Version;
use zoo_server::watch::{Tables, WatchKind, WatchTable, Watcher};
use zoo_server::wire::error_code::ErrorCode;
use zoo_server::wire::header::{RequestHeader, Xid};
use zoo_server::wire::jute::{Reader, put_frame};
use zoo_server::wire::op::OpCode;
use zoo_server::wire::request::PathWatchRequest;
use zoo_server::wire::watch_event::{EventType, put_event_frame};

use super::{Numbers, path, tree_of};

/// What a socket's turn brings at most before the answers go out.
const OUT_LEN: usize = 64 << 10;

/// Requests of one kind for znodes at random, as frames behind each other, and the state to answer them from.
pub struct Reads {
    version: Version,
    watches: WatchTable,
    options: auth::Options,
    frames: Vec<u8>,
    at: usize,
    out: Vec<u8>,
}

impl Reads {
    /// `count` different requests, again and again.
    pub fn new(op: OpCode, znodes: usize, count: usize) -> Self {
        let (mut tree, _) = tree_of(znodes);
        let mut numbers = Numbers::new(5);
        let mut frames = Vec::new();
        for xid in 1..=count {
            put_request(&mut frames, Xid(xid as i32), op, &path(numbers.below(znodes)));
        }
        let (watches, options) = (WatchTable::new(3), auth::Options::default());
        // The tree's nodes live as long as a version of them does.
        Self { version: tree.cut(), watches, options, frames, at: 0, out: Vec::with_capacity(OUT_LEN * 2) }
    }

    /// Decodes the next request, looks up what it asks for and encodes the answer; the bytes of the answer.
    pub fn answer_one(&mut self) -> usize {
        if self.at == self.frames.len() {
            self.at = 0;
        }
        let rest = &self.frames[self.at..];
        let len = i32::from_be_bytes(*rest.first_chunk().expect("a frame begins here")) as usize;
        let mut reader = Reader::new(&rest[4..4 + len]);
        let header = RequestHeader::decode(&mut reader).expect("a request's header");
        if self.out.len() > OUT_LEN {
            self.out.clear();
        }
        let before = self.out.len();
        let asker = Asker { watcher: Watcher(1), session: SessionId(1), identities: &[] };
        let (watches, out) = (&mut self.watches, &mut self.out);
        let err = answer(&self.version, &self.options, watches, &asker, header.xid, header.op, reader.rest(), out);
        assert_eq!(err, ErrorCode::OK, "a request was refused");
        self.at += 4 + len;
        self.out.len() - before
    }
}

/// A request that has a path and asks for no watch.
fn put_request(out: &mut Vec<u8>, xid: Xid, op: OpCode, path: &str) {
    put_frame(out, |out| {
        RequestHeader { xid, op }.encode(out);
        PathWatchRequest { path: path.into(), watch: false }.encode(out);
    });
}

/// Watches of one kind.
pub struct Watches {
    pub table: WatchTable,
    pub kind: WatchKind,
    paths: Vec<String>,
    watchers: usize,
    at: usize,
    out: Vec<u8>,
}

impl Watches {
    /// `watchers` clients that watch each of so many paths; recursive ones watch the paths' parents.
    pub fn new(kind: WatchKind, paths: usize, watchers: usize) -> Self {
        let mut watches = Self {
            table: WatchTable::new(3),
            kind,
            paths: (0..paths).map(path).collect(),
            watchers,
            at: 0,
            out: Vec::with_capacity(OUT_LEN * 2),
        };
        for at in 0..paths {
            watches.add_at(at);
        }
        watches
    }

    /// Leaves the watches of a path.
    pub fn add_at(&mut self, at: usize) {
        let path = &*self.paths[at];
        let path = match self.kind {
            WatchKind::PersistentRecursive => path.rsplit_once('/').expect("a path has a parent").0,
            _ => path,
        };
        for watcher in 0..self.watchers {
            self.table.add(path, self.kind, Watcher(watcher as u32));
        }
    }

    /// The next path's number.
    pub fn next(&mut self) -> usize {
        self.at = if self.at + 1 == self.paths.len() { 0 } else { self.at + 1 };
        self.at
    }

    pub fn path(&self, at: usize) -> &str {
        &self.paths[at]
    }

    /// Data of this path was set: an event for everyone who hears of it; how many.
    pub fn fire(&mut self, at: usize) -> usize {
        if self.out.len() > OUT_LEN {
            self.out.clear();
        }
        let (path, out, mut heard) = (&*self.paths[at], &mut self.out, 0);
        self.table.fire(EventType::NodeDataChanged, path, Tables::Data, |_| {
            put_event_frame(out, EventType::NodeDataChanged, path, Zxid(7));
            heard += 1;
        });
        heard
    }

    /// The same as a client's life: the event, and the watch again if it was spent.
    pub fn fire_and_renew(&mut self) {
        let at = self.next();
        assert_eq!(self.fire(at), self.watchers, "someone did not hear");
        if matches!(self.kind, WatchKind::Data | WatchKind::Child) {
            self.add_at(at);
        }
    }
}
