//! What a member of an ensemble promised: `accepted` is the highest epoch promised to a leader, `current` the epoch of the history
//! that is here (reference 2.5).
//!
//! A promise is part of every election's time, so it costs no metadata of the file system: two files of one block, made once,
//! are overwritten in place, each in one sector, and what was saved is told when both are durable. A crash in between leaves the
//! older in one and the newer in the other: either may be believed then, as nothing was told, and the greater is, as epochs only
//! grow. One that is damaged or gone is made good from the other; if neither is sound nothing is believed.
//!
//! ```text
//! epochs.1, epochs.2: offset size
//!      0    8  magic "zooepoch"
//!      8    4  format version
//!     12    4  accepted epoch
//!     16    4  current epoch
//!     20    4  CRC32 of bytes 0..20
//! ```
//!
//! Where there is neither, Apache's `acceptedEpoch` and `currentEpoch` are taken, decimal text, one file each; they go when the
//! first epoch is saved.

use super::core::perform_now;
use super::disk::{BLOCK_LEN, BlockBuf, Disk, DiskError, FileId, Operation};
use super::error::StorageError;
use super::log::format::{get_u32, is_zero, put_u32};
use super::log::read::read_range;
use crate::ids::{Epoch, Zxid};

/// Names of the two files with what was promised.
pub const COPY_NAMES: [&str; 2] = ["epochs.1", "epochs.2"];
/// Apache's name for the file with the highest epoch promised.
pub const ACCEPTED_NAME: &str = "acceptedEpoch";
/// Apache's name for the file with the epoch of the history that is here.
pub const CURRENT_NAME: &str = "currentEpoch";

const MAGIC_WORD: &[u8; 8] = b"zooepoch";
const VERSION: u32 = 2;
const ACCEPTED: usize = 12;
const CURRENT: usize = 16;
const CRC: usize = 20;
const LEN: usize = CRC + 4;
/// No epoch file of Apache's is longer: 19 digits and a line end.
const TEXT_LEN_MAX: usize = 21;
/// The highest epoch that a zxid can carry.
const EPOCH_MAX: u32 = i32::MAX as u32;

/// What a server promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Epochs {
    /// The highest epoch promised to a leader.
    pub accepted: Epoch,
    /// The epoch of the history that is here.
    pub current: Epoch,
}

/// What was found.
pub(super) struct Found {
    pub(super) epochs: Epochs,
    /// Something of it is not on the disk as it should be: an epoch is taken from the history for want of a file, from Apache's
    /// text, or one of the files is damaged. It has to be saved before the history goes on: what a leader sends
    /// to a new member must not pass for an epoch that this member has taken part in.
    pub(super) is_unsaved: bool,
}

fn temporary(name: &str) -> String {
    format!("{name}.tmp")
}

/// Whether a name is one of this page's files, finished or not.
pub fn is_epoch_file(name: &str) -> bool {
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    COPY_NAMES.contains(&name) || matches!(name, ACCEPTED_NAME | CURRENT_NAME)
}

/// What the files say together with `last`, the last zxid of the history that is here (`QuorumPeer.loadDataBase`).
///
/// Where Apache refuses to start because the history is of a later epoch than `current` says, this does not if `accepted` is
/// as late: a server whose power went between the history and the epoch, which are saved in this order, is in that state. It
/// may go on with the older epoch, with which it can win no election against those that have the newer one.
///
/// # Errors
/// If both files are damaged, or the epochs contradict each other or the history.
pub(super) fn read(disk: &mut dyn Disk, last: Zxid) -> Result<Found, StorageError> {
    let saved = Copies::read(disk)?;
    let of_history = last.epoch();
    let (accepted, current) = match saved.newest {
        Some(epochs) => (Some(epochs.accepted), Some(epochs.current)),
        None => (read_text(disk, ACCEPTED_NAME)?, read_text(disk, CURRENT_NAME)?),
    };
    let found = Epochs { accepted: accepted.unwrap_or(of_history), current: current.unwrap_or(of_history) };
    // The file that is there is the one to look at.
    let name = |apache| if saved.newest.is_some() { COPY_NAMES[0] } else { apache };
    let contradiction = |file: &str, what| Err(StorageError::Foreign { file: file.to_owned(), offset: 0, what });
    if found.current < of_history && found.accepted < of_history {
        let what = format!("the current epoch, {}, is older than that of the last zxid, {last}", found.current.0);
        return contradiction(name(CURRENT_NAME), what);
    }
    if found.accepted < found.current {
        let (accepted_epoch, current_epoch) = (found.accepted.0, found.current.0);
        let what = format!("the accepted epoch, {accepted_epoch}, is less than the current epoch, {current_epoch}");
        return contradiction(name(if accepted.is_some() { ACCEPTED_NAME } else { CURRENT_NAME }), what);
    }
    Ok(Found { epochs: found, is_unsaved: !saved.are_both_sound })
}

/// Saves epochs; what is `None` stays as it is. Nothing is under way on the disk.
///
/// # Errors
/// As the disk's. What was saved before holds then, or what was to be saved.
pub(super) fn save(disk: &mut dyn Disk, accepted: Option<Epoch>, current: Option<Epoch>) -> Result<(), StorageError> {
    let saved = Copies::read(disk)?;
    let before = match saved.newest {
        Some(epochs) => epochs,
        None => Epochs {
            accepted: read_text(disk, ACCEPTED_NAME)?.unwrap_or_default(),
            current: read_text(disk, CURRENT_NAME)?.unwrap_or_default(),
        },
    };
    let epochs = Epochs { accepted: accepted.unwrap_or(before.accepted), current: current.unwrap_or(before.current) };
    if saved.are_both_sound && epochs == before {
        return Ok(());
    }
    let mut are_new = false;
    for index in 0..COPY_NAMES.len() {
        are_new |= saved.write(disk, index, epochs)?;
    }
    if are_new {
        disk.sync_directory()?;
        remove(disk, ACCEPTED_NAME)?;
        remove(disk, CURRENT_NAME)?;
    }
    Ok(())
}

/// What the two files say.
struct Copies {
    /// The greatest of what sound files say; `None`: there is no file.
    newest: Option<Epochs>,
    /// Both are there, whole, and say the same.
    are_both_sound: bool,
    /// Those that are there, as long as they have to be.
    whole: [bool; 2],
}

impl Copies {
    fn read(disk: &mut dyn Disk) -> Result<Self, StorageError> {
        let entries = disk.list()?;
        let mut saved = Self { newest: None, are_both_sound: true, whole: [false; 2] };
        let mut damaged = None;
        for (index, name) in COPY_NAMES.into_iter().enumerate() {
            let Some(entry) = entries.iter().find(|entry| entry.name == name) else {
                saved.are_both_sound = false;
                continue;
            };
            saved.whole[index] = entry.len == BLOCK_LEN as u64;
            match decode(&read_range(disk, name, 0, BLOCK_LEN + 1)?) {
                Some(epochs) => {
                    // A cut between the two left one behind: nothing may be told from the other alone.
                    saved.are_both_sound &= saved.newest.is_none_or(|other| other == epochs);
                    let newest = saved.newest.get_or_insert_default();
                    newest.accepted = newest.accepted.max(epochs.accepted);
                    newest.current = newest.current.max(epochs.current);
                }
                None => {
                    saved.are_both_sound = false;
                    damaged = Some(name);
                }
            }
        }
        match damaged {
            Some(name) if saved.newest.is_none() => Err(StorageError::damaged(
                name,
                0,
                "what this server promised cannot be read in either file".to_owned(),
            )),
            _ => Ok(saved),
        }
    }

    /// Writes one of the two durably; whether its name is still to be made so.
    fn write(&self, disk: &mut dyn Disk, index: usize, epochs: Epochs) -> Result<bool, StorageError> {
        let name = COPY_NAMES[index];
        if self.whole[index] {
            let file = disk.open(name)?;
            write_block(disk, file, epochs)?;
            return Ok(false);
        }
        let unnamed = temporary(name);
        remove(disk, &unnamed)?;
        let file = disk.create(&unnamed, BLOCK_LEN as u64)?;
        write_block(disk, file, epochs)?;
        disk.rename(&unnamed, name)?;
        Ok(true)
    }
}

fn write_block(disk: &mut dyn Disk, file: FileId, epochs: Epochs) -> Result<(), DiskError> {
    let mut block = BlockBuf::zeroed(BLOCK_LEN);
    let bytes = block.bytes_mut();
    bytes[..8].copy_from_slice(MAGIC_WORD);
    put_u32(bytes, 8, VERSION);
    put_u32(bytes, ACCEPTED, epochs.accepted.0);
    put_u32(bytes, CURRENT, epochs.current.0);
    let crc = crc32fast::hash(&bytes[..CRC]);
    put_u32(bytes, CRC, crc);
    let written = perform_now(disk, file, Operation::Write { offset: 0, block, durable: true });
    disk.close(file);
    written
}

fn decode(bytes: &[u8]) -> Option<Epochs> {
    let is_sound = bytes.len() == BLOCK_LEN
        && bytes.starts_with(MAGIC_WORD)
        && get_u32(bytes, CRC) == crc32fast::hash(&bytes[..CRC])
        && get_u32(bytes, 8) == VERSION
        && is_zero(&bytes[LEN..]);
    if !is_sound {
        return None;
    }
    let epochs = Epochs { accepted: Epoch(get_u32(bytes, ACCEPTED)), current: Epoch(get_u32(bytes, CURRENT)) };
    (epochs.accepted.0 <= EPOCH_MAX && epochs.current.0 <= EPOCH_MAX).then_some(epochs)
}

fn remove(disk: &mut dyn Disk, name: &str) -> Result<(), DiskError> {
    match disk.remove(name) {
        Ok(()) | Err(DiskError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn read_text(disk: &mut dyn Disk, name: &str) -> Result<Option<Epoch>, StorageError> {
    if !disk.list()?.iter().any(|entry| entry.name == name) {
        return Ok(None);
    }
    let bytes = read_range(disk, name, 0, TEXT_LEN_MAX + 1)?;
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let plain = !text.is_empty() && bytes.len() <= TEXT_LEN_MAX && text.iter().all(u8::is_ascii_digit);
    let epoch = if plain { str::from_utf8(text).ok().and_then(|text| text.parse().ok()) } else { None };
    match epoch.filter(|&epoch| epoch <= EPOCH_MAX) {
        Some(epoch) => Ok(Some(Epoch(epoch))),
        None => Err(StorageError::damaged(name, 0, format!("{:?} is no epoch", String::from_utf8_lossy(&bytes)))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sim_disk::SimDisk;
    use super::*;

    fn disk(files: &[(&str, &str)]) -> SimDisk {
        SimDisk::with_files(files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())))
    }

    fn said(files: &[(&str, &str)], epoch_of_history: u32) -> Result<(u32, u32), StorageError> {
        let found = read(&mut disk(files), Zxid::new(Epoch(epoch_of_history), 9))?;
        Ok((found.epochs.accepted.0, found.epochs.current.0))
    }

    const fn epochs(accepted: u32, current: u32) -> Epochs {
        Epochs { accepted: Epoch(accepted), current: Epoch(current) }
    }

    #[test]
    fn without_files_the_history_tells() {
        assert_eq!(said(&[], 4), Ok((4, 4)));
        assert_eq!(said(&[(ACCEPTED_NAME, "6")], 4), Ok((6, 4)));
        assert_eq!(said(&[(CURRENT_NAME, "4")], 4), Ok((4, 4)));
        assert_eq!(said(&[(ACCEPTED_NAME, "6\n"), (CURRENT_NAME, "5\r\n")], 4), Ok((6, 5)), "as an editor leaves them");
    }

    /// 2307, 4269, 2354: a server whose power went while it saved an epoch starts again, with what was or with what was to be.
    #[test]
    fn a_cut_at_every_step_of_a_save_leaves_one_or_the_other() {
        let texts = [(ACCEPTED_NAME, "3"), (CURRENT_NAME, "2")];
        let mut saved = SimDisk::new(1);
        save(&mut saved, Some(Epoch(3)), Some(Epoch(2))).expect("room");
        for (start, what) in [(disk(&texts), "from Apache's text"), (saved, "over a saved one")] {
            let steps = {
                let mut whole = start.crash_image(0);
                let before = whole.operations();
                save(&mut whole, Some(Epoch(5)), Some(Epoch(4))).expect("room");
                whole.operations() - before
            };
            let mut seen = [false; 2];
            for step in 0..=steps {
                for seed in 0..8 {
                    let mut cut = start.crash_image(0);
                    cut.cut_power_after(step);
                    let is_told = save(&mut cut, Some(Epoch(5)), Some(Epoch(4))).is_ok();
                    let found = read(&mut cut.crash_image(seed), Zxid::ZERO).expect("sound").epochs;
                    let wanted = if is_told { &[epochs(5, 4)][..] } else { &[epochs(3, 2), epochs(5, 4)][..] };
                    assert!(wanted.contains(&found), "{what}, step {step} of {steps}, seed {seed}: {found:?}");
                    seen[usize::from(found == epochs(5, 4))] = true;
                }
            }
            assert_eq!(seen, [true; 2], "{what}");
        }
    }

    #[test]
    fn one_damaged_file_is_made_good_and_two_are_believed_in_nothing() {
        for damage in 0..4 {
            let mut disk = SimDisk::new(1);
            save(&mut disk, Some(Epoch(7)), Some(Epoch(6))).expect("room");
            let files = disk.files();
            let damaged = |name: &str| match damage {
                0 => None,
                1 => Some(Vec::new()),
                2 => Some(vec![0; BLOCK_LEN]),
                _ => Some([&files[name][..], b"x"].concat()),
            };
            for name in COPY_NAMES {
                let mut files = files.clone();
                files.remove(name);
                files.extend(damaged(name).map(|bytes| (name.to_owned(), bytes)));
                let mut disk = SimDisk::with_files(files);
                let found = read(&mut disk, Zxid::ZERO).expect("the other is sound");
                assert_eq!((found.epochs, found.is_unsaved), (epochs(7, 6), true), "{name} {damage}");
                save(&mut disk, Some(Epoch(7)), None).expect("room");
                assert_eq!(disk.crash_image(2).files()[name], disk.files()[name]);
                assert!(!read(&mut disk, Zxid::ZERO).expect("sound").is_unsaved);
            }
            let both = COPY_NAMES.iter().filter_map(|name| Some(((*name).to_owned(), damaged(name)?)));
            let found = read(&mut SimDisk::with_files(both), Zxid::ZERO);
            assert_eq!(found.is_err(), damage > 0, "what is gone altogether leaves no trace");
        }
    }

    #[test]
    fn the_copy_that_a_cut_left_behind_catches_up_before_anything_is_told() {
        let mut older = SimDisk::new(1);
        save(&mut older, Some(Epoch(3)), Some(Epoch(2))).expect("room");
        let mut newer = SimDisk::new(1);
        save(&mut newer, Some(Epoch(5)), Some(Epoch(2))).expect("room");
        for behind in COPY_NAMES {
            let mut files = newer.files();
            files.insert(behind.to_owned(), older.files()[behind].clone());
            let mut disk = SimDisk::with_files(files);
            let found = read(&mut disk, Zxid::ZERO).expect("sound");
            assert_eq!((found.epochs, found.is_unsaved), (epochs(5, 2), true), "{behind}");
            save(&mut disk, Some(Epoch(5)), None).expect("room");
            assert_eq!(disk.files(), newer.files(), "{behind}");
        }
    }

    #[test]
    fn text_goes_with_the_first_save() {
        let mut disk = disk(&[(ACCEPTED_NAME, "6"), (CURRENT_NAME, "5")]);
        save(&mut disk, Some(Epoch(7)), None).expect("room");
        assert_eq!(disk.files().into_keys().collect::<Vec<_>>(), COPY_NAMES);
        assert_eq!(read(&mut disk, Zxid::ZERO).expect("sound").epochs, epochs(7, 5));
    }

    /// 4643: the history comes first, so the epoch may be behind it; never the other way round.
    #[test]
    fn a_history_ahead_of_its_epoch_is_taken_where_it_was_promised_and_refused_elsewhere() {
        assert_eq!(said(&[(ACCEPTED_NAME, "5"), (CURRENT_NAME, "4")], 5), Ok((5, 4)));
        let error = said(&[(ACCEPTED_NAME, "4"), (CURRENT_NAME, "4")], 5).expect_err("nobody promised epoch 5");
        assert_eq!(error.file(), CURRENT_NAME);
        assert!(error.to_string().contains("the current epoch, 4, is older than that of the last zxid"), "{error}");
        let error = said(&[(ACCEPTED_NAME, "3"), (CURRENT_NAME, "4")], 2).expect_err("what is current was accepted");
        assert!(error.to_string().contains("the accepted epoch, 3, is less than the current epoch, 4"), "{error}");
        let error = said(&[(CURRENT_NAME, "4")], 2).expect_err("the accepted epoch was lost");
        assert_eq!(error.file(), CURRENT_NAME);
        let mut disk = SimDisk::new(1);
        save(&mut disk, Some(Epoch(4)), Some(Epoch(4))).expect("room");
        let found = read(&mut disk, Zxid::new(Epoch(5), 1));
        assert_eq!(found.map(|found| found.epochs).expect_err("nobody promised epoch 5").file(), COPY_NAMES[0]);
    }

    #[test]
    fn what_is_no_epoch_is_refused() {
        for text in ["", " ", "-1", "1 2", "0x5", "2147483648", "99999999999999999999999", "5\n\n", "5\0"] {
            for name in [ACCEPTED_NAME, CURRENT_NAME] {
                let error = said(&[(name, text)], 0).expect_err("no epoch");
                assert!(matches!(&error, StorageError::Damaged { file, .. } if file == name), "{text:?}: {error}");
            }
        }
        assert_eq!(said(&[(ACCEPTED_NAME, "2147483647")], 0), Ok((EPOCH_MAX, 0)));
    }

    #[test]
    fn only_what_changes_is_written_and_a_full_disk_takes_it_in_place() {
        let mut disk = SimDisk::new(1);
        disk.set_capacity(Some(0));
        let error = save(&mut disk, Some(Epoch(3)), Some(Epoch(2))).expect_err("no room");
        assert!(matches!(error, StorageError::Disk(DiskError::Full { .. })), "{error}");
        disk.set_capacity(None);
        save(&mut disk, Some(Epoch(3)), Some(Epoch(2))).expect("room");
        let operations = disk.operations();
        save(&mut disk, Some(Epoch(3)), None).expect("nothing to write");
        save(&mut disk, None, None).expect("nothing to write");
        assert_eq!(disk.operations(), operations);
        disk.set_capacity(Some(disk.used()));
        save(&mut disk, Some(Epoch(4)), None).expect("its place is there");
        assert!(
            disk.operations() - operations <= 4,
            "two writes and their syncs, no metadata: an election waits for it"
        );
        for seed in 0..8 {
            assert_eq!(read(&mut disk.crash_image(seed), Zxid::ZERO).expect("sound").epochs, epochs(4, 2));
        }
    }
}
