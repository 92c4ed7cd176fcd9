//! What zxids and versions tell without a search.

use std::collections::{BTreeMap, HashSet};

use crate::types::Zxid;

use super::violation::describe;
use super::{Call, ChangeKind, Operation, Outcome, Violation};

/// A change of one node that a client was told of.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    /// Who was told: the first one in the history.
    pub number: usize,
    /// What it did, and what the node is after it; `None` where nobody was told.
    pub kind: Option<ChangeKind>,
    value: Option<&'a str>,
    version: Option<i32>,
}

impl<'a> Change<'a> {
    /// Whether it cannot be the same change.
    fn contradicts(&self, other: &Change<'_>) -> bool {
        differ(self.kind, other.kind)
            || differ(self.value, other.value)
            || differ(self.version, other.version)
    }

    /// Takes over what only another one was told of it.
    fn learn(&mut self, other: &Change<'a>) {
        self.kind = self.kind.or(other.kind);
        self.value = self.value.or(other.value);
        self.version = self.version.or(other.version);
    }
}

/// All changes of one path of which a client was told, by their zxids.
pub(super) fn changes<'a>(
    operations: &'a [Operation],
    numbers: &[usize],
) -> BTreeMap<Zxid, Change<'a>> {
    let mut changes: BTreeMap<Zxid, Change<'a>> = BTreeMap::new();
    for number in numbers {
        if let Some((zxid, change)) = told(operations, *number) {
            changes.entry(zxid).or_insert(change).learn(&change);
        }
    }
    changes
}

/// The change that an answer tells of.
fn told(operations: &[Operation], number: usize) -> Option<(Zxid, Change<'_>)> {
    let operation = &operations[number];
    let answer = operation.done()?;
    let (zxid, kind, value, version) = match &operation.call {
        Call::Create { value, .. } => {
            let kind = ChangeKind::Created;
            (answer.zxid?, Some(kind), Some(value.as_str()), Some(0))
        }
        Call::Set { value, .. } => {
            let kind = ChangeKind::Changed;
            (
                answer.zxid?,
                Some(kind),
                Some(value.as_str()),
                answer.version,
            )
        }
        Call::Delete { .. } => (answer.zxid?, Some(ChangeKind::Deleted), None, None),
        Call::Read { .. } => {
            let kind = answer.version.map(|version| match version {
                0 => ChangeKind::Created,
                _ => ChangeKind::Changed,
            });
            (answer.mzxid?, kind, answer.value.as_deref(), answer.version)
        }
        Call::Event(kind) => {
            let version = (*kind == ChangeKind::Created).then_some(0);
            (answer.zxid?, Some(*kind), None, version)
        }
        Call::Sync | Call::Watch | Call::Connect | Call::End => return None,
    };
    let change = Change {
        number,
        kind,
        value,
        version,
    };
    Some((zxid, change))
}

/// Over all paths: no zxid stands for two writes, and the order of zxids is that of time.
/// `fresh_from`: from when on a read must be up to date.
pub(super) fn check_order(
    operations: &[Operation],
    fresh_from: &[Option<u64>],
    violations: &mut Vec<Violation>,
) {
    check_unique(operations, violations);
    // Whoever was told of a zxid, at that time there was no newer one to come.
    let mut told: Vec<(u64, Zxid, usize)> = Vec::new();
    // What was called at a time, and the least zxid that it may have if another one was told before.
    let mut bound: Vec<(u64, Zxid, usize)> = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        let Some(answer) = operation.answer() else {
            continue;
        };
        let newest = answer.zxid.into_iter().chain(answer.mzxid).max();
        told.extend(newest.map(|zxid| (answer.answered_us, zxid, number)));
        if let Some(zxid) = operation.write_zxid() {
            bound.push((operation.invoked_us, Zxid(zxid.0 - 1), number));
        } else if let (Some(from_us), Some(zxid)) = (fresh_from[number], answer.zxid) {
            bound.push((from_us, zxid, number));
        }
    }
    told.sort_unstable();
    bound.sort_unstable();
    let mut told = told.into_iter().peekable();
    let mut newest: Option<(Zxid, usize)> = None;
    for (from_us, zxid, number) in bound {
        while let Some((_, earlier, by)) = told.next_if(|(at_us, ..)| *at_us < from_us) {
            newest = newest.max(Some((earlier, by)));
        }
        if let Some((_, by)) = newest.filter(|(earlier, _)| *earlier > zxid) {
            violations.push(Violation::AgainstTime {
                first: describe(operations, by),
                second: describe(operations, number),
            });
        }
    }
}

fn check_unique(operations: &[Operation], violations: &mut Vec<Violation>) {
    let mut writers: BTreeMap<Zxid, usize> = BTreeMap::new();
    for (number, operation) in operations.iter().enumerate() {
        let Some(zxid) = operation.write_zxid() else {
            continue;
        };
        let first = *writers.entry(zxid).or_insert(number);
        let other = &operations[first];
        let are_one =
            first == number || operation.multi.is_some() && other.multi == operation.multi;
        if !are_one {
            violations.push(Violation::OneZxid {
                zxid,
                writes: [describe(operations, first), describe(operations, number)],
            });
        }
    }
}

/// One path: all who were told of a change were told the same, and versions grow by the writes that
/// were done.
pub(super) fn check_path(
    operations: &[Operation],
    numbers: &[usize],
    violations: &mut Vec<Violation>,
) {
    let changes = changes(operations, numbers);
    for number in numbers {
        let Some((zxid, seen)) = told(operations, *number) else {
            continue;
        };
        if !changes[&zxid].contradicts(&seen) {
            continue;
        }
        let mut earlier = numbers
            .iter()
            .filter_map(|number| told(operations, *number));
        let first = earlier.find(|(at, other)| *at == zxid && other.contradicts(&seen));
        if let Some((_, first)) = first {
            violations.push(Violation::Contradiction {
                first: describe(operations, first.number),
                second: describe(operations, *number),
            });
        }
    }
    if all_lives_are_known(operations, numbers) {
        check_versions(operations, numbers, &changes, violations);
    }
}

fn differ<T: PartialEq>(first: Option<T>, second: Option<T>) -> bool {
    first
        .zip(second)
        .is_some_and(|(first, second)| first != second)
}

/// Whether each create and delete that was done has a zxid, and none is of unknown outcome, nor can be
/// the end of a session.
fn all_lives_are_known(operations: &[Operation], numbers: &[usize]) -> bool {
    numbers.iter().all(|number| {
        let operation = &operations[*number];
        match operation.call {
            Call::Create {
                is_ephemeral: true, ..
            } => matches!(operation.outcome, Outcome::Refused(..)),
            Call::Create { .. } | Call::Delete { .. } => {
                matches!(operation.outcome, Outcome::Refused(..))
                    || operation.write_zxid().is_some()
            }
            _ => true,
        }
    })
}

fn check_versions(
    operations: &[Operation],
    numbers: &[usize],
    changes: &BTreeMap<Zxid, Change>,
    violations: &mut Vec<Violation>,
) {
    let mut unseen = 0;
    let mut before: Option<(&Change, i32)> = None;
    for change in changes.values() {
        let now = change.version.map(|version| (change, version));
        if let (Some((earlier, old)), Some((_, new))) = (before, now)
            && change.kind != Some(ChangeKind::Created)
        {
            if new <= old {
                violations.push(Violation::Lost {
                    first: describe(operations, earlier.number),
                    second: describe(operations, change.number),
                });
            }
            unseen += i64::from(new) - i64::from(old) - 1;
        }
        before = now;
    }
    let seen: HashSet<&str> = changes.values().filter_map(|change| change.value).collect();
    let possible = numbers
        .iter()
        .map(|number| &operations[*number])
        .filter(|operation| match (&operation.call, &operation.outcome) {
            (Call::Set { value, .. }, Outcome::Unknown) => !seen.contains(value.as_str()),
            // Done, but its reply's zxid was not recorded.
            (Call::Set { value, .. }, Outcome::Done(answer)) => {
                answer.zxid.is_none() && !seen.contains(value.as_str())
            }
            _ => false,
        })
        .count() as i64;
    if unseen > possible {
        violations.push(Violation::Doubled {
            path: operations[numbers[0]].path.clone(),
            too_many: unseen - possible,
        });
    }
}
