//! The body of Apache's snapshot into a tree, from bytes as they come.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{END_OF_ZNODES, OPEN_LIST, SIGNATURE, ZNODE_TAIL_LEN};
use crate::ids::{SessionId, Zxid};
use crate::time::WallTime;
use crate::tree::{self, AclId, LoadError, Loader, Part, StatPersisted, Tree};
use crate::wire::acl::{Acl, AclList, Id, Perms};
use crate::wire::jute::{DecodeError, Reader};

/// How much is taken from the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest record: a path and data, or a list. More than this is an error, and so is never kept.
    pub record_bytes_max: usize,
    /// All of it.
    pub body_bytes_max: u64,
}

impl Default for Limits {
    /// Generous: a leader may have a far larger `jute.maxbuffer` than this server.
    fn default() -> Self {
        Self { record_bytes_max: 64 << 20, body_bytes_max: 64 << 30 }
    }
}

/// Why what came is no snapshot. The connection is of no more use then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SnapError {
    /// A length or a count that no sender writes.
    #[error("the leader's snapshot, {offset} bytes in: a length of {len} for {what}")]
    BadLength {
        /// Bytes before it.
        offset: u64,
        /// What was to follow.
        what: &'static str,
        /// As it stands there.
        len: i64,
    },
    /// Something else that no sender writes.
    #[error("the leader's snapshot, {offset} bytes in: {what}")]
    Malformed {
        /// Bytes before it.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// More bytes than the limit.
    #[error("the leader's snapshot has more than {0} bytes")]
    TooLong(u64),
    /// The znodes are no tree.
    #[error("the leader's snapshot: {0}")]
    NoTree(#[from] LoadError),
    /// It was to be taken before all of it was there.
    #[error("the leader's snapshot ends after {0} bytes")]
    Incomplete(u64),
}

/// What became of pushed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// All were taken, and more are needed.
    More,
    /// The snapshot is complete: so many of the bytes belonged to it; what follows are packets again.
    Complete {
        /// Bytes taken.
        used: usize,
    },
}

/// Reads the body of a snapshot that may be a little newer in places than the zxid that it is sent with.
///
/// Whatever in it is newer comes again as a transaction. Two things would not become right by that, and are seen to here:
///
/// - A znode created behind the zxid is left out, and so created by its transaction as on every other server. (Apache keeps
///   it, and then passes over the creation.)
/// - A znode may name a list that came into the table behind it (ZOOKEEPER-3306). It is one whose list was changed behind the
///   zxid; until that transaction comes it gets a list that allows nobody anything.
pub struct SnapReader {
    zxid: Zxid,
    limits: Limits,
    loader: Loader,
    part: Part,
    sessions: BTreeMap<SessionId, i32>,
    lists: BTreeMap<i64, AclId>,
    closed_list: Option<AclId>,
    /// Paths left out.
    left_out: BTreeSet<Box<str>>,
    stage: Stage,
    /// How far the list that is coming was looked through, and how many of its entries are still to come.
    scan: Option<(usize, u32)>,
    /// Bytes of a record of which others are still to come.
    kept: Vec<u8>,
    /// No record can be complete before so many bytes are kept.
    wanted: usize,
    /// Bytes of all records so far.
    taken: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    SessionCount,
    Sessions(u32),
    ListCount,
    Lists(u32),
    Znodes,
    Signature,
    Complete,
}

/// A step in reading.
enum Step {
    /// A record of so many bytes was taken.
    Taken(usize),
    /// It takes at least so many bytes.
    Wants(usize),
}

impl SnapReader {
    /// For the snapshot that follows a SNAP packet with this zxid.
    pub fn new(options: tree::Options, zxid: Zxid, limits: Limits) -> Self {
        let loader = Loader::new(options);
        let part = loader.part();
        Self {
            zxid,
            limits,
            loader,
            part,
            sessions: BTreeMap::new(),
            lists: BTreeMap::new(),
            closed_list: None,
            left_out: BTreeSet::new(),
            stage: Stage::SessionCount,
            scan: None,
            kept: Vec::new(),
            wanted: 4,
            taken: 0,
        }
    }

    /// Znodes so far.
    pub fn znodes(&self) -> u64 {
        self.part.len() as u64
    }

    /// Whether all of it is there.
    pub fn is_complete(&self) -> bool {
        self.stage == Stage::Complete
    }

    /// Takes the next bytes, in pieces of any length.
    ///
    /// # Errors
    /// [`SnapError`], behind which this reader is of no more use.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Pushed, SnapError> {
        if self.is_complete() {
            return Ok(Pushed::Complete { used: 0 });
        }
        let kept_before = self.kept.len();
        if self.taken + (kept_before + bytes.len()) as u64 > self.limits.body_bytes_max {
            return Err(SnapError::TooLong(self.limits.body_bytes_max));
        }
        let mut kept = std::mem::take(&mut self.kept);
        let whole: &[u8] = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        let mut at = 0;
        while !self.is_complete() {
            let rest = &whole[at..];
            if rest.len() < self.wanted {
                break;
            }
            match self.step(rest)? {
                Step::Taken(len) => {
                    at += len;
                    self.taken += len as u64;
                    // The shortest thing that can follow is a count.
                    self.wanted = 4;
                }
                Step::Wants(len) => {
                    assert!(len > rest.len(), "a record of {len} bytes was not taken from {}", rest.len());
                    self.wanted = len;
                }
            }
        }
        if self.is_complete() {
            return Ok(Pushed::Complete { used: at - kept_before });
        }
        self.kept = if kept.is_empty() {
            bytes[at..].to_vec()
        } else {
            kept.drain(..at);
            kept
        };
        Ok(Pushed::More)
    }

    /// The tree as it was behind the zxid, and the sessions with their timeouts in ms.
    ///
    /// # Errors
    /// If it is not complete, or the znodes are no tree.
    pub fn finish(self) -> Result<(Tree, BTreeMap<SessionId, i32>), SnapError> {
        if !self.is_complete() {
            return Err(SnapError::Incomplete(self.taken + self.kept.len() as u64));
        }
        let Self { mut loader, part, zxid, sessions, .. } = self;
        loader.insert_part(part)?;
        Ok((loader.finish_load(zxid)?, sessions))
    }

    fn malformed(&self, what: impl Into<String>) -> SnapError {
        SnapError::Malformed { offset: self.taken, what: what.into() }
    }

    fn step(&mut self, bytes: &[u8]) -> Result<Step, SnapError> {
        let mut reader = Reader::new(bytes);
        match self.stage {
            Stage::SessionCount => {
                let count = self.count(&mut reader, "the sessions")?;
                self.stage = if count > 0 { Stage::Sessions(count) } else { Stage::ListCount };
                Ok(Step::Taken(4))
            }
            Stage::Sessions(left) => {
                let (Ok(session), Ok(timeout_ms)) = (reader.i64(), reader.i32()) else { return Ok(Step::Wants(12)) };
                self.sessions.insert(SessionId(session), timeout_ms);
                self.stage = if left > 1 { Stage::Sessions(left - 1) } else { Stage::ListCount };
                Ok(Step::Taken(12))
            }
            Stage::ListCount => {
                let count = self.count(&mut reader, "the lists")?;
                self.stage = if count > 0 { Stage::Lists(count) } else { Stage::Znodes };
                Ok(Step::Taken(4))
            }
            Stage::Lists(left) => {
                let end = match self.list_end(bytes)? {
                    Ok(end) => end,
                    Err(wanted) => return Ok(Step::Wants(wanted)),
                };
                let unreadable = |error: DecodeError| self.malformed(format!("a list that cannot be read: {error}"));
                let number = reader.i64().map_err(unreadable)?;
                let list = AclList::decode(&mut reader).map_err(unreadable)?;
                let id = self.loader.insert_acl(&list);
                self.lists.insert(number, id);
                self.scan = None;
                self.stage = if left > 1 { Stage::Lists(left - 1) } else { Stage::Znodes };
                Ok(Step::Taken(end))
            }
            Stage::Znodes => self.znode(bytes),
            Stage::Signature => {
                let path_len = 4 + SIGNATURE.len();
                if bytes.len() < path_len {
                    return Ok(Step::Wants(path_len));
                }
                match reader.buffer() {
                    Ok(Some(word)) if word == SIGNATURE.as_bytes() => {
                        self.stage = Stage::Complete;
                        Ok(Step::Taken(path_len))
                    }
                    _ => Err(self.malformed(format!("no {SIGNATURE:?} behind the znodes"))),
                }
            }
            Stage::Complete => Ok(Step::Taken(0)),
        }
    }

    /// A count of things to follow.
    fn count(&self, reader: &mut Reader<'_>, what: &'static str) -> Result<u32, SnapError> {
        let count = reader.i32().map_err(|error| self.malformed(error.to_string()))?;
        u32::try_from(count).map_err(|_| SnapError::BadLength { offset: self.taken, what, len: count.into() })
    }

    /// The length that stands at `at` of a record; nothing if it is not there yet. -1 is null where that is allowed.
    fn len_at(&self, bytes: &[u8], at: usize, what: &'static str) -> Result<Option<i32>, SnapError> {
        let Some(field) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
        let len = i32::from_be_bytes(*field);
        if len < -1 || i64::from(len) > self.limits.record_bytes_max as i64 {
            return Err(SnapError::BadLength { offset: self.taken + at as u64, what, len: len.into() });
        }
        Ok(Some(len))
    }

    /// Where a list ends, or how many bytes it takes to see more of it. What was looked through once is not again.
    fn list_end(&mut self, bytes: &[u8]) -> Result<Result<usize, usize>, SnapError> {
        let (mut at, mut left) = match self.scan {
            Some(scan) => scan,
            None => match bytes.get(8..12).and_then(<[u8]>::first_chunk) {
                Some(count) => {
                    let len = i32::from_be_bytes(*count);
                    let bad = |_| SnapError::BadLength { offset: self.taken + 8, what: "a list", len: len.into() };
                    (12, u32::try_from(len).map_err(bad)?)
                }
                None => return Ok(Err(12)),
            },
        };
        while left > 0 {
            self.scan = Some((at, left));
            let scheme = at + 4;
            let Some(len) = self.len_at(bytes, scheme, "a scheme")? else { return Ok(Err(scheme + 4)) };
            let id = scheme + 4 + len.max(0) as usize;
            let Some(len) = self.len_at(bytes, id, "an id")? else { return Ok(Err(id + 4)) };
            let end = id + 4 + len.max(0) as usize;
            if end > self.limits.record_bytes_max {
                return Err(SnapError::BadLength { offset: self.taken, what: "a list", len: end as i64 });
            }
            if bytes.len() < end {
                return Ok(Err(end));
            }
            (at, left) = (end, left - 1);
        }
        Ok(Ok(at))
    }

    fn znode(&mut self, bytes: &[u8]) -> Result<Step, SnapError> {
        let Some(path_len) = self.len_at(bytes, 0, "a path")? else { return Ok(Step::Wants(4)) };
        // A null path reads as an empty one in Java.
        let path_end = 4 + path_len.max(0) as usize;
        let Some(path) = bytes.get(4..path_end) else { return Ok(Step::Wants(path_end)) };
        if path == END_OF_ZNODES.as_bytes() {
            self.stage = Stage::Signature;
            return Ok(Step::Taken(path_end));
        }
        let Some(data_len) = self.len_at(bytes, path_end, "data")? else { return Ok(Step::Wants(path_end + 4)) };
        let data_end = path_end + 4 + data_len.max(0) as usize;
        let end = data_end + ZNODE_TAIL_LEN;
        if bytes.len() < end {
            return Ok(Step::Wants(end));
        }
        let Ok(path) = str::from_utf8(path) else { return Err(self.malformed("a path that is not UTF-8")) };
        let data = (data_len >= 0).then(|| &bytes[path_end + 4..data_end]);
        let tail = znode_tail(&bytes[data_end..end]).map_err(|error| self.malformed(error.to_string()))?;
        let (list, stat) = tail;
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if stat.czxid > self.zxid || self.left_out.contains(parent) {
            self.left_out.insert(path.into());
        } else {
            let acl = match list {
                OPEN_LIST => AclId::OPEN,
                number => self.lists.get(&number).copied().unwrap_or_else(|| self.closed_list()),
            };
            self.part.add(path, data, acl, stat);
        }
        Ok(Step::Taken(end))
    }

    /// The list that allows nobody anything.
    fn closed_list(&mut self) -> AclId {
        let loader = &mut self.loader;
        *self.closed_list.get_or_insert_with(|| {
            let nothing = Acl { perms: Perms(0), id: Id::anyone() };
            loader.insert_acl(&AclList::from_entries([nothing].iter()))
        })
    }
}

fn znode_tail(bytes: &[u8]) -> Result<(i64, StatPersisted), DecodeError> {
    let mut reader = Reader::new(bytes);
    let list = reader.i64()?;
    let stat = StatPersisted {
        czxid: Zxid(reader.i64()?),
        mzxid: Zxid(reader.i64()?),
        ctime: WallTime(reader.i64()?),
        mtime: WallTime(reader.i64()?),
        version: reader.i32()?,
        cversion: reader.i32()?,
        aversion: reader.i32()?,
        ephemeral_owner: reader.i64()?,
        pzxid: Zxid(reader.i64()?),
    };
    Ok((list, stat))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
