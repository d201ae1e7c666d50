//! The simulator: whole servers, their disks, their network and their clients in virtual time, from one seed.
//!
//! A run is a [`plan`] in a [`world`]: up to five servers (and observers), each the product's `Replica` and `LogCore` over
//! simulated disks ([`server`], [`shard`]), that speak to each other and to [`client`]s over a simulated [`network`]. Faults strike
//! ([`faults`]; what they are is said in [`plan::Fault`], and how each behaves at the head of its file and of
//! `zoo_server::storage::sim_disk`), and observers judge: [`ledger`] and [`model`] what servers do, [`client`] what clients are told,
//! [`linear`] whether that can be explained by one order. [`run`] has two phases: safety under faults, then progress once a quorum is
//! healed, and the same state everywhere.
//!
//! ```text
//! cargo test --release --test sim                                     2,000 seeds
//! ZOO_SIM_SEEDS=50000 cargo test --release --test sim seeds           as many as one likes (ZOO_SIM_FROM: from this one on)
//! ZOO_SIM_SEED=7 cargo test --release --test sim seeds -- --nocapture one of them, with a trace
//! ```
//!
//! The same seed gives the same run, on every machine. A seed that has failed once is kept in [`KEPT`] for ever.
#![allow(unreachable_pub, reason = "the modules of a test have no other users than each other")]

mod client;
mod ensemble;
mod faults;
mod ledger;
mod linear;
mod model;
mod network;
mod plan;
mod random;
mod run;
mod runner;
mod sabotage;
mod server;
mod shard;
mod world;

use std::io::Write;

use plan::{Plan, Sabotage};
use runner::{Tally, env_number, run_seeds};

/// Seeds that have found something, always run first:
/// 1, 10 and 33 the lines in which a learner's clients wait; 3 the zxid of a `sync` at the start of an epoch; 43 and 42 a learner that
/// stood down between applying and logging; 49 a connection that is given up; 189 and 260 epochs without a transaction; 642 and 282 a
/// vote with an older epoch than its ACKEPOCH; 854 a held request that came too late; 4128 a promise that a wiped disk forgot; 17375 a member that alone
/// had promised a later epoch; 16980 a leader's state for which
/// there was no room; 29054 a request that came late over a connection that its client had left; 332 an established leader that a
/// reconfiguration kept a follower from joining; 1319 a learner for whom a reconfiguration held that was only proposed;
/// 2127 and 2571 a newcomer's part of the history, which is more than is usual between two snapshots, 10361 a member that
/// was sent the state at the start of an epoch in which nothing is written (both the checker's fault); 122282 a reconfiguration that
/// needs servers which have just gone down (the checker's fault); 196353 a client that comes back to a learner while what it had
/// asked for there, and left, waits for room at the leader; 316441 a start that fails before what it has read is synced (the checker's
/// fault); 324954 a disk that stays full while no snapshot can be written (the checker's fault); 452268 one of
/// two that are left needs the other's whole state, and hid its history from a leader that still had to win its epoch; 757670 and
/// 754565 a server with a full disk that each leader in turn was elected with and waited for; 823332 a reconfiguration after which
/// those with full disks were needed (the checker's fault); 875896 a log that has room until it tries, and a member that voted for that.
const KEPT: &[u64] = &[
    1, 3, 10, 33, 42, 43, 49, 189, 260, 282, 642, 854, 4128, 16980, 17375, 29054, 332, 1319, 2127, 2571, 10361, 122282,
    196353, 316441, 324954, 452268, 757670, 754565, 823332, 875896,
];

/// Seeds that are run unless told otherwise.
const SEEDS: u64 = if cfg!(debug_assertions) { 60 } else { 2_000 };

/// Seeds that are tried until a sabotage is found out.
const SABOTAGE_SEEDS: u64 = 2_000;

/// To be read by whoever runs the tests: past the capture of the test harness.
fn say(line: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stdout(), "\n{line}");
}

#[test]
fn seeds() {
    if let Some(seed) = env_number("ZOO_SIM_SEED") {
        let sabotage = std::env::var("ZOO_SIM_SABOTAGE").ok();
        let sabotage = sabotage.and_then(|name| Sabotage::ALL.into_iter().find(|one| format!("{one:?}") == name));
        // What the servers say of it themselves. It is listened to once.
        let _ = tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(std::io::stdout).try_init();
        let outcome = run::run(Plan { trace: true, ..Plan::of(seed, sabotage) });
        say(&format!("seed {seed}: hash {:016x}, {:?}", outcome.hash, outcome.figures));
        assert_eq!(outcome.violation, None, "seed {seed}");
        return;
    }
    let from = env_number("ZOO_SIM_FROM").unwrap_or(0);
    let count = env_number("ZOO_SIM_SEEDS").unwrap_or(SEEDS);
    let tally =
        run_seeds(KEPT.iter().copied().chain(from..from + count), |seed| Plan::of(seed, None), runner::FAILURES_MAX);
    say(&tally.figures());
    if count >= 500 {
        // The runs have to meet what they are there for, and nearly all that clients were told has to be judged.
        let total = &tally.total;
        let met = [total.crashes, total.disk_failures, total.snapshots, total.wiped, total.truncations, total.installs];
        assert!(met.iter().all(|times| *times > 0) && total.elections > count, "{total:?}");
        assert!(total.undecided * 1000 <= total.linear, "{total:?}");
    }
    assert!(tally.failures.is_empty(), "{}", tally.failures.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..12 {
        let [one, two] = [(); 2].map(|()| std::thread::spawn(move || run::run(Plan::of(seed, None))));
        let (one, two) = (one.join().expect("a run"), two.join().expect("a run"));
        assert_eq!((one.hash, one.figures.events), (two.hash, two.figures.events), "seed {seed}");
    }
}

#[test]
fn every_sabotage_is_found_out() {
    let mut missed = Vec::new();
    // Once with all observers, and once with those only that see what clients see: then it takes a crash to show what is not on
    // the disks.
    for checks_disks in [true, false] {
        for sabotage in Sabotage::ALL {
            let plan = |seed| Plan { checks_disks, ..Plan::of(seed, Some(sabotage)) };
            let tally: Tally = run_seeds(0..SABOTAGE_SEEDS, plan, 1);
            let by = if checks_disks { "" } else { " without a look at the disks" };
            match tally.found.first() {
                Some((seed, violation)) => {
                    say(&format!("FIGURE sabotage {sabotage:?}{by}: found by seed {seed}: {violation}"));
                }
                None => missed.push((sabotage, checks_disks)),
            }
        }
    }
    assert!(missed.is_empty(), "not found out in {SABOTAGE_SEEDS} seeds: {missed:?}");
}
