//! Ensembles that stand everything, runs that repeat themselves, and bugs that are found.

use std::thread;

use super::*;
use crate::mutation::{self, Mutation};

/// Seeds that every test run tries; `ZKORE_SIM_SEEDS=FIRST..END` names others.
const SEEDS: &str = "1..301";

/// Seeds within which a deliberate bug must be found.
const MUTATION_SEEDS_MAX: u64 = 60;

fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[test]
fn ensembles_stand_what_goes_wrong() {
    let named = std::env::var("ZKORE_SIM_SEEDS").unwrap_or_else(|_| SEEDS.to_owned());
    let seeds: Seeds = named.parse().expect("ZKORE_SIM_SEEDS names seeds");
    let told = run_seeds(seeds, Options::default(), threads(), &|| false, &|told| {
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
    // A member alone has fewer clients.
    for (shape, writes_min) in [("1", 250), ("3", 500), ("5+2", 500)] {
        let options = Options {
            shape: Some(shape.parse().expect("a shape")),
            has_faults: false,
            ..Options::default()
        };
        let summary = run_seed(1, options).expect("it stands");
        assert!(summary.writes > writes_min, "{summary:?}");
    }
}

/// Each deliberate bug, what a run must be out for to find it, and of how many members.
const BUGS: [(Mutation, Aim, &str); 13] = [
    (Mutation::AckBeforeSync, Aim::LostLeader, "3"),
    (Mutation::CommitOnMinority, Aim::LostLeader, "3"),
    (Mutation::KeepEpoch, Aim::LostLeader, "3"),
    (Mutation::DropLastRecord, Aim::Chance, "3"),
    (Mutation::AckNewLeaderEarly, Aim::NewEpoch, "3"),
    (Mutation::AdoptEpochEarly, Aim::NewEpoch, "3"),
    (Mutation::CommitUnlogged, Aim::LostLeader, "3"),
    (Mutation::TrustLearnersLog, Aim::LostLeader, "3"),
    (Mutation::DiffOverGap, Aim::LostLeader, "3"),
    (Mutation::FarBehindServes, Aim::Slowness, "3"),
    (Mutation::WatchAfterVisible, Aim::Chance, "3"),
    (Mutation::ExpireUnheard, Aim::Sleep, "1"),
    (Mutation::SyncUnasked, Aim::Deposed, "3"),
];

/// The simulation finds bugs of the kinds that matter most, among them the holes that are known in
/// the reference, each within some seeds.
#[test]
fn deliberate_bugs_are_found() {
    let only = std::env::var("ZKORE_SIM_BUG").ok();
    let mut missed = Vec::new();
    for (mutation, aim, shape) in BUGS {
        if only
            .as_ref()
            .is_some_and(|only| format!("{mutation:?}") != *only)
        {
            continue;
        }
        let options = Options {
            aim: Some(aim),
            shape: Some(shape.parse().expect("a shape")),
            ..Options::default()
        };
        mutation::put_in(Some(mutation));
        let found = (1..=MUTATION_SEEDS_MAX).find_map(|seed| run_seed(seed, options).err());
        mutation::put_in(None);
        // What is found must be the bug.
        let found = found.filter(|found| run_seed(found.seed, options).is_ok());
        match found {
            Some(found) => eprintln!("{mutation:?}: seed {}: {}", found.seed, found.reason),
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
