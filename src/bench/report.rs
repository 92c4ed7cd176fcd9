//! What a run yields, as a JSON document.
//!
//! The JSON's names are a contract: fields are added, not renamed. Times carry their unit.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::types::ErrorCode;

use super::args::Options;
use super::context::Context;
use super::error::BenchError;
use super::operation::Operation;
use super::process::Usage;
use super::recorder::{LATE_NS, Recorder, Tally};
use super::spread::Spread;

/// Where the curve of latencies has its points.
const CURVE: [f64; 20] = [
    0.0, 0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.9975, 0.999, 0.9995,
    0.9998, 0.9999, 0.99995, 0.99999, 1.0,
];

/// What a run yields.
#[derive(Debug)]
pub struct Measured {
    /// All threads' counts.
    pub recorder: Recorder,
    /// What the server's processes used before there were sessions.
    pub idle: Option<Usage>,
    /// What was seen of the processes.
    pub observed: Observed,
}

/// What was seen of the processes while the load was on.
#[derive(Debug)]
pub struct Observed {
    /// When the load began, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// Processor time of this tool within the window.
    pub client_processor: Duration,
    /// Resident memory of this tool at the window's end.
    pub client_resident_bytes: u64,
    /// The server at the window's start, after each second, and at its end; empty if unknown.
    pub server: Vec<Usage>,
}

/// The JSON document.
#[derive(Debug, Serialize)]
pub struct Report {
    tool: String,
    /// What was asked for.
    pub config: Settings,
    /// Where it ran.
    pub context: Context,
    started_at_ms: u64,
    /// How long what was counted took, in seconds.
    pub measured_s: f64,
    /// All operations together.
    pub total: Entry,
    /// Each operation of the mix, by name.
    pub operations: BTreeMap<&'static str, Entry>,
    /// Refused and lost requests, by name of the code.
    pub errors: BTreeMap<String, u64>,
    /// How well the times of an open loop were kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_loop: Option<OpenLoop>,
    /// Connections that broke.
    pub reconnects: u64,
    /// Why the last of them did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_break: Option<String>,
    /// This tool.
    pub client: Process,
    /// The server's processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Process>,
    /// Length of a slot of the time line, in seconds.
    pub timeline_slot_s: u64,
    /// What happened slot by slot.
    pub timeline: Vec<Slot>,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// As given.
    pub servers: Vec<String>,
    /// Sessions.
    pub connections: u32,
    /// Requests outstanding on each; in an open loop at most.
    pub pipeline: u32,
    /// Requests a second of an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    in_step: bool,
    /// What the sessions do: operations and weights, or a scenario.
    pub mix: String,
    /// Bytes of data in each znode.
    pub value_size: Spread,
    depth: Spread,
    popularity: String,
    /// Prepared znodes.
    pub keys: u32,
    children: u32,
    multi_size: u32,
    duration_s: f64,
    warmup_s: f64,
    /// Threads of this tool.
    pub threads: u32,
    seed: u64,
}

/// How well the times of an open loop were kept.
#[derive(Debug, Serialize)]
pub struct OpenLoop {
    /// Requests that were sent later than a millisecond after their intended time.
    pub late: u64,
    /// How much later all requests were sent.
    pub lag_us: Latency,
}

/// A slot of the time line.
#[derive(Debug, Serialize)]
pub struct Slot {
    /// Seconds from the window's start to the slot's.
    pub at_s: u64,
    /// Requests that succeeded, a second.
    pub ops_s: f64,
    /// Median latency.
    pub p50_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Requests that were refused or lost.
    pub errors: u64,
    /// Processors that the server kept busy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_cpus: Option<f64>,
    /// The server's resident memory at the slot's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_rss_bytes: Option<u64>,
}

/// One operation, or all together.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// Requests that succeeded.
    pub count: u64,
    /// Requests that were refused or lost.
    pub errors: u64,
    /// Replies that were not what they must be, or such events.
    pub wrong: u64,
    /// Requests that succeeded, a second.
    pub throughput_ops_s: f64,
    /// Of requests that succeeded.
    pub latency_us: Latency,
    /// The same as a curve: quantiles and latencies in µs.
    pub latency_curve: Vec<(f64, f64)>,
}

/// Percentiles, in µs.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub p99_99: f64,
    pub max: f64,
}

/// What a process, or several together, used within the window.
#[derive(Debug, Serialize)]
pub struct Process {
    /// Processor time, in seconds.
    pub cpu_s: f64,
    /// Processor time for each request that succeeded, in µs.
    pub cpu_us_per_op: f64,
    /// Processors kept busy on average.
    pub cpus_used: f64,
    /// Resident memory at the window's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    /// How much resident memory grew while the sessions were opened, for each of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_bytes_per_session: Option<f64>,
    /// Requests a second that this tool made in the same way against a trivial responder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling_ops_s: Option<f64>,
}

impl Report {
    /// Puts together what was measured.
    pub fn new(options: &Options, measured: Measured) -> Report {
        let recorder = &measured.recorder;
        let measured_s = recorder.measured_ns() as f64 / 1e9;
        let entry = |operations: &[Operation]| Entry::new(operations, recorder, measured_s);
        let operations: BTreeMap<&'static str, Entry> = Operation::ALL
            .into_iter()
            .filter(|&one| options.is_expected(one) || recorder.tally(one).is_some())
            .map(|one| (one.name(), entry(&[one])))
            .collect();
        let total = entry(Operation::REQUESTS);
        let mut errors = BTreeMap::new();
        for tally in Operation::ALL
            .into_iter()
            .filter_map(|one| recorder.tally(one))
        {
            for (&code, count) in &tally.errors {
                *errors.entry(error_name(code)).or_default() += count;
            }
        }
        let observed = &measured.observed;
        Report {
            tool: format!("zkore bench {}", env!("CARGO_PKG_VERSION")),
            config: Settings::new(options),
            context: Context::of_this_machine(&options.server_pid),
            started_at_ms: observed.started_at_ms,
            measured_s,
            client: Process {
                rss_bytes: Some(observed.client_resident_bytes),
                ..Process::new(observed.client_processor, total.count, options)
            },
            server: Process::of_server(&measured, total.count, options),
            open_loop: options.rate.map(|_| OpenLoop::new(&recorder.lag_ns)),
            reconnects: recorder.reconnects,
            last_break: recorder.last_break.clone(),
            timeline_slot_s: recorder.timeline().slot_s(),
            timeline: timeline(recorder, &observed.server),
            total,
            operations,
            errors,
        }
    }

    /// Whether something was measured and no reply or event was wrong.
    pub fn is_sound(&self) -> bool {
        self.total.count > 0 && self.wrong() == 0
    }

    /// Replies that were not what they must be, and events that must not be.
    pub fn wrong(&self) -> u64 {
        self.operations.values().map(|entry| entry.wrong).sum()
    }

    /// One line for whoever watches.
    pub fn summary(&self) -> String {
        let latency = &self.total.latency_us;
        let server = self.server.as_ref().map_or_else(String::new, |server| {
            format!(", server {:.2} µs/op", server.cpu_us_per_op)
        });
        format!(
            "{:.0} ops/s, p50 {:.0} µs, p99 {:.0} µs{server}, {} errors",
            self.total.throughput_ops_s, latency.p50, latency.p99, self.total.errors
        )
    }
}

/// Writes a JSON document.
pub fn write_json(path: &Path, document: &impl Serialize) -> Result<(), BenchError> {
    let text = serde_json::to_string_pretty(document).map_err(|error| file_error(path, error))?;
    write_file(path, &(text + "\n"))
}

/// Writes a file that the user asked for.
pub fn write_file(path: &Path, text: &str) -> Result<(), BenchError> {
    fs::write(path, text).map_err(|error| file_error(path, error))
}

fn file_error(path: &Path, error: impl Into<io::Error>) -> BenchError {
    BenchError::File {
        path: path.to_owned(),
        source: error.into(),
    }
}

impl Settings {
    fn new(options: &Options) -> Settings {
        Settings {
            servers: options.server.clone(),
            connections: options.connections,
            pipeline: options.depth(),
            rate: options.rate,
            in_step: options.in_step,
            mix: options.load_name(),
            value_size: options.value_size.clone(),
            depth: options.depth.clone(),
            popularity: options.popularity.to_string(),
            keys: options.keys,
            children: options.children,
            multi_size: options.multi_size,
            duration_s: options.duration.as_secs_f64(),
            warmup_s: options.warmup.as_secs_f64(),
            threads: options.threads_used(),
            seed: options.seed,
        }
    }
}

impl Entry {
    fn new(operations: &[Operation], recorder: &Recorder, measured_s: f64) -> Entry {
        let mut sum = Tally::default();
        for tally in operations.iter().filter_map(|&one| recorder.tally(one)) {
            sum.merge(tally);
        }
        let count = sum.latency_ns.len();
        let us_at = |quantile| sum.latency_ns.value_at_quantile(quantile) as f64 / 1_000.0;
        Entry {
            count,
            errors: sum.errors.values().sum(),
            wrong: sum.wrong,
            throughput_ops_s: count as f64 / measured_s.max(f64::MIN_POSITIVE),
            latency_us: Latency::new(&sum.latency_ns),
            latency_curve: CURVE.map(|quantile| (quantile, us_at(quantile))).into(),
        }
    }
}

impl OpenLoop {
    fn new(lag_ns: &Histogram<u64>) -> OpenLoop {
        OpenLoop {
            late: lag_ns.len() - lag_ns.count_between(0, LATE_NS),
            lag_us: Latency::new(lag_ns),
        }
    }
}

impl Process {
    fn new(cpu: Duration, operations: u64, options: &Options) -> Process {
        let window_s = options.duration.as_secs_f64();
        Process {
            cpu_s: cpu.as_secs_f64(),
            cpu_us_per_op: cpu.as_secs_f64() * 1e6 / operations.max(1) as f64,
            cpus_used: cpu.as_secs_f64() / window_s.max(f64::MIN_POSITIVE),
            rss_bytes: None,
            rss_bytes_per_session: None,
            ceiling_ops_s: None,
        }
    }

    fn of_server(measured: &Measured, operations: u64, options: &Options) -> Option<Process> {
        let samples = &measured.observed.server;
        let (first, last) = (samples.first()?, samples.last()?);
        let cpu = last.processor.saturating_sub(first.processor);
        let grown = |idle: &Usage| {
            let grown = first.resident_bytes as f64 - idle.resident_bytes as f64;
            grown / f64::from(options.connections)
        };
        Some(Process {
            rss_bytes: Some(last.resident_bytes),
            rss_bytes_per_session: measured.idle.as_ref().map(grown),
            ..Process::new(cpu, operations, options)
        })
    }
}

/// The slots, each with the server's samples of the same time where there are any.
fn timeline(recorder: &Recorder, server: &[Usage]) -> Vec<Slot> {
    let line = recorder.timeline();
    let slot_s = line.slot_s();
    let us = |ns: u64| ns as f64 / 1_000.0;
    let slot = |(place, slot): (usize, &super::timeline::Slot)| {
        let latency_ns = &slot.latency_ns;
        let first = place * slot_s as usize;
        let samples = server.get(first).zip(server.get(first + slot_s as usize));
        Slot {
            at_s: first as u64,
            ops_s: latency_ns.len() as f64 / line.length_s(place).max(f64::MIN_POSITIVE),
            p50_us: us(latency_ns.value_at_quantile(0.5)),
            p99_us: us(latency_ns.value_at_quantile(0.99)),
            max_us: us(latency_ns.max()),
            errors: slot.errors,
            server_cpus: samples.map(|(before, after)| {
                let used = after.processor.saturating_sub(before.processor);
                used.as_secs_f64() / slot_s as f64
            }),
            server_rss_bytes: samples.map(|(_, after)| after.resident_bytes),
        }
    };
    line.slots().iter().enumerate().map(slot).collect()
}

impl Latency {
    fn new(latency_ns: &Histogram<u64>) -> Latency {
        let us = |ns: u64| ns as f64 / 1_000.0;
        let at = |quantile| us(latency_ns.value_at_quantile(quantile));
        Latency {
            min: us(latency_ns.min()),
            mean: latency_ns.mean() / 1_000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: us(latency_ns.max()),
        }
    }
}

/// A code with its name, such as `NoNode (-101)`.
pub fn error_name(code: i32) -> String {
    match ErrorCode::from_code(code) {
        Some(known) => format!("{known:?} ({code})"),
        None => format!("unknown code ({code})"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::Window;
    use super::super::request::Verdict;
    use super::*;
    use clap::Parser;

    fn usage(processor_s: u64, resident_bytes: u64) -> Usage {
        Usage {
            processor: Duration::from_secs(processor_s),
            resident_bytes,
        }
    }

    fn report(wrong: bool) -> Report {
        let window = Window {
            start_ns: 0,
            end_ns: 2_000_000_000,
        };
        let mut recorder = Recorder::new(window, false);
        for place in 1..=1_000 {
            recorder.answered(Operation::Get, Verdict::Right, 0, place * 1_000);
        }
        recorder.answered(Operation::Set, Verdict::Refused(-101), 0, 1);
        if wrong {
            recorder.answered(Operation::Get, Verdict::Wrong, 0, 1);
        }
        recorder.complete();
        let options = Options::try_parse_from(["bench", "-d", "2"]).expect("valid options");
        let measured = Measured {
            recorder,
            idle: Some(usage(3, 1 << 19)),
            observed: Observed {
                started_at_ms: 1,
                client_processor: Duration::from_millis(500),
                client_resident_bytes: 3 << 20,
                server: vec![usage(3, 1 << 20), usage(4, 1 << 20)],
            },
        };
        Report::new(&options, measured)
    }

    #[test]
    fn the_document_has_its_fields() {
        let json = serde_json::to_value(report(false)).expect("a document");
        let near = |pointer: &str, expected: f64| {
            let value = json.pointer(pointer).and_then(|value| value.as_f64());
            let value = value.unwrap_or_else(|| panic!("{pointer} is missing"));
            assert!((value / expected - 1.0).abs() < 0.01, "{pointer}: {value}");
        };
        near("/total/count", 1_000.0);
        near("/total/errors", 1.0);
        near("/operations/get/throughput_ops_s", 500.0);
        near("/operations/get/latency_us/p50", 500.0);
        near("/operations/get/latency_us/p99_9", 999.0);
        near("/errors/NoNode (-101)", 1.0);
        near("/client/cpu_us_per_op", 500.0);
        near("/client/rss_bytes", 3_145_728.0);
        near("/server/cpu_us_per_op", 1_000.0);
        near("/server/rss_bytes", 1_048_576.0);
        near("/server/rss_bytes_per_session", 32_768.0);
        near("/timeline/0/ops_s", 1_000.0);
        near("/timeline/0/p50_us", 500.0);
        near("/timeline/0/server_cpus", 1.0);
    }

    #[test]
    fn the_table_has_the_time_line_and_both_sides() {
        let table = report(false).table();
        let line = "seconds █▁ 0 ops/s at least, 500 in the median, 1000 at most; p99 at most ";
        assert!(table.contains(line), "{table}");
        assert!(table.contains("busy, 3.0 MiB resident"), "{table}");
        assert!(table.contains("busy, 1.0 MiB resident"), "{table}");
    }

    #[test]
    fn a_wrong_reply_is_not_sound_and_shows() {
        assert!(report(false).is_sound());
        assert!(!report(true).is_sound());
        assert!(report(true).table().contains("WRONG   1 replies or events"));
        assert!(!report(false).table().contains("WRONG"));
    }
}
