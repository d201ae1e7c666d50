//! Which thread runs on which core.
//!
//! With four cores or fewer the replica and the log share one, because a core of their own would take too much from the
//! shards and a lone write is fastest when they are side by side; with more each has its own. Every other core is a shard.
//! The first cores go to replica and log: they are the ones that a small machine has, so the layout of a large one is the
//! small one's, grown. Where the disk interrupts one core only, that one comes first: the log waits for the disk there, and what
//! wakes it does not have to wake another core (`rt/interrupts.rs`; 50 us of a lone write on this project's machine).
//!
//! So with two cores there is one shard, and where there is but one core everything is on it, shard and replica as one thread. A second
//! shard beside replica and log (`zoo.shards=2`) was the layout once. Measured on this project's machine (2 cores, virtual, the clients on
//! the same two), one shard on the other core against that: pipelined reads 1.6 x, reads of 256 connections with one outstanding 2 x;
//! durable writes 1.1 x with 32 connections of 32 outstanding, 0.8 x with 256 of 32, the same with fewer; a lone write the same. Two shards
//! have half as much to do in each turn and so sleep twice as often, and each time that glommio sleeps it interrupts every other core
//! that runs a thread of this process (membarrier), for which a virtual machine pays dearly.

use super::error::{ConfigError, ErrorKind};

/// Most shards of a server. Queues between cores are one a pair, so their number grows with it.
pub const SHARDS_MAX: usize = 256;

/// With this many cores or fewer, replica and log share one, and nothing spins.
const SHARED_CORES_MAX: usize = 4;

/// Microseconds that a replica or log with a core of its own looks for work before it sleeps, if nothing else is said. A
/// wake-up across cores costs 5 to 40 us, and to wait as long as the sleep would cost is never worse than twice the best.
pub const SPIN_US_DEFAULT: u32 = 50;

/// Longest spin that may be set, in microseconds: beyond it a core is busy while the server is idle.
pub const SPIN_US_MAX: u32 = 10_000;

/// Where the threads run. Numbers are the kernel's, as in `taskset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// One shard for each entry; a core may be named more than once.
    pub shards: Vec<usize>,
    /// The replica.
    pub replica: usize,
    /// The log.
    pub log: usize,
    /// How long replica and log look for work before they sleep, in microseconds; 0 is not at all.
    pub spin_us: u32,
}

/// What the `zoo.*` keys say, `None` where they are silent.
#[derive(Clone, Debug, Default)]
pub(super) struct CoreSettings {
    pub(super) shards: Option<usize>,
    pub(super) shard_cores: Option<Vec<usize>>,
    pub(super) replica: Option<usize>,
    pub(super) log: Option<usize>,
    pub(super) spin_us: Option<u32>,
}

impl Cores {
    /// Lays the threads out over `available`, the cores that this process may run on, in ascending order; `disk` is the core to
    /// which the interrupts of the log's disk come, if there is one such core.
    ///
    /// # Panics
    /// If `available` is empty: a process runs on something.
    pub(super) fn lay_out(
        available: &[usize],
        disk: Option<usize>,
        settings: &CoreSettings,
    ) -> Result<Self, ConfigError> {
        assert!(!available.is_empty(), "no core to run on");
        // The log's first, and then the others as they are.
        let disk = disk.filter(|core| available.contains(core));
        let preferred: Vec<_> =
            disk.into_iter().chain(available.iter().copied().filter(|&core| Some(core) != disk)).collect();
        let check = |key: &str, core: usize| {
            if available.contains(&core) {
                return Ok(core);
            }
            Err(ConfigError::new(
                ErrorKind::Value,
                format!("this process may not run on core {core}"),
                format!("name one of {}", list(available)),
            )
            .key(key))
        };
        let shared = available.len() <= SHARED_CORES_MAX;
        // Where each has a core of its own it is the log that waits for the disk, not the replica.
        let (replicas, logs) = match disk {
            _ if shared => (preferred[0], preferred[0]),
            Some(_) => (preferred[1], preferred[0]),
            None => (preferred[0], preferred[1]),
        };
        let replica = match settings.replica {
            Some(core) => check("zoo.replica.core", core)?,
            None => replicas,
        };
        let log = match settings.log {
            Some(core) => check("zoo.log.core", core)?,
            None if shared || settings.replica.is_some_and(|core| core != replicas) => replica,
            None => logs,
        };
        let free: Vec<_> = preferred.iter().copied().filter(|&core| core != replica && core != log).collect();
        // The only core is everybody's; so are two if there are to be more shards than one.
        let is_crowded = free.is_empty() || available.len() == 2 && settings.shards.is_some_and(|shards| shards > 1);
        let mut count = free.len().max(1);
        let mut pool = if is_crowded { preferred } else { free };
        if let Some(cores) = &settings.shard_cores {
            for &core in cores {
                check("zoo.shard.cores", core)?;
            }
            pool.clone_from(cores);
            count = pool.len();
        }
        let count = settings.shards.unwrap_or(count).min(SHARDS_MAX);
        let shards: Vec<_> = pool.iter().copied().cycle().take(count).collect();
        let spin_us = settings.spin_us.unwrap_or(if shared { 0 } else { SPIN_US_DEFAULT });
        Ok(Self { shards, replica, log, spin_us })
    }
}

/// A list of cores as the kernel writes it: `0-3,8`. `None` if it is not one.
pub fn parse_list(text: &str) -> Option<Vec<usize>> {
    const CORE_MAX: usize = 4095;
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > CORE_MAX {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// The inverse of [`parse_list`], for messages.
fn list(cores: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = cores;
    while let Some(&first) = rest.first() {
        let run = rest.iter().enumerate().take_while(|&(index, &core)| core == first + index).count();
        if !text.is_empty() {
            text.push(',');
        }
        text += &if run == 1 { first.to_string() } else { format!("{first}-{}", first + run - 1) };
        rest = &rest[run..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay_out(available: &[usize], settings: CoreSettings) -> Cores {
        Cores::lay_out(available, None, &settings).unwrap()
    }

    #[test]
    fn defaults_follow_the_number_of_cores() {
        let cores = |n: usize| lay_out(&(0..n).collect::<Vec<_>>(), CoreSettings::default());
        assert_eq!(cores(1), Cores { shards: vec![0], replica: 0, log: 0, spin_us: 0 });
        assert_eq!(cores(2), Cores { shards: vec![1], replica: 0, log: 0, spin_us: 0 });
        let two = lay_out(&[0, 1], CoreSettings { shards: Some(2), ..Default::default() });
        assert_eq!(two.shards, [0, 1], "the first beside the replica");
        assert_eq!(cores(3), Cores { shards: vec![1, 2], replica: 0, log: 0, spin_us: 0 });
        assert_eq!(cores(4), Cores { shards: vec![1, 2, 3], replica: 0, log: 0, spin_us: 0 });
        assert_eq!(cores(5), Cores { shards: vec![2, 3, 4], replica: 0, log: 1, spin_us: SPIN_US_DEFAULT });
        assert_eq!(cores(300).shards.len(), SHARDS_MAX);
    }

    #[test]
    fn the_log_goes_where_the_disk_interrupts() {
        let cores =
            |n: usize, disk| Cores::lay_out(&(0..n).collect::<Vec<_>>(), Some(disk), &CoreSettings::default()).unwrap();
        assert_eq!(cores(1, 0), Cores { shards: vec![0], replica: 0, log: 0, spin_us: 0 });
        assert_eq!(cores(2, 1), Cores { shards: vec![0], replica: 1, log: 1, spin_us: 0 });
        assert_eq!(cores(4, 2), Cores { shards: vec![0, 1, 3], replica: 2, log: 2, spin_us: 0 });
        assert_eq!(cores(6, 3), Cores { shards: vec![1, 2, 4, 5], replica: 0, log: 3, spin_us: SPIN_US_DEFAULT });
        assert_eq!(cores(2, 7), Cores { shards: vec![1], replica: 0, log: 0, spin_us: 0 }, "a core that is not ours");
        let set = CoreSettings { shards: Some(2), replica: Some(0), log: Some(1), ..Default::default() };
        assert_eq!(
            Cores::lay_out(&[0, 1], Some(1), &set).unwrap(),
            Cores { shards: vec![1, 0], replica: 0, log: 1, spin_us: 0 },
            "what is said counts more"
        );
    }

    #[test]
    fn everything_can_be_set() {
        let settings = CoreSettings {
            shards: Some(4),
            shard_cores: Some(vec![5, 6]),
            replica: Some(7),
            log: Some(5),
            spin_us: Some(0),
        };
        let cores = lay_out(&[4, 5, 6, 7, 8], settings);
        assert_eq!(cores, Cores { shards: vec![5, 6, 5, 6], replica: 7, log: 5, spin_us: 0 });
        let moved = lay_out(&[0, 1, 2, 3, 4, 5], CoreSettings { replica: Some(1), ..Default::default() });
        assert_eq!((moved.replica, moved.log, moved.shards), (1, 1, vec![0, 2, 3, 4, 5]));
    }

    #[test]
    fn a_core_that_is_not_ours_is_refused() {
        let settings = CoreSettings { log: Some(9), ..Default::default() };
        let error = Cores::lay_out(&[0, 1, 2, 5], None, &settings).unwrap_err();
        assert_eq!(error.to_string(), "zoo.log.core: this process may not run on core 9; name one of 0-2,5");
    }

    #[test]
    fn lists_of_cores() {
        assert_eq!(parse_list("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse_list("7"), Some(vec![7]));
        for wrong in ["", "a", "3-1", "1,,2", "0-99999999"] {
            assert_eq!(parse_list(wrong), None, "{wrong:?}");
        }
    }
}
