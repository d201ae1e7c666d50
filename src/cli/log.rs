//! `zoo-server log dump|verify`: what the log holds, and whether a server would take it.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::{InspectArgs, LogCommand, LogDumpArgs};
use super::describe::{self, Data};
use super::folder::{ReadOnlyFolder, Target};
use super::{EXIT_CONFIG, EXIT_FAILED, complain};
use crate::ids::Zxid;
use crate::storage::dump::{self, LogItem};
use crate::storage::log::LogIndex;
use crate::storage::log::format::segment_name;
use crate::storage::recovery;
use crate::wire::txn::TxnRecord;

/// Runs one of the two.
pub(super) fn run(command: &LogCommand) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = match command {
        LogCommand::Dump(args) => dump(args, &mut out),
        LogCommand::Verify(args) => verify(args, &mut out),
    };
    finish(result, &mut out)
}

/// What an inspecting command ends with.
pub(super) fn finish(result: Result<bool, Problem>, out: &mut impl Write) -> ExitCode {
    let flushed = out.flush();
    match result {
        Ok(true) if flushed.is_ok() => ExitCode::SUCCESS,
        // Whoever reads the output has had enough of it.
        Ok(_) => ExitCode::from(EXIT_FAILED),
        Err(Problem::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(EXIT_FAILED),
        Err(Problem::Output(error)) => {
            complain(format_args!("zoo-server: standard output: {error}"));
            ExitCode::from(EXIT_FAILED)
        }
        Err(Problem::Input(text)) => {
            complain(format_args!("zoo-server: {text}"));
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// Why a command could not do its work.
pub(super) enum Problem {
    /// What it was to look at cannot be read.
    Input(String),
    /// What it found cannot be written.
    Output(io::Error),
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self::Input(text)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn dump(args: &LogDumpArgs, out: &mut impl Write) -> Result<bool, Problem> {
    let target = Target::new(&args.inspect.path)?;
    let mut disk = ReadOnlyFolder::new(&target.folder);
    let data = if args.data { Data::Whole } else { Data::Length };
    let (from, to) = (args.from.unwrap_or(Zxid::ZERO), args.to.unwrap_or(Zxid::MAX));
    let mut sound = true;
    for sequence in target.segments(&mut disk)? {
        let file = segment_name(sequence);
        // The walk cannot be broken off: the first failed write is kept, and nothing more is written.
        let mut written = Ok(());
        let mut decoded = true;
        let whole = dump::log_segment(&mut disk, sequence, &mut |item| {
            if written.is_err() {
                return;
            }
            if let LogItem::Record(record) = &item {
                if !(from..=to).contains(&record.zxid) {
                    return;
                }
                decoded &= TxnRecord::decode(record.payload).is_ok();
            }
            if matches!(item, LogItem::Frame { .. }) && !args.frames {
                return;
            }
            written = if args.inspect.json {
                writeln!(out, "{}", item_json(&file, &item, data))
            } else {
                writeln!(out, "{}", item_text(&file, &item, data))
            };
        })
        .map_err(|error| error.to_string())?;
        written?;
        sound &= whole && decoded;
    }
    Ok(sound)
}

fn item_text(file: &str, item: &LogItem<'_>, data: Data) -> String {
    match item {
        LogItem::Header(header) => format!(
            "{file}: log {:016x}, {} bytes, first zxid {}, continues {}",
            header.log_id, header.segment_len, header.zxid_first, header.previous.zxid
        ),
        LogItem::Frame { offset, header } => format!(
            "  frame at {offset}: {} records, {} bytes, {} to {}",
            header.records, header.records_len, header.zxid_first, header.zxid_last
        ),
        LogItem::Record(record) => match TxnRecord::decode(record.payload) {
            Ok(txn) => format!("  {}", describe::record_text(&txn, data)),
            Err(error) => format!("  {} at {}: not a transaction: {error}", record.zxid, record.offset),
        },
        LogItem::Unused { offset } => format!("{file}: unused from {offset}"),
        LogItem::Torn { offset, len } => {
            format!("{file}: torn at {offset}, {len} bytes: a write that a crash interrupted")
        }
        LogItem::Damaged { offset, what } => format!("{file}: DAMAGED at {offset}: {what}"),
    }
}

fn item_json(file: &str, item: &LogItem<'_>, data: Data) -> Value {
    match item {
        LogItem::Header(header) => json!({
            "item": "segment",
            "file": file,
            "log_id": format!("{:016x}", header.log_id),
            "len": header.segment_len,
            "zxid_first": header.zxid_first.to_string(),
            "zxid_before": header.previous.zxid.to_string(),
        }),
        LogItem::Frame { offset, header } => json!({
            "item": "frame",
            "file": file,
            "offset": offset,
            "records": header.records,
            "records_len": header.records_len,
            "zxid_first": header.zxid_first.to_string(),
            "zxid_last": header.zxid_last.to_string(),
        }),
        LogItem::Record(record) => {
            let mut value = match TxnRecord::decode(record.payload) {
                Ok(txn) => describe::record_json(&txn, data),
                Err(error) => json!({ "zxid": record.zxid.to_string(), "undecodable": error.to_string() }),
            };
            value["item"] = json!("record");
            value["file"] = json!(file);
            value["offset"] = json!(record.offset);
            value
        }
        LogItem::Unused { offset } => json!({ "item": "unused", "file": file, "offset": offset }),
        LogItem::Torn { offset, len } => json!({ "item": "torn", "file": file, "offset": offset, "len": len }),
        LogItem::Damaged { offset, what } => json!({ "item": "damaged", "file": file, "offset": offset, "what": what }),
    }
}

/// What a look through one segment found.
#[derive(Default)]
struct Found {
    frames: u64,
    records: u64,
    first: Option<Zxid>,
    last: Option<Zxid>,
    torn: Option<(u64, u64)>,
    damage: Vec<(u64, String)>,
}

fn verify(args: &InspectArgs, out: &mut impl Write) -> Result<bool, Problem> {
    let target = Target::new(&args.path)?;
    let mut disk = ReadOnlyFolder::new(&target.folder);
    let mut sound = true;
    for sequence in target.segments(&mut disk)? {
        let file = segment_name(sequence);
        let mut found = Found::default();
        sound &= dump::log_segment(&mut disk, sequence, &mut |item| look(&mut found, item))
            .map_err(|error| error.to_string())?;
        sound &= found.damage.is_empty();
        if args.json {
            writeln!(out, "{}", found_json(&file, &found))?;
        } else {
            write!(out, "{}", found_text(&file, &found))?;
        }
    }
    // Each file may be sound and the log not whole: one may be missing, or too short.
    if target.file.is_none() {
        let judged = judge(&mut disk);
        sound &= judged.is_ok();
        if args.json {
            let problem = judged.as_ref().err();
            let digests = judged.as_ref().is_ok_and(|judged| judged.is_digest_checked);
            let item = json!({ "item": "log", "sound": sound, "problem": problem, "digests_checked": digests });
            writeln!(out, "{item}")?;
        } else {
            match judged {
                Ok(judged) if sound => writeln!(out, "the log is sound: {judged}")?,
                Ok(_) => writeln!(out, "the log is NOT SOUND")?,
                Err(problem) => writeln!(out, "the log is NOT SOUND: {problem}")?,
            }
        }
    }
    Ok(sound)
}

fn look(found: &mut Found, item: LogItem<'_>) {
    match item {
        LogItem::Header(_) | LogItem::Unused { .. } => {}
        LogItem::Frame { .. } => found.frames += 1,
        LogItem::Record(record) => {
            found.records += 1;
            found.first.get_or_insert(record.zxid);
            found.last = Some(record.zxid);
            if let Err(error) = TxnRecord::decode(record.payload) {
                found.damage.push((record.offset, format!("record {} is not a transaction: {error}", record.zxid)));
            }
        }
        LogItem::Torn { offset, len } => found.torn = Some((offset, len)),
        LogItem::Damaged { offset, what } => found.damage.push((offset, what)),
    }
}

fn found_text(file: &str, found: &Found) -> String {
    let range = match (found.first, found.last) {
        (Some(first), Some(last)) => format!(", {first} to {last}"),
        _ => String::new(),
    };
    let mut text = format!("{file}: {} records in {} frames{range}\n", found.records, found.frames);
    if let Some((offset, len)) = found.torn {
        text += &format!("  torn at {offset}, {len} bytes: a write that a crash interrupted, never acknowledged\n");
    }
    for (offset, what) in &found.damage {
        text += &format!("  DAMAGED at {offset}: {what}\n");
    }
    text
}

fn found_json(file: &str, found: &Found) -> Value {
    json!({
        "item": "segment",
        "file": file,
        "frames": found.frames,
        "records": found.records,
        "zxid_first": found.first.map(|zxid| zxid.to_string()),
        "zxid_last": found.last.map(|zxid| zxid.to_string()),
        "torn": found.torn.map(|(offset, len)| json!({ "offset": offset, "len": len })),
        "damaged": found.damage.iter().map(|(offset, what)| json!({ "offset": offset, "what": what })).collect::<Vec<_>>(),
    })
}

/// A log that is sound.
struct Judged {
    records: u64,
    is_digest_checked: bool,
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records in one chain", self.records)?;
        f.write_str(match self.is_digest_checked {
            true => ", and the tree is what each says",
            false => " (the tree is not compared: the snapshot from which it would be made is not in this folder)",
        })
    }
}

/// Reads the whole log as recovery does, the links between its files and the marker included; then makes the tree of it and
/// compares its digest with the one in each record.
fn judge(disk: &mut ReadOnlyFolder) -> Result<Judged, String> {
    let index = LogIndex::read(disk).map_err(|error| error.to_string())?;
    let from = index.reaches_back_to().unwrap_or(Zxid::ZERO);
    let mut replay = index.replay(from).map_err(|error| error.to_string())?;
    let mut records = 0;
    while let Some(segment) = replay.next_segment(disk).map_err(|error| error.to_string())? {
        records += segment.records().count() as u64;
    }
    replay.finish(disk).map_err(|error| error.to_string())?;
    // Snapshots may stand in another folder (dataDir), and then only a log from the beginning on makes a tree.
    let snapshots = dump::snapshots(disk).map_err(|error| error.to_string())?;
    let is_digest_checked = from == Zxid::ZERO || snapshots.iter().any(|&zxid| zxid >= from);
    if is_digest_checked {
        let how = recovery::Options { is_member: false, ..recovery::Options::default() };
        let recovered = recovery::recover(disk, &how, &mut |_| {}).map_err(|error| error.to_string())?;
        if let (mismatches @ 1.., Some(first)) = recovered.digest_mismatches {
            return Err(format!(
                "the tree is not what the records say: {mismatches} of their digests differ from its own, the first behind {first}"
            ));
        }
    }
    Ok(Judged { records, is_digest_checked })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use clap::Parser;

    use super::super::args::{Cli, Command, SnapshotCommand};
    use super::super::snapshot;
    use super::*;
    use crate::ids::SessionId;
    use crate::storage::core::{self, LogCore};
    use crate::storage::disk::Disk;
    use crate::storage::log::BatchBuilder;
    use crate::storage::sim_disk::SimDisk;
    use crate::storage::{Storage, StorageOptions};
    use crate::time::WallTime;
    use crate::wire::acl::AclList;
    use crate::wire::op::OpCode;
    use crate::wire::txn::{CreateKind, CreateTxn, Txn, TxnDigest, TxnHeader};

    /// A data folder with five changes and a snapshot after the fourth.
    fn folder() -> tempfile::TempDir {
        let disk = SimDisk::new(1);
        let mut options = StorageOptions::new(0x5eed);
        options.core.segment_len = 1 << 20;
        options.core.record_len_max = 64 << 10;
        let mut storage =
            Storage::over(Box::new(disk.clone()), options, Box::new(|| WallTime(1_795_358_808_123))).expect("opened");
        for path in ["/a", "/b", "/c", "/d"] {
            storage.create(path, b"data of it", 0).expect("created");
        }
        storage.snapshot().expect("written");
        storage.set("/a", b"more", 1).expect("set");
        storage.close().expect("closed");
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("zoo-1")).expect("made");
        for (name, bytes) in disk.files() {
            fs::write(dir.path().join("zoo-1").join(name), bytes).expect("written");
        }
        dir
    }

    /// What a command prints, and whether all was well.
    fn said(line: &str, path: &Path) -> (bool, String) {
        let words = ["zoo-server"].into_iter().chain(line.split_whitespace()).map(str::to_owned);
        let words = words.chain([path.display().to_string()]);
        let mut out = Vec::new();
        let result = match Cli::try_parse_from(words).expect("a good line").command {
            Some(Command::Log(LogCommand::Dump(args))) => dump(&args, &mut out),
            Some(Command::Log(LogCommand::Verify(args))) => verify(&args, &mut out),
            Some(Command::Snapshot(SnapshotCommand::Dump(args))) => snapshot::dump(&args, &mut out),
            Some(Command::Snapshot(SnapshotCommand::Verify(args))) => snapshot::verify(&args, &mut out),
            other => panic!("{other:?}"),
        };
        match result {
            Ok(sound) => (sound, String::from_utf8(out).expect("text")),
            Err(Problem::Input(text)) => (false, text),
            Err(Problem::Output(error)) => panic!("{error}"),
        }
    }

    /// The only file whose name begins so.
    fn file(dir: &Path, start: &str) -> PathBuf {
        let mut names: Vec<_> = fs::read_dir(dir.join("zoo-1"))
            .expect("listed")
            .map(|entry| entry.expect("listed").path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)))
            .collect();
        names.sort();
        names.remove(0)
    }

    #[test]
    fn a_log_is_shown() {
        let dir = folder();
        let (sound, text) = said("log dump", dir.path());
        assert!(sound, "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("  create")).count(), 4, "{text}");
        assert!(text.contains("2026-11-22T14:46:48.123Z"), "{text}");
        let (_, text) = said("log dump --from 0x2 --to 3 --data", dir.path());
        assert!(text.contains("\"/c\" 10 bytes \"data of it\"") && !text.contains("\"/a\""), "{text}");

        let (_, text) = said("log dump --json --data --frames", dir.path());
        let items: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
        let records: Vec<_> = items.iter().filter(|item| item["item"] == "record").collect();
        assert_eq!(records.len(), 5);
        assert_eq!(records[0]["txn"]["data"], "ZGF0YSBvZiBpdA==");
        assert_eq!(records[4]["zxid"], "0x5");
        assert!(items.iter().any(|item| item["item"] == "frame"));
    }

    #[test]
    fn a_sound_log_is_found_sound_and_a_damaged_one_not() {
        let dir = folder();
        let (sound, text) = said("log verify", dir.path());
        assert!(
            sound && text.ends_with("the log is sound: 5 records in one chain, and the tree is what each says\n"),
            "{text}"
        );

        // One byte of the third record.
        let segment = file(dir.path(), "log.0");
        let mut bytes = fs::read(&segment).expect("read");
        let at = bytes.windows(2).position(|two| two == b"/c").expect("the path is there");
        bytes[at + 1] ^= 1;
        fs::write(&segment, &bytes).expect("written");
        let (sound, text) = said("log verify", dir.path());
        assert!(!sound);
        assert!(text.contains("DAMAGED at ") && text.contains("the log is NOT SOUND: log.0000000000000001"), "{text}");
        let (sound, text) = said("log dump", dir.path());
        assert!(!sound && text.contains("\"/d\""), "what lies behind the damage is shown: {text}");
        let (sound, text) = said("log verify --json", dir.path());
        let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        assert!(!sound && last["sound"] == false && last["problem"].is_string(), "{text}");

        fs::remove_file(&segment).expect("removed");
        let (sound, text) = said("log verify", dir.path());
        assert!(!sound, "a missing file is no sound log: {text}");
    }

    #[test]
    fn a_log_that_is_whole_and_makes_another_tree_is_not_sound() {
        let mut disk = SimDisk::new(1);
        let empty = recovery::recover(&mut disk, &recovery::Options::default(), &mut |_| {}).expect("an empty folder");
        let mut options = StorageOptions::new(0x5eed);
        options.core.segment_len = 1 << 20;
        options.core.record_len_max = 64 << 10;
        let mut core = LogCore::open(&mut disk, options.core, &empty.tail, 0x5eed).expect("opened");
        let txn = Txn::Create(CreateTxn {
            path: "/a".into(),
            data: None,
            acl: AclList::OPEN,
            kind: CreateKind::Persistent,
            parent_cversion: 1,
        });
        let header = TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(1), time: WallTime(1), op: OpCode::CREATE };
        let mut bytes = Vec::new();
        // The digest of some other tree.
        let digest = Some(TxnDigest { version: TxnDigest::VERSION, tree: 12345 });
        TxnRecord { header, txn, digest }.encode(&mut bytes);
        let mut builder = BatchBuilder::new();
        builder.push(Zxid(1), &bytes);
        core.handle(core::Command::Append(builder.finish().expect("one record")));
        core.handle(core::Command::Close);
        let mut done = Vec::new();
        while !core.has_ended() {
            core.step(&mut disk);
            disk.wait(true, &mut done).expect("no fault");
            done.drain(..).for_each(|completion| core.complete(completion));
        }
        let dir = tempfile::tempdir().expect("a folder");
        for (name, bytes) in disk.files() {
            fs::write(dir.path().join(name), bytes).expect("written");
        }
        let (sound, text) = said("log verify", dir.path());
        assert!(!sound && text.contains("1 of their digests differ") && text.contains("behind 0x1"), "{text}");
    }

    #[test]
    fn a_snapshot_is_shown_and_judged() {
        let dir = folder();
        let (sound, text) = said("snapshot dump --data", dir.path());
        assert!(sound && text.contains("znode \"/a\" 10 bytes \"data of it\" list "), "{text}");
        let (_, text) = said("snapshot dump --json", dir.path());
        let items: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
        assert_eq!(items.first().expect("a header")["item"], "snapshot");
        assert_eq!(items.last().expect("an end")["item"], "whole");
        let snapshot = file(dir.path(), "snapshot.");
        let (sound, text) = said("snapshot verify", &snapshot);
        assert!(sound && text.ends_with(", whole\n"), "{text}");

        let mut bytes = fs::read(&snapshot).expect("read");
        let at = bytes.windows(10).position(|ten| ten == b"data of it").expect("the data is there");
        bytes[at] ^= 0x20;
        fs::write(&snapshot, &bytes).expect("written");
        let (sound, text) = said("snapshot verify", dir.path());
        assert!(!sound && text.contains("DAMAGED at "), "{text}");
        let (sound, text) = said("snapshot verify --json", dir.path());
        let value: Value = serde_json::from_str(text.trim()).expect("JSON");
        assert!(!sound && value["whole"] == false && value["damaged"]["offset"].is_u64(), "{text}");
        fs::write(&snapshot, &bytes[..bytes.len() - 4096]).expect("written");
        assert!(!said("snapshot verify", dir.path()).0, "a cut snapshot is not whole");
    }

    #[test]
    fn nothing_to_look_at() {
        let dir = tempfile::tempdir().expect("a folder");
        let (sound, text) = said("log dump", dir.path());
        assert!(!sound && text.ends_with("no log segment of this server"), "{text}");
        let (_, text) = said("snapshot verify", &dir.path().join("nowhere"));
        assert!(text.contains("nowhere: No such file"), "{text}");
    }
}
