//! The disk frozen after every single operation of a run, recovered, and compared with what had been promised.
//!
//! The run appends transactions in batches of changing size over several small segments, takes snapshots, purges, closes and
//! opens again. For each of its operations (each write, sync, create, rename, remove, directory sync) it is repeated
//! with the power cut right there, and of what was not synced then, several images are drawn: any subset of sectors,
//! names and lengths. Each image must recover to a prefix of what was appended that holds at least all that was
//! reported as durable, with exact bytes and the exact tree, and must be able to go on; and after going on, again.

use std::collections::BTreeMap;

use zoo_server::ids::{SessionId, Zxid};
use zoo_server::storage::core::{Command, LogCore, Options, Report};
use zoo_server::storage::disk::Disk;
use zoo_server::storage::image::ImageSource;
use zoo_server::storage::log::{BatchBuilder, LogIndex};
use zoo_server::storage::recovery::{self, Recovered};
use zoo_server::storage::sim_disk::SimDisk;
use zoo_server::time::WallTime;
use zoo_server::tree::{self, Tree};
use zoo_server::wire::acl::AclList;
use zoo_server::wire::error_code::ErrorCode;
use zoo_server::wire::op::OpCode;
use zoo_server::wire::txn::{CreateKind, CreateTxn, Txn, TxnDigest, TxnHeader, TxnRecord};

/// How many images are drawn for each operation.
const IMAGES: u64 = if cfg!(debug_assertions) { 6 } else { 40 };
const LOG_ID: u64 = 0x0123_4567_89ab_cdef;

fn options(force_sync: bool) -> Options {
    Options { segment_len: 48 << 10, record_len_max: 3 << 10, force_sync, snapshots_retained: 2 }
}

/// The transaction with this number: its operation and what it does follow from the number alone.
fn transaction(tree: &Tree, number: i64) -> Vec<u8> {
    let data = vec![number as u8; ((number * 131) % 700) as usize];
    let target = format!("/n{}", number - number % 5);
    let (op, txn) = match number % 5 {
        _ if number == 1 => (OpCode::CREATE_SESSION, Txn::CreateSession { timeout_ms: 4000 }),
        0 => {
            let parent_cversion = tree.view().znode("/").expect("a root").persisted().cversion + 1;
            let kind = if number % 3 == 0 { CreateKind::Ephemeral } else { CreateKind::Persistent };
            let path = target.into();
            (
                OpCode::CREATE,
                Txn::Create(CreateTxn { path, data: Some(&data), acl: AclList::OPEN, kind, parent_cversion }),
            )
        }
        3 if number % 15 == 3 && number > 5 => (OpCode::DELETE, Txn::Delete { path: target.into() }),
        step if number > 5 => {
            (OpCode::SET_DATA, Txn::SetData { path: target.into(), data: Some(&data), version: step as i32 })
        }
        _ => (OpCode::ERROR, Txn::Error { err: ErrorCode::NO_NODE }),
    };
    let header =
        TxnHeader { session: SessionId(7), cxid: number as i32, zxid: Zxid(number), time: WallTime(number), op };
    // The digest behind it is taken on a copy in the caller's tree.
    let mut bytes = Vec::new();
    TxnRecord { header, txn, digest: None }.encode(&mut bytes);
    bytes
}

/// All transactions of a run with the digests behind them, made once.
struct Script {
    records: Vec<Vec<u8>>,
    digests: Vec<u64>,
}

impl Script {
    fn new(len: i64) -> Self {
        let mut tree = Tree::new(tree::Options::default());
        let (mut records, mut digests) = (vec![Vec::new()], vec![tree.view().digest()]);
        for number in 1..=len {
            let bytes = transaction(&tree, number);
            let mut record = TxnRecord::decode(&bytes).expect("just encoded");
            tree.apply(&record.header, &record.txn, &mut Vec::new());
            let digest = tree.view().digest();
            record.digest = Some(TxnDigest { version: TxnDigest::VERSION, tree: digest });
            let mut with_digest = Vec::new();
            record.encode(&mut with_digest);
            records.push(with_digest);
            digests.push(digest);
        }
        Self { records, digests }
    }
}

/// A server's storage as far as this test needs one.
struct Run<'a> {
    script: &'a Script,
    disk: SimDisk,
    core: LogCore,
    tree: Tree,
    sessions: BTreeMap<SessionId, i32>,
    appended: i64,
    durable: i64,
    failed: bool,
    snapshots: usize,
    purges: usize,
}

/// Alone, or with the help of threads.
fn recover_with(disk: &SimDisk, threads: usize) -> Result<Recovered, String> {
    let options = recovery::Options { threads, ..recovery::Options::default() };
    recovery::recover(&mut disk.clone(), &options, &mut |_| {}).map_err(|error| error.to_string())
}

fn recover(disk: &SimDisk) -> Result<Recovered, String> {
    recover_with(disk, 0)
}

impl<'a> Run<'a> {
    /// Opens what the disk holds; nothing if the power went while it did.
    fn open(script: &'a Script, disk: &SimDisk, force_sync: bool) -> Option<Self> {
        let Recovered { tree, sessions, tail, .. } = recover(disk).expect("a disk that only lost power");
        let at = tail.end.zxid.0;
        let core = LogCore::open(&mut disk.clone(), options(force_sync), &tail, LOG_ID).ok()?;
        Some(Self {
            script,
            disk: disk.clone(),
            core,
            tree,
            sessions,
            appended: at,
            durable: at,
            failed: false,
            snapshots: 0,
            purges: 0,
        })
    }

    fn append(&mut self, count: i64) {
        if self.failed {
            return;
        }
        let mut builder = BatchBuilder::new();
        for _ in 0..count {
            self.appended += 1;
            let bytes = &self.script.records[self.appended as usize];
            let record = TxnRecord::decode(bytes).expect("a record of the script");
            self.tree.apply(&record.header, &record.txn, &mut Vec::new());
            if let Txn::CreateSession { timeout_ms } = record.txn {
                self.sessions.insert(record.header.session, timeout_ms);
            }
            builder.push(Zxid(self.appended), bytes);
        }
        self.core.handle(Command::Append(builder.finish().expect("at least one")));
    }

    fn snapshot(&mut self) {
        if !self.failed && !self.core.is_snapshotting() {
            let sessions = self.sessions.iter().map(|(&id, &timeout_ms)| (id, timeout_ms)).collect();
            self.core.handle(Command::Snapshot(Box::new(ImageSource::new(self.tree.cut(), sessions))));
        }
    }

    /// Lets the core work for some completions, or until nothing is left.
    fn work(&mut self, completions: usize) {
        let mut done = Vec::new();
        for _ in 0..completions {
            while self.core.step(&mut self.disk) {}
            while let Some(report) = self.core.poll_report() {
                match report {
                    Report::Durable { through, .. } => self.durable = through.0,
                    Report::Failed(_) => self.failed = true,
                    Report::SnapshotDone(_) => self.snapshots += 1,
                    Report::Purged { .. } => self.purges += 1,
                    _ => {}
                }
            }
            self.disk.wait(true, &mut done).expect("the simulated disk waits");
            if done.is_empty() {
                return;
            }
            done.drain(..).for_each(|completion| self.core.complete(completion));
        }
    }

    fn settle(&mut self) {
        self.work(usize::MAX);
    }
}

/// The whole story, until it ends or the power goes. What was promised by then, and how far the script got.
fn play(script: &Script, disk: &SimDisk, force_sync: bool) -> (i64, i64, [usize; 2]) {
    let (mut promised, mut appended, mut counts) = (0, 0, [0; 2]);
    for opening in 0..3 {
        let Some(mut run) = Run::open(script, disk, force_sync) else { break };
        for step in 0..9_i64 {
            // Some batches meet a busy disk and share a frame, some come alone.
            run.append(1 + (step * 5 + opening) % 7);
            run.work((step % 3) as usize);
            run.append(2);
            if step % 4 == 1 {
                run.snapshot();
            }
            if step % 2 == 0 {
                run.settle();
            }
            if step % 3 == 0 {
                run.core.handle(Command::Tick);
            }
        }
        if opening == 1 {
            run.settle();
            run.core.handle(Command::Close);
        }
        run.settle();
        // What an earlier opening was told stays promised even if this one could not be told anything.
        promised = promised.max(run.durable);
        appended = appended.max(run.appended);
        counts[0] += run.snapshots;
        counts[1] += run.purges;
        if run.failed {
            break;
        }
    }
    (promised, appended, counts)
}

/// The image must hold a prefix of the script, at least as long as what was promised.
fn check(script: &Script, image: &SimDisk, promised: i64, appended: i64, what: &str) -> i64 {
    let recovered = recover(image).unwrap_or_else(|error| panic!("{what}: {error}"));
    let end = recovered.tail.end.zxid.0;
    assert!(end >= promised, "{what}: {promised} was reported as durable, {end} is there");
    assert!(end <= appended, "{what}: {end} is there, {appended} was ever appended");
    assert_eq!(recovered.tree.view().zxid(), Zxid(end), "{what}");
    assert_eq!(recovered.tree.view().digest(), script.digests[end as usize], "{what}: the tree at {end}");
    assert_eq!(recovered.digest_mismatches.0, 0, "{what}");
    assert_eq!(recovered.sessions.len(), usize::from(end > 0), "{what}");
    assert!(recovered.passed_over.is_empty(), "{what}: {:?}", recovered.passed_over);
    if end % 4 == 0 {
        let beside = recover_with(image, 2).unwrap_or_else(|error| panic!("{what}, with threads: {error}"));
        assert_eq!(beside.tail, recovered.tail, "{what}, with threads");
        assert_eq!(beside.tree.view().digest(), script.digests[end as usize], "{what}, with threads");
        assert_eq!(beside.sessions, recovered.sessions, "{what}, with threads");
    }
    // And byte by byte, as far back as the log reaches.
    let mut disk = image.clone();
    let index = LogIndex::read(&mut disk).expect("recovery has read it");
    let from = recovered.snapshot.unwrap_or(Zxid::ZERO);
    let mut replay = index.replay(from).expect("recovery has read it");
    let mut next = from.0 + 1;
    while let Some(segment) = replay.next_segment(&mut disk).expect("recovery has read it") {
        for record in segment.records() {
            assert_eq!(record.zxid, Zxid(next), "{what}");
            assert_eq!(record.payload, script.records[next as usize], "{what}: record {next}");
            next += 1;
        }
    }
    assert_eq!(next - 1, end.max(from.0), "{what}");
    end
}

/// Opens an image, goes on, cuts the power again at once or after some work, and checks again.
fn go_on(script: &Script, image: &SimDisk, seed: u64, what: &str) {
    let Some(mut run) = Run::open(script, image, true) else { panic!("{what}: cannot go on") };
    let start = run.durable;
    run.append(3);
    run.work((seed % 4) as usize);
    run.append(1);
    run.work((seed % 7) as usize);
    let (durable, appended) = (run.durable, run.appended);
    assert!(durable >= start && !run.failed, "{what}: it goes on");
    check(script, &image.crash_image(seed), durable, appended, &format!("{what}, gone on from {start}"));
    run.settle();
    assert_eq!(run.durable, appended, "{what}: all that was appended becomes durable");
    check(script, &image.crash_image(seed + 1), appended, appended, &format!("{what}, gone on to {appended}"));
}

#[test]
fn every_operation_of_a_run_can_be_the_last() {
    let script = Script::new(400);
    let whole = SimDisk::new(11);
    let (promised, appended, [snapshots, purges]) = play(&script, &whole, true);
    assert_eq!(promised, appended, "an undisturbed run loses nothing");
    assert!(snapshots >= 4 && purges >= 1, "{snapshots} snapshots, {purges} purges");
    let history = whole.history();
    let kinds: BTreeMap<&str, usize> = history.iter().fold(BTreeMap::new(), |mut kinds, line| {
        *kinds.entry(line.split(' ').next().unwrap_or_default()).or_default() += 1;
        kinds
    });
    let (mut images, mut torn) = (0, 0);
    for operations in 0..=history.len() {
        let disk = SimDisk::new(11);
        disk.cut_power_after(operations as u64);
        let (promised, appended, _) = play(&script, &disk, true);
        let at = history.get(operations).map_or("the end", String::as_str);
        for seed in 0..IMAGES {
            let what = format!("power cut before operation {operations} ({at}), image {seed}");
            let image = disk.crash_image(seed);
            let tail = recover(&image).map(|recovered| recovered.tail);
            torn += usize::from(tail.is_ok_and(|tail| tail.cut.is_some()));
            let end = check(&script, &image, promised, appended, &what);
            assert_eq!(check(&script, &image, end, end, &what), end, "{what}: reading changes nothing");
            go_on(&script, &image, seed, &what);
            images += 1;
        }
    }
    println!("{} operations {kinds:?}: {images} images, {torn} with a torn tail, all as promised", history.len());
    assert!(torn > images / 50, "the images do tear: {torn} of {images}");
}

/// With forceSync=no a power cut may take what was acknowledged. What is there must still be a prefix, or be refused.
#[test]
fn without_syncs_a_power_cut_leaves_a_prefix_or_is_noticed() {
    let script = Script::new(400);
    let whole = SimDisk::new(23);
    play(&script, &whole, false);
    let (mut recovered, mut refused) = (0, BTreeMap::<String, u32>::new());
    for operations in 0..=whole.operations() {
        let disk = SimDisk::new(23);
        disk.cut_power_after(operations);
        let (_, appended, _) = play(&script, &disk, false);
        for seed in 0..IMAGES {
            let image = disk.crash_image(seed);
            let Err(error) = recover(&image) else {
                recovered += 1;
                check(&script, &image, 0, appended, &format!("power cut before operation {operations}, image {seed}"));
                continue;
            };
            *refused.entry(error.replace(|letter: char| letter.is_ascii_digit(), "")).or_default() += 1;
            // A segment is prepared only behind one that is durably in use, here too.
            assert!(!error.contains("was prepared behind it"), "operation {operations}, image {seed}: {error}");
        }
    }
    println!("without syncs: {recovered} images recovered to a prefix, refused {refused:?}");
    assert!(recovered > refused.values().sum::<u32>());
}

/// Killed instead of cut off: what was written is there, synced or not.
#[test]
fn a_killed_process_leaves_all_that_was_reported() {
    let script = Script::new(400);
    for force_sync in [true, false] {
        let whole = SimDisk::new(5);
        play(&script, &whole, force_sync);
        for operations in (0..whole.operations()).step_by(3) {
            let disk = SimDisk::new(5);
            disk.cut_power_after(operations);
            let (promised, appended, _) = play(&script, &disk, force_sync);
            check(&script, &disk.restart(), promised, appended, &format!("killed before operation {operations}"));
        }
    }
}
