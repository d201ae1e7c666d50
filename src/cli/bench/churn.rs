//! Sessions that come and go: lives of sessions with an ephemeral znode, and the connect storm.

use super::args::Workload;
use super::connection::{Connection, Op, Slot};
use super::record::Recorder;
use super::requests::{EPHEMERAL, Layout, check_empty, check_path, create};
use super::template::{NUMBER_MAX, Template};
use super::worker::{After, Work};
use crate::wire::op::OpCode;

/// What a life has come to.
const OPENED: u32 = 0;
const CREATED: u32 = 1;
const CLOSED: u32 = 2;

/// One thread's share.
#[derive(Debug)]
pub(super) struct Churn {
    with_ephemeral: bool,
    create: Template,
    child_head: Vec<u8>,
}

impl Churn {
    pub(super) fn new(workload: Workload, layout: &Layout) -> Self {
        Self {
            with_ephemeral: workload == Workload::Session,
            create: create(&layout.child(), &layout.pattern, 1, EPHEMERAL),
            child_head: format!("{}/", layout.scratch).into_bytes(),
        }
    }
}

impl Work for Churn {
    const CHURNS: bool = true;

    fn begins(&mut self, connection: &mut Connection) {
        connection.step = OPENED;
        connection.counter = (connection.counter + 1) % NUMBER_MAX;
    }

    fn next(&mut self, connection: &mut Connection, since: u64) -> bool {
        // One after the other, as a client that waits for each answer.
        if connection.outstanding() > 0 || connection.step == CLOSED {
            return false;
        }
        if connection.step == OPENED && self.with_ephemeral {
            connection.step = CREATED;
            let slot = Slot { since, key: connection.counter, op: Op::Create };
            connection.push(&self.create, &[connection.number, connection.counter], slot);
        } else {
            connection.step = CLOSED;
            connection.push_rare(OpCode::CLOSE_SESSION, Slot { since, key: 0, op: Op::Close }, |_| {});
        }
        true
    }

    fn check(&mut self, connection: &Connection, slot: Slot, _: i64, body: &[u8]) -> Result<(), &'static str> {
        match slot.op {
            Op::Create => check_path(&self.child_head, connection.number, slot.key, body),
            _ => check_empty(body),
        }
    }

    fn answered(&mut self, connection: &mut Connection, slot: Slot, now: u64, record: &mut Recorder) -> After {
        if slot.op != Op::Close {
            return After::Go;
        }
        if self.with_ephemeral {
            record.answer(Slot { since: connection.open_since, key: 0, op: Op::Session }, now);
        }
        After::Ended
    }

    fn op(&self) -> Op {
        if self.with_ephemeral { Op::Session } else { Op::Connect }
    }
}
