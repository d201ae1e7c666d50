//! The operator's words: the command line and what it starts.

mod advice;
mod args;
mod bench;
pub mod client;
mod describe;
mod folder;
mod log;
mod logging;
mod machine;
mod run;
pub mod shell;
mod snapshot;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, RunArgs};
use logging::complain;

/// The server failed while it ran, or a command found something wrong.
const EXIT_FAILED: u8 = 1;
/// The command line or the configuration is wrong (as Apache's server says it).
const EXIT_CONFIG: u8 = 2;
/// The data folder cannot be used (as Apache's server says it).
const EXIT_DATA: u8 = 3;

/// The whole program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(problem) = logging::start(&cli.log) {
        complain(format_args!("zoo-server: {problem}"));
        logging::flush();
        return ExitCode::from(EXIT_CONFIG);
    }
    let code = match cli.command.unwrap_or_else(|| Command::Run(RunArgs::default())) {
        Command::Run(args) => run::run(&args),
        Command::Shell(args) => shell::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Log(command) => log::run(&command),
        Command::Snapshot(command) => snapshot::run(&command),
    };
    logging::flush();
    code
}
