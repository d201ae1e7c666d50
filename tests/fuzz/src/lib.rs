//! What the fuzz targets run, and what they begin from.
//!
//! [`clients`] and [`requests`] are also compiled into `tests/wire_fuzz.rs`, which needs no nightly.

pub mod clients;
pub mod files;
pub mod requests;
pub mod storage;

use std::path::PathBuf;

/// Where a target writes its seeds when asked to, instead of fuzzing.
const SEEDS: &str = "ZOO_FUZZ_SEEDS";

/// If `ZOO_FUZZ_SEEDS` names a folder, writes a target's seeds into it and ends the process.
pub fn write_seeds_if_asked(seeds: impl FnOnce() -> Vec<(String, Vec<u8>)>) {
    let Some(folder) = std::env::var_os(SEEDS).map(PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).expect("a folder for seeds");
    for (name, bytes) in seeds() {
        std::fs::write(folder.join(name), bytes).expect("a seed that can be written");
    }
    std::process::exit(0);
}
