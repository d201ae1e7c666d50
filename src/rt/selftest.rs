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

    /// Makes io_uring_setup fail with `errno` for this thread and those that it starts, as a container's profile does.
    fn forbid_io_uring(errno: i32) {
        let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let mut filter = [
            // The system call's number is the first word of seccomp_data.
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
            libc::sock_filter {
                code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
                jt: 0,
                jf: 1,
                k: libc::SYS_io_uring_setup as u32,
            },
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the program and what it points to live through the call, which copies them.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
        }
    }

    #[test]
    fn where_io_uring_is_forbidden_everything_says_so_and_nothing_panics() {
        for errno in [libc::EPERM, libc::ENOSYS] {
            std::thread::spawn(move || {
                forbid_io_uring(errno);
                let folder = tempfile::tempdir().expect("a folder");
                let ring = crate::rt::ring::Ring::open(folder.path(), &crate::rt::ring::Options::default());
                let executor =
                    crate::rt::executor::spawn("forbidden", None, crate::rt::executor::Options::default(), || async {});
                for words in [ring.err().expect("refused").to_string(), executor.expect_err("refused").to_string()] {
                    assert!(words.contains("seccomp") && words.contains("io_uring is forbidden"), "{words}");
                }
            })
            .join()
            .expect("refused in words");
        }
    }

    #[test]
    fn this_machine_passes() {
        check_io_uring().expect("the tests need io_uring");
    }
}
