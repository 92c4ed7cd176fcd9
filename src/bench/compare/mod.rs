//! `zkore bench compare`: two servers, or two groups of servers, in one run and in turns.
//!
//! Each round loads one target and then the other, while the first idles; the next round has the
//! opposite order, so that what drifts on the machine favours neither. What counts is the ratio
//! within each round, and how far the rounds are apart.

mod outcome;
mod target;

use std::path::PathBuf;

use clap::Parser;

use super::args::Options;
use super::ceiling;
use super::error::BenchError;
use super::html;
use super::report::{Report, write_file, write_json};
use super::run::Stage;

pub use outcome::{Outcome, Row};
pub use target::Target;

/// Measure two targets in turns, and print the ratios of their figures.
#[derive(Clone, Debug, Parser)]
pub struct Compare {
    /// One of the two targets: a name, its servers, and the processes to account for, such as
    /// zkore=127.0.0.1:2181@4711 or apache=10.0.0.1:2181,10.0.0.2:2181. Ratios are those of the
    /// first to the second.
    #[arg(long, value_name = "NAME=HOST:PORT,…[@PID,…]", required = true)]
    pub target: Vec<Target>,

    /// Rounds that count.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,

    /// Rounds before them that do not, for what must warm up, such as Java.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub warmup_rounds: u32,

    /// Write all figures of all rounds as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write a report with charts to this file, which needs nothing else to be read.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Print no table and no progress.
    #[arg(long, short = 'q')]
    pub quiet: bool,

    /// The load: words of `zkore bench` without those that name servers and files.
    #[arg(last = true, value_name = "BENCH-WORDS")]
    pub load: Vec<String>,
}

impl Compare {
    /// The run of each target.
    ///
    /// # Errors
    /// What clap says of the load's words, or that there are not two targets.
    pub fn runs(&self) -> Result<[Options; 2], clap::Error> {
        let [first, second] = &self.target[..] else {
            let kind = clap::error::ErrorKind::WrongNumberOfValues;
            return Err(clap::Error::raw(kind, "two --target are needed\n"));
        };
        if first.name == second.name {
            let text = format!("both targets are named {}\n", first.name);
            return Err(clap::Error::raw(
                clap::error::ErrorKind::ValueValidation,
                text,
            ));
        }
        let words = std::iter::once("zkore bench").chain(self.load.iter().map(String::as_str));
        let options = Options::try_parse_from(super::preset::expand(words)?)?;
        let run = |place: usize, target: &Target| Options {
            server: target.servers.clone(),
            server_pid: target.pids.clone(),
            // Two targets may be one server, to see how far apart equal things are.
            base: format!("{}-{place}", options.base),
            json: None,
            html: None,
            quiet: true,
            ..options.clone()
        };
        Ok([run(1, first), run(2, second)])
    }
}

/// Makes the comparison and writes what was asked for.
pub fn compare(asked: &Compare, runs: &[Options; 2]) -> Result<Outcome, BenchError> {
    let say = |text: &str| {
        if !asked.quiet {
            eprintln!("zkore bench: {text}");
        }
    };
    let load = Options {
        quiet: asked.quiet,
        ..runs[0].clone()
    };
    let ceiling_ops_s = ceiling::ops_s(&load)?;
    if let Some(ops_s) = ceiling_ops_s {
        say(&ceiling::text(ops_s));
    }
    say("preparing both targets");
    let stages = [Stage::prepare(&runs[0])?, Stage::prepare(&runs[1])?];
    let mut reports: [Vec<Report>; 2] = [Vec::new(), Vec::new()];
    let total = asked.warmup_rounds + asked.rounds;
    for round in 0..total {
        let counts = round >= asked.warmup_rounds;
        for place in order(round) {
            let report = stages[place].measure()?;
            say(&format!(
                "round {} of {total}{}: {:<10} {}",
                round + 1,
                if counts { "" } else { ", to warm up" },
                asked.target[place].name,
                report.summary()
            ));
            if counts {
                reports[place].push(report);
            }
        }
    }
    stages.into_iter().for_each(Stage::clean_up);
    let outcome = Outcome::new(asked, ceiling_ops_s, reports);
    if !asked.quiet {
        print!("{}", outcome.table());
    }
    if let Some(path) = &asked.json {
        write_json(path, &outcome)?;
    }
    if let Some(path) = &asked.html {
        write_file(path, &html::of_outcome(&outcome))?;
    }
    Ok(outcome)
}

/// Which target comes first in a round.
fn order(round: u32) -> [usize; 2] {
    if round.is_multiple_of(2) {
        [0, 1]
    } else {
        [1, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn parse(words: &[&str]) -> Compare {
        let words = [&["compare"], words].concat();
        Compare::try_parse_from(words).expect("valid words")
    }

    #[test]
    fn equal_targets_have_ratios_near_one() {
        let (address, tree) = testing::serve();
        let own = std::process::id();
        let first = format!("one={address}@{own}");
        let second = format!("two={address}");
        let words = [
            "--target", &first, "--target", &second, "--rounds", "2", "-q",
        ];
        let load = ["--", "-d", "200ms", "-w", "20ms", "--keys", "20", "-c", "2"];
        let asked = parse(&[&words[..], &load].concat());
        let runs = asked.runs().expect("two targets");
        let outcome = compare(&asked, &runs).expect("a comparison");
        assert!(outcome.is_sound());
        let row = outcome.row("ops_s").expect("measured");
        let ratio = row.ratio.as_ref().expect("both were measured");
        assert_eq!(ratio.rounds.len(), 2);
        assert!((0.1..10.0).contains(&ratio.median), "{ratio:?}");
        assert!(ratio.min <= ratio.median && ratio.median <= ratio.max);
        let only_first = outcome.row("server_cpus").expect("measured");
        assert!(only_first.ratio.is_none());
        let json = serde_json::to_value(&outcome).expect("a document");
        assert_eq!(json["targets"][0]["name"], "one");
        assert_eq!(json["reports"]["two"].as_array().map(Vec::len), Some(2));
        let table = outcome.table();
        assert!(
            table.contains("one/two") && table.contains("ops_s"),
            "{table}"
        );
        assert!(tree.lock().expect("no thread panicked").is_empty());
        let html = html::of_outcome(&outcome);
        let (_, latency) = html.split_once("<h2>Latency</h2>").expect("a chart");
        let (latency, _) = latency.split_once("</svg>").expect("it ends");
        // All rounds of both, in the colours of their targets, which are named once.
        for (name, colour) in [("one", "c0"), ("two", "c1")] {
            let lines = format!("<polyline class=\"{colour}\"");
            assert_eq!(latency.matches(&lines).count(), 2, "{latency}");
            assert_eq!(latency.matches(&format!(">{name}<")).count(), 1);
            assert!(html.contains(&format!("<th>{name}, round 2: get</th>")));
        }
    }

    #[test]
    fn the_order_alternates() {
        assert_eq!([order(0), order(1), order(2)], [[0, 1], [1, 0], [0, 1]]);
    }

    #[test]
    fn two_different_targets_are_needed() {
        let one = parse(&["--target", "a=h:1"]);
        assert!(one.runs().is_err());
        let twice = parse(&["--target", "a=h:1", "--target", "a=h:2"]);
        assert!(twice.runs().is_err());
        let load = parse(&[
            "--target", "a=h:1", "--target", "b=h:2", "--", "--mix", "put",
        ]);
        assert!(load.runs().is_err());
        let good = parse(&[
            "--target",
            "a=h:1@5,6",
            "--target",
            "b=h:2,h:3",
            "--",
            "-c",
            "4",
        ]);
        let [first, second] = good.runs().expect("two targets");
        assert_eq!((first.connections, &first.server_pid[..]), (4, &[5, 6][..]));
        assert_eq!(second.server, ["h:2", "h:3"]);
        assert_ne!(first.base, second.base);
    }
}
