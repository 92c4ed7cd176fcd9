//! The command line of `zkore bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::types::path;

use super::keys::Popularity;
use super::operation::Operation;
use super::pace::Schedule;
use super::preset;
use super::scenes::Scenario;
use super::spread::Spread;
use super::workload::Mix;

/// The largest value, in bytes.
const VALUE_BYTES_MAX: u32 = 16_777_216;

/// The deepest path.
const DEPTH_MAX: u32 = 100;

/// Put load on a ZooKeeper-compatible server and measure it.
///
/// A closed loop: each connection is a session that keeps --pipeline requests outstanding. With
/// --rate an open loop: requests are sent at fixed times, and latency counts from these times,
/// whether the server is ready or not. The tool prepares znodes below --base, warms up, measures,
/// verifies every reply, and cleans up.
#[derive(Clone, Debug, Parser)]
#[command(name = "zkore bench", version, args_override_self = true, after_help = preset::help())]
pub struct Options {
    /// A load that mimics real users; other words outweigh its own.
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,

    /// Servers; connections are spread over them in turn.
    #[arg(
        long,
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:2181"
    )]
    pub server: Vec<String>,

    /// Connections, each a session of its own.
    #[arg(long, short = 'c', default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,

    /// Requests outstanding on each connection; in an open loop at most so many [default: 1, in
    /// an open loop 1000].
    #[arg(long, short = 'p', value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pipeline: Option<u32>,

    /// Open loop: requests a second, over all connections.
    #[arg(long, short = 'r', value_name = "PER-SECOND", value_parser = parse_rate)]
    pub rate: Option<f64>,

    /// In an open loop all connections send at the same moment, instead of one after the other.
    #[arg(long, requires = "rate")]
    pub in_step: bool,

    /// Operations and their weights, of get, set, create, createEphemeral, delete, exists,
    /// getChildren, multi, sync, ping, reconnect and renew. A delete removes a znode that its
    /// connection created, and creates one if there is none. A reconnect cuts the connection and
    /// takes the session up again; a renew closes the session and opens another.
    #[arg(long, default_value = "get=9,set=1", value_name = "OP=WEIGHT,…")]
    pub mix: Mix,

    /// What the sessions do together, instead of a mix. Always a closed loop.
    #[arg(long, value_enum, default_value = "mix", conflicts_with = "rate")]
    pub scenario: Scenario,

    /// Bytes of data in each znode: 100, uniformly 64..4096, or by weight 100=9,1024=1. A
    /// znode's size stays the same.
    #[arg(long, default_value = "100", value_name = "BYTES", value_parser = parse_value_size)]
    pub value_size: Spread,

    /// Levels of the znodes' paths below their directory, in the same notation.
    #[arg(long, default_value = "1", value_name = "LEVELS", value_parser = parse_depth)]
    pub depth: Spread,

    /// How popular the prepared znodes are: uniform, zipf, or zipf:EXPONENT.
    #[arg(long, default_value = "uniform", value_name = "LAW")]
    pub popularity: Popularity,

    /// Znodes that are prepared and then read and written.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub keys: u32,

    /// Children of the directory that getChildren reads.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub children: u32,

    /// Operations (setData) in each multi.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub multi_size: u32,

    /// How long to measure: seconds, or with a unit, such as 500ms, 10s or 2m.
    #[arg(long, short = 'd', default_value = "10s", value_parser = parse_duration)]
    pub duration: Duration,

    /// How long to put on load before measuring.
    #[arg(long, short = 'w', default_value = "2s", value_parser = parse_duration)]
    pub warmup: Duration,

    /// Threads of this tool, each with an equal share of the connections. More than one helps
    /// only where one processor cannot make enough load; the report says when that is so.
    #[arg(long, short = 't', default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub threads: u32,

    /// Path below which all znodes lie. It must not exist, or be left over from this tool;
    /// what is left over is deleted. Tools that run at the same time need different ones.
    #[arg(long, default_value = "/bench", value_parser = parse_base)]
    pub base: String,

    /// Leave the znodes in place afterwards.
    #[arg(long)]
    pub keep: bool,

    /// Processes of the server or servers on this machine; reports their processor time and
    /// memory.
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    pub server_pid: Vec<u32>,

    /// Session timeout to ask for.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub session_timeout: Duration,

    /// Decides the order of operations and keys.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the report with charts to this file, which needs nothing else to be read.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Do not measure first what this tool could do at most, against a responder of its own. That
    /// serves mixes and watch-fanout; the other scenarios read what they wrote, which it does not
    /// keep, and have no ceiling.
    #[arg(long)]
    pub no_ceiling: bool,

    /// Print no table and no progress, and measure no ceiling.
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

impl Options {
    /// Threads that have at least one connection each.
    pub fn threads_used(&self) -> u32 {
        self.threads.min(self.connections)
    }

    /// Requests outstanding on each connection, in an open loop at most.
    pub fn depth(&self) -> u32 {
        let open = self.rate.is_some();
        self.pipeline.unwrap_or(if open { 1_000 } else { 1 })
    }

    /// Whether to measure what this tool can do at most.
    pub fn wants_ceiling(&self) -> bool {
        !self.quiet && !self.no_ceiling && self.scenario.has_ceiling()
    }

    /// Whether the load has this operation for certain.
    pub fn is_expected(&self, operation: Operation) -> bool {
        self.scenario == Scenario::Mix && self.mix.contains(operation)
    }

    /// What the sessions do, in a word.
    pub fn load_name(&self) -> String {
        match self.scenario.to_possible_value() {
            Some(value) if self.scenario != Scenario::Mix => value.get_name().to_owned(),
            _ => self.mix.to_string(),
        }
    }

    /// When requests are sent in an open loop.
    pub fn schedule(&self) -> Option<Schedule> {
        self.rate.map(|rate| Schedule {
            rate,
            connections: self.connections,
            in_step: self.in_step,
        })
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits_end = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let number: f64 = number
        .parse()
        .map_err(|_| "a number is expected, such as 10 or 500ms")?;
    let unit_s = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3_600.0,
        other => return Err(format!("`{other}` is not one of ms, s, m and h")),
    };
    Duration::try_from_secs_f64(number * unit_s)
        .ok()
        .filter(|duration| duration.as_secs() <= 7 * 24 * 3_600)
        .ok_or_else(|| "longer than a week".to_owned())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1e-3..=1e8).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.001 to 100000000 is expected".to_owned()),
    }
}

fn parse_value_size(text: &str) -> Result<Spread, String> {
    text.parse::<Spread>()?.within(0, VALUE_BYTES_MAX)
}

fn parse_depth(text: &str) -> Result<Spread, String> {
    text.parse::<Spread>()?.within(1, DEPTH_MAX)
}

fn parse_base(text: &str) -> Result<String, String> {
    path::validate(text, false).map_err(|error| error.to_string())?;
    if text == "/" || text == "/zookeeper" || text.starts_with("/zookeeper/") {
        return Err("the root and /zookeeper are the server's own".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, ms) in [
            ("10", 10_000),
            ("0.5s", 500),
            ("250ms", 250),
            ("2m", 120_000),
            ("0", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for bad in ["", "s", "-1", "1 s", "5d", "1e9", "99999h", "1.2.3"] {
            assert!(parse_duration(bad).is_err(), "`{bad}`");
        }
    }

    #[test]
    fn defaults_and_refusals() {
        let parse = |words: &[&str]| Options::try_parse_from([&["bench"], words].concat());
        let options = parse(&[]).expect("every option has a default");
        assert_eq!((options.connections, options.depth()), (16, 1));
        assert_eq!(parse(&["--rate", "9"]).expect("valid").depth(), 1_000);
        assert_eq!(options.server, ["127.0.0.1:2181"]);
        let two = parse(&["--server", "a:1,b:2", "-t", "64"]).expect("valid");
        assert_eq!(two.server, ["a:1", "b:2"]);
        assert_eq!(two.threads_used(), 16);
        for bad in [
            ["--connections", "0"],
            ["--pipeline", "0"],
            ["--keys", "0"],
            ["--base", "bench"],
            ["--base", "/"],
            ["--base", "/zookeeper/quota"],
            ["--mix", "put=1"],
            ["--rate", "0"],
            ["--rate", "NaN"],
            ["--depth", "0..3"],
            ["--value-size", "9..16777217"],
            ["--server-pid", "1,x"],
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}
