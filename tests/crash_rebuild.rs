//! The disk frozen after every single operation of runs that cut the log, put snapshots in the place of everything and save epochs.
//!
//! As `crash_images.rs`, with more than one outcome at times: while a cut is under way the folder holds the whole log before it
//! or the whole log behind it, and nothing else; so with a snapshot that replaces everything, and with each epoch file. What
//! was reported must be there. What is there must be one of the histories that were ever appended, byte by byte, with its
//! tree; it must be able to go on, and be cut again.

use std::collections::{BTreeMap, BTreeSet};

use zoo_server::ids::{Epoch, SessionId, Zxid};
use zoo_server::storage::core::{Command, LogCore, Options, Report};
use zoo_server::storage::disk::Disk;
use zoo_server::storage::epochs::Epochs;
use zoo_server::storage::image::ImageSource;
use zoo_server::storage::log::BatchBuilder;
use zoo_server::storage::recovery::{self, Recovered};
use zoo_server::storage::sim_disk::SimDisk;
use zoo_server::time::WallTime;
use zoo_server::tree::{self, Tree};
use zoo_server::wire::acl::AclList;
use zoo_server::wire::op::OpCode;
use zoo_server::wire::txn::{CreateKind, CreateTxn, Txn, TxnDigest, TxnHeader, TxnRecord};

/// How many images are drawn for each operation.
const IMAGES: u64 = if cfg!(debug_assertions) { 3 } else { 30 };
const HISTORY_MAX: usize = 9;

fn options() -> Options {
    Options { segment_len: 48 << 10, record_len_max: 3 << 10, force_sync: true, snapshots_retained: 2 }
}

fn how_to_recover() -> recovery::Options {
    recovery::Options {
        threads: 0,
        is_member: true,
        history_records_max: HISTORY_MAX,
        history_bytes_max: 1 << 20,
        ..recovery::Options::default()
    }
}

fn recover(disk: &SimDisk) -> Result<Recovered, String> {
    recovery::recover(&mut disk.clone(), &how_to_recover(), &mut |_| {}).map_err(|error| error.to_string())
}

/// A record and the tree's digest behind it.
#[derive(Clone, PartialEq, Debug)]
struct Record {
    zxid: Zxid,
    bytes: Vec<u8>,
    digest: u64,
}

/// A history: what a snapshot brought, and the records since.
#[derive(Clone, PartialEq, Debug, Default)]
struct History {
    base: Zxid,
    base_digest: u64,
    records: Vec<Record>,
}

impl History {
    fn through(&self, zxid: Zxid) -> Self {
        let records = self.records.iter().take_while(|record| record.zxid <= zxid).cloned().collect();
        Self { records, ..self.clone() }
    }

    fn end(&self) -> (Zxid, u64) {
        self.records.last().map_or((self.base, self.base_digest), |record| (record.zxid, record.digest))
    }
}

/// What may be found behind a power cut.
#[derive(Clone, Debug)]
struct Promise {
    /// Each history, and the zxid through which it must be there at least.
    histories: Vec<(History, Zxid)>,
    accepted: BTreeSet<Epoch>,
    current: BTreeSet<Epoch>,
}

/// Creates a znode: its path and data follow from the zxid.
fn create(tree: &mut Tree, zxid: Zxid) -> Record {
    let data = vec![zxid.0 as u8; ((zxid.0 * 131) % 900) as usize];
    let parent_cversion = tree.view().znode("/").expect("a root").persisted().cversion + 1;
    let kind = CreateKind::Persistent;
    let path = format!("/n{zxid}").into();
    let txn = Txn::Create(CreateTxn { path, data: Some(&data), acl: AclList::OPEN, kind, parent_cversion });
    let header = TxnHeader { session: SessionId(7), cxid: 0, zxid, time: WallTime(zxid.0), op: OpCode::CREATE };
    tree.apply(&header, &txn, &mut Vec::new());
    let digest = tree.view().digest();
    let mut bytes = Vec::new();
    let record = TxnRecord { header, txn, digest: Some(TxnDigest { version: TxnDigest::VERSION, tree: digest }) };
    record.encode(&mut bytes);
    Record { zxid, bytes, digest }
}

/// A member of an ensemble as far as its disk is concerned.
struct Member {
    disk: SimDisk,
    core: Option<LogCore>,
    tree: Tree,
    history: History,
    promise: Promise,
    failed: bool,
    cuts: usize,
    installs: usize,
}

impl Member {
    fn new(disk: &SimDisk) -> Self {
        let tree = Tree::new(tree::Options::default());
        let history = History { base_digest: tree.view().digest(), ..History::default() };
        // From the first opening on there are files, which say what the empty history says.
        let none = BTreeSet::from([Epoch(0)]);
        let promise = Promise { histories: vec![(history.clone(), Zxid::ZERO)], accepted: none.clone(), current: none };
        let mut member =
            Self { disk: disk.clone(), core: None, tree, history, promise, failed: false, cuts: 0, installs: 0 };
        member.open();
        member
    }

    /// Opens the folder; what is there must be what this member knows.
    fn open(&mut self) {
        let recovered = recover(&self.disk).expect("a folder that was left in order");
        assert_eq!((recovered.tail.end.zxid, recovered.tree.view().digest()), self.history.end());
        self.tree = recovered.tree;
        match LogCore::open(&mut self.disk, options(), &recovered.tail, 0x1111) {
            Ok(core) => self.core = Some(core),
            Err(_) => self.failed = true,
        }
    }

    fn append(&mut self, epoch: u32, count: u32) {
        if self.failed {
            return;
        }
        let mut builder = BatchBuilder::new();
        for _ in 0..count {
            let last = self.history.end().0;
            let zxid = if last.epoch().0 < epoch { Zxid::new(Epoch(epoch), 1) } else { last.next() };
            let record = create(&mut self.tree, zxid);
            builder.push(zxid, &record.bytes);
            self.history.records.push(record);
        }
        self.promise.histories[0].0 = self.history.clone();
        self.handle(Command::Append(builder.finish().expect("some records")));
    }

    fn handle(&mut self, command: Command) {
        if let Some(core) = &mut self.core {
            core.handle(command);
        }
    }

    fn snapshot(&mut self) {
        if !self.failed {
            let source = ImageSource::new(self.tree.cut(), vec![(SessionId(7), 4000)]);
            self.handle(Command::Snapshot(Box::new(source)));
        }
    }

    /// Lets the core work until there is nothing left, or for so many completions.
    fn work(&mut self, completions: usize) {
        let mut done = Vec::new();
        for _ in 0..completions {
            let again = match &mut self.core {
                Some(core) => core.step(&mut self.disk),
                None => return,
            };
            while let Some(report) = self.core.as_mut().and_then(LogCore::poll_report) {
                match report {
                    Report::Durable { through, .. } => self.promise.histories[0].1 = through,
                    Report::Failed(_) => self.failed = true,
                    Report::Truncated { through } => {
                        self.cuts += 1;
                        assert_eq!(through, self.promise.histories[1].1);
                        self.promise.histories.remove(0);
                        self.history = self.promise.histories[0].0.clone();
                        let core = self.core.take().expect("it has just told");
                        match recovery::reload(core, &mut self.disk, &how_to_recover(), &mut |_| {}) {
                            Ok((core, recovered)) => {
                                let found = (recovered.tail.end.zxid, recovered.tree.view().digest());
                                assert_eq!(found, self.history.end());
                                self.tree = recovered.tree;
                                self.core = Some(core);
                            }
                            Err(_) => self.failed = true,
                        }
                    }
                    Report::Installed { zxid } => {
                        self.installs += 1;
                        assert_eq!(zxid, self.promise.histories[1].1);
                        self.promise.histories.remove(0);
                        self.history = self.promise.histories[0].0.clone();
                    }
                    Report::EpochsSaved => {
                        let keep_last = |epochs: &mut BTreeSet<Epoch>| {
                            *epochs = epochs.last().copied().into_iter().collect();
                        };
                        keep_last(&mut self.promise.accepted);
                        keep_last(&mut self.promise.current);
                    }
                    Report::Room { .. } | Report::SnapshotDone(_) | Report::Purged { .. } | Report::Closed => {}
                    other => panic!("{other:?}"),
                }
            }
            self.disk.wait(true, &mut done).expect("the simulated disk waits");
            if done.is_empty() && !again {
                return;
            }
            if let Some(core) = &mut self.core {
                done.drain(..).for_each(|completion| core.complete(completion));
            }
        }
    }

    fn settle(&mut self) {
        self.work(usize::MAX);
    }

    fn epochs(&mut self, accepted: Option<u32>, current: Option<u32>) {
        if self.failed {
            return;
        }
        let (accepted, current) = (accepted.map(Epoch), current.map(Epoch));
        self.promise.accepted.extend(accepted);
        self.promise.current.extend(current);
        self.handle(Command::SaveEpochs { accepted, current });
        self.settle();
    }

    fn truncate(&mut self, to: Zxid) {
        if self.failed {
            return;
        }
        let kept = self.history.through(to);
        let through = kept.end().0;
        self.promise.histories.push((kept, through));
        self.handle(Command::Truncate { to });
        self.settle();
    }

    /// Installs the tree of a leader that is at `zxid`.
    fn install(&mut self, zxid: Zxid, znodes: u32, log_id: u64) {
        if self.failed {
            return;
        }
        let mut tree = Tree::new(tree::Options::default());
        for back in (0..znodes).rev() {
            create(&mut tree, Zxid(zxid.0 - i64::from(back)));
        }
        let base_digest = tree.view().digest();
        self.promise.histories.push((History { base: zxid, base_digest, records: Vec::new() }, zxid));
        let source = Box::new(ImageSource::new(tree.cut(), vec![(SessionId(9), 5000)]));
        self.tree = tree;
        self.handle(Command::Install { source, log_id });
        self.settle();
    }
}

/// The whole story, until it ends or the power goes.
fn play(disk: &SimDisk) -> Member {
    let zxid = |epoch, counter| Zxid::new(Epoch(epoch), counter);
    let mut member = Member::new(disk);
    member.epochs(Some(1), None);
    member.epochs(None, Some(1));
    for step in 0..14 {
        member.append(1, 1 + step * 5 % 6);
        member.work(step as usize % 3);
        if step % 5 == 3 {
            member.settle();
            member.snapshot();
        }
    }
    member.settle();
    // A new leader lacks the last ones; one of them shares a frame with one that stays.
    member.epochs(Some(2), None);
    let last = member.history.end().0;
    member.append(1, 5);
    member.truncate(Zxid(last.0 + 2));
    member.append(2, 3);
    member.epochs(None, Some(2));
    member.append(2, 20);
    member.settle();
    member.snapshot();
    member.work(5);
    // Behind a snapshot, which has to go.
    let last = member.history.end().0;
    member.append(2, 4);
    member.settle();
    member.truncate(Zxid(last.0 - 6));
    member.epochs(Some(4), None);
    member.append(4, 6);
    // Newer than what is installed below.
    member.snapshot();
    member.handle(Command::Tick);
    member.settle();
    member.handle(Command::Tick);
    member.epochs(Some(5), Some(4));
    // A leader with an older history than this one, which was never acknowledged by a quorum.
    member.install(zxid(3, 40), 30, 0x2222);
    member.append(5, 3);
    member.settle();
    member.append(5, 30);
    member.settle();
    member.truncate(zxid(5, 2));
    member.epochs(Some(6), None);
    member.append(6, 30);
    member.snapshot();
    member.settle();
    member.handle(Command::Close);
    member.settle();
    if member.failed {
        return member;
    }
    member.open();
    // All of the log behind the newest snapshot, and one that is newer.
    let last = member.history.end().0;
    member.epochs(Some(9), None);
    member.append(7, 9);
    member.settle();
    member.truncate(last);
    member.install(zxid(9, 1), 1, 0x3333);
    member.truncate(zxid(9, 1));
    member.install(zxid(9, 1), 20, 0x4444);
    member.append(9, 3);
    member.settle();
    member.truncate(zxid(9, 1));
    member.append(9, 2);
    member.epochs(None, Some(9));
    member.epochs(Some(12), Some(11));
    member.settle();
    member
}

/// The image must hold one of the histories, at least as much of it as was promised.
fn check(image: &SimDisk, promise: &Promise, what: &str) -> History {
    let recovered = recover(image).unwrap_or_else(|error| panic!("{what}: {error}\n{:?}", image.files().keys()));
    let found = (recovered.tail.end.zxid, recovered.tree.view().digest());
    assert!(recovered.passed_over.is_empty(), "{what}: {:?}", recovered.passed_over);
    assert_eq!(recovered.digest_mismatches.0, 0, "{what}");
    let fits = promise.histories.iter().find_map(|(history, least)| {
        let held = history.through(found.0);
        (held.end() == found && found.0 >= *least).then_some(held)
    });
    let Some(held) = fits else {
        let ends: Vec<_> = promise.histories.iter().map(|(history, least)| (history.end(), least)).collect();
        panic!("{what}: {found:?} is there; promised {ends:?}");
    };
    let bytes: Vec<(Zxid, &[u8])> = recovered.history.iter().map(|(zxid, bytes)| (*zxid, &bytes[..])).collect();
    let expected: Vec<(Zxid, &[u8])> = held.records.iter().map(|record| (record.zxid, &record.bytes[..])).collect();
    assert!(expected.ends_with(&bytes), "{what}: the last records");
    // Snapshots may have taken the log before them.
    let files = image.files();
    let least =
        if files.keys().any(|name| name.starts_with("snapshot.")) { 0 } else { expected.len().min(HISTORY_MAX) };
    assert!(bytes.len() >= least && bytes.len() <= HISTORY_MAX, "{what}: {} of the last records", bytes.len());
    let Epochs { accepted, current } = recovered.epochs;
    let is_promised = promise.accepted.contains(&accepted) && promise.current.contains(&current);
    assert!(is_promised, "{what}: {:?}", recovered.epochs);
    held
}

/// Opens an image, goes on, is cut, and goes on again.
fn go_on(image: &SimDisk, held: &History, seed: u64, what: &str) {
    let epochs = recover(image).expect("it was recovered before").epochs;
    let (accepted, current) = (BTreeSet::from([epochs.accepted]), BTreeSet::from([epochs.current]));
    let tree = Tree::new(tree::Options::default());
    let mut member = Member {
        disk: image.clone(),
        core: None,
        tree,
        history: held.clone(),
        promise: Promise { histories: vec![(held.clone(), held.end().0)], accepted, current },
        failed: false,
        cuts: 0,
        installs: 0,
    };
    member.open();
    let start = held.end().0;
    member.epochs(Some(21), None);
    member.append(20, 2);
    member.work((seed % 4) as usize);
    check(&member.disk.crash_image(seed), &member.promise, &format!("{what}, gone on from {start}"));
    member.settle();
    if seed.is_multiple_of(2) {
        member.truncate(start);
    } else {
        member.install(Zxid::new(Epoch(19), 5), 2, 0x7777);
    }
    member.append(21, 1);
    member.settle();
    assert!(!member.failed && member.cuts + member.installs == 1, "{what}: it goes on");
    check(&member.disk.crash_image(seed + 1), &member.promise, &format!("{what}, gone on and changed"));
    // Opening an image has removed what the power cut left over.
    let left: Vec<String> = member.disk.files().into_keys().filter(|name| is_left_over(name)).collect();
    assert!(left.is_empty(), "{what}: {left:?}");
}

fn is_left_over(name: &str) -> bool {
    name == "log.new" || name.contains(".install") || (name.starts_with("snapshot.") && name.ends_with(".tmp"))
}

#[test]
fn every_operation_of_a_run_that_cuts_and_replaces_can_be_the_last() {
    let whole = SimDisk::new(17);
    let member = play(&whole);
    assert!(!member.failed && member.promise.histories.len() == 1, "an undisturbed run ends");
    assert_eq!((member.cuts, member.installs), (6, 3));
    check(&whole, &member.promise, "the end");
    let history = whole.history();
    let kinds: BTreeMap<&str, usize> = history.iter().fold(BTreeMap::new(), |mut kinds, line| {
        *kinds.entry(line.split(' ').next().unwrap_or_default()).or_default() += 1;
        kinds
    });
    let (mut images, mut either) = (0, [0, 0]);
    for operations in 0..=history.len() {
        let disk = SimDisk::new(17);
        disk.cut_power_after(operations as u64);
        let promise = play(&disk).promise;
        let at = history.get(operations).map_or("the end", String::as_str);
        for seed in 0..IMAGES {
            let what = format!("power cut before operation {operations} ({at}), image {seed}");
            let image = disk.crash_image(seed);
            let held = check(&image, &promise, &what);
            if let [(before, _), (behind, _)] = &promise.histories[..] {
                either[0] += usize::from(held == before.through(held.end().0) && held != *behind);
                either[1] += usize::from(held == *behind);
            }
            assert_eq!(check(&image, &promise, &what), held, "{what}: reading changes nothing");
            go_on(&image, &held, seed, &what);
            images += 1;
        }
    }
    println!(
        "{} operations {kinds:?}: {images} images, {} with the log before a change and {} behind it",
        history.len(),
        either[0],
        either[1]
    );
    assert!(either[0] > 100 && either[1] > 100, "{either:?}");
}

/// A failed write or sync anywhere ends the server, and what is there then is as promised.
#[test]
fn every_write_and_sync_of_such_a_run_can_fail() {
    let whole = SimDisk::new(17);
    play(&whole);
    let (writes, syncs) = whole.counts();
    for (is_sync, count) in [(false, writes), (true, syncs)] {
        for n in 1..=count {
            let disk = SimDisk::new(17);
            if is_sync {
                disk.fail_sync(n);
            } else {
                disk.fail_write(n);
            }
            let member = play(&disk);
            assert!(member.failed, "{} {n} failed unnoticed", if is_sync { "sync" } else { "write" });
            let what = format!("{} {n} failed", if is_sync { "sync" } else { "write" });
            check(&disk.restart(), &member.promise, &what);
            check(&disk.crash_image(n), &member.promise, &what);
        }
    }
}
