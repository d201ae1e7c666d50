//! A disk that takes everything and keeps nothing but lengths: what is left of a write is the work of the one who writes.

use std::collections::BTreeMap;

use zoo_server::storage::disk::{Completion, Disk, DiskError, FileEntry, FileId, NameOperation, Operation, Took};

/// See the file's page. Completions come with the next `wait`.
#[derive(Default)]
pub struct Discard {
    files: BTreeMap<String, (FileId, u64)>,
    next: u32,
    done: Vec<Completion>,
    /// Durable writes so far, and their bytes.
    pub appends: u64,
    pub bytes: u64,
}

impl Disk for Discard {
    fn list(&mut self) -> Result<Vec<FileEntry>, DiskError> {
        Ok(self.files.iter().map(|(name, &(_, len))| FileEntry { name: name.clone(), len }).collect())
    }

    fn create(&mut self, name: &str, len: u64) -> Result<FileId, DiskError> {
        let id = FileId(self.next);
        self.next += 1;
        self.files.insert(name.to_owned(), (id, len));
        Ok(id)
    }

    fn open(&mut self, name: &str) -> Result<FileId, DiskError> {
        self.files.get(name).map(|&(id, _)| id).ok_or_else(|| DiskError::NotFound { file: name.to_owned() })
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        Ok(self.files.values().find(|&&(id, _)| id == file).map_or(0, |&(_, len)| len))
    }

    fn truncate(&mut self, _: FileId, _: u64) -> Result<(), DiskError> {
        Ok(())
    }

    fn close(&mut self, _: FileId) {}

    fn read(&mut self, _: FileId, _: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        buffer.fill(0);
        Ok(buffer.len())
    }

    fn rename(&mut self, source: &str, target: &str) -> Result<(), DiskError> {
        if let Some(file) = self.files.remove(source) {
            self.files.insert(target.to_owned(), file);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.files.remove(name);
        Ok(())
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        Ok(())
    }

    fn submit(&mut self, _: FileId, operation: Operation, token: u64) -> Result<(), DiskError> {
        let block = match operation {
            Operation::Write { block, durable, .. } => {
                self.appends += u64::from(durable);
                self.bytes += if durable { block.len() as u64 } else { 0 };
                Some(block)
            }
            Operation::Sync | Operation::Free { .. } => None,
            Operation::Read { mut block, .. } => {
                block.bytes_mut().fill(0);
                Some(block)
            }
        };
        self.done.push(Completion { token, block, result: Ok(()), took: Took::default() });
        Ok(())
    }

    fn submit_names(&mut self, operation: NameOperation, token: u64) -> Result<(), DiskError> {
        if let NameOperation::Remove(name) = operation {
            self.files.remove(&name);
        }
        self.done.push(Completion { token, block: None, result: Ok(()), took: Took::default() });
        Ok(())
    }

    fn wait(&mut self, _: bool, done: &mut Vec<Completion>) -> Result<(), DiskError> {
        done.append(&mut self.done);
        Ok(())
    }
}
