//! What a turn has answered, until its answers are given to the sockets: only then is it known how long each took.
//!
//! Requests that came together are one entry, so that a pipelined read costs a comparison and an addition here. See
//! [`crate::latency`] for what is measured.

use super::State;
use crate::latency::Stage;
use crate::time::Instant;
use crate::wire::op::OpCode;

/// Room that is kept from one turn to the next, in entries; a turn that needs more gives it back.
const KEEP: usize = 4096;

/// See the file's page.
#[derive(Debug, Default)]
pub(super) struct Turn {
    answered: Vec<Answered>,
}

/// Answers that share all their times.
#[derive(Debug)]
struct Answered {
    slot: u32,
    op: OpCode,
    count: u32,
    received: Instant,
    ready: Instant,
}

impl Turn {
    /// A request that came at `received` has an answer, which was ready at `ready`.
    pub(super) fn answered(&mut self, slot: u32, op: OpCode, received: Instant, ready: Instant) {
        match self.answered.last_mut() {
            Some(last) if (last.slot, last.op, last.received, last.ready) == (slot, op, received, ready) => {
                last.count += 1;
            }
            _ => self.answered.push(Answered { slot, op, count: 1, received, ready }),
        }
    }

    /// All answers of the turn so far are ready now.
    pub(super) fn ready(&mut self, now: Instant) {
        self.answered.iter_mut().for_each(|answered| answered.ready = now);
    }

    /// Whether it has answered nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.answered.is_empty()
    }
}

impl State {
    /// The turn's answers are given to the sockets, each connection's when [`Connection::given`](super::Connection) says.
    pub(super) fn measure_turn(&mut self) {
        let Self { turn, connections, stats, .. } = self;
        for Answered { slot, op, count, received, ready } in turn.answered.drain(..) {
            let Some(connection) = connections.get_mut(slot) else { continue };
            let (took, count) = (connection.given.since(received), u64::from(count));
            stats.operations.record_n(op, took, count);
            stats.stages.record_n(Stage::Answer, connection.given.since(ready), count);
            connection.stats.latency_last_us = took.as_micros() as u64;
            connection.stats.latency.record_n(connection.stats.latency_last_us, count);
        }
        turn.answered.shrink_to(KEEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shares_its_times_is_one_entry() {
        let mut turn = Turn::default();
        let at = Instant;
        for _ in 0..32 {
            turn.answered(1, OpCode::GET_DATA, at(5), at(5));
        }
        turn.answered(1, OpCode::EXISTS, at(5), at(5));
        turn.answered(2, OpCode::EXISTS, at(5), at(5));
        turn.answered(2, OpCode::EXISTS, at(4), at(5));
        turn.ready(at(9));
        let told: Vec<_> = turn.answered.iter().map(|one| (one.slot, one.count, one.received.0, one.ready.0)).collect();
        assert_eq!(told, [(1, 32, 5, 9), (1, 1, 5, 9), (2, 1, 5, 9), (2, 1, 4, 9)]);
    }
}
