//! The table and the JSON document.
//!
//! The JSON's names are a contract: fields are added, not renamed. Times carry their unit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::types::ErrorCode;

use super::args::Options;
use super::error::BenchError;
use super::process::Usage;
use super::recorder::Recorder;
use super::workload::Operation;

/// A client that used more of its threads' time than this was likely the limit.
const CLIENT_BUSY_SHARE: f64 = 0.9;

/// What a run yields.
#[derive(Debug)]
pub struct Measured {
    /// All threads' counts.
    pub recorder: Recorder,
    /// When the load began, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// Processor time of this tool within the window.
    pub client_processor: Duration,
    /// Processor time of the server within the window, and its memory at the end.
    pub server: Option<Usage>,
}

/// The JSON document.
#[derive(Debug, Serialize)]
pub struct Report {
    tool: String,
    config: Settings,
    started_at_ms: u64,
    measured_s: f64,
    /// All operations together.
    total: Entry,
    /// Each operation of the mix, by name.
    pub operations: BTreeMap<&'static str, Entry>,
    /// Refused and lost requests, by name of the code.
    errors: BTreeMap<String, u64>,
    reconnects: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_break: Option<String>,
    client: Process,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Process>,
}

#[derive(Debug, Serialize)]
struct Settings {
    servers: Vec<String>,
    connections: u32,
    pipeline: u32,
    value_size: u32,
    keys: u32,
    children: u32,
    multi_size: u32,
    duration_s: f64,
    warmup_s: f64,
    threads: u32,
    seed: u64,
}

/// One operation, or all together.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// Requests that succeeded.
    pub count: u64,
    /// Requests that were refused or lost.
    pub errors: u64,
    /// Replies that were not what they must be.
    pub wrong: u64,
    throughput_ops_s: f64,
    latency_us: Latency,
}

#[derive(Debug, Serialize)]
struct Latency {
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    p99_99: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Process {
    cpu_s: f64,
    cpu_us_per_op: f64,
    /// Processors kept busy on average.
    cpus_used: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_bytes: Option<u64>,
}

impl Report {
    /// Puts together what was measured.
    pub fn new(options: &Options, measured: Measured) -> Report {
        let duration_s = options.duration.as_secs_f64();
        let recorder = &measured.recorder;
        let operations: BTreeMap<&'static str, Entry> = Operation::ALL
            .into_iter()
            .map(|operation| (operation, Entry::new(&[operation], recorder, duration_s)))
            .filter(|(operation, entry)| options.mix.contains(*operation) || entry.is_touched())
            .map(|(operation, entry)| (operation.name(), entry))
            .collect();
        let total = Entry::new(&Operation::ALL, recorder, duration_s);
        let mut errors = BTreeMap::new();
        for operation in Operation::ALL {
            for (&code, count) in &recorder.tally(operation).errors {
                *errors.entry(error_name(code)).or_default() += count;
            }
        }
        let process = |cpu: Duration, rss_bytes| Process {
            cpu_s: cpu.as_secs_f64(),
            cpu_us_per_op: cpu.as_secs_f64() * 1e6 / total.count.max(1) as f64,
            cpus_used: cpu.as_secs_f64() / duration_s.max(f64::MIN_POSITIVE),
            rss_bytes,
        };
        Report {
            tool: format!("zkore bench {}", env!("CARGO_PKG_VERSION")),
            config: Settings::new(options),
            started_at_ms: measured.started_at_ms,
            measured_s: duration_s,
            client: process(measured.client_processor, None),
            server: measured
                .server
                .map(|usage| process(usage.processor, Some(usage.resident_bytes))),
            reconnects: recorder.reconnects,
            last_break: recorder.last_break.clone(),
            total,
            operations,
            errors,
        }
    }

    /// Whether something was measured and no reply was wrong.
    pub fn is_sound(&self) -> bool {
        self.total.count > 0 && self.total.wrong == 0
    }

    /// Writes the JSON document.
    pub fn write_json(&self, path: &Path) -> Result<(), BenchError> {
        let failed = |source| BenchError::Json {
            path: path.to_owned(),
            source,
        };
        let mut file = File::create(path).map_err(failed)?;
        serde_json::to_writer_pretty(&mut file, self).map_err(|error| failed(error.into()))?;
        writeln!(file).map_err(failed)
    }

    /// The table for the terminal.
    pub fn table(&self) -> String {
        let mut text = String::new();
        self.write_table(&mut text)
            .expect("writing to a string cannot fail");
        text
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        let config = &self.config;
        writeln!(
            out,
            "{}: {} connections, pipeline {}, values of {} bytes, {} keys, {} s measured",
            config.servers.join(","),
            config.connections,
            config.pipeline,
            config.value_size,
            config.keys,
            self.measured_s,
        )?;
        writeln!(
            out,
            "{:<12}{:>12}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}",
            "operation",
            "count",
            "ops/s",
            "p50 µs",
            "p90",
            "p99",
            "p99.9",
            "p99.99",
            "max",
            "errors"
        )?;
        for (name, entry) in &self.operations {
            entry.write_row(name, out)?;
        }
        if self.operations.len() > 1 {
            self.total.write_row("all", out)?;
        }
        let client = &self.client;
        writeln!(
            out,
            "client  {:.2} µs processor time an operation, {:.2} processors busy",
            client.cpu_us_per_op, client.cpus_used
        )?;
        if let Some(server) = &self.server {
            writeln!(
                out,
                "server  {:.2} µs processor time an operation, {:.2} processors busy, {:.1} MiB resident",
                server.cpu_us_per_op,
                server.cpus_used,
                server.rss_bytes.unwrap_or(0) as f64 / 1_048_576.0,
            )?;
        }
        self.write_warnings(out)
    }

    fn write_warnings(&self, out: &mut String) -> std::fmt::Result {
        for (name, count) in &self.errors {
            writeln!(out, "errors  {name}: {count}")?;
        }
        if self.total.wrong > 0 {
            let wrong = self.total.wrong;
            writeln!(out, "WRONG   {wrong} replies did not hold what they must")?;
        }
        if self.reconnects > 0 {
            let why = self.last_break.as_deref().unwrap_or("unknown");
            writeln!(
                out,
                "broken  {} connections were lost and opened again; the last: {why}",
                self.reconnects
            )?;
        }
        let threads = f64::from(self.config.threads);
        if self.client.cpus_used > CLIENT_BUSY_SHARE * threads {
            writeln!(
                out,
                "note    this tool's threads were busy all the time and may be the limit: \
                 try --threads {}",
                self.config.threads + 1
            )?;
        }
        Ok(())
    }
}

impl Settings {
    fn new(options: &Options) -> Settings {
        Settings {
            servers: options.server.clone(),
            connections: options.connections,
            pipeline: options.pipeline,
            value_size: options.value_size,
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
    fn new(operations: &[Operation], recorder: &Recorder, duration_s: f64) -> Entry {
        let mut tallies = operations
            .iter()
            .map(|&operation| recorder.tally(operation));
        let first = tallies.next().expect("there is at least one operation");
        let mut latency_ns = first.latency_ns.clone();
        let mut errors: u64 = first.errors.values().sum();
        let mut wrong = first.wrong;
        for tally in tallies {
            latency_ns
                .add(&tally.latency_ns)
                .expect("all histograms have the same bounds");
            errors += tally.errors.values().sum::<u64>();
            wrong += tally.wrong;
        }
        let count = latency_ns.len();
        Entry {
            count,
            errors,
            wrong,
            throughput_ops_s: count as f64 / duration_s.max(f64::MIN_POSITIVE),
            latency_us: Latency::new(&latency_ns),
        }
    }

    fn is_touched(&self) -> bool {
        self.count + self.errors + self.wrong > 0
    }

    fn write_row(&self, name: &str, out: &mut String) -> std::fmt::Result {
        let latency = &self.latency_us;
        writeln!(
            out,
            "{:<12}{:>12}{:>12.0}{:>10.0}{:>10.0}{:>10.0}{:>10.0}{:>10.0}{:>10.0}{:>8}",
            name,
            self.count,
            self.throughput_ops_s,
            latency.p50,
            latency.p90,
            latency.p99,
            latency.p99_9,
            latency.p99_99,
            latency.max,
            self.errors,
        )
    }
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

    fn report(wrong: bool) -> Report {
        let mut recorder = Recorder::new(Window {
            start_ns: 0,
            end_ns: u64::MAX,
        });
        for place in 1..=1_000 {
            recorder.answered(Operation::Get, Verdict::Right, 0, place * 1_000);
        }
        recorder.answered(Operation::Set, Verdict::Refused(-101), 0, 1);
        if wrong {
            recorder.answered(Operation::Get, Verdict::Wrong, 0, 1);
        }
        let options = Options::try_parse_from(["bench", "-d", "2"]).expect("valid options");
        let measured = Measured {
            recorder,
            started_at_ms: 1,
            client_processor: Duration::from_millis(500),
            server: Some(Usage {
                processor: Duration::from_secs(1),
                resident_bytes: 1 << 20,
            }),
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
        near("/server/cpu_us_per_op", 1_000.0);
        near("/server/rss_bytes", 1_048_576.0);
    }

    #[test]
    fn a_wrong_reply_is_not_sound_and_shows() {
        assert!(report(false).is_sound());
        assert!(!report(true).is_sound());
        assert!(report(true).table().contains("WRONG   1 replies"));
        assert!(!report(false).table().contains("WRONG"));
    }
}
