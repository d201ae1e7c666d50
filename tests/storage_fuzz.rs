//! Seeded mutation of log segments and snapshots: whatever the bytes are, reading them gives an answer and never a panic.
//!
//! Half of the mutants get their checksums made right again, so that they reach the code behind the checksums. A failing
//! seed is printed; `STORAGE_FUZZ_SEED=<n>` runs that one alone, `STORAGE_FUZZ_EXECUTIONS=<n>` so many.

use std::panic;

#[expect(unreachable_pub, reason = "a module of a library, too")]
#[path = "fuzz/src/files.rs"]
mod files;
#[expect(unreachable_pub, reason = "a module of a library, too")]
#[path = "fuzz/src/storage.rs"]
mod targets;

use zoo_server::ids::Zxid;
use zoo_server::storage::disk::{BLOCK_LEN, BlockBuf};
use zoo_server::storage::dump;
use zoo_server::storage::log::format::{frame_field, segment_field};
use zoo_server::storage::sim_disk::SimDisk;
use zoo_server::storage::snapshot::format::{SnapshotInfo, SnapshotWriter, field};
use zoo_server::storage::{Storage, StorageOptions};
use zoo_server::time::WallTime;

/// Checksums without optimisation are slow.
const EXECUTIONS: u64 = if cfg!(debug_assertions) { 4_000 } else { 100_000 };

struct Random(u64);

impl Random {
    fn draw(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

/// Small, but with everything: a segment with two frames, and a snapshot with sessions, lists and znodes.
fn seeds() -> Vec<Vec<u8>> {
    let disk = SimDisk::new(1);
    let mut options = StorageOptions::new(9);
    options.core.segment_len = 16 << 10;
    options.core.record_len_max = 1 << 10;
    let mut storage = Storage::over(Box::new(disk.clone()), options, Box::new(|| WallTime(5))).expect("a new folder");
    storage.create("/a", b"data", 1).expect("a new znode");
    storage.create("/a/b", &[7; 600], 0).expect("a new znode");
    storage.snapshot().expect("no fault");
    let mut seeds: Vec<Vec<u8>> = disk
        .files()
        .into_iter()
        .filter(|(_, bytes)| bytes.iter().any(|&byte| byte != 0))
        .map(|(_, mut bytes)| {
            bytes.truncate(24 << 10);
            bytes
        })
        .collect();
    assert!(seeds.len() >= 2);
    // And one with sessions, by hand.
    let mut writer = SnapshotWriter::new(1, SnapshotInfo { zxid: Zxid(3), sessions: 1, ..SnapshotInfo::default() });
    let mut block = BlockBuf::zeroed(0);
    let mut bytes = Vec::new();
    writer.header(&mut block);
    bytes.extend_from_slice(block.bytes());
    writer.records_frame(&[1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 16, 0], 1, &mut block);
    bytes.extend_from_slice(block.bytes());
    writer.footer(&mut block);
    bytes.extend_from_slice(block.bytes());
    seeds.push(bytes);
    seeds
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    for _ in 0..1 + random.draw(4) {
        let len = bytes.len();
        // Most fields stand at the beginning of a block.
        let at = match random.draw(3) {
            0 => random.draw(len),
            _ => (random.draw(len / BLOCK_LEN + 1) * BLOCK_LEN + random.draw(120)).min(len.saturating_sub(1)),
        };
        if bytes.is_empty() {
            return;
        }
        match random.draw(8) {
            0 => bytes[at] ^= 1 << random.draw(8),
            1 => bytes[at] = random.draw(256) as u8,
            2 => {
                let number = [0, 1, u32::MAX, i32::MAX as u32, 1 << 31, random.draw(5000) as u32][random.draw(6)];
                let end = (at + 4).min(len);
                bytes[at..end].copy_from_slice(&number.to_be_bytes()[..end - at]);
            }
            3 => bytes.truncate(at),
            4 => {
                let end = (at + random.draw(BLOCK_LEN)).min(len);
                bytes[at..end].fill(0);
            }
            5 => {
                let from = random.draw(len);
                let count = random.draw(BLOCK_LEN).min(len - from.max(at));
                bytes.copy_within(from..from + count, at);
            }
            6 => {
                let donor = &seeds[random.draw(seeds.len())];
                let block = at / BLOCK_LEN * BLOCK_LEN;
                let count = BLOCK_LEN.min(len - block).min(donor.len().saturating_sub(block));
                if count > 0 {
                    bytes[block..block + count].copy_from_slice(&donor[block..block + count]);
                }
            }
            _ => {
                let extra = random.draw(600);
                bytes.extend(std::iter::repeat_n(random.draw(256) as u8, extra));
            }
        }
    }
}

/// Makes the checksums of headers right for what stands there now.
fn mend(bytes: &mut [u8]) {
    if bytes.len() >= segment_field::LEN && bytes.starts_with(b"zoosegmt") {
        let crc = crc32fast::hash(&bytes[..segment_field::CRC]);
        bytes[segment_field::CRC..segment_field::CRC + 4].copy_from_slice(&crc.to_be_bytes());
    }
    for at in (0..bytes.len().saturating_sub(511)).step_by(BLOCK_LEN) {
        if bytes[at..].starts_with(b"zfrm") {
            let crc = crc32fast::hash(&bytes[at + frame_field::LOG_ID..at + 512]);
            bytes[at + frame_field::CRC..at + frame_field::CRC + 4].copy_from_slice(&crc.to_be_bytes());
        }
        if bytes[at..].starts_with(b"zsnp") {
            let blocks = &bytes[at + field::BLOCKS..at + field::BLOCKS + 4];
            let blocks = blocks.iter().fold(0_usize, |number, &byte| number << 8 | usize::from(byte));
            let end = at.saturating_add(blocks.saturating_mul(BLOCK_LEN));
            if blocks > 0 && end <= bytes.len() {
                let crc = crc32fast::hash(&bytes[at + field::LOG_ID..end]);
                bytes[at + field::CRC..at + field::CRC + 4].copy_from_slice(&crc.to_be_bytes());
            }
        }
    }
}

fn mutant(seed: u64, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    random.draw(2);
    let mut bytes = seeds[random.draw(seeds.len())].clone();
    mutate(&mut bytes, seeds, &mut random);
    if random.draw(2) == 0 {
        mend(&mut bytes);
    }
    bytes
}

#[test]
fn no_bytes_make_a_reader_panic() {
    let seeds = seeds();
    let range = match std::env::var("STORAGE_FUZZ_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("a number in STORAGE_FUZZ_SEED");
            seed..seed + 1
        }
        Err(_) => {
            let executions = std::env::var("STORAGE_FUZZ_EXECUTIONS").map(|count| count.parse().expect("a number"));
            0..executions.unwrap_or(EXECUTIONS)
        }
    };
    let mut answers = std::collections::BTreeSet::new();
    let count = range.end - range.start;
    for seed in range {
        let bytes = mutant(seed, &seeds);
        let answer = panic::catch_unwind(|| dump::fuzz(&bytes));
        answers.insert(answer.unwrap_or_else(|_| panic!("STORAGE_FUZZ_SEED={seed} makes a reader panic")));
    }
    println!("{count} mutants, {} different answers", answers.len());
    assert!(count < 1000 || answers.len() > 100, "mutants reach many places: {}", answers.len());
}

/// The guided fuzzing of `tests/fuzz/run` is not run with the tests: what it begins from is, and each with a byte changed here and
/// there, so that its targets stay true to the formats.
#[test]
fn the_targets_of_guided_fuzzing_run() {
    type Target = fn(&[u8]) -> u64;
    let all: [(Target, Vec<_>); 2] =
        [(targets::log, targets::log_seeds()), (targets::snapshot, targets::snapshot_seeds())];
    for (target, seeds) in all {
        for (name, mut seed) in seeds {
            let seen = target(&seed);
            assert!(seen > 1 || !name.starts_with("folder"), "{name}: something is found in a whole folder");
            let mut random = Random(0x5eed);
            for _ in 0..20 {
                let at = random.draw(seed.len());
                seed[at] ^= 1 << random.draw(8);
                target(&seed);
            }
        }
    }
}
