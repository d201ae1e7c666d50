//! The stages of a request, and the milestones of a transaction; see the room's page for what each of them is.

use std::time::Duration;

use super::histogram::Histogram;
use super::names::names;
use super::table::Table;

macro_rules! named {
    ($(#[$meta:meta])* $kind:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }
     $(#[$table_meta:meta])* $table:ident) => {
        names! { $(#[$meta])* $kind { $($(#[$doc])* $variant = $name,)* } }

        $(#[$table_meta])*
        #[derive(Clone, Debug, Default)]
        pub struct $table(Table<{ $kind::ALL.len() }>);

        impl $table {
            /// Adds what it took for `count` of them together.
            pub fn record_n(&mut self, which: $kind, took: Duration, count: u64) {
                self.0.record_n(which as usize, took, count);
            }

            /// Adds another's values.
            pub fn merge(&mut self, other: &Self) {
                self.0.merge(&other.0);
            }

            /// Forgets all values.
            pub fn reset(&mut self) {
                self.0.reset();
            }

            /// The values of one; `None` if none was ever recorded.
            pub fn get(&self, which: $kind) -> Option<&Histogram> {
                self.0.get(which as usize)
            }
        }
    };
}

named! {
    /// A part of a request's way.
    Stage {
        /// Read from the socket to parsed and handed on.
        Decode = "decode",
        /// Handed to the replica to on its way.
        Queue = "queue",
        /// The log's write.
        LogWrite = "log_write",
        /// The log's sync.
        Sync = "sync",
        /// On its way to committed.
        Quorum = "quorum",
        /// Decided to seen by the shard.
        Publish = "publish",
        /// Ready to given to the socket.
        Answer = "answer",
    }
    /// The stages' latencies as one thread saw them, or several merged.
    Stages
}

named! {
    /// How far a transaction has come, counted from when it was made, under the names of Apache's server.
    Milestone {
        /// A follower has it from the leader.
        Proposed = "proposal_latency",
        /// The leader's own log has it.
        Acknowledged = "proposal_ack_creation_latency",
        /// The leader knows that a quorum has it.
        Committed = "quorum_ack_latency",
        /// A follower or an observer knows that a quorum has it.
        CommitHeard = "commit_propagation_latency",
        /// It is on its way to those who read.
        Applied = "propagation_latency",
    }
    /// The milestones' latencies as a server saw them.
    Milestones
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_told_apart_and_merge() {
        let (mut shard, mut replica) = (Stages::default(), Stages::default());
        shard.record_n(Stage::Decode, Duration::from_micros(20), 32);
        shard.record_n(Stage::Answer, Duration::from_micros(5), 0);
        replica.record_n(Stage::Queue, Duration::from_micros(90), 2);
        shard.merge(&replica);
        let tallies = Stage::ALL.iter().map(|stage| Some(*shard.get(*stage)?.tally()));
        let told: Vec<_> = tallies.map(|tally| Some((tally?.count, tally?.sum))).collect();
        assert_eq!(told, [Some((32, 640)), Some((2, 180)), None, None, None, None, None]);
        shard.reset();
        assert_eq!(shard.get(Stage::Decode).map(|histogram| histogram.tally().count), Some(0));
    }
}
