//! What every part of a run shares: the time, what is due, chance, and the trace.

use super::event::{Event, Queue};
use super::random::Random;
use super::trace::Trace;

/// The course of a run.
pub struct Course {
    /// True time in microseconds since the beginning.
    pub now_us: u64,
    /// What is due.
    pub queue: Queue,
    /// Chance.
    pub random: Random,
    /// What happened.
    pub trace: Trace,
}

impl Course {
    /// The beginning of a run.
    pub fn new(seed: u64, trace: Trace) -> Course {
        Course {
            now_us: 0,
            queue: Queue::default(),
            random: Random::new(seed),
            trace,
        }
    }

    /// Has something happen in a while.
    pub fn after(&mut self, wait_us: u64, event: Event) {
        self.queue.add(self.now_us + wait_us, event);
    }
}

/// Notes a line in the trace of a course.
macro_rules! say {
    ($course:expr, $($what:tt)*) => {
        $course.trace.say($course.now_us, format_args!($($what)*))
    };
}
pub(super) use say;
