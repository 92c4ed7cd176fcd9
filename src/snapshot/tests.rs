//! Tests of snapshots as a whole, on a disk that loses power. `tests/storage.rs` has those on a real one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::format::snapshot_name;
use super::{Loaded, SnapshotError, load, purge, write};
use crate::io::memory::MemoryDisk;
use crate::io::{Disk, DiskError, OpenMode};
use crate::jute::data::{Acl, StatPersisted};
use crate::tree::{Tree, TreeConfig, TreeLoader, View, open_acl};
use crate::types::{SessionId, Zxid};

type Content = BTreeMap<String, (StatPersisted, Option<Vec<u8>>, Vec<Acl>)>;

const SESSIONS: [(SessionId, i32); 2] = [(SessionId(0x10_0000_0001), 4000), (SessionId(-7), 1)];

fn dir() -> PathBuf {
    PathBuf::from("/data")
}

fn config() -> TreeConfig {
    TreeConfig {
        extended_types: true,
        digest_enabled: true,
    }
}

/// A tree of `count` nodes below the root, as of `zxid`.
fn tree_of(count: i64, zxid: Zxid) -> Tree {
    let mut loader = TreeLoader::new(config());
    let mut stat = StatPersisted::default();
    let root = loader.add("/", &stat, None, &[open_acl()]);
    root.expect("the root comes first");
    for at in 0..count {
        stat.czxid = at + 1;
        stat.mzxid = at + 2;
        stat.pzxid = at + 3;
        stat.ctime = 1_700_000_000_000 + at;
        stat.version = at as i32;
        stat.ephemeral_owner = if at % 5 == 4 { SESSIONS[0].0.0 } else { 0 };
        let data = vec![at as u8; (at as usize * 7) % 300];
        let data = (at % 3 != 0).then_some(data);
        let acl = Acl {
            perms: 1 + (at % 2) as i32,
            ..open_acl()
        };
        let path = match at % 4 {
            0 => format!("/dir-{at}"),
            _ => format!("/dir-{}/näme-{at}", at - at % 4),
        };
        let added = loader.add(&path, &stat, data.as_deref(), &[acl]);
        added.expect("parents come first");
    }
    loader.finish(zxid, None).expect("sound")
}

fn content(view: &View) -> Content {
    let mut content = Content::new();
    view.for_each(&mut |path, node| {
        let data = node.data().map(<[u8]>::to_vec);
        let entry = (node.persisted(), data, node.acl().to_vec());
        assert_eq!(content.insert(path.to_string(), entry), None);
    });
    content
}

fn load_in(disk: &dyn Disk, dir: &Path) -> Result<Loaded, SnapshotError> {
    load(disk, dir, config())
}

/// Writes the tree of `count` nodes as of `zxid`.
fn write_in(disk: &dyn Disk, dir: &Path, count: i64, zxid: Zxid) -> Result<Content, SnapshotError> {
    let tree = tree_of(count, zxid);
    let view = tree.view(zxid);
    let info = write(disk, dir, &view, &SESSIONS)?;
    let content = content(&view);
    assert_eq!((info.zxid, info.nodes), (zxid, content.len() as u64));
    assert_eq!(info.path, dir.join(snapshot_name(zxid)));
    Ok(content)
}

fn assert_loads(loaded: Loaded, zxid: Zxid, expected: &Content) {
    let snapshot = loaded.snapshot.expect("one that is whole");
    assert_eq!(snapshot.info.zxid, zxid);
    assert_eq!(snapshot.tree.tip_zxid(), zxid);
    assert_eq!(snapshot.sessions, SESSIONS);
    assert!(content(&snapshot.tree.view(zxid)) == *expected);
}

#[test]
fn a_snapshot_survives_the_round_trip() {
    let (disk, dir) = (MemoryDisk::default(), dir());
    let none = load_in(&disk, &dir).expect("an empty directory");
    assert!(none.snapshot.is_none() && none.set_aside.is_empty());
    // Enough for several chunks.
    let expected = write_in(&disk, &dir, 9000, Zxid(0x2_0000_001f)).expect("written");
    assert_eq!(disk.list(&dir).expect("listed"), ["snapshot.20000001f"]);
    let loaded = load_in(&disk, &dir).expect("loaded");
    assert_loads(loaded, Zxid(0x2_0000_001f), &expected);
}

#[test]
fn a_damaged_snapshot_is_set_aside_and_the_one_before_used() {
    let disk = MemoryDisk::default();
    let older = write_in(&disk, &dir(), 4, Zxid(5)).expect("written");
    let newer = write_in(&disk, &dir(), 12, Zxid(9)).expect("written");
    let path = dir().join("snapshot.9");
    let bytes = disk.bytes(&path);
    let mut unharmed = 0;
    for at in 0..bytes.len() {
        let copy = disk.copy();
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        copy.set_bytes(&path, &flipped);
        let Ok(loaded) = load_in(&copy, &dir()) else {
            panic!("byte {at}");
        };
        if loaded.set_aside.is_empty() {
            unharmed += 1;
            assert_loads(loaded, Zxid(9), &newer);
            continue;
        }
        assert_eq!(loaded.set_aside[0].path, path);
        assert_loads(loaded, Zxid(5), &older);
        let names = copy.list(&dir()).expect("listed");
        assert_eq!(names, ["snapshot.5", "snapshot.9.bad"]);
    }
    assert!(
        unharmed < 64,
        "only what fills up to the alignment: {unharmed}"
    );
    for length in 0..bytes.len() - 16 {
        let copy = disk.copy();
        copy.set_bytes(&path, &bytes[..length]);
        let loaded = load_in(&copy, &dir()).expect("the older one");
        assert_eq!(loaded.set_aside.len(), 1, "{length}");
        assert_loads(loaded, Zxid(5), &older);
    }
}

#[test]
fn a_snapshot_that_the_disk_cannot_read_is_set_aside_too() {
    let disk = MemoryDisk::default();
    let older = write_in(&disk, &dir(), 4, Zxid(5)).expect("written");
    write_in(&disk, &dir(), 12, Zxid(9)).expect("written");
    disk.make_unreadable(&dir().join("snapshot.9"));
    let loaded = load_in(&disk, &dir()).expect("the older one");
    let reason = &loaded.set_aside[0].reason;
    assert!(reason.contains("snapshot.9: Input/output"), "{reason}");
    assert_loads(loaded, Zxid(5), &older);
}

#[test]
fn without_a_whole_snapshot_all_are_named() {
    let disk = MemoryDisk::default();
    for zxid in [3, 4] {
        write_in(&disk, &dir(), 2, Zxid(zxid)).expect("written");
        disk.set_bytes(&dir().join(snapshot_name(Zxid(zxid))), b"nothing of ours");
    }
    let loaded = load_in(&disk, &dir()).expect("none");
    assert!(loaded.snapshot.is_none());
    let paths = loaded.set_aside.iter().map(|bad| bad.path.clone());
    assert_eq!(
        paths.collect::<Vec<_>>(),
        [dir().join("snapshot.4"), dir().join("snapshot.3")]
    );
    // A whole snapshot under another name is none.
    write_in(&disk, &dir(), 2, Zxid(3)).expect("written");
    let moved = (dir().join("snapshot.3"), dir().join("snapshot.8"));
    disk.rename(&moved.0, &moved.1).expect("renamed");
    let loaded = load_in(&disk, &dir()).expect("none");
    assert!(loaded.snapshot.is_none());
}

#[test]
fn files_that_are_sound_and_not_ours_stay() {
    let disk = MemoryDisk::default();
    write_in(&disk, &dir(), 2, Zxid(3)).expect("written");
    let path = dir().join("snapshot.3");
    disk.set_bytes(&path, b"ZKSN\0\0\0\x02 and so on");
    let refused = load_in(&disk, &dir()).err().expect("refused");
    assert!(refused.to_string().contains("Apache"), "{refused}");
    let mut newer = super::format::encode_file_header().to_vec();
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..12]);
    newer[12..].copy_from_slice(&crc.to_le_bytes());
    disk.set_bytes(&path, &newer);
    let refused = load_in(&disk, &dir()).err().expect("refused");
    assert!(matches!(refused, SnapshotError::Version { version: 2, .. }));
    assert_eq!(disk.list(&dir()).expect("listed"), ["snapshot.3"]);
}

/// Power lost after any change on disk: the older snapshot or the newer, and nothing left over.
#[test]
fn power_loss_while_writing_leaves_a_whole_snapshot() {
    let before = MemoryDisk::default();
    let older = write_in(&before, &dir(), 4, Zxid(5)).expect("written");
    let mut newer_seen = false;
    for steps in 0..60 {
        for (even, odd) in [(false, false), (true, true), (true, false), (false, true)] {
            let disk = before.copy();
            disk.die_at(steps);
            let written = write_in(&disk, &dir(), 12, Zxid(9));
            let mut asked = 0;
            let after = disk.crash(&mut || {
                asked += 1;
                if asked % 2 == 0 { even } else { odd }
            });
            let loaded = load_in(&after, &dir()).expect("loaded");
            assert_eq!(loaded.set_aside, [], "{steps}");
            match written {
                Ok(newer) => {
                    newer_seen = true;
                    assert_loads(loaded, Zxid(9), &newer);
                }
                Err(_) => {
                    let snapshot = loaded.snapshot.as_ref().expect("one of them");
                    if snapshot.info.zxid == Zxid(5) {
                        assert_loads(loaded, Zxid(5), &older);
                    } else {
                        assert_eq!(snapshot.info.nodes, 13);
                    }
                }
            }
            let names = after.list(&dir()).expect("listed");
            assert!(
                names.iter().all(|name| !name.ends_with(".tmp")),
                "{names:?}"
            );
        }
    }
    assert!(newer_seen);
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let disk = MemoryDisk::default();
    let older = write_in(&disk, &dir(), 4, Zxid(5)).expect("written");
    disk.set_capacity(Some(50_000));
    let error = write_in(&disk, &dir(), 9000, Zxid(9)).expect_err("no room");
    let is_no_space = |error: &DiskError| error.is_no_space();
    assert!(
        matches!(&error, SnapshotError::Disk(error) if is_no_space(error)),
        "{error}"
    );
    assert!(error.to_string().contains("snapshot.9.tmp"), "{error}");
    assert_eq!(disk.list(&dir()).expect("listed"), ["snapshot.5"]);
    assert_loads(load_in(&disk, &dir()).expect("loaded"), Zxid(5), &older);
    disk.set_capacity(None);
    let newer = write_in(&disk, &dir(), 9000, Zxid(9)).expect("room again");
    assert_loads(load_in(&disk, &dir()).expect("loaded"), Zxid(9), &newer);
}

#[test]
fn purging_leaves_at_least_three() {
    let disk = MemoryDisk::default();
    assert_eq!(purge(&disk, &dir(), 3).expect("purged"), None);
    for zxid in [1, 0xa, 2, 0x10, 3] {
        let path = dir().join(snapshot_name(Zxid(zxid)));
        disk.open(&path, OpenMode::Create).expect("created");
    }
    let bad = dir().join("snapshot.1.bad");
    disk.open(&bad, OpenMode::Create).expect("created");
    assert_eq!(purge(&disk, &dir(), 4).expect("purged"), Some(Zxid(2)));
    assert_eq!(purge(&disk, &dir(), 1).expect("purged"), Some(Zxid(3)));
    assert_eq!(
        disk.list(&dir()).expect("listed"),
        ["snapshot.1.bad", "snapshot.10", "snapshot.3", "snapshot.a"]
    );
}
