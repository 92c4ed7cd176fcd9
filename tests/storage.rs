//! Log and snapshots on a real file system, past the page cache where it allows that.

use std::path::Path;
use std::process::{Command, Output};

use zkore::io::Disk;
use zkore::jute::data::StatPersisted;
use zkore::jute::op;
use zkore::jute::txn::{SetDataTxn, Txn, TxnHeader, encode_txn};
use zkore::rt::disk::StdDisk;
use zkore::snapshot;
use zkore::tree::{TreeConfig, TreeLoader, open_acl};
use zkore::types::{SessionId, Zxid};
use zkore::wal::{Recovered, Wal, WalError, WalOptions};

/// The transaction of a zxid.
fn payload(zxid: Zxid) -> Vec<u8> {
    let data = vec![zxid.0 as u8; 1500];
    let txn = Txn::SetData(SetDataTxn {
        path: "/a",
        data: Some(&data),
        version: 1,
    });
    let header = TxnHeader {
        client_id: 0xabc,
        cxid: 1,
        zxid: zxid.0,
        time: 2,
        kind: op::SET_DATA,
    };
    let mut bytes = Vec::new();
    encode_txn(&header, &txn, None, &mut bytes);
    bytes
}

fn recover(dir: &Path, is_synchronous: bool) -> Result<(Wal, Recovered), WalError> {
    let options = WalOptions {
        segment_bytes: 64 << 10,
        is_synchronous,
        ..WalOptions::default()
    };
    let mut last = Zxid::ZERO;
    Wal::recover(&StdDisk, dir, options, last, &mut |zxid, bytes| {
        assert_eq!((zxid.0, bytes), (last.0 + 1, payload(zxid).as_slice()));
        last = zxid;
    })
}

/// Writes what waits, one write after the other.
fn drain(wal: &mut Wal) {
    loop {
        while let Some(task) = wal.poll_segment_task() {
            wal.segment_done(task.run(&StdDisk)).expect("room on disk");
        }
        let Some(write) = wal.poll_write(0) else {
            return;
        };
        let written = write.file.write_at(write.offset, &write.buffer);
        written.expect("a disk that works");
        let bytes = write.buffer.len();
        let completion = wal.complete(write.id, write.buffer, Ok(bytes), 0);
        completion.expect("complete");
    }
}

#[test]
fn a_log_goes_on_over_restarts() {
    for is_synchronous in [true, false] {
        let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        for round in 0..3 {
            let (mut wal, recovered) = recover(place.path(), is_synchronous).expect("sound");
            assert_eq!((recovered.records, recovered.cut), (40 * round, None));
            for _ in 0..40 {
                let zxid = Zxid(wal.appended_zxid().0 + 1);
                wal.append(zxid, &payload(zxid)).expect("room");
                if zxid.0 % 3 == 0 {
                    drain(&mut wal);
                }
            }
            drain(&mut wal);
            assert_eq!(wal.durable_zxid(), wal.appended_zxid());
        }
        let names = StdDisk.list(place.path()).expect("listed");
        let segments = names.iter().filter(|name| name.starts_with("log."));
        assert!(segments.count() > 2, "{names:?}");
    }
}

#[test]
fn a_damaged_log_is_refused_and_can_be_listed() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (mut wal, _) = recover(place.path(), true).expect("a fresh start");
    for zxid in 1..=4 {
        wal.append(Zxid(zxid), &payload(Zxid(zxid))).expect("room");
        drain(&mut wal);
    }
    drop(wal);
    let path = place.path().join("log.1");
    let whole = list(&path);
    assert!(whole.status.success());
    let text = String::from_utf8(whole.stdout).expect("text");
    let line = "2 session 0xabc cxid 0x1 zxid 0x4 setData /a 1500 bytes version 1";
    assert!(text.lines().any(|other| other == line), "{text}");

    let mut bytes = std::fs::read(&path).expect("read");
    bytes[2 * 4096 + 200] ^= 0x10;
    std::fs::write(&path, &bytes).expect("written");
    let refused = recover(place.path(), true).err().expect("refused");
    let text = refused.to_string();
    assert!(text.contains("log.1 is damaged at offset 8232"), "{text}");
    assert_eq!(
        std::fs::read(&path).expect("read"),
        bytes,
        "nothing is changed"
    );
    let damaged = list(&path);
    assert_eq!(damaged.status.code(), Some(1));
    let text = String::from_utf8(damaged.stdout).expect("text");
    assert!(
        text.contains("offset 8232: ") && text.contains("zxid 0x4 "),
        "{text}"
    );
    assert!(!text.contains("zxid 0x2 "), "{text}");
}

fn list(path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zkore"));
    command.arg("log").arg(path).output().expect("it runs")
}

#[test]
fn a_snapshot_is_written_and_loaded() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let config = TreeConfig {
        extended_types: false,
        digest_enabled: true,
    };
    let mut loader = TreeLoader::new(config.clone());
    let stat = StatPersisted::default();
    for at in 0..20_000 {
        let path = if at == 0 {
            "/".to_string()
        } else {
            format!("/n-{at}")
        };
        let added = loader.add(&path, &stat, Some(&[7; 100]), &[open_acl()]);
        added.expect("the root comes first");
    }
    let tree = loader.finish(Zxid(0x10), None).expect("sound");
    let sessions = [(SessionId(5), 4000)];
    let view = tree.view(Zxid(0x10));
    let info = snapshot::write(&StdDisk, place.path(), &view, &sessions).expect("written");
    assert_eq!(info.path, place.path().join("snapshot.10"));
    let loaded = snapshot::load(&StdDisk, place.path(), config).expect("loaded");
    let loaded = loaded.snapshot.expect("one that is whole");
    assert_eq!(loaded.info, info);
    assert_eq!(
        (loaded.info.nodes, loaded.sessions.as_slice()),
        (20_000, &sessions[..])
    );
    assert_eq!(loaded.tree.digest(), tree.digest());
}
