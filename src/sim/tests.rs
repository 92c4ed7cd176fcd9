//! Ensembles that stand everything, runs that repeat themselves, and bugs that are found.

use std::thread;

use super::*;
use crate::mutation::{self, Mutation};

/// Seeds that every test run tries; `ZKORE_SIM_SEEDS=FIRST..END` names others.
const SEEDS: &str = "1..301";

/// Seeds within which a deliberate bug must be found.
const MUTATION_SEEDS_MAX: u64 = 30;

#[test]
fn ensembles_stand_what_goes_wrong() {
    let named = std::env::var("ZKORE_SIM_SEEDS").unwrap_or_else(|_| SEEDS.to_owned());
    let seeds: Seeds = named.parse().expect("ZKORE_SIM_SEEDS names seeds");
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let told = run_seeds(seeds, Options::default(), threads, &|| false, &|told| {
        if let Told::Failed(failure) = told {
            eprintln!("{failure}");
        }
    });
    if let Err(failure) = told {
        panic!("seed {}: {}", failure.seed, failure.reason);
    }
}

#[test]
fn the_same_seed_runs_the_same() {
    let run = |seed| run_seed(seed, Options::default()).expect("it stands");
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).digest, run(8).digest);
}

#[test]
fn without_faults_nothing_fails() {
    for shape in ["1", "3", "5+2"] {
        let options = Options {
            shape: Some(shape.parse().expect("a shape")),
            has_faults: false,
            ..Options::default()
        };
        let summary = run_seed(1, options).expect("it stands");
        assert!(summary.writes > 500, "{summary:?}");
    }
}

/// The simulation finds bugs of the kinds that matter most, each within some seeds.
#[test]
fn deliberate_bugs_are_found() {
    for mutation in [
        Mutation::AckBeforeSync,
        Mutation::CommitOnMinority,
        Mutation::KeepEpoch,
    ] {
        mutation::put_in(Some(mutation));
        let mut seeds = 1..=MUTATION_SEEDS_MAX;
        let found = seeds.find_map(|seed| run_seed(seed, Options::default()).err());
        mutation::put_in(None);
        let found = found.unwrap_or_else(|| panic!("{mutation:?} is not found"));
        eprintln!("{mutation:?}: seed {}: {}", found.seed, found.reason);
    }
}
