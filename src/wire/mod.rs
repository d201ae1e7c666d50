//! Every byte that crosses a boundary: ZooKeeper's jute encoding, the records of its client protocol and its transactions.
//!
//! Decoding borrows from the frame and trusts nothing in it; a [`DecodeError`](jute::DecodeError) is the only way it can fail.
//! Encoding appends to a `Vec<u8>`. Nothing here knows what the records mean.
//!
//! Where Java is lenient, so are we, because clients rely on it: bytes after a record are ignored, a vector of negative
//! length is empty, and invalid UTF-8 reads as U+FFFD (which no valid path contains).

pub mod acl;
pub mod connect;
pub mod election;
pub mod error_code;
pub mod header;
pub mod jute;
pub mod multi;
pub mod op;
pub mod quorum;
pub mod request;
pub mod response;
pub mod stat;
pub mod txn;
pub mod watch_event;
