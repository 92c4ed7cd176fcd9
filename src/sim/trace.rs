//! What happened: the last lines for people, and a checksum over everything for the promise that
//! the same seed gives the same run.

use std::collections::VecDeque;
use std::fmt::{self, Write};

/// Lines that are kept.
pub const LINES_MAX: usize = 400;

/// The record of one run.
#[derive(Default)]
pub struct Trace {
    lines: VecDeque<String>,
    checksum: u32,
    count: u64,
    is_printed: bool,
}

impl Trace {
    /// An empty one; where `is_printed`, each line also goes to the standard output at once.
    pub fn new(is_printed: bool) -> Trace {
        Trace {
            is_printed,
            ..Trace::default()
        }
    }

    /// Notes what happened at this time, in microseconds.
    pub fn say(&mut self, now_us: u64, what: fmt::Arguments<'_>) {
        let mut line = if self.lines.len() == LINES_MAX {
            self.lines.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        line.clear();
        let (ms, us) = (now_us / 1000, now_us % 1000);
        // A string takes everything.
        let _ = write!(line, "{ms:>6}.{us:03} {what}");
        self.mix(line.as_bytes());
        if self.is_printed {
            println!("{line}");
        }
        self.lines.push_back(line);
    }

    /// Counts bytes into the checksum, for what is too much to read.
    pub fn mix(&mut self, bytes: &[u8]) {
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        self.count += 1;
    }

    /// A checksum over everything that was noted, and how much that was.
    pub fn digest(&self) -> (u32, u64) {
        (self.checksum, self.count)
    }

    /// The last lines, oldest first.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
