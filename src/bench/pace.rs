//! When requests are due.
//!
//! An open loop sends at given times whatever the server does, and counts latency from these
//! times: a request that could not be sent because the server stalled was late for its user all
//! the same.

/// The intended times of one connection's requests. In a closed loop there are none: a request
/// is due when the one before is answered.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    next_ns: u64,
    interval_ns: u64,
}

/// The times of all connections of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Requests a second, over all connections.
    pub rate: f64,
    /// Connections of the run.
    pub connections: u32,
    /// All connections send at the same moment, instead of one after the other.
    pub in_step: bool,
}

impl Schedule {
    /// From one request of a connection to its next, at least 1 ns.
    pub fn interval_ns(&self) -> u64 {
        let interval_s = f64::from(self.connections) / self.rate;
        // A float that is too large becomes the largest integer.
        ((interval_s * 1e9) as u64).max(1)
    }

    /// When connection `number` sends first, after the load's start.
    pub fn offset_ns(&self, number: u32) -> u64 {
        if self.in_step {
            return 0;
        }
        let share = f64::from(number) / f64::from(self.connections);
        (self.interval_ns() as f64 * share) as u64
    }
}

impl Pace {
    /// Connection `number` of `schedule`, where the load starts at `start_ns`.
    pub fn new(schedule: &Schedule, number: u32, start_ns: u64) -> Pace {
        Pace {
            next_ns: start_ns + schedule.offset_ns(number),
            interval_ns: schedule.interval_ns(),
        }
    }

    /// The intended time of the next request.
    pub fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// The next request is sent, or given up.
    pub fn advance(&mut self) {
        self.next_ns = self.next_ns.saturating_add(self.interval_ns);
    }
}

/// Which connections of a thread have something due: a round through them in the order of their
/// offsets, so that nothing must be sorted.
#[derive(Debug)]
pub struct Rounds {
    paces: Vec<Pace>,
    cursor: usize,
}

impl Rounds {
    /// Of connections whose first requests are due in the order of `paces`.
    pub fn new(paces: Vec<Pace>) -> Rounds {
        debug_assert!(paces.is_sorted_by_key(Pace::next_ns), "offsets grow");
        Rounds { paces, cursor: 0 }
    }

    /// When the next is due; never if there are no connections.
    pub fn next_ns(&self) -> u64 {
        self.paces.get(self.cursor).map_or(u64::MAX, Pace::next_ns)
    }

    /// The place of a connection that has something due by `now_ns`.
    pub fn take_due(&mut self, now_ns: u64) -> Option<usize> {
        if self.next_ns() > now_ns {
            return None;
        }
        let place = self.cursor;
        self.paces[place].advance();
        self.cursor = (place + 1) % self.paces.len();
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn requests_are_spread_evenly_over_time_and_connections() {
        let schedule = Schedule {
            rate: 1_000.0,
            connections: 4,
            in_step: false,
        };
        let paces = (0..4).map(|number| Pace::new(&schedule, number, SECOND_NS));
        let mut rounds = Rounds::new(paces.collect());
        for place in 0..100 {
            let due_ns = SECOND_NS + place * 1_000_000;
            assert_eq!(rounds.next_ns(), due_ns);
            assert_eq!(rounds.take_due(due_ns - 1), None);
            assert_eq!(rounds.take_due(due_ns), Some(place as usize % 4));
        }
    }

    #[test]
    fn in_step_all_are_due_at_once() {
        let schedule = Schedule {
            rate: 2.0,
            connections: 10,
            in_step: true,
        };
        let paces = (0..10).map(|number| Pace::new(&schedule, number, 7));
        let mut rounds = Rounds::new(paces.collect());
        let mut due = |now_ns| std::iter::from_fn(|| rounds.take_due(now_ns)).count();
        assert_eq!((due(6), due(7), due(8)), (0, 10, 0));
        assert_eq!(due(7 + 5 * SECOND_NS), 10);
    }

    #[test]
    fn extreme_rates_do_not_overflow() {
        for rate in [1e-9, 1e12] {
            let schedule = Schedule {
                rate,
                connections: 1,
                in_step: false,
            };
            let mut pace = Pace::new(&schedule, 0, 1);
            pace.advance();
            assert!(pace.next_ns() > 1);
        }
    }
}
