//! What the machine lets us do, asked before anything depends on it, and answered in words an operator can act on.

use std::io;

use thiserror::Error;

/// Why io_uring cannot be used.
#[derive(Debug, Error)]
pub enum UringError {
    /// A policy forbids it.
    #[error(
        "io_uring is forbidden here ({source}). {hint} The server needs the system calls io_uring_setup, io_uring_enter \
         and io_uring_register"
    )]
    Forbidden {
        /// The system's words.
        source: io::Error,
        /// What to allow.
        hint: &'static str,
    },
    /// The kernel lacks it, or something that we use of it.
    #[error("this kernel's io_uring is too old or missing ({what}): Linux 5.10 or newer is needed")]
    TooOld {
        /// What is missing.
        what: String,
    },
    /// Too little memory may be locked, or too few files opened.
    #[error(
        "a ring could not be made: {source}. Raise the limits of this user: locked memory (ulimit -l), files (ulimit -n)"
    )]
    Limits {
        /// The system's words.
        source: io::Error,
    },
}

const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

impl UringError {
    /// The words for an error of io_uring_setup.
    pub(crate) fn from_setup(source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ENOSYS) => Self::Forbidden {
                source,
                hint: "Either the kernel is older than Linux 5.1, or a container's seccomp profile hides it: allow it there \
                       (docker run --security-opt seccomp=<profile that allows io_uring>).",
            },
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden { source, hint: forbidden_hint() },
            _ => Self::Limits { source },
        }
    }
}

fn forbidden_hint() -> &'static str {
    match std::fs::read_to_string(SYSCTL).as_deref().map(str::trim) {
        Ok("1") => {
            "The sysctl kernel.io_uring_disabled is 1: set it to 0, or add this user's group to kernel.io_uring_group."
        }
        Ok("2") => "The sysctl kernel.io_uring_disabled is 2: set it to 0.",
        _ => {
            "A seccomp profile (containers) or a security module forbids it: allow it there \
             (docker run --security-opt seccomp=<profile that allows io_uring>)."
        }
    }
}

/// Makes a small ring and asks for the operations that we use.
pub fn check_io_uring() -> Result<(), UringError> {
    use io_uring::opcode;

    let ring = io_uring::IoUring::new(2).map_err(UringError::from_setup)?;
    let mut probe = io_uring::Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| UringError::TooOld { what: format!("it cannot be probed: {error}") })?;
    let wanted = [
        (opcode::PollAdd::CODE, "poll"),
        (opcode::Write::CODE, "write"),
        (opcode::Fsync::CODE, "fsync"),
        (opcode::Timeout::CODE, "timeout"),
        (opcode::AsyncCancel::CODE, "cancel"),
        (opcode::Recv::CODE, "recv"),
    ];
    match wanted.iter().find(|(code, _)| !probe.is_supported(*code)) {
        None => Ok(()),
        Some((_, name)) => Err(UringError::TooOld { what: format!("no {name}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_what_to_allow() {
        let error = UringError::from_setup(io::Error::from_raw_os_error(libc::EPERM)).to_string();
        assert!(error.contains("io_uring_setup") && error.contains("seccomp"), "{error}");
        let error = UringError::from_setup(io::Error::from_raw_os_error(libc::ENOMEM)).to_string();
        assert!(error.contains("ulimit -l"), "{error}");
    }

    #[test]
    fn this_machine_passes() {
        check_io_uring().expect("the tests need io_uring");
    }
}
