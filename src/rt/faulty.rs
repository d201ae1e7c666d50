//! A disk that fails on purpose, for tests of whole processes: the n-th write or sync ends as if the device had said so.
//!
//! The operation is not carried out, which is what EIO means at worst. Everything else goes to the disk below.

use std::str::FromStr;
use std::time::Duration;

use crate::storage::disk::{Completion, Disk, DiskError, FileEntry, FileId, NameOperation, Operation, Took};

/// What is to fail, and when: "write:100" (EIO), "sync:3", "full:50" (no room).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which operation, and how it fails.
    pub kind: FaultKind,
    /// The first that fails, counted from 1; all after it fail too.
    pub from: u64,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A write ends with an input/output error.
    Write,
    /// A sync, or a durable write, ends with an input/output error.
    Sync,
    /// A write finds no room.
    Full,
    /// A write meets a mistake of ours: the thread panics.
    Panic,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no fault: write:N, sync:N, full:N or panic:N");
        let (kind, from) = text.split_once(':').ok_or_else(wrong)?;
        let kind = match kind {
            "write" => FaultKind::Write,
            "sync" => FaultKind::Sync,
            "full" => FaultKind::Full,
            "panic" => FaultKind::Panic,
            _ => return Err(wrong()),
        };
        match from.parse() {
            Ok(from @ 1..) => Ok(Self { kind, from }),
            _ => Err(wrong()),
        }
    }
}

/// A disk with a [`Fault`].
pub struct FaultyDisk<D> {
    disk: D,
    fault: Fault,
    seen: u64,
    failed: Vec<Completion>,
    names: Vec<(FileId, String)>,
}

impl<D: Disk> FaultyDisk<D> {
    /// `disk`, until the fault.
    pub fn new(disk: D, fault: Fault) -> Self {
        Self { disk, fault, seen: 0, failed: Vec::new(), names: Vec::new() }
    }

    fn is_hit(&mut self, operation: &Operation) -> bool {
        let counts = match (self.fault.kind, operation) {
            (FaultKind::Write | FaultKind::Full | FaultKind::Panic, Operation::Write { .. }) => true,
            (FaultKind::Sync, Operation::Write { durable, .. }) => *durable,
            (FaultKind::Sync, Operation::Sync) => true,
            (FaultKind::Write | FaultKind::Full | FaultKind::Panic, Operation::Sync)
            | (_, Operation::Read { .. } | Operation::Free { .. }) => false,
        };
        self.seen += u64::from(counts);
        counts && self.seen >= self.fault.from
    }

    fn name(&self, file: FileId) -> String {
        let known = self.names.iter().find(|(known, _)| *known == file);
        known.unwrap_or_else(|| panic!("file {} is not open", file.0)).1.clone()
    }

    fn fail(&self, file: FileId, operation: &'static str, offset: u64) -> DiskError {
        let file = self.name(file);
        match self.fault.kind {
            FaultKind::Full => DiskError::Full { file },
            FaultKind::Panic => panic!("{operation} of {file} at offset {offset}: a panic injected by a test"),
            FaultKind::Write | FaultKind::Sync => DiskError::Failed {
                operation,
                file,
                offset,
                message: "Input/output error (injected by a test)".to_owned(),
            },
        }
    }
}

impl<D: Disk> Disk for FaultyDisk<D> {
    fn list(&mut self) -> Result<Vec<FileEntry>, DiskError> {
        self.disk.list()
    }

    fn create(&mut self, name: &str, len: u64) -> Result<FileId, DiskError> {
        let file = self.disk.create(name, len)?;
        self.names.push((file, name.to_owned()));
        Ok(file)
    }

    fn open(&mut self, name: &str) -> Result<FileId, DiskError> {
        let file = self.disk.open(name)?;
        self.names.push((file, name.to_owned()));
        Ok(file)
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        self.disk.len(file)
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        self.disk.truncate(file, len)
    }

    fn close(&mut self, file: FileId) {
        self.names.retain(|(known, _)| *known != file);
        self.disk.close(file);
    }

    fn read(&mut self, file: FileId, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.disk.read(file, offset, buffer)
    }

    fn rename(&mut self, source: &str, target: &str) -> Result<(), DiskError> {
        self.disk.rename(source, target)?;
        for (_, name) in self.names.iter_mut().filter(|(_, name)| name == source) {
            target.clone_into(name);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.disk.remove(name)
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        self.disk.sync_directory()
    }

    fn submit(&mut self, file: FileId, operation: Operation, token: u64) -> Result<(), DiskError> {
        if !self.is_hit(&operation) {
            return self.disk.submit(file, operation, token);
        }
        let failed = match operation {
            Operation::Write { offset, block, .. } => {
                let result = Err(self.fail(file, "write", offset));
                Completion { token, block: Some(block), result, took: Took::default() }
            }
            Operation::Sync => {
                let result = Err(self.fail(file, "sync", 0));
                Completion { token, block: None, result, took: Took::default() }
            }
            Operation::Read { .. } | Operation::Free { .. } => panic!("it is never hit"),
        };
        self.failed.push(failed);
        Ok(())
    }

    fn submit_names(&mut self, operation: NameOperation, token: u64) -> Result<(), DiskError> {
        self.disk.submit_names(operation, token)
    }

    fn pause(&mut self, limit: Duration) {
        if self.failed.is_empty() {
            self.disk.pause(limit);
        }
    }

    fn wait(&mut self, block: bool, done: &mut Vec<Completion>) -> Result<(), DiskError> {
        let block = block && self.failed.is_empty();
        done.append(&mut self.failed);
        self.disk.wait(block, done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::ring::{Options, Ring};
    use crate::storage::disk::BlockBuf;

    #[test]
    fn faults_are_read_from_text() {
        assert_eq!("sync:3".parse(), Ok(Fault { kind: FaultKind::Sync, from: 3 }));
        for wrong in ["", "sync", "sync:", "sync:0", "read:1", "write:-1"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_second_durable_write_fails_and_is_not_carried_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let ring = Ring::open(folder.path(), &Options::default()).expect("opens");
        let mut disk = FaultyDisk::new(ring, "sync:2".parse().expect("a fault"));
        let file = disk.create("log", 3 * 4096).expect("created");
        for (token, durable) in [(0, true), (1, false), (2, true)] {
            let mut block = BlockBuf::zeroed(4096);
            block.bytes_mut().fill(7);
            disk.submit(file, Operation::Write { offset: token * 4096, block, durable }, token).expect("submitted");
        }
        let mut done = Vec::new();
        while done.len() < 3 {
            disk.wait(true, &mut done).expect("waits");
        }
        for completion in done {
            assert_eq!(completion.result.is_ok(), completion.token != 2);
            assert!(completion.block.is_some());
        }
        let mut bytes = [1; 3 * 4096];
        disk.read(file, 0, &mut bytes).expect("read");
        assert_eq!((bytes[0], bytes[4096], bytes[8192]), (7, 7, 0));
    }
}
