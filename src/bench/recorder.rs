//! What happened within the measured window.
//!
//! A closed loop counts what completes within the window. An open loop counts what was intended
//! to be sent within it, whenever it completes: what a stall at the end holds up belongs to it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::types::ErrorCode;

use super::operation::Operation;
use super::request::Verdict;
use super::timeline::Timeline;

/// Latencies above this count as this: an hour, in nanoseconds.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// A request that is sent this long after its intended time was late.
pub const LATE_NS: u64 = 1_000_000;

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

impl Window {
    /// Whether `at_ns` lies within it.
    pub fn contains(self, at_ns: u64) -> bool {
        (self.start_ns..self.end_ns).contains(&at_ns)
    }
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

impl Default for Tally {
    fn default() -> Tally {
        Tally::new()
    }
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

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Tally) {
        self.latency_ns
            .add(&other.latency_ns)
            .expect("all histograms have the same bounds");
        for (&code, count) in &other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        self.wrong += other.wrong;
    }
}

/// Collects what the connections of a thread report.
#[derive(Debug)]
pub struct Recorder {
    window: Window,
    /// Requests have intended times, and these decide what counts.
    is_open: bool,
    tallies: [Option<Box<Tally>>; Operation::ALL.len()],
    timeline: Timeline,
    /// How long after their intended times requests were sent, in nanoseconds; empty in a closed
    /// loop.
    pub lag_ns: Histogram<u64>,
    /// When the last request that counts was answered.
    pub last_answer_ns: u64,
    /// Answers to requests so far, whether they count or not.
    pub answers: u64,
    /// Connections that broke and were opened again, at any time.
    pub reconnects: u64,
    /// Why the last of them broke.
    pub last_break: Option<String>,
}

impl Recorder {
    /// A recorder of what completes within `window`, or in an open loop is intended there.
    pub fn new(window: Window, is_open: bool) -> Recorder {
        Recorder {
            window,
            is_open,
            tallies: std::array::from_fn(|_| None),
            timeline: Timeline::new(window.start_ns, window.end_ns),
            lag_ns: Tally::new().latency_ns,
            last_answer_ns: 0,
            answers: 0,
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
        self.timeline = Timeline::new(window.start_ns, window.end_ns);
    }

    /// The counts of one operation, if it happened.
    pub fn tally(&self, operation: Operation) -> Option<&Tally> {
        self.tallies[operation as usize].as_deref()
    }

    /// What happened second by second.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// How long what counts took, in nanoseconds: the window, or in an open loop until the last
    /// answer if that came later.
    pub fn measured_ns(&self) -> u64 {
        let end_ns = if self.is_open {
            self.window.end_ns.max(self.last_answer_ns)
        } else {
            self.window.end_ns
        };
        end_ns - self.window.start_ns
    }

    /// A request of an open loop was sent.
    pub fn sent(&mut self, intended_ns: u64, now_ns: u64) {
        if self.window.contains(intended_ns) {
            let lag_ns = now_ns.saturating_sub(intended_ns);
            self.lag_ns.saturating_record(lag_ns);
        }
    }

    /// A request was answered, or what several are part of is done; `from_ns` is when it was sent,
    /// in an open loop when it was meant to be. The time line, as the total, holds requests only.
    pub fn answered(&mut self, operation: Operation, verdict: Verdict, from_ns: u64, now_ns: u64) {
        let is_request = operation.is_request();
        self.answers += u64::from(is_request);
        let at_ns = if self.is_open { from_ns } else { now_ns };
        // A wrong answer matters at any time.
        if !self.window.contains(at_ns) && verdict != Verdict::Wrong {
            return;
        }
        self.last_answer_ns = self.last_answer_ns.max(now_ns);
        let tally = self.tallies[operation as usize].get_or_insert_with(Box::default);
        match verdict {
            Verdict::Right => {
                let latency_ns = now_ns.saturating_sub(from_ns).max(1);
                tally.latency_ns.saturating_record(latency_ns);
                if is_request {
                    self.timeline.succeeded(at_ns, latency_ns);
                }
            }
            Verdict::Refused(code) => {
                *tally.errors.entry(code).or_default() += 1;
                if is_request {
                    self.timeline.failed(at_ns);
                }
            }
            Verdict::Wrong => tally.wrong += 1,
        }
    }

    /// A request was lost with its connection, or had no answer by the end of the run; `from_ns`
    /// as in [`Recorder::answered`].
    pub fn lost(&mut self, operation: Operation, code: ErrorCode, from_ns: u64, now_ns: u64) {
        let counts = if self.is_open {
            self.window.contains(from_ns)
        } else {
            now_ns >= self.window.start_ns
        };
        if counts {
            let tally = self.tallies[operation as usize].get_or_insert_with(Box::default);
            *tally.errors.entry(code.code()).or_default() += 1;
            let at_ns = if self.is_open { from_ns } else { now_ns };
            self.timeline.failed(at_ns);
        }
    }

    /// The run is over: from now on the time line has a slot for each second, also for those at
    /// the end in which nothing happened.
    pub fn complete(&mut self) {
        self.timeline.complete();
    }

    /// Adds what another thread saw.
    pub fn merge(&mut self, other: &Recorder) {
        for (mine, theirs) in self.tallies.iter_mut().zip(&other.tallies) {
            let Some(theirs) = theirs else { continue };
            mine.get_or_insert_with(Box::default).merge(theirs);
        }
        self.timeline.merge(&other.timeline);
        self.lag_ns
            .add(&other.lag_ns)
            .expect("all histograms have the same bounds");
        self.last_answer_ns = self.last_answer_ns.max(other.last_answer_ns);
        self.answers += other.answers;
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
        let mut recorder = Recorder::new(
            Window {
                start_ns: 100,
                end_ns: 200,
            },
            false,
        );
        for now_ns in [99, 100, 199, 200] {
            recorder.answered(Operation::Get, Verdict::Right, now_ns - 10, now_ns);
            recorder.answered(Operation::Get, Verdict::Refused(-101), 0, now_ns);
            recorder.answered(Operation::Get, Verdict::Wrong, 0, now_ns);
        }
        let mut total = Recorder::new(recorder.window(), false);
        total.merge(&recorder);
        total.merge(&recorder);
        let tally = total.tally(Operation::Get).expect("counted");
        assert_eq!(tally.latency_ns.len(), 4);
        assert_eq!(tally.latency_ns.max(), 10);
        assert_eq!(tally.errors, BTreeMap::from([(-101, 4)]));
        assert_eq!(tally.wrong, 8);
        assert!(total.tally(Operation::Set).is_none());
    }

    #[test]
    fn the_time_line_has_requests_only() {
        let window = Window {
            start_ns: 0,
            end_ns: 2_000_000_000,
        };
        let mut recorder = Recorder::new(window, false);
        for operation in Operation::ALL {
            recorder.answered(operation, Verdict::Right, 0, 1_000);
            recorder.answered(operation, Verdict::Refused(-101), 0, 1_000);
        }
        let requests = Operation::REQUESTS.len() as u64;
        recorder.complete();
        let slots: Vec<(u64, u64)> = recorder
            .timeline()
            .slots()
            .iter()
            .map(|slot| (slot.latency_ns.len(), slot.errors))
            .collect();
        assert_eq!(slots, [(requests, requests), (0, 0)]);
        assert_eq!(recorder.answers, 2 * requests);
        let insert = recorder.tally(Operation::Insert).expect("it happened");
        assert_eq!(insert.latency_ns.len(), 1);
    }

    #[test]
    fn what_is_lost_counts_after_warming_up() {
        let window = Window {
            start_ns: 100,
            end_ns: 200,
        };
        let mut recorder = Recorder::new(window, false);
        recorder.lost(Operation::Set, ErrorCode::ConnectionLoss, 40, 50);
        recorder.lost(Operation::Set, ErrorCode::OperationTimeout, 150, 300);
        let tally = recorder.tally(Operation::Set).expect("counted");
        assert_eq!(tally.errors, BTreeMap::from([(-7, 1)]));
    }

    #[test]
    fn an_open_loop_counts_by_the_intended_time() {
        let window = Window {
            start_ns: 100,
            end_ns: 200,
        };
        let mut recorder = Recorder::new(window, true);
        for intended_ns in [99, 100, 199, 200] {
            recorder.sent(intended_ns, intended_ns + 7);
            recorder.answered(Operation::Get, Verdict::Right, intended_ns, 1_000);
            recorder.lost(
                Operation::Get,
                ErrorCode::OperationTimeout,
                intended_ns,
                1_000,
            );
        }
        let tally = recorder.tally(Operation::Get).expect("counted");
        assert_eq!(tally.latency_ns.len(), 2);
        assert_eq!(tally.latency_ns.max(), 900);
        assert_eq!(tally.errors, BTreeMap::from([(-7, 2)]));
        assert_eq!((recorder.lag_ns.len(), recorder.lag_ns.max()), (2, 7));
        assert_eq!(recorder.measured_ns(), 900);
    }
}
