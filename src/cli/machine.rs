//! What has to be known about this machine and this process.

use std::fs;
use std::io::{self, Read};

use crate::admin::status::EnvironmentStatus;
use crate::config::{Machine, parse_core_list};
use crate::rt::interrupts;

/// The cores that this process may use. Where the kernel does not tell, they are numbered from 0.
pub(super) fn machine() -> Machine {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut cores = fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            parse_core_list(list.trim())
        })
        .unwrap_or_else(|| (0..count).collect());
    // A control group may grant the time of fewer cores than it allows to run on.
    cores.truncate(count);
    Machine { cores, core_of_disk: interrupts::core_of_disk }
}

/// For `envi`.
pub(super) fn environment() -> EnvironmentStatus {
    let (user_name, user_home, user_dir) = crate::rt::process::user();
    // Java's names of the processors.
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    };
    EnvironmentStatus {
        host_name: crate::rt::process::host_name(),
        os_name: Some("Linux".to_owned()),
        os_arch: Some(arch.to_owned()),
        os_version: crate::rt::process::kernel_release(),
        user_name,
        user_home,
        user_dir,
    }
}

/// A number that nobody can guess.
pub(super) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine() {
        let cores = machine().cores;
        assert!(!cores.is_empty());
        assert!(cores.windows(2).all(|two| two[0] < two[1]), "{cores:?}");
        assert_eq!(environment().os_name.as_deref(), Some("Linux"));
        assert_ne!(random().expect("a number"), random().expect("another"));
    }
}
