//! SIGTERM, SIGINT and SIGHUP, on a plain thread, as a call.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// Which signal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Please end (SIGTERM).
    Terminate,
    /// Ctrl-C (SIGINT).
    Interrupt,
    /// The terminal is gone (SIGHUP). May well come twice, from the kernel and from the shell.
    HangUp,
}

/// Watches until dropped.
#[derive(Debug)]
pub struct Watch(Handle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Calls `react` for each SIGTERM, SIGINT and SIGHUP from now on, on a thread called "signals". It may block, and may be called
/// again: an operator who asks twice means it. A SIGHUP that was ignored when the process began (nohup) stays ignored.
pub fn watch(mut react: impl FnMut(Signal) + Send + 'static) -> io::Result<Watch> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    if !is_ignored(SIGHUP)? {
        signals.add_signal(SIGHUP)?;
    }
    let handle = signals.handle();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGTERM => react(Signal::Terminate),
                SIGINT => react(Signal::Interrupt),
                SIGHUP => react(Signal::HangUp),
                other => panic!("signal {other} was not asked for"),
            }
        }
    })?;
    Ok(Watch(handle))
}

/// Whether this process ignores a signal.
fn is_ignored(signal: i32) -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: no new action is given, and there is room for the present one.
    if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has filled it.
    Ok(unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn signals_become_calls() {
        let is_hang_up_ignored = is_ignored(SIGHUP).expect("it can be asked");
        let (sender, receiver) = mpsc::channel();
        let watch = watch(move |signal| sender.send(signal).expect("the test listens")).expect("watches");
        let all = [(SIGTERM, Signal::Terminate), (SIGINT, Signal::Interrupt), (SIGHUP, Signal::HangUp)];
        // Under nohup the last would not come.
        for (raw, signal) in all.into_iter().filter(|(raw, _)| *raw != SIGHUP || !is_hang_up_ignored) {
            signal_hook::low_level::raise(raw).expect("raised");
            assert_eq!(receiver.recv().expect("heard"), signal);
        }
        drop(watch);
        receiver.recv().expect_err("the thread has ended");
    }
}
