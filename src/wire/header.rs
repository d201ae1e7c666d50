//! The headers before every request and every answer.

use super::error_code::ErrorCode;
use super::jute::{DecodeError, Put, Reader};
use super::op::OpCode;
use crate::ids::Zxid;

/// The number that a client gives its request, so that it knows the answer. Negative ones are reserved.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Xid(pub i32);

impl Xid {
    /// A watch event, which answers nothing.
    pub const NOTIFICATION: Self = Self(-1);
    /// A ping.
    pub const PING: Self = Self(-2);
    /// An `auth`.
    pub const AUTH: Self = Self(-4);
    /// A `setWatches` or `setWatches2`.
    pub const SET_WATCHES: Self = Self(-8);
}

/// Before every request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// The client's number for it.
    pub xid: Xid,
    /// What it asks for.
    pub op: OpCode,
}

impl RequestHeader {
    /// Its length on the wire.
    pub const LEN: usize = 8;

    /// Reads it.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { xid: Xid(reader.i32()?), op: OpCode(reader.i32()?) })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i32(self.xid.0);
        out.put_i32(self.op.0);
    }
}

/// Before every answer and event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHeader {
    /// The number of the request it answers.
    pub xid: Xid,
    /// For a write, its transaction; for a read, the last transaction that it could see.
    pub zxid: Zxid,
    /// Success or the reason against it. With an error there is no body.
    pub err: ErrorCode,
}

impl ReplyHeader {
    /// Its length on the wire.
    pub const LEN: usize = 16;

    /// Reads it.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { xid: Xid(reader.i32()?), zxid: Zxid(reader.i64()?), err: ErrorCode(reader.i32()?) })
    }

    /// Lets a whole reply frame say a later zxid, if it says an earlier one; those that say none stay as they are.
    pub fn raise_zxid(frame: &mut [u8], zxid: Zxid) {
        const ZXID: usize = 4 + 4;
        if let Some(field) = frame.get_mut(ZXID..).and_then(|rest| rest.first_chunk_mut::<8>()) {
            let said = i64::from_be_bytes(*field);
            if said > 0 && said < zxid.0 {
                *field = zxid.0.to_be_bytes();
            }
        }
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i32(self.xid.0);
        out.put_i64(self.zxid.0);
        out.put_i32(self.err.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_their_lengths() {
        let mut out = Vec::new();
        let request = RequestHeader { xid: Xid::PING, op: OpCode::PING };
        request.encode(&mut out);
        assert_eq!(out.len(), RequestHeader::LEN);
        assert_eq!(RequestHeader::decode(&mut Reader::new(&out)), Ok(request));
        out.clear();
        let reply = ReplyHeader { xid: Xid(5), zxid: Zxid(9), err: ErrorCode::NO_NODE };
        reply.encode(&mut out);
        assert_eq!(out.len(), ReplyHeader::LEN);
        assert_eq!(ReplyHeader::decode(&mut Reader::new(&out)), Ok(reply));
    }
}
