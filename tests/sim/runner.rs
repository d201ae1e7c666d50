//! Many seeds on all cores: each run is alone on its thread, so nothing of one can reach another.

use std::sync::Mutex;
use std::time::Instant;

use crate::plan::{Plan, Sabotage};
use crate::run::{Outcome, run};
use crate::world::Figures;

/// After so many failing seeds no more are begun.
pub const FAILURES_MAX: usize = 5;

/// A number that the environment gives.
pub fn env_number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.trim().parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// What many runs came to.
pub struct Tally {
    pub runs: u64,
    /// For whoever reads it: what was wrong, and the command that shows it again.
    pub failures: Vec<String>,
    /// By seed.
    pub found: Vec<(u64, String)>,
    pub total: Figures,
    begun: Instant,
}

impl Tally {
    fn take(&mut self, seed: u64, sabotage: Option<Sabotage>, outcome: Outcome) {
        self.runs += 1;
        self.total.add(&outcome.figures);
        if let Some(violation) = outcome.violation {
            let sabotage = sabotage.map_or_else(String::new, |sabotage| format!(" ZOO_SIM_SABOTAGE={sabotage:?}"));
            let command = format!("ZOO_SIM_SEED={seed}{sabotage} cargo test --release --test sim seeds -- --nocapture");
            self.failures.push(format!("seed {seed}: {violation}\n    {command}"));
            self.found.push((seed, violation));
            self.found.sort();
        }
    }

    pub fn figures(&self) -> String {
        let minutes = self.begun.elapsed().as_secs_f64() / 60.0;
        let hours = self.total.simulated as f64 / 3.6e9;
        format!(
            "FIGURE simulator: {} seeds, {:.0} seeds a minute, {:.1} simulated hours a minute\nFIGURE simulator: {:?}",
            self.runs,
            self.runs as f64 / minutes,
            hours / minutes,
            self.total
        )
    }
}

/// Runs the seeds until there are none left or so many have failed.
pub fn run_seeds(
    seeds: impl Iterator<Item = u64> + Send,
    plan: impl Fn(u64) -> Plan + Sync,
    failures_max: usize,
) -> Tally {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let seeds = Mutex::new(seeds);
    let tally = Mutex::new(Tally {
        runs: 0,
        failures: Vec::new(),
        found: Vec::new(),
        total: Figures::default(),
        begun: Instant::now(),
    });
    let work = || {
        while tally.lock().expect("no run panics").failures.len() < failures_max {
            let Some(seed) = seeds.lock().expect("an iterator over numbers").next() else { return };
            let plan = plan(seed);
            let sabotage = plan.sabotage;
            let outcome = run(plan);
            tally.lock().expect("no run panics").take(seed, sabotage, outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    tally.into_inner().expect("no run panics")
}
