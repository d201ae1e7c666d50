//! Which znode comes next: seeded chance, and the distributions of keys.

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Distribution {
    /// Every key as likely as any other.
    Uniform,
    /// A few keys are asked for most of the time (Zipf's law with exponent 0.99, as in YCSB); key 0 is the most popular.
    Zipfian,
    /// One after the other, round and round.
    Sequential,
}

/// SplitMix64: small, quick, and the same on every machine for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, evenly enough: the product's high half (Lemire).
    pub(super) const fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * bound as u64) >> 32) as u32
    }

    /// From 0 up to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Chooses among the keys `0..count`.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    count: u32,
    random: Random,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Uniform,
    Zipfian(Zipf),
    /// The next key, and how far it is to the one after it: threads share the keys out among them.
    Sequential {
        next: u32,
        step: u32,
    },
}

impl Keys {
    /// For thread `thread` of `threads`.
    pub(super) fn new(distribution: Distribution, count: u32, seed: u64, thread: u32, threads: u32) -> Self {
        assert!(count > 0 && thread < threads, "the options were checked");
        let mut seeds = Random::new(seed ^ u64::from(thread).wrapping_mul(0xA076_1D64_78BD_642F));
        Self {
            count,
            random: Random::new(seeds.next()),
            kind: match distribution {
                Distribution::Uniform => Kind::Uniform,
                Distribution::Zipfian => Kind::Zipfian(Zipf::new(count)),
                Distribution::Sequential => Kind::Sequential { next: thread % count, step: threads % count },
            },
        }
    }

    /// The next key.
    pub(super) fn next(&mut self) -> u32 {
        match &mut self.kind {
            Kind::Uniform => self.random.below(self.count),
            Kind::Zipfian(zipf) => zipf.key(self.random.unit()),
            Kind::Sequential { next, step } => {
                let key = *next;
                *next = ((u64::from(key) + u64::from(*step).max(1)) % u64::from(self.count)) as u32;
                key
            }
        }
    }

    /// True so many times in a hundred.
    pub(super) fn percent(&mut self, percent: u32) -> bool {
        self.random.below(100) < percent
    }
}

/// Zipf's law by Gray and others' closed form ("Quickly generating billion-record synthetic databases", 1994), which YCSB uses.
#[derive(Clone, Debug)]
struct Zipf {
    count: f64,
    alpha: f64,
    eta: f64,
    zeta: f64,
    second: f64,
}

impl Zipf {
    const THETA: f64 = 0.99;

    fn new(count: u32) -> Self {
        let zeta_of = |count: u32| (1..=count).map(|rank| f64::from(rank).powf(-Self::THETA)).sum::<f64>();
        let zeta = zeta_of(count);
        let eta = (1.0 - (2.0 / f64::from(count)).powf(1.0 - Self::THETA)) / (1.0 - zeta_of(2.min(count)) / zeta);
        let second = 1.0 + 0.5_f64.powf(Self::THETA);
        Self { count: f64::from(count), alpha: 1.0 / (1.0 - Self::THETA), eta, zeta, second }
    }

    fn key(&self, chance: f64) -> u32 {
        let scaled = chance * self.zeta;
        if scaled < 1.0 || self.count < 2.0 {
            return 0;
        }
        if scaled < self.second || self.count < 3.0 {
            return 1;
        }
        let key = self.count * (self.eta * chance - self.eta + 1.0).powf(self.alpha);
        // Rounding may reach the count itself.
        (key as u32).min(self.count as u32 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(distribution: Distribution, count: u32, draws: u32) -> Vec<u32> {
        let mut keys = Keys::new(distribution, count, 1, 0, 1);
        let mut counts = vec![0; count as usize];
        (0..draws).for_each(|_| counts[keys.next() as usize] += 1);
        counts
    }

    #[test]
    fn uniform_is_even() {
        let counts = counts(Distribution::Uniform, 100, 100_000);
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    #[test]
    fn zipfian_follows_its_law() {
        let counts = counts(Distribution::Zipfian, 1000, 1_000_000);
        // Rank r has a share of r^-0.99 / 7.73 (zeta of 1000).
        assert!((120_000..139_000).contains(&counts[0]), "{}", counts[0]);
        assert!((60_000..70_000).contains(&counts[1]), "{}", counts[1]);
        let tail: u32 = counts[500..].iter().sum();
        assert!((75_000..110_000).contains(&tail), "{tail}");
        for count in 1..4 {
            assert!(self::counts(Distribution::Zipfian, count, 1000).iter().all(|count| *count > 0));
        }
    }

    #[test]
    fn sequential_goes_round_and_threads_share() {
        let mut keys = Keys::new(Distribution::Sequential, 5, 1, 1, 2);
        assert_eq!((0..6).map(|_| keys.next()).collect::<Vec<_>>(), [1, 3, 0, 2, 4, 1]);
        assert_eq!(counts(Distribution::Sequential, 3, 9), [3, 3, 3]);
        assert_eq!(counts(Distribution::Sequential, 1, 2), [2]);
    }

    #[test]
    fn a_seed_repeats_and_threads_differ() {
        let draw = |seed, thread| {
            let mut keys = Keys::new(Distribution::Uniform, 1 << 30, seed, thread, 2);
            (keys.next(), keys.next())
        };
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(2, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
    }

    #[test]
    fn percentages() {
        let mut keys = Keys::new(Distribution::Uniform, 1, 1, 0, 1);
        let writes = (0..10_000).filter(|_| keys.percent(20)).count();
        assert!((1800..2200).contains(&writes), "{writes}");
        assert!(!keys.percent(0) && keys.percent(100));
    }
}
