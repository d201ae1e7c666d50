//! Whatever clients send: handshakes, requests, authentication. The input is a script of [`zoo_fuzz::clients`].
#![no_main]

use libfuzzer_sys::fuzz_target;
use zoo_fuzz::{clients, requests, write_seeds_if_asked};

fuzz_target!(init: write_seeds_if_asked(requests::seeds), |bytes: &[u8]| {
    clients::run(bytes);
});
