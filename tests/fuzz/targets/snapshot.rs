//! The snapshot reader, up to the tree that comes of it. The input is a folder of [`zoo_fuzz::files`].
#![no_main]

use libfuzzer_sys::fuzz_target;
use zoo_fuzz::{storage, write_seeds_if_asked};

fuzz_target!(init: write_seeds_if_asked(storage::snapshot_seeds), |bytes: &[u8]| {
    storage::snapshot(bytes);
});
