//! Where output goes: shared by the commands and by the client's thread, which prints watch events between them.
//!
//! Output that nobody reads any more (a closed pipe) is dropped; the shell ends with its input.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::super::client::Event;

/// Prints a text while a line is being edited, so that the prompt stays whole.
pub(super) type LinePrinter = Box<dyn FnMut(String) + Send>;

/// Standard output and error, or what a test puts in their place.
pub(super) struct Screen {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    line_printer: Mutex<Option<LinePrinter>>,
    shows_events: AtomicBool,
}

impl Screen {
    /// On standard output and error.
    pub(super) fn standard() -> Self {
        Self::new(Box::new(io::stdout()), Box::new(io::stderr()))
    }

    /// On these.
    pub(super) fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Self {
            out: Mutex::new(out),
            err: Mutex::new(err),
            line_printer: Mutex::new(None),
            shows_events: AtomicBool::new(true),
        }
    }

    /// A line of output.
    pub(super) fn say(&self, line: impl Display) {
        let _ = writeln!(lock(&self.out), "{line}");
        let _ = lock(&self.out).flush();
    }

    /// Output as it is, which need not be text.
    pub(super) fn say_bytes(&self, bytes: &[u8]) {
        let mut out = lock(&self.out);
        let _ = out.write_all(bytes);
        let _ = out.write_all(b"\n");
        let _ = out.flush();
    }

    /// A line on standard error.
    pub(super) fn complain(&self, line: impl Display) {
        let _ = writeln!(lock(&self.err), "{line}");
    }

    /// An event, in the form in which zkCli shows it; unless switched off.
    pub(super) fn show_event(&self, event: &Event) {
        if !self.shows_events() {
            return;
        }
        let text = format!("\nWATCHER::\n\n{event}");
        match lock(&self.line_printer).as_mut() {
            Some(print) => print(format!("{text}\n")),
            None => self.say(text),
        }
    }

    /// From now on events are printed by `printer`.
    pub(super) fn set_line_printer(&self, printer: LinePrinter) {
        *lock(&self.line_printer) = Some(printer);
    }

    pub(super) fn shows_events(&self) -> bool {
        self.shows_events.load(Ordering::Relaxed)
    }

    pub(super) fn set_shows_events(&self, shows: bool) {
        self.shows_events.store(shows, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
