//! What keys of zoo.cfg do, seen from outside: by clients, in the server's log, in its folder.
//!
//! Keys about bad input and refusals are in `bad_input.rs` and `start.rs`.

#![allow(clippy::disallowed_methods, reason = "waits for real servers")]

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::{RawClient, ServerSpec, field, four_letter_word, open_acl};
use tempfile::TempDir;
use zkore::jute::data::Acl;
use zkore::jute::op;
use zkore::jute::proto::{CreateRequest, ExistsRequest, GetDataRequest};

const OK: i32 = 0;
const NO_AUTH: i32 = -102;
const PATIENCE: Duration = Duration::from_secs(30);
const SESSION_TIMEOUT_MS: i32 = 60_000;
/// Nodes of 1 KiB that a test writes.
const NODES: usize = 200;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn spec(folder: &TempDir, lines: &[&str]) -> ServerSpec {
    let spec = ServerSpec::new(folder.path()).with("maxSessionTimeout=60000");
    lines.iter().fold(spec, |spec, line| spec.with(line))
}

fn connect(spec: &ServerSpec) -> RawClient {
    RawClient::connect(spec.address(), SESSION_TIMEOUT_MS).expect("it serves")
}

fn create_with(client: &mut RawClient, path: &str, data: &[u8], acl: Vec<Acl>) -> i32 {
    let request = CreateRequest {
        path,
        data: Some(data),
        acl,
        flags: 0,
    };
    let reply = client.call(op::CREATE, &request).expect("it answers");
    reply.header.err
}

fn exists(client: &mut RawClient, path: &str) -> i32 {
    let request = ExistsRequest { path, watch: false };
    let reply = client.call(op::EXISTS, &request).expect("it answers");
    reply.header.err
}

/// Creates nodes `from..to` of 1 KiB each.
fn fill(client: &mut RawClient, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let made = create_with(client, &format!("/n{number}"), &[7; 1024], open_acl());
        assert_eq!(made, OK, "{number}");
    }
}

/// Starts it, finds the nodes `0..count`, and stops it.
fn check(spec: &ServerSpec, count: usize) {
    let server = spec.start();
    let mut client = connect(spec);
    for number in 0..count {
        assert_eq!(exists(&mut client, &format!("/n{number}")), OK, "{number}");
    }
    for word in ["ERROR", "panic"] {
        assert!(!server.log().contains(word), "{}", server.log());
    }
    assert!(server.stop());
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_force_sync_the_server_warns_and_a_clean_stop_keeps_everything() {
    let folder = folder();
    let spec = spec(&folder, &["preAllocSize=64", "forceSync=no"]);
    let server = spec.start();
    let log = server.log();
    assert!(
        log.contains("WARN") && log.contains("forceSync=no"),
        "{log}"
    );
    fill(&mut connect(&spec), 0..NODES);
    assert!(server.stop());
    check(&spec, NODES);
    let synchronous = self::spec(&folder, &["preAllocSize=64"]);
    let server = synchronous.start();
    let last_start = server.log().rfind("recovered").expect("it says so");
    assert!(!server.log()[last_start..].contains("forceSync=no"));
    assert!(server.stop());
    check(&synchronous, NODES);
}

#[test]
fn a_slow_log_write_is_warned_of_and_counted() {
    let folder = folder();
    let spec = spec(&folder, &["preAllocSize=64", "fsync.warningthresholdms=0"]);
    let server = spec.start();
    fill(&mut connect(&spec), 0..2);
    wait_until("the warning", || {
        server.log().contains("a log write took long") && server.log().contains("WARN")
    });
    let mntr = four_letter_word(server.address, "mntr").expect("it answers");
    let count = field(&mntr, "zk_fsync_threshold_exceed_count").expect("it is counted");
    assert!(count.parse::<u64>().expect("a number") > 0);
    let starts = field(&mntr, "zk_cnt_dbinittime").expect("it is counted");
    assert_eq!(starts, "1");
    assert!(server.stop());

    let folder = self::folder();
    let patient = self::spec(
        &folder,
        &["preAllocSize=64", "fsync.warningthresholdms=600000"],
    );
    let server = patient.start();
    fill(&mut connect(&patient), 0..2);
    assert!(!server.log().contains("a log write took long"));
    assert!(server.stop());
}

#[test]
fn snapshots_come_by_count_and_purging_leaves_three_with_the_log_that_they_need() {
    let folder = folder();
    let small = ["preAllocSize=64", "snapCount=20"];
    let spec = spec(&folder, &small);
    let server = spec.start();
    fill(&mut connect(&spec), 0..NODES);
    wait_until("several snapshots", || spec.files("snapshot.").len() > 4);
    assert!(server.stop());
    let (snapshots, segments) = (spec.files("snapshot."), spec.files("log."));
    // Twenty at most from one to the next, half of it at least; and one may wait for another.
    assert!(snapshots.len() <= NODES / 10 + 1, "{snapshots:?}");

    let purging = self::spec(&folder, &small)
        .with("autopurge.snapRetainCount=3")
        .with("autopurge.purgeInterval=1");
    let server = purging.start();
    let kept = &snapshots[snapshots.len() - 3..];
    wait_until("the old snapshots go", || {
        purging.files("snapshot.") == kept
    });
    wait_until("the log says so", || server.log().contains("purged"));
    let left = purging.files("log.");
    assert!(!left.contains(&segments[0]), "{left:?}");
    assert!(server.stop());
    check(&spec, NODES);
    // The oldest snapshot that was kept is as good as the newest.
    for newer in &kept[1..] {
        std::fs::remove_file(newer).expect("it is ours");
    }
    check(&spec, NODES);
}

#[test]
fn snapshots_come_by_size_too() {
    let folder = folder();
    let spec = spec(&folder, &["preAllocSize=64", "snapSizeLimitInKb=32"]);
    let server = spec.start();
    fill(&mut connect(&spec), 0..NODES);
    wait_until("several snapshots", || spec.files("snapshot.").len() > 2);
    assert!(server.stop());
    check(&spec, NODES);

    let folder = self::folder();
    let without = self::spec(&folder, &["preAllocSize=64", "snapSizeLimitInKb=-1"]);
    let server = without.start();
    fill(&mut connect(&without), 0..NODES);
    assert!(server.stop());
    assert_eq!(without.files("snapshot.").len(), 0, "none was due");
}

#[test]
fn the_log_is_allocated_ahead_and_ends_segments_as_configured() {
    let folder = folder();
    let spec = spec(&folder, &["preAllocSize=1024"]);
    let server = spec.start();
    fill(&mut connect(&spec), 0..NODES);
    let [segment] = &spec.files("log.")[..] else {
        panic!("all fits one segment");
    };
    assert_eq!(std::fs::metadata(segment).expect("ours").len(), 1 << 20);
    assert!(server.stop());
    check(&spec, NODES);

    let limited = self::spec(&folder, &["preAllocSize=1024", "txnLogSizeLimitInKb=64"]);
    let server = limited.start();
    fill(&mut connect(&limited), NODES..2 * NODES);
    let mut segments = limited.files("log.");
    assert!(segments.len() > 3, "{segments:?}");
    let is_limited = |path: &_| std::fs::metadata(path).expect("ours").len() <= 64 << 10;
    assert!(segments.split_off(1).iter().all(is_limited));
    assert!(server.stop());
    check(&limited, 2 * NODES);
}

/// What the word `hash` tells of the tree's digest.
fn digests(server: SocketAddr) -> usize {
    let answer = four_letter_word(server, "hash").expect("it answers");
    answer.lines().count()
}

#[test]
fn the_digest_can_be_turned_off_and_on_over_the_same_data() {
    let folder = folder();
    for (round, setting) in ["false", "true", "false", "true"].into_iter().enumerate() {
        let line = format!("digest.enabled={setting}");
        let spec = spec(&folder, &["preAllocSize=64", "snapCount=90", &line]);
        let server = spec.start();
        fill(&mut connect(&spec), round * NODES..(round + 1) * NODES);
        assert_eq!(digests(server.address) > 0, setting == "true");
        assert!(server.stop());
        check(&spec, (round + 1) * NODES);
    }
}

#[test]
fn only_the_configured_address_is_listened_on() {
    let folder = folder();
    let spec = spec(&folder, &[]).with_ip(Ipv4Addr::new(127, 0, 0, 9).into());
    let server = spec.start();
    fill(&mut connect(&spec), 0..1);
    let elsewhere = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    assert!(TcpStream::connect(elsewhere).is_err());
    assert!(server.stop());
}

#[test]
fn session_timeouts_are_2_to_20_ticks_by_default() {
    let folder = folder();
    let server = ServerSpec::new(folder.path()).start();
    let timeouts = [1, 1000, 99_000].map(|asked| {
        let client = RawClient::connect(server.address, asked).expect("it serves");
        client.session.timeout_ms
    });
    assert_eq!(timeouts, [200, 1000, 2000], "a tick is 100 ms here");
    assert!(server.stop());
}

#[test]
fn all_connections_together_are_limited() {
    let folder = folder();
    let spec = spec(&folder, &["maxCnxns=2", "maxClientCnxns=0"]);
    let server = spec.start();
    let mut clients = [connect(&spec), connect(&spec)];
    let third = RawClient::connect(server.address, SESSION_TIMEOUT_MS);
    assert!(third.is_err(), "the third");
    fill(&mut clients[0], 0..1);
    let [first, second] = clients;
    drop(first);
    wait_until("its place is free again", || {
        RawClient::connect(server.address, SESSION_TIMEOUT_MS).is_ok()
    });
    drop(second);
    assert!(server.stop());
}

#[test]
fn with_one_request_outstanding_at_a_time_all_are_answered_in_order() {
    const EACH: usize = 300;
    let folder = folder();
    let lines = ["preAllocSize=1024", "globalOutstandingLimit=1"];
    let spec = spec(&folder, &lines);
    let server = spec.start();
    let mut clients = [connect(&spec), connect(&spec), connect(&spec)];
    let mut sent = Vec::new();
    for (number, client) in clients.iter_mut().enumerate() {
        for at in 0..EACH {
            let path = format!("/c{number}-{at}");
            let create = CreateRequest {
                path: &path,
                data: None,
                acl: open_acl(),
                flags: 0,
            };
            sent.push(client.send(op::CREATE, &create).expect("it takes it"));
        }
    }
    for (client, sent) in clients.iter_mut().zip(sent.chunks(EACH)) {
        for &xid in sent {
            let reply = client.receive().expect("it answers");
            assert_eq!((reply.header.xid, reply.header.err), (xid, OK));
        }
    }
    assert!(server.stop());
}

#[test]
fn acls_count_unless_they_are_skipped() {
    let folder = folder();
    let nobody = || {
        vec![Acl {
            perms: 0,
            scheme: "world".into(),
            id: "anyone".into(),
        }]
    };
    for (setting, expected) in [("no", NO_AUTH), ("yes", OK)] {
        let spec = spec(&folder, &["preAllocSize=64", &format!("skipACL={setting}")]);
        let server = spec.start();
        let mut client = connect(&spec);
        let path = format!("/closed-{setting}");
        assert_eq!(create_with(&mut client, &path, b"d", nobody()), OK);
        let get = GetDataRequest {
            path: "/closed-no",
            watch: false,
        };
        let reply = client.call(op::GET_DATA, &get).expect("it answers");
        assert_eq!(reply.header.err, expected, "skipACL={setting}");
        assert!(server.stop());
    }
}

#[test]
fn both_runtimes_serve_clients_of_all_shards_side_by_side() {
    const CLIENTS: usize = 32;
    const NODES_EACH: usize = 10;
    let folder = folder();
    for (turn, runtime) in ["ring", "glommio", "ring"].into_iter().enumerate() {
        let runtime = format!("zkore.runtime={runtime}");
        let lines = [&runtime, "zkore.shards=3", "4lw.commands.whitelist=*"];
        let spec = spec(&folder, &lines);
        let server = spec.start();
        thread::scope(|scope| {
            for number in 0..CLIENTS {
                let spec = &spec;
                scope.spawn(move || {
                    let mut client = connect(spec);
                    let first = (turn * CLIENTS + number) * NODES_EACH;
                    fill(&mut client, first..first + NODES_EACH);
                    client.close().expect("it answers");
                });
            }
        });
        let mut client = connect(&spec);
        for number in 0..(turn + 1) * CLIENTS * NODES_EACH {
            assert_eq!(exists(&mut client, &format!("/n{number}")), OK, "{number}");
        }
        let answer = four_letter_word(spec.address(), "mntr").expect("it answers");
        let alive = field(&answer, "zk_num_alive_connections");
        // The client, and the word itself.
        assert_eq!(alive.as_deref(), Some("2"), "{runtime}: {answer}");
        assert!(server.stop(), "{runtime}");
    }
}
