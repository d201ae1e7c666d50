//! Leaders and learners together, under a seeded scheduler (`cluster`): no seed loses or reorders what was committed, and the
//! checkers notice when something is done wrong on purpose.

mod checkers;
mod cluster;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) use self::cluster::record;
use self::cluster::{Cluster, Fault, Marks};

const STEPS: usize = 700;

fn run(seed: u64, fault: Fault) -> Marks {
    let mut cluster = Cluster::new(seed, fault);
    cluster.run(STEPS);
    if fault == Fault::None {
        cluster.heal();
    }
    cluster.marks
}

/// `ZOO_ZAB_SEEDS` for more than the usual number, `ZOO_ZAB_SEED` for one.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("ZOO_ZAB_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ZOO_ZAB_SEEDS").unwrap_or(usual),
    }
}

#[test]
fn nothing_committed_is_lost_or_reordered_whatever_fails() {
    let mut sum = Marks::default();
    let seeds = seeds(1500);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let marks = catch_unwind(AssertUnwindSafe(|| run(seed, Fault::None)))
            .unwrap_or_else(|_| panic!("ZOO_ZAB_SEED={seed} cargo test --lib zab::tests::nothing_committed"));
        sum.committed += marks.committed;
        sum.established += marks.established;
        sum.diffs += marks.diffs;
        sum.truncations += marks.truncations;
        sum.snapshots += marks.snapshots;
        sum.broken_snapshots += marks.broken_snapshots;
        sum.crashes += marks.crashes;
        sum.syncs += marks.syncs;
    }
    println!("{count} seeds: {sum:?}");
    // The runs have to meet what they are there for.
    let count = usize::try_from(count).unwrap();
    assert!(sum.committed > 10 * count && sum.established > 2 * count && sum.crashes > count, "{sum:?}");
    if count >= 1000 {
        assert!(sum.diffs > count && sum.truncations > count / 4 && sum.snapshots > count / 4, "{sum:?}");
        assert!(sum.broken_snapshots > 10 && sum.syncs > count, "{sum:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        assert_eq!(format!("{:?}", run(seed, Fault::None)), format!("{:?}", run(seed, Fault::None)));
    }
}

/// A seed of the first `most` in which a checker finds the fault.
fn found(fault: Fault, most: u64) -> Option<u64> {
    // The panics are wanted, their texts are not.
    (0..most).find(|seed| catch_unwind(AssertUnwindSafe(|| run(*seed, fault))).is_err())
}

#[test]
fn the_checkers_bite() {
    for fault in [
        Fault::AckBeforeSync,
        Fault::EpochBeforeHistory,
        Fault::EpochNotSaved,
        Fault::SkippedTruncation,
        Fault::CommitWithoutQuorum,
        Fault::SnapshotNotInstalled,
    ] {
        let seed = found(fault, 3000);
        println!("{fault:?}: found by seed {seed:?}");
        assert!(seed.is_some(), "{fault:?} was not found");
    }
}
