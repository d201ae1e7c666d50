//! One folder on the machine: how it is opened and locked, and how its files are made durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::disk_error;
use crate::rt::selftest::UringError;
use crate::storage::disk::DiskError;

/// Holds the lock on the folder, and the number of the process that does.
pub const LOCK_FILE: &str = ".zoo-server.lock";

/// Choices for a [`Ring`](super::Ring).
#[derive(Clone, Debug)]
pub struct Options {
    /// Try O_DIRECT first.
    pub direct: bool,
    /// How durable writes are made; `None`: as suits the device.
    pub durability: Option<Durability>,
    /// How long [`Disk::wait`](crate::storage::disk::Disk::wait) looks for work before it sleeps. Costs a whole core; only where one is free.
    pub spin: Duration,
    /// Where snapshots and epochs are kept, if not beside the log.
    pub snapshot_folder: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { direct: true, durability: None, spin: Duration::ZERO, snapshot_folder: None }
    }
}

/// How a write is made durable. See the file's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// RWF_DSYNC on the write.
    WriteThrough,
    /// The write, then fdatasync.
    WriteThenSync,
}

impl Durability {
    /// For files on the block device with this number (st_dev), as far as the system knows it.
    pub(super) fn of_device(device: u64) -> Self {
        let device = Path::new("/sys/dev/block").join(format!("{}:{}", libc::major(device), libc::minor(device)));
        let Ok(device) = device.canonicalize() else { return Self::WriteThenSync };
        // A partition's queue is its disk's.
        let queues = [Some(device.join("queue")), device.parent().map(|disk| disk.join("queue"))];
        let Some(queue) = queues.into_iter().flatten().find(|queue| queue.is_dir()) else { return Self::WriteThenSync };
        let says = |name, word| fs::read_to_string(queue.join(name)).is_ok_and(|text| text.trim() == word);
        if says("write_cache", "write through") || says("fua", "1") { Self::WriteThrough } else { Self::WriteThenSync }
    }
}

/// Why a data folder cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// No io_uring.
    #[error(transparent)]
    Uring(#[from] UringError),
    /// Another server has it.
    #[error("the data folder {folder} is in use by {owner}: two servers must not share one", folder = folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// "process 4711", as far as known.
        owner: String,
    },
    /// It cannot be made, read or written.
    #[error("the data folder {folder}: {action} failed: {source}", folder = folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// A file of the log beside the snapshots, or the other way round.
    #[error("{file}, {what}, is in {folder}: the log belongs into dataLogDir and snapshots into dataDir; move it, or name \
             the folders as they were", folder = folder.display())]
    Misplaced {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: String,
        /// "a snapshot" or "a part of the log".
        what: &'static str,
    },
    /// It does not give back what was written to it.
    #[error("the data folder {folder}: a block that was written and synced read back different at byte {at}: this disk \
             cannot be trusted", folder = folder.display())]
    Rotten {
        /// The folder.
        folder: PathBuf,
        /// First byte that differs.
        at: usize,
    },
}

/// One of the folders.
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) directory: File,
    pub(super) direct: bool,
    pub(super) durability: Durability,
    /// Names have changed since it was last synced.
    pub(super) is_changed: bool,
    /// Held for as long as the ring lives.
    _lock: File,
}

impl Place {
    /// Makes the folder if it is missing, and locks it. What was renamed by the process before may not be durable yet.
    pub(super) fn open(folder: &Path, options: &Options) -> Result<Self, OpenError> {
        use io::ErrorKind::{InvalidInput, ReadOnlyFilesystem, Unsupported};
        let failed = |action| move |source| OpenError::Folder { folder: folder.to_owned(), action, source };
        fs::create_dir_all(folder).map_err(failed("making it"))?;
        // Its own name has to survive, too; a parent that may not be read, is read-only or knows no syncs has nothing to do for it.
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        match File::open(parent).map(|parent| parent.sync_all()) {
            Ok(Err(error)) if !matches!(error.kind(), InvalidInput | ReadOnlyFilesystem | Unsupported) => {
                return Err(failed("making its name durable")(error));
            }
            _ => {}
        }
        let directory = File::open(folder).map_err(failed("opening it"))?;
        let device = directory.metadata().map_err(failed("looking at it"))?.dev();
        let lock = lock_folder(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            directory,
            direct: options.direct,
            durability: options.durability.unwrap_or_else(|| Durability::of_device(device)),
            is_changed: true,
            _lock: lock,
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        assert!(!name.is_empty() && !name.contains('/') && name != "..", "{name:?} is no name within the data folder");
        self.folder.join(name)
    }

    /// Makes the names durable.
    pub(super) fn sync(&mut self) -> Result<(), DiskError> {
        self.directory.sync_all().map_err(|error| disk_error("sync", ".", 0, &error))?;
        self.is_changed = false;
        Ok(())
    }

    pub(super) fn open_options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if self.direct {
            options.custom_flags(libc::O_DIRECT);
        }
        options
    }
}

/// Whether two paths lead to one folder.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Has the next read of the file show what is on the medium. Where a sync has failed the page cache keeps what was written and calls
/// it clean: the next process would believe it, sync it in vain, and lose it with the power after all.
pub(super) fn drop_cache(file: &File) -> io::Result<()> {
    // What a killed process has written and not synced is good, and stays.
    file.sync_data()?;
    // SAFETY: takes no pointer, and the descriptor is open. It is advice: where it is not taken (tmpfs) there is no medium.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    Ok(())
}

/// Reserves `len` bytes that read as zeros.
pub(super) fn reserve(file: &File, len: u64) -> io::Result<()> {
    let Ok(length) = libc::off_t::try_from(len) else {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    };
    if len == 0 {
        return Ok(());
    }
    loop {
        // SAFETY: takes no pointer, and the descriptor is open.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            // Not every file system can reserve; then a later write may find no room, which is an error as any other.
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return file.set_len(len),
            _ => return Err(error),
        }
    }
}

fn lock_folder(folder: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Folder { folder: folder.to_owned(), action: "locking it", source };
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join(LOCK_FILE))
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut number = String::new();
            let owner = match lock.read_to_string(&mut number) {
                Ok(_) if !number.trim().is_empty() => format!("process {}", number.trim()),
                _ => "another process".to_owned(),
            };
            return Err(OpenError::Locked { folder: folder.to_owned(), owner });
        }
        Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
    }
    // Only for the other's error message: the lock itself is the kernel's, and goes with the process. A full disk must not
    // keep a server from starting to read.
    let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
    Ok(lock)
}
