//! Is the load generator the bottleneck? `zoo-server bench` on one core against a responder of canned answers on another.
//!
//! ```sh
//! cargo bench --bench generator
//! cargo bench --bench generator -- --rounds 5 --seconds 5
//! cargo bench --bench generator -- --serve        # only the responder, until its input ends: what latency costs without a server
//! ```
//!
//! Prints what it drives a second, and what that is for each second of processor time that it was given, which does not suffer
//! from what else the machine has to do.

mod responder;

use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use serde_json::Value;
use zoo_server::rt::limits::{cores, spawn_thread};

use responder::{Character, Responder};

/// Measures the load generator itself.
#[derive(Parser, Debug)]
struct Args {
    /// Rounds; the median is told.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each, after one of warm-up.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Measures nothing: the responder alone, on any core. Prints where it listens, and ends with its standard input.
    #[arg(long)]
    serve: bool,
    /// Passed by cargo; without meaning here.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Workload, connections, outstanding on each.
const ROWS: [(&str, u32, u32); 4] = [("get", 32, 32), ("get", 32, 128), ("set", 32, 32), ("get", 1, 1)];

fn main() -> ExitCode {
    let args = Args::parse();
    if args.serve {
        return serve();
    }
    let cores = cores().expect("this process runs somewhere");
    let (ours, theirs) = (cores[0], *cores.last().expect("there is one"));
    if ours == theirs {
        println!("only one core: generator and responder share it, the figures are of both");
    }
    let mut is_good = true;
    for (workload, connections, outstanding) in ROWS {
        let mut rates = Vec::new();
        for _ in 0..args.rounds {
            match measure(ours, theirs, workload, connections, outstanding, args.seconds) {
                Ok(found) => rates.push(found),
                Err(words) => {
                    eprintln!("generator: {words}");
                    is_good = false;
                }
            }
        }
        rates.sort_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((rate, per_core)) = rates.get(rates.len() / 2) {
            println!(
                "FIGURE generator {workload} {connections} x {outstanding}: {rate:.0} /s, {per_core:.0} for each second of its \
                 processor time (median of {})",
                rates.len()
            );
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Answers until whoever started it closes its standard input.
fn serve() -> ExitCode {
    let responder = match Responder::start(None, Character::default()) {
        Ok(responder) => responder,
        Err(error) => {
            eprintln!("generator: the responder does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", responder.address());
    match std::io::copy(&mut std::io::stdin(), &mut std::io::sink()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("generator: standard input: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Requests a second, and for each second of the generator's processor time.
fn measure(
    ours: usize,
    theirs: usize,
    workload: &str,
    connections: u32,
    outstanding: u32,
    seconds: u64,
) -> Result<(f64, f64), String> {
    let responder = Responder::start(Some(theirs), Character::default()).map_err(|error| error.to_string())?;
    let json = std::env::temp_dir().join(format!("zoo-generator-{}.json", std::process::id()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoo-server"));
    command
        .args(["bench", workload, "--quiet", "--warm-up", "1s", "--duration", &format!("{seconds}s")])
        .args(["--hosts", &responder.address().to_string(), "--connections", &connections.to_string()])
        .args(["--outstanding", &outstanding.to_string(), "--json"])
        .arg(&json)
        .stdout(Stdio::null());
    // A child begins on the core of the thread that makes it.
    let done = spawn_thread("spawner", Some(ours), move || command.status()).map_err(|error| error.to_string())?;
    let status = done.join().expect("the spawner ends").map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("{workload}: the generator ended with {status}"));
    }
    let text = std::fs::read_to_string(&json).map_err(|error| error.to_string())?;
    let _ = std::fs::remove_file(&json);
    let run: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let figure = |name: &str| run[name].as_f64().ok_or_else(|| format!("no {name}"));
    let rate = figure("per_second")?;
    Ok((rate, rate / figure("generator_cores")?.max(1e-9)))
}
