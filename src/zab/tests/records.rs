//! Transactions as the log and a proposal carry them: to the machines of ZAB, a zxid and bytes.

use bytes::Bytes;

use crate::ids::{SessionId, Zxid};
use crate::time::WallTime;
use crate::wire::error_code::ErrorCode;
use crate::wire::jute::Reader;
use crate::wire::op::OpCode;
use crate::wire::txn::{self, TxnHeader, TxnRecord};

/// A transaction: two with one zxid differ in the number.
pub(in crate::zab) type Txn = (Zxid, i64);

/// As a leader proposes it.
pub(in crate::zab) fn record((zxid, number): Txn) -> Bytes {
    let mut out = Vec::new();
    // The shortest transaction that there is: a refusal.
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time: WallTime(number), op: OpCode::ERROR };
    TxnRecord { header, txn: txn::Txn::Error { err: ErrorCode::NO_NODE }, digest: None }.encode(&mut out);
    out.into()
}

/// Which one it is.
pub(super) fn txn(record: &Bytes) -> Txn {
    let header = TxnHeader::decode(&mut Reader::new(record)).expect("a record of ours");
    (header.zxid, header.time.0)
}
