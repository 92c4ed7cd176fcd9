//! The `zkore` binary: dispatches its subcommands.

fn main() {}
