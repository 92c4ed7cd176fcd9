//! The model test: random requests of several sessions go to the real preparer, tree, session table
//! and watches, and to a reference model that is written for plainness. Answers, Stats, changes,
//! events, expiries, and what views of old and new zxids show must agree. Each transaction also goes
//! through its bytes to a second tree, which must become the same.
//!
//! `ZKORE_MODEL_SEED` runs one seed, with its requests printed; `ZKORE_MODEL_SEQUENCES` sets how
//! many are run, from a seed that the time of day gives unless `ZKORE_MODEL_SEED` says which.

mod quota;
mod random;
mod reference;
mod watching;
mod wire;
mod world;

use std::time::{SystemTime, UNIX_EPOCH};

use random::Random;
use world::World;

const SEQUENCES_DEFAULT: u64 = 2000;
const FIXED_SEEDS: u64 = 200;
const STEPS: usize = 60;

#[test]
fn the_server_does_what_the_model_does() {
    let seed = setting("ZKORE_MODEL_SEED");
    let sequences = setting("ZKORE_MODEL_SEQUENCES").unwrap_or(if seed.is_some() {
        1
    } else {
        SEQUENCES_DEFAULT
    });
    let first = seed.unwrap_or_else(seed_of_now);
    println!("first seed {first}, {sequences} sequences");
    for seed in first..first + sequences {
        let outcome = std::panic::catch_unwind(|| run(seed, sequences == 1));
        assert!(outcome.is_ok(), "run again with ZKORE_MODEL_SEED={seed}");
    }
}

/// A few seeds that never change, so that a failure here means a change of the code.
#[test]
fn fixed_seeds_hold() {
    let written: i64 = (0..FIXED_SEEDS).map(|seed| run(seed, false)).sum();
    let steps = FIXED_SEEDS as i64 * STEPS as i64;
    assert!(
        written > steps / 3,
        "most requests fail: {written} transactions"
    );
}

/// Runs one sequence and returns how many transactions it came to.
fn run(seed: u64, is_verbose: bool) -> i64 {
    let mut world = World::new(Random::new(seed), is_verbose);
    for _ in 0..STEPS {
        world.step();
    }
    world.finish()
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "each run is to try other sequences, and says which"
)]
fn seed_of_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the clock is past 1970").as_millis() as u64 * 10_000
}
