//! The simulator.
#![allow(unreachable_pub, reason = "the modules of a test have no other users than each other")]

mod client;
mod ensemble;
mod faults;
mod ledger;
mod model;
mod network;
mod plan;
mod random;
mod run;
mod server;
mod shard;
mod world;

#[test]
fn first() {
    let n: u64 = std::env::var("ZOO_SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    let from: u64 = std::env::var("ZOO_SIM_FROM").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for seed in from..from + n {
        let mut plan = plan::Plan::of(seed, None);
        plan.participants = 1;
        plan.observers = 0;
        plan.trace = std::env::var("ZOO_SIM_TRACE").is_ok();
        let outcome = run::run(plan);
        println!("{seed} {:?} {:x} {:?}", outcome.violation, outcome.hash, outcome.figures);
    }
}

#[test]
fn bites() {
    for sabotage in [plan::Sabotage::AckBeforeSync, plan::Sabotage::EventAfterRead] {
        let mut found = None;
        for seed in 0..50 {
            let mut plan = plan::Plan::of(seed, Some(sabotage));
            plan.participants = 1;
            plan.observers = 0;
            let outcome = run::run(plan);
            if outcome.violation.is_some() {
                found = outcome.violation.map(|violation| (seed, violation));
                break;
            }
        }
        println!("{sabotage:?} {found:?}");
    }
}
