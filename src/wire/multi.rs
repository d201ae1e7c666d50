//! `multi` and `multiRead`: operations one behind the other, each with a small header before it, and one more header to end
//! (Apache's `MultiOperationRecord`, `MultiResponse`).

use super::error_code::ErrorCode;
use super::jute::{DecodeError, Put, Reader};
use super::op::OpCode;
use super::request::{CreateRequest, PathVersionRequest, PathWatchRequest, SetDataRequest};
use super::stat::Stat;

/// Before each operation and each result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MultiHeader {
    /// What follows.
    pub op: OpCode,
    /// Whether this header ends the sequence.
    pub done: bool,
    /// In results: 0, or the error.
    pub err: i32,
}

impl MultiHeader {
    /// The one that ends a sequence.
    pub const END: Self = Self { op: OpCode::ERROR, done: true, err: -1 };

    /// Reads it.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { op: OpCode(reader.i32()?), done: reader.bool()?, err: reader.i32()? })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i32(self.op.0);
        out.put_bool(self.done);
        out.put_i32(self.err);
    }
}

/// One operation of a multi.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiOp<'a> {
    /// `create`, `create2`, `createContainer` or `createTTL`.
    Create(OpCode, CreateRequest<'a>),
    /// `delete`.
    Delete(PathVersionRequest<'a>),
    /// `setData`.
    SetData(SetDataRequest<'a>),
    /// `check`.
    Check(PathVersionRequest<'a>),
    /// `getData`, in a `multiRead`.
    GetData(PathWatchRequest<'a>),
    /// `getChildren`, in a `multiRead`.
    GetChildren(PathWatchRequest<'a>),
}

impl<'a> MultiOp<'a> {
    /// Its number.
    pub const fn op(&self) -> OpCode {
        match self {
            Self::Create(op, _) => *op,
            Self::Delete(_) => OpCode::DELETE,
            Self::SetData(_) => OpCode::SET_DATA,
            Self::Check(_) => OpCode::CHECK,
            Self::GetData(_) => OpCode::GET_DATA,
            Self::GetChildren(_) => OpCode::GET_CHILDREN,
        }
    }

    /// Whether it belongs into a `multiRead`.
    pub const fn is_read(&self) -> bool {
        matches!(self, Self::GetData(_) | Self::GetChildren(_))
    }

    /// Reads the operation that `op` announces.
    fn decode(op: OpCode, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
                Self::Create(op, CreateRequest::decode(op, reader)?)
            }
            OpCode::DELETE => Self::Delete(PathVersionRequest::decode(reader)?),
            OpCode::SET_DATA => Self::SetData(SetDataRequest::decode(reader)?),
            OpCode::CHECK => Self::Check(PathVersionRequest::decode(reader)?),
            OpCode::GET_DATA => Self::GetData(PathWatchRequest::decode(reader)?),
            OpCode::GET_CHILDREN => Self::GetChildren(PathWatchRequest::decode(reader)?),
            OpCode(other) => return Err(DecodeError::BadType(other)),
        })
    }

    /// Appends it, without its header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create(op, request) => request.encode(*op, out),
            Self::Delete(request) | Self::Check(request) => request.encode(out),
            Self::SetData(request) => request.encode(out),
            Self::GetData(request) | Self::GetChildren(request) => request.encode(out),
        }
    }
}

/// Reads a whole sequence. Reads and writes in one sequence are refused, as in Apache.
pub fn decode_multi<'a>(reader: &mut Reader<'a>) -> Result<Vec<MultiOp<'a>>, DecodeError> {
    let mut ops: Vec<MultiOp<'a>> = Vec::new();
    loop {
        let header = MultiHeader::decode(reader)?;
        if header.done {
            return Ok(ops);
        }
        let op = MultiOp::decode(header.op, reader)?;
        if ops.first().is_some_and(|first| first.is_read() != op.is_read()) {
            return Err(DecodeError::BadType(header.op.0));
        }
        ops.push(op);
    }
}

/// Appends a whole sequence.
pub fn encode_multi(ops: &[MultiOp<'_>], out: &mut Vec<u8>) {
    for op in ops {
        MultiHeader { op: op.op(), done: false, err: -1 }.encode(out);
        op.encode(out);
    }
    MultiHeader::END.encode(out);
}

/// One result of a multi; [`MultiHeader::END`] comes behind the last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiResult<'a> {
    /// Of `create`.
    Create {
        /** Path. */
        path: &'a str,
    },
    /// Of `create2`, `createContainer` and `createTTL`, which all answer as `create2`.
    Create2 {
        /** Path. */
        path: &'a str,
        /** Stat. */
        stat: Stat,
    },
    /// Of `delete`.
    Delete,
    /// Of `setData`.
    SetData {
        /** Stat. */
        stat: Stat,
    },
    /// Of `check`.
    Check,
    /// Of an operation that failed, or of one whose neighbour did.
    Error(ErrorCode),
}

impl MultiResult<'_> {
    /// Appends it, with its header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let header = |op, err| MultiHeader { op, done: false, err };
        match self {
            Self::Create { path } => {
                header(OpCode::CREATE, 0).encode(out);
                out.put_ustring(path);
            }
            Self::Create2 { path, stat } => {
                header(OpCode::CREATE2, 0).encode(out);
                out.put_ustring(path);
                stat.encode(out);
            }
            Self::Delete => header(OpCode::DELETE, 0).encode(out),
            Self::SetData { stat } => {
                header(OpCode::SET_DATA, 0).encode(out);
                stat.encode(out);
            }
            Self::Check => header(OpCode::CHECK, 0).encode(out),
            Self::Error(code) => {
                header(OpCode::ERROR, code.0).encode(out);
                out.put_i32(code.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::acl::AclList;

    fn create(op: OpCode) -> MultiOp<'static> {
        MultiOp::Create(op, CreateRequest { path: "/a".into(), data: None, acl: AclList::OPEN, flags: 0, ttl_ms: -1 })
    }

    #[test]
    fn sequences_come_back() {
        let ops = [
            create(OpCode::CREATE),
            create(OpCode::CREATE2),
            MultiOp::SetData(SetDataRequest { path: "/a".into(), data: Some(b"x"), version: 3 }),
            MultiOp::Check(PathVersionRequest { path: "/a".into(), version: 4 }),
            MultiOp::Delete(PathVersionRequest { path: "/a".into(), version: -1 }),
        ];
        let mut out = Vec::new();
        encode_multi(&ops, &mut out);
        assert_eq!(decode_multi(&mut Reader::new(&out)).as_deref(), Ok(&ops[..]));
        for cut in 0..out.len() {
            assert!(decode_multi(&mut Reader::new(&out[..cut])).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn reads_and_writes_do_not_mix() {
        let read = MultiOp::GetData(PathWatchRequest { path: "/a".into(), watch: false });
        let mut out = Vec::new();
        encode_multi(&[create(OpCode::CREATE), read], &mut out);
        assert!(decode_multi(&mut Reader::new(&out)).is_err());
    }

    #[test]
    fn unknown_operations_are_refused() {
        let mut out = Vec::new();
        MultiHeader { op: OpCode::SYNC, done: false, err: -1 }.encode(&mut out);
        assert_eq!(decode_multi(&mut Reader::new(&out)), Err(DecodeError::BadType(9)));
    }
}
