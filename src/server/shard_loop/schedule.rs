//! What a shard's loop does at its time.

use std::time::Duration;

/// How often a shard looks at its timeouts, in microseconds.
const TICK_US: u64 = 100_000;

/// How long to wait before a full ring to the sequencer is tried again, in microseconds.
const RING_RETRY_US: u64 = 1_000;

/// How long to wait before a full inbox is asked again for a part of an answer, in microseconds.
const GATHER_RETRY_US: u64 = 5_000;

/// How long to wait before accepting again after an error such as "too many open files", in
/// microseconds.
const ACCEPT_RETRY_US: u64 = 50_000;

/// How long sockets have their turn before a report of who was heard from, in microseconds, and how
/// often that is repeated at most while they bring something in.
const SETTLE_US: u64 = 5_000;
const SETTLE_ROUNDS: u32 = 20;

/// Something whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A look at timeouts.
    Tick,
    /// A report of who was heard from until then, on the server's monotonic clock.
    Heard {
        /// When all sockets had their turn after.
        as_of_us: u64,
    },
    /// Clients may be accepted again.
    Accept,
    /// Questions are to be asked again.
    Gather,
}

/// A report under way.
struct Settling {
    as_of_us: u64,
    rounds: u32,
}

/// Times are in microseconds on the server's monotonic clock.
pub struct Schedule {
    tick_us: u64,
    /// When a report begins, or when sockets have had another turn for it.
    heard_us: u64,
    heard_interval_us: u64,
    settling: Option<Settling>,
    /// To be set whenever a socket brings something in.
    pub has_received: bool,
    /// Whether the ring to the sequencer was full a moment ago.
    pub is_ring_full: bool,
    ring_us: u64,
    accept_us: Option<u64>,
    gather_us: Option<u64>,
}

impl Schedule {
    /// Everything is due at once.
    pub fn new(heard_interval: Duration) -> Schedule {
        Schedule {
            tick_us: 0,
            heard_us: 0,
            heard_interval_us: heard_interval.as_micros() as u64,
            settling: None,
            has_received: false,
            is_ring_full: false,
            ring_us: 0,
            accept_us: None,
            gather_us: None,
        }
    }

    /// How long nothing is due.
    pub fn patience(&self, now_us: u64) -> Duration {
        let ring_us = self.is_ring_full.then_some(self.ring_us);
        let others = [ring_us, self.accept_us, self.gather_us];
        let due_us = others
            .into_iter()
            .flatten()
            .fold(self.tick_us.min(self.heard_us), u64::min);
        Duration::from_micros(due_us.saturating_sub(now_us))
    }

    /// The next thing that is due; nothing is due twice at the same time.
    pub fn poll(&mut self, now_us: u64) -> Option<Due> {
        if self.is_ring_full && now_us >= self.ring_us {
            self.is_ring_full = false;
        }
        if now_us >= self.tick_us {
            self.tick_us = now_us + TICK_US;
            return Some(Due::Tick);
        }
        if self.accept_us.is_some_and(|due_us| now_us >= due_us) {
            self.accept_us = None;
            return Some(Due::Accept);
        }
        if self.gather_us.is_some_and(|due_us| now_us >= due_us) {
            self.gather_us = None;
            return Some(Due::Gather);
        }
        if now_us >= self.heard_us {
            return self.settle(now_us);
        }
        None
    }

    /// Every socket that held something at the time of the report has its turn before it: pauses
    /// follow one another until one brings nothing in, so that a server that was stopped for a while
    /// does not take its clients for dead.
    fn settle(&mut self, now_us: u64) -> Option<Due> {
        let has_received = std::mem::take(&mut self.has_received);
        let (as_of_us, rounds) = match &self.settling {
            None => (now_us, 0),
            Some(settling) if has_received && settling.rounds < SETTLE_ROUNDS => {
                (settling.as_of_us, settling.rounds + 1)
            }
            Some(settling) => {
                let as_of_us = settling.as_of_us;
                self.settling = None;
                self.heard_us = now_us + self.heard_interval_us;
                return Some(Due::Heard { as_of_us });
            }
        };
        self.settling = Some(Settling { as_of_us, rounds });
        self.heard_us = now_us + SETTLE_US;
        None
    }

    /// The ring to the sequencer is full.
    pub fn ring_is_full(&mut self, now_us: u64) {
        self.is_ring_full = true;
        self.ring_us = now_us + RING_RETRY_US;
    }

    /// Nobody can be accepted now.
    pub fn accept_again(&mut self, now_us: u64) {
        self.accept_us = Some(now_us + ACCEPT_RETRY_US);
    }

    /// A question has not reached everybody.
    pub fn ask_again(&mut self, now_us: u64) {
        self.gather_us = Some(now_us + GATHER_RETRY_US);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is due at a time.
    fn due(schedule: &mut Schedule, now_us: u64) -> Vec<Due> {
        std::iter::from_fn(|| schedule.poll(now_us)).collect()
    }

    #[test]
    fn a_report_waits_until_a_pause_brings_nothing_in() {
        let mut schedule = Schedule::new(Duration::from_millis(30));
        assert_eq!(due(&mut schedule, 100), [Due::Tick]);
        assert_eq!(schedule.patience(100), Duration::from_millis(5));
        schedule.has_received = true;
        assert_eq!(due(&mut schedule, 5_100), []);
        assert_eq!(schedule.patience(5_100), Duration::from_millis(5));
        let heard = Due::Heard { as_of_us: 100 };
        assert_eq!(due(&mut schedule, 10_100), [heard]);
        assert_eq!(schedule.patience(10_100), Duration::from_millis(30));
    }

    #[test]
    fn sockets_that_never_fall_silent_do_not_put_a_report_off_for_ever() {
        let mut schedule = Schedule::new(Duration::from_millis(30));
        let mut now_us = 0;
        let as_of_us = loop {
            schedule.has_received = true;
            let heard = due(&mut schedule, now_us);
            if let Some(Due::Heard { as_of_us }) = heard.last() {
                break *as_of_us;
            }
            now_us += SETTLE_US;
        };
        assert_eq!(
            (as_of_us, now_us),
            (0, SETTLE_US * u64::from(SETTLE_ROUNDS + 1))
        );
    }

    #[test]
    fn what_was_put_off_is_due_once() {
        let mut schedule = Schedule::new(Duration::from_secs(1));
        due(&mut schedule, 0);
        due(&mut schedule, 5_000);
        schedule.accept_again(10_000);
        schedule.ask_again(10_000);
        schedule.ring_is_full(10_000);
        assert_eq!(schedule.patience(10_000), Duration::from_millis(1));
        assert_eq!(due(&mut schedule, 11_000), []);
        assert!(!schedule.is_ring_full);
        assert_eq!(due(&mut schedule, 15_000), [Due::Gather]);
        assert_eq!(due(&mut schedule, 60_000), [Due::Accept]);
        assert_eq!(due(&mut schedule, 61_000), []);
    }
}
