//! What goes wrong, and when.

use std::fmt;

use crate::zab::leader::Leader;

use super::ask::Op;
use super::course::say;
use super::event::Event;
use super::member::{Ending, Member};
use super::network::CLIENT_NODES;
use super::options::{Aim, Options, Shape};
use super::process;
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
    /// The observers are cut off from the voters.
    Observers,
    /// The ensemble falls into two parts.
    Split,
    /// A client and some members cannot hear each other, or cannot one way only.
    CutClient,
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
    /// A member's disk is slow for a while.
    SlowDisk,
    /// One operation of a member's disk fails.
    DiskFails,
    /// A member's disk is full for a while.
    DiskFull,
    /// The leader's disk is full for long, and nobody else's.
    LeaderFull,
    /// A bit flips in a log or a snapshot of a member.
    Flip,
    /// A member gets an empty disk.
    Wipe,
    /// The threads of a member's shards get no turn, while its others do.
    Stall,
    /// The leader's process is stopped, and cut off for a little longer.
    Trance,
    /// The leader's process is stopped until another one leads and writes, and still cut off when it
    /// goes on.
    Depose,
    /// Everything is stopped for longer than sessions live.
    LongPause,
}

/// All of them, with how often they happen.
const ALL: &[Fault] = &[
    Fault::Kill,
    Fault::PowerLoss,
    Fault::PowerLoss,
    Fault::Blackout,
    Fault::OneWay,
    Fault::Isolate,
    Fault::Observers,
    Fault::Split,
    Fault::CutClient,
    Fault::CutClient,
    Fault::Break,
    Fault::Break,
    Fault::Pause,
    Fault::DiskDies,
    Fault::SlowWay,
    Fault::Drift,
    Fault::Jump,
    Fault::SlowDisk,
    Fault::DiskFails,
    Fault::DiskFull,
    Fault::Flip,
    Fault::Wipe,
    Fault::Stall,
];

const AIMS: [(Aim, &[Fault]); 9] = [
    (Aim::Chance, ALL),
    (
        Aim::NewEpoch,
        &[Fault::SlowDisk, Fault::Kill, Fault::Isolate],
    ),
    (
        Aim::LostLeader,
        &[Fault::Isolate, Fault::Split, Fault::Kill, Fault::SlowDisk],
    ),
    (Aim::Slowness, &[Fault::SlowWay]),
    (
        Aim::Sleep,
        &[
            Fault::Pause,
            Fault::Trance,
            Fault::Trance,
            Fault::Trance,
            Fault::LongPause,
            Fault::Stall,
        ],
    ),
    (Aim::Deposed, &[Fault::Depose]),
    // Most is found by chance, so a seed chooses that more often.
    (Aim::Chance, ALL),
    (
        Aim::Unresolved,
        &[Fault::Kill, Fault::Isolate, Fault::PowerLoss],
    ),
    (Aim::Full, &[Fault::LeaderFull]),
];

/// Millionths by which clocks are wrong at most.
pub const DRIFT_PPM_MAX: u64 = 30_000;

/// By how much dates jump at most, in milliseconds.
const JUMP_MS_MAX: u64 = 86_400_000;

/// The faults of a run.
pub struct Faults {
    aim: Aim,
    kinds: Vec<Fault>,
    /// The mean time between two, in microseconds.
    interval_us: u64,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kinds.is_empty() {
            return f.write_str("nothing goes wrong");
        }
        let (aim, interval_ms) = (self.aim, self.interval_us / 1000);
        write!(f, "{aim:?}: every {interval_ms} ms one of {:?}", self.kinds)
    }
}

impl Faults {
    /// Chooses what is to go wrong: a run of one or two kinds of faults finds what one of all
    /// kinds would not come to.
    pub fn new(random: &mut Random, options: Options) -> Faults {
        let chosen = random.index(10);
        let chosen = AIMS.get(chosen).unwrap_or(&AIMS[0]);
        let named = AIMS.iter().find(|(aim, _)| options.aim == Some(*aim));
        let (aim, kinds) = *named.unwrap_or(chosen);
        let kinds = match (aim, random.below(3)) {
            _ if !options.has_faults => Vec::new(),
            (Aim::Chance, 0) => (0..2).map(|_| random.pick(ALL)).collect(),
            _ => kinds.to_vec(),
        };
        let interval_us = random.pick(&[60_000, 150_000, 150_000, 400_000]);
        Faults {
            aim,
            kinds,
            interval_us,
        }
    }
}

impl Faults {
    /// What the run is out for.
    pub fn aim(&self) -> Aim {
        self.aim
    }

    /// Whether connections to a member's quorum port fail. Its own do not, nor its election links: it has
    /// made those itself.
    pub fn is_unresolved(&self, member: usize, shape: Shape) -> bool {
        self.aim == Aim::Unresolved && !self.kinds.is_empty() && member + 1 == shape.voters
    }

    /// In how many turns clients may ask once. Who wakes up and has something of its own to do
    /// learns of everything else on the way; so those who sleep have little to do.
    pub fn paces(&self) -> &'static [u64] {
        match self.aim {
            Aim::Sleep => &[10],
            // Nor is a leader deposed that way where something is always under way: a sync waits for it.
            Aim::Deposed => &[10, 40],
            // What is asked for must fill a disk.
            Aim::Full => &[1],
            _ => &[1, 1, 1, 3, 10],
        }
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
            Fault::Pause => self.pause(at, span_us),
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
            Fault::Stall => {
                say!(self.course, "the shards of member {at} get no turn");
                self.stall(at, span_us);
            }
            Fault::Trance => {
                // Long enough for the others to go on without it.
                let at = self.leader().unwrap_or(at);
                let span_us = self.course.random.between(500_000, 1_200_000);
                self.pause(at, span_us);
                self.part(&|member| member == at, span_us + 20_000);
            }
            Fault::Depose => {
                let now_us = self.course.now_us;
                let is_stopped = |member: &Member| member.paused_until_us > now_us;
                if let Some(at) = self.leader()
                    && !self.members.iter().any(is_stopped)
                {
                    let span_us = self.course.random.between(700_000, 1_200_000);
                    self.pause(at, span_us);
                    self.part(&|member| member == at, span_us + 20_000);
                    let op = Op::any_without_txn(&mut self.course.random);
                    for client in (0..self.clients.len()).filter(|c| self.clients[*c].is_at(at)) {
                        let early_us = self.course.random.below(50_000);
                        self.course
                            .after(span_us - early_us, Event::Press(client, op.clone()));
                    }
                }
            }
            Fault::LongPause => {
                let span_us = self.course.random.between(1_000_000, 4_500_000);
                for at in 0..self.members.len() {
                    self.pause(at, span_us);
                }
            }
            _ => self.happens_to_network(kind, at, span_us),
        }
    }

    fn happens_to_network(&mut self, kind: Fault, at: usize, span_us: u64) {
        match kind {
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
            Fault::Observers => {
                let voters = self.shape.voters;
                if voters < self.members.len() {
                    say!(self.course, "the observers are cut off");
                    self.part(&|member| member >= voters, span_us);
                }
            }
            Fault::CutClient => self.cut_client(2 * span_us),
            Fault::Split => {
                let chosen = self.course.random.next();
                say!(self.course, "the network falls apart");
                self.part(&|member| chosen >> member & 1 == 1, span_us);
            }
            Fault::Break => self.break_some_pipe(),
            Fault::SlowWay => {
                let other = self.another(at);
                say!(
                    self.course,
                    "what member {at} sends to member {other} gets slow"
                );
                let now_us = self.course.now_us;
                let percent = self.course.random.between(30, 90);
                let times_us = (now_us, now_us + 5 * span_us);
                self.network.slow_down(at, other, times_us, percent);
            }
            _ => self.happens_to_disk(kind, at, span_us),
        }
    }

    fn happens_to_disk(&mut self, kind: Fault, at: usize, span_us: u64) {
        match kind {
            Fault::DiskDies => {
                let member = &mut self.members[at];
                if member.process.is_some() {
                    member.is_disk_faulty = true;
                    let steps = member.disk.steps() + self.course.random.below(30);
                    member.disk.die_at(steps);
                }
            }
            Fault::SlowDisk => {
                say!(self.course, "the disk of member {at} is slow");
                self.members[at].slow_until_us = self.course.now_us + span_us;
            }
            Fault::DiskFails => {
                let steps = self.course.random.below(30);
                self.fail_disk(at, steps);
            }
            Fault::DiskFull => self.fill_disk(at, span_us),
            Fault::LeaderFull => self.fill_leader(),
            Fault::Flip => self.flip(at),
            Fault::Wipe => self.begin_wiping(at),
            _ => unreachable!("{kind:?} happens to a process, a clock or the network"),
        }
    }

    /// A member that leads.
    pub fn leader(&self) -> Option<usize> {
        self.members.iter().position(|member| {
            let process = member.process.as_ref();
            let leader = process.and_then(|process| process.replica.leader());
            leader.is_some_and(Leader::is_established)
        })
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

    fn cut_client(&mut self, span_us: u64) {
        let (until_us, client) = (
            self.course.now_us + span_us,
            self.course.random.index(self.clients.len()),
        );
        let (ways, chosen) = (self.course.random.below(4), self.course.random.next());
        let is_cut = |member: &usize| chosen >> member & 1 == 1;
        let cut: Vec<usize> = (0..self.members.len()).filter(is_cut).collect();
        say!(
            self.course,
            "client {client} is cut off from members {cut:?}"
        );
        self.clients[client].cut_off(until_us);
        for member in cut {
            let place = CLIENT_NODES + client;
            if ways != 1 {
                self.network.part(place, member, until_us);
            }
            if ways != 2 {
                self.network.part(member, place, until_us);
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

    fn fail_disk(&mut self, at: usize, steps: u64) {
        let member = &mut self.members[at];
        if member.process.is_some() {
            member.is_disk_faulty = true;
            member.disk.fail_at(member.disk.steps() + steps);
        }
    }

    fn stall(&mut self, at: usize, span_us: u64) {
        let until_us = self.course.now_us + span_us;
        if let Some(process) = &mut self.members[at].process {
            for thread in &mut process.shards {
                thread.stalled_until_us = until_us;
            }
        }
    }

    /// A learner has taken a new epoch for its own; where the run is out for that, it loses its
    /// power, and so may its leader.
    pub fn epoch_adopted(&mut self, at: usize) {
        let is_aimed = self.faults.aim == Aim::NewEpoch && !self.is_calm;
        let process = self.members[at].process.as_ref();
        let leader = process.and_then(|process| process.replica.following());
        let Some(leader) = leader.filter(|_| is_aimed && self.course.random.one_in(2)) else {
            return;
        };
        let leader = process::index_of(leader);
        for (member, wait_us, away_us) in [(at, 5_000, 100_000), (leader, 30_000, 900_000)] {
            let wait_us = self.course.random.below(wait_us);
            let event = Event::PowerLoss {
                member,
                life: self.members[member].life,
                away_us: away_us / 2 + self.course.random.below(away_us),
            };
            self.course.after(wait_us, event);
            if self.course.random.one_in(3) {
                return;
            }
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
