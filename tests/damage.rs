//! Every file of a data folder, damaged in every way: what was acknowledged is recovered, or there is an error that names file
//! and offset. Silent loss: none.
//!
//! Two folders are damaged, one closed in order and one whose server was killed after it had been idle, so that nothing
//! acknowledged lacks its witness. What cannot be told apart by anybody (the last acknowledged frame gone without a trace,
//! no marker yet written) is not among the cases; `storage::core::tests` shows that one.

use std::collections::BTreeMap;

use zoo_server::ids::{Epoch, SessionId, Zxid};
use zoo_server::storage::StorageError;
use zoo_server::storage::core::{Command, LogCore, Options, Report};
use zoo_server::storage::disk::{BLOCK_LEN, Disk};
use zoo_server::storage::dump::{self, LogItem, SnapshotItem};
use zoo_server::storage::epochs::{COPY_NAMES, Epochs};
use zoo_server::storage::image::ImageSource;
use zoo_server::storage::log::format::{frame_field, record_field, segment_field, segment_sequence};
use zoo_server::storage::log::{BatchBuilder, LogTail};
use zoo_server::storage::recovery::{self, Recovered};
use zoo_server::storage::sim_disk::SimDisk;
use zoo_server::storage::snapshot::format::field as snapshot_field;
use zoo_server::storage::snapshot::snapshot_zxid;
use zoo_server::time::WallTime;
use zoo_server::tree::{self, Tree};
use zoo_server::wire::acl::AclList;
use zoo_server::wire::op::OpCode;
use zoo_server::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader, TxnRecord};

type Files = BTreeMap<String, Vec<u8>>;
type Edit = Box<dyn Fn(&mut Vec<u8>)>;
type Damage = Box<dyn Fn(&mut Files)>;

fn options() -> Options {
    Options { segment_len: 48 << 10, record_len_max: 3 << 10, force_sync: true, snapshots_retained: 2 }
}

/// A folder and what was acknowledged in it.
struct Folder {
    files: Files,
    end: Zxid,
    digest: u64,
}

struct Writer {
    disk: SimDisk,
    core: LogCore,
    tree: Tree,
    durable: Zxid,
}

impl Writer {
    fn new(log_id: u64) -> Self {
        let disk = SimDisk::new(log_id);
        let recovered = recover(&disk).expect("an empty folder");
        let core = LogCore::open(&mut disk.clone(), options(), &recovered.tail, log_id).expect("no fault");
        Self { disk, core, tree: recovered.tree, durable: Zxid::ZERO }
    }

    fn create(&mut self, count: i64, data_len: usize) {
        let mut builder = BatchBuilder::new();
        for _ in 0..count {
            let zxid = self.tree.view().zxid().next();
            let parent_cversion = self.tree.view().znode("/").expect("a root").persisted().cversion + 1;
            let data = vec![zxid.0 as u8; data_len];
            let kind = CreateKind::Persistent;
            let path = format!("/node-{}", zxid.0).into();
            let txn = Txn::Create(CreateTxn { path, data: Some(&data), acl: AclList::OPEN, kind, parent_cversion });
            let header = TxnHeader { session: SessionId(1), cxid: 0, zxid, time: WallTime(zxid.0), op: OpCode::CREATE };
            self.tree.apply(&header, &txn, &mut Vec::new());
            let mut bytes = Vec::new();
            TxnRecord { header, txn, digest: None }.encode(&mut bytes);
            builder.push(zxid, &bytes);
        }
        self.core.handle(Command::Append(builder.finish().expect("at least one")));
        self.settle();
    }

    fn epochs(&mut self, accepted: u32, current: u32) {
        let (accepted, current) = (Some(Epoch(accepted)), Some(Epoch(current)));
        self.core.handle(Command::SaveEpochs { accepted, current });
        self.settle();
    }

    /// Cuts the log, and takes the tree of what is left.
    fn truncate(&mut self, to: Zxid) {
        self.core.handle(Command::Truncate { to });
        self.settle();
        self.tree = recover(&self.disk).expect("it was just cut").tree;
        assert_eq!(self.tree.view().zxid(), to);
        self.durable = to;
    }

    /// Puts the tree that is here in the place of everything, as if a leader had sent it.
    fn install(&mut self, log_id: u64) {
        let source = Box::new(ImageSource::new(self.tree.cut(), vec![(SessionId(1), 4000)]));
        self.core.handle(Command::Install { source, log_id });
        self.settle();
        assert_eq!(self.core.log_id(), log_id);
    }

    fn snapshot(&mut self) {
        let source = ImageSource::new(self.tree.cut(), vec![(SessionId(1), 4000)]);
        self.core.handle(Command::Snapshot(Box::new(source)));
        self.settle();
    }

    fn settle(&mut self) {
        let mut done = Vec::new();
        loop {
            let again = self.core.step(&mut self.disk);
            while let Some(report) = self.core.poll_report() {
                match report {
                    Report::Durable { through, .. } => self.durable = through,
                    Report::Failed(error) => panic!("{error}"),
                    Report::SnapshotFailed { error, .. } => panic!("{error}"),
                    _ => {}
                }
            }
            self.disk.wait(true, &mut done).expect("no fault");
            if done.is_empty() && !again {
                return;
            }
            done.drain(..).for_each(|completion| self.core.complete(completion));
        }
    }
}

fn recover(disk: &SimDisk) -> Result<Recovered, StorageError> {
    let options = recovery::Options { threads: 0, is_member: true, ..recovery::Options::default() };
    recovery::recover(&mut disk.clone(), &options, &mut |_| {})
}

/// Some segments, two snapshots, a log behind them; one frame of the log is long enough for a table of its own.
fn folder(log_id: u64, end: End) -> Folder {
    let mut writer = Writer::new(log_id);
    if end == End::Rebuilt {
        // A log that a snapshot began and that was cut twice, within a frame and behind one.
        writer.create(9, 300);
        writer.install(log_id ^ 0xffff);
        writer.create(30, 900);
        writer.create(20, 900);
        writer.truncate(Zxid(31));
        writer.create(1, 400);
        writer.create(3, 400);
        writer.truncate(Zxid(32));
    }
    writer.epochs(12, 11);
    // The shorter one has files of its own kind enough.
    for step in if end == End::Rebuilt { 20..36 } else { 0..36 } {
        writer.create(1 + step % 4, 100 + 37 * (step as usize % 7) + if step % 9 == 4 { 2000 } else { 0 });
        // Without another snapshot all of what was cut and replaced is needed.
        if step % 12 == 8 && end != End::Rebuilt {
            writer.snapshot();
        }
    }
    // Longer than the CRCs that fit into a frame header.
    writer.create(24, 2500);
    writer.create(2, 300);
    writer.create(1, 900);
    writer.epochs(14, 13);
    if end != End::Killed {
        writer.core.handle(Command::Close);
    } else {
        writer.core.handle(Command::Tick);
        writer.settle();
        writer.core.handle(Command::Tick);
    }
    writer.settle();
    let (end, digest) = (writer.tree.view().zxid(), writer.tree.view().digest());
    assert_eq!(writer.durable, end);
    Folder { files: writer.disk.files(), end, digest }
}

const EPOCHS: Epochs = Epochs { accepted: Epoch(14), current: Epoch(13) };

/// How a folder came to be as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Killed,
    /// Cut and replaced before, and closed.
    Rebuilt,
}

/// One way to damage a folder.
struct Case {
    file: String,
    kind: &'static str,
    change: Damage,
}

/// Interesting places of a file: where something begins, and the fields in it.
#[derive(Default)]
struct Places {
    boundaries: Vec<usize>,
    fields: Vec<usize>,
}

fn places(name: &str, bytes: &[u8]) -> Places {
    let mut places = Places::default();
    if let Some(sequence) = segment_sequence(name) {
        dump::scan_segment(bytes, sequence, &mut |item| match item {
            LogItem::Header(_) => {
                use segment_field::*;
                places.boundaries.push(0);
                places.fields.extend([
                    MAGIC,
                    VERSION,
                    BLOCK,
                    LOG_ID,
                    SEQUENCE,
                    SEGMENT_LEN,
                    ZXID_FIRST,
                    ZXID_BEFORE,
                    PREVIOUS_SEQUENCE,
                    PREVIOUS_END,
                    CHAIN_BEFORE,
                    CRC,
                    LEN,
                    BLOCK_LEN - 1,
                ]);
            }
            LogItem::Frame { offset, header } => {
                use frame_field::*;
                let at = offset as usize;
                places.boundaries.push(at);
                let fields = [
                    MAGIC,
                    CRC,
                    LOG_ID,
                    SEQUENCE,
                    BLOCK,
                    BLOCKS,
                    RECORDS_LEN,
                    RECORDS,
                    CHAIN_BEFORE,
                    CHAIN_AFTER,
                    ZXID_BEFORE,
                    ZXID_FIRST,
                    ZXID_LAST,
                    FLAGS,
                    KIND,
                    TABLE,
                    TABLE + 8,
                    511,
                    header.len() - 1,
                    header.len() - 600,
                ];
                places.fields.extend(fields.map(|field| at + field));
            }
            LogItem::Record(record) => {
                use record_field::*;
                let at = record.offset as usize;
                places.boundaries.push(at);
                let end = PAYLOAD + record.payload.len() - 1;
                places.fields.extend([LEN, CRC, ZXID, PAYLOAD, PAYLOAD + 20, end].map(|field| at + field));
            }
            LogItem::Unused { offset } => {
                places.boundaries.push(offset as usize);
                places.fields.extend([offset as usize, bytes.len() - 1]);
            }
            LogItem::Torn { .. } | LogItem::Damaged { .. } => panic!("{name} is sound: {item:?}"),
        });
    } else if let Some(zxid) = snapshot_zxid(name) {
        let mut disk = SimDisk::with_files([(name.to_owned(), bytes.to_vec())]);
        let mut frames = vec![0];
        dump::snapshot(&mut disk, zxid, &mut |item| match item {
            SnapshotItem::Frame { offset, .. } => frames.push(offset as usize),
            SnapshotItem::Damaged { .. } => panic!("{name} is sound: {item:?}"),
            _ => {}
        })
        .expect("no fault");
        frames.push(bytes.len() - BLOCK_LEN);
        for at in frames {
            use snapshot_field::*;
            places.boundaries.push(at);
            let fields = [MAGIC, CRC, LOG_ID, ZXID, OFFSET, NUMBER, KIND, BLOCKS, PAYLOAD_LEN, RECORDS, CHAIN, PAYLOAD];
            places.fields.extend(fields.map(|field| at + field));
            places.fields.extend((PAYLOAD..BLOCK_LEN).step_by(97).map(|field| at + field));
        }
    } else if COPY_NAMES.contains(&name) {
        places.boundaries.extend([0, 24]);
        places.fields.extend(0..28);
    } else {
        places.boundaries.extend([0, 64, BLOCK_LEN, BLOCK_LEN + 64]);
        places.fields.extend((0..2).flat_map(|slot| (0..68).step_by(4).map(move |field| slot * BLOCK_LEN + field)));
    }
    places
}

fn cases(folder: &Folder, other_log: &Files) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |file: &str, kind, change: Damage| {
        cases.push(Case { file: file.to_owned(), kind, change });
    };
    for (name, bytes) in &folder.files {
        let edit = |change: Edit| -> Damage {
            let name = name.clone();
            Box::new(move |files| change(files.get_mut(&name).expect("it is there")))
        };
        let lost = name.clone();
        add(name, "missing", Box::new(move |files| drop(files.remove(&lost))));
        let places = places(name, bytes);
        let mut cuts: Vec<usize> = places.boundaries.clone();
        cuts.extend(places.boundaries.windows(2).map(|pair| usize::midpoint(pair[0], pair[1])));
        cuts.push(bytes.len() - 1);
        for cut in cuts {
            add(name, "cut", edit(Box::new(move |bytes| bytes.truncate(cut))));
        }
        for (index, &field) in places.fields.iter().enumerate() {
            let bit = 1 << (index % 8);
            add(name, "flipped bit", edit(Box::new(move |bytes| bytes[field] ^= bit)));
        }
        for at in (0..bytes.len()).step_by(BLOCK_LEN) {
            let end = (at + BLOCK_LEN).min(bytes.len());
            add(name, "zeroed block", edit(Box::new(move |bytes| bytes[at..end].fill(0))));
            add(name, "zeroed sector", edit(Box::new(move |bytes| bytes[at..at + 512].fill(0))));
            let mut donors = Vec::new();
            // The same file at another offset, near and far.
            for from in [at.wrapping_sub(BLOCK_LEN), at + BLOCK_LEN, BLOCK_LEN, bytes.len() / 2 / BLOCK_LEN * BLOCK_LEN]
            {
                donors.extend(bytes.get(from..from.wrapping_add(BLOCK_LEN)).map(<[u8]>::to_vec));
            }
            // The same offset of every other file, and of this file in another log.
            let others = folder.files.iter().filter(|(other, _)| *other != name).map(|(_, bytes)| bytes);
            for other in others.chain(other_log.get(name)) {
                donors.extend(other.get(at..at + BLOCK_LEN).map(<[u8]>::to_vec));
            }
            for donor in donors.into_iter().filter(|donor| *donor != bytes[at..end]) {
                let change = move |bytes: &mut Vec<u8>| bytes[at..at + BLOCK_LEN].copy_from_slice(&donor);
                add(name, "block from elsewhere", edit(Box::new(change)));
            }
        }
        if let Some(other) = other_log.get(name).filter(|other| *other != bytes) {
            let other = other.clone();
            add(name, "file of another log", edit(Box::new(move |bytes| bytes.clone_from(&other))));
        }
        for (other, donor) in folder.files.iter().filter(|(other, _)| *other != name) {
            let same_kind = segment_sequence(other).is_some() == segment_sequence(name).is_some()
                && snapshot_zxid(other).is_some() == snapshot_zxid(name).is_some();
            if same_kind {
                let donor = donor.clone();
                add(name, "another file's content", edit(Box::new(move |bytes| bytes.clone_from(&donor))));
            }
        }
    }
    cases
}

fn kind_of_file(name: &str, tail: &LogTail) -> String {
    match (segment_sequence(name), snapshot_zxid(name)) {
        (Some(sequence), _) if sequence > tail.end.sequence => format!("{name} (prepared)"),
        (Some(sequence), _) if sequence == tail.end.sequence => format!("{name} (last)"),
        _ => name.to_owned(),
    }
}

#[test]
fn no_damage_loses_anything_silently() {
    let mut silent = Vec::new();
    let mut total = [0_usize; 2];
    let ends = [
        ("closed in order", End::Closed),
        ("killed while idle", End::Killed),
        ("cut and replaced before", End::Rebuilt),
    ];
    for (what, end) in ends {
        let folder = folder(0x1111_2222_3333_4444, end);
        let other_log = self::folder(0x5555_6666_7777_8888, end).files;
        let whole = recover(&SimDisk::with_files(folder.files.clone())).expect("a sound folder");
        assert_eq!(whole.tail.end.zxid, folder.end);
        assert_eq!(whole.tail.cut, None);
        let mut table: BTreeMap<(String, &str), [usize; 2]> = BTreeMap::new();
        for (number, case) in cases(&folder, &other_log).into_iter().enumerate() {
            let mut files = folder.files.clone();
            (case.change)(&mut files);
            let disk = SimDisk::with_files(files);
            let row = table.entry((kind_of_file(&case.file, &whole.tail), case.kind)).or_default();
            match recover(&disk) {
                Ok(recovered) => {
                    row[0] += 1;
                    total[0] += 1;
                    let view = recovered.tree.view();
                    let is_whole = view.zxid() == folder.end && view.digest() == folder.digest;
                    if !is_whole || recovered.epochs != EPOCHS {
                        silent.push(format!(
                            "{}, {} (case {number}): only {} is there, and {:?}",
                            case.file,
                            case.kind,
                            view.zxid(),
                            recovered.epochs
                        ));
                        continue;
                    }
                    // What was recovered can go on, and its end is then still found.
                    if number % 7 == 0 {
                        go_on(&disk, &recovered, &format!("{}, {} (case {number})", case.file, case.kind));
                    }
                }
                Err(error) => {
                    row[1] += 1;
                    total[1] += 1;
                    let words = error.to_string();
                    let named = folder.files.contains_key(error.file()) && words.contains(error.file());
                    assert!(named && words.contains("offset"), "{}, {}: {words}", case.file, case.kind);
                }
            }
        }
        println!("\na folder {what}: {} files, through {}", folder.files.len(), folder.end);
        println!("{:<36} {:<24} {:>9} {:>9}", "file", "damage", "recovered", "refused");
        for ((file, kind), [recovered, refused]) in table {
            println!("{file:<36} {kind:<24} {recovered:>9} {refused:>9}");
        }
    }
    println!("\n{} recovered, {} refused, {} silent losses", total[0], total[1], silent.len());
    assert!(total[0] > 500 && total[1] > 500, "{total:?}");
    assert!(silent.is_empty(), "\n{}", silent.join("\n"));
}

fn go_on(disk: &SimDisk, recovered: &Recovered, what: &str) {
    let core = LogCore::open(&mut disk.clone(), options(), &recovered.tail, 1).expect("no fault");
    let Recovered { tree, tail, .. } = recover(disk).unwrap_or_else(|error| panic!("{what}: opened, then {error}"));
    assert_eq!(tail.end.zxid, recovered.tail.end.zxid, "{what}");
    let mut writer = Writer { disk: disk.clone(), core, tree, durable: tail.end.zxid };
    writer.create(3, 50);
    let end = writer.tree.view().zxid();
    let again = recover(&disk.crash_image(1)).unwrap_or_else(|error| panic!("{what}: went on, then {error}"));
    assert_eq!(again.tail.end.zxid, end, "{what}: went on");
    assert_eq!(tree::Options::default(), *again.tree.options());
}
