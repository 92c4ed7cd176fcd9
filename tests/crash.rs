//! The real server, killed at random moments under load, again and again. Every write that was
//! acknowledged must be there after the restart, nothing may be half there, zxids never go back,
//! and the ephemerals of sessions that are gone go too.
//!
//! `ZKORE_CRASH_ROUNDS` sets the number of rounds, `ZKORE_CRASH_SEED` the seed.

#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod support;

use std::collections::HashMap;
use std::env;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use support::{RawClient, Server, ServerSpec, four_letter_word, open_acl};
use zkore::jute::data::Stat;
use zkore::jute::proto::{
    CreateRequest, DeleteRequest, ExistsRequest, GetChildrenRequest, GetChildrenResponse,
    GetDataRequest, GetDataResponse, MULTI_END, MultiHeader, SetDataRequest,
};
use zkore::jute::{Record, op};
use zkore::types::CreateMode;

const WORKERS: usize = 4;
/// Writes that a worker has on the way at once.
const PIPELINE: i64 = 16;
const SESSION_TIMEOUT_MS: i32 = 1000;
const OK: i32 = 0;
const NO_NODE: i32 = -101;

/// What one worker knows of its counter node. Write number `n` sets the data to `n`, so the node
/// must show a number that was sent, and none below the last acknowledged one.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    sent: i64,
    acknowledged: i64,
}

/// What the clients of all rounds know.
#[derive(Debug, Default)]
struct Knowledge {
    counters: [Counter; WORKERS],
    /// Nodes whose creation or deletion was acknowledged: path to whether it is there.
    nodes: HashMap<String, bool>,
    /// Nodes on which an operation was under way when the server died: either is right.
    unknown: Vec<String>,
    zxid_max: i64,
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    let rounds: u32 = from_env("ZKORE_CRASH_ROUNDS", 12);
    let mut seed: u64 = from_env("ZKORE_CRASH_SEED", 0x5eed);
    println!("seed {seed}, {rounds} rounds");
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Snapshots and new segments several times a round, so that crashes hit them too.
    let spec = ServerSpec::new(folder.path())
        .with("snapCount=400")
        .with("preAllocSize=64");
    let knowledge = Arc::new(Mutex::new(Knowledge::default()));
    prepare(&spec);
    for round in 0..rounds {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let server = spec.start();
        verify(server.address, &knowledge, round);
        let stop = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                let (address, knowledge, stop) =
                    (server.address, Arc::clone(&knowledge), Arc::clone(&stop));
                thread::spawn(move || work(address, number, round, &knowledge, &stop))
            })
            .collect();
        thread::sleep(Duration::from_millis(50 + (seed >> 33) % 500));
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("workers do not panic");
        }
    }
    let server = spec.start();
    verify(server.address, &knowledge, rounds);
    ephemerals_go(&server);
    let known = knowledge.lock().expect("no worker panicked");
    let acknowledged: i64 = known
        .counters
        .iter()
        .map(|counter| counter.acknowledged)
        .sum();
    println!(
        "{acknowledged} counter writes, {} nodes, last zxid {:#x}",
        known.nodes.len(),
        known.zxid_max
    );
    assert!(acknowledged > i64::from(rounds) * 10, "the load was real");
    assert!(server.stop(), "SIGTERM stops it cleanly");
}

fn from_env<T: std::str::FromStr>(name: &str, default: T) -> T {
    env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn prepare(spec: &ServerSpec) {
    let server = spec.start();
    let mut client = RawClient::connect(server.address, SESSION_TIMEOUT_MS).expect("connects");
    for number in 0..WORKERS {
        for path in [
            format!("/counter{number}"),
            format!("/pair{number}a"),
            format!("/pair{number}b"),
        ] {
            let reply = client.call(op::CREATE, &create(&path, CreateMode::Persistent, b"0"));
            assert_eq!(reply.expect("answers").header.err, OK);
        }
    }
    client.close().expect("closes");
    assert!(server.stop(), "SIGTERM stops it cleanly");
}

fn create<'a>(path: &'a str, mode: CreateMode, data: &'a [u8]) -> CreateRequest<'a> {
    CreateRequest {
        path,
        data: Some(data),
        acl: open_acl(),
        flags: mode as i32,
    }
}

/// Writes until the server is gone: pipelined counter writes, pairs in a multi, nodes that come and
/// go, and an ephemeral.
fn work(
    address: SocketAddr,
    number: usize,
    round: u32,
    known: &Mutex<Knowledge>,
    stop: &AtomicBool,
) {
    let Ok(mut client) = RawClient::connect(address, SESSION_TIMEOUT_MS) else {
        return;
    };
    let ephemeral = format!("/ephemeral-{round}-{number}");
    let _ = client.call(op::CREATE, &create(&ephemeral, CreateMode::Ephemeral, b""));
    let mut step = 0;
    while !stop.load(Ordering::Relaxed) {
        step += 1;
        let path = format!("/node-{round}-{number}-{step}");
        let done = count(&mut client, number, known)
            .and_then(|()| change_node(&mut client, &path, true, known))
            .and_then(|()| {
                if step % 2 == 0 {
                    change_node(&mut client, &path, false, known)
                } else {
                    Ok(())
                }
            });
        if done.is_err() {
            return;
        }
    }
}

/// Sends a burst of counter writes, each with its twin on the pair, and takes the answers.
fn count(client: &mut RawClient, number: usize, known: &Mutex<Knowledge>) -> io::Result<()> {
    let first = known.lock().expect("no worker panicked").counters[number].sent + 1;
    for value in first..first + PIPELINE {
        known.lock().expect("no worker panicked").counters[number].sent = value;
        let data = value.to_string();
        let path = format!("/counter{number}");
        client.send(
            op::SET_DATA,
            &SetDataRequest {
                path: &path,
                data: Some(data.as_bytes()),
                version: -1,
            },
        )?;
        client.send(
            op::MULTI,
            &Pair {
                number,
                data: data.as_bytes(),
            },
        )?;
    }
    for value in first..first + PIPELINE {
        for _ in ["counter", "pair"] {
            let reply = client.receive()?;
            assert_eq!(reply.header.err, OK);
            let mut known = known.lock().expect("no worker panicked");
            known.zxid_max = known.zxid_max.max(reply.header.zxid);
            known.counters[number].acknowledged = value;
        }
    }
    Ok(())
}

fn change_node(
    client: &mut RawClient,
    path: &str,
    there: bool,
    known: &Mutex<Knowledge>,
) -> io::Result<()> {
    let reply = if there {
        client.call(op::CREATE, &create(path, CreateMode::Persistent, b"node"))
    } else {
        client.call(op::DELETE, &DeleteRequest { path, version: -1 })
    };
    let mut known = known.lock().expect("no worker panicked");
    match reply {
        Ok(reply) => {
            assert_eq!(reply.header.err, OK, "{path}");
            known.zxid_max = known.zxid_max.max(reply.header.zxid);
            known.nodes.insert(path.to_owned(), there);
            Ok(())
        }
        Err(error) => {
            known.unknown.push(path.to_owned());
            Err(error)
        }
    }
}

/// A multi that sets both nodes of a worker's pair to the same value.
struct Pair<'a> {
    number: usize,
    data: &'a [u8],
}

impl Record<'_> for Pair<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        for side in ["a", "b"] {
            MultiHeader {
                kind: op::SET_DATA,
                done: false,
                err: -1,
            }
            .encode(out);
            let path = format!("/pair{}{side}", self.number);
            SetDataRequest {
                path: &path,
                data: Some(self.data),
                version: -1,
            }
            .encode(out);
        }
        MULTI_END.encode(out);
    }

    fn decode(_: &mut zkore::jute::Decoder<'_>) -> Result<Self, zkore::jute::JuteError> {
        unreachable!("requests are only written")
    }
}

/// Compares the server with what its clients know, and makes the knowledge exact again.
fn verify(address: SocketAddr, known: &Mutex<Knowledge>, round: u32) {
    let mut client = RawClient::connect(address, SESSION_TIMEOUT_MS).expect("connects");
    let mut known = known.lock().expect("no worker panicked");
    for number in 0..WORKERS {
        let value = number_at(&mut client, &format!("/counter{number}"));
        let counter = &mut known.counters[number];
        assert!(
            (counter.acknowledged..=counter.sent).contains(&value),
            "round {round}: counter {number} is {value}, but {counter:?}"
        );
        let pair = ["a", "b"].map(|side| number_at(&mut client, &format!("/pair{number}{side}")));
        assert_eq!(pair[0], pair[1], "round {round}: half of a multi is there");
        assert!(
            (counter.acknowledged - 1..=counter.sent).contains(&pair[0]),
            "{pair:?} {counter:?}"
        );
        *counter = Counter {
            sent: value.max(pair[0]),
            acknowledged: value.min(pair[0]),
        };
    }
    let unknown = std::mem::take(&mut known.unknown);
    for path in unknown {
        let there = exists(&mut client, &path);
        known.nodes.insert(path, there);
    }
    for (path, there) in &known.nodes {
        assert_eq!(exists(&mut client, path), *there, "round {round}: {path}");
    }
    let reply = client
        .call(
            op::SET_DATA,
            &SetDataRequest {
                path: "/pair0a",
                data: Some(b"x"),
                version: 1 << 30,
            },
        )
        .expect("answers");
    assert_eq!(reply.header.err, -103, "a bad version is refused");
    let marker = format!("/round{round}");
    let reply = client
        .call(op::CREATE, &create(&marker, CreateMode::Persistent, b""))
        .expect("answers");
    assert_eq!(reply.header.err, OK);
    assert!(
        reply.header.zxid > known.zxid_max,
        "round {round}: a zxid came twice"
    );
    known.zxid_max = reply.header.zxid;
    client.close().expect("closes");
}

fn number_at(client: &mut RawClient, path: &str) -> i64 {
    let reply = client
        .call(op::GET_DATA, &GetDataRequest { path, watch: false })
        .expect("answers");
    assert_eq!(reply.header.err, OK, "{path}");
    let response = GetDataResponse::from_slice(&reply.body).expect("a record");
    let text = std::str::from_utf8(response.data.expect("data was set")).expect("digits");
    text.parse().expect("digits")
}

fn exists(client: &mut RawClient, path: &str) -> bool {
    let reply = client
        .call(op::EXISTS, &ExistsRequest { path, watch: false })
        .expect("answers");
    match reply.header.err {
        OK => Stat::from_slice(&reply.body).is_ok(),
        NO_NODE => false,
        other => panic!("exists {path}: {other}"),
    }
}

/// Within a few timeouts, nothing of the dead sessions is left.
fn ephemerals_go(server: &Server) {
    let mut client = RawClient::connect(server.address, 20_000).expect("connects");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let reply = client
            .call(
                op::GET_CHILDREN,
                &GetChildrenRequest {
                    path: "/",
                    watch: false,
                },
            )
            .expect("answers");
        let children = GetChildrenResponse::from_slice(&reply.body)
            .expect("a record")
            .children;
        if !children.iter().any(|name| name.starts_with("ephemeral-")) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "ephemerals stay: {:?}",
            four_letter_word(server.address, "dump")
        );
        thread::sleep(Duration::from_millis(100));
    }
}
