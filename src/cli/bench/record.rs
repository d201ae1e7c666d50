//! What one thread counts and times: histograms by operation, a picture of each second, errors and wrong answers.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use hdrhistogram::Histogram;

use super::connection::{Op, Slot};
use crate::wire::error_code::ErrorCode;

/// The longest latency that is told apart, in nanoseconds: an hour. What is longer counts as this.
const LATENCY_MAX: u64 = 3_600_000_000_000;

/// Significant digits of latencies.
const DIGITS: u8 = 3;

/// Wrong answers that are kept as examples.
const EXAMPLES_MAX: usize = 5;

const SECOND: u64 = 1_000_000_000;

/// A histogram of nanoseconds.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, DIGITS).expect("constant bounds")
}

/// One second of one thread, told when it is over.
#[derive(Clone, Debug)]
pub(super) struct Second {
    /// Which one, of the measured time.
    pub(super) number: u64,
    /// Whether it lasted to its end; else more of it may follow.
    pub(super) is_whole: bool,
    /// Latencies in it, as values and how often.
    pub(super) values: Vec<(u64, u64)>,
    /// Errors and wrong answers so far.
    pub(super) errors: u64,
}

#[derive(Debug)]
struct OpRecord {
    second: Histogram<u64>,
    total: Histogram<u64>,
}

/// See the file's page.
#[derive(Debug)]
pub(super) struct Recorder {
    /// The measured time, in nanoseconds of the run.
    from: u64,
    until: u64,
    /// Nanoseconds that were measured before that, in an earlier part of the run.
    before: u64,
    /// What counts as an operation of the workload.
    headline: &'static [Op],
    ops: [Option<Box<OpRecord>>; Op::ALL.len()],
    second: u64,
    seconds: Option<Sender<Second>>,
    pub(super) faults: Faults,
    /// Good answers to what counts as an operation, in the measured time.
    pub(super) operations: u64,
    /// How late requests with a fixed rate were written, against when they were due.
    pub(super) lateness: Option<Histogram<u64>>,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
}

/// What went wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// By the code that the server answered.
    pub(super) errors: BTreeMap<i32, u64>,
    /// Answers that were not what they had to be.
    pub(super) wrong: u64,
    /// The first of them, in words.
    pub(super) examples: Vec<String>,
    /// Connections that ended while they were needed.
    pub(super) connections_lost: u64,
    /// Attempts to connect that failed.
    pub(super) connections_refused: u64,
    /// Sessions that were gone when their client came back.
    pub(super) sessions_lost: u64,
    /// Requests that were on a connection when it ended: nobody knows what became of them.
    pub(super) requests_lost: u64,
    /// Requests that were not answered before the patience was over.
    pub(super) unanswered: u64,
    /// With a fixed rate: requests that were due and never made, because all that may be outstanding were.
    pub(super) unsent: u64,
}

impl Faults {
    pub(super) fn add(&mut self, other: &Self) {
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
        self.wrong += other.wrong;
        let room = EXAMPLES_MAX - self.examples.len().min(EXAMPLES_MAX);
        self.examples.extend(other.examples.iter().take(room).cloned());
        self.connections_lost += other.connections_lost;
        self.connections_refused += other.connections_refused;
        self.sessions_lost += other.sessions_lost;
        self.requests_lost += other.requests_lost;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
    }

    /// All that makes a run fail. Requests that were never made do not: they tell of a rate that is too high.
    pub(super) fn count(&self) -> u64 {
        self.errors.values().sum::<u64>()
            + self.wrong
            + self.connections_lost
            + self.connections_refused
            + self.sessions_lost
            + self.requests_lost
            + self.unanswered
    }

    /// By name, for people and JSON.
    pub(super) fn errors_by_name(&self) -> BTreeMap<String, u64> {
        let mut named = BTreeMap::new();
        for (code, count) in &self.errors {
            let name = ErrorCode(*code).name().map_or_else(|| format!("error {code}"), str::to_owned);
            named.insert(name, *count);
        }
        let own = [
            ("CONNECTIONLOSS", self.requests_lost),
            ("no answer", self.unanswered),
            ("connections lost", self.connections_lost),
            ("connections refused", self.connections_refused),
            ("sessions lost", self.sessions_lost),
        ];
        named.extend(own.iter().filter(|(_, count)| *count > 0).map(|(name, count)| ((*name).to_owned(), *count)));
        named
    }
}

impl Recorder {
    /// Measures from `from` until `until`; tells each second that is over to `seconds`.
    pub(super) fn new(from: u64, until: u64, headline: &'static [Op], seconds: Option<Sender<Second>>) -> Self {
        Self {
            from,
            until,
            before: 0,
            headline,
            ops: Default::default(),
            second: 0,
            seconds,
            faults: Faults::default(),
            operations: 0,
            lateness: None,
            sent_bytes: 0,
            received_bytes: 0,
        }
    }

    /// Goes on where an earlier part of the run has ended.
    #[must_use]
    pub(super) const fn after(mut self, measured: u64) -> Self {
        self.before = measured;
        self.second = measured / SECOND;
        self
    }

    /// Counts nothing but what goes wrong.
    pub(super) fn silent() -> Self {
        Self::new(u64::MAX, u64::MAX, &[], None)
    }

    const fn measures(&self, now: u64) -> bool {
        now >= self.from && now < self.until
    }

    /// Closes the seconds that are over. To be called at every turn.
    pub(super) fn turn(&mut self, now: u64) {
        if now < self.from {
            return;
        }
        let second = (now.min(self.until) - self.from + self.before) / SECOND;
        if second != self.second {
            self.close_second(true);
            self.second = second;
        }
    }

    /// A good answer came.
    pub(super) fn answer(&mut self, slot: Slot, now: u64) {
        if self.measures(now) {
            self.op(slot.op).second.saturating_record(now.saturating_sub(slot.since));
        }
    }

    /// A good answer came after the end to a request that was due before: it has to show how late it was, but is no part of
    /// the throughput.
    pub(super) fn answer_behind_the_end(&mut self, slot: Slot, now: u64) {
        if slot.since < self.until && self.until != u64::MAX {
            self.op(slot.op).total.saturating_record(now.saturating_sub(slot.since));
        }
    }

    /// A request that was due and was never made: it has waited at least so long.
    pub(super) fn never_made(&mut self, op: Op, waited: u64) {
        self.faults.unsent += 1;
        self.op(op).total.saturating_record(waited);
    }

    /// A request of a fixed rate was made so long after it was due.
    pub(super) fn made_late(&mut self, late: u64, now: u64) {
        if self.measures(now) {
            self.lateness.get_or_insert_with(histogram).saturating_record(late);
        }
    }

    pub(super) const fn sent(&mut self, bytes: usize, now: u64) {
        if self.measures(now) {
            self.sent_bytes += bytes as u64;
        }
    }

    pub(super) const fn received(&mut self, bytes: usize, now: u64) {
        if self.measures(now) {
            self.received_bytes += bytes as u64;
        }
    }

    pub(super) fn error(&mut self, code: i32) {
        *self.faults.errors.entry(code).or_default() += 1;
    }

    pub(super) fn wrong(&mut self, op: Op, what: &str) {
        self.faults.wrong += 1;
        self.example(|| format!("{}: {what}", op.name()));
    }

    /// A connection could not be made.
    pub(super) fn refused(&mut self, why: &str) {
        self.faults.connections_refused += 1;
        self.example(|| format!("cannot connect to {why}"));
    }

    /// A connection ended with so many requests on their way.
    pub(super) fn lost(&mut self, why: &str, requests: u64) {
        self.faults.connections_lost += 1;
        self.faults.requests_lost += requests;
        self.example(|| format!("the connection ended to {why}"));
    }

    fn example(&mut self, words: impl FnOnce() -> String) {
        if self.faults.examples.len() < EXAMPLES_MAX {
            self.faults.examples.push(words());
        }
    }

    fn op(&mut self, op: Op) -> &mut OpRecord {
        self.ops[op as usize].get_or_insert_with(|| Box::new(OpRecord { second: histogram(), total: histogram() }))
    }

    fn close_second(&mut self, is_whole: bool) {
        let mut values = Vec::new();
        for op in Op::ALL {
            let Some(record) = &mut self.ops[op as usize] else {
                continue;
            };
            if record.second.is_empty() {
                continue;
            }
            if self.headline.contains(&op) {
                self.operations += record.second.len();
                values.extend(
                    record.second.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())),
                );
            }
            record.total.add(&record.second).expect("both have the same bounds");
            record.second.reset();
        }
        if let Some(seconds) = &self.seconds {
            let second = Second { number: self.second, is_whole, values, errors: self.faults.count() };
            // Whoever listened may have gone; the totals are kept.
            let _ = seconds.send(second);
        }
    }

    /// Ends it: the histograms by operation.
    pub(super) fn finish(&mut self) -> BTreeMap<Op, Histogram<u64>> {
        self.close_second(false);
        self.seconds = None;
        let ops = std::mem::take(&mut self.ops);
        Op::ALL.into_iter().zip(ops).filter_map(|(op, record)| Some((op, record?.total))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn slot(op: Op, since: u64) -> Slot {
        Slot { since, key: 0, op }
    }

    #[test]
    fn only_the_measured_time_counts() {
        let (sender, receiver) = mpsc::channel();
        let mut recorder = Recorder::new(10 * SECOND, 12 * SECOND, &[Op::Get], Some(sender));
        for (op, now) in [
            (Op::Get, 9 * SECOND),
            (Op::Get, 10 * SECOND + 500),
            (Op::Set, 10 * SECOND + 600),
            (Op::Get, 11 * SECOND + 500),
            (Op::Get, 12 * SECOND),
        ] {
            recorder.turn(now);
            recorder.answer(slot(op, now - 500), now);
        }
        recorder.answer_behind_the_end(slot(Op::Get, 11 * SECOND), 14 * SECOND);
        recorder.answer_behind_the_end(slot(Op::Get, 13 * SECOND), 14 * SECOND);
        let ops = recorder.finish();
        assert_eq!((ops[&Op::Get].len(), ops[&Op::Set].len()), (3, 1));
        assert!(ops[&Op::Get].max() >= 3 * SECOND);
        let seconds: Vec<_> = receiver.iter().map(|second| (second.number, second.values)).collect();
        assert_eq!(seconds, [(0, vec![(500, 1)]), (1, vec![(500, 1)]), (2, vec![])]);
    }

    #[test]
    fn faults_have_names_and_add_up() {
        let mut recorder = Recorder::silent();
        recorder.error(-110);
        recorder.error(-110);
        recorder.error(-999);
        (0..9).for_each(|_| recorder.wrong(Op::Get, "not its data"));
        let mut faults = recorder.faults.clone();
        faults.add(&recorder.faults);
        faults.requests_lost = 1;
        faults.unsent = 100;
        assert_eq!(faults.count(), 4 + 2 + 18 + 1);
        assert_eq!(faults.examples.len(), 5);
        let named = faults.errors_by_name();
        assert_eq!(named["NODEEXISTS"], 4);
        assert_eq!(named["error -999"], 2);
        assert_eq!(named["CONNECTIONLOSS"], 1);
    }
}
