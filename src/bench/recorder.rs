//! What happened within the measured window.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::types::ErrorCode;

use super::request::Verdict;
use super::workload::Operation;

/// Latencies above this count as this: an hour, in nanoseconds.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// Relative error of recorded latencies: two digits after the leading one.
const SIGNIFICANT_DIGITS: u8 = 3;

/// The measured window, in nanoseconds of the run's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where warming up ends.
    pub start_ns: u64,
    /// Where no further request is sent.
    pub end_ns: u64,
}

/// Counts of one operation within the window.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Latencies of requests that succeeded, in nanoseconds.
    pub latency_ns: Histogram<u64>,
    /// Requests that were refused or lost, by error code.
    pub errors: BTreeMap<i32, u64>,
    /// Replies that were not what they must be.
    pub wrong: u64,
}

impl Tally {
    fn new() -> Tally {
        Tally {
            latency_ns: Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS)
                .expect("the bounds are valid constants"),
            errors: BTreeMap::new(),
            wrong: 0,
        }
    }
}

/// Collects what the connections of a thread report.
#[derive(Debug)]
pub struct Recorder {
    window: Window,
    tallies: [Tally; Operation::ALL.len()],
    /// Connections that broke and were opened again, at any time.
    pub reconnects: u64,
    /// Why the last of them broke.
    pub last_break: Option<String>,
}

impl Recorder {
    /// A recorder of what completes within `window`.
    pub fn new(window: Window) -> Recorder {
        Recorder {
            window,
            tallies: std::array::from_fn(|_| Tally::new()),
            reconnects: 0,
            last_break: None,
        }
    }

    /// What is measured.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Sets what is measured, before the load begins.
    pub fn set_window(&mut self, window: Window) {
        self.window = window;
    }

    /// The counts of one operation.
    pub fn tally(&self, operation: Operation) -> &Tally {
        &self.tallies[operation as usize]
    }

    /// A request was answered.
    pub fn answered(&mut self, operation: Operation, verdict: Verdict, sent_ns: u64, now_ns: u64) {
        if now_ns < self.window.start_ns || now_ns >= self.window.end_ns {
            // A wrong answer matters at any time.
            if verdict != Verdict::Wrong {
                return;
            }
        }
        let tally = &mut self.tallies[operation as usize];
        match verdict {
            Verdict::Right => {
                let latency_ns = now_ns.saturating_sub(sent_ns).max(1);
                tally.latency_ns.saturating_record(latency_ns);
            }
            Verdict::Refused(code) => *tally.errors.entry(code).or_default() += 1,
            Verdict::Wrong => tally.wrong += 1,
        }
    }

    /// A request was lost with its connection, or had no answer by the end of the run.
    pub fn lost(&mut self, operation: Operation, code: ErrorCode, now_ns: u64) {
        if now_ns >= self.window.start_ns {
            let errors = &mut self.tallies[operation as usize].errors;
            *errors.entry(code.code()).or_default() += 1;
        }
    }

    /// Adds what another thread saw.
    pub fn merge(&mut self, other: &Recorder) {
        for (mine, theirs) in self.tallies.iter_mut().zip(&other.tallies) {
            mine.latency_ns
                .add(&theirs.latency_ns)
                .expect("all histograms have the same bounds");
            for (&code, count) in &theirs.errors {
                *mine.errors.entry(code).or_default() += count;
            }
            mine.wrong += theirs.wrong;
        }
        self.reconnects += other.reconnects;
        if other.last_break.is_some() {
            self.last_break.clone_from(&other.last_break);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_counts() {
        let mut recorder = Recorder::new(Window {
            start_ns: 100,
            end_ns: 200,
        });
        for now_ns in [99, 100, 199, 200] {
            recorder.answered(Operation::Get, Verdict::Right, now_ns - 10, now_ns);
            recorder.answered(Operation::Get, Verdict::Refused(-101), 0, now_ns);
            recorder.answered(Operation::Get, Verdict::Wrong, 0, now_ns);
        }
        let mut total = Recorder::new(recorder.window());
        total.merge(&recorder);
        total.merge(&recorder);
        let tally = total.tally(Operation::Get);
        assert_eq!(tally.latency_ns.len(), 4);
        assert_eq!(tally.latency_ns.max(), 10);
        assert_eq!(tally.errors, BTreeMap::from([(-101, 4)]));
        assert_eq!(tally.wrong, 8);
        assert_eq!(total.tally(Operation::Set).latency_ns.len(), 0);
    }

    #[test]
    fn what_is_lost_counts_after_warming_up() {
        let window = Window {
            start_ns: 100,
            end_ns: 200,
        };
        let mut recorder = Recorder::new(window);
        recorder.lost(Operation::Set, ErrorCode::ConnectionLoss, 50);
        recorder.lost(Operation::Set, ErrorCode::OperationTimeout, 300);
        let errors = &recorder.tally(Operation::Set).errors;
        assert_eq!(*errors, BTreeMap::from([(-7, 1)]));
    }
}
