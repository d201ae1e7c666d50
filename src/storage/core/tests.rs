//! The core over a simulated disk, driven as its shell drives it.

use super::*;
use crate::storage::log::format::SEGMENT_LEN_MAX;
use crate::storage::log::{BatchBuilder, LogIndex, Replay};
use crate::storage::sim_disk::SimDisk;
use crate::storage::snapshot::{SnapshotInfo, SnapshotReader};

fn options() -> Options {
    Options { segment_len: 64 << 10, record_len_max: 6000, force_sync: true, snapshots_retained: 2 }
}

/// Numbers from 1 on as a snapshot.
struct Numbers {
    zxid: Zxid,
    given: i64,
}

impl SnapshotSource for Numbers {
    fn info(&self) -> SnapshotInfo {
        SnapshotInfo { zxid: self.zxid, znodes: self.zxid.0 as u64, ..SnapshotInfo::default() }
    }

    fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> u32 {
        let mut count = 0;
        while self.given < self.zxid.0 && out.len() < budget {
            self.given += 1;
            out.extend_from_slice(&self.given.to_be_bytes());
            count += 1;
        }
        count
    }
}

struct Rig {
    disk: SimDisk,
    core: LogCore,
    reports: Vec<Report>,
    next: i64,
    cost: u64,
}

type Records = Vec<(Zxid, Vec<u8>)>;

fn tail_of(disk: &SimDisk, from: Zxid) -> Result<(LogTail, Records), StorageError> {
    let mut disk = disk.clone();
    let index = LogIndex::read(&mut disk)?;
    let mut replay: Replay<'_> = index.replay(from)?;
    let mut records = Vec::new();
    while let Some(segment) = replay.next_segment(&mut disk)? {
        records.extend(segment.records().map(|record| (record.zxid, record.payload.to_vec())));
    }
    Ok((replay.finish(&mut disk)?, records))
}

fn payload(zxid: i64) -> Vec<u8> {
    (0..(zxid * 37) % 900).map(|index| (index ^ zxid) as u8).collect()
}

impl Rig {
    fn new(options: Options) -> Self {
        Self::over(SimDisk::new(7), options)
    }

    fn over(disk: SimDisk, options: Options) -> Self {
        let (tail, _) = tail_of(&disk, Zxid::ZERO).expect("a sound log");
        let core = LogCore::open(&mut disk.clone(), options, &tail, 0xabcd).expect("no fault");
        let next = tail.end.zxid.0 + 1;
        Self { disk, core, reports: Vec::new(), next, cost: 0 }
    }

    fn append(&mut self, records: i64) {
        let mut builder = self.core.take_spare_buffer().map_or_else(BatchBuilder::new, BatchBuilder::reuse);
        for _ in 0..records {
            builder.push(Zxid(self.next), &payload(self.next));
            self.next += 1;
        }
        let batch = builder.finish().expect("some records");
        self.cost += batch.cost();
        self.core.handle(Command::Append(batch));
    }

    /// Runs until nothing is left to do.
    fn settle(&mut self) {
        let mut done = Vec::new();
        loop {
            let again = self.core.step(&mut self.disk);
            while let Some(report) = self.core.poll_report() {
                self.reports.push(report);
            }
            self.disk.wait(true, &mut done).expect("the simulated disk waits");
            if done.is_empty() && !again {
                return;
            }
            for completion in done.drain(..) {
                self.core.complete(completion);
            }
        }
    }

    fn durable(&self) -> i64 {
        let durable = self.reports.iter().rev().find_map(|report| match report {
            Report::Durable { through, .. } => Some(through.0),
            _ => None,
        });
        durable.unwrap_or(0)
    }

    /// What was given before is forgotten, as a replica does behind a cut; what may be given now is what was told since.
    fn count_anew(&mut self) {
        let is_change = |report: &Report| matches!(report, Report::Truncated { .. } | Report::Installed { .. });
        let at = self.reports.iter().rposition(is_change).expect("something was changed");
        self.reports.drain(..=at);
        self.cost = 0;
    }

    fn room(&self) -> (u64, bool) {
        let room = self.reports.iter().rev().find_map(|report| match report {
            Report::Room { admit_through, full } => Some((*admit_through, *full)),
            _ => None,
        });
        room.expect("room is told at the start")
    }

    fn last_report(&self) -> &Report {
        let told = |report: &&Report| !matches!(report, Report::Room { .. } | Report::Durable { .. });
        self.reports.iter().rev().find(told).expect("something was told")
    }

    /// Cuts, and goes on numbering behind the cut as a new leader would: in the next epoch.
    fn truncate(&mut self, to: i64) -> Report {
        self.core.handle(Command::Truncate { to: Zxid(to) });
        self.settle();
        self.last_report().clone()
    }

    fn records(&self, from: Zxid) -> Vec<i64> {
        tail_of(&self.disk, from).expect("a sound log").1.iter().map(|(zxid, _)| zxid.0).collect()
    }

    fn check(&self, through: i64) {
        let (tail, records) = tail_of(&self.disk, Zxid::ZERO).expect("a sound log");
        assert_eq!(tail.end.zxid, Zxid(through));
        let zxids: Vec<i64> = records.iter().map(|(zxid, _)| zxid.0).collect();
        assert_eq!(zxids, (1..=through).collect::<Vec<_>>());
        for (zxid, bytes) in records {
            assert_eq!(bytes, payload(zxid.0), "{zxid}");
        }
    }
}

#[test]
fn what_is_appended_is_read_back_across_segments_and_restarts() {
    let mut rig = Rig::new(options());
    for round in 0..40 {
        rig.append(1 + round % 7);
        if round % 3 == 0 {
            rig.settle();
        }
        if round % 13 == 12 {
            rig.settle();
            rig.core.handle(Command::Close);
            rig.settle();
            assert_eq!(rig.reports.last(), Some(&Report::Closed));
            rig.check(rig.next - 1);
            rig = Rig::over(rig.disk.restart(), options());
        }
    }
    rig.settle();
    assert_eq!(rig.durable(), rig.next - 1);
    rig.check(rig.next - 1);
    let segments = rig.disk.files().keys().filter(|name| segment_sequence(name).is_some()).count();
    assert!(segments > 2, "{segments} segments");
}

#[test]
fn batches_that_collect_behind_a_busy_disk_share_one_write() {
    let mut rig = Rig::new(options());
    rig.append(1);
    rig.settle();
    let (_, syncs) = rig.disk.counts();
    for _ in 0..50 {
        rig.append(1);
        rig.core.step(&mut rig.disk);
    }
    rig.settle();
    let (_, syncs_after) = rig.disk.counts();
    assert!(syncs_after - syncs <= 5, "{} syncs for 50 batches", syncs_after - syncs);
    rig.check(51);
}

#[test]
fn an_idle_log_is_marked_and_a_lost_last_frame_is_then_rot() {
    let mut rig = Rig::new(options());
    rig.append(2);
    rig.settle();
    rig.append(2);
    rig.settle();
    let unmarked = rig.disk.restart();
    for _ in 0..2 {
        rig.core.handle(Command::Tick);
        rig.settle();
    }
    let end = tail_of(&rig.disk, Zxid::ZERO).expect("sound").0.end;
    let wipe = |disk: &SimDisk| {
        disk.damage(&segment_name(1), |bytes| {
            let end = end.offset as usize;
            bytes[end - BLOCK_LEN..end].fill(0);
        });
    };
    wipe(&unmarked);
    assert_eq!(tail_of(&unmarked, Zxid::ZERO).expect("a torn tail, as far as anyone can know").0.end.zxid, Zxid(2));
    wipe(&rig.disk);
    let error = tail_of(&rig.disk, Zxid::ZERO).expect_err("known to be durable");
    assert!(matches!(&error, StorageError::Damaged { file, .. } if file == &segment_name(1)), "{error}");
    rig.disk.lose(&segment_name(1));
    let error = tail_of(&rig.disk, Zxid::ZERO).expect_err("known to exist");
    assert!(error.to_string().contains(&segment_name(1)), "{error}");
}

#[test]
fn room_is_granted_before_it_is_used_and_comes_back() {
    let mut rig = Rig::new(options());
    rig.disk.set_capacity(Some(200 << 10));
    rig.settle();
    let mut refused = 0;
    while refused < 3 {
        // A batch of 20 records costs less than 32 KiB.
        let (admit_through, full) = rig.room();
        if rig.cost + (32 << 10) > admit_through {
            assert!(full, "there is room for three segments");
            refused += 1;
            rig.core.handle(Command::Tick);
            rig.settle();
            continue;
        }
        rig.append(20);
        rig.settle();
        assert_eq!(rig.durable(), rig.next - 1, "what was admitted was written");
    }
    rig.check(rig.next - 1);
    rig.disk.set_capacity(None);
    rig.core.handle(Command::Tick);
    rig.settle();
    let (admit_through, full) = rig.room();
    assert!(!full && admit_through >= rig.cost + (32 << 10));
    rig.append(20);
    rig.settle();
    rig.check(rig.next - 1);
}

#[test]
fn room_that_was_granted_holds_for_batches_of_any_size() {
    for seed in 1..40u64 {
        let mut rig = Rig::new(options());
        let mut state = seed;
        for _ in 0..60 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let mut builder = BatchBuilder::new();
            for index in 0..1 + (state >> 40) % 9 {
                if builder.cost() + 7000 > rig.core.options().batch_cost_max() {
                    break;
                }
                builder.push(Zxid(rig.next), &vec![1; ((state >> 20).wrapping_mul(index + 1) % 6001) as usize]);
                rig.next += 1;
            }
            let batch = builder.finish().expect("some records");
            // Nothing completes in between: the grant alone must do.
            rig.core.step(&mut rig.disk);
            while let Some(report) = rig.core.poll_report() {
                rig.reports.push(report);
            }
            if rig.cost + batch.cost() > rig.room().0 {
                rig.disk.set_capacity(Some(rig.disk.used()));
                rig.settle();
                assert_eq!(rig.durable(), batch.first().0 - 1, "seed {seed}: everything admitted was written");
                rig.disk.set_capacity(None);
                rig.core.handle(Command::Tick);
                rig.settle();
            }
            assert!(rig.cost + batch.cost() <= rig.room().0, "seed {seed}");
            rig.cost += batch.cost();
            rig.core.handle(Command::Append(batch));
        }
        rig.settle();
        assert_eq!(rig.durable(), rig.next - 1);
    }
}

#[test]
fn a_failed_write_or_sync_is_the_last_word() {
    for fail_sync in [false, true] {
        let mut rig = Rig::new(options());
        rig.append(3);
        rig.settle();
        if fail_sync {
            rig.disk.fail_sync(1);
        } else {
            rig.disk.fail_write(1);
        }
        rig.append(1);
        rig.settle();
        rig.append(1);
        rig.settle();
        assert!(matches!(rig.reports.last(), Some(Report::Failed(StorageError::Disk(DiskError::Failed { .. })))));
        assert_eq!(rig.durable(), 3);
        assert!(rig.core.has_ended());
    }
}

#[test]
fn a_batch_longer_than_what_is_left_is_split_and_one_longer_than_a_segment_too() {
    let mut rig = Rig::new(options());
    rig.append(500);
    assert!(rig.cost > 2 * rig.core.options().segment_len);
    rig.settle();
    assert_eq!(rig.durable(), 500);
    rig.check(500);
}

#[test]
fn without_force_sync_nothing_waits_for_a_sync_and_an_idle_log_is_synced() {
    let mut rig = Rig::new(Options { force_sync: false, ..options() });
    rig.append(3);
    rig.settle();
    let (_, syncs) = rig.disk.counts();
    rig.append(3);
    rig.core.step(&mut rig.disk);
    rig.settle();
    assert_eq!(rig.durable(), 6);
    assert_eq!(rig.disk.counts().1, syncs);
    for _ in 0..2 {
        rig.core.handle(Command::Tick);
        rig.settle();
    }
    for seed in 0..20 {
        assert_eq!(tail_of(&rig.disk.crash_image(seed), Zxid::ZERO).expect("sound").0.end.zxid, Zxid(6));
    }
}

fn read_numbers(disk: &SimDisk, zxid: Zxid) -> Vec<i64> {
    let mut disk = disk.clone();
    let mut reader = SnapshotReader::open(&mut disk, zxid).expect("a sound snapshot");
    let mut numbers = Vec::new();
    while let Some(frame) = reader.next_frame(&mut disk).expect("a sound snapshot") {
        numbers.extend(frame.payload().chunks_exact(8).map(|bytes| i64::from_be_bytes(bytes.try_into().expect("8"))));
    }
    reader.close(&mut disk);
    numbers
}

#[test]
fn snapshots_are_whole_and_old_files_go_behind_them() {
    let mut rig = Rig::new(options());
    let mut last = Zxid::ZERO;
    for _ in 0..4 {
        for _ in 0..30 {
            rig.append(7);
        }
        rig.settle();
        last = Zxid(rig.next - 1);
        rig.core.handle(Command::Snapshot(Box::new(Numbers { zxid: last, given: 0 })));
        rig.append(1);
        rig.settle();
        assert!(rig.reports.iter().any(|report| matches!(report, Report::SnapshotDone(done) if done.zxid == last)));
        assert_eq!(read_numbers(&rig.disk, last), (1..=last.0).collect::<Vec<_>>());
    }
    let files = rig.disk.files();
    let snapshots: Vec<Zxid> = files.keys().filter_map(|name| snapshot_zxid(name)).collect();
    assert_eq!(snapshots.len(), 2);
    assert!(!files.contains_key(&segment_name(1)), "the beginning of the log was purged");
    for from in [snapshots[0], last] {
        let (_, records) = tail_of(&rig.disk, from).expect("the log reaches back to every retained snapshot");
        assert_eq!(records.first().map(|(zxid, _)| zxid.0), Some(from.0 + 1));
    }
    assert!(tail_of(&rig.disk, Zxid::ZERO).is_err());
}

#[test]
fn what_is_purged_loses_its_name_for_good_and_then_goes_in_pieces() {
    let mut rig = Rig::new(Options { segment_len: 4 << 20, snapshots_retained: 1, ..options() });
    while !rig.disk.files().contains_key(&segment_name(3)) {
        (0..10).for_each(|_| rig.append(50));
        rig.settle();
    }
    let last = Zxid(rig.next - 1);
    rig.core.handle(Command::Snapshot(Box::new(Numbers { zxid: last, given: 0 })));
    rig.settle();
    let first = segment_name(1);
    assert!(rig.reports.contains(&Report::Purged { files: vec![first.clone()] }));
    let purged = format!("{first}.purged");
    let history = rig.disk.history();
    let begin = history.iter().position(|line| *line == format!("rename {first} 0")).expect("its name goes first");
    let steps: Vec<&str> = history[begin + 1..].iter().map(String::as_str).collect();
    assert_eq!(steps[0], "sync-directory  0");
    let cuts = steps.iter().filter(|line| line.starts_with(&format!("free {purged}"))).count();
    assert_eq!(cuts, 3, "{steps:?}");
    for (at, line) in steps.iter().enumerate().filter(|(_, line)| line.starts_with("free")) {
        assert_eq!(steps[at + 1], format!("sync {purged} 0"), "{line}");
    }
    assert_eq!(*steps.last().expect("steps"), format!("remove {purged} 0"));
    assert!(!rig.core.is_purging());
    // Cut short, the rest goes with the next start.
    let mut files = rig.disk.files();
    files.insert(purged.clone(), vec![0; 4096]);
    let disk = SimDisk::with_files(files);
    let (tail, _) = tail_of(&disk, last).expect("a sound log");
    LogCore::open(&mut disk.clone(), options(), &tail, 1).expect("no fault");
    assert!(!disk.files().contains_key(&purged));
}

/// The disk is so full that a file can get no other name.
#[test]
fn without_room_for_a_name_a_snapshot_is_given_up_and_old_files_go_at_once() {
    let mut rig = Rig::new(options());
    let snapshot = |rig: &mut Rig, names_full: [bool; 2]| {
        (0..30).for_each(|_| rig.append(7));
        rig.settle();
        let source = Box::new(Numbers { zxid: Zxid(rig.next - 1), given: 0 });
        rig.disk.set_names_full(names_full[0]);
        rig.core.handle(Command::Snapshot(source));
        while rig.core.is_snapshotting() {
            let mut done = Vec::new();
            rig.core.step(&mut rig.disk);
            rig.disk.wait(true, &mut done).expect("the simulated disk waits");
            done.drain(..).for_each(|completion| rig.core.complete(completion));
        }
        rig.disk.set_names_full(names_full[1]);
        rig.settle();
        rig.disk.files().into_keys().filter(|name| name.starts_with("snapshot.")).count()
    };
    assert_eq!(snapshot(&mut rig, [true, true]), 0, "not even the temporary one is left");
    assert!(rig.reports.iter().any(|report| matches!(report, Report::SnapshotFailed { .. })));
    assert_eq!([(); 2].map(|()| snapshot(&mut rig, [false, false])), [1, 2]);
    assert_eq!(snapshot(&mut rig, [false, true]), 2, "the oldest goes, if by its own name");
    assert!(!rig.core.has_ended() && !rig.core.is_purging());
    assert!(rig.reports.iter().any(|report| matches!(report, Report::Purged { .. })));
}

/// To the record: a segment goes when the one behind it begins at or before the oldest snapshot that stays.
#[test]
fn the_log_reaches_back_to_the_oldest_snapshot_and_no_segment_further() {
    let mut whole = Rig::new(Options { snapshots_retained: 0, ..options() });
    for _ in 0..60 {
        whole.append(5);
        whole.settle();
    }
    let bases: Vec<i64> =
        tail_of(&whole.disk, Zxid::ZERO).expect("sound").0.segments.iter().map(|(_, base)| base.0).collect();
    let base = bases[2];
    for zxid in base - 1..=base + 1 {
        let mut rig = Rig::over(whole.disk.restart(), Options { snapshots_retained: 1, ..options() });
        rig.core.handle(Command::Snapshot(Box::new(Numbers { zxid: Zxid(zxid), given: 0 })));
        rig.settle();
        assert_eq!(rig.records(Zxid(zxid)), (zxid + 1..=300).collect::<Vec<_>>());
        let (tail, _) = tail_of(&rig.disk, Zxid(zxid)).expect("sound");
        let first = if zxid < base { bases[1] } else { base };
        assert_eq!(tail.segments.first().map(|(_, base)| base.0), Some(first), "a snapshot at {zxid}");
    }
}

#[test]
fn a_snapshot_without_room_is_given_up_and_the_log_goes_on() {
    let mut rig = Rig::new(options());
    rig.append(5);
    rig.settle();
    rig.disk.set_capacity(Some(rig.disk.used() + 8192));
    rig.core.handle(Command::Snapshot(Box::new(Numbers { zxid: Zxid(5), given: -20_000 })));
    rig.settle();
    assert!(rig.reports.iter().any(|report| matches!(report, Report::SnapshotFailed { .. })));
    assert!(!rig.disk.files().keys().any(|name| name.starts_with("snapshot")));
    rig.append(5);
    rig.settle();
    rig.check(10);
}

#[test]
fn a_busy_log_lets_one_slice_pass_a_frame() {
    let mut rig = Rig::new(Options { segment_len: 32 << 20, ..options() });
    rig.append(1);
    rig.settle();
    rig.core.handle(Command::Snapshot(Box::new(Numbers { zxid: Zxid(1), given: -200_000 })));
    let start = rig.disk.history().len();
    let mut done = Vec::new();
    for _ in 0..30 {
        rig.append(1);
        while rig.core.step(&mut rig.disk) {}
        rig.disk.wait(true, &mut done).expect("no fault");
        done.drain(..).for_each(|completion| rig.core.complete(completion));
        rig.append(1);
    }
    let history = rig.disk.history();
    let (mut slices, mut worst) = (0, 0);
    for line in &history[start..] {
        if line.starts_with("write-durable") {
            slices = 0;
        } else if line.starts_with("write ") {
            slices += 1;
            worst = worst.max(slices);
        }
    }
    assert!(worst >= 1, "the snapshot gets on: {history:?}");
    assert!(worst <= 2, "{worst} slices between two frames");
}

/// What is synced lags behind what is written for as long as the load goes on: the snapshot needs only what it holds.
#[test]
fn without_syncs_a_snapshot_is_published_under_load() {
    let mut rig = Rig::new(Options { force_sync: false, segment_len: 32 << 20, ..options() });
    rig.append(1);
    rig.settle();
    rig.core.handle(Command::Snapshot(Box::new(Numbers { zxid: Zxid(1), given: 0 })));
    let mut done = Vec::new();
    let is_done = (0..200).any(|_| {
        rig.append(1);
        while rig.core.step(&mut rig.disk) {}
        rig.disk.wait(true, &mut done).expect("no fault");
        done.drain(..).for_each(|completion| rig.core.complete(completion));
        std::iter::from_fn(|| rig.core.poll_report()).any(|report| matches!(report, Report::SnapshotDone(_)))
    });
    assert!(is_done, "it is never published");
}

/// A name that was changed and not synced may change back in a power cut: what is void by it stays until it is durable.
#[test]
fn what_an_installation_has_renamed_is_durable_before_anything_goes() {
    let (mut failed, mut replaced) = (0, 0);
    for sync in 1..20 {
        for operations in 0..20 {
            let mut rig = Rig::new(options());
            for _ in 0..5 {
                rig.append(10);
                rig.settle();
            }
            let (end, installed) = (rig.next - 1, Zxid(20));
            rig.disk.fail_sync(sync);
            rig.core.handle(Command::Install { source: Box::new(Numbers { zxid: installed, given: 0 }), log_id: 5 });
            rig.settle();
            if !matches!(rig.reports.last(), Some(Report::Failed(_))) {
                break;
            }
            failed += 1;
            // The process has ended, and the next one begins with what it sees; then the power goes.
            let (mut tail, _) = tail_of(&rig.disk, installed).expect("a sound log");
            // As recovery says it.
            let is_half_named = tail.log_id == Some(5) && rig.disk.files().contains_key(&installed_name(installed));
            tail.installed = is_half_named.then_some(installed);
            rig.disk.cut_power_after(rig.disk.operations() + operations);
            let _ = LogCore::open(&mut rig.disk.clone(), options(), &tail, 0xabcd);
            for seed in 0..30 {
                let image = rig.disk.crash_image(seed);
                let what = format!("sync {sync} failed, power cut after {operations} operations, image {seed}");
                let (tail, _) = tail_of(&image, installed).unwrap_or_else(|error| panic!("{what}: {error}"));
                if tail.log_id == Some(5) {
                    let files: Vec<String> = image.files().into_keys().collect();
                    let is_there = |name: String| files.contains(&name);
                    assert!(
                        is_there(installed_name(installed)) || is_there(snapshot_name(installed)),
                        "{what}: {files:?}"
                    );
                    replaced += 1;
                } else {
                    assert_eq!(tail.end.zxid, Zxid(end), "{what}");
                }
            }
        }
    }
    assert!(failed > 40 && replaced > 100, "{failed} failed, {replaced} of the images were of the new log");
}

/// 1154/1156, 1489: a cut takes what is behind the place, all of it and no more, wherever in a frame or a segment it lies.
#[test]
fn a_log_is_cut_at_every_record_and_goes_on() {
    let mut whole = Rig::new(options());
    for round in 0..60 {
        whole.append(1 + round % 7);
        whole.settle();
    }
    let last = whole.next - 1;
    assert!(tail_of(&whole.disk, Zxid::ZERO).expect("sound").0.segments.len() >= 3);
    for to in 0..=last {
        let mut rig = Rig::over(whole.disk.restart(), options());
        assert_eq!(rig.truncate(to), Report::Truncated { through: Zxid(to) });
        assert_eq!(rig.core.durable(), Zxid(to));
        rig.check(to);
        rig.next = (1 << 32) + 1;
        rig.cost = 0;
        rig.append(3);
        rig.settle();
        assert_eq!(rig.durable(), (1 << 32) + 3);
        let expected: Vec<i64> = (1..=to).chain((1 << 32) + 1..=(1 << 32) + 3).collect();
        assert_eq!(rig.records(Zxid::ZERO), expected);
        // And again, behind what came behind the first cut, and before it.
        let disk = rig.disk.crash_image(to as u64);
        let mut again = Rig::over(disk, options());
        assert_eq!(again.truncate((1 << 32) + 2), Report::Truncated { through: Zxid((1 << 32) + 2) });
        assert_eq!(again.records(Zxid::ZERO), expected[..expected.len() - 1]);
        let before = to / 2;
        assert_eq!(again.truncate(before), Report::Truncated { through: Zxid(before) });
        again.check(before);
        assert_eq!(tail_of(&again.disk.crash_image(9), Zxid::ZERO).expect("sound").0.end.zxid, Zxid(before));
    }
}

#[test]
fn a_cut_between_two_epochs_keeps_what_is_not_above_it() {
    let mut rig = Rig::new(options());
    rig.append(4);
    rig.settle();
    rig.next = (2 << 32) + 1;
    rig.append(4);
    rig.settle();
    assert_eq!(rig.truncate((1 << 32) + 7), Report::Truncated { through: Zxid(4) });
    rig.check(4);
    assert_eq!(rig.truncate(9), Report::Truncated { through: Zxid(4) }, "nothing lies behind it");
    rig.append(1);
    rig.settle();
    assert_eq!(rig.records(Zxid::ZERO), [1, 2, 3, 4, (2 << 32) + 5]);
}

#[test]
fn a_cut_takes_newer_snapshots_and_is_refused_where_none_is_left() {
    let mut rig = Rig::new(Options { snapshots_retained: 1, ..options() });
    for round in 0..3 {
        for _ in 0..20 {
            rig.append(5);
            rig.settle();
        }
        let zxid = Zxid(rig.next - 1);
        rig.core.handle(Command::Snapshot(Box::new(Numbers { zxid, given: 0 })));
        rig.append(10);
        rig.settle();
        assert_eq!(zxid.0, 100 * (round + 1) + 10 * round);
    }
    assert_eq!(rig.core.snapshots(), [Zxid(320)]);
    // Only the last snapshot is left, and the log from there.
    let before = rig.disk.files();
    let refused = rig.truncate(319);
    assert!(matches!(refused, Report::TruncateImpossible { to: Zxid(319), .. }), "{refused:?}");
    assert_eq!(rig.disk.files(), before, "nothing was changed");
    assert_eq!(rig.truncate(320), Report::Truncated { through: Zxid(320) });
    assert_eq!(rig.core.snapshots(), [Zxid(320)]);
    assert_eq!(tail_of(&rig.disk, Zxid(320)).expect("sound").0.end.zxid, Zxid(320));

    // With all of the log there, snapshots behind the cut go.
    let mut rig = Rig::new(Options { snapshots_retained: 0, ..options() });
    for _ in 0..4 {
        rig.append(10);
        rig.settle();
        let zxid = Zxid(rig.next - 1);
        rig.core.handle(Command::Snapshot(Box::new(Numbers { zxid, given: 0 })));
        rig.settle();
    }
    assert_eq!(rig.truncate(25), Report::Truncated { through: Zxid(25) });
    assert_eq!(rig.core.snapshots(), [Zxid(10), Zxid(20)]);
    rig.check(25);
}

/// Names reach the medium in any order: whatever of a cut is there when the power goes, the log is whole or ends at the cut.
#[test]
fn a_power_cut_within_a_cut_leaves_the_log_whole_or_cut() {
    let (to, last) = (40, 300);
    let mut whole = Rig::new(options());
    for _ in 0..last / 5 {
        whole.append(5);
        whole.settle();
    }
    let mut outcomes = [0, 0];
    for operations in 0.. {
        let mut rig = Rig::over(whole.disk.restart(), options());
        rig.settle();
        rig.disk.cut_power_after(rig.disk.operations() + operations);
        rig.core.handle(Command::Truncate { to: Zxid(to) });
        rig.settle();
        for seed in 0..40 {
            let (tail, records) = tail_of(&rig.disk.crash_image(seed), Zxid::ZERO)
                .unwrap_or_else(|error| panic!("power off behind {operations} operations, image {seed}: {error}"));
            let end = tail.end.zxid.0;
            assert!(end == to || end == last, "power off behind {operations} operations, image {seed}: ends at {end}");
            assert!(records.iter().map(|(zxid, _)| zxid.0).eq(1..=end));
            outcomes[usize::from(end == to)] += 1;
        }
        if !rig.disk.is_cut() {
            break;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 40), "{outcomes:?}");
}

/// 3701: a node whose cut failed must not go on.
#[test]
fn a_cut_without_room_is_the_last_word_and_leaves_the_log_whole() {
    let mut rig = Rig::new(options());
    rig.append(30);
    rig.settle();
    // The prepared segment makes room for the one of the cut; here even that is too little.
    rig.disk.set_capacity(Some(rig.disk.used() - 70_000));
    let failed = rig.truncate(10);
    assert!(matches!(failed, Report::Failed(StorageError::Disk(DiskError::Full { .. }))), "{failed:?}");
    assert!(rig.core.has_ended());
    rig.check(30);
    let mut rig = Rig::over(rig.disk.restart(), options());
    rig.settle();
    rig.disk.set_capacity(Some(rig.disk.used()));
    assert_eq!(rig.truncate(20), Report::Truncated { through: Zxid(20) }, "the prepared segment's room is enough");
    rig.check(20);
    // Nor need there be one: two blocks will do, and the log goes on when there is room again.
    let mut rig = Rig::over(rig.disk.restart(), options());
    rig.disk.set_capacity(Some(rig.disk.used() + (32 << 10)));
    assert_eq!(rig.truncate(10), Report::Truncated { through: Zxid(10) });
    rig.check(10);
    rig.disk.set_capacity(None);
    rig.core.handle(Command::Tick);
    rig.next = 11;
    rig.append(40);
    rig.settle();
    rig.check(50);
}

/// The records behind a cut are still there, in the old segment. A witness must tell if the new one is lost.
#[test]
fn a_lost_segment_behind_a_cut_is_noticed() {
    let mut rig = Rig::new(options());
    rig.append(30);
    rig.settle();
    rig.truncate(10);
    assert!(rig.disk.files().contains_key(&segment_name(2)));
    rig.disk.lose(&segment_name(2));
    rig.disk.lose(&segment_name(3));
    let error = tail_of(&rig.disk, Zxid::ZERO).expect_err("the log went on there");
    assert_eq!(error.file(), segment_name(2), "{error}");
}

#[test]
fn a_snapshot_takes_the_place_of_everything_whether_newer_or_older() {
    for installed in [0_i64, 5, 50, 51, 5000] {
        let mut rig = Rig::new(Options { snapshots_retained: 3, ..options() });
        for _ in 0..5 {
            rig.append(10);
            rig.settle();
            let zxid = Zxid(rig.next - 1);
            rig.core.handle(Command::Snapshot(Box::new(Numbers { zxid, given: 0 })));
            rig.settle();
        }
        rig.append(20);
        let source = Box::new(Numbers { zxid: Zxid(installed), given: 0 });
        rig.core.handle(Command::Install { source, log_id: 0xbeef });
        rig.settle();
        assert_eq!(*rig.last_report(), Report::Installed { zxid: Zxid(installed) });
        assert_eq!((rig.core.log_id(), rig.core.durable()), (0xbeef, Zxid(installed)));
        assert_eq!(rig.core.snapshots(), [Zxid(installed)]);
        assert_eq!(read_numbers(&rig.disk, Zxid(installed)), (1..=installed).collect::<Vec<_>>());
        let image = rig.disk.crash_image(3);
        let (tail, records) = tail_of(&image, Zxid(installed)).expect("sound");
        assert_eq!((tail.log_id, tail.end.zxid, records.len()), (Some(0xbeef), Zxid(installed), 0));
        rig.next = installed + 1;
        for _ in 0..30 {
            rig.append(10);
            rig.settle();
        }
        let expected: Vec<i64> = (installed + 1..=installed + 300).collect();
        assert_eq!(rig.records(Zxid(installed)), expected);
        assert!(tail_of(&rig.disk, Zxid(installed - 1)).is_err(), "the old log is void");
        let kinds = rig.disk.files().into_keys().filter(|name| name.contains("install") || name == NEW_NAME);
        assert_eq!(kinds.count(), 0);
        // Cut back to the snapshot, and installed anew.
        assert_eq!(rig.truncate(installed), Report::Truncated { through: Zxid(installed) });
        let source = Box::new(Numbers { zxid: Zxid(installed), given: 0 });
        rig.core.handle(Command::Install { source, log_id: 0xcafe });
        rig.settle();
        assert_eq!(*rig.last_report(), Report::Installed { zxid: Zxid(installed) });
        assert!(rig.records(Zxid(installed)).is_empty());
    }
}

#[test]
fn a_snapshot_into_an_empty_folder() {
    let mut rig = Rig::new(options());
    rig.core.handle(Command::Install { source: Box::new(Numbers { zxid: Zxid(7), given: 0 }), log_id: 3 });
    rig.settle();
    assert_eq!(*rig.last_report(), Report::Installed { zxid: Zxid(7) });
    rig.next = 8;
    rig.append(2);
    rig.settle();
    assert_eq!(rig.records(Zxid(7)), [8, 9]);
}

#[test]
fn a_snapshot_without_room_changes_nothing() {
    for spare in [0, 20_000, 70_000] {
        let mut rig = Rig::new(options());
        rig.append(30);
        rig.settle();
        rig.disk.set_capacity(Some(rig.disk.used() + spare));
        let source = Box::new(Numbers { zxid: Zxid(40), given: -14_000 });
        rig.core.handle(Command::Install { source, log_id: 3 });
        rig.settle();
        assert!(matches!(rig.last_report(), Report::InstallFailed { zxid: Zxid(40), .. }), "{:?}", rig.last_report());
        rig.check(30);
        rig.append(1);
        rig.settle();
        rig.check(31);
    }
}

#[test]
fn epochs_are_saved_behind_what_was_appended_before() {
    let mut rig = Rig::new(options());
    for force_sync in [true, false] {
        rig = Rig::over(rig.disk.restart(), Options { force_sync, ..options() });
        rig.append(3);
        rig.core.step(&mut rig.disk);
        rig.append(3);
        let (durable, epoch) = (rig.next - 1, if force_sync { 4 } else { 5 });
        rig.core.handle(Command::SaveEpochs { accepted: Some(Epoch(epoch)), current: None });
        rig.core.handle(Command::SaveEpochs { accepted: None, current: Some(Epoch(epoch - 1)) });
        rig.append(3);
        let mut done = Vec::new();
        while !rig.reports.contains(&Report::EpochsSaved) {
            rig.core.step(&mut rig.disk);
            while let Some(report) = rig.core.poll_report() {
                rig.reports.push(report);
            }
            if !rig.reports.contains(&Report::EpochsSaved) {
                rig.disk.wait(true, &mut done).expect("no fault");
                done.drain(..).for_each(|completion| rig.core.complete(completion));
            }
        }
        assert!(rig.durable() >= durable, "not before the history");
        let mut image = rig.disk.crash_image(1);
        assert!(tail_of(&image, Zxid::ZERO).expect("sound").0.end.zxid >= Zxid(durable));
        assert_eq!(epochs::read(&mut image, Zxid(1)).expect("sound").epochs.accepted, Epoch(epoch));
        rig.settle();
        assert_eq!(rig.durable(), durable + 3);
        let saved = epochs::read(&mut rig.disk.crash_image(2), Zxid(1)).expect("sound").epochs;
        assert_eq!(saved, Epochs { accepted: Epoch(epoch), current: Epoch(epoch - 1) });
    }
}

#[test]
fn options_of_any_size_fit_together() {
    for record_len_max in [0, 1, 4096, 1 << 20, 255 << 20, 256 << 20, 512 << 20, RECORD_LEN_MAX, 2 << 30, usize::MAX] {
        for segment_len in [0, 1, 64 << 20, 1 << 30, (1 << 30) + 1, 1 << 40, u64::MAX] {
            let options = Options { segment_len, record_len_max, ..options() }.checked();
            assert!(options.segment_len <= SEGMENT_LEN_MAX, "{options:?}");
            assert!(options.record_len_max == record_len_max.min(RECORD_LEN_MAX));
            assert!(options.batch_cost_max() >= options.record_len_max as u64, "{options:?}");
            assert_eq!(options.clone().checked(), options);
        }
    }
}

/// The replica forgets what it gave before a cut or an installation. What it is granted then must be there, on a full disk too.
#[test]
fn room_is_counted_from_the_start_behind_a_cut_and_an_installation() {
    for change in 0..3 {
        let mut rig = Rig::new(options());
        for _ in 0..30 {
            rig.append(9);
            rig.settle();
        }
        match change {
            0 => drop(rig.truncate(100)),
            1 => drop(rig.truncate(i64::MAX)),
            _ => {
                let source = Box::new(Numbers { zxid: Zxid(100), given: 0 });
                rig.core.handle(Command::Install { source, log_id: 5 });
                rig.settle();
            }
        }
        rig.count_anew();
        rig.next = rig.core.durable().0 + 1;
        let (admit_through, _) = rig.room();
        assert!(admit_through <= 2 * options().segment_len, "{admit_through} is granted");
        rig.disk.set_capacity(Some(rig.disk.used()));
        loop {
            let mut builder = BatchBuilder::new();
            builder.push(Zxid(rig.next), &[7; 3000]);
            if rig.cost + builder.cost() > admit_through {
                break;
            }
            rig.cost += builder.cost();
            rig.next += 1;
            rig.core.handle(Command::Append(builder.finish().expect("one record")));
        }
        rig.settle();
        assert_eq!(rig.durable(), rig.next - 1, "everything admitted was written");
    }
}
