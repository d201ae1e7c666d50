//! Transactions: what a request became, as the log keeps it and as a leader proposes it, byte for byte as Apache writes them
//! (`TxnHeader`, the records of `org.apache.zookeeper.txn`, `SerializeUtils.deserializeTxn`).
//!
//! A transaction is absolute: it names the version and the parent's cversion that hold after it, so that replaying it twice ends
//! in the same state.

use std::borrow::Cow;

use super::acl::AclList;
use super::error_code::ErrorCode;
use super::jute::{DecodeError, Put, Reader};
use super::op::OpCode;
use crate::ids::{SessionId, Zxid};
use crate::time::WallTime;

/// Before every transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnHeader {
    /// Whose request it was.
    pub session: SessionId,
    /// The client's number for it.
    pub cxid: i32,
    /// Its place in the order of all.
    pub zxid: Zxid,
    /// When it was made, which becomes `ctime` and `mtime`.
    pub time: WallTime,
    /// What it did; [`OpCode::ERROR`] if it was refused.
    pub op: OpCode,
}

impl TxnHeader {
    /// Its length.
    pub const LEN: usize = 32;

    /// Reads it.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            session: SessionId(reader.i64()?),
            cxid: reader.i32()?,
            zxid: Zxid(reader.i64()?),
            time: WallTime(reader.i64()?),
            op: OpCode(reader.i32()?),
        })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i64(self.session.0);
        out.put_i32(self.cxid);
        out.put_i64(self.zxid.0);
        out.put_i64(self.time.0);
        out.put_i32(self.op.0);
    }
}

/// What a created znode is besides its path, data and list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateKind {
    /// Stays until deleted.
    Persistent,
    /// Lives and dies with the session that created it.
    Ephemeral,
    /// May be removed once it has had children and has none.
    Container,
    /// May be removed when it has no children and has not changed for this many milliseconds.
    Ttl(i64),
}

/// A creation. Which record it is encoded as follows from the operation and the kind together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateTxn<'a> {
    /// Full path, sequence number included.
    pub path: Cow<'a, str>,
    /// Data; null stays null.
    pub data: Option<&'a [u8]>,
    /// Its access control list.
    pub acl: AclList<'a>,
    /// What it is.
    pub kind: CreateKind,
    /// The parent's stored cversion after it; -1 in very old logs: count up by one.
    pub parent_cversion: i32,
}

/// What a transaction does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Txn<'a> {
    /// A session begins.
    CreateSession {
        /// Its timeout.
        timeout_ms: i32,
    },
    /// A session ends, and these ephemerals with it. `None` in old logs: whatever it owns.
    CloseSession {
        /// The paths to delete.
        paths: Option<Vec<Cow<'a, str>>>,
    },
    /// A znode comes to be.
    Create(CreateTxn<'a>),
    /// A znode goes (`delete`, `deleteContainer`).
    Delete {
        /// Which.
        path: Cow<'a, str>,
    },
    /// A znode's data is replaced (`setData`, and `reconfig` on the config znode).
    SetData {
        /// Which.
        path: Cow<'a, str>,
        /// By what.
        data: Option<&'a [u8]>,
        /// Its version after it.
        version: i32,
    },
    /// A znode's list is replaced.
    SetAcl {
        /// Which.
        path: Cow<'a, str>,
        /// By what.
        acl: AclList<'a>,
        /// Its aversion after it.
        version: i32,
    },
    /// A version was checked, within a multi.
    Check {
        /// Which.
        path: Cow<'a, str>,
        /// The version after the one checked, as Apache writes it.
        version: i32,
    },
    /// The request was refused; it takes its zxid all the same.
    Error {
        /// Why.
        err: ErrorCode,
    },
    /// Several, all or none.
    Multi(Vec<SubTxn<'a>>),
}

/// One of a multi.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubTxn<'a> {
    /// Its operation; [`OpCode::ERROR`] throughout a failed multi.
    pub op: OpCode,
    /// What it does. Never a multi.
    pub txn: Txn<'a>,
}

/// The tree's digest after a transaction, as the leader computed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnDigest {
    /// How it is computed; [`TxnDigest::VERSION`].
    pub version: i32,
    /// The sum over all znodes.
    pub tree: u64,
}

impl TxnDigest {
    /// The only way of computing that we know.
    pub const VERSION: i32 = 2;
    /// Its length.
    pub const LEN: usize = 12;
}

impl<'a> Txn<'a> {
    /// Reads the record that goes with `op`.
    pub fn decode(op: OpCode, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if op == OpCode::MULTI {
            let count = reader.count()?.unwrap_or(0);
            // Each takes eight bytes at least, which bounds what a lying count can make us allocate.
            let mut txns = Vec::with_capacity(count.min(reader.rest().len() / 8));
            for _ in 0..count {
                let op = OpCode(reader.i32()?);
                let mut body = Reader::new(reader.buffer()?.unwrap_or_default());
                txns.push(SubTxn { op, txn: Self::decode_single(op, &mut body)? });
            }
            return Ok(Self::Multi(txns));
        }
        Self::decode_single(op, reader)
    }

    fn decode_single(op: OpCode, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::CREATE_SESSION => Self::CreateSession { timeout_ms: reader.i32()? },
            OpCode::CLOSE_SESSION => {
                Self::CloseSession { paths: if reader.is_empty() { None } else { Some(reader.ustrings()?) } }
            }
            OpCode::CREATE | OpCode::CREATE2 => Self::Create(CreateTxn {
                path: reader.ustring()?,
                data: reader.buffer()?,
                acl: AclList::decode(reader)?,
                kind: if reader.bool()? { CreateKind::Ephemeral } else { CreateKind::Persistent },
                parent_cversion: if reader.rest().len() < 4 { -1 } else { reader.i32()? },
            }),
            OpCode::CREATE_CONTAINER => Self::Create(CreateTxn {
                path: reader.ustring()?,
                data: reader.buffer()?,
                acl: AclList::decode(reader)?,
                kind: CreateKind::Container,
                parent_cversion: reader.i32()?,
            }),
            OpCode::CREATE_TTL => {
                let (path, data, acl) = (reader.ustring()?, reader.buffer()?, AclList::decode(reader)?);
                let parent_cversion = reader.i32()?;
                Self::Create(CreateTxn { path, data, acl, kind: CreateKind::Ttl(reader.i64()?), parent_cversion })
            }
            OpCode::DELETE | OpCode::DELETE_CONTAINER => Self::Delete { path: reader.ustring()? },
            OpCode::SET_DATA | OpCode::RECONFIG => {
                Self::SetData { path: reader.ustring()?, data: reader.buffer()?, version: reader.i32()? }
            }
            OpCode::SET_ACL => {
                Self::SetAcl { path: reader.ustring()?, acl: AclList::decode(reader)?, version: reader.i32()? }
            }
            OpCode::CHECK => Self::Check { path: reader.ustring()?, version: reader.i32()? },
            OpCode::ERROR => Self::Error { err: ErrorCode(reader.i32()?) },
            OpCode(other) => return Err(DecodeError::BadType(other)),
        })
    }

    /// No less than the bytes that [`Self::encode`] appends, and little more.
    pub fn len_bound(&self) -> usize {
        /// The numbers and lengths of any record.
        const FIXED: usize = 40;
        FIXED
            + match self {
                Self::CreateSession { .. } | Self::Error { .. } | Self::CloseSession { paths: None } => 0,
                Self::CloseSession { paths: Some(paths) } => paths.iter().map(|path| 4 + path.len()).sum(),
                Self::Create(create) => {
                    create.path.len() + create.data.map_or(0, <[u8]>::len) + create.acl.as_bytes().len()
                }
                Self::Delete { path } | Self::Check { path, .. } => path.len(),
                Self::SetData { path, data, .. } => path.len() + data.map_or(0, <[u8]>::len),
                Self::SetAcl { path, acl, .. } => path.len() + acl.as_bytes().len(),
                Self::Multi(txns) => txns.iter().map(|sub| 8 + sub.txn.len_bound()).sum(),
            }
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::CreateSession { timeout_ms } => out.put_i32(*timeout_ms),
            Self::CloseSession { paths: None } => {}
            Self::CloseSession { paths: Some(paths) } => {
                out.put_len(paths.len());
                paths.iter().for_each(|path| out.put_ustring(path));
            }
            Self::Create(create) => {
                out.put_ustring(&create.path);
                out.put_buffer(create.data);
                create.acl.encode(out);
                match create.kind {
                    CreateKind::Persistent | CreateKind::Ephemeral => {
                        out.put_bool(create.kind == CreateKind::Ephemeral);
                        out.put_i32(create.parent_cversion);
                    }
                    CreateKind::Container => out.put_i32(create.parent_cversion),
                    CreateKind::Ttl(ttl_ms) => {
                        out.put_i32(create.parent_cversion);
                        out.put_i64(ttl_ms);
                    }
                }
            }
            Self::Delete { path } => out.put_ustring(path),
            Self::SetData { path, data, version } => {
                out.put_ustring(path);
                out.put_buffer(*data);
                out.put_i32(*version);
            }
            Self::SetAcl { path, acl, version } => {
                out.put_ustring(path);
                acl.encode(out);
                out.put_i32(*version);
            }
            Self::Check { path, version } => {
                out.put_ustring(path);
                out.put_i32(*version);
            }
            Self::Error { err } => out.put_i32(err.0),
            Self::Multi(txns) => {
                out.put_len(txns.len());
                for sub in txns {
                    out.put_i32(sub.op.0);
                    let start = out.len();
                    out.put_i32(0);
                    sub.txn.encode(out);
                    let len = i32::try_from(out.len() - start - 4).expect("a transaction is far below 2 GiB");
                    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
                }
            }
        }
    }
}

/// A whole transaction: header, record, and the digest if there is one. The body of a log record and of a PROPOSAL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TxnRecord<'a> {
    /// Who, when, which.
    pub header: TxnHeader,
    /// What.
    pub txn: Txn<'a>,
    /// The digest after it.
    pub digest: Option<TxnDigest>,
}

impl<'a> TxnRecord<'a> {
    /// Reads it.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let header = TxnHeader::decode(&mut reader)?;
        let mut txn_reader = reader;
        let txn = match Txn::decode(header.op, &mut txn_reader) {
            // Apache's leader with `closeSessionTxn.enabled=false` leaves the list out and puts the digest in its place.
            Err(_) if header.op == OpCode::CLOSE_SESSION && reader.rest().len() == TxnDigest::LEN => {
                Txn::CloseSession { paths: None }
            }
            txn => {
                reader = txn_reader;
                txn?
            }
        };
        let digest = match reader.rest().len() {
            TxnDigest::LEN.. => Some(TxnDigest { version: reader.i32()?, tree: reader.i64()?.cast_unsigned() }),
            _ => None,
        };
        Ok(Self { header, txn, digest })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.header.encode(out);
        self.txn.encode(out);
        if let Some(digest) = self.digest {
            out.put_i32(digest.version);
            out.put_i64(digest.tree.cast_signed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(op: OpCode, txn: Txn<'_>) {
        let header = TxnHeader { session: SessionId(1), cxid: 2, zxid: Zxid(3), time: WallTime(4), op };
        for digest in [None, Some(TxnDigest { version: TxnDigest::VERSION, tree: u64::MAX - 5 })] {
            if digest.is_some() && txn == (Txn::CloseSession { paths: None }) {
                continue; // Apache cannot tell these two apart either.
            }
            let record = TxnRecord { header, txn: txn.clone(), digest };
            let mut out = Vec::new();
            record.encode(&mut out);
            let txn_len = out.len() - TxnHeader::LEN;
            assert!((txn_len..txn_len + 200).contains(&(record.txn.len_bound() + 12)), "{op}: {txn_len}");
            assert_eq!(TxnRecord::decode(&out), Ok(record), "{op}");
        }
    }

    fn create(kind: CreateKind) -> Txn<'static> {
        Txn::Create(CreateTxn {
            path: "/a/b".into(),
            data: Some(b"data"),
            acl: AclList::OPEN,
            kind,
            parent_cversion: 6,
        })
    }

    #[test]
    fn every_transaction_comes_back() {
        round(OpCode::CREATE_SESSION, Txn::CreateSession { timeout_ms: 4000 });
        round(OpCode::CLOSE_SESSION, Txn::CloseSession { paths: None });
        round(OpCode::CLOSE_SESSION, Txn::CloseSession { paths: Some(vec!["/a".into(), "/b".into()]) });
        round(OpCode::CREATE, create(CreateKind::Persistent));
        round(OpCode::CREATE2, create(CreateKind::Ephemeral));
        round(OpCode::CREATE_CONTAINER, create(CreateKind::Container));
        round(OpCode::CREATE_TTL, create(CreateKind::Ttl(500)));
        round(OpCode::DELETE, Txn::Delete { path: "/a".into() });
        round(OpCode::DELETE_CONTAINER, Txn::Delete { path: "/a".into() });
        round(OpCode::SET_DATA, Txn::SetData { path: "/a".into(), data: None, version: 1 });
        round(OpCode::SET_ACL, Txn::SetAcl { path: "/a".into(), acl: AclList::READ_ONLY, version: 1 });
        round(OpCode::ERROR, Txn::Error { err: ErrorCode::NO_NODE });
        round(
            OpCode::MULTI,
            Txn::Multi(vec![
                SubTxn { op: OpCode::CHECK, txn: Txn::Check { path: "/a".into(), version: 1 } },
                SubTxn { op: OpCode::CREATE2, txn: create(CreateKind::Persistent) },
            ]),
        );
    }

    #[test]
    fn damage_is_an_error_not_a_panic() {
        let mut out = Vec::new();
        TxnRecord {
            header: TxnHeader {
                session: SessionId(1),
                cxid: 2,
                zxid: Zxid(3),
                time: WallTime(4),
                op: OpCode::CREATE_TTL,
            },
            txn: create(CreateKind::Ttl(5)),
            digest: None,
        }
        .encode(&mut out);
        for cut in 0..out.len() {
            assert!(TxnRecord::decode(&out[..cut]).is_err(), "cut at {cut}");
        }
        out[28..32].copy_from_slice(&77_i32.to_be_bytes());
        assert_eq!(TxnRecord::decode(&out), Err(DecodeError::BadType(77)));
    }
}
