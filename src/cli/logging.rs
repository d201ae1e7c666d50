//! Structured logs, to standard error, quiet unless something is wrong.
//!
//! A thread of their own writes them. Whoever reads them may be slow or stop altogether (a pipe whose reader hangs, a terminal that
//! is held), and no executor may wait for that: what is not taken collects up to [`WAITING_BYTES_MAX`], lines beyond are dropped,
//! and their number is said when there is room again.

use std::fmt::Display;
use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::args::{LogArgs, LogFormat};

/// Bytes that may wait for whoever reads them.
const WAITING_BYTES_MAX: usize = 256 << 10;

/// How long the end of the program waits for them.
const FLUSH_MAX: Duration = Duration::from_millis(200);

/// Starts logging. What a bad level is answered with names it.
pub(super) fn start(args: &LogArgs) -> Result<(), String> {
    let filter = EnvFilter::builder()
        .parse(&args.log_level)
        .map_err(|error| format!("--log-level {}: {error}; write a level, or PART=LEVEL,...", args.log_level))?;
    thread::Builder::new()
        .name("zoo-stderr".to_owned())
        .spawn(|| WAITING.write_on())
        .map_err(|error| format!("a thread could not be started: {error}"))?;
    WAITING.lock().has_writer = true;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Line).log_internal_errors(false);
    let started = match args.log_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| error.to_string())
}

/// Says something on standard error, behind what was logged before. Nobody may read it, or the disk behind it be full: then it is
/// not said, where `eprintln!` would panic.
pub(super) fn complain(text: impl Display) {
    WAITING.push(format!("{text}\n").as_bytes());
}

/// Waits until everything is written, or for as long as is decent.
pub(super) fn flush() {
    let waiting = WAITING.lock();
    let is_busy = |waiting: &mut Waiting| waiting.is_writing || !waiting.bytes.is_empty();
    let _ = WAITING.changed.wait_timeout_while(waiting, FLUSH_MAX, is_busy);
}

/// What the program says, and its writer has not written yet.
static WAITING: Shared = Shared {
    waiting: Mutex::new(Waiting { bytes: Vec::new(), dropped: 0, is_writing: false, has_writer: false }),
    changed: Condvar::new(),
};

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    bytes: Vec<u8>,
    /// Lines for which there was no room.
    dropped: u64,
    /// The writer has some that it has not written.
    is_writing: bool,
    /// There is one.
    has_writer: bool,
}

impl Shared {
    /// Held for as long as it takes to copy a line.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if !waiting.has_writer {
            let _ = io::stderr().write_all(line);
        } else if waiting.bytes.len() + line.len() > WAITING_BYTES_MAX {
            waiting.dropped += 1;
        } else {
            waiting.bytes.extend_from_slice(line);
            self.changed.notify_all();
        }
    }

    /// Writes what comes, for ever. A line that cannot be written (the reader has ended, the disk is full) is lost.
    fn write_on(&self) {
        let mut bytes = Vec::new();
        loop {
            let mut waiting = self.lock();
            waiting.is_writing = false;
            self.changed.notify_all();
            let idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && waiting.dropped == 0;
            waiting = self.changed.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
            waiting.is_writing = true;
            mem::swap(&mut bytes, &mut waiting.bytes);
            let dropped = mem::take(&mut waiting.dropped);
            drop(waiting);
            let _ = io::stderr().write_all(&bytes);
            bytes.clear();
            if dropped > 0 {
                tracing::warn!(dropped, "log lines were dropped: whoever reads them was too slow");
            }
        }
    }
}

/// Where the lines of the log go. Each comes in one piece.
struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        WAITING.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
