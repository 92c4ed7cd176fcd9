//! The search for an order of one path's operations that explains all answers.
//!
//! As Wing and Gong describe it, with Lowe's memory of configurations that lead nowhere: of the
//! operations that are called before the first pending answer, one is taken, then again, until all
//! answered ones have a place; where none can be taken, the last one is put back. Three things keep
//! it short:
//! - answered operations are tried before those of unknown outcome, which have to be placed only
//!   where nothing else explains what follows;
//! - of pending operations of unknown outcome that do the same, only the first is tried: it may take
//!   the place of any other;
//! - an operation that can leave nothing but the state as it is needs no alternative.
//!
//! A configuration is remembered by a fingerprint of 128 bits, so its memory is bounded; that two of
//! some millions have the same one is not to be expected (10⁻²⁵).

use std::collections::HashSet;

use super::model::{Entry, NEVER, State, Step};

/// What came of a search.
#[derive(Debug)]
pub(super) enum Verdict {
    Linearizable,
    Impossible(Stuck),
    /// The limit was reached.
    Undecided,
}

/// Where the search came furthest.
#[derive(Debug)]
pub(super) struct Stuck {
    /// Operations placed.
    pub placed: usize,
    /// The node then, in words.
    pub state: String,
    /// Numbers of the answered operations one of which had to be next, the most urgent ones.
    pub operations: Vec<usize>,
}

/// Operations in a report of what is stuck.
const STUCK_SHOWN: usize = 8;

/// Looks for an order of `entries`, which are sorted by `from_us`.
pub(super) fn search(entries: &[Entry], configurations_limit: usize) -> Verdict {
    Search::new(entries).run(configurations_limit)
}

/// The end of a list, and its start.
const NONE: usize = usize::MAX;

/// Pending operations in the order of their calls, with constant time for taking one out and for
/// putting back the one that was taken out last.
struct Pending {
    next: Vec<usize>,
    previous: Vec<usize>,
    first: usize,
}

impl Pending {
    fn new(len: usize, members: impl Iterator<Item = usize>) -> Pending {
        let mut pending = Pending {
            next: vec![NONE; len],
            previous: vec![NONE; len],
            first: NONE,
        };
        let mut last = NONE;
        for member in members {
            pending.previous[member] = last;
            match last {
                NONE => pending.first = member,
                _ => pending.next[last] = member,
            }
            last = member;
        }
        pending
    }

    fn take(&mut self, member: usize) {
        let (previous, next) = (self.previous[member], self.next[member]);
        match previous {
            NONE => self.first = next,
            _ => self.next[previous] = next,
        }
        if next != NONE {
            self.previous[next] = previous;
        }
    }

    fn put_back(&mut self, member: usize) {
        let (previous, next) = (self.previous[member], self.next[member]);
        match previous {
            NONE => self.first = member,
            _ => self.next[previous] = member,
        }
        if next != NONE {
            self.previous[next] = member;
        }
    }
}

/// Which operation to try next: an answered one, or one of unknown outcome.
#[derive(Clone, Copy)]
enum Cursor {
    Answered(usize),
    Unknown(usize),
}

/// A placed operation, and how to go on when it is put back.
struct Frame {
    placed: usize,
    before: State,
    /// No other operation need be tried in its place.
    is_without_alternative: bool,
}

struct Search<'a> {
    entries: &'a [Entry],
    /// Answered operations.
    answered: Pending,
    /// Those of unknown outcome.
    unknown: Pending,
    /// Answered operations that are pending, by the time of their answer.
    deadlines: Pending,
    by_deadline: Vec<usize>,
    rank: Vec<usize>,
    state: State,
    /// Of the set of placed operations.
    fingerprint: u128,
    frames: Vec<Frame>,
    furthest: Option<Stuck>,
}

impl<'a> Search<'a> {
    fn new(entries: &'a [Entry]) -> Search<'a> {
        let len = entries.len();
        let is_answered = |index: &usize| entries[*index].until_us != NEVER;
        let mut by_deadline: Vec<usize> = (0..len).filter(is_answered).collect();
        by_deadline.sort_by_key(|index| entries[*index].until_us);
        let mut rank = vec![NONE; len];
        for (position, index) in by_deadline.iter().enumerate() {
            rank[*index] = position;
        }
        Search {
            entries,
            answered: Pending::new(len, (0..len).filter(is_answered)),
            unknown: Pending::new(len, (0..len).filter(|index| !is_answered(index))),
            deadlines: Pending::new(by_deadline.len(), 0..by_deadline.len()),
            by_deadline,
            rank,
            state: State::initial(),
            fingerprint: 0,
            frames: Vec::new(),
            furthest: None,
        }
    }

    fn run(mut self, configurations_limit: usize) -> Verdict {
        let mut visited: HashSet<u128> = HashSet::new();
        let mut cursor = Cursor::Answered(self.answered.first);
        while self.answered.first != NONE {
            match self.candidate(cursor) {
                Some((index, next)) => {
                    let placed = self.try_place(index, &mut visited);
                    cursor = if placed {
                        Cursor::Answered(self.answered.first)
                    } else {
                        self.following(next)
                    };
                    if visited.len() > configurations_limit {
                        return Verdict::Undecided;
                    }
                }
                None => match self.put_back() {
                    Some(next) => cursor = next,
                    None => {
                        let stuck = self.furthest.expect("a search that fails was stuck");
                        return Verdict::Impossible(stuck);
                    }
                },
            }
        }
        Verdict::Linearizable
    }

    /// The next operation to try from `cursor` on, and the cursor that stands on it. `None`: all
    /// were tried.
    fn candidate(&mut self, mut cursor: Cursor) -> Option<(usize, Cursor)> {
        let deadline_us = self.entries[self.by_deadline[self.deadlines.first]].until_us;
        loop {
            match cursor {
                Cursor::Answered(NONE) => cursor = Cursor::Unknown(self.unknown.first),
                Cursor::Answered(index) if self.entries[index].from_us > deadline_us => {
                    cursor = Cursor::Unknown(self.unknown.first);
                }
                Cursor::Answered(index) => return Some((index, cursor)),
                Cursor::Unknown(NONE) => break,
                Cursor::Unknown(index) if self.entries[index].from_us > deadline_us => break,
                Cursor::Unknown(index) if self.has_twin_before(index) => {
                    cursor = Cursor::Unknown(self.unknown.next[index]);
                }
                Cursor::Unknown(index) => return Some((index, cursor)),
            }
        }
        self.note_stuck();
        None
    }

    fn following(&self, cursor: Cursor) -> Cursor {
        match cursor {
            Cursor::Answered(index) => Cursor::Answered(self.answered.next[index]),
            Cursor::Unknown(index) => Cursor::Unknown(self.unknown.next[index]),
        }
    }

    /// Whether an operation of unknown outcome that does the same was called earlier and is pending.
    fn has_twin_before(&self, index: usize) -> bool {
        let mut earlier = self.unknown.previous[index];
        while earlier != NONE {
            if self.entries[earlier].step == self.entries[index].step {
                return true;
            }
            earlier = self.unknown.previous[earlier];
        }
        false
    }

    fn try_place(&mut self, index: usize, visited: &mut HashSet<u128>) -> bool {
        let step: &Step = &self.entries[index].step;
        let Some(after) = self.state.after(step) else {
            return false;
        };
        let fingerprint = self.fingerprint ^ key(index as u64 + 1);
        if !visited.insert(fingerprint ^ fingerprint_of(&after)) {
            return false;
        }
        let is_without_alternative = after == self.state && !step.may_change();
        let before = std::mem::replace(&mut self.state, after);
        self.fingerprint = fingerprint;
        if self.rank[index] == NONE {
            self.unknown.take(index);
        } else {
            self.answered.take(index);
            self.deadlines.take(self.rank[index]);
        }
        self.frames.push(Frame {
            placed: index,
            before,
            is_without_alternative,
        });
        true
    }

    /// Puts back the last operation that has alternatives, and those after it.
    fn put_back(&mut self) -> Option<Cursor> {
        loop {
            let frame = self.frames.pop()?;
            let index = frame.placed;
            self.state = frame.before;
            self.fingerprint ^= key(index as u64 + 1);
            let cursor = if self.rank[index] == NONE {
                self.unknown.put_back(index);
                Cursor::Unknown(index)
            } else {
                self.answered.put_back(index);
                self.deadlines.put_back(self.rank[index]);
                Cursor::Answered(index)
            };
            if !frame.is_without_alternative {
                return Some(self.following(cursor));
            }
        }
    }

    fn note_stuck(&mut self) {
        let placed = self.frames.len();
        if self
            .furthest
            .as_ref()
            .is_some_and(|stuck| stuck.placed >= placed)
        {
            return;
        }
        let mut operations = Vec::new();
        let mut position = self.deadlines.first;
        while position != NONE && operations.len() < STUCK_SHOWN {
            operations.push(self.entries[self.by_deadline[position]].number);
            position = self.deadlines.next[position];
        }
        self.furthest = Some(Stuck {
            placed,
            state: self.state.describe(),
            operations,
        });
    }
}

fn fingerprint_of(state: &State) -> u128 {
    state.words().fold(0, |hash: u128, word| {
        key(hash as u64 ^ word) ^ hash.rotate_left(41)
    })
}

/// 128 bits that look random.
fn key(number: u64) -> u128 {
    let low = mix(number);
    u128::from(low) | (u128::from(mix(low ^ 0xa076_1d64_78bd_642f)) << 64)
}

/// The finisher of splitmix64.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
