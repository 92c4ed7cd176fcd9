//! What each session may count on: its replies never go backwards, whichever members gave them.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::types::{SessionId, Zxid};

use super::lives::{Ends, owner};
use super::violation::describe;
use super::zxids::{Change, changes};
use super::{Call, ChangeKind, Operation, Outcome, Refusal, Violation};

/// Each session's operations in the order in which they were sent.
pub(super) fn in_order(operations: &[Operation]) -> BTreeMap<SessionId, Vec<usize>> {
    let mut sessions: BTreeMap<SessionId, Vec<usize>> = BTreeMap::new();
    for (number, operation) in operations.iter().enumerate() {
        if operation.session != SessionId::NONE {
            sessions.entry(operation.session).or_default().push(number);
        }
    }
    for numbers in sessions.values_mut() {
        numbers.sort_by_key(|number| operations[*number].invoked_us);
    }
    sessions
}

/// Looks through all sessions, what they were answered being in `operations`, and what was done in
/// `known`; `by_path` has the operations of each path.
pub(super) fn check(
    operations: &[Operation],
    known: &[Operation],
    by_path: &BTreeMap<&str, Vec<usize>>,
    ends: &Ends,
    violations: &mut Vec<Violation>,
) {
    let paths: BTreeMap<&str, Path> = by_path
        .iter()
        .map(|(path, numbers)| (*path, Path::of(known, numbers)))
        .collect();
    for (session, numbers) in in_order(operations) {
        let mut seen = Zxid::ZERO;
        for number in numbers {
            let operation = &operations[number];
            let Some(answer) = operation.answer() else {
                continue;
            };
            if matches!(operation.call, Call::Event(_)) {
                // It comes before the change, and `watches` looks at it.
                continue;
            }
            let is_older = answer.zxid.is_some_and(|zxid| zxid < seen);
            let lacks = paths
                .get(operation.path.as_str())
                .and_then(|path| path.lacking(operation, seen, ends));
            if is_older || lacks.is_some() {
                violations.push(Violation::Backwards {
                    session,
                    seen,
                    answer: describe(operations, number),
                    lacks: lacks.map(|change| describe(operations, change.number)),
                });
            }
            let told = answer.zxid.into_iter().chain(answer.mzxid);
            seen = told.fold(seen, Zxid::max);
        }
    }
}

struct Path<'a> {
    changes: BTreeMap<Zxid, Change<'a>>,
    /// After the change with this zxid no delete can have been done; `None` where one without a zxid can.
    last_delete: Option<Zxid>,
    has_no_ephemerals: bool,
    /// The creates, with whose end deletes the node; `None` where one may be unknown.
    owners: Option<BTreeMap<Zxid, Option<SessionId>>>,
}

impl Path<'_> {
    fn of<'a>(operations: &'a [Operation], numbers: &[usize]) -> Path<'a> {
        let mut last_delete = Some(Zxid::ZERO);
        let mut owners = Some(BTreeMap::new());
        for number in numbers {
            let operation = &operations[*number];
            if matches!(operation.call, Call::Create { .. })
                && !matches!(operation.outcome, Outcome::Refused(..))
            {
                let zxid = operation.write_zxid();
                owners = owners.zip(zxid).map(|(mut owners, zxid)| {
                    owners.insert(zxid, owner(operation));
                    owners
                });
            }
            if matches!(operation.call, Call::Delete { .. })
                && !matches!(operation.outcome, Outcome::Refused(..))
            {
                last_delete = last_delete
                    .zip(operation.write_zxid())
                    .map(|(last, zxid)| last.max(zxid));
            }
        }
        Path {
            changes: changes(operations, numbers),
            last_delete,
            has_no_ephemerals: numbers.iter().all(|n| owner(&operations[*n]).is_none()),
            owners,
        }
    }

    /// Whether no end of a session can have deleted the node as of `zxid` when this was asked.
    fn is_owner_alive(&self, zxid: Zxid, operation: &Operation, ends: &Ends) -> bool {
        let Some(owners) = &self.owners else {
            return self.has_no_ephemerals;
        };
        match owners.range(..=zxid).next_back() {
            Some((_, Some(owner))) => {
                let answered_us = operation.answer().map(|answer| answer.answered_us);
                *owner == operation.session
                    || ends
                        .get(owner)
                        .is_some_and(|end| Some(end.from_us) > answered_us)
            }
            _ => true,
        }
    }

    /// A change up to `seen` that a read's answer does not have in it.
    fn lacking(&self, operation: &Operation, seen: Zxid, ends: &Ends) -> Option<&Change<'_>> {
        if !matches!(operation.call, Call::Read { .. }) {
            return None;
        }
        match &operation.outcome {
            Outcome::Done(answer) => {
                let mzxid = answer.mzxid.filter(|mzxid| *mzxid < seen)?;
                let newer = (Bound::Excluded(mzxid), Bound::Included(seen));
                self.changes.range(newer).next().map(|(_, change)| change)
            }
            Outcome::Refused(Refusal::NoNode, _) => {
                let (zxid, change) = self.changes.range(..=seen).next_back()?;
                let must_be_there = change.kind != Some(ChangeKind::Deleted)
                    && self.last_delete? < *zxid
                    && self.is_owner_alive(*zxid, operation, ends);
                must_be_there.then_some(change)
            }
            _ => None,
        }
    }
}
