//! What a seed stands for: how many servers and clients there are, which kinds of faults strike and how often. Each seed switches
//! off a part of it, which reaches corners that a bit of everything does not.

use crate::random::Random;

/// A fault that is put into the servers or their surroundings by hand, to show that the checkers see it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sabotage {
    /// The log is said to be durable before it is.
    AckBeforeSync,
    /// The epochs are saved at once, and what was to be durable before them is not.
    EpochBeforeHistory,
    /// The leader hears an acknowledgement that its follower never gave.
    CommitWithoutQuorum,
    /// A log is said to be truncated and is not.
    SkippedTruncation,
    /// One server does not remove one ephemeral of a session that ends.
    LostEphemeral,
    /// A shard tells the watchers behind the answers.
    EventAfterRead,
}

impl Sabotage {
    pub const ALL: [Self; 6] = [
        Self::AckBeforeSync,
        Self::EpochBeforeHistory,
        Self::CommitWithoutQuorum,
        Self::SkippedTruncation,
        Self::LostEphemeral,
        Self::EventAfterRead,
    ];

    /// Whether a server that stands alone can have it.
    pub const fn is_possible_alone(self) -> bool {
        matches!(self, Self::AckBeforeSync | Self::EventAfterRead)
    }
}

/// The kinds of faults that strike while a run is in its first phase.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// A process ends, its machine goes on.
    Kill,
    /// A machine loses its power: what was not synced is gone, torn, or there.
    PowerCut,
    /// As one of the two, after so many more steps of the process.
    CrashAtStep,
    /// All machines lose their power at once.
    PowerCutOfAll,
    /// A process stands still, for longer than any timeout at times.
    Pause,
    /// Servers are cut off from each other, in both directions.
    Partition,
    /// One direction between two servers is cut.
    OneWay,
    /// A connection is cut; either end may not notice.
    CutStream,
    /// A disk is slow.
    SlowDisk,
    /// A write or a sync fails.
    FailedDisk,
    /// A disk is full for a while.
    FullDisk,
    /// A file rots.
    Rot,
    /// The wall clock of a server jumps.
    WallJump,
}

impl Fault {
    const ALL: [Self; 13] = [
        Self::Kill,
        Self::PowerCut,
        Self::CrashAtStep,
        Self::PowerCutOfAll,
        Self::Pause,
        Self::Partition,
        Self::OneWay,
        Self::CutStream,
        Self::SlowDisk,
        Self::FailedDisk,
        Self::FullDisk,
        Self::Rot,
        Self::WallJump,
    ];
}

/// See the file's page. Times are in microseconds.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Servers with a vote.
    pub participants: usize,
    /// Servers without.
    pub observers: usize,
    pub shards: usize,
    pub clients: usize,
    /// Milliseconds.
    pub tick_ms: u32,
    /// How long faults strike.
    pub faulty_for: u64,
    /// The mean time between two of them.
    pub fault_every: u64,
    /// Those that may strike.
    pub faults: Vec<Fault>,
    /// How far the servers' clocks may run from the true time, in millionths.
    pub clock_rate_ppm: u64,
    /// The mean time between two requests of a client.
    pub think: u64,
    /// Requests that a client has under way at most.
    pub pipelined: usize,
    pub snapshot_txns_max: u64,
    pub segment_len: u64,
    /// The usual delay of a message, and how many in a thousand take much longer.
    pub latency: u64,
    pub slow_per_mille: u64,
    /// Transactions that a member keeps for its learners.
    pub history_max: usize,
    pub finalize_wait_ms: u64,
    pub force_snapshot_sync: bool,
    /// Transactions of an epoch, behind which its leader lays down its office: the counter of zxids ends so soon here.
    pub epoch_txns_max: u32,
    /// All disks hold one transaction of the first epoch when the run begins, with this counter; `None`: they are empty.
    pub past: Option<u32>,
    /// Clients reconfigure the ensemble: servers leave and join, with a vote or without.
    pub reconfigures: bool,
    /// Whether the disks of a quorum are looked at when something is committed. Without it, what is missing there is found when it
    /// is missed.
    pub checks_disks: bool,
    /// Some disks stay full when a quorum is healed, as many as the others can do without.
    pub keeps_full: bool,
    pub sabotage: Option<Sabotage>,
    pub trace: bool,
}

impl Plan {
    pub fn of(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let mut random = Random::new(seed);
        let participants = match random.below(20) {
            0..=3 => 1,
            4..=15 => 3,
            _ => 5,
        };
        let participants = match sabotage {
            Some(sabotage) if !sabotage.is_possible_alone() => participants.max(3),
            _ => participants,
        };
        let observers = if participants > 1 && random.one_in(4) { 1 + random.index(2) } else { 0 };
        let half = random.one_in(8);
        let faults = Fault::ALL.into_iter().filter(|_| half || random.below(10) < 6).collect();
        Self {
            seed,
            participants,
            observers,
            shards: 1 + random.index(2),
            clients: 2 + random.index(4),
            tick_ms: 200,
            faulty_for: random.between(4_000_000, 16_000_000),
            fault_every: random.between(200_000, 2_000_000),
            faults,
            clock_rate_ppm: if random.one_in(2) { 0 } else { random.below(20_000) },
            think: random.between(5_000, 80_000),
            pipelined: 1 + random.index(6),
            snapshot_txns_max: random.between(20, 200),
            segment_len: random.between(96, 256) << 10,
            latency: random.between(50, 3_000),
            slow_per_mille: if random.one_in(2) { 0 } else { random.below(50) },
            history_max: random.between(1, 200) as usize,
            finalize_wait_ms: random.between(20, 200),
            force_snapshot_sync: random.one_in(20),
            epoch_txns_max: {
                // Of its own, so that seeds that found something before are what they were in all else.
                let mut random = Random::new(seed ^ 0xe90c);
                if random.one_in(8) { random.between(30, 400) as u32 } else { u32::MAX }
            },
            past: (participants > 1 && random.one_in(16)).then(|| u32::MAX - 1 - random.below(400) as u32),
            reconfigures: participants > 1 && sabotage.is_none() && random.one_in(3),
            checks_disks: true,
            keeps_full: participants > 1 && Random::new(seed ^ 0xf011).one_in(3),
            sabotage,
            trace: false,
        }
    }

    pub fn servers(&self) -> usize {
        self.participants + self.observers
    }

    pub fn is_ensemble(&self) -> bool {
        self.participants > 1
    }
}
