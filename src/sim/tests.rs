//! Ensembles that stand everything, runs that repeat themselves, and bugs that are found.

use std::io::{self, Write};
use std::thread;
use std::time::Instant;

use super::*;
use crate::mutation::{self, Mutation};

/// Seeds that every test run tries; `ZKORE_SIM_SEEDS=FIRST..END` names others.
const SEEDS: &str = "1..301";

/// Seeds within which a deliberate bug must be found.
const MUTATION_SEEDS_MAX: u64 = 300;

fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "how long the simulation takes, not what it does"
)]
fn ensembles_stand_what_goes_wrong() {
    let named = std::env::var("ZKORE_SIM_SEEDS").unwrap_or_else(|_| SEEDS.to_owned());
    let seeds: Seeds = named.parse().expect("ZKORE_SIM_SEEDS names seeds");
    let begun = Instant::now();
    let told = run_seeds(seeds, Options::default(), threads(), &|| false, &|told| {
        if let Told::Failed(failure) = told {
            eprintln!("{failure}");
        }
    });
    if let Err(failure) = &told {
        panic!("seed {}: {}", failure.seed, failure.reason);
    }
    // Past the test harness, which shows what a test has printed only when it fails. Not a limit: it depends on
    // what else the machine does. Where nobody reads it nothing is lost.
    let _ = writeln!(
        io::stderr(),
        "{} seeds stood all that went wrong, in {:.1} s",
        told.unwrap_or_default(),
        begun.elapsed().as_secs_f64()
    );
}

/// What single seeds of the many beyond those above have found; as long as what seeds draw stays the same.
#[test]
fn what_was_found_once_stays_mended() {
    // A follower that dialed its leader no sooner than that had given up, again and again; and one that
    // begins to serve within what is known only as a whole; and one that had cut its log off and said that it
    // was durable up to the old end.
    for seed in [50_000_355, 50_008_326, 60_019_015] {
        let run = run_seed(seed, Options::default());
        assert_eq!(run.err().map(|failure| failure.reason), None, "seed {seed}");
    }
}

/// What a developer is left with in the morning: what happened last, and which seed shows it again.
#[test]
fn a_failure_tells_its_seed_what_is_broken_and_what_happened_last() {
    let bug = BUGS
        .iter()
        .find(|bug| bug.mutation == Mutation::ExpireUnheard);
    let bug = bug.expect("it is in the table");
    let found = find(bug).expect("it is found");
    let invariant = found.invariant.expect("nothing has panicked");
    assert!(bug.breaks.contains(&invariant), "{invariant}");
    let text = found.to_string();
    let (trace, last) = text.rsplit_once('\n').expect("a trace and a verdict");
    assert_eq!(last, format!("seed {}: {}", found.seed, found.reason));
    assert!(
        found.reason.starts_with(&format!("{invariant}: ")),
        "{last}"
    );
    // Each line says when, in ms, and what; the oldest comes first.
    let mut before_ms = 0.0;
    for line in trace.lines() {
        let (time, what) = line
            .trim_start()
            .split_once(' ')
            .expect("a time and an event");
        let now_ms: f64 = time.parse().expect("a time");
        assert!(now_ms >= before_ms && !what.trim().is_empty(), "{line}");
        before_ms = now_ms;
    }
    let count = trace.lines().count();
    assert!((20..=trace::LINES_MAX).contains(&count), "{count} lines");

    mutation::put_in(Some(bug.mutation));
    let again = run_seed(found.seed, options_of(bug)).expect_err("the same seed");
    mutation::put_in(None);
    assert_eq!(again.to_string(), text);
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

/// A deliberate bug, and how it is to be found.
struct Bug {
    mutation: Mutation,
    /// What a run must be out for.
    aim: Aim,
    /// Of how many members.
    shape: &'static str,
    /// What it breaks: whichever of these shows first.
    breaks: &'static [Invariant],
}

const fn bug(
    mutation: Mutation,
    aim: Aim,
    shape: &'static str,
    breaks: &'static [Invariant],
) -> Bug {
    Bug {
        mutation,
        aim,
        shape,
        breaks,
    }
}

/// What was committed is lost: whoever leads next lacks it, or makes something else of the same zxid.
const LOSES: &[Invariant] = &[
    Invariant::PrimaryIntegrity,
    Invariant::PrefixConsistency,
    Invariant::ZxidsUnique,
];

/// A member's log has a hole, or something that no other has.
const DIVERGES: &[Invariant] = &[
    Invariant::ZxidsUnique,
    Invariant::TotalOrder,
    Invariant::PrefixConsistency,
];

const BUGS: &[Bug] = &[
    bug(Mutation::AckBeforeSync, Aim::LostLeader, "3", LOSES),
    bug(Mutation::CommitOnMinority, Aim::LostLeader, "3", LOSES),
    // Who has accepted an epoch does not follow another leader into it.
    bug(
        Mutation::KeepEpoch,
        Aim::LostLeader,
        "3",
        &[Invariant::Leadership, Invariant::Progress],
    ),
    bug(Mutation::DropLastRecord, Aim::Chance, "3", LOSES),
    bug(Mutation::AckNewLeaderEarly, Aim::NewEpoch, "3", LOSES),
    bug(Mutation::AdoptEpochEarly, Aim::NewEpoch, "3", LOSES),
    bug(Mutation::CommitUnlogged, Aim::LostLeader, "3", DIVERGES),
    bug(Mutation::TrustLearnersLog, Aim::LostLeader, "3", DIVERGES),
    // Who lacks the end of an epoch takes in clients that have seen it.
    bug(
        Mutation::DiffOverGap,
        Aim::LostLeader,
        "3",
        &[
            Invariant::ZxidsUnique,
            Invariant::TotalOrder,
            Invariant::SessionOrder,
            Invariant::Timeliness,
            Invariant::PrimaryIntegrity,
        ],
    ),
    bug(
        Mutation::FarBehindServes,
        Aim::Slowness,
        "3",
        &[Invariant::Timeliness],
    ),
    // A leader whose address does not resolve.
    bug(
        Mutation::ElectUnreachable,
        Aim::Unresolved,
        "3",
        &[Invariant::Progress],
    ),
    bug(
        Mutation::LeadWithoutRoom,
        Aim::Full,
        "3",
        &[Invariant::Progress],
    ),
    bug(
        Mutation::WatchAfterVisible,
        Aim::Chance,
        "3",
        &[Invariant::Watches],
    ),
    bug(
        Mutation::ExpireUnheard,
        Aim::Sleep,
        "1",
        &[Invariant::Sessions],
    ),
    bug(
        Mutation::SyncUnasked,
        Aim::Deposed,
        "3",
        &[Invariant::SyncsLinearizable, Invariant::WritesLinearizable],
    ),
    bug(
        Mutation::ErrorUnasked,
        Aim::Deposed,
        "3",
        &[Invariant::WritesLinearizable],
    ),
    bug(
        Mutation::AskTwice,
        Aim::Chance,
        "3",
        &[Invariant::WritesDurable],
    ),
    bug(
        Mutation::AskAnonymously,
        Aim::Chance,
        "3",
        &[Invariant::AccessControl],
    ),
    bug(
        Mutation::WriteWithoutLeader,
        Aim::LostLeader,
        "3",
        &[Invariant::ReadOnly],
    ),
    bug(
        Mutation::EndWithoutLeader,
        Aim::LostLeader,
        "3",
        &[Invariant::Sessions],
    ),
    bug(
        Mutation::EphemeralOfLocal,
        Aim::Chance,
        "3",
        &[Invariant::Ephemerals],
    ),
    bug(
        Mutation::LostUpgrade,
        Aim::Chance,
        "3",
        &[
            Invariant::Sessions,
            Invariant::Ephemerals,
            Invariant::Convergence,
        ],
    ),
    bug(
        Mutation::ReapWithChild,
        Aim::Chance,
        "3",
        &[Invariant::Reaping],
    ),
    bug(Mutation::ReapEarly, Aim::Chance, "3", &[Invariant::Reaping]),
];

/// How runs are to be for a bug to show.
fn options_of(bug: &Bug) -> Options {
    Options {
        aim: Some(bug.aim),
        shape: Some(bug.shape.parse().expect("a shape")),
        ..Options::default()
    }
}

/// The first failure that a bug causes; what fails without it is none of its.
fn find(bug: &Bug) -> Option<Failure> {
    let options = options_of(bug);
    mutation::put_in(Some(bug.mutation));
    let found = (1..=MUTATION_SEEDS_MAX).find_map(|seed| run_seed(seed, options).err());
    mutation::put_in(None);
    found.filter(|found| run_seed(found.seed, options).is_ok())
}

/// The simulation finds bugs of the kinds that matter most, among them the holes that are known in
/// the reference, each within some seeds and by what it breaks.
#[test]
fn deliberate_bugs_are_found() {
    let only = std::env::var("ZKORE_SIM_BUG").ok();
    let is_wanted = |bug: &&Bug| {
        let name = format!("{:?}", bug.mutation);
        only.as_ref().is_none_or(|only| *only == name)
    };
    let mut missed = Vec::new();
    for bug in BUGS.iter().filter(is_wanted) {
        let found = find(bug);
        let breaks = found.as_ref().and_then(|found| found.invariant);
        let name = bug.mutation;
        match found {
            Some(found) if breaks.is_some_and(|broken| bug.breaks.contains(&broken)) => {
                eprintln!("{name:?}: seed {}: {}", found.seed, found.reason);
            }
            Some(found) => {
                eprintln!("{found}");
                missed.push(format!(
                    "{name:?} shows as something else: {}",
                    found.reason
                ));
            }
            None => missed.push(format!("{name:?} is not found")),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
