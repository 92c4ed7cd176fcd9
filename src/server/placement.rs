//! Where the sequencer runs: beside a shard, on its processor, while there is little to do; apart,
//! on one of its own, otherwise, unless other programs keep it waiting there.
//!
//! A write that comes alone goes from a shard to the sequencer, to the disk and back. On two
//! processors each of these steps wakes one that sleeps, which takes longer than the step itself;
//! on one it only changes threads. Where there is more to do, both are at work at the same time,
//! and one processor would keep them waiting for each other.
//!
//! But where the sequencer waits for its own processor longer than it works there, it is not its own:
//! a busy program runs there, which a tick of the system alone may interrupt, milliseconds later.
//! The shard's processor is shared with one that hands over its work and then waits too.

use crate::rt::cpu::{self, ThreadClock, WaitClock};

/// Microseconds between two looks at what the threads have done.
pub const WINDOW_US: u64 = 20_000;

/// Together, a shard and the sequencer may fill this part of one processor before they part, in
/// percent, and less than that before they meet: what they do takes less time on one processor, since
/// nobody is woken, but not so much less that they would have to part again.
const PART_PERCENT: u64 = 70;
const MEET_PERCENT: u64 = 50;

/// How long there must be little to do before they meet; twice as long after every time that they
/// had to part soon, up to the greatest.
const CALM_US: u64 = 100_000;
const CALM_MAX_US: u64 = 6_400_000;

/// For so many windows it must have waited longer than it worked, before it gives its processor up.
const CONTESTED_WINDOWS: u32 = 3;

/// Worked time in a window below which that says nothing, in microseconds.
const WORKED_MIN_US: u64 = 200;

/// How long they stay together then, however much there is to do; twice as long every time that it
/// finds its processor contested again soon, up to the greatest.
const STAY_US: u64 = 1_000_000;
const STAY_MAX_US: u64 = 4_000_000;

/// They had to part soon when they did within this time.
const SOON_US: u64 = 2_000_000;

/// Where the sequencer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a processor of its own.
    Apart,
    /// On that of this shard.
    Beside(usize),
}

/// What the threads have done since they began.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// Processor time of the sequencer in microseconds.
    pub sequencer_us: u64,
    /// How long the sequencer has waited for its processor, in microseconds.
    pub waited_us: u64,
    /// Processor time of each shard in microseconds.
    pub shards_us: Vec<u64>,
    /// Messages that each shard has sent to the sequencer.
    pub messages: Vec<u64>,
}

/// Decides where the sequencer runs, by looking at what was done window by window.
pub struct Placement {
    place: Place,
    seen_us: u64,
    seen: Work,
    /// When it came to where it is.
    since_us: u64,
    /// Since when there is little to do.
    calm_since_us: u64,
    /// How long there must be little to do.
    patience_us: u64,
    /// Windows on end in which its own processor was contested.
    contested: u32,
    /// Until when they stay together however much there is to do, and how long that was last.
    stay_until_us: u64,
    stay_us: u64,
}

impl Placement {
    /// Begins apart.
    pub fn new(now_us: u64, work: Work) -> Placement {
        Placement {
            place: Place::Apart,
            seen_us: now_us,
            seen: work,
            since_us: now_us,
            calm_since_us: now_us,
            patience_us: CALM_US,
            contested: 0,
            stay_until_us: 0,
            stay_us: 0,
        }
    }

    /// Whether a window has passed, so that [`Placement::look`] has something to see.
    pub fn is_due(&self, now_us: u64) -> bool {
        now_us >= self.seen_us + WINDOW_US
    }

    /// Takes in what was done until now; returns where the sequencer is to run, where that changes.
    pub fn look(&mut self, now_us: u64, work: Work) -> Option<Place> {
        let elapsed_us = (now_us - self.seen_us).max(1);
        let Some(shard) = self.busiest(&work) else {
            self.note(now_us, work);
            return None;
        };
        let worked_us = work.sequencer_us - self.seen.sequencer_us;
        let done_us = worked_us + (work.shards_us[shard] - self.seen.shards_us[shard]);
        let percent = done_us * 100 / elapsed_us;
        let waited_us = work.waited_us.saturating_sub(self.seen.waited_us);
        let is_contested = waited_us > worked_us.max(WORKED_MIN_US) && self.place == Place::Apart;
        self.contested = if is_contested { self.contested + 1 } else { 0 };
        self.note(now_us, work);
        let place = self.decide(now_us, shard, percent);
        if place == self.place {
            return None;
        }
        self.place = place;
        self.since_us = now_us;
        Some(place)
    }

    fn note(&mut self, now_us: u64, work: Work) {
        self.seen_us = now_us;
        self.seen = work;
    }

    /// The shard that has sent most in this window. It stays the one that the sequencer is beside
    /// until another sends twice as much.
    fn busiest(&self, work: &Work) -> Option<usize> {
        let sent = |shard: usize| work.messages[shard] - self.seen.messages[shard];
        let busiest = (0..work.messages.len()).max_by_key(|&shard| sent(shard))?;
        match self.place {
            _ if sent(busiest) == 0 => None,
            Place::Beside(shard) if sent(busiest) < 2 * sent(shard) => Some(shard),
            _ => Some(busiest),
        }
    }

    fn decide(&mut self, now_us: u64, shard: usize, percent: u64) -> Place {
        if percent > MEET_PERCENT {
            self.calm_since_us = now_us;
        }
        let is_soon = now_us - self.since_us < SOON_US;
        match self.place {
            Place::Apart if self.contested >= CONTESTED_WINDOWS => {
                self.stay_us = longer(self.stay_us, is_soon, STAY_US, STAY_MAX_US);
                self.stay_until_us = now_us + self.stay_us;
                Place::Beside(shard)
            }
            Place::Apart if now_us - self.calm_since_us >= self.patience_us => Place::Beside(shard),
            Place::Beside(_) if percent > PART_PERCENT && now_us >= self.stay_until_us => {
                self.patience_us = longer(self.patience_us, is_soon, CALM_US, CALM_MAX_US);
                Place::Apart
            }
            Place::Beside(_) => Place::Beside(shard),
            Place::Apart => Place::Apart,
        }
    }
}

/// Twice as long as the last time where it is soon after, within bounds; else the least.
fn longer(last_us: u64, is_soon: bool, least_us: u64, most_us: u64) -> u64 {
    match is_soon {
        true => (2 * last_us).clamp(least_us, most_us),
        false => least_us,
    }
}

/// The processors, and the clocks of the threads: what [`Placement`] needs and what it decides.
pub struct Processors {
    /// The sequencer's own.
    pub own: usize,
    /// Those of the shards.
    pub shards: Vec<usize>,
    /// What shows how much each shard has done.
    pub clocks: Vec<ThreadClock>,
}

/// Moves the sequencer's thread to where it is to run.
pub struct Mover {
    processors: Processors,
    placement: Placement,
    messages: Vec<u64>,
    wait_clock: WaitClock,
}

impl Mover {
    /// To be called on the sequencer's thread, which runs on its own processor.
    pub fn new(processors: Processors, now_us: u64) -> Mover {
        let messages = vec![0; processors.shards.len()];
        let wait_clock = WaitClock::of_this_thread();
        let work = work(&processors, &messages, &wait_clock);
        Mover {
            placement: Placement::new(now_us, work),
            processors,
            messages,
            wait_clock,
        }
    }

    /// Counts messages that a shard has sent.
    pub fn count(&mut self, shard: usize, messages: u64) {
        self.messages[shard] += messages;
    }

    /// Moves where that is called for. Not fatal where that fails: the sequencer stays where it is.
    pub fn look(&mut self, now_us: u64) {
        if !self.placement.is_due(now_us) {
            return;
        }
        let work = work(&self.processors, &self.messages, &self.wait_clock);
        let Some(place) = self.placement.look(now_us, work) else {
            return;
        };
        let processor = match place {
            Place::Apart => self.processors.own,
            Place::Beside(shard) => self.processors.shards[shard],
        };
        match cpu::pin(processor) {
            Ok(()) => tracing::debug!(processor, "the sequencer moves: {place:?}"),
            Err(error) => tracing::warn!(processor, %error, "the sequencer cannot move"),
        }
    }
}

fn work(processors: &Processors, messages: &[u64], wait_clock: &WaitClock) -> Work {
    Work {
        sequencer_us: ThreadClock::of_the_reader().now_us(),
        waited_us: wait_clock.now_us(),
        shards_us: processors
            .clocks
            .iter()
            .map(|clock| clock.now_us())
            .collect(),
        messages: messages.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two shards and the sequencer, window by window.
    struct Load {
        placement: Placement,
        now_us: u64,
        work: Work,
    }

    impl Load {
        fn new() -> Load {
            let work = Work {
                sequencer_us: 0,
                waited_us: 0,
                shards_us: vec![0; 2],
                messages: vec![0; 2],
            };
            Load {
                placement: Placement::new(0, work.clone()),
                now_us: 0,
                work,
            }
        }

        /// For so many windows the sequencer and this shard together fill `percent` of a processor;
        /// returns where the sequencer went.
        fn run(&mut self, windows: u64, shard: usize, percent: u64) -> Vec<Place> {
            let mut places = Vec::new();
            for _ in 0..windows {
                self.now_us += WINDOW_US;
                self.work.sequencer_us += WINDOW_US * percent / 200;
                self.work.shards_us[shard] += WINDOW_US * percent / 200;
                self.work.messages[shard] += 10;
                assert!(self.placement.is_due(self.now_us));
                places.extend(self.placement.look(self.now_us, self.work.clone()));
            }
            places
        }
    }

    #[test]
    fn little_to_do_brings_them_together_and_much_parts_them() {
        let mut load = Load::new();
        assert_eq!(load.run(200, 0, 80), []);
        assert_eq!(load.run(4, 0, 40), []);
        assert_eq!(load.run(1, 0, 40), [Place::Beside(0)]);
        // More than would bring them together, and not enough to part them.
        assert_eq!(load.run(200, 0, 65), []);
        assert_eq!(load.run(1, 0, 75), [Place::Apart]);
    }

    #[test]
    fn who_had_to_part_soon_waits_longer() {
        let mut load = Load::new();
        let mut waits = Vec::new();
        for _ in 0..10 {
            let mut windows = 0;
            while load.run(1, 0, 45).is_empty() {
                windows += 1;
            }
            waits.push((windows + 1) * WINDOW_US);
            assert_eq!(load.run(1, 0, 90), [Place::Apart]);
        }
        let expected = (0..10).map(|times| (CALM_US << times).min(CALM_MAX_US));
        assert_eq!(waits, Vec::from_iter(expected));

        // A long stay makes up for it.
        load.run(CALM_MAX_US / WINDOW_US, 0, 45);
        load.run(SOON_US / WINDOW_US, 0, 45);
        assert_eq!(load.run(1, 0, 90), [Place::Apart]);
        assert_eq!(load.run(CALM_US / WINDOW_US, 0, 45), [Place::Beside(0)]);
    }

    #[test]
    fn who_has_no_processor_of_its_own_stays_with_the_shard() {
        let mut load = Load::new();
        let mut stays = Vec::new();
        for _ in 0..10 {
            for _ in 0..CONTESTED_WINDOWS - 1 {
                load.work.waited_us += WINDOW_US * 9 / 10;
                assert_eq!(load.run(1, 0, 90), []);
            }
            load.work.waited_us += WINDOW_US * 9 / 10;
            assert_eq!(load.run(1, 0, 90), [Place::Beside(0)]);
            let mut windows = 1;
            while load.run(1, 0, 90).is_empty() {
                windows += 1;
            }
            stays.push(windows * WINDOW_US);
        }
        let expected = (0..10).map(|times| (STAY_US << times).min(STAY_MAX_US));
        assert_eq!(stays, Vec::from_iter(expected));
        // Waiting less than it works is no reason, nor is a single window.
        load.work.waited_us += WINDOW_US * 9 / 10;
        load.run(1, 0, 90);
        for _ in 0..100 {
            load.work.waited_us += WINDOW_US * 4 / 10;
            assert_eq!(load.run(1, 0, 90), []);
        }
    }

    #[test]
    fn it_goes_where_most_writes_come_from() {
        let mut load = Load::new();
        assert_eq!(load.run(5, 1, 10), [Place::Beside(1)]);
        assert_eq!(load.run(1, 0, 10), [Place::Beside(0)]);
        // Both write, one somewhat more.
        for _ in 0..100 {
            load.work.messages[1] += 15;
            assert_eq!(load.run(1, 0, 10), []);
        }
    }

    #[test]
    fn nobody_moves_while_nothing_is_written() {
        let mut load = Load::new();
        for _ in 0..100 {
            load.now_us += WINDOW_US;
            let place = load.placement.look(load.now_us, load.work.clone());
            assert_eq!(place, None);
        }
    }
}
