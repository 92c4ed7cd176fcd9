//! `zkore bench`: a load generator for any ZooKeeper-compatible server.
//!
//! Each connection is a session. In a closed loop it keeps a fixed number of requests outstanding
//! and sends the next when one is answered; in an open loop it sends at given times. Every reply
//! is checked, not only counted.
//!
//! Seams, from pure to dirty:
//! - [`operation`], [`workload`], [`keys`], [`spread`], [`random`]: which operation on which key
//!   comes next, and how large and deep a znode is; [`value`]: what it holds;
//! - [`request`]: requests into bytes, replies into verdicts, with [`seen`] and [`names`];
//!   [`frame`]: bytes into frames;
//! - [`actor`]: what a session does; [`mixed`]: the actor of a mix;
//! - [`scenes`]: actors that do something together;
//! - [`pace`]: when an open loop sends;
//! - [`connection`]: one session as a state machine without socket or clock;
//! - [`recorder`], [`timeline`]: what happened within the measured window;
//! - [`driver`]: sockets, clock, one epoll loop a thread, with [`socket`] and [`timer`];
//! - [`setup`]: znodes before and after; [`process`], [`context`]: what the kernel tells;
//! - [`run`]: the phases of one run; [`compare`]: runs of two targets in turns;
//! - [`responder`], [`ceiling`]: what the client could do at most;
//! - [`report`], [`figures`]: what a run yields; [`table`], [`html`]: how it is shown.
//!
//! Not covered: TLS.

mod actor;
mod args;
mod ceiling;
mod compare;
mod connection;
mod context;
mod driver;
mod error;
mod figures;
mod frame;
mod html;
mod keys;
mod mixed;
mod names;
mod operation;
mod pace;
mod preset;
mod process;
mod random;
mod recorder;
mod report;
mod request;
mod responder;
mod run;
mod scenes;
mod seen;
mod setup;
mod socket;
mod spread;
mod table;
#[cfg(test)]
mod testing;
mod timeline;
mod timer;
mod value;
mod workload;

pub use error::BenchError;

use std::process::ExitCode;

use clap::Parser;

use args::Options;
use ceiling::Respond;
use compare::Compare;
use report::Report;

/// Runs `zkore bench`; `args` are those after the subcommand's name.
///
/// Exit code 0: measured. 1: the run could not be made, a reply was wrong, or nothing succeeded.
/// 2: usage. Requests that the server refused are reported and do not change the code.
pub fn main(args: Vec<String>) -> ExitCode {
    let done = match args.first().map(String::as_str) {
        Some("compare") => run_compare(&args[1..]),
        Some("responder") => run_responder(&args[1..]),
        _ => run_load(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Usage(error)) => {
            // Nothing can be done for a closed terminal.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { 2 } else { 0 })
        }
        Err(Failure::Run(error)) => {
            eprintln!("zkore bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why a command ended early.
enum Failure {
    Usage(clap::Error),
    Run(BenchError),
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Failure {
        Failure::Usage(error)
    }
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Failure {
        Failure::Run(error)
    }
}

/// One run; says whether it is sound.
fn run_load(words: &[String]) -> Result<bool, Failure> {
    let words = std::iter::once("zkore bench").chain(words.iter().map(String::as_str));
    let options = Options::try_parse_from(preset::expand(words)?)?;
    let ceiling_ops_s = ceiling::ops_s(&options)?;
    let mut report = run::run(&options)?;
    report.client.ceiling_ops_s = ceiling_ops_s;
    publish(&options, &report)?;
    Ok(report.is_sound())
}

fn publish(options: &Options, report: &Report) -> Result<(), BenchError> {
    if !options.quiet {
        print!("{}", report.table());
    }
    if let Some(path) = &options.json {
        report::write_json(path, report)?;
    }
    if let Some(path) = &options.html {
        report::write_file(path, &html::of_report(report))?;
    }
    Ok(())
}

fn run_compare(words: &[String]) -> Result<bool, Failure> {
    let words = std::iter::once("zkore bench compare").chain(words.iter().map(String::as_str));
    let asked = Compare::try_parse_from(words)?;
    let runs = asked.runs()?;
    Ok(compare::compare(&asked, &runs)?.is_sound())
}

fn run_responder(words: &[String]) -> Result<bool, Failure> {
    let words = std::iter::once("zkore bench responder").chain(words.iter().map(String::as_str));
    ceiling::respond(&Respond::try_parse_from(words)?)?;
    Ok(true)
}
