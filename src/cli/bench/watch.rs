//! Watch fan-out: many connections watch one znode, one connection sets it.
//!
//! A round begins when every watcher has its watch: the writer sets the znode, each watcher hears of it and leaves a new watch.
//! An event's latency counts from when the setData was written, or was due.

use super::connection::{Connection, Op, Slot};
use super::record::Recorder;
use super::requests::{Layout, read, set};
use super::template::Template;
use super::worker::{After, Work};
use crate::wire::jute::Reader;
use crate::wire::op::OpCode;
use crate::wire::stat::Stat;
use crate::wire::watch_event::EventType;

/// What a watcher has come to.
const IDLE: u32 = 0;
const ASKED: u32 = 1;
const ARMED: u32 = 2;

/// All of it: the first connection writes, the others watch.
#[derive(Debug)]
pub(super) struct Watch {
    watchers: u32,
    armed: u32,
    get: Template,
    set: Template,
    path: String,
    /// When the last setData was made.
    set_since: Option<u64>,
}

impl Watch {
    pub(super) fn new(watchers: u32, layout: &Layout) -> Self {
        Self {
            watchers,
            armed: 0,
            get: read(OpCode::GET_DATA, &layout.key(), true),
            set: set(&layout.key(), &layout.pattern),
            path: layout.key_of(0),
            set_since: None,
        }
    }
}

impl Work for Watch {
    fn next(&mut self, connection: &mut Connection, since: u64) -> bool {
        if connection.number == 0 {
            if self.armed < self.watchers || connection.outstanding() > 0 {
                return false;
            }
            connection.push(&self.set, &[0], Slot { since, key: 0, op: Op::Set });
            self.set_since = Some(since);
            return true;
        }
        if connection.step != IDLE {
            return false;
        }
        connection.step = ASKED;
        connection.push(&self.get, &[0], Slot { since, key: 0, op: Op::Watch });
        true
    }

    fn check(&mut self, _: &Connection, slot: Slot, _: i64, body: &[u8]) -> Result<(), &'static str> {
        let is_right = match slot.op {
            Op::Set => body.len() == Stat::LEN,
            _ => body.len() >= Stat::LEN + 4,
        };
        if is_right { Ok(()) } else { Err("an answer that cannot be read") }
    }

    fn answered(&mut self, connection: &mut Connection, slot: Slot, _: u64, _: &mut Recorder) -> After {
        match slot.op {
            Op::Watch => {
                connection.step = ARMED;
                self.armed += 1;
                if self.armed == self.watchers { After::First } else { After::Go }
            }
            _ => After::Go,
        }
    }

    fn event(
        &mut self,
        connection: &mut Connection,
        body: &[u8],
        now: u64,
        record: &mut Recorder,
    ) -> Result<(), &'static str> {
        let mut reader = Reader::new(body);
        let event = reader.i32().and_then(|kind| Ok((kind, reader.i32()?, reader.ustring()?)));
        let Ok((kind, _, path)) = event else {
            return Err("an event that cannot be read");
        };
        if connection.step != ARMED {
            return Err("an event for a watch that was not left");
        }
        if kind != EventType::NodeDataChanged as i32 || path != self.path {
            return Err("an event of another kind or znode than the watch's");
        }
        let Some(since) = self.set_since else {
            return Err("an event before anything was set");
        };
        connection.step = IDLE;
        self.armed -= 1;
        record.answer(Slot { since, key: 0, op: Op::Event }, now);
        Ok(())
    }

    fn lost(&mut self, connection: &mut Connection) {
        if connection.number != 0 {
            self.armed -= u32::from(connection.step == ARMED);
            connection.step = IDLE;
        }
    }

    fn op(&self) -> Op {
        Op::Set
    }
}
