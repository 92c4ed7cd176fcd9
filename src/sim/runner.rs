//! Many seeds, on all cores.

use std::ops::Range;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{Failure, Options, Summary, run_seed};

/// Seeds from one on and up to another, which is not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    /// Reads `FIRST..END`.
    fn from_str(text: &str) -> Result<Seeds, String> {
        let ends = text.split_once("..");
        let ends = ends.and_then(|(first, end)| Some((first.parse().ok()?, end.parse().ok()?)));
        match ends {
            Some((first, end)) if first < end => Ok(Seeds(first..end)),
            _ => Err(format!("{text}: wanted FIRST..END, with FIRST below END")),
        }
    }
}

/// What happens while seeds are run.
pub enum Told<'a> {
    /// A seed was run.
    Done(u64, &'a Summary),
    /// A seed has failed; no new ones are begun.
    Failed(&'a Failure),
}

/// Runs seeds on as many threads, until one fails or `is_over` says so. How many were run.
///
/// # Errors
/// The failure of the first seed that was seen to fail.
pub fn run_seeds(
    seeds: Seeds,
    options: Options,
    threads: usize,
    is_over: &(dyn Fn() -> bool + Sync),
    tell: &(dyn Fn(Told<'_>) + Sync),
) -> Result<u64, Failure> {
    let (next, count) = (AtomicU64::new(seeds.0.start), AtomicU64::new(0));
    let failed = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let work = || {
        while !failed.load(Ordering::Relaxed) && !is_over() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.0.end {
                return;
            }
            match run_seed(seed, options) {
                Ok(summary) => {
                    count.fetch_add(1, Ordering::Relaxed);
                    tell(Told::Done(seed, &summary));
                }
                Err(found) => {
                    failed.store(true, Ordering::Relaxed);
                    tell(Told::Failed(&found));
                    let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(found);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(count.into_inner()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read() {
        assert_eq!("3..10".parse(), Ok(Seeds(3..10)));
        for wrong in ["", "3", "3..", "..3", "4..4", "5..4", "a..b"] {
            assert!(wrong.parse::<Seeds>().is_err(), "{wrong}");
        }
    }
}
