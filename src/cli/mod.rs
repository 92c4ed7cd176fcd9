//! `zkore cli`: the commands of zkCli.

use std::process::ExitCode;

/// Runs the command with these arguments.
pub fn main(_arguments: Vec<String>) -> ExitCode {
    eprintln!("zkore cli is not built yet");
    ExitCode::FAILURE
}
