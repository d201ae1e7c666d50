//! Leaders and learners together, under a seeded scheduler (`cluster`): no seed loses or reorders what was committed, and the
//! checkers notice when something is done wrong on purpose.

mod checkers;
mod cluster;
mod records;

use std::panic::{AssertUnwindSafe, catch_unwind};

use self::cluster::{Cluster, Fault, Marks};
pub(super) use self::records::record;

fn run(seed: u64, fault: Fault) -> Marks {
    let mut cluster = Cluster::new(seed, fault);
    let steps = 200 + cluster.random.below(1000);
    cluster.run(steps);
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
    let seeds = seeds(1000);
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

/// Whether a checker finds the fault with this seed. The panics are wanted, their texts are not.
fn finds(fault: Fault, seed: u64) -> bool {
    catch_unwind(AssertUnwindSafe(|| run(seed, fault))).is_err()
}

#[test]
fn the_checkers_bite() {
    // With each fault a seed that found it once; when that does not any more, one has to be found among the first.
    for (fault, seed) in [
        (Fault::AckBeforeSync, 1),
        (Fault::EpochBeforeHistory, 44),
        (Fault::EpochNotSaved, 623),
        (Fault::SkippedTruncation, 21),
        (Fault::CommitWithoutQuorum, 0),
    ] {
        let found = finds(fault, seed).then_some(seed).or_else(|| (0..5000).find(|seed| finds(fault, *seed)));
        println!("{fault:?}: found by seed {found:?}");
        assert!(found.is_some(), "{fault:?} was not found");
    }
}
