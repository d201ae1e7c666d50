//! What this process may use of the machine: files, locked memory, cores; and threads on cores.

use std::io;
use std::thread;
use std::time::Duration;

/// A limit of the process, as `ulimit` shows it; `u64::MAX` is "unlimited".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// In force.
    pub soft: u64,
    /// How far this user may raise it.
    pub hard: u64,
}

/// Most files that may be open, raised to as many as this user may have.
pub fn raise_open_files() -> io::Result<Limit> {
    let limit = get(libc::RLIMIT_NOFILE)?;
    if limit.soft < limit.hard {
        let raised = libc::rlimit { rlim_cur: limit.hard, rlim_max: limit.hard };
        // SAFETY: a valid struct, only read.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    get(libc::RLIMIT_NOFILE)
}

/// Most files that may be open.
pub fn open_files() -> io::Result<Limit> {
    get(libc::RLIMIT_NOFILE)
}

/// Bytes of memory that may be locked. Each executor wants 192 KiB, and refuses to start below 512 KiB.
pub fn locked_memory() -> io::Result<Limit> {
    get(libc::RLIMIT_MEMLOCK)
}

fn get(resource: libc::__rlimit_resource_t) -> io::Result<Limit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid struct to write to.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Limit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// The cores that this process may run on (taskset, cpusets), in order. Never empty.
pub fn cores() -> io::Result<Vec<usize>> {
    // SAFETY: a cpu_set_t is plain bits, for which zero is a value; the call fills at most its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Err(io::Error::last_os_error());
        }
        set
    };
    // SAFETY: the index is below the set's size.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// A plain thread called `name`, on `core` if given. An error if there is no such core.
pub fn spawn_thread<T: Send + 'static>(
    name: &str,
    core: Option<usize>,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    if let Some(core) = core
        && !cores()?.contains(&core)
    {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{name}: cannot run on core {core}")));
    }
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Some(core) = core {
            pin(core);
        }
        run()
    })
}

/// The shortest turn that the kernel grants a thread (see [`take_short_turns`]).
pub const TURN_MIN: Duration = Duration::from_micros(100);

/// Asks the kernel for short turns of this thread (`sched_runtime` of an ordinary thread, since Linux 6.12): woken, it goes before
/// threads whose turns are longer, instead of waiting for the end of theirs. Its share of the core stays the same. For threads
/// that do a few microseconds' work on which somebody waits. An older kernel takes no notice.
pub fn take_short_turns(turn: Duration) {
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: a sched_attr is plain numbers, for which zero is a value; the calls read and write at most its size, and act on
    // this thread (0). Policy and niceness are given back as they were read.
    unsafe {
        let mut attributes: libc::sched_attr = std::mem::zeroed();
        if libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) != 0
            || attributes.sched_policy != libc::SCHED_OTHER as u32
        {
            // Whoever gave it another policy knows better.
            return;
        }
        attributes.size = size;
        attributes.sched_runtime = turn.max(TURN_MIN).as_nanos() as u64;
        // Refused by a container's filter: then turns are as long as others'.
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0);
    }
}

/// Binds this thread. The core was there a moment ago; if it is gone, running elsewhere is only slower.
fn pin(core: usize) {
    // SAFETY: a cpu_set_t is plain bits, for which zero is a value; `core` came out of such a set; the call only reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_raised_to_the_hard_limit() {
        let limit = raise_open_files().expect("raised");
        assert_eq!(limit.soft, limit.hard);
        assert!(locked_memory().expect("known").soft > 0);
    }

    #[test]
    fn short_turns_leave_policy_and_niceness_alone() {
        let of_this_thread = || {
            // SAFETY: as in `take_short_turns`.
            unsafe {
                let mut attributes: libc::sched_attr = std::mem::zeroed();
                let size = size_of::<libc::sched_attr>() as u32;
                assert_eq!(libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0), 0);
                (attributes.sched_policy, attributes.sched_nice, attributes.sched_runtime)
            }
        };
        thread::spawn(move || {
            let (policy, nice, before) = of_this_thread();
            take_short_turns(TURN_MIN);
            let (policy_after, nice_after, slice) = of_this_thread();
            assert_eq!((policy_after, nice_after), (policy, nice));
            // Where the kernel tells a slice at all, it is the one that was asked for.
            assert!(before == 0 || slice == TURN_MIN.as_nanos() as u64, "{before} became {slice}");
        })
        .join()
        .expect("ends well");
    }

    #[test]
    fn a_thread_runs_on_its_core_or_not_at_all() {
        let core = cores().expect("known")[0];
        let seen = spawn_thread("pinned", Some(core), || cores().expect("known")).expect("starts").join();
        assert_eq!(seen.expect("ends well"), [core]);
        let error = spawn_thread("nowhere", Some(100_000), || ()).expect_err("no such core");
        assert!(error.to_string().contains("core 100000"), "{error}");
    }
}
