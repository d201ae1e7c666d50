//! A disk in memory that behaves as badly as a real one may, and no worse.
//!
//! It records every operation, so that a power cut can be played after any of them: [`SimDisk::cut_power_after`] freezes
//! it there (everything later fails), and [`SimDisk::crash_image`] builds a disk as it may look after the cut: what was synced
//! is there; of each write that was not, any of its 512-byte sectors, drawn from a seed; names that were not synced with
//! the directory are the old or the new ones; a length that was not synced is the old or the new one. Beside that,
//! the n-th write or sync can be made to fail, the device can be full, and bits can be flipped.
//!
//! Cloning shares the device: a second handle reads what the first wrote, as a tool or a restarted process would. Each
//! handle gets its own completions only; what is under way when a handle is dropped is done or not, as when a process
//! is killed.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{
    BLOCK_LEN, Completion, Disk, DiskError, FileEntry, FileId, NameOperation, Operation, Took, UNDER_WAY_MAX,
};

const SECTOR_LEN: usize = 512;

/// A simulated device with one folder.
#[derive(Debug)]
pub struct SimDisk {
    device: Arc<Mutex<Device>>,
    handle: u64,
}

impl Clone for SimDisk {
    fn clone(&self) -> Self {
        let mut device = self.device();
        device.handles += 1;
        Self { device: Arc::clone(&self.device), handle: device.handles }
    }
}

impl Drop for SimDisk {
    fn drop(&mut self) {
        // A test that failed while it held the lock is failing already.
        let Ok(mut device) = self.device.lock() else { return };
        let (own, others) = mem::take(&mut device.under_way).into_iter().partition(|under| under.handle == self.handle);
        device.under_way = others;
        let own: Vec<UnderWay> = own;
        for UnderWay { mut work, .. } in own {
            if draw(&mut device.random).is_multiple_of(2) {
                // Nobody is left to be told how it ended.
                let _ = device.perform(&mut work);
            }
        }
    }
}

/// An operation that was handed over.
#[derive(Debug)]
struct UnderWay {
    handle: u64,
    work: Work,
    token: u64,
}

#[derive(Debug)]
enum Work {
    File(FileId, Operation),
    Remove(String),
    /// So many changes that were complete when it was handed over, and no later ones.
    SyncNames(u64),
}

#[derive(Debug, Default)]
struct Device {
    /// Contents by inode.
    inodes: BTreeMap<u64, Inode>,
    /// Names as a running process sees them.
    names: BTreeMap<String, u64>,
    /// Names as they were when the directory was last synced.
    names_synced: BTreeMap<String, u64>,
    /// Changes of names since then, in order.
    name_changes: Vec<NameChange>,
    /// How many there were before these.
    name_changes_synced: u64,
    open: BTreeMap<u32, (u64, String)>,
    next_inode: u64,
    next_file: u32,
    handles: u64,
    under_way: Vec<UnderWay>,
    /// Writes that were under way when the power was cut: inode, offset, bytes.
    interrupted: Vec<(u64, u64, Vec<u8>)>,
    /// Operations so far, for [`SimDisk::cut_power_after`].
    operations: u64,
    history: Vec<String>,
    cut_after: Option<u64>,
    capacity: Option<u64>,
    /// There is no room for another name.
    names_full: bool,
    writes: u64,
    syncs: u64,
    fail_write: Option<u64>,
    fail_sync: Option<u64>,
    random: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(String, u64),
    Unlink(String),
    Rename(String, String, u64),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(source, target, inode) => {
                names.remove(source);
                names.insert(target.clone(), *inode);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// As a running process reads it.
    bytes: Vec<u8>,
    /// As it is on the medium for certain.
    synced: Vec<u8>,
    /// Sector numbers that differ, or may differ, from the medium.
    dirty: BTreeMap<usize, ()>,
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR_LEN..end.div_ceil(SECTOR_LEN) {
            self.dirty.insert(sector, ());
        }
    }

    fn sync(&mut self) {
        self.synced.resize(self.bytes.len(), 0);
        for &sector in self.dirty.keys() {
            let start = sector * SECTOR_LEN;
            let end = (start + SECTOR_LEN).min(self.bytes.len());
            if start < end {
                self.synced[start..end].copy_from_slice(&self.bytes[start..end]);
            }
        }
        self.dirty.clear();
    }

    /// The bytes after a power cut.
    fn after_cut(&self, random: &mut u64) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        // All, none or some of the sectors: the extremes are as likely as the rest.
        let odds = [0, 1, 2, 4][(draw(random) % 4) as usize];
        if self.bytes.len() != bytes.len() && draw(random).is_multiple_of(2) {
            bytes.resize(self.bytes.len(), 0);
        }
        for &sector in self.dirty.keys() {
            let start = sector * SECTOR_LEN;
            let end = (start + SECTOR_LEN).min(self.bytes.len());
            if start >= end || draw(random) % 4 >= odds {
                continue;
            }
            if bytes.len() < end {
                // Only sectors within the length that survived.
                continue;
            }
            bytes[start..end].copy_from_slice(&self.bytes[start..end]);
        }
        bytes
    }
}

/// The next number of a xorshift sequence: enough for choosing sectors, and the same everywhere.
fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new(1)
    }
}

impl SimDisk {
    /// An empty disk; `seed` decides the order in which completions come back.
    pub fn new(seed: u64) -> Self {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { device: Arc::new(Mutex::new(Device { random, ..Device::default() })), handle: 0 }
    }

    /// A disk that holds these files durably.
    pub fn with_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let disk = Self::new(1);
        let mut device = disk.device();
        for (name, bytes) in files {
            let inode = device.next_inode;
            device.next_inode += 1;
            device.inodes.insert(inode, Inode { synced: bytes.clone(), bytes, dirty: BTreeMap::new() });
            device.names.insert(name.clone(), inode);
            device.names_synced.insert(name, inode);
        }
        drop(device);
        disk
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().expect("the simulated device's lock is poisoned")
    }

    /// The files as a running process sees them.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let device = self.device();
        device.names.iter().map(|(name, inode)| (name.clone(), device.inodes[inode].bytes.clone())).collect()
    }

    /// How many operations were made.
    pub fn operations(&self) -> u64 {
        self.device().operations
    }

    /// What the operations were, one line each.
    pub fn history(&self) -> Vec<String> {
        self.device().history.clone()
    }

    /// Freezes the disk once `operations` were made in all: every later one fails and changes nothing.
    pub fn cut_power_after(&self, operations: u64) {
        self.device().cut_after = Some(operations);
    }

    /// Whether the power was cut.
    pub fn is_cut(&self) -> bool {
        self.device().is_cut()
    }

    /// The disk after a power cut now. Different seeds give different outcomes for what was not synced.
    pub fn crash_image(&self, seed: u64) -> Self {
        let device = self.device();
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        draw(&mut random);
        let mut inodes = device.inodes.clone();
        for (inode, offset, bytes) in &device.interrupted {
            if let Some(inode) = inodes.get_mut(inode) {
                inode.write(*offset as usize, bytes);
            }
        }
        // Writes that were handed over and not yet done may be on the medium as well.
        for UnderWay { work, .. } in &device.under_way {
            if let Work::File(file, Operation::Write { offset, block, .. }) = work
                && let Some((inode, _)) = device.open.get(&file.0)
                && let Some(inode) = inodes.get_mut(inode)
            {
                inode.write(*offset as usize, block.bytes());
            }
        }
        // Changes of names reach the medium in any order and number, except that one file's own stay in order.
        let mut names = device.names_synced.clone();
        for change in &device.name_changes {
            if draw(&mut random).is_multiple_of(2) {
                continue;
            }
            change.apply(&mut names);
        }
        let files = names.into_iter().map(|(name, inode)| {
            let bytes = inodes.get(&inode).map(|inode| inode.after_cut(&mut random)).unwrap_or_default();
            (name, bytes)
        });
        Self::with_files(files.collect::<Vec<_>>())
    }

    /// The disk after the process was killed, with the power on: everything that was written is there.
    pub fn restart(&self) -> Self {
        Self::with_files(self.files())
    }

    /// From now on there is room for this many bytes in all; `None`: as many as there is memory.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.device().capacity = capacity;
    }

    /// From now on a file can get no other name for want of room, or can again.
    pub fn set_names_full(&self, names_full: bool) {
        self.device().names_full = names_full;
    }

    /// Bytes that the files take.
    pub fn used(&self) -> u64 {
        self.device().used()
    }

    /// Makes the `n`-th write from now on fail (1: the next).
    pub fn fail_write(&self, n: u64) {
        let mut device = self.device();
        device.fail_write = Some(device.writes + n);
    }

    /// Makes the `n`-th sync from now on fail, a durable write counted as one (1: the next).
    pub fn fail_sync(&self, n: u64) {
        let mut device = self.device();
        device.fail_sync = Some(device.syncs + n);
    }

    /// Writes and syncs so far; a durable write counts as both.
    pub fn counts(&self) -> (u64, u64) {
        let device = self.device();
        (device.writes, device.syncs)
    }

    /// Changes a file behind everybody's back, durably: for damage.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut device = self.device();
        let inode = device.names[name];
        let inode = device.inodes.get_mut(&inode).expect("a named inode exists");
        change(&mut inode.bytes);
        inode.synced = inode.bytes.clone();
        inode.dirty.clear();
    }

    /// Removes a file behind everybody's back, durably.
    pub fn lose(&self, name: &str) {
        let mut device = self.device();
        device.names.remove(name);
        device.names_synced.remove(name);
    }
}

impl Device {
    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[inode].bytes.len() as u64).sum()
    }

    fn is_cut(&self) -> bool {
        self.cut_after.is_some_and(|after| self.operations >= after)
    }

    /// Counts an operation; an error if the power is off.
    fn begin(&mut self, operation: &'static str, file: &str, offset: u64) -> Result<(), DiskError> {
        if self.is_cut() {
            return Err(failed(operation, file, offset, "the power is off"));
        }
        self.operations += 1;
        self.history.push(format!("{operation} {file} {offset}"));
        Ok(())
    }

    fn file(&self, file: FileId) -> (u64, String) {
        self.open.get(&file.0).cloned().unwrap_or_else(|| panic!("use of {file:?}, which is not open"))
    }

    fn opened(&mut self, inode: u64, name: &str) -> FileId {
        self.next_file += 1;
        self.open.insert(self.next_file, (inode, name.to_owned()));
        FileId(self.next_file)
    }

    fn sync(&mut self, inode: u64, name: &str) -> Result<(), DiskError> {
        self.syncs += 1;
        if self.fail_sync == Some(self.syncs) {
            return Err(failed("sync", name, 0, "injected"));
        }
        if let Some(inode) = self.inodes.get_mut(&inode) {
            inode.sync();
        }
        Ok(())
    }

    fn perform(&mut self, work: &mut Work) -> Result<(), DiskError> {
        match work {
            Work::File(file, operation) => self.perform_on_file(*file, operation),
            Work::Remove(name) => self.remove(name),
            Work::SyncNames(through) => self.sync_names(*through),
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.begin("remove", name, 0)?;
        if self.names.remove(name).is_none() {
            return Err(DiskError::NotFound { file: name.to_owned() });
        }
        self.name_changes.push(NameChange::Unlink(name.to_owned()));
        Ok(())
    }

    /// How many changes of names there have been.
    fn name_changes_made(&self) -> u64 {
        self.name_changes_synced + self.name_changes.len() as u64
    }

    /// Makes so many changes of names durable.
    fn sync_names(&mut self, through: u64) -> Result<(), DiskError> {
        self.begin("sync-directory", "", 0)?;
        self.syncs += 1;
        if self.fail_sync == Some(self.syncs) {
            return Err(failed("sync", "", 0, "injected"));
        }
        let count = through.saturating_sub(self.name_changes_synced) as usize;
        for change in self.name_changes.drain(..count) {
            change.apply(&mut self.names_synced);
        }
        self.name_changes_synced += count as u64;
        Ok(())
    }

    fn perform_on_file(&mut self, file: FileId, operation: &mut Operation) -> Result<(), DiskError> {
        let (inode, name) = self.file(file);
        match operation {
            Operation::Write { offset, block, durable } => {
                let begun = self.begin(if *durable { "write-durable" } else { "write" }, &name, *offset);
                if begun.is_err() {
                    // It was handed over while the power was on.
                    self.interrupted.push((inode, *offset, block.bytes().to_vec()));
                }
                begun?;
                self.writes += 1;
                if self.fail_write == Some(self.writes) {
                    return Err(failed("write", &name, *offset, "injected"));
                }
                let len = self.inodes[&inode].bytes.len() as u64;
                let growth = (*offset + block.len() as u64).saturating_sub(len);
                if growth > 0 && self.capacity.is_some_and(|capacity| self.used() + growth > capacity) {
                    return Err(DiskError::Full { file: name });
                }
                self.inodes.get_mut(&inode).expect("an open inode").write(*offset as usize, block.bytes());
                if *durable { self.sync(inode, &name) } else { Ok(()) }
            }
            Operation::Sync => {
                self.begin("sync", &name, 0)?;
                self.sync(inode, &name)
            }
            Operation::Free { offset, .. } => {
                self.begin("free", &name, *offset)?;
                let inode = self.inodes.get_mut(&inode).expect("an open inode");
                inode.bytes.truncate(*offset as usize);
                inode.sync();
                Ok(())
            }
            Operation::Read { offset, block } => {
                self.begin("read", &name, *offset)?;
                let bytes = &self.inodes[&inode].bytes;
                let start = usize::try_from(*offset).unwrap_or(usize::MAX).min(bytes.len());
                let len = block.len().min(bytes.len() - start);
                block.bytes_mut()[..len].copy_from_slice(&bytes[start..start + len]);
                block.bytes_mut()[len..].fill(0);
                Ok(())
            }
        }
    }
}

fn failed(operation: &'static str, file: &str, offset: u64, message: &str) -> DiskError {
    DiskError::Failed { operation, file: file.to_owned(), offset, message: message.to_owned() }
}

impl Disk for SimDisk {
    fn list(&mut self) -> Result<Vec<FileEntry>, DiskError> {
        let device = self.device();
        let entries = device.names.iter();
        Ok(entries
            .map(|(name, inode)| FileEntry { name: name.clone(), len: device.inodes[inode].bytes.len() as u64 })
            .collect())
    }

    fn create(&mut self, name: &str, len: u64) -> Result<FileId, DiskError> {
        let mut device = self.device();
        device.begin("create", name, 0)?;
        if device.names.contains_key(name) {
            return Err(failed("create", name, 0, "it exists"));
        }
        if device.capacity.is_some_and(|capacity| device.used() + len > capacity) {
            return Err(DiskError::Full { file: name.to_owned() });
        }
        let inode = device.next_inode;
        device.next_inode += 1;
        device.inodes.insert(inode, Inode { bytes: vec![0; len as usize], ..Inode::default() });
        device.names.insert(name.to_owned(), inode);
        device.name_changes.push(NameChange::Link(name.to_owned(), inode));
        Ok(device.opened(inode, name))
    }

    fn open(&mut self, name: &str) -> Result<FileId, DiskError> {
        let mut device = self.device();
        let Some(&inode) = device.names.get(name) else { return Err(DiskError::NotFound { file: name.to_owned() }) };
        Ok(device.opened(inode, name))
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        let device = self.device();
        let (inode, _) = device.file(file);
        Ok(device.inodes[&inode].bytes.len() as u64)
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        let mut device = self.device();
        let (inode, name) = device.file(file);
        device.begin("truncate", &name, len)?;
        let inode = device.inodes.get_mut(&inode).expect("an open inode");
        inode.bytes.truncate(len as usize);
        inode.sync();
        Ok(())
    }

    fn close(&mut self, file: FileId) {
        let mut device = self.device();
        let is_meant = |under: &UnderWay| matches!(under.work, Work::File(of, _) if of == file);
        assert!(!device.under_way.iter().any(is_meant), "closed while something is under way");
        device.open.remove(&file.0);
    }

    fn read(&mut self, file: FileId, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let device = self.device();
        let (inode, _) = device.file(file);
        let bytes = &device.inodes[&inode].bytes;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let len = buffer.len().min(bytes.len() - start);
        buffer[..len].copy_from_slice(&bytes[start..start + len]);
        Ok(len)
    }

    fn rename(&mut self, source: &str, target: &str) -> Result<(), DiskError> {
        let mut device = self.device();
        device.begin("rename", source, 0)?;
        if device.names_full {
            return Err(DiskError::Full { file: target.to_owned() });
        }
        let Some(inode) = device.names.remove(source) else {
            return Err(DiskError::NotFound { file: source.to_owned() });
        };
        device.names.insert(target.to_owned(), inode);
        device.name_changes.push(NameChange::Rename(source.to_owned(), target.to_owned(), inode));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.device().remove(name)
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        let mut device = self.device();
        let all = device.name_changes_made();
        device.sync_names(all)
    }

    fn submit(&mut self, file: FileId, operation: Operation, token: u64) -> Result<(), DiskError> {
        let mut device = self.device();
        assert!(device.under_way.len() < UNDER_WAY_MAX, "too much under way");
        let (_, name) = device.file(file);
        if device.is_cut() {
            return Err(failed("submit", &name, 0, "the power is off"));
        }
        if let Operation::Write { offset, block, .. } = &operation {
            assert!(offset.is_multiple_of(BLOCK_LEN as u64), "a write at {offset}");
            assert!(!block.is_empty(), "a write of nothing");
        }
        device.under_way.push(UnderWay { handle: self.handle, work: Work::File(file, operation), token });
        Ok(())
    }

    fn submit_names(&mut self, operation: NameOperation, token: u64) -> Result<(), DiskError> {
        let mut device = self.device();
        assert!(device.under_way.len() < UNDER_WAY_MAX, "too much under way");
        if device.is_cut() {
            return Err(failed("submit", "", 0, "the power is off"));
        }
        let work = match operation {
            NameOperation::Remove(name) => Work::Remove(name),
            NameOperation::Sync => Work::SyncNames(device.name_changes_made()),
        };
        device.under_way.push(UnderWay { handle: self.handle, work, token });
        Ok(())
    }

    fn wait(&mut self, block: bool, done: &mut Vec<Completion>) -> Result<(), DiskError> {
        let mut device = self.device();
        let own = device.under_way.iter().filter(|under| under.handle == self.handle).count() as u64;
        if !block || own == 0 {
            return Ok(());
        }
        // One at a time, in an order of the device's own.
        let nth = (draw(&mut device.random) % own) as usize;
        let index = device.under_way.iter().enumerate().filter(|(_, under)| under.handle == self.handle).nth(nth);
        let index = index.map_or(0, |(index, _)| index);
        let UnderWay { mut work, token, .. } = device.under_way.remove(index);
        let result = device.perform(&mut work);
        let block = match work {
            Work::File(_, Operation::Write { block, .. } | Operation::Read { block, .. }) => Some(block),
            Work::File(_, Operation::Sync | Operation::Free { .. }) | Work::Remove(_) | Work::SyncNames(_) => None,
        };
        done.push(Completion { token, block, result, took: Took::default() });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::BlockBuf;
    use super::*;

    fn write(disk: &mut SimDisk, file: FileId, offset: u64, fill: u8, durable: bool) -> Result<(), DiskError> {
        let mut block = BlockBuf::zeroed(BLOCK_LEN);
        block.bytes_mut().fill(fill);
        disk.submit(file, Operation::Write { offset, block, durable }, 0)?;
        let mut done = Vec::new();
        disk.wait(true, &mut done)?;
        done.pop().expect("one write was under way").result
    }

    #[test]
    fn only_what_was_synced_survives_for_certain() {
        let mut disk = SimDisk::new(3);
        let file = disk.create("a", 4 * BLOCK_LEN as u64).expect("room");
        disk.sync_directory().expect("no fault");
        write(&mut disk, file, 0, 1, true).expect("no fault");
        write(&mut disk, file, BLOCK_LEN as u64, 2, false).expect("no fault");
        let mut torn = [false; 2];
        for seed in 0..64 {
            let image = disk.crash_image(seed).files();
            let bytes = &image["a"];
            assert!(bytes[..BLOCK_LEN].iter().all(|&byte| byte == 1));
            let unsynced = &bytes[BLOCK_LEN..2 * BLOCK_LEN];
            for sector in unsynced.chunks(SECTOR_LEN) {
                assert!(sector.iter().all(|&byte| byte == sector[0]), "a sector is whole");
                torn[usize::from(sector[0] == 2)] = true;
            }
        }
        assert_eq!(torn, [true; 2], "both outcomes occur");
    }

    #[test]
    fn names_survive_for_certain_only_behind_a_directory_sync() {
        let mut disk = SimDisk::new(3);
        disk.create("a", 0).expect("room");
        let outcomes: Vec<bool> = (0..32).map(|seed| disk.crash_image(seed).files().contains_key("a")).collect();
        assert!(outcomes.contains(&true) && outcomes.contains(&false));
        disk.sync_directory().expect("no fault");
        assert!((0..32).all(|seed| disk.crash_image(seed).files().contains_key("a")));
    }

    #[test]
    fn a_sync_of_names_in_the_background_is_of_the_changes_before_it() {
        let mut disk = SimDisk::new(3);
        for name in ["a", "b"] {
            disk.create(name, 0).expect("room");
        }
        disk.sync_directory().expect("no fault");
        let mut done = Vec::new();
        disk.submit_names(NameOperation::Remove("a".to_owned()), 1).expect("power");
        assert!(disk.files().contains_key("a"), "it is only under way");
        disk.wait(true, &mut done).expect("power");
        disk.submit_names(NameOperation::Sync, 2).expect("power");
        disk.remove("b").expect("it is there");
        disk.wait(true, &mut done).expect("power");
        assert_eq!(
            done.iter().map(|done| (done.token, done.result.is_ok())).collect::<Vec<_>>(),
            [(1, true), (2, true)]
        );
        let images: Vec<_> = (0..32).map(|seed| disk.crash_image(seed).files()).collect();
        assert!(images.iter().all(|files| !files.contains_key("a")));
        assert!(images.iter().any(|files| files.contains_key("b")), "that came later");
    }

    #[test]
    fn faults_come_when_told() {
        let mut disk = SimDisk::new(1);
        let file = disk.create("a", BLOCK_LEN as u64).expect("room");
        disk.fail_write(2);
        assert!(write(&mut disk, file, 0, 1, false).is_ok());
        assert!(write(&mut disk, file, 0, 1, false).is_err());
        disk.set_capacity(Some(disk.used()));
        assert!(matches!(disk.create("b", 1), Err(DiskError::Full { .. })));
        disk.cut_power_after(disk.operations());
        assert!(disk.sync_directory().is_err());
    }
}
