//! Tests of the log as a whole, on a disk that loses power. `tests/storage.rs` has those on a real one.

use std::io;
use std::path::{Path, PathBuf};

use super::format::{HeaderFault, SegmentHeader, segment_name};
use super::{LogWrite, Recovered, Wal, WalError, WalOptions, dump, purge};
use crate::io::memory::MemoryDisk;
use crate::io::{BLOCK, Disk, OpenMode, SECTOR};
use crate::types::Zxid;

/// Plans that the tests of power loss play through.
const SEEDS: u64 = 60;

type Records = Vec<(Zxid, Vec<u8>)>;

/// A generator of numbers for plans: splitmix64.
struct Plan(u64);

impl Plan {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn dir() -> PathBuf {
    PathBuf::from("/data")
}

fn options() -> WalOptions {
    WalOptions {
        segment_bytes: 64 << 10,
        batch_bytes_max: 16 << 10,
        pending_bytes_max: 64 << 10,
        ..WalOptions::default()
    }
}

fn recover_in(
    disk: &dyn Disk,
    dir: &Path,
    after: Zxid,
) -> Result<(Wal, Recovered, Records), WalError> {
    recover_as(disk, dir, after, true)
}

fn recover_as(
    disk: &dyn Disk,
    dir: &Path,
    after: Zxid,
    is_synchronous: bool,
) -> Result<(Wal, Recovered, Records), WalError> {
    let options = WalOptions {
        is_synchronous,
        ..options()
    };
    let mut records = Records::new();
    let (wal, recovered) = Wal::recover(disk, dir, options, after, &mut |zxid, payload| {
        records.push((zxid, payload.to_vec()));
    })?;
    assert_eq!(recovered.records as usize, records.len());
    Ok((wal, recovered, records))
}

fn recover(disk: &MemoryDisk) -> Result<(Wal, Recovered, Records), WalError> {
    recover_in(disk, &dir(), Zxid::ZERO)
}

/// Does the write on the spot.
fn write(wal: &mut Wal, write: LogWrite) {
    write
        .file
        .write_at(write.offset, &write.buffer)
        .expect("written");
    let count = write.buffer.len();
    wal.complete(write.id, write.buffer, Ok(count), 0)
        .expect("complete");
}

/// Writes all that waits, and runs the background's tasks.
fn drain(wal: &mut Wal, disk: &dyn Disk) {
    run_tasks(wal, disk);
    while let Some(next) = wal.poll_write(0) {
        write(wal, next);
        run_tasks(wal, disk);
    }
}

fn run_tasks(wal: &mut Wal, disk: &dyn Disk) {
    while let Some(task) = wal.poll_segment_task() {
        wal.segment_done(task.run(disk)).expect("room for segments");
    }
}

fn payload(zxid: i64, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (zxid as usize * 31 + at) as u8)
        .collect()
}

/// A log of `count` records of `bytes` bytes, each in a batch of its own.
fn log_of(count: i64, bytes: usize) -> (MemoryDisk, Wal) {
    let disk = MemoryDisk::default();
    let (mut wal, _, _) = recover(&disk).expect("a fresh start");
    for zxid in 1..=count {
        wal.append(Zxid(zxid), &payload(zxid, bytes)).expect("room");
        drain(&mut wal, &disk);
    }
    assert_eq!(wal.durable_zxid(), Zxid(count));
    (disk, wal)
}

fn segments(disk: &dyn Disk) -> Vec<PathBuf> {
    let names = disk.list(&dir()).expect("listed");
    let mut paths: Vec<PathBuf> = names
        .iter()
        .filter(|name| name.starts_with("log."))
        .map(|name| dir().join(name))
        .collect();
    paths.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    paths
}

#[test]
fn records_come_back_over_many_segments() {
    let (disk, _) = log_of(100, 3000);
    assert!(segments(&disk).len() > 4);
    let (mut wal, recovered, records) = recover(&disk).expect("sound");
    assert_eq!((records.len(), recovered.last), (100, Zxid(100)));
    assert_eq!(recovered.cut, None);
    for (at, (zxid, bytes)) in records.iter().enumerate() {
        assert_eq!(*zxid, Zxid(at as i64 + 1));
        assert_eq!(*bytes, payload(zxid.0, 3000));
    }
    wal.append(Zxid(101), b"more").expect("room");
    drain(&mut wal, &disk);
    let (_, _, records) = recover_in(&disk, &dir(), Zxid(99)).expect("sound");
    assert_eq!(records.len(), 2);
}

/// Any order of appends, completions, rolls, marks and background work, and power lost at any
/// moment: what was acknowledged is there, what is there is a prefix, and the log goes on.
#[test]
fn power_loss_at_any_moment_loses_nothing_acknowledged() {
    lose_power_often(true);
}

/// Without `forceSync`, acknowledged records may be lost, but never some before others, nor any
/// that a start has found.
#[test]
fn power_loss_without_force_sync_leaves_a_prefix() {
    lose_power_often(false);
}

fn lose_power_often(is_synchronous: bool) {
    for seed in 0..SEEDS {
        let mut plan = Plan(seed);
        let mut disk = MemoryDisk::default();
        let mut written = Records::new();
        let mut acknowledged = Zxid::ZERO;
        for round in 0..6 {
            let recovered = recover_as(&disk, &dir(), Zxid::ZERO, is_synchronous);
            let (wal, _, records) = match recovered {
                Ok(recovered) => recovered,
                Err(error) => panic!("seed {seed}, round {round}: {error}"),
            };
            let durable = written.iter().filter(|(zxid, _)| *zxid <= acknowledged);
            assert!(
                records.len() >= durable.count(),
                "seed {seed}, round {round}"
            );
            assert_eq!(
                records,
                written[..records.len()],
                "seed {seed}, round {round}"
            );
            written = records;
            acknowledged = wal.durable_zxid();
            let (durable, after) = live_and_crash(&mut plan, &disk, wal, &mut written);
            disk = after;
            if is_synchronous {
                acknowledged = durable;
            }
            if plan.below(3) == 0 {
                let steps = plan.below(6);
                disk.die_at(steps);
                let _ = recover_as(&disk, &dir(), Zxid::ZERO, is_synchronous);
                disk = disk.crash(&mut || plan.below(2) == 0);
            }
        }
    }
}

/// One life of a server, up to the power loss; returns what it acknowledged, and what the disk
/// holds then.
fn live_and_crash(
    plan: &mut Plan,
    disk: &MemoryDisk,
    mut wal: Wal,
    written: &mut Records,
) -> (Zxid, MemoryDisk) {
    let mut writes: Vec<LogWrite> = Vec::new();
    let mut tasks = Vec::new();
    for _ in 0..plan.below(120) {
        match plan.below(10) {
            0..4 if !wal.is_full() || plan.below(4) == 0 => {
                let last = written.last().map_or(0, |(zxid, _)| zxid.0);
                let zxid = Zxid(last + 1 + (plan.below(20) == 0) as i64);
                let bytes = match plan.below(12) {
                    0 => 20_000,
                    1 => 0,
                    _ => plan.below(6000) as usize,
                };
                wal.append(zxid, &payload(zxid.0, bytes)).expect("room");
                written.push((zxid, payload(zxid.0, bytes)));
            }
            0..6 => writes.extend(wal.poll_write(0)),
            6 | 7 if !writes.is_empty() => {
                let at = plan.below(writes.len() as u64) as usize;
                write(&mut wal, writes.remove(at));
            }
            8 => tasks.extend(wal.poll_segment_task()),
            9 if !tasks.is_empty() => {
                let result = tasks.remove(0).run(disk);
                wal.segment_done(result).expect("room for segments");
            }
            9 if plan.below(4) == 0 => wal.roll(),
            9 => drop(wal.mark()),
            _ => {}
        }
    }
    for write in &writes {
        let likely = plan.below(5);
        for (at, sector) in write.buffer.chunks(SECTOR).enumerate() {
            if plan.below(4) < likely {
                let offset = write.offset + (at * SECTOR) as u64;
                write.file.write_at(offset, sector).expect("written");
            }
        }
    }
    let likely = plan.below(5);
    (
        wal.durable_zxid(),
        disk.crash(&mut || plan.below(4) < likely),
    )
}

/// Every flipped byte of a log that said that it is durable is noticed, or changes nothing.
#[test]
fn flipped_bytes_never_pass() {
    let (disk, mut wal) = log_of(9, 40);
    assert!(wal.mark());
    drain(&mut wal, &disk);
    assert!(!wal.mark(), "once is enough");
    let path = segments(&disk).remove(0);
    let bytes = disk.bytes(&path);
    let (_, _, sound) = recover(&disk).expect("sound");
    let end = super::scan::written_end(&bytes);
    let interesting = (0..end).filter(|at| at % BLOCK < 110 || at % 173 == 0);
    let (mut refused, mut unharmed) = (0, 0);
    for at in interesting {
        let copy = disk.copy();
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        copy.set_bytes(&path, &flipped);
        match recover(&copy) {
            Ok((_, _, records)) => {
                assert_eq!(records, sound, "byte {at}");
                unharmed += 1;
            }
            Err(error @ WalError::Corrupt { .. }) => {
                let text = error.to_string();
                assert!(text.contains("/data/log.1"), "{text}");
                assert_eq!(copy.bytes(&path), flipped, "nothing is changed");
                assert_advice_helps(&copy, &error);
                refused += 1;
            }
            Err(WalError::Foreign { .. } | WalError::Version { .. }) => refused += 1,
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(refused > 900 && unharmed > 400, "{refused} {unharmed}");
}

/// Does what the error says, which leaves all transactions up to the last good one.
fn assert_advice_helps(disk: &MemoryDisk, error: &WalError) {
    let WalError::Corrupt {
        path,
        offset,
        last_good,
        ..
    } = error
    else {
        unreachable!("damage");
    };
    disk.set_bytes(path, &disk.bytes(path)[..*offset as usize]);
    let (_, recovered, _) = recover(disk).expect("sound again");
    assert_eq!(recovered.last, *last_good);
}

/// Without a mark, a flip in the last batch looks like a torn tail; in the one before it does not,
/// since that one was written in full.
#[test]
fn a_flip_before_the_last_batch_is_damage_and_in_the_last_a_torn_tail() {
    let (disk, _) = log_of(5, 40);
    let path = segments(&disk).remove(0);
    for (block, is_damage) in [(1, true), (3, true), (4, true), (5, false)] {
        let copy = disk.copy();
        let mut bytes = copy.bytes(&path);
        bytes[block * BLOCK + 70] ^= 4;
        copy.set_bytes(&path, &bytes);
        match recover(&copy) {
            Err(WalError::Corrupt {
                offset, last_good, ..
            }) => {
                assert!(is_damage, "block {block}");
                assert_eq!(offset as usize, block * BLOCK + 40);
                assert_eq!(last_good, Zxid(block as i64 - 1));
            }
            Ok((_, recovered, records)) => {
                assert!(!is_damage, "block {block}");
                assert_eq!(records.len(), 4);
                let cut = recovered.cut.expect("reported");
                assert_eq!(
                    (cut.offset as usize, cut.bytes as usize),
                    (5 * BLOCK, BLOCK)
                );
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_log_shortened_anywhere_gives_a_prefix() {
    let (disk, _) = log_of(6, 500);
    let path = segments(&disk).remove(0);
    let bytes = disk.bytes(&path);
    let (_, _, sound) = recover(&disk).expect("sound");
    for length in (0..8 * BLOCK).filter(|at| at % BLOCK < 50 || at % 61 == 0) {
        let copy = disk.copy();
        copy.set_bytes(&path, &bytes[..length]);
        let (mut wal, _, records) = recover(&copy).expect("a torn tail");
        assert_eq!(records, sound[..records.len()]);
        let whole = (length + BLOCK - 556).saturating_sub(BLOCK) / BLOCK;
        assert!(records.len() >= whole.min(6), "{length}: {}", records.len());
        let last = records.last().map_or(0, |(zxid, _)| zxid.0);
        wal.append(Zxid(last + 1), b"next").expect("room");
        drain(&mut wal, &copy);
        let (_, _, again) = recover(&copy).expect("sound");
        assert_eq!(again.len(), records.len() + 1, "{length}");
    }
}

#[test]
fn a_missing_segment_is_noticed() {
    let (disk, _) = log_of(60, 3000);
    let paths = segments(&disk);
    assert!(paths.len() >= 4);
    for path in &paths[..paths.len() - 1] {
        let copy = disk.copy();
        copy.remove(path).expect("there");
        let refused = recover(&copy).err().expect("refused");
        assert!(matches!(refused, WalError::Missing { .. }), "{refused}");
    }
    // A snapshot that covers the first segment makes it needless.
    let copy = disk.copy();
    copy.remove(&paths[0]).expect("there");
    let (_, _, records) = recover_in(&copy, &dir(), Zxid(30)).expect("sound");
    assert_eq!(records.first().map(|(zxid, _)| *zxid), Some(Zxid(31)));
    // Segments of a single small batch each are missed too.
    let disk = MemoryDisk::default();
    let (mut wal, _, _) = recover(&disk).expect("a fresh start");
    for zxid in 1..=3 {
        wal.append(Zxid(zxid), b"x").expect("room");
        drain(&mut wal, &disk);
        wal.roll();
    }
    disk.remove(&dir().join("log.2")).expect("there");
    let refused = recover(&disk).err().expect("refused");
    assert!(matches!(refused, WalError::Missing { .. }), "{refused}");
}

#[test]
fn a_log_older_than_its_snapshot_starts_a_segment() {
    let (disk, _) = log_of(5, 10);
    let (mut wal, recovered, records) = recover_in(&disk, &dir(), Zxid(50)).expect("sound");
    assert_eq!((recovered.last, records.len()), (Zxid(50), 0));
    wal.append(Zxid(51), b"x").expect("room");
    drain(&mut wal, &disk);
    let (_, _, records) = recover_in(&disk, &dir(), Zxid(50)).expect("sound");
    assert_eq!(records.len(), 1);
    // Without that snapshot, what lies between is not there.
    let refused = recover(&disk).err().expect("refused");
    assert!(matches!(refused, WalError::Missing { .. }), "{refused}");
}

/// A first start that loses power leaves nothing that a second start trips over.
#[test]
fn power_loss_during_the_first_start_is_harmless() {
    for steps in 0..16 {
        for seed in 0..8 {
            let mut plan = Plan(seed);
            let disk = MemoryDisk::default();
            disk.die_at(steps);
            let _ = recover(&disk);
            let disk = disk.crash(&mut || plan.below(8) < seed);
            let (mut wal, _, records) = recover(&disk).expect("a fresh start");
            assert!(records.is_empty());
            wal.append(Zxid(1), b"x").expect("room");
            drain(&mut wal, &disk);
            let (_, _, records) = recover(&disk).expect("sound");
            assert_eq!(records.len(), 1);
        }
    }
}

/// What a start has read is durable when it returns, also what only the page cache held.
#[test]
fn what_a_start_has_read_is_durable() {
    let disk = MemoryDisk::default();
    let start = |disk| recover_as(disk, &dir(), Zxid::ZERO, false);
    let (mut wal, _, _) = start(&disk).expect("a fresh start");
    for zxid in 1..=30 {
        wal.append(Zxid(zxid), &payload(zxid, 3000)).expect("room");
        drain(&mut wal, &disk);
    }
    let lost = disk.crash(&mut || false);
    assert!(
        start(&lost).expect("a prefix").2.len() < 30,
        "nothing was synced"
    );
    // The process is killed and started again, then the power goes.
    let (_, _, records) = start(&disk).expect("sound");
    assert_eq!(records.len(), 30);
    let after = disk.crash(&mut || false);
    assert_eq!(start(&after).expect("sound").2.len(), 30);
}

/// The first write of a segment is torn in its header, and the next segment's is whole.
#[test]
fn a_torn_segment_header_before_a_whole_segment_is_a_torn_tail() {
    for is_renamed in [false, true] {
        let (disk, mut wal) = log_of(3, 10);
        wal.roll();
        wal.append(Zxid(4), b"lost").expect("room");
        let torn = wal.poll_write(0).expect("due");
        run_tasks(&mut wal, &disk);
        wal.roll();
        wal.append(Zxid(5), b"whole").expect("room");
        let whole = wal.poll_write(0).expect("two in flight");
        let path = dir().join("log.4");
        if !is_renamed {
            let ahead = dir().join("segment.2.ahead");
            disk.rename(&path, &ahead).expect("as before its task ran");
        }
        let rest = torn.buffer[SECTOR..].to_vec();
        let written = torn.file.write_at(torn.offset + SECTOR as u64, &rest);
        written.expect("written");
        whole
            .file
            .write_at(whole.offset, &whole.buffer)
            .expect("written");
        let (_, recovered, records) = recover(&disk).expect("a torn tail");
        assert_eq!(records.len(), 3);
        assert!(recovered.cut.is_some());
        assert_eq!(segments(&disk), [dir().join("log.1")]);
    }
}

/// Files of random bytes are refused or cut, and never make it panic.
#[test]
fn garbage_never_panics() {
    let (disk, _) = log_of(3, 10);
    for seed in 0..200 {
        let mut plan = Plan(seed);
        let copy = disk.copy();
        let path = dir().join("log.1");
        let mut bytes = copy.bytes(&path);
        for _ in 0..1 + plan.below(40) {
            let at = plan.below(5 * BLOCK as u64) as usize;
            let at = if plan.below(2) == 0 {
                at / BLOCK * BLOCK + at % 90
            } else {
                at
            };
            bytes[at] = plan.next() as u8;
        }
        copy.set_bytes(&path, &bytes);
        let other = dir().join(["log.2", "segment.2.ahead", "log.zz"][plan.below(3) as usize]);
        copy.open(&other, OpenMode::Create).expect("created");
        let garbage = (0..plan.below(9000)).map(|_| plan.next() as u8);
        copy.set_bytes(&other, &garbage.collect::<Vec<_>>());
        for path in [&path, &other] {
            let _ = dump(&copy, path, &mut Vec::new());
        }
        if let Ok((_, _, records)) = recover(&copy) {
            assert!(records.len() <= 3);
        }
    }
}

#[test]
fn durable_is_the_contiguous_prefix_and_failures_latch() {
    let disk = MemoryDisk::default();
    let (mut wal, _, _) = recover(&disk).expect("a fresh start");
    wal.append(Zxid(1), b"a").expect("room");
    let first = wal.poll_write(10).expect("due");
    wal.append(Zxid(2), b"b").expect("room");
    let second = wal.poll_write(10).expect("two in flight");
    wal.append(Zxid(3), b"c").expect("room");
    wal.append(Zxid(4), b"d").expect("room");
    assert!(wal.poll_write(10).is_none(), "no more than two");
    assert!(wal.has_unwritten());

    let count = second.buffer.len();
    let completion = wal.complete(second.id, second.buffer, Ok(count), 30);
    assert!(!completion.expect("complete").has_advanced);
    assert_eq!(wal.durable_zxid(), Zxid::ZERO);
    let count = first.buffer.len();
    let completion = wal.complete(first.id, first.buffer, Ok(count), 50);
    let completion = completion.expect("complete");
    assert_eq!((completion.elapsed_us, completion.has_advanced), (40, true));
    assert_eq!(wal.durable_zxid(), Zxid(2));

    let third = wal.poll_write(60).expect("both records in one");
    wal.append(Zxid(5), b"e").expect("room");
    let fourth = wal.poll_write(60).expect("two in flight");
    let (short, whole) = (third.buffer.len() - 512, fourth.buffer.len());
    let failed = wal.complete(third.id, third.buffer, Ok(short), 70);
    assert!(matches!(failed, Err(WalError::Failed(_))));
    wal.complete(fourth.id, fourth.buffer, Ok(whole), 70)
        .expect("it was written");
    assert_eq!(wal.durable_zxid(), Zxid(2));
    let refused = wal.append(Zxid(6), b"f").expect_err("latched");
    assert!(refused.to_string().contains("only"), "{refused}");
    assert!(wal.poll_write(80).is_none());
}

#[test]
fn an_error_of_a_write_names_the_file() {
    let disk = MemoryDisk::default();
    let (mut wal, _, _) = recover(&disk).expect("a fresh start");
    wal.append(Zxid(0x1a), b"a").expect("room");
    let write = wal.poll_write(0).expect("due");
    let error = io::Error::other("input/output error");
    let failed = wal.complete(write.id, write.buffer, Err(error), 0);
    let text = failed.expect_err("latched").to_string();
    assert!(text.contains("/data/log.1a: input/output error"), "{text}");
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let disk = MemoryDisk::default();
    let (mut wal, _, _) = recover(&disk).expect("a fresh start");
    disk.set_capacity(Some(100 << 10));
    let mut zxid = 0;
    let refused = loop {
        if let Some(task) = wal.poll_segment_task() {
            let _ = wal.segment_done(task.run(&disk));
        }
        zxid += 1;
        assert!(!wal.is_full(), "clients are told, not kept waiting");
        match wal.append(Zxid(zxid), &payload(zxid, 5000)) {
            Ok(()) => drop(wal.poll_write(0).map(|next| write(&mut wal, next))),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, WalError::NoSpace(_)), "{refused}");
    assert_eq!(wal.durable_zxid(), Zxid(zxid - 1));
    assert!(wal.refusal().is_some() && wal.check_room(5000).is_err());
    assert!(wal.lacks_room());
    let left = disk.list(&dir()).expect("listed");
    assert_eq!(left.len(), 1, "what was begun is removed: {left:?}");

    wal.retry_segment_tasks();
    let task = wal.poll_segment_task().expect("tried again");
    assert!(wal.segment_done(task.run(&disk)).is_err());
    disk.set_capacity(None);
    wal.retry_segment_tasks();
    run_tasks(&mut wal, &disk);
    assert!(wal.refusal().is_none() && !wal.lacks_room());
    wal.append(Zxid(zxid), &payload(zxid, 5000))
        .expect("room again");
    drain(&mut wal, &disk);
    let (_, _, records) = recover(&disk).expect("sound");
    assert_eq!(records.len() as i64, zxid);
}

/// The rename was done, and only the sync of the directory had failed: it was tried again for ever.
#[test]
fn a_segment_whose_name_was_not_durable_gets_it_at_the_next_try() {
    let disk = MemoryDisk::default();
    let (mut wal, _, _) = recover(&disk).expect("a fresh start");
    wal.append(Zxid(1), &payload(1, 100)).expect("room");
    disk.fail_at(disk.steps() + 1);
    let task = wal.poll_segment_task().expect("its name");
    assert!(wal.segment_done(task.run(&disk)).is_err());
    assert!(
        disk.list(&dir())
            .expect("listed")
            .contains(&segment_name(Zxid(1)))
    );
    wal.retry_segment_tasks();
    let task = wal.poll_segment_task().expect("tried again");
    wal.segment_done(task.run(&disk)).expect("durable now");
}

#[test]
fn a_slow_background_holds_the_driver_back_and_harms_nothing() {
    let disk = MemoryDisk::default();
    let (mut wal, _, _) = recover(&disk).expect("a fresh start");
    for zxid in 1..=40 {
        wal.append(Zxid(zxid), &payload(zxid, 3000)).expect("room");
        while let Some(next) = wal.poll_write(0) {
            write(&mut wal, next);
        }
    }
    assert!(wal.is_full());
    run_tasks(&mut wal, &disk);
    assert!(!wal.is_full());
    let (_, _, records) = recover(&disk).expect("sound");
    assert_eq!(records.len(), 40);
}

#[test]
fn what_comes_all_the_same_goes_past_the_zeros_in_whole_batches() {
    let disk = MemoryDisk::default();
    let (mut wal, _, _) = recover(&disk).expect("a fresh start");
    // A learner takes what its leader has sent, whatever its own disk does.
    let (count, bytes) = (400, 500);
    for zxid in 1..=count {
        wal.append(Zxid(zxid), &payload(zxid, bytes)).expect("room");
    }
    assert!(wal.is_full());
    let mut writes = 0;
    while let Some(next) = wal.poll_write(0) {
        write(&mut wal, next);
        writes += 1;
    }
    let needed = (count as usize * bytes).div_ceil(options().batch_bytes_max);
    assert!(
        writes <= needed + 1,
        "{writes} writes where {needed} would do"
    );
    // Once there is a segment, it is used.
    run_tasks(&mut wal, &disk);
    wal.append(Zxid(count + 1), &payload(count + 1, bytes))
        .expect("room");
    drain(&mut wal, &disk);
    assert_eq!(segments(&disk).len(), 2);
    drop(wal);
    let (_, recovered, records) = recover(&disk).expect("sound");
    assert_eq!((recovered.last, recovered.cut), (Zxid(count + 1), None));
    for (at, (zxid, found)) in records.iter().enumerate() {
        assert_eq!(*zxid, Zxid(at as i64 + 1));
        assert_eq!(*found, payload(zxid.0, bytes));
    }
}

#[test]
fn a_short_segment_is_followed_by_a_longer_one() {
    let (disk, wal) = log_of(3, 100);
    drop(wal);
    let segment_bytes = 4 << 20;
    let options = WalOptions {
        segment_bytes,
        ..WalOptions::default()
    };
    let recovered = Wal::recover(&disk, &dir(), options, Zxid::ZERO, &mut |_, _| {});
    let (mut wal, _) = recovered.expect("sound");
    for zxid in 4..2000 {
        run_tasks(&mut wal, &disk);
        assert!(!wal.is_full(), "at {zxid}");
        wal.append(Zxid(zxid), &payload(zxid, 3000)).expect("room");
        drain(&mut wal, &disk);
    }
    assert!(segments(&disk).len() > 2);
}

/// The zeros of the next segment are as many writes as the log's own, on the same disk.
#[test]
fn the_next_segment_is_filled_at_the_pace_of_the_log_and_not_in_vain() {
    const SEGMENT: u64 = 4 << 20;
    const PART: u64 = 256 << 10;
    let disk = MemoryDisk::default();
    let options = WalOptions {
        segment_bytes: SEGMENT,
        roll_bytes_min: SEGMENT / 4 * 3,
        ..WalOptions::default()
    };
    let recovered = Wal::recover(&disk, &dir(), options, Zxid::ZERO, &mut |_, _| {});
    let mut wal = recovered.expect("a fresh start").0;
    let (mut zxid, mut used) = (0, 0);
    let next = dir().join("segment.2.ahead");
    while used <= SEGMENT / 2 {
        zxid += 1;
        wal.append(Zxid(zxid), &payload(zxid, 10_000))
            .expect("room");
        let write_next = wal.poll_write(0).expect("it is due");
        used = write_next.offset + write_next.buffer.len() as u64;
        write(&mut wal, write_next);
        run_tasks(&mut wal, &disk);
        let file = disk.open(&next, OpenMode::Read).expect("it was begun");
        let filled = file.length().expect("known");
        let due = (2 * used + 1).next_multiple_of(PART).min(SEGMENT);
        assert_eq!(filled, due, "{used} bytes of the log");
    }
    let mut is_left = |wal: &mut Wal| {
        zxid += 1;
        wal.roll();
        wal.append(Zxid(zxid), &payload(zxid, 10_000))
            .expect("room");
        let next_write = wal.poll_write(0).expect("it is due");
        let (offset, is_next) = (next_write.offset, next_write.file.path() == next);
        write(wal, next_write);
        (is_next, offset)
    };
    let first = loop {
        match is_left(&mut wal) {
            (true, offset) => break offset,
            (false, offset) => used = offset,
        }
    };
    assert_eq!(first, 0);
    let expected = SEGMENT / 4 * 3;
    assert!(
        (expected - 20_000..expected + 20_000).contains(&used),
        "{used}"
    );
}

#[test]
fn a_record_larger_than_a_segment_is_kept() {
    let disk = MemoryDisk::default();
    let (mut wal, _, _) = recover(&disk).expect("a fresh start");
    for zxid in 1..=4 {
        let bytes = if zxid % 2 == 0 { 3 << 20 } else { 10 };
        wal.append(Zxid(zxid), &payload(zxid, bytes)).expect("room");
        drain(&mut wal, &disk);
    }
    let (_, _, records) = recover(&disk).expect("sound");
    assert_eq!(records[3], (Zxid(4), payload(4, 3 << 20)));
    assert_eq!(records.len(), 4);
}

#[test]
fn rolling_lets_purge_remove_what_lies_before_a_snapshot() {
    let disk = MemoryDisk::default();
    let (mut wal, _, _) = recover(&disk).expect("a fresh start");
    for zxid in 1..=30 {
        wal.append(Zxid(zxid), b"x").expect("room");
        drain(&mut wal, &disk);
        if zxid % 10 == 0 {
            wal.roll();
        }
    }
    let names = |disk| -> Vec<PathBuf> { segments(disk) };
    assert_eq!(
        names(&disk),
        ["/data/log.1", "/data/log.b", "/data/log.15"].map(PathBuf::from)
    );
    assert!(purge(&disk, &dir(), Zxid(10)).expect("purged").is_empty());
    let removed = purge(&disk, &dir(), Zxid(20)).expect("purged");
    assert_eq!(removed, [dir().join("log.1")]);
    let (_, _, records) = recover_in(&disk, &dir(), Zxid(20)).expect("sound");
    assert_eq!(records.len(), 10);
}

#[test]
fn foreign_and_newer_files_are_refused() {
    let (disk, _) = log_of(1, 10);
    let path = dir().join(segment_name(Zxid(1)));
    let mut bytes = disk.bytes(&path);
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..40]);
    bytes[40..44].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Version(2)));
    disk.set_bytes(&path, &bytes);
    let refused = recover(&disk).err().expect("refused");
    assert!(matches!(refused, WalError::Version { version: 2, .. }));
    disk.set_bytes(&path, b"ZKLG\0\0\0\x02");
    let refused = recover(&disk).err().expect("refused");
    assert!(refused.to_string().contains("Apache"), "{refused}");
}

#[test]
fn a_listing_shows_what_can_be_saved() {
    let (disk, _) = log_of(5, 40);
    let path = dir().join("log.1");
    let mut bytes = disk.bytes(&path);
    bytes[2 * BLOCK + 70] ^= 1;
    bytes[3] ^= 1;
    disk.set_bytes(&path, &bytes);
    let mut out = Vec::new();
    let summary = dump(&disk, &path, &mut out).expect("listed");
    assert_eq!((summary.records, summary.faults), (4, 2));
    let text = String::from_utf8(out).expect("text");
    assert!(
        text.contains("offset 8232: the record does not match"),
        "{text}"
    );
    assert!(text.contains("zxid 0x5: 40 bytes"), "{text}");
}
