//! Whose turn it is in a group of one writer and its watchers.
//!
//! The writer writes when all its watchers have set their watch, and each write spends all watches.
//! A watcher that loses its session, and its watch with it, must know whether a write came first:
//! if so it has missed an event; if not the next write is to wait for it. So writes and watches are
//! counted in one atomic.

use std::sync::atomic::{AtomicU64, Ordering};

/// Writes are counted above the watches.
const WATCH_BITS: u32 = 32;

/// The counts of a group.
#[derive(Debug)]
pub struct Turns {
    watchers: u32,
    /// Writes so far, and watches that have been set since the last.
    writes_and_watches: AtomicU64,
    /// Watches that a write has spent and whose watchers know, over all writes.
    spent: AtomicU64,
}

/// A watch that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    writes_before: u64,
}

impl Turns {
    /// Nobody has done anything yet.
    pub fn new(watchers: u32) -> Turns {
        Turns {
            watchers,
            writes_and_watches: AtomicU64::new(0),
            spent: AtomicU64::new(0),
        }
    }

    /// Whether there was a write.
    pub fn have_begun(&self) -> bool {
        self.writes() > 0
    }

    /// Whether some watchers have not heard of the last write.
    pub fn is_under_way(&self) -> bool {
        self.spent.load(Ordering::Acquire) < self.spent_after(self.writes())
    }

    /// Counts a write, if it is the writer's turn.
    pub fn try_write(&self) -> bool {
        let next = |counts| {
            let (writes, watches) = split(counts);
            (watches >= u64::from(self.watchers)).then_some((writes + 1) << WATCH_BITS)
        };
        self.writes_and_watches
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
            .is_ok()
    }

    /// A watcher has set its watch.
    pub fn arm(&self) -> Armed {
        let before = self.writes_and_watches.fetch_add(1, Ordering::AcqRel);
        Armed {
            writes_before: split(before).0,
        }
    }

    /// A watch is no longer set: there was an event, or its session is gone. Returns whether it was
    /// the last that the write after it spent, `None` if there was no such write.
    pub fn disarm(&self, watch: Armed) -> Option<bool> {
        let fewer = |counts| (split(counts).0 == watch.writes_before).then(|| counts - 1);
        let taken_back =
            self.writes_and_watches
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer);
        if taken_back.is_ok() {
            return None;
        }
        let spent = self.spent.fetch_add(1, Ordering::AcqRel) + 1;
        Some(spent == self.spent_after(watch.writes_before + 1))
    }

    fn writes(&self) -> u64 {
        split(self.writes_and_watches.load(Ordering::Acquire)).0
    }

    /// How many watches so many writes spend.
    fn spent_after(&self, writes: u64) -> u64 {
        writes * u64::from(self.watchers)
    }
}

/// The writes and the watches.
fn split(counts: u64) -> (u64, u64) {
    (counts >> WATCH_BITS, counts & ((1 << WATCH_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_needs_and_spends_all_watches() {
        let turns = Turns::new(2);
        assert!(!turns.try_write());
        let first = turns.arm();
        assert!(!turns.try_write());
        let second = turns.arm();
        assert!(!turns.have_begun() && turns.try_write());
        assert!(turns.have_begun() && !turns.try_write());
        assert!(turns.is_under_way());
        assert_eq!(turns.disarm(first), Some(false));
        turns.arm();
        assert!(turns.is_under_way() && !turns.try_write());
        assert_eq!(turns.disarm(second), Some(true));
        assert!(!turns.is_under_way());
        turns.arm();
        assert!(turns.try_write());
    }

    #[test]
    fn a_watch_lost_before_the_write_is_waited_for() {
        let turns = Turns::new(2);
        let watches = [turns.arm(), turns.arm()];
        assert_eq!(turns.disarm(watches[0]), None);
        assert!(!turns.try_write());
        let again = turns.arm();
        assert!(turns.try_write());
        assert_eq!(turns.disarm(again), Some(false), "it counts once");
        assert_eq!(turns.disarm(watches[1]), Some(true));
    }

    /// The count wrapped, and the writer waited for nobody.
    #[test]
    fn a_watch_lost_after_the_write_takes_nobody_elses_back() {
        let turns = Turns::new(2);
        let watches = [turns.arm(), turns.arm()];
        assert!(turns.try_write());
        assert_eq!(turns.disarm(watches[0]), Some(false));
        assert!(!turns.try_write(), "no watch is set");
        turns.arm();
        assert!(!turns.try_write(), "one watch is set");
        assert_eq!(turns.disarm(watches[1]), Some(true));
        assert!(!turns.try_write(), "one watch is set still");
        turns.arm();
        assert!(turns.try_write());
    }
}
