//! What goes wrong, and when.

use std::fmt;

use super::course::say;
use super::event::Event;
use super::member::Ending;
use super::random::Random;
use super::world::World;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A member's process is killed.
    Kill,
    /// A member's machine loses its power.
    PowerLoss,
    /// All machines lose their power.
    Blackout,
    /// One way between two members is cut.
    OneWay,
    /// A member is cut off from all others.
    Isolate,
    /// The ensemble falls into two parts.
    Split,
    /// A connection breaks at any byte.
    Break,
    /// A process is stopped for a while.
    Pause,
    /// A member's disk dies at one of its next operations.
    DiskDies,
    /// One way between two members gets slower and slower for a while.
    SlowWay,
    /// A member's monotonic clock runs at another rate.
    Drift,
    /// A member's date jumps.
    Jump,
}

/// All of them, with how often they happen.
const ALL: &[Fault] = &[
    Fault::Kill,
    Fault::PowerLoss,
    Fault::PowerLoss,
    Fault::Blackout,
    Fault::OneWay,
    Fault::Isolate,
    Fault::Split,
    Fault::Break,
    Fault::Break,
    Fault::Pause,
    Fault::DiskDies,
    Fault::SlowWay,
    Fault::Drift,
    Fault::Jump,
];

/// Millionths by which clocks are wrong at most.
pub const DRIFT_PPM_MAX: u64 = 30_000;

/// By how much dates jump at most, in milliseconds.
const JUMP_MS_MAX: u64 = 86_400_000;

/// The faults of a run.
pub struct Faults {
    kinds: Vec<Fault>,
    /// The mean time between two, in microseconds.
    interval_us: u64,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kinds.is_empty() {
            return f.write_str("nothing goes wrong");
        }
        write!(
            f,
            "every {} ms one of {:?}",
            self.interval_us / 1000,
            self.kinds
        )
    }
}

impl Faults {
    /// Chooses what is to go wrong: a run of one or two kinds of faults finds what one of all
    /// kinds would not come to.
    pub fn new(random: &mut Random, has_faults: bool) -> Faults {
        let kinds = match random.below(3) {
            _ if !has_faults => Vec::new(),
            0 => (0..2).map(|_| random.pick(ALL)).collect(),
            _ => ALL.to_vec(),
        };
        let interval_us = random.pick(&[60_000, 150_000, 150_000, 400_000]);
        Faults { kinds, interval_us }
    }
}

impl World {
    /// Something goes wrong, and something else later.
    pub fn fault(&mut self) {
        if self.is_calm || self.faults.kinds.is_empty() {
            return;
        }
        let kind = self.course.random.pick(&self.faults.kinds);
        self.happens(kind);
        let interval_us = self.faults.interval_us;
        let wait_us = self.course.random.between(1_000, 2 * interval_us);
        self.course.after(wait_us, Event::Fault);
    }

    fn happens(&mut self, kind: Fault) {
        let at = self.course.random.index(self.members.len());
        let span_us = self.course.random.between(10_000, 900_000);
        match kind {
            Fault::Kill => self.end_process(at, Ending::Killed, span_us),
            Fault::PowerLoss => self.end_process(at, Ending::PowerLoss, span_us),
            Fault::Blackout => {
                for at in 0..self.members.len() {
                    let away_us = self.course.random.between(10_000, 300_000);
                    self.end_process(at, Ending::PowerLoss, away_us);
                }
            }
            Fault::OneWay => {
                let other = self.another(at);
                say!(self.course, "member {other} cannot hear member {at}");
                let until_us = self.course.now_us + span_us;
                self.network.part(at, other, until_us);
            }
            Fault::Isolate => {
                say!(self.course, "member {at} is cut off");
                self.part(&|member| member == at, span_us);
            }
            Fault::Split => {
                let chosen = self.course.random.next();
                say!(self.course, "the network falls apart");
                self.part(&|member| chosen >> member & 1 == 1, span_us);
            }
            Fault::Break => self.break_some_pipe(),
            Fault::Pause => self.pause(at, span_us),
            Fault::DiskDies => {
                let member = &mut self.members[at];
                if member.process.is_some() {
                    member.is_disk_faulty = true;
                    let steps = member.disk.steps() + self.course.random.below(30);
                    member.disk.die_at(steps);
                }
            }
            Fault::SlowWay => {
                let other = self.another(at);
                say!(
                    self.course,
                    "what member {at} sends to member {other} gets slow"
                );
                let now_us = self.course.now_us;
                let percent = self.course.random.between(30, 90);
                let times_us = (now_us, now_us + 3 * span_us);
                self.network.slow_down(at, other, times_us, percent);
            }
            Fault::Drift => {
                let rate_ppm = any_rate_ppm(&mut self.course.random);
                let now_us = self.course.now_us;
                self.members[at].clock.set_rate(now_us, rate_ppm);
            }
            Fault::Jump => {
                let by_ms = self.course.random.below(2 * JUMP_MS_MAX) as i64;
                let by_ms = by_ms - JUMP_MS_MAX as i64;
                say!(self.course, "the date of member {at} jumps by {by_ms} ms");
                self.members[at].clock.jump(by_ms);
            }
        }
    }

    /// A member other than this one; the same where it is alone.
    fn another(&mut self, at: usize) -> usize {
        let count = self.members.len();
        (at + 1 + self.course.random.index((count - 1).max(1))) % count
    }

    /// The members for which `is_one_side` holds and the others cannot hear each other.
    fn part(&mut self, is_one_side: &dyn Fn(usize) -> bool, span_us: u64) {
        let until_us = self.course.now_us + span_us;
        let count = self.members.len();
        for from in 0..count {
            for to in (0..count).filter(|to| is_one_side(from) != is_one_side(*to)) {
                self.network.part(from, to, until_us);
            }
        }
    }

    fn break_some_pipe(&mut self) {
        let pipes: Vec<u64> = self.network.pipes().map(|(name, _)| name).collect();
        if !pipes.is_empty() {
            let pipe = self.course.random.pick(&pipes);
            say!(self.course, "connection {pipe} breaks");
            self.network.break_pipe(&mut self.course, pipe);
        }
    }

    fn pause(&mut self, at: usize, span_us: u64) {
        if self.members[at].process.is_some() {
            say!(self.course, "member {at} is stopped");
            self.members[at].paused_until_us = self.course.now_us + span_us;
            self.course.after(span_us, Event::Resume(at));
        }
    }
}

/// A rate at which a clock may run.
pub fn any_rate_ppm(random: &mut Random) -> i64 {
    random.below(2 * DRIFT_PPM_MAX) as i64 - DRIFT_PPM_MAX as i64
}
