//! The command line of `zkore bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::types::path;

use super::workload::Mix;

/// Put load on a ZooKeeper-compatible server and measure it.
///
/// A closed loop: each connection is a session that keeps --pipeline requests outstanding. The
/// tool prepares znodes below --base, warms up, measures, verifies every reply, and cleans up.
#[derive(Clone, Debug, Parser)]
#[command(name = "zkore bench", version, args_override_self = true)]
pub struct Options {
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

    /// Requests outstanding on each connection.
    #[arg(long, short = 'p', default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pipeline: u32,

    /// Operations and their weights, of get, set, create, delete, exists, getChildren, multi and
    /// sync. A delete removes a znode that its connection created, and creates one if there is
    /// none.
    #[arg(long, default_value = "get=9,set=1", value_name = "OP=WEIGHT,…")]
    pub mix: Mix,

    /// Bytes of data in each znode.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=16_777_216))]
    pub value_size: u32,

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

    /// Process of the server on this machine; reports its processor time and memory.
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,

    /// Session timeout to ask for.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub session_timeout: Duration,

    /// Decides the order of operations and keys.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Print no table and no progress.
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

impl Options {
    /// Threads that have at least one connection each.
    pub fn threads_used(&self) -> u32 {
        self.threads.min(self.connections)
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
        assert_eq!((options.connections, options.pipeline), (16, 1));
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
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}
