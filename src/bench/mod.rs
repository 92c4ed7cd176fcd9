//! `zkore bench`: a load generator for any ZooKeeper-compatible server.
//!
//! A closed loop: each connection keeps a fixed number of requests outstanding and sends the next
//! when one is answered. Every reply is checked, not only counted.
//!
//! Seams, from pure to dirty:
//! - [`workload`]: which operation on which key comes next; [`value`]: what a znode holds;
//! - [`request`]: requests into bytes, replies into verdicts; [`frame`]: bytes into frames;
//! - [`connection`]: one session as a state machine without socket or clock;
//! - [`recorder`]: what happened within the measured window;
//! - [`driver`]: sockets, clock, one epoll loop a thread; [`setup`]: znodes before and after;
//! - [`process`]: what the kernel tells of processes; [`run`]: the phases of one run;
//! - [`report`]: the table and the JSON document.
//!
//! Not covered: open-loop load at a fixed rate, TLS, watches.

mod args;
mod connection;
mod driver;
mod error;
mod frame;
mod process;
mod recorder;
mod report;
mod request;
mod run;
mod setup;
#[cfg(test)]
mod testing;
mod value;
mod workload;

pub use error::BenchError;

use std::process::ExitCode;

use clap::Parser;

use args::Options;
use report::Report;

/// Runs `zkore bench`; `args` are those after the subcommand's name.
///
/// Exit code 0: measured. 1: the run could not be made, a reply was wrong, or nothing succeeded.
/// 2: usage. Requests that the server refused are reported and do not change the code.
pub fn main(args: Vec<String>) -> ExitCode {
    let words = std::iter::once("zkore bench".to_owned()).chain(args);
    let options = match Options::try_parse_from(words) {
        Ok(options) => options,
        Err(error) => {
            // Nothing can be done for a closed terminal.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match measure(&options) {
        Ok(report) if report.is_sound() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("zkore bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<Report, BenchError> {
    let report = run::run(options)?;
    if !options.quiet {
        print!("{}", report.table());
    }
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    Ok(report)
}
