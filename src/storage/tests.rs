//! Tests of a server's folders as a whole, on a disk that loses power.
//!
//! A history is a list of zxids: each is of a transaction that makes a node of that name.

mod purging;

use std::path::PathBuf;
use std::sync::Arc;

use super::{Recovered, Storage, StorageError, StorageOptions};
use crate::io::memory::MemoryDisk;
use crate::io::{Disk, OpenMode};
use crate::jute::txn::{CreateTxn, Txn, TxnHeader, encode_txn};
use crate::snapshot;
use crate::tree::{Tree, TreeConfig, open_acl};
use crate::types::{SessionId, Zxid};
use crate::wal::{Wal, WalOptions};

type History = Vec<i64>;

const SESSIONS: [(SessionId, i32); 1] = [(SessionId(0x1_0000_0001), 4000)];

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

fn options() -> StorageOptions {
    StorageOptions {
        data_dir: PathBuf::from("/data"),
        data_log_dir: PathBuf::from("/log"),
        is_dir_autocreate: true,
        is_db_autocreate: true,
        is_member: true,
        tree: TreeConfig {
            extended_types: true,
            digest_enabled: true,
        },
        wal: WalOptions {
            segment_bytes: 64 << 10,
            batch_bytes_max: 16 << 10,
            pending_bytes_max: 64 << 10,
            ..WalOptions::default()
        },
    }
}

fn open(disk: &MemoryDisk) -> Result<(Storage, Recovered), StorageError> {
    Storage::open(options(), Arc::new(disk.clone()))
}

fn create(zxid: i64) -> (TxnHeader, Txn<'static>) {
    const DATA: [u8; 3000] = [7; 3000];
    let txn = Txn::Create {
        txn: CreateTxn {
            path: format!("/n{zxid:x}").into(),
            data: Some(&DATA[..(zxid as usize * 977) % 3000]),
            acl: vec![open_acl()],
            ephemeral: false,
            parent_cversion: -1,
        },
        is_create2: false,
    };
    let header = TxnHeader {
        client_id: SESSIONS[0].0.0,
        cxid: 0,
        zxid,
        time: 1_700_000_000_000,
        kind: txn.kind(),
    };
    (header, txn)
}

fn append(wal: &mut Wal, disk: &dyn Disk, zxids: &[i64]) {
    for zxid in zxids {
        let (header, txn) = create(*zxid);
        let mut payload = Vec::new();
        encode_txn(&header, &txn, None, &mut payload);
        wal.append(Zxid(*zxid), &payload).expect("room");
    }
    wal.flush().expect("written");
    while let Some(task) = wal.poll_segment_task() {
        wal.segment_done(task.run(disk)).expect("room for segments");
    }
}

fn tree_of(history: &[i64]) -> Tree {
    let mut tree = Tree::new(options().tree);
    for zxid in history {
        let (header, txn) = create(*zxid);
        tree.apply(&header, &txn);
    }
    tree
}

fn history_of(tree: &Tree) -> History {
    let mut history = History::new();
    tree.view(tree.tip_zxid()).for_each(&mut |path, _| {
        if let Some(digits) = path.strip_prefix("/n") {
            history.push(i64::from_str_radix(digits, 16).expect("a zxid"));
        }
    });
    history.sort_unstable();
    let last = history.last().copied().unwrap_or_default();
    assert_eq!(tree.tip_zxid(), Zxid(last));
    history
}

/// A disk with these histories' records, each list in one batch.
fn disk_with(batches: &[&[i64]]) -> MemoryDisk {
    let disk = MemoryDisk::default();
    let (_storage, mut recovered) = open(&disk).expect("a fresh start");
    for batch in batches {
        append(&mut recovered.wal, &disk, batch);
    }
    disk
}

fn names(disk: &MemoryDisk) -> Vec<String> {
    let mut names = disk.list(&PathBuf::from("/data/zkore-1")).expect("listed");
    names.extend(disk.list(&PathBuf::from("/log/zkore-1")).expect("listed"));
    names
}

/// Does `work` with the power going at every step of it in turn, then starts again.
fn at_every_step(
    base: &MemoryDisk,
    old: &[i64],
    new: &[i64],
    work: &dyn Fn(&mut Storage, Wal) -> Result<(), StorageError>,
) {
    for survivors in [0, 1, 3, 6] {
        for step in 0.. {
            let disk = base.copy();
            let (mut storage, recovered) = open(&disk).expect("sound");
            assert_eq!(history_of(&recovered.tree), old);
            disk.die_at(disk.steps() + step);
            let is_done = work(&mut storage, recovered.wal).is_ok();
            let mut plan = Plan(step * 7 + survivors);
            let mut disk = disk.crash(&mut || plan.below(6) < survivors);
            if step % 3 == 1 {
                // And again, while the next start puts it right.
                disk.die_at(plan.below(8));
                let _ = open(&disk);
                disk = disk.crash(&mut || plan.below(6) < survivors);
            }
            let (_, recovered) = open(&disk).unwrap_or_else(|error| {
                panic!(
                    "survivors {survivors}, step {step}: {error}\n{:?}",
                    names(&disk)
                )
            });
            let found = history_of(&recovered.tree);
            assert!(
                found == new || found == old && !is_done,
                "survivors {survivors}, step {step}: {found:x?}"
            );
            let left = names(&disk);
            let is_temporary =
                |name: &String| name.starts_with("truncate") || name.starts_with("replacement");
            assert!(!left.iter().any(is_temporary), "{left:?}");
            let (_, recovered) = open(&disk).expect("sound again");
            assert_eq!(history_of(&recovered.tree), found);
            if is_done {
                break;
            }
        }
    }
}

fn batches() -> Vec<Vec<i64>> {
    (0..14)
        .map(|at| (at * 4 + 1..=at * 4 + 4).collect())
        .collect()
}

fn base() -> (MemoryDisk, History) {
    let batches = batches();
    let disk = disk_with(&batches.iter().map(Vec::as_slice).collect::<Vec<_>>());
    (disk, batches.concat())
}

#[test]
fn truncation_survives_power_loss_at_every_step() {
    let (disk, old) = base();
    for above in [6, 28, 31, 55] {
        at_every_step(&disk, &old, &old[..above as usize], &|storage, wal| {
            storage.truncate(wal, Zxid(above)).map(|recovered| {
                assert_eq!(recovered.tree.tip_zxid(), Zxid(above));
            })
        });
    }
}

#[test]
fn a_replacement_survives_power_loss_at_every_step() {
    let (disk, old) = base();
    for new in [vec![3, 9], vec![2, 4, 70]] {
        let tree = tree_of(&new);
        let view = tree.view(tree.tip_zxid());
        at_every_step(&disk, &old, &new, &|storage, wal| {
            storage.replace(wal, &view, &SESSIONS, Zxid::ZERO).map(drop)
        });
    }
}

/// What was not written yet is truncated and kept by its zxid all the same.
#[test]
fn truncation_counts_what_waits_to_be_written() {
    let (disk, old) = base();
    for above in [20, 57, 60, 90] {
        let disk = disk.copy();
        let (mut storage, mut recovered) = open(&disk).expect("sound");
        for zxid in 57..=60 {
            let (header, txn) = create(zxid);
            let mut payload = Vec::new();
            encode_txn(&header, &txn, None, &mut payload);
            recovered.wal.append(Zxid(zxid), &payload).expect("room");
        }
        let truncated = storage.truncate(recovered.wal, Zxid(above));
        let mut recovered = truncated.expect("truncated");
        let mut history: History = old.iter().copied().chain(57..=60).collect();
        history.retain(|zxid| *zxid <= above);
        assert_eq!(history_of(&recovered.tree), history);
        append(&mut recovered.wal, &disk, &[0x1_0000_0001, 0x1_0000_0002]);
        history.extend([0x1_0000_0001, 0x1_0000_0002]);
        drop((storage, recovered.wal));
        storage_epoch(&disk, 1);
        let (_, recovered) = open(&disk).expect("sound");
        assert_eq!(history_of(&recovered.tree), history);
    }
}

/// Lets the disk's member have entered an epoch.
fn storage_epoch(disk: &MemoryDisk, epoch: i64) {
    for name in ["acceptedEpoch", "currentEpoch"] {
        let path = PathBuf::from("/data/zkore-1").join(name);
        disk.set_bytes(&path, epoch.to_string().as_bytes());
    }
}

/// What is dropped could be all that shows an older part to be damaged.
#[test]
fn truncation_of_a_damaged_log_finds_the_damage() {
    let (disk, old) = base();
    let (mut storage, recovered) = open(&disk).expect("sound");
    let path = PathBuf::from("/log/zkore-1/log.1");
    let mut bytes = disk.bytes(&path);
    bytes[4096 + 70] ^= 1;
    disk.set_bytes(&path, &bytes);
    let truncated = storage.truncate(recovered.wal, Zxid(50));
    let recovered = truncated.expect("a member goes on without the damaged part");
    assert!(storage.needs_repair() && recovered.damage.is_some());
    let found = history_of(&recovered.tree);
    assert!(found.len() < 50 && old.starts_with(&found), "{found:?}");
    assert!(names(&disk).contains(&"log.1.bad".to_owned()));
}

/// A leader that was never established may have left a tree, and the next one has a shorter history.
#[test]
fn a_tree_that_cannot_be_cut_is_given_up() {
    let (disk, old) = base();
    let (mut storage, recovered) = open(&disk).expect("sound");
    let tree = tree_of(&old);
    let view = tree.view(tree.tip_zxid());
    let wal = storage.replace(recovered.wal, &view, &SESSIONS, Zxid::ZERO);
    let truncated = storage.truncate(wal.expect("replaced"), Zxid(50));
    let recovered = truncated.expect("a member goes on without it");
    assert_eq!(recovered.tree.tip_zxid(), Zxid::ZERO);
    assert!(
        storage.needs_repair(),
        "it may have acknowledged what it lacks now"
    );
    drop((storage, recovered));
    let (storage, _) = open(&disk).expect("a later start knows it too");
    assert!(storage.needs_repair());
}

/// A start takes no more of it for committed than was known before.
#[test]
fn a_tree_counts_as_committed_once_its_leader_was_established() {
    let (disk, old) = base();
    let (mut storage, recovered) = open(&disk).expect("sound");
    let (tree, known) = (tree_of(&old), Zxid(old[3]));
    let view = tree.view(tree.tip_zxid());
    let wal = storage.replace(recovered.wal, &view, &SESSIONS, known);
    drop((storage, wal.expect("replaced")));
    let (mut storage, recovered) = open(&disk).expect("sound");
    assert_eq!(recovered.committed, known);
    storage.tree_confirmed().expect("removed");
    drop((storage, recovered));
    let (mut storage, recovered) = open(&disk).expect("sound");
    assert_eq!(recovered.committed, tree.tip_zxid());

    // Of another tree than the one that is there it says nothing: a crash has kept that away.
    disk.fail_at(disk.steps() + 8);
    let tree = tree_of(&[1, 99]);
    let view = tree.view(tree.tip_zxid());
    let replaced = storage.replace(recovered.wal, &view, &SESSIONS, known);
    assert!(replaced.is_err() && names(&disk).contains(&"unconfirmedTree".to_owned()));
    drop(storage);
    disk.fail_at(u64::MAX);
    let (_, recovered) = open(&disk).expect("sound");
    assert_eq!(recovered.committed, Zxid(*old.last().expect("some")));
}

#[test]
fn a_snapshot_of_what_is_truncated_is_set_aside() {
    let (disk, old) = base();
    let (mut storage, recovered) = open(&disk).expect("sound");
    for zxid in [20, 40] {
        let tree = tree_of(&old[..zxid]);
        let dir = storage.snapshot_dir();
        let view = tree.view(tree.tip_zxid());
        snapshot::write(&disk, dir, &view, &SESSIONS).expect("written");
    }
    let recovered = storage
        .truncate(recovered.wal, Zxid(30))
        .expect("truncated");
    assert_eq!(history_of(&recovered.tree), old[..30]);
    assert!(names(&disk).contains(&"snapshot.28.dropped".to_owned()));
    assert!(!storage.needs_repair(), "the log had all of it");
}

#[test]
fn the_log_is_read_back_while_it_is_written() {
    let (disk, old) = base();
    let (storage, mut recovered) = open(&disk).expect("sound");
    let read = |after: i64, up_to: i64, bytes_max| {
        let mut found = History::new();
        let mut on_record = |zxid: Zxid, _: &[u8]| found.push(zxid.0);
        let read = storage.read_log(Zxid(after), Zxid(up_to), bytes_max, &mut on_record);
        (read.expect("readable"), found)
    };
    for (after, up_to) in [(0, 56), (3, 50), (4, 4), (11, 12), (55, 56), (56, 56)] {
        let (result, found) = read(after, up_to, usize::MAX);
        assert_eq!(found, old[after as usize..up_to as usize]);
        assert!(
            result.follows(Zxid(after)) && result.is_complete,
            "{result:?}"
        );
        assert_eq!(result.last, Zxid(up_to));
    }
    // Batches too large for one window, bounds, and what is not there.
    let (result, found) = read(5, 56, 1);
    assert_eq!((found, result.is_complete), (vec![6], false));
    let (result, found) = read(50, 60, usize::MAX);
    assert_eq!((found.len(), result.is_complete), (6, false));
    append(&mut recovered.wal, &disk, &[60, 61]);
    let (result, found) = read(58, 61, usize::MAX);
    assert_eq!(result.previous, Some(Zxid(56)), "58 never was");
    assert_eq!((found, result.is_complete), (vec![60, 61], true));
    wal_purge(&disk, Zxid(40));
    let (result, found) = read(1, 61, usize::MAX);
    assert_eq!((result.previous, found.len()), (None, 0));
    let (result, found) = read(41, 61, usize::MAX);
    assert!(result.follows(Zxid(41)) && result.is_complete);
    assert_eq!(found.len(), 17);
}

fn wal_purge(disk: &MemoryDisk, keep_from: Zxid) {
    let removed = crate::wal::purge(disk, &PathBuf::from("/log/zkore-1"), keep_from);
    assert!(!removed.expect("purged").is_empty());
}

/// Any order of appends, snapshots, truncations, replacements, restarts and power losses.
#[test]
fn any_sequence_agrees_with_a_plain_list() {
    for seed in 0..40 {
        let mut plan = Plan(seed);
        let mut disk = MemoryDisk::default();
        let mut model = History::new();
        for _ in 0..8 {
            let opened = open(&disk);
            let (storage, recovered) =
                opened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(history_of(&recovered.tree), model, "seed {seed}");
            disk = live(&mut plan, &disk, storage, recovered.wal, &mut model);
        }
    }
}

/// One life of a server, up to a power loss.
fn live(
    plan: &mut Plan,
    disk: &MemoryDisk,
    mut storage: Storage,
    mut wal: Wal,
    model: &mut History,
) -> MemoryDisk {
    for _ in 0..plan.below(12) {
        let last = model.last().copied().unwrap_or_default();
        match plan.below(8) {
            0..3 => {
                let new: History = (last + 1..=last + 1 + plan.below(9) as i64).collect();
                append(&mut wal, disk, &new);
                model.extend(new);
            }
            3 => wal.roll(),
            4 => {
                let tree = tree_of(model);
                let view = tree.view(tree.tip_zxid());
                let dir = storage.snapshot_dir();
                snapshot::write(disk, dir, &view, &SESSIONS).expect("written");
            }
            5 => wal = storage.reopen(wal).expect("sound").wal,
            6 => {
                let above = last - plan.below(12).min(last as u64) as i64;
                // Not behind a snapshot, which holds what is committed only.
                let dir = storage.snapshot_dir();
                let newest = snapshot::newest_zxid(disk, dir);
                let above = above.max(newest.expect("listed").unwrap_or_default().0);
                let kept: History = model
                    .iter()
                    .copied()
                    .filter(|zxid| *zxid <= above)
                    .collect();
                let is_cut_short = plan.below(3) == 0;
                if is_cut_short {
                    disk.die_at(disk.steps() + plan.below(12));
                }
                match storage.truncate(wal, Zxid(above)) {
                    Ok(recovered) => wal = recovered.wal,
                    Err(_) => return after_crash(plan, disk, model, kept),
                }
                disk.die_at(u64::MAX);
                *model = kept;
            }
            _ => {
                let first = last.max(1) - plan.below(last.max(1) as u64) as i64;
                let new: History = (first..=first + plan.below(20) as i64).collect();
                let tree = tree_of(&new);
                if plan.below(3) == 0 {
                    disk.die_at(disk.steps() + plan.below(16));
                }
                match storage.replace(wal, &tree.view(tree.tip_zxid()), &SESSIONS, Zxid::ZERO) {
                    Ok(replaced) => wal = replaced,
                    Err(_) => return after_crash(plan, disk, model, new),
                }
                disk.die_at(u64::MAX);
                *model = new;
            }
        }
    }
    let likely = plan.below(5);
    disk.crash(&mut || plan.below(4) < likely)
}

/// A start after a power loss within a change: the old or the new history.
fn after_crash(
    plan: &mut Plan,
    disk: &MemoryDisk,
    model: &mut History,
    new: History,
) -> MemoryDisk {
    let likely = plan.below(5);
    let disk = disk.crash(&mut || plan.below(4) < likely);
    let (_, recovered) = open(&disk).expect("sound");
    let found = history_of(&recovered.tree);
    assert!(found == *model || found == new, "{found:?}");
    *model = found;
    disk
}

/// A member sets the damage aside, says so until it is repaired, and deletes nothing.
#[test]
fn a_damaged_member_keeps_what_is_sound_and_does_not_vote() {
    let (disk, old) = base();
    let path = PathBuf::from("/log/zkore-1/log.1");
    let mut bytes = disk.bytes(&path);
    bytes[4 * 4096 + 70] ^= 1;
    disk.set_bytes(&path, &bytes);
    for step in 0..24 {
        let disk = disk.copy();
        disk.die_at(step);
        let _ = open(&disk);
        let mut plan = Plan(step);
        let disk = disk.crash(&mut || plan.below(2) == 0);
        let (mut storage, recovered) = open(&disk).expect("what is left");
        let kept = history_of(&recovered.tree);
        assert!(!kept.is_empty() && kept.len() < 20 && kept == old[..kept.len()]);
        assert!(storage.needs_repair());
        // A copy that a crash left unfinished has the first of the names.
        let is_kept = |name: &String| {
            let path = PathBuf::from("/log/zkore-1").join(name);
            name.starts_with("log.1.") && name.ends_with(".bad") && disk.bytes(&path) == bytes
        };
        assert!(names(&disk).iter().any(is_kept), "nothing is deleted");
        let (again, _) = open(&disk).expect("sound");
        assert!(again.needs_repair());
        let tree = tree_of(&[70]);
        let view = tree.view(tree.tip_zxid());
        let replaced = storage.replace(recovered.wal, &view, &SESSIONS, Zxid::ZERO);
        drop(replaced.expect("replaced"));
        let (again, recovered) = open(&disk).expect("sound");
        assert!(!again.needs_repair() && recovered.damage.is_none());
        assert_eq!(history_of(&recovered.tree), [70]);
    }
}

/// Of a server of Apache's that has run in the place of ours for a while.
#[test]
fn newer_data_of_apaches_make_ours_out_of_date() {
    let (disk, old) = base();
    let last = *old.last().expect("some");
    let put = |name: &str| {
        let path = PathBuf::from("/log/version-2").join(name);
        drop(disk.open(&path, OpenMode::Create).expect("room"));
    };
    put(&format!("snapshot.{last:x}.gz"));
    put("log.7");
    let (storage, recovered) = open(&disk).expect("theirs are no newer");
    assert!(!storage.needs_repair() && recovered.damage.is_none());
    drop((storage, recovered));

    put(&format!("log.{:x}", last + 1));
    let alone = StorageOptions {
        is_member: false,
        ..options()
    };
    let refused = Storage::open(alone, Arc::new(disk.clone())).map(drop);
    let text = refused.expect_err("ours are out of date").to_string();
    assert!(text.starts_with("/log/version-2 holds data"), "{text}");
    // The others of an ensemble may have what it lacks, but its word counts for nothing.
    let (storage, recovered) = open(&disk).expect("a member goes on");
    assert!(storage.needs_repair() && recovered.damage.is_some());
    assert_eq!(history_of(&recovered.tree), old);
}

/// The only snapshot is damaged, and the log has nothing yet.
#[test]
fn a_lost_snapshot_is_no_new_beginning() {
    let disk = disk_with(&[&[1]]);
    let (mut storage, recovered) = open(&disk).expect("sound");
    let tree = tree_of(&[7, 9]);
    let view = tree.view(tree.tip_zxid());
    drop(
        storage
            .replace(recovered.wal, &view, &SESSIONS, Zxid::ZERO)
            .expect("replaced"),
    );
    let path = PathBuf::from("/data/zkore-1/snapshot.9");
    let mut bytes = disk.bytes(&path);
    bytes[100] ^= 1;
    disk.set_bytes(&path, &bytes);
    let alone = StorageOptions {
        is_member: false,
        ..options()
    };
    for _ in 0..2 {
        let refused = Storage::open(alone.clone(), Arc::new(disk.clone())).err();
        let refused = refused.expect("refused");
        assert!(
            matches!(refused, StorageError::SnapshotLost { .. }),
            "{refused}"
        );
    }
    let (storage, recovered) = open(&disk).expect("a member goes on");
    assert!(storage.needs_repair() && recovered.damage.is_some());
}
