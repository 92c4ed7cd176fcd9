//! Multis: all parts were done at one moment, or none.
//!
//! Most of that is checked elsewhere, since a part's zxid is that of all: whoever has seen one of them
//! reads no state of another path that lacks its part. What is left is a multi without an answer. As
//! soon as somebody has read one of its parts all of them were done, with the zxid that the reader was
//! told, and before the reader had its answer.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use crate::types::Zxid;

use super::violation::describe;
use super::{Answer, Call, Operation, Outcome, Violation};

/// The parts of each multi, in the order of the history.
pub(super) fn parts(operations: &[Operation]) -> BTreeMap<u64, Vec<usize>> {
    let mut multis: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (number, operation) in operations.iter().enumerate() {
        if let Some(multi) = operation.multi {
            multis.entry(multi).or_default().push(number);
        }
    }
    multis
}

/// The history with those multis done of which a part was read. A multi that was done in part is a
/// violation.
pub(super) fn settle<'a>(
    operations: &'a [Operation],
    violations: &mut Vec<Violation>,
) -> Cow<'a, [Operation]> {
    let mut settled = Cow::Borrowed(operations);
    let multis = parts(operations);
    let seen = Seen::of(operations, &multis);
    for numbers in multis.values() {
        let told = match numbers.iter().any(|number| is_unknown(operations, *number)) {
            false => Vec::new(),
            true => seen.parts(operations, numbers),
        };
        if !is_one(operations, numbers, &told) {
            violations.push(Violation::Torn {
                parts: numbers.iter().map(|n| describe(operations, *n)).collect(),
                seen: told.iter().map(|(n, _)| describe(operations, *n)).collect(),
            });
        } else if let Some(answered_us) = told.iter().map(|(_, answer)| answer.answered_us).min() {
            let zxid = told.iter().find_map(|(_, answer)| answer.mzxid);
            for number in numbers {
                settled.to_mut()[*number].outcome = Outcome::Done(Answer {
                    answered_us,
                    zxid,
                    ..Answer::default()
                });
            }
        }
    }
    settled
}

fn is_unknown(operations: &[Operation], number: usize) -> bool {
    operations[number].outcome == Outcome::Unknown
}

/// Whether all parts came to the same, and whoever read of them read of one moment.
fn is_one(operations: &[Operation], numbers: &[usize], told: &[(usize, &Answer)]) -> bool {
    let first = &operations[numbers[0]];
    let agree = |number: &usize| {
        let other = &operations[*number];
        let zxids = first.write_zxid().zip(other.write_zxid());
        std::mem::discriminant(&first.outcome) == std::mem::discriminant(&other.outcome)
            && zxids.is_none_or(|(one, another)| one == another)
    };
    let mut zxids = told.iter().filter_map(|(_, answer)| answer.mzxid);
    let seen: Option<Zxid> = zxids.next();
    numbers.iter().all(agree) && zxids.all(|zxid| Some(zxid) == seen)
}

/// What parts without an answer wrote, by path and data.
struct Seen<'a> {
    values: HashMap<(&'a str, &'a str), Value<'a>>,
}

#[derive(Default)]
struct Value<'a> {
    /// How often it was written.
    times: usize,
    /// The answer that showed it first, with its number.
    first: Option<(usize, &'a Answer)>,
}

impl<'a> Seen<'a> {
    fn of(operations: &'a [Operation], multis: &BTreeMap<u64, Vec<usize>>) -> Seen<'a> {
        let unknown = multis
            .values()
            .flatten()
            .filter(|number| is_unknown(operations, **number));
        let mut values = HashMap::new();
        for number in unknown {
            if let Some(value) = written(&operations[*number]) {
                let path = operations[*number].path.as_str();
                values.insert((path, value), Value::default());
            }
        }
        let mut seen = Seen { values };
        for (number, operation) in operations.iter().enumerate() {
            seen.take(number, operation);
        }
        seen
    }

    fn take(&mut self, number: usize, operation: &'a Operation) {
        let path = operation.path.as_str();
        if let Some(value) = written(operation) {
            if let Some(known) = self.values.get_mut(&(path, value)) {
                known.times += 1;
            }
        } else if let Some(answer) = operation.done()
            && let Some(value) = answer.value.as_deref()
            && let Some(known) = self.values.get_mut(&(path, value))
            && known
                .first
                .is_none_or(|(_, earlier)| answer.answered_us < earlier.answered_us)
        {
            known.first = Some((number, answer));
        }
    }

    /// The parts of one multi that somebody has read, if nothing else wrote the same.
    fn parts(&self, operations: &[Operation], numbers: &[usize]) -> Vec<(usize, &'a Answer)> {
        numbers
            .iter()
            .filter_map(|number| {
                let part = &operations[*number];
                let known = self.values.get(&(part.path.as_str(), written(part)?))?;
                known.first.filter(|_| known.times == 1)
            })
            .collect()
    }
}

fn written(operation: &Operation) -> Option<&str> {
    match &operation.call {
        Call::Create { value, .. } | Call::Set { value, .. } => Some(value),
        _ => None,
    }
}
