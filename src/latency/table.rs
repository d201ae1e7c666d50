//! Histograms by number. Each is made when its first value comes.

use std::time::Duration;

use super::histogram::Histogram;

/// `N` histograms.
#[derive(Clone, Debug)]
pub(super) struct Table<const N: usize> {
    histograms: [Option<Box<Histogram>>; N],
}

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        Self { histograms: [const { None }; N] }
    }
}

impl<const N: usize> Table<N> {
    /// Adds a latency that `count` requests had.
    pub(super) fn record_n(&mut self, number: usize, took: Duration, count: u64) {
        if count > 0 {
            self.histograms[number].get_or_insert_default().record_n(took, count);
        }
    }

    /// Adds another's values.
    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, others) in self.histograms.iter_mut().zip(&other.histograms) {
            if let Some(others) = others {
                mine.get_or_insert_default().merge(others);
            }
        }
    }

    /// Forgets all values.
    pub(super) fn reset(&mut self) {
        self.histograms.iter_mut().flatten().for_each(|histogram| histogram.reset());
    }

    /// One of them; `None` if nothing was ever recorded in it.
    pub(super) fn get(&self, number: usize) -> Option<&Histogram> {
        self.histograms[number].as_deref()
    }

    /// Those that hold values, by number.
    pub(super) fn filled(&self) -> impl Iterator<Item = (usize, &Histogram)> {
        let all = self.histograms.iter().map(Option::as_deref).enumerate();
        all.filter_map(|(number, histogram)| Some((number, histogram?)))
            .filter(|(_, histogram)| histogram.tally().count > 0)
    }
}
