//! `zoo-server snapshot dump|verify`: what a snapshot holds, and whether it is whole.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::{InspectArgs, SnapshotCommand, SnapshotDumpArgs};
use super::describe::{self, Data};
use super::folder::{ReadOnlyFolder, Target};
use super::log::{Problem, finish};
use crate::storage::dump::{self, SnapshotItem};
use crate::storage::image::ImageRecord;
use crate::storage::snapshot::{SnapshotInfo, snapshot_name};

/// The list number of znodes that anybody may do anything with, which is not written out.
const OPEN_LIST: u32 = u32::MAX;

/// Runs one of the two.
pub(super) fn run(command: &SnapshotCommand) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = match command {
        SnapshotCommand::Dump(args) => dump(args, &mut out),
        SnapshotCommand::Verify(args) => verify(args, &mut out),
    };
    finish(result, &mut out)
}

pub(super) fn dump(args: &SnapshotDumpArgs, out: &mut impl Write) -> Result<bool, Problem> {
    let target = Target::new(&args.inspect.path)?;
    let mut disk = ReadOnlyFolder::new(&target.folder);
    let data = if args.data { Data::Whole } else { Data::Length };
    // Snapshots are copies of one tree: without a name, the newest is meant.
    let zxid = *target.snapshots(&mut disk)?.last().expect("there is at least one");
    let file = snapshot_name(zxid);
    let mut written = Ok(());
    let whole = dump::snapshot(&mut disk, zxid, &mut |item| {
        if written.is_ok() && !matches!(item, SnapshotItem::Frame { .. }) {
            written = if args.inspect.json {
                writeln!(out, "{}", item_json(&file, &item, data))
            } else {
                writeln!(out, "{}", item_text(&file, &item, data))
            };
        }
    })
    .map_err(|error| error.to_string())?;
    written?;
    Ok(whole)
}

fn info_text(info: &SnapshotInfo) -> String {
    format!(
        "tree at {}, {} znodes, {} sessions, {} lists, digest {:x}",
        info.zxid, info.znodes, info.sessions, info.acls, info.digest
    )
}

fn item_text(file: &str, item: &SnapshotItem<'_>, data: Data) -> String {
    match item {
        SnapshotItem::Header { info, log_id } => format!("{file}: log {log_id:016x}, {}", info_text(info)),
        SnapshotItem::Frame { offset, records } => format!("frame at {offset}: {records} records"),
        SnapshotItem::Record(ImageRecord::Session { session, timeout_ms }) => {
            format!("session {session} timeout {timeout_ms} ms")
        }
        SnapshotItem::Record(ImageRecord::List { number, list }) => {
            format!("list {number} {}", describe::acl_text(list))
        }
        SnapshotItem::Record(ImageRecord::Znode { path, data: bytes, list, stat }) => {
            let list = if *list == OPEN_LIST { "open".to_owned() } else { list.to_string() };
            format!("znode {path:?} {} list {list} {}", describe::data_text(*bytes, data), describe::stat_text(stat))
        }
        SnapshotItem::Whole { len } => format!("{file}: whole, {len} bytes"),
        SnapshotItem::Damaged { offset, what } => format!("{file}: DAMAGED at {offset}: {what}"),
    }
}

fn info_json(file: &str, info: &SnapshotInfo) -> Value {
    json!({
        "item": "snapshot",
        "file": file,
        "zxid": info.zxid.to_string(),
        "znodes": info.znodes,
        "sessions": info.sessions,
        "lists": info.acls,
        "digest": format!("{:x}", info.digest),
        "digest_version": info.digest_version,
    })
}

fn item_json(file: &str, item: &SnapshotItem<'_>, data: Data) -> Value {
    match item {
        SnapshotItem::Header { info, log_id } => {
            let mut value = info_json(file, info);
            value["log_id"] = json!(format!("{log_id:016x}"));
            value
        }
        SnapshotItem::Frame { offset, records } => {
            json!({ "item": "frame", "file": file, "offset": offset, "records": records })
        }
        SnapshotItem::Record(ImageRecord::Session { session, timeout_ms }) => {
            json!({ "item": "session", "session": session.to_string(), "timeout_ms": timeout_ms })
        }
        SnapshotItem::Record(ImageRecord::List { number, list }) => {
            json!({ "item": "list", "list": number, "acl": describe::acl_json(list) })
        }
        SnapshotItem::Record(ImageRecord::Znode { path, data: bytes, list, stat }) => {
            let list = if *list == OPEN_LIST { json!("open") } else { json!(list) };
            let mut value = json!({ "item": "znode", "path": path, "list": list, "stat": describe::stat_json(stat) });
            describe::put_data(&mut value, *bytes, data);
            value
        }
        SnapshotItem::Whole { len } => json!({ "item": "whole", "file": file, "len": len }),
        SnapshotItem::Damaged { offset, what } => {
            json!({ "item": "damaged", "file": file, "offset": offset, "what": what })
        }
    }
}

pub(super) fn verify(args: &InspectArgs, out: &mut impl Write) -> Result<bool, Problem> {
    let target = Target::new(&args.path)?;
    let mut disk = ReadOnlyFolder::new(&target.folder);
    let mut all_whole = true;
    for zxid in target.snapshots(&mut disk)? {
        let file = snapshot_name(zxid);
        let (mut header, mut len, mut damage) = (None, None, None);
        let whole = dump::snapshot(&mut disk, zxid, &mut |item| match item {
            SnapshotItem::Header { info, .. } => header = Some(info),
            SnapshotItem::Whole { len: bytes } => len = Some(bytes),
            SnapshotItem::Damaged { offset, what } => damage = Some((offset, what)),
            SnapshotItem::Frame { .. } | SnapshotItem::Record(_) => {}
        })
        .map_err(|error| error.to_string())?;
        all_whole &= whole;
        if args.json {
            let mut value =
                header.map_or_else(|| json!({ "item": "snapshot", "file": file }), |info| info_json(&file, &info));
            value["whole"] = json!(whole);
            value["len"] = json!(len);
            value["damaged"] = json!(damage.map(|(offset, what)| json!({ "offset": offset, "what": what })));
            writeln!(out, "{value}")?;
            continue;
        }
        let info = header.map(|info| format!(": {}", info_text(&info))).unwrap_or_default();
        match damage {
            None if whole => writeln!(out, "{file}{info}, whole")?,
            None => writeln!(out, "{file}{info}, NOT WHOLE")?,
            Some((offset, what)) => writeln!(out, "{file}{info}, DAMAGED at {offset}: {what}")?,
        }
    }
    Ok(all_whole)
}
