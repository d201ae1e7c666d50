//! What a snapshot's records say: sessions, access control lists and znodes of one version. Big endian.
//!
//! ```text
//! session:  u8 1 | i64 id | i32 timeout, ms
//! list:     u8 2 | u32 number | u32 bytes | the list as it travels (jute)
//! znode:    u8 3 | u32 bytes of path | path | u32 bytes of data (2^32 - 1: null) | data | u32 list (2^32 - 1: open)
//!           | i64 czxid, mzxid, ctime, mtime, pzxid, ephemeral owner | i32 version, cversion, aversion
//! ```
//!
//! A frame holds records of one kind only, and the kinds come in this order, so that a reader knows all lists before the
//! first znode, and may hand frames of znodes to several threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::snapshot::{SnapshotInfo, SnapshotSource};
use crate::ids::{SessionId, Zxid};
use crate::time::WallTime;
use crate::tree::{AclEntry, AclId, Part, StatPersisted, Version, Walk, Znode};
use crate::wire::acl::AclList;
use crate::wire::jute::Reader;
use crate::wire::txn::TxnDigest;

const SESSION: u8 = 1;
const LIST: u8 = 2;
const ZNODE: u8 = 3;
/// Stands for null data.
const NULL_LEN: u32 = u32::MAX;

/// Gives out one version of the tree with the sessions that belong to it.
pub struct ImageSource {
    walk: Walk,
    info: SnapshotInfo,
    sessions: std::vec::IntoIter<(SessionId, i32)>,
    lists: std::vec::IntoIter<(AclId, Arc<AclEntry>)>,
    scratch: Vec<u8>,
}

impl ImageSource {
    /// The version, and the sessions with their timeouts as they were right behind its last transaction.
    pub fn new(version: Version, sessions: Vec<(SessionId, i32)>) -> Self {
        let lists: Vec<(AclId, Arc<AclEntry>)> = version.acls().map(|(id, entry)| (id, Arc::clone(entry))).collect();
        let (zxid, digest) = (version.zxid(), version.digest());
        let walk = Walk::new(version);
        let info = SnapshotInfo {
            zxid,
            // Where digests are switched off the tree's is zero, and means nothing.
            digest_version: if digest == 0 { 0 } else { TxnDigest::VERSION as u32 },
            digest,
            sessions: sessions.len() as u64,
            acls: lists.len() as u64,
            znodes: walk.left() as u64,
        };
        Self { walk, info, sessions: sessions.into_iter(), lists: lists.into_iter(), scratch: Vec::new() }
    }
}

impl SnapshotSource for ImageSource {
    fn info(&self) -> SnapshotInfo {
        self.info
    }

    fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> u32 {
        let mut count = 0;
        while out.len() < budget
            && let Some((session, timeout_ms)) = self.sessions.next()
        {
            out.push(SESSION);
            out.extend_from_slice(&session.0.to_be_bytes());
            out.extend_from_slice(&timeout_ms.to_be_bytes());
            count += 1;
        }
        if count > 0 {
            return count;
        }
        while out.len() < budget
            && let Some((id, entry)) = self.lists.next()
        {
            self.scratch.clear();
            entry.list.encode(&mut self.scratch);
            out.push(LIST);
            out.extend_from_slice(&id.0.to_be_bytes());
            put_bytes(out, &self.scratch);
            count += 1;
        }
        if count > 0 || self.walk.left() == 0 {
            return count;
        }
        self.walk.visit(|znode| {
            encode_znode(out, znode);
            count += 1;
            out.len() < budget
        });
        count
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("paths, data and lists are far below 4 GiB");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn encode_znode(out: &mut Vec<u8>, znode: &Znode) {
    let stat = znode.persisted();
    out.push(ZNODE);
    put_bytes(out, znode.path().as_bytes());
    match znode.data() {
        Some(data) => put_bytes(out, data),
        None => out.extend_from_slice(&NULL_LEN.to_be_bytes()),
    }
    out.extend_from_slice(&znode.acl_id().0.to_be_bytes());
    let numbers = [stat.czxid.0, stat.mzxid.0, stat.ctime.0, stat.mtime.0, stat.pzxid.0, stat.ephemeral_owner];
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
    let versions = [stat.version, stat.cversion, stat.aversion];
    versions.iter().for_each(|version| out.extend_from_slice(&version.to_be_bytes()));
}

/// Which kind of records a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// Sessions.
    Sessions,
    /// Access control lists.
    Lists,
    /// Znodes.
    Znodes,
}

/// Why a frame's records cannot be read, and where in the payload. Its CRC was sound, so the writer was wrong.
pub type ImageError = (usize, &'static str);

/// A record of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageRecord<'a> {
    /// A session.
    Session {
        /// Which.
        session: SessionId,
        /// Its timeout.
        timeout_ms: i32,
    },
    /// An access control list.
    List {
        /// Its number within the snapshot.
        number: u32,
        /// What it says.
        list: AclList<'a>,
    },
    /// A znode.
    Znode {
        /// Full path; "/" for the root.
        path: &'a str,
        /// Data; `None` is null.
        data: Option<&'a [u8]>,
        /// The number of its list within the snapshot; 2^32 - 1 for the open one.
        list: u32,
        /// Its numbers.
        stat: StatPersisted,
    },
}

/// Which kind of records the payload holds, by its first; nothing for an empty one.
pub fn kind_of(payload: &[u8]) -> Result<Option<RecordKind>, ImageError> {
    match payload.first() {
        None => Ok(None),
        Some(&SESSION) => Ok(Some(RecordKind::Sessions)),
        Some(&LIST) => Ok(Some(RecordKind::Lists)),
        Some(&ZNODE) => Ok(Some(RecordKind::Znodes)),
        Some(_) => Err((0, "a record of unknown kind")),
    }
}

/// The records of a frame.
#[derive(Clone, Debug)]
pub struct ImageRecords<'a> {
    payload: &'a [u8],
    at: usize,
}

impl<'a> ImageRecords<'a> {
    /// Of a frame's payload.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { payload, at: 0 }
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], ImageError> {
        let bytes = self.payload.get(self.at..).and_then(|rest| rest.get(..len));
        let bytes = bytes.ok_or((self.at, "a record that is longer than its frame"))?;
        self.at += len;
        Ok(bytes)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], ImageError> {
        let mut array = [0; LEN];
        array.copy_from_slice(self.bytes(LEN)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, ImageError> {
        self.array().map(u32::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, ImageError> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, ImageError> {
        self.array().map(i64::from_be_bytes)
    }

    fn record(&mut self) -> Result<ImageRecord<'a>, ImageError> {
        let start = self.at;
        match self.array()? {
            [SESSION] => Ok(ImageRecord::Session { session: SessionId(self.i64()?), timeout_ms: self.i32()? }),
            [LIST] => {
                let number = self.u32()?;
                let len = self.u32()? as usize;
                let mut reader = Reader::new(self.bytes(len)?);
                let list = AclList::decode(&mut reader).map_err(|_| (start, "a list that cannot be read"))?;
                Ok(ImageRecord::List { number, list })
            }
            [ZNODE] => {
                let len = self.u32()? as usize;
                let path = str::from_utf8(self.bytes(len)?).map_err(|_| (start, "a path that is not UTF-8"))?;
                let data = match self.u32()? {
                    NULL_LEN => None,
                    len => Some(self.bytes(len as usize)?),
                };
                let list = self.u32()?;
                let stat = StatPersisted {
                    czxid: Zxid(self.i64()?),
                    mzxid: Zxid(self.i64()?),
                    ctime: WallTime(self.i64()?),
                    mtime: WallTime(self.i64()?),
                    pzxid: Zxid(self.i64()?),
                    ephemeral_owner: self.i64()?,
                    version: self.i32()?,
                    cversion: self.i32()?,
                    aversion: self.i32()?,
                };
                Ok(ImageRecord::Znode { path, data, list, stat })
            }
            _ => Err((start, "a record of unknown kind")),
        }
    }
}

impl<'a> Iterator for ImageRecords<'a> {
    type Item = Result<ImageRecord<'a>, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.payload.len() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.at = self.payload.len();
        }
        Some(record)
    }
}

/// A snapshot's lists, by their numbers there, as the tree that is being loaded numbers them.
pub type ListNumbers = BTreeMap<u32, AclId>;

/// Adds the znodes of a frame's records to a part of the tree: what threads do beside each other.
pub fn decode_znodes(payload: &[u8], lists: &ListNumbers, part: &mut Part) -> Result<(), ImageError> {
    for record in ImageRecords::new(payload) {
        let ImageRecord::Znode { path, data, list, stat } = record? else {
            return Err((0, "records of several kinds in one frame"));
        };
        let acl = match list {
            u32::MAX => AclId::OPEN,
            number => *lists.get(&number).ok_or((0, "a znode with a list that is not in the snapshot"))?,
        };
        part.add(path, data, acl, stat);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_an_error_and_ends_the_walk() {
        for payload in [&[9][..], &[ZNODE, 0xff, 0xff, 0xff, 0xff], &[SESSION, 0], &[LIST, 0, 0, 0, 1, 0, 0, 0, 9]] {
            let records: Vec<_> = ImageRecords::new(payload).collect();
            assert_eq!(records.len(), 1);
            assert!(records[0].is_err());
        }
    }
}
