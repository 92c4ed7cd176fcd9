//! The phases of one run: prepare, open the sessions, warm up, measure, clean up.

use std::io::{self, IsTerminal};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::actor::Actor;
use super::args::Options;
use super::connection::Plan;
use super::driver::{Driver, NOT_YET, Shared};
use super::error::BenchError;
use super::keys::Keys;
use super::mixed::{Mixed, Mixture};
use super::process::{self, Usage};
use super::recorder::Recorder;
use super::report::{Measured, Observed, Report};
use super::request::{Requests, Sizes};
use super::scenes::Scene;
use super::setup::Session;
use super::workload::Generator;

/// Files that a run needs beyond one for each connection.
pub const OTHER_FILES: u64 = 64;

/// Between the decision to start and the start, so that all threads see it in time.
const START_DELAY_NS: u64 = 20_000_000;

/// How often the server's processes are looked at.
const SAMPLE_NS: u64 = 1_000_000_000;

/// A run whose znodes are in place: it can be measured once or several times.
#[derive(Debug)]
pub struct Stage {
    options: Options,
    servers: Vec<SocketAddr>,
    plan: Arc<Plan>,
    mixture: Arc<Mixture>,
}

/// Makes one run.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let stage = Stage::prepare(options)?;
    let report = stage.measure()?;
    stage.clean_up();
    Ok(report)
}

impl Stage {
    /// Makes the znodes.
    pub fn prepare(options: &Options) -> Result<Stage, BenchError> {
        let servers = resolve(&options.server)?;
        let files = u64::from(options.connections) + OTHER_FILES;
        process::allow_open_files(files).map_err(|source| BenchError::System {
            what: "limit of open files",
            source,
        })?;
        let stage = Stage {
            options: options.clone(),
            servers,
            plan: Arc::new(Plan {
                depth: options.depth() as usize,
                session_timeout_ms: options.session_timeout.as_millis() as u32,
            }),
            mixture: Arc::new(mixture(options)),
        };
        let requests = &stage.mixture.requests;
        let mut session = Session::open(&stage.servers, stage.plan.session_timeout_ms)?;
        session.claim_base(requests)?;
        match options.scenario.scene(options) {
            None => {
                progress(options, &format!("preparing {} znodes", options.keys));
                session.prepare(requests, (options.keys, options.children))?;
            }
            Some(scene) => {
                let znodes = scene.znodes();
                progress(options, &format!("preparing {} znodes", znodes.len()));
                session.create_all(requests, &znodes)?;
            }
        }
        session.close()?;
        Ok(stage)
    }

    /// Opens the sessions, puts on the load and measures it.
    pub fn measure(&self) -> Result<Report, BenchError> {
        let sessions = self.options.connections;
        progress(&self.options, &format!("opening {sessions} sessions"));
        let measured = self.load()?;
        Ok(Report::new(&self.options, measured))
    }

    /// Removes the znodes, unless they shall stay. What was measured is worth more than a clean
    /// server: a failure is only a warning.
    pub fn clean_up(self) {
        if self.options.keep {
            return;
        }
        progress(&self.options, "cleaning up");
        let cleaned =
            Session::open(&self.servers, self.plan.session_timeout_ms).and_then(|mut session| {
                session.clean_up(&self.mixture.requests)?;
                session.close()
            });
        if let Err(error) = cleaned {
            eprintln!("zkore bench: cleaning up: {error}");
        }
    }

    fn load(&self) -> Result<Measured, BenchError> {
        let options = &self.options;
        let idle = server_usage(options)?;
        let shared = Arc::new(Shared {
            origin: now(),
            start_ns: AtomicU64::new(NOT_YET),
            abort: AtomicBool::new(false),
            warmup_ns: options.warmup.as_nanos() as u64,
            measured_ns: options.duration.as_nanos() as u64,
            schedule: options.schedule(),
            answers: AtomicU64::new(0),
        });
        let (ready, is_ready) = mpsc::channel();
        // Anew for each load, since its actors share what they know of each other.
        let scene = options.scenario.scene(options);
        let count = options.threads_used();
        let mut threads = Vec::new();
        for thread in 0..count {
            threads.push(self.spawn(thread, scene.as_deref(), &shared, ready.clone())?);
        }
        drop(ready);
        let all_ready = (0..count).all(|_| is_ready.recv().is_ok());
        if !all_ready {
            // A thread has ended without a word, so one of them holds the error.
            join(threads)?;
            unreachable!("a thread ends before it is ready only with an error");
        }
        let observed = observe(options, &shared)?;
        let recorder = join(threads)?;
        Ok(Measured {
            recorder,
            idle,
            observed,
        })
    }

    fn spawn(
        &self,
        thread: u32,
        scene: Option<&dyn Scene>,
        shared: &Arc<Shared>,
        ready: Sender<()>,
    ) -> Result<Load, BenchError> {
        let numbers =
            (thread..self.options.connections).step_by(self.options.threads_used() as usize);
        let actors = numbers.map(|number| (number, self.actor(scene, number)));
        let driver = Driver::new(
            Arc::clone(&self.plan),
            Arc::clone(shared),
            self.servers.clone(),
            actors,
        )?;
        let shared = Arc::clone(shared);
        let spawned = thread::Builder::new()
            .name(format!("bench-{thread}"))
            .spawn(move || {
                let result = driver.run(&ready);
                if result.is_err() {
                    shared.abort.store(true, Ordering::Relaxed);
                }
                result
            });
        spawned.map_err(|source| BenchError::System {
            what: "thread",
            source,
        })
    }

    /// What a connection does: its part of the scene, or the mixture.
    fn actor(&self, scene: Option<&dyn Scene>, number: u32) -> Box<dyn Actor> {
        if let Some(scene) = scene {
            return scene.actor(number);
        }
        let generator = Generator::new(self.options.seed, u64::from(number));
        Box::new(Mixed::new(Arc::clone(&self.mixture), generator))
    }
}

fn mixture(options: &Options) -> Mixture {
    let sizes = Sizes {
        value: options.value_size.clone(),
        depth: options.depth.clone(),
        keys: options.keys,
        children: options.children,
        multi: options.multi_size,
    };
    Mixture {
        mix: options.mix.clone(),
        keys: Keys::new(options.keys, options.popularity),
        requests: Arc::new(Requests::new(&options.base, sizes)),
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

/// A thread of the load.
type Load = JoinHandle<Result<Recorder, BenchError>>;

/// Starts the load, and reads the clocks of all processes at both ends of the window and every
/// second between.
fn observe(options: &Options, shared: &Shared) -> Result<Observed, BenchError> {
    progress(options, "load");
    let started_at = SystemTime::now();
    let start_ns = shared.now_ns() + START_DELAY_NS;
    shared.start_ns.store(start_ns, Ordering::Release);
    let window = shared.window().expect("the start was just set");
    let mut watcher = Watcher::new(options);

    sleep_until(shared, window.start_ns);
    let client_before = process::own_processor_time();
    let mut samples = vec![server_usage(options)?];
    let slots = (window.end_ns - window.start_ns).div_ceil(SAMPLE_NS);
    for slot in 1..=slots {
        let at_ns = window.start_ns + slot * SAMPLE_NS;
        sleep_until(shared, at_ns.min(window.end_ns));
        samples.push(server_usage(options)?);
        watcher.tell(shared.answers.load(Ordering::Relaxed), slots - slot);
        if shared.abort.load(Ordering::Relaxed) {
            break;
        }
    }
    let client_after = process::own_processor_time();
    let client_resident_bytes =
        process::own_resident_bytes().map_err(|source| BenchError::System {
            what: "memory of this process",
            source,
        })?;
    Ok(Observed {
        started_at_ms: started_at
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64),
        client_processor: client_after.saturating_sub(client_before),
        client_resident_bytes,
        server: samples.into_iter().flatten().collect(),
    })
}

fn join(threads: Vec<Load>) -> Result<Recorder, BenchError> {
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
    let mut total = total.expect("there is at least one thread");
    total.complete();
    Ok(total)
}

/// What all server processes together use; nothing if none is named.
fn server_usage(options: &Options) -> Result<Option<Usage>, BenchError> {
    let mut sum: Option<Usage> = None;
    for &pid in &options.server_pid {
        let usage =
            process::usage_of(pid).map_err(|source| BenchError::ServerProcess { pid, source })?;
        sum = Some(match sum {
            None => usage,
            Some(sum) => Usage {
                processor: sum.processor + usage.processor,
                resident_bytes: sum.resident_bytes + usage.resident_bytes,
            },
        });
    }
    Ok(sum)
}

/// Tells a terminal how the load goes.
struct Watcher {
    is_on: bool,
    answers: u64,
}

impl Watcher {
    fn new(options: &Options) -> Watcher {
        Watcher {
            is_on: !options.quiet && io::stderr().is_terminal(),
            answers: 0,
        }
    }

    /// `answers` came so far, `left_s` seconds are left.
    fn tell(&mut self, answers: u64, left_s: u64) {
        if self.is_on {
            let rate = answers - self.answers;
            // The line is written over, and cleared at the end.
            eprint!("\r\x1b[Kzkore bench: {rate} answers/s, {left_s} s left");
            if left_s == 0 {
                eprint!("\r\x1b[K");
            }
        }
        self.answers = answers;
    }
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
    use super::super::operation::Operation;
    use super::super::testing;
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
        let mix = "get=9,set=9,create=9,createEphemeral=9,delete=9,exists=9,getChildren=9,multi=9,\
                   sync=9,ping=9,reconnect,renew";
        let words = ["-c", "5", "-p", "3", "-t", "2", "--mix", mix];
        let report = run(&options(&address.to_string(), &words)).expect("a run");
        assert!(report.is_sound());
        for operation in Operation::REQUESTS {
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
