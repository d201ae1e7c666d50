//! The data folder on io_uring and O_DIRECT: what the log thread writes with.
//!
//! Owned by one thread, which sleeps in [`Disk::wait`] and nowhere else: the ring wakes it when a write is done and, through
//! an eventfd that the ring polls (the [`Doorbell`]), when its inbox has something.
//!
//! **How a durable write is made** ([`Durability`]) depends on the device. One that can write through its cache (FUA, or no
//! volatile cache: most NVMe) gets a write with RWF_DSYNC: one command, one completion. For the others the kernel completes
//! such a write in a per-core worker thread, which waits its turn on a busy core; there the log thread calls fdatasync itself
//! when the write is complete. Medians in µs, 4 KiB into blocks written before, one at a time, on this project's machine
//! (2 cores, virtio-blk with a volatile cache and no FUA, ext4); idle is 800 writes each with real-time priority, busy is 600
//! each, taking turns, beside two threads that compute and other people's builds:
//!
//! | | idle | busy |
//! |---|---|---|
//! | ring: write with RWF_DSYNC | 96 - 116 | 1700 - 1850 |
//! | the same with a registered buffer and file | 85 - 94 | |
//! | ring: write; then fdatasync by the thread | 112 - 114 | 137 |
//! | ring: write; then ring: fdatasync | 187 - 207 | 186 |
//! | ring: write linked to fdatasync | 216 - 221 | 327 |
//! | pwrite, fdatasync, no ring | 91 - 111 | 125 |
//! | ring: write alone | 62 | 64 |
//!
//! So there a short durable write is not given to the ring at all: what comes while the thread waits for it collects into the next
//! one in any case, and whatever else is under way (a snapshot's slice, a segment being prepared) can wait to be collected. The kernel
//! completes a write of the ring in a worker thread on whichever core the interrupt came to; a call is completed where it waits.
//! Long ones (`CALL_LEN_MAX`) stay with the ring: while the disk is busy the log takes the next frame's CRCs, which are 20 us for
//! 100 KiB, but 200 us for 1 MiB, where the write takes 600.
//!
//! An fsync entry goes to a worker thread of the ring, which costs two thread switches: right for a sync in the background
//! ([`Operation::Sync`]), not for a commit. Registered buffers and files gain less than the runs differ by, and would forbid
//! storage its own buffers; they are not used. Into blocks that were only reserved a durable write takes 140 - 260 µs:
//! storage writes its segments ahead.
//!
//! **Where O_DIRECT is refused** (tmpfs, some overlays) files are opened without it; durability is asked for in the same way,
//! so all promises hold. [`Ring::is_direct`] tells. What the process before wrote is taken from the medium there, too, not from the page
//! cache: see `drop_cache`.
//!
//! **Two folders.** Where the operator keeps snapshots apart from the log ([`Options::snapshot_folder`]), each file stands where
//! its name belongs ([`is_beside_snapshots`]). Each folder has its own lock, its own test block, and is written to as suits its
//! own device. A file in the wrong one of the two is refused: passing over it would lose what it holds.
//!
//! **Memory under way.** The kernel holds pointers into the blocks of writes that are not complete. They stay in
//! `under_way` until their completion is seen, and dropping the ring waits for all of them.

mod place;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, squeue, types};

pub use self::place::{Durability, LOCK_FILE, OpenError, Options};
use self::place::{Place, drop_cache, is_same, reserve};
use crate::rt::bell::Bell;
use crate::rt::inbox::Doorbell;
use crate::rt::selftest::{UringError, check_io_uring};
use crate::storage::disk::{
    BLOCK_LEN, BlockBuf, Completion, Disk, DiskError, FileEntry, FileId, NameOperation, Operation, Took, UNDER_WAY_MAX,
    is_beside_snapshots,
};
use crate::storage::log::segment_sequence;
use crate::storage::snapshot::snapshot_zxid;

/// Written, read back and removed at start.
const PROBE_FILE: &str = ".zoo-server.probe";
/// Entries of the ring: everything that may be under way, the doorbell, and as much again.
const ENTRIES: u32 = 64;
const _: () = assert!(ENTRIES as usize > UNDER_WAY_MAX);
/// Marks the completion of the doorbell's poll; those of operations carry their place in `under_way`.
const BELL_DATA: u64 = u64::MAX;
/// The longest durable write that is a call, where one may be. See the file's page.
const CALL_LEN_MAX: usize = 128 << 10;
/// The most that one read asks of the kernel.
const READ_LEN: usize = 1 << 20;
const _: () = assert!(READ_LEN.is_multiple_of(BLOCK_LEN));

/// A data folder. See the file's page.
pub struct Ring {
    ring: IoUring,
    /// The log's, and the snapshots' if that is another.
    places: Vec<Place>,
    spin: Duration,
    files: BTreeMap<FileId, OpenFile>,
    next_file: u32,
    under_way: [Option<UnderWay>; UNDER_WAY_MAX],
    /// Writes among those that are being collected (their file, their place) which a sync must still make durable.
    unsynced: Vec<(FileId, usize)>,
    /// Completed by a call, and not yet collected.
    finished: Vec<Completion>,
    bell: Arc<Bell>,
    /// Whether the ring polls the bell's eventfd.
    bell_polled: bool,
    /// For reads that O_DIRECT would refuse.
    scratch: BlockBuf,
}

struct OpenFile {
    file: File,
    name: String,
    /// In which of the places.
    place: usize,
}

/// An operation that the kernel has.
struct UnderWay {
    token: u64,
    what: What,
    since: Instant,
}

enum What {
    File(FileId, Kind),
    Remove {
        name: String,
        /// What the kernel was given.
        _path: CString,
    },
    /// Of this place.
    SyncNames(usize),
}

enum Kind {
    Write {
        offset: u64,
        block: BlockBuf,
        /// As it was asked for.
        durable: bool,
        /// To be made durable by a sync of its own, once written.
        sync: bool,
    },
    Sync,
    Read {
        offset: u64,
        block: BlockBuf,
    },
    Free,
}

impl Ring {
    /// Makes the folder if it is missing, locks it, and checks that what is written to it can be read back; so with the
    /// snapshots' folder if that is another.
    pub fn open(folder: &Path, options: &Options) -> Result<Self, OpenError> {
        check_io_uring()?;
        let mut places = vec![Place::open(folder, options)?];
        if let Some(other) = options.snapshot_folder.as_deref().filter(|other| *other != folder) {
            fs::create_dir_all(other).map_err(|source| OpenError::Folder {
                folder: other.to_owned(),
                action: "making it",
                source,
            })?;
            // Two names of one folder are one folder.
            if !is_same(folder, other) {
                places.push(Place::open(other, options)?);
            }
        }
        let ring = IoUring::new(ENTRIES).map_err(UringError::from_setup)?;
        let bell = Bell::for_ring().map_err(|source| OpenError::Folder {
            folder: folder.to_owned(),
            action: "making an eventfd",
            source,
        })?;
        let mut this = Self {
            ring,
            places,
            spin: options.spin,
            files: BTreeMap::new(),
            next_file: 0,
            under_way: [const { None }; UNDER_WAY_MAX],
            unsynced: Vec::new(),
            finished: Vec::new(),
            bell,
            bell_polled: false,
            scratch: BlockBuf::zeroed(0),
        };
        for place in 0..this.places.len() {
            this.check_names(place)?;
            this.probe(place)?;
            let place = &mut this.places[place];
            if !place.direct && options.durability.is_none() {
                // Through the page cache, RWF_DSYNC is a sync by another name, in a worker thread of the ring.
                place.durability = Durability::WriteThenSync;
            }
        }
        Ok(this)
    }

    /// Where there are two folders, each must hold its own kind of files only.
    fn check_names(&self, place: usize) -> Result<(), OpenError> {
        if self.places.len() < 2 {
            return Ok(());
        }
        let folder = &self.places[place].folder;
        let failed = |source| OpenError::Folder { folder: folder.clone(), action: "listing it", source };
        for entry in fs::read_dir(folder).map_err(failed)? {
            let Ok(file) = entry.map_err(failed)?.file_name().into_string() else { continue };
            let what = match place {
                0 if snapshot_zxid(&file).is_some() => "a snapshot",
                1 if segment_sequence(&file).is_some() => "a part of the log",
                _ => continue,
            };
            return Err(OpenError::Misplaced { folder: folder.clone(), file, what });
        }
        Ok(())
    }

    /// Whether files bypass the page cache. If not, writes are as durable but slower, and use memory twice.
    pub fn is_direct(&self) -> bool {
        self.places.iter().all(|place| place.direct)
    }

    /// How durable writes to the log are made.
    pub fn durability(&self) -> Durability {
        self.places[0].durability
    }

    /// Wakes the thread that sleeps in [`Disk::wait`].
    pub fn doorbell(&self) -> Doorbell {
        Doorbell(Arc::clone(&self.bell))
    }

    /// Writes a block durably through the ring, reads it back and compares; falls back from O_DIRECT if that is refused.
    /// Without room for the block nothing is compared.
    fn probe(&mut self, place: usize) -> Result<(), OpenError> {
        let mut pattern = BlockBuf::zeroed(2 * BLOCK_LEN);
        for (at, byte) in pattern.bytes_mut().iter_mut().enumerate() {
            *byte = (at * 31 + at / 251) as u8;
        }
        loop {
            let path = self.places[place].path(PROBE_FILE);
            let _ = fs::remove_file(&path);
            let result = self.try_probe(place, &pattern);
            let _ = fs::remove_file(&path);
            let of = &mut self.places[place];
            match result {
                Ok(None) => return Ok(()),
                Ok(Some(at)) => return Err(OpenError::Rotten { folder: of.folder.clone(), at }),
                // A full disk must not keep a server from starting to read. What was asked is asked of a file that is there.
                Err(DiskError::Full { .. }) => {
                    of.direct = of.direct && of.open_options().open(of.path(LOCK_FILE)).is_ok();
                    return Ok(());
                }
                // Not only refusals: a file system that fails with O_DIRECT in any way gets a second chance without.
                Err(_) if of.direct => of.direct = false,
                Err(error) => {
                    let source = io::Error::other(error.to_string());
                    return Err(OpenError::Folder {
                        folder: of.folder.clone(),
                        action: "writing a test block",
                        source,
                    });
                }
            }
        }
    }

    /// The first byte that reads back different.
    fn try_probe(&mut self, place: usize, pattern: &BlockBuf) -> Result<Option<usize>, DiskError> {
        let file = self.create_in(place, PROBE_FILE, pattern.len() as u64)?;
        let mut block = BlockBuf::zeroed(pattern.len());
        block.bytes_mut().copy_from_slice(pattern.bytes());
        let written = self.write_now(file, block);
        let mut back = vec![0; pattern.len()];
        let read = written.and_then(|()| self.read(file, 0, &mut back));
        self.close(file);
        let len = read?;
        Ok((0..pattern.len()).find(|&at| at >= len || back[at] != pattern.bytes()[at]))
    }

    fn write_now(&mut self, file: FileId, block: BlockBuf) -> Result<(), DiskError> {
        self.submit(file, Operation::Write { offset: 0, block, durable: true }, 0)?;
        let mut done = Vec::new();
        while done.is_empty() {
            self.wait(true, &mut done)?;
        }
        done.swap_remove(0).result
    }

    /// Where a file of this name stands.
    fn place_of(&self, name: &str) -> usize {
        usize::from(self.places.len() > 1 && is_beside_snapshots(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.places[self.place_of(name)].path(name)
    }

    /// The same, for a name that is about to change.
    fn path_to_change(&mut self, name: &str) -> PathBuf {
        let place = self.place_of(name);
        self.places[place].is_changed = true;
        self.places[place].path(name)
    }

    fn create_in(&mut self, place: usize, name: &str, len: u64) -> Result<FileId, DiskError> {
        let of = &mut self.places[place];
        let path = of.path(name);
        of.is_changed = true;
        let file =
            of.open_options().create_new(true).open(&path).map_err(|error| disk_error("create", name, 0, &error))?;
        match reserve(&file, len) {
            Ok(()) => Ok(self.adopt(place, name, file)),
            Err(error) => {
                // The file is new and empty of meaning; if it cannot be removed either, the first error says more.
                let _ = fs::remove_file(&path);
                Err(disk_error("reserve", name, len, &error))
            }
        }
    }

    fn file(&self, file: FileId) -> &OpenFile {
        self.files.get(&file).unwrap_or_else(|| panic!("file {} is not open", file.0))
    }

    fn adopt(&mut self, place: usize, name: &str, file: File) -> FileId {
        let id = FileId(self.next_file);
        self.next_file = self.next_file.checked_add(1).expect("four billion files were opened");
        self.files.insert(id, OpenFile { file, name: name.to_owned(), place });
        id
    }

    /// Reads with O_DIRECT: into the scratch buffer, whole blocks, and copies from there.
    fn read_aligned(&mut self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let skip = (offset % BLOCK_LEN as u64) as usize;
        let want = (skip + buffer.len()).next_multiple_of(BLOCK_LEN).min(READ_LEN);
        if self.scratch.len() < want {
            self.scratch.resize(want);
        }
        let file = &self.files[&file].file;
        let scratch = &mut self.scratch.bytes_mut()[..want];
        let read = file.read_at(scratch, offset - skip as u64)?;
        let len = read.saturating_sub(skip).min(buffer.len());
        buffer[..len].copy_from_slice(&scratch[skip..skip + len]);
        Ok(len)
    }

    /// Gives the kernel what is queued. What it does not take now (EAGAIN, EBUSY) it gets with the next wait.
    fn enter(&mut self, want: usize) -> io::Result<()> {
        match self.ring.submit_and_wait(want) {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Moves what is complete to `done`; whether the doorbell was among it.
    fn collect(&mut self, done: &mut Vec<Completion>) -> bool {
        let mut rung = false;
        let mut finished = [(0, 0); UNDER_WAY_MAX + 1];
        loop {
            let mut count = 0;
            for entry in self.ring.completion().take(finished.len()) {
                finished[count] = (entry.user_data(), entry.result());
                count += 1;
            }
            if count == 0 {
                return rung;
            }
            for &(data, result) in &finished[..count] {
                if data == BELL_DATA {
                    self.bell_polled = false;
                    self.bell.silence();
                    rung = true;
                } else {
                    self.complete(data, result, done);
                }
            }
            self.sync_written(done);
        }
    }

    /// Syncs the files to which durable writes were completed, each once, and fails those writes if that fails.
    fn sync_written(&mut self, done: &mut [Completion]) {
        self.unsynced.sort_unstable();
        for writes in self.unsynced.chunk_by(|one, other| one.0 == other.0) {
            let OpenFile { file, name, .. } = self.file(writes[0].0);
            let since = Instant::now();
            let synced = file.sync_data();
            let sync = Some(since.elapsed());
            writes.iter().for_each(|&(_, at)| done[at].took.sync = sync);
            if let Err(error) = synced {
                let error = disk_error("sync", name, 0, &error);
                for &(_, at) in writes {
                    done[at].result = Err(error.clone());
                }
            }
        }
        self.unsynced.clear();
    }

    fn complete(&mut self, data: u64, result: i32, done: &mut Vec<Completion>) {
        let place = usize::try_from(data).ok().and_then(|place| self.under_way.get_mut(place));
        let Some(UnderWay { token, what, since }) = place.and_then(Option::take) else {
            panic!("the ring completed operation {data}, which is not under way");
        };
        let (file, kind) = match what {
            What::File(file, kind) => (file, kind),
            What::Remove { name, .. } => return self.complete_remove(token, &name, result, done),
            What::SyncNames(place) => return self.complete_sync_names(token, place, result, done),
        };
        let OpenFile { file: target, name, .. } = &self.files[&file];
        match kind {
            Kind::Write { offset, block, durable, mut sync } => {
                let result = match usize::try_from(result) {
                    Ok(written) if written == block.len() => Ok(()),
                    Ok(written) => {
                        // Short: most often the room has run out, and only the rest of the write says so. What the kernel
                        // writes in a second call, the first call's RWF_DSYNC does not cover.
                        sync |= durable;
                        target.write_all_at(&block.bytes()[written..], offset + written as u64)
                    }
                    Err(_) => Err(io::Error::from_raw_os_error(-result)),
                };
                if sync && result.is_ok() {
                    self.unsynced.push((file, done.len()));
                }
                let result = result.map_err(|error| disk_error("write", name, offset, &error));
                let took = Some(since.elapsed());
                // Written through, the two are one.
                let took =
                    if durable && !sync { Took { write: None, sync: took } } else { Took { write: took, sync: None } };
                done.push(Completion { token, block: Some(block), result, took });
            }
            Kind::Sync => {
                let result = if result >= 0 {
                    Ok(())
                } else {
                    Err(disk_error("sync", name, 0, &io::Error::from_raw_os_error(-result)))
                };
                done.push(Completion {
                    token,
                    block: None,
                    result,
                    took: Took { write: None, sync: Some(since.elapsed()) },
                });
            }
            Kind::Free => {
                let result = match -result {
                    // Not every file system, nor every kernel, can, and some need room for it.
                    ..=0 | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::ENOSPC | libc::EDQUOT => Ok(()),
                    error => Err(disk_error("free", name, 0, &io::Error::from_raw_os_error(error))),
                };
                done.push(Completion { token, block: None, result, took: Took::default() });
            }
            Kind::Read { offset, mut block } => {
                let result = match usize::try_from(result) {
                    // Short at the end of the file, and the kernel may stop before it: the rest by calls.
                    Ok(mut filled) => loop {
                        let (at, rest) = (offset + filled as u64, &mut block.bytes_mut()[filled..]);
                        match if rest.is_empty() { Ok(0) } else { target.read_at(rest, at) } {
                            Ok(0) => {
                                rest.fill(0);
                                break Ok(());
                            }
                            Ok(len) => filled += len,
                            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                            // A file's end within a block: O_DIRECT refuses to go on from there.
                            Err(_) if !filled.is_multiple_of(BLOCK_LEN) => {
                                rest.fill(0);
                                break Ok(());
                            }
                            Err(error) => break Err(error),
                        }
                    },
                    Err(_) => Err(io::Error::from_raw_os_error(-result)),
                };
                let result = result.map_err(|error| disk_error("read", name, offset, &error));
                done.push(Completion { token, block: Some(block), result, took: Took::default() });
            }
        }
    }

    fn complete_remove(&mut self, token: u64, name: &str, result: i32, done: &mut Vec<Completion>) {
        let result = match -result {
            ..=0 => Ok(()),
            // A kernel before 5.11 cannot do it in the background.
            libc::EINVAL => self.remove(name),
            error => Err(disk_error("remove", name, 0, &io::Error::from_raw_os_error(error))),
        };
        done.push(Completion { token, block: None, result, took: Took::default() });
    }

    fn complete_sync_names(&mut self, token: u64, place: usize, result: i32, done: &mut Vec<Completion>) {
        let mut outcome = Ok(());
        if result < 0 {
            self.places[place].is_changed = true;
            outcome = Err(disk_error("sync", ".", 0, &io::Error::from_raw_os_error(-result)));
        } else if self.places[place + 1..].iter().any(|next| next.is_changed) {
            // The other folder's turn.
            outcome = self.submit_names(NameOperation::Sync, token);
            if outcome.is_ok() {
                return;
            }
        }
        done.push(Completion { token, block: None, result: outcome, took: Took::default() });
    }

    fn free_place(&self) -> usize {
        let Some(place) = self.under_way.iter().position(Option::is_none) else {
            panic!("more than {UNDER_WAY_MAX} operations under way");
        };
        place
    }

    /// Has the ring tell when the doorbell is rung, if it does not already.
    fn poll_bell(&mut self) {
        if !self.bell_polled {
            let poll = opcode::PollAdd::new(types::Fd(self.bell.event_fd()), libc::POLLIN as u32).build();
            // SAFETY: a poll points to nothing.
            unsafe { self.push(&poll.user_data(BELL_DATA)) };
            self.bell_polled = true;
        }
    }

    /// Whether the thread makes durable writes to this file durable by a call of its own.
    fn syncs_itself(&self, file: FileId) -> bool {
        self.places[self.file(file).place].durability == Durability::WriteThenSync
    }

    /// Writes durably, by calls; how long they took is added to `took`.
    fn write_and_sync(&self, file: FileId, offset: u64, block: &BlockBuf, took: &mut Took) -> Result<(), DiskError> {
        check_aligned(offset, block);
        let OpenFile { file, name, .. } = self.file(file);
        let begun = Instant::now();
        file.write_all_at(block.bytes(), offset).map_err(|error| disk_error("write", name, offset, &error))?;
        let written = Instant::now();
        file.sync_data().map_err(|error| disk_error("sync", name, 0, &error))?;
        *took = Took { write: Some(written.duration_since(begun)), sync: Some(written.elapsed()) };
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.under_way.iter().all(Option::is_none)
    }

    /// Queues an entry; there is room for every operation that may be under way and the doorbell.
    ///
    /// # Safety
    /// What the entry points to lives until its completion.
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: promised by the caller.
        let pushed = unsafe { self.ring.submission().push(entry) };
        assert!(pushed.is_ok(), "the ring has {ENTRIES} entries, and all are taken");
    }
}

impl Disk for Ring {
    fn list(&mut self) -> Result<Vec<FileEntry>, DiskError> {
        let failed = |error: io::Error| disk_error("list", ".", 0, &error);
        let mut entries = Vec::new();
        for (number, place) in self.places.iter().enumerate() {
            for entry in fs::read_dir(&place.folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let metadata = match entry.metadata() {
                    Ok(metadata) => metadata,
                    // Removed since the folder was read.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(failed(error)),
                };
                // A name that is not UTF-8 is none of ours.
                let Ok(name) = entry.file_name().into_string() else { continue };
                // Nor is one that would be looked for in the other folder.
                let is_here = self.place_of(&name) == number;
                if metadata.is_file() && is_here && name != LOCK_FILE && name != PROBE_FILE {
                    entries.push(FileEntry { name, len: metadata.len() });
                }
            }
        }
        Ok(entries)
    }

    fn create(&mut self, name: &str, len: u64) -> Result<FileId, DiskError> {
        self.create_in(self.place_of(name), name, len)
    }

    fn open(&mut self, name: &str) -> Result<FileId, DiskError> {
        let place = self.place_of(name);
        let of = &self.places[place];
        let file = of.open_options().open(of.path(name)).map_err(|error| disk_error("open", name, 0, &error))?;
        if !of.direct {
            drop_cache(&file).map_err(|error| disk_error("sync", name, 0, &error))?;
        }
        Ok(self.adopt(place, name, file))
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        let OpenFile { file, name, .. } = self.file(file);
        Ok(file.metadata().map_err(|error| disk_error("stat", name, 0, &error))?.len())
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        let OpenFile { file, name, .. } = self.file(file);
        file.set_len(len).and_then(|()| file.sync_all()).map_err(|error| disk_error("truncate", name, len, &error))
    }

    fn close(&mut self, file: FileId) {
        let busy =
            self.under_way.iter().flatten().any(|operation| matches!(operation.what, What::File(of, _) if of == file));
        assert!(!busy, "{} is closed with operations under way", self.file(file).name);
        self.files.remove(&file);
    }

    fn read(&mut self, file: FileId, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let mut filled = 0;
        let direct = self.places[self.file(file).place].direct;
        while filled < buffer.len() {
            let (at, rest) = (offset + filled as u64, &mut buffer[filled..]);
            let read = if direct { self.read_aligned(file, at, rest) } else { self.file(file).file.read_at(rest, at) };
            match read {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(disk_error("read", &self.file(file).name, at, &error)),
            }
        }
        Ok(filled)
    }

    fn rename(&mut self, source: &str, target: &str) -> Result<(), DiskError> {
        assert_eq!(self.place_of(source), self.place_of(target), "{source} is renamed to another folder, as {target}");
        let (from, to) = (self.path(source), self.path_to_change(target));
        fs::rename(from, to).map_err(|error| disk_error("rename", source, 0, &error))?;
        for file in self.files.values_mut().filter(|file| file.name == source) {
            target.clone_into(&mut file.name);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        fs::remove_file(self.path_to_change(name)).map_err(|error| disk_error("remove", name, 0, &error))
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        self.places.iter_mut().filter(|place| place.is_changed).try_for_each(Place::sync)
    }

    fn submit(&mut self, file: FileId, operation: Operation, token: u64) -> Result<(), DiskError> {
        let place = self.free_place();
        let operation = match operation {
            Operation::Write { offset, block, durable: true }
                if block.len() <= CALL_LEN_MAX && self.syncs_itself(file) =>
            {
                let mut took = Took::default();
                let result = self.write_and_sync(file, offset, &block, &mut took);
                self.finished.push(Completion { token, block: Some(block), result, took });
                return Ok(());
            }
            operation => operation,
        };
        let fd = types::Fd(self.file(file).file.as_raw_fd());
        let (entry, kind) = match operation {
            Operation::Write { offset, block, durable } => {
                let len = check_aligned(offset, &block);
                let durability = self.places[self.file(file).place].durability;
                let through = durable && durability == Durability::WriteThrough;
                let entry = opcode::Write::new(fd, block.bytes().as_ptr(), len)
                    .offset(offset)
                    .rw_flags(if through { libc::RWF_DSYNC } else { 0 })
                    .build();
                (entry, Kind::Write { offset, block, durable, sync: durable && !through })
            }
            Operation::Sync => (opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(), Kind::Sync),
            Operation::Free { offset, len } => {
                let entry = opcode::Fallocate::new(fd, len)
                    .offset(offset)
                    .mode(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE)
                    .build();
                (entry, Kind::Free)
            }
            Operation::Read { offset, mut block } => {
                let len = check_aligned(offset, &block);
                let entry = opcode::Read::new(fd, block.bytes_mut().as_mut_ptr(), len).offset(offset).build();
                (entry, Kind::Read { offset, block })
            }
        };
        self.under_way[place] = Some(UnderWay { token, what: What::File(file, kind), since: Instant::now() });
        // SAFETY: the block's bytes are on the heap, where moving the block does not move them, and stay in `under_way`,
        // untouched, until the completion; the file stays open as long (`close` refuses). Dropping the ring waits for it.
        unsafe { self.push(&entry.user_data(place as u64)) };
        self.enter(0).map_err(|error| disk_error("submit", &self.file(file).name, 0, &error))
    }

    fn submit_names(&mut self, operation: NameOperation, token: u64) -> Result<(), DiskError> {
        let place = self.free_place();
        let (entry, what) = match operation {
            NameOperation::Remove(name) => {
                let path = self.path_to_change(&name);
                let path = CString::new(path.as_os_str().as_bytes()).expect("a path that opened files has no NUL");
                let entry = opcode::UnlinkAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).build();
                (entry, What::Remove { name, _path: path })
            }
            NameOperation::Sync => {
                let Some(changed) = self.places.iter().position(|place| place.is_changed) else {
                    self.finished.push(Completion { token, block: None, result: Ok(()), took: Took::default() });
                    return Ok(());
                };
                let changed_place = &mut self.places[changed];
                changed_place.is_changed = false;
                let entry = opcode::Fsync::new(types::Fd(changed_place.directory.as_raw_fd())).build();
                (entry, What::SyncNames(changed))
            }
        };
        self.under_way[place] = Some(UnderWay { token, what, since: Instant::now() });
        // SAFETY: the path's bytes are on the heap, where moving the string does not move them, and stay in `under_way` until the
        // completion; the directory stays open as long as the ring lives, which waits for it when it is dropped.
        unsafe { self.push(&entry.user_data(place as u64)) };
        self.enter(0).map_err(|error| disk_error("submit", ".", 0, &error))
    }

    fn pause(&mut self, limit: Duration) {
        if !self.finished.is_empty() || !self.ring.completion().is_empty() {
            return;
        }
        self.poll_bell();
        if !self.bell.arm() {
            return;
        }
        let limit = types::Timespec::from(limit);
        let arguments = types::SubmitArgs::new().timespec(&limit);
        // The end of the time is an error, too. Whatever else is wrong shows in the next `wait`; a kernel before 5.11 does not pause.
        let _ = self.ring.submitter().submit_with_args(1, &arguments);
        self.bell.disarm();
    }

    fn wait(&mut self, block: bool, done: &mut Vec<Completion>) -> Result<(), DiskError> {
        let before = done.len();
        done.append(&mut self.finished);
        let mut spin_until = (block && !self.spin.is_zero()).then(|| Instant::now() + self.spin);
        loop {
            let rung = self.collect(done) | (self.bell.take() != 0);
            if rung || done.len() > before || !block {
                return Ok(());
            }
            if let Some(until) = spin_until {
                spin_until = (Instant::now() < until).then_some(until);
                std::hint::spin_loop();
                continue;
            }
            self.poll_bell();
            if !self.bell.arm() {
                continue;
            }
            let entered = self.enter(1);
            self.bell.disarm();
            entered.map_err(|error| disk_error("wait", ".", 0, &error))?;
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let mut done = Vec::new();
        while !self.is_idle() {
            self.collect(&mut done);
            if !self.is_idle() && self.enter(1).is_err() {
                // The kernel may still write from these blocks: they are never given back.
                std::mem::forget(std::mem::replace(&mut self.under_way, [const { None }; UNDER_WAY_MAX]));
            }
        }
    }
}

/// What storage promises of a write or a read; its length.
fn check_aligned(offset: u64, block: &BlockBuf) -> u32 {
    assert!(offset.is_multiple_of(BLOCK_LEN as u64), "a write or read at offset {offset}");
    assert!(!block.is_empty(), "a write or read of nothing");
    u32::try_from(block.len()).expect("a write or read of less than 4 GiB")
}

fn disk_error(operation: &'static str, file: &str, offset: u64, error: &io::Error) -> DiskError {
    let file = file.to_owned();
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => DiskError::Full { file },
        Some(libc::ENOENT) => DiskError::NotFound { file },
        Some(libc::ECANCELED) => {
            let message = "the kernel could not start a thread for it: raise the limits of threads (ulimit -u, TasksMax, \
                           pids.max)";
            DiskError::Failed { operation, file, offset, message: message.to_owned() }
        }
        _ => DiskError::Failed { operation, file, offset, message: error.to_string() },
    }
}

#[cfg(test)]
mod tests;
