//! The clocks. Logic never reads them: it is given the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock that starts at 0 when it is made; copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Monotonic {
    start: Instant,
}

impl Monotonic {
    /// A clock that starts now.
    pub fn start() -> Monotonic {
        Monotonic {
            start: Instant::now(),
        }
    }

    /// Microseconds since the start.
    pub fn now_us(self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the start.
    pub fn now_ms(self) -> u64 {
        self.now_us() / 1000
    }
}

/// Milliseconds since the Unix epoch; a clock before it reads as 0.
pub fn wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Lets the calling thread wait. Not for executors, whose tasks await
/// [`super::executor::sleep`].
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
