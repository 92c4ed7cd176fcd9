//! What a request costs a real server in system calls, against a stored baseline.
//!
//! The kernel's tracer shows every call of every thread. A loop that waits in vain looks around ten
//! times a second; such a wait is told by its result, a timeout, and does not count. What is left
//! depends on the requests alone for reads, and nearly so for writes, so the machine's mood does not
//! matter.
//!
//! `perf/system-calls.txt` is the baseline. `ZKORE_WRITE_COST=1 cargo test --test system_calls`
//! writes it anew, for a change that costs what it must; the commit's message says why.

#![allow(clippy::disallowed_methods, reason = "the tracer stamps real times")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use zkore::jute::proto::{CreateRequest, GetDataRequest, RequestHeader, SetDataRequest};
use zkore::jute::{Record, op};

#[path = "interop/support.rs"]
#[allow(
    dead_code,
    reason = "shared with the interop tests, which use other parts"
)]
mod interop;
mod support;

use support::{RawClient, Server, ServerSpec};

/// How many requests are written at once, and how often.
struct Load {
    name: &'static str,
    kind: i32,
    pipeline: usize,
    turns: usize,
    /// How much more than the baseline is let pass. A read's number holds a few reports of who was
    /// heard from, which come by the clock; a write's depends on who is still awake when a log write
    /// is complete.
    tolerance: f64,
}

const LOADS: &[Load] = &[
    Load {
        name: "get-pipeline-1",
        kind: op::GET_DATA,
        pipeline: 1,
        turns: 400,
        tolerance: 0.1,
    },
    Load {
        name: "get-pipeline-16",
        kind: op::GET_DATA,
        pipeline: 16,
        turns: 400,
        tolerance: 0.1,
    },
    Load {
        name: "set-pipeline-1",
        kind: op::SET_DATA,
        pipeline: 1,
        turns: 400,
        tolerance: 0.25,
    },
    Load {
        name: "set-pipeline-16",
        kind: op::SET_DATA,
        pipeline: 16,
        turns: 400,
        tolerance: 0.25,
    },
];

/// Turns before those that count.
const WARMUP: usize = 50;

/// The first kernels on which the ring has what the baseline counts on.
const KERNEL_MAJOR_MIN: u32 = 6;

/// How long the tracer may take to write down that the server has ended.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn system_calls_stay_within_the_baseline() {
    if !interop::ready("system calls", &["strace"]) {
        return;
    }
    if kernel_major() < KERNEL_MAJOR_MIN {
        let why = format!("before Linux {KERNEL_MAJOR_MIN} loops ring bells by calls of their own");
        return interop::skip("counting system calls", &why);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let traced = Traced::start(folder.path());
    let mut client = RawClient::connect(traced.server.address, 30_000).expect("a session");
    let create = CreateRequest {
        path: "/node",
        data: Some(&[7; 100]),
        acl: support::open_acl(),
        flags: 0,
    };
    client.call(op::CREATE, &create).expect("it is new");
    let windows: Vec<_> = LOADS.iter().map(|load| run(load, &mut client)).collect();
    let calls = traced.end();
    let measured: BTreeMap<&str, f64> = LOADS
        .iter()
        .zip(&windows)
        .map(|(load, window)| {
            let within = |call: &&Call| window.0 <= call.at_s && call.at_s <= window.1;
            let mut names = BTreeMap::<&str, usize>::new();
            for call in calls.iter().filter(within) {
                *names.entry(&call.name).or_default() += 1;
            }
            let total: usize = names.values().sum();
            let each = total as f64 / (load.turns * load.pipeline) as f64;
            println!("{}: {each:.3} system calls a request, {names:?}", load.name);
            (load.name, each)
        })
        .collect();
    compare(&measured);
}

fn kernel_major() -> u32 {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("this is Linux");
    let major = release
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    major.expect("a release begins with a number")
}

fn compare(measured: &BTreeMap<&str, f64>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/system-calls.txt");
    if std::env::var_os("ZKORE_WRITE_COST").is_some() {
        let head =
            "# System calls a request, of all the server's threads: tests/system_calls.rs.\n";
        let mut text = head.to_owned();
        for (name, each) in measured {
            let _ = writeln!(text, "{name} {each:.3}");
        }
        fs::write(&file, text).expect("perf/ is writable");
        return;
    }
    let text = fs::read_to_string(&file).expect("the baseline is there");
    let mut offences = String::new();
    for load in LOADS {
        let line = text.lines().find_map(|line| line.strip_prefix(load.name));
        let before = line.and_then(|count| count.trim().parse::<f64>().ok());
        let before = before.unwrap_or_else(|| panic!("{} is not in {}", load.name, file.display()));
        let now = measured[load.name];
        if now > before * (1.0 + load.tolerance) {
            let _ = writeln!(offences, "{}: {before} before, {now:.3} now", load.name);
        } else if now < before * (1.0 - load.tolerance) {
            println!(
                "{}: fewer than the baseline: ZKORE_WRITE_COST=1 keeps that",
                load.name
            );
        }
    }
    assert!(
        offences.is_empty(),
        "more system calls a request than perf/system-calls.txt says:\n{offences}"
    );
}

/// Puts the load on; gives when that began and ended.
fn run(load: &Load, client: &mut RawClient) -> (f64, f64) {
    let turn = turn_of(load);
    let mut began_s = 0.0;
    for number in 0..WARMUP + load.turns {
        if number == WARMUP {
            // The server is back at its wait.
            sleep(Duration::from_millis(50));
            began_s = unix_time_s();
        }
        client.stream.write_all(&turn).expect("it serves");
        for _ in 0..load.pipeline {
            let reply = client.receive().expect("it answers");
            assert_eq!(reply.header.err, 0);
        }
    }
    sleep(Duration::from_millis(50));
    (began_s, unix_time_s())
}

/// The frames of one turn, which are written at once.
fn turn_of(load: &Load) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..load.pipeline {
        let mut frame = RequestHeader {
            xid: 1,
            kind: load.kind,
        }
        .to_vec();
        let get = GetDataRequest {
            path: "/node",
            watch: false,
        };
        let set = SetDataRequest {
            path: "/node",
            data: Some(&[7; 100]),
            version: -1,
        };
        match load.kind {
            op::GET_DATA => get.encode(&mut frame),
            _ => set.encode(&mut frame),
        }
        bytes.extend_from_slice(&(frame.len() as i32).to_be_bytes());
        bytes.extend_from_slice(&frame);
    }
    bytes
}

fn unix_time_s() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("the clock is right").as_secs_f64()
}

/// A server whose system calls are written down.
struct Traced {
    server: Server,
    log: PathBuf,
}

/// What the sequencer calls by the clock, at most fifty times a second, to see how busy the threads are
/// and to move accordingly (`server::placement`).
const BY_THE_CLOCK: [&str; 3] = ["clock_gettime", "pread64", "sched_setaffinity"];

/// A system call that has returned, other than a wait that timed out and those [`BY_THE_CLOCK`].
struct Call {
    at_s: f64,
    name: String,
}

impl Traced {
    fn start(folder: &Path) -> Traced {
        let log = folder.join("calls");
        let script = folder.join("traced");
        // The tracer is a grandchild, so that the process which the test knows and ends is the server.
        let text = format!(
            "#!/bin/sh\nexec strace -D -f -ttt -s 0 -o '{}' '{}' \"$@\"\n",
            log.display(),
            env!("CARGO_BIN_EXE_zkore")
        );
        fs::write(&script, text).expect("the folder is writable");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let spec = ServerSpec::new(folder).with("zkore.shards=1");
        let server = spec.with_program(&script).start();
        Traced { server, log }
    }

    /// Ends the server; gives what its threads called.
    fn end(self) -> Vec<Call> {
        let pid = self.server.pid();
        self.server.kill();
        let last = format!("{pid} ");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(&self.log).expect("the tracer writes it");
            let has_ended = |line: &str| line.starts_with(&last) && line.contains("+++ killed");
            if text.lines().any(has_ended) {
                return text.lines().filter_map(Call::of).collect();
            }
            assert!(Instant::now() < deadline, "the tracer does not end: {text}");
            sleep(Duration::from_millis(20));
        }
    }
}

impl Call {
    /// Of a line such as `12 1700000000.123456 close(3) = 0`, or the second half of one whose first
    /// ends in `<unfinished ...>`.
    fn of(line: &str) -> Option<Call> {
        let (_thread, rest) = line.split_once(' ')?;
        let (at, what) = rest.trim_start().split_once(' ')?;
        let (_, result) = what.rsplit_once(" = ")?;
        if result.contains("ETIME") {
            return None;
        }
        let name = match what.strip_prefix("<... ") {
            Some(resumed) => resumed.split(' ').next()?,
            None => what.split('(').next()?,
        };
        if BY_THE_CLOCK.contains(&name) {
            return None;
        }
        Some(Call {
            at_s: at.parse().ok()?,
            name: name.to_owned(),
        })
    }
}
