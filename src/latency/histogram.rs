//! Values by how often they came: count, sum, least and most exactly, the rest by HDR buckets.

use std::time::Duration;

use hdrhistogram::Histogram as Buckets;

/// Longest latency that is told apart, a minute in microseconds; longer ones count as this in quantiles.
pub const LATENCY_US_MAX: u64 = 60_000_000;

/// Count, sum, least and most of some values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Together; stays at the end of its range rather than wrap.
    pub sum: u64,
    min: u64,
    max: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Tally {
    /// Adds a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Adds a value that came `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        if count == 0 {
            return;
        }
        self.count += count;
        self.sum = self.sum.saturating_add(value.saturating_mul(count));
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds another's values.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The least, 0 of none.
    pub fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min }
    }

    /// The most, 0 of none.
    pub fn max(&self) -> u64 {
        self.max
    }
}

/// Latencies in microseconds. Its memory is fixed; see the room's page.
#[derive(Clone, Debug)]
pub struct Histogram {
    tally: Tally,
    buckets: Buckets<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = Buckets::new_with_bounds(1, LATENCY_US_MAX, 2).expect("bounds that are far enough apart");
        Self { tally: Tally::default(), buckets }
    }
}

impl Histogram {
    /// Adds a latency that `count` requests had.
    pub fn record_n(&mut self, took: Duration, count: u64) {
        self.record_us(took.as_micros() as u64, count);
    }

    /// The same in microseconds.
    pub fn record_us(&mut self, us: u64, count: u64) {
        self.tally.record_n(us, count);
        self.buckets.saturating_record_n(us, count);
    }

    /// Adds another's values.
    pub fn merge(&mut self, other: &Self) {
        self.tally.merge(&other.tally);
        self.buckets.add(&other.buckets).expect("histograms of equal bounds");
    }

    /// Forgets all values.
    pub fn reset(&mut self) {
        self.tally = Tally::default();
        self.buckets.reset();
    }

    /// Count, sum, least and most, microseconds.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The value that `quantile` (0 to 1) of the values do not exceed, microseconds; 0 of none. The most that occurred is exact.
    pub fn quantile(&self, quantile: f64) -> u64 {
        // A bucket is told by its upper end, which may lie above every value.
        self.buckets.value_at_quantile(quantile).min(self.tally.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_many_values_are_within_a_hundredth() {
        let mut histogram = Histogram::default();
        // Over five orders of magnitude: each value is its own rank, so the quantile is known.
        for us in 1..=1_000_000 {
            histogram.record_us(us, 1);
        }
        for (quantile, exact) in [(0.5, 500_000_f64), (0.99, 990_000.0), (0.999, 999_000.0), (0.000_1, 100.0)] {
            let told = histogram.quantile(quantile) as f64;
            assert!((told / exact - 1.0).abs() <= 0.01, "{quantile}: {told}, not {exact}");
        }
        assert_eq!(histogram.quantile(1.0), 1_000_000);
        let tally = histogram.tally();
        assert_eq!((tally.count, tally.min(), tally.max()), (1_000_000, 1, 1_000_000));
        assert_eq!(tally.sum, 1_000_000 * 1_000_001 / 2);
    }

    #[test]
    fn a_time_that_many_share_counts_for_each() {
        let (mut together, mut singly) = (Histogram::default(), Histogram::default());
        for (us, count) in [(0, 3), (7, 90), (1_000, 6), (50_000, 1)] {
            together.record_n(Duration::from_micros(us), count);
            (0..count).for_each(|_| singly.record_us(us, 1));
        }
        together.record_us(9, 0);
        assert_eq!(together.tally(), singly.tally());
        for quantile in [0.0, 0.02, 0.03, 0.5, 0.93, 0.99, 0.999, 1.0] {
            assert_eq!(together.quantile(quantile), singly.quantile(quantile), "{quantile}");
        }
        assert_eq!(together.quantile(0.03), 0);
        assert_eq!(together.quantile(0.5), 7);
        assert_eq!(together.quantile(0.999), 50_000, "no bucket's end above the most that occurred");
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest_and_its_memory_does_not_grow() {
        let mut histogram = Histogram::default();
        let buckets = histogram.buckets.len();
        let hour_us = 3_600_000_000;
        histogram.record_us(hour_us, 2);
        histogram.record_us(u64::MAX, 1);
        assert_eq!(histogram.tally().count, 3);
        assert_eq!(histogram.tally().max(), u64::MAX);
        assert!(histogram.quantile(0.5) >= LATENCY_US_MAX, "{}", histogram.quantile(0.5));
        assert_eq!(histogram.buckets.len(), 3);
        let bytes = histogram.buckets.distinct_values() * size_of::<u64>();
        assert!(bytes <= 24 << 10, "{bytes} bytes, as the room's page says");
        histogram.reset();
        assert_eq!(histogram.buckets.len(), buckets);
        assert_eq!((histogram.quantile(0.99), histogram.tally().max(), histogram.tally().min()), (0, 0, 0));
    }

    #[test]
    fn threads_histograms_merge() {
        let (mut one, mut other, mut all) = (Histogram::default(), Histogram::default(), Histogram::default());
        for us in 0..10_000 {
            let value = us * 37 % 9_973;
            if us % 3 == 0 { &mut one } else { &mut other }.record_us(value, 1 + us % 5);
            all.record_us(value, 1 + us % 5);
        }
        one.merge(&other);
        assert_eq!(one.tally(), all.tally());
        for quantile in [0.1, 0.5, 0.9, 0.99, 0.999] {
            assert_eq!(one.quantile(quantile), all.quantile(quantile));
        }
    }
}
