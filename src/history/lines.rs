//! Reading a history from JSON lines.

use std::collections::HashMap;
use std::io::BufRead;

use serde::Deserialize;
use thiserror::Error;

use crate::types::{SessionId, Zxid};

use super::{Answer, Call, ChangeKind, History, Operation, Outcome, Refusal};

/// Operations in a history, at most.
const OPERATIONS_MAX: usize = 10_000_000;

/// Why a history cannot be read.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The file cannot be read.
    #[error("line {line}: {source}")]
    Read {
        /// Counted from 1.
        line: usize,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line is not an operation.
    #[error("line {line}: not an operation: {source}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A line contradicts itself.
    #[error("line {line}: {why}")]
    Senseless {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There are too many lines.
    #[error("more than {OPERATIONS_MAX} operations")]
    TooLong,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    process: u64,
    #[serde(default)]
    session: i64,
    #[serde(default)]
    server: String,
    op: Op,
    #[serde(default)]
    path: String,
    #[serde(default)]
    ephemeral: bool,
    #[serde(default)]
    watch: bool,
    event: Option<Event>,
    multi: Option<u64>,
    value: Option<String>,
    expected: Option<i32>,
    outcome: String,
    invoked_us: u64,
    answered_us: Option<u64>,
    zxid: Option<i64>,
    mzxid: Option<i64>,
    version: Option<i32>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Op {
    Create,
    Set,
    Delete,
    Read,
    Sync,
    Watch,
    Event,
    Connect,
    End,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Event {
    Created,
    Changed,
    Deleted,
}

/// Reads a history, one operation a line, in the form that the module describes.
pub fn read_lines(input: impl BufRead) -> Result<History, HistoryError> {
    let mut history = History::default();
    let mut multis = HashMap::new();
    for (index, text) in input.lines().enumerate() {
        let line = index + 1;
        let text = text.map_err(|source| HistoryError::Read { line, source })?;
        if index >= OPERATIONS_MAX {
            return Err(HistoryError::TooLong);
        }
        let parsed: Line =
            serde_json::from_str(&text).map_err(|source| HistoryError::Syntax { line, source })?;
        let operation = parsed
            .operation()
            .map_err(|why| HistoryError::Senseless { line, why })?;
        check_part(&operation, &mut multis).map_err(|why| HistoryError::Senseless { line, why })?;
        history.operations.push(operation);
    }
    Ok(history)
}

/// The client and the time of the call of each multi, and the paths of its parts.
type Multis = HashMap<u64, (u64, u64, Vec<String>)>;

/// Whether this can be the next part of its multi.
fn check_part(operation: &Operation, multis: &mut Multis) -> Result<(), &'static str> {
    let Some(multi) = operation.multi else {
        return Ok(());
    };
    let caller = (operation.process, operation.invoked_us);
    let (process, invoked_us, paths) = multis
        .entry(multi)
        .or_insert_with(|| (caller.0, caller.1, Vec::new()));
    if !operation.call.is_write() {
        return Err("a part of a multi is a write");
    }
    if (*process, *invoked_us) != caller {
        return Err("the parts of a multi have one client and one time of their call");
    }
    if paths.contains(&operation.path) {
        return Err("the parts of a multi have different paths");
    }
    paths.push(operation.path.clone());
    Ok(())
}

impl Line {
    fn operation(self) -> Result<Operation, &'static str> {
        let written = || self.value.clone().ok_or("a write needs its value");
        let call = match self.op {
            Op::Create => Call::Create {
                value: written()?,
                is_ephemeral: self.ephemeral,
            },
            Op::Set => Call::Set {
                value: written()?,
                expected_version: self.expected,
            },
            Op::Delete => Call::Delete {
                expected_version: self.expected,
            },
            Op::Read => Call::Read {
                is_watching: self.watch,
            },
            Op::Sync => Call::Sync,
            Op::Event => Call::Event(match self.event.ok_or("an event needs its kind")? {
                Event::Created => ChangeKind::Created,
                Event::Changed => ChangeKind::Changed,
                Event::Deleted => ChangeKind::Deleted,
            }),
            Op::Watch => Call::Watch,
            Op::Connect => Call::Connect,
            Op::End => Call::End,
        };
        if call.is_of_node() && self.path.is_empty() {
            return Err("it needs the path of its node");
        }
        if self.ephemeral && self.session == SessionId::NONE.0 {
            return Err("an ephemeral needs its session");
        }
        let outcome = self.outcome()?;
        Ok(Operation {
            process: self.process,
            session: SessionId(self.session),
            server: self.server,
            call,
            path: self.path,
            multi: self.multi,
            invoked_us: self.invoked_us,
            outcome,
        })
    }

    fn outcome(&self) -> Result<Outcome, &'static str> {
        if self.outcome == "unknown" {
            return match self.answered_us {
                None => Ok(Outcome::Unknown),
                Some(_) => Err("an operation of unknown outcome has no time of its answer"),
            };
        }
        let answered_us = self.answered_us.ok_or("an answer needs its time")?;
        if answered_us < self.invoked_us {
            return Err("it was answered before it was called");
        }
        if self.zxid.is_some_and(|zxid| zxid < 0) || self.mzxid.is_some_and(|zxid| zxid < 0) {
            return Err("a zxid is not negative");
        }
        let answer = Answer {
            answered_us,
            zxid: self.zxid.map(Zxid),
            value: self.value.clone().filter(|_| self.op == Op::Read),
            mzxid: self.mzxid.map(Zxid),
            version: self.version,
        };
        Ok(match self.outcome.as_str() {
            "ok" => Outcome::Done(answer),
            "NONODE" => Outcome::Refused(Refusal::NoNode, answer),
            "NODEEXISTS" => Outcome::Refused(Refusal::NodeExists, answer),
            "BADVERSION" => Outcome::Refused(Refusal::BadVersion, answer),
            _ => Outcome::Refused(Refusal::Other, answer),
        })
    }
}
