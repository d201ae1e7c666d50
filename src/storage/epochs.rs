//! What a member of an ensemble promised: Apache's `acceptedEpoch` and `currentEpoch`, decimal text, one file each.
//!
//! `accepted` is the highest epoch promised to a leader, `current` the epoch of the history that is here (reference 2.5). A file
//! is replaced as a whole: written under its name with `.tmp` behind it, made durable, renamed, and the folder synced.
//!
//! Text has no checksum, and one flipped bit makes another epoch of it. So a third file, `epochs.check`, bears witness: one
//! sector with what each file held before the last change and what it was to hold then, written before the change, and with
//! what it holds, written behind it. A file that says neither is damaged; nothing is believed then. Without that witness (Apache never wrote one) the text is taken as
//! it is.
//!
//! ```text
//! epochs.check, offset size
//!      0    8  magic "zooepoch"
//!      8    4  format version
//!     12    8  accepted epoch before (-1: no file)
//!     20    8  accepted epoch behind
//!     28    8  current epoch before
//!     36    8  current epoch behind
//!     44    4  CRC32 of bytes 0..44
//! ```

use super::core::perform_now;
use super::disk::{BLOCK_LEN, BlockBuf, Disk, DiskError, Operation};
use super::error::StorageError;
use super::log::format::{get_u32, get_u64, is_zero, put_u32, put_u64};
use super::log::read::read_range;
use crate::ids::{Epoch, Zxid};

/// Name of the file with the highest epoch promised.
pub const ACCEPTED_NAME: &str = "acceptedEpoch";
/// Name of the file with the epoch of the history that is here.
pub const CURRENT_NAME: &str = "currentEpoch";
/// Name of the witness.
pub const CHECK_NAME: &str = "epochs.check";

const MAGIC_WORD: &[u8; 8] = b"zooepoch";
const VERSION: u32 = 1;
const VALUES: usize = 12;
const CRC: usize = 44;
const LEN: usize = CRC + 4;
/// No epoch file is longer: 19 digits and a line end.
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
    /// The current epoch still has the name under which it was written: [`name_current`] is due.
    pub(super) is_unnamed: bool,
    /// One is taken from the history, for want of a file. It has to be saved before the history goes on: what a leader sends
    /// to a new member must not pass for an epoch that this member has taken part in.
    pub(super) is_missing: bool,
}

/// Gives the current epoch its name. The folder is still to be synced.
pub(super) fn name_current(disk: &mut dyn Disk) -> Result<(), DiskError> {
    disk.rename(&temporary(CURRENT_NAME), CURRENT_NAME)
}

fn temporary(name: &str) -> String {
    format!("{name}.tmp")
}

/// Whether a name is one of this page's files, finished or not.
pub fn is_epoch_file(name: &str) -> bool {
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    matches!(name, ACCEPTED_NAME | CURRENT_NAME | CHECK_NAME)
}

/// What the files say together with `last`, the last zxid of the history that is here (`QuorumPeer.loadDataBase`).
///
/// Where Apache refuses to start because the history is of a later epoch than `current` says, this does not if `accepted` is
/// as late: a server whose power went between the history and the epoch, which are saved in this order, is in that state. It
/// may go on with the older epoch, with which it can win no election against those that have the newer one.
///
/// # Errors
/// If a file is damaged, or the epochs contradict each other or the history.
pub(super) fn read(disk: &mut dyn Disk, last: Zxid) -> Result<Found, StorageError> {
    let files = Files::read(disk)?;
    let of_history = last.epoch();
    let accepted = files.accepted.unwrap_or(of_history);
    let mut current = files.current.unwrap_or(of_history);
    let mut is_unnamed = false;
    if current < of_history
        && let Ok(Some(unnamed)) = read_text(disk, &temporary(CURRENT_NAME))
        && (of_history..=accepted).contains(&unnamed)
        && read_check(disk)?.is_none_or(|(before, behind)| [before.current, behind.current].contains(&Some(unnamed)))
    {
        // Its rename is all that was missing, and is made up for before the server goes on.
        (current, is_unnamed) = (unnamed, true);
    }
    let contradiction =
        |file: &str, what: String| Err(StorageError::Foreign { file: file.to_owned(), offset: 0, what });
    if current < of_history && accepted < of_history {
        let what = format!("the current epoch, {}, is older than that of the last zxid, {last}", current.0);
        return contradiction(CURRENT_NAME, what);
    }
    if accepted < current {
        // The file that is there is the one to look at.
        let file = if files.accepted.is_some() { ACCEPTED_NAME } else { CURRENT_NAME };
        return contradiction(
            file,
            format!("the accepted epoch, {}, is less than the current epoch, {}", accepted.0, current.0),
        );
    }
    let is_missing = files.accepted.is_none() || files.current.is_none();
    Ok(Found { epochs: Epochs { accepted, current }, is_unnamed, is_missing })
}

/// Saves epochs; what is `None` stays as it is. Nothing is under way on the disk.
///
/// # Errors
/// As the disk's. What was saved before holds then, or what was to be saved: each file is one or the other.
pub(super) fn save(disk: &mut dyn Disk, accepted: Option<Epoch>, current: Option<Epoch>) -> Result<(), StorageError> {
    let before = Files::read(disk)?;
    let behind = Files { accepted: accepted.or(before.accepted), current: current.or(before.current) };
    let changed: Vec<(&str, Epoch)> =
        [(ACCEPTED_NAME, before.accepted, behind.accepted), (CURRENT_NAME, before.current, behind.current)]
            .into_iter()
            .filter_map(|(name, before, behind)| (before != behind).then_some((name, behind?)))
            .collect();
    if changed.is_empty() {
        return Ok(());
    }
    write_check(disk, &before, &behind)?;
    for (name, epoch) in changed {
        replace_text(disk, name, epoch)?;
    }
    // What was before is none of the answers any more.
    write_check(disk, &behind, &behind)
}

/// What the files say; `None`: there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Files {
    accepted: Option<Epoch>,
    current: Option<Epoch>,
}

impl Files {
    fn read(disk: &mut dyn Disk) -> Result<Self, StorageError> {
        let files = Self { accepted: read_text(disk, ACCEPTED_NAME)?, current: read_text(disk, CURRENT_NAME)? };
        if let Some((before, behind)) = read_check(disk)? {
            judge(ACCEPTED_NAME, files.accepted, before.accepted, behind.accepted)?;
            judge(CURRENT_NAME, files.current, before.current, behind.current)?;
        }
        Ok(files)
    }
}

/// Compares a file with the witness.
fn judge(name: &str, found: Option<Epoch>, before: Option<Epoch>, behind: Option<Epoch>) -> Result<(), StorageError> {
    if found == before || found == behind {
        return Ok(());
    }
    let told = |epoch: Option<Epoch>| epoch.map_or_else(|| "nothing".to_owned(), |epoch| epoch.0.to_string());
    let known = format!("{CHECK_NAME} knows of {} and before of {}", told(behind), told(before));
    Err(match found {
        None => StorageError::Missing { file: name.to_owned(), offset: 0, what: known },
        Some(found) => StorageError::damaged(name, 0, format!("it says {}, but {known}", found.0)),
    })
}

fn is_there(disk: &mut dyn Disk, name: &str) -> Result<bool, DiskError> {
    Ok(disk.list()?.iter().any(|entry| entry.name == name))
}

fn read_text(disk: &mut dyn Disk, name: &str) -> Result<Option<Epoch>, StorageError> {
    if !is_there(disk, name)? {
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

fn replace_text(disk: &mut dyn Disk, name: &str, epoch: Epoch) -> Result<(), StorageError> {
    let text = epoch.0.to_string();
    let unnamed = temporary(name);
    match disk.remove(&unnamed) {
        Ok(()) | Err(DiskError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let file = disk.create(&unnamed, 0)?;
    let mut block = BlockBuf::zeroed(BLOCK_LEN);
    block.bytes_mut()[..text.len()].copy_from_slice(text.as_bytes());
    // Blocks are all that can be written; the file is cut to its length behind it, durably.
    let written = perform_now(disk, file, Operation::Write { offset: 0, block, durable: true })
        .and_then(|()| disk.truncate(file, text.len() as u64));
    disk.close(file);
    written?;
    disk.rename(&unnamed, name)?;
    // Before anything else is saved: the witness of the next change relies on what this one left.
    disk.sync_directory()?;
    Ok(())
}

fn write_check(disk: &mut dyn Disk, before: &Files, behind: &Files) -> Result<(), StorageError> {
    let mut block = BlockBuf::zeroed(BLOCK_LEN);
    let bytes = block.bytes_mut();
    bytes[..8].copy_from_slice(MAGIC_WORD);
    put_u32(bytes, 8, VERSION);
    let values = [before.accepted, behind.accepted, before.current, behind.current];
    for (index, value) in values.into_iter().enumerate() {
        put_u64(bytes, VALUES + index * 8, value.map_or(u64::MAX, |epoch| epoch.0.into()));
    }
    let crc = crc32fast::hash(&bytes[..CRC]);
    put_u32(bytes, CRC, crc);
    let is_new = !is_there(disk, CHECK_NAME)?;
    let file = if is_new { disk.create(CHECK_NAME, BLOCK_LEN as u64)? } else { disk.open(CHECK_NAME)? };
    let written = perform_now(disk, file, Operation::Write { offset: 0, block, durable: true });
    disk.close(file);
    written?;
    if is_new {
        disk.sync_directory()?;
    }
    Ok(())
}

/// What the witness says of before and behind the last change. Nothing if there is none, or it is damaged itself: then the
/// text alone counts, and the next change writes a new one.
fn read_check(disk: &mut dyn Disk) -> Result<Option<(Files, Files)>, StorageError> {
    if !is_there(disk, CHECK_NAME)? {
        return Ok(None);
    }
    let bytes = read_range(disk, CHECK_NAME, 0, BLOCK_LEN)?;
    let sound = bytes.len() == BLOCK_LEN
        && bytes.starts_with(MAGIC_WORD)
        && get_u32(&bytes, CRC) == crc32fast::hash(&bytes[..CRC])
        && get_u32(&bytes, 8) == VERSION
        && is_zero(&bytes[LEN..]);
    if !sound {
        return Ok(None);
    }
    let value = |index: usize| u32::try_from(get_u64(&bytes, VALUES + index * 8)).ok().map(Epoch);
    let before = Files { accepted: value(0), current: value(2) };
    let behind = Files { accepted: value(1), current: value(3) };
    Ok(Some((before, behind)))
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

    #[test]
    fn without_files_the_history_tells() {
        assert_eq!(said(&[], 4), Ok((4, 4)));
        assert_eq!(said(&[(ACCEPTED_NAME, "6")], 4), Ok((6, 4)));
        assert_eq!(said(&[(CURRENT_NAME, "4")], 4), Ok((4, 4)));
        assert_eq!(said(&[(ACCEPTED_NAME, "6\n"), (CURRENT_NAME, "5\r\n")], 4), Ok((6, 5)), "as an editor leaves them");
    }

    /// 2307, 4269, 2354: a server whose power went while it saved an epoch starts again.
    #[test]
    fn a_current_epoch_without_its_name_counts_where_the_history_needs_it() {
        let unnamed = "currentEpoch.tmp";
        let files = [(ACCEPTED_NAME, "5"), (CURRENT_NAME, "4"), (unnamed, "5")];
        assert_eq!(said(&files, 5), Ok((5, 5)));
        assert_eq!(said(&files, 4), Ok((5, 4)), "its rename may have been given up");
        for torn in ["", "5\0", "x", "4", "6"] {
            let files = [(ACCEPTED_NAME, "5"), (CURRENT_NAME, "4"), (unnamed, torn)];
            assert_eq!(said(&files, 5), Ok((5, 4)), "{torn:?}");
        }
        let mut disk = disk(&files);
        assert!(read(&mut disk, Zxid::new(Epoch(5), 1)).expect("sound").is_unnamed);
        name_current(&mut disk).expect("no fault");
        let found = read(&mut disk, Zxid::new(Epoch(4), 1)).expect("sound");
        assert_eq!((found.epochs.current, found.is_unnamed), (Epoch(5), false));
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
    fn only_what_changes_is_written_and_a_full_disk_keeps_what_was() {
        let mut disk = SimDisk::new(1);
        save(&mut disk, Some(Epoch(3)), Some(Epoch(2))).expect("room");
        let operations = disk.operations();
        save(&mut disk, Some(Epoch(3)), None).expect("nothing to write");
        save(&mut disk, None, None).expect("nothing to write");
        assert_eq!(disk.operations(), operations);
        disk.set_capacity(Some(disk.used()));
        let error = save(&mut disk, Some(Epoch(4)), None).expect_err("no room");
        assert!(matches!(error, StorageError::Disk(DiskError::Full { .. })), "{error}");
        for seed in 0..8 {
            let found = read(&mut disk.crash_image(seed), Zxid::ZERO).expect("sound");
            assert_eq!(found.epochs, Epochs { accepted: Epoch(3), current: Epoch(2) });
        }
        disk.set_capacity(None);
        save(&mut disk, Some(Epoch(4)), Some(Epoch(4))).expect("room again");
        let found = read(&mut disk.crash_image(1), Zxid::ZERO).expect("sound");
        assert_eq!(found.epochs, Epochs { accepted: Epoch(4), current: Epoch(4) });
    }
}
