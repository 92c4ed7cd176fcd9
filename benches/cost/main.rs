//! Runs one hot path so and so often, for a tool that counts what it costs: `tests/cost.rs` runs
//! it under callgrind.
//!
//!     cost CASE TIMES

use std::process::ExitCode;

mod cases;

use cases::CASES;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, times, ..] = &words[..] else {
        eprintln!("usage: cost CASE TIMES, with one of");
        for case in CASES {
            let kind = if case.is_read { "reads" } else { "requests" };
            eprintln!("    {}, {} {kind} at once", case.name, case.requests);
        }
        return ExitCode::from(2);
    };
    let case = CASES.iter().find(|case| case.name == name);
    let (Some(case), Ok(times)) = (case, times.parse::<u64>()) else {
        eprintln!("usage: cost CASE TIMES");
        return ExitCode::from(2);
    };
    let mut run = (case.make)();
    // The first rounds fill buffers and caches that stay.
    for _ in 0..WARMUP {
        run();
    }
    measured(&mut *run, times);
    ExitCode::SUCCESS
}

/// Rounds before those that count.
const WARMUP: u32 = 100;

/// What callgrind counts, by this name.
#[inline(never)]
fn measured(run: &mut dyn FnMut(), times: u64) {
    for _ in 0..times {
        run();
    }
}
