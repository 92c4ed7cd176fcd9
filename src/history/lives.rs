//! When sessions ended, as far as their clients can tell: no earlier than what they were answered last,
//! and no later than they were told.

use std::collections::BTreeMap;

use crate::types::SessionId;

use super::model::NEVER;
use super::{Call, Operation, Outcome, Refusal};

/// The end of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// The operation that tells of it: its end or, where that is not known, what was answered last.
    pub number: usize,
    /// It came at this time or later.
    pub from_us: u64,
    /// And at this time or earlier; [`NEVER`]: later or not at all.
    pub until_us: u64,
}

pub(super) type Ends = BTreeMap<SessionId, End>;

/// The end of each session.
pub(super) fn ends(operations: &[Operation]) -> Ends {
    let mut ends: Ends = BTreeMap::new();
    for (number, operation) in operations.iter().enumerate() {
        let is_end = operation.call == Call::End;
        if operation.session == SessionId::NONE || !(is_end || shows_life(operation)) {
            continue;
        }
        let end = ends.entry(operation.session).or_insert(End {
            number,
            from_us: 0,
            until_us: NEVER,
        });
        if is_end {
            let told = operation.done().map(|answer| answer.answered_us);
            end.until_us = end.until_us.min(told.unwrap_or(NEVER));
        }
        if operation.invoked_us >= end.from_us {
            end.from_us = operation.invoked_us;
            end.number = number;
        }
    }
    ends
}

/// Whether the session lived when it was called. An error that says nothing of a node may say that
/// the session is over.
fn shows_life(operation: &Operation) -> bool {
    match &operation.outcome {
        Outcome::Done(_) => !matches!(operation.call, Call::Event(_)),
        Outcome::Refused(refusal, _) => *refusal != Refusal::Other,
        Outcome::Unknown => false,
    }
}

/// The session whose end deletes what this operation creates.
pub(super) fn owner(operation: &Operation) -> Option<SessionId> {
    match operation.call {
        Call::Create {
            is_ephemeral: true, ..
        } => Some(operation.session),
        _ => None,
    }
}
