//! The program: all of it is in [`zoo_server::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    zoo_server::cli::main()
}
