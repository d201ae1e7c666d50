//! Answers, appended frame by frame to the buffer that one write will send.

use super::error_code::ErrorCode;
use super::header::{ReplyHeader, Xid};
use super::jute::put_frame;
use crate::ids::Zxid;

/// Appends a successful answer: its frame, its header, and the body that `body` appends.
pub fn put_reply(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, body: impl FnOnce(&mut Vec<u8>)) {
    put_frame(out, |out| {
        ReplyHeader { xid, zxid, err: ErrorCode::OK }.encode(out);
        body(out);
    });
}

/// Appends an answer that has no body: a refusal, or the success of an operation that says no more.
pub fn put_header_reply(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, err: ErrorCode) {
    put_frame(out, |out| ReplyHeader { xid, zxid, err }.encode(out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jute::Put;

    #[test]
    fn a_frame_knows_its_length() {
        let mut out = vec![9];
        put_reply(&mut out, Xid(1), Zxid(2), |out| out.put_i32(3));
        assert_eq!(out.len(), 1 + 4 + ReplyHeader::LEN + 4);
        assert_eq!(out[1..5], 20_i32.to_be_bytes());
        put_header_reply(&mut out, Xid(1), Zxid(2), ErrorCode::NO_NODE);
        assert_eq!(out.len(), 1 + 24 + 20);
    }
}
