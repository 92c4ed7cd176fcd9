//! One path's operations as steps of a node's life, for the search.

use std::collections::{BTreeMap, HashMap};

use crate::types::{SessionId, Zxid};

use super::lives::{Ends, owner};
use super::{Answer, Call, Operation, Outcome, Refusal};

/// Never answered: may take effect at any time after its call.
pub(super) const NEVER: u64 = u64::MAX;

/// The data of a node, numbered; 0 stands for all that no read has seen.
type ValueId = u32;

/// No read has seen it, so nobody can tell it from others.
const UNSEEN: ValueId = 0;

/// One operation as the search sees it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The operation's place in the history.
    pub number: usize,
    /// It takes effect at this time or later.
    pub from_us: u64,
    /// And at this time or earlier; [`NEVER`]: later or not at all.
    pub until_us: u64,
    /// What it does.
    pub step: Step,
}

/// What an operation does with the node, and what its answer says of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Create {
        value: ValueId,
        zxid: Option<Zxid>,
        /// The session whose end deletes it.
        owner: Option<SessionId>,
    },
    Set {
        value: ValueId,
        expected: Option<i32>,
        version: Option<i32>,
        zxid: Option<Zxid>,
    },
    Delete {
        expected: Option<i32>,
        zxid: Option<Zxid>,
    },
    Found {
        value: Option<ValueId>,
        version: Option<i32>,
        mzxid: Option<Zxid>,
    },
    IsAbsent,
    IsPresent,
    HasOtherVersion(i32),
    /// A session ends, and with it the node if it is its ephemeral.
    End {
        session: SessionId,
        /// Whether a create of its own could be placed behind it, which must not be.
        is_final: bool,
    },
}

impl Step {
    /// Whether it leaves another state behind than it finds, here or elsewhere.
    pub fn may_change(&self) -> bool {
        matches!(
            self,
            Step::Create { .. } | Step::Set { .. } | Step::Delete { .. } | Step::End { .. }
        )
    }
}

/// A node, or its absence, and what is known of the zxids so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    node: Option<Node>,
    /// All zxids from here on are newer.
    floor: Zxid,
    /// Sessions that create nothing any more, as far as that has to be known.
    ended: Vec<SessionId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    value: ValueId,
    version: i32,
    /// Unknown after a write without an answer, until a read tells.
    mzxid: Option<Zxid>,
    owner: Option<SessionId>,
}

impl State {
    /// Before the history.
    pub fn initial() -> State {
        State {
            node: None,
            floor: Zxid::ZERO,
            ended: Vec::new(),
        }
    }

    /// The state after `step`, or `None` if it cannot be taken here with the answer that it had.
    pub fn after(&self, step: &Step) -> Option<State> {
        match (step, &self.node) {
            (Step::Create { value, zxid, owner }, None) => owner
                .is_none_or(|owner| !self.ended.contains(&owner))
                .then(|| self.changed(*zxid, Some((*value, 0, *owner))))
                .flatten(),
            (
                Step::Set {
                    value,
                    expected,
                    version,
                    zxid,
                },
                Some(node),
            ) => {
                let next = node.version.wrapping_add(1);
                let agrees = expected.is_none_or(|expected| expected == node.version)
                    && version.is_none_or(|version| version == next);
                agrees
                    .then(|| self.changed(*zxid, Some((*value, next, node.owner))))
                    .flatten()
            }
            (Step::Delete { expected, zxid }, Some(node)) => expected
                .is_none_or(|expected| expected == node.version)
                .then(|| self.changed(*zxid, None))
                .flatten(),
            (
                Step::Found {
                    value,
                    version,
                    mzxid,
                },
                Some(node),
            ) => {
                let agrees = value.is_none_or(|value| value == node.value)
                    && version.is_none_or(|version| version == node.version);
                agrees.then(|| self.learned(node, *mzxid)).flatten()
            }
            (Step::IsAbsent, None) | (Step::IsPresent, Some(_)) => Some(self.clone()),
            (Step::HasOtherVersion(version), Some(node)) if node.version != *version => {
                Some(self.clone())
            }
            (Step::End { session, is_final }, _) => Some(self.without(*session, *is_final)),
            _ => None,
        }
    }

    fn without(&self, session: SessionId, is_final: bool) -> State {
        let mut after = self.clone();
        after.node.take_if(|node| node.owner == Some(session));
        if is_final {
            after.ended.push(session);
            after.ended.sort_unstable();
        }
        after
    }

    fn changed(
        &self,
        zxid: Option<Zxid>,
        node: Option<(ValueId, i32, Option<SessionId>)>,
    ) -> Option<State> {
        if zxid.is_some_and(|zxid| zxid <= self.floor) {
            return None;
        }
        Some(State {
            node: node.map(|(value, version, owner)| Node {
                value,
                version,
                mzxid: zxid,
                owner,
            }),
            floor: zxid.unwrap_or(self.floor),
            ended: self.ended.clone(),
        })
    }

    fn learned(&self, node: &Node, mzxid: Option<Zxid>) -> Option<State> {
        let Some(told) = mzxid else {
            return Some(self.clone());
        };
        match node.mzxid {
            Some(known) => (known == told).then(|| self.clone()),
            None if told > self.floor => Some(State {
                node: Some(Node {
                    mzxid,
                    ..node.clone()
                }),
                floor: told,
                ended: self.ended.clone(),
            }),
            None => None,
        }
    }

    /// All of it as numbers, for a fingerprint.
    pub fn words(&self) -> impl Iterator<Item = u64> {
        let (value, version, mzxid, owner) = match &self.node {
            None => (u64::MAX, 0, 0, 0),
            Some(node) => (
                u64::from(node.value),
                node.version as u64,
                // Zxids are positive, so -1 is none.
                node.mzxid.map_or(-1, |zxid| zxid.0) as u64,
                node.owner.map_or(0, |owner| owner.0) as u64,
            ),
        };
        let ended = self.ended.iter().map(|session| session.0 as u64);
        let node = [value, version, mzxid, owner, self.floor.0 as u64];
        node.into_iter().chain(ended)
    }

    /// In words, for reports.
    pub fn describe(&self) -> String {
        match &self.node {
            None => format!("absent, its last known zxid {}", self.floor),
            Some(node) => format!(
                "there{} with version {} and {}",
                node.owner
                    .map_or_else(String::new, |owner| format!(", of session {owner},")),
                node.version,
                node.mzxid.map_or_else(
                    || "a zxid that nobody saw".to_owned(),
                    |zxid| format!("mzxid {zxid}")
                )
            ),
        }
    }
}

/// The entries of one path, in the order of their calls: its writes, its reads with a time in
/// `fresh_from`, which begin there, and the ends of sessions that have ephemerals there.
pub(super) fn entries(
    operations: &[Operation],
    numbers: &[usize],
    fresh_from: &[Option<u64>],
    ends: &Ends,
) -> Vec<Entry> {
    let values = Values::of(operations, numbers);
    let mut entries: Vec<Entry> = numbers
        .iter()
        .filter_map(|number| {
            let operation = &operations[*number];
            let from_us = match operation.call {
                Call::Read { .. } => fresh_from[*number]?,
                _ => operation.invoked_us,
            };
            Some(Entry {
                number: *number,
                from_us,
                until_us: operation
                    .answer()
                    .map_or(NEVER, |answer| answer.answered_us),
                step: step(operation, &values)?,
            })
        })
        .collect();
    let owners = entries.iter().filter_map(|entry| match entry.step {
        Step::Create { owner, .. } => Some((owner?, entry.until_us)),
        _ => None,
    });
    // Until when the last create of each session may be done.
    let mut last_us: BTreeMap<SessionId, u64> = BTreeMap::new();
    for (owner, until_us) in owners {
        let last_us = last_us.entry(owner).or_default();
        *last_us = until_us.max(*last_us);
    }
    entries.extend(last_us.into_iter().filter_map(|(session, last_us)| {
        let end = ends.get(&session)?;
        Some(Entry {
            number: end.number,
            from_us: end.from_us,
            until_us: end.until_us,
            step: Step::End {
                session,
                is_final: last_us >= end.from_us,
            },
        })
    }));
    entries.sort_by_key(|entry| entry.from_us);
    entries
}

/// `None` where the outcome says nothing about the node.
fn step(operation: &Operation, values: &Values) -> Option<Step> {
    let answer = match &operation.outcome {
        Outcome::Refused(refusal, _) => return refused(&operation.call, *refusal),
        Outcome::Done(answer) => answer.clone(),
        Outcome::Unknown => values.told_of(operation),
    };
    Some(match &operation.call {
        Call::Create { value, .. } => Step::Create {
            value: values.id(value),
            zxid: answer.zxid,
            owner: owner(operation),
        },
        Call::Set {
            value,
            expected_version,
        } => Step::Set {
            value: values.id(value),
            expected: *expected_version,
            version: answer.version,
            zxid: answer.zxid,
        },
        Call::Delete { expected_version } => Step::Delete {
            expected: *expected_version,
            zxid: answer.zxid,
        },
        Call::Read { .. } => Step::Found {
            value: answer.value.as_ref().map(|value| values.id(value)),
            version: answer.version,
            mzxid: answer.mzxid,
        },
        Call::Sync | Call::Watch | Call::Event(_) | Call::Connect | Call::End => return None,
    })
}

fn refused(call: &Call, refusal: Refusal) -> Option<Step> {
    match (refusal, call) {
        (Refusal::NoNode, Call::Create { .. }) => None,
        (Refusal::NoNode, _) => Some(Step::IsAbsent),
        (Refusal::NodeExists, _) => Some(Step::IsPresent),
        (
            Refusal::BadVersion,
            Call::Set {
                expected_version: Some(version),
                ..
            }
            | Call::Delete {
                expected_version: Some(version),
            },
        ) => Some(Step::HasOtherVersion(*version)),
        (Refusal::BadVersion, _) => Some(Step::IsPresent),
        (Refusal::Other, _) => None,
    }
}

/// The data that reads have seen, and what they saw with it.
struct Values<'a> {
    seen: HashMap<&'a str, (ValueId, &'a Answer)>,
    /// How many writes wrote it.
    written: HashMap<&'a str, u32>,
}

impl<'a> Values<'a> {
    fn of(operations: &'a [Operation], numbers: &[usize]) -> Values<'a> {
        let mut values = Values {
            seen: HashMap::new(),
            written: HashMap::new(),
        };
        for number in numbers {
            let operation = &operations[*number];
            match &operation.call {
                Call::Create { value, .. } | Call::Set { value, .. } => {
                    *values.written.entry(value).or_default() += 1;
                }
                Call::Read { .. } => {
                    let answer = operation.done();
                    if let Some((answer, value)) =
                        answer.and_then(|answer| Some((answer, answer.value.as_ref()?)))
                    {
                        let id = values.seen.len() as ValueId + 1;
                        values.seen.entry(value).or_insert((id, answer));
                    }
                }
                _ => {}
            }
        }
        values
    }

    fn id(&self, value: &str) -> ValueId {
        self.seen.get(value).map_or(UNSEEN, |(id, _)| *id)
    }

    /// What reads tell of a write without an answer, if its value is its own.
    fn told_of(&self, operation: &Operation) -> Answer {
        let (Call::Create { value, .. } | Call::Set { value, .. }) = &operation.call else {
            return Answer::default();
        };
        match self.seen.get(value.as_str()) {
            Some((_, answer)) if self.written.get(value.as_str()) == Some(&1) => Answer {
                zxid: answer.mzxid,
                version: answer.version,
                ..Answer::default()
            },
            _ => Answer::default(),
        }
    }
}
