//! The phases of one run: prepare, open the sessions, warm up, measure, clean up.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::args::Options;
use super::connection::Plan;
use super::driver::{Driver, NOT_YET, Shared};
use super::error::BenchError;
use super::process::{self, Usage};
use super::recorder::Recorder;
use super::report::{Measured, Report};
use super::request::{Requests, Sizes};
use super::setup::Session;

/// Files that a run needs beyond one for each connection.
const OTHER_FILES: u64 = 64;

/// Between the decision to start and the start, so that all threads see it in time.
const START_DELAY_NS: u64 = 20_000_000;

/// Makes one run.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let servers = resolve(&options.server)?;
    let files = u64::from(options.connections) + OTHER_FILES;
    process::allow_open_files(files).map_err(|source| BenchError::System {
        what: "limit of open files",
        source,
    })?;
    let plan = Arc::new(plan(options));
    progress(options, &format!("preparing {} znodes", options.keys));
    let mut session = Session::open(&servers, plan.session_timeout_ms)?;
    session.prepare(&plan.requests, (options.keys, options.children))?;
    session.close()?;

    progress(
        options,
        &format!("opening {} sessions", options.connections),
    );
    let measured = load(options, &plan, &servers)?;

    if !options.keep {
        progress(options, "cleaning up");
        // What was measured is worth more than a clean server: only a warning.
        if let Err(error) = clean_up(&plan, &servers) {
            eprintln!("zkore bench: cleaning up: {error}");
        }
    }
    Ok(Report::new(options, measured))
}

fn plan(options: &Options) -> Plan {
    let sizes = Sizes {
        value: options.value_size as usize,
        keys: options.keys,
        children: options.children,
        multi: options.multi_size,
    };
    Plan {
        mix: options.mix.clone(),
        requests: Requests::new(&options.base, sizes),
        keys: options.keys,
        depth: options.pipeline as usize,
        session_timeout_ms: options.session_timeout.as_millis() as u32,
    }
}

fn resolve(servers: &[String]) -> Result<Vec<SocketAddr>, BenchError> {
    let one = |address: &String| {
        let failed = |source| BenchError::Address {
            address: address.clone(),
            source,
        };
        let mut found = address.to_socket_addrs().map_err(failed)?;
        found
            .next()
            .ok_or_else(|| failed(io::Error::other("no address")))
    };
    servers.iter().map(one).collect()
}

fn progress(options: &Options, text: &str) {
    if !options.quiet {
        eprintln!("zkore bench: {text}");
    }
}

fn clean_up(plan: &Plan, servers: &[SocketAddr]) -> Result<(), BenchError> {
    let mut session = Session::open(servers, plan.session_timeout_ms)?;
    session.clean_up(&plan.requests)?;
    session.close()
}

/// Puts on the load and measures it.
fn load(
    options: &Options,
    plan: &Arc<Plan>,
    servers: &[SocketAddr],
) -> Result<Measured, BenchError> {
    let shared = Arc::new(Shared {
        origin: now(),
        start_ns: AtomicU64::new(NOT_YET),
        abort: AtomicBool::new(false),
        warmup_ns: options.warmup.as_nanos() as u64,
        measured_ns: options.duration.as_nanos() as u64,
    });
    let (ready, is_ready) = mpsc::channel();
    let mut threads = Vec::new();
    let count = options.threads_used();
    for thread in 0..count {
        let numbers = (thread..options.connections).step_by(count as usize);
        let driver = Driver::new(
            Arc::clone(plan),
            Arc::clone(&shared),
            servers.to_vec(),
            options.seed,
            numbers,
        )?;
        let ready = ready.clone();
        let aborting = Arc::clone(&shared);
        let spawned = thread::Builder::new()
            .name(format!("bench-{thread}"))
            .spawn(move || {
                let result = driver.run(&ready);
                if result.is_err() {
                    aborting.abort.store(true, Ordering::Relaxed);
                }
                result
            });
        threads.push(spawned.map_err(|source| BenchError::System {
            what: "thread",
            source,
        })?);
    }
    drop(ready);
    let all_ready = (0..count).all(|_| is_ready.recv().is_ok());
    if !all_ready {
        // A thread has ended without a word, so one of them holds the error.
        join(threads)?;
        unreachable!("a thread ends before it is ready only with an error");
    }
    observe(options, &shared, threads)
}

/// Starts the load, reads the clocks of both processes at both ends of the window, and collects.
fn observe(
    options: &Options,
    shared: &Shared,
    threads: Vec<JoinHandle<Result<Recorder, BenchError>>>,
) -> Result<Measured, BenchError> {
    progress(options, "load");
    let started_at = SystemTime::now();
    let start_ns = shared.now_ns() + START_DELAY_NS;
    shared.start_ns.store(start_ns, Ordering::Release);
    let window = shared.window().expect("the start was just set");

    sleep_until(shared, window.start_ns);
    let client_before = process::own_processor_time();
    let server_before = server_usage(options);
    sleep_until(shared, window.end_ns);
    let client_after = process::own_processor_time();
    let server_after = server_usage(options);

    let recorder = join(threads)?;
    let server = match (server_before?, server_after?) {
        (Some(before), Some(after)) => Some(Usage {
            processor: after.processor.saturating_sub(before.processor),
            ..after
        }),
        _ => None,
    };
    Ok(Measured {
        recorder,
        started_at_ms: started_at
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64),
        client_processor: client_after.saturating_sub(client_before),
        server,
    })
}

fn join(threads: Vec<JoinHandle<Result<Recorder, BenchError>>>) -> Result<Recorder, BenchError> {
    let mut total: Option<Recorder> = None;
    for thread in threads {
        let recorder = match thread.join() {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        match &mut total {
            Some(total) => total.merge(&recorder),
            None => total = Some(recorder),
        }
    }
    Ok(total.expect("there is at least one thread"))
}

fn server_usage(options: &Options) -> Result<Option<Usage>, BenchError> {
    let Some(pid) = options.server_pid else {
        return Ok(None);
    };
    let usage = process::usage_of(pid);
    usage
        .map(Some)
        .map_err(|source| BenchError::ServerProcess { pid, source })
}

fn sleep_until(shared: &Shared, at_ns: u64) {
    let left_ns = at_ns.saturating_sub(shared.now_ns());
    thread::sleep(Duration::from_nanos(left_ns));
}

fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::super::workload::Operation;
    use super::*;
    use clap::Parser;

    fn options(address: &str, more: &[&str]) -> Options {
        let common = [
            "bench", "--server", address, "-q", "-d", "300ms", "-w", "50ms", "--keys", "50",
        ];
        Options::try_parse_from([&common[..], more].concat()).expect("valid options")
    }

    #[test]
    fn a_run_measures_and_leaves_nothing() {
        let (address, tree) = testing::serve();
        let mix = "get,set,create,delete,exists,getChildren,multi,sync";
        let words = ["-c", "5", "-p", "3", "-t", "2", "--mix", mix];
        let report = run(&options(&address.to_string(), &words)).expect("a run");
        assert!(report.is_sound());
        for operation in Operation::ALL {
            let entry = &report.operations[operation.name()];
            assert!(entry.count > 0, "{}", operation.name());
            assert_eq!((entry.errors, entry.wrong), (0, 0), "{}", operation.name());
        }
        assert!(tree.lock().expect("no thread panicked").is_empty());
    }

    #[test]
    fn a_broken_connection_is_counted_and_opened_again() {
        // Number 0 prepares; the load begins with number 1.
        let (address, tree) =
            testing::serve_breaking(|number| if number == 1 { 500 } else { usize::MAX });
        let words = ["-c", "1", "-p", "4", "--mix", "set,create", "-w", "0"];
        let report = run(&options(&address.to_string(), &words)).expect("a run");
        let json = serde_json::to_value(&report).expect("a document");
        assert_eq!(json["reconnects"], 1, "{json}");
        let lost = json["errors"]["ConnectionLoss (-4)"].as_u64();
        assert!(lost.is_some_and(|lost| lost <= 4), "{json}");
        assert_eq!(json["total"]["errors"].as_u64(), lost, "{json}");
        assert!(report.is_sound() && report.table().contains("broken  1 connections"));
        assert!(tree.lock().expect("no thread panicked").is_empty());
    }

    #[test]
    fn the_znodes_stay_if_asked() {
        let (address, tree) = testing::serve();
        let report = run(&options(&address.to_string(), &["--keep"])).expect("a run");
        assert!(report.is_sound());
        assert_eq!(
            tree.lock().expect("no thread panicked").len(),
            1 + 2 + 50 + 10
        );
    }

    #[test]
    fn nobody_at_home_is_an_error() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        let failed = run(&options(&closed.to_string(), &[]));
        assert!(matches!(failed, Err(BenchError::Connect { .. })));
    }
}
