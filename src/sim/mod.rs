//! Whole ensembles in one thread and in virtual time, each from one seed.
//!
//! The members are the real thing: [`crate::replica::Replica`], [`crate::storage::Storage`] and
//! [`crate::shard::Shard`]s, which clients reach over connections in bytes of the client protocol.
//! What is faked is the world around them: the disks ([`crate::io::memory`]), the network, the
//! clocks, and what goes wrong with each. The same seed gives the same run, to the byte.
//!
//! What is checked has the names of [`checks::Invariant`]. Everybody's answers are compared with
//! one history, which is learned from whoever delivers a transaction first ([`model::Model`]).
//!
//! Not covered: sockets and rings, which the process tests run, and mixtures with Apache's servers.

mod answer;
mod ask;
mod attend;
mod checks;
mod client;
mod clock;
mod course;
mod damage;
mod event;
mod faults;
mod full;
mod guard;
mod member;
mod model;
mod network;
mod options;
mod process;
mod random;
mod reaping;
mod runner;
#[cfg(test)]
mod tests;
mod trace;
mod watching;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use checks::Invariant;
pub use options::{Aim, Options, Shape};
pub use runner::{Seeds, Told, run_seeds};

use world::World;

/// What a run comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The ensemble.
    pub shape: String,
    /// Writes that clients were told of.
    pub writes: u64,
    /// A checksum over everything that happened, and how much that was.
    pub digest: (u32, u64),
}

/// A run that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What should hold; `None` where something has panicked.
    pub invariant: Option<Invariant>,
    /// What does not hold, and how that showed.
    pub reason: String,
    /// What happened last.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        write!(f, "seed {}: {}", self.seed, self.reason)
    }
}

/// Runs one seed.
///
/// # Errors
/// Where an invariant does not hold, or something panics.
pub fn run_seed(seed: u64, options: Options) -> Result<Summary, Failure> {
    let mut world = World::new(seed, options);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let reason = match (result, world.checks.violation()) {
        (_, Some(violation)) => format!("{}: {}", violation.invariant, violation.what),
        (Err(panic), None) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("a panic: {}", text.unwrap_or("without a message"))
        }
        (Ok(()), None) => {
            return Ok(Summary {
                shape: world.shape.to_string(),
                writes: world.writes,
                digest: world.course.trace.digest(),
            });
        }
    };
    Err(Failure {
        seed,
        invariant: world
            .checks
            .violation()
            .map(|violation| violation.invariant),
        reason,
        trace: world.course.trace.into_lines(),
    })
}
