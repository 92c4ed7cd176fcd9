//! Watches: each fires at the first change after it was set, before its session sees that change in any
//! other way, and for nothing else. A persistent one then waits for the next change, others are over. One
//! event is that of both.
//!
//! Of a session the order counts in which its client received replies and events. A connection that
//! was made anew has told the server of all watches, and was told what they missed, before anything
//! else was asked; but that a node came and went meanwhile nobody is told, nor what persistent
//! watches missed.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::types::{SessionId, Zxid};

use super::lives::owner;
use super::violation::describe;
use super::zxids::{Change, changes};
use super::{Call, ChangeKind, Operation, Outcome, Refusal, Violation};

/// Looks through all sessions, what they were answered being in `operations`, and what was done in
/// `known`; `by_path` has the operations of each path.
pub(super) fn check(
    operations: &[Operation],
    known: &[Operation],
    by_path: &BTreeMap<&str, Vec<usize>>,
    violations: &mut Vec<Violation>,
) {
    let mut paths: BTreeMap<&str, Path> = BTreeMap::new();
    for operation in operations {
        if operation.is_about_watches() {
            let path = operation.path.as_str();
            let numbers = &by_path[path];
            paths
                .entry(path)
                .or_insert_with(|| Path::of(known, numbers));
        }
    }
    for (session, numbers) in as_received(operations) {
        let mut watcher = Watcher {
            session,
            operations,
            paths: &paths,
            seen: Zxid::ZERO,
            once: BTreeMap::new(),
            lasting: BTreeMap::new(),
        };
        for number in numbers {
            watcher.take(number, violations);
        }
    }
}

/// What each session's client received, in that order.
fn as_received(operations: &[Operation]) -> BTreeMap<SessionId, Vec<usize>> {
    let mut sessions: BTreeMap<SessionId, Vec<(u64, usize)>> = BTreeMap::new();
    for (number, operation) in operations.iter().enumerate() {
        if let Some(answer) = operation.answer()
            && operation.session != SessionId::NONE
        {
            let received = sessions.entry(operation.session).or_default();
            received.push((answer.answered_us, number));
        }
    }
    let sorted = |mut received: Vec<(u64, usize)>| {
        received.sort_unstable();
        received.into_iter().map(|(_, number)| number).collect()
    };
    let sessions = sessions.into_iter();
    sessions
        .map(|(id, received)| (id, sorted(received)))
        .collect()
}

/// What a path can have been.
struct Path<'a> {
    changes: BTreeMap<Zxid, Change<'a>>,
    /// The zxids of writes whose clients were told.
    written: Vec<Zxid>,
    /// There may be changes that nobody was told of: writes without an answer, ends of sessions.
    has_hidden: bool,
    /// And deletes among them.
    has_hidden_deletes: bool,
}

impl<'a> Path<'a> {
    fn of(known: &'a [Operation], numbers: &[usize]) -> Path<'a> {
        let mut path = Path {
            changes: changes(known, numbers),
            written: Vec::new(),
            has_hidden: false,
            has_hidden_deletes: false,
        };
        for number in numbers {
            let write = &known[*number];
            if !write.call.is_write() || matches!(write.outcome, Outcome::Refused(..)) {
                continue;
            }
            let zxid = write.write_zxid();
            path.written.extend(zxid);
            let is_ephemeral = owner(write).is_some();
            let is_delete = matches!(write.call, Call::Delete { .. });
            path.has_hidden |= zxid.is_none() || is_ephemeral;
            path.has_hidden_deletes |= is_delete && zxid.is_none() || is_ephemeral;
        }
        path
    }

    /// The known changes after `since` up to `seen`.
    fn between(&self, since: Zxid, seen: Zxid) -> impl DoubleEndedIterator<Item = &Change<'a>> {
        let range = (Bound::Excluded(since), Bound::Included(seen.max(since)));
        let is_empty = seen <= since;
        let found = self.changes.range(range).filter(move |_| !is_empty);
        found.map(|(_, change)| change)
    }

    /// Whether there may have been a change with this zxid, or any after `since`.
    fn may_have(&self, zxid: Option<Zxid>, since: Zxid) -> bool {
        self.has_hidden
            || match zxid {
                Some(zxid) => self.written.contains(&zxid),
                None => self.written.iter().any(|written| *written > since),
            }
    }
}

/// A watch that is set.
#[derive(Clone, Copy)]
struct Armed {
    number: usize,
    /// Changes up to this one were there when it was set, or have been told.
    since: Zxid,
    is_of_absent: bool,
}

/// One session.
struct Watcher<'a> {
    session: SessionId,
    operations: &'a [Operation],
    paths: &'a BTreeMap<&'a str, Path<'a>>,
    seen: Zxid,
    once: BTreeMap<&'a str, Armed>,
    /// Persistent ones.
    lasting: BTreeMap<&'a str, Armed>,
}

impl Watcher<'_> {
    fn take(&mut self, number: usize, violations: &mut Vec<Violation>) {
        let operation = &self.operations[number];
        match operation.call {
            Call::Event(_) => violations.extend(self.event(number)),
            Call::End => {
                self.once.clear();
                self.lasting.clear();
            }
            _ => {
                let answer = operation.answer().expect("only what was received");
                let told = answer.zxid.into_iter().chain(answer.mzxid);
                self.seen = told.fold(self.seen, Zxid::max);
                if operation.call == Call::Connect {
                    self.connected();
                }
                self.must_have_fired(number, violations);
                self.arm(number);
            }
        }
    }

    fn event(&mut self, number: usize) -> Option<Violation> {
        let operation = &self.operations[number];
        let name = operation.path.as_str();
        let path = &self.paths[name];
        let zxid = operation.answer().and_then(|answer| answer.zxid);
        // One without a zxid is told on a new connection, which tells persistent ones nothing.
        let lasting = self.lasting.get_mut(name).zip(zxid);
        let lasting = lasting.map(|(lasting, zxid)| {
            let since = lasting.since.max(zxid);
            std::mem::replace(lasting, Armed { since, ..*lasting })
        });
        let watches = [self.once.remove(name), lasting];
        let earlier = zxid.map(|zxid| Zxid(zxid.0 - 1)).unwrap_or_default();
        let mut is_caused = false;
        for watch in watches.iter().flatten() {
            if let Some(change) = path.between(watch.since, earlier).next() {
                return Some(self.missed(watch, change, number));
            }
            let is_old = zxid.is_some_and(|zxid| zxid <= watch.since);
            is_caused |= !is_old && path.may_have(zxid, watch.since);
        }
        (!is_caused).then(|| self.causeless(number, watches.iter().flatten().next()))
    }

    /// What the server does not tell on a new connection.
    fn connected(&mut self) {
        let seen = self.seen;
        for (name, watch) in &mut self.once {
            let path = &self.paths[name];
            let last = path.between(watch.since, seen).next_back();
            let may_be_gone = last.is_some_and(|last| {
                last.kind == Some(ChangeKind::Deleted) || path.has_hidden_deletes
            });
            if watch.is_of_absent && may_be_gone {
                watch.since = seen;
            }
        }
        for watch in self.lasting.values_mut() {
            watch.since = watch.since.max(seen);
        }
    }

    /// A reply has come: every change that the session has seen now must have been told before.
    fn must_have_fired(&mut self, number: usize, violations: &mut Vec<Violation>) {
        for (name, watch) in self.once.iter().chain(&self.lasting) {
            let first = self.paths[name].between(watch.since, self.seen).next();
            violations.extend(first.map(|change| self.missed(watch, change, number)));
        }
        // Each is reported once.
        let (paths, seen) = (self.paths, self.seen);
        let is_told = |name: &str, watch: &Armed| {
            let mut missed = paths[name].between(watch.since, seen);
            missed.next().is_none()
        };
        self.once.retain(|name, watch| is_told(name, watch));
        self.lasting.retain(|name, watch| is_told(name, watch));
    }

    fn arm(&mut self, number: usize) {
        let operation = &self.operations[number];
        let watches = match operation.call {
            Call::Read { is_watching: true } => &mut self.once,
            Call::Watch => &mut self.lasting,
            _ => return,
        };
        let (answer, is_of_absent) = match &operation.outcome {
            Outcome::Done(answer) => (answer, false),
            Outcome::Refused(Refusal::NoNode, answer) => (answer, true),
            _ => return,
        };
        let since = answer.mzxid.or(answer.zxid).unwrap_or(self.seen);
        // Set twice it is one watch.
        watches.entry(&operation.path).or_insert(Armed {
            number,
            since,
            is_of_absent,
        });
    }

    fn missed(&self, watch: &Armed, change: &Change<'_>, by: usize) -> Violation {
        Violation::Missed {
            session: self.session,
            watch: describe(self.operations, watch.number),
            change: describe(self.operations, change.number),
            before: describe(self.operations, by),
        }
    }

    fn causeless(&self, event: usize, watch: Option<&Armed>) -> Violation {
        Violation::Causeless {
            event: describe(self.operations, event),
            watch: watch.map(|watch| describe(self.operations, watch.number)),
        }
    }
}
