//! Throughput, a first look: pipelined reads and durable writes against this server, and in turn with it, as ratios, against Apache
//! ZooKeeper (Debian's package). Without arguments, as `cargo bench` calls it, one short round of ours alone.
//!
//! ```sh
//! cargo bench --bench first_look
//! tests/lib/setup && cargo bench --bench first_look -- --against-apache
//! cargo bench --bench first_look -- --against-apache --rounds 5 --seconds 8 --connections 32 --outstanding 32 --data 100
//! cargo bench --bench first_look -- --server 127.0.0.1:2181,127.0.0.1:2182 --only set
//! ```
//!
//! Both servers run with their default durability, each alone while it is measured, its data under `target/`. The load comes from
//! one thread: every connection keeps so many requests outstanding and sends as many new ones as answers came. Wrong answers and
//! errors end the run.

mod load;
mod servers;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use load::{Load, Work};
use servers::{Kind, Running};

/// Compares pipelined reads and writes of Apache ZooKeeper and zoo_server.
#[derive(Parser, Debug)]
struct Args {
    /// Rounds; in each both servers run every workload.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds a workload is measured, after a warm-up of half as long.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Connections.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Requests outstanding on each connection.
    #[arg(long, default_value_t = 32)]
    outstanding: usize,
    /// Bytes of data in each znode.
    #[arg(long, default_value_t = 100)]
    data: usize,
    /// Znodes.
    #[arg(long, default_value_t = 1000)]
    znodes: usize,
    /// Start nothing: load the servers that listen here, the connections spread over them.
    #[arg(long, value_delimiter = ',')]
    server: Vec<SocketAddr>,
    /// Only this workload: get or set.
    #[arg(long)]
    only: Option<String>,
    /// Both servers in turn; without, ours alone.
    #[arg(long, conflicts_with = "server")]
    against_apache: bool,
    /// Passed by cargo; without meaning here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if std::env::args().skip(1).all(|argument| argument == "--bench") {
        println!("ours alone, one short round; beside Apache's: cargo bench --bench first_look -- --against-apache");
        (args.rounds, args.seconds) = (1, 2);
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("first_look: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Args {
    fn works(&self) -> impl Iterator<Item = Work> {
        [Work::Get, Work::Set].into_iter().filter(|work| self.only.as_deref().is_none_or(|only| only == work.name()))
    }
}

fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "{} connections, {} outstanding on each, {} znodes of {} bytes, {} s after {} s of warm-up, {} rounds",
        args.connections,
        args.outstanding,
        args.znodes,
        args.data,
        args.seconds,
        args.seconds / 2,
        args.rounds
    );
    if !args.server.is_empty() {
        for round in 1..=args.rounds {
            measure(args, &args.server, round, "given")?;
        }
        return Ok(());
    }
    let kinds: &[Kind] = if args.against_apache { &[Kind::Apache, Kind::Ours] } else { &[Kind::Ours] };
    let mut rates = vec![vec![Vec::new(); args.works().count()]; kinds.len()];
    for round in 1..=args.rounds {
        for (at, kind) in kinds.iter().enumerate() {
            let server = Running::start(*kind)?;
            let measured = measure(args, &[server.address()], round, kind.name())?;
            server.stop()?;
            for (rates, rate) in rates[at].iter_mut().zip(measured) {
                rates.push(rate);
            }
        }
    }
    if kinds.len() == 2 {
        for (column, work) in args.works().enumerate() {
            let (theirs, ours) = (median(&mut rates[0][column]), median(&mut rates[1][column]));
            println!(
                "FIGURE {} apache {theirs:.0}/s ours {ours:.0}/s ratio {:.2} (medians of {} rounds)",
                work.name(),
                ours / theirs,
                args.rounds
            );
        }
    }
    Ok(())
}

/// Runs every workload that was asked for against these servers; the rates.
fn measure(args: &Args, addresses: &[SocketAddr], round: usize, name: &str) -> io::Result<Vec<f64>> {
    let mut load = Load::new(addresses, args.connections, args.outstanding, args.data, args.znodes)?;
    load.prepare()?;
    let mut rates = Vec::new();
    for work in args.works() {
        load.run(work, Duration::from_secs(args.seconds) / 2)?;
        let result = load.run(work, Duration::from_secs(args.seconds))?;
        println!(
            "round {round}  {name:<7} {:<4} {:>9.0} /s   p50 {:>7} us   p99 {:>7} us   p99.9 {:>7} us   max {:>7} us",
            work.name(),
            result.rate,
            result.latency_us(50.0),
            result.latency_us(99.0),
            result.latency_us(99.9),
            result.latency_us(100.0),
        );
        rates.push(result.rate);
    }
    Ok(rates)
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
