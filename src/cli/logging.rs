//! Structured logs, to standard error, quiet unless something is wrong.

use tracing_subscriber::EnvFilter;

use super::args::{LogArgs, LogFormat};

/// Starts logging. What a bad level is answered with names it.
pub(super) fn start(args: &LogArgs) -> Result<(), String> {
    let filter = EnvFilter::builder()
        .parse(&args.log_level)
        .map_err(|error| format!("--log-level {}: {error}; write a level, or PART=LEVEL,...", args.log_level))?;
    // A line that cannot be written (the collector has ended, the disk is full) is lost: to complain about that where nothing can
    // be written would be a panic.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let started = match args.log_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| error.to_string())
}
