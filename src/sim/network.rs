//! Connections between members, and between clients and members, that are late, broken, or parted.
//!
//! A [`Pipe`] is one TCP connection. Each of its two ways delivers in order; a partition holds back
//! what is on its way, as TCP does when it sends again. A pipe that breaks loses what is on its way
//! from any byte on.

use std::collections::{BTreeMap, VecDeque};

use crate::types::LinkId;

use super::course::Course;
use super::event::Event;
use super::random::Random;

/// What counts as one place in the network: members by their index, clients from here on.
pub const CLIENT_NODES: usize = 100;

/// One end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A member's election link.
    Peer { member: usize, life: u32 },
    /// A member's link to its leader or learner.
    Link {
        member: usize,
        life: u32,
        link: LinkId,
    },
    /// A client's connection, at a member's shard.
    Shard {
        member: usize,
        life: u32,
        shard: usize,
    },
    /// A client, and which of its connections.
    Client { client: usize, number: u64 },
}

impl End {
    /// Where it is.
    pub fn node(&self) -> usize {
        match *self {
            End::Peer { member, .. } | End::Link { member, .. } | End::Shard { member, .. } => {
                member
            }
            End::Client { client, .. } => CLIENT_NODES + client,
        }
    }

    /// The member's process that has it.
    pub fn process(&self) -> Option<(usize, u32)> {
        match *self {
            End::Peer { member, life }
            | End::Link { member, life, .. }
            | End::Shard { member, life, .. } => Some((member, life)),
            End::Client { .. } => None,
        }
    }
}

/// What travels.
#[derive(Debug)]
pub enum Piece {
    /// The other end has connected.
    Opened,
    /// Some bytes of a stream.
    Bytes(Vec<u8>),
    /// A whole election message.
    Message(Vec<u8>),
    /// The other end is closed, or the pipe has broken.
    Closed,
}

/// One connection.
pub struct Pipe {
    /// Its ends.
    pub ends: [End; 2],
    /// What is on its way to each end, and when it arrives.
    ways: [VecDeque<(u64, Piece)>; 2],
}

/// What an [`Event::Arrival`] brings.
pub enum Arrival {
    /// Nothing: the pipe is gone.
    Nothing,
    /// It is held back until then.
    Later(u64),
    /// This, to this end, from that one.
    Piece(Piece, End, End),
}

/// A way that gets slower and slower.
#[derive(Clone, Copy)]
struct Slow {
    since_us: u64,
    until_us: u64,
    percent: u64,
}

/// All connections.
#[derive(Default)]
pub struct Network {
    pipes: BTreeMap<u64, Pipe>,
    made: u64,
    /// Ways between two places over which nothing comes, and until when.
    parted: BTreeMap<(usize, usize), u64>,
    slow: BTreeMap<(usize, usize), Slow>,
}

impl Network {
    /// Makes a pipe; its name.
    pub fn open(&mut self, ends: [End; 2]) -> u64 {
        self.made += 1;
        let ways = [VecDeque::new(), VecDeque::new()];
        self.pipes.insert(self.made, Pipe { ends, ways });
        self.made
    }

    /// A link id that nobody else has.
    pub fn next_link(&mut self) -> LinkId {
        self.made += 1;
        LinkId(self.made)
    }

    /// A pipe, if it is still there.
    pub fn pipe_mut(&mut self, pipe: u64) -> Option<&mut Pipe> {
        self.pipes.get_mut(&pipe)
    }

    /// The pipes that are there.
    pub fn pipes(&self) -> impl Iterator<Item = (u64, &Pipe)> {
        self.pipes.iter().map(|(&name, pipe)| (name, pipe))
    }

    /// Sends something to this end of a pipe.
    pub fn send(&mut self, course: &mut Course, pipe: u64, to: usize, piece: Piece) {
        let Some(found) = self.pipes.get_mut(&pipe) else {
            return;
        };
        let places = (found.ends[1 - to].node(), found.ends[to].node());
        let mut due_us = course.now_us + latency_us(&mut course.random);
        if let Some(slow) = self.slow.get(&places)
            && course.now_us < slow.until_us
        {
            due_us += (course.now_us - slow.since_us) * slow.percent / 100;
        }
        if let Some((last_us, _)) = found.ways[to].back() {
            due_us = due_us.max(*last_us);
        }
        found.ways[to].push_back((due_us, piece));
        course.queue.add(due_us, Event::Arrival { pipe, end: to });
    }

    /// Sends bytes in pieces that are cut anywhere.
    pub fn send_bytes(&mut self, course: &mut Course, pipe: u64, to: usize, mut bytes: Vec<u8>) {
        while !bytes.is_empty() {
            let length = if course.random.one_in(4) {
                1 + course.random.index(bytes.len())
            } else {
                bytes.len()
            };
            let rest = bytes.split_off(length);
            let piece = Piece::Bytes(std::mem::replace(&mut bytes, rest));
            self.send(course, pipe, to, piece);
        }
    }

    /// Takes what arrives at this end of a pipe.
    pub fn arrive(&mut self, now_us: u64, pipe: u64, end: usize) -> Arrival {
        let Some(found) = self.pipes.get_mut(&pipe) else {
            return Arrival::Nothing;
        };
        let (to, from) = (found.ends[end], found.ends[1 - end]);
        if let Some(&until_us) = self.parted.get(&(from.node(), to.node()))
            && until_us > now_us
        {
            return Arrival::Later(until_us);
        }
        let Some((_, piece)) = found.ways[end].pop_front() else {
            return Arrival::Nothing;
        };
        let is_closed = |(_, piece): &(u64, Piece)| matches!(piece, Piece::Closed);
        if matches!(piece, Piece::Closed) && !found.ways[1 - end].iter().any(is_closed) {
            self.pipes.remove(&pipe);
        }
        Arrival::Piece(piece, to, from)
    }

    /// Puts bytes back that an end does not want to read now.
    pub fn put_back(&mut self, now_us: u64, pipe: u64, end: usize, bytes: Vec<u8>) {
        if let Some(found) = self.pipes.get_mut(&pipe) {
            found.ways[end].push_front((now_us, Piece::Bytes(bytes)));
        }
    }

    /// Breaks a pipe: of what is on its way, either end gets the beginning, cut at any byte.
    pub fn break_pipe(&mut self, course: &mut Course, pipe: u64) {
        for end in 0..2 {
            if let Some(found) = self.pipes.get_mut(&pipe) {
                let way = &mut found.ways[end];
                let kept = course.random.index(way.len() + 1);
                way.truncate(kept);
                if let Some((_, Piece::Bytes(bytes))) = way.back_mut() {
                    let kept = course.random.index(bytes.len() + 1);
                    bytes.truncate(kept);
                }
            }
            self.send(course, pipe, end, Piece::Closed);
        }
    }

    /// Nothing comes from one place to another until then.
    pub fn part(&mut self, from: usize, to: usize, until_us: u64) {
        let end = self.parted.entry((from, to)).or_default();
        *end = (*end).max(until_us);
    }

    /// Whether one place cannot hear another.
    pub fn is_parted(&self, from: usize, to: usize, now_us: u64) -> bool {
        self.parted
            .get(&(from, to))
            .is_some_and(|&until_us| until_us > now_us)
    }

    /// What one place sends to another takes longer and longer until then: this many hundredths
    /// of the time since.
    pub fn slow_down(&mut self, from: usize, to: usize, times_us: (u64, u64), percent: u64) {
        let slow = Slow {
            since_us: times_us.0,
            until_us: times_us.1,
            percent,
        };
        self.slow.insert((from, to), slow);
    }

    /// All partitions end, and all ways are as fast as ever: what is late arrives.
    pub fn heal(&mut self, course: &mut Course) {
        self.parted.clear();
        self.slow.clear();
        let soon_us = course.now_us + LATENCY_US_MAX;
        for (&pipe, found) in &mut self.pipes {
            for (end, way) in found.ways.iter_mut().enumerate() {
                for (due_us, _) in way.iter_mut().filter(|(due_us, _)| *due_us > soon_us) {
                    *due_us = soon_us;
                    course.queue.add(soon_us, Event::Arrival { pipe, end });
                }
            }
        }
    }
}

/// How long something is on its way at most, where that is not slow, in microseconds.
const LATENCY_US_MAX: u64 = 30_000;

/// How long something is on its way, in microseconds: now and then much longer.
fn latency_us(random: &mut Random) -> u64 {
    let usual_us = random.between(100, 2500);
    if random.one_in(60) {
        usual_us + random.below(25_000)
    } else {
        usual_us
    }
}
