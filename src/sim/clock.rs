//! A machine's clocks: the monotonic one runs a little too fast or too slowly, the other one jumps.

/// The clocks of one machine. True time is the simulation's own.
#[derive(Clone, Debug)]
pub struct Clock {
    /// True and local time of the last change of the rate, in microseconds.
    since_us: u64,
    local_us: u64,
    /// Millionths by which the monotonic clock is too fast.
    rate_ppm: i64,
    wall_offset_ms: i64,
}

/// The date on which every simulation begins, in milliseconds since the Unix epoch.
const START_WALL_MS: i64 = 1_700_000_000_000;

impl Clock {
    /// A clock that shows `local_us` at the beginning and is too fast by `rate_ppm` millionths.
    pub fn new(local_us: u64, rate_ppm: i64) -> Clock {
        Clock {
            since_us: 0,
            local_us,
            rate_ppm,
            wall_offset_ms: 0,
        }
    }

    /// The monotonic clock in microseconds.
    pub fn monotonic_us(&self, now_us: u64) -> u64 {
        let elapsed_us = now_us - self.since_us;
        let scaled = i128::from(elapsed_us) * i128::from(1_000_000 + self.rate_ppm) / 1_000_000;
        self.local_us + scaled as u64
    }

    /// The monotonic clock in milliseconds.
    pub fn monotonic_ms(&self, now_us: u64) -> u64 {
        self.monotonic_us(now_us) / 1000
    }

    /// The date in milliseconds since the Unix epoch.
    pub fn wall_ms(&self, now_us: u64) -> i64 {
        START_WALL_MS + self.wall_offset_ms + (now_us / 1000) as i64
    }

    /// True time, in microseconds, when the monotonic clock will show `local_ms`.
    pub fn true_us(&self, now_us: u64, local_ms: u64) -> u64 {
        let ahead_us = (local_ms * 1000).saturating_sub(self.monotonic_us(now_us));
        now_us + ahead_us * 1_000_000 / (1_000_000 + self.rate_ppm) as u64 + 1
    }

    /// Runs at another rate from now on.
    pub fn set_rate(&mut self, now_us: u64, rate_ppm: i64) {
        self.local_us = self.monotonic_us(now_us);
        self.since_us = now_us;
        self.rate_ppm = rate_ppm;
    }

    /// The date jumps.
    pub fn jump(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_gains_and_stays_steady_when_its_rate_changes() {
        let mut clock = Clock::new(1_000_000, 50_000);
        assert_eq!(clock.monotonic_ms(1_000_000), 2050);
        let due_us = clock.true_us(1_000_000, 2100);
        assert!(clock.monotonic_ms(due_us) >= 2100 && clock.monotonic_ms(due_us - 1000) < 2100);
        clock.set_rate(1_000_000, -50_000);
        assert_eq!(clock.monotonic_ms(1_000_000), 2050);
        assert_eq!(clock.monotonic_ms(2_000_000), 3000);
    }
}
