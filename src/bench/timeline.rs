//! What happened second by second.

use hdrhistogram::Histogram;

/// Slots of a time line at most; a longer run has longer slots.
const SLOTS_MAX: u64 = 600;

const SECOND_NS: u64 = 1_000_000_000;

/// Latencies of a slot: from 1 µs to 1,000 s, within 1 %. Coarse, since there are many.
const LATENCY_NS: (u64, u64) = (1_000, 1_000_000_000_000);
const SIGNIFICANT_DIGITS: u8 = 2;

/// One slot.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Latencies of requests that succeeded, in nanoseconds.
    pub latency_ns: Histogram<u64>,
    /// Requests that were refused or lost.
    pub errors: u64,
}

/// The slots of a window.
#[derive(Clone, Debug)]
pub struct Timeline {
    start_ns: u64,
    length_ns: u64,
    slot_ns: u64,
    slots_max: usize,
    slots: Vec<Slot>,
}

impl Timeline {
    /// Of the window from `start_ns` to `end_ns`.
    pub fn new(start_ns: u64, end_ns: u64) -> Timeline {
        let length_ns = end_ns.saturating_sub(start_ns);
        let slot_s = length_ns.div_ceil(SECOND_NS).div_ceil(SLOTS_MAX).max(1);
        let slot_ns = slot_s * SECOND_NS;
        Timeline {
            start_ns,
            length_ns,
            slot_ns,
            slots_max: length_ns.div_ceil(slot_ns).max(1) as usize,
            slots: Vec::new(),
        }
    }

    /// A request of `at_ns` succeeded.
    pub fn succeeded(&mut self, at_ns: u64, latency_ns: u64) {
        self.slot(at_ns).latency_ns.saturating_record(latency_ns);
    }

    /// A request of `at_ns` was refused or lost.
    pub fn failed(&mut self, at_ns: u64) {
        self.slot(at_ns).errors += 1;
    }

    /// The slots, from the first to the last in which something happened.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Adds the slots at the end in which nothing happened.
    pub fn complete(&mut self) {
        self.slot(u64::MAX);
    }

    /// How much of the window a slot holds, in seconds: the last may be shorter.
    pub fn length_s(&self, place: usize) -> f64 {
        let before_ns = place as u64 * self.slot_ns;
        self.slot_ns.min(self.length_ns - before_ns) as f64 / SECOND_NS as f64
    }

    /// Length of a slot, in whole seconds.
    pub fn slot_s(&self) -> u64 {
        self.slot_ns / SECOND_NS
    }

    /// Adds what another thread saw in the same window.
    pub fn merge(&mut self, other: &Timeline) {
        for (place, theirs) in other.slots.iter().enumerate() {
            let at_ns = self.start_ns + place as u64 * self.slot_ns;
            let mine = self.slot(at_ns);
            mine.latency_ns
                .add(&theirs.latency_ns)
                .expect("all slots have the same bounds");
            mine.errors += theirs.errors;
        }
    }

    fn slot(&mut self, at_ns: u64) -> &mut Slot {
        let place = at_ns.saturating_sub(self.start_ns) / self.slot_ns;
        // What is lost after the end belongs to the last slot.
        let place = (place as usize).min(self.slots_max - 1);
        while self.slots.len() <= place {
            let (low, high) = LATENCY_NS;
            self.slots.push(Slot {
                latency_ns: Histogram::new_with_bounds(low, high, SIGNIFICANT_DIGITS)
                    .expect("the bounds are valid constants"),
                errors: 0,
            });
        }
        &mut self.slots[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_seconds_and_bounded() {
        let mut line = Timeline::new(SECOND_NS, 4 * SECOND_NS);
        for (at_s, latency_ns) in [(1, 5_000), (3, 7_000), (3, 9_000), (99, 11_000)] {
            line.succeeded(at_s * SECOND_NS, latency_ns);
        }
        line.failed(2 * SECOND_NS);
        let mut sum = Timeline::new(SECOND_NS, 4 * SECOND_NS);
        sum.merge(&line);
        sum.merge(&line);
        let counts: Vec<(u64, u64)> = sum
            .slots()
            .iter()
            .map(|slot| (slot.latency_ns.len(), slot.errors))
            .collect();
        assert_eq!(counts, [(2, 0), (0, 2), (6, 0)]);
        assert_eq!(sum.slot_s(), 1);

        let mut half = Timeline::new(0, 5 * SECOND_NS / 2);
        half.complete();
        let lengths_s: Vec<f64> = (0..half.slots().len())
            .map(|at| half.length_s(at))
            .collect();
        assert_eq!(lengths_s, [1.0, 1.0, 0.5]);

        let mut week = Timeline::new(0, 604_800 * SECOND_NS);
        week.failed(u64::MAX);
        assert_eq!((week.slots().len(), week.slot_s()), (600, 1_008));
    }
}
