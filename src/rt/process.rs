//! What this process and its machine are, for the operator's questions. Asked rarely; reads small files of /proc.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::time::Duration;
use std::{env, fs};

/// Eight random bytes, for what must not be guessed or must not meet again: seeds of hashes, the name of a log.
pub fn random() -> u64 {
    // Each of std's random states is keyed from the kernel's randomness once a thread, then counted on.
    RandomState::new().build_hasher().finish()
}

/// Random bytes of the kernel's, for what a stranger tries to guess.
///
/// # Panics
/// If the kernel has none, which it does not say once the machine is up.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= 256, "the kernel may give fewer at once") };
    let mut bytes = [0; N];
    // SAFETY: the buffer is ours and as long as it is said to be.
    let len = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    assert_eq!(usize::try_from(len), Ok(N), "the kernel gives no randomness");
    bytes
}

/// The processor time that this process has used so far, all its threads together.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid struct to write to. The clock is there on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Bytes of all files below a folder; what cannot be read counts as nothing.
pub fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Files that this process has open.
pub fn open_files() -> Option<u64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}

/// Memory of this process in bytes: resident, and the most it may use (the machine's, or its control group's).
pub fn memory() -> Option<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let resident = kib_field(&status, "VmRSS:")?;
    let machine = kib_field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|max| max.trim().parse().ok());
    Some((resident, group.map_or(machine, |group: u64| group.min(machine))))
}

/// A line `name  n kB` of a /proc file, in bytes.
fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line[name.len()..].trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Name of the machine.
pub fn host_name() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_owned())
}

/// The kernel's release.
pub fn kernel_release() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/osrelease").ok()?.trim().to_owned())
}

/// Name and home of the user, and the folder in which the process was started.
pub fn user() -> (Option<String>, Option<String>, Option<String>) {
    let folder = env::current_dir().ok().map(|folder| folder.display().to_string());
    (env::var("USER").or_else(|_| env::var("LOGNAME")).ok().or_else(user_name), env::var("HOME").ok(), folder)
}

/// The user's name, from the list of users, for where the environment does not tell.
fn user_name() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let own = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?;
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').nth(2) == Some(own))?;
    line.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        assert_ne!(random(), random());
        let used = cpu_time();
        while cpu_time() == used {}
        assert!(cpu_time() > used);
        assert_ne!(random_bytes::<32>(), random_bytes::<32>());
        assert!(open_files().is_some_and(|files| files >= 3));
        assert!(memory().is_some_and(|(resident, most)| resident > 0 && resident < most));
        assert!(host_name().is_some_and(|name| !name.is_empty()));
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a"), [0; 100]).expect("written");
        fs::create_dir(folder.path().join("b")).expect("made");
        fs::write(folder.path().join("b/c"), [0; 20]).expect("written");
        assert_eq!(folder_bytes(folder.path()), 120);
    }
}
