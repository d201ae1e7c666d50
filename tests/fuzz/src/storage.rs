//! Everything that reads a folder's files, over a simulated disk.

use zoo_server::ids::{SessionId, Zxid};
use zoo_server::storage::disk::BlockBuf;
use zoo_server::storage::dump::{self, LogItem, SnapshotItem};
use zoo_server::storage::image::ImageSource;
use zoo_server::storage::log::LogIndex;
use zoo_server::storage::log::segment_sequence;
use zoo_server::storage::recovery::{self, recover};
use zoo_server::storage::sim_disk::SimDisk;
use zoo_server::storage::snapshot::format::SnapshotWriter;
use zoo_server::storage::snapshot::{SnapshotSource, snapshot_zxid};
use zoo_server::storage::{Storage, StorageOptions};
use zoo_server::time::WallTime;
use zoo_server::tree::{self, Tree};
use zoo_server::wire::acl::AclList;
use zoo_server::wire::error_code::ErrorCode;
use zoo_server::wire::op::OpCode;
use zoo_server::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader};

use crate::files::{MEND_ALL, MEND_HEADERS, folder, input};

/// Scans each segment as the operator's tools do, and the folder as recovery does. Gives a number that depends on what was
/// found, so that nothing is optimised away.
pub fn log(bytes: &[u8]) -> u64 {
    let files = folder(bytes);
    let mut seen = 0_u64;
    let mut records = Vec::new();
    for (name, bytes) in &files {
        let Some(sequence) = segment_sequence(name) else { continue };
        dump::scan_segment(bytes, sequence, &mut |item| match item {
            LogItem::Record(record) => {
                assert!(
                    bytes[record.offset as usize..].len() >= record.payload.len(),
                    "a record outside of its segment"
                );
                records.push((sequence, record.zxid));
                seen += record.payload.len() as u64;
            }
            LogItem::Damaged { offset, .. } | LogItem::Torn { offset, .. } => {
                assert!(offset <= bytes.len() as u64, "damage behind the end: {offset}");
                seen += offset;
            }
            LogItem::Header(_) | LogItem::Frame { .. } | LogItem::Unused { .. } => seen += 1,
        });
    }
    let mut disk = SimDisk::with_files(files);
    if let Ok(index) = LogIndex::read(&mut disk)
        && let Ok(mut replay) = index.replay(index.reaches_back_to().unwrap_or(Zxid::ZERO))
    {
        let mut last = None;
        while let Ok(Some(segment)) = replay.next_segment(&mut disk) {
            for record in segment.records() {
                assert!(last < Some(record.zxid), "{} behind {last:?}", record.zxid);
                let sequence = segment_sequence(&segment.name).expect("a segment is named so");
                assert!(records.contains(&(sequence, record.zxid)), "recovery reads what the dump does not show");
                last = Some(record.zxid);
                seen += 1;
            }
        }
        if replay.remaining() == 0 {
            seen = seen.wrapping_add(replay.finish(&mut disk).map_or(0, |tail| tail.end.offset));
        }
    }
    seen
}

/// Reads each snapshot as the operator's tools do, and recovers a tree from the folder.
pub fn snapshot(bytes: &[u8]) -> u64 {
    let files = folder(bytes);
    let lens: Vec<(Zxid, u64)> =
        files.iter().filter_map(|(name, bytes)| Some((snapshot_zxid(name)?, bytes.len() as u64))).collect();
    let mut disk = SimDisk::with_files(files);
    let mut seen = 0_u64;
    let mut whole = Vec::new();
    for (zxid, len) in lens {
        let sound = dump::snapshot(&mut disk, zxid, &mut |item| match item {
            SnapshotItem::Damaged { offset, .. } => seen += offset,
            SnapshotItem::Whole { len: read } => assert_eq!(read, len, "a whole snapshot is the whole file"),
            SnapshotItem::Header { .. } | SnapshotItem::Frame { .. } | SnapshotItem::Record(_) => seen += 1,
        });
        if sound == Ok(true) {
            whole.push(zxid);
        }
    }
    let options = recovery::Options { threads: 0, ..recovery::Options::default() };
    if let Ok(recovered) = recover(&mut disk, &options, &mut |_| {}) {
        if let Some(zxid) = recovered.snapshot {
            assert!(whole.contains(&zxid), "a tree from the snapshot {zxid}, which is not whole");
        }
        seen += recovered.tree.view().node_count() as u64;
    }
    seen
}

/// Folders as the storage writes them: two segments, the marker, and a snapshot.
fn written() -> Vec<(String, Vec<u8>)> {
    let disk = SimDisk::new(1);
    let mut options = StorageOptions::new(9);
    options.core.segment_len = 16 << 10;
    options.core.record_len_max = 1 << 10;
    let mut storage = Storage::over(Box::new(disk.clone()), options, Box::new(|| WallTime(5))).expect("a new folder");
    for path in ["/a", "/a/b", "/c"] {
        storage.create(path, b"data", 1).expect("a new znode");
    }
    storage.snapshot().expect("no fault");
    storage.set("/c", &[7; 600], 2).expect("a znode");
    storage.delete("/a/b").expect("a znode");
    drop(storage);
    disk.files().into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect()
}

/// A snapshot with everything that one can hold.
fn rich_snapshot() -> Vec<u8> {
    let mut tree = Tree::new(tree::Options::default());
    let kinds = [CreateKind::Persistent, CreateKind::Ephemeral, CreateKind::Container, CreateKind::Ttl(1000)];
    for (number, (kind, path)) in kinds.into_iter().zip(["/p", "/e", "/c", "/p/t"]).enumerate() {
        let op = match kind {
            CreateKind::Container => OpCode::CREATE_CONTAINER,
            CreateKind::Ttl(_) => OpCode::CREATE_TTL,
            _ => OpCode::CREATE,
        };
        let zxid = Zxid(number as i64 + 1);
        let header = TxnHeader { session: SessionId(77), cxid: 0, zxid, time: WallTime(5), op };
        let acl = if number == 0 { AclList::READ_ONLY } else { AclList::OPEN };
        let data = (number != 3).then_some(&b"data"[..]);
        let create = CreateTxn { path: path.into(), data, acl, kind, parent_cversion: -1 };
        assert_eq!(tree.apply(&header, &Txn::Create(create), &mut Vec::new()).err, ErrorCode::OK);
    }
    let mut source = ImageSource::new(tree.cut(), vec![(SessionId(77), 4000), (SessionId(78), 40_000)]);
    let mut writer = SnapshotWriter::new(9, source.info());
    let (mut block, mut bytes) = (BlockBuf::zeroed(0), Vec::new());
    writer.header(&mut block);
    bytes.extend_from_slice(block.bytes());
    let mut payload = Vec::new();
    loop {
        payload.clear();
        let count = source.fill(&mut payload, 200);
        if count == 0 {
            break;
        }
        writer.records_frame(&payload, count, &mut block);
        bytes.extend_from_slice(block.bytes());
    }
    writer.footer(&mut block);
    bytes.extend_from_slice(block.bytes());
    bytes
}

/// Each with every kind of mending.
fn with_flags(name: &str, files: &[&Vec<u8>], seeds: &mut Vec<(String, Vec<u8>)>) {
    for flags in [0, MEND_HEADERS, MEND_ALL] {
        seeds.push((format!("{name}.{flags}"), input(flags, files.iter().copied())));
    }
}

/// What the log's target begins from.
pub fn log_seeds() -> Vec<(String, Vec<u8>)> {
    let files = written();
    let mut seeds = Vec::new();
    let logs: Vec<_> = files.iter().filter(|(name, _)| name.starts_with("log.")).collect();
    for (name, bytes) in &logs {
        with_flags(name, &[bytes], &mut seeds);
    }
    with_flags("folder", &logs.iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), &mut seeds);
    seeds
}

/// What the snapshot's target begins from.
pub fn snapshot_seeds() -> Vec<(String, Vec<u8>)> {
    let files = written();
    let mut seeds = Vec::new();
    let rich = rich_snapshot();
    let mut disk = SimDisk::with_files(folder(&input(0, [&rich])));
    let options = recovery::Options { threads: 0, ..recovery::Options::default() };
    let recovered = recover(&mut disk, &options, &mut |_| {}).expect("a seed is whole");
    let paths = ["/p", "/e", "/c", "/p/t"];
    assert!(paths.iter().all(|path| recovered.tree.view().znode(path).is_some()), "a seed holds all that it should");
    with_flags("rich", &[&rich], &mut seeds);
    for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("snapshot.")) {
        with_flags(name, &[bytes], &mut seeds);
    }
    with_flags("folder", &files.iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), &mut seeds);
    seeds
}
