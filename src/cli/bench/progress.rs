//! The line that shows how it goes, and the picture of each second that it is made of.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::outcome::{Moment, grouped, time, us};
use super::record::{Second, histogram};

/// How often something is said where no terminal shows a line that changes.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// Speaks on standard error: on a terminal in one line that changes, else now and then in a line.
#[derive(Debug)]
pub(super) struct Screen {
    is_quiet: bool,
    is_terminal: bool,
    said_at: Instant,
    width: usize,
}

impl Screen {
    pub(super) fn new(is_quiet: bool) -> Self {
        Self { is_quiet, is_terminal: io::stderr().is_terminal(), said_at: Instant::now(), width: 0 }
    }

    /// How it goes.
    pub(super) fn show(&mut self, line: &str) {
        if self.is_quiet {
            return;
        }
        let mut stderr = io::stderr().lock();
        // A standard error that is gone is nobody's loss.
        let _ = if self.is_terminal {
            let pad = self.width.saturating_sub(line.chars().count());
            self.width = line.chars().count();
            write!(stderr, "\r{line}{:pad$}", "").and_then(|()| stderr.flush())
        } else if self.said_at.elapsed() >= LOG_PERIOD {
            self.said_at = Instant::now();
            writeln!(stderr, "{line}")
        } else {
            Ok(())
        };
    }

    /// Takes the changing line away.
    pub(super) fn clear(&mut self) {
        if self.is_terminal && self.width > 0 {
            eprint!("\r{:width$}\r", "", width = self.width);
            self.width = 0;
        }
    }

    /// Something that must be read.
    pub(super) fn say(&mut self, line: &str) {
        self.clear();
        if !self.is_quiet {
            eprintln!("{line}");
        }
    }
}

/// Shows how many of a known number are done, until `over` says so.
pub(super) fn count(screen: &mut Screen, what: &str, done: &AtomicU64, total: u64, over: &Receiver<()>) {
    while over.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
        screen.show(&format!("{what}: {} of {}", grouped(done.load(Ordering::Relaxed)), grouped(total)));
    }
    screen.clear();
}

/// The seconds of a run, put together from its threads.
#[derive(Debug)]
pub(super) struct Timeline {
    threads: usize,
    open: BTreeMap<u64, (usize, Histogram<u64>)>,
    moments: Vec<Moment>,
}

impl Timeline {
    pub(super) const fn new(threads: usize) -> Self {
        Self { threads, open: BTreeMap::new(), moments: Vec::new() }
    }

    /// Takes the seconds until all threads have ended, and shows each.
    pub(super) fn follow(&mut self, screen: &mut Screen, label: &str, duration: Duration, seconds: &Receiver<Second>) {
        let mut errors = BTreeMap::new();
        while let Ok(second) = seconds.recv() {
            let number = second.number;
            if second.is_whole {
                *errors.entry(number).or_insert(0) += second.errors;
            }
            if let Some(moment) = self.add(&second) {
                let errors = errors.remove(&number).unwrap_or(0);
                let faults = if errors > 0 { format!("   {} ERRORS", grouped(errors)) } else { String::new() };
                screen.show(&format!(
                    "{label}: {:>3} of {} s   {:>11} /s   p50 {:>8}   p99 {:>8}   max {:>8}{faults}",
                    number + 1,
                    duration.as_secs_f64(),
                    grouped(moment.operations),
                    time((moment.p50_us * 1e3) as u64),
                    time((moment.p99_us * 1e3) as u64),
                    time((moment.max_us * 1e3) as u64),
                ));
            }
        }
        screen.clear();
    }

    /// Adds what one thread says; the second as a whole once all have said all of theirs.
    fn add(&mut self, second: &Second) -> Option<Moment> {
        let (threads, values) = self.open.entry(second.number).or_insert_with(|| (0, histogram()));
        *threads += usize::from(second.is_whole);
        for &(value, count) in &second.values {
            values.saturating_record_n(value, count);
        }
        if *threads < self.threads {
            return None;
        }
        let (_, values) = self.open.remove(&second.number).expect("it was added to");
        let moment = moment(second.number, &values);
        self.moments.push(moment);
        Some(moment)
    }

    /// The whole seconds, in order; those in which nothing came are there, too.
    pub(super) fn finish(mut self, seconds: u64) -> Vec<Moment> {
        for (number, (_, values)) in std::mem::take(&mut self.open) {
            self.moments.push(moment(number, &values));
        }
        let found: BTreeMap<u64, Moment> = self.moments.iter().map(|moment| (moment.second, *moment)).collect();
        let none = |second| Moment { second, operations: 0, p50_us: 0.0, p99_us: 0.0, max_us: 0.0 };
        (0..seconds).map(|second| found.get(&second).copied().unwrap_or_else(|| none(second))).collect()
    }
}

fn moment(second: u64, values: &Histogram<u64>) -> Moment {
    Moment {
        second,
        operations: values.len(),
        p50_us: us(values.value_at_quantile(0.5)),
        p99_us: us(values.value_at_quantile(0.99)),
        max_us: us(values.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_make_one_timeline_without_gaps() {
        let mut timeline = Timeline::new(2);
        let second = |number, value| Second { number, is_whole: true, values: vec![(value, 10)], errors: 0 };
        assert!(timeline.add(&second(0, 1000)).is_none());
        let both = timeline.add(&second(0, 2000)).expect("both have spoken");
        assert_eq!((both.operations, both.p50_us, both.max_us), (20, 1.0, 2.0));
        // A part of the run ended within second 2, and the next went on with it.
        let part = Second { is_whole: false, ..second(2, 1000) };
        assert!(timeline.add(&part).is_none() && timeline.add(&part).is_none());
        timeline.add(&second(2, 1000));
        let moments = timeline.finish(4);
        let seen: Vec<_> = moments.iter().map(|moment| (moment.second, moment.operations)).collect();
        assert_eq!(seen, [(0, 20), (1, 0), (2, 30), (3, 0)]);
    }
}
