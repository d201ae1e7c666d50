//! The whole node as one state machine: events and the time go in, actions come out, and nothing here knows a clock, a socket, a
//! disk or a thread. The server runs it on one executor; the simulator runs the same code from a seed.
//!
//! ```text
//!  shards ──ShardBatch──▶ ┌─────────── Replica ───────────┐ ──Append, Snapshot──▶ log core
//!                         │ pipeline: tree, sessions      │
//!  log core ──LogReport─▶ │ open batch ▶ in flight ▶ out  │ ──ToShard──▶ shards
//!  peers ──votes, bytes─▶ │ election, leader or learner   │ ──votes, bytes──▶ peers
//!                         └───────────────────────────────┘
//! ```
//!
//! **Save, then say.** What a request changed, and the answer to it, wait in the batch that holds its log record
//! ([`batch`]). On a server that stands alone the report that this batch is durable is the only thing that lets them out; in an
//! ensemble it is the leader's commit, which counts durable acknowledgements of a quorum.
//!
//! **Group commit without a timer.** Alone, one batch is on its way to the disk; what comes meanwhile collects in the next
//! one, which leaves the moment the first is durable. A leader has a few on their way, as the way to a quorum is longer.

pub mod batch;
pub mod event;
pub mod message;
mod node;
mod snapshots;

pub use event::{Action, Event, Now, Options};
pub use node::{EnsembleOptions, Epochs, LOG_ROOM_BESIDES_BYTES, Replica};
