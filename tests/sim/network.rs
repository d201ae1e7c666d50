//! The network: streams between two ends, and the votes of elections, whose newest overwrites the one before it.
//!
//! Fault model:
//! - A message takes as long as chance says. A stream's bytes keep their order and are cut into pieces anywhere (those of clients
//!   stay whole frames: how those are cut is no concern of what is simulated here).
//! - A direction between two machines can be blocked. What is sent meanwhile arrives when the block is gone, as TCP sends again;
//!   no connection can be made while either direction is blocked.
//! - A stream can be cut: what is under way is lost, and each end learns of it at a time of its own or not before it sends.
//! - When a process ends its machine ends its streams, behind what was sent; when a machine loses its power nobody is told. Who
//!   sends to a process that is not there any more is told so once the machine is up.
//! - Votes are sent again when the connection between two servers is made anew; one that is under way may be lost then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use zoo_server::ids::ServerId;
use zoo_server::replica::event::{DialId, LinkId};

/// A machine: servers first, then clients.
pub type Machine = usize;

/// Which start of a server's process.
pub type Life = u32;

/// A stream's number; never used again.
pub type StreamId = u64;

/// Who holds one end of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Client(usize),
    Shard { server: usize, life: Life, shard: usize },
    Learner { server: usize, life: Life, dial: DialId },
    Leader { server: usize, life: Life, link: LinkId },
}

impl End {
    /// The server whose process it belongs to.
    pub const fn server(self) -> Option<(usize, Life)> {
        match self {
            Self::Client(_) => None,
            Self::Shard { server, life, .. }
            | Self::Learner { server, life, .. }
            | Self::Leader { server, life, .. } => Some((server, life)),
        }
    }
}

/// What travels in one direction.
#[derive(Default)]
pub struct Pipe {
    pub pieces: VecDeque<Piece>,
    /// When the last of them arrives.
    pub last: u64,
}

pub enum Piece {
    Bytes(Vec<u8>),
    Fin,
}

pub struct Stream {
    pub ends: [End; 2],
    pub machines: [Machine; 2],
    /// From each end to the other.
    pub pipes: [Pipe; 2],
    /// Whether the end still believes in it.
    pub is_open: [bool; 2],
    /// The end is told that it is over as soon as it sends something.
    pub is_dead: bool,
}

/// The newest vote from one server to another.
#[derive(Default)]
pub struct VoteSlot {
    /// It has not arrived yet.
    pub waiting: Option<Arc<[u8]>>,
    /// It has arrived; sent again when the connection is made anew.
    pub sent: Option<Arc<[u8]>>,
    /// Somebody looks after it already.
    pub is_due: bool,
}

#[derive(Default)]
pub struct Network {
    pub streams: BTreeMap<StreamId, Stream>,
    next_stream: StreamId,
    pub votes: BTreeMap<(usize, usize), VoteSlot>,
    /// Directions in which nothing passes.
    pub blocked: BTreeSet<(Machine, Machine)>,
}

impl Network {
    pub fn is_blocked(&self, from: Machine, to: Machine) -> bool {
        self.blocked.contains(&(from, to))
    }

    /// Whether a connection can be made.
    pub fn can_connect(&self, from: Machine, to: Machine) -> bool {
        !self.is_blocked(from, to) && !self.is_blocked(to, from)
    }

    pub fn open(&mut self, ends: [End; 2], machines: [Machine; 2]) -> StreamId {
        self.next_stream += 1;
        let stream =
            Stream { ends, machines, pipes: [Pipe::default(), Pipe::default()], is_open: [true; 2], is_dead: false };
        self.streams.insert(self.next_stream, stream);
        self.next_stream
    }

    /// Streams of which a process holds an open end, and which end.
    pub fn of_process(&self, server: usize, life: Life) -> Vec<(StreamId, usize)> {
        let mut found = Vec::new();
        for (id, stream) in &self.streams {
            for side in 0..2 {
                if stream.is_open[side] && stream.ends[side].server() == Some((server, life)) {
                    found.push((*id, side));
                }
            }
        }
        found
    }

    /// Drops a stream that nobody believes in any more.
    pub fn tidy(&mut self, id: StreamId) {
        if self.streams.get(&id).is_some_and(|stream| stream.is_open == [false; 2]) {
            self.streams.remove(&id);
        }
    }
}

/// Servers count from 1.
pub const fn server_id(index: usize) -> ServerId {
    ServerId(index as i64 + 1)
}
