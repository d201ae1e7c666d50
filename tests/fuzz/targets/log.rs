//! The log scanner, over whatever stands in a folder of segments. The input is a folder of [`zoo_fuzz::files`].
#![no_main]

use libfuzzer_sys::fuzz_target;
use zoo_fuzz::{storage, write_seeds_if_asked};

fuzz_target!(init: write_seeds_if_asked(storage::log_seeds), |bytes: &[u8]| {
    storage::log(bytes);
});
