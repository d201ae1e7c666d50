//! SIGTERM and SIGINT, on a plain thread, as a call.

use std::io;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// Which signal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Please end (SIGTERM).
    Terminate,
    /// Ctrl-C (SIGINT).
    Interrupt,
}

/// Watches until dropped.
#[derive(Debug)]
pub struct Watch(Handle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Calls `react` for each SIGTERM and SIGINT from now on, on a thread called "signals". It may block, and may be called
/// again: an operator who asks twice means it.
pub fn watch(mut react: impl FnMut(Signal) + Send + 'static) -> io::Result<Watch> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let handle = signals.handle();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGTERM => react(Signal::Terminate),
                SIGINT => react(Signal::Interrupt),
                other => panic!("signal {other} was not asked for"),
            }
        }
    })?;
    Ok(Watch(handle))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn signals_become_calls() {
        let (sender, receiver) = mpsc::channel();
        let watch = watch(move |signal| sender.send(signal).expect("the test listens")).expect("watches");
        for (raw, signal) in [(SIGTERM, Signal::Terminate), (SIGINT, Signal::Interrupt)] {
            signal_hook::low_level::raise(raw).expect("raised");
            assert_eq!(receiver.recv().expect("heard"), signal);
        }
        drop(watch);
        receiver.recv().expect_err("the thread has ended");
    }
}
