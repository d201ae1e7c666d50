//! `zoo-server bench`: a load generator for any server that speaks the ZooKeeper protocol.
//!
//! ```text
//!   args ─▶ runner ─▶ setup: sessions, znodes
//!                  ─▶ a worker a thread: poller, connections ◀─▶ servers
//!                  │     asks what its work says (requests ...), when its plan says; checks every answer
//!                  │     counts and times in a recorder; tells each second ─▶ progress
//!                  ─▶ outcome: table, JSON, percentile files ─▶ report
//! ```
//!
//! | file | idea |
//! |---|---|
//! | [`worker`] | the loop of a thread; closed loop and fixed rate |
//! | [`connection`] | a socket, its session, what waits for an answer |
//! | [`requests`], [`churn`], [`watch`], [`setup`] | what is asked, and what the answer has to be |
//! | [`template`], [`keys`] | requests encoded once; which key comes next |
//! | [`record`], [`progress`], [`outcome`] | what is counted, shown, and kept |
//! | [`report`] | runs side by side on a page |
//! | [`stages`] | what servers tell of the time in their stages |
//!
//! It must not be the bottleneck: per request there is no allocation, no formatting and no system call, only a copied template
//! with its numbers filled in and a slot in a ring; per batch there is one read, one write and one look at the clock.

mod args;
mod churn;
mod connection;
mod keys;
mod outcome;
mod progress;
mod record;
mod report;
mod requests;
mod runner;
mod setup;
mod stages;
mod template;
mod watch;
mod worker;

use std::process::ExitCode;

pub(super) use args::BenchArgs;

/// Errors or wrong answers were counted, or the run could not be made.
const EXIT_BAD: u8 = 1;
/// The command line is wrong.
const EXIT_USAGE: u8 = 2;

pub(super) fn run(args: &BenchArgs) -> ExitCode {
    let done = match (&args.command, &args.load) {
        (Some(args::BenchCommand::Report(words)), _) => report::run(words),
        (None, Some(load)) => runner::run(load),
        (None, None) => {
            Err(runner::Failure::Usage("say what to do: zoo-server bench --help lists the workloads".to_owned()))
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_BAD),
        Err(failure) => {
            eprintln!("zoo-server bench: {failure}");
            ExitCode::from(match failure {
                runner::Failure::Usage(_) => EXIT_USAGE,
                runner::Failure::Run(_) => EXIT_BAD,
            })
        }
    }
}
