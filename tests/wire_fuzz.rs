//! Seeded mutation of what clients send: whatever the bytes are, the server answers with sense or closes, and its log tells
//! the same story to another tree. `tests/fuzz/run` does the same for longer, and guided by coverage.
//!
//! A failing seed is printed; `WIRE_FUZZ_SEED=<n>` runs that one alone, `WIRE_FUZZ_EXECUTIONS=<n>` so many.

use std::panic;

#[expect(unreachable_pub, reason = "a module of a library, too")]
#[path = "fuzz/src/clients.rs"]
mod clients;
#[expect(unreachable_pub, reason = "a module of a library, too")]
#[path = "fuzz/src/requests.rs"]
mod requests;

use clients::{Tally, run};

const EXECUTIONS: u64 = if cfg!(debug_assertions) { 5_000 } else { 60_000 };

struct Random(u64);

impl Random {
    fn draw(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

/// Where the steps of a script begin, and its end.
fn steps(script: &[u8]) -> Vec<usize> {
    let mut at = 1;
    let mut starts = vec![at];
    while at < script.len() {
        at += 1;
        if script[at - 1] & 0x3c < clients::TIME {
            let len = script.get(at..at + 2).map_or(0, |len| usize::from(len[0]) << 8 | usize::from(len[1]));
            at = (at + 2 + len).min(script.len());
        }
        starts.push(at);
    }
    starts
}

fn mutate(script: &mut Vec<u8>, seeds: &[(String, Vec<u8>)], random: &mut Random) {
    for _ in 0..1 + random.draw(5) {
        let starts = steps(script);
        let cut = starts[random.draw(starts.len())];
        match random.draw(8) {
            // A step of another script, or all of it from there.
            0 | 1 => {
                let donor = &seeds[random.draw(seeds.len())].1;
                let donor_starts = steps(donor);
                let from = random.draw(donor_starts.len());
                let to = (from + 1 + random.draw(3)).min(donor_starts.len() - 1);
                let taken = donor[donor_starts[from]..donor_starts[to.max(from)]].to_vec();
                script.splice(cut..cut, taken);
            }
            // A step less.
            2 => {
                if let Some(&end) = starts.iter().find(|&&start| start > cut) {
                    script.drain(cut..end);
                }
            }
            // Another connection, other options.
            3 => {
                let at = if random.draw(4) == 0 { 0 } else { cut.min(script.len() - 1) };
                script[at] ^= 1 << random.draw(if at == 0 { 5 } else { 2 });
            }
            // A number or a length.
            4 => {
                let at = random.draw(script.len());
                let number = [0, 1, -1, i32::MAX, i32::MIN, random.draw(120) as i32 - 12][random.draw(6)];
                let end = (at + 4).min(script.len());
                script[at..end].copy_from_slice(&number.to_be_bytes()[..end - at]);
            }
            // An operation.
            5 => {
                if let Some(op) = script.get_mut(cut + 7..cut + 11) {
                    let number = [1, 2, 4, 5, 7, 9, 14, 15, 19, 21, 22, 101, 105, 106, -11][random.draw(15)];
                    op.copy_from_slice(&i32::to_be_bytes(number));
                }
            }
            _ => {
                let at = random.draw(script.len());
                script[at] =
                    if random.draw(2) == 0 { script[at] ^ (1 << random.draw(8)) } else { random.draw(256) as u8 };
            }
        }
    }
}

fn mutant(seed: u64, seeds: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    random.draw(2);
    let mut script = seeds[random.draw(seeds.len())].1.clone();
    mutate(&mut script, seeds, &mut random);
    script
}

#[test]
fn no_client_makes_the_server_panic_or_tell_two_stories() {
    let seeds = requests::seeds();
    let range = match std::env::var("WIRE_FUZZ_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("a number in WIRE_FUZZ_SEED");
            seed..seed + 1
        }
        Err(_) => {
            let executions = std::env::var("WIRE_FUZZ_EXECUTIONS").map(|count| count.parse().expect("a number"));
            0..executions.unwrap_or(EXECUTIONS)
        }
    };
    let count = range.end - range.start;
    let mut sum = Tally::default();
    for seed in range {
        let script = mutant(seed, &seeds);
        let tally = panic::catch_unwind(|| run(&script));
        let tally = tally.unwrap_or_else(|_| panic!("WIRE_FUZZ_SEED={seed} breaks a rule"));
        sum.done += tally.done;
        sum.refused += tally.refused;
        sum.logged += tally.logged;
        sum.events += tally.events;
    }
    println!("{count} mutants: {sum:?}");
    let enough = [sum.done, sum.refused, sum.logged, sum.events].iter().all(|&seen| seen > count / 2);
    assert!(count < 1000 || enough, "mutants reach all sides: {sum:?}");
}

#[test]
fn the_seeds_do_what_they_are_for() {
    for (name, script) in requests::seeds() {
        let tally = run(&script);
        assert!(tally.logged > 2 && (tally.done > 0 || name == "odd"), "{name}: {tally:?}");
        assert_eq!(tally, run(&script), "{name} depends on its bytes alone");
    }
}
